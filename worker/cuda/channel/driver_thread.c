/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * The ring thread goes round: it looks at what the GPU has done and answers the lanes that
 * waited for it; it takes records from the ring and does them, until one is held; it looks after
 * its turn; and when there has been nothing to do for long enough, it sleeps.
 *
 * A record is held, and with it all that follow,
 *   - by a barrier: the driver would wait for the context's work, holding a lock that every
 *     other call needs.  A fence is set behind that work and the record done once it is over;
 *   - for the VM's turn, if it puts work on the GPU;
 *   - when enough work is in flight.
 * What waits for the GPU itself (a synchronisation) is not held: a fence is set and the lane
 * answered when it is over, while other lanes' records go on.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <poll.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define RECORDS_AT_ONCE 64u
/* Without anything new the thread looks without a pause for so long, */
#define AWAKE_NS (100 * NS_PER_US)
/* ... and while a program waits for the GPU, as the driver itself would look. */
#define AWAKE_WAITING_NS (5 * NS_PER_MS)
#define PAUSE_MIN_NS (20 * NS_PER_US)
#define PAUSE_SHARE 64u /* of the time that it has waited */
#define LOOKS_FOR_YIELD 64u
#define PREFETCH_BYTES 256u
#define STEPS_FOR_FIGURES 4096u

void driver_signal(int fd)
{
    const uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof(one));

    (void)n; /* full: it is signalled enough */
}

static void drain(int fd)
{
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof(count));

    (void)n; /* none: another look found the work */
}

/* ---- answers ---- */

void driver_note(struct driver_channel *channel, CUresult result)
{
    if (cuda_is_sticky(result) && VGPU_LOAD_RELAXED(&channel->control->sticky) == 0) {
        VGPU_STORE_RELAXED(&channel->control->sticky, (uint32_t)result);
        __atomic_store_n(&channel->set->lost, (int)result, __ATOMIC_RELEASE);
        log_warning("a program's work on the GPU failed with error %d: its contexts are lost",
                    result);
    }
}

void driver_answer(struct driver_channel *channel, unsigned lane, uint32_t seq, CUresult result,
                   const void *body, uint32_t bytes)
{
    VGPUMailbox *mailbox = (VGPUMailbox *)(channel->chunk0 + channel->layout.mailboxes) + lane;

    mailbox->status = (uint32_t)result;
    mailbox->result_count = 0;
    mailbox->data_bytes = bytes;
    mailbox->gpu_time_ns = 0;
    mailbox->retired = channel->taken;
    if (bytes) {
        memcpy(mailbox->body, body, bytes);
    }
    if (__atomic_load_n(&channel->output.count, __ATOMIC_RELAXED)) {
        driver_output_send(channel);
    }
    vgpu_mailbox_answer(mailbox, seq);
    channel->answered = true;
}

/* Errors of a lane's records that nobody waited for come with its next call that waits for the
 * GPU: a call that creates something must say what became of that. */
CUresult driver_with_late(struct driver_channel *channel, unsigned lane, CUresult result)
{
    if (result == CUDA_SUCCESS) {
        result = channel->late[lane];
        channel->late[lane] = CUDA_SUCCESS;
    }
    return result;
}

/* The record's result: to its lane, or kept for the lane's next call that waits. */
static void finish(struct driver_call *call, CUresult result)
{
    struct driver_channel *channel = call->channel;
    const VGPURecord *record = &call->record->record;

    channel->has_record = false;
    driver_note(channel, result);
    if (!(record->flags & VGPU_RECORD_ANSWER)) {
        if (result != CUDA_SUCCESS) {
            channel->late_count++;
            if (channel->late[record->lane] == CUDA_SUCCESS) {
                channel->late[record->lane] = result;
            }
        }
        return;
    }
    if (record->flags & VGPU_RECORD_WAIT) {
        result = driver_with_late(channel, record->lane, result);
    }
    if (call->reply) {
        driver_answer(channel, record->lane, record->seq, result, call->reply, call->reply_bytes);
    } else {
        driver_answer(channel, record->lane, record->seq, result, call->out,
                      call->out_count * (uint32_t)sizeof(call->out[0]));
    }
}

