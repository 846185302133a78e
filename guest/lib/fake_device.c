/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "fake_device.h"
#include "mmio.h"

/* ---- The device --------------------------------------------------------- */

struct fake_device device;

uint32_t device_peek(uint32_t offset)
{
    uint32_t value;

    memcpy(&value, device.bar + offset, 4);
    return value;
}

void device_poke(uint32_t offset, uint32_t value)
{
    memcpy(device.bar + offset, &value, 4);
}

/* Additions only, of numbers or of vectors. */
static void device_execute(void)
{
    uint8_t *response = device.bar + VGPU_RESPONSE_BUFFER;
    const uint8_t *request = device.bar + VGPU_REQUEST_BUFFER;
    VGPUResponse out = {.version = VGPU_PROTOCOL_VERSION, .exec_time_us = 9};
    VGPURequest in;
    uint32_t bytes = sizeof(out), a, b, i, n;

    memcpy(&in, request, sizeof(in));
    if (in.version != VGPU_PROTOCOL_VERSION) {
        device_poke(VGPU_REG_STATUS, VGPU_STATUS_ERROR);
        device_poke(VGPU_REG_ERROR_CODE, VGPU_ERR_INVALID_REQUEST);
        return;
    }
    if (in.opcode == VGPU_OP_CUDA_KERNEL) {
        memcpy(&a, request + 32, 4);
        memcpy(&b, request + 36, 4);
        a += b;
        memcpy(response + 32, &a, 4);
        out.result_count = 1;
        bytes = 36;
    } else if (in.opcode == VGPU_OP_VECTOR_ADD_I32) {
        n = in.data_length / 8;
        assert_int_equal(in.data_offset + in.data_length, device_peek(VGPU_REG_REQUEST_LEN));
        for (i = 0; i < n; i++) {
            memcpy(&a, request + in.data_offset + i * 4, 4);
            memcpy(&b, request + in.data_offset + (n + i) * 4, 4);
            a += b;
            memcpy(response + 32 + i * 4, &a, 4);
        }
        out.data_offset = 32;
        out.data_length = n * 4;
        bytes = 32 + n * 4;
    }
    memcpy(response, &out, sizeof(out));
    if (device.spoil) {
        device.spoil(response);
    }
    device_poke(VGPU_REG_RESPONSE_LEN, device.response_bytes ? device.response_bytes : bytes);
    device_poke(VGPU_REG_STATUS, VGPU_STATUS_DONE);
}

static void device_finish(void)
{
    if (device.errors_left > 0) {
        device.errors_left--;
        device_poke(VGPU_REG_STATUS, device.end_status);
        device_poke(VGPU_REG_ERROR_CODE, device.end_error);
    } else {
        device_poke(VGPU_REG_ERROR_CODE, 0);
        device_execute();
    }
}

static void device_write(uint32_t offset, uint32_t value)
{
    assert_true(offset == VGPU_REG_DOORBELL || offset == VGPU_REG_REQUEST_LEN ||
                (offset >= VGPU_REQUEST_BUFFER && offset < VGPU_RESPONSE_BUFFER));
    if (offset != VGPU_REG_DOORBELL) {
        device_poke(offset, value);
        return;
    }
    assert_int_equal(value, 1);
    assert_int_not_equal(device_peek(VGPU_REG_STATUS), VGPU_STATUS_BUSY);
    device.doorbells++;
    device_poke(VGPU_REG_STATUS, VGPU_STATUS_BUSY);
    device.busy_left = device.busy_polls;
    if (device.busy_left == 0) {
        device_finish();
    }
}

uint32_t mmio_read32(struct vgpu_mmio *mmio, uint32_t offset)
{
    uint32_t value;

    assert_true(offset % 4 == 0 && offset < VGPU_PROTOCOL2_BLOCK);
    mmio->reads++;
    if (device.gone) {
        return UINT32_MAX;
    }
    value = device_peek(offset);
    if (offset == VGPU_REG_STATUS && value == VGPU_STATUS_BUSY && device.busy_left != UINT32_MAX &&
        --device.busy_left == 0) {
        device_finish();
    }
    return value;
}

