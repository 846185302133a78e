/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/control/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "common/clock.h"
#include "mediator/control/answers.h"
#include "mediator/control/cuda.h"
#include "mediator/control/holds.h"
#include "mediator/control/trace.h"
#include "mediator/events.h"
#include "common/json_out.h"
#include "common/names.h"
#include "mediator/mediator.h"

void admin_command_error(struct json_out *out, const char *format, ...)
{
    char text[1280];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    jout_object(out, NULL);
    jout_string(out, "error", text);
    jout_object_end(out);
}

bool admin_command_has_body(uint32_t command)
{
    return command >= VGPU_ADMIN_SET_POLICY;
}

static int done(struct json_out *out)
{
    jout_object(out, NULL);
    jout_bool(out, "ok", true);
    jout_object_end(out);
    return 0;
}

static int no_such_vm(struct json_out *out, uint32_t vm_id)
{
    admin_command_error(out,
                        "no VM with vm_id %" PRIu32 " is registered or connected; vgpu-admin "
                        "list-vms shows the registered ones",
                        vm_id);
    return ENOENT;
}

static int set_quarantine(struct mediator *mediator, uint32_t vm_id, bool quarantine,
                          const struct admin_who *who, struct json_out *out)
{
    uint64_t now_ns = clock_now_ns();
    int ret = quarantine ? core_quarantine_vm(mediator->core, vm_id, now_ns)
                         : core_unquarantine_vm(mediator->core, vm_id, now_ns);

    if (ret < 0) {
        return no_such_vm(out, vm_id);
    }
    events_admin(mediator->events, quarantine ? "quarantine_vm" : "unquarantine_vm", vm_id,
                 "VM %" PRIu32 " %s by the administrator (process %d)", vm_id,
                 quarantine ? "quarantined" : "let in again", (int)who->pid);
    return done(out);
}

static int set_policy(struct mediator *mediator, const json_t *body, const struct admin_who *who,
                      struct json_out *out)
{
    const char *name = json_string_value(json_object_get(body, "policy"));
    int policy = name ? wfq_policy_from_name(name) : -EINVAL;

    if (policy < 0) {
        admin_command_error(out, "the policy must be one of " POLICY_WORDS);
        return EINVAL;
    }
    core_set_policy(mediator->core, (enum wfq_policy_id)policy, clock_now_ns());
    events_admin(mediator->events, "policy", CORE_NONE,
                 "policy set to %s by the administrator (process %d)", name, (int)who->pid);
    return done(out);
}

void admin_command_apply_holds(struct mediator *mediator)
{
    for (uint32_t gpu = 0; gpu < core_gpu_count(mediator->core); gpu++) {
        bool paused = holds_paused(&mediator->holds, gpu);

        if (paused == wfq_paused(core_gpu_scheduler(mediator->core, gpu))) {
            continue;
        }
        if (paused) {
            core_pause(mediator->core, gpu, clock_now_ns());
        } else {
            core_resume(mediator->core, gpu, clock_now_ns());
        }
    }
}

static int set_paused(struct mediator *mediator, const json_t *body, bool pause,
                      const struct admin_who *who, struct json_out *out)
{
    const json_t *value = json_object_get(body, "gpu");
    bool hold = json_is_true(json_object_get(body, "hold"));
    uint32_t gpu = CORE_NONE, count = core_gpu_count(mediator->core);
    char which[32] = "all GPUs";

    if (value) {
        if (!json_is_integer(value) || json_integer_value(value) < 0 ||
            json_integer_value(value) >= (json_int_t)count) {
            admin_command_error(out, "the GPU must be a number from 0 to %" PRIu32, count - 1);
            return EINVAL;
        }
        gpu = (uint32_t)json_integer_value(value);
        snprintf(which, sizeof(which), "GPU %" PRIu32, gpu);
    }
    if (pause) {
        holds_pause(&mediator->holds, gpu, who, hold, (int64_t)time(NULL));
    } else {
        holds_resume(&mediator->holds, gpu, who);
    }
    admin_command_apply_holds(mediator);
    events_admin(mediator->events, pause ? "pause" : "resume", CORE_NONE,
                 "dispatch %s on %s by the administrator (process %d)%s",
                 pause ? "paused" : "resumed", which, (int)who->pid,
                 pause && hold ? ", until that ends at the latest" : "");
    return done(out);
}

