/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/options.h"

#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/names.h"
#include "common/ns.h"
#include "common/option_list.h"
#include "common/parse.h"
#include "common/usage.h"
#include "vgpu/vgpu_admin.h"
#include "mediator/base/busy_poll.h"
#include "mediator/metrics/stats_log.h"

#define OPTIONS(X)                                                                                 \
    X(SOCKET_PATH, "socket-path", required_argument)                                               \
    X(SOCKET_GROUP, "socket-group", required_argument)                                             \
    X(VM, "vm", required_argument)                                                                 \
    X(QEMU_USER, "qemu-user", required_argument)                                                   \
    X(BRIDGE_SOCKET, "bridge-socket", required_argument)                                           \
    X(TRUST_CLAIMS, "trust-claims", no_argument)                                                   \
    X(NO_DISCOVERY, "no-discovery", no_argument)                                                   \
    X(ADMIN_SOCKET, "admin-socket", required_argument)                                             \
    X(METRICS_LISTEN, "metrics-listen", required_argument)                                         \
    X(DB, "db", required_argument)                                                                 \
    X(NO_DB, "no-db", no_argument)                                                                 \
    X(UNREGISTERED, "unregistered", required_argument)                                             \
    X(STATE, "state", required_argument)                                                           \
    X(BACKEND, "backend", required_argument)                                                       \
    X(GPUS, "gpus", required_argument)                                                             \
    X(WORKER, "worker", required_argument)                                                         \
    X(KEEPER, "keeper", required_argument)                                                         \
    X(KEEPER_SOCKET, "keeper-socket", required_argument)                                           \
    X(WORKER_UID_BASE, "worker-uid-base", required_argument)                                       \
    X(WORKER_UID_COUNT, "worker-uid-count", required_argument)                                     \
    X(WORKER_CACHE, "worker-cache", required_argument)                                             \
    X(WORKER_CONFINE, "worker-confine", required_argument)                                         \
    X(NO_NVML, "no-nvml", no_argument)                                                             \
    X(NVML_LIBRARY, "nvml-library", required_argument)                                             \
    X(GPU_RESET_COMMAND, "gpu-reset-command", required_argument)                                   \
    X(ENABLE_TEST_OPS, "enable-test-ops", no_argument)                                             \
    X(POLICY, "policy", required_argument)                                                         \
    X(QUANTUM_US, "quantum-us", required_argument)                                                 \
    X(DEPTH, "depth", required_argument)                                                           \
    X(ANTICIPATION_US, "anticipation-us", required_argument)                                       \
    X(TEST_MODE, "test-mode", no_argument)                                                         \
    X(STATS_LOG_S, "log-stats-s", required_argument)                                               \
    X(BUSY_POLL_US, "busy-poll-us", required_argument)                                             \
    X(PATIENCE_MS, "patience-ms", required_argument)                                               \
    X(SLACK_PERCENT, "slack-percent", required_argument)                                           \
    X(OVERRUN_MS, "overrun-ms", required_argument)                                                 \
    X(JOB_TIMEOUT_MS, "job-timeout-ms", required_argument)                                         \
    X(WORKER_START_MS, "worker-start-timeout-ms", required_argument)                               \
    X(FAULT_THRESHOLD, "fault-threshold", required_argument)                                       \
    X(CHANNEL_MEMORY_MIB, "channel-memory-mib", required_argument)                                 \
    X(CHANNEL_MEMORY_VM_MIB, "channel-memory-vm-mib", required_argument)                           \
    X(LINGER_MS, "linger-ms", required_argument)                                                   \
    X(FIRST_FRAME_MS, "first-frame-ms", required_argument)                                         \
    X(LOG_LEVEL, "log-level", required_argument)                                                   \
    X(LOG_FORMAT, "log-format", required_argument)                                                 \
    X(PROC, "proc", required_argument)                                                             \
    X(HELP, "help", no_argument)                                                                   \
    X(VERSION, "version", no_argument)

enum option_id { OPT_BEFORE_FIRST = 255, OPTIONS(OPTION_ID) };

