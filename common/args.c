/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table becomes getopt_long()'s, whose numbers are the rows' places beyond all letters.  The
 * command line is gone through twice: first for --help, which shows the defaults and so comes
 * before anything is stored.
 */
#include "common/args.h"

#include <assert.h>
#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/parse.h"
#include "common/suggest.h"

#define FIRST_ID 256
#define SENTENCE_BYTES 512u
#define HELP_COLUMNS 90u
#define LABEL_MAX 22u /* what is longer has a line of its own */
#define PATH_MAX_BYTES (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

const char *const args_log_formats[] = {"text", "json", NULL};

int args_refused(const char *program, const char *name, const char *value, const char *want)
{
    fprintf(stderr, "%s: %s: \"%s\" is not %s. See %s --help.\n", program, name, value, want,
            program);
    return ARGS_EXIT_USAGE;
}

/* ---- sentences ---- */

static void add(char *text, const char *more)
{
    strncat(text, more, SENTENCE_BYTES - 1 - strlen(text));
}

/* "auto, cpu or cuda"; with `between` "auto|cpu|cuda". */
static void join_words(const struct args_option *row, const char *between, char *text)
{
    for (size_t i = 0; row->words[i]; i++) {
        if (i > 0) {
            add(text, between ? between : row->words[i + 1] ? ", " : " or ");
        }
        add(text, row->words[i]);
    }
}

static void range_text(const struct args_option *row, char text[SENTENCE_BYTES])
{
    text[0] = '\0';
    switch (row->kind) {
    case ARGS_KIND_NUMBER:
        snprintf(text, SENTENCE_BYTES, "%" PRIu64 " to %" PRIu64, row->min, row->max);
        break;
    case ARGS_KIND_REAL:
        snprintf(text, SENTENCE_BYTES, "%.12g to %.12g", row->least, row->most);
        break;
    case ARGS_KIND_CHOICE: join_words(row, NULL, text); break;
    default: break;
    }
}

static uint64_t stored_number(const struct args_option *row, const void *field)
{
    switch (row->type) {
    case ARGS_TYPE_BOOL: return *(const bool *)field;
    case ARGS_TYPE_INT: return (uint64_t) * (const int *)field;
    case ARGS_TYPE_U8: return *(const uint8_t *)field;
    case ARGS_TYPE_U32: return *(const uint32_t *)field;
    case ARGS_TYPE_U64: return *(const uint64_t *)field;
    default: return 0;
    }
}

static void default_text(const struct args_option *row, const void *target,
                         char text[SENTENCE_BYTES])
{
    const void *field = (const char *)target + row->offset;
    const char *string;

    text[0] = '\0';
    switch (row->kind) {
    case ARGS_KIND_NUMBER:
        snprintf(text, SENTENCE_BYTES, "%" PRIu64, stored_number(row, field) / row->unit);
        break;
    case ARGS_KIND_REAL:
        snprintf(text, SENTENCE_BYTES, "%.12g",
                 (row->type == ARGS_TYPE_REAL ? *(const double *)field
                                              : (double)stored_number(row, field)) /
                     row->scale);
        break;
    case ARGS_KIND_CHOICE: add(text, row->words[stored_number(row, field) - row->first]); break;
    case ARGS_KIND_TEXT:
    case ARGS_KIND_SOCKET:
        string = *(const char *const *)field;
        add(text, string ? string : "none");
        break;
    default: break;
    }
}

/* ---- the help ---- */

static void fill_in(const struct args_option *row, const void *target, char text[SENTENCE_BYTES])
{
    char word[SENTENCE_BYTES];

    text[0] = '\0';
    for (const char *at = row->help; *at;) {
        size_t plain = strcspn(at, "{");

        strncat(text, at,
                plain < SENTENCE_BYTES - 1 - strlen(text) ? plain
                                                          : SENTENCE_BYTES - 1 - strlen(text));
        at += plain;
        if (strncmp(at, "{range}", strlen("{range}")) == 0) {
            range_text(row, word);
        } else if (strncmp(at, "{default}", strlen("{default}")) == 0) {
            default_text(row, target, word);
        } else {
            break;
        }
        add(text, word);
        at += strcspn(at, "}") + 1;
    }
}

