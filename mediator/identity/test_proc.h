/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module makes a folder that looks like /proc, with the processes that a test wants in it. */
#ifndef MEDIATOR_IDENTITY_TEST_PROC_H
#define MEDIATOR_IDENTITY_TEST_PROC_H

#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/unused.h"

#define TEST_PROC_UUID "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001"
#define TEST_PROC_SKIP 77 /* meson: not here */

static char test_proc[64]; /* the folder */

static inline void test_proc_begin(void)
{
    strcpy(test_proc, "/tmp/vgpu-proc-XXXXXX");
    assert_non_null(mkdtemp(test_proc));
}

static inline int test_proc_remove_one(const char *path, UNUSED const struct stat *st,
                                       UNUSED int type, UNUSED struct FTW *place)
{
    return remove(path);
}

static inline void test_proc_remove(const char *path)
{
    assert_int_equal(nftw(path, test_proc_remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static inline void test_proc_write(int pid, const char *name, const char *bytes, size_t length)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%d/%s", test_proc, pid, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    fclose(file);
}

/* `cmdline` has '|' where arguments end. */
static inline void test_proc_set_cmdline(int pid, const char *cmdline)
{
    char bytes[1024];
    size_t length = strlen(cmdline);

    assert_true(length < sizeof(bytes));
    for (size_t i = 0; i < length; i++) {
        bytes[i] = cmdline[i];
        if (bytes[i] == '|') {
            bytes[i] = '\0';
        }
    }
    test_proc_write(pid, "cmdline", bytes, length);
}

static inline void test_proc_set_start(int pid, unsigned start_ticks)
{
    char text[256];

    snprintf(text, sizeof(text), "%d (qemu) S 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 %u 0\n", pid,
             start_ticks);
    test_proc_write(pid, "stat", text, strlen(text));
}

/* A process of ours, with this root folder, in this user namespace (a file that tells it). */
static inline void test_proc_add(int pid, const char *cmdline, const char *root,
                                 const char *user_namespace)
{
    char path[128], text[256];

    snprintf(path, sizeof(path), "%s/%d", test_proc, pid);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/%d/root", test_proc, pid);
    assert_int_equal(symlink(root, path), 0);
    snprintf(path, sizeof(path), "%s/%d/ns", test_proc, pid);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/%d/ns/user", test_proc, pid);
    assert_int_equal(symlink(user_namespace, path), 0);
    snprintf(text, sizeof(text), "Name:\tqemu\nUid:\t0\t%u\t0\t0\nGid:\t0\t%u\t0\t0\n", geteuid(),
             getegid());
    test_proc_write(pid, "status", text, strlen(text));
    test_proc_set_cmdline(pid, cmdline);
    test_proc_set_start(pid, 100);
}

/* Its program; one without that can't be looked at. */
static inline void test_proc_set_program(int pid, const char *program)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%d/exe", test_proc, pid);
    unlink(path);
    assert_int_equal(symlink(program, path), 0);
}

static inline void test_proc_drop(int pid)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%d", test_proc, pid);
    test_proc_remove(path);
}

/* On a Xen host only XenStore says who a QEMU is, and it does not know these. */
static inline bool test_proc_is_xen(void)
{
    return access("/dev/xen/xenbus_backend", F_OK) == 0 || access("/proc/xen/xsd_port", F_OK) == 0;
}

#endif /* MEDIATOR_IDENTITY_TEST_PROC_H */
