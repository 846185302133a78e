/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/executor_internal.h"

#include <assert.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/request.h"

/* The head's answer goes out and its slot is free. */
int executor_send_done(struct executor *e)
{
    struct slot *slot = &e->slots[e->head];
    struct backend_result *result = &slot->result;
    size_t body_bytes = (size_t)result->result_count * 4 + result->data_length;
    bool adopt;
    vgpu_worker_done done = {
        .status = result->status,
        .result_count = result->result_count,
        .data_length = result->data_length,
        .gpu_time_ns = result->gpu_time_ns,
        .started_ns = e->head_since_ns,
        .finished_ns = clock_now_ns(),
    };

    assert(body_bytes <= sizeof(result->body));
    adopt = slot->adopt;
    slot->adopt = false;
    e->head = (e->head + 1) % e->config->depth;
    e->count--;
    if (e->count > 0) {
        uint64_t taken_ns = e->slots[e->head].taken_ns;

        e->head_since_ns = taken_ns > done.finished_ns ? taken_ns : done.finished_ns;
    } else {
        e->idle_since_ns = done.finished_ns;
    }
    if (adopt) {
        return executor_adopted(e, slot->job_id);
    }
    return executor_send(e, VGPU_WORKER_DONE, slot->job_id, &done, sizeof(done), result->body,
                         body_bytes);
}

static void answer_device_info(const struct executor *e, struct backend_result *result)
{
    size_t name_bytes = strnlen(e->ready.name, sizeof(e->ready.name));

    result->body[VGPU_INFO_BACKEND] = e->ready.backend;
    result->body[VGPU_INFO_COMPUTE_MAJOR] = e->ready.compute_major;
    result->body[VGPU_INFO_COMPUTE_MINOR] = e->ready.compute_minor;
    result->body[VGPU_INFO_MULTIPROCESSORS] = e->ready.multiprocessors;
    result->body[VGPU_INFO_MEMORY_MIB] = (uint32_t)(e->ready.memory_bytes >> 20);
    result->result_count = VGPU_INFO_COUNT;
    memcpy(&result->body[VGPU_INFO_COUNT], e->ready.name, name_bytes);
    result->data_length = (uint32_t)name_bytes;
}

enum backend_state executor_answer(struct executor *e, unsigned index,
                                   const struct backend_job *job, struct backend_result *result)
{
    result->status =
        request_check_op(job->opcode, job->param_count, job->data_length, e->config->test_ops);
    result->result_count = 0;
    result->data_length = 0;
    result->gpu_time_ns = 0;
    if (result->status == VGPU_ERR_NONE && job->opcode == VGPU_OP_TEST_SPIN &&
        job->params[0] > VGPU_TEST_SPIN_MAX_US) {
        result->status = VGPU_ERR_INVALID_REQUEST;
    }
    if (result->status != VGPU_ERR_NONE) {
        return BACKEND_DONE;
    }
    /* What needs no GPU doesn't wait for one, except for its turn in the ring. */
    switch (job->opcode) {
    case VGPU_OP_NOP: return BACKEND_DONE;
    case VGPU_OP_GET_DEVICE_INFO: answer_device_info(e, result); return BACKEND_DONE;
    case VGPU_OP_TEST_FAIL: result->status = VGPU_ERR_CUDA_ERROR; return BACKEND_DONE;
    default: return e->config->ops->submit(e->config->backend, index, job, result);
    }
}

/* Checks a RUN frame and starts its job in the next slot. */
enum take executor_take_job(struct executor *e, size_t length, uint64_t job_id)
{
    unsigned index = (e->head + e->count) % e->config->depth;
    struct slot *slot = &e->slots[index];
    const size_t fixed_bytes = sizeof(vgpu_worker_header) + sizeof(vgpu_worker_run);
    vgpu_worker_run run;
    struct backend_job job;

    if (length < fixed_bytes) {
        return executor_malformed("RUN is too short", length);
    }
    memcpy(&run, e->frame + sizeof(vgpu_worker_header), sizeof(run));
    if (run.pad != 0 || run.param_count > VGPU_PARAMS_MAX ||
        run.data_length > VGPU_REQUEST_BODY_BYTES ||
        length != fixed_bytes + run.param_count * 4 + run.data_length) {
        return executor_malformed("RUN's counts do not match its length", length);
    }
    job.opcode = run.opcode;
    job.param_count = run.param_count;
    job.data_length = run.data_length;
    job.params = (const uint32_t *)(e->frame + fixed_bytes);
    job.data = e->frame + fixed_bytes + run.param_count * 4;
    job.untimed = false;

    slot->job_id = job_id;
    slot->opcode = run.opcode;
    slot->taken_ns = clock_now_ns();
    if (e->count == 0) {
        e->head_since_ns = slot->taken_ns;
    }
    e->count++;
    slot->state = executor_answer(e, index, &job, &slot->result);
    e->lost = e->lost || slot->state == BACKEND_LOST;
    return TAKE_JOB;
}

/* The next slot, for what is no job and has no result. */
static struct slot *take_slot(struct executor *e, uint64_t job_id, enum backend_state state)
{
    struct slot *slot = &e->slots[(e->head + e->count) % e->config->depth];

    slot->job_id = job_id;
    slot->opcode = VGPU_OP_NOP; /* for the forecast, which has nothing to say about it */
    slot->taken_ns = clock_now_ns();
    slot->state = state;
    slot->own_thread = false;
    slot->result.status = VGPU_ERR_NONE;
    slot->result.result_count = 0;
    slot->result.data_length = 0;
    slot->result.gpu_time_ns = 0;
    if (e->count == 0) {
        e->head_since_ns = slot->taken_ns;
    }
    e->count++;
    return slot;
}

enum take executor_take_turn(struct executor *e, size_t length, uint64_t job_id)
{
    struct slot *slot;
    vgpu_worker_turn turn;

    if (length != sizeof(vgpu_worker_header) + sizeof(turn)) {
        return executor_malformed("TURN has the wrong length", length);
    }
    memcpy(&turn, e->frame + sizeof(vgpu_worker_header), sizeof(turn));
    slot = take_slot(e, job_id, BACKEND_RUNNING);
    slot->channel = turn.channel;
    slot->budget_ns = turn.budget_ns;
    return TAKE_JOB;
}

/* In its turn: what is under way for the mediator before is done first. */
enum take executor_take_adopt(struct executor *e, size_t length, uint64_t number)
{
    if (length != sizeof(vgpu_worker_header)) {
        return executor_malformed("ADOPT is too long", length);
    }
    take_slot(e, number, BACKEND_DONE)->adopt = true;
    return TAKE_JOB;
}
