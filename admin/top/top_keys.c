/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys.  One that needs more than itself, a filter, a weight, a yes, changes the
 * mode; the keys after it belong to that until it is done or escape is pressed.
 */
#include "admin/top/top_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "admin/base/clock.h"
#include "admin/top/top_view.h"

#define MESSAGE_S 6 /* a message gives way to the keys after so long */

void top_say(struct top *top, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(top->message, sizeof(top->message), format, args);
    va_end(args);
    top->message_until_s = clock_now_s() + MESSAGE_S;
}

const struct top_row *top_chosen(const struct top *top)
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
    const struct top_row *row = top_chosen(top);
    long at = (row ? (long)(row - top->rows.vms) : by < 0 ? 0 : -1) + by;

    if (top->rows.vm_count == 0) {
        return;
    }
    at = at < 0 ? 0 : at >= (long)top->rows.vm_count ? (long)top->rows.vm_count - 1 : at;
    top->view.has_selection = true;
    top->view.selected = top->rows.vms[at].vm->vm_id;
}

/* A line of text is typed.  True when it is done; escape leaves it "" */
static bool type_key(char text[TOP_TYPED_BYTES], int key)
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
    } else if (key >= 0x20 && key != 0x7f && length + 1 < TOP_TYPED_BYTES) {
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

    if (interval_s >= TOP_INTERVAL_MIN_S && interval_s <= TOP_INTERVAL_MAX_S) {
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
    case 'h': top->mode = TOP_MODE_HELP; break;
    case '/':
        strcpy(top->old_filter, top->filter);
        top->mode = TOP_MODE_FILTER;
        break;
    case 'w': top_begin_weight(top); break;
    case 'x': top_begin_quarantine(top); break;
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

bool top_on_key(struct top *top, int key, bool *again)
{
    switch (top->mode) {
    case TOP_MODE_HELP: top->mode = TOP_MODE_LOOK; return true;
    case TOP_MODE_FILTER:
        if (key == TOP_KEY_ESCAPE) {
            strcpy(top->filter, top->old_filter);
            top->mode = TOP_MODE_LOOK;
        } else if (type_key(top->filter, key)) {
            top->mode = TOP_MODE_LOOK;
        }
        return true;
    case TOP_MODE_WEIGHT:
        if (key == TOP_KEY_ESCAPE) {
            top->mode = TOP_MODE_LOOK;
        } else if (type_key(top->typed, key)) {
            top_end_weight(top);
        }
        return true;
    case TOP_MODE_CONFIRM:
        top->mode = TOP_MODE_LOOK;
        if (key == 'y' || key == 'Y') {
            top_run_change(top);
            *again = true;
        } else {
            top_say(top, "nothing was changed");
        }
        return true;
    default: return look_key(top, key);
    }
}

const char *top_prompt(struct top *top)
{
    switch (top->mode) {
    case TOP_MODE_FILTER:
        snprintf(top->prompt, sizeof(top->prompt), "Show only: %s_", top->filter);
        break;
    case TOP_MODE_WEIGHT:
        snprintf(top->prompt, sizeof(top->prompt), "New weight, %u to %u: %s_", VGPU_WEIGHT_MIN,
                 VGPU_WEIGHT_MAX, top->typed);
        break;
    case TOP_MODE_CONFIRM:
        snprintf(top->prompt, sizeof(top->prompt), "%s [y/N]", top->change_text);
        break;
    default:
        if (clock_now_s() >= top->message_until_s) {
            return NULL;
        }
        snprintf(top->prompt, sizeof(top->prompt), "%s", top->message);
        break;
    }
    return top->prompt;
}
