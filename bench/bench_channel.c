/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Channels of host processes against protocol 1.0's socket, through the same mediator and the
 * CPU backend, in batches that alternate: whatever disturbs the machine disturbs both.
 *
 * Turns: the same work of a VM that is alone through two mediators, in batches that alternate; one
 * of them has a quantum so long that nothing ever ends a turn while there is work.
 *
 * "Polling", "sleeping": as in nops.h; a process that sleeps does so at once, without looking.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "bench/daemon.h"
#include "bench/load.h"
#include "bench/nops.h"
#include "common/clock.h"
#include "vgpu/vgpu.h"

#define POLLED 10000u
#define PAUSES 400u
#define DEPTH 64u
#define POSTED 2000000u
#define TURN_WORDS 16384u /* so that the place of the memory doesn't matter */
#define TURN_FILLS 20000u
#define TURN_BATCHES 20u
#define COPY_BYTES (64u << 20)
#define COPIES 8u

static struct vgpu *open_device(const struct daemon *daemon, const char *kind, uint32_t vm_id,
                                int sleep_at_once)
{
    char spec[DAEMON_PATH_BYTES + 8];
    struct vgpu_options options;
    struct vgpu *v;

    vgpu_options_init(&options);
    options.vm_id = vm_id;
    options.sleep_at_once = sleep_at_once;
    snprintf(spec, sizeof(spec), "%s:%s", kind, daemon->socket);
    if (vgpu_open(spec, &options, &v) < 0) {
        fprintf(stderr, "bench_channel: %s\n", vgpu_last_error(NULL));
        exit(1);
    }
    return v;
}

/* DEPTH at a time in flight, topped up one by one. */
static double posted_per_s(struct vgpu *v, uint64_t count)
{
    uint64_t began_ns = clock_now_ns();

    for (uint64_t i = 0; i < count; i++) {
        nops_must(v, vgpu_post(v, VGPU_OP_NOP, NULL, 0));
        nops_must(v, vgpu_wait_posted(v, DEPTH - 1));
    }
    nops_must(v, vgpu_wait_posted(v, 0));
    return nops_per_s(count, began_ns);
}

static double fills_per_s(struct vgpu *v, uint64_t count)
{
    uint64_t buffer, began_ns;

    nops_must(v, vgpu_buffer_new(v, 64, &buffer));
    began_ns = clock_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        nops_must(v, vgpu_fill(v, buffer, 16, (uint32_t)i));
        nops_must(v, vgpu_wait_posted(v, DEPTH - 1));
    }
    nops_must(v, vgpu_wait_posted(v, 0));
    return nops_per_s(count, began_ns);
}

/* One VM of 1.0 with as many in flight. */
static double sock_jobs_per_s(const struct daemon *daemon, bool quick)
{
    const char *const args[] = {
        "--socket", daemon->socket, "--vms", "1",        "--op", "nop",       "--depth",
        "64",       "--vm-id",      "3",     "--warmup", "1",    "--seconds", quick ? "1" : "3",
        NULL};
    static struct load load;
    double rate;

    load_run(&load, args);
    rate = load_jobs_per_s(&load);
    load_free(&load);
    return rate;
}

static void bench_pipelined(const struct daemon *daemon, struct vgpu *host, bool quick)
{
    uint64_t count = quick ? POSTED / 10 : POSTED;
    double sock = sock_jobs_per_s(daemon, quick);
    double nops = posted_per_s(host, count), fills = fills_per_s(host, count / 10);

    bench_figure("sock_pipelined_nop", "jobs/s", sock);
    bench_figure("host_pipelined_nop", "jobs/s", nops);
    bench_figure("host_pipelined_fill", "jobs/s", fills);
    bench_figure_at_least("host_pipelined_ratio", "ratio", nops / sock, 20);
    bench_figure_at_least("host_pipelined_fill_ratio", "ratio", fills / sock, 5);
}

static double fills_s(struct vgpu *v, uint64_t buffer)
{
    uint64_t began_ns = clock_now_ns();

    for (uint32_t i = 0; i < TURN_FILLS; i++) {
        nops_must(v, vgpu_fill(v, buffer, TURN_WORDS, i));
        nops_must(v, vgpu_wait_posted(v, DEPTH - 1));
    }
    nops_must(v, vgpu_wait_posted(v, 0));
    return (double)(clock_now_ns() - began_ns) / NS_PER_S;
}

