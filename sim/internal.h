/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files of the simulator share these declarations.
 *
 *   world.c   life, the loop, results
 *   effects.c what the core asks for, and the trace of it
 *   guest.c   VMs: when they send what, and what they make of the replies
 *   gpu.c     workers and GPUs: who computes when
 *   faults.c  the fault mix
 *   record.c  who had what and when, for the judge (judge.c)
 *   check.c   the invariants, kept in books of their own
 */
#ifndef SIM_INTERNAL_H
#define SIM_INTERNAL_H

#include <sys/queue.h>

#include "common/histogram.h"
#include "sim/events.h"
#include "sim/rng.h"
#include "sim/sim.h"

#define SIM_NONE UINT32_MAX
#define SIM_START_NS NS_PER_S /* virtual time begins here */

/* A request that was accepted and not answered yet. */
struct sim_request {
    TAILQ_ENTRY(sim_request) link;
    uint32_t id;
    uint32_t opcode;
    uint32_t spin_us;
    bool dispatched;
    uint64_t sent_ns;
};

struct sim_request_list {
    TAILQ_HEAD(, sim_request) all; /* in the order of being sent */
    uint32_t count, waiting;
};

/* The checker's own token bucket, as a theoretical arrival time. */
struct sim_rate_check {
    uint32_t rate_hz;
    uint64_t burst;
    __int128 due;  /* in 1e-9 tokens, on the scale rate * time */
    __int128 left; /* tokens, when its limits were last changed */
};

/* Between a worker and its guest; the mediator knows of it what the worker says. */
struct sim_channel {
    uint64_t handle; /* 0 = the worker has none */
    bool open;       /* the guest has been told */
    bool wants;      /* the worker has asked for a turn, and has not been given it */
    uint32_t turns;  /* that it has */
};

struct sim_vm {
    const struct sim_group *group;
    uint32_t group_index, index, vm_id;
    struct core_vm_config config; /* as it is now */
    struct rng rng;               /* of its jobs: the same ones whatever the neighbours do */
    struct rng pause_rng;         /* of its pauses */
    struct rng life_rng;          /* of its phases and of its connection */

    /* the guest */
    uint32_t session; /* SIM_NONE = not connected */
    bool speaks_hello;
    bool on;        /* neither in an off phase nor outside start..stop */
    uint64_t epoch; /* events from before it changed are void */
    uint32_t next_request, retries;
    uint32_t drawn;         /* jobs, for `tiny` and `huge` */
    uint32_t lies;          /* jobs that its worker has reported */
    double lie_now;         /* the factor of the last one */
    bool changed;           /* its settings are the other ones */
    uint64_t idle_since_ns; /* nothing is outstanding since then */
    struct sim_request_list requests;
    struct sim_channel channel;

    /* the checker */
    struct sim_rate_check rate;
    bool submitting;   /* within core_session_frame() */
    bool refused;      /* ... which answered at once */
    bool aside;        /* until its worker is empty */
    uint32_t overruns; /* jobs that were set aside */
    bool ever_dispatched, starved;
    bool to_blame;           /* what happens now is its job's doing */
    uint64_t quarantined_ns; /* since when, 0 = it is not */
    int64_t fluid_base_ns, fluid_lag_ns, max_lag_ns;
    uint64_t lag_bound_ns, longest_job_ns;
    uint64_t handed_ns; /* most that its worker had to do at a time */
    int64_t charged_ns, settled_ns, tolerance_ns;
    int64_t held_ns; /* its jobs held the GPU for so much longer than they used it */

    /* results */
    uint32_t gpu;
    uint32_t gpus_seen; /* bit per GPU */
    uint64_t gpu_ns, gpu_sampled_ns, submitted, refusals, errors, jobs;
    uint64_t wait_sum_ns;
    struct histogram wait, latency;
    float shares[SIM_SAMPLES], got[SIM_SAMPLES];
};

struct sim_job {
    uint64_t id;
    uint32_t opcode, spin_us;
    uint64_t arrives_ns; /* at the worker */
    uint64_t remaining_ns, used_ns;
    uint64_t began_ns; /* first on the GPU, 0 = not yet */
    uint64_t ended_ns;
    uint64_t asides; /* of its GPU, when it was handed out */
    bool overlapped; /* another worker was busy meanwhile, or thought to be */
    /* a turn of a channel */
    uint64_t channel; /* 0 = it is a request */
    uint64_t budget_ns;
    uint32_t record; /* that is under way, 0 = none */
};

#define SIM_WORKER_JOBS (WFQ_DEPTH_MAX + 1u)
#define SIM_WORKERS_MAX 1024u /* alive at one time */

