/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The administration socket: requests in any shape, listeners, and places. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "mediator/control/server.h"
#include "mediator/control/test_admin.h"
#include "mediator/events.h"

#define FILES_MAX 256 /* a process may have open, in one test */

/* ---- requests in any shape ---- */

static void test_in_pieces(void **state)
{
    static const char body[] = "{\"policy\": \"fifo\"}";
    VGPUAdminRequest request = {VGPU_ADMIN_MAGIC, VGPU_ADMIN_SET_POLICY, 0, sizeof(body) - 1};
    char whole[sizeof(request) + sizeof(body) - 1];
    int fd = admin_client();

    memcpy(whole, &request, sizeof(request));
    memcpy(whole + sizeof(request), body, sizeof(body) - 1);
    for (size_t i = 0; i < sizeof(whole); i++) {
        assert_int_equal(core_policy(mediator.core), WFQ_POLICY_WFQ);
        assert_int_equal(send(fd, whole + i, 1, MSG_NOSIGNAL), 1);
        run_ready(&mediator.loop);
    }
    json_decref(admin_hear_json(fd, 0));
    assert_int_equal(core_policy(mediator.core), WFQ_POLICY_FIFO);
    admin_leave(fd);
}

/* Several at once are answered in their order; the body of an unknown command is left out. */
static void test_several_at_once(void **state)
{
    int fd = admin_client();

    admin_say(fd, VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 0}");
    admin_say(fd, 0x7777, 0, "{\"of\": \"a later version\"}");
    admin_say(fd, VGPU_ADMIN_QUARANTINE_VM, 9, "");
    admin_say(fd, VGPU_ADMIN_SHOW_METRICS, 0, "");
    admin_say(fd, VGPU_ADMIN_RESUME, 0, "");
    json_decref(admin_hear_json(fd, 0));
    json_decref(admin_hear_json(fd, ENOSYS));
    json_decref(admin_hear_json(fd, ENOENT));
    json_decref(admin_hear_json(fd, 0));
    json_decref(admin_hear_json(fd, 0));
    assert_false(admin_paused(0));
    admin_leave(fd);
}

