/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control panel: what the database says, and what the mediator says of it.
 * Without a mediator the first half is shown, and the exit status says so; a
 * mediator that runs without a database (--no-db) is all there is to ask.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/base/json_get.h"
#include "admin/base/link.h"
#include "admin/base/live.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/db.h"
#include "admin/host_gpus.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/select.h"
#include "admin/tools.h"
#include "common/names.h"
#include "common/ns.h"
#include "vgpu/vgpu_admin.h"

static enum render_style state_style(const char *state)
{
    if (strcmp(state, "ok") == 0 || strcmp(state, "active") == 0) {
        return STYLE_GOOD;
    }
    if (strcmp(state, "failed") == 0 || strcmp(state, "quarantined") == 0) {
        return STYLE_BAD;
    }
    return strcmp(state, "paused") == 0 ? STYLE_WARN : STYLE_PLAIN;
}

/* "0.42" of a whole as "42.0 %"; "-" if it is not there. */
static void share_cell(struct render_table *t, const json_t *object, const char *key)
{
    if (json_has_number(object, key)) {
        render_cell(t, STYLE_PLAIN, "%.1f %%", 100 * json_get_number(object, key, 0));
    } else {
        render_cell(t, STYLE_DIM, "-");
    }
}

static void number_cell(struct render_table *t, const json_t *object, const char *key)
{
    char text[RENDER_BYTES];

    if (json_has_number(object, key)) {
        render_cell(t, STYLE_PLAIN, "%s",
                    render_count((uint64_t)json_get_int(object, key, 0), text));
    } else {
        render_cell(t, STYLE_DIM, "-");
    }
}

static const json_t *live_vm(const json_t *live, const vgpu_vm_config_t *vm)
{
    json_t *item;
    size_t i;

    json_array_foreach(json_object_get(live, "vms"), i, item)
    {
        const char *uuid = json_get_text(item, "uuid", "");
        if (uuid[0] ? strcasecmp(uuid, vm->vm_uuid) == 0
                    : json_get_int(item, "vm_id", -1) == (json_int_t)vm->vm_id) {
            return item;
        }
    }
    return NULL;
}

static const vgpu_vm_config_t *registered_vm(const struct admin *admin, const json_t *live)
{
    const char *uuid = json_get_text(live, "uuid", "");

    for (uint32_t i = 0; i < admin->config->vm_count; i++) {
        const vgpu_vm_config_t *vm = &admin->config->vms[i];
        if (uuid[0] ? strcasecmp(uuid, vm->vm_uuid) == 0
                    : json_get_int(live, "vm_id", -1) == (json_int_t)vm->vm_id) {
            return vm;
        }
    }
    return NULL;
}

static const char *vm_name(const struct admin *admin, json_int_t vm_id)
{
    const vgpu_vm_config_t *vm = vm_id > 0 ? admin_vm_by_id(admin, (uint32_t)vm_id) : NULL;

    return vm && vm->vm_name[0] ? vm->vm_name : NULL;
}

/* An older mediator has none and says nothing of it. */
static void print_keeper(const json_t *keeper)
{
    bool confined = json_get_bool(keeper, "own_uids") && json_get_bool(keeper, "own_networks") &&
                    json_get_bool(keeper, "own_ipc") && json_get_bool(keeper, "own_mounts");
    json_int_t first = json_get_int(keeper, "uid_first", 0);
    json_int_t last = first + json_get_int(keeper, "uid_count", 1) - 1;

    if (!keeper) {
        return;
    }
    if (json_get_int(keeper, "pid", 0) == 0) {
        render_pair("Keeper", STYLE_BAD, "not there: no worker can be started");
    } else if (confined) {
        render_pair("Keeper", STYLE_GOOD, "process %lld, workers confined, uids %lld to %lld",
                    (long long)json_get_int(keeper, "pid", 0), (long long)first, (long long)last);
    } else if (json_get_bool(keeper, "own_uids")) {
        render_pair("Keeper", STYLE_WARN,
                    "process %lld, workers not fully confined, uids %lld to "
                    "%lld",
                    (long long)json_get_int(keeper, "pid", 0), (long long)first, (long long)last);
    } else {
        render_pair("Keeper", STYLE_WARN, "process %lld, workers not confined, all with uid %lld",
                    (long long)json_get_int(keeper, "pid", 0), (long long)first);
    }
}

