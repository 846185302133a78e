/* SPDX-License-Identifier: GPL-2.0-or-later */
/* show-metrics and show-health. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/commands.h"
#include "admin/json_get.h"
#include "admin/mediator_client.h"
#include "admin/render.h"
#include "admin/tools.h"
#include "vgpu/vgpu_admin.h"

static int show_prometheus(struct admin *admin)
{
    char *text;
    int result =
        mediator_request_text(admin_connect_mediator(admin), VGPU_ADMIN_SHOW_METRICS, 1, &text);

    if (result < 0) {
        return admin_fail(admin, mediator_is_unreachable(result) ? ADMIN_UNREACHABLE : ADMIN_FAILED,
                          "%s", mediator_error(admin->mediator));
    }
    fputs(text, stdout);
    free(text);
    return ADMIN_OK;
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

static int run_metrics(struct admin *admin)
{
    static const struct render_column columns[] = {
        {"VM_ID", COLUMN_RIGHT},    {"NAME", COLUMN_SHRINK}, {"JOBS", COLUMN_RIGHT},
        {"ERRORS", COLUMN_RIGHT},   {"RATE", COLUMN_RIGHT},  {"QUEUE", COLUMN_RIGHT},
        {"GPU TIME", COLUMN_RIGHT}, {"P50", COLUMN_RIGHT},   {"P95", COLUMN_RIGHT | COLUMN_DROP},
        {"P99", COLUMN_RIGHT},
    };
    char text[RENDER_BYTES], id[32];
    json_t *answer, *vm;
    size_t i;

    if (admin_option(admin, "prometheus")) {
        if (admin->json) {
            return admin_fail(admin, ADMIN_USAGE, "give either --prometheus or --json");
        }
        return show_prometheus(admin);
    }
    int status = admin_ask_mediator(admin, VGPU_ADMIN_SHOW_METRICS, 0, NULL, &answer);
    if (status != ADMIN_OK) {
        return status;
    }
    if (admin->json) {
        admin_print_json(admin, answer);
        return ADMIN_OK;
    }
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    json_array_foreach(json_object_get(answer, "vms"), i, vm)
    {
        snprintf(id, sizeof(id), "vm_id %lld", (long long)json_get_int(vm, "vm_id", 0));
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(vm, "vm_id", 0));
        render_cell(t, STYLE_PLAIN, "%s", json_get_text(vm, "name", json_get_text(vm, "uuid", id)));
        count_cell(t, json_get_int(vm, "completed", 0), false);
        count_cell(t, json_get_int(vm, "errors", 0), true);
        count_cell(t, json_get_int(vm, "rejected_rate", 0), true);
        count_cell(t, json_get_int(vm, "rejected_queue", 0), true);
        render_cell(t, STYLE_PLAIN, "%s",
                    render_duration_ns(json_get_number(vm, "gpu_time_ns", 0), text));
        latency_cell(t, vm, "p50");
        latency_cell(t, vm, "p95");
        latency_cell(t, vm, "p99");
    }
    render_table_end(t, "No VM has been connected since the mediator started.");
    printf(
        "\nRATE and QUEUE count refused requests; P50 to P99 is the time from a request's arrival\n"
        "to its answer.\n");
    json_decref(answer);
    return ADMIN_OK;
}

/* ---- show-health ------------------------------------------------------------------------ */

