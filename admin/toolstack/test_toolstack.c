/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device in a VM's configuration: XCP-ng's arguments, libvirt's XML. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "admin/toolstack/toolstack_args.h"
#include "admin/toolstack/toolstack_device.h"

static const struct toolstack_device device = {.pool_id = 'B', .priority = 2, .vm_id = 30};

#define NEW "-device vgpu-stub,pool_id=B,priority=high,vm_id=30"

static void test_args(void **state)
{
    static const struct {
        const char *text, *with, *without;
        unsigned devices;
    } cases[] = {
        {"", NEW, "", 0},
        {"-m 4", "-m 4 " NEW, "-m 4", 0},
        {"-m  4 ", "-m  4 " NEW, "-m  4 ", 0},
        {"-device vgpu-stub", NEW, "", 1},
        {" -device\tvgpu-stub ", " -device\tvgpu-stub,pool_id=B,priority=high,vm_id=30 ", "", 1},
        {"-device vgpu-stub,pool_id=A,priority=low,vm_id=1", NEW, "", 1},
        {"-a 'b  c' -device vgpu-stub,vm_id=1,x=y,priority=0 -m 4",
         "-a 'b  c' -device vgpu-stub,vm_id=30,x=y,priority=2,pool_id=B -m 4", "-a 'b  c' -m 4", 1},
        /* Two become one, in the place of the first. */
        {"-a -device vgpu-stub,x=1 -b\n-device vgpu-stub,vm_id=2  -c",
         "-a -device vgpu-stub,x=1,pool_id=B,priority=high,vm_id=30 -b  -c", "-a -b  -c", 2},
        /* Only the pair counts. */
        {"-name vgpu-stub,x", "-name vgpu-stub,x " NEW, "-name vgpu-stub,x", 0},
        {"vgpu-stub", "vgpu-stub " NEW, "vgpu-stub", 0},
        {"-device other,id=vgpu-stub", "-device other,id=vgpu-stub " NEW,
         "-device other,id=vgpu-stub", 0},
        {"-device vgpu-stub2 -device", "-device vgpu-stub2 -device " NEW,
         "-device vgpu-stub2 -device", 0},
        {"-a -device\x1fvgpu-stub", "-a -device\x1fvgpu-stub,pool_id=B,priority=high,vm_id=30",
         "-a", 1},
        {"-device -device vgpu-stub", "-device " NEW, "-device", 1},
        {"-devices vgpu-stub", "-devices vgpu-stub " NEW, "-devices vgpu-stub", 0},
        {"-device x,driver=vgpu-stub2", "-device x,driver=vgpu-stub2 " NEW,
         "-device x,driver=vgpu-stub2", 0},
        /* A comma in a value is written twice. */
        {"-device vgpu-stub,x=a,,vm_id=7,vm_id=1",
         "-device vgpu-stub,x=a,,vm_id=7,vm_id=30,pool_id=B,priority=high", "", 1},
    };
    struct toolstack_args found;
    char out[256];

    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        toolstack_args_read(cases[c].text, &found);
        assert_int_equal(found.devices, cases[c].devices);
        assert_string_equal(found.refused, "");
        assert_int_equal(toolstack_args_write(cases[c].text, &device, out, sizeof(out)), 0);
        assert_string_equal(out, cases[c].with);
        assert_int_equal(toolstack_args_write(cases[c].text, NULL, out, sizeof(out)), 0);
        assert_string_equal(out, cases[c].without);
    }
}

static void test_args_refused(void **state)
{
    static const struct {
        const char *text, *refused;
    } cases[] = {
        {"-a -device 'vgpu-stub,vm_id=1' -b", "-device 'vgpu-stub,vm_id=1'"},
        {"-device \"vgpu-stub\"", "-device \"vgpu-stub\""},
        {"'-device' vgpu-stub", "'-device' vgpu-stub"},
        {"\"-device vgpu-stub,vm_id=1\"", "\"-device vgpu-stub,vm_id=1\""},
        {"-device vgpu-stub,x='a b'", "-device vgpu-stub,x='a"},
        {"-device vgpu\\-stub", "-device vgpu\\-stub"},
        {"-device driver=vgpu-stub,vm_id=1", "-device driver=vgpu-stub,vm_id=1"},
        {"-device vm_id=1,driver=vgpu-stub", "-device vm_id=1,driver=vgpu-stub"},
        {"--device vgpu-stub", "--device vgpu-stub"},
        {"-device {\"driver\":\"vgpu-stub\"}", "-device {\"driver\":\"vgpu-stub\"}"},
        {"-device '{\"driver\": \"vgpu-stub\"}'", "-device '{\"driver\":"},
    };
    struct toolstack_args found;
    char text[TOOLSTACK_ARGS_BYTES];

    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        toolstack_args_read(cases[c].text, &found);
        assert_int_equal(found.devices, 0);
        assert_string_equal(found.refused, cases[c].refused);
    }
    toolstack_args_read("-device {\"driver\":\"e1000\"} -name vgpu-stub", &found);
    assert_string_equal(found.refused, "");
    /* As long as can be. */
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memcpy(text, "-device 'vgpu-stub,", strlen("-device 'vgpu-stub,"));
    toolstack_args_read(text, &found);
    assert_int_equal(strlen(found.refused), TOOLSTACK_REFUSED_BYTES - 1);
}

