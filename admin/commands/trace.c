/* SPDX-License-Identifier: GPL-2.0-or-later */
/* trace-job: the way of one job, or a list of the latest ones. */
#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/base/json_get.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/db.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/select.h"
#include "admin/tools.h"
#include "common/ns.h"
#include "vgpu/vgpu_admin.h"

#define LAST_MAX 256 /* JOB_TRACE_LIST_MAX of the mediator */

static const char *vm_label(struct admin *admin, json_int_t vm_id, char label[ADMIN_LABEL_BYTES])
{
    const vgpu_vm_config_t *vm = vm_id >= 0 ? admin_vm_by_id(admin, (uint32_t)vm_id) : NULL;

    if (vm && vm->vm_name[0]) {
        snprintf(label, ADMIN_LABEL_BYTES, "%s", vm->vm_name);
    } else {
        snprintf(label, ADMIN_LABEL_BYTES, "vm_id %lld", (long long)vm_id);
    }
    return label;
}

static enum render_style outcome_style(const json_t *job)
{
    const char *state = json_get_text(job, "state", "?");

    if (strcmp(state, "done") == 0) {
        return strcmp(json_get_text(job, "status", "?"), "NONE") == 0 ? STYLE_GOOD : STYLE_BAD;
    }
    return strcmp(state, "dropped") == 0 ? STYLE_WARN : STYLE_PLAIN;
}

/* "done", "TIMEOUT", "running", ... */
static const char *outcome(const json_t *job)
{
    const char *status = json_get_text(job, "status", "NONE");

    return strcmp(status, "NONE") == 0 ? json_get_text(job, "state", "?") : status;
}

/* ---- a list ---- */

static void duration_cell(struct render_table *t, const json_t *job, const char *from,
                          const char *to)
{
    char text[RENDER_BYTES];

    if (json_has_number(job, from) && json_has_number(job, to)) {
        render_cell(
            t, STYLE_PLAIN, "%s",
            render_duration_ns(json_get_number(job, to, 0) - json_get_number(job, from, 0), text));
    } else {
        render_cell(t, STYLE_DIM, "-");
    }
}

static void print_list(struct admin *admin, const json_t *answer)
{
    static const struct render_column columns[] = {
        {"JOB", COLUMN_RIGHT},
        {"VM", COLUMN_SHRINK},
        {"REQUEST", COLUMN_RIGHT | COLUMN_DROP},
        {"ACCEPTED (UTC)", 0},
        {"OPERATION", COLUMN_SHRINK},
        {"GPU", COLUMN_RIGHT | COLUMN_DROP},
        {"CHOSEN AS", 0},
        {"WAITED", COLUMN_RIGHT},
        {"TOTAL", COLUMN_RIGHT},
        {"GPU TIME", COLUMN_RIGHT},
        {"RESULT", 0},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    char label[ADMIN_LABEL_BYTES], text[RENDER_BYTES];
    json_t *job;
    size_t i;

    json_array_foreach(json_object_get(answer, "jobs"), i, job)
    {
        const json_t *decision = json_object_get(job, "decision");
        const char *accepted = json_get_text(job, "accepted", "?");
        render_cell(t, STYLE_BOLD, "%lld", (long long)json_get_int(job, "job_id", 0));
        render_cell(t, STYLE_PLAIN, "%s", vm_label(admin, json_get_int(job, "vm_id", -1), label));
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(job, "request_id", 0));
        /* The time of day is enough: they are the latest. */
        render_cell(t, STYLE_DIM, "%.15s", strlen(accepted) > 11 ? accepted + 11 : accepted);
        render_cell(t, STYLE_PLAIN, "%s", json_get_text(job, "operation", "?"));
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(job, "gpu", 0));
        render_cell(t, STYLE_PLAIN, "%s", json_get_text(decision, "reason", "-"));
        duration_cell(t, job, "accepted_ns", "dispatched_ns");
        duration_cell(t, job, "accepted_ns", "ended_ns");
        render_cell(t, STYLE_PLAIN, "%s",
                    render_duration_ns(json_get_number(job, "gpu_time_ns", 0), text));
        render_cell(t, outcome_style(job), "%s", outcome(job));
    }
    render_table_end(t, "No such job is kept; the mediator keeps the last 256 of each VM.");
}

/* ---- one job ---- */

