/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs, workers and GPUs in the core: what happens when they end, hang or get lost. */
#include <errno.h>
#include <string.h>

#include "common/names.h"
#include "core/metrics/metrics.h"
#include "core/test_world.h"

static void test_one_request(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    request(session, 7, 42);
    assert_int_equal(w.start_count, 1);
    assert_int_equal(w.starts[0].vm_id, 7);
    assert_int_equal(w.run_count, 0); /* no worker yet */
    worker_ready(w.starts[0].worker);
    assert_int_equal(w.run_count, 1);
    assert_int_equal(w.sent_count, 0);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_NONE), 0);
    assert_int_equal(w.sent_count, 1);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_RESPONSE);
    assert_int_equal(last_sent()->header.request_id, 42);
    assert_int_equal(last_sent()->header.vm_id, 7);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    assert_int_equal(last_sent()->response.exec_time_us, 1000);
    world_end();
}

static void test_done_must_match(void **state)
{
    struct run wrong;

    world_begin(NULL);
    request(connect_as(CORE_IDENTITY_CLAIM, 7), 7, 1);
    worker_ready(w.starts[0].worker);
    wrong = w.runs[0];
    wrong.job_id++;
    assert_int_equal(done(&wrong, VGPU_ERR_NONE), -EPROTO);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_COUNT), -EPROTO);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_NONE), 0);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_NONE), -EPROTO); /* twice */
    wrong.worker += CORE_VMS_MAX;                               /* one that never was */
    assert_int_equal(done(&wrong, VGPU_ERR_NONE), 0);
    assert_int_equal(w.sent_count, 1);
    world_end();
}

static void test_worker_crash(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = ready_vm(7);
    for (uint32_t i = 0; i < 4; i++) {
        request(session, 7, i);
    }
    w.sent_count = 0;
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_SIGNALED, 11, w.now_ns);
    assert_int_equal(w.sent_count, 2); /* the two in flight */
    assert_int_equal(w.sent[0].response.status, VGPU_ERR_CUDA_ERROR);
    assert_int_equal(w.sent[1].response.status, VGPU_ERR_CUDA_ERROR);
    assert_int_equal(stats_of(7).fault_count, 1);
    assert_int_equal(w.start_count, 2); /* the others get a new one at once */
    worker_ready(w.starts[1].worker);
    assert_int_equal(done(&w.runs[w.run_count - 2], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->header.request_id, 2);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    world_end();
}

static void test_worker_that_never_starts(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    request(session, 7, 1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(w.start_count, i + 1);
        assert_int_equal(w.sent_count, 0);
        core_worker_exited(w.core, w.starts[i].worker, CORE_WORKER_END_NOT_STARTED, ENOENT,
                           w.now_ns);
        if (i < 2) {
            advance(1000 * MS);
        }
    }
    assert_int_equal(last_sent()->response.status, VGPU_ERR_GPU_UNAVAILABLE);
    assert_int_equal(w.events[CORE_EVENT_WORKER_GIVEN_UP], 1);
    request(session, 7, 2); /* still backing off: answered at once */
    assert_int_equal(last_sent()->header.request_id, 2);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_GPU_UNAVAILABLE);
    advance(6000 * MS);
    request(session, 7, 3); /* worth another try */
    assert_int_equal(w.start_count, 4);
    worker_ready(w.starts[3].worker);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    assert_int_equal(stats_of(7).fault_count, 0); /* not the guest's fault */
    world_end();
}

static void no_handover(struct core_config *config)
{
    config->scheduler.handover_ns = 0;
}

static void test_hang_times_out_and_neighbour_goes_on(void **state)
{
    uint32_t hog, other;
    struct run stuck;

    world_begin(no_handover);
    hog = ready_vm(1);
    other = ready_vm(2);
    request(hog, 1, 1);
    stuck = w.runs[w.run_count - 1];
    request(other, 2, 1);
    w.run_count = 0;
    w.sent_count = 0;
    advance(99 * MS);
    assert_int_equal(w.run_count, 0);
    advance(2 * MS); /* overrun: let in beside it */
    assert_int_equal(w.run_count, 1);
    assert_int_equal(w.events[CORE_EVENT_JOB_OVERRUN], 1);
    assert_true(stats_of(1).aside);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_NONE), 0);
    assert_int_equal(w.sent_count, 1);
    advance(30000 * MS);
    assert_int_equal(w.events[CORE_EVENT_JOB_TIMEOUT], 1);
    assert_int_equal(w.stopped, stuck.worker);
    assert_true(w.stopped_by_kill);
    assert_int_equal(last_sent()->session, hog);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_TIMEOUT);
    assert_int_equal(w.sent_count, 2);
    request(hog, 1, 2); /* waits for a new worker, which waits for the old one to go */
    assert_int_equal(w.start_count, 2);
    assert_int_equal(done(&stuck, VGPU_ERR_NONE), -EPROTO); /* too late */
    core_worker_exited(w.core, stuck.worker, CORE_WORKER_END_SIGNALED, 9, w.now_ns);
    assert_int_equal(w.start_count, 3);
    assert_int_equal(stats_of(1).fault_count, 1);
    world_end();
}