static void print_gpu_health(const json_t *gpus)
{
    static const struct render_column columns[] = {
        {"GPU", COLUMN_RIGHT},
        {"NAME", COLUMN_SHRINK},
        {"STATE", 0},
        {"TEMP", COLUMN_RIGHT},
        {"POWER", COLUMN_RIGHT},
        {"UTIL", COLUMN_RIGHT},
        {"MEMORY", COLUMN_RIGHT},
        {"ECC", COLUMN_RIGHT | COLUMN_DROP},
        {"RESET", 0},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    char used[RENDER_BYTES], total[RENDER_BYTES];
    json_t *gpu;
    size_t i;

    json_array_foreach(gpus, i, gpu)
    {
        const char *state = json_get_text(gpu, "state", "?");
        bool reset = json_get_bool(gpu, "needs_reset");
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(gpu, "index", (json_int_t)i));
        render_cell(t, STYLE_PLAIN, "%s", json_get_text(gpu, "name", "?"));
        render_cell(t, strcmp(state, "ok") == 0 ? STYLE_GOOD : STYLE_BAD, "%s", state);
        if (json_has_number(gpu, "temperature_c")) {
            double c = json_get_number(gpu, "temperature_c", 0);
            render_cell(t, c >= 85 ? STYLE_WARN : STYLE_PLAIN, "%.0f C", c);
        } else {
            render_cell(t, STYLE_DIM, "-");
        }
        if (json_has_number(gpu, "power_w")) {
            render_cell(t, STYLE_PLAIN, "%.0f W", json_get_number(gpu, "power_w", 0));
        } else {
            render_cell(t, STYLE_DIM, "-");
        }
        if (json_has_number(gpu, "utilization_percent")) {
            render_cell(t, STYLE_PLAIN, "%.0f %%", json_get_number(gpu, "utilization_percent", 0));
        } else {
            render_cell(t, STYLE_DIM, "-");
        }
        if (json_has_number(gpu, "memory_used_bytes")) {
            render_cell(t, STYLE_PLAIN, "%s / %s",
                        render_bytes(json_get_number(gpu, "memory_used_bytes", 0), used),
                        render_bytes(json_get_number(gpu, "memory_total_bytes", 0), total));
        } else {
            render_cell(t, STYLE_DIM, "-");
        }
        if (json_has_number(gpu, "ecc_errors")) {
            render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(gpu, "ecc_errors", 0));
        } else {
            render_cell(t, STYLE_DIM, "-");
        }
        render_cell(t, reset ? STYLE_BAD : STYLE_PLAIN, "%s", reset ? "needed" : "no");
    }
    render_table_end(t, "The mediator has no GPU.");
}

static void print_workers(const json_t *workers)
{
    static const struct render_column columns[] = {
        {"VM_ID", COLUMN_RIGHT},    {"GPU", COLUMN_RIGHT}, {"PID", COLUMN_RIGHT}, {"STATE", 0},
        {"RESTARTS", COLUMN_RIGHT},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    json_t *worker;
    size_t i;

    json_array_foreach(workers, i, worker)
    {
        json_int_t restarts = json_get_int(worker, "restarts", 0);
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(worker, "vm_id", 0));
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(worker, "gpu", 0));
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(worker, "pid", 0));
        render_cell(t, STYLE_PLAIN, "%s", json_get_text(worker, "state", "?"));
        render_cell(t, restarts ? STYLE_WARN : STYLE_PLAIN, "%lld", (long long)restarts);
    }
    render_table_end(t, "No worker runs; one starts with a VM's first request.");
}

static int run_health(struct admin *admin)
{
    json_t *answer, *gpu;
    size_t i;
    int status = admin_ask_mediator(admin, VGPU_ADMIN_SHOW_HEALTH, 0, NULL, &answer);

    if (status != ADMIN_OK) {
        return status;
    }
    bool healthy = json_get_bool(json_object_get(answer, "mediator"), "ok");
    json_array_foreach(json_object_get(answer, "gpus"), i, gpu)
    {
        healthy = healthy && strcmp(json_get_text(gpu, "state", "ok"), "failed") != 0 &&
                  !json_get_bool(gpu, "needs_reset");
    }
    if (admin->json) {
        json_object_set_new(answer, "healthy", json_boolean(healthy));
        admin_print_json(admin, answer);
    } else {
        render_pair("Health", healthy ? STYLE_GOOD : STYLE_BAD, "%s",
                    healthy ? "good" : "NOT GOOD, see below");
        printf("\n");
        print_gpu_health(json_object_get(answer, "gpus"));
        printf("\n");
        print_workers(json_object_get(answer, "workers"));
        json_decref(answer);
    }
    return healthy ? ADMIN_OK : ADMIN_FAILED;
}

#define GROUP "Watching"

const struct admin_command commands_metrics[] = {
    {"show-metrics", GROUP, "Show what each VM did and how long it waited", "[--prometheus]", NULL,
     "vgpu-admin show-metrics",
     (const struct admin_option[]){
         {"prometheus", NULL, "the text that Prometheus reads", false, NULL}, {0}},
     run_metrics, ADMIN_LOOKS},
    {"show-health", GROUP, "Show the state of mediator, GPUs and workers", "",
     "The exit status is 1 if something is not well, so that it can be used as a check.",
     "vgpu-admin show-health", NULL, run_health, ADMIN_LOOKS},
    {0},
};
