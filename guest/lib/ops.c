/* SPDX-License-Identifier: BSD-3-Clause */
/* The ready-made operations: build the request, check that the answer is this operation's. */
#include <string.h>

#include "internal.h"

int vgpu_call(struct vgpu *v, uint32_t opcode, const uint32_t *params, uint32_t param_count,
              const void *data, uint32_t data_bytes, struct vgpu_answer *answer)
{
    struct vgpu_answer unused;
    VGPURequest header = {
        .version = VGPU_PROTOCOL_VERSION,
        .opcode = opcode,
        .param_count = param_count,
        .data_length = data_bytes,
    };
    uint32_t end, response_bytes;

    if (param_count > VGPU_PARAMS_MAX ||
        data_bytes > VGPU_REQUEST_BODY_BYTES - param_count * (uint32_t)sizeof(uint32_t)) {
        return vgpu_result_of(vgpu_set_error(v, VGPU_ERR_ARGUMENT,
                                             "%u parameters and %u bytes of data do not fit in "
                                             "one request of %u bytes",
                                             (unsigned)param_count, (unsigned)data_bytes,
                                             VGPU_REQUEST_BUFFER_BYTES));
    }
    end = (uint32_t)sizeof(header) + param_count * (uint32_t)sizeof(uint32_t);
    header.data_offset = data_bytes ? end : 0;
    memcpy(v->request, &header, sizeof(header));
    if (param_count) {
        memcpy(v->request + sizeof(header), params, param_count * sizeof(uint32_t));
    }
    if (data_bytes) {
        memcpy(v->request + end, data, data_bytes);
    }
    return vgpu_exchange(v, v->request, end + data_bytes, &response_bytes,
                         answer ? answer : &unused);
}

/* The host calls it a success, but the answer is not what the operation gives. */
static int misfit(struct vgpu *v, const char *operation, const struct vgpu_answer *answer)
{
    return vgpu_result_of(vgpu_set_error(
        v, VGPU_ERR_BAD_RESPONSE,
        "%s: the host answered %s with %u results and %u bytes of data, which does not fit; "
        "report it to the host's administrator",
        v->description, operation, (unsigned)answer->result_count, (unsigned)answer->data_bytes));
}

int vgpu_nop(struct vgpu *v)
{
    return vgpu_call(v, VGPU_OP_NOP, NULL, 0, NULL, 0, NULL);
}

int vgpu_add(struct vgpu *v, uint32_t a, uint32_t b, uint32_t *sum)
{
    const uint32_t params[2] = {a, b};
    struct vgpu_answer answer;
    int result = vgpu_call(v, VGPU_OP_CUDA_KERNEL, params, 2, NULL, 0, &answer);

    if (result == VGPU_OK && answer.result_count != 1) {
        return misfit(v, "an addition", &answer);
    }
    if (result == VGPU_OK) {
        *sum = answer.results[0];
    }
    return result;
}

static int vector_add(struct vgpu *v, uint32_t opcode, uint32_t n, const void *a, const void *b,
                      void *c)
{
    uint8_t data[VGPU_REQUEST_BODY_BYTES];
    struct vgpu_answer answer;
    uint32_t bytes = n * 4;
    int result;

    if (n < 1 || n > VGPU_VECTOR_MAX) {
        return vgpu_result_of(vgpu_set_error(v, VGPU_ERR_ARGUMENT,
                                             "a vector addition takes 1 to %u elements, not %u",
                                             (unsigned)VGPU_VECTOR_MAX, (unsigned)n));
    }
    memcpy(data, a, bytes);
    memcpy(data + bytes, b, bytes);
    result = vgpu_call(v, opcode, NULL, 0, data, 2 * bytes, &answer);
    if (result == VGPU_OK && answer.data_bytes != bytes) {
        return misfit(v, "a vector addition", &answer);
    }
    if (result == VGPU_OK) {
        memcpy(c, answer.data, bytes);
    }
    return result;
}

int vgpu_vector_add_i32(struct vgpu *v, uint32_t n, const int32_t *a, const int32_t *b, int32_t *c)
{
    return vector_add(v, VGPU_OP_VECTOR_ADD_I32, n, a, b, c);
}

int vgpu_vector_add_f32(struct vgpu *v, uint32_t n, const float *a, const float *b, float *c)
{
    return vector_add(v, VGPU_OP_VECTOR_ADD_F32, n, a, b, c);
}

int vgpu_device_info(struct vgpu *v, struct vgpu_device_info *info)
{
    struct vgpu_answer answer;
    int result = vgpu_call(v, VGPU_OP_GET_DEVICE_INFO, NULL, 0, NULL, 0, &answer);
    uint32_t i;

    if (result != VGPU_OK) {
        return result;
    }
    if (answer.result_count < VGPU_INFO_COUNT) {
        return misfit(v, "a question about the device", &answer);
    }
    memset(info, 0, sizeof(*info));
    info->backend = answer.results[VGPU_INFO_BACKEND];
    info->compute_major = answer.results[VGPU_INFO_COMPUTE_MAJOR];
    info->compute_minor = answer.results[VGPU_INFO_COMPUTE_MINOR];
    info->multiprocessors = answer.results[VGPU_INFO_MULTIPROCESSORS];
    info->memory_mib = answer.results[VGPU_INFO_MEMORY_MIB];
    for (i = 0; i < answer.data_bytes && i < sizeof(info->name) - 1; i++) {
        char c = ((const char *)answer.data)[i];

        if (c == '\0') {
            break;
        }
        info->name[i] = c >= ' ' && c <= '~' ? c : '?';
    }
    return VGPU_OK;
}

int vgpu_test_op(struct vgpu *v, uint32_t opcode, uint32_t param)
{
    uint32_t params = 0;
    int is_test = 0;

    switch (opcode) {
#define TAKES(name, code, text, option, param_count, results, unit, gives, most, test)             \
    case code:                                                                                     \
        params = param_count;                                                                      \
        is_test = test;                                                                            \
        break;
        VGPU_OPERATIONS(TAKES)
#undef TAKES
    default: break;
    }
    if (!is_test) {
        return vgpu_result_of(vgpu_set_error(
            v, VGPU_ERR_ARGUMENT, "operation 0x%X is not a test operation", (unsigned)opcode));
    }
    return vgpu_call(v, opcode, &param, params, NULL, 0, NULL);
}
