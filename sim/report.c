/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What came of a run, for people and for programs. */
#include "sim/sim.h"
#include "common/json_number.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>

void sim_print_table(const struct sim_config *config, const struct sim_result *result, FILE *out)
{
    double gpu_ns = (double)result->duration_ns * config->gpus;

    fprintf(out, "policy %s%s, %u GPU%s, %g s, seed %" PRIu64 ", quantum %g us, depth %u\n\n",
            wfq_policy_name(config->core.scheduler.policy),
            result->shares_promised ? "" : " (no bound is promised)", config->gpus,
            config->gpus == 1 ? "" : "s", (double)result->duration_ns / NS_PER_S, config->seed,
            (double)config->core.scheduler.quantum_ns / 1e3, config->core.scheduler.depth);
    fprintf(out, "%4s %3s %6s %4s %7s %7s %9s %8s %8s %9s %9s | %9s %9s %9s ms\n", "vm", "gpu",
            "weight", "prio", "due %", "share %", "jobs", "refused", "errors", "lag ms", "bound ms",
            "wait p50", "p99", "max");
    for (uint32_t i = 0; i < result->vm_count; i++) {
        const struct sim_vm_result *vm = &result->vms[i];

        fprintf(out,
                "%4u %3d %6g %4u %7.3f %7.3f %9" PRIu64 " %8" PRIu64 " %8" PRIu64
                " %9.3f %9.3f | %9.3f %9.3f %9.3f\n",
                vm->vm_id, (int)vm->gpu, vm->weight, vm->priority, 100 * vm->due_share,
                100 * vm->share, vm->jobs, vm->refused, vm->errors,
                (double)vm->max_lag_ns / NS_PER_MS, sim_ms(vm->lag_bound_ns),
                sim_ms(vm->wait_p50_ns), sim_ms(vm->wait_p99_ns), sim_ms(vm->wait_max_ns));
    }
    fprintf(out,
            "\nGPU time: %.2f %% used by jobs, %.2f %% lost to %" PRIu64
            " context switches, %.2f %% kept for a VM's next job\n",
            100 * (double)result->busy_ns / gpu_ns, 100 * (double)result->switching_ns / gpu_ns,
            result->switches, 100 * (double)result->anticipated_ns / gpu_ns);
    if (result->workers_lost + result->mediators_lost + result->gpus_lost + result->quarantines +
            result->timeouts + result->overruns + result->disconnects >
        0) {
        fprintf(out,
                "Faults: %" PRIu64 " workers lost, %" PRIu64 " mediators lost, %" PRIu64
                " GPUs lost, %" PRIu64 " quarantines, %" PRIu64 " timeouts, %" PRIu64
                " overruns, %" PRIu64 " disconnects\n",
                result->workers_lost, result->mediators_lost, result->gpus_lost,
                result->quarantines, result->timeouts, result->overruns, result->disconnects);
    }
    fprintf(out, "Violations: %" PRIu64 ".  Trace hash: %016" PRIx64 "\n", result->violations,
            result->trace_hash);
}

/* What the VM got in each part of the time. */
static json_t *samples_to_json(const struct sim_vm_result *vm)
{
    json_t *samples = json_array();

    for (uint32_t i = 0; samples && i < SIM_SAMPLES; i++) {
        json_array_append_new(samples, json_real((double)vm->got[i]));
    }
    return samples;
}

static json_t *vm_to_json(const struct sim_vm_result *vm)
{
    return json_pack(
        "{s:I, s:o, s:I, s:i, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:I, "
        "s:I, s:b, s:o}",
        "vm_id", (json_int_t)vm->vm_id, "weight", json_number(vm->weight), "priority",
        (json_int_t)vm->priority, "gpu", (int)vm->gpu, "due_share", vm->due_share, "share",
        vm->share, "jobs", (json_int_t)vm->jobs, "submitted", (json_int_t)vm->submitted, "refused",
        (json_int_t)vm->refused, "errors", (json_int_t)vm->errors, "gpu_time_ns",
        (json_int_t)vm->gpu_time_ns, "max_lag_ns", (json_int_t)vm->max_lag_ns, "lag_bound_ns",
        (json_int_t)vm->lag_bound_ns, "wait_p50_ns", (json_int_t)vm->wait_p50_ns, "wait_p99_ns",
        (json_int_t)vm->wait_p99_ns, "wait_max_ns", (json_int_t)vm->wait_max_ns, "wait_mean_ns",
        (json_int_t)vm->wait_mean_ns, "latency_p50_ns", (json_int_t)vm->latency_p50_ns,
        "latency_p99_ns", (json_int_t)vm->latency_p99_ns, "saturated", (int)vm->saturated,
        "samples", samples_to_json(vm));
}

