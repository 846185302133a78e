/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking at VMs: list-vms, show-vm, scan-vms. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/base/link.h"
#include "admin/base/live.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/commands/vm.h"
#include "admin/db.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/select.h"
#include "admin/tools.h"
#include "vgpu/vgpu_admin.h"
#include "common/names.h"
#include "common/vm_limits.h"

static const char *limit_text(uint32_t value, char out[16])
{
    snprintf(out, 16, value ? "%u" : "-", value);
    return out;
}

/* ---- what the mediator says of them, if it runs ---- */

static const char *const live_keys[] = {
    "gpu",    "state",        "due_share",    "share",     "entitled_ns", "gpu_time_ns",
    "lag_ns", "kept_idle_ns", "switching_ns", "suspended", "pausing",
};

/* Its status; NULL when it can't be asked. */
static json_t *ask_live(struct admin *admin)
{
    json_t *live = NULL;

    return admin_link_request(admin_get_link(admin), VGPU_ADMIN_SHOW_STATUS, 0, NULL, &live) == 0
               ? live
               : NULL;
}

/* NULL when the mediator does not know it. */
static const json_t *find_live(const json_t *live, uint32_t vm_id)
{
    const json_t *vm;
    size_t i;

    json_array_foreach(json_object_get(live, "vms"), i, vm)
    {
        if (json_get_int(vm, "vm_id", -1) == (int64_t)vm_id) {
            return vm;
        }
    }
    return NULL;
}

/* The VM as the database has it, and its shares as they are now under "live", or null. */
static json_t *vm_json(const vgpu_vm_config_t *vm, const json_t *live)
{
    const json_t *known = find_live(live, vm->vm_id);
    json_t *object = admin_vm_json(vm), *shares = known ? json_object() : json_null();

    for (size_t i = 0; known && i < sizeof(live_keys) / sizeof(live_keys[0]); i++) {
        json_object_set(shares, live_keys[i], json_object_get(known, live_keys[i]));
    }
    json_object_set_new(object, "live", shares);
    return object;
}

static void print_shares(const json_t *vm)
{
    char text[RENDER_BYTES];

    render_pair("Now", STYLE_PLAIN, "%s%s%s", live_state(vm), live_standing(vm)[0] ? ", " : "",
                live_standing(vm));
    if (!json_has_number(vm, "entitled_ns")) {
        return;
    }
    render_pair("Entitled", STYLE_PLAIN, "%s",
                render_duration_ns(json_get_number(vm, "entitled_ns", 0), text));
    render_pair("GPU time", STYLE_PLAIN, "%s",
                render_duration_ns(json_get_number(vm, "gpu_time_ns", 0), text));
    render_pair("Owed", STYLE_PLAIN, "%s", render_signed_duration_ns(live_owed_ns(vm), text));
    render_pair("Kept idle", STYLE_PLAIN, "%s",
                render_duration_ns(json_get_number(vm, "kept_idle_ns", 0), text));
    render_pair("Switches", STYLE_PLAIN, "%s",
                render_duration_ns(json_get_number(vm, "switching_ns", 0), text));
}

