/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Weights and limits. */
#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/commands/vm.h"
#include "admin/db.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/select.h"
#include "common/names.h"
#include "common/vm_limits.h"
#include "common/weight.h"

static int run_set_weight(struct admin *admin)
{
    vgpu_vm_config_t values = {0};
    int status = admin_weight(admin, "weight", &values.weight);

    return status != ADMIN_OK ? status : commands_change_vm(admin, true, VGPU_VM_WEIGHT, &values);
}

/* ---- show-weights -------------------------------------------------------------------- */

/* base_mult * weight / 50, the scheduler's share. */
static double share_of(const vgpu_vm_config_t *vm)
{
    return (double)(1u << vm->priority) * vm->weight / VGPU_WEIGHT_DEFAULT;
}

/*
 * Pools with the same GPUs compete with each other; without assigned GPUs a pool
 * uses all of them.
 */
static bool same_gpus(const vgpu_pool_config_t *a, const vgpu_pool_config_t *b)
{
    if (a->gpu_count != b->gpu_count) {
        return false;
    }
    for (uint32_t i = 0; i < a->gpu_count; i++) {
        if (strcmp(a->gpus[i], b->gpus[i]) != 0) {
            return false;
        }
    }
    return true;
}

static const vgpu_pool_config_t *pool_of(const struct vgpu_config_snapshot *s, char pool_id)
{
    for (uint32_t p = 0; p < s->pool_count; p++) {
        if (s->pools[p].pool_id == pool_id) {
            return &s->pools[p];
        }
    }
    return NULL;
}

/* What part of its GPUs' time the VM is due while every VM there has work. */
static double due(const struct vgpu_config_snapshot *s, const vgpu_vm_config_t *vm)
{
    const vgpu_pool_config_t *mine = pool_of(s, vm->pool_id);
    double total = 0;

    if (vm->quarantined || !mine) {
        return 0;
    }
    for (uint32_t i = 0; i < s->vm_count; i++) {
        const vgpu_pool_config_t *pool = pool_of(s, s->vms[i].pool_id);
        if (!s->vms[i].quarantined && pool && same_gpus(mine, pool)) {
            total += share_of(&s->vms[i]);
        }
    }
    return share_of(vm) / total;
}

static json_t *weight_json(const struct vgpu_config_snapshot *s, const vgpu_vm_config_t *vm)
{
    json_t *object = admin_vm_json(vm);

    json_object_set_new(object, "share", json_real(share_of(vm)));
    json_object_set_new(object, "due_share", json_real(due(s, vm)));
    return object;
}

static void weight_row(struct render_table *t, const struct vgpu_config_snapshot *s,
                       const vgpu_vm_config_t *vm)
{
    render_cell(t, STYLE_PLAIN, "%u", vm->vm_id);
    render_cell(t, STYLE_PLAIN, "%s", admin_vm_name(vm));
    render_cell(t, STYLE_PLAIN, "%s", priority_name(vm->priority));
    render_cell(t, STYLE_PLAIN, "%g", vm->weight);
    render_cell(t, STYLE_PLAIN, "%.2f", share_of(vm));
    if (vm->quarantined) {
        render_cell(t, STYLE_BAD, "quarantined");
    } else {
        render_cell(t, STYLE_BOLD, "%.1f %%", 100 * due(s, vm));
    }
    render_cell(t, STYLE_PLAIN, "%c", vm->pool_id);
}

/* The VMs of a pool, for a table or for a list; the other one is NULL. */
static void add_weights(const struct vgpu_config_snapshot *s, char pool_id, struct render_table *t,
                        json_t *list)
{
    for (uint32_t i = 0; i < s->vm_count; i++) {
        if (s->vms[i].pool_id != pool_id) {
            continue;
        }
        if (t) {
            weight_row(t, s, &s->vms[i]);
        } else {
            json_array_append_new(list, weight_json(s, &s->vms[i]));
        }
    }
}

/* Whether an earlier pool has the same GPUs: this one was shown with it. */
static bool shown_before(const struct vgpu_config_snapshot *s, uint32_t pool)
{
    for (uint32_t p = 0; p < pool; p++) {
        if (same_gpus(&s->pools[p], &s->pools[pool])) {
            return true;
        }
    }
    return false;
}

static void weights_heading(const vgpu_pool_config_t *pool, const char *names)
{
    if (pool->gpu_count == 0) {
        render_heading("Pool %s, every GPU of the host", names);
    } else {
        render_heading("Pool %s, %u GPU%s", names, pool->gpu_count,
                       pool->gpu_count == 1 ? "" : "s");
    }
}

