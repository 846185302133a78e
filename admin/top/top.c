/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-admin top: looks at the mediator every few seconds and shows it.
 *
 * A look is three requests; what they say becomes a snapshot (top_model.c), two
 * snapshots become rows, rows become lines (top_layout.c), and ncurses shows
 * these (top_view.c).  A mediator that does not answer is said on the third line,
 * over the last picture there was, and asked again at the next look.  Keys go to
 * top_keys.c.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "admin/base/clock.h"
#include "admin/base/link.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/tools.h"
#include "admin/top/top_internal.h"
#include "admin/top/top_view.h"
#include "common/parse.h"
#include "vgpu/vgpu_admin.h"

#define INTERVAL_DEFAULT_S 2.0
#define INTERVAL_ONCE_S 1.0
#define REQUEST_TIMEOUT_S 2 /* the keys must not wait for a stuck mediator any longer */
#define ONCE_WIDTH 120      /* of --once without a terminal */

/* ---- looking ---- */

/* A connection that broke since the last look is made anew at once. */
static int ask(struct top *top, uint32_t command, json_t **answer)
{
    struct admin_link *link = admin_get_link(top->admin);
    int result = admin_link_request(link, command, 0, NULL, answer);

    return result == -ECONNRESET ? admin_link_request(link, command, 0, NULL, answer) : result;
}

/* 0, or the result of the request for the status. */
static int look(struct top *top)
{
    json_t *status = NULL, *metrics = NULL, *health = NULL;
    struct top_snapshot *snapshot = NULL;
    int result = ask(top, VGPU_ADMIN_SHOW_STATUS, &status);

    if (result == 0) {
        /* An older mediator may lack one of these: its columns stay empty. */
        ask(top, VGPU_ADMIN_SHOW_METRICS, &metrics);
        ask(top, VGPU_ADMIN_SHOW_HEALTH, &health);
        snapshot = top_snapshot_new(status, metrics, health, clock_now_s());
        if (!snapshot) {
            result = -EPROTO;
        }
    }
    if (snapshot) {
        top_snapshot_free(top->before);
        top->before = top->now;
        top->now = snapshot;
        top->trouble[0] = '\0';
    } else {
        snprintf(top->trouble, sizeof(top->trouble), "NOT REACHABLE: %s",
                 result == -EPROTO ? "its status cannot be understood"
                                   : admin_link_error(top->admin->link));
    }
    json_decref(status);
    json_decref(metrics);
    json_decref(health);
    return result;
}

static bool sort_rows(struct top *top)
{
    top_rows_free(&top->rows);
    return !top->now || top_rows_build(top->before, top->now, &top->view.query, &top->rows);
}

/* ---- the picture ---- */

static void set_clock(struct top *top)
{
    time_t now = time(NULL);
    struct tm parts;

    localtime_r(&now, &parts);
    strftime(top->clock, sizeof(top->clock), "%H:%M:%S", &parts);
    top->view.clock = top->clock;
}

static bool lay_out(struct top *top, struct top_page *page)
{
    top->view.trouble = top->trouble[0] ? top->trouble : NULL;
    top->view.help = top->mode == TOP_MODE_HELP;
    top->view.prompt = top_prompt(top);
    return sort_rows(top) && top_layout(&top->view, top->now, &top->rows, page);
}

static bool show(struct top *top)
{
    struct top_page page = {0};
    bool done;

    top_view_size(&top->view.width, &top->view.height);
    done = lay_out(top, &page);
    if (done) {
        top_view_show(&page);
    }
    top_page_free(&page);
    return done;
}

static int run_live(struct top *top)
{
    double next_s = 0;
    bool going = true;

    switch (top_view_start(top->admin->color)) {
    case 0: break;
    case -ENODEV:
        return admin_fail(top->admin, ADMIN_FAILED,
                          "the terminal TERM=%s is not known here, or cannot move its cursor; "
                          "vgpu-admin top --once needs none",
                          getenv("TERM") ? getenv("TERM") : "");
    case -ENOSYS:
        return admin_fail(top->admin, ADMIN_FAILED,
                          "this vgpu-admin was built without ncurses; vgpu-admin top --once needs "
                          "none");
    default:
        return admin_fail(top->admin, ADMIN_USAGE,
                          "top needs a terminal; vgpu-admin top --once prints one picture without");
    }
    while (going) {
        double wait_s = next_s - clock_now_s();
        bool again = false;
        int key;

        if (wait_s <= 0) {
            if (!top->view.paused) {
                look(top);
                set_clock(top);
            }
            next_s = clock_now_s() + top->view.interval_s;
            wait_s = top->view.interval_s;
        }
        if (!show(top)) {
            top_view_end();
            return admin_fail(top->admin, ADMIN_FAILED, "out of memory");
        }
        key = top_view_wait((int)(wait_s * 1000) + 1);
        if (key == TOP_KEY_QUIT) {
            break;
        }
        if (key != TOP_KEY_NONE && key != TOP_KEY_RESIZED) {
            going = top_on_key(top, key, &again);
        }
        if (again) {
            next_s = 0;
        }
    }
    top_view_end();
    return ADMIN_OK;
}

