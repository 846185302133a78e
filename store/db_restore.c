/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backup in place of the database.
 *
 * A copy over the live file is undone by what its -wal still has, and a program that
 * has the file open goes on with the old one.  So: nobody may have it open; the
 * backup is checked, and copied through SQLite to a new file beside the database; the
 * old one takes in its -wal and keeps a name of its own; what is left of -wal, -shm and
 * -journal goes; then one rename().  Killed anywhere on this way, the database is the
 * old one or the new one.
 *
 * It is root who restores, in a folder of the mediator's user.  What that user may have put in a
 * file's place, a link, is never followed.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/db_internal.h"

struct restore {
    const char *path;
    char *partial; /* the copy, until it has its name */
    char *kept;    /* the old database; NULL: there was none */
    char *err;
    size_t err_size;
};

static int __attribute__((format(printf, 3, 4)))
failed(struct restore *r, int result, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(r->err, r->err_size, format, args);
    va_end(args);
    return result;
}

/* ---- who has it open ---- */

static bool is_of_database(const char *file, const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    size_t length = strlen(path);

    if (strncmp(file, path, length) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (strcmp(file + length, suffixes[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool process_has(const char *pid, const char *path)
{
    char folder[64], file[PATH_MAX];
    struct dirent *entry;
    bool found = false;
    DIR *dir;

    snprintf(folder, sizeof(folder), "/proc/%.20s/fd", pid);
    dir = opendir(folder);
    while (dir && !found && (entry = readdir(dir))) {
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, file, sizeof(file) - 1);

        if (n > 0) {
            file[n] = '\0';
            found = is_of_database(file, path);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

/* -EBUSY if another process has it open, as far as /proc shows this user. */
static int check_unused(struct restore *r)
{
    char real[PATH_MAX], own[16];
    struct dirent *entry;
    int result = 0;
    DIR *proc;

    if (!realpath(r->path, real)) {
        return 0; /* it is not there */
    }
    snprintf(own, sizeof(own), "%d", (int)getpid());
    proc = opendir("/proc");
    while (proc && result == 0 && (entry = readdir(proc))) {
        if (isdigit((unsigned char)entry->d_name[0]) && strcmp(entry->d_name, own) != 0 &&
            process_has(entry->d_name, real)) {
            result = failed(r, -EBUSY,
                            "process %s has %s open, so nothing was changed; stop it first "
                            "(systemctl stop vgpu-mediator) and start it again afterwards",
                            entry->d_name, r->path);
        }
    }
    if (proc) {
        closedir(proc);
    }
    return result;
}

/* ---- the backup ---- */

static int open_backup(struct restore *r, const char *backup, struct vgpu_db **db)
{
    struct vgpu_config_snapshot *config = NULL;
    char text[VGPU_DB_ERROR_BYTES], finding[DB_FINDING_BYTES] = "";
    struct stat ours, theirs;
    int result;

    if (lstat(r->path, &ours) == 0 && S_ISLNK(ours.st_mode)) {
        return failed(
            r, -ELOOP,
            "%s is a symbolic link; name the file itself (--db FILE), nothing was changed",
            r->path);
    }
    if (stat(r->path, &ours) == 0 && stat(backup, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
        ours.st_ino == theirs.st_ino) {
        return failed(r, -EINVAL, "%s is the database itself and no backup of it", backup);
    }
    result = vgpu_db_open(backup, VGPU_DB_READ, db, text, sizeof(text));
    if (result < 0) {
        return failed(r, result, "the backup can't be used, nothing was changed: %s", text);
    }
    result = vgpu_db_check(*db, db_first_finding, finding);
    if (result == 0 && !finding[0]) {
        result = vgpu_db_load(*db, &config);
        vgpu_config_snapshot_free(config);
    }
    if (result < 0) {
        return failed(r, result, "the backup can't be used, nothing was changed: %s",
                      vgpu_db_error(*db));
    }
    return finding[0] ? failed(r, -EUCLEAN, "the backup %s is damaged (%s); nothing was changed",
                               backup, finding)
                      : 0;
}

/* ---- the copy ---- */

/* The file of the copy is there and is empty: nobody can have put another in its place. */
static int make_partial(struct restore *r)
{
    struct stat st;
    int fd, result = 0;

    if (asprintf(&r->partial, "%s.restore-XXXXXX", r->path) < 0) {
        r->partial = NULL;
        return failed(r, -ENOMEM, "out of memory");
    }
    fd = mkostemp(r->partial, O_CLOEXEC);
    if (fd < 0) {
        result = failed(r, -errno, "cannot create a file beside %s: %s", r->path, strerror(errno));
        free(r->partial);
        r->partial = NULL;
        return result;
    }
    /* As the old one was: whoever may read it goes on to. */
    if (lstat(r->path, &st) == 0) {
        if (fchown(fd, st.st_uid, st.st_gid) < 0 || fchmod(fd, st.st_mode & 0777) < 0) {
            result = failed(r, -errno, "cannot give %s the owner and mode of %s: %s", r->partial,
                            r->path, strerror(errno));
        }
    } else if (fchmod(fd, 0640) < 0) {
        result = failed(r, -errno, "cannot set the mode of %s: %s", r->partial, strerror(errno));
    }
    close(fd);
    return result;
}

static int sync_file(struct restore *r, const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC), err = 0;

    if (fd < 0 || fsync(fd) < 0) {
        err = errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    return err ? failed(r, -err, "cannot write %s to its disk: %s", path, strerror(err)) : 0;
}

static int sync_folder(struct restore *r)
{
    char *copy = strdup(r->path);
    int result = copy ? sync_file(r, dirname(copy), O_RDONLY | O_DIRECTORY)
                      : failed(r, -ENOMEM, "out of memory");

    free(copy);
    return result;
}

static int copy_backup(struct restore *r, struct vgpu_db *backup)
{
    sqlite3 *copy = NULL;
    int result = 0, rc = db_open_itself(r->partial, &copy);

    if (rc == SQLITE_OK) {
        rc = db_copy(copy, backup->sql);
    }
    if (rc != SQLITE_OK) {
        result = failed(r, (rc & 0xff) == SQLITE_FULL ? -ENOSPC : -EIO,
                        "cannot copy the backup to %s: %s; nothing was changed", r->partial,
                        copy ? sqlite3_errmsg(copy) : "out of memory");
    }
    sqlite3_close(copy);
    return result < 0 ? result : sync_file(r, r->partial, O_RDWR | O_NOFOLLOW);
}

/* ---- the change ---- */

/* What the -wal has goes into the file, if that can be: a damaged one is kept as it is. */
static void take_in_wal(const char *path)
{
    sqlite3 *sql = NULL;

    if (db_open_itself(path, &sql) == SQLITE_OK) {
        sqlite3_exec(sql, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    }
    sqlite3_close(sql);
}

static int keep_old(struct restore *r)
{
    time_t now = time(NULL);
    char stamp[32];
    struct tm tm;

    if (access(r->path, F_OK) < 0) {
        return 0;
    }
    take_in_wal(r->path);
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
    for (int n = 0; n < 100; n++) {
        free(r->kept);
        if (asprintf(&r->kept, n ? "%s.replaced-%s.%d" : "%s.replaced-%s", r->path, stamp, n) < 0) {
            r->kept = NULL;
            return failed(r, -ENOMEM, "out of memory");
        }
        if (link(r->path, r->kept) == 0) {
            return 0;
        }
        if (errno != EEXIST) {
            break;
        }
    }
    return failed(r, -errno, "cannot keep the old database as %s: %s; nothing was changed", r->kept,
                  strerror(errno));
}

static int remove_beside(struct restore *r)
{
    static const char *const suffixes[] = {"-wal", "-shm", "-journal"};

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char file[PATH_MAX];

        snprintf(file, sizeof(file), "%s%s", r->path, suffixes[i]);
        if (unlink(file) < 0 && errno != ENOENT) {
            return failed(r, -errno, "cannot remove %s: %s", file, strerror(errno));
        }
    }
    return sync_folder(r);
}

static int replace(struct restore *r)
{
    int result = check_unused(r); /* once more: the copy took its time */

    if (result == 0) {
        result = keep_old(r);
    }
    if (result == 0) {
        result = remove_beside(r);
    }
    if (result == 0 && rename(r->partial, r->path) < 0) {
        result = failed(r, -errno, "cannot put %s in the place of %s: %s", r->partial, r->path,
                        strerror(errno));
    }
    if (result == 0) {
        free(r->partial);
        r->partial = NULL;
        result = sync_folder(r);
    }
    return result;
}

int vgpu_db_restore(const char *path, const char *backup, char **kept, char *err, size_t err_size)
{
    struct restore r = {.path = path, .err = err, .err_size = err_size};
    struct vgpu_db *db = NULL;
    int result = check_unused(&r);

    *kept = NULL;
    if (result == 0) {
        result = open_backup(&r, backup, &db);
    }
    if (result == 0) {
        result = make_partial(&r);
    }
    if (result == 0) {
        result = copy_backup(&r, db);
    }
    vgpu_db_close(db);
    if (result == 0) {
        result = replace(&r);
    }
    if (r.partial) {
        unlink(r.partial);
    }
    free(r.partial);
    if (result == 0) {
        *kept = r.kept;
    } else {
        free(r.kept);
    }
    return result;
}
