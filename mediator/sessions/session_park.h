/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connections of devices over a planned restart.  The keeper holds them while there is no
 * mediator, each with a story: who is at its other end, what was granted, and the bytes that were
 * read or not written yet.  So a device, which would look for a lost mediator once a second only,
 * notices nothing but that an answer takes longer.
 *
 * Not with it: connections that have channels, which devices and processes resume by themselves,
 * and those whose requests were not answered in time.
 */
#ifndef MEDIATOR_SESSIONS_SESSION_PARK_H
#define MEDIATOR_SESSIONS_SESSION_PARK_H

#include <stdint.h>
#include <uv.h>

#include "core/core.h"

struct keeper_link;
struct listeners;
struct session_io;
struct session_park;

/* How long a connection waits for its socket to be made again, and how often that is looked at. */
#define SESSION_PARK_WAIT_MS 10000u
#define SESSION_PARK_LOOK_MS 20u

/* All of it outlives session_park_free(). */
struct session_park_uses {
    uv_loop_t *loop;
    struct core *core;
    struct session_io *sessions;
    struct listeners *listeners;
    struct keeper_link *keeper;
};

/* NULL when there is no memory. */
struct session_park *session_park_new(const struct session_park_uses *uses);
/* It has stopped, and the loop has run since; or it never started. */
void session_park_free(struct session_park *park);

/* Asks for what the mediator before has left; the loop brings it.  -errno. */
int session_park_start(struct session_park *park);
/* When no connection is read any more: leaves what can go on.  How many these were. */
uint32_t session_park_leave(struct session_park *park);
/* What has not found its socket yet is closed. */
void session_park_stop(struct session_park *park);

#endif /* MEDIATOR_SESSIONS_SESSION_PARK_H */
