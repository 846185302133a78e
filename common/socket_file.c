/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/socket_file.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/socket_lock.h"

#define LISTEN_BACKLOG 512
#define GROUPS_MAX 1024

static int (*giver)(int fd, const struct socket_file_owner *to);

void socket_file_set_giver(int (*give)(int fd, const struct socket_file_owner *to))
{
    giver = give;
}

static int fail(char *error, size_t error_bytes, int ret, const char *what, const char *name)
{
    snprintf(error, error_bytes, "%s %s: %s", what, name, strerror(-ret));
    return ret;
}

void socket_file_none(struct socket_file *file)
{
    memset(file, 0, sizeof(*file));
    file->fd = -1;
    file->folder_fd = -1;
    file->parent_fd = -1;
}

static int set_name(char *to, const char *name)
{
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return -EINVAL;
    }
    if (strlen(name) >= SOCKET_NAME_BYTES) {
        return -ENAMETOOLONG;
    }
    strcpy(to, name);
    return 0;
}

/* ---- finding the folder ---- */

/* The folder is open: which one is it? */
static int know_folder(struct socket_file *file)
{
    struct stat st;

    if (fstat(file->folder_fd, &st) < 0) {
        return -errno;
    }
    file->folder_device = st.st_dev;
    file->folder_inode = st.st_ino;
    return 0;
}

bool socket_file_same_folder(const struct socket_file *a, const struct socket_file *b)
{
    return a->folder_device == b->folder_device && a->folder_inode == b->folder_inode;
}

static int open_folder(int parent_fd, const char *name)
{
    int fd = openat(parent_fd, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static int make_folder(struct socket_file *file, int parent_fd, const char *name)
{
    int ret = set_name(file->folder_name, name);
    char opened[64];

    if (ret < 0) {
        return ret;
    }
    if (mkdirat(parent_fd, name, 0700) < 0) {
        return -errno;
    }
    file->parent_fd = fcntl(parent_fd, F_DUPFD_CLOEXEC, 0);
    file->made_folder = file->parent_fd >= 0;
    ret = open_folder(parent_fd, name);
    if (ret >= 0) {
        /* By descriptor: the name may be another folder's by now. */
        snprintf(opened, sizeof(opened), "/proc/self/fd/%d", ret);
        if (chmod(opened, 0755) < 0) {
            int error = -errno;

            close(ret);
            return error;
        }
    }
    return ret;
}

int socket_file_open_below(struct socket_file *file, int root_fd, const char *path, bool make_last,
                           char *error, size_t error_bytes)
{
    char copy[PATH_MAX];
    char *save = NULL, *part, *next;
    int fd, ret;

    socket_file_none(file);
    if (path[0] != '/' || strlen(path) >= sizeof(copy)) {
        return fail(error, error_bytes, -EINVAL, "socket path", path);
    }
    strcpy(copy, path);
    fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return fail(error, error_bytes, -errno, "opening the root for", path);
    }
    part = strtok_r(copy, "/", &save);
    for (; part; part = next) {
        next = strtok_r(NULL, "/", &save);
        if (!next) {
            break;
        }
        /* ".." would leave a chroot: the kernel stops it at our root, not at that one. */
        ret = strcmp(part, "..") == 0 ? -EINVAL : open_folder(fd, part);
        if (ret == -ENOENT && make_last && save[strspn(save, "/")] == '\0') {
            ret = make_folder(file, fd, part);
        }
        close(fd);
        if (ret < 0) {
            fail(error, error_bytes, ret, "opening folder", part);
            socket_file_close(file);
            return ret;
        }
        fd = ret;
    }
    file->folder_fd = fd;
    ret = part ? set_name(file->name, part) : -EINVAL;
    ret = ret < 0 ? ret : know_folder(file);
    if (ret < 0) {
        fail(error, error_bytes, ret, "socket path", path);
        socket_file_close(file);
    }
    return ret;
}

/* `folder` is changed.  An O_PATH descriptor or -errno. */
static int make_last_folder(struct socket_file *file, char *folder)
{
    char name[PATH_MAX];
    int parent_fd, ret;

    strcpy(name, folder);
    parent_fd = open(dirname(folder), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent_fd < 0) {
        return -errno;
    }
    ret = make_folder(file, parent_fd, basename(name));
    close(parent_fd);
    return ret;
}

int socket_file_open(struct socket_file *file, const char *path, bool make_last, char *error,
                     size_t error_bytes)
{
    char for_dirname[PATH_MAX], for_basename[PATH_MAX], *folder;
    int ret;

    socket_file_none(file);
    if (path[0] == '\0' || strlen(path) >= sizeof(for_dirname) || path[strlen(path) - 1] == '/') {
        return fail(error, error_bytes, -EINVAL, "socket path", path);
    }
    strcpy(for_dirname, path);
    strcpy(for_basename, path);
    ret = set_name(file->name, basename(for_basename));
    if (ret < 0) {
        return fail(error, error_bytes, ret, "socket path", path);
    }
    folder = dirname(for_dirname);
    file->folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (file->folder_fd < 0 && errno == ENOENT && make_last) {
        /* Below /run nothing is there after a boot. */
        file->folder_fd = make_last_folder(file, folder);
    } else if (file->folder_fd < 0) {
        file->folder_fd = -errno;
    }
    ret = file->folder_fd < 0 ? file->folder_fd : know_folder(file);
    if (ret < 0) {
        socket_file_close(file);
        return fail(error, error_bytes, ret, "opening the folder of", path);
    }
    return 0;
}

/* ---- making the socket ---- */

static bool is_our_group(gid_t gid)
{
    gid_t groups[GROUPS_MAX];
    int count = getgroups(GROUPS_MAX, groups); /* more of them: -1, as if there were none */

    for (int i = 0; i < count; i++) {
        if (groups[i] == gid) {
            return true;
        }
    }
    return getegid() == gid;
}

struct socket_file_owner socket_file_owner_for(const char *group)
{
    const struct group *found = getgrnam(group);
    bool may = found && (geteuid() == 0 || giver || is_our_group(found->gr_gid));

    return (struct socket_file_owner){geteuid(), may ? found->gr_gid : SOCKET_KEEP_GID,
                                      may ? 0660 : 0600};
}

static void address_of(const struct socket_file *file, struct sockaddr_un *address)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%s", file->folder_fd,
             file->name);
}

