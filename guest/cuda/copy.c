/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies between the host and the GPU.
 *
 * Ordinary memory never leaves the process by itself: its bytes travel in the record when they
 * are few, else through pieces of the arena.  A piece is used again when the record that reads
 * it is over, which the worker says by `retired` once the GPU has done with it.  Pinned memory
 * is copied by the GPU, in the stream's order.
 */
#include <string.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define INLINE UINT64_MAX /* in place of an offset in the arena: behind the arguments */

static pthread_mutex_t pieces_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t piece_given = PTHREAD_COND_INITIALIZER;
static struct {
    bool taken;
    uint64_t number; /* the record that used it last */
} pieces[CUDA_PIECES];

CUresult cuda_piece_take(unsigned *piece, bool has_others)
{
    uint64_t number;
    unsigned best;

    pthread_mutex_lock(&pieces_lock);
    for (;;) {
        best = CUDA_PIECES;
        for (unsigned i = 0; i < CUDA_PIECES; i++) {
            if (!pieces[i].taken &&
                (best == CUDA_PIECES || pieces[i].number < pieces[best].number)) {
                best = i;
            }
        }
        if (best < CUDA_PIECES) {
            break;
        }
        if (has_others) {
            pthread_mutex_unlock(&pieces_lock);
            return CUDA_ERROR_NOT_READY;
        }
        pthread_cond_wait(&piece_given, &pieces_lock);
    }
    pieces[best].taken = true;
    number = pieces[best].number;
    pthread_mutex_unlock(&pieces_lock);
    *piece = best;
    return cuda_wait_over(number);
}

void cuda_piece_give(unsigned piece, uint64_t number)
{
    pthread_mutex_lock(&pieces_lock);
    pieces[piece].taken = false;
    pieces[piece].number = number;
    pthread_cond_signal(&piece_given);
    pthread_mutex_unlock(&pieces_lock);
}

uint8_t *cuda_piece_bytes(unsigned piece)
{
    return cuda_process.arena + (uint64_t)piece * CUDA_PIECE_BYTES;
}

/* Is all of it pinned memory of ours? */
static bool is_pinned(const void *host, uint64_t bytes)
{
    struct cuda_range range;
    uint64_t address = (uint64_t)(uintptr_t)host;

    return cuda_range_find(address, &range) && range.kind == CUDA_RANGE_PINNED &&
           bytes <= range.bytes - (address - range.start);
}

/* ---- to the GPU ---- */

