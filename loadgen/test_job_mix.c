/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/request.h"
#include "loadgen/job_mix.h"

static void test_parse(void **state)
{
    static const char *const wrong[] = {"",
                                        "noop",
                                        "add:3",
                                        "spin:",
                                        "spin:0",
                                        "add=0",
                                        "add=",
                                        "add,",
                                        "add;nop",
                                        "spin:60000001",
                                        "add=1x",
                                        "spin:-1",
                                        "vadd-i32:125",
                                        "nop,nop,nop,nop,nop,"
                                        "nop,nop,nop,nop"};
    struct job_mix mix;
    const char *why;

    assert_int_equal(job_mix_parse(&mix, "add=70,spin:1000=30", &why), 0);
    assert_int_equal(mix.count, 2);
    assert_int_equal(mix.weight_sum, 100);
    assert_int_equal(mix.kinds[1].opcode, VGPU_OP_TEST_SPIN);
    assert_int_equal(mix.kinds[1].argument, 1000);
    assert_string_equal(mix.kinds[1].name, "spin:1000");
    assert_int_equal(job_mix_parse(&mix, "nop+vadd-f32:124", &why), 0);
    assert_int_equal(mix.kinds[1].argument, 124);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        why = NULL;
        assert_int_equal(job_mix_parse(&mix, wrong[i], &why), -EINVAL);
        assert_non_null(why);
    }
}

static void test_proportions(void **state)
{
    struct job_mix mix;
    const char *why;
    uint32_t picked[3] = {0};

    assert_int_equal(job_mix_parse(&mix, "nop=1,add=2,info=7", &why), 0);
    for (uint64_t i = 0; i < 100000; i++) {
        picked[job_mix_pick(&mix, job_hash(i))]++;
    }
    assert_true(picked[0] > 9500 && picked[0] < 10500);
    assert_true(picked[1] > 19400 && picked[1] < 20600);
    assert_true(picked[2] > 69300 && picked[2] < 70700);
}

/* Does what a worker does, for the operations whose answers are checked. */
static uint32_t answer(const struct job_kind *kind, uint64_t seed, uint8_t *out)
{
    uint8_t request[VGPU_REQUEST_BUFFER_BYTES];
    uint32_t length = job_build(kind, seed, request), body[VGPU_VECTOR_MAX] = {0};
    struct request_view view;
    uint32_t results = 0, n;

    assert_int_equal(request_parse(request, length, &view), VGPU_ERR_NONE);
    assert_int_equal(request_check_op(view.opcode, view.param_count, view.data_length, true),
                     VGPU_ERR_NONE);
    n = view.data_length / 8;
    if (view.opcode == VGPU_OP_CUDA_KERNEL) {
        uint32_t params[2];

        memcpy(params, view.params, sizeof(params));
        body[0] = params[0] + params[1];
        results = 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (view.opcode == VGPU_OP_VECTOR_ADD_F32) {
            float a, b;

            memcpy(&a, view.data + 4 * i, 4);
            memcpy(&b, view.data + 4 * (n + i), 4);
            a += b;
            memcpy(&body[i], &a, 4);
        } else {
            uint32_t a, b;

            memcpy(&a, view.data + 4 * i, 4);
            memcpy(&b, view.data + 4 * (n + i), 4);
            body[i] = a + b;
        }
    }
    return response_write(out, VGPU_ERR_NONE, 5, body, results, 4 * n);
}

static const char *check(const struct job_kind *kind, uint64_t seed, const uint8_t *bytes,
                         uint32_t length)
{
    struct job_answer result;

    job_check(kind, seed, bytes, length, &result);
    return result.wrong;
}

/* A right answer passes; with any bit of its results flipped, or cut, or for
 * another job, it does not. */
static void test_answers(void **state)
{
    struct job_mix mix;
    const char *why;

    assert_int_equal(
        job_mix_parse(&mix, "nop,add,vadd-i32:1,vadd-i32:124,vadd-f32:50,spin:10", &why), 0);
    for (uint32_t k = 0; k < mix.count; k++) {
        const struct job_kind *kind = &mix.kinds[k];

        for (uint64_t run = 1; run < 20; run++) {
            uint64_t seed = job_hash(run);
            uint8_t bytes[VGPU_RESPONSE_BUFFER_BYTES];
            uint32_t length = answer(kind, seed, bytes);

            assert_null(check(kind, seed, bytes, length));
            for (uint32_t bit = sizeof(VGPUResponse) * 8; bit < length * 8; bit += 7) {
                bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
                assert_non_null(check(kind, seed, bytes, length));
                bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            }
            for (uint32_t cut = 0; cut < length; cut++) {
                assert_non_null(check(kind, seed, bytes, cut));
            }
            if (length > sizeof(VGPUResponse)) {
                assert_non_null(check(kind, seed + 1, bytes, length));
            }
        }
    }
}

static void test_error_answers(void **state)
{
    struct job_kind kind = {.opcode = VGPU_OP_CUDA_KERNEL};
    uint8_t bytes[VGPU_RESPONSE_BUFFER_BYTES];
    struct job_answer result;
    uint32_t length = response_write(bytes, VGPU_ERR_TIMEOUT, 7, NULL, 0, 0);

    job_check(&kind, 1, bytes, length, &result);
    assert_null(result.wrong); /* an error is an answer, too */
    assert_int_equal(result.status, VGPU_ERR_TIMEOUT);
    assert_int_equal(result.exec_time_us, 7);
    length = response_write(bytes, VGPU_ERR_COUNT, 0, NULL, 0, 0);
    job_check(&kind, 1, bytes, length, &result);
    assert_non_null(result.wrong);
    assert_true(result.status < VGPU_ERR_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_proportions),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_error_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
