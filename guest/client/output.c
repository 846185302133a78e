/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One job and its result, the registers, the devices, and errors: for a person or as JSON. */
#include <inttypes.h>
#include <stdio.h>

#include "client.h"
#include "common/clock.h"
#include "common/json_out.h"
#include "common/names.h"

void client_print_json_string(const char *text)
{
    char escaped[JSON_ESCAPE_BYTES];

    putchar('"');
    while (*text) {
        size_t bytes = json_escape(&text, escaped);

        fwrite(escaped, bytes, 1, stdout);
    }
    putchar('"');
}

int client_report_error(const struct client_options *options, uint32_t code, const char *text,
                        int status)
{
    if (options->json) {
        printf("{\"event\":\"error\",\"code\":%" PRIu32 ",\"name\":\"%s\",\"exit\":%d,\"error\":",
               code, vgpu_error_name(code), status);
        client_print_json_string(text);
        printf("}\n");
    } else {
        fflush(stdout);
        fprintf(stderr, "vgpu-client: %s\n", text);
    }
    return status;
}

int client_exit_status(const struct vgpu *v, int result)
{
    if (result == VGPU_OK) {
        return EXIT_OK;
    }
    if (result == VGPU_QUARANTINED) {
        return EXIT_QUARANTINED;
    }
    if (result == VGPU_RETRY_LATER) {
        return EXIT_REFUSED;
    }
    switch (vgpu_error_code(v)) {
    case VGPU_ERR_MEDIATOR_UNAVAILABLE:
    case VGPU_ERR_NO_DEVICE:
    case VGPU_ERR_PERMISSION:
    case VGPU_ERR_VERSION: return EXIT_UNREACHABLE;
    case VGPU_ERR_ARGUMENT: return EXIT_USAGE;
    /* A device or mediator that can't even be opened is out of reach, whatever the reason. */
    default: return v ? EXIT_FAILED : EXIT_UNREACHABLE;
    }
}

static const char *backend_name(uint32_t backend)
{
    switch (backend) {
    case VGPU_BACKEND_CPU: return "cpu";
    case VGPU_BACKEND_CUDA: return "cuda";
    default: return "unknown";
    }
}

static void print_info(const struct vgpu_device_info *info)
{
    printf("device           %s\n", info->name);
    printf("backend          %s\n", backend_name(info->backend));
    if (info->backend == VGPU_BACKEND_CUDA) {
        printf("compute          %u.%u\n", info->compute_major, info->compute_minor);
    }
    printf("multiprocessors  %u\n", info->multiprocessors);
    printf("memory           %u MiB\n", info->memory_mib);
}

static void print_single(const struct client_job *job, double latency_us, uint32_t exec_us)
{
    switch (job->op->opcode) {
    case VGPU_OP_CUDA_KERNEL:
        printf("%u + %u = %u%s\n", job->a, job->b, job->sum,
               job->sum < job->a ? " (modulo 2^32)" : "");
        break;
    case VGPU_OP_GET_DEVICE_INFO: print_info(&job->info); break;
    case VGPU_OP_VECTOR_ADD_I32:
    case VGPU_OP_VECTOR_ADD_F32:
        printf("%s: %u elements added, all correct (%.0f us, GPU %u us)\n", job->op->name,
               job->elements, latency_us, exec_us);
        break;
    default: printf("%s: done (%.0f us, GPU %u us)\n", job->op->name, latency_us, exec_us); break;
    }
}

static void print_single_json(const struct client_job *job, double latency_us, uint32_t exec_us)
{
    printf("{\"event\":\"result\",\"op\":\"%s\",", job->op->name);
    switch (job->op->opcode) {
    case VGPU_OP_CUDA_KERNEL:
        printf("\"a\":%u,\"b\":%u,\"sum\":%u,", job->a, job->b, job->sum);
        break;
    case VGPU_OP_GET_DEVICE_INFO:
        printf("\"backend\":\"%s\",\"name\":", backend_name(job->info.backend));
        client_print_json_string(job->info.name);
        printf(",\"compute_major\":%u,\"compute_minor\":%u,\"multiprocessors\":%u,"
               "\"memory_mib\":%u,",
               job->info.compute_major, job->info.compute_minor, job->info.multiprocessors,
               job->info.memory_mib);
        break;
    default:
        if (job->op->unit) {
            printf("\"elements\":%u,", job->elements);
        }
        break;
    }
    printf("\"correct\":%s,\"latency_us\":%.1f,\"exec_us\":%u}\n", job->wrong ? "false" : "true",
           latency_us, exec_us);
}

