/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/metrics/shares.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "core/core.h"

/* A slot that changed its VM, or a VM that changed its GPU, starts afresh. */
struct sample {
    uint64_t gpu_time_ns;
    uint32_t vm_id;
    uint32_t gpu; /* CORE_NONE: nothing to see */
};

struct shares {
    uv_loop_t *loop;
    const struct core *core;
    uv_timer_t timer;
    bool open;
    uint64_t taken; /* samples so far */
    struct sample samples[SHARES_SAMPLES][CORE_VMS_MAX];
    uint64_t totals_ns[CORE_GPUS_MAX]; /* used on each GPU, oldest to latest sample */
};

static const struct sample *oldest(const struct shares *shares)
{
    return shares->samples[shares->taken < SHARES_SAMPLES ? 0 : shares->taken % SHARES_SAMPLES];
}

static const struct sample *latest(const struct shares *shares)
{
    return shares->samples[(shares->taken - 1) % SHARES_SAMPLES];
}

static uint64_t used_ns(const struct sample *first, const struct sample *last)
{
    /* It had no place yet, or there was no such VM: what it has used came since. */
    bool is_new =
        first->gpu == CORE_NONE && (first->vm_id == last->vm_id || first->gpu_time_ns == 0);

    if (last->gpu == CORE_NONE || last->gpu_time_ns < first->gpu_time_ns ||
        (!is_new && (first->gpu != last->gpu || first->vm_id != last->vm_id))) {
        return 0;
    }
    return last->gpu_time_ns - first->gpu_time_ns;
}

struct shares *shares_new(uv_loop_t *loop, const struct core *core)
{
    struct shares *shares = calloc(1, sizeof(*shares));

    if (shares) {
        shares->loop = loop;
        shares->core = core;
    }
    return shares;
}

void shares_free(struct shares *shares)
{
    free(shares);
}

static void on_timer(uv_timer_t *timer)
{
    struct shares *shares = timer->data;
    struct sample *samples = shares->samples[shares->taken++ % SHARES_SAMPLES];
    uint64_t now_ns = clock_now_ns();
    struct core_vm_stats stats;

    for (uint32_t vm = 0; vm < CORE_VMS_MAX; vm++) {
        samples[vm] = (struct sample){.gpu = CORE_NONE};
        if (core_vm_stats(shares->core, vm, now_ns, &stats)) {
            samples[vm] = (struct sample){stats.gpu_time_ns, stats.config.vm_id, stats.gpu};
        }
    }
    memset(shares->totals_ns, 0, sizeof(shares->totals_ns));
    for (uint32_t vm = 0; vm < CORE_VMS_MAX; vm++) {
        if (samples[vm].gpu != CORE_NONE) {
            shares->totals_ns[samples[vm].gpu] += used_ns(&oldest(shares)[vm], &samples[vm]);
        }
    }
}

int shares_start(struct shares *shares)
{
    int ret = uv_timer_init(shares->loop, &shares->timer);

    if (ret < 0) {
        return ret;
    }
    shares->open = true;
    shares->timer.data = shares;
    return uv_timer_start(&shares->timer, on_timer, 0, SHARES_INTERVAL_MS);
}

void shares_stop(struct shares *shares)
{
    if (shares->open) {
        shares->open = false;
        uv_close((uv_handle_t *)&shares->timer, NULL);
    }
}

double shares_of_vm(const struct shares *shares, uint32_t vm)
{
    const struct sample *last;

    if (shares->taken == 0) {
        return 0;
    }
    last = &latest(shares)[vm];
    if (last->gpu == CORE_NONE || shares->totals_ns[last->gpu] == 0) {
        return 0;
    }
    return (double)used_ns(&oldest(shares)[vm], last) / (double)shares->totals_ns[last->gpu];
}
