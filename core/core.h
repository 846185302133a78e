/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The core makes the mediator's decisions.  Its sessions, jobs, VMs, GPUs and workers are state
 * machines.
 *
 * Pure and single-threaded: events and now_ns come in as calls, effects go out
 * through struct core_effects, nothing else happens.  The mediator connects it
 * to sockets and processes, the simulator to virtual ones; both run this code.
 *
 * One request's way: core_session_frame() parses it, checks identity, limits
 * and quarantine and queues a job (or answers at once); the scheduler of the
 * VM's GPU picks it; effects->worker_run() hands it out; core_worker_done()
 * charges the VM and answers through effects->send().  Exactly one answer for
 * every REQUEST frame of a session that is still there to receive it.
 *
 *   session   OPEN ──first frame──► BOUND (to a VM) or UNREGISTERED ──► closed
 *   job       QUEUED ──dequeue──► IN_FLIGHT ──done/failed──► answered, free
 *   worker    NONE ─► STARTING ─► READY ─► STOPPING ─► NONE, and after a crash
 *             STOPPING ─► BACKOFF ─► NONE
 *
 * These are law: core/core_states.c has them as tables, and asserts them.
 *
 * Effects are called from within an event function.  They must not call back
 * into the core, and what they are passed is valid during the call only.
 * After any event, core_next_deadline_ns() says when core_tick() is due.
 */
#ifndef CORE_CORE_H
#define CORE_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/frame.h"
#include "common/ns.h"
#include "common/request.h"
#include "common/vm_limits.h"
#include "core/metrics/metrics.h"
#include "core/sched/scheduler_wfq.h"
#include "vgpu/vgpu_channel_frames.h"
#include "vgpu/vgpu_protocol.h"
#include "vgpu/vgpu_worker.h"

/* ---- limits ---- */

#define CORE_VMS_MAX VM_LIMIT_VMS_MAX
#define CORE_SESSIONS_MAX 2048u
#define CORE_GPUS_MAX 16u
#define CORE_VM_JOBS_MAX VM_LIMIT_JOBS_MAX /* waiting and in flight, one VM */
#define CORE_QUEUE_DEPTH_UNREGISTERED 64u  /* of a VM that nobody configured */
#define CORE_NAME_BYTES 64u
#define CORE_UUID_BYTES 16u
#define CORE_CHANNELS_MAX 1024u  /* of the host */
#define CORE_CHANNELS_VM_MAX 64u /* of one VM */
#define CORE_CLAIMED_IDS_MAX 8u
#define CORE_NONE UINT32_MAX
#define CORE_NEVER WFQ_NEVER
/*
 * How long a worker that was told to go (QUIT) may take, see docs/worker.md:
 * what runs has until its own job_timeout, and from then on, or with nothing to
 * run, so much more; then it is killed.  The quarantined have overrun_ns only.
 */
#define CORE_STOP_GRACE_NS (2 * NS_PER_S)

#define CORE_NO_CHANNEL UINT64_MAX

/* ---- effects ---- */

enum core_close_reason {
    CORE_CLOSE_PROTOCOL,  /* the peer's bytes make no sense */
    CORE_CLOSE_IDENTITY,  /* it is not who it says it is */
    CORE_CLOSE_DUPLICATE, /* its VM has a session already */
    CORE_CLOSE_SILENT,    /* said nothing in time */
    CORE_CLOSE_REMOVED,   /* the VM was removed from the configuration */
};

/* What a new worker is to be. */
struct core_worker_spec {
    uint64_t worker; /* handle, never reused */
    uint32_t vm_id;
    uint32_t gpu;                /* index given by core_gpu_add() */
    uint64_t memory_limit_bytes; /* 0 = none */
    uint64_t host_memory_bytes;  /* of it and all that it starts; 0 = no limit */
    bool has_uuid;               /* else only the vm_id says whose it is */
    uint8_t uuid[CORE_UUID_BYTES];
};

