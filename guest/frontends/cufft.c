/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front end of cuFFT.  A cufftHandle is a number: a place in a table of this library.
 *
 * What a program sets before it makes a plan stays here.  The work area is always memory of the
 * program: where it does not bring its own, it is allocated here, when the plan is made, as the
 * library does.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda/fft.h"
#include "cufft_hand.h"
#include "guest/frontends/blas_call.h"

#define PLACES (FFT_PLANS_MAX + 1) /* 0 is no plan */
#define FORWARD (-1)
#define INVERSE 1

const char blas_library[] = "libcufft";

struct plan {
    uint64_t real; /* the worker's; 0: not made yet */
    bool exists, brings_work;
    CUstream stream;
    CUdeviceptr work, own; /* own: allocated here; 0: none */
    size_t work_bytes;
    int in_type, out_type;
};

static struct plan plans[PLACES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of plans[].exists */

/* ---- handles ---- */

static struct plan *plan_of(int handle)
{
    struct plan *plan = handle > 0 && handle < (int)PLACES ? &plans[handle] : NULL;

    return plan && __atomic_load_n(&plan->exists, __ATOMIC_ACQUIRE) ? plan : NULL;
}

static int status_of(CUresult result)
{
    return result == CUDA_SUCCESS               ? FFT_SUCCESS
           : result == CUDA_ERROR_OUT_OF_MEMORY ? FFT_ALLOC_FAILED
           : result == CUDA_ERROR_NOT_SUPPORTED ? FFT_SETUP_FAILED /* the host has none */
                                                : FFT_EXEC_FAILED;
}

static int open_call(struct cuda_call *call, uint16_t op)
{
    CUresult result;

    if (!blas_has_driver() && !blas_prepare()) {
        return FFT_SETUP_FAILED;
    }
    result = blas_driver->begin(call, op, CUDA_NEEDS_CONTEXT);
    if (result == CUDA_ERROR_INVALID_CONTEXT && blas_prepare()) { /* the thread's first call */
        result = blas_driver->begin(call, op, CUDA_NEEDS_CONTEXT);
    }
    return status_of(result);
}

int cufftCreate(void *handle)
{
    int found = 0;

    if (!handle) {
        return FFT_INVALID_VALUE;
    }
    if (!blas_has_driver() && !blas_prepare()) {
        return FFT_SETUP_FAILED;
    }
    pthread_mutex_lock(&lock);
    for (int i = 1; i < (int)PLACES && !found; i++) {
        if (!plans[i].exists) {
            plans[i] = (struct plan){.real = 0};
            __atomic_store_n(&plans[i].exists, true, __ATOMIC_RELEASE);
            found = i;
        }
    }
    pthread_mutex_unlock(&lock);
    if (found) {
        memcpy(handle, &found, sizeof(found));
    }
    return found ? FFT_SUCCESS : FFT_ALLOC_FAILED;
}

static void end_real(struct plan *plan)
{
    const struct cuda_object *object;
    struct cuda_call call;
    CUresult result;

    object = plan->real ? blas_driver->object(plan->real, CUDA_KIND_FFT) : NULL;
    if (object && blas_driver->begin(&call, CUDA_OP_FFT_END, 0) == CUDA_SUCCESS) {
        call.context = object->context; /* it ends in its own, whichever is current */
        call.head.record.context = (uint16_t)vgpu_handle_index(object->context->handle);
        cuda_add(&call, plan->real);
        result = blas_driver->ask(&call);
        blas_driver->object_end(plan->real, result);
    }
    if (plan->own) {
        blas_cuda.cuMemFree(plan->own);
    }
    plan->real = 0;
    plan->own = 0;
}

int cufftDestroy(int plan)
{
    struct plan *found = plan_of(plan);

    if (!found) {
        return FFT_INVALID_PLAN;
    }
    end_real(found);
    __atomic_store_n(&found->exists, false, __ATOMIC_RELEASE);
    return FFT_SUCCESS;
}

/* ---- settings ---- */

int cufftSetAutoAllocation(int plan, int autoAllocate)
{
    struct plan *found = plan_of(plan);

    if (!found || found->real) {
        return FFT_INVALID_PLAN; /* it is too late */
    }
    found->brings_work = !autoAllocate;
    return FFT_SUCCESS;
}

int cufftSetStream(int plan, CUstream stream)
{
    struct plan *found = plan_of(plan);

    if (!found) {
        return FFT_INVALID_PLAN;
    }
    if (!blas_stream_lives(stream)) {
        return FFT_INVALID_VALUE;
    }
    found->stream = stream;
    return FFT_SUCCESS;
}

int cufftSetWorkArea(int plan, void *workArea)
{
    struct plan *found = plan_of(plan);

    if (!found) {
        return FFT_INVALID_PLAN;
    }
    if (found->own) {
        blas_cuda.cuMemFree(found->own);
        found->own = 0;
    }
    found->work = (CUdeviceptr)(uintptr_t)workArea;
    return FFT_SUCCESS;
}

int cufftGetSize(int handle, size_t *workSize)
{
    const struct plan *found = plan_of(handle);

    if (!found || !workSize) {
        return found ? FFT_INVALID_VALUE : FFT_INVALID_PLAN;
    }
    *workSize = found->work_bytes;
    return FFT_SUCCESS;
}

/* ---- making plans ---- */

static void say_none(void)
{
    static bool said;

    if (!__atomic_exchange_n(&said, true, __ATOMIC_RELAXED)) {
        blas_say("the host has no cuFFT 12: its administrator can install it (libcufft-13-0)");
    }
}

static int make(int handle, const FFTPlan *wanted, size_t *work_bytes)
{
    struct plan *plan = plan_of(handle);
    struct cuda_call call;
    CUresult result;
    int status;

    if (!plan || plan->real) {
        return FFT_INVALID_PLAN;
    }
    status = open_call(&call, CUDA_OP_FFT_PLAN);
    if (status) {
        return status;
    }
    cuda_add(&call, blas_driver->object_new(&call, CUDA_KIND_FFT));
    blas_driver->add_bytes(&call, wanted, sizeof(*wanted));
    result = blas_driver->ask(&call);
    status = result ? status_of(result) : (int)call.out[0];
    blas_driver->object_made(&call, status ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS, &plan->real);
    if (status) {
        plan->real = 0;
        if (result == CUDA_ERROR_NOT_SUPPORTED) {
            say_none();
        }
        return status;
    }
    plan->work_bytes = (size_t)call.out[1];
    plan->in_type = wanted->in.type;
    plan->out_type = wanted->out.type;
    if (plan->work_bytes && !plan->brings_work) {
        if (blas_cuda.cuMemAlloc(&plan->own, plan->work_bytes) != CUDA_SUCCESS) {
            plan->own = 0;
            end_real(plan);
            return FFT_ALLOC_FAILED;
        }
        plan->work = plan->own;
    }
    if (work_bytes) {
        *work_bytes = plan->work_bytes;
    }
    return FFT_SUCCESS;
}

static FFTSide side_of(int rank, const long long *embed, long long stride, long long distance,
                       int type)
{
    FFTSide side = {.type = type};

    if (embed) {
        side.is_given = 1;
        side.stride = stride;
        side.distance = distance;
        for (int i = 0; i < rank; i++) {
            side.embed[i] = embed[i];
        }
    }
    return side;
}

int cufftXtMakePlanMany(int plan, int rank, void *n, void *inembed, long long istride,
                        long long idist, int inputtype, void *onembed, long long ostride,
                        long long odist, int outputtype, long long batch, size_t *workSize,
                        int executiontype)
{
    FFTPlan wanted = {.batch = batch, .execution_type = executiontype};
    const long long *lengths = n;

    if (rank < 1 || rank > (int)FFT_RANK_MAX || !n) {
        return plan_of(plan) ? FFT_INVALID_SIZE : FFT_INVALID_PLAN;
    }
    wanted.rank = (uint32_t)rank;
    for (int i = 0; i < rank; i++) {
        wanted.n[i] = lengths[i];
    }
    wanted.in = side_of(rank, inembed, istride, idist, inputtype);
    wanted.out = side_of(rank, onembed, ostride, odist, outputtype);
    return make(plan, &wanted, workSize);
}

/* Both sides of a cufftType; false: there is no such. */
static bool types_of(int type, int *in, int *out)
{
    static const struct {
        int type, in, out;
    } rows[] = {
        {0x2a, FFT_REAL_32, FFT_COMPLEX_32},    {0x2c, FFT_COMPLEX_32, FFT_REAL_32},
        {0x29, FFT_COMPLEX_32, FFT_COMPLEX_32}, {0x6a, FFT_REAL_64, FFT_COMPLEX_64},
        {0x6c, FFT_COMPLEX_64, FFT_REAL_64},    {0x69, FFT_COMPLEX_64, FFT_COMPLEX_64},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].type == type) {
            *in = rows[i].in;
            *out = rows[i].out;
            return true;
        }
    }
    return false;
}

