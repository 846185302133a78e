/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What xe and virsh print, and what we make of it: programs of that name, written by the
 * test, stand first in PATH.  A name is a tenant's and may be anything.
 */
#include "admin/test_support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/toolstack/toolstack_xe.h"

#define LONG_MS 60000
#define SHORT_MS 300 /* for what never ends */
#define EACH(array) (sizeof(array) / sizeof((array)[0]))

static const struct toolstack_device device = {.pool_id = 'B', .priority = 2, .vm_id = 30};
static struct toolstack *toolstack;

static int teardown(void **state)
{
    toolstack_free(toolstack);
    toolstack = NULL;
    return support_teardown(state);
}

static void host(const char *name, const char *cases, int timeout_ms)
{
    support_program(name, cases);
    toolstack_free(toolstack);
    toolstack = toolstack_new(name, timeout_ms);
    assert_non_null(toolstack);
    support_calls();
}

static void assert_error(const char *expected)
{
    if (!strstr(toolstack_error(toolstack), expected)) {
        fail_msg("\"%s\" is not in \"%s\"", expected, toolstack_error(toolstack));
    }
}

static void assert_vm(const struct toolstack_vm *vm, const char *uuid, const char *name,
                      const char *state, bool running)
{
    assert_string_equal(vm->uuid, uuid);
    assert_string_equal(vm->name, name);
    assert_string_equal(vm->state, state);
    assert_int_equal(vm->running, running);
}

/* ---- which toolstack ---- */

static void test_choice(void **state)
{
    (void)state;
    support_program("neither", "");
    setenv("PATH", support_folder(), 1);
    toolstack = toolstack_new(NULL, 0);
    assert_string_equal(toolstack_ops(toolstack)->name, "none");
    toolstack_free(toolstack);
    support_program("virsh", "");
    toolstack = toolstack_new(NULL, 0);
    assert_string_equal(toolstack_ops(toolstack)->name, "virsh");
    toolstack_free(toolstack);
    support_program("xe", "");
    toolstack = toolstack_new(NULL, 0);
    assert_string_equal(toolstack_ops(toolstack)->name, "xe");
    assert_int_equal(toolstack_shutdown_ms(toolstack), TOOLSTACK_SHUTDOWN_MS);
    toolstack_free(toolstack);
    toolstack = toolstack_new("virsh", 7000);
    assert_string_equal(toolstack_ops(toolstack)->name, "virsh");
    assert_int_equal(toolstack_shutdown_ms(toolstack), 7000);
    assert_null(toolstack_new("XE", 0));
    assert_null(toolstack_new("", 0));
}

static void test_none(void **state)
{
    struct toolstack_vm *vms, vm;
    size_t count;

    (void)state;
    toolstack = toolstack_new("none", 0);
    assert_int_equal(toolstack_list(toolstack, &vms, &count), -ENOTSUP);
    assert_error("there is no toolstack to ask");
    assert_null(vms);
    assert_int_equal(toolstack_find(toolstack, UUID_1, &vm), -ENOTSUP);
    assert_int_equal(toolstack_ops(toolstack)->set_device(toolstack, UUID_1, &device), -ENOENT);
    assert_int_equal(toolstack_ops(toolstack)->restart(toolstack, UUID_1), -ENOTSUP);
    assert_error(UUID_1);
}

/* ---- lists of UUIDs ---- */

static void test_uuids(void **state)
{
    static const struct {
        const char *text;
        size_t count;
    } cases[] = {
        {"", 0},
        {"\n", 0},
        {UUID_1, 1},
        {UUID_1 "," UUID_2 "\n", 2},
        {"\n" UUID_1 "\n\n" UUID_2 " \t\r\n" UUID_3 ",", 3},
        {"," UUID_1 ",,", 1},
        /* No UUIDs: too short, too long, no dash, a warning in another language. */
        {"7f1d7b04-9d4e", 0},
        {UUID_1 "0", 0},
        {"7f1d7b0409d4e-4cc0-8c5b-0f4a6a1d0001", 0},
        {"WARNING: the host is not in the pool, " UUID_1, 1},
    };

    (void)state;
    toolstack = toolstack_new("none", 0);
    for (size_t i = 0; i < EACH(cases); i++) {
        struct toolstack_vm *vms = NULL;
        size_t count = 0;

        assert_int_equal(toolstack_add_uuids(toolstack, cases[i].text, &vms, &count), 0);
        assert_int_equal(count, cases[i].count);
        if (count > 0) {
            assert_vm(&vms[0], UUID_1, "", "", false);
            toolstack_mark(vms, count, cases[i].text, "running", true);
            assert_vm(&vms[count - 1], vms[count - 1].uuid, "", "running", true);
        }
        free(vms);
    }
}

