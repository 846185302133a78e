/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The core with recorded effects: each test is a story of events and replies. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/core.h"
#include "core/metrics.h"

#define MS 1000000ull
#define LOG_MAX 1024

struct sent {
    uint32_t session;
    VGPUSocketHeader header;
    VGPUResponse response;
    VGPUConfig config;
};

struct run {
    uint64_t worker, job_id;
    uint32_t opcode;
};

static struct world {
    struct core *core;
    uint64_t now_ns;
    struct sent sent[LOG_MAX];
    uint32_t sent_count;
    struct run runs[LOG_MAX];
    uint32_t run_count;
    struct core_worker_spec starts[LOG_MAX];
    uint32_t start_count;
    uint64_t stopped;
    bool stopped_by_kill;
    uint32_t closed_session;
    enum core_close_reason closed_reason;
    uint32_t events[CORE_EVENT_KIND_COUNT];
    struct core_event last[CORE_EVENT_KIND_COUNT];
} w;

static void on_send(void *opaque, uint32_t session, const VGPUSocketHeader *header,
                    const void *payload)
{
    struct sent *sent = &w.sent[w.sent_count++];

    assert_true(w.sent_count < LOG_MAX);
    *sent = (struct sent){.session = session, .header = *header};
    if (header->msg_type == VGPU_MSG_CONFIG) {
        memcpy(&sent->config, payload, sizeof(sent->config));
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

static void on_event(void *opaque, const struct core_event *event)
{
    w.events[event->kind]++;
    w.last[event->kind] = *event;
}

static void begin(void (*change)(struct core_config *config))
{
    const struct core_effects effects = {
        .send = on_send,
        .close_session = on_close,
        .worker_start = on_start,
        .worker_run = on_run,
        .worker_stop = on_stop,
        .event = on_event,
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

static void end(void)
{
    core_free(w.core);
}

static uint32_t connect_as(enum core_identity_kind kind, uint32_t vm_id)
{
    struct core_identity identity = {.kind = kind, .vm_ids = {vm_id}, .vm_id_count = 1};
    uint32_t session;

    memset(identity.uuid, (int)vm_id, sizeof(identity.uuid));
    assert_int_equal(core_session_open(w.core, &identity, w.now_ns, &session), 0);
    return session;
}

static void frame_in(uint32_t session, uint32_t type, uint32_t vm_id, uint32_t request_id,
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
    };

    core_session_frame(w.core, session, &frame, w.now_ns);
}

static void request(uint32_t session, uint32_t vm_id, uint32_t request_id)
{
    const VGPURequest nop = {.version = VGPU_PROTOCOL_VERSION, .opcode = VGPU_OP_NOP};

    frame_in(session, VGPU_MSG_REQUEST, vm_id, request_id, &nop, sizeof(nop));
}

static void worker_ready(uint64_t worker)
{
    const vgpu_worker_ready ready = {.backend = VGPU_BACKEND_CPU};

    core_worker_ready(w.core, worker, &ready, w.now_ns);
}

static int done(const struct run *run, enum vgpu_error status)
{
    const vgpu_worker_done frame = {.status = status, .gpu_time_ns = MS};

    return core_worker_done(w.core, run->worker, run->job_id, &frame, NULL, w.now_ns);
}

static void advance(uint64_t ns)
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

static const struct sent *last_sent(void)
{
    assert_true(w.sent_count > 0);
    return &w.sent[w.sent_count - 1];
}

static struct core_vm_stats stats_of(uint32_t vm_id)
{
    struct core_vm_stats stats;
    uint32_t slot = core_vm_find(w.core, vm_id);

    assert_true(slot != CORE_NONE);
    assert_true(core_vm_stats(w.core, slot, w.now_ns, &stats));
    return stats;
}

/* A connected VM whose worker is ready and idle. */
static uint32_t ready_vm(uint32_t vm_id)
{
    uint32_t session = connect_as(CORE_IDENTITY_CLAIM, vm_id);

    request(session, vm_id, 1000);
    worker_ready(w.starts[w.start_count - 1].worker);
    assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_NONE), 0);
    return session;
}

static void test_one_request(void **state)
{
    uint32_t session;

    begin(NULL);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    request(session, 7, 42);
    assert_int_equal(w.start_count, 1);
    assert_int_equal(w.starts[0].vm_id, 7);
    assert_int_equal(w.run_count, 0); /* no worker yet */
    worker_ready(w.starts[0].worker);
    assert_int_equal(w.run_count, 1);
    assert_int_equal(w.sent_count, 0);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_NONE), 0);
    assert_int_equal(w.sent_count, 1);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_RESPONSE);
    assert_int_equal(last_sent()->header.request_id, 42);
    assert_int_equal(last_sent()->header.vm_id, 7);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    assert_int_equal(last_sent()->response.exec_time_us, 1000);
    end();
}

