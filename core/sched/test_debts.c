/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual time of VMs in debt: what they owe inside the fluid set, and beside it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/sched/virtual_time.h"

#define VMS 4u

static struct virtual_time vt;

static void begin(const uint32_t *phi, uint32_t count)
{
    assert_int_equal(vt_init(&vt, VMS), 0);
    for (uint32_t vm = 0; vm < count; vm++) {
        vt_reset(&vt, vm, phi[vm]);
        vt_join(&vt, vm);
    }
}

/* `vm` has had the GPU. */
static void serve(uint32_t vm, double ns)
{
    vt_charge(&vt, vm, ns);
    vt_advance_for(&vt, vm, ns);
}

static void assert_zero_sum(void)
{
    double sum_ns = 0;

    for (uint32_t vm = 0; vm < VMS; vm++) {
        sum_ns += vt_lag_ns(&vt, vm) * vt_member(&vt, vm);
    }
    assert_float_equal(sum_ns, 0, 1e-6);
}

/* What it had before it is suspended, the others are still owed; the debt comes after that. */
static void test_what_it_had_ahead_is_owed_in_the_set(void **state)
{
    const uint32_t phi[] = {10, 30};

    begin(phi, 2);
    serve(0, 400);
    vt_suspend(&vt, 0);
    vt_owe(&vt, 0, 50);
    assert_true(vt_in_debt(&vt, 0));
    assert_float_equal(vt_lag_ns(&vt, 1), 300, 1e-6); /* three quarters of 400 */
    assert_float_equal(vt_lag_ns(&vt, 0), -300, 1e-6);
    assert_float_equal(vt_debt_ns(&vt, 0), 50, 1e-6);
    assert_zero_sum();
    serve(1, 1200);
    assert_float_equal(vt_lag_ns(&vt, 1), 0, 1e-6);
    assert_int_equal(vt.accounts[0].standing, VT_SUSPENDED);
    assert_float_equal(vt_debt_ns(&vt, 0), 50, 1e-6);
    serve(1, 75); /* 25 for VM 0, had it been there */
    assert_float_equal(vt_debt_ns(&vt, 0), 25, 1e-6);
    assert_float_equal(vt_lag_ns(&vt, 1), 0, 1e-6);
    assert_false(vt_join(&vt, 0));
    assert_int_equal(vt.accounts[0].standing, VT_SUSPENDED);
    serve(1, 75);
    assert_true(vt_join(&vt, 0));
    assert_false(vt_in_debt(&vt, 0));
    assert_zero_sum();
    vt_destroy(&vt);
}

/* One that has had too little gives that up. */
static void test_suspended_while_it_is_owed(void **state)
{
    const uint32_t phi[] = {10, 10, 20};

    begin(phi, 3);
    serve(1, 400);
    vt_suspend(&vt, 0);
    assert_int_equal(vt.accounts[0].standing, VT_SUSPENDED);
    assert_float_equal(vt_debt_ns(&vt, 0), 0, 1e-6);
    assert_zero_sum();
    vt_destroy(&vt);
}

/* What it uses when nobody else can run, those who come back meanwhile are owed their part of. */
static void test_a_lent_place(void **state)
{
    const uint32_t phi[] = {10, 30};

    begin(phi, 2);
    vt_suspend(&vt, 0);
    vt_owe(&vt, 0, 1000);
    vt_lend(&vt, 0);
    assert_true(vt_in_debt(&vt, 0));
    assert_float_equal(vt_lag_ns(&vt, 0), 0, 1e-6);
    assert_float_equal(vt_debt_ns(&vt, 0), 1000, 1e-6);
    serve(0, 100);
    assert_float_equal(vt_lag_ns(&vt, 1), 75, 1e-6);
    assert_float_equal(vt_debt_ns(&vt, 0), 1000, 1e-6);
    assert_false(vt_pause(&vt, 0));
    assert_zero_sum();
    vt_leave(&vt, 0); /* it has no work any more, and is still ahead */
    assert_int_equal(vt.accounts[0].standing, VT_AHEAD);
    serve(1, 300);
    assert_int_equal(vt.accounts[0].standing, VT_SUSPENDED);
    assert_float_equal(vt_debt_ns(&vt, 0), 1000, 1e-6);
    assert_float_equal(vt_lag_ns(&vt, 1), 0, 1e-6);
    vt_destroy(&vt);
}

/* It is even again in the place that it was lent: its debt is where it was. */
static void test_the_end_of_a_lent_place(void **state)
{
    const uint32_t phi[] = {10, 30};

    begin(phi, 2);
    vt_suspend(&vt, 0);
    vt_owe(&vt, 0, 1000);
    vt_lend(&vt, 0);
    serve(0, 100);
    serve(1, 300);
    vt_suspend(&vt, 0);
    assert_int_equal(vt.accounts[0].standing, VT_SUSPENDED);
    assert_float_equal(vt_debt_ns(&vt, 0), 1000, 1e-6);
    assert_int_equal(vt.phi_sum, 30);
    vt_forget(&vt, 0);
    assert_false(vt_in_debt(&vt, 0));
    assert_float_equal(vt_debt_ns(&vt, 0), 0, 1e-6);
    vt_destroy(&vt);
}

/* The nanoseconds stay when the share changes, and when times are counted anew. */
static void test_share_and_rebase(void **state)
{
    const uint32_t phi[] = {10, 30};

    begin(phi, 2);
    serve(1, 60e12);
    vt_leave(&vt, 0);
    serve(0, 0);
    vt_suspend(&vt, 0);
    vt_owe(&vt, 0, 1000);
    vt_set_share(&vt, 0, 40);
    assert_float_equal(vt_debt_ns(&vt, 0), 1000, 1);
    assert_true(vt_rebase(&vt) > 0);
    assert_float_equal(vt_debt_ns(&vt, 0), 1000, 1);
    vt_destroy(&vt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_it_had_ahead_is_owed_in_the_set),
        cmocka_unit_test(test_suspended_while_it_is_owed),
        cmocka_unit_test(test_a_lent_place),
        cmocka_unit_test(test_the_end_of_a_lent_place),
        cmocka_unit_test(test_share_and_rebase),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
