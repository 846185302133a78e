/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "loadgen/report.h"
#include "common/ns.h"

#include <inttypes.h>
#include <string.h>

#include "common/request.h"

#define TABLE_ROWS_MAX 40u

struct total {
    uint64_t sent, answered, wrong, lost, disconnects;
    struct vm_measured measured;
};

static void add_up(struct total *total, const struct vm *vms, uint32_t count)
{
    memset(total, 0, sizeof(*total));
    histogram_reset(&total->measured.latency);
    for (uint32_t i = 0; i < count; i++) {
        const struct vm *vm = &vms[i];

        total->sent += vm->sent;
        total->answered += vm->answered;
        total->wrong += vm->wrong;
        total->lost += vm->lost;
        total->disconnects += vm->disconnects;
        total->measured.jobs += vm->measured.jobs;
        total->measured.busy += vm->measured.busy;
        total->measured.gpu_us += vm->measured.gpu_us;
        for (uint32_t code = 0; code < VGPU_ERR_COUNT; code++) {
            total->measured.errors[code] += vm->measured.errors[code];
        }
        histogram_merge(&total->measured.latency, &vm->measured.latency);
    }
}

static uint64_t error_sum(const struct vm_measured *measured)
{
    uint64_t sum = 0;

    for (uint32_t code = 1; code < VGPU_ERR_COUNT; code++) {
        sum += measured->errors[code];
    }
    return sum - measured->busy;
}

static double per_second(uint64_t count, const struct engine_result *result)
{
    return result->measured_ns ? (double)count * NS_PER_S / (double)result->measured_ns : 0;
}

static double share(const struct vm_measured *part, const struct vm_measured *whole)
{
    return whole->gpu_us ? (double)part->gpu_us / (double)whole->gpu_us : 0;
}

static double quantile_us(const struct vm_measured *measured, double fraction)
{
    return (double)histogram_quantile_ns(&measured->latency, fraction) / 1000;
}

/* ---- table ---- */

static void table_row(FILE *out, const char *name, const struct vm_measured *measured,
                      const struct vm_measured *whole, uint64_t wrong,
                      const struct engine_result *result)
{
    fprintf(out,
            "%-10s %10" PRIu64 " %10.0f %6.2f%% %9.1f %9.1f %9.1f %9.1f %8" PRIu64 " %7" PRIu64
            " %6" PRIu64 "\n",
            name, measured->jobs, per_second(measured->jobs, result), 100 * share(measured, whole),
            quantile_us(measured, 0.5), quantile_us(measured, 0.95), quantile_us(measured, 0.99),
            (double)measured->latency.max_ns / 1000, measured->busy, error_sum(measured), wrong);
}

void report_table(FILE *out, const struct vm *vms, const struct loadgen_options *options,
                  const struct engine_result *result)
{
    static struct total total;
    uint32_t rows = options->vm_count < TABLE_ROWS_MAX ? options->vm_count : TABLE_ROWS_MAX;
    char name[24];

    add_up(&total, vms, options->vm_count);
    fprintf(out, "%-10s %10s %10s %7s %9s %9s %9s %9s %8s %7s %6s\n", "vm_id", "jobs", "jobs/s",
            "share", "p50 us", "p95 us", "p99 us", "max us", "busy", "errors", "wrong");
    for (uint32_t i = 0; i < rows; i++) {
        snprintf(name, sizeof(name), "%u", vms[i].vm_id);
        table_row(out, name, &vms[i].measured, &total.measured, vms[i].wrong, result);
    }
    if (rows < options->vm_count) {
        fprintf(out, "... and %u more; --json lists them all\n", options->vm_count - rows);
    }
    table_row(out, "all", &total.measured, &total.measured, total.wrong, result);
    for (uint32_t code = 1; code < VGPU_ERR_COUNT; code++) {
        if (total.measured.errors[code]) {
            fprintf(out, "%" PRIu64 " answers %s\n", total.measured.errors[code],
                    request_error_name(code));
        }
    }
    fprintf(out,
            "%.2f s, %" PRIu64 " sent, %" PRIu64 " answered, %" PRIu64 " missing, %" PRIu64
            " wrong; %.2f us of this program's CPU time a job\n",
            (double)result->measured_ns / NS_PER_S, total.sent, total.answered, result->missing,
            total.wrong,
            total.answered ? (double)result->cpu_ns / 1e3 / (double)total.answered : 0);
    if (options->reconnect) {
        fprintf(out, "%" PRIu64 " disconnects, %" PRIu64 " requests lost by them\n",
                total.disconnects, total.lost);
    }
}