/* Who listens on the file of `owner`: `fd` is connected to him, or he takes nobody now. */
static int tell_listener(int fd, uid_t owner, const struct socket_file *file, char *error,
                         size_t error_bytes)
{
    struct ucred who = {0};
    socklen_t length = sizeof(who);

    /* Without a connection nobody says who has called listen(). */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) < 0 || who.pid <= 0) {
        who.pid = 0;
        who.uid = owner;
    }
    if (who.uid == 0 || who.uid == geteuid()) {
        snprintf(error, error_bytes,
                 "another program listens on %s (is a vgpu-mediator running "
                 "already?): stop it or choose another path",
                 file->name);
        return -EADDRINUSE;
    }
    snprintf(error, error_bytes, "process %d of uid %u listens on %s: stop it", (int)who.pid,
             (unsigned)who.uid, file->name);
    return -EPERM;
}

/* 0: nothing is in the way (any more). */
static int clear_place(const struct socket_file *file, const struct sockaddr_un *address,
                       char *error, size_t error_bytes)
{
    struct stat st;
    int fd, ret;

    if (fstatat(file->folder_fd, file->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        ret = -errno;
        return ret == -ENOENT ? 0 : fail(error, error_bytes, ret, "looking at", file->name);
    }
    if (!S_ISSOCK(st.st_mode)) {
        snprintf(error, error_bytes,
                 "%s is there and is no socket; it was left alone: move it "
                 "away or choose another path",
                 file->name);
        return -EEXIST;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return fail(error, error_bytes, -errno, "making a socket for", file->name);
    }
    ret = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
    if (ret != -ECONNREFUSED && ret != -ENOENT) {
        ret = tell_listener(fd, st.st_uid, file, error, error_bytes);
        close(fd);
        return ret;
    }
    close(fd);
    if (unlinkat(file->folder_fd, file->name, 0) < 0 && errno != ENOENT) {
        return fail(error, error_bytes, -errno, "removing the dead socket", file->name);
    }
    return 0;
}

/* Creates the file as its owner would: then nothing has to be given away by name. */
static int bind_as(int fd, const struct sockaddr_un *address, const struct socket_file_owner *owner)
{
    gid_t gid = owner->gid == SOCKET_KEEP_GID ? getegid() : owner->gid;
    int old_gid, old_uid, ret;

    if (geteuid() != 0 && (owner->uid != geteuid() || gid != getegid())) {
        return -EPERM; /* setfsuid() would not say so */
    }
    /* The file gets the mode that the unbound socket has. */
    if (fchmod(fd, owner->mode) < 0) {
        return -errno;
    }
    if (geteuid() != 0) {
        return bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
    }
    old_gid = setfsgid(gid);
    old_uid = setfsuid(owner->uid);
    ret = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
    setfsuid((uid_t)old_uid);
    setfsgid((gid_t)old_gid);
    return ret;
}

/* Opens what was just made. */
static int pin(struct socket_file *file)
{
    struct stat st;
    int fd = openat(file->folder_fd, file->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        close(fd);
        return -EPERM;
    }
    file->fd = fd;
    file->device = st.st_dev;
    file->inode = st.st_ino;
    return 0;
}

/* Another name of some other socket of ours must not be given away. */
static int give(const struct socket_file *file, uid_t from, const struct socket_file_owner *to)
{
    struct stat st;

    if (fstat(file->fd, &st) < 0) {
        return -errno;
    }
    if (st.st_uid != from || st.st_nlink != 1) {
        return -EPERM;
    }
    /* As in a folder whose files get its group (setgid). */
    if (st.st_uid == to->uid && (to->gid == SOCKET_KEEP_GID || st.st_gid == to->gid)) {
        return 0;
    }
    if (giver) {
        return giver(file->fd, to);
    }
    return fchownat(file->fd, "", to->uid, to->gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* chmod() of an O_PATH descriptor. */
static int set_mode(int fd, mode_t mode)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return chmod(path, mode) < 0 ? -errno : 0;
}

int socket_file_give(const struct socket_file *file, uid_t from, const struct socket_file_owner *to)
{
    int ret = file->fd < 0 ? -ENOENT : give(file, from, to);

    /* Only its owner may, and the giver has done it where that is somebody else now. */
    return ret < 0 || (geteuid() != 0 && to->uid != geteuid()) ? ret : set_mode(file->fd, to->mode);
}

/*
 * The folder is not writable for the owner, hence not under its control either; or we can't act as
 * the owner.
 */
static int bind_and_give(int fd, struct socket_file *file, const struct sockaddr_un *address,
                         const struct socket_file_owner *owner)
{
    struct socket_file_owner self = {geteuid(), SOCKET_KEEP_GID, owner->mode};
    int ret = bind_as(fd, address, &self);

    if (ret == 0) {
        ret = pin(file);
    }
    return ret < 0 ? ret : give(file, self.uid, owner);
}

static void unpin(struct socket_file *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
    file->fd = -1;
}

bool socket_file_is_there(const struct socket_file *file)
{
    struct stat st;

    if (file->far) {
        return file->far->is_there(file);
    }
    return file->fd >= 0 && fstat(file->folder_fd, &st) == 0 && st.st_nlink > 0 &&
           fstatat(file->folder_fd, file->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           st.st_dev == file->device && st.st_ino == file->inode;
}

static int listen_locked(struct socket_file *file, const struct socket_file_owner *owner,
                         char *error, size_t error_bytes)
{
    struct sockaddr_un address;
    int fd, ret;

    address_of(file, &address);
    ret = clear_place(file, &address, error, error_bytes);
    if (ret < 0) {
        return ret;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return fail(error, error_bytes, -errno, "making a socket for", file->name);
    }
    ret = bind_as(fd, &address, owner);
    if (ret == -EACCES || ret == -EPERM) {
        ret = bind_and_give(fd, file, &address, owner);
    } else if (ret == 0) {
        ret = pin(file);
    }
    if (ret == 0 && listen(fd, LISTEN_BACKLOG) < 0) {
        ret = -errno;
    }
    if (ret != 0) {
        close(fd);
        if (socket_file_is_there(file)) {
            unlinkat(file->folder_fd, file->name, 0);
        }
        unpin(file);
        return fail(error, error_bytes, ret, "making socket", file->name);
    }
    return fd;
}

int socket_file_listen(struct socket_file *file, const struct socket_file_owner *owner, char *error,
                       size_t error_bytes)
{
    int lock, fd;

    if (file->far) {
        return file->far->listen(file, error, error_bytes);
    }
    lock = socket_lock_take();
    fd = listen_locked(file, owner, error, error_bytes);

    if (lock >= 0) {
        close(lock);
    }
    return fd;
}

static void close_far(struct socket_file *file, bool remove)
{
    file->far->close(file, remove);
    socket_file_none(file);
}

void socket_file_close(struct socket_file *file)
{
    if (file->far) {
        close_far(file, false);
        return;
    }
    unpin(file);
    if (file->folder_fd >= 0) {
        close(file->folder_fd);
    }
    if (file->parent_fd >= 0) {
        close(file->parent_fd);
    }
    file->folder_fd = -1;
    file->parent_fd = -1;
}

void socket_file_remove(struct socket_file *file)
{
    if (file->far) {
        close_far(file, true);
        return;
    }
    if (file->folder_fd < 0) {
        return;
    }
    if (socket_file_is_there(file)) {
        unlinkat(file->folder_fd, file->name, 0);
    }
    if (file->made_folder) {
        /* Fails, rightly, when something else is in it by now. */
        unlinkat(file->parent_fd, file->folder_name, AT_REMOVEDIR);
    }
    socket_file_close(file);
}

int socket_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int socket_spare_accept(int spare_fd, int listen_fd)
{
    close(spare_fd);
    return accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}