static CUresult send_in(struct cuda_call *call, CUdeviceptr dst, uint64_t bytes, CUstream stream,
                        int mode, uint64_t offset)
{
    call->head.arg_count = 0;
    cuda_add(call, dst);
    cuda_add(call, bytes);
    if (!cuda_add_stream(call, stream, mode)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    cuda_add(call, offset);
    /* A capture has no use for these bytes, which the call itself must say. */
    return cuda_captures() ? cuda_ask(call) : cuda_forget(call);
}

static CUresult copy_in(struct cuda_call *call, CUdeviceptr dst, const uint8_t *from,
                        uint64_t bytes, CUstream stream, int mode)
{
    CUresult result = CUDA_SUCCESS;

    if (bytes <= CUDA_INLINE_MAX) {
        cuda_add_bytes(call, from, (uint32_t)bytes);
        return send_in(call, dst, bytes, stream, mode, INLINE);
    }
    while (bytes > 0 && result == CUDA_SUCCESS) {
        uint64_t part = bytes < CUDA_PIECE_BYTES ? bytes : CUDA_PIECE_BYTES;
        unsigned piece;

        result = cuda_piece_take(&piece, false);
        if (result == CUDA_SUCCESS) {
            memcpy(cuda_piece_bytes(piece), from, part);
            call->number = 0;
            result = send_in(call, dst, part, stream, mode, (uint64_t)piece * CUDA_PIECE_BYTES);
        }
        cuda_piece_give(piece, call->number);
        dst += part;
        from += part;
        bytes -= part;
    }
    return result;
}

/* PINNED_IN and PINNED_OUT, of either direction. */
static CUresult copy_pinned(struct cuda_call *call, uint16_t op, uint64_t to, uint64_t from,
                            uint64_t bytes, CUstream stream, int mode, bool wait)
{
    call->head.record.op = op;
    cuda_add(call, to);
    cuda_add(call, from);
    cuda_add(call, bytes);
    if (!cuda_add_stream(call, stream, mode)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    return wait ? cuda_wait(call) : cuda_forget(call);
}

static CUresult to_gpu(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream, int mode,
                       bool wait)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_COPY_IN, CUDA_NEEDS_CONTEXT);

    if (result || bytes == 0) {
        return result;
    }
    if (!src || !cuda_range_ok(dst, bytes)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return is_pinned(src, bytes) ? copy_pinned(&call, CUDA_OP_PINNED_IN, dst,
                                               (uint64_t)(uintptr_t)src, bytes, stream, mode, wait)
                                 : copy_in(&call, dst, src, bytes, stream, mode);
}

/* ---- from the GPU ---- */

#define STREAMED 16u /* bytes of a store */

/*
 * Out of a piece, past the caches: a third faster than memcpy(), which reads each line of the
 * target before it writes it.  (The other way the GPU is to find the bytes in a cache.)
 */
static void copy_past_caches(uint8_t *to, const uint8_t *from, uint64_t bytes)
{
#if defined(__x86_64__)
    uint64_t head = (STREAMED - (uintptr_t)to % STREAMED) % STREAMED;

    if (bytes >= CUDA_PIECE_BYTES / 4) {
        memcpy(to, from, head);
        for (to += head, from += head, bytes -= head; bytes >= 4 * STREAMED;
             to += 4 * STREAMED, from += 4 * STREAMED, bytes -= 4 * STREAMED) {
            for (unsigned i = 0; i < 4; i++) { /* a whole line at a time */
                _mm_stream_si128((__m128i *)to + i, _mm_loadu_si128((const __m128i *)from + i));
            }
        }
        _mm_sfence();
    }
#endif
    memcpy(to, from, bytes);
}

/* A copy into a piece that is under way. */
struct flight {
    unsigned piece;
    uint64_t number;
    uint8_t *to;
    uint64_t bytes;
};

static CUresult land(struct flight *flight)
{
    CUresult result = cuda_wait_over(flight->number);

    if (result == CUDA_SUCCESS) {
        copy_past_caches(flight->to, cuda_piece_bytes(flight->piece), flight->bytes);
    }
    cuda_piece_give(flight->piece, flight->number);
    return result;
}

#define FLIGHTS 4u

static CUresult start_out(struct cuda_call *call, CUdeviceptr src, uint64_t bytes, CUstream stream,
                          int mode, unsigned piece, bool last)
{
    call->head.arg_count = 0;
    call->number = 0;
    cuda_add(call, src);
    cuda_add(call, bytes);
    if (!cuda_add_stream(call, stream, mode)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    cuda_add(call, (uint64_t)piece * CUDA_PIECE_BYTES);
    return last ? cuda_wait(call) : cuda_forget(call);
}

/* The last piece's answer comes when all are there, and has the error of any. */
static CUresult copy_out(struct cuda_call *call, uint8_t *to, CUdeviceptr src, uint64_t bytes,
                         CUstream stream, int mode)
{
    struct flight flights[FLIGHTS];
    unsigned first = 0, last = 0;
    CUresult result = CUDA_SUCCESS, landed;

    while (bytes > 0 && result == CUDA_SUCCESS) {
        uint64_t part = bytes < CUDA_PIECE_BYTES ? bytes : CUDA_PIECE_BYTES;
        struct flight *flight = &flights[last % FLIGHTS];

        if (last - first == FLIGHTS) {
            result = land(&flights[first++ % FLIGHTS]);
            continue;
        }
        result = cuda_piece_take(&flight->piece, first < last);
        if (result == CUDA_ERROR_NOT_READY) {
            result = land(&flights[first++ % FLIGHTS]);
            continue;
        }
        if (result == CUDA_SUCCESS) {
            result = start_out(call, src, part, stream, mode, flight->piece, part == bytes);
        }
        flight->number = call->number;
        flight->to = to;
        flight->bytes = part;
        last++;
        src += part;
        to += part;
        bytes -= part;
    }
    while (first < last) {
        landed = land(&flights[first++ % FLIGHTS]);
        result = result ? result : landed;
    }
    return result;
}

static CUresult from_gpu(void *dst, CUdeviceptr src, size_t bytes, CUstream stream, int mode,
                         bool wait)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_COPY_OUT, CUDA_NEEDS_CONTEXT);

    if (result || bytes == 0) {
        return result;
    }
    if (!dst || !cuda_range_ok(src, bytes)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return is_pinned(dst, bytes) ? copy_pinned(&call, CUDA_OP_PINNED_OUT, (uint64_t)(uintptr_t)dst,
                                               src, bytes, stream, mode, wait)
                                 : copy_out(&call, dst, src, bytes, stream, mode);
}

CUresult hand_cuMemcpyHtoD_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount,
                              int mode)
{
    return to_gpu(dstDevice, srcHost, ByteCount, NULL, mode, true);
}