struct sim_worker {
    uint64_t handle;
    uint32_t vm, gpu;
    bool ready;
    bool quit;  /* leaves when it is done */
    bool dying; /* crashed or killed: does nothing any more */
    bool killed;
    bool stubborn;        /* does not leave by itself (SIGSTOP, a driver that hangs) */
    uint64_t started_ns;  /* when it was asked for */
    uint64_t quit_at_ns;  /* when it was told to go, 0 = not */
    uint64_t empty_at_ns; /* since when it has nothing outstanding */
    uint64_t free_ns;     /* takes up nothing before */
    uint64_t yield_ns;    /* its turn ends then */
    struct sim_job queue[SIM_WORKER_JOBS]; /* oldest first */
    uint32_t queued;
    struct sim_job done[SIM_WORKER_JOBS]; /* on their way to the core */
    uint32_t done_count;
    uint32_t outstanding;   /* handed out and not settled, as the core must see it */
    uint64_t head_since_ns; /* since when its oldest outstanding job is that */
};

struct sim_gpu {
    bool available;
    uint64_t resident; /* worker whose context is on the GPU, 0 = none */
    uint64_t running;  /* worker that has the GPU now, 0 = idle */
    uint64_t ready_ns; /* end of the context switch */
    uint64_t slice_end_ns;
    uint64_t advanced_ns; /* up to here everything is accounted for */
    uint64_t plan;        /* serial of the next SIM_EVENT_GPU */
    uint64_t busy_ns, switching_ns, switches;
    uint64_t asides;          /* jobs that were set aside, so far */
    uint64_t idle_waiting_ns; /* kept idle though work waited: anticipation */
    uint64_t idle_since_ns;   /* 0 = it is not */
    bool fluid_began;
    uint64_t fluid_base_ns;
};

struct sim {
    const struct sim_config *config;
    struct sim_result *result;
    uint64_t now_ns, end_ns;
    bool draining;     /* the measured time is over, replies are waited for */
    struct core *core; /* NULL while the mediator is lost */
    struct sim_events events;
    struct sim_vm *vms;
    uint32_t vm_count;
    struct sim_gpu gpus[CORE_GPUS_MAX];
    uint32_t core_number;
    struct sim_worker *workers[SIM_WORKERS_MAX]; /* by rising handle */
    uint32_t worker_count;
    uint32_t session_vm[CORE_SESSIONS_MAX]; /* SIM_NONE = none */
    struct rng fault_rng, worker_rng;
    bool paused;
    enum wfq_policy_id policy;
    bool policy_changed; /* then no share was promised */
    uint32_t sample;
    uint64_t moments;
    uint64_t hash;
    struct sim_record *record; /* what the judge wants to know; NULL = nobody judges */
};

/* world.c */
/* sim_run() that writes down for the judge; `record` may be NULL. */
int sim_run_recorded(const struct sim_config *config, struct sim_result *result,
                     struct sim_record *record);
void sim_core_up(struct sim *sim);
void sim_core_down(struct sim *sim);
int sim_apply_vms(struct sim *sim);

/* effects.c */
/* For core_new(); `sim` outlives the core. */
void sim_effects_table(struct sim *sim, struct core_effects *effects);

/* guest.c */
void sim_guest_init(struct sim *sim, uint32_t index, uint32_t group);
void sim_guest_event(struct sim *sim, const struct sim_event *event);
void sim_guest_frame(struct sim *sim, struct sim_vm *vm, const VGPUSocketHeader *header,
                     const void *payload);
/* The connection is gone: by whomever. */
void sim_guest_lost(struct sim *sim, struct sim_vm *vm, uint64_t reconnect_after_ns);

/* `request`, which is in no list any more, has its answer; it is freed. */
void sim_guest_answered(struct sim *sim, struct sim_vm *vm, struct sim_request *request, bool ok);
/* Its channel is open; or it is gone, and is opened again after so long. */
void sim_guest_channel(struct sim *sim, struct sim_vm *vm, uint64_t again_ns);

/* channel.c */
void sim_channel_open(struct sim *sim, struct sim_vm *vm);
/* True: the frame was about the channel. */
bool sim_channel_frame(struct sim *sim, struct sim_vm *vm, const VGPUSocketHeader *header,
                       const void *payload);
/* The guest has written a record. */
void sim_channel_record(struct sim *sim, struct sim_vm *vm);
/* What the core asks for; start: 0 or -1. */
int sim_channel_start(struct sim *sim, uint64_t handle, uint64_t channel);
void sim_channel_stop(struct sim *sim, uint64_t handle, uint64_t channel);
void sim_channel_turn(struct sim *sim, uint64_t handle, uint64_t job_id, uint64_t channel,
                      uint64_t budget_ns);
/* The worker tells the core something. */
void sim_channel_event(struct sim *sim, struct sim_worker *worker, const struct sim_event *event);
/* The turn at the head of the worker's queue goes on with another record.  False: it is over. */
bool sim_channel_next(struct sim *sim, struct sim_worker *worker, struct sim_job *job);
/* Its record has ended; the turn has. */
void sim_channel_answer(struct sim *sim, struct sim_worker *worker, struct sim_job *job);
void sim_channel_turn_ends(struct sim *sim, struct sim_worker *worker, const struct sim_job *job);

