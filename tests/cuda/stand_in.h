/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of the stand-in for the driver share these declarations. */
#ifndef TESTS_CUDA_STAND_IN_H
#define TESTS_CUDA_STAND_IN_H

#include <pthread.h>
#include <stdbool.h>

#include "cuda/driver_types.h"
#include "cuda/ranges.h"

#define EXPORT __attribute__((visibility("default")))
#define PARAMS_MAX 16
#define PARAM_BYTES_MAX 256

/* Every object begins with its kind, so that a stale or foreign handle shows. */
enum kind { DEAD = 0, CONTEXT = 0x5c01, MODULE, FUNCTION, STREAM, EVENT, LIBRARY, POOL };

struct object {
    enum kind kind;
    struct context *context;
};

struct context {
    struct object object;
    unsigned flags;
    uint64_t limits[16];
    unsigned in_flight;
};

struct stream {
    struct object object;
    unsigned flags;
    int priority;
    uint64_t id;
};

struct event {
    struct object object;
    unsigned flags;
    unsigned asked, done; /* how often recorded, and reached */
    double at_ms;
};

struct function {
    struct object object;
    char name[32];
    unsigned params;
    unsigned bytes[PARAMS_MAX], offsets[PARAMS_MAX];
    unsigned param_bytes;
};

struct module {
    struct object object;
    struct function functions[16];
    unsigned function_count;
    struct {
        char name[32];
        CUdeviceptr address;
        size_t bytes;
    } globals[8];
    unsigned global_count;
};

enum work_kind { WORK_KERNEL, WORK_COPY, WORK_SET, WORK_RECORD, WORK_WAIT };

struct work {
    struct work *next;
    enum work_kind kind;
    struct context *context;
    struct stream *stream; /* NULL: the default one */
    bool started;
    double until_ms;
    struct event *event;
    unsigned generation;
    uint8_t *to; /* copies and sets */
    const uint8_t *from;
    uint8_t *own; /* the bytes were taken at the call */
    uint64_t width, height, pitch;
    uint32_t value;
    unsigned unit;
    const struct function *function;
    uint8_t params[PARAM_BYTES_MAX];
    uint64_t threads;
};

/* All of it is under this lock. */
struct gpu {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct work *first, **last;
    struct cuda_range_map memory, registered;
    uint64_t used_bytes, total_bytes;
    CUresult lost;
    bool running;
};

extern struct gpu stand_in_gpu;
extern __thread struct context *stand_in_current;

/* Ends the process: whoever called did what a real driver turns into a crash or a hang. */
void stand_in_abort(const char *function, const char *why) __attribute__((noreturn));
void stand_in_queue(struct work *work);
/* Runs one kernel; 0, or the error that it is. */
CUresult stand_in_kernel(const struct work *work, double *until_ms);
double stand_in_now_ms(void);

/* The handle, if it is a live one of this kind; else the process ends. */
void *stand_in_check(const char *function, const void *handle, enum kind kind);
/* Ends the process if work of the context is in flight. */
void stand_in_never_wait(const char *function, const struct context *context);
/* NULL: the default stream. */
struct stream *stand_in_stream(const char *function, CUstream stream);
/* In the current context, not yet queued. */
struct work *stand_in_work(enum work_kind kind, struct stream *stream);
/* Memory of the GPU; 0: there is no more. */
uint64_t stand_in_allocate(size_t bytes);
CUresult stand_in_give_back(CUdeviceptr address);

#define GPU (&stand_in_gpu)
#define LOCKED(body)                                                                               \
    do {                                                                                           \
        pthread_mutex_lock(&GPU->lock);                                                            \
        body;                                                                                      \
        pthread_mutex_unlock(&GPU->lock);                                                          \
    } while (0)

#define CHECK(handle, kind) stand_in_check(__func__, handle, kind)

#define NEED_CONTEXT                                                                               \
    do {                                                                                           \
        if (!stand_in_current) {                                                                   \
            return CUDA_ERROR_INVALID_CONTEXT;                                                     \
        }                                                                                          \
        if (GPU->lost) {                                                                           \
            return GPU->lost;                                                                      \
        }                                                                                          \
    } while (0)

#define TOTAL_BYTES (1ull << 30)

#endif