uint64_t mmio_read64(struct vgpu_mmio *mmio, uint32_t offset)
{
    uint64_t value;

    assert_true(offset % 8 == 0 && offset < VGPU_PROTOCOL2_BLOCK);
    mmio->reads++;
    memcpy(&value, device.bar + offset, 8);
    return device.gone || !device.wide ? UINT64_MAX : value;
}

void mmio_write32(struct vgpu_mmio *mmio, uint32_t offset, uint32_t value)
{
    assert_true(offset % 4 == 0);
    mmio->writes++;
    if (!device.gone) {
        device_write(offset, value);
    }
}

void mmio_write64(struct vgpu_mmio *mmio, uint32_t offset, uint64_t value)
{
    assert_true(offset % 8 == 0 && offset >= VGPU_REQUEST_BUFFER);
    mmio->writes++;
    if (device.wide && !device.gone) {
        device_write(offset, (uint32_t)value);
        device_write(offset + 4, (uint32_t)(value >> 32));
    }
}

int fake_map_error;

void *mmio_map(int fd, size_t bytes)
{
    if (fake_map_error) {
        errno = fake_map_error;
        return MAP_FAILED;
    }
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

/* ---- Time --------------------------------------------------------------- */

struct fake_time fake_time;

static uint64_t fake_now_ns(void *opaque)
{
    return fake_time.now_ns;
}

static void fake_sleep_ns(void *opaque, uint64_t duration_ns)
{
    fake_time.now_ns += duration_ns;
    fake_time.sleeps++;
    if (duration_ns > fake_time.longest_ns) {
        fake_time.longest_ns = duration_ns;
    }
    if (fake_time.sleeps == 5 && fake_time.unlock_fd >= 0) {
        close(fake_time.unlock_fd);
        fake_time.unlock_fd = -1;
    }
}

const struct vgpu_clock fake_clock = {fake_now_ns, fake_sleep_ns, NULL};

/* ---- sysfs -------------------------------------------------------------- */

char sysfs_root[64];

static void write_file(const char *folder, const char *name, const char *text, size_t bytes)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    fclose(file);
}

void sysfs_write(const char *path, const char *text)
{
    char folder[192];

    for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
        snprintf(folder, sizeof(folder), "%s/%.*s", sysfs_root, (int)(slash - path), path);
        assert_true(mkdir(folder, 0700) == 0 || errno == EEXIST);
    }
    write_file(sysfs_root, path, text, strlen(text));
}

void sysfs_add_device(const char *address, const char *vendor, const char *id, size_t bar_bytes)
{
    static const char zeros[VGPU_BAR0_BYTES];
    char folder[192];

    snprintf(folder, sizeof(folder), "%s/bus/pci/devices/%s", sysfs_root, address);
    assert_int_equal(mkdir(folder, 0700), 0);
    write_file(folder, "vendor", vendor, strlen(vendor));
    write_file(folder, "device", id, strlen(id));
    write_file(folder, "enable", "0\n", 2);
    write_file(folder, "resource0", zeros, bar_bytes);
}

int fake_set_up(void **state)
{
    static const char *const folders[] = {"/bus", "/bus/pci", "/bus/pci/devices"};
    const char *temporary = getenv("TMPDIR");
    char path[128];
    size_t i;

    snprintf(sysfs_root, sizeof(sysfs_root), "%.40s/vgpu-pci-XXXXXX",
             temporary ? temporary : "/tmp");
    assert_non_null(mkdtemp(sysfs_root));
    for (i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s%s", sysfs_root, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    sysfs_add_device("0000:00:01.0", "0x8086\n", "0x1237\n", VGPU_BAR0_BYTES);
    sysfs_add_device("0000:00:02.0", "0x1af4\n", "0x1000\n", VGPU_BAR0_BYTES);
    memset(&device, 0, sizeof(device));
    device.wide = true;
    device_poke(VGPU_REG_PROTOCOL_VER, VGPU_PROTOCOL_VERSION);
    device_poke(VGPU_REG_CAPABILITIES, VGPU_CAP_BASIC | VGPU_CAP_INTERRUPT);
    memset(&fake_time, 0, sizeof(fake_time));
    fake_time.unlock_fd = -1;
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    return remove(path);
}

int fake_tear_down(void **state)
{
    return nftw(sysfs_root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}