enum core_event_kind {
    CORE_EVENT_SESSION_BOUND,
    CORE_EVENT_SESSION_CLOSED,
    CORE_EVENT_SESSION_REFUSED, /* code: enum core_close_reason */
    CORE_EVENT_UNREGISTERED,    /* a VM that nobody registered was refused */
    CORE_EVENT_REQUEST_INVALID, /* code: enum vgpu_error */
    CORE_EVENT_REJECTED,        /* code: RATE_LIMITED or QUEUE_FULL */
    CORE_EVENT_NOT_SERVED,      /* the host can't: INVALID_POOL or GPU_UNAVAILABLE; text: why */
    CORE_EVENT_WORKER_READY,    /* value: ns since it was started */
    CORE_EVENT_WORKER_LOST,     /* value: enum core_worker_end; code: its detail */
    CORE_EVENT_WORKER_OVERDUE, /* told to go and did not in time: killed; code: what its jobs get */
    CORE_EVENT_WORKER_GIVEN_UP, /* it would not start; waiting jobs are refused */
    CORE_EVENT_JOB_OVERRUN,     /* others are let in beside it; value: ns it ran so far */
    CORE_EVENT_JOB_TIMEOUT,     /* its worker is killed; value: ns it ran */
    CORE_EVENT_FAULT,           /* code: enum vgpu_error; value: fault count now */
    CORE_EVENT_QUARANTINED,     /* value: fault count */
    CORE_EVENT_UNQUARANTINED,
    CORE_EVENT_VM_PLACED, /* gpu */
    CORE_EVENT_GPU_LOST,
    CORE_EVENT_GPU_BACK,
    CORE_EVENT_CHANNEL_OPENED,  /* value: its number; code: enum vgpu_channel_transport */
    CORE_EVENT_CHANNEL_CLOSED,  /* value: its number; code: enum vgpu_channel_reason */
    CORE_EVENT_PROGRAM_REFUSED, /* it has as many as it may, value; text: the VM's name */
    CORE_EVENT_KERNEL_TIMEOUT,  /* its worker is killed; value: ns it ran; text: the VM's name */
    CORE_EVENT_KIND_COUNT
};

const char *core_event_name(enum core_event_kind kind);

struct core_event {
    enum core_event_kind kind;
    uint32_t session; /* CORE_NONE where it does not apply, as below */
    uint32_t vm;      /* slot */
    uint32_t vm_id;
    uint32_t gpu;
    uint32_t code;
    uint64_t job_id; /* 0 = none */
    uint64_t value;
    const char *text; /* more for a person, never NULL */
};

/* ---- a job's way, step by step ---- */

enum core_job_step_kind {
    CORE_JOB_ACCEPTED,
    CORE_JOB_DISPATCHED,
    CORE_JOB_ENDED,
};

/* vm to gpu are filled in every step; what follows, only in the step whose name stands above it. */
struct core_job_step {
    enum core_job_step_kind kind;
    uint32_t vm;     /* slot */
    uint64_t serial; /* how many jobs of this VM were accepted, this one included */
    uint64_t job_id;
    uint64_t now_ns;
    uint32_t gpu;
    /* ACCEPTED */
    uint32_t vm_id;
    uint32_t session;
    uint32_t request_id;
    uint32_t opcode;
    uint32_t queue_depth; /* jobs of its VM that waited before it */
    bool worker_ready;    /* else it also waits for its worker to start */
    /* DISPATCHED: the scheduler's decision */
    const struct wfq_dispatch *decision;
    /* ENDED */
    enum vgpu_error status;
    bool answered;                /* false: dropped, its session went away */
    uint64_t gpu_time_ns;         /* 0 when it never ran */
    const vgpu_worker_done *done; /* NULL: no worker answered */
};

struct core_vm_config;

