/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The invariants.  Everything here is counted from what the simulated world
 * sees (frames, RUNs, GPU time), in books that share no code with the core.
 *
 *   replies     each request of a living session gets one answer, with its id
 *               and its result; jobs of a VM run in the order they came
 *   limits      waiting jobs, rate over any window, jobs handed to a worker,
 *               one VM in turn on a GPU besides those that run aside, and few guests there
 *   fairness    no VM is owed more than the published bound; lags sum up to 0
 *   accounts    GPU time charged is GPU time used
 *   workers     none is killed before its time is over, and faults are counted
 *               for what jobs did, not for what was done to them
 *   no idling   a GPU with waiting work works, but for announced anticipation
 *   no spinning after a tick the next deadline lies in the future
 */
#include "sim/internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define VIOLATIONS_SHOWN 20u
#define UNITS_PER_TOKEN ((int64_t)NS_PER_S)
#define ZERO_SUM_TOLERANCE_NS 1000
#define ROUNDING_NS 100 /* of a lag */

void sim_violation(struct sim *sim, const char *format, ...)
{
    va_list args;

    if (sim->result->violations++ >= VIOLATIONS_SHOWN || !sim->config->log) {
        return;
    }
    fprintf(sim->config->log, "vgpu-sim: violation at %.9f s (seed %llu): ",
            (double)(sim->now_ns - SIM_START_NS) / NS_PER_S, (unsigned long long)sim->config->seed);
    va_start(args, format);
    vfprintf(sim->config->log, format, args);
    va_end(args);
    fputc('\n', sim->config->log);
    if (sim->result->violations == VIOLATIONS_SHOWN) {
        fprintf(sim->config->log, "vgpu-sim: further violations are only counted\n");
    }
}

/* ---- limits ---- */

/* The bucket keeps its tokens when its limits change, also while there is none. */
void sim_check_rate_init(struct sim *sim, struct sim_vm *vm, bool reconfigured)
{
    struct sim_rate_check *rate = &vm->rate;
    __int128 capacity, used = rate->due - (__int128)rate->rate_hz * sim->now_ns;

    if (!reconfigured) {
        rate->left = INT64_MAX;
    } else if (rate->rate_hz != 0) {
        rate->left = (__int128)rate->burst * UNITS_PER_TOKEN - (used > 0 ? used : 0);
    }
    rate->rate_hz = vm->config.max_jobs_per_sec;
    rate->burst = vm->config.burst ? vm->config.burst : rate->rate_hz / 10;
    rate->burst = rate->burst ? rate->burst : 1;
    if (rate->rate_hz != 0) {
        capacity = (__int128)rate->burst * UNITS_PER_TOKEN;
        rate->left = rate->left < capacity ? rate->left : capacity;
        rate->due = (__int128)rate->rate_hz * sim->now_ns + capacity - rate->left;
    }
}

static bool rate_allows(const struct sim *sim, const struct sim_vm *vm)
{
    const struct sim_rate_check *rate = &vm->rate;

    return rate->rate_hz == 0 || rate->due - (__int128)rate->rate_hz * sim->now_ns <=
                                     (__int128)(rate->burst - 1) * UNITS_PER_TOKEN;
}

void sim_check_accepted(struct sim *sim, struct sim_vm *vm)
{
    struct sim_rate_check *rate = &vm->rate;
    uint32_t limit = vm->config.max_queue_depth ? vm->config.max_queue_depth : CORE_VM_JOBS_MAX;

    if (vm->requests.waiting > limit) {
        sim_violation(sim, "VM %u has %u jobs waiting, its limit is %u", vm->vm_id,
                      vm->requests.waiting, limit);
    }
    if (rate->rate_hz != 0) {
        __int128 clock = (__int128)rate->rate_hz * sim->now_ns;

        if (!rate_allows(sim, vm)) {
            sim_violation(sim, "VM %u exceeds its rate of %u jobs/s, burst %llu", vm->vm_id,
                          rate->rate_hz, (unsigned long long)rate->burst);
        }
        rate->due = (rate->due > clock ? rate->due : clock) + UNITS_PER_TOKEN;
    }
}

