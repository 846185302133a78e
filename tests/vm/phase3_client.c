/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's client as it was written against the first 1.0 devices, before libvgpu: it knows the
 * registers by their numbers, looks at no revision, capability, interrupt or timestamp, leaves
 * rubbish in what 1.0 called reserved, copies its request byte by byte, and polls STATUS each
 * millisecond, 10 s long.  It includes nothing of this tree on purpose: what it relies on must not
 * change, whatever our headers say.
 *
 *   phase3_client A B         prints "A + B = C"
 *   phase3_client             prints the device's pool, priority and VM
 *
 * Exit status: 0 well done, 1 refused or no answer (said why), 2 no device.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    DOORBELL = 0x000,
    STATUS = 0x004,
    POOL_ID = 0x008,
    PRIORITY = 0x00c,
    VM_ID = 0x010,
    ERROR_CODE = 0x014,
    REQUEST_LEN = 0x018,
    RESPONSE_LEN = 0x01c,
    REQUEST = 0x040,
    RESPONSE = 0x440,
    STATUS_BUSY = 1,
    STATUS_DONE = 2,
    STATUS_ERROR = 3,
};

static volatile unsigned char *bar;

static unsigned file_number(const char *device, const char *name)
{
    char path[300];
    unsigned value = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.100s/%s", device, name);
    file = fopen(path, "r");
    if (!file || fscanf(file, "%x", &value) != 1) {
        value = 0;
    }
    if (file) {
        fclose(file);
    }
    return value;
}

static int map_device(const char *device)
{
    char path[300];
    void *map;
    int fd;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.100s/enable", device);
    fd = open(path, O_WRONLY);
    if (fd >= 0) {
        if (write(fd, "1", 1) != 1) {
            perror(path);
        }
        close(fd);
    }
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.100s/resource0", device);
    fd = open(path, O_RDWR | O_SYNC);
    if (fd < 0) {
        perror(path);
        return -1;
    }
    map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED) {
        perror(path);
        return -1;
    }
    bar = map;
    return 0;
}

static int find_device(void)
{
    DIR *folder = opendir("/sys/bus/pci/devices");
    struct dirent *entry;

    while (folder && (entry = readdir(folder)) != NULL) {
        if (file_number(entry->d_name, "vendor") == 0x1af4 &&
            file_number(entry->d_name, "device") == 0x1111) {
            return map_device(entry->d_name);
        }
    }
    return -1;
}

static uint32_t get(unsigned offset)
{
    return *(volatile uint32_t *)(bar + offset);
}

static void set(unsigned offset, uint32_t value)
{
    *(volatile uint32_t *)(bar + offset) = value;
}

static int add(uint32_t a, uint32_t b)
{
    /* version, opcode, flags, params, data offset and length, reserved; a, b */
    const uint32_t request[10] = {0x00010000, 1, 0, 2, 0, 0, 0xdeadbeef, 0xffffffff, a, b};
    const unsigned char *bytes = (const unsigned char *)request;
    uint32_t status = STATUS_BUSY, result;
    int polls;

    for (unsigned i = 0; i < sizeof(request); i++) {
        bar[REQUEST + i] = bytes[i];
    }
    set(REQUEST_LEN, sizeof(request));
    set(DOORBELL, 1);
    for (polls = 0; polls < 10000 && (status = get(STATUS)) == STATUS_BUSY; polls++) {
        usleep(1000);
    }
    if (status == STATUS_ERROR) {
        printf("error %u\n", get(ERROR_CODE));
        return 1;
    }
    if (status != STATUS_DONE) {
        printf("no answer, status %u\n", status);
        return 1;
    }
    if (get(RESPONSE_LEN) < 36 || get(RESPONSE) != 0x00010000 || get(RESPONSE + 4) != 0 ||
        get(RESPONSE + 8) < 1) {
        printf("an answer of %u bytes that is none\n", get(RESPONSE_LEN));
        return 1;
    }
    result = get(RESPONSE + 32);
    printf("%u + %u = %u\n", a, b, result);
    return 0;
}

int main(int argc, char **argv)
{
    if (find_device() < 0) {
        printf("no vGPU device\n");
        return 2;
    }
    if (argc == 3) {
        return add((uint32_t)strtoul(argv[1], NULL, 10), (uint32_t)strtoul(argv[2], NULL, 10));
    }
    printf("pool %c, priority %u, vm_id %u\n", (int)get(POOL_ID), get(PRIORITY), get(VM_ID));
    return 0;
}
