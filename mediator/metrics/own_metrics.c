/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/metrics/own_metrics.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mediator/control/health_watch.h"
#include "mediator/health/health.h"
#include "mediator/control/server.h"
#include "mediator/gpu/gpu_health.h"
#include "mediator/workers/gpus.h"
#include "mediator/metrics/http_metrics.h"
#include "mediator/mediator.h"
#include "mediator/sessions/session_io.h"
#include "mediator/workers/supervisor.h"

_Static_assert(HEALTH_KIND_COUNT <= METRICS_HEALTH_KINDS_MAX, "each kind has its series");

struct own_metrics {
    struct mediator *mediator;
    uv_prepare_t prepare;
    bool open;
    uint64_t turn_ns, idle_ns; /* at the last prepare */
    double start_time_seconds;
    /* Opened while we still may. */
    int statm_fd, fds_fd;
    struct metrics_histogram loop;
};

/*
 * Once a turn of the loop, before it waits: since the last time it was busy for
 * what it was not idle.  That is what an event that came at its beginning
 * waited for, at most.
 */
static void on_prepare(uv_prepare_t *prepare)
{
    struct own_metrics *own = prepare->data;
    uint64_t now_ns = uv_hrtime();
    uint64_t idle_ns = uv_metrics_idle_time(prepare->loop);
    uint64_t turn_ns = now_ns - own->turn_ns, idle = idle_ns - own->idle_ns;

    if (own->turn_ns != 0) {
        metrics_histogram_add(&own->loop, turn_ns > idle ? turn_ns - idle : 0);
    }
    own->turn_ns = now_ns;
    own->idle_ns = idle_ns;
}

struct own_metrics *own_metrics_start(struct mediator *mediator)
{
    struct own_metrics *own = calloc(1, sizeof(*own));
    struct timespec now;

    if (!own) {
        return NULL;
    }
    own->mediator = mediator;
    clock_gettime(CLOCK_REALTIME, &now);
    own->start_time_seconds = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    own->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    own->fds_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (uv_loop_configure(&mediator->loop, UV_METRICS_IDLE_TIME) == 0 &&
        uv_prepare_init(&mediator->loop, &own->prepare) == 0) {
        own->open = true;
        own->prepare.data = own;
        uv_prepare_start(&own->prepare, on_prepare);
    }
    return own;
}

void own_metrics_stop(struct own_metrics *own)
{
    if (own && own->open) {
        own->open = false;
        uv_close((uv_handle_t *)&own->prepare, NULL);
    }
}

void own_metrics_free(struct own_metrics *own)
{
    if (!own) {
        return;
    }
    if (own->statm_fd >= 0) {
        close(own->statm_fd);
    }
    if (own->fds_fd >= 0) {
        close(own->fds_fd);
    }
    free(own);
}

static double resident_bytes(const struct own_metrics *own)
{
    unsigned long long resident;
    char text[128];
    ssize_t n = own->statm_fd < 0 ? -1 : pread(own->statm_fd, text, sizeof(text) - 1, 0);

    if (n <= 0) {
        return NAN;
    }
    text[n] = '\0';
    return sscanf(text, "%*u %llu", &resident) == 1
               ? (double)resident * (double)sysconf(_SC_PAGESIZE)
               : NAN;
}

/* Kernels from 6.2 on tell how many there are; counting them would take too long. */
static double open_fds(const struct own_metrics *own)
{
    struct stat status;

    return own->fds_fd >= 0 && fstat(own->fds_fd, &status) == 0 && status.st_size > 0
               ? (double)status.st_size
               : NAN;
}

static double cpu_seconds(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) < 0) {
        return NAN;
    }
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void own_metrics_fill(struct own_metrics *own, struct mediator *mediator,
                      struct metrics_external *external)
{
    metrics_external_init(external);
    external->version = VGPU_VERSION;
    external->backend = mediator->backend;
    health_watch_look(mediator->health_watch);
    external->health_kind_count = HEALTH_KIND_COUNT;
    for (int kind = 0; kind < HEALTH_KIND_COUNT; kind++) {
        external->health_kinds[kind] = health_kind_name((enum health_kind)kind);
        external->health_problems[kind] =
            health_kind_count(mediator->health, (enum health_kind)kind);
    }
    external->uptime_seconds = (double)(mediator_now_ns() - mediator->started_ns) / 1e9;
    external->cpu_seconds = cpu_seconds();
    external->sessions = session_io_count(mediator->sessions);
    external->workers = supervisor_count(mediator->supervisor);
    if (mediator->admin) {
        external->admin_clients = admin_server_clients(mediator->admin);
    }
    if (mediator->http) {
        external->http_clients = http_metrics_clients(mediator->http);
    }
    if (own) {
        external->start_time_seconds = own->start_time_seconds;
        external->resident_memory_bytes = resident_bytes(own);
        external->open_fds = open_fds(own);
        external->loop = own->loop;
    }
    for (uint32_t gpu = 0; mediator->gpus && gpu < mediator->gpus->count; gpu++) {
        external->gpu_names[gpu] = mediator->gpus->gpus[gpu].name;
        if (mediator->gpus->gpus[gpu].memory_bytes > 0) {
            external->gpus[gpu].memory_total_bytes = (double)mediator->gpus->gpus[gpu].memory_bytes;
        }
        gpu_health_fill(mediator->gpu_health, gpu, &external->gpus[gpu]);
        gpu_health_fill(mediator->gpu_health, gpu, &external->gpus[gpu]);
    }
}
