/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A request of Phase 2 is one line of text:
 *
 *     pool:priority:vm_id:num1:num2       A:2:1:100:200    a sum of two integers
 *     pool:priority:vm_id:VECTOR_ADD      B:1:7:VECTOR_ADD
 *
 * A guest wrote it, so any byte may come.  Pool, priority and vm_id are claims: the folder says
 * which VM it is, and the mediator knows that VM's pool and priority.
 */
#ifndef BRIDGE_REQUEST_TEXT_H
#define BRIDGE_REQUEST_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Phase 2's own programs never wrote more; the end of the line is one of them. */
#define REQUEST_TEXT_MAX 256u

enum request_kind { REQUEST_SUM, REQUEST_VECTOR_ADD };

struct request {
    enum request_kind kind;
    char pool;         /* 'A' to 'Z' */
    uint32_t priority; /* enum vgpu_priority */
    uint32_t vm_id;
    int32_t a, b; /* REQUEST_SUM */
};

/*
 * Reads `length` bytes without the end of their line ("\n" or "\r\n" are allowed there).
 * Returns NULL and *request, or what is wrong with it, a sentence for the guest.
 */
const char *request_parse(const char *text, size_t length, struct request *request);

#endif /* BRIDGE_REQUEST_TEXT_H */