int cufftMakePlanMany64(int plan, int rank, void *n, void *inembed, long long istride,
                        long long idist, void *onembed, long long ostride, long long odist,
                        int type, long long batch, size_t *workSize)
{
    int in, out;

    if (!types_of(type, &in, &out)) {
        return plan_of(plan) ? FFT_INVALID_TYPE : FFT_INVALID_PLAN;
    }
    return cufftXtMakePlanMany(
        plan, rank, n, inembed, istride, idist, in, onembed, ostride, odist, out, batch, workSize,
        in == FFT_REAL_64 || in == FFT_COMPLEX_64 ? FFT_COMPLEX_64 : FFT_COMPLEX_32);
}

/* In long numbers; NULL stays so. */
static long long *longer(int rank, const int *from, long long *to)
{
    for (int i = 0; from && i < rank && i < (int)FFT_RANK_MAX; i++) {
        to[i] = from[i];
    }
    return from ? to : NULL;
}

int cufftMakePlanMany(int plan, int rank, int *n, int *inembed, int istride, int idist,
                      int *onembed, int ostride, int odist, int type, int batch, size_t *workSize)
{
    long long lengths[FFT_RANK_MAX], in[FFT_RANK_MAX], out[FFT_RANK_MAX];

    return cufftMakePlanMany64(plan, rank, longer(rank, n, lengths), longer(rank, inembed, in),
                               istride, idist, longer(rank, onembed, out), ostride, odist, type,
                               batch, workSize);
}

