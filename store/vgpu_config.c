/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changing VMs.  Every change reads the VM under the write lock, checks the new
 * values, writes the row and its event, and commits: one transaction.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/names.h"
#include "common/utf8.h"
#include "common/vm_limits.h"
#include "common/weight.h"
#include "store/db_internal.h"

static int check_uuid(struct vgpu_db *db, const char *uuid)
{
    size_t length = uuid ? strlen(uuid) : 0;

    if (length == 0 || length >= VGPU_VM_UUID_BYTES || utf8_has_control(uuid)) {
        return db_error(db, -EINVAL, "a VM's UUID has 1 to %d printable characters",
                        VGPU_VM_UUID_BYTES - 1);
    }
    return 0;
}

static int check_pool(struct vgpu_db *db, char pool_id)
{
    const char letter[2] = {pool_id, '\0'};
    sqlite3_stmt *stmt;
    int result;
    int rc;

    if (pool_id < VGPU_POOL_FIRST || pool_id > VGPU_POOL_LAST) {
        return db_error(db, -EINVAL, "a pool is a letter from %c to %c", VGPU_POOL_FIRST,
                        VGPU_POOL_LAST);
    }
    result = db_prepare(db, "SELECT 1 FROM pools WHERE pool_id = ?", &stmt);
    if (result < 0) {
        return result;
    }
    sqlite3_bind_text(stmt, 1, letter, 1, SQLITE_STATIC);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_DONE) {
        result = db_error(db, -ENOENT,
                          "there is no pool %c; vgpu-admin show-pools lists them, "
                          "vgpu-admin create-pool --pool=%c makes it",
                          pool_id, pool_id);
    } else if (rc != SQLITE_ROW) {
        result = db_sqlite_error(db, rc, "looking for the pool");
    }
    sqlite3_finalize(stmt);
    return result;
}

static int check_range(struct vgpu_db *db, const char *what, uint64_t value, uint64_t min,
                       uint64_t max)
{
    if (value < min || value > max) {
        return db_error(db, -EINVAL, "%s must be between %llu and %llu, not %llu", what,
                        (unsigned long long)min, (unsigned long long)max,
                        (unsigned long long)value);
    }
    return 0;
}

static int check_weight(struct vgpu_db *db, double weight)
{
    return weight_valid(weight)
               ? 0
               : db_error(db, -EINVAL, "the weight must be " WEIGHT_WORDS ", not %g", weight);
}

/* vm_id_min: 0 lets a VM keep the 0 that an early database gave it. */
static int check_values(struct vgpu_db *db, const vgpu_vm_config_t *vm, uint32_t vm_id_min)
{
    int result = check_range(db, "the vm_id", vm->vm_id, vm_id_min, UINT32_MAX);

    if (result == 0 && (strnlen(vm->vm_name, VGPU_VM_NAME_BYTES) == VGPU_VM_NAME_BYTES ||
                        utf8_has_control(vm->vm_name))) {
        result = db_error(db, -EINVAL, "a VM's name has at most %d bytes, all printable",
                          VGPU_VM_NAME_BYTES - 1);
    }
    if (result == 0) {
        result = check_range(db, "the priority", vm->priority, 0, VGPU_PRIORITY_HIGH);
    }
    if (result == 0) {
        result = check_weight(db, vm->weight);
    }
    if (result == 0) {
        result = check_range(db, "the rate", vm->max_jobs_per_sec, 0, VGPU_RATE_MAX);
    }
    if (result == 0) {
        result = check_range(db, "the burst", vm->burst, 0, VGPU_RATE_MAX);
    }
    if (result == 0) {
        result = check_range(db, "the queue depth", vm->max_queue_depth, 0, VGPU_QUEUE_DEPTH_MAX);
    }
    if (result == 0) {
        result = check_range(db, "the memory limit", vm->memory_limit_bytes, 0, INT64_MAX);
    }
    if (result == 0) {
        result =
            check_range(db, "the number of programs", vm->max_processes, 0, VGPU_PROCESSES_MAX);
    }
    if (result == 0) {
        result = check_range(db, "a kernel's time", vm->max_kernel_ms, 0, VGPU_KERNEL_MS_MAX);
    }
    if (result == 0) {
        result = check_range(db, "the host memory", vm->host_memory_bytes, 0, INT64_MAX);
    }
    if (result == 0) {
        result = check_pool(db, vm->pool_id);
    }
    return result;
}

