/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The core under hostile sessions and untimely events.
 *
 * The simulator plays guests that mean well; these don't.  Sessions with all
 * kinds of identity send frames of all types, sizes and vm_ids, in any order;
 * VMs are registered and removed under them; workers get ready, answer, die and
 * answer for jobs that are not theirs; GPUs and pools change; time leaps.
 * What must hold:
 *   - every REQUEST on a session that lives gets one answer, in the end
 *   - nothing is sent to a session that is closed, nor CONFIG to a 1.0 device
 *   - a VM has one worker at a time; only a ready one that was not told to stop
 *     is given jobs, and never more than `depth`
 *   - the core's next deadline is never in the past after a tick
 */
#include <errno.h>
#include <string.h>

#include "common/unused.h"
#include "core/core.h"
#include "tests/property/property.h"

#define SESSIONS 24u
#define IDS 8u /* vm_ids 1..IDS */
#define WORKERS 64u
#define REQUESTS 4096u
#define STEPS 3000u
#define GPUS 3u

struct test_session {
    bool open, hello;
    uint32_t handle, claimed_id, next_request;
    uint8_t waiting[REQUESTS]; /* by request_id */
    uint32_t waiting_count;
};

struct test_worker {
    uint64_t handle; /* 0 = free */
    uint32_t vm_id;
    bool ready, stopped, killed;
    uint64_t jobs[WFQ_DEPTH_MAX];
    uint32_t job_count;
};

struct world {
    uint64_t seed, now_ns;
    struct rng rng;
    struct core *core;
    struct core_config config;
    struct test_session sessions[SESSIONS];
    struct test_worker workers[WORKERS];
    bool calm; /* the end: everybody behaves */
};

static struct world world; /* large */

/* ---- effects ---- */

static struct test_session *session_of(uint32_t handle)
{
    for (uint32_t i = 0; i < SESSIONS; i++) {
        if (world.sessions[i].open && world.sessions[i].handle == handle) {
            return &world.sessions[i];
        }
    }
    return NULL;
}

static void on_send(UNUSED void *opaque, uint32_t handle, const VGPUSocketHeader *header,
                    const void *payload)
{
    struct test_session *session = session_of(handle);
    VGPUResponse response;

    PROPERTY(session, world.seed, "a frame for session %u, which is closed", handle);
    PROPERTY(header->magic == VGPU_SOCKET_MAGIC && header->payload_len <= VGPU_SOCKET_PAYLOAD_MAX,
             world.seed, "not a frame");
    switch (header->msg_type) {
    case VGPU_MSG_RESPONSE:
    case VGPU_MSG_BUSY:
    case VGPU_MSG_QUARANTINED:
        PROPERTY(header->payload_len >= sizeof(response), world.seed, "a short answer");
        memcpy(&response, payload, sizeof(response));
        PROPERTY(header->request_id < REQUESTS && session->waiting[header->request_id], world.seed,
                 "request %u is answered, but not waiting", header->request_id);
        PROPERTY(response.status < VGPU_ERR_COUNT, world.seed, "status %u", response.status);
        session->waiting[header->request_id] = 0;
        session->waiting_count--;
        break;
    case VGPU_MSG_HELLO:
    case VGPU_MSG_CONFIG:
        PROPERTY(session->hello, world.seed, "message %u for a 1.0 device", header->msg_type);
        break;
    case VGPU_MSG_PONG: break;
    default: PROPERTY(false, world.seed, "message type %u", header->msg_type);
    }
}

static void on_close(UNUSED void *opaque, uint32_t handle, UNUSED enum core_close_reason reason)
{
    struct test_session *session = session_of(handle);

    PROPERTY(session, world.seed, "session %u is closed twice", handle);
    session->open = false;
}

static struct test_worker *worker_of(uint64_t handle)
{
    for (uint32_t i = 0; handle != 0 && i < WORKERS; i++) {
        if (world.workers[i].handle == handle) {
            return &world.workers[i];
        }
    }
    return NULL;
}

