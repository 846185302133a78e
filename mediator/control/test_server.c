/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The administration socket: the real server and command table on a real core with three
 * VMs and two GPUs, without sessions or workers.  The test is its clients, in the same
 * thread: it speaks, lets the loop run, and reads.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/clock.h"
#include "core/job_trace.h"
#include "common/names.h"
#include "core/no_effects.h"
#include "mediator/config/config_apply.h"
#include "mediator/control/health_watch.h"
#include "mediator/control/server.h"
#include "mediator/events.h"
#include "mediator/health/health.h"
#include "mediator/mediator.h"
#include "mediator/metrics/shares.h"
#include "mediator/sessions/listeners.h"
#include "mediator/sessions/session_io.h"
#include "mediator/test_loop.h"
#include "mediator/workers/gpus.h"
#include "mediator/workers/supervisor.h"

#define EACH(array) (sizeof(array) / sizeof((array)[0]))
#define FILES_MAX 256 /* a process may have open, in one test */
#define HOSTILE "quote \" \\ \x01 \x7f"

static struct mediator mediator;
static struct gpu_list gpus = {.backend = "cpu", .count = 2, .gpus = {{"CPU-0", "one", 1 << 30}}};
static char folder[] = "/tmp/vgpu-server-XXXXXX";
static char path[64];

/* ---- the mediator ---- */

static void make_core(void)
{
    static struct core_apply_result result;
    struct core_vm_config vms[3] = {0};
    struct core_config config;
    uint32_t bad;

    core_config_defaults(&config);
    mediator.core = core_new(&config, &no_effects);
    assert_non_null(mediator.core);
    assert_int_equal(core_gpu_add(mediator.core, "CPU-0"), 0);
    assert_int_equal(core_gpu_add(mediator.core, "CPU-1"), 1);
    events_set_core(mediator.events, mediator.core);
    config_apply_default_pools(mediator.core, "AB");
    for (uint32_t i = 0; i < EACH(vms); i++) {
        vms[i].vm_id = i + 1;
        strcpy(vms[i].name, i == 2 ? HOSTILE : "plain");
        vms[i].pool = 'A';
        vms[i].weight = 50;
    }
    assert_int_equal(core_apply_vms(mediator.core, vms, EACH(vms), clock_now_ns(), &result, &bad),
                     0);
}

static int setup(void **state)
{
    char error[512] = "";

    memset(&mediator, 0, sizeof(mediator));
    strcpy(folder, "/tmp/vgpu-server-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/admin.sock", folder);
    assert_int_equal(uv_loop_init(&mediator.loop), 0);
    mediator.options.admin_path = path;
    mediator.gpus = &gpus;
    mediator.started_ns = clock_now_ns();
    strcpy(mediator.backend, "cpu");
    mediator.events = events_new();
    mediator.trace = job_trace_new();
    mediator.health = health_new();
    mediator.health_watch = health_watch_new(&mediator);
    assert_true(mediator.events && mediator.trace && mediator.health && mediator.health_watch);
    make_core();
    mediator.sessions = session_io_new(&mediator.loop, mediator.core, mediator.events);
    mediator.supervisor = supervisor_new(&(struct supervisor_uses){.loop = &mediator.loop});
    mediator.shares = shares_new(&mediator.loop, mediator.core);
    mediator.listeners = listeners_new(&(struct listeners_uses){
        .loop = &mediator.loop, .events = mediator.events, .sessions = mediator.sessions});
    assert_true(mediator.sessions && mediator.supervisor && mediator.shares && mediator.listeners);
    if (admin_server_start(&mediator, path, &mediator.admin, error, sizeof(error)) < 0) {
        fail_msg("%s", error);
    }
    return 0;
}

static int teardown(void **state)
{
    mediator.stopping = true;
    admin_server_stop(mediator.admin);
    admin_server_stop(mediator.admin);
    assert_int_equal(access(path, F_OK), -1);
    end_loop(&mediator.loop);
    admin_server_free(mediator.admin);
    listeners_free(mediator.listeners);
    shares_free(mediator.shares);
    supervisor_free(mediator.supervisor);
    session_io_free(mediator.sessions);
    health_watch_free(mediator.health_watch);
    health_free(mediator.health);
    job_trace_free(mediator.trace);
    events_free(mediator.events);
    core_free(mediator.core);
    return rmdir(folder);
}

/* ---- a client ---- */

