/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test-mode: hold the GPUs, let requests pile up, let go, and show in which order
 * they were served and why.
 *
 * Whatever happens in between (an error, Ctrl-C, a closed terminal), the GPUs are let
 * go again and the preference is taken back; for SIGKILL, by the mediator, which
 * ties both to the connection.
 */
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/base/clock.h"
#include "admin/base/json_get.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/db.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/select.h"
#include "admin/tools.h"
#include "common/unused.h"
#include "vgpu/vgpu_admin.h"

#define POLL_MS 100
#define SERVED_POLL_MS 10 /* the mediator keeps the last 256 decisions of each GPU */
#define GPUS_MAX 64
#define DEFAULT_SECONDS 10
#define DRAIN_SECONDS 60 /* how long the waiting requests may take to be served */

static volatile sig_atomic_t interrupted;

static void on_signal(UNUSED int number)
{
    interrupted = 1;
}

static int ask(struct admin *admin, uint32_t command, uint32_t param1, json_t **answer)
{
    /* Whatever ends this process, the mediator takes back what it holds (older ones don't). */
    bool hold = command == VGPU_ADMIN_PAUSE || (command == VGPU_ADMIN_PREFER_VM && param1 != 0);
    json_t *unused, *body = hold ? json_pack("{s:b}", "hold", 1) : NULL;
    int status;

    if (hold && !body) {
        return admin_fail(admin, ADMIN_FAILED, "out of memory");
    }
    status = admin_ask_mediator(admin, command, param1, body, answer ? answer : &unused);
    json_decref(body);
    if (status == ADMIN_OK && !answer) {
        json_decref(unused);
    }
    return status;
}

static int waiting_requests(struct admin *admin, json_int_t *count)
{
    json_t *answer, *vm;
    size_t i;
    int status = ask(admin, VGPU_ADMIN_SHOW_STATUS, 0, &answer);

    *count = 0;
    if (status == ADMIN_OK) {
        json_array_foreach(json_object_get(answer, "vms"), i, vm)
        {
            *count += json_get_int(vm, "queue_depth", 0);
        }
        json_decref(answer);
    }
    return status;
}

/*
 * What came out of SHOW_SCHEDULE so far.  Each GPU numbers its own decisions, so
 * "what is new" has to be known for each.
 */
struct decisions {
    json_int_t seen[GPUS_MAX]; /* the latest decision of each GPU */
    double now_ns;             /* the mediator's clock at the last look */
    json_t *order;             /* of those wanted; NULL: only look at the numbers */
    double released_ns;        /* wanted is what had arrived by then */
    json_int_t missed;         /* decisions that the mediator kept no longer */
};

static int look(struct admin *admin, struct decisions *d)
{
    json_t *answer, *dispatch;
    size_t i;
    int status = ask(admin, VGPU_ADMIN_SHOW_SCHEDULE, 0, &answer);

    if (status != ADMIN_OK) {
        return status;
    }
    d->now_ns = json_get_number(answer, "now_ns", 0);
    json_array_foreach(json_object_get(answer, "dispatches"), i, dispatch)
    {
        json_int_t gpu = json_get_int(dispatch, "gpu", 0);
        json_int_t seq = json_get_int(dispatch, "seq", 0);
        double arrived_ns =
            json_get_number(dispatch, "time_ns", 0) - json_get_number(dispatch, "waited_ns", 0);
        if (gpu < 0 || gpu >= GPUS_MAX || seq <= d->seen[gpu]) {
            continue;
        }
        if (d->order) {
            d->missed += seq - d->seen[gpu] - 1;
            if (arrived_ns <= d->released_ns) {
                json_array_append(d->order, dispatch);
            }
        }
        d->seen[gpu] = seq;
    }
    json_decref(answer);
    return ADMIN_OK;
}

/* Until `target` requests wait, or the time is over. */
static int pile_up(struct admin *admin, json_int_t target, double seconds, json_int_t *waiting)
{
    double deadline = clock_now_s() + seconds;
    int status = ADMIN_OK;

    do {
        status = waiting_requests(admin, waiting);
        if (status != ADMIN_OK || (target > 0 && *waiting >= target)) {
            break;
        }
        poll(NULL, 0, POLL_MS);
    } while (clock_now_s() < deadline && !interrupted);
    return status;
}

static int compare_times(const void *a, const void *b)
{
    double at = json_get_number(*(json_t *const *)a, "time_ns", 0);
    double bt = json_get_number(*(json_t *const *)b, "time_ns", 0);

    return at < bt ? -1 : at > bt;
}

