/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest/frontends/refuse.h"

#include <stdio.h>

int frontend_refuse(const char *library, const char *name, int status, const char *status_name,
                    bool *said)
{
    if (!__atomic_exchange_n(said, true, __ATOMIC_RELAXED)) {
        fprintf(stderr, "%s (vgpu): %s is not built: %s\n", library, name, status_name);
    }
    return status;
}
