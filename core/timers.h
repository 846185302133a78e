/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The timers are deadlines of many objects, which are known by small numbers.  They are an
 * indexed binary heap.
 *
 * Each object has at most one deadline.  timers_lower() is the usual call: it
 * only ever brings a deadline forward.  A deadline that comes up too early is
 * harmless (the object looks at its state and sets the next one), and so the
 * common case, a job that starts long before anything is due, costs a compare.
 */
#ifndef CORE_TIMERS_H
#define CORE_TIMERS_H

#include <stdint.h>

#define TIMERS_NEVER UINT64_MAX

struct timers {
    uint32_t *heap;     /* object numbers, earliest first */
    uint32_t *position; /* of each object in the heap, plus one; 0 = none */
    uint64_t *when_ns;
    uint32_t count;
    uint32_t capacity;
};

/* Objects 0 .. capacity - 1. Returns 0 or -ENOMEM. */
int timers_init(struct timers *timers, uint32_t capacity);
void timers_destroy(struct timers *timers);

/* TIMERS_NEVER removes it. */
void timers_set(struct timers *timers, uint32_t object, uint64_t when_ns);
void timers_lower(struct timers *timers, uint32_t object, uint64_t when_ns);

/* The earliest deadline, or TIMERS_NEVER. */
uint64_t timers_next_ns(const struct timers *timers);
/* Takes out an object whose deadline is not after now_ns; UINT32_MAX = none. */
uint32_t timers_take_due(struct timers *timers, uint64_t now_ns);

#endif /* CORE_TIMERS_H */
