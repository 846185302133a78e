#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# libuv runs idle, prepare and check handles in the reverse of the order in which they were
# started, and the callbacks of uv_close() in the reverse of the order of the calls. Only timers of
# one moment run in the order of uv_timer_start(). So what a close callback frees must not be
# needed by the callback of a handle that was closed earlier.
. "$(dirname "$0")/lib.sh"
need cc
get libuv1=1.44.2-1+deb12u1 libuv1-dev=1.44.2-1+deb12u1
guess "everything happens in the order of the calls"

cat >"$T/order.c" <<'C'
#include <stdio.h>
#include <uv.h>

#define HANDLER(kind)                                                                              \
    static void on_##kind(uv_##kind##_t *handle)                                                   \
    {                                                                                              \
        printf(#kind " %s\n", (const char *)handle->data);                                         \
        uv_##kind##_stop(handle);                                                                  \
    }
HANDLER(timer)
HANDLER(idle)
HANDLER(prepare)

static void on_close(uv_handle_t *handle)
{
    printf("close %s\n", (const char *)handle->data);
}

int main(void)
{
    static char names[][2] = {"1", "2", "3"};
    uv_loop_t *loop = uv_default_loop();
    uv_timer_t timers[3];
    uv_idle_t idles[3];
    uv_prepare_t prepares[3];

    for (int i = 0; i < 3; i++) {
        uv_timer_init(loop, &timers[i]);
        uv_idle_init(loop, &idles[i]);
        uv_prepare_init(loop, &prepares[i]);
        timers[i].data = idles[i].data = prepares[i].data = names[i];
        uv_timer_start(&timers[i], on_timer, 1, 0);
        uv_idle_start(&idles[i], on_idle);
        uv_prepare_start(&prepares[i], on_prepare);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    for (int i = 0; i < 3; i++) {
        uv_close((uv_handle_t *)&timers[i], on_close);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    return 0;
}
C
lib=$R/usr/lib/x86_64-linux-gnu
cc -I"$R/usr/include" "$T/order.c" -L"$lib" -luv -o "$T/order"
LD_LIBRARY_PATH=$lib "$T/order" >"$T/out"
for kind in timer idle prepare close; do
    case $kind in timer) recorded="1 2 3 " ;; *) recorded="3 2 1 " ;; esac
    saw $kind "$(sed -n "s/^$kind //p" "$T/out" | tr '\n' ' ')" "$recorded"
done
end
