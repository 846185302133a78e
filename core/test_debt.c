/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who has had GPU time ahead of his share owes it to his neighbours, and leaving
 * is no way round: VM 7 has a job of 3 s beside VM 8, which waits, and leaves.
 */
#include <stdlib.h>

#include "core/core_internal.h"
#include "core/test_world.h"

#define LONG_JOB_NS (3000 * MS)
#define DEBT_NS ((int64_t)LONG_JOB_NS / 2) /* two equal VMs: half of it was VM 8's */

static uint32_t session7, session8;
static uint64_t worker7;

/* The job of 3 s shall not be set aside: the sums stay simple. */
static void no_overrun(struct core_config *config)
{
    config->overrun_ns = 0;
    config->scheduler.anticipation_ns = 0;
}

static uint32_t arrive(uint32_t vm_id)
{
    uint32_t session = connect_as(CORE_IDENTITY_UUID, vm_id);

    request(session, vm_id, 1);
    worker_ready(w.starts[w.start_count - 1].worker);
    return session;
}

/* VM 7 has had its job and has left; VM 8 has jobs waiting, but the GPU is paused. */
static void owe(void)
{
    w.finished = 0;
    session7 = arrive(7);
    worker7 = w.starts[w.start_count - 1].worker;
    session8 = arrive(8);
    for (uint32_t i = 0; i < 3; i++) {
        request(session8, 8, i);
    }
    core_pause(w.core, CORE_NONE, w.now_ns);
    finish_after(LONG_JOB_NS);
    assert_int_equal(stats_of(7).scheduler.lag_ns, -DEBT_NS);
    core_session_closed(w.core, session7, w.now_ns);
}

/* ... and its worker has lingered, and has gone. */
static void owe_without_worker(void)
{
    owe();
    advance(10001 * MS);
    assert_int_equal(w.stopped, worker7);
    core_worker_exited(w.core, worker7, CORE_WORKER_END_EXITED, 0, w.now_ns);
}

/* ... on the first of two GPUs; from now on the pool has both. */
static void owe_on_one_of_two(void)
{
    assert_int_equal(core_gpu_add(w.core, "CPU-1"), 1);
    owe_without_worker();
    assert_int_equal(core_pool_set_gpus(w.core, 'A', 3, w.now_ns), 0);
}

/* VM 8 works, and always has more to do. */
static void serve8(uint64_t ns)
{
    core_resume(w.core, CORE_NONE, w.now_ns);
    for (uint64_t done_ns = 0; done_ns < ns; done_ns += 100 * MS) {
        request(session8, 8, 1);
        finish_after(100 * MS);
        w.sent_count = 0;
    }
}

static void test_debt_survives_leaving(void **state)
{
    struct core_vm_stats stats;
    uint64_t worker8;

    world_begin(no_overrun);
    owe_without_worker();
    worker8 = w.starts[1].worker;
    stats = stats_of(7);
    assert_int_equal(stats.session, CORE_NONE);
    assert_int_equal(stats.worker_state, CORE_WORKER_NONE);
    assert_int_equal(stats.worker, 0);
    assert_int_equal(stats.scheduler.lag_ns, -DEBT_NS);
    assert_true(stats.due_share == 0);
    assert_true(stats_of(8).due_share == 1);

    session7 = arrive(7);
    assert_true(stats_of(7).due_share == 0.5);
    assert_int_equal(stats_of(7).scheduler.lag_ns, -DEBT_NS);
    serve8(2 * (uint64_t)DEBT_NS - 200 * MS);
    for (uint32_t i = 1; i < w.run_count; i++) {
        assert_int_equal(w.runs[i].worker, worker8);
    }
    assert_int_equal(stats_of(7).completed, 1);
    serve8(600 * MS);
    assert_int_equal(stats_of(7).completed, 2); /* its turn again */
    world_end();
}

static void test_debt_ends_when_it_is_made_good(void **state)
{
    world_begin(no_overrun);
    owe_without_worker();
    serve8(2 * (uint64_t)DEBT_NS - 200 * MS);
    assert_int_equal(stats_of(7).gpu, 0);
    serve8(400 * MS + CORE_DEBT_CHECK_NS);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE); /* nobody registered it */
    world_end();
}

/* While it owes, its worker only lingers as any other's. */
static void test_made_good_while_the_worker_lingers(void **state)
{
    world_begin(no_overrun);
    owe();
    serve8(2 * (uint64_t)DEBT_NS);
    assert_int_equal(stats_of(7).scheduler.lag_ns, 0);
    serve8(8000 * MS);
    assert_int_equal(w.stopped, worker7);
    core_worker_exited(w.core, worker7, CORE_WORKER_END_EXITED, 0, w.now_ns);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE);
    world_end();
}

