/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files of the core share these declarations.  They are private to core/core*.c.
 *
 *   core.c          life, time, looking at it
 *   core_gpu.c      GPUs and pools, pauses, policy
 *   core_account.c  what outlives the mediator
 *   core_vm.c       VMs: placement, quarantine, removal; what follows an event
 *   core_config.c   VMs: their configuration
 *   core_session.c  sessions: frames in, identity, HELLO and CONFIG
 *   core_job.c      jobs: acceptance, dispatch, the one answer
 *   core_worker.c   workers: start, stop, loss, deadlines
 *   core_channel.c  channels: who may have one, how it ends
 *   core_turns.c    their turns on the GPU
 *   core_chunk.c    more memory for them
 *   core_adopt.c    channels of a mediator that was before
 *   core_states.c   which state may follow which
 *
 * An event changes what it is about and ends with core_vm_after() for its VM.
 * That alone decides what follows, in one order: may it be served, must it move,
 * does it need a worker, may it be forgotten, when is it due, what runs next.
 */
#ifndef CORE_CORE_INTERNAL_H
#define CORE_CORE_INTERNAL_H

#include "common/ns.h"
#include "core/core.h"
#include "core/metrics/metrics.h"
#include "core/placement.h"
#include "core/rate_limiter.h"
#include "core/timers.h"
#include "core/watchdog.h"

enum core_job_state {
    CORE_JOB_FREE,
    CORE_JOB_QUEUED,
    CORE_JOB_IN_FLIGHT,
};

struct core_job {
    struct wfq_job sched; /* first: the scheduler hands back a pointer to it */
    enum core_job_state state;
    uint32_t next_free;
    uint32_t session;        /* the session that sent it ... */
    uint64_t session_serial; /* ... whose number may have been another session's before */
    uint32_t request_id;
    uint64_t accepted_ns; /* the scheduler's arrival_ns starts anew on another GPU */
    uint64_t id;          /* 0 while free */
    uint64_t serial;      /* among the jobs of its VM */
    uint64_t channel;     /* not 0: a turn of this channel, not a request */
    struct request_view request;
    uint8_t bytes[VGPU_REQUEST_BUFFER_BYTES]; /* what request points into */
};

/* Why a worker is told to go.  The later ones leave less time, see stop_deadline_ns(). */
enum core_stop {
    CORE_STOP_UNUSED,      /* nobody uses it, or its VM moves to another GPU */
    CORE_STOP_CHANGED,     /* the next one gets the new memory limit */
    CORE_STOP_REMOVED,     /* its VM is not in the configuration any more */
    CORE_STOP_QUARANTINED, /* its VM is */
    CORE_STOP_SHUTDOWN,    /* the mediator stops */
};

struct core_worker {
    enum core_worker_state state;
    uint64_t handle;             /* 0 in NONE and BACKOFF */
    uint32_t flags;              /* VGPU_WORKER_TIME_ELAPSED and the like */
    uint64_t told_kernel_ns;     /* by LIMITS; 0: nothing, or no limit */
    vgpu_worker_figures figures; /* the last ones */
    bool adopted;                /* from another mediator: the first ones are counted already */
    uint64_t since_ns;           /* of the state */
    uint64_t backoff_ns;         /* 0 = the next loss is answered at once */
    uint32_t start_failures;     /* in a row */
    uint32_t restarts;
    bool faulted;        /* the fault that ends it has been counted */
    bool overdue;        /* it did not start in time and was killed: its READY comes too late */
    bool killed;         /* by us */
    enum core_stop why;  /* STOPPING */
    uint64_t kill_at_ns; /* STOPPING: gone by then, or killed */
};

