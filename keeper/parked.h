/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections between two mediators: each is a pair of descriptors that is held for a while, and
 * that nobody here reads.
 */
#ifndef KEEPER_PARKED_H
#define KEEPER_PARKED_H

#include <stdint.h>

#include "vgpu/vgpu_keeper.h"

struct parked {
    int (*pairs)[VGPU_KEEPER_FDS]; /* the first one was parked last */
    uint32_t count;
    uint64_t until_ns; /* while there are some */
};

/*
 * An empty one is all zero.  Takes both descriptors; what there is no room for is closed.  All are
 * held until the latest `until_ns`.
 */
void parked_add(struct parked *parked, const int fds[VGPU_KEEPER_FDS], uint64_t until_ns);
/* The next one, which stays here; NULL: there is none. */
const int *parked_next(const struct parked *parked);
/* Closes that one: somebody else has it now. */
void parked_drop_next(struct parked *parked);
/* Closes all that were there for too long, and says how many that were. */
uint32_t parked_expire(struct parked *parked, uint64_t now_ns);
/* Closes all, and frees the memory. */
void parked_drop_all(struct parked *parked);

#endif /* KEEPER_PARKED_H */
