/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libvgpu does GPU work for a guest, through its vgpu-stub PCI device or, for development and
 * tests, straight to a mediator's Unix socket.
 *
 *     struct vgpu *v;
 *     uint32_t sum;
 *
 *     if (vgpu_open(NULL, NULL, &v) < 0 || vgpu_add(v, 100, 200, &sum) < 0)
 *         ...
 *
 * Every call that returns int gives one of enum vgpu_result.  After a failure,
 * vgpu_last_error() says what happened and what to do, vgpu_error_code() gives
 * the code.  QUEUE_FULL and RATE_LIMITED are retried inside the call before
 * VGPU_RETRY_LATER comes back (see struct vgpu_options).
 *
 * A handle is for one thread at a time and carries one request at a time;
 * threads that work in parallel open one each.  The library starts no thread,
 * installs no signal handler and prints nothing.
 */
#ifndef VGPU_H
#define VGPU_H

#include <stddef.h>
#include <stdint.h>

#include "vgpu/vgpu_protocol.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VGPU_API __attribute__((visibility("default")))
#else
#define VGPU_API
#endif

/* An open device or connection. */
struct vgpu;

enum vgpu_result {
    VGPU_OK = 0,
    VGPU_FAILED = -1,      /* asking again in the same way is no use */
    VGPU_RETRY_LATER = -2, /* refused for now (queue full, rate limit), retries used up */
    VGPU_QUARANTINED = -3, /* this VM is shut out until the administrator clears it */
};

/*
 * Failures that the library itself finds.  vgpu_error_code() gives these or
 * an enum vgpu_error; the device's own codes stay below VGPU_ERR_LOCAL.
 */
enum vgpu_local_error {
    VGPU_ERR_LOCAL = 0x100,
    VGPU_ERR_ARGUMENT = 0x100,      /* the caller's argument is wrong */
    VGPU_ERR_NO_DEVICE = 0x101,     /* no such device, or it is gone */
    VGPU_ERR_PERMISSION = 0x102,    /* the device is there, but not for this user */
    VGPU_ERR_VERSION = 0x103,       /* the device speaks another protocol version */
    VGPU_ERR_SYSTEM = 0x104,        /* a system call failed */
    VGPU_ERR_BAD_RESPONSE = 0x105,  /* the answer is not valid: the host side has a fault */
    VGPU_ERR_DEVICE_IN_USE = 0x106, /* another process keeps the device for itself */
};

#define VGPU_DEFAULT_RETRIES 5u
#define VGPU_DEFAULT_RETRY_FIRST_MS 100u
#define VGPU_DEFAULT_RETRY_MAX_MS 5000u
#define VGPU_DEFAULT_TIMEOUT_MS 60000u

/*
 * How a handle behaves.  Always start from vgpu_options_init(); fields that
 * later versions add get their defaults there.  The strings are copied.
 */
struct vgpu_options {
    size_t struct_bytes; /* set by vgpu_options_init() */

    /*
     * After QUEUE_FULL or RATE_LIMITED: how many more times to try, and the
     * pause before each, which doubles from the first to the longest and
     * varies by a quarter so that many guests don't come back together.
     */
    uint32_t retries; /* 0: give the refusal to the caller at once */
    uint32_t retry_first_ms;
    uint32_t retry_max_ms;

    /* The longest wait for one attempt's answer, pauses between attempts not counted. */
    uint32_t timeout_ms;

    /*
     * pci only.  1: keep the device to this handle until vgpu_close(), so that
     * only what differs from the previous request need be written.  0: take it
     * for each request, other processes get their turn in between.
     */
    int exclusive;
    /* pci only.  Where sysfs is; NULL: $VGPU_SYSFS_ROOT, or "/sys". */
    const char *sysfs_root;

    /*
     * sock only: what the frames say about the sender.  The mediator knows
     * from the socket which VM this is and believes these under
     * --trust-claims only.  1: open with HELLO and take the mediator's values.
     */
    uint32_t vm_id;
    uint8_t pool_id;  /* 'A' to 'Z' */
    uint8_t priority; /* enum vgpu_priority */
    int hello;

    /*
     * dev and host.  1: sleep at once while waiting, and leave the processor to others.  0: look at
     * the memory for some microseconds first, where there is more than one processor.
     */
    int sleep_at_once;
};

VGPU_API void vgpu_options_init(struct vgpu_options *options);

/* Where a container finds the socket of the VM that it works as, if somebody has put it there. */
#define VGPU_HOST_SOCKET_PATH "/run/vgpu/host.sock"

