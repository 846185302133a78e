/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keeper/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"

#define V2_ROOT "/sys/fs/cgroup"
#define V1_ROOT "/sys/fs/cgroup/memory"
#define TEXT_BYTES 4096u

/* ---- files ---- */

/* What folder/name holds, cut at TEXT_BYTES; false: it can't be read. */
static bool read_file(const char *folder, const char *name, char text[TEXT_BYTES])
{
    char path[PATH_MAX + 64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    n = read(fd, text, TEXT_BYTES - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n >= 0;
}

static int write_file(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX + 64];
    int fd, ret = 0;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (write(fd, text, strlen(text)) < 0) {
        ret = -errno;
    }
    close(fd);
    return ret;
}

static int write_number(const char *folder, const char *name, uint64_t number)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, number);
    return write_file(folder, name, text);
}

/* Behind a word at a line's beginning; 0: it is not there. */
static uint64_t number_behind(const char *text, const char *word)
{
    size_t length = strlen(word);

    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, word, length) == 0) {
            return strtoull(line + length, NULL, 10);
        }
    }
    return 0;
}

/* ---- where we are ---- */

/* The keeper's group of a hierarchy: the line "N:NAME:PATH" of /proc/self/cgroup. */
static bool own_group(const char *lines, const char *name, char path[PATH_MAX])
{
    char wanted[32];
    const char *found;

    snprintf(wanted, sizeof(wanted), ":%s:", name);
    found = strstr(lines, wanted);
    if (!found) {
        return false;
    }
    found += strlen(wanted);
    snprintf(path, PATH_MAX, "%.*s", (int)strcspn(found, "\n"), found);
    return true;
}

static bool has_word(const char *text, const char *word)
{
    const char *found = strstr(text, word);

    return found && (found == text || found[-1] == ' ') &&
           strchr(" \n", found[strlen(word)]) != NULL;
}

/* Is the process of this number, in decimals, ours or one that we have started? */
static bool is_own(const char *pid)
{
    char folder[64], text[TEXT_BYTES];
    const char *behind_name;

    if (strtol(pid, NULL, 10) == getpid()) {
        return true;
    }
    snprintf(folder, sizeof(folder), "/proc/%.20s", pid);
    behind_name = read_file(folder, "stat", text) ? strrchr(text, ')') : NULL;
    /* ") S PPID" */
    return behind_name && strlen(behind_name) > 4 && strtol(behind_name + 4, NULL, 10) == getpid();
}

/* Is nobody else in the group? */
static bool is_alone(const char *folder)
{
    char text[TEXT_BYTES], *line, *next;

    if (!read_file(folder, "cgroup.procs", text)) {
        return false;
    }
    for (line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next)) {
        if (!is_own(line)) {
            return false;
        }
    }
    return true;
}

void memory_init(struct memory *memory)
{
    char lines[TEXT_BYTES], group[PATH_MAX], text[TEXT_BYTES];

    memset(memory, 0, sizeof(*memory));
    if (!read_file("/proc/self", "cgroup", lines)) {
        return;
    }
    if (own_group(lines, "memory", group)) {
        snprintf(memory->folder, sizeof(memory->folder), "%.*s%.*s", (int)sizeof(V1_ROOT), V1_ROOT,
                 (int)(sizeof(memory->folder) - sizeof(V1_ROOT) - 1), group);
        memory->kind = access(memory->folder, W_OK) == 0 ? MEMORY_V1 : MEMORY_NONE;
    } else if (own_group(lines, "", group)) {
        snprintf(memory->folder, sizeof(memory->folder), "%.*s%.*s", (int)sizeof(V2_ROOT), V2_ROOT,
                 (int)(sizeof(memory->folder) - sizeof(V2_ROOT) - 1), group);
        memory->kind = read_file(memory->folder, "cgroup.controllers", text) &&
                               has_word(text, "memory") && access(memory->folder, W_OK) == 0 &&
                               is_alone(memory->folder)
                           ? MEMORY_V2
                           : MEMORY_NONE;
    }
}