/* The lane is answered once the fence is over, or its event is. */
static void wait_for_gpu(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    const VGPURecord *record = &call->record->record;
    struct driver_wait *wait = &channel->waits[record->lane];

    channel->has_record = false;
    if (wait->active) {
        /* A lane has one call at a time; a process that breaks this loses the first answer. */
        if (wait->fence) {
            driver_fence_drop(channel, wait->fence);
        }
        channel->wait_count--;
    }
    *wait = (struct driver_wait){
        .active = true, .seq = record->seq, .fence = call->fence, .event = call->wait_event};
    channel->wait_count++;
    if (record->lane >= channel->wait_high) {
        channel->wait_high = record->lane + 1u;
    }
}

/* ---- records ---- */

static uint8_t flags_of(const struct driver_channel *channel)
{
    uint16_t op = ((const VGPURecord *)channel->record)->op;

    return op < CUDA_OP_END && driver_decoders[op] ? driver_flags[op] : 0;
}

/* False: its parts don't fit its length. */
static bool parse(struct driver_channel *channel, struct driver_call *call)
{
    const CUDARecord *record = (const CUDARecord *)channel->record;
    uint64_t bytes;

    call->channel = channel;
    call->api = channel->api;
    call->device = channel->device;
    call->record = record;
    call->context = NULL;
    memset(call->out, 0, sizeof(call->out));
    call->out_count = 0;
    call->reply = NULL;
    call->stream = NULL;
    call->has_stream = false;
    call->fence = NULL;
    call->wait_event = 0;
    call->touched_count = 0;
    call->touched_more = false;
    if (record->record.bytes < sizeof(*record) || record->arg_count > CUDA_ARGS_MAX) {
        return false;
    }
    bytes = sizeof(*record) + record->arg_count * 8ull + record->payload_bytes;
    if (record->record.bytes != (bytes + 7) / 8 * 8) {
        return false;
    }
    call->args = (const uint64_t *)(record + 1);
    call->arg_count = record->arg_count;
    call->payload = (const uint8_t *)(call->args + record->arg_count);
    call->payload_bytes = record->payload_bytes;
    if (record->record.context > 0 && record->record.context < CUDA_CONTEXTS_MAX &&
        channel->contexts[record->record.context].real) {
        call->context = &channel->contexts[record->record.context];
    }
    call->stream_context = call->context;
    return true;
}

/* The memory that the record frees; NULL: none. */
static const struct cuda_range *freed_range(const struct driver_call *call)
{
    return call->arg_count > 0 ? cuda_ranges_find(&call->channel->ranges, call->args[0]) : NULL;
}

/* Would the driver wait for contexts that are not the current one?  Memory that a context
 * registered, and a pool's, may be used by others; a library has modules in any of them. */
static bool waits_for_all(const struct driver_call *call)
{
    const struct cuda_range *range;

    switch (call->record->record.op) {
    case CUDA_OP_CTX_DESTROY:
    case CUDA_OP_UNMAP:
    case CUDA_OP_ACCESS:
    case CUDA_OP_cuLibraryUnload:
    case CUDA_OP_cuMemPoolTrimTo:
    case CUDA_OP_ALLOC:
    case CUDA_OP_ALLOC_ASYNC: return true;
    case CUDA_OP_FREE:
    case CUDA_OP_FREE_ASYNC:
        range = freed_range(call);
        return range && (range->kind != CUDA_RANGE_DEVICE || range->context != call->context);
    default: return false;
    }
}

/* The context whose work a barrier waits for next; NULL: there is none. */
static struct driver_context *busy_context(struct driver_call *call)
{
    if (call->context && driver_is_busy(call->context)) {
        return call->context;
    }
    return waits_for_all(call) ? driver_busy_context(call->channel) : NULL;
}

