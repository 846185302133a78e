/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/base/busy_poll.h"

#include <sched.h>

#define GAP_PARTS 4u /* the latest gap counts for one of them */
#define GAP_LIMITS_MAX 4u

uint64_t busy_poll_default_ns(void)
{
    cpu_set_t usable;

    if (sched_getaffinity(0, sizeof(usable), &usable) < 0) {
        return 0; /* more processors than the set has room for, or a kernel without it */
    }
    return CPU_COUNT(&usable) >= BUSY_POLL_PROCESSORS_MIN ? BUSY_POLL_NS : 0;
}

void busy_poll_init(struct busy_poll *poll, uv_loop_t *loop, uint64_t limit_ns)
{
    *poll = (struct busy_poll){
        .limit_ns = limit_ns,
        .gap_ns = limit_ns * GAP_LIMITS_MAX,
    };
    uv_idle_init(loop, &poll->idle);
}

void busy_poll_step(struct busy_poll *poll, uint64_t now_ns)
{
    uint64_t gap_ns = now_ns - poll->last_ns;
    uint64_t most_ns = poll->limit_ns * GAP_LIMITS_MAX;

    if (now_ns <= poll->last_ns) {
        return; /* one event made several steps */
    }
    gap_ns = gap_ns < most_ns ? gap_ns : most_ns;
    poll->gap_ns = (poll->gap_ns * (GAP_PARTS - 1) + gap_ns) / GAP_PARTS;
    poll->last_ns = now_ns;
}

bool busy_poll_wanted(const struct busy_poll *poll, uint64_t now_ns)
{
    return poll->gap_ns < poll->limit_ns && now_ns - poll->last_ns < poll->limit_ns;
}

/* The handle's only purpose is to be active. */
static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

void busy_poll_prepare(struct busy_poll *poll, uint64_t now_ns)
{
    bool wanted = busy_poll_wanted(poll, now_ns);

    if (wanted == poll->awake) {
        return;
    }
    poll->awake = wanted;
    if (wanted) {
        uv_idle_start(&poll->idle, on_idle);
    } else {
        uv_idle_stop(&poll->idle);
    }
}

void busy_poll_close(struct busy_poll *poll, uv_close_cb closed)
{
    uv_close((uv_handle_t *)&poll->idle, closed);
}