static const struct option long_options[] = {OPTIONS(OPTION_ROW){0}};

static const char help_text[] =
    "Usage: vgpu-mediator [OPTION]...\n"
    "Shares the GPUs of this host among virtual machines that have a vgpu-stub device.\n"
    "\n"
    "Sockets and identity:\n"
    "  --socket-path PATH     the shared socket (default " VGPU_SOCKET_PATH "\n"
    "                         and for root " VGPU_ROOT_SOCKET_PATH ", or none when --vm\n"
    "                         is given)\n"
    "  --socket-group GROUP   let this group use the shared socket and those of --vm (default:\n"
    "                         their owner only)\n"
    "  --vm UUID=PATH         a socket for one VM; may be repeated\n"
    "  --qemu-user USER       only QEMUs run as this user: a VM's own socket is given to it when\n"
    "                         discovery finds the VM's QEMU; may be repeated (default "
    "libvirt-qemu\n"
    "                         and qemu, where there are such users)\n"
    "  --bridge-socket PATH   a socket for vgpu-file-bridge, which speaks for any VM: for our own\n"
    "                         user only (default none)\n"
    "  --trust-claims         believe the vm_id of peers that are no QEMU (laboratories only)\n"
    "  --no-discovery         don't look for running QEMUs, make no sockets in their chroots\n"
    "  --admin-socket PATH    for vgpu-admin (default $VGPU_ADMIN_SOCKET, else\n"
    "                         " VGPU_ADMIN_SOCKET_PATH ")\n"
    "  --metrics-listen ADDRESS:PORT|PATH|off\n"
    "                         HTTP for Prometheus: /metrics and /healthz, for anybody who can\n"
    "                         connect, on a Unix socket for group vgpu only (default\n"
    "                         " HTTP_METRICS_LISTEN_DEFAULT ")\n"
    "\n"
    "Configuration:\n"
    "  --db PATH              database (default $VGPU_DB, else /etc/vgpu/vgpu_config.db)\n"
    "  --no-db                no database: pools A and B have all GPUs, any VM is served\n"
    "  --unregistered allow|deny\n"
    "                         VMs that are not in the database (default deny; allow with --no-db)\n"
    "  --state PATH           a file of our own, in which the next vgpu-mediator finds what VMs "
    "owe\n"
    "                         each other, and their counters (default: none; all begin even)\n"
    "\n"
    "GPUs and workers:\n"
    "  --backend auto|cpu|cuda\n"
    "                         auto (the default) takes CUDA where there is an NVIDIA driver,\n"
    "                         also when it fails, and the CPU where there is none\n"
    "  --gpus N               with the CPU backend: stand for N GPUs, 1 to 16 (default 1)\n"
    "  --keeper-socket PATH   the vgpu-keeper that starts and holds the workers (default: one of\n"
    "                         our own, which ends with us, and for which the next six are)\n"
    "  --keeper PATH          vgpu-keeper (default: beside this program)\n"
    "  --worker PATH          vgpu-worker (default: beside vgpu-keeper)\n"
    "  --worker-uid-base N    the first uid for workers (default 2100000000)\n"
    "  --worker-uid-count N   how many there are, 1 to 65536 (default 65536)\n"
    "  --worker-cache PATH    a folder of compiled kernels for each VM (default /var/cache/vgpu)\n"
    "  --worker-confine auto|always|never\n"
    "                         own uid and namespaces for workers: as far as this process may,\n"
    "                         all of it or no start, or none (default auto)\n"
    "  --no-nvml              no GPU health from NVML: it is judged by the workers alone\n"
    "  --nvml-library PATH    NVML (default libnvidia-ml.so.1, where the loader finds it)\n"
    "  --gpu-reset-command PATH\n"
    "                         a program that resets a GPU that needs it, called with the GPU's\n"
    "                         UUID once nothing runs on it any more (default: none)\n"
    "  --enable-test-ops      allow the operations that spin, hang, crash and fail\n"
    "\n"
    "Scheduling and limits:\n"
    "  --policy " POLICY_CHOICES "\n"
    "                         (default wfq)\n"
    "  --test-mode            ask on the terminal how many requests are to wait before the first "
    "is\n"
    "                         served, and which VM is preferred; --policy priority and\n"
    "                         --log-level debug, unless given\n"
    "  --quantum-us N         GPU time of one VM's turn while others wait (default 6000)\n"
    "  --depth N              jobs handed ahead to one worker, 1 to 16 (default 2)\n"
    "  --anticipation-us N    longest wait for the next job of a VM that is owed; 0 = never\n"
    "                         (default 1000)\n"
    "  --patience-ms N        a VM that pauses for no longer keeps what it is owed; 0 = none does\n"
    "                         (default 100)\n"
    "  --slack-percent N      of its due, that such a VM may lose to those who fill its pauses:\n"
    "                         the less, the more GPU time is kept idle for it (default 8)\n"
    "  --overrun-ms N         after this long others are let in beside a job; 0 = never\n"
    "                         (default 100)\n"
    "  --job-timeout-ms N     a job that runs longer is killed; 0 = never (default 30000)\n"
    "  --worker-start-timeout-ms N\n"
    "                         a worker that is not ready by then is killed (default 20000)\n"
    "  --fault-threshold N    faults after which a VM is quarantined; 0 = never (default 5)\n"
    "  --channel-memory-mib N     host memory of all channels together (default 8192)\n"
    "  --channel-memory-vm-mib N  ... and of one VM's (default 1024)\n"
    "  --linger-ms N          how long the worker of a VM that left is kept (default 10000)\n"
    "  --first-frame-ms N     a connection that says nothing for so long is closed\n"
    "                         (default 10000)\n"
    "\n"
    "Other:\n"
    "  --busy-poll-us N       after a job's step look for the next one so long before sleeping,\n"
    "                         while they come quickly; 0 = never (default 50 where at least\n"
    "                         4 processors may be used, else 0)\n"
    "  --log-level " LOG_LEVEL_CHOICES "\n"
    "                         (default info)\n"
    "  --log-format text|json\n"
    "  --log-stats-s N        so often the log says what each VM did that had jobs, and all\n"
    "                         together, at info; 0 = never (default 60)\n"
    "  --help, --version\n"
    "\n"
    "Signals: SIGTERM and SIGINT stop it, SIGHUP reads the database again.\n"
    "Exit status: 0 stopped by a signal, 1 failed, 2 wrong usage.\n"
    "\n"
    "Example, without a database, a GPU or root's folders:\n"
    "  vgpu-mediator --no-db --backend cpu --trust-claims \\\n"
    "      --socket-path /tmp/lab/vgpu.sock --admin-socket /tmp/lab/admin.sock\n";

