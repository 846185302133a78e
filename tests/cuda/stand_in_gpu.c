/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stand-in's GPU: a list of work in the order of its submission, and one thread that does
 * what is next in each stream.  The default stream waits for all blocking streams and they for
 * it, as with the driver.  Kernels are C functions that are found by name.
 */
#include "tests/cuda/stand_in.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NON_BLOCKING 1u
#define WAITS -1.0 /* for a word of memory: looked at again */

struct gpu stand_in_gpu = {.lock = PTHREAD_MUTEX_INITIALIZER,
                           .changed = PTHREAD_COND_INITIALIZER,
                           .last = &stand_in_gpu.first};

double stand_in_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

void stand_in_abort(const char *function, const char *why)
{
    fprintf(stderr, "stand-in driver: %s: %s\n", function, why);
    abort();
}

/* ---- kernels ---- */

static uint64_t param(const struct work *work, unsigned number)
{
    uint64_t value = 0;

    memcpy(&value, work->params + work->function->offsets[number], work->function->bytes[number]);
    return value;
}

static uint32_t *memory(const struct work *work, unsigned number, uint64_t count, bool *bad)
{
    uint64_t address = param(work, number);

    if (!cuda_ranges_hold(&stand_in_gpu.memory, address, count * 4) &&
        !cuda_ranges_hold(&stand_in_gpu.registered, address, count * 4)) {
        *bad = true;
    }
    return (uint32_t *)(uintptr_t)address;
}

/* ---- the kernels of stand_in_cublas.c ---- */

static double value_at(uint64_t address, uint64_t index, unsigned size)
{
    const uint8_t *at = (const uint8_t *)(uintptr_t)address + index * size;
    double wide;
    float narrow;

    if (size == sizeof(wide)) {
        memcpy(&wide, at, sizeof(wide));
        return wide;
    }
    memcpy(&narrow, at, sizeof(narrow));
    return narrow;
}

static void set_value(uint64_t address, uint64_t index, unsigned size, double value)
{
    uint8_t *at = (uint8_t *)(uintptr_t)address + index * size;
    float narrow = (float)value;

    memcpy(at, size == sizeof(value) ? (void *)&value : (void *)&narrow, size);
}

/* alpha or beta: its value, or where it lies. */
static double factor(const struct work *work, unsigned number, bool on_gpu, unsigned size)
{
    uint64_t raw = param(work, number);

    return value_at(on_gpu ? raw : (uint64_t)(uintptr_t)&raw, 0, size);
}

static void run_gemm(const struct work *work)
{
    uint64_t a = param(work, 0), b = param(work, 1), c = param(work, 2);
    uint64_t m = param(work, 5), n = param(work, 6), k = param(work, 7);
    uint64_t lda = param(work, 8), ldb = param(work, 9), ldc = param(work, 10);
    unsigned flags = (unsigned)param(work, 11), size = (unsigned)param(work, 12);
    double alpha = factor(work, 3, flags & 4, size), beta = factor(work, 4, flags & 4, size);

    for (uint64_t j = 0; j < n; j++) {
        for (uint64_t i = 0; i < m; i++) {
            double sum = 0;

            for (uint64_t l = 0; l < k; l++) {
                sum += value_at(a, flags & 1 ? l + i * lda : i + l * lda, size) *
                       value_at(b, flags & 2 ? j + l * ldb : l + j * ldb, size);
            }
            sum *= alpha;
            sum += beta == 0 ? 0 : beta * value_at(c, i + j * ldc, size);
            set_value(c, i + j * ldc, size, sum);
        }
    }
}

static void run_axpy(const struct work *work)
{
    uint64_t x = param(work, 0), y = param(work, 1), n = param(work, 3);
    uint64_t incx = param(work, 4), incy = param(work, 5);
    unsigned flags = (unsigned)param(work, 6), size = (unsigned)param(work, 7);
    double alpha = factor(work, 2, flags & 4, size);

    for (uint64_t i = 0; i < n; i++) {
        double value = alpha * value_at(x, i * incx, size);

        set_value(y, i * incy, size, flags & 8 ? value : value + value_at(y, i * incy, size));
    }
}