/* If nobody wants the GPU, nobody is owed anything. */
static void test_debt_ends_when_the_gpu_idles(void **state)
{
    world_begin(no_overrun);
    owe_without_worker();
    core_resume(w.core, CORE_NONE, w.now_ns);
    while (w.finished < w.run_count) {
        finish_after(MS);
    }
    assert_int_equal(stats_of(8).queue_depth, 0);
    advance(CORE_DEBT_CHECK_NS);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE);
    world_end();
}

/* However long it is away. */
static void test_debt_outlives_any_absence(void **state)
{
    world_begin(no_overrun);
    owe_without_worker();
    advance(3600 * NS_PER_S);
    assert_int_equal(stats_of(7).scheduler.lag_ns, -DEBT_NS);
    assert_int_equal(stats_of(8).scheduler.lag_ns, DEBT_NS);
    serve8(2 * (uint64_t)DEBT_NS + CORE_DEBT_CHECK_NS);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE);
    world_end();
}

/* Coming back for a moment changes nothing. */
static void test_coming_back_for_a_moment(void **state)
{
    world_begin(no_overrun);
    owe_without_worker();
    for (uint32_t i = 0; i < 3; i++) {
        advance(600 * NS_PER_S);
        session7 = connect_as(CORE_IDENTITY_UUID, 7);
        frame_in(session7, VGPU_MSG_HELLO, 7, 0, &(VGPUHello){.version = VGPU_PROTOCOL_VERSION},
                 sizeof(VGPUHello));
        assert_int_equal(stats_of(7).session, session7);
        core_session_closed(w.core, session7, w.now_ns);
        assert_int_equal(stats_of(7).scheduler.lag_ns, -DEBT_NS);
    }
    world_end();
}

/* All slots but `spare` are those of registered VMs, or of VM 7 and VM 8, which are not. */
static void fill(uint32_t spare)
{
    static struct core_vm_config vms[CORE_VMS_MAX];
    uint32_t count = CORE_VMS_MAX - 2 - spare;

    for (uint32_t i = 0; i < count; i++) {
        vms[i] = vm_config(1000 + i, 50);
        vms[i].has_uuid = false;
    }
    apply(vms, count);
}

/* Its place is there for whoever needs one; those who were owed lose that. */
static void test_a_debt_holds_no_place(void **state)
{
    world_begin(no_overrun);
    owe_without_worker();
    fill(1);
    assert_int_equal(stats_of(7).scheduler.lag_ns, -DEBT_NS);
    arrive(9); /* the last free one */
    assert_int_equal(stats_of(7).scheduler.lag_ns, -DEBT_NS);
    arrive(10);
    assert_int_equal(stats_of(10).gpu, 0);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE);
    assert_int_equal(stats_of(8).scheduler.lag_ns, 0);
    world_end();
}

/* The same for one that is registered; and the debtor itself may be: then it is known first. */
static void test_registered_in_place_of_a_debtor(void **state)
{
    const uint32_t all = CORE_VMS_MAX - 1; /* VM 8 has the other one */
    struct core_vm_config *vms = calloc(all, sizeof(*vms));

    world_begin(no_overrun);
    owe_without_worker();
    for (uint32_t i = 0; i < all; i++) {
        vms[i] = vm_config(1000 + i, 50);
        vms[i].has_uuid = false;
    }
    vms[all - 1] = vm_config(7, 50);
    apply(vms, all);
    assert_int_equal(w.applied.added, all - 1);
    assert_int_equal(stats_of(7).scheduler.lag_ns, -DEBT_NS);
    vms[all - 1] = vm_config(999, 50);
    apply(vms, all);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE);
    world_end();
    free(vms);
}

static void test_a_removed_vm_owes_nothing(void **state)
{
    const struct core_vm_config vms[] = {vm_config(8, 50), vm_config(7, 50)};

    world_begin(no_overrun);
    apply(vms, 2);
    owe_without_worker();
    assert_int_equal(stats_of(7).scheduler.lag_ns, -DEBT_NS);
    apply(vms, 1);
    assert_int_equal(w.applied.removed, 1);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE);
    assert_int_equal(stats_of(8).scheduler.lag_ns, 0);
    world_end();
}

/* A change of share keeps what is owed, and gives one who left no part of the GPU. */
static void test_reconfigured_while_it_owes(void **state)
{
    struct core_vm_config vms[] = {vm_config(8, 50), vm_config(7, 50)};

    world_begin(no_overrun);
    apply(vms, 2);
    owe_without_worker();
    vms[1].weight = 100;
    apply(vms, 2);
    assert_int_equal(stats_of(7).scheduler.lag_ns, -DEBT_NS);
    assert_true(stats_of(8).due_share == 1);
    session7 = arrive(7);
    assert_in_range((uint64_t)(1e6 * stats_of(7).due_share), 666666, 666667);
    world_end();
}

