/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module makes the socket that vgpu-mediator connects to. */
#ifndef KEEPER_LISTENER_H
#define KEEPER_LISTENER_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Listens on `path` (SOCK_SEQPACKET, non-blocking), for our own user alone (0600) or, unless gid is
 * -1, for this group, too (0660).  A dead socket there is replaced.  A descriptor, or -errno and
 * maybe an `error`.
 */
int listener_open(const char *path, gid_t gid, char *error, size_t bytes);

#endif /* KEEPER_LISTENER_H */
