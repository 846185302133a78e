/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nvml_health, and nvml_monitor against the stand-in library (argv[1]). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mediator/gpu/nvml_monitor.h"

#define GPU0 "GPU-abababab-abab-abab-abab-ababababab00"
#define GPU1 "GPU-abababab-abab-abab-abab-ababababab01"
#define WAIT_MS 20000

static const char *library;
static char settings[] = "/tmp/vgpu-nvml-XXXXXX";
static char shutdowns[sizeof(settings) + 8];

/* ---- judging ---- */

static nvml_health_t healthy(void)
{
    return (nvml_health_t){
        .taken_ns = 1,
        .has = NVML_HAS_TEMPERATURE | NVML_HAS_SLOWDOWN | NVML_HAS_CLOCKS_EVENTS | NVML_HAS_ECC |
               NVML_HAS_ROWS | NVML_HAS_PAGES | NVML_HAS_RECOVERY | NVML_HAS_XIDS,
        .temperature_c = 40,
        .slowdown_c = 90,
        .clocks_events = NVML_CLOCKS_IDLE,
    };
}

static struct nvml_verdict judge(const nvml_health_t *health)
{
    struct nvml_verdict verdict;

    nvml_health_judge(health, &verdict);
    assert_true(verdict.available == (verdict.reason[0] == '\0'));
    assert_false(verdict.available && verdict.needs_reset);
    return verdict;
}

static void test_healthy(void **state)
{
    nvml_health_t health = healthy();
    struct nvml_verdict verdict = judge(&health);

    assert_true(verdict.available);
    assert_string_equal(verdict.warning, "");
}

static void test_what_takes_a_gpu_away(void **state)
{
    nvml_health_t health = healthy();
    struct nvml_verdict verdict;

    health.lost = true;
    verdict = judge(&health);
    assert_false(verdict.available || verdict.needs_reset);
    assert_non_null(strstr(verdict.reason, "lost"));

    health = healthy();
    health.reset_required = true;
    verdict = judge(&health);
    assert_true(!verdict.available && verdict.needs_reset);

    health = healthy();
    health.recovery_action = NVML_RECOVERY_RESET;
    verdict = judge(&health);
    assert_true(!verdict.available && verdict.needs_reset);

    health.recovery_action = NVML_RECOVERY_REBOOT;
    verdict = judge(&health);
    assert_false(verdict.available || verdict.needs_reset);
    assert_non_null(strstr(verdict.reason, "reboot"));

    health = healthy();
    health.reset_xid = 79;
    verdict = judge(&health);
    assert_false(verdict.available || verdict.needs_reset);
}

static void test_xids_count_where_the_driver_has_no_opinion(void **state)
{
    nvml_health_t health = healthy();

    health.reset_xid = 95;
    assert_true(judge(&health).available);
    health.has &= ~NVML_HAS_RECOVERY;
    assert_false(judge(&health).available);
    assert_true(judge(&health).needs_reset);
    assert_non_null(strstr(judge(&health).reason, "Xid 95"));
}

/* A VM that breaks its own context must not take the GPU from the others. */
static void test_guests_cannot_take_a_gpu_away(void **state)
{
    static const uint32_t by_guests[] = {13, 31, 43, 45, 94};

    for (size_t i = 0; i < sizeof(by_guests) / sizeof(by_guests[0]); i++) {
        assert_false(nvml_xid_needs_reset(by_guests[i]));
        assert_string_not_equal(nvml_xid_meaning(by_guests[i]), "");
    }
    assert_false(nvml_xid_needs_reset(9999));
    assert_string_equal(nvml_xid_meaning(9999), "");
}

static void expect_warning(const nvml_health_t *health, const char *text)
{
    struct nvml_verdict verdict = judge(health);

    assert_true(verdict.available);
    assert_non_null(strstr(verdict.warning, text));
}