/* No other VM may have this number. */
static int check_vm_id_free(struct vgpu_db *db, uint32_t vm_id, const char *vm_uuid)
{
    vgpu_vm_config_t other;
    int result = vgpu_get_vm_config_by_id(db, vm_id, &other);

    if (result == -ENOENT || (result == 0 && strcasecmp(other.vm_uuid, vm_uuid) == 0)) {
        db->error[0] = '\0';
        return 0;
    }
    if (result == 0) {
        result = db_error(db, -EEXIST,
                          "vm_id %u belongs to VM %s%s%s%s; choose another, or leave it out for "
                          "the next free one",
                          vm_id, other.vm_uuid, other.vm_name[0] ? " (" : "", other.vm_name,
                          other.vm_name[0] ? ")" : "");
    }
    return result;
}

/*
 * `vm` stays until the statement ends: a copy (SQLITE_TRANSIENT) that finds no memory is bound as
 * NULL, and a change of the VM whose UUID is NULL succeeds and changes nothing.
 */
static void bind_vm(sqlite3_stmt *stmt, const vgpu_vm_config_t *vm)
{
    sqlite3_bind_int64(stmt, 1, vm->vm_id);
    sqlite3_bind_text(stmt, 2, vm->vm_uuid, -1, SQLITE_STATIC);
    if (vm->vm_name[0]) {
        sqlite3_bind_text(stmt, 3, vm->vm_name, -1, SQLITE_STATIC);
    }
    sqlite3_bind_text(stmt, 4, &vm->pool_id, 1, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 5, vm->priority);
    sqlite3_bind_double(stmt, 6, vm->weight); /* a whole one is stored as an integer */
    sqlite3_bind_int64(stmt, 7, vm->max_jobs_per_sec);
    sqlite3_bind_int64(stmt, 8, vm->burst);
    sqlite3_bind_int64(stmt, 9, vm->max_queue_depth);
    sqlite3_bind_int64(stmt, 10, (int64_t)vm->memory_limit_bytes);
    sqlite3_bind_int64(stmt, 11, vm->max_processes);
    sqlite3_bind_int64(stmt, 12, vm->max_kernel_ms);
    sqlite3_bind_int64(stmt, 13, (int64_t)vm->host_memory_bytes);
}

/* ---- Register and remove ----------------------------------------------------- */

static int pick_vm_id(struct vgpu_db *db, uint32_t *vm_id)
{
    int64_t next;
    int result = db_query_int(db, "SELECT coalesce(max(vm_id), 0) + 1 FROM vms", &next);

    if (result == 0 && next > UINT32_MAX) {
        result = db_query_int(db,
                              "SELECT min(vm_id) + 1 FROM vms AS v WHERE NOT EXISTS "
                              "(SELECT 1 FROM vms AS w WHERE w.vm_id = v.vm_id + 1)",
                              &next);
        if (result == 0 && next > UINT32_MAX) {
            next = 1;
        }
    }
    *vm_id = (uint32_t)next;
    return result;
}

