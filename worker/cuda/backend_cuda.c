/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * One context, one stream: jobs run in the order of submit(), and while one
 * runs the next already waits in the GPU's own queue, so the GPU goes from one
 * to the other without asking the host.
 *
 * A slot is what one job in flight needs: 2 KiB of pinned host memory (operands
 * in, results out) and two events.  submit() records the first event, starts
 * the kernel and records the second; poll() asks whether the second has been
 * reached, which is a look at a word of host memory inside the driver.  The time
 * between the two events is the job's GPU time; while another worker has the GPU
 * it goes on counting, hence VGPU_WORKER_TIME_ELAPSED.
 *
 * Operands of at most 1 KiB don't deserve a copy engine: kernels read and write
 * the pinned memory directly, and a job is one launch instead of a launch and
 * two copies that the driver has to order (measured on an H200: 23 us a job
 * instead of 34).
 *
 * Faults.  A bad address or a failed unit breaks the whole context: from then on
 * every call returns the same error and only a new process helps.  poll() and
 * submit() answer BACKEND_LOST then.  An error that left the context intact is
 * that job's CUDA_ERROR and nothing more.
 *
 * Memory.  Every byte that the GPU uses for the VM's jobs is taken by
 * job_memory_alloc(), which keeps the VM's limit.  What the driver takes for a
 * context (about 0.5 GB on an H200) is not the VM's and isn't counted.
 */
#include "worker/backend.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/clock.h"
#include "common/request.h"
#include "worker/cuda/bulk_cuda.h"
#include "worker/cuda/cuda_api.h"
#include "worker/cuda/cuda_device.h"
#include "worker/cuda/kernels.h"

#define OPERAND_BYTES 1024u
#define SLOT_BYTES 2048u
#define RESULT_WORD (OPERAND_BYTES / 4)
#define BLOCK_THREADS 128u

_Static_assert(VGPU_REQUEST_BODY_BYTES <= OPERAND_BYTES, "operands fit a slot");
_Static_assert(VGPU_RESPONSE_BODY_BYTES <= SLOT_BYTES - OPERAND_BYTES, "results fit a slot");

/* A spin that looks at the clock this seldom was away from the GPU. */
#define SPIN_GAP_NS (100 * NS_PER_US)

/* Not mapped in any context: the lowest pages never are. */
#define ILLEGAL_ADDRESS 0x100u
#define OPERATION_UNKNOWN (-1) /* no result of the driver is negative */

enum kernel {
    KERNEL_ADD,
    KERNEL_VECTOR_ADD_I32,
    KERNEL_VECTOR_ADD_F32,
    KERNEL_SAXPY,
    KERNEL_SGEMM,
    KERNEL_SPIN,
    KERNEL_HANG,
    KERNEL_CRASH,
    KERNEL_COUNT
};

static const char *const kernel_names[KERNEL_COUNT] = {
    [KERNEL_ADD] = "vgpu_add",
    [KERNEL_VECTOR_ADD_I32] = "vgpu_vector_add_i32",
    [KERNEL_VECTOR_ADD_F32] = "vgpu_vector_add_f32",
    [KERNEL_SAXPY] = "vgpu_saxpy",
    [KERNEL_SGEMM] = "vgpu_sgemm",
    [KERNEL_SPIN] = "vgpu_spin",
    [KERNEL_HANG] = "vgpu_hang",
    [KERNEL_CRASH] = "vgpu_crash",
};

struct cuda_slot {
    cuda_event start, end;
    cuda_event untimed_end; /* of slots for channels: cheaper for the GPU than two timed ones */
    bool untimed;
    uint32_t *host;      /* pinned, SLOT_BYTES */
    cuda_address mapped; /* the same memory as the GPU sees it */
    uint32_t opcode;
    uint32_t result_count;
    uint32_t data_length;
};

