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
#define NO_IMAGE_FOR_DEVICE 209 /* CUDA_ERROR_NO_BINARY_FOR_GPU */

/* Every object begins with its kind, so that a stale or foreign handle shows. */
enum kind {
    DEAD = 0,
    CONTEXT = 0x5c01,
    MODULE,
    FUNCTION,
    STREAM,
    EVENT,
    LIBRARY,
    KERNEL,
    POOL,
    GRAPH,
    GRAPH_EXEC,
    GRAPH_NODE,
    PHYSICAL,
    KIND_END
};

struct object {
    enum kind kind;
    struct context *context;
    struct object *next; /* of all that ever lived, but for functions and kernels */
};

struct context {
    struct object object;
    unsigned flags;
    uint64_t limits[16];
    uint64_t local_bytes, taken_bytes; /* of each thread; of all that it took by itself */
    unsigned in_flight;
    char printed[16384]; /* by its kernels; its synchronisation writes that to stdout */
    unsigned printed_count;
};

struct stream {
    struct object object;
    unsigned flags;
    int priority;
    uint64_t id;
    struct capture *capture; /* NULL: it is not captured */
};

struct event {
    struct object object;
    unsigned flags;
    unsigned asked, done; /* how often recorded, and reached */
    double at_ms;
    struct capture *capture; /* in which it was recorded last; NULL: in none */
};

struct function {
    struct object object;
    char name[32];
    unsigned params;
    unsigned bytes[PARAMS_MAX], offsets[PARAMS_MAX];
    unsigned param_bytes;
    unsigned local_bytes; /* of each thread */
};

struct kernel {
    struct object object;
    struct library *library;
    char name[32];
    int max_shared; /* dynamic shared memory that a launch may ask for */
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

/* Its modules are made as contexts ask for them. */
struct library {
    struct object object;
    char *image;
    struct kernel kernels[16];
    unsigned kernel_count;
    struct {
        struct context *context;
        struct module *module;
    } modules[8];
    unsigned module_count;
};

/* What it keeps reserved goes back when the GPU is seen to be done, down to the threshold. */
struct pool {
    struct object object;
    uint64_t threshold, reserved, used;
};

enum work_kind { WORK_KERNEL, WORK_COPY, WORK_ROWS, WORK_SET, WORK_RECORD, WORK_WAIT, WORK_VALUE };

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
    CUmemcpy3D rows;
    uint32_t value;
    unsigned unit;
    const struct function *function;
    uint8_t params[PARAM_BYTES_MAX];
    uint64_t threads;
    unsigned grid[3], block[3], shared_bytes;
};

/* All of it is under this lock. */
struct gpu {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct work *first, **last;
    struct cuda_range_map memory, registered;
    uint64_t used_bytes, total_bytes;
    struct object *objects;
    CUresult lost;
    bool running;
};

extern struct gpu stand_in_gpu;
extern __thread struct context *stand_in_current;

/* Ends the process: whoever called did what a real driver turns into a crash or a hang. */
void stand_in_abort(const char *function, const char *why) __attribute__((noreturn));
void stand_in_queue(struct work *work);
void stand_in_print(void);
/* Runs one kernel; 0, or the error that it is. */
CUresult stand_in_kernel(const struct work *work, double *until_ms);
double stand_in_now_ms(void);

/* The handle, if it is a live one of this kind; else the process ends. */
void *stand_in_check(const char *function, const void *handle, enum kind kind);
/* A new object lives; one dies, and so do all of a context. */
void stand_in_born(struct object *object, enum kind kind, struct context *context);
void stand_in_dies(struct object *object);
void stand_in_memory_dies(const struct context *context);
void stand_in_context_dies(const struct context *context);
/* So many bytes more that no call asked for; false: the GPU has too few. */
bool stand_in_take(struct context *context, uint64_t bytes);
/* Pools give back what they need not keep. */
void stand_in_pools_shrink(void);
/* True: it was of a pool. */
bool stand_in_pool_free(CUdeviceptr address);
/* An image as the stand-in's own text, which the caller frees; NULL: *result says why not. */
char *stand_in_text(const void *image, CUresult *result);
CUresult stand_in_load(struct module **out, const char *image);
/* NULL: there is none of this name. */
struct function *stand_in_find(struct module *module, const char *name);
/* Of a CUfunction, or of a CUkernel in the current context. */
struct function *stand_in_function(const char *caller, CUfunction handle);
void stand_in_module_dies(struct module *module);
/* Ends the process if work of the context is in flight. */
void stand_in_never_wait(const char *function, const struct context *context);
/* The same of the context that an allocation belongs to. */
void stand_in_owner_never_waits(const char *function, CUdeviceptr address);
/* Takes work of a stream that is captured, and a wait that makes one so.  Under the lock. */
bool stand_in_captured(struct work *work);
/* The stream dies, or its capture ends. */
void stand_in_capture_ends(struct stream *stream);
/* Ends the process if a stream of the context is captured. */
void stand_in_spoils(const char *function, const struct context *context);
/* Is all of it memory of the GPU, or registered? */
bool stand_in_is_memory(const void *memory, uint64_t bytes);
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
#define RESIDENT_THREADS (132ull * 2048)

#endif
