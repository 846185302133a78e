/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "common/cuda_names.h"

static void every_name_is_found_by_its_hash(void **state)
{
    assert_true(cuda_name_row_count > 100);
    for (unsigned i = 0; i < cuda_name_row_count; i++) {
        const struct cuda_name_row *row = &cuda_name_rows[i];

        assert_int_equal(cuda_name_hash(row->name), row->hash);
        assert_string_equal(cuda_name_of(row->hash), row->name);
        assert_true(i == 0 || row[-1].hash < row->hash);
        assert_true(strlen(row->name) < 64);
    }
    assert_string_equal(cuda_name_of(cuda_name_hash("cuIpcOpenMemHandle_v2")),
                        "cuIpcOpenMemHandle_v2");
}

static void what_no_function_has_is_other(void **state)
{
    assert_string_equal(cuda_name_of(cuda_name_hash("{evil=\"1\"}")), "other");
    assert_string_equal(cuda_name_of(0), "other");
    assert_string_equal(cuda_name_of(UINT32_MAX), "other");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_found_by_its_hash),
        cmocka_unit_test(what_no_function_has_is_other),
    };

    return cmocka_run_group_tests_name("cuda_names", tests, NULL, NULL);
}
