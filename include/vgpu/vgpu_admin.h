/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header is the contract between vgpu-mediator and its administration tools: a Unix
 * stream socket, one request, then one response (EVENTS: a stream of them). A connection may
 * carry several requests one after the other.  docs/admin-protocol.md describes it.
 */
#ifndef VGPU_ADMIN_H
#define VGPU_ADMIN_H

#include "vgpu/vgpu_protocol.h"

#define VGPU_ADMIN_SOCKET_PATH "/var/vgpu/admin.sock"
#define VGPU_ADMIN_GROUP "vgpu"
#define VGPU_ADMIN_MAGIC VGPU_SOCKET_MAGIC

enum vgpu_admin_command {
    VGPU_ADMIN_SHOW_METRICS = 0x10, /* param1: 0 JSON, 1 Prometheus text */
    VGPU_ADMIN_SHOW_HEALTH = 0x11,
    VGPU_ADMIN_RELOAD_CONFIG = 0x12,
    VGPU_ADMIN_QUARANTINE_VM = 0x13,   /* param1: vm_id */
    VGPU_ADMIN_UNQUARANTINE_VM = 0x14, /* param1: vm_id */
    VGPU_ADMIN_SHOW_CONNECTIONS = 0x15,
    /* New since 1.0.  param2: bytes of a JSON object that follows the request. */
    VGPU_ADMIN_SET_POLICY = 0x16,    /* {"policy": "wfq"} */
    VGPU_ADMIN_PAUSE = 0x17,         /* {"gpu": N, "hold": true}, both may be missing */
    VGPU_ADMIN_RESUME = 0x18,        /* likewise */
    VGPU_ADMIN_PREFER_VM = 0x19,     /* param1: vm_id; 0 = none */
    VGPU_ADMIN_EVENTS = 0x1A,        /* stream: a response per event until the peer closes */
    VGPU_ADMIN_SHOW_STATUS = 0x1B,   /* pools, GPUs, VMs, in one answer */
    VGPU_ADMIN_SHOW_SCHEDULE = 0x1C, /* the last dispatch decisions with their reasons */
    /* {"job_id": N}, or the "last" N jobs, of "vm_id" and "request_id" if these are given. */
    VGPU_ADMIN_TRACE_JOB = 0x1D,
    VGPU_ADMIN_SHOW_CUDA = 0x1E, /* VMs' CUDA programs, each by itself */
};

typedef struct VGPUAdminRequest {
    uint32_t magic;
    uint32_t command; /* enum vgpu_admin_command */
    uint32_t param1;
    uint32_t param2;
} VGPUAdminRequest;

VGPU_STATIC_ASSERT(sizeof(VGPUAdminRequest) == 16, "VGPUAdminRequest is 16 bytes");

/* status 0: data is the answer; else an errno value, and data is {"error": "..."}. */
typedef struct VGPUAdminResponse {
    uint32_t magic;
    uint32_t status;
    uint32_t data_len;
} VGPUAdminResponse;

VGPU_STATIC_ASSERT(sizeof(VGPUAdminResponse) == 12, "VGPUAdminResponse is 12 bytes");

#define VGPU_ADMIN_BODY_MAX 4096u           /* request body, bytes */
#define VGPU_ADMIN_DATA_MAX (16u * 1048576) /* response data, bytes */

#endif /* VGPU_ADMIN_H */
