/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A state file holds records of one size, for the next process of this program on this host.
 *
 * It is for its owner alone, and complete or not there: it is written beside its place, synced and
 * then renamed.  What is damaged, of another version, or could have been written by another user is
 * refused.
 */
#ifndef MEDIATOR_STATE_STATE_FILE_H
#define MEDIATOR_STATE_STATE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATE_FILE_BYTES_MAX (64u << 20)
#define STATE_FILE_ERROR_BYTES 256u

struct state_file_header {
    uint64_t magic;
    uint32_t version; /* the caller's */
    uint32_t record_bytes;
    uint32_t count;
    uint32_t extra_bytes; /* before the records */
    uint8_t boot_id[16];  /* of the host; all 0: not known */
    uint64_t checksum;    /* of all, with this as 0 */
};

/* A file's contents in memory: the header, the extra part, the records. */
struct state_file {
    struct state_file_header *header; /* one malloc() for all */
    void *extra;
    void *records;
};

/* Room for such a file, all 0 but the header.  -ENOMEM, -E2BIG. */
int state_file_new(uint32_t version, uint32_t extra_bytes, uint32_t record_bytes, uint32_t count,
                   struct state_file *file);
void state_file_free(struct state_file *file);

/* Any thread; blocks as long as the disk does.  -errno, and what was there stays. */
int state_file_write(const char *path, const struct state_file *file);
/*
 * -ENOENT: there is none.  Else with an `error` for people: -EPERM: another user could have written
 * it; -EBADMSG: it is damaged, or of another version; -errno.
 */
int state_file_read(const char *path, uint32_t version, uint32_t extra_bytes, uint32_t record_bytes,
                    struct state_file *file, char *error);
/* Was it written since the host was started? */
bool state_file_of_this_boot(const struct state_file *file);

#endif /* MEDIATOR_STATE_STATE_FILE_H */
