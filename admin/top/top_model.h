/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The model is what vgpu-admin top shows, without a terminal: two looks at the mediator become
 * rows, filtered and in order.
 *
 * A snapshot is one look.  Counters become rates only against an earlier look at
 * the same run of the mediator; anything that the mediator does not say is NAN,
 * which the view shows as "-".
 */
#ifndef ADMIN_TOP_TOP_MODEL_H
#define ADMIN_TOP_TOP_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOP_NAME_BYTES 128
#define TOP_WORD_BYTES 24
#define TOP_UUID_BYTES 40

struct top_gpu {
    unsigned index;
    char name[TOP_NAME_BYTES];
    char state[TOP_WORD_BYTES];
    bool needs_reset;
    double temperature_c, power_w, utilization; /* 0 to 1 */
    double memory_used_bytes, memory_total_bytes;
    double queued, in_flight;
    double busy_ns, context_switches; /* counters */
};

struct top_vm {
    uint32_t vm_id;
    char uuid[TOP_UUID_BYTES]; /* may be empty */
    char name[TOP_NAME_BYTES]; /* may be empty */
    char pool;
    unsigned priority;
    double weight;
    bool connected, quarantined, overdue; /* overdue: owed time while it has work */
    char state[TOP_WORD_BYTES];
    double gpu; /* NAN: not placed */
    double queue_depth, in_flight;
    double due_share, share; /* 0 to 1 */
    double owed_ns;          /* below 0: had ahead */
    double p99_ns;
    double completed, errors, rejected;             /* counters */
    double entitled_ns, kept_idle_ns, switching_ns; /* counters */
    double programs;                                /* CUDA programs with a context, */
    double launches;                                /* ... and what its worker's did: a counter */
};

struct top_snapshot {
    double time_s; /* when it was taken, monotonic */
    double uptime_s;
    char version[TOP_WORD_BYTES];
    char policy[TOP_WORD_BYTES];
    char backend[TOP_WORD_BYTES];
    bool paused;
    bool has_db;
    struct top_gpu *gpus;
    size_t gpu_count;
    struct top_vm *vms;
    size_t vm_count;
};

/*
 * From the answers to SHOW_STATUS, SHOW_METRICS and SHOW_HEALTH; the latter two
 * may be NULL.  NULL when there is no memory or status is no status.
 */
struct top_snapshot *top_snapshot_new(const json_t *status, const json_t *metrics,
                                      const json_t *health, double time_s);
void top_snapshot_free(struct top_snapshot *snapshot);

enum top_sort {
    TOP_SORT_VM_ID,
    TOP_SORT_NAME,
    TOP_SORT_STATE,
    TOP_SORT_WEIGHT,
    TOP_SORT_SHARE,
    TOP_SORT_DUE,
    TOP_SORT_QUEUE,
    TOP_SORT_RATE,
    TOP_SORT_P99,
    TOP_SORT_COUNT
};

/* "vm_id", "name", ... */
const char *top_sort_name(enum top_sort sort);

struct top_row {
    const struct top_vm *vm;
    double rate_hz;  /* jobs done a second */
    double error_hz; /* errors and refusals a second */
    /* Parts of the time, 0 to 1: what it was entitled to, for how long the GPU was kept idle for
     * it, what was lost to switches that it caused. */
    double entitled, kept_idle, switching;
    double launches_hz; /* of its CUDA programs */
};

struct top_gpu_row {
    const struct top_gpu *gpu;
    double busy;        /* part of the time that it worked for VMs, 0 to 1 */
    double switches_hz; /* between workers */
};

struct top_query {
    enum top_sort sort;
    bool reverse;
    const char *filter; /* part of a name, UUID, state, pool or vm_id; "" shows all */
};

struct top_rows {
    struct top_row *vms;
    size_t vm_count;
    struct top_gpu_row *gpus;
    size_t gpu_count;
    size_t hidden;                 /* by the filter */
    size_t connected, quarantined; /* of all VMs */
    double rate_hz;                /* of all VMs */
};

/* `before` may be NULL.  The rows point into `now`.  False: no memory. */
bool top_rows_build(const struct top_snapshot *before, const struct top_snapshot *now,
                    const struct top_query *query, struct top_rows *rows);
void top_rows_free(struct top_rows *rows);

/* As one JSON object, for --once --json. */
json_t *top_rows_json(const struct top_snapshot *now, const struct top_rows *rows);

#endif /* ADMIN_TOP_TOP_MODEL_H */
