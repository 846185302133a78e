/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the link works
 * ------------------
 * Under it lies a character device, normally a Unix socket client that reconnects by itself.  The
 * link never blocks QEMU's main loop: frames go out through a small buffer that is flushed when
 * the socket is writable.  A peer that reads so slowly that the buffer overflows, or that sends
 * something that is no frame, is disconnected; the character device connects again a second
 * later.  The disconnection happens in a bottom half, because it must not happen within the
 * character device's own callbacks.
 *
 *            OPENED: HELLO, ops->opened          bad frame, full buffer: drop, ops->lost
 *   away ------------------------------> up ------------------------------------------> away
 *                                         \---- CLOSED: ops->lost ----------------------^
 *
 * A connection opens with HELLO.  A mediator that knows only protocol 1.0 closes it without a
 * word; the next connection then goes without HELLO.
 *
 * CONFIG tells the device who it is.  The link takes it over, sends it back as the
 * acknowledgement, and tells the device when anything has changed.
 *
 * Frames about channels may have descriptors.  These belong to the frame's first byte: such a
 * frame begins a write of its own.  A character device keeps descriptors that it was given for
 * the next write, whatever that is, so they are set right before each write that has them, and
 * taken back before each that has none.  A received frame says how many it has (`pad`); another
 * number ends the connection.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "vgpu-link.h"

/*
 * The tag of the last REQUEST of any device in this process.  Shared, so that a device that takes
 * over another's character device (unplug, plug) can't mistake an answer that is still on its way.
 */
static uint32_t last_tag;

/* ---- The end of a connection ------------------------------------------------- */

static void close_all(const int *fds, unsigned count)
{
    unsigned i;

    for (i = 0; i < count; i++) {
        close(fds[i]);
    }
}

static void tx_free_first(VgpuLink *link)
{
    VgpuLinkFrame *frame = QSIMPLEQ_FIRST(&link->tx);

    QSIMPLEQ_REMOVE_HEAD(&link->tx, next);
    link->tx_bytes -= frame->bytes - frame->sent;
    close_all(frame->fds, frame->fd_count);
    g_free(frame);
}

/* May run inside the character device's lock: must not call it. */
static void link_lost(VgpuLink *link)
{
    link->up = false;
    link->granted = 0;
    link->rx_bytes = 0;
    close_all(link->rx_fds, link->rx_fd_count);
    link->rx_fd_count = 0;
    while (!QSIMPLEQ_EMPTY(&link->tx)) {
        tx_free_first(link);
    }
    if (link->tx_watch) {
        g_source_remove(link->tx_watch);
        link->tx_watch = 0;
    }
    link->ops->lost(link->opaque);
}

static void link_drop(VgpuLink *link, const char *why)
{
    if (!link->peer_warned) {
        warn_report("vgpu-stub %s: %s; disconnecting from the mediator",
                    vgpu_device_name(link->dev), why);
        link->peer_warned = true;
    }
    link_lost(link);
    qemu_bh_schedule(link->drop_bh);
}

/* Not while a socket still connects: QEMU aborts when that is cut short. */
static void link_disconnect(VgpuLink *link)
{
    if (qemu_chr_fe_backend_open(&link->chr)) {
        qemu_chr_fe_disconnect(&link->chr);
    }
}

static void link_drop_bh(void *opaque)
{
    link_disconnect(opaque);
}

/* ---- Sending ------------------------------------------------------------------- */

static gboolean link_writable(VgpuWatchSource *source, GIOCondition cond, void *opaque);

/* Returns whether the rest waits until the socket is writable. */
static bool link_wait_writable(VgpuLink *link)
{
    if (!link->tx_watch) {
        link->tx_watch =
            qemu_chr_fe_add_watch(&link->chr, G_IO_OUT | G_IO_HUP, link_writable, link);
    }
    return link->tx_watch != 0;
}

