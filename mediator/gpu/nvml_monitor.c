/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * One thread goes round: open the library and initialise NVML (again and again
 * until it works), find each GPU by its UUID, then read all of them every
 * interval, waiting in between for Xid events, which NVML reports as they
 * happen.  A reading is put together in the thread's own memory and copied
 * under the mutex when complete; no NVML call is made while holding it.  So a
 * reader never waits for NVML, and if a call hangs, what it sees is whole and
 * its age tells.
 *
 * Errors: a value that a GPU doesn't have is left out.  "Lost" and "reset
 * required" are findings about that GPU.  A lost GPU's handle never recovers, so
 * as long as one is missing NVML is shut down and begun anew every retry_ms; it
 * stays lost until it is found.  The others are read on meanwhile.  What says that NVML itself has
 * gone (uninitialised, driver unloaded or replaced) does so too, after a pause.
 *
 * Stopping: the thread looks at `stopping` at least every SLICE_MS, unless NVML
 * hangs.  Then it is detached; it owns a reference, and what it uses is freed
 * when it comes back, if it ever does.
 */
#include "mediator/gpu/nvml_monitor.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "mediator/gpu/nvml_reading.h"

#define SLICE_MS 100u
#define INTERVAL_MIN_MS 10u
#define STALE_INTERVALS 5u
#define STALE_MIN_MS 5000u
#define RETRY_MS 10000u
#define EVENTS_AT_ONCE_MAX 64u

struct gpu {
    char uuid[NVML_MONITOR_UUID_BYTES];
    nvml_device device; /* NULL: not found yet.  The thread's alone. */
    nvml_health_t draft;
    nvml_health_t published; /* under the mutex */
};

/* The file that NVML was loaded from. */
struct library {
    char path[PATH_MAX]; /* "": not known */
    struct stat st;      /* all zero: it is not there */
};

struct nvml_monitor {
    struct nvml_api api;
    nvml_event_set events;
    bool opened, initialised; /* the thread's alone */
    char *path;
    uint32_t count, interval_ms, stale_ms, retry_ms;
    uint64_t started_ns;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t wake; /* on CLOCK_MONOTONIC */
    bool stopping, hold, held, running;
    bool ended, abandoned;
    uint32_t replaced; /* how often the library's file has become another one */
    char reason[NVML_REASON_BYTES];
    struct library library; /* the thread's alone */
    struct gpu gpus[NVML_MONITOR_GPUS_MAX];
};

/* ---- the thread: reading ---- */

static void publish(struct nvml_monitor *monitor, struct gpu *gpu)
{
    pthread_mutex_lock(&monitor->lock);
    gpu->published = gpu->draft;
    pthread_mutex_unlock(&monitor->lock);
}

enum reading {
    READING_FINE,
    READING_GPU_GONE,  /* its handle is of no more use */
    READING_NVML_GONE, /* no handle is */
};

static enum reading read_gpu(struct nvml_monitor *monitor, struct gpu *gpu)
{
    nvml_health_t *draft = &gpu->draft;
    const nvml_health_t before = gpu->draft;

    memset(draft, 0, sizeof(*draft));
    draft->xid_count = before.xid_count;
    draft->last_xid = before.last_xid;
    draft->last_xid_ns = before.last_xid_ns;
    draft->reset_xid = before.reset_xid;
    draft->has = before.has & NVML_HAS_XIDS;
    if (gpu->device) {
        nvml_read_device(&monitor->api, gpu->device, draft);
    } else {
        /* As found when NVML began. */
        draft->lost = before.lost;
        draft->reset_required = before.reset_required;
        draft->error = before.error;
        draft->error_reading = before.error_reading;
        draft->error_text = before.error_text;
    }
    draft->taken_ns = clock_now_ns();
    publish(monitor, gpu);
    switch (draft->error) {
    case NVML_UNINITIALIZED:
    case NVML_DRIVER_NOT_LOADED:
    case NVML_VERSION_MISMATCH: return READING_NVML_GONE;
    default: return draft->lost || !gpu->device ? READING_GPU_GONE : READING_FINE;
    }
}

