/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole core under any sequence of events: the input is a list of what devices,
 * workers, the administrator and the clock do.
 *
 * How it works.  A model beside the core knows which sessions are open, which
 * workers exist and what they run, and which requests still have no answer; the effects
 * check the core against it.  When the input is used up, everything is let go:
 * GPUs come back, workers start and finish their jobs, time passes.  Then each
 * request whose session is still open must have got exactly one answer.
 */
#include <errno.h>
#include <string.h>

#include "common/unused.h"
#include "core/core.h"
#include "fuzz.h"

#define SESSIONS 48u  /* open at once */
#define WORKERS 256u  /* ever started */
#define REQUESTS 600u /* ever sent */
#define VM_IDS 6u
#define GPUS 2u

struct model_session {
    bool open;
    uint32_t handle;
};

struct model_worker {
    uint64_t handle;
    bool ready;
    bool asked_to_stop;
    bool killed; /* may still hold jobs that the core has given up */
    bool gone;
    uint64_t jobs[WFQ_DEPTH_MAX];
    uint32_t job_count;
};

enum request_state {
    REQUEST_UNKNOWN,
    REQUEST_OUTSTANDING,
    REQUEST_ANSWERED,
    REQUEST_LOST, /* its session is closed */
};

struct model {
    struct core *core;
    uint64_t now_ns;
    struct model_session sessions[SESSIONS];
    struct model_worker workers[WORKERS];
    uint32_t worker_count;
    uint8_t requests[REQUESTS]; /* enum request_state, by request_id */
    uint32_t request_session[REQUESTS];
    uint32_t request_count;
    uint32_t depth;
    uint64_t last_job;
};

/* ---- The core's effects, checked ---- */

static struct model_session *find_session(struct model *m, uint32_t handle)
{
    for (uint32_t i = 0; i < SESSIONS; i++) {
        if (m->sessions[i].open && m->sessions[i].handle == handle) {
            return &m->sessions[i];
        }
    }
    return NULL;
}

static struct model_worker *find_worker(struct model *m, uint64_t handle)
{
    for (uint32_t i = 0; i < m->worker_count; i++) {
        if (m->workers[i].handle == handle) {
            return &m->workers[i];
        }
    }
    return NULL;
}

static void forget_session(struct model *m, struct model_session *session)
{
    session->open = false;
    for (uint32_t i = 0; i < m->request_count; i++) {
        if (m->requests[i] == REQUEST_OUTSTANDING && m->request_session[i] == session->handle) {
            m->requests[i] = REQUEST_LOST;
        }
    }
}

static void check_answer(struct model *m, uint32_t session, const VGPUSocketHeader *header,
                         const void *payload)
{
    VGPUResponse response;
    uint32_t id = header->request_id;

    CHECK(header->payload_len >= sizeof(response));
    memcpy(&response, payload, sizeof(response));
    CHECK(response.version == VGPU_PROTOCOL_VERSION && response.status < VGPU_ERR_COUNT);
    CHECK(header->payload_len ==
          sizeof(response) + response.result_count * 4u + response.data_length);
    CHECK((header->msg_type == VGPU_MSG_BUSY) == vgpu_error_is_retryable(response.status));
    CHECK((header->msg_type == VGPU_MSG_QUARANTINED) ==
          (response.status == VGPU_ERR_VM_QUARANTINED));
    CHECK(id < m->request_count && m->request_session[id] == session);
    CHECK(m->requests[id] == REQUEST_OUTSTANDING);
    m->requests[id] = REQUEST_ANSWERED;
}

static void on_send(void *opaque, uint32_t session, const VGPUSocketHeader *header,
                    const void *payload)
{
    struct model *m = opaque;

    CHECK(find_session(m, session));
    CHECK(header->magic == VGPU_SOCKET_MAGIC && header->pad == 0);
    CHECK(header->payload_len <= VGPU_SOCKET_PAYLOAD_MAX);
    switch (header->msg_type) {
    case VGPU_MSG_RESPONSE:
    case VGPU_MSG_BUSY:
    case VGPU_MSG_QUARANTINED: check_answer(m, session, header, payload); break;
    case VGPU_MSG_PONG: CHECK(header->payload_len <= VGPU_PING_BYTES_MAX); break;
    case VGPU_MSG_CONFIG: CHECK(header->payload_len == sizeof(VGPUConfig)); break;
    case VGPU_MSG_HELLO: CHECK(header->payload_len == sizeof(VGPUHello)); break;
    default: CHECK(!"a frame that the mediator never sends");
    }
}