/* One write of the first frame that waits.  As write(2); the frame may be gone afterwards. */
static int tx_write(VgpuLink *link)
{
    VgpuLinkFrame *frame = QSIMPLEQ_FIRST(&link->tx);
    bool first = frame->sent == 0 && frame->fd_count > 0;
    int n;

    if ((link->offered & VGPU_FEATURE_CHANNELS) &&
        qemu_chr_fe_set_msgfds(&link->chr, first ? frame->fds : NULL, first ? frame->fd_count : 0) <
            0) {
        errno = EPIPE;
        return -1;
    }
    n = qemu_chr_fe_write(&link->chr, frame->data + frame->sent, frame->bytes - frame->sent);
    /* A write that finds the peer gone ends in CHR_EVENT_CLOSED, from within. */
    if (!link->up || n <= 0) {
        return n;
    }
    close_all(frame->fds, frame->fd_count);
    frame->fd_count = 0;
    frame->sent += n;
    link->tx_bytes -= n;
    if (frame->sent == frame->bytes) {
        tx_free_first(link);
    }
    return n;
}

static void link_flush(VgpuLink *link)
{
    while (link->up && !QSIMPLEQ_EMPTY(&link->tx)) {
        int n = tx_write(link);

        if (!link->up) {
            return;
        }
        if (n < 0 && errno == EAGAIN && link_wait_writable(link)) {
            return;
        }
        if (n <= 0) {
            link_drop(link, "can't send");
        }
    }
}

static gboolean link_writable(VgpuWatchSource *source, GIOCondition cond, void *opaque)
{
    VgpuLink *link = opaque;

    link->tx_watch = 0;
    link_flush(link);
    return FALSE;
}

/* The descriptors are the link's, whatever becomes of the frame. */
static void link_send_fds(VgpuLink *link, uint32_t msg_type, uint32_t request_id,
                          const void *payload, uint32_t payload_bytes, const int *fds,
                          unsigned fd_count)
{
    VGPUSocketHeader header = {
        .magic = cpu_to_le32(VGPU_SOCKET_MAGIC),
        .msg_type = cpu_to_le32(msg_type),
        .vm_id = cpu_to_le32(link->identity.vm_id),
        .request_id = cpu_to_le32(request_id),
        .pool_id = link->identity.pool_id,
        .priority = link->identity.priority,
        .pad = cpu_to_le16(fd_count),
        .payload_len = cpu_to_le32(payload_bytes),
    };
    VgpuLinkFrame *frame;

    if (!link->up || !vgpu_link_has_room(link, sizeof(header) + payload_bytes)) {
        close_all(fds, fd_count);
        if (link->up) {
            link_drop(link, "the peer does not read what is sent to it");
        }
        return;
    }
    frame = g_malloc0(sizeof(*frame) + sizeof(header) + payload_bytes);
    frame->bytes = sizeof(header) + payload_bytes;
    frame->fd_count = fd_count;
    memcpy(frame->data, &header, sizeof(header));
    if (payload_bytes) {
        memcpy(frame->data + sizeof(header), payload, payload_bytes);
    }
    if (fd_count) {
        memcpy(frame->fds, fds, fd_count * sizeof(fds[0]));
    }
    link->tx_bytes += frame->bytes;
    QSIMPLEQ_INSERT_TAIL(&link->tx, frame, next);
    if (!link->tx_watch) {
        link_flush(link);
    }
}

static void link_send(VgpuLink *link, uint32_t msg_type, uint32_t request_id, const void *payload,
                      uint32_t payload_bytes)
{
    link_send_fds(link, msg_type, request_id, payload, payload_bytes, NULL, 0);
}

void vgpu_link_channel(VgpuLink *link, uint32_t msg_type, const void *payload,
                       uint32_t payload_bytes, const int *fds, unsigned fd_count)
{
    link_send_fds(link, msg_type, 0, payload, payload_bytes, fds, fd_count);
}

/* Only a socket that passes descriptors can have channels. */
static bool link_passes_fds(VgpuLink *link)
{
    return qemu_chr_has_feature(qemu_chr_fe_get_driver(&link->chr), QEMU_CHAR_FEATURE_FD_PASS);
}

