/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/args.h"
#include "common/names.h"
#include "common/sandbox.h"
#include "common/ns.h"
#include "common/unused.h"
#include "vgpu/vgpu_admin.h"
#include "mediator/base/busy_poll.h"
#include "mediator/metrics/stats_log.h"

#define PROGRAM "vgpu-mediator"
#define MIB (UINT64_C(1) << 20)
#define CHANNEL_MEMORY_MAX_MIB (MIB * 16) /* 16 TiB */
#define UID_COUNT_MAX 65536u

/* A day is beyond any sense and far from overflow. */
#define DAY_S UINT64_C(86400)
#define DAY_MS (DAY_S * 1000)
#define DAY_US (DAY_MS * 1000)

/* By enum backend_choice, unregistered_choice less one, and keeper_confinement. */
static const char *const backends[] = {"auto", "cpu", "cuda", NULL};
static const char *const unregistered[] = {"allow", "deny", NULL};
static const char *const confines[] = {"auto", "always", "never", NULL};

/* For paths that are a part of a value, or come from elsewhere. */
static const struct args_option socket_path = {.kind = ARGS_KIND_SOCKET};

static int take_vm(void *target, const char *name, char *text)
{
    struct options *options = target;
    char *equals = strchr(text, '=');
    struct option_vm_socket *vm = &options->vm_sockets[options->vm_socket_count];
    char uuid[UUID_TEXT_BYTES];
    int status;

    if (options->vm_socket_count == OPTIONS_VM_SOCKETS_MAX) {
        fprintf(stderr, PROGRAM ": --vm may be given %u times at most.\n", OPTIONS_VM_SOCKETS_MAX);
        return ARGS_EXIT_USAGE;
    }
    if (!equals || equals - text != (long)UUID_TEXT_BYTES - 1 || equals[1] == '\0') {
        return args_refused(PROGRAM, name, text, "UUID=PATH");
    }
    memcpy(uuid, text, sizeof(uuid) - 1);
    uuid[sizeof(uuid) - 1] = '\0';
    if (!uuid_parse(uuid, vm->uuid)) {
        return args_refused(PROGRAM, name, text, "UUID=PATH (that is no UUID)");
    }
    for (uint32_t i = 0; i < options->vm_socket_count; i++) {
        if (strcmp(options->vm_sockets[i].path, equals + 1) == 0) {
            fprintf(stderr, PROGRAM ": --vm: %s is given to two VMs.\n", equals + 1);
            return ARGS_EXIT_USAGE;
        }
    }
    status = args_take_value(PROGRAM, &socket_path, &vm->path, name, equals + 1);
    options->vm_socket_count += status < 0;
    return status;
}

static int take_qemu_user(void *target, UNUSED const char *name, char *value)
{
    struct options *options = target;

    if (options->qemu_user_count == OPTIONS_QEMU_USERS_MAX) {
        fprintf(stderr, PROGRAM ": --qemu-user may be given %u times at most.\n",
                OPTIONS_QEMU_USERS_MAX);
        return ARGS_EXIT_USAGE;
    }
    options->qemu_users[options->qemu_user_count++] = value;
    return -1;
}

static int take_metrics_listen(void *target, const char *name, char *value)
{
    struct options *options = target;

    if (http_address_parse(&options->metrics, value) < 0) {
        return args_refused(PROGRAM, name, value,
                            "ADDRESS:PORT, [IPV6]:PORT, an absolute path or off");
    }
    options->metrics_given = true;
    return options->metrics.path
               ? args_take_value(PROGRAM, &socket_path, &options->metrics.path, name, value)
               : -1;
}

#define TEXT(field) ARGS_TEXT(struct options, field)
#define SOCKET(field) ARGS_SOCKET(struct options, field)
#define FLAG(field) ARGS_FLAG(struct options, field)
#define CLEAR(field) ARGS_CLEAR(struct options, field)
#define CHOICE(field, words) ARGS_CHOICE(struct options, field, words)
#define NUMBER(field, min, max, unit) ARGS_NUMBER(struct options, field, min, max, unit)
#define GIVEN(field) .text = offsetof(struct options, field)