struct backend {
    int kernels_fd; /* -1: none */
    struct cuda_api api;
    struct backend_gpu gpu;
    cuda_device device;
    cuda_context context;
    cuda_stream stream;
    cuda_function kernels[KERNEL_COUNT];
    void *pinned;
    struct memory_account account;
    struct bulk_cuda *bulk;
    void *channels_pinned;
    bool channels_prepared;
    unsigned depth;
    bool lost;
    struct cuda_slot slots[BACKEND_SLOTS_MAX];
};

/* Says what failed; -EIO unless it was success. */
static int check(const struct backend *cuda, cuda_result error, const char *what)
{
    char text[CUDA_REASON_BYTES];

    if (error == CUDA_OK) {
        return 0;
    }
    cuda_error_text(&cuda->api, error, text);
    log_error("%s failed on %s (%s): %s", what, cuda->gpu.name, cuda->gpu.uuid, text);
    return error == CUDA_OUT_OF_MEMORY ? -ENOMEM : -EIO;
}

/*
 * The one way to memory for jobs: pinned, and mapped for the GPU.
 * -ENOMEM: beyond the VM's limit, or there is no more.
 */
static int job_memory_alloc(struct backend *cuda, uint64_t bytes, void **host, cuda_address *mapped)
{
    struct memory_account *account = &cuda->account;
    int status;

    if (!memory_charge(account, bytes)) {
        log_error("the VM's memory limit of %" PRIu64 " bytes does not allow another %" PRIu64
                  " bytes beside the %" PRIu64 " in use: raise it with vgpu-admin",
                  account->limit_bytes, bytes, memory_used(account));
        return -ENOMEM;
    }
    status = check(cuda, cuda->api.MemHostAlloc(host, bytes, CUDA_HOST_ALLOC_MAPPED),
                   "allocating pinned host memory");
    if (status < 0) {
        memory_discharge(account, bytes);
    } else {
        status = check(cuda, cuda->api.MemHostGetDevicePointer(mapped, *host, 0),
                       "mapping pinned host memory");
    }
    return status;
}

static cuda_result launch(struct backend *cuda, enum kernel kernel, unsigned blocks,
                          unsigned threads, void **params)
{
    return cuda->api.LaunchKernel(cuda->kernels[kernel], blocks, 1, 1, threads, 1, 1, 0,
                                  cuda->stream, params, NULL);
}

static cuda_result start_add(struct backend *cuda, struct cuda_slot *slot, uint32_t a, uint32_t b)
{
    cuda_address sum = slot->mapped + OPERAND_BYTES;
    void *params[] = {&a, &b, &sum};

    slot->result_count = 1;
    return launch(cuda, KERNEL_ADD, 1, 1, params);
}

static cuda_result start_vector_add(struct backend *cuda, struct cuda_slot *slot,
                                    enum kernel kernel, const void *data, uint32_t data_length)
{
    uint32_t count = data_length / 8;
    cuda_address a = slot->mapped, b = a + (cuda_address)count * 4, c = a + OPERAND_BYTES;
    void *params[] = {&a, &b, &c, &count};
    unsigned blocks = count / BLOCK_THREADS + (count % BLOCK_THREADS != 0);

    memcpy(slot->host, data, data_length);
    slot->data_length = count * 4;
    return launch(cuda, kernel, blocks, BLOCK_THREADS, params);
}

static cuda_result start_spin(struct backend *cuda, uint32_t duration_us)
{
    uint64_t duration_ns = (uint64_t)duration_us * NS_PER_US, gap_ns = SPIN_GAP_NS;
    void *params[] = {&duration_ns, &gap_ns};

    return launch(cuda, KERNEL_SPIN, 1, 1, params);
}

static cuda_result start_crash(struct backend *cuda)
{
    cuda_address where = ILLEGAL_ADDRESS;
    void *params[] = {&where};

    return launch(cuda, KERNEL_CRASH, 1, 1, params);
}

