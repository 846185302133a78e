/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dirent.h>
#include <libgen.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/test_support.h"

int support_setup(void **state)
{
    /* In memory if possible: thousands of fsync() on a busy disk take minutes, and what
     * is tested here is the death of processes, which memory survives. */
    char in_memory[] = "/dev/shm/vgpu-store-XXXXXX";
    char on_disk[] = "/tmp/vgpu-store-XXXXXX";
    char *folder = mkdtemp(in_memory);
    char *path = NULL;

    if (!folder) {
        folder = mkdtemp(on_disk);
    }
    if (!folder || asprintf(&path, "%s/vgpu_config.db", folder) < 0) {
        return -1;
    }
    *state = path;
    return 0;
}

int support_teardown(void **state)
{
    char *path = *state;

    support_remove_files(path);
    rmdir(dirname(path));
    free(path);
    return 0;
}

void support_sql(const char *path, const char *query)
{
    sqlite3 *sql;
    char *error = NULL;

    assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
    if (sqlite3_exec(sql, query, NULL, NULL, &error) != SQLITE_OK) {
        fail_msg("%s: %s", query, error);
    }
    sqlite3_close(sql);
}

int64_t support_int(const char *path, const char *query)
{
    sqlite3 *sql;
    sqlite3_stmt *stmt;
    int64_t value;

    assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
    if (sqlite3_prepare_v2(sql, query, -1, &stmt, NULL) != SQLITE_OK) {
        fail_msg("%s: %s", query, sqlite3_errmsg(sql));
    }
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(sql);
    return value;
}

#define OLD_POOLS                                                                                  \
    "CREATE TABLE pools (pool_id CHAR(1) PRIMARY KEY CHECK(pool_id IN ('A', 'B')), "               \
    "pool_name TEXT NOT NULL, description TEXT, "                                                  \
    "enabled INTEGER DEFAULT 1 CHECK(enabled IN (0, 1)), "                                         \
    "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, "                                             \
    "updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);"                                             \
    "INSERT INTO pools (pool_id, pool_name) VALUES ('A', 'Pool A'), ('B', 'Pool B');"

#define OLD_VMS(id_column, phase3_columns)                                                         \
    "CREATE TABLE vms (" id_column ", vm_uuid TEXT UNIQUE NOT NULL, vm_name TEXT, "                \
    "pool_id CHAR(1) NOT NULL DEFAULT 'A' CHECK(pool_id IN ('A', 'B')), "                          \
    "priority INTEGER NOT NULL DEFAULT 1 CHECK(priority IN (0, 1, 2)), " phase3_columns            \
    "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, "                                             \
    "updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, "                                             \
    "FOREIGN KEY (pool_id) REFERENCES pools(pool_id));"                                            \
    "CREATE INDEX idx_vm_uuid ON vms(vm_uuid);"                                                    \
    "CREATE INDEX idx_vm_pool ON vms(pool_id);"                                                    \
    "CREATE INDEX idx_vm_priority ON vms(priority);"

#define OLD_ROWS                                                                                   \
    "INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority, created_at) VALUES "             \
    "(1, '" UUID_1 "', 'web, front', 'A', 2, '2024-05-06 07:08:09'),"                              \
    "(7, '" UUID_2 "', 'batch', 'B', 0, '2024-05-06 07:08:10'),"                                   \
    "(9, '" UUID_3 "', NULL, 'A', 1, '2024-05-06 07:08:11');"

#define ADD(column, type) "ALTER TABLE vms ADD COLUMN " column " " type ";"

