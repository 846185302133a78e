/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulated VMs, as the mediator sees them: a vgpu-stub each.
 *
 * A closed loop has `depth` places; a place is a request outstanding or a
 * SUBMIT event that will fill it.  An open loop has one SUBMIT event at a time,
 * which sends and draws the next.  Whatever ends the loop (an off phase, a
 * lost connection) moves on `epoch`, which voids the events of the old one.
 */
#include "sim/internal.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_FIRST_NS (100 * NS_PER_MS)
#define RETRY_MAX_NS (5 * NS_PER_S)
#define RECONNECT_NS (200 * NS_PER_MS)

static void schedule(struct sim *sim, struct sim_vm *vm, uint64_t after_ns,
                     enum sim_event_kind kind)
{
    sim_events_add(&sim->events, sim->now_ns + after_ns, kind, vm->index, vm->epoch);
}

static bool active(const struct sim *sim, const struct sim_vm *vm)
{
    return vm->on && vm->session != SIM_NONE && !sim->draining &&
           (!vm->group->channel || vm->channel.open);
}

/* Mean as given, half to one and a half of it. */
static uint64_t around_ns(struct rng *rng, uint64_t mean_ns)
{
    return mean_ns == 0 ? 0 : (uint64_t)((0.5 + rng_unit(rng)) * (double)mean_ns);
}

static void begin_sending(struct sim *sim, struct sim_vm *vm)
{
    if (!active(sim, vm)) {
        return;
    }
    if (vm->group->rate_hz > 0) {
        schedule(
            sim, vm,
            (uint64_t)rng_exponential(&vm->rng, NS_PER_S * vm->group->burst / vm->group->rate_hz),
            SIM_EVENT_GUEST_SUBMIT);
        return;
    }
    for (uint32_t i = vm->requests.count; i < vm->group->depth; i++) {
        schedule(sim, vm, around_ns(&vm->pause_rng, vm->group->think_ns), SIM_EVENT_GUEST_SUBMIT);
    }
}

static void set_on(struct sim *sim, struct sim_vm *vm, bool on)
{
    vm->on = on;
    vm->epoch++;
    if (on) {
        sim_judge_phase(sim, vm);
    }
    begin_sending(sim, vm);
}

/* ---- one request ---- */

/* The first jobs of each round of tiny + huge ones. */
static bool is_tiny(struct sim_vm *vm)
{
    const struct sim_group *group = vm->group;

    return group->tiny > 0 && vm->drawn++ % (group->tiny + group->huge) < group->tiny;
}

static uint32_t draw_length_us(struct sim_vm *vm)
{
    const struct sim_length *length = &vm->group->job;
    double us = length->lo_us;

    if (is_tiny(vm)) {
        return vm->group->tiny_us;
    }
    switch (length->kind) {
    case SIM_LENGTH_FIXED: break;
    case SIM_LENGTH_LOG_UNIFORM:
        us = rng_log_uniform(&vm->rng, length->lo_us, length->hi_us);
        break;
    case SIM_LENGTH_UNIFORM: us = (double)rng_range(&vm->rng, length->lo_us, length->hi_us); break;
    case SIM_LENGTH_EXPONENTIAL:
        us = rng_exponential(&vm->rng, length->lo_us);
        us = us < 20.0 * length->lo_us ? us : 20.0 * length->lo_us;
        break;
    }
    us = us < VGPU_TEST_SPIN_MAX_US ? us : VGPU_TEST_SPIN_MAX_US;
    return us < 1 ? 1 : (uint32_t)us;
}

static uint32_t draw_opcode(struct sim_vm *vm)
{
    const struct sim_group *group = vm->group;
    double what;

    if (group->crash + group->hang + group->fail == 0) {
        return VGPU_OP_TEST_SPIN;
    }
    what = rng_unit(&vm->rng);
    if (what < group->crash) {
        return VGPU_OP_TEST_CRASH;
    }
    if (what < group->crash + group->hang) {
        return VGPU_OP_TEST_HANG;
    }
    return what < group->crash + group->hang + group->fail ? VGPU_OP_TEST_FAIL : VGPU_OP_TEST_SPIN;
}

/* Writes a request frame's payload; returns its length. */
static uint32_t build(struct sim_vm *vm, struct sim_request *request, uint8_t *bytes)
{
    VGPURequest header = {.version = VGPU_PROTOCOL_VERSION, .opcode = request->opcode};
    uint32_t length = sizeof(header);

    if (request->opcode == VGPU_OP_TEST_SPIN) {
        header.param_count = 1;
        memcpy(bytes + length, &request->spin_us, sizeof(request->spin_us));
        length += sizeof(request->spin_us);
    }
    if (rng_chance(&vm->rng, vm->group->invalid)) {
        switch (rng_range(&vm->rng, 0, 4)) {
        case 0: length = (uint32_t)rng_range(&vm->rng, 0, sizeof(header) - 1); break;
        case 1: header.opcode = 0x7777; break;
        case 2: header.param_count = VGPU_PARAMS_MAX + 1; break;
        case 3: header.data_length = 0xFFFFFFF0u; break;
        default: header.version = 0x00020000; break;
        }
    }
    memcpy(bytes, &header, sizeof(header));
    return length;
}

