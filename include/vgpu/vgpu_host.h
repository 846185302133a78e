/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header is the contract between vgpu-mediator and a helper, a process that vgpu-keeper starts
 * for it: what needs root's rights is asked for there, so that the mediator needs none.
 *
 * A SOCK_SEQPACKET socket, one request and one reply at a time, each of a fixed size.  The helper
 * judges for itself: it takes a process by its number and start time, and finds out what it is,
 * where its root is and who its user is.  It ends with the socket, and removes what it made.
 *
 *     LOOK    what program `pid` is, and whether another user namespace has it
 *     ROOT    which folder is its root
 *     DOMAIN  XenStore: whose device model `pid` is in domain `number`
 *     XEN     is there a XenStore?
 *     OPEN    finds the folder of `path` in the root of `pid`; the reply's `place` stands for it
 *     LISTEN  makes the socket there, the process's user's, mode 0600; fd: it listens
 *     CHECK   is what was made there still there?
 *     CLOSE   forgets the place; with REMOVE_FILE it is removed before
 *     GIVE    fd: a socket file of the mediator's user; it becomes `uid`'s and `gid`'s
 */
#ifndef VGPU_HOST_H
#define VGPU_HOST_H

#include "vgpu/vgpu_protocol.h"

#define VGPU_HOST_MAGIC 0x48504756u /* "VGPH" */
#define VGPU_HOST_VERSION 1u
#define VGPU_HOST_PATH_BYTES 108u /* a socket's path, with its NUL */
#define VGPU_HOST_NAME_BYTES 128u
#define VGPU_HOST_TEXT_BYTES 384u
#define VGPU_HOST_PLACES_MAX 1024u /* sockets of one helper */
#define VGPU_HOST_KEEP_ID 0xffffffffu

enum vgpu_host_type {
    VGPU_HOST_LOOK = 1,
    VGPU_HOST_ROOT = 2,
    VGPU_HOST_DOMAIN = 3,
    VGPU_HOST_XEN = 4,
    VGPU_HOST_OPEN = 5,
    VGPU_HOST_LISTEN = 6,
    VGPU_HOST_CHECK = 7,
    VGPU_HOST_CLOSE = 8,
    VGPU_HOST_GIVE = 9,
};

#define VGPU_HOST_REMOVE_FILE (1u << 0)
#define VGPU_HOST_REQUEST_FLAGS 1u

typedef struct vgpu_host_request {
    uint32_t magic;
    uint16_t version;
    uint16_t type; /* enum vgpu_host_type */
    uint32_t pid;
    uint32_t number;      /* DOMAIN: the domain; LISTEN, CHECK, CLOSE: the place */
    uint64_t start_ticks; /* of pid, with ROOT and OPEN: as field 22 of /proc/PID/stat */
    uint32_t uid, gid;    /* GIVE; VGPU_HOST_KEEP_ID: as it is */
    uint32_t mode;        /* GIVE: permissions */
    uint32_t flags;
    char path[VGPU_HOST_PATH_BYTES]; /* OPEN; NUL-terminated, absolute */
    uint32_t pad;                    /* 0 */
} vgpu_host_request;

VGPU_STATIC_ASSERT(sizeof(vgpu_host_request) == 152, "vgpu_host_request is 152 bytes");

#define VGPU_HOST_IS_QEMU (1u << 0)
#define VGPU_HOST_IS_OTHER (1u << 1)   /* neither: nobody knows */
#define VGPU_HOST_IS_FOREIGN (1u << 2) /* of another user namespace */
#define VGPU_HOST_IS_THERE (1u << 3)   /* XEN, CHECK */
#define VGPU_HOST_IS_HOSTS (1u << 4)   /* OPEN: that path leads us there as well */

typedef struct vgpu_host_reply {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    int32_t error;   /* 0, or a negative errno with a `text`, where there is something to say */
    uint32_t flags;  /* VGPU_HOST_IS_* */
    uint32_t place;  /* OPEN: never 0 */
    uint32_t pad;    /* 0 */
    uint64_t device; /* ROOT, OPEN: of the folder */
    uint64_t inode;
    uint8_t uuid[16]; /* DOMAIN */
    char name[VGPU_HOST_NAME_BYTES];
    char text[VGPU_HOST_TEXT_BYTES];
} vgpu_host_reply;

VGPU_STATIC_ASSERT(sizeof(vgpu_host_reply) == 568, "vgpu_host_reply is 568 bytes");

#endif /* VGPU_HOST_H */
