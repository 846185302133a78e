/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/placement.h"
#include "core/test_random.h"

static void test_pool_letters(void **state)
{
    assert_int_equal(placement_pool_index('A'), 0);
    assert_int_equal(placement_pool_index('Z'), 25);
    for (int c = -128; c < 128; c++) {
        if (c < 'A' || c > 'Z') {
            assert_int_equal(placement_pool_index((char)c), -EINVAL);
        }
    }
}

static void test_masks_are_checked(void **state)
{
    struct placement placement = {.gpu_count = 3, .available = 7};

    assert_int_equal(placement_set_pool(&placement, 'A', 0x7), 0);
    assert_int_equal(placement_set_pool(&placement, 'A', 0x8), -EINVAL);
    assert_int_equal(placement_set_pool(&placement, 'A', UINT32_MAX), -EINVAL);
    assert_int_equal(placement_set_pool(&placement, 'a', 0x1), -EINVAL);
    assert_int_equal(placement.pools[0], 0x7); /* as it was */

    placement.gpu_count = PLACEMENT_GPUS_MAX;
    assert_int_equal(placement_set_pool(&placement, 'Z', 0xffff), 0);
    assert_int_equal(placement_set_pool(&placement, 'Z', 0x10000), -EINVAL);
    placement.gpu_count = 0;
    assert_int_equal(placement_set_pool(&placement, 'B', 1), -EINVAL);
    assert_int_equal(placement_set_pool(&placement, 'B', 0), 0);
}

static void test_nowhere_to_go(void **state)
{
    struct placement placement = {.gpu_count = 2, .available = 3};

    assert_int_equal(placement_choose(&placement, 'A', 50), PLACEMENT_NONE); /* empty pool */
    assert_int_equal(placement_choose(&placement, '!', 50), PLACEMENT_NONE);
    placement_set_pool(&placement, 'A', 2);
    placement.available = 1; /* the pool's only GPU is away */
    assert_int_equal(placement_choose(&placement, 'A', 50), PLACEMENT_NONE);
    assert_int_equal(placement.load[0] + placement.load[1], 0);
    assert_false(placement_allows(&placement, 'A', 1));
    placement.available = 3;
    assert_true(placement_allows(&placement, 'A', 1));
    assert_false(placement_allows(&placement, 'A', 0));
    assert_false(placement_allows(&placement, 'A', 2)); /* no such GPU */
    assert_false(placement_allows(&placement, 'A', UINT32_MAX));
    assert_int_equal(placement_choose(&placement, 'A', 50), 1);
}

/* Shares count, not heads: one heavy VM weighs as much as several light ones. */
static void test_least_loaded(void **state)
{
    struct placement placement = {.gpu_count = 2, .available = 3};

    placement_set_pool(&placement, 'A', 3);
    placement_set_pool(&placement, 'B', 2);
    assert_int_equal(placement_choose(&placement, 'A', 200), 0); /* tie: lowest number */
    assert_int_equal(placement_choose(&placement, 'A', 50), 1);
    assert_int_equal(placement_choose(&placement, 'A', 50), 1);
    assert_int_equal(placement_choose(&placement, 'B', 100), 1); /* may nowhere else */
    /* 200 on both now: what pool B put there counts for pool A. */
    assert_int_equal(placement_choose(&placement, 'A', 1), 0);
    assert_int_equal(placement_choose(&placement, 'A', 1), 1);

    placement_release(&placement, 0, 200);
    assert_int_equal(placement.load[0], 1);
    assert_int_equal(placement_choose(&placement, 'A', 50), 0);
    /* GPU 0 leaves: its pool's VMs go to the other. */
    placement.available = 2;
    assert_int_equal(placement_choose(&placement, 'A', 50), 1);
}

enum { VMS = 64 };

struct placed {
    char pool;
    uint32_t share, gpu;
};

/* Comings, goings, GPUs that fail and pools that change: the loads add up and
 * every choice is one of the least loaded that its pool allows. */
static void test_random(void **state)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct placement placement = {0};
        struct placed vms[VMS] = {{0}};

        seed_random(seed);
        placement.gpu_count = 1 + (uint32_t)(next_random() % PLACEMENT_GPUS_MAX);
        for (uint32_t i = 0; i < VMS; i++) {
            vms[i].gpu = PLACEMENT_NONE;
        }
        for (uint32_t step = 0; step < 500; step++) {
            struct placed *vm = &vms[next_random() % VMS];
            uint32_t all = (1u << placement.gpu_count) - 1;
            double sum[PLACEMENT_GPUS_MAX] = {0};

            if (step % 50 == 0) {
                placement.available = (uint32_t)next_random() & all;
                for (char pool = 'A'; pool <= 'D'; pool++) {
                    assert_int_equal(
                        placement_set_pool(&placement, pool, (uint32_t)next_random() & all), 0);
                }
            }
            if (vm->gpu != PLACEMENT_NONE) {
                placement_release(&placement, vm->gpu, vm->share);
                vm->gpu = PLACEMENT_NONE;
            } else {
                struct placement before = placement;

                vm->pool = (char)('A' + next_random() % 4);
                vm->share = 1 + (uint32_t)(next_random() % 400);
                vm->gpu = placement_choose(&placement, vm->pool, vm->share);
                for (uint32_t gpu = 0; gpu < placement.gpu_count; gpu++) {
                    if (!placement_allows(&before, vm->pool, gpu)) {
                        assert_int_not_equal(vm->gpu, gpu);
                        continue;
                    }
                    assert_int_not_equal(vm->gpu, PLACEMENT_NONE);
                    assert_true(before.load[vm->gpu] <= before.load[gpu]);
                    assert_true(before.load[vm->gpu] < before.load[gpu] || vm->gpu <= gpu);
                }
            }
            for (uint32_t i = 0; i < VMS; i++) {
                if (vms[i].gpu != PLACEMENT_NONE) {
                    sum[vms[i].gpu] += vms[i].share;
                }
            }
            assert_memory_equal(sum, placement.load, sizeof(sum));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_letters),  cmocka_unit_test(test_masks_are_checked),
        cmocka_unit_test(test_nowhere_to_go), cmocka_unit_test(test_least_loaded),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
