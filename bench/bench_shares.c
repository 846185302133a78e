/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Are weights shares of GPU time, over real sockets and workers?
 *
 * Four VMs of weights 80, 60, 40, 20 keep one GPU (the CPU backend) busy with
 * jobs that spin; their weights come from a database that vgpu-admin writes.
 * What each got is what the answers say that its jobs took.
 */
#include <math.h>
#include <stdio.h>

#include "bench/bench.h"
#include "bench/daemon.h"
#include "bench/load.h"

#define VMS 4u

static const uint32_t weights[VMS] = {80, 60, 40, 20};

static void register_vms(const struct daemon *daemon)
{
    char db[DAEMON_PATH_BYTES + 8], uuid[64], name[32], weight[32], vm_id[32];
    const char *const init[] = {db, "--toolstack=none", "init-db", NULL};
    const char *const add[] = {
        db, "--toolstack=none", "register-vm", uuid, name, weight, vm_id, "--yes", NULL};

    snprintf(db, sizeof(db), "--db=%s", daemon->db);
    daemon_run(daemon, "vgpu-admin", init);
    for (uint32_t i = 0; i < VMS; i++) {
        snprintf(uuid, sizeof(uuid), "--vm-uuid=00000000-0000-4000-8000-00000000000%u", i + 1);
        snprintf(name, sizeof(name), "--vm-name=bench-%u", i + 1);
        snprintf(weight, sizeof(weight), "--weight=%u", weights[i]);
        snprintf(vm_id, sizeof(vm_id), "--vm-id=%u", i + 1);
        daemon_run(daemon, "vgpu-admin", add);
    }
}

/* The largest difference between a share and what is due, in points. */
static double share_error(const struct load *load, const char *const names[VMS], bool print)
{
    double total_us = 0, worst = 0, sum = 0;

    for (uint32_t i = 0; i < VMS; i++) {
        total_us += (double)load->vms[i].measured.gpu_us;
        sum += weights[i];
    }
    for (uint32_t i = 0; i < VMS; i++) {
        double share = 100 * (double)load->vms[i].measured.gpu_us / total_us;
        double error = fabs(share - 100 * weights[i] / sum);

        if (print) {
            bench_figure(names[i], "%", share);
        }
        worst = error > worst ? error : worst;
    }
    return worst;
}

static double run(const struct daemon *daemon, const char *vms, const char *seconds,
                  const char *const names[VMS], bool print)
{
    const char *const args[] = {"--socket", daemon->socket, "--vms", vms, "--warmup",
                                "1",        "--seconds",    seconds, NULL};
    static struct load load;
    double error;

    load_run(&load, args);
    error = share_error(&load, names, print);
    load_free(&load);
    return error;
}

int main(int argc, char **argv)
{
    static const char *const names[VMS] = {
        "weight 80 of 200: share of GPU time", "weight 60 of 200: share of GPU time",
        "weight 40 of 200: share of GPU time", "weight 20 of 200: share of GPU time"};
    struct bench_options options;
    struct daemon daemon;
    const char *seconds;
    int status =
        bench_parse(&options, "bench_shares",
                    "Weights 80/60/40/20 over real sockets and workers (CPU backend): how\n"
                    "far each VM's share of GPU time is from what is due.\n",
                    argc, argv);

    if (status >= 0) {
        return status;
    }
    seconds = options.quick ? "3" : "10"; /* of fewer turns nothing can be said */
    daemon_prepare(&daemon);
    register_vms(&daemon);
    daemon_start(&daemon, true, NULL);
    bench_figure_at_most("largest share error, jobs of 1 ms", "points",
                         run(&daemon, "n=4,vm_id=1,op=spin:1000,depth=8", seconds, names, true), 2);
    bench_figure_at_most("largest share error, jobs of 0.2, 1, 3 and 10 ms", "points",
                         run(&daemon,
                             "n=1,vm_id=1,op=spin:200,depth=16;n=1,vm_id=2,op=spin:1000,depth=8;"
                             "n=1,vm_id=3,op=spin:3000,depth=8;n=1,vm_id=4,op=spin:10000,depth=8",
                             seconds, names, false),
                         2);
    daemon_remove(&daemon);
    bench_print(&options, "bench_shares");
    return 0;
}