struct core_vm {
    bool used;
    bool registered;
    bool removing; /* gone from the configuration, waits for its worker to leave */
    bool has_old_id;
    uint32_t old_vm_id; /* still accepted from a device that has not heard of the new one */
    struct core_vm_config config;
    uint32_t session; /* of its device, CORE_NONE = not connected */
    uint32_t host_sessions;
    uint32_t channel_count, channels_waiting, channels_wanting;
    uint64_t channel_bytes;
    uint32_t gpu; /* CORE_NONE = not placed */
    double placed_share;
    bool aside;
    bool idle;              /* no session and no job */
    uint64_t idle_since_ns; /* since when; of one that owes: when that was last looked at */
    bool owes;              /* nobody uses it, but its neighbours are owed time */
    uint64_t return_by_ns;  /* it was in another mediator, and keeps its place so long; 0: no */
    struct core_worker worker;
    struct rate_limiter limiter;
    bool credit_wanted; /* its worker has records of channels that the rate limit holds back */
    struct watchdog watchdog;
    struct core_job *jobs; /* CORE_VM_JOBS_MAX, allocated when the VM first connects */
    uint32_t free_job;     /* head of the free list, CORE_NONE = none */
    uint32_t job_count;    /* in use */
    struct core_job *in_flight[WFQ_DEPTH_MAX]; /* oldest first */
    uint32_t in_flight_count;
    uint64_t finished_ns; /* when its worker was done with the latest job */
    uint64_t submitted, completed, errors, dropped, invalid, timeouts, gpu_time_ns;
    uint64_t rejected_rate, rejected_queue, rejected_quarantined;
    uint64_t entitled_ns, kept_ns, switching_ns; /* of places that it has left */
};

enum core_session_state {
    CORE_SESSION_FREE,
    CORE_SESSION_OPEN,         /* said nothing yet */
    CORE_SESSION_BOUND,        /* vm is set */
    CORE_SESSION_UNREGISTERED, /* identified, but no such VM: every request is refused */
};

struct core_session {
    enum core_session_state state;
    uint64_t serial;
    struct core_identity identity;
    uint32_t vm;
    bool hello;
    bool host;      /* a process of the host, one of many of its VM */
    bool resetting; /* CHANNEL_RESET is to be answered when none of its channels is left */
    uint32_t features;
    uint32_t claimed_id; /* what the device said it is, before any CONFIG */
    uint8_t claimed_pool, claimed_priority;
    uint64_t opened_ns;
    uint64_t requests, protocol_errors;
};

/* One that runs, and the next one, so that a VM that is alone never has to wait for it. */
#define CORE_CHANNEL_TURNS_MAX 2u

/* Chunks of one channel whose descriptors wait for the worker's answer. */
#define CORE_CHUNKS_ADDING_MAX 4u

struct core_chunk;

enum core_channel_state {
    CORE_CHANNEL_FREE,
    CORE_CHANNEL_WAITING,  /* for the VM's worker */
    CORE_CHANNEL_STARTING, /* the worker maps it */
    CORE_CHANNEL_OPEN,
    CORE_CHANNEL_CLOSING, /* the worker was told to let go */
};

/* What is known of a program, as core_program_figures() has heard it. */
struct core_program_seen {
    uint64_t opened_ns;
    uint64_t told_ns; /* 0: nothing yet */
    bool adopted;     /* what it did before is counted already */
    double units_per_s;
    vgpu_worker_program figures;
};

struct core_channel {
    enum core_channel_state state;
    uint64_t handle;
    uint32_t session;
    uint64_t session_serial;
    uint32_t vm;
    uint32_t reason; /* CLOSING */
    VGPUChannelOpen open;
    enum vgpu_channel_transport transport;
    uint64_t bytes;            /* of chunk 0 */
    uint64_t charged_bytes;    /* of the host's memory, of all chunks */
    uint64_t named_bytes;      /* SHARED: of chunk 0, by CHUNK_ADD so far */
    bool named;                /* all of chunk 0 is known: it can start */
    struct core_chunk *chunks; /* by number; NULL: only chunk 0 */
    uint32_t chunks_adding;
    bool opened;                      /* the session was told */
    uint32_t turns;                   /* that wait or run: CORE_CHANNEL_TURNS_MAX at most */
    bool wants;                       /* another one, which is not queued yet */
    struct core_program_seen program; /* profile CUDA */
};

