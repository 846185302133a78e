/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mediator/identity/qemu_cmdline.h"

/* `text` has '|' where arguments end. */
static struct qemu_cmdline parse(const char *text)
{
    size_t length = strlen(text);
    /* On the heap and exact, so that a read past the end is seen. */
    char *bytes = malloc(length + 1);
    struct qemu_cmdline cmdline;

    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++) {
        bytes[i] = text[i];
        if (text[i] == '|') {
            bytes[i] = '\0';
        }
    }
    qemu_cmdline_parse(&cmdline, bytes, length);
    free(bytes);
    return cmdline;
}

static void test_usual(void **state)
{
    struct qemu_cmdline c =
        parse("qemu-system-x86_64|-uuid|01234567-89AB-cdef-0123-456789abcdef|-name|"
              "guest=web server,debug-threads=on|-device|e1000,id=n|-device|"
              "vgpu-stub,pool_id=A,vm_id=12,id=g|");
    char uuid[UUID_TEXT_BYTES];

    assert_true(c.has_uuid);
    uuid_format(c.uuid, uuid);
    assert_string_equal(uuid, "01234567-89ab-cdef-0123-456789abcdef");
    assert_string_equal(c.name, "web server");
    assert_int_equal(c.stub_count, 1);
    assert_true(c.stubs[0].has_vm_id);
    assert_int_equal(c.stubs[0].vm_id, 12);
    assert_string_equal(c.stubs[0].chardev, "");
}

static void test_no_stub(void **state)
{
    assert_int_equal(parse("").stub_count, 0);
    assert_int_equal(parse("|||").stub_count, 0);
    assert_int_equal(parse("vim|vgpu-stub.c|").stub_count, 0);
    assert_int_equal(parse("qemu|-device|vgpu-stub2|").stub_count, 0);
    assert_int_equal(parse("qemu|-device|e1000,id=vgpu-stub|").stub_count, 0);
    assert_int_equal(parse("qemu|-name|vgpu-stub|-device|").stub_count, 0);
    /* Cut off in the middle: the last argument is not whole. */
    assert_int_equal(parse("qemu|-device|vgpu-stub").stub_count, 0);
}

static void test_spellings(void **state)
{
    assert_int_equal(parse("q|--device|vgpu-stub|").stub_count, 1);
    assert_int_equal(parse("q|-device|driver=vgpu-stub,vm_id=3|").stubs[0].vm_id, 3);
    assert_int_equal(parse("q|-device|vgpu-stub,vm_id=0x10|").stubs[0].vm_id, 16);
    assert_int_equal(parse("q|-device|{\"driver\":\"vgpu-stub\",\"vm_id\":5}|").stubs[0].vm_id, 5);
    assert_string_equal(parse("q|-name|plain|-device|vgpu-stub|").name, "plain");
    assert_true(parse("q|-xen-domid|12|-device|vgpu-stub|").has_xen_domid);
    assert_int_equal(parse("q|-xen-domid|12|-device|vgpu-stub|").xen_domid, 12);
    assert_false(parse("q|-xen-domid|x|-device|vgpu-stub|").has_xen_domid);
    assert_false(parse("q|-xen-domid-restrict|-device|vgpu-stub|").has_xen_domid);
    assert_string_equal(parse("q|-name|guest=a,,b,process=x|-device|vgpu-stub|").name, "a,b");
}

static void test_numbers_that_are_none(void **state)
{
    static const char *const texts[] = {
        "q|-device|vgpu-stub,vm_id=|",
        "q|-device|vgpu-stub,vm_id=-1|",
        "q|-device|vgpu-stub,vm_id=4294967296|",
        "q|-device|vgpu-stub,vm_id=1x|",
        "q|-device|{\"driver\":\"vgpu-stub\",\"vm_id\":-1}|",
        "q|-device|{\"driver\":\"vgpu-stub\",\"vm_id\":\"7\"}|",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct qemu_cmdline c = parse(texts[i]);

        assert_int_equal(c.stub_count, 1);
        assert_false(c.stubs[0].has_vm_id);
    }
    assert_int_equal(parse("q|-device|{\"driver\":\"vgpu-stub\"|").stub_count, 0);
}

static void test_wrong_uuid(void **state)
{
    assert_false(parse("q|-uuid|0123|-device|vgpu-stub|").has_uuid);
    assert_false(parse("q|-uuid|01234567-89ab-cdef-0123-456789abcdeg|").has_uuid);
    assert_false(parse("q|-uuid|01234567-89ab-cdef-0123-456789abcdef0|").has_uuid);
    assert_false(parse("q|-uuid|").has_uuid);
}

static void test_chardevs(void **state)
{
    struct qemu_cmdline c =
        parse("q|-chardev|socket,id=a,path=/run/a.sock,reconnect=1|-chardev|stdio,id=b|"
              "-device|vgpu-stub,chardev=a,vm_id=1|-device|vgpu-stub,chardev=b,vm_id=2|"
              "-device|vgpu-stub,chardev=missing|");

    assert_int_equal(c.stub_count, 3);
    assert_string_equal(c.stubs[0].path, "/run/a.sock");
    assert_string_equal(c.stubs[1].path, "");
    assert_string_equal(c.stubs[2].chardev, "missing");
    assert_string_equal(c.stubs[2].path, "");
}

static void test_too_much(void **state)
{
    char text[8192] = "q|";
    char long_name[600];

    for (unsigned i = 0; i < 40; i++) {
        strcat(text, "-device|vgpu-stub,vm_id=1|");
    }
    assert_int_equal(parse(text).stub_count, QEMU_STUBS_MAX);

    memset(long_name, 'n', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    snprintf(text, sizeof(text), "q|-name|%s|-chardev|socket,id=%s,path=%s|-device|vgpu-stub|",
             long_name, long_name, long_name);
    assert_int_equal(parse(text).stub_count, 1);
    snprintf(text, sizeof(text), "q|-device|vgpu-stub,x=%s,vm_id=4|", long_name);
    assert_int_equal(parse(text).stubs[0].vm_id, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usual),      cmocka_unit_test(test_no_stub),
        cmocka_unit_test(test_spellings),  cmocka_unit_test(test_numbers_that_are_none),
        cmocka_unit_test(test_wrong_uuid), cmocka_unit_test(test_chardevs),
        cmocka_unit_test(test_too_much),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
