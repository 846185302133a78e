/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/workers/keeper_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESS_EXITING 0x4u /* PF_EXITING of the kernel, in field 9 of /proc/PID/stat */

static struct rlimit child_files;
static bool have_child_files;

int keeper_find(const char *option, char path[KEEPER_PATH_BYTES])
{
    char self[KEEPER_PATH_BYTES];
    ssize_t n;

    if (option) {
        n = snprintf(path, KEEPER_PATH_BYTES, "%s", option);
        if (n >= (ssize_t)KEEPER_PATH_BYTES) {
            return -ENAMETOOLONG;
        }
        return access(path, X_OK) < 0 ? -errno : 0;
    }
    n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0) {
        return -errno;
    }
    self[n] = '\0';
    n = snprintf(path, KEEPER_PATH_BYTES, "%s/vgpu-keeper", dirname(self));
    if (n >= (ssize_t)KEEPER_PATH_BYTES) {
        return -ENAMETOOLONG;
    }
    return access(path, X_OK) < 0 ? -errno : 0;
}

void keeper_spawn_remember_limits(void)
{
    have_child_files = getrlimit(RLIMIT_NOFILE, &child_files) == 0;
}

/* Between vfork and exec: system calls only, nothing of the parent's is changed. */
static int become(char *const argv[], int fd, int as_fd, pid_t parent)
{
    struct sigaction dfl;
    sigset_t none;
    int null_fd;

    memset(&dfl, 0, sizeof(dfl));
    dfl.sa_handler = SIG_DFL;
    for (int sig = 1; sig < NSIG; sig++) {
        sigaction(sig, &dfl, NULL);
    }
    /* Its own group: Ctrl-C at a terminal is the mediator's business. */
    setpgid(0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent) {
        return errno ? errno : ESRCH;
    }
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0) {
        return errno;
    }
    if (fd == as_fd) {
        if (fcntl(fd, F_SETFD, 0) < 0) {
            return errno;
        }
    } else if (dup2(fd, as_fd) < 0) {
        return errno;
    }
    if (have_child_files) {
        setrlimit(RLIMIT_NOFILE, &child_files);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(argv[0], argv);
    return errno;
}

pid_t keeper_spawn(char *const argv[], int fd, int as_fd)
{
    sigset_t all, old;
    volatile int child_errno = 0;
    pid_t parent = getpid(), pid;

    /* No handler of ours may run in the child while it shares our memory. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    pid = vfork();
    if (pid == 0) {
        child_errno = become(argv, fd, as_fd, parent);
        _exit(127);
    }
    if (pid < 0) {
        child_errno = errno;
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (pid > 0 && child_errno) {
        waitpid(pid, NULL, 0);
    }
    return child_errno ? -child_errno : pid;
}

bool worker_is_ending(pid_t pid)
{
    char path[64], text[1024], *after_name;
    unsigned flags;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return true;
    }
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0) {
        return true;
    }
    text[n] = '\0';
    /* "pid (name) state ppid pgrp session tty tpgid flags ...", and a name may hold anything. */
    after_name = strrchr(text, ')');
    return after_name && sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
           (flags & PROCESS_EXITING) != 0;
}
