/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/request.h"

/* A request of `length` bytes whose header is *h. */
static enum vgpu_error parse(const VGPURequest *h, size_t length, struct request_view *view)
{
    uint8_t bytes[VGPU_REQUEST_BUFFER_BYTES + 1] = {0};

    memcpy(bytes, h, sizeof(*h));
    return request_parse(bytes, length, view);
}

static void test_lengths(void **state)
{
    VGPURequest h = {.version = VGPU_PROTOCOL_VERSION};
    struct request_view view;

    assert_int_equal(parse(&h, 0, &view), VGPU_ERR_INVALID_LENGTH);
    assert_int_equal(parse(&h, 31, &view), VGPU_ERR_INVALID_LENGTH);
    assert_int_equal(parse(&h, 32, &view), VGPU_ERR_NONE);
    assert_int_equal(parse(&h, 1024, &view), VGPU_ERR_NONE);
    assert_int_equal(parse(&h, 1025, &view), VGPU_ERR_REQUEST_TOO_LARGE);
}

static void test_params_must_fit(void **state)
{
    VGPURequest h = {.version = VGPU_PROTOCOL_VERSION, .param_count = 2};
    struct request_view view;

    assert_int_equal(parse(&h, 40, &view), VGPU_ERR_NONE);
    assert_int_equal(view.param_count, 2);
    assert_int_equal(parse(&h, 39, &view), VGPU_ERR_INVALID_LENGTH);
    h.param_count = VGPU_PARAMS_MAX + 1;
    assert_int_equal(parse(&h, 1024, &view), VGPU_ERR_INVALID_REQUEST);
    h.param_count = UINT32_MAX / 4 + 2; /* times 4 wraps to a small number */
    assert_int_equal(parse(&h, 1024, &view), VGPU_ERR_INVALID_REQUEST);
}

static void test_data_must_fit(void **state)
{
    VGPURequest h = {
        .version = VGPU_PROTOCOL_VERSION, .param_count = 1, .data_offset = 36, .data_length = 16};
    struct request_view view;

    assert_int_equal(parse(&h, 52, &view), VGPU_ERR_NONE);
    assert_int_equal(view.data_length, 16);
    assert_int_equal(parse(&h, 51, &view), VGPU_ERR_INVALID_LENGTH);
    h.data_offset = 35; /* overlaps the parameter */
    assert_int_equal(parse(&h, 52, &view), VGPU_ERR_INVALID_REQUEST);
    h.data_offset = UINT32_MAX;
    assert_int_equal(parse(&h, 1024, &view), VGPU_ERR_INVALID_REQUEST);
    h.data_offset = 36;
    h.data_length = UINT32_MAX;
    assert_int_equal(parse(&h, 1024, &view), VGPU_ERR_INVALID_LENGTH);
    h.data_length = 0; /* then the offset does not matter */
    h.data_offset = 7;
    assert_int_equal(parse(&h, 36, &view), VGPU_ERR_NONE);
}

static void test_version_and_flags(void **state)
{
    VGPURequest h = {.version = 0x00020000};
    struct request_view view;

    assert_int_equal(parse(&h, 32, &view), VGPU_ERR_INVALID_REQUEST);
    h.version = 0x00010007; /* a later minor version is served */
    assert_int_equal(parse(&h, 32, &view), VGPU_ERR_NONE);
    h.flags = 1;
    assert_int_equal(parse(&h, 32, &view), VGPU_ERR_INVALID_REQUEST);
}

static void test_ops(void **state)
{
    assert_int_equal(request_check_op(VGPU_OP_NOP, 0, 0, false), VGPU_ERR_NONE);
    assert_int_equal(request_check_op(VGPU_OP_NOP, 1, 0, false), VGPU_ERR_INVALID_REQUEST);
    assert_int_equal(request_check_op(VGPU_OP_CUDA_KERNEL, 2, 0, false), VGPU_ERR_NONE);
    assert_int_equal(request_check_op(VGPU_OP_CUDA_KERNEL, 2, 4, false), VGPU_ERR_INVALID_REQUEST);
    assert_int_equal(request_check_op(VGPU_OP_VECTOR_ADD_I32, 0, 992, false), VGPU_ERR_NONE);
    assert_int_equal(request_check_op(VGPU_OP_VECTOR_ADD_I32, 0, 988, false),
                     VGPU_ERR_INVALID_REQUEST);
    assert_int_equal(request_check_op(VGPU_OP_VECTOR_ADD_F32, 0, 0, false),
                     VGPU_ERR_INVALID_REQUEST);
    assert_int_equal(request_check_op(0x7777, 0, 0, true), VGPU_ERR_UNSUPPORTED_OP);
    assert_int_equal(request_check_op(VGPU_OP_TEST_SPIN, 1, 0, false), VGPU_ERR_UNSUPPORTED_OP);
    assert_int_equal(request_check_op(VGPU_OP_TEST_SPIN, 1, 0, true), VGPU_ERR_NONE);
}

static void test_response(void **state)
{
    const uint32_t body[2] = {300, 7};
    uint8_t out[VGPU_RESPONSE_BUFFER_BYTES];
    VGPUResponse header;

    assert_int_equal(response_write(out, 0, 12, body, 1, 4), 40);
    memcpy(&header, out, sizeof(header));
    assert_int_equal(header.version, VGPU_PROTOCOL_VERSION);
    assert_int_equal(header.result_count, 1);
    assert_int_equal(header.data_offset, 36);
    assert_int_equal(header.data_length, 4);
    assert_int_equal(header.exec_time_us, 12);
    assert_memory_equal(out + 32, body, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths),       cmocka_unit_test(test_params_must_fit),
        cmocka_unit_test(test_data_must_fit), cmocka_unit_test(test_version_and_flags),
        cmocka_unit_test(test_ops),           cmocka_unit_test(test_response),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
