/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program on cuBLAS and the CUDA runtime that checks every value that comes back.  It runs
 * unchanged natively and through us.  Exit status: 0 all well, 1 something is wrong.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/cuda/try_cublas.h"

#define M 19
#define N 23
#define K 17
#define BATCH 3
#define HANDLES 65 /* one more than a process may have through us */

unsigned wrong;
static struct blas_handle *shared; /* with a thread */

int cublasGemmGroupedBatchedEx(void); /* not built */

void expect(const char *what, int got, int wanted)
{
    if (got != wanted) {
        printf("%s: %d in place of %d\n", what, got, wanted);
        wrong++;
    }
}

float *on_gpu(const float *host, unsigned count)
{
    float *memory = NULL;

    OK(cudaMalloc((void **)&memory, count * sizeof(*memory)));
    OK(cudaMemcpy(memory, host, count * sizeof(*memory), cudaMemcpyHostToDevice));
    return memory;
}

void fill(float *to, unsigned count, int seed)
{
    for (unsigned i = 0; i < count; i++) {
        to[i] = (float)((int)(i * 7u + (unsigned)seed) % 11 - 5);
    }
}

static float element(const float *x, int trans, int i, int j, int ld)
{
    return trans ? x[j + i * ld] : x[i + j * ld];
}

static void expect_product(const char *what, const float *c, const float *a, int transa, int lda,
                           const float *b, int transb, int ldb, float alpha)
{
    unsigned off = 0;

    for (int j = 0; j < N; j++) {
        for (int i = 0; i < M; i++) {
            float sum = 0;

            for (int l = 0; l < K; l++) {
                sum += element(a, transa, i, l, lda) * element(b, transb, l, j, ldb);
            }
            off += fabsf(c[i + j * M] - alpha * sum) > 0.01f;
        }
    }
    expect(what, (int)off, 0);
}

static void try_products(struct blas_handle *handle)
{
    static float a[M * K], b[K * N], c[M * N];
    const float one = 1, two = 2, zero = 0;
    float *da, *db, *dc, *scalars;

    fill(a, M * K, 1);
    fill(b, K * N, 3);
    da = on_gpu(a, M * K);
    db = on_gpu(b, K * N);
    dc = on_gpu(c, M * N);
    for (int round = 0; round < 3; round++) { /* the first is asked for, later ones are not */
        OK(cudaMemset(dc, 0xff, sizeof(c)));
        OK(cublasSgemm_v2(handle, 0, 0, M, N, K, &one, da, M, db, K, &zero, dc, M));
        OK(cudaMemcpy(c, dc, sizeof(c), cudaMemcpyDeviceToHost));
        expect_product("a product", c, a, 0, M, b, 0, K, 1);
    }
    OK(cublasSgemm_v2(handle, 1, 1, M, N, K, &two, da, K, db, N, &zero, dc, M));
    OK(cudaMemcpy(c, dc, sizeof(c), cudaMemcpyDeviceToHost));
    expect_product("transposed, twice", c, a, 1, K, b, 1, N, 2);
    OK(cublasGemmEx(handle, 0, 1, M, N, K, &one, da, 0, M, db, 0, N, &one, dc, 0, M, 68, -1));
    OK(cublasGemmEx(handle, 0, 1, M, N, K, &one, da, 0, M, db, 0, N, &zero, dc, 0, M, 68, -1));
    OK(cudaMemcpy(c, dc, sizeof(c), cudaMemcpyDeviceToHost));
    expect_product("GemmEx", c, a, 0, M, b, 1, N, 1);

    scalars = on_gpu((const float[]){2, 0}, 2);
    OK(cublasSetPointerMode_v2(handle, 1));
    OK(cublasSgemm_v2(handle, 0, 0, M, N, K, scalars, da, M, db, K, scalars + 1, dc, M));
    if (!IS_NATIVE) { /* the library would read what is there */
        GIVES(BLAS_INVALID_VALUE,
              cublasSgemm_v2(handle, 0, 0, M, N, K, HOST, da, M, db, K, scalars + 1, dc, M));
    }
    OK(cublasSetPointerMode_v2(handle, 0));
    OK(cudaMemcpy(c, dc, sizeof(c), cudaMemcpyDeviceToHost));
    expect_product("factors on the GPU", c, a, 0, M, b, 0, K, 2);
    OK(cudaFree(da));
    OK(cudaFree(db));
    OK(cudaFree(dc));
    OK(cudaFree(scalars));
}