struct core_effects {
    void *opaque;
    /* Send one frame to a session's device. payload_len is in the header. */
    void (*send)(void *opaque, uint32_t session, const VGPUSocketHeader *header,
                 const void *payload);
    /* Close it.  The core has forgotten the session: no core_session_closed() for it. */
    void (*close_session)(void *opaque, uint32_t session, enum core_close_reason reason);
    void (*worker_start)(void *opaque, const struct core_worker_spec *spec);
    void (*worker_run)(void *opaque, uint64_t worker, uint64_t job_id,
                       const struct request_view *request);
    /*
     * Stop it: by QUIT, or (kill) at once.  core_worker_exited() must follow.
     * The core alone knows until when a worker may take for leaving: whoever
     * plays the effects kills when told to, and never because of a clock.
     */
    void (*worker_stop)(void *opaque, uint64_t worker, bool kill);
    /*
     * Channels; NULL, all of them: HELLO grants none.  lease, part: keep a copy of what came with
     * a device's frame, a lease or the descriptor of a part of chunk 0; -errno: it can't be kept,
     * or is none that a worker may have.  start: make what the transport wants beside that and
     * hand all to the worker, which answers by core_channel_opened(); -errno: it can't be had.
     * send: OPENED, with the descriptors of this channel, which nobody needs here afterwards.
     * stop: the worker is to let go, and answers by core_channel_closed().  free: forget it, its
     * lease included.
     */
    int (*channel_lease)(void *opaque, uint64_t channel, int fd);
    int (*channel_part)(void *opaque, uint64_t channel, const VGPUChunkAdd *add,
                        const VGPUPiece *pieces, int fd);
    int (*channel_start)(void *opaque, uint64_t worker, uint64_t channel,
                         enum vgpu_channel_transport transport, const VGPUChannelOpen *open,
                         uint64_t bytes);
    void (*channel_send)(void *opaque, uint32_t session, uint64_t channel,
                         const VGPUSocketHeader *header, const void *payload);
    void (*channel_stop)(void *opaque, uint64_t worker, uint64_t channel, uint32_t reason);
    void (*channel_free)(void *opaque, uint64_t channel);
    /*
     * A process of this VM shows the end of a pipe that it had from a mediator before: which
     * channel is it?  The handle; 0: its worker may still be taken over; CORE_NO_CHANNEL: there is
     * none.  May be NULL.
     */
    uint64_t (*channel_match)(void *opaque, const struct core_vm_config *vm, int life);
    /*
     * Chunks 1 and up.  part: hand a part of a guest's own to the worker, which answers the last by
     * core_chunk_added(); -errno: it is none that a worker may have.  start: make it and hand it to
     * the worker, which answers by core_chunk_added(); -errno: it can't be had.  send: CHUNK_ADDED
     * with its descriptor, which nobody needs here afterwards.  stop: the worker is to let go, and
     * answers by core_chunk_removed().  free: forget it; channel_free() does so for all of a
     * channel.
     */
    int (*chunk_part)(void *opaque, uint64_t worker, uint64_t channel, const VGPUChunkAdd *add,
                      const VGPUPiece *pieces, int fd);
    int (*chunk_start)(void *opaque, uint64_t worker, uint64_t channel, uint32_t chunk,
                       uint64_t bytes);
    void (*chunk_send)(void *opaque, uint32_t session, uint64_t channel, uint32_t chunk,
                       const VGPUSocketHeader *header, const void *payload);
    void (*chunk_stop)(void *opaque, uint64_t worker, uint64_t channel, uint32_t chunk);
    void (*chunk_free)(void *opaque, uint64_t channel, uint32_t chunk);
    /*
     * How many records of its channels the worker may take, beside those it may already; 0: ask
     * for each from now on; VGPU_WORKER_CREDIT_ALL: without a limit, as at its start.  It asks by
     * core_credit_ask().  May be NULL.
     */
    void (*worker_credit)(void *opaque, uint64_t worker, uint32_t records);
    /* How much of the host's memory it may have from now on; 0: no limit.  May be NULL. */
    void (*worker_memory)(void *opaque, uint64_t worker, uint64_t bytes);
    /* How long a kernel of its programs may run; 0: no limit, as at its start.  May be NULL. */
    void (*worker_limits)(void *opaque, uint64_t worker, uint64_t kernel_ns);
    /* Others wait: the turn of a channel that the worker has is to end then.  May be NULL. */
    void (*turn_yield)(void *opaque, uint64_t worker, uint64_t yield_ns);
    /* Like worker_run(); it ends with core_worker_done(). */
    void (*worker_turn)(void *opaque, uint64_t worker, uint64_t job_id, uint64_t channel,
                        uint64_t budget_ns);
    /* Something worth a line in the log, an audit record or a counter. */
    void (*event)(void *opaque, const struct core_event *event);
    /*
     * A fact about a VM that must outlive this process: a fault, a quarantine, its end.  Not for
     * what the configuration itself said (core_apply_vms()).  NULL: nobody keeps anything.
     */
    void (*persist)(void *opaque, const struct core_event *fact);
    /* A job took a step.  NULL: nobody wants to know.  On the hot path: be quick. */
    void (*job)(void *opaque, const struct core_job_step *step);
};

