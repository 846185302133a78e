/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What another call than those of the list does, in a process of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/sandbox.h"

#define REFUSED 3

static int end_in(enum sandbox_mode mode)
{
    static const struct sandbox_rule rules[] = {
        {SYS_exit_group, 0, 0, 0, 0}, {SYS_getpid, 0, 0, 0, 0}, {SYS_getuid, 0, 0, 0, ENOSYS}};
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (SANDBOX_ENTER(rules, mode) < 0 || syscall(SYS_getpid) < 0 ||
            (mode != SANDBOX_NONE && (syscall(SYS_getuid) != -1 || errno != ENOSYS))) {
            syscall(SYS_exit_group, 1);
        }
        syscall(SYS_exit_group, syscall(SYS_getppid) == -1 && errno == EPERM ? REFUSED : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void test_what_another_call_does(void **state)
{
    if (SANDBOX_SANITIZER) {
        skip(); /* makes calls of its own */
    }
    assert_int_equal(end_in(SANDBOX_KILL), -SIGSYS);
    assert_int_equal(end_in(SANDBOX_REFUSE), REFUSED);
    assert_int_equal(end_in(SANDBOX_LOG), 0);
    assert_int_equal(end_in(SANDBOX_NONE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_another_call_does)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
