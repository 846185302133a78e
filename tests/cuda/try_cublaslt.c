/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cuBLASLt: linear layers as PyTorch asks for them, descriptors, and algorithms. */
#include <math.h>
#include <string.h>

#include "tests/cuda/try_cublas.h"

#define ROWS 24
#define COLS 16
#define INNER 32
#define WORKSPACE (1u << 20)
#define RESULT_BYTES 96u /* of cublasLtMatmulHeuristicResult_t */
#define ALGO_BYTES 64u

enum { COMPUTE_FLOAT = 68, FLOAT = 0, TRANSA = 3, EPILOGUE = 7, BIAS = 8, EPILOGUE_BIAS = 4 };

struct problem {
    void *desc, *a, *b, *d, *preference;
    float *ga, *gb, *gd, *bias;
    void *workspace;
};

/* d = a^T b + bias: each column gets the bias. */
static void make(struct problem *p, const float *a, const float *b, const float *bias)
{
    const int transposed = 1;
    const unsigned epilogue = EPILOGUE_BIAS;
    const uint64_t workspace = WORKSPACE;
    static const float nothing[ROWS * COLS];

    p->ga = on_gpu(a, INNER * ROWS);
    p->gb = on_gpu(b, INNER * COLS);
    p->gd = on_gpu(nothing, ROWS * COLS);
    p->bias = on_gpu(bias, ROWS);
    OK(cudaMalloc(&p->workspace, WORKSPACE));
    OK(cublasLtMatmulDescCreate(&p->desc, COMPUTE_FLOAT, FLOAT));
    OK(cublasLtMatmulDescSetAttribute(p->desc, TRANSA, &transposed, sizeof(transposed)));
    OK(cublasLtMatmulDescSetAttribute(p->desc, EPILOGUE, &epilogue, sizeof(epilogue)));
    OK(cublasLtMatmulDescSetAttribute(p->desc, BIAS, &p->bias, sizeof(p->bias)));
    OK(cublasLtMatrixLayoutCreate(&p->a, FLOAT, INNER, ROWS, INNER));
    OK(cublasLtMatrixLayoutCreate(&p->b, FLOAT, INNER, COLS, INNER));
    OK(cublasLtMatrixLayoutCreate(&p->d, FLOAT, ROWS, COLS, ROWS));
    OK(cublasLtMatmulPreferenceCreate(&p->preference));
    OK(cublasLtMatmulPreferenceSetAttribute(p->preference, 1, &workspace, sizeof(workspace)));
}

static void drop(struct problem *p)
{
    OK(cublasLtMatmulPreferenceDestroy(p->preference));
    OK(cublasLtMatrixLayoutDestroy(p->d));
    OK(cublasLtMatrixLayoutDestroy(p->b));
    OK(cublasLtMatrixLayoutDestroy(p->a));
    OK(cublasLtMatmulDescDestroy(p->desc));
    OK(cudaFree(p->workspace));
    OK(cudaFree(p->bias));
    OK(cudaFree(p->gd));
    OK(cudaFree(p->gb));
    OK(cudaFree(p->ga));
}

static int ask(struct blas_handle *handle, const struct problem *p, void *results, int wanted,
               int *count)
{
    return cublasLtMatmulAlgoGetHeuristic(handle, p->desc, p->a, p->b, p->d, p->d, p->preference,
                                          wanted, results, count);
}

static int product(struct blas_handle *handle, const struct problem *p, const void *algo,
                   cudaStream_t stream)
{
    const float one = 1, zero = 0;

    return cublasLtMatmul(handle, p->desc, &one, p->ga, p->a, p->gb, p->b, &zero, p->gd, p->d,
                          p->gd, p->d, algo, p->workspace, WORKSPACE, stream);
}

static void expect_result(const struct problem *p, const float *a, const float *b,
                          const float *bias)
{
    static float d[ROWS * COLS];
    unsigned off = 0;

    OK(cudaMemcpy(d, p->gd, sizeof(d), cudaMemcpyDeviceToHost));
    for (unsigned j = 0; j < COLS; j++) {
        for (unsigned i = 0; i < ROWS; i++) {
            float sum = bias[i];

            for (unsigned l = 0; l < INNER; l++) {
                sum += a[i * INNER + l] * b[j * INNER + l];
            }
            off += fabsf(d[j * ROWS + i] - sum) > 0.05f;
        }
    }
    expect("a linear layer", (int)off, 0);
}

