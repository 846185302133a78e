/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kill -9 and a full disk at the k-th write, for every k.
 *
 * How it works: a VFS is put in front of SQLite's own that counts everything
 * that changes a file (write, truncate, sync, delete).  At the k-th it either
 * writes half of the bytes and ends the process on the spot, or answers "disk
 * full" from there on.  A child process runs a fixed script of changes and tells
 * the parent through a pipe, one byte each, which ones were acknowledged.  The
 * parent then opens the database as it was left and compares: what was
 * acknowledged must be there, and at most the one change under way besides.  k
 * goes up until the script gets through undisturbed.
 */
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/test_support.h"

enum fault { FAULT_NONE, FAULT_KILL, FAULT_FULL, FAULT_NO_SHM };

static struct {
    enum fault fault;
    int countdown;
    sqlite3_vfs *real;
} shim;

struct shim_file {
    sqlite3_file base;
    sqlite3_file *real; /* lies behind this structure */
};

/* True if the operation that is about to happen is to fail with "disk full". */
static bool strike(struct shim_file *file, const void *data, int bytes, sqlite3_int64 offset)
{
    if (shim.fault == FAULT_NONE || shim.fault == FAULT_NO_SHM || --shim.countdown > 0) {
        return false;
    }
    if (shim.fault == FAULT_KILL) {
        if (data) {
            file->real->pMethods->xWrite(file->real, data, bytes / 2, offset);
        }
        kill(getpid(), SIGKILL);
    }
    return true;
}

#define REAL(f) (((struct shim_file *)(f))->real)

static int shim_close(sqlite3_file *f)
{
    return REAL(f)->pMethods ? REAL(f)->pMethods->xClose(REAL(f)) : SQLITE_OK;
}

static int shim_read(sqlite3_file *f, void *data, int bytes, sqlite3_int64 offset)
{
    return REAL(f)->pMethods->xRead(REAL(f), data, bytes, offset);
}

static int shim_write(sqlite3_file *f, const void *data, int bytes, sqlite3_int64 offset)
{
    return strike((struct shim_file *)f, data, bytes, offset)
               ? SQLITE_FULL
               : REAL(f)->pMethods->xWrite(REAL(f), data, bytes, offset);
}

static int shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    strike((struct shim_file *)f, NULL, 0, 0);
    return REAL(f)->pMethods->xTruncate(REAL(f), size);
}

static int shim_sync(sqlite3_file *f, int flags)
{
    strike((struct shim_file *)f, NULL, 0, 0);
    return REAL(f)->pMethods->xSync(REAL(f), flags);
}

static int shim_file_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return REAL(f)->pMethods->xFileSize(REAL(f), size);
}

static int shim_lock(sqlite3_file *f, int lock)
{
    return REAL(f)->pMethods->xLock(REAL(f), lock);
}

static int shim_unlock(sqlite3_file *f, int lock)
{
    return REAL(f)->pMethods->xUnlock(REAL(f), lock);
}

static int shim_check_reserved(sqlite3_file *f, int *result)
{
    return REAL(f)->pMethods->xCheckReservedLock(REAL(f), result);
}

static int shim_control(sqlite3_file *f, int op, void *arg)
{
    return REAL(f)->pMethods->xFileControl(REAL(f), op, arg);
}

static int shim_sector_size(sqlite3_file *f)
{
    return REAL(f)->pMethods->xSectorSize(REAL(f));
}

static int shim_characteristics(sqlite3_file *f)
{
    return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f));
}

static int shim_shm_map(sqlite3_file *f, int page, int bytes, int extend, void volatile **p)
{
    if (shim.fault == FAULT_NO_SHM) {
        return SQLITE_IOERR_SHMMAP; /* as where mmap(MAP_SHARED) gives ENODEV */
    }
    return REAL(f)->pMethods->xShmMap(REAL(f), page, bytes, extend, p);
}

