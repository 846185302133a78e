/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/option_list.h"
#include "common/parse.h"
#include "common/ns.h"
#include "loadgen/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/usage.h"

static const char help_text[] =
    "Usage: vgpu-loadgen [OPTION]...\n"
    "Plays the vgpu devices of many virtual machines against a running vgpu-mediator,\n"
    "checks every answer, and reports latency, throughput and shares of GPU time.\n"
    "\n"
    "Which VMs:\n"
    "  --vms N|GROUPS       how many VMs (default 1), or groups of VMs, separated by ';':\n"
    "                       n=COUNT, vm_id=FIRST, op=MIX, depth=N, rate=HZ, poisson=0|1,\n"
    "                       think_us=N, stop_s=SECONDS, pool=LETTER, prio=0|1|2.\n"
    "                       What a group leaves out comes from the options below\n"
    "  --vm-id N            vm_id of the first VM; the others count up (default 1)\n"
    "  --pool LETTER, --prio 0|1|2\n"
    "                       what the frames claim (default A, 1); a database overrules it\n"
    "\n"
    "What they do:\n"
    "  --op MIX             nop, add, info, vadd-i32[:N], vadd-f32[:N], spin[:US], hang,\n"
    "                       crash, fail (default add); 'add=70,spin:1000=30' mixes them\n"
    "                       (with '+' for ',' inside groups)\n"
    "  --depth N            requests in flight of each VM, 1 to 4096 (default 1; with --rate\n"
    "                       4096). More than the VM's queue holds is answered BUSY\n"
    "  --think-us N         wait so long after an answer before the next request\n"
    "  --rate HZ            open loop: each VM submits at this rate whether or not answers\n"
    "                       come; latency counts from when a request was due\n"
    "  --poisson            open loop with random gaps instead of even ones\n"
    "  --busy-wait-ms N     closed loop: after BUSY a VM submits nothing for so long\n"
    "                       (default 100)\n"
    "  --hello              open each connection with HELLO, as a newer device does\n"
    "  --reconnect          connect again when the mediator goes away; what was in flight\n"
    "                       counts as lost, not as missing\n"
    "\n"
    "How long:\n"
    "  --seconds S          measure for so long (default 10, or without end with --count)\n"
    "  --count N            N jobs from each VM\n"
    "  --warmup S           run so long before measuring (default 0)\n"
    "  --drain S            wait so long for the last answers (default 60)\n"
    "\n"
    "Where to, and what comes out:\n"
    "  --socket PATH        the mediator's socket; %d stands for the vm_id\n"
    "                       (default " VGPU_SOCKET_PATH ")\n"
    "  --connect VM_ID=PATH the socket of one VM; may be repeated\n"
    "  --json FILE          results as JSON; - is the standard output, without the table\n"
    "  --quiet              no table\n"
    "  --seed N             of operands and random gaps (default 1)\n"
    "  --help, --version\n"
    "\n"
    "The mediator believes vm_ids on its shared socket only with --trust-claims; with\n"
    "--vm UUID=PATH it knows each VM by its socket: use --connect or %d then.\n"
    "\n"
    "Exit status: 0 all answers came and were right, 1 a wrong or missing answer,\n"
    "2 wrong usage, 3 no mediator.  Errors that an answer names (BUSY, TIMEOUT and\n"
    "so on) are counted and reported; they are not wrong answers.\n"
    "\n"
    "Examples:\n"
    "  vgpu-mediator --no-db --backend cpu --trust-claims --enable-test-ops &\n"
    "  vgpu-loadgen --vms 64 --op nop --depth 32 --seconds 10\n"
    "  vgpu-loadgen --vms 'n=2,vm_id=1,op=spin:1000,depth=4;n=1,vm_id=9,op=add,rate=500'\n"
    "  vgpu-loadgen --vms 8 --op 'add=70,vadd-f32:100=25,spin:500=5' --depth 8 --json -\n";

