/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Channels: who gets one, what ends it, and that each turn is queued, granted and paid once. */

#include "core/test_channel_world.h"

#define WANTED (VGPU_FEATURE_CHANNELS | VGPU_FEATURE_HOST)

static uint32_t host_session(uint32_t vm_id)
{
    const VGPUHello hello = {.version = VGPU_PROTOCOL_VERSION, .features = WANTED};
    uint32_t session = connect_as(CORE_IDENTITY_UUID, vm_id);

    frame_in(session, VGPU_MSG_HELLO, vm_id, 0, &hello, sizeof(hello));
    return session;
}

static void close_number(uint32_t session, uint32_t vm_id, uint32_t number)
{
    const VGPUChannelClose closing = {.channel = number};

    frame_in(session, VGPU_MSG_CHANNEL_CLOSE, vm_id, 0, &closing, sizeof(closing));
}

/* An open channel, number 0, and its worker. */
static uint32_t open_vm(uint32_t vm_id)
{
    const VGPUChannelOpen open = open_frame(0);
    uint32_t session = host_session(vm_id);

    ask(session, vm_id, &open);
    worker_ready(w.starts[w.start_count - 1].worker);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_STARTED);
    core_channel_opened(w.core, w.channel.worker, w.channel.handle, VGPU_ERR_NONE, w.now_ns);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_OPENED);
    return session;
}

static void want(void)
{
    core_turn_want(w.core, w.channel.worker, w.channel.handle, w.now_ns);
}

static void turn_done(void)
{
    const struct run run = {.worker = w.channel.worker,
                            .job_id = w.channel.turn_jobs[w.channel.turns_done++ % 16]};

    assert_int_equal(done(&run, VGPU_ERR_NONE), 0);
}

static void test_a_channel_and_its_turns(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = open_vm(7);
    assert_int_equal(core_session_channels(w.core, session), 1);
    want();
    assert_int_equal(w.channel.turns, 1);
    assert_true(w.channel.budget_ns > 0);
    turn_done();
    want();
    assert_int_equal(w.channel.turns, 2);
    want(); /* while it has one: handed out ahead, since nobody else wants the GPU */
    assert_int_equal(w.channel.turns, 3);
    want(); /* while it has two: queued when one of them has ended, once */
    want();
    assert_int_equal(w.channel.turns, 3);
    turn_done();
    assert_int_equal(w.channel.turns, 4);
    turn_done();
    turn_done();
    assert_int_equal(w.channel.turns, 4);
    assert_int_equal(stats_of(7).gpu_time_ns, 4 * MS);
    assert_int_equal(stats_of(7).in_flight, 0);
    close_number(session, 7, 0);
    assert_int_equal(w.channel.stop_reason, VGPU_CLOSED_ASKED);
    want(); /* crosses it: ignored */
    assert_int_equal(w.channel.turns, 4);
    closed_by_worker(VGPU_CLOSED_ASKED);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_CHANNEL_CLOSED);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_FREED);
    assert_int_equal(core_session_channels(w.core, session), 0);
    world_end();
}

static void test_other_workers_have_no_say(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = open_vm(7);
    core_turn_want(w.core, w.channel.worker + CORE_VMS_MAX, w.channel.handle, w.now_ns);
    core_turn_want(w.core, w.channel.worker, w.channel.handle + 1, w.now_ns);
    core_turn_want(w.core, 0, w.channel.handle, w.now_ns);
    assert_int_equal(w.channel.turns, 0);
    core_channel_closed(w.core, w.channel.worker + CORE_VMS_MAX, w.channel.handle,
                        VGPU_CLOSED_BAD_RECORD, w.now_ns);
    assert_int_equal(core_session_channels(w.core, session), 1);
    assert_int_equal(stats_of(7).fault_count, 0);
    world_end();
}

static void test_the_worker_is_lost(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = open_vm(7);
    want();
    core_worker_exited(w.core, w.channel.worker, CORE_WORKER_END_HOST, 9, w.now_ns);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_CHANNEL_CLOSED);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_FREED);
    assert_int_equal(core_session_channels(w.core, session), 0);
    assert_int_equal(stats_of(7).in_flight, 0);
    assert_int_equal(stats_of(7).fault_count, 0);
    world_end();
}

static void test_the_session_goes_with_a_turn_in_flight(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = open_vm(7);
    want();
    core_session_closed(w.core, session, w.now_ns);
    assert_int_equal(w.channel.stop_reason, VGPU_CLOSED_SESSION);
    closed_by_worker(VGPU_CLOSED_SESSION);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_FREED);
    turn_done(); /* paid all the same */
    assert_int_equal(stats_of(7).gpu_time_ns, MS);
    world_end();
}