CUresult hand_cuMemcpyDtoH_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, int mode)
{
    return from_gpu(dstHost, srcDevice, ByteCount, NULL, mode, true);
}

CUresult hand_cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount,
                                   CUstream hStream, int mode)
{
    return to_gpu(dstDevice, srcHost, ByteCount, hStream, mode, false);
}

CUresult hand_cuMemcpyDtoHAsync_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount,
                                   CUstream hStream, int mode)
{
    return from_gpu(dstHost, srcDevice, ByteCount, hStream, mode, false);
}

/* ---- by the addresses alone ---- */

static bool is_of_gpu(CUdeviceptr address)
{
    struct cuda_range range;

    return cuda_range_find(address, &range) && range.kind != CUDA_RANGE_PINNED;
}

static void *host(CUdeviceptr address)
{
    return (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr): it is no GPU's */
}

static CUresult within_gpu(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream,
                           int mode)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_cuMemcpyDtoDAsync_v2, CUDA_NEEDS_CONTEXT);

    if (result || bytes == 0) {
        return result;
    }
    if (!cuda_range_ok(dst, bytes) || !cuda_range_ok(src, bytes)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, dst);
    cuda_add(&call, src);
    cuda_add(&call, bytes);
    return cuda_add_stream(&call, stream, mode) ? cuda_forget(&call) : CUDA_ERROR_INVALID_HANDLE;
}

/* From host to host: what the stream has to do comes first. */
static CUresult within_host(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream,
                            int mode)
{
    CUresult result = hand_cuStreamSynchronize(stream, mode);

    if (result == CUDA_SUCCESS && bytes > 0) {
        if (!dst || !src) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        memmove(host(dst), host(src), bytes);
    }
    return result;
}

static CUresult by_addresses(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream,
                             int mode, bool wait)
{
    bool to = is_of_gpu(dst), from = is_of_gpu(src);

    if (to && from) {
        return within_gpu(dst, src, bytes, stream, mode);
    }
    if (to) {
        return to_gpu(dst, host(src), bytes, stream, mode, wait);
    }
    return from ? from_gpu(host(dst), src, bytes, stream, mode, wait)
                : within_host(dst, src, bytes, stream, mode);
}

CUresult hand_cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, int mode)
{
    return by_addresses(dst, src, ByteCount, NULL, mode, true);
}

CUresult hand_cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream,
                            int mode)
{
    return by_addresses(dst, src, ByteCount, hStream, mode, false);
}
