/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-stub: the PCI device through which a guest reaches vgpu-mediator.
 *
 * How it works
 * ------------
 * The device owns three things: the registers and buffers of BAR0 (protocol
 * 1.0, vgpu/vgpu_protocol.h), at most one request in flight, and a link: a
 * character device, normally a Unix socket client that reconnects by itself.
 *
 * One request: the guest fills the request buffer, writes REQUEST_LEN and
 * rings the DOORBELL.  The device copies the buffer (the guest may write to it
 * again at once), gives the copy a tag that no other request of this process
 * ever had, sets STATUS to BUSY and sends a REQUEST frame.  The mediator
 * answers RESPONSE, BUSY or QUARANTINED with that tag; the device copies the
 * payload to the response buffer, sets STATUS to DONE or ERROR, takes the
 * TIMESTAMP and raises VGPU_IRQ_COMPLETION.  An answer whose tag is not that of
 * the request in flight belongs to one that a reset abandoned: it is ignored.
 *
 *            doorbell                answer, status 0
 *   IDLE ---------------> BUSY ------------------------> DONE
 *    ^      DONE, ERROR --^ |                              |
 *    |                      +---- any failure ---> ERROR   |
 *    +------------- device reset <-------------------------+
 *
 * A request never stays BUSY without somebody who owes an answer: when the link
 * goes, it ends at once with MEDIATOR_UNAVAILABLE; or, with wait-mediator=on,
 * it is sent again on the next connection.  The mediator may then execute it
 * twice (at least once semantics), which is why that is not the default.
 *
 * The link never blocks QEMU's main loop: frames go out through a small buffer
 * that is flushed when the socket is writable.  A peer that reads so slowly
 * that the buffer overflows, or that sends something that is no frame, is
 * disconnected; the character device connects again a second later.  The
 * disconnection happens in a bottom half, because it must not happen within
 * the character device's own callbacks.
 *
 * A connection opens with HELLO.  A mediator that knows only protocol 1.0
 * closes it without a word; the next connection then goes without HELLO.
 *
 * Accesses
 * --------
 * Any address, 1 to 8 bytes, aligned or not.  A read collects bytes, so it may
 * straddle registers and buffers as it likes; beyond the BAR's end it is 0.  A
 * write is cut at register boundaries and applied in ascending order.  A write
 * that covers a part of a register leaves the other bytes as they are; the
 * other bytes of the DOORBELL and of IRQ_STATUS (write 1 to clear) count as 0.
 *
 * Everything here runs under QEMU's big lock.  The guest is hostile: it may
 * point its message signalled interrupt at this very BAR, so writes that
 * arrive while an interrupt is being sent are dropped (see irq_send()).
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "chardev/char-fe.h"
#include "hw/pci/msi.h"
#include "hw/pci/pci.h"
#include "hw/qdev-properties.h"
#include "migration/blocker.h"
#include "migration/vmstate.h"
#include "vgpu/vgpu_protocol.h"

/* ---- What differs between QEMU 4.2 and 10.2 ------------------------------ */

#define QEMU_AT_LEAST(major, minor)                                                                \
    (QEMU_VERSION_MAJOR > (major) ||                                                               \
     (QEMU_VERSION_MAJOR == (major) && QEMU_VERSION_MINOR >= (minor)))

#if QEMU_AT_LEAST(8, 0)
#include "hw/pci/pci_device.h"
#endif
#if QEMU_AT_LEAST(6, 0)
#include "hw/qdev-properties-system.h"
#endif

#if QEMU_AT_LEAST(10, 2)
typedef CharFrontend LinkFrontend;
#else
typedef CharBackend LinkFrontend;
#endif

#if QEMU_AT_LEAST(10, 1)
typedef const void ClassData;
#define INTERFACES const InterfaceInfo
#else
typedef void ClassData;
#define INTERFACES InterfaceInfo
#endif

