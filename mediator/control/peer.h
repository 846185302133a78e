/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module knows who may connect to the administration socket, and tells a client when all
 * places are taken.
 */
#ifndef MEDIATOR_CONTROL_PEER_H
#define MEDIATOR_CONTROL_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define ADMIN_REFUSED_LOG_MS 10000u

/* What was said about refused clients; zero at first. */
struct admin_refusals {
    uint64_t told_ns; /* when the log had a line about it; 0: never */
    uint32_t untold;  /* since then */
};

/* root, our own user and the members of `group` ((gid_t)-1: there is none) may. */
bool admin_peer_may(int fd, const struct ucred *peer, gid_t group);

/*
 * Answers with EUSERS and `text`, before any request, and closes `fd`.  A client
 * may come back as often as it likes, so the log has one line about this in
 * ADMIN_REFUSED_LOG_MS at most, with the number of those in between.
 */
void admin_peer_refuse(struct admin_refusals *refusals, int fd, const struct ucred *peer,
                       const char *text);

#endif /* MEDIATOR_CONTROL_PEER_H */
