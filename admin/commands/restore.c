/* SPDX-License-Identifier: GPL-2.0-or-later */
/* restore-db: a backup in the place of the database. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/base/json_get.h"
#include "admin/base/link.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/db.h"
#include "admin/options.h"
#include "admin/say.h"
#include "admin/tools.h"
#include "vgpu/vgpu_admin.h"

/* Where /proc does not show this user who has the file open, the mediator itself does. */
static int check_mediator(struct admin *admin, const char *path)
{
    char ours[PATH_MAX], its[PATH_MAX];
    const char *database;
    json_t *status;
    bool same;

    if (admin_link_request(admin_get_link(admin), VGPU_ADMIN_SHOW_STATUS, 0, NULL, &status) < 0) {
        return ADMIN_OK;
    }
    database = json_get_text(status, "database", NULL);
    same = database && realpath(path, ours) && realpath(database, its) && strcmp(ours, its) == 0;
    json_decref(status);
    if (!same) {
        return ADMIN_OK;
    }
    return admin_fail(
        admin, ADMIN_FAILED,
        "the mediator that listens on %s has %s open, so nothing was changed; stop it "
        "first (systemctl stop vgpu-mediator) and start it again afterwards",
        admin_socket_path(admin), path);
}

static int add_event(struct admin *admin, const char *backup)
{
    char detail[VGPU_EVENT_DETAIL_BYTES];
    int result, status = admin_open_db(admin, VGPU_DB_WRITE);

    if (status != ADMIN_OK) {
        return status;
    }
    snprintf(detail, sizeof(detail), "restored from %s", backup);
    result = vgpu_db_add_event(admin->db, "restore", NULL, 0, detail);
    return result < 0 ? admin_db_failed(admin, result) : ADMIN_OK;
}

static void report(struct admin *admin, const char *path, const char *backup, const char *kept)
{
    char message[4 * 512];

    snprintf(message, sizeof(message), "Restored %s from %s: %u VMs, %u pools.%s%s%s", path, backup,
             admin->config->vm_count, admin->config->pool_count,
             kept ? " The old one is kept as " : "", kept ? kept : "", kept ? "." : "");
    if (admin->json) {
        admin_print_json(admin, json_pack("{s:b, s:s, s:s, s:s, s:s?, s:I, s:I}", "changed", 1,
                                          "message", message, "path", path, "backup", backup,
                                          "kept", kept, "vms", (json_int_t)admin->config->vm_count,
                                          "pools", (json_int_t)admin->config->pool_count));
    } else {
        render_text(STYLE_PLAIN, message);
        putchar('\n');
    }
}

static int run_restore(struct admin *admin)
{
    const char *path = vgpu_db_path(admin->db_path), *backup = admin_option(admin, "from");
    char error[VGPU_DB_ERROR_BYTES], question[1024], *kept;
    int status = check_mediator(admin, path);

    if (status != ADMIN_OK) {
        return status;
    }
    snprintf(question, sizeof(question), "Replace %.400s by %.400s?", path, backup);
    if (admin_can_ask(admin) && !admin_confirm(admin, question)) {
        printf("Nothing changed.\n");
        return ADMIN_OK;
    }
    if (vgpu_db_restore(path, backup, &kept, error, sizeof(error)) < 0) {
        return admin_fail(admin, ADMIN_FAILED, "%s", error);
    }
    status = add_event(admin, backup);
    if (status == ADMIN_OK) {
        report(admin, path, backup, kept);
    }
    free(kept);
    return status;
}

const struct admin_command commands_restore[] = {
    {
        .name = "restore-db",
        .group = "Database",
        .summary = "Put a backup in the place of the database",
        .usage = "--from=FILE",
        .details =
            "The mediator must be stopped. The backup is checked before anything is changed, and\n"
            "the old database is kept beside the new one, with a name that says when. A file that\n"
            "is copied over the database by hand is undone by the -wal file beside it. On a\n"
            "terminal the command asks first.",
        .example = "vgpu-admin restore-db --from=/var/backups/vgpu_config.db",
        ADMIN_TAKES({.name = "from", .metavar = "FILE", .help = "the backup", .required = true}),
        .run = run_restore,
        .positional = "from",
    },
    {0},
};
