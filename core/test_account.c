/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Over a restart: VM 7 has had 3 s of the GPU beside VM 8, which waited.  What it owes by that is
 * there in the next core, and who is owed it has it.
 */
#include <math.h>
#include <string.h>

#include "core/core_internal.h"
#include "core/sched/wfq_internal.h"
#include "core/test_world.h"

#define LONG_JOB_NS (3000 * MS)
#define HALF_NS ((int64_t)LONG_JOB_NS / 2) /* two equal VMs: so much of it was VM 8's */

static struct core_vm_kept kept[CORE_VMS_MAX];
static uint32_t kept_count;
static uint64_t worker7, worker8;
static uint32_t session7, session8;

static void simple(struct core_config *config)
{
    config->overrun_ns = 0;
    config->scheduler.anticipation_ns = 0;
}

static void overruns(struct core_config *config)
{
    config->overrun_ns = 100 * MS;
    config->scheduler.anticipation_ns = 0;
}

static uint32_t arrive(uint32_t vm_id, uint64_t *worker)
{
    uint32_t session = connect_as(CORE_IDENTITY_UUID, vm_id);

    request(session, vm_id, 1);
    *worker = w.starts[w.start_count - 1].worker;
    worker_ready(*worker);
    return session;
}

/* VM 7's job runs; VM 8 waits, and goes on to. */
static void begin(void (*change)(struct core_config *config))
{
    world_begin(change);
    w.finished = 0;
    session7 = arrive(7, &worker7);
    session8 = arrive(8, &worker8);
    request(session8, 8, 2);
    core_pause(w.core, CORE_NONE, w.now_ns);
}

/* The mediator ends here, and the next one begins. */
static void restart(void (*change)(struct core_config *config))
{
    kept_count = 0;
    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        kept_count += core_export_vm(w.core, slot, w.now_ns, &kept[kept_count]);
    }
    world_end();
    world_begin(change);
    w.finished = 0;
    assert_int_equal(core_import_vms(w.core, kept, kept_count, w.now_ns), kept_count);
}

static void test_a_debt_outlives_the_mediator(void **state)
{
    begin(simple);
    finish_after(LONG_JOB_NS);
    assert_int_equal(stats_of(7).scheduler.lag_ns, -HALF_NS);
    restart(simple);
    assert_int_equal(stats_of(7).scheduler.lag_ns, -HALF_NS);
    assert_int_equal(stats_of(8).scheduler.lag_ns, HALF_NS);
    assert_true(stats_of(7).due_share == 0);

    session7 = arrive(7, &worker7); /* it is the first to come back */
    finish_after(100 * MS);
    session8 = arrive(8, &worker8);
    request(session7, 7, 2);
    for (uint32_t i = 1; i <= 29; i++) {
        request(session8, 8, i);
        finish_after(100 * MS);
        assert_int_equal(w.runs[w.finished - 1].worker, worker8);
        w.sent_count = 0;
    }
    request(session8, 8, 30);
    for (uint32_t i = 0; i < 6; i++) {
        request(session8, 8, 40);
        finish_after(100 * MS);
    }
    assert_int_equal(stats_of(7).completed, 3); /* one before the restart; its turn again */
    world_end();
}

/* Who does not come back in time, gives up what it is owed: as if it had left before. */
static void test_who_stays_away_is_owed_nothing(void **state)
{
    begin(simple);
    finish_after(LONG_JOB_NS);
    restart(simple);
    session7 = arrive(7, &worker7);
    finish_after(100 * MS);
    assert_int_equal(stats_of(8).gpu, 0);
    advance(CORE_RETURN_NS + 2 * CORE_DEBT_CHECK_NS);
    assert_int_equal(core_vm_find(w.core, 8), CORE_NONE); /* nobody registered it */
    assert_int_equal(stats_of(7).scheduler.lag_ns, 0);
    world_end();
}

