/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "common/args.h"
#include "vgpu/vgpu_channel.h"
#include "common/names.h"
#include "common/parse.h"
#include "common/unused.h"

#define PROGRAM "vgpu-client"
#define COUNT_MAX 1000000000000u
#define SECONDS_MAX 31536000.0
#define BENCH_COUNT 1000u
#define RETRIES_MAX 1000u

static const struct client_op ops[] = {
#define CLIENT_OP(name, code, text, option, params, results, unit, gives, most, test)              \
    {option, code, params, results, unit, gives, most},
    VGPU_OPERATIONS(CLIENT_OP)
#undef CLIENT_OP
};

#define OP_DEFAULT VGPU_OP_CUDA_KERNEL
#define OP_NAME(name, code, text, option, params, results, unit, gives, most, test) " " option

static int usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int usage(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "vgpu-client: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, ". See vgpu-client --help.\n");
    return EXIT_USAGE;
}

static bool parse_op(const char *text, const struct client_op **op)
{
    size_t i;

    for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        if (strcmp(text, ops[i].name) == 0) {
            *op = &ops[i];
            return true;
        }
    }
    return false;
}

static int set_spec(struct client_options *options, const char *kind, const char *name,
                    const char *where)
{
    int length = snprintf(options->spec, sizeof(options->spec), "%s:%s", kind, where);

    return *where && length < (int)sizeof(options->spec)
               ? -1
               : args_refused(PROGRAM, name, where, "a place to look for a device");
}

static int take_device(void *target, const char *name, char *value)
{
    return set_spec(target, value[0] == '/' ? "dev" : "pci", name, value);
}

static int take_socket(void *target, const char *name, char *value)
{
    return set_spec(target, "sock", name, value);
}

static int take_host(void *target, const char *name, char *value)
{
    return set_spec(target, "host", name, value);
}

static int set_mode(void *target, const char *name, UNUSED char *value)
{
    struct client_options *options = target;

    options->mode = strcmp(name, "--list") == 0        ? MODE_LIST
                    : strcmp(name, "--registers") == 0 ? MODE_REGISTERS
                                                       : MODE_CHANNEL;
    return -1;
}

static int take_pool(void *target, const char *name, char *value)
{
    struct client_options *options = target;

    options->device.pool_id = (uint8_t)value[0];
    return value[0] >= VGPU_POOL_FIRST && value[0] <= VGPU_POOL_LAST && !value[1]
               ? -1
               : args_refused(PROGRAM, name, value, "a letter from A to Z");
}

static int take_priority(void *target, const char *name, char *value)
{
    struct client_options *options = target;
    int number = priority_from_name(value);
    bool digit = value[0] >= '0' && value[0] <= '2' && !value[1];

    if (number < 0 && !digit) {
        return args_refused(PROGRAM, name, value, "low, medium or high");
    }
    options->device.priority = (uint8_t)(number >= 0 ? number : value[0] - '0');
    return -1;
}

static int take_op(void *target, const char *name, char *value)
{
    struct client_options *options = target;

    return parse_op(value, &options->op)
               ? -1
               : args_refused(PROGRAM, name, value, "one of the operations");
}

#define NUMBER(field, min, max) ARGS_NUMBER(struct client_options, field, min, max, 1)
#define FLAG(field) ARGS_FLAG(struct client_options, field)

