/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Workers and GPUs.
 *
 * Each GPU follows a plan: who runs, until the job ends or the slice does.
 * Whatever may change the plan accounts for the time that passed
 * (sim_gpu_advance()), then makes a new one (plan()), and the event of the old
 * one is void by its serial.
 */
#include "sim/internal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define QUIT_NS NS_PER_MS           /* an idle worker is gone after QUIT */
#define REAP_NS (55 * NS_PER_MS)    /* a busy one after SIGKILL, as measured */
#define SHORT_JOB_NS 5000ull        /* NOP and other small things */
#define FAILING_JOB_NS 20000ull     /* CRASH and FAIL */
#define ENDLESS_NS (UINT64_MAX / 4) /* HANG */

#define STUBBORN_CHANCE 0.05

/* KILLED: by the core; SIGNALED: by what its job did, or by its driver. */
enum how { EXITED, SIGNALED, NOT_STARTED, KILLED, HOST_KILLED };

/* Position of the first worker whose handle is not below this one. */
static uint32_t position(const struct sim *sim, uint64_t handle)
{
    uint32_t lo = 0, hi = sim->worker_count;

    while (lo < hi) {
        uint32_t middle = (lo + hi) / 2;

        if (sim->workers[middle]->handle < handle) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return lo;
}

struct sim_worker *sim_worker_find(struct sim *sim, uint64_t handle)
{
    uint32_t at = position(sim, handle);

    return at < sim->worker_count && sim->workers[at]->handle == handle ? sim->workers[at] : NULL;
}

static void forget(struct sim *sim, struct sim_worker *worker)
{
    uint32_t at = position(sim, worker->handle);

    memmove(sim->workers + at, sim->workers + at + 1,
            (--sim->worker_count - at) * sizeof(sim->workers[0]));
    free(worker);
}

/* Handles begin anew with each core, so events carry its number as well. */
static uint64_t event_subject(const struct sim *sim, uint64_t handle)
{
    return handle | (uint64_t)sim->core_number << 48;
}

static void add_event(struct sim *sim, uint64_t time_ns, enum sim_event_kind kind, uint64_t handle,
                      uint64_t serial)
{
    sim_events_add(&sim->events, time_ns, kind, event_subject(sim, handle), serial);
}

void sim_worker_tell(struct sim *sim, const struct sim_worker *worker, uint64_t time_ns,
                     enum sim_event_kind kind, uint64_t serial)
{
    add_event(sim, time_ns, kind, worker->handle, serial);
}

static bool has_work(const struct sim *sim, const struct sim_worker *worker)
{
    return worker && worker->ready && !worker->dying && worker->queued > 0 &&
           worker->queue[0].arrives_ns <= sim->now_ns;
}

/* Whose turn it is by the driver's round robin: the next handle after `after`. */
static struct sim_worker *next_busy(struct sim *sim, uint32_t gpu, uint64_t after,
                                    uint32_t *busy_count)
{
    struct sim_worker *first = NULL, *next = NULL;

    *busy_count = 0;
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        struct sim_worker *worker = sim->workers[i];

        if (worker->gpu != gpu || !has_work(sim, worker)) {
            continue;
        }
        ++*busy_count;
        first = first ? first : worker;
        if (worker->handle > after && !next) {
            next = worker;
        }
    }
    return next ? next : first;
}

void sim_gpu_advance(struct sim *sim, uint32_t index)
{
    struct sim_gpu *gpu = &sim->gpus[index];
    struct sim_worker *worker = gpu->running ? sim_worker_find(sim, gpu->running) : NULL;
    uint64_t from_ns = gpu->advanced_ns;

    gpu->advanced_ns = sim->now_ns;
    if (!worker || worker->dying || worker->queued == 0) {
        return;
    }
    if (from_ns < gpu->ready_ns) {
        uint64_t until_ns = gpu->ready_ns < sim->now_ns ? gpu->ready_ns : sim->now_ns;

        gpu->switching_ns += until_ns - from_ns;
        from_ns = until_ns;
    }
    if (from_ns < sim->now_ns) {
        struct sim_job *job = &worker->queue[0];
        uint64_t ran_ns = sim->now_ns - from_ns;

        if (job->began_ns == 0) {
            job->began_ns = from_ns;
        }
        ran_ns = ran_ns < job->remaining_ns ? ran_ns : job->remaining_ns;
        job->remaining_ns -= ran_ns;
        job->used_ns += ran_ns;
        gpu->busy_ns += ran_ns;
        sim->vms[worker->vm].gpu_ns += ran_ns;
    }
}

