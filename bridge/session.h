/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A session is one VM that is served: its folder, and a thread that takes its requests one
 * after the other, has the mediator do them, and writes the answers.  A job that hangs holds
 * up nobody else.
 *
 * The thread starts with the VM's first request, and with it the connection to the mediator,
 * which it gives back after SESSION_IDLE_S without a request.
 */
#ifndef BRIDGE_SESSION_H
#define BRIDGE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

/* Without a request for so long, the connection ends, and the VM's worker with it. */
#define SESSION_IDLE_S 60
/* A request that has no end of line is whole when nothing changed for so long. */
#define SESSION_SETTLE_MS 100
/* While the mediator can't be reached, a request waits so long; Phase 2's clients give 30 s. */
#define SESSION_CONNECT_S 20

struct session;

/* The same for all VMs. */
struct session_settings {
    const char *socket_path; /* the mediator's */
    /*
     * For vm_client_vector, which takes the first number that it reads for the sum: a sum comes
     * without its status, and nothing else begins with a digit.
     */
    bool plain_sums;
};

/* What stands in an empty response file. */
const char *session_ready_text(const struct session_settings *settings);

/*
 * Serves the VM `vm_id` from `folder`, an open folder that it owns from now on.  `settings` is
 * kept, not copied.  NULL: no memory.
 */
struct session *session_new(uint32_t vm_id, int folder, const struct session_settings *settings);
/* Lets the request that is at work end, then clears the files.  Waits for that. */
void session_free(struct session *session);

/* There may be a request.  Cheap; from the thread that made it. */
void session_look(struct session *session);

uint32_t session_vm_id(const struct session *session);
/* The folder, to be looked at, not closed. */
int session_folder(const struct session *session);

#endif /* BRIDGE_SESSION_H */