static void test_done_must_match(void **state)
{
    struct run wrong;

    begin(NULL);
    request(connect_as(CORE_IDENTITY_CLAIM, 7), 7, 1);
    worker_ready(w.starts[0].worker);
    wrong = w.runs[0];
    wrong.job_id++;
    assert_int_equal(done(&wrong, VGPU_ERR_NONE), -EPROTO);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_COUNT), -EPROTO);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_NONE), 0);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_NONE), -EPROTO); /* twice */
    wrong.worker += CORE_VMS_MAX;                               /* one that never was */
    assert_int_equal(done(&wrong, VGPU_ERR_NONE), 0);
    assert_int_equal(w.sent_count, 1);
    end();
}

static void test_malformed_requests(void **state)
{
    VGPURequest bad = {.version = VGPU_PROTOCOL_VERSION, .opcode = 0x9999};
    uint32_t session;

    begin(NULL);
    session = ready_vm(7);
    frame_in(session, VGPU_MSG_REQUEST, 7, 1, &bad, sizeof(bad));
    assert_int_equal(last_sent()->response.status, VGPU_ERR_UNSUPPORTED_OP);
    frame_in(session, VGPU_MSG_REQUEST, 7, 2, &bad, 5);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_INVALID_LENGTH);
    frame_in(session, VGPU_MSG_REQUEST, 7, 3, NULL, 0);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_INVALID_LENGTH);
    assert_int_equal(last_sent()->header.request_id, 3);
    assert_int_equal(stats_of(7).invalid, 3);
    assert_int_equal(stats_of(7).fault_count, 0);
    end();
}

static void test_wrong_vm_id_is_refused(void **state)
{
    uint32_t session;

    begin(NULL);
    session = ready_vm(7);
    request(session, 8, 5);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_INVALID_REQUEST);
    assert_int_equal(last_sent()->header.vm_id, 7);
    assert_int_equal(core_vm_find(w.core, 8), CORE_NONE);
    end();
}

static void test_identity_from_the_host(void **state)
{
    uint32_t session;

    begin(NULL);
    session = connect_as(CORE_IDENTITY_IDS, 7);
    request(session, 8, 1); /* its command line says 7 */
    assert_int_equal(w.closed_session, session);
    assert_int_equal(w.closed_reason, CORE_CLOSE_IDENTITY);
    assert_int_equal(w.sent_count, 0);
    session = connect_as(CORE_IDENTITY_IDS, 7);
    request(session, 7, 1);
    assert_int_equal(w.start_count, 1);
    /* a second connection for the same VM */
    session = connect_as(CORE_IDENTITY_IDS, 7);
    request(session, 7, 1);
    assert_int_equal(w.closed_session, session);
    assert_int_equal(w.closed_reason, CORE_CLOSE_DUPLICATE);
    end();
}

static void deny_unregistered(struct core_config *config)
{
    config->allow_unregistered = false;
}

static struct core_vm_config vm_config(uint32_t vm_id, uint32_t weight)
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

static int apply(const struct core_vm_config *vms, uint32_t count, struct core_apply_result *result)
{
    return core_apply_vms(w.core, vms, count, w.now_ns, result, NULL);
}

static void test_registering_takes_effect_at_once(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    struct core_apply_result result;
    uint32_t session;

    begin(deny_unregistered);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    request(session, 7, 1);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_NOT_REGISTERED);
    assert_int_equal(w.events[CORE_EVENT_UNREGISTERED], 1);
    assert_int_equal(apply(&vm, 1, &result), 0);
    assert_int_equal(result.added, 1);
    request(session, 7, 2);
    assert_int_equal(w.start_count, 1);
    worker_ready(w.starts[0].worker);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    /* and so does removing it */
    assert_int_equal(apply(NULL, 0, &result), 0);
    assert_int_equal(result.removed, 1);
    request(session, 7, 3);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_NOT_REGISTERED);
    assert_int_equal(w.stopped, w.starts[0].worker);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE);
    end();
}