static int shim_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return REAL(f)->pMethods->xShmLock(REAL(f), offset, n, flags);
}

static void shim_shm_barrier(sqlite3_file *f)
{
    REAL(f)->pMethods->xShmBarrier(REAL(f));
}

static int shim_shm_unmap(sqlite3_file *f, int remove)
{
    return REAL(f)->pMethods->xShmUnmap(REAL(f), remove);
}

static const sqlite3_io_methods shim_methods = {
    .iVersion = 2,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_file_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_check_reserved,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector_size,
    .xDeviceCharacteristics = shim_characteristics,
    .xShmMap = shim_shm_map,
    .xShmLock = shim_shm_lock,
    .xShmBarrier = shim_shm_barrier,
    .xShmUnmap = shim_shm_unmap,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    struct shim_file *file = (struct shim_file *)f;
    int rc;

    file->real = (sqlite3_file *)(file + 1);
    file->real->pMethods = NULL;
    rc = shim.real->xOpen(shim.real, name, file->real, flags, out);
    file->base.pMethods = file->real->pMethods ? &shim_methods : NULL;
    return rc;
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    if (shim.fault == FAULT_KILL) {
        strike(NULL, NULL, 0, 0);
    }
    return shim.real->xDelete(shim.real, name, sync);
}

static void shim_install(enum fault fault, int countdown)
{
    static sqlite3_vfs vfs;

    if (!shim.real) {
        shim.real = sqlite3_vfs_find(NULL);
    }
    shim.fault = fault;
    shim.countdown = countdown;
    vfs = *shim.real;
    vfs.zName = "strike";
    vfs.szOsFile = shim.real->szOsFile + (int)sizeof(struct shim_file);
    vfs.xOpen = shim_open;
    vfs.xDelete = shim_delete;
    sqlite3_vfs_register(&vfs, 1);
}

/* ---- The script --------------------------------------------------------------- */

#define STEPS 12

/* One acknowledged change; its effect is that exactly step + 1 of them can be counted. */
static int step(struct vgpu_db *db, int n)
{
    vgpu_vm_config_t vm = {.pool_id = 'A', .priority = 1, .weight = 50};

    switch (n % 4) {
    case 0:
        snprintf(vm.vm_uuid, sizeof(vm.vm_uuid), "vm-%d", n);
        snprintf(vm.vm_name, sizeof(vm.vm_name), "%0200d", n);
        return vgpu_register_vm(db, &vm, NULL);
    case 1:
        snprintf(vm.vm_uuid, sizeof(vm.vm_uuid), "vm-%d", n - 1);
        return vgpu_set_vm_weight(db, vm.vm_uuid, 77);
    case 2:
        snprintf(vm.vm_uuid, sizeof(vm.vm_uuid), "vm-%d", n - 2);
        return vgpu_quarantine_vm(db, vm.vm_uuid, "test");
    default:
        snprintf(vm.vm_uuid, sizeof(vm.vm_uuid), "vm-%d", n - 3);
        return vgpu_increment_error_count(db, vm.vm_uuid, "test", NULL);
    }
}

/* How many steps the database shows; fails the test unless it is a prefix of the script. */
static int steps_done(struct vgpu_db *db)
{
    bool present[STEPS + 1] = {false};
    int done = 0;

    for (int n = 0; n < STEPS; n += 4) {
        char uuid[16];
        vgpu_vm_config_t vm;
        snprintf(uuid, sizeof(uuid), "vm-%d", n);
        present[n] = vgpu_get_vm_config(db, uuid, &vm) == 0;
        present[n + 1] = present[n] && vm.weight == 77;
        present[n + 2] = present[n] && vm.quarantined;
        present[n + 3] = present[n] && vm.error_count == 1;
    }
    while (present[done]) {
        done++;
    }
    for (int n = done; n < STEPS; n++) {
        assert_false(present[n]);
    }
    return done;
}

