#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# UV_RUN_ONCE returns after the next event, one would say. When a timer is due already as the turn
# begins, libuv runs its callback and then still sleeps until something else happens, here until
# another timer 300 ms later. What waits for a condition that the first callback brings about waits
# for that, too. (1.45 moved the timers behind the poll.)
. "$(dirname "$0")/lib.sh"
need cc
get libuv1=1.44.2-1+deb12u1 libuv1-dev=1.44.2-1+deb12u1
guess "uv_run(UV_RUN_ONCE) with a due timer runs it and returns at once"

cat >"$T/once.c" <<'C'
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

static int first_ran, second_ran;

static void on_timer(uv_timer_t *timer)
{
    *(int *)timer->data = 1;
}

int main(void)
{
    uv_loop_t *loop = uv_default_loop();
    uv_timer_t first, second;

    uv_timer_init(loop, &first);
    uv_timer_init(loop, &second);
    first.data = &first_ran;
    second.data = &second_ran;
    uv_timer_start(&first, on_timer, 1, 0);
    uv_timer_start(&second, on_timer, 300, 0);
    usleep(50000);
    uv_run(loop, UV_RUN_ONCE);
    printf("%d %d\n", first_ran, second_ran);
    return 0;
}
C
lib=$R/usr/lib/x86_64-linux-gnu
cc -I"$R/usr/include" "$T/once.c" -L"$lib" -luv -o "$T/once"
LD_LIBRARY_PATH=$lib "$T/once" >"$T/out"
read -r first second <"$T/out"
saw "the due timer ran" "$first" 1
saw "the one of 300 ms later ran in the same turn" "$second" 1
end