static void test_bad_configuration_changes_nothing(void **state)
{
    struct core_vm_config vms[2] = {vm_config(7, 50), vm_config(8, 101)};
    struct core_apply_result result;
    uint32_t bad = 99;

    begin(deny_unregistered);
    assert_int_equal(core_apply_vms(w.core, vms, 2, w.now_ns, &result, &bad), -EINVAL);
    assert_int_equal(bad, 1);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE);
    vms[1] = vm_config(8, 50);
    vms[1].vm_id = 7; /* twice the same id */
    assert_int_equal(core_apply_vms(w.core, vms, 2, w.now_ns, &result, &bad), -EINVAL);
    end();
}

static void hello(uint32_t session, uint32_t vm_id)
{
    const VGPUHello payload = {.version = VGPU_PROTOCOL_VERSION, .features = VGPU_FEATURE_CONFIG};

    frame_in(session, VGPU_MSG_HELLO, vm_id, 0, &payload, sizeof(payload));
}

static void test_config_reaches_the_device(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    struct core_apply_result result;
    uint32_t session;
    VGPUConfig ack;

    begin(deny_unregistered);
    core_pool_set_gpus(w.core, 'B', 1, w.now_ns);
    assert_int_equal(apply(&vm, 1, &result), 0);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    hello(session, 3); /* its property is out of date: the socket says who it is */
    assert_int_equal(w.sent_count, 2);
    assert_int_equal(w.sent[0].header.msg_type, VGPU_MSG_HELLO);
    assert_int_equal(w.sent[1].header.msg_type, VGPU_MSG_CONFIG);
    assert_int_equal(w.sent[1].config.vm_id, 7);
    request(session, 3, 1); /* sent before it had read the CONFIG */
    assert_int_equal(w.start_count, 1);
    ack = w.sent[1].config;
    frame_in(session, VGPU_MSG_CONFIG, 7, 0, &ack, sizeof(ack));
    request(session, 3, 2);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_INVALID_REQUEST);

    vm.pool = 'B';
    vm.priority = VGPU_PRIORITY_HIGH;
    vm.vm_id = 9;
    assert_int_equal(apply(&vm, 1, &result), 0);
    assert_int_equal(result.changed, 1);
    assert_int_equal(result.restart_needed_count, 0);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_CONFIG);
    assert_int_equal(last_sent()->config.vm_id, 9);
    assert_int_equal(last_sent()->config.pool_id, 'B');
    assert_int_equal(last_sent()->config.priority, VGPU_PRIORITY_HIGH);
    end();
}

static void test_old_devices_need_a_restart(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    struct core_apply_result result;
    uint32_t session;

    begin(deny_unregistered);
    assert_int_equal(apply(&vm, 1, &result), 0);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    request(session, 7, 1); /* no HELLO: 1.0 */
    vm.weight = 60;
    assert_int_equal(apply(&vm, 1, &result), 0);
    assert_int_equal(result.restart_needed_count, 0); /* a weight is no register */
    vm.priority = VGPU_PRIORITY_LOW;
    assert_int_equal(apply(&vm, 1, &result), 0);
    assert_int_equal(result.restart_needed_count, 1);
    assert_int_equal(result.restart_needed[0], 7);
    vm.priority = VGPU_PRIORITY_MEDIUM; /* back to what the device has */
    assert_int_equal(apply(&vm, 1, &result), 0);
    assert_int_equal(result.restart_needed_count, 0);
    for (uint32_t i = 0; i < w.sent_count; i++) {
        assert_true(w.sent[i].header.msg_type != VGPU_MSG_CONFIG);
    }
    end();
}

static void test_limits(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    struct core_apply_result result;
    uint32_t session;

    begin(deny_unregistered);
    vm.max_queue_depth = 3;
    assert_int_equal(apply(&vm, 1, &result), 0);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    for (uint32_t i = 0; i < 3; i++) {
        request(session, 7, i);
    }
    assert_int_equal(w.sent_count, 0);
    request(session, 7, 3);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_BUSY);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_QUEUE_FULL);
    vm.max_queue_depth = 0;
    vm.max_jobs_per_sec = 10; /* a burst of one */
    assert_int_equal(apply(&vm, 1, &result), 0);
    request(session, 7, 4);
    request(session, 7, 5);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_RATE_LIMITED);
    assert_int_equal(stats_of(7).rejected_rate, 1);
    assert_int_equal(stats_of(7).rejected_queue, 1);
    vm.max_jobs_per_sec = 0;
    assert_int_equal(apply(&vm, 1, &result), 0);
    for (uint32_t i = 4; i < CORE_VM_JOBS_MAX; i++) {
        request(session, 7, 100 + i);
    }
    assert_int_equal(stats_of(7).queue_depth, CORE_VM_JOBS_MAX);
    request(session, 7, 999); /* "unlimited" has an end as well */
    assert_int_equal(last_sent()->response.status, VGPU_ERR_QUEUE_FULL);
    end();
}

