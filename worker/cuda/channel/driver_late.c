/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VM's limit for the time of a kernel (max_kernel_ms).
 *
 * A kernel can't be timed by itself without an event before and behind each.  What is seen are
 * marks: fences behind some units, over all of the context, so that none is done while a unit
 * before it runs.  If the oldest mark that is not done is behind n units, and they have had more
 * than n times the limit, one of them ran past it.  So a program that keeps to the limit is never
 * ended, whatever it has queued; and as a mark is behind eight units at most, and behind one where
 * a program waits for each or its kernels are long, one that does not is seen soon.
 *
 * The worker can't end a kernel.  It tells the mediator, which ends the worker.
 */
#include "worker/cuda/channel/driver_internal.h"

#include "common/clock.h"
#include "common/log.h"

/* Units behind which no mark stands get one when this part of the limit has gone by. */
#define PATIENCE_PART 16u
#define TELL_AGAIN_NS ((uint64_t)NS_PER_S)

uint64_t driver_kernel_limit_ns(const struct driver_channel *channel)
{
    return __atomic_load_n(&channel->set->kernel_limit_ns, __ATOMIC_RELAXED);
}

/* False: nothing is known to run now, or it waits for the program itself. */
static bool is_at_work(const struct driver_channel *channel)
{
    for (unsigned i = 0; i < channel->gate_count; i++) {
        if (!channel->gates[i].before) {
            return false; /* the GPU has come to a host function, which is under way */
        }
    }
    return channel->in_flight > 0;
}

/* A mark behind units that have none: others come only with more units. */
static void mark_rest(struct driver_channel *channel, uint64_t limit_ns, uint64_t now_ns)
{
    if (channel->unmarked == 0 || channel->mark_first != channel->mark_last) {
        channel->unmarked_since_ns = 0;
    } else if (channel->unmarked_since_ns == 0) {
        channel->unmarked_since_ns = now_ns;
    } else if (now_ns - channel->unmarked_since_ns > limit_ns / PATIENCE_PART) {
        channel->unmarked_since_ns = 0;
        driver_mark(channel, channel->unit_context, NULL);
    }
}

void driver_look_for_late(struct driver_channel *channel)
{
    uint64_t limit_ns = driver_kernel_limit_ns(channel), now_ns, from_ns, ran_ns;
    unsigned first = channel->mark_first % DRIVER_MARKS_MAX;

    if (limit_ns == 0 || channel->in_flight == 0) {
        return;
    }
    now_ns = clock_now_ns();
    if (!is_at_work(channel)) {
        channel->waited_until_ns = now_ns;
        return;
    }
    mark_rest(channel, limit_ns, now_ns);
    if (channel->mark_first == channel->mark_last) {
        return;
    }
    from_ns = channel->marks[first].at_ns;
    from_ns = channel->mark_done_ns > from_ns ? channel->mark_done_ns : from_ns;
    from_ns = channel->waited_until_ns > from_ns ? channel->waited_until_ns : from_ns;
    ran_ns = now_ns > from_ns ? now_ns - from_ns : 0;
    if (ran_ns / channel->marks[first].units > limit_ns &&
        now_ns - channel->late_told_ns >= TELL_AGAIN_NS) {
        uint64_t handle = __atomic_load_n(&channel->handle, __ATOMIC_ACQUIRE);

        channel->late_told_ns = now_ns;
        if (handle != 0) { /* else the next mediator is told, when it knows it */
            log_warning("a program's kernel ran for %llu ms, past its VM's limit of %llu ms",
                        (unsigned long long)(ran_ns / NS_PER_MS),
                        (unsigned long long)(limit_ns / NS_PER_MS));
            channel->set->uses.tell(channel->set->uses.opaque, VGPU_WORKER_LATE, handle,
                                    (uint32_t)(ran_ns / NS_PER_MS));
        }
    }
}
