/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How workers end: who says until when, what their jobs get, and whose fault it is. */
#include "core/test_world.h"

#include <signal.h>

/* A registered VM, connected, its worker idle. */
static uint32_t registered_vm(struct core_vm_config *config, uint32_t vm_id)
{
    uint32_t session;

    *config = vm_config(vm_id, 50);
    apply(config, 1);
    session = connect_as(CORE_IDENTITY_UUID, vm_id);
    request(session, vm_id, 1000);
    worker_ready(w.starts[w.start_count - 1].worker);
    assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_NONE), 0);
    return session;
}

static void exited(enum core_worker_end end, uint32_t detail)
{
    core_worker_exited(w.core, w.starts[w.start_count - 1].worker, end, detail, w.now_ns);
}

/* A 6 s job, its memory limit changes after 1.3 s: the job ends well, then the worker changes. */
static void test_a_new_limit_cuts_nothing_off(void **state)
{
    struct core_vm_config config;
    uint32_t session;

    world_begin(NULL);
    session = registered_vm(&config, 7);
    request(session, 7, 1);
    request(session, 7, 2); /* handed out behind it */
    request(session, 7, 3); /* waits, for the next worker */
    advance(1300 * MS);
    config.memory_limit_bytes = 1 << 30;
    apply(&config, 1);
    assert_int_equal(w.stopped, w.starts[0].worker);
    advance(4700 * MS);
    assert_false(w.stopped_by_kill);
    assert_int_equal(done(&w.runs[1], VGPU_ERR_NONE), 0);
    advance(25000 * MS); /* the second one has its own job_timeout */
    assert_false(w.stopped_by_kill);
    assert_int_equal(done(&w.runs[2], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->header.request_id, 2);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    exited(CORE_WORKER_END_EXITED, 0);
    assert_int_equal(w.start_count, 2);
    assert_int_equal(w.starts[1].memory_limit_bytes, 1 << 30);
    worker_ready(w.starts[1].worker);
    assert_int_equal(done(&w.runs[3], VGPU_ERR_NONE), 0);
    assert_int_equal(stats_of(7).fault_count, 0);
    assert_int_equal(w.events[CORE_EVENT_FAULT] + w.events[CORE_EVENT_WORKER_LOST], 0);
    world_end();
}

static void no_job_timeout(struct core_config *config)
{
    config->job_timeout_ns = 0;
}

/* No time limit is no limit, also after a change. */
static void test_a_new_limit_without_time_limits(void **state)
{
    struct core_vm_config config;

    world_begin(no_job_timeout);
    request(registered_vm(&config, 7), 7, 1);
    config.memory_limit_bytes = 1 << 30;
    apply(&config, 1);
    advance(3600000 * MS);
    assert_false(w.stopped_by_kill);
    assert_int_equal(done(&w.runs[1], VGPU_ERR_NONE), 0);
    advance(CORE_STOP_GRACE_NS - 1);
    assert_false(w.stopped_by_kill);
    advance(1);
    assert_true(w.stopped_by_kill);
    exited(CORE_WORKER_END_SIGNALED, SIGKILL);
    assert_int_equal(stats_of(7).fault_count, 0);
    world_end();
}

/* A job that hangs is a fault, whatever else its worker was told. */
static void test_a_hang_after_a_new_limit_is_still_one(void **state)
{
    struct core_vm_config config;

    world_begin(NULL);
    request(registered_vm(&config, 7), 7, 1);
    config.memory_limit_bytes = 1 << 30;
    apply(&config, 1);
    advance(30000 * MS);
    assert_true(w.stopped_by_kill);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_TIMEOUT);
    assert_int_equal(stats_of(7).fault_count, 1);
    exited(CORE_WORKER_END_SIGNALED, SIGKILL);
    assert_int_equal(stats_of(7).fault_count, 1);
    world_end();
}

