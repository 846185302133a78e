/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/control/test_admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/clock.h"
#include "core/job_trace.h"
#include "core/no_effects.h"
#include "mediator/config/config_apply.h"
#include "mediator/control/health_watch.h"
#include "mediator/control/server.h"
#include "mediator/events.h"
#include "mediator/health/health.h"
#include "mediator/metrics/shares.h"
#include "mediator/sessions/listeners.h"
#include "mediator/sessions/session_io.h"
#include "mediator/workers/gpus.h"
#include "mediator/workers/supervisor.h"

struct mediator mediator;

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
        strcpy(vms[i].name, i == 2 ? ADMIN_HOSTILE_NAME : "plain");
        vms[i].pool = 'A';
        vms[i].weight = 50;
    }
    assert_int_equal(core_apply_vms(mediator.core, vms, EACH(vms), clock_now_ns(), &result, &bad),
                     0);
}

int admin_setup(void **state)
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

int admin_teardown(void **state)
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

int admin_client(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    strcpy(address.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

void admin_say(int fd, uint32_t command, uint32_t param1, const char *body)
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

int64_t admin_hear(int fd, char **text)
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

bool admin_has_ended(int fd)
{
    char *text;
    bool ended = admin_hear(fd, &text) == -1;

    free(text);
    return ended;
}

json_t *admin_hear_json(int fd, int64_t status)
{
    char *text;
    int64_t heard = admin_hear(fd, &text);
    json_t *document;

    if (heard != status) {
        fail_msg("status %d instead of %d: %s", (int)heard, (int)status, text ? text : "ended");
    }
    document = json_loads(text, 0, NULL);
    assert_true(json_is_object(document));
    free(text);
    return document;
}

void admin_expect(int fd, uint32_t command, uint32_t param1, const char *body, int status,
                  const char *part)
{
    json_t *document;
    const char *error;

    admin_say(fd, command, param1, body);
    document = admin_hear_json(fd, status);
    error = json_string_value(json_object_get(document, "error"));
    assert_int_equal(error != NULL, status != 0);
    if (part && !strstr(error, part)) {
        fail_msg("\"%s\" is not in \"%s\"", part, error);
    }
    json_decref(document);
}

json_t *admin_ask(int fd, uint32_t command, const char *body)
{
    admin_say(fd, command, 0, body);
    return admin_hear_json(fd, 0);
}

void admin_leave(int fd)
{
    uint32_t clients = admin_server_clients(mediator.admin);

    close(fd);
    run_until(&mediator.loop, admin_server_clients(mediator.admin) < clients);
}

bool admin_paused(uint32_t gpu)
{
    return wfq_paused(core_gpu_scheduler(mediator.core, gpu));
}