/* gpu.c */
struct sim_worker *sim_worker_find(struct sim *sim, uint64_t handle);
void sim_worker_start(struct sim *sim, const struct core_worker_spec *spec);
void sim_worker_run(struct sim *sim, uint64_t handle, uint64_t job_id,
                    const struct request_view *request);
/* The job is on its way to the worker. */
void sim_worker_take(struct sim *sim, struct sim_worker *worker, const struct sim_job *job);
/* An event of the worker's, void when it is gone by then. */
void sim_worker_tell(struct sim *sim, const struct sim_worker *worker, uint64_t time_ns,
                     enum sim_event_kind kind, uint64_t serial);
void sim_worker_stop(struct sim *sim, uint64_t handle, bool kill);
void sim_worker_event(struct sim *sim, const struct sim_event *event);
/* What dying workers used is final. */
void sim_workers_settle(struct sim *sim);
void sim_workers_drop(struct sim *sim);
/* The OOM killer, or an administrator: one of the workers is gone. */
void sim_worker_host_kill(struct sim *sim, uint64_t choice);
/* A driver error: all workers of the GPU crash. */
void sim_gpu_break(struct sim *sim, uint32_t gpu);
/* Accounts for the time up to now. */
void sim_gpu_advance(struct sim *sim, uint32_t gpu);

/* record.c: all of these do nothing where nobody judges */
/* Somebody's part of a GPU may have changed: weights, places, workers, what runs aside. */
void sim_judge_shares(struct sim *sim);
/* A VM that had nothing outstanding sends; it gets an answer. */
void sim_judge_busy(struct sim *sim, struct sim_vm *vm);
void sim_judge_answer(struct sim *sim, struct sim_vm *vm);
/* It has lost its connection or its place, and what it was owed with it. */
void sim_judge_anew(struct sim *sim, struct sim_vm *vm);
/* It is about to be moved to another GPU: what it has had ahead on its own is forgotten there. */
void sim_judge_moved(struct sim *sim, const struct sim_vm *vm);
/* A phase of work begins. */
void sim_judge_phase(struct sim *sim, struct sim_vm *vm);
/* So long is one of its jobs, or so long a worker that takes up jobs late had one. */
void sim_judge_length(struct sim *sim, struct sim_vm *vm, uint64_t job_ns);
/* Its worker has so much to do now. */
void sim_judge_handed(struct sim *sim, struct sim_vm *vm, uint64_t work_ns);
void sim_judge_begin(struct sim *sim);
void sim_judge_step(struct sim *sim);

/* faults.c */
void sim_disturb(struct sim *sim);

/* check.c */
void sim_violation(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_check_accepted(struct sim *sim, struct sim_vm *vm);
/* The request that a RUN is for, marked as dispatched; NULL (and a violation) if there is none. */
struct sim_request *sim_check_dispatch(struct sim *sim, struct sim_worker *worker,
                                       const struct request_view *request);
/* The worker may be given a turn; false (and a violation): it takes none. */
bool sim_check_turn(struct sim *sim, struct sim_worker *worker);
/* Its worker takes up the record, which is the oldest that waits. */
void sim_check_record(struct sim *sim, struct sim_vm *vm, struct sim_request *record);
/* Takes the request that a reply answers out of the books; NULL if there is none. */
struct sim_request *sim_check_reply(struct sim *sim, struct sim_vm *vm,
                                    const VGPUSocketHeader *header, const void *payload);
void sim_check_settled(struct sim *sim, struct sim_worker *worker, const struct sim_job *job,
                       bool failed);
void sim_check_rate_init(struct sim *sim, struct sim_vm *vm, bool reconfigured);
/* What it runs is cut off, but counts for the others' bound. */
void sim_check_running(struct sim *sim, const struct sim_worker *worker);
/* The core has a worker killed: is it time? */
void sim_check_kill(struct sim *sim, const struct sim_worker *worker);
/* The core counts a fault: did its job do something? */
void sim_check_fault(struct sim *sim, const struct sim_vm *vm, uint32_t code);
/* Does something run aside there? */
bool sim_check_aside(const struct sim *sim, uint32_t gpu);
/* Only wfq promises shares, and only if nothing else ran before. */
bool sim_check_shares_promised(const struct sim *sim);
/* After every event. */
void sim_check_moment(struct sim *sim);
/* Now and then: what the core says about lags and accounts. */
void sim_check_core(struct sim *sim);
/* Before the core is freed: its accounts are added up. */
void sim_check_collect(struct sim *sim);
void sim_check_fluid(struct sim *sim, uint32_t gpu);
void sim_check_end(struct sim *sim);

#endif /* SIM_INTERNAL_H */
