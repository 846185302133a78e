/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vgpu_ring.h and vgpu_channel.h against a peer that writes whatever it likes. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "vgpu/vgpu_ring.h"

#define RING_BYTES 256u

static VGPUControl control;
static uint8_t bytes[RING_BYTES];
static struct vgpu_ring writer, reader;
static _Alignas(8) uint8_t taken[VGPU_RECORD_BYTES_MAX];

static int set_up(void **state)
{
    memset(&control, 0, sizeof(control));
    memset(bytes, 0, sizeof(bytes));
    vgpu_ring_init(&writer, bytes, RING_BYTES, &control.command_tail, &control.command_head,
                   &control.worker_parked, &control.process_parked);
    reader = writer;
    return 0;
}

/* A record of so many bytes whose body counts up from `first`. */
static void put_record(uint32_t seq, uint32_t length, uint8_t first)
{
    uint8_t record[RING_BYTES];
    VGPURecord header = {.op = 7, .bytes = length, .seq = seq, .lane = 1};

    assert_int_equal(vgpu_ring_room(&writer, length), VGPU_RING_OK);
    memcpy(record, &header, sizeof(header));
    for (uint32_t i = sizeof(header); i < length; i++) {
        record[i] = (uint8_t)(first + i);
    }
    vgpu_ring_put(&writer, record, length);
}

static void records_go_round(void **state)
{
    for (uint32_t seq = 1; seq <= 500; seq++) {
        uint32_t length = 24 + 8 * (seq % 20);

        put_record(seq, length, (uint8_t)seq);
        assert_int_equal(vgpu_ring_take_record(&reader, taken, seq, 2), VGPU_RING_EMPTY);
        assert_int_equal(vgpu_ring_publish(&writer), 0);
        assert_int_equal(vgpu_ring_publish(&writer), 0);
        assert_int_equal(vgpu_ring_take_record(&reader, taken, seq, 2), VGPU_RING_OK);
        assert_int_equal(((VGPURecord *)taken)->bytes, length);
        for (uint32_t i = 24; i < length; i++) {
            assert_int_equal(taken[i], (uint8_t)(seq + i));
        }
        vgpu_ring_release(&reader);
        assert_int_equal(control.command_head, control.command_tail);
    }
    assert_true(control.command_tail > 100 * RING_BYTES);
}

static void full_ring_has_no_room(void **state)
{
    put_record(1, 128, 0);
    put_record(2, 128, 0);
    assert_int_equal(vgpu_ring_room(&writer, 8), VGPU_RING_FULL);
    vgpu_ring_publish(&writer);
    assert_int_equal(vgpu_ring_take_record(&reader, taken, 1, 2), VGPU_RING_OK);
    assert_int_equal(vgpu_ring_room(&writer, 8), VGPU_RING_FULL); /* not given back yet */
    control.process_parked = 1;
    assert_int_equal(vgpu_ring_release(&reader), 1);
    assert_int_equal(vgpu_ring_room(&writer, 128), VGPU_RING_OK);
    assert_int_equal(vgpu_ring_room(&writer, 136), VGPU_RING_FULL);
}

static void sleepers_are_woken(void **state)
{
    put_record(1, 24, 0);
    vgpu_park(&control.worker_parked);
    assert_int_equal(vgpu_ring_publish(&writer), 1);
    put_record(2, 24, 0); /* woken once */
    assert_int_equal(vgpu_ring_publish(&writer), 0);
    control.worker_parked = 0xFFFFFFFF; /* anything but 0 */
    put_record(3, 24, 0);
    assert_int_equal(vgpu_ring_publish(&writer), 1);
}

static void bad_tails_break_the_ring(void **state)
{
    static const uint64_t bad[] = {
        RING_BYTES + 8, 4, 1ull << 63, UINT64_MAX, UINT64_MAX - 7, 1ull << 32, RING_BYTES + 16,
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        set_up(NULL);
        control.command_tail = bad[i];
        assert_int_equal(vgpu_ring_take_record(&reader, taken, 1, 2), VGPU_RING_BROKEN);
    }
    /* Backwards, and further than what was given back allows. */
    set_up(NULL);
    put_record(1, 64, 0);
    vgpu_ring_publish(&writer);
    assert_int_equal(vgpu_ring_take_record(&reader, taken, 1, 2), VGPU_RING_OK);
    control.command_tail = 56;
    assert_int_equal(vgpu_ring_look(&reader), VGPU_RING_BROKEN);
    control.command_tail = RING_BYTES + 8;
    assert_int_equal(vgpu_ring_look(&reader), VGPU_RING_BROKEN);
    vgpu_ring_release(&reader);
    control.command_tail = 64 + RING_BYTES;
    assert_int_equal(vgpu_ring_look(&reader), VGPU_RING_OK);
}

