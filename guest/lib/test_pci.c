/* SPDX-License-Identifier: BSD-3-Clause */
/* The pci transport against fake_device.h: what it finds, what it costs, what it survives. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "fake_device.h"

static int try_open(const char *spec, struct vgpu_options *options, struct vgpu **v)
{
    struct vgpu_options defaults;
    int result;

    if (!options) {
        vgpu_options_init(&defaults);
        options = &defaults;
    }
    options->sysfs_root = sysfs_root;
    result = vgpu_open(spec, options, v);
    if (result == VGPU_OK) {
        (*v)->clock = fake_clock;
    }
    return result;
}

static struct vgpu *open_device(struct vgpu_options *options)
{
    struct vgpu *v;

    sysfs_add_device("0000:00:05.0", "0x1af4\n", "0x1111\n", VGPU_BAR0_BYTES);
    assert_int_equal(try_open(NULL, options, &v), VGPU_OK);
    return v;
}

/* One addition; gives its number of writes and reads. */
static void count_add(struct vgpu *v, uint32_t a, uint32_t b, uint64_t *writes, uint64_t *reads)
{
    struct vgpu_stats before, after;
    uint32_t sum = 0;

    vgpu_get_stats(v, &before);
    assert_int_equal(vgpu_add(v, a, b, &sum), VGPU_OK);
    vgpu_get_stats(v, &after);
    assert_int_equal(sum, a + b);
    *writes = after.mmio_writes - before.mmio_writes;
    *reads = after.mmio_reads - before.mmio_reads;
}

/* ---- Finding and opening ------------------------------------------------ */

static void test_find(void **state)
{
    char addresses[2][VGPU_ADDRESS_BYTES], path[192], text[4] = "";
    struct vgpu *v;
    int fd;

    assert_int_equal(vgpu_list_devices(sysfs_root, addresses, 2), 0);
    assert_int_equal(try_open(NULL, NULL, &v), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_NO_DEVICE);
    assert_non_null(strstr(vgpu_last_error(NULL), "1af4:1111"));

    sysfs_add_device("0001:0a:1f.3", "0x1af4\n", "0x1111\n", VGPU_BAR0_BYTES);
    sysfs_add_device("0000:00:05.0", "0x1af4\n", "0x1111\n", VGPU_BAR0_BYTES);
    sysfs_add_device("0000:00:11.0", "0x1af4\n", "0x1111\n", VGPU_BAR0_BYTES);
    assert_int_equal(vgpu_list_devices(sysfs_root, addresses, 2), 3);
    assert_string_equal(addresses[0], "0000:00:05.0");
    assert_string_equal(addresses[1], "0000:00:11.0");

    assert_int_equal(try_open("pci", NULL, &v), VGPU_OK);
    assert_string_equal(vgpu_describe(v), "pci 0000:00:05.0");
    vgpu_close(v);
    snprintf(path, sizeof(path), "%s/bus/pci/devices/0000:00:05.0/enable", sysfs_root);
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, 1), 1);
    close(fd);
    assert_string_equal(text, "1");

    assert_int_equal(try_open("pci:00:11.0", NULL, &v), VGPU_OK);
    assert_string_equal(vgpu_describe(v), "pci 0000:00:11.0");
    vgpu_close(v);
    assert_int_equal(try_open("pci:0001:0A:1F.3", NULL, &v), VGPU_OK);
    vgpu_close(v);
    assert_int_equal(try_open("pci:0000:00:01.0", NULL, &v), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_NO_DEVICE);
    assert_int_equal(try_open("pci:0000:00:07.0", NULL, &v), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_NO_DEVICE);
}

static void test_open_refuses(void **state)
{
    struct vgpu *v;

    sysfs_add_device("0000:00:05.0", "0x1af4\n", "0x1111\n", VGPU_BAR0_BYTES);
    device_poke(VGPU_REG_PROTOCOL_VER, 0x00020003);
    assert_int_equal(try_open(NULL, NULL, &v), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_VERSION);
    assert_non_null(strstr(vgpu_last_error(NULL), "2.3"));
    device.gone = true;
    assert_int_equal(try_open(NULL, NULL, &v), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_NO_DEVICE);
    device.gone = false;
    device_poke(VGPU_REG_PROTOCOL_VER, 0x00010007); /* a newer minor version is no obstacle */
    assert_int_equal(try_open(NULL, NULL, &v), VGPU_OK);
    vgpu_close(v);
    sysfs_add_device("0000:00:04.0", "0x1af4\n", "0x1111\n", 256);
    assert_int_equal(try_open(NULL, NULL, &v), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_VERSION);
}