void admin_command_leave(struct mediator *mediator, const struct admin_who *who)
{
    struct holds_left left = holds_leave(&mediator->holds, who);

    if (left.preference) {
        core_prefer_vm(mediator->core, CORE_NONE);
        events_admin(mediator->events, "prefer_vm", CORE_NONE,
                     "no VM preferred any more: process %d, which preferred one, has gone",
                     (int)who->pid);
    }
    if (left.gpus) {
        admin_command_apply_holds(mediator);
        events_admin(mediator->events, "resume", CORE_NONE,
                     "dispatch resumed: process %d, which held GPUs, has gone", (int)who->pid);
    }
}

static int prefer_vm(struct mediator *mediator, uint32_t vm_id, const json_t *body,
                     const struct admin_who *who, struct json_out *out)
{
    if (core_prefer_vm(mediator->core, vm_id ? vm_id : CORE_NONE) < 0) {
        return no_such_vm(out, vm_id);
    }
    holds_prefer(&mediator->holds, who, vm_id && json_is_true(json_object_get(body, "hold")));
    if (vm_id) {
        events_admin(mediator->events, "prefer_vm", vm_id,
                     "VM %" PRIu32 " preferred by the administrator (process %d)", vm_id,
                     (int)who->pid);
    } else {
        events_admin(mediator->events, "prefer_vm", CORE_NONE,
                     "no VM preferred any more, by the administrator (process %d)", (int)who->pid);
    }
    return done(out);
}

/* *parsed NULL: there was none. */
static bool parse_body(const char *text, json_t **parsed, struct json_out *out)
{
    json_error_t error;

    *parsed = NULL;
    if (text[0] == '\0') {
        return true;
    }
    *parsed = json_loads(text, 0, &error);
    if (!json_is_object(*parsed)) {
        json_decref(*parsed);
        *parsed = NULL;
        admin_command_error(out, "the request's body is no JSON object");
        return false;
    }
    return true;
}

int admin_command_run(struct mediator *mediator, const VGPUAdminRequest *request, const char *body,
                      const struct admin_who *who, struct json_out *out)
{
    json_t *parsed;
    int ret = 0;

    if (!parse_body(body, &parsed, out)) {
        return EINVAL;
    }
    switch (request->command) {
    case VGPU_ADMIN_SHOW_HEALTH: admin_json_health(mediator, out); break;
    case VGPU_ADMIN_SHOW_CONNECTIONS: admin_json_connections(mediator, out); break;
    case VGPU_ADMIN_SHOW_STATUS: admin_json_status(mediator, out); break;
    case VGPU_ADMIN_SHOW_CUDA: admin_json_cuda(mediator, out); break;
    case VGPU_ADMIN_SHOW_SCHEDULE: admin_json_schedule(mediator, out); break;
    case VGPU_ADMIN_QUARANTINE_VM:
        ret = set_quarantine(mediator, request->param1, true, who, out);
        break;
    case VGPU_ADMIN_UNQUARANTINE_VM:
        ret = set_quarantine(mediator, request->param1, false, who, out);
        break;
    case VGPU_ADMIN_SET_POLICY: ret = set_policy(mediator, parsed, who, out); break;
    case VGPU_ADMIN_PAUSE: ret = set_paused(mediator, parsed, true, who, out); break;
    case VGPU_ADMIN_RESUME: ret = set_paused(mediator, parsed, false, who, out); break;
    case VGPU_ADMIN_PREFER_VM: ret = prefer_vm(mediator, request->param1, parsed, who, out); break;
    case VGPU_ADMIN_TRACE_JOB: ret = admin_trace_jobs(mediator, parsed, out); break;
    default:
        admin_command_error(out,
                            "command 0x%" PRIx32 " is unknown to vgpu-mediator " VGPU_VERSION
                            "; are both programs of the same version?",
                            request->command);
        ret = ENOSYS;
        break;
    }
    json_decref(parsed);
    return ret;
}
