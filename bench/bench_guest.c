/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A channel of a guest's driver against protocol 1.0's registers, in one guest and through the same
 * mediator and worker, in batches that alternate.  bench_guest.py boots the guest and runs this.
 *
 * "Polling", "sleeping": as in bench_channel.c.  Here 1.0's path is the device's BAR, as root.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench/bench.h"
#include "common/clock.h"
#include "vgpu/vgpu.h"

#define BATCH 100u
#define BATCHES 20u
#define PAUSES 200u
#define PAUSE_NS (5 * NS_PER_MS)
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

static void must(struct vgpu *v, int result)
{
    if (result < 0) {
        fprintf(stderr, "bench_guest: %s\n", vgpu_last_error(v));
        exit(1);
    }
}

static double nop_us(struct vgpu *v)
{
    uint64_t began_ns = clock_now_ns();

    must(v, vgpu_nop(v));
    return (double)(clock_now_ns() - began_ns) / 1000;
}

static double per_s(uint64_t count, uint64_t began_ns)
{
    return (double)count * NS_PER_S / (double)(clock_now_ns() - began_ns);
}

/* One in flight, back to back; also 1.0's jobs a second, which has never more in flight. */
static void bench_polling(struct vgpu *channel, struct vgpu *bar, bool quick)
{
    static double channel_us[BATCH * BATCHES], bar_us[BATCH * BATCHES];
    size_t n = 0, count = BATCH * (quick ? BATCHES / 5 : BATCHES);
    double channel_p50, bar_p50;

    for (; n < count; n += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) {
            channel_us[n + i] = nop_us(channel);
        }
        for (uint32_t i = 0; i < BATCH; i++) {
            bar_us[n + i] = nop_us(bar);
        }
    }
    channel_p50 = bench_quantile(channel_us, n, 0.5);
    bar_p50 = bench_quantile(bar_us, n, 0.5);
    bench_figure("channel_nop_polling_p50", "us", channel_p50);
    bench_figure("bar_nop_p50", "us", bar_p50);
    bench_figure_at_most("channel_nop_polling_ratio", "ratio", channel_p50 / bar_p50, 0.1);
}

/* Doorbell and interrupt: both sides sleep. */
static void bench_sleeping(struct vgpu *sleeper, struct vgpu *bar, bool quick)
{
    const struct timespec pause = {.tv_nsec = (long)PAUSE_NS};
    static double channel_us[PAUSES], bar_us[PAUSES];
    size_t n = 0, count = quick ? PAUSES / 4 : PAUSES;
    double channel_p50, bar_p50;

    for (; n < count; n++) {
        nanosleep(&pause, NULL);
        channel_us[n] = nop_us(sleeper);
        nanosleep(&pause, NULL);
        bar_us[n] = nop_us(bar);
    }
    channel_p50 = bench_quantile(channel_us, n, 0.5);
    bar_p50 = bench_quantile(bar_us, n, 0.5);
    bench_figure("channel_nop_sleeping_p50", "us", channel_p50);
    bench_figure("bar_nop_sleeping_p50", "us", bar_p50);
    bench_figure_at_most("channel_nop_sleeping_ratio", "ratio", channel_p50 / bar_p50, 0.7);
}

static double bar_jobs_per_s(struct vgpu *bar, uint64_t count)
{
    uint64_t began_ns = clock_now_ns();

    for (uint64_t i = 0; i < count; i++) {
        must(bar, vgpu_nop(bar));
    }
    return per_s(count, began_ns);
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
        must(channel, vgpu_post(channel, VGPU_OP_NOP, NULL, 0));
        if (i % DEPTH == DEPTH - 1) {
            must(channel, vgpu_wait_posted(channel, 0));
        }
    }
    must(channel, vgpu_wait_posted(channel, 0));
    rate = per_s(count, began_ns);
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
    nop_us(channel);
    nop_us(bar);
    bench_sleeping(sleeper, bar, options.quick);
    bench_polling(channel, bar, options.quick);
    bench_pipelined(channel, bar, options.quick);
    vgpu_close(channel);
    vgpu_close(sleeper);
    vgpu_close(bar);
    bench_print(&options, "bench_guest");
    return 0;
}
