/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A backup in the place of the database, and who may read a new one. */
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/test_support.h"

#define GROUP_ID 54321

struct group *__wrap_getgrnam(const char *name);

static bool group_exists;

struct group *__wrap_getgrnam(const char *name)
{
    static struct group group = {.gr_name = "vgpu", .gr_gid = GROUP_ID};

    assert_string_equal(name, "vgpu");
    return group_exists ? &group : NULL;
}

static void file_beside(const char *path, const char *suffix, char file[512])
{
    snprintf(file, 512, "%s%s", path, suffix);
}

static void copy_file(const char *from, const char *to)
{
    char buffer[65536];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    size_t n;

    assert_non_null(in);
    assert_non_null(out);
    while ((n = fread(buffer, 1, sizeof(buffer), in)) > 0) {
        assert_int_equal(fwrite(buffer, 1, n, out), n);
    }
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* A backup with one VM, then a database with two. */
static void backup_then_change(const char *path, char backup[512])
{
    struct vgpu_db *db = support_open(path, VGPU_DB_CREATE);

    support_register(db, UUID_1, "old");
    vgpu_db_close(db);
    file_beside(path, ".backup", backup);
    copy_file(path, backup);
    db = support_open(path, VGPU_DB_WRITE);
    support_register(db, UUID_2, "new");
    vgpu_db_close(db);
}

static int restore(const char *path, const char *backup, char **kept, const char *text)
{
    char error[VGPU_DB_ERROR_BYTES] = "";
    int result = vgpu_db_restore(path, backup, kept, error, sizeof(error));

    if (text) {
        assert_non_null(strstr(error, text));
        assert_null(*kept);
    } else {
        assert_string_equal(error, "");
    }
    assert_int_equal(support_files(path, ".restore-"), 0);
    return result;
}

#define VMS "SELECT count(*) FROM vms"

static void test_restore(void **state)
{
    const char *path = *state;
    struct stat before, after;
    char backup[512], *kept;

    backup_then_change(path, backup);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(restore(path, backup, &kept, NULL), 0);
    assert_int_equal(support_int(path, VMS), 1);
    assert_int_equal(support_int(kept, VMS), 2);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_mode, before.st_mode);
    free(kept);
    /* Twice within a second: each old one keeps its own name. */
    assert_int_equal(restore(path, backup, &kept, NULL), 0);
    free(kept);
    assert_int_equal(support_files(path, ".replaced-"), 2);
}