/* What the caller reads when mapping resource0 ended in `error`. */
static const char *map_error(const char *lockdown, int error)
{
    struct vgpu *v;

    if (lockdown) {
        sysfs_write("kernel/security/lockdown", lockdown);
    }
    fake_map_error = error;
    assert_int_equal(try_open(NULL, NULL, &v), VGPU_FAILED);
    fake_map_error = 0;
    return vgpu_last_error(NULL);
}

static void test_locked_down(void **state)
{
    sysfs_add_device("0000:00:05.0", "0x1af4\n", "0x1111\n", VGPU_BAR0_BYTES);
    /* No lockdown in this kernel: who refuses is unknown. */
    assert_non_null(strstr(map_error(NULL, EPERM), "run as root"));
    assert_null(strstr(map_error("[none] integrity confidentiality\n", EPERM), "Secure Boot"));
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_PERMISSION);
    assert_non_null(strstr(map_error("none [integrity] confidentiality\n", EPERM), "Secure Boot"));
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_PERMISSION);
    assert_non_null(strstr(map_error("none integrity [confidentiality]\n", EPERM), "Secure Boot"));
    /* A bound driver is another matter, lockdown or not. */
    assert_non_null(strstr(map_error("none [integrity] confidentiality\n", EBUSY), "unbind"));
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_SYSTEM);
}

/* ---- Jobs and what they cost -------------------------------------------- */

static void test_accesses(void **state)
{
    struct vgpu *v = open_device(NULL);
    uint64_t writes, reads;

    /* 40 bytes, REQUEST_LEN, DOORBELL; STATUS twice, RESPONSE_LEN, 24 + 4 bytes. */
    count_add(v, 100, 200, &writes, &reads);
    assert_int_equal(writes, 5 + 2);
    assert_int_equal(reads, 2 + 1 + 3 + 1);
    count_add(v, 0xFFFFFFFF, 2, &writes, &reads);
    assert_int_equal(writes, 5 + 2);
    vgpu_close(v);
}

static void test_narrow_device(void **state)
{
    struct vgpu *v;
    uint64_t writes, reads;

    device.wide = false;
    v = open_device(NULL);
    count_add(v, 100, 200, &writes, &reads);
    assert_int_equal(writes, 10 + 2);
    assert_int_equal(reads, 2 + 1 + 6 + 1);
    vgpu_close(v);
}

static void test_exclusive(void **state)
{
    struct vgpu_options options;
    struct vgpu *v, *second;
    uint64_t writes, reads;

    vgpu_options_init(&options);
    options.exclusive = 1;
    options.timeout_ms = 20;
    v = open_device(&options);
    count_add(v, 100, 200, &writes, &reads);
    assert_int_equal(writes, 5 + 2);
    /* Only what differs: both parameters in one access, or nothing; and the doorbell. */
    count_add(v, 101, 200, &writes, &reads);
    assert_int_equal(writes, 1 + 1);
    assert_int_equal(reads, 1 + 1 + 3 + 1);
    count_add(v, 101, 200, &writes, &reads);
    assert_int_equal(writes, 1);

    /* After a reset the device holds nothing of it: one job fails, then all is written. */
    memset(device.bar + VGPU_REQUEST_BUFFER, 0, VGPU_REQUEST_BUFFER_BYTES);
    assert_int_equal(vgpu_add(v, 5, 6, &(uint32_t){0}), VGPU_FAILED);
    count_add(v, 5, 6, &writes, &reads);
    assert_int_equal(writes, 5 + 2);

    /* Nobody else gets in. */
    assert_int_equal(try_open(NULL, &options, &second), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_DEVICE_IN_USE);
    options.exclusive = 0;
    assert_int_equal(try_open(NULL, &options, &second), VGPU_OK);
    assert_int_equal(vgpu_nop(second), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(second), VGPU_ERR_DEVICE_IN_USE);
    vgpu_close(v);
    assert_int_equal(vgpu_nop(second), VGPU_OK);
    vgpu_close(second);
}