static void test_worker_crash(void **state)
{
    uint32_t session;

    begin(NULL);
    session = ready_vm(7);
    for (uint32_t i = 0; i < 4; i++) {
        request(session, 7, i);
    }
    w.sent_count = 0;
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_SIGNALED, 11, w.now_ns);
    assert_int_equal(w.sent_count, 2); /* the two in flight */
    assert_int_equal(w.sent[0].response.status, VGPU_ERR_CUDA_ERROR);
    assert_int_equal(w.sent[1].response.status, VGPU_ERR_CUDA_ERROR);
    assert_int_equal(stats_of(7).fault_count, 1);
    assert_int_equal(w.start_count, 2); /* the others get a new one at once */
    worker_ready(w.starts[1].worker);
    assert_int_equal(done(&w.runs[w.run_count - 2], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->header.request_id, 2);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    end();
}

static void test_worker_that_never_starts(void **state)
{
    uint32_t session;

    begin(NULL);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    request(session, 7, 1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(w.start_count, i + 1);
        assert_int_equal(w.sent_count, 0);
        core_worker_exited(w.core, w.starts[i].worker, CORE_WORKER_END_NOT_STARTED, ENOENT,
                           w.now_ns);
        if (i < 2) {
            advance(1000 * MS);
        }
    }
    assert_int_equal(last_sent()->response.status, VGPU_ERR_GPU_UNAVAILABLE);
    assert_int_equal(w.events[CORE_EVENT_WORKER_GIVEN_UP], 1);
    request(session, 7, 2); /* still backing off: answered at once */
    assert_int_equal(last_sent()->header.request_id, 2);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_GPU_UNAVAILABLE);
    advance(6000 * MS);
    request(session, 7, 3); /* worth another try */
    assert_int_equal(w.start_count, 4);
    worker_ready(w.starts[3].worker);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    assert_int_equal(stats_of(7).fault_count, 0); /* not the guest's fault */
    end();
}

static void no_handover(struct core_config *config)
{
    config->scheduler.handover_ns = 0;
}

static void test_hang_times_out_and_neighbour_goes_on(void **state)
{
    uint32_t hog, other;
    struct run stuck;

    begin(no_handover);
    hog = ready_vm(1);
    other = ready_vm(2);
    request(hog, 1, 1);
    stuck = w.runs[w.run_count - 1];
    request(other, 2, 1);
    w.run_count = 0;
    w.sent_count = 0;
    advance(99 * MS);
    assert_int_equal(w.run_count, 0);
    advance(2 * MS); /* overrun: let in beside it */
    assert_int_equal(w.run_count, 1);
    assert_int_equal(w.events[CORE_EVENT_JOB_OVERRUN], 1);
    assert_true(stats_of(1).aside);
    assert_int_equal(done(&w.runs[0], VGPU_ERR_NONE), 0);
    assert_int_equal(w.sent_count, 1);
    advance(30000 * MS);
    assert_int_equal(w.events[CORE_EVENT_JOB_TIMEOUT], 1);
    assert_int_equal(w.stopped, stuck.worker);
    assert_true(w.stopped_by_kill);
    assert_int_equal(last_sent()->session, hog);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_TIMEOUT);
    assert_int_equal(w.sent_count, 2);
    request(hog, 1, 2); /* waits for a new worker, which waits for the old one to go */
    assert_int_equal(w.start_count, 2);
    assert_int_equal(done(&stuck, VGPU_ERR_NONE), -EPROTO); /* too late */
    core_worker_exited(w.core, stuck.worker, CORE_WORKER_END_SIGNALED, 9, w.now_ns);
    assert_int_equal(w.start_count, 3);
    assert_int_equal(stats_of(1).fault_count, 1);
    end();
}

