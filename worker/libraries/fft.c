/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plans of cuFFT.
 *
 * The library validates neither plans nor addresses.  How far a transform reaches from both of its
 * addresses follows from the plan; the worker computes that once and looks up the memory of each
 * execution.  Sizes that the library itself would refuse are left to it.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "cuda/fft.h"
#include "worker/cuda/cublas_api.h"
#include "worker/cuda/channel/driver_internal.h"
#include "worker/libraries/library_call.h"

struct fft {
    int real; /* the library's plan */
    CUstream stream;
    uint64_t work, work_bytes;
    uint64_t in_bytes, out_bytes; /* that an execution reaches */
};

/* An int is a cufftResult, or a plan. */
static struct {
    int (*Create)(int *plan);
    int (*Destroy)(int plan);
    int (*SetAutoAllocation)(int plan, int is_on);
    int (*SetStream)(int plan, CUstream stream);
    int (*SetWorkArea)(int plan, void *work);
    int (*XtMakePlanMany)(int plan, int rank, long long *n, long long *in_embed,
                          long long in_stride, long long in_distance, int in_type,
                          long long *out_embed, long long out_stride, long long out_distance,
                          int out_type, long long batch, size_t *work_bytes, int execution_type);
    int (*XtExec)(int plan, void *in, void *out, int direction);
} library;