static int open_with_fault(const char *path, enum vgpu_db_mode mode, enum fault fault, int k,
                           struct vgpu_db **db)
{
    char error[VGPU_DB_ERROR_BYTES];

    shim_install(fault, k);
    return vgpu_db_open(path, mode, db, error, sizeof(error));
}

/* Runs open and script in a child; returns how many bytes it sent before it ended. */
static int run_child(const char *path, enum fault fault, int k, int *status)
{
    int pipe_fds[2];
    char acks[STEPS + 2];
    int count = 0;
    pid_t child;
    ssize_t got;

    assert_int_equal(pipe(pipe_fds), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct vgpu_db *db;
        int result = open_with_fault(path, VGPU_DB_CREATE, fault, k, &db);
        if (result == 0) {
            if (write(pipe_fds[1], "o", 1) != 1) {
                _exit(100);
            }
            for (int n = 0; n < STEPS && result == 0; n++) {
                result = step(db, n);
                if (result == 0 && write(pipe_fds[1], "s", 1) != 1) {
                    _exit(100);
                }
            }
            vgpu_db_close(db);
        }
        _exit(result == 0 ? 0 : result == -ENOSPC ? 1 : 99);
    }
    close(pipe_fds[1]);
    while ((got = read(pipe_fds[0], acks, sizeof(acks))) > 0) {
        count += (int)got;
    }
    close(pipe_fds[0]);
    assert_int_equal(waitpid(child, status, 0), child);
    return count;
}

static void no_finding(const char *text, void *opaque)
{
    fail_msg("after fault %d: %s", *(int *)opaque, text);
}

/* Runs round() with the fault at the first write, the second, ... until one gets through. */
static void at_every_write(const char *path, enum fault fault,
                           bool (*round)(const char *path, enum fault fault, int k), int writes_min)
{
    int k = 1;

    while (k < 5000 && !round(path, fault, k)) {
        support_remove_files(path);
        k++;
    }
    print_message("%d points of failure\n", k - 1);
    assert_in_range(k, writes_min, 4000);
}

/* What was acknowledged is there; true: the script got through. */
static bool script_round(const char *path, enum fault fault, int k)
{
    int status;
    int acks = run_child(path, fault, k, &status);
    int acknowledged = acks > 0 ? acks - 1 : 0;
    struct vgpu_db *db;
    int done;

    if (fault == FAULT_FULL && WIFEXITED(status) && WEXITSTATUS(status) == 99) {
        fail_msg("k = %d: not reported as a full disk", k);
    }
    db = support_open(path, VGPU_DB_CREATE);
    assert_int_equal(vgpu_db_check(db, no_finding, &k), 0);
    done = steps_done(db);
    if (done < acknowledged || done > acknowledged + 1) {
        fail_msg("k = %d: %d steps acknowledged, %d there", k, acknowledged, done);
    }
    vgpu_db_close(db);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_killed_at_every_write(void **state)
{
    at_every_write(*state, FAULT_KILL, script_round, 40);
}

static void test_full_at_every_write(void **state)
{
    at_every_write(*state, FAULT_FULL, script_round, 40);
}

/* The upgrade of a Phase 2 file, killed or out of space; true: it got through. */
static bool upgrade_round(const char *path, enum fault fault, int k)
{
    int status;
    pid_t child;
    struct vgpu_db *db;
    vgpu_vm_config_t vm;

    support_make_old(path, SHAPE_PHASE2);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int result = open_with_fault(path, VGPU_DB_WRITE, fault, k, &db);
        shim.fault = FAULT_NONE;
        _exit(result == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);

    /* Opened again it is upgraded, with everything that was in it. */
    db = support_open(path, VGPU_DB_WRITE);
    assert_int_equal(vgpu_db_check(db, no_finding, &k), 0);
    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &vm), 0);
    assert_string_equal(vm.vm_name, "web, front");
    assert_int_equal(vgpu_get_vm_config(db, UUID_2, &vm), 0);
    assert_int_equal(vgpu_get_vm_config(db, UUID_3, &vm), 0);
    vgpu_db_close(db);
    assert_true(support_files(path, "phase2-backup-") >= 1);
    assert_int_equal(support_files(path, "partial"), 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 && k > 1;
}