static void try_batch(struct blas_handle *handle)
{
    static float a[BATCH * M * K], b[K * N], c[BATCH * M * N];
    const float one = 1, zero = 0;
    float *da, *db, *dc;

    fill(a, BATCH * M * K, 5);
    fill(b, K * N, 6);
    da = on_gpu(a, BATCH * M * K);
    db = on_gpu(b, K * N);
    dc = on_gpu(c, BATCH * M * N);
    OK(cublasSgemmStridedBatched(handle, 0, 0, M, N, K, &one, da, M, M * K, db, K, 0, &zero, dc, M,
                                 M * N, BATCH));
    OK(cudaMemcpy(c, dc, sizeof(c), cudaMemcpyDeviceToHost));
    for (int i = 0; i < BATCH; i++) {
        expect_product("one of a batch", c + i * M * N, a + i * M * K, 0, M, b, 0, K, 1);
    }
    if (!IS_NATIVE) { /* the library would read beyond them */
        GIVES(BLAS_INVALID_VALUE,
              cublasSgemmStridedBatched(handle, 0, 0, M, N, K, &one, da, M, M * K, db, K, K * N,
                                        &zero, dc, M, M * N, BATCH)); /* b is one matrix */
        GIVES(BLAS_INVALID_VALUE,
              cublasSgemmStridedBatched(handle, 0, 0, M, N, K, &one, da, M, INT64_MAX / 2, db, K, 0,
                                        &zero, dc, M, M * N, BATCH));
    }
    OK(cudaFree(da));
    OK(cudaFree(db));
    OK(cudaFree(dc));
}

/* In a stream's order, after what comes before and before what comes after. */
static void try_stream(struct blas_handle *handle)
{
    float x[4] = {1, 2, 3, 4}, y[4] = {0}, *dx = on_gpu(x, 4), *dy = on_gpu(y, 4);
    const float three = 3, half = 0.5f;
    cudaStream_t stream = NULL, got = NULL;
    void *workspace = NULL;

    OK(cudaStreamCreateWithFlags(&stream, 1));
    OK(cublasSetStream_v2(handle, stream));
    OK(cublasGetStream_v2(handle, &got));
    TRUE(got == stream);
    OK(cudaMalloc(&workspace, 1 << 16));
    OK(cublasSetWorkspace_v2(handle, workspace, 1 << 16));
    OK(cudaMemsetAsync(dy, 0, sizeof(y), stream));
    for (int i = 0; i < 10; i++) {
        OK(cublasSaxpy_v2(handle, 4, &three, dx, 1, dy, 1));
    }
    OK(cublasSscal_v2(handle, 4, &half, dy, 1));
    OK(cudaMemcpyAsync(y, dy, sizeof(y), cudaMemcpyDeviceToHost, stream));
    OK(cudaStreamSynchronize(stream));
    TRUE(y[0] == 15 && y[1] == 30 && y[2] == 45 && y[3] == 60);
    OK(cublasSetStream_v2(handle, NULL));
    OK(cudaFree(workspace));
    OK(cudaStreamDestroy(stream));
    OK(cudaFree(dx));
    OK(cudaFree(dy));
}

/* Results to the program, which waits for them, and to the GPU. */
static void try_results(struct blas_handle *handle)
{
    const float x[6] = {3, 0, -4, 0, 2, 0}, y[3] = {1, 2, 3};
    float *dx = on_gpu(x, 6), *dy = on_gpu(y, 3), *to = on_gpu(y, 1), value = 0, a = 3, b = 4, c, s;
    cudaStream_t stream = NULL;
    int place = -1;

    OK(cudaStreamCreateWithFlags(&stream, 1));
    for (int round = 0; round < 4; round++) {
        OK(cublasSetStream_v2(handle, round == 2 ? stream : NULL));
        OK(cublasSdot_v2(handle, 3, dx, 2, dy, 1, &value));
        TRUE(value == 3 - 8 + 6);
        OK(cublasSnrm2_v2(handle, 2, dx, 2, &value));
        TRUE(fabsf(value - 5) < 1e-5f);
        OK(cublasSasum_v2(handle, 3, dx, 2, &value));
        TRUE(value == 9);
        OK(cublasIsamax_v2(handle, 3, dx, 2, &place));
        TRUE(place == 2);
    }
    OK(cublasSetStream_v2(handle, NULL));
    OK(cublasSetPointerMode_v2(handle, 1));
    OK(cublasSdot_v2(handle, 3, dx, 2, dy, 1, to));
    OK(cublasSetPointerMode_v2(handle, 0));
    OK(cudaMemcpy(&value, to, sizeof(value), cudaMemcpyDeviceToHost));
    TRUE(value == 1);
    OK(cublasSrotg_v2(handle, &a, &b, &c, &s));
    TRUE(fabsf(a - 5) < 1e-5f && fabsf(c - 0.6f) < 1e-5f && fabsf(s - 0.8f) < 1e-5f);
    OK(cudaStreamDestroy(stream));
    OK(cudaFree(to));
    OK(cudaFree(dy));
    OK(cudaFree(dx));
}

