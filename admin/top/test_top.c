/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vgpu-admin top without a terminal: what two looks become, and where it is drawn. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "admin/top/top_layout.h"
#include "admin/top/top_model.h"
#include "admin/top/top_table.h"

static json_t *vm_status(int vm_id, const char *name, int weight, int completed, double share,
                         const char *state)
{
    return json_pack("{s:i, s:s, s:s, s:s, s:i, s:i, s:b, s:b, s:i, s:s, s:i, s:i, s:i, s:i, s:i, "
                     "s:f, s:f, s:i}",
                     "vm_id", vm_id, "uuid", name[0] ? "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001" : "",
                     "name", name, "pool", vm_id % 2 ? "A" : "B", "priority", 1, "weight", weight,
                     "connected", 1, "quarantined", strcmp(state, "quarantined") == 0, "gpu", 0,
                     "state", state, "queue_depth", vm_id * 10, "in_flight", 2, "completed",
                     completed, "errors", 0, "rejected_rate", completed / 10, "due_share", 0.25,
                     "share", share, "lag_ns", 5);
}

static json_t *status_of(double uptime_s, json_t *vms)
{
    return json_pack("{s:s, s:f, s:s, s:b, s:s, s:n, s:[{s:i, s:s, s:s, s:i, s:i, s:I, s:i, s:I}], "
                     "s:o}",
                     "version", "9.9", "uptime_s", uptime_s, "policy", "wfq", "paused", 0,
                     "backend", "cpu", "database", "gpus", "index", 0, "name", "NVIDIA H200",
                     "state", "ok", "queued", 7, "in_flight", 2, "busy_ns",
                     (json_int_t)(uptime_s * 5e8), "context_switches", 100, "memory_bytes",
                     (json_int_t)150754820096, "vms", vms);
}

static struct top_snapshot *look(double uptime_s, json_t *vms, const json_t *metrics,
                                 const json_t *health)
{
    json_t *status = status_of(uptime_s, vms);
    struct top_snapshot *snapshot = top_snapshot_new(status, metrics, health, uptime_s);

    assert_non_null(snapshot);
    json_decref(status);
    return snapshot;
}

static json_t *three_vms(int more)
{
    return json_pack("[o, o, o]", vm_status(3, "web", 50, 300 + 3 * more, 0.5, "active"),
                     vm_status(1, "db", 80, 100 + more, 0.2, "idle"),
                     vm_status(20, "", 20, 50, 0.3, "quarantined"));
}

static struct top_rows rows_of(const struct top_snapshot *before, const struct top_snapshot *now,
                               enum top_sort sort, bool reverse, const char *filter)
{
    struct top_query query = {sort, reverse, filter};
    struct top_rows rows;

    assert_true(top_rows_build(before, now, &query, &rows));
    return rows;
}

static void test_rates(void **state)
{
    struct top_snapshot *before = look(10, three_vms(0), NULL, NULL);
    struct top_snapshot *now = look(12, three_vms(100), NULL, NULL);
    struct top_rows rows = rows_of(before, now, TOP_SORT_VM_ID, false, "");

    assert_int_equal(rows.vm_count, 3);
    assert_int_equal(rows.vms[0].vm->vm_id, 1);
    assert_int_equal(rows.vms[1].vm->vm_id, 3);
    assert_int_equal(rows.vms[2].vm->vm_id, 20);
    assert_true(fabs(rows.vms[0].rate_hz - 50) < 1e-9);
    assert_true(fabs(rows.vms[1].rate_hz - 150) < 1e-9);
    assert_true(fabs(rows.vms[1].error_hz - 15) < 1e-9);
    assert_true(rows.vms[2].rate_hz == 0);
    assert_true(fabs(rows.rate_hz - 200) < 1e-9);
    assert_true(fabs(rows.gpus[0].busy - 0.5) < 1e-9);
    assert_int_equal(rows.connected, 3);
    assert_int_equal(rows.quarantined, 1);
    top_rows_free(&rows);

    /* Nothing earlier: no rate, rather than a wrong one. */
    rows = rows_of(NULL, now, TOP_SORT_VM_ID, false, "");
    assert_true(isnan(rows.vms[0].rate_hz) && isnan(rows.rate_hz) && isnan(rows.gpus[0].busy));
    top_rows_free(&rows);

    /* The mediator was started anew: its counters too. */
    rows = rows_of(now, before, TOP_SORT_VM_ID, false, "");
    assert_true(isnan(rows.vms[0].rate_hz));
    top_rows_free(&rows);
    top_snapshot_free(before);
    top_snapshot_free(now);
}