static void usage_error(const char *what, const char *value, const char *want)
{
    char name[64];

    snprintf(name, sizeof(name), "--%s", what);
    usage_refused("vgpu-mediator", name, value, want);
}

static bool parse_choice(const char *name, const char *text, const char *const *choices,
                         unsigned count, unsigned *chosen)
{
    char want[96] = "one of";

    for (unsigned i = 0; i < count; i++) {
        if (strcmp(text, choices[i]) == 0) {
            *chosen = i;
            return true;
        }
        strncat(want, i ? ", " : " ", sizeof(want) - strlen(want) - 1);
        strncat(want, choices[i], sizeof(want) - strlen(want) - 1);
    }
    usage_error(name, text, want);
    return false;
}

/* We could listen on a longer path, but no program can connect to one. */
static bool path_fits(const char *name, const char *path)
{
    const size_t max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

    if (path[0] == '\0' || strlen(path) > max) {
        fprintf(stderr,
                "vgpu-mediator: --%s: \"%s\" has %zu characters; a socket's path has 1 to %zu.\n",
                name, path, strlen(path), max);
        return false;
    }
    return true;
}

static bool parse_vm(struct options *options, char *text)
{
    char *equals = strchr(text, '=');
    struct option_vm_socket *vm = &options->vm_sockets[options->vm_socket_count];
    char uuid[UUID_TEXT_BYTES];

    if (options->vm_socket_count == OPTIONS_VM_SOCKETS_MAX) {
        fprintf(stderr, "vgpu-mediator: --vm may be given %u times at most.\n",
                OPTIONS_VM_SOCKETS_MAX);
        return false;
    }
    if (!equals || equals - text != (long)UUID_TEXT_BYTES - 1 || equals[1] == '\0') {
        usage_error("vm", text, "UUID=PATH");
        return false;
    }
    memcpy(uuid, text, sizeof(uuid) - 1);
    uuid[sizeof(uuid) - 1] = '\0';
    if (!uuid_parse(uuid, vm->uuid)) {
        usage_error("vm", text, "UUID=PATH (that is no UUID)");
        return false;
    }
    for (uint32_t i = 0; i < options->vm_socket_count; i++) {
        if (strcmp(options->vm_sockets[i].path, equals + 1) == 0) {
            fprintf(stderr, "vgpu-mediator: --vm: %s is given to two VMs.\n", equals + 1);
            return false;
        }
    }
    if (!path_fits("vm", equals + 1)) {
        return false;
    }
    vm->path = equals + 1;
    options->vm_socket_count++;
    return true;
}

