/* SPDX-License-Identifier: GPL-2.0-or-later */
/* show-health: is all well with mediator, database, GPUs and workers? */
#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/base/json_get.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/say.h"
#include "admin/tools.h"
#include "common/ns.h"
#include "vgpu/vgpu_admin.h"

#define HOT_C 85

/* A GPU's readings are in its "health", which is null where NVML is not there. */
static const json_t *readings_of(const json_t *gpu)
{
    const json_t *health = json_object_get(gpu, "health");

    return json_is_object(health) ? health : gpu;
}

/* value * scale and its unit, or "-". */
static void reading_cell(struct render_table *t, const json_t *readings, const char *key,
                         double scale, const char *unit, double warn_from)
{
    double value = json_get_number(readings, key, 0) * scale;

    if (json_has_number(readings, key)) {
        render_cell(t, value >= warn_from ? STYLE_WARN : STYLE_PLAIN, "%.0f%s", value, unit);
    } else {
        render_cell(t, STYLE_DIM, "-");
    }
}

static void memory_cell(struct render_table *t, const json_t *gpu, const json_t *readings)
{
    char used[RENDER_BYTES], total[RENDER_BYTES];

    if (json_has_number(readings, "memory_used_bytes")) {
        render_cell(t, STYLE_PLAIN, "%s / %s",
                    render_bytes(json_get_number(readings, "memory_used_bytes", 0), used),
                    render_bytes(json_get_number(readings, "memory_total_bytes", 0), total));
    } else if (json_has_number(gpu, "memory_bytes")) {
        render_cell(t, STYLE_DIM, "%s",
                    render_bytes(json_get_number(gpu, "memory_bytes", 0), total));
    } else {
        render_cell(t, STYLE_DIM, "-");
    }
}

static void print_gpus(const json_t *gpus)
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
    json_t *gpu;
    size_t i;

    json_array_foreach(gpus, i, gpu)
    {
        const json_t *readings = readings_of(gpu);
        const char *state = json_get_text(gpu, "state", "?");
        bool reset = json_get_bool(readings, "needs_reset");
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(gpu, "index", (json_int_t)i));
        render_cell(t, STYLE_PLAIN, "%s", json_get_text(gpu, "name", "?"));
        render_cell(t,
                    strcmp(state, "ok") == 0       ? STYLE_GOOD
                    : strcmp(state, "paused") == 0 ? STYLE_WARN
                                                   : STYLE_BAD,
                    "%s", state);
        reading_cell(t, readings, "temperature_c", 1, " C", HOT_C);
        if (json_has_number(readings, "power_mw")) {
            reading_cell(t, readings, "power_mw", 1e-3, " W", 1e9);
        } else {
            reading_cell(t, readings, "power_w", 1, " W", 1e9);
        }
        reading_cell(t, readings,
                     json_has_number(readings, "gpu_percent") ? "gpu_percent"
                                                              : "utilization_percent",
                     1, " %", 1e9);
        memory_cell(t, gpu, readings);
        reading_cell(t, readings,
                     json_has_number(readings, "ecc_uncorrected") ? "ecc_uncorrected"
                                                                  : "ecc_errors",
                     1, "", 1);
        render_cell(t, reset ? STYLE_BAD : STYLE_PLAIN, "%s", reset ? "needed" : "no");
    }
    render_table_end(t, "The mediator has no GPU.");
    json_array_foreach(gpus, i, gpu)
    {
        const json_t *readings = readings_of(gpu);
        const char *reason = json_get_text(readings, "reason", "");
        const char *warning = json_get_text(readings, "warning", "");
        char label[32];

        snprintf(label, sizeof(label), "GPU %lld",
                 (long long)json_get_int(gpu, "index", (json_int_t)i));
        if (reason[0]) {
            render_pair(label, STYLE_BAD, "%s", reason);
        }
        if (warning[0]) {
            render_pair(label, STYLE_WARN, "%s", warning);
        }
    }
}

/* Who holds a GPU; what nobody holds is among the problems. */
static void print_pauses(const json_t *gpus)
{
    json_t *gpu;
    size_t i;

    json_array_foreach(gpus, i, gpu)
    {
        const json_t *pause = json_object_get(gpu, "pause");
        const char *since = json_get_text(pause, "since", "?");
        long long pid = (long long)json_get_int(pause, "pid", 0);
        char label[32];

        snprintf(label, sizeof(label), "GPU %lld",
                 (long long)json_get_int(gpu, "index", (json_int_t)i));
        if (json_get_bool(pause, "held")) {
            render_pair(label, STYLE_WARN,
                        "held by process %lld since %s, and at work again when that ends", pid,
                        since);
        }
    }
}

/* On the CUDA driver interface: how many there are, and what is charged for them. */
static const char *programs_text(const json_t *worker, char text[RENDER_BYTES])
{
    const json_t *cuda = json_object_get(worker, "cuda");
    char bytes[RENDER_BYTES];

    if (!json_is_object(cuda)) {
        return "-";
    }
    snprintf(text, RENDER_BYTES, "%lld, %s", (long long)json_get_int(cuda, "programs", 0),
             render_bytes(json_get_number(cuda, "memory_bytes", 0), bytes));
    return text;
}

