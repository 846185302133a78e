/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host functions of a stream (cuLaunchHostFunc), which the process runs itself.
 *
 * The stream waits at a gate, a word of pinned memory.  When the GPU gets there the process hears
 * the function's number in a notice, runs the function, and opens the gate by writing the word.
 * The driver's own host functions would run in one thread for all programs of the worker.
 *
 * A notice and not an answer: a record that is held would hold back the question for it, while it
 * may itself wait for what is behind the gate.
 */
#include "worker/cuda/channel/driver_internal.h"

#define WAIT_GEQ 0u

bool driver_host_fits(const struct driver_channel *channel)
{
    return channel->gate_count < DRIVER_GATES_MAX;
}

static void open_gate(const struct driver_gate *gate)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): checked to lie in the window */
    __atomic_store_n((uint32_t *)(uintptr_t)gate->word, gate->value, __ATOMIC_RELEASE);
}

/* Arguments: stream, the word's address, the value that opens it, the function's number. */
CUresult driver_run_host_func(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    struct driver_gate gate = {
        .word = call->args[1], .value = (uint32_t)call->args[2], .number = call->args[3]};
    CUstream stream;
    CUresult result;

    if (call->arg_count < 4 || !driver_stream(call, call->args[0], &stream)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (driver_is_captured(call)) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    if (gate.word % sizeof(gate.value) != 0 ||
        !driver_pinned_ok(channel, gate.word, sizeof(gate.value))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    gate.before = driver_fence_stream(channel, call->stream_context, stream, &result);
    if (!gate.before) {
        return result;
    }
    result = call->api->cuStreamWaitValue32_v2(stream, gate.word, gate.value, WAIT_GEQ);
    if (result == CUDA_SUCCESS) {
        gate.behind = driver_fence_stream(channel, call->stream_context, stream, &result);
    }
    if (!gate.behind) {
        open_gate(&gate); /* if it is there */
        driver_fence_drop(channel, gate.before);
        return result;
    }
    call->stream_context->work++;
    channel->gates[channel->gate_count++] = gate;
    return CUDA_SUCCESS;
}

/* False: the process has not read enough notices yet. */
static bool tell(struct driver_channel *channel, uint64_t number)
{
    VGPUNotice notice = {.kind = VGPU_NOTICE_CALLBACK,
                         .bytes = (uint16_t)sizeof(notice),
                         .seq = channel->seq,
                         .value = number};

    if (vgpu_ring_room(&channel->notices, sizeof(notice)) != VGPU_RING_OK) {
        return false;
    }
    vgpu_ring_put(&channel->notices, &notice, sizeof(notice));
    if (vgpu_ring_publish(&channel->notices)) {
        channel->woken = true;
    }
    channel->answered = true; /* who sleeps there is woken */
    return true;
}

static void drop_fence(struct driver_channel *channel, struct driver_fence **fence)
{
    if (*fence) {
        driver_fence_drop(channel, *fence);
        *fence = NULL;
    }
}

bool driver_look_at_gates(struct driver_channel *channel)
{
    bool did = false;

    for (unsigned i = 0; i < channel->gate_count;) {
        struct driver_gate *gate = &channel->gates[i];

        if (gate->before && driver_fence_done(channel, gate->before) &&
            tell(channel, gate->number)) {
            drop_fence(channel, &gate->before);
            did = true;
        }
        if (gate->before || !driver_fence_done(channel, gate->behind)) {
            i++;
            continue;
        }
        drop_fence(channel, &gate->behind);
        *gate = channel->gates[--channel->gate_count];
        did = true;
    }
    return did;
}

/* Nobody else will: the process has gone. */
void driver_open_gates(struct driver_channel *channel)
{
    for (unsigned i = 0; i < channel->gate_count; i++) {
        open_gate(&channel->gates[i]);
    }
}

void driver_gates_end(struct driver_channel *channel)
{
    for (; channel->gate_count > 0; channel->gate_count--) {
        drop_fence(channel, &channel->gates[channel->gate_count - 1].before);
        drop_fence(channel, &channel->gates[channel->gate_count - 1].behind);
    }
}
