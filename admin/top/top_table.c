/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "admin/top/top_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "admin/top/top_text.h"
#include "common/names.h"

#define NAME_MAX 32u
#define WEIGHT_WIDTH 3

/* ---- VMs ---- */

#define BAR_MAX 40u

enum column {
    COLUMN_ID,
    COLUMN_NAME,
    COLUMN_POOL,
    COLUMN_PRIORITY,
    COLUMN_WEIGHT,
    COLUMN_GPU,
    COLUMN_STATE,
    COLUMN_BAR,
    COLUMN_GOT,
    COLUMN_DUE,
    COLUMN_QUEUE,
    COLUMN_RATE,
    COLUMN_ERRORS,
    COLUMN_OWED,
    COLUMN_KEPT,
    COLUMN_PROGRAMS,
    COLUMN_LAUNCHES,
    COLUMN_P99,
    COLUMN_COUNT
};

static const struct {
    const char *title;
    unsigned width; /* at least */
    bool right;
    unsigned from_width; /* of the terminal; narrower ones go without */
    int sort;            /* that it shows the order of; -1: none */
} columns[COLUMN_COUNT] = {
    [COLUMN_ID] = {"VM_ID", 5, true, 0, TOP_SORT_VM_ID},
    [COLUMN_NAME] = {"NAME", 8, false, 0, TOP_SORT_NAME},
    [COLUMN_POOL] = {"POOL", 4, false, 92, -1},
    [COLUMN_PRIORITY] = {"PRIO", 6, false, 92, -1},
    [COLUMN_WEIGHT] = {"WT", WEIGHT_WIDTH, true, 74, TOP_SORT_WEIGHT},
    [COLUMN_GPU] = {"GPU", 3, true, 78, -1},
    [COLUMN_STATE] = {"STATE", 13, false, 0, TOP_SORT_STATE},
    [COLUMN_BAR] = {"GOT/DUE", 7, false, 0, -1},
    [COLUMN_GOT] = {"GOT", 5, true, 0, TOP_SORT_SHARE},
    [COLUMN_DUE] = {"DUE", 5, true, 70, TOP_SORT_DUE},
    [COLUMN_OWED] = {"OWED", 8, true, 122, -1},
    [COLUMN_KEPT] = {"KEPT", 5, true, 112, -1},
    [COLUMN_QUEUE] = {"QUEUE", 5, true, 0, TOP_SORT_QUEUE},
    [COLUMN_RATE] = {"JOBS/S", 6, true, 0, TOP_SORT_RATE},
    [COLUMN_ERRORS] = {"ERR/S", 6, true, 104, -1},
    [COLUMN_PROGRAMS] = {"PROGS", 5, true, 138, -1},
    [COLUMN_LAUNCHES] = {"LAUNCH/S", 8, true, 138, -1},
    [COLUMN_P99] = {"P99", 7, true, 0, TOP_SORT_P99},
};

/* What is left over goes to the name, then to the bar. */
static void fit_columns(unsigned width, unsigned widths[COLUMN_COUNT])
{
    unsigned used = 0, spare, more;

    for (int c = 0; c < COLUMN_COUNT; c++) {
        widths[c] = width >= columns[c].from_width ? columns[c].width : 0;
        used += widths[c] ? widths[c] + (c > 0) : 0;
    }
    spare = width > used ? width - used : 0;
    more = spare / 2 < NAME_MAX - widths[COLUMN_NAME] ? spare / 2 : NAME_MAX - widths[COLUMN_NAME];
    widths[COLUMN_NAME] += more;
    spare -= more;
    widths[COLUMN_BAR] +=
        spare < BAR_MAX - widths[COLUMN_BAR] ? spare : BAR_MAX - widths[COLUMN_BAR];
}

/* It had less than its due while it had work: to be looked at. */
static enum render_style share_style(const struct top_vm *vm)
{
    return vm->overdue && vm->share < 0.9 * vm->due_share ? STYLE_WARN : STYLE_GOOD;
}

void top_bar(double share, double due, unsigned width, char *out)
{
    double part = isnan(share) ? 0 : share < 0 ? 0 : share > 1 ? 1 : share;
    unsigned filled = (unsigned)(part * width + 0.5);

    memset(out, '#', filled);
    memset(out + filled, '.', width - filled);
    out[width] = '\0';
    if (due > 0 && width > 0) {
        unsigned mark = (unsigned)((due > 1 ? 1 : due) * width + 0.5);

        out[mark >= width ? width - 1 : mark] = '|';
    }
}

static void put_bar(struct top_line *line, unsigned limit, const struct top_vm *vm, unsigned width)
{
    char bar[BAR_MAX + 1];

    top_bar(vm->share, vm->due_share, width, bar);
    for (char *p = bar; *p;) {
        char kind = *p;
        char part[BAR_MAX + 1] = "";
        size_t n = strspn(p, (char[]){kind, '\0'});

        memcpy(part, p, n);
        top_line_cell(line, limit,
                      kind == '#'   ? share_style(vm)
                      : kind == '|' ? STYLE_BOLD
                                    : STYLE_DIM,
                      (unsigned)n, false, part);
        p += n;
    }
}

/* Without its decimals where they don't fit. */
static const char *weight_text(double weight, char out[RENDER_BYTES])
{
    if (snprintf(out, RENDER_BYTES, "%g", weight) > WEIGHT_WIDTH) {
        snprintf(out, RENDER_BYTES, "%.0f", weight);
    }
    return out;
}