static const struct args_option rows[] = {
    ARGS_HEADING("Where:"),
    {"device", "WHERE",
     "a PCI address, or a device of the driver like /dev/vgpu0; default: the driver's first, else "
     "(as root) the first on the PCI bus, else a mediator's socket here",
     ARGS_TAKE(take_device)},
    {"list", NULL, "list this machine's vgpu devices", ARGS_TAKE(set_mode)},
    {"exclusive", NULL, "keep the device until the end; fewer accesses per job",
     FLAG(device.exclusive)},
    {"socket", "PATH", "a mediator's Unix socket instead of a device, with the next four",
     ARGS_TAKE(take_socket)},
    {"vm-id", "N", "the VM to claim to be (default {default})",
     NUMBER(device.vm_id, 0, UINT32_MAX)},
    {"pool", "LETTER", "its pool, A to Z (default A)", ARGS_TAKE(take_pool)},
    {"priority", "P", "its priority: low, medium, high (default medium)", ARGS_TAKE(take_priority)},
    {"hello", NULL, "let the mediator say all three (HELLO, CONFIG)", FLAG(device.hello)},
    {"host", "PATH",
     "that socket with a channel: memory shared with the worker; takes --vm-id, --pool and "
     "--priority too",
     ARGS_TAKE(take_host)},
    ARGS_HEADING("What:"),
    {"op", "OP", "one of the operations below (default add)", ARGS_TAKE(take_op)},
    {"elements", "N", "elements of a vector addition ({range}, default {default})",
     NUMBER(elements, 1, VGPU_VECTOR_MAX)},
    {"us", "N", "GPU time that spin uses up, in microseconds (default {default})",
     NUMBER(spin_us, 0, UINT32_MAX)},
    {"registers", NULL, "show the device's registers and submit nothing", ARGS_TAKE(set_mode)},
    {"channel", NULL, "show which channel it is, and what it is made of", ARGS_TAKE(set_mode)},
    ARGS_HEADING("Work on buffers, through a channel (driver or --host), with a bar while it "
                 "lasts:\n"
                 "  sgemm           multiply two matrices of N rows; --check: see that it is "
                 "right\n"
                 "  vadd            add two vectors of N elements, each sum checked\n"
                 "  bandwidth       copy to the GPU and back\n"
                 "  latency         N jobs that do nothing, one at a time"),
    {"n", "N", "how many (sgemm 1024, vadd 1000000, latency 100000)", NUMBER(n, 1, COUNT_MAX)},
    {"check", NULL, "check the product of sgemm", FLAG(check)},
    ARGS_HEADING("Operations, the last four only where the mediator allows test operations:\n"
                 " " VGPU_OPERATIONS(OP_NAME)),
    ARGS_HEADING("How often:"),
    {"count", "N", "N jobs with other operands each time, each result checked",
     NUMBER(count, 1, COUNT_MAX)},
    {"seconds", "S", "jobs until S seconds are over",
     ARGS_REAL(struct client_options, seconds_ns, 0.001, SECONDS_MAX, 1e9)},
    {"bench", NULL, "after 20 jobs to warm up, measure (default 1000 jobs)", FLAG(bench)},
    {"keep-going", NULL, "go on after failed jobs, quarantine and a lost device excepted",
     FLAG(keep_going)},
    {"timeout", "MS", "longest wait for one answer (default {default})",
     NUMBER(device.timeout_ms, 1, UINT32_MAX)},
    {"retries", "N", "tries after queue full or rate limited (default {default})",
     NUMBER(device.retries, 0, RETRIES_MAX)},
    ARGS_HEADING("Output:"),
    {"json", NULL, "one JSON object per line", FLAG(json)},
    {"progress", NULL, "a line each second", FLAG(progress)},
};

static const struct args_program program = {
    .name = PROGRAM,
    .intro = "Usage: vgpu-client [OPTION]... [A B]\n"
             "\n"
             "Have the host's GPU work for this virtual machine, through its vgpu device.\n"
             "\n"
             "  vgpu-client 100 200                 add two numbers: 100 + 200 = 300\n"
             "  vgpu-client --op info               which GPU is behind the device\n"
             "  vgpu-client --op vadd-f32 --bench   latency, jobs per second, device accesses\n"
             "  vgpu-client --socket /tmp/vgpu-mediator.sock 100 200      without a VM\n"
             "  vgpu-client --host /run/vgpu/web.sock sgemm --n 1024 --check    through a channel\n"
             "\n",
    .outro = "\n"
             "Exit status: 0 done, every result right; 1 a job failed or a result was wrong;\n"
             "2 usage; 3 no device or no mediator; 4 refused (queue full, rate limit), also\n"
             "after the retries; 5 this VM is quarantined.\n",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};

