/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module prints the help, and the words for bash completion. */
#ifndef ADMIN_HELP_H
#define ADMIN_HELP_H

#include "admin/admin.h"

void help_overview(const struct admin_option *globals);
void help_command(const struct admin_command *command, const struct admin_option *globals);
/* vgpu-admin --complete commands | options COMMAND | values COMMAND OPTION: one word a line. */
int help_complete(int argc, char **argv, const struct admin_option *globals);

#endif /* ADMIN_HELP_H */
