/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The connection to the mediator, with something else at its other end. */
#include "admin/base/test_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/base/json_get.h"

#define EACH(array) (sizeof(array) / sizeof((array)[0]))

/* ---- requests ---- */

static void answer_all(int fd)
{
    while (peer_hear(fd)) {
        peer_tell(fd, 0, "{\"n\": 1}");
    }
}

/* Several go over one connection, and say what they were told to. */
static void test_requests(void **state)
{
    json_t *request = json_pack("{s:i, s:b}", "gpu", 3, "hold", 1), *answer;
    struct admin_link *link;
    char *text;

    (void)state;
    peer_start(answer_all, 1);
    link = peer_link(PEER_LONG_MS);
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_QUARANTINE_VM, 7, NULL, &answer), 0);
    assert_int_equal(json_get_int(answer, "n", 0), 1);
    json_decref(answer);
    assert_int_equal(peer_asked.magic, VGPU_ADMIN_MAGIC);
    assert_int_equal(peer_asked.command, VGPU_ADMIN_QUARANTINE_VM);
    assert_int_equal(peer_asked.param1, 7);
    assert_int_equal(peer_asked.param2, 0);
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_PAUSE, 0, request, &answer), 0);
    json_decref(answer);
    assert_string_equal(peer_body, "{\"gpu\":3,\"hold\":true}");
    assert_int_equal(peer_asked.param2, strlen(peer_body));
    assert_int_equal(json_get_int(request, "gpu", 0), 3); /* it is still ours */
    assert_int_equal(admin_link_request_text(link, VGPU_ADMIN_SHOW_METRICS, 1, &text), 0);
    assert_string_equal(text, "{\"n\": 1}");
    assert_int_equal(peer_asked.param1, 1);
    free(text);
    admin_link_free(link);
    json_decref(request);
    peer_finish();
}

/* The body has a limit, and what is beyond it is not sent. */
static void test_longest_request(void **state)
{
    char text[VGPU_ADMIN_BODY_MAX];
    struct admin_link *link;
    json_t *answer, *request;

    (void)state;
    peer_start(answer_all, 1);
    link = peer_link(PEER_LONG_MS);
    memset(text, 'x', sizeof(text));
    request = json_pack("{s:s#}", "a", text, (int)(VGPU_ADMIN_BODY_MAX - strlen("{\"a\":\"\"}")));
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_SET_POLICY, 0, request, &answer), 0);
    json_decref(answer);
    assert_int_equal(peer_asked.param2, VGPU_ADMIN_BODY_MAX);
    json_object_set_new(request, "b", json_integer(1));
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_SET_POLICY, 0, request, &answer), -E2BIG);
    assert_null(answer);
    assert_false(admin_link_is_unreachable(-E2BIG));
    peer_expect_error(link, "longer than 4096 bytes");
    json_decref(request);
    /* The connection is as good as before. */
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer), 0);
    assert_int_equal(peer_asked.command, VGPU_ADMIN_SHOW_STATUS);
    json_decref(answer);
    admin_link_free(link);
    peer_finish();
}

/* ---- answers ---- */

static const struct {
    uint32_t status;
    const char *text;
    int result;
    const char *error;
} answers[] = {
    {0, "{}", 0, ""},
    {0, "", 0, ""}, /* as commands without an answer have it */
    {0, " {\"a\": [1, {}]} ", 0, ""},
    {0, "[]", -EPROTO, "no JSON object"},
    {0, "7", -EPROTO, "no JSON object"},
    {0, "null", -EPROTO, "no JSON object"},
    {0, "{\"a\": 1", -EPROTO, "no JSON object"},
    {0, "{} {}", -EPROTO, "no JSON object"},
    {0, "{\"a\": \"\xff\"}", -EPROTO, "no JSON object"},
    {EINVAL, "{\"error\": \"not this one\"}", -EREMOTEIO, "the mediator refused: not this one"},
    {EINVAL, "{\"error\": 7}", -EREMOTEIO, "the mediator refused: Invalid argument"},
    {EINVAL, "[]", -EREMOTEIO, "Invalid argument"},
    {ENOENT, "rubbish", -EREMOTEIO, "No such file or directory"},
    {ENOENT, "", -EREMOTEIO, "No such file or directory"},
    {UINT32_MAX, "", -EREMOTEIO, "the mediator refused: Unknown error"},
};
static size_t which;

static void answer_in_turn(int fd)
{
    while (peer_hear(fd)) {
        peer_tell(fd, answers[which].status, answers[which].text);
    }
}