/* Would the driver wait, if something is in flight? */
static bool is_barrier(struct driver_call *call, uint8_t flags)
{
    const struct cuda_range *range;

    switch (call->record->record.op) {
    case CUDA_OP_FREE_ASYNC:
        /* What cuMemAlloc gave stays taken until its stream gets there, and so charged. */
        range = freed_range(call);
        return range && range->kind == CUDA_RANGE_DEVICE;
    case CUDA_OP_ALLOC:
        return call->arg_count > 0 && driver_may_lack_a_block(call->channel, call->args[0]);
    case CUDA_OP_ALLOC_ASYNC: /* it trims the pool where that is full */
        return call->arg_count > 0 &&
               driver_pool_is_full(call->channel, driver_pool_of(call), call->args[0]);
    case CUDA_OP_ACCESS: /* what may be in use loses it */ return driver_access_changes(call);
    case CUDA_OP_BLAS_CALL: /* the library's first one of a kind */
    case CUDA_OP_LT_MATMUL:
    case CUDA_OP_DNN_EXECUTE:
    case CUDA_OP_DNN_OLD:
    case CUDA_OP_FFT_EXEC: return call->record->record.flags & VGPU_RECORD_ANSWER;
    default: return flags & CUDA_BARRIER;
    }
}

/* True: it has to wait.  Sets channel->held. */
static bool wait_for_idle(struct driver_call *call)
{
    struct driver_context *context;
    CUresult result;

    while ((context = busy_context(call)) != NULL) {
        call->channel->held = driver_fence_context(call->channel, context, &result);
        if (call->channel->held) {
            return true;
        }
        context->settled = context->work; /* it is lost: nothing of it runs */
    }
    return false;
}

/* Does the record have to wait? */
static bool must_wait(struct driver_call *call, uint8_t flags)
{
    struct driver_channel *channel = call->channel;

    if (channel->retire_last - channel->retire_first == DRIVER_RETIRE_MAX) {
        return true; /* more payloads than an arena has pieces are under way */
    }
    if (call->record->record.op == CUDA_OP_HOST_FUNC && !driver_host_fits(channel)) {
        return true;
    }
    if (is_barrier(call, flags) && wait_for_idle(call)) {
        return true;
    }
    if (!(flags & CUDA_TURN)) {
        return false;
    }
    if (!channel->in_turn) {
        driver_want_turn(channel);
        return true;
    }
    return !driver_unit_fits(channel) || (channel->closing && !driver_late_unit(channel));
}

/* What a process may ask before INIT has said whether the device serves guests. */
static bool needs_init(uint16_t op)
{
    return op != CUDA_OP_INIT && op != CUDA_OP_ACCOUNT && op != CUDA_OP_REFUSED;
}

static CUresult perform(struct driver_call *call)
{
    struct driver_channel *channel = call->channel;
    uint8_t flags = call->flags;
    uint16_t op = call->record->record.op;
    CUresult result;

    if (!flags) {
        return CUDA_ERROR_NOT_SUPPORTED; /* of a newer library */
    }
    if (!channel->ready && needs_init(op)) {
        return CUDA_ERROR_NOT_INITIALIZED;
    }
    if (!(flags & CUDA_FREE) && !call->context && op != CUDA_OP_FREE) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    result = driver_enter(channel, call->context);
    if (result) {
        return result;
    }
    if (!call->has_stream && call->context && call->record->record.stream == CU_STREAM_PER_THREAD) {
        driver_stream(call, CU_STREAM_PER_THREAD, &call->stream);
    }
    result = driver_decoders[op](call);
    if (driver_is_captured(call)) {
        return driver_captured(call, result);
    }
    if (result == CUDA_SUCCESS && call->has_stream && call->context) {
        call->stream_context->work++; /* something may stand in a stream now */
    }
    if (result == CUDA_SUCCESS && (flags & CUDA_TURN) && call->context) {
        call->context->work++;
        driver_unit_submitted(call);
    }
    if (result == CUDA_SUCCESS && (call->record->record.flags & VGPU_RECORD_WAIT) && !call->fence &&
        !call->wait_event && call->context) {
        call->fence = driver_fence_stream(channel, call->stream_context, call->stream, &result);
    }
    return result;
}

static void end_self(struct driver_channel *channel, enum vgpu_channel_reason reason)
{
    __atomic_store_n(&channel->stop, (int)reason, __ATOMIC_RELEASE);
}