/* A session is not enough: it has to have work by then. */
static void test_who_has_no_work_in_time(void **state)
{
    begin(simple);
    finish_after(LONG_JOB_NS);
    restart(simple);
    session8 = connect_as(CORE_IDENTITY_UUID, 8);
    frame_in(session8, VGPU_MSG_HELLO, 8, 0, &(VGPUHello){.version = VGPU_PROTOCOL_VERSION},
             sizeof(VGPUHello));
    advance(CORE_RETURN_NS - MS);
    assert_int_equal(stats_of(8).scheduler.lag_ns, HALF_NS);
    advance(2 * MS + CORE_DEBT_CHECK_NS);
    assert_int_equal(stats_of(8).scheduler.lag_ns, 0);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE); /* it owes nothing */
    world_end();
}

/* The mediator is killed while the job that makes the debt runs: so much as was charged. */
static void test_a_debt_of_a_job_aside(void **state)
{
    int64_t debt_ns;

    begin(overruns);
    core_resume(w.core, CORE_NONE, w.now_ns);
    advance(1000 * MS);
    assert_true(stats_of(7).aside);
    restart(overruns);
    debt_ns = stats_of(7).scheduler.debt_ns;
    assert_true(stats_of(7).scheduler.suspended);
    assert_in_range(debt_ns, 400 * MS, 600 * MS); /* beside one other, from 100 ms on */
    world_end();
}

/* It runs only when nobody else can. */
static void test_a_suspended_vm(void **state)
{
    begin(simple);
    finish_after(LONG_JOB_NS);
    kept_count = core_export_vm(w.core, core_vm_find(w.core, 7), w.now_ns, &kept[0]);
    kept[0].account = (struct wfq_account){.debt_ns = 500.0 * MS};
    world_end();
    world_begin(simple);
    w.finished = 0;
    assert_int_equal(core_import_vms(w.core, kept, 1, w.now_ns), 1);
    assert_true(stats_of(7).scheduler.suspended);
    assert_int_equal(stats_of(7).scheduler.debt_ns, 500 * MS);
    session8 = arrive(8, &worker8);
    session7 = arrive(7, &worker7);
    for (uint32_t i = 0; i < 4; i++) {
        request(session8, 8, i);
        finish_after(100 * MS);
        assert_int_equal(w.runs[w.finished].worker, worker8);
    }
    finish_after(100 * MS);
    assert_int_equal(w.runs[w.finished].worker, worker7); /* VM 8 has no more */
    world_end();
}

/* One of the two is gone meanwhile: the sum stays zero. */
static void test_without_the_debtor(void **state)
{
    begin(simple);
    finish_after(LONG_JOB_NS);
    kept_count = core_export_vm(w.core, core_vm_find(w.core, 8), w.now_ns, &kept[0]);
    assert_int_equal(kept_count, 1);
    assert_true(kept[0].account.lag_ns > 0);
    world_end();
    world_begin(simple);
    assert_int_equal(core_import_vms(w.core, kept, 1, w.now_ns), 1);
    assert_int_equal(stats_of(8).scheduler.lag_ns, 0);
    world_end();
}

static void test_without_who_is_owed(void **state)
{
    begin(simple);
    finish_after(LONG_JOB_NS);
    kept_count = core_export_vm(w.core, core_vm_find(w.core, 7), w.now_ns, &kept[0]);
    world_end();
    world_begin(simple);
    assert_int_equal(core_import_vms(w.core, kept, 1, w.now_ns), 1);
    assert_int_equal(stats_of(7).scheduler.lag_ns, 0);
    world_end();
}

static void test_counters(void **state)
{
    struct core_vm_stats before, after;
    struct metrics_kept of7;

    begin(simple);
    finish_after(LONG_JOB_NS);
    before = stats_of(7);
    metrics_export_kept(core_metrics(w.core), core_vm_find(w.core, 7), &of7);
    restart(simple);
    after = stats_of(7);
    assert_int_equal(after.submitted, 1);
    assert_int_equal(after.completed, 1);
    assert_int_equal(after.gpu_time_ns, LONG_JOB_NS);
    assert_int_equal(after.entitled_ns, before.entitled_ns);
    assert_int_equal(of7.counts[METRICS_JOBS], 1);
    assert_int_equal(
        metrics_count(core_metrics(w.core), core_vm_find(w.core, 7), METRICS_GPU_TIME_NS),
        LONG_JOB_NS);
    assert_int_equal(
        metrics_histogram_of(core_metrics(w.core), core_vm_find(w.core, 7), METRICS_TOTAL)->count,
        1);
    world_end();
}