/* Beside a job aside so many VMs may have a job each in flight beside the one whose turn it is. */
#define GUESTS_MAX 4u

static void check_turn(struct sim *sim, const struct sim_worker *worker)
{
    const struct sim_vm *vm = &sim->vms[worker->vm];
    bool beside = sim_check_aside(sim, worker->gpu);
    uint32_t singles = 0, turns = 0;

    for (uint32_t i = 0; i < sim->worker_count; i++) {
        const struct sim_worker *other = sim->workers[i];
        uint32_t allowed;

        if (other == worker || other->gpu != worker->gpu || other->outstanding == 0 ||
            other->killed || sim->vms[other->vm].aside || vm->aside) {
            continue;
        }
        beside = beside || (other->queued > 0 && other->queue[0].overlapped);
        if (beside && other->outstanding > 1 && worker->outstanding == 0 && turns++ == 0) {
            continue; /* its turn, and this one is a guest */
        }
        /* One other VM may have the last job of its turn in flight. */
        allowed = (sim->config->core.scheduler.handover_ns > 0) + (beside ? GUESTS_MAX : 0);
        if (++singles > allowed || other->outstanding > 1) {
            sim_violation(sim, "VM %u gets GPU %u while VM %u has it", vm->vm_id, worker->gpu,
                          other->vm + 1);
        }
    }
}

/* The worker is handed a job, or a turn. */
static void check_given(struct sim *sim, struct sim_worker *worker)
{
    struct sim_vm *vm = &sim->vms[worker->vm];

    if (!sim->gpus[worker->gpu].available || sim->paused) {
        sim_violation(sim, "VM %u runs a job on GPU %u, which is %s", vm->vm_id, worker->gpu,
                      sim->paused ? "paused" : "not available");
    }
    if (worker->outstanding >= wfq_in_flight_max(&sim->config->core.scheduler)) {
        sim_violation(sim, "VM %u has %u jobs in its worker already", vm->vm_id,
                      worker->outstanding);
    }
    check_turn(sim, worker);
    if (worker->outstanding++ == 0) {
        worker->head_since_ns = sim->now_ns;
    }
    vm->ever_dispatched = true;
    sim->result->dispatches += !sim->draining;
}

void sim_check_record(struct sim *sim, struct sim_vm *vm, struct sim_request *record)
{
    record->dispatched = true;
    vm->requests.waiting--;
    vm->starved = vm->starved || (vm->requests.waiting == 0 && !sim->draining);
    if (!sim->draining) {
        histogram_add(&vm->wait, sim->now_ns - record->sent_ns);
        vm->wait_sum_ns += sim->now_ns - record->sent_ns;
    }
}

struct sim_request *sim_check_dispatch(struct sim *sim, struct sim_worker *worker,
                                       const struct request_view *request)
{
    struct sim_vm *vm = &sim->vms[worker->vm];
    struct sim_request *ours;
    uint32_t spin_us = 0;

    TAILQ_FOREACH (ours, &vm->requests.all, link) {
        if (!ours->dispatched) {
            break;
        }
    }
    if (!ours) {
        sim_violation(sim, "VM %u runs a job that it does not have waiting", vm->vm_id);
        return NULL;
    }
    if (request->param_count > 0) {
        memcpy(&spin_us, request->params, sizeof(spin_us));
    }
    if (request->opcode != ours->opcode ||
        (ours->opcode == VGPU_OP_TEST_SPIN && spin_us != ours->spin_us)) {
        sim_violation(sim, "VM %u: not its oldest request, or not as it was sent", vm->vm_id);
    }
    check_given(sim, worker);
    sim_check_record(sim, vm, ours);
    return ours;
}

