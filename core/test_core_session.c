/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions and configuration: who may ask for what, and what is refused. */
#include <errno.h>
#include <string.h>

#include "core/test_world.h"

static void test_malformed_requests(void **state)
{
    VGPURequest bad = {.version = VGPU_PROTOCOL_VERSION, .opcode = 0x9999};
    uint32_t session;

    world_begin(NULL);
    session = ready_vm(7);
    frame_in(session, VGPU_MSG_REQUEST, 7, 1, &bad, sizeof(bad));
    assert_int_equal(last_sent()->response.status, VGPU_ERR_UNSUPPORTED_OP);
    frame_in(session, VGPU_MSG_REQUEST, 7, 2, &bad, 5);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_INVALID_LENGTH);
    frame_in(session, VGPU_MSG_REQUEST, 7, 3, NULL, 0);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_INVALID_LENGTH);
    assert_int_equal(last_sent()->header.request_id, 3);
    assert_int_equal(stats_of(7).invalid, 3);
    assert_int_equal(stats_of(7).fault_count, 0);
    world_end();
}

static void test_wrong_vm_id_is_refused(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = ready_vm(7);
    request(session, 8, 5);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_INVALID_REQUEST);
    assert_int_equal(last_sent()->header.vm_id, 7);
    assert_int_equal(core_vm_find(w.core, 8), CORE_NONE);
    world_end();
}

static void test_identity_from_the_host(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = connect_as(CORE_IDENTITY_IDS, 7);
    request(session, 8, 1); /* its command line says 7 */
    assert_int_equal(w.closed_session, session);
    assert_int_equal(w.closed_reason, CORE_CLOSE_IDENTITY);
    assert_int_equal(w.sent_count, 0);
    session = connect_as(CORE_IDENTITY_IDS, 7);
    request(session, 7, 1);
    assert_int_equal(w.start_count, 1);
    /* a second connection for the same VM */
    session = connect_as(CORE_IDENTITY_IDS, 7);
    request(session, 7, 1);
    assert_int_equal(w.closed_session, session);
    assert_int_equal(w.closed_reason, CORE_CLOSE_DUPLICATE);
    world_end();
}

static void test_registering_takes_effect_at_once(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    uint32_t session;

    world_begin(deny_unregistered);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    request(session, 7, 1);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_NOT_REGISTERED);
    assert_int_equal(w.events[CORE_EVENT_UNREGISTERED], 1);
    apply(&vm, 1);
    assert_int_equal(w.applied.added, 1);
    request(session, 7, 2);
    assert_int_equal(w.start_count, 1);
    worker_ready(w.starts[0].worker);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    /* and so does removing it */
    apply(NULL, 0);
    assert_int_equal(w.applied.removed, 1);
    request(session, 7, 3);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_NOT_REGISTERED);
    assert_int_equal(w.stopped, w.starts[0].worker);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE);
    world_end();
}

static void test_bad_configuration_changes_nothing(void **state)
{
    struct core_vm_config vms[2] = {vm_config(7, 50), vm_config(8, 101)};
    struct core_apply_result result;
    uint32_t bad = 99;

    world_begin(deny_unregistered);
    assert_int_equal(core_apply_vms(w.core, vms, 2, w.now_ns, &result, &bad), -EINVAL);
    assert_int_equal(bad, 1);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE);
    vms[1] = vm_config(8, 50);
    vms[1].vm_id = 7; /* twice the same id */
    assert_int_equal(core_apply_vms(w.core, vms, 2, w.now_ns, &result, &bad), -EINVAL);
    world_end();
}

static void hello(uint32_t session, uint32_t vm_id)
{
    const VGPUHello payload = {.version = VGPU_PROTOCOL_VERSION, .features = VGPU_FEATURE_CONFIG};

    frame_in(session, VGPU_MSG_HELLO, vm_id, 0, &payload, sizeof(payload));
}

