/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is told, what is left out, and that what is left out is counted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json_out.h"
#include "common/log.h"
#include "common/ns.h"
#include "common/uuid.h"
#include "core/no_effects.h"
#include "mediator/events.h"
#include "mediator/sessions/session_io.h"
#include "mediator/test_loop.h"

#define FLOOD 1000u
#define UUID "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001"

static struct events *events;
static struct core *core;
static struct event_record latest;
static uint32_t heard;
static uint64_t began_ns;

static void on_record(void *opaque, const struct event_record *record)
{
    assert_ptr_equal(opaque, &heard);
    assert_true(record->sequence > latest.sequence);
    latest = *record;
    heard++;
}

static int setup(void **state)
{
    struct core_config config;

    core_config_defaults(&config);
    core = core_new(&config, &no_effects);
    events = events_new();
    assert_true(core && events);
    events_set_core(events, core);
    events_subscribe(events, on_record, &heard);
    memset(&latest, 0, sizeof(latest));
    heard = 0;
    began_ns = clock_now_ns();
    return 0;
}

static int teardown(void **state)
{
    events_free(events);
    core_free(core);
    return 0;
}

static struct core_event event_of(enum core_event_kind kind, uint32_t vm)
{
    return (struct core_event){.kind = kind,
                               .session = CORE_NONE,
                               .vm = vm,
                               .vm_id = vm == CORE_NONE ? CORE_NONE : vm + 100,
                               .gpu = CORE_NONE,
                               .text = ""};
}

static void tell(enum core_event_kind kind, uint32_t vm, uint32_t times)
{
    struct core_event event = event_of(kind, vm);

    while (times--) {
        events_core(events, &event);
    }
}

/* What a bucket may have earned since the test began, however slow this machine is. */
static uint32_t earned(void)
{
    return (uint32_t)((clock_now_ns() - began_ns) / NS_PER_S) * EVENTS_PER_SECOND;
}

static void assert_told(uint32_t least)
{
    assert_in_range(heard, least, least + earned());
}

static void test_a_flood_of_refused_requests_leaves_room_for_what_is_rarer(void **state)
{
    tell(CORE_EVENT_REQUEST_INVALID, 3, FLOOD);
    assert_told(EVENTS_BURST / 2);
    tell(CORE_EVENT_REJECTED, 3, FLOOD);
    assert_told(EVENTS_BURST / 2);
    tell(CORE_EVENT_FAULT, 3, 1);
    assert_string_equal(latest.kind, core_event_name(CORE_EVENT_FAULT));
    tell(CORE_EVENT_SESSION_CLOSED, 3, FLOOD);
    assert_told(EVENTS_BURST);
}

static void test_one_vms_flood_takes_nothing_from_another(void **state)
{
    tell(CORE_EVENT_SESSION_BOUND, 3, FLOOD);
    assert_told(EVENTS_BURST);
    tell(CORE_EVENT_SESSION_BOUND, 4, EVENTS_BURST);
    assert_told(2 * EVENTS_BURST);
    assert_int_equal(latest.vm_id, 104);
    /* Connections of no VM have a bucket of their own. */
    tell(CORE_EVENT_SESSION_REFUSED, CORE_NONE, FLOOD);
    assert_told(3 * EVENTS_BURST);
    events_session_note(events, 17, "one too many");
    assert_told(3 * EVENTS_BURST);
}

static void test_what_no_guest_can_cause_is_never_left_out(void **state)
{
    tell(CORE_EVENT_SESSION_BOUND, 3, FLOOD);
    heard = 0;
    tell(CORE_EVENT_QUARANTINED, 3, 100);
    tell(CORE_EVENT_UNQUARANTINED, 3, 100);
    tell(CORE_EVENT_GPU_LOST, CORE_NONE, 100);
    tell(CORE_EVENT_GPU_BACK, CORE_NONE, 100);
    for (int i = 0; i < 100; i++) {
        events_admin(events, "policy", 103, "number %d", i);
    }
    assert_int_equal(heard, 500);
    assert_string_equal(latest.text, "number 99");
    assert_string_equal(latest.kind, "policy");
    assert_int_equal(latest.vm_id, 103);
}