static int open_client(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    strcpy(address.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void say(int fd, uint32_t command, uint32_t param1, const char *body)
{
    VGPUAdminRequest request = {VGPU_ADMIN_MAGIC, command, param1, (uint32_t)strlen(body)};

    assert_int_equal(send(fd, &request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
    assert_int_equal(send(fd, body, strlen(body), MSG_NOSIGNAL), strlen(body));
}

/* All of it, while the loop runs; false: the connection has ended before. */
static bool get(int fd, void *data, size_t bytes)
{
    size_t used = 0;
    ssize_t n = 0;

    while (used < bytes && n >= 0) {
        run_until(&mediator.loop,
                  (n = recv(fd, (char *)data + used, bytes - used, 0)) >= 0 || errno != EAGAIN);
        if (n == 0) {
            return false;
        }
        used += n > 0 ? (size_t)n : 0;
    }
    return n >= 0;
}

/* The status of the next answer, and its text; -1: there is none, the connection has ended. */
static int64_t hear(int fd, char **text)
{
    VGPUAdminResponse response;

    *text = NULL;
    if (!get(fd, &response, sizeof(response))) {
        return -1;
    }
    assert_int_equal(response.magic, VGPU_ADMIN_MAGIC);
    assert_true(response.data_len <= VGPU_ADMIN_DATA_MAX);
    *text = calloc(1, response.data_len + 1);
    assert_non_null(*text);
    assert_true(response.data_len == 0 || get(fd, *text, response.data_len));
    return response.status;
}

static bool has_ended(int fd)
{
    char *text;
    bool ended = hear(fd, &text) == -1;

    free(text);
    return ended;
}

static json_t *hear_json(int fd, int64_t status)
{
    char *text;
    int64_t heard = hear(fd, &text);
    json_t *document;

    if (heard != status) {
        fail_msg("status %d instead of %d: %s", (int)heard, (int)status, text ? text : "ended");
    }
    document = json_loads(text, 0, NULL);
    assert_true(json_is_object(document));
    free(text);
    return document;
}

/* The command is answered so; part: of the error, or NULL. */
static void expect(int fd, uint32_t command, uint32_t param1, const char *body, int status,
                   const char *part)
{
    json_t *document;
    const char *error;

    say(fd, command, param1, body);
    document = hear_json(fd, status);
    error = json_string_value(json_object_get(document, "error"));
    assert_int_equal(error != NULL, status != 0);
    if (part && !strstr(error, part)) {
        fail_msg("\"%s\" is not in \"%s\"", part, error);
    }
    json_decref(document);
}

static json_t *ask(int fd, uint32_t command, const char *body)
{
    say(fd, command, 0, body);
    return hear_json(fd, 0);
}

static void leave(int fd)
{
    uint32_t clients = admin_server_clients(mediator.admin);

    close(fd);
    run_until(&mediator.loop, admin_server_clients(mediator.admin) < clients);
}

static bool paused(uint32_t gpu)
{
    return wfq_paused(core_gpu_scheduler(mediator.core, gpu));
}

/* ---- answers ---- */

static void test_looking(void **state)
{
    int fd = open_client();
    json_t *document = ask(fd, VGPU_ADMIN_SHOW_STATUS, ""), *vm;

    assert_int_equal(json_array_size(json_object_get(document, "vms")), 3);
    assert_int_equal(json_array_size(json_object_get(document, "gpus")), 2);
    assert_true(json_is_null(json_object_get(document, "database")));
    vm = json_array_get(json_object_get(document, "vms"), 2);
    assert_string_equal(json_string_value(json_object_get(vm, "name")), HOSTILE);
    assert_true(json_is_null(json_object_get(vm, "worker_pid")));
    json_decref(document);
    document = ask(fd, VGPU_ADMIN_SHOW_HEALTH, "");
    assert_true(json_is_array(json_object_get(document, "workers")));
    json_decref(document);
    document = ask(fd, VGPU_ADMIN_SHOW_CONNECTIONS, "");
    assert_int_equal(json_array_size(json_object_get(document, "connections")), 0);
    json_decref(document);
    document = ask(fd, VGPU_ADMIN_SHOW_SCHEDULE, "");
    assert_string_equal(json_string_value(json_object_get(document, "policy")), "wfq");
    json_decref(document);
    leave(fd);
}

static void test_refused(void **state)
{
    static const struct {
        uint32_t command, param1;
        const char *body;
        int status;
        const char *error;
    } cases[] = {
        {0, 0, "", ENOSYS, "command 0x0 is unknown"},
        {UINT32_MAX, 0, "{}", ENOSYS, "command 0xffffffff is unknown"},
        {VGPU_ADMIN_RELOAD_CONFIG, 0, "", ENOTSUP, "--no-db"},
        {VGPU_ADMIN_SHOW_METRICS, 2, "", EINVAL, "0 (JSON) or 1 (Prometheus text)"},
        {VGPU_ADMIN_QUARANTINE_VM, 0, "", ENOENT, "no VM with vm_id 0"},
        {VGPU_ADMIN_QUARANTINE_VM, 4, "", ENOENT, "no VM with vm_id 4"},
        {VGPU_ADMIN_UNQUARANTINE_VM, UINT32_MAX, "", ENOENT, "no VM with vm_id 4294967295"},
        {VGPU_ADMIN_SET_POLICY, 0, "", EINVAL, POLICY_WORDS},
        {VGPU_ADMIN_SET_POLICY, 0, "{\"policy\": \"WFQ\"}", EINVAL, "must be one of"},
        {VGPU_ADMIN_SET_POLICY, 0, "{\"policy\": 1}", EINVAL, "must be one of"},
        {VGPU_ADMIN_SET_POLICY, 0, "[\"wfq\"]", EINVAL, "no JSON object"},
        {VGPU_ADMIN_SET_POLICY, 0, "{\"policy\": \"wfq\"", EINVAL, "no JSON object"},
        {VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 2}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_PAUSE, 0, "{\"gpu\": -1}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_PAUSE, 0, "{\"gpu\": \"0\"}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 0.0}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_PAUSE, 0, "{\"gpu\": null}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 4294967296}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_RESUME, 0, "{\"gpu\": 9223372036854775807}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_PREFER_VM, 4, "", ENOENT, "no VM with vm_id 4"},
        {VGPU_ADMIN_TRACE_JOB, 0, "{\"job_id\": -1}", EINVAL, "whole numbers"},
        {VGPU_ADMIN_TRACE_JOB, 0, "{\"job_id\": 1}", ENOENT, "there was no job 1 yet"},
        {VGPU_ADMIN_TRACE_JOB, 0, "{\"vm_id\": 4294967296}", EINVAL, "whole numbers"},
        {VGPU_ADMIN_TRACE_JOB, 0, "{\"last\": \"5\"}", EINVAL, "whole numbers"},
        {VGPU_ADMIN_TRACE_JOB, 0, "{\"last\": 100000}", EINVAL, "from 0 to"},
    };
    int fd = open_client();

    for (size_t i = 0; i < EACH(cases); i++) {
        expect(fd, cases[i].command, cases[i].param1, cases[i].body, cases[i].status,
               cases[i].error);
    }
    assert_false(paused(0) || paused(1));
    leave(fd);
}

static void test_metrics(void **state)
{
    int fd = open_client();
    json_t *document;
    char *text;

    say(fd, VGPU_ADMIN_SHOW_METRICS, 1, "");
    assert_int_equal(hear(fd, &text), 0);
    assert_non_null(strstr(text, "# TYPE vgpu_mediator_build_info gauge\n"));
    free(text);
    document = ask(fd, VGPU_ADMIN_SHOW_METRICS, "");
    assert_int_equal(json_array_size(json_object_get(document, "vms")), 3);
    json_decref(document);
    /* Gone while it is being made. */
    say(fd, VGPU_ADMIN_SHOW_METRICS, 1, "");
    uv_run(&mediator.loop, UV_RUN_NOWAIT);
    leave(fd);
}

static void test_quarantine(void **state)
{
    int fd = open_client();
    json_t *document;

    expect(fd, VGPU_ADMIN_QUARANTINE_VM, 2, "", 0, NULL);
    document = ask(fd, VGPU_ADMIN_SHOW_STATUS, "");
    assert_true(json_is_true(
        json_object_get(json_array_get(json_object_get(document, "vms"), 1), "quarantined")));
    json_decref(document);
    expect(fd, VGPU_ADMIN_UNQUARANTINE_VM, 2, "", 0, NULL);
    expect(fd, VGPU_ADMIN_UNQUARANTINE_VM, 2, "", 0, NULL);
    document = ask(fd, VGPU_ADMIN_SHOW_STATUS, "");
    assert_true(json_is_false(
        json_object_get(json_array_get(json_object_get(document, "vms"), 1), "quarantined")));
    json_decref(document);
    leave(fd);
}

/* ---- what a connection holds ---- */

static void test_pauses(void **state)
{
    int fd = open_client(), other = open_client();

    expect(fd, VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 1}", 0, NULL);
    assert_true(!paused(0) && paused(1));
    leave(fd);
    assert_true(paused(1)); /* the administrator's word stays */
    expect(other, VGPU_ADMIN_PAUSE, 0, "", 0, NULL);
    assert_true(paused(0) && paused(1));
    expect(other, VGPU_ADMIN_RESUME, 0, "{\"gpu\": 0}", 0, NULL);
    assert_true(!paused(0) && paused(1));
    expect(other, VGPU_ADMIN_RESUME, 0, "{}", 0, NULL);
    assert_false(paused(0) || paused(1));
    leave(other);
}

static void test_holds_end_with_the_connection(void **state)
{
    int fd = open_client(), other = open_client();

    expect(fd, VGPU_ADMIN_PAUSE, 0, "{\"hold\": true}", 0, NULL);
    expect(fd, VGPU_ADMIN_PREFER_VM, 2, "{\"hold\": true}", 0, NULL);
    expect(other, VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 0, \"hold\": true}", 0, NULL);
    assert_true(paused(0) && paused(1));
    leave(fd);
    assert_true(paused(0) && !paused(1));
    assert_int_equal(mediator.holds.preferring, 0);
    leave(other);
    assert_false(paused(0) || paused(1));
}

/* ---- requests in any shape ---- */

static void test_in_pieces(void **state)
{
    static const char body[] = "{\"policy\": \"fifo\"}";
    VGPUAdminRequest request = {VGPU_ADMIN_MAGIC, VGPU_ADMIN_SET_POLICY, 0, sizeof(body) - 1};
    char whole[sizeof(request) + sizeof(body) - 1];
    int fd = open_client();

    memcpy(whole, &request, sizeof(request));
    memcpy(whole + sizeof(request), body, sizeof(body) - 1);
    for (size_t i = 0; i < sizeof(whole); i++) {
        assert_int_equal(core_policy(mediator.core), WFQ_POLICY_WFQ);
        assert_int_equal(send(fd, whole + i, 1, MSG_NOSIGNAL), 1);
        run_ready(&mediator.loop);
    }
    json_decref(hear_json(fd, 0));
    assert_int_equal(core_policy(mediator.core), WFQ_POLICY_FIFO);
    leave(fd);
}

/* Several at once are answered in their order; the body of an unknown command is left out. */
static void test_several_at_once(void **state)
{
    int fd = open_client();

    say(fd, VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 0}");
    say(fd, 0x7777, 0, "{\"of\": \"a later version\"}");
    say(fd, VGPU_ADMIN_QUARANTINE_VM, 9, "");
    say(fd, VGPU_ADMIN_SHOW_METRICS, 0, "");
    say(fd, VGPU_ADMIN_RESUME, 0, "");
    json_decref(hear_json(fd, 0));
    json_decref(hear_json(fd, ENOSYS));
    json_decref(hear_json(fd, ENOENT));
    json_decref(hear_json(fd, 0));
    json_decref(hear_json(fd, 0));
    assert_false(paused(0));
    leave(fd);
}

static void test_longest_body(void **state)
{
    char body[VGPU_ADMIN_BODY_MAX + 1];
    VGPUAdminRequest request = {VGPU_ADMIN_MAGIC, VGPU_ADMIN_PAUSE, 0, VGPU_ADMIN_BODY_MAX + 1};
    int fd = open_client();

    memset(body, ' ', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    memcpy(body, "{\"gpu\": 0}", 10);
    expect(fd, VGPU_ADMIN_PAUSE, 0, body, 0, NULL);
    assert_true(paused(0));
    assert_int_equal(send(fd, &request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
    json_decref(hear_json(fd, EMSGSIZE));
    assert_true(has_ended(fd));
    close(fd);
    run_until(&mediator.loop, admin_server_clients(mediator.admin) == 0);
}

static void test_another_protocol(void **state)
{
    static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                        "\x16\x03\x01\x02\x01\x01\x02\x03\x04\x05\x06\x07\x08\x09"
                                        "\x0a\x0b\x0c"};

    for (size_t i = 0; i < EACH(texts); i++) {
        int fd = open_client();

        assert_true(send(fd, texts[i], strlen(texts[i]), MSG_NOSIGNAL) > 0);
        json_decref(hear_json(fd, EBADMSG));
        assert_true(has_ended(fd));
        close(fd);
    }
    run_until(&mediator.loop, admin_server_clients(mediator.admin) == 0);
}

/* One that asks and does not read: what waits for it has a limit, and none of it is lost. */
static void test_client_that_does_not_read(void **state)
{
    VGPUAdminRequest request = {VGPU_ADMIN_MAGIC, VGPU_ADMIN_SHOW_STATUS, 0, 0};
    int fd = open_client(), other = open_client();
    unsigned asked = 0, answered = 0;

    while (send(fd, &request, sizeof(request), MSG_NOSIGNAL) == (ssize_t)sizeof(request)) {
        asked++;
        run_ready(&mediator.loop);
    }
    assert_int_equal(errno, EAGAIN); /* it is not read any more either */
    expect(other, VGPU_ADMIN_PAUSE, 0, "", 0, NULL);
    while (answered < asked) {
        json_decref(hear_json(fd, 0));
        answered++;
    }
    leave(fd);
    leave(other);
}

/* ---- events ---- */

static void expect_event(int fd, const char *kind)
{
    json_t *record = hear_json(fd, 0);

    assert_string_equal(json_string_value(json_object_get(record, "kind")), kind);
    json_decref(record);
}

static void test_events(void **state)
{
    int fd = open_client(), listener = open_client();

    expect(fd, VGPU_ADMIN_PAUSE, 0, "", 0, NULL);
    expect(fd, VGPU_ADMIN_RESUME, 0, "", 0, NULL);
    expect(fd, VGPU_ADMIN_SET_POLICY, 0, "{\"policy\": \"fifo\"}", 0, NULL);
    say(listener, VGPU_ADMIN_EVENTS, 2, ""); /* the last two, then what comes */
    expect_event(listener, "resume");
    expect_event(listener, "policy");
    /* What a listener says is of no interest. */
    assert_true(send(listener, "nonsense nonsense", 17, MSG_NOSIGNAL) == 17);
    expect(fd, VGPU_ADMIN_PREFER_VM, 1, "{\"hold\": true}", 0, NULL);
    expect_event(listener, "prefer_vm");
    leave(fd); /* which held a preference: that is an event, too */
    expect_event(listener, "prefer_vm");
    leave(listener);
}

static void test_listener_that_does_not_read(void **state)
{
    int listener = open_client();
    uint64_t events = 0;

    say(listener, VGPU_ADMIN_EVENTS, 0, "");
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
        fds[i] = open_client();
        expect(fds[i], VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 1, \"hold\": true}", 0, NULL);
    }
    for (int i = 0; i < 3; i++) {
        late = open_client();
        assert_int_equal(hear(late, &text), EUSERS); /* before it has asked anything */
        snprintf(holder, sizeof(holder), "%u of them by process %d", ADMIN_CLIENTS_MAX,
                 (int)getpid());
        assert_non_null(strstr(text, holder));
        free(text);
        assert_true(has_ended(late));
        close(late);
    }
    /* A place that is free again is a new client's, with nothing of the old one's. */
    leave(fds[5]);
    fds[5] = open_client();
    expect(fds[5], VGPU_ADMIN_PREFER_VM, 1, "", 0, NULL);
    for (unsigned i = 0; i < ADMIN_CLIENTS_MAX; i++) {
        if (i != 5) {
            assert_true(paused(1));
            leave(fds[i]);
        }
    }
    assert_false(paused(1));
    leave(fds[5]);
}

/* No descriptor is left: it is said, and the loop does not spin. */
static void test_no_descriptors(void **state)
{
    int fds[FILES_MAX], late = open_client();
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
    assert_int_equal(hear(late, &text), EUSERS);
    assert_non_null(strstr(text, "LimitNOFILE="));
    free(text);
    assert_true(has_ended(late));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    while (count > 0) {
        close(fds[--count]);
    }
    close(late);
    late = open_client();
    expect(late, VGPU_ADMIN_PAUSE, 0, "", 0, NULL);
    leave(late);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_looking),
        TEST(test_refused),
        TEST(test_metrics),
        TEST(test_quarantine),
        TEST(test_pauses),
        TEST(test_holds_end_with_the_connection),
        TEST(test_in_pieces),
        TEST(test_several_at_once),
        TEST(test_longest_body),
        TEST(test_another_protocol),
        TEST(test_client_that_does_not_read),
        TEST(test_events),
        TEST(test_listener_that_does_not_read),
        TEST(test_places),
        TEST(test_no_descriptors),
    };

    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