/* ---- life ---- */

struct core_config {
    struct wfq_config scheduler; /* max_vms and overrun_ns are set by the core */
    uint64_t overrun_ns;         /* 0 = never let others in beside a long job */
    uint64_t job_timeout_ns;     /* 0 = never kill */
    uint64_t worker_start_timeout_ns;
    uint64_t linger_ns;       /* an idle worker of a VM without session lives this long */
    uint64_t first_frame_ns;  /* nobody knows the peer, and it says nothing for so long: closed */
    uint32_t fault_threshold; /* 0 = never quarantine */
    uint64_t channel_memory_bytes;    /* host memory of all channels */
    uint64_t channel_memory_vm_bytes; /* ... and of one VM's */
    bool test_ops;                    /* VGPU_OP_TEST_* are allowed */
    bool allow_unregistered;          /* VMs that are not configured are served with defaults */
};

/* The defaults of docs/scheduling.md and of the mediator's options. */
void core_config_defaults(struct core_config *config);

struct core;
struct metrics;

/* NULL when there is no memory.  `effects` is copied. */
struct core *core_new(const struct core_config *config, const struct core_effects *effects);
/* Frees everything without effects: stop the workers first. */
void core_free(struct core *core);

/* What it counts and times, by the same VM slots.  Belongs to the core. */
struct metrics *core_metrics(const struct core *core);

/* Work that time brings: deadlines, back-offs, overruns. */
void core_tick(struct core *core, uint64_t now_ns);
uint64_t core_next_deadline_ns(const struct core *core);

/* ---- GPUs and pools ---- */

/* Index of the new GPU, or -ENOSPC. `uuid` is copied, cut at CORE_NAME_BYTES. */
int core_gpu_add(struct core *core, const char *uuid);
uint32_t core_gpu_count(const struct core *core);
const char *core_gpu_uuid(const struct core *core, uint32_t gpu);
/* Health: work stops on a GPU that is not available; its VMs move when they can. */
void core_gpu_set_available(struct core *core, uint32_t gpu, bool available, uint64_t now_ns);
bool core_gpu_available(const struct core *core, uint32_t gpu);
/* Bit i of gpu_mask: GPU i belongs to the pool. -EINVAL: no such pool letter or GPU. */
int core_pool_set_gpus(struct core *core, char pool, uint32_t gpu_mask, uint64_t now_ns);
uint32_t core_pool_gpus(const struct core *core, char pool);
const struct wfq *core_gpu_scheduler(const struct core *core, uint32_t gpu);

/* gpu CORE_NONE: all of them. */
void core_pause(struct core *core, uint32_t gpu, uint64_t now_ns);
void core_resume(struct core *core, uint32_t gpu, uint64_t now_ns);
void core_set_policy(struct core *core, enum wfq_policy_id policy, uint64_t now_ns);
enum wfq_policy_id core_policy(const struct core *core);
/* -ENOENT: no such VM. vm_id CORE_NONE: none. */
int core_prefer_vm(struct core *core, uint32_t vm_id);

/* ---- VMs ---- */