struct core {
    struct core_config config;
    struct core_effects effects;
    struct watchdog_config watchdog;
    struct placement placement;
    struct wfq *schedulers[CORE_GPUS_MAX];
    char gpu_uuids[CORE_GPUS_MAX][CORE_NAME_BYTES];
    bool stopping, leaving;
    uint32_t preferred_vm_id;
    bool applying;                 /* what happens is what the configuration says */
    struct core_vm *vms;           /* CORE_VMS_MAX */
    uint32_t vm_high;              /* slots at and above were never used */
    struct core_session *sessions; /* CORE_SESSIONS_MAX */
    struct timers timers;          /* VM slots, then CORE_VMS_MAX + session */
    struct metrics *metrics;
    struct core_channel *channels; /* CORE_CHANNELS_MAX */
    uint64_t channel_bytes;
    uint64_t next_job, next_worker, next_serial, next_channel;
};

/* Consecutive failed starts after which waiting jobs are refused. */
#define CORE_START_FAILURES_MAX 3u
#define CORE_BACKOFF_FIRST_NS (100 * NS_PER_MS)
#define CORE_BACKOFF_MAX_NS (5 * NS_PER_S)
/*
 * A VM that left while it was ahead keeps its account until that is made good, so that coming
 * back does not make it even.  The interval at which the core looks whether it still owes time.
 */
#define CORE_DEBT_CHECK_NS NS_PER_S

/* core_states.c */
void core_session_enter(struct core_session *session, enum core_session_state state);
void core_job_enter(struct core_job *job, enum core_job_state state);
void core_worker_enter(struct core_worker *worker, enum core_worker_state state, uint64_t now_ns);

/* core.c */
void core_report(struct core *core, const struct core_event *event);

/* core_vm.c */
/*
 * The end of every event that changed a VM, its jobs or its worker.  The VM may
 * be gone after it.
 */
void core_vm_after(struct core *core, uint32_t slot, uint64_t now_ns);
int core_vm_allocate_jobs(struct core_vm *vm);
/* A VM that nobody configured, with defaults. CORE_NONE: no slot, or the id is taken. */
uint32_t core_vm_create_unregistered(struct core *core, const struct core_vm_config *config,
                                     uint64_t now_ns);
/* Puts the VM on a GPU, or moves it when it is idle and may not stay. False: no GPU. */
bool core_vm_place(struct core *core, uint32_t slot, uint64_t now_ns);
void core_vm_move_if_needed(struct core *core, uint32_t slot, uint64_t now_ns);
/* Gives it a place on this GPU, even and without a part of it yet. */
void core_vm_attach(struct core *core, uint32_t slot, uint32_t gpu, uint64_t now_ns);
/* Somebody uses it again: it goes on with its account, and counts for its share where it is. */
void core_vm_used_again(struct core *core, uint32_t slot);
/* What its device shows; whether that is something else than the VM has now. */
bool core_vm_device(const struct core *core, uint32_t slot, struct core_device *device);
/* fault: the last one, or NONE: the administrator wants it. */
void core_vm_quarantine(struct core *core, uint32_t slot, enum vgpu_error fault, uint64_t now_ns);
void core_vm_update_ready(struct core *core, uint32_t slot, uint64_t now_ns);
/* A new VM.  CORE_NONE: the table is full. */
uint32_t core_vm_allocate(struct core *core, const struct core_vm_config *config, uint64_t now_ns);
void core_vm_remove(struct core *core, uint32_t slot, uint64_t now_ns);
/* Its weight or priority has changed. */
void core_vm_update_share(struct core *core, uint32_t slot, uint64_t now_ns);
void core_vm_release(struct core *core, uint32_t slot, uint64_t now_ns);

