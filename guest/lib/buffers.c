/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Buffers of the GPU's memory and the operations on them, over a channel.
 *
 * Operations are posted and not waited for; vgpu_wait_posted() says whether all went well.
 * Uploads go through the arena in pieces: a piece is used again when the record that reads it
 * is over.  Downloads post a piece ahead of the one that they copy out.
 */
#include <string.h>

#include "channel.h"

static uint32_t post_bulk(struct vgpu *v, VGPUBulkRecord *bulk, uint16_t op, uint16_t flags)
{
    bulk->record.op = op;
    bulk->record.flags = flags;
    bulk->record.lane = CHANNEL_LANE_CALL;
    return vgpu_channel_post(v, &bulk->record, (const uint8_t *)bulk + sizeof(bulk->record),
                             sizeof(*bulk) - sizeof(bulk->record), CHANNEL_FOREVER);
}

/* Posts it and waits for its answer. */
static int call_bulk(struct vgpu *v, VGPUBulkRecord *bulk, uint16_t op)
{
    VGPUMailbox *mailbox;
    uint32_t code = post_bulk(v, bulk, op, VGPU_RECORD_ANSWER);

    if (code == VGPU_ERR_NONE) {
        code = vgpu_channel_wait_answer(v, &mailbox, CHANNEL_FOREVER);
    }
    if (code == VGPU_ERR_NONE) {
        code = VGPU_LOAD_RELAXED(&mailbox->status);
        if (code != VGPU_ERR_NONE) {
            code = vgpu_set_device_error(v, code);
        }
    }
    return vgpu_result_of(code);
}

int vgpu_buffer_new(struct vgpu *v, uint64_t bytes, uint64_t *buffer)
{
    struct channel_link *link = vgpu_channel_of(v);
    VGPUBulkRecord bulk = {.count = bytes};
    uint32_t index = 0;
    int result;

    *buffer = 0;
    if (!link) {
        return VGPU_FAILED;
    }
    while (index < VGPU_BUFFERS_MAX && link->buffers[index] != 0) {
        index++;
    }
    if (index == VGPU_BUFFERS_MAX || bytes == 0) {
        return vgpu_result_of(vgpu_set_error(
            v, VGPU_ERR_ARGUMENT, "a buffer has at least 1 byte, and a channel at most %u buffers",
            VGPU_BUFFERS_MAX));
    }
    bulk.target = vgpu_handle(VGPU_HANDLE_BUFFER, ++link->buffer_generation[index], index);
    result = call_bulk(v, &bulk, VGPU_BULK_ALLOC);
    if (result == VGPU_OK) {
        link->buffers[index] = bulk.target;
        link->buffer_count++;
        *buffer = bulk.target;
    }
    return result;
}

int vgpu_buffer_free(struct vgpu *v, uint64_t buffer)
{
    struct channel_link *link = vgpu_channel_of(v);
    VGPUBulkRecord bulk = {.target = buffer};

    if (!link) {
        return VGPU_FAILED;
    }
    if (vgpu_handle_index(buffer) < VGPU_BUFFERS_MAX &&
        link->buffers[vgpu_handle_index(buffer)] == buffer) {
        link->buffers[vgpu_handle_index(buffer)] = 0;
        link->buffer_count--;
    }
    return vgpu_result_of(post_bulk(v, &bulk, VGPU_BULK_FREE, 0));
}

static uint64_t piece_offset(const struct channel_link *link, unsigned piece)
{
    return link->layout.arena + (uint64_t)piece * CHANNEL_PIECE_BYTES;
}

/* The next piece of the arena, once nobody uses it any more. */
static uint32_t take_piece(struct vgpu *v, unsigned *piece)
{
    struct channel_link *link = v->link;

    *piece = link->next_piece;
    link->next_piece = (link->next_piece + 1) % CHANNEL_PIECES;
    return vgpu_channel_wait_over(v, link->piece_posted[*piece], CHANNEL_FOREVER);
}

/* A copy between a buffer and pinned memory: one record. */
static uint32_t post_pinned(struct vgpu *v, VGPUBulkRecord *bulk, uint16_t op, uint32_t chunk,
                            uint64_t bytes)
{
    bulk->chunk = chunk;
    bulk->count = bytes;
    return post_bulk(v, bulk, op, 0);
}