static void test_answers(void **state)
{
    struct admin_link *link;
    json_t *answer;

    (void)state;
    for (which = 0; which < EACH(answers); which++) {
        int result;

        peer_start(answer_in_turn, 1);
        link = peer_link(PEER_LONG_MS);
        result = admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer);
        if (result != answers[which].result) {
            fail_msg("\"%s\": %d instead of %d", answers[which].text, result,
                     answers[which].result);
        }
        assert_int_equal(answer != NULL, result == 0);
        peer_expect_error(link, answers[which].error);
        /* It has answered; only what is no answer makes it unreachable. */
        assert_int_equal(admin_link_is_unreachable(result), result == -EPROTO);
        json_decref(answer);
        admin_link_free(link);
        peer_finish();
    }
}

static struct {
    VGPUAdminResponse header;
    char text[4];
} cut = {{VGPU_ADMIN_MAGIC, 0, 4}, {'{', ' ', ' ', '}'}};
static size_t cut_at;

static void answer_in_part(int fd)
{
    if (peer_hear(fd)) {
        (void)!send(fd, &cut, cut_at, MSG_NOSIGNAL);
    }
}

/* Cut in each place; whole, it is an answer. */
static void test_cut_answer(void **state)
{
    struct admin_link *link;
    json_t *answer;

    (void)state;
    for (cut_at = 0; cut_at <= PEER_HEADER + sizeof(cut.text); cut_at++) {
        bool whole = cut_at == PEER_HEADER + sizeof(cut.text);

        peer_start(answer_in_part, 1);
        link = peer_link(PEER_LONG_MS);
        assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer),
                         whole ? 0 : -ECONNRESET);
        if (!whole) {
            peer_expect_error(link, "closed the connection");
            assert_null(answer);
        }
        json_decref(answer);
        admin_link_free(link);
        peer_finish();
    }
}

static void answer_in_part_and_stay(int fd)
{
    answer_in_part(fd);
    peer_stay(fd);
}

/* Nor does it wait for ever for the rest; the next request makes a new connection. */
static void test_answer_that_stops(void **state)
{
    static const size_t places[] = {0, 5, PEER_HEADER, PEER_HEADER + 3};
    struct admin_link *link;
    json_t *answer;

    (void)state;
    for (size_t i = 0; i < EACH(places); i++) {
        cut_at = places[i];
        peer_start(answer_in_part_and_stay, 2);
        link = peer_link(PEER_SHORT_MS);
        for (int round = 0; round < 2; round++) {
            assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer),
                             -ETIMEDOUT);
            peer_expect_error(link, "did not answer");
            peer_expect_error(link, peer_path);
        }
        admin_link_free(link);
        peer_finish();
    }
}

static void answer_byte_by_byte(int fd)
{
    if (peer_hear(fd)) {
        for (size_t i = 0; i < PEER_HEADER + sizeof(cut.text); i++) {
            (void)!send(fd, (const char *)&cut + i, 1, MSG_NOSIGNAL);
        }
        peer_stay(fd);
    }
}

static void test_byte_by_byte(void **state)
{
    struct admin_link *link;
    json_t *answer;

    (void)state;
    peer_start(answer_byte_by_byte, 1);
    link = peer_link(PEER_LONG_MS);
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer), 0);
    json_decref(answer);
    admin_link_free(link);
    peer_finish();
}

static VGPUAdminResponse strange;

static void answer_strangely(int fd)
{
    if (peer_hear(fd)) {
        (void)!send(fd, &strange, sizeof(strange), MSG_NOSIGNAL);
        peer_stay(fd);
    }
}

/* What is no answer of this protocol is seen at once: nothing is waited for. */
static void test_another_protocol(void **state)
{
    static const VGPUAdminResponse headers[] = {
        {0, 0, 2},
        {VGPU_ADMIN_MAGIC + 1, 0, 2},
        {VGPU_ADMIN_MAGIC, 0, VGPU_ADMIN_DATA_MAX + 1},
        {VGPU_ADMIN_MAGIC, EINVAL, UINT32_MAX},
        {0x50545448, 0x302e312f, 0x30303420}, /* HTTP/1.0 400 */
    };
    struct admin_link *link;
    json_t *answer;

    (void)state;
    for (size_t i = 0; i < EACH(headers); i++) {
        strange = headers[i];
        peer_start(answer_strangely, 1);
        link = peer_link(PEER_LONG_MS);
        assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer),
                         -EPROTO);
        peer_expect_error(link, "does not speak the admin protocol");
        assert_true(admin_link_is_unreachable(-EPROTO));
        admin_link_free(link);
        peer_finish();
    }
}

static void answer_the_most(int fd)
{
    VGPUAdminResponse header = {VGPU_ADMIN_MAGIC, 0, VGPU_ADMIN_DATA_MAX};
    static char text[65536];

    if (!peer_hear(fd)) {
        return;
    }
    memset(text, 'x', sizeof(text));
    (void)!send(fd, &header, sizeof(header), MSG_NOSIGNAL);
    for (size_t i = 0; i < VGPU_ADMIN_DATA_MAX / sizeof(text); i++) {
        for (size_t sent = 0; sent < sizeof(text);) {
            ssize_t n = send(fd, text + sent, sizeof(text) - sent, MSG_NOSIGNAL);

            if (n <= 0) {
                return;
            }
            sent += (size_t)n;
        }
    }
}

