/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admin/toolstack/toolstack_args.h"
#include "admin/toolstack/toolstack_device.h"

/* As Python's str.split() in the wrapper has it, for ASCII. */
#define BLANKS " \t\n\v\f\r\x1c\x1d\x1e\x1f"
#define QUOTES "'\"\\"
#define OPTION "-device"

struct word {
    const char *at;
    size_t length; /* 0: the text's end */
};

enum meaning { OTHER, DEVICE, REFUSED };

/* A word, or with the next one a device. */
struct piece {
    enum meaning meaning;
    const char *start;         /* with the blanks before it */
    struct word option, value; /* value: of a device only */
    const char *end;
};

static struct word next_word(const char *at)
{
    at += strspn(at, BLANKS);
    return (struct word){at, strcspn(at, BLANKS)};
}

/* The word without its quotes, cut to what there is room for. */
static void unquote(struct word word, char *out, size_t out_bytes)
{
    size_t used = 0;

    for (size_t i = 0; i < word.length && used + 1 < out_bytes; i++) {
        if (!strchr(QUOTES, word.at[i])) {
            out[used++] = word.at[i];
        }
    }
    out[used] = '\0';
}

static bool has_quotes(struct word word)
{
    return strcspn(word.at, QUOTES) < word.length;
}

/* Whether QEMU would make a vgpu-stub of this value of -device, however it is written. */
static bool names_driver(struct word value)
{
    static const char key[] = "driver=";
    char text[TOOLSTACK_ARGS_BYTES];

    unquote(value, text, sizeof(text));
    if (text[0] == '{') {
        /* JSON may have blanks in it: up to its end, not the word's. */
        const char *found = strstr(value.at, TOOLSTACK_DRIVER);
        return found && found < value.at + strcspn(value.at, "}");
    }
    if (toolstack_is_device(text, strlen(text))) {
        return true;
    }
    for (const char *at = text; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, key, strlen(key)) == 0 &&
            toolstack_is_device(at + strlen(key), strlen(at + strlen(key)))) {
            return true;
        }
    }
    return false;
}

static enum meaning meaning_of(struct word option, struct word value)
{
    char text[sizeof("-" OPTION) + 1]; /* a longer word stays longer */
    bool plain;

    unquote(option, text, sizeof(text));
    if ((strcmp(text, OPTION) != 0 && strcmp(text, "-" OPTION) != 0) || !names_driver(value)) {
        return OTHER;
    }
    plain = option.length == strlen(OPTION) && !has_quotes(option) && !has_quotes(value);
    return plain && toolstack_is_device(value.at, value.length) ? DEVICE : REFUSED;
}

/*
 * Whether the wrapper passes the device on: it takes few properties (romfile= would
 * open any file of the host), and only letters and digits as their values.
 */
static bool is_passed_on(struct word value)
{
    static const char *const names[] = {"pool_id=", "priority=", "vm_id=", "wait-mediator="};
    static const char plain[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const char *at = value.at + strlen(TOOLSTACK_DRIVER), *end = value.at + value.length;

    while (at < end) {
        size_t name = 0, i;
        size_t length;

        at++; /* the comma */
        for (i = 0; i < sizeof(names) / sizeof(names[0]) && name == 0; i++) {
            name = strncmp(at, names[i], strlen(names[i])) == 0 ? strlen(names[i]) : 0;
        }
        length = name > 0 ? strspn(at + name, plain) : 0;
        at += name + length;
        if (length == 0 || (at < end && *at != ',')) {
            return false;
        }
    }
    return true;
}

static void quote_piece(const struct piece *piece, char out[TOOLSTACK_REFUSED_BYTES])
{
    snprintf(out, TOOLSTACK_REFUSED_BYTES, "%.*s", (int)(piece->end - piece->option.at),
             piece->option.at);
}

/* False at the end of the text, which may be blanks. */
static bool next_piece(const char *at, struct piece *piece)
{
    piece->start = at;
    piece->option = next_word(at);
    piece->end = piece->option.at + piece->option.length;
    if (piece->option.length == 0) {
        return false;
    }
    piece->value = next_word(piece->end);
    piece->meaning = meaning_of(piece->option, piece->value);
    if (piece->meaning != OTHER) {
        piece->end = piece->value.at + piece->value.length;
    }
    return true;
}

void toolstack_args_read(const char *text, struct toolstack_args *args)
{
    struct piece piece;

    *args = (struct toolstack_args){0};
    for (; next_piece(text, &piece); text = piece.end) {
        if (piece.meaning == DEVICE && args->devices++ == 0 && !is_passed_on(piece.value)) {
            quote_piece(&piece, args->left_out);
        } else if (piece.meaning == REFUSED && !args->refused[0]) {
            quote_piece(&piece, args->refused);
        }
    }
}

int toolstack_args_write(const char *text, const struct toolstack_device *device, char *out,
                         size_t out_bytes)
{
    struct toolstack_text result = {out, out_bytes};
    bool dropped = false;
    struct piece piece;

    out[0] = '\0';
    for (; next_piece(text, &piece); text = piece.end) {
        /* The blanks before a device that goes go with it; so do those after the first. */
        const char *from = dropped && result.used == 0 ? piece.option.at : piece.start;
        if (piece.meaning != DEVICE) {
            toolstack_text_put(&result, from, (size_t)(piece.end - from));
        } else if (device) {
            toolstack_text_put(&result, from, (size_t)(piece.value.at - from));
            toolstack_device_put(&result, piece.value.at, piece.value.length, device);
            device = NULL;
        } else {
            dropped = true;
        }
    }
    if (!dropped || result.used > 0) {
        toolstack_text_put(&result, text, strlen(text));
    }
    if (device) {
        bool blank = result.used == 0 || strchr(BLANKS, out[result.used - 1]);
        toolstack_text_put(&result, " ", !blank);
        toolstack_text_put(&result, OPTION " ", strlen(OPTION " "));
        toolstack_device_put(&result, TOOLSTACK_DRIVER, strlen(TOOLSTACK_DRIVER), device);
    }
    return result.full ? -E2BIG : 0;
}
