/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Databases of earlier phases, of later ones, damaged ones, and no databases. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/test_support.h"

static void check_rows(struct vgpu_db *db, enum support_shape shape)
{
    vgpu_vm_config_t vm;

    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &vm), 0);
    assert_int_equal(vm.vm_id, 1);
    assert_string_equal(vm.vm_name, "web, front");
    assert_int_equal(vm.pool_id, 'A');
    assert_int_equal(vm.priority, 2);
    assert_int_equal(vm.weight, 50);
    assert_string_equal(vm.created_at, "2024-05-06 07:08:09");

    assert_int_equal(vgpu_get_vm_config(db, UUID_2, &vm), 0);
    assert_int_equal(vm.vm_id, 7);
    assert_int_equal(vm.pool_id, 'B');
    assert_int_equal(vm.priority, 0);
    assert_int_equal(vm.weight, shape >= SHAPE_PARTLY_ALTERED ? 80 : 50);
    assert_int_equal(vm.max_jobs_per_sec, shape >= SHAPE_PARTLY_ALTERED ? 25 : 0);

    assert_int_equal(vgpu_get_vm_config(db, UUID_3, &vm), 0);
    assert_int_equal(vm.vm_id, 9);
    assert_string_equal(vm.vm_name, "");
    assert_int_equal(vm.max_queue_depth, shape >= SHAPE_ALTERED ? 4 : 0);
    assert_int_equal(vm.quarantined, shape >= SHAPE_ALTERED);
    assert_int_equal(vm.error_count, shape >= SHAPE_ALTERED ? 6 : 0);
}

static void check_refused(const char *path, enum vgpu_db_mode mode, int result, const char *text)
{
    char error[VGPU_DB_ERROR_BYTES];
    struct vgpu_db *db;

    assert_int_equal(vgpu_db_open(path, mode, &db, error, sizeof(error)), result);
    assert_non_null(strstr(error, text));
    assert_null(db);
}

static void test_every_shape(void **state)
{
    char *path = *state;

    for (int shape = 0; shape < SHAPE_COUNT; shape++) {
        struct vgpu_db *db;
        char *backup;

        support_make_old(path, shape);
        /* Reading never changes the file. */
        check_refused(path, VGPU_DB_READ, -EPROTONOSUPPORT, "migrate");
        assert_int_equal(support_int(path, "PRAGMA user_version"), 0);

        db = support_open(path, VGPU_DB_WRITE);
        check_rows(db, shape);
        assert_int_equal(vgpu_create_pool(db, 'C', NULL, NULL), 0);

        /* The backup is the old database, whole. */
        backup = strdup(vgpu_db_backup_path(db));
        assert_non_null(strstr(backup, ".phase2-backup-"));
        assert_int_equal(support_int(backup, "PRAGMA user_version"), 0);
        assert_int_equal(support_int(backup, "SELECT count(*) FROM vms"), 3);
        assert_int_equal(support_int(backup, "SELECT count(*) FROM sqlite_master WHERE "
                                             "name IN ('events', 'pool_gpus')"),
                         0);
        vgpu_db_close(db);

        assert_int_equal(support_int(path, "PRAGMA user_version"), VGPU_DB_SCHEMA_VERSION);
        /* The second time there is nothing to do, and no further backup. */
        db = support_open(path, VGPU_DB_WRITE);
        assert_null(vgpu_db_backup_path(db));
        check_rows(db, shape);
        vgpu_db_close(db);
        assert_int_equal(support_files(path, "backup"), 1);
        unlink(backup);
        free(backup);
        unlink(path);
    }
}