bool sim_check_turn(struct sim *sim, struct sim_worker *worker)
{
    if (!worker->ready || worker->quit || worker->killed ||
        worker->queued + worker->done_count >= SIM_WORKER_JOBS) {
        sim_violation(sim, "a turn is given to VM %u's worker, which takes none", worker->vm + 1);
        return false;
    }
    check_given(sim, worker);
    return true;
}

/* ---- replies ---- */

struct sim_request *sim_check_reply(struct sim *sim, struct sim_vm *vm,
                                    const VGPUSocketHeader *header, const void *payload)
{
    struct sim_request *request;
    VGPUResponse response;
    uint32_t word = 0;

    TAILQ_FOREACH (request, &vm->requests.all, link) {
        if (request->id == header->request_id) {
            break;
        }
    }
    if (!request || header->payload_len < sizeof(response)) {
        sim_violation(sim, "VM %u gets a reply to request %u, which it does not wait for",
                      vm->vm_id, header->request_id);
        return NULL;
    }
    TAILQ_REMOVE(&vm->requests.all, request, link);
    vm->requests.count--;
    vm->requests.waiting -= !request->dispatched;

    memcpy(&response, payload, sizeof(response));
    if (response.result_count > 0 && header->payload_len >= sizeof(response) + sizeof(word)) {
        memcpy(&word, (const uint8_t *)payload + sizeof(response), sizeof(word));
    }
    if (response.status == VGPU_ERR_NONE &&
        (!request->dispatched ||
         (request->opcode == VGPU_OP_TEST_SPIN && word != request->spin_us))) {
        sim_violation(sim, "VM %u: request %u gets the result of another one", vm->vm_id,
                      request->id);
    }
    if ((header->msg_type == VGPU_MSG_BUSY) != vgpu_error_is_retryable(response.status) ||
        (header->msg_type == VGPU_MSG_QUARANTINED) !=
            (response.status == VGPU_ERR_VM_QUARANTINED)) {
        sim_violation(sim, "VM %u: status %u in a message of type %u", vm->vm_id, response.status,
                      header->msg_type);
    }
    if (response.status == VGPU_ERR_RATE_LIMITED && rate_allows(sim, vm)) {
        sim_violation(sim, "VM %u is refused for its rate, which allows it", vm->vm_id);
    }
    return request;
}

/* ---- accounts ---- */

bool sim_check_aside(const struct sim *sim, uint32_t gpu)
{
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        if (sim->workers[i]->gpu == gpu && sim->vms[sim->workers[i]->vm].aside) {
            return true;
        }
    }
    return false;
}

void sim_check_running(struct sim *sim, const struct sim_worker *worker)
{
    struct sim_vm *vm = &sim->vms[worker->vm];
    uint64_t wall_ns = sim->now_ns - worker->head_since_ns;

    if (worker->outstanding > 0 && wall_ns > vm->longest_job_ns) {
        vm->longest_job_ns = wall_ns;
    }
}

void sim_check_settled(struct sim *sim, struct sim_worker *worker, const struct sim_job *job,
                       bool failed)
{
    struct sim_vm *vm = &sim->vms[worker->vm];
    uint64_t wall_ns = sim->now_ns - worker->head_since_ns;
    uint64_t slices_ns = 2 * (sim->config->slice_ns + sim->config->switch_ns);
    bool overlapped = job->overlapped || job->asides != sim->gpus[worker->gpu].asides;

    if (worker->outstanding == 0) {
        sim_violation(sim, "VM %u: job %llu ends twice", vm->vm_id, (unsigned long long)job->id);
        return;
    }
    vm->settled_ns += (int64_t)job->used_ns;
    vm->held_ns += wall_ns > job->used_ns ? (int64_t)(wall_ns - job->used_ns) : 0;
    if (failed) {
        vm->tolerance_ns += (int64_t)(wall_ns + slices_ns);
    } else if (overlapped && sim->config->elapsed) {
        vm->tolerance_ns += (int64_t)((job->ended_ns - job->began_ns) / 2 + slices_ns);
    }
    /* A lie, or a late start, is held to the time since it was handed out. */
    if (wall_ns > vm->longest_job_ns &&
        (failed || overlapped || vm->group->slow_ns + vm->group->gap_ns > 0 ||
         sim_group_lies(vm->group))) {
        vm->longest_job_ns = wall_ns;
    }
    if (job->used_ns > vm->longest_job_ns) {
        vm->longest_job_ns = job->used_ns;
    }
    if (vm->group->slow_ns + vm->group->gap_ns > 0) {
        sim_judge_length(sim, vm, wall_ns);
    }
    worker->head_since_ns = sim->now_ns;
    if (--worker->outstanding == 0) {
        vm->aside = false;
        sim_judge_shares(sim);
        worker->empty_at_ns = sim->now_ns;
    }
}