static void test_longest_body(void **state)
{
    char body[VGPU_ADMIN_BODY_MAX + 1];
    VGPUAdminRequest request = {VGPU_ADMIN_MAGIC, VGPU_ADMIN_PAUSE, 0, VGPU_ADMIN_BODY_MAX + 1};
    int fd = admin_client();

    memset(body, ' ', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    memcpy(body, "{\"gpu\": 0}", 10);
    admin_expect(fd, VGPU_ADMIN_PAUSE, 0, body, 0, NULL);
    assert_true(admin_paused(0));
    assert_int_equal(send(fd, &request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
    json_decref(admin_hear_json(fd, EMSGSIZE));
    assert_true(admin_has_ended(fd));
    close(fd);
    run_until(&mediator.loop, admin_server_clients(mediator.admin) == 0);
}

static void test_another_protocol(void **state)
{
    static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                        "\x16\x03\x01\x02\x01\x01\x02\x03\x04\x05\x06\x07\x08\x09"
                                        "\x0a\x0b\x0c"};

    for (size_t i = 0; i < EACH(texts); i++) {
        int fd = admin_client();

        assert_true(send(fd, texts[i], strlen(texts[i]), MSG_NOSIGNAL) > 0);
        json_decref(admin_hear_json(fd, EBADMSG));
        assert_true(admin_has_ended(fd));
        close(fd);
    }
    run_until(&mediator.loop, admin_server_clients(mediator.admin) == 0);
}

/* One that asks and does not read: what waits for it has a limit, and none of it is lost. */
static void test_client_that_does_not_read(void **state)
{
    VGPUAdminRequest request = {VGPU_ADMIN_MAGIC, VGPU_ADMIN_SHOW_STATUS, 0, 0};
    int fd = admin_client(), other = admin_client();
    unsigned asked = 0, answered = 0;

    while (send(fd, &request, sizeof(request), MSG_NOSIGNAL) == (ssize_t)sizeof(request)) {
        asked++;
        run_ready(&mediator.loop);
    }
    assert_int_equal(errno, EAGAIN); /* it is not read any more either */
    admin_expect(other, VGPU_ADMIN_PAUSE, 0, "", 0, NULL);
    while (answered < asked) {
        json_decref(admin_hear_json(fd, 0));
        answered++;
    }
    admin_leave(fd);
    admin_leave(other);
}

/* ---- events ---- */

static void expect_event(int fd, const char *kind)
{
    json_t *record = admin_hear_json(fd, 0);

    assert_string_equal(json_string_value(json_object_get(record, "kind")), kind);
    json_decref(record);
}

static void test_events(void **state)
{
    int fd = admin_client(), listener = admin_client();

    admin_expect(fd, VGPU_ADMIN_PAUSE, 0, "", 0, NULL);
    admin_expect(fd, VGPU_ADMIN_RESUME, 0, "", 0, NULL);
    admin_expect(fd, VGPU_ADMIN_SET_POLICY, 0, "{\"policy\": \"fifo\"}", 0, NULL);
    admin_say(listener, VGPU_ADMIN_EVENTS, 2, ""); /* the last two, then what comes */
    expect_event(listener, "resume");
    expect_event(listener, "policy");
    /* What a listener says is of no interest. */
    assert_true(send(listener, "nonsense nonsense", 17, MSG_NOSIGNAL) == 17);
    admin_expect(fd, VGPU_ADMIN_PREFER_VM, 1, "{\"hold\": true}", 0, NULL);
    expect_event(listener, "prefer_vm");
    admin_leave(fd); /* which held a preference: that is an event, too */
    expect_event(listener, "prefer_vm");
    admin_leave(listener);
}

static void test_listener_that_does_not_read(void **state)
{
    int listener = admin_client();
    uint64_t events = 0;

    admin_say(listener, VGPU_ADMIN_EVENTS, 0, "");
    run_ready(&mediator.loop);
    assert_int_equal(admin_server_clients(mediator.admin), 1);
    while (admin_server_clients(mediator.admin) == 1) {
        events_admin(mediator.events, "test", CORE_NONE, "a text of some length, number %u",
                     (unsigned)events++);
        run_ready(&mediator.loop);
    }
    assert_true(events > 1000); /* a burst is no reason */
    close(listener);
}

/* ---- places ---- */

static void test_places(void **state)
{
    int fds[ADMIN_CLIENTS_MAX], late;
    char *text, holder[64];

    for (unsigned i = 0; i < ADMIN_CLIENTS_MAX; i++) {
        fds[i] = admin_client();
        admin_expect(fds[i], VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 1, \"hold\": true}", 0, NULL);
    }
    for (int i = 0; i < 3; i++) {
        late = admin_client();
        assert_int_equal(admin_hear(late, &text), EUSERS); /* before it has asked anything */
        snprintf(holder, sizeof(holder), "%u of them by process %d", ADMIN_CLIENTS_MAX,
                 (int)getpid());
        assert_non_null(strstr(text, holder));
        free(text);
        assert_true(admin_has_ended(late));
        close(late);
    }
    /* A place that is free again is a new client's, with nothing of the old one's. */
    admin_leave(fds[5]);
    fds[5] = admin_client();
    admin_expect(fds[5], VGPU_ADMIN_PREFER_VM, 1, "", 0, NULL);
    for (unsigned i = 0; i < ADMIN_CLIENTS_MAX; i++) {
        if (i != 5) {
            assert_true(admin_paused(1));
            admin_leave(fds[i]);
        }
    }
    assert_false(admin_paused(1));
    admin_leave(fds[5]);
}

/* No descriptor is left: it is said, and the loop does not spin. */
static void test_no_descriptors(void **state)
{
    int fds[FILES_MAX], late = admin_client();
    struct rlimit before, few;
    size_t count = 0;
    char *text;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){FILES_MAX, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (count < EACH(fds) && (fds[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) {
        count++;
    }
    assert_int_equal(errno, EMFILE);
    assert_int_equal(admin_hear(late, &text), EUSERS);
    assert_non_null(strstr(text, "LimitNOFILE="));
    free(text);
    assert_true(admin_has_ended(late));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    while (count > 0) {
        close(fds[--count]);
    }
    close(late);
    late = admin_client();
    admin_expect(late, VGPU_ADMIN_PAUSE, 0, "", 0, NULL);
    admin_leave(late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ADMIN_TEST(test_in_pieces),
        ADMIN_TEST(test_several_at_once),
        ADMIN_TEST(test_longest_body),
        ADMIN_TEST(test_another_protocol),
        ADMIN_TEST(test_client_that_does_not_read),
        ADMIN_TEST(test_events),
        ADMIN_TEST(test_listener_that_does_not_read),
        ADMIN_TEST(test_places),
        ADMIN_TEST(test_no_descriptors),
    };

    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
