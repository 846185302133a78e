/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the GPU has done: fences, lanes that wait for them, payloads that are still read, and
 * how much work is in flight.
 *
 * A fence is an event without timing.  Looking at one costs a quarter of a microsecond, so only
 * the oldest payload, the oldest mark and the lanes that wait are looked at.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/ns.h"

#define EVENT_NO_TIMING 2u
/* Work that may be in flight at a time: as much as is expected to take so long. */
#define AHEAD_NS 400000u
#define UNITS_MIN 8u
#define UNITS_MIN_KNOWN 2u
#define UNITS_MAX 512u
#define UNITS_PER_MARK 128u
#define UNITS_PER_MARK_LIMITED 8u /* where kernels have a limit, see driver_late.c */
/* Nothing has ended for so long: units may wait for each other, so more are let through. */
#define OVERRUN_NS (100 * (uint64_t)NS_PER_MS)

CUresult driver_enter(struct driver_channel *channel, struct driver_context *context)
{
    CUresult result = CUDA_SUCCESS;

    if (context && context != channel->current) {
        result = channel->api->cuCtxSetCurrent(context->real);
        channel->current = result == CUDA_SUCCESS ? context : NULL;
    }
    return result;
}

static struct driver_fence *new_fence(struct driver_channel *channel,
                                      struct driver_context *context, CUresult *result)
{
    struct driver_fence *fence;

    *result = driver_enter(channel, context);
    if (*result != CUDA_SUCCESS) {
        return NULL;
    }
    if (context->free_count > 0) {
        fence = context->free_fences[--context->free_count];
    } else {
        fence = calloc(1, sizeof(*fence));
        if (!fence) {
            *result = CUDA_ERROR_OUT_OF_MEMORY;
            return NULL;
        }
        fence->context = context;
        *result = channel->api->cuEventCreate(&fence->event, EVENT_NO_TIMING);
        if (*result != CUDA_SUCCESS) {
            free(fence);
            return NULL;
        }
    }
    fence->life = context->life;
    fence->users = 1;
    fence->done = fence->looks = false;
    fence->result = CUDA_SUCCESS;
    return fence;
}

struct driver_fence *driver_fence_stream(struct driver_channel *channel,
                                         struct driver_context *context, CUstream stream,
                                         CUresult *result)
{
    struct driver_fence *fence = new_fence(channel, context, result);

    if (fence) {
        *result = channel->api->cuEventRecord(fence->event, stream);
        if (*result != CUDA_SUCCESS) {
            driver_fence_drop(channel, fence);
            fence = NULL;
        }
    }
    return fence;
}

struct driver_fence *driver_fence_context(struct driver_channel *channel,
                                          struct driver_context *context, CUresult *result)
{
    struct driver_fence *fence = new_fence(channel, context, result);

    if (fence) {
        fence->work = context->work;
        fence->looks = context->captures > 0;
    }
    if (fence && !fence->looks) {
        *result = channel->api->cuCtxRecordEvent(context->real, fence->event);
        if (*result != CUDA_SUCCESS) {
            driver_fence_drop(channel, fence);
            fence = NULL;
        }
    }
    return fence;
}

static bool is_gone(const struct driver_fence *fence)
{
    return !fence->context->real || fence->context->life != fence->life;
}

bool driver_is_busy(const struct driver_context *context)
{
    return context->work != context->settled;
}

struct driver_context *driver_busy_context(struct driver_channel *channel)
{
    for (unsigned i = 1; i < CUDA_CONTEXTS_MAX; i++) {
        if (channel->contexts[i].real && driver_is_busy(&channel->contexts[i])) {
            return &channel->contexts[i];
        }
    }
    return NULL;
}

void driver_settle(const struct driver_fence *fence)
{
    if (!is_gone(fence) && fence->work > fence->context->settled) {
        fence->context->settled = fence->work;
    }
}

