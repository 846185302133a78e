/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-admin top: looks at the mediator every few seconds and shows it.
 *
 * A look is three requests; what they say becomes a snapshot (top_model.c), two
 * snapshots become rows, rows become lines (top_layout.c), and ncurses shows
 * these (top_view.c).  A mediator that does not answer is said on the third line,
 * over the last picture there was, and asked again at the next look.
 *
 * A weight or a quarantine is set by running this program once more, with the
 * command that an administrator would type: the same checks, the same line in
 * the database's events, the same reload.
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/commands.h"
#include "admin/json_get.h"
#include "admin/mediator_client.h"
#include "admin/render.h"
#include "admin/run_program.h"
#include "admin/tools.h"
#include "admin/top_layout.h"
#include "admin/top_model.h"
#include "admin/top_view.h"
#include "vgpu/vgpu_admin.h"

#define INTERVAL_DEFAULT_S 2.0
#define INTERVAL_ONCE_S 1.0
#define INTERVAL_MIN_S 0.2
#define INTERVAL_MAX_S 3600.0
#define REQUEST_TIMEOUT_S 2 /* the keys must not wait for a stuck mediator any longer */
#define CHANGE_TIMEOUT_MS 30000
#define ONCE_WIDTH 120 /* of --once without a terminal */
#define TYPED_BYTES 64
#define MESSAGE_S 6 /* a message gives way to the keys after so long */

enum mode {
    MODE_LOOK,
    MODE_HELP,
    MODE_FILTER,  /* typing one */
    MODE_WEIGHT,  /* typing one */
    MODE_CONFIRM, /* waiting for y */
};

struct top {
    struct admin *admin;
    struct top_snapshot *before, *now;
    struct top_rows rows;
    struct top_view view;
    enum mode mode;
    char clock[16];
    char trouble[256];
    char filter[TYPED_BYTES];
    char old_filter[TYPED_BYTES];
    char typed[TYPED_BYTES];
    char prompt[512];
    char message[512];
    double message_until_s;
    /* What is confirmed: the command, its VM and its value. */
    const char *change;
    char change_vm[64];
    char change_value[32];
    char change_text[384];
};

static double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- looking ---- */

/* A connection that broke since the last look is made anew at once. */
static int ask(struct top *top, uint32_t command, json_t **answer)
{
    struct mediator *mediator = admin_connect_mediator(top->admin);
    int result = mediator_request(mediator, command, 0, NULL, answer);

    return result == -ECONNRESET ? mediator_request(mediator, command, 0, NULL, answer) : result;
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
        snapshot = top_snapshot_new(status, metrics, health, now_s());
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
                                   : mediator_error(top->admin->mediator));
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

/* ---- the chosen VM ---- */

static const struct top_row *chosen(const struct top *top)
{
    for (size_t i = 0; top->view.has_selection && i < top->rows.vm_count; i++) {
        if (top->rows.vms[i].vm->vm_id == top->view.selected) {
            return &top->rows.vms[i];
        }
    }
    return NULL;
}

static void move_choice(struct top *top, long by)
{
    long at = by < 0 ? 0 : -1;

    if (top->rows.vm_count == 0) {
        return;
    }
    for (size_t i = 0; top->view.has_selection && i < top->rows.vm_count; i++) {
        if (top->rows.vms[i].vm->vm_id == top->view.selected) {
            at = (long)i;
        }
    }
    at += by;
    at = at < 0 ? 0 : at >= (long)top->rows.vm_count ? (long)top->rows.vm_count - 1 : at;
    top->view.has_selection = true;
    top->view.selected = top->rows.vms[at].vm->vm_id;
}

/* ---- changing something ---- */

static void __attribute__((format(printf, 2, 3))) say(struct top *top, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(top->message, sizeof(top->message), format, args);
    va_end(args);
    top->message_until_s = now_s() + MESSAGE_S;
}