static void leave(struct sim *sim, struct sim_worker *worker, enum how how, uint64_t after_ns)
{
    worker->dying = true;
    add_event(sim, sim->now_ns + after_ns, SIM_EVENT_WORKER_EXIT, worker->handle, how);
}

static void leave_if_done(struct sim *sim, struct sim_worker *worker)
{
    if (worker->quit && worker->ready && !worker->dying && !worker->stubborn &&
        worker->queued == 0 && worker->done_count == 0) {
        leave(sim, worker, EXITED, QUIT_NS);
    }
}

/* The running job has nothing left to do. */
static void end_job(struct sim *sim, struct sim_worker *worker)
{
    struct sim_job job = worker->queue[0];

    job.ended_ns = sim->now_ns;
    if (job.channel) {
        job.began_ns = job.began_ns ? job.began_ns : sim->now_ns; /* there was nothing to do */
        sim_channel_turn_ends(sim, worker, &job);
    }
    if (job.opcode == VGPU_OP_TEST_CRASH) {
        leave(sim, worker, SIGNALED, 0);
        return;
    }
    memmove(worker->queue, worker->queue + 1, --worker->queued * sizeof(worker->queue[0]));
    worker->done[worker->done_count++] = job;
    if (worker->queued > 0 && sim->vms[worker->vm].group->gap_ns > 0) {
        uint64_t from_ns =
            sim->now_ns +
            (uint64_t)rng_exponential(&sim->worker_rng, (double)sim->vms[worker->vm].group->gap_ns);

        if (worker->queue[0].arrives_ns < from_ns) {
            worker->queue[0].arrives_ns = from_ns;
            add_event(sim, from_ns, SIM_EVENT_WORKER_JOB, worker->handle, 0);
        }
    }
    add_event(sim, sim->now_ns + sim->config->link_ns, SIM_EVENT_WORKER_DONE, worker->handle, 0);
}

static void mark_overlapped(struct sim *sim, uint32_t gpu)
{
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        struct sim_worker *worker = sim->workers[i];

        if (worker->gpu == gpu && has_work(sim, worker)) {
            worker->queue[0].overlapped = true;
        }
    }
}

/* Nothing remains of the job at the head: a turn may go on with the next record. */
static bool goes_on(struct sim *sim, struct sim_worker *worker)
{
    struct sim_job *job = &worker->queue[0];

    if (!job->channel) {
        return false;
    }
    sim_channel_answer(sim, worker, job);
    return sim_channel_next(sim, worker, job);
}

/* Turns that have reached their workers take up their first records. */
static void begin_turns(struct sim *sim, uint32_t gpu)
{
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        struct sim_worker *worker = sim->workers[i];

        while (worker->gpu == gpu && has_work(sim, worker) && worker->queue[0].channel &&
               worker->queue[0].record == 0 && worker->queue[0].remaining_ns == 0 &&
               !goes_on(sim, worker)) {
            end_job(sim, worker);
        }
    }
}

static void plan(struct sim *sim, uint32_t index)
{
    struct sim_gpu *gpu = &sim->gpus[index];
    struct sim_worker *current = gpu->running ? sim_worker_find(sim, gpu->running) : NULL;
    struct sim_worker *next;
    uint32_t busy_count;
    uint64_t until_ns;

    while (current && has_work(sim, current) && current->queue[0].remaining_ns == 0 &&
           sim->now_ns >= gpu->ready_ns) {
        if (current->queue[0].began_ns == 0) {
            current->queue[0].began_ns = sim->now_ns;
        }
        if (!goes_on(sim, current)) {
            end_job(sim, current);
        }
    }
    begin_turns(sim, index);
    next = next_busy(sim, index, gpu->running, &busy_count);
    if (busy_count > 1) {
        mark_overlapped(sim, index);
    }
    if (has_work(sim, current) &&
        (busy_count == 1 || sim->now_ns < gpu->slice_end_ns || gpu->slice_end_ns == 0)) {
        next = current;
    }
    gpu->plan++;
    if (!next) {
        gpu->running = 0;
        return;
    }
    if (next != current || gpu->resident != next->handle) {
        gpu->ready_ns = sim->now_ns;
        if (gpu->resident != next->handle) {
            gpu->ready_ns += sim->config->switch_ns;
            gpu->switches++;
            sim_check_fluid(sim, index);
        }
        gpu->slice_end_ns = 0;
    }
    gpu->running = gpu->resident = next->handle;
    if (busy_count == 1) {
        gpu->slice_end_ns = 0;
    } else if (gpu->slice_end_ns == 0 || gpu->slice_end_ns <= sim->now_ns) {
        gpu->slice_end_ns =
            (gpu->ready_ns > sim->now_ns ? gpu->ready_ns : sim->now_ns) + sim->config->slice_ns;
    }
    until_ns =
        (gpu->ready_ns > sim->now_ns ? gpu->ready_ns : sim->now_ns) + next->queue[0].remaining_ns;
    if (gpu->slice_end_ns != 0 && gpu->slice_end_ns < until_ns) {
        until_ns = gpu->slice_end_ns;
    }
    sim_events_add(&sim->events, until_ns, SIM_EVENT_GPU, index, gpu->plan);
}

