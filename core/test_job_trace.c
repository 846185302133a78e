/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/job_trace.h"

static struct job_trace *trace;
static uint64_t next_id;
static uint64_t serials[4];

static int begin(void **state)
{
    trace = job_trace_new();
    next_id = 0;
    memset(serials, 0, sizeof(serials));
    for (uint32_t vm = 0; trace && vm < 3; vm++) {
        job_trace_add_vm(trace, vm);
    }
    return trace ? 0 : -1;
}

static int end(void **state)
{
    job_trace_free(trace);
    return 0;
}

static struct core_job_step accept_job(uint32_t vm, uint32_t request_id)
{
    struct core_job_step step = {
        .kind = CORE_JOB_ACCEPTED,
        .vm = vm,
        .serial = ++serials[vm],
        .job_id = ++next_id,
        .now_ns = next_id * 1000,
        .gpu = 1,
        .vm_id = 100 + vm,
        .session = 7,
        .request_id = request_id,
        .opcode = 5,
        .queue_depth = 3,
        .worker_ready = true,
    };

    job_trace_step(trace, &step);
    return step;
}

static void dispatch_job(struct core_job_step step)
{
    const struct wfq_dispatch decision = {
        .waiting_vms = 4,
        .eligible_vms = 2,
        .reason = WFQ_REASON_URGENT,
        .urgency = 2.5,
        .lag_ns = -300,
    };

    step.kind = CORE_JOB_DISPATCHED;
    step.now_ns += 10;
    step.decision = &decision;
    job_trace_step(trace, &step);
}

static void end_job(struct core_job_step step, enum vgpu_error status, bool answered)
{
    const vgpu_worker_done done = {.started_ns = step.now_ns + 20, .finished_ns = step.now_ns + 30};

    step.kind = CORE_JOB_ENDED;
    step.now_ns += 40;
    step.status = status;
    step.answered = answered;
    step.gpu_time_ns = answered ? 9 : 0;
    step.done = answered ? &done : NULL;
    job_trace_step(trace, &step);
}

static void test_a_jobs_way(void **state)
{
    struct core_job_step step = accept_job(2, 55);
    const struct job_record *record = job_trace_find(trace, step.job_id);

    assert_non_null(record);
    assert_int_equal(record->state, JOB_TRACE_QUEUED);
    assert_int_equal(record->vm_id, 102);
    assert_int_equal(record->request_id, 55);
    assert_int_equal(record->queue_depth, 3);
    assert_int_equal(record->accepted_ns, 1000);
    assert_int_equal(record->dispatched_ns, 0);
    dispatch_job(step);
    assert_int_equal(record->state, JOB_TRACE_RUNNING);
    assert_int_equal(record->dispatched_ns, 1010);
    assert_int_equal(record->reason, WFQ_REASON_URGENT);
    assert_int_equal(record->waiting_vms, 4);
    assert_int_equal(record->eligible_vms, 2);
    assert_int_equal(record->lag_ns, -300);
    assert_true(record->urgency == 2.5F);
    end_job(step, VGPU_ERR_CUDA_ERROR, true);
    assert_int_equal(record->state, JOB_TRACE_DONE);
    assert_int_equal(record->status, VGPU_ERR_CUDA_ERROR);
    assert_int_equal(record->started_ns, 1020);
    assert_int_equal(record->finished_ns, 1030);
    assert_int_equal(record->ended_ns, 1040);
    assert_int_equal(record->gpu_time_ns, 9);

    step = accept_job(2, 56);
    end_job(step, VGPU_ERR_NONE, false);
    record = job_trace_find(trace, step.job_id);
    assert_int_equal(record->state, JOB_TRACE_DROPPED);
    assert_int_equal(record->dispatched_ns, 0);
    assert_int_equal(record->started_ns, 0);
}

