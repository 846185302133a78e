/* SPDX-License-Identifier: BSD-3-Clause */
/* From an address to BAR0 as memory: which device, is it enabled, may it be mapped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"
#include "mmio.h"

static uint32_t choose_address(struct vgpu *v, const char *root, const char *wanted,
                               char address[VGPU_ADDRESS_BYTES])
{
    int found;

    if (!wanted) {
        char first[1][VGPU_ADDRESS_BYTES];

        found = vgpu_pci_find(root, first, 1);
        if (found > 0) {
            memcpy(address, first[0], VGPU_ADDRESS_BYTES);
            return VGPU_ERR_NONE;
        }
        return vgpu_set_error(v, VGPU_ERR_NO_DEVICE,
                              "no vgpu device in this machine (no PCI device %04x:%04x in "
                              "%s/bus/pci/devices); add a vgpu-stub device to the VM on the host, "
                              "or name a mediator's socket",
                              VGPU_PCI_VENDOR_ID, VGPU_PCI_DEVICE_ID, root);
    }
    if (!vgpu_pci_normalize(wanted, address)) {
        return vgpu_set_error(v, VGPU_ERR_ARGUMENT,
                              "\"%.32s\" is no PCI address; they look like 0000:00:05.0", wanted);
    }
    found = vgpu_pci_matches(root, address);
    if (found < 0) {
        return vgpu_set_error(v, VGPU_ERR_NO_DEVICE, "there is no PCI device at %s (%s)", address,
                              strerror(-found));
    }
    if (!found) {
        return vgpu_set_error(v, VGPU_ERR_NO_DEVICE,
                              "the PCI device at %s is not a vgpu device (%04x:%04x)", address,
                              VGPU_PCI_VENDOR_ID, VGPU_PCI_DEVICE_ID);
    }
    return VGPU_ERR_NONE;
}

static uint32_t open_failed(struct vgpu *v, const char *path)
{
    int error = errno;

    if (error == EACCES || error == EPERM) {
        return vgpu_set_error(v, VGPU_ERR_PERMISSION,
                              "%s: this user may not open %s; run as root, or give the user "
                              "access to that file",
                              v->description, path);
    }
    return vgpu_set_error(v, error == ENOENT ? VGPU_ERR_NO_DEVICE : VGPU_ERR_SYSTEM,
                          "%s: can't open %s: %s", v->description, path, strerror(error));
}

/* A device without a driver decodes no memory until somebody enables it. */
static uint32_t enable_device(struct vgpu *v, const char *folder)
{
    char path[VGPU_PATH_BYTES + 96], state = '0';
    uint32_t code = VGPU_ERR_NONE;
    int fd;

    snprintf(path, sizeof(path), "%s/enable", folder);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, &state, 1) != 1) {
            state = '0';
        }
        close(fd);
    }
    /* The file counts how often it was enabled: once is enough. */
    if (state != '0') {
        return code;
    }
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return open_failed(v, path);
    }
    /* EBUSY: a driver is bound to the device and has enabled it. */
    if (write(fd, "1", 1) != 1 && errno != EBUSY) {
        code = vgpu_set_error(v, VGPU_ERR_SYSTEM, "%s: can't enable the device through %s: %s",
                              v->description, path, strerror(errno));
    }
    close(fd);
    return code;
}

/*
 * With Secure Boot the kernel is locked down: root may open resource0, and not map
 * it.  The file reads "none [integrity] confidentiality", the mode in brackets.
 */
static bool is_locked_down(const char *sysfs_root)
{
    char path[VGPU_PATH_BYTES + 96], text[128];
    ssize_t length;
    int fd;

    snprintf(path, sizeof(path), "%s/kernel/security/lockdown", sysfs_root);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    length = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[length < 0 ? 0 : length] = '\0';
    return strchr(text, '[') && !strstr(text, "[none]");
}

static uint32_t map_failed(struct vgpu *v, const char *sysfs_root, const char *path, int error)
{
    if (error == EPERM && is_locked_down(sysfs_root)) {
        return vgpu_set_error(v, VGPU_ERR_PERMISSION,
                              "%s: this machine's kernel is locked down (Secure Boot), so no "
                              "program may map %s; turn Secure Boot off in this VM, or use the "
                              "device through a kernel driver",
                              v->description, path);
    }
    if (error == EPERM || error == EACCES) {
        return vgpu_set_error(v, VGPU_ERR_PERMISSION,
                              "%s: this user may not map %s: %s; run as root, outside of "
                              "containers and sandboxes",
                              v->description, path, strerror(error));
    }
    return vgpu_set_error(v, VGPU_ERR_SYSTEM,
                          "%s: can't map %s: %s; if a kernel driver has the device, unbind it "
                          "first",
                          v->description, path, strerror(error));
}

static uint32_t map_bar(struct vgpu *v, const char *sysfs_root, const char *path,
                        struct vgpu_bar *bar)
{
    struct stat status;

    if (fstat(bar->fd, &status) < 0) {
        return open_failed(v, path);
    }
    if (status.st_size < (off_t)VGPU_BAR0_BYTES) {
        return vgpu_set_error(v, VGPU_ERR_VERSION,
                              "%s: BAR0 has %lld bytes and should have %u; this is another kind "
                              "of device, or one of another version",
                              v->description, (long long)status.st_size, VGPU_BAR0_BYTES);
    }
    bar->bytes = (size_t)status.st_size;
    bar->base = mmio_map(bar->fd, bar->bytes);
    return bar->base == MAP_FAILED ? map_failed(v, sysfs_root, path, errno) : VGPU_ERR_NONE;
}

uint32_t vgpu_pci_map(struct vgpu *v, const char *wanted, struct vgpu_bar *bar)
{
    const char *root = vgpu_sysfs_root(v->options.sysfs_root);
    char address[VGPU_ADDRESS_BYTES], folder[VGPU_PATH_BYTES + 64], path[VGPU_PATH_BYTES + 96];
    uint32_t code = choose_address(v, root, wanted, address);

    v->options.sysfs_root = NULL; /* the caller's memory, and no longer needed */
    if (code != VGPU_ERR_NONE) {
        return code;
    }
    snprintf(v->description, sizeof(v->description), "pci %s", address);
    snprintf(folder, sizeof(folder), "%s/bus/pci/devices/%s", root, address);
    snprintf(path, sizeof(path), "%s/resource0", folder);
    code = enable_device(v, folder);
    if (code != VGPU_ERR_NONE) {
        return code;
    }
    bar->fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
    if (bar->fd < 0) {
        return open_failed(v, path);
    }
    code = map_bar(v, root, path, bar);
    if (code != VGPU_ERR_NONE) {
        close(bar->fd);
    }
    return code;
}