static void try_copies(void)
{
    const float x[6] = {1, 2, 3, 4, 5, 6};
    float back[12] = {0}, *memory = on_gpu(back, 12);

    OK(cublasSetVector(3, sizeof(*x), x, 2, memory, 1));
    OK(cublasGetVector(3, sizeof(*x), memory, 1, back, 3));
    TRUE(back[0] == 1 && back[3] == 3 && back[6] == 5 && back[1] == 0);
    OK(cublasSetMatrix(2, 3, sizeof(*x), x, 2, memory, 4));
    OK(cublasGetMatrix(2, 3, sizeof(*x), memory, 4, back, 2));
    TRUE(memcmp(back, x, sizeof(x)) == 0);
    OK(cublasSetMatrixAsync(2, 3, sizeof(*x), x, 2, memory, 2, NULL));
    OK(cublasGetVectorAsync(6, sizeof(*x), memory, 1, back, 1, NULL));
    OK(cudaDeviceSynchronize());
    TRUE(memcmp(back, x, sizeof(x)) == 0);
    GIVES(BLAS_INVALID_VALUE, cublasSetVector(3, 0, x, 1, memory, 1));
    GIVES(BLAS_INVALID_VALUE, cublasSetMatrix(2, 3, sizeof(*x), x, 0, memory, 2));
    OK(cudaFree(memory));
}

/* Arrays of addresses, which lie on the GPU; and what is said of arguments to the program. */
static void try_arrays(struct blas_handle *handle)
{
    static float a[BATCH * M * K], b[K * N], c[BATCH * M * N];
    const float one = 1, zero = 0;
    float *da, *db, *dc, *at[3][BATCH], *arrays;
    int info = 99;

    fill(a, BATCH * M * K, 5);
    fill(b, K * N, 6);
    da = on_gpu(a, BATCH * M * K);
    db = on_gpu(b, K * N);
    dc = on_gpu(c, BATCH * M * N);
    for (int i = 0; i < BATCH; i++) {
        at[0][i] = da + i * M * K;
        at[1][i] = db;
        at[2][i] = dc + i * M * N;
    }
    arrays = on_gpu((const float *)at, sizeof(at) / sizeof(float));
    for (int round = 0; round < 2; round++) {
        OK(cublasSgemmBatched(handle, 0, 0, M, N, K, &one, arrays, M, arrays + BATCH * 2, K, &zero,
                              arrays + BATCH * 4, M, BATCH));
        OK(cudaMemcpy(c, dc, sizeof(c), cudaMemcpyDeviceToHost));
    }
    for (int i = 0; i < BATCH; i++) {
        expect_product("one of an array", c + i * M * N, a + i * M * K, 0, M, b, 0, K, 1);
    }
    GIVES(BLAS_INVALID_VALUE, cublasSgetrsBatched(handle, 0, 4, -1, arrays, 4, NULL,
                                                  arrays + BATCH * 2, 4, &info, BATCH));
    TRUE(info == -3);
    if (!IS_NATIVE) {
        GIVES(BLAS_INVALID_VALUE,
              cublasSgemmBatched(handle, 0, 0, M, N, K, &one, arrays, M, arrays + BATCH * 2, K,
                                 &zero, arrays + BATCH * 4, M, 100 * BATCH));
    }
    OK(cudaFree(arrays));
    OK(cudaFree(dc));
    OK(cudaFree(db));
    OK(cudaFree(da));
}

