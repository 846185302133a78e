/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bringing a file to the schema that this program knows.
 *
 * What can be in the file, by PRAGMA user_version and its tables:
 *   0, no tables           new: init_db.sql, if the caller asked for CREATE
 *   0, vms and pools       Phase 2, or Phase 3 without a version: migrate_phase3.sql
 *   0, anything else       somebody else's database: refused
 *   VGPU_DB_SCHEMA_VERSION nothing to do, but for a rule on weights that was tighter once
 *   higher                 a newer program's: refused, never touched
 *
 * The work is done in one transaction that takes the write lock first and looks
 * at the version again under it, so two programs that start at once do it once.
 * The backup is written under that lock too: it is exactly what was migrated.
 * It gets its final name only when it is complete and on the disk; if the
 * migration then fails, it is removed again, so that a service which is
 * restarted for ever does not fill the disk with copies.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/db_internal.h"

#ifdef SQLITE_OPEN_NOFOLLOW
#define OPEN_NOFOLLOW SQLITE_OPEN_NOFOLLOW
#else
#define OPEN_NOFOLLOW 0 /* SQLite before 3.31 */
#endif

enum content { CONTENT_EMPTY, CONTENT_UNVERSIONED, CONTENT_FOREIGN, CONTENT_CURRENT };

static int inspect(struct vgpu_db *db, enum content *content)
{
    int64_t version, tables, ours;
    int result = db_query_int(db, "PRAGMA user_version", &version);

    if (result == 0) {
        result =
            db_query_int(db, "SELECT count(*) FROM sqlite_master WHERE type = 'table'", &tables);
    }
    if (result == 0) {
        result = db_query_int(db,
                              "SELECT count(*) FROM sqlite_master WHERE type = 'table' "
                              "AND name IN ('vms', 'pools')",
                              &ours);
    }
    if (result != 0) {
        return result;
    }
    if (version > VGPU_DB_SCHEMA_VERSION) {
        return db_error(db, -EPROTONOSUPPORT,
                        "%s has schema version %lld, this program knows version %d: it was written "
                        "by a newer vgpu-mediator; install that version, or restore a backup",
                        db->path, (long long)version, VGPU_DB_SCHEMA_VERSION);
    }
    if (version == VGPU_DB_SCHEMA_VERSION && ours == 2) {
        *content = CONTENT_CURRENT;
    } else if (version == 0 && tables == 0) {
        *content = CONTENT_EMPTY;
    } else if (version == 0 && ours == 2) {
        *content = CONTENT_UNVERSIONED;
    } else {
        *content = CONTENT_FOREIGN;
    }
    return 0;
}

int db_open_itself(const char *path, sqlite3 **sql)
{
    char *copy = strdup(path), *folder = copy ? realpath(dirname(copy), NULL) : NULL;
    const char *slash = strrchr(path, '/');
    char *real = NULL;
    int rc = SQLITE_NOMEM;

    *sql = NULL;
    if (copy && !folder) {
        rc = SQLITE_CANTOPEN;
    } else if (folder && asprintf(&real, "%s/%s", folder, slash ? slash + 1 : path) >= 0) {
        rc = sqlite3_open_v2(real, sql, SQLITE_OPEN_READWRITE | OPEN_NOFOLLOW, NULL);
    } else {
        real = NULL;
    }
    free(real);
    free(folder);
    free(copy);
    return rc;
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    int result;

    if (fd < 0) {
        return -errno;
    }
    result = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return result;
}

static int sync_parent(const char *path)
{
    char *copy = strdup(path);
    int result = copy ? sync_path(dirname(copy), O_RDONLY | O_DIRECTORY) : -ENOMEM;

    free(copy);
    return result;
}

/*
 * Copies the database into a new file at to.  SQLite does not copy from a
 * connection that is in a write transaction, so a second one reads the file;
 * what it sees cannot change while the first holds the write lock.
 */
static int copy_database(struct vgpu_db *db, const char *to)
{
    sqlite3 *copy = NULL;
    sqlite3 *source = NULL;
    int rc;

    const char *text;
    int fd, result;

    /* Half a copy of an earlier try goes; a link that somebody put there is not followed. */
    unlink(to);
    fd = open(to, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0) {
        return db_error(db, -errno, "cannot create the backup %s: %s", to, strerror(errno));
    }
    close(fd);
    rc = db_open_itself(to, &copy);
    if (rc == SQLITE_OK) {
        rc = sqlite3_open_v2(db->path, &source, SQLITE_OPEN_READONLY, NULL);
    }
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(source, VGPU_DB_BUSY_TIMEOUT_MS);
        rc = db_copy(copy, source);
    }
    text = copy ? sqlite3_errmsg(copy) : "out of memory";
    result = 0;
    if (rc != SQLITE_OK) {
        result = db_error(db, (rc & 0xff) == SQLITE_FULL ? -ENOSPC : -EIO,
                          "cannot write the backup %s: %s; nothing was changed", to, text);
    }
    sqlite3_close(copy);
    sqlite3_close(source);
    if (result == 0) {
        int err = sync_path(to, O_RDWR);
        if (err < 0) {
            result = db_error(db, err, "cannot write the backup %s: %s; nothing was changed", to,
                              strerror(-err));
        }
    }
    return result;
}

