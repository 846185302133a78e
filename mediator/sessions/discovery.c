/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Theory of operation.  Every other process's /proc entry is read on a thread
 * of the pool, for a process can make that slow; the result, a list of the
 * QEMUs that are there, is compared on the loop with those known.  The scan
 * (discovery_scan.c) belongs to that thread while it runs, one at a time.
 *
 * A QEMU's command line counts as it was when first seen, before its guest
 * could have had a hand in it (after a restart of this program it may have: on a
 * Xen host XenStore has to confirm it, xen_identity.h).  Its root folder and user may change after
 * the start (-chroot, -runas), so those are looked at in each scan.
 *
 * Where does a QEMU's device look for its socket?  At the path of its chardev,
 * or else at the default, resolved in that process's root.  If the folder of
 * that path is the same one (device, inode) as ours, then the QEMU meets us at
 * our own sockets, and nothing is made.  If not, a socket is made there.  Two
 * QEMUs that share such a folder share the socket, whose connections are then
 * identified by process.
 */
#include "mediator/sessions/discovery.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/ns.h"
#include "mediator/health/health.h"
#include "mediator/sessions/discovery_scan.h"
#include "mediator/identity/identity.h"
#include "mediator/sessions/listeners.h"
#include "mediator/sessions/socket_access.h"
#include "vgpu/vgpu_protocol.h"

/* A scan that takes longer is worth a word. */
#define SCAN_SLOW_NS (10 * NS_PER_S)

struct qemu_socket {
    char path[QEMU_PATH_BYTES];
    struct listener *listener; /* made for this QEMU */
    char *trouble;             /* why it can't reach us there, NULL: nothing is known of it */
};

struct qemu {
    struct process process;
    bool seen;
    dev_t root_device;
    ino_t root_inode;
    struct qemu_socket sockets[QEMU_STUBS_MAX];
    uint32_t socket_count;
};

struct discovery {
    struct discovery_uses uses;
    uv_timer_t timer;
    uv_work_t work;
    bool timer_open;
    bool scanning;
    bool stopped;
    bool slow_told;
    uint64_t scan_began_ns;

    struct discovery_scan scan;

    /* the loop's own */
    struct qemu *qemus; /* DISCOVERY_QEMUS_MAX */
    uint32_t qemu_count;
    struct discovery_left_out left_out;
    bool full_told;
};

/* The QEMU with this pid as it was first seen, if it still is that process; else NULL. */
static const struct process *find_known(void *opaque, pid_t pid)
{
    const struct discovery *discovery = opaque;
    struct process_stamp stamp;

    for (uint32_t i = 0; i < discovery->qemu_count; i++) {
        const struct process *process = &discovery->qemus[i].process;

        if (process->pid == pid) {
            return process_read_stamp(discovery->uses.proc_path, pid, &stamp) == 0 &&
                           stamp.start_ticks == process->stamp.start_ticks
                       ? process
                       : NULL;
        }
    }
    return NULL;
}

struct discovery *discovery_new(const struct discovery_uses *uses)
{
    struct discovery *discovery = calloc(1, sizeof(*discovery));

    if (!discovery) {
        return NULL;
    }
    discovery->uses = *uses;
    discovery->qemus = calloc(DISCOVERY_QEMUS_MAX, sizeof(*discovery->qemus));
    if (discovery_scan_init(&discovery->scan, uses->proc_path, DISCOVERY_QEMUS_MAX) < 0 ||
        !discovery->qemus) {
        discovery_free(discovery);
        return NULL;
    }
    discovery->scan.qemu_users = uses->qemu_users;
    discovery->scan.qemu_user_count = uses->qemu_user_count;
    identity_cache_ask_first(uses->identities, find_known, discovery);
    return discovery;
}

