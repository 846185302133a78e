/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vgpu-sim: the mediator's core in virtual time, from the command line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "common/option_list.h"
#include "common/parse.h"
#include "common/usage.h"
#include "sim/sim.h"

enum {
    EXIT_VIOLATIONS = 1,
    EXIT_USAGE = 2,
};

static const char help[] =
    "Usage: vgpu-sim [OPTION]...\n"
    "\n"
    "Simulates the mediator's scheduler, limits and workers with virtual VMs and\n"
    "GPUs, checks that all promises are kept, and says who got what.\n"
    "\n"
    "  --vms SPEC           groups of VMs, separated by ';', of key=value, separated by ','\n"
    "  --random-mix SEED    2 to 12 saturated VMs with random weights and jobs instead\n"
    "  --faults SEED        random faults; without --vms, random VMs and settings, too\n"
    "  --policy NAME        " POLICY_WORDS " (wfq)\n"
    "  --gpus N             number of GPUs (1)\n"
    "  --pools N            deal the GPUs out to so many pools, A, B, ... (1)\n"
    "  --seconds S          how long (60)\n"
    "  --seed N             of everything random (1); same seed, same trace hash\n"
    "  --quantum-us N       GPU time of one turn (6000)\n"
    "  --depth N            jobs handed to a worker ahead (2)\n"
    "  --ahead-us N         beyond depth, while what is handed out takes no longer (200)\n"
    "  --handover-us N      hand over behind a turn's last job if no longer (2000), 0 = never\n"
    "  --anticipation-us N  longest wait for a VM's next job (1000), 0 = none\n"
    "  --patience-ms N      a VM that pauses for no longer keeps what it is owed (100)\n"
    "  --slack-percent N    of its due, that it may lose to who fills its pauses (8)\n"
    "  --overrun-ms N       let others in beside a job that runs longer (100), 0 = never\n"
    "  --job-timeout-ms N   kill a worker whose job runs longer (30000), 0 = never\n"
    "  --fault-threshold N  quarantine a VM after so many faults (5), 0 = never\n"
    "  --switch-us N        cost of a context switch of the GPU (135)\n"
    "  --slice-us N         the driver's time slice between busy workers (2000)\n"
    "  --link-us N          from the core to a worker, and back (15)\n"
    "  --exclusive-time     workers report their own GPU time, not elapsed time\n"
    "  --json FILE          the result as JSON, - is standard output\n"
    "  --plot FILE.svg      shares over time\n"
    "  --trace              every effect of the core on standard error\n"
    "  --print-vms          say what --random-mix or --faults simulate\n"
    "  --judge              does each VM get what is promised?  Each runs once more, alone\n"
    "  --judge-windows LIST over windows of so many seconds (10,30), all after the first 3 s\n"
    "  --judge-slack P      of its due that a VM may lose, percent (8), and ...\n"
    "  --judge-lost P       ... of the time for switches and hand-over (5)\n"
    "  --help, --version\n"
    "\n"
    "Keys of a group (defaults): n (1), weight (50), prio 0-2 (1), pool (A),\n"
    "  job_us (1000): N, N-M log-uniform, uniform:N-M, exp:MEAN\n"
    "  closed loop: depth (8) requests outstanding, think_us (0) from reply to request\n"
    "  open loop: rate requests/s at Poisson times, burst (1) at once\n"
    "  on_ms and off_ms alternate; start_ms, stop_ms\n"
    "  limits: limit jobs/s, limit_burst, qdepth\n"
    "  faults, each a probability per job: crash, hang, fail, invalid; disconnect_ms mean\n"
    "  time between lost connections, away_ms (200) until it is back; slow_us a worker\n"
    "  takes to take up a job\n"
    "  attacks: batch 1 = a new batch of `depth` when all are answered; after tiny jobs of\n"
    "  tiny_us (1) come huge (1) of job_us; lies of its worker about GPU time: lie_factor,\n"
    "  lie_step down to it with each job, lie_us always, lie_every so many jobs; every\n"
    "  change_ms its settings become to_weight, to_prio, to_pool, and what they were\n"
    "\n"
    "Exit status: 0 all promises kept, 1 violations (said on standard error) or, with\n"
    "--judge, a promise that was not kept, 2 usage.\n"
    "\n"
    "Example: two VMs that want all they can get, and who gets what of the GPU:\n"
    "  vgpu-sim --vms 'weight=80;weight=20' --seconds 10 --plot shares.svg\n";

