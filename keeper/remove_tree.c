/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keeper/remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* NOLINTBEGIN(misc-no-recursion): at most REMOVE_TREE_DEPTH_MAX deep */

static int empty_folder(int fd, dev_t device, unsigned depth);

static int remove_entry(int parent, const char *name, dev_t device, unsigned depth)
{
    struct stat st;
    int fd, ret;

    if (unlinkat(parent, name, 0) == 0) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return -1;
    }
    if (depth == 0) {
        errno = ELOOP;
        return -1;
    }
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    if (fstat(fd, &st) < 0 || st.st_dev != device) {
        close(fd);
        errno = EXDEV;
        return -1;
    }
    ret = empty_folder(fd, device, depth - 1); /* closes it */
    return ret < 0 ? ret : unlinkat(parent, name, AT_REMOVEDIR);
}

static int empty_folder(int fd, dev_t device, unsigned depth)
{
    DIR *listing = fdopendir(fd);
    struct dirent *entry;
    int ret = 0, error;

    if (!listing) {
        close(fd);
        return -1;
    }
    while (ret == 0 && (entry = readdir(listing)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            ret = remove_entry(fd, entry->d_name, device, depth);
        }
    }
    error = errno;
    closedir(listing);
    errno = error;
    return ret;
}

/* NOLINTEND(misc-no-recursion) */

int remove_tree(int parent, const char *name)
{
    struct stat st;

    if (fstat(parent, &st) < 0) {
        return -1;
    }
    return remove_entry(parent, name, st.st_dev, REMOVE_TREE_DEPTH_MAX);
}
