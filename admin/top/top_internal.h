/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files of the live view share these declarations.  They are private to admin/top/.
 *
 *   top.c         the command: looks at the mediator, shows the picture
 *   top_keys.c    what each key does, and the line that answers it
 *   top_change.c  sets the weight or the quarantine of the chosen VM
 */
#ifndef ADMIN_TOP_TOP_INTERNAL_H
#define ADMIN_TOP_TOP_INTERNAL_H

#include "admin/admin.h"
#include "admin/top/top_layout.h"
#include "admin/top/top_model.h"

#define TOP_INTERVAL_MIN_S 0.2
#define TOP_INTERVAL_MAX_S 3600.0
#define TOP_TYPED_BYTES 64

enum top_mode {
    TOP_MODE_LOOK,
    TOP_MODE_HELP,
    TOP_MODE_FILTER,  /* typing one */
    TOP_MODE_WEIGHT,  /* typing one */
    TOP_MODE_CONFIRM, /* waiting for y */
};

struct top {
    struct admin *admin;
    struct top_snapshot *before, *now;
    struct top_rows rows;
    struct top_view view;
    enum top_mode mode;
    char clock[16];
    char trouble[256];
    char filter[TOP_TYPED_BYTES];
    char old_filter[TOP_TYPED_BYTES];
    char typed[TOP_TYPED_BYTES];
    char prompt[512];
    char message[512];
    double message_until_s;
    /* What is confirmed: the command, its VM and its value. */
    const char *change;
    char change_vm[64];
    char change_value[32];
    char change_text[384];
};

/* ---- top_keys.c ---- */

/* False: quit.  *again: look at the mediator at once. */
bool top_on_key(struct top *top, int key, bool *again);
/* What the last line says: what is typed or asked, or a message; NULL: the keys. */
const char *top_prompt(struct top *top);
/* A message for the last line, for some seconds. */
void top_say(struct top *top, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The row of the chosen VM; NULL: none is, or it is not among the rows any more. */
const struct top_row *top_chosen(const struct top *top);

/* ---- top_change.c ---- */

/* These lead to TOP_MODE_WEIGHT and TOP_MODE_CONFIRM, or say why not. */
void top_begin_weight(struct top *top);
void top_begin_quarantine(struct top *top);
/* A weight was typed: goes on to TOP_MODE_CONFIRM, or says what is wrong with it. */
void top_end_weight(struct top *top);
/* Confirmed: does it and says how it went. */
void top_run_change(struct top *top);

#endif /* ADMIN_TOP_TOP_INTERNAL_H */