struct core_vm_config {
    uint32_t vm_id;
    bool has_uuid;
    uint8_t uuid[CORE_UUID_BYTES];
    char name[CORE_NAME_BYTES];
    char pool;
    uint32_t priority;
    double weight;
    uint32_t max_jobs_per_sec;   /* 0 = no limit */
    uint32_t burst;              /* 0 = derived from the rate */
    uint32_t max_queue_depth;    /* 0 = no limit but the hard one */
    uint64_t memory_limit_bytes; /* 0 = no limit */
    uint32_t max_processes;      /* CUDA programs at a time; 0 = no limit */
    uint32_t max_kernel_ms;      /* of such a program's kernel; 0 = no limit but the job timeout */
    uint64_t host_memory_bytes;  /* of its worker; 0 = no limit */
    bool quarantined;
    uint32_t error_count;
};

struct core_apply_result {
    uint32_t added, changed, removed;
    /* vm_ids of connected devices that show another pool, priority or vm_id and can't be told. */
    uint32_t restart_needed[CORE_VMS_MAX];
    uint32_t restart_needed_count;
};

/*
 * Makes the registered VMs be exactly these, live: adds, updates, removes.
 * Values are checked: -EINVAL (with *bad = index of the entry) changes nothing.
 * -ENOSPC: more than CORE_VMS_MAX.  -ENOMEM.
 */
int core_apply_vms(struct core *core, const struct core_vm_config *vms, uint32_t count,
                   uint64_t now_ns, struct core_apply_result *result, uint32_t *bad);

/* -ENOENT: no such VM. */
int core_quarantine_vm(struct core *core, uint32_t vm_id, uint64_t now_ns);
int core_unquarantine_vm(struct core *core, uint32_t vm_id, uint64_t now_ns);

enum core_worker_state {
    CORE_WORKER_NONE,
    CORE_WORKER_STARTING,
    CORE_WORKER_READY,
    CORE_WORKER_STOPPING, /* QUIT or SIGKILL sent, not gone yet */
    CORE_WORKER_BACKOFF,  /* crashed; starts again when the time comes */
    CORE_WORKER_STATE_COUNT
};

const char *core_worker_state_name(enum core_worker_state state);

/* What a connected device shows its guest that can't be told anything else (no CONFIG). */
struct core_device {
    bool known; /* false: it is told, or has sent nothing, or there is none */
    uint32_t vm_id;
    char pool; /* whatever it said: no letter, perhaps */
    uint8_t priority;
};

/* What is enforced, as opposed to what is configured. */
struct core_vm_limits {
    uint32_t jobs_per_sec;    /* 0 = no limit */
    uint32_t burst;           /* jobs; without meaning where there is no rate */
    uint32_t queue_depth;     /* jobs that may wait */
    bool queue_depth_is_hard; /* no lower one is configured */
};

struct core_vm_stats {
    struct core_vm_config config;
    struct core_vm_limits limits;
    bool registered;
    uint32_t session; /* CORE_NONE = not connected */
    uint32_t gpu;     /* CORE_NONE = not placed */
    bool aside;       /* its running job overran */
    enum core_worker_state worker_state;
    uint64_t worker; /* handle, 0 = none */
    uint32_t worker_restarts;
    uint32_t fault_count;
    uint32_t channels;           /* that it has, or that are being opened */
    vgpu_worker_figures figures; /* of its worker's CUDA programs; all 0: it had none */
    uint32_t queue_depth;        /* waiting, also those that wait for a worker */
    uint32_t in_flight;
    uint64_t submitted; /* accepted */
    uint64_t completed; /* answered by a worker, whatever the status */
    uint64_t errors;    /* accepted, answered with an error */
    uint64_t dropped;   /* accepted, their session went away */
    uint64_t rejected_rate;
    uint64_t rejected_queue;
    uint64_t rejected_quarantined;
    uint64_t invalid;
    uint64_t timeouts;
    uint64_t gpu_time_ns;
    struct core_device device;
    bool restart_needed;  /* device differs from config */
    double due_share;     /* of its GPU, among the VMs placed there */
    uint64_t entitled_ns; /* these three: as the scheduler has them, in all its places */
    uint64_t kept_ns;
    uint64_t switching_ns;
    struct wfq_vm_stats scheduler; /* zero when not placed */
};

