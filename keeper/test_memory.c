/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is written into control groups of version 2, played by files of a folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/log.h"
#include "keeper/memory.h"

#define MIB (1ull << 20)

struct world {
    struct memory memory;
    char group[PATH_MAX + 64];
};

static void put(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX + 128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

/* Its first bytes: a file, unlike the kernel's, keeps what was behind what is written. */
static void holds(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX + 128], found[256] = "";
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(found, 1, sizeof(found) - 1, file) < sizeof(found));
    fclose(file);
    found[strlen(text)] = '\0';
    assert_string_equal(found, text);
}

static int begin(void **state)
{
    static const char *const files[] = {"cgroup.procs",     "memory.max",     "memory.swap.max",
                                        "memory.oom.group", "memory.current", "memory.events"};
    static struct world world;
    char keeper[PATH_MAX + 64];

    log_init("test_memory", LOG_LEVEL_ERROR, false);
    world = (struct world){.memory = {.kind = MEMORY_V2}};
    snprintf(world.memory.folder, sizeof(world.memory.folder), "/tmp/vgpu-memory-XXXXXX");
    assert_non_null(mkdtemp(world.memory.folder));
    put(world.memory.folder, "cgroup.procs", "17\n4711\n");
    put(world.memory.folder, "cgroup.subtree_control", "");
    snprintf(keeper, sizeof(keeper), "%s/keeper", world.memory.folder);
    assert_int_equal(mkdir(keeper, 0700), 0);
    put(keeper, "cgroup.procs", "");
    snprintf(world.group, sizeof(world.group), "%s/vgpu-worker-%d-5", world.memory.folder,
             (int)getpid());
    assert_int_equal(mkdir(world.group, 0700), 0);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        put(world.group, files[i], "");
    }
    *state = &world;
    return 0;
}

static int end(void **state)
{
    struct world *world = *state;
    char command[PATH_MAX + 32];

    snprintf(command, sizeof(command), "rm -rf %s", world->memory.folder);
    return system(command); /* NOLINT(cert-env33-c,concurrency-mt-unsafe): a folder of ours */
}

static void a_limit_and_its_end(void **state)
{
    struct world *world = *state;
    char keeper[PATH_MAX + 64];

    snprintf(keeper, sizeof(keeper), "%s/keeper", world->memory.folder);
    assert_int_equal(memory_limit(&world->memory, 5, 99, 300 * MIB), 0);
    holds(keeper, "cgroup.procs", "4711"); /* the last one that moved */
    holds(world->memory.folder, "cgroup.subtree_control", "+memory");
    holds(world->group, "cgroup.procs", "99");
    holds(world->group, "memory.max", "314572800");
    holds(world->group, "memory.swap.max", "0");
    holds(world->group, "memory.oom.group", "1");
    assert_int_equal(memory_limit(&world->memory, 5, 99, 0), 0);
    holds(world->group, "memory.max", "max");
    put(world->group, "memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 0\n");
    assert_false(memory_end(&world->memory, 5));
    put(world->group, "memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 1\n");
    assert_true(memory_end(&world->memory, 5));
    assert_false(memory_end(&world->memory, 6)); /* it had no group */
}

static void a_limit_below_its_use_ends_nothing(void **state)
{
    struct world *world = *state;

    put(world->group, "memory.current", "209715201\n");
    assert_int_equal(memory_limit(&world->memory, 5, 99, 64 * MIB), 0);
    holds(world->group, "memory.max", "210763776"); /* 201 MiB */
}

static void without_groups(void **state)
{
    struct world *world = *state;

    world->memory.kind = MEMORY_NONE;
    assert_false(memory_possible(&world->memory));
    assert_true(memory_limit(&world->memory, 5, 99, MIB) < 0);
    assert_int_equal(memory_limit(&world->memory, 5, 99, 0), 0);
    assert_false(memory_end(&world->memory, 5));
    world->memory.kind = MEMORY_V2;
    assert_true(memory_limit(&world->memory, 7, 99, MIB) < 0); /* a group without its files */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_limit_and_its_end, begin, end),
        cmocka_unit_test_setup_teardown(a_limit_below_its_use_ends_nothing, begin, end),
        cmocka_unit_test_setup_teardown(without_groups, begin, end),
    };

    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