/* Stands in for stderr while something is logged; the text is the caller's. */
static char *logged_by(void (*what)(void))
{
    FILE *file = tmpfile();
    int old = dup(STDERR_FILENO);
    char *text = calloc(1, 65536);

    assert_true(file && old >= 0 && text);
    dup2(fileno(file), STDERR_FILENO);
    log_init("test", LOG_LEVEL_DEBUG, false); /* it looks at stderr */
    what();
    dup2(old, STDERR_FILENO);
    log_init("test", LOG_LEVEL_NOTICE, false);
    close(old);
    rewind(file);
    assert_true(fread(text, 1, 65535, file) < 65535);
    fclose(file);
    return text;
}

static void flood_then_stop(void)
{
    uv_loop_t loop;

    uv_loop_init(&loop);
    assert_int_equal(events_start(events, &loop), 0);
    tell(CORE_EVENT_SESSION_BOUND, 3, EVENTS_BURST + 7);
    for (uint32_t i = 0; i < EVENTS_BURST + 5; i++) {
        events_session_note(events, 17, "it is a nuisance");
    }
    events_stop(events);
    events_stop(events); /* nothing is told twice */
    end_loop(&loop);
}

static void test_what_was_left_out_is_counted_and_told_at_the_end(void **state)
{
    char *text, *of_vm, *of_nobody;
    unsigned left_out;

    text = logged_by(flood_then_stop);
    of_vm = strstr(text, "VM 103: ");
    while (of_vm && sscanf(of_vm, "VM 103: %u lines were suppressed", &left_out) != 1) {
        of_vm = strstr(of_vm + 1, "VM 103: ");
    }
    assert_non_null(of_vm);
    assert_in_range(left_out, 7 - (earned() < 7 ? earned() : 7), 7);
    assert_null(strstr(of_vm + 1, "VM 103: "));
    of_nobody = strstr(text, " lines about connections of no known VM were suppressed");
    assert_non_null(of_nobody);
    while (of_nobody > text && of_nobody[-1] >= '0' && of_nobody[-1] <= '9') {
        of_nobody--;
    }
    assert_in_range(strtoul(of_nobody, NULL, 10), 5 - (earned() < 5 ? earned() : 5), 5);
    free(text);
}

struct seen {
    uint64_t first, last;
    uint32_t count;
};

static void see(void *opaque, const struct event_record *record)
{
    struct seen *seen = opaque;

    assert_true(seen->count == 0 || record->sequence == seen->last + 1);
    seen->first = seen->count++ ? seen->first : record->sequence;
    seen->last = record->sequence;
}

static void test_the_last_ones_are_kept_in_order(void **state)
{
    struct seen seen = {0}, few = {0}, none = {0};

    events_recent(events, EVENTS_KEPT, see, &none);
    assert_int_equal(none.count, 0);
    for (uint32_t i = 0; i < EVENTS_KEPT + 10; i++) {
        events_admin(events, "policy", CORE_NONE, "%u", i);
    }
    events_recent(events, UINT32_MAX, see, &seen);
    assert_int_equal(seen.count, EVENTS_KEPT);
    assert_int_equal(seen.first, 11);
    assert_int_equal(seen.last, EVENTS_KEPT + 10);
    events_recent(events, 3, see, &few);
    assert_int_equal(few.count, 3);
    assert_int_equal(few.last, seen.last);
}

static void test_workers_that_end_with_the_daemon_are_no_news(void **state)
{
    tell(CORE_EVENT_WORKER_LOST, 3, 1);
    assert_int_equal(heard, 1);
    events_stopping(events);
    tell(CORE_EVENT_WORKER_LOST, 3, 1);
    assert_int_equal(heard, 1);
    tell(CORE_EVENT_FAULT, 3, 1);
    assert_int_equal(heard, 2);
}

static uint32_t open_unregistered(const char *name)
{
    struct core_identity identity = {.kind = CORE_IDENTITY_UUID};
    uint32_t session;

    assert_true(uuid_parse(UUID, identity.uuid));
    snprintf(identity.name, sizeof(identity.name), "%s", name);
    assert_int_equal(core_session_open(core, &identity, 1, &session), 0);
    return session;
}