static void note_xid(struct nvml_monitor *monitor, const struct nvml_event_data *event)
{
    for (uint32_t i = 0; i < monitor->count; i++) {
        struct gpu *gpu = &monitor->gpus[i];
        uint32_t xid = (uint32_t)event->data;

        if (!(event->type & NVML_EVENT_XID) || gpu->device != event->device) {
            continue;
        }
        gpu->draft.xid_count++;
        gpu->draft.last_xid = xid;
        gpu->draft.last_xid_ns = clock_now_ns();
        if (nvml_xid_needs_reset(xid)) {
            gpu->draft.reset_xid = xid;
        }
        /* What was read before stays as it is, and as old as it is. */
        pthread_mutex_lock(&monitor->lock);
        gpu->published.xid_count = gpu->draft.xid_count;
        gpu->published.last_xid = xid;
        gpu->published.last_xid_ns = gpu->draft.last_xid_ns;
        gpu->published.reset_xid = gpu->draft.reset_xid;
        pthread_mutex_unlock(&monitor->lock);
        log_warning("GPU %s: Xid %u%s%s", gpu->uuid, xid, *nvml_xid_meaning(xid) ? ": " : "",
                    nvml_xid_meaning(xid));
    }
}

/* ---- the thread: life ---- */

static bool must_pause(struct nvml_monitor *monitor)
{
    bool pause;

    pthread_mutex_lock(&monitor->lock);
    pause = monitor->stopping || monitor->hold;
    pthread_mutex_unlock(&monitor->lock);
    return pause;
}

static bool is_stopping(struct nvml_monitor *monitor)
{
    bool stopping;

    pthread_mutex_lock(&monitor->lock);
    stopping = monitor->stopping;
    pthread_mutex_unlock(&monitor->lock);
    return stopping;
}

/* Sleeps until the time has come, or until something is wanted of the thread. */
static void sleep_until(struct nvml_monitor *monitor, uint64_t due_ns)
{
    struct timespec due = clock_timespec(due_ns);

    pthread_mutex_lock(&monitor->lock);
    while (!monitor->stopping && !monitor->hold && clock_now_ns() < due_ns) {
        pthread_cond_timedwait(&monitor->wake, &monitor->lock, &due);
    }
    pthread_mutex_unlock(&monitor->lock);
}

/* Xids until the next reading is due. */
static void watch_until(struct nvml_monitor *monitor, uint64_t due_ns)
{
    unsigned seen = 0;

    while (monitor->events && !must_pause(monitor)) {
        uint64_t now_ns = clock_now_ns();
        uint64_t left_ms = now_ns < due_ns ? (due_ns - now_ns) / NS_PER_MS + 1 : 0;
        struct nvml_event_data event = {0};
        nvml_result result;

        if (left_ms == 0 && (seen == 0 || seen >= EVENTS_AT_ONCE_MAX)) {
            return;
        }
        result = monitor->api.EventSetWait(monitor->events, &event,
                                           left_ms < SLICE_MS ? (unsigned)left_ms : SLICE_MS);
        if (result == NVML_OK) {
            note_xid(monitor, &event);
            seen++;
        } else if (result != NVML_TIMEOUT || left_ms == 0) {
            break;
        }
    }
    sleep_until(monitor, due_ns);
}

static void set_running(struct nvml_monitor *monitor, bool running, const char *reason)
{
    pthread_mutex_lock(&monitor->lock);
    monitor->running = running;
    snprintf(monitor->reason, sizeof(monitor->reason), "%s", reason);
    pthread_mutex_unlock(&monitor->lock);
}

