/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The counters as Prometheus text.  Each family is written in one piece, with
 * its HELP and TYPE, as the format wants it.  Labels are numbers and our own
 * words, so nothing needs escaping; a VM's name is in vgpu_vm_info alone.
 */
#include "mediator/admin_json.h"

#include <inttypes.h>
#include <string.h>

#include "mediator/json_out.h"
#include "mediator/mediator.h"
#include "mediator/session_io.h"
#include "mediator/supervisor.h"

struct family {
    const char *name;
    const char *type;
    const char *help;
    const char *label; /* further label with its value, "" = none */
    uint64_t (*value)(const struct core_vm_stats *stats);
};

#define FIELD(field)                                                                               \
    static uint64_t get_##field(const struct core_vm_stats *stats)                                 \
    {                                                                                              \
        return stats->field;                                                                       \
    }

FIELD(submitted)
FIELD(completed)
FIELD(errors)
FIELD(dropped)
FIELD(rejected_rate)
FIELD(rejected_queue)
FIELD(rejected_quarantined)
FIELD(invalid)
FIELD(timeouts)
FIELD(queue_depth)
FIELD(in_flight)
FIELD(worker_restarts)
FIELD(fault_count)

static uint64_t get_connected(const struct core_vm_stats *stats)
{
    return stats->session != CORE_NONE;
}

static uint64_t get_quarantined(const struct core_vm_stats *stats)
{
    return stats->config.quarantined;
}

/* A family with several labels stands in several rows, one after the other. */
static const struct family families[] = {
    {"vgpu_jobs_submitted_total", "counter", "Jobs accepted.", "", get_submitted},
    {"vgpu_jobs_total", "counter", "Jobs answered by a worker.", "", get_completed},
    {"vgpu_job_errors_total", "counter", "Accepted jobs answered with an error.", "", get_errors},
    {"vgpu_jobs_dropped_total", "counter", "Accepted jobs whose VM went away.", "", get_dropped},
    {"vgpu_jobs_rejected_total", "counter", "Requests rejected, by reason.", ",reason=\"rate\"",
     get_rejected_rate},
    {"vgpu_jobs_rejected_total", NULL, NULL, ",reason=\"queue\"", get_rejected_queue},
    {"vgpu_jobs_rejected_total", NULL, NULL, ",reason=\"quarantined\"", get_rejected_quarantined},
    {"vgpu_requests_invalid_total", "counter", "Requests that made no sense.", "", get_invalid},
    {"vgpu_job_timeouts_total", "counter", "Jobs killed at their time limit.", "", get_timeouts},
    {"vgpu_worker_restarts_total", "counter", "Workers started again after a loss.", "",
     get_worker_restarts},
    {"vgpu_vm_queue_depth", "gauge", "Jobs waiting.", "", get_queue_depth},
    {"vgpu_vm_in_flight", "gauge", "Jobs handed to the worker.", "", get_in_flight},
    {"vgpu_vm_faults", "gauge", "Faults since they were last cleared.", "", get_fault_count},
    {"vgpu_vm_connected", "gauge", "1 while the VM's device is connected.", "", get_connected},
    {"vgpu_vm_quarantined", "gauge", "1 while the VM is quarantined.", "", get_quarantined},
};

static void put_head(struct json_out *out, const char *name, const char *type, const char *help)
{
    jout_raw(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_label_text(struct json_out *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\') {
            jout_raw(out, "\\%c", c);
        } else if (c >= 0x20 && c < 0x7f) {
            jout_raw(out, "%c", c);
        } else {
            jout_raw(out, "?");
        }
    }
}

