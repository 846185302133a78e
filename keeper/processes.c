/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keeper/processes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/unused.h"
#include "common/uuid.h"
#include "keeper/child.h"
#include "keeper/kernels.h"
#include "keeper/memory.h"

#define PLACES VGPU_KEEPER_WORKERS_MAX
#define ARGS_MAX 20
#define LOGS_AT_ONCE 16
/* Ends before anything else is looked at: what workers leave behind may be many. */
#define REAP_MAX 64u

struct processes {
    char program[PATH_MAX];
    int program_fd;
    const char *seccomp; /* for workers; NULL: as they have it of themselves */
    uint32_t own;
    struct uids *uids; /* NULL without OWN_UID */
    vgpu_keeper_end *failures;
    struct kernels kernels;
    struct memory memory;
    unsigned living;
    int logs;             /* epoll: the processes' logs, by place */
    uint64_t logs_due_ns; /* of those that wait */
    void (*on_other_end)(void *opaque, pid_t pid);
    void *other_opaque;
    struct process all[PLACES];
};

/* ---- starting ---- */

static int find_program(struct processes *processes, const char *option, char *error, size_t bytes)
{
    char self[PATH_MAX];
    ssize_t n;

    if (option) {
        snprintf(processes->program, sizeof(processes->program), "%s", option);
    } else {
        n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        self[n < 0 ? 0 : n] = '\0';
        snprintf(processes->program, sizeof(processes->program), "%.*s/vgpu-worker",
                 (int)(sizeof(processes->program) - 16), dirname(self));
    }
    processes->program_fd = open(processes->program, O_PATH | O_CLOEXEC);
    if (processes->program_fd < 0 || access(processes->program, X_OK) < 0) {
        n = -errno;
        snprintf(error, bytes,
                 "the worker program %s cannot be used: %s; give its place with --worker PATH",
                 processes->program, strerror(errno));
        return (int)n;
    }
    return 0;
}

/* As root all of it; everybody else can't, and need not hear it four times. */
static int confine_as_wanted(struct processes *processes, const struct keeper_options *options,
                             char *error, size_t bytes)
{
    struct confine trial = {.uid = options->uids.base,
                            .program = processes->program,
                            .cache = options->uids.cache_path};
    int ret;

    if (options->confinement == KEEPER_CONFINE_NEVER) {
        log_warning("--confine never: workers run as this process does");
        return 0;
    }
    if (geteuid() != 0 && options->confinement == KEEPER_CONFINE_AUTO) {
        log_notice("not root: workers run as uid %u, as this process does, and are kept apart "
                   "from each other by nothing but their processes",
                   (unsigned)geteuid());
        return 0;
    }
    processes->own = confine_possible(&trial, VGPU_KEEPER_OWN_ALL);
    if (options->confinement == KEEPER_CONFINE_ALWAYS && processes->own != VGPU_KEEPER_OWN_ALL) {
        snprintf(error, bytes,
                 "--confine always: this process may not do all of it (see the lines above)");
        return -EPERM;
    }
    if (processes->own & VGPU_KEEPER_OWN_UID) {
        ret = uids_new(&options->uids, &processes->uids, error, bytes);
        return ret;
    }
    return 0;
}

int processes_new(const struct keeper_options *options, struct processes **made, char *error,
                  size_t error_bytes)
{
    struct processes *processes = calloc(1, sizeof(*processes));
    int ret;

    snprintf(error, error_bytes, "out of memory");
    if (!processes) {
        return -ENOMEM;
    }
    processes->program_fd = -1;
    memory_init(&processes->memory);
    processes->seccomp = options->seccomp_text;
    processes->logs_due_ns = UINT64_MAX;
    processes->logs = epoll_create1(EPOLL_CLOEXEC);
    processes->failures = child_failures_new(PLACES);
    ret = processes->failures && processes->logs >= 0
              ? find_program(processes, options->worker_path, error, error_bytes)
              : -errno;
    processes->kernels.program = processes->program;
    processes->kernels.program_fd = processes->program_fd;
    if (ret == 0) {
        ret = confine_as_wanted(processes, options, error, error_bytes);
    }
    if (ret < 0) {
        processes_free(processes);
        return ret;
    }
    *made = processes;
    return 0;
}

uint32_t processes_own(const struct processes *processes)
{
    return processes->own;
}

bool processes_limit_memory(const struct processes *processes)
{
    return memory_possible(&processes->memory);
}

unsigned processes_living(const struct processes *processes)
{
    return processes->living;
}

/* ---- the table ---- */

static struct process *find(struct processes *processes, uint64_t number)
{
    for (unsigned i = 0; number && i < PLACES; i++) {
        if (processes->all[i].number == number) {
            return &processes->all[i];
        }
    }
    return NULL;
}

