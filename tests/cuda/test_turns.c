/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Turns end when the GPU has done its work, and kernels that wait for each other do end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/ns.h"
#include "tests/cuda/rig.h"

#define MODULE RIG_HANDLE(CUDA_KIND_MODULE, 0)
#define AWAIT RIG_HANDLE(CUDA_KIND_FUNCTION, 1)
#define INCREMENT RIG_HANDLE(CUDA_KIND_FUNCTION, 2)
#define STREAM(n) RIG_HANDLE(CUDA_KIND_STREAM, 2 + (n))

/* The second launch comes when the first one's turn takes no more, and lets it end. */
static void a_kernel_may_wait_for_a_later_launch(void **state)
{
    static struct rig rig;
    struct rig_channel *c;
    uint64_t word;

    (void)state;
    rig_open(&rig, 0);
    c = rig_channel(&rig);
    rig_begin(c);
    assert_int_equal(rig_function(c, 1, MODULE, 1, "await"), 0);
    assert_int_equal(rig_function(c, 1, MODULE, 2, "increment"), 0);
    for (unsigned i = 1; i <= 2; i++) {
        assert_int_equal(RIG_CALL(c, cuStreamCreate, 1, STREAM(i), 1), 0);
    }
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 8), 0);
    word = c->out[0];
    assert_int_equal(RIG_CALL(c, cuMemsetD32_v2, 1, word, 0, 1), 0);
    assert_int_equal(rig_launch(c, 1, AWAIT, STREAM(1), &word, 8), 0);
    while (!c->channel->closing) {
        rig_step(c);
    }
    assert_int_equal(rig_launch(c, 1, INCREMENT, STREAM(2), &word, 8), 0);
    assert_int_equal(RIG_CALL(c, CTX_SYNC, 1, 0), 0);
    rig_settle(c);
    rig_close(&rig);
}

/* A turn that has ended leaves nothing of its own in flight. */
static void a_turn_ends_with_its_work(void **state)
{
    static struct rig rig;
    struct rig_channel *c;
    uint32_t ns = 30000000;

    (void)state;
    rig_open(&rig, 0);
    c = rig_channel(&rig);
    rig_begin(c);
    assert_int_equal(rig_function(c, 1, MODULE, 1, "spin"), 0);
    assert_int_equal(rig_launch(c, 1, RIG_HANDLE(CUDA_KIND_FUNCTION, 1), 0, &ns, 4), 0);
    while (c->channel->budget_ns) {
        rig_step(c);
    }
    assert_false(driver_is_busy(&c->channel->contexts[1]));
    rig_close(&rig);
}

static void step_until_over(struct rig_channel *c, uint64_t turns)
{
    while (c->channel->turns_over < turns) {
        rig_step(c);
    }
}

/* What its thread begins by itself is the executor's next turn, once, and no other one. */
static void a_turn_goes_on_in_the_next_one(void **state)
{
    static struct rig rig;
    struct driver_channel *channel;
    struct rig_channel *c;

    (void)state;
    rig_open(&rig, 0);
    c = rig_channel(&rig);
    channel = c->channel;
    rig_begin(c);
    assert_int_equal(rig_function(c, 1, MODULE, 1, "nop"), 0);
    assert_int_equal(rig_launch(c, 1, RIG_HANDLE(CUDA_KIND_FUNCTION, 1), 0, NULL, 0), 0);
    channel->goes_on = 1;
    channel->next_budget_ns = 1234;
    step_until_over(c, 1);
    assert_int_equal(channel->budget_ns, 1234);
    assert_int_equal(channel->next_budget_ns, 0);
    assert_true(channel->in_turn && !channel->closing);
    assert_true(channel->used_ns[0] > 0);
    channel->next_budget_ns = 5678; /* nobody has heard of the first one's end */
    step_until_over(c, 2);
    assert_int_equal(channel->budget_ns, 0);
    assert_int_equal(channel->next_budget_ns, 5678);
    assert_false(channel->in_turn);
    channel->goes_on = 0;
    rig_close(&rig);
}

