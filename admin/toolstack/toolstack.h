/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A toolstack is the host's own VM manager: xe (XCP-ng), virsh (libvirt), or none.
 *
 * It is asked for names, UUIDs and power states, and told to restart a VM whose
 * device must be made anew.  Names are tenants': they may have line breaks and
 * whatever the program prints itself, so a name is asked alone, and what is printed
 * then is all of it.  Results are 0 or -errno; toolstack_error() has a
 * text that says what to do.
 */
#ifndef ADMIN_TOOLSTACK_TOOLSTACK_H
#define ADMIN_TOOLSTACK_TOOLSTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOOLSTACK_UUID_BYTES 64
#define TOOLSTACK_NAME_BYTES 256
#define TOOLSTACK_STATE_BYTES 32
#define TOOLSTACK_VMS_MAX 8192
#define TOOLSTACK_TIMEOUT_MS 60000   /* one call */
#define TOOLSTACK_SHUTDOWN_MS 300000 /* until the guest has shut down */

struct toolstack_vm {
    char uuid[TOOLSTACK_UUID_BYTES];
    char name[TOOLSTACK_NAME_BYTES];
    char state[TOOLSTACK_STATE_BYTES]; /* in the toolstack's own words */
    bool running;
};

/* What a vgpu-stub device is told by its command line. */
struct toolstack_device {
    char pool_id;
    uint8_t priority;
    uint32_t vm_id;
};

struct toolstack;

/* Each returns 0 or -errno after toolstack_fail(). */
struct toolstack_ops {
    const char *name;    /* for --toolstack and messages */
    const char *program; /* NULL: none */
    int (*list)(struct toolstack *toolstack, struct toolstack_vm **vms, size_t *count);
    /* -ENOENT without text: there is no VM with this UUID. */
    int (*find)(struct toolstack *toolstack, const char *uuid, struct toolstack_vm *vm);
    /* -ENOENT without text: the VM has no vgpu-stub in its own configuration. */
    int (*set_device)(struct toolstack *toolstack, const char *uuid,
                      const struct toolstack_device *device);
    /*
     * The device reads its properties when its QEMU starts.  So: shut down,
     * wait, start.
     */
    int (*restart)(struct toolstack *toolstack, const char *uuid);
    /* How to do that by hand; the word UUID stands for the VM's. */
    const char *restart_by_hand;
    /*
     * Whether a reboot, one from inside the guest too, gives the VM a new QEMU.
     * XCP-ng makes a new domain for it, with the platform map as it is then;
     * libvirt only resets the QEMU that runs.
     */
    bool reboot_is_enough;
};

extern const struct toolstack_ops toolstack_xe;
extern const struct toolstack_ops toolstack_libvirt;
extern const struct toolstack_ops toolstack_none;

/* name: "xe", "virsh", "none", or NULL to choose by what is in PATH.  NULL: no such name. */
struct toolstack *toolstack_new(const char *name, int timeout_ms);
void toolstack_free(struct toolstack *toolstack);
const struct toolstack_ops *toolstack_ops(const struct toolstack *toolstack);
const char *toolstack_error(const struct toolstack *toolstack);

/* *vms, sorted by name, is the caller's. */
int toolstack_list(struct toolstack *toolstack, struct toolstack_vm **vms, size_t *count);

/* The VM with this UUID, in lower or upper case; -ENOENT without text: there is none. */
int toolstack_find(struct toolstack *toolstack, const char *uuid, struct toolstack_vm *vm);

/* ---- For the implementations -------------------------------------------------- */

int toolstack_fail(struct toolstack *toolstack, int result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/*
 * Runs the toolstack's program.  timeout_ms 0 is the limit of one call.  Fails,
 * never with -ENOENT, if it cannot be run, takes too long, or exits with a status
 * other than 0: then toolstack_error() ends with what it said.  *out is the
 * caller's; out NULL: what it prints is of no interest.
 */
int toolstack_run(struct toolstack *toolstack, const char *const argv[], int timeout_ms,
                  char **out);
/*
 * A list of UUIDs, separated by commas, blanks and line breaks, as an array of VMs
 * that have a UUID only; what is no UUID is left out.
 */
int toolstack_add_uuids(struct toolstack *toolstack, const char *text, struct toolstack_vm **vms,
                        size_t *count);
/* Sets the state of those of the VMs whose UUIDs such a list has. */
void toolstack_mark(struct toolstack_vm *vms, size_t count, const char *uuids, const char *state,
                    bool running);
/*
 * What a command prints, without the line breaks at its end.  -ENOENT: it failed with `unknown` in
 * what it said, which means that there is no such VM.
 */
int toolstack_ask(struct toolstack *toolstack, const char *const argv[], const char *unknown,
                  char *value, size_t bytes);
/* Asks for each VM's name; those that went away since they were listed are taken out. */
int toolstack_name_all(struct toolstack *toolstack, struct toolstack_vm *vms, size_t *count,
                       int (*name)(struct toolstack *toolstack, const char *uuid, char *name,
                                   size_t bytes));
/* How long a guest may take to shut down. */
int toolstack_shutdown_ms(const struct toolstack *toolstack);
/* Adds a copy of vm to a growing array. */
int toolstack_add(struct toolstack *toolstack, struct toolstack_vm **vms, size_t *count,
                  const struct toolstack_vm *vm);

#endif /* ADMIN_TOOLSTACK_TOOLSTACK_H */
