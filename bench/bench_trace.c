/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What it costs to keep a trace of each job: its three steps, for one VM, whose
 * memory stays in the caches, and for a thousand in turn; and the looking, which
 * happens on the event loop's thread: the slowest query of a full trace.
 */
#include <stdlib.h>

#include "bench/bench.h"
#include "common/clock.h"
#include "core/job_trace.h"

#define VMS 1000u
#define BATCH 1000u

static void one_job(struct job_trace *trace, uint32_t vm, uint64_t serial, uint64_t job_id)
{
    const struct wfq_dispatch decision = {
        .waiting_vms = 9, .eligible_vms = 4, .reason = WFQ_REASON_URGENT, .urgency = 2.5};
    const vgpu_worker_done done = {.gpu_time_ns = 1000, .started_ns = 1, .finished_ns = 2};
    struct core_job_step step = {
        .kind = CORE_JOB_ACCEPTED,
        .vm = vm,
        .serial = serial,
        .job_id = job_id,
        .now_ns = job_id,
        .vm_id = vm + 1,
        .request_id = (uint32_t)serial,
        .opcode = 1,
    };

    job_trace_step(trace, &step);
    step = (struct core_job_step){.kind = CORE_JOB_DISPATCHED,
                                  .vm = vm,
                                  .serial = serial,
                                  .job_id = job_id,
                                  .now_ns = job_id + 1,
                                  .decision = &decision};
    job_trace_step(trace, &step);
    step = (struct core_job_step){.kind = CORE_JOB_ENDED,
                                  .vm = vm,
                                  .serial = serial,
                                  .job_id = job_id,
                                  .now_ns = job_id + 2,
                                  .answered = true,
                                  .gpu_time_ns = 1000,
                                  .done = &done};
    job_trace_step(trace, &step);
}

/* ns for one job, median of batches; *next_id counts all jobs. */
static double keeping(struct job_trace *trace, uint32_t vms, uint32_t batches, uint64_t *next_id)
{
    double *samples = bench_must(calloc(batches, sizeof(*samples))), median;
    uint64_t at = 0;

    for (uint32_t batch = 0; batch < batches; batch++) {
        uint64_t start_ns = clock_now_ns();

        for (uint32_t i = 0; i < BATCH; i++, at++) {
            one_job(trace, (uint32_t)(at % vms), at / vms + 1, ++*next_id);
        }
        samples[batch] = (double)(clock_now_ns() - start_ns) / BATCH;
    }
    median = bench_quantile(samples, batches, 0.5);
    free(samples);
    return median;
}

/* us of the slowest looks: a job that is not there, and a request that never matches. */
static void looking(const struct job_trace *trace, double *find_us, double *list_us)
{
    const struct job_record *found[JOB_TRACE_LIST_MAX];
    const struct job_trace_query query = {CORE_NONE, UINT32_MAX - 1};
    double samples[2][21];

    for (uint32_t i = 0; i < 21; i++) {
        uint64_t start_ns = clock_now_ns();

        BENCH_KEEP(job_trace_find(trace, UINT64_MAX));
        samples[0][i] = (double)(clock_now_ns() - start_ns) / 1000;
        start_ns = clock_now_ns();
        BENCH_KEEP(job_trace_recent(trace, &query, found, JOB_TRACE_LIST_MAX));
        samples[1][i] = (double)(clock_now_ns() - start_ns) / 1000;
    }
    *find_us = bench_quantile(samples[0], 21, 0.5);
    *list_us = bench_quantile(samples[1], 21, 0.5);
}

int main(int argc, char **argv)
{
    struct bench_options options = {0};
    int status =
        bench_parse(&options, "bench_trace",
                    "What a trace of each job costs (vgpu-admin trace-job).\n", argc, argv);
    uint32_t batches = options.quick ? 300 : 3000;
    struct job_trace *trace;
    double one_ns, many_ns, find_us, list_us;
    uint64_t next_id = 0;

    if (status >= 0) {
        return status;
    }
    trace = bench_must(job_trace_new());
    for (uint32_t vm = 0; vm < VMS; vm++) {
        job_trace_add_vm(trace, vm);
    }
    one_ns = keeping(trace, 1, batches, &next_id);
    many_ns = keeping(trace, VMS, batches, &next_id);
    looking(trace, &find_us, &list_us);
    bench_figure_at_most("keeping a job's trace, one VM", "ns", one_ns, 50);
    bench_figure("keeping a job's trace, 1000 VMs in turn", "ns", many_ns);
    bench_figure("finding no job among 1000 VMs' traces", "us", find_us);
    bench_figure("a list that nothing matches, 1000 VMs", "us", list_us);
    bench_figure("memory of a VM's trace", "KiB",
                 (double)(JOB_TRACE_PER_VM * sizeof(struct job_record)) / 1024);
    bench_print(&options, "bench_trace");
    job_trace_free(trace);
    return 0;
}