static void test_quarantine(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = ready_vm(7);
    for (uint32_t i = 0; i < 5; i++) {
        request(session, 7, i);
        if (i == 4) {
            request(session, 7, 50);
            request(session, 7, 51);
        }
        w.sent_count = 0;
        assert_int_equal(done(&w.runs[w.run_count - (i == 4 ? 2 : 1)], VGPU_ERR_CUDA_ERROR), 0);
    }
    assert_int_equal(w.events[CORE_EVENT_QUARANTINED], 1);
    assert_true(stats_of(7).config.quarantined);
    /* the failed one, and the one that waited; request 50 is in flight still */
    assert_int_equal(w.sent_count, 2);
    assert_int_equal(w.sent[0].header.msg_type, VGPU_MSG_QUARANTINED);
    assert_int_equal(w.sent[0].header.request_id, 51);
    assert_int_equal(w.sent[1].response.status, VGPU_ERR_CUDA_ERROR);
    assert_int_equal(w.stopped, w.starts[0].worker);
    assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    request(session, 7, 60);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_QUARANTINED);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_QUARANTINED);
    assert_int_equal(w.start_count, 1);
    assert_int_equal(core_unquarantine_vm(w.core, 7, w.now_ns), 0);
    request(session, 7, 61);
    assert_int_equal(w.start_count, 2);
    assert_int_equal(core_quarantine_vm(w.core, 1234, w.now_ns), -ENOENT);
    world_end();
}

/* Nobody registered it, but what it did is not forgotten when it reconnects. */
static void test_reconnecting_clears_no_quarantine(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = ready_vm(7);
    for (uint32_t i = 0; i < 5; i++) {
        request(session, 7, i);
        assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_CUDA_ERROR), 0);
    }
    assert_true(stats_of(7).config.quarantined);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    core_session_closed(w.core, session, w.now_ns);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    request(session, 7, 100);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_QUARANTINED);
    world_end();
}

static void no_patience(struct core_config *config)
{
    config->scheduler.patience_ns = 0;
}

static void test_disconnect_drops_what_waits(void **state)
{
    uint32_t session, other;

    world_begin(no_patience);
    session = ready_vm(7);
    other = ready_vm(8);
    for (uint32_t i = 0; i < 5; i++) {
        request(session, 7, i);
    }
    request(other, 8, 1);
    w.sent_count = 0;
    core_session_closed(w.core, session, w.now_ns);
    assert_int_equal(stats_of(7).dropped, 3);
    assert_int_equal(stats_of(7).in_flight, 2);
    /* a new connection of the same VM gets nothing of the old one's */
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    request(session, 7, 100);
    for (uint32_t i = 0; i < w.run_count; i++) {
        done(&w.runs[i], VGPU_ERR_NONE);
        advance(MS); /* past any anticipation */
    }
    for (uint32_t i = 0; i < w.sent_count; i++) {
        assert_true(w.sent[i].session == other || w.sent[i].header.request_id == 100);
    }
    assert_int_equal(w.sent_count, 2);
    world_end();
}

static void test_idle_worker_lingers_then_leaves(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = ready_vm(7);
    core_session_closed(w.core, session, w.now_ns);
    advance(9000 * MS);
    assert_int_equal(w.stopped, 0);
    advance(1001 * MS);
    assert_int_equal(w.stopped, w.starts[0].worker);
    assert_false(w.stopped_by_kill);
    advance(2001 * MS); /* it does not go by itself */
    assert_true(w.stopped_by_kill);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_SIGNALED, 9, w.now_ns);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE); /* nobody registered it */
    world_end();
}

/* While a GPU is gone no deadline of its scheduler may come up again and again. */
static void test_lost_gpu_has_no_deadlines(void **state)
{
    uint32_t first, second;

    world_begin(NULL);
    first = ready_vm(1);
    second = ready_vm(2);
    request(first, 1, 1);
    request(second, 2, 1);
    assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_NONE), 0); /* anticipates */
    core_gpu_set_available(w.core, 0, false, w.now_ns);
    for (uint32_t i = 0; i < 10; i++) {
        w.now_ns += MS;
        core_tick(w.core, w.now_ns);
    }
    assert_true(core_next_deadline_ns(w.core) > w.now_ns);
    world_end();
}