/* Words, from `column` on, where the cursor stands. */
static void print_wrapped(const char *text, unsigned column)
{
    unsigned at = column;

    while (*text) {
        unsigned length = (unsigned)strcspn(text, " \n");

        if (at > column && at + 1 + length > HELP_COLUMNS) {
            printf("\n%*s", (int)column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", (int)length, text);
        at += length;
        text += length + strspn(text + length, " ");
    }
    putchar('\n');
}

static void label_of(const struct args_option *row, char label[SENTENCE_BYTES])
{
    snprintf(label, SENTENCE_BYTES, "  --%s", row->name);
    if (row->value) {
        add(label, " ");
        add(label, row->value);
    } else if (row->kind == ARGS_KIND_CHOICE) {
        add(label, " ");
        join_words(row, "|", label);
    }
}

static unsigned help_column(const struct args_program *program)
{
    char label[SENTENCE_BYTES];
    size_t widest = 0;

    for (size_t i = 0; i < program->row_count; i++) {
        const struct args_option *row = &program->rows[i];

        if (row->name && row->help) {
            label_of(row, label);
            widest = strlen(label) > widest && strlen(label) <= LABEL_MAX ? strlen(label) : widest;
        }
    }
    return (unsigned)widest + 2;
}

static void print_row(const struct args_option *row, const void *target, unsigned column)
{
    char text[SENTENCE_BYTES];

    label_of(row, text);
    if (strlen(text) > column - 2) {
        printf("%s\n%*s", text, (int)column, "");
    } else {
        printf("%-*s", (int)column, text);
    }
    fill_in(row, target, text);
    print_wrapped(text, column);
}

static void print_help(const struct args_program *program, const void *target)
{
    unsigned column = help_column(program);

    fputs(program->intro, stdout);
    for (size_t i = 0; i < program->row_count; i++) {
        const struct args_option *row = &program->rows[i];

        if (!row->name) {
            printf("%s%s\n", i > 0 ? "\n" : "", row->help);
        } else if (row->help) {
            print_row(row, target, column);
        }
    }
    puts("  --help, --version");
    fputs(program->outro, stdout);
}

/* ---- values ---- */

static void store_number(const struct args_option *row, void *field, uint64_t number)
{
    switch (row->type) {
    case ARGS_TYPE_BOOL: *(bool *)field = number != 0; break;
    case ARGS_TYPE_INT: *(int *)field = (int)number; break;
    case ARGS_TYPE_U8: *(uint8_t *)field = (uint8_t)number; break;
    case ARGS_TYPE_U32: *(uint32_t *)field = (uint32_t)number; break;
    case ARGS_TYPE_U64: *(uint64_t *)field = number; break;
    case ARGS_TYPE_REAL: *(double *)field = (double)number; break;
    }
}

static bool take_number(const struct args_option *row, void *field, const char *value)
{
    uint64_t number;

    if (!parse_number(value, row->min, row->max, &number)) {
        return false;
    }
    store_number(row, field, number * row->unit);
    return true;
}

static bool take_real(const struct args_option *row, void *field, const char *value)
{
    double number;

    if (!parse_real(value, row->least, row->most, &number)) {
        return false;
    }
    if (row->type == ARGS_TYPE_REAL) {
        *(double *)field = number * row->scale;
    } else {
        store_number(row, field, (uint64_t)(number * row->scale));
    }
    return true;
}

static bool take_choice(const struct args_option *row, void *field, const char *value)
{
    for (unsigned i = 0; row->words[i]; i++) {
        if (strcmp(value, row->words[i]) == 0) {
            store_number(row, field, row->first + i);
            return true;
        }
    }
    return false;
}

static int refuse(const char *program, const struct args_option *row, const char *name,
                  const char *value)
{
    char want[SENTENCE_BYTES] = "", range[SENTENCE_BYTES];

    range_text(row, range);
    if (row->kind == ARGS_KIND_SOCKET) {
        fprintf(stderr,
                "%s: %s: \"%s\" has %zu characters; a socket's path has 1 to %zu. See %s --help.\n",
                program, name, value, strlen(value), PATH_MAX_BYTES, program);
        return ARGS_EXIT_USAGE;
    }
    if (row->kind == ARGS_KIND_CHOICE) {
        add(want, range);
    } else {
        add(want, "a number ");
        if (row->of) {
            add(want, "of ");
            add(want, row->of);
            add(want, " ");
        }
        add(want, "from ");
        add(want, range);
    }
    return args_refused(program, name, value, want);
}

int args_take_value(const char *program, const struct args_option *row, void *target,
                    const char *name, char *value)
{
    void *field = (char *)target + row->offset;
    bool taken = true;

    switch (row->kind) {
    case ARGS_KIND_HEADING: assert(false); break;
    case ARGS_KIND_FLAG: store_number(row, field, 1); break;
    case ARGS_KIND_CLEAR: store_number(row, field, 0); break;
    case ARGS_KIND_TEXT: *(const char **)field = value; break;
    case ARGS_KIND_SOCKET:
        taken = value[0] != '\0' && strlen(value) <= PATH_MAX_BYTES;
        *(const char **)field = value;
        break;
    case ARGS_KIND_NUMBER: taken = take_number(row, field, value); break;
    case ARGS_KIND_REAL: taken = take_real(row, field, value); break;
    case ARGS_KIND_CHOICE: taken = take_choice(row, field, value); break;
    case ARGS_KIND_TAKE: return row->take(target, name, value);
    }
    return taken ? -1 : refuse(program, row, name, value);
}

/* ---- the command line ---- */

enum { ID_HELP = 'h', ID_VERSION = 'V', ID_WRONG = '?', ID_NO_VALUE = ':' };

static bool wants_value(const struct args_option *row)
{
    return row->kind != ARGS_KIND_FLAG && row->kind != ARGS_KIND_CLEAR &&
           (row->kind != ARGS_KIND_TAKE || row->value);
}

static void make_table(const struct args_program *program, struct option table[ARGS_ROWS_MAX + 3])
{
    size_t count = 0;

    assert(program->row_count <= ARGS_ROWS_MAX);
    for (size_t i = 0; i < program->row_count; i++) {
        const struct args_option *row = &program->rows[i];

        if (row->name) {
            table[count++] = (struct option){row->name, wants_value(row), NULL, FIRST_ID + (int)i};
        }
    }
    table[count++] = (struct option){"help", no_argument, NULL, ID_HELP};
    table[count++] = (struct option){"version", no_argument, NULL, ID_VERSION};
    table[count] = (struct option){0};
}

/* getopt_long() took `argument` for none of its options, or its value is too much or missing. */
static int wrong_option(const struct args_program *program, const struct option *table, int id,
                        const char *argument)
{
    int length = (int)strcspn(argument, "=");
    const char *best;

    fprintf(stderr, "%s: ", program->name);
    if (id == ID_NO_VALUE) {
        fprintf(stderr, "%s needs a value. ", argument);
    } else if (optopt >= FIRST_ID || (optopt && argument[1] == '-')) {
        fprintf(stderr, "%.*s takes no value. ", length, argument);
    } else if (optopt) {
        fprintf(stderr, "unknown option -%c%s. ", optopt,
                isdigit(optopt) ? " (no number is below 0 here)" : "");
    } else {
        best = suggest_option(table, argument);
        fprintf(stderr, "unknown option %.*s. ", length, argument);
        if (best) {
            fprintf(stderr, "Did you mean --%s? ", best);
        }
    }
    fprintf(stderr, "See %s --help.\n", program->name);
    return ARGS_EXIT_USAGE;
}

static int take_row(const struct args_program *program, const struct args_option *row, void *target)
{
    char name[64];
    int status;

    snprintf(name, sizeof(name), "--%s", row->name);
    status = args_take_value(program->name, row, target, name, optarg);
    if (status < 0 && row->text) {
        *(const char **)((char *)target + row->text) = optarg;
    }
    return status;
}

/* Once through the command line; `target` NULL: only for --help and --version. */
static int go_through(const struct args_program *program, const struct option *table, int argc,
                      char **argv, void *target)
{
    int id, status = -1;

    optind = 0; /* glibc's word for: from the start */
    while (status < 0 && (id = getopt_long(argc, argv, ":hV", table, NULL)) != -1) {
        if (id == ID_WRONG || id == ID_NO_VALUE) {
            return target ? wrong_option(program, table, id, argv[optind - 1]) : -1;
        }
        if (id == ID_HELP || id == ID_VERSION) {
            return id;
        }
        if (target) {
            status = take_row(program, &program->rows[id - FIRST_ID], target);
        }
    }
    return status;
}

int args_parse(const struct args_program *program, int argc, char **argv, void *target,
               char ***words)
{
    struct option table[ARGS_ROWS_MAX + 3];
    int status;

    make_table(program, table);
    status = go_through(program, table, argc, argv, NULL);
    if (status == ID_HELP) {
        print_help(program, target);
        return EXIT_SUCCESS;
    }
    if (status == ID_VERSION) {
        printf("%s " VGPU_VERSION "\n", program->name);
        return EXIT_SUCCESS;
    }
    status = go_through(program, table, argc, argv, target);
    if (status >= 0) {
        return status;
    }
    if (words) {
        *words = argv + optind;
    } else if (argv[optind]) {
        fprintf(stderr, "%s: unexpected argument \"%s\". See %s --help.\n", program->name,
                argv[optind], program->name);
        return ARGS_EXIT_USAGE;
    }
    return -1;
}
