/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/identity/xen_identity.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "mediator/base/host_help.h"

#define TOLD_MAX 64u

static uint64_t now_ms(void)
{
    return clock_now_ns() / NS_PER_MS;
}

struct told {
    pid_t pid;
    uint64_t start_ticks;
    int error;
    uint64_t at_ms; /* 0: nothing was told */
};

/* From two threads at a time, or more.  Many liars make no more lines than there are places. */
static bool may_tell(const struct process *process, int error)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static struct told all[TOLD_MAX];
    uint64_t now = now_ms();
    struct told *place = NULL;
    bool known = false;

    pthread_mutex_lock(&mutex);
    for (struct told *told = all; told < all + TOLD_MAX; told++) {
        if (told->at_ms && now - told->at_ms < XEN_IDENTITY_TELL_MS) {
            known |= told->pid == process->pid && told->error == error &&
                     told->start_ticks == process->stamp.start_ticks;
        } else {
            place = told;
        }
    }
    if (!known && place) {
        *place = (struct told){process->pid, process->stamp.start_ticks, error, now};
    }
    pthread_mutex_unlock(&mutex);
    return !known && place;
}

/* The kernel says when it started; a process can't look younger than it is. */
static bool is_young(const struct process *process)
{
    uint64_t ticks_per_s = (uint64_t)sysconf(_SC_CLK_TCK);
    uint64_t ticks = clock_read_ns(CLOCK_BOOTTIME) / (NS_PER_S / ticks_per_s);

    return ticks >= process->stamp.start_ticks &&
           ticks - process->stamp.start_ticks < XEN_IDENTITY_LATE_MS * ticks_per_s / 1000;
}

static void tell(const struct process *process, int ret)
{
    const struct qemu_cmdline *cmdline = &process->cmdline;
    bool may_be_late = cmdline->has_xen_domid && (ret == -ENOENT || ret == -EPERM);

    if ((may_be_late && is_young(process)) || !may_tell(process, ret)) {
        return;
    }
    if (!cmdline->has_xen_domid) {
        log_warning("QEMU %d is not served: it has a vgpu-stub and no -xen-domid, so XenStore "
                    "can't say which VM it is. Its command line may have been changed: start its "
                    "VM again; if it is no Xen domain's, give it a socket (--vm UUID=PATH)",
                    (int)process->pid);
    } else if (ret == -EPERM || ret == -ENOENT) {
        log_warning("QEMU %d is not served: it says that it is domain %" PRIu32 "'s, but XenStore "
                    "%s (/local/domain/%" PRIu32 "/image/device-model-pid). Its command line may "
                    "have been changed: start its VM again",
                    (int)process->pid, cmdline->xen_domid,
                    ret == -EPERM ? "names another process as that domain's device model"
                                  : "knows no device model of that domain",
                    cmdline->xen_domid);
    } else {
        log_warning("QEMU %d is not served: XenStore does not say whether it is domain %" PRIu32
                    "'s and which VM that is (%s). It is asked again; if that goes on, see "
                    "whether xenstored runs (xenstore-ls /local/domain/%" PRIu32 ")",
                    (int)process->pid, cmdline->xen_domid, strerror(-ret), cmdline->xen_domid);
    }
}

int xen_identity_apply(struct process *process)
{
    struct qemu_cmdline *cmdline = &process->cmdline;
    int ret;

    if (!process->ours) {
        return 0;
    }
    if (cmdline->has_xen_domid) {
        ret = host_help_read_domain(cmdline->xen_domid, process->pid, cmdline->uuid, cmdline->name,
                                    sizeof(cmdline->name));
    } else {
        ret = host_help_is_xen() ? -EPERM : -ENODEV;
    }
    if (ret == 0) {
        cmdline->has_uuid = true;
    } else if (ret == -ENODEV) {
        ret = 0;
    } else {
        tell(process, ret);
    }
    return ret;
}