/* Whatever the others do, a VM's last JOB_TRACE_PER_VM jobs stay. */
static void test_a_flood_pushes_out_only_its_own(void **state)
{
    struct core_job_step quiet = accept_job(0, 1);
    struct core_job_step first = accept_job(1, 2);

    for (uint32_t i = 1; i < JOB_TRACE_PER_VM; i++) {
        accept_job(1, 100 + i);
    }
    assert_non_null(job_trace_find(trace, first.job_id));
    for (uint32_t i = 0; i < 10 * JOB_TRACE_PER_VM; i++) {
        accept_job(1, 1000 + i);
    }
    assert_null(job_trace_find(trace, first.job_id));
    assert_non_null(job_trace_find(trace, quiet.job_id));
    dispatch_job(first); /* its place is another's now */
    end_job(first, VGPU_ERR_NONE, true);
    for (uint64_t id = next_id - JOB_TRACE_PER_VM + 1; id <= next_id; id++) {
        assert_int_equal(job_trace_find(trace, id)->state, JOB_TRACE_QUEUED);
    }
    assert_null(job_trace_find(trace, 0));
    assert_null(job_trace_find(trace, next_id + 1));
    assert_int_equal(job_trace_latest_id(trace), next_id);
}

static void test_the_latest(void **state)
{
    const struct job_record *found[JOB_TRACE_LIST_MAX];
    struct job_trace_query any = {CORE_NONE, CORE_NONE}, of_one = {101, CORE_NONE},
                           request = {101, 4};

    assert_int_equal(job_trace_recent(trace, &any, found, 10), 0);
    for (uint32_t i = 0; i < 30; i++) {
        accept_job(i % 3, i);
    }
    assert_int_equal(job_trace_recent(trace, &any, found, 10), 10);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(found[i]->job_id, 30 - i);
    }
    assert_int_equal(job_trace_recent(trace, &any, found, 0), 0);
    assert_int_equal(job_trace_recent(trace, &any, found, JOB_TRACE_LIST_MAX), 30);
    assert_int_equal(job_trace_recent(trace, &of_one, found, 4), 4);
    assert_int_equal(found[0]->job_id, 29);
    assert_int_equal(found[3]->job_id, 20);
    assert_int_equal(job_trace_recent(trace, &request, found, 4), 1);
    assert_int_equal(found[0]->job_id, 5);
}

/* The slot has another VM now: both VMs' jobs are told apart and in order. */
static void test_a_slot_with_a_new_vm(void **state)
{
    const struct job_record *found[JOB_TRACE_LIST_MAX];
    struct job_trace_query any = {CORE_NONE, CORE_NONE};

    for (uint32_t i = 0; i < 20; i++) {
        accept_job(0, i);
    }
    serials[0] = 0;
    for (uint32_t i = 0; i < 5; i++) {
        accept_job(0, i);
    }
    assert_int_equal(job_trace_find(trace, 23)->serial, 3);
    assert_null(job_trace_find(trace, 3)); /* serial 3 again */
    assert_non_null(job_trace_find(trace, 20));
    assert_int_equal(job_trace_recent(trace, &any, found, 3), 3);
    assert_int_equal(found[0]->job_id, 25);
    assert_int_equal(found[2]->job_id, 23);
}

/* A VM that was never announced has no records, and does no harm. */
static void test_without_memory(void **state)
{
    struct core_job_step step = accept_job(3, 1);

    dispatch_job(step);
    end_job(step, VGPU_ERR_NONE, true);
    assert_null(job_trace_find(trace, step.job_id));
    job_trace_add_vm(trace, 3);
    end_job(step, VGPU_ERR_NONE, true); /* accepted before there was a ring */
    assert_null(job_trace_find(trace, step.job_id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_jobs_way, begin, end),
        cmocka_unit_test_setup_teardown(test_a_flood_pushes_out_only_its_own, begin, end),
        cmocka_unit_test_setup_teardown(test_the_latest, begin, end),
        cmocka_unit_test_setup_teardown(test_a_slot_with_a_new_vm, begin, end),
        cmocka_unit_test_setup_teardown(test_without_memory, begin, end),
    };

    return cmocka_run_group_tests_name("job_trace", tests, NULL, NULL);
}
