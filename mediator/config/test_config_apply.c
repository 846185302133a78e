/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The database's view becomes the core's: all of it, or nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/no_effects.h"
#include "mediator/config/config_apply.h"
#include "mediator/config/test_stats.h"

#define FIRST_GPU "GPU-11111111-0000-0000-0000-000000000000"
#define SECOND_GPU "GPU-22222222-0000-0000-0000-000000000000"
#define ALL_GPUS 7u

static struct core *core;
static struct config_names names;
static struct core_apply_result result;
static char error[1024];

static int setup(void **state)
{
    struct core_config config;

    core_config_defaults(&config);
    core = core_new(&config, &no_effects);
    assert_non_null(core);
    assert_int_equal(core_gpu_add(core, FIRST_GPU), 0);
    assert_int_equal(core_gpu_add(core, SECOND_GPU), 1);
    assert_int_equal(core_gpu_add(core, "CPU-2"), 2);
    memset(&names, 0, sizeof(names));
    error[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    config_names_free(&names);
    core_free(core);
    return 0;
}

static vgpu_vm_config_t vm_row(uint32_t vm_id, char pool)
{
    vgpu_vm_config_t vm = {
        .vm_id = vm_id, .pool_id = pool, .priority = VGPU_PRIORITY_HIGH, .weight = 60};

    snprintf(vm.vm_uuid, sizeof(vm.vm_uuid), "7F1D7B04-9D4E-4CC0-8C5B-0F4A6A1D%04u", vm_id);
    snprintf(vm.vm_name, sizeof(vm.vm_name), "vm-%u", vm_id);
    return vm;
}

static int apply(const vgpu_vm_config_t *vms, uint32_t vm_count, const vgpu_pool_config_t *pools,
                 uint32_t pool_count)
{
    const struct vgpu_config_snapshot snapshot = {(vgpu_pool_config_t *)pools, pool_count,
                                                  (vgpu_vm_config_t *)vms, vm_count};

    return config_apply(core, &snapshot, &names, &result, error, sizeof(error));
}

static const vgpu_pool_config_t pool_a = {.pool_id = 'A'};

static void test_each_value_of_a_vm_arrives(void **state)
{
    vgpu_vm_config_t vm = vm_row(7, 'A');
    struct core_vm_config have;

    vm.max_jobs_per_sec = 25;
    vm.burst = 3;
    vm.max_queue_depth = 9;
    vm.memory_limit_bytes = 1ull << 33;
    vm.quarantined = true;
    vm.error_count = 5;
    assert_int_equal(apply(&vm, 1, &pool_a, 1), 0);
    assert_int_equal(result.added, 1);
    have = stats_of(core, 7).config;
    assert_true(have.has_uuid);
    assert_int_equal(have.uuid[0], 0x7f);
    assert_string_equal(have.name, "vm-7");
    assert_int_equal(have.pool, 'A');
    assert_int_equal(have.priority, VGPU_PRIORITY_HIGH);
    assert_int_equal(have.weight, 60);
    assert_int_equal(have.max_jobs_per_sec, 25);
    assert_int_equal(have.burst, 3);
    assert_int_equal(have.max_queue_depth, 9);
    assert_true(have.memory_limit_bytes == 1ull << 33);
    assert_true(have.quarantined);
    assert_int_equal(stats_of(core, 7).fault_count, 5);
}

static void test_a_pool_has_the_gpus_that_it_names(void **state)
{
    char of_b[][VGPU_GPU_NAME_BYTES] = {SECOND_GPU};
    char of_c[][VGPU_GPU_NAME_BYTES] = {"0", "2", "CPU-2"};
    char of_d[][VGPU_GPU_NAME_BYTES] = {"3", "1x", "-1", "", "GPU-of-another-host", "1"};
    char of_e[][VGPU_GPU_NAME_BYTES] = {"GPU-of-another-host"};
    const vgpu_pool_config_t pools[] = {
        {.pool_id = 'A'},
        {.pool_id = 'B', .gpu_count = 1, .gpus = of_b},
        {.pool_id = 'C', .gpu_count = 3, .gpus = of_c},
        {.pool_id = 'D', .gpu_count = 6, .gpus = of_d},
        {.pool_id = 'E', .gpu_count = 1, .gpus = of_e},
    };

    assert_int_equal(apply(NULL, 0, pools, 5), 0);
    assert_int_equal(core_pool_gpus(core, 'A'), ALL_GPUS);
    assert_int_equal(core_pool_gpus(core, 'B'), 2);
    assert_int_equal(core_pool_gpus(core, 'C'), 5);
    assert_int_equal(core_pool_gpus(core, 'D'), 2);
    /* Named ones that are missing don't become all of them. */
    assert_int_equal(core_pool_gpus(core, 'E'), 0);
    assert_int_equal(core_pool_gpus(core, 'F'), 0);
    /* A pool that is removed has none any more. */
    assert_int_equal(apply(NULL, 0, pools, 1), 0);
    assert_int_equal(core_pool_gpus(core, 'B'), 0);
}

static void test_what_is_not_there_any_more_is_removed(void **state)
{
    const vgpu_vm_config_t vms[] = {vm_row(1, 'A'), vm_row(2, 'A'), vm_row(3, 'A')};
    vgpu_vm_config_t later[] = {vms[0], vms[2]};

    assert_int_equal(apply(vms, 3, &pool_a, 1), 0);
    later[1].weight = 10;
    assert_int_equal(apply(later, 2, &pool_a, 1), 0);
    assert_int_equal(result.added, 0);
    assert_int_equal(result.changed, 1);
    assert_int_equal(result.removed, 1);
    assert_int_equal(core_vm_find(core, 2), CORE_NONE);
    assert_int_equal(stats_of(core, 3).config.weight, 10);
    assert_int_equal(apply(NULL, 0, &pool_a, 1), 0);
    assert_int_equal(result.removed, 2);
    assert_null(config_names_find(&names, 1));
}

static void test_the_names_are_found_by_number(void **state)
{
    const vgpu_vm_config_t vms[] = {vm_row(900, 'A'), vm_row(1, 'A'), vm_row(44, 'A')};

    assert_null(config_names_find(&names, 1));
    assert_int_equal(apply(vms, 3, &pool_a, 1), 0);
    assert_int_equal(names.count, 3);
    assert_string_equal(config_names_find(&names, 900), "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0900");
    assert_string_equal(config_names_find(&names, 1), "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001");
    assert_null(config_names_find(&names, 45));
}

static void assert_as_before(uint32_t vm_count)
{
    assert_int_equal(core_pool_gpus(core, 'A'), ALL_GPUS);
    assert_int_equal(core_pool_gpus(core, 'B'), 0);
    assert_int_equal(names.count, vm_count);
    assert_int_equal(stats_of(core, 1).config.weight, 60);
    assert_string_equal(config_names_find(&names, 1), "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001");
    assert_int_equal(core_vm_find(core, 5), CORE_NONE);
}

static void test_one_wrong_value_changes_nothing_at_all(void **state)
{
    static char gpus[][VGPU_GPU_NAME_BYTES] = {SECOND_GPU};
    const vgpu_pool_config_t pools[] = {{.pool_id = 'A', .gpu_count = 1, .gpus = gpus},
                                        {.pool_id = 'B'}};
    const vgpu_vm_config_t before = vm_row(1, 'A');
    vgpu_vm_config_t vms[] = {before, vm_row(5, 'B')};

    assert_int_equal(apply(&before, 1, &pool_a, 1), 0);
    vms[0].weight = 10;
    for (int wrong = 0; wrong < 5; wrong++) {
        vms[1] = vm_row(5, 'B');
        switch (wrong) {
        case 0: vms[1].weight = VGPU_WEIGHT_MAX + 1; break;
        case 1: vms[1].priority = VGPU_PRIORITY_HIGH + 1; break;
        case 2: vms[1].pool_id = 'b'; break;
        case 3: vms[1].vm_id = 1; break;
        default: strcpy(vms[1].vm_uuid, vms[0].vm_uuid); break;
        }
        assert_int_equal(apply(vms, 2, pools, 2), -EINVAL);
        assert_as_before(1);
        assert_non_null(strstr(error, "see vgpu-admin check-config"));
    }
    vms[1] = vm_row(5, 'B');
    assert_int_equal(apply(vms, 2, pools, 2), 0);
    assert_int_equal(core_pool_gpus(core, 'A'), 2);
    assert_int_equal(stats_of(core, 1).config.weight, 10);
}

static void test_the_error_names_the_vm(void **state)
{
    vgpu_vm_config_t vms[] = {vm_row(1, 'A'), vm_row(5, 'A'), vm_row(6, 'A')};

    vms[1].weight = 0;
    assert_int_equal(apply(vms, 3, &pool_a, 1), -EINVAL);
    assert_non_null(strstr(error, "VM 5 (vm-5)"));
    /* Also behind one that is left out. */
    strcpy(vms[0].vm_uuid, "none");
    assert_int_equal(apply(vms, 3, &pool_a, 1), -EINVAL);
    assert_non_null(strstr(error, "VM 5 (vm-5)"));
}

static void test_more_vms_than_there_is_room_for_change_nothing(void **state)
{
    vgpu_vm_config_t *vms = calloc(CORE_VMS_MAX + 1, sizeof(*vms));
    const vgpu_vm_config_t before = vm_row(1, 'A');
    const vgpu_pool_config_t pools[] = {{.pool_id = 'A'}, {.pool_id = 'B'}};

    assert_int_equal(apply(&before, 1, &pool_a, 1), 0);
    for (uint32_t i = 0; i <= CORE_VMS_MAX; i++) {
        vms[i] = vm_row(i + 1000, 'A');
    }
    assert_int_equal(apply(vms, CORE_VMS_MAX + 1, pools, 2), -ENOSPC);
    assert_as_before(1);
    assert_string_equal(error, "1025 VMs are registered, 1024 are possible");
    free(vms);
}

static void test_a_vm_without_a_uuid_is_left_out_and_the_others_are_not(void **state)
{
    vgpu_vm_config_t vms[] = {vm_row(1, 'A'), vm_row(2, 'A'), vm_row(3, 'A')};

    strcpy(vms[1].vm_uuid, "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d000");
    assert_int_equal(apply(vms, 3, &pool_a, 1), 0);
    assert_int_equal(result.added, 2);
    assert_int_equal(core_vm_find(core, 2), CORE_NONE);
    assert_null(config_names_find(&names, 2));
    assert_non_null(config_names_find(&names, 3));
}

static void test_a_longer_name_than_the_cores_is_cut(void **state)
{
    vgpu_vm_config_t vm = vm_row(1, 'A');

    memset(vm.vm_name, 'n', sizeof(vm.vm_name) - 1);
    assert_int_equal(apply(&vm, 1, &pool_a, 1), 0);
    assert_int_equal(strlen(stats_of(core, 1).config.name), CORE_NAME_BYTES - 1);
}

static void test_without_a_database_the_named_pools_have_every_gpu(void **state)
{
    struct core_config config;
    struct core *empty;

    config_apply_default_pools(core, "BD");
    assert_int_equal(core_pool_gpus(core, 'A'), 0);
    assert_int_equal(core_pool_gpus(core, 'B'), ALL_GPUS);
    assert_int_equal(core_pool_gpus(core, 'D'), ALL_GPUS);
    /* A host without a GPU. */
    core_config_defaults(&config);
    empty = core_new(&config, &no_effects);
    config_apply_default_pools(empty, "A");
    assert_int_equal(core_pool_gpus(empty, 'A'), 0);
    core_free(empty);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_value_of_a_vm_arrives),
        TEST(test_a_pool_has_the_gpus_that_it_names),
        TEST(test_what_is_not_there_any_more_is_removed),
        TEST(test_the_names_are_found_by_number),
        TEST(test_one_wrong_value_changes_nothing_at_all),
        TEST(test_the_error_names_the_vm),
        TEST(test_more_vms_than_there_is_room_for_change_nothing),
        TEST(test_a_vm_without_a_uuid_is_left_out_and_the_others_are_not),
        TEST(test_a_longer_name_than_the_cores_is_cut),
        TEST(test_without_a_database_the_named_pools_have_every_gpu),
    };

    return cmocka_run_group_tests_name("config_apply", tests, NULL, NULL);
}
