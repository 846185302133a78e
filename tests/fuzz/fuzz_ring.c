/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both ends of a ring, each with a peer that writes any word and any byte at any moment.
 * Input: the ring's size, then steps.  Whatever comes, no byte outside the ring is touched
 * (its memory is exactly as large, so a sanitizer sees it), a record that is taken keeps its
 * promises, and a peer that behaves is never found broken.
 */
#include <stdbool.h>
#include <string.h>

#include "fuzz.h"
#include "vgpu/vgpu_ring.h"

#define LANES 4u

struct shared {
    VGPUControl *control;
    uint8_t *bytes;
    uint64_t size;
};

static uint64_t supply_word(struct supply *s, uint64_t near)
{
    uint64_t value = 0;

    switch (supply_byte(s) % 4) {
    case 0: return near + 8ull * supply_byte(s);
    case 1: return near - supply_byte(s);
    case 2: return near + supply_byte(s);
    default: break;
    }
    for (unsigned i = 0; i < 8; i++) {
        value = value << 8 | supply_byte(s);
    }
    return value;
}

/* What a hostile process may do at any time. */
static void spoil(struct shared *shared, struct supply *s)
{
    size_t at, got;
    const uint8_t *from;

    switch (supply_byte(s) % 4) {
    case 0: shared->control->command_tail = supply_word(s, shared->control->command_tail); break;
    case 1: shared->control->command_head = supply_word(s, shared->control->command_head); break;
    case 2: shared->control->worker_parked = supply_byte(s); break;
    default:
        at = (supply_byte(s) * 8ull) % shared->size;
        from = supply_bytes(s, 24, &got);
        got = got < shared->size - at ? got : shared->size - at;
        memcpy(shared->bytes + at, from, got);
        break;
    }
}

/* Puts one whole record; false: no room, or the peer is broken. */
static bool put(struct vgpu_ring *ring, struct supply *s, uint32_t seq)
{
    uint8_t record[256];
    VGPURecord header = {
        .op = supply_byte(s), .bytes = 24 + 8 * (supply_byte(s) % 16), .seq = seq, .lane = 1};

    if (header.bytes > ring->size || vgpu_ring_room(ring, header.bytes) != VGPU_RING_OK) {
        return false;
    }
    memset(record, (uint8_t)seq, sizeof(record));
    memcpy(record, &header, sizeof(header));
    vgpu_ring_put(ring, record, header.bytes);
    return true;
}

static void check_record(const uint8_t *taken, uint64_t size, uint32_t seq, bool honest)
{
    VGPURecord record;

    memcpy(&record, taken, sizeof(record));
    CHECK(record.bytes >= sizeof(record) && record.bytes <= size && record.bytes % 8 == 0);
    CHECK(record.seq == seq && record.lane < LANES);
    for (uint32_t i = sizeof(record); honest && i < record.bytes; i++) {
        CHECK(taken[i] == (uint8_t)seq);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(8) uint8_t taken[VGPU_RECORD_BYTES_MAX];
    struct supply s = {data, size};
    struct shared shared = {.size = 32ull << (supply_byte(&s) % 6)};
    struct vgpu_ring writer, reader;
    uint32_t put_seq = 0, take_seq = 0;
    bool honest = true, broken = false;

    shared.control = calloc(1, sizeof(*shared.control));
    shared.bytes = calloc(1, shared.size);
    CHECK(shared.control && shared.bytes);
    vgpu_ring_init(&writer, shared.bytes, shared.size, &shared.control->command_tail,
                   &shared.control->command_head, &shared.control->worker_parked,
                   &shared.control->process_parked);
    reader = writer;
    while (s.size > 0 && !broken) {
        int result = VGPU_RING_OK;

        switch (supply_byte(&s) % 8) {
        case 0:
        case 1:
        case 2: put_seq += put(&writer, &s, put_seq + 1); break;
        case 3: vgpu_ring_publish(&writer); break;
        case 4:
        case 5:
            result = vgpu_ring_take_record(&reader, taken, take_seq + 1, LANES);
            if (result == VGPU_RING_OK) {
                check_record(taken, shared.size, ++take_seq, honest);
            }
            break;
        case 6: vgpu_ring_release(&reader); break;
        default:
            spoil(&shared, &s);
            honest = false;
            break;
        }
        broken = result == VGPU_RING_BROKEN;
        CHECK(!broken || !honest);
        CHECK(reader.tail - reader.head <= shared.size);
        CHECK(writer.tail - writer.head <= shared.size);
    }
    CHECK(!honest || take_seq <= put_seq);
    free(shared.control);
    free(shared.bytes);
    return 0;
}
