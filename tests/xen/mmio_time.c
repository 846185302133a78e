/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What one access to the device costs, in a guest: mmio_time N makes N reads of
 * 4 bytes and N writes of 8 bytes and prints the microseconds of one of each.
 *
 * Exit status: 0, or 2: no device or no access to it.
 */
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vgpu/vgpu_protocol.h"

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int open_file(const char *folder, const char *name, int flags)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return open(path, flags);
}

/* Maps the BAR0 of the first device of ours. */
static volatile uint8_t *map_device(void)
{
    char want[64], found[128];
    void *bar = MAP_FAILED;
    glob_t devices;

    snprintf(want, sizeof(want), "PCI_ID=%04X:%04X\n", VGPU_PCI_VENDOR_ID, VGPU_PCI_DEVICE_ID);
    if (glob("/sys/bus/pci/devices/*", 0, NULL, &devices) != 0) {
        return NULL;
    }
    for (size_t i = 0; i < devices.gl_pathc && bar == MAP_FAILED; i++) {
        int fd = open_file(devices.gl_pathv[i], "uevent", O_RDONLY);
        ssize_t n = fd < 0 ? -1 : read(fd, found, sizeof(found) - 1);

        close(fd);
        if (n < 0) {
            continue;
        }
        found[n] = '\0';
        if (!strstr(found, want)) {
            continue;
        }
        fd = open_file(devices.gl_pathv[i], "enable", O_WRONLY);
        if (fd < 0 || write(fd, "1", 1) != 1) {
            break;
        }
        close(fd);
        fd = open_file(devices.gl_pathv[i], "resource0", O_RDWR | O_SYNC);
        bar = mmap(NULL, VGPU_BAR0_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    globfree(&devices);
    return bar == MAP_FAILED ? NULL : bar;
}

int main(int argc, char **argv)
{
    unsigned count = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
    volatile uint8_t *bar = map_device();
    uint64_t start_ns, read_ns, write_ns;

    if (!bar || count == 0) {
        fprintf(stderr, "mmio_time: no vgpu device, or no access to it\n");
        return 2;
    }
    start_ns = now_ns();
    for (unsigned i = 0; i < count; i++) {
        (void)*(volatile uint32_t *)(bar + VGPU_REG_STATUS);
    }
    read_ns = now_ns() - start_ns;
    start_ns = now_ns();
    for (unsigned i = 0; i < count; i++) {
        *(volatile uint64_t *)(bar + VGPU_REQUEST_BUFFER) = i;
    }
    write_ns = now_ns() - start_ns;
    printf("{\"accesses\":%u,\"read_us\":%.1f,\"write_us\":%.1f}\n", count,
           (double)read_ns / 1e3 / count, (double)write_ns / 1e3 / count);
    return 0;
}
