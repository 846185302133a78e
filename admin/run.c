/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/base/link.h"
#include "admin/base/render.h"
#include "common/suggest.h"
#include "admin/db.h"
#include "admin/globals.h"
#include "admin/help.h"
#include "admin/options.h"
#include "admin/run.h"
#include "admin/say.h"
#include "admin/toolstack/toolstack.h"
#include "admin/watch.h"

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
    const char *no_color = getenv("NO_COLOR");
    struct admin_asked asked = {.no_color = no_color && no_color[0]};
    int status = admin_parse_globals(admin, &argc, argv, &asked);

    if (status == ADMIN_OK && asked.version) {
        printf("vgpu-admin %s\n", VGPU_VERSION);
    }
    if (status != ADMIN_OK || asked.version) {
        return status;
    }
    admin->color = !asked.no_color && isatty(STDOUT_FILENO);
    render_init(admin->color);
    if (argc > 0 && strcmp(argv[0], "--complete") == 0) {
        return help_complete(argc - 1, argv + 1, admin_global_options);
    }
    if (argc > 0 && strcmp(argv[0], "help") == 0) {
        asked.help = true;
        argc--;
        argv++;
    }
    if (argc == 0) {
        if (asked.help) {
            help_overview(admin_global_options);
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
    if (asked.help) {
        help_command(admin->command, admin_global_options);
        return ADMIN_OK;
    }
    status = admin_check_toolstack_name(admin);
    if (status == ADMIN_OK) {
        status = admin_parse_options(admin, argc - 1, argv + 1);
    }
    if (status != ADMIN_OK) {
        return status;
    }
    return admin->watch_s > 0 ? watch_run(admin) : admin->command->run(admin);
}

int admin_main(int argc, char **argv)
{
    int status;
    struct admin admin = {.toolstack_name = getenv("VGPU_TOOLSTACK"),
                          .socket_path = getenv("VGPU_ADMIN_SOCKET")};

    /* Which characters there are, and no more: numbers are read and printed in one way only. */
    setlocale(LC_CTYPE, "");
    status = run(&admin, argc - 1, argv + 1);

    vgpu_config_snapshot_free(admin.config);
    vgpu_db_close(admin.db);
    admin_link_free(admin.link);
    toolstack_free(admin.toolstack);
    json_decref(admin.notes);
    /* A full disk or a closed pipe must not look like success. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "vgpu-admin: cannot write the output\n");
        status = status == ADMIN_OK ? ADMIN_FAILED : status;
    }
    return status;
}
