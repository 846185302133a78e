/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For LD_PRELOAD: one call of a program fails, the VGPU_FAIL_CALL-th of its kind, as if the host
 * had nothing left.  VGPU_FAIL_KIND says which: "memory", or "calls", those that make descriptors
 * and mappings.  VGPU_FAIL_PROGRAM is the program's name; others are left alone.  At the end the
 * number of calls goes to VGPU_FAIL_COUNT, a file.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);

enum kind { KIND_NONE, KIND_MEMORY, KIND_CALLS };

static enum kind kind;
static unsigned long fail_at, calls;

__attribute__((constructor)) static void begin(void)
{
    const char *program = getenv("VGPU_FAIL_PROGRAM"), *which = getenv("VGPU_FAIL_KIND");
    const char *number = getenv("VGPU_FAIL_CALL");

    if (program && which && strcmp(program, program_invocation_short_name) == 0) {
        fail_at = number ? strtoul(number, NULL, 10) : 0;
        kind = strcmp(which, "memory") == 0 ? KIND_MEMORY : KIND_CALLS;
    }
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("VGPU_FAIL_COUNT");
    char text[32];
    int fd;

    if (kind == KIND_NONE || !path) {
        return;
    }
    kind = KIND_NONE;
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0) {
        ssize_t n = write(fd, text, (size_t)snprintf(text, sizeof(text), "%lu\n", calls));

        (void)n;
        close(fd);
    }
}

/* Is it this one's turn to fail? */
static int fails(enum kind of)
{
    return of == kind && __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) == fail_at;
}

void *malloc(size_t bytes)
{
    return fails(KIND_MEMORY) ? (errno = ENOMEM, NULL) : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return fails(KIND_MEMORY) ? (errno = ENOMEM, NULL) : __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
    return fails(KIND_MEMORY) ? (errno = ENOMEM, NULL) : __libc_realloc(old, bytes);
}

/* The next one of this name, which is looked up once. */
#define NEXT(name)                                                                                 \
    static __typeof__(&name) next;                                                                 \
    if (!next) {                                                                                   \
        next = (__typeof__(next))dlsym(RTLD_NEXT, #name);                                          \
    }

#define WRAP(name, error, parameters, arguments)                                                   \
    int name parameters                                                                            \
    {                                                                                              \
        NEXT(name)                                                                                 \
        return fails(KIND_CALLS) ? (errno = (error), -1) : next arguments;                         \
    }

WRAP(socket, EMFILE, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(socketpair, EMFILE, (int domain, int type, int protocol, int fds[2]),
     (domain, type, protocol, fds))
WRAP(accept4, EMFILE,
     (int fd, struct sockaddr *restrict address, socklen_t *restrict length, int flags),
     (fd, address, length, flags))
WRAP(bind, ENOSPC, (int fd, const struct sockaddr *address, socklen_t length),
     (fd, address, length))
WRAP(listen, ENOMEM, (int fd, int backlog), (fd, backlog))
WRAP(eventfd, EMFILE, (unsigned int value, int flags), (value, flags))
WRAP(timerfd_create, EMFILE, (int clock, int flags), (clock, flags))
WRAP(memfd_create, EMFILE, (const char *name, unsigned int flags), (name, flags))
WRAP(epoll_create1, EMFILE, (int flags), (flags))
WRAP(epoll_ctl, ENOMEM, (int fd, int op, int target, struct epoll_event *event),
     (fd, op, target, event))
WRAP(pipe2, EMFILE, (int fds[2], int flags), (fds, flags))
WRAP(fsync, EIO, (int fd), (fd))
WRAP(ftruncate, ENOSPC, (int fd, off_t bytes), (fd, bytes))
WRAP(ftruncate64, ENOSPC, (int fd, off64_t bytes), (fd, bytes))

#define WRAP_MMAP(name, offset_type)                                                               \
    void *name(void *at, size_t bytes, int protection, int flags, int fd, offset_type offset)      \
    {                                                                                              \
        NEXT(name)                                                                                 \
        return fails(KIND_CALLS) ? (errno = ENOMEM, MAP_FAILED)                                    \
                                 : next(at, bytes, protection, flags, fd, offset);                 \
    }

WRAP_MMAP(mmap, off_t)
WRAP_MMAP(mmap64, off64_t)

static int open_one(int (*next)(const char *, int, ...), const char *path, int flags, mode_t mode)
{
    return fails(KIND_CALLS) ? (errno = EMFILE, -1) : next(path, flags, mode);
}

#define WRAP_OPEN(name)                                                                            \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        mode_t mode = 0;                                                                           \
        va_list list;                                                                              \
        NEXT(name)                                                                                 \
        va_start(list, flags);                                                                     \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                     \
            mode = va_arg(list, mode_t);                                                           \
        }                                                                                          \
        va_end(list);                                                                              \
        return open_one(next, path, flags, mode);                                                  \
    }

WRAP_OPEN(open)
WRAP_OPEN(open64)