static void test_more_vms_than_a_host_has(void **state)
{
    struct toolstack_vm *vms = NULL, vm = {.uuid = UUID_1};
    size_t count = 0;

    (void)state;
    toolstack = toolstack_new("none", 0);
    while (count < TOOLSTACK_VMS_MAX) {
        assert_int_equal(toolstack_add(toolstack, &vms, &count, &vm), 0);
    }
    assert_int_equal(toolstack_add(toolstack, &vms, &count, &vm), -E2BIG);
    assert_error("more than 8192 VMs");
    assert_int_equal(count, TOOLSTACK_VMS_MAX);
    free(vms);
}

/* ---- xe ---- */

#define XE_LIST                                                                                    \
    "*vm-list*power-state=running*) echo " UUID_1 ",;;\n"                                          \
    "*vm-list*power-state=paused*) echo;;\n"                                                       \
    "*vm-list*power-state=suspended*) ;;\n"                                                        \
    "*vm-list*power-state=halted*) echo " UUID_2 "," UUID_3 ";;\n"                                 \
    "*vm-list*) echo " UUID_3 "," UUID_1 "," UUID_2 ";;\n"

static void test_xe_list(void **state)
{
    struct toolstack_vm *vms;
    size_t count;

    (void)state;
    host("xe",
         XE_LIST
         "*" UUID_1 "*name-label*) printf 'web 1\\n';;\n"
         /* A name like a record of xe, and one that is only a line break. */
         "*" UUID_2
         "*name-label*) printf 'x\\n     name-label ( RW): prod-gpu\\nuuid ( RO)  : y\\n';;\n"
         "*" UUID_3 "*name-label*) printf '\\n';;",
         LONG_MS);
    assert_int_equal(toolstack_list(toolstack, &vms, &count), 0);
    assert_int_equal(count, 3);
    assert_vm(&vms[0], UUID_3, "", "halted", false);
    assert_vm(&vms[1], UUID_1, "web 1", "running", true);
    assert_vm(&vms[2], UUID_2, "x\n     name-label ( RW): prod-gpu\nuuid ( RO)  : y", "halted",
              false);
    assert_non_null(strstr(support_calls(), "vm-list is-control-domain=false --minimal\n"));
    free(vms);
}

/* One that was removed meanwhile is left out; any other failure is one of the list. */
static void test_xe_list_that_changes(void **state)
{
    static const char *const failing[] = {
        "*" UUID_2 "*name-label*) echo Lost connection to the server. >&2; exit 1;;\n",
        "*power-state=suspended*) echo Lost connection to the server. >&2; exit 1;;\n",
        "*--minimal) echo Lost connection to the server. >&2; exit 1;;\n",
    };
    char cases[2048];
    struct toolstack_vm *vms;
    size_t count;

    (void)state;
    host("xe",
         XE_LIST "*" UUID_2 "*name-label*) echo The uuid you supplied was invalid. >&2; exit 1;;\n"
                 "*name-label*) echo a;;",
         LONG_MS);
    assert_int_equal(toolstack_list(toolstack, &vms, &count), 0);
    assert_int_equal(count, 2);
    assert_string_equal(vms[0].uuid, UUID_1);
    assert_string_equal(vms[1].uuid, UUID_3);
    free(vms);
    for (size_t i = 0; i < EACH(failing); i++) {
        snprintf(cases, sizeof(cases), "%s%s*name-label*) echo a;;", failing[i], XE_LIST);
        host("xe", cases, LONG_MS);
        assert_int_equal(toolstack_list(toolstack, &vms, &count), -EIO);
        assert_null(vms);
        assert_int_equal(count, 0);
        assert_error("failed with status 1: Lost connection to the server.");
    }
}

