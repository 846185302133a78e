/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changing pools and the GPUs that belong to them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/db_internal.h"

static int check_letter(struct vgpu_db *db, char pool_id)
{
    if (pool_id < VGPU_POOL_FIRST || pool_id > VGPU_POOL_LAST) {
        return db_error(db, -EINVAL, "a pool is a letter from %c to %c", VGPU_POOL_FIRST,
                        VGPU_POOL_LAST);
    }
    return 0;
}

/* Number of rows that a query with the pool's letter (?1) and a text (?2) counts. */
static int count_rows(struct vgpu_db *db, const char *query, char pool_id, const char *text,
                      int64_t *count)
{
    const char letter[2] = {pool_id, '\0'};
    sqlite3_stmt *stmt;
    int result = db_prepare(db, query, &stmt);
    int rc;

    if (result < 0) {
        return result;
    }
    sqlite3_bind_text(stmt, 1, letter, 1, SQLITE_STATIC);
    if (sqlite3_bind_parameter_count(stmt) > 1) {
        sqlite3_bind_text(stmt, 2, text, -1, SQLITE_STATIC);
    }
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *count = sqlite3_column_int64(stmt, 0);
    } else {
        result = db_sqlite_error(db, rc, "reading the pools");
    }
    return db_read_done(db, stmt, result, "reading the pools");
}

/* The same parameters for a statement that changes something, and its event. */
static int change(struct vgpu_db *db, const char *query, char pool_id, const char *text,
                  const char *description, const char *event)
{
    const char letter[2] = {pool_id, '\0'};
    sqlite3_stmt *stmt;
    int result = db_prepare(db, query, &stmt);

    if (result < 0) {
        return result;
    }
    sqlite3_bind_text(stmt, 1, letter, 1, SQLITE_STATIC);
    if (sqlite3_bind_parameter_count(stmt) > 1) {
        sqlite3_bind_text(stmt, 2, text, -1, SQLITE_STATIC);
    }
    if (sqlite3_bind_parameter_count(stmt) > 2 && description) {
        sqlite3_bind_text(stmt, 3, description, -1, SQLITE_STATIC);
    }
    result = db_finish(db, stmt, "changing the pool");
    return result < 0 ? result : db_insert_event(db, "pool", NULL, 0, event);
}

static int require_pool(struct vgpu_db *db, char pool_id)
{
    int64_t count;
    int result = check_letter(db, pool_id);

    if (result == 0) {
        result =
            count_rows(db, "SELECT count(*) FROM pools WHERE pool_id = ?1", pool_id, NULL, &count);
    }
    if (result == 0 && count == 0) {
        result = db_error(db, -ENOENT,
                          "there is no pool %c; vgpu-admin show-pools lists them, "
                          "vgpu-admin create-pool --pool=%c makes it",
                          pool_id, pool_id);
    }
    return result;
}

static int create_pool(struct vgpu_db *db, char pool_id, const char *name, const char *description)
{
    char event[VGPU_EVENT_DETAIL_BYTES];
    int64_t count;
    int result =
        count_rows(db, "SELECT count(*) FROM pools WHERE pool_id = ?1", pool_id, NULL, &count);

    if (result == 0 && count > 0) {
        result = db_error(db, -EEXIST, "pool %c exists already; vgpu-admin show-pools shows it",
                          pool_id);
    }
    if (result < 0) {
        return result;
    }
    snprintf(event, sizeof(event), "created pool %c \"%s\"", pool_id, name);
    return change(db, "INSERT INTO pools (pool_id, pool_name, description) VALUES (?1, ?2, ?3)",
                  pool_id, name, description, event);
}

int vgpu_create_pool(struct vgpu_db *db, char pool_id, const char *pool_name,
                     const char *description)
{
    char name[VGPU_POOL_NAME_BYTES];
    int result = check_letter(db, pool_id);

    if (result < 0) {
        return result;
    }
    if (pool_name && (!pool_name[0] || strlen(pool_name) >= sizeof(name))) {
        return db_error(db, -EINVAL, "a pool's name has 1 to %zu bytes", sizeof(name) - 1);
    }
    if (description && strlen(description) >= VGPU_POOL_DESCRIPTION_BYTES) {
        return db_error(db, -EINVAL, "a pool's description has at most %d bytes",
                        VGPU_POOL_DESCRIPTION_BYTES - 1);
    }
    if (pool_name) {
        snprintf(name, sizeof(name), "%s", pool_name);
    } else {
        snprintf(name, sizeof(name), "Pool %c", pool_id);
    }
    result = db_begin(db);
    return result < 0 ? result : db_end(db, create_pool(db, pool_id, name, description));
}

