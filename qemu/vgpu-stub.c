/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-stub is the PCI device through which a guest reaches vgpu-mediator.
 *
 * How it works
 * ------------
 * The device is here the registers and buffers of BAR0 (protocol 1.0,
 * vgpu/vgpu_protocol.h) with at most one request in flight.  vgpu-channel.c
 * has the channels of protocol 2: a block of registers in BAR0 and the
 * doorbells of BAR2.  vgpu-link.c has the connection to the mediator and the
 * frames on it, vgpu-compat.h what differs between the versions of QEMU.
 *
 *   guest -- BAR0 --> vgpu-stub.c -- vgpu_link_request() --> vgpu-link.c --> mediator
 *         <-- MSI --              <----- VgpuLinkOps -------
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
 * Everything here runs under QEMU's big lock.  The guest is hostile: it may
 * point its message signalled interrupt at this very BAR, so writes that
 * arrive while an interrupt is being sent are dropped (see irq_send()).
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/log.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "migration/vmstate.h"
#include "vgpu-channel.h"
#include "vgpu-compat.h"
#include "vgpu-link.h"

/* ---- State ---------------------------------------------------------------- */

#define TYPE_VGPU_STUB "vgpu-stub"
/* The table has room for so many in one page, beside its pending bits. */
#define VGPU_VECTORS_MAX 128u
#define VGPU_STUB(obj) OBJECT_CHECK(VgpuStub, (obj), TYPE_VGPU_STUB)

typedef struct VgpuStub {
    PCIDevice parent_obj;
    MemoryRegion bar0, bar2;
    Error *migration_blocker;

    /* Properties, as the user gave them. */
    char *pool_name;
    char *priority_name;
    uint32_t vm_id_given;
    bool wait_mediator;
    uint32_t channel_count;
    char *transport_name;
    bool copy_thread;
    bool shared, copied; /* what transport_name says */

    /* Also who the VM is, which is not the guest's to change: a reset leaves it alone. */
    VgpuLink link;
    VgpuChannels *channels; /* NULL: none */

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
} VgpuStub;

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
static void send_message(void *opaque, uint32_t vector)
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
        send_message(s, VGPU_VECTOR_CONFIG);
    }
}

/* The INTx pin is a level: the function of the two registers. */
static void irq_update_level(VgpuStub *s)
{
    if (!messages_enabled(s)) {
        pci_set_irq(&s->parent_obj, (s->irq_status & s->irq_ctrl) != 0);
    }
}

static void irq_raise(VgpuStub *s, uint32_t events)
{
    s->irq_status |= events;
    irq_update_level(s);
    irq_send(s, events);
}

static bool is_bus_master(PCIDevice *pdev)
{
    return (pci_get_word(pdev->config + PCI_COMMAND) & PCI_COMMAND_MASTER) != 0;
}

static void stub_config_write(PCIDevice *pdev, uint32_t addr, uint32_t val, int len)
{
    VgpuStub *s = VGPU_STUB(pdev);
    bool was_master = is_bus_master(pdev);

    pci_default_write_config(pdev, addr, val, len);
    /* A guest that turns messages off gets the level that it has missed. */
    irq_update_level(s);
    if (s->channels && was_master && !is_bus_master(pdev)) {
        vgpu_channels_reset(s->channels, VGPU_CLOSED_BUS_MASTER);
    }
}

/* ---- The request in flight --------------------------------------------------- */

static void request_send(VgpuStub *s)
{
    s->flight_tag = vgpu_link_request(&s->link, s->flight, s->flight_bytes);
}

static void request_complete(VgpuStub *s, uint32_t error_code)
{
    s->status = error_code == VGPU_ERR_NONE ? VGPU_STATUS_DONE : VGPU_STATUS_ERROR;
    s->error_code = error_code;
    s->timestamp_us = (uint64_t)(qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) / SCALE_US);
    irq_raise(s, VGPU_IRQ_COMPLETION);
}

static void request_answered(void *opaque, uint32_t tag, uint32_t error_code,
                             const uint8_t *payload, uint32_t payload_bytes)
{
    VgpuStub *s = opaque;

    if (s->status != VGPU_STATUS_BUSY || tag != s->flight_tag) {
        return;
    }
    memcpy(s->response, payload, payload_bytes);
    memset(s->response + payload_bytes, 0, sizeof(s->response) - payload_bytes);
    s->response_len = payload_bytes;
    request_complete(s, error_code);
}

static void stub_link_opened(void *opaque)
{
    VgpuStub *s = opaque;

    if (s->status == VGPU_STATUS_BUSY) {
        request_send(s); /* it has waited for this: wait-mediator=on */
    }
}

static void stub_link_lost(void *opaque)
{
    VgpuStub *s = opaque;

    if (s->channels) {
        vgpu_channels_link_lost(s->channels);
    }
    if (s->status == VGPU_STATUS_BUSY && !s->wait_mediator) {
        request_complete(s, VGPU_ERR_MEDIATOR_UNAVAILABLE);
    }
}

static void stub_renamed(void *opaque)
{
    irq_raise(opaque, VGPU_IRQ_CONFIG);
}

static bool stub_channel_frame(void *opaque, uint32_t msg_type, const uint8_t *payload,
                               uint32_t payload_bytes, const int *fds, unsigned fd_count)
{
    VgpuStub *s = opaque;

    return vgpu_channels_frame(s->channels, msg_type, payload, payload_bytes, fds, fd_count);
}

