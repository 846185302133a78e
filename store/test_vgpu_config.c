/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a caller of vgpu_config.h may rely on. */
#include <errno.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/db_internal.h"
#include "common/vm_limits.h"
#include "store/test_support.h"

static void test_new_database(void **state)
{
    struct vgpu_db *db = support_open(*state, VGPU_DB_CREATE);
    struct vgpu_config_snapshot *s;
    struct stat st;

    assert_int_equal(vgpu_db_load(db, &s), 0);
    assert_int_equal(s->pool_count, 2);
    assert_int_equal(s->pools[0].pool_id, 'A');
    assert_int_equal(s->pools[1].pool_id, 'B');
    assert_int_equal(s->pools[0].gpu_count, 0);
    assert_int_equal(s->vm_count, 0);
    vgpu_config_snapshot_free(s);
    assert_null(vgpu_db_backup_path(db));
    assert_int_equal(vgpu_db_init_schema(db), 0);
    vgpu_db_close(db);

    assert_int_equal(stat(*state, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(support_int(*state, "PRAGMA user_version"), VGPU_DB_SCHEMA_VERSION);
    assert_int_equal(support_int(*state, "SELECT count(*) FROM events"), 1);
}

static void test_path_precedence(void **state)
{
    unsetenv(VGPU_DB_ENV);
    assert_string_equal(vgpu_db_path(NULL), VGPU_DB_PATH);
    setenv(VGPU_DB_ENV, "/elsewhere.db", 1);
    assert_string_equal(vgpu_db_path(NULL), "/elsewhere.db");
    assert_string_equal(vgpu_db_path("/given.db"), "/given.db");
    setenv(VGPU_DB_ENV, "", 1);
    assert_string_equal(vgpu_db_path(NULL), VGPU_DB_PATH);
    unsetenv(VGPU_DB_ENV);
}

static void test_register(void **state)
{
    struct vgpu_db *db = support_open(*state, VGPU_DB_CREATE);
    vgpu_vm_config_t vm = {.vm_uuid = UUID_1,
                           .vm_name = "one",
                           .pool_id = 'B',
                           .priority = 2,
                           .weight = 80,
                           .max_jobs_per_sec = 100,
                           .burst = 20,
                           .max_queue_depth = 30,
                           .memory_limit_bytes = 1ull << 33};
    vgpu_vm_config_t got;
    uint32_t id = 0;

    assert_int_equal(vgpu_register_vm(db, &vm, &id), 0);
    assert_int_equal(id, 1);
    assert_int_equal(vgpu_get_vm_config_by_id(db, 1, &got), 0);
    assert_string_equal(got.vm_uuid, UUID_1);
    assert_string_equal(got.vm_name, "one");
    assert_int_equal(got.pool_id, 'B');
    assert_int_equal(got.priority, 2);
    assert_int_equal(got.weight, 80);
    assert_int_equal(got.max_jobs_per_sec, 100);
    assert_int_equal(got.burst, 20);
    assert_int_equal(got.max_queue_depth, 30);
    assert_int_equal(got.memory_limit_bytes, 1ull << 33);
    assert_false(got.quarantined);
    assert_int_equal(strlen(got.created_at), 19);

    /* The same UUID in capitals is the same VM. */
    strcpy(vm.vm_uuid, "7F1D7B04-9D4E-4CC0-8C5B-0F4A6A1D0001");
    assert_int_equal(vgpu_register_vm(db, &vm, NULL), -EEXIST);
    assert_non_null(strstr(vgpu_db_error(db), "update-vm"));
    assert_int_equal(vgpu_get_vm_config(db, vm.vm_uuid, &got), 0);

    /* The next number follows the highest; a taken one says whose it is. */
    strcpy(vm.vm_uuid, UUID_2);
    vm.vm_id = 41;
    assert_int_equal(vgpu_register_vm(db, &vm, &id), 0);
    strcpy(vm.vm_uuid, UUID_3);
    assert_int_equal(vgpu_register_vm(db, &vm, &id), -EEXIST);
    assert_non_null(strstr(vgpu_db_error(db), UUID_2));
    vm.vm_id = 0;
    assert_int_equal(vgpu_register_vm(db, &vm, &id), 0);
    assert_int_equal(id, 42);

    assert_int_equal(vgpu_remove_vm(db, UUID_3), 0);
    assert_int_equal(vgpu_remove_vm(db, UUID_3), -ENOENT);
    assert_int_equal(vgpu_get_vm_config_by_id(db, 42, &got), -ENOENT);

    /* At the very last number the lowest gap is taken. */
    vm.vm_id = UINT32_MAX;
    assert_int_equal(vgpu_register_vm(db, &vm, &id), 0);
    vm.vm_id = 0;
    strcpy(vm.vm_uuid, "last");
    assert_int_equal(vgpu_register_vm(db, &vm, &id), 0);
    assert_int_equal(id, 2);
    vgpu_db_close(db);
}

/* One more than a mediator serves would keep it from starting. */
static void test_as_many_as_are_served(void **state)
{
    const char *path = *state;
    struct vgpu_db *db = support_open(path, VGPU_DB_CREATE);
    vgpu_vm_config_t vm = {.pool_id = 'A', .weight = 50, .vm_uuid = UUID_1};

    support_sql(path, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
                      "1023) INSERT INTO vms (vm_id, vm_uuid, pool_id) SELECT i, "
                      "printf('00000000-0000-4000-8000-%012d', i), 'A' FROM n");
    assert_int_equal(support_int(path, "SELECT count(*) FROM vms"), VM_LIMIT_VMS_MAX - 1);
    assert_int_equal(vgpu_register_vm(db, &vm, NULL), 0);
    strcpy(vm.vm_uuid, UUID_2);
    assert_int_equal(vgpu_register_vm(db, &vm, NULL), -E2BIG);
    assert_non_null(strstr(vgpu_db_error(db), "1024 VMs are registered, and a mediator serves"));
    assert_int_equal(vgpu_remove_vm(db, UUID_1), 0);
    assert_int_equal(vgpu_register_vm(db, &vm, NULL), 0);
    vgpu_db_close(db);
}

static void test_values_are_checked(void **state)
{
    struct vgpu_db *db = support_open(*state, VGPU_DB_CREATE);
    vgpu_vm_config_t vm = {.vm_uuid = UUID_2, .pool_id = 'A', .priority = 1, .weight = 50};
    vgpu_vm_config_t got;
    char *path = *state;
    int64_t events;

    support_register(db, UUID_1, "one");
    events = support_int(path, "SELECT count(*) FROM events");

    assert_int_equal(vgpu_set_vm_weight(db, UUID_1, 0), -EINVAL);
    assert_int_equal(vgpu_set_vm_weight(db, UUID_1, 101), -EINVAL);
    assert_int_equal(vgpu_set_vm_weight(db, UUID_1, 256 + 50), -EINVAL);
    assert_int_equal(vgpu_set_vm_weight(db, UUID_1, NAN), -EINVAL);
    assert_int_equal(vgpu_set_vm_weight(db, UUID_1, 100.01), -EINVAL);
    assert_int_equal(vgpu_set_vm_priority(db, UUID_1, 3), -EINVAL);
    assert_int_equal(vgpu_set_vm_pool(db, UUID_1, 'a'), -EINVAL);
    assert_int_equal(vgpu_set_vm_pool(db, UUID_1, 'C'), -ENOENT);
    assert_non_null(strstr(vgpu_db_error(db), "create-pool"));
    assert_int_equal(vgpu_set_vm_id(db, UUID_1, 0), -EINVAL);
    assert_int_equal(vgpu_set_vm_rate_limit(db, UUID_1, VGPU_RATE_MAX + 1, 0), -EINVAL);
    assert_int_equal(vgpu_set_vm_rate_limit(db, UUID_1, 0, VGPU_QUEUE_DEPTH_MAX + 1), -EINVAL);
    assert_int_equal(vgpu_set_vm_memory_limit(db, UUID_1, UINT64_MAX), -EINVAL);
    assert_int_equal(vgpu_set_vm_weight(db, UUID_3, 50), -ENOENT);

    vm.vm_uuid[0] = '\0';
    assert_int_equal(vgpu_register_vm(db, &vm, NULL), -EINVAL);
    strcpy(vm.vm_uuid, "\033[2J");
    assert_int_equal(vgpu_register_vm(db, &vm, NULL), -EINVAL);
    strcpy(vm.vm_uuid, UUID_2);
    strcpy(vm.vm_name, "a\nb");
    assert_int_equal(vgpu_register_vm(db, &vm, NULL), -EINVAL);
    memset(vm.vm_name, 'x', sizeof(vm.vm_name));
    assert_int_equal(vgpu_register_vm(db, &vm, NULL), -EINVAL);

    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &got), 0);
    assert_int_equal(got.weight, 50);
    assert_int_equal(support_int(path, "SELECT count(*) FROM events"), events);
    vgpu_db_close(db);
}

