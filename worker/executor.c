/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * One thread stands between two things that can't be waited for together: the
 * socket, which has a file descriptor, and the GPU, which has none.  Jobs in
 * flight are a ring of slots.  New RUN frames go in at its tail as long as
 * there are fewer than `depth`; results leave at its head, so DONE frames keep
 * the order of the RUN frames whatever answers a job: the backend, a refusal,
 * or the executor itself.
 *
 * With nothing in flight the thread sleeps in recv(), and a job costs no more
 * than the wake-up; a worker of a GPU keeps looking for 50 us first, because the
 * wake-up is a good part of a tiny job's way.  With jobs in flight it must see both the head's end
 * and the next RUN frame, which has to reach the GPU's queue before the head ends, or else the GPU
 * idles between jobs.  So it alternates between a recv() that doesn't wait and the backend's
 * poll():
 *
 *   - while the head may end at any moment it does so without a pause: in the
 *     first 50 us of a job of which nothing better is known, and around the
 *     times at which the last jobs of its kind ended (forecast.c).  So tiny
 *     jobs and jobs like those before them are answered within about a
 *     microsecond of their end;
 *   - else it sleeps in ppoll() on the socket: until shortly before the next
 *     time at which an end is expected, and never longer than a part of the
 *     time that the head has taken so far (a quarter, or a sixteenth where no
 *     end is expected) or a millisecond.  So an answer that nothing foretold is
 *     late by no more than that, the CPU's share shrinks as the job grows, and
 *     an endless kernel costs a thousand short wake-ups a second.  A RUN frame
 *     ends the sleep at once.
 *
 * The alternative, a callback that the driver runs after the job, makes the
 * GPU's stream wait for a host thread and costs more than a tiny job does.
 *
 * One job: the mediator's packet is received into `frame`, its header and
 * lengths are checked against the packet's size, the operation against
 * request_check_op().  submit() copies what it needs and starts the GPU; the
 * slot is RUNNING.  Some microseconds later poll() answers DONE, the result
 * goes out in one packet, and the slot is free.
 *
 * What ends the loop: QUIT (after what is in flight), the socket's end (at
 * once: nobody is left to answer), a malformed frame (the mediator has a bug,
 * nothing it says can be trusted), or a lost context.  Then the jobs whose
 * results were there have been answered, and the one that broke it and those
 * behind it have not: the mediator answers for them when it has seen the process
 * end, so that the VM's next job can't be sent to a worker that is leaving.
 */
#include "common/clock.h"
#include "common/fd_packet.h"
#include "worker/executor.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/request.h"
#include "worker/channel/channel_set.h"
#include "worker/cuda/channel/driver_set.h"
#include "worker/forecast.h"

struct slot {
    uint64_t job_id;
    uint64_t taken_ns; /* CLOCK_MONOTONIC */
    uint32_t opcode;
    uint64_t channel; /* not 0: a turn of it, not a job */
    bool adopt;       /* no job either: READY is due */
    uint64_t budget_ns;
    bool own_thread; /* the turn is under way in the channel's own thread */
    enum backend_state state;
    struct backend_result result;
};

struct executor {
    const struct executor_config *config;
    vgpu_worker_ready ready;
    struct slot slots[WORKER_DEPTH_MAX];
    unsigned head, count;
    uint64_t head_since_ns; /* when the head had the GPU for itself */
    uint64_t idle_since_ns; /* when the last job in flight was answered */
    struct forecast forecast;
    bool lost;
    bool broken; /* the mediator does not take what it is told */
    struct channel_set *channels;
    struct driver_set drivers; /* channels of profile CUDA, each with its own thread */
    bool has_drivers;
    LIST_HEAD(, channel_mapping) partials; /* whose guest memory has not all come */
    unsigned spins, idle_looks; /* at the rings: how many before sleep, how many so far */
    unsigned looks;             /* for LOOKS_FOR_SOCKET */
    uint32_t credit;            /* as the mediator last said, for channels to come */
    const VGPUTurnPage *turn_page;
    /* One byte more than any valid frame, so that a longer one shows. */
    _Alignas(8) uint8_t frame[VGPU_WORKER_FRAME_MAX + 1];
};

/* How many looks at the rings for one at the socket. */
#define LOOKS_FOR_SOCKET 32u
#define LOOKS_FOR_YIELD 128u

