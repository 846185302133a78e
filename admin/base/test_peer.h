/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The peer is the other end of an admin connection: a thread that plays the part that a test
 * gives it.
 */
#ifndef ADMIN_BASE_TEST_PEER_H
#define ADMIN_BASE_TEST_PEER_H

#include "admin/test_support.h"

#include <pthread.h>

#include "admin/base/link.h"
#include "vgpu/vgpu_admin.h"

#define PEER_LONG_MS 60000 /* no test waits for its end */
#define PEER_SHORT_MS 50   /* for what never comes */
#define PEER_HEADER sizeof(VGPUAdminResponse)

/* The socket's path, once it listens. */
extern char peer_path[];
/* What it was asked last, for peer_finish() and later; the body ends with a NUL. */
extern VGPUAdminRequest peer_asked;
extern char peer_body[VGPU_ADMIN_BODY_MAX + 1];

/* Listens, and takes no connection. */
void peer_listen(int backlog);
void peer_unlisten(void);
/* As one that was killed: the file stays. */
void peer_abandon(void);

/* Takes so many connections, one after the other, and plays the part on each. */
void peer_start(void (*part)(int fd), unsigned connections);
/* Waits until all of them are played. */
void peer_finish(void);

/* ---- For parts ---- */

/* Reads a request into peer_asked and peer_body; false: there was none. */
bool peer_hear(int fd);
void peer_tell(int fd, uint32_t status, const char *text);
/* Returns when the client has gone. */
void peer_stay(int fd);

/* ---- For the test ---- */

struct admin_link *peer_link(int timeout_ms);
/* Fails the test unless this is in the text of the link's error. */
void peer_expect_error(const struct admin_link *link, const char *expected);

#endif /* ADMIN_BASE_TEST_PEER_H */
