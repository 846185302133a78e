/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The database's thread and the loop: in order, bounded, and a failure changes nothing. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/no_effects.h"
#include "mediator/config/config_store.h"
#include "mediator/config/test_stats.h"
#include "mediator/test_loop.h"
#include "store/test_support.h"

static uv_loop_t loop;
static struct core *core;
static struct config_store *store;
static const char *path; /* of the database */
static uint32_t reloads, idles;
static struct core_apply_result last_result;
static char last_error[CONFIG_STORE_ERROR_BYTES];

static int setup(void **state)
{
    char error[CONFIG_STORE_ERROR_BYTES];
    struct core_config config;
    struct vgpu_db *db;

    assert_int_equal(support_setup(state), 0);
    path = *state;
    db = support_open(path, VGPU_DB_CREATE);
    support_register(db, UUID_1, "one");
    support_register(db, UUID_2, "two");
    vgpu_db_close(db);
    core_config_defaults(&config);
    core = core_new(&config, &no_effects);
    core_gpu_add(core, "CPU-0");
    uv_loop_init(&loop);
    reloads = idles = 0;
    last_error[0] = '\0';
    if (config_store_open(&loop, core, path, &store, error, sizeof(error)) < 0) {
        fail_msg("%s", error);
    }
    return 0;
}

static void note_idle(UNUSED void *opaque)
{
    idles++;
}

static void until_idle(void)
{
    idles = 0;
    config_store_when_idle(store, note_idle, NULL);
    run_until(&loop, idles == 1);
}

static int teardown(void **state)
{
    until_idle();
    config_store_close(store);
    end_loop(&loop);
    core_free(core);
    return support_teardown(state);
}

static void note_reload(void *opaque, const struct core_apply_result *result, const char *error)
{
    assert_ptr_equal(opaque, &reloads);
    reloads++;
    snprintf(last_error, sizeof(last_error), "%s", error ? error : "");
    if (!error) {
        last_result = *result;
    }
}

static void reload(void)
{
    uint32_t before = reloads;

    assert_int_equal(config_store_reload(store, note_reload, &reloads), 0);
    assert_int_equal(reloads, before); /* never before it returns */
    run_until(&loop, reloads > before);
    assert_int_equal(reloads, before + 1);
}

static int64_t faults_of(uint32_t vm_id)
{
    char query[128];

    snprintf(query, sizeof(query), "SELECT error_count FROM vms WHERE vm_id = %u", vm_id);
    return support_int(path, query);
}

static void test_opening_applies_what_is_there(void **state)
{
    assert_string_equal(config_store_path(store), path);
    assert_string_equal(config_store_trouble(store), "");
    assert_string_equal(stats_of(core, 1).config.name, "one");
    assert_string_equal(stats_of(core, 2).config.name, "two");
    assert_int_equal(core_pool_gpus(core, 'A'), 1);
}

static void test_what_is_no_database_is_refused_with_words(void **state)
{
    struct config_store *other = store;
    char error[CONFIG_STORE_ERROR_BYTES] = "", missing[256];
    FILE *file;

    snprintf(missing, sizeof(missing), "%s.missing", path);
    assert_int_equal(config_store_open(&loop, core, missing, &other, error, sizeof(error)),
                     -ENOENT);
    assert_null(other);
    assert_non_null(strstr(error, missing));
    file = fopen(missing, "w");
    for (int i = 0; i < 1000; i++) {
        fputs("no database\n", file);
    }
    fclose(file);
    error[0] = '\0';
    assert_true(config_store_open(&loop, core, missing, &other, error, sizeof(error)) < 0);
    assert_null(other);
    assert_true(error[0] != '\0');
    /* What is in force stays. */
    assert_string_equal(stats_of(core, 1).config.name, "one");
}

static void test_a_reload_sees_what_others_have_written(void **state)
{
    support_sql(path, "UPDATE vms SET weight = 77 WHERE vm_id = 1;"
                      "DELETE FROM vms WHERE vm_id = 2");
    assert_int_equal(stats_of(core, 1).config.weight, VGPU_WEIGHT_DEFAULT);
    reload();
    assert_string_equal(last_error, "");
    assert_int_equal(last_result.changed, 1);
    assert_int_equal(last_result.removed, 1);
    assert_int_equal(stats_of(core, 1).config.weight, 77);
    assert_int_equal(core_vm_find(core, 2), CORE_NONE);
}