/* A VM whose share has these figures. */
static json_t *owed_vm(int lag_ms, int entitled_ms, int kept_ms, int switching_ms)
{
    json_t *vm = vm_status(1, "web", 50, 0, 0.2, "active");

    json_object_set_new(vm, "lag_ns", json_integer(lag_ms * 1000000));
    json_object_set_new(vm, "entitled_ns", json_integer(entitled_ms * 1000000));
    json_object_set_new(vm, "kept_idle_ns", json_integer(kept_ms * 1000000));
    json_object_set_new(vm, "switching_ns", json_integer(switching_ms * 1000000));
    json_object_set_new(vm, "programs", json_integer(2));
    json_object_set_new(vm, "launches", json_integer(switching_ms * 100));
    return json_pack("[o]", vm);
}

static void test_figures_of_shares(void **state)
{
    struct top_snapshot *before = look(10, owed_vm(5, 1000, 100, 10), NULL, NULL);
    struct top_snapshot *now = look(12, owed_vm(-3, 1500, 300, 20), NULL, NULL);
    struct top_rows rows = rows_of(before, now, TOP_SORT_VM_ID, false, "");
    struct top_view view = {.width = 140};
    struct top_line titles = {0}, line = {0};

    assert_float_equal(rows.vms[0].vm->owed_ns, -3e6, 1);
    assert_float_equal(rows.vms[0].entitled, 0.25, 1e-9);
    assert_float_equal(rows.vms[0].kept_idle, 0.1, 1e-9);
    assert_float_equal(rows.vms[0].switching, 0.005, 1e-9);
    top_vm_title(&titles, &view);
    top_vm_line(&line, &view, &rows.vms[0]);
    assert_non_null(strstr(titles.text, "    OWED  KEPT PROGS LAUNCH/S     P99"));
    assert_non_null(strstr(line.text, "  -3.0ms 10.0%     2    500.0"));
    view.width = 137;
    memset(&titles, 0, sizeof(titles));
    top_vm_title(&titles, &view);
    assert_non_null(strstr(titles.text, "    OWED  KEPT     P99"));
    top_rows_free(&rows);
    rows = rows_of(NULL, now, TOP_SORT_VM_ID, false, "");
    assert_true(isnan(rows.vms[0].kept_idle));
    top_rows_free(&rows);
    top_snapshot_free(before);
    top_snapshot_free(now);
}

static void test_rates_are_of_one_vm(void **state)
{
    struct top_snapshot *before =
        look(10, json_pack("[o]", vm_status(1, "", 50, 10, 0.1, "idle")), NULL, NULL);
    struct top_snapshot *now =
        look(12, json_pack("[o]", vm_status(1, "new", 50, 500, 0.1, "idle")), NULL, NULL);
    struct top_rows rows = rows_of(before, now, TOP_SORT_VM_ID, false, "");

    assert_true(isnan(rows.vms[0].rate_hz));
    top_rows_free(&rows);
    top_snapshot_free(before);
    top_snapshot_free(now);
}

