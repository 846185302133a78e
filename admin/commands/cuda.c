/* SPDX-License-Identifier: GPL-2.0-or-later */
/* show-cuda: what VMs' CUDA programs have and do. */
#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/base/json_get.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/tools.h"
#include "vgpu/vgpu_admin.h"

#define NAMES_SHOWN 3u

/* A VM's functions have counts, a program's are names alone. */
static void refused_text(const json_t *of, char *text, size_t bytes)
{
    json_t *item;
    size_t i, used = 0;

    snprintf(text, bytes, "-");
    json_array_foreach(json_object_get(of, "refused_functions"), i, item)
    {
        const char *name =
            json_is_string(item) ? json_string_value(item) : json_get_text(item, "name", "?");

        if (i == NAMES_SHOWN) {
            snprintf(text + used, bytes - used, ", ...");
            return;
        }
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i ? ", " : "", name);
        if (used >= bytes) {
            return;
        }
    }
}

static void count_cell(struct render_table *t, const json_t *of, const char *key)
{
    render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(of, key, 0));
}

static void memory_cells(struct render_table *t, const json_t *of)
{
    char text[RENDER_BYTES];

    count_cell(t, of, "contexts");
    render_cell(t, STYLE_PLAIN, "%s", render_bytes(json_get_number(of, "memory_bytes", 0), text));
}

static void work_cells(struct render_table *t, const json_t *of)
{
    char text[256];

    count_cell(t, of, "launches");
    count_cell(t, of, "copies");
    count_cell(t, of, "turns");
    refused_text(of, text, sizeof(text));
    render_cell(t, text[0] == '-' ? STYLE_DIM : STYLE_WARN, "%s", text);
}

/* Has it, or had it, a program at all? */
static bool has_any(const json_t *vm)
{
    return json_array_size(json_object_get(vm, "processes")) > 0 ||
           json_get_int(vm, "launches", 0) > 0 || json_get_int(vm, "copies", 0) > 0 ||
           json_get_int(vm, "refused", 0) > 0;
}

static void add_vm(struct render_table *t, const json_t *vm)
{
    char text[RENDER_BYTES];
    double nvml = json_get_number(vm, "gpu_memory_bytes", 0), rate = 0;
    json_t *program;
    size_t i;

    json_array_foreach(json_object_get(vm, "processes"), i, program)
    {
        rate += json_get_number(program, "launches_per_s", 0);
    }
    render_cell(t, STYLE_BOLD, "%lld", (long long)json_get_int(vm, "vm_id", 0));
    render_cell(t, STYLE_BOLD, "%s", json_get_text(vm, "name", ""));
    memory_cells(t, vm);
    render_cell(t, STYLE_PLAIN, "%s", nvml > 0 ? render_bytes(nvml, text) : "-");
    render_cell(t, STYLE_PLAIN, "%.0f", rate);
    work_cells(t, vm);
}

/* NVML knows the worker alone, which all programs of a VM share. */
static void add_program(struct render_table *t, const json_t *program)
{
    json_int_t pid = json_get_int(program, "pid", 0);

    render_cell(t, STYLE_DIM, "%s", "");
    if (pid > 0) {
        render_cell(t, STYLE_PLAIN, "  process %lld", (long long)pid);
    } else {
        render_cell(t, STYLE_PLAIN, "  channel %lld",
                    (long long)json_get_int(program, "channel", 0));
    }
    memory_cells(t, program);
    render_cell(t, STYLE_DIM, "-");
    render_cell(t, STYLE_PLAIN, "%.0f", json_get_number(program, "launches_per_s", 0));
    work_cells(t, program);
}

static bool is_wanted(struct admin *admin, const json_t *vm)
{
    const char *id = admin_option(admin, "vm-id");
    char number[32];

    snprintf(number, sizeof(number), "%lld", (long long)json_get_int(vm, "vm_id", 0));
    return id ? strcmp(id, number) == 0 : has_any(vm);
}

static void print_vms(struct admin *admin, const json_t *vms)
{
    static const struct render_column columns[] = {
        {"VM_ID", COLUMN_RIGHT},
        {"PROGRAM", COLUMN_SHRINK},
        {"CONTEXTS", COLUMN_RIGHT},
        {"CHARGED", COLUMN_RIGHT},
        {"BY NVML", COLUMN_RIGHT},
        {"LAUNCHES/S", COLUMN_RIGHT},
        {"LAUNCHES", COLUMN_RIGHT},
        {"COPIES", COLUMN_RIGHT | COLUMN_DROP},
        {"TURNS", COLUMN_RIGHT | COLUMN_DROP},
        {"REFUSED", COLUMN_DROP},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    json_t *vm, *program;
    size_t i, j;

    json_array_foreach(vms, i, vm)
    {
        if (!is_wanted(admin, vm)) {
            continue;
        }
        add_vm(t, vm);
        json_array_foreach(json_object_get(vm, "processes"), j, program)
        {
            add_program(t, program);
        }
    }
    render_table_end(t, "No VM has had a CUDA program since the mediator was started.");
}

/* Only the VM that was asked for. */
static void narrow(struct admin *admin, json_t *answer)
{
    json_t *vms = json_object_get(answer, "vms");

    for (size_t i = json_array_size(vms); admin_option(admin, "vm-id") && i-- > 0;) {
        if (!is_wanted(admin, json_array_get(vms, i))) {
            json_array_remove(vms, i);
        }
    }
}

static int run_cuda(struct admin *admin)
{
    json_t *answer;
    int status = ADMIN_OK;
    uint64_t number;

    if (admin_option(admin, "vm-id")) {
        status = admin_uint(admin, "vm-id", 0, UINT32_MAX, &number);
    }
    if (status == ADMIN_OK) {
        status = admin_ask_mediator(admin, VGPU_ADMIN_SHOW_CUDA, 0, NULL, &answer);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    narrow(admin, answer);
    if (admin->json) {
        admin_print_json(admin, answer);
        return ADMIN_OK;
    }
    print_vms(admin, json_object_get(answer, "vms"));
    json_decref(answer);
    return ADMIN_OK;
}

const struct admin_command commands_cuda[] = {
    {
        .name = "show-cuda",
        .group = "Watching",
        .summary = "Show what VMs' CUDA programs have and do",
        .details =
            "Of each VM and of each of its programs on the CUDA driver interface: contexts, GPU\n"
            "memory charged and (of the VM's worker) by NVML, launches, copies, turns on the GPU,\n"
            "and functions that are not built and were called. At most a second old.",
        .example = "vgpu-admin show-cuda --vm-id=7",
        ADMIN_TAKES({.name = "vm-id", .metavar = "N", .help = "only this VM"}),
        .run = run_cuda,
        .only_looks = true,
    },
    {0},
};
