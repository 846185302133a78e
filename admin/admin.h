/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-admin: what all its commands share.
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

struct mediator;
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
        "vm-name", "NAME", "the VM's name", false, NULL                                            \
    }
#define ADMIN_OPTION_VM_UUID                                                                       \
    {                                                                                              \
        "vm-uuid", "UUID", "the VM's UUID", false, NULL                                            \
    }
#define ADMIN_OPTION_VM_ID                                                                         \
    {                                                                                              \
        "vm-id", "N", "the VM's number (vm_id)", false, NULL                                       \
    }
#define ADMIN_OPTIONS_VM ADMIN_OPTION_VM_UUID, ADMIN_OPTION_VM_NAME, ADMIN_OPTION_VM_ID

struct admin;

struct admin_command {
    const char *name;
    const char *group;                  /* heading in the list of commands */
    const char *summary;                /* one line */
    const char *usage;                  /* what follows the name */
    const char *details;                /* may be NULL */
    const char *example;                /* one or more lines, each a command */
    const struct admin_option *options; /* ends with a name of NULL; may be NULL */
    int (*run)(struct admin *admin);
    bool only_looks;        /* may be repeated: --watch */
    const char *positional; /* the option whose value may come without its name; NULL: none */
};

/* The end of an admin_command: those that only look may be repeated. */
#define ADMIN_LOOKS true, NULL
#define ADMIN_CHANGES false, NULL

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
    struct mediator *mediator;
    struct toolstack *toolstack;
    json_t *notes; /* strings */
};

/* The value of an option of this command; NULL if it was not given.  A flag's is "". */
const char *admin_option(const struct admin *admin, const char *name);
/* Fills admin->values; 0, or ADMIN_USAGE after saying why. */
int admin_parse_options(struct admin *admin, int argc, char **argv);

/* ---- Saying things ---------------------------------------------------------- */

/* Says it on stderr, and as {"error": ...} on stdout with --json; returns status. */
int admin_fail(struct admin *admin, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Something to know that is no error: stderr, or "notes" of the JSON document. */
void admin_note(struct admin *admin, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* jansson's json_dumpf() to stdout, safe for a terminal; false without memory. */
bool admin_write_json(const json_t *value, size_t flags);
/* Prints the JSON document (steals it) with the notes in it. */
void admin_print_json(struct admin *admin, json_t *document);
/* Asks on the terminal; false if there is none or the answer is not yes.  --yes: true. */
bool admin_confirm(struct admin *admin, const char *question);
bool admin_can_ask(const struct admin *admin);

/* ---- Option values: 0, or ADMIN_USAGE after saying what is allowed ------------- */

int admin_uint(struct admin *admin, const char *option, uint64_t min, uint64_t max,
               uint64_t *value);
int admin_size(struct admin *admin, const char *option, uint64_t *bytes);
int admin_pool(struct admin *admin, const char *option, char *pool_id);
int admin_priority(struct admin *admin, const char *option, uint8_t *priority);
/* One of the words of a NULL-terminated list. */
int admin_choice(struct admin *admin, const char *option, const char *const *words, size_t *index);
const char *admin_priority_name(unsigned priority);

/* ---- The database --------------------------------------------------------------- */

/* Opens admin->db and loads admin->config; 0 or an exit status after saying why. */
int admin_open_db(struct admin *admin, enum vgpu_db_mode mode);
/*
 * For commands that the mediator can answer alone: reads the database if there
 * is one.  False: *error says why not, and admin->config is empty.
 */
bool admin_open_db_if_any(struct admin *admin, char *error, size_t error_bytes);
/* Closes it and forgets admin->config, so that it can be opened afresh. */
void admin_close_db(struct admin *admin);
/* Says vgpu_db_error(); returns ADMIN_USAGE for a refused value, else ADMIN_FAILED. */
int admin_db_failed(struct admin *admin, int result);
int admin_reload_config(struct admin *admin);

/*
 * The VM that --vm-uuid, --vm-name or --vm-id (only if use_vm_id) names, in
 * admin->config.  0 or an exit status after saying why.
 */
int admin_select_vm(struct admin *admin, bool use_vm_id, const vgpu_vm_config_t **vm);
bool admin_vm_is_named(const struct admin *admin, bool use_vm_id);
const vgpu_vm_config_t *admin_vm_by_id(const struct admin *admin, uint32_t vm_id);
/* Its name, its UUID if it has none. */
const char *admin_vm_name(const vgpu_vm_config_t *vm);
/* "web1 (vm_id 3)", for people: sanitised; the buffer is the caller's. */
#define ADMIN_LABEL_BYTES 320
const char *admin_vm_label(const vgpu_vm_config_t *vm, char label[ADMIN_LABEL_BYTES]);
json_t *admin_vm_json(const vgpu_vm_config_t *vm);
bool admin_is_uuid(const char *text);

/* ---- The mediator ----------------------------------------------------------------- */

/* One request; *answer is the caller's.  0 or an exit status after saying why. */
int admin_ask_mediator(struct admin *admin, uint32_t command, uint32_t param1, json_t *body,
                       json_t **answer);

/*
 * After a change was written: tells the mediator, and goes on with a restart if
 * the VM's device is too old to be told.  before or after is NULL for a VM that
 * is new or gone; both are for changes that are not about one VM.  Prints
 * message, or the JSON document (steals it).  Returns the exit status.
 */
int admin_finish_change(struct admin *admin, const vgpu_vm_config_t *before,
                        const vgpu_vm_config_t *after, const char *message, json_t *document);

#endif /* ADMIN_ADMIN_H */