/* The file defends itself against other tools, too. */
static void test_constraints_in_the_file(void **state)
{
    static const char *const refused[] = {
        "UPDATE vms SET weight = 0",
        "UPDATE vms SET weight = 'heavy'",
        "UPDATE vms SET weight = 0.5",
        "UPDATE vms SET weight = 100.5",
        "UPDATE vms SET priority = 3",
        "UPDATE vms SET pool_id = 'Z'",
        "UPDATE vms SET max_jobs_per_sec = -1",
        "UPDATE vms SET max_queue_depth = -1",
        "UPDATE vms SET memory_limit_bytes = -1",
        "UPDATE vms SET vm_id = -1",
        "UPDATE vms SET vm_id = NULL",
        "UPDATE vms SET vm_id = 1",
        "UPDATE vms SET quarantined = 2",
        "INSERT INTO pools (pool_id, pool_name) VALUES ('AB', 'x')",
        "INSERT INTO pools (pool_id, pool_name) VALUES ('1', 'x')",
        "INSERT INTO pool_gpus (pool_id, gpu) VALUES ('Q', '0')",
        "DELETE FROM pools WHERE pool_id = 'A'",
    };
    char *path = *state;
    struct vgpu_db *db = support_open(path, VGPU_DB_CREATE);
    int status;

    support_register(db, UUID_1, "one");
    support_register(db, UUID_2, "two");
    vgpu_db_close(db);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        char *command = NULL;
        assert_true(asprintf(&command,
                             "sqlite3 -bail '%s' \"PRAGMA foreign_keys = ON; %s\" 2>/dev/null",
                             path, refused[i]) > 0);
        status = system(command);
        if (!WIFEXITED(status) || WEXITSTATUS(status) == 127) {
            skip(); /* no sqlite3 tool here */
        }
        if (WEXITSTATUS(status) == 0) {
            fail_msg("accepted: %s", refused[i]);
        }
        free(command);
    }
}

