/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bridge/request_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REQUEST "request.txt"
#define RESPONSE "response.txt"

/* Never through a link, never waiting for a FIFO's other end. */
#define OPEN_FLAGS (O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)

/* A file that has a second name may be another VM's. */
static bool is_plain(const struct stat *stat)
{
    return S_ISREG(stat->st_mode) && stat->st_nlink == 1;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool unchanged(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           same_time(&a->st_mtim, &b->st_mtim) && same_time(&a->st_ctim, &b->st_ctim);
}

/* ---- reading ---- */

static enum request_file_state refuse(struct request_file *file, const char *why)
{
    file->why = why;
    return REQUEST_FILE_REFUSE;
}

static enum request_file_state failed(struct request_file *file, int error)
{
    file->why = strerror(error);
    return REQUEST_FILE_FAILED;
}

static enum request_file_state open_failed(struct request_file *file, int error)
{
    switch (error) {
    case ENOENT: return REQUEST_FILE_NONE;
    case ELOOP: return refuse(file, REQUEST " is a symbolic link");
    case ENXIO: /* a FIFO or socket without its other end */
    case ENODEV: return refuse(file, REQUEST " is no plain file");
    default: return failed(file, error);
    }
}

/* The bytes are in `file`; is it all of the request? */
static enum request_file_state judge(const struct request_file *previous, struct request_file *file)
{
    const char *end;

    if (file->length == 0) {
        return REQUEST_FILE_NONE;
    }
    if (file->length > REQUEST_TEXT_MAX) {
        return refuse(file, "the request is too long");
    }
    end = memchr(file->text, '\n', file->length);
    if (end) {
        file->length = (size_t)(end - file->text); /* one line; what follows is not looked at */
        return file->length == 0 ? REQUEST_FILE_NONE : REQUEST_FILE_WHOLE;
    }
    if (previous && previous->length == file->length && unchanged(&previous->stat, &file->stat) &&
        memcmp(previous->text, file->text, file->length) == 0) {
        return REQUEST_FILE_WHOLE;
    }
    return REQUEST_FILE_AGAIN;
}

static enum request_file_state read_open(int fd, const struct request_file *previous,
                                         struct request_file *file)
{
    struct stat after;
    ssize_t n;

    if (fstat(fd, &file->stat) < 0) {
        return failed(file, errno);
    }
    if (!is_plain(&file->stat)) {
        return refuse(file, S_ISREG(file->stat.st_mode) ? REQUEST " has a second name"
                                                        : REQUEST " is no plain file");
    }
    n = pread(fd, file->text, sizeof(file->text), 0);
    if (n < 0) {
        return failed(file, errno);
    }
    file->length = (size_t)n;
    if (fstat(fd, &after) < 0) {
        return failed(file, errno);
    }
    if (!unchanged(&file->stat, &after) || after.st_size < n) {
        return REQUEST_FILE_AGAIN;
    }
    return judge(previous, file);
}

enum request_file_state request_file_read(int folder, const struct request_file *previous,
                                          struct request_file *file)
{
    enum request_file_state state;
    int fd;

    memset(file, 0, sizeof(*file));
    fd = openat(folder, REQUEST, O_RDONLY | OPEN_FLAGS);
    if (fd < 0) {
        return open_failed(file, errno);
    }
    state = read_open(fd, previous, file);
    close(fd);
    return state;
}

bool request_file_waits(int folder)
{
    struct stat stat;

    return fstatat(folder, REQUEST, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
           (stat.st_size > 0 || !S_ISREG(stat.st_mode));
}

/* ---- writing ---- */

/* Opens the plain file `name`; -ELOOP, -ENXIO, -EMLINK: what is there is none. */
static int open_plain(int folder, const char *name)
{
    int fd = openat(folder, name, O_WRONLY | OPEN_FLAGS);
    struct stat stat;
    int ret;

    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &stat) < 0) {
        ret = -errno;
    } else {
        ret = is_plain(&stat) ? fd : -EMLINK;
    }
    if (ret < 0) {
        close(fd);
    }
    return ret;
}

