/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver watch is for a host with an NVIDIA driver that does not work: no VM is served by
 * the CPU in silence.  That driver is a problem (health.h).  It is looked at again by a probe
 * every DRIVER_WATCH_MS, on a thread of the pool, and its GPUs are taken up as soon as it
 * works.  The same look follows when a worker could not use its GPU, or when NVML gives a
 * reason to doubt the driver.
 */
#ifndef MEDIATOR_CONTROL_DRIVER_WATCH_H
#define MEDIATOR_CONTROL_DRIVER_WATCH_H

#include <stdint.h>

#define DRIVER_WATCH_MS 10000u

struct core_event;
struct driver_watch;
struct gpu_list;
struct mediator;

/*
 * `gpus` is the first probe's result; without a GPU in it the looking begins at
 * start.  It is filled in when the driver works, and `taken_up` is called then.
 */
struct driver_watch *driver_watch_new(struct mediator *mediator, struct gpu_list *gpus,
                                      void (*taken_up)(void));
/* The loop has ended. */
void driver_watch_free(struct driver_watch *watch);
int driver_watch_start(struct driver_watch *watch); /* -errno */
void driver_watch_stop(struct driver_watch *watch);
/* gpu_health_doubts(): when that has grown the driver is looked at, also on an idle host. */
void driver_watch_doubts(struct driver_watch *watch, uint32_t doubts);
/* An effect of the core. */
void driver_watch_event(struct driver_watch *watch, const struct core_event *event);

#endif /* MEDIATOR_CONTROL_DRIVER_WATCH_H */