/* Whoever may write into the folder must not have us write over a file of his choice. */
static void test_a_link_in_the_backups_place(void **state)
{
    char *path = *state;
    char *partial = NULL, *precious = NULL;
    struct vgpu_db *db;
    struct stat st;
    FILE *file;

    assert_true(asprintf(&partial, "%s.phase2-backup.partial", path) > 0);
    assert_true(asprintf(&precious, "%s.precious", path) > 0);
    file = fopen(precious, "w");
    assert_non_null(file);
    assert_true(fputs("keep", file) >= 0);
    fclose(file);
    assert_int_equal(symlink(precious, partial), 0);
    support_make_old(path, SHAPE_ALTERED);
    db = support_open(path, VGPU_DB_WRITE);
    assert_int_equal(lstat(vgpu_db_backup_path(db), &st), 0);
    assert_true(S_ISREG(st.st_mode));
    vgpu_db_close(db);
    assert_int_equal(stat(precious, &st), 0);
    assert_int_equal(st.st_size, 4);
    assert_int_equal(lstat(partial, &st), -1);
    unlink(precious);
    free(precious);
    free(partial);
}

/* A folder may be reached by a link, as /var/run is. */
static void test_a_linked_folder(void **state)
{
    char *path = *state, *folder = NULL, *there = NULL;
    struct vgpu_db *db;

    assert_true(asprintf(&folder, "%s.folder", path) > 0);
    assert_int_equal(symlink(".", folder), 0);
    assert_true(asprintf(&there, "%s/%s", folder, strrchr(path, '/') + 1) > 0);
    support_make_old(path, SHAPE_ALTERED);
    db = support_open(there, VGPU_DB_WRITE);
    check_rows(db, SHAPE_ALTERED);
    assert_non_null(vgpu_db_backup_path(db));
    vgpu_db_close(db);
    unlink(folder);
    free(folder);
    free(there);
}

/* A new database has the same tables, to the letter. */
static void check_same_schema(const char *path)
{
    char *fresh = NULL;
    char *query = NULL;

    assert_true(asprintf(&fresh, "%s.fresh", path) > 0);
    vgpu_db_close(support_open(fresh, VGPU_DB_CREATE));
    assert_true(asprintf(&query,
                         "ATTACH '%s' AS fresh; CREATE TABLE diff AS "
                         "SELECT type, name, tbl_name, sql FROM fresh.sqlite_master EXCEPT "
                         "SELECT type, name, tbl_name, sql FROM main.sqlite_master;"
                         "INSERT INTO diff "
                         "SELECT type, name, tbl_name, sql FROM main.sqlite_master "
                         "WHERE name <> 'diff' EXCEPT "
                         "SELECT type, name, tbl_name, sql FROM fresh.sqlite_master;",
                         fresh) > 0);
    support_sql(path, query);
    assert_int_equal(support_int(path, "SELECT count(*) FROM diff"), 0);
    support_sql(path, "DROP TABLE diff");
    free(query);
    free(fresh);
}

static void test_same_schema(void **state)
{
    support_make_old(*state, SHAPE_ALTERED);
    vgpu_db_close(support_open(*state, VGPU_DB_WRITE));
    check_same_schema(*state);
}

/* One of Phase 3 from before weights had decimals: the rule in the file goes, nothing else. */
static void test_whole_weights_before(void **state)
{
    char *path = *state;
    struct vgpu_db *db = support_open(path, VGPU_DB_CREATE);
    vgpu_vm_config_t vm;
    int64_t schema;

    support_register(db, UUID_1, "one");
    vgpu_db_close(db);
    support_sql(path, "PRAGMA writable_schema = ON;"
                      "UPDATE sqlite_master SET sql = replace(sql, 'typeof(weight) IN (''integer'',"
                      " ''real'')\n                              AND weight', "
                      "'typeof(weight) = ''integer'' AND weight') WHERE name = 'vms'");
    assert_int_equal(support_int(path, "SELECT count(*) FROM sqlite_master WHERE name = 'vms' "
                                       "AND sql LIKE '%(typeof(weight) = ''integer'' AND weight "
                                       "BETWEEN 1 AND 100)%'"),
                     1);
    /* Reading doesn't touch it. */
    schema = support_int(path, "PRAGMA schema_version");
    vgpu_db_close(support_open(path, VGPU_DB_READ));
    assert_int_equal(support_int(path, "PRAGMA schema_version"), schema);

    db = support_open(path, VGPU_DB_WRITE);
    assert_int_equal(vgpu_set_vm_weight(db, UUID_1, 62.5), 0);
    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &vm), 0);
    assert_true(vm.weight == 62.5);
    vgpu_db_close(db);
    assert_int_equal(support_int(path, "SELECT weight = 62.5 FROM vms"), 1);
    assert_int_equal(support_int(path, "PRAGMA integrity_check"), 0); /* "ok" is no number */
    assert_int_equal(support_int(path, "SELECT count(*) FROM pragma_integrity_check WHERE "
                                       "integrity_check = 'ok'"),
                     1);
    check_same_schema(path);
    /* The second time there is nothing to do. */
    schema = support_int(path, "PRAGMA schema_version");
    vgpu_db_close(support_open(path, VGPU_DB_WRITE));
    assert_int_equal(support_int(path, "PRAGMA schema_version"), schema);
}