static void *pointer(uint64_t address)
{
    return (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr): the GPU's */
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool looked, there; /* under the lock */

static bool find_all(void *opened)
{
    const struct {
        const char *name;
        void *function;
    } rows[] = {
        {"cufftCreate", &library.Create},
        {"cufftDestroy", &library.Destroy},
        {"cufftSetAutoAllocation", &library.SetAutoAllocation},
        {"cufftSetStream", &library.SetStream},
        {"cufftSetWorkArea", &library.SetWorkArea},
        {"cufftXtMakePlanMany", &library.XtMakePlanMany},
        {"cufftXtExec", &library.XtExec},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        void *symbol = dlsym(opened, rows[i].name);

        if (!symbol) {
            return false;
        }
        memcpy(rows[i].function, &symbol, sizeof(symbol));
    }
    return true;
}

static bool library_is_there(void)
{
    bool is_there;

    pthread_mutex_lock(&lock);
    if (!looked) {
        void *opened = host_library_open("VGPU_CUFFT", "libcufft.so.12");

        looked = true;
        there = opened && find_all(opened);
        if (!there) {
            log_warning("a program asks for cuFFT 12, which this host has not: install "
                        "libcufft.so.12 in /usr/local/cuda/lib64 or the usual library folders");
        }
    }
    is_there = there;
    pthread_mutex_unlock(&lock);
    return is_there;
}

/* ---- how far a plan reaches ---- */

static bool is_small(int64_t number, int64_t least)
{
    return number >= least && number <= (int64_t)FFT_ELEMENTS_MAX;
}

/* Of one side; halved: the last dimension has half of its elements, and one.  0: it can't be. */
static uint64_t reach(const FFTPlan *plan, const FFTSide *side, bool halved)
{
    unsigned __int128 last = 0, row = 1, all = 1;

    if (side->is_given && (!is_small(side->stride, 1) || !is_small(side->distance, 0))) {
        return 0;
    }
    for (unsigned i = plan->rank; i-- > 0;) {
        uint64_t length = (uint64_t)plan->n[i];

        length = halved && i == plan->rank - 1 ? length / 2 + 1 : length;
        if (side->is_given && !is_small(side->embed[i], 1)) {
            return 0;
        }
        last += (length - 1) * row;
        row *= side->is_given ? (uint64_t)side->embed[i] : 1;
        all *= length;
        if (last > FFT_ELEMENTS_MAX || row > FFT_ELEMENTS_MAX || all > FFT_ELEMENTS_MAX) {
            return 0;
        }
    }
    if (side->is_given) {
        last = last * (uint64_t)side->stride +
               (unsigned __int128)(uint64_t)(plan->batch - 1) * (uint64_t)side->distance;
    } else {
        last = all * (uint64_t)plan->batch - 1;
    }
    return last > FFT_ELEMENTS_MAX ? 0 : ((uint64_t)last + 1) * fft_type_bytes(side->type);
}

static int judge(const FFTPlan *plan, struct fft *fft)
{
    bool in_real = fft_is_real(plan->in.type), out_real = fft_is_real(plan->out.type);

    if (plan->rank < 1 || plan->rank > FFT_RANK_MAX || !is_small(plan->batch, 1)) {
        return FFT_INVALID_SIZE;
    }
    for (unsigned i = 0; i < plan->rank; i++) {
        if (!is_small(plan->n[i], 1)) {
            return FFT_INVALID_SIZE;
        }
    }
    if (!fft_type_bytes(plan->in.type) || !fft_type_bytes(plan->out.type) ||
        !fft_type_bytes(plan->execution_type) || (in_real && out_real)) {
        return FFT_INVALID_TYPE;
    }
    fft->in_bytes = reach(plan, &plan->in, out_real);
    fft->out_bytes = reach(plan, &plan->out, in_real);
    return fft->in_bytes && fft->out_bytes ? FFT_SUCCESS : FFT_INVALID_SIZE;
}

/* ---- plans ---- */

static int make(const FFTPlan *wanted, struct fft *fft)
{
    FFTPlan plan = *wanted; /* the library takes its arrays without const */
    size_t work_bytes = 0;
    int status = library.Create(&fft->real);

    if (status) {
        return status;
    }
    status = library.SetAutoAllocation(fft->real, 0);
    if (status == FFT_SUCCESS) {
        status = library.XtMakePlanMany(
            fft->real, (int)plan.rank, (long long *)plan.n,
            plan.in.is_given ? (long long *)plan.in.embed : NULL, plan.in.stride, plan.in.distance,
            plan.in.type, plan.out.is_given ? (long long *)plan.out.embed : NULL, plan.out.stride,
            plan.out.distance, plan.out.type, plan.batch, &work_bytes, plan.execution_type);
    }
    fft->work_bytes = work_bytes;
    if (status) {
        library.Destroy(fft->real);
    }
    return status;
}

CUresult driver_run_fft_plan(struct driver_call *call)
{
    struct fft *made;
    FFTPlan plan;
    int status;

    if (call->arg_count < 1 || call->payload_bytes != sizeof(plan) ||
        !driver_handle_free(call, call->args[0], CUDA_KIND_FFT)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!library_is_there()) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    memcpy(&plan, call->payload, sizeof(plan));
    made = call->channel->fft_plans < FFT_PLANS_MAX ? calloc(1, sizeof(*made)) : NULL;
    if (!made) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    status = judge(&plan, made);
    status = status ? status : make(&plan, made);
    call->out[0] = (uint64_t)status;
    call->out[1] = made->work_bytes;
    call->out_count = 2;
    if (status) {
        free(made);
        return CUDA_SUCCESS;
    }
    if (!driver_handle_made(call, call->args[0], CUDA_KIND_FFT, made, CUDA_SUCCESS)) {
        library.Destroy(made->real);
        free(made);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

static void end(struct fft *fft)
{
    library.Destroy(fft->real);
    free(fft);
}

CUresult driver_run_fft_end(struct driver_call *call)
{
    struct fft *fft =
        call->arg_count > 0 ? driver_handle(call, call->args[0], CUDA_KIND_FFT) : NULL;

    if (!fft) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    end(fft);
    driver_handle_end(call, call->args[0], CUDA_SUCCESS);
    return CUDA_SUCCESS;
}

void fft_plans_end(struct driver_channel *channel, uint32_t context)
{
    for (uint32_t i = CUDA_CONTEXTS_MAX; i < channel->entry_room; i++) {
        struct driver_entry *entry = &channel->entries[i];

        if (entry->context == context && entry->real &&
            vgpu_handle_kind(entry->handle) == CUDA_KIND_FFT) {
            end(entry->real);
            entry->real = NULL; /* the entry goes with its context, in a moment */
        }
    }
}

/* ---- executions ---- */

static int run(struct driver_call *call, struct fft *fft)
{
    uint64_t in = call->args[2], out = call->args[3], work = call->args[4];
    int direction = (int)(int64_t)call->args[5], status = FFT_SUCCESS;
    CUstream stream = NULL;

    if ((direction != 1 && direction != -1) || !driver_stream(call, call->args[1], &stream) ||
        !driver_range_ok(call, in, fft->in_bytes) || !driver_range_ok(call, out, fft->out_bytes) ||
        (fft->work_bytes && !driver_range_ok(call, work, fft->work_bytes))) {
        return FFT_INVALID_VALUE;
    }
    if (stream != fft->stream) {
        status = library.SetStream(fft->real, stream);
    }
    if (status == FFT_SUCCESS && fft->work_bytes && work != fft->work) {
        status = library.SetWorkArea(fft->real, pointer(work));
    }
    if (status) {
        return status;
    }
    fft->stream = stream;
    fft->work = work;
    return library.XtExec(fft->real, pointer(in), pointer(out), direction);
}

CUresult driver_run_fft_exec(struct driver_call *call)
{
    struct fft *fft =
        call->arg_count > 5 ? driver_handle(call, call->args[0], CUDA_KIND_FFT) : NULL;

    return fft ? library_answer(call, "cuFFT", run(call, fft)) : CUDA_ERROR_INVALID_HANDLE;
}
