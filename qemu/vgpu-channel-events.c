/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an open channel and its worker signal to each other.
 *
 *   shared:  doorbell page --> the worker         worker --> the device's eventfd --> vector
 *   copied:  doorbell page --> the copy engine    worker --> its requests --> engine --> vector
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "vgpu-channel-internal.h"

/* ---- Interrupts ------------------------------------------------------------ */

static void on_interrupt(void *opaque)
{
    VgpuChannel *channel = opaque;

    if (vgpu_watch_take(&channel->interrupt)) {
        vgpu_channels_notify(channel->set, channel->vector);
    }
}

/* Of a machine that does not run the watch keeps the signal. */
void vgpu_channel_events_watch(VgpuChannel *channel)
{
    bool on = channel->has_events && channel->set->running;

    if (channel->copy) {
        if (on && channel->interrupt_held) {
            channel->interrupt_held = false;
            vgpu_channels_notify(channel->set, channel->vector);
        }
    } else if (channel->has_events) {
        qemu_set_fd_handler(event_notifier_get_fd(&channel->interrupt.ready),
                            on ? on_interrupt : NULL, NULL, channel);
    }
}

/* ---- Doorbells -------------------------------------------------------------- */

static uint64_t bar2_read(void *opaque, hwaddr addr, unsigned size)
{
    return 0;
}

static EventNotifier *doorbell_of(VgpuChannel *channel)
{
    return channel->copy ? vgpu_copy_doorbell(channel->copy) : &channel->doorbell;
}

/*
 * KVM signals a doorbell in the kernel, and never waits.  Without KVM, QEMU's own code would write
 * to the descriptor: that may be done to the copy engine's, which nobody else has.
 */
static bool is_ioeventfd(VgpuChannel *channel)
{
    return channel->copy || kvm_enabled();
}

bool vgpu_channel_events_possible(uint32_t transport)
{
    return (transport == VGPU_TRANSPORT_SHARED && kvm_enabled()) || vgpu_signal_possible();
}

/* Where no ioeventfd has caught it. */
static void bar2_write(void *opaque, hwaddr addr, uint64_t val, unsigned size)
{
    VgpuChannels *set = opaque;
    VgpuChannel *channel = &set->all[addr / VGPU_DOORBELL_PAGE];

    if (size == 4 && addr % VGPU_DOORBELL_PAGE == 0 && channel->has_events) {
        if (channel->copy) {
            event_notifier_set(vgpu_copy_doorbell(channel->copy));
        } else {
            vgpu_signal(event_notifier_get_fd(&channel->doorbell));
        }
    }
}

const MemoryRegionOps vgpu_doorbell_ops = {
    .read = bar2_read,
    .write = bar2_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
    .impl = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
};

static void on_copy_interrupt(void *opaque)
{
    VgpuChannel *channel = opaque;

    if (channel->set->running) {
        vgpu_channels_notify(channel->set, channel->vector);
    } else {
        channel->interrupt_held = true;
    }
}

static void on_copy_failed(void *opaque)
{
    vgpu_channel_copy_failed(opaque);
}

/* Starts the channel's copy engine.  Returns whether the descriptors were what they have to be. */
static bool copy_begin(VgpuChannel *channel, const int *fds)
{
    VgpuChannels *set = channel->set;
    const VGPUGeometry geometry = vgpu_channel_geometry(&channel->open);

    /* Xen maps guest memory for a moment only, and a vIOMMU may ask devices: under the big lock. */
    if (!set->copy_thread && set->uses.copy_thread && !xen_enabled() &&
        pci_device_iommu_address_space(PCI_DEVICE(set->uses.dev)) == &address_space_memory) {
        g_autofree char *id = g_strdup_printf("vgpu-copy-%p", set);

        set->copy_thread = iothread_create(id, NULL); /* NULL: the main loop does it */
    }
    channel->interrupt_held = false;
    channel->copy = vgpu_copy_start(
        &(VgpuCopyUses){
            .dev = set->uses.dev,
            .context = set->copy_thread ? iothread_get_aio_context(set->copy_thread)
                                        : qemu_get_aio_context(),
            .own_thread = set->copy_thread != NULL,
            .chunk = &channel->chunk0,
            .geometry = &geometry,
            .copied_bytes = set->uses.copied_bytes,
            .interrupt = on_copy_interrupt,
            .failed = on_copy_failed,
            .opaque = channel,
        },
        fds);
    return channel->copy != NULL;
}

static bool shared_begin(VgpuChannel *channel, const int *fds)
{
    if (!vgpu_watch_init(&channel->interrupt, fds[VGPU_FD_INTERRUPT])) {
        return false;
    }
    event_notifier_init_fd(&channel->doorbell, fds[VGPU_FD_DOORBELL]);
    return true;
}

bool vgpu_channel_events_begin(VgpuChannel *channel, const int *fds)
{
    bool copied = channel->transport == VGPU_TRANSPORT_COPIED;

    if (!(copied ? copy_begin : shared_begin)(channel, fds)) {
        return false;
    }
    channel->has_events = true;
    if (is_ioeventfd(channel)) {
        memory_region_add_eventfd(channel->set->uses.bar2, channel->number * VGPU_DOORBELL_PAGE, 4,
                                  false, 0, doorbell_of(channel));
    }
    vgpu_channel_events_watch(channel);
    return true;
}

void vgpu_channel_events_end(VgpuChannel *channel, enum vgpu_channel_reason reason)
{
    if (!channel->has_events) {
        return;
    }
    if (is_ioeventfd(channel)) {
        memory_region_del_eventfd(channel->set->uses.bar2, channel->number * VGPU_DOORBELL_PAGE, 4,
                                  false, 0, doorbell_of(channel));
    }
    channel->has_events = false;
    if (channel->copy) {
        vgpu_copy_stop(channel->copy, reason);
        channel->copy = NULL;
        if (reason != VGPU_CLOSED_NONE) {
            vgpu_channels_notify(channel->set, channel->vector);
        }
        return;
    }
    qemu_set_fd_handler(event_notifier_get_fd(&channel->interrupt.ready), NULL, NULL, NULL);
    event_notifier_cleanup(&channel->doorbell);
    vgpu_watch_cleanup(&channel->interrupt);
}
