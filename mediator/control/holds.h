/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The holds say who has paused which GPU, and who has the preferred VM.
 *
 * A plain pause is the administrator's word: it stays until somebody resumes.  A
 * hold is a connection's: it is given up when the connection ends, whatever ends
 * it, so that a program that was killed leaves nothing paused.  A GPU is paused
 * while there is a pause or any hold on it.  Connections are numbers below
 * HOLDS_CONNECTIONS_MAX.  The record only: nothing here acts.  All zero is a
 * record of nothing.
 */
#ifndef MEDIATOR_CONTROL_HOLDS_H
#define MEDIATOR_CONTROL_HOLDS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/core.h"

#define HOLDS_CONNECTIONS_MAX 32u

/* A client of the administration socket. */
struct admin_who {
    pid_t pid;
    uid_t uid;
    unsigned connection;
};

struct hold_gpu {
    bool paused;          /* by an administrator: nobody needs to be there */
    uint32_t holders;     /* a bit for each connection that holds it */
    struct admin_who who; /* who began it */
    int64_t since_s;      /* CLOCK_REALTIME; 0: it is not paused */
};

struct holds {
    struct hold_gpu gpus[CORE_GPUS_MAX];
    uint32_t preferring; /* the connection that the preferred VM is tied to, a bit */
};

/* gpu CORE_NONE: all.  hold: for as long as this connection lasts. */
void holds_pause(struct holds *holds, uint32_t gpu, const struct admin_who *who, bool hold,
                 int64_t now_s);
/*
 * Whoever holds the GPU gives up its own hold; for anybody else, who is an
 * administrator that means all of it, pauses and holds end.
 */
void holds_resume(struct holds *holds, uint32_t gpu, const struct admin_who *who);
bool holds_paused(const struct holds *holds, uint32_t gpu);

/* hold: the preference ends with the connection; else it is the administrator's word. */
void holds_prefer(struct holds *holds, const struct admin_who *who, bool hold);

struct holds_left {
    bool gpus;       /* it held one */
    bool preference; /* the preferred VM was tied to it */
};

/* The connection has ended: gives up what it held, and says what that was. */
struct holds_left holds_leave(struct holds *holds, const struct admin_who *who);

#endif /* MEDIATOR_CONTROL_HOLDS_H */
