/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A worker's channels against a process that writes anything at any moment.  Input: steps.
 * Whatever comes: nothing outside the memory is touched, a channel ends at most once, no turn
 * lasts for ever, and no more memory is used than is allowed.
 */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/ns.h"
#include "fuzz.h"
#include "vgpu/vgpu_ring.h"
#include "worker/channel/channel_set.h"
#include "worker/cpu/bulk_cpu.h"

#define HANDLE 77u
#define MEMORY_BYTES 65536u /* of buffers: so that no product is long */
#define TURN_PIECES 100000u

static const vgpu_worker_channel what = {
    .profile = VGPU_PROFILE_OPS,
    .geometry = {.lanes = 4, .notice_bytes = 4096, .command_bytes = 131072, .arena_bytes = 8192},
};

struct process {
    uint8_t *chunk0;
    struct vgpu_channel_layout layout;
    uint64_t tail;
    uint32_t seq;
    unsigned closed, wanted;
};

static enum backend_state run(void *opaque, unsigned slot, const struct backend_job *job,
                              struct backend_result *result)
{
    const uint8_t *data = job->data;
    uint32_t sum = 0;

    (void)opaque;
    CHECK(slot < BACKEND_CHANNEL_JOBS);
    /* All that it is given can be read. */
    for (uint32_t i = 0; i < job->param_count; i++) {
        sum += job->params[i];
    }
    for (uint32_t i = 0; i < job->data_length; i++) {
        sum += data[i];
    }
    result->body[0] = sum;
    result->result_count = 1;
    result->data_length = job->data_length;
    CHECK(4 + result->data_length <= sizeof(result->body) || job->data_length > 900);
    if (result->data_length > sizeof(result->body) - 4) {
        result->data_length = 0;
    }
    return BACKEND_DONE;
}

static void tell(void *opaque, uint16_t type, uint64_t channel, uint32_t value)
{
    struct process *process = opaque;

    CHECK(channel == HANDLE);
    CHECK(type == VGPU_WORKER_WANT || type == VGPU_WORKER_CHANNEL_CLOSED);
    if (type == VGPU_WORKER_WANT) {
        CHECK(process->closed == 0);
        process->wanted++;
    } else {
        CHECK(value < VGPU_CLOSED_COUNT);
        CHECK(++process->closed == 1);
    }
}

/* Into the ring, from the position on; not published. */
static void put(struct process *process, const void *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        uint64_t at = (process->tail + i) % what.geometry.command_bytes;

        process->chunk0[process->layout.commands + at] = ((const uint8_t *)bytes)[i];
    }
    process->tail += length;
}

static void put_any_record(struct process *process, struct supply *s)
{
    size_t got;
    uint8_t op = supply_byte(s), flags = supply_byte(s), body_bytes = supply_byte(s);
    const uint8_t *body = supply_bytes(s, body_bytes & 0xF8u, &got);
    VGPURecord record = {
        .op = (uint16_t)(op | (flags & 8u) << 5),
        .flags = flags & VGPU_RECORD_FLAGS,
        .bytes = (uint32_t)(sizeof(record) + got / 8 * 8),
        .seq = ++process->seq,
        .lane = flags >> 6,
    };

    put(process, &record, sizeof(record));
    put(process, body, (uint32_t)(got / 8 * 8));
}

/* Mostly sensible: handles, ranges and sizes that may fit each other. */
static void put_bulk(struct process *process, struct supply *s)
{
    uint8_t shape = supply_byte(s);
    VGPUBulkRecord bulk = {
        .record = {.op = (uint16_t)(VGPU_BULK_ALLOC + supply_byte(s) % 10u),
                   .flags = shape & VGPU_RECORD_ANSWER,
                   .bytes = sizeof(bulk),
                   .seq = ++process->seq},
        .target = vgpu_handle(VGPU_HANDLE_BUFFER, 1, supply_byte(s) % 4u),
        .a = vgpu_handle(VGPU_HANDLE_BUFFER, 1, supply_byte(s) % 4u),
        .b = vgpu_handle(VGPU_HANDLE_BUFFER, 1, supply_byte(s) % 4u),
        .count = 4ull * supply_byte(s) * (shape & 2 ? 64u : 1u),
        .target_offset = shape & 4 ? supply_byte(s) * 4ull : 0,
        .a_offset = shape & 8 ? supply_byte(s) * 4ull : 0,
        .chunk_offset = process->layout.arena + (shape & 16 ? supply_byte(s) * 64ull : 0),
        .value = supply_byte(s),
        .m = supply_byte(s),
        .n = supply_byte(s),
        .k = supply_byte(s),
        .alpha = 0x3f800000,
    };

    if (shape & 32) {
        bulk.count = UINT64_MAX - supply_byte(s);
    }
    if (shape & 64) {
        bulk.target ^= 1ull << supply_byte(s) % 64u;
    }
    put(process, &bulk, sizeof(bulk));
}

static void spoil(struct process *process, struct supply *s)
{
    size_t at = (supply_byte(s) * 257ull + supply_byte(s)) * 8 % (process->layout.bytes - 8), got;
    const uint8_t *bytes = supply_bytes(s, 8, &got);

    memcpy(process->chunk0 + at, bytes, got);
}

static void step(struct channel_set *set, struct process *process, struct supply *s)
{
    const struct channel_turn turn = {.budget_ns = NS_PER_S};
    uint64_t used_ns = 0;
    unsigned pieces = 0;

    switch (supply_byte(s) % 8) {
    case 0:
    case 1: put_bulk(process, s); break;
    case 2: put_any_record(process, s); break;
    case 3:
    case 4: ((VGPUControl *)process->chunk0)->command_tail = process->tail; break;
    case 5: channel_set_serve(set); break;
    case 6:
        while (!channel_set_turn(set, HANDLE, &turn, &used_ns)) {
            CHECK(++pieces < TURN_PIECES);
        }
        break;
    default: spoil(process, s); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct supply s = {data, size};
    struct process process = {.closed = 0};
    struct bulk_cpu cpu;
    struct channel_set *set = channel_set_new(&(struct channel_set_uses){
        .opaque = &process, .run = run, .tell = tell, .engine = &cpu.engine});
    struct channel_mapping *mapping;
    int fds[VGPU_FD_CHUNK0 + 1] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK),
                                   memfd_create("fuzz", 0)};

    bulk_cpu_init(&cpu, MEMORY_BYTES);
    CHECK(set && fds[0] >= 0 && fds[1] >= 0 && fds[2] >= 0);
    CHECK(vgpu_channel_layout(&what.geometry, &process.layout) == 1);
    CHECK(ftruncate(fds[2], (off_t)process.layout.bytes) == 0);
    process.chunk0 =
        mmap(NULL, process.layout.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[2], 0);
    CHECK(process.chunk0 != MAP_FAILED);
    CHECK(mapping_begin(HANDLE, &what, fds, VGPU_FD_CHUNK0 + 1, &mapping) == VGPU_ERR_NONE);
    CHECK(channel_set_add(set, mapping) == VGPU_ERR_NONE);
    while (s.size > 0 && !process.closed) {
        step(set, &process, &s);
    }
    if (!process.closed) {
        channel_set_close(set, HANDLE, VGPU_CLOSED_ASKED);
    }
    CHECK(process.closed == 1 && channel_set_empty(set));
    CHECK(((VGPUControl *)process.chunk0)->state == VGPU_CHANNEL_CLOSED);
    channel_set_free(set);
    CHECK(cpu.account.used_bytes == 0);
    munmap(process.chunk0, process.layout.bytes);
    return 0;
}
