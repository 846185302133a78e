/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front end of cuBLASLt: handles, versions, and descriptors, which hold values alone and so
 * may be copied by the program.
 */
#include <stdlib.h>
#include <string.h>

#include "cublaslt_hand.h"
#include "guest/frontends/blas_call.h"
#include "guest/frontends/cublaslt.h"

#define CUDA_VERSION_OF_TABLE 13000
#define BLAS_VERSION_OF_TABLE 130000

const char blas_library[] = "libcublasLt";

BLAS_LT_TABLES;

#define ROWS(rows) rows, sizeof(rows) / sizeof((rows)[0])

/* ---- handles and versions ---- */

int cublasLtCreate(struct blas_handle **lightHandle)
{
    return blas_create(lightHandle, BLAS_KIND_LT);
}

int cublasLtDestroy(struct blas_handle *lightHandle)
{
    return blas_destroy(lightHandle);
}

/* The host's library is asked once.  Where there is none, this table's version is something that
 * programs can compare with; what they call then is refused. */
size_t cublasLtGetVersion(void)
{
    static size_t version; /* atomic */
    size_t known = __atomic_load_n(&version, __ATOMIC_RELAXED);
    struct blas_handle *own = NULL;

    if (known) {
        return known;
    }
    known = BLAS_VERSION_OF_TABLE;
    if (blas_create(&own, BLAS_KIND_LT) == BLAS_SUCCESS) {
        known = (size_t)own->version;
        blas_destroy(own);
        __atomic_store_n(&version, known, __ATOMIC_RELAXED);
    }
    return known;
}

size_t cublasLtGetCudartVersion(void)
{
    return CUDA_VERSION_OF_TABLE;
}

int cublasLtGetProperty(int type, int *value)
{
    size_t version;

    if (!value || type < 0 || type > 2) {
        return BLAS_INVALID_VALUE;
    }
    version = cublasLtGetVersion();
    *value = (int)(type == 0 ? version / 10000 : type == 1 ? version / 100 % 100 : version % 100);
    return BLAS_SUCCESS;
}

const char *cublasLtGetStatusName(int status)
{
    return blas_status_name(status);
}

const char *cublasLtGetStatusString(int status)
{
    return blas_status_text(status);
}

unsigned cublasLtDisableCpuInstructionsSetMask(unsigned mask)
{
    (void)mask; /* nothing is computed here */
    return 0;
}

/* ---- the log: the library works elsewhere, so there is none here ---- */

int cublasLtLoggerSetCallback(void *callback)
{
    (void)callback;
    return BLAS_SUCCESS;
}

int cublasLtLoggerSetFile(void *file)
{
    (void)file;
    return BLAS_SUCCESS;
}

int cublasLtLoggerOpenFile(const char *logFile)
{
    (void)logFile;
    return BLAS_SUCCESS;
}

int cublasLtLoggerSetLevel(int level)
{
    return level < 0 || level > 5 ? BLAS_INVALID_VALUE : BLAS_SUCCESS;
}

int cublasLtLoggerSetMask(int mask)
{
    return mask < 0 || mask > 31 ? BLAS_INVALID_VALUE : BLAS_SUCCESS;
}

int cublasLtLoggerForceDisable(void)
{
    return BLAS_SUCCESS;
}

/* ---- attributes ---- */

/* NULL: there is none of this number. */
static const struct blas_lt_attribute *row_of(const struct blas_lt_attribute *rows, size_t count,
                                              int number)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].number == number) {
            return &rows[i];
        }
    }
    return NULL;
}

static int set(void *descriptor, const struct blas_lt_attribute *row, const void *buf, size_t bytes)
{
    if (!row || !buf || bytes != row->bytes) {
        return BLAS_INVALID_VALUE;
    }
    memcpy((uint8_t *)descriptor + row->offset, buf, bytes);
    return BLAS_SUCCESS;
}

/* Without a buffer it says how long the value is. */
static int get(const void *descriptor, const struct blas_lt_attribute *row, void *buf, size_t bytes,
               size_t *written)
{
    if (!row || (bytes == 0 && !written) || (bytes != 0 && (!buf || bytes < row->bytes))) {
        return BLAS_INVALID_VALUE;
    }
    if (bytes) {
        memcpy(buf, (const uint8_t *)descriptor + row->offset, row->bytes);
    }
    if (written) {
        *written = row->bytes;
    }
    return BLAS_SUCCESS;
}

static int create(void **to, const void *content, size_t bytes, size_t room)
{
    void *made;

    if (!to) {
        return BLAS_INVALID_VALUE;
    }
    made = calloc(1, room);
    if (!made) {
        return BLAS_ALLOC_FAILED;
    }
    memcpy(made, content, bytes);
    *to = made;
    return BLAS_SUCCESS;
}

/* In memory of the program, of so many bytes. */
static int init(void *to, size_t room, const void *content, size_t bytes)
{
    if (!to) {
        return BLAS_INVALID_VALUE;
    }
    if (room < bytes) {
        return BLAS_ALLOC_FAILED;
    }
    memset(to, 0, room);
    memcpy(to, content, bytes);
    return BLAS_SUCCESS;
}

static int destroy(void *descriptor)
{
    free(descriptor);
    return BLAS_SUCCESS;
}

/* ---- what a product is ---- */

const BLASLtDesc *blas_lt_desc(const void *desc)
{
    const BLASLtDesc *found = desc;

    return found && found->mark == BLAS_LT_DESC_MARK ? found : NULL;
}