/* Slots in use are those for which this returns true; 0 <= vm < CORE_VMS_MAX. */
bool core_vm_stats(const struct core *core, uint32_t vm, uint64_t now_ns,
                   struct core_vm_stats *stats);
/* Slot of a vm_id, or CORE_NONE. */
uint32_t core_vm_find(const struct core *core, uint32_t vm_id);
uint32_t core_vm_find_uuid(const struct core *core, const uint8_t *uuid);

/* ---- over a restart ---- */

/*
 * What a VM has with it when the mediator is started again, beside its configuration: its account,
 * and what is counted of it.  Written to a file as it is: a change of it is one of
 * CORE_KEPT_VERSION.
 */
#define CORE_KEPT_VERSION 3u
struct core_vm_kept {
    struct core_vm_config config; /* of an unregistered VM all counts, of others who it is */
    bool registered;
    char gpu[CORE_NAME_BYTES]; /* "": it had no place */
    struct wfq_account account;
    uint32_t fault_count;
    uint32_t worker_restarts;
    uint64_t submitted, completed, errors, dropped, invalid, timeouts, gpu_time_ns;
    uint64_t rejected_rate, rejected_queue, rejected_quarantined;
    uint64_t entitled_ns, kept_ns, switching_ns;
    struct metrics_kept metrics;
};

/*
 * How long a VM that is owed GPU time may take to come back after a restart, and keep that; and one
 * that nobody registered, and be remembered.
 */
#define CORE_RETURN_NS (10 * NS_PER_S)

/* False: no VM is in this slot, or it is being removed.  Every byte of *kept is written. */
bool core_export_vm(const struct core *core, uint32_t slot, uint64_t now_ns,
                    struct core_vm_kept *kept);
/*
 * Once, when the configuration was read and nobody has connected.  VMs that are gone are left out;
 * of the registered ones the configuration alone says whether they are quarantined.  Returns how
 * many were taken.
 */
uint32_t core_import_vms(struct core *core, const struct core_vm_kept *kept, uint32_t count,
                         uint64_t now_ns);

/* ---- sessions ---- */

/*
 * Who a connection is, as the host knows it (never from a frame).
 * UUID: the socket or the process belongs to this VM.  IDS: the process's own
 * command line names these vm_ids (one per vgpu-stub), no UUID known.  CLAIM:
 * believe the first frame (--trust-claims).
 */
enum core_identity_kind {
    CORE_IDENTITY_UUID,
    CORE_IDENTITY_IDS,
    CORE_IDENTITY_CLAIM,
};

struct core_identity {
    enum core_identity_kind kind;
    uint8_t uuid[CORE_UUID_BYTES];
    uint32_t vm_ids[CORE_CLAIMED_IDS_MAX]; /* IDS; with UUID: for unregistered VMs */
    uint32_t vm_id_count;
    char name[CORE_NAME_BYTES]; /* of an unregistered VM, may be empty */
};

/* A new connection.  Session handle in *session, or -ENOSPC. */
int core_session_open(struct core *core, const struct core_identity *identity, uint64_t now_ns,
                      uint32_t *session);
/* One whole frame arrived. */
void core_session_frame(struct core *core, uint32_t session, const struct frame *frame,
                        uint64_t now_ns);
/* The stream is broken (frame_reader_next() failed): counts it and closes. */
void core_session_garbage(struct core *core, uint32_t session, uint64_t now_ns);
/* The peer is gone. */
void core_session_closed(struct core *core, uint32_t session, uint64_t now_ns);

struct core_session_stats {
    uint32_t vm; /* slot, CORE_NONE = not bound yet */
    bool hello;  /* speaks more than 1.0 */
    uint32_t features;
    uint64_t opened_ns;
    uint64_t requests;
    uint64_t protocol_errors;
};

