/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A command says everything through these functions: errors, notes, JSON documents, questions. */
#ifndef ADMIN_SAY_H
#define ADMIN_SAY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct admin;

/* Says it on stderr, and as {"error": ...} on stdout with --json; returns status. */
int admin_fail(struct admin *admin, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Something to know that is no error: stderr, or "notes" of the JSON document. */
void admin_note(struct admin *admin, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* jansson's json_dumpf() to stdout, safe for a terminal; false without memory. */
bool admin_write_json(const json_t *value, size_t flags);
/* Prints the JSON document (steals it) with the notes in it. */
void admin_print_json(struct admin *admin, json_t *document);
/* Asks on the terminal; false if there is none or the answer is not yes.  --yes: true. */
bool admin_confirm(struct admin *admin, const char *question);
bool admin_can_ask(const struct admin *admin);

#endif /* ADMIN_SAY_H */