static void test_what_only_warns(void **state)
{
    nvml_health_t health = healthy();

    health.temperature_c = 95;
    expect_warning(&health, "too hot: 95 C");
    health = healthy();
    health.clocks_events = NVML_CLOCKS_HW_THERMAL | NVML_CLOCKS_IDLE;
    expect_warning(&health, "slowed down: hw thermal");
    health = healthy();
    health.clocks_events = NVML_CLOCKS_POWER_CAP;
    assert_string_equal(judge(&health).warning, "");
    health.ecc_uncorrected = 2;
    expect_warning(&health, "2 uncorrected");
    health.rows_failed = true;
    expect_warning(&health, "have the GPU checked");
    health.pages_pending = true;
    expect_warning(&health, "next reset");
    health = healthy();
    health.recovery_action = NVML_RECOVERY_DRAIN_AND_RESET;
    expect_warning(&health, "drain and reset");
    health = healthy();
    health.error = NVML_UNKNOWN;
    health.error_reading = "the power";
    health.error_text = "Unknown Error";
    expect_warning(&health, "NVML can't read the power: Unknown Error (error 999)");
    health = healthy();
    health.stale = true;
    health.age_ns = 12000000000ull;
    expect_warning(&health, "for 12 s");
    memset(&health, 0, sizeof(health));
    expect_warning(&health, "no news");
}

/* Everything at once still fits and is ended. */
static void test_long_texts_are_cut(void **state)
{
    nvml_health_t health;
    struct nvml_verdict verdict;
    char text[16];

    memset(&health, 0xff, sizeof(health));
    health.error_reading = health.error_text = "something";
    health.lost = health.stale = health.reset_required = true;
    health.rows_failed = health.rows_pending = health.pages_pending = true;
    nvml_health_judge(&health, &verdict);
    assert_true(strlen(verdict.warning) < sizeof(verdict.warning));
    assert_true(strlen(verdict.reason) < sizeof(verdict.reason));
    nvml_clocks_events_text(~0ull, text, sizeof(text));
    assert_true(strlen(text) < sizeof(text));
    nvml_clocks_events_text(0, text, sizeof(text));
    assert_string_equal(text, "none");
    nvml_clocks_events_text(0x4000, text, sizeof(text));
    assert_string_equal(text, "0x4000");
    assert_string_equal(nvml_recovery_name(77), "unknown");
}

/* ---- watching ---- */

static void set(const char *text)
{
    char name[sizeof(settings) + 8];
    FILE *file;

    snprintf(name, sizeof(name), "%s.new", settings);
    file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(rename(name, settings), 0);
}

static struct nvml_monitor *start(uint32_t count, const char *path, uint32_t stale_ms)
{
    static const char *const uuids[] = {GPU0, GPU1};
    struct nvml_monitor *monitor = NULL;
    struct nvml_monitor_config config = {
        .path = path,
        .uuids = uuids,
        .count = count,
        .interval_ms = 20,
        .stale_ms = stale_ms,
        .retry_ms = 30,
    };

    assert_int_equal(nvml_monitor_start(&config, &monitor), 0);
    return monitor;
}

static void stop(struct nvml_monitor *monitor)
{
    assert_true(nvml_monitor_stop(monitor, WAIT_MS));
}

/* Waits until `condition` of the newest reading of GPU `index` in `health`. */
#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        int waited_ms = 0;                                                                         \
        nvml_monitor_read(monitor, index, &health);                                                \
        while (!(condition) && waited_ms++ < WAIT_MS) {                                            \
            usleep(1000);                                                                          \
            nvml_monitor_read(monitor, index, &health);                                            \
        }                                                                                          \
        assert_true(condition);                                                                    \
    } while (0)

