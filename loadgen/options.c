/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "loadgen/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/args.h"
#include "common/ns.h"
#include "common/parse.h"

#define PROGRAM "vgpu-loadgen"
#define SECONDS_MAX 1e6
#define RATE_MAX_HZ 1e7
#define THINK_MAX_US 60000000
#define BUSY_WAIT_MAX_MS 60000

/* What the options say, before the groups are made. */
struct given {
    struct loadgen_options options;
    struct loadgen_group defaults;
    const char *vms;
};

/* ---- what a group and the options that are every group's default have in common ---- */

static int take_mix(void *target, const char *name, char *value)
{
    struct loadgen_group *group = target;
    const char *why;

    if (job_mix_parse(&group->mix, value, &why) < 0) {
        fprintf(stderr, PROGRAM ": %s \"%s\": %s.\n", name, value, why);
        return ARGS_EXIT_USAGE;
    }
    return -1;
}

static int take_pool(void *target, const char *name, char *value)
{
    struct loadgen_group *group = target;

    if (value[0] < VGPU_POOL_FIRST || value[0] > VGPU_POOL_LAST || value[1]) {
        return args_refused(PROGRAM, name, value, "a letter from A to Z");
    }
    group->pool = value[0];
    return -1;
}

#define NUMBER(field, min, max, unit) ARGS_NUMBER(struct loadgen_group, field, min, max, unit)
#define REAL(field, most, scale) ARGS_REAL(struct loadgen_group, field, 0, most, scale)

static const struct args_option keys[] = {
    {"n", "", "", NUMBER(count, 1, LOADGEN_VMS_MAX, 1)},
    {"vm_id", "", "", NUMBER(vm_id, 0, UINT32_MAX - LOADGEN_VMS_MAX, 1)},
    {"op", "", "", ARGS_TAKE(take_mix)},
    {"depth", "", "", NUMBER(depth, 1, LOADGEN_DEPTH_MAX, 1)},
    {"rate", "", "", REAL(rate_hz, RATE_MAX_HZ, 1)},
    {"poisson", "", "", NUMBER(poisson, 0, 1, 1)},
    {"think_us", "", "", NUMBER(think_ns, 0, THINK_MAX_US, NS_PER_US)},
    {"stop_s", "", "", REAL(stop_ns, SECONDS_MAX, NS_PER_S)},
    {"pool", "", "", ARGS_TAKE(take_pool)},
    {"prio", "", "", NUMBER(priority, 0, VGPU_PRIORITY_HIGH, 1)},
};

static int set_group(struct loadgen_group *group, const char *name, char *value)
{
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (strcmp(keys[i].name, name) == 0) {
            return args_take_value(PROGRAM, &keys[i], group, name, value);
        }
    }
    return args_refused(PROGRAM, "--vms", name,
                        "a group's key (n, vm_id, op, depth, rate, poisson, think_us, stop_s, "
                        "pool, prio)");
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
            return args_refused(PROGRAM, "--vms", item, "KEY=VALUE");
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
        return ARGS_EXIT_USAGE;
    }
    options->groups[options->group_count++] = *group;
    options->vm_count += group->count;
    if (options->vm_count > LOADGEN_VMS_MAX) {
        fprintf(stderr, "vgpu-loadgen: --vms: %u VMs at most.\n", LOADGEN_VMS_MAX);
        return ARGS_EXIT_USAGE;
    }
    return -1;
}

static int parse_groups(struct loadgen_options *options, const struct loadgen_group *defaults,
                        const char *text)
{
    struct loadgen_group group = *defaults;
    char *copy, *rest = NULL;
    int status = -1;

    if (text[strspn(text, "0123456789")] == '\0') {
        if (!parse_u32(text, 1, LOADGEN_VMS_MAX, &group.count)) {
            return args_refused(PROGRAM, "--vms", text, "a number from 1 to 1024, or groups");
        }
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
                return ARGS_EXIT_USAGE;
            }
        }
    }
    return -1;
}

/* ---- options ---- */

static int take_connect(void *target, const char *name, char *text)
{
    struct loadgen_options *options = &((struct given *)target)->options;
    struct loadgen_connect *connect = &options->connects[options->connect_count];
    char *equals = strchr(text, '=');

    if (!equals || equals[1] == '\0' || strlen(equals + 1) >= LOADGEN_PATH_BYTES) {
        return args_refused(PROGRAM, name, text, "VM_ID=PATH");
    }
    if (options->connect_count == LOADGEN_VMS_MAX) {
        fprintf(stderr, "vgpu-loadgen: --connect: %u times at most.\n", LOADGEN_VMS_MAX);
        return ARGS_EXIT_USAGE;
    }
    *equals = '\0';
    if (!parse_u32(text, 0, UINT32_MAX, &connect->vm_id)) {
        return args_refused(PROGRAM, name, text, "a number from 0 to 4294967295");
    }
    connect->path = equals + 1;
    options->connect_count++;
    return -1;
}

/* --vm-id and --think-us are the keys vm_id and think_us. */
static int take_default(void *target, const char *name, char *value)
{
    struct given *given = target;
    char key[16];

    snprintf(key, sizeof(key), "%s", name + strlen("--"));
    for (char *dash = strchr(key, '-'); dash; dash = strchr(key, '-')) {
        *dash = '_';
    }
    return set_group(&given->defaults, key, value);
}

