/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The k-th call fails, for every k that a run reaches: of memory (ours and SQLite's own), of
 * SQLite, of the system.
 *
 * How it works: the linker leads such calls here (-Wl,--wrap), and the k-th of one kind is
 * answered with a failure, once.  A story of changes runs to its first failure; that must be a
 * negative number with a text.  Then the file is opened without a fault and compared: it must be
 * as after the changes that were acknowledged, or as after the one that failed as well, whose
 * commit may have been the last thing that worked.  A story that gets through in spite of the
 * fault did without what failed, and must have done all.  Nothing leaks: the sanitizers look.
 *
 * SQLite asks for memory some 20,000 times in these stories, which takes a minute.  One in
 * MEMORY_STEP of them fails in a test run; all do with VGPU_EVERY_CALL in the environment.
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/test_support.h"

enum kind { KIND_MEMORY, KIND_SQLITE_MEMORY, KIND_SQLITE, KIND_SYSTEM, KIND_COUNT };

static struct {
    bool armed;
    enum kind kind;
    int countdown; /* the call at which it gets to 0 fails */
} fault;

static bool fails(enum kind kind)
{
    return fault.armed && fault.kind == kind && --fault.countdown == 0;
}

/* ---- calls that may fail ---- */

#define WRAP(type, name, parameters, arguments, kind, failure)                                     \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        return fails(kind) ? (failure) : __real_##name arguments;                                  \
    }
#define SYSTEM_FAILURE (errno = EIO, -1)

WRAP(void *, calloc, (size_t n, size_t size), (n, size), KIND_MEMORY, NULL)
WRAP(char *, strdup, (const char *text), (text), KIND_MEMORY, NULL)

WRAP(int, fsync, (int fd), (fd), KIND_SYSTEM, SYSTEM_FAILURE)
WRAP(int, link, (const char *from, const char *to), (from, to), KIND_SYSTEM, SYSTEM_FAILURE)
WRAP(int, rename, (const char *from, const char *to), (from, to), KIND_SYSTEM, SYSTEM_FAILURE)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), KIND_SYSTEM, SYSTEM_FAILURE)
WRAP(int, fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid), KIND_SYSTEM, SYSTEM_FAILURE)
WRAP(int, fstat64, (int fd, struct stat64 *st), (fd, st), KIND_SYSTEM, SYSTEM_FAILURE)
WRAP(int, mkostemp64, (char *name, int flags), (name, flags), KIND_SYSTEM, SYSTEM_FAILURE)

WRAP(int, sqlite3_open_v2, (const char *path, sqlite3 **sql, int flags, const char *vfs),
     (path, sql, flags, vfs), KIND_SQLITE, (*sql = NULL, SQLITE_CANTOPEN))
WRAP(int, sqlite3_prepare_v2,
     (sqlite3 * sql, const char *query, int bytes, sqlite3_stmt **stmt, const char **tail),
     (sql, query, bytes, stmt, tail), KIND_SQLITE, (*stmt = NULL, SQLITE_IOERR))
WRAP(int, sqlite3_step, (sqlite3_stmt * stmt), (stmt), KIND_SQLITE, SQLITE_IOERR)
WRAP(int, sqlite3_exec,
     (sqlite3 * sql, const char *query, int (*each)(void *, int, char **, char **), void *opaque,
      char **error),
     (sql, query, each, opaque, error), KIND_SQLITE, SQLITE_IOERR)
WRAP(sqlite3_backup *, sqlite3_backup_init,
     (sqlite3 * to, const char *to_name, sqlite3 *from, const char *from_name),
     (to, to_name, from, from_name), KIND_SQLITE, NULL)

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails(KIND_SYSTEM) ? SYSTEM_FAILURE : __real_open64(path, flags, mode);
}

int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **text, const char *format, ...)
{
    va_list args;
    int length;

    if (fails(KIND_MEMORY)) {
        return -1;
    }
    va_start(args, format);
    length = vasprintf(text, format, args);
    va_end(args);
    return length;
}

/* SQLite's own memory. */
static sqlite3_mem_methods memory;

static void *sqlite_malloc(int bytes)
{
    return fails(KIND_SQLITE_MEMORY) ? NULL : memory.xMalloc(bytes);
}

static void *sqlite_realloc(void *old, int bytes)
{
    return fails(KIND_SQLITE_MEMORY) ? NULL : memory.xRealloc(old, bytes);
}

static int lead_sqlites_memory(void)
{
    sqlite3_mem_methods led;
    int rc = sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory);

    led = memory;
    led.xMalloc = sqlite_malloc;
    led.xRealloc = sqlite_realloc;
    return rc == SQLITE_OK ? sqlite3_config(SQLITE_CONFIG_MALLOC, &led) : rc;
}

/* ---- the story ---- */

