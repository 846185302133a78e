/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/request.h"

#include <assert.h>
#include <string.h>

enum vgpu_error request_parse(const void *bytes, size_t length, struct request_view *view)
{
    VGPURequest header;
    uint32_t params_end;

    memset(view, 0, sizeof(*view));
    if (length > VGPU_REQUEST_BUFFER_BYTES) {
        return VGPU_ERR_REQUEST_TOO_LARGE;
    }
    if (length < sizeof(header)) {
        return VGPU_ERR_INVALID_LENGTH;
    }
    memcpy(&header, bytes, sizeof(header));
    if (VGPU_PROTOCOL_MAJOR(header.version) != VGPU_PROTOCOL_MAJOR(VGPU_PROTOCOL_VERSION) ||
        header.flags != 0 || header.param_count > VGPU_PARAMS_MAX) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    params_end = (uint32_t)sizeof(header) + header.param_count * 4;
    if (params_end > length) {
        return VGPU_ERR_INVALID_LENGTH;
    }
    if (header.data_length != 0) {
        if (header.data_offset < params_end || header.data_offset > length) {
            return VGPU_ERR_INVALID_REQUEST;
        }
        if (header.data_length > length - header.data_offset) {
            return VGPU_ERR_INVALID_LENGTH;
        }
        view->data = (const uint8_t *)bytes + header.data_offset;
    }
    view->opcode = header.opcode;
    view->param_count = header.param_count;
    view->data_length = header.data_length;
    view->params = (const uint8_t *)bytes + sizeof(header);
    return VGPU_ERR_NONE;
}

/* What each operation takes; data comes in multiples of data_unit, if at all. */
static const struct op_shape {
    uint32_t opcode;
    const char *name;
    uint32_t params;
    uint32_t data_unit;
    bool test;
} op_shapes[] = {
#define OP_SHAPE(name, code, text, option, params, results, unit, gives, most, test)               \
    {code, text, params, unit, test},
    VGPU_OPERATIONS(OP_SHAPE)
#undef OP_SHAPE
};

static const struct op_shape *op_find(uint32_t opcode)
{
    for (size_t i = 0; i < sizeof(op_shapes) / sizeof(op_shapes[0]); i++) {
        if (op_shapes[i].opcode == opcode) {
            return &op_shapes[i];
        }
    }
    return NULL;
}

enum vgpu_error request_check_op(uint32_t opcode, uint32_t param_count, uint32_t data_length,
                                 bool test_ops_enabled)
{
    const struct op_shape *shape = op_find(opcode);

    if (!shape || (shape->test && !test_ops_enabled)) {
        return VGPU_ERR_UNSUPPORTED_OP;
    }
    if (param_count != shape->params || data_length > VGPU_REQUEST_BODY_BYTES - 4 * param_count) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    if (shape->data_unit == 0 ? data_length != 0
                              : data_length == 0 || data_length % shape->data_unit != 0) {
        return VGPU_ERR_INVALID_REQUEST;
    }
    return VGPU_ERR_NONE;
}

const char *request_op_name(uint32_t opcode)
{
    const struct op_shape *shape = op_find(opcode);

    return shape ? shape->name : "unknown";
}

const char *request_error_name(uint32_t code)
{
    static const char *const names[VGPU_ERR_COUNT] = {
        [VGPU_ERR_NONE] = "NONE",
        [VGPU_ERR_INVALID_REQUEST] = "INVALID_REQUEST",
        [VGPU_ERR_REQUEST_TOO_LARGE] = "REQUEST_TOO_LARGE",
        [VGPU_ERR_MEDIATOR_UNAVAILABLE] = "MEDIATOR_UNAVAILABLE",
        [VGPU_ERR_TIMEOUT] = "TIMEOUT",
        [VGPU_ERR_CUDA_ERROR] = "CUDA_ERROR",
        [VGPU_ERR_INVALID_POOL] = "INVALID_POOL",
        [VGPU_ERR_QUEUE_FULL] = "QUEUE_FULL",
        [VGPU_ERR_UNSUPPORTED_OP] = "UNSUPPORTED_OP",
        [VGPU_ERR_INVALID_LENGTH] = "INVALID_LENGTH",
        [VGPU_ERR_RATE_LIMITED] = "RATE_LIMITED",
        [VGPU_ERR_VM_QUARANTINED] = "VM_QUARANTINED",
        [VGPU_ERR_VM_NOT_REGISTERED] = "VM_NOT_REGISTERED",
        [VGPU_ERR_GPU_UNAVAILABLE] = "GPU_UNAVAILABLE",
        [VGPU_ERR_MEMORY_LIMIT] = "MEMORY_LIMIT",
    };

    return code < VGPU_ERR_COUNT ? names[code] : "UNKNOWN";
}

uint32_t response_write(uint8_t *out, uint32_t status, uint32_t exec_time_us, const void *body,
                        uint32_t result_count, uint32_t data_length)
{
    uint32_t body_bytes = result_count * 4 + data_length;
    VGPUResponse header = {
        .version = VGPU_PROTOCOL_VERSION,
        .status = status,
        .result_count = result_count,
        .data_offset = (uint32_t)sizeof(header) + result_count * 4,
        .data_length = data_length,
        .exec_time_us = exec_time_us,
    };

    assert(result_count <= VGPU_RESPONSE_BODY_BYTES / 4 && body_bytes <= VGPU_RESPONSE_BODY_BYTES);
    memcpy(out, &header, sizeof(header));
    if (body_bytes) {
        memcpy(out + sizeof(header), body, body_bytes);
    }
    return (uint32_t)sizeof(header) + body_bytes;
}
