/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events tell people what happened: in the log, in the admin socket's stream, in the
 * database's audit table.  A guest can cause events as fast as it likes, so each VM has a
 * bucket of EVENTS_BURST lines that fills by EVENTS_PER_SECOND; half of it is kept for what is
 * rarer than a refused request.  What does not fit is counted, and the count is logged every
 * EVENTS_SUPPRESSED_MS.  Nothing that only an administrator or the mediator itself can cause
 * is ever left out.
 */
#ifndef MEDIATOR_EVENTS_H
#define MEDIATOR_EVENTS_H

#include <sys/types.h>
#include <uv.h>

#include "core/core.h"

#define EVENTS_BURST 20u
#define EVENTS_PER_SECOND 1u
#define EVENTS_SUPPRESSED_MS 5000u
#define EVENTS_KEPT 512u /* for those who begin to listen later */
#define EVENTS_TEXT_BYTES 320u

struct events;
struct json_out;

/* NULL when there is no memory. */
struct events *events_new(void);
/* Who can say which VM a session belongs to.  Before the core's first event. */
void events_set_core(struct events *events, const struct core *core);
void events_free(struct events *events);
/* The timer that tells what was left out.  After stop the loop must run once more. */
int events_start(struct events *events, uv_loop_t *loop);
void events_stop(struct events *events);

/* An effect of the core. */
void events_core(struct events *events, const struct core_event *event);
/* Something about a connection that belongs to no VM yet; a peer can cause it. */
void events_session_note(struct events *events, pid_t pid, const char *text);
/* Something that an administrator or the mediator did. `kind` as in "policy". */
void events_admin(struct events *events, const char *kind, uint32_t vm_id, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* From now on workers end because the daemon does: no news. */
void events_stopping(struct events *events);
/* An event of the core as one sentence, without the VM's name.  Cut at `bytes`. */
void events_describe(const struct events *events, const struct core_event *event, char *text,
                     size_t bytes);

struct event_record {
    uint64_t sequence;
    int64_t time_ms; /* since 1970, UTC */
    const char *kind;
    uint32_t vm_id; /* CORE_NONE: about no VM */
    char text[EVENTS_TEXT_BYTES];
};

/* Hears of each record, in order; one at most.  NULL: nobody any more. */
typedef void (*events_subscriber)(void *opaque, const struct event_record *record);
void events_subscribe(struct events *events, events_subscriber subscriber, void *opaque);

/* The record as one JSON object. */
void event_record_json(struct json_out *json, const struct event_record *record);
/* Visits the last `max` records, oldest first. */
void events_recent(const struct events *events, uint32_t max,
                   void (*visit)(void *opaque, const struct event_record *record), void *opaque);

#endif /* MEDIATOR_EVENTS_H */
