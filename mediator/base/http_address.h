/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An HTTP address says where the metrics page listens, as an option gives it. */
#ifndef MEDIATOR_BASE_HTTP_ADDRESS_H
#define MEDIATOR_BASE_HTTP_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#define HTTP_METRICS_LISTEN_DEFAULT "127.0.0.1:9477"

struct http_address {
    bool off;
    const char *path; /* of a Unix socket, as given; NULL: none */
    socklen_t length;
    struct sockaddr_storage storage;
};

/*
 * "127.0.0.1:9477", "[::1]:9477", "/run/vgpu/metrics.sock", "off"; port 0: any free one.  `text`
 * outlives the address.  -EINVAL.
 */
int http_address_parse(struct http_address *address, const char *text);

#endif /* MEDIATOR_BASE_HTTP_ADDRESS_H */
