/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The metrics are what is counted and timed: for each VM, for each GPU, and in all.
 *
 * Theory of operation.  A job's life is cut into three parts that add up to
 * what the guest waited:
 *
 *     accepted ───── queue wait ─────► its turn ─── transport ──► answered
 *                                              └─ GPU time ─┘
 *
 * Queue wait ends when the job was handed to its worker and the VM's earlier
 * jobs there were done.  GPU time is what the worker measured.  The rest,
 * sockets and hand-over, is transport.
 *
 * Each part goes into a cumulative histogram (fixed buckets, for Prometheus)
 * and into a window of the latest METRICS_WINDOW jobs, from which quantiles are
 * exact; they are computed when somebody asks, never while recording.
 *
 * Pure: no clock, no allocation but in metrics_new() and metrics_vm_add().
 * VMs are known by the core's slot numbers.  A VM that was not added (or is
 * gone) still counts in all.  Counters of a VM live from metrics_vm_add() to
 * metrics_vm_remove(), across any reconfiguration; those in all, as long as the
 * metrics do.  So no counter ever goes back.
 */
#ifndef CORE_METRICS_METRICS_H
#define CORE_METRICS_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "vgpu/vgpu_protocol.h"

#define METRICS_WINDOW 4096u      /* jobs */
#define METRICS_SAMPLE_NS 100u    /* resolution of the window; times saturate at 429 s */
#define METRICS_SHARE_SECONDS 60u /* over which received shares are taken */
#define METRICS_BUCKETS 21u       /* and one for all that is longer */
#define METRICS_GPUS_MAX 16u
#define METRICS_LABEL_BYTES 96u /* longest name of a VM in the exports */
#define METRICS_NO_VM UINT32_MAX

enum metrics_part {
    METRICS_TOTAL,
    METRICS_QUEUE,
    METRICS_TRANSPORT,
    METRICS_GPU,
    METRICS_PART_COUNT
};

enum metrics_counter {
    METRICS_ACCEPTED,        /* requests that became jobs */
    METRICS_JOBS,            /* jobs that a worker ended, well or badly */
    METRICS_DROPPED,         /* jobs whose session went away before the answer */
    METRICS_TIMEOUTS,        /* jobs that ran past the limit */
    METRICS_FAULTS,          /* jobs that broke their worker or their context */
    METRICS_WORKER_RESTARTS, /* workers that were lost */
    METRICS_QUARANTINES,
    METRICS_CONTEXT_SWITCHES, /* turns that began with this VM after another's */
    METRICS_GPU_TIME_NS,      /* charged */
    METRICS_REQUEST_BYTES,    /* of accepted requests */
    METRICS_RESPONSE_BYTES,   /* of all answers */
    METRICS_CUDA_UNITS,       /* of CUDA programs: vgpu_worker_figures, as these three */
    METRICS_CUDA_COPIES,
    METRICS_CUDA_TURNS,
    METRICS_CUDA_REFUSED,
    METRICS_COUNTER_COUNT
};

/* Upper bounds of the buckets, ascending. */
extern const uint64_t metrics_bucket_ns[METRICS_BUCKETS];

struct metrics_histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t buckets[METRICS_BUCKETS + 1]; /* not cumulative; the last: longer than all */
};

struct metrics;

/* NULL: no memory.  max_vms: slots. */
struct metrics *metrics_new(uint32_t max_vms);
void metrics_free(struct metrics *metrics);

/*
 * A VM comes into being in a slot.  Its label is its name, made valid UTF-8; a
 * name that another VM has already, or none, is told apart by the vm_id.
 * Without memory the VM counts only in all.
 */
void metrics_vm_add(struct metrics *metrics, uint32_t vm, const char *name, uint32_t vm_id);
void metrics_vm_rename(struct metrics *metrics, uint32_t vm, const char *name, uint32_t vm_id);
/* Nothing happens when the slot is empty. */
void metrics_vm_remove(struct metrics *metrics, uint32_t vm);

/* ---- recording; `vm` may be METRICS_NO_VM everywhere ---- */

struct metrics_job {
    uint64_t accepted_ns; /* request arrived */
    uint64_t turn_ns;     /* handed to its worker, which had no earlier job left */
    uint64_t ended_ns;    /* answered */
    uint64_t gpu_ns;      /* measured by the worker; held to what fits in between */
    uint64_t charged_ns;  /* to the VM's account */
};

