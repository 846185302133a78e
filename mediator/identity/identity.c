/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/clock.h"
#include "mediator/identity/identity.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

struct search {
    uv_work_t work;
    struct identity_cache *cache;
    pid_t pid;
    int pidfd; /* -1: the kernel is too old to give one */
    identity_done done;
    void *opaque;
    int ret;
    struct process process;
};

struct kept {
    struct process process;
    uint64_t until_ns; /* 0: nothing is kept here */
};

struct identity_cache {
    uv_loop_t *loop;
    const char *proc_path;
    identity_known known; /* NULL: nobody */
    void *known_opaque;
    struct kept kept[IDENTITY_KEPT];
    uint32_t next;
};

struct identity_cache *identity_cache_new(uv_loop_t *loop, const char *proc_path)
{
    struct identity_cache *cache = calloc(1, sizeof(*cache));

    if (cache) {
        cache->loop = loop;
        cache->proc_path = proc_path;
    }
    return cache;
}

void identity_cache_ask_first(struct identity_cache *cache, identity_known known, void *opaque)
{
    cache->known = known;
    cache->known_opaque = opaque;
}

void identity_cache_free(struct identity_cache *cache)
{
    free(cache);
}

static void keep(struct identity_cache *cache, const struct process *process)
{
    struct kept *kept = &cache->kept[cache->next++ % IDENTITY_KEPT];

    kept->process = *process;
    kept->until_ns = clock_now_ns() + IDENTITY_KEEP_NS;
}

static const struct process *find_kept(const struct identity_cache *cache, pid_t pid)
{
    uint64_t now_ns = clock_now_ns();
    struct process_stamp stamp;

    for (uint32_t i = 0; i < IDENTITY_KEPT; i++) {
        const struct kept *kept = &cache->kept[i];

        if (kept->until_ns > now_ns && kept->process.pid == pid) {
            return process_read_stamp(cache->proc_path, pid, &stamp) == 0 &&
                           memcmp(&stamp, &kept->process.stamp, sizeof(stamp)) == 0
                       ? &kept->process
                       : NULL;
        }
    }
    return NULL;
}

bool identity_from_process(const struct process *process, struct core_identity *identity)
{
    const struct qemu_cmdline *cmdline = &process->cmdline;

    memset(identity, 0, sizeof(*identity));
    for (uint32_t i = 0; i < cmdline->stub_count; i++) {
        if (cmdline->stubs[i].has_vm_id && identity->vm_id_count < CORE_CLAIMED_IDS_MAX) {
            identity->vm_ids[identity->vm_id_count++] = cmdline->stubs[i].vm_id;
        }
    }
    _Static_assert(QEMU_NAME_BYTES <= CORE_NAME_BYTES, "a QEMU's name fits");
    memcpy(identity->name, cmdline->name, QEMU_NAME_BYTES);
    if (cmdline->has_uuid) {
        identity->kind = CORE_IDENTITY_UUID;
        memcpy(identity->uuid, cmdline->uuid, sizeof(identity->uuid));
        return true;
    }
    identity->kind = CORE_IDENTITY_IDS;
    return identity->vm_id_count > 0;
}

/* The process that connected is gone: its number may be another's by now. */
static bool peer_ended(int pidfd)
{
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

    return pidfd >= 0 && poll(&poll_fd, 1, 0) > 0;
}

static void answer(const struct process *process, int pidfd, identity_done done, void *opaque)
{
    struct core_identity identity;

    if (peer_ended(pidfd)) {
        done(opaque, IDENTITY_GONE, NULL);
    } else if (process->foreign) {
        done(opaque, IDENTITY_FOREIGN, NULL);
    } else if (!process->ours) {
        done(opaque, IDENTITY_NOT_QEMU, NULL);
    } else if (!identity_from_process(process, &identity)) {
        done(opaque, IDENTITY_NO_VM, NULL);
    } else {
        done(opaque, IDENTITY_OK, &identity);
    }
}

static void look(uv_work_t *work)
{
    struct search *search = work->data;
    const char *proc_path = search->cache->proc_path;

    search->ret = process_read(proc_path, search->pid, true, &search->process);
    /* It was just being exec'd: what it is now is what counts. */
    for (int tries = 0; search->ret == -EAGAIN && tries < 3; tries++) {
        search->ret = process_read(proc_path, search->pid, true, &search->process);
    }
}

static void after_look(uv_work_t *work, int status)
{
    struct search *search = work->data;

    if (status < 0 || search->ret < 0) {
        search->done(search->opaque, IDENTITY_GONE, NULL);
    } else {
        keep(search->cache, &search->process);
        answer(&search->process, search->pidfd, search->done, search->opaque);
    }
    if (search->pidfd >= 0) {
        close(search->pidfd);
    }
    free(search);
}

void identity_find(struct identity_cache *cache, int fd, pid_t pid, identity_done done,
                   void *opaque)
{
    const struct process *known = cache->known ? cache->known(cache->known_opaque, pid) : NULL;
    socklen_t length = sizeof(int);
    struct search *search;
    int pidfd = -1;

    if (pid <= 0) {
        done(opaque, IDENTITY_GONE, NULL); /* from another pid namespace */
        return;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) < 0) {
        pidfd = -1;
    }
    if (!known) {
        known = find_kept(cache, pid);
    }
    if (known) {
        answer(known, pidfd, done, opaque);
        if (pidfd >= 0) {
            close(pidfd);
        }
        return;
    }
    search = calloc(1, sizeof(*search));
    if (!search) {
        if (pidfd >= 0) {
            close(pidfd);
        }
        done(opaque, IDENTITY_BUSY, NULL);
        return;
    }
    search->work.data = search;
    search->cache = cache;
    search->pid = pid;
    search->pidfd = pidfd;
    search->done = done;
    search->opaque = opaque;
    if (uv_queue_work(cache->loop, &search->work, look, after_look) < 0) {
        after_look(&search->work, -EIO);
    }
}
