/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module tells the service manager how we are, by systemd's sd_notify protocol. */
#ifndef COMMON_NOTIFY_H
#define COMMON_NOTIFY_H

/* "READY=1", "STOPPING=1", ... Does nothing when nobody asked for it (NOTIFY_SOCKET). */
void notify_manager(const char *state);

#endif /* COMMON_NOTIFY_H */
