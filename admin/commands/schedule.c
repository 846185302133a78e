/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Telling the running mediator what to do; nothing of this is kept in the database. */
#include <stdio.h>

#include "admin/admin.h"
#include "admin/base/json_get.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/db.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/select.h"
#include "admin/tools.h"
#include "common/names.h"
#include "common/ns.h"
#include "vgpu/vgpu_admin.h"

/* Prints message, or what the mediator answered with the message in it. */
static int done(struct admin *admin, json_t *answer, const char *message)
{
    if (admin->json) {
        json_object_set_new(answer, "message", json_string(message));
        admin_print_json(admin, answer);
    } else {
        render_text(STYLE_PLAIN, message);
        putchar('\n');
        json_decref(answer);
    }
    return ADMIN_OK;
}

static int run_set_policy(struct admin *admin)
{
    char message[128];
    json_t *answer;
    size_t policy;
    int status = admin_choice(admin, "policy", policy_names, &policy);
    json_t *body;

    if (status != ADMIN_OK) {
        return status;
    }
    body = json_pack("{s:s}", "policy", policy_names[policy]);
    status = admin_ask_mediator(admin, VGPU_ADMIN_SET_POLICY, 0, body, &answer);
    json_decref(body);
    if (status != ADMIN_OK) {
        return status;
    }
    snprintf(message, sizeof(message), "The policy is %s, until the mediator restarts.",
             policy_names[policy]);
    return done(admin, answer, message);
}

static int pause_or_resume(struct admin *admin, uint32_t command, const char *what)
{
    char message[128];
    json_t *answer, *body = NULL;
    uint64_t gpu = 0;
    int status = ADMIN_OK;

    if (admin_option(admin, "gpu")) {
        status = admin_uint(admin, "gpu", 0, 1023, &gpu);
        body = json_pack("{s:I}", "gpu", (json_int_t)gpu);
        if (!body) { /* which would be all GPUs */
            return admin_fail(admin, ADMIN_FAILED, "out of memory");
        }
    }
    if (status == ADMIN_OK) {
        status = admin_ask_mediator(admin, command, 0, body, &answer);
    }
    if (status == ADMIN_OK) {
        if (body) {
            snprintf(message, sizeof(message), "GPU %u is %s", (unsigned)gpu, what);
        } else {
            snprintf(message, sizeof(message), "All GPUs are %s", what);
        }
        status = done(admin, answer, message);
    }
    json_decref(body);
    return status;
}

static int run_pause(struct admin *admin)
{
    return pause_or_resume(admin, VGPU_ADMIN_PAUSE,
                           "paused: running jobs end, requests wait, until vgpu-admin resume.");
}

static int run_resume(struct admin *admin)
{
    return pause_or_resume(admin, VGPU_ADMIN_RESUME, "at work.");
}

