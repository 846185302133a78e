/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scheduler of one GPU decides which VM's oldest job is handed to its worker next.
 *
 * Pure: time comes in as now_ns (monotonic, never decreasing), decisions come
 * out of wfq_dequeue().  No system call, no clock; memory is allocated by
 * wfq_init() alone.  docs/scheduling.md has the theory, the bound and its proof.
 *
 * One job's way: wfq_enqueue() puts it behind its VM's others; wfq_dequeue()
 * returns it when it is its turn, charged with an estimate; the caller runs it
 * and reports wfq_complete() with the GPU time that it really took.
 *
 * VMs are known by a slot number, 0 <= vm < max_vms, that the caller assigns.
 * A job belongs to the caller; the scheduler links it by its embedded node
 * between enqueue and the return of dequeue (or wfq_take_queued()), and keeps
 * account of it until complete.
 *
 * What is a contract here is asserted: a slot that was not attached, a job
 * completed twice.  Nothing that a guest sends can cause either.
 */
#ifndef CORE_SCHED_SCHEDULER_WFQ_H
#define CORE_SCHED_SCHEDULER_WFQ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/ns.h"

enum wfq_policy_id {
    WFQ_POLICY_WFQ,          /* eligibility by virtual time, then urgency: the default */
    WFQ_POLICY_URGENCY,      /* the urgency formula alone: no shares are guaranteed */
    WFQ_POLICY_PRIORITY,     /* Phase 2: strict priority, FIFO, pools in turn */
    WFQ_POLICY_FIFO,         /* earliest arrival */
    WFQ_POLICY_WF2Q,         /* eligibility by virtual time, then the smallest virtual finish */
    WFQ_POLICY_PRIORITY_ALL, /* as `priority`, with one queue over all pools */
    WFQ_POLICY_COUNT
};

/* "wfq", "urgency", "priority", "fifo", "wf2q", "priority-all"; NULL when out of range. */
const char *wfq_policy_name(enum wfq_policy_id policy);
/* The policy of that name, or -EINVAL. */
int wfq_policy_from_name(const char *name);

/*
 * Defaults, argued from what was measured on an H200: a switch between two
 * workers costs about 135 us, so a 6 ms quantum loses 2.2 % to switching when
 * all VMs are saturated; two jobs in flight hide the hand-over of about 30 us.
 */
#define WFQ_QUANTUM_DEFAULT_NS (6 * NS_PER_MS)
#define WFQ_DEPTH_DEFAULT 2u
#define WFQ_DEPTH_MAX 16u
#define WFQ_AHEAD_DEFAULT_NS (200 * NS_PER_US)
#define WFQ_HANDOVER_DEFAULT_NS (2 * NS_PER_MS) /* the driver's time slice, as measured */
#define WFQ_SWITCH_COST_NS (135 * NS_PER_US)
#define WFQ_ANTICIPATION_DEFAULT_NS NS_PER_MS
#define WFQ_PATIENCE_DEFAULT_NS (100 * NS_PER_MS)
#define WFQ_SLACK_DEFAULT_PERMILLE 80u
#define WFQ_SLACK_MAX_PERMILLE 1000u
#define WFQ_NEVER UINT64_MAX

struct wfq_config {
    uint32_t max_vms;
    uint32_t depth;           /* jobs handed ahead to one worker, 1..WFQ_DEPTH_MAX */
    uint64_t ahead_ns;        /* beyond depth, up to WFQ_DEPTH_MAX, as long as all that is in
                                 flight is expected to take no longer than this; 0 = never */
    uint64_t handover_ns;     /* a turn's last job that is expected to be no longer than this has
                                 the next VM's first one behind it already; 0 = never */
    uint64_t quantum_ns;      /* GPU time of one turn while others wait */
    uint64_t anticipation_ns; /* longest wait for the next job of a VM that is owed; 0 = never */
    uint64_t patience_ns;    /* a VM that is owed may pause for so long, and is still owed; 0 = what
                                 it is owed is gone when it has no work */
    uint32_t slack_permille; /* so much of its due a VM that pauses may lose to those who fill its
                                 pauses; the less, the more time is kept idle for it */
    uint64_t overrun_ns;     /* beside jobs aside another one is set aside when its own part of the
                                time is so long; 0 = whenever wfq_set_aside() is called */
    enum wfq_policy_id policy;
};

/*
 * Embedded in the caller's job. `vm` is set by the caller, the rest here.  Jobs that wait have
 * long left the cache when it is their turn: it is one line.
 */
struct wfq_job {
    STAILQ_ENTRY(wfq_job) link;
    uint32_t vm;
    bool in_flight;
    bool first; /* of its VM's turn */
    bool lone;  /* nothing else of its VM waited, or was in flight, when it was handed out */
    bool guest; /* handed out beside another VM's turn */
    uint64_t arrival_ns;
    uint64_t sequence;      /* order of arrival on this GPU */
    uint64_t dispatched_ns; /* returned by wfq_dequeue() */
    uint64_t charged_ns;    /* what the VM's account holds for it so far */
    uint64_t progressed_ns; /* it has run for so long, and V has moved for that */
    uint64_t taken_mark_ns; /* what jobs aside had had of the GPU when it became the oldest */
};

