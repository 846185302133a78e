/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the commands of the administration socket answer, and what a connection holds. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "mediator/control/test_admin.h"

/* ---- answers ---- */

static void test_looking(void **state)
{
    int fd = admin_client();
    json_t *document = admin_ask(fd, VGPU_ADMIN_SHOW_STATUS, ""), *vm;

    assert_int_equal(json_array_size(json_object_get(document, "vms")), 3);
    assert_int_equal(json_array_size(json_object_get(document, "gpus")), 2);
    assert_true(json_is_null(json_object_get(document, "database")));
    vm = json_array_get(json_object_get(document, "vms"), 2);
    assert_string_equal(json_string_value(json_object_get(vm, "name")), ADMIN_HOSTILE_NAME);
    assert_true(json_is_null(json_object_get(vm, "worker_pid")));
    json_decref(document);
    document = admin_ask(fd, VGPU_ADMIN_SHOW_HEALTH, "");
    assert_true(json_is_array(json_object_get(document, "workers")));
    json_decref(document);
    document = admin_ask(fd, VGPU_ADMIN_SHOW_CONNECTIONS, "");
    assert_int_equal(json_array_size(json_object_get(document, "connections")), 0);
    json_decref(document);
    document = admin_ask(fd, VGPU_ADMIN_SHOW_SCHEDULE, "");
    assert_string_equal(json_string_value(json_object_get(document, "policy")), "wfq");
    json_decref(document);
    admin_leave(fd);
}

