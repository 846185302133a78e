/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backend executes jobs: it is the CPU or a CUDA device, behind one interface.
 *
 * A backend is opened once, serves one thread, and runs jobs in the order in
 * which they were submitted.  A job lives in a slot, a small integer below
 * config.depth + BACKEND_CHANNEL_JOBS that the caller chooses and doesn't use again
 * until the job is done; buffers that a backend needs for each job in flight are allocated at
 * open, one set per slot, so that the hot path allocates nothing.
 *
 * Jobs have passed request_check_op(), counts and lengths fit the operation, and
 * a spin is no longer than VGPU_TEST_SPIN_MAX_US.
 * NOP, GET_DEVICE_INFO and TEST_FAIL never get here, the executor answers them.
 */
#ifndef WORKER_BACKEND_H
#define WORKER_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vgpu/vgpu_protocol.h"
#include "vgpu/vgpu_worker.h"
#include "worker/channel/bulk.h"
#include "worker/memory_account.h"

#define WORKER_DEPTH_DEFAULT 2u
#define WORKER_DEPTH_MAX 16u
/* Slots beyond config.depth, for jobs that come through channels; at most 31. */
#define BACKEND_CHANNEL_JOBS 16u
#define BACKEND_SLOTS_MAX (WORKER_DEPTH_MAX + BACKEND_CHANNEL_JOBS)
#define BACKEND_GPUS_MAX 64u
#define BACKEND_REASON_BYTES 256u

struct backend_config {
    const char *gpu;             /* UUID or index; NULL: the first one */
    uint64_t memory_limit_bytes; /* 0: none */
    unsigned depth;              /* slots, 1 to WORKER_DEPTH_MAX */
    int kernels_fd;              /* what compile() has made for this GPU; -1: nothing */
};

/* One GPU as --probe lists it. */
struct backend_gpu {
    unsigned index;
    char uuid[VGPU_WORKER_UUID_BYTES];
    char name[VGPU_WORKER_NAME_BYTES];
    uint64_t memory_bytes;
    unsigned compute_major;
    unsigned compute_minor;
    unsigned multiprocessors;
};

/* Pointers are into the caller's frame, aligned to 4 bytes, valid during submit only. */
struct backend_job {
    uint32_t opcode;
    uint32_t param_count;
    uint32_t data_length; /* bytes */
    const uint32_t *params;
    const void *data;
    bool untimed; /* nobody asks for its gpu_time_ns: 0 will do */
};

/* The caller zeroes all but the body before submit. */
struct backend_result {
    uint32_t status;       /* enum vgpu_error */
    uint32_t result_count; /* words at the start of the body */
    uint32_t data_length;  /* bytes that follow them */
    uint64_t gpu_time_ns;
    uint32_t body[VGPU_RESPONSE_BODY_BYTES / 4];
};

enum backend_state {
    BACKEND_DONE,    /* the result is filled in, well or badly */
    BACKEND_RUNNING, /* ask poll() later */
    BACKEND_LOST,    /* this job and all later ones can't be had: close and exit */
};

struct backend; /* each backend's own */

struct backend_ops {
    const char *name; /* as --backend takes it */
    /* With nothing to do, look for the next job for so long before going to
     * sleep: waking up costs about as much as a tiny job takes on a GPU. */
    uint64_t idle_spin_ns;
    /* submit() answers at once, always, and a unit of a bulk operation is done at once. */
    bool immediate;

    /* 0, or -errno after saying on the log what is wrong and what to do. */
    int (*open)(const struct backend_config *config, struct backend **backend);
    /* Only when no job is in flight: it may wait for the device. */
    void (*close)(struct backend *backend);
    /* Fills everything; strings are NUL-terminated printable ASCII. */
    void (*describe)(const struct backend *backend, vgpu_worker_ready *ready);

    /* Starts a job.  May answer at once (DONE), as the CPU backend always does. */
    enum backend_state (*submit)(struct backend *backend, unsigned slot,
                                 const struct backend_job *job, struct backend_result *result);
    /* Never blocks. */
    enum backend_state (*poll)(struct backend *backend, unsigned slot,
                               struct backend_result *result);

    /* What does bulk operations, as long as the backend is open.  Before the first job of a
     * channel.  NULL after saying on the log why not. */
    const struct bulk_engine *(*bulk)(struct backend *backend);

    /* What the VM has of the GPU's memory, as long as the backend is open. */
    struct memory_account *(*account)(struct backend *backend);

    /*
     * Lists GPUs without opening one: their number, at most `max`, or -errno
     * and the reason as a sentence.  `driver` gets the version, "" without one.
     */
    int (*list)(struct backend_gpu *gpus, unsigned max, char driver[32],
                char reason[BACKEND_REASON_BYTES]);

    /*
     * Writes our kernels, compiled for this GPU, to `fd`.  0, or -errno after saying on the log
     * why not.  NULL: there is nothing to compile.
     */
    int (*compile)(const char *gpu, int fd);
};

extern const struct backend_ops backend_cpu;
extern const struct backend_ops backend_cuda;

/* Copies `from` as printable ASCII, cut to fit: what else it holds becomes '?'. */
void backend_copy_name(char *to, size_t to_bytes, const char *from);

#endif /* WORKER_BACKEND_H */
