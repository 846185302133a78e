/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two mediators, of which one looks for QEMUs: a child process is the other one. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "mediator/sessions/discovery_lock.h"
#include "mediator/test_loop.h"

static uv_loop_t loop;
static char folder[32], path[64];
static int called, answer;

static int ours(UNUSED void *opaque)
{
    called++;
    return answer;
}

static int setup(void **state)
{
    called = answer = 0;
    strcpy(folder, "/tmp/vgpu-lock-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/lock", folder);
    return uv_loop_init(&loop);
}

static int teardown(void **state)
{
    unlink(path);
    return rmdir(folder);
}

static void end(struct discovery_lock *lock)
{
    discovery_lock_stop(lock);
    end_loop(&loop);
    discovery_lock_free(lock);
}

/* Has the lock from before this returns until it is killed. */
static pid_t other_mediator(void)
{
    int ready[2];
    pid_t child;
    char byte;

    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        struct discovery_lock *lock = discovery_lock_new(&loop, path);

        if (!lock || discovery_lock_start(lock, 1000, ours, NULL) < 0 || called != 1 ||
            write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void test_alone(void **state)
{
    struct discovery_lock *lock = discovery_lock_new(&loop, path);
    pid_t holder;

    answer = -EIO;
    assert_int_equal(discovery_lock_start(lock, 10, ours, NULL), -EIO);
    assert_int_equal(called, 1);
    assert_false(discovery_lock_taken(lock, &holder));
    end(lock);
}

static void test_takes_over(void **state)
{
    pid_t child = other_mediator(), holder;
    struct discovery_lock *lock = discovery_lock_new(&loop, path);
    struct discovery_lock *third = discovery_lock_new(&loop, path);

    assert_int_equal(discovery_lock_start(lock, 10, ours, NULL), 0);
    assert_true(discovery_lock_taken(lock, &holder));
    assert_int_equal(holder, child);
    assert_int_equal(called, 0);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    run_until(&loop, called > 0);
    assert_false(discovery_lock_taken(lock, &holder));
    /* One that comes now finds who has taken over. */
    assert_int_equal(discovery_lock_start(third, 1000, ours, NULL), 0);
    assert_true(discovery_lock_taken(third, &holder));
    assert_int_equal(holder, getpid());
    assert_int_equal(called, 1);
    discovery_lock_stop(third);
    end(lock);
    discovery_lock_free(third);
}

/* Where there can be no lock nobody is kept from it. */
static void test_no_place_for_it(void **state)
{
    struct discovery_lock *lock = discovery_lock_new(&loop, "/nowhere/lock");
    pid_t holder;

    assert_int_equal(discovery_lock_start(lock, 10, ours, NULL), 0);
    assert_int_equal(called, 1);
    assert_false(discovery_lock_taken(lock, &holder));
    end(lock);
}

/* A waiting mediator that is stopped. */
static void test_stopped_while_it_waits(void **state)
{
    pid_t child = other_mediator();
    struct discovery_lock *lock = discovery_lock_new(&loop, path);

    assert_int_equal(discovery_lock_start(lock, 10, ours, NULL), 0);
    end(lock);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(called, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_alone),
        TEST(test_takes_over),
        TEST(test_no_place_for_it),
        TEST(test_stopped_while_it_waits),
    };

    return cmocka_run_group_tests_name("discovery_lock", tests, NULL, NULL);
}