static int make_backup(struct vgpu_db *db)
{
    char stamp[32];
    char *partial = NULL;
    char *final = NULL;
    struct tm tm;
    time_t now = time(NULL);
    int result = -ENOMEM;

    gmtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
    if (asprintf(&partial, "%s.phase2-backup.partial", db->path) < 0) {
        partial = NULL;
        db_error(db, -ENOMEM, "out of memory");
        goto out;
    }
    result = copy_database(db, partial);
    if (result < 0) {
        unlink(partial);
        goto out;
    }
    for (int n = 0;; n++) {
        int length;

        free(final);
        length = n == 0 ? asprintf(&final, "%s.phase2-backup-%s", db->path, stamp)
                        : asprintf(&final, "%s.phase2-backup-%s.%d", db->path, stamp, n);
        if (length < 0) {
            final = NULL;
            result = db_error(db, -ENOMEM, "out of memory");
            unlink(partial);
            goto out;
        }
        /* Not rename(): an older backup is never overwritten. */
        if (link(partial, final) == 0) {
            break;
        }
        if (errno != EEXIST) {
            if (rename(partial, final) == 0) {
                break; /* a file system without hard links */
            }
            result = db_error(db, -errno, "cannot name the backup %s: %s; nothing was changed",
                              final, strerror(errno));
            unlink(partial);
            goto out;
        }
    }
    unlink(partial);
    sync_parent(final);
    db->backup_path = final;
    final = NULL;
out:
    free(partial);
    free(final);
    return result;
}

static int migrate(struct vgpu_db *db)
{
    char finding[DB_FINDING_BYTES] = "";
    int result = vgpu_db_check(db, db_first_finding, finding);

    /* Rows whose pool is missing are mended by the migration; pages are not. */
    if (result == 0 && finding[0] && !strstr(finding, "that is not there")) {
        return db_error(db, -EUCLEAN,
                        "%s is damaged (%s) and was not upgraded; restore a backup, or save what "
                        "is left by: sqlite3 %s .recover",
                        db->path, finding, db->path);
    }
    if (result == 0) {
        result = db_check_before_upgrade(db);
    }
    if (result == 0) {
        result = make_backup(db);
    }
    if (result == 0) {
        result = db_exec(db, db_schema_migrate_sql, "upgrading the database to Phase 3");
    }
    if (result == 0) {
        finding[0] = '\0';
        result = vgpu_db_check(db, db_first_finding, finding);
    }
    if (result == 0 && finding[0]) {
        result = db_error(db, -EUCLEAN, "upgrading %s to Phase 3: %s; nothing was changed",
                          db->path, finding);
    }
    if (result == 0) {
        char detail[VGPU_EVENT_DETAIL_BYTES];
        snprintf(detail, sizeof(detail), "upgraded from Phase 2 to Phase 3, the old file is %s",
                 db->backup_path);
        result = db_insert_event(db, "schema", NULL, 0, detail);
    }
    return result;
}

static int create_or_migrate(struct vgpu_db *db)
{
    enum content content;

    /* Has no effect within a transaction; the migration replaces referenced tables. */
    int result = db_exec(db, "PRAGMA foreign_keys = OFF", "opening the database");
    if (result < 0) {
        return result;
    }
    result = db_begin(db);
    if (result == 0) {
        result = inspect(db, &content);
        if (result == 0 && content == CONTENT_EMPTY) {
            result = db_exec(db, db_schema_init_sql, "creating the database");
        } else if (result == 0 && content == CONTENT_UNVERSIONED) {
            result = migrate(db);
        }
        result = db_end(db, result);
    }
    if (result < 0 && db->backup_path) {
        unlink(db->backup_path);
        free(db->backup_path);
        db->backup_path = NULL;
    }
    sqlite3_exec(db->sql, "PRAGMA foreign_keys = ON", NULL, NULL, NULL);
    return result;
}

int vgpu_db_init_schema(struct vgpu_db *db)
{
    enum content content;
    int result = inspect(db, &content);

    if (result < 0 || content == CONTENT_CURRENT) {
        return result;
    }
    if (content == CONTENT_FOREIGN) {
        return db_error(db, -EUCLEAN,
                        "%s is an SQLite database, but not one of vgpu-mediator; check the path",
                        db->path);
    }
    return create_or_migrate(db);
}

/*
 * A file whose end is missing can look whole until the missing page is needed.
 * Nobody writes into such a file; the check takes milliseconds, because the
 * database is small by its limits.
 */
