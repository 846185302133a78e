/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module writes the metrics as text: for Prometheus, or as JSON for vgpu-admin.
 *
 * Theory of operation.  With a thousand busy VMs the Prometheus text is some
 * 10 MB, too much to be made between two jobs.  So an export is an object that
 * gives its text piece by piece: metrics_export_begin() takes a snapshot of what
 * is cheap (who the VMs are, their queues and shares), each metrics_export_step()
 * writes what fits into the caller's buffer, reading the counters as they then
 * are.  A family's lines stay together, as the format wants.  Between two steps
 * the core may do anything: a VM that was removed or renamed meanwhile is left
 * out of the rest, so no series appears twice.
 *
 * The format of both is described in docs/monitoring.md.
 */
#ifndef CORE_METRICS_METRICS_EXPORT_H
#define CORE_METRICS_METRICS_EXPORT_H

#include <stddef.h>
#include <stdint.h>

#include "core/core.h"
#include "core/metrics/metrics.h"

/* A buffer for metrics_export_step() has at least so many bytes. */
#define METRICS_EXPORT_STEP_BYTES 32768u

/* What NVML (or else) says about a GPU; NAN: not known. */
struct metrics_gpu_readings {
    double temperature_celsius;
    double power_watts;
    double power_limit_watts;
    double utilization_ratio;        /* of time with a kernel running, 0 to 1 */
    double memory_utilization_ratio; /* of time with memory read or written, 0 to 1 */
    double memory_used_bytes;
    double memory_total_bytes;
    double sm_clock_hertz;
    double ecc_corrected; /* since the driver was loaded */
    double ecc_uncorrected;
    double xid_errors;     /* since monitoring began */
    double throttled;      /* 1: clocks are held down by heat or power */
    double reset_required; /* 1 */
    double age_seconds;    /* of all these */
};

#define METRICS_HEALTH_KINDS_MAX 16u

/* What only the program around the core knows; NAN: not known. */
struct metrics_external {
    const char *version;       /* for the export's lifetime; NULL: not known */
    const char *backend;       /* "cpu", "cuda"; likewise */
    double start_time_seconds; /* since 1970 */
    double uptime_seconds;
    double cpu_seconds; /* without the workers' */
    double resident_memory_bytes;
    double open_fds;
    double sessions; /* connected devices, known or not */
    double workers;  /* processes */
    double admin_clients;
    double http_clients;
    struct metrics_histogram loop; /* how long the event loop was busy at a time */
    uint32_t health_kind_count;    /* of the following two */
    const char *health_kinds[METRICS_HEALTH_KINDS_MAX]; /* for the export's lifetime */
    uint32_t health_problems[METRICS_HEALTH_KINDS_MAX]; /* how many of that kind there are now */
    const char *gpu_names[METRICS_GPUS_MAX]; /* for the export's lifetime; NULL: not known */
    struct metrics_gpu_readings gpus[METRICS_GPUS_MAX];
};

/* Nothing is known. */
void metrics_external_init(struct metrics_external *external);
/* For filling histograms such as `loop`. */
void metrics_histogram_add(struct metrics_histogram *histogram, uint64_t time_ns);

enum metrics_format {
    METRICS_FORMAT_PROMETHEUS, /* text format 0.0.4 */
    METRICS_FORMAT_SUMMARY,    /* one JSON object */
};

struct metrics_export;

/* NULL: no memory.  `external` is copied; the core must outlive the export. */
struct metrics_export *metrics_export_begin(const struct core *core, enum metrics_format format,
                                            const struct metrics_external *external,
                                            uint64_t now_ns);
/*
 * Writes the next part, whole lines, no NUL.  Returns its length, 0 at the end.
 * Work and length are bounded; `size` >= METRICS_EXPORT_STEP_BYTES.
 */
size_t metrics_export_step(struct metrics_export *export, char *text, size_t size);
void metrics_export_end(struct metrics_export *export);

#endif /* CORE_METRICS_METRICS_EXPORT_H */
