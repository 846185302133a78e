/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is everything in the file as it must be?  Today's files, and those that are to be upgraded. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/unused.h"
#include "common/vm_limits.h"
#include "store/db_internal.h"

#define ROWS_TOLD 3u

void db_first_finding(const char *text, void *opaque)
{
    char *finding = opaque;

    if (!finding[0]) {
        snprintf(finding, DB_FINDING_BYTES, "%s", text);
    }
}

/* ---- today's ---- */

typedef void (*report_fn)(const char *text, void *opaque);

static void report_page(sqlite3_stmt *stmt, report_fn report, void *opaque)
{
    const char *text = (const char *)sqlite3_column_text(stmt, 0);

    if (text && strcmp(text, "ok") != 0) {
        report(text, opaque);
    }
}

static void report_orphan(sqlite3_stmt *stmt, report_fn report, void *opaque)
{
    const char *table = (const char *)sqlite3_column_text(stmt, 0);
    const char *parent = (const char *)sqlite3_column_text(stmt, 2);
    char text[256];

    snprintf(text, sizeof(text), "row %lld of %s names a row of %s that is not there",
             (long long)sqlite3_column_int64(stmt, 1), table ? table : "?", parent ? parent : "?");
    report(text, opaque);
}

static int check_by(struct vgpu_db *db, sqlite3 *sql, const char *pragma,
                    void (*each)(sqlite3_stmt *, report_fn, void *), report_fn report, void *opaque)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(sql, pragma, -1, &stmt, NULL);

    if (rc == SQLITE_OK) {
        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
            each(stmt, report, opaque);
        }
    }
    return db_read_done(db, stmt,
                        rc == SQLITE_DONE ? 0 : db_sqlite_error(db, rc, "checking the database"),
                        "checking the database");
}

static int check_all(struct vgpu_db *db, sqlite3 *sql, report_fn report, void *opaque)
{
    int result = check_by(db, sql, "PRAGMA integrity_check(50)", report_page, report, opaque);

    return result < 0
               ? result
               : check_by(db, sql, "PRAGMA foreign_key_check", report_orphan, report, opaque);
}

/*
 * A connection that only reads doesn't look at CHECK constraints (SQLite 3.40), so what a
 * connection that writes calls damaged would pass here.  A copy in memory can be written.
 */
static int copy_to_memory(struct vgpu_db *db, sqlite3 **copy)
{
    int rc = sqlite3_open_v2(":memory:", copy, SQLITE_OPEN_READWRITE, NULL);

    if (rc == SQLITE_OK) {
        rc = db_copy(*copy, db->sql);
    }
    if (rc == SQLITE_OK) {
        return 0;
    }
    sqlite3_close(*copy);
    *copy = NULL;
    return db_sqlite_error(db, rc, "checking the database");
}

int vgpu_db_check(struct vgpu_db *db, report_fn report, void *opaque)
{
    sqlite3 *copy = NULL;
    int result;

    if (db->mode != VGPU_DB_READ) {
        return check_all(db, db->sql, report, opaque);
    }
    result = copy_to_memory(db, &copy);
    if (result == 0) {
        result = check_all(db, copy, report, opaque);
    }
    sqlite3_close(copy);
    return result;
}

/* ---- those of earlier phases ---- */

/* Each row that the upgrade's INSERT would refuse, as text; clang-format takes that apart. */
/* clang-format off */
#define REFUSED(table, who, what, where)                                                           \
    "SELECT 'row ' || rowid || ' of " table " (' || " who " || '): ' || " what                     \
    " FROM " table " WHERE " where
#define VM_REFUSED(what, where)                                                                    \
    REFUSED("vms", "coalesce(substr(vm_uuid, 1, 40), 'no UUID')", what, where)
#define POOL_REFUSED(what, where)                                                                  \
    REFUSED("pools", "coalesce(substr(pool_name, 1, 40), 'no name')", what, where)
#define SHOWN(column) "substr(quote(" column "), 1, 40)"
#define AND_ALL " UNION ALL "
#define NO_LETTER "'pool ' || " SHOWN("pool_id") " || ' is no letter of A to Z'"

static const char refused_rows[] =
    VM_REFUSED("'vm_id ' || " SHOWN("vm_id") " || ' is no whole number of 0 to 4294967295'",
               "typeof(vm_id) <> 'integer' OR vm_id NOT BETWEEN 0 AND 4294967295") AND_ALL
    VM_REFUSED("'vm_id ' || vm_id || ' is another row''s, too'",
               "vm_id IN (SELECT vm_id FROM vms GROUP BY vm_id HAVING count(*) > 1)") AND_ALL
    VM_REFUSED("'a UUID of 1 to 63 characters is wanted'",
               "vm_uuid IS NULL OR length(vm_uuid) NOT BETWEEN 1 AND 63") AND_ALL
    VM_REFUSED("'this UUID is another row''s, too'",
               "vm_uuid COLLATE NOCASE IN (SELECT vm_uuid FROM vms "
               "GROUP BY vm_uuid COLLATE NOCASE HAVING count(*) > 1)") AND_ALL
    VM_REFUSED("'its name has ' || length(CAST(vm_name AS BLOB)) || ' bytes, 255 are the most'",
               "length(CAST(vm_name AS BLOB)) > 255") AND_ALL
    VM_REFUSED("'priority ' || " SHOWN("priority") " || ' is none of 0, 1 and 2'",
               "priority IS NOT NULL AND priority NOT IN (0, 1, 2)") AND_ALL
    VM_REFUSED(NO_LETTER, "pool_id IS NOT NULL AND NOT upper(pool_id) GLOB '[A-Z]'") AND_ALL
    POOL_REFUSED(NO_LETTER, "pool_id IS NULL OR NOT upper(pool_id) GLOB '[A-Z]'");
/* clang-format on */

struct refused {
    uint32_t count;
    char told[VGPU_DB_ERROR_BYTES / 2];
};

static void note_row(sqlite3_stmt *stmt, UNUSED report_fn report, void *opaque)
{
    const char *text = (const char *)sqlite3_column_text(stmt, 0);
    struct refused *refused = opaque;
    size_t length = strlen(refused->told);

    if (refused->count++ < ROWS_TOLD) {
        snprintf(refused->told + length, sizeof(refused->told) - length, "%s%s", length ? "; " : "",
                 text ? text : "?");
    }
}

static int refuse_rows(struct vgpu_db *db, const struct refused *refused)
{
    char more[64] = "";

    if (refused->count > ROWS_TOLD) {
        snprintf(more, sizeof(more), "; and %u more", refused->count - ROWS_TOLD);
    }
    return db_error(db, -EINVAL,
                    "upgrading %s to Phase 3: %s%s. Mend them with sqlite3 and try again; nothing "
                    "was changed",
                    db->path, refused->told, more);
}

int db_check_before_upgrade(struct vgpu_db *db)
{
    struct refused refused = {0};
    int64_t count;
    int result = db_query_int(db, "SELECT count(*) FROM vms", &count);

    if (result == 0 && count > VM_LIMIT_VMS_MAX) {
        return db_error(db, -E2BIG,
                        "upgrading %s to Phase 3: it has %lld VMs, and a mediator serves %u; "
                        "remove some and try again; nothing was changed",
                        db->path, (long long)count, VM_LIMIT_VMS_MAX);
    }
    if (result == 0) {
        result = check_by(db, db->sql, refused_rows, note_row, NULL, &refused);
    }
    return result == 0 && refused.count > 0 ? refuse_rows(db, &refused) : result;
}