static void test_gpu_lost_and_back(void **state)
{
    uint32_t session;

    world_begin(NULL);
    assert_int_equal(core_gpu_add(w.core, "CPU-1"), 1);
    assert_int_equal(core_pool_set_gpus(w.core, 'A', 3, w.now_ns), 0);
    session = ready_vm(7);
    assert_int_equal(stats_of(7).gpu, 0);
    for (uint32_t i = 0; i < 4; i++) {
        request(session, 7, i);
    }
    core_gpu_set_available(w.core, 0, false, w.now_ns);
    assert_int_equal(stats_of(7).gpu, 0); /* two in flight: drains first */
    assert_int_equal(done(&w.runs[1], VGPU_ERR_NONE), 0);
    assert_int_equal(done(&w.runs[2], VGPU_ERR_NONE), 0);
    assert_int_equal(stats_of(7).gpu, 1);
    assert_int_equal(stats_of(7).queue_depth, 2); /* moved with it */
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    assert_int_equal(w.start_count, 2);
    assert_int_equal(w.starts[1].gpu, 1);
    worker_ready(w.starts[1].worker);
    assert_int_equal(done(&w.runs[3], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->header.request_id, 2);
    /* no GPU left at all */
    core_gpu_set_available(w.core, 1, false, w.now_ns);
    assert_int_equal(done(&w.runs[4], VGPU_ERR_NONE), 0);
    request(session, 7, 9);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_GPU_UNAVAILABLE);
    core_worker_exited(w.core, w.starts[1].worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    core_gpu_set_available(w.core, 0, true, w.now_ns);
    request(session, 7, 10);
    assert_int_equal(w.start_count, 3);
    world_end();
}

static void test_pause_and_resume(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = ready_vm(7);
    core_pause(w.core, CORE_NONE, w.now_ns);
    w.run_count = 0;
    request(session, 7, 1);
    advance(1000 * MS);
    assert_int_equal(w.run_count, 0);
    core_resume(w.core, CORE_NONE, w.now_ns);
    assert_int_equal(w.run_count, 1);
    world_end();
}

static uint64_t part_ns(uint32_t vm_id, enum metrics_part part)
{
    return metrics_histogram_of(core_metrics(w.core), core_vm_find(w.core, vm_id), part)->sum_ns;
}

/* Two jobs that came together: the second one's turn comes when the first is done. */
static void test_metrics_split_the_time(void **state)
{
    vgpu_worker_done frame = {.status = VGPU_ERR_NONE};
    struct metrics *metrics;
    uint32_t session, slot;

    world_begin(NULL);
    metrics = core_metrics(w.core);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    request(session, 7, 1);
    slot = core_vm_find(w.core, 7);
    assert_string_equal(metrics_vm_label(metrics, slot), "vm 7");
    request(session, 7, 2);
    advance(10 * MS);
    worker_ready(w.starts[0].worker);
    assert_int_equal(w.run_count, 1); /* how long its jobs are is not known yet */
    advance(5 * MS);
    frame.gpu_time_ns = 4 * MS;
    frame.finished_ns = w.now_ns;
    assert_int_equal(
        core_worker_done(w.core, w.runs[0].worker, w.runs[0].job_id, &frame, NULL, w.now_ns), 0);
    assert_int_equal(part_ns(7, METRICS_TOTAL), 15 * MS);
    assert_int_equal(part_ns(7, METRICS_QUEUE), 10 * MS);
    assert_int_equal(part_ns(7, METRICS_GPU), 4 * MS);
    assert_int_equal(part_ns(7, METRICS_TRANSPORT), 1 * MS);
    advance(6 * MS);
    frame.finished_ns = w.now_ns + 1000 * MS; /* a worker that lies about its clock */
    assert_int_equal(
        core_worker_done(w.core, w.runs[1].worker, w.runs[1].job_id, &frame, NULL, w.now_ns), 0);
    assert_int_equal(part_ns(7, METRICS_TOTAL), (15 + 21) * MS);
    assert_int_equal(part_ns(7, METRICS_QUEUE), (10 + 15) * MS);
    assert_int_equal(part_ns(7, METRICS_GPU), (4 + 4) * MS);
    assert_int_equal(part_ns(7, METRICS_TRANSPORT), (1 + 2) * MS);
    request(session, 7, 3); /* and has no effect on the next */
    assert_int_equal(done(&w.runs[2], VGPU_ERR_NONE), 0);
    assert_int_equal(part_ns(7, METRICS_QUEUE), (10 + 15) * MS);
    assert_int_equal(metrics_count(metrics, slot, METRICS_ACCEPTED), 3);
    assert_int_equal(metrics_count(metrics, slot, METRICS_JOBS), 3);
    world_end();
}

static void test_metrics_count_what_goes_wrong(void **state)
{
    struct metrics *metrics;
    uint32_t session, slot;

    world_begin(NULL);
    metrics = core_metrics(w.core);
    session = ready_vm(7);
    slot = core_vm_find(w.core, 7);
    request(session, 8, 1); /* not its vm_id */
    assert_int_equal(metrics_rejections(metrics, slot, VGPU_ERR_INVALID_REQUEST), 1);
    request(session, 7, 2);
    assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_CUDA_ERROR), 0);
    assert_int_equal(metrics_errors(metrics, slot, VGPU_ERR_CUDA_ERROR), 1);
    assert_int_equal(metrics_count(metrics, slot, METRICS_FAULTS), 1);
    request(session, 7, 3);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_SIGNALED, 11, w.now_ns);
    assert_int_equal(metrics_errors(metrics, slot, VGPU_ERR_CUDA_ERROR), 2);
    assert_int_equal(metrics_count(metrics, slot, METRICS_WORKER_RESTARTS), 1);
    assert_int_equal(core_quarantine_vm(w.core, 7, w.now_ns), 0);
    assert_int_equal(metrics_count(metrics, slot, METRICS_QUARANTINES), 1);
    request(session, 7, 4);
    assert_int_equal(metrics_rejections(metrics, slot, VGPU_ERR_VM_QUARANTINED), 1);
    assert_int_equal(metrics_count(metrics, slot, METRICS_JOBS), 3);
    world_end();
}

