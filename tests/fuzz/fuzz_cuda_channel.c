/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A channel of profile CUDA against a process that writes anything.  Input: steps; each makes a
 * record of one of the opcodes, with arguments that are mostly what a program could know.
 *
 * The driver is the stand-in of tests/cuda, which ends the process where a real one would crash:
 * at a handle that isn't live, at an address that is none of the GPU's, at a call that would wait.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log.h"
#include "fuzz.h"
#include "worker/cuda/channel/driver_internal.h"

#define MEMORY_BYTES (8u << 20)
#define WINDOW 0x310000000000ull
#define ROUNDS 64u
#define KNOWN_MAX 32u

static const VGPUGeometry geometry = {
    .lanes = 4, .notice_bytes = 4096, .command_bytes = 131072, .arena_bytes = 4u << 20};

static const uint16_t ops[] = {
#define OP(name, flags) CUDA_OP_##name,
    CUDA_OPS(OP)
#undef OP
};

static const char image[] = "vgpu-test\nkernel add 8 8 8 4\nkernel increment 8\nkernel nop\n"
                            "kernel mix 1 8 2 48 4\nglobal counter 4\n";

struct process {
    uint64_t tail;
    uint32_t seq;
    uint64_t known[KNOWN_MAX]; /* addresses and handles that it has seen */
    unsigned known_count;
    unsigned closed;
};

static void tell(void *opaque, uint16_t type, uint64_t handle, uint32_t value)
{
    (void)opaque;
    (void)handle;
    (void)value;
    CHECK(type == VGPU_WORKER_WANT);
}

static void know(struct process *process, uint64_t value)
{
    process->known[process->known_count++ % KNOWN_MAX] = value;
}

static void put(struct driver_channel *channel, struct process *process, const void *bytes,
                uint32_t length)
{
    uint64_t at = process->tail % geometry.command_bytes;
    uint64_t first = geometry.command_bytes - at < length ? geometry.command_bytes - at : length;
    uint8_t *ring = channel->chunk0 + channel->layout.commands;

    if (length > 0) {
        memcpy(ring + at, bytes, first);
        memcpy(ring, (const uint8_t *)bytes + first, length - first);
    }
    process->tail += length;
}

struct wish {
    uint16_t op, flags, lane, context;
    uint64_t stream;
    uint64_t args[CUDA_ARGS_MAX];
    unsigned arg_count;
    const void *payload;
    uint32_t payload_bytes;
};

static void put_record(struct driver_channel *channel, struct process *process,
                       const struct wish *wish)
{
    static const uint8_t zeros[8];
    uint32_t bytes = (uint32_t)sizeof(CUDARecord) + wish->arg_count * 8 + wish->payload_bytes;
    CUDARecord record = {
        .record = {.op = wish->op,
                   .flags = wish->flags & VGPU_RECORD_FLAGS,
                   .bytes = (bytes + 7) / 8 * 8,
                   .seq = ++process->seq,
                   .lane = wish->lane,
                   .context = wish->context,
                   .stream = wish->stream},
        .arg_count = wish->arg_count,
        .payload_bytes = wish->payload_bytes,
    };

    put(channel, process, &record, sizeof(record));
    put(channel, process, wish->args, wish->arg_count * 8);
    put(channel, process, wish->payload, wish->payload_bytes);
    put(channel, process, zeros, record.record.bytes - bytes);
    channel->control->command_tail = process->tail;
}

/* Until the ring is empty or nothing moves.  Turns are given as they are wanted. */
static void serve(struct driver_channel *channel, struct process *process)
{
    VGPUMailbox *mailboxes = (VGPUMailbox *)(channel->chunk0 + channel->layout.mailboxes);

    for (unsigned i = 0; i < ROUNDS && !channel->stop; i++) {
        if (channel->wants) {
            channel->budget_ns = 1000000;
        }
        if (!driver_step(channel)) {
            usleep(20);
        }
        if (!channel->has_record && channel->commands.head == process->tail) {
            break;
        }
    }
    for (unsigned lane = 0; lane < geometry.lanes; lane++) {
        uint64_t value;

        memcpy(&value, mailboxes[lane].body, sizeof(value));
        know(process, value);
    }
}

static uint64_t any_value(const struct process *process, struct supply *s)
{
    uint8_t how = supply_byte(s), what = supply_byte(s);

    switch (how % 8) {
    case 0: return what;
    case 1: return process->known[what % KNOWN_MAX];
    case 2: return process->known[what % KNOWN_MAX] + supply_byte(s);
    case 3: return vgpu_handle(what % CUDA_KIND_END, 1 + how / 64, CUDA_CONTEXTS_MAX + what % 16);
    case 4: return WINDOW + what * 4096ull;
    case 5: return UINT64_MAX - what;
    case 6: return what * 1024ull | (uint64_t)supply_byte(s) << 32;
    default: return 1ull << what % 64;
    }
}

