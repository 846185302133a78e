/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server is the administration socket, which docs/admin-protocol.md describes.
 *
 * Up to ADMIN_CLIENTS_MAX at a time, the next one is told that there is no place;
 * each has one request at work and at most ADMIN_OUT_MAX_BYTES of answers waiting,
 * beyond which it is disconnected.
 * Who may connect is the file's mode: its owner and the group vgpu.
 */
#ifndef MEDIATOR_CONTROL_SERVER_H
#define MEDIATOR_CONTROL_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "vgpu/vgpu_admin.h"

#define ADMIN_CLIENTS_MAX 32u
#define ADMIN_OUT_MAX_BYTES (VGPU_ADMIN_DATA_MAX + 1048576u)
#define ADMIN_STREAM_MAX_BYTES 1048576u /* of a listener to events that does not read */

struct admin_server;
struct mediator;

/* -errno with an `error`. */
int admin_server_start(struct mediator *mediator, const char *path, struct admin_server **server,
                       char *error, size_t error_bytes);
/* Closes all, removes the socket. */
void admin_server_stop(struct admin_server *server);
/* After the loop has run since. */
void admin_server_free(struct admin_server *server);

uint32_t admin_server_clients(const struct admin_server *server);

#endif /* MEDIATOR_CONTROL_SERVER_H */