/* What must outlive the process is handed over once, and only where it happened here. */
static void test_facts_are_handed_over_to_be_kept(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    uint32_t session;

    world_begin(NULL);
    session = ready_vm(7);
    for (uint32_t i = 0; i < 5; i++) {
        request(session, 7, i);
        assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_CUDA_ERROR), 0);
        assert_int_equal(w.persisted[CORE_EVENT_FAULT], i + 1);
    }
    assert_int_equal(w.persisted[CORE_EVENT_QUARANTINED], 1);
    assert_int_equal(w.last_persisted.vm_id, 7);
    assert_int_equal(w.last_persisted.value, 5);
    assert_int_equal(core_unquarantine_vm(w.core, 7, w.now_ns), 0);
    assert_int_equal(w.persisted[CORE_EVENT_UNQUARANTINED], 1);
    assert_int_equal(core_quarantine_vm(w.core, 7, w.now_ns), 0);
    assert_int_equal(w.persisted[CORE_EVENT_QUARANTINED], 2);
    assert_int_equal(core_unquarantine_vm(w.core, 7, w.now_ns), 0);
    memset(w.persisted, 0, sizeof(w.persisted));
    memset(w.events, 0, sizeof(w.events));

    /* The configuration says it: it is told, but the configuration knows already. */
    apply(&vm, 1);
    vm.quarantined = true;
    apply(&vm, 1);
    assert_int_equal(w.events[CORE_EVENT_QUARANTINED], 1);
    vm.quarantined = false;
    apply(&vm, 1);
    assert_int_equal(w.events[CORE_EVENT_UNQUARANTINED], 1);
    for (uint32_t kind = 0; kind < CORE_EVENT_KIND_COUNT; kind++) {
        assert_int_equal(w.persisted[kind], 0);
    }
    /* Afterwards the core has its say again. */
    assert_int_equal(core_quarantine_vm(w.core, 7, w.now_ns), 0);
    assert_int_equal(w.persisted[CORE_EVENT_QUARANTINED], 1);
    world_end();
}

/* The VM's job of 1 ms, on a worker that is there already or comes for it. */
static void one_job(uint32_t session, uint32_t vm_id)
{
    uint32_t starts = w.start_count;

    request(session, vm_id, 1);
    if (w.start_count > starts) {
        worker_ready(w.starts[starts].worker);
    }
    assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_NONE), 0);
}

/* None of the figures is less than it was; returns what they are now. */
static struct core_vm_stats still_counted(uint32_t vm_id, const struct core_vm_stats *before)
{
    struct core_vm_stats now = stats_of(vm_id);