int vgpu_upload(struct vgpu *v, uint64_t buffer, uint64_t offset, const void *from, uint64_t bytes)
{
    struct channel_link *link = vgpu_channel_of(v);
    uint32_t code = VGPU_ERR_NONE, chunk;
    VGPUBulkRecord whole = {.target = buffer, .target_offset = offset};
    unsigned piece;

    if (!link) {
        return VGPU_FAILED;
    }
    chunk = vgpu_pinned_find(link, from, bytes, &whole.chunk_offset);
    if (chunk) {
        return vgpu_result_of(post_pinned(v, &whole, VGPU_BULK_UPLOAD, chunk, bytes));
    }
    for (uint64_t done = 0; done < bytes && code == VGPU_ERR_NONE; done += CHANNEL_PIECE_BYTES) {
        uint64_t left = bytes - done;
        VGPUBulkRecord bulk = {.target = buffer, .target_offset = offset + done};

        code = take_piece(v, &piece);
        if (code == VGPU_ERR_NONE) {
            bulk.count = left < CHANNEL_PIECE_BYTES ? left : CHANNEL_PIECE_BYTES;
            bulk.chunk_offset = piece_offset(link, piece);
            memcpy(link->chunk0 + bulk.chunk_offset, (const uint8_t *)from + done, bulk.count);
            code = post_bulk(v, &bulk, VGPU_BULK_UPLOAD, 0);
            link->piece_posted[piece] = link->posted;
        }
    }
    return vgpu_result_of(code);
}

/* What was posted and failed, as an error of this call. */
static uint32_t report_failed(struct vgpu *v)
{
    struct channel_link *link = v->link;
    uint32_t status = link->failed_status;

    if (link->failed_record == 0) {
        return VGPU_ERR_NONE;
    }
    link->failed_record = 0;
    return vgpu_set_device_error(v, status);
}

static uint32_t download_pinned(struct vgpu *v, VGPUBulkRecord *bulk, uint32_t chunk,
                                uint64_t bytes)
{
    struct channel_link *link = v->link;
    uint32_t code = post_pinned(v, bulk, VGPU_BULK_DOWNLOAD, chunk, bytes);

    if (code == VGPU_ERR_NONE) {
        code = vgpu_channel_wait_over(v, link->posted, CHANNEL_FOREVER);
    }
    return code == VGPU_ERR_NONE ? report_failed(v) : code;
}

int vgpu_download(struct vgpu *v, uint64_t buffer, uint64_t offset, void *to, uint64_t bytes)
{
    struct channel_link *link = vgpu_channel_of(v);
    uint64_t posted = 0, done = 0;
    uint64_t pieces[CHANNEL_PIECES];
    uint32_t code = VGPU_ERR_NONE, chunk;
    VGPUBulkRecord whole = {.a = buffer, .a_offset = offset};
    unsigned piece, first = 0, ahead = 0;

    if (!link) {
        return VGPU_FAILED;
    }
    chunk = vgpu_pinned_find(link, to, bytes, &whole.chunk_offset);
    if (chunk) {
        return vgpu_result_of(download_pinned(v, &whole, chunk, bytes));
    }
    while (done < bytes && code == VGPU_ERR_NONE) {
        /* Half of the arena ahead: the other half may still hold uploads. */
        while (posted < bytes && ahead < CHANNEL_PIECES / 2 && code == VGPU_ERR_NONE) {
            uint64_t left = bytes - posted;
            VGPUBulkRecord bulk = {.a = buffer, .a_offset = offset + posted};

            code = take_piece(v, &piece);
            if (code != VGPU_ERR_NONE) {
                break;
            }
            bulk.count = left < CHANNEL_PIECE_BYTES ? left : CHANNEL_PIECE_BYTES;
            bulk.chunk_offset = piece_offset(link, piece);
            code = post_bulk(v, &bulk, VGPU_BULK_DOWNLOAD, 0);
            link->piece_posted[piece] = link->posted;
            pieces[(first + ahead++) % CHANNEL_PIECES] = piece;
            posted += bulk.count;
        }
        if (code == VGPU_ERR_NONE) {
            uint64_t left = bytes - done;
            uint64_t now = left < CHANNEL_PIECE_BYTES ? left : CHANNEL_PIECE_BYTES;

            piece = (unsigned)pieces[first];
            first = (first + 1) % CHANNEL_PIECES;
            ahead--;
            code = vgpu_channel_wait_over(v, link->piece_posted[piece], CHANNEL_FOREVER);
            if (code == VGPU_ERR_NONE) {
                code = report_failed(v);
            }
            if (code == VGPU_ERR_NONE) {
                memcpy((uint8_t *)to + done, link->chunk0 + piece_offset(link, piece), now);
                done += now;
            }
        }
    }
    return vgpu_result_of(code);
}

