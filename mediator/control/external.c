/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/clock.h"
#include "mediator/control/external.h"
#include "common/ns.h"

#include "mediator/control/health_watch.h"
#include "mediator/control/server.h"
#include "mediator/gpu/gpu_health.h"
#include "mediator/health/health.h"
#include "mediator/mediator.h"
#include "mediator/metrics/http_metrics.h"
#include "mediator/metrics/own_metrics.h"
#include "mediator/sessions/session_io.h"
#include "mediator/workers/gpus.h"
#include "mediator/workers/supervisor.h"

_Static_assert(HEALTH_KIND_COUNT <= METRICS_HEALTH_KINDS_MAX, "each kind has its series");

static void fill_health(struct mediator *mediator, struct metrics_external *external)
{
    health_watch_look(mediator->health_watch);
    external->health_kind_count = HEALTH_KIND_COUNT;
    for (int kind = 0; kind < HEALTH_KIND_COUNT; kind++) {
        external->health_kinds[kind] = health_kind_name((enum health_kind)kind);
        external->health_problems[kind] =
            health_kind_count(mediator->health, (enum health_kind)kind);
    }
}

static void fill_gpus(struct mediator *mediator, struct metrics_external *external)
{
    for (uint32_t gpu = 0; mediator->gpus && gpu < mediator->gpus->count; gpu++) {
        external->gpu_names[gpu] = mediator->gpus->gpus[gpu].name;
        if (mediator->gpus->gpus[gpu].memory_bytes > 0) {
            external->gpus[gpu].memory_total_bytes = (double)mediator->gpus->gpus[gpu].memory_bytes;
        }
        gpu_health_fill(mediator->gpu_health, gpu, &external->gpus[gpu]);
    }
}

void external_fill(struct mediator *mediator, struct metrics_external *external)
{
    metrics_external_init(external);
    external->version = VGPU_VERSION;
    external->backend = mediator->backend;
    external->uptime_seconds = (double)(clock_now_ns() - mediator->started_ns) / NS_PER_S;
    external->sessions = session_io_count(mediator->sessions);
    external->workers = supervisor_count(mediator->supervisor);
    if (mediator->admin) {
        external->admin_clients = admin_server_clients(mediator->admin);
    }
    if (mediator->http) {
        external->http_clients = http_metrics_clients(mediator->http);
    }
    own_metrics_fill(mediator->own_metrics, external);
    fill_health(mediator, external);
    fill_gpus(mediator, external);
}