static void test_quarantine(void **state)
{
    uint32_t session;

    begin(NULL);
    session = ready_vm(7);
    for (uint32_t i = 0; i < 5; i++) {
        request(session, 7, i);
        if (i == 4) {
            request(session, 7, 50);
            request(session, 7, 51);
        }
        w.sent_count = 0;
        assert_int_equal(done(&w.runs[w.run_count - (i == 4 ? 2 : 1)], VGPU_ERR_CUDA_ERROR), 0);
    }
    assert_int_equal(w.events[CORE_EVENT_QUARANTINED], 1);
    assert_true(stats_of(7).config.quarantined);
    /* the failed one, and the one that waited; request 50 is in flight still */
    assert_int_equal(w.sent_count, 2);
    assert_int_equal(w.sent[0].header.msg_type, VGPU_MSG_QUARANTINED);
    assert_int_equal(w.sent[0].header.request_id, 51);
    assert_int_equal(w.sent[1].response.status, VGPU_ERR_CUDA_ERROR);
    assert_int_equal(w.stopped, w.starts[0].worker);
    assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    request(session, 7, 60);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_QUARANTINED);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_QUARANTINED);
    assert_int_equal(w.start_count, 1);
    assert_int_equal(core_unquarantine_vm(w.core, 7, w.now_ns), 0);
    request(session, 7, 61);
    assert_int_equal(w.start_count, 2);
    assert_int_equal(core_quarantine_vm(w.core, 1234, w.now_ns), -ENOENT);
    end();
}

/* Nobody registered it, but what it did is not forgotten when it reconnects. */
static void test_reconnecting_clears_no_quarantine(void **state)
{
    uint32_t session;

    begin(NULL);
    session = ready_vm(7);
    for (uint32_t i = 0; i < 5; i++) {
        request(session, 7, i);
        assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_CUDA_ERROR), 0);
    }
    assert_true(stats_of(7).config.quarantined);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    core_session_closed(w.core, session, w.now_ns);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    request(session, 7, 100);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_QUARANTINED);
    end();
}

/* The id that an unregistered VM took is given to a registered one. */
static void test_registering_a_taken_id(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    struct core_apply_result result;
    uint32_t squatter, session;
    struct core_identity identity = {.kind = CORE_IDENTITY_UUID, .vm_ids = {7}, .vm_id_count = 1};

    begin(NULL);
    memset(identity.uuid, 0x55, sizeof(identity.uuid));
    assert_int_equal(core_session_open(w.core, &identity, w.now_ns, &squatter), 0);
    request(squatter, 7, 1);
    assert_int_equal(apply(&vm, 1, &result), 0);
    assert_int_equal(result.added, 1);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    request(session, 7, 2);
    assert_true(stats_of(7).registered);
    assert_int_equal(stats_of(7).session, session);
    request(squatter, 7, 3);
    assert_int_equal(last_sent()->session, squatter);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_VM_NOT_REGISTERED);
    end();
}

static void test_disconnect_drops_what_waits(void **state)
{
    uint32_t session, other;

    begin(NULL);
    session = ready_vm(7);
    other = ready_vm(8);
    for (uint32_t i = 0; i < 5; i++) {
        request(session, 7, i);
    }
    request(other, 8, 1);
    w.sent_count = 0;
    core_session_closed(w.core, session, w.now_ns);
    assert_int_equal(stats_of(7).dropped, 3);
    assert_int_equal(stats_of(7).in_flight, 2);
    /* a new connection of the same VM gets nothing of the old one's */
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    request(session, 7, 100);
    for (uint32_t i = 0; i < w.run_count; i++) {
        done(&w.runs[i], VGPU_ERR_NONE);
        advance(MS); /* past any anticipation */
    }
    for (uint32_t i = 0; i < w.sent_count; i++) {
        assert_true(w.sent[i].session == other || w.sent[i].header.request_id == 100);
    }
    assert_int_equal(w.sent_count, 2);
    end();
}

static void test_idle_worker_lingers_then_leaves(void **state)
{
    uint32_t session;

    begin(NULL);
    session = ready_vm(7);
    core_session_closed(w.core, session, w.now_ns);
    advance(9000 * MS);
    assert_int_equal(w.stopped, 0);
    advance(1001 * MS);
    assert_int_equal(w.stopped, w.starts[0].worker);
    assert_false(w.stopped_by_kill);
    advance(2001 * MS); /* it does not go by itself */
    assert_true(w.stopped_by_kill);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_SIGNALED, 9, w.now_ns);
    assert_int_equal(core_vm_find(w.core, 7), CORE_NONE); /* nobody registered it */
    end();
}

