/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/state/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/write_all.h"

#define MAGIC 0x315450454B504756ull /* "VGPKEPT1" */
#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"

static size_t size_of(const struct state_file_header *header)
{
    return sizeof(*header) + header->extra_bytes + (size_t)header->record_bytes * header->count;
}

static void find_parts(struct state_file *file)
{
    file->extra = file->header + 1;
    file->records = (uint8_t *)file->extra + file->header->extra_bytes;
}

/* FNV-1a, 64 bits: damage is to be seen, nobody else may write the file. */
static uint64_t checksum(const struct state_file_header *header)
{
    struct state_file_header plain = *header;
    const uint8_t *bytes = (const uint8_t *)&plain;
    size_t size = size_of(header);
    uint64_t sum = 0xCBF29CE484222325ull;

    plain.checksum = 0;
    for (size_t i = 0; i < size; i++) {
        if (i == sizeof(plain)) {
            bytes = (const uint8_t *)header;
        }
        sum = (sum ^ bytes[i]) * 0x100000001B3ull;
    }
    return sum;
}

/* All 0 when it can't be had. */
static void read_boot_id(uint8_t boot_id[16])
{
    char text[40] = {0};
    unsigned nibbles = 0;
    int fd = open(BOOT_ID_PATH, O_RDONLY | O_CLOEXEC);

    memset(boot_id, 0, 16);
    if (fd < 0) {
        return;
    }
    if (read(fd, text, sizeof(text) - 1) > 0) {
        for (const char *c = text; *c && nibbles < 32; c++) {
            char digit[2] = {*c, '\0'};

            if (strchr("0123456789abcdef", *c)) {
                boot_id[nibbles / 2] =
                    (uint8_t)(boot_id[nibbles / 2] << 4 | (uint8_t)strtoul(digit, NULL, 16));
                nibbles++;
            }
        }
    }
    close(fd);
}

int state_file_new(uint32_t version, uint32_t extra_bytes, uint32_t record_bytes, uint32_t count,
                   struct state_file *file)
{
    struct state_file_header header = {
        .magic = MAGIC,
        .version = version,
        .record_bytes = record_bytes,
        .count = count,
        .extra_bytes = extra_bytes,
    };

    if (size_of(&header) > STATE_FILE_BYTES_MAX) {
        return -E2BIG;
    }
    read_boot_id(header.boot_id);
    file->header = calloc(1, size_of(&header));
    if (!file->header) {
        return -ENOMEM;
    }
    *file->header = header;
    find_parts(file);
    return 0;
}

void state_file_free(struct state_file *file)
{
    free(file->header);
    memset(file, 0, sizeof(*file));
}

int state_file_write(const char *path, const struct state_file *file)
{
    char partial[PATH_MAX];
    int fd, ret;

    if (snprintf(partial, sizeof(partial), "%s.new", path) >= (int)sizeof(partial)) {
        return -ENAMETOOLONG;
    }
    file->header->checksum = checksum(file->header);
    unlink(partial); /* of one that was killed; never written into: it may be a link by now */
    fd = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    ret = write_all(fd, file->header, size_of(file->header));
    if (ret == 0 && fsync(fd) < 0) {
        ret = -errno;
    }
    close(fd);
    if (ret == 0 && rename(partial, path) < 0) {
        ret = -errno;
    }
    if (ret < 0) {
        unlink(partial);
    }
    return ret;
}

/* 0 and its size, or -errno with an error. */
static int check_owner(int fd, size_t *size, char *error)
{
    struct stat about;

    if (fstat(fd, &about) < 0) {
        return -errno;
    }
    if (!S_ISREG(about.st_mode) || about.st_uid != geteuid() || (about.st_mode & 0077) != 0) {
        snprintf(error, STATE_FILE_ERROR_BYTES,
                 "it is not a file of this user alone (uid %u, mode %o)", (unsigned)about.st_uid,
                 (unsigned)about.st_mode & 07777);
        return -EPERM;
    }
    if (about.st_size < (off_t)sizeof(struct state_file_header) ||
        about.st_size > (off_t)STATE_FILE_BYTES_MAX) {
        snprintf(error, STATE_FILE_ERROR_BYTES, "it is damaged: it has %lld bytes",
                 (long long)about.st_size);
        return -EBADMSG;
    }
    *size = (size_t)about.st_size;
    return 0;
}

static int read_all(int fd, uint8_t *bytes, size_t left)
{
    while (left > 0) {
        ssize_t n = read(fd, bytes, left);

        if (n == 0) {
            return -EBADMSG; /* cut meanwhile */
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        bytes += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int check_contents(const struct state_file_header *header, size_t size, uint32_t version,
                          uint32_t extra_bytes, uint32_t record_bytes, char *error)
{
    if (header->magic != MAGIC) {
        snprintf(error, STATE_FILE_ERROR_BYTES, "it is no state of a vgpu-mediator");
        return -EBADMSG;
    }
    if (header->version != version || header->extra_bytes != extra_bytes ||
        header->record_bytes != record_bytes) {
        snprintf(error, STATE_FILE_ERROR_BYTES, "it is of another version of vgpu-mediator");
        return -EBADMSG;
    }
    if (size != size_of(header) || header->checksum != checksum(header)) {
        snprintf(error, STATE_FILE_ERROR_BYTES, "it is damaged: its checksum is wrong");
        return -EBADMSG;
    }
    return 0;
}

int state_file_read(const char *path, uint32_t version, uint32_t extra_bytes, uint32_t record_bytes,
                    struct state_file *file, char *error)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK), ret;
    size_t size = 0;

    memset(file, 0, sizeof(*file));
    error[0] = '\0';
    if (fd < 0) {
        ret = -errno;
        snprintf(error, STATE_FILE_ERROR_BYTES, "%s", strerror(-ret));
        return ret;
    }
    ret = check_owner(fd, &size, error);
    if (ret == 0) {
        file->header = malloc(size);
        ret = file->header ? read_all(fd, (uint8_t *)file->header, size) : -ENOMEM;
    }
    close(fd);
    if (ret == 0) {
        ret = check_contents(file->header, size, version, extra_bytes, record_bytes, error);
    }
    if (ret < 0) {
        state_file_free(file);
        if (!error[0]) {
            snprintf(error, STATE_FILE_ERROR_BYTES, "%s", strerror(-ret));
        }
        return ret;
    }
    find_parts(file);
    return 0;
}

bool state_file_of_this_boot(const struct state_file *file)
{
    static const uint8_t none[16];
    uint8_t now[16];

    read_boot_id(now);
    return memcmp(now, none, sizeof(now)) != 0 &&
           memcmp(now, file->header->boot_id, sizeof(now)) == 0;
}
