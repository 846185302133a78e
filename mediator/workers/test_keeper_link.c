/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The link to a keeper that lies, is silent, or is none.  This very program plays it: with a
 * keeper's arguments it says what the environment tells, and waits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/fd_packet.h"
#include "common/sandbox.h"
#include "common/test_open_files.h"
#include "common/unused.h"
#include "mediator/test_loop.h"
#include "mediator/workers/keeper_link.h"

#define EACH(array) (sizeof(array) / sizeof((array)[0]))
#define CHARACTER "VGPU_TEST_CHARACTER"

/* ---- the keeper ---- */

static void say_with(uint16_t type, uint64_t number, const void *body, size_t bytes, bool fd,
                     uint16_t version)
{
    vgpu_keeper_header header = {.magic = VGPU_KEEPER_MAGIC,
                                 .version = version,
                                 .type = type,
                                 .length = (uint32_t)(sizeof(header) + bytes),
                                 .worker = number};
    struct iovec parts[] = {{&header, sizeof(header)}, {(void *)body, bytes}};
    int null_fd = open("/dev/null", O_RDWR);

    fd_packet_send(VGPU_KEEPER_FD, parts, 2, &null_fd, fd ? 1 : 0);
    close(null_fd);
}

static void say(uint16_t type, uint64_t number, const void *body, size_t bytes, bool fd)
{
    say_with(type, number, body, bytes, fd, VGPU_KEEPER_VERSION);
}

static void say_welcome(uint32_t held)
{
    const vgpu_keeper_welcome welcome = {.pid = (uint32_t)getpid(), .held = held};

    say(VGPU_KEEPER_WELCOME, 0, &welcome, sizeof(welcome), false);
}

static int play_keeper(const char *is)
{
    const vgpu_keeper_held held = {.worker = {.vm_id = 7}};
    const vgpu_keeper_process other = {.pid = 4711};
    const vgpu_keeper_end bad_end = {.step = VGPU_KEEPER_STEP_COUNT};
    char byte;

    if (strcmp(is, "gone") == 0) {
        return 1;
    }
    if (strcmp(is, "other-version") == 0) {
        say_with(VGPU_KEEPER_LISTED, 0, NULL, 0, false, VGPU_KEEPER_VERSION + 1);
    } else if (strcmp(is, "busy") == 0) {
        say(VGPU_KEEPER_REFUSED, 0, &other, sizeof(other), false);
    } else if (strcmp(is, "too-soon") == 0) {
        say(VGPU_KEEPER_LISTED, 0, NULL, 0, false);
    } else if (strcmp(is, "short") == 0) {
        send(VGPU_KEEPER_FD, "VGPK", 4, 0);
    } else if (strcmp(is, "long") == 0) {
        static const char many[4096];

        say(VGPU_KEEPER_WELCOME, 0, many, sizeof(many), true);
    } else {
        say_welcome(1);
        if (strcmp(is, "welcome-twice") == 0) {
            say_welcome(1);
        } else if (strcmp(is, "held-without-fd") == 0) {
            say(VGPU_KEEPER_HELD, 9, &held, sizeof(held), false);
        } else if (strcmp(is, "fd-with-nothing") == 0) {
            say(VGPU_KEEPER_LISTED, 0, NULL, 0, true);
        } else {
            say(VGPU_KEEPER_HELD, 9, &held, sizeof(held), true);
            say(VGPU_KEEPER_LISTED, 0, NULL, 0, false);
        }
        if (strcmp(is, "bad-end") == 0) {
            say(VGPU_KEEPER_ENDED, 9, &bad_end, sizeof(bad_end), false);
        }
    }
    /* Until the mediator has had enough. */
    while (recv(VGPU_KEEPER_FD, &byte, 1, 0) > 0) {
    }
    return 0;
}

/* ---- the test ---- */

static char self[4096];
static char error[512];

static int open_link(const char *character, struct keeper_link **link)
{
    const struct keeper_link_config config = {.program = self};

    setenv(CHARACTER, character, 1);
    error[0] = '\0';
    return keeper_link_open(&config, link, error, sizeof(error));
}

static void test_who_is_no_keeper_is_said_to_be_none(void **state)
{
    static const struct {
        const char *character;
        int result;
        const char *text;
    } cases[] = {
        {"gone", -EPIPE, "its own message is above"},
        {"other-version", -EPROTO, "of another version"},
        {"busy", -EPROTO, "process 4711"},
        {"too-soon", -EPROTO, "no keeper of this build"},
        {"short", -EPROTO, "no keeper of this build"},
        {"long", -EPROTO, "no keeper of this build"},
        {"welcome-twice", -EPROTO, "no keeper of this build"},
        {"held-without-fd", -EPROTO, "no keeper of this build"},
        {"fd-with-nothing", -EPROTO, "no keeper of this build"},
    };
    unsigned before = open_files();
    struct keeper_link *link;

    for (size_t i = 0; i < EACH(cases); i++) {
        assert_int_equal(open_link(cases[i].character, &link), cases[i].result);
        if (!strstr(error, cases[i].text)) {
            fail_msg("\"%s\" is not in \"%s\"", cases[i].text, error);
        }
    }
    assert_int_equal(open_files(), before);
}

static void test_a_keeper_that_is_not_there(void **state)
{
    struct keeper_link_config config = {.program = "/nowhere/vgpu-keeper"};
    struct keeper_link *link;

    assert_int_equal(keeper_link_open(&config, &link, error, sizeof(error)), -ENOENT);
    assert_non_null(strstr(error, "/nowhere/vgpu-keeper cannot be used: No such file"));
    config.socket_path = "/nowhere/keeper.sock";
    assert_int_equal(keeper_link_open(&config, &link, error, sizeof(error)), -ENOENT);
    assert_non_null(strstr(error, "/nowhere/keeper.sock: No such file"));
}