#if QEMU_AT_LEAST(10, 0)
#define PROPERTIES const Property
#define PROPERTIES_END
#define device_set_reset(dc, fn) device_class_set_legacy_reset(dc, fn)
#else
#define PROPERTIES Property
#define PROPERTIES_END DEFINE_PROP_END_OF_LIST(),
#define device_set_reset(dc, fn) ((dc)->reset = (fn))
#endif

#if QEMU_AT_LEAST(9, 2)
#define SOCKET_RECONNECTS "reconnect-ms=1000"
#else
#define SOCKET_RECONNECTS "reconnect=1"
#endif

#if QEMU_AT_LEAST(8, 2)
#define blocker_add(reason, errp) migrate_add_blocker(reason, errp)
#define blocker_del(reason) migrate_del_blocker(reason)
#else
#define blocker_add(reason, errp) migrate_add_blocker(*(reason), errp)
#define blocker_del(reason) (migrate_del_blocker(*(reason)), error_free(*(reason)))
#endif

#if QEMU_AT_LEAST(6, 0)
typedef void WatchSource;
#else
typedef GIOChannel WatchSource;
#endif

#if QEMU_AT_LEAST(5, 0)
typedef QEMUChrEvent LinkEvent;
#else
#define device_class_set_props(dc, list) ((dc)->props = (list))
typedef int LinkEvent;
#endif

/* ---- State ---------------------------------------------------------------- */

#define TYPE_VGPU_STUB "vgpu-stub"
#define VGPU_STUB(obj) OBJECT_CHECK(VgpuStub, (obj), TYPE_VGPU_STUB)

/* Room for the largest request, HELLO, and the answers to a burst of pings. */
#define VGPU_TX_BYTES 4096u

typedef struct VgpuStub {
    PCIDevice parent_obj;
    MemoryRegion bar0;
    Error *migration_blocker;

    /* Properties, as the user gave them. */
    LinkFrontend chr;
    char *pool_name;
    char *priority_name;
    uint32_t vm_id_given;
    bool wait_mediator;
    bool own_chardev;

    /* What the VM is.  Not the guest's to change, so a reset leaves it alone. */
    uint32_t vm_id;
    uint8_t pool_id;
    uint8_t priority;

    /* Registers and buffers. */
    uint32_t status;
    uint32_t error_code;
    uint32_t request_len;
    uint32_t response_len;
    uint32_t irq_ctrl;
    uint32_t irq_status;
    uint32_t request_id;
    uint32_t scratch;
    uint64_t timestamp_us;
    uint8_t request[VGPU_REQUEST_BUFFER_BYTES];
    uint8_t response[VGPU_RESPONSE_BUFFER_BYTES];
    bool irq_sending;

    /* The request in flight: meaningful while status is BUSY. */
    uint32_t flight_tag;
    uint32_t flight_bytes;
    uint8_t flight[VGPU_REQUEST_BUFFER_BYTES];

    /* The link. */
    bool link_up;     /* frames can be sent and received */
    bool hello_sent;  /* on this connection */
    bool heard;       /* anything, on this connection */
    bool hello_skip;  /* the last peer hung up on our HELLO */
    bool peer_warned; /* one message per run of bad frames is enough */
    QEMUBH *drop_bh;
    guint tx_watch;
    uint32_t tx_bytes;
    uint32_t rx_bytes;
    uint8_t tx[VGPU_TX_BYTES];
    uint8_t rx[VGPU_SOCKET_FRAME_MAX];
} VgpuStub;

/*
 * The tag of the last REQUEST of any device in this process.  Shared, so that
 * a device that takes over another's character device (unplug, plug) can't
 * mistake an answer that is still on its way.
 */
static uint32_t last_tag;

static const char *stub_name(VgpuStub *s)
{
    return DEVICE(s)->id ? DEVICE(s)->id : "(no id)";
}

/* ---- Interrupts ------------------------------------------------------------ */

/*
 * Messages are edges: one is sent for each event, even while an earlier one is
 * not yet acknowledged, so that none is lost between a guest's read of
 * IRQ_STATUS and its write.  A message is a DMA write to an address of the
 * guest's choice; our own DOORBELL is such an address, and answering it from
 * here would recurse without end.
 */
