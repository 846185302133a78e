/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/clock.h"
#include "mediator/metrics/own_metrics.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct own_metrics {
    uv_prepare_t prepare;
    bool open;
    uint64_t turn_ns, idle_ns; /* at the last prepare */
    double start_time_seconds;
    /* Opened while we still may. */
    int statm_fd, fds_fd;
    struct metrics_histogram loop;
};

/*
 * Runs once in each turn of the loop, before it waits.  The time since its last run, less the time
 * that the loop was idle, is how long it was busy: no event waited longer than that.
 */
static void on_prepare(uv_prepare_t *prepare)
{
    struct own_metrics *own = prepare->data;
    uint64_t now_ns = clock_now_ns();
    uint64_t idle_ns = uv_metrics_idle_time(prepare->loop);
    uint64_t turn_ns = now_ns - own->turn_ns, idle = idle_ns - own->idle_ns;

    if (own->turn_ns != 0) {
        metrics_histogram_add(&own->loop, turn_ns > idle ? turn_ns - idle : 0);
    }
    own->turn_ns = now_ns;
    own->idle_ns = idle_ns;
}

struct own_metrics *own_metrics_start(uv_loop_t *loop)
{
    struct own_metrics *own = calloc(1, sizeof(*own));

    if (!own) {
        return NULL;
    }
    own->start_time_seconds = (double)clock_read_ns(CLOCK_REALTIME) / NS_PER_S;
    own->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    own->fds_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (uv_loop_configure(loop, UV_METRICS_IDLE_TIME) == 0 &&
        uv_prepare_init(loop, &own->prepare) == 0) {
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

void own_metrics_fill(const struct own_metrics *own, struct metrics_external *external)
{
    external->cpu_seconds = cpu_seconds();
    if (own) {
        external->start_time_seconds = own->start_time_seconds;
        external->resident_memory_bytes = resident_bytes(own);
        external->open_fds = open_fds(own);
        external->loop = own->loop;
    }
}
