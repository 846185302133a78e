/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of the stand-in for libcuda.so.1 (test_libcuda.c) share these declarations. */
#ifndef WORKER_CUDA_TEST_LIBCUDA_H
#define WORKER_CUDA_TEST_LIBCUDA_H

#include <pthread.h>
#include <stdbool.h>

#include "worker/cuda/cuda_api.h"

#define ILLEGAL_ADDRESS 700
#define INVALID_VALUE 1
#define NOT_FOUND 500
#define INVALID_DEVICE 101
#define LAUNCH_OUT_OF_RESOURCES 701
#define QUEUE_MAX 1024
#define PARAM_WORDS 9
#define EVENTS_MAX 512
#define STREAMS_MAX 8
#define MEMORIES_MAX 8192

struct cuda_event_s {
    unsigned recorded, reached; /* how often */
    double at_ms;
};

struct cuda_function_s {
    char name[64];
    const char *params; /* '8' or '4' for each: its bytes */
};

struct work {
    enum { WORK_EVENT, WORK_WAIT, WORK_KERNEL, WORK_COPY, WORK_SET8, WORK_SET32 } kind;
    struct cuda_event_s *event;
    unsigned generation; /* of the event */
    const struct cuda_function_s *kernel;
    uint64_t params[PARAM_WORDS]; /* COPY: to, from, bytes; SET: address, value, count */
    unsigned threads;
};

struct cuda_stream_s {
    struct work queue[QUEUE_MAX];
    unsigned first, last; /* free-running */
};

/* Device memory, and what cuMemHostAlloc made. */
struct memory {
    uint64_t from, bytes;
};

struct test_gpu {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct cuda_stream_s streams[STREAMS_MAX];
    unsigned stream_count;
    struct memory memories[MEMORIES_MAX];
    cuda_result lost;
    unsigned launches;
};

extern struct test_gpu test_gpu;

/* Ends the process: what a real driver would do is worse. */
void test_broken(const char *what) __attribute__((noreturn));
/* The memory at this address; ends the process when it is none of ours. */
void *test_checked(uint64_t address, uint64_t bytes);
void test_remember(uint64_t from, uint64_t bytes);
/* A number of the environment. */
unsigned long test_setting(const char *name, unsigned long fallback);
/* A stream's thread. */
void *test_work_off(void *stream);
/* Behind what the stream has. */
cuda_result test_enqueue(struct cuda_stream_s *stream, struct work *work);
/* Is anything in flight? */
bool test_is_busy(void);

#endif
