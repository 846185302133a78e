/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Turns of a channel, and its end.
 *
 * A turn begins with the mediator's word and lasts until its budget is used, or until nothing
 * has come for ANTICIPATION after the GPU ended its work; then the thread waits until the GPU
 * has done what is in flight, and says how long it all took.  In the second half of a turn it asks
 * for the next one.  Where nobody else waits that is there before the end: the thread goes on with
 * it, and the GPU from the one to the other.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define ANTICIPATION_NS NS_PER_MS
/* A turn that doesn't end for so long has units that may wait for others, */
#define OVERRUN_NS (100 * (uint64_t)NS_PER_MS)
/* ... of which one is let through at a time. */
#define LATE_UNIT_NS NS_PER_MS

void driver_want_turn(struct driver_channel *channel)
{
    uint64_t handle = __atomic_load_n(&channel->handle, __ATOMIC_ACQUIRE);

    if (!channel->wants) {
        channel->wants = true;
        if (handle != 0) { /* else it is said when a mediator knows it */
            channel->set->uses.tell(channel->set->uses.opaque, VGPU_WORKER_WANT, handle, 0);
        }
    }
}

/* ---- turns ---- */

static void begin_turn(struct driver_channel *channel)
{
    channel->in_turn = true;
    channel->closing = false;
    channel->wants = false;
    channel->turn_start_ns = 0;
    channel->last_work_ns = 0;
}

/* next_budget_ns: of the turn that begins with this one's end; 0: the executor begins it. */
static void end_turn(struct driver_channel *channel, uint64_t now_ns, uint64_t next_budget_ns)
{
    uint64_t used_ns = channel->turn_start_ns ? now_ns - channel->turn_start_ns : 0;
    uint64_t over = channel->turns_over;

    DRIVER_COUNT(channel, turns);
    channel->figures.turns_ns += used_ns;
    __atomic_add_fetch(&channel->set->turns_ns, used_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->used_ns[over % DRIVER_TURNS_UNHEARD], used_ns, __ATOMIC_RELAXED);
    if (next_budget_ns) {
        begin_turn(channel);
        channel->turn_start_ns = now_ns;
    } else {
        channel->in_turn = false;
        channel->closing = false;
    }
    __atomic_store_n(&channel->budget_ns, next_budget_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->turns_over, over + 1, __ATOMIC_RELEASE);
    driver_signal(channel->set->over);
}

/*
 * The next turn is there, so this one ends without a pause.  Where it is this channel's it goes on
 * with that one at once: a launch costs some microseconds, and the executor's thread takes fifty to
 * hear of the end.
 */
static void go_on(struct driver_channel *channel, uint64_t now_ns)
{
    bool heard = __atomic_load_n(&channel->turns_heard, __ATOMIC_ACQUIRE) == channel->turns_over;

    end_turn(channel, now_ns,
             heard ? __atomic_exchange_n(&channel->next_budget_ns, 0, __ATOMIC_ACQ_REL) : 0);
}

/* From now on the GPU is seen to be idle once it has done what is submitted now. */
static void begin_pass(struct driver_channel *channel)
{
    channel->pass++;
    if (channel->turn_fence) {
        driver_fence_drop(channel, channel->turn_fence);
        channel->turn_fence = NULL;
    }
}

/* One context after the other: copies that are submitted meanwhile don't make this longer. */
static bool gpu_is_idle(struct driver_channel *channel)
{
    CUresult result;

    for (unsigned i = 1; i < CUDA_CONTEXTS_MAX; i++) {
        struct driver_context *context = &channel->contexts[i];
        bool begun = channel->turn_fence && channel->turn_fence->context == context;

        if (context->passed == channel->pass) {
            continue;
        }
        if (!begun && context->real && driver_is_busy(context)) {
            channel->turn_fence = driver_fence_context(channel, context, &result);
            begun = channel->turn_fence != NULL;
            context->settled = begun ? context->settled : context->work; /* it is lost */
        }
        if (begun) {
            if (!driver_fence_done(channel, channel->turn_fence)) {
                return false;
            }
            driver_settle(channel->turn_fence);
            driver_fence_drop(channel, channel->turn_fence);
            channel->turn_fence = NULL;
        }
        context->passed = channel->pass;
    }
    return true;
}

