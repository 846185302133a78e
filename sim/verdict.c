/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the judge found, for people. */
#include "sim/sim.h"

static void print_vm(const struct sim_promise *promise, const struct sim_vm_result *vm,
                     const struct sim_verdict *verdict, FILE *out)
{
    fprintf(out, "%4u %7.3f %7.3f %7.3f", vm->vm_id, 100 * verdict->due_share, 100 * verdict->alone,
            100 * verdict->due_share * verdict->alone);
    for (uint32_t w = 0; w < promise->window_count; w++) {
        const struct sim_window_verdict *window = &verdict->windows[w];

        if (window->judged) {
            fprintf(out, " | %6.3f %6.3f %9.1f %9.1f %8.1f %7.2f", window->ratio, window->plain,
                    sim_ms(window->got_ns), sim_ms(window->due_ns), sim_ms(window->terms_ns),
                    (double)window->at_ns / NS_PER_S);
        } else {
            fprintf(out, " | %6s %6s %9s %9s %8s %7s", "-", "-", "-", "-", "-", "-");
        }
    }
    fprintf(out, " | %6.3f %8.1f %8.1f%s\n", verdict->wait_ratio, sim_ms(verdict->wait_owed_ns),
            sim_ms(verdict->wait_allowed_ns),
            !verdict->judged     ? "  not judged"
            : verdict->worst < 1 ? "  BROKEN"
                                 : "");
}

void sim_print_verdicts(const struct sim_promise *promise, const struct sim_result *result,
                        const struct sim_verdict *verdicts, FILE *out)
{
    uint32_t vm;
    double worst = sim_worst(verdicts, result->vm_count, &vm);

    fprintf(out,
            "\nPromised: (1 - %.3g - %.3g) of s x d x T (slack, switches and hand-over), less the "
            "terms.\nBelow a ratio of 1 the promise is broken. Plain: of s x d x T, one own job "
            "and one quantum allowed for.\n\n%4s %7s %7s %7s",
            promise->slack, promise->lost, "vm", "s %", "d %", "s x d");
    for (uint32_t w = 0; w < promise->window_count; w++) {
        fprintf(out, " | T %2.0f s: %6s %9s %9s %8s %7s", (double)promise->window_ns[w] / NS_PER_S,
                "plain", "got ms", "due ms", "terms", "at s");
    }
    fprintf(out, " | %6s %8s %8s\n", "waits:", "owed ms", "allowed");
    for (uint32_t i = 0; i < result->vm_count; i++) {
        print_vm(promise, &result->vms[i], &verdicts[i], out);
    }
    fprintf(out, "\nWorst ratio: %.4f (VM %u)%s\n", worst, result->vms[vm].vm_id,
            worst < 1 ? ": the promise is broken" : "");
}