static void put_vm_families(struct mediator *mediator, struct json_out *out)
{
    uint64_t now_ns = mediator_now_ns();
    struct core_vm_stats stats;

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        const struct family *family = &families[i];

        if (family->type) {
            put_head(out, family->name, family->type, family->help);
        }
        for (uint32_t vm = 0; vm < CORE_VMS_MAX; vm++) {
            if (core_vm_stats(mediator->core, vm, now_ns, &stats)) {
                jout_raw(out, "%s{vm=\"%" PRIu32 "\"%s} %" PRIu64 "\n", family->name,
                         stats.config.vm_id, family->label, family->value(&stats));
            }
        }
    }

    put_head(out, "vgpu_gpu_seconds_total", "counter", "GPU time used by the VM.");
    for (uint32_t vm = 0; vm < CORE_VMS_MAX; vm++) {
        if (core_vm_stats(mediator->core, vm, now_ns, &stats)) {
            jout_raw(out, "vgpu_gpu_seconds_total{vm=\"%" PRIu32 "\"} %.9f\n", stats.config.vm_id,
                     (double)stats.gpu_time_ns / 1e9);
        }
    }
    put_head(out, "vgpu_vm_info", "gauge", "What the VM is; always 1.");
    for (uint32_t vm = 0; vm < CORE_VMS_MAX; vm++) {
        if (core_vm_stats(mediator->core, vm, now_ns, &stats)) {
            jout_raw(out,
                     "vgpu_vm_info{vm=\"%" PRIu32 "\",pool=\"%c\",priority=\"%" PRIu32
                     "\",weight=\"%" PRIu32 "\",name=\"",
                     stats.config.vm_id, stats.config.pool, stats.config.priority,
                     stats.config.weight);
            put_label_text(out, stats.config.name);
            jout_raw(out, "\"} 1\n");
        }
    }
}

static void put_gpu_families(struct mediator *mediator, struct json_out *out)
{
    const struct core *core = mediator->core;
    uint32_t count = core_gpu_count(core);

    put_head(out, "vgpu_gpu_busy_seconds_total", "counter", "GPU time charged to VMs.");
    for (uint32_t gpu = 0; gpu < count; gpu++) {
        jout_raw(out, "vgpu_gpu_busy_seconds_total{gpu=\"%" PRIu32 "\"} %.9f\n", gpu,
                 (double)wfq_busy_ns(core_gpu_scheduler(core, gpu)) / 1e9);
    }
    put_head(out, "vgpu_context_switches_total", "counter", "Turns given from one VM to another.");
    for (uint32_t gpu = 0; gpu < count; gpu++) {
        jout_raw(out, "vgpu_context_switches_total{gpu=\"%" PRIu32 "\"} %" PRIu64 "\n", gpu,
                 wfq_context_switches(core_gpu_scheduler(core, gpu)));
    }
    put_head(out, "vgpu_gpu_queue_depth", "gauge", "Jobs waiting for the GPU.");
    for (uint32_t gpu = 0; gpu < count; gpu++) {
        jout_raw(out, "vgpu_gpu_queue_depth{gpu=\"%" PRIu32 "\"} %" PRIu32 "\n", gpu,
                 wfq_queue_len(core_gpu_scheduler(core, gpu)));
    }
    put_head(out, "vgpu_gpu_available", "gauge", "1 while jobs may run on the GPU.");
    for (uint32_t gpu = 0; gpu < count; gpu++) {
        jout_raw(out, "vgpu_gpu_available{gpu=\"%" PRIu32 "\"} %d\n", gpu,
                 core_gpu_available(core, gpu));
    }
}

void admin_prometheus(struct mediator *mediator, struct json_out *out)
{
    put_head(out, "vgpu_build_info", "gauge", "The mediator's version; always 1.");
    jout_raw(out, "vgpu_build_info{version=\"%s\",backend=\"%s\"} 1\n", VGPU_VERSION,
             mediator->backend);
    put_head(out, "vgpu_uptime_seconds", "gauge", "Since the mediator started.");
    jout_raw(out, "vgpu_uptime_seconds %.3f\n",
             (double)(mediator_now_ns() - mediator->started_ns) / 1e9);
    put_head(out, "vgpu_sessions", "gauge", "Connections of devices.");
    jout_raw(out, "vgpu_sessions %" PRIu32 "\n", session_io_count(mediator->sessions));
    put_head(out, "vgpu_workers", "gauge", "Worker processes.");
    jout_raw(out, "vgpu_workers %" PRIu32 "\n", supervisor_count(mediator->supervisor));
    put_gpu_families(mediator, out);
    put_vm_families(mediator, out);
}
