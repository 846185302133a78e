/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bridge/watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge/request_file.h"
#include "bridge/session.h"
#include "common/log.h"

/* A file that was renamed to request.txt, closed after writing, or written by an NFS server. */
#define FILE_EVENTS (IN_MOVED_TO | IN_CLOSE_WRITE | IN_MODIFY | IN_ONLYDIR)
#define ROOT_EVENTS (IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR)

struct watched {
    struct session *session;
    int wd; /* -1: only polled */
    dev_t dev;
    ino_t ino;
    bool seen; /* in the scan at work */
};

struct watch {
    const struct session_settings *settings;
    const char *path;
    int root;
    int inotify; /* -1 */
    int root_wd;
    struct watched vms[WATCH_VMS_MAX];
    uint32_t count;
    bool full_said;
};

uint32_t watch_vm_of(const char *name)
{
    uint64_t id = 0;

    if (strncmp(name, "vm", 2) != 0 || name[2] < '1' || name[2] > '9') {
        return 0; /* vm01 would be a second name of vm1 */
    }
    for (name += 2; *name; name++) {
        if (*name < '0' || *name > '9' || id > UINT32_MAX) {
            return 0;
        }
        id = id * 10 + (uint64_t)(*name - '0');
    }
    return id > UINT32_MAX ? 0 : (uint32_t)id;
}

/* inotify knows folders by path only; this one can't be turned elsewhere by a rename. */
static int add_watch(struct watch *watch, int folder, uint32_t events)
{
    char path[64];

    if (watch->inotify < 0) {
        return -1;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d/.", folder);
    return inotify_add_watch(watch->inotify, path, events);
}

/* ---- folders that come and go ---- */

static void let_go(struct watch *watch, uint32_t at)
{
    struct watched *vm = &watch->vms[at];

    log_info("VM %" PRIu32 ": its folder is gone", session_vm_id(vm->session));
    if (vm->wd >= 0) {
        inotify_rm_watch(watch->inotify, vm->wd);
    }
    session_free(vm->session);
    watch->vms[at] = watch->vms[--watch->count];
}

static struct watched *find_vm(struct watch *watch, uint32_t vm_id)
{
    for (uint32_t i = 0; i < watch->count; i++) {
        if (session_vm_id(watch->vms[i].session) == vm_id) {
            return &watch->vms[i];
        }
    }
    return NULL;
}

static void serve_folder(struct watch *watch, uint32_t vm_id, int folder, const struct stat *stat)
{
    struct watched *vm = &watch->vms[watch->count];
    int ret = request_file_set_up(folder, session_ready_text(watch->settings));

    if (ret < 0) {
        log_warning("VM %" PRIu32 ": its files can't be made: %s", vm_id, strerror(-ret));
    }
    *vm = (struct watched){
        .session = session_new(vm_id, folder, watch->settings),
        .wd = add_watch(watch, folder, FILE_EVENTS),
        .dev = stat->st_dev,
        .ino = stat->st_ino,
        .seen = true,
    };
    if (!vm->session) {
        log_error("VM %" PRIu32 ": not served: no memory", vm_id);
        return;
    }
    watch->count++;
    log_info("VM %" PRIu32 ": served from %s/vm%" PRIu32, vm_id, watch->path, vm_id);
}

static void found(struct watch *watch, const char *name, uint32_t vm_id)
{
    struct watched *known = find_vm(watch, vm_id);
    struct stat stat;
    int folder = openat(watch->root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (folder < 0 || fstat(folder, &stat) < 0) {
        if (folder >= 0) {
            close(folder);
        }
        return; /* gone again, or a link: not ours to follow */
    }
    if (known && (known->dev != stat.st_dev || known->ino != stat.st_ino)) {
        let_go(watch, (uint32_t)(known - watch->vms));
        known = NULL;
    }
    if (known) {
        known->seen = true;
        close(folder);
    } else if (watch->count == WATCH_VMS_MAX) {
        if (!watch->full_said) {
            log_error("VM %" PRIu32 ": not served: %u VMs are, and there is no place for more",
                      vm_id, WATCH_VMS_MAX);
            watch->full_said = true;
        }
        close(folder);
    } else {
        serve_folder(watch, vm_id, folder, &stat);
    }
}

static bool read_root(struct watch *watch)
{
    int fd = openat(watch->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (!dir) {
        log_warning("%s can't be read: %s", watch->path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    while ((entry = readdir(dir))) {
        uint32_t vm_id = watch_vm_of(entry->d_name);

        if (vm_id != 0) {
            found(watch, entry->d_name, vm_id);
        }
    }
    closedir(dir);
    return true;
}

void watch_scan(struct watch *watch)
{
    for (uint32_t i = 0; i < watch->count; i++) {
        watch->vms[i].seen = false;
    }
    if (read_root(watch)) {
        for (uint32_t i = watch->count; i-- > 0;) {
            if (!watch->vms[i].seen) {
                let_go(watch, i);
            }
        }
    }
    for (uint32_t i = 0; i < watch->count; i++) {
        if (request_file_waits(session_folder(watch->vms[i].session))) {
            session_look(watch->vms[i].session);
        }
    }
}

/* ---- events ---- */

static void take_event(struct watch *watch, const struct inotify_event *event, bool *scan)
{
    if (event->mask & IN_Q_OVERFLOW || event->wd == watch->root_wd) {
        *scan = true;
        return;
    }
    for (uint32_t i = 0; i < watch->count; i++) {
        if (watch->vms[i].wd == event->wd) {
            /* Our own writes come back as events, too: only a file with something in it counts. */
            if (request_file_waits(session_folder(watch->vms[i].session))) {
                session_look(watch->vms[i].session);
            }
            return;
        }
    }
}

void watch_events(struct watch *watch)
{
    _Alignas(struct inotify_event) char buffer[8192];
    bool scan = false;
    ssize_t n;

    while ((n = read(watch->inotify, buffer, sizeof(buffer))) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const struct inotify_event *)(buffer + at);

            take_event(watch, event, &scan);
            at += (ssize_t)(sizeof(*event) + event->len);
        }
    }
    if (scan) {
        watch_scan(watch);
    }
}

int watch_fd(const struct watch *watch)
{
    return watch->inotify;
}

/* ---- life ---- */

int watch_new(const char *root, const struct session_settings *settings, struct watch **watch)
{
    struct watch *self = calloc(1, sizeof(*self));
    int ret;

    if (!self) {
        return -ENOMEM;
    }
    self->path = root;
    self->settings = settings;
    self->root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (self->root < 0) {
        ret = -errno;
        log_error("%s: %s; make it, with a folder vm<id> for each VM (--set-up does)", root,
                  strerror(errno));
        free(self);
        return ret;
    }
    /* Two would take each other's requests.  A root that can't be locked (some NFS) is served. */
    if (flock(self->root, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
        log_error("%s is served by another vgpu-file-bridge: stop that one, or give --root", root);
        close(self->root);
        free(self);
        return -EBUSY;
    }
    self->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (self->inotify < 0) {
        log_warning("no inotify: %s; the folders are only polled", strerror(errno));
    }
    self->root_wd = add_watch(self, self->root, ROOT_EVENTS);
    *watch = self;
    return 0;
}

void watch_free(struct watch *watch)
{
    if (!watch) {
        return;
    }
    for (uint32_t i = 0; i < watch->count; i++) {
        session_free(watch->vms[i].session);
    }
    if (watch->inotify >= 0) {
        close(watch->inotify);
    }
    close(watch->root);
    free(watch);
}