#define OPTIONS(X)                                                                                 \
    X(VMS, "vms", required_argument)                                                               \
    X(VM_ID, "vm-id", required_argument)                                                           \
    X(POOL, "pool", required_argument)                                                             \
    X(PRIO, "prio", required_argument)                                                             \
    X(OP, "op", required_argument)                                                                 \
    X(DEPTH, "depth", required_argument)                                                           \
    X(THINK_US, "think-us", required_argument)                                                     \
    X(RATE, "rate", required_argument)                                                             \
    X(POISSON, "poisson", no_argument)                                                             \
    X(BUSY_WAIT_MS, "busy-wait-ms", required_argument)                                             \
    X(HELLO, "hello", no_argument)                                                                 \
    X(RECONNECT, "reconnect", no_argument)                                                         \
    X(SECONDS, "seconds", required_argument)                                                       \
    X(COUNT, "count", required_argument)                                                           \
    X(WARMUP, "warmup", required_argument)                                                         \
    X(DRAIN, "drain", required_argument)                                                           \
    X(SOCKET, "socket", required_argument)                                                         \
    X(CONNECT, "connect", required_argument)                                                       \
    X(JSON, "json", required_argument)                                                             \
    X(QUIET, "quiet", no_argument)                                                                 \
    X(SEED, "seed", required_argument)                                                             \
    X(HELP, "help", no_argument)                                                                   \
    X(VERSION, "version", no_argument)

enum option_id { OPT_BEFORE_FIRST = 255, OPTIONS(OPTION_ID) };

static const struct option long_options[] = {{"socket-path", required_argument, NULL, OPT_SOCKET},
                                             OPTIONS(OPTION_ROW){0}};

/* ---- values ---- */

static int parse_integer(const char *name, const char *text, uint64_t min, uint64_t max,
                         uint64_t *value)
{
    char want[64];

    if (parse_uint(text, min, max, value)) {
        return -1;
    }
    snprintf(want, sizeof(want), "a number from %llu to %llu", (unsigned long long)min,
             (unsigned long long)max);
    return usage_refused("vgpu-loadgen", name, text, want);
}

static int take_real(const char *name, const char *text, double max, double *value)
{
    char want[64];

    if (parse_real(text, 0, max, value)) {
        return -1;
    }
    snprintf(want, sizeof(want), "a number from 0 to %.0f", max);
    return usage_refused("vgpu-loadgen", name, text, want);
}

static int parse_seconds(const char *name, const char *text, uint64_t *value_ns)
{
    double seconds = 0;
    int status = take_real(name, text, 1e6, &seconds);

    *value_ns = (uint64_t)(seconds * NS_PER_S);
    return status;
}

/* Settings that an option and a group's key have in common. */
static int set_group(struct loadgen_group *group, const char *name, const char *value)
{
    const char *why;
    uint64_t number = 0;
    int status;

    if (strcmp(name, "op") == 0) {
        if (job_mix_parse(&group->mix, value, &why) < 0) {
            fprintf(stderr, "vgpu-loadgen: op \"%s\": %s.\n", value, why);
            return USAGE_EXIT;
        }
        return -1;
    }
    if (strcmp(name, "rate") == 0) {
        return take_real(name, value, 1e7, &group->rate_hz);
    }
    if (strcmp(name, "stop_s") == 0) {
        return parse_seconds(name, value, &group->stop_ns);
    }
    if (strcmp(name, "pool") == 0) {
        if (value[0] < VGPU_POOL_FIRST || value[0] > VGPU_POOL_LAST || value[1]) {
            return usage_refused("vgpu-loadgen", name, value, "a letter from A to Z");
        }
        group->pool = value[0];
        return -1;
    }
    if (strcmp(name, "n") == 0) {
        status = parse_integer(name, value, 1, LOADGEN_VMS_MAX, &number);
        group->count = (uint32_t)number;
    } else if (strcmp(name, "vm_id") == 0) {
        status = parse_integer(name, value, 0, UINT32_MAX - LOADGEN_VMS_MAX, &number);
        group->vm_id = (uint32_t)number;
    } else if (strcmp(name, "depth") == 0) {
        status = parse_integer(name, value, 1, LOADGEN_DEPTH_MAX, &number);
        group->depth = (uint32_t)number;
    } else if (strcmp(name, "think_us") == 0) {
        status = parse_integer(name, value, 0, 60000000, &number);
        group->think_ns = number * NS_PER_US;
    } else if (strcmp(name, "poisson") == 0) {
        status = parse_integer(name, value, 0, 1, &number);
        group->poisson = number;
    } else if (strcmp(name, "prio") == 0) {
        status = parse_integer(name, value, 0, VGPU_PRIORITY_HIGH, &number);
        group->priority = (uint8_t)number;
    } else {
        return usage_refused(
            "vgpu-loadgen", "--vms", name,
            "a group's key (n, vm_id, op, depth, rate, poisson, think_us, stop_s, pool, "
            "prio)");
    }
    return status;
}