bool core_session_stats(const struct core *core, uint32_t session,
                        struct core_session_stats *stats);
/* Who the host knows it to be; NULL = no such session.  Valid while the session is open. */
const struct core_identity *core_session_identity(const struct core *core, uint32_t session);

/*
 * What a session is, beside its connection and its identity, for a mediator that goes on with it.
 * Written as it is: a change of it is one of CORE_SESSION_KEPT_VERSION.
 */
#define CORE_SESSION_KEPT_VERSION 1u
struct core_session_kept {
    uint32_t features;
    uint32_t claimed_id; /* these three: of the frame that said which VM it is */
    uint8_t claimed_pool, claimed_priority;
    uint8_t spoke; /* such a frame has come */
    uint8_t hello;
    uint64_t opened_ns;
    uint64_t requests, protocol_errors;
};

/*
 * False: nobody can go on with it: a process of the host, which finds its channels again by itself;
 * a session with channels; one with requests that are not answered; one of which nobody knows who
 * it is.  Every byte of *kept is written.
 */
bool core_session_export(const struct core *core, uint32_t session, struct core_session_kept *kept);
/*
 * Right behind core_session_open(), instead of its first frame.  It says nothing to the peer but a
 * CONFIG, and may close the session, as a first frame may.
 */
void core_session_import(struct core *core, uint32_t session, const struct core_session_kept *kept,
                         uint64_t now_ns);

/* Has HELLO granted it channels?  Then frames may have descriptors. */
bool core_session_has_channels(const struct core *core, uint32_t session);
/* Its channels may have a life of their own. */
bool core_session_resumes(const struct core *core, uint32_t session);
/* How many channels of this VM may have contexts: those of profile CUDA that its worker has. */
uint32_t core_vm_cuda_channels(const struct core *core, uint32_t vm);
/* A program on the CUDA driver interface: a channel of that profile that is open. */
struct core_program_stats {
    uint32_t vm;      /* slot */
    uint32_t session; /* CORE_NONE: it has not come back since a restart */
    uint32_t number;  /* the session's, of its channel */
    enum vgpu_channel_transport transport;
    uint64_t age_ns;
    double units_per_s; /* in the last second or so */
    vgpu_worker_program figures;
};
/* Indices in use are those for which this returns true; 0 <= index < CORE_CHANNELS_MAX. */
bool core_program_stats(const struct core *core, uint32_t index, uint64_t now_ns,
                        struct core_program_stats *stats);
/* How many channels of this session are open. */
uint32_t core_session_channels(const struct core *core, uint32_t session);
/* Bit i: one of them has enum vgpu_channel_transport i. */
uint32_t core_session_transports(const struct core *core, uint32_t session);

/* ---- channels: what a worker says of them.  Those of other workers are ignored. ---- */

/* It has mapped the channel; status: enum vgpu_error, not 0: it can't. */
void core_channel_opened(struct core *core, uint64_t worker, uint64_t channel, uint32_t status,
                         uint64_t now_ns);
/* It has let go, because it was told to or for a reason of its own. */
void core_channel_closed(struct core *core, uint64_t worker, uint64_t channel, uint32_t reason,
                         uint64_t now_ns);
/*
 * Another mediator's worker has channels and would go on.  If its VM is here and may be served, a
 * worker is wanted for it, on this GPU if it may be there; else nothing happens.
 */
void core_worker_offer(struct core *core, bool has_uuid, const uint8_t *uuid, uint32_t vm_id,
                       uint32_t gpu, uint64_t now_ns);
struct core_chunk_held {
    uint32_t number;
    uint64_t bytes;
};
/* What such a worker, which is ready now, has of a channel. */
struct core_channel_held {
    uint32_t profile;   /* enum vgpu_channel_profile */
    uint32_t transport; /* enum vgpu_channel_transport */
    uint32_t features;
    VGPUGeometry geometry;
    uint32_t chunk_count; /* beyond chunk 0 */
    const struct core_chunk_held *chunks;
};
/*
 * The channel is open without a session, until its process shows its life.  Its handle; 0: it can't
 * be kept, because of a limit or because it makes no sense.
 */
