/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handles of the process, and what the library knows of each object.
 *
 * A handle's number is chosen here (vgpu_channel.h), so the worker needs none of its own.  The
 * table only grows; an index is used again with the next generation.
 */
#include <stdlib.h>
#include <string.h>

#include "guest/cuda/internal.h"

#define SHELF 4096u /* objects that are allocated at a time; they never move */

static struct cuda_object *shelves[CUDA_HANDLES_MAX / SHELF];
static uint32_t generations[CUDA_HANDLES_MAX];
static uint32_t free_list[CUDA_HANDLES_MAX];
static uint32_t free_count, used = CUDA_CONTEXTS_MAX; /* lower ones are contexts' */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct cuda_object *at(uint32_t index)
{
    struct cuda_object *shelf = __atomic_load_n(&shelves[index / SHELF], __ATOMIC_ACQUIRE);

    return shelf ? &shelf[index % SHELF] : NULL;
}

static uint64_t take_index(unsigned kind)
{
    uint32_t index;

    if (free_count) {
        index = free_list[--free_count];
    } else if (used < CUDA_HANDLES_MAX) {
        index = used;
        if (!shelves[index / SHELF]) {
            struct cuda_object *shelf = calloc(SHELF, sizeof(*shelf));

            if (!shelf) {
                return 0;
            }
            __atomic_store_n(&shelves[index / SHELF], shelf, __ATOMIC_RELEASE);
        }
        used++;
    } else {
        return 0;
    }
    return vgpu_handle(kind, ++generations[index], index);
}

uint64_t cuda_object_new(struct cuda_call *call, unsigned kind)
{
    uint64_t handle;

    pthread_mutex_lock(&lock);
    handle = take_index(kind);
    pthread_mutex_unlock(&lock);
    call->made = handle;
    return handle;
}

static void drop(struct cuda_object *object)
{
    uint32_t index = vgpu_handle_index(object->handle);

    if (object->function) {
        free(object->function->name);
        free(object->function);
    }
    __atomic_store_n(&object->handle, 0, __ATOMIC_RELEASE);
    free(object->kept);
    object->kept = NULL;
    object->function = NULL;
    object->context = NULL;
    object->of = 0;
    free_list[free_count++] = index;
}

void cuda_object_made(struct cuda_call *call, CUresult result, void *to)
{
    uint64_t handle = call->made;
    unsigned kind = vgpu_handle_kind(handle);
    struct cuda_object *object = handle ? at(vgpu_handle_index(handle)) : NULL;

    if (!object) {
        return;
    }
    pthread_mutex_lock(&lock);
    if (result == CUDA_SUCCESS) {
        object->context =
            kind == CUDA_KIND_LIBRARY || kind == CUDA_KIND_KERNEL || kind == CUDA_KIND_PHYSICAL
                ? NULL
                : call->context;
        object->function = NULL;
        object->kept = NULL;
        object->of = 0;
        __atomic_store_n(&object->handle, handle, __ATOMIC_RELEASE);
        memcpy(to, &handle, sizeof(handle));
    } else {
        free_list[free_count++] = vgpu_handle_index(handle);
    }
    pthread_mutex_unlock(&lock);
}

void cuda_object_end(uint64_t handle, CUresult result)
{
    struct cuda_object *object = at(vgpu_handle_index(handle));

    if (result == CUDA_SUCCESS && object) {
        pthread_mutex_lock(&lock);
        if (object->handle == handle) {
            drop(object);
        }
        pthread_mutex_unlock(&lock);
        if (vgpu_handle_kind(handle) == CUDA_KIND_MODULE ||
            vgpu_handle_kind(handle) == CUDA_KIND_LIBRARY ||
            vgpu_handle_kind(handle) == CUDA_KIND_GRAPH ||
            vgpu_handle_kind(handle) == CUDA_KIND_GRAPH_NODE) {
            cuda_objects_drop(NULL);
        }
    }
}

struct cuda_object *cuda_object(uint64_t handle, unsigned kind)
{
    uint32_t index = vgpu_handle_index(handle);
    unsigned is = vgpu_handle_kind(handle);
    struct cuda_object *object;

    if (!(handle & VGPU_HANDLE_MARK) || index < CUDA_CONTEXTS_MAX || index >= CUDA_HANDLES_MAX ||
        (is != kind && !(kind == CUDA_KIND_FUNCTION && is == CUDA_KIND_KERNEL))) {
        return NULL;
    }
    object = at(index);
    return object && __atomic_load_n(&object->handle, __ATOMIC_ACQUIRE) == handle ? object : NULL;
}

uint64_t cuda_object_by_name(uint64_t of, const char *name, unsigned kind)
{
    uint64_t found = 0;

    pthread_mutex_lock(&lock);
    for (uint32_t i = CUDA_CONTEXTS_MAX; i < used && !found; i++) {
        struct cuda_object *object = at(i);

        if (object->handle && object->function && object->of == of &&
            vgpu_handle_kind(object->handle) == kind &&
            (!object->context || object->context == cuda_current()) &&
            strcmp(object->function->name, name) == 0) {
            found = object->handle;
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static bool lives(uint64_t handle)
{
    return cuda_object(handle, vgpu_handle_kind(handle)) != NULL;
}

void cuda_object_of(uint64_t handle, uint64_t of)
{
    struct cuda_object *object = cuda_object(handle, vgpu_handle_kind(handle));

    if (object) {
        object->of = of;
    }
}

void cuda_object_keep(uint64_t handle, void *memory)
{
    struct cuda_object *object = cuda_object(handle, vgpu_handle_kind(handle));

    if (object) {
        pthread_mutex_lock(&lock);
        free(object->kept);
        object->kept = memory;
        pthread_mutex_unlock(&lock);
    } else {
        free(memory);
    }
}

/* All of a context, and all whose origin has gone; each round finds the last one's orphans. */
void cuda_objects_drop(const struct cuda_context *context)
{
    bool found;

    pthread_mutex_lock(&lock);
    do {
        found = false;
        for (uint32_t i = CUDA_CONTEXTS_MAX; i < used; i++) {
            struct cuda_object *object = at(i);

            if (object->handle &&
                ((context && object->context == context) || (object->of && !lives(object->of)))) {
                drop(object);
                found = true;
            }
        }
    } while (found);
    pthread_mutex_unlock(&lock);
    cuda_ranges_drop_globals();
}
