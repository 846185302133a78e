/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module runs small concurrent C code under a weak memory model, in every way that it can
 * go.
 *
 * The model is that of C11 with views, without load buffering (RC11, "view machine"): each
 * word has a history of the values that were stored to it; a thread has a view, which says for
 * each word how old a value it may still read; a release-store hands the view on, an
 * acquire-load takes it over, a sequentially consistent fence does both with a common view.
 * A relaxed load may read any value that its view allows, however old: so store buffers,
 * reordered loads and late propagation are all in it, whatever the processor.
 *
 * Every access is a point where any thread may go on, and a load with several possible values
 * is tried with each.  The search is exhaustive: it ends when each state has been visited.
 * What a thread does must depend on nothing but what it read since its last model_checkpoint()
 * and on what it told there.
 *
 * It finds: a sleeper that nobody wakes (all threads sleep or are over), and whatever
 * model_require() sees.
 */
#ifndef TESTS_MODELS_WEAK_MEMORY_H
#define TESTS_MODELS_WEAK_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_THREADS_MAX 3u
#define MODEL_EVENTS_MAX 4u

/* What a mutant leaves out, for the accesses of one thread. */
struct model_mutant {
    bool no_fence;   /* full fences do nothing */
    bool no_release; /* release-stores are relaxed */
    bool no_acquire; /* acquire-loads are relaxed */
};

struct model {
    unsigned thread_count;
    void (*threads[MODEL_THREADS_MAX])(void);
    void (*reset)(void); /* makes everything shared and private as at the start */
    struct model_mutant mutants[MODEL_THREADS_MAX];
};

struct model_result {
    uint64_t states;
    uint64_t runs;
    char error[128]; /* "" = none: every way is well */
};

/* Stops at the first error. */
void model_explore(const struct model *model, struct model_result *result);

/* ---- for the code under test ---- */

/* Eight bytes or fewer at an address; the size is part of what it is. */
uint64_t model_load(const void *address, size_t bytes, bool acquire);
void model_store(void *address, size_t bytes, uint64_t value, bool release);
void model_fence(void);
/* Copies words, relaxed: `shared` is the side that the others see. */
void model_copy(void *to, const void *from, size_t bytes, bool from_is_shared);

/* An eventfd: signal() adds 1; wait() sleeps until it is not 0 and takes all.  Orders nothing. */
void model_signal(unsigned event);
void model_wait(unsigned event);

/* What the thread knows at this point: everything that it will do follows from it. */
void model_checkpoint(unsigned place, const void *known, size_t bytes);

/* False: an error with this text. */
void model_require(bool well, const char *text);

#endif /* TESTS_MODELS_WEAK_MEMORY_H */
