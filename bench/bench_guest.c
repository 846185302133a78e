/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A channel of a guest's driver against protocol 1.0's registers, in one guest and through the same
 * mediator and worker, in batches that alternate.  bench_guest.py boots the guest and runs this.
 *
 * "Polling", "sleeping": as in nops.h.  Here 1.0's path is the device's BAR, as root.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "bench/nops.h"
#include "common/clock.h"
#include "vgpu/vgpu.h"

#define POLLED 2000u
#define PAUSES 200u
#define DEPTH 64u
#define POSTED 1000000u

static struct vgpu *open_device(const char *name, int sleep_at_once)
{
    struct vgpu_options options;
    struct vgpu *v;

    vgpu_options_init(&options);
    options.sleep_at_once = sleep_at_once;
    if (vgpu_open(name, &options, &v) < 0) {
        fprintf(stderr, "bench_guest: %s: %s\n", name, vgpu_last_error(NULL));
        exit(1);
    }
    return v;
}

static double bar_jobs_per_s(struct vgpu *bar, uint64_t count)
{
    uint64_t began_ns = clock_now_ns();

    for (uint64_t i = 0; i < count; i++) {
        nops_must(bar, vgpu_nop(bar));
    }
    return nops_per_s(count, began_ns);
}

/* Batches of DEPTH, each posted at once and waited for. */
static void bench_pipelined(struct vgpu *channel, struct vgpu *bar, bool quick)
{
    uint64_t count = quick ? POSTED / 10 : POSTED, began_ns;
    struct vgpu_stats before, after;
    double bar_rate = bar_jobs_per_s(bar, count / 500), rate;

    vgpu_get_stats(channel, &before);
    began_ns = clock_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        nops_must(channel, vgpu_post(channel, VGPU_OP_NOP, NULL, 0));
        if (i % DEPTH == DEPTH - 1) {
            nops_must(channel, vgpu_wait_posted(channel, 0));
        }
    }
    nops_must(channel, vgpu_wait_posted(channel, 0));
    rate = nops_per_s(count, began_ns);
    vgpu_get_stats(channel, &after);
    bench_figure("bar_nop", "jobs/s", bar_rate);
    bench_figure("channel_pipelined_nop", "jobs/s", rate);
    bench_figure_at_least("channel_pipelined_ratio", "ratio", rate / bar_rate, 50);
    bench_figure_at_most("mmio_writes_per_batch", "writes",
                         (double)(after.mmio_writes - before.mmio_writes) / ((double)count / DEPTH),
                         1);
}

int main(int argc, char **argv)
{
    struct bench_options options;
    struct vgpu *channel, *sleeper, *bar;
    int status = bench_parse(&options, "bench_guest",
                             "In a guest with the driver, as root: its channel against protocol\n"
                             "1.0's registers.  bench/bench_guest.py boots one.\n",
                             argc, argv);

    if (status >= 0) {
        return status;
    }
    channel = open_device("dev", 0);
    sleeper = open_device("dev", 1);
    bar = open_device("pci", 0);
    nops_one_us(channel);
    nops_one_us(bar);
    nops_sleeping(sleeper, "channel", bar, "bar", options.quick ? PAUSES / 4 : PAUSES, 0.7);
    nops_polling(channel, "channel", bar, "bar", options.quick ? POLLED / 5 : POLLED, 0.1);
    bench_pipelined(channel, bar, options.quick);
    vgpu_close(channel);
    vgpu_close(sleeper);
    vgpu_close(bar);
    bench_print(&options, "bench_guest");
    return 0;
}