uint64_t core_channel_adopt(struct core *core, uint64_t worker,
                            const struct core_channel_held *held, uint64_t now_ns);
/* Its process is gone.  Nothing happens while it has a session, whose end says so, too. */
void core_channel_left(struct core *core, uint64_t channel, uint64_t now_ns);
/* The mediator stops, its workers stay: channels with a life outlive their sessions. */
void core_leave(struct core *core);
/* It has records, and may take none. */
void core_credit_ask(struct core *core, uint64_t worker, uint64_t now_ns);
/* The same of a chunk; after removed, it has let go. */
void core_chunk_added(struct core *core, uint64_t worker, uint64_t channel, uint32_t chunk,
                      uint32_t status);
void core_chunk_removed(struct core *core, uint64_t worker, uint64_t channel, uint32_t chunk);
/* Before it is ready: it was another mediator's, and what its programs did is counted already. */
void core_worker_adopted(struct core *core, uint64_t worker);
/* What its programs do, since it was started, and what one of them does. */
void core_worker_figures(struct core *core, uint64_t worker, const vgpu_worker_figures *figures);
/* `program` is in order: it has no more names than it has room for. */
void core_program_figures(struct core *core, uint64_t worker, uint64_t channel,
                          const vgpu_worker_program *program, uint64_t now_ns);
/* A kernel of the channel's program has run for so long, past the limit that the worker knows. */
void core_kernel_late(struct core *core, uint64_t worker, uint64_t channel, uint32_t ran_ms,
                      uint64_t now_ns);
/* There are records that need the GPU. */
void core_turn_want(struct core *core, uint64_t worker, uint64_t channel, uint64_t now_ns);

/* ---- workers ---- */

enum core_worker_end {
    CORE_WORKER_END_EXITED,      /* detail: exit status, enum vgpu_worker_exit */
    CORE_WORKER_END_SIGNALED,    /* detail: signal */
    CORE_WORKER_END_NOT_STARTED, /* detail: errno */
    CORE_WORKER_END_PROTOCOL,    /* it sent nonsense, or closed its socket, and was killed */
    CORE_WORKER_END_MEMORY, /* it wanted more host memory than it may have; detail: that, MiB */
    CORE_WORKER_END_HOST,   /* the host killed it (OOM killer, administrator); detail: signal */
};

/* Handles that the core does not know any more are ignored, in all of these. */
/*
 * Its time to become ready begins then: it had to wait for its turn to start, or has something to
 * end first, of a mediator before us.
 */
void core_worker_begun(struct core *core, uint64_t worker, uint64_t begin_ns);
void core_worker_ready(struct core *core, uint64_t worker, const vgpu_worker_ready *ready,
                       uint64_t now_ns);
/* Before core_worker_done(): so much of the time of that job the host had no processor for it. */
void core_worker_waited(struct core *core, uint64_t worker, uint64_t wait_ns);
/*
 * -EPROTO: not the job that is due; kill the worker and report it exited with
 * END_PROTOCOL.  `body` is result_count words, then data_length bytes; the
 * caller has checked that they fit VGPU_RESPONSE_BODY_BYTES.
 */
int core_worker_done(struct core *core, uint64_t worker, uint64_t job_id,
                     const vgpu_worker_done *done, const void *body, uint64_t now_ns);
/*
 * The jobs that were in flight are answered with CUDA_ERROR.  The oldest of them
 * counts as the VM's fault, unless it was the host that ended the worker.
 */
void core_worker_exited(struct core *core, uint64_t worker, enum core_worker_end end,
                        uint32_t detail, uint64_t now_ns);

/*
 * Requests that are accepted and not answered yet, whose jobs wait or run.  Who stops in an orderly
 * way waits for a while until there are none.
 */
uint32_t core_requests_left(const struct core *core);
/* The mediator stops: no worker is started any more, those that are there are told to go. */
void core_stop_workers(struct core *core, uint64_t now_ns);

#endif /* CORE_CORE_H */
