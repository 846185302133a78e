/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-admin test-mode against a mediator that is played: whatever happens between pause
 * and resume, the GPUs are let go again.
 */
#include "admin/base/test_peer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/base/json_get.h"

/* ---- the mediator ---- */

/* What it was asked, in order: a letter a request. */
static char asked[256];
static bool held, preference_held; /* PAUSE and PREFER_VM came with "hold" */
static uint32_t preferred;         /* vm_id of the last PREFER_VM */
/* What it does. */
static unsigned looks_until_waiting; /* SHOW_STATUS until requests wait */
static unsigned waiting;             /* how many then */
static char refuses;                 /* the letter that it refuses, 0: none */
static char ends_at;                 /* the letter at which our program gets SIGINT */
static const char *schedule;
static pthread_t client;

static char letter(uint32_t command)
{
    switch (command) {
    case VGPU_ADMIN_PAUSE: return 'P';
    case VGPU_ADMIN_RESUME: return 'R';
    case VGPU_ADMIN_PREFER_VM: return peer_asked.param1 ? 'F' : 'f';
    case VGPU_ADMIN_SHOW_STATUS: return 's';
    case VGPU_ADMIN_SHOW_SCHEDULE: return 'd';
    default: return '?';
    }
}

static bool paused(void)
{
    return strchr(asked, 'P') && !strchr(asked, 'R');
}

static void answer_status(int fd)
{
    char text[256];
    unsigned count = 0;

    if (paused()) {
        count = looks_until_waiting > 0 ? 0 : waiting;
        looks_until_waiting -= looks_until_waiting > 0;
    }
    snprintf(text, sizeof(text),
             "{\"vms\": [{\"vm_id\": 1, \"queue_depth\": %u}, {\"queue_depth\": %u}, {}, 7]}",
             count - count / 2, count / 2);
    peer_tell(fd, 0, text);
}

static void mediate(int fd)
{
    while (peer_hear(fd)) {
        char what = letter(peer_asked.command);
        size_t count = strlen(asked);

        /* Looking again and again is one look. */
        if (count + 1 < sizeof(asked) && (count == 0 || asked[count - 1] != what)) {
            asked[count] = what;
        }
        held = held || (what == 'P' && strstr(peer_body, "\"hold\":true"));
        preference_held = preference_held || (what == 'F' && strstr(peer_body, "\"hold\":true"));
        preferred = what == 'F' ? peer_asked.param1 : preferred;
        if (what == ends_at) {
            ends_at = 0;
            pthread_kill(client, SIGINT);
        }
        if (what == refuses) {
            peer_tell(fd, EPERM, "{\"error\": \"not this\"}");
        } else if (what == 's') {
            answer_status(fd);
        } else {
            /* While they are held, nothing is decided. */
            peer_tell(fd, 0, what != 'd' ? "{}" : paused() ? "{\"now_ns\": 1000}" : schedule);
        }
    }
}

static int setup(void **state)
{
    static const struct support_case vms[] = {
        {"init-db", 0, NULL, NULL},
        {"register-vm --vm-name=web_1 --vm-uuid=" UUID_1, 0, NULL, NULL},
        {"register-vm --vm-name=batch --vm-uuid=" UUID_2, 0, NULL, NULL},
        {NULL},
    };

    support_setup(state);
    support_table(vms);
    memset(asked, 0, sizeof(asked));
    held = preference_held = false;
    preferred = 0;
    looks_until_waiting = waiting = 0;
    refuses = ends_at = 0;
    schedule = "{}";
    client = pthread_self();
    peer_start(mediate, 1);
    setenv("VGPU_ADMIN_SOCKET", peer_path, 1);
    return 0;
}

/* ---- tests ---- */

/* Three requests pile up, and are served: two of one GPU, one of another, out of order. */
static const char three_decisions[] =
    "{\"now_ns\": 1000, \"dispatches\": [7, {},"
    " {\"gpu\": 0, \"seq\": 1, \"vm_id\": 2, \"time_ns\": 2000, \"waited_ns\": 1500,"
    "  \"job_seq\": 41, \"urgency\": 0.5, \"reason\": \"it was owed most\","
    "  \"eligible_vms\": 2, \"waiting_vms\": 3},"
    " {\"gpu\": 0, \"seq\": 2, \"vm_id\": 99, \"time_ns\": 4000, \"waited_ns\": 3500,"
    "  \"reason\": \"\\u001b[2J\"},"
    " {\"gpu\": 5, \"seq\": 1, \"vm_id\": 1, \"time_ns\": 3000, \"waited_ns\": 2500,"
    "  \"reason\": \"alone\", \"eligible\": true},"
    " {\"gpu\": -1, \"seq\": 1}, {\"gpu\": 64, \"seq\": 1}]}";

static void test_order(void **state)
{
    const char *first, *second, *third;

    (void)state;
    waiting = 3;
    schedule = three_decisions;
    support_expect("test-mode --wait=3", 0, "Holding the GPUs until 3 requests wait (at most 60 s)",
                   "");
    assert_non_null(strstr(printed.out, "Released with 3 requests waiting."));
    first = strstr(printed.out, "batch (vm_id 2)");
    second = strstr(printed.out, "web 1 (vm_id 1)");
    third = strstr(printed.out, "vm_id 99");
    assert_true(first && second && third && first < second && second < third);
    assert_non_null(strstr(printed.out, "it was owed most"));
    assert_non_null(strstr(printed.out, "2 of 3"));
    assert_null(strchr(printed.out, '\033'));
    assert_true(strncmp(asked, "PsdR", 4) == 0);
    peer_finish();
}

