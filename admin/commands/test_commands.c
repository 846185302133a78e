/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every command in this process, with a real database and a mediator that is played. */
#include "admin/test_support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/base/json_get.h"
#include "vgpu/vgpu_admin.h"

static const struct support_case two_vms[] = {
    {"init-db", 0, "with the pools A and B", ""},
    {"register-vm --vm-name=web_1 --vm-uuid=" UUID_1, 0, "Registered web 1 as vm_id 1", NULL},
    {"register-vm --vm-name=batch --vm-uuid=" UUID_2 " --pool=b --priority=LOW --weight=20", 0,
     "vm_id 2: pool B, priority low, weight 20", NULL},
    {NULL},
};

/* ---- options ---- */

static void test_wrong_usage(void **state)
{
    static const struct support_case cases[] = {
        {"", 2, "", "which command?"},
        {"set-wieght", 2, "", "did you mean set-weight?"},
        {"frobnicate", 2, "", "there is no command"},
        {"--nonsense", 2, "", "no global option --nonsense"},
        {"list-vms --josn", 2, "", "has no option --josn"},
        {"list-vms --polo=A", 2, "", "did you mean --pool?"},
        {"list-vms extra", 2, "", "needs quotes"},
        {"list-vms --pool", 2, "", "--pool needs a value: --pool=A..Z"},
        {"list-vms --pool=", 2, "", "needs a value"},
        {"list-vms --pool=AA", 2, "", "one letter from A to Z, not \"AA\""},
        {"list-vms --pool=1", 2, "", "one letter from A to Z"},
        {"list-vms --priority=hihg", 2, "", "did you mean high?"},
        {"list-vms --priority=3", 2, "", "must be one of low, medium, high"},
        {"--db", 2, "", "--db needs a value"},
        {"--db= status", 2, "", "--db needs a value"},
        {"--json=yes status", 2, "", "--json takes no value"},
        {"--timeout=0 status", 2, "", "from 1 to 86400, not \"0\""},
        {"--timeout=86401 status", 2, "", "from 1 to 86400"},
        {"--watch=0.05 status", 2, "", "from 0.1 to"},
        {"--watch=2x status", 2, "", "--watch must be"},
        {"--watch init-db", 2, "", "--watch is for commands that only look"},
        {"--toolstack=virhs scan-vms", 2, "", "did you mean virsh?"},
        {"set-weight --vm-name=x", 2, "", "set-weight needs --weight=1..100"},
        {"set-weight --weight=50", 1, "", "init-db"},
        {"test-mode --wait=0", 2, "", "from 1 to 100000"},
        {"set-policy --policy=wqf", 2, "", "did you mean wfq?"},
        {"events --last=-1", 2, "", "whole number"},
        {"show-metrics --prometheus --json", 2, NULL, "either --prometheus or --json"},
        {"trace-job 1 --last=3", 2, "", "give it alone"},
        {"trace-job --request-id=3", 2, "", "each VM counts its own"},
        {"prefer-vm --none --vm-name=x", 2, "", "either a VM or --none"},
        {"restore-db", 2, "", "restore-db needs --from=FILE"},
        {"register-vm", 2, "", "which VM?"},
        {"register-vm --vm-uuid=web", 2, "", "is no UUID"},
        {"update-vm --vm-name=x", 2, "", "--new-vm-id"},
        {"set-rate-limit --vm-name=x", 2, "", "--queue-depth=JOBS"},
        {"set-memory-limit --vm-name=x --limit=1Q", 2, "", "a size such as 512M"},
        {"set-memory-limit --vm-name=x --limit=99999999T", 2, "", "a size such as"},
        {"set-memory-limit --vm-name=x --limit=-1", 2, "", "a size such as"},
        {"top --sort=shaer", 2, "", "did you mean share?"},
        {"top --interval=0.01", 2, "", "from 0.2 to 3600"},
        {"--complete", 2, "", ""},
        {NULL},
    };

    (void)state;
    support_table(cases);
}

