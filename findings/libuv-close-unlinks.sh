#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# uv_close() on a listening pipe removes whatever has the pipe's path by then. If the socket was
# moved aside and another server bound the path (that is how a service is replaced without a gap),
# closing the old server takes the new one's socket away; nobody can connect any more, and the new
# server doesn't notice. The old one, under its new name, stays.
. "$(dirname "$0")/lib.sh"
need cc
get libuv1=1.44.2-1+deb12u1 libuv1-dev=1.44.2-1+deb12u1
guess "only the socket that this handle made is removed, or none"

cat >"$T/close.c" <<'C'
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

static void on_connection(uv_stream_t *server, int status)
{
    (void)server;
    (void)status;
}

static int serve(uv_pipe_t *server, const char *path)
{
    uv_pipe_init(uv_default_loop(), server, 0);
    return uv_pipe_bind(server, path) | uv_listen((uv_stream_t *)server, 5, on_connection);
}

int main(void)
{
    uv_pipe_t old, new;

    printf("first %d\n", serve(&old, "socket"));
    rename("socket", "aside");
    printf("second %d\n", serve(&new, "socket"));
    uv_close((uv_handle_t *)&old, NULL);
    uv_run(uv_default_loop(), UV_RUN_NOWAIT);
    printf("socket %s\n", access("socket", F_OK) ? "gone" : "there");
    printf("aside %s\n", access("aside", F_OK) ? "gone" : "there");
    return 0;
}
C
lib=$R/usr/lib/x86_64-linux-gnu
cc -I"$R/usr/include" "$T/close.c" -L"$lib" -luv -o "$T/close"
cd "$T"
LD_LIBRARY_PATH=$lib "$T/close" >out
saw "first server listens" "$(sed -n 's/^first //p' out)" 0
saw "second server listens" "$(sed -n 's/^second //p' out)" 0
saw "the second one's socket" "$(sed -n 's/^socket //p' out)" gone
saw "the first one's socket" "$(sed -n 's/^aside //p' out)" there
end
