/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long a process has waited for a processor of this host, as the kernel counts it: a job that
 * is told of late for that did not have the GPU for so long.
 */
#ifndef MEDIATOR_BASE_HOST_WAIT_H
#define MEDIATOR_BASE_HOST_WAIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct host_wait {
    uint64_t waited_ns; /* in all, when it was last asked */
};

/*
 * The first thread of process `pid`, 0 = our own: so long it has waited since this was last asked,
 * or since it began.  0 where the kernel does not say (no CONFIG_SCHED_INFO, a hidden /proc).
 */
uint64_t host_wait_ns(struct host_wait *wait, pid_t pid);

/* The second number of schedstat; false: the text is none. */
bool host_wait_parse(const char *text, uint64_t *waited_ns);

#endif /* MEDIATOR_BASE_HOST_WAIT_H */