static void print_workers(const json_t *workers)
{
    static const struct render_column columns[] = {
        {"VM_ID", COLUMN_RIGHT},
        {"GPU", COLUMN_RIGHT},
        {"PID", COLUMN_RIGHT},
        {"STATE", 0},
        {"RESTARTS", COLUMN_RIGHT},
        {"GPU MEMORY", COLUMN_RIGHT | COLUMN_DROP},
        {"PROGRAMS", COLUMN_RIGHT | COLUMN_DROP},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    char text[RENDER_BYTES];
    json_t *worker;
    size_t i;

    json_array_foreach(workers, i, worker)
    {
        json_int_t restarts = json_get_int(worker, "restarts", 0);
        double memory = json_get_number(worker, "gpu_memory_bytes", 0);
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(worker, "vm_id", 0));
        reading_cell(t, worker, "gpu", 1, "", 1e9);
        reading_cell(t, worker, "pid", 1, "", 1e18);
        render_cell(t, STYLE_PLAIN, "%s", json_get_text(worker, "state", "?"));
        render_cell(t, restarts ? STYLE_WARN : STYLE_PLAIN, "%lld", (long long)restarts);
        render_cell(t, memory > 0 ? STYLE_PLAIN : STYLE_DIM, "%s",
                    memory > 0 ? render_bytes(memory, text) : "-");
        render_cell(t, STYLE_PLAIN, "%s", programs_text(worker, text));
    }
    render_table_end(t, "No worker runs; one starts with a VM's first request.");
}

/* What is wrong, and what to do: it comes first. */
static void print_problems(const json_t *problems)
{
    json_t *problem;
    size_t i;

    json_array_foreach(problems, i, problem)
    {
        bool serious = strcmp(json_get_text(problem, "severity", "error"), "error") == 0;

        if (strcmp(json_get_text(problem, "kind", ""), "database") == 0) {
            continue; /* it has its own line */
        }
        render_pair(json_get_text(problem, "subject", "?"), serious ? STYLE_BAD : STYLE_WARN, "%s",
                    json_get_text(problem, "text", ""));
    }
}

static void print_mediator(const json_t *mediator)
{
    const json_t *database = json_object_get(mediator, "database");
    const char *reason = json_get_text(mediator, "backend_reason", "");
    const char *nvml = json_get_text(mediator, "nvml_error", "");
    char text[RENDER_BYTES];

    if (json_has_number(mediator, "uptime_s")) {
        render_pair("Mediator", STYLE_PLAIN,
                    "version %s, up %s; %lld sessions, %lld workers, %lld QEMUs",
                    json_get_text(mediator, "version", "?"),
                    render_duration_ns(json_get_number(mediator, "uptime_s", 0) * NS_PER_S, text),
                    (long long)json_get_int(mediator, "sessions", 0),
                    (long long)json_get_int(mediator, "workers", 0),
                    (long long)json_get_int(mediator, "qemus", 0));
        render_pair("Backend", STYLE_PLAIN, "%s%s%s%s", json_get_text(mediator, "backend", "?"),
                    reason[0] ? " (" : "", reason, reason[0] ? ")" : "");
    }
    if (json_is_null(database)) {
        render_pair("Database", STYLE_WARN, "none: the mediator runs with --no-db");
    } else if (database) {
        const char *error = json_get_text(database, "error", "");
        json_int_t dropped = json_get_int(database, "dropped", 0);

        render_pair("Database", error[0] ? STYLE_BAD : STYLE_GOOD, "%s%s%s",
                    json_get_text(database, "path", "?"), error[0] ? ": " : ", ok", error);
        if (dropped > 0) {
            render_pair("", STYLE_WARN, "%lld faults were not written: it was too slow",
                        (long long)dropped);
        }
    }
    if (nvml[0]) {
        render_pair("GPU health", STYLE_WARN, "%s", nvml);
    }
}

static int run_health(struct admin *admin)
{
    json_t *answer, *gpu;
    size_t i;
    int status = admin_ask_mediator(admin, VGPU_ADMIN_SHOW_HEALTH, 0, NULL, &answer);
    bool healthy;

    if (status != ADMIN_OK) {
        return status;
    }
    healthy = json_get_bool(json_object_get(answer, "mediator"), "ok");
    json_array_foreach(json_object_get(answer, "gpus"), i, gpu)
    {
        healthy = healthy && strcmp(json_get_text(gpu, "state", "ok"), "failed") != 0 &&
                  !json_get_bool(readings_of(gpu), "needs_reset");
    }
    if (admin->json) {
        json_object_set_new(answer, "healthy", json_boolean(healthy));
        admin_print_json(admin, answer);
    } else {
        render_pair("Health", healthy ? STYLE_GOOD : STYLE_BAD, "%s",
                    healthy ? "good" : "NOT GOOD, see below");
        print_problems(json_object_get(answer, "problems"));
        print_mediator(json_object_get(answer, "mediator"));
        printf("\n");
        print_gpus(json_object_get(answer, "gpus"));
        print_pauses(json_object_get(answer, "gpus"));
        printf("\n");
        print_workers(json_object_get(answer, "workers"));
        json_decref(answer);
    }
    return healthy ? ADMIN_OK : ADMIN_FAILED;
}

const struct admin_command commands_health[] = {
    {
        .name = "show-health",
        .group = "Watching",
        .summary = "Show the state of mediator, database, GPUs and workers",
        .details =
            "The exit status is 1 if something is not well, so that it can be used as a check.\n"
            "--watch=5 looks again every 5 seconds.",
        .example = "vgpu-admin show-health",
        .run = run_health,
        .only_looks = true,
    },
    {0},
};