static void test_longest_answer(void **state)
{
    struct admin_link *link;
    char *text;

    (void)state;
    peer_start(answer_the_most, 1);
    link = peer_link(PEER_LONG_MS);
    assert_int_equal(admin_link_request_text(link, VGPU_ADMIN_SHOW_METRICS, 1, &text), 0);
    assert_int_equal(strlen(text), VGPU_ADMIN_DATA_MAX);
    free(text);
    admin_link_free(link);
    peer_finish();
}

/* ---- nobody there, or nobody who listens ---- */

static void refuse_before_reading(int fd)
{
    peer_tell(fd, EUSERS, "{\"error\": \"all places are taken\"}");
}

/* It says why before it has read the request, and goes; the next one is another connection. */
static void test_no_place(void **state)
{
    struct admin_link *link;
    json_t *answer;

    (void)state;
    peer_start(refuse_before_reading, 2);
    link = peer_link(PEER_LONG_MS);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer),
                         -EUSERS);
        peer_expect_error(link, "all places are taken");
    }
    assert_true(admin_link_is_unreachable(-EUSERS));
    admin_link_free(link);
    peer_finish();
}

static void answer_once(int fd)
{
    if (peer_hear(fd)) {
        peer_tell(fd, 0, "{}");
    }
}

/* A mediator that was started anew: one request finds the old connection dead. */
static void test_closed_in_between(void **state)
{
    struct admin_link *link;
    json_t *answer;

    (void)state;
    peer_start(answer_once, 2);
    link = peer_link(PEER_LONG_MS);
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer), 0);
    json_decref(answer);
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer),
                     -ECONNRESET);
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer), 0);
    json_decref(answer);
    admin_link_free(link);
    peer_finish();
}

static void test_nobody(void **state)
{
    char too_long[256];
    struct admin_link *link;
    json_t *answer;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int datagram;

    (void)state;
    peer_listen(8);
    peer_unlisten();
    link = peer_link(PEER_LONG_MS);
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer), -ENOENT);
    peer_expect_error(link, "no mediator listens on");
    peer_listen(8);
    peer_abandon();
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer),
                     -ECONNREFUSED);
    peer_expect_error(link, "no mediator listens on");
    unlink(peer_path);
    /* Another kind of socket, which is nobody's mediator. */
    datagram = socket(AF_UNIX, SOCK_DGRAM, 0);
    strcpy(address.sun_path, peer_path);
    assert_int_equal(bind(datagram, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer),
                     -ECONNREFUSED);
    peer_expect_error(link, "cannot connect to");
    close(datagram);
    admin_link_free(link);
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[sizeof(address.sun_path)] = '\0';
    link = admin_link_new(too_long, PEER_LONG_MS);
    assert_int_equal(admin_link_request(link, VGPU_ADMIN_SHOW_STATUS, 0, NULL, &answer), -ENOENT);
    peer_expect_error(link, "longer than the 107 bytes that fit");
    admin_link_free(link);
}

/* It listens and never accepts: the backlog is full after the first few. */
static void test_full_backlog(void **state)
{
    struct admin_link *links[8];
    int result = 0;
    size_t count;

    (void)state;
    peer_listen(0);
    for (count = 0; count < EACH(links) && result == 0; count++) {
        links[count] = peer_link(PEER_SHORT_MS);
        result = admin_link_stream(links[count], VGPU_ADMIN_EVENTS);
    }
    assert_int_equal(result, -ETIMEDOUT);
    peer_expect_error(links[count - 1], "takes no connections");
    while (count > 0) {
        admin_link_free(links[--count]);
    }
    peer_unlisten();
}

static void test_reachable(void **state)
{
    static const int unreachable[] = {-ECONNREFUSED, -ENOENT, -EACCES, -ETIMEDOUT,
                                      -ECONNRESET,   -EPROTO, -EUSERS};
    static const int answered[] = {0, -EREMOTEIO, -E2BIG, -ENOMEM, -EINTR};

    (void)state;
    for (size_t i = 0; i < EACH(unreachable); i++) {
        assert_true(admin_link_is_unreachable(unreachable[i]));
    }
    for (size_t i = 0; i < EACH(answered); i++) {
        assert_false(admin_link_is_unreachable(answered[i]));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_requests),
        TEST(test_longest_request),
        TEST(test_answers),
        TEST(test_cut_answer),
        TEST(test_answer_that_stops),
        TEST(test_byte_by_byte),
        TEST(test_another_protocol),
        TEST(test_longest_answer),
        TEST(test_no_place),
        TEST(test_closed_in_between),
        TEST(test_nobody),
        TEST(test_full_backlog),
        TEST(test_reachable),
    };

    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
