/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest's request: what request_parse() accepts lies within the bytes that came. */
#include <string.h>

#include "common/request.h"
#include "fuzz.h"

static uint32_t sum(const uint8_t *bytes, size_t size)
{
    uint32_t total = 0;

    for (size_t i = 0; i < size; i++) {
        total += bytes[i];
    }
    return total;
}

static bool inside(const uint8_t *part, size_t part_bytes, const uint8_t *whole, size_t whole_bytes)
{
    return part >= whole && (size_t)(part - whole) <= whole_bytes &&
           part_bytes <= whole_bytes - (size_t)(part - whole);
}

static void check_accepted(const struct request_view *view, const uint8_t *data, size_t size)
{
    volatile uint32_t sink = 0; /* every byte is read */
    uint8_t out[VGPU_RESPONSE_BUFFER_BYTES];
    VGPURequest header;
    uint32_t words = view->param_count < 8 ? view->param_count : 8;

    memcpy(&header, data, sizeof(header));
    CHECK(VGPU_PROTOCOL_MAJOR(header.version) == 1 && header.flags == 0);
    CHECK(inside(view->params, view->param_count * 4u, data, size));
    sink = sink + sum(view->params, view->param_count * 4u);
    if (view->data_length > 0) {
        CHECK(inside(view->data, view->data_length, data, size));
        CHECK(view->data >= view->params + view->param_count * 4u);
        sink = sink + sum(view->data, view->data_length);
    }
    (void)sink;
    CHECK(response_write(out, VGPU_ERR_NONE, 1, view->params, words, 0) ==
          sizeof(VGPUResponse) + words * 4);

    for (int test_ops = 0; test_ops < 2; test_ops++) {
        enum vgpu_error code =
            request_check_op(view->opcode, view->param_count, view->data_length, test_ops != 0);

        CHECK(code == VGPU_ERR_NONE || code == VGPU_ERR_UNSUPPORTED_OP ||
              code == VGPU_ERR_INVALID_REQUEST);
        CHECK(code != VGPU_ERR_NONE || strcmp(request_op_name(view->opcode), "unknown") != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request_view view;
    enum vgpu_error code = request_parse(data, size, &view);

    CHECK(strcmp(request_error_name(code), "UNKNOWN") != 0);
    if (code == VGPU_ERR_NONE) {
        check_accepted(&view, data, size);
    } else {
        CHECK(code == VGPU_ERR_INVALID_REQUEST || code == VGPU_ERR_INVALID_LENGTH ||
              code == VGPU_ERR_REQUEST_TOO_LARGE);
        CHECK(view.param_count == 0 && view.data_length == 0);
    }
    return 0;
}
