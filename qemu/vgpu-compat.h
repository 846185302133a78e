/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This header hides from vgpu-stub what differs between QEMU 4.2 and 10.2.
 *
 * The device's other files know no version: they use the names that are defined here, which
 * mean the same with each QEMU.  A branch goes when the oldest QEMU that needs it is no longer
 * supported (docs/qemu.md, the table of lines).  It must be included after qemu/osdep.h.
 */
#ifndef HW_MISC_VGPU_COMPAT_H
#define HW_MISC_VGPU_COMPAT_H

#include "qapi/error.h"
#include "chardev/char-fe.h"
#include "hw/pci/pci.h"
#include "hw/qdev-properties.h"
#include "migration/blocker.h"

#define QEMU_AT_LEAST(major, minor)                                                                \
    (QEMU_VERSION_MAJOR > (major) ||                                                               \
     (QEMU_VERSION_MAJOR == (major) && QEMU_VERSION_MINOR >= (minor)))

#if QEMU_AT_LEAST(8, 0)
#include "hw/pci/pci_device.h"
#endif
#if QEMU_AT_LEAST(6, 0)
#include "hw/qdev-properties-system.h"
#endif
#include "block/aio.h"
#include "qemu/event_notifier.h"
#if __has_include("system/dma.h")
#include "system/dma.h"
#include "system/iothread.h"
#include "system/kvm.h"
#include "system/runstate.h"
#include "system/xen.h"
#else
#include "sysemu/dma.h"
#include "sysemu/iothread.h"
#include "sysemu/kvm.h"
#include "sysemu/runstate.h"
#if __has_include("sysemu/xen.h")
#include "sysemu/xen.h"
#else
#include "hw/xen/xen.h"
#endif
#endif

/* ---- Character devices ------------------------------------------------------ */

/* Our end of a character device. */
#if QEMU_AT_LEAST(10, 2)
typedef CharFrontend VgpuChrEnd;
#else
typedef CharBackend VgpuChrEnd;
#endif

/* The second argument of an event handler. */
#if QEMU_AT_LEAST(5, 0)
typedef QEMUChrEvent VgpuChrEvent;
#else
typedef int VgpuChrEvent;
#endif

/* The first argument of a watch. */
#if QEMU_AT_LEAST(6, 0)
typedef void VgpuWatchSource;
#else
typedef GIOChannel VgpuWatchSource;
#endif

/* A socket's option: connects again one second after the connection was lost. */
#if QEMU_AT_LEAST(9, 2)
#define VGPU_SOCKET_RECONNECTS "reconnect-ms=1000"
#else
#define VGPU_SOCKET_RECONNECTS "reconnect=1"
#endif

/* ---- Classes ------------------------------------------------------------------ */

#if QEMU_AT_LEAST(10, 1)
typedef const void VgpuClassData;
typedef const InterfaceInfo VgpuInterfaceInfo;
#else
typedef void VgpuClassData;
typedef InterfaceInfo VgpuInterfaceInfo;
#endif

/* A list of properties: "static VgpuProperty p[] = {DEFINE_..., VGPU_PROPERTIES_END};" */
#if QEMU_AT_LEAST(10, 0)
typedef const Property VgpuProperty;
#define VGPU_PROPERTIES_END
#else
typedef Property VgpuProperty;
#define VGPU_PROPERTIES_END DEFINE_PROP_END_OF_LIST()
#endif

static inline void vgpu_class_set_reset(DeviceClass *dc, void (*reset)(DeviceState *dev))
{
#if QEMU_AT_LEAST(10, 0)
    device_class_set_legacy_reset(dc, reset);
#else
    dc->reset = reset;
#endif
}

#if !QEMU_AT_LEAST(5, 0)
#define device_class_set_props(dc, list) ((dc)->props = (list))
#endif

/* A number of the object's that anybody may read. */
static inline void vgpu_property_add_number(Object *obj, const char *name, uint64_t *value)
{
#if QEMU_AT_LEAST(5, 1)
    object_property_add_uint64_ptr(obj, name, value, OBJ_PROP_FLAG_READ);
#else
    object_property_add_uint64_ptr(obj, name, value, NULL);
#endif
}

/* ---- Memory --------------------------------------------------------------------- */

/* Returns whether all bytes were read from the device's address space. */
static inline bool vgpu_dma_read(PCIDevice *dev, dma_addr_t address, void *to, dma_addr_t bytes)
{
#if QEMU_AT_LEAST(7, 0)
    return dma_memory_read(pci_get_address_space(dev), address, to, bytes,
                           MEMTXATTRS_UNSPECIFIED) == MEMTX_OK;
#else
    return dma_memory_read(pci_get_address_space(dev), address, to, bytes) == 0;
#endif
}

/* The same for writing. */
static inline bool vgpu_dma_write(PCIDevice *dev, dma_addr_t address, const void *from,
                                  dma_addr_t bytes)
{
#if QEMU_AT_LEAST(7, 0)
    return dma_memory_write(pci_get_address_space(dev), address, from, bytes,
                            MEMTXATTRS_UNSPECIFIED) == MEMTX_OK;
#else
    return dma_memory_write(pci_get_address_space(dev), address, from, bytes) == 0;
#endif
}

/* ---- Event loops ------------------------------------------------------------------- */

/* handler NULL: no more. */
static inline void vgpu_aio_set_notifier(AioContext *context, EventNotifier *notifier,
                                         EventNotifierHandler *handler)
{
#if QEMU_AT_LEAST(8, 1)
    aio_set_event_notifier(context, notifier, handler, NULL, NULL);
#elif QEMU_AT_LEAST(7, 0)
    aio_set_event_notifier(context, notifier, false, handler, NULL, NULL);
#else
    aio_set_event_notifier(context, notifier, false, handler, NULL);
#endif
}

/* ---- The machine's state ---------------------------------------------------------- */

/* The second argument of a handler: does the machine run now? */
#if QEMU_AT_LEAST(6, 0)
typedef bool VgpuRunning;
#else
typedef int VgpuRunning;
#endif

/* ---- Migration ------------------------------------------------------------------ */

/*
 * Takes *reason over: it lives until vgpu_blocker_del().  Returns 0, or -errno with errp set and
 * *reason freed and NULL.
 */
static inline int vgpu_blocker_add(Error **reason, Error **errp)
{
#if QEMU_AT_LEAST(8, 2)
    return migrate_add_blocker(reason, errp);
#else
    int r = migrate_add_blocker(*reason, errp);

    if (r < 0) {
        error_free(*reason);
        *reason = NULL;
    }
    return r;
#endif
}

/* *reason is freed and NULL afterwards. */
static inline void vgpu_blocker_del(Error **reason)
{
#if QEMU_AT_LEAST(8, 2)
    migrate_del_blocker(reason);
#else
    migrate_del_blocker(*reason);
    error_free(*reason);
    *reason = NULL;
#endif
}

#endif