static void test_values(void **state)
{
    struct nvml_monitor *monitor;
    char reason[NVML_REASON_BYTES];
    const uint32_t index = 0;
    nvml_health_t health;

    set("temperature=61 gpu=77 memory=33 used=2048 power=345678 clocks=0x4 pid=4711 pending=1");
    monitor = start(1, library, 0);
    WAIT_FOR(health.taken_ns != 0);
    assert_int_equal(health.temperature_c, 61);
    assert_int_equal(health.slowdown_c, 90);
    assert_int_equal(health.gpu_percent, 77);
    assert_int_equal(health.memory_percent, 33);
    assert_true(health.memory_total_bytes == 80ull << 30);
    assert_true(health.memory_used_bytes == 2ull << 30);
    assert_int_equal(health.power_mw, 345678);
    assert_int_equal(health.power_limit_mw, 700000);
    assert_int_equal(health.sm_clock_mhz, 1980);
    assert_int_equal(health.ecc_corrected, 3);
    assert_int_equal(health.ecc_uncorrected, 0);
    assert_int_equal(health.clocks_events, NVML_CLOCKS_POWER_CAP);
    assert_int_equal(health.rows_remapped, 2);
    assert_true(health.rows_pending && !health.rows_failed && !health.pages_pending);
    assert_int_equal(health.process_count, 1);
    assert_int_equal(health.processes[0].pid, 4711);
    assert_true(health.processes[0].used_bytes == 500ull << 20);
    assert_int_equal(health.has, (NVML_HAS_XIDS << 1) - 1);
    assert_false(health.stale || health.lost || health.reset_required);
    assert_true(nvml_monitor_running(monitor, reason));
    assert_string_equal(reason, "");
    set("temperature=62 ecc_unsupported=1");
    WAIT_FOR(health.temperature_c == 62 && !(health.has & NVML_HAS_ECC));
    assert_int_equal(health.error, 0);
    assert_int_equal(health.process_count, 0);
    /* Older drivers don't know the field and call it a wrong argument. */
    set("temperature=63 field_result=2");
    WAIT_FOR(health.temperature_c == 63 && !(health.has & NVML_HAS_RECOVERY));
    assert_int_equal(health.error, 0);
    set("temperature=64 field_result=999");
    WAIT_FOR(health.temperature_c == 64);
    assert_int_equal(health.error, NVML_UNKNOWN);
    assert_string_equal(health.error_reading, "the recovery action");
    assert_string_equal(health.error_text, "said by the stand-in");
    stop(monitor);
}

/* As many as a host may have; more are counted only. */
static void test_many_processes(void **state)
{
    struct nvml_monitor *monitor;
    uint32_t index = 0;
    nvml_health_t health;

    set("processes=1025");
    monitor = start(1, library, 0);
    WAIT_FOR(health.has & NVML_HAS_PROCESSES);
    assert_false(health.processes_unlisted);
    assert_int_equal(health.process_count, 1025);
    assert_int_equal(health.processes[1024].pid, 2024);
    assert_int_equal(health.processes[1024].used_bytes, 1024);
    set("processes=5000");
    WAIT_FOR(health.processes_unlisted);
    assert_int_equal(health.process_count, 5000);
    assert_int_equal(health.processes[0].pid, 0);
    stop(monitor);
}

static void test_two_gpus_one_broken(void **state)
{
    struct nvml_monitor *monitor;
    uint32_t index = 1;
    nvml_health_t health;

    set("gpus=2");
    monitor = start(2, library, 0);
    WAIT_FOR(health.has & NVML_HAS_TEMPERATURE);
    assert_int_equal(health.temperature_c, 41);
    set("gpus=2 error=16 only=1");
    WAIT_FOR(health.reset_required);
    index = 0;
    WAIT_FOR(health.has & NVML_HAS_TEMPERATURE);
    assert_false(health.reset_required);
    index = 1;
    set("gpus=2 error=999 only=1");
    WAIT_FOR(health.error == NVML_UNKNOWN && !health.reset_required);
    set("gpus=2");
    WAIT_FOR(health.error == 0 && health.has & NVML_HAS_TEMPERATURE);
    stop(monitor);
}