void discovery_free(struct discovery *discovery)
{
    if (!discovery) {
        return;
    }
    assert(!discovery->scanning);
    discovery_scan_destroy(&discovery->scan);
    for (uint32_t i = 0; i < discovery->qemu_count; i++) {
        for (uint32_t j = 0; j < discovery->qemus[i].socket_count; j++) {
            free(discovery->qemus[i].sockets[j].trouble);
        }
    }
    free(discovery->qemus);
    free(discovery);
}

static const char *name_of(const struct process *process)
{
    return process->cmdline.name[0] ? process->cmdline.name : "no name";
}

uint32_t discovery_count(const struct discovery *discovery)
{
    return discovery->qemu_count;
}

struct discovery_left_out discovery_left_out(const struct discovery *discovery)
{
    return discovery->left_out;
}

/* ---- what to do about it, on the loop ---- */

static void remove_sockets(struct qemu *qemu, struct discovery *discovery)
{
    for (uint32_t i = 0; i < qemu->socket_count; i++) {
        struct listener *listener = qemu->sockets[i].listener;
        bool used = false;

        if (!listener) {
            continue;
        }
        /* Another QEMU in the same folder still uses it. */
        for (uint32_t j = 0; j < discovery->qemu_count; j++) {
            struct qemu *other = &discovery->qemus[j];

            for (uint32_t k = 0; other != qemu && k < other->socket_count; k++) {
                used |= other->sockets[k].listener == listener;
            }
        }
        qemu->sockets[i].listener = NULL;
        if (!used) {
            log_info("socket %s removed", listener_path(listener));
            listeners_remove(listener);
        }
    }
}

/* The paths at which this QEMU's devices look for us, each once. */
static void list_sockets(struct qemu *qemu)
{
    const struct qemu_cmdline *cmdline = &qemu->process.cmdline;

    for (uint32_t i = 0; i < cmdline->stub_count; i++) {
        const struct qemu_stub *stub = &cmdline->stubs[i];
        const char *path = stub->path[0] ? stub->path : VGPU_SOCKET_PATH;
        uint32_t j = 0;

        /* A chardev of which only the name is known may lead anywhere. */
        if (stub->chardev[0] && stub->path[0] != '/') {
            continue;
        }
        while (j < qemu->socket_count && strcmp(qemu->sockets[j].path, path) != 0) {
            j++;
        }
        if (j == qemu->socket_count) {
            strcpy(qemu->sockets[qemu->socket_count++].path, path);
        }
    }
}

/* ---- why a QEMU can't reach us ---- */

static void end_trouble(struct qemu_socket *socket)
{
    free(socket->trouble);
    socket->trouble = NULL;
}

