/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/test_world.h"

#include <stdio.h>
#include <string.h>

struct world w;

static void on_send(void *opaque, uint32_t session, const VGPUSocketHeader *header,
                    const void *payload)
{
    struct sent *sent = &w.sent[w.sent_count++];

    assert_true(w.sent_count < LOG_MAX);
    *sent = (struct sent){.session = session, .header = *header};
    if (header->msg_type == VGPU_MSG_CONFIG) {
        memcpy(&sent->config, payload, sizeof(sent->config));
    } else if (header->msg_type == VGPU_MSG_CHANNEL_OPENED) {
        memcpy(&sent->opened, payload, sizeof(sent->opened));
    } else if (header->msg_type == VGPU_MSG_CHUNK_ADDED) {
        memcpy(&sent->added, payload, sizeof(sent->added));
    } else if (header->payload_len >= sizeof(sent->response)) {
        memcpy(&sent->response, payload, sizeof(sent->response));
    }
}

static void on_close(void *opaque, uint32_t session, enum core_close_reason reason)
{
    w.closed_session = session;
    w.closed_reason = reason;
}

static void on_start(void *opaque, const struct core_worker_spec *spec)
{
    w.starts[w.start_count++] = *spec;
}

static void on_run(void *opaque, uint64_t worker, uint64_t job_id,
                   const struct request_view *request)
{
    w.runs[w.run_count++] =
        (struct run){.worker = worker, .job_id = job_id, .opcode = request->opcode};
}

static void on_stop(void *opaque, uint64_t worker, bool kill)
{
    w.stopped = worker;
    w.stopped_by_kill = kill;
}

static int on_channel_lease(void *opaque, uint64_t channel, int fd)
{
    w.leased = channel;
    w.lease_fd = fd;
    return w.lease_result;
}

static int on_channel_part(void *opaque, uint64_t channel, const VGPUChunkAdd *add,
                           const VGPUPiece *pieces, int fd)
{
    w.part_count++;
    w.part = *add;
    w.last_piece = pieces[add->piece_count - 1];
    w.part_fd = fd;
    return w.part_result;
}

static int on_channel_start(void *opaque, uint64_t worker, uint64_t channel,
                            enum vgpu_channel_transport transport, const VGPUChannelOpen *open,
                            uint64_t bytes)
{
    w.channel = (struct world_channel){.state = WORLD_CHANNEL_STARTED,
                                       .worker = worker,
                                       .handle = channel,
                                       .transport = transport};
    return 0;
}

static void on_channel_send(void *opaque, uint32_t session, uint64_t channel,
                            const VGPUSocketHeader *header, const void *payload)
{
    assert_int_equal(channel, w.channel.handle);
    w.channel.state = WORLD_CHANNEL_OPENED;
    on_send(opaque, session, header, payload);
}

static void on_channel_stop(void *opaque, uint64_t worker, uint64_t channel, uint32_t reason)
{
    if (channel == w.channel.handle) {
        w.channel.stop_reason = reason;
    } else {
        w.other_stop_reason = reason;
    }
}

static void on_channel_free(void *opaque, uint64_t channel)
{
    if (channel == w.channel.handle) {
        w.channel.state = WORLD_CHANNEL_FREED;
    }
}

static int on_chunk_part(void *opaque, uint64_t worker, uint64_t channel, const VGPUChunkAdd *add,
                         const VGPUPiece *pieces, int fd)
{
    w.channel.chunk = add->chunk;
    return w.channel.chunk_result;
}

static int on_chunk_start(void *opaque, uint64_t worker, uint64_t channel, uint32_t chunk,
                          uint64_t bytes)
{
    w.channel.chunk = chunk;
    return w.channel.chunk_result;
}

static void on_chunk_send(void *opaque, uint32_t session, uint64_t channel, uint32_t chunk,
                          const VGPUSocketHeader *header, const void *payload)
{
    w.channel.chunk_sent = chunk;
    on_send(opaque, session, header, payload);
}

static void on_chunk_stop(void *opaque, uint64_t worker, uint64_t channel, uint32_t chunk)
{
    w.channel.chunk_stopped = chunk;
}

static void on_chunk_free(void *opaque, uint64_t channel, uint32_t chunk)
{
    w.channel.chunk_freed = chunk;
}

static void on_credit(void *opaque, uint64_t worker, uint32_t records)
{
    w.credits[w.credit_count++ % 8] = records;
}

static void on_limits(void *opaque, uint64_t worker, uint64_t kernel_ns)
{
    w.limits[w.limit_count++ % 8] = kernel_ns;
}

static void on_yield(void *opaque, uint64_t worker, uint64_t yield_ns)
{
    assert_int_equal(worker, w.channel.worker);
    w.yield_ns = yield_ns;
}

static void on_turn(void *opaque, uint64_t worker, uint64_t job_id, uint64_t channel,
                    uint64_t budget_ns)
{
    w.channel.turn_jobs[w.channel.turns++ % 16] = job_id;
    w.channel.budget_ns = budget_ns;
}

static void on_event(void *opaque, const struct core_event *event)
{
    w.events[event->kind]++;
    w.last[event->kind] = *event;
}

static void on_persist(void *opaque, const struct core_event *fact)
{
    w.persisted[fact->kind]++;
    w.last_persisted = *fact;
}