/* A lost GPU stays lost while it can't be found anew; the other is read on. */
static void test_lost_and_back(void **state)
{
    struct nvml_monitor *monitor;
    uint32_t index = 1;
    nvml_health_t health;
    struct nvml_verdict verdict;
    uint64_t seen_ns;

    set("gpus=2");
    monitor = start(2, library, 0);
    WAIT_FOR(health.has & NVML_HAS_TEMPERATURE);
    set("gpus=2 error=15 only=1");
    WAIT_FOR(health.lost);
    index = 0;
    nvml_monitor_read(monitor, index, &health);
    seen_ns = health.taken_ns;
    WAIT_FOR(health.taken_ns > seen_ns && health.has & NVML_HAS_TEMPERATURE);
    index = 1;
    /* NVML was begun anew and doesn't find it. */
    WAIT_FOR(health.error == NVML_NOT_FOUND);
    nvml_health_judge(&health, &verdict);
    assert_true(health.lost && !verdict.available);
    set("gpus=2");
    WAIT_FOR(!health.lost && health.has & NVML_HAS_TEMPERATURE);
    stop(monitor);
}

static void test_driver_goes_and_comes(void **state)
{
    struct nvml_monitor *monitor;
    char reason[NVML_REASON_BYTES];
    const uint32_t index = 0;
    nvml_health_t health;

    set("init=9");
    monitor = start(1, library, 1);
    for (int i = 0; i < WAIT_MS; i++) {
        nvml_monitor_running(monitor, reason);
        if (strstr(reason, "does not start")) {
            break;
        }
        usleep(1000);
    }
    assert_non_null(strstr(reason, "does not start: said by the stand-in"));
    nvml_monitor_read(monitor, 0, &health);
    assert_int_equal(health.taken_ns, 0);
    WAIT_FOR(health.stale);
    set("");
    WAIT_FOR(health.taken_ns != 0);
    assert_true(nvml_monitor_running(monitor, reason));
    set("init=18 error=18");
    for (int i = 0; i < WAIT_MS; i++) {
        if (!nvml_monitor_running(monitor, reason) && strstr(reason, "does not start")) {
            break;
        }
        usleep(1000);
    }
    assert_non_null(strstr(reason, "(error 18); the driver's library and its kernel module"));
    set("");
    WAIT_FOR(health.error == 0);
    set("init=9 error=1");
    WAIT_FOR(health.error == NVML_UNINITIALIZED);
    set("");
    WAIT_FOR(health.error == 0);
    stop(monitor);
}

static void test_absent(void **state)
{
    struct nvml_monitor *monitor = start(1, "/nonexistent/libnvidia-ml.so.1", 0);
    char reason[NVML_REASON_BYTES] = "";

    for (int i = 0; i < WAIT_MS && !strstr(reason, "no NVML"); i++) {
        assert_false(nvml_monitor_running(monitor, reason));
        usleep(1000);
    }
    assert_non_null(strstr(reason, "no NVML: /nonexistent"));
    stop(monitor);
    /* A library that isn't NVML. */
    monitor = start(1, "libm.so.6", 0);
    for (int i = 0; i < WAIT_MS && !strstr(reason, "no function"); i++) {
        assert_false(nvml_monitor_running(monitor, reason));
        usleep(1000);
    }
    assert_string_equal(reason, "NVML has no function nvmlInit_v2");
    stop(monitor);
}

