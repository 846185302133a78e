/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Handles: the process chooses the numbers, so every look-up compares all of them. */
#include "worker/cuda/channel/driver_internal.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES_FIRST 1024u

/* NULL: the number is out of bounds, or there is no memory for it. */
static struct driver_entry *place_of(struct driver_channel *channel, uint64_t handle, bool grow)
{
    uint32_t index = vgpu_handle_index(handle);

    if (!(handle & VGPU_HANDLE_MARK) || index < CUDA_CONTEXTS_MAX || index >= CUDA_HANDLES_MAX) {
        return NULL;
    }
    if (index >= channel->entry_room && grow) {
        uint32_t room = channel->entry_room ? channel->entry_room : ENTRIES_FIRST;
        struct driver_entry *more;

        while (room <= index) {
            room *= 2;
        }
        more = realloc(channel->entries, room * sizeof(*more));
        if (!more) {
            return NULL;
        }
        memset(more + channel->entry_room, 0, (room - channel->entry_room) * sizeof(*more));
        channel->entries = more;
        channel->entry_room = room;
    }
    return index < channel->entry_room ? &channel->entries[index] : NULL;
}

static bool is_kind(uint64_t handle, unsigned kind)
{
    unsigned is = vgpu_handle_kind(handle);

    return is == kind || (kind == CUDA_KIND_FUNCTION && is == CUDA_KIND_KERNEL);
}

struct driver_entry *driver_handle_entry(struct driver_channel *channel, uint64_t handle)
{
    struct driver_entry *entry = place_of(channel, handle, false);

    return entry && entry->handle == handle ? entry : NULL;
}

bool driver_handle_lives(struct driver_channel *channel, uint64_t handle)
{
    return driver_handle_entry(channel, handle) != NULL;
}

struct driver_entry *driver_entry(struct driver_call *call, uint64_t handle, unsigned kind)
{
    struct driver_entry *entry = place_of(call->channel, handle, false);

    if (!entry || entry->handle != handle || !is_kind(handle, kind)) {
        return NULL;
    }
    /* A few calls take what is of another context; the rest would work on the wrong one. */
    return entry->context == 0 || (call->flags & CUDA_FOREIGN) ||
                   (call->context && entry->context == vgpu_handle_index(call->context->handle))
               ? entry
               : NULL;
}

void *driver_handle(struct driver_call *call, uint64_t handle, unsigned kind)
{
    struct driver_entry *entry = driver_entry(call, handle, kind);

    return entry ? entry->real : NULL;
}

bool driver_handle_free(struct driver_call *call, uint64_t handle, unsigned kind)
{
    struct driver_entry *entry = place_of(call->channel, handle, true);

    return entry && entry->handle == 0 && vgpu_handle_kind(handle) == kind;
}

bool driver_stream_fits(const struct driver_call *call)
{
    return call->channel->stream_count < DRIVER_STREAMS_MAX;
}

struct driver_entry *driver_handle_made(struct driver_call *call, uint64_t handle, unsigned kind,
                                        void *real, CUresult result)
{
    struct driver_entry *entry = place_of(call->channel, handle, false);
    bool free_of_contexts = kind == CUDA_KIND_LIBRARY || kind == CUDA_KIND_KERNEL ||
                            kind == CUDA_KIND_POOL || kind == CUDA_KIND_PHYSICAL;
    bool has_origin =
        kind == CUDA_KIND_MODULE || kind == CUDA_KIND_KERNEL || kind == CUDA_KIND_FUNCTION;
    uint64_t of = has_origin && call->arg_count > 1 ? call->args[1] : 0;

    if (result != CUDA_SUCCESS || !entry) {
        return NULL;
    }
    *entry = (struct driver_entry){
        .handle = handle,
        .real = real,
        .context =
            call->context && !free_of_contexts ? vgpu_handle_index(call->context->handle) : 0,
        .of = driver_handle_lives(call->channel, of) ? of : 0,
    };
    call->channel->stream_count += kind == CUDA_KIND_STREAM;
    call->channel->dnn_descs += kind == CUDA_KIND_DNN_DESC;
    call->channel->fft_plans += kind == CUDA_KIND_FFT;
    return entry;
}