/* Vectors to one value: product, length, sum, place of the largest; or a rotation of two values. */
static void run_reduce(const struct work *work)
{
    uint64_t x = param(work, 0), y = param(work, 1), result = param(work, 2), n = param(work, 4);
    uint64_t incx = param(work, 5), incy = param(work, 6), best = 0;
    unsigned kind = (unsigned)param(work, 7), size = (unsigned)param(work, 8);
    double sum = 0;
    uint32_t place;

    for (uint64_t i = 0; i < n && kind < 4; i++) {
        double value = value_at(x, i * incx, size);

        sum += kind == 0   ? value * value_at(y, i * incy, size)
               : kind == 1 ? value * value
                           : fabs(value);
        best = fabs(value) > fabs(value_at(x, best * incx, size)) ? i : best;
    }
    if (kind == 3) {
        place = n ? (uint32_t)best + 1 : 0;
        memcpy((void *)(uintptr_t)result, &place, sizeof(place));
    } else if (kind == 4) { /* a, b, c, s */
        double a = value_at(x, 0, size), b = value_at(y, 0, size), r = hypot(a, b);

        set_value(result, 0, size, a / r);
        set_value(param(work, 3), 0, size, b / r);
        set_value(x, 0, size, r);
    } else {
        set_value(result, 0, size, kind == 1 ? sqrt(sum) : sum);
    }
}

