/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a call reaches the worker, and how a thread waits for it.
 *
 * Threads that wait look at the memory for a bounded time.  Then one of them, the watcher,
 * sleeps on the channel's two descriptors; the others sleep on a condition.  When the watcher
 * wakes up it wakes the others, each looks at its own mailbox, and the first that still waits
 * is the next watcher.
 */
#include <sched.h>
#include <string.h>

#include "guest/cuda/internal.h"

/* A sleeper looks and rings again so often: the longest that a lost signal can cost. */
#define LOOK_MS 1000
#define AWAKE_NS 4000000u

static pthread_mutex_t ring_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lane_locks[CUDA_LANES];
static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t watch_over = PTHREAD_COND_INITIALIZER;
static bool watched;

__attribute__((constructor)) static void init_locks(void)
{
    for (unsigned i = 0; i < CUDA_LANES; i++) {
        pthread_mutex_init(&lane_locks[i], NULL);
    }
}

/* ---- waiting ---- */

typedef int condition(uint64_t number, void *what);

static int is_closed(void)
{
    return VGPU_LOAD_ACQUIRE(&cuda_process.control->state) != VGPU_CHANNEL_OPEN;
}

/* A thread that waits; all of this is under watch_lock. */
struct sleeper {
    condition *holds;
    uint64_t number;
    void *what;
    struct sleeper *next;
};

static struct sleeper *sleepers;

/* Has what any of them waits for come? */
static bool any_holds(void)
{
    for (const struct sleeper *sleeper = sleepers; sleeper; sleeper = sleeper->next) {
        if (sleeper->holds(sleeper->number, sleeper->what) != 0) {
            return true;
        }
    }
    return false;
}

/*
 * Sleeps until the worker signals.  False: the channel has ended.  Whoever began to wait before
 * the worker could know that somebody sleeps is looked at once more.
 */
static bool watch(void)
{
    bool lives = true;

    watched = true;
    vgpu_park(&cuda_process.control->process_parked);
    if (!any_holds() && !is_closed()) {
        uint64_t start_ns;

        pthread_mutex_unlock(&watch_lock);
        start_ns = vgpu_system_clock.now_ns(NULL);
        lives = cuda_process.link->way->sleep(cuda_process.v, LOOK_MS) == VGPU_ERR_NONE;
        if (lives && vgpu_system_clock.now_ns(NULL) - start_ns >= LOOK_MS * NS_PER_MS) {
            cuda_process.link->way->ring(cuda_process.v); /* for nothing is allowed */
        }
        pthread_mutex_lock(&watch_lock);
    }
    vgpu_unpark(&cuda_process.control->process_parked);
    watched = false;
    pthread_cond_broadcast(&watch_over);
    return lives;
}

static void forget(const struct sleeper *sleeper)
{
    struct sleeper **place = &sleepers;

    while (*place != sleeper) {
        place = &(*place)->next;
    }
    *place = sleeper->next;
}

static bool sleep_a_turn(condition *holds, uint64_t number, void *what)
{
    struct sleeper self = {holds, number, what, NULL};
    bool lives = true;

    pthread_mutex_lock(&watch_lock);
    self.next = sleepers;
    sleepers = &self;
    if (!watched) {
        lives = watch();
    } else if (holds(number, what) == 0 && !is_closed()) {
        /* What comes from now on wakes the watcher, who wakes everybody. */
        pthread_cond_wait(&watch_over, &watch_lock);
    }
    forget(&self);
    pthread_mutex_unlock(&watch_lock);
    return lives;
}

/*
 * A process whose contexts are lost keeps the error that lost them.  Work that ran past the VM's
 * time limit is what natively a GPU with a display ends: CUDA_ERROR_LAUNCH_TIMEOUT.
 */
static CUresult lost(const char *why)
{
    uint32_t sticky = VGPU_LOAD_RELAXED(&cuda_process.control->sticky);
    bool late =
        cuda_process.link->dead == VGPU_ERR_TIMEOUT ||
        (is_closed() && VGPU_LOAD_RELAXED(&cuda_process.control->reason) == VGPU_CLOSED_TIMEOUT);

    if (sticky && !cuda_process_is_small) {
        return (CUresult)sticky;
    }
    cuda_lose(late ? CUDA_ERROR_LAUNCH_TIMEOUT : CUDA_ERROR_DEVICE_UNAVAILABLE,
              late ? "its work ran past the time limit and was ended" : why);
    return cuda_state_result();
}