static const char *reason_text(const char *reason)
{
    static const char *const texts[][2] = {
        {"alone", "no other VM had a job waiting"},
        {"turn", "its VM's turn went on"},
        {"urgent", "the most urgent of the VMs that were eligible"},
        {"priority", "the highest priority, of the pool whose turn it was or of all"},
        {"preferred", "its VM is preferred among those of its priority"},
        {"first", "the earliest arrival"},
        {"late", "its turn was overdue: its virtual finish had passed"},
        {"finish", "the smallest virtual finish of the VMs that were eligible"},
        {"beside", "a short job that came back, beside another VM's turn and a job that overran"},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(reason, texts[i][0]) == 0) {
            return texts[i][1];
        }
    }
    return reason;
}

/* "+1.2 ms    dispatched  ..."; the time is since the job's acceptance. */
static void __attribute__((format(printf, 4, 5)))
print_step(const json_t *job, const char *key, const char *name, const char *format, ...)
{
    char text[512];
    double since_ns;
    va_list args;

    if (!json_has_number(job, key)) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    since_ns = json_get_number(job, key, 0) - json_get_number(job, "accepted_ns", 0);
    printf("  %+14.3f ms  ", since_ns / NS_PER_MS);
    render_text(STYLE_BOLD, name);
    printf("%*s", (int)(strlen(name) < 12 ? 12 - strlen(name) : 1), "");
    render_text(STYLE_PLAIN, text);
    putchar('\n');
}

static void print_decision(const json_t *job)
{
    const json_t *decision = json_object_get(job, "decision");
    double lag = json_get_number(decision, "lag_ns", 0);
    char owed[RENDER_BYTES];

    render_duration_ns(lag < 0 ? -lag : lag, owed);
    print_step(job, "dispatched_ns", "chosen", "%s: %s", json_get_text(decision, "reason", "?"),
               reason_text(json_get_text(decision, "reason", "?")));
    print_step(job, "dispatched_ns", "",
               "urgency %.2f; %lld of %lld waiting VMs eligible; its VM %s %s of GPU time",
               json_get_number(decision, "urgency", 0),
               (long long)json_get_int(decision, "eligible_vms", 0),
               (long long)json_get_int(decision, "waiting_vms", 0),
               lag < 0 ? "was ahead by" : "was owed", owed);
    print_step(job, "dispatched_ns", "dispatched", "to its VM's worker on GPU %lld",
               (long long)json_get_int(job, "gpu", 0));
}

static void print_job(struct admin *admin, const json_t *job)
{
    const char *state = json_get_text(job, "state", "?");
    char label[ADMIN_LABEL_BYTES], text[RENDER_BYTES];
    long long before = (long long)json_get_int(job, "waiting_before", 0);

    render_pair("Job", STYLE_BOLD, "%lld", (long long)json_get_int(job, "job_id", 0));
    render_pair("VM", STYLE_PLAIN, "%s", vm_label(admin, json_get_int(job, "vm_id", -1), label));
    render_pair("Request", STYLE_PLAIN, "%lld of session %lld, %s (opcode %lld)",
                (long long)json_get_int(job, "request_id", 0),
                (long long)json_get_int(job, "session", 0), json_get_text(job, "operation", "?"),
                (long long)json_get_int(job, "opcode", 0));
    render_pair("Result", outcome_style(job), "%s", outcome(job));
    render_pair("Accepted (UTC)", STYLE_PLAIN, "%s", json_get_text(job, "accepted", "?"));
    putchar('\n');
    print_step(job, "accepted_ns", "accepted", "checked, within its VM's limits");
    print_step(job, "accepted_ns", "queued", "behind %lld job%s of its VM%s", before,
               before == 1 ? "" : "s",
               json_get_bool(job, "worker_ready") ? "" : "; its worker had to start first");
    print_decision(job);
    print_step(job, "started_ns", "started", "by the worker");
    print_step(job, "finished_ns", "finished", "%s of GPU time",
               render_duration_ns(json_get_number(job, "gpu_time_ns", 0), text));
    if (strcmp(state, "dropped") == 0) {
        print_step(job, "ended_ns", "dropped", "its session was gone: nobody to answer");
    } else {
        bool well = strcmp(json_get_text(job, "status", "?"), "NONE") == 0;
        print_step(job, "ended_ns", "done", "answered %s",
                   well ? "well" : json_get_text(job, "status", "?"));
    }
    if (strcmp(state, "queued") == 0 || strcmp(state, "running") == 0) {
        printf("  it is %s now\n", strcmp(state, "queued") == 0 ? "waiting" : "at its worker");
    }
}

