/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The events are what is going to happen: a binary heap by time, then by order of being added,
 * so that a run is the same every time.
 */
#ifndef SIM_EVENTS_H
#define SIM_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

enum sim_event_kind {
    SIM_EVENT_GUEST_SUBMIT,   /* subject: VM */
    SIM_EVENT_GUEST_TOGGLE,   /* subject: VM: on/off, start, stop */
    SIM_EVENT_GUEST_CONNECT,  /* subject: VM */
    SIM_EVENT_GUEST_LEAVE,    /* subject: VM: its QEMU goes away */
    SIM_EVENT_GUEST_CHANNEL,  /* subject: VM: it opens its channel again */
    SIM_EVENT_GUEST_CHANGE,   /* subject: VM: an administrator changes its settings */
    SIM_EVENT_WORKER_READY,   /* subject: worker */
    SIM_EVENT_WORKER_EXIT,    /* subject: worker; serial: how */
    SIM_EVENT_WORKER_JOB,     /* subject: worker: a RUN reaches it */
    SIM_EVENT_WORKER_DONE,    /* subject: worker: its DONE reaches the core */
    SIM_EVENT_CHANNEL_OPENED, /* subject: worker; serial: channel; it reaches the core, ... */
    SIM_EVENT_CHANNEL_CLOSED, /* ... as this does ... */
    SIM_EVENT_CHANNEL_WANT,   /* ... and this */
    SIM_EVENT_GPU,            /* subject: GPU; serial: of its plan */
    SIM_EVENT_MEDIATOR_UP,
    SIM_EVENT_DISTURB, /* the fault mix does something */
    SIM_EVENT_SAMPLE,
    SIM_EVENT_JUDGE, /* the judge writes down who had what */
};

struct sim_event {
    uint64_t time_ns;
    uint64_t order;
    enum sim_event_kind kind;
    uint64_t subject;
    uint64_t serial; /* the event is void when the subject has another one now */
};

struct sim_events {
    struct sim_event *heap;
    uint32_t count, capacity;
    uint64_t next_order;
};

/* Out of memory ends the program: a simulation has nobody to answer to. */
void sim_events_add(struct sim_events *events, uint64_t time_ns, enum sim_event_kind kind,
                    uint64_t subject, uint64_t serial);
/* UINT64_MAX when there is none. */
uint64_t sim_events_next_ns(const struct sim_events *events);
bool sim_events_take(struct sim_events *events, struct sim_event *event);
void sim_events_destroy(struct sim_events *events);

/* calloc() that ends the program when there is no memory. */
void *sim_allocate(uint64_t count, uint64_t size_bytes);

#endif /* SIM_EVENTS_H */
