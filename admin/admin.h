/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This header has what all commands of vgpu-admin share.
 *
 * A command gets a struct admin with its options parsed, does its work, and
 * returns the exit status.  It prints either text or, with --json, one JSON
 * document on stdout.  Errors go through admin_fail(), notes that are no error
 * through admin_note().
 */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/vgpu_config.h"

struct admin_link;
struct toolstack;

/* Exit status, documented in vgpu-admin(8). */
enum admin_exit {
    ADMIN_OK = 0,
    ADMIN_FAILED = 1,
    ADMIN_USAGE = 2,
    ADMIN_UNREACHABLE = 3, /* the command needs the mediator and it does not answer */
};

#define ADMIN_OPTIONS_MAX 16

struct admin_option {
    const char *name;    /* without the dashes */
    const char *metavar; /* NULL: a flag */
    const char *help;
    bool required;
    const char *alias; /* an older spelling, or NULL */
};

/* The ways to name a VM; in commands whose --vm-id is a new value, without it. */
#define ADMIN_OPTION_VM_NAME                                                                       \
    {                                                                                              \
        .name = "vm-name", .metavar = "NAME", .help = "the VM's name"                              \
    }
#define ADMIN_OPTION_VM_UUID                                                                       \
    {                                                                                              \
        .name = "vm-uuid", .metavar = "UUID", .help = "the VM's UUID"                              \
    }
#define ADMIN_OPTION_VM_ID                                                                         \
    {                                                                                              \
        .name = "vm-id", .metavar = "N", .help = "the VM's number (vm_id)"                         \
    }
#define ADMIN_OPTIONS_VM ADMIN_OPTION_VM_UUID, ADMIN_OPTION_VM_NAME, ADMIN_OPTION_VM_ID
/* The same, as a usage line has them. */
#define ADMIN_WHICH_VM "(--vm-name=NAME | --vm-uuid=UUID | --vm-id=N)"

/* The options of a command, in its table. */
#define ADMIN_TAKES(...)                                                                           \
    .options = (const struct admin_option[])                                                       \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

struct admin;

struct admin_command {
    const char *name;
    const char *group;                  /* heading in the list of commands */
    const char *summary;                /* one line */
    const char *usage;                  /* what follows the name; NULL: nothing */
    const char *details;                /* may be NULL */
    const char *example;                /* one or more lines, each a command */
    const struct admin_option *options; /* ends with a name of NULL; may be NULL */
    int (*run)(struct admin *admin);
    bool only_looks;        /* changes nothing, so --watch may repeat it */
    const char *positional; /* the option whose value may come without its name; NULL: none */
};

/* All commands, ends with a name of NULL. */
extern const struct admin_command *const admin_command_families[];
const struct admin_command *admin_find_command(const char *name);

struct admin {
    /* Global options. */
    const char *db_path;
    const char *socket_path;
    const char *toolstack_name; /* NULL: choose */
    bool json;
    bool yes;
    bool color;
    double watch_s; /* --watch: seconds from one look to the next; 0: once */
    int timeout_s;  /* 0: the default of what is waited for */

    const struct admin_command *command;
    const char *values[ADMIN_OPTIONS_MAX]; /* by index in command->options */

    /* Opened when first asked for, closed by main(). */
    struct vgpu_db *db;
    struct vgpu_config_snapshot *config;
    struct admin_link *link;
    struct toolstack *toolstack;
    json_t *notes; /* strings */
};

#endif /* ADMIN_ADMIN_H */