static void on_close(void *opaque, uint32_t session, UNUSED enum core_close_reason reason)
{
    struct model *m = opaque;
    struct model_session *found = find_session(m, session);

    CHECK(found);
    forget_session(m, found);
}

static void on_worker_start(void *opaque, const struct core_worker_spec *spec)
{
    struct model *m = opaque;

    CHECK(!find_worker(m, spec->worker) && spec->gpu < GPUS);
    CHECK(m->worker_count < WORKERS);
    m->workers[m->worker_count++] = (struct model_worker){.handle = spec->worker};
}

static void on_worker_run(void *opaque, uint64_t worker, uint64_t job_id,
                          const struct request_view *request)
{
    struct model *m = opaque;
    struct model_worker *w = find_worker(m, worker);

    CHECK(w && w->ready && !w->killed && !w->gone);
    CHECK(w->job_count < m->depth);
    CHECK(request_check_op(request->opcode, request->param_count, request->data_length, true) ==
          VGPU_ERR_NONE);
    CHECK(job_id != 0);
    w->jobs[w->job_count++] = job_id;
}

static void on_worker_stop(void *opaque, uint64_t worker, bool kill)
{
    struct model_worker *w = find_worker(opaque, worker);

    CHECK(w && !w->gone);
    w->asked_to_stop = true;
    w->killed |= kill;
}

static void on_event(UNUSED void *opaque, const struct core_event *event)
{
    CHECK(event->kind < CORE_EVENT_KIND_COUNT && event->text);
}

/* ---- What the outside does ---- */

static struct model_session *pick_session(struct model *m, uint8_t choice)
{
    return &m->sessions[choice % SESSIONS];
}

static void open_session(struct model *m, struct supply *s)
{
    struct model_session *session = pick_session(m, supply_byte(s));
    struct core_identity identity = {.kind = supply_byte(s) % 3};

    if (session->open) {
        return;
    }
    memset(identity.uuid, 1 + supply_byte(s) % 3, sizeof(identity.uuid));
    identity.vm_id_count = supply_byte(s) % 3;
    for (uint32_t i = 0; i < identity.vm_id_count; i++) {
        identity.vm_ids[i] = supply_byte(s) % VM_IDS;
    }
    if (core_session_open(m->core, &identity, m->now_ns, &session->handle) == 0) {
        session->open = true;
    }
}

static void send_frame(struct model *m, struct model_session *session, VGPUSocketHeader header,
                       const void *payload)
{
    struct frame frame = {.header = header};
    /* Of exactly its size, and gone afterwards: the core must have made its own copy. */
    uint8_t *copy = malloc(header.payload_len ? header.payload_len : 1);

    CHECK(copy);
    if (header.payload_len > 0) {
        memcpy(copy, payload, header.payload_len);
    }
    frame.payload = copy;
    if (header.msg_type == VGPU_MSG_REQUEST) {
        if (m->request_count == REQUESTS) {
            free(copy);
            return;
        }
        frame.header.request_id = m->request_count;
        m->request_session[m->request_count] = session->handle;
        m->requests[m->request_count++] = REQUEST_OUTSTANDING;
    }
    core_session_frame(m->core, session->handle, &frame, m->now_ns);
    memset(copy, 0xDD, header.payload_len);
    free(copy);
}

