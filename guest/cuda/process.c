/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process's connection to its worker: opening, losing, fork and exit, and its threads.
 *
 * Where the device is, VGPU_CUDA_DEVICE says ("dev:/dev/vgpu0" in a guest, "host:/path" of a
 * mediator's socket); without it, the first that is found.  A mediator without a database also
 * wants to hear from a process of the host which VM this is: VGPU_CUDA_VM_ID (1).
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define COMMAND_BYTES (1u << 20)
#define NOTICE_BYTES (64u << 10)
#define WINDOW_TRIES 16u
#define SPARE_CPUS 4

struct cuda_process cuda_process;
bool cuda_process_is_small;

static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t handlers = PTHREAD_ONCE_INIT;
static struct channel_wish wish;

/* What a worker looks for, so that it never takes this library for the driver. */
CUDA_EXPORT extern const int vgpu_libcuda_of_a_guest;
const int vgpu_libcuda_of_a_guest = 1;

void cuda_say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("libcuda (vgpu): ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

/* ---- states ---- */

void cuda_lose(CUresult result, const char *why)
{
    int expected = CUDA_READY, none = CUDA_SUCCESS;

    __atomic_compare_exchange_n(&cuda_process.lost_by, &none, result, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_ACQUIRE);
    if (__atomic_compare_exchange_n(&cuda_process.state, &expected, CUDA_LOST, false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
        !cuda_process_is_small) {
        cuda_say("the GPU is gone for this process: %s. Start the program again.", why);
    }
}

CUresult cuda_state_result(void)
{
    switch (cuda_state()) {
    case CUDA_LOST: return __atomic_load_n(&cuda_process.lost_by, __ATOMIC_ACQUIRE);
    case CUDA_ENDED: return CUDA_ERROR_DEINITIALIZED;
    default: return CUDA_ERROR_NOT_INITIALIZED;
    }
}

/*
 * The channel is the parent's: the child closes its copies and sends nothing.  A small process
 * has nothing that the child could miss: it may open a channel of its own.
 */
static void in_child(void)
{
    struct channel_link *link = cuda_process.link;

    if (cuda_state() != CUDA_BEFORE) {
        if (link) {
            link->way->close(cuda_process.v);
        }
        cuda_process.link = NULL;
        __atomic_store_n(&cuda_process.state, cuda_process_is_small ? CUDA_BEFORE : CUDA_FORKED,
                         __ATOMIC_RELEASE);
    }
}

/* Nothing is sent at the end: the worker sees that the connection is closed. */
__attribute__((destructor)) static void at_exit(void)
{
    if (cuda_state() == CUDA_READY) {
        __atomic_store_n(&cuda_process.state, CUDA_ENDED, __ATOMIC_RELEASE);
    }
}

CUresult cuda_refuse(const char *name, unsigned number)
{
    static uint8_t said[CUDA_REFUSED_COUNT];
    struct cuda_call call;

    if (!__atomic_exchange_n(&said[number], 1, __ATOMIC_RELAXED)) {
        cuda_say("%s is not built here and answers CUDA_ERROR_NOT_SUPPORTED (801); "
                 "docs/cuda-coverage.md lists what is",
                 name);
        if (cuda_state() == CUDA_READY &&
            cuda_begin(&call, CUDA_OP_REFUSED, CUDA_ANY_STATE) == CUDA_SUCCESS) {
            cuda_add_string(&call, name);
            cuda_forget(&call);
        }
    }
    return cuda_state() == CUDA_READY ? CUDA_ERROR_NOT_SUPPORTED : cuda_state_result();
}

/* ---- threads ---- */

static pthread_key_t thread_key;
static unsigned lane_users[CUDA_LANES];
static pthread_mutex_t lanes_lock = PTHREAD_MUTEX_INITIALIZER;
static __thread struct cuda_thread this_thread;

static void leave_lane(void *arg)
{
    struct cuda_thread *thread = arg;
    struct cuda_call call;
    bool last;

    pthread_mutex_lock(&lanes_lock);
    last = --lane_users[thread->lane - 1] == 0;
    pthread_mutex_unlock(&lanes_lock);
    if (last && !cuda_process_is_small &&
        cuda_begin(&call, CUDA_OP_LANE_END, CUDA_ANY_STATE) == CUDA_SUCCESS) {
        cuda_forget(&call);
    }
    thread->lane = 0;
}

/* The lane with the fewest threads. */
static void take_lane(struct cuda_thread *thread)
{
    unsigned best = 0;

    pthread_mutex_lock(&lanes_lock);
    for (unsigned i = 1; i < CUDA_LANES; i++) {
        if (lane_users[i] < lane_users[best]) {
            best = i;
        }
    }
    lane_users[best]++;
    pthread_mutex_unlock(&lanes_lock);
    thread->lane = (uint16_t)(best + 1);
    pthread_setspecific(thread_key, thread);
}

static void set_handlers(void)
{
    pthread_key_create(&thread_key, leave_lane);
    pthread_atfork(NULL, NULL, in_child);
}

struct cuda_thread *cuda_thread(void)
{
    if (this_thread.lane == 0) {
        pthread_once(&handlers, set_handlers);
        take_lane(&this_thread);
    }
    return &this_thread;
}

/* ---- opening ---- */

static const char the_first[] = "auto";

static const char *device_name(void)
{
    const char *name = getenv("VGPU_CUDA_DEVICE");

    return name && *name ? name : the_first;
}

/* A number of the environment, or what stands for one that is absent or out of bounds. */
static unsigned long setting(const char *name, unsigned long most, unsigned long otherwise)
{
    const char *text = getenv(name);
    unsigned long value = text ? strtoul(text, NULL, 10) : 0;

    return value < 1 || value > most ? otherwise : value;
}

static uint64_t pinned_bytes(void)
{
    if (cuda_process_is_small) {
        return 1u << 20;
    }
    return (uint64_t)setting("VGPU_CUDA_PINNED_MIB", CUDA_PINNED_MOST_MIB, CUDA_PINNED_MIB) << 20;
}

/* A second mapping of the arena, at an address that is free here; NULL: there is none. */
static uint8_t *map_window(uint64_t address)
{
    struct channel_link *link = cuda_process.link;
    uint64_t bytes = link->geometry.arena_bytes;
    void *wanted = (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr): agreed on */
    void *place = mmap(wanted, bytes, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);

    if (place != wanted) {
        if (place != MAP_FAILED) {
            munmap(place, bytes);
        }
        return NULL;
    }
    if (!link->way->map_again(cuda_process.v, link->layout.arena, bytes, place)) {
        munmap(place, bytes);
        return NULL;
    }
    madvise(place, bytes, MADV_DONTFORK);
    return place;
}

/* Asks for the snapshot; the worker maps the arena where the process has it. */
static CUresult greet(uint64_t address)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_INIT, CUDA_ANY_STATE);

    if (result) {
        return result;
    }
    cuda_add(&call, address);
    call.reply = &cuda_process.snapshot;
    call.reply_bytes = sizeof(cuda_process.snapshot);
    return cuda_ask(&call);
}

/* No thread uses the channel; another one may be opened. */
static void leave_channel(void)
{
    __atomic_store_n(&cuda_process.state, CUDA_BEFORE, __ATOMIC_RELEASE);
    if (cuda_process.arena) {
        munmap(cuda_process.arena, cuda_process.link->geometry.arena_bytes);
        cuda_process.arena = NULL;
    }
    vgpu_close(cuda_process.v);
    cuda_process.link = NULL;
}

static CUresult agree_on_window(void)
{
    struct channel_link *link = cuda_process.link;
    uint64_t seed = (uint64_t)getpid() * 0x9E3779B97F4A7C15u;
    CUresult result = CUDA_ERROR_DEVICE_UNAVAILABLE;

    for (unsigned i = 0; i < WINDOW_TRIES; i++) {
        uint64_t steps =
            (CUDA_WINDOW_HIGH - CUDA_WINDOW_LOW - link->geometry.arena_bytes) / CUDA_WINDOW_ALIGN;
        uint64_t address = CUDA_WINDOW_LOW + (seed >> 8) % steps * CUDA_WINDOW_ALIGN;

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        cuda_process.arena = map_window(address);
        if (!cuda_process.arena) {
            continue;
        }
        result = greet(address);
        if (result != CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED) {
            return result;
        }
        munmap(cuda_process.arena, link->geometry.arena_bytes); /* taken in the worker */
        cuda_process.arena = NULL;
    }
    return result;
}

#define OPEN_TRIES 30
#define OPEN_PAUSE_US 100000

/* No room now: a program that has just ended may have taken the VM's worker with it. */
static int open_in_time(const char *name, const struct channel_wish *with)
{
    int result = vgpu_open_channel(name, with, &cuda_process.v);

    for (int tries = 1;
         tries < OPEN_TRIES && result != VGPU_OK && vgpu_error_code(NULL) == VGPU_ERR_QUEUE_FULL;
         tries++) {
        usleep(OPEN_PAUSE_US);
        result = vgpu_open_channel(name, with, &cuda_process.v);
    }
    return result;
}

static CUresult connect_channel(const char *name)
{
    wish = (struct channel_wish){
        .profile = VGPU_PROFILE_CUDA,
        .features = VGPU_CHANNEL_COHERENT,
        .vm_id = (uint32_t)setting("VGPU_CUDA_VM_ID", UINT32_MAX, 1),
        .geometry = {.lanes = CUDA_LANES,
                     .notice_bytes = NOTICE_BYTES,
                     .command_bytes = COMMAND_BYTES,
                     .arena_bytes = CUDA_STAGING_BYTES + pinned_bytes()},
    };
    if (open_in_time(name, &wish) != VGPU_OK) {
        uint32_t code = vgpu_error_code(NULL);

        if (code == VGPU_ERR_MEMORY_LIMIT) {
            cuda_say("no GPU: the programs of this VM have all the host memory that their channels "
                     "may take; end one, give each less by VGPU_CUDA_PINNED_MIB, or ask the "
                     "host's administrator for more (vgpu-mediator --channel-memory-vm-mib)");
        } else if (code == VGPU_ERR_RATE_LIMITED) {
            cuda_say("no GPU: this VM has as many CUDA programs as it may have at a time; end one, "
                     "or ask the host's administrator for more (vgpu-admin set-program-limits "
                     "--max-processes)");
        } else {
            cuda_say("no GPU: %s%s", vgpu_last_error(NULL),
                     name == the_first && code == VGPU_ERR_NO_DEVICE
                         ? " (on a host or in a container: start the program by vgpu-run --socket "
                           "PATH, or set VGPU_CUDA_DEVICE to host:PATH of the mediator's socket)"
                         : "");
        }
        return code == VGPU_ERR_MEDIATOR_UNAVAILABLE || code == VGPU_ERR_QUEUE_FULL ||
                       code == VGPU_ERR_MEMORY_LIMIT || code == VGPU_ERR_GPU_UNAVAILABLE ||
                       code == VGPU_ERR_RATE_LIMITED
                   ? CUDA_ERROR_DEVICE_UNAVAILABLE
                   : CUDA_ERROR_NO_DEVICE;
    }
    cuda_process.link = cuda_process.v->link;
    cuda_process.control = cuda_process.link->control;
    cuda_process.pinned = CUDA_STAGING_BYTES;
    cuda_process.arena_bytes = cuda_process.link->geometry.arena_bytes;
    return CUDA_SUCCESS;
}

/* False: this process may have a channel no more, or needs none. */
static bool may_open(void)
{
    if (cuda_process_is_small && cuda_state() == CUDA_LOST) {
        leave_channel();
    }
    return cuda_state() == CUDA_BEFORE;
}

static bool hides_devices(const char *visible)
{
    return !cuda_process_is_small && visible && (*visible == '\0' || strcmp(visible, "-1") == 0);
}

static CUresult open_locked(void)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES"),
               *blocking = getenv("CUDA_LAUNCH_BLOCKING");
    const char *name = device_name();
    CUresult result;

    if (!may_open()) {
        return cuda_state() == CUDA_READY ? CUDA_SUCCESS : cuda_state_result();
    }
    if (hides_devices(visible)) {
        return CUDA_ERROR_NO_DEVICE;
    }
    cuda_process.blocking = blocking && strcmp(blocking, "0") != 0 && *blocking;
    cuda_process.spare_cpus = sysconf(_SC_NPROCESSORS_ONLN) >= SPARE_CPUS;
    pthread_once(&handlers, set_handlers);
    result = connect_channel(name);
    if (result) {
        return result;
    }
    __atomic_store_n(&cuda_process.lost_by, CUDA_SUCCESS, __ATOMIC_RELAXED);
    __atomic_store_n(&cuda_process.state, CUDA_READY, __ATOMIC_RELEASE);
    result = agree_on_window();
    if (result) {
        cuda_say("no GPU: the worker answers %d to the first call; its log says why", result);
        leave_channel();
    }
    return result;
}

CUresult cuda_open(void)
{
    CUresult result;

    pthread_mutex_lock(&open_lock);
    result = open_locked();
    pthread_mutex_unlock(&open_lock);
    return result;
}
