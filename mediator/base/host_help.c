/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * A helper is a socket and a lock: a question is sent and its answer awaited under it.  New helpers
 * have a new generation; a socket file that one before made has a name (far_number) that the new
 * ones don't know.  Such a file counts as there, and stays when it should be removed: its helper
 * removes it at its own end.
 */
#include "mediator/base/host_help.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/fd_packet.h"
#include "common/log.h"
#include "common/xenstore.h"
#include "vgpu/vgpu_host.h"

enum { FOR_LOOKS, FOR_SOCKETS };

/* A place's name here: the helper's generation above, its own name for it below. */
#define PLACE_BITS 16u

static struct helper {
    pthread_mutex_t lock;
    int fd; /* -1: none */
    uint32_t generation;
} helpers[HOST_HELPERS] = {
    {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1},
    {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1},
};

/* ---- asking ---- */

static void set_fd(struct helper *helper, int fd)
{
    pthread_mutex_lock(&helper->lock);
    if (helper->fd >= 0) {
        close(helper->fd);
    }
    helper->fd = fd;
    helper->generation += fd >= 0;
    pthread_mutex_unlock(&helper->lock);
}

/* From the first ones on, so that nothing else is believed while there are none. */
static bool used;

static bool are_used(void)
{
    return __atomic_load_n(&used, __ATOMIC_RELAXED);
}

/* -EPIPE: it is of no use any more. */
static int exchange(int socket_fd, vgpu_host_request *request, int give_fd, vgpu_host_reply *reply,
                    int *fd)
{
    struct iovec part = {request, sizeof(*request)};
    unsigned count = 0;
    ssize_t n;
    int ret = fd_packet_send(socket_fd, &part, 1, give_fd >= 0 ? &give_fd : NULL, give_fd >= 0);

    if (ret < 0) {
        return -EPIPE;
    }
    do {
        n = fd_packet_receive(socket_fd, 0, reply, sizeof(*reply), fd, 1, &count);
    } while (n == -EINTR);
    if (count == 0) {
        *fd = -1;
    }
    if (n == (ssize_t)sizeof(*reply) && reply->magic == VGPU_HOST_MAGIC &&
        reply->version == VGPU_HOST_VERSION && reply->type == request->type && reply->error <= 0 &&
        memchr(reply->name, '\0', sizeof(reply->name)) &&
        memchr(reply->text, '\0', sizeof(reply->text))) {
        return 0;
    }
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return n == -EMFILE ? -EMFILE : -EPIPE;
}

/*
 * 0 or the helper's -errno; -ENOTCONN: there is none.  `fd`: what came with the answer, or -1.
 * `generation` 0: any.
 */
static int ask_of(struct helper *helper, uint32_t *generation, vgpu_host_request *request,
                  int give_fd, vgpu_host_reply *reply, int *fd)
{
    int ret = -ENOTCONN;

    request->magic = VGPU_HOST_MAGIC;
    request->version = VGPU_HOST_VERSION;
    *fd = -1;
    pthread_mutex_lock(&helper->lock);
    if (helper->fd >= 0 && (*generation == 0 || *generation == helper->generation)) {
        *generation = helper->generation;
        ret = exchange(helper->fd, request, give_fd, reply, fd);
        if (ret == -EPIPE) {
            log_warning("a helper of vgpu-keeper has ended or does not answer: it is given up; "
                        "QEMUs are found again when vgpu-keeper has been started again");
            close(helper->fd);
            helper->fd = -1;
        }
    }
    pthread_mutex_unlock(&helper->lock);
    return ret < 0 ? ret : reply->error;
}

static int ask(unsigned which, vgpu_host_request *request, vgpu_host_reply *reply)
{
    uint32_t any = 0;
    int fd, ret = ask_of(&helpers[which], &any, request, -1, reply, &fd);

    if (fd >= 0) {
        close(fd);
    }
    return ret;
}

/* ---- processes ---- */