static void on_start(UNUSED void *opaque, const struct core_worker_spec *spec)
{
    struct test_worker *free_one = NULL;

    PROPERTY(spec->gpu < GPUS && spec->worker != 0, world.seed, "GPU %u", spec->gpu);
    for (uint32_t i = 0; i < WORKERS; i++) {
        PROPERTY(world.workers[i].handle == 0 ||
                     world.workers[i].handle % CORE_VMS_MAX != spec->worker % CORE_VMS_MAX,
                 world.seed, "VM %u has a worker", spec->vm_id);
        free_one = world.workers[i].handle == 0 ? &world.workers[i] : free_one;
    }
    PROPERTY(free_one, world.seed, "too many workers");
    *free_one = (struct test_worker){.handle = spec->worker, .vm_id = spec->vm_id};
}

static void on_run(UNUSED void *opaque, uint64_t handle, uint64_t job_id,
                   const struct request_view *request)
{
    struct test_worker *worker = worker_of(handle);

    PROPERTY(worker && worker->ready && !worker->stopped, world.seed, "worker %llu takes no jobs",
             (unsigned long long)handle);
    PROPERTY(worker->job_count < wfq_in_flight_max(&world.config.scheduler), world.seed,
             "%u jobs in a worker", worker->job_count);
    PROPERTY(request_check_op(request->opcode, request->param_count, request->data_length,
                              world.config.test_ops) == VGPU_ERR_NONE,
             world.seed, "opcode %u is not checked", request->opcode);
    worker->jobs[worker->job_count++] = job_id;
}

static void on_stop(UNUSED void *opaque, uint64_t handle, bool kill)
{
    struct test_worker *worker = worker_of(handle);

    PROPERTY(worker, world.seed, "worker %llu is stopped, but gone", (unsigned long long)handle);
    worker->stopped = true;
    worker->killed = worker->killed || kill;
    if (kill) {
        worker->job_count = 0;
    }
}

static void on_event(UNUSED void *opaque, const struct core_event *event)
{
    PROPERTY(event->kind < CORE_EVENT_KIND_COUNT && event->text, world.seed, "event %d",
             (int)event->kind);
    PROPERTY(event->vm == CORE_NONE || event->vm < CORE_VMS_MAX, world.seed, "slot %u", event->vm);
}

/* ---- sessions ---- */

static void uuid_of(uint32_t id, uint8_t *uuid)
{
    memset(uuid, 0, CORE_UUID_BYTES);
    memcpy(uuid, &id, sizeof(id));
}

static void open_session(struct test_session *session)
{
    struct core_identity identity = {
        .kind = (enum core_identity_kind)rng_range(&world.rng, 0, 2),
        .vm_id_count = (uint32_t)rng_range(&world.rng, 0, CORE_CLAIMED_IDS_MAX),
    };

    *session = (struct test_session){
        .claimed_id = (uint32_t)rng_range(&world.rng, 0, IDS + 1),
    };
    uuid_of((uint32_t)rng_range(&world.rng, 1, IDS), identity.uuid);
    if (identity.kind == CORE_IDENTITY_UUID && rng_chance(&world.rng, 0.7)) {
        uuid_of(session->claimed_id, identity.uuid);
    }
    for (uint32_t i = 0; i < identity.vm_id_count; i++) {
        identity.vm_ids[i] = (uint32_t)rng_range(&world.rng, 0, IDS + 1);
    }
    PROPERTY(core_session_open(world.core, &identity, world.now_ns, &session->handle) == 0,
             world.seed, "no session");
    session->open = true;
}