static int post(struct vgpu *v, VGPUBulkRecord *bulk, uint16_t op)
{
    return vgpu_channel_of(v) ? vgpu_result_of(post_bulk(v, bulk, op, 0)) : VGPU_FAILED;
}

int vgpu_fill(struct vgpu *v, uint64_t target, uint64_t count, uint32_t value)
{
    VGPUBulkRecord bulk = {.target = target, .count = count, .value = value};

    return post(v, &bulk, VGPU_BULK_FILL);
}

int vgpu_buffer_add_i32(struct vgpu *v, uint64_t target, uint64_t a, uint64_t b, uint64_t count)
{
    VGPUBulkRecord bulk = {.target = target, .a = a, .b = b, .count = count};

    return post(v, &bulk, VGPU_BULK_ADD_I32);
}

int vgpu_buffer_add_f32(struct vgpu *v, uint64_t target, uint64_t a, uint64_t b, uint64_t count)
{
    VGPUBulkRecord bulk = {.target = target, .a = a, .b = b, .count = count};

    return post(v, &bulk, VGPU_BULK_ADD_F32);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

int vgpu_saxpy(struct vgpu *v, uint64_t target, float alpha, uint64_t a, uint64_t count)
{
    VGPUBulkRecord bulk = {.target = target, .a = a, .count = count, .alpha = bits_of(alpha)};

    return post(v, &bulk, VGPU_BULK_SAXPY);
}

int vgpu_sgemm(struct vgpu *v, uint32_t m, uint32_t n, uint32_t k, float alpha, uint64_t a,
               uint64_t b, float beta, uint64_t target)
{
    VGPUBulkRecord bulk = {
        .target = target,
        .a = a,
        .b = b,
        .m = m,
        .n = n,
        .k = k,
        .alpha = bits_of(alpha),
        .beta = bits_of(beta),
    };

    return post(v, &bulk, VGPU_BULK_SGEMM);
}

int vgpu_post(struct vgpu *v, uint32_t opcode, const uint32_t *params, uint32_t param_count)
{
    VGPURecord record = {.op = (uint16_t)opcode, .lane = CHANNEL_LANE_CALL};
    uint32_t body[2 + VGPU_PARAMS_MAX] = {param_count, 0};

    if (!vgpu_channel_of(v)) {
        return VGPU_FAILED;
    }
    if (opcode >= VGPU_OP_BULK || param_count > VGPU_PARAMS_MAX) {
        return vgpu_result_of(
            vgpu_set_error(v, VGPU_ERR_ARGUMENT, "this operation cannot be posted like that"));
    }
    if (param_count) {
        memcpy(&body[2], params, param_count * 4);
    }
    return vgpu_result_of(
        vgpu_channel_post(v, &record, body, 8 + param_count * 4, CHANNEL_FOREVER));
}

int vgpu_wait_posted(struct vgpu *v, uint64_t may_remain)
{
    struct channel_link *link = vgpu_channel_of(v);
    uint32_t code;

    if (!link) {
        return VGPU_FAILED;
    }
    code = vgpu_channel_wait_over(v, link->posted > may_remain ? link->posted - may_remain : 0,
                                  CHANNEL_FOREVER);
    if (code == VGPU_ERR_NONE) {
        code = report_failed(v);
    }
    return vgpu_result_of(code);
}