/* core_session.c */
void core_session_bind_waiting(struct core *core, uint64_t now_ns);
void core_session_send_config(struct core *core, uint32_t session);
void core_session_tick(struct core *core, uint32_t session, uint64_t now_ns);
/* The VM's sessions, of its device and of processes, have no VM any more. */
void core_sessions_unbind(struct core *core, uint32_t slot);

/* core_job.c */
/* Hands out what the GPU's scheduler lets go. */
void core_pump(struct core *core, uint32_t gpu, uint64_t now_ns);
/* Answer one request of a session without a job. */
void core_session_answer(struct core *core, uint32_t session, uint32_t request_id,
                         enum vgpu_error status);
void core_job_submit(struct core *core, uint32_t session, uint32_t request_id, const uint8_t *bytes,
                     uint32_t length, uint64_t now_ns);
/* The oldest job in flight ended; gpu_time_ns is charged. */
void core_job_end(struct core *core, uint32_t slot, enum vgpu_error status, uint64_t gpu_time_ns,
                  const vgpu_worker_done *done, const void *body, uint64_t now_ns);
/* Requests of this VM that are accepted and not answered yet. */
uint32_t core_vm_requests_left(const struct core_vm *vm);
/* Everything that waits is answered with `status`, unless its session is gone. */
void core_jobs_refuse_waiting(struct core *core, uint32_t slot, enum vgpu_error status,
                              uint64_t now_ns);

/* A turn as a job of its VM.  False: there is no room for it now. */
bool core_turn_submit(struct core *core, uint32_t slot, uint64_t channel, uint64_t now_ns);

/* core_account.c */
/* The time is over in which a VM that was in another mediator may come back as if nothing was. */
void core_vm_return_over(struct core *core, uint32_t slot, uint64_t now_ns);

/* core_channel.c */
/*
 * False: the frame makes no sense.  `lease` is the descriptor that came with it, for the call's
 * time; -1: none.
 */
bool core_channel_open(struct core *core, uint32_t session, const VGPUChannelOpen *open, int lease,
                       uint64_t now_ns);
/* False: the frame makes no sense.  A part of chunk 0, with its descriptor. */
bool core_channel_part(struct core *core, uint32_t session, const VGPUChunkAdd *add,
                       const VGPUPiece *pieces, int fd, uint64_t now_ns);
/* False: the frame makes no sense. */
bool core_channel_resume(struct core *core, uint32_t session, const VGPUChannelResume *resume,
                         int life, uint64_t now_ns);
/* All of the session's; the answer is sent when none is left. */
void core_channels_reset(struct core *core, uint32_t session, uint64_t now_ns);
void core_channel_close(struct core *core, uint32_t session, uint32_t number, uint64_t now_ns);
/* The session ends. */
void core_channels_leave(struct core *core, uint32_t session);
/* The VM's worker is ready: those that waited for it. */
void core_channels_start(struct core *core, uint32_t slot);
/* Its worker is told to go.  refusal NONE: those that wait for a worker go on waiting. */
void core_channels_stop(struct core *core, uint32_t slot, enum vgpu_channel_reason reason,
                        enum vgpu_error refusal);
void core_channels_refuse_waiting(struct core *core, uint32_t slot, enum vgpu_error status);
void core_channels_lost(struct core *core, uint32_t slot);
/* NULL: there is none of this handle. */
struct core_channel *core_channel_get(struct core *core, uint64_t handle);
/* Nobody has it any more: its place and its memory are free. */
void core_channel_forget(struct core *core, struct core_channel *channel);
/* One with a handle, still FREE; NULL: all are taken. */
struct core_channel *core_channel_allocate(struct core *core);
/* The session's channel of this number, or NULL. */
struct core_channel *core_channel_numbered(struct core *core, uint32_t session, uint32_t number);
/* Ends it for this reason, now or when the worker has let go. */
void core_channel_stop(struct core *core, struct core_channel *channel, uint32_t reason);
/* The one of this handle that this worker may speak of; 0 and unknown ones: NULL. */
struct core_channel *core_channel_find(struct core *core, uint64_t worker, uint64_t handle);
/* Is the session that opened it still there? */
bool core_channel_has_session(const struct core *core, const struct core_channel *channel);
/* Host memory that this VM's channels may have still. */
uint64_t core_channel_room(const struct core *core, uint32_t slot);
/* Of a chunk 0 of so many bytes: what is the guest's own costs nobody anything. */
uint64_t core_channel_charge(uint32_t transport, uint64_t bytes);

