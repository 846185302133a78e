/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module is the account of a VM's memory on a GPU, in its worker: one for all that the VM has
 * there, bulk operations of libvgpu and programs on the CUDA driver interface alike.  Several
 * threads use it.
 */
#ifndef WORKER_MEMORY_ACCOUNT_H
#define WORKER_MEMORY_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

struct memory_account {
    uint64_t limit_bytes; /* 0: none */
    uint64_t used_bytes;  /* atomic; it may be above the limit, then nothing more is given */
};

/* False: the limit is reached; nothing is charged. */
static inline bool memory_charge(struct memory_account *account, uint64_t bytes)
{
    uint64_t used = __atomic_load_n(&account->used_bytes, __ATOMIC_RELAXED);

    do {
        if (bytes > UINT64_MAX - used ||
            (account->limit_bytes &&
             (used > account->limit_bytes || bytes > account->limit_bytes - used))) {
            return bytes == 0;
        }
    } while (!__atomic_compare_exchange_n(&account->used_bytes, &used, used + bytes, false,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return true;
}

/* Would so many be given now? */
static inline bool memory_fits(const struct memory_account *account, uint64_t bytes)
{
    uint64_t used = __atomic_load_n(&account->used_bytes, __ATOMIC_RELAXED);

    return !account->limit_bytes ||
           (used <= account->limit_bytes && bytes <= account->limit_bytes - used);
}

/* What is taken already, whatever the limit. */
static inline void memory_charge_taken(struct memory_account *account, uint64_t bytes)
{
    __atomic_add_fetch(&account->used_bytes, bytes, __ATOMIC_RELAXED);
}

static inline void memory_discharge(struct memory_account *account, uint64_t bytes)
{
    __atomic_sub_fetch(&account->used_bytes, bytes, __ATOMIC_RELAXED);
}

static inline uint64_t memory_used(const struct memory_account *account)
{
    return __atomic_load_n(&account->used_bytes, __ATOMIC_RELAXED);
}

#endif
