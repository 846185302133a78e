/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/control/export.h"

#include <stdlib.h>

#include "common/clock.h"
#include "mediator/mediator.h"
#include "mediator/control/external.h"
#include "vgpu/vgpu_admin.h"

struct admin_export {
    uv_timer_t timer;
    struct metrics_export *export;
    admin_export_done *done;
    void *opaque;
    struct json_out out;
    char step[METRICS_EXPORT_STEP_BYTES];
};

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void finish(struct admin_export *export)
{
    metrics_export_end(export->export);
    uv_close((uv_handle_t *)&export->timer, on_closed);
}

static void on_timer(uv_timer_t *timer)
{
    struct admin_export *export = timer->data;
    size_t bytes = metrics_export_step(export->export, export->step, sizeof(export->step));

    jout_bytes(&export->out, export->step, bytes);
    if (bytes > 0 && !export->out.failed) {
        uv_timer_start(timer, on_timer, 0, 0); /* after whatever else is ready */
        return;
    }
    export->done(export->opaque, &export->out);
    finish(export);
}

struct admin_export *admin_export_start(struct mediator *mediator, enum metrics_format format,
                                        admin_export_done *done, void *opaque)
{
    struct admin_export *export = malloc(sizeof(*export));
    struct metrics_external external;

    if (!export) {
        return NULL;
    }
    external_fill(mediator, &external);
    export->export = metrics_export_begin(mediator->core, format, &external, clock_now_ns());
    if (!export->export) {
        free(export);
        return NULL;
    }
    export->done = done;
    export->opaque = opaque;
    jout_init(&export->out, VGPU_ADMIN_DATA_MAX);
    uv_timer_init(&mediator->loop, &export->timer);
    export->timer.data = export;
    uv_timer_start(&export->timer, on_timer, 0, 0);
    return export;
}

void admin_export_cancel(struct admin_export *export)
{
    jout_destroy(&export->out);
    finish(export);
}
