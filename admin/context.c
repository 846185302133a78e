/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What commands say, the database they work on, and who they say did it. */
#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/base/mediator_client.h"
#include "admin/base/render.h"
#include "admin/base/suggest.h"
#include "admin/tools.h"
#include "vgpu/vgpu_admin.h"

#define TEXT_BYTES 2048
#define MEDIATOR_TIMEOUT_S 5

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
    char *text = json_dumps(value, flags);

    if (!text) {
        return false;
    }
    for (const char *p = text; *p;) {
        size_t plain = strcspn(p, "\xc2\x7f");
        unsigned char c = (unsigned char)p[plain];
        unsigned char next = c ? (unsigned char)p[plain + 1] : 0;

        fwrite(p, 1, plain, stdout);
        p += plain;
        if (c == 0x7f) {
            fputs("\\u007F", stdout);
            p++;
        } else if (c == 0xc2 && next >= 0x80 && next < 0xa0) {
            printf("\\u%04X", next);
            p += 2;
        } else if (c) {
            putchar(c);
            p++;
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

/* ---- Database -------------------------------------------------------------------- */

/* The person who logged in, also under sudo; else the user of this process. */
static void set_actor(struct admin *admin)
{
    char actor[VGPU_EVENT_ACTOR_BYTES];
    unsigned uid = getuid();
    unsigned login = uid;
    FILE *f = fopen("/proc/self/loginuid", "r");

    if (f) {
        unsigned value;
        if (fscanf(f, "%u", &value) == 1 && value != (unsigned)-1) {
            login = value;
        }
        fclose(f);
    }
    const struct passwd *pw = getpwuid(login);
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
    vgpu_config_snapshot_free(admin->config);
    admin->config = NULL;
    int result = vgpu_db_load(admin->db, &admin->config);
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

/* ---- VMs -------------------------------------------------------------------------- */

bool admin_is_uuid(const char *text)
{
    size_t i;

    for (i = 0; text[i]; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (i >= 36 || (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))) {
            return false;
        }
    }
    return i == 36;
}

bool admin_vm_is_named(const struct admin *admin, bool use_vm_id)
{
    return admin_option(admin, "vm-uuid") || admin_option(admin, "vm-name") ||
           (use_vm_id && admin_option(admin, "vm-id"));
}

const vgpu_vm_config_t *admin_vm_by_id(const struct admin *admin, uint32_t vm_id)
{
    for (uint32_t i = 0; admin->config && i < admin->config->vm_count; i++) {
        if (admin->config->vms[i].vm_id == vm_id) {
            return &admin->config->vms[i];
        }
    }
    return NULL;
}

static int select_by_name(struct admin *admin, const char *name, const vgpu_vm_config_t **vm)
{
    const struct vgpu_config_snapshot *s = admin->config;
    struct suggest suggest;
    char uuids[TEXT_BYTES / 2] = "";
    unsigned found = 0;

    suggest_init(&suggest, name);
    for (uint32_t i = 0; i < s->vm_count; i++) {
        if (strcmp(s->vms[i].vm_name, name) == 0) {
            size_t used = strlen(uuids);
            *vm = &s->vms[i];
            found++;
            snprintf(uuids + used, sizeof(uuids) - used, "\n  --vm-uuid=%s  (vm_id %u, pool %c)",
                     s->vms[i].vm_uuid, s->vms[i].vm_id, s->vms[i].pool_id);
        }
        if (s->vms[i].vm_name[0]) {
            suggest_offer(&suggest, s->vms[i].vm_name);
        }
    }
    if (found > 1) {
        return admin_fail(admin, ADMIN_FAILED, "%u VMs are named \"%s\"; say which one:%s", found,
                          name, uuids);
    }
    if (found == 0 && suggest.best) {
        return admin_fail(admin, ADMIN_FAILED,
                          "no VM named \"%s\" is registered; did you mean \"%s\"?", name,
                          suggest.best);
    }
    if (found == 0) {
        return admin_fail(admin, ADMIN_FAILED,
                          "no VM named \"%s\" is registered; vgpu-admin list-vms shows those that "
                          "are, vgpu-admin register-vm --vm-name=\"%s\" registers it",
                          name, name);
    }
    return ADMIN_OK;
}

int admin_select_vm(struct admin *admin, bool use_vm_id, const vgpu_vm_config_t **out)
{
    const struct vgpu_config_snapshot *s = admin->config;
    const char *uuid = admin_option(admin, "vm-uuid");
    const char *name = admin_option(admin, "vm-name");
    const char *id = use_vm_id ? admin_option(admin, "vm-id") : NULL;
    const vgpu_vm_config_t *vm = NULL;
    uint64_t number = 0;
    int status;

    if (!uuid && !name && !id) {
        return admin_fail(admin, ADMIN_USAGE,
                          "which VM? Give --vm-name=NAME or --vm-uuid=UUID, for example:\n  %.*s",
                          (int)strcspn(admin->command->example, "\n"), admin->command->example);
    }
    if (id) {
        status = admin_uint(admin, "vm-id", 0, UINT32_MAX, &number);
        if (status != ADMIN_OK) {
            return status;
        }
    }
    if (uuid) {
        for (uint32_t i = 0; i < s->vm_count; i++) {
            if (strcasecmp(s->vms[i].vm_uuid, uuid) == 0) {
                vm = &s->vms[i];
            }
        }
        if (!vm) {
            struct suggest suggest;
            suggest_init(&suggest, uuid);
            for (uint32_t i = 0; i < s->vm_count; i++) {
                suggest_offer(&suggest, s->vms[i].vm_uuid);
            }
            return admin_fail(admin, ADMIN_FAILED,
                              "no VM with UUID %s is registered%s%s%s; vgpu-admin list-vms shows "
                              "those that are, vgpu-admin register-vm --vm-uuid=%s registers it",
                              uuid, suggest.best ? "; did you mean " : "",
                              suggest.best ? suggest.best : "", suggest.best ? "?" : "", uuid);
        }
    } else if (id) {
        vm = admin_vm_by_id(admin, (uint32_t)number);
        if (!vm) {
            return admin_fail(admin, ADMIN_FAILED,
                              "no VM with vm_id %s is registered; vgpu-admin list-vms shows those "
                              "that are",
                              id);
        }
    } else {
        status = select_by_name(admin, name, &vm);
        if (status != ADMIN_OK) {
            return status;
        }
    }
    if ((name && strcmp(name, vm->vm_name) != 0) || (id && number != vm->vm_id)) {
        return admin_fail(admin, ADMIN_USAGE,
                          "the options name different VMs: %s is \"%s\" with vm_id %u", vm->vm_uuid,
                          vm->vm_name, vm->vm_id);
    }
    *out = vm;
    return ADMIN_OK;
}

const char *admin_vm_name(const vgpu_vm_config_t *vm)
{
    return vm->vm_name[0] ? vm->vm_name : vm->vm_uuid;
}

const char *admin_vm_label(const vgpu_vm_config_t *vm, char label[ADMIN_LABEL_BYTES])
{
    snprintf(label, ADMIN_LABEL_BYTES, "%s (vm_id %u)", admin_vm_name(vm), vm->vm_id);
    render_sanitise(label, false);
    return label;
}

static json_t *text_or_null(const char *text)
{
    /* What is no UTF-8 cannot be JSON either. */
    json_t *value = text[0] ? json_string(text) : NULL;

    return value ? value : json_null();
}

json_t *admin_vm_json(const vgpu_vm_config_t *vm)
{
    char pool[2] = {vm->pool_id, '\0'};

    return json_pack("{s:I, s:o, s:o, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:I, s:o, "
                     "s:o}",
                     "vm_id", (json_int_t)vm->vm_id, "uuid", text_or_null(vm->vm_uuid), "name",
                     text_or_null(vm->vm_name), "pool", pool, "priority",
                     admin_priority_name(vm->priority), "weight", (int)vm->weight,
                     "max_jobs_per_sec", (json_int_t)vm->max_jobs_per_sec, "burst",
                     (json_int_t)vm->burst, "max_queue_depth", (json_int_t)vm->max_queue_depth,
                     "memory_limit_bytes", (json_int_t)vm->memory_limit_bytes, "quarantined",
                     (int)vm->quarantined, "quarantined_at", text_or_null(vm->quarantined_at),
                     "quarantine_reason", text_or_null(vm->quarantine_reason), "error_count",
                     (json_int_t)vm->error_count, "created_at", text_or_null(vm->created_at),
                     "updated_at", text_or_null(vm->updated_at));
}

/* ---- Mediator ---------------------------------------------------------------------- */

const char *admin_socket_path(const struct admin *admin)
{
    return admin->socket_path && admin->socket_path[0] ? admin->socket_path
                                                       : VGPU_ADMIN_SOCKET_PATH;
}

struct mediator *admin_connect_mediator(struct admin *admin)
{
    int seconds = admin->timeout_s ? admin->timeout_s : MEDIATOR_TIMEOUT_S;

    if (!admin->mediator) {
        admin->mediator = mediator_new(admin_socket_path(admin), seconds * 1000);
        if (!admin->mediator) {
            abort();
        }
    }
    return admin->mediator;
}

struct toolstack *admin_toolstack(struct admin *admin)
{
    if (!admin->toolstack) {
        admin->toolstack = toolstack_new(admin->toolstack_name, admin->timeout_s * 1000);
        if (!admin->toolstack) {
            abort();
        }
    }
    return admin->toolstack;
}

int admin_ask_mediator(struct admin *admin, uint32_t command, uint32_t param1, json_t *body,
                       json_t **answer)
{
    int result = mediator_request(admin_connect_mediator(admin), command, param1, body, answer);

    if (result == 0) {
        return ADMIN_OK;
    }
    return admin_fail(admin, mediator_is_unreachable(result) ? ADMIN_UNREACHABLE : ADMIN_FAILED,
                      "%s", mediator_error(admin->mediator));
}