/* Where there are processors to spare a thread looks for as long as the driver's would. */
static bool goes_on_looking(uint64_t *start_ns)
{
    uint64_t now_ns;

    if (!cuda_process.spare_cpus) {
        return false;
    }
    now_ns = vgpu_system_clock.now_ns(NULL);
    *start_ns = *start_ns ? *start_ns : now_ns;
    return now_ns - *start_ns < AWAKE_NS;
}

static CUresult wait_until(condition *holds, uint64_t number, void *what)
{
    uint64_t start_ns = 0;

    for (unsigned looks = 0;; looks++) {
        int result = holds(number, what);

        if (result > 0) {
            return CUDA_SUCCESS;
        }
        if (result < 0) {
            return lost("the worker's positions make no sense");
        }
        if (is_closed() || cuda_state() != CUDA_READY) {
            return lost("the host closed the channel; the mediator's log says why");
        }
        if (looks < cuda_process.link->spins) {
            if (looks % 128 == 127) {
                sched_yield();
            }
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
            continue;
        }
        looks = 0;
        if (goes_on_looking(&start_ns)) {
            continue;
        }
        if (!sleep_a_turn(holds, number, what)) {
            return lost("the connection to the mediator ended");
        }
    }
}

static int has_room(uint64_t bytes, void *what)
{
    int room = vgpu_ring_room(what, bytes);

    return room == VGPU_RING_OK ? 1 : room == VGPU_RING_FULL ? 0 : -1;
}

static int is_answered(uint64_t number, void *mailbox)
{
    return vgpu_mailbox_has(mailbox, (uint32_t)number);
}

static int is_over(uint64_t records, void *what)
{
    (void)what;
    return VGPU_LOAD_ACQUIRE(&cuda_process.control->retired) >= records;
}

CUresult cuda_wait_over(uint64_t records)
{
    return wait_until(is_over, records, NULL);
}

/* ---- posting ---- */

CUresult cuda_begin(struct cuda_call *call, uint16_t op, unsigned needs)
{
    struct cuda_context *context;
    uint32_t sticky;

    if (cuda_state() != CUDA_READY) {
        return cuda_state_result();
    }
    if (cuda_in_host_func()) {
        return CUDA_ERROR_NOT_PERMITTED;
    }
    context = cuda_current();
    memset(&call->head, 0, sizeof(call->head));
    call->head.record.op = op;
    call->payload_bytes[0] = call->payload_bytes[1] = 0;
    call->reply = NULL;
    call->context = context;
    call->needs = needs;
    if (context) {
        call->head.record.context = (uint16_t)vgpu_handle_index(context->handle);
    }
    sticky = VGPU_LOAD_RELAXED(&cuda_process.control->sticky);
    if (sticky && !(needs & CUDA_ANY_STATE)) {
        return (CUresult)sticky;
    }
    if (needs & CUDA_NEEDS_CONTEXT) {
        if (!context) {
            return CUDA_ERROR_INVALID_CONTEXT;
        }
        if (!context->alive) {
            return CUDA_ERROR_CONTEXT_IS_DESTROYED;
        }
    }
    return CUDA_SUCCESS;
}

void cuda_default_stream(struct cuda_call *call, int per_thread)
{
    call->head.record.stream = per_thread ? CU_STREAM_PER_THREAD : 0;
}

bool cuda_fits(const struct cuda_call *call, const struct cuda_object *object)
{
    return object && (!object->context || object->context == call->context ||
                      (call->needs & CUDA_TAKES_FOREIGN));
}

bool cuda_add_handle(struct cuda_call *call, uint64_t handle, unsigned kind)
{
    cuda_add(call, handle);
    return cuda_fits(call, cuda_object(handle, kind));
}

bool cuda_add_stream(struct cuda_call *call, CUstream stream, int per_thread)
{
    uint64_t value = (uint64_t)(uintptr_t)stream;

    cuda_add(call, value == 0 && per_thread ? CU_STREAM_PER_THREAD : value);
    return value <= CU_STREAM_PER_THREAD || cuda_fits(call, cuda_object(value, CUDA_KIND_STREAM));
}

void cuda_add_bytes(struct cuda_call *call, const void *bytes, uint32_t count)
{
    unsigned at = call->payload_bytes[0] ? 1 : 0;

    call->payload[at] = bytes;
    call->payload_bytes[at] = count;
}

void cuda_add_string(struct cuda_call *call, const char *text)
{
    size_t bytes = strnlen(text, CUDA_NAME_MAX) + 1;

    /* A longer one names nothing; cut, it is as unknown. */
    cuda_add(call, bytes > CUDA_NAME_MAX ? CUDA_NAME_MAX : bytes);
    cuda_add_bytes(call, text, bytes > CUDA_NAME_MAX ? CUDA_NAME_MAX : (uint32_t)bytes);
}

