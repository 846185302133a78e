/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bridge/request_text.h"

#include <stdbool.h>
#include <string.h>

#include "vgpu/vgpu_protocol.h"

#define VECTOR_ADD "VECTOR_ADD"

/* What is left of the line. */
struct cursor {
    const char *at, *end;
};

/* Digits, then `stop` (or the line's end for '\0'); a sign is allowed where `negative` is. */
static bool take_number(struct cursor *cursor, char stop, bool negative, int64_t max,
                        int64_t *value)
{
    bool minus = negative && cursor->at < cursor->end && *cursor->at == '-';
    const char *first;
    int64_t number = 0;

    cursor->at += minus;
    first = cursor->at;
    while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9') {
        number = number * 10 + (*cursor->at++ - '0');
        if (number > max + minus) {
            return false;
        }
    }
    if (cursor->at == first) {
        return false;
    }
    *value = minus ? -number : number;
    if (stop == '\0') {
        return cursor->at == cursor->end;
    }
    return cursor->at < cursor->end && *cursor->at++ == stop;
}

static const char *parse_operation(struct cursor *cursor, struct request *request)
{
    int64_t a, b;

    if ((size_t)(cursor->end - cursor->at) == strlen(VECTOR_ADD) &&
        memcmp(cursor->at, VECTOR_ADD, strlen(VECTOR_ADD)) == 0) {
        request->kind = REQUEST_VECTOR_ADD;
        return NULL;
    }
    if (!take_number(cursor, ':', true, INT32_MAX, &a) ||
        !take_number(cursor, '\0', true, INT32_MAX, &b)) {
        return "what follows the VM's number is neither num1:num2 nor " VECTOR_ADD;
    }
    request->kind = REQUEST_SUM;
    request->a = (int32_t)a;
    request->b = (int32_t)b;
    return NULL;
}

const char *request_parse(const char *text, size_t length, struct request *request)
{
    struct cursor cursor = {text, text + length};
    int64_t number;

    memset(request, 0, sizeof(*request));
    if (length > 0 && cursor.end[-1] == '\n') {
        cursor.end--;
    }
    if (cursor.end > cursor.at && cursor.end[-1] == '\r') {
        cursor.end--;
    }
    if (cursor.end - cursor.at < 2 || cursor.at[0] < VGPU_POOL_FIRST ||
        cursor.at[0] > VGPU_POOL_LAST || cursor.at[1] != ':') {
        return "the request does not begin with a pool's letter and a colon";
    }
    request->pool = cursor.at[0];
    cursor.at += 2;
    if (!take_number(&cursor, ':', false, VGPU_PRIORITY_HIGH, &number)) {
        return "the priority is not 0, 1 or 2";
    }
    request->priority = (uint32_t)number;
    if (!take_number(&cursor, ':', false, UINT32_MAX, &number)) {
        return "the VM's number is not one";
    }
    request->vm_id = (uint32_t)number;
    return parse_operation(&cursor, request);
}