static const struct args_option rows[] = {
    ARGS_HEADING("Sockets and identity:"),
    {"socket-path", "PATH",
     "the shared socket (default " VGPU_SOCKET_PATH " and for root " VGPU_ROOT_SOCKET_PATH
     ", or none when --vm is given)",
     SOCKET(socket_path)},
    {"socket-group", "GROUP",
     "let this group use the shared socket and those of --vm (default: their owner only)",
     TEXT(socket_group)},
    {"vm", "UUID=PATH", "a socket for one VM; may be repeated", ARGS_TAKE(take_vm)},
    {"qemu-user", "USER",
     "only QEMUs run as this user: a VM's own socket is given to it when discovery finds the VM's "
     "QEMU; may be repeated (default libvirt-qemu and qemu, where there are such users)",
     ARGS_TAKE(take_qemu_user)},
    {"bridge-socket", "PATH",
     "a socket for vgpu-file-bridge, which speaks for any VM: for our own user only (default "
     "{default})",
     SOCKET(bridge_path)},
    {"trust-claims", NULL, "believe the vm_id of peers that are no QEMU (laboratories only)",
     FLAG(trust_claims)},
    {"no-discovery", NULL, "don't look for running QEMUs, make no sockets in their chroots",
     CLEAR(discovery)},
    {"admin-socket", "PATH",
     "for vgpu-admin (default $VGPU_ADMIN_SOCKET, else " VGPU_ADMIN_SOCKET_PATH ")",
     SOCKET(admin_path)},
    {"metrics-listen", "ADDRESS:PORT|PATH|off",
     "HTTP for Prometheus: /metrics and /healthz, for anybody who can connect, on a Unix socket "
     "for group vgpu only (default " HTTP_METRICS_LISTEN_DEFAULT ")",
     ARGS_TAKE(take_metrics_listen)},

    ARGS_HEADING("Configuration:"),
    {"db", "PATH", "database (default $VGPU_DB, else /etc/vgpu/vgpu_config.db)", TEXT(db_path)},
    {"no-db", NULL, "no database: pools A and B have all GPUs, any VM is served", CLEAR(use_db)},
    {"unregistered", NULL, "VMs that are not in the database (default deny; allow with --no-db)",
     CHOICE(unregistered, unregistered), .first = UNREGISTERED_ALLOW},
    {"state", "PATH",
     "a file of our own, in which the next vgpu-mediator finds what VMs owe each other, and their "
     "counters (default: {default}; all begin even)",
     TEXT(state_path)},

    ARGS_HEADING("GPUs and workers:"),
    {"backend", NULL,
     "auto (the default) takes CUDA where there is an NVIDIA driver, also when it fails, and the "
     "CPU where there is none",
     CHOICE(backend, backends)},
    {"gpus", "N", "with the CPU backend: stand for N GPUs, {range} (default {default})",
     NUMBER(cpu_gpus, 1, OPTIONS_GPUS_MAX, 1)},
    {"keeper-socket", "PATH",
     "the vgpu-keeper that starts and holds the workers (default: one of our own, which ends with "
     "us, and for which the next six are)",
     SOCKET(keeper_socket)},
    {"keeper", "PATH", "vgpu-keeper (default: beside this program)", TEXT(keeper_path)},
    {"worker", "PATH", "vgpu-worker (default: beside vgpu-keeper)", TEXT(worker_path)},
    {"worker-uid-base", "N", "the first uid for workers (default 2100000000)",
     NUMBER(keeper.uid_base_number, 1, INT32_MAX, 1), GIVEN(keeper.uid_base)},
    {"worker-uid-count", "N", "how many there are, {range} (default 65536)",
     NUMBER(keeper.uid_count_number, 1, UID_COUNT_MAX, 1), GIVEN(keeper.uid_count)},
    {"worker-cache", "PATH", "a folder of compiled kernels for each VM (default /var/cache/vgpu)",
     TEXT(keeper.cache)},
    {"worker-confine", NULL,
     "own uid and namespaces for workers: as far as this process may, all of it or no start, or "
     "none (default {default})",
     CHOICE(keeper.confine_number, confines), GIVEN(keeper.confine)},
    {"seccomp", NULL,
     "what a system call does that is not in the program's list: it ends the process; it is logged "
     "by the kernel and made; there is no list. For vgpu-mediator, and for a keeper of our own "
     "(default {default}; with NVML it fails, EPERM)",
     CHOICE(seccomp, sandbox_modes), GIVEN(seccomp_text)},
    {"no-nvml", NULL, "no GPU health from NVML: it is judged by the workers alone",
     CLEAR(use_nvml)},
    {"nvml-library", "PATH", "NVML (default libnvidia-ml.so.1, where the loader finds it)",
     TEXT(nvml_path)},
    {"gpu-reset-command", "PATH",
     "a program that resets a GPU that needs it, called with the GPU's UUID once nothing runs on "
     "it any more, unless vgpu-keeper has one (default: {default})",
     TEXT(gpu_reset_command)},
    {"enable-test-ops", NULL, "allow the operations that spin, hang, crash and fail",
     FLAG(core.test_ops)},

    ARGS_HEADING("Scheduling and limits:"),
    {"policy", POLICY_CHOICES, "(default {default})", CHOICE(core.scheduler.policy, policy_names),
     GIVEN(policy_given)},
    {"test-mode", NULL,
     "ask on the terminal how many requests are to wait before the first is served, and which VM "
     "is preferred; --policy priority and --log-level debug, unless given",
     FLAG(test_mode)},
    {"quantum-us", "N", "GPU time of one VM's turn while others wait (default {default})",
     NUMBER(core.scheduler.quantum_ns, 1, DAY_US, NS_PER_US)},
    {"depth", "N", "jobs handed ahead to one worker, {range} (default {default})",
     NUMBER(core.scheduler.depth, 1, WFQ_DEPTH_MAX, 1)},
    {"anticipation-us", "N",
     "longest wait for the next job of a VM that is owed; 0 = never (default {default})",
     NUMBER(core.scheduler.anticipation_ns, 0, DAY_US, NS_PER_US)},
    {"patience-ms", "N",
     "a VM that pauses for no longer keeps what it is owed; 0 = none does (default {default})",
     NUMBER(core.scheduler.patience_ns, 0, DAY_MS, NS_PER_MS)},
    {"slack-percent", "N",
     "of its due, that such a VM may lose to those who fill its pauses: the less, the more GPU "
     "time is kept idle for it (default {default})",
     NUMBER(core.scheduler.slack_permille, 0, WFQ_SLACK_MAX_PERMILLE / 10, 10)},
    {"overrun-ms", "N",
     "after this long others are let in beside a job; 0 = never (default {default})",
     NUMBER(core.overrun_ns, 0, DAY_MS, NS_PER_MS)},
    {"job-timeout-ms", "N", "a job that runs longer is killed; 0 = never (default {default})",
     NUMBER(core.job_timeout_ns, 0, DAY_MS, NS_PER_MS)},
    {"worker-start-timeout-ms", "N",
     "a worker that is not ready by then is killed (default {default})",
     NUMBER(core.worker_start_timeout_ns, 1, DAY_MS, NS_PER_MS)},
    {"fault-threshold", "N",
     "faults after which a VM is quarantined; 0 = never (default {default})",
     NUMBER(core.fault_threshold, 0, 1000000, 1)},
    {"channel-memory-mib", "N", "host memory of all channels together (default {default})",
     NUMBER(core.channel_memory_bytes, 0, CHANNEL_MEMORY_MAX_MIB, MIB)},
    {"channel-memory-vm-mib", "N", "... and of one VM's (default {default})",
     NUMBER(core.channel_memory_vm_bytes, 0, CHANNEL_MEMORY_MAX_MIB, MIB)},
    {"linger-ms", "N", "how long the worker of a VM that left is kept (default {default})",
     NUMBER(core.linger_ns, 0, DAY_MS, NS_PER_MS)},
    {"first-frame-ms", "N",
     "a connection that says nothing for so long is closed (default {default})",
     NUMBER(core.first_frame_ns, 1, DAY_MS, NS_PER_MS)},

    ARGS_HEADING("Other:"),
    {"busy-poll-us", "N",
     "after a job's step look for the next one so long before sleeping, while they come quickly; "
     "0 = never (default 50 where at least 4 processors may be used, else 0)",
     NUMBER(busy_poll_ns, 0, BUSY_POLL_LIMIT_MAX_NS / NS_PER_US, NS_PER_US)},
    {"log-level", NULL, "(default {default})", ARGS_LOG_LEVEL(struct options, log_level),
     GIVEN(log_level_given)},
    {"log-format", NULL, "(default {default})", CHOICE(log_json, args_log_formats)},
    {"log-stats-s", "N",
     "so often the log says what each VM did that had jobs, and all together, at info; 0 = never "
     "(default {default})",
     NUMBER(stats_log_ns, 0, DAY_S, NS_PER_S)},
    {"proc", "PATH", NULL, TEXT(proc_path)},
};