/* A request that is mostly right, so that jobs come into being. */
static void send_request(struct model *m, struct supply *s)
{
    static const struct {
        uint32_t opcode, params, data;
    } kinds[] = {{VGPU_OP_NOP, 0, 0},
                 {VGPU_OP_CUDA_KERNEL, 2, 0},
                 {VGPU_OP_GET_DEVICE_INFO, 0, 0},
                 {VGPU_OP_TEST_SPIN, 1, 0},
                 {VGPU_OP_VECTOR_ADD_I32, 0, 16},
                 {VGPU_OP_TEST_CRASH, 0, 0},
                 {VGPU_OP_CUDA_KERNEL, 1, 0}};
    struct model_session *session = pick_session(m, supply_byte(s));
    uint8_t vm_id = supply_byte(s), kind = supply_byte(s) % 7, times = supply_byte(s) % 16;
    uint8_t payload[64] = {0};
    VGPURequest request = {
        .version = VGPU_PROTOCOL_VERSION,
        .opcode = kinds[kind].opcode,
        .param_count = kinds[kind].params,
        .data_offset = sizeof(request),
        .data_length = kinds[kind].data,
    };
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = VGPU_MSG_REQUEST,
        .vm_id = vm_id % VM_IDS,
        .pool_id = (uint8_t)('A' + (vm_id >> 4) % 3),
        .priority = (uint8_t)((vm_id >> 6) & 3),
        .payload_len = (uint32_t)sizeof(request) + kinds[kind].params * 4 + kinds[kind].data,
    };

    memcpy(payload, &request, sizeof(request));
    for (uint32_t i = 0; i <= times && session->open; i++) {
        send_frame(m, session, header, payload);
    }
}

static void send_any_frame(struct model *m, struct supply *s)
{
    struct model_session *session = pick_session(m, supply_byte(s));
    uint32_t want;
    size_t got;
    const uint8_t *bytes;
    VGPUSocketHeader header = {.magic = VGPU_SOCKET_MAGIC};

    header.msg_type = supply_byte(s) % 12;
    header.vm_id = supply_byte(s) % VM_IDS;
    header.request_id = supply_byte(s);
    header.pool_id = supply_byte(s);
    header.priority = supply_byte(s);
    want = supply_byte(s) * 4u;
    bytes = supply_bytes(s, want, &got);
    header.payload_len = (uint32_t)got;
    if (session->open) {
        send_frame(m, session, header, bytes);
    }
}

static void say_hello(struct model *m, struct supply *s)
{
    struct model_session *session = pick_session(m, supply_byte(s));
    VGPUHello hello = {.version = VGPU_PROTOCOL_VERSION, .features = supply_byte(s)};
    VGPUSocketHeader header = {
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = VGPU_MSG_HELLO,
        .vm_id = supply_byte(s) % VM_IDS,
        .pool_id = 'A',
        .payload_len = sizeof(hello),
    };

    if (session->open) {
        send_frame(m, session, header, &hello);
    }
}

static void leave(struct model *m, struct supply *s)
{
    uint8_t choice = supply_byte(s);
    struct model_session *session = pick_session(m, choice);

    if (!session->open) {
        return;
    }
    if (choice >= 128) {
        core_session_garbage(m->core, session->handle, m->now_ns);
        CHECK(!session->open);
    } else {
        forget_session(m, session);
        core_session_closed(m->core, session->handle, m->now_ns);
    }
}

static void worker_exits(struct model *m, struct model_worker *w, enum core_worker_end end,
                         uint32_t detail)
{
    w->gone = true;
    core_worker_exited(m->core, w->handle, end, detail, m->now_ns);
}

static void worker_done(struct model *m, struct model_worker *w, uint64_t job_id, uint32_t status,
                        uint64_t gpu_time_ns)
{
    uint32_t body[4] = {1, 2, 3, 4};
    vgpu_worker_done done = {
        .status = status,
        .result_count = status == VGPU_ERR_NONE ? 2 : 0,
        .data_length = status == VGPU_ERR_NONE ? 8 : 0,
        .gpu_time_ns = gpu_time_ns,
    };
    bool due = w->job_count > 0 && w->jobs[0] == job_id && !w->killed && status < VGPU_ERR_COUNT;
    int ret;

    if (w->job_count > 0 && w->jobs[0] == job_id) {
        w->job_count--;
        memmove(w->jobs, w->jobs + 1, w->job_count * sizeof(w->jobs[0]));
    }
    ret = core_worker_done(m->core, w->handle, job_id, &done, body, m->now_ns);
    CHECK(ret == 0 || (ret == -EPROTO && !due));
    if (ret < 0) {
        worker_exits(m, w, CORE_WORKER_END_PROTOCOL, 0);
    }
}