static int remove_pool(struct vgpu_db *db, char pool_id)
{
    char event[VGPU_EVENT_DETAIL_BYTES];
    int64_t vms;
    int result = require_pool(db, pool_id);

    if (result == 0) {
        result = count_rows(db, "SELECT count(*) FROM vms WHERE pool_id = ?1", pool_id, NULL, &vms);
    }
    if (result == 0 && vms > 0) {
        result = db_error(db, -EBUSY,
                          "pool %c has %lld VMs; move them first by vgpu-admin set-pool "
                          "(vgpu-admin list-vms --pool=%c shows them)",
                          pool_id, (long long)vms, pool_id);
    }
    if (result < 0) {
        return result;
    }
    snprintf(event, sizeof(event), "removed pool %c", pool_id);
    return change(db, "DELETE FROM pools WHERE pool_id = ?1", pool_id, NULL, NULL, event);
}

int vgpu_remove_pool(struct vgpu_db *db, char pool_id)
{
    int result = db_begin(db);

    return result < 0 ? result : db_end(db, remove_pool(db, pool_id));
}

static int assign_gpu(struct vgpu_db *db, char pool_id, const char *gpu)
{
    char event[VGPU_EVENT_DETAIL_BYTES];
    int64_t count = 0, present = 0;
    int result = require_pool(db, pool_id);

    if (result == 0) {
        result = count_rows(db, "SELECT count(*) FROM pool_gpus WHERE pool_id = ?1 AND gpu = ?2",
                            pool_id, gpu, &present);
    }
    if (result == 0) {
        result = count_rows(db, "SELECT count(*) FROM pool_gpus WHERE pool_id = ?1", pool_id, NULL,
                            &count);
    }
    if (result < 0) {
        return result;
    }
    if (present) {
        return db_error(db, -EEXIST, "GPU %s is in pool %c already", gpu, pool_id);
    }
    if (count >= VGPU_DB_POOL_GPUS_MAX) {
        return db_error(db, -E2BIG, "pool %c has %u GPUs already, and no more fit", pool_id,
                        VGPU_DB_POOL_GPUS_MAX);
    }
    snprintf(event, sizeof(event), "assigned GPU %s to pool %c", gpu, pool_id);
    return change(db, "INSERT INTO pool_gpus (pool_id, gpu) VALUES (?1, ?2)", pool_id, gpu, NULL,
                  event);
}

/* A GPU's UUID, a CPU backend's name, or an index: whatever else is a slip. */
static bool is_gpu(const char *gpu)
{
    size_t digits = strspn(gpu, "0123456789");

    if (strlen(gpu) >= VGPU_GPU_NAME_BYTES) {
        return false;
    }
    if (strncmp(gpu, "GPU-", 4) == 0 || strncmp(gpu, "CPU-", 4) == 0) {
        return gpu[4] && strspn(gpu + 4, "0123456789abcdefABCDEF-") == strlen(gpu + 4);
    }
    return digits > 0 && digits <= 4 && !gpu[digits];
}

int vgpu_assign_gpu(struct vgpu_db *db, char pool_id, const char *gpu)
{
    int result;

    if (!is_gpu(gpu)) {
        return db_error(db, -EINVAL,
                        "\"%s\" is no GPU: give its UUID (GPU-..., from nvidia-smi -L) or its "
                        "index (0, 1, ...)",
                        gpu);
    }
    result = db_begin(db);
    return result < 0 ? result : db_end(db, assign_gpu(db, pool_id, gpu));
}

static int unassign_gpu(struct vgpu_db *db, char pool_id, const char *gpu)
{
    char event[VGPU_EVENT_DETAIL_BYTES];
    int64_t present;
    int result = require_pool(db, pool_id);

    if (result == 0) {
        result = count_rows(db, "SELECT count(*) FROM pool_gpus WHERE pool_id = ?1 AND gpu = ?2",
                            pool_id, gpu, &present);
    }
    if (result == 0 && !present) {
        result = db_error(db, -ENOENT, "GPU %s is not assigned to pool %c", gpu, pool_id);
    }
    if (result < 0) {
        return result;
    }
    snprintf(event, sizeof(event), "took GPU %.*s out of pool %c", VGPU_GPU_NAME_BYTES, gpu,
             pool_id);
    return change(db, "DELETE FROM pool_gpus WHERE pool_id = ?1 AND gpu = ?2", pool_id, gpu, NULL,
                  event);
}

int vgpu_unassign_gpu(struct vgpu_db *db, char pool_id, const char *gpu)
{
    int result = db_begin(db);

    return result < 0 ? result : db_end(db, unassign_gpu(db, pool_id, gpu));
}