static const char *cell_text(const struct top_row *row, enum column column, char out[RENDER_BYTES])
{
    const struct top_vm *vm = row->vm;

    switch (column) {
    case COLUMN_ID: snprintf(out, RENDER_BYTES, "%u", vm->vm_id); return out;
    case COLUMN_NAME: return vm->name[0] ? vm->name : vm->uuid[0] ? vm->uuid : "-";
    case COLUMN_POOL: snprintf(out, RENDER_BYTES, "%c", vm->pool); return out;
    case COLUMN_PRIORITY: return priority_name(vm->priority);
    case COLUMN_WEIGHT: return weight_text(vm->weight, out);
    case COLUMN_GPU: return top_text_unit(vm->gpu, "", out);
    case COLUMN_STATE: return vm->state;
    case COLUMN_GOT: return top_text_percent(vm->share, out);
    case COLUMN_DUE: return top_text_percent(vm->due_share, out);
    case COLUMN_OWED: return top_text_signed_duration(vm->owed_ns, out);
    case COLUMN_KEPT: return top_text_percent(row->kept_idle, out);
    case COLUMN_QUEUE: return top_text_queue(vm->queue_depth, vm->in_flight, out);
    case COLUMN_RATE: return top_text_rate(row->rate_hz, out);
    case COLUMN_ERRORS: return top_text_rate(row->error_hz, out);
    case COLUMN_PROGRAMS: return top_text_unit(vm->programs, "", out);
    case COLUMN_LAUNCHES: return top_text_rate(row->launches_hz, out);
    case COLUMN_P99: return top_text_duration(vm->p99_ns, out);
    default: return "";
    }
}

static enum render_style cell_style(const struct top_row *row, enum column column)
{
    switch (column) {
    case COLUMN_STATE: return top_state_style(row->vm->state);
    case COLUMN_GOT: return share_style(row->vm);
    case COLUMN_ERRORS: return row->error_hz > 0 ? STYLE_WARN : STYLE_PLAIN;
    case COLUMN_DUE: return STYLE_DIM;
    default: return STYLE_PLAIN;
    }
}

/* row NULL: the columns' titles. */
static void put_vm_cells(struct top_line *line, const struct top_view *view,
                         const struct top_row *row)
{
    unsigned widths[COLUMN_COUNT];
    char text[RENDER_BYTES];

    fit_columns(view->width, widths);
    for (int c = 0; c < COLUMN_COUNT; c++) {
        if (widths[c] == 0) {
            continue;
        }
        if (c > 0) {
            top_line_gap(line, view->width);
        }
        if (!row) {
            top_line_cell(line, view->width,
                          columns[c].sort == (int)view->query.sort ? STYLE_BOLD : STYLE_DIM,
                          widths[c], columns[c].right, columns[c].title);
        } else if (c == COLUMN_BAR) {
            put_bar(line, view->width, row->vm, widths[c]);
        } else {
            top_line_cell(line, view->width, cell_style(row, (enum column)c), widths[c],
                          columns[c].right, cell_text(row, (enum column)c, text));
        }
    }
}

void top_vm_title(struct top_line *line, const struct top_view *view)
{
    put_vm_cells(line, view, NULL);
}

void top_vm_line(struct top_line *line, const struct top_view *view, const struct top_row *row)
{
    put_vm_cells(line, view, row);
    line->selected = view->has_selection && row->vm->vm_id == view->selected;
}

/* ---- GPUs ---- */

#define GPU_WIDTHS 63 /* of all but the name, with gaps */
#define GPU_MEMORY 7  /* narrow terminals go without it */

static void put_gpu_cells(struct top_line *line, unsigned width, const char *const texts[9],
                          const enum render_style styles[9])
{
    unsigned name = width > GPU_WIDTHS + 8 ? width - GPU_WIDTHS : 8;
    const unsigned widths[9] = {3, name < NAME_MAX ? name : NAME_MAX, 7, 5, 6, 6, 6, 15, 7};

    for (int c = 0; c < 9; c++) {
        if (c == GPU_MEMORY && width < GPU_WIDTHS + 8) {
            continue;
        }
        if (c > 0) {
            top_line_gap(line, width);
        }
        top_line_cell(line, width, styles[c], widths[c], c != 1 && c != 2, texts[c]);
    }
}

void top_gpu_title(struct top_line *line, unsigned width)
{
    static const char *const titles[9] = {"GPU",  "NAME", "STATE",  "TEMP", "POWER",
                                          "UTIL", "BUSY", "MEMORY", "QUEUE"};
    static const enum render_style styles[9] = {STYLE_DIM, STYLE_DIM, STYLE_DIM,
                                                STYLE_DIM, STYLE_DIM, STYLE_DIM,
                                                STYLE_DIM, STYLE_DIM, STYLE_DIM};

    put_gpu_cells(line, width, titles, styles);
}

void top_gpu_line(struct top_line *line, unsigned width, const struct top_gpu_row *row)
{
    const struct top_gpu *gpu = row->gpu;
    char text[7][RENDER_BYTES];
    const char *texts[9] = {
        top_text_unit(gpu->index, "", text[0]),
        gpu->name,
        gpu->needs_reset ? "reset!" : gpu->state,
        top_text_unit(gpu->temperature_c, " C", text[1]),
        top_text_unit(gpu->power_w, " W", text[2]),
        top_text_percent(gpu->utilization, text[3]),
        top_text_percent(row->busy, text[4]),
        top_text_memory(gpu, text[5]),
        top_text_queue(gpu->queued, gpu->in_flight, text[6]),
    };
    const enum render_style styles[9] = {
        STYLE_PLAIN,
        STYLE_PLAIN,
        gpu->needs_reset ? STYLE_BAD : top_state_style(gpu->state),
        gpu->temperature_c >= 85 ? STYLE_WARN : STYLE_PLAIN,
        STYLE_PLAIN,
        STYLE_PLAIN,
        STYLE_PLAIN,
        STYLE_PLAIN,
        STYLE_PLAIN,
    };

    put_gpu_cells(line, width, texts, styles);
}
