/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the daemon does with NVML's readings, against the stand-in library (argv[1]): a GPU
 * that is lost gets no work, one that needs a reset gets it when nothing runs on it.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/json_out.h"
#include "core/no_effects.h"
#include "mediator/events.h"
#include "mediator/gpu/gpu_health.h"
#include "mediator/gpu/gpu_reset.h"
#include "mediator/test_loop.h"
#include "mediator/workers/gpus.h"

#define GPU0 "GPU-abababab-abab-abab-abab-ababababab00"
#define GPU1 "GPU-abababab-abab-abab-abab-ababababab01"
#define LOST "error=15 only=1" /* NVML_GPU_IS_LOST, of GPU 1 */

static const char *library;
static char folder[] = "/tmp/vgpu-gpu-health-XXXXXX";
static char settings[64], command[64], calls[64];
static struct gpu_list gpus = {
    .backend = "cuda", .count = 2, .gpus = {{GPU0, "", 0}, {GPU1, "", 0}}};
static uv_loop_t loop;
static struct core *core;
static struct events *events;
static struct gpu_health *health;
static char told[4096]; /* the events, a line each */

static void write_file(const char *path, const char *text)
{
    char name[80];
    FILE *f;

    snprintf(name, sizeof(name), "%s.new", path);
    f = fopen(name, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(name, 0755), 0);
    assert_int_equal(rename(name, path), 0);
}

/* What the stand-in says from now on: of two GPUs. */
static void set(const char *text)
{
    char both[256];

    snprintf(both, sizeof(both), "gpus=2 %s", text);
    write_file(settings, both);
}

static void on_event(void *opaque, const struct event_record *record)
{
    size_t used = strlen(told);

    snprintf(told + used, sizeof(told) - used, "%s: %s\n", record->kind, record->text);
}

static int ask(void *opaque, const char *uuid, const int fds[LAUNCHER_FDS])
{
    return launcher_ask(*(int *)opaque, 0, uuid, fds);
}

/* `reset_command` NULL: GPUs are not reset. */
static void start(const char *reset_command)
{
    static struct gpu_reset_way way;
    static int launcher;
    char *argv[] = {(char *)reset_command, NULL};
    struct launcher_program program = {
        .argv = argv, .argument = true, .as_fd = STDOUT_FILENO, .timeout_s = 60};

    struct gpu_health_uses uses = {.loop = &loop, .core = core, .events = events, .gpus = &gpus};

    launcher = reset_command ? launcher_start(&program, 1) : -1;
    way = (struct gpu_reset_way){reset_command, ask, &launcher};
    health = gpu_health_new(&uses, library, reset_command ? &way : NULL);
    assert_non_null(health);
    assert_int_equal(gpu_health_start(health), 0);
}

