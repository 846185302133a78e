/* SPDX-License-Identifier: BSD-3-Clause */
/* This module answers for functions of a front end that are not built, and says each once. */
#ifndef GUEST_FRONTENDS_REFUSE_H
#define GUEST_FRONTENDS_REFUSE_H

#include <stdbool.h>

#define FRONTEND_EXPORT __attribute__((visibility("default")))

/* `said` is the function's own; answers the status. */
int frontend_refuse(const char *library, const char *name, int status, const char *status_name,
                    bool *said);

#define REFUSED(name, library, status, status_name)                                                \
    FRONTEND_EXPORT int name(void);                                                                \
    int name(void)                                                                                 \
    {                                                                                              \
        static bool said;                                                                          \
        return frontend_refuse(library, #name, status, status_name, &said);                        \
    }

/* One that answers a text, which a program may print. */
#define REFUSED_TEXT(name, library, status, status_name)                                           \
    FRONTEND_EXPORT const char *name(void);                                                        \
    const char *name(void)                                                                         \
    {                                                                                              \
        return status_name;                                                                        \
    }

#endif
