/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stand-in's virtual memory management: physical memory is a file that mappings share. */
#include "tests/cuda/stand_in.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define GRANULARITY (2ull << 20)
#define VIRTUAL_MEMORY 0x280000000000ull /* where it begins */

struct physical {
    struct object object;
    int fd;
    uint64_t bytes;
    unsigned users;
};

static uint64_t next_address = VIRTUAL_MEMORY;
static struct cuda_range_map reserved, mapped;

static void drop(struct physical *physical)
{
    if (--physical->users == 0) {
        close(physical->fd);
        GPU->used_bytes -= physical->bytes;
        stand_in_dies(&physical->object);
    }
}

static void *place(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

static void block(uint64_t address, uint64_t bytes)
{
    mmap(place(address), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
         -1, 0);
}

EXPORT CUresult cuMemGetAllocationGranularity(size_t *bytes, const CUmemAllocationProp *prop,
                                              unsigned option)
{
    *bytes = GRANULARITY;
    return prop->type == CU_MEM_ALLOCATION_TYPE_PINNED && option <= 1 ? CUDA_SUCCESS
                                                                      : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemAddressReserve(CUdeviceptr *address, size_t bytes, size_t alignment,
                                    CUdeviceptr wanted, unsigned long long flags)
{
    struct cuda_range range = {.start = next_address, .bytes = bytes};
    void *got;

    (void)wanted;
    if (bytes == 0 || bytes % GRANULARITY || flags || (alignment & (alignment - 1))) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    got = mmap(place(range.start), bytes, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
    if (got != place(range.start)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    next_address += bytes;
    *address = range.start;
    LOCKED(cuda_ranges_insert(&reserved, &range));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes)
{
    const struct cuda_range *range = cuda_ranges_find(&reserved, address);

    if (!range || range->start != address || range->bytes != bytes) {
        stand_in_abort(__func__, "it frees addresses that were not reserved");
    }
    for (size_t i = 0; i < mapped.count; i++) {
        if (mapped.all[i].start - address < bytes) {
            stand_in_abort(__func__, "something is mapped there");
        }
    }
    munmap(place(address), bytes);
    LOCKED(cuda_ranges_remove(&reserved, address));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes,
                            const CUmemAllocationProp *prop, unsigned long long flags)
{
    struct physical *physical;
    bool fits;

    if (bytes == 0 || bytes % GRANULARITY || flags || prop->requestedHandleTypes) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    LOCKED(fits = bytes <= GPU->total_bytes - GPU->used_bytes; GPU->used_bytes += fits ? bytes : 0);
    if (!fits) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    physical = calloc(1, sizeof(*physical));
    physical->fd = memfd_create("physical", MFD_CLOEXEC);
    physical->bytes = bytes;
    physical->users = 1;
    if (physical->fd < 0 || ftruncate(physical->fd, (off_t)bytes) != 0) {
        stand_in_abort(__func__, "no memory");
    }
    stand_in_born(&physical->object, PHYSICAL, NULL);
    *handle = (uintptr_t)physical;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
    drop(CHECK(place(handle), PHYSICAL));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset,
                         CUmemGenericAllocationHandle handle, unsigned long long flags)
{
    struct physical *physical = CHECK(place(handle), PHYSICAL);
    struct cuda_range range = {.start = address, .bytes = bytes, .context = physical};

    if (offset || flags || bytes != physical->bytes ||
        !cuda_ranges_hold(&reserved, address, bytes)) {
        stand_in_abort(__func__, "it maps what is not reserved, or a part");
    }
    physical->users++;
    LOCKED(cuda_ranges_insert(&mapped, &range));
    return CUDA_SUCCESS;
}

/* For no context's work. */
static void never_wait(const char *function)
{
    for (const struct object *object = GPU->objects; object; object = object->next) {
        if (object->kind == CONTEXT) {
            stand_in_never_wait(function, (const struct context *)object);
        }
    }
}

EXPORT CUresult cuMemUnmap(CUdeviceptr address, size_t bytes)
{
    for (uint64_t at = address; at < address + bytes;) {
        const struct cuda_range *range = cuda_ranges_find(&mapped, at);
        uint64_t next;

        if (!range || range->start != at) {
            stand_in_abort(__func__, "it unmaps what is not mapped");
        }
        next = at + range->bytes;
        never_wait(__func__);
        block(at, range->bytes);
        LOCKED(cuda_ranges_cut(&GPU->memory, at, next - at));
        drop((struct physical *)range->context);
        LOCKED(cuda_ranges_remove(&mapped, at));
        at = next;
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access,
                               size_t count)
{
    if (count != 1 || access->location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
        (access->flags != 0 && access->flags != 1 && access->flags != 3)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (uint64_t at = address; at < address + bytes;) {
        const struct cuda_range *range = cuda_ranges_find(&mapped, at);
        struct cuda_range usable;

        if (!range || range->start != at || range->bytes > address + bytes - at) {
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (cuda_ranges_find(&GPU->memory, at)) {
            never_wait(__func__);
        }
        usable = (struct cuda_range){.start = at, .bytes = range->bytes, .kind = CUDA_RANGE_MAPPED};
        LOCKED(cuda_ranges_cut(&GPU->memory, at, usable.bytes));
        if (access->flags) {
            mmap(place(at), usable.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                 ((const struct physical *)range->context)->fd, 0);
            LOCKED(cuda_ranges_insert(&GPU->memory, &usable));
        } else {
            block(at, usable.bytes);
        }
        at += usable.bytes;
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location,
                               CUdeviceptr address)
{
    (void)location;
    *flags = cuda_ranges_find(&GPU->memory, address) ? 3 : 0;
    return CUDA_SUCCESS;
}
