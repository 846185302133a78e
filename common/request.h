/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module checks what a guest sent, and writes what it gets back.
 *
 * request_parse() is the one place where the layout of a VGPURequest is
 * decided; behind it, counts and lengths are known to fit the bytes they
 * describe.  Which operations exist and what they take is decided by
 * request_check_op(), also used by the worker.
 */
#ifndef COMMON_REQUEST_H
#define COMMON_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vgpu/vgpu_protocol.h"

/* A request's parts, pointing into the caller's bytes (which may be unaligned). */
struct request_view {
    uint32_t opcode;
    uint32_t param_count;
    uint32_t data_length;
    const uint8_t *params; /* param_count * 4 bytes */
    const uint8_t *data;   /* data_length bytes */
};

/*
 * Returns VGPU_ERR_NONE and fills *view, or the error to answer with.
 * `bytes` may be anything; at most `length` bytes are read.
 */
enum vgpu_error request_parse(const void *bytes, size_t length, struct request_view *view);

/*
 * Does this operation exist, is it allowed, and does it take these counts?
 * UNSUPPORTED_OP or INVALID_REQUEST otherwise.
 */
enum vgpu_error request_check_op(uint32_t opcode, uint32_t param_count, uint32_t data_length,
                                 bool test_ops_enabled);

/* "vector_add_i32", or "unknown". Static storage. */
const char *request_op_name(uint32_t opcode);
/* "QUEUE_FULL", or "UNKNOWN". Static storage. */
const char *request_error_name(uint32_t code);

/*
 * Writes a VGPUResponse and its body into `out` (VGPU_RESPONSE_BUFFER_BYTES).
 * `body` is result_count words, then data_length bytes, and may be NULL when
 * both are 0.  The caller has checked that they fit VGPU_RESPONSE_BODY_BYTES.
 * Returns the number of bytes written.
 */
uint32_t response_write(uint8_t *out, uint32_t status, uint32_t exec_time_us, const void *body,
                        uint32_t result_count, uint32_t data_length);

#endif /* COMMON_REQUEST_H */