static void irq_send(VgpuStub *s, uint32_t events)
{
    if (!(events & s->irq_ctrl) || !msi_enabled(&s->parent_obj) || s->irq_sending) {
        return;
    }
    s->irq_sending = true;
    msi_notify(&s->parent_obj, 0);
    s->irq_sending = false;
}

/* The INTx pin is a level: the function of the two registers. */
static void irq_update_level(VgpuStub *s)
{
    if (!msi_enabled(&s->parent_obj)) {
        pci_set_irq(&s->parent_obj, (s->irq_status & s->irq_ctrl) != 0);
    }
}

static void irq_raise(VgpuStub *s, uint32_t events)
{
    s->irq_status |= events;
    irq_update_level(s);
    irq_send(s, events);
}

static void stub_config_write(PCIDevice *pdev, uint32_t addr, uint32_t val, int len)
{
    pci_default_write_config(pdev, addr, val, len);
    /* A guest that turns MSI off gets the level that it has missed. */
    irq_update_level(VGPU_STUB(pdev));
}

/* ---- The end of a request --------------------------------------------------- */

static void request_complete(VgpuStub *s, uint32_t error_code)
{
    s->status = error_code == VGPU_ERR_NONE ? VGPU_STATUS_DONE : VGPU_STATUS_ERROR;
    s->error_code = error_code;
    s->timestamp_us = (uint64_t)(qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) / SCALE_US);
    irq_raise(s, VGPU_IRQ_COMPLETION);
}

/* ---- The link: sending ------------------------------------------------------- */

/* May run inside the character device's lock: must not call it. */
static void link_lost(VgpuStub *s)
{
    s->link_up = false;
    s->rx_bytes = 0;
    s->tx_bytes = 0;
    if (s->tx_watch) {
        g_source_remove(s->tx_watch);
        s->tx_watch = 0;
    }
    if (s->status == VGPU_STATUS_BUSY && !s->wait_mediator) {
        request_complete(s, VGPU_ERR_MEDIATOR_UNAVAILABLE);
    }
}

static void link_drop(VgpuStub *s, const char *why)
{
    if (!s->peer_warned) {
        warn_report("vgpu-stub %s: %s; disconnecting from the mediator", stub_name(s), why);
        s->peer_warned = true;
    }
    link_lost(s);
    qemu_bh_schedule(s->drop_bh);
}

/* Not while a socket still connects: QEMU aborts when that is cut short. */
static void link_disconnect(VgpuStub *s)
{
    if (qemu_chr_fe_backend_open(&s->chr)) {
        qemu_chr_fe_disconnect(&s->chr);
    }
}

static void link_drop_bh(void *opaque)
{
    link_disconnect(opaque);
}

static gboolean link_writable(WatchSource *source, GIOCondition cond, void *opaque);

static void link_flush(VgpuStub *s)
{
    while (s->link_up && s->tx_bytes > 0) {
        int n = qemu_chr_fe_write(&s->chr, s->tx, s->tx_bytes);

        if (!s->link_up) {
            return; /* the write found the peer gone: CHR_EVENT_CLOSED came from within */
        }
        if (n > 0) {
            s->tx_bytes -= n;
            memmove(s->tx, s->tx + n, s->tx_bytes);
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            if (!s->tx_watch) {
                s->tx_watch = qemu_chr_fe_add_watch(&s->chr, G_IO_OUT | G_IO_HUP, link_writable, s);
            }
            if (s->tx_watch) {
                return;
            }
        }
        link_drop(s, "can't send");
    }
}

static gboolean link_writable(WatchSource *source, GIOCondition cond, void *opaque)
{
    VgpuStub *s = opaque;

    s->tx_watch = 0;
    link_flush(s);
    return FALSE;
}