static void tell_trouble(const struct nvml_monitor *monitor, const char *what, nvml_result result,
                         char reason[NVML_REASON_BYTES])
{
    const char *text = monitor->api.ErrorString(result);

    snprintf(
        reason, NVML_REASON_BYTES, "%s: %s (error %u)%s", what, text ? text : "unknown", result,
        result == NVML_VERSION_MISMATCH
            ? "; the driver's library and its kernel module have different versions, as after "
              "an upgrade: load the new module (end what uses the GPUs, then rmmod nvidia), or "
              "reboot"
            : "");
}

static void look_at_library(struct library *library)
{
    if (stat(library->path, &library->st) < 0) {
        memset(&library->st, 0, sizeof(library->st));
    }
}

static void remember_library(struct nvml_monitor *monitor)
{
    void *function = NULL;
    Dl_info info;

    memcpy(&function, &monitor->api.Init, sizeof(function));
    if (dladdr(function, &info) && info.dli_fname &&
        strlen(info.dli_fname) < sizeof(monitor->library.path)) {
        strcpy(monitor->library.path, info.dli_fname);
        look_at_library(&monitor->library);
    }
}

/* NVML goes on with the file that it was loaded from; what starts from now on does not. */
static void watch_library(struct nvml_monitor *monitor)
{
    const struct stat before = monitor->library.st;
    const struct stat *now = &monitor->library.st;

    if (!monitor->library.path[0]) {
        return;
    }
    look_at_library(&monitor->library);
    if (now->st_ino != before.st_ino || now->st_dev != before.st_dev ||
        now->st_mtim.tv_sec != before.st_mtim.tv_sec) {
        pthread_mutex_lock(&monitor->lock);
        monitor->replaced++;
        pthread_mutex_unlock(&monitor->lock);
    }
}

static bool begin(struct nvml_monitor *monitor)
{
    char reason[NVML_REASON_BYTES] = "";
    nvml_result result;

    if (!monitor->opened) {
        if (nvml_api_open(&monitor->api, monitor->path, reason) < 0) {
            set_running(monitor, false, reason);
            return false;
        }
        monitor->opened = true;
        remember_library(monitor);
    }
    result = monitor->api.Init();
    if (result != NVML_OK) {
        tell_trouble(monitor, "NVML does not start", result, reason);
        set_running(monitor, false, reason);
        return false;
    }
    monitor->initialised = true;
    if (monitor->api.EventSetCreate && monitor->api.DeviceRegisterEvents &&
        monitor->api.EventSetWait && monitor->api.EventSetCreate(&monitor->events) != NVML_OK) {
        monitor->events = NULL;
    }
    for (uint32_t i = 0; i < monitor->count; i++) {
        struct gpu *gpu = &monitor->gpus[i];
        const bool was_lost = gpu->draft.lost;

        gpu->draft.lost = gpu->draft.reset_required = false;
        gpu->draft.error = NVML_OK;
        gpu->draft.has = 0;
        result = monitor->api.DeviceGetHandleByUUID(gpu->uuid, &gpu->device);
        if (!nvml_call_worked(&monitor->api, &gpu->draft, "which GPU it is", result)) {
            gpu->device = NULL;
            gpu->draft.lost |= was_lost && result == NVML_NOT_FOUND;
        } else if (monitor->events &&
                   monitor->api.DeviceRegisterEvents(gpu->device, NVML_EVENT_XID,
                                                     monitor->events) == NVML_OK) {
            gpu->draft.has = NVML_HAS_XIDS;
        }
    }
    set_running(monitor, true, "");
    return true;
}

static void end(struct nvml_monitor *monitor)
{
    if (monitor->events && monitor->api.EventSetFree) {
        monitor->api.EventSetFree(monitor->events);
    }
    monitor->events = NULL;
    if (monitor->initialised) {
        monitor->api.Shutdown();
    }
    monitor->initialised = false;
    for (uint32_t i = 0; i < monitor->count; i++) {
        monitor->gpus[i].device = NULL;
    }
}