static const VgpuLinkOps stub_link_ops = {
    .opened = stub_link_opened,
    .lost = stub_link_lost,
    .answered = request_answered,
    .renamed = stub_renamed,
    .channel = stub_channel_frame,
};

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
    if (!vgpu_link_is_up(&s->link) && !s->wait_mediator) {
        request_complete(s, VGPU_ERR_MEDIATOR_UNAVAILABLE);
        return;
    }
    memcpy(s->flight, s->request, s->request_len);
    s->flight_bytes = s->request_len;
    if (vgpu_link_is_up(&s->link)) {
        request_send(s);
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
    if (s->channels) {
        vgpu_channels_reset(s->channels, VGPU_CLOSED_RESET);
        vgpu_channels_reset_registers(s->channels);
    }
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
            s->link.identity.pool_id = pool[0];
            s->link.identity.priority = i;
            s->link.identity.vm_id = s->vm_id_given;
            return true;
        }
    }
    error_setg(errp, "vgpu-stub: priority '%s' is none of low, medium, high, 0, 1, 2", priority);
    return false;
}

static bool stub_parse_channels(VgpuStub *s, Error **errp)
{
    const char *transport = s->transport_name ? s->transport_name : "auto";

    if (s->channel_count > VGPU_CHANNELS_MAX || (s->channel_count & (s->channel_count - 1))) {
        error_setg(errp, "vgpu-stub: channels=%u is neither 0 nor a power of two up to %u",
                   s->channel_count, VGPU_CHANNELS_MAX);
        return false;
    }
    s->shared = strcmp(transport, "copied") != 0;
    s->copied = strcmp(transport, "shared") != 0;
    if (s->shared && s->copied && strcmp(transport, "auto")) {
        error_setg(errp, "vgpu-stub: transport '%s' is none of auto, shared, copied", transport);
        return false;
    }
    return true;
}

/* BAR2, and BAR4 with a vector for the device and one for each channel as far as they reach. */
static void stub_realize_channels(VgpuStub *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint32_t vectors = MIN(s->channel_count + 1, VGPU_VECTORS_MAX), i;
    Error *err = NULL;

    if (msix_init_exclusive_bar(pdev, vectors, 4, &err) < 0) {
        error_free(err); /* a board without messages: drivers poll */
        vectors = 0;
    }
    for (i = 0; i < vectors; i++) {
        msix_vector_use(pdev, i);
    }
    s->channels = vgpu_channels_new(&(VgpuChannelsUses){
        .dev = pdev,
        .link = &s->link,
        .bar2 = &s->bar2,
        .count = s->channel_count,
        .vectors = vectors,
        .shared_possible = s->shared,
        .copied_possible = s->copied,
        .copy_thread = s->copy_thread,
        .notify = send_message,
        .opaque = s,
    });
    pci_register_bar(pdev, 2, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->bar2);
}

static void stub_realize(PCIDevice *pdev, Error **errp)
{
    VgpuStub *s = VGPU_STUB(pdev);
    Error *err = NULL;

    if (!stub_parse_properties(s, errp) || !stub_parse_channels(s, errp)) {
        return;
    }
    error_setg(&s->migration_blocker,
               "vgpu-stub device '%s' has its state in the host's vgpu-mediator and can't be "
               "migrated or saved: unplug it first",
               stub_name(s));
    if (vgpu_blocker_add(&s->migration_blocker, errp) < 0) {
        return;
    }
    if (!vgpu_link_init(&s->link, DEVICE(s), &stub_link_ops, s, errp)) {
        vgpu_blocker_del(&s->migration_blocker);
        return;
    }

    pci_config_set_interrupt_pin(pdev->config, 1);
    if (msi_init(pdev, 0, 1, true, false, &err) < 0) {
        error_free(err); /* a board without MSI: the INTx pin does */
    }
    memory_region_init_io(&s->bar0, OBJECT(s), &bar0_ops, s, "vgpu-stub-bar0", VGPU_BAR0_BYTES);
    pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->bar0);
    if (s->channel_count) {
        stub_realize_channels(s);
    }
    vgpu_link_start(&s->link);
}

static void stub_exit(PCIDevice *pdev)
{
    VgpuStub *s = VGPU_STUB(pdev);

    s->status = VGPU_STATUS_IDLE; /* nobody is left who waits for the request in flight */
    vgpu_link_stop(&s->link);
    if (s->channels) {
        vgpu_channels_free(s->channels);
        s->channels = NULL;
        msix_uninit_exclusive_bar(pdev);
    }
    msi_uninit(pdev);
    vgpu_blocker_del(&s->migration_blocker);
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

static VgpuProperty stub_properties[] = {
    DEFINE_PROP_CHR("chardev", VgpuStub, link.chr),
    DEFINE_PROP_STRING("pool_id", VgpuStub, pool_name),
    DEFINE_PROP_STRING("priority", VgpuStub, priority_name),
    DEFINE_PROP_UINT32("vm_id", VgpuStub, vm_id_given, 0),
    DEFINE_PROP_BOOL("wait-mediator", VgpuStub, wait_mediator, false),
    DEFINE_PROP_UINT32("channels", VgpuStub, channel_count, 64),
    DEFINE_PROP_STRING("transport", VgpuStub, transport_name),
    DEFINE_PROP_BOOL("copy-thread", VgpuStub, copy_thread, true),
    VGPU_PROPERTIES_END};

static void stub_class_init(ObjectClass *klass, VgpuClassData *data)
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
    vgpu_class_set_reset(dc, stub_reset);
    device_class_set_props(dc, stub_properties);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static void stub_register_types(void)
{
    static VgpuInterfaceInfo interfaces[] = {
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
