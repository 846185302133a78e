/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM's folder has two files: request.txt, which the guest writes, and response.txt, which it
 * reads.
 *
 * The guest may do to its folder what it likes: links, FIFOs, huge files, files that change
 * while they are read.  Only a plain file with one name is read, at most REQUEST_TEXT_MAX bytes
 * of it; nothing outside the folder is ever opened, and nothing here waits for the guest.
 *
 * The way of one request: request_file_read() until it is whole, request_file_take(), which
 * empties first response.txt and then request.txt, the job, request_file_answer().  So a guest
 * never finds the answer to its last request after the new one was taken, and no request is
 * taken twice.  Each step is on the disk (fsync) before the next.
 */
#ifndef BRIDGE_REQUEST_FILE_H
#define BRIDGE_REQUEST_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "bridge/request_text.h"

/* An answer's text, its end of line left out; what is longer is cut. */
#define RESPONSE_TEXT_MAX 240u

enum request_file_state {
    REQUEST_FILE_NONE,   /* there is no request */
    REQUEST_FILE_WHOLE,  /* `text` is one */
    REQUEST_FILE_AGAIN,  /* it may still be written: look again a little later */
    REQUEST_FILE_REFUSE, /* it can never be one; `why` says so to the guest */
    REQUEST_FILE_FAILED, /* the host can't read it; `why` says so to the administrator */
};

/* What the last reading saw. */
struct request_file {
    char text[REQUEST_TEXT_MAX + 1]; /* not ended by a zero */
    size_t length;
    struct stat stat;
    const char *why; /* static storage, or the error's text */
};

/*
 * `folder` is an open folder.  A line without an end counts as whole when two readings a
 * little apart see the same: `previous` is what the last one of them saw (length 0: none).
 */
enum request_file_state request_file_read(int folder, const struct request_file *previous,
                                          struct request_file *file);

/*
 * Takes the request that `file` holds: both files are empty afterwards.  -EAGAIN: it has been
 * written again since it was read.  Any -errno: it is not taken, and must not be run.
 */
int request_file_take(int folder, const struct request_file *file);

/*
 * Writes `text` and an end of line to response.txt.  A link, FIFO or the like of that name is
 * replaced.  -errno.
 */
int request_file_answer(int folder, const char *text);

/* Makes the files that are missing, and writes `ready` to an empty response.  -errno. */
int request_file_set_up(int folder, const char *ready);
/* At the end: both files are empty, so nothing old is taken for new later.  -errno. */
int request_file_clear(int folder);

/* Whether a look inside is worth it: request.txt is there and not empty. */
bool request_file_waits(int folder);

#endif /* BRIDGE_REQUEST_FILE_H */