static void test_xids(void **state)
{
    struct nvml_monitor *monitor;
    const uint32_t index = 0;
    nvml_health_t health;
    struct nvml_verdict verdict;

    set("recovery=99");
    monitor = start(1, library, 0);
    WAIT_FOR(health.has & NVML_HAS_XIDS && health.has & NVML_HAS_TEMPERATURE);
    assert_false(health.has & NVML_HAS_RECOVERY);
    set("recovery=99 xid=31 serial=1");
    WAIT_FOR(health.xid_count == 1 && health.last_xid == 31);
    nvml_health_judge(&health, &verdict);
    assert_true(verdict.available);
    set("recovery=99 xid=95 serial=2");
    WAIT_FOR(health.xid_count == 2 && health.reset_xid == 95);
    /* Later ones don't make it forgotten. */
    set("recovery=99 xid=13 serial=3");
    WAIT_FOR(health.xid_count == 3 && health.last_xid == 13);
    nvml_health_judge(&health, &verdict);
    assert_true(!verdict.available && verdict.needs_reset);
    /* A reset does. */
    nvml_monitor_hold(monitor, true);
    for (int i = 0; i < WAIT_MS && !nvml_monitor_held(monitor); i++) {
        usleep(1000);
    }
    assert_true(nvml_monitor_held(monitor));
    nvml_monitor_hold(monitor, false);
    WAIT_FOR(health.has & NVML_HAS_TEMPERATURE && health.xid_count == 0);
    nvml_health_judge(&health, &verdict);
    assert_true(verdict.available);
    stop(monitor);
}

/* NVML hangs: readers don't wait, the news grow stale, and stopping is bounded. */
static void test_hang(void **state)
{
    struct nvml_monitor *monitor;
    const uint32_t index = 0;
    nvml_health_t health;

    set("");
    monitor = start(1, library, 50);
    WAIT_FOR(health.has & NVML_HAS_TEMPERATURE);
    assert_int_equal(health.temperature_c, 40);
    set("hang=1");
    WAIT_FOR(health.stale);
    assert_int_equal(health.temperature_c, 40);
    assert_true(health.age_ns > 50000000u);
    assert_false(nvml_monitor_stop(monitor, 20));
    /* It ends, and frees what it had, when NVML comes back. */
    truncate(shutdowns, 0);
    set("");
    for (int i = 0; i < WAIT_MS && access(shutdowns, F_OK) == 0; i++) {
        FILE *file = fopen(shutdowns, "r");
        int c = file ? fgetc(file) : EOF;

        if (file) {
            fclose(file);
        }
        if (c != EOF) {
            return;
        }
        usleep(1000);
    }
    fail_msg("the abandoned thread did not shut NVML down");
}

static void test_slow_is_not_stale(void **state)
{
    struct nvml_monitor *monitor;
    const uint32_t index = 0;
    nvml_health_t health;

    set("slow_ms=5");
    monitor = start(1, library, WAIT_MS);
    WAIT_FOR(health.has & NVML_HAS_TEMPERATURE);
    assert_false(health.stale);
    stop(monitor);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_healthy),
        cmocka_unit_test(test_what_takes_a_gpu_away),
        cmocka_unit_test(test_xids_count_where_the_driver_has_no_opinion),
        cmocka_unit_test(test_guests_cannot_take_a_gpu_away),
        cmocka_unit_test(test_what_only_warns),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_many_processes),
        cmocka_unit_test(test_two_gpus_one_broken),
        cmocka_unit_test(test_lost_and_back),
        cmocka_unit_test(test_driver_goes_and_comes),
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_xids),
        cmocka_unit_test(test_slow_is_not_stale),
        cmocka_unit_test(test_hang),
    };
    int fd, failed;

    if (argc != 2) {
        fprintf(stderr, "usage: %s STAND-IN-LIBRARY\n", argv[0]);
        return 2;
    }
    library = argv[1];
    fd = mkstemp(settings);
    if (fd < 0) {
        perror("mkstemp");
        return 2;
    }
    close(fd);
    snprintf(shutdowns, sizeof(shutdowns), "%s.down", settings);
    setenv("NVML_STAND_IN", settings, 1);
    setenv("NVML_STAND_IN_SHUTDOWN", shutdowns, 1);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(settings);
    unlink(shutdowns);
    return failed;
}