static void print_mediator(const json_t *live)
{
    char text[RENDER_BYTES];

    if (!live) {
        render_pair("Mediator", STYLE_BAD, "not reachable");
        return;
    }
    render_pair("Mediator", STYLE_GOOD, "running, version %s, up %s",
                json_get_text(live, "version", "?"),
                render_duration_ns(json_get_number(live, "uptime_s", 0) * NS_PER_S, text));
    render_pair("Policy", STYLE_PLAIN, "%s%s%s", json_get_text(live, "policy", "?"),
                json_object_get(live, "backend") ? ", backend " : "",
                json_get_text(live, "backend", ""));
    print_keeper(json_object_get(live, "keeper"));
    if (json_get_bool(live, "paused")) {
        render_pair("", STYLE_WARN, "PAUSED: no work is given to the GPUs (vgpu-admin resume)");
    }
}

/* The mediator's pools, when there is no database. */
static void print_live_pools(const json_t *live)
{
    static const struct render_column columns[] = {{"POOL", 0}, {"GPUS", COLUMN_SHRINK}};
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    json_t *pool, *gpu;
    size_t p, g;

    json_array_foreach(json_object_get(live, "pools"), p, pool)
    {
        char gpus[400] = "";
        json_array_foreach(json_object_get(pool, "gpus"), g, gpu)
        {
            size_t used = strlen(gpus);
            snprintf(gpus + used, sizeof(gpus) - used, "%s%lld", used ? ", " : "",
                     (long long)json_integer_value(gpu));
        }
        render_cell(t, STYLE_BOLD, "%s", json_get_text(pool, "pool", "?"));
        render_cell(t, STYLE_PLAIN, "%s", gpus);
    }
    render_table_end(t, "There are no pools.");
}

static void print_pools(struct admin *admin)
{
    static const struct render_column columns[] = {
        {"POOL", 0}, {"NAME", COLUMN_SHRINK}, {"VMS", COLUMN_RIGHT}, {"GPUS", COLUMN_SHRINK}};
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));

    for (uint32_t p = 0; p < admin->config->pool_count; p++) {
        const vgpu_pool_config_t *pool = &admin->config->pools[p];
        char gpus[400] = "every GPU";
        for (uint32_t i = 0; i < pool->gpu_count; i++) {
            size_t used = i ? strlen(gpus) : 0;
            snprintf(gpus + used, sizeof(gpus) - used, "%s%s", i ? ", " : "", pool->gpus[i]);
        }
        render_cell(t, STYLE_BOLD, "%c", pool->pool_id);
        render_cell(t, STYLE_PLAIN, "%s", pool->pool_name);
        render_cell(t, STYLE_PLAIN, "%u", pool->vm_count);
        render_cell(t, STYLE_PLAIN, "%s", gpus);
    }
    render_table_end(t, "There are no pools.");
}

/* The letters of the pools that use a GPU, from the GPU or from the list of pools. */
static const char *pools_of_gpu(const json_t *live, const json_t *gpu, json_int_t index,
                                char letters[64])
{
    const char *pool = json_get_text(gpu, "pool", NULL);
    json_t *item, *member;
    size_t p, g;

    if (pool) {
        return pool;
    }
    letters[0] = '\0';
    json_array_foreach(json_object_get(live, "pools"), p, item)
    {
        json_array_foreach(json_object_get(item, "gpus"), g, member)
        {
            size_t used = strlen(letters);
            if (json_is_integer(member) && json_integer_value(member) == index) {
                snprintf(letters + used, 64 - used, "%s%.1s", used ? "," : "",
                         json_get_text(item, "pool", "?"));
            }
        }
    }
    return letters[0] ? letters : "-";
}