/* True: there is a record to do. */
static bool take(struct driver_channel *channel)
{
    int result = vgpu_ring_look(&channel->commands);

    if (result == VGPU_RING_BROKEN) {
        log_warning("a CUDA channel is closed: its position makes no sense");
        end_self(channel, VGPU_CLOSED_BAD_POSITION);
        return false;
    }
    if (result != VGPU_RING_OK) {
        return false;
    }
    if (vgpu_ring_take_record(&channel->commands, channel->record, channel->seq + 1,
                              channel->geometry.lanes) == VGPU_RING_BROKEN) {
        log_warning("a CUDA channel is closed: record %u makes no sense", channel->seq + 1);
        end_self(channel, VGPU_CLOSED_BAD_RECORD);
        return false;
    }
    /* The process wrote the next one on another processor: it comes while this one is done. */
    for (unsigned ahead = 0; ahead < PREFETCH_BYTES; ahead += 64) {
        __builtin_prefetch(channel->commands.bytes +
                           ((channel->commands.head + ahead) & (channel->commands.size - 1)));
    }
    channel->seq++;
    channel->taken++;
    channel->has_record = true;
    return true;
}

/* A held record's fence is over: the context has nothing in flight any more. */
static bool held_is_over(struct driver_channel *channel)
{
    if (!driver_fence_done(channel, channel->held)) {
        return false;
    }
    driver_settle(channel->held);
    driver_fence_drop(channel, channel->held);
    channel->held = NULL;
    return true;
}

/* True: something was done. */
static bool serve(struct driver_channel *channel)
{
    bool did = false;

    for (unsigned i = 0; i < RECORDS_AT_ONCE; i++) {
        struct driver_call call;
        uint8_t flags;
        CUresult result;

        if (channel->held && !held_is_over(channel)) {
            break;
        }
        if (!channel->has_record && !take(channel)) {
            break;
        }
        if (!parse(channel, &call)) {
            log_warning("a CUDA channel is closed: record %u has lengths that do not fit",
                        channel->seq);
            end_self(channel, VGPU_CLOSED_BAD_RECORD);
            break;
        }
        flags = flags_of(channel);
        if (must_wait(&call, flags)) {
            break;
        }
        call.flags = flags;
        result = perform(&call);
        did = true;
        if (result == CUDA_SUCCESS && (call.fence || call.wait_event) &&
            (call.record->record.flags & VGPU_RECORD_ANSWER)) {
            wait_for_gpu(&call);
        } else {
            if (call.fence) {
                driver_fence_drop(channel, call.fence);
            }
            finish(&call, result);
        }
    }
    return did;
}

/* ---- sleeping ---- */

/* Gives room back, and wakes the process if it waits for that or for an answer. */
static void look_after_process(struct driver_channel *channel)
{
    bool wake = vgpu_ring_release(&channel->commands) != 0 || channel->woken;

    channel->woken = false;
    if (channel->answered && !wake) {
        wake = vgpu_must_wake(&channel->control->process_parked) != 0;
    }
    channel->answered = false;
    if (wake) {
        driver_signal(channel->interrupt);
    }
}

/* Does the thread wait for something that gives no signal? */
static bool waits_for_gpu(const struct driver_channel *channel)
{
    return channel->wait_count || channel->gate_count || channel->held || channel->in_turn ||
           channel->retire_first != channel->retire_last ||
           channel->mark_first != channel->mark_last;
}

static bool has_signal(struct driver_channel *channel)
{
    return __atomic_load_n(&channel->stop, __ATOMIC_ACQUIRE) != 0 ||
           (!channel->in_turn && __atomic_load_n(&channel->budget_ns, __ATOMIC_ACQUIRE) != 0) ||
           (!channel->has_record && vgpu_ring_look(&channel->commands) != VGPU_RING_EMPTY);
}

