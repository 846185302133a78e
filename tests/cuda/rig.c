/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/cuda/rig.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/ns.h"

#define PATIENCE_NS (120 * (uint64_t)NS_PER_S)
#define TURN_NS 1000000u

const VGPUGeometry rig_geometry = {
    .lanes = 4, .notice_bytes = 4096, .command_bytes = 131072, .arena_bytes = 4u << 20};

const char rig_image[] = "vgpu-test\nkernel add 8 8 8 4\nkernel increment 8\nkernel nop\n"
                         "kernel mix 1 8 2 48 4\nkernel spin 4\nkernel hang\nkernel bad\n"
                         "kernel print 4\nkernel await 8\nuses vprintf\nglobal counter 4\n";

#define MUST(what)                                                                                 \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "rig: %s: no %s\n", __func__, #what);                                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

uint32_t rig_late_ms;

static void tell(void *opaque, uint16_t type, uint64_t handle, uint32_t value)
{
    (void)opaque;
    (void)handle;
    MUST(type == VGPU_WORKER_WANT || type == VGPU_WORKER_LATE);
    if (type == VGPU_WORKER_LATE) {
        rig_late_ms = value;
    }
}

void rig_open(struct rig *rig, uint64_t limit_bytes)
{
    memset(rig, 0, sizeof(*rig));
    log_init("rig", LOG_LEVEL_ERROR, false);
    setenv(DRIVER_PATH_VARIABLE, VGPU_STAND_IN, 1);
    setenv("VGPU_CUBLAS", VGPU_STAND_IN_CUBLAS, 1);
    setenv("VGPU_CUDNN", VGPU_STAND_IN_CUDNN, 1);
    setenv("VGPU_CUFFT", VGPU_STAND_IN_CUFFT, 1);
    rig->account.limit_bytes = limit_bytes;
    MUST(driver_set_init(
        &rig->set,
        &(struct driver_set_uses){.tell = tell, .gpu_uuid = "CPU-0", .account = &rig->account}));
}

struct rig_channel *rig_channel(struct rig *rig)
{
    const vgpu_worker_channel what = {.profile = VGPU_PROFILE_CUDA, .geometry = rig_geometry};
    struct rig_channel *c = &rig->channels[rig->count++];
    struct driver_channel *channel = calloc(1, sizeof(*channel));
    int fds[] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK), memfd_create("rig", 0)};

    MUST(channel && rig->count <= RIG_CHANNELS);
    memset(c, 0, sizeof(*c));
    c->rig = rig;
    c->channel = channel;
    channel->set = &rig->set;
    pthread_mutex_init(&channel->output.lock, NULL);
    MUST(driver_api_open(&channel->api) == 0);
    channel->geometry = rig_geometry;
    MUST(vgpu_channel_layout(&channel->geometry, &channel->layout) == 1);
    MUST(ftruncate(fds[2], (off_t)channel->layout.bytes) == 0);
    MUST(mapping_begin(rig->count, &what, fds, 3, &channel->mapping) == VGPU_ERR_NONE);
    channel->chunk0 = channel->mapping->chunk0;
    channel->doorbell = channel->mapping->doorbell;
    channel->interrupt = channel->mapping->interrupt;
    channel->control = (VGPUControl *)channel->chunk0;
    channel->wake = eventfd(0, EFD_NONBLOCK);
    vgpu_command_ring(&channel->commands, channel->chunk0, &channel->layout, &channel->geometry);
    vgpu_notice_ring(&channel->notices, channel->chunk0, &channel->layout, &channel->geometry);
    return c;
}

void rig_channel_end(struct rig_channel *c)
{
    struct driver_channel *channel = c->channel;

    channel->current = NULL;
    driver_let_go(channel);
    driver_channel_free(channel);
    c->channel = NULL;
}

void rig_close(struct rig *rig)
{
    for (unsigned i = 0; i < rig->count; i++) {
        if (rig->channels[i].channel) {
            rig_channel_end(&rig->channels[i]);
        }
    }
    driver_set_end(&rig->set);
}

/* ---- records ---- */

static void put(struct rig_channel *c, const void *bytes, uint32_t length)
{
    uint64_t at = c->tail % rig_geometry.command_bytes;
    uint64_t first =
        rig_geometry.command_bytes - at < length ? rig_geometry.command_bytes - at : length;
    uint8_t *ring = c->channel->chunk0 + c->channel->layout.commands;

    if (length > 0) {
        memcpy(ring + at, bytes, first);
        memcpy(ring, (const uint8_t *)bytes + first, length - first);
    }
    c->tail += length;
}

void rig_put(struct rig_channel *c, const struct rig_record *what)
{
    static const uint8_t zeros[8];
    uint32_t bytes = (uint32_t)sizeof(CUDARecord) + what->arg_count * 8 + what->payload_bytes;
    CUDARecord record = {
        .record = {.op = what->op,
                   .flags = what->flags & VGPU_RECORD_FLAGS,
                   .bytes = (bytes + 7) / 8 * 8,
                   .seq = ++c->seq,
                   .lane = what->lane,
                   .context = what->context,
                   .stream = what->stream},
        .arg_count = what->arg_count,
        .payload_bytes = what->payload_bytes,
    };

    put(c, &record, sizeof(record));
    put(c, what->args, what->arg_count * 8);
    put(c, what->payload, what->payload_bytes);
    put(c, zeros, record.record.bytes - bytes);
    c->channel->control->command_tail = c->tail;
}