bool driver_fence_done(struct driver_channel *channel, struct driver_fence *fence)
{
    if (!fence->done && is_gone(fence)) {
        fence->done = true;
        fence->result = CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    if (!fence->done) {
        CUresult result = driver_enter(channel, fence->context);

        if (result == CUDA_SUCCESS) {
            result = fence->looks ? driver_streams_state(channel, fence->context)
                                  : channel->api->cuEventQuery(fence->event);
        }
        if (result != CUDA_ERROR_NOT_READY) {
            fence->done = true;
            fence->result = result;
            channel->last_work_ns = clock_now_ns();
            driver_note(channel, result);
        }
    }
    return fence->done;
}

void driver_fence_drop(struct driver_channel *channel, struct driver_fence *fence)
{
    struct driver_context *context = fence->context;

    if (--fence->users > 0) {
        return;
    }
    if (!is_gone(fence) && context->free_count < DRIVER_FENCES_FREE) {
        context->free_fences[context->free_count++] = fence;
        return;
    }
    if (!is_gone(fence)) {
        driver_enter(channel, context);
        channel->api->cuEventDestroy_v2(fence->event);
    }
    free(fence);
}

/* Of a context that was destroyed: its events went with it. */
void driver_fences_free(struct driver_channel *channel, struct driver_context *context)
{
    (void)channel;
    while (context->free_count > 0) {
        free(context->free_fences[--context->free_count]);
    }
}

static void drop_if_any(struct driver_channel *channel, struct driver_fence **fence)
{
    if (*fence) {
        driver_fence_drop(channel, *fence);
        *fence = NULL;
    }
}

void driver_fences_end(struct driver_channel *channel)
{
    drop_if_any(channel, &channel->held);
    drop_if_any(channel, &channel->turn_fence);
    driver_gates_end(channel);
    for (unsigned lane = 0; lane < channel->wait_high; lane++) {
        drop_if_any(channel, &channel->waits[lane].fence);
        channel->waits[lane].active = false;
    }
    for (; channel->retire_first != channel->retire_last; channel->retire_first++) {
        drop_if_any(channel, &channel->retire[channel->retire_first % DRIVER_RETIRE_MAX].fence);
    }
    for (; channel->mark_first != channel->mark_last; channel->mark_first++) {
        drop_if_any(channel, &channel->marks[channel->mark_first % DRIVER_MARKS_MAX].fence);
    }
    channel->wait_count = 0;
}

/* ---- payloads ---- */

void driver_retire_behind(struct driver_call *call, struct driver_fence *fence)
{
    struct driver_channel *channel = call->channel;
    unsigned place = channel->retire_last % DRIVER_RETIRE_MAX;

    fence->users++;
    channel->retire[place].number = channel->taken;
    channel->retire[place].fence = fence;
    channel->retire_last++;
}

static bool retire(struct driver_channel *channel)
{
    uint64_t number = channel->has_record ? channel->taken - 1 : channel->taken;
    bool did = false;

    while (channel->retire_first != channel->retire_last) {
        unsigned place = channel->retire_first % DRIVER_RETIRE_MAX;
        struct driver_fence *fence = channel->retire[place].fence;

        if (!driver_fence_done(channel, fence)) {
            number = channel->retire[place].number - 1;
            break;
        }
        driver_fence_drop(channel, fence);
        channel->retire_first++;
        did = true;
    }
    if (VGPU_LOAD_RELAXED(&channel->control->retired) != number) {
        VGPU_STORE_RELEASE(&channel->control->retired, number);
        channel->answered = channel->answered || did;
    }
    return did;
}

/* ---- lanes that wait ---- */

/* What a lane that waits for an event of its own gets; NOT_READY: nothing yet. */
static CUresult look_at_event(struct driver_channel *channel, uint64_t handle)
{
    uint32_t index = vgpu_handle_index(handle);
    struct driver_context *context;
    CUresult result;

    if (index >= channel->entry_room || channel->entries[index].handle != handle) {
        return CUDA_SUCCESS; /* destroyed meanwhile */
    }
    context = &channel->contexts[channel->entries[index].context];
    result = driver_enter(channel, context);
    result = result ? result : channel->api->cuEventQuery(channel->entries[index].real);
    if (result == CUDA_SUCCESS) {
        driver_output_flush(channel, context);
    }
    return result;
}

static bool look_at_lane(struct driver_channel *channel, unsigned lane)
{
    struct driver_wait *wait = &channel->waits[lane];
    CUresult result;

    if (wait->fence) {
        if (!driver_fence_done(channel, wait->fence)) {
            return false;
        }
        result = wait->fence->result;
        if (result == CUDA_SUCCESS) {
            driver_output_flush(channel, wait->fence->context);
        }
        driver_fence_drop(channel, wait->fence);
    } else {
        result = look_at_event(channel, wait->event);
        if (result == CUDA_ERROR_NOT_READY) {
            return false;
        }
        driver_note(channel, result);
    }
    wait->active = false;
    wait->fence = NULL;
    channel->wait_count--;
    retire(channel); /* what the lane may read from now on is over */
    driver_answer(channel, lane, wait->seq, driver_with_late(channel, lane, result), NULL, 0);
    return true;
}

/* ---- work in flight ---- */

/* How many units may be in flight, by what they took so far. */
static unsigned units_that_fit(const struct driver_channel *channel)
{
    uint64_t most = AHEAD_NS / channel->unit_ns;

    return most < UNITS_MIN_KNOWN ? UNITS_MIN_KNOWN : most > UNITS_MAX ? UNITS_MAX : (unsigned)most;
}

void driver_mark(struct driver_channel *channel, struct driver_context *context, CUstream stream)
{
    unsigned place = channel->mark_last % DRIVER_MARKS_MAX;
    CUresult result;

    if (!context->real || channel->mark_last - channel->mark_first == DRIVER_MARKS_MAX) {
        return;
    }
    channel->marks[place].fence = stream ? driver_fence_stream(channel, context, stream, &result)
                                         : driver_fence_context(channel, context, &result);
    if (channel->marks[place].fence) {
        channel->marks[place].units = channel->unmarked;
        channel->marks[place].at_ns = clock_now_ns();
        channel->mark_last++;
        channel->unmarked = 0;
    }
}

void driver_unit_submitted(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    bool limited = driver_kernel_limit_ns(channel) != 0;
    unsigned most = limited ? UNITS_PER_MARK_LIMITED : UNITS_PER_MARK;
    unsigned fits = channel->units_fit ? channel->units_fit : UNITS_MIN;
    unsigned each = fits / 4 > most ? most : fits < 8 ? 1 : fits / 4;

    channel->in_flight++;
    channel->unmarked++;
    channel->unit_context = call->context;
    DRIVER_COUNT(channel, units);
    channel->last_work_ns = 0;
    if (channel->unmarked >= each) {
        /* One stream's mark is cheaper than the context's, and enough to see how fast work goes;
         * but behind it another stream's unit may run for ever. */
        driver_mark(channel, call->context, limited ? NULL : call->stream);
    }
}

bool driver_unit_fits(const struct driver_channel *channel)
{
    unsigned most = channel->units_fit ? channel->units_fit : UNITS_MIN;

    if (channel->in_flight < most || channel->mark_first == channel->mark_last) {
        return true;
    }
    return channel->in_flight < UNITS_MAX &&
           clock_now_ns() - channel->marks[channel->mark_first % DRIVER_MARKS_MAX].at_ns >
               OVERRUN_NS;
}

static bool look_at_marks(struct driver_channel *channel)
{
    bool did = false;

    while (channel->mark_first != channel->mark_last) {
        unsigned place = channel->mark_first % DRIVER_MARKS_MAX;
        uint64_t now_ns, from_ns, each_ns;

        if (!driver_fence_done(channel, channel->marks[place].fence)) {
            break;
        }
        now_ns = clock_now_ns();
        from_ns = channel->marks[place].at_ns > channel->mark_done_ns ? channel->marks[place].at_ns
                                                                      : channel->mark_done_ns;
        each_ns = (now_ns - from_ns) / channel->marks[place].units;
        channel->unit_ns =
            channel->unit_ns ? channel->unit_ns - channel->unit_ns / 8 + each_ns / 8 : each_ns + 1;
        channel->unit_ns += channel->unit_ns == 0;
        channel->units_fit = units_that_fit(channel);
        channel->mark_done_ns = now_ns;
        channel->in_flight -= channel->marks[place].units;
        driver_fence_drop(channel, channel->marks[place].fence);
        channel->mark_first++;
        did = true;
    }
    return did;
}

bool driver_look(struct driver_channel *channel)
{
    bool did = retire(channel);

    for (unsigned lane = 0; channel->wait_count && lane < channel->wait_high; lane++) {
        if (channel->waits[lane].active) {
            did |= look_at_lane(channel, lane);
        }
    }
    if (channel->gate_count) {
        did |= driver_look_at_gates(channel);
    }
    return look_at_marks(channel) || did;
}