static void worker_event(struct model *m, struct supply *s)
{
    uint8_t what = supply_byte(s), choice = supply_byte(s), value = supply_byte(s);
    struct model_worker *w;

    if (m->worker_count == 0) {
        return;
    }
    /* The youngest ones are those that live. */
    w = &m->workers[m->worker_count - 1 - choice % (m->worker_count < 8 ? m->worker_count : 8)];
    if (w->gone) {
        return;
    }
    switch (what % 6) {
    case 0:
    case 1:
        if (!w->ready) {
            vgpu_worker_ready ready = {.flags = value & VGPU_WORKER_TIME_ELAPSED};

            w->ready = true;
            core_worker_ready(m->core, w->handle, &ready, m->now_ns);
        }
        break;
    case 2:
    case 3:
        if (w->job_count > 0) {
            worker_done(m, w, w->jobs[0], value < 224 ? VGPU_ERR_NONE : value - 223u,
                        (uint64_t)value << 12);
        }
        break;
    case 4:
        if (w->ready && value < 16) {
            worker_done(m, w, value, VGPU_ERR_NONE, 1);
        }
        break;
    case 5: worker_exits(m, w, value % 4, value); break;
    }
}

static void configure(struct model *m, struct supply *s)
{
    static struct core_apply_result result;
    struct core_vm_config vms[4] = {0};
    uint32_t count = supply_byte(s) % 5, bad = 0;
    int ret;

    for (uint32_t i = 0; i < count; i++) {
        uint8_t flags = supply_byte(s);

        vms[i].vm_id = supply_byte(s) % VM_IDS;
        vms[i].has_uuid = (flags & 1) != 0;
        memset(vms[i].uuid, 1 + (flags >> 1) % 3, sizeof(vms[i].uuid));
        strcpy(vms[i].name, "vm");
        vms[i].pool = (char)('A' + (flags >> 3) % 3);
        vms[i].priority = supply_byte(s) % 4;
        vms[i].weight = supply_byte(s) % 102;
        vms[i].max_jobs_per_sec = supply_byte(s);
        vms[i].max_queue_depth = supply_byte(s) % 8;
        vms[i].quarantined = (flags & 64) != 0;
    }
    ret = core_apply_vms(m->core, vms, count, m->now_ns, &result, &bad);
    CHECK(ret == 0 || (ret == -EINVAL && bad < count) || ret == -ENOSPC || ret == -ENOMEM);
}

static void administrate(struct model *m, struct supply *s)
{
    uint8_t what = supply_byte(s), value = supply_byte(s);
    uint32_t gpu = value % GPUS, one_or_all = value % 5 == 4 ? CORE_NONE : gpu;

    switch (what % 8) {
    case 0: core_pause(m->core, one_or_all, m->now_ns); break;
    case 1: core_resume(m->core, one_or_all, m->now_ns); break;
    case 2: core_set_policy(m->core, value % WFQ_POLICY_COUNT, m->now_ns); break;
    case 3: core_prefer_vm(m->core, value % (VM_IDS + 1)); break;
    case 4: core_quarantine_vm(m->core, value % VM_IDS, m->now_ns); break;
    case 5: core_unquarantine_vm(m->core, value % VM_IDS, m->now_ns); break;
    case 6: core_gpu_set_available(m->core, gpu, value >= 128, m->now_ns); break;
    case 7:
        core_pool_set_gpus(m->core, (char)('A' + value % 3), (value >> 2) % (1u << GPUS),
                           m->now_ns);
        break;
    }
}

static void check_stats(struct model *m)
{
    struct core_vm_stats stats;

    for (uint32_t vm = 0; vm < 16; vm++) {
        if (core_vm_stats(m->core, vm, m->now_ns, &stats)) {
            CHECK(stats.in_flight <= m->depth);
            CHECK(stats.queue_depth + stats.in_flight <= CORE_VM_JOBS_MAX);
            CHECK(stats.submitted >= stats.completed + stats.queue_depth + stats.in_flight);
        }
    }
}

static void pass_time(struct model *m, struct supply *s)
{
    uint8_t value = supply_byte(s);
    uint64_t due_ns = core_next_deadline_ns(m->core);

    if (value == 255 && due_ns != CORE_NEVER) {
        m->now_ns = due_ns > m->now_ns ? due_ns : m->now_ns;
    } else {
        m->now_ns += (uint64_t)(value & 15) << ((value >> 4) * 2 + 6);
    }
    core_tick(m->core, m->now_ns);
}