static void link_send_hello(VgpuLink *link)
{
    VGPUHello hello = {.version = cpu_to_le32(VGPU_PROTOCOL_VERSION)};

    link->offered = VGPU_FEATURE_CONFIG;
    if (link->channels_wanted && link_passes_fds(link)) {
        link->offered |= VGPU_FEATURE_CHANNELS | VGPU_FEATURE_RESUME;
    }
    hello.features = cpu_to_le32(link->offered);
    link_send(link, VGPU_MSG_HELLO, 0, &hello, sizeof(hello));
}

uint32_t vgpu_link_request(VgpuLink *link, const uint8_t *payload, uint32_t payload_bytes)
{
    uint32_t tag = ++last_tag;

    link_send(link, VGPU_MSG_REQUEST, tag, payload, payload_bytes);
    return tag;
}

/* ---- Receiving ------------------------------------------------------------------- */

/* What an answer without an error of its own says by its type. */
static uint32_t error_of_type(uint32_t msg_type)
{
    switch (msg_type) {
    case VGPU_MSG_BUSY: return VGPU_ERR_QUEUE_FULL;
    case VGPU_MSG_QUARANTINED: return VGPU_ERR_VM_QUARANTINED;
    default: return VGPU_ERR_NONE;
    }
}

/* RESPONSE, BUSY or QUARANTINED: the one answer to a request. */
static void frame_answer(VgpuLink *link, uint32_t msg_type, uint32_t tag, const uint8_t *payload,
                         uint32_t payload_bytes)
{
    uint32_t error_code = VGPU_ERR_NONE;

    if (payload_bytes >= sizeof(VGPUResponse)) {
        error_code = ldl_le_p(payload + offsetof(VGPUResponse, status));
    } else if (payload_bytes > 0 || msg_type == VGPU_MSG_RESPONSE) {
        link_drop(link, "received an answer shorter than its header");
        return;
    }
    if (error_code == VGPU_ERR_NONE) {
        error_code = error_of_type(msg_type);
    }
    link->ops->answered(link->opaque, tag, error_code, payload, payload_bytes);
}

static void frame_config(VgpuLink *link, uint32_t request_id, const uint8_t *payload,
                         uint32_t payload_bytes)
{
    VgpuIdentity before = link->identity, now;
    VGPUConfig config;

    if (payload_bytes < sizeof(config)) {
        link_drop(link, "received a CONFIG that is too short");
        return;
    }
    memcpy(&config, payload, sizeof(config));
    now.vm_id = le32_to_cpu(config.vm_id);
    now.pool_id = config.pool_id;
    now.priority = config.priority;
    if (now.pool_id < VGPU_POOL_FIRST || now.pool_id > VGPU_POOL_LAST ||
        now.priority > VGPU_PRIORITY_HIGH) {
        link_drop(link, "received a CONFIG with an unknown pool or priority");
        return;
    }
    link->identity = now;
    link_send(link, VGPU_MSG_CONFIG, request_id, &config, sizeof(config));
    if (now.vm_id != before.vm_id || now.pool_id != before.pool_id ||
        now.priority != before.priority) {
        link->ops->renamed(link->opaque);
    }
}

static void frame_hello(VgpuLink *link, const uint8_t *payload, uint32_t payload_bytes)
{
    if (payload_bytes >= sizeof(VGPUHello)) {
        link->granted = ldl_le_p(payload + offsetof(VGPUHello, features)) & link->offered;
        link->ops->greeted(link->opaque);
    }
}

/* A frame about channels, with the descriptors that came with it. */
static void frame_channel(VgpuLink *link, uint32_t msg_type, const uint8_t *payload,
                          uint32_t payload_bytes, unsigned fd_count)
{
    int fds[VGPU_FRAME_FDS_MAX];

    memcpy(fds, link->rx_fds, sizeof(fds));
    link->rx_fd_count -= fd_count;
    if (!link->ops->channel(link->opaque, msg_type, payload, payload_bytes, fds, fd_count)) {
        link_drop(link, "received a frame about channels that makes no sense");
    }
}