static void link_send(VgpuStub *s, uint32_t msg_type, uint32_t request_id, const void *payload,
                      uint32_t payload_bytes)
{
    VGPUSocketHeader header = {
        .magic = cpu_to_le32(VGPU_SOCKET_MAGIC),
        .msg_type = cpu_to_le32(msg_type),
        .vm_id = cpu_to_le32(s->vm_id),
        .request_id = cpu_to_le32(request_id),
        .pool_id = s->pool_id,
        .priority = s->priority,
        .payload_len = cpu_to_le32(payload_bytes),
    };

    if (!s->link_up) {
        return;
    }
    if (sizeof(header) + payload_bytes > sizeof(s->tx) - s->tx_bytes) {
        link_drop(s, "the peer does not read what is sent to it");
        return;
    }
    memcpy(s->tx + s->tx_bytes, &header, sizeof(header));
    memcpy(s->tx + s->tx_bytes + sizeof(header), payload, payload_bytes);
    s->tx_bytes += sizeof(header) + payload_bytes;
    link_flush(s);
}

static void link_send_hello(VgpuStub *s)
{
    VGPUHello hello = {
        .version = cpu_to_le32(VGPU_PROTOCOL_VERSION),
        .features = cpu_to_le32(VGPU_FEATURE_CONFIG),
    };

    link_send(s, VGPU_MSG_HELLO, 0, &hello, sizeof(hello));
}

static void request_send(VgpuStub *s)
{
    s->flight_tag = ++last_tag;
    link_send(s, VGPU_MSG_REQUEST, s->flight_tag, s->flight, s->flight_bytes);
}

/* ---- The link: receiving ------------------------------------------------------ */

/* RESPONSE, BUSY or QUARANTINED: the one answer to the request in flight. */
static void frame_answer(VgpuStub *s, uint32_t msg_type, uint32_t request_id,
                         const uint8_t *payload, uint32_t payload_bytes)
{
    uint32_t status = VGPU_ERR_NONE;

    if (payload_bytes >= sizeof(VGPUResponse)) {
        status = ldl_le_p(payload + offsetof(VGPUResponse, status));
    } else if (payload_bytes > 0 || msg_type == VGPU_MSG_RESPONSE) {
        link_drop(s, "received an answer shorter than its header");
        return;
    }
    if (s->status != VGPU_STATUS_BUSY || request_id != s->flight_tag) {
        return;
    }
    if (status == VGPU_ERR_NONE && msg_type == VGPU_MSG_BUSY) {
        status = VGPU_ERR_QUEUE_FULL;
    } else if (status == VGPU_ERR_NONE && msg_type == VGPU_MSG_QUARANTINED) {
        status = VGPU_ERR_VM_QUARANTINED;
    }
    memcpy(s->response, payload, payload_bytes);
    memset(s->response + payload_bytes, 0, sizeof(s->response) - payload_bytes);
    s->response_len = payload_bytes;
    request_complete(s, status);
}

static void frame_config(VgpuStub *s, uint32_t request_id, const uint8_t *payload,
                         uint32_t payload_bytes)
{
    VGPUConfig config;
    uint32_t vm_id;
    bool changed;

    if (payload_bytes < sizeof(config)) {
        link_drop(s, "received a CONFIG that is too short");
        return;
    }
    memcpy(&config, payload, sizeof(config));
    vm_id = le32_to_cpu(config.vm_id);
    if (config.pool_id < VGPU_POOL_FIRST || config.pool_id > VGPU_POOL_LAST ||
        config.priority > VGPU_PRIORITY_HIGH) {
        link_drop(s, "received a CONFIG with an unknown pool or priority");
        return;
    }
    changed = vm_id != s->vm_id || config.pool_id != s->pool_id || config.priority != s->priority;
    s->vm_id = vm_id;
    s->pool_id = config.pool_id;
    s->priority = config.priority;
    link_send(s, VGPU_MSG_CONFIG, request_id, &config, sizeof(config));
    if (changed) {
        irq_raise(s, VGPU_IRQ_CONFIG);
    }
}

