/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keeper/sweep.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* How often one tries before it is said that something is left. */
#define TRIES_MAX 3u
/* A try takes a millisecond. */
#define TRY_MAX_S 1u

/* As fork(), but nobody is told of its end. */
static pid_t fork_quietly(void)
{
    return (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
}

int sweep_await(pid_t pid)
{
    int status = SIGKILL; /* as of one that was killed, if nothing can be known */

    for (;;) {
        if (waitpid(pid, &status, __WALL | WUNTRACED) < 0) {
            if (errno != EINTR) {
                return status;
            }
        } else if (WIFSTOPPED(status)) {
            kill(pid, SIGKILL);
        } else {
            return status;
        }
    }
}

/* An errno, 0: there is room for one more process. */
static int try_fork(void)
{
    pid_t pid = fork_quietly();
    int status;

    if (pid == 0) {
        _exit(0);
    }
    if (pid < 0) {
        return errno;
    }
    status = sweep_await(pid);
    return WIFEXITED(status) ? 0 : EBUSY;
}

/*
 * kill() does not say if there was anybody.  But a process that may have two processes can have
 * one more only if there is none besides it.  When it can't, it may be the host that has no room.
 */
static int find_others(void)
{
    struct rlimit usual, two;
    int error;

    if (getrlimit(RLIMIT_NPROC, &usual) < 0) {
        return errno;
    }
    two = (struct rlimit){2, usual.rlim_max};
    if (setrlimit(RLIMIT_NPROC, &two) < 0) {
        return errno;
    }
    error = try_fork();
    if (error == EAGAIN) {
        usual.rlim_cur = usual.rlim_max;
        error = setrlimit(RLIMIT_NPROC, &usual) < 0 ? errno : try_fork();
        return error ? error : EBUSY;
    }
    return error;
}

/*
 * In a process of its own, which has the uid: so nobody else can be hit.  The others may stop it
 * and let it go on for as long as they live; but not beyond the alarm.
 */
static int kill_all_of(uid_t uid)
{
    signal(SIGALRM, SIG_DFL);
    alarm(TRY_MAX_S);
    if (setresuid(uid, uid, uid) < 0) {
        return errno;
    }
    if (uid == 0 || getuid() != uid) {
        return EPERM;
    }
    kill(-1, SIGKILL);
    return find_others();
}

/* One that kills or stops our process first has lost at the next try. */
int sweep(uid_t uid)
{
    if (geteuid() != 0) {
        return 0;
    }
    for (unsigned i = 0; i < TRIES_MAX; i++) {
        pid_t pid = fork_quietly();
        int status, error;

        if (pid == 0) {
            _exit(kill_all_of(uid));
        }
        if (pid < 0) {
            return -errno;
        }
        status = sweep_await(pid);
        error = WIFEXITED(status) ? WEXITSTATUS(status) : EBUSY;
        if (error != EBUSY) {
            return -error;
        }
    }
    return -EBUSY;
}
