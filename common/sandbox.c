/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * The filter is a program that the kernel runs at each system call: it looks if the call is one of
 * this processor's own, then compares its number with that of each rule in turn.  A kernel since
 * 5.11 remembers which calls are allowed whatever their arguments are; for those it costs nothing.
 */
#include "common/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#endif
#ifndef SECCOMP_RET_LOG
#define SECCOMP_RET_LOG 0x7ffc0000u
#endif

#ifndef SECCOMP_FILTER_FLAG_LOG
#define SECCOMP_FILTER_FLAG_LOG 2u
#endif

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#define INSTRUCTIONS_PER_RULE 6u
#define INSTRUCTIONS_MORE 5u

const char *const sandbox_modes[] = {"kill", "log", "none", NULL};

#ifdef ARCH

struct program {
    struct sock_filter *code;
    unsigned short count;
};

static void put(struct program *program, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
    program->code[program->count++] = (struct sock_filter){code, yes, no, k};
}

static void load(struct program *program, size_t offset)
{
    put(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* The lower half of an argument, on processors that begin with it: as both of ours do. */
static size_t argument(uint32_t arg)
{
    return offsetof(struct seccomp_data, args) + sizeof(uint64_t) * arg;
}

static void put_rule(struct program *program, const struct sandbox_rule *rule)
{
    const uint32_t action =
        rule->error ? SECCOMP_RET_ERRNO | (rule->error & SECCOMP_RET_DATA) : SECCOMP_RET_ALLOW;

    if (!rule->mask) {
        put(program, BPF_JMP | BPF_JEQ | BPF_K, rule->number, 0, 1);
        put(program, BPF_RET | BPF_K, action, 0, 0);
        return;
    }
    put(program, BPF_JMP | BPF_JEQ | BPF_K, rule->number, 0, 5);
    load(program, argument(rule->arg));
    put(program, BPF_ALU | BPF_AND | BPF_K, rule->mask, 0, 0);
    put(program, BPF_JMP | BPF_JEQ | BPF_K, rule->value, 0, 1);
    put(program, BPF_RET | BPF_K, action, 0, 0);
    load(program, offsetof(struct seccomp_data, nr));
}

static int enter(struct program *program, const struct sandbox_rule *rules, size_t count,
                 enum sandbox_mode mode)
{
    const uint32_t other = mode == SANDBOX_LOG      ? SECCOMP_RET_LOG
                           : mode == SANDBOX_REFUSE ? SECCOMP_RET_ERRNO | EPERM
                                                    : SECCOMP_RET_KILL_PROCESS;
    unsigned long flags = SECCOMP_FILTER_FLAG_TSYNC;
    struct sock_fprog what = {0, program->code};
    long ret;

    load(program, offsetof(struct seccomp_data, arch));
    put(program, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    put(program, BPF_RET | BPF_K, other, 0, 0);
    load(program, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < count; i++) {
        put_rule(program, &rules[i]);
    }
    put(program, BPF_RET | BPF_K, other, 0, 0);
    what.len = program->count;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return -errno;
    }
    flags |= mode == SANDBOX_REFUSE ? SECCOMP_FILTER_FLAG_LOG : 0;
    ret = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &what);
    if (ret < 0 && errno == EINVAL) { /* before Linux 4.14 */
        ret = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &what);
    }
    return ret < 0 ? -errno : ret > 0 ? -ESRCH : 0; /* a thread with a filter of its own */
}

int sandbox_enter(const struct sandbox_rule *rules, size_t count, enum sandbox_mode mode)
{
    struct program program = {0};
    int ret;

    if (mode == SANDBOX_NONE) {
        return 0;
    }
    if (count * INSTRUCTIONS_PER_RULE + INSTRUCTIONS_MORE > BPF_MAXINSNS) {
        return -E2BIG;
    }
    program.code = calloc(count * INSTRUCTIONS_PER_RULE + INSTRUCTIONS_MORE, sizeof(*program.code));
    if (!program.code) {
        return -ENOMEM;
    }
    ret = enter(&program, rules, count, mode);
    free(program.code);
    return ret;
}

#else

int sandbox_enter(const struct sandbox_rule *rules, size_t count, enum sandbox_mode mode)
{
    (void)rules;
    (void)count;
    return mode == SANDBOX_NONE ? 0 : -ENOSYS;
}

#endif