static const char *label_of(const struct top_vm *vm, char label[TOP_NAME_BYTES + 32])
{
    snprintf(label, TOP_NAME_BYTES + 32, "%s (vm_id %u)", vm->name[0] ? vm->name : "VM", vm->vm_id);
    return label;
}

/* The VM that a key is about, or NULL after saying why not. */
static const struct top_vm *changeable(struct top *top)
{
    const struct top_row *row = chosen(top);

    if (!row) {
        say(top, "choose a VM first, with the arrow keys");
    } else if (!top->now->has_db) {
        say(top, "the mediator runs with --no-db: there is no database to change");
        row = NULL;
    } else if (top->trouble[0]) {
        say(top, "the mediator is not reachable: nothing was changed");
        row = NULL;
    }
    return row ? row->vm : NULL;
}

static void prepare_change(struct top *top, const struct top_vm *vm, const char *command)
{
    top->change = command;
    top->change_value[0] = '\0';
    if (vm->uuid[0]) {
        snprintf(top->change_vm, sizeof(top->change_vm), "--vm-uuid=%s", vm->uuid);
    } else {
        snprintf(top->change_vm, sizeof(top->change_vm), "--vm-id=%u", vm->vm_id);
    }
}

static void run_change(struct top *top)
{
    const char *argv[] = {"/proc/self/exe",
                          "--db",
                          vgpu_db_path(top->admin->db_path),
                          "--admin-socket",
                          admin_socket_path(top->admin),
                          "--json",
                          top->change,
                          top->change_vm,
                          top->change_value[0] ? top->change_value : NULL,
                          NULL};
    struct run_result result;
    json_t *document;
    int ret = run_program(argv, CHANGE_TIMEOUT_MS, &result);

    if (ret < 0) {
        say(top, "vgpu-admin %s: %s", top->change, strerror(-ret));
        return;
    }
    document = json_loads(result.out, 0, NULL);
    if (result.status == 0) {
        const json_t *notes = json_object_get(document, "notes");
        const char *note = json_string_value(json_array_get(notes, 0));

        say(top, "%s%s%s", json_get_text(document, "message", "done"), note ? " " : "",
            note ? note : "");
    } else {
        say(top, "not done: %s", json_get_text(document, "error", result.error));
    }
    json_decref(document);
    run_result_free(&result);
}

static void begin_weight(struct top *top)
{
    const struct top_vm *vm = changeable(top);

    if (vm) {
        prepare_change(top, vm, "set-weight");
        top->typed[0] = '\0';
        top->mode = MODE_WEIGHT;
    }
}

static void begin_quarantine(struct top *top)
{
    const struct top_vm *vm = changeable(top);
    char label[TOP_NAME_BYTES + 32];

    if (vm) {
        prepare_change(top, vm, vm->quarantined ? "clear-quarantine" : "quarantine-vm");
        snprintf(top->change_text, sizeof(top->change_text),
                 vm->quarantined ? "Let %s in again?" : "Quarantine %s: refuse its requests?",
                 label_of(vm, label));
        top->mode = MODE_CONFIRM;
    }
}

static void end_weight(struct top *top)
{
    const struct top_row *row = chosen(top);
    char label[TOP_NAME_BYTES + 32];
    char *end;
    long weight = strtol(top->typed, &end, 10);

    top->mode = MODE_LOOK;
    if (top->typed[0] == '\0' || !row) {
        return;
    }
    if (*end || weight < VGPU_WEIGHT_MIN || weight > VGPU_WEIGHT_MAX) {
        say(top, "a weight is a whole number from %d to %d, not \"%s\"", VGPU_WEIGHT_MIN,
            VGPU_WEIGHT_MAX, top->typed);
        return;
    }
    snprintf(top->change_value, sizeof(top->change_value), "--weight=%ld", weight);
    snprintf(top->change_text, sizeof(top->change_text), "Weight of %s from %u to %ld?",
             label_of(row->vm, label), row->vm->weight, weight);
    top->mode = MODE_CONFIRM;
}

/* ---- keys ---- */

