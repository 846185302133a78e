/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Theory of operation.  One question is one message: a header of four 32-bit
 * words in the machine's byte order (type, request id, transaction, length of
 * the body) and a body, here a path with its NUL.  The answer has the same type
 * and id and the value as its body, without NUL; or it has the type XS_ERROR
 * and the error's name ("ENOENT") with a NUL.  Nobody watches anything here, so
 * no other message can arrive, and one that does is skipped.
 *
 * xenstored listens on a Unix socket.  Where it lives in a domain of its own,
 * the kernel's device carries the same bytes.  Both can be polled.
 */
#include "mediator/xen_identity.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

#define XS_READ 2u
#define XS_ERROR 16u
#define XS_PAYLOAD_MAX 4096u /* the protocol's own limit */
#define XS_SKIPPED_MAX 8u
#define WARNING_INTERVAL_MS 60000u

struct xs_header {
    uint32_t type;
    uint32_t request_id;
    uint32_t transaction;
    uint32_t length;
};

struct xs_link {
    int fd;
    uint32_t request_id;
    uint64_t deadline_ms;
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int wait_for(const struct xs_link *link, short events)
{
    struct pollfd poll_fd = {.fd = link->fd, .events = events};
    uint64_t now = now_ms();
    int n = 0;

    if (now < link->deadline_ms) {
        n = poll(&poll_fd, 1, (int)(link->deadline_ms - now));
    }
    if (n < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    return n == 0 ? -ETIMEDOUT : 0;
}

/* All bytes, in one direction or the other. */
static int transfer(const struct xs_link *link, void *bytes, size_t length, short direction)
{
    char *at = bytes;

    while (length > 0) {
        ssize_t n = direction == POLLIN ? read(link->fd, at, length) : write(link->fd, at, length);

        if (n > 0) {
            at += n;
            length -= (size_t)n;
        } else if (n == 0) {
            return -ECONNRESET;
        } else if (errno == EAGAIN) {
            int ret = wait_for(link, direction);

            if (ret < 0) {
                return ret;
            }
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

/* -ENODEV: nothing is there; what is there and refuses gives its own error. */
static int open_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, ret;

    if (strlen(path) >= sizeof(address.sun_path)) {
        return -ENAMETOOLONG;
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        return fd;
    }
    /* A socket file that nobody listens on is left over; a full backlog (EAGAIN) is not. */
    ret = errno == ENOENT || errno == ENOTDIR || errno == ECONNREFUSED ? -ENODEV : -errno;
    close(fd);
    return ret;
}

static int open_xenstore(void)
{
    static const char *const sockets[] = {"/run/xenstored/socket", "/var/run/xenstored/socket"};
    static const char *const devices[] = {"/dev/xen/xenbus", "/proc/xen/xenbus"};
    /* As Xen's own library has it. */
    const char *given = getenv("XENSTORED_PATH");
    int ret;

    if (given) {
        return open_socket(given);
    }
    for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++) {
        ret = open_socket(sockets[i]);
        if (ret != -ENODEV) {
            return ret;
        }
    }
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        ret = open(devices[i], O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (ret >= 0) {
            return ret;
        }
        if (errno != ENOENT && errno != ENOTDIR && errno != ENXIO && errno != ENODEV) {
            return -errno;
        }
    }
    return -ENODEV;
}

static int error_of(const char *name)
{
    static const struct {
        const char *name;
        int error;
    } known[] = {{"ENOENT", ENOENT}, {"EACCES", EACCES}, {"EPERM", EACCES}, {"EINVAL", EINVAL}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(name, known[i].name) == 0) {
            return -known[i].error;
        }
    }
    return -EPROTO;
}

/* The value at `path`, which ends with a NUL that the store does not have. */
static int read_value(struct xs_link *link, const char *path, char value[XS_PAYLOAD_MAX + 1])
{
    struct xs_header header = {XS_READ, ++link->request_id, 0, (uint32_t)strlen(path) + 1};
    int ret = transfer(link, &header, sizeof(header), POLLOUT);

    if (ret == 0) {
        /* The cast loses const; transfer() only reads it in this direction. */
        ret = transfer(link, (char *)(uintptr_t)path, header.length, POLLOUT);
    }
    for (unsigned skipped = 0; ret == 0; skipped++) {
        ret = transfer(link, &header, sizeof(header), POLLIN);
        if (ret == 0 && (header.length > XS_PAYLOAD_MAX || skipped > XS_SKIPPED_MAX)) {
            return -EPROTO;
        }
        if (ret == 0) {
            ret = transfer(link, value, header.length, POLLIN);
        }
        if (ret < 0) {
            return ret;
        }
        value[header.length] = '\0';
        if (header.request_id != link->request_id) {
            continue;
        }
        if (header.type == XS_ERROR) {
            return error_of(value);
        }
        return header.type == XS_READ && strlen(value) == header.length ? 0 : -EPROTO;
    }
    return ret;
}

int xen_identity_read(uint32_t domid, uint8_t uuid[UUID_BYTES], char *name, size_t name_bytes)
{
    static const char prefix[] = "/vm/";
    struct xs_link link = {.deadline_ms = now_ms() + XEN_IDENTITY_DEADLINE_MS};
    char path[64], value[XS_PAYLOAD_MAX + 1];
    uint8_t found[UUID_BYTES];
    int ret;

    if (domid > XEN_DOMID_LAST) {
        return -ENOENT;
    }
    link.fd = open_xenstore();
    if (link.fd < 0) {
        return link.fd;
    }
    snprintf(path, sizeof(path), "/local/domain/%" PRIu32 "/vm", domid);
    ret = read_value(&link, path, value);
    if (ret == 0 && (strncmp(value, prefix, strlen(prefix)) != 0 ||
                     !uuid_parse(value + strlen(prefix), found))) {
        ret = -EPROTO;
    }
    if (ret == 0) {
        snprintf(path, sizeof(path), "/local/domain/%" PRIu32 "/name", domid);
        if (read_value(&link, path, value) < 0 || strlen(value) >= name_bytes) {
            value[0] = '\0'; /* it is only for people */
        }
        memcpy(uuid, found, sizeof(found));
        strcpy(name, value);
    }
    close(link.fd);
    return ret;
}

int xen_identity_apply(struct qemu_cmdline *cmdline)
{
    static _Atomic uint64_t warned_ms;
    uint64_t now = now_ms();
    int ret;

    if (!cmdline->has_xen_domid || cmdline->stub_count == 0) {
        return 0;
    }
    ret =
        xen_identity_read(cmdline->xen_domid, cmdline->uuid, cmdline->name, sizeof(cmdline->name));
    if (ret == 0) {
        cmdline->has_uuid = true;
        return 0;
    }
    if (ret == -ENODEV) {
        return 0;
    }
    if (atomic_load(&warned_ms) == 0 || now - atomic_load(&warned_ms) > WARNING_INTERVAL_MS) {
        atomic_store(&warned_ms, now);
        log_warning("XenStore does not say which VM domain %" PRIu32 " is (%s): its QEMU is not "
                    "served; it is asked again",
                    cmdline->xen_domid, strerror(-ret));
    }
    return ret;
}
