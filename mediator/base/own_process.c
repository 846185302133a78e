/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/base/own_process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/log.h"
#include "common/unused.h"

void own_process_raise_file_limit(uint32_t wanted)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted) {
        return;
    }
    limit.rlim_cur = wanted;
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < wanted) {
        log_warning("at most %ju open files are allowed, %u would be needed for all VMs that are "
                    "possible: raise LimitNOFILE= (or ulimit -n)",
                    (uintmax_t)limit.rlim_max, wanted);
        limit.rlim_cur = limit.rlim_max;
    }
    setrlimit(RLIMIT_NOFILE, &limit);
}

void own_process_fill_standard_fds(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}

/* Libraries of ours end the process so where the host refuses what they can't do without. */
static void on_abort(UNUSED int number)
{
    static const char text[] =
        "vgpu-mediator: error: the process ends itself: a library, or a check of its own, can't go "
        "on (was memory or a descriptor refused?); it may be started again at once\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);

    (void)n;
}

void own_process_explain_abort(void)
{
    signal(SIGABRT, on_abort); /* abort() goes on when it has returned */
}
