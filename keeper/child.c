/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keeper/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/parse.h"
#include "common/usual_signals.h"

extern char **environ;

vgpu_keeper_end *child_failures_new(unsigned count)
{
    void *memory = mmap(NULL, count * sizeof(vgpu_keeper_end), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

static int place_descriptors(const struct child *child)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0) {
        return -errno;
    }
    if (child->log_fd >= 0 &&
        (dup2(null_fd, STDOUT_FILENO) < 0 || dup2(child->log_fd, STDERR_FILENO) < 0)) {
        return -errno;
    }
    if (child->fd == child->as_fd ? fcntl(child->fd, F_SETFD, 0) < 0
                                  : dup2(child->fd, child->as_fd) < 0) {
        return -errno;
    }
    /* Last: `fd` may have had this number. */
    return child->kernels_fd >= 0 && dup2(child->kernels_fd, VGPU_WORKER_KERNELS_FD) < 0 ? -errno
                                                                                         : 0;
}

/*
 * Its lines go to us as to the journal: with their level and without a time.  So it logs as it
 * does under systemd, when the stream that this names is its stderr.
 */
static int name_log_stream(void)
{
    char stream[64];
    struct stat st;

    if (fstat(STDERR_FILENO, &st) < 0) {
        return -errno;
    }
    snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return setenv("JOURNAL_STREAM", stream, 1) < 0 ? -errno : 0;
}

/* Not above what we have, which takes a right (CAP_SYS_RESOURCE) that we may not have. */
static int lower_limit(int resource, rlim_t most)
{
    struct rlimit limit;

    if (getrlimit(resource, &limit) < 0) {
        return -errno;
    }
    limit.rlim_max = limit.rlim_max < most ? limit.rlim_max : most;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(resource, &limit) < 0 ? -errno : 0;
}

/*
 * No limit of address space or of file sizes: the driver reserves far more than it uses, and
 * channels are large files in memory.
 */
static int set_limits(const struct child *child)
{
    bool own_uid = child->confine && (child->confine->parts & VGPU_KEEPER_OWN_UID);
    int ret = lower_limit(RLIMIT_NOFILE, CHILD_FILES_MAX);

    if (ret == 0) {
        ret = lower_limit(RLIMIT_CORE, 0);
    }
    if (ret == 0 && own_uid) {
        ret = lower_limit(RLIMIT_NPROC, CHILD_TASKS_MAX);
    }
    if (ret == 0 && own_uid && !child->pins) {
        ret = lower_limit(RLIMIT_MEMLOCK, CHILD_LOCKED_BYTES);
    }
    return ret;
}

/* A cache of compiled kernels that only this VM's workers can write, or none at all. */
static int set_cache(const struct confine *confine)
{
    if (confine->cache) {
        return setenv("CUDA_CACHE_PATH", confine->cache, 1) < 0 ? -errno : 0;
    }
    return setenv("CUDA_CACHE_DISABLE", "1", 1) < 0 ? -errno : 0;
}

/* By its name, as people expect in /proc; by the descriptor where a folder is closed to it. */
static int execute(const struct child *child)
{
    execv(child->program, child->argv);
    if (errno == EACCES && child->program_fd >= 0) {
        fexecve(child->program_fd, child->argv, environ);
        errno = errno == ENOENT ? EACCES : errno; /* a script, which its interpreter can't open */
    }
    return -errno;
}

static int become(const struct child *child, pid_t parent, enum vgpu_keeper_step *step)
{
    int ret;

    usual_signals();
    *step = VGPU_KEEPER_STEP_PROCESS;
    /* Its own session: Ctrl-C at a terminal is the mediator's business, and it has none itself. */
    setsid();
    ret = chdir("/") < 0 ? -errno : place_descriptors(child);
    if (ret == 0 && child->log_fd >= 0) {
        ret = name_log_stream();
    }
    if (ret == 0 && child->confine && (child->confine->parts & VGPU_KEEPER_OWN_UID)) {
        ret = set_cache(child->confine);
    }
    if (ret == 0) {
        ret = set_limits(child);
    }
    if (ret == 0 && child->confine) {
        ret = confine_enter(child->confine, step);
    }
    /* After the change of uid, which would forget it. */
    if (ret == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)) {
        ret = -ESRCH;
    }
    if (ret == 0) {
        *step = VGPU_KEEPER_STEP_PROGRAM;
        ret = execute(child);
    }
    return ret;
}

pid_t child_start(const struct child *child)
{
    pid_t parent = getpid(), pid;

    *child->failure = (vgpu_keeper_end){0};
    pid = fork();
    if (pid == 0) {
        enum vgpu_keeper_step step = VGPU_KEEPER_STEP_PROCESS;
        int ret = become(child, parent, &step);

        child->failure->error = -ret;
        child->failure->step = (uint32_t)step;
        _exit(127);
    }
    return pid < 0 ? -errno : pid;
}

void child_close_others(int keep)
{
    DIR *listing = opendir("/proc/self/fd");
    struct dirent *entry;
    uint32_t fd;

    while (listing && (entry = readdir(listing)) != NULL) {
        if (parse_u32(entry->d_name, STDERR_FILENO + 1, INT32_MAX, &fd) && (int)fd != keep &&
            (int)fd != dirfd(listing)) {
            close((int)fd);
        }
    }
    if (listing) {
        closedir(listing);
    }
}
