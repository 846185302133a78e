/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Faults and quarantine of a VM. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/db_internal.h"

/* Runs an UPDATE of one VM whose ?1 is the UUID and ?2, if there is one, a text. */
static int update_row(struct vgpu_db *db, const char *query, const char *vm_uuid, const char *text)
{
    sqlite3_stmt *stmt;
    int result = db_prepare(db, query, &stmt);

    if (result < 0) {
        return result;
    }
    sqlite3_bind_text(stmt, 1, vm_uuid, -1, SQLITE_STATIC);
    if (sqlite3_bind_parameter_count(stmt) > 1) {
        sqlite3_bind_text(stmt, 2, text, -1, SQLITE_STATIC);
    }
    return db_finish(db, stmt, "changing the VM");
}

static int quarantine(struct vgpu_db *db, const char *vm_uuid, const char *reason)
{
    vgpu_vm_config_t vm;
    int result = vgpu_get_vm_config(db, vm_uuid, &vm);

    if (result < 0 || vm.quarantined) {
        return result;
    }
    result = update_row(db,
                        "UPDATE vms SET quarantined = 1, quarantined_at = CURRENT_TIMESTAMP, "
                        "quarantine_reason = ?2, updated_at = CURRENT_TIMESTAMP "
                        "WHERE vm_uuid = ?1",
                        vm_uuid, reason);
    if (result == 0) {
        result = db_insert_event(db, "quarantine", vm.vm_uuid, vm.vm_id, reason);
    }
    return result;
}

int vgpu_quarantine_vm(struct vgpu_db *db, const char *vm_uuid, const char *reason)
{
    int result;

    if (reason && strlen(reason) >= VGPU_REASON_BYTES) {
        return db_error(db, -EINVAL, "a reason has at most %d bytes", VGPU_REASON_BYTES - 1);
    }
    result = db_begin(db);
    return result < 0 ? result : db_end(db, quarantine(db, vm_uuid, reason ? reason : ""));
}

static int unquarantine(struct vgpu_db *db, const char *vm_uuid)
{
    char was[VGPU_REASON_BYTES + 8] = "";
    vgpu_vm_config_t vm;
    int result = vgpu_get_vm_config(db, vm_uuid, &vm);

    if (result < 0 || (!vm.quarantined && vm.error_count == 0)) {
        return result;
    }
    if (vm.quarantine_reason[0]) {
        snprintf(was, sizeof(was), "it was: %s", vm.quarantine_reason);
    }
    result = update_row(db,
                        "UPDATE vms SET quarantined = 0, quarantined_at = NULL, "
                        "quarantine_reason = NULL, error_count = 0, "
                        "updated_at = CURRENT_TIMESTAMP WHERE vm_uuid = ?1",
                        vm_uuid, NULL);
    if (result == 0) {
        result = db_insert_event(db, vm.quarantined ? "clear-quarantine" : "reset-errors",
                                 vm.vm_uuid, vm.vm_id, was);
    }
    return result;
}

int vgpu_unquarantine_vm(struct vgpu_db *db, const char *vm_uuid)
{
    int result = db_begin(db);

    return result < 0 ? result : db_end(db, unquarantine(db, vm_uuid));
}

static int increment(struct vgpu_db *db, const char *vm_uuid, const char *detail, uint32_t *count)
{
    vgpu_vm_config_t vm;
    int result = update_row(db,
                            "UPDATE vms SET error_count = min(error_count + 1, 4294967295) "
                            "WHERE vm_uuid = ?1",
                            vm_uuid, NULL);

    if (result == 0) {
        result = vgpu_get_vm_config(db, vm_uuid, &vm);
    }
    if (result == 0) {
        result = db_insert_event(db, "fault", vm.vm_uuid, vm.vm_id, detail);
    }
    if (result == 0 && count) {
        *count = vm.error_count;
    }
    return result;
}

int vgpu_increment_error_count(struct vgpu_db *db, const char *vm_uuid, const char *detail,
                               uint32_t *count)
{
    int result = db_begin(db);

    return result < 0 ? result : db_end(db, increment(db, vm_uuid, detail, count));
}

static int reset_errors(struct vgpu_db *db, const char *vm_uuid)
{
    vgpu_vm_config_t vm;
    int result = vgpu_get_vm_config(db, vm_uuid, &vm);

    if (result < 0 || vm.error_count == 0) {
        return result;
    }
    result = update_row(db, "UPDATE vms SET error_count = 0 WHERE vm_uuid = ?1", vm_uuid, NULL);
    if (result == 0) {
        result = db_insert_event(db, "reset-errors", vm.vm_uuid, vm.vm_id, NULL);
    }
    return result;
}

int vgpu_reset_error_count(struct vgpu_db *db, const char *vm_uuid)
{
    int result = db_begin(db);

    return result < 0 ? result : db_end(db, reset_errors(db, vm_uuid));
}