static void submit(struct sim *sim, struct sim_vm *vm)
{
    struct sim_request *request = sim_allocate(1, sizeof(*request));
    uint8_t bytes[VGPU_REQUEST_BUFFER_BYTES] = {0};
    struct frame frame = {.payload = bytes};
    uint64_t epoch = vm->epoch;

    request->id = ++vm->next_request;
    request->opcode = draw_opcode(vm);
    request->spin_us = draw_length_us(vm);
    request->sent_ns = sim->now_ns;
    sim_judge_length(sim, vm, request->spin_us * NS_PER_US);
    if (vm->requests.count == 0) {
        sim_judge_busy(sim, vm);
    }
    frame.header = (VGPUSocketHeader){
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = VGPU_MSG_REQUEST,
        .vm_id = vm->vm_id,
        .request_id = request->id,
        .pool_id = (uint8_t)vm->config.pool,
        .priority = (uint8_t)vm->config.priority,
        .payload_len = build(vm, request, bytes),
    };
    TAILQ_INSERT_TAIL(&vm->requests.all, request, link);
    vm->requests.count++;
    vm->requests.waiting++;
    if (vm->group->channel) {
        vm->submitted++;
        sim_channel_record(sim, vm);
        return;
    }
    vm->submitting = true;
    vm->refused = false;
    core_session_frame(sim->core, vm->session, &frame, sim->now_ns);
    vm->submitting = false;
    if (!vm->refused && vm->epoch == epoch) {
        vm->submitted++;
        sim_check_accepted(sim, vm);
    }
}

static void on_submit(struct sim *sim, struct sim_vm *vm)
{
    uint32_t n = vm->group->rate_hz > 0 ? vm->group->burst : 1;
    uint64_t epoch = vm->epoch;

    for (uint32_t i = 0; i < n && vm->epoch == epoch && active(sim, vm); i++) {
        submit(sim, vm);
    }
    if (vm->group->rate_hz > 0 && vm->epoch == epoch) {
        begin_sending(sim, vm);
    }
}

/* ---- replies ---- */

static uint64_t retry_after_ns(struct sim_vm *vm)
{
    uint64_t after_ns = RETRY_FIRST_NS << (vm->retries < 6 ? vm->retries : 6);

    vm->retries++;
    after_ns = after_ns < RETRY_MAX_NS ? after_ns : RETRY_MAX_NS;
    return (uint64_t)((0.5 + 0.5 * rng_unit(&vm->pause_rng)) * (double)after_ns);
}

/* A place of the closed loop is free; those who send in batches wait until all are. */
static void send_next(struct sim *sim, struct sim_vm *vm, bool ok)
{
    uint64_t after_ns = ok ? around_ns(&vm->pause_rng, vm->group->think_ns) : retry_after_ns(vm);
    uint32_t n = vm->group->batch ? vm->group->depth : 1;

    if (vm->group->batch && vm->requests.count > 0) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        schedule(sim, vm, after_ns, SIM_EVENT_GUEST_SUBMIT);
    }
}

void sim_guest_answered(struct sim *sim, struct sim_vm *vm, struct sim_request *request, bool ok)
{
    if (request->dispatched) {
        vm->jobs++;
        vm->errors += !ok;
        histogram_add(&vm->latency, sim->now_ns - request->sent_ns);
    } else {
        vm->refusals++;
    }
    free(request);
    if (ok) {
        vm->retries = 0;
    }
    sim_judge_answer(sim, vm);
    if (vm->requests.count == 0) {
        vm->idle_since_ns = sim->now_ns;
    }
    if (vm->group->rate_hz == 0 && active(sim, vm)) {
        send_next(sim, vm, ok);
    }
}

void sim_guest_frame(struct sim *sim, struct sim_vm *vm, const VGPUSocketHeader *header,
                     const void *payload)
{
    struct sim_request *request;
    VGPUResponse response;

    if (vm->group->channel && sim_channel_frame(sim, vm, header, payload)) {
        return;
    }
    if (header->msg_type == VGPU_MSG_HELLO || header->msg_type == VGPU_MSG_CONFIG) {
        if (!vm->speaks_hello) {
            sim_violation(sim, "VM %u is a 1.0 device and is sent message type %u", vm->vm_id,
                          header->msg_type);
        }
        return;
    }
    request = sim_check_reply(sim, vm, header, payload);
    if (!request) {
        return;
    }
    memcpy(&response, payload, sizeof(response));
    vm->refused = vm->refused || vm->submitting;
    sim_guest_answered(sim, vm, request, response.status == VGPU_ERR_NONE);
}