/* A day is beyond any sense and far from overflow. */
#define DAY_NS (86400 * NS_PER_S)

#define NUMBER(field, min, max, unit)                                                              \
    min, max, unit, offsetof(struct options, field), sizeof(((struct options *)0)->field)

/* Whole numbers of a unit, and where they go. */
static const struct number {
    enum option_id id;
    uint64_t min, max, unit;
    size_t offset, bytes;
} numbers[] = {
    {OPT_GPUS, NUMBER(cpu_gpus, 1, OPTIONS_GPUS_MAX, 1)},
    {OPT_DEPTH, NUMBER(core.scheduler.depth, 1, WFQ_DEPTH_MAX, 1)},
    {OPT_SLACK_PERCENT, NUMBER(core.scheduler.slack_permille, 0, WFQ_SLACK_MAX_PERMILLE, 10)},
    {OPT_FAULT_THRESHOLD, NUMBER(core.fault_threshold, 0, 1000000, 1)},
    {OPT_QUANTUM_US, NUMBER(core.scheduler.quantum_ns, 1, DAY_NS, NS_PER_US)},
    {OPT_ANTICIPATION_US, NUMBER(core.scheduler.anticipation_ns, 0, DAY_NS, NS_PER_US)},
    {OPT_BUSY_POLL_US, NUMBER(busy_poll_ns, 0, BUSY_POLL_LIMIT_MAX_NS, NS_PER_US)},
    {OPT_STATS_LOG_S, NUMBER(stats_log_ns, 0, DAY_NS, NS_PER_S)},
    {OPT_PATIENCE_MS, NUMBER(core.scheduler.patience_ns, 0, DAY_NS, NS_PER_MS)},
    {OPT_OVERRUN_MS, NUMBER(core.overrun_ns, 0, DAY_NS, NS_PER_MS)},
    {OPT_JOB_TIMEOUT_MS, NUMBER(core.job_timeout_ns, 0, DAY_NS, NS_PER_MS)},
    {OPT_WORKER_START_MS, NUMBER(core.worker_start_timeout_ns, 1, DAY_NS, NS_PER_MS)},
    {OPT_CHANNEL_MEMORY_MIB, NUMBER(core.channel_memory_bytes, 0, 1ull << 44, 1ull << 20)},
    {OPT_CHANNEL_MEMORY_VM_MIB, NUMBER(core.channel_memory_vm_bytes, 0, 1ull << 44, 1ull << 20)},
    {OPT_LINGER_MS, NUMBER(core.linger_ns, 0, DAY_NS, NS_PER_MS)},
    {OPT_FIRST_FRAME_MS, NUMBER(core.first_frame_ns, 1, DAY_NS, NS_PER_MS)},
};