/* One of version 3 from before there were limits of CUDA programs. */
static void test_without_program_limits(void **state)
{
    char *path = *state;
    struct vgpu_db *db = support_open(path, VGPU_DB_CREATE);
    vgpu_vm_config_t vm, values = {.max_processes = 3, .max_kernel_ms = 1500};
    int64_t schema;

    support_register(db, UUID_1, "one");
    vgpu_db_close(db);
    support_sql(path, "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = "
                      "substr(sql, 1, instr(sql, ',\n    max_processes') - 1) || ')' "
                      "WHERE name = 'vms'");
    assert_int_equal(support_int(path, "SELECT count(*) FROM pragma_table_info('vms')"), 16);
    /* Reading doesn't touch it, and finds no limits. */
    schema = support_int(path, "PRAGMA schema_version");
    db = support_open(path, VGPU_DB_READ);
    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &vm), 0);
    assert_int_equal(vm.max_processes, 0);
    vgpu_db_close(db);
    assert_int_equal(support_int(path, "PRAGMA schema_version"), schema);

    values.host_memory_bytes = 5ull << 30;
    db = support_open(path, VGPU_DB_WRITE);
    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &vm), 0);
    assert_true(vm.max_processes == 0 && vm.max_kernel_ms == 0 && vm.host_memory_bytes == 0);
    assert_int_equal(vgpu_update_vm(db, UUID_1,
                                    VGPU_VM_PROCESSES | VGPU_VM_KERNEL_MS | VGPU_VM_HOST_MEMORY,
                                    &values, NULL, &vm),
                     0);
    vgpu_db_close(db);
    db = support_open(path, VGPU_DB_READ);
    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &vm), 0);
    assert_true(vm.max_processes == 3 && vm.max_kernel_ms == 1500);
    assert_true(vm.host_memory_bytes == 5ull << 30);
    vgpu_db_close(db);
    assert_int_equal(support_int(path, "SELECT count(*) FROM pragma_integrity_check WHERE "
                                       "integrity_check = 'ok'"),
                     1);
    /* The rules hold as in a new file, and what an earlier program writes is taken. */
    assert_int_equal(support_int(path, "SELECT sql LIKE '%max_kernel_ms BETWEEN 0 AND 86400000%' "
                                       "FROM sqlite_master WHERE name = 'vms'"),
                     1);
    support_sql(path, "INSERT INTO vms (vm_id, vm_uuid, pool_id) VALUES (77, 'old', 'A')");
    assert_int_equal(support_int(path, "SELECT max_kernel_ms FROM vms WHERE vm_id = 77"), 0);
    /* The second time there is nothing to do. */
    schema = support_int(path, "PRAGMA schema_version");
    vgpu_db_close(support_open(path, VGPU_DB_WRITE));
    assert_int_equal(support_int(path, "PRAGMA schema_version"), schema);
}

/* Weights keep their number at the upgrade. */
static void test_weights_keep_their_number(void **state)
{
    char *path = *state;
    vgpu_vm_config_t vm;
    struct vgpu_db *db;

    support_make_old(path, SHAPE_PHASE3_FRESH);
    support_sql(path, "UPDATE vms SET weight = 62.5 WHERE vm_id = 1;"
                      "UPDATE vms SET weight = 33.333 WHERE vm_id = 7;"
                      "UPDATE vms SET weight = 0.25 WHERE vm_id = 9;");
    db = support_open(path, VGPU_DB_WRITE);
    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &vm), 0);
    assert_true(vm.weight == 62.5);
    assert_int_equal(vgpu_get_vm_config(db, UUID_2, &vm), 0);
    assert_true(vm.weight == 33.33);
    assert_int_equal(vgpu_get_vm_config(db, UUID_3, &vm), 0);
    assert_true(vm.weight == 1);
    vgpu_db_close(db);
}