static void test_order_and_filter(void **state)
{
    static const struct {
        enum top_sort sort;
        bool reverse;
        const char *filter;
        unsigned ids[4]; /* ends with 0 */
    } cases[] = {
        {TOP_SORT_VM_ID, false, NULL, {1, 3, 20, 0}}, {TOP_SORT_VM_ID, true, "", {20, 3, 1, 0}},
        {TOP_SORT_NAME, false, "", {20, 1, 3, 0}},    {TOP_SORT_STATE, false, "", {3, 1, 20, 0}},
        {TOP_SORT_WEIGHT, false, "", {1, 3, 20, 0}},  {TOP_SORT_SHARE, false, "", {3, 20, 1, 0}},
        {TOP_SORT_DUE, false, "", {1, 3, 20, 0}}, /* all equal: by number */
        {TOP_SORT_QUEUE, false, "", {20, 3, 1, 0}},   {TOP_SORT_RATE, false, "", {3, 1, 20, 0}},
        {TOP_SORT_RATE, true, "", {20, 1, 3, 0}},     {TOP_SORT_VM_ID, false, "WEB", {3, 0}},
        {TOP_SORT_VM_ID, false, "quar", {20, 0}},     {TOP_SORT_VM_ID, false, "a", {1, 3, 20, 0}},
        {TOP_SORT_VM_ID, false, "20", {20, 0}},       {TOP_SORT_VM_ID, false, "7f1d", {1, 3, 0}},
        {TOP_SORT_VM_ID, false, "nothing", {0}},
    };
    struct top_snapshot *before = look(10, three_vms(0), NULL, NULL);
    struct top_snapshot *now = look(12, three_vms(100), NULL, NULL);

    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct top_rows rows =
            rows_of(before, now, cases[c].sort, cases[c].reverse, cases[c].filter);
        size_t n = 0;

        for (; cases[c].ids[n]; n++) {
            assert_true(n < rows.vm_count);
            assert_int_equal(rows.vms[n].vm->vm_id, cases[c].ids[n]);
        }
        assert_int_equal(rows.vm_count, n);
        assert_int_equal(rows.hidden, 3 - n);
        top_rows_free(&rows);
    }
    top_snapshot_free(before);
    top_snapshot_free(now);
}

static void test_metrics_and_health(void **state)
{
    json_t *metrics = json_pack("{s:[{s:i, s:{s:{s:i, s:i}}}, {s:i, s:{s:{s:i, s:i}}}]}", "vms",
                                "vm_id", 3, "latency", "total", "samples", 9, "p99_ns", 13200000,
                                "vm_id", 1, "latency", "total", "samples", 0, "p99_ns", 0);
    json_t *health =
        json_pack("{s:[{s:i, s:{s:i, s:i, s:i, s:I, s:I, s:b}}]}", "gpus", "index", 0, "health",
                  "temperature_c", 45, "power_mw", 350000, "gpu_percent", 87, "memory_used_bytes",
                  (json_int_t)1 << 30, "memory_total_bytes", (json_int_t)4 << 30, "needs_reset", 1);
    struct top_snapshot *s = look(10, three_vms(0), metrics, health);

    assert_true(s->gpus[0].temperature_c == 45 && s->gpus[0].power_w == 350);
    assert_true(fabs(s->gpus[0].utilization - 0.87) < 1e-9);
    assert_true(s->gpus[0].memory_used_bytes == 1 << 30 && s->gpus[0].needs_reset);
    assert_true(s->vms[0].p99_ns == 13200000);
    assert_true(isnan(s->vms[1].p99_ns)); /* no sample: no quantile */
    assert_true(isnan(s->vms[2].p99_ns));
    top_snapshot_free(s);
    json_decref(metrics);
    json_decref(health);

    s = look(10, three_vms(0), NULL, NULL);
    assert_true(isnan(s->gpus[0].temperature_c) && isnan(s->gpus[0].memory_used_bytes));
    assert_true(s->gpus[0].memory_total_bytes == 150754820096.0);
    top_snapshot_free(s);
}

