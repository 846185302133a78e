/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The register test that runs inside a real guest, on the real CPU's accesses:
 * finds each vgpu device in sysfs, maps its BAR0 and checks identity, scratch
 * registers, accesses of 1 to 8 bytes at every alignment, bounds and errors.
 *
 *   guest_mmio           check all devices that are there; prints a line each
 *   guest_mmio sparse    the same, in the buffers at the first 128 offsets and every 13th: for
 *                        hosts where each access takes milliseconds
 *   guest_mmio submit N  N no-operation requests on the first device
 *
 * Exit status: 0 all right, 1 a check failed, 2 no device or no access to it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vgpu/vgpu_protocol.h"

#define PCI_FOLDER "/sys/bus/pci/devices"

static unsigned checks;
static int sparse;

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        checks++;                                                                                  \
        if (!(cond)) {                                                                             \
            printf("line %d: %s\n", __LINE__, #cond);                                              \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void environment_failed(const char *what, const char *path)
{
    printf("%s %s: %s\n", what, path, strerror(errno));
    exit(2);
}

static unsigned read_number(const char *folder, const char *file)
{
    char path[512];
    unsigned value = 0;
    FILE *f;

    snprintf(path, sizeof(path), PCI_FOLDER "/%s/%s", folder, file);
    f = fopen(path, "r");
    if (!f || fscanf(f, "%x", &value) != 1) {
        environment_failed("can't read", path);
    }
    fclose(f);
    return value;
}

static volatile uint8_t *map_bar0(const char *folder)
{
    char path[512];
    void *bar;
    int fd;

    snprintf(path, sizeof(path), PCI_FOLDER "/%s/enable", folder);
    fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, "1", 1) != 1) {
        environment_failed("can't write", path);
    }
    close(fd);
    snprintf(path, sizeof(path), PCI_FOLDER "/%s/resource0", folder);
    fd = open(path, O_RDWR | O_SYNC);
    if (fd < 0) {
        environment_failed("can't open", path);
    }
    bar = mmap(NULL, VGPU_BAR0_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bar == MAP_FAILED) {
        environment_failed("can't map", path);
    }
    close(fd);
    return bar;
}

static uint32_t reg(volatile uint8_t *bar, unsigned offset)
{
    return *(volatile uint32_t *)(bar + offset);
}

static void reg_set(volatile uint8_t *bar, unsigned offset, uint32_t value)
{
    *(volatile uint32_t *)(bar + offset) = value;
}

/* Single instructions of each size: a compiler may split what is not naturally aligned. */
static uint64_t load(volatile uint8_t *at, unsigned size)
{
    uint64_t value = 0;

    switch (size) {
    case 1: __asm__ volatile("movzbl (%1), %k0" : "=r"(value) : "r"(at) : "memory"); break;
    case 2: __asm__ volatile("movzwl (%1), %k0" : "=r"(value) : "r"(at) : "memory"); break;
    case 4: __asm__ volatile("movl (%1), %k0" : "=r"(value) : "r"(at) : "memory"); break;
    case 8: __asm__ volatile("movq (%1), %0" : "=r"(value) : "r"(at) : "memory"); break;
    }
    return value;
}

static void store(volatile uint8_t *at, uint64_t value, unsigned size)
{
    switch (size) {
    case 1: __asm__ volatile("movb %b0, (%1)" : : "q"(value), "r"(at) : "memory"); break;
    case 2: __asm__ volatile("movw %w0, (%1)" : : "r"(value), "r"(at) : "memory"); break;
    case 4: __asm__ volatile("movl %k0, (%1)" : : "r"(value), "r"(at) : "memory"); break;
    case 8: __asm__ volatile("movq %0, (%1)" : : "r"(value), "r"(at) : "memory"); break;
    }
}

