/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/events.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/ns.h"
#include "common/request.h"
#include "common/utc.h"
#include "common/uuid.h"
#include "common/json_out.h"
#include "mediator/sessions/session_io.h"

struct bucket {
    uint64_t updated_ns;
    uint32_t tokens;
    uint32_t suppressed; /* lines since the last one that said so */
    uint32_t vm_id;      /* of the latest of them */
};

struct events {
    const struct core *core;      /* NULL until there is one */
    events_subscriber subscriber; /* NULL: none */
    void *subscriber_opaque;
    bool stopping;
    struct bucket of_vm[CORE_VMS_MAX];
    struct bucket of_nobody;
    uv_timer_t timer;
    bool timer_open;
    uint64_t sequence; /* of the latest record, from 1 */
    struct event_record ring[EVENTS_KEPT];
};

struct events *events_new(void)
{
    struct events *events = calloc(1, sizeof(*events));

    if (!events) {
        return NULL;
    }
    for (uint32_t i = 0; i < CORE_VMS_MAX; i++) {
        events->of_vm[i].tokens = EVENTS_BURST;
    }
    events->of_nobody.tokens = EVENTS_BURST;
    return events;
}

void events_set_core(struct events *events, const struct core *core)
{
    events->core = core;
}

void events_free(struct events *events)
{
    free(events);
}

void events_subscribe(struct events *events, events_subscriber subscriber, void *opaque)
{
    events->subscriber = subscriber;
    events->subscriber_opaque = opaque;
}

void events_stopping(struct events *events)
{
    events->stopping = true;
}

/* May another line about this be written, with so many tokens left for others? */
static bool take_token(struct bucket *bucket, uint32_t reserve)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t earned = (now_ns - bucket->updated_ns) / (NS_PER_S / EVENTS_PER_SECOND);

    if (bucket->updated_ns == 0) {
        bucket->updated_ns = now_ns;
    } else if (earned) {
        bucket->tokens = earned >= EVENTS_BURST - bucket->tokens
                             ? EVENTS_BURST
                             : bucket->tokens + (uint32_t)earned;
        bucket->updated_ns = now_ns;
    }
    if (bucket->tokens <= reserve) {
        return false;
    }
    bucket->tokens--;
    return true;
}

/* ---- what was left out ---- */

static void tell_suppressed(struct bucket *bucket)
{
    const struct log_field fields[] = {
        {.key = "event", .text = "suppressed"},
        {.key = "count", .number = bucket->suppressed},
        {.key = "vm_id", .number = bucket->vm_id},
    };

    if (bucket->suppressed == 0) {
        return;
    }
    if (bucket->vm_id == CORE_NONE) {
        log_fields(LOG_LEVEL_NOTICE, fields, 2,
                   "%" PRIu32 " lines about connections of no known VM were suppressed",
                   bucket->suppressed);
    } else {
        log_fields(LOG_LEVEL_NOTICE, fields, 3,
                   "VM %" PRIu32 ": %" PRIu32 " lines were suppressed: a VM may cause %u at once, "
                   "then %u a second",
                   bucket->vm_id, bucket->suppressed, EVENTS_BURST, EVENTS_PER_SECOND);
    }
    bucket->suppressed = 0;
}

static void tell_all_suppressed(struct events *events)
{
    for (uint32_t vm = 0; vm < CORE_VMS_MAX; vm++) {
        tell_suppressed(&events->of_vm[vm]);
    }
    tell_suppressed(&events->of_nobody);
}

static void on_timer(uv_timer_t *timer)
{
    tell_all_suppressed(timer->data);
}

int events_start(struct events *events, uv_loop_t *loop)
{
    int ret = uv_timer_init(loop, &events->timer);

    if (ret < 0) {
        return ret;
    }
    events->timer_open = true;
    events->timer.data = events;
    return uv_timer_start(&events->timer, on_timer, EVENTS_SUPPRESSED_MS, EVENTS_SUPPRESSED_MS);
}

void events_stop(struct events *events)
{
    if (events && events->timer_open) {
        events->timer_open = false;
        uv_close((uv_handle_t *)&events->timer, NULL);
        tell_all_suppressed(events);
    }
}

