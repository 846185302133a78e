/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module brings what one worker says on its stderr into our log: a line of ours for each of
 * its lines, that names the VM and the process.  A worker, or what runs in it, may say whatever it
 * likes, and as much: what it may say in a second has a limit, and what its pipe has no room for is
 * lost to it.
 */
#ifndef KEEPER_WORKER_LOG_H
#define KEEPER_WORKER_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WORKER_LOG_BYTES_S 8192u /* per worker */
#define WORKER_LOG_LINE_MAX 512u /* a longer one is several */

struct worker_log;

/* *write_fd is the worker's end, which never blocks it, and the caller's.  -errno. */
int worker_log_new(uint32_t vm_id, struct worker_log **log, int *write_fd);
/* The process's end: what it said before is logged, as far as it may be. */
void worker_log_free(struct worker_log *log);

/* Readable when worker_log_read() is due. */
int worker_log_fd(const struct worker_log *log);
void worker_log_set_pid(struct worker_log *log, pid_t pid);
/* Logs what is there.  False: it has said enough for now; *again_ns is when it may go on. */
bool worker_log_read(struct worker_log *log, uint64_t now_ns, uint64_t *again_ns);

#endif /* KEEPER_WORKER_LOG_H */
