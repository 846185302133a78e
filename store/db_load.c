/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading: rows into structures, and the whole configuration at one moment. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/weight.h"
#include "store/db_internal.h"

static uint64_t column_bounded(sqlite3_stmt *stmt, int column, uint64_t max)
{
    int64_t value = sqlite3_column_int64(stmt, column);

    return value < 0 ? 0 : (uint64_t)value > max ? max : (uint64_t)value;
}

static char column_letter(sqlite3_stmt *stmt, int column)
{
    const unsigned char *text = sqlite3_column_text(stmt, column);

    return text && text[0] >= VGPU_POOL_FIRST && text[0] <= VGPU_POOL_LAST ? (char)text[0]
                                                                           : VGPU_POOL_FIRST;
}

void db_read_vm(sqlite3_stmt *stmt, vgpu_vm_config_t *vm)
{
    memset(vm, 0, sizeof(*vm));
    vm->vm_id = (uint32_t)column_bounded(stmt, 0, UINT32_MAX);
    db_column_text(stmt, 1, vm->vm_uuid, sizeof(vm->vm_uuid));
    db_column_text(stmt, 2, vm->vm_name, sizeof(vm->vm_name));
    vm->pool_id = column_letter(stmt, 3);
    vm->priority = (uint8_t)column_bounded(stmt, 4, VGPU_PRIORITY_HIGH);
    vm->weight = weight_nearest(sqlite3_column_double(stmt, 5));
    vm->max_jobs_per_sec = (uint32_t)column_bounded(stmt, 6, VGPU_RATE_MAX);
    vm->burst = (uint32_t)column_bounded(stmt, 7, VGPU_RATE_MAX);
    vm->max_queue_depth = (uint32_t)column_bounded(stmt, 8, VGPU_QUEUE_DEPTH_MAX);
    vm->memory_limit_bytes = column_bounded(stmt, 9, INT64_MAX);
    vm->quarantined = sqlite3_column_int(stmt, 10) != 0;
    db_column_text(stmt, 11, vm->quarantined_at, sizeof(vm->quarantined_at));
    db_column_text(stmt, 12, vm->quarantine_reason, sizeof(vm->quarantine_reason));
    vm->error_count = (uint32_t)column_bounded(stmt, 13, UINT32_MAX);
    db_column_text(stmt, 14, vm->created_at, sizeof(vm->created_at));
    db_column_text(stmt, 15, vm->updated_at, sizeof(vm->updated_at));
    vm->max_processes = (uint32_t)column_bounded(stmt, 16, VGPU_PROCESSES_MAX);
    vm->max_kernel_ms = (uint32_t)column_bounded(stmt, 17, VGPU_KERNEL_MS_MAX);
    vm->host_memory_bytes = column_bounded(stmt, 18, INT64_MAX);
}

/* Rows of VMs, as db_read_vm() takes them. */
static int prepare_vms(struct vgpu_db *db, const char *which, sqlite3_stmt **stmt)
{
    char query[512];

    snprintf(query, sizeof(query), "SELECT " DB_VM_COLUMNS "%s FROM vms %s",
             db->lacks_program_limits ? ", 0, 0, 0" : DB_VM_PROGRAM_LIMITS, which);
    return db_prepare(db, query, stmt);
}

static int get_one(struct vgpu_db *db, sqlite3_stmt *stmt, vgpu_vm_config_t *config)
{
    int rc = sqlite3_step(stmt);
    int result = 0;

    if (rc == SQLITE_ROW) {
        db_read_vm(stmt, config);
    } else if (rc == SQLITE_DONE) {
        result = -ENOENT;
    } else {
        result = db_sqlite_error(db, rc, "reading the configuration");
    }
    return db_read_done(db, stmt, result, "reading the configuration");
}

int vgpu_get_vm_config(struct vgpu_db *db, const char *vm_uuid, vgpu_vm_config_t *config)
{
    sqlite3_stmt *stmt;
    int result = prepare_vms(db, "WHERE vm_uuid = ?", &stmt);

    if (result < 0) {
        return result;
    }
    sqlite3_bind_text(stmt, 1, vm_uuid, -1, SQLITE_STATIC);
    result = get_one(db, stmt, config);
    if (result == -ENOENT) {
        db_error(db, -ENOENT,
                 "no VM with UUID %s is registered; vgpu-admin list-vms shows those that are",
                 vm_uuid);
    }
    return result;
}

int vgpu_get_vm_config_by_id(struct vgpu_db *db, uint32_t vm_id, vgpu_vm_config_t *config)
{
    sqlite3_stmt *stmt;
    int result = prepare_vms(db, "WHERE vm_id = ?", &stmt);

    if (result < 0) {
        return result;
    }
    sqlite3_bind_int64(stmt, 1, vm_id);
    result = get_one(db, stmt, config);
    if (result == -ENOENT) {
        db_error(db, -ENOENT,
                 "no VM with vm_id %u is registered; vgpu-admin list-vms shows those that are",
                 vm_id);
    }
    return result;
}