static void test_args_left_out(void **state)
{
    static const struct {
        const char *text;
        int left_out;
    } cases[] = {
        {"-device vgpu-stub", 0},
        {"-device vgpu-stub,vm_id=1,priority=low,pool_id=A,wait-mediator=on -x", 0},
        {"-device vgpu-stub,romfile=/etc/shadow", 1},
        {"-device vgpu-stub,chardev=c0", 1},
        {"-device vgpu-stub,vm_id=1,", 1},
        {"-device vgpu-stub,wait-mediator", 1},
        {"-device vgpu-stub,vm_id= -x", 1},
        {"-device vgpu-stub,vm_id=a.b", 1},
        /* The first is the one that stays. */
        {"-device vgpu-stub,vm_id=1 -device vgpu-stub,chardev=c0", 0},
        {"-device vgpu-stub,chardev=c0 -device vgpu-stub,vm_id=1", 1},
    };
    struct toolstack_args found;

    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        toolstack_args_read(cases[c].text, &found);
        assert_int_equal(found.left_out[0] != '\0', cases[c].left_out);
    }
}

static void test_args_room(void **state)
{
    static const char *const texts[] = {"", "-a", "-a -device vgpu-stub,vm_id=1 -b"};
    char whole[256];

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(toolstack_args_write(texts[i], &device, whole, sizeof(whole)), 0);
        for (size_t room = 1; room <= strlen(whole) + 1; room++) {
            char *out = malloc(room); /* for the sanitizer */
            assert_non_null(out);
            assert_int_equal(toolstack_args_write(texts[i], &device, out, room),
                             room > strlen(whole) ? 0 : -E2BIG);
            free(out);
        }
    }
}

static void test_xml(void **state)
{
    size_t length;

    static const struct {
        const char *text, *expected; /* NULL: there is no device */
    } cases[] = {
        {"<a v='vgpu-stub,pool_id=A,addr=5'/><b>,pool_id=A</b>",
         "<a v='vgpu-stub,pool_id=B,addr=5,priority=high,vm_id=30'/><b>,pool_id=A</b>"},
        {"<a v=\"driver=vgpu-stub,priority=0\"/>",
         "<a v=\"driver=vgpu-stub,priority=2,pool_id=B,vm_id=30\"/>"},
        {"<name>vgpu-stub</name><a v='vgpu-stub'/>",
         "<name>vgpu-stub</name><a v='vgpu-stub,pool_id=B,priority=high,vm_id=30'/>"},
        {"<a v='/x/vgpu-stub'/><a v='my-vgpu-stub'/><a v='vgpu-stub2'/>", NULL},
        {"vgpu-stub", NULL},
        {"", NULL},
    };
    char out[256];

    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        int result = toolstack_device_rewrite_xml(cases[c].text, &device, out, sizeof(out));
        assert_int_equal(result, cases[c].expected ? 0 : -ENOENT);
        if (cases[c].expected) {
            assert_string_equal(out, cases[c].expected);
        }
    }
    length = strlen(cases[0].expected);
    assert_int_equal(toolstack_device_rewrite_xml(cases[0].text, &device, out, length), -E2BIG);
    assert_int_equal(toolstack_device_rewrite_xml(cases[0].text, &device, out, length + 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_args),          cmocka_unit_test(test_args_refused),
        cmocka_unit_test(test_args_left_out), cmocka_unit_test(test_args_room),
        cmocka_unit_test(test_xml),
    };

    return cmocka_run_group_tests_name("toolstack", tests, NULL, NULL);
}