/* Rows that today's rules would not accept are mended where the sense is clear. */
static void test_untidy_rows(void **state)
{
    char *path = *state;
    vgpu_vm_config_t vm;
    struct vgpu_db *db;

    support_make_old(path, SHAPE_PHASE2_PRIMARY);
    support_sql(path, "PRAGMA foreign_keys = OFF;"
                      "UPDATE vms SET pool_id = 'c', priority = NULL WHERE vm_id = 1;"
                      "ALTER TABLE vms ADD COLUMN weight INTEGER DEFAULT 50;"
                      "UPDATE vms SET weight = 500 WHERE vm_id = 7;");
    db = support_open(path, VGPU_DB_WRITE);
    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &vm), 0);
    assert_int_equal(vm.pool_id, 'C');
    assert_int_equal(vm.priority, 1);
    assert_int_equal(vgpu_get_vm_config(db, UUID_2, &vm), 0);
    assert_int_equal(vm.weight, 100);
    assert_int_equal(vm.pool_id, 'B');
    vgpu_db_close(db);
}

/* What cannot be mended stays as it was, and leaves no backup behind. */
static void test_refused_rows(void **state)
{
    char *path = *state;

    support_make_old(path, SHAPE_PHASE2_PRIMARY);
    support_sql(path, "UPDATE vms SET priority = 17 WHERE vm_id = 1");
    check_refused(path, VGPU_DB_WRITE, -EINVAL, "upgrading");
    assert_int_equal(support_int(path, "PRAGMA user_version"), 0);
    assert_int_equal(support_int(path, "SELECT count(*) FROM vms"), 3);
    assert_int_equal(support_int(path, "SELECT count(*) FROM sqlite_master WHERE "
                                       "name LIKE '%before' OR name = 'events'"),
                     0);
    assert_int_equal(support_files(path, "backup"), 0);
}

/* As made by hand from a page of Phase 2's documents: nothing is enforced. */
static void make_loose(const char *path)
{
    support_sql(path, "CREATE TABLE pools (pool_id, pool_name, description, enabled, created_at, "
                      "updated_at);"
                      "INSERT INTO pools (pool_id, pool_name) VALUES ('A', 'a'), ('B', 'b');"
                      "CREATE TABLE vms (vm_id, vm_uuid, vm_name, pool_id, priority, created_at, "
                      "updated_at);"
                      "INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority) VALUES "
                      "(1, '" UUID_1 "', 'one', 'A', 2), (7, '" UUID_2 "', NULL, 'b', 0), "
                      "(9, '" UUID_3 "', 'nine', NULL, NULL);");
}

/* Every row is named with what is wrong in it, as far as the message has room. */
static void test_refused_rows_are_told(void **state)
{
    static const struct {
        const char *make, *told;
    } cases[] = {
        {"UPDATE vms SET vm_id = -1 WHERE vm_id = 7",
         "row 2 of vms (" UUID_2 "): vm_id -1 is no whole number of 0 to 4294967295"},
        {"UPDATE vms SET vm_id = 'seven' WHERE vm_id = 7", "vm_id 'seven' is no whole number"},
        {"UPDATE vms SET vm_id = 4294967296 WHERE vm_id = 7", "vm_id 4294967296 is no whole"},
        {"UPDATE vms SET vm_id = 1", "row 1 of vms (" UUID_1 "): vm_id 1 is another row's, too"},
        {"UPDATE vms SET vm_uuid = '' WHERE vm_id = 7", "a UUID of 1 to 63 characters is wanted"},
        {"UPDATE vms SET vm_uuid = 'abc' WHERE vm_id = 7;"
         "UPDATE vms SET vm_uuid = 'ABC' WHERE vm_id = 9",
         "row 2 of vms (abc): this UUID is another row's, too; row 3 of vms (ABC)"},
        {"UPDATE vms SET vm_name = replace(hex(zeroblob(150)), '00', 'no')",
         "its name has 300 bytes, 255 are the most"},
        {"UPDATE vms SET priority = 17", "priority 17 is none of 0, 1 and 2"},
        {"UPDATE vms SET pool_id = 'AB' WHERE vm_id = 7", "pool 'AB' is no letter of A to Z"},
        {"INSERT INTO pools (pool_id, pool_name) VALUES ('1', 'odd')",
         "row 3 of pools (odd): pool '1' is no letter of A to Z"},
    };
    char *path = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        make_loose(path);
        support_sql(path, cases[i].make);
        check_refused(path, VGPU_DB_WRITE, -EINVAL, cases[i].told);
        check_refused(path, VGPU_DB_WRITE, -EINVAL, "nothing was changed");
        assert_int_equal(support_int(path, "PRAGMA user_version"), 0);
        assert_int_equal(support_files(path, "backup"), 0);
        unlink(path);
    }
}

