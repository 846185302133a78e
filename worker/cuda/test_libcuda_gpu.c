/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The GPU of the stand-in for libcuda.so.1: streams that threads work off, kernels in C. */
#include "worker/cuda/test_libcuda.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/ns.h"

struct test_gpu test_gpu = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

void test_broken(const char *what)
{
    fprintf(stderr, "stand-in: %s\n", what);
    abort();
}

void *test_checked(uint64_t address, uint64_t bytes)
{
    for (unsigned i = 0; i < MEMORIES_MAX; i++) {
        const struct memory *memory = &test_gpu.memories[i];

        if (memory->bytes && address >= memory->from && address - memory->from <= memory->bytes &&
            bytes <= memory->bytes - (address - memory->from)) {
            return (void *)(uintptr_t)address;
        }
    }
    test_broken("an address or a size outside of every allocation");
}

void test_remember(uint64_t from, uint64_t bytes)
{
    for (unsigned i = 0; i < MEMORIES_MAX; i++) {
        if (test_gpu.memories[i].bytes == 0) {
            test_gpu.memories[i] = (struct memory){from, bytes};
            return;
        }
    }
    test_broken("too many allocations");
}

static double now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / NS_PER_MS;
}

unsigned long test_setting(const char *name, unsigned long fallback)
{
    const char *value = getenv(name);

    return value ? strtoul(value, NULL, 10) : fallback;
}

static void run_vector_add(const struct work *work, bool is_float)
{
    uint32_t count = (uint32_t)work->params[3];
    const uint32_t *a = test_checked(work->params[0], count * 4ull);
    const uint32_t *b = test_checked(work->params[1], count * 4ull);
    uint32_t *c = test_checked(work->params[2], count * 4ull);

    for (uint32_t i = 0; i < count && i < work->threads; i++) {
        if (is_float) {
            float x, y, sum;

            memcpy(&x, &a[i], 4);
            memcpy(&y, &b[i], 4);
            sum = x + y;
            memcpy(&c[i], &sum, 4);
            if (isnan(sum)) {
                c[i] = 0x7fffffff;
            }
        } else {
            c[i] = a[i] + b[i];
        }
    }
}

static float as_float(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float value;

    memcpy(&value, &low, sizeof(value));
    return value;
}

static void run_saxpy(const struct work *work)
{
    uint32_t count = (uint32_t)work->params[3];
    float *target = test_checked(work->params[0], count * 4ull);
    const float *a = test_checked(work->params[1], count * 4ull);
    const float alpha = as_float(work->params[2]);

    for (uint32_t i = 0; i < count && i < work->threads; i++) {
        float product = alpha * a[i];

        target[i] = target[i] + product;
        if (isnan(target[i])) {
            target[i] = as_float(0x7fffffff);
        }
    }
}

static void run_sgemm(const struct work *work)
{
    uint32_t m = (uint32_t)work->params[3], n = (uint32_t)work->params[4];
    uint32_t k = (uint32_t)work->params[5], stride = (uint32_t)work->params[6];
    const float alpha = as_float(work->params[7]), beta = as_float(work->params[8]);
    const float *a = test_checked(work->params[0], (uint64_t)m * k * 4);
    const float *b = test_checked(work->params[1], ((k - 1ull) * stride + n) * 4);
    float *c = test_checked(work->params[2], ((m - 1ull) * stride + n) * 4);

    for (uint32_t i = 0; i < m; i++) {
        float *to = &c[(uint64_t)i * stride];

        for (uint32_t j = 0; j < n; j++) {
            to[j] = beta == 0 ? 0 : beta * to[j];
        }
        for (uint32_t l = 0; l < k; l++) {
            const float factor = alpha * a[(uint64_t)i * k + l];

            for (uint32_t j = 0; j < n; j++) {
                to[j] += factor * b[(uint64_t)l * stride + j];
            }
        }
    }
}