static void replan(struct sim *sim, uint32_t gpu)
{
    sim_gpu_advance(sim, gpu);
    plan(sim, gpu);
}

/* ---- what the core asks for ---- */

void sim_worker_start(struct sim *sim, const struct core_worker_spec *spec)
{
    struct sim_worker *worker = sim_allocate(1, sizeof(*worker));
    uint64_t took_ns =
        (uint64_t)((0.9 + 0.2 * rng_unit(&sim->worker_rng)) * (double)sim->config->worker_start_ns);

    worker->handle = spec->worker;
    worker->started_ns = worker->empty_at_ns = sim->now_ns;
    worker->vm = spec->vm_id - 1;
    worker->gpu = spec->gpu;
    if (sim->worker_count == SIM_WORKERS_MAX ||
        (sim->worker_count > 0 && sim->workers[sim->worker_count - 1]->handle >= spec->worker)) {
        sim_violation(sim, "worker %llu: too many, or a handle that was used before",
                      (unsigned long long)spec->worker);
        free(worker);
        return;
    }
    sim->workers[sim->worker_count++] = worker;
    sim->result->workers_started++;
    if (sim->config->fault_seed != 0 && rng_chance(&sim->worker_rng, 0.03)) {
        leave(sim, worker, NOT_STARTED, took_ns);
    } else {
        worker->stubborn =
            sim->config->fault_seed != 0 && rng_chance(&sim->worker_rng, STUBBORN_CHANCE);
        add_event(sim, sim->now_ns + took_ns, SIM_EVENT_WORKER_READY, worker->handle, 0);
    }
}

static uint64_t job_length_ns(const struct sim_job *job)
{
    switch (job->opcode) {
    case VGPU_OP_TEST_SPIN: return job->spin_us * NS_PER_US;
    case VGPU_OP_TEST_HANG: return ENDLESS_NS;
    case VGPU_OP_TEST_CRASH:
    case VGPU_OP_TEST_FAIL: return FAILING_JOB_NS;
    default: return SHORT_JOB_NS;
    }
}

/* All that it has been handed and has not done; no job outlives its time limit, or the run. */
static uint64_t work_ns(const struct sim *sim, const struct sim_worker *worker)
{
    uint64_t limit_ns = sim->config->core.job_timeout_ns, sum_ns = 0;

    if (limit_ns == 0) {
        limit_ns = sim->config->duration_ns;
    }
    for (uint32_t i = 0; i < worker->queued; i++) {
        uint64_t job_ns = worker->queue[i].remaining_ns;

        sum_ns += job_ns < limit_ns ? job_ns : limit_ns;
    }
    return sum_ns;
}

void sim_worker_take(struct sim *sim, struct sim_worker *worker, const struct sim_job *taken)
{
    struct sim_job job = *taken;

    job.asides = sim->gpus[worker->gpu].asides;
    job.overlapped = sim_check_aside(sim, worker->gpu);
    job.arrives_ns = sim->now_ns + sim->config->link_ns;
    if (sim->vms[worker->vm].group->slow_ns > 0) {
        job.arrives_ns += (uint64_t)rng_exponential(&sim->worker_rng,
                                                    (double)sim->vms[worker->vm].group->slow_ns);
    }
    if (job.arrives_ns < worker->free_ns) {
        job.arrives_ns = worker->free_ns;
    }
    worker->free_ns = job.arrives_ns;
    worker->queue[worker->queued++] = job;
    sim_judge_handed(sim, &sim->vms[worker->vm], work_ns(sim, worker));
    add_event(sim, job.arrives_ns, SIM_EVENT_WORKER_JOB, worker->handle, 0);
}