static void test_update_and_events(void **state)
{
    struct vgpu_db *db = support_open(*state, VGPU_DB_CREATE);
    vgpu_vm_config_t before, after;
    vgpu_vm_config_t values = {.pool_id = 'B', .priority = 0, .weight = 10, .vm_id = 9};
    char *path = *state;

    vgpu_db_set_actor(db, "root (uid 0)");
    support_register(db, UUID_1, "one");
    assert_int_equal(vgpu_update_vm(db, UUID_1,
                                    VGPU_VM_POOL | VGPU_VM_PRIORITY | VGPU_VM_WEIGHT | VGPU_VM_ID,
                                    &values, &before, &after),
                     0);
    assert_int_equal(before.weight, 50);
    assert_int_equal(after.weight, 10);
    assert_int_equal(after.pool_id, 'B');
    assert_int_equal(after.vm_id, 9);
    assert_string_equal(after.vm_name, "one");
    assert_int_equal(support_int(path, "SELECT count(*) FROM events WHERE kind = 'change' AND "
                                       "actor = 'root (uid 0)' AND vm_id = 9 AND detail = 'vm_id "
                                       "1 -> 9, pool A -> B, priority medium -> low, weight 50 -> "
                                       "10'"),
                     1);

    /* Nothing new: nothing written. */
    assert_int_equal(vgpu_set_vm_weight(db, UUID_1, 10), 0);
    assert_int_equal(support_int(path, "SELECT count(*) FROM events WHERE kind = 'change'"), 1);

    assert_int_equal(vgpu_set_vm_rate_limit(db, UUID_1, 7, 8), 0);
    assert_int_equal(vgpu_set_vm_memory_limit(db, UUID_1, 4096), 0);
    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &after), 0);
    assert_int_equal(after.max_jobs_per_sec, 7);
    assert_int_equal(after.max_queue_depth, 8);
    assert_int_equal(after.memory_limit_bytes, 4096);
    vgpu_db_close(db);
}