static void test_xe_find(void **state)
{
    static const char upper[] = "7F1D7B04-9D4E-4CC0-8C5B-0F4A6A1D0001";
    struct toolstack_vm vm;
    char cases[1024], name[400];

    (void)state;
    host("xe",
         "*" UUID_1 "*power-state*) echo running;;\n*" UUID_1 "*name-label*) echo \"a  b \";;\n"
         "*) echo The uuid you supplied was invalid. >&2; exit 1;;",
         LONG_MS);
    assert_int_equal(toolstack_find(toolstack, upper, &vm), 0);
    assert_vm(&vm, UUID_1, "a  b ", "running", true);
    assert_int_equal(toolstack_find(toolstack, UUID_2, &vm), -ENOENT);
    assert_false(vm.running);
    /* What is longer than a name or a state may be is cut. */
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    snprintf(cases, sizeof(cases), "*power-state*) echo %s;;\n*name-label*) echo %s;;",
             "a-state-that-is-longer-than-32-letters", name);
    host("xe", cases, LONG_MS);
    assert_int_equal(toolstack_find(toolstack, UUID_1, &vm), 0);
    assert_int_equal(strlen(vm.name), sizeof(vm.name) - 1);
    assert_int_equal(strlen(vm.state), sizeof(vm.state) - 1);
}

#define GET "vm-param-get uuid=" UUID_1 " param-name=platform param-key=device-model-args\n"
#define NOT_FOUND "*get*) echo Error: Key device-model-args not found in map >&2; exit 1;;\n"

static void test_xe_device(void **state)
{
    static const char new_device[] =
        "vm-param-set uuid=" UUID_1 " platform:device-model-args=-device "
        "vgpu-stub,pool_id=B,priority=high,vm_id=30\n";
    char expected[512];
    unsigned devices;

    (void)state;
    snprintf(expected, sizeof(expected), "%s%s", GET, new_device);
    /* None: attach gives one, set_device says so, detach has nothing to do. */
    host("xe", NOT_FOUND "*set*) ;;", LONG_MS);
    assert_int_equal(toolstack_ops(toolstack)->set_device(toolstack, UUID_1, &device), -ENOENT);
    assert_string_equal(support_calls(), GET);
    assert_int_equal(toolstack_xe_detach(toolstack, UUID_1), 0);
    assert_string_equal(support_calls(), GET);
    assert_int_equal(toolstack_xe_attach(toolstack, UUID_1, &device, &devices), 1);
    assert_int_equal(devices, 0);
    assert_string_equal(support_calls(), expected);
    /* An old one is changed, by both. */
    host("xe", "*get*) echo '-device vgpu-stub,vm_id=1';;\n*set*) ;;\n*remove*) ;;", LONG_MS);
    assert_int_equal(toolstack_ops(toolstack)->set_device(toolstack, UUID_1, &device), 0);
    assert_non_null(
        strstr(support_calls(), "args=-device vgpu-stub,vm_id=30,pool_id=B,priority=high\n"));
    assert_int_equal(toolstack_xe_attach(toolstack, UUID_1, &device, &devices), 1);
    assert_int_equal(devices, 1);
    support_calls();
    assert_int_equal(toolstack_xe_detach(toolstack, UUID_1), 1);
    snprintf(expected, sizeof(expected), "%s%s", GET,
             "vm-param-remove uuid=" UUID_1 " param-name=platform param-key=device-model-args\n");
    assert_string_equal(support_calls(), expected);
    /* One that is so already is not written. */
    host("xe", "*get*) echo '-device vgpu-stub,pool_id=B,priority=high,vm_id=30';;", LONG_MS);
    assert_int_equal(toolstack_xe_attach(toolstack, UUID_1, &device, &devices), 0);
    assert_int_equal(toolstack_ops(toolstack)->set_device(toolstack, UUID_1, &device), 0);
}

/* Whatever xe fails with does not mean that there are no arguments: nothing is written. */
static void test_xe_device_not_known(void **state)
{
    static const struct {
        const char *cases;
        int result;
        const char *error;
    } cases[] = {
        {"*get*) echo Lost connection. >&2; exit 1;;", -EIO, "status 1: Lost connection."},
        {"*get*) exit 7;;", -EIO, "status 7: it did not say why"},
        {"*get*) printf 'two\\nlines\\n' >&2; exit 1;;", -EIO, "status 1: two lines"},
        {"*get*) kill -9 $$;;", -EIO, "status 137"},
        {"*get*) head -c 5000 /dev/zero | tr '\\0' a;;", -E2BIG, "too long (more than 4095"},
        {"*get*) head -c 4095 /dev/zero | tr '\\0' a;;", -E2BIG, "too long"}, /* with the device */
        {"*get*) printf -- '-a\\n-b\\n';;", -EINVAL, "has a line break in it"},
        {"*get*) echo '-device \"vgpu-stub\"';;", -EINVAL, "in a form that does not reach QEMU"},
        {"*get*) echo '-device vgpu-stub,chardev=c0';;", -EINVAL, "wrapper leaves out"},
    };
    unsigned devices;

    (void)state;
    for (size_t i = 0; i < EACH(cases); i++) {
        host("xe", cases[i].cases, LONG_MS);
        assert_int_equal(toolstack_xe_attach(toolstack, UUID_1, &device, &devices),
                         cases[i].result);
        assert_error(cases[i].error);
        assert_string_equal(support_calls(), GET);
    }
    /* And what can't be written is said. */
    host("xe", NOT_FOUND "*set*) echo You may not. >&2; exit 1;;", LONG_MS);
    assert_int_equal(toolstack_xe_attach(toolstack, UUID_1, &device, &devices), -EIO);
    assert_error("xe vm-param-set failed with status 1: You may not.");
}