static void frame_dispatch(VgpuLink *link, uint32_t msg_type, uint32_t request_id,
                           const uint8_t *payload, uint32_t payload_bytes, unsigned fd_count)
{
    if (vgpu_link_has_channels(link) && fd_count != 0 && fd_count != link->rx_fd_count) {
        link_drop(link, "received a frame with another number of descriptors than it says");
        return;
    }
    switch (msg_type) {
    case VGPU_MSG_RESPONSE:
    case VGPU_MSG_BUSY:
    case VGPU_MSG_QUARANTINED:
        frame_answer(link, msg_type, request_id, payload, payload_bytes);
        break;
    case VGPU_MSG_PING:
        if (payload_bytes > VGPU_PING_BYTES_MAX) {
            link_drop(link, "received a PING that is too long");
            break;
        }
        link_send(link, VGPU_MSG_PONG, request_id, payload, payload_bytes);
        break;
    case VGPU_MSG_CONFIG:
        /* Offered in HELLO; without it, the peer has no business to send one. */
        if (link->hello_sent) {
            frame_config(link, request_id, payload, payload_bytes);
        }
        break;
    case VGPU_MSG_HELLO: frame_hello(link, payload, payload_bytes); break;
    case VGPU_MSG_CHANNEL_OPENED:
    case VGPU_MSG_CHANNEL_CLOSED:
    case VGPU_MSG_CHUNK_ADDED:
    case VGPU_MSG_CHUNK_REMOVED:
    case VGPU_MSG_CHANNEL_RESET:
    case VGPU_MSG_CHANNEL_RESUME:
        if (vgpu_link_has_channels(link)) {
            frame_channel(link, msg_type, payload, payload_bytes, fd_count);
        }
        break;
    default: break; /* PONG and later messages need no answer */
    }
}

/* Takes one frame off the front of rx.  Returns whether there was one. */
static bool link_take_frame(VgpuLink *link)
{
    VGPUSocketHeader header;
    uint32_t payload_bytes, frame_bytes;

    if (link->rx_bytes < sizeof(header)) {
        return false;
    }
    memcpy(&header, link->rx, sizeof(header));
    payload_bytes = le32_to_cpu(header.payload_len);
    if (le32_to_cpu(header.magic) != VGPU_SOCKET_MAGIC) {
        link_drop(link, "received something that is no frame (wrong magic)");
        return false;
    }
    if (payload_bytes > VGPU_SOCKET_PAYLOAD_MAX) {
        link_drop(link, "received a frame that is too long");
        return false;
    }
    frame_bytes = sizeof(header) + payload_bytes;
    if (link->rx_bytes < frame_bytes) {
        return false;
    }
    frame_dispatch(link, le32_to_cpu(header.msg_type), le32_to_cpu(header.request_id),
                   link->rx + sizeof(header), payload_bytes, le16_to_cpu(header.pad));
    if (!link->up) {
        return false; /* dropped; rx is empty already */
    }
    link->peer_warned = false;
    link->rx_bytes -= frame_bytes;
    memmove(link->rx, link->rx + frame_bytes, link->rx_bytes);
    return true;
}

static int link_can_read(void *opaque)
{
    VgpuLink *link = opaque;

    return link->up ? sizeof(link->rx) - link->rx_bytes : 0;
}

/* The descriptors that came with the bytes at hand: those of one frame at most. */
static void link_take_fds(VgpuLink *link)
{
    int fds[VGPU_FRAME_FDS_MAX];
    int count = qemu_chr_fe_get_msgfds(&link->chr, fds, VGPU_FRAME_FDS_MAX);

    if (count <= 0) {
        return;
    }
    if (link->rx_fd_count || !vgpu_link_has_channels(link)) {
        close_all(fds, count);
        link_drop(link, "received descriptors out of place");
        return;
    }
    memcpy(link->rx_fds, fds, count * sizeof(fds[0]));
    link->rx_fd_count = count;
}