static void record(struct events *events, const char *kind, uint32_t vm_id, const char *text)
{
    struct event_record *slot = &events->ring[events->sequence++ % EVENTS_KEPT];

    slot->sequence = events->sequence;
    slot->time_ms = (int64_t)(clock_read_ns(CLOCK_REALTIME) / NS_PER_MS);
    slot->kind = kind;
    slot->vm_id = vm_id;
    snprintf(slot->text, sizeof(slot->text), "%s", text);
    if (events->subscriber) {
        events->subscriber(events->subscriber_opaque, slot);
    }
}

/* ---- the core's events ---- */

static bool caused_by_guest(enum core_event_kind kind)
{
    switch (kind) {
    case CORE_EVENT_QUARANTINED:
    case CORE_EVENT_UNQUARANTINED:
    case CORE_EVENT_GPU_LOST:
    case CORE_EVENT_GPU_BACK:
    case CORE_EVENT_CHANNEL_OPENED:
    case CORE_EVENT_CHANNEL_CLOSED: return false;
    default: return true;
    }
}

/* A guest can cause these with every request, without end. */
static bool is_cheap(enum core_event_kind kind)
{
    return kind == CORE_EVENT_REJECTED || kind == CORE_EVENT_REQUEST_INVALID ||
           kind == CORE_EVENT_NOT_SERVED || kind == CORE_EVENT_PROGRAM_REFUSED;
}

static enum log_level level_of(enum core_event_kind kind)
{
    switch (kind) {
    case CORE_EVENT_SESSION_BOUND:
    case CORE_EVENT_SESSION_CLOSED:
    case CORE_EVENT_WORKER_READY:
    case CORE_EVENT_CHANNEL_OPENED:
    case CORE_EVENT_CHANNEL_CLOSED:
    case CORE_EVENT_VM_PLACED: return LOG_LEVEL_INFO;
    case CORE_EVENT_REJECTED: return LOG_LEVEL_DEBUG;
    case CORE_EVENT_REQUEST_INVALID:
    case CORE_EVENT_JOB_OVERRUN:
    case CORE_EVENT_UNQUARANTINED:
    case CORE_EVENT_GPU_BACK: return LOG_LEVEL_NOTICE;
    case CORE_EVENT_WORKER_GIVEN_UP:
    case CORE_EVENT_GPU_LOST: return LOG_LEVEL_ERROR;
    default: return LOG_LEVEL_WARNING;
    }
}

/* A list of ours may miss something, too: then no guest is to blame. */
static void describe_signal(int number, char *text, size_t bytes)
{
    if (number == SIGSYS) {
        snprintf(text, bytes,
                 "its worker was ended by signal %d, for a system call that is not in its list: "
                 "its guest may have taken it over; dmesg or the audit log says which call "
                 "(type=1326). vgpu-keeper --seccomp log only notes such calls",
                 number);
    } else {
        snprintf(text, bytes, "its worker was ended by signal %d (%s)", number, strsignal(number));
    }
}

static void describe_worker_end(const struct core_event *event, char *text, size_t bytes)
{
    switch ((enum core_worker_end)event->value) {
    case CORE_WORKER_END_EXITED:
        snprintf(text, bytes, "its worker exited with status %" PRIu32, event->code);
        break;
    case CORE_WORKER_END_SIGNALED: describe_signal((int)event->code, text, bytes); break;
    case CORE_WORKER_END_NOT_STARTED:
        snprintf(text, bytes, "its worker could not be started: %s", strerror((int)event->code));
        break;
    case CORE_WORKER_END_PROTOCOL:
        snprintf(text, bytes, "its worker sent nonsense, or closed its socket, and was killed");
        break;
    case CORE_WORKER_END_MEMORY:
        snprintf(text, bytes,
                 "its worker was killed by the kernel: it wanted more of the host's memory than "
                 "the VM may have, %" PRIu32 " MiB. To give it more: vgpu-admin set-program-limits "
                 "--vm-id=%" PRIu32 " --host-memory=SIZE",
                 event->code, event->vm_id);
        break;
    case CORE_WORKER_END_HOST:
        snprintf(text, bytes,
                 "its worker was killed by the host (signal %" PRIu32 ", %s: the OOM killer or an "
                 "administrator): not counted as a fault of the VM; see dmesg",
                 event->code, strsignal((int)event->code));
        break;
    default: snprintf(text, bytes, "its worker ended"); break;
    }
}