/* A request that may well be in order; returns its length. */
static uint32_t write_request(uint8_t *bytes)
{
    static const uint32_t opcodes[] = {
        VGPU_OP_NOP,       VGPU_OP_CUDA_KERNEL, VGPU_OP_GET_DEVICE_INFO, VGPU_OP_VECTOR_ADD_I32,
        VGPU_OP_TEST_SPIN, VGPU_OP_TEST_HANG,   VGPU_OP_TEST_CRASH,      0x4711,
    };
    VGPURequest header = {
        .version = VGPU_PROTOCOL_VERSION,
        .opcode = opcodes[rng_range(&world.rng, 0, sizeof(opcodes) / sizeof(opcodes[0]) - 1)],
    };
    uint32_t length = sizeof(header);

    switch (header.opcode) {
    case VGPU_OP_CUDA_KERNEL: header.param_count = 2; break;
    case VGPU_OP_TEST_SPIN: header.param_count = 1; break;
    case VGPU_OP_VECTOR_ADD_I32:
        header.data_offset = sizeof(header);
        header.data_length = 8 * (uint32_t)rng_range(&world.rng, 0, VGPU_VECTOR_MAX);
        break;
    default: break;
    }
    length += 4 * header.param_count + header.data_length;
    memcpy(bytes, &header, sizeof(header));
    if (rng_chance(&world.rng, 0.1)) {
        bytes[rng_range(&world.rng, 0, sizeof(header) - 1)] ^=
            (uint8_t)(1u << rng_range(&world.rng, 0, 7));
    }
    return rng_chance(&world.rng, 0.05) ? (uint32_t)rng_range(&world.rng, 0, length) : length;
}

static void send_frame(struct test_session *session)
{
    uint8_t bytes[VGPU_SOCKET_PAYLOAD_MAX];
    struct frame frame = {
        .header = {.magic = VGPU_SOCKET_MAGIC,
                   .msg_type = VGPU_MSG_REQUEST,
                   .vm_id = session->claimed_id,
                   .pool_id = (uint8_t)rng_range(&world.rng, 'A', 'C'),
                   .priority = (uint8_t)rng_range(&world.rng, 0, 4)},
        .payload = bytes,
    };

    for (uint32_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)rng_next(&world.rng);
    }
    if (rng_chance(&world.rng, 0.02)) {
        frame.header.vm_id = (uint32_t)rng_range(&world.rng, 0, IDS + 1);
    }
    if (rng_chance(&world.rng, 0.05)) {
        frame.header.msg_type = (uint32_t)rng_range(&world.rng, 0, 9);
    } else if (!session->hello && session->next_request == 0 && rng_chance(&world.rng, 0.5)) {
        frame.header.msg_type = VGPU_MSG_HELLO;
    }
    switch (frame.header.msg_type) {
    case VGPU_MSG_REQUEST:
        frame.header.payload_len = rng_chance(&world.rng, 0.95)
                                       ? write_request(bytes)
                                       : (uint32_t)rng_range(&world.rng, 0, sizeof(bytes));
        frame.header.request_id = session->next_request++;
        session->waiting[frame.header.request_id] = 1;
        session->waiting_count++;
        break;
    case VGPU_MSG_HELLO:
        frame.header.payload_len = sizeof(VGPUHello);
        session->hello = true;
        break;
    case VGPU_MSG_CONFIG: frame.header.payload_len = sizeof(VGPUConfig); break;
    default: frame.header.payload_len = (uint32_t)rng_range(&world.rng, 0, 80); break;
    }
    core_session_frame(world.core, session->handle, &frame, world.now_ns);
}

static void session_step(struct test_session *session)
{
    if (!session->open) {
        open_session(session);
    } else if (rng_chance(&world.rng, 0.01) || session->next_request == REQUESTS) {
        session->open = false;
        core_session_closed(world.core, session->handle, world.now_ns);
    } else if (rng_chance(&world.rng, 0.003)) {
        core_session_garbage(world.core, session->handle, world.now_ns);
        PROPERTY(!session->open, world.seed, "a broken stream stays open");
    } else {
        send_frame(session);
    }
}

/* ---- workers ---- */

static void answer(struct test_worker *worker)
{
    vgpu_worker_done done = {.gpu_time_ns = rng_range(&world.rng, 0, 5000000)};
    uint64_t handle = worker->handle, job = worker->jobs[0];

    if (worker->job_count == 0) {
        return;
    }
    if (rng_chance(&world.rng, 0.05)) {
        done.status = VGPU_ERR_CUDA_ERROR;
    }
    memmove(worker->jobs, worker->jobs + 1, --worker->job_count * sizeof(worker->jobs[0]));
    PROPERTY(core_worker_done(world.core, handle, job, &done, NULL, world.now_ns) == 0, world.seed,
             "a result in order is refused");
}