/* NULL: the number is taken or 0, or no place is free. */
static struct process *new_place(struct processes *processes, uint64_t number)
{
    if (number == 0 || find(processes, number)) {
        return NULL;
    }
    for (unsigned i = 0; i < PLACES; i++) {
        struct process *process = &processes->all[i];

        if (process->number == 0) {
            memset(process, 0, sizeof(*process));
            process->number = number;
            process->socket = process->status = -1;
            return process;
        }
    }
    return NULL;
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void processes_forget(UNUSED struct processes *processes, struct process *process)
{
    close_fd(&process->socket);
    close_fd(&process->status);
    process->number = 0;
}

void processes_each(struct processes *processes, bool (*see)(void *opaque, struct process *),
                    void *opaque)
{
    for (unsigned i = 0; i < PLACES; i++) {
        if (processes->all[i].number && !see(opaque, &processes->all[i])) {
            return;
        }
    }
}

/* ---- what they say ---- */

static uint32_t place_of(const struct processes *processes, const struct process *process)
{
    return (uint32_t)(process - processes->all);
}

/* The worker's end, or -errno. */
static int open_log(struct processes *processes, struct process *process)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = place_of(processes, process)};
    int fd, ret = worker_log_new(process->what.vm_id, &process->log, &fd);

    if (ret == 0 &&
        epoll_ctl(processes->logs, EPOLL_CTL_ADD, worker_log_fd(process->log), &event) < 0) {
        ret = -errno;
        close(fd);
    }
    return ret < 0 ? ret : fd;
}

/*
 * Closing our end alone does not take it from the epoll: a child that is not at its exec yet has a
 * copy.
 */
static void close_log(struct processes *processes, struct process *process)
{
    if (process->log) {
        epoll_ctl(processes->logs, EPOLL_CTL_DEL, worker_log_fd(process->log), NULL);
        worker_log_free(process->log);
        process->log = NULL;
    }
}

static void listen_to(struct processes *processes, struct process *process, bool listen)
{
    struct epoll_event event = {.events = listen ? EPOLLIN : 0,
                                .data.u32 = place_of(processes, process)};

    process->log_waits = !listen;
    epoll_ctl(processes->logs, EPOLL_CTL_MOD, worker_log_fd(process->log), &event);
}

static void read_log(struct processes *processes, struct process *process, uint64_t now_ns)
{
    uint64_t again_ns;

    if (worker_log_read(process->log, now_ns, &again_ns)) {
        return;
    }
    listen_to(processes, process, false);
    if (again_ns < processes->logs_due_ns) {
        processes->logs_due_ns = again_ns;
    }
}

/* Those that had to wait: each is read anew, and may have to wait again. */
static void wake_logs(struct processes *processes, uint64_t now_ns)
{
    processes->logs_due_ns = UINT64_MAX;
    for (unsigned i = 0; i < PLACES; i++) {
        struct process *process = &processes->all[i];

        if (process->log && process->log_waits) {
            listen_to(processes, process, true);
            read_log(processes, process, now_ns);
        }
    }
}

int processes_logs_fd(const struct processes *processes)
{
    return processes->logs;
}

uint64_t processes_logs_due_ns(const struct processes *processes)
{
    return processes->logs_due_ns;
}

void processes_read_logs(struct processes *processes)
{
    struct epoll_event events[LOGS_AT_ONCE];
    uint64_t now_ns = clock_now_ns();
    int n = epoll_wait(processes->logs, events, LOGS_AT_ONCE, 0);

    for (int i = 0; i < n; i++) {
        struct process *process = &processes->all[events[i].data.u32];

        if (!process->log) {
            continue;
        }
        if (events[i].events & EPOLLIN) {
            read_log(processes, process, now_ns);
        } else { /* nobody writes any more, and the process's end will say so */
            epoll_ctl(processes->logs, EPOLL_CTL_DEL, worker_log_fd(process->log), NULL);
        }
    }
    if (now_ns >= processes->logs_due_ns) {
        wake_logs(processes, now_ns);
    }
}

/* ---- start and end ---- */

/* Whose uid and cache: an unregistered VM without a UUID is known by its number. */
static void key_of(const vgpu_keeper_worker *what, char key[UIDS_KEY_BYTES])
{
    if (what->flags & VGPU_KEEPER_HAS_UUID) {
        uuid_format(what->uuid, key);
    } else {
        snprintf(key, UIDS_KEY_BYTES, "vm-%" PRIu32, what->vm_id);
    }
}