static void test_help(void **state)
{
    static const struct support_case cases[] = {
        {"--help", 0, "usage: vgpu-admin [options] COMMAND", ""},
        {"help", 0, "Exit status", ""},
        {"-h set-weight", 0,
         "usage: vgpu-admin set-weight (--vm-name=NAME | --vm-uuid=UUID | "
         "--vm-id=N) --weight=1..100",
         ""},
        {"help update-vm", 0, "[--new-vm-id=N]", ""},
        {"help init-db", 0, "usage: vgpu-admin init-db\n", ""},
        {"--version", 0, "vgpu-admin " VGPU_VERSION "\n", ""},
        {"--complete commands", 0, "\nrestore-db\n", ""},
        {"--complete options set-weight", 0, "--weight=\n", ""},
        {"--complete values set-priority priority", 0, "low\nmedium\nhigh\n", ""},
        {"--complete values status toolstack", 0, "xe\nvirsh\nnone\n", ""},
        {NULL},
    };
    char line[64], *rest, *name;
    char commands[4096];

    (void)state;
    support_table(cases);
    /* Each command has an example that begins as a command does. */
    support_run("--complete commands");
    strcpy(commands, printed.out);
    rest = commands;
    while ((name = strsep(&rest, "\n")) && *name) {
        snprintf(line, sizeof(line), "%s --help", name);
        support_expect(line, 0, "\nExample\n  vgpu-admin ", "");
        assert_non_null(strstr(strstr(printed.out, "\nExample\n"), name));
        assert_non_null(strstr(printed.out, "--json"));
    }
}

/* ---- which VM ---- */

static void test_selection(void **state)
{
    static const struct support_case cases[] = {
        {"show-vm --vm-name=web_1", 0, "vm_id              1\n", ""},
        {"show-vm --vm-id=2", 0, "batch", ""},
        {"show-vm --vm-uuid=7F1D7B04-9D4E-4CC0-8C5B-0F4A6A1D0002", 0, "batch", ""},
        {"show-vm", 2, "", "which VM?"},
        {"show-vm --vm-name=web1", 1, "", "did you mean \"web 1\"?"},
        {"show-vm --vm-name=quite_different", 1, "", "register-vm --vm-name=\"quite different\""},
        {"show-vm --vm-id=7", 1, "", "no VM with vm_id 7"},
        {"show-vm --vm-id=4294967296", 2, "", "from 0 to 4294967295"},
        {"show-vm --vm-id=1x", 2, "", "whole number"},
        {"show-vm --vm-uuid=7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0009", 1, "", "did you mean 7f1d7b04"},
        {"show-vm --vm-name=batch --vm-id=1", 2, "", "name different VMs"},
        {"show-vm --vm-uuid=" UUID_1 " --vm-name=batch", 2, "", "name different VMs"},
        {"register-vm --vm-name=batch --vm-uuid=" UUID_3, 0, "vm_id 3", NULL},
        {"show-vm --vm-name=batch", 1, "",
         "2 VMs are named \"batch\"; say which one:\n  --vm-uuid"},
        {"show-vm --vm-name=batch --vm-uuid=" UUID_3, 0, "vm_id              3\n", ""},
        {NULL},
    };

    (void)state;
    support_table(two_vms);
    support_table(cases);
}

/* ---- changes ---- */

