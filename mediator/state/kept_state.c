/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/state/kept_state.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/unused.h"
#include "mediator/state/state_file.h"

struct kept_state {
    uv_loop_t *loop;
    struct core *core;
    const char *path;
    uv_timer_t timer;
    uv_work_t work;
    bool open, busy, failed;
    int result;               /* of the thread */
    struct state_file now;    /* with the thread, while busy */
    struct state_file latest; /* to be written next; header NULL: nothing */
};

struct kept_state *kept_state_new(uv_loop_t *loop, struct core *core, const char *path)
{
    struct kept_state *state = calloc(1, sizeof(*state));

    if (state) {
        state->loop = loop;
        state->core = core;
        state->path = path;
    }
    return state;
}

/* ---- writing ---- */

static uint32_t count_vms(const struct core *core, uint64_t now_ns)
{
    struct core_vm_stats stats;
    uint32_t count = 0;

    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        count += core_vm_stats(core, slot, now_ns, &stats);
    }
    return count;
}

/* False: there is no memory. */
static bool look(struct kept_state *state)
{
    uint64_t now_ns = clock_now_ns();
    struct core_vm_kept *vms;
    uint32_t count = 0;

    state_file_free(&state->latest);
    if (state_file_new(CORE_KEPT_VERSION, sizeof(struct metrics_kept), sizeof(*vms),
                       count_vms(state->core, now_ns), &state->latest) < 0) {
        return false;
    }
    metrics_export_kept(core_metrics(state->core), METRICS_NO_VM, state->latest.extra);
    vms = state->latest.records;
    for (uint32_t slot = 0; count < state->latest.header->count && slot < CORE_VMS_MAX; slot++) {
        count += core_export_vm(state->core, slot, now_ns, &vms[count]);
    }
    state->latest.header->count = count;
    return true;
}

static void write_it(uv_work_t *work)
{
    struct kept_state *state = work->data;

    state->result = state_file_write(state->path, &state->now);
}

static void begin_write(struct kept_state *state);

/* A failure is said once, until it works again. */
static void say_result(struct kept_state *state)
{
    if (state->result < 0 && !state->failed) {
        log_warning("%s cannot be written: %s; a restart makes all VMs even until that is mended",
                    state->path, strerror(-state->result));
    } else if (state->result == 0 && state->failed) {
        log_notice("%s is written again", state->path);
    }
    state->failed = state->result < 0;
}

static void on_written(uv_work_t *work, UNUSED int status)
{
    struct kept_state *state = work->data;

    state->busy = false;
    state_file_free(&state->now);
    say_result(state);
    if (state->latest.header) {
        begin_write(state);
    }
}

static void begin_write(struct kept_state *state)
{
    state->now = state->latest;
    state->latest = (struct state_file){0};
    state->work.data = state;
    state->busy = uv_queue_work(state->loop, &state->work, write_it, on_written) == 0;
    if (!state->busy) {
        state_file_free(&state->now);
    }
}

/* While the disk is slow, only the newest waits for it. */
static void keep(struct kept_state *state)
{
    if (look(state) && !state->busy) {
        begin_write(state);
    }
}

/* ---- taking ---- */

/* The first one is written at once: that its folder is not there, or not ours, is said at the
 * start, before VMs are served, and not beside the words that all is new. */
static void begin_first(struct kept_state *state)
{
    state->result = look(state) ? state_file_write(state->path, &state->latest) : -ENOMEM;
    state_file_free(&state->latest);
    say_result(state);
    if (state->result == 0) {
        log_info("%s: no vgpu-mediator was before: all VMs begin even", state->path);
    }
}

void kept_state_take(struct kept_state *state)
{
    char error[STATE_FILE_ERROR_BYTES];
    struct state_file file;
    struct core_vm_kept *vms;
    int ret = state_file_read(state->path, CORE_KEPT_VERSION, sizeof(struct metrics_kept),
                              sizeof(*vms), &file, error);

    if (ret == -ENOENT) {
        begin_first(state);
        return;
    }
    if (ret < 0) {
        log_warning("%s is not taken: %s; all VMs begin even, and their counters at 0", state->path,
                    error);
        return;
    }
    vms = file.records;
    if (!state_file_of_this_boot(&file)) {
        for (uint32_t i = 0; i < file.header->count; i++) {
            vms[i].account = (struct wfq_account){0}; /* nobody waited meanwhile */
        }
    }
    metrics_import_kept(core_metrics(state->core), METRICS_NO_VM, file.extra);
    ret = (int)core_import_vms(state->core, vms, file.header->count, clock_now_ns());
    log_notice("accounts and counters of %d VMs go on where the vgpu-mediator before left them",
               ret);
    state_file_free(&file);
}

/* ---- the timer ---- */

static void on_timer(uv_timer_t *timer)
{
    keep(timer->data);
}

int kept_state_start(struct kept_state *state)
{
    int ret = uv_timer_init(state->loop, &state->timer);

    if (ret < 0) {
        return ret;
    }
    state->open = true;
    state->timer.data = state;
    return uv_timer_start(&state->timer, on_timer, KEPT_STATE_PERIOD_MS, KEPT_STATE_PERIOD_MS);
}

void kept_state_stop(struct kept_state *state)
{
    if (!state || !state->open) {
        return;
    }
    state->open = false;
    uv_close((uv_handle_t *)&state->timer, NULL);
    keep(state);
}

void kept_state_free(struct kept_state *state)
{
    if (state) {
        state_file_free(&state->now);
        state_file_free(&state->latest);
        free(state);
    }
}
