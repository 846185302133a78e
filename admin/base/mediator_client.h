/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's side of the mediator's admin socket (include/vgpu/vgpu_admin.h).
 *
 * Results are 0 or negative:
 *   -ECONNREFUSED, -ENOENT, -EACCES, -ETIMEDOUT, -ECONNRESET, -EPROTO, -EUSERS (it has no place
 *            for another client)
 *            the mediator cannot be asked; mediator_is_unreachable() is true
 *   other    the mediator answered that it failed
 * and mediator_error() has the text.
 */
#ifndef ADMIN_BASE_MEDIATOR_CLIENT_H
#define ADMIN_BASE_MEDIATOR_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct mediator;

/* Does not connect yet; NULL without memory.  path is copied. */
struct mediator *mediator_new(const char *path, int timeout_ms);
void mediator_free(struct mediator *mediator);

/* body may be NULL (it is not stolen).  *answer is the caller's: a JSON object. */
int mediator_request(struct mediator *mediator, uint32_t command, uint32_t param1,
                     const json_t *body, json_t **answer);
/* The same for an answer that is plain text, which the caller frees. */
int mediator_request_text(struct mediator *mediator, uint32_t command, uint32_t param1,
                          char **answer);

/* Starts a stream of answers, then waits for them one at a time without a limit.
 * -EINTR: a signal came. */
int mediator_stream(struct mediator *mediator, uint32_t command);
int mediator_next(struct mediator *mediator, json_t **answer);

const char *mediator_error(const struct mediator *mediator);
bool mediator_is_unreachable(int result);

#endif /* ADMIN_BASE_MEDIATOR_CLIENT_H */
