/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "common/usage.h"
#include "vgpu/vgpu_channel.h"
#include "common/names.h"
#include "common/ns.h"
#include "common/option_list.h"
#include "common/parse.h"

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

static const char help_text[] =
    "Usage: vgpu-client [OPTION]... [A B]\n"
    "\n"
    "Have the host's GPU work for this virtual machine, through its vgpu device.\n"
    "\n"
    "  vgpu-client 100 200                 add two numbers: 100 + 200 = 300\n"
    "  vgpu-client --op info               which GPU is behind the device\n"
    "  vgpu-client --op vadd-f32 --bench   latency, jobs per second, device accesses\n"
    "  vgpu-client --socket /tmp/vgpu-mediator.sock 100 200      without a VM\n"
    "  vgpu-client --host /run/vgpu/web.sock sgemm --n 1024 --check    through a channel\n"
    "\n"
    "Where:\n"
    "  --device WHERE     a PCI address, or a device of the driver like /dev/vgpu0; default:\n"
    "                     the driver's first, else (as root) the first on the PCI bus, else a\n"
    "                     mediator's socket here\n"
    "  --list             list this machine's vgpu devices\n"
    "  --exclusive        keep the device until the end; fewer accesses per job\n"
    "  --socket PATH      a mediator's Unix socket instead of a device, with\n"
    "    --vm-id N        the VM to claim to be (default 1)\n"
    "    --pool LETTER    its pool, A to Z (default A)\n"
    "    --priority P     its priority: low, medium, high (default medium)\n"
    "    --hello          let the mediator say all three (HELLO, CONFIG)\n"
    "  --host PATH        that socket with a channel: memory shared with the worker; takes\n"
    "                     --vm-id, --pool and --priority too\n"
    "\n"
    "What:\n"
    "  --op OP            one of the operations below (default add)\n"
    "  --elements N       elements of a vector addition (1 to 124, default 124)\n"
    "  --us N             GPU time that spin uses up, in microseconds (default 1000)\n"
    "  --registers        show the device's registers and submit nothing\n"
    "  --channel          show which channel it is, and what it is made of\n"
    "\n"
    "Work on buffers, through a channel (driver or --host), with a bar while it lasts:\n"
    "  sgemm              multiply two matrices of N rows; --check: see that it is right\n"
    "  vadd               add two vectors of N elements, each sum checked\n"
    "  bandwidth          copy to the GPU and back\n"
    "  latency            N jobs that do nothing, one at a time\n"
    "  --n N              how many (sgemm 1024, vadd 1000000, latency 100000)\n"
    "\n"
    "Operations, the last four only where the mediator allows test operations:\n"
    " " VGPU_OPERATIONS(
        OP_NAME) "\n"
                 "\n"
                 "How often:\n"
                 "  --count N          N jobs with other operands each time, each result checked\n"
                 "  --seconds S        jobs until S seconds are over\n"
                 "  --bench            after 20 jobs to warm up, measure (default 1000 jobs)\n"
                 "  --keep-going       go on after failed jobs, quarantine and a lost device "
                 "excepted\n"
                 "  --timeout MS       longest wait for one answer (default 60000)\n"
                 "  --retries N        tries after queue full or rate limited (default 5)\n"
                 "\n"
                 "Output:\n"
                 "  --json             one JSON object per line\n"
                 "  --progress         a line each second\n"
                 "  --help, --version\n"
                 "\n"
                 "Exit status: 0 done, every result right; 1 a job failed or a result was wrong;\n"
                 "2 usage; 3 no device or no mediator; 4 refused (queue full, rate limit), also\n"
                 "after the retries; 5 this VM is quarantined.\n";

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

/* Numbers are decimal, or hexadecimal after 0x. */
static int base_of(const char *text)
{
    return strncmp(text, "0x", 2) == 0 ? 16 : 10;
}

static bool parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *value)
{
    return parse_u32_base(text, base_of(text), min, max, value);
}

static bool parse_seconds(const char *text, uint64_t *ns)
{
    double seconds;

    if (!parse_real(text, 0.001, SECONDS_MAX, &seconds)) {
        return false;
    }
    *ns = (uint64_t)(seconds * NS_PER_S);
    return true;
}