static const struct args_program program = {
    .name = PROGRAM,
    .intro = "Usage: vgpu-mediator [OPTION]...\n"
             "Shares the GPUs of this host among virtual machines that have a vgpu-stub device.\n"
             "\n",
    .outro = "\n"
             "Signals: SIGTERM and SIGINT stop it, SIGHUP reads the database again.\n"
             "Exit status: 0 stopped by a signal, 1 failed, 2 wrong usage.\n"
             "\n"
             "Example, without a database, a GPU or root's folders:\n"
             "  vgpu-mediator --no-db --backend cpu --trust-claims \\\n"
             "      --socket-path /tmp/lab/vgpu.sock --admin-socket /tmp/lab/admin.sock\n",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};

void options_for_keeper(const struct options *options, const char *args[OPTIONS_KEEPER_ARGS])
{
    const struct {
        const char *name, *value;
    } given[] = {
        {"--worker", options->worker_path},
        {"--uid-base", options->keeper.uid_base},
        {"--uid-count", options->keeper.uid_count},
        {"--cache-dir", options->keeper.cache},
        {"--confine", options->keeper.confine},
        {"--seccomp", options->seccomp_text},
        {"--log-level", log_level_name(options->log_level)},
        {"--log-format", options->log_json ? "json" : NULL},
    };
    unsigned n = 0;

    for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
        if (given[i].value) {
            args[n++] = given[i].name;
            args[n++] = given[i].value;
        }
    }
    args[n] = NULL;
}