/* What is no status makes no snapshot; what lacks members makes one without. */
static void test_strange_answers(void **state)
{
    static const char *const none[] = {"{}", "{\"gpus\": 3, \"vms\": []}", "{\"vms\": []}"};
    struct top_snapshot *s;
    struct top_rows rows;
    json_t *document;
    json_t *json;

    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        document = json_loads(none[i], 0, NULL);
        assert_null(top_snapshot_new(document, NULL, NULL, 1));
        json_decref(document);
    }
    document = json_loads("{\"gpus\": [7, {}], \"vms\": [{}, null, \"x\", {\"vm_id\": -1, "
                          "\"name\": 3, \"pool\": \"\", \"priority\": \"high\"}]}",
                          0, NULL);
    s = top_snapshot_new(document, document, document, 1);
    assert_non_null(s);
    assert_int_equal(s->vms[3].priority, 2);
    rows = rows_of(s, s, TOP_SORT_P99, false, "");
    assert_int_equal(rows.vm_count, 4);
    json = top_rows_json(s, &rows);
    assert_non_null(json);
    json_decref(json);
    top_rows_free(&rows);
    top_snapshot_free(s);
    json_decref(document);
}

static void test_bar(void **state)
{
    static const struct {
        double share, due;
        const char *bar;
    } cases[] = {
        {0, 0, ".........."},      {1, 0, "##########"},     {0.5, 0.5, "#####|...."},
        {0.5, 0.25, "###|#....."}, {0.2, 0.8, "##......|."}, {0.5, 1, "#####....|"},
        {NAN, NAN, ".........."},  {7, -1, "##########"},    {-1, 7, ".........|"},
    };
    char out[16];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        top_bar(cases[i].share, cases[i].due, 10, out);
        assert_string_equal(out, cases[i].bar);
    }
    top_bar(0.5, 0.5, 0, out);
    assert_string_equal(out, "");
}

static struct top_page draw(struct top_view *view, const struct top_snapshot *s)
{
    struct top_rows rows = {0};
    struct top_page page;

    view->query.filter = "";
    if (s) {
        assert_true(top_rows_build(NULL, s, &view->query, &rows));
    }
    assert_true(top_layout(view, s, &rows, &page));
    top_rows_free(&rows);
    return page;
}

static bool shows(const struct top_page *page, const char *text)
{
    for (size_t i = 0; i < page->count; i++) {
        if (strstr(page->lines[i].text, text)) {
            return true;
        }
    }
    return false;
}

/* Every size: as many lines as there is room for, none of them wider. */
static void test_every_size(void **state)
{
    json_t *vms = json_array();
    struct top_snapshot *s;

    for (int i = 1; i <= 100; i++) {
        char name[64];
        snprintf(name, sizeof(name),
                 "f\xc3\xbc"
                 "r-%d-\xe6\xbc\xa2\xe5\xad\x97-\x01",
                 i);
        json_array_append_new(vms, vm_status(i, name, 100, 1000000, 1, "quarantined"));
    }
    s = look(10, vms, NULL, NULL);
    for (unsigned width = 1; width <= 260; width += width < 130 ? 1 : 13) {
        for (unsigned height = 1; height <= 50; height += 7) {
            struct top_view view = {.width = width,
                                    .height = height,
                                    .clock = "12:00:00",
                                    .trouble = "NOT REACHABLE: a long text about what is wrong "
                                               "that does not fit a narrow terminal by far"};
            struct top_page page = draw(&view, s);
            bool small;

            assert_true(page.count <= height);
            for (size_t i = 0; i < page.count; i++) {
                assert_true(page.lines[i].columns <= width);
                assert_true(strlen(page.lines[i].text) == page.lines[i].bytes);
                assert_null(strchr(page.lines[i].text, '\x01'));
                assert_true(page.lines[i].bytes == 0 ||
                            page.lines[i].spans[page.lines[i].span_count - 1].end <=
                                page.lines[i].bytes);
            }
            small = width < TOP_WIDTH_MIN || height < TOP_HEIGHT_MIN;
            assert_int_equal(page.count, small ? 1 : height);
            top_page_free(&page);
        }
    }
    top_snapshot_free(s);
}