static void step(struct driver_channel *channel, struct process *process, struct supply *s)
{
    uint8_t shape = supply_byte(s);
    size_t got;
    struct wish wish = {
        .op = ops[supply_byte(s) % (sizeof(ops) / sizeof(ops[0]))],
        .flags = shape & 3,
        .lane = (uint16_t)(shape >> 2 & 3),
        .context = shape & 16 ? shape >> 5 : 1,
        .stream = shape >> 6,
        .arg_count = supply_byte(s) % (CUDA_ARGS_MAX + 2),
    };

    if (shape >= 0xFE) {
        size_t at = (supply_byte(s) * 257ull + supply_byte(s)) * 8 % channel->layout.arena;

        const uint8_t *bytes = supply_bytes(s, 8, &got);

        memcpy(channel->chunk0 + at, bytes, got);
        return;
    }
    for (unsigned i = 0; i < wish.arg_count && i < CUDA_ARGS_MAX; i++) {
        wish.args[i] = any_value(process, s);
    }
    wish.arg_count = wish.arg_count > CUDA_ARGS_MAX ? CUDA_ARGS_MAX : wish.arg_count;
    wish.payload = supply_bytes(s, supply_byte(s), &got);
    wish.payload_bytes = (uint32_t)got;
    put_record(channel, process, &wish);
    serve(channel, process);
}

/* A context, a module and some memory, so that not all of the rest is refused. */
static void begin(struct driver_channel *channel, struct process *process)
{
    const uint64_t context = vgpu_handle(CUDA_KIND_CONTEXT, 1, 1);
    const uint64_t module = vgpu_handle(CUDA_KIND_MODULE, 1, CUDA_CONTEXTS_MAX);
    struct wish wishes[] = {
        {.op = CUDA_OP_INIT, .args = {WINDOW}, .arg_count = 1},
        {.op = CUDA_OP_CTX_CREATE, .args = {context, 0}, .arg_count = 2},
        {.op = CUDA_OP_IMAGE, .arg_count = 1, .payload = image, .payload_bytes = sizeof(image)},
        {.op = CUDA_OP_MODULE_LOAD,
         .context = 1,
         .args = {module, sizeof(image), 0, 0},
         .arg_count = 4},
        {.op = CUDA_OP_GET_FUNCTION,
         .context = 1,
         .args = {vgpu_handle(CUDA_KIND_FUNCTION, 1, CUDA_CONTEXTS_MAX + 1), module, 0, 4},
         .arg_count = 4,
         .payload = "nop",
         .payload_bytes = 4},
        {.op = CUDA_OP_ALLOC, .context = 1, .args = {4096}, .arg_count = 1},
    };

    for (unsigned i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        wishes[i].flags = VGPU_RECORD_ANSWER;
        put_record(channel, process, &wishes[i]);
        serve(channel, process);
    }
    know(process, module);
    know(process, vgpu_handle(CUDA_KIND_FUNCTION, 1, CUDA_CONTEXTS_MAX + 1));
}

/*
 * A channel that ends leaves its fences in flight, and the stand-in its contexts, to the end of the
 * process.  Known, and to be mended; everything else that AddressSanitizer sees counts.
 */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct supply s = {data, size};
    struct process process = {.closed = 0};
    struct driver_channel *channel = calloc(1, sizeof(*channel));
    struct driver_set set;
    const vgpu_worker_channel what = {.profile = VGPU_PROFILE_CUDA, .geometry = geometry};
    int fds[] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK), memfd_create("fuzz", 0)};
    struct vgpu_channel_layout layout;

    log_init("fuzz", LOG_LEVEL_ERROR, false);
    setenv(DRIVER_PATH_VARIABLE, VGPU_STAND_IN, 1);
    CHECK(driver_set_init(&set, &(struct driver_set_uses){.tell = tell,
                                                          .gpu_uuid = "CPU-0",
                                                          .memory_bytes = MEMORY_BYTES}));
    CHECK(driver_api_open(&channel->api) == 0);
    CHECK(vgpu_channel_layout(&geometry, &layout) == 1);
    CHECK(ftruncate(fds[2], (off_t)layout.bytes) == 0);
    CHECK(mapping_begin(1, &what, fds, 3, &channel->mapping) == VGPU_ERR_NONE);
    channel->set = &set;
    channel->geometry = geometry;
    channel->layout = layout;
    channel->chunk0 = channel->mapping->chunk0;
    channel->doorbell = channel->mapping->doorbell;
    channel->interrupt = channel->mapping->interrupt;
    channel->control = (VGPUControl *)channel->chunk0;
    channel->wake = eventfd(0, EFD_NONBLOCK);
    vgpu_command_ring(&channel->commands, channel->chunk0, &channel->layout, &channel->geometry);
    vgpu_notice_ring(&channel->notices, channel->chunk0, &channel->layout, &channel->geometry);
    begin(channel, &process);
    while (s.size > 0 && !channel->stop) {
        step(channel, &process, &s);
    }
    driver_let_go(channel);
    CHECK(set.charged_bytes == 0);
    if (channel->window) {
        munmap(channel->window, geometry.arena_bytes);
    }
    mapping_free(channel->mapping);
    close(channel->wake);
    free(channel->entries);
    free(channel->image.bytes);
    free(channel);
    driver_set_end(&set);
    return 0;
}