static void test_waits_for_the_lock(void **state)
{
    struct vgpu *v = open_device(NULL);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    char path[192];

    snprintf(path, sizeof(path), "%s/bus/pci/devices/0000:00:05.0/resource0", sysfs_root);
    fake_time.unlock_fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(fcntl(fake_time.unlock_fd, F_OFD_SETLK, &lock), 0);
    assert_int_equal(vgpu_nop(v), VGPU_OK);
    assert_int_equal(fake_time.sleeps, 5);
    vgpu_close(v);
}

static void test_sharing(void **state)
{
    struct vgpu *first = open_device(NULL), *second;
    uint32_t sum = 0, i;

    assert_int_equal(try_open(NULL, NULL, &second), VGPU_OK);
    device.end_status = VGPU_STATUS_ERROR;
    device.end_error = VGPU_ERR_CUDA_ERROR;
    for (i = 0; i < 10; i++) {
        assert_int_equal(vgpu_add(first, i, 1, &sum), VGPU_OK);
        assert_int_equal(sum, i + 1);
        assert_int_equal(vgpu_nop(second), VGPU_OK);
        /* A job that fails gives the device back too. */
        device.errors_left = 1;
        assert_int_equal(vgpu_nop(first), VGPU_FAILED);
        assert_int_equal(vgpu_error_code(first), VGPU_ERR_CUDA_ERROR);
        assert_int_equal(vgpu_add(second, i, 2, &sum), VGPU_OK);
        assert_int_equal(sum, i + 2);
    }
    assert_int_equal(fake_time.sleeps, 0);
    vgpu_close(first);
    vgpu_close(second);
}

static void test_lengths(void **state)
{
    struct vgpu *v = open_device(NULL);
    int32_t a[VGPU_VECTOR_MAX], b[VGPU_VECTOR_MAX], c[VGPU_VECTOR_MAX];
    uint8_t request[45] = {0}, response[VGPU_RESPONSE_BUFFER_BYTES];
    uint32_t n, i;
    size_t bytes;

    for (i = 0; i < VGPU_VECTOR_MAX; i++) {
        a[i] = (int32_t)(i * 0x01234567u);
        b[i] = (int32_t)(i * 0x07654321u);
    }
    for (n = 1; n <= VGPU_VECTOR_MAX; n++) {
        memset(c, 0, sizeof(c));
        assert_int_equal(vgpu_vector_add_i32(v, n, a, b, c), VGPU_OK);
        for (i = 0; i < n; i++) {
            assert_int_equal((uint32_t)c[i], (uint32_t)a[i] + (uint32_t)b[i]);
        }
    }
    /* Lengths that no word divides reach the device as they are. */
    memcpy(request, &(uint32_t){VGPU_PROTOCOL_VERSION}, 4);
    for (n = 32; n <= sizeof(request); n++) {
        request[n - 1] = (uint8_t)(0x80 + n);
        assert_int_equal(vgpu_submit(v, request, n, response, sizeof(response), &bytes), VGPU_OK);
        assert_int_equal(device_peek(VGPU_REG_REQUEST_LEN), n);
        assert_memory_equal(device.bar + VGPU_REQUEST_BUFFER, request, n);
        assert_int_equal(bytes, 32);
    }
    vgpu_close(v);
}

/* ---- Waiting ------------------------------------------------------------ */

