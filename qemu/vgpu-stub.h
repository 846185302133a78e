/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This header is what the device's two halves know of each other: vgpu-stub.c has its life
 * (properties, start, reset, end), vgpu-registers.c its BAR0.  All of it runs under QEMU's big
 * lock.
 */
#ifndef VGPU_STUB_H
#define VGPU_STUB_H

#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "vgpu-channel.h"
#include "vgpu-compat.h"
#include "vgpu-link.h"

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
    bool shared, copied;   /* what transport_name says */
    uint64_t copied_bytes; /* property "copied-bytes", for reading; atomic */

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

/* BAR0: registers and buffers of protocol 1.0, and the registers of channels. */
extern const MemoryRegionOps vgpu_stub_bar0_ops;

/* As after power on.  A request in flight is abandoned. */
void vgpu_stub_reset_registers(VgpuStub *s);

/* Sends (again) the request in flight; the link is up. */
void vgpu_stub_send(VgpuStub *s);

/* Ends the request in flight: STATUS, ERROR_CODE, TIMESTAMP, interrupt. */
void vgpu_stub_complete(VgpuStub *s, uint32_t error_code);

/* VgpuLinkOps.answered.  An answer to a request that is no longer in flight is ignored. */
void vgpu_stub_answered(void *opaque, uint32_t tag, uint32_t error_code, const uint8_t *payload,
                        uint32_t payload_bytes);

/* Sets bits of IRQ_STATUS and sends the interrupt if IRQ_CTRL asks for it. */
void vgpu_stub_raise(VgpuStub *s, uint32_t events);

/* Sets the INTx pin as the registers say; for whoever has changed how interrupts are sent. */
void vgpu_stub_update_level(VgpuStub *s);

/* Sends message `vector` now, MSI-X or MSI.  opaque: the VgpuStub. */
void vgpu_stub_send_message(void *opaque, uint32_t vector);

#endif /* VGPU_STUB_H */