static void test_the_command_that_registers_a_vm_can_be_pasted(void **state)
{
    struct core_event event = event_of(CORE_EVENT_UNREGISTERED, CORE_NONE);

    event.vm_id = 7;
    event.session = open_unregistered("web 1.front");
    events_core(events, &event);
    assert_non_null(strstr(latest.text, "--vm-name='web 1.front' --vm-uuid=" UUID));
    assert_non_null(strstr(latest.text, "--vm-id=7 "));
    /* A name that a shell would obey is not shown. */
    event.session = open_unregistered("x'; reboot; '");
    events_core(events, &event);
    assert_null(strstr(latest.text, "reboot"));
    assert_non_null(strstr(latest.text, "--vm-name='NAME'"));
    event.vm_id = 0; /* the device was given none */
    events_core(events, &event);
    assert_null(strstr(latest.text, "--vm-id"));
}

static void test_a_clone_is_not_filed_under_the_vm_whose_number_it_has(void **state)
{
    const struct core_vm_config vm = {
        .vm_id = 7, .has_uuid = true, .uuid = {7}, .pool = 'A', .priority = 1, .weight = 50};
    struct core_event event = event_of(CORE_EVENT_UNREGISTERED, CORE_NONE);
    struct core_apply_result result;

    assert_int_equal(core_apply_vms(core, &vm, 1, 1, &result, NULL), 0);
    event.vm_id = 7;
    event.session = open_unregistered("clone");
    events_core(events, &event);
    assert_int_equal(latest.vm_id, CORE_NONE);
    assert_non_null(strstr(latest.text, "the vm_id 7 that its device has is another VM's"));
    assert_null(strstr(latest.text, "--vm-id"));
}

static void test_a_long_text_is_cut_and_no_more(void **state)
{
    struct core_event event = event_of(CORE_EVENT_FAULT, 3);
    char text[64], longer[1000];

    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    event.text = longer;
    memset(text, '#', sizeof(text));
    events_describe(events, &event, text, 32);
    assert_int_equal(strlen(text), 31);
    assert_int_equal(text[32], '#');
    events_core(events, &event);
    assert_int_equal(strlen(latest.text), EVENTS_TEXT_BYTES - 1);
}

static void test_every_event_of_the_core_has_words_of_its_own(void **state)
{
    char text[EVENTS_TEXT_BYTES], number[32];

    for (int kind = 0; kind < CORE_EVENT_KIND_COUNT; kind++) {
        struct core_event event = event_of((enum core_event_kind)kind, 3);

        snprintf(number, sizeof(number), "event %d", kind);
        events_describe(events, &event, text, sizeof(text));
        assert_string_not_equal(text, number);
        assert_true(strlen(text) > 0);
    }
}

static void test_a_record_as_json(void **state)
{
    struct event_record record = {.sequence = 9,
                                  .time_ms = 1700000000007,
                                  .kind = "policy",
                                  .vm_id = CORE_NONE,
                                  .text = "say \"fifo\""};
    struct json_out json;

    jout_init(&json, 4096);
    event_record_json(&json, &record);
    assert_string_equal(json.text, "{\"seq\":9,\"time\":\"2023-11-14T22:13:20.007Z\",\"kind\":"
                                   "\"policy\",\"vm_id\":null,\"detail\":\"say \\\"fifo\\\"\"}");
    jout_destroy(&json);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_flood_of_refused_requests_leaves_room_for_what_is_rarer),
        TEST(test_one_vms_flood_takes_nothing_from_another),
        TEST(test_what_no_guest_can_cause_is_never_left_out),
        TEST(test_what_was_left_out_is_counted_and_told_at_the_end),
        TEST(test_the_last_ones_are_kept_in_order),
        TEST(test_workers_that_end_with_the_daemon_are_no_news),
        TEST(test_the_command_that_registers_a_vm_can_be_pasted),
        TEST(test_a_clone_is_not_filed_under_the_vm_whose_number_it_has),
        TEST(test_a_long_text_is_cut_and_no_more),
        TEST(test_every_event_of_the_core_has_words_of_its_own),
        TEST(test_a_record_as_json),
    };

    return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