static void test_changes(void **state)
{
    static const struct support_case cases[] = {
        {"set-weight --vm-id=1 --weight=80", 0, "web 1 (vm_id 1): weight 50 -> 80\n",
         "the mediator is not running"},
        {"set-weight --vm-id=1 --weight=80", 0, "is so already, nothing changed", NULL},
        {"set-weight --vm-id=1 --weight=0", 2, "", "from 1 to 100"},
        {"set-weight --vm-id=1 --weight=101", 2, "", "from 1 to 100"},
        {"set-priority --vm-id=1 --priority=2", 0, "priority medium -> high", NULL},
        {"set-pool --vm-id=1 --pool=B", 0, "pool A -> B", NULL},
        {"set-pool --vm-id=1 --pool=Q", 1, "", "there is no pool Q"},
        {"set-vm-id --vm-name=web_1 --vm-id=2", 1, "", "vm_id 2"},
        {"set-vm-id --vm-name=web_1 --vm-id=30", 0, "vm_id 1 -> 30", NULL},
        {"set-vm-id --vm-name=web_1 --vm-id=0", 2, "", "from 1 to"},
        {"update-vm --vm-name=web_1 --new-vm-id=1 --new-name=web", 0, "vm_id 30 -> 1", NULL},
        {"update-vm --vm-name=web --vm-id=31 --weight=7", 0, "vm_id 1 -> 31, weight 80 -> 7", NULL},
        {"update-vm --vm-name=web --vm-id=1 --pool=Q --weight=9", 1, "", "no pool Q"},
        {"show-vm --vm-name=web", 0, "Weight             7\n", ""},
        {"set-rate-limit --vm-name=web --rate=200 --queue-depth=16", 0,
         "rate no limit -> 200, queue depth no limit -> 16", NULL},
        {"set-rate-limit --vm-name=web --burst=5", 0, "burst a tenth of the rate -> 5", NULL},
        {"set-rate-limit --vm-name=web --max-jobs=0", 0, "rate 200 -> no limit", NULL},
        {"set-rate-limit --vm-name=web --rate=1000001", 2, "", "from 0 to 1000000"},
        {"set-memory-limit --vm-name=web --limit=16G", 0, "memory limit no limit -> 16 GiB", NULL},
        {"set-memory-limit --vm-name=web --memory=512mib", 0, "16 GiB -> 512 MiB", NULL},
        {"set-memory-limit --vm-name=web --limit=0", 0, "512 MiB -> no limit", NULL},
        {"quarantine-vm --vm-name=web --reason=floods", 0, "is quarantined: its requests", NULL},
        {"quarantine-vm --vm-name=web", 0, "is already quarantined", NULL},
        {"show-vm --vm-name=web", 0, "UTC: floods", ""},
        {"list-vms", 0, "quarantined", ""},
        {"clear-quarantine --vm-name=web", 0, "is released", NULL},
        {"clear-quarantine --vm-name=web", 0, "is not quarantined", NULL},
        {"events --last=2", 0, "it was: floods", ""},
        {"remove-vm --vm-name=web", 0, "Removed web (vm_id 31).", NULL},
        {"show-vm --vm-name=web", 1, "", "no VM named \"web\""},
        {"register-vm --vm-uuid=" UUID_2, 1, "", "registered already"},
        {NULL},
    };

    (void)state;
    support_table(two_vms);
    support_table(cases);
}

static void test_change_documents(void **state)
{
    json_t *document, *vm;

    (void)state;
    support_table(two_vms);
    document = support_json("set-weight --vm-name=web_1 --weight=80");
    vm = json_object_get(document, "vm");
    assert_true(json_get_bool(document, "changed"));
    assert_string_equal(json_get_text(document, "mediator", ""), "unreachable");
    assert_int_equal(json_get_int(vm, "weight", 0), 80);
    assert_int_equal(json_get_int(json_object_get(document, "before"), "weight", 0), 50);
    assert_int_equal(json_array_size(json_object_get(document, "notes")), 1);
    json_decref(document);
    document = support_json("set-weight --vm-name=nobody --weight=80");
    assert_int_equal(printed.status, 1);
    assert_int_equal(json_get_int(document, "exit_status", 0), 1);
    assert_non_null(strstr(json_get_text(document, "error", ""), "nobody"));
    json_decref(document);
    document = support_json("list-vms --pool=B");
    assert_int_equal(json_array_size(json_object_get(document, "vms")), 1);
    json_decref(document);
}

/* What the mediator said after a change, and what comes of it. */
static void change_with(const char *answer, uint32_t status, int exit_status, const char *out,
                        const char *err)
{
    const struct support_answer answers[] = {
        {VGPU_ADMIN_RELOAD_CONFIG, status, answer},
        {VGPU_ADMIN_SHOW_STATUS, 0,
         "{\"vms\": [{\"vm_id\": 1, \"device\": {\"vm_id\": 9, \"pool\": \"Z\", \"priority\": "
         "0}}]}"},
        {0, 0, NULL},
    };

    support_table(two_vms);
    support_mediator(answers);
    support_expect("set-pool --vm-id=1 --pool=B", exit_status, out, err);
}

static void test_applied(void **state)
{
    (void)state;
    change_with("{\"changed\": 1, \"restart_needed\": []}", 0, 0, "pool A -> B", "");
}

static void test_mediator_refuses(void **state)
{
    (void)state;
    change_with(
        "{\"error\": \"it is locked\"}", EIO, 1, "pool A -> B",
        "the mediator refused: it is locked. When that is mended: vgpu-admin reload-config");
}

