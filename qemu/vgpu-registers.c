/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BAR0 of the device: the registers and buffers of protocol 1.0, the request in flight, and the
 * interrupts that tell of it.
 *
 * One request: the guest fills the request buffer, writes REQUEST_LEN and
 * rings the DOORBELL.  The device copies the buffer (the guest may write to it
 * again at once), sets STATUS to BUSY and sends the copy; the link gives it a
 * tag that no other request of this process ever had.  The mediator's answer
 * carries that tag; the device copies the payload to the response buffer, sets
 * STATUS to DONE or ERROR, takes the TIMESTAMP and raises VGPU_IRQ_COMPLETION.
 * An answer whose tag is not that of the request in flight belongs to one that
 * a reset abandoned: it is ignored.
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
 * Accesses
 * --------
 * Any address, 1 to 8 bytes, aligned or not.  A read collects bytes, so it may
 * straddle registers and buffers as it likes; beyond the BAR's end it is 0.  A
 * write is cut at register boundaries and applied in ascending order.  A write
 * that covers a part of a register leaves the other bytes as they are; the
 * other bytes of the DOORBELL and of IRQ_STATUS (write 1 to clear) count as 0.
 *
 * The guest is hostile: it may point its message signalled interrupt at this very BAR, so writes
 * that arrive while an interrupt is being sent are dropped (see vgpu_stub_send_message()).
 */
#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/timer.h"
#include "vgpu-stub.h"

static const char *stub_name(VgpuStub *s)
{
    return vgpu_device_name(DEVICE(s));
}

/* ---- Interrupts ------------------------------------------------------------ */

static bool messages_enabled(VgpuStub *s)
{
    return msi_enabled(&s->parent_obj) || msix_enabled(&s->parent_obj);
}

/*
 * A message is a DMA write to an address of the guest's choice; our own
 * DOORBELL is such an address, and answering it from here would recurse
 * without end.
 */
void vgpu_stub_send_message(void *opaque, uint32_t vector)
{
    VgpuStub *s = opaque;

    if (s->irq_sending) {
        return;
    }
    s->irq_sending = true;
    if (msix_enabled(&s->parent_obj)) {
        msix_notify(&s->parent_obj, vector);
    } else if (vector == 0 && msi_enabled(&s->parent_obj)) {
        msi_notify(&s->parent_obj, 0);
    }
    s->irq_sending = false;
}

/*
 * Messages are edges: one is sent for each event, even while an earlier one is
 * not yet acknowledged, so that none is lost between a guest's read of
 * IRQ_STATUS and its write.
 */
static void irq_send(VgpuStub *s, uint32_t events)
{
    if (events & s->irq_ctrl) {
        vgpu_stub_send_message(s, VGPU_VECTOR_CONFIG);
    }
}

/* The INTx pin is a level: the function of the two registers. */
void vgpu_stub_update_level(VgpuStub *s)
{
    if (!messages_enabled(s)) {
        pci_set_irq(&s->parent_obj, (s->irq_status & s->irq_ctrl) != 0);
    }
}

void vgpu_stub_raise(VgpuStub *s, uint32_t events)
{
    s->irq_status |= events;
    vgpu_stub_update_level(s);
    irq_send(s, events);
}

/* ---- The request in flight --------------------------------------------------- */

void vgpu_stub_send(VgpuStub *s)
{
    s->flight_tag = vgpu_link_request(&s->link, s->flight, s->flight_bytes);
}

void vgpu_stub_complete(VgpuStub *s, uint32_t error_code)
{
    s->status = error_code == VGPU_ERR_NONE ? VGPU_STATUS_DONE : VGPU_STATUS_ERROR;
    s->error_code = error_code;
    s->timestamp_us = (uint64_t)(qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) / SCALE_US);
    vgpu_stub_raise(s, VGPU_IRQ_COMPLETION);
}

void vgpu_stub_answered(void *opaque, uint32_t tag, uint32_t error_code, const uint8_t *payload,
                        uint32_t payload_bytes)
{
    VgpuStub *s = opaque;

    if (s->status != VGPU_STATUS_BUSY || tag != s->flight_tag) {
        return;
    }
    memcpy(s->response, payload, payload_bytes);
    memset(s->response + payload_bytes, 0, sizeof(s->response) - payload_bytes);
    s->response_len = payload_bytes;
    vgpu_stub_complete(s, error_code);
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
        vgpu_stub_complete(s, VGPU_ERR_INVALID_LENGTH);
        return;
    }
    if (s->request_len > sizeof(s->request)) {
        vgpu_stub_complete(s, VGPU_ERR_REQUEST_TOO_LARGE);
        return;
    }
    if (!vgpu_link_is_up(&s->link) && !s->wait_mediator) {
        vgpu_stub_complete(s, VGPU_ERR_MEDIATOR_UNAVAILABLE);
        return;
    }
    memcpy(s->flight, s->request, s->request_len);
    s->flight_bytes = s->request_len;
    if (vgpu_link_is_up(&s->link)) {
        vgpu_stub_send(s);
    }
}

static uint32_t reg_read(VgpuStub *s, uint32_t reg)
{
    switch (reg) {
    case VGPU_REG_STATUS: return s->status;
    case VGPU_REG_POOL_ID: return s->link.identity.pool_id;
    case VGPU_REG_PRIORITY: return s->link.identity.priority;
    case VGPU_REG_VM_ID: return s->link.identity.vm_id;
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
        vgpu_stub_update_level(s);
        irq_send(s, s->irq_status & ~before); /* it happened before it was asked for */
        break;
    case VGPU_REG_IRQ_STATUS:
        s->irq_status &= ~val;
        vgpu_stub_update_level(s);
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

/* A whole register of protocol 2; parts of them don't exist. */
static bool is_channel_register(VgpuStub *s, hwaddr addr, unsigned size)
{
    return s->channels && size == 4 && addr % 4 == 0 && addr >= VGPU_PROTOCOL2_BLOCK &&
           addr < VGPU_REG2_END;
}

static uint64_t bar0_read(void *opaque, hwaddr addr, unsigned size)
{
    VgpuStub *s = opaque;
    uint64_t val = 0;
    unsigned i;

    if (is_channel_register(s, addr, size)) {
        return vgpu_channels_read(s->channels, addr);
    }
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
    if (is_channel_register(s, addr, size)) {
        vgpu_channels_write(s->channels, addr, val);
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

const MemoryRegionOps vgpu_stub_bar0_ops = {
    .read = bar0_read,
    .write = bar0_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
    .impl = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
};

void vgpu_stub_reset_registers(VgpuStub *s)
{
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
    vgpu_stub_update_level(s);
}