/* A line of text is typed.  True when it is done; escape leaves it "" */
static bool type_key(char text[TYPED_BYTES], int key)
{
    size_t length = strlen(text);

    if (key == TOP_KEY_ENTER) {
        return true;
    }
    if (key == TOP_KEY_BACKSPACE && length > 0) {
        do {
            text[--length] = '\0'; /* a whole UTF-8 character */
        } while (length > 0 && (text[length - 1] & 0x80) &&
                 ((unsigned char)text[length] & 0xc0) == 0x80);
    } else if (key >= 0x20 && key != 0x7f && length + 1 < TYPED_BYTES) {
        text[length] = (char)key;
        text[length + 1] = '\0';
    }
    return false;
}

static void sort_by(struct top *top, int step)
{
    int sort = ((int)top->view.query.sort + step + TOP_SORT_COUNT) % TOP_SORT_COUNT;

    top->view.query.sort = (enum top_sort)sort;
}

static void change_interval(struct top *top, double factor)
{
    double interval_s = top->view.interval_s * factor;

    if (interval_s >= INTERVAL_MIN_S && interval_s <= INTERVAL_MAX_S) {
        top->view.interval_s = interval_s;
    }
}

/* False: quit. */
static bool look_key(struct top *top, int key)
{
    long page = top->view.height > TOP_HEIGHT_MIN ? (long)top->view.height - TOP_HEIGHT_MIN : 1;

    switch (key) {
    case 'q':
    case 'Q': return false;
    case 's': sort_by(top, 1); break;
    case 'S': sort_by(top, -1); break;
    case 'r': top->view.query.reverse = !top->view.query.reverse; break;
    case 'p':
    case ' ': top->view.paused = !top->view.paused; break;
    case '+': change_interval(top, 0.5); break;
    case '-': change_interval(top, 2); break;
    case '?':
    case 'h': top->mode = MODE_HELP; break;
    case '/':
        strcpy(top->old_filter, top->filter);
        top->mode = MODE_FILTER;
        break;
    case 'w': begin_weight(top); break;
    case 'x': begin_quarantine(top); break;
    case 'k':
    case TOP_KEY_UP: move_choice(top, -1); break;
    case 'j':
    case TOP_KEY_DOWN: move_choice(top, 1); break;
    case TOP_KEY_PAGE_UP: move_choice(top, -page); break;
    case TOP_KEY_PAGE_DOWN: move_choice(top, page); break;
    case TOP_KEY_HOME: move_choice(top, -(long)top->rows.vm_count); break;
    case TOP_KEY_END: move_choice(top, (long)top->rows.vm_count); break;
    case TOP_KEY_ESCAPE:
        top->view.has_selection = false;
        top->message_until_s = 0;
        break;
    default: break;
    }
    return true;
}

/* False: quit. *again: look at the mediator at once. */
static bool on_key(struct top *top, int key, bool *again)
{
    switch (top->mode) {
    case MODE_HELP: top->mode = MODE_LOOK; return true;
    case MODE_FILTER:
        if (key == TOP_KEY_ESCAPE) {
            strcpy(top->filter, top->old_filter);
            top->mode = MODE_LOOK;
        } else if (type_key(top->filter, key)) {
            top->mode = MODE_LOOK;
        }
        return true;
    case MODE_WEIGHT:
        if (key == TOP_KEY_ESCAPE) {
            top->mode = MODE_LOOK;
        } else if (type_key(top->typed, key)) {
            end_weight(top);
        }
        return true;
    case MODE_CONFIRM:
        top->mode = MODE_LOOK;
        if (key == 'y' || key == 'Y') {
            run_change(top);
            *again = true;
        } else {
            say(top, "nothing was changed");
        }
        return true;
    default: return look_key(top, key);
    }
}

/* ---- the picture ---- */

