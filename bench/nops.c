/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/nops.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench/bench.h"
#include "common/clock.h"
#include "common/ns.h"

#define PAUSE_NS (5 * NS_PER_MS)
#define NAME_BYTES 48u

static double first_us[NOPS_MAX], second_us[NOPS_MAX];

void nops_must(struct vgpu *v, int result)
{
    if (result < 0) {
        fprintf(stderr, "bench: %s\n", vgpu_last_error(v));
        exit(1);
    }
}

double nops_one_us(struct vgpu *v)
{
    uint64_t began_ns = clock_now_ns();

    nops_must(v, vgpu_nop(v));
    return (double)(clock_now_ns() - began_ns) / NS_PER_US;
}

double nops_per_s(uint64_t count, uint64_t began_ns)
{
    return (double)count * NS_PER_S / (double)(clock_now_ns() - began_ns);
}

/* A figure's name lives as long as the program. */
static const char *named(const char *device, const char *figure)
{
    char *name = bench_must(malloc(NAME_BYTES));

    snprintf(name, NAME_BYTES, "%s_nop_%s", device, figure);
    return name;
}

static void batch(struct vgpu *v, double *us, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        us[i] = nops_one_us(v);
    }
}

void nops_polling(struct vgpu *first, const char *first_name, struct vgpu *second,
                  const char *second_name, uint32_t count, double target)
{
    double p50, other_p50;

    for (uint32_t n = 0; n < count; n += NOPS_BATCH) {
        uint32_t rest = count - n < NOPS_BATCH ? count - n : NOPS_BATCH;

        batch(first, first_us + n, rest);
        batch(second, second_us + n, rest);
    }
    p50 = bench_quantile(first_us, count, 0.5);
    other_p50 = bench_quantile(second_us, count, 0.5);
    bench_figure(named(first_name, "polling_p50"), "us", p50);
    bench_figure(named(first_name, "polling_p99"), "us", bench_quantile(first_us, count, 0.99));
    bench_figure(named(second_name, "p50"), "us", other_p50);
    bench_figure_at_most(named(first_name, "polling_ratio"), "ratio", p50 / other_p50, target);
}

void nops_sleeping(struct vgpu *first, const char *first_name, struct vgpu *second,
                   const char *second_name, uint32_t count, double target)
{
    const struct timespec pause = {.tv_nsec = (long)PAUSE_NS};
    double p50, other_p50;

    for (uint32_t n = 0; n < count; n++) {
        nanosleep(&pause, NULL);
        first_us[n] = nops_one_us(first);
        nanosleep(&pause, NULL);
        second_us[n] = nops_one_us(second);
    }
    p50 = bench_quantile(first_us, count, 0.5);
    other_p50 = bench_quantile(second_us, count, 0.5);
    bench_figure(named(first_name, "sleeping_p50"), "us", p50);
    bench_figure(named(second_name, "sleeping_p50"), "us", other_p50);
    bench_figure_at_most(named(first_name, "sleeping_ratio"), "ratio", p50 / other_p50, target);
}
