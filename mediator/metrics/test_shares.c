/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who had which part of a GPU: samples are taken when a test says so, not by the clock. */

#include "core/test_world.h"
#include "mediator/metrics/shares.h"
#include "mediator/test_loop.h"

static uv_loop_t loop;
static struct shares *shares;

static int setup(void **state)
{
    world_begin(NULL);
    uv_loop_init(&loop);
    shares = shares_new(&loop, w.core);
    assert_non_null(shares);
    return 0;
}

static int teardown(void **state)
{
    shares_stop(shares);
    end_loop(&loop);
    shares_free(shares);
    world_end();
    return 0;
}

/* The first sample comes as soon as the loop runs. */
static void sample(void)
{
    assert_int_equal(shares_start(shares), 0);
    uv_run(&loop, UV_RUN_NOWAIT);
    shares_stop(shares);
    run_ready(&loop);
}

/* Each job takes 1 ms of its GPU. */
static void work(uint32_t session, uint32_t vm_id, uint32_t jobs)
{
    while (jobs--) {
        request(session, vm_id, 1);
        assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_NONE), 0);
        advance(MS);
    }
}

static double share_of(uint32_t vm_id)
{
    return shares_of_vm(shares, core_vm_find(w.core, vm_id));
}

static void assert_share(uint32_t vm_id, double want)
{
    double have = share_of(vm_id);

    if (have < want - 1e-9 || have > want + 1e-9) {
        fail_msg("VM %u: %g instead of %g", vm_id, have, want);
    }
}

static void test_nothing_is_known_before_the_first_sample(void **state)
{
    work(ready_vm(7), 7, 2);
    assert_share(7, 0);
    sample();
    assert_share(7, 0); /* what it used came before */
}

static void test_what_each_used_of_what_all_used(void **state)
{
    uint32_t seven = ready_vm(7), eight = ready_vm(8);

    sample();
    work(seven, 7, 3);
    work(eight, 8, 1);
    assert_share(7, 0); /* not sampled yet */
    sample();
    assert_share(7, 0.75);
    assert_share(8, 0.25);
    work(eight, 8, 2);
    sample();
    assert_share(7, 0.5);
    assert_share(8, 0.5);
}

static void test_a_vm_that_came_after_the_oldest_sample_counts_in_full(void **state)
{
    uint32_t seven = ready_vm(7), eight;

    sample();
    work(seven, 7, 3);
    eight = ready_vm(8); /* 1 job */
    work(eight, 8, 2);
    sample();
    assert_share(7, 0.5);
    assert_share(8, 0.5);
}

static void test_what_is_long_ago_is_forgotten(void **state)
{
    uint32_t seven = ready_vm(7), eight = ready_vm(8);

    sample();
    work(seven, 7, 5);
    for (uint32_t i = 1; i < SHARES_SAMPLES; i++) {
        sample();
        assert_share(7, 1);
    }
    work(eight, 8, 1);
    sample(); /* the oldest that is kept has all of VM 7's work */
    assert_share(7, 0);
    assert_share(8, 1);
    for (uint32_t i = 0; i < SHARES_SAMPLES; i++) {
        sample();
    }
    assert_share(8, 0); /* idle */
}

static void test_another_gpu_is_another_account(void **state)
{
    struct core_vm_config vms[] = {vm_config(7, 50), vm_config(8, 50)};
    uint32_t seven, eight;

    assert_int_equal(core_gpu_add(w.core, "CPU-1"), 1);
    assert_int_equal(core_pool_set_gpus(w.core, 'B', 2, w.now_ns), 0);
    vms[1].pool = 'B';
    apply(vms, 2);
    seven = ready_vm(7);
    eight = ready_vm(8);
    sample();
    work(seven, 7, 9);
    work(eight, 8, 1);
    sample();
    assert_share(7, 1);
    assert_share(8, 1);
}

static void test_a_slot_that_is_anothers_by_now_starts_afresh(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    uint32_t session, slot;

    apply(&vm, 1);
    session = ready_vm(7);
    slot = core_vm_find(w.core, 7);
    work(session, 7, 4);
    sample();
    core_session_closed(w.core, session, w.now_ns);
    apply(NULL, 0);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    sample();
    assert_true(shares_of_vm(shares, slot) == 0); /* nobody is there */
    vm = vm_config(9, 50);
    apply(&vm, 1);
    session = ready_vm(9);
    assert_int_equal(core_vm_find(w.core, 9), slot);
    work(session, 9, 9);
    sample();
    /* VM 7's sample is the oldest still: what VM 9 used is not told from it. */
    assert_share(9, 0);
    for (uint32_t i = 0; i < SHARES_SAMPLES; i++) {
        sample();
        work(session, 9, 1);
    }
    sample();
    assert_share(9, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_known_before_the_first_sample),
        TEST(test_what_each_used_of_what_all_used),
        TEST(test_a_vm_that_came_after_the_oldest_sample_counts_in_full),
        TEST(test_what_is_long_ago_is_forgotten),
        TEST(test_another_gpu_is_another_account),
        TEST(test_a_slot_that_is_anothers_by_now_starts_afresh),
    };

    return cmocka_run_group_tests_name("shares", tests, NULL, NULL);
}