/* The driver's result; OPERATION_UNKNOWN: nothing was started. */
static cuda_result start_operation(struct backend *cuda, struct cuda_slot *slot,
                                   const struct backend_job *job)
{
    switch (job->opcode) {
    case VGPU_OP_CUDA_KERNEL: return start_add(cuda, slot, job->params[0], job->params[1]);
    case VGPU_OP_VECTOR_ADD_I32:
        return start_vector_add(cuda, slot, KERNEL_VECTOR_ADD_I32, job->data, job->data_length);
    case VGPU_OP_VECTOR_ADD_F32:
        return start_vector_add(cuda, slot, KERNEL_VECTOR_ADD_F32, job->data, job->data_length);
    case VGPU_OP_TEST_SPIN: return start_spin(cuda, job->params[0]);
    case VGPU_OP_TEST_HANG: return launch(cuda, KERNEL_HANG, 1, 1, NULL);
    case VGPU_OP_TEST_CRASH: return start_crash(cuda);
    default: return OPERATION_UNKNOWN;
    }
}

/* A call failed: is it this job's failure, or has the context gone? */
static enum backend_state job_failed(struct backend *cuda, uint32_t opcode, cuda_result error,
                                     struct backend_result *result)
{
    cuda_result stream = cuda->api.StreamQuery(cuda->stream);

    result->status = VGPU_ERR_CUDA_ERROR;
    if (cuda->lost) {
        return BACKEND_LOST;
    }
    check(cuda, error, request_op_name(opcode));
    if (stream == CUDA_OK || stream == CUDA_NOT_READY) {
        return BACKEND_DONE;
    }
    cuda->lost = true;
    log_error("this worker's GPU context is lost; it leaves, and the VM's next job gets a new one");
    return BACKEND_LOST;
}

static enum backend_state cuda_submit(struct backend *cuda, unsigned index,
                                      const struct backend_job *job, struct backend_result *result)
{
    struct cuda_slot *slot = &cuda->slots[index];
    cuda_result error;

    assert(index < cuda->depth + BACKEND_CHANNEL_JOBS);
    slot->opcode = job->opcode;
    slot->result_count = 0;
    slot->data_length = 0;
    slot->untimed = job->untimed && slot->untimed_end;
    error = slot->untimed ? CUDA_OK : cuda->api.EventRecord(slot->start, cuda->stream);
    if (!error) {
        error = start_operation(cuda, slot, job);
    }
    if (error == OPERATION_UNKNOWN) {
        result->status = VGPU_ERR_UNSUPPORTED_OP;
        return BACKEND_DONE;
    }
    if (!error) {
        error = cuda->api.EventRecord(slot->untimed ? slot->untimed_end : slot->end, cuda->stream);
    }
    return error ? job_failed(cuda, job->opcode, error, result) : BACKEND_RUNNING;
}

static enum backend_state cuda_poll(struct backend *cuda, unsigned index,
                                    struct backend_result *result)
{
    struct cuda_slot *slot = &cuda->slots[index];
    cuda_result error = cuda->api.EventQuery(slot->untimed ? slot->untimed_end : slot->end);
    float milliseconds = 0;

    if (error == CUDA_NOT_READY) {
        return BACKEND_RUNNING;
    }
    if (!error && !slot->untimed) {
        error = cuda->api.EventElapsedTime(&milliseconds, slot->start, slot->end);
    }
    if (error) {
        return job_failed(cuda, slot->opcode, error, result);
    }
    result->gpu_time_ns = (uint64_t)((double)milliseconds * NS_PER_MS + 0.5);
    result->result_count = slot->result_count;
    result->data_length = slot->data_length;
    memcpy(result->body, slot->host + RESULT_WORD,
           (size_t)slot->result_count * 4 + slot->data_length);
    return BACKEND_DONE;
}