static void test_config_reaches_the_device(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    uint32_t session;
    VGPUConfig ack;

    world_begin(deny_unregistered);
    core_pool_set_gpus(w.core, 'B', 1, w.now_ns);
    apply(&vm, 1);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    hello(session, 3); /* its property is out of date: the socket says who it is */
    assert_int_equal(w.sent_count, 2);
    assert_int_equal(w.sent[0].header.msg_type, VGPU_MSG_HELLO);
    assert_int_equal(w.sent[1].header.msg_type, VGPU_MSG_CONFIG);
    assert_int_equal(w.sent[1].config.vm_id, 7);
    request(session, 3, 1); /* sent before it had read the CONFIG */
    assert_int_equal(w.start_count, 1);
    ack = w.sent[1].config;
    frame_in(session, VGPU_MSG_CONFIG, 7, 0, &ack, sizeof(ack));
    request(session, 3, 2);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_INVALID_REQUEST);

    vm.pool = 'B';
    vm.priority = VGPU_PRIORITY_HIGH;
    vm.vm_id = 9;
    apply(&vm, 1);
    assert_int_equal(w.applied.changed, 1);
    assert_int_equal(w.applied.restart_needed_count, 0);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_CONFIG);
    assert_int_equal(last_sent()->config.vm_id, 9);
    assert_int_equal(last_sent()->config.pool_id, 'B');
    assert_int_equal(last_sent()->config.priority, VGPU_PRIORITY_HIGH);
    world_end();
}

static void test_old_devices_need_a_restart(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    uint32_t session;

    world_begin(deny_unregistered);
    apply(&vm, 1);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    request(session, 7, 1); /* no HELLO: 1.0 */
    vm.weight = 60;
    apply(&vm, 1);
    assert_int_equal(w.applied.restart_needed_count, 0); /* a weight is no register */
    vm.priority = VGPU_PRIORITY_LOW;
    apply(&vm, 1);
    assert_int_equal(w.applied.restart_needed_count, 1);
    assert_int_equal(w.applied.restart_needed[0], 7);
    assert_true(stats_of(7).restart_needed && stats_of(7).device.known);
    assert_int_equal(stats_of(7).device.vm_id, 7);
    assert_int_equal(stats_of(7).device.pool, 'A');
    assert_int_equal(stats_of(7).device.priority, VGPU_PRIORITY_MEDIUM);
    /* It is said as long as it is so: nothing else changes meanwhile. */
    apply(&vm, 1);
    assert_int_equal(w.applied.changed, 0);
    assert_int_equal(w.applied.restart_needed_count, 1);
    vm.priority = VGPU_PRIORITY_MEDIUM; /* back to what the device has */
    apply(&vm, 1);
    assert_int_equal(w.applied.restart_needed_count, 0);
    assert_true(!stats_of(7).restart_needed && stats_of(7).device.known);
    for (uint32_t i = 0; i < w.sent_count; i++) {
        assert_true(w.sent[i].header.msg_type != VGPU_MSG_CONFIG);
    }
    world_end();
}

static void test_limits(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    uint32_t session;

    world_begin(deny_unregistered);
    vm.max_queue_depth = 3;
    apply(&vm, 1);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    for (uint32_t i = 0; i < 3; i++) {
        request(session, 7, i);
    }
    assert_int_equal(w.sent_count, 0);
    request(session, 7, 3);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_BUSY);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_QUEUE_FULL);
    assert_int_equal(stats_of(7).limits.queue_depth, 3);
    assert_false(stats_of(7).limits.queue_depth_is_hard);
    vm.max_queue_depth = 0;
    vm.max_jobs_per_sec = 10; /* a burst of one */
    apply(&vm, 1);
    request(session, 7, 4);
    request(session, 7, 5);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_RATE_LIMITED);
    assert_int_equal(stats_of(7).rejected_rate, 1);
    assert_int_equal(stats_of(7).rejected_queue, 1);
    assert_int_equal(stats_of(7).limits.jobs_per_sec, 10);
    assert_int_equal(stats_of(7).limits.burst, 1);
    assert_int_equal(stats_of(7).limits.queue_depth, CORE_VM_JOBS_MAX);
    assert_true(stats_of(7).limits.queue_depth_is_hard);
    vm.max_jobs_per_sec = 0;
    vm.max_queue_depth = CORE_VM_JOBS_MAX + 44;
    apply(&vm, 1);
    assert_int_equal(stats_of(7).limits.queue_depth, CORE_VM_JOBS_MAX);
    assert_int_equal(stats_of(7).config.max_queue_depth, CORE_VM_JOBS_MAX + 44);
    for (uint32_t i = 4; i < CORE_VM_JOBS_MAX; i++) {
        request(session, 7, 100 + i);
    }
    assert_int_equal(stats_of(7).queue_depth, CORE_VM_JOBS_MAX);
    request(session, 7, 999); /* "unlimited" has an end as well */
    assert_int_equal(last_sent()->response.status, VGPU_ERR_QUEUE_FULL);
    world_end();
}

