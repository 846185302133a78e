/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How many programs a VM may have at a time, and how long a kernel of theirs may run. */
#include <stdio.h>

#include "core/test_channel_world.h"

static struct core_vm_config limited(uint32_t processes, uint32_t kernel_ms)
{
    struct core_vm_config config = vm_config(7, 50);

    config.max_processes = processes;
    config.max_kernel_ms = kernel_ms;
    snprintf(config.name, sizeof(config.name), "web");
    apply(&config, 1);
    return config;
}

static uint32_t process(void)
{
    const VGPUHello hello = {.version = VGPU_PROTOCOL_VERSION,
                             .features = VGPU_FEATURE_CHANNELS | VGPU_FEATURE_HOST};
    uint32_t session = connect_as(CORE_IDENTITY_UUID, 7);

    frame_in(session, VGPU_MSG_HELLO, 7, 0, &hello, sizeof(hello));
    return session;
}

/* Its answer comes at once, or when the worker has the channel. */
static void begin(uint32_t session, enum vgpu_channel_profile profile)
{
    VGPUChannelOpen open = open_frame(0);

    open.profile = profile;
    ask(session, 7, &open);
}

static void opened(void)
{
    core_channel_opened(w.core, w.channel.worker, w.channel.handle, VGPU_ERR_NONE, w.now_ns);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_OPENED);
}

static uint32_t refusals(void)
{
    return w.events[CORE_EVENT_PROGRAM_REFUSED];
}

static void test_one_program_at_a_time(void **state)
{
    uint32_t sessions[4];

    world_begin(NULL);
    limited(1, 0);
    for (unsigned i = 0; i < 4; i++) {
        sessions[i] = process();
    }
    begin(sessions[0], VGPU_PROFILE_CUDA);
    begin(sessions[1], VGPU_PROFILE_CUDA); /* while the first one waits for its worker */
    assert_int_equal(last_sent()->opened.status, VGPU_ERR_RATE_LIMITED);
    assert_int_equal(refusals(), 1);
    assert_int_equal(w.last[CORE_EVENT_PROGRAM_REFUSED].value, 1);
    worker_ready(w.starts[0].worker);
    opened();
    begin(sessions[2], VGPU_PROFILE_OPS); /* is none of these programs */
    opened();
    assert_int_equal(refusals(), 1);

    /* Live: one more, and none of those that run is ended by a lower limit. */
    limited(2, 0);
    begin(sessions[3], VGPU_PROFILE_CUDA);
    opened();
    limited(1, 0);
    assert_int_equal(stats_of(7).channels, 3);
    core_session_closed(w.core, sessions[3], w.now_ns);
    assert_int_equal(w.channel.stop_reason, VGPU_CLOSED_SESSION);
    limited(2, 0);
    begin(sessions[1], VGPU_PROFILE_CUDA); /* the place is being freed: ask again */
    assert_int_equal(last_sent()->opened.status, VGPU_ERR_QUEUE_FULL);
    assert_int_equal(refusals(), 1);
    closed_by_worker(VGPU_CLOSED_SESSION);
    begin(sessions[1], VGPU_PROFILE_CUDA);
    opened();
    world_end();
}

static void late(uint32_t ran_ms)
{
    core_kernel_late(w.core, w.channel.worker, w.channel.handle, ran_ms, w.now_ns);
}

static void test_a_kernel_that_is_late(void **state)
{
    uint32_t first, second;

    world_begin(NULL);
    limited(0, 500);
    first = process();
    second = process();
    begin(first, VGPU_PROFILE_CUDA);
    worker_ready(w.starts[0].worker);
    assert_int_equal(w.limit_count, 1);
    assert_int_equal(w.limits[0], 500 * MS);
    opened();
    begin(second, VGPU_PROFILE_CUDA);
    opened();
    core_turn_want(w.core, w.channel.worker, w.channel.handle, w.now_ns);

    late(499);
    limited(0, 0); /* the word is on its way while the limit goes */
    assert_int_equal(w.limits[1], 0);
    late(600);
    limited(0, 700);
    late(600);
    core_kernel_late(w.core, w.channel.worker + CORE_VMS_MAX, w.channel.handle, 900, w.now_ns);
    assert_int_equal(w.events[CORE_EVENT_KERNEL_TIMEOUT], 0);
    assert_int_equal(w.stopped, 0);
    limited(0, 700); /* the same again: nothing to tell */
    assert_int_equal(w.limit_count, 3);

    late(701);
    assert_int_equal(w.events[CORE_EVENT_KERNEL_TIMEOUT], 1);
    assert_string_equal(w.last[CORE_EVENT_KERNEL_TIMEOUT].text, "web");
    assert_int_equal(w.channel.stop_reason, VGPU_CLOSED_TIMEOUT);
    assert_int_equal(w.other_stop_reason, VGPU_CLOSED_WORKER_LOST);
    assert_int_equal(w.stopped, w.starts[0].worker);
    assert_true(w.stopped_by_kill);
    assert_int_equal(stats_of(7).timeouts, 1);
    assert_int_equal(stats_of(7).fault_count, 1);
    assert_int_equal(stats_of(7).in_flight, 0);
    late(1701); /* said again, before it is gone */
    assert_int_equal(w.events[CORE_EVENT_KERNEL_TIMEOUT], 1);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_SIGNALED, 9, w.now_ns);

    /* The next worker is told, too. */
    begin(second, VGPU_PROFILE_CUDA);
    worker_ready(w.starts[w.start_count - 1].worker);
    assert_int_equal(w.limits[3], 700 * MS);
    world_end();
}

/* One of an earlier version would take LIMITS for nonsense. */
static void test_a_worker_without_limits(void **state)
{
    const vgpu_worker_ready ready = {.backend = VGPU_BACKEND_CPU};
    uint32_t session;

    world_begin(NULL);
    limited(0, 500);
    session = process();
    begin(session, VGPU_PROFILE_CUDA);
    core_worker_ready(w.core, w.starts[0].worker, &ready, w.now_ns);
    limited(0, 600);
    assert_int_equal(w.limit_count, 0);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_program_at_a_time),
        cmocka_unit_test(test_a_kernel_that_is_late),
        cmocka_unit_test(test_a_worker_without_limits),
    };

    return cmocka_run_group_tests_name("core_program", tests, NULL, NULL);
}