static void try_wrong(struct blas_handle *handle)
{
    float x[16] = {0}, *memory = on_gpu(x, 16), result;
    const float one = 1;
    int mode = 9;

    GIVES(BLAS_NOT_INITIALIZED, cublasSscal_v2(NULL, 4, &one, memory, 1));
    GIVES(BLAS_NOT_INITIALIZED, cublasDestroy_v2(NULL));
    GIVES(BLAS_INVALID_VALUE, cublasCreate_v2(NULL));
    GIVES(BLAS_INVALID_VALUE,
          cublasSgemm_v2(handle, 0, 0, -1, 2, 2, &one, memory, 2, memory, 2, &one, memory, 2));
    GIVES(BLAS_INVALID_VALUE, cublasSgemm_v2(handle, 0, 0, 4, 2, 2, &one, memory, 2, memory, 2,
                                             &one, memory, 4)); /* lda */
    GIVES(BLAS_INVALID_VALUE, cublasSetPointerMode_v2(handle, 5));
    GIVES(BLAS_NOT_SUPPORTED, cublasGemmEx(handle, 0, 0, 2, 2, 2, &one, memory, 0, 2, memory, 1, 2,
                                           &one, memory, 0, 2, 68, -1));
    GIVES(BLAS_INVALID_VALUE, cublasSetMathMode(handle, 0x100));
    OK(cublasSetMathMode(handle, 3 | BLAS_MATH_FLAGS));
    OK(cublasSetMathMode(handle, 0));
    OK(cublasGetPointerMode_v2(handle, &mode));
    expect("the pointer mode", mode, 0);
    GIVES(BLAS_INVALID_VALUE, cublasGetMathMode(handle, NULL));
    if (!IS_NATIVE) { /* natively these read and write other memory */
        GIVES(BLAS_INVALID_VALUE, cublasSscal_v2(handle, 4, NULL, memory, 1));
        GIVES(BLAS_INVALID_VALUE, cublasSetMathMode(handle, 5));
        GIVES(BLAS_INVALID_VALUE, cublasSscal_v2(handle, 17, &one, memory, 1));
        GIVES(BLAS_INVALID_VALUE, cublasSscal_v2(handle, 2, &one, memory, 16));
        GIVES(BLAS_INVALID_VALUE, cublasSscal_v2(handle, 4, &one, (float *)HOST, 1));
        GIVES(BLAS_NOT_SUPPORTED, cublasGemmGroupedBatchedEx());
        GIVES(BLAS_INVALID_VALUE, cublasSdot_v2(handle, 17, memory, 1, memory, 1, &result));
        OK(cublasSetPointerMode_v2(handle, 1));
        GIVES(BLAS_INVALID_VALUE, cublasSdot_v2(handle, 4, memory, 1, memory, 1, (void *)HOST));
        OK(cublasSetPointerMode_v2(handle, 0));
    }
    OK(cudaFree(memory));
}

/* Neither call has a context current: each makes the primary one so, as the library does. */
static void *product_in_thread(void *memory)
{
    const float half = 0.5f;

    OK(cublasSscal_v2(shared, 4, &half, memory, 1));
    return NULL;
}

static void *end_in_thread(void *memory)
{
    (void)memory;
    OK(cublasDestroy_v2(shared));
    return NULL;
}

static void try_threads(void)
{
    void *(*const works[])(void *) = {product_in_thread, end_in_thread};
    float x[4] = {2, 4, 6, 8}, *dx = on_gpu(x, 4);

    OK(cublasCreate_v2(&shared));
    for (unsigned i = 0; i < 2; i++) {
        pthread_t thread;

        OK(pthread_create(&thread, NULL, works[i], dx));
        OK(pthread_join(thread, NULL));
    }
    OK(cudaMemcpy(x, dx, sizeof(x), cudaMemcpyDeviceToHost));
    TRUE(x[0] == 1 && x[3] == 4);
    OK(cudaFree(dx));
}

/* More than a process may have here; all are given back. */
static void try_many(void)
{
    struct blas_handle *handles[HANDLES];
    unsigned count = 0;
    int status = BLAS_SUCCESS;

    while (count < HANDLES && (status = cublasCreate_v2(&handles[count])) == BLAS_SUCCESS) {
        count++;
    }
    expect("one handle too many", status, BLAS_ALLOC_FAILED);
    while (count-- > 0) {
        OK(cublasDestroy_v2(handles[count]));
    }
}

int main(void)
{
    struct blas_handle *handle = NULL, *other = NULL;
    int version = 0;

    setvbuf(stdout, NULL, _IOLBF, 0); /* a crash loses nothing */
    OK(cublasCreate_v2(&handle));
    if (!handle) {
        printf("cublas: %u wrong\n", wrong);
        return 1;
    }
    OK(cublasGetVersion_v2(handle, &version));
    TRUE(version >= 130000);
    TRUE(strcmp(cublasGetStatusName(7), "CUBLAS_STATUS_INVALID_VALUE") == 0);
    TRUE(strcmp(cublasGetStatusString(99), "unrecognized status") == 0);
    try_products(handle);
    try_batch(handle);
    try_stream(handle);
    try_results(handle);
    try_copies();
    try_arrays(handle);
    try_wrong(handle);
    try_cublaslt(handle);
    try_threads();
    if (!IS_NATIVE) {
        try_many();
    }
    OK(cublasCreate_v2(&other));
    try_products(other);
    OK(cublasDestroy_v2(other));
    try_products(handle);
    OK(cublasDestroy_v2(handle));
    printf("cublas: %u wrong\n", wrong);
    return wrong != 0;
}
