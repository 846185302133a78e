/* SPDX-License-Identifier: GPL-2.0-or-later */
/* keeper.c, the loop, and orders.c, the mediator's messages, share these declarations. */
#ifndef KEEPER_KEEPER_INTERNAL_H
#define KEEPER_KEEPER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "keeper/keeper.h"
#include "keeper/parked.h"
#include "keeper/processes.h"

/* Of one mediator at a time two; those of the one before may not have ended yet. */
#define HELPERS_MAX 8u

struct keeper {
    const struct keeper_options *options;
    struct processes *processes;
    int signals, listener, link; /* -1: none */
    int launcher;                /* of the reset command; -1: there is none */
    int spare;                   /* given up for a moment to refuse a connection */
    pid_t mediator;
    uid_t mediator_uid;
    pid_t helpers[HELPERS_MAX]; /* 0: none */
    uid_t allowed_uid;          /* may connect, besides root */
    struct parked parked;
    bool tell_welcome, tell_listed, tell_parked;
    bool full;      /* the mediator's socket takes no more now */
    bool reap_more; /* children have ended that no signal tells of any more */
    bool stopping;
    uint64_t alone_since_ns; /* while there is no mediator */
};

/* Who is not root can't do for a mediator what that can't do itself. */
bool orders_may_help(const struct keeper *keeper);
/* `fds` are taken over in any case.  -EPROTO: such a message there is not. */
int orders_take(struct keeper *keeper, const uint8_t *bytes, size_t length, const int *fds,
                unsigned fd_count);
/*
 * No descriptor of ours was free for those of a START: it is not started.  Of a PROBE both pipes
 * are closed by that, which says it all.
 */
int orders_take_cut(struct keeper *keeper, const uint8_t *bytes);

/* Their mediator is gone: they remove what they have made. */
void orders_end_helpers(const struct keeper *keeper);

#endif /* KEEPER_KEEPER_INTERNAL_H */
