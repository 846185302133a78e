/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the core asks for, and says, while it runs in the simulator: each effect goes into the
 * trace, whose hash makes two runs comparable, and then to the guest, the worker or the judge
 * that it concerns.
 */
#include "common/unused.h"
#include "sim/internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define FNV_PRIME 0x100000001B3ull

/* ---- the trace ---- */

static void hash_word(struct sim *sim, uint64_t word)
{
    sim->hash = (sim->hash ^ word) * FNV_PRIME;
    sim->hash ^= sim->hash >> 29;
}

static void hash_bytes(struct sim *sim, const uint8_t *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i += 8) {
        uint64_t word = 0;

        memcpy(&word, bytes + i, length - i < 8 ? length - i : 8);
        hash_word(sim, word);
    }
}

static void trace(struct sim *sim, const char *what, uint64_t a, uint64_t b, uint64_t c)
{
    hash_word(sim, sim->now_ns);
    hash_word(sim, (uint64_t)what[0] << 8 | (uint8_t)what[1]);
    hash_word(sim, a);
    hash_word(sim, b);
    hash_word(sim, c);
    if (sim->config->trace && sim->config->log) {
        fprintf(sim->config->log, "%.9f %s %llu %llu %llu\n",
                (double)(sim->now_ns - SIM_START_NS) / NS_PER_S, what, (unsigned long long)a,
                (unsigned long long)b, (unsigned long long)c);
    }
}

/* ---- the core's effects ---- */

static void on_send(void *opaque, uint32_t session, const VGPUSocketHeader *header,
                    const void *payload)
{
    struct sim *sim = opaque;

    trace(sim, "send", session, header->msg_type, header->request_id);
    hash_bytes(sim, payload, header->payload_len);
    if (session >= CORE_SESSIONS_MAX || sim->session_vm[session] == SIM_NONE) {
        sim_violation(sim, "a frame is sent on session %u, which is gone", session);
        return;
    }
    sim_guest_frame(sim, &sim->vms[sim->session_vm[session]], header, payload);
}

static void on_close_session(void *opaque, uint32_t session, enum core_close_reason reason)
{
    struct sim *sim = opaque;

    trace(sim, "close", session, reason, 0);
    if (session >= CORE_SESSIONS_MAX || sim->session_vm[session] == SIM_NONE) {
        sim_violation(sim, "session %u is closed, but it is gone", session);
        return;
    }
    if (reason != CORE_CLOSE_SILENT) {
        sim_violation(sim, "VM %u's session is closed for reason %d",
                      sim->vms[sim->session_vm[session]].vm_id, (int)reason);
    }
    sim_guest_lost(sim, &sim->vms[sim->session_vm[session]], NS_PER_S);
}

static void on_worker_start(void *opaque, const struct core_worker_spec *spec)
{
    struct sim *sim = opaque;

    trace(sim, "start", spec->worker, spec->vm_id, spec->gpu);
    sim_worker_start(sim, spec);
}

static void on_worker_run(void *opaque, uint64_t worker, uint64_t job_id,
                          const struct request_view *request)
{
    struct sim *sim = opaque;

    trace(sim, "run", worker, job_id, request->opcode);
    sim_worker_run(sim, worker, job_id, request);
}

static void on_worker_stop(void *opaque, uint64_t worker, bool kill)
{
    struct sim *sim = opaque;

    trace(sim, kill ? "kill" : "quit", worker, 0, 0);
    sim_worker_stop(sim, worker, kill);
}

static int on_channel_start(void *opaque, uint64_t worker, uint64_t channel,
                            UNUSED enum vgpu_channel_transport transport,
                            UNUSED const VGPUChannelOpen *open, UNUSED uint64_t bytes)
{
    struct sim *sim = opaque;

    trace(sim, "channel", worker, channel, 0);
    return sim_channel_start(sim, worker, channel);
}

static void on_channel_send(void *opaque, uint32_t session, UNUSED uint64_t channel,
                            const VGPUSocketHeader *header, const void *payload)
{
    on_send(opaque, session, header, payload);
}

static void on_channel_stop(void *opaque, uint64_t worker, uint64_t channel, UNUSED uint32_t reason)
{
    struct sim *sim = opaque;

    trace(sim, "let-go", worker, channel, 0);
    sim_channel_stop(sim, worker, channel);
}

static void on_channel_free(UNUSED void *opaque, UNUSED uint64_t channel)
{
}

static void on_turn_yield(void *opaque, uint64_t handle, uint64_t yield_ns)
{
    struct sim *sim = opaque;
    struct sim_worker *worker = sim_worker_find(sim, handle);

    if (worker) {
        worker->yield_ns = yield_ns;
    }
}

static void on_worker_turn(void *opaque, uint64_t worker, uint64_t job_id, uint64_t channel,
                           uint64_t budget_ns)
{
    struct sim *sim = opaque;

    trace(sim, "turn", worker, job_id, channel);
    sim_channel_turn(sim, worker, job_id, channel, budget_ns);
}

static void on_event(void *opaque, const struct core_event *event)
{
    struct sim *sim = opaque;
    struct sim_vm *vm =
        event->vm_id >= 1 && event->vm_id <= sim->vm_count ? &sim->vms[event->vm_id - 1] : NULL;

    trace(sim, core_event_name(event->kind), event->vm_id, event->code, event->value);
    switch (event->kind) {
    case CORE_EVENT_VM_PLACED:
        assert(vm);
        if (vm->gpu != SIM_NONE && vm->gpu != event->gpu) {
            sim_judge_moved(sim, vm);
        }
        vm->gpu = event->gpu;
        vm->gpus_seen |= 1u << event->gpu;
        sim_judge_shares(sim);
        sim_judge_anew(sim, vm);
        break;
    case CORE_EVENT_JOB_OVERRUN:
        assert(vm);
        vm->aside = true;
        vm->overruns++;
        sim_judge_shares(sim);
        sim->gpus[vm->gpu].asides++;
        sim->result->overruns++;
        break;
    case CORE_EVENT_JOB_TIMEOUT: sim->result->timeouts++; break;
    case CORE_EVENT_FAULT: sim_check_fault(sim, vm, event->code); break;
    case CORE_EVENT_QUARANTINED:
        assert(vm);
        vm->config.quarantined = true;
        vm->quarantined_ns = sim->now_ns;
        sim->result->quarantines++;
        break;
    case CORE_EVENT_UNQUARANTINED:
        assert(vm);
        vm->config.quarantined = false;
        break;
    default: break;
    }
}

void sim_effects_table(struct sim *sim, struct core_effects *effects)
{
    *effects = (struct core_effects){
        .opaque = sim,
        .send = on_send,
        .close_session = on_close_session,
        .worker_start = on_worker_start,
        .worker_run = on_worker_run,
        .worker_stop = on_worker_stop,
        .channel_start = on_channel_start,
        .channel_send = on_channel_send,
        .channel_stop = on_channel_stop,
        .channel_free = on_channel_free,
        .turn_yield = on_turn_yield,
        .worker_turn = on_worker_turn,
        .event = on_event,
    };
}