static cuda_result run_kernel(const struct work *work)
{
    const char *name = work->kernel->name;

    if (strcmp(name, "vgpu_add") == 0) {
        *(uint32_t *)(uintptr_t)work->params[2] =
            (uint32_t)work->params[0] + (uint32_t)work->params[1];
    } else if (strcmp(name, "vgpu_vector_add_i32") == 0) {
        run_vector_add(work, false);
    } else if (strcmp(name, "vgpu_vector_add_f32") == 0) {
        run_vector_add(work, true);
    } else if (strcmp(name, "vgpu_spin") == 0) {
        double end_ms = now_ms() + (double)work->params[0] / 1e6;

        while (now_ms() < end_ms) {
            usleep(20);
        }
    } else if (strcmp(name, "vgpu_hang") == 0) {
        for (;;) {
            pause();
        }
    } else if (strcmp(name, "vgpu_crash") == 0) {
        return ILLEGAL_ADDRESS;
    } else if (strcmp(name, "vgpu_saxpy") == 0) {
        run_saxpy(work);
    } else if (strcmp(name, "vgpu_sgemm") == 0) {
        run_sgemm(work);
    }
    return CUDA_OK;
}

static bool is_on_buffers(const struct work *work)
{
    return work->kind != WORK_KERNEL || (strlen(work->kernel->params) > 3 && work->threads > 128);
}

static cuda_result run_work(const struct work *work)
{
    const uint64_t *p = work->params;

    if (is_on_buffers(work)) {
        usleep((useconds_t)test_setting(
            work->kind == WORK_COPY ? "STAND_IN_COPY_US" : "STAND_IN_KERNEL_US", 0));
    }
    switch (work->kind) {
    case WORK_KERNEL: return run_kernel(work);
    case WORK_COPY: memcpy((void *)(uintptr_t)p[0], (void *)(uintptr_t)p[1], p[2]); break;
    case WORK_SET8: memset(test_checked(p[0], p[2]), (int)p[1], p[2]); break;
    case WORK_SET32:
        for (uint64_t i = 0; i < p[2]; i++) {
            ((uint32_t *)test_checked(p[0], p[2] * 4))[i] = (uint32_t)p[1];
        }
        break;
    default: break;
    }
    return CUDA_OK;
}

void *test_work_off(void *opaque)
{
    struct cuda_stream_s *stream = opaque;

    pthread_mutex_lock(&test_gpu.lock);
    for (;;) {
        struct work work;
        cuda_result error = CUDA_OK;

        while (stream->first == stream->last) {
            pthread_cond_wait(&test_gpu.changed, &test_gpu.lock);
        }
        work = stream->queue[stream->first % QUEUE_MAX];
        while (work.kind == WORK_WAIT && work.event->reached < work.generation) {
            pthread_cond_wait(&test_gpu.changed, &test_gpu.lock);
        }
        pthread_mutex_unlock(&test_gpu.lock);
        if (test_gpu.lost == CUDA_OK) {
            error = run_work(&work);
        }
        pthread_mutex_lock(&test_gpu.lock);
        if (error) {
            test_gpu.lost = error;
        }
        if (work.kind == WORK_EVENT) {
            work.event->reached++;
            work.event->at_ms = now_ms();
        }
        stream->first++;
        pthread_cond_broadcast(&test_gpu.changed);
    }
    return NULL;
}

cuda_result test_enqueue(struct cuda_stream_s *stream, struct work *work)
{
    cuda_result result;

    pthread_mutex_lock(&test_gpu.lock);
    result = test_gpu.lost;
    if (!result) {
        if (work->kind == WORK_EVENT) {
            work->event->recorded++;
        }
        while (stream->last - stream->first == QUEUE_MAX) {
            pthread_cond_wait(&test_gpu.changed, &test_gpu.lock);
        }
        if (work->kind == WORK_WAIT) {
            work->generation = work->event->recorded;
        }
        stream->queue[stream->last++ % QUEUE_MAX] = *work;
        pthread_cond_broadcast(&test_gpu.changed);
    }
    pthread_mutex_unlock(&test_gpu.lock);
    return result;
}

bool test_is_busy(void)
{
    for (unsigned i = 0; i < test_gpu.stream_count; i++) {
        if (test_gpu.streams[i].first != test_gpu.streams[i].last) {
            return true;
        }
    }
    return false;
}
