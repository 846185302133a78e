/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A change of a VM whose device can't be told: the mediator says that it needs a restart,
 * and the toolstack's program, written by the test, does it or does not.
 */
#include "admin/test_support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/base/json_get.h"
#include "vgpu/vgpu_admin.h"

#define OTHER_UUID "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0009"
#define CHANGE "set-pool --vm-id=1 --pool=B"

static const char status_of_two[] =
    "{\"vms\": [7, {}, {\"vm_id\": 2, \"device\": {\"vm_id\": 2, \"pool\": \"X\"}},"
    " {\"vm_id\": 1, \"device\": {\"vm_id\": 9, \"pool\": \"Z\", \"priority\": 0}}]}";

static void vm_that_needs_a_restart(const char *toolstack, const char *cases, const char *status)
{
    static struct support_answer answers[3];
    static const struct support_case vms[] = {
        {"init-db", 0, NULL, NULL},
        {"register-vm --vm-name=web_1 --vm-uuid=" UUID_1, 0, NULL, NULL},
        {"register-vm --vm-name=batch --vm-uuid=" UUID_2, 0, NULL, NULL},
        {NULL},
    };

    answers[0] = (struct support_answer){VGPU_ADMIN_RELOAD_CONFIG, 0,
                                         "{\"changed\": 1, \"restart_needed\": [1]}"};
    answers[1] =
        (struct support_answer){VGPU_ADMIN_SHOW_STATUS, status ? 0 : EIO, status ? status : "{}"};
    answers[2] = (struct support_answer){0, 0, NULL};
    support_table(vms);
    support_mediator(answers);
    setenv("VGPU_TOOLSTACK", toolstack, 1);
    if (cases) {
        support_program(toolstack, cases);
    }
    support_calls();
}

#define XE                                                                                         \
    "vm-param-get*platform*) echo '-device vgpu-stub,vm_id=9';;\nvm-param-set*) ;;\n"              \
    "vm-shutdown*) ;;\nvm-start*) ;;"

static void test_restarted(void **state)
{
    const char *asked;
    json_t *document;

    (void)state;
    vm_that_needs_a_restart("xe", XE, status_of_two);
    support_expect("--yes " CHANGE, 0, "The device of web 1 (vm_id 1) is too old", "");
    assert_non_null(strstr(printed.out, "(shut down and started, or rebooted).\n"));
    assert_non_null(strstr(printed.out, "pool      Z           B\n"));
    assert_non_null(strstr(printed.out, "priority  low         medium\n"));
    assert_non_null(strstr(printed.out, "vm_id     9           1\n"));
    assert_non_null(strstr(printed.out, "web 1 (vm_id 1) was restarted.\n"));
    /* First what it is to get, then the restart. */
    asked = support_calls();
    assert_non_null(strstr(asked, "vgpu-stub,vm_id=1,pool_id=B,priority=medium\n"
                                  "vm-shutdown uuid=" UUID_1 "\nvm-start uuid=" UUID_1 "\n"));
    document = support_json("--yes set-priority --vm-id=1 --priority=high");
    assert_true(json_get_bool(document, "restart_needed") && json_get_bool(document, "restarted"));
    assert_string_equal(json_get_text(document, "mediator", ""), "applied");
    json_decref(document);
}

/* Nobody may be asked: nothing is restarted, and how to is said, for each toolstack. */
static void test_not_restarted(void **state)
{
    const char *asked;
    json_t *document;

    (void)state;
    vm_that_needs_a_restart("xe", XE, status_of_two);
    support_expect(CHANGE, 0, "pool A -> B",
                   "web 1 (vm_id 1) was not restarted: the database has pool B, priority medium, "
                   "vm_id 1, and its device shows pool Z, priority low, vm_id 9 until it is: xe "
                   "vm-shutdown uuid=" UUID_1 " && xe vm-start uuid=" UUID_1
                   " (or the same command with --yes). vgpu-admin status reminds of it");
    asked = support_calls();
    assert_non_null(strstr(asked, "vm-param-set"));
    assert_null(strstr(asked, "vm-shutdown"));
    document = support_json("set-pool --vm-id=1 --pool=A");
    assert_true(json_get_bool(document, "restart_needed"));
    assert_false(json_get_bool(document, "restarted"));
    assert_int_equal(json_array_size(json_object_get(document, "notes")), 1);
    json_decref(document);
}

static void test_without_toolstack(void **state)
{
    (void)state;
    vm_that_needs_a_restart("none", NULL, status_of_two);
    support_expect("--yes " CHANGE, 0, "a reboot inside the guest is not enough",
                   "until it is: shut down VM " UUID_1 " and start it again. vgpu-admin status");
}

/* An old mediator, or one that fails, does not say what the device shows: what it had then. */
static void test_what_the_device_shows(void **state)
{
    static const char *const answers[] = {
        NULL,
        "{}",
        "{\"vms\": 7}",
        "{\"vms\": [{\"vm_id\": 1}]}",
        "{\"vms\": [{\"vm_id\": 1, \"device\": null}, {\"device\": {\"vm_id\": 9}}]}",
    };

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        if (i > 0) {
            support_teardown(state);
            support_setup(state);
        }
        vm_that_needs_a_restart("none", NULL, answers[i]);
        support_expect(CHANGE, 0, NULL, "its device shows pool A, priority medium, vm_id 1 until");
    }
}

/* ---- the toolstack fails: the change is saved all the same ---- */