static void frame_dispatch(VgpuStub *s, uint32_t msg_type, uint32_t request_id,
                           const uint8_t *payload, uint32_t payload_bytes)
{
    switch (msg_type) {
    case VGPU_MSG_RESPONSE:
    case VGPU_MSG_BUSY:
    case VGPU_MSG_QUARANTINED: frame_answer(s, msg_type, request_id, payload, payload_bytes); break;
    case VGPU_MSG_PING:
        if (payload_bytes > VGPU_PING_BYTES_MAX) {
            link_drop(s, "received a PING that is too long");
            break;
        }
        link_send(s, VGPU_MSG_PONG, request_id, payload, payload_bytes);
        break;
    case VGPU_MSG_CONFIG:
        /* Offered in HELLO; without it, the peer has no business to send one. */
        if (s->hello_sent) {
            frame_config(s, request_id, payload, payload_bytes);
        }
        break;
    default:
        /* HELLO grants what was offered; PONG and later messages need no answer. */
        break;
    }
}

/* Takes one frame off the front of rx.  Returns whether there was one. */
static bool link_take_frame(VgpuStub *s)
{
    VGPUSocketHeader header;
    uint32_t payload_bytes, frame_bytes;

    if (s->rx_bytes < sizeof(header)) {
        return false;
    }
    memcpy(&header, s->rx, sizeof(header));
    payload_bytes = le32_to_cpu(header.payload_len);
    if (le32_to_cpu(header.magic) != VGPU_SOCKET_MAGIC) {
        link_drop(s, "received something that is no frame (wrong magic)");
        return false;
    }
    if (payload_bytes > VGPU_SOCKET_PAYLOAD_MAX) {
        link_drop(s, "received a frame that is too long");
        return false;
    }
    frame_bytes = sizeof(header) + payload_bytes;
    if (s->rx_bytes < frame_bytes) {
        return false;
    }
    frame_dispatch(s, le32_to_cpu(header.msg_type), le32_to_cpu(header.request_id),
                   s->rx + sizeof(header), payload_bytes);
    if (!s->link_up) {
        return false; /* dropped; rx is empty already */
    }
    s->peer_warned = false;
    s->rx_bytes -= frame_bytes;
    memmove(s->rx, s->rx + frame_bytes, s->rx_bytes);
    return true;
}

static int link_can_read(void *opaque)
{
    VgpuStub *s = opaque;

    return s->link_up ? sizeof(s->rx) - s->rx_bytes : 0;
}

static void link_read(void *opaque, const uint8_t *buf, int size)
{
    VgpuStub *s = opaque;

    s->heard = true;
    while (size > 0 && s->link_up) {
        /* Never 0: a full rx holds a whole frame, which has been taken off. */
        uint32_t n = MIN((uint32_t)size, sizeof(s->rx) - s->rx_bytes);

        memcpy(s->rx + s->rx_bytes, buf, n);
        s->rx_bytes += n;
        buf += n;
        size -= n;
        while (link_take_frame(s)) {
        }
    }
}

static void link_event(void *opaque, LinkEvent event)
{
    VgpuStub *s = opaque;

    switch (event) {
    case CHR_EVENT_OPENED:
        qemu_bh_cancel(s->drop_bh);
        s->link_up = true;
        s->heard = false;
        s->hello_sent = !s->hello_skip;
        s->hello_skip = false;
        if (s->hello_sent) {
            link_send_hello(s);
        }
        if (s->status == VGPU_STATUS_BUSY) {
            request_send(s); /* it has waited for this: wait-mediator=on */
        }
        break;
    case CHR_EVENT_CLOSED:
        qemu_bh_cancel(s->drop_bh);
        /* Only once: a 1.0 mediator is recognised again if it restarts as a new one. */
        s->hello_skip = s->hello_sent && !s->heard;
        s->hello_sent = false;
        link_lost(s);
        break;
    default: break;
    }
}

/* ---- Registers ------------------------------------------------------------------ */

