/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/base/render.h"
#include "admin/say.h"
#include "common/utf8.h"

#define TEXT_BYTES 2048

/* Control characters of names that come from elsewhere do not reach the terminal. */
static void say(const char *prefix, const char *format, va_list args, char text[TEXT_BYTES])
{
    vsnprintf(text, TEXT_BYTES, format, args);
    render_sanitise(text, true);
    fflush(stdout);
    fprintf(stderr, "%s%s\n", prefix, text);
}

int admin_fail(struct admin *admin, int status, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list args;

    va_start(args, format);
    say("vgpu-admin: ", format, args, text);
    va_end(args);
    if (admin->json) {
        admin_print_json(admin, json_pack("{s:s#, s:i}", "error", text, (int)strlen(text),
                                          "exit_status", status));
    }
    return status;
}

void admin_note(struct admin *admin, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list args;

    va_start(args, format);
    if (admin->json) {
        vsnprintf(text, sizeof(text), format, args);
        if (!admin->notes) {
            admin->notes = json_array();
        }
        json_array_append_new(admin->notes, json_string(text));
    } else {
        say("note: ", format, args, text);
    }
    va_end(args);
}

/* DEL and U+0080 to U+009F need no escape in JSON, but the reader may be a terminal. */
bool admin_write_json(const json_t *value, size_t flags)
{
    /* jansson writes 17 digits of a real unless told otherwise: 2.12 as 2.1200000000000001. */
    char *text = json_dumps(value, flags | JSON_REAL_PRECISION(15));
    uint32_t code;
    size_t length;

    if (!text) {
        return false;
    }
    for (const char *p = text; *p; p += length ? length : 1) {
        length = utf8_decode(p, &code);
        if (code >= 0x7f && utf8_is_control(code)) {
            printf("\\u%04X", code);
        } else {
            fwrite(p, 1, length ? length : 1, stdout);
        }
    }
    free(text);
    return true;
}

void admin_print_json(struct admin *admin, json_t *document)
{
    if (admin->notes) {
        json_object_set_new(document, "notes", admin->notes);
        admin->notes = NULL;
    }
    /* Looking again and again makes a stream: one document a line. */
    if (admin_write_json(document, admin->watch_s > 0 ? JSON_COMPACT : JSON_INDENT(2))) {
        putchar('\n');
    }
    json_decref(document);
}

bool admin_can_ask(const struct admin *admin)
{
    return !admin->json && isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

bool admin_confirm(struct admin *admin, const char *question)
{
    char answer[16];

    if (admin->yes) {
        return true;
    }
    if (!admin_can_ask(admin)) {
        return false;
    }
    fflush(stdout);
    fprintf(stderr, "%s [y/N] ", question);
    return fgets(answer, sizeof(answer), stdin) && tolower((unsigned char)answer[0]) == 'y';
}