/*
 * Open a device.  `spec`:
 *     NULL or "auto"       the first of these that works: dev, pci, sock, and host with
 *                          VGPU_HOST_SOCKET_PATH; the two sockets only if they are there and
 *                          belong to root, to this user or to the mediator's,
 *                          whose folder /run/vgpu is, or if only root can have
 *                          put them there
 *     "dev:/dev/vgpu0"     the guest's driver, with a channel; "dev": the first that there is
 *     "pci:0000:00:05.0"   the device at that address ("pci:00:05.0" also), without a driver,
 *                          as root; "pci": the first
 *     "sock:/path"         a mediator's socket; "sock": VGPU_SOCKET_PATH
 *     "host:/path"         the same with a channel: memory shared with the worker
 * `options` NULL: the defaults.  On success *out is the caller's, to be given
 * to vgpu_close(); on failure it is NULL, and vgpu_last_error(NULL) and
 * vgpu_error_code(NULL) tell this thread why.
 */
VGPU_API int vgpu_open(const char *spec, const struct vgpu_options *options, struct vgpu **out);

/* NULL is allowed.  A request that timed out may still run on the host. */
VGPU_API void vgpu_close(struct vgpu *v);

/* What the last failed call on this handle met: a sentence or two, for a person. */
VGPU_API const char *vgpu_last_error(const struct vgpu *v);

/* The same as a number: enum vgpu_error or enum vgpu_local_error; 0 after a success. */
VGPU_API uint32_t vgpu_error_code(const struct vgpu *v);

/* Static texts for any code: what it means and what to do; its name without the prefix. */
VGPU_API const char *vgpu_strerror(uint32_t code);
VGPU_API const char *vgpu_error_name(uint32_t code);

/* ---- Ready-made operations ---------------------------------------------- */

VGPU_API int vgpu_nop(struct vgpu *v);

/* *sum = a + b, modulo 2^32. */
VGPU_API int vgpu_add(struct vgpu *v, uint32_t a, uint32_t b, uint32_t *sum);

/* c[i] = a[i] + b[i] for i < n; n from 1 to VGPU_VECTOR_MAX; c may be a or b. */
VGPU_API int vgpu_vector_add_i32(struct vgpu *v, uint32_t n, const int32_t *a, const int32_t *b,
                                 int32_t *c);
VGPU_API int vgpu_vector_add_f32(struct vgpu *v, uint32_t n, const float *a, const float *b,
                                 float *c);

struct vgpu_device_info {
    uint32_t backend; /* enum vgpu_backend */
    uint32_t compute_major;
    uint32_t compute_minor;
    uint32_t multiprocessors;
    uint32_t memory_mib;
    char name[128]; /* printable ASCII, cut to fit; other bytes become '?' */
};

VGPU_API int vgpu_device_info(struct vgpu *v, struct vgpu_device_info *info);

/* VGPU_OP_TEST_*; `param` is used by VGPU_OP_TEST_SPIN only: microseconds. */
VGPU_API int vgpu_test_op(struct vgpu *v, uint32_t opcode, uint32_t param);

/* ---- Buffers, over a channel ("dev:", "host:") --------------------------- */

/*
 * Memory of the GPU, which stays until it is freed or the handle is closed.  Buffers are known
 * by numbers.  Operations on them are posted: they are done in order, and the call returns
 * before they are.  A posted operation that fails changes nothing and is reported by the next
 * vgpu_wait_posted() or vgpu_download(), the first one only.  Counts are of elements of 4
 * bytes, offsets and bytes of uploads are what they say; offsets are multiples of 4.
 *
 * A channel that has ended (the VM was quarantined, the mediator stopped, ...) fails all calls
 * from then on: open a new handle.  While there are no buffers, the next request that is no
 * posted one (vgpu_call() and what is built on it) opens a new channel by itself.  After fork()
 * the child must not use the handle.
 */
VGPU_API int vgpu_buffer_new(struct vgpu *v, uint64_t bytes, uint64_t *buffer); /* zeroed */
VGPU_API int vgpu_buffer_free(struct vgpu *v, uint64_t buffer);
/* `from` may be changed when it returns, unless it is pinned memory (below). */
VGPU_API int vgpu_upload(struct vgpu *v, uint64_t buffer, uint64_t offset, const void *from,
                         uint64_t bytes);
/* After all that was posted before; `to` is filled when it returns. */
VGPU_API int vgpu_download(struct vgpu *v, uint64_t buffer, uint64_t offset, void *to,
                           uint64_t bytes);
/*
 * Memory of this process that the GPU copies from and to by itself, several times faster than
 * other memory ("host:"; other ways say UNSUPPORTED_OP).  Zeroed.  Uploads from it and downloads
 * into it are made where it lies: what vgpu_upload() is given here must stay as it is until the
 * upload is over, as vgpu_wait_posted() says.  It stays when the channel ends, and is ordinary
 * memory then; closing the handle frees it.  vgpu_pinned_free() waits for what was posted.
 */