static void test_more_rows_than_are_told(void **state)
{
    char *path = *state;

    make_loose(path);
    support_sql(path, "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n "
                      "WHERE i < 119) INSERT INTO vms (vm_id, vm_uuid, priority) "
                      "SELECT i, 'u' || i, 3 FROM n");
    check_refused(path, VGPU_DB_WRITE, -EINVAL, "; and 17 more. Mend them");
}

/* One more than a mediator serves: it would be upgraded, and then nobody could use it. */
static void test_too_many_vms(void **state)
{
    char *path = *state;

    make_loose(path);
    support_sql(path, "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n "
                      "WHERE i < 1121) INSERT INTO vms (vm_id, vm_uuid) "
                      "SELECT i, 'u' || i FROM n");
    check_refused(path, VGPU_DB_WRITE, -E2BIG, "it has 1025 VMs, and a mediator serves 1024");
    assert_int_equal(support_int(path, "PRAGMA user_version"), 0);
    assert_int_equal(support_files(path, "backup"), 0);
    support_sql(path, "DELETE FROM vms WHERE vm_id = 100");
    vgpu_db_close(support_open(path, VGPU_DB_WRITE));
    assert_int_equal(support_int(path, "SELECT count(*) FROM vms"), 1024);
}

static void test_newer(void **state)
{
    char *path = *state;

    vgpu_db_close(support_open(path, VGPU_DB_CREATE));
    support_sql(path, "PRAGMA user_version = 4");
    for (int mode = VGPU_DB_READ; mode <= VGPU_DB_CREATE; mode++) {
        check_refused(path, mode, -EPROTONOSUPPORT, "newer");
    }
    assert_int_equal(support_int(path, "PRAGMA user_version"), 4);
}

/*
 * A file cut off anywhere is never written to.  Its last page is not missed by a
 * reader who does not need it; a writer is told.
 */
static void cut_off_everywhere(const char *path)
{
    char error[VGPU_DB_ERROR_BYTES];
    struct stat st;
    int damaged = 0;
    char *whole;
    FILE *f;

    assert_int_equal(stat(path, &st), 0);
    whole = malloc((size_t)st.st_size);
    f = fopen(path, "rb");
    assert_int_equal(fread(whole, 1, (size_t)st.st_size, f), st.st_size);
    fclose(f);

    for (off_t size = 0; size < st.st_size; size += size < 200 ? 50 : 1000) {
        for (int mode = VGPU_DB_READ; mode <= VGPU_DB_WRITE; mode++) {
            struct vgpu_db *db;
            struct stat after;
            int result;

            f = fopen(path, "wb");
            assert_int_equal(fwrite(whole, 1, (size_t)size, f), size);
            fclose(f);
            result = vgpu_db_open(path, mode, &db, error, sizeof(error));
            if (mode == VGPU_DB_READ && result != -EUCLEAN) {
                vgpu_db_close(db);
                continue;
            }
            assert_int_equal(result, size == 0 ? -ENOENT : -EUCLEAN);
            assert_null(db);
            assert_true(strlen(error) > 20);
            damaged++;
            /* Refused means untouched. */
            assert_int_equal(stat(path, &after), 0);
            assert_int_equal(after.st_size, size);
            assert_int_equal(support_files(path, "backup"), 0);
        }
    }
    assert_true(damaged > 20);
    free(whole);
}