static void test_silent_sessions_are_closed(void **state)
{
    uint32_t session;
    uint8_t text[16] = "are you there?";

    begin(NULL);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    frame_in(session, VGPU_MSG_PING, 7, 77, text, sizeof(text)); /* says nothing about work */
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_PONG);
    assert_int_equal(last_sent()->header.request_id, 77);
    advance(10001 * MS);
    assert_int_equal(w.closed_session, session);
    assert_int_equal(w.closed_reason, CORE_CLOSE_SILENT);
    end();
}

/* A 1.0 device speaks with its guest's first request, which may be days away. */
static void test_known_devices_may_be_silent(void **state)
{
    uint32_t session;

    begin(NULL);
    session = connect_as(CORE_IDENTITY_IDS, 7);
    advance(60000 * MS);
    assert_int_equal(w.closed_session, CORE_NONE);
    request(session, 7, 1);
    assert_int_equal(w.start_count, 1);
    end();
}

/* Quarantine by the administrator lets a running job end, however long it takes. */
static void test_quarantine_lets_the_running_job_end(void **state)
{
    uint32_t session;

    begin(NULL);
    session = ready_vm(7);
    request(session, 7, 1);
    assert_int_equal(core_quarantine_vm(w.core, 7, w.now_ns), 0);
    assert_int_equal(w.stopped, w.starts[0].worker);
    assert_false(w.stopped_by_kill);
    advance(20000 * MS);
    assert_false(w.stopped_by_kill);
    assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_NONE);
    advance(2001 * MS); /* now it has nothing left to do, and does not go */
    assert_true(w.stopped_by_kill);
    end();
}

/* While a GPU is gone no deadline of its scheduler may come up again and again. */
static void test_lost_gpu_has_no_deadlines(void **state)
{
    uint32_t first, second;

    begin(NULL);
    first = ready_vm(1);
    second = ready_vm(2);
    request(first, 1, 1);
    request(second, 2, 1);
    assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_NONE), 0); /* anticipates */
    core_gpu_set_available(w.core, 0, false, w.now_ns);
    for (uint32_t i = 0; i < 10; i++) {
        w.now_ns += MS;
        core_tick(w.core, w.now_ns);
    }
    assert_true(core_next_deadline_ns(w.core) > w.now_ns);
    end();
}

static void test_nonsense_closes(void **state)
{
    static const uint32_t types[] = {VGPU_MSG_RESPONSE, VGPU_MSG_BUSY, VGPU_MSG_QUARANTINED,
                                     VGPU_MSG_CONFIG};
    uint8_t big[VGPU_PING_BYTES_MAX + 1] = {0};
    uint32_t session;

    begin(NULL);
    for (uint32_t i = 0; i < 4; i++) {
        session = connect_as(CORE_IDENTITY_CLAIM, 7);
        w.closed_session = CORE_NONE;
        frame_in(session, types[i], 7, 0, big, 16);
        assert_int_equal(w.closed_session, session);
    }
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    w.closed_session = CORE_NONE;
    frame_in(session, VGPU_MSG_PING, 7, 0, big, sizeof(big));
    assert_int_equal(w.closed_session, session);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    hello(session, 7);
    w.closed_session = CORE_NONE;
    hello(session, 7); /* twice */
    assert_int_equal(w.closed_session, session);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    core_session_garbage(w.core, session, w.now_ns);
    assert_int_equal(w.closed_session, session);
    core_session_frame(w.core, 99999, &(struct frame){.payload = big}, w.now_ns);
    end();
}

