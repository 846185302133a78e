/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/executor_internal.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"

void executor_tell(void *opaque, uint16_t type, uint64_t channel, uint32_t value)
{
    struct executor *e = opaque;
    vgpu_worker_word word = {.value = value};
    size_t bytes = type == VGPU_WORKER_WANT ? 0 : sizeof(word);

    if (channel == 0 && type != VGPU_WORKER_ASK) {
        return; /* no mediator knows it */
    }
    if (executor_send(e, type, channel, &word, bytes, NULL, 0) < 0) {
        e->broken = true;
    }
}

bool executor_has_channels(const struct executor *e)
{
    return e->channels && !channel_set_empty(e->channels);
}

/* An operation of 1.0 for a channel: answered as a request, in a slot behind the requests'. */
static enum backend_state run_for_channel(void *opaque, unsigned slot,
                                          const struct backend_job *job,
                                          struct backend_result *result)
{
    struct executor *e = opaque;

    return executor_answer(e, e->config->depth + slot, job, result);
}

static enum backend_state poll_for_channel(void *opaque, unsigned slot,
                                           struct backend_result *result)
{
    struct executor *e = opaque;

    return e->config->ops->poll(e->config->backend, e->config->depth + slot, result);
}

/* Some frames of figures with the kernel's own needs: a channel's and all channels' go together. */
#define UNREAD_BYTES_MAX 8192

/* Has the mediator read all else, but for some figures? */
static bool has_read_all(const struct executor *e)
{
    int unread_bytes = 0;

    return ioctl(e->config->fd, TIOCOUTQ, &unread_bytes) == 0 && unread_bytes < UNREAD_BYTES_MAX;
}

/*
 * Only where the mediator has read everything else: while there is none, figures must not fill the
 * socket, in which a later frame would have to wait.  The last ones of a channel come behind its
 * CHANNEL_CLOSED.  It is no loss if they don't arrive.
 */
static bool tell_figures(void *opaque, const vgpu_worker_figures *figures, bool last)
{
    struct executor *e = opaque;
    vgpu_worker_figures body = *figures;

    return (last || has_read_all(e)) &&
           executor_send(e, VGPU_WORKER_FIGURES, 0, &body, sizeof(body), NULL, 0) == 0;
}

static bool tell_program(void *opaque, uint64_t channel, const vgpu_worker_program *program,
                         bool last)
{
    struct executor *e = opaque;
    vgpu_worker_program body = *program;

    return (last || has_read_all(e)) &&
           executor_send(e, VGPU_WORKER_PROGRAM, channel, &body, sizeof(body), NULL, 0) == 0;
}

static enum vgpu_error open_driver(struct executor *e, struct channel_mapping *mapping)
{
    if (!e->has_drivers) {
        e->has_drivers =
            driver_set_init(&e->drivers, &(struct driver_set_uses){
                                             .opaque = e,
                                             .tell = executor_tell,
                                             .tell_figures = tell_figures,
                                             .tell_program = tell_program,
                                             .gpu_uuid = e->ready.gpu_uuid,
                                             .account = e->config->ops->account(e->config->backend),
                                             .vm_id = e->config->vm_id,
                                         });
        driver_set_limit(&e->drivers, e->limits.kernel_ns);
    }
    if (!e->has_drivers) {
        mapping_free(mapping);
        return VGPU_ERR_MEMORY_LIMIT;
    }
    return driver_set_add(&e->drivers, mapping);
}

/* Takes the mapping.  enum vgpu_error. */
static enum vgpu_error open_channel(struct executor *e, struct channel_mapping *mapping)
{
    const struct bulk_engine *engine;

    if (mapping->what.profile == VGPU_PROFILE_CUDA && !e->config->has_driver) {
        mapping_free(mapping); /* there is no driver, and no system call for one */
        return VGPU_ERR_UNSUPPORTED_OP;
    }
    if (mapping->what.profile == VGPU_PROFILE_CUDA) {
        return open_driver(e, mapping);
    }
    engine = e->channels ? NULL : e->config->ops->bulk(e->config->backend);
    if (!e->channels && engine) {
        e->channels = channel_set_new(&(struct channel_set_uses){
            .opaque = e,
            .run = run_for_channel,
            .poll = poll_for_channel,
            .tell = executor_tell,
            .engine = engine,
            .units_fly = !e->config->ops->immediate,
        });
        if (e->channels) {
            channel_set_credit(e->channels, e->credit);
            channel_set_turn_page(e->channels, e->turn_page);
        }
    }
    if (!e->channels) {
        log_error("a channel is refused: there is no memory for it");
        mapping_free(mapping);
        return VGPU_ERR_MEMORY_LIMIT;
    }
    return channel_set_add(e->channels, mapping);
}