/* ---- the connection ---- */

static void forget_requests(struct sim_vm *vm)
{
    struct sim_request *request;

    while ((request = TAILQ_FIRST(&vm->requests.all)) != NULL) {
        TAILQ_REMOVE(&vm->requests.all, request, link);
        free(request);
    }
    vm->requests.count = vm->requests.waiting = 0;
}

void sim_guest_channel(struct sim *sim, struct sim_vm *vm, uint64_t again_ns)
{
    vm->channel.open = again_ns == 0;
    vm->epoch++;
    if (vm->channel.open) {
        begin_sending(sim, vm);
        return;
    }
    forget_requests(vm);
    vm->channel.handle = 0;
    vm->idle_since_ns = sim->now_ns;
    sim_judge_anew(sim, vm);
    schedule(sim, vm, around_ns(&vm->life_rng, again_ns), SIM_EVENT_GUEST_CHANNEL);
}

void sim_guest_lost(struct sim *sim, struct sim_vm *vm, uint64_t reconnect_after_ns)
{
    forget_requests(vm);
    vm->channel = (struct sim_channel){0};
    if (vm->session != SIM_NONE) {
        sim->session_vm[vm->session] = SIM_NONE;
    }
    vm->session = SIM_NONE;
    sim_judge_anew(sim, vm);
    vm->epoch++;
    vm->idle_since_ns = sim->now_ns;
    sim_events_add(&sim->events, sim->now_ns + around_ns(&vm->life_rng, reconnect_after_ns),
                   SIM_EVENT_GUEST_CONNECT, vm->index, 0);
}

static void say_hello(struct sim *sim, struct sim_vm *vm)
{
    const VGPUHello hello = {
        .version = VGPU_PROTOCOL_VERSION,
        .features = VGPU_FEATURES_KNOWN |
                    (vm->group->channel ? VGPU_FEATURE_CHANNELS | VGPU_FEATURE_HOST : 0),
    };
    const struct frame frame = {
        .header =
            {
                .magic = VGPU_SOCKET_MAGIC,
                .msg_type = VGPU_MSG_HELLO,
                .vm_id = vm->vm_id,
                .pool_id = (uint8_t)vm->config.pool,
                .priority = (uint8_t)vm->config.priority,
                .payload_len = sizeof(hello),
            },
        .payload = (const uint8_t *)&hello,
    };

    core_session_frame(sim->core, vm->session, &frame, sim->now_ns);
}

static void connect_guest(struct sim *sim, struct sim_vm *vm)
{
    struct core_identity identity = {.kind = CORE_IDENTITY_UUID};
    uint32_t session;

    if (vm->session != SIM_NONE) {
        return;
    }
    memcpy(identity.uuid, vm->config.uuid, sizeof(identity.uuid));
    if (!sim->core || core_session_open(sim->core, &identity, sim->now_ns, &session) < 0) {
        sim_events_add(&sim->events, sim->now_ns + RECONNECT_NS, SIM_EVENT_GUEST_CONNECT, vm->index,
                       0);
        return;
    }
    if (sim->session_vm[session] != SIM_NONE) {
        sim_violation(sim, "session %u is handed out twice", session);
    }
    vm->session = session;
    sim->session_vm[session] = vm->index;
    vm->epoch++;
    if (vm->speaks_hello) {
        say_hello(sim, vm);
    }
    if (vm->group->channel) {
        sim_channel_open(sim, vm);
    }
    begin_sending(sim, vm);
    if (vm->group->disconnect_ns > 0) {
        schedule(sim, vm,
                 (uint64_t)rng_exponential(&vm->life_rng, (double)vm->group->disconnect_ns),
                 SIM_EVENT_GUEST_LEAVE);
    }
}

static void on_leave(struct sim *sim, struct sim_vm *vm)
{
    uint32_t session = vm->session;

    if (session == SIM_NONE || sim->draining) {
        return;
    }
    sim->result->disconnects++;
    sim_guest_lost(sim, vm, vm->group->away_ns);
    core_session_closed(sim->core, session, sim->now_ns);
}

/* ---- phases ---- */

