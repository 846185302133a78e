/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "mediator/base/http_address.h"

/* The part behind the last colon; -1 when it is no port. */
static int parse_port(const char *text)
{
    size_t length = strlen(text);
    long port;

    if (length == 0 || length > 5 || strspn(text, "0123456789") != length) {
        return -1;
    }
    port = strtol(text, NULL, 10);
    return port <= 65535 ? (int)port : -1;
}

int http_address_parse(struct http_address *address, const char *text)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address->storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address->storage;
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    size_t length = colon ? (size_t)(colon - text) : 0;
    int port = colon ? parse_port(colon + 1) : -1;

    memset(address, 0, sizeof(*address));
    if (strcmp(text, "off") == 0) {
        address->off = true;
        return 0;
    }
    if (port < 0 || length == 0 || length >= sizeof(host)) {
        return -EINVAL;
    }
    memcpy(host, text, length);
    host[length] = '\0';
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        address->length = sizeof(*v4);
        return 0;
    }
    if (host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1) {
            v6->sin6_family = AF_INET6;
            v6->sin6_port = htons((uint16_t)port);
            address->length = sizeof(*v6);
            return 0;
        }
    }
    return -EINVAL;
}