enum take {
    TAKE_NOTHING,
    TAKE_JOB,
    TAKE_QUIT,
    TAKE_CLOSED,
    TAKE_MALFORMED,
};

static int send_frame(struct executor *e, uint16_t type, uint64_t job_id, void *fixed,
                      size_t fixed_bytes, void *body, size_t body_bytes)
{
    vgpu_worker_header header = {
        .magic = VGPU_WORKER_MAGIC,
        .version = VGPU_WORKER_VERSION,
        .type = type,
        .length = (uint32_t)(sizeof(header) + fixed_bytes + body_bytes),
        .job_id = job_id,
    };
    struct iovec parts[3] = {
        {.iov_base = &header, .iov_len = sizeof(header)},
        {.iov_base = fixed, .iov_len = fixed_bytes},
        {.iov_base = body, .iov_len = body_bytes},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    ssize_t n;

    do {
        n = sendmsg(e->config->fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* The head's answer goes out and its slot is free. */
static int send_done(struct executor *e)
{
    struct slot *slot = &e->slots[e->head];
    struct backend_result *result = &slot->result;
    size_t body_bytes = (size_t)result->result_count * 4 + result->data_length;
    bool adopt;
    vgpu_worker_done done = {
        .status = result->status,
        .result_count = result->result_count,
        .data_length = result->data_length,
        .gpu_time_ns = result->gpu_time_ns,
        .started_ns = e->head_since_ns,
        .finished_ns = clock_now_ns(),
    };

    assert(body_bytes <= sizeof(result->body));
    adopt = slot->adopt;
    slot->adopt = false;
    e->head = (e->head + 1) % e->config->depth;
    e->count--;
    if (e->count > 0) {
        uint64_t taken_ns = e->slots[e->head].taken_ns;

        e->head_since_ns = taken_ns > done.finished_ns ? taken_ns : done.finished_ns;
    } else {
        e->idle_since_ns = done.finished_ns;
    }
    if (adopt) {
        return send_frame(e, VGPU_WORKER_READY, slot->job_id, &e->ready, sizeof(e->ready), NULL, 0);
    }
    return send_frame(e, VGPU_WORKER_DONE, slot->job_id, &done, sizeof(done), result->body,
                      body_bytes);
}

static void answer_device_info(const struct executor *e, struct backend_result *result)
{
    size_t name_bytes = strnlen(e->ready.name, sizeof(e->ready.name));

    result->body[VGPU_INFO_BACKEND] = e->ready.backend;
    result->body[VGPU_INFO_COMPUTE_MAJOR] = e->ready.compute_major;
    result->body[VGPU_INFO_COMPUTE_MINOR] = e->ready.compute_minor;
    result->body[VGPU_INFO_MULTIPROCESSORS] = e->ready.multiprocessors;
    result->body[VGPU_INFO_MEMORY_MIB] = (uint32_t)(e->ready.memory_bytes >> 20);
    result->result_count = VGPU_INFO_COUNT;
    memcpy(&result->body[VGPU_INFO_COUNT], e->ready.name, name_bytes);
    result->data_length = (uint32_t)name_bytes;
}

static enum backend_state answer_now(struct executor *e, unsigned index,
                                     const struct backend_job *job, struct backend_result *result)
{
    result->status =
        request_check_op(job->opcode, job->param_count, job->data_length, e->config->test_ops);
    result->result_count = 0;
    result->data_length = 0;
    result->gpu_time_ns = 0;
    if (result->status == VGPU_ERR_NONE && job->opcode == VGPU_OP_TEST_SPIN &&
        job->params[0] > VGPU_TEST_SPIN_MAX_US) {
        result->status = VGPU_ERR_INVALID_REQUEST;
    }
    if (result->status != VGPU_ERR_NONE) {
        return BACKEND_DONE;
    }
    /* What needs no GPU doesn't wait for one, except for its turn in the ring. */
    switch (job->opcode) {
    case VGPU_OP_NOP: return BACKEND_DONE;
    case VGPU_OP_GET_DEVICE_INFO: answer_device_info(e, result); return BACKEND_DONE;
    case VGPU_OP_TEST_FAIL: result->status = VGPU_ERR_CUDA_ERROR; return BACKEND_DONE;
    default: return e->config->ops->submit(e->config->backend, index, job, result);
    }
}

static enum backend_state start_job(struct executor *e, unsigned index,
                                    const struct backend_job *job)
{
    return answer_now(e, index, job, &e->slots[index].result);
}

static enum take malformed(const char *what, size_t length)
{
    log_error("the mediator sent a malformed frame of %zu bytes: %s. Mediator and worker must come "
              "from one installation",
              length, what);
    return TAKE_MALFORMED;
}

/* Checks a RUN frame and starts its job in the next slot. */
static enum take take_job(struct executor *e, size_t length, uint64_t job_id)
{
    unsigned index = (e->head + e->count) % e->config->depth;
    struct slot *slot = &e->slots[index];
    const size_t fixed_bytes = sizeof(vgpu_worker_header) + sizeof(vgpu_worker_run);
    vgpu_worker_run run;
    struct backend_job job;

    if (length < fixed_bytes) {
        return malformed("RUN is too short", length);
    }
    memcpy(&run, e->frame + sizeof(vgpu_worker_header), sizeof(run));
    if (run.pad != 0 || run.param_count > VGPU_PARAMS_MAX ||
        run.data_length > VGPU_REQUEST_BODY_BYTES ||
        length != fixed_bytes + run.param_count * 4 + run.data_length) {
        return malformed("RUN's counts do not match its length", length);
    }
    job.opcode = run.opcode;
    job.param_count = run.param_count;
    job.data_length = run.data_length;
    job.params = (const uint32_t *)(e->frame + fixed_bytes);
    job.data = e->frame + fixed_bytes + run.param_count * 4;
    job.untimed = false;

    slot->job_id = job_id;
    slot->opcode = run.opcode;
    slot->taken_ns = clock_now_ns();
    if (e->count == 0) {
        e->head_since_ns = slot->taken_ns;
    }
    e->count++;
    slot->state = start_job(e, index, &job);
    e->lost = e->lost || slot->state == BACKEND_LOST;
    return TAKE_JOB;
}

/* ---- channels ---- */

static void close_all(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        close(fds[i]);
    }
}

static void tell_word(void *opaque, uint16_t type, uint64_t channel, uint32_t value)
{
    struct executor *e = opaque;
    vgpu_worker_word word = {.value = value};
    size_t bytes = type == VGPU_WORKER_WANT ? 0 : sizeof(word);

    if (send_frame(e, type, channel, &word, bytes, NULL, 0) < 0) {
        e->broken = true;
    }
}

/* An operation of 1.0 for a channel: what start_job() does, in a slot behind the requests'. */
static enum backend_state run_for_channel(void *opaque, unsigned slot,
                                          const struct backend_job *job,
                                          struct backend_result *result)
{
    struct executor *e = opaque;

    return answer_now(e, e->config->depth + slot, job, result);
}

static enum backend_state poll_for_channel(void *opaque, unsigned slot,
                                           struct backend_result *result)
{
    struct executor *e = opaque;

    return e->config->ops->poll(e->config->backend, e->config->depth + slot, result);
}

static enum vgpu_error open_driver(struct executor *e, struct channel_mapping *mapping)
{
    if (!e->has_drivers) {
        e->has_drivers = driver_set_init(&e->drivers, &(struct driver_set_uses){
                                                          .opaque = e,
                                                          .tell = tell_word,
                                                          .gpu_uuid = e->ready.gpu_uuid,
                                                          .memory_bytes = e->ready.memory_bytes,
                                                          .vm_id = e->config->vm_id,
                                                      });
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

    if (mapping->what.profile == VGPU_PROFILE_CUDA) {
        return open_driver(e, mapping);
    }
    engine = e->channels ? NULL : e->config->ops->bulk(e->config->backend);
    if (!e->channels && engine) {
        e->channels = channel_set_new(&(struct channel_set_uses){
            .opaque = e,
            .run = run_for_channel,
            .poll = poll_for_channel,
            .tell = tell_word,
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

static enum take begin_channel(struct executor *e, size_t length, uint64_t handle, const int *fds,
                               unsigned fd_count)
{
    vgpu_worker_channel what;
    struct channel_mapping *mapping;
    enum vgpu_error error;

    if (length != sizeof(vgpu_worker_header) + sizeof(what)) {
        close_all(fds, fd_count);
        return malformed("CHANNEL has the wrong length", length);
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
    tell_word(e, VGPU_WORKER_CHANNEL_OPENED, handle, error);
    return TAKE_JOB;
}

/* A part of a channel's guest memory. */
static enum take add_chunk(struct executor *e, size_t length, uint64_t handle, const int *fds,
                           unsigned fd_count)
{
    struct channel_mapping *partial = find_partial(e, handle);
    const uint8_t *body = e->frame + sizeof(vgpu_worker_header);
    VGPUPiece pieces[VGPU_CHUNK_PIECES_FRAME_MAX];
    VGPUChunkAdd add;
    enum vgpu_error error;

    if (length < sizeof(vgpu_worker_header) + sizeof(add) || fd_count != 1) {
        close_all(fds, fd_count);
        return malformed("CHUNK_ADD has the wrong length or no descriptor", length);
    }
    memcpy(&add, body, sizeof(add));
    if (add.piece_count > VGPU_CHUNK_PIECES_FRAME_MAX ||
        length != sizeof(vgpu_worker_header) + sizeof(add) + add.piece_count * sizeof(pieces[0])) {
        close_all(fds, fd_count);
        return malformed("CHUNK_ADD has the wrong length", length);
    }
    if (!partial) {
        close_all(fds, fd_count);
        return TAKE_JOB; /* the answer to its channel has been given */
    }
    memcpy(pieces, body + sizeof(add), add.piece_count * sizeof(pieces[0]));
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
    tell_word(e, VGPU_WORKER_CHANNEL_OPENED, handle, error);
    return TAKE_JOB;
}

/* The next slot, for what is no job and has no result. */
static struct slot *take_slot(struct executor *e, uint64_t job_id, enum backend_state state)
{
    struct slot *slot = &e->slots[(e->head + e->count) % e->config->depth];

    slot->job_id = job_id;
    slot->opcode = VGPU_OP_NOP; /* for the forecast, which has nothing to say about it */
    slot->taken_ns = clock_now_ns();
    slot->state = state;
    slot->own_thread = false;
    slot->result.status = VGPU_ERR_NONE;
    slot->result.result_count = 0;
    slot->result.data_length = 0;
    slot->result.gpu_time_ns = 0;
    if (e->count == 0) {
        e->head_since_ns = slot->taken_ns;
    }
    e->count++;
    return slot;
}

static enum take take_turn(struct executor *e, size_t length, uint64_t job_id)
{
    struct slot *slot;
    vgpu_worker_turn turn;

    if (length != sizeof(vgpu_worker_header) + sizeof(turn)) {
        return malformed("TURN has the wrong length", length);
    }
    memcpy(&turn, e->frame + sizeof(vgpu_worker_header), sizeof(turn));
    slot = take_slot(e, job_id, BACKEND_RUNNING);
    slot->channel = turn.channel;
    slot->budget_ns = turn.budget_ns;
    return TAKE_JOB;
}

static bool has_channels(const struct executor *e)
{
    return e->channels && !channel_set_empty(e->channels);
}

/*
 * Nobody knows its channels any more, and what they have on the GPU can't be taken back while
 * their threads and units are under way: a worker with channels leaves.
 */
static enum take take_adopt(struct executor *e, size_t length, uint64_t number)
{
    if (length != sizeof(vgpu_worker_header)) {
        return malformed("ADOPT is too long", length);
    }
    if (has_channels(e) || e->has_drivers) {
        log_notice("the mediator was restarted, which ends the channels and this worker with them");
        return TAKE_CLOSED;
    }
    take_slot(e, number, BACKEND_DONE)->adopt = true;
    return TAKE_JOB;
}

static enum take close_channel(struct executor *e, size_t length, uint64_t handle)
{
    struct channel_mapping *partial = find_partial(e, handle);
    vgpu_worker_word word;

    if (length != sizeof(vgpu_worker_header) + sizeof(word)) {
        return malformed("CHANNEL_CLOSE has the wrong length", length);
    }
    memcpy(&word, e->frame + sizeof(vgpu_worker_header), sizeof(word));
    if (partial) {
        LIST_REMOVE(partial, link);
        mapping_free(partial);
        tell_word(e, VGPU_WORKER_CHANNEL_CLOSED, handle, word.value);
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
static enum take take_turn_page(struct executor *e, size_t length, int *fds, unsigned fd_count)
{
    struct stat about;
    void *page = MAP_FAILED;

    if (length != sizeof(vgpu_worker_header) || fd_count != 1) {
        close_all(fds, fd_count);
        return malformed("TURN_PAGE has the wrong length or no descriptor", length);
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

static enum take take_credit(struct executor *e, size_t length)
{
    vgpu_worker_word word;

    if (length != sizeof(vgpu_worker_header) + sizeof(word)) {
        return malformed("CREDIT has the wrong length", length);
    }
    memcpy(&word, e->frame + sizeof(vgpu_worker_header), sizeof(word));
    e->credit = word.value;
    if (e->channels) {
        channel_set_credit(e->channels, word.value);
    }
    return TAKE_JOB;
}

/* CHUNK: one beyond chunk 0.  Takes the descriptors. */
static enum take take_chunk(struct executor *e, size_t length, uint64_t handle, int *fds,
                            unsigned fd_count)
{
    vgpu_worker_chunk chunk;

    if (length != sizeof(vgpu_worker_header) + sizeof(chunk) || fd_count != 1) {
        close_all(fds, fd_count);
        return malformed("CHUNK has the wrong length or no descriptor", length);
    }
    memcpy(&chunk, e->frame + sizeof(vgpu_worker_header), sizeof(chunk));
    if (e->channels) {
        chunk.status = channel_set_add_chunk(e->channels, handle, chunk.chunk, chunk.bytes, fds[0]);
    } else {
        chunk.status = VGPU_ERR_UNSUPPORTED_OP;
        close(fds[0]);
    }
    if (send_frame(e, VGPU_WORKER_CHUNK_ADDED, handle, &chunk, sizeof(chunk), NULL, 0) < 0) {
        e->broken = true;
    }
    return TAKE_JOB;
}

static enum take remove_chunk(struct executor *e, size_t length, uint64_t handle)
{
    vgpu_worker_word word;

    if (length != sizeof(vgpu_worker_header) + sizeof(word)) {
        return malformed("CHUNK_REMOVE has the wrong length", length);
    }
    memcpy(&word, e->frame + sizeof(vgpu_worker_header), sizeof(word));
    if (e->channels) {
        channel_set_remove_chunk(e->channels, handle, word.value);
    }
    return TAKE_JOB;
}

/* Serves them, and sleeps when there has been nothing for long enough. */
static void serve_channels(struct executor *e, bool busy)
{
    bool did = channel_set_serve(e->channels);

    if (did || busy) {
        e->idle_looks = 0;
    } else if (++e->idle_looks >= e->spins) {
        e->idle_looks = 0;
        e->looks = 0;
        channel_set_sleep(e->channels, e->config->fd);
    } else if (e->idle_looks % LOOKS_FOR_YIELD == 0) {
        sched_yield(); /* the process may wait for this very processor */
    } else {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

/* ---- frames ---- */

static enum take take_frame(struct executor *e, int flags)
{
    vgpu_worker_header header;
    int fds[MAPPING_FDS_MAX];
    unsigned fd_count;
    ssize_t n = fd_packet_receive(e->config->fd, flags, e->frame, sizeof(e->frame), fds,
                                  MAPPING_FDS_MAX, &fd_count);

    if (n == -EAGAIN) {
        return TAKE_NOTHING;
    }
    if (n == -EMSGSIZE || (n > 0 && (size_t)n < sizeof(header)) || n > VGPU_WORKER_FRAME_MAX) {
        return malformed("no frame has this size", n > 0 ? (size_t)n : sizeof(e->frame));
    }
    if (n <= 0) {
        if (n < 0 && n != -ECONNRESET) {
            log_error("reading from the mediator failed: %s", strerror((int)-n));
        }
        return TAKE_CLOSED;
    }
    memcpy(&header, e->frame, sizeof(header));
    if (header.magic != VGPU_WORKER_MAGIC) {
        return malformed("wrong magic", (size_t)n);
    }
    if (header.version != VGPU_WORKER_VERSION) {
        return malformed("another version of the worker protocol", (size_t)n);
    }
    if (header.length != (size_t)n || header.pad != 0) {
        return malformed("header's length or padding is wrong", (size_t)n);
    }
    if (header.type == VGPU_WORKER_CHANNEL) {
        return begin_channel(e, (size_t)n, header.job_id, fds, fd_count);
    }
    if (header.type == VGPU_WORKER_CHUNK_ADD) {
        return add_chunk(e, (size_t)n, header.job_id, fds, fd_count);
    }
    if (header.type == VGPU_WORKER_CHUNK) {
        return take_chunk(e, (size_t)n, header.job_id, fds, fd_count);
    }
    if (header.type == VGPU_WORKER_TURN_PAGE) {
        return take_turn_page(e, (size_t)n, fds, fd_count);
    }
    close_all(fds, fd_count);
    switch (header.type) {
    case VGPU_WORKER_RUN: return take_job(e, (size_t)n, header.job_id);
    case VGPU_WORKER_QUIT:
        if ((size_t)n != sizeof(header)) {
            return malformed("QUIT is too long", (size_t)n);
        }
        return TAKE_QUIT;
    case VGPU_WORKER_ADOPT: return take_adopt(e, (size_t)n, header.job_id);
    case VGPU_WORKER_TURN: return take_turn(e, (size_t)n, header.job_id);
    case VGPU_WORKER_CHUNK_REMOVE: return remove_chunk(e, (size_t)n, header.job_id);
    case VGPU_WORKER_CHANNEL_CLOSE: return close_channel(e, (size_t)n, header.job_id);
    case VGPU_WORKER_CREDIT: return take_credit(e, (size_t)n);
    default: return malformed("type is none that a worker takes", (size_t)n);
    }
}

/*
 * Waits a little for the head's end, or for the next frame where there is room.
 * Returns false when the mediator is gone.
 */
static bool pause_a_little(struct executor *e, bool room)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t pause_ns =
        forecast_pause_ns(&e->forecast, e->slots[e->head].opcode, now_ns - e->head_since_ns);
    struct pollfd socket = {.fd = e->config->fd, .events = room ? POLLIN : 0};
    struct timespec pause = {.tv_nsec = (long)pause_ns};
    int ready;

    if (pause_ns == 0) {
        return true;
    }
    ready = ppoll(&socket, 1, &pause, NULL);
    if (ready == 0) {
        forecast_slept(&e->forecast, pause_ns, clock_now_ns() - now_ns);
    }
    return !(ready > 0 && (socket.revents & (POLLHUP | POLLERR)) && !(socket.revents & POLLIN));
}

/*
 * The head is a turn of a channel with its own thread: sleeps until that says something, or the
 * next frame comes where there is room.  False when the mediator is gone.
 */
static bool sleep_in_turn(struct executor *e, bool room)
{
    struct pollfd fds[] = {{.fd = e->config->fd, .events = room ? POLLIN : 0},
                           {.fd = e->drivers.over, .events = POLLIN}};

    poll(fds, 2, has_channels(e) ? 0 : 1000);
    return !((fds[0].revents & (POLLHUP | POLLERR)) && !(fds[0].revents & POLLIN));
}

/* Looks at the head once. */
static enum backend_state look_at_head(struct executor *e)
{
    struct slot *slot = &e->slots[e->head];
    const bool goes_on = e->count > 1 && e->slots[(e->head + 1) % e->config->depth].channel;

    if (slot->channel && e->has_drivers && !slot->own_thread) {
        slot->own_thread = driver_set_begin_turn(&e->drivers, slot->channel, slot->budget_ns);
    }
    if (slot->own_thread) {
        if (driver_set_turn_over(&e->drivers, slot->channel, goes_on, &slot->result.gpu_time_ns)) {
            slot->channel = 0;
            slot->own_thread = false;
            slot->state = BACKEND_DONE;
        }
    } else if (slot->channel) {
        const struct channel_turn turn = {
            .budget_ns = slot->budget_ns,
            .goes_on = goes_on,
        };

        if (!e->channels ||
            channel_set_turn(e->channels, slot->channel, &turn, &slot->result.gpu_time_ns)) {
            slot->channel = 0;
            slot->state = BACKEND_DONE;
        }
    } else if (slot->state == BACKEND_RUNNING) {
        slot->state = e->config->ops->poll(e->config->backend, e->head, &slot->result);
        if (slot->state == BACKEND_DONE) {
            forecast_learn(&e->forecast, slot->opcode, clock_now_ns() - e->head_since_ns);
        }
    }
    return slot->state;
}

/*
 * The context is gone.  Unread frames at exit would reset the connection, and
 * the mediator would see the reset before the answers that wait in its own queue.
 */
static void discard_unread(const struct executor *e)
{
    char byte;

    shutdown(e->config->fd, SHUT_RD);
    while (recv(e->config->fd, &byte, 1, MSG_DONTWAIT) > 0) {
    }
}

/* Nothing is in flight, but there was a moment ago: the next job is likely to come soon. */
static bool stays_awake(const struct executor *e)
{
    return e->config->ops->idle_spin_ns > 0 &&
           clock_now_ns() - e->idle_since_ns < e->config->ops->idle_spin_ns;
}

static enum vgpu_worker_exit serve(struct executor *e)
{
    bool quitting = false;

    while (!quitting || e->count > 0) {
        bool room = !quitting && e->count < e->config->depth;
        enum take taken = TAKE_NOTHING;

        /* While it looks at rings it looks at the socket now and then: that is a system call. */
        if (room && (!has_channels(e) || e->looks++ % LOOKS_FOR_SOCKET == 0)) {
            taken =
                take_frame(e, e->count > 0 || has_channels(e) || stays_awake(e) ? MSG_DONTWAIT : 0);
        }
        switch (taken) {
        case TAKE_CLOSED: return VGPU_WORKER_EXIT_OK;
        case TAKE_MALFORMED: return VGPU_WORKER_EXIT_PROTOCOL;
        case TAKE_QUIT: quitting = true; break;
        case TAKE_JOB:
        case TAKE_NOTHING: break;
        }
        if (!e->lost && e->count > 0) {
            enum backend_state state = look_at_head(e);

            if (state == BACKEND_DONE && send_done(e) < 0) {
                return VGPU_WORKER_EXIT_OK;
            }
            e->lost = state == BACKEND_LOST;
            if (state == BACKEND_RUNNING && !e->slots[e->head].channel && taken == TAKE_NOTHING &&
                !pause_a_little(e, room)) {
                return VGPU_WORKER_EXIT_OK;
            }
            if (state == BACKEND_RUNNING && e->slots[e->head].own_thread && taken == TAKE_NOTHING &&
                !sleep_in_turn(e, room)) {
                return VGPU_WORKER_EXIT_OK;
            }
        }
        if (has_channels(e)) {
            serve_channels(e, taken != TAKE_NOTHING || e->count > 0);
            e->lost = e->lost || channel_set_lost(e->channels);
        } else {
            e->idle_looks = 0;
        }
        if (e->broken) {
            return VGPU_WORKER_EXIT_OK;
        }
        if (e->lost) {
            discard_unread(e);
            return VGPU_WORKER_EXIT_GPU_FAULT;
        }
    }
    return VGPU_WORKER_EXIT_OK;
}

enum vgpu_worker_exit executor_run(const struct executor_config *config, bool *in_flight)
{
    static struct executor executor; /* 20 kB, and there is one worker a process */
    struct executor *e = &executor;
    enum vgpu_worker_exit status = VGPU_WORKER_EXIT_OK;

    assert(config->depth >= 1 && config->depth <= WORKER_DEPTH_MAX);
    memset(e, 0, sizeof(*e));
    e->config = config;
    e->credit = VGPU_WORKER_CREDIT_ALL;
    e->spins = get_nprocs() > 1 ? CHANNEL_SET_SPINS : 1;
    config->ops->describe(config->backend, &e->ready);
    if (send_frame(e, VGPU_WORKER_READY, 0, &e->ready, sizeof(e->ready), NULL, 0) == 0) {
        status = serve(e);
    }
    channel_set_free(e->channels);
    while (!LIST_EMPTY(&e->partials)) {
        struct channel_mapping *partial = LIST_FIRST(&e->partials);

        LIST_REMOVE(partial, link);
        mapping_free(partial);
    }
    if (e->has_drivers) {
        driver_set_end(&e->drivers);
        *in_flight = true; /* their threads may be inside the driver */
        return status;
    }
    *in_flight = e->count > 0;
    return status;
}
