/* SPDX-License-Identifier: GPL-2.0-or-later */
/* show-metrics: what each VM did, and where its time went. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/admin.h"
#include "admin/base/json_get.h"
#include "admin/base/link.h"
#include "admin/base/live.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/tools.h"
#include "vgpu/vgpu_admin.h"

static int show_prometheus(struct admin *admin)
{
    char *text;
    int result = admin_link_request_text(admin_get_link(admin), VGPU_ADMIN_SHOW_METRICS, 1, &text);

    if (result < 0) {
        return admin_fail(admin,
                          admin_link_is_unreachable(result) ? ADMIN_UNREACHABLE : ADMIN_FAILED,
                          "%s", admin_link_error(admin->link));
    }
    fputs(text, stdout);
    free(text);
    return ADMIN_OK;
}

static const char *name_of(const json_t *vm)
{
    return json_get_text(vm, "name", json_get_text(vm, "uuid", "-"));
}

/* The first of two names under which a quantile of the latency may be found, as time. */
static void latency_cell(struct render_table *t, const json_t *vm, const char *quantile)
{
    const json_t *latency = json_object_get(vm, "latency");
    char key[32], text[RENDER_BYTES];

    if (json_is_object(json_object_get(latency, "total"))) {
        latency = json_object_get(latency, "total");
    }
    snprintf(key, sizeof(key), "%s_ns", quantile);
    if (json_has_number(latency, key)) {
        render_cell(t, STYLE_PLAIN, "%s",
                    render_duration_ns(json_get_number(latency, key, 0), text));
        return;
    }
    snprintf(key, sizeof(key), "latency_%s_ns", quantile);
    if (json_has_number(vm, key)) {
        render_cell(t, STYLE_PLAIN, "%s", render_duration_ns(json_get_number(vm, key, 0), text));
        return;
    }
    render_cell(t, STYLE_DIM, "-");
}

static void count_cell(struct render_table *t, json_int_t count, bool bad)
{
    char text[RENDER_BYTES];

    render_cell(t, bad && count > 0 ? STYLE_WARN : STYLE_PLAIN, "%s",
                render_count((uint64_t)(count < 0 ? 0 : count), text));
}

static void part_cell(struct render_table *t, const json_t *latency, const char *part,
                      const char *quantile)
{
    const json_t *object = json_object_get(latency, part);
    char text[RENDER_BYTES];

    if (json_has_number(object, quantile)) {
        render_cell(t, STYLE_PLAIN, "%s",
                    render_duration_ns(json_get_number(object, quantile, 0), text));
    } else {
        render_cell(t, STYLE_DIM, "-");
    }
}

/* Where the time of the latest jobs went; older mediators don't say. */
static void print_split(const json_t *vms)
{
    static const struct render_column columns[] = {
        {"VM_ID", COLUMN_RIGHT},
        {"NAME", COLUMN_SHRINK},
        {"LAST", COLUMN_RIGHT | COLUMN_DROP},
        {"WAITED P50", COLUMN_RIGHT},
        {"P99", COLUMN_RIGHT},
        {"HANDED P50", COLUMN_RIGHT},
        {"P99", COLUMN_RIGHT},
        {"ON GPU P50", COLUMN_RIGHT},
        {"P99", COLUMN_RIGHT},
    };
    static const char *const parts[] = {"queue", "transport", "gpu"};
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    bool any = false;
    json_t *vm;
    size_t i;

    json_array_foreach(vms, i, vm)
    {
        const json_t *latency = json_object_get(vm, "latency");
        if (!json_is_object(json_object_get(latency, "queue")) ||
            json_get_int(json_object_get(latency, "total"), "samples", 0) == 0) {
            continue;
        }
        any = true;
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(vm, "vm_id", 0));
        render_cell(t, STYLE_PLAIN, "%s", json_get_text(vm, "name", "-"));
        render_cell(t, STYLE_PLAIN, "%lld",
                    (long long)json_get_int(json_object_get(latency, "total"), "samples", 0));
        for (size_t p = 0; p < 3; p++) {
            part_cell(t, latency, parts[p], "p50_ns");
            part_cell(t, latency, parts[p], "p99_ns");
        }
    }
    if (!any) {
        render_table_discard(t);
        return;
    }
    printf("\n");
    render_table_end(t, "");
    printf("\nWAITED: in the queue. HANDED: between mediator and worker. Of the LAST jobs.\n");
}

static void duration_cell(struct render_table *t, const json_t *vm, const char *key)
{
    char text[RENDER_BYTES];

    render_cell(t, STYLE_PLAIN, "%s", render_duration_ns(json_get_number(vm, key, NAN), text));
}