/* It comes back to the GPU where it owes, and takes no place from others meanwhile. */
static void test_debt_stays_on_its_gpu(void **state)
{
    uint32_t placed;

    world_begin(no_overrun);
    owe_on_one_of_two();
    arrive(9);
    assert_int_equal(stats_of(9).gpu, 1);
    arrive(10);
    assert_int_equal(stats_of(10).gpu, 0); /* one VM on each: VM 7 does not count */
    placed = w.events[CORE_EVENT_VM_PLACED];
    session7 = arrive(7);
    assert_int_equal(stats_of(7).gpu, 0);
    assert_int_equal(stats_of(7).scheduler.lag_ns, -DEBT_NS);
    assert_int_equal(w.events[CORE_EVENT_VM_PLACED], placed);
    world_end();
}

/* What is owed is owed to the neighbours there: it ends with the GPU, and moves nobody who left. */
static void test_debt_ends_with_its_gpu(void **state)
{
    uint32_t placed;

    world_begin(no_overrun);
    owe_on_one_of_two();
    placed = w.events[CORE_EVENT_VM_PLACED];
    core_gpu_set_available(w.core, 0, false, w.now_ns);
    assert_int_equal(stats_of(7).gpu, CORE_NONE);
    assert_int_equal(w.events[CORE_EVENT_VM_PLACED], placed + 1); /* VM 8 */
    advance(CORE_DEBT_CHECK_NS);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE);
    world_end();
}

/* ---- the scheduler ---- */

static int64_t lag_of(const struct wfq *wfq, uint32_t vm)
{
    struct wfq_vm_stats stats;

    wfq_get_vm_stats(wfq, vm, 0, &stats);
    return stats.lag_ns;
}

static void wait_in(struct wfq *wfq, struct wfq_job *job, uint32_t vm)
{
    const struct wfq_vm_params params = {.weight = 50, .priority = 1, .pool = 'A'};

    if (!wfq_vm_attached(wfq, vm)) {
        wfq_vm_attach(wfq, vm, &params);
        wfq_vm_set_ready(wfq, vm, true, 0);
    }
    *job = (struct wfq_job){.vm = vm};
    wfq_enqueue(wfq, job, 0);
}

/* A debt that is dropped is lost to those who are owed it, and to nobody else. */
static void test_dropped_debt(void **state)
{
    const struct wfq_config config = {.max_vms = 4, .depth = 1, .quantum_ns = MS};
    struct wfq *wfq = wfq_init(&config);
    struct wfq_job debtor, owed, late;
    struct wfq_dispatch choice;

    wait_in(wfq, &debtor, 0);
    wait_in(wfq, &owed, 1);
    assert_ptr_equal(wfq_dequeue(wfq, 0), &debtor);
    wfq_complete(wfq, &debtor, LONG_JOB_NS, false, LONG_JOB_NS);
    wait_in(wfq, &late, 2);
    assert_int_equal(lag_of(wfq, 1), DEBT_NS);
    assert_int_equal(lag_of(wfq, 2), 0);
    wfq_vm_detach(wfq, 0, LONG_JOB_NS, NULL);
    assert_int_equal(lag_of(wfq, 1), 0);
    assert_int_equal(lag_of(wfq, 2), 0);
    assert_non_null(wfq_dequeue(wfq, LONG_JOB_NS));
    assert_int_equal(wfq_dispatch_log(wfq, &choice, 1), 1);
    assert_int_equal(choice.eligible_vms, 2);
    wfq_destroy(wfq);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_debt_survives_leaving),
        cmocka_unit_test(test_debt_ends_when_it_is_made_good),
        cmocka_unit_test(test_made_good_while_the_worker_lingers),
        cmocka_unit_test(test_debt_ends_when_the_gpu_idles),
        cmocka_unit_test(test_debt_outlives_any_absence),
        cmocka_unit_test(test_coming_back_for_a_moment),
        cmocka_unit_test(test_a_debt_holds_no_place),
        cmocka_unit_test(test_registered_in_place_of_a_debtor),
        cmocka_unit_test(test_a_removed_vm_owes_nothing),
        cmocka_unit_test(test_reconfigured_while_it_owes),
        cmocka_unit_test(test_debt_stays_on_its_gpu),
        cmocka_unit_test(test_debt_ends_with_its_gpu),
        cmocka_unit_test(test_dropped_debt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
