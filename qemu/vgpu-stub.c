/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-stub is the PCI device through which a guest reaches vgpu-mediator.
 *
 * How it works
 * ------------
 * This file has the device's life: properties, start, reset, end.
 * vgpu-registers.c has BAR0 (protocol 1.0, vgpu/vgpu_protocol.h) with at most
 * one request in flight, vgpu-channel.c the channels of protocol 2: a block of
 * registers in BAR0 and the doorbells of BAR2.  vgpu-link.c has the connection
 * to the mediator and the frames on it, vgpu-compat.h what differs between the
 * versions of QEMU.
 *
 *   guest -- BAR0 --> vgpu-registers.c -- vgpu_link_request() --> vgpu-link.c --> mediator
 *         <-- MSI --                   <----- VgpuLinkOps -------
 *
 * Everything here runs under QEMU's big lock.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "migration/vmstate.h"
#include "vgpu-stub.h"

/* ---- The link ------------------------------------------------------------------ */

static void stub_link_opened(void *opaque)
{
    VgpuStub *s = opaque;

    if (s->status == VGPU_STATUS_BUSY) {
        vgpu_stub_send(s); /* it has waited for this: wait-mediator=on */
    }
}

static void stub_greeted(void *opaque)
{
    VgpuStub *s = opaque;

    if (s->channels) {
        vgpu_channels_link_greeted(s->channels);
    }
}

static void stub_link_lost(void *opaque)
{
    VgpuStub *s = opaque;

    if (s->channels) {
        vgpu_channels_link_lost(s->channels);
    }
    if (s->status == VGPU_STATUS_BUSY && !s->wait_mediator) {
        vgpu_stub_complete(s, VGPU_ERR_MEDIATOR_UNAVAILABLE);
    }
}

static void stub_renamed(void *opaque)
{
    vgpu_stub_raise(opaque, VGPU_IRQ_CONFIG);
}

static bool stub_channel_frame(void *opaque, uint32_t msg_type, const uint8_t *payload,
                               uint32_t payload_bytes, const int *fds, unsigned fd_count)
{
    VgpuStub *s = opaque;

    return vgpu_channels_frame(s->channels, msg_type, payload, payload_bytes, fds, fd_count);
}

static const VgpuLinkOps stub_link_ops = {
    .opened = stub_link_opened,
    .greeted = stub_greeted,
    .lost = stub_link_lost,
    .answered = vgpu_stub_answered,
    .renamed = stub_renamed,
    .channel = stub_channel_frame,
};

/* ---- Life ------------------------------------------------------------------------ */

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
    vgpu_stub_update_level(s);
    if (s->channels && was_master && !is_bus_master(pdev)) {
        vgpu_channels_reset(s->channels, VGPU_CLOSED_BUS_MASTER);
    }
}

static void stub_reset(DeviceState *dev)
{
    VgpuStub *s = VGPU_STUB(dev);

    vgpu_stub_reset_registers(s);
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
        .copied_bytes = &s->copied_bytes,
        .notify = vgpu_stub_send_message,
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
               vgpu_device_name(DEVICE(s)));
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
    memory_region_init_io(&s->bar0, OBJECT(s), &vgpu_stub_bar0_ops, s, "vgpu-stub-bar0",
                          VGPU_BAR0_BYTES);
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

static void stub_instance_init(Object *obj)
{
    vgpu_property_add_number(obj, "copied-bytes", &VGPU_STUB(obj)->copied_bytes);
}

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
        .instance_init = stub_instance_init,
        .class_init = stub_class_init,
        .interfaces = interfaces,
    };

    type_register_static(&info);
}

type_init(stub_register_types)