/* Quarantine: what runs has overrun_ns more, and whoever ends in it ends well. */
static void test_quarantine_gives_what_runs_a_little_time(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = ready_vm(7);
    request(session, 7, 1);
    request(session, 7, 2);
    advance(20 * MS);
    assert_int_equal(core_quarantine_vm(w.core, 7, w.now_ns), 0);
    assert_int_equal(w.stopped, w.starts[0].worker);
    advance(90 * MS);
    assert_false(w.stopped_by_kill);
    assert_int_equal(done(&w.runs[1], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    w.sent_count = 0;
    advance(10 * MS);
    assert_true(w.stopped_by_kill);
    assert_int_equal(w.sent_count, 1);
    assert_int_equal(w.sent[0].header.request_id, 2);
    assert_int_equal(w.sent[0].header.msg_type, VGPU_MSG_QUARANTINED);
    assert_int_equal(w.sent[0].response.status, VGPU_ERR_VM_QUARANTINED);
    assert_int_equal(w.last[CORE_EVENT_WORKER_OVERDUE].code, VGPU_ERR_VM_QUARANTINED);
    exited(CORE_WORKER_END_SIGNALED, SIGKILL);
    assert_int_equal(w.sent_count, 1);
    assert_int_equal(stats_of(7).fault_count, 0);
    world_end();
}

/* Released before the time is over: what runs goes on. */
static void test_a_release_spares_what_runs(void **state)
{
    world_begin(NULL);
    request(ready_vm(7), 7, 1);
    assert_int_equal(core_quarantine_vm(w.core, 7, w.now_ns), 0);
    advance(50 * MS);
    assert_int_equal(core_unquarantine_vm(w.core, 7, w.now_ns), 0);
    advance(5000 * MS);
    assert_false(w.stopped_by_kill);
    assert_int_equal(done(&w.runs[1], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    advance(CORE_STOP_GRACE_NS);
    assert_true(w.stopped_by_kill);
    world_end();
}

/* A quarantine comes after a new limit: the end comes nearer. */
static void test_a_second_reason_brings_the_end_nearer(void **state)
{
    struct core_vm_config config;

    world_begin(NULL);
    request(registered_vm(&config, 7), 7, 1);
    config.memory_limit_bytes = 1 << 30;
    apply(&config, 1);
    advance(5000 * MS);
    assert_false(w.stopped_by_kill);
    assert_int_equal(core_quarantine_vm(w.core, 7, w.now_ns), 0);
    advance(100 * MS);
    assert_true(w.stopped_by_kill);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_QUARANTINED);
    assert_int_equal(stats_of(7).fault_count, 0);
    world_end();
}

static void test_a_removed_vm_ends_what_runs(void **state)
{
    struct core_vm_config config;

    world_begin(NULL);
    request(registered_vm(&config, 7), 7, 1);
    apply(NULL, 0);
    assert_int_equal(w.stopped, w.starts[0].worker);
    advance(20000 * MS);
    assert_false(w.stopped_by_kill);
    assert_int_equal(done(&w.runs[1], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->header.request_id, 1);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    world_end();
}

/* Nothing else would ever end it, and nobody would see it any more. */
static void test_a_removed_vm_without_time_limits(void **state)
{
    struct core_vm_config config;

    world_begin(no_job_timeout);
    request(registered_vm(&config, 7), 7, 1);
    apply(NULL, 0);
    advance(CORE_STOP_GRACE_NS - 1);
    assert_false(w.stopped_by_kill);
    advance(1);
    assert_true(w.stopped_by_kill);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_NOT_REGISTERED);
    assert_int_equal(w.events[CORE_EVENT_FAULT], 0);
    world_end();
}

/* Three that don't react (SIGSTOP): each has its own deadline, none waits for another. */
static void test_stopped_workers_end_each_at_its_own_time(void **state)
{
    struct core_vm_config vms[3];
    uint64_t killed_at_ns[3], told_at_ns[3];

    world_begin(NULL);
    for (uint32_t i = 0; i < 3; i++) {
        vms[i] = vm_config(i + 1, 50);
        apply(vms, i + 1);
        request(connect_as(CORE_IDENTITY_UUID, i + 1), i + 1, 1);
        worker_ready(w.starts[i].worker);
        assert_int_equal(done(&w.runs[i], VGPU_ERR_NONE), 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        vms[i].memory_limit_bytes = 1 << 30;
        apply(vms, 3);
        assert_int_equal(w.stopped, w.starts[i].worker);
        told_at_ns[i] = w.now_ns;
        advance(300 * MS);
    }
    for (uint32_t i = 0; i < 3; i++) {
        while (w.stopped != w.starts[i].worker || !w.stopped_by_kill) {
            advance(MS);
            assert_true(w.now_ns < told_at_ns[i] + 2 * CORE_STOP_GRACE_NS);
        }
        killed_at_ns[i] = w.now_ns;
    }
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(killed_at_ns[i], told_at_ns[i] + CORE_STOP_GRACE_NS);
    }
    world_end();
}

/* Killed by the host with jobs in flight: they fail, their VM is not to blame. */
static void test_the_host_kills_a_worker(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = ready_vm(7);
    for (uint32_t i = 0; i < 3; i++) {
        request(session, 7, i);
    }
    w.sent_count = 0;
    exited(CORE_WORKER_END_HOST, SIGKILL);
    assert_int_equal(w.sent_count, 2);
    assert_int_equal(w.sent[0].response.status, VGPU_ERR_CUDA_ERROR);
    assert_int_equal(w.sent[1].response.status, VGPU_ERR_CUDA_ERROR);
    assert_int_equal(stats_of(7).fault_count, 0);
    assert_int_equal(w.events[CORE_EVENT_FAULT], 0);
    assert_int_equal(w.events[CORE_EVENT_WORKER_LOST], 1);
    assert_int_equal(w.last[CORE_EVENT_WORKER_LOST].value, CORE_WORKER_END_HOST);
    assert_int_equal(w.start_count, 2); /* and a new one comes at once */
    world_end();
}

/* One that was told to go, and whose job crashes it: that is the job's fault. */
static void test_a_crash_while_leaving_is_a_fault(void **state)
{
    struct core_vm_config config;

    world_begin(NULL);
    request(registered_vm(&config, 7), 7, 1);
    config.memory_limit_bytes = 1 << 30;
    apply(&config, 1);
    exited(CORE_WORKER_END_SIGNALED, SIGSEGV);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_CUDA_ERROR);
    assert_int_equal(stats_of(7).fault_count, 1);
    world_end();
}

static void test_the_mediator_stops(void **state)
{
    uint32_t first, second;

    world_begin(NULL);
    first = ready_vm(1);
    second = ready_vm(2);
    request(first, 1, 1);
    core_session_closed(w.core, second, w.now_ns);
    core_stop_workers(w.core, w.now_ns);
    assert_int_equal(w.stopped, w.starts[1].worker);
    exited(CORE_WORKER_END_EXITED, 0);
    request(second = connect_as(CORE_IDENTITY_CLAIM, 2), 2, 5);
    assert_int_equal(w.start_count, 2); /* none is started any more */
    advance(CORE_STOP_GRACE_NS);
    assert_int_equal(w.stopped, w.starts[0].worker);
    assert_true(w.stopped_by_kill);
    assert_int_equal(last_sent()->session, first);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_MEDIATOR_UNAVAILABLE);
    assert_int_equal(w.events[CORE_EVENT_FAULT], 0);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_limit_cuts_nothing_off),
        cmocka_unit_test(test_a_new_limit_without_time_limits),
        cmocka_unit_test(test_a_hang_after_a_new_limit_is_still_one),
        cmocka_unit_test(test_quarantine_gives_what_runs_a_little_time),
        cmocka_unit_test(test_a_release_spares_what_runs),
        cmocka_unit_test(test_a_second_reason_brings_the_end_nearer),
        cmocka_unit_test(test_a_removed_vm_ends_what_runs),
        cmocka_unit_test(test_a_removed_vm_without_time_limits),
        cmocka_unit_test(test_stopped_workers_end_each_at_its_own_time),
        cmocka_unit_test(test_the_host_kills_a_worker),
        cmocka_unit_test(test_a_crash_while_leaving_is_a_fault),
        cmocka_unit_test(test_the_mediator_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
