/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a device's socket to a worker and back, and how many jobs a second.
 *
 * The baseline has the same shape with nothing in it: this process asks a relay
 * on a stream socket, the relay asks an echo process on a SEQPACKET socket, and
 * both only read and write, blocking, as many bytes as a NOP's frames have.
 *
 * Whether two processes share a processor decides more than all that they do, and the kernel's
 * scheduler decides it anew for each pair.  So both ways get the same places: this process on one
 * processor, the relay and the mediator on the next, the echo process and the worker on a third
 * (with two processors: on the first).  They are asked in turn, a short slice each, so that
 * whatever disturbs the machine disturbs both.  A slice's ratio is that of its medians, and the
 * figure is the median of the slices' ratios.  A second ratio, with all of them on one processor,
 * has no waking of another processor in it: there the mediator's own work shows.
 */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/daemon.h"
#include "bench/load.h"
#include "common/clock.h"
#include "vgpu/vgpu_worker.h"

#define SLICE 20u
#define SLICES 2000u
#define WARM_UP 200u
#define RUN_BYTES (sizeof(vgpu_worker_header) + sizeof(vgpu_worker_run))
#define DONE_BYTES (sizeof(vgpu_worker_header) + sizeof(vgpu_worker_done))

struct nop_frame {
    VGPUSocketHeader header;
    VGPURequest request;
};

struct nop_answer {
    VGPUSocketHeader header;
    VGPUResponse response;
};

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "bench_roundtrip: %s: %s\n", what, strerror(errno));
    exit(1);
}

static bool read_all(int fd, void *bytes, size_t length)
{
    return recv(fd, bytes, length, MSG_WAITALL) == (ssize_t)length;
}

static void echo_process(int fd)
{
    char bytes[DONE_BYTES] = {0};

    while (recv(fd, bytes, RUN_BYTES, 0) > 0 &&
           send(fd, bytes, DONE_BYTES, MSG_NOSIGNAL) == (ssize_t)DONE_BYTES) {
    }
    _exit(0);
}

static void relay_process(int client, int echo)
{
    char bytes[sizeof(struct nop_frame) + DONE_BYTES] = {0};

    while (read_all(client, bytes, sizeof(struct nop_frame)) &&
           send(echo, bytes, RUN_BYTES, MSG_NOSIGNAL) > 0 && recv(echo, bytes, DONE_BYTES, 0) > 0 &&
           send(client, bytes, sizeof(struct nop_answer), MSG_NOSIGNAL) > 0) {
    }
    _exit(0);
}

/* Our end of the baseline. */
static int start_baseline(pid_t pids[2])
{
    int front[2], back[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, front) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, back) < 0) {
        die("socketpair");
    }
    for (unsigned i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] < 0) {
            die("fork");
        }
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(front[0]);
            if (i == 0) {
                close(front[1]);
                close(back[0]);
                echo_process(back[1]);
            }
            close(back[1]);
            relay_process(front[1], back[0]);
        }
    }
    close(front[1]);
    close(back[0]);
    close(back[1]);
    return front[0];
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, path); /* DAEMON_PATH_BYTES is shorter */
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        die("cannot connect to the mediator");
    }
    return fd;
}

static double one_trip_us(int fd, struct nop_frame *frame, bool check)
{
    uint64_t began_ns = clock_now_ns(), ended_ns;
    struct nop_answer answer;

    frame->header.request_id++;
    if (send(fd, frame, sizeof(*frame), MSG_NOSIGNAL) != (ssize_t)sizeof(*frame) ||
        !read_all(fd, &answer, sizeof(answer))) {
        die("the other side is gone");
    }
    ended_ns = clock_now_ns();
    if (check && (answer.header.msg_type != VGPU_MSG_RESPONSE ||
                  answer.header.request_id != frame->header.request_id ||
                  answer.response.status != VGPU_ERR_NONE)) {
        errno = EPROTO;
        die("a wrong answer");
    }
    return (double)(ended_ns - began_ns) / 1000;
}

struct run_frame {
    vgpu_worker_header header;
    vgpu_worker_run run;
};