static void on_toggle(struct sim *sim, struct sim_vm *vm)
{
    const struct sim_group *group = vm->group;
    uint64_t since_ns = sim->now_ns - SIM_START_NS;
    uint64_t left_ns = 0;

    if (since_ns < group->start_ns) {
        vm->on = false;
        sim_events_add(&sim->events, SIM_START_NS + group->start_ns, SIM_EVENT_GUEST_TOGGLE,
                       vm->index, 0);
        return;
    }
    if (group->stop_ns != 0 && since_ns >= group->stop_ns) {
        set_on(sim, vm, false);
        return;
    }
    set_on(sim, vm, !vm->on);
    if (group->off_ns > 0) {
        left_ns = around_ns(&vm->life_rng, vm->on ? group->on_ns : group->off_ns);
    }
    if (group->stop_ns != 0 && (left_ns == 0 || since_ns + left_ns > group->stop_ns)) {
        left_ns = group->stop_ns - since_ns;
    }
    if (left_ns > 0) {
        sim_events_add(&sim->events, sim->now_ns + left_ns, SIM_EVENT_GUEST_TOGGLE, vm->index, 0);
    }
}

/* ---- settings ---- */

static void on_change(struct sim *sim, struct sim_vm *vm)
{
    const struct sim_group *group = vm->group;
    bool to = !vm->changed;

    if (sim->draining || !sim->core) {
        return;
    }
    vm->changed = to;
    vm->config.weight = to && group->to_weight != SIM_SAME ? group->to_weight : group->weight;
    vm->config.priority =
        to && group->to_priority != SIM_SAME ? group->to_priority : group->priority;
    vm->config.pool = to && group->to_pool != 0 ? group->to_pool : group->pool;
    if (sim_apply_vms(sim) < 0) {
        sim_violation(sim, "the core refuses a change of VM %u", vm->vm_id);
    }
    sim_judge_shares(sim);
    sim_events_add(&sim->events, sim->now_ns + group->change_ns, SIM_EVENT_GUEST_CHANGE, vm->index,
                   0);
}

void sim_guest_event(struct sim *sim, const struct sim_event *event)
{
    struct sim_vm *vm = &sim->vms[event->subject];

    switch (event->kind) {
    case SIM_EVENT_GUEST_SUBMIT:
        if (event->serial == vm->epoch) {
            on_submit(sim, vm);
        }
        break;
    case SIM_EVENT_GUEST_CHANNEL:
        if (event->serial == vm->epoch && vm->session != SIM_NONE) {
            sim_channel_open(sim, vm);
        }
        break;
    case SIM_EVENT_GUEST_LEAVE: on_leave(sim, vm); break;
    case SIM_EVENT_GUEST_CONNECT: connect_guest(sim, vm); break;
    case SIM_EVENT_GUEST_TOGGLE: on_toggle(sim, vm); break;
    case SIM_EVENT_GUEST_CHANGE: on_change(sim, vm); break;
    default: break;
    }
}

void sim_guest_init(struct sim *sim, uint32_t index, uint32_t group_index)
{
    struct sim_vm *vm = &sim->vms[index];
    const struct sim_group *group = &sim->config->groups[group_index];

    vm->group = group;
    vm->group_index = group_index;
    vm->index = index;
    vm->vm_id = index + 1;
    vm->session = SIM_NONE;
    vm->gpu = SIM_NONE;
    vm->rng = rng_stream(sim->config->seed, 1000 + sim->config->first_stream + index);
    vm->pause_rng = rng_stream(sim->config->seed, 2000 + sim->config->first_stream + index);
    vm->life_rng = rng_stream(sim->config->seed, 3000 + sim->config->first_stream + index);
    vm->idle_since_ns = SIM_START_NS;
    TAILQ_INIT(&vm->requests.all);
    vm->lie_now = 1;
    vm->speaks_hello = rng_chance(&vm->rng, 0.5) || group->channel;
    vm->config = (struct core_vm_config){
        .vm_id = vm->vm_id,
        .has_uuid = true,
        .pool = group->pool,
        .priority = group->priority,
        .weight = group->weight,
        .max_jobs_per_sec = group->limit_hz,
        .burst = group->limit_burst,
        .max_queue_depth = group->queue_depth,
    };
    memcpy(vm->config.uuid, &vm->vm_id, sizeof(vm->vm_id));
    snprintf(vm->config.name, sizeof(vm->config.name), "vm%u", vm->vm_id);
    sim_events_add(&sim->events, SIM_START_NS, SIM_EVENT_GUEST_TOGGLE, index, 0);
    sim_events_add(&sim->events, SIM_START_NS, SIM_EVENT_GUEST_CONNECT, index, 0);
    if (group->change_ns > 0) {
        sim_events_add(&sim->events, SIM_START_NS + group->change_ns, SIM_EVENT_GUEST_CHANGE, index,
                       0);
    }
}
