/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A channel of profile CUDA against a process that writes anything.  Input: steps; each makes a
 * record of one of the opcodes, with arguments that are mostly what a program could know.
 *
 * The driver is the stand-in of tests/cuda, which ends the process where a real one would crash:
 * at a handle that isn't live, at an address that is none of the GPU's, at a call that would wait.
 */
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "tests/cuda/rig.h"

#define MEMORY_BYTES (1ull << 30)
#define ROUNDS 64u
#define KNOWN_MAX 32u

static const uint16_t ops[] = {
#define OP(name, flags) CUDA_OP_##name,
    CUDA_OPS(OP)
#undef OP
};

struct process {
    struct rig_channel *c;
    uint64_t known[KNOWN_MAX]; /* addresses and handles that it has seen */
    unsigned known_count;
};

static void know(struct process *process, uint64_t value)
{
    process->known[process->known_count++ % KNOWN_MAX] = value;
}

/* Until the ring is empty or nothing moves. */
static void serve(struct process *process)
{
    struct driver_channel *channel = process->c->channel;
    VGPUMailbox *mailboxes = (VGPUMailbox *)(channel->chunk0 + channel->layout.mailboxes);

    for (unsigned i = 0; i < ROUNDS && !channel->stop; i++) {
        if (!rig_step(process->c)) {
            usleep(20);
        }
        if (!channel->has_record && channel->commands.head == process->c->tail) {
            break;
        }
    }
    for (unsigned lane = 0; lane < rig_geometry.lanes; lane++) {
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
    case 4: return RIG_WINDOW + what * 4096ull;
    case 5: return UINT64_MAX - what;
    case 6: return what * 1024ull | (uint64_t)supply_byte(s) << 32;
    default: return 1ull << what % 64;
    }
}

static void step(struct process *process, struct supply *s)
{
    struct driver_channel *channel = process->c->channel;
    uint8_t shape = supply_byte(s);
    size_t got;
    struct rig_record wish = {
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
    rig_put(process->c, &wish);
    serve(process);
}

/* A context, a module and some memory, so that not all of the rest is refused. */
static void begin(struct process *process)
{
    const uint64_t module = RIG_HANDLE(CUDA_KIND_MODULE, 0);

    rig_begin(process->c);
    CHECK(rig_function(process->c, 1, module, 1, "nop") == CUDA_SUCCESS);
    CHECK(RIG_CALL(process->c, ALLOC, 1, 4096) == CUDA_SUCCESS);
    know(process, process->c->out[0]);
    know(process, module);
    know(process, RIG_HANDLE(CUDA_KIND_FUNCTION, 1));
}

/*
 * The stand-in keeps what is dead, to see who uses it.  Everything else that AddressSanitizer sees
 * counts.
 */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct supply s = {data, size};
    struct process process = {.known_count = 0};
    struct rig rig;

    rig_open(&rig, MEMORY_BYTES);
    process.c = rig_channel(&rig);
    begin(&process);
    while (s.size > 0 && !process.c->channel->stop) {
        step(&process, &s);
    }
    rig_close(&rig);
    CHECK(rig.account.used_bytes == 0);
    CHECK(rig.set.staged_bytes == 0);
    for (const char *const *kind =
             (const char *const[]){"context", "module", "stream", "event", "library", "pool", NULL};
         *kind; kind++) {
        CHECK(rig_alive(*kind) == 0);
    }
    CHECK(rig_used_bytes() == 0);
    return 0;
}