/* The one whose guest memory has not all come. */
static struct channel_mapping *find_partial(struct executor *e, uint64_t handle)
{
    struct channel_mapping *mapping;

    LIST_FOREACH (mapping, &e->partials, link) {
        if (mapping->handle == handle) {
            return mapping;
        }
    }
    return NULL;
}

enum take executor_begin_channel(struct executor *e, size_t length, uint64_t handle, const int *fds,
                                 unsigned fd_count)
{
    vgpu_worker_channel what;
    struct channel_mapping *mapping;
    enum vgpu_error error;

    if (length != sizeof(vgpu_worker_header) + sizeof(what)) {
        executor_close_fds(fds, fd_count);
        return executor_malformed("CHANNEL has the wrong length", length);
    }
    memcpy(&what, e->frame + sizeof(vgpu_worker_header), sizeof(what));
    error = mapping_begin(handle, &what, fds, fd_count, &mapping);
    if (error == VGPU_ERR_NONE && !mapping_is_complete(mapping)) {
        LIST_INSERT_HEAD(&e->partials, mapping, link);
        return TAKE_JOB;
    }
    if (error == VGPU_ERR_NONE) {
        error = open_channel(e, mapping);
    }
    executor_tell(e, VGPU_WORKER_CHANNEL_OPENED, handle, error);
    return TAKE_JOB;
}

static void tell_chunk(struct executor *e, uint64_t handle, uint32_t number, uint64_t bytes,
                       enum vgpu_error status)
{
    vgpu_worker_chunk chunk = {.chunk = number, .status = status, .bytes = bytes};

    if (executor_send(e, VGPU_WORKER_CHUNK_ADDED, handle, &chunk, sizeof(chunk), NULL, 0) < 0) {
        e->broken = true;
    }
}

/* A part of a chunk beyond chunk 0.  Takes the descriptor. */
static void add_part(struct executor *e, uint64_t handle, const VGPUChunkAdd *add,
                     const VGPUPiece *pieces, int fd)
{
    enum vgpu_error status = VGPU_ERR_UNSUPPORTED_OP;

    if (e->channels) {
        status = channel_set_add_part(e->channels, handle, add, pieces, fd);
    } else {
        close(fd);
    }
    if (!(add->flags & VGPU_CHUNK_MORE)) {
        tell_chunk(e, handle, add->chunk, add->bytes, status);
    }
}

/* A part of a channel's guest memory. */
enum take executor_add_pieces(struct executor *e, size_t length, uint64_t handle, const int *fds,
                              unsigned fd_count)
{
    struct channel_mapping *partial = find_partial(e, handle);
    const uint8_t *body = e->frame + sizeof(vgpu_worker_header);
    VGPUPiece pieces[VGPU_CHUNK_PIECES_FRAME_MAX];
    VGPUChunkAdd add;
    enum vgpu_error error;

    if (length < sizeof(vgpu_worker_header) + sizeof(add) || fd_count != 1) {
        executor_close_fds(fds, fd_count);
        return executor_malformed("CHUNK_ADD has the wrong length or no descriptor", length);
    }
    memcpy(&add, body, sizeof(add));
    if (add.piece_count > VGPU_CHUNK_PIECES_FRAME_MAX ||
        length != sizeof(vgpu_worker_header) + sizeof(add) + add.piece_count * sizeof(pieces[0])) {
        executor_close_fds(fds, fd_count);
        return executor_malformed("CHUNK_ADD has the wrong length", length);
    }
    memcpy(pieces, body + sizeof(add), add.piece_count * sizeof(pieces[0]));
    if (add.chunk != 0) {
        add_part(e, handle, &add, pieces, fds[0]);
        return TAKE_JOB;
    }
    if (!partial) {
        executor_close_fds(fds, fd_count);
        return TAKE_JOB; /* the answer to its channel has been given */
    }
    error = mapping_add(partial, &add, pieces, fds[0]);
    if (error == VGPU_ERR_NONE && !mapping_is_complete(partial)) {
        return TAKE_JOB;
    }
    LIST_REMOVE(partial, link);
    if (error == VGPU_ERR_NONE) {
        error = open_channel(e, partial);
    } else {
        mapping_free(partial);
    }
    executor_tell(e, VGPU_WORKER_CHANNEL_OPENED, handle, error);
    return TAKE_JOB;
}

