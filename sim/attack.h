/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module makes workloads that try to break the promise, by kind: they are drawn at
 * random, and changed a little.  What is drawn depends on the random numbers alone.
 */
#ifndef SIM_ATTACK_H
#define SIM_ATTACK_H

#include "sim/rng.h"
#include "sim/sim.h"

enum attack_kind {
    ATTACK_PAUSES,      /* some rest between their jobs, others have long ones */
    ATTACK_BURSTS,      /* batches and phases of work */
    ATTACK_TINY_HUGE,   /* many tiny jobs, then long ones */
    ATTACK_DISCONNECTS, /* somebody leaves and comes back */
    ATTACK_ASIDE,       /* jobs that overrun */
    ATTACK_PRIORITIES,  /* extreme shares, and shares that change */
    ATTACK_CRUMBS,      /* many VMs of small jobs against one */
    ATTACK_LIES,        /* workers that report other times, or take up jobs late */
    ATTACK_OPEN,        /* requests that come whatever happens */
    ATTACK_MOVES,       /* VMs that change their pool */
    ATTACK_KINDS,
};

const char *attack_name(enum attack_kind kind);
/* -1 when there is no such kind. */
int attack_from_name(const char *name);

/* `config` has the defaults; groups, GPUs, pools and seed are filled in. */
void attack_draw(struct sim_config *config, enum attack_kind kind, struct rng *rng);
void attack_mutate(struct sim_config *config, enum attack_kind kind, struct rng *rng);

#endif /* SIM_ATTACK_H */
