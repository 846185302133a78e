/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "admin/top_layout.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define HEAD_LINES 3 /* title, summary, trouble or nothing */
#define FOOT_LINES 1
#define BAR_MAX 40u
#define NAME_MAX 32u

/* ---- lines ---- */

static struct top_line *new_line(struct top_page *page)
{
    if (page->count == page->space) {
        size_t space = page->space ? 2 * page->space : 64;
        struct top_line *lines = realloc(page->lines, space * sizeof(*lines));

        if (!lines) {
            return NULL;
        }
        page->lines = lines;
        page->space = space;
    }
    page->lines[page->count] = (struct top_line){0};
    return &page->lines[page->count++];
}

void top_page_free(struct top_page *page)
{
    free(page->lines);
    *page = (struct top_page){0};
}

static void end_span(struct top_line *line, enum render_style style)
{
    size_t n = line->span_count;

    if (n > 0 && (line->spans[n - 1].style == style || n == TOP_SPANS_MAX)) {
        line->spans[n - 1].end = line->bytes;
        return;
    }
    line->spans[n].end = line->bytes;
    line->spans[n].style = style;
    line->span_count++;
}

static void put_spaces(struct top_line *line, unsigned count, unsigned limit)
{
    while (count-- > 0 && line->columns < limit && line->bytes + 1 < TOP_LINE_BYTES) {
        line->text[line->bytes++] = ' ';
        line->columns++;
    }
    line->text[line->bytes] = '\0';
}

/* Columns of the character at text and its bytes; what cannot be shown is one '?'. */
static size_t next_character(const char *text, unsigned *columns, bool *shown)
{
    mbstate_t state = {0};
    wchar_t c;
    size_t bytes = mbrtowc(&c, text, strlen(text), &state);
    int width = bytes > 0 && bytes < (size_t)-2 ? wcwidth(c) : -1;

    *shown = width >= 0;
    *columns = *shown ? (unsigned)width : 1;
    return *shown ? bytes : bytes > 0 && bytes < (size_t)-2 ? bytes : 1;
}

static unsigned width_of(const char *text)
{
    unsigned total = 0, columns;
    bool shown;

    while (*text) {
        text += next_character(text, &columns, &shown);
        total += columns;
    }
    return total;
}

/* As much of the text as fits `room` columns. */
static void put_characters(struct top_line *line, const char *text, unsigned room)
{
    while (*text) {
        unsigned columns;
        bool shown;
        size_t bytes = next_character(text, &columns, &shown);

        if (columns > room || line->bytes + bytes + 1 > TOP_LINE_BYTES) {
            break;
        }
        if (shown) {
            memcpy(line->text + line->bytes, text, bytes);
            line->bytes += bytes;
        } else {
            line->text[line->bytes++] = '?';
        }
        line->columns += columns;
        room -= columns;
        text += bytes;
    }
    line->text[line->bytes] = '\0';
}

/* A cell of `width` columns: the text cut off, or filled up. */
static void put_cell(struct top_line *line, unsigned limit, enum render_style style, unsigned width,
                     bool right, const char *text)
{
    unsigned have = width_of(text);
    unsigned room = line->columns < limit ? limit - line->columns : 0;

    width = width < room ? width : room;
    if (right && have < width) {
        put_spaces(line, width - have, limit);
    }
    put_characters(line, text, have < width ? have : width);
    end_span(line, style);
    if (!right && have < width) {
        put_spaces(line, width - have, limit);
        end_span(line, STYLE_PLAIN);
    }
}