STAILQ_HEAD(wfq_jobs, wfq_job);

struct wfq_vm_params {
    double weight;     /* VGPU_WEIGHT_MIN..MAX */
    uint32_t priority; /* enum vgpu_priority */
    char pool;         /* letter */
};

/* A VM's share, phi: base_mult (1, 2, 4) * weight, in steps of 2^-16 (virtual_time.h). */
static inline double wfq_share(double weight, uint32_t priority)
{
    return (double)((uint32_t)(weight * 65536 + 0.5) << priority) / 65536;
}

struct wfq;

/* The most jobs that a worker is ever given ahead. */
uint32_t wfq_in_flight_max(const struct wfq_config *config);

/* NULL when there is no memory. */
struct wfq *wfq_init(const struct wfq_config *config);
void wfq_destroy(struct wfq *wfq);

/* ---- VMs ---- */

struct wfq_vm_stats;

/* From now on this number, which is not attached, is another VM's: of that nothing is known. */
void wfq_vm_new(struct wfq *wfq, uint32_t vm);
/*
 * A VM that is attached is not ready, is owed nothing and owes nothing, and its figures are 0.  It
 * may be detached when it has no job here.  If it is ahead then, those who are owed that time do
 * not get it back.  *last: its last figures; may be NULL.
 */
void wfq_vm_attach(struct wfq *wfq, uint32_t vm, const struct wfq_vm_params *params);
void wfq_vm_detach(struct wfq *wfq, uint32_t vm, uint64_t now_ns, struct wfq_vm_stats *last);
bool wfq_vm_attached(const struct wfq *wfq, uint32_t vm);
/* Weight, priority and pool change live; what is owed stays owed in GPU time. */
void wfq_vm_update(struct wfq *wfq, uint32_t vm, const struct wfq_vm_params *params,
                   uint64_t now_ns);
/* Only ready VMs (their worker takes jobs) are chosen and earn a share. */
void wfq_vm_set_ready(struct wfq *wfq, uint32_t vm, bool ready, uint64_t now_ns);

/* ---- jobs ---- */

void wfq_enqueue(struct wfq *wfq, struct wfq_job *job, uint64_t now_ns);
/* The next job to hand out now, or NULL.  Call again until NULL. */
struct wfq_job *wfq_dequeue(struct wfq *wfq, uint64_t now_ns);
/*
 * The job ended, however it ended.  gpu_time_ns: what it used; `elapsed`: that
 * figure includes the time slices of whatever ran beside it.
 */
void wfq_complete(struct wfq *wfq, struct wfq_job *job, uint64_t gpu_time_ns, bool elapsed,
                  uint64_t now_ns);
/*
 * Before wfq_complete(): for so long the host had no processor for `vm`'s worker, or for us, while
 * its oldest job in flight ran: that is not charged, unless the job is said to have used it.  It
 * comes from the kernel and not from the worker; but one that was taken over can keep a processor
 * busy by other threads, so of a job it is 100 ms at most.
 */
void wfq_excuse(struct wfq *wfq, uint32_t vm, uint64_t wait_ns);
/* Unlinks the VM's oldest waiting job, or NULL. For dropping and moving. */
struct wfq_job *wfq_take_queued(struct wfq *wfq, uint32_t vm, uint64_t now_ns);

/*
 * The VM's running job overran: let the next VM in beside it.  Its account is
 * charged by the clock until the job completes; its other jobs wait so long.
 * False (and nothing happens) when nobody else waits or pauses for a moment, when it only takes so
 * long because others run aside (overrun_ns), or while the VM is owed what it takes: up to three
 * times overrun_ns.
 */
bool wfq_set_aside(struct wfq *wfq, uint32_t vm, uint64_t now_ns);

/* When wfq_dequeue() may answer differently with no other event; WFQ_NEVER. */
uint64_t wfq_next_wakeup_ns(const struct wfq *wfq);

/* ---- running it ---- */

void wfq_set_policy(struct wfq *wfq, enum wfq_policy_id policy);
/* Nothing is handed out; nobody is entitled to anything meanwhile. */
void wfq_set_paused(struct wfq *wfq, bool paused, uint64_t now_ns);
bool wfq_paused(const struct wfq *wfq);
/*
 * For the policies `priority` and `priority-all`: it goes before others of its priority, and under
 * `priority` its pool before other pools.  UINT32_MAX = none.
 */
void wfq_set_preferred(struct wfq *wfq, uint32_t vm);

/* ---- looking at it ---- */

uint32_t wfq_vm_queue_depth(const struct wfq *wfq, uint32_t vm); /* waiting */
uint32_t wfq_queue_len(const struct wfq *wfq);                   /* waiting, all VMs */
uint32_t wfq_in_flight(const struct wfq *wfq);
uint32_t wfq_backlogged(const struct wfq *wfq); /* ready VMs with waiting jobs */
uint64_t wfq_context_switches(const struct wfq *wfq);
uint64_t wfq_busy_ns(const struct wfq *wfq); /* GPU time charged in all */
int64_t wfq_holder(const struct wfq *wfq);   /* whose turn it is, -1 = nobody's */

