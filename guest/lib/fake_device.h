/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of the pci transport use this device.  It is made of the functions of mmio.h, and
 * linked in place of mmio.c.  It acts on DOORBELL within the access, as the real one does.
 * sysfs is a temporary folder of the same shape, and time passes in sleeps only.
 */
#ifndef VGPU_FAKE_DEVICE_H
#define VGPU_FAKE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "internal.h"

struct fake_device {
    _Alignas(8) uint8_t bar[VGPU_BAR0_BYTES];
    bool wide;           /* 8-byte accesses work */
    bool gone;           /* all ones */
    uint32_t busy_polls; /* STATUS reads until a job is over; UINT32_MAX: never */
    uint32_t busy_left;
    uint32_t end_status; /* STATUS when it is over */
    uint32_t end_error;
    uint32_t errors_left;    /* jobs that end so; then they succeed */
    uint32_t response_bytes; /* 0: what the answer has */
    uint32_t doorbells;
    void (*spoil)(uint8_t *response); /* changes the answer */
};

extern struct fake_device device;

uint32_t device_peek(uint32_t offset);
void device_poke(uint32_t offset, uint32_t value);

struct fake_time {
    uint64_t now_ns;
    uint64_t longest_ns;
    uint32_t sleeps;
    int unlock_fd; /* given back after a few sleeps */
};

extern struct fake_time fake_time;
extern const struct vgpu_clock fake_clock;

extern char sysfs_root[64];

/* Not 0: mapping a device's file fails with this errno. */
extern int fake_map_error;

/* A file that exists in that sysfs, its folders too. */
void sysfs_write(const char *path, const char *text);
void sysfs_add_device(const char *address, const char *vendor, const char *id, size_t bar_bytes);

/* Before and after each test: a new sysfs with two foreign devices, a new device, time 0. */
int fake_set_up(void **state);
int fake_tear_down(void **state);

#endif