static int run_list(struct admin *admin)
{
    static const struct render_column columns[] = {
        {"VM_ID", COLUMN_RIGHT},
        {"NAME", COLUMN_SHRINK},
        {"POOL", 0},
        {"PRIORITY", 0},
        {"WEIGHT", COLUMN_RIGHT},
        {"RATE LIMIT", COLUMN_RIGHT | COLUMN_DROP},
        {"QUEUE DEPTH", COLUMN_RIGHT | COLUMN_DROP},
        {"STATE", 0},
        {"UUID", COLUMN_DROP},
    };
    char pool = 0;
    uint8_t priority = 0;
    int status = admin_option(admin, "pool") ? admin_pool(admin, "pool", &pool) : ADMIN_OK;
    bool by_priority = admin_option(admin, "priority") != NULL;
    json_t *list, *live;
    struct render_table *t;

    if (status == ADMIN_OK && by_priority) {
        status = admin_priority(admin, "priority", &priority);
    }
    if (status == ADMIN_OK) {
        status = admin_open_view(admin);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    list = json_array();
    live = admin->json ? ask_live(admin) : NULL;
    t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    for (uint32_t i = 0; i < admin->config->vm_count; i++) {
        const vgpu_vm_config_t *vm = &admin->config->vms[i];
        char rate[16], depth[16];
        if ((pool && vm->pool_id != pool) || (by_priority && vm->priority != priority)) {
            continue;
        }
        json_array_append_new(list, vm_json(vm, live));
        render_cell(t, STYLE_PLAIN, "%u", vm->vm_id);
        render_cell(t, STYLE_PLAIN, "%s", vm->vm_name);
        render_cell(t, STYLE_PLAIN, "%c", vm->pool_id);
        render_cell(t, STYLE_PLAIN, "%s", priority_name(vm->priority));
        render_cell(t, STYLE_PLAIN, "%g", vm->weight);
        render_cell(t, STYLE_PLAIN, "%s", limit_text(vm->max_jobs_per_sec, rate));
        render_cell(t, STYLE_PLAIN, "%s", limit_text(vm->max_queue_depth, depth));
        render_cell(t, vm->quarantined ? STYLE_BAD : STYLE_PLAIN, "%s",
                    vm->quarantined ? "quarantined" : "ok");
        render_cell(t, STYLE_DIM, "%s", vm->vm_uuid);
    }
    if (admin->json) {
        admin_print_json(admin, json_pack("{s:o}", "vms", list));
        list = NULL;
    }
    if (!admin->json) {
        render_table_end(t, admin->config->vm_count
                                ? "No VM matches."
                                : "No VM is registered. vgpu-admin scan-vms shows the host's VMs, "
                                  "vgpu-admin register-vm registers one.");
    } else {
        render_table_discard(t);
    }
    json_decref(list);
    json_decref(live);
    return ADMIN_OK;
}

static int run_show(struct admin *admin)
{
    const vgpu_vm_config_t *vm;
    char bytes[RENDER_BYTES], number[16], depth[COMMANDS_LIMIT_BYTES];
    json_t *live;
    int status = admin_open_view(admin);

    if (status == ADMIN_OK) {
        status = admin_select_vm(admin, true, &vm);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    live = ask_live(admin);
    if (admin->json) {
        admin_print_json(admin, json_pack("{s:o}", "vm", vm_json(vm, live)));
        json_decref(live);
        return ADMIN_OK;
    }
    render_pair("Name", STYLE_BOLD, "%s", vm->vm_name[0] ? vm->vm_name : "-");
    render_pair("UUID", STYLE_PLAIN, "%s", vm->vm_uuid);
    render_pair("vm_id", STYLE_PLAIN, "%u", vm->vm_id);
    render_pair("Pool", STYLE_PLAIN, "%c", vm->pool_id);
    render_pair("Priority", STYLE_PLAIN, "%s", priority_name(vm->priority));
    render_pair("Weight", STYLE_PLAIN, "%g", vm->weight);
    if (vm->max_jobs_per_sec) {
        render_pair("Rate limit", STYLE_PLAIN, "%u jobs/s, burst %s", vm->max_jobs_per_sec,
                    vm->burst ? limit_text(vm->burst, number) : "a tenth of the rate");
    } else {
        render_pair("Rate limit", STYLE_PLAIN, "none");
    }
    render_pair("Queue depth", STYLE_PLAIN, "%s%s",
                commands_queue_depth_text(vm->max_queue_depth, depth),
                vm_limit_queue_depth(vm->max_queue_depth) == vm->max_queue_depth
                    ? ""
                    : ": the mediator's hard limit, waiting and running together");
    render_pair("Memory limit", STYLE_PLAIN, "%s",
                vm->memory_limit_bytes ? render_bytes((double)vm->memory_limit_bytes, bytes)
                                       : "none");
    render_pair("CUDA programs", STYLE_PLAIN, "%s",
                vm->max_processes ? limit_text(vm->max_processes, number) : "none");
    render_pair("Kernel time", STYLE_PLAIN, "%s%s",
                vm->max_kernel_ms ? limit_text(vm->max_kernel_ms, number) : "none",
                vm->max_kernel_ms ? " ms" : "");
    render_pair("Host memory", STYLE_PLAIN, "%s",
                vm->host_memory_bytes ? render_bytes((double)vm->host_memory_bytes, bytes)
                                      : "none");
    if (vm->quarantined) {
        render_pair("State", STYLE_BAD, "quarantined since %s UTC%s%s", vm->quarantined_at,
                    vm->quarantine_reason[0] ? ": " : "", vm->quarantine_reason);
        render_pair("", STYLE_PLAIN, "to release it: vgpu-admin clear-quarantine --vm-uuid=%s",
                    vm->vm_uuid);
    } else {
        render_pair("State", STYLE_PLAIN, "ok");
    }
    render_pair("Faults", vm->error_count ? STYLE_WARN : STYLE_PLAIN, "%u", vm->error_count);
    render_pair("Registered", STYLE_PLAIN, "%s UTC", vm->created_at);
    render_pair("Changed", STYLE_PLAIN, "%s UTC", vm->updated_at);
    if (find_live(live, vm->vm_id)) {
        print_shares(find_live(live, vm->vm_id));
    }
    json_decref(live);
    return ADMIN_OK;
}

/* ---- scan-vms ------------------------------------------------------------------------ */

struct scanned {
    const struct toolstack_vm *host;    /* NULL: the toolstack does not know it */
    const vgpu_vm_config_t *registered; /* NULL: not registered */
};

static json_t *scanned_json(const struct scanned *s)
{
    json_t *object = s->registered ? admin_vm_json(s->registered) : json_object();

    json_object_set_new(object, "registered", json_boolean(s->registered));
    if (s->host) {
        json_t *name;

        json_object_set_new(object, "uuid", json_string(s->host->uuid));
        name = json_string(s->host->name);
        json_object_set_new(object, "name", name ? name : json_null());
        json_object_set_new(object, "power_state", json_string(s->host->state));
    } else {
        json_object_set_new(object, "power_state", json_null());
    }
    return object;
}

/* Those of one pool; 0: not registered. */
static void print_group(const struct scanned *scanned, size_t count, char pool)
{
    static const struct render_column columns[] = {
        {"NAME", COLUMN_SHRINK}, {"POWER", 0}, {"VM_ID", COLUMN_RIGHT},
        {"PRIORITY", 0},         {"STATE", 0}, {"UUID", COLUMN_DROP},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));

    for (size_t i = 0; i < count; i++) {
        const struct scanned *s = &scanned[i];
        const vgpu_vm_config_t *vm = s->registered;
        if ((vm ? vm->pool_id : 0) != pool) {
            continue;
        }
        /* cppcheck-suppress nullPointerRedundantCheck; one of the two lists has it */
        render_cell(t, STYLE_PLAIN, "%s", s->host ? s->host->name : vm->vm_name);
        render_cell(t, s->host && s->host->running ? STYLE_GOOD : STYLE_DIM, "%s",
                    s->host ? s->host->state : "unknown to the toolstack");
        if (vm) {
            render_cell(t, STYLE_PLAIN, "%u", vm->vm_id);
            render_cell(t, STYLE_PLAIN, "%s", priority_name(vm->priority));
            render_cell(t, vm->quarantined ? STYLE_BAD : STYLE_PLAIN, "%s",
                        vm->quarantined ? "quarantined" : "ok");
        } else {
            for (int c = 0; c < 3; c++) {
                render_cell(t, STYLE_DIM, "-");
            }
        }
        render_cell(t, STYLE_DIM, "%s", s->host ? s->host->uuid : vm->vm_uuid);
    }
    render_table_end(t, "none");
}

static void print_scan(struct admin *admin, const struct scanned *scanned, size_t count,
                       const char *tool)
{
    const struct vgpu_config_snapshot *config = admin->config;
    size_t unregistered = 0;

    for (uint32_t p = 0; p < config->pool_count; p++) {
        printf("%s", p ? "\n" : "");
        render_heading("Pool %c (%s)", config->pools[p].pool_id, config->pools[p].pool_name);
        print_group(scanned, count, config->pools[p].pool_id);
    }
    for (size_t i = 0; i < count; i++) {
        unregistered += !scanned[i].registered;
    }
    printf("\n");
    render_heading("Not registered");
    print_group(scanned, count, 0);
    printf("\n%zu VMs, %zu not registered (asked %s).", count, unregistered, tool);
    if (unregistered > 0) {
        printf(" To register one: vgpu-admin register-vm --vm-name=NAME");
    }
    printf("\n");
}

static int run_scan(struct admin *admin)
{
    struct toolstack *toolstack = admin_toolstack(admin);
    struct toolstack_vm *vms;
    size_t count, total = 0;
    int status = admin_open_view(admin);
    const struct vgpu_config_snapshot *config;
    struct scanned *scanned;

    if (status != ADMIN_OK) {
        return status;
    }
    if (toolstack_list(toolstack, &vms, &count) < 0) {
        return admin_fail(admin, ADMIN_FAILED, "%s", toolstack_error(toolstack));
    }
    config = admin->config;
    scanned = calloc(count + config->vm_count + 1, sizeof(*scanned));
    if (!scanned) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        scanned[total].host = &vms[i];
        for (uint32_t r = 0; r < config->vm_count; r++) {
            if (strcasecmp(config->vms[r].vm_uuid, vms[i].uuid) == 0) {
                scanned[total].registered = &config->vms[r];
            }
        }
        total++;
    }
    for (uint32_t r = 0; r < config->vm_count; r++) {
        bool known = false;
        for (size_t i = 0; i < count; i++) {
            known = known || scanned[i].registered == &config->vms[r];
        }
        if (!known) {
            scanned[total++].registered = &config->vms[r];
        }
    }
    if (admin->json) {
        json_t *list = json_array();
        for (size_t i = 0; i < total; i++) {
            json_array_append_new(list, scanned_json(&scanned[i]));
        }
        admin_print_json(admin, json_pack("{s:s, s:o}", "toolstack", toolstack_ops(toolstack)->name,
                                          "vms", list));
    } else {
        print_scan(admin, scanned, total, toolstack_ops(toolstack)->name);
    }
    free(scanned);
    free(vms);
    return ADMIN_OK;
}