void support_make_old(const char *path, enum support_shape shape)
{
    support_sql(path, OLD_POOLS);
    switch (shape) {
    case SHAPE_PHASE2_PRIMARY:
        support_sql(path,
                    "DROP TABLE pools;"
                    "CREATE TABLE pools (pool_id CHAR(1) PRIMARY KEY, pool_name TEXT, "
                    "description TEXT, enabled INTEGER DEFAULT 1, created_at TIMESTAMP, "
                    "updated_at TIMESTAMP);"
                    "INSERT INTO pools (pool_id) VALUES ('A');"
                    "CREATE TABLE vms (vm_id INTEGER PRIMARY KEY, vm_uuid TEXT UNIQUE NOT NULL, "
                    "vm_name TEXT, pool_id CHAR(1) DEFAULT 'A', priority INTEGER DEFAULT 1, "
                    "created_at TIMESTAMP, updated_at TIMESTAMP, "
                    "FOREIGN KEY (pool_id) REFERENCES pools(pool_id));" OLD_ROWS);
        break;
    case SHAPE_PHASE3_FRESH:
        support_sql(path,
                    OLD_VMS("vm_id INTEGER NOT NULL UNIQUE",
                            "weight REAL NOT NULL DEFAULT 1.0, "
                            "max_jobs_per_sec INTEGER NOT NULL DEFAULT 0, "
                            "max_queue_depth INTEGER NOT NULL DEFAULT 0, "
                            "quarantined INTEGER NOT NULL DEFAULT 0 CHECK(quarantined IN (0, 1)), "
                            "error_count INTEGER NOT NULL DEFAULT 0, ") OLD_ROWS);
        break;
    default: support_sql(path, OLD_VMS("vm_id INTEGER NOT NULL UNIQUE", "") OLD_ROWS); break;
    }
    if (shape == SHAPE_PARTLY_ALTERED || shape == SHAPE_ALTERED) {
        support_sql(path, ADD("weight", "INTEGER NOT NULL DEFAULT 50")
                              ADD("max_jobs_per_sec", "INTEGER NOT NULL DEFAULT 0"));
    }
    if (shape == SHAPE_ALTERED) {
        support_sql(path, ADD("max_queue_depth", "INTEGER NOT NULL DEFAULT 0")
                              ADD("quarantined", "INTEGER NOT NULL DEFAULT 0")
                                  ADD("error_count", "INTEGER NOT NULL DEFAULT 0"));
    }
    if (shape >= SHAPE_PARTLY_ALTERED) {
        support_sql(path, "UPDATE vms SET weight = 80, max_jobs_per_sec = 25 WHERE vm_id = 7");
    }
    if (shape >= SHAPE_ALTERED) {
        support_sql(path, "UPDATE vms SET max_queue_depth = 4, quarantined = 1, error_count = 6 "
                          "WHERE vm_id = 9");
    }
}

struct vgpu_db *support_open(const char *path, enum vgpu_db_mode mode)
{
    char error[VGPU_DB_ERROR_BYTES];
    struct vgpu_db *db;

    if (vgpu_db_open(path, mode, &db, error, sizeof(error)) < 0) {
        fail_msg("%s", error);
    }
    return db;
}

void support_register(struct vgpu_db *db, const char *uuid, const char *name)
{
    vgpu_vm_config_t vm = {.pool_id = 'A', .priority = 1, .weight = VGPU_WEIGHT_DEFAULT};

    snprintf(vm.vm_uuid, sizeof(vm.vm_uuid), "%s", uuid);
    snprintf(vm.vm_name, sizeof(vm.vm_name), "%s", name);
    if (vgpu_register_vm(db, &vm, NULL) < 0) {
        fail_msg("%s", vgpu_db_error(db));
    }
}

static DIR *open_folder(const char *path)
{
    char *copy = strdup(path);
    DIR *dir = opendir(dirname(copy));

    assert_non_null(dir);
    free(copy);
    return dir;
}

void support_remove_files(const char *path)
{
    DIR *dir = open_folder(path);
    struct dirent *entry;

    while ((entry = readdir(dir))) {
        unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
}

int support_files(const char *path, const char *part)
{
    DIR *dir = open_folder(path);
    struct dirent *entry;
    int count = 0;

    while ((entry = readdir(dir))) {
        count += strstr(entry->d_name, part) != NULL;
    }
    closedir(dir);
    return count;
}