    assert_true(now.entitled_ns >= before->entitled_ns);
    assert_true(now.kept_ns >= before->kept_ns);
    assert_true(now.switching_ns >= before->switching_ns);
    assert_true(now.gpu_time_ns >= before->gpu_time_ns);
    return now;
}

/* What a VM was entitled to and has cost is counted on while it leaves its place and comes back. */
static void test_figures_outlive_a_place(void **state)
{
    struct core_vm_config vms[] = {vm_config(7, 50), vm_config(8, 50)};
    struct core_vm_stats seen;
    uint32_t session7, session8;
    uint64_t worker7;

    world_begin(NULL);
    assert_int_equal(core_gpu_add(w.core, "CPU-1"), 1);
    assert_int_equal(core_pool_set_gpus(w.core, 'B', 2, w.now_ns), 0);
    apply(vms, 2);
    session8 = connect_as(CORE_IDENTITY_UUID, 8);
    session7 = connect_as(CORE_IDENTITY_UUID, 7);
    for (uint32_t i = 0; i < 3; i++) {
        one_job(session8, 8);
        one_job(session7, 7);
    }
    seen = stats_of(7);
    worker7 = seen.worker;
    assert_int_equal(seen.entitled_ns, 3 * MS); /* it was always alone */
    assert_true(seen.switching_ns > 100000);    /* two switches; the latest turn's is not final */

    core_session_closed(w.core, session7, w.now_ns);
    advance(10001 * MS);
    core_worker_exited(w.core, worker7, CORE_WORKER_END_EXITED, 0, w.now_ns);
    advance(1001 * MS);
    assert_int_equal(stats_of(7).gpu, CORE_NONE);
    assert_int_equal(still_counted(7, &seen).entitled_ns, 3 * MS);
    assert_true(stats_of(7).switching_ns > seen.switching_ns + 50000); /* now it is */

    seen = stats_of(7);
    session7 = connect_as(CORE_IDENTITY_UUID, 7);
    one_job(session7, 7);
    assert_int_equal(still_counted(7, &seen).entitled_ns, 4 * MS);

    seen = stats_of(7);
    vms[0].pool = 'B';
    apply(vms, 2);
    core_worker_exited(w.core, seen.worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    one_job(session7, 7);
    assert_int_equal(stats_of(7).gpu, 1);
    seen = still_counted(7, &seen);
    assert_int_equal(seen.entitled_ns, 5 * MS);

    assert_int_equal(core_quarantine_vm(w.core, 7, w.now_ns), 0);
    core_worker_exited(w.core, seen.worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    advance(1001 * MS);
    still_counted(7, &seen);
    assert_int_equal(core_unquarantine_vm(w.core, 7, w.now_ns), 0);
    one_job(session7, 7);
    assert_int_equal(still_counted(7, &seen).entitled_ns, 6 * MS);
    world_end();
}

/* The words that commands offer are the policies that there are. */
static void test_policies_have_their_names(void **state)
{
    for (int i = 0; i < WFQ_POLICY_COUNT; i++) {
        assert_string_equal(wfq_policy_name((enum wfq_policy_id)i), policy_names[i]);
        assert_int_equal(wfq_policy_from_name(policy_names[i]), i);
    }
    assert_null(policy_names[WFQ_POLICY_COUNT]);
    assert_int_equal(wfq_policy_from_name("fair"), -EINVAL);
    assert_null(wfq_policy_name(WFQ_POLICY_COUNT));
    assert_string_equal(POLICY_WORDS, "wfq, urgency, priority, fifo, wf2q, priority-all");
    assert_string_equal(POLICY_CHOICES, "wfq|urgency|priority|fifo|wf2q|priority-all");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_request),
        cmocka_unit_test(test_policies_have_their_names),
        cmocka_unit_test(test_done_must_match),
        cmocka_unit_test(test_worker_crash),
        cmocka_unit_test(test_worker_that_never_starts),
        cmocka_unit_test(test_hang_times_out_and_neighbour_goes_on),
        cmocka_unit_test(test_quarantine),
        cmocka_unit_test(test_reconnecting_clears_no_quarantine),
        cmocka_unit_test(test_facts_are_handed_over_to_be_kept),
        cmocka_unit_test(test_disconnect_drops_what_waits),
        cmocka_unit_test(test_idle_worker_lingers_then_leaves),
        cmocka_unit_test(test_lost_gpu_has_no_deadlines),
        cmocka_unit_test(test_gpu_lost_and_back),
        cmocka_unit_test(test_pause_and_resume),
        cmocka_unit_test(test_figures_outlive_a_place),
        cmocka_unit_test(test_metrics_split_the_time),
        cmocka_unit_test(test_metrics_count_what_goes_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
