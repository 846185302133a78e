/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of every command. */
#include <string.h>

#include "admin/admin.h"
#include "common/suggest.h"
#include "admin/globals.h"
#include "admin/say.h"
#include "admin/watch.h"
#include "common/parse.h"
#include "vgpu/vgpu_admin.h"

#define TIMEOUT_MAX_S 86400

const struct admin_option admin_global_options[] = {
    {.name = "db",
     .metavar = "PATH",
     .help = "the database (default $VGPU_DB, else " VGPU_DB_PATH ")"},
    {.name = "admin-socket",
     .metavar = "PATH",
     .help = "the mediator's admin socket (default $VGPU_ADMIN_SOCKET, else " VGPU_ADMIN_SOCKET_PATH
             ")"},
    {.name = "toolstack",
     .metavar = "xe|virsh|none",
     .help = "whom to ask about VMs (default $VGPU_TOOLSTACK, else what is installed)"},
    {.name = "timeout",
     .metavar = "SECONDS",
     .help = "how long the mediator or a toolstack program may take (default 5; 60, and 300 for a "
             "guest's shutdown)"},
    {.name = "json", .help = "print one JSON document"},
    {.name = "watch",
     .metavar = "[SECONDS]",
     .help = "look again and again (every 2 s) until Ctrl-C, for commands that only look"},
    {.name = "yes", .help = "answer yes to every question"},
    {.name = "no-color", .help = "no colours (NO_COLOR in the environment does the same)"},
    {.name = "help", .help = "show help, of a command if one is given"},
    {.name = "version", .help = "show the version"},
    {0},
};

/* value NULL: --watch alone. */
static int set_watch(struct admin *admin, const char *value)
{
    admin->watch_s = WATCH_DEFAULT_S;
    if (value && !parse_real(value, WATCH_MIN_S, WATCH_MAX_S, &admin->watch_s)) {
        return admin_fail(admin, ADMIN_USAGE,
                          "--watch must be a number of seconds from %g to %g, not \"%s\"",
                          WATCH_MIN_S, WATCH_MAX_S, value);
    }
    return ADMIN_OK;
}

static int set_timeout(struct admin *admin, const char *value)
{
    uint32_t seconds;

    if (!parse_u32(value, 1, TIMEOUT_MAX_S, &seconds)) {
        return admin_fail(admin, ADMIN_USAGE,
                          "--timeout must be a number of seconds from 1 to %d, not \"%s\"",
                          TIMEOUT_MAX_S, value);
    }
    admin->timeout_s = (int)seconds;
    return ADMIN_OK;
}

/* One option with its value, which is NULL for a flag. */
static int take(struct admin *admin, const char *name, const char *value, struct admin_asked *asked)
{
    int status = ADMIN_OK;

    if (strcmp(name, "db") == 0) {
        admin->db_path = value;
    } else if (strcmp(name, "admin-socket") == 0) {
        admin->socket_path = value;
    } else if (strcmp(name, "toolstack") == 0) {
        admin->toolstack_name = value;
    } else if (strcmp(name, "timeout") == 0) {
        status = set_timeout(admin, value);
    } else if (strcmp(name, "json") == 0) {
        admin->json = true;
    } else if (strcmp(name, "watch") == 0) {
        status = set_watch(admin, value);
    } else if (strcmp(name, "yes") == 0) {
        admin->yes = true;
    } else if (strcmp(name, "no-color") == 0) {
        asked->no_color = true;
    } else if (strcmp(name, "help") == 0) {
        asked->help = true;
    } else {
        asked->version = true;
    }
    return status;
}

/* The option that this argument is, or NULL; *length: of its name. */
static const struct admin_option *find(const char *argument, size_t *length)
{
    *length = strncmp(argument, "--", 2) == 0 ? strcspn(argument + 2, "=") : 0;
    for (const struct admin_option *o = admin_global_options; *length && o->name; o++) {
        if (strlen(o->name) == *length && strncmp(o->name, argument + 2, *length) == 0) {
            return o;
        }
    }
    return NULL;
}

int admin_parse_globals(struct admin *admin, int *argc, char **argv, struct admin_asked *asked)
{
    int kept = 0;

    for (int n = 0; n < *argc; n++) {
        const char *argument = argv[n], *value;
        const struct admin_option *o;
        size_t length;
        bool optional;
        int status;

        if (strcmp(argument, "-h") == 0) {
            asked->help = true;
            continue;
        }
        o = find(argument, &length);
        if (!o) {
            /* "--vm-name --json" is a value that is missing, not a name. */
            argv[kept++] = argv[n];
            continue;
        }
        value = argument[2 + length] == '=' ? argument + 2 + length + 1 : NULL;
        optional = o->metavar && o->metavar[0] == '[';
        if (o->metavar && !optional && !value && n + 1 < *argc) {
            value = argv[++n];
        }
        if (!optional && (o->metavar ? !value || !value[0] : value != NULL)) {
            return admin_fail(admin, ADMIN_USAGE,
                              o->metavar ? "--%s needs a value: --%s=%s" : "--%s takes no value",
                              o->name, o->name, o->metavar);
        }
        status = take(admin, o->name, value, asked);
        if (status != ADMIN_OK || asked->version) {
            return status;
        }
    }
    *argc = kept;
    return ADMIN_OK;
}

int admin_check_toolstack_name(struct admin *admin)
{
    static const char *const names[] = {"xe", "virsh", "none"};
    struct suggest suggest;

    if (!admin->toolstack_name) {
        return ADMIN_OK;
    }
    if (strcmp(admin->toolstack_name, "libvirt") == 0) {
        admin->toolstack_name = "virsh";
    }
    suggest_init(&suggest, admin->toolstack_name);
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(admin->toolstack_name, names[i]) == 0) {
            return ADMIN_OK;
        }
        suggest_offer(&suggest, names[i]);
    }
    return admin_fail(admin, ADMIN_USAGE, "--toolstack must be xe, virsh or none, not \"%s\"%s%s%s",
                      admin->toolstack_name, suggest.best ? "; did you mean " : "",
                      suggest.best ? suggest.best : "", suggest.best ? "?" : "");
}