static void test_cut_off_phase2(void **state)
{
    support_make_old(*state, SHAPE_PHASE2);
    cut_off_everywhere(*state);
}

static void test_cut_off_phase3(void **state)
{
    struct vgpu_db *db = support_open(*state, VGPU_DB_CREATE);

    support_register(db, UUID_1, "one");
    vgpu_db_close(db);
    cut_off_everywhere(*state);
}

/* Whole by its size, but a page in the middle is rubbish. */
static void test_overwritten_page(void **state)
{
    char *path = *state;
    char rubbish[4096];
    int page_bytes;
    int root;
    FILE *f;

    support_make_old(path, SHAPE_PHASE2);
    page_bytes = (int)support_int(path, "PRAGMA page_size");
    root = (int)support_int(path, "SELECT rootpage FROM sqlite_master WHERE name = 'vms'");
    memset(rubbish, 0x5a, sizeof(rubbish));
    f = fopen(path, "r+b");
    fseek(f, (long)(root - 1) * page_bytes, SEEK_SET);
    fwrite(rubbish, 1, (size_t)page_bytes, f);
    fclose(f);
    check_refused(path, VGPU_DB_WRITE, -EUCLEAN, "damaged");
    assert_int_equal(support_files(path, "backup"), 0);
}

static void test_not_ours(void **state)
{
    char *path = *state;
    FILE *f;

    check_refused(path, VGPU_DB_READ, -ENOENT, "init-db");
    check_refused(path, VGPU_DB_WRITE, -ENOENT, "");
    assert_int_equal(access(path, F_OK), -1);

    support_sql(path, "CREATE TABLE bookmarks (url TEXT)");
    check_refused(path, VGPU_DB_CREATE, -EUCLEAN, "check the path");

    f = fopen(path, "wb");
    for (int i = 0; i < 500; i++) {
        fputs("these are not the pages you look for\n", f);
    }
    fclose(f);
    check_refused(path, VGPU_DB_CREATE, -EUCLEAN, "");
    check_refused("/tmp", VGPU_DB_READ, -EUCLEAN, "");
    check_refused("/proc/nowhere/x.db", VGPU_DB_CREATE, -ENOENT, "");
}

/* Two programs that start at the same moment upgrade once. */
static void test_two_upgrades_at_once(void **state)
{
    char *path = *state;
    pid_t children[4];

    support_make_old(path, SHAPE_PHASE2);
    for (int c = 0; c < 4; c++) {
        children[c] = fork();
        assert_true(children[c] >= 0);
        if (children[c] == 0) {
            char error[VGPU_DB_ERROR_BYTES];
            struct vgpu_db *db;
            _exit(vgpu_db_open(path, VGPU_DB_WRITE, &db, error, sizeof(error)) == 0 ? 0 : 1);
        }
    }
    for (int c = 0; c < 4; c++) {
        int status;
        waitpid(children[c], &status, 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(support_int(path, "PRAGMA user_version"), VGPU_DB_SCHEMA_VERSION);
    assert_int_equal(support_int(path, "SELECT count(*) FROM vms"), 3);
    assert_int_equal(support_files(path, "backup"), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_every_shape),
        TEST(test_a_link_in_the_backups_place),
        TEST(test_a_linked_folder),
        TEST(test_same_schema),
        TEST(test_untidy_rows),
        TEST(test_whole_weights_before),
        TEST(test_without_program_limits),
        TEST(test_weights_keep_their_number),
        TEST(test_refused_rows),
        TEST(test_refused_rows_are_told),
        TEST(test_more_rows_than_are_told),
        TEST(test_too_many_vms),
        TEST(test_newer),
        TEST(test_cut_off_phase2),
        TEST(test_cut_off_phase3),
        TEST(test_overwritten_page),
        TEST(test_not_ours),
        TEST(test_two_upgrades_at_once),
    };

    return cmocka_run_group_tests_name("db_upgrade", tests, NULL, NULL);
}
