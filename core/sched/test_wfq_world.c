/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/sched/test_wfq_world.h"

#include <string.h>

#define JOBS 64u

struct wfq *wfq;
uint64_t now_ns;
static struct wfq_job jobs[JOBS]; /* in turn: none is in the scheduler for that long */
static uint32_t used, vm_count;

void begin_vms(const struct wfq_config *config, const struct wfq_vm_params *params,
               uint64_t begin_ns)
{
    wfq = wfq_init(config);
    assert_non_null(wfq);
    now_ns = begin_ns;
    used = 0;
    vm_count = config->max_vms;
    for (uint32_t vm = 0; vm < vm_count; vm++) {
        wfq_vm_attach(wfq, vm, &params[vm]);
        wfq_vm_set_ready(wfq, vm, true, now_ns);
    }
}

void submit(uint32_t vm, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct wfq_job *job = &jobs[used++ % JOBS];

        memset(job, 0, sizeof(*job));
        job->vm = vm;
        wfq_enqueue(wfq, job, now_ns);
    }
}

struct wfq_job *take(uint32_t vm)
{
    struct wfq_job *job = wfq_dequeue(wfq, now_ns);

    assert_non_null(job);
    assert_int_equal(job->vm, vm);
    return job;
}

struct wfq_vm_stats stats_of(uint32_t vm)
{
    struct wfq_vm_stats stats;

    wfq_get_vm_stats(wfq, vm, now_ns, &stats);
    return stats;
}

void end(void)
{
    for (uint32_t vm = 0; vm < vm_count; vm++) {
        while (wfq_take_queued(wfq, vm, now_ns)) {
        }
    }
    wfq_destroy(wfq);
}
