/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "admin/base/test_peer.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

char peer_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
VGPUAdminRequest peer_asked;
char peer_body[VGPU_ADMIN_BODY_MAX + 1];

static int listener = -1;
static pthread_t thread;
static void (*played)(int fd);
static unsigned wanted; /* connections */

static void *play(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < wanted; i++) {
        int fd = accept(listener, NULL, NULL);

        if (fd < 0) {
            break;
        }
        played(fd);
        close(fd);
    }
    return NULL;
}

void peer_listen(int backlog)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(peer_path, sizeof(peer_path), "%s/link.sock", support_folder());
    memcpy(address.sun_path, peer_path, sizeof(peer_path));
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, backlog), 0);
}

void peer_abandon(void)
{
    close(listener);
}

void peer_unlisten(void)
{
    peer_abandon();
    unlink(peer_path);
}

void peer_start(void (*part)(int fd), unsigned connections)
{
    peer_listen(8);
    played = part;
    wanted = connections;
    memset(&peer_asked, 0, sizeof(peer_asked));
    memset(peer_body, 0, sizeof(peer_body));
    assert_int_equal(pthread_create(&thread, NULL, play, NULL), 0);
}

void peer_finish(void)
{
    assert_int_equal(pthread_join(thread, NULL), 0);
    peer_unlisten();
}

bool peer_hear(int fd)
{
    uint32_t bytes;

    if (recv(fd, &peer_asked, sizeof(peer_asked), MSG_WAITALL) != (ssize_t)sizeof(peer_asked)) {
        return false;
    }
    memset(peer_body, 0, sizeof(peer_body));
    bytes = peer_asked.command >= VGPU_ADMIN_SET_POLICY ? peer_asked.param2 : 0;
    return bytes == 0 || (bytes <= VGPU_ADMIN_BODY_MAX &&
                          recv(fd, peer_body, bytes, MSG_WAITALL) == (ssize_t)bytes);
}

void peer_tell(int fd, uint32_t status, const char *text)
{
    VGPUAdminResponse header = {VGPU_ADMIN_MAGIC, status, (uint32_t)strlen(text)};

    (void)!send(fd, &header, sizeof(header), MSG_NOSIGNAL);
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

void peer_stay(int fd)
{
    char byte;

    while (recv(fd, &byte, 1, 0) > 0) {
    }
}

struct admin_link *peer_link(int timeout_ms)
{
    struct admin_link *link = admin_link_new(peer_path, timeout_ms);

    assert_non_null(link);
    return link;
}

void peer_expect_error(const struct admin_link *link, const char *expected)
{
    if (!strstr(admin_link_error(link), expected)) {
        fail_msg("\"%s\" is not in \"%s\"", expected, admin_link_error(link));
    }
}
