/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-worker: executes one VM's jobs on one GPU, in a process of its own.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/sandbox.h"
#include "worker/executor.h"
#include "worker/options.h"
#include "worker/probe.h"
#include "worker/seccomp_worker_cpu.h"
#include "worker/seccomp_worker_cuda.h"

/* A person's shell has no packet socket as descriptor 3, the mediator's child does. */
static bool started_by_mediator(void)
{
    int type = 0, domain = 0;
    socklen_t length = sizeof(type);

    if (getsockopt(VGPU_WORKER_FD, SOL_SOCKET, SO_TYPE, &type, &length) < 0) {
        return false;
    }
    length = sizeof(domain);
    return getsockopt(VGPU_WORKER_FD, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 &&
           type == SOCK_SEQPACKET && domain == AF_UNIX;
}

/* By hand, because close_range() needs Linux 5.9 and a Dom0 may run 4.19. */
static void close_others(int keep)
{
    DIR *listing = opendir("/proc/self/fd");
    struct dirent *entry;

    while (listing && (entry = readdir(listing)) != NULL) {
        int fd = atoi(entry->d_name);

        if (fd > VGPU_WORKER_FD && fd != keep && fd != dirfd(listing)) {
            close(fd);
        }
    }
    if (listing) {
        closedir(listing);
    }
}

/*
 * A worker must not outlive its mediator, gain rights, or leave guests' data in
 * core files.  If the mediator died before PDEATHSIG was set, the socket's end
 * says so before any job does.
 */
static int isolate_process(void)
{
    const struct rlimit no_core = {0, 0};

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        setrlimit(RLIMIT_CORE, &no_core) < 0) {
        return -errno;
    }
    /* Sleeps of 20 us between looks at the GPU would otherwise take 70. */
    prctl(PR_SET_TIMERSLACK, 1000);
    signal(SIGPIPE, SIG_IGN);
    /* From the terminal: the mediator gets them too and decides. */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    return 0;
}

/* All threads that the driver has made are under it, too. */
static bool enter_sandbox(const struct worker_options *options)
{
    int ret = options->has_driver ? SANDBOX_ENTER(sandbox_worker_cuda, options->seccomp)
                                  : SANDBOX_ENTER(sandbox_worker_cpu, options->seccomp);

    if (ret < 0) {
        log_error("the list of system calls can't be set up: %s; vgpu-keeper --seccomp none does "
                  "without",
                  strerror(-ret));
    }
    return ret == 0;
}

static enum vgpu_worker_exit serve(const struct worker_options *options)
{
    struct executor_config config = {
        .fd = VGPU_WORKER_FD,
        .depth = options->backend.depth,
        .test_ops = options->test_ops,
        .vm_id = options->vm_id,
        .ops = options->ops,
        .has_driver = options->has_driver,
    };
    enum vgpu_worker_exit status;
    bool in_flight = false;

    if (config.ops->open(&options->backend, &config.backend) < 0) {
        return VGPU_WORKER_EXIT_BACKEND;
    }
    if (!enter_sandbox(options)) {
        return VGPU_WORKER_EXIT_BACKEND;
    }
    status = executor_run(&config, &in_flight);
    if (in_flight || status == VGPU_WORKER_EXIT_GPU_FAULT) {
        /* The driver's own clean-up could wait for a kernel that never ends. */
        _exit(status);
    }
    config.ops->close(config.backend);
    return status;
}

int main(int argc, char **argv)
{
    char program[32] = "vgpu-worker";
    struct worker_options options;
    int status = options_parse(argc, argv, &options);

    if (status >= 0) {
        return status;
    }
    if (options.has_vm_id) {
        snprintf(program, sizeof(program), "vgpu-worker vm %u", options.vm_id);
    }
    if (options.compile) {
        log_init(program, options.log_level, false);
        return options.ops->compile(options.backend.gpu, STDOUT_FILENO) < 0
                   ? VGPU_WORKER_EXIT_BACKEND
                   : VGPU_WORKER_EXIT_OK;
    }
    if (!options.probe && !started_by_mediator()) {
        fputs("vgpu-worker: file descriptor 3 is not the mediator's socket.\n"
              "This program is started by vgpu-mediator, one for each VM and GPU; start that "
              "instead.\n"
              "To see which GPUs a worker would find here: vgpu-worker --probe\n",
              stderr);
        return VGPU_WORKER_EXIT_PROTOCOL;
    }
    if (!options.probe) {
        close_others(
            options.backend
                .kernels_fd); /* before the log begins, which has a descriptor of its own */
    }
    log_init(program, options.log_level, false);
    if (options.probe) {
        return probe_run(options.ops);
    }
    status = isolate_process();
    if (status < 0) {
        log_error("cannot isolate this process: %s", strerror(-status));
        return VGPU_WORKER_EXIT_BACKEND;
    }
    return serve(&options);
}