void sim_worker_run(struct sim *sim, uint64_t handle, uint64_t job_id,
                    const struct request_view *request)
{
    struct sim_worker *worker = sim_worker_find(sim, handle);
    struct sim_job job = {.id = job_id, .opcode = request->opcode};

    if (!worker || !worker->ready || worker->quit || worker->killed ||
        worker->queued + worker->done_count >= SIM_WORKER_JOBS) {
        sim_violation(sim, "job %llu is handed to worker %llu, which takes none",
                      (unsigned long long)job_id, (unsigned long long)handle);
        return;
    }
    if (!sim_check_dispatch(sim, worker, request)) {
        return;
    }
    if (request->param_count > 0) {
        memcpy(&job.spin_us, request->params, sizeof(job.spin_us));
    }
    job.remaining_ns = job_length_ns(&job);
    sim_worker_take(sim, worker, &job);
}

/* What its worker says that the job took. */
static uint64_t reported_ns(struct sim_vm *vm, uint64_t measured_ns)
{
    const struct sim_group *group = vm->group;

    if (++vm->lies % group->lie_every != 0) {
        return measured_ns;
    }
    if (group->lie_ns > 0) {
        return group->lie_ns;
    }
    if (group->lie_step == 1) {
        vm->lie_now = group->lie_factor;
    } else {
        vm->lie_now *= group->lie_step;
        if (group->lie_step < 1 ? vm->lie_now < group->lie_factor
                                : vm->lie_now > group->lie_factor) {
            vm->lie_now = 1; /* at its end: once more from the beginning */
        }
    }
    return (uint64_t)(vm->lie_now * (double)measured_ns);
}

/* The core gives up its jobs; what they used is final. */
static void settle_all(struct sim *sim, struct sim_worker *worker)
{
    for (uint32_t i = 0; i < worker->done_count; i++) {
        sim_check_settled(sim, worker, &worker->done[i], true);
    }
    for (uint32_t i = 0; i < worker->queued; i++) {
        sim_check_settled(sim, worker, &worker->queue[i], true);
    }
    worker->done_count = worker->queued = 0;
}

void sim_worker_stop(struct sim *sim, uint64_t handle, bool kill)
{
    struct sim_worker *worker = sim_worker_find(sim, handle);
    bool busy;

    if (!worker) {
        sim_violation(sim, "worker %llu is stopped, but it is gone", (unsigned long long)handle);
        return;
    }
    /* As the supervisor does: it kills when told to, and else waits for the worker. */
    if (!kill) {
        worker->quit = true;
        worker->quit_at_ns = sim->now_ns;
        leave_if_done(sim, worker);
        return;
    }
    sim_check_kill(sim, worker);
    if (worker->dying) {
        return;
    }
    worker->killed = true;
    busy = worker->queued > 0;
    sim_gpu_advance(sim, worker->gpu);
    /* Not settled: the core may hold jobs until the worker has gone. */
    leave(sim, worker, KILLED, busy ? REAP_NS : QUIT_NS);
    plan(sim, worker->gpu);
}

void sim_workers_settle(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        if (sim->workers[i]->dying) {
            settle_all(sim, sim->workers[i]); /* the core may have charged for it */
        }
        sim_check_running(sim, sim->workers[i]);
    }
}

void sim_workers_drop(struct sim *sim)
{
    while (sim->worker_count > 0) {
        forget(sim, sim->workers[sim->worker_count - 1]);
    }
    for (uint32_t gpu = 0; gpu < sim->config->gpus; gpu++) {
        sim->gpus[gpu].running = sim->gpus[gpu].resident = 0;
        sim->gpus[gpu].plan++;
    }
}

void sim_worker_host_kill(struct sim *sim, uint64_t choice)
{
    struct sim_worker *worker;

    if (sim->worker_count == 0) {
        return;
    }
    worker = sim->workers[choice % sim->worker_count];
    if (worker->dying) {
        return;
    }
    sim_gpu_advance(sim, worker->gpu);
    leave(sim, worker, HOST_KILLED, worker->queued > 0 ? REAP_NS : QUIT_NS);
    plan(sim, worker->gpu);
}

void sim_gpu_break(struct sim *sim, uint32_t gpu)
{
    sim_gpu_advance(sim, gpu);
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        struct sim_worker *worker = sim->workers[i];

        if (worker->gpu == gpu && !worker->dying) {
            leave(sim, worker, SIGNALED, 0);
        }
    }
    plan(sim, gpu);
}

/* ---- events ---- */