/* False: said what is wrong. */
static bool take_number(struct options *options, const struct number *number, const char *name,
                        const char *text)
{
    void *field = (char *)options + number->offset;
    uint64_t max = number->max / number->unit, value;
    char want[96];

    if (!parse_uint(text, number->min, max, &value)) {
        snprintf(want, sizeof(want), "a number from %" PRIu64 " to %" PRIu64, number->min, max);
        usage_error(name, text, want);
        return false;
    }
    if (number->bytes == sizeof(uint32_t)) {
        *(uint32_t *)field = (uint32_t)(value * number->unit);
    } else {
        *(uint64_t *)field = value * number->unit;
    }
    return true;
}

/* The keeper parses it again, and would say it in words of its own options. */
static bool is_uid(const char *name, const char *text, uint32_t max)
{
    uint32_t value;
    char want[64];

    if (parse_u32(text, 1, max, &value)) {
        return true;
    }
    snprintf(want, sizeof(want), "a number from 1 to %" PRIu32, max);
    usage_error(name, text, want);
    return false;
}

/* False: said what is wrong. */
static bool parse_one(struct options *options, int id, const char *name, char *value)
{
    static const char *const backends[] = {"auto", "cpu", "cuda"};
    static const char *const allow_deny[] = {"allow", "deny"};
    static const char *const formats[] = {"text", "json"};
    static const char *const confines[] = {"auto", "always", "never"};
    unsigned chosen;
    int level;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (numbers[i].id == (enum option_id)id) {
            return take_number(options, &numbers[i], name, value);
        }
    }
    switch (id) {
    case OPT_SOCKET_PATH: options->socket_path = value; return path_fits(name, value);
    case OPT_SOCKET_GROUP: options->socket_group = value; return true;
    case OPT_VM: return parse_vm(options, value);
    case OPT_QEMU_USER:
        if (options->qemu_user_count == OPTIONS_QEMU_USERS_MAX) {
            fprintf(stderr, "vgpu-mediator: --qemu-user may be given %u times at most.\n",
                    OPTIONS_QEMU_USERS_MAX);
            return false;
        }
        options->qemu_users[options->qemu_user_count++] = value;
        return true;
    case OPT_BRIDGE_SOCKET: options->bridge_path = value; return path_fits("bridge-socket", value);
    case OPT_TRUST_CLAIMS: options->trust_claims = true; return true;
    case OPT_NO_DISCOVERY: options->discovery = false; return true;
    case OPT_ADMIN_SOCKET: options->admin_path = value; return true;
    case OPT_METRICS_LISTEN:
        if (http_address_parse(&options->metrics, value) < 0) {
            usage_error(name, value, "ADDRESS:PORT, [IPV6]:PORT, an absolute path or off");
            return false;
        }
        if (options->metrics.path && !path_fits(name, value)) {
            return false;
        }
        options->metrics_given = true;
        return true;
    case OPT_DB: options->db_path = value; return true;
    case OPT_NO_DB: options->use_db = false; return true;
    case OPT_UNREGISTERED:
        if (!parse_choice(name, value, allow_deny, 2, &chosen)) {
            return false;
        }
        options->unregistered = chosen == 0 ? UNREGISTERED_ALLOW : UNREGISTERED_DENY;
        return true;
    case OPT_STATE: options->state_path = value; return true;
    case OPT_BACKEND:
        if (!parse_choice(name, value, backends, 3, &chosen)) {
            return false;
        }
        options->backend = (enum backend_choice)chosen;
        return true;
    case OPT_WORKER: options->worker_path = value; return true;
    case OPT_KEEPER: options->keeper_path = value; return true;
    case OPT_KEEPER_SOCKET: options->keeper_socket = value; return path_fits(name, value);
    case OPT_WORKER_UID_BASE: options->uid_base = value; return is_uid(name, value, INT32_MAX);
    case OPT_WORKER_UID_COUNT: options->uid_count = value; return is_uid(name, value, 65536);
    case OPT_WORKER_CACHE: options->worker_cache = value; return true;
    case OPT_WORKER_CONFINE:
        options->confine = value;
        return parse_choice(name, value, confines, 3, &chosen);
    case OPT_NO_NVML: options->use_nvml = false; return true;
    case OPT_NVML_LIBRARY: options->nvml_path = value; return true;
    case OPT_GPU_RESET_COMMAND: options->gpu_reset_command = value; return true;
    case OPT_ENABLE_TEST_OPS: options->core.test_ops = true; return true;
    case OPT_TEST_MODE: options->test_mode = true; return true;
    case OPT_POLICY:
        level = wfq_policy_from_name(value);
        if (level < 0) {
            usage_error(name, value, "one of " POLICY_WORDS);
            return false;
        }
        options->core.scheduler.policy = (enum wfq_policy_id)level;
        return true;
    case OPT_LOG_LEVEL:
        level = log_level_from_name(value);
        if (level < 0) {
            usage_error(name, value, "one of " LOG_LEVEL_WORDS);
            return false;
        }
        options->log_level = (enum log_level)level;
        return true;
    case OPT_LOG_FORMAT:
        if (!parse_choice(name, value, formats, 2, &chosen)) {
            return false;
        }
        options->log_json = chosen == 1;
        return true;
    case OPT_PROC: options->proc_path = value; return true;
    default: return false;
    }
}