static BLASLtDesc new_desc(int compute_type, int scale_type)
{
    return (BLASLtDesc){.mark = BLAS_LT_DESC_MARK,
                        .compute_type = compute_type,
                        .scale_type = scale_type,
                        .fill_mode = BLAS_LT_FILL_FULL,
                        .epilogue = BLAS_LT_EPILOGUE_DEFAULT,
                        .aux_type = -1,
                        .bias_type = -1};
}

int cublasLtMatmulDescInit_internal(void *matmulDesc, size_t size, int computeType, int scaleType)
{
    const BLASLtDesc desc = new_desc(computeType, scaleType);

    return init(matmulDesc, size, &desc, sizeof(desc));
}

int cublasLtMatmulDescCreate(void **matmulDesc, int computeType, int scaleType)
{
    const BLASLtDesc desc = new_desc(computeType, scaleType);

    return create(matmulDesc, &desc, sizeof(desc), BLAS_LT_DESC_BYTES);
}

int cublasLtMatmulDescDestroy(void *matmulDesc)
{
    return destroy(matmulDesc);
}

int cublasLtMatmulDescSetAttribute(void *matmulDesc, int attr, const void *buf, size_t sizeInBytes)
{
    const struct blas_lt_attribute *row = row_of(ROWS(desc_rows), attr);
    int status =
        blas_lt_desc(matmulDesc) ? set(matmulDesc, row, buf, sizeInBytes) : BLAS_INVALID_VALUE;

    if (status == BLAS_SUCCESS) {
        ((BLASLtDesc *)matmulDesc)->set |= 1ull << (row - desc_rows);
    }
    return status;
}

int cublasLtMatmulDescGetAttribute(void *matmulDesc, int attr, void *buf, size_t sizeInBytes,
                                   size_t *sizeWritten)
{
    return blas_lt_desc(matmulDesc)
               ? get(matmulDesc, row_of(ROWS(desc_rows), attr), buf, sizeInBytes, sizeWritten)
               : BLAS_INVALID_VALUE;
}

/* ---- how a matrix lies ---- */

const BLASLtLayout *blas_lt_layout(const void *layout)
{
    const BLASLtLayout *found = layout;

    return found && found->mark == BLAS_LT_LAYOUT_MARK ? found : NULL;
}

static BLASLtLayout new_layout(int type, uint64_t rows, uint64_t cols, int64_t ld)
{
    return (BLASLtLayout){.mark = BLAS_LT_LAYOUT_MARK,
                          .type = (uint32_t)type,
                          .rows = rows,
                          .cols = cols,
                          .ld = ld,
                          .batch = 1};
}

int cublasLtMatrixLayoutInit_internal(void *matLayout, size_t size, int type, uint64_t rows,
                                      uint64_t cols, int64_t ld)
{
    const BLASLtLayout layout = new_layout(type, rows, cols, ld);

    return init(matLayout, size, &layout, sizeof(layout));
}

int cublasLtMatrixLayoutCreate(void **matLayout, int type, uint64_t rows, uint64_t cols, int64_t ld)
{
    const BLASLtLayout layout = new_layout(type, rows, cols, ld);

    return create(matLayout, &layout, sizeof(layout), BLAS_LT_SMALL_BYTES);
}

int cublasLtMatrixLayoutDestroy(void *matLayout)
{
    return destroy(matLayout);
}

int cublasLtMatrixLayoutSetAttribute(void *matLayout, int attr, const void *buf, size_t sizeInBytes)
{
    return blas_lt_layout(matLayout)
               ? set(matLayout, row_of(ROWS(layout_rows), attr), buf, sizeInBytes)
               : BLAS_INVALID_VALUE;
}

int cublasLtMatrixLayoutGetAttribute(void *matLayout, int attr, void *buf, size_t sizeInBytes,
                                     size_t *sizeWritten)
{
    return blas_lt_layout(matLayout)
               ? get(matLayout, row_of(ROWS(layout_rows), attr), buf, sizeInBytes, sizeWritten)
               : BLAS_INVALID_VALUE;
}

/* ---- what is looked for ---- */

const BLASLtPreference *blas_lt_preference(const void *preference)
{
    const BLASLtPreference *found = preference;

    return found && found->mark == BLAS_LT_PREFERENCE_MARK ? found : NULL;
}

static const BLASLtPreference new_preference = {
    .mark = BLAS_LT_PREFERENCE_MARK,
    .reduction = 7, /* any */
    .align_a = 256,
    .align_b = 256,
    .align_c = 256,
    .align_d = 256,
    .implementation = UINT64_MAX, /* any */
};

int cublasLtMatmulPreferenceInit_internal(void *pref, size_t size)
{
    return init(pref, size, &new_preference, sizeof(new_preference));
}

int cublasLtMatmulPreferenceCreate(void **pref)
{
    return create(pref, &new_preference, sizeof(new_preference), BLAS_LT_SMALL_BYTES);
}

int cublasLtMatmulPreferenceDestroy(void *pref)
{
    return destroy(pref);
}

int cublasLtMatmulPreferenceSetAttribute(void *pref, int attr, const void *buf, size_t sizeInBytes)
{
    return blas_lt_preference(pref)
               ? set(pref, row_of(ROWS(preference_rows), attr), buf, sizeInBytes)
               : BLAS_INVALID_VALUE;
}

int cublasLtMatmulPreferenceGetAttribute(void *pref, int attr, void *buf, size_t sizeInBytes,
                                         size_t *sizeWritten)
{
    return blas_lt_preference(pref)
               ? get(pref, row_of(ROWS(preference_rows), attr), buf, sizeInBytes, sizeWritten)
               : BLAS_INVALID_VALUE;
}