static json_t *window_to_json(double window_s, const struct sim_window_verdict *window)
{
    return json_pack("{s:f, s:b, s:f, s:f, s:I, s:I, s:I, s:I}", "seconds", window_s, "judged",
                     (int)window->judged, "ratio", window->ratio, "plain", window->plain, "at_ns",
                     (json_int_t)window->at_ns, "got_ns", (json_int_t)window->got_ns, "due_ns",
                     (json_int_t)window->due_ns, "terms_ns", (json_int_t)window->terms_ns);
}

static json_t *verdict_to_json(const struct sim_promise *promise, const struct sim_verdict *verdict)
{
    json_t *windows = json_array();

    for (uint32_t w = 0; w < promise->window_count; w++) {
        json_array_append_new(windows, window_to_json((double)promise->window_ns[w] / NS_PER_S,
                                                      &verdict->windows[w]));
    }
    return json_pack("{s:b, s:f, s:f, s:f, s:o, s:f, s:I, s:I, s:I}", "judged",
                     (int)verdict->judged, "due_share", verdict->due_share, "alone", verdict->alone,
                     "worst", verdict->worst, "windows", windows, "wait_ratio", verdict->wait_ratio,
                     "wait_owed_ns", (json_int_t)verdict->wait_owed_ns, "wait_allowed_ns",
                     (json_int_t)verdict->wait_allowed_ns, "wait_at_ns",
                     (json_int_t)verdict->wait_at_ns);
}

/* Returns false when there is no memory. */
static bool add_verdicts(json_t *root, const struct sim_result *result,
                         const struct sim_promise *promise, const struct sim_verdict *verdicts)
{
    uint32_t vm;
    double worst = sim_worst(verdicts, result->vm_count, &vm);
    bool ok = json_object_set_new(root, "promise",
                                  json_pack("{s:f, s:f, s:f, s:I}", "slack", promise->slack, "lost",
                                            promise->lost, "worst", worst, "worst_vm_id",
                                            (json_int_t)result->vms[vm].vm_id)) == 0;

    for (uint32_t i = 0; i < result->vm_count; i++) {
        ok = ok && json_object_set_new(json_array_get(json_object_get(root, "vms"), i), "promise",
                                       verdict_to_json(promise, &verdicts[i])) == 0;
    }
    return ok;
}

int sim_print_json(const struct sim_config *config, const struct sim_result *result,
                   const struct sim_promise *promise, const struct sim_verdict *verdicts, FILE *out)
{
    char hash[17];
    json_t *root, *vms;
    int ret;

    snprintf(hash, sizeof(hash), "%016" PRIx64, result->trace_hash);
    root = json_pack(
        "{s:s, s:b, s:I, s:i, s:f, s:[], s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:I, s:I, s:I, s:s}",
        "policy", wfq_policy_name(config->core.scheduler.policy), "shares_promised",
        (int)result->shares_promised, "seed", (json_int_t)config->seed, "gpus", (int)config->gpus,
        "seconds", (double)result->duration_ns / NS_PER_S, "vms", "lag_bound_ns",
        (json_int_t)result->lag_bound_ns, "switches", (json_int_t)result->switches, "switching_ns",
        (json_int_t)result->switching_ns, "busy_ns", (json_int_t)result->busy_ns, "anticipated_ns",
        (json_int_t)result->anticipated_ns, "dispatches", (json_int_t)result->dispatches,
        "workers_lost", (json_int_t)result->workers_lost, "mediators_lost",
        (json_int_t)result->mediators_lost, "gpus_lost", (json_int_t)result->gpus_lost,
        "quarantines", (json_int_t)result->quarantines, "timeouts", (json_int_t)result->timeouts,
        "overruns", (json_int_t)result->overruns, "disconnects", (json_int_t)result->disconnects,
        "violations", (json_int_t)result->violations, "trace_hash", hash);
    vms = root ? json_object_get(root, "vms") : NULL;
    for (uint32_t i = 0; vms && i < result->vm_count; i++) {
        if (json_array_append_new(vms, vm_to_json(&result->vms[i])) < 0) {
            vms = NULL;
        }
    }
    if (!vms || (verdicts && !add_verdicts(root, result, promise, verdicts))) {
        json_decref(root);
        return -ENOMEM;
    }
    ret = json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(root);
    return ret < 0 || fputc('\n', out) == EOF ? -EIO : 0;
}