/* A process is gone, or never was: its socket ends, and the mediator is to know. */
static void end(struct processes *processes, struct process *process, const vgpu_keeper_end *how)
{
    process->pid = 0;
    process->end = *how;
    close_log(processes, process);
    close_fd(&process->socket);
    if (process->status >= 0) {
        /* A pipe that nothing else writes to: it has room for this. */
        if (write(process->status, how, sizeof(*how)) < 0) {
            log_debug("nobody waits for the end of a probe: %s", strerror(errno));
        }
        processes_forget(processes, process);
        return;
    }
    process->tell_ended = true;
    process->tell_held = false;
}

static void run(struct processes *processes, struct process *process, char *const argv[], int fd,
                int as_fd, int kernels_fd, const struct confine *confine)
{
    const bool is_worker = process->status < 0;
    int log_fd = is_worker ? open_log(processes, process) : -1;
    const struct child child = {
        .program = processes->program,
        .program_fd = processes->program_fd,
        .argv = argv,
        .fd = fd,
        .as_fd = as_fd,
        .kernels_fd = kernels_fd,
        .log_fd = log_fd,
        .confine = confine,
        .pins = !is_worker || (process->what.flags & VGPU_KEEPER_CUDA),
        .failure = &processes->failures[process - processes->all],
    };
    pid_t pid;

    if (is_worker && log_fd < 0) {
        end(processes, process,
            &(vgpu_keeper_end){.step = VGPU_KEEPER_STEP_PROCESS, .error = -log_fd});
        return;
    }
    pid = child_start(&child);
    close_fd(&log_fd);
    if (pid < 0) {
        end(processes, process, &(vgpu_keeper_end){.step = VGPU_KEEPER_STEP_FORK, .error = -pid});
        return;
    }
    process->pid = pid;
    if (process->log) {
        worker_log_set_pid(process->log, pid);
    }
    processes->living++;
}

/*
 * The number of a VM without a UUID may be another one's tomorrow, who would run what the first one
 * has left there.
 */
static bool wants_cache(const vgpu_keeper_worker *what)
{
    return (what->flags & VGPU_KEEPER_CUDA) && (what->flags & VGPU_KEEPER_HAS_UUID);
}

static void start_worker(struct processes *processes, struct process *process, int fd)
{
    const vgpu_keeper_worker *what = &process->what;
    char vm_id[16], memory[24], depth[16], key[UIDS_KEY_BYTES], cache[PATH_MAX] = "";
    struct confine confine = {.parts = processes->own, .program = processes->program};
    char *argv[ARGS_MAX];
    int n = 0, kernels_fd = -1, ret;

    snprintf(vm_id, sizeof(vm_id), "%" PRIu32, what->vm_id);
    snprintf(memory, sizeof(memory), "%" PRIu64, what->memory_limit_bytes);
    snprintf(depth, sizeof(depth), "%" PRIu32, what->depth);
    argv[n++] = processes->program;
    argv[n++] = "--backend";
    argv[n++] = what->flags & VGPU_KEEPER_CUDA ? "cuda" : "cpu";
    argv[n++] = "--gpu";
    argv[n++] = (char *)what->gpu;
    argv[n++] = "--vm-id";
    argv[n++] = vm_id;
    argv[n++] = "--depth";
    argv[n++] = depth;
    if (what->memory_limit_bytes) {
        argv[n++] = "--memory-limit";
        argv[n++] = memory;
    }
    if (processes->seccomp) {
        argv[n++] = "--seccomp";
        argv[n++] = (char *)processes->seccomp;
    }
    if (what->flags & VGPU_KEEPER_TEST_OPS) {
        argv[n++] = "--enable-test-ops";
    }
    if (what->flags & VGPU_KEEPER_CUDA) {
        kernels_fd = kernels_for(&processes->kernels, what->gpu);
    }
    if (kernels_fd >= 0) {
        argv[n++] = "--kernels-fd";
    }
    argv[n] = NULL;

    process->uid = geteuid();
    if (processes->uids) {
        key_of(what, key);
        ret = uids_take(processes->uids, key, &process->uid, wants_cache(what) ? cache : NULL);
        if (ret < 0) {
            end(processes, process,
                &(vgpu_keeper_end){.step = VGPU_KEEPER_STEP_UID, .error = -ret});
            return;
        }
        confine.uid = process->uid;
        confine.cache = cache[0] ? cache : NULL;
    }
    run(processes, process, argv, fd, VGPU_WORKER_FD, kernels_fd, processes->own ? &confine : NULL);
    process->tell_started = process->pid != 0;
    if (!process->pid && processes->uids) {
        uids_release(processes->uids, key);
    }
}

int processes_start(struct processes *processes, uint64_t number, const vgpu_keeper_worker *what,
                    const int fds[VGPU_KEEPER_FDS])
{
    struct process *process = new_place(processes, number);

    if (!process) {
        close(fds[VGPU_KEEPER_FDS_WORKER]);
        close(fds[VGPU_KEEPER_FDS_MEDIATOR]);
        return -EPROTO;
    }
    process->what = *what;
    process->socket = fds[VGPU_KEEPER_FDS_MEDIATOR];
    start_worker(processes, process, fds[VGPU_KEEPER_FDS_WORKER]);
    close(fds[VGPU_KEEPER_FDS_WORKER]);
    return 0;
}

