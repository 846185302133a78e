#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# uv_backend_timeout(), by which a foreign loop learns how long it may sleep, is 0 until the loop
# has run once, whatever timers there are. A program that polls the loop's descriptor with that
# timeout before its first uv_run() spins; the timer's own due time is right all along.
. "$(dirname "$0")/lib.sh"
need cc
get libuv1=1.44.2-1+deb12u1 libuv1-dev=1.44.2-1+deb12u1
guess "with one timer in 60 s the timeout is 60,000 ms"

cat >"$T/timeout.c" <<'C'
#include <stdio.h>
#include <uv.h>

static void on_timer(uv_timer_t *timer)
{
    (void)timer;
}

int main(void)
{
    uv_loop_t *loop = uv_default_loop();
    uv_timer_t timer;

    uv_timer_init(loop, &timer);
    uv_timer_start(&timer, on_timer, 60000, 0);
    printf("%d", uv_backend_timeout(loop));
    printf(" %d", uv_timer_get_due_in(&timer) > 50000);
    uv_run(loop, UV_RUN_NOWAIT);
    printf(" %d\n", uv_backend_timeout(loop) > 50000);
    return 0;
}
C
lib=$R/usr/lib/x86_64-linux-gnu
cc -I"$R/usr/include" "$T/timeout.c" -L"$lib" -luv -o "$T/timeout"
LD_LIBRARY_PATH=$lib "$T/timeout" >"$T/out"
read -r before due after <"$T/out"
saw "timeout before the loop ran" "$before" 0
saw "timer's due time is over 50 s" "$due" 1
saw "timeout after it ran once is over 50 s" "$after" 1
end