static vgpu_pool_config_t *find_pool(struct vgpu_config_snapshot *s, char pool_id)
{
    for (uint32_t i = 0; i < s->pool_count; i++) {
        if (s->pools[i].pool_id == pool_id) {
            return &s->pools[i];
        }
    }
    return NULL;
}

static int load_pools(struct vgpu_db *db, struct vgpu_config_snapshot *s)
{
    const uint32_t most = VGPU_POOL_LAST - VGPU_POOL_FIRST + 1;
    sqlite3_stmt *stmt;
    int rc;
    int result =
        db_prepare(db, "SELECT pool_id, pool_name, description FROM pools ORDER BY pool_id", &stmt);

    if (result < 0) {
        return result;
    }
    s->pools = calloc(most, sizeof(*s->pools));
    if (!s->pools) {
        sqlite3_finalize(stmt);
        return db_error(db, -ENOMEM, "out of memory");
    }
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && s->pool_count < most) {
        vgpu_pool_config_t *pool = &s->pools[s->pool_count++];
        pool->pool_id = column_letter(stmt, 0);
        db_column_text(stmt, 1, pool->pool_name, sizeof(pool->pool_name));
        db_column_text(stmt, 2, pool->description, sizeof(pool->description));
    }
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) {
        result = db_sqlite_error(db, rc, "reading the pools");
    }
    return db_read_done(db, stmt, result, "reading the pools");
}

static int load_gpus(struct vgpu_db *db, struct vgpu_config_snapshot *s)
{
    sqlite3_stmt *stmt;
    int rc;
    int result = db_prepare(db, "SELECT pool_id, gpu FROM pool_gpus ORDER BY pool_id, gpu", &stmt);

    if (result < 0) {
        return result;
    }
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        vgpu_pool_config_t *pool = find_pool(s, column_letter(stmt, 0));
        if (!pool || pool->gpu_count == VGPU_DB_POOL_GPUS_MAX) {
            continue;
        }
        if (!pool->gpus) {
            pool->gpus = calloc(VGPU_DB_POOL_GPUS_MAX, VGPU_GPU_NAME_BYTES);
            if (!pool->gpus) {
                sqlite3_finalize(stmt);
                return db_error(db, -ENOMEM, "out of memory");
            }
        }
        db_column_text(stmt, 1, pool->gpus[pool->gpu_count++], VGPU_GPU_NAME_BYTES);
    }
    if (rc != SQLITE_DONE) {
        result = db_sqlite_error(db, rc, "reading the pools' GPUs");
    }
    return db_read_done(db, stmt, result, "reading the pools' GPUs");
}

static int load_vms(struct vgpu_db *db, struct vgpu_config_snapshot *s)
{
    sqlite3_stmt *stmt;
    int64_t count;
    int rc;
    int result = db_query_int(db, "SELECT count(*) FROM vms", &count);

    if (result < 0) {
        return result;
    }
    if (count > VGPU_DB_VMS_MAX) {
        return db_error(db, -E2BIG, "%s has %lld VMs, at most %u are allowed; remove some",
                        db->path, (long long)count, VGPU_DB_VMS_MAX);
    }
    s->vms = calloc((size_t)count + 1, sizeof(*s->vms));
    if (!s->vms) {
        return db_error(db, -ENOMEM, "out of memory");
    }
    result = prepare_vms(db, "ORDER BY vm_id", &stmt);
    if (result < 0) {
        return result;
    }
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && s->vm_count < count) {
        vgpu_vm_config_t *vm = &s->vms[s->vm_count++];
        vgpu_pool_config_t *pool;

        db_read_vm(stmt, vm);
        pool = find_pool(s, vm->pool_id);
        if (pool) {
            pool->vm_count++;
        }
    }
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) {
        result = db_sqlite_error(db, rc, "reading the VMs");
    }
    return db_read_done(db, stmt, result, "reading the VMs");
}

int vgpu_db_load(struct vgpu_db *db, struct vgpu_config_snapshot **out)
{
    struct vgpu_config_snapshot *s = calloc(1, sizeof(*s));
    int result;

    *out = NULL;
    if (!s) {
        return db_error(db, -ENOMEM, "out of memory");
    }
    db->error[0] = '\0';
    /* One read transaction: the tables agree with each other. */
    result = db_exec(db, "BEGIN", "reading the configuration");
    if (result == 0) {
        result = load_pools(db, s);
        if (result == 0) {
            result = load_gpus(db, s);
        }
        if (result == 0) {
            result = load_vms(db, s);
        }
        sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
    }
    if (result < 0) {
        vgpu_config_snapshot_free(s);
        return result;
    }
    *out = s;
    return 0;
}

void vgpu_config_snapshot_free(struct vgpu_config_snapshot *s)
{
    if (s) {
        for (uint32_t i = 0; i < s->pool_count; i++) {
            free(s->pools[i].gpus);
        }
        free(s->pools);
        free(s->vms);
        free(s);
    }
}
