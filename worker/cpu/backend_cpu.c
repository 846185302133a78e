/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPU backend: every operation done by this thread, inside submit().
 *
 * It is what hosts without a GPU, development and most tests run on, so its
 * answers are the reference: the CUDA backend has to give the same bits.  For
 * floats that takes one decision: a NaN result is 0x7fffffff, as NVIDIA GPUs
 * answer, whatever NaN the operands held.
 */
#include "common/clock.h"
#include "worker/backend.h"
#include "worker/cpu/bulk_cpu.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "common/log.h"
#include "common/parse.h"
#include "common/unused.h"

#define CPU_INDEX_MAX 63u
#define CANONICAL_NAN 0x7fffffffu

struct backend {
    struct backend_gpu device;
    uint64_t memory_bytes;
    struct bulk_cpu bulk;
};

static void read_model_name(char name[VGPU_WORKER_NAME_BYTES])
{
    char text[VGPU_WORKER_NAME_BYTES];
    char line[256];
    FILE *cpuinfo = fopen("/proc/cpuinfo", "re");

    snprintf(text, sizeof(text), "CPU backend");
    while (cpuinfo && fgets(line, sizeof(line), cpuinfo)) {
        char *value = strchr(line, ':');

        if (value && strncmp(line, "model name", 10) == 0) {
            value += strspn(value, ": \t");
            value[strcspn(value, "\n")] = '\0';
            snprintf(text, sizeof(text), "CPU backend (%.*s)", 48, value);
            break;
        }
    }
    if (cpuinfo) {
        fclose(cpuinfo);
    }
    backend_copy_name(name, VGPU_WORKER_NAME_BYTES, text);
}

static void describe_device(struct backend_gpu *gpu, unsigned index)
{
    cpu_set_t cpus;
    struct sysinfo info;

    memset(gpu, 0, sizeof(*gpu));
    gpu->index = index;
    snprintf(gpu->uuid, sizeof(gpu->uuid), "CPU-%u", index);
    read_model_name(gpu->name);
    gpu->multiprocessors = 1;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0) {
        gpu->multiprocessors = (unsigned)CPU_COUNT(&cpus);
    }
    if (sysinfo(&info) == 0) {
        gpu->memory_bytes = (uint64_t)info.totalram * info.mem_unit;
    }
}

static int cpu_list(struct backend_gpu *gpus, unsigned max, char driver[32],
                    char reason[BACKEND_REASON_BYTES])
{
    driver[0] = '\0';
    reason[0] = '\0';
    if (max > 0) {
        describe_device(&gpus[0], 0);
    }
    return max > 0 ? 1 : 0;
}

/* "2" and "CPU-2" name the same stand-in for a GPU: pools of several can be tried without one. */
static int parse_index(const char *gpu, unsigned *index)
{
    if (!gpu) {
        *index = 0;
        return 0;
    }
    gpu += strncmp(gpu, "CPU-", 4) == 0 ? 4 : 0;
    return parse_u32(gpu, 0, CPU_INDEX_MAX, index) ? 0 : -EINVAL;
}

static int cpu_open(const struct backend_config *config, struct backend **backend)
{
    unsigned index;
    struct backend *cpu;

    if (parse_index(config->gpu, &index) < 0) {
        log_error("there is no GPU '%s' on the CPU backend: give an index from 0 to %u, or CPU-0 "
                  "to CPU-%u",
                  config->gpu, CPU_INDEX_MAX, CPU_INDEX_MAX);
        return -ENODEV;
    }
    cpu = calloc(1, sizeof(*cpu));
    if (!cpu) {
        log_error("out of memory");
        return -ENOMEM;
    }
    describe_device(&cpu->device, index);
    cpu->memory_bytes = cpu->device.memory_bytes;
    if (config->memory_limit_bytes && config->memory_limit_bytes < cpu->memory_bytes) {
        cpu->memory_bytes = config->memory_limit_bytes;
    }
    bulk_cpu_init(&cpu->bulk, cpu->memory_bytes);
    *backend = cpu;
    return 0;
}

static void cpu_close(struct backend *cpu)
{
    free(cpu);
}

static void cpu_describe(const struct backend *cpu, vgpu_worker_ready *ready)
{
    memset(ready, 0, sizeof(*ready));
    ready->backend = VGPU_BACKEND_CPU;
    ready->multiprocessors = cpu->device.multiprocessors;
    ready->memory_bytes = cpu->memory_bytes;
    backend_copy_name(ready->gpu_uuid, sizeof(ready->gpu_uuid), cpu->device.uuid);
    backend_copy_name(ready->name, sizeof(ready->name), cpu->device.name);
}

static void add_i32(const struct backend_job *job, struct backend_result *result)
{
    uint32_t count = job->data_length / 8;
    const uint32_t *a = job->data;
    const uint32_t *b = a + count;

    for (uint32_t i = 0; i < count; i++) {
        result->body[i] = a[i] + b[i];
    }
    result->data_length = count * 4;
}

static void add_f32(const struct backend_job *job, struct backend_result *result)
{
    uint32_t count = job->data_length / 8;
    const uint32_t *a = job->data;
    const uint32_t *b = a + count;

    for (uint32_t i = 0; i < count; i++) {
        float x, y, sum;

        memcpy(&x, &a[i], sizeof(x));
        memcpy(&y, &b[i], sizeof(y));
        sum = x + y;
        memcpy(&result->body[i], &sum, sizeof(sum));
        if (sum != sum) {
            result->body[i] = CANONICAL_NAN;
        }
    }
    result->data_length = count * 4;
}

static void spin(uint64_t duration_ns)
{
    uint64_t end_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID) + duration_ns;

    while (clock_read_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns) {
    }
}

/* Burns the CPU on purpose: an endless kernel occupies its GPU too. */
static void hang(void)
{
    for (;;) {
        __asm__ volatile("" ::: "memory");
    }
}

static void crash(void)
{
    volatile uint32_t *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        abort();
    }
    *page = 1;
}

static enum backend_state cpu_submit(UNUSED struct backend *cpu, UNUSED unsigned slot,
                                     const struct backend_job *job, struct backend_result *result)
{
    uint64_t start_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);

    switch (job->opcode) {
    case VGPU_OP_CUDA_KERNEL:
        result->body[0] = job->params[0] + job->params[1];
        result->result_count = 1;
        break;
    case VGPU_OP_VECTOR_ADD_I32: add_i32(job, result); break;
    case VGPU_OP_VECTOR_ADD_F32: add_f32(job, result); break;
    case VGPU_OP_TEST_SPIN: spin((uint64_t)job->params[0] * NS_PER_US); break;
    case VGPU_OP_TEST_HANG: hang(); break;
    case VGPU_OP_TEST_CRASH: crash(); break;
    default: result->status = VGPU_ERR_UNSUPPORTED_OP; break;
    }
    result->gpu_time_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns;
    return BACKEND_DONE;
}

/* Every job was done when submit() returned. */
static enum backend_state cpu_poll(UNUSED struct backend *cpu, UNUSED unsigned slot,
                                   UNUSED struct backend_result *result)
{
    return BACKEND_DONE;
}

static const struct bulk_engine *cpu_bulk(struct backend *cpu)
{
    return &cpu->bulk.engine;
}

static struct memory_account *cpu_account(struct backend *cpu)
{
    return &cpu->bulk.account;
}

const struct backend_ops backend_cpu = {
    .name = "cpu",
    .immediate = true,
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .submit = cpu_submit,
    .poll = cpu_poll,
    .bulk = cpu_bulk,
    .account = cpu_account,
    .list = cpu_list,
};