/* ---- groups ---- */

/* "n=2,op=add=70+nop=30,depth=4"; the text is cut up. */
static int parse_group(struct loadgen_group *group, char *text)
{
    char *rest = NULL;

    for (char *item = strtok_r(text, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
        char *equals = strchr(item, '=');
        int status;

        if (!equals) {
            return usage_refused("vgpu-loadgen", "--vms", item, "KEY=VALUE");
        }
        *equals = '\0';
        status = set_group(group, item, equals + 1);
        if (status >= 0) {
            return status;
        }
    }
    return -1;
}

static int add_group(struct loadgen_options *options, const struct loadgen_group *group)
{
    if (options->group_count == LOADGEN_GROUPS_MAX) {
        fprintf(stderr, "vgpu-loadgen: --vms: %u groups at most.\n", LOADGEN_GROUPS_MAX);
        return USAGE_EXIT;
    }
    options->groups[options->group_count++] = *group;
    options->vm_count += group->count;
    if (options->vm_count > LOADGEN_VMS_MAX) {
        fprintf(stderr, "vgpu-loadgen: --vms: %u VMs at most.\n", LOADGEN_VMS_MAX);
        return USAGE_EXIT;
    }
    return -1;
}

static int parse_groups(struct loadgen_options *options, const struct loadgen_group *defaults,
                        const char *text)
{
    struct loadgen_group group = *defaults;
    char *copy, *rest = NULL;
    uint64_t count;
    int status = -1;

    if (text[strspn(text, "0123456789")] == '\0') {
        status = parse_integer("--vms", text, 1, LOADGEN_VMS_MAX, &count);
        if (status >= 0) {
            return status;
        }
        group.count = (uint32_t)count;
        return add_group(options, &group);
    }
    copy = strdup(text);
    if (!copy) {
        fprintf(stderr, "vgpu-loadgen: out of memory.\n");
        return 3;
    }
    for (char *item = strtok_r(copy, ";", &rest); item && status < 0;
         item = strtok_r(NULL, ";", &rest)) {
        uint32_t next_id = group.vm_id + group.count;

        group = *defaults;
        if (options->group_count > 0) {
            group.vm_id = next_id;
        }
        status = parse_group(&group, item);
        if (status < 0) {
            status = add_group(options, &group);
        }
    }
    free(copy);
    return status;
}

static int check_groups(struct loadgen_options *options)
{
    for (uint32_t i = 0; i < options->group_count; i++) {
        struct loadgen_group *group = &options->groups[i];

        if (group->depth == 0) {
            group->depth = group->rate_hz > 0 ? LOADGEN_DEPTH_MAX : 1;
        }
        for (uint32_t j = 0; j < i; j++) {
            const struct loadgen_group *other = &options->groups[j];

            if (group->vm_id < other->vm_id + other->count &&
                other->vm_id < group->vm_id + group->count) {
                fprintf(stderr,
                        "vgpu-loadgen: --vms: two groups have vm_id %u. Give each group its own "
                        "vm_id=FIRST.\n",
                        group->vm_id > other->vm_id ? group->vm_id : other->vm_id);
                return USAGE_EXIT;
            }
        }
    }
    return -1;
}

/* ---- options ---- */

static int parse_connect(struct loadgen_options *options, char *text)
{
    struct loadgen_connect *connect = &options->connects[options->connect_count];
    char *equals = strchr(text, '=');
    uint64_t number;
    int status;

    if (!equals || equals[1] == '\0' || strlen(equals + 1) >= LOADGEN_PATH_BYTES) {
        return usage_refused("vgpu-loadgen", "--connect", text, "VM_ID=PATH");
    }
    if (options->connect_count == LOADGEN_VMS_MAX) {
        fprintf(stderr, "vgpu-loadgen: --connect: %u times at most.\n", LOADGEN_VMS_MAX);
        return USAGE_EXIT;
    }
    *equals = '\0';
    status = parse_integer("--connect", text, 0, UINT32_MAX, &number);
    if (status >= 0) {
        return status;
    }
    *connect = (struct loadgen_connect){.vm_id = (uint32_t)number, .path = equals + 1};
    options->connect_count++;
    return -1;
}

const char *loadgen_socket_path(const struct loadgen_options *options, uint32_t vm_id, char *buffer)
{
    const char *mark = strstr(options->socket_path, "%d");
    int length;

    for (uint32_t i = 0; i < options->connect_count; i++) {
        if (options->connects[i].vm_id == vm_id) {
            return options->connects[i].path;
        }
    }
    length =
        mark ? snprintf(buffer, LOADGEN_PATH_BYTES, "%.*s%u%s", (int)(mark - options->socket_path),
                        options->socket_path, vm_id, mark + 2)
             : snprintf(buffer, LOADGEN_PATH_BYTES, "%s", options->socket_path);
    return length < (int)LOADGEN_PATH_BYTES ? buffer : NULL;
}

static int set_option(struct loadgen_options *options, struct loadgen_group *defaults, int id,
                      const char *name, char *value)
{
    uint64_t number;
    int status;

    switch (id) {
    case OPT_VM_ID: return set_group(defaults, "vm_id", value);
    case OPT_THINK_US: return set_group(defaults, "think_us", value);
    case OPT_POOL:
    case OPT_PRIO:
    case OPT_OP:
    case OPT_DEPTH:
    case OPT_RATE: return set_group(defaults, name, value);
    case OPT_POISSON: defaults->poisson = true; return -1;
    case OPT_BUSY_WAIT_MS:
        status = parse_integer(name, value, 0, 60000, &number);
        options->busy_wait_ns = number * NS_PER_MS;
        return status;
    case OPT_HELLO: options->hello = true; return -1;
    case OPT_RECONNECT: options->reconnect = true; return -1;
    case OPT_SECONDS: return parse_seconds(name, value, &options->duration_ns);
    case OPT_COUNT: return parse_integer(name, value, 1, UINT32_MAX, &options->count);
    case OPT_WARMUP: return parse_seconds(name, value, &options->warmup_ns);
    case OPT_DRAIN: return parse_seconds(name, value, &options->drain_ns);
    case OPT_SOCKET: options->socket_path = value; return -1;
    case OPT_CONNECT: return parse_connect(options, value);
    case OPT_JSON: options->json_path = value; return -1;
    case OPT_QUIET: options->quiet = true; return -1;
    case OPT_SEED: return parse_integer(name, value, 0, UINT64_MAX, &options->seed);
    default: return USAGE_EXIT;
    }
}

int loadgen_options_parse(struct loadgen_options *options, int argc, char **argv)
{
    struct loadgen_group defaults = {.count = 1, .vm_id = 1, .pool = 'A', .priority = 1};
    const char *vms = "1";
    int id, index, status;

    memset(options, 0, sizeof(*options));
    options->socket_path = VGPU_SOCKET_PATH;
    options->drain_ns = 60 * NS_PER_S;
    options->busy_wait_ns = 100 * NS_PER_MS;
    options->seed = 1;
    status = set_group(&defaults, "op", "add");
    while (status < 0 && (id = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        switch (id) {
        case '?': return usage_unknown("vgpu-loadgen", long_options, argv[optind - 1]);
        case OPT_HELP: fputs(help_text, stdout); return 0;
        case OPT_VERSION: puts("vgpu-loadgen " VGPU_VERSION); return 0;
        case OPT_VMS: vms = optarg; break;
        default: status = set_option(options, &defaults, id, long_options[index].name, optarg);
        }
    }
    if (status < 0 && optind < argc) {
        status = usage_refused("vgpu-loadgen", "argument", argv[optind], "an option");
    }
    if (status < 0) {
        status = parse_groups(options, &defaults, vms);
    }
    if (status < 0 && options->group_count == 0) {
        status = usage_refused("vgpu-loadgen", "--vms", vms, "a number or groups");
    }
    if (status < 0) {
        status = check_groups(options);
    }
    if (options->duration_ns == 0 && options->count == 0) {
        options->duration_ns = 10 * NS_PER_S;
    }
    return status;
}