#define OPTIONS(X)                                                                                 \
    X(VMS, "vms", required_argument)                                                               \
    X(RANDOM_MIX, "random-mix", required_argument)                                                 \
    X(FAULTS, "faults", required_argument)                                                         \
    X(POLICY, "policy", required_argument)                                                         \
    X(GPUS, "gpus", required_argument)                                                             \
    X(POOLS, "pools", required_argument)                                                           \
    X(SECONDS, "seconds", required_argument)                                                       \
    X(SEED, "seed", required_argument)                                                             \
    X(QUANTUM, "quantum-us", required_argument)                                                    \
    X(DEPTH, "depth", required_argument)                                                           \
    X(AHEAD, "ahead-us", required_argument)                                                        \
    X(HANDOVER, "handover-us", required_argument)                                                  \
    X(ANTICIPATION, "anticipation-us", required_argument)                                          \
    X(PATIENCE, "patience-ms", required_argument)                                                  \
    X(SLACK, "slack-percent", required_argument)                                                   \
    X(OVERRUN, "overrun-ms", required_argument)                                                    \
    X(TIMEOUT, "job-timeout-ms", required_argument)                                                \
    X(THRESHOLD, "fault-threshold", required_argument)                                             \
    X(SWITCH, "switch-us", required_argument)                                                      \
    X(SLICE, "slice-us", required_argument)                                                        \
    X(LINK, "link-us", required_argument)                                                          \
    X(EXCLUSIVE, "exclusive-time", no_argument)                                                    \
    X(JSON, "json", required_argument)                                                             \
    X(PLOT, "plot", required_argument)                                                             \
    X(TRACE, "trace", no_argument)                                                                 \
    X(PRINT_VMS, "print-vms", no_argument)                                                         \
    X(JUDGE, "judge", no_argument)                                                                 \
    X(JUDGE_WINDOWS, "judge-windows", required_argument)                                           \
    X(JUDGE_SLACK, "judge-slack", required_argument)                                               \
    X(JUDGE_LOST, "judge-lost", required_argument)                                                 \
    X(HELP, "help", no_argument)                                                                   \
    X(VERSION, "version", no_argument)

enum option_id { OPT_BEFORE_FIRST = 255, OPTIONS(OPTION_ID) };

static const struct option options[] = {OPTIONS(OPTION_ROW){0}};

struct command {
    struct sim_config config;
    const char *vms, *json, *plot;
    bool random_mix, faults, print_vms, judge;
    struct sim_promise promise;
    uint64_t mix_seed, fault_seed;
};

static const char *option_name(int id)
{
    for (const struct option *option = options; option->name; option++) {
        if (option->val == id) {
            return option->name;
        }
    }
    return "?";
}

static double number(int id, double min, double max)
{
    double value;

    if (!parse_real(optarg, min, max, &value)) {
        fprintf(stderr, "vgpu-sim: --%s %s: must be a number from %g to %g\n", option_name(id),
                optarg, min, max);
        exit(EXIT_USAGE);
    }
    return value;
}

static uint64_t seed_number(int id)
{
    uint64_t value;

    if (!parse_uint_base(optarg, 0, 0, UINT64_MAX, &value)) {
        fprintf(stderr, "vgpu-sim: --%s %s: must be a whole number\n", option_name(id), optarg);
        exit(EXIT_USAGE);
    }
    return value;
}

static enum wfq_policy_id policy_number(void)
{
    int policy = wfq_policy_from_name(optarg);

    if (policy < 0) {
        fprintf(stderr, "vgpu-sim: --policy %s: must be one of " POLICY_WORDS "\n", optarg);
        exit(EXIT_USAGE);
    }
    return (enum wfq_policy_id)policy;
}

static void take_windows(struct sim_promise *promise)
{
    char *text = optarg;

    promise->window_count = 0;
    do {
        double window_s = strtod(text, &text);

        if (!(window_s >= 0.1 && window_s <= 1e6) || (*text != ',' && *text != '\0') ||
            promise->window_count == SIM_WINDOWS_MAX) {
            fprintf(stderr,
                    "vgpu-sim: --judge-windows %s: must be 1 to %u numbers of seconds, from 0.1, "
                    "separated by ','\n",
                    optarg, SIM_WINDOWS_MAX);
            exit(EXIT_USAGE);
        }
        promise->window_ns[promise->window_count++] = (uint64_t)(NS_PER_S * window_s);
    } while (*text++ == ',');
}

