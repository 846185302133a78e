/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of workers: what is left of one that has ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "keeper/processes.h"
#include "keeper/remove_tree.h"

#define PATIENCE_MS 120000
#define MANY 200u

static char folder[] = "/tmp/vgpu-processes-XXXXXX", worker_path[64];

static int setup(void **state)
{
    FILE *script;

    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(worker_path, sizeof(worker_path), "%s/worker", folder);
    script = fopen(worker_path, "we");
    if (!script) {
        return -1;
    }
    fputs("#!/bin/sh\nexec sleep 1000\n", script);
    fclose(script);
    return chmod(worker_path, 0755);
}

static int teardown(void **state)
{
    int tmp = open("/tmp", O_RDONLY | O_DIRECTORY), ret = remove_tree(tmp, folder + 5);

    close(tmp);
    return ret;
}

static struct processes *open_processes(void)
{
    const struct keeper_options options = {.worker_path = worker_path,
                                           .confinement = KEEPER_CONFINE_NEVER};
    struct processes *processes;
    char error[512];

    if (processes_new(&options, &processes, error, sizeof(error)) < 0) {
        fail_msg("%s", error);
    }
    return processes;
}

static void start(struct processes *processes, uint64_t number)
{
    const vgpu_keeper_worker what = {.vm_id = 7, .depth = 2, .gpu = "CPU-0"};
    int fds[VGPU_KEEPER_FDS];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(processes_start(processes, number, &what, fds), 0);
}

static bool forget(void *processes, struct process *process)
{
    assert_true(process->tell_ended);
    processes_forget(processes, process);
    return true;
}

static void kill_and_await(struct processes *processes, uint64_t number)
{
    processes_kill(processes, number);
    for (int waited_ms = 0; processes_living(processes) > 0; waited_ms++) {
        assert_true(waited_ms < PATIENCE_MS);
        usleep(1000);
        processes_reap(processes);
    }
}

/* It has a copy of all that we have, as one between fork() and exec has. */
static pid_t start_copy(int stop[2])
{
    pid_t pid;
    char byte;

    assert_int_equal(pipe2(stop, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        close(stop[1]);
        _exit(read(stop[0], &byte, 1) != 0);
    }
    close(stop[0]);
    assert_true(pid > 0);
    return pid;
}

static void test_a_log_ends_with_its_worker_though_a_child_has_a_copy(void **state)
{
    struct processes *processes = open_processes();
    struct pollfd logs = {.fd = processes_logs_fd(processes), .events = POLLIN};
    int stop[2];

    start(processes, 1);
    start_copy(stop);
    kill_and_await(processes, 1);
    assert_int_equal(poll(&logs, 1, 0), 0);
    processes_read_logs(processes);
    /* Its place is the next one's, whose log is listened to. */
    processes_each(processes, forget, processes);
    start(processes, 2);
    processes_read_logs(processes);
    assert_int_equal(poll(&logs, 1, 0), 0);
    processes_free(processes);
    close(stop[1]);
    assert_true(wait(NULL) > 0);
}

static void test_many_ends_are_taken_in_parts(void **state)
{
    struct processes *processes = open_processes();
    unsigned turns = 1;
    siginfo_t info;

    for (unsigned i = 0; i < MANY; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            _exit(0);
        }
        assert_true(pid > 0);
        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    }
    while (processes_reap(processes)) {
        turns++;
    }
    assert_in_range(turns, 3, MANY / 2);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    processes_free(processes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_log_ends_with_its_worker_though_a_child_has_a_copy),
        TEST(test_many_ends_are_taken_in_parts),
    };

    return cmocka_run_group_tests_name("processes", tests, NULL, NULL);
}
