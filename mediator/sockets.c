/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/sockets.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "vgpu/vgpu_protocol.h"

/* Who connects to the bridge's socket may speak for any VM: no group gets that. */
static bool find_owner(const struct options *options, const struct core_identity *identity,
                       struct socket_file_owner *owner)
{
    bool of_bridge = identity && identity->kind == CORE_IDENTITY_CLAIM;
    struct group *group;

    *owner = (struct socket_file_owner){geteuid(), SOCKET_KEEP_GID, 0600};
    if (!options->socket_group || of_bridge) {
        return true;
    }
    group = getgrnam(options->socket_group);
    if (!group) {
        log_error("--socket-group: there is no group %s", options->socket_group);
        return false;
    }
    owner->gid = group->gr_gid;
    owner->mode = 0660;
    return true;
}

/* 0, or -errno and an `error`. */
static int listen_on(struct listeners *listeners, const struct socket_file_owner *owner,
                     const char *path, const struct core_identity *identity, char *error,
                     size_t error_bytes)
{
    struct socket_file file;
    int ret = socket_file_open(&file, path, true, error, error_bytes);

    if (ret == 0) {
        ret =
            listeners_add(listeners, &file, owner, path, true, identity, NULL, error, error_bytes);
    }
    if (ret == 0) {
        log_info("listening on %s", path);
    }
    return ret;
}

static bool open_asked_for(const struct options *options, struct listeners *listeners,
                           const char *path, const struct core_identity *identity)
{
    char error[SOCKET_ERROR_BYTES];
    struct socket_file_owner owner;

    if (!find_owner(options, identity, &owner)) {
        return false;
    }
    if (listen_on(listeners, &owner, path, identity, error, sizeof(error)) < 0) {
        log_error("cannot listen on %s: %s", path, error);
        return false;
    }
    return true;
}

static bool open_default(const struct options *options, struct listeners *listeners,
                         const char *path)
{
    char error[SOCKET_ERROR_BYTES];
    struct socket_file_owner owner;
    int ret;

    if (!find_owner(options, NULL, &owner)) {
        return false;
    }
    ret = listen_on(listeners, &owner, path, NULL, error, sizeof(error));
    if (ret == 0) {
        return true;
    }
    log_error("cannot listen on %s: %s", path, error);
    if (ret == -EADDRINUSE || listeners_add_later(listeners, &owner, path, error) < 0) {
        return false;
    }
    log_error("going on without %s until what is in its way has gone; VMs whose devices look for "
              "it can't connect",
              path);
    return true;
}

static bool open_defaults(const struct options *options, struct listeners *listeners)
{
    /* That folder is of who may listen there, as the unit makes it. */
    bool may = geteuid() == 0 || access(VGPU_ROOT_SOCKET_FOLDER, W_OK) == 0;

    return (!may || open_default(options, listeners, VGPU_ROOT_SOCKET_PATH)) &&
           open_default(options, listeners, VGPU_SOCKET_PATH);
}

bool sockets_open(const struct options *options, struct listeners *listeners)
{
    /* The socket's mode says who that is: nobody but our own user can connect. */
    static const struct core_identity bridge = {.kind = CORE_IDENTITY_CLAIM};

    for (uint32_t i = 0; i < options->vm_socket_count; i++) {
        const struct option_vm_socket *vm = &options->vm_sockets[i];
        struct core_identity identity = {.kind = CORE_IDENTITY_UUID};

        memcpy(identity.uuid, vm->uuid, sizeof(identity.uuid));
        if (!open_asked_for(options, listeners, vm->path, &identity)) {
            return false;
        }
    }
    if (options->bridge_path &&
        !open_asked_for(options, listeners, options->bridge_path, &bridge)) {
        return false;
    }
    if (options->default_sockets) {
        return open_defaults(options, listeners);
    }
    return !options->socket_path || open_asked_for(options, listeners, options->socket_path, NULL);
}
