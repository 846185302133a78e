/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "common/json_out.h"
#include "common/uuid.h"

static void test_json(void **state)
{
    static const char nasty[] = "a\"b\\c\n\x01\x7f \xc2\x80 \xc2\x9b \xc2\xa0 \xc3\xa4 \xff\xc3 "
                                "\xed\xa0\x80 \xf0\x9f\x98\x80";
    struct json_out json;
    json_t *parsed, *list;

    jout_init(&json, 1 << 20);
    jout_object(&json, NULL);
    jout_uint(&json, "most", UINT64_MAX / 2);
    jout_uint(&json, "zero", 0);
    jout_int(&json, "least", INT64_MIN);
    jout_double(&json, "half", 0.5);
    jout_double(&json, "infinite", (double)INFINITY);
    jout_bool(&json, "yes", true);
    jout_null(&json, "none");
    jout_string(&json, "nasty", nasty);
    jout_array(&json, "list");
    for (unsigned i = 0; i < 1000; i++) {
        jout_object(&json, NULL);
        jout_uint(&json, "i", i);
        jout_object_end(&json);
    }
    jout_array_end(&json);
    jout_array(&json, "empty");
    jout_array_end(&json);
    jout_object_end(&json);
    assert_false(json.failed);
    assert_int_equal(strlen(json.text), json.length);

    parsed = json_loads(json.text, 0, NULL);
    assert_non_null(parsed);
    assert_true(json_integer_value(json_object_get(parsed, "most")) == INT64_MAX);
    assert_true(json_integer_value(json_object_get(parsed, "least")) == INT64_MIN);
    assert_true(json_real_value(json_object_get(parsed, "half")) == 0.5);
    assert_true(json_is_null(json_object_get(parsed, "infinite")));
    assert_string_equal(json_string_value(json_object_get(parsed, "nasty")),
                        "a\"b\\c\n\x01\x7f \xc2\x80 \xc2\x9b \xc2\xa0 \xc3\xa4 ?? ??? "
                        "\xf0\x9f\x98\x80");
    assert_non_null(strstr(json.text, "\\u000a\\u0001\\u007f \\u0080 \\u009b \xc2\xa0 \xc3\xa4 "));
    list = json_object_get(parsed, "list");
    assert_int_equal(json_array_size(list), 1000);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 999), "i")), 999);
    assert_int_equal(json_array_size(json_object_get(parsed, "empty")), 0);
    json_decref(parsed);
    jout_destroy(&json);
}

static void test_json_is_bounded(void **state)
{
    struct json_out json;

    jout_init(&json, 5000);
    for (unsigned i = 0; i < 10000; i++) {
        jout_string(&json, NULL, "text");
        assert_true(json.length <= 5000);
    }
    assert_true(json.failed);
    jout_destroy(&json);
}

static void test_the_callers_buffer(void **state)
{
    char buffer[16];
    struct json_out json;

    memset(buffer, 'x', sizeof(buffer));
    jout_init_fixed(&json, buffer, 13);
    jout_array(&json, NULL);
    jout_uint(&json, NULL, 12345);
    jout_string(&json, NULL, "ab");
    jout_array_end(&json);
    assert_false(json.failed);
    assert_string_equal(buffer, "[12345,\"ab\"]"); /* 12 bytes and the NUL */
    jout_bytes(&json, "!", 1);
    assert_true(json.failed);
    assert_string_equal(buffer, "[12345,\"ab\"]");
    assert_memory_equal(buffer + 13, "xxx", 3);
    jout_destroy(&json);
}

static void test_numbers(void **state)
{
    static const struct {
        double value;
        const char *text;
    } doubles[] = {
        {0, "0"},
        {85899345920.0, "85899345920"},
        {999999999999999.0, "999999999999999"},
        {1e15, "1e+15"},
        {0.1, "0.1"},
        {-3, "-3"},
        {-1e-9, "-1e-09"},
        {NAN, "null"},
        {(double)-INFINITY, "null"},
    };
    static const struct {
        int64_t value;
        const char *text;
    } whole[] = {
        {0, "0"},
        {-1, "-1"},
        {INT64_MIN, "-9223372036854775808"},
        {INT64_MAX, "9223372036854775807"},
    };
    struct json_out json;
    char buffer[40];

    for (size_t i = 0; i < sizeof(doubles) / sizeof(doubles[0]); i++) {
        jout_init_fixed(&json, buffer, sizeof(buffer));
        jout_double(&json, NULL, doubles[i].value);
        assert_string_equal(buffer, doubles[i].text);
    }
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        jout_init_fixed(&json, buffer, sizeof(buffer));
        jout_int(&json, NULL, whole[i].value);
        assert_string_equal(buffer, whole[i].text);
    }
}

static void test_what_is_not_known(void **state)
{
    static const uint8_t uuid[UUID_BYTES] = {0x7f, 0x1d, [15] = 0x42};
    struct json_out json;

    jout_init(&json, 4096);
    jout_object(&json, NULL);
    jout_string(&json, "text", NULL);
    jout_uint_if(&json, "known", true, 7);
    jout_uint_if(&json, "unknown", false, 7);
    jout_uuid(&json, "uuid", uuid);
    jout_uuid(&json, "nobody", NULL);
    jout_object_end(&json);
    assert_string_equal(json.text, "{\"text\":null,\"known\":7,\"unknown\":null,"
                                   "\"uuid\":\"7f1d0000-0000-0000-0000-000000000042\","
                                   "\"nobody\":null}");
    jout_destroy(&json);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_known), cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_is_bounded),   cmocka_unit_test(test_the_callers_buffer),
        cmocka_unit_test(test_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