/* Until NVML must begin anew: at once (true), or after a pause. */
static bool serve(struct nvml_monitor *monitor)
{
    const uint64_t anew_ns = clock_now_ns() + monitor->retry_ms * NS_PER_MS;
    char reason[NVML_REASON_BYTES];

    while (!must_pause(monitor)) {
        uint64_t due_ns = clock_now_ns() + monitor->interval_ms * NS_PER_MS;
        bool all_there = true;

        watch_library(monitor);
        for (uint32_t i = 0; i < monitor->count && !must_pause(monitor); i++) {
            switch (read_gpu(monitor, &monitor->gpus[i])) {
            case READING_FINE: break;
            case READING_GPU_GONE: all_there = false; break;
            case READING_NVML_GONE:
                tell_trouble(monitor, "the NVIDIA driver has gone", monitor->gpus[i].draft.error,
                             reason);
                set_running(monitor, false, reason);
                return false;
            }
        }
        if (!all_there && clock_now_ns() >= anew_ns) {
            return true;
        }
        watch_until(monitor, due_ns);
    }
    return true;
}

/* NVML is down: says so, waits for the release, and forgets what the reset has mended. */
static void stay_held(struct nvml_monitor *monitor)
{
    pthread_mutex_lock(&monitor->lock);
    monitor->held = true;
    while (monitor->hold && !monitor->stopping) {
        pthread_cond_wait(&monitor->wake, &monitor->lock);
    }
    monitor->held = false;
    for (uint32_t i = 0; i < monitor->count; i++) {
        memset(&monitor->gpus[i].draft, 0, sizeof(monitor->gpus[i].draft));
        memset(&monitor->gpus[i].published, 0, sizeof(monitor->gpus[i].published));
    }
    monitor->started_ns = clock_now_ns();
    pthread_mutex_unlock(&monitor->lock);
}

static bool is_held(struct nvml_monitor *monitor)
{
    bool hold;

    pthread_mutex_lock(&monitor->lock);
    hold = monitor->hold && !monitor->stopping;
    pthread_mutex_unlock(&monitor->lock);
    return hold;
}

static void free_monitor(struct nvml_monitor *monitor)
{
    pthread_mutex_destroy(&monitor->lock);
    pthread_cond_destroy(&monitor->wake);
    free(monitor->path);
    free(monitor);
}

static void *run(void *opaque)
{
    struct nvml_monitor *monitor = opaque;
    bool abandoned;

    while (!is_stopping(monitor)) {
        bool at_once;

        if (is_held(monitor)) {
            stay_held(monitor);
            continue;
        }
        at_once = begin(monitor) && serve(monitor);
        end(monitor);
        if (!at_once) {
            sleep_until(monitor, clock_now_ns() + monitor->retry_ms * NS_PER_MS);
        }
    }
    pthread_mutex_lock(&monitor->lock);
    monitor->ended = true;
    abandoned = monitor->abandoned;
    pthread_cond_broadcast(&monitor->wake);
    pthread_mutex_unlock(&monitor->lock);
    if (abandoned) {
        free_monitor(monitor);
    }
    return NULL;
}

/* ---- the others ---- */

/* Signals are the main thread's. */
static int start_thread(struct nvml_monitor *monitor)
{
    sigset_t all, before;
    int ret;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ret = -pthread_create(&monitor->thread, NULL, run, monitor);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ret == 0) {
        pthread_setname_np(monitor->thread, "nvml");
    }
    return ret;
}