static void __attribute__((format(printf, 3, 4)))
tell(const struct qemu *qemu, struct qemu_socket *socket, const char *format, ...)
{
    char text[HEALTH_TEXT_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (socket->trouble && strcmp(socket->trouble, text) == 0) {
        return;
    }
    end_trouble(socket);
    socket->trouble = strdup(text);
    log_warning("QEMU %d (%s): %s", (int)qemu->process.pid, name_of(&qemu->process), text);
}

static void tell_well(const struct qemu *qemu, struct qemu_socket *socket)
{
    if (socket->trouble) {
        log_notice("QEMU %d (%s): %s is open to it now", (int)qemu->process.pid,
                   name_of(&qemu->process), socket->path);
        end_trouble(socket);
    }
}

void discovery_troubles(const struct discovery *discovery, discovery_trouble visit, void *opaque)
{
    for (uint32_t i = 0; i < discovery->qemu_count; i++) {
        const struct qemu *qemu = &discovery->qemus[i];

        for (uint32_t j = 0; j < qemu->socket_count; j++) {
            if (qemu->sockets[j].trouble) {
                visit(opaque, &qemu->process, qemu->sockets[j].trouble);
            }
        }
    }
}

/* ---- making sockets ---- */

/* Made for another QEMU with the same folder: now for both. */
static bool share_socket(struct discovery *discovery, struct qemu_socket *socket,
                         struct listener *listener)
{
    for (uint32_t i = 0; i < discovery->qemu_count; i++) {
        for (uint32_t j = 0; j < discovery->qemus[i].socket_count; j++) {
            if (discovery->qemus[i].sockets[j].listener == listener) {
                listener_make_shared(listener);
                socket->listener = listener;
                return true;
            }
        }
    }
    return false;
}

/* One of our host's sockets: may this QEMU open it? */
static void judge_access(const struct qemu *qemu, struct qemu_socket *socket,
                         struct listener *listener, const struct process *now)
{
    struct core_identity identity;
    char obstacle[SOCKET_ACCESS_TEXT_BYTES];

    if (socket_access_may(listener_path(listener), &now->owner, obstacle, sizeof(obstacle))) {
        tell_well(qemu, socket);
        return;
    }
    if (identity_from_process(&qemu->process, &identity) &&
        listener_give(listener, &identity, &now->owner) &&
        socket_access_may(listener_path(listener), &now->owner, obstacle, sizeof(obstacle))) {
        log_notice("QEMU %d (%s): its socket %s is given to its user, uid %u",
                   (int)qemu->process.pid, name_of(&qemu->process), listener_path(listener),
                   (unsigned)now->owner.uid);
        end_trouble(socket);
        return;
    }
    tell(qemu, socket,
         "uid %u, gid %u, may not open its socket: %s is in the way; start vgpu-mediator with "
         "--socket-group and a group of that user%s",
         (unsigned)now->owner.uid, (unsigned)now->owner.gid, obstacle,
         listener_is_shared(listener) ? "" : ", or name the user with --qemu-user");
}

static int open_folder(const struct qemu *qemu, const struct qemu_socket *socket,
                       const struct host_root *root, struct socket_file *file, bool *is_hosts,
                       char *error, size_t error_bytes)
{
    return host_help_open(file, qemu->process.pid, qemu->process.stamp.start_ticks, root,
                          socket->path, strcmp(socket->path, VGPU_SOCKET_PATH) == 0, is_hosts,
                          error, error_bytes);
}

static void make_socket(struct discovery *discovery, struct qemu *qemu, struct qemu_socket *socket,
                        const struct host_root *root, const struct process *now)
{
    struct listeners *listeners = discovery->uses.listeners;
    struct socket_file_owner owner = {now->owner.uid, now->owner.gid, 0600};
    char error[SOCKET_ERROR_BYTES], shown[256];
    struct core_identity identity;
    struct socket_file file;
    struct listener *listener;
    bool is_hosts;

    if (open_folder(qemu, socket, root, &file, &is_hosts, error, sizeof(error)) < 0) {
        tell(qemu, socket, "no socket can be made at %s in its root: %s", socket->path, error);
        return;
    }
    listener = listeners_find(listeners, &file);
    if (listener) {
        if (!share_socket(discovery, socket, listener)) {
            judge_access(qemu, socket, listener, now);
        }
        socket_file_close(&file);
        return;
    }
    if (is_hosts) {
        tell(qemu, socket,
             "its device looks for %s, where nobody listens: start vgpu-mediator with "
             "--socket-path %s, or --vm UUID=%s",
             socket->path, socket->path, socket->path);
        socket_file_close(&file);
        return;
    }
    if (!identity_from_process(&qemu->process, &identity)) {
        tell(qemu, socket,
             "its command line has neither -uuid nor vm_id=N on its vgpu-stub, so "
             "nobody knows which VM it is: no socket is made for it");
        socket_file_remove(&file);
        return;
    }
    snprintf(shown, sizeof(shown), "/proc/%d/root%s", (int)qemu->process.pid, socket->path);
    if (listeners_add(listeners, &file, &owner, shown, false, &identity, &socket->listener, error,
                      sizeof(error)) < 0) {
        tell(qemu, socket, "no socket can be made at %s: %s", shown, error);
        return;
    }
    tell_well(qemu, socket);
    log_info("QEMU %d (%s): socket made at %s", (int)qemu->process.pid, name_of(&qemu->process),
             shown);
}

/* The socket that was made for it is not in its folder any more. */
static void make_again(const struct qemu *qemu, struct qemu_socket *socket,
                       const struct host_root *root)
{
    char error[SOCKET_ERROR_BYTES];
    struct socket_file file;
    bool is_hosts;

    if (open_folder(qemu, socket, root, &file, &is_hosts, error, sizeof(error)) < 0 ||
        listener_move(socket->listener, &file, error, sizeof(error)) < 0) {
        tell(qemu, socket, "its socket %s was removed and can't be made again: %s",
             listener_path(socket->listener), error);
        return;
    }
    tell_well(qemu, socket);
}

static void look_at_socket(struct discovery *discovery, struct qemu *qemu,
                           struct qemu_socket *socket, const struct host_root *root,
                           const struct process *now)
{
    if (!socket->listener) {
        make_socket(discovery, qemu, socket, root, now);
    } else if (!listener_has_name(socket->listener)) {
        make_again(qemu, socket, root);
    }
}

static struct qemu *find_qemu(struct discovery *discovery, const struct process *process)
{
    for (uint32_t i = 0; i < discovery->qemu_count; i++) {
        struct qemu *qemu = &discovery->qemus[i];

        if (qemu->process.pid == process->pid &&
            qemu->process.stamp.start_ticks == process->stamp.start_ticks) {
            return qemu;
        }
    }
    return NULL;
}

static void take_found(struct discovery *discovery, const struct discovery_found *found)
{
    struct qemu *qemu = find_qemu(discovery, &found->process);
    const struct host_root *root = &found->root;

    if (!qemu) {
        if (!found->fresh || discovery->qemu_count == DISCOVERY_QEMUS_MAX) {
            return;
        }
        qemu = &discovery->qemus[discovery->qemu_count++];
        memset(qemu, 0, sizeof(*qemu));
        qemu->process = found->process;
        list_sockets(qemu);
        log_info("QEMU %d found: %s, %" PRIu32 " vgpu-stub", (int)found->process.pid,
                 name_of(&found->process), found->process.cmdline.stub_count);
    }
    qemu->seen = true;
    if (found->error == -EPERM && qemu->socket_count) {
        tell(
            qemu, &qemu->sockets[0],
            "it runs in a container or a user namespace of its own, where any user may pose as any "
            "VM: no socket is made for it; --vm UUID=PATH makes one");
    }
    if (found->error < 0) {
        return;
    }
    if (root->device != qemu->root_device || root->inode != qemu->root_inode ||
        found->process.owner.uid != qemu->process.owner.uid) {
        /* It went into its chroot, or changed its user: look again at everything. */
        remove_sockets(qemu, discovery);
        qemu->root_device = root->device;
        qemu->root_inode = root->inode;
        qemu->process.owner = found->process.owner;
        for (uint32_t i = 0; i < qemu->socket_count; i++) {
            end_trouble(&qemu->sockets[i]);
        }
    }
    for (uint32_t i = 0; i < qemu->socket_count; i++) {
        look_at_socket(discovery, qemu, &qemu->sockets[i], root, &found->process);
    }
}

static void drop_gone(struct discovery *discovery)
{
    for (uint32_t i = 0; i < discovery->qemu_count;) {
        struct qemu *qemu = &discovery->qemus[i];

        if (qemu->seen) {
            i++;
            continue;
        }
        log_info("QEMU %d (%s) is gone", (int)qemu->process.pid, name_of(&qemu->process));
        remove_sockets(qemu, discovery);
        for (uint32_t j = 0; j < qemu->socket_count; j++) {
            end_trouble(&qemu->sockets[j]);
        }
        *qemu = discovery->qemus[--discovery->qemu_count];
    }
}

/* Where one of those that are known has ended, the next scan takes one of those left out. */
static void tell_left_out(struct discovery *discovery)
{
    const struct discovery_left_out *left_out = &discovery->scan.left_out;

    discovery->left_out = *left_out;
    if (left_out->count == 0) {
        discovery->full_told = false;
    } else if (!discovery->full_told) {
        discovery->full_told = true;
        if (discovery->qemu_count >= DISCOVERY_QEMUS_MAX) {
            log_warning("%u QEMUs with a vgpu-stub are found, and there is no place for more: no "
                        "socket is made for QEMU %d until another one ends (it is served if it can "
                        "reach the shared socket); vgpu-admin show-health counts those left out",
                        DISCOVERY_QEMUS_MAX, (int)left_out->pid);
        } else {
            log_warning("QEMU %d is left out, and no socket is made for it: its user has %u "
                        "already; for a user that runs nothing but VMs there is --qemu-user",
                        (int)left_out->pid, DISCOVERY_OF_USER_MAX);
        }
    }
}

static void take_scan(struct discovery *discovery)
{
    struct discovery_scan *scan = &discovery->scan;

    if (scan->error < 0) {
        log_warning("cannot read %s: %s; running QEMUs are not found", discovery->uses.proc_path,
                    strerror(-scan->error));
        return;
    }
    for (uint32_t i = 0; i < discovery->qemu_count; i++) {
        discovery->qemus[i].seen = false;
    }
    for (uint32_t i = 0; i < scan->found_count; i++) {
        if (!discovery->stopped) {
            take_found(discovery, &scan->found[i]);
        }
        if (scan->found[i].root.fd >= 0) {
            close(scan->found[i].root.fd);
        }
    }
    scan->found_count = 0;
    if (!discovery->stopped) {
        drop_gone(discovery);
        tell_left_out(discovery);
    }
}

static void prepare_scan(struct discovery *discovery)
{
    discovery->scan.known_count = discovery->qemu_count;
    for (uint32_t i = 0; i < discovery->qemu_count; i++) {
        discovery->scan.known[i].pid = discovery->qemus[i].process.pid;
        discovery->scan.known[i].start_ticks = discovery->qemus[i].process.stamp.start_ticks;
        discovery->scan.known[i].uid = discovery->qemus[i].process.owner.uid;
    }
    discovery->scan_began_ns = clock_now_ns();
}

static void scan(uv_work_t *work)
{
    struct discovery *discovery = work->data;

    discovery_scan_run(&discovery->scan);
}

static void after_scan(uv_work_t *work, int status)
{
    struct discovery *discovery = work->data;

    discovery->scanning = false;
    discovery->slow_told = false;
    if (status == 0) {
        take_scan(discovery);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct discovery *discovery = timer->data;

    if (discovery->scanning) {
        if (!discovery->slow_told && clock_now_ns() - discovery->scan_began_ns > SCAN_SLOW_NS) {
            discovery->slow_told = true;
            log_warning("looking through %s takes more than 10 s (a process that hangs?): new "
                        "QEMUs are found only when that has ended",
                        discovery->uses.proc_path);
        }
        return;
    }
    prepare_scan(discovery);
    discovery->scanning =
        uv_queue_work(discovery->uses.loop, &discovery->work, scan, after_scan) == 0;
}

int discovery_start(struct discovery *discovery)
{
    int ret = uv_timer_init(discovery->uses.loop, &discovery->timer);

    if (ret < 0) {
        return ret;
    }
    discovery->timer.data = discovery;
    discovery->work.data = discovery;
    discovery->timer_open = true;
    return uv_timer_start(&discovery->timer, on_timer, 0, DISCOVERY_INTERVAL_MS);
}

void discovery_stop(struct discovery *discovery)
{
    discovery->stopped = true;
    if (discovery->timer_open) {
        discovery->timer_open = false;
        uv_close((uv_handle_t *)&discovery->timer, NULL);
    }
    if (discovery->scanning) {
        uv_cancel((uv_req_t *)&discovery->work);
    }
}