static void doorbell(VgpuStub *s)
{
    if (s->status == VGPU_STATUS_BUSY) {
        qemu_log_mask(LOG_GUEST_ERROR, "vgpu-stub %s: doorbell while busy, ignored\n",
                      stub_name(s));
        return;
    }
    s->status = VGPU_STATUS_BUSY;
    s->error_code = VGPU_ERR_NONE;
    s->response_len = 0;
    if (s->request_len == 0) {
        request_complete(s, VGPU_ERR_INVALID_LENGTH);
        return;
    }
    if (s->request_len > sizeof(s->request)) {
        request_complete(s, VGPU_ERR_REQUEST_TOO_LARGE);
        return;
    }
    if (!s->link_up && !s->wait_mediator) {
        request_complete(s, VGPU_ERR_MEDIATOR_UNAVAILABLE);
        return;
    }
    memcpy(s->flight, s->request, s->request_len);
    s->flight_bytes = s->request_len;
    if (s->link_up) {
        request_send(s);
    }
}

static uint32_t reg_read(VgpuStub *s, uint32_t reg)
{
    switch (reg) {
    case VGPU_REG_STATUS: return s->status;
    case VGPU_REG_POOL_ID: return s->pool_id;
    case VGPU_REG_PRIORITY: return s->priority;
    case VGPU_REG_VM_ID: return s->vm_id;
    case VGPU_REG_ERROR_CODE: return s->error_code;
    case VGPU_REG_REQUEST_LEN: return s->request_len;
    case VGPU_REG_RESPONSE_LEN: return s->response_len;
    case VGPU_REG_PROTOCOL_VER: return VGPU_PROTOCOL_VERSION;
    case VGPU_REG_CAPABILITIES: return VGPU_CAP_BASIC | VGPU_CAP_INTERRUPT;
    case VGPU_REG_IRQ_CTRL: return s->irq_ctrl;
    case VGPU_REG_IRQ_STATUS: return s->irq_status;
    case VGPU_REG_REQUEST_ID: return s->request_id;
    case VGPU_REG_TIMESTAMP_LO: return (uint32_t)s->timestamp_us;
    case VGPU_REG_TIMESTAMP_HI: return (uint32_t)(s->timestamp_us >> 32);
    case VGPU_REG_SCRATCH: return s->scratch;
    default: return 0; /* DOORBELL */
    }
}

/* mask: the bytes of the register that the guest wrote; val is 0 outside it. */
static void reg_write(VgpuStub *s, uint32_t reg, uint32_t val, uint32_t mask)
{
    uint32_t merged = (reg_read(s, reg) & ~mask) | val;
    uint32_t before = s->irq_ctrl;

    switch (reg) {
    case VGPU_REG_DOORBELL:
        if (val == 1) {
            doorbell(s);
        }
        break;
    case VGPU_REG_REQUEST_LEN: s->request_len = merged; break;
    case VGPU_REG_REQUEST_ID: s->request_id = merged; break;
    case VGPU_REG_SCRATCH: s->scratch = merged; break;
    case VGPU_REG_IRQ_CTRL:
        s->irq_ctrl = merged & VGPU_IRQ_ALL;
        irq_update_level(s);
        irq_send(s, s->irq_status & ~before); /* it happened before it was asked for */
        break;
    case VGPU_REG_IRQ_STATUS:
        s->irq_status &= ~val;
        irq_update_level(s);
        break;
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "vgpu-stub %s: write to read-only register 0x%03x\n",
                      stub_name(s), reg);
        break;
    }
}

static uint8_t bar0_read_byte(VgpuStub *s, hwaddr addr)
{
    if (addr < VGPU_REG_END) {
        return reg_read(s, addr & ~3u) >> (8 * (addr & 3));
    }
    if (addr < VGPU_RESPONSE_BUFFER) {
        return s->request[addr - VGPU_REQUEST_BUFFER];
    }
    if (addr < VGPU_PROTOCOL2_BLOCK) {
        return s->response[addr - VGPU_RESPONSE_BUFFER];
    }
    return 0;
}

static uint64_t bar0_read(void *opaque, hwaddr addr, unsigned size)
{
    VgpuStub *s = opaque;
    uint64_t val = 0;
    unsigned i;

    for (i = 0; i < size; i++) {
        val |= (uint64_t)bar0_read_byte(s, addr + i) << (8 * i);
    }
    return val;
}