static void test_restart_is_put_off(void **state)
{
    (void)state;
    change_with("{\"restart_needed\": [7, 1]}", 0, 0, "pool      Z           B",
                "the database has pool B, priority medium, vm_id 1, and its device shows pool Z, "
                "priority low, vm_id 9 until it is: shut down VM " UUID_1);
}

static void test_restart_of_another(void **state)
{
    (void)state;
    change_with("{\"restart_needed\": [{\"vm_id\": 7}]}", 0, 0, "pool A -> B", "");
}

/* ---- pools and the database ---- */

static void test_pools(void **state)
{
    static const struct support_case cases[] = {
        {"create-pool --pool=t --name=Training --description=nights", 0, "Created pool T", NULL},
        {"create-pool --pool=T", 1, "", "pool T"},
        {"assign-gpu --pool=T --gpu=foo", 2, "", "\"foo\" is no GPU"},
        {"assign-gpu --pool=T --gpu=GPU-", 2, "", "is no GPU"},
        {"assign-gpu --pool=T --gpu=99999", 2, "", "is no GPU"},
        {"assign-gpu --pool=T --gpu=0", 0, "Assigned GPU 0 to pool T.", NULL},
        {"assign-gpu --pool=T --gpu=0", 1, "", "already"},
        {"assign-gpu --pool=T --gpu=GPU-5a2b0c1e-0000-1111-2222-333344445555", 0, "Assigned", NULL},
        {"show-pools", 0, "0, GPU-5a2b0c1e-0000-1111-2222-333344445555", ""},
        {"set-pool --vm-id=1 --pool=T", 0, "pool A -> T", NULL},
        {"remove-pool --pool=T", 1, "", "set-pool"},
        {"set-pool --vm-id=1 --pool=A", 0, "pool T -> A", NULL},
        {"assign-gpu --pool=T --gpu=0 --remove", 0, "Took GPU 0 out of pool T.", NULL},
        {"assign-gpu --pool=T --gpu=0 --remove", 1, "", "GPU 0"},
        {"remove-pool --pool=T", 0, "Removed pool T.", NULL},
        {"remove-pool --pool=T", 1, "", "pool T"},
        {NULL},
    };

    (void)state;
    support_table(two_vms);
    support_table(cases);
}

static void test_pools_that_the_host_lacks(void **state)
{
    static const struct support_answer answers[] = {
        {VGPU_ADMIN_SHOW_STATUS, 0, "{\"gpus\": [{\"index\": 0, \"uuid\": \"GPU-00aa\"}]}"},
        {0, 0, NULL},
    };
    static const struct support_case cases[] = {
        {"assign-gpu --pool=A --gpu=gpu-00aa", 2, "", "is no GPU"},
        {"assign-gpu --pool=A --gpu=GPU-00AA", 0, "Assigned", ""},
        {"assign-gpu --pool=B --gpu=7", 0, "Assigned", "this host has no GPU 7 at present"},
        {"show-pools", 0, "Pool B", "pool B has GPU 7, which this host lacks, and no other"},
        {"assign-gpu --pool=B --gpu=0", 0, "Assigned", ""},
        {"show-pools", 0, "0, 7", "pool B has GPU 7, which this host lacks\n"},
        {NULL},
    };

    (void)state;
    support_table(two_vms);
    support_mediator(answers);
    support_table(cases);
}

static void test_database(void **state)
{
    static const struct support_case before[] = {
        {"list-vms", 1, "", "init-db"},
        {"check-config", 1, "", "init-db"},
        {"migrate", 1, "", "init-db"},
        {NULL},
    };
    static const struct support_case after[] = {
        {"init-db", 0, "is there already, nothing changed", ""},
        {"migrate", 0, "is up to date", ""},
        {"check-config", 0, "2 VMs, 2 pools; 0 errors", ""},
        {"set-rate-limit --vm-id=1 --burst=5", 0, "burst", NULL},
        {"quarantine-vm --vm-id=2", 0, "quarantined", NULL},
        {"check-config", 0, "the burst has no effect", ""},
        {"check-config", 0, "clear-quarantine --vm-uuid=" UUID_2, ""},
        {"show-weights", 0, "quarantined", ""},
        {"show-rate-limits", 0, "no limit", ""},
        {"scan-vms", 1, "", "there is no toolstack to ask"},
        {"attach-vm --vm-id=1", 1, "", "works with xe (XCP-ng)"},
        {NULL},
    };
    char line[256];

    (void)state;
    support_table(before);
    support_table(two_vms);
    support_table(after);
    /* Back to an older state, and what it was is kept. */
    snprintf(line, sizeof(line), "cp %s/vgpu.db %s/backup.db", support_folder(), support_folder());
    assert_int_equal(system(line), 0);
    support_expect("remove-vm --vm-id=2", 0, "Removed", NULL);
    snprintf(line, sizeof(line), "restore-db %s/backup.db", support_folder());
    support_expect(line, 0, "2 VMs, 2 pools. The old one is kept as", "");
    support_expect("show-vm --vm-id=2", 0, "batch", "");
    support_expect("events --last=1", 0, "restored from", "");
    support_expect("restore-db /nowhere", 1, "", "there is no database at /nowhere");
}

