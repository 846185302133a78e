/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What kernels print.
 *
 * The driver writes it to the C library's stdout, when a context is synchronised or by itself
 * later.  Here stdout is a stream of our own.  What a channel's thread writes is its process's,
 * since it calls the driver for that one only.  What another thread of the driver writes goes to
 * the only channel with functions that print; with several of them nobody can tell whose it is,
 * and it goes to none.
 *
 * It travels in notices.  A process reads them when a call of it waits, and finds what was printed
 * before the answer.  One that never waits gets no more than the notice ring holds, and what stands
 * here.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define OUTPUT_MAX (1u << 20) /* as large as the driver's own buffer is at first */
#define TEXT_MAX (VGPU_NOTICE_MAX - sizeof(VGPUNotice))

static __thread struct driver_channel *this_channel;
static struct driver_set *the_set; /* of this process */

static void lost(struct driver_channel *channel)
{
    uint64_t count = VGPU_LOAD_RELAXED(&channel->control->notices_lost);

    VGPU_STORE_RELAXED(&channel->control->notices_lost, count + 1);
}

static void append(struct driver_channel *channel, const char *text, size_t bytes)
{
    pthread_mutex_lock(&channel->output.lock);
    if (!channel->output.bytes) {
        channel->output.bytes = malloc(OUTPUT_MAX);
    }
    if (channel->output.bytes && bytes <= OUTPUT_MAX - channel->output.count) {
        memcpy(channel->output.bytes + channel->output.count, text, bytes);
        channel->output.count += bytes;
    } else {
        lost(channel);
    }
    pthread_mutex_unlock(&channel->output.lock);
}

/* The set's lock is held.  NULL: there is none, or more than one. */
static struct driver_channel *only_one_that_prints(const struct driver_set *set)
{
    struct driver_channel *only = NULL;
    unsigned count = 0;

    for (unsigned i = 0; i < set->count; i++) {
        if (__atomic_load_n(&set->all[i]->output.prints, __ATOMIC_RELAXED)) {
            only = set->all[i];
            count++;
        }
    }
    return count == 1 ? only : NULL;
}

static ssize_t write_output(void *unused, const char *text, size_t bytes)
{
    struct driver_channel *channel;

    (void)unused;
    if (this_channel) {
        append(this_channel, text, bytes);
        return (ssize_t)bytes;
    }
    pthread_mutex_lock(&the_set->lock);
    channel = only_one_that_prints(the_set);
    if (channel) {
        append(channel, text, bytes);
    }
    pthread_mutex_unlock(&the_set->lock);
    return (ssize_t)bytes;
}

void driver_output_init(struct driver_set *set)
{
    const cookie_io_functions_t functions = {.write = write_output};
    FILE *stream;

    the_set = set;
    if (stdout == NULL || set->output) {
        return;
    }
    stream = fopencookie(NULL, "w", functions);
    if (!stream) {
        log_warning("what kernels of guests print is lost: no memory for a stream");
        return;
    }
    /* Each call of printf() is one write, in the thread that calls it. */
    setvbuf(stream, NULL, _IONBF, 0);
    set->output = stdout;
    stdout = stream;
}

/* Threads that are inside the driver may still write, so the stream itself stays for them. */
void driver_output_stop(struct driver_set *set)
{
    FILE *stream = stdout;

    if (set->output) {
        stdout = set->output;
        set->output = NULL;
        if (__atomic_load_n(&set->live, __ATOMIC_ACQUIRE) == 0) {
            fclose(stream);
        }
    }
}

void driver_output_begin(struct driver_channel *channel)
{
    this_channel = channel;
    if (__atomic_load_n(&channel->output.count, __ATOMIC_RELAXED)) {
        driver_output_send(channel);
    }
}

static bool send_part(struct driver_channel *channel, const char *text, size_t bytes)
{
    static const uint8_t zeros[8];
    VGPUNotice notice = {.kind = VGPU_NOTICE_OUTPUT,
                         .bytes = (uint16_t)(sizeof(notice) + bytes),
                         .seq = channel->seq};
    size_t fill = (8 - bytes % 8) % 8;

    if (vgpu_ring_room(&channel->notices, sizeof(notice) + bytes + fill) != VGPU_RING_OK) {
        return false;
    }
    vgpu_ring_put(&channel->notices, &notice, sizeof(notice));
    vgpu_ring_put(&channel->notices, text, bytes);
    vgpu_ring_put(&channel->notices, zeros, fill);
    channel->woken |= vgpu_ring_publish(&channel->notices) != 0;
    return true;
}

void driver_output_send(struct driver_channel *channel)
{
    size_t sent = 0;

    pthread_mutex_lock(&channel->output.lock);
    while (sent < channel->output.count) {
        size_t left = channel->output.count - sent, part = left < TEXT_MAX ? left : TEXT_MAX;

        if (!send_part(channel, channel->output.bytes + sent, part)) {
            break;
        }
        sent += part;
    }
    if (sent > 0) {
        memmove(channel->output.bytes, channel->output.bytes + sent, channel->output.count - sent);
        channel->output.count -= sent;
    }
    pthread_mutex_unlock(&channel->output.lock);
}

/* PTX and what is made of it name the function that prints; what is packed does not show it. */
void driver_output_image(struct driver_channel *channel, const uint8_t *image, uint64_t bytes)
{
    static const uint8_t fatbin[] = {0x50, 0xED, 0x55, 0xBA};

    if (memmem(image, bytes, "vprintf", 7) ||
        (bytes >= sizeof(fatbin) && memcmp(image, fatbin, sizeof(fatbin)) == 0)) {
        __atomic_store_n(&channel->output.prints, true, __ATOMIC_RELAXED);
    }
}

void driver_output_flush(struct driver_channel *channel, struct driver_context *context)
{
    struct driver_fence *fence;
    CUresult result;

    if (!channel->output.prints || context->captures) { /* it would spoil a capture */
        return;
    }
    /* Only where it does not wait: other threads' work would be waited for, too. */
    fence = driver_fence_context(channel, context, &result);
    if (fence && driver_fence_done(channel, fence)) {
        channel->api->cuCtxSynchronize();
    }
    if (fence) {
        driver_fence_drop(channel, fence);
    }
    driver_output_send(channel);
}

void driver_output_end(struct driver_channel *channel)
{
    if (this_channel == channel) {
        this_channel = NULL;
    }
    free(channel->output.bytes);
    channel->output.bytes = NULL;
}