static void leave(struct test_worker *worker)
{
    uint64_t handle = worker->handle;

    *worker = (struct test_worker){0};
    core_worker_exited(world.core, handle,
                       (enum core_worker_end)rng_range(&world.rng, 0, CORE_WORKER_END_PROTOCOL), 1,
                       world.now_ns);
}

static void worker_step(struct test_worker *worker)
{
    const vgpu_worker_ready ready = {
        .flags = rng_chance(&world.rng, 0.5) ? VGPU_WORKER_TIME_ELAPSED : 0,
    };
    const vgpu_worker_done wrong = {.status = VGPU_ERR_NONE};

    if (worker->handle == 0) {
        return;
    }
    if (worker->killed || rng_chance(&world.rng, world.calm ? 0 : 0.01) ||
        (worker->stopped && worker->job_count == 0)) {
        leave(worker);
    } else if (!worker->ready && !worker->stopped) {
        worker->ready = true;
        core_worker_ready(world.core, worker->handle, &ready, world.now_ns);
    } else if (!world.calm && rng_chance(&world.rng, 0.01)) {
        PROPERTY(core_worker_done(world.core, worker->handle, UINT64_MAX, &wrong, NULL,
                                  world.now_ns) == -EPROTO,
                 world.seed, "a result for no job is taken");
    } else {
        answer(worker);
    }
}

/* ---- the administrator ---- */

static void reload(void)
{
    static struct core_apply_result result;
    struct core_vm_config configs[IDS];
    uint32_t count = 0, bad;
    int ret;

    for (uint32_t id = 1; id <= IDS; id++) {
        struct core_vm_config *config = &configs[count];

        if (rng_chance(&world.rng, 0.25)) {
            continue;
        }
        *config = (struct core_vm_config){
            .vm_id = id,
            .has_uuid = id % 2 == 0,
            .pool = (char)rng_range(&world.rng, 'A', 'C'),
            .priority = (uint32_t)rng_range(&world.rng, 0, 2),
            .weight = (double)rng_range(&world.rng, 100, 10000) / 100,
            .max_jobs_per_sec = rng_chance(&world.rng, 0.3) ? 100 : 0,
            .max_queue_depth = (uint32_t)rng_range(&world.rng, 0, 20),
            .memory_limit_bytes = rng_chance(&world.rng, 0.2) ? 1u << 30 : 0,
            .quarantined = rng_chance(&world.rng, 0.1),
        };
        uuid_of(id, config->uuid);
        if (count > 0 && rng_chance(&world.rng, 0.03)) {
            /* Two VMs change ids. */
            config->vm_id = configs[count - 1].vm_id;
            configs[count - 1].vm_id = id;
        }
        count++;
    }
    ret = core_apply_vms(world.core, configs, count, world.now_ns, &result, &bad);
    PROPERTY(ret == 0 || ret == -ENOSPC, world.seed, "reload: %d", ret);
}

static void administrate(void)
{
    uint32_t id = (uint32_t)rng_range(&world.rng, 1, IDS);
    uint32_t gpu = (uint32_t)rng_range(&world.rng, 0, GPUS - 1);

    switch (rng_range(&world.rng, 0, 7)) {
    case 0: reload(); break;
    case 1: core_quarantine_vm(world.core, id, world.now_ns); break;
    case 2: core_unquarantine_vm(world.core, id, world.now_ns); break;
    case 3:
        core_gpu_set_available(world.core, gpu, rng_chance(&world.rng, 0.6), world.now_ns);
        break;
    case 4:
        core_pool_set_gpus(world.core, (char)rng_range(&world.rng, 'A', 'C'),
                           (uint32_t)rng_range(&world.rng, 0, (1u << GPUS) - 1), world.now_ns);
        break;
    case 5:
        core_pause(world.core, rng_chance(&world.rng, 0.5) ? CORE_NONE : gpu, world.now_ns);
        break;
    case 6: core_resume(world.core, CORE_NONE, world.now_ns); break;
    default:
        core_set_policy(world.core,
                        (enum wfq_policy_id)rng_range(&world.rng, 0, WFQ_POLICY_COUNT - 1),
                        world.now_ns);
        core_prefer_vm(world.core, id);
        break;
    }
}