int processes_probe(struct processes *processes, uint64_t number, uint32_t backend,
                    const int fds[VGPU_KEEPER_FDS])
{
    static const char *const names[] = {"auto", "cpu", "cuda"};
    char *argv[] = {processes->program, "--probe", "--backend",
                    (char *)names[backend < 3 ? backend : 0], NULL};
    struct process *process = new_place(processes, number);

    if (!process) {
        close(fds[VGPU_KEEPER_FDS_OUTPUT]);
        close(fds[VGPU_KEEPER_FDS_STATUS]);
        return -EPROTO;
    }
    process->status = fds[VGPU_KEEPER_FDS_STATUS];
    run(processes, process, argv, fds[VGPU_KEEPER_FDS_OUTPUT], STDOUT_FILENO, -1, NULL);
    close(fds[VGPU_KEEPER_FDS_OUTPUT]);
    return 0;
}

int processes_refuse(struct processes *processes, uint64_t number, int error)
{
    struct process *process = new_place(processes, number);

    if (!process) {
        return -EPROTO;
    }
    end(processes, process, &(vgpu_keeper_end){.step = VGPU_KEEPER_STEP_PROCESS, .error = error});
    return 0;
}

void processes_kill(struct processes *processes, uint64_t number)
{
    struct process *process = find(processes, number);

    /* It is not awaited yet, so the pid is its own. */
    if (process && process->pid) {
        kill(process->pid, SIGKILL);
    }
}

void processes_set_memory(struct processes *processes, uint64_t number, uint64_t bytes)
{
    struct process *process = find(processes, number);

    if (process && process->pid && process->status < 0) {
        memory_limit(&processes->memory, place_of(processes, process), process->pid, bytes);
        process->has_memory_group = true;
    }
}

void processes_kill_all(struct processes *processes)
{
    for (unsigned i = 0; i < PLACES; i++) {
        processes_kill(processes, processes->all[i].number);
    }
}

static void take_end(struct processes *processes, struct process *process, int status)
{
    vgpu_keeper_end how = processes->failures[process - processes->all];
    char key[UIDS_KEY_BYTES];

    how.status = how.step == VGPU_KEEPER_STEP_NONE ? (uint32_t)status : 0;
    if (process->has_memory_group && memory_end(&processes->memory, place_of(processes, process)) &&
        WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        how.why |= VGPU_KEEPER_END_MEMORY;
    }
    processes->living--;
    if (processes->uids && process->status < 0) {
        key_of(&process->what, key);
        uids_release(processes->uids, key);
    }
    end(processes, process, &how);
}

/* One that is in no place is what a worker has left behind. */
static void note_end(struct processes *processes, pid_t pid, int status)
{
    for (unsigned i = 0; i < PLACES; i++) {
        if (processes->all[i].number && processes->all[i].pid == pid) {
            take_end(processes, &processes->all[i], status);
            return;
        }
    }
    if (!kernels_note_end(&processes->kernels, pid, status) && processes->on_other_end) {
        processes->on_other_end(processes->other_opaque, pid);
    }
}

void processes_on_other_end(struct processes *processes, void (*ended)(void *opaque, pid_t pid),
                            void *opaque)
{
    processes->on_other_end = ended;
    processes->other_opaque = opaque;
}

bool processes_reap(struct processes *processes)
{
    unsigned ends = 0;
    int status;
    pid_t pid;

    while (ends < REAP_MAX && (pid = waitpid(-1, &status, WNOHANG)) > 0) {
        note_end(processes, pid, status);
        ends++;
    }
    if (processes->uids) {
        uids_settle(processes->uids);
    }
    return ends == REAP_MAX;
}

void processes_free(struct processes *processes)
{
    int status;
    pid_t pid;

    if (!processes) {
        return;
    }
    processes_kill_all(processes);
    while (processes->living > 0 && ((pid = waitpid(-1, &status, 0)) > 0 || errno == EINTR)) {
        note_end(processes, pid, status);
    }
    for (unsigned i = 0; i < PLACES; i++) {
        if (processes->all[i].number) {
            processes_forget(processes, &processes->all[i]);
        }
    }
    kernels_close(&processes->kernels);
    uids_free(processes->uids);
    close_fd(&processes->logs);
    if (processes->failures) {
        munmap(processes->failures, PLACES * sizeof(vgpu_keeper_end));
    }
    if (processes->program_fd >= 0) {
        close(processes->program_fd);
    }
    free(processes);
}
