/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/control/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "mediator/control/answers.h"
#include "mediator/control/trace.h"
#include "mediator/events.h"
#include "common/json_out.h"
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

static int set_quarantine(struct mediator *mediator, uint32_t vm_id, bool quarantine, pid_t peer,
                          struct json_out *out)
{
    uint64_t now_ns = mediator_now_ns();
    int ret = quarantine ? core_quarantine_vm(mediator->core, vm_id, now_ns)
                         : core_unquarantine_vm(mediator->core, vm_id, now_ns);

    if (ret < 0) {
        return no_such_vm(out, vm_id);
    }
    events_admin(mediator->events, quarantine ? "quarantine_vm" : "unquarantine_vm", vm_id,
                 "VM %" PRIu32 " %s by the administrator (process %d)", vm_id,
                 quarantine ? "quarantined" : "let in again", (int)peer);
    return done(out);
}

static int set_policy(struct mediator *mediator, const json_t *body, pid_t peer,
                      struct json_out *out)
{
    const char *name = json_string_value(json_object_get(body, "policy"));
    int policy = name ? wfq_policy_from_name(name) : -EINVAL;

    if (policy < 0) {
        admin_command_error(out, "the policy must be one of wfq, urgency, priority, fifo");
        return EINVAL;
    }
    core_set_policy(mediator->core, (enum wfq_policy_id)policy, mediator_now_ns());
    events_admin(mediator->events, "policy", CORE_NONE,
                 "policy set to %s by the administrator (process %d)", name, (int)peer);
    return done(out);
}

static int set_paused(struct mediator *mediator, const json_t *body, bool pause, pid_t peer,
                      struct json_out *out)
{
    const json_t *value = json_object_get(body, "gpu");
    uint32_t gpu = CORE_NONE, count = core_gpu_count(mediator->core);

    if (value) {
        if (!json_is_integer(value) || json_integer_value(value) < 0 ||
            json_integer_value(value) >= (json_int_t)count) {
            admin_command_error(out, "the GPU must be a number from 0 to %" PRIu32, count - 1);
            return EINVAL;
        }
        gpu = (uint32_t)json_integer_value(value);
    }
    if (pause) {
        core_pause(mediator->core, gpu, mediator_now_ns());
    } else {
        core_resume(mediator->core, gpu, mediator_now_ns());
    }
    if (gpu == CORE_NONE) {
        events_admin(mediator->events, pause ? "pause" : "resume", CORE_NONE,
                     "dispatch %s on all GPUs by the administrator (process %d)",
                     pause ? "paused" : "resumed", (int)peer);
    } else {
        events_admin(mediator->events, pause ? "pause" : "resume", CORE_NONE,
                     "dispatch %s on GPU %" PRIu32 " by the administrator (process %d)",
                     pause ? "paused" : "resumed", gpu, (int)peer);
    }
    return done(out);
}

static int prefer_vm(struct mediator *mediator, uint32_t vm_id, pid_t peer, struct json_out *out)
{
    if (core_prefer_vm(mediator->core, vm_id ? vm_id : CORE_NONE) < 0) {
        return no_such_vm(out, vm_id);
    }
    if (vm_id) {
        events_admin(mediator->events, "prefer_vm", vm_id,
                     "VM %" PRIu32 " preferred by the administrator (process %d)", vm_id,
                     (int)peer);
    } else {
        events_admin(mediator->events, "prefer_vm", CORE_NONE,
                     "no VM preferred any more, by the administrator (process %d)", (int)peer);
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
                      pid_t peer, struct json_out *out)
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
    case VGPU_ADMIN_SHOW_SCHEDULE: admin_json_schedule(mediator, out); break;
    case VGPU_ADMIN_QUARANTINE_VM:
        ret = set_quarantine(mediator, request->param1, true, peer, out);
        break;
    case VGPU_ADMIN_UNQUARANTINE_VM:
        ret = set_quarantine(mediator, request->param1, false, peer, out);
        break;
    case VGPU_ADMIN_SET_POLICY: ret = set_policy(mediator, parsed, peer, out); break;
    case VGPU_ADMIN_PAUSE: ret = set_paused(mediator, parsed, true, peer, out); break;
    case VGPU_ADMIN_RESUME: ret = set_paused(mediator, parsed, false, peer, out); break;
    case VGPU_ADMIN_PREFER_VM: ret = prefer_vm(mediator, request->param1, peer, out); break;
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
