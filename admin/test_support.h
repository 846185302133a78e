/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A test runs vgpu-admin's commands with these functions, against a database and a mediator of
 * its own.
 */
#ifndef ADMIN_TEST_SUPPORT_H
#define ADMIN_TEST_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdbool.h>

#define UUID_1 "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001"
#define UUID_2 "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0002"
#define UUID_3 "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0003"

/* What the last command printed, and its exit status. */
struct printed {
    char out[65536];
    char err[16384];
    int status;
};
extern struct printed printed;

/*
 * cmocka setup and teardown.  A new folder with no database in it; VGPU_DB,
 * VGPU_ADMIN_SOCKET and VGPU_TOOLSTACK=none say so to the commands.
 */
int support_setup(void **state);
int support_teardown(void **state);
const char *support_folder(void);

/* Runs `vgpu-admin LINE`, split at blanks; '_' in a word stands for a blank. */
int support_run(const char *line);
/* The same with --json; the document, the caller's, and never NULL. */
json_t *support_json(const char *line);
/* Runs it and fails the test unless status, stdout and stderr are so; NULL: whatever. */
void support_expect(const char *line, int status, const char *out, const char *err);

/* What work prints on stdout and stderr, in printed. */
void support_capture(void (*work)(const void *argument), const void *argument);

struct support_case {
    const char *line;
    int status;
    const char *out, *err; /* are part of what is printed; NULL: whatever */
};
/* All of them, one after the other; ends with a line of NULL. */
void support_table(const struct support_case *cases);

/*
 * A program of that name stands first in PATH until support_teardown().  It appends its
 * arguments to support_calls(), a line a call, and then does what the cases of a shell say:
 * "pattern) commands;;", matched against the arguments.  $D is support_folder().
 */
void support_program(const char *name, const char *cases);
/* What such programs were asked since the last time. */
const char *support_calls(void);

/* stdout is a terminal of this width until support_teardown(); 0: it is none again. */
void support_terminal(unsigned columns);

/* ---- a mediator ---- */

struct support_answer {
    uint32_t command; /* 0: of any other */
    uint32_t status;  /* errno value of the answer */
    const char *text;
};
/* Answers so, until support_teardown().  The array ends with a text of NULL. */
void support_mediator(const struct support_answer *answers);

#endif /* ADMIN_TEST_SUPPORT_H */
