/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An answer comes from the host.  A guest trusts its host with its life, but
 * a faulty one must lead to an error here, not to a wild read.
 */
#include <string.h>

#include "internal.h"

const char *vgpu_answer_parse(const void *response, size_t bytes, struct vgpu_answer *answer)
{
    VGPUResponse header;
    uint32_t results_end;

    memset(answer, 0, sizeof(*answer));
    if (bytes < sizeof(header)) {
        return "it is shorter than its header";
    }
    if (bytes > VGPU_RESPONSE_BUFFER_BYTES) {
        return "it is longer than the response buffer";
    }
    memcpy(&header, response, sizeof(header));
    if (VGPU_PROTOCOL_MAJOR(header.version) != VGPU_PROTOCOL_MAJOR(VGPU_PROTOCOL_VERSION)) {
        return "its version is not 1.x";
    }
    if (header.result_count > (bytes - sizeof(header)) / 4) {
        return "it announces more results than it holds";
    }
    results_end = (uint32_t)sizeof(header) + header.result_count * 4;
    if (header.data_length != 0) {
        if (header.data_offset < results_end || header.data_offset > bytes ||
            header.data_length > bytes - header.data_offset) {
            return "its data lies outside of it";
        }
        answer->data = (const uint8_t *)response + header.data_offset;
        answer->data_bytes = header.data_length;
    }
    answer->status = header.status;
    answer->exec_time_us = header.exec_time_us;
    answer->result_count = header.result_count;
    answer->results = (const uint32_t *)((const uint8_t *)response + sizeof(header));
    return NULL;
}