CUresult stand_in_kernel(const struct work *work, double *until_ms)
{
    const char *name = work->function->name;
    bool bad = false;

    if (strcmp(name, "add") == 0) {
        uint64_t count = param(work, 3);
        uint32_t *a = memory(work, 0, count, &bad), *b = memory(work, 1, count, &bad);
        uint32_t *c = memory(work, 2, count, &bad);

        for (uint64_t i = 0; !bad && i < count && i < work->threads; i++) {
            c[i] = a[i] + b[i];
        }
    } else if (strcmp(name, "increment") == 0) {
        uint32_t *a = memory(work, 0, 1, &bad);

        if (!bad) {
            ++*a;
        }
    } else if (strcmp(name, "spin") == 0) {
        *until_ms = stand_in_now_ms() + (double)param(work, 0) / 1e6; /* ns */
    } else if (strcmp(name, "print") == 0) {
        struct context *context = work->context;

        context->printed_count +=
            (unsigned)snprintf(context->printed + context->printed_count,
                               sizeof(context->printed) - context->printed_count,
                               "a kernel prints %u\n", (unsigned)param(work, 0));
        context->printed_count %= sizeof(context->printed);
    } else if (strcmp(name, "await") == 0) {
        uint32_t *a = memory(work, 0, 1, &bad);

        *until_ms = !bad && *a == 0 ? WAITS : 0;
    } else if (strcmp(name, "hang") == 0) {
        *until_ms = 1e300;
    } else if (strcmp(name, "mix") == 0) {
        /* u8, u64, u16, 48 bytes, f32: all of them where a compiler would put them. */
        uint32_t *out = memory(work, 1, 4, &bad);
        float f;

        memcpy(&f, work->params + work->function->offsets[4], sizeof(f));
        if (!bad) {
            out[0] = (uint32_t)param(work, 0);
            out[1] = (uint32_t)param(work, 2);
            out[2] = work->params[work->function->offsets[3] + 47];
            out[3] = (uint32_t)f;
        }
    } else if (strcmp(name, "gemm") == 0) {
        run_gemm(work);
    } else if (strcmp(name, "axpy") == 0) {
        run_axpy(work);
    } else if (strcmp(name, "reduce") == 0) {
        run_reduce(work);
    } else if (strcmp(name, "trap") == 0) {
        return CUDA_ERROR_LAUNCH_FAILED;
    } else if (strcmp(name, "bad") == 0) {
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    return bad ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_SUCCESS;
}

void stand_in_print(void)
{
    struct context *context = stand_in_current;
    char text[sizeof(context->printed)];
    unsigned count;

    pthread_mutex_lock(&stand_in_gpu.lock);
    count = context->printed_count;
    memcpy(text, context->printed, count);
    context->printed_count = 0;
    pthread_mutex_unlock(&stand_in_gpu.lock);
    if (count) {
        fwrite(text, 1, count, stdout);
        fflush(stdout);
    }
}

/* ---- work ---- */

static void set_memory(const struct work *work)
{
    for (uint64_t row = 0; row < work->height && work->width > 0; row++) {
        for (uint64_t i = 0; i < work->width; i++) {
            memcpy(work->to + row * work->pitch + i * work->unit, &work->value, work->unit);
        }
    }
}

static void copy_rows(const CUmemcpy3D *copy)
{
    bool from_host = copy->srcMemoryType == CU_MEMORY_HOST;
    bool to_host = copy->dstMemoryType == CU_MEMORY_HOST;
    uint64_t from = from_host ? (uintptr_t)copy->srcHost : copy->srcDevice;
    uint64_t to = to_host ? (uintptr_t)copy->dstHost : copy->dstDevice;

    for (uint64_t z = 0; z < copy->Depth; z++) {
        for (uint64_t y = 0; y < copy->Height; y++) {
            uint64_t source =
                ((copy->srcZ + z) * copy->srcHeight + copy->srcY + y) * copy->srcPitch;
            uint64_t target =
                ((copy->dstZ + z) * copy->dstHeight + copy->dstY + y) * copy->dstPitch;

            memmove((void *)(uintptr_t)(to + target + copy->dstXInBytes),
                    (const void *)(uintptr_t)(from + source + copy->srcXInBytes),
                    copy->WidthInBytes);
        }
    }
}

static bool has_value(const struct work *work)
{
    return (int32_t)(__atomic_load_n((uint32_t *)work->to, __ATOMIC_ACQUIRE) - work->value) >= 0;
}

static void start(struct work *work)
{
    struct gpu *gpu = &stand_in_gpu;
    CUresult result = CUDA_SUCCESS;

    work->started = true;
    work->until_ms = 0;
    switch (work->kind) {
    case WORK_KERNEL:
        result = gpu->lost ? gpu->lost : stand_in_kernel(work, &work->until_ms);
        break;
    case WORK_COPY:
        if (work->width > 0) {
            memmove(work->to, work->own ? work->own : work->from, work->width);
        }
        break;
    case WORK_ROWS: copy_rows(&work->rows); break;
    case WORK_SET: set_memory(work); break;
    case WORK_RECORD:
        /* An earlier mark of it may stand in a slower stream. */
        work->event->done =
            work->generation > work->event->done ? work->generation : work->event->done;
        work->event->at_ms = stand_in_now_ms();
        break;
    case WORK_WAIT: break;
    case WORK_VALUE: work->until_ms = has_value(work) ? 0 : WAITS; break;
    }
    if (result != CUDA_SUCCESS && !gpu->lost) {
        gpu->lost = result;
    }
}

static bool is_blocking(const struct stream *stream)
{
    return !stream || !(stream->flags & NON_BLOCKING);
}

/* Does `work` have to wait for `other`, which was submitted before? */
static bool depends(const struct work *work, const struct work *other)
{
    if (work->context != other->context) {
        return false;
    }
    if (work->unit == 1 && work->kind == WORK_RECORD) {
        return true; /* cuCtxRecordEvent: behind everything */
    }
    if (other->unit == 1 && other->kind == WORK_RECORD) {
        return false; /* ... and nothing waits for it */
    }
    return work->stream == other->stream ||
           ((!work->stream || !other->stream) && is_blocking(work->stream) &&
            is_blocking(other->stream));
}

static bool is_ready(const struct work *work)
{
    for (const struct work *other = stand_in_gpu.first; other != work; other = other->next) {
        if (depends(work, other) && !stand_in_gpu.lost) {
            return false;
        }
    }
    return work->kind != WORK_WAIT || stand_in_gpu.lost || work->event->done >= work->generation;
}

/* A call that waits for a mark waits for what is before it, which is counted itself. */
static unsigned takes_time(const struct work *work)
{
    return work->kind != WORK_RECORD;
}

static bool step(void)
{
    bool did = false;

    for (struct work **place = &stand_in_gpu.first; *place;) {
        struct work *work = *place;

        if (!work->started && is_ready(work)) {
            start(work);
            did = true;
        }
        if (work->started && work->until_ms == WAITS && !stand_in_gpu.lost) {
            if (work->kind == WORK_KERNEL) {
                stand_in_kernel(work, &work->until_ms);
            } else {
                work->until_ms = has_value(work) ? 0 : WAITS;
            }
        }
        if (!work->started || ((work->until_ms == WAITS || work->until_ms > stand_in_now_ms()) &&
                               !stand_in_gpu.lost)) {
            place = &work->next;
            continue;
        }
        *place = work->next;
        if (!*place) {
            stand_in_gpu.last = place;
        }
        work->context->in_flight -= takes_time(work);
        free(work->own);
        free(work);
        did = true;
    }
    return did;
}

static void *run(void *unused)
{
    struct gpu *gpu = &stand_in_gpu;

    (void)unused;
    pthread_mutex_lock(&gpu->lock);
    for (;;) {
        struct timespec until;

        while (step()) {
        }
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 200000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        if (gpu->first) {
            pthread_cond_timedwait(&gpu->changed, &gpu->lock, &until);
        } else {
            pthread_cond_wait(&gpu->changed, &gpu->lock);
        }
    }
    return NULL;
}

void stand_in_queue(struct work *work)
{
    struct gpu *gpu = &stand_in_gpu;
    pthread_t thread;

    if (stand_in_captured(work)) {
        return;
    }
    if (!gpu->running) {
        gpu->running = true;
        pthread_create(&thread, NULL, run, NULL);
        pthread_detach(thread);
    }
    work->next = NULL;
    work->context->in_flight += takes_time(work);
    *gpu->last = work;
    gpu->last = &work->next;
    pthread_cond_signal(&gpu->changed);
}