struct wfq_vm_stats {
    uint32_t queue_depth;
    uint32_t in_flight;
    uint64_t submitted;
    uint64_t completed;
    uint64_t gpu_time_ns;
    uint64_t average_execution_ns; /* exponential, 1/8 */
    double submit_rate_hz;         /* exponential */
    uint64_t context_switches;     /* turns that began with this VM after another's */
    int64_t lag_ns;                /* GPU time owed to it (> 0) or had ahead (< 0) */
    int64_t max_lag_ns;            /* most ever owed while it had work */
    uint64_t max_job_ns;           /* longest job: its part of the others' lag bound */
    bool suspended;                /* it comes after all others until its debt is made good */
    bool pausing;                  /* it has no work for a moment, and is owed */
    int64_t debt_ns; /* of what it has had ahead: so much is not in the fluid set, where lag_ns +
                        debt_ns of all VMs sum up to 0 */
    /* Since it was attached; they never go back: */
    uint64_t entitled_ns;  /* its due part of the time in which it had work */
    uint64_t kept_ns;      /* the GPU was kept idle for it */
    uint64_t switching_ns; /* lost to switches that it caused, by going idle early or by cutting
                              in; those of its latest turn not yet, it may earn them back */
};

void wfq_get_vm_stats(const struct wfq *wfq, uint32_t vm, uint64_t now_ns,
                      struct wfq_vm_stats *stats);

/*
 * The published bound on lag_ns for `vm` among the attached VMs, from the
 * longest jobs seen: sum over the others of (quantum + ahead + depth * longest
 * job), or of as many as were handed out as tiny ones that were not; and of one
 * switch for each that has paid for the way back of a VM that paused.
 */
uint64_t wfq_lag_bound_ns(const struct wfq *wfq, uint32_t vm);

/* Why a job was chosen. */
enum wfq_reason {
    WFQ_REASON_ALONE,     /* no other VM waited */
    WFQ_REASON_TURN,      /* its VM's turn goes on */
    WFQ_REASON_URGENT,    /* the most urgent of the eligible */
    WFQ_REASON_PRIORITY,  /* highest priority of the pool whose turn it was, or of all */
    WFQ_REASON_PREFERRED, /* equal priority, preferred VM */
    WFQ_REASON_FIRST,     /* earliest arrival */
    WFQ_REASON_LATE,      /* it has missed its virtual finish */
    WFQ_REASON_FINISH,    /* the smallest virtual finish */
    WFQ_REASON_BESIDE,    /* a short job that came back, beside another VM's turn and a job aside */
};

const char *wfq_reason_name(enum wfq_reason reason);

struct wfq_dispatch {
    uint64_t sequence; /* of this decision, from 1 */
    uint64_t time_ns;
    uint64_t job_sequence;
    uint64_t waited_ns;
    uint32_t vm;
    uint32_t waiting_vms; /* ready VMs that had a job waiting */
    uint32_t eligible_vms;
    enum wfq_reason reason;
    double urgency;
    int64_t lag_ns; /* of the chosen VM, before the charge */
};

#define WFQ_DISPATCH_LOG 256u
/*
 * The latest decisions, oldest first, at most `max`; returns how many.
 */
uint32_t wfq_dispatch_log(const struct wfq *wfq, struct wfq_dispatch *out, uint32_t max);

/* The urgency formula (docs/scheduling.md). */
double wfq_urgency(uint32_t priority, double weight, uint32_t queue_depth, uint64_t waited_ns);

/*
 * Until when the turn that is under way may last because others wait: now or later.  *vm: whose it
 * is.  UINT64_MAX: there is none, or nobody waits.
 */
uint64_t wfq_turn_ends_ns(const struct wfq *wfq, uint64_t now_ns, uint32_t *vm);

/* ---- over a restart.  wfq_restore.c ---- */

/* What a VM has with it when the program is started again. */
struct wfq_account {
    double lag_ns;  /* of a member of the fluid set: owed to it (> 0), or had ahead (< 0) */
    double debt_ns; /* what it owes beside that, at least 0 */
};

/* As if what is in flight had ended now, having taken what it is charged by now. */
void wfq_export_account(const struct wfq *wfq, uint32_t vm, struct wfq_account *account);
/*
 * Of a VM that has just been attached.  Behind the last one of a GPU wfq_import_end() must follow,
 * before anything else happens there.  One that is owed keeps that although it has no work, until
 * wfq_return_over().  Values that are no number, or beyond what can be, count as 0.
 */
void wfq_import_account(struct wfq *wfq, uint32_t vm, const struct wfq_account *account,
                        uint64_t now_ns);
/* Of some who were owed or ahead there is no account: what they had goes to the others. */
void wfq_import_end(struct wfq *wfq);
/* It had the time to come back.  One without work gives up what it is owed. */
void wfq_return_over(struct wfq *wfq, uint32_t vm, uint64_t now_ns);

#endif /* CORE_SCHED_SCHEDULER_WFQ_H */