static void end_entry(struct driver_channel *channel, struct driver_entry *entry)
{
    channel->stream_count -= vgpu_handle_kind(entry->handle) == CUDA_KIND_STREAM;
    channel->dnn_descs -= vgpu_handle_kind(entry->handle) == CUDA_KIND_DNN_DESC;
    channel->fft_plans -= vgpu_handle_kind(entry->handle) == CUDA_KIND_FFT;
    driver_capture_over(channel, &channel->contexts[entry->context], &entry->captures);
    driver_memops_drop(entry->memops);
    driver_discharge(channel, entry->charged_bytes);
    *entry = (struct driver_entry){0};
}

/* Modules of a library, kernels, functions of all of them: what came out of what has gone.  Each
 * round finds what the one before has orphaned. */
static void drop_orphans(struct driver_channel *channel)
{
    bool found;

    do {
        found = false;
        for (uint32_t i = CUDA_CONTEXTS_MAX; i < channel->entry_room; i++) {
            struct driver_entry *entry = &channel->entries[i];

            if (entry->handle && entry->of && !driver_handle_lives(channel, entry->of)) {
                end_entry(channel, entry);
                found = true;
            }
        }
    } while (found);
    driver_globals_drop(channel);
}

void driver_handle_end(struct driver_call *call, uint64_t handle, CUresult result)
{
    struct driver_entry *entry = place_of(call->channel, handle, false);
    unsigned kind = vgpu_handle_kind(handle);

    if (result != CUDA_SUCCESS || !entry || entry->handle != handle) {
        return;
    }
    end_entry(call->channel, entry);
    if (kind == CUDA_KIND_MODULE || kind == CUDA_KIND_LIBRARY || kind == CUDA_KIND_GRAPH ||
        kind == CUDA_KIND_GRAPH_NODE) {
        drop_orphans(call->channel);
    }
}

void driver_handles_drop(struct driver_channel *channel, uint32_t context)
{
    for (uint32_t i = CUDA_CONTEXTS_MAX; i < channel->entry_room; i++) {
        if (channel->entries[i].handle && channel->entries[i].context == context) {
            end_entry(channel, &channel->entries[i]);
        }
    }
    drop_orphans(channel);
}

/* They belong to no context, so they would outlive the last one. */
void driver_libraries_end(struct driver_channel *channel)
{
    for (uint32_t i = CUDA_CONTEXTS_MAX; i < channel->entry_room; i++) {
        struct driver_entry *entry = &channel->entries[i];

        if (vgpu_handle_kind(entry->handle) == CUDA_KIND_LIBRARY) {
            channel->api->cuLibraryUnload(entry->real);
            end_entry(channel, entry);
        }
    }
}

/* The driver would see one thread only, so each lane's default stream is a stream of its own. */
static bool per_thread_stream(struct driver_call *call, CUstream *stream)
{
    unsigned lane = call->record->record.lane;

    if (!call->context) {
        return false;
    }
    if (!call->context->per_thread[lane] &&
        call->api->cuStreamCreate(&call->context->per_thread[lane], 0) != CUDA_SUCCESS) {
        call->context->per_thread[lane] = NULL;
        return false;
    }
    *stream = call->context->per_thread[lane];
    return true;
}

bool driver_stream(struct driver_call *call, uint64_t value, CUstream *stream)
{
    struct driver_entry *entry;
    bool found = true;

    *stream = NULL;
    call->stream_context = call->context;
    if (value == CU_STREAM_PER_THREAD) {
        found = per_thread_stream(call, stream);
    } else if (value > CU_STREAM_PER_THREAD) {
        entry = driver_entry(call, value, CUDA_KIND_STREAM);
        found = entry != NULL;
        *stream = found ? entry->real : NULL;
        call->stream_context = found ? &call->channel->contexts[entry->context] : call->context;
    }
    call->stream = *stream;
    call->has_stream = found;
    return found;
}

const char *driver_string(struct driver_call *call, uint64_t bytes)
{
    return bytes > 0 && bytes <= call->payload_bytes && bytes <= CUDA_NAME_MAX &&
                   call->payload[bytes - 1] == 0
               ? (const char *)call->payload
               : NULL;
}

uint64_t driver_float_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}