VGPU_API int vgpu_pinned_new(struct vgpu *v, uint64_t bytes, void **memory);
VGPU_API int vgpu_pinned_free(struct vgpu *v, void *memory);
VGPU_API int vgpu_fill(struct vgpu *v, uint64_t target, uint64_t count, uint32_t value);
/* target = a + b; target may be a or b. */
VGPU_API int vgpu_buffer_add_i32(struct vgpu *v, uint64_t target, uint64_t a, uint64_t b,
                                 uint64_t count);
VGPU_API int vgpu_buffer_add_f32(struct vgpu *v, uint64_t target, uint64_t a, uint64_t b,
                                 uint64_t count);
/* target += alpha * a */
VGPU_API int vgpu_saxpy(struct vgpu *v, uint64_t target, float alpha, uint64_t a, uint64_t count);
/* target[m][n] = alpha * a[m][k] * b[k][n] + beta * target; by rows, dense, not overlapping. */
VGPU_API int vgpu_sgemm(struct vgpu *v, uint32_t m, uint32_t n, uint32_t k, float alpha, uint64_t a,
                        uint64_t b, float beta, uint64_t target);
/* Posts an operation of 1.0 whose answer nobody needs. */
VGPU_API int vgpu_post(struct vgpu *v, uint32_t opcode, const uint32_t *params,
                       uint32_t param_count);
/* Until no more than `may_remain` of what was posted is left; reports what failed. */
VGPU_API int vgpu_wait_posted(struct vgpu *v, uint64_t may_remain);

struct vgpu_channel_info {
    const char *transport; /* "host", "shared", "copied": docs/channels.md */
    uint64_t bytes;        /* shared with the worker, in all */
    uint64_t arena_bytes;  /* for data on its way */
    uint32_t command_bytes;
    uint32_t lanes;
};

VGPU_API int vgpu_get_channel(struct vgpu *v, struct vgpu_channel_info *info);

/* ---- Any operation ------------------------------------------------------ */

/* A checked answer.  The pointers lead into the handle and hold until its next call. */
struct vgpu_answer {
    uint32_t status;
    uint32_t exec_time_us; /* GPU time used */
    uint32_t result_count;
    const uint32_t *results;
    uint32_t data_bytes;
    const void *data; /* not aligned */
};

/*
 * Build a request of `param_count` words and `data_bytes` bytes, submit it,
 * check the answer.  Words and data together: up to VGPU_REQUEST_BODY_BYTES.
 * `answer` may be NULL.
 */
VGPU_API int vgpu_call(struct vgpu *v, uint32_t opcode, const uint32_t *params,
                       uint32_t param_count, const void *data, uint32_t data_bytes,
                       struct vgpu_answer *answer);

/*
 * Submit a request made by the caller, VGPURequest first, and copy the
 * answer, VGPUResponse first, to `response`; *response_bytes (may be NULL) is
 * its length, 0 after a failure.  The answer is checked as vgpu_call() does;
 * the request is not: judging it is the host's work.
 */
VGPU_API int vgpu_submit(struct vgpu *v, const void *request, size_t request_bytes, void *response,
                         size_t response_capacity, size_t *response_bytes);

/* ---- Looking at it ------------------------------------------------------ */

/* The GPU time that the last successful request used, as the host measured it. */
VGPU_API uint32_t vgpu_exec_time_us(const struct vgpu *v);

struct vgpu_stats {
    uint64_t attempts;     /* requests sent, retries included */
    uint64_t retries;      /* attempts after the first of a call */
    uint64_t reconnects;   /* sock, dev, host: connections or channels after the first */
    uint64_t mmio_reads;   /* pci: accesses to the device; each one is an exit to the host */
    uint64_t mmio_writes;  /*   and costs microseconds under KVM and Xen; dev: doorbells */
    uint64_t status_polls; /* those of mmio_reads that looked whether the job is over */
};

VGPU_API void vgpu_get_stats(const struct vgpu *v, struct vgpu_stats *stats);

/* "dev /dev/vgpu0", "pci 0000:00:05.0", "sock /tmp/x.sock"; lives as long as the handle. */
VGPU_API const char *vgpu_describe(const struct vgpu *v);

#define VGPU_REGISTER_COUNT (VGPU_REG_END / 4u)

/* pci only: all registers, indexed by offset / 4.  None is changed by reading. */
VGPU_API int vgpu_read_registers(struct vgpu *v, uint32_t registers[VGPU_REGISTER_COUNT]);

#define VGPU_ADDRESS_BYTES 16u

/*
 * The PCI addresses of this machine's vgpu devices, in order, at most
 * `capacity`.  Returns how many there are (which may be more), or VGPU_FAILED.
 */
VGPU_API int vgpu_list_devices(const char *sysfs_root, char addresses[][VGPU_ADDRESS_BYTES],
                               size_t capacity);

/* The library's version, "major.minor.patch". */
VGPU_API const char *vgpu_version(void);

#ifdef __cplusplus
}
#endif

#endif /* VGPU_H */
