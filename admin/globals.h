/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module reads the options that every command has.  They may stand anywhere in the
 * command line.
 */
#ifndef ADMIN_GLOBALS_H
#define ADMIN_GLOBALS_H

#include "admin/admin.h"

/* Ends with a name of NULL. */
extern const struct admin_option admin_global_options[];

/* What was asked for besides a command. */
struct admin_asked {
    bool help, version, no_color;
};

/*
 * Takes them out of argv and fills admin and *asked, which is all false before.
 * ADMIN_OK, or ADMIN_USAGE after saying why.
 */
int admin_parse_globals(struct admin *admin, int *argc, char **argv, struct admin_asked *asked);
/* Of --toolstack or $VGPU_TOOLSTACK; "libvirt" becomes "virsh". */
int admin_check_toolstack_name(struct admin *admin);

#endif /* ADMIN_GLOBALS_H */