#define GROUP "Virtual machines"

const struct admin_command commands_list[] = {
    {
        .name = "list-vms",
        .group = GROUP,
        .summary = "List the registered VMs",
        .usage = "[--pool=A..Z] [--priority=low|medium|high]",
        .example = "vgpu-admin list-vms --pool=A",
        ADMIN_TAKES({.name = "pool", .metavar = "A..Z", .help = "only VMs of this pool"},
                    {.name = "priority",
                     .metavar = "low|medium|high",
                     .help = "only VMs of this priority"}),
        .run = run_list,
        .only_looks = true,
    },
    {
        .name = "show-vm",
        .group = GROUP,
        .summary = "Show everything the database says of a VM, and its share now",
        .usage = ADMIN_WHICH_VM,
        .example = "vgpu-admin show-vm --vm-name=\"web 1\"",
        ADMIN_TAKES(ADMIN_OPTIONS_VM),
        .run = run_show,
        .only_looks = true,
    },
    {
        .name = "scan-vms",
        .group = GROUP,
        .summary = "List all VMs of the host, registered or not",
        .details =
            "Asks the toolstack (xe on XCP-ng, virsh on libvirt hosts) and groups the VMs by pool.",
        .example = "vgpu-admin scan-vms",
        .run = run_scan,
        .only_looks = true,
    },
    {0},
};
