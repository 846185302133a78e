/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the administration socket share this: the real server and command table on a real
 * core with three VMs and two GPUs, without sessions or workers.  The test is its clients, in
 * the same thread: it speaks, lets the loop run, and reads.
 */
#ifndef MEDIATOR_CONTROL_TEST_ADMIN_H
#define MEDIATOR_CONTROL_TEST_ADMIN_H

#include <jansson.h>

#include "mediator/mediator.h"
#include "mediator/test_loop.h"
#include "vgpu/vgpu_admin.h"

#define ADMIN_HOSTILE_NAME "quote \" \\ \x01 \x7f" /* of the third VM */
#define ADMIN_TEST(name) cmocka_unit_test_setup_teardown(name, admin_setup, admin_teardown)
#define EACH(array) (sizeof(array) / sizeof((array)[0]))

extern struct mediator mediator;

int admin_setup(void **state);
int admin_teardown(void **state);

/* A new connection. */
int admin_client(void);
/* It has ended, and the server knows. */
void admin_leave(int fd);
void admin_say(int fd, uint32_t command, uint32_t param1, const char *body);
/* The status of the next answer, and its text; -1: there is none, the connection has ended. */
int64_t admin_hear(int fd, char **text);
bool admin_has_ended(int fd);
json_t *admin_hear_json(int fd, int64_t status);
/* Says it, and takes the answer, which must have status 0. */
json_t *admin_ask(int fd, uint32_t command, const char *body);
/* The command is answered so; part: of the error, or NULL. */
void admin_expect(int fd, uint32_t command, uint32_t param1, const char *body, int status,
                  const char *part);
bool admin_paused(uint32_t gpu);

#endif /* MEDIATOR_CONTROL_TEST_ADMIN_H */
