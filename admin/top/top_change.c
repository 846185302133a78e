/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A weight or a quarantine is set by running this program once more, with the
 * command that an administrator would type: the same checks, the same line in
 * the database's events, the same reload.
 */
#include "admin/top/top_internal.h"

#include <stdio.h>
#include <string.h>

#include "admin/base/json_get.h"
#include "admin/tools.h"
#include "admin/toolstack/run_program.h"
#include "common/weight.h"

#define CHANGE_TIMEOUT_MS 30000

static const char *label_of(const struct top_vm *vm, char label[TOP_NAME_BYTES + 32])
{
    snprintf(label, TOP_NAME_BYTES + 32, "%s (vm_id %u)", vm->name[0] ? vm->name : "VM", vm->vm_id);
    return label;
}

/* The VM that a key is about, or NULL after saying why not. */
static const struct top_vm *changeable(struct top *top)
{
    const struct top_row *row = top_chosen(top);

    if (!row) {
        top_say(top, "choose a VM first, with the arrow keys");
    } else if (!top->now->has_db) {
        top_say(top, "the mediator runs with --no-db: there is no database to change");
        row = NULL;
    } else if (top->trouble[0]) {
        top_say(top, "the mediator is not reachable: nothing was changed");
        row = NULL;
    }
    return row ? row->vm : NULL;
}

static void prepare_change(struct top *top, const struct top_vm *vm, const char *command)
{
    top->change = command;
    top->change_value[0] = '\0';
    if (vm->uuid[0]) {
        snprintf(top->change_vm, sizeof(top->change_vm), "--vm-uuid=%s", vm->uuid);
    } else {
        snprintf(top->change_vm, sizeof(top->change_vm), "--vm-id=%u", vm->vm_id);
    }
}

void top_run_change(struct top *top)
{
    const char *argv[] = {"/proc/self/exe",
                          "--db",
                          vgpu_db_path(top->admin->db_path),
                          "--admin-socket",
                          admin_socket_path(top->admin),
                          "--json",
                          top->change,
                          top->change_vm,
                          top->change_value[0] ? top->change_value : NULL,
                          NULL};
    struct run_result result;
    json_t *document;
    int ret = run_program(argv, CHANGE_TIMEOUT_MS, &result);

    if (ret < 0) {
        top_say(top, "vgpu-admin %s: %s", top->change, strerror(-ret));
        return;
    }
    document = json_loads(result.out, 0, NULL);
    if (result.status == 0) {
        const json_t *notes = json_object_get(document, "notes");
        const char *note = json_string_value(json_array_get(notes, 0));

        top_say(top, "%s%s%s", json_get_text(document, "message", "done"), note ? " " : "",
                note ? note : "");
    } else {
        top_say(top, "not done: %s", json_get_text(document, "error", result.error));
    }
    json_decref(document);
    run_result_free(&result);
}

void top_begin_weight(struct top *top)
{
    const struct top_vm *vm = changeable(top);

    if (vm) {
        prepare_change(top, vm, "set-weight");
        top->typed[0] = '\0';
        top->mode = TOP_MODE_WEIGHT;
    }
}

void top_begin_quarantine(struct top *top)
{
    const struct top_vm *vm = changeable(top);
    char label[TOP_NAME_BYTES + 32];

    if (vm) {
        prepare_change(top, vm, vm->quarantined ? "clear-quarantine" : "quarantine-vm");
        snprintf(top->change_text, sizeof(top->change_text),
                 vm->quarantined ? "Let %s in again?" : "Quarantine %s: refuse its requests?",
                 label_of(vm, label));
        top->mode = TOP_MODE_CONFIRM;
    }
}

void top_end_weight(struct top *top)
{
    const struct top_row *row = top_chosen(top);
    char label[TOP_NAME_BYTES + 32];
    double weight;

    top->mode = TOP_MODE_LOOK;
    if (top->typed[0] == '\0' || !row) {
        return;
    }
    if (!weight_parse(top->typed, &weight)) {
        top_say(top, "a weight is " WEIGHT_WORDS ", not \"%s\"", top->typed);
        return;
    }
    snprintf(top->change_value, sizeof(top->change_value), "--weight=%g", weight);
    snprintf(top->change_text, sizeof(top->change_text), "Weight of %s from %g to %g?",
             label_of(row->vm, label), row->vm->weight, weight);
    top->mode = TOP_MODE_CONFIRM;
}