/* Work of some microseconds a record, dozens of quanta in a batch; the quickest of each. */
static void bench_alone(struct vgpu *with_turns, bool quick)
{
    const char *const endless[] = {"--quantum-us", "86400000000", NULL};
    static double with_s[TURN_BATCHES], without_s[TURN_BATCHES];
    size_t count = quick ? TURN_BATCHES / 4 : TURN_BATCHES;
    struct daemon daemon;
    struct vgpu *without;
    uint64_t with_buffer, without_buffer;

    daemon_prepare(&daemon);
    daemon_start(&daemon, false, endless);
    without = open_device(&daemon, "host", 1, 0);
    nops_must(with_turns, vgpu_buffer_new(with_turns, TURN_WORDS * 4, &with_buffer));
    nops_must(without, vgpu_buffer_new(without, TURN_WORDS * 4, &without_buffer));
    fills_s(with_turns, with_buffer);
    fills_s(without, without_buffer);
    for (size_t i = 0; i < count; i++) {
        with_s[i] = fills_s(with_turns, with_buffer);
        without_s[i] = fills_s(without, without_buffer);
    }
    bench_figure("alone_fill", "us", bench_quantile(without_s, count, 0) / TURN_FILLS * 1e6);
    bench_figure_at_most("alone_turns_cost", "ratio",
                         bench_quantile(with_s, count, 0) / bench_quantile(without_s, count, 0) - 1,
                         0.01);
    vgpu_close(without);
    daemon_remove(&daemon);
}

static void bench_copies(struct vgpu *host)
{
    uint8_t *bytes = calloc(1, COPY_BYTES);
    uint64_t buffer, began_ns;

    if (!bytes) {
        fprintf(stderr, "bench_channel: out of memory\n");
        exit(1);
    }
    nops_must(host, vgpu_buffer_new(host, COPY_BYTES, &buffer));
    nops_must(host, vgpu_upload(host, buffer, 0, bytes, COPY_BYTES));
    nops_must(host, vgpu_download(host, buffer, 0, bytes, COPY_BYTES));
    began_ns = clock_now_ns();
    for (unsigned i = 0; i < COPIES; i++) {
        nops_must(host, vgpu_upload(host, buffer, 0, bytes, COPY_BYTES));
    }
    nops_must(host, vgpu_wait_posted(host, 0));
    bench_figure("host_upload", "GB/s", nops_per_s((uint64_t)COPIES * COPY_BYTES, began_ns) / 1e9);
    began_ns = clock_now_ns();
    for (unsigned i = 0; i < COPIES; i++) {
        nops_must(host, vgpu_download(host, buffer, 0, bytes, COPY_BYTES));
    }
    bench_figure("host_download", "GB/s",
                 nops_per_s((uint64_t)COPIES * COPY_BYTES, began_ns) / 1e9);
    free(bytes);
}

int main(int argc, char **argv)
{
    struct bench_options options;
    struct daemon daemon;
    struct vgpu *host, *sleeper, *sock;
    int status = bench_parse(&options, "bench_channel",
                             "Channels of host processes against protocol 1.0's socket, through\n"
                             "one mediator and the CPU backend.\n",
                             argc, argv);

    if (status >= 0) {
        return status;
    }
    daemon_prepare(&daemon);
    daemon_start(&daemon, false, NULL);
    host = open_device(&daemon, "host", 1, 0);
    sleeper = open_device(&daemon, "host", 1, 1);
    sock = open_device(&daemon, "sock", 2, 0);
    nops_one_us(host);
    nops_one_us(sock);
    nops_sleeping(sleeper, "host", sock, "sock", options.quick ? PAUSES / 4 : PAUSES, 1.0);
    vgpu_close(sleeper);
    nops_polling(host, "host", sock, "sock", options.quick ? POLLED / 5 : POLLED, 0.25);
    bench_pipelined(&daemon, host, options.quick);
    bench_alone(host, options.quick);
    bench_copies(host);
    vgpu_close(host);
    vgpu_close(sock);
    daemon_remove(&daemon);
    bench_print(&options, "bench_channel");
    return 0;
}
