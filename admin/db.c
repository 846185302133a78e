/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/db.h"
#include "admin/say.h"

/* The person who logged in, also under sudo; else the user of this process. */
static void set_actor(struct admin *admin)
{
    char actor[VGPU_EVENT_ACTOR_BYTES];
    unsigned uid = getuid();
    unsigned login = uid;
    FILE *f = fopen("/proc/self/loginuid", "r");
    const struct passwd *pw;

    if (f) {
        unsigned value;
        if (fscanf(f, "%u", &value) == 1 && value != (unsigned)-1) {
            login = value;
        }
        fclose(f);
    }
    pw = getpwuid(login);
    if (login != uid) {
        snprintf(actor, sizeof(actor), "%.32s (uid %u as %u)", pw ? pw->pw_name : "?", login, uid);
    } else {
        snprintf(actor, sizeof(actor), "%.32s (uid %u)", pw ? pw->pw_name : "?", uid);
    }
    vgpu_db_set_actor(admin->db, actor);
}

int admin_db_failed(struct admin *admin, int result)
{
    int status = result == -EINVAL ? ADMIN_USAGE : ADMIN_FAILED;

    return admin_fail(admin, status, "%s", vgpu_db_error(admin->db));
}

int admin_reload_config(struct admin *admin)
{
    int result;

    vgpu_config_snapshot_free(admin->config);
    admin->config = NULL;
    result = vgpu_db_load(admin->db, &admin->config);
    return result < 0 ? admin_db_failed(admin, result) : ADMIN_OK;
}

int admin_open_db(struct admin *admin, enum vgpu_db_mode mode)
{
    char error[VGPU_DB_ERROR_BYTES];

    if (vgpu_db_open(vgpu_db_path(admin->db_path), mode, &admin->db, error, sizeof(error)) < 0) {
        return admin_fail(admin, ADMIN_FAILED, "%s", error);
    }
    set_actor(admin);
    if (vgpu_db_backup_path(admin->db)) {
        admin_note(admin, "the database was upgraded from Phase 2; the old file is kept as %s",
                   vgpu_db_backup_path(admin->db));
    }
    return admin_reload_config(admin);
}

bool admin_open_db_if_any(struct admin *admin, char *error, size_t error_bytes)
{
    const char *path = vgpu_db_path(admin->db_path);
    int result = vgpu_db_open(path, VGPU_DB_READ, &admin->db, error, error_bytes);

    if (result == 0 && vgpu_db_load(admin->db, &admin->config) < 0) {
        snprintf(error, error_bytes, "%s", vgpu_db_error(admin->db));
        result = -1;
    }
    if (result == 0) {
        return true;
    }
    admin_close_db(admin);
    if (admin_view_instead(admin, result)) {
        return true;
    }
    admin->config = calloc(1, sizeof(*admin->config));
    if (!admin->config) {
        abort();
    }
    return false;
}

void admin_close_db(struct admin *admin)
{
    vgpu_config_snapshot_free(admin->config);
    vgpu_db_close(admin->db);
    admin->config = NULL;
    admin->db = NULL;
}