static void pass_time(void)
{
    world.now_ns +=
        (uint64_t)rng_log_uniform(&world.rng, 100, rng_chance(&world.rng, 0.02) ? 2e10 : 3e6);
    for (int i = 0; core_next_deadline_ns(world.core) <= world.now_ns; i++) {
        PROPERTY(i < 100, world.seed, "a deadline that never passes");
        core_tick(world.core, world.now_ns);
    }
}

static void look(void)
{
    static struct core_vm_stats stats;

    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        if (core_vm_stats(world.core, slot, world.now_ns, &stats)) {
            PROPERTY(stats.queue_depth + stats.in_flight <= CORE_VM_JOBS_MAX &&
                         stats.in_flight <= wfq_in_flight_max(&world.config.scheduler),
                     world.seed, "slot %u: %u and %u jobs", slot, stats.queue_depth,
                     stats.in_flight);
        }
    }
}

/* Everything works again: then everything is answered. */
static void calm_down(void)
{
    uint32_t waiting = 1;

    world.calm = true;
    for (uint32_t gpu = 0; gpu < GPUS; gpu++) {
        core_gpu_set_available(world.core, gpu, true, world.now_ns);
    }
    for (char pool = 'A'; pool <= 'C'; pool++) {
        core_pool_set_gpus(world.core, pool, 1, world.now_ns);
    }
    core_resume(world.core, CORE_NONE, world.now_ns);
    for (uint32_t i = 0; i < 20000 && waiting > 0; i++) {
        pass_time();
        for (uint32_t k = 0; k < WORKERS; k++) {
            worker_step(&world.workers[k]);
        }
        waiting = 0;
        for (uint32_t k = 0; k < SESSIONS; k++) {
            waiting += world.sessions[k].open ? world.sessions[k].waiting_count : 0;
        }
    }
    PROPERTY(waiting == 0, world.seed, "%u requests are not answered", waiting);
}

static void run(uint64_t seed)
{
    const struct core_effects effects = {
        .send = on_send,
        .close_session = on_close,
        .worker_start = on_start,
        .worker_run = on_run,
        .worker_stop = on_stop,
        .event = on_event,
    };

    memset(&world, 0, sizeof(world));
    world.seed = seed;
    world.rng = rng_stream(seed, 6);
    world.now_ns = 1000000000;
    core_config_defaults(&world.config);
    world.config.test_ops = rng_chance(&world.rng, 0.7);
    world.config.allow_unregistered = rng_chance(&world.rng, 0.5);
    world.config.scheduler.depth = (uint32_t)rng_range(&world.rng, 1, 4);
    world.config.fault_threshold = (uint32_t)rng_range(&world.rng, 0, 5);
    world.config.overrun_ns = (uint64_t)rng_log_uniform(&world.rng, 1e6, 1e8);
    world.config.job_timeout_ns = (uint64_t)rng_log_uniform(&world.rng, 1e7, 1e10);
    world.core = core_new(&world.config, &effects);
    PROPERTY(world.core, seed, "no memory");
    for (uint32_t gpu = 0; gpu < GPUS; gpu++) {
        core_gpu_add(world.core, "GPU-test");
    }
    core_pool_set_gpus(world.core, 'A', 1, world.now_ns);
    core_pool_set_gpus(world.core, 'B', 7, world.now_ns);
    reload();
    for (uint32_t i = 0; i < STEPS; i++) {
        if (rng_chance(&world.rng, 0.4)) {
            pass_time();
        }
        session_step(&world.sessions[rng_range(&world.rng, 0, SESSIONS - 1)]);
        worker_step(&world.workers[rng_range(&world.rng, 0, WORKERS - 1)]);
        worker_step(&world.workers[rng_range(&world.rng, WORKERS - IDS, WORKERS - 1)]);
        if (rng_chance(&world.rng, 0.02)) {
            administrate();
        }
        if (i % 64 == 0) {
            look();
        }
    }
    calm_down();
    core_free(world.core);
}

int main(void)
{
    return property_run("core", 300, run);
}
