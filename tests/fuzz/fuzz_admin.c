/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The admin socket: any bytes, in pieces of any size.  The mediator's real server and
 * command table answer, on a real core with two VMs, without sessions or workers.
 *
 * Input: pieces, each one byte of length and then that many bytes.  Whatever comes, what goes
 * back is whole responses, and each one that is no Prometheus text is a JSON object.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "core/job_trace.h"
#include "fuzz.h"
#include "mediator/control/health_watch.h"
#include "mediator/control/server.h"
#include "mediator/config/config_apply.h"
#include "mediator/config/config_store.h"
#include "mediator/events.h"
#include "mediator/effects.h"
#include "mediator/health/health.h"
#include "mediator/workers/gpus.h"
#include "mediator/sessions/listeners.h"
#include "mediator/mediator.h"
#include "mediator/sessions/session_io.h"
#include "mediator/metrics/shares.h"
#include "mediator/workers/supervisor.h"
#include "vgpu/vgpu_admin.h"

#define ANSWERS_MAX (4u * 1024 * 1024)
#define TURNS_MAX 64 /* of the loop without anything new: it has come to rest */

static struct mediator mediator;
static struct core_effects effects;
static struct gpu_list gpus = {.backend = "cpu", .count = 1, .gpus = {{"CPU-0", "fuzz", 1 << 30}}};
static char folder[64], path[96];
static uint8_t answers[ANSWERS_MAX];

static void remove_folder(void)
{
    unlink(path);
    rmdir(folder);
}

static void start_server(void)
{
    const char *temporary = getenv("TMPDIR");
    char error[512] = "";

    log_init("fuzz", LOG_LEVEL_ERROR - 1, false);
    snprintf(folder, sizeof(folder), "%.40s/fuzz-admin-XXXXXX", temporary ? temporary : "/tmp");
    CHECK(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/admin.sock", folder);
    atexit(remove_folder);
    CHECK(uv_loop_init(&mediator.loop) == 0);
    effects_table(&mediator, &effects);
    mediator.options.admin_path = path;
    mediator.gpus = &gpus;
    mediator.started_ns = clock_now_ns();
    strcpy(mediator.backend, "cpu");
    mediator.events = events_new();
    mediator.trace = job_trace_new();
    /* Each input has a core of its own; these parts are only counted and never call one. */
    mediator.sessions = session_io_new(&mediator.loop, NULL, mediator.events);
    mediator.supervisor = supervisor_new(&(struct supervisor_uses){.loop = &mediator.loop});
    mediator.shares = shares_new(&mediator.loop, NULL);
    mediator.listeners = listeners_new(&(struct listeners_uses){
        .loop = &mediator.loop, .events = mediator.events, .sessions = mediator.sessions});
    mediator.health = health_new();
    mediator.health_watch = health_watch_new(&mediator);
    CHECK(mediator.events && mediator.trace && mediator.sessions && mediator.supervisor &&
          mediator.shares && mediator.listeners && mediator.health && mediator.health_watch);
    if (admin_server_start(&mediator, path, &mediator.admin, error, sizeof(error)) < 0) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
}

static void make_core(void)
{
    static struct core_apply_result result;
    struct core_vm_config vms[2] = {0};
    struct core_config config;
    uint32_t bad;

    core_config_defaults(&config);
    mediator.core = core_new(&config, &effects);
    CHECK(mediator.core && core_gpu_add(mediator.core, "CPU-0") == 0);
    events_set_core(mediator.events, mediator.core);
    config_apply_default_pools(mediator.core, "AB");
    for (uint32_t i = 0; i < 2; i++) {
        vms[i].vm_id = i + 1;
        strcpy(vms[i].name, i ? "quote \" and \\ and \x01" : "one");
        vms[i].pool = 'A';
        vms[i].weight = 50;
    }
    CHECK(core_apply_vms(mediator.core, vms, 2, clock_now_ns(), &result, &bad) == 0);
}

/* Lets the server work until nothing comes any more; false: it has closed the connection. */
static bool turn(int fd, size_t *used)
{
    for (int idle = 0; idle < TURNS_MAX; idle++) {
        ssize_t n;

        uv_run(&mediator.loop, UV_RUN_NOWAIT);
        n = recv(fd, answers + *used, sizeof(answers) - *used, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno == ECONNRESET)) {
            return false;
        }
        if (n > 0) {
            *used += (size_t)n;
            CHECK(*used < sizeof(answers));
            idle = 0;
        }
        if (idle >= 4) {
            break;
        }
    }
    return true;
}

static void check_answers(size_t used)
{
    size_t at = 0;

    while (at < used) {
        VGPUAdminResponse response;
        const char *text;
        json_t *json;

        CHECK(used - at >= sizeof(response));
        memcpy(&response, answers + at, sizeof(response));
        at += sizeof(response);
        CHECK(response.magic == VGPU_ADMIN_MAGIC && response.data_len <= VGPU_ADMIN_DATA_MAX);
        CHECK(response.data_len <= used - at);
        text = (const char *)answers + at;
        at += response.data_len;
        if (response.data_len > 0 && text[0] == '#' && response.status == 0) {
            continue; /* Prometheus text */
        }
        json = json_loadb(text, response.data_len, 0, NULL);
        CHECK(json_is_object(json));
        CHECK(response.status == 0 || json_is_string(json_object_get(json, "error")));
        json_decref(json);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct supply supply = {data, size};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t used = 0;
    int fd;

    if (!mediator.admin) {
        start_server();
    }
    make_core();
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    while (supply.size > 0) {
        size_t got;
        uint8_t want = supply_byte(&supply);
        const uint8_t *piece = supply_bytes(&supply, want, &got);

        if (got > 0 && send(fd, piece, got, MSG_NOSIGNAL) < 0) {
            break;
        }
        if (!turn(fd, &used)) {
            break;
        }
    }
    turn(fd, &used);
    close(fd);
    for (int i = 0; i < 4; i++) {
        uv_run(&mediator.loop, UV_RUN_NOWAIT); /* it sees that we are gone */
    }
    check_answers(used);
    core_free(mediator.core);
    mediator.core = NULL;
    return 0;
}
