/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "admin/top/top_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "admin/base/json_get.h"
#include "admin/base/live.h"
#include "common/names.h"
#include "common/ns.h"
#include "common/json_number.h"

/* ---- a look ---- */

static void copy(char *out, size_t bytes, const char *text)
{
    snprintf(out, bytes, "%s", text);
}

/* The first of the keys that is a number, times its scale; NAN without any. */
struct key {
    const char *name;
    double scale;
};

static double first_number(const json_t *object, const struct key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (json_has_number(object, keys[i].name)) {
            return json_get_number(object, keys[i].name, NAN) * keys[i].scale;
        }
    }
    return NAN;
}

#define FIRST(object, ...)                                                                         \
    first_number(object, (const struct key[]){__VA_ARGS__},                                        \
                 sizeof((const struct key[]){__VA_ARGS__}) / sizeof(struct key))

/* A GPU's readings are in its "health", if NVML is there. */
static void read_health(struct top_gpu *gpu, const json_t *object)
{
    const json_t *readings = json_object_get(object, "health");

    readings = json_is_object(readings) ? readings : object;
    gpu->temperature_c = FIRST(readings, {"temperature_c", 1}, {"temperature_celsius", 1});
    gpu->power_w = FIRST(readings, {"power_w", 1}, {"power_mw", 1e-3}, {"power_watts", 1});
    gpu->utilization =
        FIRST(readings, {"gpu_percent", 0.01}, {"utilization_percent", 0.01}, {"utilization", 1});
    gpu->memory_used_bytes = FIRST(readings, {"memory_used_bytes", 1});
    gpu->memory_total_bytes = FIRST(readings, {"memory_total_bytes", 1});
    gpu->needs_reset = json_get_bool(readings, "needs_reset");
}

static const json_t *find(const json_t *list, const char *key, json_int_t value)
{
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (json_get_int(item, key, -1) == value) {
            return item;
        }
    }
    return NULL;
}

static void read_gpu(struct top_gpu *gpu, const json_t *object, const json_t *health, size_t i)
{
    gpu->index = (unsigned)json_get_int(object, "index", (json_int_t)i);
    copy(gpu->name, sizeof(gpu->name), json_get_text(object, "name", "?"));
    copy(gpu->state, sizeof(gpu->state), json_get_text(object, "state", "?"));
    gpu->queued = FIRST(object, {"queued", 1});
    gpu->in_flight = FIRST(object, {"in_flight", 1});
    gpu->busy_ns = FIRST(object, {"busy_ns", 1});
    gpu->context_switches = FIRST(object, {"context_switches", 1});
    read_health(gpu, find(json_object_get(health, "gpus"), "index", gpu->index));
    if (isnan(gpu->memory_total_bytes)) {
        gpu->memory_total_bytes = FIRST(object, {"memory_bytes", 1});
    }
}

static unsigned read_priority(const json_t *object)
{
    const char *name = json_get_text(object, "priority", NULL);
    int priority = name ? priority_from_name(name) : -1;

    return priority >= 0 ? (unsigned)priority : (unsigned)json_get_int(object, "priority", 1);
}

static void read_vm(struct top_vm *vm, const json_t *object, const json_t *metrics)
{
    const json_t *latency;

    vm->vm_id = (uint32_t)json_get_int(object, "vm_id", 0);
    copy(vm->uuid, sizeof(vm->uuid), json_get_text(object, "uuid", ""));
    copy(vm->name, sizeof(vm->name), json_get_text(object, "name", ""));
    copy(vm->state, sizeof(vm->state), live_state(object));
    vm->pool = json_get_text(object, "pool", "?")[0];
    vm->priority = read_priority(object);
    vm->weight = json_get_number(object, "weight", 0);
    vm->connected = json_get_bool(object, "connected");
    vm->quarantined = json_get_bool(object, "quarantined");
    vm->gpu = FIRST(object, {"gpu", 1});
    vm->queue_depth = FIRST(object, {"queue_depth", 1});
    vm->in_flight = FIRST(object, {"in_flight", 1});
    vm->due_share = FIRST(object, {"due_share", 1});
    vm->share = FIRST(object, {"share", 1});
    vm->completed = FIRST(object, {"completed", 1});
    vm->errors = FIRST(object, {"errors", 1});
    vm->rejected = live_refused(object);
    vm->owed_ns = live_owed_ns(object);
    vm->entitled_ns = FIRST(object, {"entitled_ns", 1});
    vm->kept_idle_ns = FIRST(object, {"kept_idle_ns", 1});
    vm->switching_ns = FIRST(object, {"switching_ns", 1});
    vm->programs = FIRST(object, {"programs", 1});
    vm->launches = FIRST(object, {"launches", 1});
    vm->overdue = vm->queue_depth > 0 && vm->owed_ns > 0;

    metrics = find(json_object_get(metrics, "vms"), "vm_id", vm->vm_id);
    latency = json_object_get(json_object_get(metrics, "latency"), "total");
    vm->p99_ns = json_has_number(latency, "samples") && json_get_int(latency, "samples", 0) == 0
                     ? NAN
                     : FIRST(latency, {"p99_ns", 1});
}