static int refuse_damaged(struct vgpu_db *db)
{
    sqlite3_stmt *stmt;
    int result = db_prepare(db, "PRAGMA quick_check(1)", &stmt);
    int rc;
    const char *text;

    if (result < 0) {
        return result;
    }
    rc = sqlite3_step(stmt);
    text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (!text) {
        result = db_sqlite_error(db, rc, "checking the database");
    } else if (strcmp(text, "ok") != 0) {
        result = db_error(db, -EUCLEAN,
                          "%s is damaged (%s); move it away and restore a backup, or save what is "
                          "left by: sqlite3 %s .recover",
                          db->path, text, db->path);
    }
    sqlite3_finalize(stmt);
    return result;
}

/*
 * Weights were whole numbers at first, and the file has a rule that says so.  A rule can be changed
 * in its place: SQLite's documentation of ALTER TABLE has this way for changes that do not touch
 * what is stored.  Other connections read the schema again, for its number has grown.
 */
static int allow_fractions(struct vgpu_db *db)
{
    static const char allow[] =
        "PRAGMA writable_schema = ON;"
        "UPDATE sqlite_master SET sql = replace(sql, 'typeof(weight) = ''integer'' AND', "
        "'typeof(weight) IN (''integer'', ''real'')\n                              AND') "
        "WHERE type = 'table' AND name = 'vms';";
    char bump[64];
    int64_t whole_only, version = 0;
    int result = db_query_int(db,
                              "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = "
                              "'vms' AND sql LIKE '%typeof(weight) = ''integer'' AND%'",
                              &whole_only);

    if (result < 0 || !whole_only) {
        return result;
    }
    result = db_begin(db);
    if (result == 0) {
        result = db_query_int(db, "PRAGMA schema_version", &version);
        if (result == 0) {
            result = db_exec(db, allow, "allowing weights with decimals");
        }
        if (result == 0) {
            snprintf(bump, sizeof(bump), "PRAGMA schema_version = %lld", (long long)version + 1);
            result = db_exec(db, bump, "allowing weights with decimals");
        }
        result = db_end(db, result);
    }
    sqlite3_exec(db->sql, "PRAGMA writable_schema = OFF", NULL, NULL, NULL);
    return result;
}

static int lacks_program_limits(struct vgpu_db *db)
{
    int64_t has;
    int result = db_query_int(db,
                              "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = "
                              "'vms' AND sql LIKE '%host_memory_bytes%'",
                              &has);

    db->lacks_program_limits = result == 0 && has == 0;
    return result;
}

/*
 * The first files of version 3 have no limits of CUDA programs.  The columns get their place at the
 * end, as in a new file; an earlier program names its columns and goes on with the file.  Who may
 * only read takes them for 0.
 */
static int add_program_limits(struct vgpu_db *db)
{
    static const char add[] =
        "ALTER TABLE vms ADD COLUMN max_processes INTEGER NOT NULL DEFAULT 0 "
        "CHECK (typeof(max_processes) = 'integer' AND max_processes BETWEEN 0 AND 65536);"
        "ALTER TABLE vms ADD COLUMN max_kernel_ms INTEGER NOT NULL DEFAULT 0 "
        "CHECK (typeof(max_kernel_ms) = 'integer' AND max_kernel_ms BETWEEN 0 AND 86400000);"
        "ALTER TABLE vms ADD COLUMN host_memory_bytes INTEGER NOT NULL DEFAULT 0 "
        "CHECK (typeof(host_memory_bytes) = 'integer' AND host_memory_bytes >= 0);";
    int result = lacks_program_limits(db);

    if (result < 0 || !db->lacks_program_limits || db->mode == VGPU_DB_READ) {
        return result;
    }
    result = db_begin(db);
    if (result == 0) {
        result = lacks_program_limits(db); /* another program may have been first */
        if (result == 0 && db->lacks_program_limits) {
            result = db_exec(db, add, "adding the limits of CUDA programs");
        }
        result = db_end(db, result);
    }
    db->lacks_program_limits &= result < 0;
    return result;
}

int db_schema_prepare(struct vgpu_db *db)
{
    enum content content;
    int result = inspect(db, &content);

    if (result < 0) {
        return result;
    }
    if (content == CONTENT_EMPTY && db->mode != VGPU_DB_CREATE) {
        return db_error(db, -ENOENT,
                        "%s has no tables; make a vgpu database of it by: "
                        "vgpu-admin --db %s init-db",
                        db->path, db->path);
    }
    if (content == CONTENT_UNVERSIONED && db->mode == VGPU_DB_READ) {
        return db_error(db, -EPROTONOSUPPORT,
                        "%s is a database of an earlier phase; upgrade it (a backup is made) by: "
                        "vgpu-admin --db %s migrate",
                        db->path, db->path);
    }
    if (db->mode != VGPU_DB_READ) {
        result = refuse_damaged(db);
    }
    if (result == 0) {
        result = vgpu_db_init_schema(db);
    }
    if (result == 0 && db->mode != VGPU_DB_READ) {
        result = allow_fractions(db);
    }
    if (result == 0) {
        result = add_program_limits(db);
    }
    if (result == 0 && db->mode != VGPU_DB_READ) {
        result = db_use_wal(db);
    }
    return result;
}
