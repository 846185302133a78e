/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making, upgrading and checking the database. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "admin/admin.h"
#include "admin/base/render.h"
#include "admin/commands/commands.h"
#include "admin/db.h"
#include "admin/host_gpus.h"
#include "admin/say.h"
#include "admin/select.h"
#include "common/vm_limits.h"

static int done(struct admin *admin, bool changed, const char *message)
{
    if (admin->json) {
        json_t *doc =
            json_pack("{s:b, s:s, s:s, s:i}", "changed", (int)changed, "message", message, "path",
                      vgpu_db_path(admin->db_path), "schema_version", VGPU_DB_SCHEMA_VERSION);
        if (vgpu_db_backup_path(admin->db)) {
            json_object_set_new(doc, "backup", json_string(vgpu_db_backup_path(admin->db)));
        }
        admin_print_json(admin, doc);
    } else {
        render_text(STYLE_PLAIN, message);
        putchar('\n');
    }
    return ADMIN_OK;
}

static int run_init(struct admin *admin)
{
    const char *path = vgpu_db_path(admin->db_path);
    char message[1024], error[VGPU_DB_ERROR_BYTES];
    struct stat st;
    bool there = stat(path, &st) == 0 && st.st_size > 0;
    int status;

    if (there) {
        /* An old database is upgraded on demand, not in passing. */
        int result = vgpu_db_open(path, VGPU_DB_READ, &admin->db, error, sizeof(error));
        if (result < 0) {
            return admin_fail(admin, ADMIN_FAILED, "%s", error);
        }
        snprintf(message, sizeof(message), "%s is there already, nothing changed.", path);
        return done(admin, false, message);
    }
    status = admin_open_db(admin, VGPU_DB_CREATE);
    if (status != ADMIN_OK) {
        return status;
    }
    snprintf(
        message, sizeof(message),
        "Created %s with the pools A and B. Next: vgpu-admin scan-vms, vgpu-admin register-vm.",
        path);
    return done(admin, true, message);
}

static int run_migrate(struct admin *admin)
{
    const char *path = vgpu_db_path(admin->db_path);
    char message[2048], error[VGPU_DB_ERROR_BYTES];
    const char *backup;
    int status;

    if (vgpu_db_open(path, VGPU_DB_WRITE, &admin->db, error, sizeof(error)) < 0) {
        return admin_fail(admin, ADMIN_FAILED, "%s", error);
    }
    backup = vgpu_db_backup_path(admin->db);
    status = admin_reload_config(admin);
    if (status != ADMIN_OK) {
        return status;
    }
    if (!backup) {
        snprintf(message, sizeof(message), "%s is up to date (schema version %d), nothing changed.",
                 path, VGPU_DB_SCHEMA_VERSION);
        return done(admin, false, message);
    }
    snprintf(message, sizeof(message),
             "Upgraded %s to schema version %d: %u VMs, %u pools. The old file is kept as %s.",
             path, VGPU_DB_SCHEMA_VERSION, admin->config->vm_count, admin->config->pool_count,
             backup);
    return done(admin, true, message);
}

/* ---- check-config ------------------------------------------------------------------------- */

struct findings {
    struct admin *admin;
    json_t *list;
    unsigned errors, warnings;
};

static void __attribute__((format(printf, 3, 4)))
found(struct findings *f, bool error, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    f->errors += error;
    f->warnings += !error;
    json_array_append_new(
        f->list, json_pack("{s:s, s:s}", "severity", error ? "error" : "warning", "text", text));
    if (!f->admin->json) {
        render_text(error ? STYLE_BAD : STYLE_WARN, error ? "error:   " : "warning: ");
        render_text(STYLE_PLAIN, text);
        putchar('\n');
    }
}

static void damage(const char *text, void *opaque)
{
    found(opaque, true, "the file is damaged: %s", text);
}

static void check_vm(struct findings *f, const struct vgpu_config_snapshot *s, uint32_t index)
{
    const vgpu_vm_config_t *vm = &s->vms[index];
    char label[ADMIN_LABEL_BYTES];

    admin_vm_label(vm, label);
    if (!admin_is_uuid(vm->vm_uuid)) {
        found(f, false, "%s: \"%s\" is no UUID, no VM of a toolstack will match it", label,
              vm->vm_uuid);
    }
    if (vm->vm_id == 0) {
        found(f, true,
              "%s has vm_id 0, which means \"none\"; give it another: vgpu-admin set-vm-id "
              "--vm-uuid=%s --vm-id=N",
              label, vm->vm_uuid);
    }
    if (vm->quarantined) {
        found(f, false,
              "%s is quarantined%s%s; to release it: vgpu-admin clear-quarantine "
              "--vm-uuid=%s",
              label, vm->quarantine_reason[0] ? ": " : "", vm->quarantine_reason, vm->vm_uuid);
    }
    if (vm->burst && !vm->max_jobs_per_sec) {
        found(f, false, "%s has a burst of %u but no rate limit; the burst has no effect", label,
              vm->burst);
    }
    for (uint32_t i = index + 1; vm->vm_name[0] && i < s->vm_count; i++) {
        if (strcmp(vm->vm_name, s->vms[i].vm_name) == 0) {
            found(f, false,
                  "vm_id %u and vm_id %u have the same name \"%s\"; they can only be named "
                  "by --vm-uuid",
                  vm->vm_id, s->vms[i].vm_id, vm->vm_name);
        }
    }
}