/* It waits for a worker that is starting: nobody is there for the refusal. */
static void test_the_session_goes_before_its_channel_is_open(void **state)
{
    const VGPUChannelOpen open = open_frame(0);
    uint32_t session, before;

    world_begin(NULL);
    session = host_session(7);
    ask(session, 7, &open);
    before = w.sent_count;
    core_session_closed(w.core, session, w.now_ns);
    assert_int_equal(w.sent_count, before);
    worker_ready(w.starts[w.start_count - 1].worker);
    assert_int_equal(w.channel.handle, 0); /* there is nothing to open any more */
    world_end();
}

static void test_bad_input_is_a_fault(void **state)
{
    world_begin(NULL);
    open_vm(7);
    closed_by_worker(VGPU_CLOSED_BAD_RECORD);
    assert_int_equal(stats_of(7).fault_count, 1);
    assert_int_equal(w.last[CORE_EVENT_CHANNEL_CLOSED].code, VGPU_CLOSED_BAD_RECORD);
    assert_int_equal(stats_of(7).worker_state, CORE_WORKER_READY);
    world_end();
}

static void test_memory_is_counted(void **state)
{
    const VGPUChannelOpen open = open_frame(1);
    uint32_t session;

    world_begin(small_memory);
    session = open_vm(7);
    ask(session, 7, &open);
    assert_int_equal(last_sent()->opened.status, VGPU_ERR_MEMORY_LIMIT);
    close_number(session, 7, 0);
    closed_by_worker(VGPU_CLOSED_ASKED);
    ask(session, 7, &open);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_STARTED);
    world_end();
}

static void test_a_device_keeps_its_session_beside_them(void **state)
{
    uint32_t device, host;

    world_begin(NULL);
    host = open_vm(7);
    device = connect_as(CORE_IDENTITY_UUID, 7);
    request(device, 7, 5);
    assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_NONE), 0);
    want();
    assert_int_equal(w.channel.turns, 1);
    core_session_closed(w.core, device, w.now_ns); /* its jobs are dropped, not the turns */
    turn_done();
    want();
    assert_int_equal(w.channel.turns, 2);
    assert_int_equal(core_session_channels(w.core, host), 1);
    world_end();
}

static void add_chunk(uint32_t session, uint32_t chunk, uint64_t bytes)
{
    const VGPUChunkAdd add = {.chunk = chunk, .bytes = bytes};

    frame_in(session, VGPU_MSG_CHUNK_ADD, 7, 0, &add, sizeof(add));
}

static void medium_memory(struct core_config *config)
{
    config->channel_memory_vm_bytes = 200000 + 8 * 4096;
}

static void test_chunks(void **state)
{
    uint32_t session;

    world_begin(medium_memory);
    session = open_vm(7);
    add_chunk(session, 1, 4096);
    assert_int_equal(w.channel.chunk, 1);
    assert_int_equal(w.channel.chunk_sent, 0); /* not before the worker has it */
    chunk_added(2, VGPU_ERR_NONE);             /* nobody asked for that */
    core_chunk_added(w.core, w.channel.worker + CORE_VMS_MAX, w.channel.handle, 1, VGPU_ERR_NONE);
    assert_int_equal(w.channel.chunk_sent, 0);
    chunk_added(1, VGPU_ERR_NONE);
    assert_int_equal(w.channel.chunk_sent, 1);
    chunk_added(1, VGPU_ERR_NONE); /* once is enough */
    /* Charged: what is left of the limit is not enough for this one. */
    add_chunk(session, 2, 64 * 4096);
    assert_int_equal(last_sent()->added.status, VGPU_ERR_MEMORY_LIMIT);
    add_chunk(session, 2, 100);
    assert_int_equal(last_sent()->added.status, VGPU_ERR_INVALID_REQUEST);
    add_chunk(session, 2, 0);
    assert_int_equal(last_sent()->added.status, VGPU_ERR_INVALID_REQUEST);
    w.channel.chunk_result = -12;
    add_chunk(session, 2, 4096);
    assert_int_equal(last_sent()->added.status, VGPU_ERR_MEMORY_LIMIT);
    w.channel.chunk_result = 0;
    add_chunk(session, 3, 4096);
    chunk_added(3, VGPU_ERR_MEMORY_LIMIT);
    assert_int_equal(w.channel.chunk_freed, 3);
    assert_int_equal(last_sent()->added.status, VGPU_ERR_MEMORY_LIMIT);
    remove_chunk(session, 1);
    assert_int_equal(w.channel.chunk_stopped, 1);
    core_chunk_removed(w.core, w.channel.worker, w.channel.handle, 1);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_CHUNK_REMOVED);
    /* All is given back: as much as at the start can be had. */
    for (uint32_t chunk = 1; chunk <= 8; chunk++) {
        add_chunk(session, chunk, 4096);
        chunk_added(chunk, VGPU_ERR_NONE);
        assert_int_equal(w.channel.chunk_sent, chunk);
    }
    add_chunk(session, 20, 14 * 4096);
    assert_int_equal(last_sent()->added.status, VGPU_ERR_MEMORY_LIMIT);
    close_number(session, 7, 0);
    closed_by_worker(VGPU_CLOSED_ASKED);
    {
        const VGPUChannelOpen open = open_frame(1);

        ask(session, 7, &open);
        assert_int_equal(w.channel.state, WORLD_CHANNEL_STARTED);
    }
    world_end();
}