static void check_identity(volatile uint8_t *bar)
{
    CHECK(reg(bar, VGPU_REG_PROTOCOL_VER) == VGPU_PROTOCOL_VERSION);
    CHECK(reg(bar, VGPU_REG_CAPABILITIES) & VGPU_CAP_BASIC);
    CHECK(reg(bar, VGPU_REG_POOL_ID) >= VGPU_POOL_FIRST);
    CHECK(reg(bar, VGPU_REG_POOL_ID) <= VGPU_POOL_LAST);
    CHECK(reg(bar, VGPU_REG_PRIORITY) <= VGPU_PRIORITY_HIGH);
    CHECK(reg(bar, VGPU_REG_DOORBELL) == 0);
}

static void check_registers(volatile uint8_t *bar)
{
    static const unsigned writable[] = {VGPU_REG_SCRATCH, VGPU_REG_REQUEST_ID,
                                        VGPU_REG_REQUEST_LEN};
    static const unsigned fixed[] = {
        VGPU_REG_STATUS,       VGPU_REG_POOL_ID,      VGPU_REG_PRIORITY,     VGPU_REG_VM_ID,
        VGPU_REG_ERROR_CODE,   VGPU_REG_RESPONSE_LEN, VGPU_REG_PROTOCOL_VER, VGPU_REG_CAPABILITIES,
        VGPU_REG_TIMESTAMP_LO, VGPU_REG_TIMESTAMP_HI};
    size_t i;

    for (i = 0; i < sizeof(writable) / sizeof(writable[0]); i++) {
        reg_set(bar, writable[i], 0xA5A5F00Du);
        CHECK(reg(bar, writable[i]) == 0xA5A5F00Du);
        store(bar + writable[i] + 1, 0x77, 1);
        CHECK(reg(bar, writable[i]) == 0xA5A5770Du);
        store(bar + writable[i] + 2, 0x1234, 2);
        CHECK(reg(bar, writable[i]) == 0x1234770Du);
        reg_set(bar, writable[i], 0);
    }
    for (i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        uint32_t before = reg(bar, fixed[i]);

        reg_set(bar, fixed[i], ~before);
        CHECK(reg(bar, fixed[i]) == before);
    }
}

/* The offset of the buffer that is looked at after this one. */
static unsigned next_offset(unsigned offset)
{
    return offset + (sparse && offset >= 128 ? 13 : 1);
}