/* ---- JSON ---- */

static void json_measured(FILE *out, const struct vm_measured *measured,
                          const struct vm_measured *whole, const struct engine_result *result)
{
    const char *comma = "";

    fprintf(out,
            "\"jobs\": %" PRIu64 ", \"jobs_per_s\": %.1f, \"gpu_us\": %" PRIu64
            ", \"share\": %.6f, \"busy\": %" PRIu64 ", ",
            measured->jobs, per_second(measured->jobs, result), measured->gpu_us,
            share(measured, whole), measured->busy);
    fprintf(out, "\"mean_us\": %.2f, \"p50_us\": %.2f, \"p95_us\": %.2f, \"p99_us\": %.2f, ",
            histogram_mean_ns(&measured->latency) / 1000, quantile_us(measured, 0.5),
            quantile_us(measured, 0.95), quantile_us(measured, 0.99));
    fprintf(out, "\"min_us\": %.2f, \"max_us\": %.2f, \"errors\": {",
            measured->latency.count ? (double)measured->latency.min_ns / 1000 : 0,
            (double)measured->latency.max_ns / 1000);
    for (uint32_t code = 1; code < VGPU_ERR_COUNT; code++) {
        if (measured->errors[code]) {
            fprintf(out, "%s\"%s\": %" PRIu64, comma, request_error_name(code),
                    measured->errors[code]);
            comma = ", ";
        }
    }
    fputs("}", out);
}

static void json_ops(FILE *out, const struct job_mix *mix)
{
    for (uint32_t i = 0; i < mix->count; i++) {
        fprintf(out, "%s%s=%u", i ? "," : "", mix->kinds[i].name, mix->kinds[i].weight);
    }
}

void report_json(FILE *out, const struct vm *vms, const struct loadgen_options *options,
                 const struct engine_result *result)
{
    static struct total total;

    add_up(&total, vms, options->vm_count);
    fprintf(out, "{\"seconds\": %.6f, \"seed\": %" PRIu64 ", \"cpu_s\": %.6f, \"vms\": [",
            (double)result->measured_ns / NS_PER_S, options->seed,
            (double)result->cpu_ns / NS_PER_S);
    for (uint32_t i = 0; i < options->vm_count; i++) {
        const struct vm *vm = &vms[i];

        fprintf(out, "%s\n {\"vm_id\": %u, \"op\": \"", i ? "," : "", vm->vm_id);
        json_ops(out, &vm->group->mix);
        fprintf(out, "\", \"depth\": %u, \"rate_hz\": %.3f, ", vm->group->depth,
                vm->group->rate_hz);
        json_measured(out, &vm->measured, &total.measured, result);
        fprintf(out,
                ", \"sent\": %" PRIu64 ", \"answered\": %" PRIu64 ", \"wrong\": %" PRIu64
                ", \"missing\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"disconnects\": %" PRIu64 "}",
                vm->sent, vm->answered, vm->wrong,
                vm->in_flight + (options->reconnect ? 0 : vm->lost), vm->lost, vm->disconnects);
    }
    fputs("],\n \"total\": {", out);
    json_measured(out, &total.measured, &total.measured, result);
    fprintf(out,
            ", \"sent\": %" PRIu64 ", \"answered\": %" PRIu64 ", \"wrong\": %" PRIu64
            ", \"missing\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"disconnects\": %" PRIu64 "}}\n",
            total.sent, total.answered, total.wrong, result->missing, total.lost,
            total.disconnects);
}
