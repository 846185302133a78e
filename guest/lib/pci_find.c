/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding the device in sysfs by its PCI id: its address differs from VM to VM. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define PCI_DEVICES_MAX 64u

const char *vgpu_sysfs_root(const char *option)
{
    const char *environment;

    if (option) {
        return option;
    }
    environment = secure_getenv("VGPU_SYSFS_ROOT");
    return environment && *environment ? environment : "/sys";
}

/* dddd:bb:dd.f, hexadecimal; nothing else may end up in a path. */
static bool is_long_address(const char *text)
{
    static const char pattern[] = "hhhh:hh:hh.h";
    size_t i;

    for (i = 0; pattern[i]; i++) {
        if (pattern[i] == 'h' ? !isxdigit((unsigned char)text[i]) : text[i] != pattern[i]) {
            return false;
        }
    }
    return text[i] == '\0';
}

bool vgpu_pci_normalize(const char *text, char address[VGPU_ADDRESS_BYTES])
{
    char *p;
    int length =
        snprintf(address, VGPU_ADDRESS_BYTES, "%s%s", strlen(text) == 7 ? "0000:" : "", text);

    if (length < 0 || length >= (int)VGPU_ADDRESS_BYTES || !is_long_address(address)) {
        return false;
    }
    for (p = address; *p; p++) {
        *p = (char)tolower((unsigned char)*p);
    }
    return true;
}

static int read_id(const char *sysfs_root, const char *address, const char *file, unsigned long *id)
{
    char path[VGPU_PATH_BYTES + 64], text[32];
    ssize_t length;
    char *end;
    int fd, saved;

    snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/%s", sysfs_root, address, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    length = read(fd, text, sizeof(text) - 1);
    saved = errno;
    close(fd);
    if (length < 0) {
        return -saved;
    }
    text[length] = '\0';
    *id = strtoul(text, &end, 16);
    return end == text ? -EINVAL : 0;
}

int vgpu_pci_matches(const char *sysfs_root, const char *address)
{
    unsigned long vendor, device;
    int ret = read_id(sysfs_root, address, "vendor", &vendor);

    if (ret == 0) {
        ret = read_id(sysfs_root, address, "device", &device);
    }
    if (ret != 0) {
        return ret;
    }
    return vendor == VGPU_PCI_VENDOR_ID && device == VGPU_PCI_DEVICE_ID;
}

static int compare_addresses(const void *left, const void *right)
{
    return strcmp(left, right);
}

int vgpu_pci_find(const char *sysfs_root, char addresses[][VGPU_ADDRESS_BYTES], size_t capacity)
{
    char found[PCI_DEVICES_MAX][VGPU_ADDRESS_BYTES];
    char path[VGPU_PATH_BYTES + 64];
    struct dirent *entry;
    size_t count = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "%s/bus/pci/devices", sysfs_root);
    dir = opendir(path);
    if (!dir) {
        return -errno;
    }
    while (count < PCI_DEVICES_MAX && (entry = readdir(dir)) != NULL) {
        /* A device that can't be read has just gone: it is no candidate. */
        if (is_long_address(entry->d_name) && vgpu_pci_matches(sysfs_root, entry->d_name) == 1) {
            memcpy(found[count++], entry->d_name, strlen(entry->d_name) + 1);
        }
    }
    closedir(dir);
    qsort(found, count, sizeof(found[0]), compare_addresses);
    memcpy(addresses, found, (count < capacity ? count : capacity) * sizeof(found[0]));
    return (int)count;
}

int vgpu_list_devices(const char *sysfs_root, char addresses[][VGPU_ADDRESS_BYTES], size_t capacity)
{
    int count = vgpu_pci_find(vgpu_sysfs_root(sysfs_root), addresses, capacity);

    /* A machine without a PCI bus has no such folder, and no device. */
    return count == -ENOENT ? 0 : count < 0 ? VGPU_FAILED : count;
}