static void check_buffers(volatile uint8_t *bar)
{
    uint8_t image[VGPU_REQUEST_BUFFER_BYTES];
    unsigned offset, size;
    uint64_t value;

    for (offset = 0; offset < sizeof(image); offset++) {
        image[offset] = (uint8_t)(offset * 7 + 1);
    }
    for (offset = 0; offset < sizeof(image); offset += size) {
        size = sparse && offset >= 128 ? 8 : 1;
        memcpy(&value, image + offset, size);
        store(bar + VGPU_REQUEST_BUFFER + offset, value, size);
    }
    for (size = 1; size <= 8; size *= 2) {
        for (offset = 0; offset + size <= 64; offset++) {
            memcpy(&value, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
            value ^= (uint64_t)offset << 3;
            memcpy(image + offset, &value, size);
            store(bar + VGPU_REQUEST_BUFFER + offset, value, size);
        }
        for (offset = 0; offset + size <= sizeof(image); offset = next_offset(offset)) {
            value = 0;
            memcpy(&value, image + offset, size);
            CHECK(load(bar + VGPU_REQUEST_BUFFER + offset, size) == value);
        }
    }
    for (offset = VGPU_RESPONSE_BUFFER; offset + 8 <= VGPU_BAR0_BYTES; offset += 40) {
        uint64_t before = load(bar + offset, 8);

        store(bar + offset, ~before, 8);
        CHECK(load(bar + offset, 8) == before);
        CHECK(offset < VGPU_PROTOCOL2_BLOCK || before == 0);
    }
    /* Across the border between two areas: 4 bytes of each. */
    CHECK(load(bar + VGPU_PROTOCOL2_BLOCK - 4, 8) >> 32 == 0);
    store(bar + VGPU_RESPONSE_BUFFER - 4, ~0ull, 8);
    CHECK((uint32_t)load(bar + VGPU_RESPONSE_BUFFER - 4, 8) == 0xFFFFFFFFu);
}

static uint32_t submit(volatile uint8_t *bar, const void *request, unsigned length,
                       uint32_t announced)
{
    unsigned i;
    uint32_t status;

    for (i = 0; i < length; i += 4) {
        reg_set(bar, VGPU_REQUEST_BUFFER + i, ((const uint32_t *)request)[i / 4]);
    }
    reg_set(bar, VGPU_REG_REQUEST_LEN, announced);
    reg_set(bar, VGPU_REG_DOORBELL, 1);
    do {
        status = reg(bar, VGPU_REG_STATUS);
    } while (status == VGPU_STATUS_BUSY);
    return status;
}

static void check_errors(volatile uint8_t *bar)
{
    reg_set(bar, VGPU_REG_IRQ_STATUS, VGPU_IRQ_ALL);
    CHECK(submit(bar, NULL, 0, 0) == VGPU_STATUS_ERROR);
    CHECK(reg(bar, VGPU_REG_ERROR_CODE) == VGPU_ERR_INVALID_LENGTH);
    CHECK(reg(bar, VGPU_REG_IRQ_STATUS) & VGPU_IRQ_COMPLETION);
    reg_set(bar, VGPU_REG_IRQ_STATUS, VGPU_IRQ_COMPLETION);
    CHECK(!(reg(bar, VGPU_REG_IRQ_STATUS) & VGPU_IRQ_COMPLETION));
    CHECK(submit(bar, NULL, 0, VGPU_REQUEST_BUFFER_BYTES + 1) == VGPU_STATUS_ERROR);
    CHECK(reg(bar, VGPU_REG_ERROR_CODE) == VGPU_ERR_REQUEST_TOO_LARGE);
    CHECK(submit(bar, NULL, 0, UINT32_MAX) == VGPU_STATUS_ERROR);
    CHECK(reg(bar, VGPU_REG_ERROR_CODE) == VGPU_ERR_REQUEST_TOO_LARGE);
    CHECK(reg(bar, VGPU_REG_TIMESTAMP_LO) || reg(bar, VGPU_REG_TIMESTAMP_HI));
}

static void submit_many(volatile uint8_t *bar, unsigned count)
{
    VGPURequest request = {.version = VGPU_PROTOCOL_VERSION, .opcode = VGPU_OP_NOP};
    unsigned i;

    for (i = 0; i < count; i++) {
        uint32_t status = submit(bar, &request, sizeof(request), sizeof(request));

        if (status != VGPU_STATUS_DONE) {
            printf("request %u: status %u, error %u\n", i, status, reg(bar, VGPU_REG_ERROR_CODE));
            exit(1);
        }
    }
    printf("%u requests done\n", count);
}

int main(int argc, char **argv)
{
    struct dirent *entry;
    unsigned found = 0;
    DIR *dir = opendir(PCI_FOLDER);

    sparse = argc == 2 && !strcmp(argv[1], "sparse");
    if (!dir) {
        environment_failed("can't open", PCI_FOLDER);
    }
    while ((entry = readdir(dir))) {
        volatile uint8_t *bar;

        if (entry->d_name[0] == '.' || read_number(entry->d_name, "vendor") != VGPU_PCI_VENDOR_ID ||
            read_number(entry->d_name, "device") != VGPU_PCI_DEVICE_ID) {
            continue;
        }
        found++;
        bar = map_bar0(entry->d_name);
        if (argc == 3 && !strcmp(argv[1], "submit")) {
            submit_many(bar, (unsigned)atoi(argv[2]));
            return 0;
        }
        CHECK(read_number(entry->d_name, "class") >> 8 == VGPU_PCI_CLASS_ID);
        checks = 0;
        check_identity(bar);
        check_registers(bar);
        check_buffers(bar);
        check_errors(bar);
        printf("%s: %u checks passed, vm_id %u pool %c priority %u\n", entry->d_name, checks,
               reg(bar, VGPU_REG_VM_ID), (int)reg(bar, VGPU_REG_POOL_ID),
               reg(bar, VGPU_REG_PRIORITY));
    }
    closedir(dir);
    if (!found) {
        printf("no vgpu device in " PCI_FOLDER "\n");
        return 2;
    }
    return 0;
}