/* Without a database it is this that keeps a quarantine. */
static void test_quarantine_of_an_unregistered_vm(void **state)
{
    begin(simple);
    finish_after(LONG_JOB_NS);
    assert_int_equal(core_quarantine_vm(w.core, 7, w.now_ns), 0);
    restart(simple);
    assert_true(stats_of(7).config.quarantined);
    session7 = connect_as(CORE_IDENTITY_UUID, 7);
    request(session7, 7, 1);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_QUARANTINED);
    world_end();
}

/* Of a registered VM the configuration says it. */
static void test_registered_vms(void **state)
{
    const struct core_vm_config vms[] = {vm_config(7, 50), vm_config(8, 50)};

    world_begin(simple);
    apply(vms, 2);
    assert_int_equal(core_quarantine_vm(w.core, 7, w.now_ns), 0);
    kept_count = core_export_vm(w.core, core_vm_find(w.core, 7), w.now_ns, &kept[0]);
    world_end();
    world_begin(simple);
    assert_int_equal(core_import_vms(w.core, kept, 1, w.now_ns), 0); /* it is not registered now */
    apply(vms, 2);
    assert_int_equal(core_import_vms(w.core, kept, 1, w.now_ns), 1);
    assert_false(stats_of(7).config.quarantined);
    world_end();
}

/* VM 7's worker has lived on, with a channel: that works before its process says anything. */
static void come_back_with_a_channel(void)
{
    const struct core_channel_held held = {
        .profile = VGPU_PROFILE_CUDA,
        .features = VGPU_CHANNEL_LIFE,
        .geometry = {.lanes = 1, .notice_bytes = 4096, .command_bytes = 131072},
    };
    uint8_t uuid[CORE_UUID_BYTES];
    uint64_t channel;

    memset(uuid, 7, sizeof(uuid));
    core_worker_offer(w.core, true, uuid, 7, 0, w.now_ns);
    assert_int_equal(w.start_count, 1);
    worker7 = w.starts[0].worker;
    worker_ready(worker7);
    channel = core_channel_adopt(w.core, worker7, &held, w.now_ns);
    assert_int_not_equal(channel, 0);
    w.channel =
        (struct world_channel){.state = WORLD_CHANNEL_OPENED, .worker = worker7, .handle = channel};
    core_turn_want(w.core, worker7, channel, w.now_ns);
}

static void begin_with_a_channel(void)
{
    begin(simple);
    finish_after(LONG_JOB_NS);
    restart(simple);
    core_pause(w.core, CORE_NONE, w.now_ns); /* its turn waits */
    come_back_with_a_channel();
    assert_int_equal(stats_of(7).scheduler.lag_ns, -HALF_NS);
    assert_true(stats_of(7).due_share > 0);
}

/* Its GPU goes, while a turn of that channel waits. */
static void test_a_debtor_with_a_channel_loses_its_gpu(void **state)
{
    begin_with_a_channel();
    core_gpu_set_available(w.core, 0, false, w.now_ns);
    assert_int_equal(stats_of(7).gpu, CORE_NONE);
    assert_int_equal(w.stopped, worker7);
    world_end();
}

/* It is no debtor that has left: no other VM gets its place. */
static void test_a_debtor_with_a_channel_keeps_its_place(void **state)
{
    uint32_t session;
    struct core_identity claim = {.kind = CORE_IDENTITY_CLAIM};

    begin_with_a_channel();
    for (uint32_t id = 100; id < 100 + CORE_VMS_MAX; id++) {
        claim.vm_ids[0] = id;
        if (core_session_open(w.core, &claim, w.now_ns, &session) == 0) {
            frame_in(session, VGPU_MSG_HELLO, id, 0, &(VGPUHello){.version = VGPU_PROTOCOL_VERSION},
                     sizeof(VGPUHello));
        }
    }
    assert_int_equal(stats_of(7).worker, worker7);
    world_end();
}