bool memory_possible(const struct memory *memory)
{
    return memory->kind != MEMORY_NONE;
}

/* ---- groups ---- */

/* The keeper's own name is in it: two keepers may have one group, as those of tests do. */
static void group_of(const struct memory *memory, unsigned place, char folder[PATH_MAX + 32])
{
    snprintf(folder, PATH_MAX + 32, "%s/vgpu-worker-%d-%u", memory->folder, (int)getpid(), place);
}

/* A group with groups below it that are counted has no processes: all that is there moves. */
static int divide(struct memory *memory)
{
    char keeper[PATH_MAX + 32], text[TEXT_BYTES], *line, *next;
    int ret;

    if (memory->kind == MEMORY_V1 || memory->divided) {
        return 0;
    }
    snprintf(keeper, sizeof(keeper), "%s/keeper", memory->folder);
    if (mkdir(keeper, 0755) < 0 && errno != EEXIST) {
        return -errno;
    }
    if (!read_file(memory->folder, "cgroup.procs", text)) {
        return -EIO;
    }
    for (line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next)) {
        write_file(keeper, "cgroup.procs", line); /* one that has ended meanwhile is no matter */
    }
    ret = write_file(memory->folder, "cgroup.subtree_control", "+memory");
    memory->divided = ret == 0;
    return ret;
}

/* As much as the group has, if that is more: rounded up, for it goes on while we look. */
static uint64_t not_below_use(const struct memory *memory, const char *folder, uint64_t bytes)
{
    char text[TEXT_BYTES];
    const uint64_t step = 1u << 20;
    uint64_t used = 0;

    if (read_file(folder, memory->kind == MEMORY_V2 ? "memory.current" : "memory.usage_in_bytes",
                  text)) {
        used = strtoull(text, NULL, 10);
    }
    return used > bytes ? (used / step + 1) * step : bytes;
}

static int set_limit(const struct memory *memory, const char *folder, uint64_t bytes)
{
    int ret;

    if (memory->kind == MEMORY_V1) {
        /* Where swap is counted it is to be no way around; it may not be below the other one. */
        write_file(folder, "memory.memsw.limit_in_bytes", "-1");
        if (bytes == 0) {
            return write_file(folder, "memory.limit_in_bytes", "-1");
        }
        ret = write_number(folder, "memory.limit_in_bytes", bytes);
        write_number(folder, "memory.memsw.limit_in_bytes", bytes);
        return ret;
    }
    if (bytes == 0) {
        return write_file(folder, "memory.max", "max");
    }
    write_file(folder, "memory.swap.max", "0");
    write_file(folder, "memory.oom.group", "1");
    return write_number(folder, "memory.max", bytes);
}

int memory_limit(struct memory *memory, unsigned place, pid_t pid, uint64_t bytes)
{
    char folder[PATH_MAX + 32];
    bool is_new;
    int ret;

    group_of(memory, place, folder);
    if (!memory_possible(memory)) {
        return bytes ? -ENOTSUP : 0;
    }
    ret = divide(memory);
    if (ret < 0) {
        return ret;
    }
    is_new = mkdir(folder, 0755) == 0;
    if (!is_new && errno != EEXIST) {
        return -errno;
    }
    ret = write_number(folder, "cgroup.procs", (uint64_t)pid);
    if (ret == 0) {
        ret = set_limit(memory, folder, bytes ? not_below_use(memory, folder, bytes) : 0);
    }
    if (ret < 0) {
        log_warning("worker %d: its host memory can't be limited: %s", (int)pid, strerror(-ret));
    }
    return ret;
}

bool memory_end(struct memory *memory, unsigned place)
{
    char folder[PATH_MAX + 32], text[TEXT_BYTES];
    bool killed;

    if (!memory_possible(memory)) {
        return false;
    }
    group_of(memory, place, folder);
    killed = read_file(folder, memory->kind == MEMORY_V2 ? "memory.events" : "memory.oom_control",
                       text) &&
             number_behind(text, "oom_kill ") > 0;
    /* What a worker has left behind may still be in it; then the place's next one takes it over. */
    rmdir(folder);
    return killed;
}