static void take_option(int id, const char *refused, struct command *command)
{
    struct sim_config *config = &command->config;

    switch (id) {
    case OPT_VMS: command->vms = optarg; break;
    case OPT_RANDOM_MIX:
        command->random_mix = true;
        command->mix_seed = seed_number(id);
        break;
    case OPT_FAULTS:
        command->faults = true;
        command->fault_seed = seed_number(id);
        break;
    case OPT_POLICY: config->core.scheduler.policy = policy_number(); break;
    case OPT_GPUS: config->gpus = (uint32_t)number(id, 1, CORE_GPUS_MAX); break;
    case OPT_POOLS: config->pools = (uint32_t)number(id, 1, CORE_GPUS_MAX); break;
    case OPT_SECONDS: config->duration_ns = (uint64_t)(NS_PER_S * number(id, 0.001, 1e6)); break;
    case OPT_SEED: config->seed = seed_number(id); break;
    case OPT_QUANTUM:
        config->core.scheduler.quantum_ns = (uint64_t)(1e3 * number(id, 0, 1e7));
        break;
    case OPT_DEPTH: config->core.scheduler.depth = (uint32_t)number(id, 1, WFQ_DEPTH_MAX); break;
    case OPT_HANDOVER:
        config->core.scheduler.handover_ns = (uint64_t)(1e3 * number(id, 0, 1e6));
        break;
    case OPT_AHEAD: config->core.scheduler.ahead_ns = (uint64_t)(1e3 * number(id, 0, 1e6)); break;
    case OPT_ANTICIPATION:
        config->core.scheduler.anticipation_ns = (uint64_t)(1e3 * number(id, 0, 1e6));
        break;
    case OPT_PATIENCE:
        config->core.scheduler.patience_ns = (uint64_t)(NS_PER_MS * number(id, 0, 1e5));
        break;
    case OPT_SLACK:
        config->core.scheduler.slack_permille = (uint32_t)(10 * number(id, 0, 100));
        break;
    case OPT_OVERRUN: config->core.overrun_ns = (uint64_t)(NS_PER_MS * number(id, 0, 1e7)); break;
    case OPT_TIMEOUT:
        config->core.job_timeout_ns = (uint64_t)(NS_PER_MS * number(id, 0, 1e8));
        break;
    case OPT_THRESHOLD: config->core.fault_threshold = (uint32_t)number(id, 0, 1e6); break;
    case OPT_SWITCH: config->switch_ns = (uint64_t)(1e3 * number(id, 0, 1e6)); break;
    case OPT_SLICE: config->slice_ns = (uint64_t)(1e3 * number(id, 1, 1e6)); break;
    case OPT_LINK: config->link_ns = (uint64_t)(1e3 * number(id, 0, 1e6)); break;
    case OPT_EXCLUSIVE: config->elapsed = false; break;
    case OPT_JSON: command->json = optarg; break;
    case OPT_PLOT: command->plot = optarg; break;
    case OPT_TRACE: config->trace = true; break;
    case OPT_PRINT_VMS: command->print_vms = true; break;
    case OPT_JUDGE: command->judge = true; break;
    case OPT_JUDGE_WINDOWS: take_windows(&command->promise); break;
    case OPT_JUDGE_SLACK: command->promise.slack = number(id, 0, 99) / 100; break;
    case OPT_JUDGE_LOST: command->promise.lost = number(id, 0, 99) / 100; break;
    case OPT_HELP: fputs(help, stdout); exit(EXIT_SUCCESS);
    case OPT_VERSION: puts("vgpu-sim " VGPU_VERSION); exit(EXIT_SUCCESS);
    default: usage_unknown("vgpu-sim", options, refused); exit(EXIT_USAGE);
    }
}

/* What is drawn from a seed comes first, so that options given beside it win. */
static void draw(int argc, char **argv, struct command *command)
{
    while (true) {
        int id = getopt_long(argc, argv, "", options, NULL);

        if (id == -1) {
            break;
        }
        take_option(id, argv[optind - 1], command);
    }
    if (optind < argc) {
        fprintf(stderr, "vgpu-sim: what is \"%s\"? See vgpu-sim --help.\n", argv[optind]);
        exit(EXIT_USAGE);
    }
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
    int id;

    draw(argc, argv, command);
    optind = 1;
    while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
        take_option(id, argv[optind - 1], command);
    }
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
