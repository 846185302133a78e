/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The audit table of the database, and the mediator's stream of events. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "admin/admin.h"
#include "admin/base/json_get.h"
#include "admin/base/link.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/db.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/select.h"
#include "admin/tools.h"
#include "common/unused.h"
#include "vgpu/vgpu_admin.h"

struct listing {
    struct admin *admin;
    struct render_table *table;
    json_t *list; /* NULL: print one document a line */
};

static json_t *event_json(const struct vgpu_event *e)
{
    json_t *detail = json_string(e->detail);

    return json_pack("{s:I, s:s, s:s, s:o, s:o, s:s, s:o}", "id", (json_int_t)e->id, "time",
                     e->time, "kind", e->kind, "vm_id",
                     e->vm_uuid[0] ? json_integer(e->vm_id) : json_null(), "uuid",
                     e->vm_uuid[0] ? json_string(e->vm_uuid) : json_null(), "actor", e->actor,
                     "detail", detail ? detail : json_null());
}

static void print_line(json_t *event)
{
    admin_write_json(event, JSON_COMPACT);
    putchar('\n');
    json_decref(event);
}

static enum render_style kind_style(const char *kind)
{
    return strcmp(kind, "fault") == 0 || strcmp(kind, "quarantine") == 0 ? STYLE_BAD : STYLE_PLAIN;
}

/* Its number may have changed since the event, or belong to another VM by now. */
static const vgpu_vm_config_t *vm_by_uuid(const struct admin *admin, const char *uuid)
{
    for (uint32_t i = 0; i < admin->config->vm_count; i++) {
        if (strcasecmp(admin->config->vms[i].vm_uuid, uuid) == 0) {
            return &admin->config->vms[i];
        }
    }
    return NULL;
}

static int visit(const struct vgpu_event *e, void *opaque)
{
    struct listing *l = opaque;

    if (l->list) {
        json_array_append_new(l->list, event_json(e));
    } else if (!l->table) {
        print_line(event_json(e));
    } else {
        char label[ADMIN_LABEL_BYTES] = "-";
        if (e->vm_uuid[0]) {
            const vgpu_vm_config_t *vm = vm_by_uuid(l->admin, e->vm_uuid);
            if (vm && vm->vm_name[0]) {
                snprintf(label, sizeof(label), "%s", vm->vm_name);
            } else {
                snprintf(label, sizeof(label), "vm_id %u", e->vm_id);
            }
        }
        render_cell(l->table, STYLE_DIM, "%.19s", e->time);
        render_cell(l->table, kind_style(e->kind), "%s", e->kind);
        render_cell(l->table, STYLE_PLAIN, "%s", label);
        render_cell(l->table, STYLE_PLAIN, "%s", e->actor);
        render_cell(l->table, STYLE_PLAIN, "%s", e->detail);
    }
    return 0;
}

static volatile sig_atomic_t interrupted;

static void on_signal(UNUSED int number)
{
    interrupted = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static void print_live(struct admin *admin, json_t *event)
{
    const json_t *time = json_object_get(event, "time");
    json_int_t vm_id = json_get_int(event, "vm_id", 0);
    const vgpu_vm_config_t *vm = vm_id > 0 ? admin_vm_by_id(admin, (uint32_t)vm_id) : NULL;
    char label[ADMIN_LABEL_BYTES] = "-", detail[512];

    if (admin->json) {
        print_line(json_incref(event));
    } else {
        const json_t *d = json_object_get(event, "detail");
        char *dumped = json_is_string(d) || !d ? NULL : json_dumps(d, JSON_COMPACT);
        snprintf(detail, sizeof(detail), "%s",
                 dumped ? dumped : json_get_text(event, "detail", ""));
        free(dumped);
        if (vm) {
            admin_vm_label(vm, label);
        } else if (vm_id > 0) {
            snprintf(label, sizeof(label), "vm_id %lld", (long long)vm_id);
        }
        if (json_is_string(time)) {
            render_text(STYLE_DIM, json_string_value(time));
        } else {
            printf("%.3f", json_number_value(time));
        }
        printf("  ");
        render_text(kind_style(json_get_text(event, "kind", "?")),
                    json_get_text(event, "kind", "?"));
        printf("  ");
        render_text(STYLE_PLAIN, label);
        printf("  ");
        render_text(STYLE_PLAIN, detail);
        putchar('\n');
    }
    fflush(stdout);
}

static int follow(struct admin *admin, const vgpu_vm_config_t *only)
{
    struct admin_link *link = admin_get_link(admin);
    int result;

    catch_signals();
    fflush(stdout);
    result = admin_link_stream(link, VGPU_ADMIN_EVENTS);
    while (result == 0 && !interrupted) {
        json_t *event;
        result = admin_link_next(link, &event);
        if (result == 0) {
            if (!only || json_get_int(event, "vm_id", -1) == (json_int_t)only->vm_id) {
                print_live(admin, event);
            }
            json_decref(event);
        }
    }
    if (interrupted || result == -EINTR) {
        return ADMIN_OK;
    }
    return admin_fail(admin, admin_link_is_unreachable(result) ? ADMIN_UNREACHABLE : ADMIN_FAILED,
                      "%s", admin_link_error(link));
}

static int run_events(struct admin *admin)
{
    static const struct render_column columns[] = {
        {"TIME (UTC)", 0},       {"EVENT", 0},
        {"VM", COLUMN_SHRINK},   {"BY", COLUMN_SHRINK | COLUMN_DROP},
        {"DETAIL", COLUMN_WRAP},
    };
    bool following = admin_option(admin, "follow") != NULL;
    const vgpu_vm_config_t *vm = NULL;
    uint64_t last = following ? 10 : 50;
    int status = ADMIN_OK;
    struct listing l;
    int result;

    if (admin_option(admin, "last")) {
        status = admin_uint(admin, "last", 0, VGPU_EVENTS_KEPT + VGPU_EVENT_FAULTS_KEPT, &last);
    }
    if (status == ADMIN_OK) {
        status = admin_open_db(admin, VGPU_DB_READ);
    }
    if (status == ADMIN_OK && admin_vm_is_named(admin, true)) {
        status = admin_select_vm(admin, true, &vm);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    l = (struct listing){.admin = admin};
    if (admin->json && !following) {
        l.list = json_array();
    } else if (!admin->json) {
        l.table = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    }
    result = vgpu_db_list_events(admin->db, 0, vm ? vm->vm_uuid : NULL, (uint32_t)last, visit, &l);
    if (result < 0) {
        json_decref(l.list);
        if (l.table) {
            render_table_discard(l.table);
        }
        return admin_db_failed(admin, result);
    }
    if (l.list) {
        admin_print_json(admin, json_pack("{s:o}", "events", l.list));
    } else if (l.table) {
        render_table_end(l.table, following ? "" : "Nothing has happened yet.");
    }
    return following ? follow(admin, vm) : ADMIN_OK;
}

const struct admin_command commands_events[] = {
    {
        .name = "events",
        .group = "Watching",
        .summary = "Show who changed what, quarantines and faults",
        .usage = "[--last=N] [--follow] [--vm-name=NAME | --vm-uuid=UUID | --vm-id=N]",
        .details =
            "From the database. With --follow it goes on with the mediator's events as they\n"
            "happen, until Ctrl-C; with --json these are one document a line.",
        .example = "vgpu-admin events --follow",
        ADMIN_TAKES(
            {.name = "follow", .help = "go on with the mediator's events"},
            {.name = "last", .metavar = "N", .help = "at most N from the database (default 50)"},
            ADMIN_OPTIONS_VM),
        .run = run_events,
    },
    {0},
};
