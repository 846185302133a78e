/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A helper is a process that does for the mediator what only root may: it looks at QEMUs, and makes
 * sockets in their roots (vgpu_host.h).  A folder there can be slow to reach, so the keeper's own
 * loop does none of this.
 */
#ifndef KEEPER_HELPER_H
#define KEEPER_HELPER_H

#include <sys/types.h>

/*
 * Starts one that serves `fd`, of which a copy of ours may stay open, for a mediator that runs as
 * `uid`.  It ends with that socket, and at SIGTERM.  `proc_path`: /proc.  Its pid, or -errno.
 */
pid_t helper_start(int fd, uid_t uid, const char *proc_path);

#endif /* KEEPER_HELPER_H */
