/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An answer as the guest's library reads it: never a byte outside of it. */
#include <string.h>

#include "fuzz.h"
#include "guest/lib/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    volatile uint32_t sink = 0; /* every byte is read */
    struct vgpu_answer answer;
    const char *fault = vgpu_answer_parse(data, size, &answer);

    if (fault) {
        CHECK(strlen(fault) > 0 && answer.result_count == 0 && answer.data_bytes == 0);
        return 0;
    }
    for (uint32_t i = 0; i < answer.result_count; i++) {
        uint32_t word;

        memcpy(&word, (const uint8_t *)answer.results + i * 4, 4);
        sink = sink + word;
    }
    for (uint32_t i = 0; i < answer.data_bytes; i++) {
        sink = sink + ((const uint8_t *)answer.data)[i];
    }
    (void)sink;
    CHECK(vgpu_strerror(answer.status) && vgpu_error_name(answer.status));
    return 0;
}