static void test_gpu_lost_and_back(void **state)
{
    uint32_t session;

    begin(NULL);
    assert_int_equal(core_gpu_add(w.core, "CPU-1"), 1);
    assert_int_equal(core_pool_set_gpus(w.core, 'A', 3, w.now_ns), 0);
    session = ready_vm(7);
    assert_int_equal(stats_of(7).gpu, 0);
    for (uint32_t i = 0; i < 4; i++) {
        request(session, 7, i);
    }
    core_gpu_set_available(w.core, 0, false, w.now_ns);
    assert_int_equal(stats_of(7).gpu, 0); /* two in flight: drains first */
    assert_int_equal(done(&w.runs[1], VGPU_ERR_NONE), 0);
    assert_int_equal(done(&w.runs[2], VGPU_ERR_NONE), 0);
    assert_int_equal(stats_of(7).gpu, 1);
    assert_int_equal(stats_of(7).queue_depth, 2); /* moved with it */
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    assert_int_equal(w.start_count, 2);
    assert_int_equal(w.starts[1].gpu, 1);
    worker_ready(w.starts[1].worker);
    assert_int_equal(done(&w.runs[3], VGPU_ERR_NONE), 0);
    assert_int_equal(last_sent()->header.request_id, 2);
    /* no GPU left at all */
    core_gpu_set_available(w.core, 1, false, w.now_ns);
    assert_int_equal(done(&w.runs[4], VGPU_ERR_NONE), 0);
    request(session, 7, 9);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_GPU_UNAVAILABLE);
    core_worker_exited(w.core, w.starts[1].worker, CORE_WORKER_END_EXITED, 0, w.now_ns);
    core_gpu_set_available(w.core, 0, true, w.now_ns);
    request(session, 7, 10);
    assert_int_equal(w.start_count, 3);
    end();
}

static void test_pool_without_gpu(void **state)
{
    struct core_vm_config vm = vm_config(7, 50);
    struct core_apply_result result;
    uint32_t session;

    begin(deny_unregistered);
    vm.pool = 'Q';
    assert_int_equal(apply(&vm, 1, &result), 0);
    session = connect_as(CORE_IDENTITY_UUID, 7);
    request(session, 7, 1);
    assert_int_equal(last_sent()->response.status, VGPU_ERR_INVALID_POOL);
    end();
}

static void test_pause_and_resume(void **state)
{
    uint32_t session;

    begin(NULL);
    session = ready_vm(7);
    core_pause(w.core, CORE_NONE, w.now_ns);
    w.run_count = 0;
    request(session, 7, 1);
    advance(1000 * MS);
    assert_int_equal(w.run_count, 0);
    core_resume(w.core, CORE_NONE, w.now_ns);
    assert_int_equal(w.run_count, 1);
    end();
}

static void test_a_thousand_sessions(void **state)
{
    uint32_t session = 0;
    struct core_identity identity = {.kind = CORE_IDENTITY_CLAIM};

    begin(NULL);
    for (uint32_t i = 0; i < CORE_SESSIONS_MAX; i++) {
        assert_int_equal(core_session_open(w.core, &identity, w.now_ns, &session), 0);
    }
    assert_int_equal(core_session_open(w.core, &identity, w.now_ns, &session), -ENOSPC);
    advance(10001 * MS); /* all silent */
    assert_int_equal(core_session_open(w.core, &identity, w.now_ns, &session), 0);
    end();
}

static uint64_t part_ns(uint32_t vm_id, enum metrics_part part)
{
    return metrics_histogram_of(core_metrics(w.core), core_vm_find(w.core, vm_id), part)->sum_ns;
}

/* Two jobs handed out together: the second one's turn comes when the first is done. */
static void test_metrics_split_the_time(void **state)
{
    vgpu_worker_done frame = {.status = VGPU_ERR_NONE};
    struct metrics *metrics;
    uint32_t session, slot;

    begin(NULL);
    metrics = core_metrics(w.core);
    session = connect_as(CORE_IDENTITY_CLAIM, 7);
    request(session, 7, 1);
    slot = core_vm_find(w.core, 7);
    assert_string_equal(metrics_vm_label(metrics, slot), "vm 7");
    request(session, 7, 2);
    advance(10 * MS);
    worker_ready(w.starts[0].worker); /* both are handed out */
    assert_int_equal(w.run_count, 2);
    advance(5 * MS);
    frame.gpu_time_ns = 4 * MS;
    frame.finished_ns = w.now_ns;
    assert_int_equal(
        core_worker_done(w.core, w.runs[0].worker, w.runs[0].job_id, &frame, NULL, w.now_ns), 0);
    assert_int_equal(part_ns(7, METRICS_TOTAL), 15 * MS);
    assert_int_equal(part_ns(7, METRICS_QUEUE), 10 * MS);
    assert_int_equal(part_ns(7, METRICS_GPU), 4 * MS);
    assert_int_equal(part_ns(7, METRICS_TRANSPORT), 1 * MS);
    advance(6 * MS);
    frame.finished_ns = w.now_ns + 1000 * MS; /* a worker that lies about its clock */
    assert_int_equal(
        core_worker_done(w.core, w.runs[1].worker, w.runs[1].job_id, &frame, NULL, w.now_ns), 0);
    assert_int_equal(part_ns(7, METRICS_TOTAL), (15 + 21) * MS);
    assert_int_equal(part_ns(7, METRICS_QUEUE), (10 + 15) * MS);
    assert_int_equal(part_ns(7, METRICS_GPU), (4 + 4) * MS);
    assert_int_equal(part_ns(7, METRICS_TRANSPORT), (1 + 2) * MS);
    request(session, 7, 3); /* and has no effect on the next */
    assert_int_equal(done(&w.runs[2], VGPU_ERR_NONE), 0);
    assert_int_equal(part_ns(7, METRICS_QUEUE), (10 + 15) * MS);
    assert_int_equal(metrics_count(metrics, slot, METRICS_ACCEPTED), 3);
    assert_int_equal(metrics_count(metrics, slot, METRICS_JOBS), 3);
    end();
}

