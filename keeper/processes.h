/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module has the processes of the keeper: workers, and probes of the GPU driver.
 *
 * Each has a number that the mediator chose, and is in the table from its start until the
 * mediator was told of its end, or until there is none to be told.
 */
#ifndef KEEPER_PROCESSES_H
#define KEEPER_PROCESSES_H

#include <stdbool.h>
#include <sys/types.h>

#include "keeper/options.h"
#include "keeper/worker_log.h"
#include "vgpu/vgpu_keeper.h"

struct process {
    uint64_t number; /* 0: the place is free */
    pid_t pid;       /* 0: it has ended, or never started */
    uid_t uid;
    int socket; /* a worker's: the mediator's end */
    int status; /* a probe's: where its end is told; -1 */
    vgpu_keeper_worker what;
    vgpu_keeper_end end;
    struct worker_log *log;                   /* NULL: a probe, whose lines are ours */
    bool log_waits;                           /* it has said too much */
    bool has_memory_group;                    /* memory.h */
    bool tell_held, tell_started, tell_ended; /* what the mediator does not know yet */
};

struct processes;

/* -errno with an `error` for the administrator. */
int processes_new(const struct keeper_options *options, struct processes **processes, char *error,
                  size_t error_bytes);
/* Kills and awaits all that are left. */
void processes_free(struct processes *processes);

/* VGPU_KEEPER_OWN_*: what each worker has for itself. */
uint32_t processes_own(const struct processes *processes);

/*
 * The descriptors are the callee's from now on.  What fails is told as the process's end.
 * -EPROTO: the number is in use or 0, or the table is full: the mediator has a bug.
 */
int processes_start(struct processes *processes, uint64_t number, const vgpu_keeper_worker *what,
                    const int fds[VGPU_KEEPER_FDS]);
int processes_probe(struct processes *processes, uint64_t number, uint32_t backend,
                    const int fds[VGPU_KEEPER_FDS]);
/* It can't be started: its descriptors did not get here.  -EPROTO as above. */
int processes_refuse(struct processes *processes, uint64_t number, int error);
void processes_kill(struct processes *processes, uint64_t number);
void processes_kill_all(struct processes *processes);
/* Can a worker's host memory be limited?  Then that of this one, 0: no limit; what fails is logged.
 */
bool processes_limit_memory(const struct processes *processes);
void processes_set_memory(struct processes *processes, uint64_t number, uint64_t bytes);
/* Who is told of the end of a child that is none of these, as a helper is, or was left behind. */
void processes_on_other_end(struct processes *processes, void (*ended)(void *opaque, pid_t pid),
                            void *opaque);
/* After a SIGCHLD.  True: there may be more ends, so call it again, after what else there is. */
bool processes_reap(struct processes *processes);

/* Readable when a worker has said something for the log; then processes_read_logs(). */
int processes_logs_fd(const struct processes *processes);
/* When it is due though that is not readable; UINT64_MAX: never. */
uint64_t processes_logs_due_ns(const struct processes *processes);
void processes_read_logs(struct processes *processes);

unsigned processes_living(const struct processes *processes);
/* Calls `see` for each place in use, until it says false. */
void processes_each(struct processes *processes, bool (*see)(void *opaque, struct process *),
                    void *opaque);
/* The mediator knows of its end, or nobody is there to know. */
void processes_forget(struct processes *processes, struct process *process);

#endif /* KEEPER_PROCESSES_H */