struct top_snapshot *top_snapshot_new(const json_t *status, const json_t *metrics,
                                      const json_t *health, double time_s)
{
    const json_t *gpus = json_object_get(status, "gpus"), *vms = json_object_get(status, "vms");
    struct top_snapshot *s =
        json_is_array(gpus) && json_is_array(vms) ? calloc(1, sizeof(*s)) : NULL;

    if (!s) {
        return NULL;
    }
    s->time_s = time_s;
    s->uptime_s = json_get_number(status, "uptime_s", NAN);
    copy(s->version, sizeof(s->version), json_get_text(status, "version", "?"));
    copy(s->policy, sizeof(s->policy), json_get_text(status, "policy", "?"));
    copy(s->backend, sizeof(s->backend), json_get_text(status, "backend", "?"));
    s->paused = json_get_bool(status, "paused");
    s->has_db = json_is_string(json_object_get(status, "database"));
    s->gpus = calloc(json_array_size(gpus) + 1, sizeof(*s->gpus));
    s->vms = calloc(json_array_size(vms) + 1, sizeof(*s->vms));
    if (!s->gpus || !s->vms) {
        top_snapshot_free(s);
        return NULL;
    }
    for (; s->gpu_count < json_array_size(gpus); s->gpu_count++) {
        read_gpu(&s->gpus[s->gpu_count], json_array_get(gpus, s->gpu_count), health, s->gpu_count);
    }
    for (; s->vm_count < json_array_size(vms); s->vm_count++) {
        read_vm(&s->vms[s->vm_count], json_array_get(vms, s->vm_count), metrics);
    }
    return s;
}

void top_snapshot_free(struct top_snapshot *s)
{
    if (s) {
        free(s->gpus);
        free(s->vms);
        free(s);
    }
}

/* ---- order ---- */

static const char *const sort_names[TOP_SORT_COUNT] = {
    [TOP_SORT_VM_ID] = "vm_id",   [TOP_SORT_NAME] = "name",   [TOP_SORT_STATE] = "state",
    [TOP_SORT_WEIGHT] = "weight", [TOP_SORT_SHARE] = "share", [TOP_SORT_DUE] = "due",
    [TOP_SORT_QUEUE] = "queue",   [TOP_SORT_RATE] = "rate",   [TOP_SORT_P99] = "p99",
};

const char *top_sort_name(enum top_sort sort)
{
    return sort < TOP_SORT_COUNT ? sort_names[sort] : "?";
}

/* The most first; what is not known last. */
static int descending(double a, double b)
{
    if (isnan(a) || isnan(b)) {
        return isnan(a) - isnan(b);
    }
    return a > b ? -1 : a < b;
}

static int ascending_ids(const struct top_row *a, const struct top_row *b)
{
    return a->vm->vm_id < b->vm->vm_id ? -1 : a->vm->vm_id > b->vm->vm_id;
}