/* As the folder: whoever may make files there may write this one. */
static int create(int folder, const char *name)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | OPEN_FLAGS, 0600);
    struct stat stat;

    if (fd < 0) {
        return -errno;
    }
    if (fstat(folder, &stat) < 0 || fchown(fd, stat.st_uid, stat.st_gid) < 0 ||
        fchmod(fd, stat.st_mode & 0666) < 0) {
        int error = errno;

        close(fd);
        unlinkat(folder, name, 0);
        return -error;
    }
    return fd;
}

/* Its file, made where there is none; what is no plain file gives way. */
static int open_or_create(int folder, const char *name)
{
    int fd = open_plain(folder, name);

    if (fd >= 0) {
        return fd;
    }
    switch (fd) {
    case -ENOENT: return create(folder, name);
    case -ELOOP:
    case -ENXIO:
    case -ENODEV:
    case -EMLINK:
        if (unlinkat(folder, name, 0) < 0) {
            return -errno;
        }
        return create(folder, name);
    default: return fd;
    }
}

/* The whole of the file is `length` bytes of `text` afterwards, on the disk.  Closes `fd`. */
static int put(int fd, const char *text, size_t length)
{
    int ret = 0;

    if (ftruncate(fd, 0) < 0 || (length > 0 && pwrite(fd, text, length, 0) != (ssize_t)length) ||
        fsync(fd) < 0) {
        ret = errno ? -errno : -EIO;
    }
    /* NFS tells of a full disk here. */
    if (close(fd) < 0 && ret == 0) {
        ret = -errno;
    }
    return ret;
}

static int empty_response(int folder)
{
    struct stat stat;
    int fd;

    if (fstatat(folder, RESPONSE, &stat, AT_SYMLINK_NOFOLLOW) == 0 && is_plain(&stat) &&
        stat.st_size == 0) {
        return 0;
    }
    fd = open_or_create(folder, RESPONSE);
    return fd < 0 ? fd : put(fd, "", 0);
}

int request_file_take(int folder, const struct request_file *file)
{
    struct stat now;
    int ret = empty_response(folder), fd;

    if (ret < 0) {
        return ret;
    }
    fd = open_plain(folder, REQUEST);
    if (fd < 0) {
        return fd == -ENOENT ? -EAGAIN : fd;
    }
    if (fstat(fd, &now) < 0 || !unchanged(&file->stat, &now)) {
        close(fd);
        return -EAGAIN;
    }
    return put(fd, "", 0);
}

int request_file_answer(int folder, const char *text)
{
    char line[RESPONSE_TEXT_MAX + 2];
    int length = snprintf(line, sizeof(line) - 1, "%s", text);
    int fd = open_or_create(folder, RESPONSE);

    if (fd < 0) {
        return fd;
    }
    if ((size_t)length > sizeof(line) - 2) {
        length = (int)sizeof(line) - 2;
    }
    line[length] = '\n';
    return put(fd, line, (size_t)length + 1);
}

int request_file_set_up(int folder, const char *ready)
{
    int fd = openat(folder, REQUEST, O_PATH | OPEN_FLAGS);
    struct stat stat;

    if (fd < 0 && errno == ENOENT) {
        fd = create(folder, REQUEST);
    }
    if (fd < 0) {
        return -errno;
    }
    close(fd);
    if (fstatat(folder, RESPONSE, &stat, AT_SYMLINK_NOFOLLOW) == 0 && stat.st_size > 0) {
        return 0;
    }
    return ready[0] ? request_file_answer(folder, ready) : empty_response(folder);
}

int request_file_clear(int folder)
{
    int ret = empty_response(folder);
    int fd = open_plain(folder, REQUEST);

    if (fd < 0) {
        return ret < 0 ? ret : fd == -ENOENT ? 0 : fd;
    }
    fd = put(fd, "", 0);
    return ret < 0 ? ret : fd;
}
