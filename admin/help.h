/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --help, and the words for bash completion. */
#ifndef ADMIN_HELP_H
#define ADMIN_HELP_H

#include "admin/admin.h"

#define ADMIN_GLOBAL_OPTIONS                                                                       \
    {"db", "PATH", "the database (default $VGPU_DB, else " VGPU_DB_PATH ")", false, NULL},         \
        {"admin-socket", "PATH",                                                                   \
         "the mediator's admin socket (default $VGPU_ADMIN_SOCKET, else /var/vgpu/admin.sock)",    \
         false, NULL},                                                                             \
        {"toolstack", "xe|virsh|none",                                                             \
         "whom to ask about VMs (default $VGPU_TOOLSTACK, else what is installed)", false, NULL},  \
        {"timeout", "SECONDS",                                                                     \
         "how long the mediator or a toolstack program may take (default 5; 60, and 300 for a "    \
         "guest's shutdown)",                                                                      \
         false, NULL},                                                                             \
        {"json", NULL, "print one JSON document", false, NULL},                                    \
        {"watch", "[SECONDS]",                                                                     \
         "look again and again (every 2 s) until Ctrl-C, for commands that only look", false,      \
         NULL},                                                                                    \
        {"yes", NULL, "answer yes to every question", false, NULL},                                \
        {"no-color", NULL, "no colours (NO_COLOR in the environment does the same)", false, NULL}, \
        {"help", NULL, "show help, of a command if one is given", false, NULL},                    \
    {                                                                                              \
        "version", NULL, "show the version", false, NULL                                           \
    }

void help_overview(const struct admin_option *globals);
void help_command(const struct admin_command *command, const struct admin_option *globals);
/* vgpu-admin --complete commands | options COMMAND | values COMMAND OPTION: one word a line. */
int help_complete(int argc, char **argv, const struct admin_option *globals);

#endif /* ADMIN_HELP_H */