static void test_long_jobs(void **state)
{
    struct vgpu *v = open_device(NULL);
    struct vgpu_stats before, after;
    uint64_t writes, reads, begun_ns;
    unsigned i;

    device.busy_polls = 50;
    count_add(v, 1, 2, &writes, &reads);
    assert_int_equal(fake_time.longest_ns, 1000000);
    /* A job of seconds is looked at a hundred times a second, one of 200 ms more often. */
    device.busy_polls = 120;
    begun_ns = fake_time.now_ns;
    count_add(v, 1, 2, &writes, &reads);
    assert_true(fake_time.longest_ns > 2000000 && fake_time.longest_ns < 10000000);
    assert_true(fake_time.longest_ns <= (fake_time.now_ns - begun_ns) / 32);
    device.busy_polls = 1000;
    count_add(v, 1, 2, &writes, &reads);
    assert_int_equal(fake_time.longest_ns, 10000000);

    /* Jobs that are over soon: the handle learns not to look too early. */
    device.busy_polls = 0;
    for (i = 0; i < 300; i++) {
        count_add(v, i, 2, &writes, &reads);
    }
    vgpu_get_stats(v, &before);
    count_add(v, 1, 2, &writes, &reads);
    vgpu_get_stats(v, &after);
    assert_int_equal(after.status_polls - before.status_polls, 2);

    /* And not to look twice: one read before the job, seldom more than one after it. */
    device.busy_polls = 1;
    count_add(v, 1, 2, &writes, &reads);
    vgpu_get_stats(v, &before);
    device.busy_polls = 0;
    for (i = 0; i < 100; i++) {
        count_add(v, i, 2, &writes, &reads);
    }
    vgpu_get_stats(v, &after);
    assert_int_equal(after.status_polls - before.status_polls, 200);
    vgpu_close(v);
}

static void test_stuck(void **state)
{
    struct vgpu *v = open_device(NULL);

    /* Busy with somebody else's request: nothing is written. */
    device_poke(VGPU_REG_STATUS, VGPU_STATUS_BUSY);
    device.busy_left = UINT32_MAX;
    assert_int_equal(vgpu_nop(v), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(v), VGPU_ERR_TIMEOUT);
    assert_int_equal(device.doorbells, 0);
    assert_true(fake_time.now_ns >= 60000000000u);

    device_poke(VGPU_REG_STATUS, VGPU_STATUS_IDLE);
    device.busy_polls = UINT32_MAX;
    assert_int_equal(vgpu_nop(v), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(v), VGPU_ERR_TIMEOUT);
    assert_int_equal(device.doorbells, 1);
    assert_true(fake_time.now_ns >= 120000000000u);

    /* The job ends at last, and the next request gets its own answer. */
    device.busy_left = 3;
    device.busy_polls = 0;
    assert_int_equal(vgpu_add(v, 3, 4, &(uint32_t){0}), VGPU_OK);
    vgpu_close(v);
}

/* ---- Errors and a device that makes no sense ---------------------------- */

static void test_error_codes(void **state)
{
    struct vgpu_options options;
    struct vgpu *v;
    uint32_t code;

    vgpu_options_init(&options);
    options.retries = 0;
    v = open_device(&options);
    device.end_status = VGPU_STATUS_ERROR;
    for (code = 1; code <= VGPU_ERR_COUNT; code++) {
        int expected = vgpu_error_is_retryable(code)     ? VGPU_RETRY_LATER
                       : code == VGPU_ERR_VM_QUARANTINED ? VGPU_QUARANTINED
                                                         : VGPU_FAILED;

        device.errors_left = 1;
        device.end_error = code;
        assert_int_equal(vgpu_nop(v), expected);
        assert_int_equal(vgpu_error_code(v), code);
    }
    assert_int_equal(vgpu_nop(v), VGPU_OK);
    vgpu_close(v);
}

static void test_retries(void **state)
{
    struct vgpu *v = open_device(NULL);
    uint32_t sum = 0;

    device.end_status = VGPU_STATUS_ERROR;
    device.end_error = VGPU_ERR_RATE_LIMITED;
    device.errors_left = 3;
    assert_int_equal(vgpu_add(v, 1, 2, &sum), VGPU_OK);
    assert_int_equal(sum, 3);
    assert_int_equal(device.doorbells, 4);
    vgpu_close(v);
}