/* ---- workers ---- */

static bool is_over(const struct sim *sim, uint64_t since_ns, uint64_t allowed_ns)
{
    return sim->now_ns >= since_ns && sim->now_ns - since_ns >= allowed_ns;
}

static bool job_timed_out(const struct sim *sim, const struct sim_worker *worker)
{
    uint64_t timeout_ns = sim->config->core.job_timeout_ns;

    return worker->outstanding > 0 && timeout_ns != 0 &&
           is_over(sim, worker->head_since_ns, timeout_ns);
}

static bool quit_is_over(const struct sim *sim, const struct sim_worker *worker)
{
    uint64_t since_ns =
        worker->empty_at_ns > worker->quit_at_ns ? worker->empty_at_ns : worker->quit_at_ns;

    return worker->quit && worker->outstanding == 0 && is_over(sim, since_ns, CORE_STOP_GRACE_NS);
}

/* With an overrun of 0, or without QUIT, what runs has its own time limit alone. */
static bool quarantine_is_over(const struct sim *sim, const struct sim_worker *worker)
{
    const struct sim_vm *vm = &sim->vms[worker->vm];
    uint64_t overrun_ns = sim->config->core.overrun_ns;

    return worker->quit && vm->config.quarantined && overrun_ns != 0 &&
           is_over(sim, vm->quarantined_ns, overrun_ns);
}

void sim_check_kill(struct sim *sim, const struct sim_worker *worker)
{
    bool start_is_over = !worker->ready && is_over(sim, worker->started_ns,
                                                   sim->config->core.worker_start_timeout_ns);

    if (!job_timed_out(sim, worker) && !quit_is_over(sim, worker) &&
        !quarantine_is_over(sim, worker) && !start_is_over) {
        sim_violation(sim, "VM %u: its worker is killed, but nobody's time was over",
                      worker->vm + 1);
    }
}

void sim_check_fault(struct sim *sim, const struct sim_vm *vm, uint32_t code)
{
    bool blame = vm->to_blame;

    for (uint32_t i = 0; !blame && i < sim->worker_count; i++) {
        blame = &sim->vms[sim->workers[i]->vm] == vm && code == VGPU_ERR_TIMEOUT &&
                job_timed_out(sim, sim->workers[i]);
    }
    if (!blame) {
        sim_violation(sim, "VM %u: a fault (%u) is counted that it did not cause", vm->vm_id, code);
    }
}

bool sim_check_shares_promised(const struct sim *sim)
{
    return (sim->policy == WFQ_POLICY_WFQ || sim->policy == WFQ_POLICY_WF2Q) &&
           !sim->policy_changed;
}

/* Sum over the others on its GPU of what each may be ahead. */
static uint64_t lag_bound_ns(const struct sim *sim, const struct sim_vm *vm)
{
    const struct wfq_config *config = &sim->config->core.scheduler;
    uint64_t bound_ns = 0;

    for (uint32_t i = 0; i < sim->vm_count; i++) {
        const struct sim_vm *other = &sim->vms[i];

        if (other != vm && (other->gpus_seen & vm->gpus_seen) != 0 && other->ever_dispatched) {
            uint64_t jobs_ns = config->depth * other->longest_job_ns;

            jobs_ns = jobs_ns > other->handed_ns ? jobs_ns : other->handed_ns;
            bound_ns += config->quantum_ns + config->ahead_ns + jobs_ns;
        }
    }
    return bound_ns;
}