static int run_prefer(struct admin *admin)
{
    const vgpu_vm_config_t *vm = NULL;
    char message[512], label[ADMIN_LABEL_BYTES];
    json_t *answer;
    int status = ADMIN_OK;

    if (admin_option(admin, "none")) {
        if (admin_vm_is_named(admin, true)) {
            return admin_fail(admin, ADMIN_USAGE, "give either a VM or --none");
        }
    } else {
        status = admin_open_view(admin);
        if (status == ADMIN_OK) {
            status = admin_select_vm(admin, true, &vm);
        }
    }
    if (status == ADMIN_OK) {
        status = admin_ask_mediator(admin, VGPU_ADMIN_PREFER_VM, vm ? vm->vm_id : 0, NULL, &answer);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    if (vm) {
        snprintf(message, sizeof(message),
                 "%s is preferred among VMs of its priority (under the policies \"priority\" and "
                 "\"priority-all\").",
                 admin_vm_label(vm, label));
    } else {
        snprintf(message, sizeof(message), "No VM is preferred.");
    }
    return done(admin, answer, message);
}

static int run_reload(struct admin *admin)
{
    char message[128];
    json_t *answer, *item;
    size_t i;
    int status = admin_ask_mediator(admin, VGPU_ADMIN_RELOAD_CONFIG, 0, NULL, &answer);
    const json_t *restart;
    json_int_t changed;

    if (status != ADMIN_OK) {
        return status;
    }
    restart = json_object_get(answer, "restart_needed");
    json_array_foreach(restart, i, item)
    {
        json_int_t id =
            json_is_object(item) ? json_get_int(item, "vm_id", -1) : json_integer_value(item);
        admin_note(admin,
                   "the device of the VM with vm_id %lld is too old to be told its new values; "
                   "shut the VM down and start it again",
                   (long long)id);
    }
    changed = json_get_int(answer, "changed", -1);
    if (changed < 0) {
        snprintf(message, sizeof(message), "The mediator has read the database again.");
    } else {
        snprintf(message, sizeof(message),
                 "The mediator has read the database again: %lld VM%s changed.", (long long)changed,
                 changed == 1 ? "" : "s");
    }
    return done(admin, answer, message);
}

static int run_connections(struct admin *admin)
{
    static const struct render_column columns[] = {
        {"SESSION", COLUMN_RIGHT}, {"VM_ID", COLUMN_RIGHT},    {"UUID", COLUMN_DROP},
        {"PID", COLUMN_RIGHT},     {"SINCE", COLUMN_RIGHT},    {"PROTOCOL", 0},
        {"TRANSPORT", 0},          {"CHANNELS", COLUMN_RIGHT}, {"REQUESTS", COLUMN_RIGHT},
        {"SOCKET", COLUMN_SHRINK},
    };
    char text[RENDER_BYTES];
    json_t *answer, *c;
    size_t i;
    int status = admin_ask_mediator(admin, VGPU_ADMIN_SHOW_CONNECTIONS, 0, NULL, &answer);
    struct render_table *t;

    if (status != ADMIN_OK) {
        return status;
    }
    if (admin->json) {
        admin_print_json(admin, answer);
        return ADMIN_OK;
    }
    t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    json_array_foreach(json_object_get(answer, "connections"), i, c)
    {
        const json_t *protocol = json_object_get(c, "protocol");
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(c, "session", 0));
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(c, "vm_id", 0));
        render_cell(t, STYLE_DIM, "%s", json_get_text(c, "uuid", "-"));
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(c, "pid", 0));
        render_cell(t, STYLE_PLAIN, "%s",
                    render_duration_ns(json_get_number(c, "since_s", 0) * NS_PER_S, text));
        if (json_is_string(protocol)) {
            render_cell(t, STYLE_PLAIN, "%s", json_string_value(protocol));
        } else {
            render_cell(t, STYLE_PLAIN, "%g", json_number_value(protocol));
        }
        render_cell(t, STYLE_PLAIN, "%s", json_get_text(c, "transport", "-"));
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(c, "channels", 0));
        render_cell(t, STYLE_PLAIN, "%s",
                    render_count((uint64_t)json_get_int(c, "requests", 0), text));
        render_cell(t, STYLE_PLAIN, "%s", json_get_text(c, "path", "-"));
    }
    render_table_end(t, "No device is connected. Is a VM with a vgpu-stub device running?");
    json_decref(answer);
    return ADMIN_OK;
}

#define GROUP "The running mediator"
#define OPTION_GPU                                                                                 \
    {                                                                                              \
        .name = "gpu", .metavar = "INDEX", .help = "only this GPU"                                 \
    }

const struct admin_command commands_schedule[] = {
    {
        .name = "reload-config",
        .group = GROUP,
        .summary = "Make the mediator read the database again",
        .details = "Every change through vgpu-admin does so by itself.",
        .example = "vgpu-admin reload-config",
        .run = run_reload,
    },
    {
        .name = "set-policy",
        .group = GROUP,
        .summary = "Choose the scheduling policy",
        .usage = "--policy=" POLICY_CHOICES,
        .details =
            "wfq: fair shares, the most urgent of those who are owed first (default).\n"
            "urgency: the urgency formula alone.  priority: pools in turn, strict priority in "
            "each,\n"
            "then first come first served.  priority-all: the same with one queue over all pools.\n"
            "fifo: first come first served.  It holds until the mediator restarts.",
        .example = "vgpu-admin set-policy --policy=wfq",
        ADMIN_TAKES(
            {.name = "policy", .metavar = POLICY_CHOICES, .help = "the policy", .required = true}),
        .run = run_set_policy,
    },
    {
        .name = "pause",
        .group = GROUP,
        .summary = "Stop giving work to the GPUs",
        .usage = "[--gpu=INDEX]",
        .details = "For maintenance: running jobs end, new requests wait.",
        .example = "vgpu-admin pause --gpu=0",
        ADMIN_TAKES(OPTION_GPU),
        .run = run_pause,
    },
    {
        .name = "resume",
        .group = GROUP,
        .summary = "Give work to the GPUs again",
        .usage = "[--gpu=INDEX]",
        .example = "vgpu-admin resume",
        ADMIN_TAKES(OPTION_GPU),
        .run = run_resume,
    },
    {
        .name = "prefer-vm",
        .group = GROUP,
        .summary = "Prefer a VM among those of its priority",
        .usage = "(--vm-name=NAME | --vm-uuid=UUID | --vm-id=N | --none)",
        .details = "It counts under the policies \"priority\" and \"priority-all\" only. Under\n"
                   "\"priority\" the VM's pool goes before the other pools, too.",
        .example = "vgpu-admin prefer-vm --vm-name=\"web 1\"",
        ADMIN_TAKES(ADMIN_OPTIONS_VM, {.name = "none", .help = "prefer none any longer"}),
        .run = run_prefer,
    },
    {
        .name = "show-connections",
        .group = GROUP,
        .summary = "Show the connected devices",
        .example = "vgpu-admin show-connections",
        .run = run_connections,
        .only_looks = true,
    },
    {0},
};