static void print_gpus(struct admin *admin, const json_t *live)
{
    char letters[64];
    static const struct render_column columns[] = {
        {"GPU", COLUMN_RIGHT},
        {"NAME", COLUMN_SHRINK},
        {"POOL", 0},
        {"STATE", 0},
        {"RUNNING", COLUMN_SHRINK},
        {"QUEUE", COLUMN_RIGHT},
        {"IN FLIGHT", COLUMN_RIGHT},
        {"SWITCHES", COLUMN_RIGHT | COLUMN_DROP},
        {"BUSY", COLUMN_RIGHT},
        {"UUID", COLUMN_DROP},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    double uptime_ns = json_get_number(live, "uptime_s", 0) * NS_PER_S;
    json_t *gpu;
    size_t i;

    json_array_foreach(json_object_get(live, "gpus"), i, gpu)
    {
        const char *state = json_get_text(gpu, "state", "?");
        json_int_t running = json_get_int(gpu, "running_vm", 0);
        const char *name = vm_name(admin, running);
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(gpu, "index", (json_int_t)i));
        render_cell(t, STYLE_PLAIN, "%s", json_get_text(gpu, "name", "?"));
        render_cell(t, STYLE_PLAIN, "%s",
                    pools_of_gpu(live, gpu, json_get_int(gpu, "index", (json_int_t)i), letters));
        render_cell(t, state_style(state), "%s", state);
        if (name) {
            render_cell(t, STYLE_PLAIN, "%s", name);
        } else {
            render_cell(t, STYLE_PLAIN, running > 0 ? "vm_id %lld" : "-", (long long)running);
        }
        number_cell(t, gpu, "queued");
        number_cell(t, gpu, "in_flight");
        number_cell(t, gpu, "context_switches");
        if (uptime_ns > 0 && json_has_number(gpu, "busy_ns")) {
            render_cell(t, STYLE_PLAIN, "%.0f %%",
                        100 * json_get_number(gpu, "busy_ns", 0) / uptime_ns);
        } else {
            render_cell(t, STYLE_DIM, "-");
        }
        render_cell(t, STYLE_DIM, "%s", json_get_text(gpu, "uuid", "-"));
    }
    render_table_end(t, "The mediator has no GPU.");
}

/* What a VM that nobody registered is called. */
static const char *live_name(const json_t *item)
{
    const char *name = json_get_text(item, "name", "");

    return name[0] ? name : json_get_text(item, "uuid", "-");
}

static const char *json_priority(const json_t *live)
{
    const json_t *value = json_object_get(live, "priority");

    return json_is_string(value) ? json_string_value(value)
                                 : priority_name((unsigned)json_integer_value(value));
}

/* What both halves of a VM's row have: of the database or of the mediator. */
struct vm_row {
    json_int_t vm_id;
    const char *name, *pool, *priority, *state;
    double weight;
    enum render_style state_style;
};

static void vm_row(struct render_table *t, const struct vm_row *row, const json_t *live)
{
    char text[RENDER_BYTES];

    render_cell(t, STYLE_PLAIN, "%lld", (long long)row->vm_id);
    render_cell(t, STYLE_PLAIN, "%s", row->name);
    render_cell(t, STYLE_PLAIN, "%s", row->pool);
    render_cell(t, STYLE_PLAIN, "%s", row->priority);
    render_cell(t, STYLE_PLAIN, "%g", row->weight);
    render_cell(t, row->state_style, "%s", row->state);
    number_cell(t, live, "gpu");
    number_cell(t, live, "queue_depth");
    number_cell(t, live, "completed");
    if (live) {
        render_cell(t, STYLE_PLAIN, "%s", render_count((uint64_t)live_refused(live), text));
    } else {
        render_cell(t, STYLE_DIM, "-");
    }
    number_cell(t, live, "errors");
    share_cell(t, live, "due_share");
    share_cell(t, live, "share");
}