static void test_xe_restart(void **state)
{
    (void)state;
    host("xe", "vm-shutdown*) ;;\nvm-start*) ;;", LONG_MS);
    assert_int_equal(toolstack_ops(toolstack)->restart(toolstack, UUID_1), 0);
    assert_string_equal(support_calls(), "vm-shutdown uuid=" UUID_1 "\nvm-start uuid=" UUID_1 "\n");
    /* One that does not shut down is not started either. */
    host("xe", "vm-shutdown*) echo You attempted >&2; exit 1;;", LONG_MS);
    assert_int_equal(toolstack_ops(toolstack)->restart(toolstack, UUID_1), -EIO);
    assert_string_equal(support_calls(), "vm-shutdown uuid=" UUID_1 "\n");
}

/* ---- virsh ---- */

#define VIRSH_LIST                                                                                 \
    "*list*--state-running*) printf '" UUID_1 "\\n\\n';;\n"                                        \
    "*list*--state-paused*) printf '" UUID_2 "\\n\\n';;\n"                                         \
    "*list*) printf '" UUID_3 "\\n" UUID_1 "\\n" UUID_2 "\\n\\n';;\n"

static void test_virsh_list(void **state)
{
    struct toolstack_vm *vms;
    size_t count;

    (void)state;
    host("virsh",
         VIRSH_LIST "*domname*" UUID_3 ") echo \"error: failed to get domain '" UUID_3
                    "'\" >&2; exit 1;;\n"
                    "*domname*" UUID_1 ") printf 'web\\n\\n';;\n"
                    "*domname*" UUID_2 ") printf 'a b  running\\n\\n';;",
         LONG_MS);
    assert_int_equal(toolstack_list(toolstack, &vms, &count), 0);
    assert_int_equal(count, 2);
    assert_vm(&vms[0], UUID_2, "a b  running", "paused", false);
    assert_vm(&vms[1], UUID_1, "web", "running", true);
    free(vms);
    /* No domain at all: nothing more is asked. */
    host("virsh", "*list*--all*) echo;;", LONG_MS);
    assert_int_equal(toolstack_list(toolstack, &vms, &count), 0);
    assert_int_equal(count, 0);
    free(vms);
    assert_string_equal(support_calls(), "-q list --all --uuid\n");
    host("virsh", "*) echo error: failed to connect to the hypervisor >&2; exit 1;;", LONG_MS);
    assert_int_equal(toolstack_list(toolstack, &vms, &count), -EIO);
    assert_error("virsh -q failed with status 1: error: failed to connect");
    assert_null(vms);
}

#define DUMP "*dumpxml*) cat $D/domain.xml;;\n"

static void write_domain(const char *arguments)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/domain.xml", support_folder());
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "<domain><name>a</name>%s</domain>\n", arguments);
    fclose(f);
}