static void sleep_a_while(struct driver_channel *channel, uint64_t quiet_ns)
{
    struct pollfd fds[] = {{.fd = channel->doorbell, .events = POLLIN},
                           {.fd = channel->wake, .events = POLLIN},
                           {.fd = mapping_watched_life(channel->mapping)}};
    uint64_t pause_ns = quiet_ns / PAUSE_SHARE, wait_ns;
    struct timespec pause;

    pause_ns = pause_ns < PAUSE_MIN_NS ? PAUSE_MIN_NS : pause_ns;
    pause_ns = pause_ns > NS_PER_MS ? NS_PER_MS : pause_ns;
    driver_program_tell(channel, false);
    driver_figures_tell(channel->set, false);
    wait_ns = waits_for_gpu(channel)            ? pause_ns
              : driver_figures_changed(channel) ? (uint64_t)NS_PER_S
                                                : 0;
    pause = clock_timespec(wait_ns);
    vgpu_park(&channel->control->worker_parked);
    if (!has_signal(channel)) {
        ppoll(fds, 3, wait_ns ? &pause : NULL, NULL);
    }
    vgpu_unpark(&channel->control->worker_parked);
    for (unsigned i = 0; i < 2; i++) {
        if (fds[i].revents & POLLIN) {
            drain(fds[i].fd);
        }
    }
    if ((fds[2].revents & (POLLHUP | POLLERR)) &&
        __atomic_load_n(&channel->stop, __ATOMIC_ACQUIRE) == 0) {
        end_self(channel, VGPU_CLOSED_SESSION); /* its device wants the memory back */
    }
}

static void rest(struct driver_channel *channel, unsigned looks)
{
    uint64_t now_ns, awake_ns;

    if (looks % LOOKS_FOR_YIELD != LOOKS_FOR_YIELD - 1) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        return;
    }
    now_ns = clock_now_ns();
    if (channel->quiet_since_ns == 0) {
        channel->quiet_since_ns = now_ns;
    }
    awake_ns = channel->wait_count && channel->set->spare_cpus ? AWAKE_WAITING_NS : AWAKE_NS;
    if (now_ns - channel->quiet_since_ns < (channel->set->spare_cpu ? awake_ns : 0)) {
        sched_yield(); /* the process may wait for this very processor */
    } else {
        sleep_a_while(channel, now_ns - channel->quiet_since_ns);
    }
}

bool driver_step(struct driver_channel *channel)
{
    bool did;

    driver_output_begin(channel);
    did = driver_look(channel);

    if (__atomic_load_n(&channel->claimed, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&channel->claimed, 0, __ATOMIC_RELEASE);
        channel->wants = false;
        channel->told = (vgpu_worker_program){0}; /* this mediator knows nothing of it */
        channel->told_ns = 0;
    }
    did |= serve(channel);
    did |= driver_look_after_turn(channel);
    driver_look_for_late(channel);
    look_after_process(channel);
    return did;
}

void *driver_thread(void *opaque)
{
    struct driver_channel *channel = opaque;
    unsigned steps = 0;
    int reason, relaxed = 2;

    channel->api->cuThreadExchangeStreamCaptureMode(
        &relaxed); /* no call of ours spoils a capture */

    for (unsigned looks = 0; !(reason = __atomic_load_n(&channel->stop, __ATOMIC_ACQUIRE));
         looks++) {
        if (driver_step(channel)) {
            looks = 0;
            channel->quiet_since_ns = 0;
            if (++steps % STEPS_FOR_FIGURES == 0) {
                driver_program_tell(channel, false);
                driver_figures_tell(channel->set, false);
            }
        } else {
            rest(channel, looks);
        }
    }
    VGPU_STORE_RELAXED(&channel->control->reason, (uint32_t)reason);
    VGPU_STORE_RELEASE(&channel->control->state, (uint32_t)VGPU_CHANNEL_CLOSED);
    driver_signal(channel->interrupt);
    driver_program_tell(channel, true);
    driver_let_go(channel);
    channel->set->uses.tell(channel->set->uses.opaque, VGPU_WORKER_CHANNEL_CLOSED,
                            __atomic_load_n(&channel->handle, __ATOMIC_SEQ_CST), (uint32_t)reason);
    if (__atomic_sub_fetch(&channel->set->live, channel->is_live, __ATOMIC_ACQ_REL) == 0 &&
        __atomic_load_n(&channel->set->lost, __ATOMIC_ACQUIRE)) {
        /* The driver serves this process no more; the next program gets another worker.  Those
         * that never had a context (NVML) lose nothing, and open another channel. */
        _exit(VGPU_WORKER_EXIT_GPU_FAULT);
    }
    driver_figures_tell(channel->set, true);
    __atomic_store_n(&channel->budget_ns, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&channel->ended, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&channel->set->to_release, 1, __ATOMIC_SEQ_CST);
    driver_signal(channel->set->over);
    return NULL;
}
