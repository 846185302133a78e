/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page from top to bottom: title, summary, trouble; GPUs; VMs; the keys or a
 * prompt.  What stands in a line of the tables is top_table.c's.
 */
#include "admin/top/top_layout.h"

#include <stdio.h>

#include "admin/top/top_table.h"
#include "admin/top/top_text.h"
#include "common/ns.h"

#define HEAD_LINES 3 /* title, summary, trouble or nothing */
#define FOOT_LINES 1

static void put_title(struct top_line *line, const struct top_view *view,
                      const struct top_snapshot *s)
{
    char right[64], up[RENDER_BYTES];

    if (s) {
        top_line_text(line, view->width, STYLE_BOLD, "vgpu-mediator %s", s->version);
        top_line_text(line, view->width, STYLE_PLAIN, "  up %s  policy %s  backend %s",
                      render_duration_ns(s->uptime_s * NS_PER_S, up), s->policy, s->backend);
    } else {
        top_line_text(line, view->width, STYLE_BOLD, "vgpu-mediator");
    }
    if (!view->clock) {
        return;
    }
    if (view->paused) {
        snprintf(right, sizeof(right), "STOPPED  %s", view->clock);
    } else {
        snprintf(right, sizeof(right), "%s  every %g s", view->clock, view->interval_s);
    }
    top_line_right(line, view->width, view->paused ? STYLE_WARN : STYLE_DIM, right);
}

static void put_summary(struct top_line *line, const struct top_view *view,
                        const struct top_snapshot *s, const struct top_rows *rows)
{
    char text[RENDER_BYTES];

    if (!s) {
        return;
    }
    top_line_text(line, view->width, STYLE_PLAIN, "%zu VM%s, %zu connected", s->vm_count,
                  s->vm_count == 1 ? "" : "s", rows->connected);
    if (rows->quarantined) {
        top_line_text(line, view->width, STYLE_BAD, ", %zu quarantined", rows->quarantined);
    }
    top_line_text(line, view->width, STYLE_PLAIN, "   %s jobs/s   by %s%s",
                  top_text_rate(rows->rate_hz, text), top_sort_name(view->query.sort),
                  view->query.reverse ? ", reversed" : "");
    if (view->query.filter && view->query.filter[0]) {
        top_line_text(line, view->width, STYLE_WARN, "   only \"%s\": %zu hidden",
                      view->query.filter, rows->hidden);
    }
}

static void put_trouble(struct top_line *line, const struct top_view *view,
                        const struct top_snapshot *s)
{
    if (view->trouble) {
        top_line_text(line, view->width, STYLE_BAD, "%s", view->trouble);
    } else if (s && s->paused) {
        top_line_text(line, view->width, STYLE_WARN,
                      "PAUSED: no work is given to the GPUs (vgpu-admin resume)");
    } else if (s && !s->has_db) {
        top_line_text(line, view->width, STYLE_DIM, "no database: the mediator runs with --no-db");
    }
}

static bool put_help(const struct top_view *view, struct top_page *page)
{
    static const char *const help[] = {
        "",
        "  up, down, PgUp, PgDn   choose a VM",
        "  s, S                   sort by the next, the previous column",
        "  r                      reverse the order",
        "  /                      show only VMs with a text in their name, UUID or",
        "                         state, or of a pool or vm_id; empty: all",
        "  p, space               stop the picture, go on",
        "  +, -                   look more often, less often",
        "  w                      set the weight of the chosen VM",
        "  x                      quarantine the chosen VM, or let it in again",
        "  q                      quit",
        "",
        "  GOT is the part of its GPU's time that a VM had lately, DUE (| in the bar)",
        "  what it may have while others want it too. QUEUE is waiting + in flight.",
        "",
        "  Any key goes back.",
    };

    for (size_t i = 0; i < sizeof(help) / sizeof(help[0]) && page->count < view->height; i++) {
        struct top_line *line = top_page_add(page);

        if (!line) {
            return false;
        }
        top_line_text(line, view->width, STYLE_PLAIN, "%s", help[i]);
    }
    return true;
}

/* A third of the screen at most; the last line says what is not shown. */
static bool put_gpus(const struct top_view *view, const struct top_rows *rows,
                     struct top_page *page)
{
    size_t room = view->height ? (view->height - HEAD_LINES) / 3 : rows->gpu_count;
    size_t shown = rows->gpu_count <= room ? rows->gpu_count : room - 1;
    struct top_line *line = top_page_add(page);

