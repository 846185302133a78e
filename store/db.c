/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening the database, statements, transactions, and what to tell a person
 * when SQLite says no.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/db_internal.h"

int db_error(struct vgpu_db *db, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(db->error, sizeof(db->error), format, args);
    va_end(args);
    return err;
}

static int last_system_errno(struct vgpu_db *db)
{
#if SQLITE_VERSION_NUMBER >= 3012000
    return sqlite3_system_errno(db->sql);
#else
    return 0;
#endif
}

/* Shared mappings are what WAL's index needs, and what some file systems don't have. */
static bool lacks_shared_memory(int rc)
{
    return rc == SQLITE_IOERR_SHMMAP || rc == SQLITE_IOERR_SHMOPEN || rc == SQLITE_IOERR_SHMSIZE;
}

int db_sqlite_error(struct vgpu_db *db, int rc, const char *doing)
{
    const char *text = db->sql ? sqlite3_errmsg(db->sql) : "out of memory";
    int system = db->sql ? last_system_errno(db) : 0;

    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return db_error(db, -EBUSY,
                        "%s: %s is locked by another process; nothing was changed, try again "
                        "(fuser %s shows who has it open)",
                        doing, db->path, db->path);
    case SQLITE_READONLY:
        return db_error(db, -EROFS,
                        "%s: %s cannot be written by user id %u; run this as root, or give the "
                        "file and its folder to that user",
                        doing, db->path, (unsigned)geteuid());
    case SQLITE_FULL:
        return db_error(db, -ENOSPC,
                        "%s: no space left for %s; nothing was changed, free some space on that "
                        "file system and try again",
                        doing, db->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return db_error(db, -EUCLEAN,
                        "%s: %s is damaged or no database (%s); move it away and restore a backup, "
                        "or save what is left by: sqlite3 %s .recover",
                        doing, db->path, text, db->path);
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return db_error(db, -EACCES, "%s: no permission for %s; run this as root", doing, db->path);
    case SQLITE_CANTOPEN:
        return db_error(db, system ? -system : -EACCES,
                        "%s: cannot open %s or the files beside it (%s); check the path and its "
                        "permissions",
                        doing, db->path, system ? strerror(system) : text);
    case SQLITE_NOMEM: return db_error(db, -ENOMEM, "%s: out of memory", doing);
    case SQLITE_CONSTRAINT:
        return db_error(db, -EINVAL, "%s: %s refuses the value (%s)", doing, db->path, text);
    case SQLITE_IOERR:
        if (system == ENOSPC || system == EDQUOT || system == EFBIG) {
            return db_error(db, -ENOSPC,
                            "%s: no space left for %s (%s); nothing was changed, free some space "
                            "and try again",
                            doing, db->path, strerror(system));
        }
        if (lacks_shared_memory(rc)) {
            return db_error(db, -EIO,
                            "%s: the file system of %s gives no memory that programs share (%s), "
                            "which a database in WAL mode needs; put it on a local disk",
                            doing, db->path, system ? strerror(system) : text);
        }
        return db_error(db, -EIO, "%s: cannot read or write %s (%s%s%s); look at the kernel's log",
                        doing, db->path, text, system ? ": " : "", system ? strerror(system) : "");
    default: return db_error(db, -EIO, "%s: %s: %s", doing, db->path, text);
    }
}

int db_prepare(struct vgpu_db *db, const char *query, sqlite3_stmt **stmt)
{
    int rc = sqlite3_prepare_v2(db->sql, query, -1, stmt, NULL);

    return rc == SQLITE_OK ? 0 : db_sqlite_error(db, rc, "reading the configuration");
}

int db_finish(struct vgpu_db *db, sqlite3_stmt *stmt, const char *doing)
{
    int rc = sqlite3_step(stmt);
    int result = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : db_sqlite_error(db, rc, doing);

    sqlite3_finalize(stmt);
    return result;
}