/* The last hop by itself: a worker that this program talks to as the mediator does. */
static void bench_worker(const struct daemon *daemon, bool quick)
{
    struct run_frame frame = {.header = {.magic = VGPU_WORKER_MAGIC,
                                         .version = VGPU_WORKER_VERSION,
                                         .type = VGPU_WORKER_RUN,
                                         .length = RUN_BYTES},
                              .run = {.opcode = VGPU_OP_NOP}};
    static double trips[SLICE * SLICES];
    size_t count = quick ? SLICE * SLICES / 10 : SLICE * SLICES;
    char bytes[VGPU_WORKER_FRAME_MAX];
    vgpu_worker_header header;
    pid_t pid;
    int fd = daemon_start_worker(daemon, &pid);

    if (recv(fd, bytes, sizeof(bytes), 0) <= 0) {
        die("vgpu-worker does not start");
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t began_ns = clock_now_ns();

        frame.header.job_id++;
        if (send(fd, &frame, sizeof(frame), MSG_NOSIGNAL) != (ssize_t)sizeof(frame) ||
            recv(fd, bytes, sizeof(bytes), 0) != (ssize_t)DONE_BYTES) {
            die("vgpu-worker is gone");
        }
        trips[i] = (double)(clock_now_ns() - began_ns) / 1000;
        memcpy(&header, bytes, sizeof(header));
        if (header.type != VGPU_WORKER_DONE || header.job_id != frame.header.job_id) {
            errno = EPROTO;
            die("a wrong answer of vgpu-worker");
        }
    }
    close(fd);
    waitpid(pid, NULL, 0);
    bench_figure("NOP to a worker and back, without mediator, p50", "us",
                 bench_quantile(trips, count, 0.5));
}

/* The i-th of the processors that this program may use, round and round. */
static int nth_processor(const cpu_set_t *usable, int i)
{
    int skip = i % CPU_COUNT(usable), cpu = 0;

    while (!CPU_ISSET(cpu, usable) || skip-- > 0) {
        cpu++;
    }
    return cpu;
}

/* A process of a way, by its place in it. */
static void pin(pid_t pid, const cpu_set_t *usable, int place)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(nth_processor(usable, place), &one);
    if (sched_setaffinity(pid, sizeof(one), &one) < 0) {
        die("cannot choose a process's processor");
    }
}

/* The processes of both ways, by their places. */
struct ways {
    int bare_fd, real_fd;
    pid_t bare[2], mediator, worker; /* bare[0] echoes, bare[1] relays */
};

static void pin_ways(const struct ways *ways, const cpu_set_t *usable, bool apart)
{
    pin(0, usable, 0);
    pin(ways->bare[1], usable, apart ? 1 : 0);
    pin(ways->mediator, usable, apart ? 1 : 0);
    pin(ways->bare[0], usable, apart ? 2 : 0);
    pin(ways->worker, usable, apart ? 2 : 0);
}

/* The median of a slice; sorts it. */
static double slice_us(int fd, bool check, double *trips)
{
    static struct nop_frame frame = {
        .header = {.magic = VGPU_SOCKET_MAGIC,
                   .msg_type = VGPU_MSG_REQUEST,
                   .vm_id = 1,
                   .pool_id = 'A',
                   .priority = VGPU_PRIORITY_MEDIUM,
                   .payload_len = sizeof(VGPURequest)},
        .request = {.version = VGPU_PROTOCOL_VERSION, .opcode = VGPU_OP_NOP},
    };

    for (unsigned i = 0; i < SLICE; i++) {
        trips[i] = one_trip_us(fd, &frame, check);
    }
    return bench_quantile(trips, SLICE, 0.5);
}

/* Both ways' trips, and the median of the slices' ratios. */
static double compare(const struct ways *ways, uint32_t slices, double *bare, double *real)
{
    static double ratios[SLICES];

    for (uint32_t i = 0; i < slices; i++) {
        double bare_us = slice_us(ways->bare_fd, false, bare + (size_t)i * SLICE);

        ratios[i] = slice_us(ways->real_fd, true, real + (size_t)i * SLICE) / bare_us;
    }
    return bench_quantile(ratios, slices, 0.5);
}