/* ---- a mediator ---- */

static const char status_answer[] =
    "{\"version\": \"9.9\", \"uptime_s\": 100, \"policy\": \"wfq\", \"paused\": true,"
    " \"backend\": \"cuda\", \"database\": \"/x\","
    " \"gpus\": [{\"index\": 0, \"name\": \"H200\", \"state\": \"ok\", \"uuid\": \"GPU-1\","
    "  \"queued\": 31, \"in_flight\": 1, \"busy_ns\": 42e9, \"running_vm\": 1}],"
    " \"vms\": [{\"vm_id\": 1, \"uuid\": \"" UUID_1 "\", \"name\": \"web 1\", \"connected\": true,"
    "  \"state\": \"active\", \"gpu\": 0, \"queue_depth\": 3, \"completed\": 5000, \"errors\": 2,"
    "  \"rejected_rate\": 1, \"rejected_queue\": 20, \"rejected_quarantined\": 300,"
    "  \"invalid\": 4000, \"due_share\": 0.75, \"share\": 0.74, \"restart_needed\": true,"
    "  \"device\": {\"vm_id\": 1, \"pool\": \"B\", \"priority\": 2}},"
    " {\"vm_id\": 99, \"uuid\": \"" UUID_3 "\", \"name\": \"stranger\", \"state\": \"idle\"}]}";

static void test_status(void **state)
{
    static const struct support_answer answers[] = {
        {VGPU_ADMIN_SHOW_STATUS, 0, status_answer},
        {0, 0, NULL},
    };
    static const struct support_case cases[] = {
        {"status", 0, "running, version 9.9",
         "web 1 (vm_id 1) still shows its guest vm_id 1, pool B"},
        {"status", 0, "PAUSED", NULL},
        {"status", 0, "42 %", NULL},
        {"status", 0, "4321", NULL},
        {"status", 0, "75.0 %  74.0 %", NULL},
        {"status", 0, "not registered", NULL},
        {"status", 0, "not connected", NULL},
        {NULL},
    };
    json_t *document;

    (void)state;
    support_table(two_vms);
    support_expect("status", 3, "not reachable", "no mediator listens on");
    support_mediator(answers);
    support_table(cases);
    document = support_json("status");
    assert_true(json_get_bool(document, "mediator_reachable"));
    assert_int_equal(json_array_size(json_object_get(document, "vms")), 3);
    json_decref(document);
}

/* At 80 columns nothing is missing and nothing wraps. */
static void test_status_on_a_terminal(void **state)
{
    static const struct support_answer answers[] = {
        {VGPU_ADMIN_SHOW_STATUS, 0, status_answer},
        {0, 0, NULL},
    };
    static const char *const titles[] = {"VM_ID", "NAME", "POOL",    "PRIORITY", "WEIGHT", "STATE",
                                         "QUEUE", "DONE", "REFUSED", "ERRORS",   "DUE",    "GOT"};
    char *rest, *line;

    (void)state;
    support_table(two_vms);
    support_mediator(answers);
    support_terminal(80);
    support_run("--no-color status");
    assert_int_equal(printed.status, 0);
    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
        assert_non_null(strstr(printed.out, titles[i]));
    }
    rest = printed.out;
    while ((line = strsep(&rest, "\n"))) {
        assert_true(strlen(line) <= 80);
    }
}