static void test_a_reload_that_cannot_be_applied_changes_nothing(void **state)
{
    support_sql(path,
                "UPDATE vms SET weight = 77 WHERE vm_id = 1;"
                "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 1200) "
                "INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id) "
                "SELECT i, printf('7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d%04d', i), 'many', 'A' FROM n");
    reload();
    assert_non_null(strstr(last_error, "1103 VMs are registered, 1024 are possible"));
    assert_string_equal(config_store_trouble(store), last_error);
    assert_int_equal(stats_of(core, 1).config.weight, VGPU_WEIGHT_DEFAULT);
    assert_int_equal(core_vm_find(core, 100), CORE_NONE);
    /* Faults of the VMs that are in force are written still. */
    config_store_fault(store, 1, "a fault");
    until_idle();
    assert_int_equal(faults_of(1), 1);
    support_sql(path, "DELETE FROM vms WHERE vm_id >= 100");
    reload();
    assert_string_equal(last_error, "");
    assert_string_equal(config_store_trouble(store), "");
    assert_int_equal(stats_of(core, 1).config.weight, 77);
}

static void test_a_database_that_was_taken_away_leaves_the_last_good_one(void **state)
{
    support_remove_files(path);
    reload();
    assert_true(last_error[0] != '\0');
    assert_string_equal(config_store_trouble(store), last_error);
    assert_string_equal(stats_of(core, 1).config.name, "one");
    assert_string_equal(stats_of(core, 2).config.name, "two");
    config_store_fault(store, 1, "a fault");
    until_idle();
    assert_true(config_store_trouble(store)[0] != '\0');
}

static void test_facts_are_written_in_order_and_before_a_later_reload_reads(void **state)
{
    config_store_fault(store, 1, "first");
    config_store_fault(store, 1, "second");
    config_store_quarantine(store, 1, "after 2 faults");
    config_store_fault(store, 2, NULL);
    reload();
    assert_int_equal(faults_of(1), 2);
    assert_int_equal(faults_of(2), 1);
    assert_int_equal(support_int(path, "SELECT quarantined FROM vms WHERE vm_id = 1"), 1);
    assert_int_equal(support_int(path, "SELECT count(*) FROM vms WHERE vm_id = 1 AND "
                                       "quarantine_reason = 'after 2 faults'"),
                     1);
    assert_true(stats_of(core, 1).config.quarantined);
    assert_false(stats_of(core, 2).config.quarantined);
    config_store_unquarantine(store, 1);
    reload();
    assert_int_equal(faults_of(1), 0);
    assert_false(stats_of(core, 1).config.quarantined);
}

static void test_a_vm_that_is_not_registered_is_not_written(void **state)
{
    config_store_fault(store, 4711, "a fault");
    config_store_quarantine(store, 4711, "a reason");
    config_store_unquarantine(store, 4711);
    idles = 0;
    config_store_when_idle(store, note_idle, NULL);
    assert_int_equal(idles, 1); /* there is nothing to do */
    assert_int_equal(support_int(path, "SELECT count(*) FROM vms"), 2);
    /* Removed by another, and not read again yet: no trouble. */
    support_sql(path, "DELETE FROM vms WHERE vm_id = 2");
    config_store_fault(store, 2, "a fault");
    until_idle();
    assert_string_equal(config_store_trouble(store), "");
}

static void test_what_waits_is_bounded_and_what_does_not_fit_is_counted(void **state)
{
    /* The first is handed to the thread, so many may wait behind it. */
    for (uint32_t i = 0; i < CONFIG_STORE_WAITING_MAX + 1; i++) {
        config_store_fault(store, 1, "one of many");
    }
    assert_true(config_store_dropped(store) == 0);
    config_store_fault(store, 1, "too many");
    config_store_quarantine(store, 1, "none of these is lost");
    assert_true(config_store_dropped(store) == 1);
    assert_int_equal(config_store_reload(store, note_reload, &reloads), -ENOBUFS);
    assert_true(config_store_dropped(store) == 2);
    until_idle();
    assert_int_equal(reloads, 0);
    assert_int_equal(faults_of(1), CONFIG_STORE_WAITING_MAX + 1);
    assert_int_equal(support_int(path, "SELECT quarantined FROM vms WHERE vm_id = 1"), 1);
    /* There is room again. */
    reload();
    assert_string_equal(last_error, "");
}