/* The id that an unregistered VM took is given to a registered one. */
static void test_registering_a_taken_id(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    uint32_t squatter, session;
    struct core_identity identity = {.kind = CORE_IDENTITY_UUID, .vm_ids = {7}, .vm_id_count = 1};

    world_begin(NULL);
    memset(identity.uuid, 0x55, sizeof(identity.uuid));
    assert_int_equal(core_session_open(w.core, &identity, w.now_ns, &squatter), 0);
    request(squatter, 7, 1);
    apply(&vm, 1);
    assert_int_equal(w.applied.added, 1);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    request(session, 7, 2);
    assert_true(stats_of(7).registered);
    assert_int_equal(stats_of(7).session, session);
    request(squatter, 7, 3);
    assert_int_equal(last_sent()->session, squatter);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_NOT_REGISTERED);
    world_end();
}

static void test_silent_sessions_are_closed(void **state)
{
    uint32_t session;
    uint8_t text[16] = "are you there?";

    world_begin(NULL);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    frame_in(session, VGPU_MSG_PING, 7, 77, text, sizeof(text)); /* says nothing about work */
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_PONG);
    assert_int_equal(last_sent()->header.request_id, 77);
    advance(10001 * MS);
    assert_int_equal(w.closed_session, session);
    assert_int_equal(w.closed_reason, CORE_CLOSE_SILENT);
    world_end();
}

/* A 1.0 device speaks with its guest's first request, which may be days away. */
static void test_known_devices_may_be_silent(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = connect_as(CORE_IDENTITY_IDS, 7);
    advance(60000 * MS);
    assert_int_equal(w.closed_session, CORE_NONE);
    request(session, 7, 1);
    assert_int_equal(w.start_count, 1);
    world_end();
}

static void test_nonsense_closes(void **state)
{
    static const uint32_t types[] = {VGPU_MSG_RESPONSE, VGPU_MSG_BUSY, VGPU_MSG_QUARANTINED,
                                     VGPU_MSG_CONFIG};
    uint8_t big[VGPU_PING_BYTES_MAX + 1] = {0};
    uint32_t session;

    world_begin(NULL);
    for (uint32_t i = 0; i < 4; i++) {
        session = connect_as(CORE_IDENTITY_CLAIM, 7);
        w.closed_session = CORE_NONE;
        frame_in(session, types[i], 7, 0, big, 16);
        assert_int_equal(w.closed_session, session);
    }
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    w.closed_session = CORE_NONE;
    frame_in(session, VGPU_MSG_PING, 7, 0, big, sizeof(big));
    assert_int_equal(w.closed_session, session);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    hello(session, 7);
    w.closed_session = CORE_NONE;
    hello(session, 7); /* twice */
    assert_int_equal(w.closed_session, session);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    core_session_garbage(w.core, session, w.now_ns);
    assert_int_equal(w.closed_session, session);
    core_session_frame(w.core, 99999, &(struct frame){.payload = big}, w.now_ns);
    world_end();
}

static void test_pool_without_gpu(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    uint32_t session;

    world_begin(deny_unregistered);
    vm.pool = 'Q';
    apply(&vm, 1);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    request(session, 7, 1);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_INVALID_POOL);
    world_end();
}

static void test_a_thousand_sessions(void **state)
{
    uint32_t session = 0;
    struct core_identity identity = {.kind = CORE_IDENTITY_CLAIM};

    world_begin(NULL);
    for (uint32_t i = 0; i < CORE_SESSIONS_MAX; i++) {
        assert_int_equal(core_session_open(w.core, &identity, w.now_ns, &session), 0);
    }
    assert_int_equal(core_session_open(w.core, &identity, w.now_ns, &session), -ENOSPC);
    advance(10001 * MS); /* all silent */
    assert_int_equal(core_session_open(w.core, &identity, w.now_ns, &session), 0);
    world_end();
}

/* ---- over a restart ---- */

/* The session as the mediator behind this one has it; no VM is known to that one. */
static uint32_t go_on(uint32_t session, enum core_identity_kind kind, uint32_t vm_id)
{
    struct core_session_kept kept;
    uint32_t again;

    assert_true(core_session_export(w.core, session, &kept));
    world_end();
    world_begin(NULL);
    again = connect_as(kind, vm_id);
    core_session_import(w.core, again, &kept, w.now_ns);
    return again;
}