static void test_refused(void **state)
{
    static const struct {
        uint32_t command, param1;
        const char *body;
        int status;
        const char *error;
    } cases[] = {
        {0, 0, "", ENOSYS, "command 0x0 is unknown"},
        {UINT32_MAX, 0, "{}", ENOSYS, "command 0xffffffff is unknown"},
        {VGPU_ADMIN_RELOAD_CONFIG, 0, "", ENOTSUP, "--no-db"},
        {VGPU_ADMIN_SHOW_METRICS, 2, "", EINVAL, "0 (JSON) or 1 (Prometheus text)"},
        {VGPU_ADMIN_QUARANTINE_VM, 0, "", ENOENT, "no VM with vm_id 0"},
        {VGPU_ADMIN_QUARANTINE_VM, 4, "", ENOENT, "no VM with vm_id 4"},
        {VGPU_ADMIN_UNQUARANTINE_VM, UINT32_MAX, "", ENOENT, "no VM with vm_id 4294967295"},
        {VGPU_ADMIN_SET_POLICY, 0, "", EINVAL, POLICY_WORDS},
        {VGPU_ADMIN_SET_POLICY, 0, "{\"policy\": \"WFQ\"}", EINVAL, "must be one of"},
        {VGPU_ADMIN_SET_POLICY, 0, "{\"policy\": 1}", EINVAL, "must be one of"},
        {VGPU_ADMIN_SET_POLICY, 0, "[\"wfq\"]", EINVAL, "no JSON object"},
        {VGPU_ADMIN_SET_POLICY, 0, "{\"policy\": \"wfq\"", EINVAL, "no JSON object"},
        {VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 2}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_PAUSE, 0, "{\"gpu\": -1}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_PAUSE, 0, "{\"gpu\": \"0\"}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 0.0}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_PAUSE, 0, "{\"gpu\": null}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 4294967296}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_RESUME, 0, "{\"gpu\": 9223372036854775807}", EINVAL, "from 0 to 1"},
        {VGPU_ADMIN_PREFER_VM, 4, "", ENOENT, "no VM with vm_id 4"},
        {VGPU_ADMIN_TRACE_JOB, 0, "{\"job_id\": -1}", EINVAL, "whole numbers"},
        {VGPU_ADMIN_TRACE_JOB, 0, "{\"job_id\": 1}", ENOENT, "there was no job 1 yet"},
        {VGPU_ADMIN_TRACE_JOB, 0, "{\"vm_id\": 4294967296}", EINVAL, "whole numbers"},
        {VGPU_ADMIN_TRACE_JOB, 0, "{\"last\": \"5\"}", EINVAL, "whole numbers"},
        {VGPU_ADMIN_TRACE_JOB, 0, "{\"last\": 100000}", EINVAL, "from 0 to"},
    };
    int fd = admin_client();

    for (size_t i = 0; i < EACH(cases); i++) {
        admin_expect(fd, cases[i].command, cases[i].param1, cases[i].body, cases[i].status,
                     cases[i].error);
    }
    assert_false(admin_paused(0) || admin_paused(1));
    admin_leave(fd);
}

static void test_metrics(void **state)
{
    int fd = admin_client();
    json_t *document;
    char *text;

    admin_say(fd, VGPU_ADMIN_SHOW_METRICS, 1, "");
    assert_int_equal(admin_hear(fd, &text), 0);
    assert_non_null(strstr(text, "# TYPE vgpu_mediator_build_info gauge\n"));
    free(text);
    document = admin_ask(fd, VGPU_ADMIN_SHOW_METRICS, "");
    assert_int_equal(json_array_size(json_object_get(document, "vms")), 3);
    json_decref(document);
    /* Gone while it is being made. */
    admin_say(fd, VGPU_ADMIN_SHOW_METRICS, 1, "");
    uv_run(&mediator.loop, UV_RUN_NOWAIT);
    admin_leave(fd);
}

static void test_quarantine(void **state)
{
    int fd = admin_client();
    json_t *document;

    admin_expect(fd, VGPU_ADMIN_QUARANTINE_VM, 2, "", 0, NULL);
    document = admin_ask(fd, VGPU_ADMIN_SHOW_STATUS, "");
    assert_true(json_is_true(
        json_object_get(json_array_get(json_object_get(document, "vms"), 1), "quarantined")));
    json_decref(document);
    admin_expect(fd, VGPU_ADMIN_UNQUARANTINE_VM, 2, "", 0, NULL);
    admin_expect(fd, VGPU_ADMIN_UNQUARANTINE_VM, 2, "", 0, NULL);
    document = admin_ask(fd, VGPU_ADMIN_SHOW_STATUS, "");
    assert_true(json_is_false(
        json_object_get(json_array_get(json_object_get(document, "vms"), 1), "quarantined")));
    json_decref(document);
    admin_leave(fd);
}

/* ---- what a connection holds ---- */

static void test_pauses(void **state)
{
    int fd = admin_client(), other = admin_client();

    admin_expect(fd, VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 1}", 0, NULL);
    assert_true(!admin_paused(0) && admin_paused(1));
    admin_leave(fd);
    assert_true(admin_paused(1)); /* the administrator's word stays */
    admin_expect(other, VGPU_ADMIN_PAUSE, 0, "", 0, NULL);
    assert_true(admin_paused(0) && admin_paused(1));
    admin_expect(other, VGPU_ADMIN_RESUME, 0, "{\"gpu\": 0}", 0, NULL);
    assert_true(!admin_paused(0) && admin_paused(1));
    admin_expect(other, VGPU_ADMIN_RESUME, 0, "{}", 0, NULL);
    assert_false(admin_paused(0) || admin_paused(1));
    admin_leave(other);
}

static void test_holds_end_with_the_connection(void **state)
{
    int fd = admin_client(), other = admin_client();

    admin_expect(fd, VGPU_ADMIN_PAUSE, 0, "{\"hold\": true}", 0, NULL);
    admin_expect(fd, VGPU_ADMIN_PREFER_VM, 2, "{\"hold\": true}", 0, NULL);
    admin_expect(other, VGPU_ADMIN_PAUSE, 0, "{\"gpu\": 0, \"hold\": true}", 0, NULL);
    assert_true(admin_paused(0) && admin_paused(1));
    admin_leave(fd);
    assert_true(admin_paused(0) && !admin_paused(1));
    assert_int_equal(mediator.holds.preferring, 0);
    admin_leave(other);
    assert_false(admin_paused(0) || admin_paused(1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ADMIN_TEST(test_looking), ADMIN_TEST(test_refused),
        ADMIN_TEST(test_metrics), ADMIN_TEST(test_quarantine),
        ADMIN_TEST(test_pauses),  ADMIN_TEST(test_holds_end_with_the_connection),
    };

    return cmocka_run_group_tests_name("commands", tests, NULL, NULL);
}
