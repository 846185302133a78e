/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host functions of streams.  A thread of the library runs them, one after the other, each when the
 * GPU has come to it; its stream waits at a gate until it is over.  A gate is a word of pinned
 * memory whose value only grows, so it can be used again as soon as it was opened.
 */
#include <stdlib.h>
#include <time.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define GATES 1024u /* of a context */
#define NAP_MIN_NS 20000
#define NAP_MAX_NS 1000000

struct host_func {
    struct host_func *next;
    uint64_t number;
    struct cuda_context *context; /* whose gate it is */
    unsigned gate;
    uint32_t value;
    bool ready;
    CUhostFn plain; /* or */
    CUstreamCallback with_status;
    CUstream stream;
    void *data;
};

/* All of it under this lock, as are the contexts' gates. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queued = PTHREAD_COND_INITIALIZER, opened = PTHREAD_COND_INITIALIZER;
static struct host_func *first, **last = &first;
static uint64_t next_number = 1;
static bool has_thread;

static __thread bool in_host_func;

bool cuda_in_host_func(void)
{
    return in_host_func;
}

void cuda_host_func_ready(uint64_t number)
{
    pthread_mutex_lock(&lock);
    for (struct host_func *func = first; func; func = func->next) {
        func->ready = func->ready || func->number == number;
    }
    pthread_mutex_unlock(&lock);
}

static void take_out(struct host_func *func)
{
    struct host_func **place = &first;

    while (*place != func) {
        place = &(*place)->next;
    }
    *place = func->next;
    if (last == &func->next) {
        last = place;
    }
}

/* Out of the list; NULL: none is ready. */
static struct host_func *take_ready(void)
{
    struct host_func *func = first;

    while (func && !func->ready) {
        func = func->next;
    }
    if (func) {
        take_out(func);
    }
    return func;
}

static void open_gate(const struct host_func *func)
{
    struct cuda_gates *gates = func->context->gates;

    if (gates) {
        __atomic_store_n(&gates->words[func->gate], func->value, __ATOMIC_RELEASE);
        gates->busy[func->gate] = false;
    }
    pthread_cond_broadcast(&opened);
}

static void run(struct host_func *func)
{
    in_host_func = true;
    if (func->plain) {
        func->plain(func->data);
    } else {
        func->with_status(func->stream, CUDA_SUCCESS, func->data);
    }
    in_host_func = false;
}

static void *run_all(void *unused)
{
    struct timespec nap = {.tv_nsec = NAP_MIN_NS};

    (void)unused;
    for (;;) {
        struct host_func *func;

        pthread_mutex_lock(&lock);
        while (!first) {
            pthread_cond_wait(&queued, &lock);
        }
        func = take_ready();
        pthread_mutex_unlock(&lock);
        if (func) {
            run(func);
            pthread_mutex_lock(&lock);
            open_gate(func);
            pthread_mutex_unlock(&lock);
            free(func);
            nap.tv_nsec = NAP_MIN_NS;
            continue;
        }
        if (cuda_state() != CUDA_READY) {
            return NULL; /* nothing comes any more */
        }
        if (cuda_has_output()) {
            cuda_take_output();
            continue;
        }
        nanosleep(&nap, NULL);
        nap.tv_nsec = nap.tv_nsec * 2 < NAP_MAX_NS ? nap.tv_nsec * 2 : NAP_MAX_NS;
    }
}

static bool start_thread(void)
{
    pthread_attr_t attributes;
    pthread_t thread;

    if (!has_thread && pthread_attr_init(&attributes) == 0) {
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        has_thread = pthread_create(&thread, &attributes, run_all, NULL) == 0;
        pthread_attr_destroy(&attributes);
    }
    return has_thread;
}

/* The context's gates, made with its first host function. */
static CUresult need_gates(struct cuda_context *context)
{
    struct cuda_gates *gates;
    void *words = NULL;
    CUresult result;

    if (context->gates) {
        return CUDA_SUCCESS;
    }
    gates = calloc(1, sizeof(*gates) + GATES * sizeof(gates->busy[0]));
    if (!gates) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = hand_cuMemHostAlloc(&words, GATES * sizeof(uint32_t), 0);
    if (result) {
        free(gates);
        return result;
    }
    gates->words = words;
    pthread_mutex_lock(&lock);
    if (!context->gates) {
        context->gates = gates;
        gates = NULL;
    }
    pthread_mutex_unlock(&lock);
    if (gates) { /* another thread was first */
        free(gates);
        return hand_cuMemFreeHost(words);
    }
    return CUDA_SUCCESS;
}

void cuda_gates_drop(struct cuda_context *context)
{
    pthread_mutex_lock(&lock);
    free(context->gates);
    context->gates = NULL;
    pthread_mutex_unlock(&lock);
}

/* A free gate, under the lock; it waits until there is one. */
static void take_gate(struct host_func *func)
{
    struct cuda_gates *gates = func->context->gates;

    for (;;) {
        for (unsigned i = 0; i < GATES; i++) {
            if (!gates->busy[i]) {
                gates->busy[i] = true;
                func->gate = i;
                func->value = __atomic_load_n(&gates->words[i], __ATOMIC_RELAXED) + 1;
                return;
            }
        }
        pthread_cond_wait(&opened, &lock);
    }
}

static CUresult send(struct host_func *func, struct cuda_call *call)
{
    CUresult result;

    pthread_mutex_lock(&lock);
    if (!start_thread()) {
        pthread_mutex_unlock(&lock);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    take_gate(func);
    func->number = next_number++;
    func->next = NULL;
    *last = func;
    last = &func->next;
    cuda_add(call, (uint64_t)(uintptr_t)&func->context->gates->words[func->gate]);
    cuda_add(call, func->value);
    cuda_add(call, func->number);
    pthread_cond_signal(&queued);
    pthread_mutex_unlock(&lock);
    /* Others may not wait here: the ring may be full until a function has run. */
    result = cuda_captures() ? cuda_ask(call) : cuda_forget(call);
    if (result) {
        pthread_mutex_lock(&lock);
        take_out(func);
        func->context->gates->busy[func->gate] = false;
        pthread_mutex_unlock(&lock);
    }
    return result;
}

static CUresult launch(const struct host_func *wanted, int per_thread)
{
    struct host_func *func;
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_HOST_FUNC, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!wanted->plain && !wanted->with_status) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!cuda_add_stream(&call, wanted->stream, per_thread)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    result = need_gates(call.context);
    if (result) {
        return result;
    }
    func = malloc(sizeof(*func));
    if (!func) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *func = *wanted;
    func->context = call.context;
    result = send(func, &call);
    if (result) {
        free(func);
    }
    return result;
}

CUresult hand_cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData, int per_thread)
{
    const struct host_func func = {.plain = fn, .stream = hStream, .data = userData};

    return launch(&func, per_thread);
}

CUresult hand_cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void *userData,
                                  unsigned int flags, int per_thread)
{
    const struct host_func func = {.with_status = callback, .stream = hStream, .data = userData};

    return flags ? CUDA_ERROR_INVALID_VALUE : launch(&func, per_thread);
}