void host_help_look(const char *proc_path, pid_t pid, enum process_program *program, bool *foreign)
{
    vgpu_host_request request = {.type = VGPU_HOST_LOOK, .pid = (uint32_t)pid};
    vgpu_host_reply reply;

    if (!are_used()) {
        *program = process_read_program(proc_path, pid);
        *foreign = process_is_foreign(proc_path, pid);
        return;
    }
    *program = PROCESS_PROGRAM_OTHER; /* nobody is believed while nobody can say */
    *foreign = true;
    if (ask(FOR_LOOKS, &request, &reply) == 0) {
        *foreign = reply.flags & VGPU_HOST_IS_FOREIGN;
        *program = reply.flags & VGPU_HOST_IS_QEMU    ? PROCESS_PROGRAM_QEMU
                   : reply.flags & VGPU_HOST_IS_OTHER ? PROCESS_PROGRAM_OTHER
                                                      : PROCESS_PROGRAM_UNKNOWN;
    }
}

int host_help_root(const char *proc_path, pid_t pid, uint64_t start_ticks, struct host_root *root)
{
    vgpu_host_request request = {
        .type = VGPU_HOST_ROOT, .pid = (uint32_t)pid, .start_ticks = start_ticks};
    vgpu_host_reply reply;
    struct stat st;
    int ret;

    root->fd = -1;
    if (are_used()) {
        ret = ask(FOR_LOOKS, &request, &reply);
        root->device = (dev_t)reply.device;
        root->inode = (ino_t)reply.inode;
        return ret;
    }
    ret = process_open_root(proc_path, pid);
    if (ret < 0) {
        return ret;
    }
    root->fd = ret;
    ret = fstat(root->fd, &st) < 0 ? -errno : 0;
    root->device = st.st_dev;
    root->inode = st.st_ino;
    if (ret < 0) {
        close(root->fd);
        root->fd = -1;
    }
    return ret;
}

int host_help_read_domain(uint32_t domid, pid_t pid, uint8_t uuid[UUID_BYTES], char *name,
                          size_t name_bytes)
{
    vgpu_host_request request = {.type = VGPU_HOST_DOMAIN, .pid = (uint32_t)pid, .number = domid};
    vgpu_host_reply reply;
    int ret;

    if (!are_used()) {
        return xenstore_read_domain(domid, pid, uuid, name, name_bytes);
    }
    ret = ask(FOR_LOOKS, &request, &reply);
    if (ret == 0) {
        memcpy(uuid, reply.uuid, UUID_BYTES);
        snprintf(name, name_bytes, "%s", strlen(reply.name) < name_bytes ? reply.name : "");
    }
    return ret;
}

bool host_help_is_xen(void)
{
    vgpu_host_request request = {.type = VGPU_HOST_XEN};
    vgpu_host_reply reply;

    if (!are_used()) {
        return xenstore_is_there();
    }
    /* Who can't be asked may be there: then nobody is believed. */
    return ask(FOR_LOOKS, &request, &reply) < 0 || (reply.flags & VGPU_HOST_IS_THERE);
}

/* ---- sockets ---- */

static int ask_about(const struct socket_file *file, vgpu_host_request *request,
                     vgpu_host_reply *reply, int *fd)
{
    uint32_t generation = file->far_number >> PLACE_BITS;

    request->number = file->far_number & ((1u << PLACE_BITS) - 1);
    return ask_of(&helpers[FOR_SOCKETS], &generation, request, -1, reply, fd);
}

static int far_listen(struct socket_file *file, char *error, size_t error_bytes)
{
    vgpu_host_request request = {.type = VGPU_HOST_LISTEN};
    vgpu_host_reply reply = {.text = ""};
    int fd, ret = ask_about(file, &request, &reply, &fd);

    if (ret == 0 && fd < 0) {
        ret = -EPROTO;
    }
    if (ret < 0) {
        snprintf(error, error_bytes, "%s", reply.text[0] ? reply.text : strerror(-ret));
        if (fd >= 0) {
            close(fd);
        }
        return ret;
    }
    return fd;
}

static bool far_is_there(const struct socket_file *file)
{
    vgpu_host_request request = {.type = VGPU_HOST_CHECK};
    vgpu_host_reply reply;
    int fd, ret = ask_about(file, &request, &reply, &fd);

    return ret < 0 || (reply.flags & VGPU_HOST_IS_THERE);
}

static void far_close(struct socket_file *file, bool remove)
{
    vgpu_host_request request = {.type = VGPU_HOST_CLOSE,
                                 .flags = remove ? VGPU_HOST_REMOVE_FILE : 0};
    vgpu_host_reply reply;
    int fd;

    ask_about(file, &request, &reply, &fd);
}

