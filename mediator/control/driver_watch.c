/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/control/driver_watch.h"

#include <stdlib.h>
#include <string.h>

#include "common/unused.h"
#include "core/core.h"
#include "mediator/health/health.h"
#include "mediator/mediator.h"
#include "mediator/workers/gpus.h"
#include "vgpu/vgpu_worker.h"

#define SUBJECT "GPU driver"

struct driver_watch {
    struct mediator *mediator;
    struct gpu_list *gpus;
    void (*taken_up)(void);
    uv_timer_t timer;
    uv_work_t work;
    bool open, looking, again;
    bool failed;     /* it is reported as a problem */
    uint32_t doubts; /* that were looked into */
    /* The look's result: the thread's while it is looking. */
    struct gpu_list found;
    int ret;
    char error[512];
};

struct driver_watch *driver_watch_new(struct mediator *mediator, struct gpu_list *gpus,
                                      void (*taken_up)(void))
{
    struct driver_watch *watch = calloc(1, sizeof(*watch));

    if (watch) {
        watch->mediator = mediator;
        watch->gpus = gpus;
        watch->taken_up = taken_up;
    }
    return watch;
}

void driver_watch_free(struct driver_watch *watch)
{
    free(watch);
}

static void report(struct driver_watch *watch, const char *reason)
{
    watch->failed = true;
    health_report(watch->mediator->health, HEALTH_DRIVER, HEALTH_ERROR, SUBJECT,
                  "%s; VMs get no GPU meanwhile. It is looked at again every %u s; nvidia-smi and "
                  "dmesg say more, --backend cpu needs no GPU",
                  reason, DRIVER_WATCH_MS / 1000);
}

static void look(uv_work_t *work)
{
    struct driver_watch *watch = work->data;

    watch->error[0] = '\0';
    watch->ret = gpus_probe(&watch->mediator->options, watch->mediator->keeper, &watch->found,
                            watch->error, sizeof(watch->error));
}

static void on_timer(uv_timer_t *timer);

static void on_looked(uv_work_t *work, UNUSED int status)
{
    struct driver_watch *watch = work->data;
    struct mediator *mediator = watch->mediator;

    watch->looking = false;
    if (!watch->open || mediator->stopping) {
        return;
    }
    if (watch->ret < 0 || watch->found.count == 0 || strcmp(watch->found.backend, "cuda") != 0) {
        report(watch, watch->ret < 0 ? watch->error : watch->found.reason);
        uv_timer_start(&watch->timer, on_timer, DRIVER_WATCH_MS, 0);
        return;
    }
    if (watch->gpus->count == 0) {
        *watch->gpus = watch->found;
        watch->taken_up();
    }
    watch->failed = false;
    health_clear(mediator->health, HEALTH_DRIVER, SUBJECT);
    if (watch->again) {
        watch->again = false;
        uv_timer_start(&watch->timer, on_timer, DRIVER_WATCH_MS, 0);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct driver_watch *watch = timer->data;

    if (!watch->looking &&
        uv_queue_work(&watch->mediator->loop, &watch->work, look, on_looked) == 0) {
        watch->looking = true;
    }
}

static void look_now(struct driver_watch *watch)
{
    if (watch->looking) {
        watch->again = true;
    } else {
        uv_timer_start(&watch->timer, on_timer, 0, 0);
    }
}

void driver_watch_event(struct driver_watch *watch, const struct core_event *event)
{
    if (!watch || !watch->open || strcmp(watch->mediator->backend, "cuda") != 0) {
        return;
    }
    /* A worker could not use its GPU: is it the driver, or only this worker? */
    if (event->kind == CORE_EVENT_WORKER_LOST && event->value == CORE_WORKER_END_EXITED &&
        event->code == VGPU_WORKER_EXIT_BACKEND && !uv_is_active((uv_handle_t *)&watch->timer)) {
        look_now(watch);
    }
    /* One can use it again: no need to wait for the next look. */
    if (event->kind == CORE_EVENT_WORKER_READY && watch->failed) {
        look_now(watch);
    }
}

void driver_watch_doubts(struct driver_watch *watch, uint32_t doubts)
{
    if (watch && watch->open && doubts != watch->doubts) {
        watch->doubts = doubts;
        look_now(watch);
    }
}

int driver_watch_start(struct driver_watch *watch)
{
    int ret = uv_timer_init(&watch->mediator->loop, &watch->timer);

    if (ret < 0) {
        return ret;
    }
    watch->open = true;
    watch->timer.data = watch;
    watch->work.data = watch;
    if (watch->gpus->count == 0) {
        report(watch, watch->gpus->reason);
        return uv_timer_start(&watch->timer, on_timer, DRIVER_WATCH_MS, 0);
    }
    return 0;
}

void driver_watch_stop(struct driver_watch *watch)
{
    if (watch && watch->open) {
        watch->open = false;
        uv_close((uv_handle_t *)&watch->timer, NULL);
    }
}