static void test_quarantine_and_faults(void **state)
{
    struct vgpu_db *db = support_open(*state, VGPU_DB_CREATE);
    vgpu_vm_config_t vm;
    char *path = *state;
    uint32_t count;

    support_register(db, UUID_1, "one");
    for (uint32_t i = 1; i <= 5; i++) {
        assert_int_equal(vgpu_increment_error_count(db, UUID_1, "illegal address", &count), 0);
        assert_int_equal(count, i);
    }
    assert_int_equal(vgpu_increment_error_count(db, UUID_2, "x", &count), -ENOENT);
    assert_int_equal(vgpu_quarantine_vm(db, UUID_1, "5 faults"), 0);
    assert_int_equal(vgpu_quarantine_vm(db, UUID_1, "another reason"), 0);
    assert_int_equal(vgpu_quarantine_vm(db, UUID_2, NULL), -ENOENT);
    assert_int_equal(vgpu_get_vm_config_by_id(db, 1, &vm), 0);
    assert_true(vm.quarantined);
    assert_string_equal(vm.quarantine_reason, "5 faults");
    assert_int_equal(strlen(vm.quarantined_at), 19);
    assert_int_equal(vm.error_count, 5);

    assert_int_equal(vgpu_unquarantine_vm(db, UUID_1), 0);
    assert_int_equal(vgpu_get_vm_config_by_id(db, 1, &vm), 0);
    assert_false(vm.quarantined);
    assert_string_equal(vm.quarantine_reason, "");
    assert_string_equal(vm.quarantined_at, "");
    assert_int_equal(vm.error_count, 0);

    assert_int_equal(vgpu_increment_error_count(db, UUID_1, NULL, NULL), 0);
    assert_int_equal(vgpu_reset_error_count(db, UUID_1), 0);
    assert_int_equal(vgpu_get_vm_config_by_id(db, 1, &vm), 0);
    assert_int_equal(vm.error_count, 0);
    assert_int_equal(support_int(path, "SELECT count(*) FROM events WHERE kind = 'fault'"), 6);
    assert_int_equal(support_int(path, "SELECT count(*) FROM events WHERE kind = 'quarantine'"), 1);
    assert_int_equal(
        support_int(path, "SELECT count(*) FROM events WHERE kind = 'clear-quarantine'"), 1);
    vgpu_db_close(db);
}

