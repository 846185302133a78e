/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/parse.h"
#include "loadgen/job_mix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct operation {
    const char *name;
    uint32_t opcode;
    uint32_t params, results, unit, gives;
    uint32_t argument_max; /* elements, or params[0]; 0: it takes no argument */
} operations[] = {
#define OPERATION(name, code, text, option, params, results, unit, gives, most, test)              \
    {option,                                                                                       \
     code,                                                                                         \
     params,                                                                                       \
     results,                                                                                      \
     unit,                                                                                         \
     gives,                                                                                        \
     (unit) ? (VGPU_REQUEST_BODY_BYTES - 4 * (params)) / ((unit) + !(unit)) : (most)},
    VGPU_OPERATIONS(OPERATION)
#undef OPERATION
};

#define OPERATION_COUNT (sizeof(operations) / sizeof(operations[0]))
#define SPIN_DEFAULT_US 1000u

/* Never NULL: kinds are made from the table. */
static const struct operation *operation_of(const struct job_kind *kind)
{
    size_t i = 0;

    while (operations[i].opcode != kind->opcode) {
        i++;
    }
    return &operations[i];
}

uint64_t job_hash(uint64_t value)
{
    value += 0x9e3779b97f4a7c15ull;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

/* ---- parsing ---- */

/* A decimal number from *text, which moves behind it; -EINVAL if there is none. */
static int take_number(const char **text, uint32_t max, uint32_t *value)
{
    uint64_t number;
    const char *end = parse_digits(*text, max, &number);

    if (!end) {
        return -EINVAL;
    }
    *text = end;
    *value = (uint32_t)number;
    return 0;
}

static int parse_kind(struct job_kind *kind, const char **text, const char **why)
{
    size_t name_length = strcspn(*text, ":=,+");
    size_t whole_length = strcspn(*text, "=,+");

    for (size_t i = 0; i < OPERATION_COUNT; i++) {
        if (strlen(operations[i].name) != name_length ||
            memcmp(operations[i].name, *text, name_length) != 0) {
            continue;
        }
        if (whole_length >= sizeof(kind->name)) {
            break;
        }
        *kind = (struct job_kind){.opcode = operations[i].opcode, .weight = 1};
        if (operations[i].argument_max) {
            kind->argument = operations[i].unit ? JOB_ELEMENTS_DEFAULT : SPIN_DEFAULT_US;
        }
        memcpy(kind->name, *text, whole_length);
        *text += name_length;
        if (**text == ':') {
            (*text)++;
            if (operations[i].argument_max == 0) {
                *why = "this operation takes no argument";
                return -EINVAL;
            }
            if (take_number(text, operations[i].argument_max, &kind->argument) < 0 ||
                kind->argument == 0) {
                *why = "the number behind ':' is missing or out of range";
                return -EINVAL;
            }
        }
        if (**text == '=') {
            (*text)++;
            if (take_number(text, 1000000, &kind->weight) < 0 || kind->weight == 0) {
                *why = "the number behind '=' must be 1 to 1000000";
                return -EINVAL;
            }
        }
        return 0;
    }
#define OPERATION_NAME(name, code, text, option, params, results, unit, gives, most, test)         \
    " " option
    *why = "the operations are" VGPU_OPERATIONS(
        OPERATION_NAME) "; ':' and a number behind one "
                        "are its elements or, of spin, its microseconds";
    return -EINVAL;
}

int job_mix_parse(struct job_mix *mix, const char *text, const char **why)
{
    memset(mix, 0, sizeof(*mix));
    for (;;) {
        struct job_kind *kind = &mix->kinds[mix->count];

        if (mix->count == JOB_KINDS_MAX) {
            *why = "a mix has 8 operations at most";
            return -EINVAL;
        }
        if (parse_kind(kind, &text, why) < 0) {
            return -EINVAL;
        }
        mix->weight_sum += kind->weight;
        mix->count++;
        if (*text == '\0') {
            return 0;
        }
        if (*text != ',' && *text != '+') {
            *why = "operations are separated by ',' or '+'";
            return -EINVAL;
        }
        text++;
    }
}

uint32_t job_mix_pick(const struct job_mix *mix, uint64_t random)
{
    uint64_t at = mix->count > 1 ? random % mix->weight_sum : 0;
    uint32_t kind = 0;

    while (at >= mix->kinds[kind].weight) {
        at -= mix->kinds[kind++].weight;
    }
    return kind;
}

/* ---- operands ---- */

static uint32_t operand_i32(uint64_t seed, uint32_t index)
{
    return (uint32_t)job_hash(seed + index);
}

/* Finite, of very different sizes, so that sums round. */
static float operand_f32(uint64_t seed, uint32_t index)
{
    uint64_t random = job_hash(seed + index);
    float value = (float)(int32_t)random;

    return random >> 63 ? value / 65536.0f : value;
}

static uint32_t operand(const struct job_kind *kind, uint64_t seed, uint32_t index)
{
    uint32_t bits;
    float value;

    if (kind->opcode != VGPU_OP_VECTOR_ADD_F32) {
        return operand_i32(seed, index);
    }
    value = operand_f32(seed, index);
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static uint32_t expected_sum(const struct job_kind *kind, uint64_t seed, uint32_t a, uint32_t b)
{
    uint32_t bits;
    float value;

    if (kind->opcode != VGPU_OP_VECTOR_ADD_F32) {
        return operand_i32(seed, a) + operand_i32(seed, b);
    }
    value = operand_f32(seed, a) + operand_f32(seed, b);
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

uint32_t job_build(const struct job_kind *kind, uint64_t seed, uint8_t *out)
{
    const struct operation *operation = operation_of(kind);
    VGPURequest request = {
        .version = VGPU_PROTOCOL_VERSION,
        .opcode = kind->opcode,
        .param_count = operation->params,
        .data_offset = (uint32_t)sizeof(request) + operation->params * 4,
        .data_length = operation->unit * kind->argument,
    };
    uint32_t words = operation->params + request.data_length / 4, word;
    bool chosen = operation->argument_max > 0 && operation->unit == 0; /* params[0] is */

    memcpy(out, &request, sizeof(request));
    out += sizeof(request);
    for (uint32_t i = 0; i < words; i++) {
        word = i == 0 && chosen ? kind->argument : operand(kind, seed, i);
        memcpy(out + 4 * i, &word, 4);
    }
    return (uint32_t)sizeof(request) + words * 4;
}

/* ---- answers ---- */

static const char *check_words(const struct job_kind *kind, uint64_t seed, const uint8_t *words,
                               uint32_t count, uint32_t second)
{
    uint32_t word;

    for (uint32_t i = 0; i < count; i++) {
        memcpy(&word, words + 4 * i, 4);
        if (word != expected_sum(kind, seed, i, second + i)) {
            return "a sum is wrong";
        }
    }
    return NULL;
}

static const char *check_content(const struct job_kind *kind, uint64_t seed,
                                 const VGPUResponse *response, const uint8_t *body)
{
    const struct operation *operation = operation_of(kind);

    if (operation->gives == VGPU_AS_TEXT) {
        return response->result_count == operation->results && response->data_length > 0
                   ? NULL
                   : "its results or its text are missing";
    }
    if (response->result_count != operation->results ||
        response->data_length != operation->gives * (operation->unit ? kind->argument : 0)) {
        return "it has the wrong number of results";
    }
    switch (kind->opcode) {
    case VGPU_OP_CUDA_KERNEL: return check_words(kind, seed, body, 1, 1);
    case VGPU_OP_VECTOR_ADD_I32:
    case VGPU_OP_VECTOR_ADD_F32:
        return check_words(kind, seed, body, kind->argument, kind->argument);
    default: return NULL; /* its counts are all that is known of it */
    }
}

void job_check(const struct job_kind *kind, uint64_t seed, const uint8_t *payload, uint32_t length,
               struct job_answer *answer)
{
    VGPUResponse response;
    uint32_t results_end;

    *answer = (struct job_answer){.status = VGPU_ERR_INVALID_REQUEST};
    if (length < sizeof(response)) {
        answer->wrong = "the response is too short";
        return;
    }
    memcpy(&response, payload, sizeof(response));
    answer->status = response.status;
    answer->exec_time_us = response.exec_time_us;
    if (VGPU_PROTOCOL_MAJOR(response.version) != VGPU_PROTOCOL_MAJOR(VGPU_PROTOCOL_VERSION) ||
        response.status >= VGPU_ERR_COUNT) {
        answer->wrong = "the response's version or status is unknown";
        answer->status = VGPU_ERR_INVALID_REQUEST;
        return;
    }
    if (response.result_count > VGPU_RESPONSE_BODY_BYTES / 4 ||
        response.data_length > VGPU_RESPONSE_BODY_BYTES) {
        answer->wrong = "the response's counts are too large";
        return;
    }
    results_end = (uint32_t)sizeof(response) + response.result_count * 4;
    if (length != results_end + response.data_length ||
        (response.data_length && response.data_offset != results_end)) {
        answer->wrong = "the response's parts don't add up to its length";
        return;
    }
    if (response.status == VGPU_ERR_NONE) {
        answer->wrong = check_content(kind, seed, &response, payload + sizeof(response));
    }
}