/*
 * What runs may wait for what comes: kernels that signal each other in two streams, and the turn
 * ended between them.  So a turn that does not end lets one unit through now and then.
 */
bool driver_late_unit(struct driver_channel *channel)
{
    uint64_t now_ns = clock_now_ns();

    if (now_ns - channel->closing_since_ns < OVERRUN_NS ||
        now_ns - channel->late_unit_ns < LATE_UNIT_NS) {
        return false;
    }
    channel->late_unit_ns = now_ns;
    begin_pass(channel);
    return true;
}

/* True: something changed. */
bool driver_look_after_turn(struct driver_channel *channel)
{
    uint64_t budget_ns = __atomic_load_n(&channel->budget_ns, __ATOMIC_ACQUIRE), now_ns;

    if (budget_ns == 0) {
        return false;
    }
    if (!channel->in_turn) {
        begin_turn(channel);
        return true;
    }
    now_ns = clock_now_ns();
    if (channel->turn_start_ns == 0) {
        channel->turn_start_ns = now_ns;
        channel->quiet_since_ns = 0;
    }
    if (!channel->closing) {
        uint64_t used_ns = now_ns - channel->turn_start_ns;
        bool used = used_ns >= budget_ns;
        bool quiet = channel->quiet_since_ns &&
                     now_ns - channel->quiet_since_ns >= ANTICIPATION_NS && !channel->wait_count &&
                     !channel->has_record;

        if (used_ns >= budget_ns / 2 && (channel->in_flight || channel->has_record)) {
            driver_want_turn(channel); /* who is alone gets it before this one ends */
        }
        if (used && __atomic_load_n(&channel->goes_on, __ATOMIC_ACQUIRE)) {
            go_on(channel, now_ns);
            return true;
        }
        if (!used && !quiet) {
            return false;
        }
        channel->closing = true;
        channel->closing_since_ns = now_ns;
        begin_pass(channel);
    }
    if (!gpu_is_idle(channel)) {
        return false;
    }
    driver_look(channel);
    channel->in_flight = channel->unmarked = 0;
    end_turn(channel, clock_now_ns(), 0);
    return true;
}

/* ---- the end ---- */

/* How long a process that has gone may still have work on the GPU. */
#define GRACE_NS (2 * NS_PER_S)

/* What runs on the GPU is lost with the contexts, as when a process of the host ends. */
void driver_let_go(struct driver_channel *channel)
{
    uint64_t start_ns = clock_now_ns();
    const struct timespec pause = {.tv_nsec = NS_PER_MS};

    driver_open_gates(channel);
    begin_pass(channel);
    while (!gpu_is_idle(channel)) {
        if (clock_now_ns() - start_ns > GRACE_NS) {
            /* The driver would wait for it for ever, and nothing else ends a kernel. */
            log_warning("a program left work on the GPU that does not end: this worker ends it, "
                        "and itself");
            _exit(VGPU_WORKER_EXIT_GPU_FAULT);
        }
        nanosleep(&pause, NULL);
    }
    driver_libraries_end(channel);
    for (unsigned i = 1; i < CUDA_CONTEXTS_MAX; i++) {
        if (channel->contexts[i].real) {
            driver_enter(channel, &channel->contexts[i]);
            driver_context_end(channel, &channel->contexts[i]);
        }
    }
    driver_fences_end(channel);
    driver_memory_end(channel);
    if (channel->late_count) {
        log_warning("%llu errors of a program's records came late",
                    (unsigned long long)channel->late_count);
    }
}