/* ---- the command ---- */

/* A number of an option into the request's body; nothing if it is not given. */
static int put_number(struct admin *admin, json_t *body, const char *option, const char *key,
                      uint64_t min, uint64_t max)
{
    uint64_t number;
    int status;

    if (!admin_option(admin, option)) {
        return ADMIN_OK;
    }
    status = admin_uint(admin, option, min, max, &number);
    if (status == ADMIN_OK) {
        json_object_set_new(body, key, json_integer((json_int_t)number));
    }
    return status;
}

/* By its number a VM needs no database, and need not be registered. */
static int put_vm(struct admin *admin, json_t *body)
{
    char error[VGPU_DB_ERROR_BYTES];
    const vgpu_vm_config_t *vm = NULL;
    bool has_db = admin_open_db_if_any(admin, error, sizeof(error));
    int status;

    if (!admin_option(admin, "vm-name") && !admin_option(admin, "vm-uuid")) {
        return put_number(admin, body, "vm-id", "vm_id", 0, UINT32_MAX);
    }
    if (!has_db) {
        return admin_fail(admin, ADMIN_FAILED, "%s; --vm-id names a VM without one", error);
    }
    status = admin_select_vm(admin, true, &vm);
    if (status == ADMIN_OK) {
        json_object_set_new(body, "vm_id", json_integer(vm->vm_id));
    }
    return status;
}

static int run_trace(struct admin *admin)
{
    json_t *answer = NULL, *body = json_object();
    bool one = admin_option(admin, "job") != NULL;
    int status = ADMIN_OK;
    const json_t *jobs;

    if (one && (admin_vm_is_named(admin, true) || admin_option(admin, "request-id") ||
                admin_option(admin, "last"))) {
        status = admin_fail(admin, ADMIN_USAGE, "a job's id says it all: give it alone");
    } else if (admin_option(admin, "request-id") && !admin_vm_is_named(admin, true)) {
        status = admin_fail(admin, ADMIN_USAGE,
                            "each VM counts its own requests: give --vm-name=NAME too");
    }
    if (status == ADMIN_OK) {
        status = put_vm(admin, body);
    }
    if (status == ADMIN_OK) {
        status = put_number(admin, body, "job", "job_id", 1, INT64_MAX);
    }
    if (status == ADMIN_OK) {
        status = put_number(admin, body, "request-id", "request_id", 0, UINT32_MAX);
    }
    if (status == ADMIN_OK) {
        status = put_number(admin, body, "last", "last", 1, LAST_MAX);
    }
    if (status == ADMIN_OK) {
        status = admin_ask_mediator(admin, VGPU_ADMIN_TRACE_JOB, 0, body, &answer);
    }
    json_decref(body);
    if (status != ADMIN_OK) {
        return status;
    }
    jobs = json_object_get(answer, "jobs");
    if (admin->json) {
        admin_print_json(admin, answer);
        return ADMIN_OK;
    }
    if (one || (admin_option(admin, "request-id") && json_array_size(jobs) == 1)) {
        print_job(admin, json_array_get(jobs, 0));
    } else {
        print_list(admin, answer);
    }
    json_decref(answer);
    return ADMIN_OK;
}

const struct admin_command commands_trace[] = {
    {
        .name = "trace-job",
        .group = "Watching",
        .summary = "Show a job's way: accepted, queued, chosen why, dispatched, done",
        .usage = "[ID] | [--vm-name=NAME | --vm-uuid=UUID | --vm-id=N] [--request-id=N] [--last=N]",
        .details =
            "Without a job's id it lists the latest jobs with their ids. The mediator keeps the\n"
            "last 256 jobs of each VM. events and the mediator's log give the job_id of what went\n"
            "wrong.",
        .example = "vgpu-admin trace-job --vm-name=\"web 1\" --last=10\nvgpu-admin trace-job 4711",
        ADMIN_TAKES(
            {.name = "job", .metavar = "ID", .help = "the job (\"trace-job ID\" is the same)"},
            {.name = "request-id",
             .metavar = "N",
             .help = "the request with this number, as the guest counts them"},
            {.name = "last", .metavar = "N", .help = "list at most N jobs (default 20)"},
            ADMIN_OPTIONS_VM),
        .run = run_trace,
        .only_looks = true,
        .positional = "job",
    },
    {0},
};