static const char *prompt_of(struct top *top)
{
    switch (top->mode) {
    case MODE_FILTER:
        snprintf(top->prompt, sizeof(top->prompt), "Show only: %s_", top->filter);
        break;
    case MODE_WEIGHT:
        snprintf(top->prompt, sizeof(top->prompt), "New weight, %d to %d: %s_", VGPU_WEIGHT_MIN,
                 VGPU_WEIGHT_MAX, top->typed);
        break;
    case MODE_CONFIRM:
        snprintf(top->prompt, sizeof(top->prompt), "%s [y/N]", top->change_text);
        break;
    default:
        if (now_s() >= top->message_until_s) {
            return NULL;
        }
        snprintf(top->prompt, sizeof(top->prompt), "%s", top->message);
        break;
    }
    return top->prompt;
}

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
    top->view.help = top->mode == MODE_HELP;
    top->view.prompt = prompt_of(top);
    return sort_rows(top) && top_layout(&top->view, top->now, &top->rows, page);
}

static bool show(struct top *top)
{
    struct top_page page;
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
        return admin_fail(
            top->admin, ADMIN_FAILED,
            "the terminal TERM=%s is not known here; vgpu-admin top --once needs none",
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
        double wait_s = next_s - now_s();
        bool again = false;

        if (wait_s <= 0) {
            if (!top->view.paused) {
                look(top);
                set_clock(top);
            }
            next_s = now_s() + top->view.interval_s;
            wait_s = top->view.interval_s;
        }
        if (!show(top)) {
            top_view_end();
            return admin_fail(top->admin, ADMIN_FAILED, "out of memory");
        }
        int key = top_view_wait((int)(wait_s * 1000) + 1);
        if (key == TOP_KEY_QUIT) {
            break;
        }
        if (key != TOP_KEY_NONE && key != TOP_KEY_RESIZED) {
            going = on_key(top, key, &again);
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
    struct timespec ts = {.tv_sec = (time_t)seconds};

    ts.tv_nsec = (long)((seconds - (double)ts.tv_sec) * 1e9);
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
        return admin_fail(top->admin,
                          mediator_is_unreachable(result) ? ADMIN_UNREACHABLE : ADMIN_FAILED, "%s",
                          result == -EPROTO ? top->trouble : mediator_error(top->admin->mediator));
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
    char *end;

    if (interval) {
        top->view.interval_s = strtod(interval, &end);
        if (end == interval || *end || !(top->view.interval_s >= INTERVAL_MIN_S) ||
            !(top->view.interval_s <= INTERVAL_MAX_S)) {
            return admin_fail(admin, ADMIN_USAGE,
                              "--interval must be a number of seconds from %g to %g, not \"%s\"",
                              INTERVAL_MIN_S, INTERVAL_MAX_S, interval);
        }
    }
    if (sort) {
        const char *words[TOP_SORT_COUNT + 1] = {NULL};
        size_t index;

        for (int i = 0; i < TOP_SORT_COUNT; i++) {
            words[i] = top_sort_name((enum top_sort)i);
        }
        int status = admin_choice(admin, "sort", words, &index);
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
    {"top", "At a glance", "Show GPUs and VMs live: shares, queues, rates, latencies",
     "[--once] [--interval=S] [--sort=COLUMN] [--filter=TEXT]",
     "On a terminal, until q; ? shows the keys: sort, filter, stop, set a VM's weight, quarantine\n"
     "it. HAD is the part of its GPU's time that a VM had lately, DUE the part that it may have\n"
     "while others want it too. With --once (or --json) it looks twice, --interval apart, and\n"
     "prints one picture as plain text.",
     "vgpu-admin top\nvgpu-admin top --once --sort=share",
     (const struct admin_option[]){
         {"once", NULL, "print one picture and end", false, NULL},
         {"interval", "S", "seconds from one look to the next (default 2; with --once 1)", false,
          NULL},
         {"sort", "vm_id|name|state|weight|share|due|queue|rate|p99", "the column (default vm_id)",
          false, NULL},
         {"filter", "TEXT", "only VMs with this in their name, UUID or state, or of this pool",
          false, NULL},
         {0}},
     run_top, ADMIN_CHANGES},
    {0},
};