/* The executor's side: what it has offered and nobody took is its own again. */
static void the_executor_hears_of_each_end(void **state)
{
    static struct rig rig;
    struct driver_channel *channel;
    struct rig_channel *c;
    uint64_t used_ns = 0;
    bool begun = false;

    (void)state;
    rig_open(&rig, 0);
    c = rig_channel(&rig);
    channel = c->channel;
    channel->handle = 7;
    rig.set.all[rig.set.count++] = channel;
    assert_true(driver_set_begin_turn(&rig.set, 7, 1000));
    assert_false(driver_set_turn_over(&rig.set, 7, true, 2000, &used_ns, &begun));
    assert_int_equal(channel->next_budget_ns, 2000);
    step_until_over(c, 1); /* it goes on at once */
    assert_int_equal(channel->budget_ns, 2000);
    assert_true(driver_set_turn_over(&rig.set, 7, true, 3000, &used_ns, &begun));
    assert_true(begun);
    assert_false(driver_set_turn_over(&rig.set, 7, false, 0, &used_ns, &begun));
    step_until_over(c, 2); /* nobody has offered another one */
    assert_true(driver_set_turn_over(&rig.set, 7, false, 0, &used_ns, &begun));
    assert_false(begun);
    assert_true(driver_set_begin_turn(&rig.set, 7, UINT64_MAX));
    assert_false(driver_set_turn_over(&rig.set, 7, true, 4000, &used_ns, &begun));
    channel->goes_on = 0;
    channel->budget_ns = 1; /* it ends as a turn that nothing follows */
    step_until_over(c, 3);
    assert_true(driver_set_turn_over(&rig.set, 7, true, 4000, &used_ns, &begun));
    assert_false(begun);
    assert_int_equal(channel->next_budget_ns, 0);
    rig.set.count--;
    rig_close(&rig);
}

#define LIMIT_MS 300u

/* Its context is in two streams: what is done in one hides nothing of the other. */
static void a_kernel_that_runs_past_its_limit(void **state)
{
    static struct rig rig;
    struct rig_channel *c;
    uint64_t word;

    (void)state;
    rig_open(&rig, 0);
    c = rig_channel(&rig);
    c->channel->handle = 1;
    rig_begin(c);
    assert_int_equal(rig_function(c, 1, MODULE, 1, "await"), 0);
    assert_int_equal(rig_function(c, 1, MODULE, 2, "increment"), 0);
    for (unsigned i = 1; i <= 2; i++) {
        assert_int_equal(RIG_CALL(c, cuStreamCreate, 1, STREAM(i), 1), 0);
    }
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 16), 0);
    word = c->out[0];
    assert_int_equal(RIG_CALL(c, cuMemsetD32_v2, 1, word, 0, 4), 0);
    rig_settle(c);
    driver_set_limit(&rig.set, LIMIT_MS * (uint64_t)NS_PER_MS);
    rig_late_ms = 0;
    assert_int_equal(rig_launch(c, 1, AWAIT, STREAM(1), &word, 8), 0);
    word += 8;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(rig_launch(c, 1, INCREMENT, STREAM(2), &word, 8), 0);
    }
    word -= 8;
    while (rig_late_ms == 0) {
        rig_step(c);
    }
    assert_true(rig_late_ms >= LIMIT_MS);
    driver_set_limit(&rig.set, 0);
    assert_int_equal(rig_launch(c, 1, INCREMENT, STREAM(2), &word, 8), 0);
    rig_settle(c);
    rig_close(&rig);
}

/* Each of them keeps to the limit, so all of them together are nothing to end. */
static void many_kernels_below_the_limit(void **state)
{
    static struct rig rig;
    struct rig_channel *c;
    uint32_t ns = 40000000;

    (void)state;
    rig_open(&rig, 0);
    c = rig_channel(&rig);
    c->channel->handle = 1;
    rig_begin(c);
    assert_int_equal(rig_function(c, 1, MODULE, 1, "spin"), 0);
    rig_settle(c);
    driver_set_limit(&rig.set, NS_PER_S);
    rig_late_ms = 0;
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(rig_launch(c, 1, RIG_HANDLE(CUDA_KIND_FUNCTION, 1), 0, &ns, sizeof(ns)),
                         0);
    }
    rig_settle(c);
    assert_int_equal(rig_late_ms, 0);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_may_wait_for_a_later_launch),
        cmocka_unit_test(a_turn_ends_with_its_work),
        cmocka_unit_test(a_turn_goes_on_in_the_next_one),
        cmocka_unit_test(the_executor_hears_of_each_end),
        cmocka_unit_test(a_kernel_that_runs_past_its_limit),
        cmocka_unit_test(many_kernels_below_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
