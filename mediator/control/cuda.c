/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module answers VGPU_ADMIN_SHOW_CUDA: what VMs' CUDA programs have and do, one by one. */
#include "mediator/control/cuda.h"

#include "common/clock.h"
#include "common/cuda_names.h"
#include "mediator/gpu/gpu_health.h"
#include "mediator/mediator.h"
#include "mediator/sessions/session_io.h"
#include "mediator/workers/supervisor.h"

struct pids {
    pid_t of[CORE_SESSIONS_MAX]; /* 0: no such session */
};

static void take_pid(void *opaque, const struct session_info *info)
{
    struct pids *pids = opaque;

    if (info->session < CORE_SESSIONS_MAX) {
        pids->of[info->session] = info->peer.pid;
    }
}

/* Their names may come twice: several are none of the table. */
static void put_refused_of_vm(struct mediator *mediator, struct json_out *json, uint32_t slot)
{
    const struct metrics_refused *refused = metrics_refused_of(core_metrics(mediator->core), slot);

    jout_array(json, "refused_functions");
    for (uint32_t i = 0; i < METRICS_REFUSED_MAX && refused[i].count; i++) {
        jout_object(json, NULL);
        jout_string(json, "name", cuda_name_of(refused[i].name_hash));
        jout_uint(json, "count", refused[i].count);
        jout_object_end(json);
    }
    jout_array_end(json);
}

static void put_program(struct json_out *json, const struct pids *pids,
                        const struct core_program_stats *program)
{
    const vgpu_worker_program *figures = &program->figures;
    bool host = program->transport == VGPU_TRANSPORT_HOST && program->session != CORE_NONE;

    jout_object(json, NULL);
    jout_uint_if(json, "session", program->session != CORE_NONE, program->session);
    jout_uint(json, "channel", program->number);
    /* Of a guest's programs the session is their device's. */
    jout_uint_if(json, "pid", host && pids->of[program->session] > 0,
                 host ? (uint64_t)pids->of[program->session] : 0);
    jout_double(json, "age_s", (double)program->age_ns / NS_PER_S);
    jout_uint(json, "contexts", figures->contexts);
    jout_uint(json, "memory_bytes", figures->memory_bytes);
    jout_uint(json, "launches", figures->units);
    jout_double(json, "launches_per_s", program->units_per_s);
    jout_uint(json, "copies", figures->copies);
    jout_uint(json, "turns", figures->turns);
    jout_uint(json, "turns_ns", figures->turns_ns);
    jout_uint(json, "refused", figures->refused);
    jout_array(json, "refused_functions");
    for (uint32_t i = 0; i < figures->name_count; i++) {
        jout_string(json, NULL, cuda_name_of(figures->names[i]));
    }
    jout_array_end(json);
    jout_object_end(json);
}

static void put_programs(struct mediator *mediator, struct json_out *json, const struct pids *pids,
                         uint32_t slot)
{
    struct core_program_stats program;

    jout_array(json, "processes");
    for (uint32_t i = 0; i < CORE_CHANNELS_MAX; i++) {
        if (core_program_stats(mediator->core, i, clock_now_ns(), &program) && program.vm == slot) {
            put_program(json, pids, &program);
        }
    }
    jout_array_end(json);
}

static void put_sums(struct mediator *mediator, struct json_out *json, uint32_t slot,
                     const struct core_vm_stats *stats)
{
    static const struct {
        const char *key;
        enum metrics_counter counter;
    } sums[] = {
        {"launches", METRICS_CUDA_UNITS},
        {"copies", METRICS_CUDA_COPIES},
        {"turns", METRICS_CUDA_TURNS},
        {"refused", METRICS_CUDA_REFUSED},
    };
    pid_t pid = stats->worker ? supervisor_pid(mediator->supervisor, stats->worker) : 0;
    bool known = pid != 0 && stats->gpu != CORE_NONE;

    jout_uint(json, "vm_id", stats->config.vm_id);
    jout_string(json, "name", stats->config.name);
    jout_uint(json, "max_processes", stats->config.max_processes);
    jout_uint(json, "max_kernel_ms", stats->config.max_kernel_ms);
    jout_uint(json, "programs", stats->figures.programs);
    jout_uint(json, "contexts", stats->figures.contexts);
    jout_uint(json, "memory_bytes", stats->figures.memory_bytes);
    jout_uint_if(json, "gpu_memory_bytes", known,
                 known ? gpu_health_process_bytes(mediator->gpu_health, stats->gpu, (uint32_t)pid)
                       : 0);
    for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
        jout_uint(json, sums[i].key,
                  metrics_count(core_metrics(mediator->core), slot, sums[i].counter));
    }
}

void admin_json_cuda(struct mediator *mediator, struct json_out *json)
{
    struct core_vm_stats stats;
    static struct pids pids; /* too large for the stack; this thread's alone */

    pids = (struct pids){{0}};
    session_io_each(mediator->sessions, take_pid, &pids);
    jout_object(json, NULL);
    jout_array(json, "vms");
    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        if (!core_vm_stats(mediator->core, slot, clock_now_ns(), &stats)) {
            continue;
        }
        jout_object(json, NULL);
        put_sums(mediator, json, slot, &stats);
        put_refused_of_vm(mediator, json, slot);
        put_programs(mediator, json, &pids, slot);
        jout_object_end(json);
    }
    jout_array_end(json);
    jout_object_end(json);
}
