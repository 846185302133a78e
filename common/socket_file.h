/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module makes listening Unix sockets in folders that somebody else may control.
 *
 * A QEMU's chroot belongs to a process that a guest may have taken over.  It
 * can rename, replace and link whatever is in there while we work.  Therefore:
 * folders are walked one component at a time and no symbolic link is followed;
 * the socket is bound through /proc/self/fd/N, so that the folder is the one
 * that was checked; the socket is created under the identity of its owner, so
 * that nothing needs to be given away by name afterwards; and a file is
 * removed only if it is the one that was made here.
 */
#ifndef COMMON_SOCKET_FILE_H
#define COMMON_SOCKET_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SOCKET_NAME_BYTES 80u /* so that /proc/self/fd/N/NAME fits sun_path */
#define SOCKET_ERROR_BYTES 512u
#define SOCKET_KEEP_GID ((gid_t)-1)

struct socket_file;

/* How a socket is made and looked after that another process makes for us (host_help.h). */
struct socket_file_far {
    int (*listen)(struct socket_file *file, char *error, size_t error_bytes);
    bool (*is_there)(const struct socket_file *file);
    void (*close)(struct socket_file *file, bool remove);
};

struct socket_file {
    const struct socket_file_far *far; /* NULL: this process makes it; else */
    uint32_t far_number;               /* its name there; folder_fd, fd and parent_fd are -1 */
    int folder_fd;                     /* O_PATH */
    dev_t folder_device;
    ino_t folder_inode;
    char name[SOCKET_NAME_BYTES];
    int fd; /* of the socket that was made: while it is open no other has its inode; or -1 */
    dev_t device;
    ino_t inode;
    bool made_folder; /* the last folder was made for it */
    int parent_fd;    /* of that folder, if so; else -1 */
    char folder_name[SOCKET_NAME_BYTES];
};

/*
 * Opens the folder of the absolute `path` below root_fd, without following a
 * link.  make_last: a missing last folder is made (mode 0755).  The name goes
 * to file->name.  -errno with `error` saying what is wrong; nothing is open then.
 */
int socket_file_open_below(struct socket_file *file, int root_fd, const char *path, bool make_last,
                           char *error, size_t error_bytes);
/* The same for a path of our own host, given by the administrator: links are fine. */
int socket_file_open(struct socket_file *file, const char *path, bool make_last, char *error,
                     size_t error_bytes);

struct socket_file_owner {
    uid_t uid;
    gid_t gid; /* SOCKET_KEEP_GID: ours */
    mode_t mode;
};

/* For this group, if there is one that we may give a file to; else for our own user only. */
struct socket_file_owner socket_file_owner_for(const char *group);

/*
 * Who gives a socket file of ours, open as `fd`, to another owner: for a process that may not.
 * `give` returns 0 or -errno.
 */
void socket_file_set_giver(int (*give)(int fd, const struct socket_file_owner *to));

/*
 * Makes the socket and listens.  A dead socket file in its place is replaced; a live one of
 * root's or our own user is -EADDRINUSE, one of any other user's -EPERM; anything else there is
 * -EEXIST.  Returns the listening fd (non-blocking, close-on-exec), or -errno and an `error`.
 */
int socket_file_listen(struct socket_file *file, const struct socket_file_owner *owner, char *error,
                       size_t error_bytes);

/* Do both lie in the same folder, under whatever names? */
bool socket_file_same_folder(const struct socket_file *a, const struct socket_file *b);
/* Is what was made still there, under its name, in a folder that is still there? */
bool socket_file_is_there(const struct socket_file *file);
/*
 * Gives what was made, and is still owned by `from`, to another owner, whatever has its name by
 * now.  -errno.
 */
int socket_file_give(const struct socket_file *file, uid_t from,
                     const struct socket_file_owner *to);

/* No file: removing and closing it do nothing. */
void socket_file_none(struct socket_file *file);
/* Removes what was made, if it is still that, and closes the folder. */
void socket_file_remove(struct socket_file *file);
/* Closes the folder only. */
void socket_file_close(struct socket_file *file);

/*
 * A descriptor to give up when there are no more, so that a connection that
 * waits can be taken and refused; -1 if there is none now either.
 */
int socket_spare(void);
/* Accepts with the spare one, which is closed: get another after closing this.  Or -1. */
int socket_spare_accept(int spare_fd, int listen_fd);

#endif /* COMMON_SOCKET_FILE_H */
