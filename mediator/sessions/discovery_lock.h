/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This lock sees to it that one mediator at a time makes sockets in the roots of a host's
 * QEMUs: a second one would find the first one's there, or be first where it is not meant to
 * be.  When the first one ends, however it does, the second one takes over.
 */
#ifndef MEDIATOR_SESSIONS_DISCOVERY_LOCK_H
#define MEDIATOR_SESSIONS_DISCOVERY_LOCK_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#define DISCOVERY_LOCK_PATH "/run/vgpu-discovery.lock"
#define DISCOVERY_LOCK_AGAIN_MS 10000u

struct discovery_lock;

/* NULL when there is no memory.  `path` outlives it. */
struct discovery_lock *discovery_lock_new(uv_loop_t *loop, const char *path);
/*
 * Calls `ours`, which returns 0 or -errno: from within, or when whoever has the lock has gone,
 * which is looked at every `again_ms`.  A lock that can't be had at all, as where we are not
 * root, keeps nobody from it, us neither.  0, or the -errno of a call from within.
 */
int discovery_lock_start(struct discovery_lock *lock, uint64_t again_ms, int (*ours)(void *opaque),
                         void *opaque);
/* Does another process have it?  *holder: which; 0: not known. */
bool discovery_lock_taken(const struct discovery_lock *lock, pid_t *holder);
/* It is not waited for any more. */
void discovery_lock_stop(struct discovery_lock *lock);
/* After the loop has run since.  Gives the lock up.  NULL is allowed. */
void discovery_lock_free(struct discovery_lock *lock);

#endif /* MEDIATOR_SESSIONS_DISCOVERY_LOCK_H */
