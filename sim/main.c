/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vgpu-sim: the mediator's core in virtual time, from the command line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/args.h"
#include "common/names.h"
#include "common/ns.h"
#include "sim/sim.h"

#define PROGRAM "vgpu-sim"

enum {
    EXIT_VIOLATIONS = 1,
    EXIT_USAGE = ARGS_EXIT_USAGE,
};

struct command {
    struct sim_config config;
    const char *vms, *json, *plot;
    const char *random_mix, *faults; /* their seeds as given; NULL: not */
    bool print_vms, judge;
    struct sim_promise promise;
    uint64_t mix_seed, fault_seed;
};

static int take_windows(void *target, const char *name, char *value)
{
    struct sim_promise *promise = &((struct command *)target)->promise;
    char *text = value, want[80];

    promise->window_count = 0;
    do {
        double window_s = strtod(text, &text);

        if (!(window_s >= 0.1 && window_s <= 1e6) || (*text != ',' && *text != '\0') ||
            promise->window_count == SIM_WINDOWS_MAX) {
            snprintf(want, sizeof(want), "1 to %u numbers of seconds, from 0.1, separated by ','",
                     SIM_WINDOWS_MAX);
            return args_refused(PROGRAM, name, value, want);
        }
        promise->window_ns[promise->window_count++] = (uint64_t)(NS_PER_S * window_s);
    } while (*text++ == ',');
    return -1;
}

#define REAL(field, most, scale) ARGS_REAL(struct command, field, 0, most, scale)
#define NUMBER(field, min, max) ARGS_NUMBER(struct command, field, min, max, 1)
#define SEED(field) NUMBER(field, 0, UINT64_MAX)
#define FLAG(field) ARGS_FLAG(struct command, field)
#define TEXT(field) ARGS_TEXT(struct command, field)

static const struct args_option rows[] = {
    {"vms", "SPEC", "groups of VMs, separated by ';', of key=value, separated by ','", TEXT(vms)},
    {"random-mix", "SEED", "2 to 12 saturated VMs with random weights and jobs instead",
     SEED(mix_seed), .text = offsetof(struct command, random_mix)},
    {"faults", "SEED", "random faults; without --vms, random VMs and settings, too",
     SEED(fault_seed), .text = offsetof(struct command, faults)},
    {"policy", "NAME", "{range} ({default})",
     ARGS_CHOICE(struct command, config.core.scheduler.policy, policy_names)},
    {"gpus", "N", "number of GPUs ({default})", NUMBER(config.gpus, 1, CORE_GPUS_MAX)},
    {"pools", "N", "deal the GPUs out to so many pools, A, B, ... ({default})",
     NUMBER(config.pools, 1, CORE_GPUS_MAX)},
    {"seconds", "S", "how long ({default})",
     ARGS_REAL(struct command, config.duration_ns, 0.001, 1e6, NS_PER_S)},
    {"seed", "N", "of everything random ({default}); same seed, same trace hash",
     SEED(config.seed)},
    {"quantum-us", "N", "GPU time of one turn ({default})",
     REAL(config.core.scheduler.quantum_ns, 1e7, NS_PER_US)},
    {"depth", "N", "jobs handed to a worker ahead ({default})",
     NUMBER(config.core.scheduler.depth, 1, WFQ_DEPTH_MAX)},
    {"ahead-us", "N", "beyond depth, while what is handed out takes no longer ({default})",
     REAL(config.core.scheduler.ahead_ns, 1e6, NS_PER_US)},
    {"handover-us", "N", "hand over behind a turn's last job if no longer ({default}), 0 = never",
     REAL(config.core.scheduler.handover_ns, 1e6, NS_PER_US)},
    {"anticipation-us", "N", "longest wait for a VM's next job ({default}), 0 = none",
     REAL(config.core.scheduler.anticipation_ns, 1e6, NS_PER_US)},
    {"patience-ms", "N", "a VM that pauses for no longer keeps what it is owed ({default})",
     REAL(config.core.scheduler.patience_ns, 1e5, NS_PER_MS)},
    {"slack-percent", "N", "of its due, that it may lose to who fills its pauses ({default})",
     REAL(config.core.scheduler.slack_permille, 100, 10)},
    {"overrun-ms", "N", "let others in beside a job that runs longer ({default}), 0 = never",
     REAL(config.core.overrun_ns, 1e7, NS_PER_MS)},
    {"job-timeout-ms", "N", "kill a worker whose job runs longer ({default}), 0 = never",
     REAL(config.core.job_timeout_ns, 1e8, NS_PER_MS)},
    {"fault-threshold", "N", "quarantine a VM after so many faults ({default}), 0 = never",
     NUMBER(config.core.fault_threshold, 0, 1000000)},
    {"switch-us", "N", "cost of a context switch of the GPU ({default})",
     REAL(config.switch_ns, 1e6, NS_PER_US)},
    {"slice-us", "N", "the driver's time slice between busy workers ({default})",
     ARGS_REAL(struct command, config.slice_ns, 1, 1e6, NS_PER_US)},
    {"link-us", "N", "from the core to a worker, and back ({default})",
     REAL(config.link_ns, 1e6, NS_PER_US)},
    {"exclusive-time", NULL, "workers report their own GPU time, not elapsed time",
     ARGS_CLEAR(struct command, config.elapsed)},
    {"json", "FILE", "the result as JSON, - is standard output", TEXT(json)},
    {"plot", "FILE.svg", "shares over time", TEXT(plot)},
    {"trace", NULL, "every effect of the core on standard error", FLAG(config.trace)},
    {"print-vms", NULL, "say what --random-mix or --faults simulate", FLAG(print_vms)},
    {"judge", NULL, "does each VM get what is promised?  Each runs once more, alone", FLAG(judge)},
    {"judge-windows", "LIST", "over windows of so many seconds (10,30), all after the first 3 s",
     ARGS_TAKE(take_windows)},
    {"judge-slack", "P", "of its due that a VM may lose, percent ({default}), and ...",
     REAL(promise.slack, 99, 0.01)},
    {"judge-lost", "P", "... of the time for switches and hand-over ({default})",
     REAL(promise.lost, 99, 0.01)},
};