static bool parse_operand(const char *text, uint32_t *value)
{
    uint64_t number;

    if (!parse_number(text, 0, UINT32_MAX, &number)) {
        return false;
    }
    *value = (uint32_t)number;
    return true;
}

/* sgemm, vadd, ...: -1 to go on, or the exit status. */
static int finish_bulk(struct client_options *options, int count)
{
    options->mode = MODE_BULK;
    if (count != 1) {
        return usage("give one kind of work on buffers at a time");
    }
    if (strncmp(options->spec, "sock:", 5) == 0 || strncmp(options->spec, "pci", 3) == 0) {
        return usage("work on buffers needs a channel: the driver's /dev/vgpu0, or --host PATH");
    }
    if (options->bulk == BULK_SGEMM && options->n > VGPU_SGEMM_DIM_MAX) {
        return usage("a matrix has at most %u rows", VGPU_SGEMM_DIM_MAX);
    }
    return -1;
}

static bool parse_bulk(const char *text, enum client_bulk *bulk)
{
    static const char *const names[] = {
        [BULK_SGEMM] = "sgemm",
        [BULK_VADD] = "vadd",
        [BULK_BANDWIDTH] = "bandwidth",
        [BULK_LATENCY] = "latency",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *bulk = (enum client_bulk)i;
            return true;
        }
    }
    return false;
}

/* What the options say together, and the two numbers behind them. */
static int finish(struct client_options *options, int count, char **operands)
{
    /* These are about the bare device, whether a driver has it or not. */
    if (strcmp(options->spec, "auto") == 0 &&
        (options->mode == MODE_REGISTERS || options->device.exclusive)) {
        strcpy(options->spec, "pci");
    }
    if (options->mode == MODE_JOBS && count > 0 && parse_bulk(operands[0], &options->bulk)) {
        return finish_bulk(options, count);
    }
    if (options->n || options->check) {
        return usage("--n and --check belong to sgemm, vadd and latency");
    }
    if (options->mode != MODE_JOBS) {
        return count == 0 ? -1 : usage("\"%s\" is one argument too many", operands[0]);
    }
    options->stream = options->count > 1 || options->seconds_ns || options->bench;
    if (options->count == 0 && options->seconds_ns == 0) {
        options->count = options->bench ? BENCH_COUNT : 1;
    }
    if (count == 0) {
        return options->op->opcode != OP_DEFAULT || options->stream
                   ? -1
                   : usage("give two numbers to add, or an operation with --op");
    }
    if (options->op->opcode != OP_DEFAULT) {
        return usage("--op %s takes no numbers", options->op->name);
    }
    if (count != 2) {
        return usage("give exactly two numbers to add");
    }
    if (!parse_operand(operands[0], &options->a)) {
        return usage("\"%s\" is not a whole number from 0 to 4294967295", operands[0]);
    }
    if (!parse_operand(operands[1], &options->b)) {
        return usage("\"%s\" is not a whole number from 0 to 4294967295", operands[1]);
    }
    options->have_operands = true;
    return -1;
}

int options_parse(struct client_options *options, int argc, char **argv)
{
    char **words;
    int status, count = 0;

    memset(options, 0, sizeof(*options));
    strcpy(options->spec, "auto");
    vgpu_options_init(&options->device);
    parse_op("add", &options->op);
    options->elements = VGPU_VECTOR_MAX;
    options->spin_us = 1000;
    status = args_parse(&program, argc, argv, options, &words);
    if (status >= 0) {
        return status;
    }
    while (words[count]) {
        count++;
    }
    return finish(options, count, words);
}
