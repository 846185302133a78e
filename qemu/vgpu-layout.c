/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This part of vgpu-stub.so, and only of it, refuses to run in a QEMU whose
 * structures differ from those that the device was compiled against.
 *
 * QEMU's headers are no stable interface.  A patch release may grow PCIDevice,
 * and the device's own fields would then overlap it.  The sizes that the
 * running QEMU registered are compared with those of the headers, after all
 * types are registered and before any is used.
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "exec/memory.h"
#include "hw/pci/pci.h"

#if QEMU_VERSION_MAJOR >= 10
#error "QEMU 10 no longer tells the sizes of its types: compile the device in (qemu/build-qemu.sh)"
#endif

#if QEMU_VERSION_MAJOR >= 8
#include "hw/pci/pci_device.h"
#endif

static void layout_check(void)
{
    static const struct {
        const char *type;
        size_t bytes;
    } types[] = {
        {TYPE_DEVICE, sizeof(DeviceState)},
        {TYPE_PCI_DEVICE, sizeof(PCIDevice)},
        {TYPE_MEMORY_REGION, sizeof(MemoryRegion)},
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(types); i++) {
        size_t bytes = object_type_get_instance_size(types[i].type);

        if (bytes != types[i].bytes) {
            /* Too early for error_report() and exit(): the monitor is not set up yet. */
            fprintf(stderr,
                    "vgpu-stub was built for another QEMU (%d.%d.%d): its '%s' has %zu bytes, this "
                    "one's has %zu. Build it again with qemu/build-module.sh.\n",
                    QEMU_VERSION_MAJOR, QEMU_VERSION_MINOR, QEMU_VERSION_MICRO, types[i].type,
                    types[i].bytes, bytes);
            _exit(EXIT_FAILURE);
        }
    }
}

/* QEMU calls the functions of this kind right after those that register types. */
module_init(layout_check, MODULE_INIT_MIGRATION)
