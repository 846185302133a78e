/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The connection to the mediator: streams, signals, and calls that fail. */
#include "admin/base/test_peer.h"

#include <errno.h>
#include <linux/sockios.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/base/json_get.h"
#include "admin/test_faults.h"

/* ---- streams ---- */

static const struct {
    VGPUAdminResponse header;
    char text[8];
} event = {{VGPU_ADMIN_MAGIC, 0, 8}, {'{', '"', 'a', '"', ':', ' ', '1', '}'}};
static volatile sig_atomic_t signals;

static void count_signal(int number)
{
    (void)number;
    signals++;
}

static void send_events(int fd)
{
    peer_hear(fd);
    peer_tell(fd, 0, "{\"event\": 1}");
    peer_tell(fd, 0, "{\"event\": 2}");
    peer_tell(fd, EAGAIN, "{\"error\": \"12 events were left out\"}");
    peer_tell(fd, 0, "[]");
}

static void test_stream(void **state)
{
    struct admin_link *link;
    json_t *answer;

    (void)state;
    peer_start(send_events, 1);
    link = peer_link(PEER_SHORT_MS);
    assert_int_equal(admin_link_stream(link, VGPU_ADMIN_EVENTS), 0);
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(admin_link_next(link, &answer), 0);
        assert_int_equal(json_get_int(answer, "event", 0), i);
        json_decref(answer);
    }
    /* A refusal is no end. */
    assert_int_equal(admin_link_next(link, &answer), -EREMOTEIO);
    peer_expect_error(link, "12 events were left out");
    assert_int_equal(admin_link_next(link, &answer), -EPROTO);
    assert_null(answer);
    admin_link_free(link);
    peer_finish();
}

/* The client's thread, and whether all that was sent to it has been read. */
static pthread_t client;

static bool is_read(int fd)
{
    int unread = 0;

    return ioctl(fd, SIOCOUTQ, &unread) == 0 && unread == 0;
}

static void send_event_among_signals(int fd)
{
    char byte;

    peer_hear(fd);
    /* Until its next request: only then has one of them come while it waited. */
    while (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0) {
        pthread_kill(client, SIGUSR1);
        usleep(1000);
    }
    peer_hear(fd);
    (void)!send(fd, &event, PEER_HEADER + 1, MSG_NOSIGNAL);
    while (!is_read(fd)) {
        usleep(1000);
    }
    for (int before = signals; signals < before + 3;) {
        pthread_kill(client, SIGUSR1);
        usleep(1000);
    }
    (void)!send(fd, event.text + 1, sizeof(event.text) - 1, MSG_NOSIGNAL);
    peer_stay(fd);
}

/* A signal ends the waiting for an answer, and not the reading of one. */
static void test_signals(void **state)
{
    struct sigaction action = {.sa_handler = count_signal}, before;
    struct admin_link *link;
    json_t *answer;
    int result;

    (void)state;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    client = pthread_self();
    peer_start(send_event_among_signals, 1);
    link = peer_link(PEER_LONG_MS);
    assert_int_equal(admin_link_stream(link, VGPU_ADMIN_EVENTS), 0);
    assert_int_equal(admin_link_next(link, &answer), -EINTR);
    assert_null(answer);
    assert_int_equal(admin_link_stream(link, VGPU_ADMIN_EVENTS), 0);
    do {
        result = admin_link_next(link, &answer); /* a late one of the first signals */
    } while (result == -EINTR);
    assert_int_equal(result, 0);
    assert_int_equal(json_get_int(answer, "a", 0), 1);
    json_decref(answer);
    admin_link_free(link);
    peer_finish();
    sigaction(SIGUSR1, &before, NULL);
}

/* ---- calls that fail ---- */

static void answer_all(int fd)
{
    while (peer_hear(fd)) {
        peer_tell(fd, 0, "{\"n\": 1}");
    }
}

/*
 * Each call in turn fails: that is said, and nothing else is sent than what was
 * peer_asked for (a PAUSE without its body would be one of all GPUs).
 */
static void test_failing_calls(void **state)
{
    json_t *request = json_pack("{s:i}", "gpu", 3), *answer = NULL;
    unsigned descriptors = faults_descriptors(), k;
    bool failed = true;

    (void)state;
    for (k = 1; failed; k++) {
        struct admin_link *link;
        int result = -ENOMEM;

        peer_start(answer_all, 1);
        faults_in_json(true);
        faults_at(k);
        link = admin_link_new(peer_path, PEER_LONG_MS);
        if (link) {
            result = admin_link_request(link, VGPU_ADMIN_PAUSE, 0, request, &answer);
        }
        failed = faults_end();
        faults_in_json(false);
        assert_true(failed || result == 0);
        assert_int_equal(answer != NULL, result == 0);
        json_decref(answer);
        answer = NULL;
        if (link && result < 0) {
            assert_true(strlen(admin_link_error(link)) > 0);
        }
        admin_link_free(link);
        /* Whoever waits for a connection gets one. */
        link = peer_link(PEER_LONG_MS);
        admin_link_stream(link, VGPU_ADMIN_EVENTS);
        admin_link_free(link);
        peer_finish();
        if (peer_asked.command == VGPU_ADMIN_PAUSE) {
            assert_string_equal(peer_body, "{\"gpu\":3}");
        }
        assert_int_equal(faults_descriptors(), descriptors);
    }
    assert_true(k > 5);
    json_decref(request);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_stream),
        TEST(test_signals),
        TEST(test_failing_calls),
    };

    return cmocka_run_group_tests_name("link_stream", tests, NULL, NULL);
}
