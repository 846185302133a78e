/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/sessions/socket_access.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define MAY_WRITE 2u
#define MAY_PASS 1u

static bool is_in_group(const struct process_owner *who, gid_t gid)
{
    if (who->gid == gid) {
        return true;
    }
    for (uint32_t i = 0; i < who->group_count && i < PROCESS_GROUPS_MAX; i++) {
        if (who->groups[i] == gid) {
            return true;
        }
    }
    return false;
}

/* The class that applies decides alone: an owner without the right has none by its group. */
static bool mode_allows(const struct stat *st, const struct process_owner *who, unsigned right)
{
    unsigned shift = 0;

    if (who->uid == 0) {
        return true;
    }
    if (who->uid == st->st_uid) {
        shift = 6;
    } else if (is_in_group(who, st->st_gid)) {
        shift = 3;
    }
    return (st->st_mode >> shift & right) == right;
}

static bool has_acl(const char *path)
{
    return getxattr(path, "system.posix_acl_access", NULL, 0) > 0;
}

static bool may(const char *path, const struct process_owner *who, unsigned right, char *obstacle,
                size_t bytes)
{
    struct stat st;

    if (stat(path, &st) < 0 || mode_allows(&st, who, right) || has_acl(path) ||
        who->group_count > PROCESS_GROUPS_MAX) {
        return true;
    }
    snprintf(obstacle, bytes, "%s (uid %u, gid %u, mode %04o)", path, (unsigned)st.st_uid,
             (unsigned)st.st_gid, (unsigned)st.st_mode & 07777);
    return false;
}

bool socket_access_may(const char *path, const struct process_owner *who, char *obstacle,
                       size_t bytes)
{
    char part[PATH_MAX];

    if (path[0] != '/' || strlen(path) >= sizeof(part)) {
        return true;
    }
    for (const char *slash = path; slash; slash = strchr(slash + 1, '/')) {
        size_t length = slash == path ? 1 : (size_t)(slash - path);

        memcpy(part, path, length);
        part[length] = '\0';
        if (!may(part, who, MAY_PASS, obstacle, bytes)) {
            return false;
        }
    }
    return may(path, who, MAY_WRITE, obstacle, bytes);
}
