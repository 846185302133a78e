/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/usage.h"

#include <stdio.h>

#include "common/suggest.h"

int usage_unknown(const char *program, const struct option *options, const char *argument)
{
    /* optopt is set where the option is known and its value is wrong. */
    const char *best = optopt == 0 ? suggest_option(options, argument) : NULL;

    if (best) {
        fprintf(stderr, "Did you mean --%s? ", best);
    }
    fprintf(stderr, "See %s --help.\n", program);
    return USAGE_EXIT;
}

int usage_refused(const char *program, const char *name, const char *value, const char *want)
{
    fprintf(stderr, "%s: %s: \"%s\" is not %s. See %s --help.\n", program, name, value, want,
            program);
    return USAGE_EXIT;
}