/*
 * A VM that is not registered whose device was given the number of another one, as a
 * clone's is: nothing that it does is to be filed under that other VM.
 */
static bool has_another_ones_id(const struct events *events, const struct core_event *event)
{
    return event->vm >= CORE_VMS_MAX && event->vm_id != 0 && event->vm_id != CORE_NONE &&
           core_vm_find(events->core, event->vm_id) != CORE_NONE;
}

/* The command that lets it in, as far as we know who it is. */
static void describe_unregistered(const struct events *events, const struct core_event *event,
                                  char *text, size_t bytes)
{
    const struct core_identity *identity = core_session_identity(events->core, event->session);
    char uuid[UUID_TEXT_BYTES] = "UUID";
    const char *name = "NAME";
    char id[32] = "", other[128] = "";

    if (identity && identity->kind == CORE_IDENTITY_UUID) {
        uuid_format(identity->uuid, uuid);
    }
    /* People paste this line into a shell. */
    if (identity && identity->name[0] &&
        identity->name[strspn(identity->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789 ._-")] == '\0') {
        name = identity->name;
    }
    if (has_another_ones_id(events, event)) {
        snprintf(other, sizeof(other),
                 " (VM %s; the vm_id %" PRIu32 " that its device has is another VM's)", uuid,
                 event->vm_id);
    } else if (event->vm_id != 0) { /* 0: the device was given none */
        snprintf(id, sizeof(id), " --vm-id=%" PRIu32, event->vm_id);
    }
    snprintf(text, bytes,
             "refused: this VM is not registered%s. To register it: vgpu-admin register-vm "
             "--vm-name='%s' --vm-uuid=%s%s --pool=A --priority=medium",
             other, name, uuid, id);
}

static const char *channel_reason(uint32_t reason)
{
#define REASON_TEXT(name, code, text) [(code)] = (text),
    static const char *const texts[VGPU_CLOSED_COUNT] = {VGPU_CHANNEL_REASONS(REASON_TEXT)};
#undef REASON_TEXT

    return reason < VGPU_CLOSED_COUNT ? texts[reason] : "unknown reason";
}

static void describe(const struct events *events, const struct core_event *event, char *text,
                     size_t bytes)
{
    uint64_t ms = event->value / NS_PER_MS;

    switch (event->kind) {
    case CORE_EVENT_SESSION_BOUND: snprintf(text, bytes, "connected"); break;
    case CORE_EVENT_SESSION_CLOSED: snprintf(text, bytes, "disconnected"); break;
    case CORE_EVENT_SESSION_REFUSED:
        snprintf(text, bytes, "connection closed: %s",
                 session_close_reason_name((enum core_close_reason)event->code));
        break;
    case CORE_EVENT_UNREGISTERED: describe_unregistered(events, event, text, bytes); break;
    case CORE_EVENT_REQUEST_INVALID:
        snprintf(text, bytes, "invalid request: %s", request_error_name(event->code));
        break;
    case CORE_EVENT_REJECTED:
        snprintf(text, bytes, "request rejected: %s", request_error_name(event->code));
        break;
    case CORE_EVENT_NOT_SERVED:
        snprintf(text, bytes,
                 "not served: %s, which is no fault of the VM; vgpu-admin show-health says more",
                 request_error_name(event->code));
        break;
    case CORE_EVENT_WORKER_READY:
        snprintf(text, bytes, "its worker is ready on GPU %" PRIu32 " after %" PRIu64 " ms",
                 event->gpu, ms);
        break;
    case CORE_EVENT_WORKER_LOST: describe_worker_end(event, text, bytes); break;
    case CORE_EVENT_WORKER_OVERDUE:
        snprintf(text, bytes, "its worker was told to go and did not in time: killed%s%s",
                 event->code ? ", and its jobs are answered with " : "",
                 event->code ? request_error_name(event->code) : "");
        break;
    case CORE_EVENT_WORKER_GIVEN_UP:
        snprintf(text, bytes,
                 "its worker does not start: waiting jobs are refused; see the "
                 "worker's own messages above");
        break;
    case CORE_EVENT_JOB_OVERRUN:
        snprintf(text, bytes, "a job runs for %" PRIu64 " ms already: others are let in beside it",
                 ms);
        break;
    case CORE_EVENT_JOB_TIMEOUT:
        snprintf(text, bytes, "a job ran for %" PRIu64 " ms, past its limit: its worker is killed",
                 ms);
        break;
    case CORE_EVENT_FAULT:
        snprintf(text, bytes, "fault %" PRIu64 ": %s", event->value,
                 request_error_name(event->code));
        break;
    case CORE_EVENT_QUARANTINED:
        if (event->code == VGPU_ERR_NONE) {
            snprintf(text, bytes, "quarantined by the administrator");
        } else {
            snprintf(text, bytes,
                     "quarantined after %" PRIu64 " faults. To let it in again: "
                     "vgpu-admin clear-quarantine",
                     event->value);
        }
        break;
    case CORE_EVENT_UNQUARANTINED: snprintf(text, bytes, "no longer quarantined"); break;
    case CORE_EVENT_VM_PLACED: snprintf(text, bytes, "placed on GPU %" PRIu32, event->gpu); break;
    case CORE_EVENT_CHANNEL_OPENED:
        snprintf(text, bytes, "channel %" PRIu64 " opened", event->value);
        break;
    case CORE_EVENT_CHANNEL_CLOSED:
        snprintf(text, bytes, "channel %" PRIu64 " closed: %s", event->value,
                 channel_reason(event->code));
        break;
    case CORE_EVENT_PROGRAM_REFUSED:
        snprintf(text, bytes,
                 "a CUDA program is refused: %" PRIu64 " of its programs have the GPU, as many as "
                 "may at a time. To let more in: vgpu-admin set-program-limits --vm-id=%" PRIu32
                 " --max-processes=N",
                 event->value, event->vm_id);
        break;
    case CORE_EVENT_KERNEL_TIMEOUT:
        snprintf(text, bytes,
                 "a CUDA program's kernel ran for %" PRIu64 " ms, past the VM's limit: its worker "
                 "is killed, and the program gets CUDA_ERROR_LAUNCH_TIMEOUT. To let kernels run "
                 "longer: vgpu-admin set-program-limits --vm-id=%" PRIu32 " --max-kernel-ms=MS",
                 ms, event->vm_id);
        break;
    case CORE_EVENT_GPU_LOST:
        snprintf(text, bytes, "GPU %" PRIu32 " is not available any more", event->gpu);
        break;
    case CORE_EVENT_GPU_BACK:
        snprintf(text, bytes, "GPU %" PRIu32 " is available again", event->gpu);
        break;
    default: snprintf(text, bytes, "event %d", (int)event->kind); break;
    }
}

void events_describe(const struct events *events, const struct core_event *event, char *text,
                     size_t bytes)
{
    describe(events, event, text, bytes);
    if (event->text && event->text[0]) {
        size_t used = strlen(text);

        snprintf(text + used, bytes - used, " (%s)", event->text);
    }
}

static bool has_error_code(enum core_event_kind kind)
{
    return is_cheap(kind) || kind == CORE_EVENT_FAULT;
}

static void log_event(enum log_level level, const struct core_event *event, const char *text)
{
    struct log_field fields[VGPU_LOG_FIELDS_MAX];
    bool of_vm = event->vm_id != CORE_NONE && (event->vm < CORE_VMS_MAX || event->vm_id);
    size_t count = 0;

    fields[count++] = (struct log_field){"event", core_event_name(event->kind), 0};
    if (of_vm) {
        fields[count++] = (struct log_field){"vm_id", NULL, event->vm_id};
    }
    if (event->gpu != CORE_NONE) {
        fields[count++] = (struct log_field){"gpu", NULL, event->gpu};
    }
    if (event->job_id) {
        fields[count++] = (struct log_field){"job_id", NULL, (int64_t)event->job_id};
    }
    if (event->session != CORE_NONE) {
        fields[count++] = (struct log_field){"session", NULL, event->session};
    }
    if (has_error_code(event->kind)) {
        fields[count++] = (struct log_field){"error", request_error_name(event->code), 0};
    }
    if (event->kind == CORE_EVENT_FAULT || event->kind == CORE_EVENT_QUARANTINED) {
        fields[count++] = (struct log_field){"fault_count", NULL, (int64_t)event->value};
    }
    if (event->kind == CORE_EVENT_JOB_OVERRUN || event->kind == CORE_EVENT_JOB_TIMEOUT ||
        event->kind == CORE_EVENT_KERNEL_TIMEOUT) {
        fields[count++] = (struct log_field){"ran_ns", NULL, (int64_t)event->value};
    }
    if (of_vm) {
        log_fields(level, fields, count, "VM %" PRIu32 ": %s", event->vm_id, text);
    } else {
        log_fields(level, fields, count, "%s", text);
    }
}

void events_core(struct events *events, const struct core_event *event)
{
    bool of_vm = event->vm < CORE_VMS_MAX;
    struct bucket *bucket = of_vm ? &events->of_vm[event->vm] : &events->of_nobody;
    enum log_level level = level_of(event->kind);
    struct core_event own = *event;
    char text[EVENTS_TEXT_BYTES];
    /* What it can cause most cheaply must not hide the rest. */
    bool tell = !caused_by_guest(event->kind) ||
                take_token(bucket, is_cheap(event->kind) ? EVENTS_BURST / 2 : 0);

    if (!tell && log_enabled(level)) {
        bucket->suppressed++;
        bucket->vm_id = of_vm ? event->vm_id : CORE_NONE;
    }
    if (!tell) {
        return;
    }
    /* systemd may end the workers, too, before we have told them to go. */
    if (events->stopping && event->kind == CORE_EVENT_WORKER_LOST) {
        return;
    }
    events_describe(events, event, text, sizeof(text));
    if (has_another_ones_id(events, event)) {
        own.vm_id = CORE_NONE;
    }
    log_event(level, &own, text);
    record(events, core_event_name(own.kind), own.vm_id, text);
}

void events_session_note(struct events *events, pid_t pid, const char *text)
{
    const struct log_field fields[] = {
        {.key = "event", .text = "session_note"},
        {.key = "pid", .number = pid},
    };

    if (!take_token(&events->of_nobody, 0)) {
        events->of_nobody.suppressed++;
        events->of_nobody.vm_id = CORE_NONE;
        return;
    }
    log_fields(LOG_LEVEL_WARNING, fields, 2, "process %d: %s", (int)pid, text);
    record(events, "session_note", CORE_NONE, text);
}

void events_admin(struct events *events, const char *kind, uint32_t vm_id, const char *format, ...)
{
    const struct log_field fields[] = {
        {.key = "event", .text = kind},
        {.key = "vm_id", .number = vm_id},
    };
    char text[EVENTS_TEXT_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_fields(LOG_LEVEL_NOTICE, fields, vm_id == CORE_NONE ? 1 : 2, "%s", text);
    record(events, kind, vm_id, text);
}

/* ---- for the admin socket ---- */

void event_record_json(struct json_out *json, const struct event_record *event)
{
    char time[UTC_BYTES];

    jout_object(json, NULL);
    jout_uint(json, "seq", event->sequence);
    jout_string(json, "time", utc_text((uint64_t)event->time_ms * NS_PER_MS, 3, time));
    jout_string(json, "kind", event->kind);
    jout_uint_if(json, "vm_id", event->vm_id != CORE_NONE, event->vm_id);
    jout_string(json, "detail", event->text);
    jout_object_end(json);
}

void events_recent(const struct events *events, uint32_t max,
                   void (*visit)(void *opaque, const struct event_record *record), void *opaque)
{
    uint64_t first = events->sequence > EVENTS_KEPT ? events->sequence - EVENTS_KEPT : 0;

    if (events->sequence - first > max) {
        first = events->sequence - max;
    }
    for (uint64_t i = first; i < events->sequence; i++) {
        visit(opaque, &events->ring[i % EVENTS_KEPT]);
    }
}