int cufftMakePlan1d(int plan, int nx, int type, int batch, size_t *workSize)
{
    int n[FFT_RANK_MAX] = {nx};

    return cufftMakePlanMany(plan, 1, n, NULL, 1, 0, NULL, 1, 0, type, batch, workSize);
}

int cufftMakePlan2d(int plan, int nx, int ny, int type, size_t *workSize)
{
    int n[] = {nx, ny};

    return cufftMakePlanMany(plan, 2, n, NULL, 1, 0, NULL, 1, 0, type, 1, workSize);
}

int cufftMakePlan3d(int plan, int nx, int ny, int nz, int type, size_t *workSize)
{
    int n[] = {nx, ny, nz};

    return cufftMakePlanMany(plan, 3, n, NULL, 1, 0, NULL, 1, 0, type, 1, workSize);
}

int cufftPlanMany(void *plan, int rank, int *n, int *inembed, int istride, int idist, int *onembed,
                  int ostride, int odist, int type, int batch)
{
    int made = 0, status = cufftCreate(plan ? &made : NULL);

    if (status || !plan) {
        return status; /* without a place for the plan it has failed */
    }
    status = cufftMakePlanMany(made, rank, n, inembed, istride, idist, onembed, ostride, odist,
                               type, batch, NULL);
    if (status) {
        cufftDestroy(made);
        return status;
    }
    memcpy(plan, &made, sizeof(made));
    return FFT_SUCCESS;
}