void options_for_keeper(const struct options *options, const char *args[OPTIONS_KEEPER_ARGS])
{
    const struct {
        const char *name, *value;
    } given[] = {
        {"--worker", options->worker_path},
        {"--uid-base", options->uid_base},
        {"--uid-count", options->uid_count},
        {"--cache-dir", options->worker_cache},
        {"--confine", options->confine},
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

static bool check_together(struct options *options, bool db_given)
{
    if (options->keeper_socket &&
        (options->keeper_path || options->worker_path || options->uid_base || options->uid_count ||
         options->worker_cache || options->confine)) {
        fprintf(stderr,
                "vgpu-mediator: --keeper-socket names a vgpu-keeper that runs; --keeper, "
                "--worker and --worker-... are for one that vgpu-mediator starts itself.\n");
        return false;
    }
    if (!path_fits("admin-socket", options->admin_path)) {
        return false; /* it may be the environment's */
    }
    if (!options->use_db && db_given) {
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
    bool db_given = false, policy_given = false, level_given = false;
    int id, index;

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

    for (;;) {
        index = -1;
        id = getopt_long(argc, argv, "hV", long_options, &index);
        switch (id) {
        case -1: goto parsed;
        case 'h':
        case OPT_HELP: fputs(help_text, stdout); return OPTIONS_EXIT_OK;
        case 'V':
        case OPT_VERSION: puts("vgpu-mediator " VGPU_VERSION); return OPTIONS_EXIT_OK;
        case '?':
            usage_unknown("vgpu-mediator", long_options, argv[optind - 1]);
            return OPTIONS_EXIT_USAGE;
        default: break;
        }
        db_given |= id == OPT_DB;
        policy_given |= id == OPT_POLICY;
        level_given |= id == OPT_LOG_LEVEL;
        if (!parse_one(options, id, long_options[index].name, optarg)) {
            return OPTIONS_EXIT_USAGE;
        }
    }
parsed:
    if (optind < argc) {
        fprintf(stderr, "vgpu-mediator: \"%s\" is not an option. See vgpu-mediator --help.\n",
                argv[optind]);
        return OPTIONS_EXIT_USAGE;
    }
    if (!options->socket_path && options->vm_socket_count == 0) {
        options->default_sockets = true;
    }
    if (options->test_mode && !policy_given) {
        options->core.scheduler.policy = WFQ_POLICY_PRIORITY;
    }
    if (options->test_mode && !level_given) {
        options->log_level = LOG_LEVEL_DEBUG;
    }
    return check_together(options, db_given) ? OPTIONS_RUN : OPTIONS_EXIT_USAGE;
}
