/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/daemon.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "vgpu/vgpu_worker.h"

#define START_TIMEOUT_NS (20 * NS_PER_S)

static void __attribute__((noreturn))
die(const struct daemon *daemon, const char *what, const char *name)
{
    fprintf(stderr, "bench: %s %s", what, name);
    if (daemon) {
        fprintf(stderr, "; see %s", daemon->log);
    }
    fputs("\n", stderr);
    exit(1);
}

/* build/bin/PROGRAM, seen from build/bench/. */
static void program_path(const char *program, char *path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    char *slash;

    if (length < 0) {
        die(NULL, "cannot find", program);
    }
    path[length] = '\0';
    slash = strrchr(path, '/');
    *slash = '\0';
    length = (ssize_t)strlen(path);
    if (snprintf(path + length, size - (size_t)length, "/../bin/%s", program) >=
            (int)(size - (size_t)length) ||
        access(path, X_OK) < 0) {
        die(NULL, "there is no", path);
    }
}

/* link_fd: becomes the program's VGPU_WORKER_FD, -1 = none. */
static pid_t spawn(const char *program, const char *const *args, const char *output, int link_fd)
{
    char path[4096];
    pid_t pid, parent = getpid();
    int fd;

    program_path(program, path, sizeof(path));
    pid = fork();
    if (pid < 0) {
        die(NULL, "cannot start", program);
    }
    if (pid > 0) {
        return pid;
    }
    /* Without us nobody would stop it. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fd = open(output, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (getppid() != parent || fd < 0) {
        _exit(127);
    }
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    if (link_fd == VGPU_WORKER_FD) {
        fcntl(link_fd, F_SETFD, 0);
    } else if (link_fd >= 0) {
        dup2(link_fd, VGPU_WORKER_FD);
    }
    execv(path, (char *const *)args);
    _exit(127);
}

void daemon_prepare(struct daemon *daemon)
{
    const char *parent = getenv("TMPDIR");

    memset(daemon, 0, sizeof(*daemon));
    if (!parent || strlen(parent) > sizeof(daemon->folder) - 20) {
        parent = "/tmp";
    }
    snprintf(daemon->folder, sizeof(daemon->folder), "%s/vgpu-bench-XXXXXX", parent);
    if (!mkdtemp(daemon->folder)) {
        die(NULL, "cannot make the folder", daemon->folder);
    }
    snprintf(daemon->socket, sizeof(daemon->socket), "%s/vgpu.sock", daemon->folder);
    snprintf(daemon->admin_socket, sizeof(daemon->admin_socket), "%s/admin.sock", daemon->folder);
    snprintf(daemon->db, sizeof(daemon->db), "%s/config.db", daemon->folder);
    snprintf(daemon->log, sizeof(daemon->log), "%s/log", daemon->folder);
}

void daemon_run(const struct daemon *daemon, const char *program, const char *const *args)
{
    const char *argv[DAEMON_ARGS_MAX + 2] = {program};
    int status;
    pid_t pid;

    for (unsigned i = 0; i < DAEMON_ARGS_MAX && args[i]; i++) {
        argv[i + 1] = args[i];
    }
    pid = spawn(program, argv, daemon->log, -1);
    if (waitpid(pid, &status, 0) < 0 || status != 0) {
        die(daemon, "this failed:", program);
    }
}

int daemon_start_worker(const struct daemon *daemon, pid_t *pid)
{
    const char *const argv[] = {"vgpu-worker", "--backend", "cpu", "--log-level", "warning", NULL};
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        die(NULL, "no socket for", "vgpu-worker");
    }
    *pid = spawn("vgpu-worker", argv, daemon->log, ends[1]);
    close(ends[1]);
    return ends[0];
}

static bool takes_connections(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected;

    strcpy(address.sun_path, path); /* DAEMON_PATH_BYTES is shorter than sun_path */
    connected = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return connected;
}

void daemon_start(struct daemon *daemon, bool with_db, const char *const *extra)
{
    const char *argv[32] = {
        "vgpu-mediator",
        "--no-discovery",
        "--no-nvml",
        "--metrics-listen",
        "off",
        "--trust-claims",
        "--backend",
        "cpu",
        "--enable-test-ops",
        "--socket-path",
        daemon->socket,
        "--admin-socket",
        daemon->admin_socket,
        "--log-level",
        "warning",
    };
    uint64_t until_ns = clock_now_ns() + START_TIMEOUT_NS;
    unsigned n = 15;

    argv[n++] = with_db ? "--db" : "--no-db";
    if (with_db) {
        argv[n++] = daemon->db;
    }
    for (unsigned i = 0; extra && extra[i] && n < 31; i++) {
        argv[n++] = extra[i];
    }
    daemon->pid = spawn("vgpu-mediator", argv, daemon->log, -1);
    while (!takes_connections(daemon->socket)) {
        if (waitpid(daemon->pid, NULL, WNOHANG) != 0 || clock_now_ns() > until_ns) {
            die(daemon, "did not start:", "vgpu-mediator");
        }
        usleep(10000);
    }
}

/* A process's parent (0: there is none, or no such process), and its name. */
static pid_t parent_of(pid_t pid, char name[16])
{
    char path[32], text[256] = "";
    const char *end;
    FILE *file;
    int parent = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    if (!file) {
        return 0;
    }
    end = fgets(text, sizeof(text), file) ? strrchr(text, ')') : NULL;
    if (!end || sscanf(text, "%*d (%15[^)]", name) != 1 || sscanf(end, ") %*c %d", &parent) != 1) {
        parent = 0;
    }
    fclose(file);
    return parent;
}

static bool is_worker_of(pid_t pid, pid_t mediator)
{
    char name[16] = "", other[16];
    pid_t above = parent_of(pid, name);

    if (strcmp(name, "vgpu-worker") != 0) {
        return false;
    }
    while (above > 0 && above != mediator) {
        above = parent_of(above, other);
    }
    return above == mediator;
}

pid_t daemon_find_worker(const struct daemon *daemon)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    pid_t found = 0;

    while (!found && processes && (entry = readdir(processes)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

        found = pid > 0 && is_worker_of(pid, daemon->pid) ? pid : 0;
    }
    if (processes) {
        closedir(processes);
    }
    if (!found) {
        die(daemon, "it has no", "vgpu-worker");
    }
    return found;
}

void daemon_stop(struct daemon *daemon)
{
    int status = 0;

    if (daemon->pid) {
        kill(daemon->pid, SIGTERM);
        if (waitpid(daemon->pid, &status, 0) < 0 || status != 0) {
            die(daemon, "ended badly:", "vgpu-mediator");
        }
        daemon->pid = 0;
    }
}

void daemon_remove(struct daemon *daemon)
{
    DIR *folder;
    struct dirent *entry;

    daemon_stop(daemon);
    folder = opendir(daemon->folder);
    while (folder && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.') {
            unlinkat(dirfd(folder), entry->d_name, 0);
        }
    }
    if (folder) {
        closedir(folder);
    }
    rmdir(daemon->folder);
}