static void test_order_as_a_document(void **state)
{
    json_t *document, *order;

    (void)state;
    waiting = 3;
    schedule = three_decisions;
    document = support_json("test-mode --wait=2 --prefer-vm=batch");
    order = json_object_get(document, "order");
    assert_int_equal(json_get_int(document, "waiting", 0), 3);
    assert_int_equal(json_get_int(document, "preferred_vm", 0), 2);
    assert_int_equal(json_array_size(order), 3);
    assert_int_equal(json_get_int(json_array_get(order, 1), "vm_id", 0), 1);
    json_decref(document);
    assert_true(strncmp(asked, "FPsdR", 5) == 0);
    assert_int_equal(asked[strlen(asked) - 1], 'f');
    peer_finish();
}

/* Those that came after the release are none of them; those that were forgotten are told. */
static void test_decisions_that_are_missing(void **state)
{
    json_t *document;

    (void)state;
    waiting = 3;
    schedule = "{\"now_ns\": 5000, \"dispatches\": ["
               " {\"gpu\": 0, \"seq\": 3, \"vm_id\": 1, \"time_ns\": 900, \"waited_ns\": 100},"
               " {\"gpu\": 0, \"seq\": 4, \"vm_id\": 2, \"time_ns\": 9000, \"waited_ns\": 10}]}";
    document = support_json("test-mode --wait=3");
    assert_int_equal(json_array_size(json_object_get(document, "order")), 1);
    assert_string_equal(json_string_value(json_array_get(json_object_get(document, "notes"), 0)),
                        "2 decisions are missing: the mediator keeps the last 256 of each GPU");
    json_decref(document);
    peer_finish();
}

/* It waits for as many as were asked for; and what it holds, it holds by its connection. */
static void test_waits_for_them(void **state)
{
    (void)state;
    looks_until_waiting = 3;
    waiting = 2;
    support_expect("test-mode --wait=2 --prefer-vm=2", 0, "Released with 2 requests waiting.", "");
    assert_true(held && preference_held);
    assert_int_equal(preferred, 2);
    assert_int_equal(looks_until_waiting, 0);
    assert_true(strncmp(asked, "FPsdR", 5) == 0);
    assert_int_equal(asked[strlen(asked) - 1], 'f');
    peer_finish();
}

/* None comes within the time: that is no failure. */
static void test_nothing_waits(void **state)
{
    (void)state;
    support_expect("test-mode --wait=2 --seconds=1", 0, "Released with 0 requests waiting.", "");
    assert_non_null(strstr(printed.out, "No request was served."));
    assert_string_equal(asked, "PsdR");
    peer_finish();
}

static void test_interrupted(void **state)
{
    (void)state;
    waiting = 5;
    ends_at = 's';
    support_expect("test-mode --seconds=3600 --prefer-vm=" UUID_1, 1, NULL,
                   "interrupted; the GPUs are at work again");
    assert_string_equal(asked, "FPsdRf");
    peer_finish();
}

/* Each request in turn is refused: what was taken before is given back. */
static void test_refused(void **state)
{
    static const struct {
        char refuses;
        const char *asked;
    } cases[] = {
        {'F', "F"}, {'P', "FPf"}, {'s', "FPsRf"}, {'d', "FPsdRf"}, {'R', "FPsdRf"}, {'f', "FPsdRf"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (i > 0) {
            support_teardown(state);
            setup(state);
        }
        refuses = cases[i].refuses;
        support_expect("test-mode --wait=1 --seconds=1 --prefer-vm=web_1", 1, NULL,
                       "the mediator refused: not this");
        assert_string_equal(asked, cases[i].asked);
        peer_finish();
    }
}

/* What is wrong with the command is found before anything is held. */
static void test_wrong_usage(void **state)
{
    static const struct support_case cases[] = {
        {"test-mode --wait=0", 2, "", "from 1 to 100000"},
        {"test-mode --wait=100001", 2, "", "from 1 to 100000"},
        {"test-mode --seconds=0", 2, "", "from 1 to 3600"},
        {"test-mode --seconds=3601", 2, "", "from 1 to 3600"},
        {"test-mode --prefer-vm=3", 1, "", "no VM is named \"3\""},
        {"test-mode --prefer-vm=web", 1, "", "no VM is named \"web\""},
        {NULL},
    };

    (void)state;
    support_table(cases);
    assert_string_equal(asked, "");
    support_expect("show-connections", 0, NULL, NULL); /* so that the mediator ends */
    peer_finish();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_order),
        TEST(test_order_as_a_document),
        TEST(test_decisions_that_are_missing),
        TEST(test_waits_for_them),
        TEST(test_nothing_waits),
        TEST(test_refused),
        TEST(test_wrong_usage),
        TEST(test_interrupted), /* the last: it stays interrupted in this process */
    };

    return cmocka_run_group_tests_name("test_mode", tests, NULL, NULL);
}