/* What each VM was entitled to, and what came of it; older mediators don't say. */
static void print_shares(const json_t *vms)
{
    static const struct render_column columns[] = {
        {"VM_ID", COLUMN_RIGHT},    {"NAME", COLUMN_SHRINK}, {"ENTITLED", COLUMN_RIGHT},
        {"GPU TIME", COLUMN_RIGHT}, {"OWED", COLUMN_RIGHT},  {"KEPT IDLE", COLUMN_RIGHT},
        {"SWITCHES", COLUMN_RIGHT}, {"NOW", COLUMN_DROP},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    char text[RENDER_BYTES];
    bool any = false;
    json_t *vm;
    size_t i;

    json_array_foreach(vms, i, vm)
    {
        if (!json_has_number(vm, "entitled_ns")) {
            continue;
        }
        any = true;
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(vm, "vm_id", 0));
        render_cell(t, STYLE_PLAIN, "%s", name_of(vm));
        duration_cell(t, vm, "entitled_ns");
        duration_cell(t, vm, "gpu_time_ns");
        render_cell(t, STYLE_PLAIN, "%s", render_signed_duration_ns(live_owed_ns(vm), text));
        duration_cell(t, vm, "kept_idle_ns");
        duration_cell(t, vm, "switching_ns");
        render_cell(t, STYLE_PLAIN, "%s", live_standing(vm)[0] ? live_standing(vm) : "-");
    }
    if (!any) {
        render_table_discard(t);
        return;
    }
    printf("\n");
    render_table_end(t, "");
    printf(
        "\nENTITLED: its due part of the time in which it had work. KEPT IDLE: the GPU, for its\n"
        "next job. SWITCHES: GPU time lost to those that it caused. OWED is as of now; below 0:\n"
        "it is ahead.\n");
}

static unsigned reason_rows(struct render_table *t, const json_t *vm, const char *what,
                            const char *key)
{
    char text[RENDER_BYTES];
    const char *reason;
    unsigned rows = 0;
    json_t *count;

    json_object_foreach(json_object_get(vm, key), reason, count)
    {
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(vm, "vm_id", 0));
        render_cell(t, STYLE_PLAIN, "%s", name_of(vm));
        render_cell(t, STYLE_PLAIN, "%s", what);
        render_cell(t, STYLE_PLAIN, "%s", reason);
        render_cell(t, STYLE_WARN, "%s", render_count((uint64_t)json_number_value(count), text));
        rows++;
    }
    return rows;
}

/* Why requests were refused and jobs ended in an error. */
static void print_reasons(const json_t *vms)
{
    static const struct render_column columns[] = {
        {"VM_ID", COLUMN_RIGHT}, {"NAME", COLUMN_SHRINK}, {"WHAT", 0},
        {"REASON", 0},           {"COUNT", COLUMN_RIGHT},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    unsigned rows = 0;
    json_t *vm;
    size_t i;

    json_array_foreach(vms, i, vm)
    {
        rows += reason_rows(t, vm, "refused", "rejections_by_reason");
        rows += reason_rows(t, vm, "error", "errors_by_reason");
    }
    if (rows == 0) {
        render_table_discard(t);
        return;
    }
    printf("\n");
    render_table_end(t, "");
}

static void print_totals(const json_t *vms)
{
    static const struct render_column columns[] = {
        {"VM_ID", COLUMN_RIGHT},   {"NAME", COLUMN_SHRINK},
        {"DONE", COLUMN_RIGHT},    {"ERRORS", COLUMN_RIGHT},
        {"REFUSED", COLUMN_RIGHT}, {"GPU TIME", COLUMN_RIGHT},
        {"P50", COLUMN_RIGHT},     {"P95", COLUMN_RIGHT | COLUMN_DROP},
        {"P99", COLUMN_RIGHT},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    char text[RENDER_BYTES];
    json_t *vm;
    size_t i;

    json_array_foreach(vms, i, vm)
    {
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(vm, "vm_id", 0));
        render_cell(t, STYLE_PLAIN, "%s", name_of(vm));
        count_cell(t, json_get_int(vm, "completed", 0), false);
        count_cell(t, json_get_int(vm, "errors", 0), true);
        count_cell(t, (json_int_t)live_refused(vm), true);
        render_cell(t, STYLE_PLAIN, "%s",
                    render_duration_ns(json_get_number(vm, "gpu_time_ns", 0), text));
        latency_cell(t, vm, "p50");
        latency_cell(t, vm, "p95");
        latency_cell(t, vm, "p99");
    }
    render_table_end(t, "No VM has been connected since the mediator started.");
}

static int run_metrics(struct admin *admin)
{
    json_t *answer;
    int status;

    if (admin_option(admin, "prometheus")) {
        if (admin->json) {
            return admin_fail(admin, ADMIN_USAGE, "give either --prometheus or --json");
        }
        return show_prometheus(admin);
    }
    status = admin_ask_mediator(admin, VGPU_ADMIN_SHOW_METRICS, 0, NULL, &answer);
    if (status != ADMIN_OK) {
        return status;
    }
    if (admin->json) {
        admin_print_json(admin, answer);
        return ADMIN_OK;
    }
    print_totals(json_object_get(answer, "vms"));
    printf("\nP50 to P99 is the time from a request's arrival to its answer.\n");
    print_shares(json_object_get(answer, "vms"));
    print_reasons(json_object_get(answer, "vms"));
    print_split(json_object_get(answer, "vms"));
    json_decref(answer);
    return ADMIN_OK;
}

#define GROUP "Watching"

const struct admin_command commands_metrics[] = {
    {
        .name = "show-metrics",
        .group = GROUP,
        .summary = "Show what each VM did and how long it waited",
        .usage = "[--prometheus]",
        .example = "vgpu-admin show-metrics",
        ADMIN_TAKES({.name = "prometheus", .help = "the text that Prometheus reads"}),
        .run = run_metrics,
        .only_looks = true,
    },
    {0},
};
