/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keeper/parked.h"

#include <stdlib.h>
#include <unistd.h>

static void close_pair(const int fds[VGPU_KEEPER_FDS])
{
    for (unsigned i = 0; i < VGPU_KEEPER_FDS; i++) {
        close(fds[i]);
    }
}

void parked_add(struct parked *parked, const int fds[VGPU_KEEPER_FDS], uint64_t until_ns)
{
    int(*more)[VGPU_KEEPER_FDS] = NULL;

    if (parked->count < VGPU_KEEPER_PARKED_MAX) {
        more = realloc(parked->pairs, (parked->count + 1) * sizeof(*more));
    }
    if (!more) {
        close_pair(fds);
        return;
    }
    for (unsigned i = 0; i < VGPU_KEEPER_FDS; i++) {
        more[parked->count][i] = fds[i];
    }
    parked->pairs = more;
    parked->count++;
    parked->until_ns = until_ns;
}

const int *parked_next(const struct parked *parked)
{
    return parked->count > 0 ? parked->pairs[parked->count - 1] : NULL;
}

void parked_drop_next(struct parked *parked)
{
    close_pair(parked->pairs[--parked->count]);
    if (parked->count == 0) {
        parked_drop_all(parked);
    }
}

uint32_t parked_expire(struct parked *parked, uint64_t now_ns)
{
    uint32_t count = parked->count;

    if (count == 0 || now_ns < parked->until_ns) {
        return 0;
    }
    parked_drop_all(parked);
    return count;
}

void parked_drop_all(struct parked *parked)
{
    while (parked->count > 0) {
        close_pair(parked->pairs[--parked->count]);
    }
    free(parked->pairs);
    parked->pairs = NULL;
}