static int register_vm(struct vgpu_db *db, vgpu_vm_config_t *vm)
{
    vgpu_vm_config_t other;
    sqlite3_stmt *stmt;
    int64_t count;
    char detail[VGPU_EVENT_DETAIL_BYTES];
    int result = vgpu_get_vm_config(db, vm->vm_uuid, &other);

    if (result == 0) {
        return db_error(db, -EEXIST,
                        "VM %s is registered already, as vm_id %u; change it with "
                        "vgpu-admin update-vm --vm-uuid=%s",
                        other.vm_uuid, other.vm_id, other.vm_uuid);
    }
    if (result != -ENOENT) {
        return result;
    }
    db->error[0] = '\0';
    result = db_query_int(db, "SELECT count(*) FROM vms", &count);
    if (result == 0 && count >= VM_LIMIT_VMS_MAX) {
        result = db_error(db, -E2BIG,
                          "%lld VMs are registered, and a mediator serves %u: remove one that is "
                          "no more (vgpu-admin remove-vm)",
                          (long long)count, VM_LIMIT_VMS_MAX);
    }
    if (result == 0 && vm->vm_id == 0) {
        result = pick_vm_id(db, &vm->vm_id);
    }
    if (result == 0) {
        result = check_values(db, vm, 1);
    }
    if (result == 0) {
        result = check_vm_id_free(db, vm->vm_id, vm->vm_uuid);
    }
    if (result == 0) {
        result = db_prepare(db,
                            "INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority, weight, "
                            "max_jobs_per_sec, burst, max_queue_depth, memory_limit_bytes, "
                            "max_processes, max_kernel_ms, host_memory_bytes) "
                            "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                            &stmt);
    }
    if (result == 0) {
        bind_vm(stmt, vm);
        result = db_finish(db, stmt, "registering the VM");
    }
    if (result == 0) {
        snprintf(detail, sizeof(detail), "name \"%s\", pool %c, priority %s, weight %g",
                 vm->vm_name, vm->pool_id, priority_name(vm->priority), vm->weight);
        result = db_insert_event(db, "register", vm->vm_uuid, vm->vm_id, detail);
    }
    return result;
}

int vgpu_register_vm(struct vgpu_db *db, const vgpu_vm_config_t *vm, uint32_t *vm_id)
{
    vgpu_vm_config_t copy = *vm;
    int result = check_uuid(db, copy.vm_uuid);

    if (result == 0) {
        result = db_begin(db);
    }
    if (result < 0) {
        return result;
    }
    result = db_end(db, register_vm(db, &copy));
    if (result == 0 && vm_id) {
        *vm_id = copy.vm_id;
    }
    return result;
}

static int remove_vm(struct vgpu_db *db, const char *vm_uuid)
{
    vgpu_vm_config_t vm;
    sqlite3_stmt *stmt;
    char detail[VGPU_EVENT_DETAIL_BYTES];
    int result = vgpu_get_vm_config(db, vm_uuid, &vm);

    if (result == 0) {
        result = db_prepare(db, "DELETE FROM vms WHERE vm_uuid = ?", &stmt);
    }
    if (result == 0) {
        sqlite3_bind_text(stmt, 1, vm_uuid, -1, SQLITE_STATIC);
        result = db_finish(db, stmt, "removing the VM");
    }
    if (result == 0) {
        snprintf(detail, sizeof(detail), "name \"%s\", pool %c", vm.vm_name, vm.pool_id);
        result = db_insert_event(db, "remove", vm.vm_uuid, vm.vm_id, detail);
    }
    return result;
}

int vgpu_remove_vm(struct vgpu_db *db, const char *vm_uuid)
{
    int result = db_begin(db);

    return result < 0 ? result : db_end(db, remove_vm(db, vm_uuid));
}

/* ---- Update ------------------------------------------------------------------ */

/* Appends "what old -> new" to an event's detail, which is cut off if it gets too long. */
static void __attribute__((format(printf, 2, 3)))
note(char detail[VGPU_EVENT_DETAIL_BYTES], const char *format, ...)
{
    size_t length = strlen(detail);
    va_list args;

    va_start(args, format);
    if (length > 0 && length + 2 < VGPU_EVENT_DETAIL_BYTES) {
        strcat(detail, ", ");
        length += 2;
    }
    vsnprintf(detail + length, VGPU_EVENT_DETAIL_BYTES - length, format, args);
    va_end(args);
}

static void describe(const vgpu_vm_config_t *a, const vgpu_vm_config_t *b,
                     char detail[VGPU_EVENT_DETAIL_BYTES])
{
    detail[0] = '\0';
    if (a->vm_id != b->vm_id) {
        note(detail, "vm_id %u -> %u", a->vm_id, b->vm_id);
    }
    if (a->pool_id != b->pool_id) {
        note(detail, "pool %c -> %c", a->pool_id, b->pool_id);
    }
    if (a->priority != b->priority) {
        note(detail, "priority %s -> %s", priority_name(a->priority), priority_name(b->priority));
    }
    if (a->weight != b->weight) {
        note(detail, "weight %g -> %g", a->weight, b->weight);
    }
    if (a->max_jobs_per_sec != b->max_jobs_per_sec) {
        note(detail, "rate %u -> %u", a->max_jobs_per_sec, b->max_jobs_per_sec);
    }
    if (a->burst != b->burst) {
        note(detail, "burst %u -> %u", a->burst, b->burst);
    }
    if (a->max_queue_depth != b->max_queue_depth) {
        note(detail, "queue depth %u -> %u", a->max_queue_depth, b->max_queue_depth);
    }
    if (a->memory_limit_bytes != b->memory_limit_bytes) {
        note(detail, "memory limit %llu -> %llu bytes", (unsigned long long)a->memory_limit_bytes,
             (unsigned long long)b->memory_limit_bytes);
    }
    if (a->max_processes != b->max_processes) {
        note(detail, "programs %u -> %u", a->max_processes, b->max_processes);
    }
    if (a->max_kernel_ms != b->max_kernel_ms) {
        note(detail, "kernel time %u -> %u ms", a->max_kernel_ms, b->max_kernel_ms);
    }
    if (a->host_memory_bytes != b->host_memory_bytes) {
        note(detail, "host memory %llu -> %llu bytes", (unsigned long long)a->host_memory_bytes,
             (unsigned long long)b->host_memory_bytes);
    }
    if (strcmp(a->vm_name, b->vm_name) != 0) {
        note(detail, "name \"%s\" -> \"%s\"", a->vm_name, b->vm_name);
    }
}

static void merge(vgpu_vm_config_t *vm, unsigned fields, const vgpu_vm_config_t *values)
{
    if (fields & VGPU_VM_NAME) {
        memcpy(vm->vm_name, values->vm_name, sizeof(vm->vm_name));
    }
    if (fields & VGPU_VM_ID) {
        vm->vm_id = values->vm_id;
    }
    if (fields & VGPU_VM_POOL) {
        vm->pool_id = values->pool_id;
    }
    if (fields & VGPU_VM_PRIORITY) {
        vm->priority = values->priority;
    }
    if (fields & VGPU_VM_WEIGHT) {
        vm->weight = values->weight;
    }
    if (fields & VGPU_VM_RATE) {
        vm->max_jobs_per_sec = values->max_jobs_per_sec;
    }
    if (fields & VGPU_VM_BURST) {
        vm->burst = values->burst;
    }
    if (fields & VGPU_VM_QUEUE_DEPTH) {
        vm->max_queue_depth = values->max_queue_depth;
    }
    if (fields & VGPU_VM_MEMORY_LIMIT) {
        vm->memory_limit_bytes = values->memory_limit_bytes;
    }
    if (fields & VGPU_VM_PROCESSES) {
        vm->max_processes = values->max_processes;
    }
    if (fields & VGPU_VM_KERNEL_MS) {
        vm->max_kernel_ms = values->max_kernel_ms;
    }
    if (fields & VGPU_VM_HOST_MEMORY) {
        vm->host_memory_bytes = values->host_memory_bytes;
    }
}

static int update_vm(struct vgpu_db *db, const char *vm_uuid, unsigned fields,
                     const vgpu_vm_config_t *values, vgpu_vm_config_t *old, vgpu_vm_config_t *new)
{
    sqlite3_stmt *stmt;
    char detail[VGPU_EVENT_DETAIL_BYTES];
    int result = vgpu_get_vm_config(db, vm_uuid, old);

    if (result < 0) {
        return result;
    }
    *new = *old;
    merge(new, fields, values);
    describe(old, new, detail);
    if (!detail[0]) {
        return 0;
    }
    result = check_values(db, new, new->vm_id != old->vm_id ? 1 : 0);
    if (result == 0 && new->vm_id != old->vm_id) {
        result = check_vm_id_free(db, new->vm_id, new->vm_uuid);
    }
    if (result == 0) {
        result = db_prepare(db,
                            "UPDATE vms SET vm_id = ?1, vm_name = ?3, pool_id = ?4, priority = ?5,"
                            "weight = ?6, max_jobs_per_sec = ?7, burst = ?8, max_queue_depth = ?9,"
                            "memory_limit_bytes = ?10, max_processes = ?11, max_kernel_ms = ?12,"
                            "host_memory_bytes = ?13, updated_at = CURRENT_TIMESTAMP "
                            "WHERE vm_uuid = ?2",
                            &stmt);
    }
    if (result == 0) {
        bind_vm(stmt, new);
        result = db_finish(db, stmt, "changing the VM");
    }
    if (result == 0) {
        result = db_insert_event(db, "change", new->vm_uuid, new->vm_id, detail);
    }
    return result;
}

int vgpu_update_vm(struct vgpu_db *db, const char *vm_uuid, unsigned fields,
                   const vgpu_vm_config_t *values, vgpu_vm_config_t *before,
                   vgpu_vm_config_t *after)
{
    vgpu_vm_config_t old, new;
    int result = db_begin(db);

    if (result < 0) {
        return result;
    }
    result = db_end(db, update_vm(db, vm_uuid, fields, values, &old, &new));
    if (result == 0 && before) {
        *before = old;
    }
    if (result == 0 && after) {
        *after = new;
    }
    return result;
}

int vgpu_set_vm_pool(struct vgpu_db *db, const char *vm_uuid, char pool_id)
{
    return vgpu_update_vm(db, vm_uuid, VGPU_VM_POOL, &(vgpu_vm_config_t){.pool_id = pool_id}, NULL,
                          NULL);
}

int vgpu_set_vm_priority(struct vgpu_db *db, const char *vm_uuid, unsigned priority)
{
    int result = check_range(db, "the priority", priority, 0, VGPU_PRIORITY_HIGH);

    return result < 0
               ? result
               : vgpu_update_vm(db, vm_uuid, VGPU_VM_PRIORITY,
                                &(vgpu_vm_config_t){.priority = (uint8_t)priority}, NULL, NULL);
}

int vgpu_set_vm_id(struct vgpu_db *db, const char *vm_uuid, uint32_t vm_id)
{
    return vgpu_update_vm(db, vm_uuid, VGPU_VM_ID, &(vgpu_vm_config_t){.vm_id = vm_id}, NULL, NULL);
}

int vgpu_set_vm_weight(struct vgpu_db *db, const char *vm_uuid, double weight)
{
    int result = check_weight(db, weight);

    return result < 0 ? result
                      : vgpu_update_vm(db, vm_uuid, VGPU_VM_WEIGHT,
                                       &(vgpu_vm_config_t){.weight = weight}, NULL, NULL);
}

int vgpu_set_vm_rate_limit(struct vgpu_db *db, const char *vm_uuid, uint32_t max_jobs_per_sec,
                           uint32_t max_queue_depth)
{
    return vgpu_update_vm(db, vm_uuid, VGPU_VM_RATE | VGPU_VM_QUEUE_DEPTH,
                          &(vgpu_vm_config_t){.max_jobs_per_sec = max_jobs_per_sec,
                                              .max_queue_depth = max_queue_depth},
                          NULL, NULL);
}

int vgpu_set_vm_memory_limit(struct vgpu_db *db, const char *vm_uuid, uint64_t memory_limit_bytes)
{
    return vgpu_update_vm(db, vm_uuid, VGPU_VM_MEMORY_LIMIT,
                          &(vgpu_vm_config_t){.memory_limit_bytes = memory_limit_bytes}, NULL,
                          NULL);
}
