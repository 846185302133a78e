/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module takes from a worker process, before its program begins: rights, network, the host's
 * devices and other processes' files.  All of it happens in the child, between fork() and exec.
 */
#ifndef KEEPER_CONFINE_H
#define KEEPER_CONFINE_H

#include <stdint.h>
#include <sys/types.h>

#include "vgpu/vgpu_keeper.h"

struct confine {
    uint32_t parts;      /* VGPU_KEEPER_OWN_* */
    uid_t uid;           /* and gid, with OWN_UID */
    const char *program; /* the folder that has it stays visible, */
    const char *cache;   /* and so does this one; NULL: none */
};

/*
 * Does it to the calling process, for good.  0, or -errno and *step says what failed: then the
 * process is half confined and must end.
 */
int confine_enter(const struct confine *confine, enum vgpu_keeper_step *step);

/*
 * Which of `wanted` can be had here, tried in a child that ends.  What can't is logged, with the
 * reason.
 */
uint32_t confine_possible(const struct confine *confine, uint32_t wanted);

#endif /* KEEPER_CONFINE_H */
