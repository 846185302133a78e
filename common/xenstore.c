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
 *
 * Whether there is a XenStore is nothing that a QEMU has a say in: the
 * mediator's environment names one, or somebody listens on its socket, whose
 * folder is root's, or the kernel says that this is Dom0.  The kernel's device
 * for it alone is no sign, for every domain has that.
 *
 * The three values are read one after the other, and the domain may go in
 * between, its number to another.  So the pid is read first and again at the
 * end.  The process lives all the while (process_read() sees to that), so no
 * other domain's QEMU has its number.
 */
#include "common/xenstore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/parse.h"

#define XS_READ 2u
#define XS_ERROR 16u
#define XS_PAYLOAD_MAX 4096u /* the protocol's own limit */
#define XS_SKIPPED_MAX 8u

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
    return clock_now_ns() / NS_PER_MS;
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
    ret = -errno;
    close(fd);
    return ret;
}

/* Nothing is there, or a socket file that is left over; a full backlog (EAGAIN) is neither. */
static bool is_absent(int ret)
{
    return ret == -ENOENT || ret == -ENOTDIR || ret == -ECONNREFUSED || ret == -ENXIO ||
           ret == -ENODEV;
}

/* The kernel makes these for Dom0 alone. */
static bool kernel_says_dom0(void)
{
    return access("/dev/xen/xenbus_backend", F_OK) == 0 || access("/proc/xen/xsd_port", F_OK) == 0;
}

static int open_xenstore(void)
{
    static const char *const sockets[] = {"/run/xenstored/socket", "/var/run/xenstored/socket"};
    static const char *const devices[] = {"/dev/xen/xenbus", "/proc/xen/xenbus"};
    /* As Xen's own library has it. */
    const char *given = getenv("XENSTORED_PATH");
    int ret;

    if (given) {
        ret = open_socket(given);
        return is_absent(ret) ? -ECONNREFUSED : ret;
    }
    for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++) {
        ret = open_socket(sockets[i]);
        if (!is_absent(ret)) {
            return ret;
        }
    }
    if (!kernel_says_dom0()) {
        return -ENODEV;
    }
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        ret = open(devices[i], O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (ret >= 0) {
            return ret;
        }
        if (!is_absent(-errno)) {
            return -errno;
        }
    }
    return -ECONNREFUSED;
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

/* As the toolstacks write it: digits and nothing else, and no more than a pid has. */
static bool parse_pid(const char *text, pid_t *pid)
{
    uint64_t number;

    if (strlen(text) > 10 || !parse_uint(text, 1, INT_MAX, &number)) {
        return false;
    }
    *pid = (pid_t)number;
    return true;
}

static int read_node(struct xs_link *link, uint32_t domid, const char *node,
                     char value[XS_PAYLOAD_MAX + 1])
{
    char path[64];

    snprintf(path, sizeof(path), "/local/domain/%" PRIu32 "/%s", domid, node);
    return read_value(link, path, value);
}

static int check_pid(struct xs_link *link, uint32_t domid, pid_t pid)
{
    char value[XS_PAYLOAD_MAX + 1];
    int ret = read_node(link, domid, "image/device-model-pid", value);
    pid_t named;

    if (ret < 0) {
        return ret;
    }
    if (!parse_pid(value, &named)) {
        return -EPROTO;
    }
    return named == pid ? 0 : -EPERM;
}

int xenstore_read_domain(uint32_t domid, pid_t pid, uint8_t uuid[UUID_BYTES], char *name,
                         size_t name_bytes)
{
    static const char prefix[] = "/vm/";
    struct xs_link link = {.deadline_ms = now_ms() + XENSTORE_DEADLINE_MS};
    char vm[XS_PAYLOAD_MAX + 1], called[XS_PAYLOAD_MAX + 1];
    uint8_t found[UUID_BYTES];
    int ret;

    link.fd = open_xenstore();
    if (link.fd < 0) {
        return link.fd;
    }
    ret = domid <= XENSTORE_DOMID_LAST ? check_pid(&link, domid, pid) : -ENOENT;
    if (ret == 0) {
        ret = read_node(&link, domid, "vm", vm);
    }
    if (ret == 0 &&
        (strncmp(vm, prefix, strlen(prefix)) != 0 || !uuid_parse(vm + strlen(prefix), found))) {
        ret = -EPROTO;
    }
    if (ret == 0) {
        if (read_node(&link, domid, "name", called) < 0 || strlen(called) >= name_bytes) {
            called[0] = '\0'; /* it is only for people */
        }
        ret = check_pid(&link, domid, pid);
    }
    if (ret == 0) {
        memcpy(uuid, found, sizeof(found));
        strcpy(name, called);
    }
    close(link.fd);
    return ret;
}

bool xenstore_is_there(void)
{
    int fd = open_xenstore();

    if (fd >= 0) {
        close(fd);
    }
    return fd != -ENODEV;
}