static void one_event(struct model *m, struct supply *s)
{
    switch (supply_byte(s) % 16) {
    case 0: open_session(m, s); break;
    case 1:
    case 2:
    case 3:
    case 4: send_request(m, s); break;
    case 5: send_any_frame(m, s); break;
    case 6: say_hello(m, s); break;
    case 7: leave(m, s); break;
    case 8:
    case 9:
    case 10:
    case 11:
    case 12: worker_event(m, s); break;
    case 13: administrate(m, s); break;
    case 14: configure(m, s); break;
    case 15: pass_time(m, s); break;
    }
}

/* ---- The end ---- */

static uint32_t outstanding(const struct model *m)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < m->request_count; i++) {
        count += m->requests[i] == REQUEST_OUTSTANDING;
    }
    return count;
}

/* Whatever is due for a worker that behaves well. */
static bool serve_workers(struct model *m)
{
    bool worked = false;

    for (uint32_t i = 0; i < m->worker_count; i++) {
        struct model_worker *w = &m->workers[i];
        vgpu_worker_ready ready = {0};

        if (w->gone) {
            continue;
        }
        if (w->killed || (w->asked_to_stop && w->job_count == 0)) {
            worker_exits(m, w, CORE_WORKER_END_SIGNALED, 9);
        } else if (!w->ready) {
            w->ready = true;
            core_worker_ready(m->core, w->handle, &ready, m->now_ns);
        } else if (w->job_count > 0) {
            worker_done(m, w, w->jobs[0], VGPU_ERR_NONE, 1000);
        } else {
            continue;
        }
        worked = true;
    }
    return worked;
}

static void settle(struct model *m)
{
    for (uint32_t gpu = 0; gpu < GPUS; gpu++) {
        core_gpu_set_available(m->core, gpu, true, m->now_ns);
    }
    core_resume(m->core, CORE_NONE, m->now_ns);
    for (uint32_t round = 0; outstanding(m) > 0; round++) {
        uint64_t due_ns = core_next_deadline_ns(m->core);

        CHECK(round < 20000);
        if (!serve_workers(m)) {
            /* Nothing to do for the workers: then the core must be waiting for a time. */
            CHECK(due_ns != CORE_NEVER);
            m->now_ns = due_ns > m->now_ns ? due_ns : m->now_ns;
        }
        m->now_ns += 1000;
        core_tick(m->core, m->now_ns);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model model;
    struct model *m = &model;
    struct supply supply = {data, size};
    struct core_effects effects = {
        .opaque = m,
        .send = on_send,
        .close_session = on_close,
        .worker_start = on_worker_start,
        .worker_run = on_worker_run,
        .worker_stop = on_worker_stop,
        .event = on_event,
    };
    struct core_config config;
    uint8_t choice;

    if (size < 4 || size > 4096) {
        return 0;
    }
    memset(m, 0, sizeof(*m));
    m->now_ns = 1000000000u;
    choice = supply_byte(&supply);
    core_config_defaults(&config);
    config.test_ops = true;
    config.allow_unregistered = (choice & 1) != 0;
    config.scheduler.policy = (choice >> 1) % WFQ_POLICY_COUNT;
    config.scheduler.depth = 1 + (choice >> 4) % 4;
    m->depth = wfq_in_flight_max(&config.scheduler);
    m->core = core_new(&config, &effects);
    CHECK(m->core);
    for (uint32_t gpu = 0; gpu < GPUS; gpu++) {
        CHECK(core_gpu_add(m->core, gpu ? "CPU-1" : "CPU-0") == (int)gpu);
    }
    CHECK(core_pool_set_gpus(m->core, 'A', 1, m->now_ns) == 0);
    CHECK(core_pool_set_gpus(m->core, 'B', 3, m->now_ns) == 0);
    /* Room for what a single event can start. */
    while (supply.size > 0 && m->worker_count < WORKERS - 64) {
        one_event(m, &supply);
        check_stats(m);
    }
    settle(m);
    core_free(m->core);
    return 0;
}