/* Everything else may leave something in a stream. */
static bool puts_nothing_on_gpu(uint16_t op)
{
    return op == CUDA_OP_ALLOC || op == CUDA_OP_FREE || op == CUDA_OP_MEM_INFO ||
           op == CUDA_OP_CTX_SYNC;
}

static CUresult put(struct cuda_call *call)
{
    static const uint8_t zeros[VGPU_RECORD_ALIGN];
    struct channel_link *link = cuda_process.link;
    CUDARecord *head = &call->head;
    uint32_t arg_bytes = head->arg_count * 8;
    uint32_t payload = call->payload_bytes[0] + call->payload_bytes[1];
    uint32_t fill = (VGPU_RECORD_ALIGN - payload % VGPU_RECORD_ALIGN) % VGPU_RECORD_ALIGN;
    bool bell;

    head->payload_bytes = payload;
    head->record.bytes = (uint32_t)sizeof(*head) + arg_bytes + payload + fill;
    pthread_mutex_lock(&ring_lock);
    if (vgpu_ring_room(&link->commands, head->record.bytes) != VGPU_RING_OK) {
        CUresult result = wait_until(has_room, head->record.bytes, &link->commands);

        if (result) {
            pthread_mutex_unlock(&ring_lock);
            return result;
        }
    }
    if (call->context && !puts_nothing_on_gpu(head->record.op)) {
        __atomic_add_fetch(&call->context->work, 1, __ATOMIC_RELEASE);
    }
    call->number = ++link->posted;
    head->record.seq = (uint32_t)call->number;
    vgpu_ring_put(&link->commands, head, sizeof(*head));
    vgpu_ring_put(&link->commands, call->args, arg_bytes);
    for (unsigned i = 0; i < 2 && call->payload_bytes[i]; i++) {
        vgpu_ring_put(&link->commands, call->payload[i], call->payload_bytes[i]);
    }
    vgpu_ring_put(&link->commands, zeros, fill);
    bell = vgpu_ring_publish(&link->commands) != 0;
    pthread_mutex_unlock(&ring_lock);
    if (bell) {
        link->way->ring(cuda_process.v);
    }
    return CUDA_SUCCESS;
}

/* Each word of the mailbox is read once. */
static CUresult take_answer(struct cuda_call *call, VGPUMailbox *mailbox)
{
    uint32_t bytes = VGPU_LOAD_RELAXED(&mailbox->data_bytes);
    int status = (int)VGPU_LOAD_RELAXED(&mailbox->status);
    uint32_t room = call->reply ? call->reply_bytes : (uint32_t)sizeof(call->out);

    if (bytes > VGPU_MAILBOX_BODY_BYTES) {
        return lost("the worker's answer is too long");
    }
    memset(call->out, 0, sizeof(call->out));
    memcpy(call->reply ? call->reply : call->out, mailbox->body, bytes < room ? bytes : room);
    if (call->reply && bytes < room) {
        memset((uint8_t *)call->reply + bytes, 0, room - bytes);
    }
    return status;
}

static CUresult exchange(struct cuda_call *call, uint16_t flags)
{
    unsigned lane = cuda_thread()->lane - 1u;
    VGPUMailbox *mailbox =
        (VGPUMailbox *)(cuda_process.link->chunk0 + cuda_process.link->layout.mailboxes) + lane;
    CUresult result;

    call->head.record.flags = flags;
    call->head.record.lane = (uint16_t)lane;
    pthread_mutex_lock(&lane_locks[lane]);
    result = put(call);
    if (!result) {
        result = wait_until(is_answered, call->number, mailbox);
    }
    if (!result) {
        result = take_answer(call, mailbox);
    }
    pthread_mutex_unlock(&lane_locks[lane]);
    if (cuda_has_output()) {
        cuda_take_output();
    }
    return result;
}

CUresult cuda_ask(struct cuda_call *call)
{
    return exchange(call, VGPU_RECORD_ANSWER);
}

CUresult cuda_wait(struct cuda_call *call)
{
    return exchange(call, VGPU_RECORD_ANSWER | VGPU_RECORD_WAIT);
}

CUresult cuda_forget(struct cuda_call *call)
{
    if (cuda_process.blocking) {
        return cuda_wait(call);
    }
    call->head.record.flags = 0;
    call->head.record.lane = (uint16_t)(cuda_thread()->lane - 1u);
    return put(call);
}

float cuda_float(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float value;

    memcpy(&value, &low, sizeof(value));
    return value;
}