static void test_looking(void **state)
{
    static const struct support_answer answers[] = {
        {VGPU_ADMIN_SHOW_METRICS, 0,
         "{\"vms\": [{\"vm_id\": 1, \"name\": \"web 1\", \"completed\": 7, \"invalid\": 5,"
         " \"rejections_by_reason\": {\"invalid_pool\": 5},"
         " \"latency\": {\"total\": {\"samples\": 7, \"p50_ns\": 1500, \"p99_ns\": 2500000},"
         "               \"queue\": {\"p50_ns\": 10}}}]}"},
        {VGPU_ADMIN_SHOW_HEALTH, 0,
         "{\"mediator\": {\"ok\": true, \"version\": \"9.9\", \"uptime_s\": 1},"
         " \"gpus\": [{\"index\": 3, \"state\": \"paused\", \"pause\": {\"since\": \"yesterday\","
         "   \"pid\": 12, \"uid\": 0, \"held\": false}},"
         "  {\"index\": 4, \"state\": \"paused\", \"pause\": {\"since\": \"now\", \"pid\": 13,"
         "   \"held\": true}}],"
         " \"workers\": [{\"vm_id\": 1, \"gpu\": 0, \"pid\": 99, \"state\": \"ready\"}]}"},
        {VGPU_ADMIN_SHOW_CONNECTIONS, 0,
         "{\"connections\": [{\"session\": 0, \"vm_id\": 1, \"pid\": 5, \"since_s\": 2,"
         " \"protocol\": \"1.0+hello\", \"requests\": 3, \"path\": \"/s.sock\"}]}"},
        {VGPU_ADMIN_TRACE_JOB, 0,
         "{\"jobs\": [{\"job_id\": 4711, \"vm_id\": 1, \"state\": \"done\", \"status\": "
         "\"TIMEOUT\","
         " \"operation\": \"add\", \"accepted_ns\": 1000, \"dispatched_ns\": 3000,"
         " \"ended_ns\": 9000, \"decision\": {\"reason\": \"alone\"}}]}"},
        {VGPU_ADMIN_RELOAD_CONFIG, 0, "{\"changed\": 2, \"restart_needed\": [1]}"},
        {VGPU_ADMIN_SET_POLICY, EINVAL, "{\"error\": \"not this one\"}"},
        {VGPU_ADMIN_PREFER_VM, ENOENT, "rubbish"},
        {0, 0, NULL},
    };
    static const struct support_case cases[] = {
        {"show-metrics", 0, "2.5 ms", ""},
        {"show-metrics", 0, "invalid_pool", ""},
        {"show-health", 0, "held by process 13 since now", ""},
        {"show-connections", 0, "1.0+hello", ""},
        {"trace-job 4711", 0, "no other VM had a job waiting", ""},
        {"trace-job", 0, "TIMEOUT", ""},
        {"trace-job 0", 2, "", "from 1 to"},
        {"reload-config", 0, "2 VMs changed", "too old to be told"},
        {"set-policy --policy=fifo", 1, "", "the mediator refused: not this one"},
        {"prefer-vm --vm-id=1", 1, "", "No such file or directory"},
        {"pause", 0, "All GPUs are paused", ""},
        {"resume --gpu=3", 0, "GPU 3 is at work.", ""},
        {"pause --gpu=1024", 2, "", "from 0 to 1023"},
        {NULL},
    };

    (void)state;
    support_table(two_vms);
    support_mediator(answers);
    support_table(cases);
}

static void test_nobody_there(void **state)
{
    static const char *const lines[] = {
        "pause",
        "resume",
        "reload-config",
        "set-policy --policy=wfq",
        "prefer-vm --none",
        "show-health",
        "show-metrics",
        "show-metrics --prometheus",
        "show-connections",
        "trace-job 1",
        "test-mode --seconds=1",
        "top --once",
    };

    (void)state;
    support_table(two_vms);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        support_expect(lines[i], 3, NULL, "no mediator listens on");
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_wrong_usage),
        TEST(test_help),
        TEST(test_selection),
        TEST(test_changes),
        TEST(test_change_documents),
        TEST(test_applied),
        TEST(test_mediator_refuses),
        TEST(test_restart_is_put_off),
        TEST(test_restart_of_another),
        TEST(test_pools),
        TEST(test_pools_that_the_host_lacks),
        TEST(test_database),
        TEST(test_status),
        TEST(test_status_on_a_terminal),
        TEST(test_looking),
        TEST(test_nobody_there),
    };

    return cmocka_run_group_tests_name("commands", tests, NULL, NULL);
}
