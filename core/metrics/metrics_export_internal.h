/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files of the exporter share these declarations.  They are private to core/metrics/.
 *
 *   metrics_export.c      snapshot, steps
 *   metrics_prometheus.c  one piece: a family's lines of one VM or GPU; the table of families
 *   prometheus_values.c   what stands in those lines
 *   metrics_summary.c     one piece: a VM's JSON object
 */
#ifndef CORE_METRICS_METRICS_EXPORT_INTERNAL_H
#define CORE_METRICS_METRICS_EXPORT_INTERNAL_H

#include <stdbool.h>

#include "core/metrics/metrics_export.h"
#include "core/text_out.h"

/* No piece is longer: checked by an assertion, and by the tests with the worst names. */
#define METRICS_PIECE_BYTES 12288u

/* A VM at the time of the snapshot. */
struct export_vm {
    uint64_t serial; /* metrics_vm_serial() */
    uint32_t slot;
    uint32_t vm_id;
    uint32_t gpu; /* the latest it was on; CORE_NONE */
    uint32_t queue_depth, in_flight;
    uint32_t priority, faults;
    double weight;
    enum core_worker_state worker_state;
    bool connected, quarantined, has_uuid, aside, suspended, pausing;
    char pool;
    uint8_t uuid[CORE_UUID_BYTES];
    double share_due, share_received;
    int64_t lag_ns;
    uint64_t average_execution_ns;
    uint64_t entitled_ns, kept_ns, switching_ns;
    uint64_t programs, contexts, program_bytes; /* on the CUDA driver interface */
};

struct export_gpu {
    uint32_t queue_depth, in_flight, vms;
    uint64_t busy_ns;
    bool available, paused;
};

struct metrics_export {
    const struct core *core;
    struct metrics *metrics;
    struct metrics_external external;
    enum metrics_format format;
    uint64_t now_ns;
    uint32_t family; /* of metrics_prometheus.c */
    uint32_t next;   /* piece within the family, or VM of the summary */
    bool begun, ended;
    bool comma; /* of the summary: the next value needs one before it */
    enum wfq_policy_id policy;
    uint32_t gpu_count;
    struct export_gpu gpus[CORE_GPUS_MAX];
    uint32_t vm_count;
    struct export_vm vms[]; /* vm_count */
};

/* The VM is still the one of the snapshot, under the same name. */
static inline bool export_vm_present(const struct metrics_export *export,
                                     const struct export_vm *vm)
{
    return metrics_vm_serial(export->metrics, vm->slot) == vm->serial;
}

/* Each writes one piece and moves on; false: there is no more. */
bool metrics_prometheus_piece(struct metrics_export *export, struct text_out *out);
bool metrics_summary_piece(struct metrics_export *export, struct text_out *out);

#endif /* CORE_METRICS_METRICS_EXPORT_INTERNAL_H */