/* The reason for all this: a copied file is undone by the log that lies beside it. */
static void test_a_log_that_was_left(void **state)
{
    const char *path = *state;
    char backup[512], wal[512], *kept;
    int status;
    pid_t child;

    backup_then_change(path, backup);
    child = fork();
    if (child == 0) {
        struct vgpu_db *db = support_open(path, VGPU_DB_WRITE);

        support_register(db, UUID_3, "in the log");
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    file_beside(path, "-wal", wal);
    assert_int_equal(access(wal, F_OK), 0);
    assert_int_equal(restore(path, backup, &kept, NULL), 0);
    assert_int_equal(support_int(path, VMS), 1);
    assert_int_equal(support_int(kept, VMS), 3); /* the old one has what its log had */
    free(kept);
}

static void test_no_database_yet(void **state)
{
    const char *path = *state;
    char backup[512], *kept;
    struct stat st;

    backup_then_change(path, backup);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(restore(path, backup, &kept, NULL), 0);
    assert_null(kept);
    assert_int_equal(support_int(path, VMS), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

static void test_a_damaged_database_is_replaced(void **state)
{
    const char *path = *state;
    char backup[512], *kept;
    FILE *f;

    backup_then_change(path, backup);
    f = fopen(path, "wb");
    assert_non_null(f);
    fputs("this is no database", f);
    fclose(f);
    assert_int_equal(restore(path, backup, &kept, NULL), 0);
    assert_int_equal(support_int(path, VMS), 1);
    assert_non_null(kept);
    free(kept);
}

static void test_backups_that_are_none(void **state)
{
    const char *path = *state;
    char backup[512], other[512], *kept;
    struct vgpu_db *db;
    FILE *f;

    backup_then_change(path, backup);
    assert_int_equal(restore(path, path, &kept, "is the database itself"), -EINVAL);
    file_beside(path, ".missing", other);
    assert_int_equal(restore(path, other, &kept, "there is no database at"), -ENOENT);
    f = fopen(other, "wb");
    assert_non_null(f);
    fputs("this is no database either, and long enough to be read as one", f);
    fclose(f);
    assert_int_equal(restore(path, other, &kept, "damaged"), -EUCLEAN);
    assert_int_equal(unlink(other), 0);
    support_make_old(other, SHAPE_PHASE2);
    assert_int_equal(restore(path, other, &kept, "the backup can't be used"), -EPROTONOSUPPORT);
    /* A row that no writer would have written. */
    support_sql(backup, "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF;"
                        "UPDATE vms SET pool_id = 'Q'");
    assert_int_equal(restore(path, backup, &kept, "is damaged"), -EUCLEAN);
    db = support_open(path, VGPU_DB_READ);
    vgpu_db_close(db);
    assert_int_equal(support_int(path, VMS), 2);
    assert_int_equal(support_files(path, ".replaced-"), 0);
}

static void test_somebody_has_it_open(void **state)
{
    const char *path = *state;
    char backup[512], text[64], *kept;
    int ready[2], status;
    pid_t child;
    char byte;

    backup_then_change(path, backup);
    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        struct vgpu_db *db = support_open(path, VGPU_DB_WRITE);

        if (!db || write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    snprintf(text, sizeof(text), "process %d has %.8s", (int)child, path);
    assert_int_equal(restore(path, backup, &kept, text), -EBUSY);
    assert_int_equal(support_int(path, VMS), 2);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(restore(path, backup, &kept, NULL), 0);
    free(kept);
    close(ready[0]);
    close(ready[1]);
}

/* The group asks by the admin socket and gets no file. */
/* Root restores in a folder of another user: a link there leads nowhere. */
static void test_links(void **state)
{
    const char *path = *state;
    char backup[512], target[512], folder[512], beside[600], *kept;
    struct stat before, after;

    backup_then_change(path, backup);
    file_beside(path, ".target", target);
    assert_int_equal(rename(path, target), 0);
    assert_int_equal(chmod(target, 04640), 0);
    assert_int_equal(stat(target, &before), 0);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(restore(path, backup, &kept, "is a symbolic link"), -ELOOP);
    assert_int_equal(stat(target, &after), 0);
    assert_int_equal(after.st_mode, before.st_mode);
    assert_int_equal(after.st_ino, before.st_ino);
    assert_int_equal(support_int(target, VMS), 2);
    /* A folder may be one, and no bit but those of read and write is taken over. */
    assert_int_equal(unlink(path), 0);
    file_beside(path, ".folder", folder);
    assert_int_equal(symlink(".", folder), 0);
    snprintf(beside, sizeof(beside), "%s/%s", folder, strrchr(target, '/') + 1);
    assert_int_equal(restore(beside, backup, &kept, NULL), 0);
    free(kept);
    assert_int_equal(stat(target, &after), 0);
    assert_int_equal(after.st_mode & 07777, 0640);
    assert_int_equal(unlink(folder), 0);
    assert_int_equal(unlink(target), 0);
}

static void test_a_new_database_is_not_the_groups(void **state)
{
    const char *path = *state;
    struct stat st;

    for (int exists = 0; exists <= 1; exists++) {
        group_exists = exists;
        vgpu_db_close(support_open(path, VGPU_DB_CREATE));
        group_exists = false;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0640);
        assert_int_equal(st.st_gid, getegid());
        support_remove_files(path);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_setup, support_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_restore),
        TEST(test_a_log_that_was_left),
        TEST(test_no_database_yet),
        TEST(test_a_damaged_database_is_replaced),
        TEST(test_backups_that_are_none),
        TEST(test_somebody_has_it_open),
        TEST(test_links),
        TEST(test_a_new_database_is_not_the_groups),
    };

    return cmocka_run_group_tests_name("db_restore", tests, NULL, NULL);
}