int nvml_monitor_start(const struct nvml_monitor_config *config, struct nvml_monitor **result)
{
    struct nvml_monitor *monitor = calloc(1, sizeof(*monitor));
    pthread_condattr_t attributes;
    int ret;

    assert(config->count >= 1 && config->count <= NVML_MONITOR_GPUS_MAX);
    if (!monitor) {
        return -ENOMEM;
    }
    monitor->path = config->path ? strdup(config->path) : NULL;
    if (config->path && !monitor->path) {
        free(monitor);
        return -ENOMEM;
    }
    monitor->count = config->count;
    monitor->interval_ms =
        config->interval_ms < INTERVAL_MIN_MS ? INTERVAL_MIN_MS : config->interval_ms;
    monitor->stale_ms =
        config->stale_ms ? config->stale_ms : monitor->interval_ms * STALE_INTERVALS;
    if (!config->stale_ms && monitor->stale_ms < STALE_MIN_MS) {
        monitor->stale_ms = STALE_MIN_MS;
    }
    monitor->retry_ms = config->retry_ms ? config->retry_ms : RETRY_MS;
    monitor->started_ns = clock_now_ns();
    snprintf(monitor->reason, sizeof(monitor->reason), "NVML has not answered yet");
    for (uint32_t i = 0; i < config->count; i++) {
        snprintf(monitor->gpus[i].uuid, sizeof(monitor->gpus[i].uuid), "%s", config->uuids[i]);
    }
    pthread_mutex_init(&monitor->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&monitor->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    ret = start_thread(monitor);
    if (ret < 0) {
        free_monitor(monitor);
        return ret;
    }
    *result = monitor;
    return 0;
}

void nvml_monitor_read(struct nvml_monitor *monitor, uint32_t index, nvml_health_t *health)
{
    uint64_t now_ns, since_ns;

    assert(index < monitor->count);
    pthread_mutex_lock(&monitor->lock);
    *health = monitor->gpus[index].published;
    since_ns = health->taken_ns ? health->taken_ns : monitor->started_ns;
    pthread_mutex_unlock(&monitor->lock);
    now_ns = clock_now_ns();
    health->age_ns = now_ns > since_ns ? now_ns - since_ns : 0;
    health->stale = health->age_ns > monitor->stale_ms * NS_PER_MS;
}

bool nvml_monitor_running(struct nvml_monitor *monitor, char reason[NVML_REASON_BYTES])
{
    bool running;

    pthread_mutex_lock(&monitor->lock);
    running = monitor->running;
    memcpy(reason, monitor->reason, NVML_REASON_BYTES);
    pthread_mutex_unlock(&monitor->lock);
    return running;
}

uint32_t nvml_monitor_replaced(struct nvml_monitor *monitor)
{
    uint32_t replaced;

    pthread_mutex_lock(&monitor->lock);
    replaced = monitor->replaced;
    pthread_mutex_unlock(&monitor->lock);
    return replaced;
}

void nvml_monitor_hold(struct nvml_monitor *monitor, bool hold)
{
    pthread_mutex_lock(&monitor->lock);
    monitor->hold = hold;
    pthread_cond_broadcast(&monitor->wake);
    pthread_mutex_unlock(&monitor->lock);
}

bool nvml_monitor_held(struct nvml_monitor *monitor)
{
    bool held;

    pthread_mutex_lock(&monitor->lock);
    held = monitor->held;
    pthread_mutex_unlock(&monitor->lock);
    return held;
}

bool nvml_monitor_stop(struct nvml_monitor *monitor, uint32_t timeout_ms)
{
    uint64_t due_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    struct timespec due = clock_timespec(due_ns);
    pthread_t thread = monitor->thread;
    bool ended;

    pthread_mutex_lock(&monitor->lock);
    monitor->stopping = true;
    pthread_cond_broadcast(&monitor->wake);
    while (!monitor->ended && clock_now_ns() < due_ns) {
        pthread_cond_timedwait(&monitor->wake, &monitor->lock, &due);
    }
    ended = monitor->ended;
    monitor->abandoned = !ended;
    pthread_mutex_unlock(&monitor->lock);
    if (!ended) {
        log_warning("NVML hangs; its thread is left alone");
        pthread_detach(thread);
        return false;
    }
    pthread_join(thread, NULL);
    free_monitor(monitor);
    return true;
}
