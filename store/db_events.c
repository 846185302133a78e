/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The events table: who changed what.  It is bounded by a trigger in the schema. */
#include <string.h>

#include "store/db_internal.h"

int db_insert_event(struct vgpu_db *db, const char *kind, const char *vm_uuid, uint32_t vm_id,
                    const char *detail)
{
    sqlite3_stmt *stmt;
    int result = db_prepare(
        db, "INSERT INTO events (kind, vm_uuid, vm_id, actor, detail) VALUES (?, ?, ?, ?, ?)",
        &stmt);

    if (result < 0) {
        return result;
    }
    sqlite3_bind_text(stmt, 1, kind, -1, SQLITE_STATIC);
    if (vm_uuid) {
        sqlite3_bind_text(stmt, 2, vm_uuid, -1, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 3, vm_id);
    }
    sqlite3_bind_text(stmt, 4, db->actor, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 5, detail ? detail : "", -1, SQLITE_STATIC);
    return db_finish(db, stmt, "recording the event");
}

int vgpu_db_add_event(struct vgpu_db *db, const char *kind, const char *vm_uuid, uint32_t vm_id,
                      const char *detail)
{
    int result = db_begin(db);

    if (result < 0) {
        return result;
    }
    return db_end(db, db_insert_event(db, kind, vm_uuid, vm_id, detail));
}

int vgpu_db_list_events(struct vgpu_db *db, int64_t after_id, const char *vm_uuid, uint32_t limit,
                        int (*visit)(const struct vgpu_event *event, void *opaque), void *opaque)
{
    sqlite3_stmt *stmt;
    struct vgpu_event event;
    int rc;
    int result = db_prepare(
        db,
        "SELECT * FROM (SELECT id, time, kind, vm_uuid, vm_id, actor, detail FROM events "
        "WHERE id > ?1 AND (?2 IS NULL OR vm_uuid = ?2) ORDER BY id DESC LIMIT ?3) ORDER BY id",
        &stmt);

    if (result < 0) {
        return result;
    }
    sqlite3_bind_int64(stmt, 1, after_id);
    if (vm_uuid) {
        sqlite3_bind_text(stmt, 2, vm_uuid, -1, SQLITE_STATIC);
    }
    sqlite3_bind_int64(stmt, 3, limit);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        memset(&event, 0, sizeof(event));
        event.id = sqlite3_column_int64(stmt, 0);
        db_column_text(stmt, 1, event.time, sizeof(event.time));
        db_column_text(stmt, 2, event.kind, sizeof(event.kind));
        db_column_text(stmt, 3, event.vm_uuid, sizeof(event.vm_uuid));
        event.vm_id = (uint32_t)sqlite3_column_int64(stmt, 4);
        db_column_text(stmt, 5, event.actor, sizeof(event.actor));
        db_column_text(stmt, 6, event.detail, sizeof(event.detail));
        result = visit(&event, opaque);
        if (result != 0) {
            break;
        }
    }
    if (result == 0 && rc != SQLITE_DONE) {
        result = db_sqlite_error(db, rc, "reading the events");
    }
    result = db_read_done(db, stmt, result, "reading the events");
    return result;
}
