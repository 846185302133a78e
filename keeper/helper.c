/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * One request after the other, until the mediator's end is closed.  Who asks may have been taken
 * over: so nothing is believed but that a process is meant.  A socket is made only for a QEMU of
 * our user namespace, in its own root, for its own user, and not where the same path leads the host
 * itself: there the mediator makes its sockets, with its own rights.
 */
#include "keeper/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd_packet.h"
#include "common/log.h"
#include "common/process_entry.h"
#include "common/socket_file.h"
#include "common/unused.h"
#include "common/xenstore.h"
#include "keeper/child.h"
#include "vgpu/vgpu_host.h"

#define PID_MAX 0x7fffffffu

struct place {
    bool used;
    bool hosts; /* nothing is made there */
    pid_t pid;
    uint64_t start_ticks;
    struct socket_file file;
};

struct helper {
    int fd;
    uid_t uid;
    const char *proc_path;
    struct place places[VGPU_HOST_PLACES_MAX];
};

/* A request that is being served. */
struct call {
    const vgpu_host_request *request;
    int given; /* the descriptor that came with it, or -1 */
    vgpu_host_reply *reply;
    int handed; /* the one that goes with the reply, or -1 */
};

/* ---- processes ---- */

/* Is it still the process that is meant?  -ESRCH: no. */
static int check_stamp(const struct helper *helper, pid_t pid, uint64_t start_ticks)
{
    struct process_stamp stamp;
    int ret = process_read_stamp(helper->proc_path, pid, &stamp);

    if (ret < 0) {
        return ret;
    }
    return stamp.start_ticks == start_ticks ? 0 : -ESRCH;
}

static int look(const struct helper *helper, struct call *call)
{
    pid_t pid = (pid_t)call->request->pid;

    switch (process_read_program(helper->proc_path, pid)) {
    case PROCESS_PROGRAM_QEMU: call->reply->flags |= VGPU_HOST_IS_QEMU; break;
    case PROCESS_PROGRAM_OTHER: call->reply->flags |= VGPU_HOST_IS_OTHER; break;
    default: break;
    }
    call->reply->flags |= process_is_foreign(helper->proc_path, pid) ? VGPU_HOST_IS_FOREIGN : 0;
    return 0;
}

/* Its root, if it is the one that is meant and a QEMU; or -errno. */
static int open_root(const struct helper *helper, const vgpu_host_request *request)
{
    pid_t pid = (pid_t)request->pid;
    int fd = process_open_root(helper->proc_path, pid);
    int ret = fd < 0 ? fd : check_stamp(helper, pid, request->start_ticks);

    /* What can't be known is no QEMU: we may look at all processes. */
    if (ret == 0 && process_read_program(helper->proc_path, pid) != PROCESS_PROGRAM_QEMU) {
        ret = -EACCES;
    }
    if (ret < 0 && fd >= 0) {
        close(fd);
    }
    return ret < 0 ? ret : fd;
}

static int find_root(const struct helper *helper, struct call *call)
{
    int fd = open_root(helper, call->request);
    struct stat st;

    if (fd < 0) {
        return fd;
    }
    if (fstat(fd, &st) < 0) {
        close(fd);
        return -errno;
    }
    close(fd);
    call->reply->device = st.st_dev;
    call->reply->inode = st.st_ino;
    return 0;
}

static int read_domain(struct call *call)
{
    return xenstore_read_domain(call->request->number, (pid_t)call->request->pid, call->reply->uuid,
                                call->reply->name, sizeof(call->reply->name));
}

/* ---- places ---- */

static struct place *find_place(struct helper *helper, uint32_t number)
{
    struct place *place =
        number >= 1 && number <= VGPU_HOST_PLACES_MAX ? &helper->places[number - 1] : NULL;

    return place && place->used ? place : NULL;
}

static struct place *free_place(struct helper *helper)
{
    for (uint32_t i = 0; i < VGPU_HOST_PLACES_MAX; i++) {
        if (!helper->places[i].used) {
            return &helper->places[i];
        }
    }
    return NULL;
}

/* Does the path lead the host to the same folder? */
static bool is_hosts(const struct socket_file *file, const char *path)
{
    char error[SOCKET_ERROR_BYTES];
    struct socket_file here;
    bool same;

    if (socket_file_open(&here, path, false, error, sizeof(error)) < 0) {
        return false;
    }
    same = socket_file_same_folder(&here, file);
    socket_file_close(&here);
    return same;
}