/* Of several GPUs, whose decisions came one GPU after the other. */
static int sort_by_time(json_t *order)
{
    size_t count = json_array_size(order);
    json_t **items = calloc(count + 1, sizeof(json_t *));

    if (!items) {
        return ADMIN_FAILED;
    }
    for (size_t i = 0; i < count; i++) {
        items[i] = json_incref(json_array_get(order, i));
    }
    json_array_clear(order);
    qsort(items, count, sizeof(json_t *), compare_times);
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(order, items[i]);
    }
    free(items);
    return ADMIN_OK;
}

/* Collects in which order the `count` requests that waited are served, until they all are. */
static int served(struct admin *admin, json_int_t count, struct decisions *d)
{
    double deadline = clock_now_s() + DRAIN_SECONDS;
    json_int_t waiting = 0;
    int status;

    for (;;) {
        /* In this order: when nothing waits any more, all decisions are to be seen. */
        status = waiting_requests(admin, &waiting);
        if (status == ADMIN_OK) {
            status = look(admin, d);
        }
        if (status != ADMIN_OK || waiting == 0 || interrupted || clock_now_s() >= deadline ||
            (json_int_t)json_array_size(d->order) + d->missed >= count) {
            break;
        }
        poll(NULL, 0, SERVED_POLL_MS);
    }
    return status == ADMIN_OK ? sort_by_time(d->order) : status;
}

/* How many of the waiting VMs were owed GPU time at that moment. */
static void owed_cell(struct render_table *t, const json_t *dispatch)
{
    if (json_has_number(dispatch, "eligible_vms")) {
        render_cell(t, STYLE_PLAIN, "%lld of %lld",
                    (long long)json_get_int(dispatch, "eligible_vms", 0),
                    (long long)json_get_int(dispatch, "waiting_vms", 0));
    } else {
        render_cell(t, STYLE_PLAIN, "%s", json_get_bool(dispatch, "eligible") ? "yes" : "no");
    }
}

static void print_order(struct admin *admin, const json_t *order)
{
    static const struct render_column columns[] = {
        {"#", COLUMN_RIGHT},       {"VM", COLUMN_SHRINK},
        {"ARRIVAL", COLUMN_RIGHT}, {"GPU", COLUMN_RIGHT | COLUMN_DROP},
        {"WAITED", COLUMN_RIGHT},  {"URGENCY", COLUMN_RIGHT},
        {"OWED", COLUMN_DROP},     {"WHY", COLUMN_SHRINK},
    };
    struct render_table *t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    char text[RENDER_BYTES], label[ADMIN_LABEL_BYTES];
    json_t *d;
    size_t i;

    json_array_foreach(order, i, d)
    {
        json_int_t id = json_get_int(d, "vm_id", 0);
        const vgpu_vm_config_t *vm = admin_vm_by_id(admin, (uint32_t)id);
        snprintf(label, sizeof(label), "vm_id %lld", (long long)id);
        render_cell(t, STYLE_PLAIN, "%zu", i + 1);
        render_cell(t, STYLE_BOLD, "%s", vm ? admin_vm_label(vm, label) : label);
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(d, "job_seq", 0));
        render_cell(t, STYLE_PLAIN, "%lld", (long long)json_get_int(d, "gpu", 0));
        render_cell(t, STYLE_PLAIN, "%s",
                    render_duration_ns(json_get_number(d, "waited_ns", 0), text));
        render_cell(t, STYLE_PLAIN, "%.3f", json_get_number(d, "urgency", 0));
        owed_cell(t, d);
        render_cell(t, STYLE_PLAIN, "%s", json_get_text(d, "reason", "-"));
    }
    render_table_end(t, "No request was served.");
}

static void say(const struct admin *admin, const char *text)
{
    if (!admin->json) {
        printf("%s\n", text);
        fflush(stdout);
    }
}

/* Everything between pause and resume. */
static int hold(struct admin *admin, json_int_t target, double seconds, json_int_t *waiting,
                struct decisions *d)
{
    char text[128];
    int status = ask(admin, VGPU_ADMIN_PAUSE, 0, NULL);
    int released;

    if (status != ADMIN_OK) {
        return status;
    }
    if (target > 0) {
        snprintf(text, sizeof(text),
                 "Holding the GPUs until %lld requests wait (at most %.0f s) ...",
                 (long long)target, seconds);
    } else {
        snprintf(text, sizeof(text), "Holding the GPUs for %.0f s ...", seconds);
    }
    say(admin, text);
    status = pile_up(admin, target, seconds, waiting);
    if (status == ADMIN_OK) {
        status = look(admin, d);
        d->released_ns = d->now_ns > 0 ? d->now_ns : HUGE_VAL; /* an older mediator says no time */
    }
    released = ask(admin, VGPU_ADMIN_RESUME, 0, NULL);
    if (status != ADMIN_OK || released != ADMIN_OK) {
        return status != ADMIN_OK ? status : released;
    }
    snprintf(text, sizeof(text), "Released with %lld requests waiting.\n", (long long)*waiting);
    say(admin, text);
    return ADMIN_OK;
}