static void look_at_lag(struct sim *sim, struct sim_vm *vm)
{
    uint32_t slot = core_vm_find(sim->core, vm->vm_id);
    struct core_vm_stats stats;
    uint64_t bound_ns;

    if (slot == CORE_NONE || !core_vm_stats(sim->core, slot, sim->now_ns, &stats) ||
        stats.gpu == CORE_NONE) {
        return;
    }
    if (stats.scheduler.max_lag_ns > vm->max_lag_ns) {
        vm->max_lag_ns = stats.scheduler.max_lag_ns;
    }
    bound_ns = wfq_lag_bound_ns(core_gpu_scheduler(sim->core, stats.gpu), slot);
    if (sim_check_shares_promised(sim) &&
        stats.scheduler.lag_ns > (int64_t)bound_ns + ROUNDING_NS) {
        sim_violation(sim, "VM %u is owed %lld ns, the core says at most %llu", vm->vm_id,
                      (long long)stats.scheduler.lag_ns, (unsigned long long)bound_ns);
    }
}

void sim_check_core(struct sim *sim)
{
    for (uint32_t i = 0; sim->core && i < sim->vm_count; i++) {
        look_at_lag(sim, &sim->vms[i]);
    }
}

void sim_check_collect(struct sim *sim)
{
    sim_check_core(sim);
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        uint32_t slot = core_vm_find(sim->core, sim->vms[i].vm_id);
        struct core_vm_stats stats;

        if (slot != CORE_NONE && core_vm_stats(sim->core, slot, sim->now_ns, &stats)) {
            sim->vms[i].charged_ns += (int64_t)stats.gpu_time_ns;
        }
    }
}

/* All lags of a GPU together, but for debts, are 0 when nothing is in flight there. */
static void check_zero_sum(struct sim *sim, uint32_t gpu)
{
    const struct wfq *scheduler = core_gpu_scheduler(sim->core, gpu);
    int64_t sum_ns = 0;

    for (uint32_t i = 0; i < sim->vm_count; i++) {
        uint32_t slot = core_vm_find(sim->core, sim->vms[i].vm_id);
        struct wfq_vm_stats stats;

        if (slot != CORE_NONE && wfq_vm_attached(scheduler, slot)) {
            wfq_get_vm_stats(scheduler, slot, sim->now_ns, &stats);
            sum_ns += stats.lag_ns + stats.debt_ns;
        }
    }
    if (llabs(sum_ns) > ZERO_SUM_TOLERANCE_NS) {
        sim_violation(sim, "GPU %u: lags sum up to %lld ns, not 0", gpu, (long long)sum_ns);
    }
}

/* ---- the moment ---- */

/* One that is killed has lost its jobs. */
static bool gpu_has_holder(const struct sim *sim, uint32_t gpu)
{
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        const struct sim_worker *worker = sim->workers[i];

        if (worker->gpu == gpu && worker->outstanding > 0 && !worker->killed) {
            return true;
        }
    }
    return false;
}

static void check_idling(struct sim *sim, uint32_t index)
{
    struct sim_gpu *gpu = &sim->gpus[index];
    const struct wfq *scheduler = core_gpu_scheduler(sim->core, index);
    bool idle = gpu->available && !sim->paused && wfq_backlogged(scheduler) > 0 &&
                !gpu_has_holder(sim, index);

    if (idle && wfq_next_wakeup_ns(scheduler) == WFQ_NEVER) {
        sim_violation(sim, "GPU %u idles while %u VMs have work for it", index,
                      wfq_backlogged(scheduler));
    }
    if (gpu->idle_since_ns != 0) {
        gpu->idle_waiting_ns += sim->now_ns - gpu->idle_since_ns;
    }
    gpu->idle_since_ns = idle ? sim->now_ns : 0;
}

