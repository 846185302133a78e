/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module ends all processes of a uid, though they fight back. */
#ifndef KEEPER_SWEEP_H
#define KEEPER_SWEEP_H

#include <sys/types.h>

/*
 * Waits for the end of a child that has, or may have, the uid of others: they can stop it, and then
 * it would never end.  So it is killed then.  Its status as waitpid() has it.
 */
int sweep_await(pid_t pid);

/*
 * 0: nothing has this uid.  -EBUSY: something had; it is killed, but not gone yet, or it has
 * disturbed us: try again.  Another -errno: that could not be found out, as of any other uid now.
 * Who is not root can give nobody a uid, and has nothing to do.  It takes some seconds at most.
 */
int sweep(uid_t uid);

#endif /* KEEPER_SWEEP_H */