int db_read_done(struct vgpu_db *db, sqlite3_stmt *stmt, int result, const char *doing)
{
    int rc = sqlite3_finalize(stmt);

    return result == 0 && rc != SQLITE_OK ? db_sqlite_error(db, rc, doing) : result;
}

int db_copy(sqlite3 *to, sqlite3 *from)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    int rc = backup ? SQLITE_OK : sqlite3_errcode(to);

    if (!backup) {
        return rc == SQLITE_OK ? SQLITE_NOMEM : rc;
    }
    sqlite3_backup_step(backup, -1);
    return sqlite3_backup_finish(backup);
}

int db_exec(struct vgpu_db *db, const char *query, const char *doing)
{
    int rc = sqlite3_exec(db->sql, query, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : db_sqlite_error(db, rc, doing);
}

int db_query_int(struct vgpu_db *db, const char *query, int64_t *value)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(db->sql, query, -1, &stmt, NULL);
    int result;

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW) {
            *value = sqlite3_column_int64(stmt, 0);
        }
    }
    result = rc == SQLITE_ROW ? 0 : db_sqlite_error(db, rc, "reading the configuration");
    sqlite3_finalize(stmt);
    return result;
}

int db_begin(struct vgpu_db *db)
{
    db->error[0] = '\0';
    if (db->mode == VGPU_DB_READ) {
        return db_error(db, -EROFS, "%s was opened for reading only", db->path);
    }
    return db_exec(db, "BEGIN IMMEDIATE", "changing the configuration");
}

int db_end(struct vgpu_db *db, int result)
{
    if (result == 0) {
        result = db_exec(db, "COMMIT", "writing the change");
    }
    if (result < 0 && !sqlite3_get_autocommit(db->sql)) {
        sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
    }
    return result;
}

void db_column_text(sqlite3_stmt *stmt, int column, char *buffer, size_t size)
{
    const unsigned char *text = sqlite3_column_text(stmt, column);
    size_t length = text ? (size_t)sqlite3_column_bytes(stmt, column) : 0;

    if (text && length >= size) {
        length = size - 1;
        while (length > 0 && (text[length] & 0xc0) == 0x80) {
            length--;
        }
    }
    if (length > 0) {
        memcpy(buffer, text, length);
    }
    buffer[length] = '\0';
}

/* ---- Open ------------------------------------------------------------------ */

const char *vgpu_db_path(const char *option)
{
    const char *env = getenv(VGPU_DB_ENV);

    if (option) {
        return option;
    }
    return env && env[0] ? env : VGPU_DB_PATH;
}

/* The mediator's user has the folder; root, who makes the file, makes it for that. */
static void give_to_folders_owner(const char *path, int fd)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    struct stat st;

    if (geteuid() != 0 || length >= sizeof(folder)) {
        return;
    }
    memcpy(folder, path, length);
    folder[length] = '\0';
    if (stat(length  ? folder
             : slash ? "/"
                     : ".",
             &st) == 0 &&
        st.st_uid != 0 && fchown(fd, st.st_uid, st.st_gid) < 0) {
        return; /* then it is root's, as before there was such a user: the mediator says so */
    }
}