static void bad_heads_break_the_ring(void **state)
{
    static const uint64_t bad[] = {136, 264, UINT64_MAX - 7, 4, 1ull << 40};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        set_up(NULL);
        put_record(1, 128, 0);
        vgpu_ring_publish(&writer);
        put_record(2, 128, 0); /* not published: the reader can't have taken it */
        control.command_head = bad[i];
        assert_int_equal(vgpu_ring_room(&writer, 8), VGPU_RING_BROKEN);
    }
}

static void bad_records_break_the_ring(void **state)
{
    static const VGPURecord bad[] = {
        {.bytes = 0, .seq = 1},
        {.bytes = 16, .seq = 1},
        {.bytes = 28, .seq = 1},
        {.bytes = 72, .seq = 1}, /* more than there is */
        {.bytes = UINT32_MAX, .seq = 1},
        {.bytes = UINT32_MAX - 7, .seq = 1},
        {.bytes = VGPU_RECORD_BYTES_MAX + 8, .seq = 1},
        {.bytes = 64, .seq = 2},
        {.bytes = 64, .seq = 0},
        {.bytes = 64, .seq = 1, .lane = 2},
        {.bytes = 64, .seq = 1, .lane = UINT16_MAX},
        {.bytes = 64, .seq = 1, .flags = VGPU_RECORD_FLAGS + 1},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        set_up(NULL);
        memcpy(bytes, &bad[i], sizeof(bad[i]));
        control.command_tail = 64;
        assert_int_equal(vgpu_ring_take_record(&reader, taken, 1, 2), VGPU_RING_BROKEN);
    }
    /* A tail in the middle of a header. */
    set_up(NULL);
    control.command_tail = 16;
    assert_int_equal(vgpu_ring_take_record(&reader, taken, 1, 2), VGPU_RING_BROKEN);
}

static void layouts_hold_their_parts(void **state)
{
    VGPUGeometry good = {.lanes = 3,
                         .event_slots = 1024,
                         .notice_bytes = 8192,
                         .command_bytes = 1u << 20,
                         .arena_bytes = 1u << 24};
    VGPUGeometry bad;
    struct vgpu_channel_layout layout;

    assert_int_equal(vgpu_channel_layout(&good, &layout), 1);
    assert_int_equal(layout.events, 4096);
    assert_int_equal(layout.mailboxes, 8192);
    assert_int_equal(layout.notices, 8192 + 3 * 4096);
    assert_int_equal(layout.commands, layout.notices + 8192);
    assert_int_equal(layout.arena, layout.commands + (1u << 20));
    assert_int_equal(layout.bytes, layout.arena + (1u << 24));

#define REFUSED(field, value)                                                                      \
    bad = good;                                                                                    \
    bad.field = (value);                                                                           \
    assert_int_equal(vgpu_channel_layout(&bad, &layout), 0)
    REFUSED(lanes, 0);
    REFUSED(lanes, VGPU_LANES_MAX + 1);
    REFUSED(event_slots, 1000);
    REFUSED(event_slots, VGPU_EVENT_SLOTS_MAX + VGPU_EVENT_SLOTS_STEP);
    REFUSED(notice_bytes, 2048);
    REFUSED(notice_bytes, 12288);
    REFUSED(notice_bytes, VGPU_NOTICE_BYTES_MAX * 2);
    REFUSED(command_bytes, 0);
    REFUSED(command_bytes, 3u << 16);
    REFUSED(command_bytes, VGPU_COMMAND_BYTES_MAX * 2);
    REFUSED(arena_bytes, 4097);
    REFUSED(arena_bytes, VGPU_ARENA_BYTES_MAX + 4096);
    REFUSED(arena_bytes, UINT64_MAX - 4095);
}

static void handles_keep_their_parts(void **state)
{
    uint64_t handle = vgpu_handle(3, 0x1FFFF, 0xABCDEF);

    assert_int_equal(vgpu_handle_kind(handle), 3);
    assert_int_equal(vgpu_handle_generation(handle), 0x1FFFF);
    assert_int_equal(vgpu_handle_index(handle), 0xABCDEF);
    assert_true(vgpu_handle(0, 0, 0) > 2);
    assert_int_equal(vgpu_handle(31, 0, 0) >> 47, 0);
    /* What is too large spoils nothing else. */
    assert_int_equal(vgpu_handle(32, 1u << 17, 1u << 24), VGPU_HANDLE_MARK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(records_go_round, set_up),
        cmocka_unit_test_setup(full_ring_has_no_room, set_up),
        cmocka_unit_test_setup(sleepers_are_woken, set_up),
        cmocka_unit_test_setup(bad_tails_break_the_ring, set_up),
        cmocka_unit_test_setup(bad_heads_break_the_ring, set_up),
        cmocka_unit_test_setup(bad_records_break_the_ring, set_up),
        cmocka_unit_test(layouts_hold_their_parts),
        cmocka_unit_test(handles_keep_their_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