static void test_80x24(void **state)
{
    struct top_snapshot *s = look(10, three_vms(0), NULL, NULL);
    struct top_view view = {.width = 80,
                            .height = 24,
                            .clock = "12:34:56",
                            .interval_s = 2,
                            .has_selection = true,
                            .selected = 3};
    struct top_page page = draw(&view, s);

    assert_int_equal(page.count, 24);
    assert_non_null(strstr(page.lines[0].text, "vgpu-mediator 9.9"));
    assert_non_null(strstr(page.lines[0].text, "12:34:56  every 2 s"));
    assert_int_equal(page.lines[0].columns, 80);
    assert_string_equal(page.lines[1].text,
                        "3 VMs, 3 connected, 1 quarantined   - jobs/s   by vm_id");
    assert_true(strncmp(page.lines[3].text, "GPU NAME", 8) == 0);
    assert_true(strncmp(page.lines[4].text, "  0 NVIDIA H200", 15) == 0);
    assert_true(strncmp(page.lines[6].text, "VM_ID NAME", 10) == 0);
    assert_int_equal(page.lines[6].columns, 80);
    assert_string_equal(page.lines[8].text, "    3 web        50   0 active        "
                                            "##|##.... 50.0% 25.0%  30+2      -       -");
    assert_true(page.lines[8].selected && !page.lines[7].selected && !page.lines[9].selected);
    assert_true(strncmp(page.lines[23].text, "q quit", 6) == 0);
    top_page_free(&page);

    view.trouble = "NOT REACHABLE: gone";
    view.prompt = "Weight of web from 50 to 60? [y/N]";
    page = draw(&view, s);
    assert_string_equal(page.lines[2].text, view.trouble);
    assert_string_equal(page.lines[23].text, view.prompt);
    assert_true(shows(&page, "web")); /* the last picture stays */
    top_page_free(&page);

    view.help = true;
    page = draw(&view, s);
    assert_true(shows(&page, "quarantine the chosen VM"));
    assert_int_equal(page.count, 24);
    for (size_t i = 0; i < page.count; i++) {
        assert_true(page.lines[i].columns < 80 || i == 0);
    }
    top_page_free(&page);
    top_snapshot_free(s);

    view.help = false;
    page = draw(&view, NULL); /* nothing is known yet */
    assert_string_equal(page.lines[2].text, view.trouble);
    top_page_free(&page);
}

/* Whichever VM is chosen is in sight, and the list does not jump. */
static void test_scrolling(void **state)
{
    json_t *vms = json_array();
    struct top_view view = {.width = 80, .height = 24, .has_selection = true};
    struct top_snapshot *s;
    size_t shown = 0;
    struct top_page page;

    for (int i = 1; i <= 100; i++) {
        json_array_append_new(vms, vm_status(i, "x", 50, 0, 0, "idle"));
    }
    s = look(10, vms, NULL, NULL);
    for (int i = 0; i < 250; i++) {
        size_t before = view.scroll, selected = 0;

        view.selected = (uint32_t)(i < 100 ? i + 1 : i < 199 ? 199 - i : (i * 37) % 100 + 1);
        page = draw(&view, s);
        shown = 0;
        for (size_t l = 7; l < page.count - 1; l++) {
            shown += page.lines[l].bytes > 0;
            selected += page.lines[l].selected;
        }
        assert_int_equal(shown, 16);
        assert_int_equal(selected, 1);
        if (i > 0 && i < 199) {
            assert_true(view.scroll + 1 >= before && view.scroll <= before + 1);
        }
        top_page_free(&page);
    }
    view.scroll = 5000; /* the list became shorter */
    view.has_selection = false;
    page = draw(&view, s);
    assert_int_equal(view.scroll, 100 - shown);
    top_page_free(&page);
    top_snapshot_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_figures_of_shares),
        cmocka_unit_test(test_rates_are_of_one_vm),
        cmocka_unit_test(test_order_and_filter),
        cmocka_unit_test(test_metrics_and_health),
        cmocka_unit_test(test_strange_answers),
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_every_size),
        cmocka_unit_test(test_80x24),
        cmocka_unit_test(test_scrolling),
    };

    setlocale(LC_ALL, "C.UTF-8");
    return cmocka_run_group_tests_name("top", tests, NULL, NULL);
}