static void test_pools_and_gpus(void **state)
{
    struct vgpu_db *db = support_open(*state, VGPU_DB_CREATE);
    struct vgpu_config_snapshot *s;

    assert_int_equal(vgpu_create_pool(db, 'A', NULL, NULL), -EEXIST);
    assert_int_equal(vgpu_create_pool(db, '?', NULL, NULL), -EINVAL);
    assert_int_equal(vgpu_create_pool(db, 'T', "", NULL), -EINVAL);
    assert_int_equal(vgpu_create_pool(db, 'T', "Training", "the night's work"), 0);
    assert_int_equal(vgpu_assign_gpu(db, 'T', "1"), 0);
    assert_int_equal(vgpu_assign_gpu(db, 'T', "GPU-5a2b0c1e-0000-1111-2222-333344445555"), 0);
    assert_int_equal(vgpu_assign_gpu(db, 'A', "1"), 0);
    assert_int_equal(vgpu_assign_gpu(db, 'T', "1"), -EEXIST);
    assert_int_equal(vgpu_assign_gpu(db, 'Q', "1"), -ENOENT);
    assert_int_equal(vgpu_assign_gpu(db, 'T', "the first"), -EINVAL);
    assert_int_equal(vgpu_unassign_gpu(db, 'T', "2"), -ENOENT);

    support_register(db, UUID_1, "one");
    assert_int_equal(vgpu_set_vm_pool(db, UUID_1, 'T'), 0);
    assert_int_equal(vgpu_remove_pool(db, 'T'), -EBUSY);

    assert_int_equal(vgpu_db_load(db, &s), 0);
    assert_int_equal(s->pool_count, 3);
    assert_int_equal(s->pools[2].pool_id, 'T');
    assert_string_equal(s->pools[2].pool_name, "Training");
    assert_string_equal(s->pools[2].description, "the night's work");
    assert_int_equal(s->pools[2].vm_count, 1);
    assert_int_equal(s->pools[2].gpu_count, 2);
    assert_string_equal(s->pools[2].gpus[0], "1");
    assert_int_equal(s->pools[0].gpu_count, 1);
    assert_int_equal(s->vm_count, 1);
    vgpu_config_snapshot_free(s);

    assert_int_equal(vgpu_set_vm_pool(db, UUID_1, 'A'), 0);
    assert_int_equal(vgpu_unassign_gpu(db, 'T', "1"), 0);
    assert_int_equal(vgpu_remove_pool(db, 'T'), 0);
    assert_int_equal(vgpu_remove_pool(db, 'T'), -ENOENT);
    vgpu_db_close(db);
    assert_int_equal(support_int(*state, "SELECT count(*) FROM pool_gpus"), 1);
}

static int collect(const struct vgpu_event *event, void *opaque)
{
    int64_t *ids = opaque;

    ids[++ids[0]] = event->id;
    return 0;
}

static void test_events_are_listed_and_bounded(void **state)
{
    struct vgpu_db *db = support_open(*state, VGPU_DB_CREATE);
    int64_t ids[64] = {0};
    char *path = *state;
    int64_t last;
    int64_t faults;
    int64_t others;

    support_register(db, UUID_1, "one");
    for (int i = 0; i < 10; i++) {
        assert_int_equal(vgpu_db_add_event(db, "note", i % 2 ? UUID_1 : NULL, 1, "x"), 0);
    }
    assert_int_equal(vgpu_db_list_events(db, 0, NULL, 5, collect, ids), 0);
    assert_int_equal(ids[0], 5);
    assert_true(ids[1] < ids[5]);
    last = ids[5];
    ids[0] = 0;
    assert_int_equal(vgpu_db_list_events(db, last - 2, NULL, 50, collect, ids), 0);
    assert_int_equal(ids[0], 2);
    ids[0] = 0;
    assert_int_equal(vgpu_db_list_events(db, 0, UUID_1, 50, collect, ids), 0);
    assert_int_equal(ids[0], 6);

    /* A guest that faults for ever does not push out what administrators did. */
    support_sql(path,
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                "WHERE i < 3000) INSERT INTO events (kind, actor) SELECT 'fault', 'm' FROM n");
    faults = support_int(path, "SELECT count(*) FROM events WHERE kind = 'fault'");
    assert_in_range(faults, VGPU_EVENT_FAULTS_KEPT, VGPU_EVENT_FAULTS_KEPT + 64);
    assert_int_equal(support_int(path, "SELECT count(*) FROM events WHERE kind = 'note'"), 10);
    support_sql(path, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                      "WHERE i < 11000) INSERT INTO events (kind, actor) SELECT 'n', 'm' FROM n");
    others = support_int(path, "SELECT count(*) FROM events WHERE kind <> 'fault'");
    assert_in_range(others, VGPU_EVENTS_KEPT, VGPU_EVENTS_KEPT + 64);
    vgpu_db_close(db);
}

static void count_finding(const char *text, void *opaque)
{
    unsigned *found = opaque;

    assert_string_equal(text, "CHECK constraint failed in vms");
    ++*found;
}

