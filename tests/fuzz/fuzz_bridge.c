/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The line of a request file, as a guest of Phase 2 wrote it: any bytes.  What is accepted is
 * within the limits that its header promises, and means the same when it is written anew; what is
 * refused has a reason that fits into a response.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bridge/request_text.h"
#include "fuzz.h"
#include "vgpu/vgpu_protocol.h"

static void check_accepted(const struct request *request)
{
    struct request again;
    char line[128];

    CHECK(request->pool >= VGPU_POOL_FIRST && request->pool <= VGPU_POOL_LAST);
    CHECK(request->priority <= VGPU_PRIORITY_HIGH);
    if (request->kind == REQUEST_SUM) {
        snprintf(line, sizeof(line), "%c:%" PRIu32 ":%" PRIu32 ":%" PRId32 ":%" PRId32,
                 request->pool, request->priority, request->vm_id, request->a, request->b);
    } else {
        CHECK(request->kind == REQUEST_VECTOR_ADD);
        snprintf(line, sizeof(line), "%c:%" PRIu32 ":%" PRIu32 ":VECTOR_ADD", request->pool,
                 request->priority, request->vm_id);
    }
    CHECK(request_parse(line, strlen(line), &again) == NULL);
    CHECK(again.kind == request->kind && again.pool == request->pool);
    CHECK(again.priority == request->priority && again.vm_id == request->vm_id);
    CHECK(request->kind != REQUEST_SUM || (again.a == request->a && again.b == request->b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request request;
    const char *wrong;
    char *text;

    /* Of exactly this size, so that a sanitizer sees a byte too far. */
    size = size < REQUEST_TEXT_MAX ? size : REQUEST_TEXT_MAX;
    text = malloc(size ? size : 1);
    CHECK(text);
    memcpy(text, data, size);
    memset(&request, 0xa5, sizeof(request));
    wrong = request_parse(text, size, &request);
    if (wrong) {
        CHECK(strlen(wrong) > 0 && strlen(wrong) < 200 && !strchr(wrong, '\n'));
    } else {
        check_accepted(&request);
    }
    free(text);
    return 0;
}