static const struct args_program program = {
    .name = PROGRAM,
    .intro = "Usage: vgpu-sim [OPTION]...\n"
             "\n"
             "Simulates the mediator's scheduler, limits and workers with virtual VMs and\n"
             "GPUs, checks that all promises are kept, and says who got what.\n"
             "\n",
    .outro =
        "\n"
        "Keys of a group (defaults): n (1), weight (50), prio 0-2 (1), pool (A),\n"
        "  job_us (1000): N, N-M log-uniform, uniform:N-M, exp:MEAN\n"
        "  closed loop: depth (8) requests outstanding, think_us (0) from reply to request\n"
        "  open loop: rate requests/s at Poisson times, burst (1) at once\n"
        "  on_ms and off_ms alternate; start_ms, stop_ms\n"
        "  limits: limit jobs/s, limit_burst, qdepth\n"
        "  faults, each a probability per job: crash, hang, fail, invalid; disconnect_ms mean\n"
        "  time between lost connections, away_ms (200) until it is back; slow_us a worker\n"
        "  takes to take up a job, gap_us from one to the next that is with it\n"
        "  attacks: batch 1 = a new batch of `depth` when all are answered; after tiny jobs of\n"
        "  tiny_us (1) come huge (1) of job_us; lies of its worker about GPU time: lie_factor,\n"
        "  lie_step down to it with each job, lie_us always, lie_every so many jobs; every\n"
        "  change_ms its settings become to_weight, to_prio, to_pool, and what they were\n"
        "  channel 1 = its jobs are records of a channel, and the mediator gives it turns\n"
        "\n"
        "Exit status: 0 all promises kept, 1 violations (said on standard error) or, with\n"
        "--judge, a promise that was not kept, 2 usage.\n"
        "\n"
        "Example: two VMs that want all they can get, and who gets what of the GPU:\n"
        "  vgpu-sim --vms 'weight=80;weight=20' --seconds 10 --plot shares.svg\n",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};

static void read_options(int argc, char **argv, struct command *command)
{
    int status = args_parse(&program, argc, argv, command, NULL);

    if (status >= 0) {
        exit(status);
    }
}