static void on_ready(struct sim *sim, struct sim_worker *worker)
{
    const vgpu_worker_ready ready = {
        .backend = VGPU_BACKEND_CUDA,
        .flags = sim->config->elapsed ? VGPU_WORKER_TIME_ELAPSED : 0,
        .compute_major = 9,
        .multiprocessors = 132,
        .gpu_uuid = "GPU-simulated",
        .name = "simulated",
    };

    if (worker->dying) {
        return;
    }
    worker->ready = true;
    worker->free_ns = sim->now_ns;
    if (!worker->quit) {
        core_worker_ready(sim->core, worker->handle, &ready, sim->now_ns);
    }
    sim_judge_shares(sim);
    leave_if_done(sim, worker);
}

static void on_done(struct sim *sim, struct sim_worker *worker)
{
    uint64_t handle = worker->handle;
    struct sim_job job;
    vgpu_worker_done done = {.status = VGPU_ERR_NONE};
    uint32_t result;

    if (worker->dying || worker->done_count == 0) {
        return;
    }
    job = worker->done[0];
    memmove(worker->done, worker->done + 1, --worker->done_count * sizeof(worker->done[0]));
    done.gpu_time_ns = reported_ns(
        &sim->vms[worker->vm], sim->config->elapsed ? job.ended_ns - job.began_ns : job.used_ns);
    done.started_ns = job.began_ns;
    done.finished_ns = job.ended_ns;
    result = job.spin_us;
    if (job.opcode == VGPU_OP_TEST_FAIL) {
        done.status = VGPU_ERR_CUDA_ERROR;
    } else if (job.opcode == VGPU_OP_TEST_SPIN) {
        done.result_count = 1;
    }
    sim_check_settled(sim, worker, &job, false);
    sim->vms[worker->vm].to_blame = done.status != VGPU_ERR_NONE;
    if (core_worker_done(sim->core, handle, job.id, &done, &result, sim->now_ns) < 0) {
        sim_violation(sim, "the core refuses the result of job %llu", (unsigned long long)job.id);
    }
    sim->vms[worker->vm].to_blame = false;
    worker = sim_worker_find(sim, handle);
    if (worker) {
        leave_if_done(sim, worker);
    }
}

static void on_exit_event(struct sim *sim, struct sim_worker *worker, enum how how)
{
    static const enum core_worker_end ends[] = {
        [EXITED] = CORE_WORKER_END_EXITED,      [SIGNALED] = CORE_WORKER_END_SIGNALED,
        [NOT_STARTED] = CORE_WORKER_END_EXITED, [KILLED] = CORE_WORKER_END_SIGNALED,
        [HOST_KILLED] = CORE_WORKER_END_HOST,
    };
    static const uint32_t details[] = {
        [EXITED] = VGPU_WORKER_EXIT_OK,
        [SIGNALED] = SIGSEGV,
        [NOT_STARTED] = VGPU_WORKER_EXIT_BACKEND,
        [KILLED] = SIGKILL,
        [HOST_KILLED] = SIGKILL,
    };
    uint64_t handle = worker->handle;
    struct sim_vm *vm = &sim->vms[worker->vm];
    uint32_t gpu = worker->gpu;

    sim_gpu_advance(sim, gpu);
    if (how == SIGNALED || how == KILLED || how == HOST_KILLED) {
        sim->result->workers_lost++;
    }
    sim_judge_shares(sim);
    vm->to_blame = how == SIGNALED;
    settle_all(sim, worker);
    forget(sim, worker);
    plan(sim, gpu);
    core_worker_exited(sim->core, handle, ends[how], details[how], sim->now_ns);
    vm->to_blame = false;
}

void sim_worker_event(struct sim *sim, const struct sim_event *event)
{
    struct sim_worker *worker;

    if (event->kind == SIM_EVENT_GPU) {
        if (sim->gpus[event->subject].plan == event->serial) {
            replan(sim, (uint32_t)event->subject);
        }
        return;
    }
    worker = sim_worker_find(sim, event->subject & ((1ull << 48) - 1));
    if (!worker || event->subject >> 48 != sim->core_number) {
        return; /* it died with its mediator */
    }
    switch (event->kind) {
    case SIM_EVENT_WORKER_READY: on_ready(sim, worker); break;
    case SIM_EVENT_WORKER_JOB: replan(sim, worker->gpu); break;
    case SIM_EVENT_WORKER_DONE: on_done(sim, worker); break;
    case SIM_EVENT_CHANNEL_OPENED:
    case SIM_EVENT_CHANNEL_CLOSED:
    case SIM_EVENT_CHANNEL_WANT: sim_channel_event(sim, worker, event); break;
    case SIM_EVENT_WORKER_EXIT: on_exit_event(sim, worker, (enum how)event->serial); break;
    default: break;
    }
}
