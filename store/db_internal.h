/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of store/ share these declarations, which nobody else includes. */
#ifndef STORE_DB_INTERNAL_H
#define STORE_DB_INTERNAL_H

#include <sqlite3.h>
#include <sys/types.h>

#include "store/vgpu_config.h"

struct vgpu_db {
    sqlite3 *sql;
    char *path;
    char *backup_path;
    enum vgpu_db_mode mode;
    dev_t device; /* of the file that was opened */
    ino_t inode;
    bool created;              /* the file was made by this open */
    bool lacks_program_limits; /* the columns of DB_VM_PROGRAM_LIMITS */
    char actor[VGPU_EVENT_ACTOR_BYTES];
    char error[VGPU_DB_ERROR_BYTES];
};

/* The files of schema/, without what only the sqlite3 tool understands; see embed_sql.py. */
extern const char db_schema_init_sql[];
extern const char db_schema_migrate_sql[];

/* Sets the error text and returns err, which is negative. */
int db_error(struct vgpu_db *db, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Turns what SQLite says of the last call into text and -errno. */
int db_sqlite_error(struct vgpu_db *db, int rc, const char *doing);

int db_prepare(struct vgpu_db *db, const char *query, sqlite3_stmt **stmt);
/* Runs a statement that gives no rows, and finalizes it in any case. */
int db_finish(struct vgpu_db *db, sqlite3_stmt *stmt, const char *doing);
/*
 * Finalizes a statement that was read; `result` is returned if it is negative.  A text that found
 * no memory was read as "", and only now does SQLite say so.
 */
int db_read_done(struct vgpu_db *db, sqlite3_stmt *stmt, int result, const char *doing);
int db_exec(struct vgpu_db *db, const char *query, const char *doing);
int db_query_int(struct vgpu_db *db, const char *query, int64_t *value);

/*
 * A write transaction: begin takes the write lock at once; end commits if
 * result is 0, else rolls back, and returns result or the failure of the commit.
 */
int db_begin(struct vgpu_db *db);
int db_end(struct vgpu_db *db, int result);

/* All pages of one open database into another one: a code of SQLite's. */
int db_copy(sqlite3 *to, sqlite3 *from);
/*
 * Opens a file that is there, to write to it, if `path` is that file and no symbolic link.  Links
 * on the way to its folder are fine: SQLITE_OPEN_NOFOLLOW alone refuses these, too.  As
 * sqlite3_open_v2().
 */
int db_open_itself(const char *path, sqlite3 **sql);

/* Copies a text column; cuts it off at a character's boundary if it is too long. */
void db_column_text(sqlite3_stmt *stmt, int column, char *buffer, size_t size);

/* The columns of a vms row in the order that db_read_vm() takes. */
#define DB_VM_COLUMNS                                                                              \
    "vm_id, vm_uuid, vm_name, pool_id, priority, weight, max_jobs_per_sec, burst, "                \
    "max_queue_depth, memory_limit_bytes, quarantined, quarantined_at, quarantine_reason, "        \
    "error_count, created_at, updated_at"
/* ... and those that a file of an earlier version 3 lacks. */
#define DB_VM_PROGRAM_LIMITS ", max_processes, max_kernel_ms, host_memory_bytes"
void db_read_vm(sqlite3_stmt *stmt, vgpu_vm_config_t *config);

/* Within a transaction. */
int db_insert_event(struct vgpu_db *db, const char *kind, const char *vm_uuid, uint32_t vm_id,
                    const char *detail);

/* Write-ahead logging, or a rollback journal where that can't be had. */
int db_use_wal(struct vgpu_db *db);
int db_schema_prepare(struct vgpu_db *db);

/* Rows of an earlier phase that can't be taken over: -EINVAL, with the first ones in the error. */
int db_check_before_upgrade(struct vgpu_db *db);

#define DB_FINDING_BYTES 256u
/* For vgpu_db_check(): keeps the first finding in `opaque`, DB_FINDING_BYTES that begin empty. */
void db_first_finding(const char *text, void *opaque);

#endif /* STORE_DB_INTERNAL_H */