/* They hold no addresses of the program: copies of their bytes are descriptors. */
static void try_descriptors(const struct problem *p)
{
    uint64_t copy[8], rows = 0;
    int mode = 9;
    size_t written = 0;

    memcpy(copy, p->d, sizeof(copy));
    OK(cublasLtMatrixLayoutGetAttribute(copy, 2, &rows, sizeof(rows), &written));
    TRUE(rows == ROWS && written == sizeof(rows));
    OK(cublasLtMatmulDescGetAttribute(p->desc, 2, NULL, 0, &written));
    TRUE(written == sizeof(mode));
    OK(cublasLtMatmulDescGetAttribute(p->desc, 2, &mode, sizeof(mode), NULL));
    TRUE(mode == 0);
    GIVES(BLAS_INVALID_VALUE, cublasLtMatmulDescSetAttribute(p->desc, 2, &mode, 2));
    GIVES(BLAS_INVALID_VALUE, cublasLtMatmulDescSetAttribute(p->desc, 99, &mode, sizeof(mode)));
    OK(cublasLtMatrixLayoutInit_internal(copy, sizeof(copy), FLOAT, 3, 5, 7));
    OK(cublasLtMatrixLayoutGetAttribute(copy, 4, &rows, sizeof(rows), NULL));
    TRUE(rows == 7);
    GIVES(BLAS_ALLOC_FAILED, cublasLtMatrixLayoutInit_internal(copy, 8, FLOAT, 3, 5, 7));
}

static void try_wrong(struct blas_handle *handle, struct problem *p, const uint8_t *results)
{
    uint64_t algo[ALGO_BYTES / 8];
    const void *const host = HOST;
    void *wide = NULL;
    int count = -1;

    GIVES(BLAS_INVALID_VALUE, ask(handle, p, (void *)results, 0, &count));
    if (IS_NATIVE) {
        return; /* the library believes all that follows */
    }
    GIVES(BLAS_NOT_INITIALIZED, product(NULL, p, NULL, NULL));
    memcpy(algo, results, sizeof(algo));
    algo[3] ^= 64;
    GIVES(BLAS_NOT_SUPPORTED, product(handle, p, algo, NULL)); /* not as it was handed out */
    OK(cublasLtMatmulDescSetAttribute(p->desc, BIAS, &host, sizeof(host)));
    GIVES(BLAS_INVALID_VALUE, product(handle, p, results, NULL));
    OK(cublasLtMatmulDescSetAttribute(p->desc, BIAS, &p->bias, sizeof(p->bias)));
    GIVES(BLAS_INVALID_VALUE, product(handle, p, results, (cudaStream_t)HOST));
    OK(cublasLtMatrixLayoutCreate(&wide, FLOAT, ROWS, COLS, ROWS + 4096));
    {
        struct problem outside = *p;

        outside.d = wide;
        GIVES(BLAS_INVALID_VALUE, product(handle, &outside, NULL, NULL));
    }
    OK(cublasLtMatrixLayoutDestroy(wide));
}

void try_cublaslt(struct blas_handle *handle)
{
    static float a[INNER * ROWS], b[INNER * COLS], bias[ROWS];
    uint8_t results[4 * RESULT_BYTES], again[4 * RESULT_BYTES];
    struct blas_handle *own = NULL;
    cudaStream_t stream = NULL;
    struct problem p;
    int count = 0, same = 0;

    fill(a, INNER * ROWS, 1);
    fill(b, INNER * COLS, 2);
    fill(bias, ROWS, 3);
    make(&p, a, b, bias);
    TRUE(cublasLtGetVersion() >= 130000);
    try_descriptors(&p);
    OK(ask(handle, &p, results, 4, &count));
    TRUE(count > 0);
    OK(ask(handle, &p, again, 4, &same)); /* the same answer, kept or not */
    TRUE(count == same && memcmp(results, again, (size_t)count * RESULT_BYTES) == 0);
    for (int i = 0; i < count * 2; i++) { /* each twice: the second is not asked for */
        OK(cudaMemset(p.gd, 0xff, ROWS * COLS * sizeof(float)));
        OK(product(handle, &p, results + (size_t)(i / 2) * RESULT_BYTES, NULL));
        expect_result(&p, a, b, bias);
    }
    OK(cudaStreamCreateWithFlags(&stream, 1));
    OK(product(handle, &p, NULL, stream)); /* the library looks for an algorithm itself */
    OK(cudaStreamSynchronize(stream));
    expect_result(&p, a, b, bias);
    try_wrong(handle, &p, results);
    OK(cublasLtCreate(&own));
    OK(product(own, &p, results, NULL));
    OK(cublasLtDestroy(own));
    OK(cudaStreamDestroy(stream));
    drop(&p);
}