static int load_kernels(struct backend *cuda)
{
    char log[1024] = "";
    cuda_module module;
    int status = check(cuda, kernels_load(&cuda->api, cuda->kernels_fd, &module, log, sizeof(log)),
                       "compiling the kernels");

    if (status < 0) {
        log[sizeof(log) - 1] = '\0';
        if (log[0]) {
            log_error("the driver's compiler says: %s", log);
        }
        return status;
    }
    for (int i = 0; i < KERNEL_COUNT && status == 0; i++) {
        status =
            check(cuda, cuda->api.ModuleGetFunction(&cuda->kernels[i], module, kernel_names[i]),
                  kernel_names[i]);
    }
    return status;
}

/* From `first` on, with pinned memory of their own. */
static int create_slots(struct backend *cuda, unsigned first, unsigned count, void **pinned)
{
    cuda_address mapped = 0;
    int status = job_memory_alloc(cuda, (uint64_t)count * SLOT_BYTES, pinned, &mapped);

    for (unsigned i = 0; i < count && status == 0; i++) {
        struct cuda_slot *slot = &cuda->slots[first + i];

        slot->host = (uint32_t *)((char *)*pinned + (size_t)i * SLOT_BYTES);
        slot->mapped = mapped + (cuda_address)i * SLOT_BYTES;
        status = check(cuda, cuda->api.EventCreate(&slot->start, CUDA_EVENT_DEFAULT),
                       "creating an event");
        if (status == 0) {
            status = check(cuda, cuda->api.EventCreate(&slot->end, CUDA_EVENT_DEFAULT),
                           "creating an event");
        }
    }
    return status;
}

/* The first launch of anything is slow: that belongs to the start, not to a VM's first job. */
static int warm_up(struct backend *cuda)
{
    static const uint32_t zeros[2];
    struct cuda_slot *slot = &cuda->slots[0];
    float milliseconds;
    cuda_result error = cuda->api.EventRecord(slot->start, cuda->stream);

    error = error ? error : start_add(cuda, slot, 1, 2);
    error = error ? error : start_vector_add(cuda, slot, KERNEL_VECTOR_ADD_I32, zeros, 8);
    error = error ? error : start_vector_add(cuda, slot, KERNEL_VECTOR_ADD_F32, zeros, 8);
    error = error ? error : start_spin(cuda, 0);
    error = error ? error : cuda->api.EventRecord(slot->end, cuda->stream);
    error = error ? error : cuda->api.StreamSynchronize(cuda->stream);
    error = error ? error : cuda->api.EventElapsedTime(&milliseconds, slot->start, slot->end);
    return check(cuda, error, "a first launch");
}

static int start_device(struct backend *cuda)
{
    int status =
        check(cuda, cuda->api.DeviceGet(&cuda->device, (int)cuda->gpu.index), "opening the GPU");

    if (status == 0) {
        status = check(cuda, cuda->api.DevicePrimaryCtxRetain(&cuda->context, cuda->device),
                       "creating a context");
    }
    if (status == 0) {
        status = check(cuda, cuda->api.CtxSetCurrent(cuda->context), "entering the context");
    }
    if (status == 0) {
        status = check(cuda, cuda->api.StreamCreate(&cuda->stream, CUDA_STREAM_NON_BLOCKING),
                       "creating a stream");
    }
    if (status == 0) {
        status = load_kernels(cuda);
    }
    if (status == 0) {
        status = create_slots(cuda, 0, cuda->depth, &cuda->pinned);
    }
    return status == 0 ? warm_up(cuda) : status;
}

static void cuda_close(struct backend *cuda)
{
    bulk_cuda_close(cuda->bulk);
    if (cuda->channels_pinned) {
        cuda->api.MemFreeHost(cuda->channels_pinned);
    }
    if (cuda->pinned) {
        cuda->api.MemFreeHost(cuda->pinned);
    }
    /* Takes the stream, the events and the module with it. */
    if (cuda->context) {
        cuda->api.DevicePrimaryCtxRelease(cuda->device);
    }
    free(cuda);
}