static unsigned held_count, lost_count, ready_count;
static uint64_t held_number;

static void on_held(UNUSED void *opaque, uint64_t number, const vgpu_keeper_held *held, int fd)
{
    held_count++;
    held_number = number;
    assert_int_equal(held->worker.vm_id, 7);
    close(fd);
}

static void on_lost(UNUSED void *opaque)
{
    lost_count++;
    setenv(CHARACTER, "good", 1); /* the next one is */
}

static void on_ready(UNUSED void *opaque)
{
    ready_count++;
}

static void on_started(UNUSED void *opaque, UNUSED uint64_t number,
                       UNUSED const vgpu_keeper_process *process)
{
}

static void on_ended(UNUSED void *opaque, UNUSED uint64_t number, UNUSED const vgpu_keeper_end *end)
{
    fail();
}

static const struct keeper_link_events events = {
    .held = on_held,
    .started = on_started,
    .ended = on_ended,
    .lost = on_lost,
    .ready = on_ready,
};

static void watch(const char *character, uv_loop_t *loop, struct keeper_link **link)
{
    held_count = lost_count = ready_count = 0;
    uv_loop_init(loop);
    assert_int_equal(open_link(character, link), 0);
    assert_int_equal(keeper_link_watch(*link, loop, &events), 0);
    assert_true(keeper_link_ready(*link));
    assert_int_equal(held_count, 1);
    assert_int_equal(ready_count, 1);
    /* What the keeper has is never given to another. */
    assert_int_equal(held_number, 9);
    assert_true(keeper_link_number(*link) > 9);
}

static void end_link(uv_loop_t *loop, struct keeper_link *link)
{
    keeper_link_stop(link);
    end_loop(loop);
    keeper_link_free(link);
}

static void test_a_keeper_that_begins_to_lie_is_replaced(void **state)
{
    struct keeper_link *link;
    unsigned before;
    uv_loop_t loop;

    uv_loop_init(&loop); /* libuv keeps descriptors of its first loop */
    uv_loop_close(&loop);
    before = open_files();
    watch("bad-end", &loop, &link);
    /* Each one lies, perhaps before the loop comes round. */
    run_until(&loop, lost_count >= 1 && ready_count >= 2);
    assert_int_equal(keeper_link_losses(link), lost_count);
    assert_int_equal(held_count, ready_count);
    end_link(&loop, link);
    assert_int_equal(open_files(), before);
}

static void test_nobody_is_asked_while_there_is_no_keeper(void **state)
{
    const int fds[VGPU_KEEPER_FDS] = {0, 1};
    const vgpu_keeper_worker worker = {.gpu = "CPU-0"};
    struct keeper_link *link;
    uv_loop_t loop;

    watch("good", &loop, &link);
    kill((pid_t)keeper_link_welcome(link)->pid, SIGKILL);
    run_until(&loop, lost_count == 1);
    assert_int_equal(keeper_link_start(link, 100, &worker, fds), -ENOTCONN);
    assert_int_equal(keeper_link_kill(link, 100), -ENOTCONN);
    assert_int_equal(keeper_link_probe(link, 101, 0, fds), -ENOTCONN);
    run_until(&loop, keeper_link_ready(link));
    assert_int_equal(keeper_link_start(link, 100, &worker, fds), 0);
    end_link(&loop, link);
}

/* A keeper that does not read: the order is not lost, and ready() tells when there is room. */
static void test_a_full_socket_is_waited_for(void **state)
{
    struct keeper_link *link;
    uv_loop_t loop;
    int ret = 0;

    watch("good", &loop, &link);
    kill((pid_t)keeper_link_welcome(link)->pid, SIGSTOP);
    for (unsigned i = 0; i < 100000 && ret == 0; i++) {
        ret = keeper_link_kill(link, 100);
    }
    assert_int_equal(ret, -EAGAIN);
    run_ready(&loop);
    assert_int_equal(ready_count, 1);
    kill((pid_t)keeper_link_welcome(link)->pid, SIGCONT);
    run_until(&loop, ready_count == 2);
    assert_int_equal(keeper_link_kill(link, 100), 0);
    end_link(&loop, link);
}

/* A host without memory for the message: in a process of its own, where sending fails so. */
static void test_an_order_that_the_host_has_no_room_for_is_due(void **state)
{
    static const int errors[] = {ENOBUFS, ENOMEM};
    struct keeper_link *link;
    uv_loop_t loop;
    int status;

    watch("good", &loop, &link);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        const struct sandbox_rule rule = {.number = __NR_sendmsg, .error = (uint32_t)errors[i]};
        pid_t pid = fork();

        if (pid == 0) {
            _exit(sandbox_enter(&rule, 1, SANDBOX_LOG) == 0 ? -keeper_link_kill(link, 100) : 0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), EAGAIN);
    }
    end_link(&loop, link);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_is_no_keeper_is_said_to_be_none),
        cmocka_unit_test(test_a_keeper_that_is_not_there),
        cmocka_unit_test(test_a_keeper_that_begins_to_lie_is_replaced),
        cmocka_unit_test(test_nobody_is_asked_while_there_is_no_keeper),
        cmocka_unit_test(test_a_full_socket_is_waited_for),
        cmocka_unit_test(test_an_order_that_the_host_has_no_room_for_is_due),
    };
    ssize_t length;

    if (argc > 1 && strcmp(argv[1], "--private") == 0) {
        return play_keeper(getenv(CHARACTER));
    }
    length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length < 0) {
        return 1;
    }
    self[length] = '\0';
    return cmocka_run_group_tests_name("keeper_link", tests, NULL, NULL);
}
