/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page for Prometheus and the one about health, asked as browsers, scanners and fools do. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "core/metrics/metrics_export.h"
#include "core/no_effects.h"
#include "mediator/health/health.h"
#include "mediator/metrics/http_metrics.h"
#include "mediator/test_loop.h"

#define FDS_MAX 256
#define PAGE_BYTES (4u << 20)

static uv_loop_t loop;
static struct core *core;
static struct health *health;
static struct http_metrics *http;
static bool stopping;
static unsigned filled; /* how often it was asked for what the core doesn't know */
static struct sockaddr_in address;
static char page[PAGE_BYTES];

static void fill(void *opaque, struct metrics_external *external)
{
    assert_ptr_equal(opaque, &filled);
    filled++;
    metrics_external_init(external);
    external->version = "9.9";
}

static const struct health *health_now(void *opaque)
{
    return health;
}

/* Where it listens: it was told to take any port. */
static void find_listener(void)
{
    for (int fd = 3; fd < FDS_MAX; fd++) {
        int listens = 0;
        socklen_t length = sizeof(listens);

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens) {
            length = sizeof(address);
            getsockname(fd, (struct sockaddr *)&address, &length);
            if (address.sin_family == AF_INET) {
                return;
            }
        }
    }
    fail_msg("nothing listens");
}

static struct http_metrics_uses uses(void)
{
    return (struct http_metrics_uses){.loop = &loop,
                                      .core = core,
                                      .stopping = &stopping,
                                      .opaque = &filled,
                                      .fill = fill,
                                      .health = health_now};
}

