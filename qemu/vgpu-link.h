/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-link: one device's connection to vgpu-mediator, and the frames on it.
 *
 * The link owns the character device's end, the buffers of both directions, who the device says
 * that it is, and HELLO, CONFIG and PING.  It knows nothing of registers: what the device has to
 * do, it is told by VgpuLinkOps.  docs/protocol.md describes the frames.
 *
 * All functions and callbacks run under QEMU's big lock, and none blocks.
 */
#ifndef HW_MISC_VGPU_LINK_H
#define HW_MISC_VGPU_LINK_H

#include "vgpu-compat.h"
#include "vgpu/vgpu_protocol.h"

/* Room for the largest request, HELLO, and the answers to a burst of pings. */
#define VGPU_LINK_TX_BYTES 4096u

/* The sender that each frame names.  The mediator may change it (CONFIG), the guest can't. */
typedef struct VgpuIdentity {
    uint32_t vm_id;
    uint8_t pool_id;  /* VGPU_POOL_FIRST to VGPU_POOL_LAST */
    uint8_t priority; /* enum vgpu_priority */
} VgpuIdentity;

/* Each is called with the opaque of vgpu_link_init(). */
typedef struct VgpuLinkOps {
    /* The connection is there: requests can be sent. */
    void (*opened)(void *opaque);
    /*
     * The connection is gone, and with it the answers to what was sent.  May run within the
     * character device's lock and from within vgpu_link_request(): must not send.
     */
    void (*lost)(void *opaque);
    /*
     * The answer to the request with this tag; error_code is enum vgpu_error, VGPU_ERR_NONE when
     * it was executed.  The payload is the link's and holds at most VGPU_RESPONSE_BUFFER_BYTES.
     * A tag that is not that of the request in flight belongs to one that was abandoned.
     */
    void (*answered)(void *opaque, uint32_t tag, uint32_t error_code, const uint8_t *payload,
                     uint32_t payload_bytes);
    /* The mediator has changed link->identity. */
    void (*renamed)(void *opaque);
} VgpuLinkOps;

typedef struct VgpuLink {
    VgpuChrEnd chr;        /* the "chardev" property; set before vgpu_link_start() */
    VgpuIdentity identity; /* set by the owner before vgpu_link_start(), by CONFIG later */

    /* vgpu-link.c's own. */
    DeviceState *dev;
    const VgpuLinkOps *ops;
    void *opaque;
    bool own_chardev;
    bool up;          /* frames can be sent and received */
    bool hello_sent;  /* on this connection */
    bool heard;       /* anything, on this connection */
    bool hello_skip;  /* the last peer hung up on our HELLO */
    bool peer_warned; /* one message per run of bad frames is enough */
    QEMUBH *drop_bh;
    guint tx_watch;
    uint32_t tx_bytes;
    uint32_t rx_bytes;
    uint8_t tx[VGPU_LINK_TX_BYTES];
    uint8_t rx[VGPU_SOCKET_FRAME_MAX];
} VgpuLink;

/* What the user calls a device: for messages. */
static inline const char *vgpu_device_name(DeviceState *dev)
{
    return dev->id ? dev->id : "(no id)";
}

/*
 * Gives the link its owner and, when the user has named no character device, makes a client of
 * the mediator's usual socket.  Returns false with errp set when that fails; then nothing is left
 * to be undone.
 */
bool vgpu_link_init(VgpuLink *link, DeviceState *dev, const VgpuLinkOps *ops, void *opaque,
                    Error **errp);

/* From here on callbacks come, the first one perhaps from within. */
void vgpu_link_start(VgpuLink *link);

/*
 * Disconnects: the mediator sees the device go.  The last callback is `lost`, from within; none
 * comes afterwards.
 */
void vgpu_link_stop(VgpuLink *link);

static inline bool vgpu_link_is_up(const VgpuLink *link)
{
    return link->up;
}

/*
 * Sends a request, which is copied, and returns its tag: one that no other request of this
 * process ever had.  To be called while the link is up.  When it fails, `lost` is called from
 * within.
 */
uint32_t vgpu_link_request(VgpuLink *link, const uint8_t *payload, uint32_t payload_bytes);

#endif