static int compare(const void *left, const void *right, void *opaque)
{
    const struct top_row *a = left, *b = right;
    const struct top_query *query = opaque;
    int order = 0;

    switch (query->sort) {
    case TOP_SORT_NAME: order = strcasecmp(a->vm->name, b->vm->name); break;
    case TOP_SORT_STATE: order = strcmp(a->vm->state, b->vm->state); break;
    case TOP_SORT_WEIGHT: order = descending(a->vm->weight, b->vm->weight); break;
    case TOP_SORT_SHARE: order = descending(a->vm->share, b->vm->share); break;
    case TOP_SORT_DUE: order = descending(a->vm->due_share, b->vm->due_share); break;
    case TOP_SORT_QUEUE:
        order = descending(a->vm->queue_depth + a->vm->in_flight,
                           b->vm->queue_depth + b->vm->in_flight);
        break;
    case TOP_SORT_RATE: order = descending(a->rate_hz, b->rate_hz); break;
    case TOP_SORT_P99: order = descending(a->vm->p99_ns, b->vm->p99_ns); break;
    default: break;
    }
    /* VMs that are equal keep their places from one look to the next. */
    if (order == 0) {
        order = ascending_ids(a, b);
    }
    return query->reverse ? -order : order;
}

/* ---- rows ---- */

static bool contains(const char *text, const char *part)
{
    size_t length = strlen(part);

    for (; *text; text++) {
        if (strncasecmp(text, part, length) == 0) {
            return true;
        }
    }
    return length == 0;
}

static bool matches(const struct top_vm *vm, const char *filter)
{
    char id[16], pool[2] = {vm->pool, '\0'};

    if (!filter || !filter[0]) {
        return true;
    }
    snprintf(id, sizeof(id), "%u", vm->vm_id);
    return contains(vm->name, filter) || contains(vm->uuid, filter) ||
           contains(vm->state, filter) || strcasecmp(pool, filter) == 0 || strcmp(id, filter) == 0;
}

/* Per second; NAN when there was no earlier value, or the counter began anew. */
static double rate(double before, double now, double seconds)
{
    return seconds > 0 && now >= before ? (now - before) / seconds : NAN;
}

static const struct top_vm *same_vm(const struct top_snapshot *s, const struct top_vm *vm)
{
    for (size_t i = 0; s && i < s->vm_count; i++) {
        if (s->vms[i].vm_id == vm->vm_id && strcmp(s->vms[i].uuid, vm->uuid) == 0) {
            return &s->vms[i];
        }
    }
    return NULL;
}

static struct top_row make_row(const struct top_snapshot *before, const struct top_snapshot *now,
                               const struct top_vm *vm)
{
    const struct top_vm *old = same_vm(before, vm);
    struct top_row row = {.vm = vm,
                          .rate_hz = NAN,
                          .error_hz = NAN,
                          .entitled = NAN,
                          .kept_idle = NAN,
                          .switching = NAN,
                          .launches_hz = NAN};

    if (old) {
        double seconds = now->time_s - before->time_s;

        row.rate_hz = rate(old->completed, vm->completed, seconds);
        row.error_hz = rate(old->errors + old->rejected, vm->errors + vm->rejected, seconds);
        row.entitled = rate(old->entitled_ns, vm->entitled_ns, seconds) / 1e9;
        row.kept_idle = rate(old->kept_idle_ns, vm->kept_idle_ns, seconds) / 1e9;
        row.switching = rate(old->switching_ns, vm->switching_ns, seconds) / 1e9;
        row.launches_hz = rate(old->launches, vm->launches, seconds);
    }
    return row;
}

static struct top_gpu_row make_gpu_row(const struct top_snapshot *before,
                                       const struct top_snapshot *now, const struct top_gpu *gpu)
{
    struct top_gpu_row row = {.gpu = gpu, .busy = NAN, .switches_hz = NAN};

    for (size_t i = 0; before && i < before->gpu_count; i++) {
        const struct top_gpu *old = &before->gpus[i];
        double seconds = now->time_s - before->time_s;

        if (old->index == gpu->index) {
            row.busy = rate(old->busy_ns, gpu->busy_ns, seconds) / NS_PER_S;
            row.busy = row.busy > 1 ? 1 : row.busy; /* a job's charge comes when it ends */
            row.switches_hz = rate(old->context_switches, gpu->context_switches, seconds);
        }
    }
    return row;
}