/* Who only reads finds what keeps a writer from opening the file. */
static void test_a_reader_finds_what_a_writer_refuses(void **state)
{
    char error[VGPU_DB_ERROR_BYTES];
    struct vgpu_db *db = support_open(*state, VGPU_DB_CREATE);
    unsigned found = 0;

    support_register(db, UUID_1, "one");
    vgpu_db_close(db);
    db = support_open(*state, VGPU_DB_READ);
    assert_int_equal(vgpu_db_check(db, count_finding, &found), 0);
    assert_int_equal(found, 0);
    vgpu_db_close(db);
    support_sql(*state, "PRAGMA ignore_check_constraints = ON; UPDATE vms SET weight = 500");
    assert_int_equal(vgpu_db_open(*state, VGPU_DB_WRITE, &db, error, sizeof(error)), -EUCLEAN);
    db = support_open(*state, VGPU_DB_READ);
    assert_int_equal(vgpu_db_check(db, count_finding, &found), 0);
    assert_int_equal(found, 1);
    vgpu_db_close(db);
}

/* A snapshot is of one moment, and readers do not wait for a writer. */
static void test_reader_beside_writer(void **state)
{
    struct vgpu_db *writer = support_open(*state, VGPU_DB_CREATE);
    struct vgpu_db *reader;
    struct vgpu_config_snapshot *s;

    support_register(writer, UUID_1, "one");
    reader = support_open(*state, VGPU_DB_READ);
    sqlite3_busy_timeout(reader->sql, 0);
    assert_int_equal(vgpu_set_vm_weight(reader, UUID_1, 3), -EROFS);
    support_register(writer, UUID_2, "two");
    assert_int_equal(vgpu_db_load(reader, &s), 0);
    assert_int_equal(s->vm_count, 2);
    vgpu_config_snapshot_free(s);
    vgpu_db_close(reader);
    vgpu_db_close(writer);
}

/* Two processes that write as fast as they can lose nothing. */
static void test_two_writers(void **state)
{
    enum { CHANGES = 100 };
    char *path = *state;
    struct vgpu_db *db = support_open(path, VGPU_DB_CREATE);
    pid_t children[2];

    support_register(db, UUID_1, "one");
    vgpu_db_close(db);
    for (int c = 0; c < 2; c++) {
        children[c] = fork();
        assert_true(children[c] >= 0);
        if (children[c] == 0) {
            char error[VGPU_DB_ERROR_BYTES];
            int bad = vgpu_db_open(path, VGPU_DB_WRITE, &db, error, sizeof(error)) < 0;
            if (!bad) {
                sqlite3_busy_timeout(db->sql, 60000);
            }
            for (int i = 0; i < CHANGES && !bad; i++) {
                bad = vgpu_increment_error_count(db, UUID_1, "x", NULL) < 0;
            }
            _exit(bad);
        }
    }
    for (int c = 0; c < 2; c++) {
        int status;
        assert_int_equal(waitpid(children[c], &status, 0), children[c]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(support_int(path, "SELECT error_count FROM vms"), 2 * CHANGES);
}

/* Somebody else holds the write lock for longer than the caller will wait. */
static void test_locked(void **state)
{
    struct vgpu_db *db = support_open(*state, VGPU_DB_CREATE);
    vgpu_vm_config_t vm;
    sqlite3 *other;

    support_register(db, UUID_1, "one");
    sqlite3_busy_timeout(db->sql, 0);
    assert_int_equal(sqlite3_open(*state, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(vgpu_set_vm_weight(db, UUID_1, 3), -EBUSY);
    assert_non_null(strstr(vgpu_db_error(db), "try again"));
    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &vm), 0);
    assert_int_equal(vm.weight, 50);
    sqlite3_close(other);
    assert_int_equal(vgpu_set_vm_weight(db, UUID_1, 3), 0);
    vgpu_db_close(db);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_new_database),
        TEST(test_path_precedence),
        TEST(test_register),
        TEST(test_as_many_as_are_served),
        TEST(test_values_are_checked),
        TEST(test_constraints_in_the_file),
        TEST(test_update_and_events),
        TEST(test_quarantine_and_faults),
        TEST(test_pools_and_gpus),
        TEST(test_events_are_listed_and_bounded),
        TEST(test_a_reader_finds_what_a_writer_refuses),
        TEST(test_reader_beside_writer),
        TEST(test_two_writers),
        TEST(test_locked),
    };

    return cmocka_run_group_tests_name("vgpu_config", tests, NULL, NULL);
}