static void test_chunks_that_make_no_sense(void **state)
{
    static const struct {
        uint32_t add, remove;
    } cases[] = {{0, 0}, {VGPU_CHUNKS_MAX, 0}, {UINT32_MAX, 0}, {1, 2}, {1, 1}, {1, UINT32_MAX}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t session;

        world_begin(NULL);
        session = open_vm(7);
        add_chunk(session, cases[i].add, 4096);
        if (cases[i].remove) { /* also of one that the worker has not got yet */
            assert_int_not_equal(w.closed_session, session);
            remove_chunk(session, cases[i].remove);
        }
        assert_int_equal(w.closed_session, session);
        closed_by_worker(VGPU_CLOSED_SESSION);
        world_end();
    }
}

static void test_a_turn_is_told_that_others_wait(void **state)
{
    uint32_t session;
    uint64_t quantum_ns;

    world_begin(NULL);
    open_vm(7);
    want();
    want();
    assert_int_equal(w.channel.turns, 1);
    assert_int_equal(w.yield_ns, 0); /* its own next turn is no neighbour */
    quantum_ns = w.channel.budget_ns;
    session = connect_as(CORE_IDENTITY_UUID, 8);
    request(session, 8, 1);
    worker_ready(w.starts[w.start_count - 1].worker);
    assert_true(w.yield_ns > 0 && w.yield_ns <= w.now_ns + quantum_ns);
    world_end();
}

static uint32_t last_credit(void)
{
    return w.credits[(w.credit_count - 1) % 8];
}

/* Until the bucket is empty; how many there were. */
static uint32_t take_all_credit(void)
{
    uint32_t taken = 0, told;

    do {
        told = w.credit_count;
        core_credit_ask(w.core, w.channel.worker, w.now_ns);
        taken += w.credit_count > told ? last_credit() : 0;
    } while (w.credit_count > told && taken < 1000);
    return taken;
}

static void test_a_rate_limit_holds_records_back(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    uint32_t told;

    world_begin(deny_unregistered);
    vm.max_jobs_per_sec = 5;
    vm.burst = 3;
    apply(&vm, 1);
    open_vm(7);
    assert_int_equal(w.credit_count, 1);
    assert_int_equal(last_credit(), 0);
    assert_int_equal(take_all_credit(), 3);
    told = w.credit_count;
    w.now_ns += 199 * MS;
    core_tick(w.core, w.now_ns);
    assert_int_equal(w.credit_count, told);
    assert_true(core_next_deadline_ns(w.core) <= w.now_ns + 2 * MS);
    w.now_ns += 2 * MS;
    core_tick(w.core, w.now_ns);
    assert_int_equal(w.credit_count, told + 1);
    assert_int_equal(last_credit(), 1);
    core_tick(w.core, w.now_ns + 1000 * MS); /* nobody asked again */
    assert_int_equal(w.credit_count, told + 1);
    core_credit_ask(w.core, w.channel.worker + CORE_VMS_MAX, w.now_ns);
    core_credit_ask(w.core, 0, w.now_ns);
    assert_int_equal(w.credit_count, told + 1);
    world_end();
}

static void test_a_rate_limit_comes_and_goes(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);

    world_begin(deny_unregistered);
    apply(&vm, 1);
    open_vm(7);
    assert_int_equal(w.credit_count, 0);
    vm.max_jobs_per_sec = 5;
    apply(&vm, 1);
    assert_int_equal(last_credit(), 0);
    take_all_credit();
    vm.max_jobs_per_sec = 0;
    apply(&vm, 1);
    assert_true(last_credit() == VGPU_WORKER_CREDIT_ALL);
    core_credit_ask(w.core, w.channel.worker, w.now_ns); /* crossed it */
    assert_true(last_credit() == VGPU_WORKER_CREDIT_ALL);
    assert_int_equal(w.channel.stop_reason, 0);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_channel_and_its_turns),
        cmocka_unit_test(test_other_workers_have_no_say),
        cmocka_unit_test(test_the_worker_is_lost),
        cmocka_unit_test(test_the_session_goes_with_a_turn_in_flight),
        cmocka_unit_test(test_the_session_goes_before_its_channel_is_open),
        cmocka_unit_test(test_bad_input_is_a_fault),
        cmocka_unit_test(test_memory_is_counted),
        cmocka_unit_test(test_a_device_keeps_its_session_beside_them),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_chunks_that_make_no_sense),
        cmocka_unit_test(test_a_turn_is_told_that_others_wait),
        cmocka_unit_test(test_a_rate_limit_holds_records_back),
        cmocka_unit_test(test_a_rate_limit_comes_and_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
