/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module says whether another process may connect to a socket of ours.  It looks at the
 * files' modes, as the kernel does.
 */
#ifndef MEDIATOR_SESSIONS_SOCKET_ACCESS_H
#define MEDIATOR_SESSIONS_SOCKET_ACCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "mediator/identity/process.h"

#define SOCKET_ACCESS_TEXT_BYTES 256u

/*
 * The folders on the way to `path` must let it through, and the socket must be writable for it.
 * True also where that can't be told: a file with an access control list, a process in more groups
 * than are known, a path that can't be looked at.  False: `obstacle` names the file that is in the
 * way, its owner and mode.  What SELinux or AppArmor forbid is not seen.
 */
bool socket_access_may(const char *path, const struct process_owner *who, char *obstacle,
                       size_t bytes);

#endif /* MEDIATOR_SESSIONS_SOCKET_ACCESS_H */