static int open_place(struct helper *helper, struct call *call)
{
    const vgpu_host_request *request = call->request;
    struct place *place = free_place(helper);
    int root_fd, ret;

    if (!place) {
        snprintf(call->reply->text, VGPU_HOST_TEXT_BYTES, "there are %u sockets already",
                 VGPU_HOST_PLACES_MAX);
        return -ENOSPC;
    }
    root_fd = open_root(helper, request);
    if (root_fd < 0) {
        snprintf(call->reply->text, VGPU_HOST_TEXT_BYTES, "its root: %s", strerror(-root_fd));
        return root_fd;
    }
    ret = socket_file_open_below(&place->file, root_fd, request->path,
                                 strcmp(request->path, VGPU_SOCKET_PATH) == 0, call->reply->text,
                                 VGPU_HOST_TEXT_BYTES);
    close(root_fd);
    if (ret < 0) {
        return ret;
    }
    place->used = true;
    place->pid = (pid_t)request->pid;
    place->start_ticks = request->start_ticks;
    place->hosts = is_hosts(&place->file, request->path);
    call->reply->place = (uint32_t)(place - helper->places) + 1;
    call->reply->flags = place->hosts ? VGPU_HOST_IS_HOSTS : 0;
    call->reply->device = place->file.folder_device;
    call->reply->inode = place->file.folder_inode;
    return 0;
}

static int listen_there(const struct helper *helper, struct place *place, struct call *call)
{
    struct socket_file_owner to = {0};
    struct process_owner owner;
    int ret = place->hosts || place->file.fd >= 0 ? -EPERM : 0;

    if (ret == 0) {
        ret = process_read_owner(helper->proc_path, place->pid, &owner);
    }
    if (ret == 0) {
        ret = check_stamp(helper, place->pid, place->start_ticks);
    }
    if (ret < 0) {
        snprintf(call->reply->text, VGPU_HOST_TEXT_BYTES, "its process: %s", strerror(-ret));
        return ret;
    }
    to = (struct socket_file_owner){owner.uid, owner.gid, 0600};
    ret = socket_file_listen(&place->file, &to, call->reply->text, VGPU_HOST_TEXT_BYTES);
    call->handed = ret;
    return ret < 0 ? ret : 0;
}

/* Another socket in a folder that was made for this one: now it is made for that. */
static void leave_folder(struct helper *helper, struct place *place)
{
    for (uint32_t i = 0; i < VGPU_HOST_PLACES_MAX; i++) {
        struct place *other = &helper->places[i];

        if (place->file.made_folder && other->used && other != place && !other->file.made_folder &&
            socket_file_same_folder(&other->file, &place->file)) {
            other->file.made_folder = true;
            other->file.parent_fd = place->file.parent_fd;
            memcpy(other->file.folder_name, place->file.folder_name, SOCKET_NAME_BYTES);
            place->file.made_folder = false;
            place->file.parent_fd = -1;
        }
    }
}

static int close_place(struct helper *helper, struct place *place, bool remove)
{
    leave_folder(helper, place);
    if (remove) {
        socket_file_remove(&place->file);
    } else {
        socket_file_close(&place->file);
    }
    place->used = false;
    return 0;
}

/* ---- files of the mediator's own ---- */