static bool parse_priority(const char *text, uint8_t *priority)
{
    int number = priority_from_name(text);

    if (number >= 0 || (text[0] >= '0' && text[0] <= '2' && !text[1])) {
        *priority = (uint8_t)(number >= 0 ? number : text[0] - '0');
        return true;
    }
    return false;
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

#define OPTIONS(X)                                                                                 \
    X(DEVICE, "device", required_argument)                                                         \
    X(LIST, "list", no_argument)                                                                   \
    X(EXCLUSIVE, "exclusive", no_argument)                                                         \
    X(SOCKET, "socket", required_argument)                                                         \
    X(HOST, "host", required_argument)                                                             \
    X(CHANNEL, "channel", no_argument)                                                             \
    X(N, "n", required_argument)                                                                   \
    X(CHECK, "check", no_argument)                                                                 \
    X(VM_ID, "vm-id", required_argument)                                                           \
    X(POOL, "pool", required_argument)                                                             \
    X(PRIORITY, "priority", required_argument)                                                     \
    X(HELLO, "hello", no_argument)                                                                 \
    X(OP, "op", required_argument)                                                                 \
    X(ELEMENTS, "elements", required_argument)                                                     \
    X(US, "us", required_argument)                                                                 \
    X(REGISTERS, "registers", no_argument)                                                         \
    X(COUNT, "count", required_argument)                                                           \
    X(SECONDS, "seconds", required_argument)                                                       \
    X(BENCH, "bench", no_argument)                                                                 \
    X(KEEP_GOING, "keep-going", no_argument)                                                       \
    X(TIMEOUT, "timeout", required_argument)                                                       \
    X(RETRIES, "retries", required_argument)                                                       \
    X(JSON, "json", no_argument)                                                                   \
    X(PROGRESS, "progress", no_argument)                                                           \
    X(HELP, "help", no_argument)                                                                   \
    X(VERSION, "version", no_argument)

enum option_id { OPT_BEFORE_FIRST = 255, OPTIONS(OPTION_ID) };

static const struct option long_options[] = {OPTIONS(OPTION_ROW){0}};

static bool set_spec(struct client_options *options, const char *kind, const char *where)
{
    int length = snprintf(options->spec, sizeof(options->spec), "%s:%s", kind, where);

    return *where && length < (int)sizeof(options->spec);
}

/* Take one option with its value; false: the value is wrong. */
static bool take_option(struct client_options *options, int option, const char *value)
{
    switch (option) {
    case OPT_DEVICE: return set_spec(options, value[0] == '/' ? "dev" : "pci", value);
    case OPT_SOCKET: return set_spec(options, "sock", value);
    case OPT_HOST: return set_spec(options, "host", value);
    case OPT_CHANNEL: options->mode = MODE_CHANNEL; return true;
    case OPT_N: return parse_uint_base(value, base_of(value), 1, COUNT_MAX, &options->n);
    case OPT_CHECK: options->check = true; return true;
    case OPT_LIST: options->mode = MODE_LIST; return true;
    case OPT_REGISTERS: options->mode = MODE_REGISTERS; return true;
    case OPT_EXCLUSIVE: options->device.exclusive = 1; return true;
    case OPT_HELLO: options->device.hello = 1; return true;
    case OPT_BENCH: options->bench = true; return true;
    case OPT_KEEP_GOING: options->keep_going = true; return true;
    case OPT_JSON: options->json = true; return true;
    case OPT_PROGRESS: options->progress = true; return true;
    case OPT_VM_ID: return parse_number(value, 0, UINT32_MAX, &options->device.vm_id);
    case OPT_POOL:
        options->device.pool_id = (uint8_t)value[0];
        return value[0] >= VGPU_POOL_FIRST && value[0] <= VGPU_POOL_LAST && !value[1];
    case OPT_PRIORITY: return parse_priority(value, &options->device.priority);
    case OPT_OP: return parse_op(value, &options->op);
    case OPT_ELEMENTS: return parse_number(value, 1, VGPU_VECTOR_MAX, &options->elements);
    case OPT_US: return parse_number(value, 0, UINT32_MAX, &options->spin_us);
    case OPT_COUNT: return parse_uint_base(value, base_of(value), 1, COUNT_MAX, &options->count);
    case OPT_SECONDS: return parse_seconds(value, &options->seconds_ns);
    case OPT_TIMEOUT: return parse_number(value, 1, UINT32_MAX, &options->device.timeout_ms);
    case OPT_RETRIES: return parse_number(value, 0, RETRIES_MAX, &options->device.retries);
    default: return false;
    }
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
    if (!parse_number(operands[0], 0, UINT32_MAX, &options->a)) {
        return usage("\"%s\" is not a whole number from 0 to 4294967295", operands[0]);
    }
    if (!parse_number(operands[1], 0, UINT32_MAX, &options->b)) {
        return usage("\"%s\" is not a whole number from 0 to 4294967295", operands[1]);
    }
    options->have_operands = true;
    return -1;
}

int options_parse(struct client_options *options, int argc, char **argv)
{
    int option, index = 0;

    memset(options, 0, sizeof(*options));
    strcpy(options->spec, "auto");
    vgpu_options_init(&options->device);
    parse_op("add", &options->op);
    options->elements = VGPU_VECTOR_MAX;
    options->spin_us = 1000;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", long_options, &index)) != -1) {
        switch (option) {
        case OPT_HELP: fputs(help_text, stdout); return EXIT_OK;
        case OPT_VERSION: printf("vgpu-client %s\n", VGPU_VERSION); return EXIT_OK;
        case ':': return usage("%s needs a value", argv[optind - 1]);
        case '?':
            if (optopt > 0 && optopt < 256) {
                return usage("unknown option -%c (numbers to add are 0 to 4294967295)", optopt);
            }
            fprintf(stderr, "vgpu-client: unknown option %s, or a value where none belongs. ",
                    argv[optind - 1]);
            usage_unknown("vgpu-client", long_options, argv[optind - 1]);
            return EXIT_USAGE;
        default:
            if (!take_option(options, option, optarg)) {
                return usage("--%s does not take \"%s\"", long_options[index].name, optarg);
            }
        }
    }
    return finish(options, argc - optind, argv + optind);
}
