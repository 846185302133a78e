/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Channels that outlive their connection
 * --------------------------------------
 * A mediator that is restarted, or killed, leaves the workers behind.  The guest's program, the
 * memory, the doorbell, the interrupt and the copy engine go on as they are.  What is left to do
 * is to tell the next mediator whose the channel is: by RESUME with the channel's life, a pipe
 * whose other end the worker has.
 *
 *          the connection ends             HELLO grants RESUME             its answer is 0
 *   NONE ----------------------> AWAY --------------------------> ASKED ------------------> NONE
 *                                 ^                                |  |
 *                                 +--- QUEUE_FULL: 50 ms later ----+  +-- else: it is closed
 *
 * A connection that ends for another reason ends the channels in the mediator: then the answer to
 * RESUME is an error.  A guest that wants its memory back meanwhile closes the life, by which the
 * worker lets go.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/timer.h"
#include "vgpu-channel-internal.h"

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

void vgpu_channel_life_end(VgpuChannel *channel)
{
    if (channel->life >= 0) {
        close(channel->life);
        channel->life = -1;
    }
}

bool vgpu_channel_resume_later(VgpuChannel *channel)
{
    VgpuChannels *set = channel->set;

    /*
     * Without a lease its worker is gone already.  Whether the worker has a chunk that was on its
     * way, nobody could say.
     */
    if (channel->state != VGPU_REGISTER_OPEN || channel->life < 0 || channel->lease < 0 ||
        channel->awaited_chunk != 0) {
        return false;
    }
    channel->resume = VGPU_RESUME_AWAY;
    if (set->resume_until_ms == 0) {
        set->resume_until_ms = now_ms() + VGPU_RESUME_MS;
    }
    timer_mod(set->resume_timer, set->resume_until_ms);
    return true;
}

/* Shows the channel's life to the mediator. */
static void ask(VgpuChannel *channel)
{
    VGPUChannelResume resume = {.channel = cpu_to_le32(channel->number)};
    int life = fcntl(channel->life, F_DUPFD_CLOEXEC, 0);

    if (life < 0) {
        timer_mod(channel->set->resume_timer, now_ms() + VGPU_RESUME_AGAIN_MS);
        return;
    }
    channel->resume = VGPU_RESUME_ASKED;
    /* When this fails, the connection is lost, and the channel is AWAY again. */
    vgpu_link_channel(channel->set->uses.link, VGPU_MSG_CHANNEL_RESUME, &resume, sizeof(resume),
                      &life, 1);
}

void vgpu_channels_resume_end(VgpuChannels *set)
{
    uint32_t i;

    for (i = 0; i < set->uses.count; i++) {
        if (set->all[i].resume == VGPU_RESUME_AWAY) {
            vgpu_channel_closed(&set->all[i], VGPU_CLOSED_SESSION);
        }
    }
    set->resume_until_ms = 0;
}

void vgpu_channels_link_greeted(VgpuChannels *set)
{
    uint32_t i;

    if (!vgpu_link_resumes(set->uses.link)) {
        vgpu_channels_resume_end(set); /* an older mediator */
        return;
    }
    for (i = 0; i < set->uses.count; i++) {
        if (set->all[i].resume == VGPU_RESUME_AWAY && vgpu_link_is_up(set->uses.link)) {
            ask(&set->all[i]);
        }
    }
}

static void on_timer(void *opaque)
{
    VgpuChannels *set = opaque;

    if (set->resume_until_ms == 0) {
        return;
    }
    if (now_ms() >= set->resume_until_ms) {
        warn_report("vgpu-stub %s: no vgpu-mediator has taken the channels over within %d s",
                    vgpu_device_name(DEVICE(set->uses.dev)), VGPU_RESUME_MS / 1000);
        vgpu_channels_resume_end(set);
    } else {
        timer_mod(set->resume_timer, set->resume_until_ms);
        if (vgpu_link_resumes(set->uses.link)) {
            vgpu_channels_link_greeted(set);
        }
    }
}

/* Time is counted anew from the next end of a connection on, unless one is AWAY still. */
static void forget_time(VgpuChannels *set)
{
    uint32_t i;

    for (i = 0; i < set->uses.count; i++) {
        if (set->all[i].resume != VGPU_RESUME_NONE) {
            return;
        }
    }
    set->resume_until_ms = 0;
    timer_del(set->resume_timer);
}

bool vgpu_channel_resumed(VgpuChannel *channel, uint32_t status)
{
    VgpuChannels *set = channel->set;

    if (channel->resume != VGPU_RESUME_ASKED) {
        return false;
    }
    if (status == VGPU_ERR_QUEUE_FULL && channel->state == VGPU_REGISTER_OPEN) {
        channel->resume = VGPU_RESUME_AWAY;
        timer_mod(set->resume_timer, now_ms() + VGPU_RESUME_AGAIN_MS);
        return true;
    }
    channel->resume = VGPU_RESUME_NONE;
    if (status != VGPU_ERR_NONE) {
        vgpu_channel_closed(channel, VGPU_CLOSED_SESSION);
    } else if (channel->state != VGPU_REGISTER_OPEN) {
        vgpu_channel_send_close(channel); /* it was to be closed meanwhile */
    }
    forget_time(set);
    return true;
}

void vgpu_channels_resume_init(VgpuChannels *set)
{
    set->resume_timer = timer_new_ms(QEMU_CLOCK_REALTIME, on_timer, set);
}

void vgpu_channels_resume_cleanup(VgpuChannels *set)
{
    timer_del(set->resume_timer);
    timer_free(set->resume_timer);
}