static int cuda_open(const struct backend_config *config, struct backend **backend)
{
    char reason[CUDA_REASON_BYTES] = "";
    struct backend *cuda = calloc(1, sizeof(*cuda));
    uint64_t start_ns = clock_now_ns();
    int status;

    if (!cuda) {
        log_error("out of memory");
        return -ENOMEM;
    }
    cuda->depth = config->depth;
    cuda->kernels_fd = config->kernels_fd;
    cuda->account.limit_bytes = config->memory_limit_bytes;
    status = cuda_device_open(&cuda->api, config->gpu, &cuda->gpu, reason);
    if (status < 0) {
        log_error("%s", reason);
        free(cuda);
        return status;
    }
    status = start_device(cuda);
    if (status < 0) {
        cuda_close(cuda);
        return status;
    }
    log_debug("on %s (%s), started in %" PRIu64 " ms", cuda->gpu.name, cuda->gpu.uuid,
              (clock_now_ns() - start_ns) / NS_PER_MS);
    *backend = cuda;
    return 0;
}

static void cuda_describe(const struct backend *cuda, vgpu_worker_ready *ready)
{
    memset(ready, 0, sizeof(*ready));
    ready->backend = VGPU_BACKEND_CUDA;
    ready->flags = VGPU_WORKER_TIME_ELAPSED;
    ready->compute_major = cuda->gpu.compute_major;
    ready->compute_minor = cuda->gpu.compute_minor;
    ready->multiprocessors = cuda->gpu.multiprocessors;
    ready->memory_bytes = cuda->gpu.memory_bytes;
    if (cuda->account.limit_bytes && cuda->account.limit_bytes < ready->memory_bytes) {
        ready->memory_bytes = cuda->account.limit_bytes;
    }
    backend_copy_name(ready->gpu_uuid, sizeof(ready->gpu_uuid), cuda->gpu.uuid);
    backend_copy_name(ready->name, sizeof(ready->name), cuda->gpu.name);
}

/* What channels need, when the first one comes. */
static int prepare_channels(struct backend *cuda)
{
    const struct bulk_cuda_config config = {
        .api = &cuda->api,
        .stream = cuda->stream,
        .add_i32 = cuda->kernels[KERNEL_VECTOR_ADD_I32],
        .add_f32 = cuda->kernels[KERNEL_VECTOR_ADD_F32],
        .saxpy = cuda->kernels[KERNEL_SAXPY],
        .sgemm = cuda->kernels[KERNEL_SGEMM],
        .multiprocessors = cuda->gpu.multiprocessors,
        .account = &cuda->account,
    };
    int status = create_slots(cuda, cuda->depth, BACKEND_CHANNEL_JOBS, &cuda->channels_pinned);

    for (unsigned i = 0; i < BACKEND_CHANNEL_JOBS && status == 0; i++) {
        cuda_event *event = &cuda->slots[cuda->depth + i].untimed_end;

        status =
            check(cuda, cuda->api.EventCreate(event, CUDA_EVENT_NO_TIMING), "creating an event");
    }
    if (status == 0) {
        status = check(cuda, bulk_cuda_open(&config, &cuda->bulk), "preparing bulk operations");
    }
    return status;
}

static const struct bulk_engine *cuda_bulk(struct backend *cuda)
{
    if (!cuda->channels_prepared) {
        cuda->channels_prepared = true;
        prepare_channels(cuda);
    }
    return cuda->bulk ? bulk_cuda_engine(cuda->bulk) : NULL;
}

static struct memory_account *cuda_account(struct backend *cuda)
{
    return &cuda->account;
}

const struct backend_ops backend_cuda = {
    .name = "cuda",
    .idle_spin_ns = 50000,
    .open = cuda_open,
    .close = cuda_close,
    .describe = cuda_describe,
    .submit = cuda_submit,
    .poll = cuda_poll,
    .bulk = cuda_bulk,
    .account = cuda_account,
    .list = cuda_device_list,
    .compile = kernels_compile,
};