static void test_upgrade_killed_at_every_write(void **state)
{
    at_every_write(*state, FAULT_KILL, upgrade_round, 10);
}

static void test_upgrade_full_at_every_write(void **state)
{
    at_every_write(*state, FAULT_FULL, upgrade_round, 10);
}

/* ---- A file system without shared mappings ------------------------------------- */

static void test_no_shared_memory(void **state)
{
    struct vgpu_db *db = NULL;
    vgpu_vm_config_t vm;

    /* Made there: a rollback journal, and everything works, also the second time. */
    assert_int_equal(open_with_fault(*state, VGPU_DB_CREATE, FAULT_NO_SHM, 0, &db), 0);
    support_register(db, UUID_1, "web");
    vgpu_db_close(db);
    for (enum vgpu_db_mode mode = VGPU_DB_READ; mode <= VGPU_DB_WRITE; mode++) {
        assert_int_equal(open_with_fault(*state, mode, FAULT_NO_SHM, 0, &db), 0);
        assert_int_equal(vgpu_get_vm_config(db, UUID_1, &vm), 0);
        vgpu_db_close(db);
    }
    assert_int_equal(support_files(*state, "-wal"), 0);
    shim_install(FAULT_NONE, 0);
}

static void test_wal_file_without_shared_memory(void **state)
{
    struct vgpu_db *db = support_open(*state, VGPU_DB_CREATE);
    char error[VGPU_DB_ERROR_BYTES];
    vgpu_vm_config_t vm;

    support_register(db, UUID_1, "web");
    vgpu_db_close(db);
    /* Copied there in WAL mode: a reader is told why, a writer mends it. */
    shim_install(FAULT_NO_SHM, 0);
    assert_int_equal(vgpu_db_open(*state, VGPU_DB_READ, &db, error, sizeof(error)), -EIO);
    assert_non_null(strstr(error, "no memory that programs share"));
    assert_int_equal(open_with_fault(*state, VGPU_DB_WRITE, FAULT_NO_SHM, 0, &db), 0);
    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &vm), 0);
    assert_int_equal(vgpu_set_vm_weight(db, UUID_1, 77), 0);
    vgpu_db_close(db);
    shim_install(FAULT_NONE, 0);
    db = support_open(*state, VGPU_DB_READ);
    assert_int_equal(vgpu_get_vm_config(db, UUID_1, &vm), 0);
    assert_int_equal(vm.weight, 77);
    vgpu_db_close(db);
}

/* What could not be made is not left half made; what was there stays. */
static void test_no_half_file_stays(void **state)
{
    struct vgpu_db *db;

    for (int k = 1; k < 4; k++) {
        assert_int_equal(open_with_fault(*state, VGPU_DB_CREATE, FAULT_FULL, k, &db), -ENOSPC);
        assert_int_equal(support_files(*state, "vgpu"), 0);
    }
    shim_install(FAULT_NONE, 0);
    support_make_old(*state, SHAPE_PHASE2);
    assert_int_equal(open_with_fault(*state, VGPU_DB_CREATE, FAULT_FULL, 1, &db), -ENOSPC);
    shim_install(FAULT_NONE, 0);
    db = support_open(*state, VGPU_DB_CREATE);
    vgpu_db_close(db);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_killed_at_every_write),          TEST(test_full_at_every_write),
        TEST(test_upgrade_killed_at_every_write),  TEST(test_no_shared_memory),
        TEST(test_wal_file_without_shared_memory), TEST(test_no_half_file_stays),
        TEST(test_upgrade_full_at_every_write),
    };

    return cmocka_run_group_tests_name("db_faults", tests, NULL, NULL);
}