/* One table of the pools that compete with pools[first]; false: there is no VM in them. */
static bool print_weights(const struct vgpu_config_snapshot *s, uint32_t first, bool gap)
{
    static const struct render_column columns[] = {
        {"VM_ID", COLUMN_RIGHT},
        {"NAME", COLUMN_SHRINK},
        {"PRIORITY", 0},
        {"WEIGHT", COLUMN_RIGHT},
        {"SHARE", COLUMN_RIGHT},
        {"ALL BUSY", COLUMN_RIGHT},
        {"POOL", 0},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    char names[64] = "";

    for (uint32_t q = first; q < s->pool_count; q++) {
        size_t used = strlen(names);

        if (same_gpus(&s->pools[first], &s->pools[q]) && s->pools[q].vm_count > 0) {
            snprintf(names + used, sizeof(names) - used, "%s%c", used ? ", " : "",
                     s->pools[q].pool_id);
            add_weights(s, s->pools[q].pool_id, t, NULL);
        }
    }
    if (!names[0]) {
        render_table_discard(t);
        return false;
    }
    printf("%s", gap ? "\n" : "");
    weights_heading(&s->pools[first], names);
    render_table_end(t, "");
    return true;
}

static void print_all_weights(const struct vgpu_config_snapshot *s)
{
    bool any = false;

    for (uint32_t p = 0; p < s->pool_count; p++) {
        any = (!shown_before(s, p) && print_weights(s, p, any)) || any;
    }
    if (!any) {
        printf("No VM is registered. vgpu-admin register-vm registers one.\n");
        return;
    }
    printf(
        "\nALL BUSY is the part of the GPU time that a VM gets while all of these VMs have work;\n"
        "what a VM does not use goes to the others. SHARE is 4, 2 or 1 for the priority,\n"
        "times weight / 50.\n");
}

static int run_show_weights(struct admin *admin)
{
    int status = admin_open_view(admin);
    json_t *list;

    if (status != ADMIN_OK) {
        return status;
    }
    if (!admin->json) {
        print_all_weights(admin->config);
        return ADMIN_OK;
    }
    list = json_array();
    for (uint32_t p = 0; p < admin->config->pool_count; p++) {
        for (uint32_t q = p; !shown_before(admin->config, p) && q < admin->config->pool_count;
             q++) {
            if (same_gpus(&admin->config->pools[p], &admin->config->pools[q])) {
                add_weights(admin->config, admin->config->pools[q].pool_id, NULL, list);
            }
        }
    }
    admin_print_json(admin, json_pack("{s:o}", "vms", list));
    return ADMIN_OK;
}

/* ---- Limits ---------------------------------------------------------------------------- */

static int run_set_rate_limit(struct admin *admin)
{
    vgpu_vm_config_t values = {0};
    unsigned fields = 0;
    uint64_t number;
    int status = ADMIN_OK;

    if (admin_option(admin, "rate")) {
        status = admin_uint(admin, "rate", 0, VGPU_RATE_MAX, &number);
        values.max_jobs_per_sec = (uint32_t)number;
        fields |= VGPU_VM_RATE;
    }
    if (status == ADMIN_OK && admin_option(admin, "burst")) {
        status = admin_uint(admin, "burst", 0, VGPU_RATE_MAX, &number);
        values.burst = (uint32_t)number;
        fields |= VGPU_VM_BURST;
    }
    if (status == ADMIN_OK && admin_option(admin, "queue-depth")) {
        status = admin_uint(admin, "queue-depth", 0, VGPU_QUEUE_DEPTH_MAX, &number);
        values.max_queue_depth = (uint32_t)number;
        fields |= VGPU_VM_QUEUE_DEPTH;
    }
    if (status == ADMIN_OK && fields == 0) {
        return admin_fail(admin, ADMIN_USAGE,
                          "set-rate-limit needs --rate=JOBS_PER_SECOND, --queue-depth=JOBS or "
                          "--burst=JOBS (0: no limit; burst 0: a tenth of the rate)");
    }
    return status != ADMIN_OK ? status : commands_change_vm(admin, true, fields, &values);
}

static int run_set_memory_limit(struct admin *admin)
{
    vgpu_vm_config_t values = {0};
    int status = admin_size(admin, "limit", &values.memory_limit_bytes);

    if (status == ADMIN_OK) {
        status = commands_change_vm(admin, true, VGPU_VM_MEMORY_LIMIT, &values);
    }
    return status;
}

static int run_set_program_limits(struct admin *admin)
{
    vgpu_vm_config_t values = {0};
    unsigned fields = 0;
    uint64_t number;
    int status = ADMIN_OK;

    if (admin_option(admin, "max-processes")) {
        status = admin_uint(admin, "max-processes", 0, VGPU_PROCESSES_MAX, &number);
        values.max_processes = (uint32_t)number;
        fields |= VGPU_VM_PROCESSES;
    }
    if (status == ADMIN_OK && admin_option(admin, "max-kernel-ms")) {
        status = admin_uint(admin, "max-kernel-ms", 0, VGPU_KERNEL_MS_MAX, &number);
        values.max_kernel_ms = (uint32_t)number;
        fields |= VGPU_VM_KERNEL_MS;
    }
    if (status == ADMIN_OK && admin_option(admin, "host-memory")) {
        status = admin_size(admin, "host-memory", &values.host_memory_bytes);
        fields |= VGPU_VM_HOST_MEMORY;
    }
    if (status == ADMIN_OK && fields == 0) {
        return admin_fail(admin, ADMIN_USAGE,
                          "set-program-limits needs --max-processes=N, --max-kernel-ms=MS or "
                          "--host-memory=SIZE (0: no limit)");
    }
    return status != ADMIN_OK ? status : commands_change_vm(admin, true, fields, &values);
}

/* A limit as a cell; 0: there is none. */
static void limit_cell(struct render_table *t, uint64_t limit, const char *text)
{
    render_cell(t, limit ? STYLE_PLAIN : STYLE_DIM, "%s", limit ? text : "no limit");
}

static void program_cells(struct render_table *t, const vgpu_vm_config_t *vm)
{
    char text[RENDER_BYTES];

    snprintf(text, sizeof(text), "%u", vm->max_processes);
    limit_cell(t, vm->max_processes, text);
    snprintf(text, sizeof(text), "%u ms", vm->max_kernel_ms);
    limit_cell(t, vm->max_kernel_ms, text);
    limit_cell(t, vm->host_memory_bytes, render_bytes((double)vm->host_memory_bytes, text));
}

static int run_show_rate_limits(struct admin *admin)
{
    static const struct render_column columns[] = {
        {"VM_ID", COLUMN_RIGHT},
        {"NAME", COLUMN_SHRINK},
        {"POOL", 0},
        {"RATE LIMIT", COLUMN_RIGHT},
        {"BURST", COLUMN_RIGHT},
        {"QUEUE DEPTH", COLUMN_RIGHT},
        {"MEMORY LIMIT", COLUMN_RIGHT | COLUMN_DROP},
        {"PROGRAMS", COLUMN_RIGHT | COLUMN_DROP},
        {"KERNEL", COLUMN_RIGHT | COLUMN_DROP},
        {"HOST MEMORY", COLUMN_RIGHT | COLUMN_DROP},
    };
    char text[RENDER_BYTES], depth[COMMANDS_LIMIT_BYTES];
    bool hard = false;
    int status = admin_open_view(admin);
    const struct vgpu_config_snapshot *s;
    struct render_table *t;

    if (status != ADMIN_OK) {
        return status;
    }
    s = admin->config;
    if (admin->json) {
        json_t *list = json_array();
        for (uint32_t i = 0; i < s->vm_count; i++) {
            json_array_append_new(list, admin_vm_json(&s->vms[i]));
        }
        admin_print_json(admin, json_pack("{s:o}", "vms", list));
        return ADMIN_OK;
    }
    t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    for (uint32_t i = 0; i < s->vm_count; i++) {
        const vgpu_vm_config_t *vm = &s->vms[i];
        render_cell(t, STYLE_PLAIN, "%u", vm->vm_id);
        render_cell(t, STYLE_PLAIN, "%s", admin_vm_name(vm));
        render_cell(t, STYLE_PLAIN, "%c", vm->pool_id);
        if (vm->max_jobs_per_sec) {
            render_cell(t, STYLE_PLAIN, "%u/s", vm->max_jobs_per_sec);
            render_cell(t, vm->burst ? STYLE_PLAIN : STYLE_DIM, "%u",
                        vm_limit_burst(vm->max_jobs_per_sec, vm->burst));
        } else {
            render_cell(t, STYLE_DIM, "no limit");
            render_cell(t, STYLE_DIM, "-");
        }
        hard |= vm_limit_queue_depth(vm->max_queue_depth) != vm->max_queue_depth;
        render_cell(t, vm->max_queue_depth ? STYLE_PLAIN : STYLE_DIM, "%s",
                    commands_queue_depth_text(vm->max_queue_depth, depth));
        limit_cell(t, vm->memory_limit_bytes, render_bytes((double)vm->memory_limit_bytes, text));
        program_cells(t, vm);
    }
    render_table_end(t, "No VM is registered. vgpu-admin register-vm registers one.");
    if (hard) {
        printf("\n(%u): the mediator's hard limit for a VM's jobs, waiting and running together.\n",
               VM_LIMIT_JOBS_MAX);
    }
    return ADMIN_OK;
}

#define GROUP "Shares and limits"

const struct admin_command commands_limits[] = {
    {
        .name = "set-weight",
        .group = GROUP,
        .summary = "Change a VM's weight",
        .usage = ADMIN_WHICH_VM " --weight=" WEIGHT_METAVAR,
        .details = "Among VMs of one priority the GPU time is divided by weight; 50 is neutral,\n"
                   "62.5 is a weight, too.\n"
                   "vgpu-admin show-weights shows what share that makes.",
        .example = "vgpu-admin set-weight --vm-name=\"web 1\" --weight=80",
        ADMIN_TAKES(ADMIN_OPTIONS_VM, {.name = "weight",
                                       .metavar = WEIGHT_METAVAR,
                                       .help = "the new weight, with two decimals at most",
                                       .required = true}),
        .run = run_set_weight,
    },
    {
        .name = "show-weights",
        .group = GROUP,
        .summary = "Show weights and the share of GPU time each VM is due",
        .details =
            "Computed from the database; the mediator need not run. vgpu-admin status shows the\n"
            "shares that VMs really got.",
        .example = "vgpu-admin show-weights",
        .run = run_show_weights,
        .only_looks = true,
    },
    {
        .name = "set-rate-limit",
        .group = GROUP,
        .summary = "Limit a VM's jobs per second and its queue",
        .usage = ADMIN_WHICH_VM " [--rate=JOBS_PER_SECOND] [--burst=JOBS] [--queue-depth=JOBS]",
        .details =
            "0 takes a limit away; at most 256 jobs of a VM wait and run all the same, the\n"
            "mediator's hard limit. Requests beyond a limit are answered \"busy\" and the guest\n"
            "tries again. Without --burst a tenth of the rate may come at once.",
        .example = "vgpu-admin set-rate-limit --vm-name=\"web 1\" --rate=100 --queue-depth=16",
        ADMIN_TAKES(ADMIN_OPTIONS_VM,
                    {.name = "rate",
                     .metavar = "N",
                     .help = "jobs per second, 0: no limit",
                     .alias = "max-jobs"},
                    {.name = "burst",
                     .metavar = "N",
                     .help = "jobs that may come at once, 0: a tenth of the rate"},
                    {.name = "queue-depth",
                     .metavar = "N",
                     .help = "jobs that may wait, 0: no limit (but 256)",
                     .alias = "max-queue"}),
        .run = run_set_rate_limit,
    },
    {
        .name = "show-rate-limits",
        .group = GROUP,
        .summary = "Show the limits of all VMs",
        .example = "vgpu-admin show-rate-limits",
        .run = run_show_rate_limits,
        .only_looks = true,
    },
    {
        .name = "set-memory-limit",
        .group = GROUP,
        .summary = "Limit the GPU memory of a VM",
        .usage = ADMIN_WHICH_VM " --limit=SIZE",
        .details = "The worker of the VM enforces it; 0 takes the limit away.",
        .example = "vgpu-admin set-memory-limit --vm-name=\"web 1\" --limit=16G",
        ADMIN_TAKES(ADMIN_OPTIONS_VM, {.name = "limit",
                                       .metavar = "SIZE",
                                       .help = "such as 512M or 16G, 0: no limit",
                                       .required = true,
                                       .alias = "memory"}),
        .run = run_set_memory_limit,
    },
    {
        .name = "set-program-limits",
        .group = GROUP,
        .summary = "Limit the CUDA programs of a VM",
        .usage = ADMIN_WHICH_VM " [--max-processes=N] [--max-kernel-ms=MS] [--host-memory=SIZE]",
        .details =
            "For programs on the CUDA driver interface; it holds at once, and 0 takes a limit\n"
            "away. A program beyond the number gets CUDA_ERROR_DEVICE_UNAVAILABLE from cuInit;\n"
            "those that run go on. A kernel, or a graph, that runs longer than its limit is\n"
            "ended with its VM's worker: its program gets CUDA_ERROR_LAUNCH_TIMEOUT, other\n"
            "programs of the VM CUDA_ERROR_DEVICE_UNAVAILABLE, other VMs go on. It counts as a\n"
            "fault. Without a limit vgpu-mediator --job-timeout-ms ends it, as in any case.\n"
            "Host memory is that of the VM's worker: what wants more is killed by the kernel,\n"
            "with the worker. Below what it has, that holds for the next worker.",
        .example = "vgpu-admin set-program-limits --vm-name=\"web 1\" --max-processes=8 "
                   "--max-kernel-ms=2000",
        ADMIN_TAKES(
            ADMIN_OPTIONS_VM,
            {.name = "max-processes", .metavar = "N", .help = "programs at a time, 0: no limit"},
            {.name = "max-kernel-ms",
             .metavar = "MS",
             .help = "how long a kernel may run, 0: no limit of the VM's own"},
            {.name = "host-memory",
             .metavar = "SIZE",
             .help = "memory of the host, such as 4G, 0: no limit"}),
        .run = run_set_program_limits,
    },
    {0},
};