bool rig_step(struct rig_channel *c)
{
    struct driver_channel *channel = c->channel;

    if (c->rig->count > 1) {
        channel->current = NULL; /* another channel of this thread has used the driver */
    }
    if (channel->wants && !channel->in_turn) {
        channel->budget_ns = TURN_NS;
    }
    return driver_step(channel);
}

static void step_and_rest(struct rig_channel *c)
{
    if (!rig_step(c)) {
        usleep(20);
    }
}

CUresult rig_answer(struct rig_channel *c, unsigned lane)
{
    VGPUMailbox *mailbox =
        (VGPUMailbox *)(c->channel->chunk0 + c->channel->layout.mailboxes) + lane;
    uint64_t start_ns = clock_now_ns();

    while (!vgpu_mailbox_has(mailbox, c->seq)) {
        MUST(clock_now_ns() - start_ns < PATIENCE_NS);
        MUST(!c->channel->stop);
        step_and_rest(c);
    }
    memcpy(c->out, mailbox->body, sizeof(c->out));
    return (CUresult)mailbox->status;
}

void rig_settle(struct rig_channel *c)
{
    uint64_t start_ns = clock_now_ns();

    while (c->channel->has_record || c->channel->commands.head != c->tail ||
           c->channel->budget_ns || c->channel->retire_first != c->channel->retire_last) {
        MUST(clock_now_ns() - start_ns < PATIENCE_NS);
        step_and_rest(c);
    }
}

CUresult rig_ask(struct rig_channel *c, struct rig_record record)
{
    record.flags |= VGPU_RECORD_ANSWER;
    rig_put(c, &record);
    return rig_answer(c, record.lane);
}

/* ---- programs ---- */

void rig_begin(struct rig_channel *c)
{
    const uint64_t module = RIG_HANDLE(CUDA_KIND_MODULE, 0);
    uint64_t window = RIG_WINDOW + ((uint64_t)(c - c->rig->channels) << 30);

    MUST(RIG_CALL(c, INIT, 0, window) == 0);
    MUST(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(1), 0) == 0);
    MUST(rig_ask(c, (struct rig_record){.op = CUDA_OP_IMAGE,
                                        RIG_ARGS(0),
                                        .payload = rig_image,
                                        .payload_bytes = (uint32_t)strlen(rig_image) + 1}) == 0);
    MUST(RIG_CALL(c, MODULE_LOAD, 1, module, strlen(rig_image) + 1, 0, 0) == 0);
}

struct rig_channel *rig_setup(void **state, uint64_t limit_bytes)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct rig_channel *c;

    MUST(rig);
    rig_open(rig, limit_bytes);
    c = rig_channel(rig);
    rig_begin(c);
    *state = rig;
    return c;
}

int rig_teardown(void **state)
{
    rig_close(*state);
    free(*state);
    return 0;
}

CUresult rig_function(struct rig_channel *c, unsigned context, uint64_t module, unsigned n,
                      const char *name)
{
    uint32_t bytes = (uint32_t)strlen(name) + 1;

    return rig_ask(
        c, (struct rig_record){.op = CUDA_OP_GET_FUNCTION,
                               .context = (uint16_t)context,
                               RIG_ARGS(RIG_HANDLE(CUDA_KIND_FUNCTION, n), module, 0, bytes),
                               .payload = name,
                               .payload_bytes = bytes});
}

CUresult rig_launch(struct rig_channel *c, unsigned context, uint64_t function, uint64_t stream,
                    const void *params, uint32_t bytes)
{
    return rig_ask(c, (struct rig_record){
                          .op = CUDA_OP_LAUNCH,
                          .context = (uint16_t)context,
                          RIG_ARGS(function, 1 | 1ull << 32, 1, 1 | 1ull << 32, 1, stream, bytes),
                          .payload = params,
                          .payload_bytes = bytes});
}

/* ---- what the stand-in has ---- */

static void *symbol(const char *name)
{
    void *library = dlopen(VGPU_STAND_IN, RTLD_NOW | RTLD_NOLOAD);
    void *found = library ? dlsym(library, name) : NULL;

    MUST(found);
    dlclose(library);
    return found;
}

unsigned rig_alive(const char *kind)
{
    unsigned (*alive)(const char *);
    void *found = symbol("vgpu_stand_in_alive");

    memcpy(&alive, &found, sizeof(alive));
    return alive(kind);
}

uint64_t rig_used_bytes(void)
{
    uint64_t (*used)(void);
    void *found = symbol("vgpu_stand_in_used_bytes");

    memcpy(&used, &found, sizeof(used));
    return used();
}