static bool check_together(struct options *options)
{
    if (options->keeper_socket &&
        (options->keeper_path || options->worker_path || options->keeper.uid_base ||
         options->keeper.uid_count || options->keeper.cache || options->keeper.confine)) {
        fprintf(stderr,
                "vgpu-mediator: --keeper-socket names a vgpu-keeper that runs; --keeper, "
                "--worker and --worker-... are for one that vgpu-mediator starts itself.\n");
        return false;
    }
    /* It may be the environment's. */
    if (args_take_value(PROGRAM, &socket_path, &options->admin_path, "--admin-socket",
                        (char *)options->admin_path) >= 0) {
        return false;
    }
    if (!options->use_db && options->db_path) {
        fprintf(stderr, "vgpu-mediator: --db and --no-db exclude each other.\n");
        return false;
    }
    if (options->cpu_gpus > 1 && options->backend == BACKEND_CHOICE_CUDA) {
        fprintf(stderr, "vgpu-mediator: --gpus belongs to the CPU backend; with --backend cuda "
                        "all GPUs of the host are used.\n");
        return false;
    }
    return true;
}

/* As vgpu-admin has it, so that one setting is enough for both. */
static const char *default_admin_path(void)
{
    const char *path = getenv("VGPU_ADMIN_SOCKET");

    return path && path[0] ? path : VGPU_ADMIN_SOCKET_PATH;
}

enum options_result options_parse(struct options *options, int argc, char **argv)
{
    int status;

    memset(options, 0, sizeof(*options));
    core_config_defaults(&options->core);
    options->admin_path = default_admin_path();
    http_address_parse(&options->metrics, HTTP_METRICS_LISTEN_DEFAULT);
    options->use_db = true;
    options->use_nvml = true;
    options->discovery = true;
    options->cpu_gpus = 1;
    options->busy_poll_ns = busy_poll_default_ns();
    options->stats_log_ns = STATS_LOG_INTERVAL_NS;
    options->log_level = LOG_LEVEL_INFO;
    options->proc_path = "/proc";

    status = args_parse(&program, argc, argv, options, NULL);
    if (status >= 0) {
        return status == EXIT_SUCCESS ? OPTIONS_EXIT_OK : OPTIONS_EXIT_USAGE;
    }
    if (!options->socket_path && options->vm_socket_count == 0) {
        options->default_sockets = true;
    }
    if (options->test_mode && !options->policy_given) {
        options->core.scheduler.policy = WFQ_POLICY_PRIORITY;
    }
    if (options->test_mode && !options->log_level_given) {
        options->log_level = LOG_LEVEL_DEBUG;
    }
    return check_together(options) ? OPTIONS_RUN : OPTIONS_EXIT_USAGE;
}