static void test_a_session_goes_on_in_the_next_core(void **state)
{
    const VGPUHello hello = {.version = 1, .features = VGPU_FEATURE_CONFIG};
    struct core_session_stats stats;
    struct core_session_kept kept;
    uint32_t session;

    world_begin(NULL);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    frame_in(session, VGPU_MSG_HELLO, 7, 1, &hello, sizeof(hello));
    request(session, 7, 2);
    assert_false(core_session_export(w.core, session, &kept)); /* an answer is due */
    worker_ready(w.starts[0].worker);
    done(&w.runs[0], VGPU_ERR_NONE);
    session = go_on(session, CORE_IDENTITY_UUID, 7);
    assert_int_equal(w.sent_count, 1); /* no second answer to its HELLO */
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_CONFIG);
    assert_true(core_session_stats(w.core, session, &stats));
    assert_true(stats.hello);
    assert_int_equal(stats.features, VGPU_FEATURE_CONFIG);
    assert_int_equal(stats.requests, 1);
    assert_int_not_equal(stats.vm, CORE_NONE);
    request(session, 7, 3);
    assert_int_equal(w.start_count, 1);
    frame_in(session, VGPU_MSG_HELLO, 7, 4, &hello, sizeof(hello));
    assert_int_equal(w.closed_reason, CORE_CLOSE_PROTOCOL); /* it has said that already */
    world_end();
}

static void test_a_session_goes_on_under_another_vm_id(void **state)
{
    const VGPUHello hello = {.version = 1, .features = VGPU_FEATURE_CONFIG};
    struct core_vm_config renamed = vm_config(7, 1);
    struct core_session_kept kept;
    uint32_t session;

    world_begin(NULL);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    frame_in(session, VGPU_MSG_HELLO, 7, 1, &hello, sizeof(hello));
    assert_true(core_session_export(w.core, session, &kept));
    world_end();
    world_begin(NULL);
    renamed.vm_id = 9;
    apply(&renamed, 1);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    core_session_import(w.core, session, &kept, w.now_ns);
    assert_int_equal(last_sent()->config.vm_id, 9);
    request(session, 7, 2); /* it has not heard of that yet */
    request(session, 9, 3);
    assert_int_equal(stats_of(9).submitted, 2);
    world_end();
}

static void test_who_may_not_be_served_any_more_is_told_so(void **state)
{
    struct core_session_kept kept;
    uint32_t session;

    world_begin(NULL);
    session = ready_vm(7);
    assert_true(core_session_export(w.core, session, &kept));
    world_end();
    world_begin(deny_unregistered);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    core_session_import(w.core, session, &kept, w.now_ns);
    request(session, 7, 2);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_NOT_REGISTERED);
    world_end();
}

static void test_two_sessions_of_a_vm_do_not_both_go_on(void **state)
{
    struct core_session_kept kept;
    uint32_t first, second;

    world_begin(NULL);
    first = ready_vm(7);
    assert_true(core_session_export(w.core, first, &kept));
    second = connect_as(CORE_IDENTITY_CLAIM, 7);
    core_session_import(w.core, second, &kept, w.now_ns);
    assert_int_equal(w.closed_session, second);
    assert_int_equal(w.closed_reason, CORE_CLOSE_DUPLICATE);
    world_end();
}

static void test_who_nobody_knows_does_not_go_on(void **state)
{
    struct core_session_kept kept;
    uint32_t silent, known;

    world_begin(NULL);
    silent = connect_as(CORE_IDENTITY_CLAIM, 7);
    assert_false(core_session_export(w.core, silent, &kept));
    assert_false(core_session_export(w.core, CORE_SESSIONS_MAX, &kept));
    assert_false(core_session_export(w.core, 99, &kept));
    /* A 1.0 device that has not spoken yet may take its time after that, too. */
    known = go_on(connect_as(CORE_IDENTITY_UUID, 8), CORE_IDENTITY_UUID, 8);
    request(known, 8, 1);
    assert_int_equal(w.start_count, 1);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed_requests),
        cmocka_unit_test(test_wrong_vm_id_is_refused),
        cmocka_unit_test(test_identity_from_the_host),
        cmocka_unit_test(test_registering_takes_effect_at_once),
        cmocka_unit_test(test_bad_configuration_changes_nothing),
        cmocka_unit_test(test_config_reaches_the_device),
        cmocka_unit_test(test_old_devices_need_a_restart),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_registering_a_taken_id),
        cmocka_unit_test(test_silent_sessions_are_closed),
        cmocka_unit_test(test_known_devices_may_be_silent),
        cmocka_unit_test(test_nonsense_closes),
        cmocka_unit_test(test_pool_without_gpu),
        cmocka_unit_test(test_a_thousand_sessions),
        cmocka_unit_test(test_a_session_goes_on_in_the_next_core),
        cmocka_unit_test(test_a_session_goes_on_under_another_vm_id),
        cmocka_unit_test(test_who_may_not_be_served_any_more_is_told_so),
        cmocka_unit_test(test_two_sessions_of_a_vm_do_not_both_go_on),
        cmocka_unit_test(test_who_nobody_knows_does_not_go_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
