/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the metrics page may listen, and what is no address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <cmocka.h>

#include "mediator/base/http_address.h"

static void test_an_address_of_ip_4(void **state)
{
    struct http_address address;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address.storage;

    assert_int_equal(http_address_parse(&address, HTTP_METRICS_LISTEN_DEFAULT), 0);
    assert_false(address.off);
    assert_int_equal(address.length, sizeof(*v4));
    assert_int_equal(v4->sin_family, AF_INET);
    assert_int_equal(ntohs(v4->sin_port), 9477);
    assert_int_equal(ntohl(v4->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(http_address_parse(&address, "0.0.0.0:0"), 0);
    assert_int_equal(v4->sin_addr.s_addr, INADDR_ANY);
    assert_int_equal(v4->sin_port, 0);
}

static void test_an_address_of_ip_6_stands_in_brackets(void **state)
{
    struct http_address address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address.storage;

    assert_int_equal(http_address_parse(&address, "[::1]:65535"), 0);
    assert_int_equal(address.length, sizeof(*v6));
    assert_int_equal(v6->sin6_family, AF_INET6);
    assert_int_equal(ntohs(v6->sin6_port), 65535);
    assert_memory_equal(&v6->sin6_addr, &in6addr_loopback, sizeof(in6addr_loopback));
    /* The longest there is. */
    assert_int_equal(
        http_address_parse(&address, "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:1"), 0);
    assert_int_equal(http_address_parse(&address, "::1:9477"), -EINVAL);
}

static void test_off(void **state)
{
    struct http_address address;

    assert_int_equal(http_address_parse(&address, "off"), 0);
    assert_true(address.off);
    assert_int_equal(http_address_parse(&address, "127.0.0.1:1"), 0);
    assert_false(address.off);
    assert_int_equal(http_address_parse(&address, "OFF"), -EINVAL);
}

static void test_a_path(void **state)
{
    struct http_address address;

    assert_int_equal(http_address_parse(&address, "/run/vgpu/metrics.sock:1"), 0);
    assert_string_equal(address.path, "/run/vgpu/metrics.sock:1");
    assert_false(address.off);
    assert_int_equal(http_address_parse(&address, "127.0.0.1:1"), 0);
    assert_null(address.path);
}

static void test_what_is_no_address(void **state)
{
    static const char *const wrong[] = {
        "",
        ":",
        ":9477",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:99999",
        "127.0.0.1:100000",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1: 1",
        "127.0.0.1:1x",
        "127.0.0.1:0x10",
        "localhost:9477",
        "256.0.0.1:1",
        "1.2.3:1",
        "[]:1",
        "[:1",
        "[::1:1",
        "::1]:1",
        "[127.0.0.1]:1",
        "[::1]",
        "[::1]x:1",
        "9477",
        " 127.0.0.1:1",
        "run/metrics.sock",
    };
    struct http_address address;
    char text[512];

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (http_address_parse(&address, wrong[i]) != -EINVAL) {
            fail_msg("\"%s\" is taken for an address", wrong[i]);
        }
    }
    /* Longer than any address. */
    memset(text, '1', sizeof(text));
    strcpy(text + sizeof(text) - 3, ":1");
    assert_int_equal(http_address_parse(&address, text), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_address_of_ip_4),
        cmocka_unit_test(test_an_address_of_ip_6_stands_in_brackets),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_a_path),
        cmocka_unit_test(test_what_is_no_address),
    };

    return cmocka_run_group_tests_name("http_address", tests, NULL, NULL);
}