static int visit(const struct vgpu_event *event, void *opaque)
{
    return 0;
}

static void report(const char *text, void *opaque)
{
}

static int register_one(struct vgpu_db *db, const char *uuid, uint32_t id)
{
    vgpu_vm_config_t vm = {.vm_id = id, .pool_id = 'A', .priority = 1, .weight = 50};

    strcpy(vm.vm_uuid, uuid);
    return vgpu_register_vm(db, &vm, NULL);
}

static int look_at_all(struct vgpu_db *db)
{
    struct vgpu_config_snapshot *snapshot;
    vgpu_vm_config_t vm;
    int result = vgpu_db_load(db, &snapshot);

    if (result < 0) {
        return result;
    }
    vgpu_config_snapshot_free(snapshot);
    result = vgpu_get_vm_config_by_id(db, 1, &vm);
    if (result == 0) {
        result = vgpu_db_check(db, report, NULL);
    }
    return result < 0 ? result : vgpu_db_list_events(db, 0, NULL, 10, visit, NULL);
}

#define CHANGES 11u

static int change(struct vgpu_db *db, unsigned i)
{
    uint32_t count;

    switch (i) {
    case 0: return register_one(db, UUID_1, 1);
    case 1: return register_one(db, UUID_2, 0);
    case 2: return vgpu_set_vm_weight(db, UUID_1, 70);
    case 3: return vgpu_create_pool(db, 'C', NULL, "three");
    case 4: return vgpu_assign_gpu(db, 'C', "GPU-1");
    case 5: return vgpu_set_vm_pool(db, UUID_2, 'C');
    case 6: return vgpu_quarantine_vm(db, UUID_1, "it hangs");
    case 7: return vgpu_increment_error_count(db, UUID_2, "fault", &count);
    case 8: return vgpu_unquarantine_vm(db, UUID_1);
    case 9: return vgpu_remove_vm(db, UUID_2);
    default: return look_at_all(db);
    }
}

#define STATE_BYTES 1024u
static char states[CHANGES + 1][STATE_BYTES];

/* What the story changes, as text. */
static void read_state(const char *path, char *state)
{
    struct vgpu_db *db = support_open(path, VGPU_DB_CREATE);
    struct vgpu_config_snapshot *all;
    size_t used = 0;

    assert_int_equal(vgpu_db_load(db, &all), 0);
    for (uint32_t i = 0; i < all->pool_count; i++) {
        used += (size_t)snprintf(state + used, STATE_BYTES - used, "%c%u ", all->pools[i].pool_id,
                                 all->pools[i].gpu_count);
    }
    for (uint32_t i = 0; i < all->vm_count; i++) {
        const vgpu_vm_config_t *vm = &all->vms[i];

        used += (size_t)snprintf(state + used, STATE_BYTES - used, "%u:%c:%.2f:%d:%u ", vm->vm_id,
                                 vm->pool_id, vm->weight, vm->quarantined, vm->error_count);
    }
    assert_true(used < STATE_BYTES);
    vgpu_config_snapshot_free(all);
    vgpu_db_close(db);
}

static void assert_told(int result, const char *text)
{
    assert_true(result < 0);
    assert_true(text[0] != '\0');
}

/* How many changes were acknowledged; -1: the database was not even opened. */
static int run_story(const char *path)
{
    char error[VGPU_DB_ERROR_BYTES] = "";
    struct vgpu_db *db;
    int result = vgpu_db_open(path, VGPU_DB_CREATE, &db, error, sizeof(error));
    int done = 0;

    if (result < 0) {
        assert_null(db);
        assert_told(result, error);
        return -1;
    }
    while (done < (int)CHANGES && (result = change(db, (unsigned)done)) == 0) {
        done++;
    }
    if (result < 0) {
        assert_told(result, vgpu_db_error(db));
    }
    vgpu_db_close(db);
    return done;
}

#define MEMORY_STEP 37

/* The next call that is to fail after the k-th. */
static int next(enum kind kind, int k)
{
    return k + (kind == KIND_SQLITE_MEMORY && !getenv("VGPU_EVERY_CALL") ? MEMORY_STEP : 1);
}

static void arm(enum kind kind, int k)
{
    fault.kind = kind;
    fault.countdown = k;
    fault.armed = true;
}

/* Has the call that was to fail been reached? */
static bool disarm(void)
{
    fault.armed = false;
    return fault.countdown <= 0;
}

static void record_states(const char *path)
{
    struct vgpu_db *db;

    read_state(path, states[0]);
    for (unsigned i = 0; i < CHANGES; i++) {
        db = support_open(path, VGPU_DB_WRITE);
        assert_int_equal(change(db, i), 0);
        vgpu_db_close(db);
        read_state(path, states[i + 1]);
    }
    support_remove_files(path);
}