static const struct socket_file_far far = {far_listen, far_is_there, far_close};

static int open_far(struct socket_file *file, pid_t pid, uint64_t start_ticks, const char *path,
                    bool *is_hosts, char *error, size_t error_bytes)
{
    vgpu_host_request request = {
        .type = VGPU_HOST_OPEN, .pid = (uint32_t)pid, .start_ticks = start_ticks};
    vgpu_host_reply reply = {.text = ""};
    const char *name = strrchr(path, '/');
    uint32_t generation = 0;
    int fd, ret = -EINVAL;

    socket_file_none(file);
    if (name && name[1] && strlen(name + 1) < sizeof(file->name) &&
        strlen(path) < sizeof(request.path)) {
        strcpy(request.path, path);
        ret = ask_of(&helpers[FOR_SOCKETS], &generation, &request, -1, &reply, &fd);
        if (fd >= 0) {
            close(fd);
        }
    }
    if (ret < 0) {
        snprintf(error, error_bytes, "%s", reply.text[0] ? reply.text : strerror(-ret));
        return ret;
    }
    strcpy(file->name, name + 1);
    file->far = &far;
    file->far_number = generation << PLACE_BITS | reply.place;
    file->folder_device = (dev_t)reply.device;
    file->folder_inode = (ino_t)reply.inode;
    *is_hosts = reply.flags & VGPU_HOST_IS_HOSTS;
    return 0;
}

/* Does that path lead us to the same folder as whom that root belongs to? */
static bool leads_us_there(const struct socket_file *file, const char *path)
{
    char error[SOCKET_ERROR_BYTES];
    struct socket_file here;
    bool same;

    if (socket_file_open(&here, path, false, error, sizeof(error)) < 0) {
        return false;
    }
    same = socket_file_same_folder(file, &here);
    socket_file_close(&here);
    return same;
}

int host_help_open(struct socket_file *file, pid_t pid, uint64_t start_ticks,
                   const struct host_root *root, const char *path, bool make_last, bool *is_hosts,
                   char *error, size_t error_bytes)
{
    int ret;

    if (root->fd < 0) {
        return open_far(file, pid, start_ticks, path, is_hosts, error, error_bytes);
    }
    ret = socket_file_open_below(file, root->fd, path, make_last, error, error_bytes);
    *is_hosts = ret == 0 && leads_us_there(file, path);
    return ret;
}

static int give(int fd, const struct socket_file_owner *to)
{
    vgpu_host_request request = {
        .type = VGPU_HOST_GIVE,
        .uid = to->uid == geteuid() ? VGPU_HOST_KEEP_ID : to->uid,
        .gid = to->gid == SOCKET_KEEP_GID ? VGPU_HOST_KEEP_ID : to->gid,
        .mode = to->mode,
    };
    vgpu_host_reply reply;
    uint32_t any = 0;
    int handed, ret = ask_of(&helpers[FOR_SOCKETS], &any, &request, fd, &reply, &handed);

    if (handed >= 0) {
        close(handed);
    }
    return ret == -ENOTCONN ? -EPERM : ret;
}

/* ---- coming and going ---- */

bool host_help_is_wanted(void)
{
    return geteuid() != 0;
}

int host_help_new(int theirs[HOST_HELPERS])
{
    const struct timeval deadline = {.tv_sec = HOST_HELP_DEADLINE_S};
    int pairs[HOST_HELPERS][2];

    for (unsigned i = 0; i < HOST_HELPERS; i++) {
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pairs[i]) < 0) {
            int ret = -errno;

            while (i-- > 0) {
                close(pairs[i][0]);
                close(pairs[i][1]);
            }
            return ret;
        }
        setsockopt(pairs[i][0], SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline));
    }
    for (unsigned i = 0; i < HOST_HELPERS; i++) {
        set_fd(&helpers[i], pairs[i][0]);
        theirs[i] = pairs[i][1];
    }
    __atomic_store_n(&used, true, __ATOMIC_RELAXED);
    socket_file_set_giver(give);
    return 0;
}

void host_help_stop(void)
{
    for (unsigned i = 0; i < HOST_HELPERS; i++) {
        set_fd(&helpers[i], -1);
    }
}