static void test_senseless(void **state)
{
    static const uint32_t statuses[] = {VGPU_STATUS_IDLE, 4, 0x80000000, UINT32_MAX};
    static const uint32_t codes[] = {0, VGPU_ERR_LOCAL, VGPU_ERR_BAD_RESPONSE, UINT32_MAX};
    static const uint32_t lengths[] = {1, 31, 33, 35, 1025, 0x10000024, UINT32_MAX};
    struct vgpu *v = open_device(NULL);
    uint32_t i, sum = 77;

    for (i = 0; i < 4; i++) {
        device.errors_left = 1;
        device.end_status = statuses[i];
        assert_int_equal(vgpu_add(v, 1, 2, &sum), VGPU_FAILED);
        assert_int_equal(vgpu_error_code(v),
                         statuses[i] == UINT32_MAX ? VGPU_ERR_NO_DEVICE : VGPU_ERR_BAD_RESPONSE);
        device_poke(VGPU_REG_STATUS, VGPU_STATUS_IDLE);
    }
    for (i = 0; i < 4; i++) {
        device.errors_left = 1;
        device.end_status = VGPU_STATUS_ERROR;
        device.end_error = codes[i];
        assert_int_equal(vgpu_add(v, 1, 2, &sum), VGPU_FAILED);
        assert_int_equal(vgpu_error_code(v), VGPU_ERR_BAD_RESPONSE);
    }
    for (i = 0; i < 7; i++) {
        device.response_bytes = lengths[i];
        assert_int_equal(vgpu_add(v, 1, 2, &sum), VGPU_FAILED);
        assert_int_equal(vgpu_error_code(v), VGPU_ERR_BAD_RESPONSE);
    }
    device.response_bytes = 0;
    device.gone = true;
    assert_int_equal(vgpu_add(v, 1, 2, &sum), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(v), VGPU_ERR_NO_DEVICE);
    assert_int_equal(sum, 77);
    vgpu_close(v);
}

static uint64_t noise = 3;

static void spoil_bits(uint8_t *response)
{
    unsigned i;

    /* A linear congruential generator: its upper bits are good enough. */
    for (i = 0; i < 40; i++) {
        noise = noise * 6364136223846793005u + 1442695040888963407u;
        if (noise >> 61 == 0) {
            response[i] ^= (uint8_t)(1u << (noise >> 40) % 8);
        }
    }
}

static void test_spoiled_answers(void **state)
{
    struct vgpu_options options;
    struct vgpu_device_info info;
    struct vgpu *v;
    int32_t numbers[VGPU_VECTOR_MAX] = {0};
    uint32_t sum;
    unsigned i, passed = 0;

    vgpu_options_init(&options);
    options.retries = 0;
    v = open_device(&options);
    device.spoil = spoil_bits;
    /* No outcome is wrong here but a wild access, which the sanitizer sees. */
    for (i = 0; i < 20000; i++) {
        passed += vgpu_add(v, i, i, &sum) == VGPU_OK;
        passed +=
            vgpu_vector_add_i32(v, 1 + i % VGPU_VECTOR_MAX, numbers, numbers, numbers) == VGPU_OK;
        passed += vgpu_device_info(v, &info) == VGPU_OK;
    }
    assert_true(passed > 0 && passed < 60000);
    vgpu_close(v);
}

static void test_registers(void **state)
{
    struct vgpu *v = open_device(NULL);
    uint32_t registers[VGPU_REGISTER_COUNT];

    device_poke(VGPU_REG_VM_ID, 12);
    assert_int_equal(vgpu_read_registers(v, registers), VGPU_OK);
    assert_int_equal(registers[VGPU_REG_VM_ID / 4], 12);
    assert_int_equal(registers[VGPU_REG_PROTOCOL_VER / 4], VGPU_PROTOCOL_VERSION);
    device.gone = true;
    assert_int_equal(vgpu_read_registers(v, registers), VGPU_FAILED);
    vgpu_close(v);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fake_set_up, fake_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_find),
        TEST(test_open_refuses),
        TEST(test_locked_down),
        TEST(test_accesses),
        TEST(test_narrow_device),
        TEST(test_exclusive),
        TEST(test_waits_for_the_lock),
        TEST(test_sharing),
        TEST(test_lengths),
        TEST(test_long_jobs),
        TEST(test_stuck),
        TEST(test_error_codes),
        TEST(test_retries),
        TEST(test_senseless),
        TEST(test_spoiled_answers),
        TEST(test_registers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