static int setup(void **state)
{
    struct core_config config;

    strcpy(folder, "/tmp/vgpu-gpu-health-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(settings, sizeof(settings), "%s/nvml", folder);
    snprintf(command, sizeof(command), "%s/reset", folder);
    snprintf(calls, sizeof(calls), "%s/calls", folder);
    setenv("NVML_STAND_IN", settings, 1);
    core_config_defaults(&config);
    core = core_new(&config, &no_effects);
    events = events_new();
    assert_true(core && events);
    assert_int_equal(core_gpu_add(core, GPU0), 0);
    assert_int_equal(core_gpu_add(core, GPU1), 1);
    events_set_core(events, core);
    events_subscribe(events, on_event, NULL);
    assert_int_equal(uv_loop_init(&loop), 0);
    told[0] = '\0';
    health = NULL;
    set("");
    return 0;
}

static int teardown(void **state)
{
    gpu_health_stop(health);
    gpu_health_stop(health);
    end_loop(&loop);
    gpu_health_free(health);
    events_free(events);
    core_free(core);
    unlink(settings);
    unlink(command);
    unlink(calls);
    return rmdir(folder);
}

static struct metrics_gpu_readings readings(uint32_t gpu)
{
    struct metrics_external external;

    metrics_external_init(&external);
    gpu_health_fill(health, gpu, &external.gpus[gpu]);
    return external.gpus[gpu];
}

static json_t *shown(uint32_t gpu)
{
    struct json_out out;
    json_t *document, *inner;

    jout_init(&out, 65536);
    jout_object(&out, NULL);
    gpu_health_put_json(health, &out, gpu);
    jout_object_end(&out);
    assert_false(out.failed);
    document = json_loadb(out.text, out.length, 0, NULL);
    assert_non_null(document);
    jout_destroy(&out);
    inner = json_incref(json_object_get(document, "health"));
    json_decref(document);
    return inner;
}

static bool shows(uint32_t gpu, const char *member)
{
    json_t *document = shown(gpu);
    bool is_true = json_is_true(json_object_get(document, member));

    json_decref(document);
    return is_true;
}

/* ---- readings ---- */

static void test_readings(void **state)
{
    struct metrics_gpu_readings r;
    json_t *document;

    /* The stand-in makes GPU 1 a degree warmer. */
    set("temperature=61 gpu=77 power=345678 clocks=0x4 pid=4711 used=2048");
    start(NULL);
    run_until(&loop, readings(1).temperature_celsius == 62);
    r = readings(1);
    assert_true(fabs(r.power_watts - 345.678) < 1e-9 && fabs(r.utilization_ratio - 0.77) < 1e-9);
    assert_true(r.memory_used_bytes == 2147483648.0 && r.throttled == 1 && r.reset_required == 0);
    assert_true(r.age_seconds >= 0);
    assert_true(isnan(readings(2).temperature_celsius)); /* there is none */
    assert_true(gpu_health_process_bytes(health, 1, 4711) == 500ull << 20);
    assert_true(gpu_health_process_bytes(health, 1, 4712) == 0);
    assert_true(gpu_health_process_bytes(health, 2, 4711) == 0);
    document = shown(1);
    assert_int_equal(json_integer_value(json_object_get(document, "temperature_c")), 62);
    assert_string_equal(json_string_value(json_object_get(document, "clocks_events")), "power cap");
    assert_true(json_is_true(json_object_get(document, "available")));
    json_decref(document);
    assert_string_equal(gpu_health_trouble(health), "");
    assert_string_equal(gpu_health_reason(health, 1), "");
}

static void test_without_nvml(void **state)
{
    json_t *document = shown(0);

    assert_true(json_is_null(document));
    json_decref(document);
    assert_string_equal(gpu_health_trouble(NULL), "");
    assert_string_equal(gpu_health_reason(NULL, 0), "");
    assert_true(gpu_health_process_bytes(NULL, 0, 1) == 0);
    assert_true(isnan(readings(0).temperature_celsius));
    gpu_health_stop(NULL);
    gpu_health_free(NULL);
}

/* NVML does not start: the GPUs stay in use, and why there is no news is said. */
static void test_nvml_that_does_not_start(void **state)
{
    set("init=999");
    start(NULL);
    run_until(&loop, gpu_health_trouble(health)[0] != '\0');
    assert_true(core_gpu_available(core, 0) && core_gpu_available(core, 1));
    set("temperature=50");
    run_until(&loop, readings(0).temperature_celsius == 50);
    assert_string_equal(gpu_health_trouble(health), "");
}

/* ---- a GPU that can't be used ---- */

static void test_lost(void **state)
{
    start(NULL);
    run_until(&loop, !isnan(readings(1).temperature_celsius));
    set(LOST);
    run_until(&loop, !core_gpu_available(core, 1));
    assert_true(core_gpu_available(core, 0));
    assert_non_null(strstr(told, "gpu_health: GPU 1 (" GPU1 ") is taken out of use: "));
    assert_non_null(strstr(gpu_health_reason(health, 1), "lost"));
    assert_false(shows(1, "needs_reset"));
    set("");
    run_until(&loop, core_gpu_available(core, 1));
    assert_non_null(strstr(told, "gpu_health: GPU 1 (" GPU1 ") is well again"));
    assert_string_equal(gpu_health_reason(health, 1), "");
}

/* ---- resets ---- */

static unsigned called(void)
{
    FILE *f = fopen(calls, "r");
    unsigned lines = 0;
    char line[128];

    while (f && fgets(line, sizeof(line), f)) {
        assert_true(strcmp(line, GPU0 "\n") == 0 || strcmp(line, GPU1 "\n") == 0);
        lines++;
    }
    if (f) {
        fclose(f);
    }
    return lines;
}

static void write_command(const char *rest)
{
    char text[256];

    snprintf(text, sizeof(text), "#!/bin/sh\necho $1 >> %s\n%s\n", calls, rest);
    write_file(command, text);
}

/* Without a command it is said, and nothing is done. */
static void test_no_reset_by_itself(void **state)
{
    start(NULL);
    set("recovery=1");
    run_until(&loop, !core_gpu_available(core, 0) && !core_gpu_available(core, 1));
    assert_true(shows(0, "needs_reset"));
    assert_false(shows(0, "resetting"));
    assert_true(readings(0).reset_required == 1);
    assert_null(strstr(told, "gpu_reset"));
}

/* Only when its processes have left; then it is given back. */
static void test_reset(void **state)
{
    char well[160];

    snprintf(well, sizeof(well), "echo gpus=2 recovery=0 > %s", settings);
    write_command(well);
    set("recovery=1 pid=4711");
    start(command);
    run_until(&loop, shows(0, "resetting"));
    run_until(&loop, !core_gpu_available(core, 1));
    assert_non_null(strstr(told, "gpu_reset: GPU 0 (" GPU0 "): is to be reset; waiting"));
    assert_int_equal(called(), 0);
    set("recovery=1");
    run_until(&loop, core_gpu_available(core, 0) && core_gpu_available(core, 1));
    assert_int_equal(called(), 1);
    assert_non_null(strstr(told, "gpu_reset: GPU 0 (" GPU0 "): reset in "));
    assert_false(shows(0, "resetting"));
}

/* One that fails is told with what it printed, and not tried again soon; the next GPU follows. */
static void test_reset_that_fails(void **state)
{
    write_command("echo it is busy; exit 3");
    set("recovery=1");
    start(command);
    run_until(&loop, strstr(told, "GPU 1 (" GPU1 "): the reset command failed with status 3: it is "
                                  "busy"));
    assert_non_null(strstr(told, "GPU 0 (" GPU0 "): the reset command failed with status 3"));
    assert_int_equal(called(), 2);
    assert_false(core_gpu_available(core, 0));
}

static void test_no_such_command(void **state)
{
    set("recovery=1 only=0");
    start("/nowhere/reset");
    run_until(&loop, strstr(told, "the reset command /nowhere/reset could not be run: No such"));
}

int main(int argc, char *argv[])
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_readings),
        TEST(test_without_nvml),
        TEST(test_nvml_that_does_not_start),
        TEST(test_lost),
        TEST(test_no_reset_by_itself),
        TEST(test_reset),
        TEST(test_reset_that_fails),
        TEST(test_no_such_command),
    };

    if (argc != 2) {
        return 2;
    }
    library = argv[1];
    return cmocka_run_group_tests_name("gpu_health", tests, NULL, NULL);
}