static void assert_state(const char *path, int done)
{
    char state[STATE_BYTES];

    read_state(path, state);
    if (strcmp(state, states[done < 0 ? 0 : done]) != 0 &&
        (done == (int)CHANGES || strcmp(state, states[done + 1]) != 0)) {
        fail_msg("after %d changes the database has \"%s\"", done, state);
    }
}

static void fail_each(const char *path, enum kind kind)
{
    int k = 0, count = 0, done;
    bool reached;

    do {
        k = next(kind, k);
        arm(kind, k);
        done = run_story(path);
        reached = disarm();
        assert_state(path, done);
        support_remove_files(path);
        count += reached;
    } while (reached);
    assert_int_equal(done, CHANGES); /* undisturbed */
    print_message("%d calls failed, one at a time\n", count);
    assert_true(count > 0);
}

static void test_memory(void **state)
{
    record_states(*state);
    fail_each(*state, KIND_MEMORY);
}

static void test_sqlites_memory(void **state)
{
    record_states(*state);
    fail_each(*state, KIND_SQLITE_MEMORY);
}

static void test_sqlite(void **state)
{
    record_states(*state);
    fail_each(*state, KIND_SQLITE);
}

static void test_system(void **state)
{
    record_states(*state);
    fail_each(*state, KIND_SYSTEM);
}

/* ---- an upgrade, and a restored backup ---- */

static int upgrade(const char *path)
{
    char error[VGPU_DB_ERROR_BYTES] = "";
    struct vgpu_db *db;
    int result = vgpu_db_open(path, VGPU_DB_WRITE, &db, error, sizeof(error));

    if (result < 0) {
        assert_told(result, error);
    }
    vgpu_db_close(db);
    return result;
}

/* The old file or the new one, and no copy without an upgrade. */
static void assert_old_or_new(const char *path)
{
    int64_t version = support_int(path, "PRAGMA user_version");

    assert_true(version == 0 || version == VGPU_DB_SCHEMA_VERSION);
    assert_int_equal(support_int(path, "SELECT count(*) FROM vms"), 3);
    assert_int_equal(support_files(path, "partial"), 0);
    assert_int_equal(support_files(path, "phase2-backup"), version ? 1 : 0);
}

static void test_an_upgrade(void **state)
{
    char *path = *state;

    for (enum kind kind = 0; kind < KIND_COUNT; kind++) {
        int k = 0, count = 0, result;

        do {
            support_make_old(path, SHAPE_ALTERED);
            k = next(kind, k);
            arm(kind, k);
            result = upgrade(path);
            if (disarm()) {
                assert_old_or_new(path);
                count++;
            } else {
                assert_int_equal(result, 0);
                result = 1;
            }
            support_remove_files(path);
        } while (result != 1);
        print_message("%d calls failed, one at a time\n", count);
        assert_true(count > 0);
    }
}

static int restore(const char *path, const char *backup)
{
    char error[VGPU_DB_ERROR_BYTES] = "";
    char *kept = NULL;
    int result = vgpu_db_restore(path, backup, &kept, error, sizeof(error));

    if (result < 0) {
        assert_told(result, error);
    }
    free(kept);
    return result;
}

/* The file has one VM, the backup has two: it is one of the two, whatever fails. */
static void test_a_restored_backup(void **state)
{
    char *path = *state;
    char *backup = NULL;

    assert_true(asprintf(&backup, "%s.copy", path) > 0);
    for (enum kind kind = 0; kind < KIND_COUNT; kind++) {
        int k = 0, count = 0, result;
        bool reached;

        do {
            struct vgpu_db *db = support_open(path, VGPU_DB_CREATE);

            assert_int_equal(register_one(db, UUID_1, 1), 0);
            vgpu_db_close(db);
            db = support_open(backup, VGPU_DB_CREATE);
            assert_int_equal(register_one(db, UUID_1, 1), 0);
            assert_int_equal(register_one(db, UUID_2, 2), 0);
            vgpu_db_close(db);
            k = next(kind, k);
            arm(kind, k);
            result = restore(path, backup);
            reached = disarm();
            assert_true(reached || result == 0);
            count += reached;
            db = support_open(path, VGPU_DB_WRITE);
            assert_int_equal(look_at_all(db), 0);
            vgpu_db_close(db);
            assert_in_range(support_int(path, "SELECT count(*) FROM vms"), result < 0 ? 1 : 2, 2);
            support_remove_files(path);
        } while (reached);
        print_message("%d calls failed, one at a time\n", count);
        assert_true(count > 0);
    }
    free(backup);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_memory), TEST(test_sqlites_memory), TEST(test_sqlite),
        TEST(test_system), TEST(test_an_upgrade),     TEST(test_a_restored_backup),
    };

    if (lead_sqlites_memory() != SQLITE_OK) {
        return 1;
    }
    return cmocka_run_group_tests_name("db_calls", tests, NULL, NULL);
}
