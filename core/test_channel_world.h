/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module brings channels into the world of test_world.h: what a session asks for, and what the
 * worker of the latest channel tells the core.
 */
#ifndef CORE_TEST_CHANNEL_WORLD_H
#define CORE_TEST_CHANNEL_WORLD_H

#include "core/test_world.h"

/* A channel of operations with one lane, in the host's memory. */
VGPUChannelOpen open_frame(uint32_t number);
void ask(uint32_t session, uint32_t vm_id, const VGPUChannelOpen *open);
/* Of channel 0 of VM 7. */
void remove_chunk(uint32_t session, uint32_t chunk);
void chunk_added(uint32_t chunk, uint32_t status);
void closed_by_worker(uint32_t reason);

/* For world_begin(): a VM has room for one channel of open_frame(), not for two. */
void small_memory(struct core_config *config);

#endif /* CORE_TEST_CHANNEL_WORLD_H */