static void link_read(void *opaque, const uint8_t *buf, int size)
{
    VgpuLink *link = opaque;

    link->heard = true;
    if (link->offered & VGPU_FEATURE_CHANNELS) {
        link_take_fds(link);
    }
    while (size > 0 && link->up) {
        /* Never 0: a full rx holds a whole frame, which has been taken off. */
        uint32_t n = MIN((uint32_t)size, sizeof(link->rx) - link->rx_bytes);

        memcpy(link->rx + link->rx_bytes, buf, n);
        link->rx_bytes += n;
        buf += n;
        size -= n;
        while (link_take_frame(link)) {
        }
    }
    if (link->up && link->rx_fd_count && link->rx_bytes == 0) {
        link_drop(link, "received descriptors that no frame has");
    }
}

/* ---- Life --------------------------------------------------------------------------- */

static void link_opened(VgpuLink *link)
{
    link->up = true;
    link->heard = false;
    link->offered = 0;
    link->hello_sent = !link->hello_skip;
    link->hello_skip = false;
    if (link->hello_sent) {
        link_send_hello(link);
    }
    if (link->up) {
        link->ops->opened(link->opaque);
    }
    if (link->up && !link->hello_sent) {
        link->ops->greeted(link->opaque);
    }
}

static void link_event(void *opaque, VgpuChrEvent event)
{
    VgpuLink *link = opaque;

    switch (event) {
    case CHR_EVENT_OPENED:
        qemu_bh_cancel(link->drop_bh);
        link_opened(link);
        break;
    case CHR_EVENT_CLOSED:
        qemu_bh_cancel(link->drop_bh);
        /* Only once: a 1.0 mediator is recognised again if it restarts as a new one. */
        link->hello_skip = link->hello_sent && !link->heard;
        link->hello_sent = false;
        link_lost(link);
        break;
    default: break;
    }
}

/* A name that none of the user's character devices has.  The caller frees it. */
static char *unused_label(void)
{
    static unsigned serial;
    char *label = g_strdup_printf("vgpu-stub-%u", serial++);

    while (qemu_chr_find(label)) {
        g_free(label);
        label = g_strdup_printf("vgpu-stub-%u", serial++);
    }
    return label;
}

static bool link_own_chardev(VgpuLink *link, Error **errp)
{
    char *label = unused_label();
    Chardev *chr = qemu_chr_new(label, "unix:" VGPU_SOCKET_PATH "," VGPU_SOCKET_RECONNECTS, NULL);

    if (!chr) {
        error_setg(errp,
                   "vgpu-stub: can't create the default character device '%s'; give one "
                   "with the chardev property",
                   label);
    } else if (qemu_chr_fe_init(&link->chr, chr, errp)) {
        link->own_chardev = true;
    } else {
        object_unparent(OBJECT(chr));
    }
    g_free(label);
    return link->own_chardev;
}

bool vgpu_link_init(VgpuLink *link, DeviceState *dev, const VgpuLinkOps *ops, void *opaque,
                    Error **errp)
{
    link->dev = dev;
    link->ops = ops;
    link->opaque = opaque;
    QSIMPLEQ_INIT(&link->tx);
    return qemu_chr_fe_backend_connected(&link->chr) || link_own_chardev(link, errp);
}

void vgpu_link_start(VgpuLink *link)
{
    link->drop_bh = qemu_bh_new(link_drop_bh, link);
    qemu_chr_fe_set_handlers(&link->chr, link_can_read, link_read, link_event, NULL, link, NULL,
                             true);
}

void vgpu_link_stop(VgpuLink *link)
{
    /* From here on nothing of the character device calls back. */
    qemu_chr_fe_set_handlers(&link->chr, NULL, NULL, NULL, NULL, NULL, NULL, true);
    link_lost(link);
    qemu_bh_delete(link->drop_bh);
    link->drop_bh = NULL;
    /* Unread answers go with the connection. */
    link_disconnect(link);
    if (link->own_chardev) {
        qemu_chr_fe_deinit(&link->chr, true);
    }
}