static void start_ways(struct ways *ways, const struct daemon *daemon)
{
    double trips[SLICE];

    ways->bare_fd = start_baseline(ways->bare);
    ways->real_fd = connect_to(daemon->socket);
    for (uint32_t i = 0; i < WARM_UP; i += SLICE) { /* the first ones wait for the worker's start */
        slice_us(ways->bare_fd, false, trips);
        slice_us(ways->real_fd, true, trips);
    }
    ways->mediator = daemon->pid;
    ways->worker = daemon_find_worker(daemon);
}

static void stop_ways(struct ways *ways)
{
    close(ways->bare_fd);
    close(ways->real_fd);
    waitpid(ways->bare[0], NULL, 0);
    waitpid(ways->bare[1], NULL, 0);
}

static void bench_latency(const struct daemon *daemon, bool quick)
{
    static double bare[SLICE * SLICES], real[SLICE * SLICES];
    uint32_t slices = quick ? SLICES / 10 : SLICES;
    size_t n = (size_t)slices * SLICE;
    double together, apart;
    struct ways ways;
    cpu_set_t usable;

    if (sched_getaffinity(0, sizeof(usable), &usable) < 0) {
        die("cannot see which processors there are");
    }
    start_ways(&ways, daemon);
    pin_ways(&ways, &usable, false);
    together = compare(&ways, slices, bare, real);
    pin_ways(&ways, &usable, true);
    apart = compare(&ways, slices, bare, real);
    sched_setaffinity(0, sizeof(usable), &usable);
    sched_setaffinity(ways.mediator, sizeof(usable), &usable);
    stop_ways(&ways);
    bench_figure("bare two-hop ping-pong, p50", "us", bench_quantile(bare, n, 0.5));
    bench_figure("NOP through mediator and worker, p50", "us", bench_quantile(real, n, 0.5));
    bench_figure_at_most("NOP against ping-pong, p50", "ratio", apart, 1.15);
    bench_figure("the same, all on one processor", "ratio", together);
    bench_figure("bare two-hop ping-pong, p99", "us", bench_quantile(bare, n, 0.99));
    bench_figure("NOP through mediator and worker, p99", "us", bench_quantile(real, n, 0.99));
}

/* Names are those of the figures: rate, then the slowest VM's. */
static void bench_throughput(const struct daemon *daemon, bool quick, const char *rate_name,
                             const char *slowest_name)
{
    const char *const args[] = {
        "--socket", daemon->socket, "--vms", "64",       "--op", "nop",       "--depth",
        "32",       "--vm-id",      "100",   "--warmup", "3",    "--seconds", quick ? "1" : "5",
        NULL};
    static struct load load;
    double slowest = HUGE_VAL;

    load_run(&load, args);
    for (uint32_t i = 0; i < load.options.vm_count; i++) {
        double jobs = (double)load.vms[i].measured.jobs;

        slowest = jobs < slowest ? jobs : slowest;
    }
    bench_figure_at_least(rate_name, "jobs/s", load_jobs_per_s(&load), 100000);
    bench_figure(slowest_name, "jobs/s", slowest * NS_PER_S / (double)load.result.measured_ns);
    load_free(&load);
}

int main(int argc, char **argv)
{
    static const char *const deep[] = {"--depth", "8", NULL};
    struct bench_options options;
    struct daemon daemon;
    int status = bench_parse(&options, "bench_roundtrip",
                             "A NOP's way through the real mediator and worker (CPU backend): its\n"
                             "latency against a bare ping-pong of the same shape, and how many a\n"
                             "second 64 VMs get through.\n",
                             argc, argv);

    if (status >= 0) {
        return status;
    }
    daemon_prepare(&daemon);
    daemon_start(&daemon, false, NULL);
    bench_worker(&daemon, options.quick);
    bench_latency(&daemon, options.quick);
    bench_throughput(&daemon, options.quick, "64 VMs, 32 NOPs in flight each",
                     "the slowest of the 64 VMs");
    daemon_stop(&daemon);
    daemon_start(&daemon, false, deep);
    bench_throughput(&daemon, options.quick, "the same, mediator with --depth 8",
                     "the slowest of the 64 VMs, --depth 8");
    daemon_remove(&daemon);
    bench_print(&options, "bench_roundtrip");
    return 0;
}
