/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "admin/test_faults.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include <jansson.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
char *__real_strdup(const char *text);
int __real_pipe2(int fds[2], int flags);
int __real_socket(int domain, int type, int protocol);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __real_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const argv[],
                        char *const environment[]);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
char *__wrap_strdup(const char *text);
int __wrap_pipe2(int fds[2], int flags);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const argv[],
                        char *const environment[]);

static unsigned left; /* calls until the one that fails; 0: none */
static bool failed;

void faults_at(unsigned k)
{
    left = k;
    failed = false;
}

bool faults_end(void)
{
    left = 0;
    return failed;
}

static bool fails(int error)
{
    if (left == 0 || --left > 0) {
        return false;
    }
    failed = true;
    errno = error;
    return true;
}

static void *json_allocate(size_t bytes)
{
    return fails(ENOMEM) ? NULL : __real_malloc(bytes);
}

void faults_in_json(bool wanted)
{
    json_set_alloc_funcs(wanted ? json_allocate : malloc, free);
}

unsigned faults_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    while (folder && readdir(folder)) {
        count++;
    }
    if (folder) {
        closedir(folder);
    }
    return count;
}

/* ---- what the programs' own calls come to ---- */

void *__wrap_malloc(size_t bytes)
{
    return fails(ENOMEM) ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails(ENOMEM) ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fails(ENOMEM) ? NULL : __real_realloc(old, bytes);
}

char *__wrap_strdup(const char *text)
{
    return fails(ENOMEM) ? NULL : __real_strdup(text);
}

int __wrap_pipe2(int fds[2], int flags)
{
    return fails(EMFILE) ? -1 : __real_pipe2(fds, flags);
}

int __wrap_socket(int domain, int type, int protocol)
{
    return fails(EMFILE) ? -1 : __real_socket(domain, type, protocol);
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    return fails(ENOMEM) ? -1 : __real_poll(fds, count, timeout_ms);
}

int __wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const argv[],
                        char *const environment[])
{
    return fails(EAGAIN) ? EAGAIN
                         : __real_posix_spawnp(pid, file, actions, attributes, argv, environment);
}