int cufftPlan1d(void *plan, int nx, int type, int batch)
{
    int n[FFT_RANK_MAX] = {nx};

    return cufftPlanMany(plan, 1, n, NULL, 1, 0, NULL, 1, 0, type, batch);
}

int cufftPlan2d(void *plan, int nx, int ny, int type)
{
    int n[] = {nx, ny};

    return cufftPlanMany(plan, 2, n, NULL, 1, 0, NULL, 1, 0, type, 1);
}

int cufftPlan3d(void *plan, int nx, int ny, int nz, int type)
{
    int n[] = {nx, ny, nz};

    return cufftPlanMany(plan, 3, n, NULL, 1, 0, NULL, 1, 0, type, 1);
}

/* ---- transforms ---- */

int cufftXtExec(int plan, void *input, void *output, int direction)
{
    const struct plan *found = plan_of(plan);
    uint64_t in = (uint64_t)(uintptr_t)input, out = (uint64_t)(uintptr_t)output, key;
    struct cuda_call call;
    CUresult result;
    int status;

    if (!found || !found->real) {
        return FFT_INVALID_PLAN;
    }
    if (!input || !output || (direction != FORWARD && direction != INVERSE)) {
        return FFT_INVALID_VALUE;
    }
    status = open_call(&call, CUDA_OP_FFT_EXEC);
    if (status) {
        return status;
    }
    cuda_add(&call, found->real);
    cuda_add(&call, (uint64_t)(uintptr_t)found->stream);
    cuda_add(&call, in);
    cuda_add(&call, out);
    cuda_add(&call, found->work);
    cuda_add(&call, (uint64_t)(int64_t)direction);
    key = blas_mix(found->real, in % BLAS_KEY_ALIGN);
    key = blas_mix(key, out % BLAS_KEY_ALIGN << 1 | (in == out));
    key = blas_mix(key, (uint64_t)(uintptr_t)found->stream);
    key = blas_mix(key, direction == FORWARD);
    if (blas_is_known(key)) {
        return status_of(blas_driver->forget(&call));
    }
    result = blas_settle(found->stream);
    result = result ? result : blas_driver->ask(&call);
    status = result ? status_of(result) : (int)call.out[0];
    if (status == FFT_SUCCESS) {
        blas_is_known_now(key);
    }
    return status;
}

/* Of plans of these types only. */
static int execute(int plan, int in_type, int out_type, void *in, void *out, int direction)
{
    const struct plan *found = plan_of(plan);

    if (found && (found->in_type != in_type || found->out_type != out_type)) {
        return FFT_INVALID_PLAN;
    }
    return cufftXtExec(plan, in, out, direction);
}

int cufftExecC2C(int plan, void *idata, void *odata, int direction)
{
    return execute(plan, FFT_COMPLEX_32, FFT_COMPLEX_32, idata, odata, direction);
}

int cufftExecZ2Z(int plan, void *idata, void *odata, int direction)
{
    return execute(plan, FFT_COMPLEX_64, FFT_COMPLEX_64, idata, odata, direction);
}

int cufftExecR2C(int plan, void *idata, void *odata)
{
    return execute(plan, FFT_REAL_32, FFT_COMPLEX_32, idata, odata, FORWARD);
}

int cufftExecD2Z(int plan, void *idata, void *odata)
{
    return execute(plan, FFT_REAL_64, FFT_COMPLEX_64, idata, odata, FORWARD);
}

int cufftExecC2R(int plan, void *idata, void *odata)
{
    return execute(plan, FFT_COMPLEX_32, FFT_REAL_32, idata, odata, INVERSE);
}

int cufftExecZ2D(int plan, void *idata, void *odata)
{
    return execute(plan, FFT_COMPLEX_64, FFT_REAL_64, idata, odata, INVERSE);
}