static void quarantine_by_core(uint32_t vm_id)
{
    assert_int_equal(core_quarantine_vm(core, vm_id, 1), 0);
    config_store_quarantine(store, vm_id, "after 5 faults");
    until_idle();
}

static int64_t quarantined_in_database(uint32_t vm_id)
{
    char query[128];

    snprintf(query, sizeof(query), "SELECT quarantined FROM vms WHERE vm_id = %u", vm_id);
    return support_int(path, query);
}

/* As on a full disk: reading goes on. */
static void refuse_writes(bool refuse)
{
    support_sql(path, refuse ? "CREATE TRIGGER full BEFORE UPDATE OF quarantined ON vms BEGIN "
                               "SELECT RAISE(ABORT, 'the disk is full'); END"
                             : "DROP TRIGGER full");
}

static void test_a_quarantine_that_cannot_be_written_is_kept_and_written_later(void **state)
{
    refuse_writes(true);
    quarantine_by_core(1);
    assert_non_null(strstr(config_store_trouble(store), "the disk is full"));
    /* Another VM's change releases it not, and is no reason to say that all is well. */
    support_sql(path, "UPDATE vms SET weight = 77 WHERE vm_id = 2");
    reload();
    assert_int_equal(stats_of(core, 2).config.weight, 77);
    assert_true(stats_of(core, 1).config.quarantined);
    assert_non_null(strstr(config_store_trouble(store), "the disk is full"));
    assert_int_equal(quarantined_in_database(1), 0);
    refuse_writes(false);
    reload();
    assert_true(stats_of(core, 1).config.quarantined);
    assert_string_equal(config_store_trouble(store), "");
    assert_int_equal(quarantined_in_database(1), 1);
}

static void test_of_what_could_not_be_written_the_newest_counts(void **state)
{
    refuse_writes(true);
    quarantine_by_core(1);
    quarantine_by_core(2);
    assert_int_equal(core_unquarantine_vm(core, 1, 1), 0);
    config_store_unquarantine(store, 1);
    reload();
    assert_false(stats_of(core, 1).config.quarantined);
    assert_true(stats_of(core, 2).config.quarantined);
    refuse_writes(false);
    reload();
    assert_false(stats_of(core, 1).config.quarantined);
    assert_true(stats_of(core, 2).config.quarantined);
    assert_int_equal(quarantined_in_database(1), 0);
    assert_int_equal(quarantined_in_database(2), 1);
    assert_string_equal(config_store_trouble(store), "");
}

static void test_a_reload_that_began_before_a_quarantine_does_not_lift_it(void **state)
{
    assert_int_equal(config_store_reload(store, note_reload, &reloads), 0);
    quarantine_by_core(1); /* the snapshot may be read already */
    assert_int_equal(reloads, 1);
    assert_true(stats_of(core, 1).config.quarantined);
}

static void test_reloads_that_come_together_are_all_answered(void **state)
{
    for (int i = 0; i < 5; i++) {
        assert_int_equal(config_store_reload(store, note_reload, &reloads), 0);
    }
    assert_int_equal(config_store_reload(store, NULL, NULL), 0);
    until_idle();
    assert_int_equal(reloads, 5);
    assert_int_equal(last_result.added + last_result.changed + last_result.removed, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_opening_applies_what_is_there),
        TEST(test_what_is_no_database_is_refused_with_words),
        TEST(test_a_reload_sees_what_others_have_written),
        TEST(test_a_reload_that_cannot_be_applied_changes_nothing),
        TEST(test_a_database_that_was_taken_away_leaves_the_last_good_one),
        TEST(test_facts_are_written_in_order_and_before_a_later_reload_reads),
        TEST(test_a_vm_that_is_not_registered_is_not_written),
        TEST(test_what_waits_is_bounded_and_what_does_not_fit_is_counted),
        TEST(test_a_quarantine_that_cannot_be_written_is_kept_and_written_later),
        TEST(test_of_what_could_not_be_written_the_newest_counts),
        TEST(test_a_reload_that_began_before_a_quarantine_does_not_lift_it),
        TEST(test_reloads_that_come_together_are_all_answered),
    };

    return cmocka_run_group_tests_name("config_store", tests, NULL, NULL);
}