static void test_metrics_count_what_goes_wrong(void **state)
{
    struct metrics *metrics;
    uint32_t session, slot;

    begin(NULL);
    metrics = core_metrics(w.core);
    session = ready_vm(7);
    slot = core_vm_find(w.core, 7);
    request(session, 8, 1); /* not its vm_id */
    assert_int_equal(metrics_rejections(metrics, slot, VGPU_ERR_INVALID_REQUEST), 1);
    request(session, 7, 2);
    assert_int_equal(done(&w.runs[w.run_count - 1], VGPU_ERR_CUDA_ERROR), 0);
    assert_int_equal(metrics_errors(metrics, slot, VGPU_ERR_CUDA_ERROR), 1);
    assert_int_equal(metrics_count(metrics, slot, METRICS_FAULTS), 1);
    request(session, 7, 3);
    core_worker_exited(w.core, w.starts[0].worker, CORE_WORKER_END_SIGNALED, 11, w.now_ns);
    assert_int_equal(metrics_errors(metrics, slot, VGPU_ERR_CUDA_ERROR), 2);
    assert_int_equal(metrics_count(metrics, slot, METRICS_WORKER_RESTARTS), 1);
    assert_int_equal(core_quarantine_vm(w.core, 7, w.now_ns), 0);
    assert_int_equal(metrics_count(metrics, slot, METRICS_QUARANTINES), 1);
    request(session, 7, 4);
    assert_int_equal(metrics_rejections(metrics, slot, VGPU_ERR_VM_QUARANTINED), 1);
    assert_int_equal(metrics_count(metrics, slot, METRICS_JOBS), 3);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_split_the_time),
        cmocka_unit_test(test_metrics_count_what_goes_wrong),
        cmocka_unit_test(test_one_request),
        cmocka_unit_test(test_done_must_match),
        cmocka_unit_test(test_malformed_requests),
        cmocka_unit_test(test_wrong_vm_id_is_refused),
        cmocka_unit_test(test_identity_from_the_host),
        cmocka_unit_test(test_registering_takes_effect_at_once),
        cmocka_unit_test(test_bad_configuration_changes_nothing),
        cmocka_unit_test(test_config_reaches_the_device),
        cmocka_unit_test(test_old_devices_need_a_restart),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_worker_crash),
        cmocka_unit_test(test_worker_that_never_starts),
        cmocka_unit_test(test_hang_times_out_and_neighbour_goes_on),
        cmocka_unit_test(test_quarantine),
        cmocka_unit_test(test_reconnecting_clears_no_quarantine),
        cmocka_unit_test(test_registering_a_taken_id),
        cmocka_unit_test(test_disconnect_drops_what_waits),
        cmocka_unit_test(test_idle_worker_lingers_then_leaves),
        cmocka_unit_test(test_silent_sessions_are_closed),
        cmocka_unit_test(test_known_devices_may_be_silent),
        cmocka_unit_test(test_quarantine_lets_the_running_job_end),
        cmocka_unit_test(test_lost_gpu_has_no_deadlines),
        cmocka_unit_test(test_nonsense_closes),
        cmocka_unit_test(test_gpu_lost_and_back),
        cmocka_unit_test(test_pool_without_gpu),
        cmocka_unit_test(test_pause_and_resume),
        cmocka_unit_test(test_a_thousand_sessions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
