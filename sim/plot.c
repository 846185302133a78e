/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shares over time as an SVG picture: one line per VM, what it is due as a
 * dashed line of the same colour.  Colours are told apart by people who don't
 * see all of them, and by their order in the legend.
 */
#include "sim/sim.h"

#include <errno.h>

#define WIDTH 900
#define LEFT 64
#define TOP 44
#define PLOT_WIDTH 600
#define PLOT_HEIGHT 300
#define LEGEND_MAX 14u

static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9",
                                      "#b8860b", "#000000", "#7f3c8d", "#8c564b", "#17becf"};

#define COLOUR_COUNT (sizeof(colours) / sizeof(colours[0]))

static double x_of(double part)
{
    return LEFT + part * PLOT_WIDTH;
}

static double y_of(double share)
{
    return TOP + (1 - share) * PLOT_HEIGHT;
}

static void print_text(FILE *out, double x, double y, const char *anchor, const char *text)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    for (; *text; text++) {
        switch (*text) {
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '&': fputs("&amp;", out); break;
        default: fputc(*text, out); break;
        }
    }
    fputs("</text>\n", out);
}

static void print_axes(const struct sim_result *result, FILE *out)
{
    char label[32];

    fprintf(out, "<g stroke=\"#ddd\">\n");
    for (int i = 0; i <= 10; i += 2) {
        fprintf(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT,
                LEFT + PLOT_WIDTH, y_of(i / 10.0), y_of(i / 10.0));
    }
    fprintf(out, "</g>\n<path d=\"M%d %d V%d H%d\" fill=\"none\" stroke=\"#333\"/>\n", LEFT, TOP,
            TOP + PLOT_HEIGHT, LEFT + PLOT_WIDTH);
    for (int i = 0; i <= 10; i += 2) {
        snprintf(label, sizeof(label), "%d %%", 10 * i);
        print_text(out, LEFT - 8, y_of(i / 10.0) + 4, "end", label);
    }
    for (int i = 0; i <= 6; i++) {
        snprintf(label, sizeof(label), "%.3g", (double)result->duration_ns / NS_PER_S * i / 6);
        print_text(out, x_of(i / 6.0), TOP + PLOT_HEIGHT + 18, "middle", label);
    }
    print_text(out, LEFT + PLOT_WIDTH / 2.0, TOP + PLOT_HEIGHT + 38, "middle", "seconds");
    print_text(out, LEFT, TOP - 10, "start", "share of the GPU time used (dashed: due share)");
}

/* A point stands for the mean over as many samples as it takes to be calm. */
static void print_line(const struct sim_vm_result *vm, const char *colour, FILE *out)
{
    const uint32_t merge = 4;

    fprintf(out,
            "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" "
            "stroke-dasharray=\"5 4\" stroke-opacity=\"0.6\"/>\n",
            LEFT, LEFT + PLOT_WIDTH, y_of(vm->due_share), y_of(vm->due_share), colour);
    fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" points=\"", colour);
    for (uint32_t i = 0; i + merge <= SIM_SAMPLES; i += merge) {
        double sum = 0;

        for (uint32_t k = 0; k < merge; k++) {
            sum += vm->shares[i + k];
        }
        fprintf(out, "%.1f,%.1f ", x_of((i + merge / 2.0) / SIM_SAMPLES), y_of(sum / merge));
    }
    fprintf(out, "\"/>\n");
}

static void print_legend(const struct sim_result *result, FILE *out)
{
    char label[96];

    for (uint32_t i = 0; i < result->vm_count && i < LEGEND_MAX; i++) {
        const struct sim_vm_result *vm = &result->vms[i];
        double y = TOP + 8 + 20.0 * i;

        fprintf(out,
                "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" "
                "stroke-width=\"3\"/>\n",
                LEFT + PLOT_WIDTH + 16, LEFT + PLOT_WIDTH + 38, y, y, colours[i % COLOUR_COUNT]);
        snprintf(label, sizeof(label), "w %g p %u: %.1f %% of %.1f %%", vm->weight, vm->priority,
                 100 * vm->share, 100 * vm->due_share);
        print_text(out, LEFT + PLOT_WIDTH + 44, y + 4, "start", label);
    }
    if (result->vm_count > LEGEND_MAX) {
        snprintf(label, sizeof(label), "and %u more", result->vm_count - LEGEND_MAX);
        print_text(out, LEFT + PLOT_WIDTH + 44, TOP + 12 + 20.0 * LEGEND_MAX, "start", label);
    }
}

int sim_print_plot(const struct sim_config *config, const struct sim_result *result,
                   const char *command, FILE *out)
{
    char title[128];
    int height = TOP + PLOT_HEIGHT + 72;

    snprintf(title, sizeof(title), "policy %s", wfq_policy_name(config->core.scheduler.policy));
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            WIDTH, height, WIDTH, height);
    print_text(out, LEFT + PLOT_WIDTH, TOP - 10, "end", title);
    print_axes(result, out);
    for (uint32_t i = 0; i < result->vm_count; i++) {
        print_line(&result->vms[i], colours[i % COLOUR_COUNT], out);
    }
    print_legend(result, out);
    fprintf(out, "<g font-size=\"10\" fill=\"#555\">\n");
    print_text(out, LEFT, TOP + PLOT_HEIGHT + 60, "start", command);
    fprintf(out, "</g>\n</svg>\n");
    return ferror(out) ? -EIO : 0;
}