/* ---- once ---- */

static void sleep_s(double seconds)
{
    struct timespec ts = clock_timespec((uint64_t)(seconds * NS_PER_S));

    while (nanosleep(&ts, &ts) < 0 && errno == EINTR) {
    }
}

static void print_page(const struct top_page *page)
{
    for (size_t i = 0; i < page->count; i++) {
        const struct top_line *line = &page->lines[i];
        size_t length = line->bytes;

        while (length > 0 && line->text[length - 1] == ' ') {
            length--;
        }
        printf("%.*s\n", (int)length, line->text);
    }
}

static int run_once(struct top *top)
{
    struct top_page page = {0};
    int result = look(top);

    if (result == 0) {
        sleep_s(top->view.interval_s);
        result = look(top);
    }
    if (result < 0) {
        return admin_fail(
            top->admin, admin_link_is_unreachable(result) ? ADMIN_UNREACHABLE : ADMIN_FAILED, "%s",
            result == -EPROTO ? top->trouble : admin_link_error(top->admin->link));
    }
    top->view.width = render_width() ? render_width() : ONCE_WIDTH;
    if (!lay_out(top, &page)) {
        return admin_fail(top->admin, ADMIN_FAILED, "out of memory");
    }
    if (top->admin->json) {
        admin_print_json(top->admin, top_rows_json(top->now, &top->rows));
    } else {
        print_page(&page);
    }
    top_page_free(&page);
    return ADMIN_OK;
}

/* ---- the command ---- */

static int read_options(struct admin *admin, struct top *top)
{
    const char *interval = admin_option(admin, "interval"), *sort = admin_option(admin, "sort");
    const char *filter = admin_option(admin, "filter");

    if (interval &&
        !parse_real(interval, TOP_INTERVAL_MIN_S, TOP_INTERVAL_MAX_S, &top->view.interval_s)) {
        return admin_fail(admin, ADMIN_USAGE,
                          "--interval must be a number of seconds from %g to %g, not \"%s\"",
                          TOP_INTERVAL_MIN_S, TOP_INTERVAL_MAX_S, interval);
    }
    if (sort) {
        const char *words[TOP_SORT_COUNT + 1] = {NULL};
        size_t index;
        int status;

        for (int i = 0; i < TOP_SORT_COUNT; i++) {
            words[i] = top_sort_name((enum top_sort)i);
        }
        status = admin_choice(admin, "sort", words, &index);
        if (status != ADMIN_OK) {
            return status;
        }
        top->view.query.sort = (enum top_sort)index;
    }
    if (filter) {
        snprintf(top->filter, sizeof(top->filter), "%s", filter);
    }
    return ADMIN_OK;
}

static int run_top(struct admin *admin)
{
    bool once = admin_option(admin, "once") != NULL || admin->json;
    struct top top = {.admin = admin};
    int status, number;

    top.view.query.sort = TOP_SORT_VM_ID;
    top.view.query.filter = top.filter;
    top.view.interval_s = once ? INTERVAL_ONCE_S : INTERVAL_DEFAULT_S;
    status = read_options(admin, &top);
    if (status != ADMIN_OK) {
        return status;
    }
    if (!once && admin->timeout_s == 0) {
        admin->timeout_s = REQUEST_TIMEOUT_S;
    }
    status = once ? run_once(&top) : run_live(&top);
    top_rows_free(&top.rows);
    top_snapshot_free(top.before);
    top_snapshot_free(top.now);
    number = once ? 0 : top_view_signal();
    if (number && number != SIGINT) {
        /* Whoever sent it sees that it was the signal. */
        signal(number, SIG_DFL);
        raise(number);
    }
    return status;
}

const struct admin_command commands_top[] = {
    {
        .name = "top",
        .group = "At a glance",
        .summary = "Show GPUs and VMs live: shares, queues, rates, latencies",
        .usage = "[--once] [--interval=S] [--sort=COLUMN] [--filter=TEXT]",
        .details =
            "On a terminal, until q; ? shows the keys: sort, filter, stop, set a VM's weight,\n"
            "quarantine it. GOT is the part of its GPU's time that a VM had lately, DUE the part\n"
            "that it may have while others want it too. With --once (or --json) it looks twice,\n"
            "--interval apart, and prints one picture as plain text.",
        .example = "vgpu-admin top\nvgpu-admin top --once --sort=share",
        ADMIN_TAKES({.name = "once", .help = "print one picture and end"},
                    {.name = "interval",
                     .metavar = "S",
                     .help = "seconds from one look to the next (default 2; with --once 1)"},
                    {.name = "sort",
                     .metavar = "vm_id|name|state|weight|share|due|queue|rate|p99",
                     .help = "the column (default vm_id)"},
                    {.name = "filter",
                     .metavar = "TEXT",
                     .help = "only VMs with this in their name, UUID or state, or of this pool"}),
        .run = run_top,
    },
    {0},
};
