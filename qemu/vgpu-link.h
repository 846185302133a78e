/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A link is the connection of one device to vgpu-mediator, with the frames that travel on it.
 *
 * It owns the end of the character device, the buffers of both directions, and the identity
 * that the device has in its frames.  It does HELLO, CONFIG and PING by itself.  It knows
 * nothing of registers: through VgpuLinkOps it tells the device what has happened.
 * docs/protocol.md describes the frames.
 *
 * All functions and callbacks run under QEMU's big lock, and none blocks.
 */
#ifndef HW_MISC_VGPU_LINK_H
#define HW_MISC_VGPU_LINK_H

#include "vgpu-compat.h"
#include "qemu/queue.h"
#include "vgpu/vgpu_channel_frames.h"

/*
 * Room for the frames of a few channels that open at once, besides the largest request, HELLO,
 * and the answers to a burst of pings.
 */
#define VGPU_LINK_TX_BYTES (64u << 10)

/* Each frame names this sender.  The mediator may change it (CONFIG), the guest can't. */
typedef struct VgpuIdentity {
    uint32_t vm_id;
    uint8_t pool_id;  /* VGPU_POOL_FIRST to VGPU_POOL_LAST */
    uint8_t priority; /* enum vgpu_priority */
} VgpuIdentity;

/* Each is called with the opaque of vgpu_link_init(). */
typedef struct VgpuLinkOps {
    /* The connection is up: requests can be sent. */
    void (*opened)(void *opaque);
    /*
     * The mediator has said what it grants, or knows nothing of that: vgpu_link_has_channels() and
     * vgpu_link_resumes() have their values for this connection.
     */
    void (*greeted)(void *opaque);
    /*
     * The connection is gone, and with it the answers to what was sent.  This may be called
     * within the character device's lock, and from within vgpu_link_request(): it must not send.
     */
    void (*lost)(void *opaque);
    /*
     * The answer to the request with this tag; error_code is enum vgpu_error, VGPU_ERR_NONE when
     * it was executed.  The payload belongs to the link and has VGPU_RESPONSE_BUFFER_BYTES at
     * most.  Another tag than that of the request in flight belongs to an abandoned request.
     */
    void (*answered)(void *opaque, uint32_t tag, uint32_t error_code, const uint8_t *payload,
                     uint32_t payload_bytes);
    /* The mediator has changed link->identity. */
    void (*renamed)(void *opaque);
    /*
     * A frame about channels, after HELLO has granted them.  The descriptors are the callee's
     * from now on.  Returns false when the frame makes no sense: the connection ends.
     */
    bool (*channel)(void *opaque, uint32_t msg_type, const uint8_t *payload, uint32_t payload_bytes,
                    const int *fds, unsigned fd_count);
} VgpuLinkOps;

/* A frame that waits to be written. */
typedef struct VgpuLinkFrame {
    QSIMPLEQ_ENTRY(VgpuLinkFrame) next;
    uint32_t bytes;
    uint32_t sent;
    unsigned fd_count; /* descriptors that go with its first byte, ours */
    int fds[VGPU_FRAME_FDS_MAX];
    uint8_t data[];
} VgpuLinkFrame;

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
    bool channels_wanted;
    uint32_t offered, granted; /* in HELLO on this connection */
    QEMUBH *drop_bh;
    guint tx_watch;
    QSIMPLEQ_HEAD(, VgpuLinkFrame) tx;
    uint32_t tx_bytes; /* of all that waits */
    uint32_t rx_bytes;
    unsigned rx_fd_count; /* descriptors that came and whose frame is not complete */
    int rx_fds[VGPU_FRAME_FDS_MAX];
    uint8_t rx[VGPU_SOCKET_FRAME_MAX];
} VgpuLink;

/* The device's name in messages: the one that the user gave it. */
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

/* HELLO is to ask for channels.  To be called before vgpu_link_start(). */
static inline void vgpu_link_want_channels(VgpuLink *link)
{
    link->channels_wanted = true;
}

/* From here on callbacks come.  The first one may come before this function returns. */
void vgpu_link_start(VgpuLink *link);

/*
 * Disconnects: the mediator sees that the device has gone.  `lost` is the last callback.  It is
 * called before this function returns, and none comes afterwards.
 */
void vgpu_link_stop(VgpuLink *link);

static inline bool vgpu_link_is_up(const VgpuLink *link)
{
    return link->up;
}

/*
 * Sends a copy of a request, and returns its tag, which no other request of this process ever
 * had.  The link must be up.  When sending fails, `lost` is called before this returns.
 */
uint32_t vgpu_link_request(VgpuLink *link, const uint8_t *payload, uint32_t payload_bytes);

/* Has HELLO granted channels on this connection? */
static inline bool vgpu_link_has_channels(const VgpuLink *link)
{
    return link->up && (link->granted & VGPU_FEATURE_CHANNELS) != 0;
}

/* May its channels have a life, and be resumed by RESUME? */
static inline bool vgpu_link_resumes(const VgpuLink *link)
{
    return vgpu_link_has_channels(link) && (link->granted & VGPU_FEATURE_RESUME) != 0;
}

/* May so many bytes of frames be sent now, headers included?  Else the peer is slow. */
static inline bool vgpu_link_has_room(const VgpuLink *link, uint32_t bytes)
{
    return bytes <= VGPU_LINK_TX_BYTES - link->tx_bytes;
}

/*
 * Sends a frame about channels with descriptors, which are the link's from now on, whatever
 * becomes of the frame.  When it fails, `lost` is called from within.
 */
void vgpu_link_channel(VgpuLink *link, uint32_t msg_type, const void *payload,
                       uint32_t payload_bytes, const int *fds, unsigned fd_count);

#endif