#undef NUMBER
#undef REAL
#define TEXT(field) ARGS_TEXT(struct given, field)
#define FLAG(field) ARGS_FLAG(struct given, field)
#define NUMBER(field, min, max, unit) ARGS_NUMBER(struct given, field, min, max, unit)
#define SECONDS(field) ARGS_REAL(struct given, field, 0, SECONDS_MAX, NS_PER_S)

static const struct args_option rows[] = {
    ARGS_HEADING("Which VMs:"),
    {"vms", "N|GROUPS",
     "how many VMs (default {default}), or groups of VMs, separated by ';': n=COUNT, vm_id=FIRST, "
     "op=MIX, depth=N, rate=HZ, poisson=0|1, think_us=N, stop_s=SECONDS, pool=LETTER, "
     "prio=0|1|2. What a group leaves out comes from the options below",
     TEXT(vms)},
    {"vm-id", "N", "vm_id of the first VM; the others count up (default 1)",
     ARGS_TAKE(take_default)},
    {"pool", "LETTER", "the pool that the frames claim (default A); a database overrules it",
     ARGS_TAKE(take_default)},
    {"prio", "0|1|2", "their priority (default 1), likewise", ARGS_TAKE(take_default)},

    ARGS_HEADING("What they do:"),
    {"op", "MIX",
     "nop, add, info, vadd-i32[:N], vadd-f32[:N], spin[:US], hang, crash, fail (default add); "
     "'add=70,spin:1000=30' mixes them (with '+' for ',' inside groups)",
     ARGS_TAKE(take_default)},
    {"depth", "N",
     "requests in flight of each VM, 1 to 4096 (default 1; with --rate 4096). More than the VM's "
     "queue holds is answered BUSY",
     ARGS_TAKE(take_default)},
    {"think-us", "N", "wait so long after an answer before the next request",
     ARGS_TAKE(take_default)},
    {"rate", "HZ",
     "open loop: each VM submits at this rate whether or not answers come; latency counts from "
     "when a request was due",
     ARGS_TAKE(take_default)},
    {"poisson", NULL, "open loop with random gaps instead of even ones", FLAG(defaults.poisson)},
    {"busy-wait-ms", "N", "closed loop: after BUSY a VM submits nothing for so long (default 100)",
     NUMBER(options.busy_wait_ns, 0, BUSY_WAIT_MAX_MS, NS_PER_MS)},
    {"hello", NULL, "open each connection with HELLO, as a newer device does", FLAG(options.hello)},
    {"reconnect", NULL,
     "connect again when the mediator goes away; what was in flight counts as lost, not as missing",
     FLAG(options.reconnect)},

    ARGS_HEADING("How long:"),
    {"seconds", "S", "measure for so long (default 10, or without end with --count)",
     SECONDS(options.duration_ns)},
    {"count", "N", "N jobs from each VM", NUMBER(options.count, 1, UINT32_MAX, 1)},
    {"warmup", "S", "run so long before measuring (default {default})", SECONDS(options.warmup_ns)},
    {"drain", "S", "wait so long for the last answers (default {default})",
     SECONDS(options.drain_ns)},

    ARGS_HEADING("Where to, and what comes out:"),
    {"socket", "PATH", "the mediator's socket; %d stands for the vm_id (default {default})",
     TEXT(options.socket_path)},
    {"socket-path", "PATH", NULL, TEXT(options.socket_path)},
    {"connect", "VM_ID=PATH", "the socket of one VM; may be repeated", ARGS_TAKE(take_connect)},
    {"json", "FILE", "results as JSON; - is the standard output, without the table",
     TEXT(options.json_path)},
    {"quiet", NULL, "no table", FLAG(options.quiet)},
    {"seed", "N", "of operands and random gaps (default {default})",
     NUMBER(options.seed, 0, UINT64_MAX, 1)},
};

static const struct args_program program = {
    .name = PROGRAM,
    .intro = "Usage: vgpu-loadgen [OPTION]...\n"
             "Plays the vgpu devices of many virtual machines against a running vgpu-mediator,\n"
             "checks every answer, and reports latency, throughput and shares of GPU time.\n"
             "\n",
    .outro = "\n"
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
             "  vgpu-loadgen --vms 8 --op 'add=70,vadd-f32:100=25,spin:500=5' --depth 8 --json -\n",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};

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

int loadgen_options_parse(struct loadgen_options *options, int argc, char **argv)
{
    static struct given given; /* large */
    int status;

    given = (struct given){
        .options = {.socket_path = VGPU_SOCKET_PATH,
                    .drain_ns = 60 * NS_PER_S,
                    .busy_wait_ns = 100 * NS_PER_MS,
                    .seed = 1},
        .defaults = {.count = 1, .vm_id = 1, .pool = 'A', .priority = 1},
        .vms = "1",
    };
    status = set_group(&given.defaults, "op", (char[]){"add"});
    if (status < 0) {
        status = args_parse(&program, argc, argv, &given, NULL);
    }
    *options = given.options;
    if (status < 0) {
        status = parse_groups(options, &given.defaults, given.vms);
    }
    if (status < 0 && options->group_count == 0) {
        status = args_refused(PROGRAM, "--vms", given.vms, "a number or groups");
    }
    if (status < 0) {
        status = check_groups(options);
    }
    if (options->duration_ns == 0 && options->count == 0) {
        options->duration_ns = 10 * NS_PER_S;
    }
    return status;
}
