/* SPDX-License-Identifier: BSD-3-Clause */
/* vgpu_answer_parse() on good answers, on each kind of bad one, and on noise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "internal.h"

static VGPUResponse good_header(void)
{
    VGPUResponse header = {
        .version = VGPU_PROTOCOL_VERSION,
        .result_count = 2,
        .data_offset = 40,
        .data_length = 8,
        .exec_time_us = 17,
    };

    return header;
}

/* Parse a copy of exactly `bytes` bytes, so that the sanitizer sees any access behind them. */
static const char *parse(const VGPUResponse *header, size_t bytes, struct vgpu_answer *answer)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);
    const char *fault;

    assert_non_null(copy);
    memset(copy, 0x5A, bytes);
    memcpy(copy, header, bytes < sizeof(*header) ? bytes : sizeof(*header));
    fault = vgpu_answer_parse(copy, bytes, answer);
    free(copy);
    return fault;
}

static void test_good(void **state)
{
    struct vgpu_answer answer;
    VGPUResponse header = good_header();
    uint32_t buffer[12];

    memcpy(buffer, &header, sizeof(header));
    buffer[8] = 300;
    buffer[9] = 400;
    buffer[10] = buffer[11] = 5;
    assert_null(vgpu_answer_parse(buffer, sizeof(buffer), &answer));
    assert_int_equal(answer.result_count, 2);
    assert_int_equal(answer.results[0], 300);
    assert_int_equal(answer.results[1], 400);
    assert_int_equal(answer.data_bytes, 8);
    assert_ptr_equal(answer.data, &buffer[10]);
    assert_int_equal(answer.exec_time_us, 17);
    assert_int_equal(answer.status, 0);

    /* A newer minor version adds things and changes none. */
    buffer[0] = VGPU_PROTOCOL_VERSION + 5;
    assert_null(vgpu_answer_parse(buffer, sizeof(buffer), &answer));

    header = good_header();
    header.result_count = header.data_length = 0;
    header.data_offset = 0xFFFFFFFF; /* says nothing without a length */
    assert_null(parse(&header, sizeof(header), &answer));
    assert_null(answer.data);
}

static void test_bad(void **state)
{
    struct vgpu_answer answer;
    VGPUResponse header;
    size_t bytes;

    header = good_header();
    for (bytes = 0; bytes < 48; bytes++) {
        assert_non_null(parse(&header, bytes, &answer));
    }
    assert_null(parse(&header, 48, &answer));
    assert_null(parse(&header, VGPU_RESPONSE_BUFFER_BYTES, &answer));
    assert_non_null(parse(&header, VGPU_RESPONSE_BUFFER_BYTES + 1, &answer));

#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        header = good_header();                                                                    \
        header.field = (value);                                                                    \
        assert_non_null(parse(&header, 48, &answer));                                              \
        assert_null(answer.data);                                                                  \
    } while (0)
    REFUSED(version, 0);
    REFUSED(version, 0x00020000);
    REFUSED(version, 0xFFFFFFFF);
    REFUSED(result_count, 3); /* runs into the data */
    REFUSED(result_count, 5);
    REFUSED(result_count, 0x40000000);
    REFUSED(result_count, 0xFFFFFFFF);
    REFUSED(data_offset, 0);
    REFUSED(data_offset, 39);
    REFUSED(data_offset, 41);
    REFUSED(data_offset, 48);
    REFUSED(data_offset, 49);
    REFUSED(data_offset, 0xFFFFFFFC); /* plus the length: 4 */
    REFUSED(data_length, 9);
    REFUSED(data_length, 0xFFFFFFFF);
    REFUSED(data_length, 0xFFFFFFD8); /* plus the offset: 0 */
#undef REFUSED
}

/* splitmix64 */
static uint64_t next_random(uint64_t *random)
{
    uint64_t z = (*random += 0x9E3779B97F4A7C15u);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void test_noise(void **state)
{
    uint64_t random = 1;
    unsigned round, accepted = 0;

    for (round = 0; round < 200000; round++) {
        uint32_t words[12], i;
        size_t bytes = next_random(&random) % (sizeof(words) + 1);
        struct vgpu_answer answer;
        uint8_t *copy;

        for (i = 0; i < 12; i++) {
            uint64_t r = next_random(&random);

            /* Mostly small numbers: those that pass the first checks. */
            words[i] = r % 8 == 0 ? (uint32_t)(r >> 8) : r % 8 < 3 ? 0 : (uint32_t)(r >> 8) % 48;
        }
        words[0] = round % 8 ? VGPU_PROTOCOL_VERSION : words[0];
        copy = malloc(bytes ? bytes : 1);
        memcpy(copy, words, bytes);
        if (!vgpu_answer_parse(copy, bytes, &answer)) {
            const uint8_t *end = copy + bytes;
            volatile uint32_t sum = 0;

            accepted++;
            assert_true((const uint8_t *)(answer.results + answer.result_count) <= end);
            for (i = 0; i < answer.result_count; i++) {
                sum += answer.results[i];
            }
            for (i = 0; i < answer.data_bytes; i++) {
                sum += ((const uint8_t *)answer.data)[i];
            }
            assert_true(!answer.data ||
                        (const uint8_t *)answer.data >=
                            (const uint8_t *)(answer.results + answer.result_count));
            assert_true(!answer.data || (const uint8_t *)answer.data + answer.data_bytes <= end);
        }
        free(copy);
    }
    assert_true(accepted > 1000); /* else this tested nothing but the first check */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_noise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