static void __attribute__((format(printf, 4, 5)))
put_text(struct top_line *line, unsigned limit, enum render_style style, const char *format, ...)
{
    char text[TOP_LINE_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    put_cell(line, limit, style, width_of(text), false, text);
}

static void put_gap(struct top_line *line, unsigned limit)
{
    put_spaces(line, 1, limit);
    end_span(line, STYLE_PLAIN);
}

/* ---- quantities, short ---- */

/* "13.2ms": RENDER's text without its space. */
static const char *short_duration(double ns, char out[RENDER_BYTES])
{
    char text[RENDER_BYTES];
    char *to = out;

    if (isnan(ns)) {
        return strcpy(out, "-");
    }
    for (const char *from = render_duration_ns(ns, text); *from; from++) {
        if (*from != ' ') {
            *to++ = *from;
        }
    }
    *to = '\0';
    return out;
}

static const char *short_rate(double hz, char out[RENDER_BYTES])
{
    if (isnan(hz)) {
        snprintf(out, RENDER_BYTES, "-");
    } else if (hz < 1000) {
        snprintf(out, RENDER_BYTES, "%.1f", hz);
    } else if (hz < 1e6) {
        snprintf(out, RENDER_BYTES, "%.1fk", hz / 1e3);
    } else {
        snprintf(out, RENDER_BYTES, "%.1fM", hz / 1e6);
    }
    return out;
}

static const char *with_unit(double value, const char *unit, char out[RENDER_BYTES])
{
    if (isnan(value)) {
        snprintf(out, RENDER_BYTES, "-");
    } else {
        snprintf(out, RENDER_BYTES, "%.0f%s", value, unit);
    }
    return out;
}

static const char *percent(double part, char out[RENDER_BYTES])
{
    double value = part * 100;

    if (isnan(part)) {
        snprintf(out, RENDER_BYTES, "-");
    } else {
        snprintf(out, RENDER_BYTES, value < 99.95 ? "%.1f%%" : "%.0f%%", value);
    }
    return out;
}

/* "12+2": waiting and in flight. */
static const char *queue_text(double waiting, double in_flight, char out[RENDER_BYTES])
{
    if (isnan(waiting)) {
        snprintf(out, RENDER_BYTES, "-");
    } else if (isnan(in_flight)) {
        snprintf(out, RENDER_BYTES, "%.0f", waiting);
    } else {
        snprintf(out, RENDER_BYTES, "%.0f+%.0f", waiting, in_flight);
    }
    return out;
}

static const char *memory_text(const struct top_gpu *gpu, char out[RENDER_BYTES])
{
    double gib = 1024.0 * 1024 * 1024;

    if (isnan(gpu->memory_total_bytes)) {
        snprintf(out, RENDER_BYTES, "-");
    } else if (isnan(gpu->memory_used_bytes)) {
        snprintf(out, RENDER_BYTES, "-/%.1f GiB", gpu->memory_total_bytes / gib);
    } else {
        snprintf(out, RENDER_BYTES, "%.1f/%.1f GiB", gpu->memory_used_bytes / gib,
                 gpu->memory_total_bytes / gib);
    }
    return out;
}

void top_bar(double share, double due, unsigned width, char *out)
{
    double part = isnan(share) ? 0 : share < 0 ? 0 : share > 1 ? 1 : share;
    unsigned filled = (unsigned)(part * width + 0.5);

    memset(out, '#', filled);
    memset(out + filled, '.', width - filled);
    out[width] = '\0';
    if (due > 0 && width > 0) {
        unsigned mark = (unsigned)((due > 1 ? 1 : due) * width + 0.5);

        out[mark >= width ? width - 1 : mark] = '|';
    }
}

/* ---- states ---- */

static enum render_style state_style(const char *state)
{
    if (strcmp(state, "ok") == 0 || strcmp(state, "active") == 0) {
        return STYLE_GOOD;
    }
    if (strcmp(state, "failed") == 0 || strcmp(state, "quarantined") == 0) {
        return STYLE_BAD;
    }
    if (strcmp(state, "idle") == 0) {
        return STYLE_PLAIN;
    }
    return strcmp(state, "away") == 0 ? STYLE_DIM : STYLE_WARN;
}

/* It had less than its due while it had work: to be looked at. */
static enum render_style share_style(const struct top_vm *vm)
{
    return vm->overdue && vm->share < 0.9 * vm->due_share ? STYLE_WARN : STYLE_GOOD;
}

/* ---- columns ---- */

enum column {
    COLUMN_ID,
    COLUMN_NAME,
    COLUMN_POOL,
    COLUMN_PRIORITY,
    COLUMN_WEIGHT,
    COLUMN_GPU,
    COLUMN_STATE,
    COLUMN_BAR,
    COLUMN_GOT,
    COLUMN_DUE,
    COLUMN_QUEUE,
    COLUMN_RATE,
    COLUMN_ERRORS,
    COLUMN_P99,
    COLUMN_COUNT
};

static const struct {
    const char *title;
    unsigned width; /* at least */
    bool right;
    unsigned from_width; /* of the terminal; narrower ones go without */
    int sort;            /* that it shows the order of; -1: none */
} columns[COLUMN_COUNT] = {
    [COLUMN_ID] = {"VM_ID", 5, true, 0, TOP_SORT_VM_ID},
    [COLUMN_NAME] = {"NAME", 8, false, 0, TOP_SORT_NAME},
    [COLUMN_POOL] = {"POOL", 4, false, 92, -1},
    [COLUMN_PRIORITY] = {"PRIO", 6, false, 92, -1},
    [COLUMN_WEIGHT] = {"WT", 3, true, 72, TOP_SORT_WEIGHT},
    [COLUMN_GPU] = {"GPU", 3, true, 78, -1},
    [COLUMN_STATE] = {"STATE", 11, false, 0, TOP_SORT_STATE},
    [COLUMN_BAR] = {"HAD/DUE", 7, false, 0, -1},
    [COLUMN_GOT] = {"HAD", 5, true, 0, TOP_SORT_SHARE},
    [COLUMN_DUE] = {"DUE", 5, true, 66, TOP_SORT_DUE},
    [COLUMN_QUEUE] = {"QUEUE", 5, true, 0, TOP_SORT_QUEUE},
    [COLUMN_RATE] = {"JOBS/S", 6, true, 0, TOP_SORT_RATE},
    [COLUMN_ERRORS] = {"ERR/S", 6, true, 104, -1},
    [COLUMN_P99] = {"P99", 7, true, 0, TOP_SORT_P99},
};

/* What is left over goes to the name, then to the bar. */
static void fit_columns(unsigned width, unsigned widths[COLUMN_COUNT])
{
    unsigned used = 0, spare, more;

    for (int c = 0; c < COLUMN_COUNT; c++) {
        widths[c] = width >= columns[c].from_width ? columns[c].width : 0;
        used += widths[c] ? widths[c] + (c > 0) : 0;
    }
    spare = width > used ? width - used : 0;
    more = spare / 2 < NAME_MAX - widths[COLUMN_NAME] ? spare / 2 : NAME_MAX - widths[COLUMN_NAME];
    widths[COLUMN_NAME] += more;
    spare -= more;
    widths[COLUMN_BAR] +=
        spare < BAR_MAX - widths[COLUMN_BAR] ? spare : BAR_MAX - widths[COLUMN_BAR];
}

static void put_bar(struct top_line *line, unsigned limit, const struct top_vm *vm, unsigned width)
{
    char bar[BAR_MAX + 1];

    top_bar(vm->share, vm->due_share, width, bar);
    for (char *p = bar; *p;) {
        char kind = *p;
        char part[BAR_MAX + 1] = "";
        size_t n = strspn(p, (char[]){kind, '\0'});

        memcpy(part, p, n);
        put_cell(line, limit,
                 kind == '#'   ? share_style(vm)
                 : kind == '|' ? STYLE_BOLD
                               : STYLE_DIM,
                 (unsigned)n, false, part);
        p += n;
    }
}

static const char *cell_text(const struct top_row *row, enum column column, char out[RENDER_BYTES])
{
    static const char *const priorities[] = {"low", "medium", "high"};
    const struct top_vm *vm = row->vm;

    switch (column) {
    case COLUMN_ID: snprintf(out, RENDER_BYTES, "%u", vm->vm_id); return out;
    case COLUMN_NAME: return vm->name[0] ? vm->name : vm->uuid[0] ? vm->uuid : "-";
    case COLUMN_POOL: snprintf(out, RENDER_BYTES, "%c", vm->pool); return out;
    case COLUMN_PRIORITY: return vm->priority < 3 ? priorities[vm->priority] : "?";
    case COLUMN_WEIGHT: snprintf(out, RENDER_BYTES, "%u", vm->weight); return out;
    case COLUMN_GPU: return with_unit(vm->gpu, "", out);
    case COLUMN_STATE: return vm->state;
    case COLUMN_GOT: return percent(vm->share, out);
    case COLUMN_DUE: return percent(vm->due_share, out);
    case COLUMN_QUEUE: return queue_text(vm->queue_depth, vm->in_flight, out);
    case COLUMN_RATE: return short_rate(row->rate_hz, out);
    case COLUMN_ERRORS: return short_rate(row->error_hz, out);
    case COLUMN_P99: return short_duration(vm->p99_ns, out);
    default: return "";
    }
}

static enum render_style cell_style(const struct top_row *row, enum column column)
{
    switch (column) {
    case COLUMN_STATE: return state_style(row->vm->state);
    case COLUMN_GOT: return share_style(row->vm);
    case COLUMN_ERRORS: return row->error_hz > 0 ? STYLE_WARN : STYLE_PLAIN;
    case COLUMN_DUE: return STYLE_DIM;
    default: return STYLE_PLAIN;
    }
}

static void put_vm_title(struct top_line *line, const struct top_view *view,
                         const unsigned widths[COLUMN_COUNT])
{
    for (int c = 0; c < COLUMN_COUNT; c++) {
        if (widths[c] == 0) {
            continue;
        }
        if (c > 0) {
            put_gap(line, view->width);
        }
        put_cell(line, view->width,
                 columns[c].sort == (int)view->query.sort ? STYLE_BOLD : STYLE_DIM, widths[c],
                 columns[c].right, columns[c].title);
    }
}

static void put_vm(struct top_line *line, const struct top_view *view, const struct top_row *row,
                   const unsigned widths[COLUMN_COUNT])
{
    char text[RENDER_BYTES];

    for (int c = 0; c < COLUMN_COUNT; c++) {
        if (widths[c] == 0) {
            continue;
        }
        if (c > 0) {
            put_gap(line, view->width);
        }
        if (c == COLUMN_BAR) {
            put_bar(line, view->width, row->vm, widths[c]);
        } else {
            put_cell(line, view->width, cell_style(row, (enum column)c), widths[c],
                     columns[c].right, cell_text(row, (enum column)c, text));
        }
    }
    line->selected = view->has_selection && row->vm->vm_id == view->selected;
}

/* ---- GPUs ---- */

#define GPU_WIDTHS 63 /* of all but the name, with gaps */
#define GPU_MEMORY 7  /* narrow terminals go without it */

static void put_gpu_cells(struct top_line *line, unsigned width, const char *const texts[9],
                          const enum render_style styles[9])
{
    unsigned name = width > GPU_WIDTHS + 8 ? width - GPU_WIDTHS : 8;
    const unsigned widths[9] = {3, name < NAME_MAX ? name : NAME_MAX, 7, 5, 6, 6, 6, 15, 7};

    for (int c = 0; c < 9; c++) {
        if (c == GPU_MEMORY && width < GPU_WIDTHS + 8) {
            continue;
        }
        if (c > 0) {
            put_gap(line, width);
        }
        put_cell(line, width, styles[c], widths[c], c != 1 && c != 2, texts[c]);
    }
}

static void put_gpu_title(struct top_line *line, unsigned width)
{
    static const char *const titles[9] = {"GPU",  "NAME", "STATE",  "TEMP", "POWER",
                                          "UTIL", "BUSY", "MEMORY", "QUEUE"};
    static const enum render_style styles[9] = {STYLE_DIM, STYLE_DIM, STYLE_DIM,
                                                STYLE_DIM, STYLE_DIM, STYLE_DIM,
                                                STYLE_DIM, STYLE_DIM, STYLE_DIM};

    put_gpu_cells(line, width, titles, styles);
}

static void put_gpu(struct top_line *line, unsigned width, const struct top_gpu_row *row)
{
    const struct top_gpu *gpu = row->gpu;
    char text[7][RENDER_BYTES];
    const char *texts[9] = {
        with_unit(gpu->index, "", text[0]),
        gpu->name,
        gpu->needs_reset ? "reset!" : gpu->state,
        with_unit(gpu->temperature_c, " C", text[1]),
        with_unit(gpu->power_w, " W", text[2]),
        percent(gpu->utilization, text[3]),
        percent(row->busy, text[4]),
        memory_text(gpu, text[5]),
        queue_text(gpu->queued, gpu->in_flight, text[6]),
    };
    const enum render_style styles[9] = {
        STYLE_PLAIN,
        STYLE_PLAIN,
        gpu->needs_reset ? STYLE_BAD : state_style(gpu->state),
        gpu->temperature_c >= 85 ? STYLE_WARN : STYLE_PLAIN,
        STYLE_PLAIN,
        STYLE_PLAIN,
        STYLE_PLAIN,
        STYLE_PLAIN,
        STYLE_PLAIN,
    };

    put_gpu_cells(line, width, texts, styles);
}

/* ---- the page ---- */

static void put_title(struct top_line *line, const struct top_view *view,
                      const struct top_snapshot *s)
{
    char right[64], up[RENDER_BYTES];
    unsigned width;

    if (s) {
        put_text(line, view->width, STYLE_BOLD, "vgpu-mediator %s", s->version);
        put_text(line, view->width, STYLE_PLAIN, "  up %s  policy %s  backend %s",
                 render_duration_ns(s->uptime_s * 1e9, up), s->policy, s->backend);
    } else {
        put_text(line, view->width, STYLE_BOLD, "vgpu-mediator");
    }
    if (!view->clock) {
        return;
    }
    if (view->paused) {
        snprintf(right, sizeof(right), "STOPPED  %s", view->clock);
    } else {
        snprintf(right, sizeof(right), "%s  every %g s", view->clock, view->interval_s);
    }
    width = width_of(right);
    if (line->columns + width + 2 <= view->width) {
        put_spaces(line, view->width - width - line->columns, view->width);
        end_span(line, STYLE_PLAIN);
        put_text(line, view->width, view->paused ? STYLE_WARN : STYLE_DIM, "%s", right);
    }
}

static void put_summary(struct top_line *line, const struct top_view *view,
                        const struct top_snapshot *s, const struct top_rows *rows)
{
    char text[RENDER_BYTES];

    if (!s) {
        return;
    }
    put_text(line, view->width, STYLE_PLAIN, "%zu VM%s, %zu connected", s->vm_count,
             s->vm_count == 1 ? "" : "s", rows->connected);
    if (rows->quarantined) {
        put_text(line, view->width, STYLE_BAD, ", %zu quarantined", rows->quarantined);
    }
    put_text(line, view->width, STYLE_PLAIN, "   %s jobs/s   by %s%s",
             short_rate(rows->rate_hz, text), top_sort_name(view->query.sort),
             view->query.reverse ? ", reversed" : "");
    if (view->query.filter && view->query.filter[0]) {
        put_text(line, view->width, STYLE_WARN, "   only \"%s\": %zu hidden", view->query.filter,
                 rows->hidden);
    }
}

static void put_trouble(struct top_line *line, const struct top_view *view,
                        const struct top_snapshot *s)
{
    if (view->trouble) {
        put_text(line, view->width, STYLE_BAD, "%s", view->trouble);
    } else if (s && s->paused) {
        put_text(line, view->width, STYLE_WARN,
                 "PAUSED: no work is given to the GPUs (vgpu-admin resume)");
    } else if (s && !s->has_db) {
        put_text(line, view->width, STYLE_DIM, "no database: the mediator runs with --no-db");
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
        "  HAD is the part of its GPU's time that a VM had lately, DUE (| in the bar)",
        "  what it may have while others want it too. QUEUE is waiting + in flight.",
        "",
        "  Any key goes back.",
    };

    for (size_t i = 0; i < sizeof(help) / sizeof(help[0]) && page->count < view->height; i++) {
        struct top_line *line = new_line(page);

        if (!line) {
            return false;
        }
        put_text(line, view->width, STYLE_PLAIN, "%s", help[i]);
    }
    return true;
}

/* A third of the screen at most; the last line says what is not shown. */
static bool put_gpus(const struct top_view *view, const struct top_rows *rows,
                     struct top_page *page)
{
    size_t room = view->height ? (view->height - HEAD_LINES) / 3 : rows->gpu_count;
    size_t shown = rows->gpu_count <= room ? rows->gpu_count : room - 1;
    struct top_line *line = new_line(page);

    if (!line) {
        return false;
    }
    put_gpu_title(line, view->width);
    for (size_t i = 0; i < shown; i++) {
        line = new_line(page);
        if (!line) {
            return false;
        }
        put_gpu(line, view->width, &rows->gpus[i]);
    }
    if (shown < rows->gpu_count) {
        line = new_line(page);
        if (line) {
            put_text(line, view->width, STYLE_DIM, "    and %zu more GPUs (vgpu-admin show-health)",
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
    unsigned widths[COLUMN_COUNT];
    struct top_line *line = new_line(page);
    size_t room, used;

    fit_columns(view->width, widths);
    if (!line) {
        return false;
    }
    put_vm_title(line, view, widths);
    used = page->count + FOOT_LINES;
    room = view->height ? (view->height > used ? view->height - used : 0) : rows->vm_count;
    keep_in_sight(view, rows, room);
    for (size_t i = view->scroll; i < rows->vm_count && i < view->scroll + room; i++) {
        line = new_line(page);
        if (!line) {
            return false;
        }
        put_vm(line, view, &rows->vms[i], widths);
    }
    if (rows->vm_count == 0) {
        line = new_line(page);
        if (line) {
            put_text(line, view->width, STYLE_DIM, "%s",
                     rows->hidden ? "no VM matches the filter" : "no VM is known to the mediator");
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
        if (!new_line(page)) {
            return false;
        }
    }
    line = new_line(page);
    if (!line) {
        return false;
    }
    if (view->prompt) {
        put_text(line, view->width, STYLE_BOLD, "%s", view->prompt);
    } else {
        put_text(line, view->width, STYLE_DIM,
                 "q quit  s sort  r reverse  / filter  p stop  w weight  x quarantine  ? help");
    }
    return true;
}

static bool put_too_small(const struct top_view *view, struct top_page *page)
{
    struct top_line *line = new_line(page);

    if (line) {
        put_text(line, view->width, STYLE_BOLD, "%ux%u is too small: %ux%u needed (q quits)",
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
        struct top_line *line = new_line(page);

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
    if (s && !(put_gpus(view, rows, page) && new_line(page) && put_vms(view, rows, page))) {
        return false;
    }
    return put_foot(view, page);
}