/* core_turns.c */
void core_channel_turn_over(struct core *core, uint64_t handle);
/* It was taken out of the queue: it will be queued again. */
void core_channel_turn_lost(struct core *core, uint64_t handle);
void core_channels_queue_turns(struct core *core, uint32_t slot, uint64_t now_ns);

/* core_credit.c: the rate limit, for records of channels */
/* Tells a worker that is ready whether its VM has a limit. */
void core_credit_tell(struct core *core, uint32_t slot);
/* Gives what there is by now to a worker that waits for it. */
void core_credit_give(struct core *core, uint32_t slot, uint64_t now_ns);

/* core_program.c: limits of programs on the CUDA driver interface */
/* May it have one more?  NONE: yes; else what its channel is refused with. */
enum vgpu_error core_program_admit(struct core *core, uint32_t session);
/* Tells a worker that is ready how long a kernel may run, if it has not heard so. */
void core_program_tell(struct core *core, uint32_t slot);

/* core_chunk.c */
/*
 * SHARED: do the pieces of a frame go on with a chunk of this size, of which so much is named, in
 * stretches that can be mapped?  Then *bytes is their sum.
 */
bool core_part_is_right(const VGPUChunkAdd *add, const VGPUPiece *pieces, uint64_t chunk_bytes,
                        uint64_t named_bytes, uint64_t *bytes);
/* Frames of a session.  False: they make no sense.  part: one with pieces, and their descriptor. */
bool core_chunk_add(struct core *core, uint32_t session, const VGPUChunkAdd *add);
bool core_chunk_part(struct core *core, uint32_t session, const VGPUChunkAdd *add,
                     const VGPUPiece *pieces, int fd);
bool core_chunk_remove(struct core *core, uint32_t session, const VGPUChunkRemove *remove);
/* Of a channel that another mediator opened.  False: it makes no sense, or there is no room. */
bool core_chunks_adopt(struct core *core, struct core_channel *channel,
                       const struct core_channel_held *held);
/* The channel goes, and its memory with it; what was charged is in channel->bytes. */
void core_chunks_forget(struct core_channel *channel);

/* core_worker.c */
/* A fault of the VM that leaves its worker as it is. */
void core_vm_fault(struct core *core, uint32_t slot, enum vgpu_error code, uint64_t job_id,
                   uint64_t now_ns);
/* Starts one, if there is none and there may be one. */
void core_worker_want(struct core *core, uint32_t slot, uint64_t now_ns);
/* By QUIT.  A second reason can only bring the end nearer. */
void core_worker_stop(struct core *core, uint32_t slot, enum core_stop why, uint64_t now_ns);
/* No longer quarantined: what still runs may go on. */
void core_worker_spare(struct core *core, uint32_t slot, uint64_t now_ns);
/* Work of its ran past a limit: the worker is killed, and the VM's to blame.  The channel, 0: the
 * one whose turn it is, is told that it was late; the others lose their worker. */
void core_worker_late(struct core *core, uint32_t slot, uint64_t channel, uint64_t now_ns);
/* The job that was running is to blame; counts it, and quarantines at the threshold. */
void core_worker_fault(struct core *core, uint32_t slot, enum vgpu_error code, uint64_t job_id,
                       uint64_t now_ns);
void core_vm_tick(struct core *core, uint32_t slot, uint64_t now_ns);
void core_vm_arm(struct core *core, uint32_t slot);
/* Whose it is; CORE_NONE: nobody's any more. */
uint32_t core_worker_slot(const struct core *core, uint64_t worker);

#endif /* CORE_CORE_INTERNAL_H */
