/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module limits which system calls a process may make from now on (seccomp).  The lists are
 * made from the source of each program: common/sandbox_list.py, common/syscalls.map.
 */
#ifndef COMMON_SANDBOX_H
#define COMMON_SANDBOX_H

#include <stddef.h>
#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANDBOX_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SANDBOX_SANITIZER 1
#endif
#ifndef SANDBOX_SANITIZER
#define SANDBOX_SANITIZER 0
#endif

enum sandbox_mode {
    SANDBOX_KILL, /* another call ends the process, by SIGSYS */
    SANDBOX_LOG,  /* the kernel logs it (dmesg or the audit log, type 1326), and it is made */
    SANDBOX_NONE,
    /*
     * It fails with EPERM, and the kernel logs it where it can.  For a process with a library of a
     * GPU's driver in it, whose calls differ by version: no option, but what is done without one.
     */
    SANDBOX_REFUSE,
};

/* By enum sandbox_mode, for options; all but REFUSE. */
extern const char *const sandbox_modes[];

/* One call.  Of several rules for the same one the first counts whose condition holds. */
struct sandbox_rule {
    uint32_t number;      /* __NR_* */
    uint32_t arg;         /* 0 to 5: its lower 32 bits, */
    uint32_t mask, value; /* of which those in the mask must be these; 0: no condition */
    uint32_t error;       /* 0: the call is made; else it fails so */
};

/*
 * For all threads of this process and all processes that it makes, for good.  0, also for
 * SANDBOX_NONE; or -errno: the kernel, or this build for this processor, has no seccomp.
 */
int sandbox_enter(const struct sandbox_rule *rules, size_t count, enum sandbox_mode mode);

#define SANDBOX_ENTER(rules, mode) sandbox_enter(rules, sizeof(rules) / sizeof((rules)[0]), mode)

#endif /* COMMON_SANDBOX_H */