static void registered_row(struct render_table *t, const vgpu_vm_config_t *vm, const json_t *live)
{
    const json_t *l = live_vm(live, vm);
    char pool[2] = {vm->pool_id, '\0'};
    struct vm_row row = {
        .vm_id = vm->vm_id,
        .name = admin_vm_name(vm),
        .pool = pool,
        .priority = priority_name(vm->priority),
        .weight = vm->weight,
        .state = vm->quarantined ? "quarantined"
                 : live          ? live_state(l)
                                 : "unknown",
    };

    row.state_style = state_style(row.state);
    vm_row(t, &row, l);
}

/* A VM that only the mediator knows. */
static void live_row(struct render_table *t, const json_t *item, bool without_database)
{
    struct vm_row row = {
        .vm_id = json_get_int(item, "vm_id", 0),
        .name = live_name(item),
        .pool = json_get_text(item, "pool", "-"),
        .priority = json_priority(item),
        .weight = json_get_number(item, "weight", 0),
        .state = without_database ? live_state(item) : "not registered",
    };

    row.state_style = without_database ? state_style(row.state) : STYLE_WARN;
    vm_row(t, &row, item);
}

static void print_vms(struct admin *admin, const json_t *live)
{
    static const struct render_column columns[] = {
        {"VM_ID", COLUMN_RIGHT | COLUMN_KEY},
        {"NAME", COLUMN_SHRINK | COLUMN_KEY},
        {"POOL", 0},
        {"PRIORITY", COLUMN_LATER},
        {"WEIGHT", COLUMN_RIGHT | COLUMN_LATER},
        {"STATE", 0},
        {"GPU", COLUMN_RIGHT},
        {"QUEUE", COLUMN_RIGHT},
        {"DONE", COLUMN_RIGHT | COLUMN_LATER},
        {"REFUSED", COLUMN_RIGHT | COLUMN_LATER},
        {"ERRORS", COLUMN_RIGHT | COLUMN_LATER},
        {"DUE", COLUMN_RIGHT},
        {"GOT", COLUMN_RIGHT},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    json_t *item;
    size_t i;

    for (uint32_t v = 0; v < admin->config->vm_count; v++) {
        registered_row(t, &admin->config->vms[v], live);
    }
    json_array_foreach(json_object_get(live, "vms"), i, item)
    {
        if (!registered_vm(admin, item)) {
            live_row(t, item, live_without_db(live));
        }
    }
    render_table_end(t, live && live_without_db(live)
                            ? "No VM has been connected since the mediator started."
                            : "No VM is registered. vgpu-admin scan-vms shows the host's VMs, "
                              "vgpu-admin register-vm registers one.");
}

/* A restart that somebody put off is not forgotten. */
static void print_restarts(struct admin *admin, const json_t *live)
{
    json_t *item;
    size_t i;

    json_array_foreach(json_object_get(live, "vms"), i, item)
    {
        const json_t *device = json_object_get(item, "device");
        const char *name = json_get_text(item, "name", "");

        if (json_get_bool(item, "restart_needed")) {
            admin_note(admin,
                       "the device of %s%s(vm_id %lld) still shows its guest vm_id %lld, pool %s, "
                       "priority %s: it is too old to be told; shut the VM down and start it again",
                       name, name[0] ? " " : "", (long long)json_get_int(item, "vm_id", 0),
                       (long long)json_get_int(device, "vm_id", 0),
                       json_get_text(device, "pool", "?"), json_priority(device));
        }
    }
}

static json_t *document(struct admin *admin, const json_t *live)
{
    json_t *vms = json_array(), *pools = json_array(), *item;
    size_t i;
    json_t *doc;

    for (uint32_t p = 0; p < admin->config->pool_count; p++) {
        const vgpu_pool_config_t *pool = &admin->config->pools[p];
        json_t *gpus = json_array();
        char letter[2] = {pool->pool_id, '\0'};
        for (uint32_t g = 0; g < pool->gpu_count; g++) {
            json_array_append_new(gpus, json_string(pool->gpus[g]));
        }
        json_array_append_new(pools, json_pack("{s:s, s:s, s:I, s:o}", "pool", letter, "name",
                                               pool->pool_name, "vm_count",
                                               (json_int_t)pool->vm_count, "gpus", gpus));
    }
    for (uint32_t v = 0; v < admin->config->vm_count; v++) {
        json_t *vm = admin_vm_json(&admin->config->vms[v]);
        const json_t *l = live_vm(live, &admin->config->vms[v]);
        json_object_set_new(vm, "registered", json_true());
        json_object_set_new(vm, "connected",
                            live ? json_boolean(l && json_get_bool(l, "connected")) : json_null());
        if (l) {
            /* The mediator writes a quarantine to the database a moment after it is in force. */
            json_object_set_new(
                vm, "quarantined",
                json_boolean(json_get_bool(vm, "quarantined") || json_get_bool(l, "quarantined")));
            json_object_update_missing(vm, (json_t *)l);
        }
        json_array_append_new(vms, vm);
    }
    json_array_foreach(json_object_get(live, "vms"), i, item)
    {
        if (!registered_vm(admin, item)) {
            json_t *vm = json_copy(item);
            json_object_set_new(vm, "registered", json_false());
            json_array_append_new(vms, vm);
        }
    }
    doc = json_pack("{s:b, s:o, s:o}", "mediator_reachable", live != NULL, "pools", pools, "vms",
                    vms);
    if (live) {
        json_object_update_missing(doc, (json_t *)live);
    }
    return doc;
}

static void print_text(struct admin *admin, const json_t *live, bool has_db)
{
    print_mediator(live);
    if (live && live_without_db(live)) {
        render_pair("Database", STYLE_WARN, "none: the mediator runs with --no-db%s",
                    has_db ? ", what the database says is not in force" : "");
    }
    printf("\n");
    if (has_db) {
        print_pools(admin);
    } else {
        print_live_pools(live);
    }
    if (live) {
        printf("\n");
        print_gpus(admin, live);
    }
    printf("\n");
    print_vms(admin, live);
}

static int run_status(struct admin *admin)
{
    char error[VGPU_DB_ERROR_BYTES];
    json_t *live = NULL;
    bool has_db = admin_open_db_if_any(admin, error, sizeof(error));
    int status = ADMIN_OK;
    int result = admin_link_request(admin_get_link(admin), VGPU_ADMIN_SHOW_STATUS, 0, NULL, &live);

    /* A mediator that has no place for us may well run without one. */
    if (!has_db && result == -EUSERS) {
        return admin_fail(admin, ADMIN_UNREACHABLE, "%s", admin_link_error(admin->link));
    }
    if (!has_db && result < 0) {
        return admin_fail(admin, ADMIN_FAILED, "%s", error);
    }
    if (result < 0) {
        status = admin_link_is_unreachable(result) ? ADMIN_UNREACHABLE : ADMIN_FAILED;
    } else if (!has_db && !live_without_db(live)) {
        status = ADMIN_FAILED;
    }
    if (!admin->json) {
        print_text(admin, live, has_db);
        fflush(stdout);
    }
    if (live) {
        print_restarts(admin, live);
        host_note_missing_gpus(admin, json_object_get(live, "gpus"));
    }
    if (result < 0) {
        admin_note(admin, "%s", admin_link_error(admin->link));
    } else if (status == ADMIN_FAILED) {
        admin_note(admin, "%s; the mediator uses %s", error,
                   json_get_text(live, "database", "another one"));
    } else if (!has_db && admin->json) {
        admin_note(admin, "there is no database: the mediator runs with --no-db");
    }
    if (admin->json) {
        admin_print_json(admin, document(admin, live));
    }
    json_decref(live);
    return status;
}

const struct admin_command commands_status[] = {
    {
        .name = "status",
        .group = "At a glance",
        .summary = "Show pools, GPUs and VMs, and who is connected",
        .details =
            "DUE is the part of its GPU's time that a VM may have while others want it too, GOT\n"
            "what it had lately. Without a running mediator the database's part is shown, and the\n"
            "exit status is 3. Of a mediator that runs with --no-db its own part is shown.",
        .example = "vgpu-admin status",
        .run = run_status,
        .only_looks = true,
    },
    {0},
};
