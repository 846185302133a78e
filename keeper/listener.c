/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keeper/listener.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 8

/* A socket that nobody listens on is a dead one's and makes room. */
static int make_room(const struct sockaddr_un *address, char *error, size_t bytes)
{
    int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct stat st;
    bool living;

    if (probe < 0) {
        return -errno;
    }
    living = connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0;
    close(probe);
    if (living) {
        snprintf(error, bytes, "%s: another vgpu-keeper is running already", address->sun_path);
        return -EADDRINUSE;
    }
    if (lstat(address->sun_path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        snprintf(error, bytes, "%s is no socket; it is left alone", address->sun_path);
        return -EEXIST;
    }
    unlink(address->sun_path);
    return 0;
}

/* Nobody but us can open it before it is listened on, and by then it has its group and its mode. */
static int bind_for(int fd, const struct sockaddr_un *address, gid_t gid)
{
    mode_t old = umask(0177);
    int ret = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

    umask(old);
    if (ret == 0 && gid != (gid_t)-1 &&
        (lchown(address->sun_path, (uid_t)-1, gid) < 0 || chmod(address->sun_path, 0660) < 0)) {
        ret = -errno;
    }
    return ret == 0 && listen(fd, BACKLOG) < 0 ? -errno : ret;
}

int listener_open(const char *path, gid_t gid, char *error, size_t bytes)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), ret;

    if (fd < 0) {
        return -errno;
    }
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    ret = make_room(&address, error, bytes);
    if (ret == 0) {
        ret = bind_for(fd, &address, gid);
        if (ret < 0) {
            snprintf(error, bytes, "cannot listen on %s: %s", address.sun_path, strerror(-ret));
        }
    }
    if (ret < 0) {
        close(fd);
    }
    return ret < 0 ? ret : fd;
}