void world_begin(void (*change)(struct core_config *config))
{
    const struct core_effects effects = {
        .send = on_send,
        .close_session = on_close,
        .worker_start = on_start,
        .worker_run = on_run,
        .worker_stop = on_stop,
        .channel_lease = on_channel_lease,
        .channel_part = on_channel_part,
        .channel_start = on_channel_start,
        .channel_send = on_channel_send,
        .channel_stop = on_channel_stop,
        .channel_free = on_channel_free,
        .chunk_part = on_chunk_part,
        .chunk_start = on_chunk_start,
        .worker_credit = on_credit,
        .worker_limits = on_limits,
        .turn_yield = on_yield,
        .chunk_send = on_chunk_send,
        .chunk_stop = on_chunk_stop,
        .chunk_free = on_chunk_free,
        .worker_turn = on_turn,
        .event = on_event,
        .persist = on_persist,
    };
    struct core_config config;

    core_config_defaults(&config);
    config.allow_unregistered = true;
    config.test_ops = true;
    if (change) {
        change(&config);
    }
    memset(&w, 0, sizeof(w));
    w.closed_session = CORE_NONE;
    w.now_ns = 1000 * MS;
    w.core = core_new(&config, &effects);
    assert_int_equal(core_gpu_add(w.core, "CPU-0"), 0);
    assert_int_equal(core_pool_set_gpus(w.core, 'A', 1, w.now_ns), 0);
}

void world_end(void)
{
    core_free(w.core);
}

uint32_t connect_as(enum core_identity_kind kind, uint32_t vm_id)
{
    struct core_identity identity = {.kind = kind, .vm_ids = {vm_id}, .vm_id_count = 1};
    uint32_t session;

    memset(identity.uuid, (int)vm_id, sizeof(identity.uuid));
    assert_int_equal(core_session_open(w.core, &identity, w.now_ns, &session), 0);
    return session;
}

void frame_in(uint32_t session, uint32_t type, uint32_t vm_id, uint32_t request_id,
              const void *payload, uint32_t length)
{
    const struct frame frame = {
        .header =
            {
                .magic = VGPU_SOCKET_MAGIC,
                .msg_type = type,
                .vm_id = vm_id,
                .request_id = request_id,
                .pool_id = 'A',
                .priority = VGPU_PRIORITY_MEDIUM,
                .payload_len = length,
            },
        .payload = payload,
        .fds = &w.frame_fd,
        .fd_count = w.frame_fd > 0,
    };

    core_session_frame(w.core, session, &frame, w.now_ns);
}

void request(uint32_t session, uint32_t vm_id, uint32_t request_id)
{
    const VGPURequest nop = {.version = VGPU_PROTOCOL_VERSION, .opcode = VGPU_OP_NOP};

    frame_in(session, VGPU_MSG_REQUEST, vm_id, request_id, &nop, sizeof(nop));
}

void worker_ready(uint64_t worker)
{
    const vgpu_worker_ready ready = {.backend = VGPU_BACKEND_CPU,
                                     .flags = VGPU_WORKER_TAKES_LIMITS};

    core_worker_ready(w.core, worker, &ready, w.now_ns);
}

int done(const struct run *run, enum vgpu_error status)
{
    const vgpu_worker_done frame = {.status = status, .gpu_time_ns = MS};

    w.now_ns += MS; /* or else it is not believed */
    return core_worker_done(w.core, run->worker, run->job_id, &frame, NULL, w.now_ns);
}

void advance(uint64_t ns)
{
    uint64_t end_ns = w.now_ns + ns;

    while (core_next_deadline_ns(w.core) <= end_ns) {
        uint64_t due_ns = core_next_deadline_ns(w.core);

        w.now_ns = due_ns > w.now_ns ? due_ns : w.now_ns;
        core_tick(w.core, w.now_ns);
    }
    w.now_ns = end_ns;
    core_tick(w.core, w.now_ns);
}

void finish_after(uint64_t ns)
{
    const struct run *run = &w.runs[w.finished++];
    const vgpu_worker_done frame = {.gpu_time_ns = ns};

    assert_true(w.finished <= w.run_count);
    advance(ns);
    assert_int_equal(core_worker_done(w.core, run->worker, run->job_id, &frame, NULL, w.now_ns), 0);
}

const struct sent *last_sent(void)
{
    assert_true(w.sent_count > 0);
    return &w.sent[w.sent_count - 1];
}

struct core_vm_stats stats_of(uint32_t vm_id)
{
    struct core_vm_stats stats;
    uint32_t slot = core_vm_find(w.core, vm_id);

    assert_true(slot != CORE_NONE);
    assert_true(core_vm_stats(w.core, slot, w.now_ns, &stats));
    return stats;
}

uint32_t ready_vm(uint32_t vm_id)
{
    uint32_t session = connect_as(CORE_IDENTITY_CLAIM, vm_id);

    request(session, vm_id, 1000);
    worker_ready(w.starts[w.start_count - 1].worker);
    assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_NONE), 0);
    return session;
}

void deny_unregistered(struct core_config *config)
{
    config->allow_unregistered = false;
}

struct core_vm_config vm_config(uint32_t vm_id, uint32_t weight)
{
    struct core_vm_config config = {.vm_id = vm_id,
                                    .has_uuid = true,
                                    .pool = 'A',
                                    .priority = VGPU_PRIORITY_MEDIUM,
                                    .weight = weight};

    memset(config.uuid, (int)vm_id, sizeof(config.uuid));
    snprintf(config.name, sizeof(config.name), "vm-%u", vm_id);
    return config;
}

void apply(const struct core_vm_config *vms, uint32_t count)
{
    assert_int_equal(core_apply_vms(w.core, vms, count, w.now_ns, &w.applied, NULL), 0);
}