/* The file must exist before SQLite opens it, so that it gets our mode, not 0644. */
static int create_file(struct vgpu_db *db)
{
    char *slash = strrchr(db->path, '/');
    struct stat st;
    int fd;

    if (slash && slash != db->path) {
        int rc;
        int err;

        *slash = '\0';
        rc = mkdir(db->path, 0755);
        err = errno;
        if (rc < 0 && err != EEXIST) {
            db_error(db, -err, "cannot create the folder %s: %s", db->path, strerror(err));
            *slash = '/';
            return -err;
        }
        *slash = '/';
    }
    fd = open(db->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    db->created = fd >= 0;
    if (fd < 0 && errno == EEXIST) {
        fd = open(db->path, O_RDWR | O_CLOEXEC);
    }
    if (fd < 0) {
        int err = errno;
        return db_error(db, -err, "cannot create %s: %s%s", db->path, strerror(err),
                        err == EACCES ? "; run this as root" : "");
    }
    if (db->created) {
        give_to_folders_owner(db->path, fd);
    }
    if (fstat(fd, &st) == 0) {
        db->device = st.st_dev;
        db->inode = st.st_ino;
    }
    close(fd);
    return 0;
}

static int check_file(struct vgpu_db *db)
{
    struct stat st;

    if (stat(db->path, &st) < 0) {
        int err = errno;
        if (err == ENOENT && db->mode == VGPU_DB_CREATE) {
            return create_file(db);
        }
        if (err == ENOENT) {
            return db_error(db, -ENOENT,
                            "there is no database at %s; create it by: vgpu-admin --db %s init-db",
                            db->path, db->path);
        }
        return db_error(db, -err, "cannot open %s: %s%s", db->path, strerror(err),
                        err == EACCES ? "; run this as root" : "");
    }
    if (!S_ISREG(st.st_mode)) {
        return db_error(db, -EUCLEAN, "%s is not a regular file", db->path);
    }
    if (st.st_size == 0 && db->mode != VGPU_DB_CREATE) {
        return db_error(db, -ENOENT,
                        "%s is empty; make a database of it by: "
                        "vgpu-admin --db %s init-db",
                        db->path, db->path);
    }
    db->device = st.st_dev;
    db->inode = st.st_ino;
    if (access(db->path, R_OK) < 0) {
        return db_error(db, -errno, "cannot read %s: %s; run this as root", db->path,
                        strerror(errno));
    }
    return 0;
}

/*
 * Reading a WAL database needs the -shm file beside it, which a reader without
 * write permission for the folder cannot create.  While nobody else has the
 * database open there is no -wal to miss, and the file can be read as it is.
 */
static int open_immutable(struct vgpu_db *db)
{
    struct stat st;
    char *wal = sqlite3_mprintf("%s-wal", db->path);
    char *uri = NULL;
    int rc = SQLITE_CANTOPEN;

    if (wal && (stat(wal, &st) < 0 ? errno == ENOENT : st.st_size == 0) &&
        !strpbrk(db->path, "?#%")) {
        uri = sqlite3_mprintf("file:%s?immutable=1", db->path);
        if (uri) {
            sqlite3_close(db->sql);
            db->sql = NULL;
            rc = sqlite3_open_v2(uri, &db->sql, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
        }
    }
    sqlite3_free(wal);
    sqlite3_free(uri);
    return rc;
}

static int connect_file(struct vgpu_db *db)
{
    int flags = db->mode == VGPU_DB_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    int rc;

    sqlite3_close(db->sql);
    db->sql = NULL;
    rc = sqlite3_open_v2(db->path, &db->sql, flags, NULL);
    if (rc == SQLITE_OK && db->mode != VGPU_DB_READ && sqlite3_db_readonly(db->sql, "main") == 1) {
        rc = SQLITE_READONLY;
    }
    if (rc != SQLITE_OK) {
        return db_sqlite_error(db, rc, "opening the database");
    }
    sqlite3_extended_result_codes(db->sql, 1);
    sqlite3_busy_timeout(db->sql, VGPU_DB_BUSY_TIMEOUT_MS);
    return 0;
}

static int set_up_connection(struct vgpu_db *db)
{
    return db_exec(db,
                   "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;"
                   "PRAGMA trusted_schema = OFF;",
                   "opening the database");
}

/* Who is alone on the file needs no shared index, and a rollback journal needs none at all. */
static int leave_wal(struct vgpu_db *db)
{
    int result = connect_file(db);

    if (result == 0) {
        result = db_exec(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE",
                         "opening the database");
    }
    return result < 0 ? result : connect_file(db);
}

/*
 * WAL lets readers go on while somebody writes.  Where it cannot be had (another
 * process is reading right now, a network file system) the rollback journal is as
 * safe.  A file system without shared mappings lets the file become a WAL database
 * and then refuses the index: so it is tried out, and taken back where it fails.
 */
int db_use_wal(struct vgpu_db *db)
{
    int rc = sqlite3_exec(db->sql, "PRAGMA journal_mode = WAL; SELECT count(*) FROM sqlite_master",
                          NULL, NULL, NULL);
    int result = 0;

    if (lacks_shared_memory(rc)) {
        result = leave_wal(db);
        result = result < 0 ? result : set_up_connection(db);
    }
    if (result == 0) {
        db->error[0] = '\0';
    }
    return result;
}

/* The first statement that really reads the file. */
static int read_first(struct vgpu_db *db)
{
    int64_t objects;

    return db_query_int(db, "SELECT count(*) FROM sqlite_master", &objects);
}

static int open_sqlite(struct vgpu_db *db)
{
    int result = connect_file(db);
    int code;

    if (result < 0) {
        return result;
    }
    result = read_first(db);
    code = sqlite3_extended_errcode(db->sql);
    if (result < 0 && db->mode == VGPU_DB_READ &&
        ((code & 0xff) == SQLITE_CANTOPEN || (code & 0xff) == SQLITE_READONLY)) {
        int rc = open_immutable(db);

        if (rc != SQLITE_OK) {
            return db->sql ? db_sqlite_error(db, rc, "opening the database") : result;
        }
        result = read_first(db);
    } else if (result < 0 && db->mode != VGPU_DB_READ && lacks_shared_memory(code)) {
        result = leave_wal(db);
        result = result < 0 ? result : read_first(db);
    }
    if (result == 0) {
        result = set_up_connection(db);
    }
    return result < 0 ? result : db_schema_prepare(db);
}

/* What was begun and could not be finished would look like a database. */
static void remove_created(struct vgpu_db *db)
{
    static const char *const suffixes[] = {"-journal", "-wal", "-shm", ""};

    sqlite3_close(db->sql);
    db->sql = NULL;
    if (vgpu_db_check_place(db) < 0) {
        return; /* it is another one's by now */
    }
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char *path = sqlite3_mprintf("%s%s", db->path, suffixes[i]);

        if (path) {
            unlink(path);
        }
        sqlite3_free(path);
    }
}

int vgpu_db_open(const char *path, enum vgpu_db_mode mode, struct vgpu_db **out, char *err,
                 size_t err_size)
{
    struct vgpu_db *db = calloc(1, sizeof(*db));
    int result;

    *out = NULL;
    if (!db || !(db->path = strdup(path))) {
        free(db);
        snprintf(err, err_size, "out of memory");
        return -ENOMEM;
    }
    db->mode = mode;
    snprintf(db->actor, sizeof(db->actor), "uid %u", (unsigned)getuid());

    result = check_file(db);
    if (result == 0) {
        result = open_sqlite(db);
    }
    if (result < 0) {
        snprintf(err, err_size, "%s", db->error);
        if (db->created) {
            remove_created(db);
        }
        vgpu_db_close(db);
        return result;
    }
    *out = db;
    return 0;
}

void vgpu_db_close(struct vgpu_db *db)
{
    if (db) {
        sqlite3_close(db->sql);
        free(db->path);
        free(db->backup_path);
        free(db);
    }
}

int vgpu_db_check_place(struct vgpu_db *db)
{
    struct stat st;

    if (stat(db->path, &st) == 0 && st.st_dev == db->device && st.st_ino == db->inode) {
        return 0;
    }
    /* Opening what is there now would apply the old file's -wal to it. */
    return db_error(db, -ESTALE,
                    "%s was removed or replaced while it was open; to use another file, stop the "
                    "mediator, put the file there, remove %s-wal and %s-shm, and start the "
                    "mediator",
                    db->path, db->path, db->path);
}

const char *vgpu_db_error(const struct vgpu_db *db)
{
    return db->error;
}

const char *vgpu_db_backup_path(const struct vgpu_db *db)
{
    return db->backup_path;
}

void vgpu_db_set_actor(struct vgpu_db *db, const char *actor)
{
    snprintf(db->actor, sizeof(db->actor), "%s", actor);
}