/* --prefer-vm takes a name, a UUID or a vm_id. */
static const vgpu_vm_config_t *find_preferred(const struct admin *admin, const char *text)
{
    const vgpu_vm_config_t *found = NULL;
    char id[16];

    for (uint32_t i = 0; i < admin->config->vm_count; i++) {
        const vgpu_vm_config_t *vm = &admin->config->vms[i];
        snprintf(id, sizeof(id), "%u", vm->vm_id);
        if (strcasecmp(vm->vm_uuid, text) == 0 || strcmp(id, text) == 0) {
            return vm;
        }
        if (strcmp(vm->vm_name, text) == 0) {
            found = vm;
        }
    }
    return found;
}

static int run_test_mode(struct admin *admin)
{
    /* A terminal that is closed, or a reader that has gone, is one that asked to end. */
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    struct sigaction action = {.sa_handler = on_signal};
    const char *prefer = admin_option(admin, "prefer-vm");
    const vgpu_vm_config_t *preferred = NULL;
    uint64_t target = 0, seconds = DEFAULT_SECONDS;
    struct decisions decisions = {0};
    json_int_t waiting = 0;
    int status = ADMIN_OK;

    if (admin_option(admin, "wait")) {
        status = admin_uint(admin, "wait", 1, 100000, &target);
        seconds = 60;
    }
    if (status == ADMIN_OK && admin_option(admin, "seconds")) {
        status = admin_uint(admin, "seconds", 1, 3600, &seconds);
    }
    if (status == ADMIN_OK) {
        status = admin_open_view(admin);
    }
    if (status == ADMIN_OK && prefer) {
        preferred = find_preferred(admin, prefer);
        if (!preferred) {
            return admin_fail(admin, ADMIN_FAILED,
                              "--prefer-vm: no VM is named \"%s\"; vgpu-admin list-vms shows those "
                              "that are registered",
                              prefer);
        }
    }
    if (status != ADMIN_OK) {
        return status;
    }
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        sigaction(ends[i], &action, NULL);
    }
    if (preferred) {
        status = ask(admin, VGPU_ADMIN_PREFER_VM, preferred->vm_id, NULL);
    }
    if (status == ADMIN_OK) {
        status = hold(admin, (json_int_t)target, (double)seconds, &waiting, &decisions);
        decisions.order = json_array();
        if (status == ADMIN_OK && waiting > 0 && !interrupted) {
            status = served(admin, waiting, &decisions);
        }
        if (preferred) {
            int cleared = ask(admin, VGPU_ADMIN_PREFER_VM, 0, NULL);
            status = status == ADMIN_OK ? cleared : status;
        }
    }
    if (status != ADMIN_OK) {
        json_decref(decisions.order);
        return status;
    }
    if (decisions.missed > 0) {
        admin_note(admin, "%lld decisions are missing: the mediator keeps the last 256 of each GPU",
                   (long long)decisions.missed);
    }
    if (interrupted) {
        admin_note(admin, "interrupted; the GPUs are at work again");
    }
    if (admin->json) {
        admin_print_json(admin, json_pack("{s:I, s:o, s:o}", "waiting", waiting, "preferred_vm",
                                          preferred ? json_integer(preferred->vm_id) : json_null(),
                                          "order", decisions.order));
    } else {
        print_order(admin, decisions.order);
        json_decref(decisions.order);
    }
    return interrupted ? ADMIN_FAILED : ADMIN_OK;
}

const struct admin_command commands_test_mode[] = {
    {
        .name = "test-mode",
        .group = "The running mediator",
        .summary = "Let requests pile up, then show the order in which they are served",
        .usage = "[--wait=REQUESTS] [--seconds=S] [--prefer-vm=NAME|UUID|ID]",
        .details =
            "Pauses all GPUs until so many requests wait (at most --seconds, 60 by default) or,\n"
            "without --wait, for --seconds (default 10); then resumes and prints the order with\n"
            "the scheduler's reasons. ARRIVAL counts each GPU's requests as they came. A\n"
            "preferred VM counts under the policies \"priority\" and \"priority-all\" only.",
        .example =
            "vgpu-admin test-mode --wait=8\nvgpu-admin test-mode --wait=8 --prefer-vm=\"web 1\"",
        ADMIN_TAKES(
            {.name = "wait", .metavar = "REQUESTS", .help = "release when so many wait"},
            {.name = "seconds", .metavar = "S", .help = "release after this time at the latest"},
            {.name = "prefer-vm", .metavar = "NAME|UUID|ID", .help = "prefer this VM meanwhile"}),
        .run = run_test_mode,
    },
    {0},
};