static int setup(void **state)
{
    struct http_metrics_uses with;
    struct core_config config;
    struct http_address any;
    char error[256];

    core_config_defaults(&config);
    core = core_new(&config, &no_effects);
    health = health_new();
    assert_true(core && health);
    assert_int_equal(core_gpu_add(core, "CPU-0"), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    stopping = false;
    filled = 0;
    with = uses();
    assert_int_equal(http_address_parse(&any, "127.0.0.1:0"), 0);
    assert_int_equal(http_metrics_start(&with, &any, &http, error, sizeof(error)), 0);
    find_listener();
    return 0;
}

static int teardown(void **state)
{
    http_metrics_stop(http);
    http_metrics_stop(http);
    end_loop(&loop);
    http_metrics_free(http);
    core_free(core);
    health_free(health);
    return 0;
}

static int open_client(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* What comes until the other end closes, in page; false: it is still open. */
static bool read_some(int fd, size_t *used)
{
    ssize_t n;

    while ((n = recv(fd, page + *used, sizeof(page) - 1 - *used, 0)) > 0) {
        *used += (size_t)n;
    }
    page[*used] = '\0';
    return n == 0 || (n < 0 && errno != EAGAIN);
}

/* The answer as a whole, with its header; the connection ends with it. */
static const char *ask(const char *request)
{
    int fd = open_client();
    size_t used = 0;

    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    run_until(&loop, read_some(fd, &used));
    close(fd);
    return page;
}

static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");

    assert_non_null(end);
    return end + 4;
}

static void assert_shows(const char *answer, const char *part)
{
    if (!strstr(answer, part)) {
        fail_msg("\"%s\" is not in \"%s\"", part, answer);
    }
}

/* ---- pages ---- */

static void test_metrics(void **state)
{
    const char *answer = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");

    assert_shows(answer, "HTTP/1.1 200 OK\r\n");
    assert_shows(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    assert_shows(answer, "Connection: close\r\n");
    assert_shows(answer, "# TYPE vgpu_mediator_build_info gauge\n");
    assert_shows(answer, "version=\"9.9\"");
    assert_int_equal(filled, 1);
    /* An older client is told the same. */
    assert_shows(ask("GET /metrics HTTP/1.0\r\n\r\n"), "# TYPE vgpu_mediator_build_info gauge\n");
    assert_int_equal(filled, 2);
}

static void expect_health(const char *status, const char *text, size_t problems)
{
    const char *answer = ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    json_t *document;

    assert_shows(answer, status);
    assert_shows(answer, "Content-Type: application/json\r\n");
    document = json_loads(body_of(answer), 0, NULL);
    assert_non_null(document);
    assert_string_equal(json_string_value(json_object_get(document, "status")), text);
    assert_int_equal(json_integer_value(json_object_get(document, "gpus")), 1);
    assert_int_equal(json_array_size(json_object_get(document, "problems")), problems);
    if (problems > 0) {
        assert_string_equal(
            json_string_value(json_array_get(json_object_get(document, "problems"), 0)),
            "pool B: it has no \"GPU\"");
    }
    json_decref(document);
}

static void test_health(void **state)
{
    expect_health("200 OK", "ok", 0);
    health_report(health, HEALTH_POOL, HEALTH_WARNING, "pool B", "it has no \"GPU\"");
    expect_health("200 OK", "degraded", 1);
    health_report(health, HEALTH_POOL, HEALTH_ERROR, "pool B", "it has no \"GPU\"");
    expect_health("503 Service Unavailable", "not all VMs are served", 1);
    core_gpu_set_available(core, 0, false, 1);
    expect_health("503 Service Unavailable", "no GPU is available", 1);
    stopping = true;
    expect_health("503 Service Unavailable", "stopping", 1);
    health_clear(health, HEALTH_POOL, "pool B");
    expect_health("503 Service Unavailable", "stopping", 0);
    assert_int_equal(filled, 0);
}

/* As many problems as there can be, each as long as can be. */
static void test_longest_health(void **state)
{
    char text[HEALTH_TEXT_BYTES], subject[32];
    const char *answer;
    json_t *document;

    memset(text, '"', sizeof(text) - 1); /* two bytes each */
    text[sizeof(text) - 1] = '\0';
    for (unsigned i = 0; i < HEALTH_PROBLEMS_MAX + 10; i++) {
        snprintf(subject, sizeof(subject), "VM %u", i);
        health_report(health, HEALTH_WORKER, HEALTH_ERROR, subject, "%s", text);
    }
    answer = ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_shows(answer, "503 Service Unavailable");
    document = json_loads(body_of(answer), 0, NULL);
    assert_int_equal(json_array_size(json_object_get(document, "problems")), HEALTH_PROBLEMS_MAX);
    json_decref(document);
}

static void test_other_requests(void **state)
{
    static const struct {
        const char *request, *status;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"},
        {"GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"},
        {"GET /../metrics HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"},
        {"GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK"},
        {"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n", "405"},
        {"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "405"},
        {"get /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "405"},
    };
    const char *answer;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_shows(ask(cases[i].request), cases[i].status);
    }
    assert_shows(ask("PUT / HTTP/1.1\r\nHost: x\r\n\r\n"), "Allow: GET, HEAD\r\n");
    answer = ask("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_shows(answer, "200 OK");
    assert_string_equal(body_of(answer), "");
}

/* What is no HTTP, or more than a header may be, ends with its connection. */
static void test_nonsense(void **state)
{
    static char large[HTTP_HEADER_BYTES + 4096];
    static const char *const texts[] = {"\r\n\r\n\r\n", "nonsense\r\n\r\n", "GET\r\n\r\n",
                                        "\x16\x03\x01\x02\x01\r\n\r\n", large};

    memset(large, 'a', sizeof(large) - 1);
    memcpy(large, "GET /", 5);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int fd = open_client();
        size_t used = 0;

        send(fd, texts[i], strlen(texts[i]), MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        run_until(&loop, read_some(fd, &used));
        assert_null(strstr(page, "200 OK"));
        close(fd);
    }
    assert_shows(ask("GET /healthz HTTP/1.0\r\n\r\n"), "200 OK");
    run_until(&loop, http_metrics_clients(http) == 0);
}

/* ---- connections ---- */

/* Byte by byte, and while others are served. */
static void test_slow_request(void **state)
{
    static const char request[] = "GET /healthz HTTP/1.0\r\n\r\n";
    int slow = open_client();
    char answer[64] = "";
    size_t used = 0;

    for (size_t i = 0; i < strlen(request); i++) {
        assert_int_equal(send(slow, request + i, 1, MSG_NOSIGNAL), 1);
        run_ready(&loop);
        if (i == 10) {
            assert_shows(ask(request), "200 OK");
        }
    }
    run_until(&loop, read_some(slow, &used));
    snprintf(answer, sizeof(answer), "%.60s", page);
    assert_shows(answer, "200 OK");
    close(slow);
}

/* Who only connects gives way to who comes later, the oldest first. */
static void test_too_many(void **state)
{
    int fds[HTTP_CLIENTS_MAX + 3];
    size_t used = 0;

    for (unsigned i = 0; i < HTTP_CLIENTS_MAX; i++) {
        fds[i] = open_client();
        run_until(&loop, http_metrics_clients(http) == i + 1);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_false(read_some(fds[i], &used));
        fds[HTTP_CLIENTS_MAX + i] = open_client();
        run_until(&loop, read_some(fds[i], &used));
        assert_int_equal(used, 0);
        run_until(&loop, http_metrics_clients(http) <= HTTP_CLIENTS_MAX);
    }
    assert_false(read_some(fds[3], &used));
    assert_false(read_some(fds[HTTP_CLIENTS_MAX + 2], &used));
    for (unsigned i = 0; i < HTTP_CLIENTS_MAX + 3; i++) {
        close(fds[i]);
    }
    run_until(&loop, http_metrics_clients(http) == 0);
    assert_shows(ask("GET /healthz HTTP/1.0\r\n\r\n"), "200 OK");
}

/* One that goes while its page is being made, and one that is there when all ends. */
static void test_gone_clients(void **state)
{
    static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
    int fd = open_client();

    assert_true(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
    run_until(&loop, filled == 1);
    close(fd);
    run_until(&loop, http_metrics_clients(http) == 0);
    fd = open_client();
    run_until(&loop, http_metrics_clients(http) == 1);
    http_metrics_stop(http);
    close(fd);
}

/* ---- starting ---- */

static void test_taken_address(void **state)
{
    struct http_metrics_uses with = uses();
    struct http_metrics *second = NULL;
    char text[32], error[256] = "";
    struct http_address taken;

    snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(http_address_parse(&taken, text), 0);
    assert_int_equal(http_metrics_start(&with, &taken, &second, error, sizeof(error)), -EADDRINUSE);
    assert_null(second);
    assert_shows(error, text);
    assert_shows(error, "choose another address with --metrics-listen");
    assert_int_equal(http_metrics_clients(NULL), 0);
    http_metrics_stop(NULL);
    http_metrics_free(NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_metrics),        TEST(test_health),       TEST(test_longest_health),
        TEST(test_other_requests), TEST(test_nonsense),     TEST(test_slow_request),
        TEST(test_too_many),       TEST(test_gone_clients), TEST(test_taken_address),
    };

    return cmocka_run_group_tests_name("http_metrics", tests, NULL, NULL);
}