int client_run_single(struct vgpu *v, const struct client_options *options)
{
    struct client_job job = {
        .op = options->op,
        .a = options->a,
        .b = options->b,
        .elements = options->elements,
        .spin_us = options->spin_us,
    };
    uint64_t start_ns = clock_now_ns(), random = start_ns;
    int result = job_run(v, &job, &random);
    double latency_us = (double)(clock_now_ns() - start_ns) / 1e3;

    if (result != VGPU_OK) {
        return client_report_error(options, vgpu_error_code(v), vgpu_last_error(v),
                                   client_exit_status(v, result));
    }
    if (options->json) {
        print_single_json(&job, latency_us, vgpu_exec_time_us(v));
    } else if (job.wrong) {
        fprintf(stderr, "vgpu-client: wrong result from %s: %s\n", vgpu_describe(v), job.mistake);
    } else {
        print_single(&job, latency_us, vgpu_exec_time_us(v));
    }
    return job.wrong ? EXIT_FAILED : EXIT_OK;
}

/* ---- Registers ---------------------------------------------------------- */

static const char *const register_names[VGPU_REGISTER_COUNT] = {
    "DOORBELL",    "STATUS",       "POOL_ID",      "PRIORITY",     "VM_ID",    "ERROR_CODE",
    "REQUEST_LEN", "RESPONSE_LEN", "PROTOCOL_VER", "CAPABILITIES", "IRQ_CTRL", "IRQ_STATUS",
    "REQUEST_ID",  "TIMESTAMP_LO", "TIMESTAMP_HI", "SCRATCH",
};

static void describe_bits(uint32_t value, const char *const *names, uint32_t count)
{
    const char *separator = "";
    uint32_t i;

    for (i = 0; i < count; i++) {
        if (value & (1u << i)) {
            printf("%s%s", separator, names[i]);
            separator = ", ";
        }
    }
}

static void describe_register(uint32_t offset, uint32_t value)
{
    static const char *const statuses[] = {"idle", "busy", "done", "error"};
    static const char *const capabilities[] = {"basic", "interrupt", "DMA", "multi-request"};
    static const char *const interrupts[] = {"completion", "config"};

    switch (offset) {
    case VGPU_REG_STATUS: fputs(value < 4 ? statuses[value] : "unknown", stdout); break;
    case VGPU_REG_POOL_ID:
        if (value >= VGPU_POOL_FIRST && value <= VGPU_POOL_LAST) {
            putchar((int)value);
        }
        break;
    case VGPU_REG_PRIORITY: fputs(priority_name(value), stdout); break;
    case VGPU_REG_ERROR_CODE: fputs(vgpu_error_name(value), stdout); break;
    case VGPU_REG_PROTOCOL_VER: printf("%u.%u", VGPU_PROTOCOL_MAJOR(value), value & 0xFFFF); break;
    case VGPU_REG_CAPABILITIES: describe_bits(value, capabilities, 4); break;
    case VGPU_REG_IRQ_CTRL:
    case VGPU_REG_IRQ_STATUS: describe_bits(value, interrupts, 2); break;
    default: printf("%u", value); break;
    }
}

int client_show_registers(struct vgpu *v, const struct client_options *options)
{
    uint32_t registers[VGPU_REGISTER_COUNT], i;
    int result = vgpu_read_registers(v, registers);

    if (result != VGPU_OK) {
        return client_report_error(options, vgpu_error_code(v), vgpu_last_error(v),
                                   client_exit_status(v, result));
    }
    if (options->json) {
        printf("{\"event\":\"registers\",\"device\":");
        client_print_json_string(vgpu_describe(v));
        for (i = 0; i < VGPU_REGISTER_COUNT; i++) {
            printf(",\"%s\":%u", register_names[i], registers[i]);
        }
        printf("}\n");
        return EXIT_OK;
    }
    printf("%s\n", vgpu_describe(v));
    for (i = 0; i < VGPU_REGISTER_COUNT; i++) {
        printf("0x%03x  %-12s  0x%08x  ", i * 4, register_names[i], registers[i]);
        describe_register(i * 4, registers[i]);
        putchar('\n');
    }
    return EXIT_OK;
}

int client_list_devices(const struct client_options *options)
{
    char addresses[64][VGPU_ADDRESS_BYTES];
    int count = vgpu_list_devices(NULL, addresses, 64), i;

    if (count < 0) {
        return client_report_error(options, VGPU_ERR_SYSTEM,
                                   "can't read the list of PCI devices in sysfs; is /sys mounted?",
                                   EXIT_UNREACHABLE);
    }
    if (options->json) {
        printf("{\"event\":\"devices\",\"devices\":[");
        for (i = 0; i < count; i++) {
            printf("%s\"%s\"", i ? "," : "", addresses[i]);
        }
        printf("]}\n");
    } else {
        for (i = 0; i < count; i++) {
            printf("%s\n", addresses[i]);
        }
    }
    if (count == 0 && !options->json) {
        fprintf(stderr, "vgpu-client: %s\n", vgpu_strerror(VGPU_ERR_NO_DEVICE));
    }
    return count ? EXIT_OK : EXIT_UNREACHABLE;
}
