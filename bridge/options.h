/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module reads the command line of vgpu-file-bridge. */
#ifndef BRIDGE_OPTIONS_H
#define BRIDGE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/session.h"
#include "common/log.h"

#define OPTIONS_ROOT "/var/vgpu"
#define OPTIONS_POLL_MS 500u

struct options {
    const char *root;
    struct session_settings session;
    uint32_t poll_ms;
    enum log_level log_level;
    bool set_up;  /* make the folders of `vm_ids`, and end */
    char **words; /* what follows the options, up to a NULL */
};

/* -1: go on; else exit with this status (0 after --help, 2 after a wrong option). */
int options_parse(struct options *options, int argc, char **argv);

#endif /* BRIDGE_OPTIONS_H */
