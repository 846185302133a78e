/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The end of all processes of a uid, and what disturbs it.  A filter of system calls puts the
 * disturbance where it hurts: at the sweeper's kill(), when it has the uid and is not alone yet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "keeper/sweep.h"
#include "keeper/uids.h"

#define UID 2100200100u
#define PATIENCE_S 120u
#define NO_FILTER 200

/* Calls of `number`, with `first` as the first argument if it is not 0, end as `action` says. */
static void filter(uint32_t number, uint32_t first, uint32_t action)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, first ? 3 : 1),
        BPF_STMT(first ? BPF_LD | BPF_W | BPF_ABS : BPF_RET | BPF_K,
                 first ? offsetof(struct seccomp_data, args) : action),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, first, first ? 0 : 1, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
        _exit(NO_FILTER);
    }
}

static void stop_me(int number)
{
    syscall(SYS_tgkill, syscall(SYS_getpid), syscall(SYS_gettid), SIGSTOP);
}

static void leave_no_room(int number)
{
    filter(SYS_clone, 0, SECCOMP_RET_ERRNO | EAGAIN);
}

static void at_kill(void (*disturb)(int))
{
    signal(SIGSYS, disturb);
    filter(SYS_kill, UINT32_MAX, SECCOMP_RET_TRAP);
}

static int sweep_and_be_stopped(void)
{
    at_kill(stop_me);
    return sweep(UID);
}

static int sweep_where_no_room_is_left(void)
{
    at_kill(leave_no_room);
    return sweep(UID);
}

static int sweep_without_a_process(void)
{
    filter(SYS_clone, 0, SECCOMP_RET_ERRNO | ENOMEM);
    return sweep(UID);
}

static int take_without_a_process(void)
{
    char folder[] = "/tmp/vgpu-sweep-XXXXXX", lock_path[64], error[512];
    struct uids_config config = {UID, 10000, lock_path, NULL};
    struct uids *uids;
    uid_t uid;
    int ret;

    if (!mkdtemp(folder)) {
        return -errno;
    }
    snprintf(lock_path, sizeof(lock_path), "%s/lock", folder);
    ret = uids_new(&config, &uids, error, sizeof(error));
    unlink(lock_path);
    rmdir(folder);
    if (ret < 0) {
        return ret;
    }
    filter(SYS_clone, 0, SECCOMP_RET_ERRNO | ENOMEM);
    ret = uids_take(uids, "vm", &uid, NULL);
    uids_free(uids);
    return ret;
}

/* In a process that can be lost; one that waits for ever is. */
static int result_of(int (*function)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        alarm(PATIENCE_S);
        _exit(-function());
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status)) {
        fail_msg("it was ended by signal %d", WTERMSIG(status));
    }
    return -WEXITSTATUS(status);
}

static pid_t start_one(void)
{
    int ready[2];
    pid_t pid;
    char byte;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        if (setresuid(UID, UID, UID) < 0 || write(ready[1], "", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void test_whatever_has_the_uid_ends(void **state)
{
    pid_t pids[3];
    int status;

    assert_int_equal(sweep(UID), 0);
    for (unsigned i = 0; i < 3; i++) {
        pids[i] = start_one();
    }
    /* They are ours to await: until then the uid has them. */
    assert_int_equal(sweep(UID), -EBUSY);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    assert_int_equal(sweep(UID), 0);
}

static void test_one_that_is_stopped_does_not_stop_us(void **state)
{
    assert_int_equal(result_of(sweep_and_be_stopped), -EBUSY);
}

static void test_a_host_without_room_is_no_stranger(void **state)
{
    assert_int_equal(result_of(sweep_where_no_room_is_left), -EAGAIN);
    assert_int_equal(result_of(sweep_without_a_process), -ENOMEM);
    assert_int_equal(result_of(take_without_a_process), -ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whatever_has_the_uid_ends),
        cmocka_unit_test(test_one_that_is_stopped_does_not_stop_us),
        cmocka_unit_test(test_a_host_without_room_is_no_stranger),
    };

    if (geteuid() != 0) {
        return 77; /* skipped: who is not root has nothing to sweep */
    }
    return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}
