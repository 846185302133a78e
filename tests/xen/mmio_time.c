/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What accesses to the device cost, in a guest.
 *
 *   mmio_time access N     N reads of 4 bytes and N writes of 8: microseconds of one of each
 *   mmio_time published N  N jobs, two numbers added, by the access sequence of protocol 1.0
 *                          as published: 4 bytes at a time, every field read, STATUS read
 *                          without a pause: accesses and microseconds of one job
 *
 * Exit status: 0; 1: a wrong sum or an error; 2: no device, no access to it, or usage.
 */
#include <fcntl.h>
#include <glob.h>
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

static volatile uint8_t *bar;
static unsigned reads, writes, polls;

static uint32_t get(uint32_t offset)
{
    reads++;
    return *(volatile uint32_t *)(bar + offset);
}

static void put(uint32_t offset, uint32_t value)
{
    writes++;
    *(volatile uint32_t *)(bar + offset) = value;
}

static int time_accesses(unsigned count)
{
    uint64_t start_ns = now_ns(), read_ns, write_ns;

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

/* One job; returns whether the sum is right. */
static int add_as_published(uint32_t a, uint32_t b)
{
    const VGPURequest header = {
        .version = VGPU_PROTOCOL_VERSION, .opcode = VGPU_OP_CUDA_KERNEL, .param_count = 2};
    const uint32_t params[2] = {a, b};
    uint32_t words[(sizeof(header) + sizeof(params)) / 4], status, length, sum = 0;

    memcpy(words, &header, sizeof(header));
    memcpy(words + sizeof(header) / 4, params, sizeof(params));
    for (uint32_t i = 0; i < sizeof(words) / 4; i++) {
        put(VGPU_REQUEST_BUFFER + 4 * i, words[i]);
    }
    put(VGPU_REG_REQUEST_LEN, sizeof(words));
    put(VGPU_REG_DOORBELL, 1);
    do {
        polls++;
        status = *(volatile uint32_t *)(bar + VGPU_REG_STATUS);
    } while (status == VGPU_STATUS_BUSY);
    if (get(VGPU_REG_ERROR_CODE) != VGPU_ERR_NONE || status != VGPU_STATUS_DONE) {
        return 0;
    }
    length = get(VGPU_REG_RESPONSE_LEN);
    for (uint32_t at = 0; at < length && at < VGPU_RESPONSE_BUFFER_BYTES; at += 4) {
        sum = get(VGPU_RESPONSE_BUFFER + at); /* the result comes last */
    }
    (void)get(VGPU_REG_TIMESTAMP_LO);
    (void)get(VGPU_REG_TIMESTAMP_HI);
    return sum == a + b;
}

static int time_published(unsigned count)
{
    uint64_t start_ns = now_ns();

    for (unsigned i = 0; i < count; i++) {
        if (!add_as_published(i, 1000)) {
            fprintf(stderr, "mmio_time: job %u failed\n", i);
            return 1;
        }
    }
    printf("{\"jobs\":%u,\"mmio_writes_per_job\":%.1f,\"mmio_reads_per_job\":%.1f,"
           "\"status_polls_per_job\":%.1f,\"job_us\":%.1f}\n",
           count, (double)writes / count, (double)(reads + polls) / count, (double)polls / count,
           (double)(now_ns() - start_ns) / 1e3 / count);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned count = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    int published = argc == 3 && strcmp(argv[1], "published") == 0;

    if (count == 0 || (!published && strcmp(argv[1], "access") != 0)) {
        fprintf(stderr, "usage: mmio_time access|published N\n");
        return 2;
    }
    bar = map_device();
    if (!bar) {
        fprintf(stderr, "mmio_time: no vgpu device, or no access to it\n");
        return 2;
    }
    return published ? time_published(count) : time_accesses(count);
}