void metrics_record_job(struct metrics *metrics, uint32_t vm, uint32_t gpu,
                        const struct metrics_job *job);
/* An accepted job was answered with `reason`. */
void metrics_record_error(struct metrics *metrics, uint32_t vm, enum vgpu_error reason);
/* A request was refused before it was a job. */
void metrics_record_rejection(struct metrics *metrics, uint32_t vm, enum vgpu_error reason);
void metrics_record_context_switch(struct metrics *metrics, uint32_t vm, uint32_t gpu);
void metrics_record_gpu_reset(struct metrics *metrics, uint32_t gpu);
/* A program called this function, which is not built (common/cuda_names.h); once for a program. */
void metrics_record_refused(struct metrics *metrics, uint32_t vm, uint32_t name_hash);
/* The other counters. */
void metrics_record_count(struct metrics *metrics, uint32_t vm, enum metrics_counter counter,
                          uint64_t amount);

/* ---- reading; METRICS_NO_VM: in all.  A slot that is empty reads as zeros ---- */

/* The VM's name in the exports, NULL when the slot is empty. */
const char *metrics_vm_label(const struct metrics *metrics, uint32_t vm);
/* Changes whenever the slot gets another VM or its VM another label; 0 when it is empty. */
uint64_t metrics_vm_serial(const struct metrics *metrics, uint32_t vm);
/* Of its latest job; UINT32_MAX: it had none. */
uint32_t metrics_vm_gpu(const struct metrics *metrics, uint32_t vm);
uint64_t metrics_count(const struct metrics *metrics, uint32_t vm, enum metrics_counter counter);
uint64_t metrics_errors(const struct metrics *metrics, uint32_t vm, enum vgpu_error reason);
uint64_t metrics_rejections(const struct metrics *metrics, uint32_t vm, enum vgpu_error reason);
uint64_t metrics_gpu_context_switches(const struct metrics *metrics, uint32_t gpu);
uint64_t metrics_gpu_resets(const struct metrics *metrics, uint32_t gpu);
/* All zero when the slot is empty.  Valid until the next call that changes the metrics. */
const struct metrics_histogram *metrics_histogram_of(const struct metrics *metrics, uint32_t vm,
                                                     enum metrics_part part);

/* Functions that a VM's programs missed: the first ones by name, the rest as hash 0. */
#define METRICS_REFUSED_MAX 24u
struct metrics_refused {
    uint32_t name_hash; /* of those behind the last one that is used: count 0 */
    uint32_t pad;
    uint64_t count;
};
/* METRICS_REFUSED_MAX of them. */
const struct metrics_refused *metrics_refused_of(const struct metrics *metrics, uint32_t vm);

/* What must not go back when the program is started again.  The windows begin anew. */
struct metrics_kept {
    uint64_t counts[METRICS_COUNTER_COUNT];
    uint64_t errors[VGPU_ERR_COUNT];
    uint64_t rejections[VGPU_ERR_COUNT];
    struct metrics_histogram histograms[METRICS_PART_COUNT];
    struct metrics_refused refused[METRICS_REFUSED_MAX];
};

/* METRICS_NO_VM: in all.  All zero when the slot is empty. */
void metrics_export_kept(const struct metrics *metrics, uint32_t vm, struct metrics_kept *kept);
/* Added to what is counted there.  Nothing happens when the slot is empty. */
void metrics_import_kept(struct metrics *metrics, uint32_t vm, const struct metrics_kept *kept);

struct metrics_quantiles {
    uint32_t samples; /* 0: the rest is 0 */
    uint64_t p50_ns, p95_ns, p99_ns, max_ns;
};

/*
 * Exact (nearest rank) over the latest METRICS_WINDOW jobs, to METRICS_SAMPLE_NS.
 * Sorts a copy in scratch memory of `metrics`: some 20 us.
 */
void metrics_quantiles_of(struct metrics *metrics, uint32_t vm, enum metrics_part part,
                          struct metrics_quantiles *out);

/*
 * Of the GPU time used on this GPU in the last METRICS_SHARE_SECONDS, the part
 * that the VM had; 0 when nobody used any.
 */
double metrics_share_received(struct metrics *metrics, uint32_t vm, uint32_t gpu, uint64_t now_ns);

#endif /* CORE_METRICS_METRICS_H */
