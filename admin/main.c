/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vgpu-admin: global options, the list of commands, help. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/help.h"
#include "admin/base/mediator_client.h"
#include "admin/base/render.h"
#include "admin/base/suggest.h"
#include "admin/toolstack/toolstack.h"
#include "admin/watch.h"

static const struct admin_option global_options[] = {
    ADMIN_GLOBAL_OPTIONS,
    {0},
};

/* value NULL: --watch alone. */
static int set_watch(struct admin *admin, const char *value)
{
    char *end = NULL;

    admin->watch_s = value ? strtod(value, &end) : WATCH_DEFAULT_S;
    if (value && (end == value || *end || !(admin->watch_s >= WATCH_MIN_S) ||
                  !(admin->watch_s <= WATCH_MAX_S))) {
        return admin_fail(admin, ADMIN_USAGE,
                          "--watch must be a number of seconds from %g to %g, not \"%s\"",
                          WATCH_MIN_S, WATCH_MAX_S, value);
    }
    return ADMIN_OK;
}

/* Takes the global options out of argv, wherever they stand; -1 or an exit status. */
static int parse_globals(struct admin *admin, int *argc, char **argv, bool *help, bool *no_color)
{
    int kept = 0;

    for (int n = 0; n < *argc; n++) {
        const char *argument = argv[n];
        size_t length = strncmp(argument, "--", 2) == 0 ? strcspn(argument + 2, "=") : 0;
        const struct admin_option *o = global_options;

        if (strcmp(argument, "-h") == 0) {
            *help = true;
            continue;
        }
        while (o->name && (strlen(o->name) != length || strncmp(o->name, argument + 2, length))) {
            o++;
        }
        if (length == 0 || !o->name) {
            argv[kept++] = argv[n];
            /* "--vm-name --json" is a value that is missing, not a name. */
            continue;
        }
        const char *value = argument[2 + length] == '=' ? argument + 2 + length + 1 : NULL;
        bool optional = o->metavar && o->metavar[0] == '[';
        if (o->metavar && !optional && !value && n + 1 < *argc) {
            value = argv[++n];
        }
        if (!optional && (o->metavar ? !value || !value[0] : value != NULL)) {
            return admin_fail(admin, ADMIN_USAGE,
                              o->metavar ? "--%s needs a value: --%s=%s" : "--%s takes no value",
                              o->name, o->name, o->metavar);
        }
        switch (o->name[0]) {
        case 'd': admin->db_path = value; break;
        case 'a': admin->socket_path = value; break;
        case 'j': admin->json = true; break;
        case 'y': admin->yes = true; break;
        case 'n': *no_color = true; break;
        case 'h': *help = true; break;
        case 'w': {
            int status = set_watch(admin, value);
            if (status != ADMIN_OK) {
                return status;
            }
            break;
        }
        case 'v': printf("vgpu-admin %s\n", VGPU_VERSION); return ADMIN_OK;
        case 't':
            if (strcmp(o->name, "toolstack") == 0) {
                admin->toolstack_name = value;
            } else {
                admin->timeout_s = atoi(value);
                if (admin->timeout_s < 1 || admin->timeout_s > 86400) {
                    return admin_fail(admin, ADMIN_USAGE,
                                      "--timeout must be a number of seconds from 1 to 86400, not "
                                      "\"%s\"",
                                      value);
                }
            }
            break;
        default: break;
        }
    }
    *argc = kept;
    return -1;
}

static int check_toolstack_name(struct admin *admin)
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

static int unknown_command(struct admin *admin, const char *name)
{
    struct suggest suggest;

    suggest_init(&suggest, name);
    for (size_t f = 0; admin_command_families[f]; f++) {
        for (const struct admin_command *c = admin_command_families[f]; c->name; c++) {
            suggest_offer(&suggest, c->name);
        }
    }
    if (suggest.best) {
        return admin_fail(admin, ADMIN_USAGE, "there is no command \"%s\"; did you mean %s?", name,
                          suggest.best);
    }
    return admin_fail(admin, ADMIN_USAGE,
                      "there is no command \"%s\"; vgpu-admin --help lists them", name);
}

static int run(struct admin *admin, int argc, char **argv)
{
    bool help = false, no_color = getenv("NO_COLOR") && getenv("NO_COLOR")[0];
    int status = parse_globals(admin, &argc, argv, &help, &no_color);

    if (status >= 0) {
        return status;
    }
    admin->color = !no_color && isatty(STDOUT_FILENO);
    render_init(admin->color);
    if (argc > 0 && strcmp(argv[0], "--complete") == 0) {
        return help_complete(argc - 1, argv + 1, global_options);
    }
    if (argc > 0 && strcmp(argv[0], "help") == 0) {
        help = true;
        argc--;
        argv++;
    }
    if (argc == 0) {
        if (help) {
            help_overview(global_options);
            return ADMIN_OK;
        }
        return admin_fail(admin, ADMIN_USAGE,
                          "which command? vgpu-admin --help lists them, vgpu-admin status shows "
                          "what is going on");
    }
    if (argv[0][0] == '-') {
        return admin_fail(admin, ADMIN_USAGE,
                          "there is no global option %s; vgpu-admin --help lists them (a command's "
                          "own options come after its name)",
                          argv[0]);
    }
    admin->command = admin_find_command(argv[0]);
    if (!admin->command) {
        return unknown_command(admin, argv[0]);
    }
    if (help) {
        help_command(admin->command, global_options);
        return ADMIN_OK;
    }
    status = check_toolstack_name(admin);
    if (status == ADMIN_OK) {
        status = admin_parse_options(admin, argc - 1, argv + 1);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    return admin->watch_s > 0 ? watch_run(admin) : admin->command->run(admin);
}

int main(int argc, char **argv)
{
    struct admin admin = {.toolstack_name = getenv("VGPU_TOOLSTACK"),
                          .socket_path = getenv("VGPU_ADMIN_SOCKET")};

    setlocale(LC_ALL, "");
    int status = run(&admin, argc - 1, argv + 1);

    vgpu_config_snapshot_free(admin.config);
    vgpu_db_close(admin.db);
    mediator_free(admin.mediator);
    toolstack_free(admin.toolstack);
    json_decref(admin.notes);
    /* A full disk or a closed pipe must not look like success. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "vgpu-admin: cannot write the output\n");
        status = status == ADMIN_OK ? ADMIN_FAILED : status;
    }
    return status;
}