/* Root's sockets are root's own: who finds one may rely on that. */
static int give(const struct helper *helper, const struct call *call)
{
    const vgpu_host_request *request = call->request;
    uid_t uid = request->uid == VGPU_HOST_KEEP_ID ? helper->uid : request->uid;
    char path[64];
    struct stat st;

    if (call->given < 0 || uid == 0 || (request->mode & ~0666u)) {
        return -EPERM;
    }
    if (fstat(call->given, &st) < 0) {
        return -errno;
    }
    if (!S_ISSOCK(st.st_mode) || st.st_uid != helper->uid || st.st_nlink != 1) {
        return -EPERM;
    }
    if (fchownat(call->given, "", uid, request->gid == VGPU_HOST_KEEP_ID ? st.st_gid : request->gid,
                 AT_EMPTY_PATH) < 0) {
        return -errno;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", call->given);
    return chmod(path, request->mode) < 0 ? -errno : 0;
}

/* ---- serving ---- */

static int serve_place(struct helper *helper, struct call *call)
{
    const vgpu_host_request *request = call->request;
    struct place *place = find_place(helper, request->number);

    if (!place) {
        return -EBADF;
    }
    if (request->type == VGPU_HOST_LISTEN) {
        return listen_there(helper, place, call);
    }
    if (request->type == VGPU_HOST_CHECK) {
        call->reply->flags = socket_file_is_there(&place->file) ? VGPU_HOST_IS_THERE : 0;
        return 0;
    }
    return close_place(helper, place, request->flags & VGPU_HOST_REMOVE_FILE);
}

static int serve(struct helper *helper, struct call *call)
{
    switch (call->request->type) {
    case VGPU_HOST_LOOK: return look(helper, call);
    case VGPU_HOST_ROOT: return find_root(helper, call);
    case VGPU_HOST_DOMAIN: return read_domain(call);
    case VGPU_HOST_XEN: call->reply->flags = xenstore_is_there() ? VGPU_HOST_IS_THERE : 0; return 0;
    case VGPU_HOST_OPEN: return open_place(helper, call);
    case VGPU_HOST_GIVE: return give(helper, call);
    default: return serve_place(helper, call);
    }
}

static bool is_sound(const vgpu_host_request *request, size_t bytes)
{
    return bytes == sizeof(*request) && request->magic == VGPU_HOST_MAGIC &&
           request->version == VGPU_HOST_VERSION && request->type >= VGPU_HOST_LOOK &&
           request->type <= VGPU_HOST_GIVE && request->pid <= PID_MAX && request->pad == 0 &&
           !(request->flags & ~VGPU_HOST_REQUEST_FLAGS) &&
           memchr(request->path, '\0', sizeof(request->path));
}

/* False: the mediator is gone, or says what no mediator says. */
static bool serve_one(struct helper *helper)
{
    vgpu_host_request request = {0};
    vgpu_host_reply reply = {.magic = VGPU_HOST_MAGIC, .version = VGPU_HOST_VERSION};
    struct call call = {&request, -1, &reply, -1};
    struct iovec part = {&reply, sizeof(reply)};
    unsigned given = 0;
    ssize_t n = fd_packet_receive(helper->fd, 0, &request, sizeof(request), &call.given, 1, &given);
    int ret = 0;

    if (n == -EINTR) {
        return true;
    }
    call.given = given ? call.given : -1;
    if (n > 0 && is_sound(&request, (size_t)n)) {
        reply.type = request.type;
        reply.error = serve(helper, &call);
        ret = fd_packet_send(helper->fd, &part, 1, call.handed >= 0 ? &call.handed : NULL,
                             call.handed >= 0 ? 1 : 0);
    } else {
        ret = -EPROTO;
    }
    if (call.given >= 0) {
        close(call.given);
    }
    if (call.handed >= 0) {
        close(call.handed);
    }
    return ret == 0;
}

/* ---- starting ---- */

static volatile sig_atomic_t told_to_end;

static void note_term(UNUSED int number)
{
    told_to_end = 1;
}

/* False: the keeper's mediator is gone, whoever may have this one's socket now. */
static bool await_request(const struct helper *helper, const sigset_t *all)
{
    struct pollfd look = {.fd = helper->fd, .events = POLLIN};

    while (!told_to_end && ppoll(&look, 1, NULL, all) < 0 && errno == EINTR) {
    }
    return !told_to_end;
}

/* Each time anew: who has acted as another user, to make a socket, has lost it. */
static bool ends_with(pid_t parent)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

static void run(struct helper *helper, pid_t parent)
{
    struct sigaction on_term;
    sigset_t none, term;

    memset(&on_term, 0, sizeof(on_term));
    on_term.sa_handler = note_term;
    sigaction(SIGTERM, &on_term, NULL);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&none);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM); /* comes while a request is awaited, and at no other time */
    sigprocmask(SIG_SETMASK, &term, NULL);
    setsid(); /* Ctrl-C is the mediator's business */
    child_close_others(helper->fd);
    while (ends_with(parent) && await_request(helper, &none) && serve_one(helper)) {
    }
    for (uint32_t i = 0; i < VGPU_HOST_PLACES_MAX; i++) {
        if (helper->places[i].used) {
            close_place(helper, &helper->places[i], true);
        }
    }
}

pid_t helper_start(int fd, uid_t uid, const char *proc_path)
{
    pid_t parent = getpid(), pid = fork();
    struct helper *helper;

    if (pid != 0) {
        return pid < 0 ? -errno : pid;
    }
    helper = calloc(1, sizeof(*helper));
    if (helper) {
        helper->fd = fd;
        helper->uid = uid;
        helper->proc_path = proc_path;
        run(helper, parent);
    }
    _exit(helper ? EXIT_SUCCESS : EXIT_FAILURE);
}
