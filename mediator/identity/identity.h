/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module finds out who is at the other end of a connection to a shared socket.
 *
 * The kernel names the process (SO_PEERCRED).  If it is a QEMU with a
 * vgpu-stub, its command line, which the toolstack wrote, says which VM it is;
 * on a Xen host XenStore does (xen_identity.h).  What discovery saw when that
 * QEMU was young is preferred to what stands there now, for a process can
 * rewrite its own command line.
 *
 * Reading another process's command line reads its memory, which that process
 * can make slow: so it is done on a thread, never on the loop.
 */
#ifndef MEDIATOR_IDENTITY_IDENTITY_H
#define MEDIATOR_IDENTITY_IDENTITY_H

#include <uv.h>

#include "common/ns.h"
#include "core/core.h"
#include "mediator/identity/process.h"

struct identity_cache;

/*
 * What was found out is kept for IDENTITY_KEEP_NS, for as long as the process
 * has the same start time and name: many connections of one process need no
 * more than one look at it.
 */
#define IDENTITY_KEEP_NS (2 * NS_PER_S)
#define IDENTITY_KEPT 32u

/* NULL when there is no memory.  `proc_path` is kept. */
struct identity_cache *identity_cache_new(uv_loop_t *loop, const char *proc_path);
void identity_cache_free(struct identity_cache *cache);

/*
 * Somebody who may know a process from an earlier time, and is asked before the process is looked
 * at: NULL = not known.  What it returns stays valid during the call.
 */
typedef const struct process *(*identity_known)(void *opaque, pid_t pid);
/* `known` NULL: nobody any more. */
void identity_cache_ask_first(struct identity_cache *cache, identity_known known, void *opaque);

enum identity_result {
    IDENTITY_OK,
    IDENTITY_NOT_QEMU, /* it is not ours, see process_read() */
    IDENTITY_FOREIGN,  /* in a container or another user namespace */
    IDENTITY_NO_VM,    /* a QEMU with neither -uuid nor a vgpu-stub with a vm_id */
    IDENTITY_GONE,     /* it ended, or its number went to another; or process_read() failed */
    IDENTITY_BUSY,     /* no memory to find out */
};

/* What the core is told about a QEMU.  False: neither a UUID nor a vm_id. */
bool identity_from_process(const struct process *process, struct core_identity *identity);

typedef void (*identity_done)(void *opaque, enum identity_result result,
                              const struct core_identity *identity);

/*
 * Finds out who connected on `fd` (which the caller keeps open until `done`).
 * `done` is called once, perhaps before this returns.
 */
void identity_find(struct identity_cache *cache, int fd, pid_t pid, identity_done done,
                   void *opaque);

#endif /* MEDIATOR_IDENTITY_IDENTITY_H */