static void test_failing_toolstack(void **state)
{
    static const struct {
        const char *cases, *err;
    } fails[] = {
        {"vm-param-get*) echo Lost connection. >&2; exit 1;;",
         "the change is saved, but the VM's configuration could not be changed: xe vm-param-get "
         "failed with status 1: Lost connection."},
        {"vm-param-get*) echo '-device vgpu-stub';;\nvm-param-set*) ;;\n"
         "vm-shutdown*) echo It hangs. >&2; exit 1;;",
         "the change is saved, but the VM could not be restarted: xe vm-shutdown failed with "
         "status 1: It hangs."},
    };
    json_t *document;

    for (size_t i = 0; i < sizeof(fails) / sizeof(fails[0]); i++) {
        if (i > 0) {
            support_teardown(state);
            support_setup(state);
        }
        vm_that_needs_a_restart("xe", fails[i].cases, status_of_two);
        support_expect("--yes " CHANGE, 1, "pool A -> B", fails[i].err);
        support_expect("show-vm --vm-id=1", 0, "Pool               B\n", NULL);
        document = support_json("--yes set-pool --vm-id=1 --pool=A");
        assert_int_equal(printed.status, 1);
        assert_non_null(strstr(json_get_text(document, "error", ""), "the change is saved"));
        json_decref(document);
    }
}

/* What gives the VM its device is not the toolstack: it is told what to give. */
static void test_device_from_elsewhere(void **state)
{
    (void)state;
    vm_that_needs_a_restart(
        "xe",
        "vm-param-get*) echo Error: Key device-model-args not found in map >&2; exit 1;;\n"
        "vm-shutdown*) ;;\nvm-start*) ;;",
        status_of_two);
    support_expect("--yes " CHANGE, 0, "was restarted",
                   "xe knows of no vgpu-stub device in this VM's configuration; whatever adds the "
                   "device must give it pool_id=B,priority=medium,vm_id=1");
}

/* ---- giving a VM a device ---- */

static void test_attach(void **state)
{
    static const struct support_case cases[] = {
        {"attach-vm --vm-id=2", 0, "", NULL},
        {"attach-vm --vm-name=web_1 --pool=B", 2, "", "has no option --pool"},
        {"attach-vm", 2, "", "which VM?"},
        {"detach-vm --vm-uuid=" UUID_3, 0, "", NULL},
        {"detach-vm --vm-uuid=nonsense", 2, "", "is no UUID"},
        {NULL},
    };
    const char *asked;

    (void)state;
    vm_that_needs_a_restart("xe",
                            "vm-param-get*power-state*) echo halted;;\n"
                            "vm-param-get*name-label*) echo batch;;\n"
                            "vm-param-get*) echo '-x -device vgpu-stub,vm_id=7 -y';;\n"
                            "vm-param-set*) ;;",
                            status_of_two);
    support_table(cases);
    asked = support_calls();
    assert_non_null(strstr(asked, "vm-param-set uuid=" UUID_2 " platform:device-model-args=-x "
                                  "-device vgpu-stub,vm_id=2,pool_id=A,priority=medium -y\n"));
    assert_non_null(
        strstr(asked, "vm-param-set uuid=" UUID_3 " platform:device-model-args=-x -y\n"));
    assert_null(strstr(asked, "vm-shutdown"));
}

/* ---- the host's VMs ---- */

static void test_scan(void **state)
{
    json_t *document;

    (void)state;
    vm_that_needs_a_restart("xe",
                            "*vm-list*power-state=running*) echo " UUID_1 ";;\n"
                            "*vm-list*power-state=*) ;;\n"
                            "*vm-list*) echo " UUID_1 "," UUID_3 ";;\n"
                            "*" UUID_1 "*name-label*) echo web 1;;\n"
                            "*" UUID_3 "*name-label*) printf '\\033[2J\\n';;\n"
                            "*" UUID_3 "*power-state*) echo running;;\n"
                            "*) echo The uuid you supplied was invalid. >&2; exit 1;;",
                            status_of_two);
    support_expect("scan-vms", 0, "3 VMs, 1 not registered", NULL);
    assert_null(strchr(printed.out, '\033'));
    assert_non_null(strstr(printed.out, "?[2J"));
    document = support_json("scan-vms");
    assert_int_equal(json_array_size(json_object_get(document, "vms")), 3);
    assert_null(strchr(printed.out, '\033'));
    json_decref(document);
    /* Such a name is not taken over; one that is asked for is looked for. */
    support_expect("register-vm --vm-name=\033[2J", 2, "", "all printable");
    support_expect("register-vm --vm-uuid=" UUID_3, 0, "Registered " UUID_3 " as vm_id 3",
                   "has characters that no name may have here (?[2J): it is registered without");
    support_expect("register-vm --vm-name=web_1", 1, "", "registered already");
    support_expect("register-vm --vm-name=nobody", 1, "", "no VM named \"nobody\"");
    support_expect("register-vm --vm-uuid=" OTHER_UUID, 0, "as vm_id 4",
                   "xe does not know a VM with this UUID; is it of another host?");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_restarted),
        TEST(test_not_restarted),
        TEST(test_without_toolstack),
        TEST(test_what_the_device_shows),
        TEST(test_failing_toolstack),
        TEST(test_device_from_elsewhere),
        TEST(test_attach),
        TEST(test_scan),
    };

    return cmocka_run_group_tests_name("restart", tests, NULL, NULL);
}