enum take executor_close_channel(struct executor *e, size_t length, uint64_t handle)
{
    struct channel_mapping *partial = find_partial(e, handle);
    vgpu_worker_word word;

    if (length != sizeof(vgpu_worker_header) + sizeof(word)) {
        return executor_malformed("CHANNEL_CLOSE has the wrong length", length);
    }
    memcpy(&word, e->frame + sizeof(vgpu_worker_header), sizeof(word));
    if (partial) {
        LIST_REMOVE(partial, link);
        mapping_free(partial);
        executor_tell(e, VGPU_WORKER_CHANNEL_CLOSED, handle, word.value);
        return TAKE_JOB;
    }
    if (e->has_drivers &&
        driver_set_close(&e->drivers, handle, (enum vgpu_channel_reason)word.value)) {
        return TAKE_JOB;
    }
    if (e->channels) {
        channel_set_close(e->channels, handle, (enum vgpu_channel_reason)word.value);
    }
    return TAKE_JOB;
}

/* The new one is in the place of the old one, which a mediator before this one has made. */
enum take executor_take_turn_page(struct executor *e, size_t length, int *fds, unsigned fd_count)
{
    struct stat about;
    void *page = MAP_FAILED;

    if (length != sizeof(vgpu_worker_header) || fd_count != 1) {
        executor_close_fds(fds, fd_count);
        return executor_malformed("TURN_PAGE has the wrong length or no descriptor", length);
    }
    if (fstat(fds[0], &about) == 0 && about.st_size == VGPU_TURN_PAGE_BYTES) {
        page = mmap(NULL, VGPU_TURN_PAGE_BYTES, PROT_READ, MAP_SHARED, fds[0], 0);
    }
    close(fds[0]);
    if (page == MAP_FAILED) {
        return TAKE_JOB; /* it is a hint */
    }
    if (e->channels) {
        channel_set_turn_page(e->channels, page);
    }
    if (e->turn_page) {
        munmap((void *)(uintptr_t)e->turn_page, VGPU_TURN_PAGE_BYTES);
    }
    e->turn_page = page;
    return TAKE_JOB;
}

enum take executor_take_credit(struct executor *e, size_t length)
{
    vgpu_worker_word word;

    if (length != sizeof(vgpu_worker_header) + sizeof(word)) {
        return executor_malformed("CREDIT has the wrong length", length);
    }
    memcpy(&word, e->frame + sizeof(vgpu_worker_header), sizeof(word));
    e->credit = word.value;
    if (e->channels) {
        channel_set_credit(e->channels, word.value);
    }
    return TAKE_JOB;
}

enum take executor_take_limits(struct executor *e, size_t length)
{
    if (length != sizeof(vgpu_worker_header) + sizeof(e->limits)) {
        return executor_malformed("LIMITS has the wrong length", length);
    }
    memcpy(&e->limits, e->frame + sizeof(vgpu_worker_header), sizeof(e->limits));
    if (e->has_drivers) {
        driver_set_limit(&e->drivers, e->limits.kernel_ns);
    }
    return TAKE_JOB;
}

/* CHUNK: one beyond chunk 0.  Takes the descriptors. */
enum take executor_take_chunk(struct executor *e, size_t length, uint64_t handle, int *fds,
                              unsigned fd_count)
{
    vgpu_worker_chunk chunk;

    if (length != sizeof(vgpu_worker_header) + sizeof(chunk) || fd_count != 1) {
        executor_close_fds(fds, fd_count);
        return executor_malformed("CHUNK has the wrong length or no descriptor", length);
    }
    memcpy(&chunk, e->frame + sizeof(vgpu_worker_header), sizeof(chunk));
    if (e->channels) {
        chunk.status = channel_set_add_chunk(e->channels, handle, chunk.chunk, chunk.bytes, fds[0]);
    } else {
        chunk.status = VGPU_ERR_UNSUPPORTED_OP;
        close(fds[0]);
    }
    tell_chunk(e, handle, chunk.chunk, chunk.bytes, (enum vgpu_error)chunk.status);
    return TAKE_JOB;
}

enum take executor_remove_chunk(struct executor *e, size_t length, uint64_t handle)
{
    vgpu_worker_word word;

    if (length != sizeof(vgpu_worker_header) + sizeof(word)) {
        return executor_malformed("CHUNK_REMOVE has the wrong length", length);
    }
    memcpy(&word, e->frame + sizeof(vgpu_worker_header), sizeof(word));
    if (e->channels) {
        channel_set_remove_chunk(e->channels, handle, word.value);
    }
    return TAKE_JOB;
}