void sim_check_moment(struct sim *sim)
{
    for (uint32_t gpu = 0; sim->core && gpu < sim->config->gpus; gpu++) {
        const struct wfq *scheduler = core_gpu_scheduler(sim->core, gpu);

        check_idling(sim, gpu);
        if (wfq_in_flight(scheduler) == 0 && wfq_next_wakeup_ns(scheduler) == WFQ_NEVER &&
            (sim->moments++ & 63) == 0) {
            check_zero_sum(sim, gpu);
        }
    }
}

/* ---- the fluid system, from the GPU's real work ---- */

static bool fluid_begins(struct sim *sim, uint32_t gpu)
{
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        if (sim->vms[i].gpu == gpu && !sim->vms[i].ever_dispatched) {
            return false;
        }
    }
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        struct sim_vm *vm = &sim->vms[i];
        uint32_t slot = core_vm_find(sim->core, vm->vm_id);
        struct wfq_vm_stats stats;

        if (vm->gpu == gpu && slot != CORE_NONE) {
            wfq_get_vm_stats(core_gpu_scheduler(sim->core, gpu), slot, sim->now_ns, &stats);
            vm->fluid_base_ns = (int64_t)vm->gpu_ns + stats.lag_ns;
        }
    }
    sim->gpus[gpu].fluid_base_ns = sim->gpus[gpu].busy_ns;
    return true;
}

void sim_check_fluid(struct sim *sim, uint32_t index)
{
    struct sim_gpu *gpu = &sim->gpus[index];
    double shares = 0;

    if (!sim->core || sim->draining) {
        return;
    }
    if (!gpu->fluid_began) {
        gpu->fluid_began = fluid_begins(sim, index);
        return;
    }
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        const struct sim_vm *vm = &sim->vms[i];

        shares += vm->gpu == index ? wfq_share(vm->config.weight, vm->config.priority) : 0;
    }
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        struct sim_vm *vm = &sim->vms[i];
        double due_ns, lag_ns;

        if (vm->gpu != index) {
            continue;
        }
        due_ns = (double)(gpu->busy_ns - gpu->fluid_base_ns) *
                 wfq_share(vm->config.weight, vm->config.priority) / shares;
        lag_ns = due_ns - (double)((int64_t)vm->gpu_ns - vm->fluid_base_ns);
        if (lag_ns > (double)vm->fluid_lag_ns) {
            vm->fluid_lag_ns = (int64_t)lag_ns;
        }
    }
}

/* ---- the end ---- */

static void check_vm_end(struct sim *sim, struct sim_vm *vm)
{
    int64_t difference_ns = vm->charged_ns - vm->settled_ns;

    if (vm->requests.count > 0 && vm->session != SIM_NONE) {
        sim_violation(sim, "VM %u: %u requests were never answered (the oldest: id %u)", vm->vm_id,
                      vm->requests.count, TAILQ_FIRST(&vm->requests.all)->id);
    }
    vm->lag_bound_ns = lag_bound_ns(sim, vm);
    if (sim_check_shares_promised(sim) && vm->max_lag_ns > (int64_t)vm->lag_bound_ns) {
        sim_violation(sim, "VM %u was owed %lld ns, the bound is %llu", vm->vm_id,
                      (long long)vm->max_lag_ns, (unsigned long long)vm->lag_bound_ns);
    }
    /* A slow worker is charged for the time that it held the GPU. */
    if (!sim_group_lies(vm->group) &&
        (difference_ns < -vm->tolerance_ns || difference_ns > vm->tolerance_ns + vm->held_ns)) {
        sim_violation(sim, "VM %u used %lld ns of GPU time and was charged %lld", vm->vm_id,
                      (long long)vm->settled_ns, (long long)vm->charged_ns);
    }
}

void sim_check_end(struct sim *sim)
{
    if (sim->core) {
        sim_check_collect(sim);
    }
    for (uint32_t i = 0; i < sim->vm_count; i++) {
        check_vm_end(sim, &sim->vms[i]);
    }
}
