/* SPDX-License-Identifier: BSD-3-Clause */
/* Error codes as a person reads them: what happened, then what to do. */
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"

static const struct {
    uint32_t code;
    const char *name;
    const char *text;
} errors[] = {
    {VGPU_ERR_NONE, "NONE", "no error"},
    {VGPU_ERR_INVALID_REQUEST, "INVALID_REQUEST",
     "the host found the request malformed; check its header, its offsets and how many "
     "parameters the operation takes"},
    {VGPU_ERR_REQUEST_TOO_LARGE, "REQUEST_TOO_LARGE",
     "the request is larger than the device's 1024-byte buffer; split the work"},
    {VGPU_ERR_MEDIATOR_UNAVAILABLE, "MEDIATOR_UNAVAILABLE",
     "the device has no connection to vgpu-mediator on the host, or lost it while the job ran; "
     "start vgpu-mediator there and try again, the device reconnects by itself"},
    {VGPU_ERR_TIMEOUT, "TIMEOUT",
     "the job ran past the time limit and was stopped; make it smaller, or ask the host's "
     "administrator for a longer limit"},
    {VGPU_ERR_CUDA_ERROR, "CUDA_ERROR",
     "the GPU, or the worker that runs this VM's jobs, failed on the job; repeated failures "
     "lead to quarantine, so look at the job, and at the host's log, before trying again"},
    {VGPU_ERR_INVALID_POOL, "INVALID_POOL",
     "this VM's GPU pool does not exist or has no GPU; the host's administrator assigns one "
     "with vgpu-admin"},
    {VGPU_ERR_QUEUE_FULL, "QUEUE_FULL",
     "this VM has as many jobs waiting as it is allowed; send fewer at a time, or try later"},
    {VGPU_ERR_UNSUPPORTED_OP, "UNSUPPORTED_OP",
     "the host does not know the operation or does not allow it; test operations (spin, hang, "
     "crash, fail) need a mediator started with --enable-test-ops"},
    {VGPU_ERR_INVALID_LENGTH, "INVALID_LENGTH",
     "the request's length is 0 or shorter than its parts; check how it was put together"},
    {VGPU_ERR_RATE_LIMITED, "RATE_LIMITED",
     "this VM sends more jobs per second than it is allowed; slow down, or ask the host's "
     "administrator for a higher limit"},
    {VGPU_ERR_VM_QUARANTINED, "VM_QUARANTINED",
     "this VM is quarantined, after repeated faults or by the host's administrator; trying again "
     "does not help, the administrator clears it with vgpu-admin once the cause is found"},
    {VGPU_ERR_VM_NOT_REGISTERED, "VM_NOT_REGISTERED",
     "the host does not know this VM; its administrator registers it with vgpu-admin"},
    {VGPU_ERR_GPU_UNAVAILABLE, "GPU_UNAVAILABLE",
     "no healthy GPU in this VM's pool, or no worker starts there; the host's vgpu-mediator "
     "log says why"},
    {VGPU_ERR_MEMORY_LIMIT, "MEMORY_LIMIT",
     "the job would exceed this VM's GPU memory limit; use less, or ask the host's "
     "administrator for more"},
    {VGPU_ERR_ARGUMENT, "ARGUMENT", "an argument of the call is wrong"},
    {VGPU_ERR_NO_DEVICE, "NO_DEVICE",
     "this machine has no vgpu device; add a vgpu-stub device to the VM on the host"},
    {VGPU_ERR_PERMISSION, "PERMISSION",
     "this user may not open the device; run as root, or give the user access to the device's "
     "resource0 file in sysfs"},
    {VGPU_ERR_VERSION, "VERSION",
     "the device speaks another protocol version; install the libvgpu that fits the host"},
    {VGPU_ERR_SYSTEM, "SYSTEM", "a system call failed"},
    {VGPU_ERR_BAD_RESPONSE, "BAD_RESPONSE",
     "the host's answer is not valid; report it to the host's administrator"},
    {VGPU_ERR_DEVICE_IN_USE, "DEVICE_IN_USE",
     "another process in this VM keeps the device for itself; end it or wait for it"},
};

#define ERRORS_COUNT (sizeof(errors) / sizeof(errors[0]))

const char *vgpu_strerror(uint32_t code)
{
    size_t i;

    for (i = 0; i < ERRORS_COUNT; i++) {
        if (errors[i].code == code) {
            return errors[i].text;
        }
    }
    return "the host answered with an error code that this libvgpu does not know; install the "
           "libvgpu that fits the host";
}

const char *vgpu_error_name(uint32_t code)
{
    size_t i;

    for (i = 0; i < ERRORS_COUNT; i++) {
        if (errors[i].code == code) {
            return errors[i].name;
        }
    }
    return "UNKNOWN";
}

uint32_t vgpu_set_error(struct vgpu *v, uint32_t code, const char *format, ...)
{
    va_list args;

    v->error_code = code;
    va_start(args, format);
    vsnprintf(v->error_text, sizeof(v->error_text), format, args);
    va_end(args);
    return code;
}

uint32_t vgpu_set_device_error(struct vgpu *v, uint32_t code)
{
    if (code == VGPU_ERR_NONE || code >= VGPU_ERR_LOCAL) {
        return vgpu_set_error(v, VGPU_ERR_BAD_RESPONSE,
                              "%s: failed with 0x%X, which is no error code; report it to the "
                              "host's administrator",
                              v->description, (unsigned)code);
    }
    return vgpu_set_error(v, code, "%s: %s (error 0x%02X, %s)", v->description, vgpu_strerror(code),
                          (unsigned)code, vgpu_error_name(code));
}

int vgpu_result_of(uint32_t code)
{
    if (code == VGPU_ERR_NONE) {
        return VGPU_OK;
    }
    if (vgpu_error_is_retryable(code)) {
        return VGPU_RETRY_LATER;
    }
    return code == VGPU_ERR_VM_QUARANTINED ? VGPU_QUARANTINED : VGPU_FAILED;
}
