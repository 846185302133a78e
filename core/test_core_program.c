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

/* ---- figures ---- */

static uint64_t counted(uint32_t vm_id, enum metrics_counter counter)
{
    return metrics_count(core_metrics(w.core), core_vm_find(w.core, vm_id), counter);
}

static void test_figures_are_counted_once(void **state)
{
    vgpu_worker_figures figures = {.units = 100, .copies = 4, .turns = 7, .programs = 1};
    uint32_t session;

    world_begin(NULL);
    limited(0, 0);
    session = process();
    begin(session, VGPU_PROFILE_CUDA);
    worker_ready(w.starts[0].worker);
    opened();
    core_worker_figures(w.core, w.starts[0].worker, &figures);
    core_worker_figures(w.core, w.starts[0].worker, &figures);
    assert_int_equal(counted(7, METRICS_CUDA_UNITS), 100);
    assert_int_equal(stats_of(7).figures.programs, 1);
    figures.units = 130;
    core_worker_figures(w.core, w.starts[0].worker, &figures);
    core_worker_figures(w.core, w.starts[0].worker + CORE_VMS_MAX, &figures);
    assert_int_equal(counted(7, METRICS_CUDA_UNITS), 130);
    assert_int_equal(counted(7, METRICS_CUDA_COPIES), 4);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_HOST, 9, w.now_ns);

    /* The next one begins anew; one that was another mediator's is counted from then on. */
    begin(session, VGPU_PROFILE_CUDA);
    core_worker_adopted(w.core, w.starts[1].worker);
    worker_ready(w.starts[1].worker);
    assert_int_equal(stats_of(7).figures.units, 0);
    core_worker_figures(w.core, w.starts[1].worker, &figures);
    assert_int_equal(counted(7, METRICS_CUDA_UNITS), 130);
    figures.units++;
    core_worker_figures(w.core, w.starts[1].worker, &figures);
    assert_int_equal(counted(7, METRICS_CUDA_UNITS), 131);
    world_end();
}

static uint32_t programs(struct core_program_stats *last)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < CORE_CHANNELS_MAX; i++) {
        count += core_program_stats(w.core, i, w.now_ns, last);
    }
    return count;
}

/* A guest may say any name, and many. */
static void test_refused_functions_are_bounded(void **state)
{
    vgpu_worker_program program = {.units = 10, .refused = 1, .name_count = 1, .names = {77}};
    struct core_program_stats stats;
    const struct metrics_refused *refused;
    uint64_t sum = 0;

    world_begin(NULL);
    limited(0, 0);
    begin(process(), VGPU_PROFILE_CUDA);
    worker_ready(w.starts[0].worker);
    opened();
    core_program_figures(w.core, w.channel.worker, w.channel.handle, &program, w.now_ns);
    w.now_ns += 500 * MS;
    program.units = 60;
    program.name_count = VGPU_WORKER_NAMES_MAX;
    for (uint32_t i = 1; i < VGPU_WORKER_NAMES_MAX; i++) {
        program.names[i] = 1000 + i;
    }
    core_program_figures(w.core, w.channel.worker, w.channel.handle, &program, w.now_ns);
    core_program_figures(w.core, w.channel.worker, w.channel.handle + 1, &program, w.now_ns);
    assert_int_equal(programs(&stats), 1);
    assert_float_equal(stats.units_per_s, 100, 1e-6);
    assert_int_equal(stats.figures.names[0], 77);
    refused = metrics_refused_of(core_metrics(w.core), core_vm_find(w.core, 7));
    assert_int_equal(refused[0].name_hash, 77);
    assert_int_equal(refused[0].count, 1);
    for (uint32_t i = 0; i < METRICS_REFUSED_MAX; i++) {
        sum += refused[i].count;
    }
    assert_int_equal(sum, VGPU_WORKER_NAMES_MAX);
    assert_int_equal(refused[METRICS_REFUSED_MAX - 1].name_hash, 0);
    assert_int_equal(refused[METRICS_REFUSED_MAX - 1].count,
                     VGPU_WORKER_NAMES_MAX - (METRICS_REFUSED_MAX - 1));
    w.now_ns += 10000 * MS; /* it says nothing: nothing happens there */
    assert_int_equal(programs(&stats), 1);
    assert_float_equal(stats.units_per_s, 0, 1e-6);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_program_at_a_time),
        cmocka_unit_test(test_a_kernel_that_is_late),
        cmocka_unit_test(test_a_worker_without_limits),
        cmocka_unit_test(test_figures_are_counted_once),
        cmocka_unit_test(test_refused_functions_are_bounded),
    };

    return cmocka_run_group_tests_name("core_program", tests, NULL, NULL);
}