/* What the memory watch allows for contexts: a channel of operations has none. */
static void test_which_channels_may_have_contexts(void **state)
{
    struct core_channel_held held = {
        .profile = VGPU_PROFILE_OPS,
        .features = VGPU_CHANNEL_LIFE,
        .geometry = {.lanes = 1, .notice_bytes = 4096, .command_bytes = 131072},
    };
    uint32_t slot;

    begin_with_a_channel();
    slot = core_vm_find(w.core, 7);
    assert_int_equal(core_vm_cuda_channels(w.core, slot), 1);
    assert_int_not_equal(core_channel_adopt(w.core, worker7, &held, w.now_ns), 0);
    assert_int_equal(stats_of(7).channels, 2);
    assert_int_equal(core_vm_cuda_channels(w.core, slot), 1);
    assert_int_equal(core_vm_cuda_channels(w.core, slot + 1), 0);
    world_end();
}

/* What a worker may take for its start belongs to its VM, not to the place in the table. */
static void test_another_vm_gets_the_slot(void **state)
{
    struct wfq *wfq;

    world_begin(simple);
    w.finished = 0;
    wfq = (struct wfq *)core_gpu_scheduler(w.core, 0);
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t vm_id = i < 2 ? 7 : 8;
        uint32_t session = arrive(vm_id, &worker7);

        assert_int_equal(core_vm_find(w.core, vm_id), 0);
        assert_true(wfq->vms[0].start_ns == (i == 1 ? 0 : WFQ_START_MAX_NS));
        finish_after(1 * MS);
        wfq->vms[0].start_ns = 0; /* it has had all */
        core_session_closed(w.core, session, w.now_ns);
        core_worker_exited(w.core, worker7, CORE_WORKER_END_HOST, 0, w.now_ns);
        advance(2 * CORE_DEBT_CHECK_NS);
        assert_int_equal(core_vm_find(w.core, vm_id), CORE_NONE);
    }
    world_end();
}

/* A file may hold anything. */
static void test_nonsense(void **state)
{
    const double odd[] = {1e300, -1e300, (double)INFINITY, -(double)INFINITY, (double)NAN};

    begin(simple);
    finish_after(LONG_JOB_NS);
    kept_count = core_export_vm(w.core, core_vm_find(w.core, 7), w.now_ns, &kept[0]);
    world_end();
    for (uint32_t i = 0; i < 5; i++) {
        world_begin(simple);
        kept[1] = kept[0];
        kept[0].account = (struct wfq_account){.lag_ns = odd[i], .debt_ns = odd[4 - i]};
        memset(kept[1].config.name, 'x', sizeof(kept[1].config.name));
        kept[1].config.vm_id = 99;
        memset(kept[1].config.uuid, 99, sizeof(kept[1].config.uuid));
        assert_int_equal(core_import_vms(w.core, kept, 2, w.now_ns), 1);
        assert_int_equal(stats_of(7).scheduler.lag_ns, 0);
        session7 = arrive(7, &worker7);
        assert_int_equal(w.run_count, 1);
        world_end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_debt_outlives_the_mediator),
        cmocka_unit_test(test_who_stays_away_is_owed_nothing),
        cmocka_unit_test(test_who_has_no_work_in_time),
        cmocka_unit_test(test_a_debt_of_a_job_aside),
        cmocka_unit_test(test_a_suspended_vm),
        cmocka_unit_test(test_without_the_debtor),
        cmocka_unit_test(test_without_who_is_owed),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_quarantine_of_an_unregistered_vm),
        cmocka_unit_test(test_registered_vms),
        cmocka_unit_test(test_a_debtor_with_a_channel_loses_its_gpu),
        cmocka_unit_test(test_a_debtor_with_a_channel_keeps_its_place),
        cmocka_unit_test(test_which_channels_may_have_contexts),
        cmocka_unit_test(test_another_vm_gets_the_slot),
        cmocka_unit_test(test_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