static void bar0_write(void *opaque, hwaddr addr, uint64_t val, unsigned size)
{
    VgpuStub *s = opaque;

    if (s->irq_sending) {
        qemu_log_mask(LOG_GUEST_ERROR,
                      "vgpu-stub %s: interrupt aimed at a vgpu-stub's own BAR, write dropped\n",
                      stub_name(s));
        return;
    }
    while (size > 0) {
        unsigned n = 1;

        if (addr < VGPU_REG_END) {
            unsigned first = addr & 3;
            uint32_t mask;

            n = MIN(size, 4 - first);
            mask = (uint32_t)(((1ull << (8 * n)) - 1) << (8 * first));
            reg_write(s, addr & ~3u, (uint32_t)(val << (8 * first)) & mask, mask);
        } else if (addr < VGPU_RESPONSE_BUFFER) {
            s->request[addr - VGPU_REQUEST_BUFFER] = val;
        }
        addr += n;
        val >>= 8 * n;
        size -= n;
    }
}

static const MemoryRegionOps bar0_ops = {
    .read = bar0_read,
    .write = bar0_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
    .impl = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
};

/* ---- Life ------------------------------------------------------------------------ */

static void stub_reset(DeviceState *dev)
{
    VgpuStub *s = VGPU_STUB(dev);

    /* A request in flight is abandoned: its answer finds STATUS or the tag changed. */
    s->status = VGPU_STATUS_IDLE;
    s->error_code = VGPU_ERR_NONE;
    s->request_len = 0;
    s->response_len = 0;
    s->irq_ctrl = 0;
    s->irq_status = 0;
    s->request_id = 0;
    s->scratch = 0;
    s->timestamp_us = 0;
    memset(s->request, 0, sizeof(s->request));
    memset(s->response, 0, sizeof(s->response));
    irq_update_level(s);
}

static bool stub_parse_properties(VgpuStub *s, Error **errp)
{
    static const char *const names[] = {"low", "medium", "high"};
    const char *pool = s->pool_name ? s->pool_name : "A";
    const char *priority = s->priority_name ? s->priority_name : "medium";
    unsigned i;

    if (pool[0] < VGPU_POOL_FIRST || pool[0] > VGPU_POOL_LAST || pool[1] != '\0') {
        error_setg(errp, "vgpu-stub: pool_id '%s' is not one letter from A to Z", pool);
        return false;
    }
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        if (!strcmp(priority, names[i]) || (priority[0] == '0' + (char)i && priority[1] == '\0')) {
            s->pool_id = pool[0];
            s->priority = i;
            s->vm_id = s->vm_id_given;
            return true;
        }
    }
    error_setg(errp, "vgpu-stub: priority '%s' is none of low, medium, high, 0, 1, 2", priority);
    return false;
}

/* Without a chardev property: a client of our own to the mediator's usual place. */
static bool stub_default_chardev(VgpuStub *s, Error **errp)
{
    static unsigned serial;
    Chardev *chr;
    char *label;

    if (qemu_chr_fe_backend_connected(&s->chr)) {
        return true;
    }
    label = g_strdup_printf("vgpu-stub-%u", serial++);
    while (qemu_chr_find(label)) {
        g_free(label); /* the user has one of that name */
        label = g_strdup_printf("vgpu-stub-%u", serial++);
    }
    chr = qemu_chr_new(label, "unix:" VGPU_SOCKET_PATH "," SOCKET_RECONNECTS, NULL);
    if (!chr) {
        error_setg(errp,
                   "vgpu-stub: can't create the default character device '%s'; give one "
                   "with the chardev property",
                   label);
        g_free(label);
        return false;
    }
    g_free(label);
    s->own_chardev = true;
    return qemu_chr_fe_init(&s->chr, chr, errp);
}