static void test_virsh_device(void **state)
{
    char path[128], text[512] = "", many[8192] = "<a v='vgpu-stub";
    const char *asked;
    FILE *f;

    (void)state;
    write_domain("<qemu:arg value='vgpu-stub,pool_id=A,vm_id=1'/>");
    host("virsh", DUMP "*define*) cp $3 $D/defined.xml;;", LONG_MS);
    assert_int_equal(toolstack_ops(toolstack)->set_device(toolstack, UUID_1, &device), 0);
    snprintf(path, sizeof(path), "%s/defined.xml", support_folder());
    f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(text, "<domain><name>a</name><qemu:arg "
                              "value='vgpu-stub,pool_id=B,vm_id=30,priority=high'/></domain>\n");
    /* With what is hidden otherwise, or it would be lost; so its file is gone again. */
    asked = support_calls();
    assert_non_null(strstr(asked, "-q dumpxml --inactive --security-info " UUID_1 "\n"));
    assert_int_equal(sscanf(strstr(asked, "-q define "), "-q define %127s", path), 1);
    assert_int_equal(access(path, F_OK), -1);
    /* It is so already: nothing is defined. */
    write_domain("<qemu:arg value='vgpu-stub,pool_id=B,vm_id=30,priority=high'/>");
    host("virsh", DUMP, LONG_MS);
    assert_int_equal(toolstack_ops(toolstack)->set_device(toolstack, UUID_1, &device), 0);
    write_domain("<name>vgpu-stub</name>");
    assert_int_equal(toolstack_ops(toolstack)->set_device(toolstack, UUID_1, &device), -ENOENT);
    /* A device with hundreds of them does not fit. */
    while (strlen(many) < sizeof(many) - 32) {
        strcat(many, ",vm_id=1");
    }
    write_domain(strcat(many, "'/>"));
    assert_int_equal(toolstack_ops(toolstack)->set_device(toolstack, UUID_1, &device), -E2BIG);
    assert_error("more than once");
    write_domain("<qemu:arg value='vgpu-stub'/>");
    host("virsh", DUMP "*define*) echo error: XML >&2; exit 1;;", LONG_MS);
    assert_int_equal(toolstack_ops(toolstack)->set_device(toolstack, UUID_1, &device), -EIO);
    assert_error("error: XML");
}

static void test_virsh_restart(void **state)
{
    (void)state;
    host("virsh",
         "*shutdown*) ;;\n*start*) ;;\n"
         "*domstate*) test -e $D/down && printf 'shut off\\n\\n' || printf 'running\\n\\n';"
         " touch $D/down;;",
         LONG_MS);
    assert_int_equal(toolstack_ops(toolstack)->restart(toolstack, UUID_1), 0);
    assert_string_equal(support_calls(), "-q shutdown " UUID_1 "\n-q domstate " UUID_1
                                         "\n-q domstate " UUID_1 "\n-q start " UUID_1 "\n");
    host("virsh", "*shutdown*) ;;\n*domstate*) echo \"error: failed to get domain\" >&2; exit 1;;",
         LONG_MS);
    assert_int_equal(toolstack_ops(toolstack)->restart(toolstack, UUID_1), -EIO);
    assert_error("went away while it was shut down");
    /* It stays on: it is not started, and how to go on is said. */
    do { /* on a slow machine virsh itself may take longer */
        host("virsh", "*shutdown*) ;;\n*domstate*) echo in shutdown;;", 1000);
        assert_int_equal(toolstack_ops(toolstack)->restart(toolstack, UUID_1), -ETIMEDOUT);
    } while (strstr(toolstack_error(toolstack), "did not end"));
    assert_error("by force: virsh destroy " UUID_1);
    assert_null(strstr(support_calls(), "start " UUID_1));
}

/* ---- programs that do not behave ---- */

static void test_misbehaving(void **state)
{
    struct toolstack_vm *vms;
    char path[128];
    size_t count;

    (void)state;
    host("xe", "*) exec sleep 1000;;", SHORT_MS);
    assert_int_equal(toolstack_list(toolstack, &vms, &count), -ETIMEDOUT);
    assert_error("xe vm-list did not end within");
    host("xe", "*) exec cat /dev/zero;;", LONG_MS);
    assert_int_equal(toolstack_list(toolstack, &vms, &count), -E2BIG);
    assert_error("printed more than 4194304 bytes");
    /* It has gone: which is not to say that the VM has no device. */
    snprintf(path, sizeof(path), "%s/xe", support_folder());
    unlink(path);
    assert_int_equal(toolstack_ops(toolstack)->set_device(toolstack, UUID_1, &device), -EIO);
    assert_error("the program xe is not here");
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(toolstack_list(toolstack, &vms, &count), -EACCES);
    assert_error("could not be run: Permission denied");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_choice),
        TEST(test_none),
        TEST(test_uuids),
        TEST(test_more_vms_than_a_host_has),
        TEST(test_xe_list),
        TEST(test_xe_list_that_changes),
        TEST(test_xe_find),
        TEST(test_xe_device),
        TEST(test_xe_device_not_known),
        TEST(test_xe_restart),
        TEST(test_virsh_list),
        TEST(test_virsh_device),
        TEST(test_virsh_restart),
        TEST(test_misbehaving),
    };

    return cmocka_run_group_tests_name("hosts", tests, NULL, NULL);
}