/* What is drawn from a seed comes first, so that options given beside it win. */
static void draw(int argc, char **argv, struct command *command)
{
    read_options(argc, argv, command);
    if (command->vms && command->random_mix) {
        fprintf(stderr, "vgpu-sim: --vms and --random-mix exclude each other\n");
        exit(EXIT_USAGE);
    }
    sim_config_defaults(&command->config);
    if (command->random_mix) {
        sim_random_mix(&command->config, command->mix_seed);
    }
    if (command->faults) {
        sim_random_faults(&command->config, command->fault_seed,
                          command->vms != NULL || command->random_mix);
    }
}

static void parse(int argc, char **argv, struct command *command)
{
    char error[256];

    draw(argc, argv, command);
    read_options(argc, argv, command);
    if (command->vms && sim_spec_parse(command->vms, &command->config, error, sizeof(error)) < 0) {
        fprintf(stderr, "vgpu-sim: --vms: %s\n", error);
        exit(EXIT_USAGE);
    }
    if (command->judge && command->faults) {
        fprintf(stderr, "vgpu-sim: --judge and --faults exclude each other: beside faults no "
                        "share is promised\n");
        exit(EXIT_USAGE);
    }
    if (command->config.group_count == 0) {
        fprintf(stderr, "vgpu-sim: say what to simulate: --vms, --random-mix or --faults. "
                        "See vgpu-sim --help.\n");
        exit(EXIT_USAGE);
    }
}

static FILE *open_output(const char *path)
{
    FILE *out = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");

    if (!out) {
        fprintf(stderr, "vgpu-sim: %s: %s\n", path, strerror(errno));
        exit(EXIT_USAGE);
    }
    return out;
}

static void close_output(const char *path, FILE *out, int ret)
{
    if ((out == stdout ? fflush(out) : fclose(out)) != 0 || ret < 0) {
        fprintf(stderr, "vgpu-sim: %s: can't be written\n", path);
        exit(EXIT_USAGE);
    }
}

/* The command as one would type it, for the picture's footer. */
static void join(int argc, char **argv, char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "vgpu-sim");

    for (int i = 1; i < argc && used < bytes; i++) {
        bool plain = strpbrk(argv[i], "; '\"&") == NULL;

        if (strcmp(argv[i], "--plot") == 0 || strcmp(argv[i], "--json") == 0) {
            i++;
            continue;
        }
        used += (size_t)snprintf(text + used, bytes - used, plain ? " %s" : " '%s'", argv[i]);
    }
}

int main(int argc, char **argv)
{
    static struct command command; /* large */
    static struct sim_result result;
    static struct sim_verdict verdicts[SIM_VMS_MAX];
    const struct sim_promise *promise = &command.promise;
    uint32_t worst_vm;
    bool broken;
    int ret;
    char text[1024];
    FILE *out;

    sim_config_defaults(&command.config);
    sim_promise_defaults(&command.promise);
    parse(argc, argv, &command);
    if (command.print_vms) {
        fprintf(stderr, "vgpu-sim: --vms '");
        sim_spec_print(&command.config, stderr);
        fprintf(stderr, "'\n");
    }
    ret = command.judge ? sim_judge(&command.config, promise, &result, verdicts)
                        : sim_run(&command.config, &result);
    if (ret < 0) {
        fprintf(stderr,
                "vgpu-sim: this can't be simulated: at most %u VMs, pools A to %c, "
                "a pool for each GPU at most\n",
                SIM_VMS_MAX, 'A' + (char)command.config.pools - 1);
        return EXIT_USAGE;
    }
    if (command.json) {
        out = open_output(command.json);
        close_output(command.json, out,
                     sim_print_json(&command.config, &result, promise,
                                    command.judge ? verdicts : NULL, out));
    }
    if (command.plot) {
        join(argc, argv, text, sizeof(text));
        out = open_output(command.plot);
        close_output(command.plot, out, sim_print_plot(&command.config, &result, text, out));
    }
    if (!command.json || strcmp(command.json, "-") != 0) {
        sim_print_table(&command.config, &result, stdout);
        if (command.judge) {
            sim_print_verdicts(promise, &result, verdicts, stdout);
        }
    }
    broken = command.judge && sim_worst(verdicts, result.vm_count, &worst_vm) < 1;
    return result.violations > 0 || broken ? EXIT_VIOLATIONS : EXIT_SUCCESS;
}