static void stub_realize(PCIDevice *pdev, Error **errp)
{
    VgpuStub *s = VGPU_STUB(pdev);
    Error *err = NULL;

    if (!stub_parse_properties(s, errp)) {
        return;
    }
    error_setg(&s->migration_blocker,
               "vgpu-stub device '%s' has its state in the host's vgpu-mediator and can't be "
               "migrated or saved: unplug it first",
               stub_name(s));
    if (blocker_add(&s->migration_blocker, errp) < 0) {
#if !QEMU_AT_LEAST(8, 2)
        error_free(s->migration_blocker);
#endif
        s->migration_blocker = NULL;
        return;
    }
    if (!stub_default_chardev(s, errp)) {
        blocker_del(&s->migration_blocker);
        s->migration_blocker = NULL;
        return;
    }

    pci_config_set_interrupt_pin(pdev->config, 1);
    if (msi_init(pdev, 0, 1, true, false, &err) < 0) {
        error_free(err); /* a board without MSI: the INTx pin does */
    }
    memory_region_init_io(&s->bar0, OBJECT(s), &bar0_ops, s, "vgpu-stub-bar0", VGPU_BAR0_BYTES);
    pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->bar0);

    s->drop_bh = qemu_bh_new(link_drop_bh, s);
    qemu_chr_fe_set_handlers(&s->chr, link_can_read, link_read, link_event, NULL, s, NULL, true);
}

static void stub_exit(PCIDevice *pdev)
{
    VgpuStub *s = VGPU_STUB(pdev);

    /* From here on nothing of the link calls back. */
    qemu_chr_fe_set_handlers(&s->chr, NULL, NULL, NULL, NULL, NULL, NULL, true);
    s->status = VGPU_STATUS_IDLE;
    link_lost(s);
    qemu_bh_delete(s->drop_bh);
    s->drop_bh = NULL;
    /* The mediator sees the device go, and unread answers go with the connection. */
    link_disconnect(s);
    if (s->own_chardev) {
        qemu_chr_fe_deinit(&s->chr, true);
    }
    msi_uninit(pdev);
    blocker_del(&s->migration_blocker);
    s->migration_blocker = NULL;
}

/*
 * Xen's "xen-save-devices-state" asks no migration blocker.  XCP-ng's QEMU asks there, and in
 * "query-migratable", for devices that are unmigratable; any other saves what it has.  So the
 * device says both, that it is unmigratable and, when it is saved all the same, an error.
 */
static int stub_pre_save(void *opaque)
{
    VgpuStub *s = opaque;

    error_report_err(error_copy(s->migration_blocker));
    return -EPERM;
}

static const VMStateDescription stub_vmstate = {
    .name = TYPE_VGPU_STUB,
    .unmigratable = 1,
    .pre_save = stub_pre_save,
    .fields = (VMStateField[]){VMSTATE_END_OF_LIST()},
};

static PROPERTIES stub_properties[] = {
    DEFINE_PROP_CHR("chardev", VgpuStub, chr),
    DEFINE_PROP_STRING("pool_id", VgpuStub, pool_name),
    DEFINE_PROP_STRING("priority", VgpuStub, priority_name),
    DEFINE_PROP_UINT32("vm_id", VgpuStub, vm_id_given, 0),
    DEFINE_PROP_BOOL("wait-mediator", VgpuStub, wait_mediator, false),
    PROPERTIES_END};

static void stub_class_init(ObjectClass *klass, ClassData *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = stub_realize;
    k->exit = stub_exit;
    k->config_write = stub_config_write;
    k->vendor_id = VGPU_PCI_VENDOR_ID;
    k->device_id = VGPU_PCI_DEVICE_ID;
    k->revision = VGPU_PCI_REVISION;
    k->class_id = VGPU_PCI_CLASS_ID;
    dc->desc = "Virtual GPU, served by vgpu-mediator";
    dc->vmsd = &stub_vmstate;
    device_set_reset(dc, stub_reset);
    device_class_set_props(dc, stub_properties);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static void stub_register_types(void)
{
    static INTERFACES interfaces[] = {
        {INTERFACE_CONVENTIONAL_PCI_DEVICE},
        {},
    };
    static const TypeInfo info = {
        .name = TYPE_VGPU_STUB,
        .parent = TYPE_PCI_DEVICE,
        .instance_size = sizeof(VgpuStub),
        .class_init = stub_class_init,
        .interfaces = interfaces,
    };

    type_register_static(&info);
}

type_init(stub_register_types)
