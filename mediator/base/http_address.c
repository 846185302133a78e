/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "common/parse.h"
#include "mediator/base/http_address.h"

int http_address_parse(struct http_address *address, const char *text)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address->storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address->storage;
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    size_t length = colon ? (size_t)(colon - text) : 0;
    uint32_t port;

    memset(address, 0, sizeof(*address));
    if (strcmp(text, "off") == 0) {
        address->off = true;
        return 0;
    }
    if (text[0] == '/') {
        address->path = text;
        return 0;
    }
    if (!colon || !parse_u32(colon + 1, 0, UINT16_MAX, &port) || length == 0 ||
        length >= sizeof(host)) {
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
