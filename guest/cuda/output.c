/* SPDX-License-Identifier: BSD-3-Clause */
/* Notices: what kernels print, which comes before the answer to the call that waited, and which
 * host functions are to run. */
#include <stdio.h>

#include "guest/cuda/internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* False: nonsense; what follows it has no meaning either. */
static bool take_notice(struct vgpu_ring *ring)
{
    VGPUNotice notice;
    uint8_t rest[VGPU_NOTICE_MAX];
    uint64_t there = ring->tail - ring->head, bytes;

    if (there < sizeof(notice)) {
        return false;
    }
    vgpu_ring_get(ring, &notice, sizeof(notice));
    bytes = (notice.bytes + 7u) / 8u * 8u;
    if (notice.bytes < sizeof(notice) || bytes > VGPU_NOTICE_MAX || bytes > there) {
        return false;
    }
    vgpu_ring_get(ring, rest, bytes - sizeof(notice));
    if (notice.kind == VGPU_NOTICE_OUTPUT) {
        fwrite(rest, 1, notice.bytes - sizeof(notice), stdout);
    } else if (notice.kind == VGPU_NOTICE_CALLBACK) {
        cuda_host_func_ready(notice.value);
    }
    return true;
}

void cuda_take_output(void)
{
    struct channel_link *link = cuda_process.link;
    bool any = false;

    pthread_mutex_lock(&lock);
    while (vgpu_ring_look(&link->notices) == VGPU_RING_OK && take_notice(&link->notices)) {
        any = true;
    }
    vgpu_ring_release(&link->notices);
    pthread_mutex_unlock(&lock);
    if (any) {
        fflush(stdout); /* as the driver does: it keeps its place among the program's own */
    }
}