/* `here`: NULL where no mediator says which GPUs there are. */
static void check_pool(struct findings *f, const vgpu_pool_config_t *pool, const json_t *here)
{
    if (host_lacks_pool(here, pool) && pool->vm_count > 0) {
        found(f, true,
              "pool %c has %u VM%s and no GPU of this host, so %s INVALID_POOL; give it one: "
              "vgpu-admin assign-gpu --pool=%c --gpu=N (vgpu-admin status lists them)",
              pool->pool_id, pool->vm_count, pool->vm_count == 1 ? "" : "s",
              pool->vm_count == 1 ? "that gets" : "they get", pool->pool_id);
    }
    for (uint32_t i = 0; i < pool->gpu_count; i++) {
        if (!host_has_gpu(here, pool->gpus[i])) {
            found(f, false,
                  "pool %c has GPU %s, which this host lacks; to take it out: vgpu-admin "
                  "assign-gpu --pool=%c --gpu=%s --remove",
                  pool->pool_id, pool->gpus[i], pool->pool_id, pool->gpus[i]);
        }
    }
}

static void check_pools(struct findings *f, struct admin *admin)
{
    json_t *here = host_gpus(admin);

    for (uint32_t p = 0; p < admin->config->pool_count; p++) {
        check_pool(f, &admin->config->pools[p], here);
    }
    json_decref(here);
}

static int run_check(struct admin *admin)
{
    struct findings f = {.admin = admin};
    int status = admin_open_db(admin, VGPU_DB_READ);
    int result;
    const struct vgpu_config_snapshot *s;

    if (status != ADMIN_OK) {
        return status;
    }
    f.list = json_array();
    result = vgpu_db_check(admin->db, damage, &f);
    if (result < 0) {
        json_decref(f.list);
        return admin_db_failed(admin, result);
    }
    s = admin->config;
    if (s->pool_count == 0) {
        found(&f, true, "there is no pool; vgpu-admin create-pool --pool=A makes one");
    }
    if (s->vm_count > VM_LIMIT_VMS_MAX) {
        found(&f, true, "%u VMs are registered, and a mediator serves %u: it does not start",
              s->vm_count, VM_LIMIT_VMS_MAX);
    }
    check_pools(&f, admin);
    for (uint32_t i = 0; i < s->vm_count; i++) {
        check_vm(&f, s, i);
    }
    if (admin->json) {
        admin_print_json(admin, json_pack("{s:b, s:i, s:i, s:I, s:I, s:o}", "ok",
                                          (int)(f.errors == 0), "errors", (int)f.errors, "warnings",
                                          (int)f.warnings, "vms", (json_int_t)s->vm_count, "pools",
                                          (json_int_t)s->pool_count, "findings", f.list));
    } else {
        printf("%s: %u VMs, %u pools; %u errors, %u warnings.\n", vgpu_db_path(admin->db_path),
               s->vm_count, s->pool_count, f.errors, f.warnings);
        json_decref(f.list);
    }
    return f.errors ? ADMIN_FAILED : ADMIN_OK;
}

#define GROUP "Database"

const struct admin_command commands_database[] = {
    {
        .name = "init-db",
        .group = GROUP,
        .summary = "Create the database",
        .details = "With the pools A and B. An existing database is left as it is.",
        .example = "vgpu-admin init-db\nvgpu-admin --db /tmp/try.db init-db",
        .run = run_init,
    },
    {
        .name = "migrate",
        .group = GROUP,
        .summary = "Upgrade a Phase 2 database",
        .details =
            "A copy of the old file is kept beside it. Any command that changes something, and\n"
            "the mediator when it starts, do the same by themselves.",
        .example = "vgpu-admin migrate",
        .run = run_migrate,
    },
    {
        .name = "check-config",
        .group = GROUP,
        .summary = "Check the database and say what is wrong",
        .details =
            "The exit status is 1 if there are errors; warnings do not count. Whether this host\n"
            "has the pools' GPUs is checked while the mediator runs.",
        .example = "vgpu-admin check-config",
        .run = run_check,
        .only_looks = true,
    },
    {0},
};