    if (!line) {
        return false;
    }
    top_gpu_title(line, view->width);
    for (size_t i = 0; i < shown; i++) {
        line = top_page_add(page);
        if (!line) {
            return false;
        }
        top_gpu_line(line, view->width, &rows->gpus[i]);
    }
    if (shown < rows->gpu_count) {
        line = top_page_add(page);
        if (line) {
            top_line_text(line, view->width, STYLE_DIM,
                          "    and %zu more GPUs (vgpu-admin show-health)",
                          rows->gpu_count - shown);
        }
    }
    return line != NULL;
}

/* Scrolls as little as brings the selected VM into sight. */
static void keep_in_sight(struct top_view *view, const struct top_rows *rows, size_t room)
{
    size_t last = rows->vm_count > room ? rows->vm_count - room : 0;

    for (size_t i = 0; view->has_selection && i < rows->vm_count; i++) {
        if (rows->vms[i].vm->vm_id == view->selected) {
            if (i < view->scroll) {
                view->scroll = i;
            } else if (i >= view->scroll + room) {
                view->scroll = i - room + 1;
            }
        }
    }
    view->scroll = view->scroll < last ? view->scroll : last;
}

static bool put_vms(struct top_view *view, const struct top_rows *rows, struct top_page *page)
{
    struct top_line *line = top_page_add(page);
    size_t room, used;

    if (!line) {
        return false;
    }
    top_vm_title(line, view);
    used = page->count + FOOT_LINES;
    room = view->height ? (view->height > used ? view->height - used : 0) : rows->vm_count;
    keep_in_sight(view, rows, room);
    for (size_t i = view->scroll; i < rows->vm_count && i < view->scroll + room; i++) {
        line = top_page_add(page);
        if (!line) {
            return false;
        }
        top_vm_line(line, view, &rows->vms[i]);
    }
    if (rows->vm_count == 0) {
        line = top_page_add(page);
        if (line) {
            top_line_text(line, view->width, STYLE_DIM, "%s",
                          rows->hidden ? "no VM matches the filter"
                                       : "no VM is known to the mediator");
        }
    }
    return line != NULL;
}

static bool put_foot(const struct top_view *view, struct top_page *page)
{
    struct top_line *line;

    if (view->height == 0) {
        return true;
    }
    while (page->count + FOOT_LINES < view->height) {
        if (!top_page_add(page)) {
            return false;
        }
    }
    line = top_page_add(page);
    if (!line) {
        return false;
    }
    if (view->prompt) {
        top_line_text(line, view->width, STYLE_BOLD, "%s", view->prompt);
    } else {
        top_line_text(
            line, view->width, STYLE_DIM,
            "q quit  s sort  r reverse  / filter  p stop  w weight  x quarantine  ? help");
    }
    return true;
}

static bool put_too_small(const struct top_view *view, struct top_page *page)
{
    struct top_line *line = top_page_add(page);

    if (line) {
        top_line_text(line, view->width, STYLE_BOLD, "%ux%u is too small: %ux%u needed (q quits)",
                      view->width, view->height, TOP_WIDTH_MIN, TOP_HEIGHT_MIN);
    }
    return line != NULL;
}

bool top_layout(struct top_view *view, const struct top_snapshot *s, const struct top_rows *rows,
                struct top_page *page)
{
    *page = (struct top_page){0};
    view->width = view->width < TOP_WIDTH_MAX ? view->width : TOP_WIDTH_MAX;
    if (view->height && (view->width < TOP_WIDTH_MIN || view->height < TOP_HEIGHT_MIN)) {
        return put_too_small(view, page);
    }
    for (int i = 0; i < HEAD_LINES; i++) {
        struct top_line *line = top_page_add(page);

        if (!line) {
            return false;
        }
        switch (i) {
        case 0: put_title(line, view, s); break;
        case 1: put_summary(line, view, s, rows); break;
        default: put_trouble(line, view, s); break;
        }
    }
    if (view->help) {
        return put_help(view, page) && put_foot(view, page);
    }
    if (s && !(put_gpus(view, rows, page) && top_page_add(page) && put_vms(view, rows, page))) {
        return false;
    }
    return put_foot(view, page);
}
