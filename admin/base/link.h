/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A link is the client's side of the mediator's admin socket (include/vgpu/vgpu_admin.h).
 *
 * Results are 0 or negative:
 *   -ECONNREFUSED, -ENOENT, -EACCES, -ETIMEDOUT, -ECONNRESET, -EPROTO, -EUSERS (it has no place
 *            for another client)
 *            the mediator cannot be asked; admin_link_is_unreachable() is true
 *   other    the mediator answered that it failed
 * and admin_link_error() has the text.
 */
#ifndef ADMIN_BASE_LINK_H
#define ADMIN_BASE_LINK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct admin_link;

/* Does not connect yet; NULL without memory.  path is copied. */
struct admin_link *admin_link_new(const char *path, int timeout_ms);
void admin_link_free(struct admin_link *link);

/* body may be NULL (it is not stolen).  *answer is the caller's: a JSON object. */
int admin_link_request(struct admin_link *link, uint32_t command, uint32_t param1,
                       const json_t *body, json_t **answer);
/* The same for an answer that is plain text, which the caller frees. */
int admin_link_request_text(struct admin_link *link, uint32_t command, uint32_t param1,
                            char **answer);

/* Starts a stream of answers, then waits for them one at a time without a limit.
 * -EINTR: a signal came. */
int admin_link_stream(struct admin_link *link, uint32_t command);
int admin_link_next(struct admin_link *link, json_t **answer);

const char *admin_link_error(const struct admin_link *link);
bool admin_link_is_unreachable(int result);

#endif /* ADMIN_BASE_LINK_H */