bool top_rows_build(const struct top_snapshot *before, const struct top_snapshot *now,
                    const struct top_query *query, struct top_rows *rows)
{
    /* Another run of the mediator counts from 0 again. */
    if (before && !(now->uptime_s >= before->uptime_s)) {
        before = NULL;
    }
    *rows = (struct top_rows){
        .vms = calloc(now->vm_count + 1, sizeof(*rows->vms)),
        .gpus = calloc(now->gpu_count + 1, sizeof(*rows->gpus)),
        .rate_hz = NAN,
    };
    if (!rows->vms || !rows->gpus) {
        top_rows_free(rows);
        return false;
    }
    for (size_t i = 0; i < now->gpu_count; i++) {
        rows->gpus[rows->gpu_count++] = make_gpu_row(before, now, &now->gpus[i]);
    }
    for (size_t i = 0; i < now->vm_count; i++) {
        const struct top_vm *vm = &now->vms[i];
        struct top_row row = make_row(before, now, vm);

        rows->connected += vm->connected;
        rows->quarantined += vm->quarantined;
        if (!isnan(row.rate_hz)) {
            rows->rate_hz = (isnan(rows->rate_hz) ? 0 : rows->rate_hz) + row.rate_hz;
        }
        if (matches(vm, query->filter)) {
            rows->vms[rows->vm_count++] = row;
        } else {
            rows->hidden++;
        }
    }
    qsort_r(rows->vms, rows->vm_count, sizeof(*rows->vms), compare, (void *)query);
    return true;
}

void top_rows_free(struct top_rows *rows)
{
    free(rows->vms);
    free(rows->gpus);
    *rows = (struct top_rows){0};
}

/* ---- JSON ---- */

static json_t *number(double value)
{
    if (isnan(value) || isinf(value)) {
        return json_null();
    }
    return value == floor(value) && fabs(value) < 1e15 ? json_integer((json_int_t)value)
                                                       : json_real(value);
}

static json_t *text(const char *value)
{
    return value[0] ? json_string(value) : json_null();
}

static json_t *gpu_json(const struct top_gpu_row *row)
{
    const struct top_gpu *gpu = row->gpu;

    return json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "index",
                     (int)gpu->index, "name", text(gpu->name), "state", text(gpu->state),
                     "temperature_c", number(gpu->temperature_c), "power_w", number(gpu->power_w),
                     "utilization", number(gpu->utilization), "memory_used_bytes",
                     number(gpu->memory_used_bytes), "memory_total_bytes",
                     number(gpu->memory_total_bytes), "busy", number(row->busy), "switches_per_s",
                     number(row->switches_hz), "queued", number(gpu->queued), "in_flight",
                     number(gpu->in_flight));
}

static json_t *vm_json(const struct top_row *row)
{
    const struct top_vm *vm = row->vm;
    char pool[2] = {vm->pool, '\0'};

    return json_pack("{s:I, s:o, s:o, s:s, s:i, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
                     "s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "vm_id", (json_int_t)vm->vm_id, "uuid", text(vm->uuid), "name", text(vm->name),
                     "pool", pool, "priority", (int)vm->priority, "weight", json_number(vm->weight),
                     "connected", (int)vm->connected, "state", text(vm->state), "gpu",
                     number(vm->gpu), "share", number(vm->share), "due_share",
                     number(vm->due_share), "queue_depth", number(vm->queue_depth), "in_flight",
                     number(vm->in_flight), "jobs_per_s", number(row->rate_hz), "errors_per_s",
                     number(row->error_hz), "p99_ns", number(vm->p99_ns), "owed_ns",
                     number(vm->owed_ns), "entitled", number(row->entitled), "kept_idle",
                     number(row->kept_idle), "switching", number(row->switching), "programs",
                     number(vm->programs), "launches_per_s", number(row->launches_hz));
}

json_t *top_rows_json(const struct top_snapshot *now, const struct top_rows *rows)
{
    json_t *gpus = json_array(), *vms = json_array();

    for (size_t i = 0; i < rows->gpu_count; i++) {
        json_array_append_new(gpus, gpu_json(&rows->gpus[i]));
    }
    for (size_t i = 0; i < rows->vm_count; i++) {
        json_array_append_new(vms, vm_json(&rows->vms[i]));
    }
    return json_pack("{s:s, s:o, s:s, s:b, s:b, s:o, s:o, s:o}", "version", now->version,
                     "uptime_s", number(now->uptime_s), "policy", now->policy, "paused",
                     (int)now->paused, "database", (int)now->has_db, "jobs_per_s",
                     number(rows->rate_hz), "gpus", gpus, "vms", vms);
}
