/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading options and their values. */
#include <ctype.h>
#include <string.h>

#include "admin/admin.h"
#include "common/suggest.h"
#include "admin/options.h"
#include "admin/say.h"
#include "common/names.h"
#include "common/parse.h"
#include "common/weight.h"

static int find_option(const struct admin_command *command, const char *name, size_t length)
{
    for (int i = 0; command->options && command->options[i].name; i++) {
        const struct admin_option *o = &command->options[i];
        if ((strlen(o->name) == length && strncmp(o->name, name, length) == 0) ||
            (o->alias && strlen(o->alias) == length && strncmp(o->alias, name, length) == 0)) {
            return i;
        }
    }
    return -1;
}

const char *admin_option(const struct admin *admin, const char *name)
{
    int i = find_option(admin->command, name, strlen(name));

    return i < 0 ? NULL : admin->values[i];
}

static int unknown_option(struct admin *admin, const char *argument)
{
    struct suggest suggest;
    char name[64];
    size_t length = strcspn(argument + 2, "=");

    if (length >= sizeof(name)) {
        length = sizeof(name) - 1;
    }
    memcpy(name, argument + 2, length);
    name[length] = '\0';
    suggest_init(&suggest, name);
    for (int i = 0; admin->command->options && admin->command->options[i].name; i++) {
        suggest_offer(&suggest, admin->command->options[i].name);
    }
    if (suggest.best) {
        return admin_fail(admin, ADMIN_USAGE, "%s has no option --%s; did you mean --%s?",
                          admin->command->name, name, suggest.best);
    }
    return admin_fail(admin, ADMIN_USAGE,
                      "%s has no option --%s; vgpu-admin %s --help shows those it has",
                      admin->command->name, name, admin->command->name);
}

int admin_parse_options(struct admin *admin, int argc, char **argv)
{
    const struct admin_command *command = admin->command;

    for (int n = 0; n < argc; n++) {
        const char *argument = argv[n];
        bool bare = strncmp(argument, "--", 2) != 0 || argument[2] == '\0';
        const char *name;
        size_t length;
        int i;
        const struct admin_option *option;
        const char *value;

        if (bare && !command->positional) {
            return admin_fail(
                admin, ADMIN_USAGE,
                "%s does not know what to do with \"%s\"; options begin with -- and a "
                "name with spaces needs quotes, for example:\n  %.*s",
                command->name, argument, (int)strcspn(command->example, "\n"), command->example);
        }
        name = bare ? command->positional : argument + 2;
        length = strcspn(name, "=");
        i = find_option(command, name, length);
        if (i < 0) {
            return unknown_option(admin, argument);
        }
        option = &command->options[i];
        value = bare ? argument : name[length] == '=' ? name + length + 1 : NULL;
        if (admin->values[i]) {
            return admin_fail(admin, ADMIN_USAGE, "--%s is given twice", option->name);
        }
        if (!option->metavar) {
            if (value) {
                return admin_fail(admin, ADMIN_USAGE, "--%s takes no value", option->name);
            }
            value = "";
        } else if (!value && n + 1 < argc && strncmp(argv[n + 1], "--", 2) != 0) {
            value = argv[++n];
        }
        if (!value || (option->metavar && !value[0])) {
            return admin_fail(admin, ADMIN_USAGE, "--%s needs a value: --%s=%s", option->name,
                              option->name, option->metavar);
        }
        admin->values[i] = value;
    }
    for (int i = 0; command->options && command->options[i].name; i++) {
        if (command->options[i].required && !admin->values[i]) {
            return admin_fail(admin, ADMIN_USAGE, "%s needs --%s=%s, for example:\n  %.*s",
                              command->name, command->options[i].name, command->options[i].metavar,
                              (int)strcspn(command->example, "\n"), command->example);
        }
    }
    return ADMIN_OK;
}

/* ---- Values ------------------------------------------------------------------------ */

int admin_uint(struct admin *admin, const char *option, uint64_t min, uint64_t max, uint64_t *value)
{
    const char *text = admin_option(admin, option);

    if (!parse_uint(text, min, max, value)) {
        return admin_fail(admin, ADMIN_USAGE,
                          "--%s must be a whole number from %llu to %llu, not \"%s\"", option,
                          (unsigned long long)min, (unsigned long long)max, text);
    }
    return ADMIN_OK;
}

int admin_weight(struct admin *admin, const char *option, double *weight)
{
    const char *text = admin_option(admin, option);

    if (!weight_parse(text, weight)) {
        return admin_fail(admin, ADMIN_USAGE, "--%s must be " WEIGHT_WORDS ", not \"%s\"", option,
                          text);
    }
    return ADMIN_OK;
}

int admin_size(struct admin *admin, const char *option, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    const char *text = admin_option(admin, option);
    unsigned shift = 0;
    uint64_t number = 0;
    const char *end = parse_digits(text, INT64_MAX, &number);
    bool ok = end != NULL;

    if (ok && *end) {
        const char *unit = strchr(units, toupper((unsigned char)*end));
        ok = unit != NULL;
        if (ok) {
            shift = 10u * (unsigned)(unit - units + 1);
            end++;
            /* "G", "GB" and "GiB" all mean 2^30. */
            if (strcasecmp(end, "b") == 0 || strcasecmp(end, "ib") == 0) {
                end += strlen(end);
            }
            ok = *end == '\0' && number <= ((uint64_t)INT64_MAX >> shift);
        }
    }
    if (!ok) {
        return admin_fail(admin, ADMIN_USAGE,
                          "--%s must be a size such as 512M or 16G, or 0 for no limit, not \"%s\"",
                          option, text);
    }
    *bytes = number << shift;
    return ADMIN_OK;
}

int admin_pool(struct admin *admin, const char *option, char *pool_id)
{
    const char *text = admin_option(admin, option);
    char letter = (char)toupper((unsigned char)text[0]);

    if (text[1] || letter < VGPU_POOL_FIRST || letter > VGPU_POOL_LAST) {
        return admin_fail(admin, ADMIN_USAGE, "--%s must be one letter from %c to %c, not \"%s\"",
                          option, VGPU_POOL_FIRST, VGPU_POOL_LAST, text);
    }
    *pool_id = letter;
    return ADMIN_OK;
}

int admin_choice(struct admin *admin, const char *option, const char *const *words, size_t *index)
{
    const char *text = admin_option(admin, option);
    struct suggest suggest;
    char list[256] = "";

    suggest_init(&suggest, text);
    for (size_t i = 0; words[i]; i++) {
        if (strcasecmp(words[i], text) == 0) {
            *index = i;
            return ADMIN_OK;
        }
        suggest_offer(&suggest, words[i]);
        if (strlen(list) + strlen(words[i]) + 3 < sizeof(list)) {
            strcat(strcat(list, i ? ", " : ""), words[i]);
        }
    }
    return admin_fail(admin, ADMIN_USAGE, "--%s must be one of %s, not \"%s\"%s%s%s", option, list,
                      text, suggest.best ? "; did you mean " : "", suggest.best ? suggest.best : "",
                      suggest.best ? "?" : "");
}

int admin_priority(struct admin *admin, const char *option, uint8_t *priority)
{
    const char *text = admin_option(admin, option);
    size_t index;
    int status;

    if (text[0] >= '0' && text[0] <= '2' && !text[1]) {
        *priority = (uint8_t)(text[0] - '0');
        return ADMIN_OK;
    }
    status = admin_choice(admin, option, priority_names, &index);
    *priority = (uint8_t)index;
    return status;
}
