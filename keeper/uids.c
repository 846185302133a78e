/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keeper/uids.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/parse.h"
#include "keeper/child.h"
#include "keeper/remove_tree.h"
#include "keeper/sweep.h"
#include "vgpu/vgpu_keeper.h"

#ifndef F_OFD_SETLK
#define F_OFD_GETLK 36 /* Linux 3.15; glibc 2.17 has no name for it */
#define F_OFD_SETLK 37
#endif

/* Behind all uids that there can be. */
#define FOLDERS_OFFSET (UINT64_C(1) << 32)

/* How the name of a folder begins that is being removed; each_folder() does not see it. */
#define GONE ".gone-"

/* A VM that has a process. */
struct holder {
    char key[UIDS_KEY_BYTES];
    uint32_t index;
    unsigned processes;
    bool unclean; /* none of ours is left, but processes that they made may not be gone yet */
};

struct uids {
    struct uids_config config;
    int lock_fd;
    int cache_fd; /* -1: no folders */
    unsigned folders, removed;
    struct holder holders[VGPU_KEEPER_WORKERS_MAX];
    uint8_t has_folder[UIDS_COUNT_MAX / 8]; /* whose folder is the index of somebody */
};

/* ---- is the range free? ---- */

static bool in_range(const struct uids_config *config, uint64_t id)
{
    return id >= config->base && id - config->base < config->count;
}

static int check_names(const struct uids_config *config, char *error, size_t bytes)
{
    const struct passwd *user;
    const struct group *group;
    int ret = 0;

    setpwent();
    while (ret == 0 && (user = getpwent()) != NULL) {
        if (in_range(config, user->pw_uid) || in_range(config, user->pw_gid)) {
            snprintf(error, bytes, "the user %s has one of them (uid %u)", user->pw_name,
                     (unsigned)user->pw_uid);
            ret = -EADDRINUSE;
        }
    }
    endpwent();
    setgrent();
    while (ret == 0 && (group = getgrent()) != NULL) {
        if (in_range(config, group->gr_gid)) {
            snprintf(error, bytes, "the group %s has one of them (gid %u)", group->gr_name,
                     (unsigned)group->gr_gid);
            ret = -EADDRINUSE;
        }
    }
    endgrent();
    return ret;
}

/* Lines "name:first:count". */
static int check_subordinate(const struct uids_config *config, const char *path, char *error,
                             size_t bytes)
{
    FILE *file = fopen(path, "re");
    char line[256];
    int ret = 0;

    while (file && ret == 0 && fgets(line, sizeof(line), file)) {
        char *first = strchr(line, ':'), *count = first ? strchr(first + 1, ':') : NULL;
        uint64_t from, many;

        if (!count || !parse_digits(first + 1, UINT32_MAX, &from) ||
            !parse_digits(count + 1, UINT32_MAX, &many)) {
            continue;
        }
        if (from < (uint64_t)config->base + config->count && from + many > config->base) {
            snprintf(error, bytes, "%s gives some of them to %.*s", path, (int)(first - line),
                     line);
            ret = -EADDRINUSE;
        }
    }
    if (file) {
        fclose(file);
    }
    return ret;
}

static int check_range(const struct uids_config *config, char *error, size_t bytes)
{
    char who[320] = "";
    int ret = check_names(config, who, sizeof(who));

    if (ret == 0) {
        ret = check_subordinate(config, "/etc/subuid", who, sizeof(who));
    }
    if (ret == 0) {
        ret = check_subordinate(config, "/etc/subgid", who, sizeof(who));
    }
    if (ret < 0) {
        snprintf(error, bytes,
                 "the workers' uids %u to %u are not free: %s; give them another range with "
                 "--uid-base",
                 config->base, config->base + config->count - 1, who);
    }
    return ret;
}

/* ---- folders ---- */

static bool has_folder(const struct uids *uids, uint32_t index)
{
    return uids->has_folder[index / 8] >> index % 8 & 1;
}

static int lock_byte(const struct uids *uids, uint64_t offset, short type);

/*
 * That we have a folder of this uid is a shared lock behind those of the uids in use.  Another
 * keeper may have the same folder, if it has the same cache; one with another cache gives the uid
 * to nobody, for its worker could write into our VM's folder.
 */
static void note_folder(struct uids *uids, uint32_t index, bool there)
{
    if (has_folder(uids, index) != there) {
        lock_byte(uids, FOLDERS_OFFSET + index, there ? F_RDLCK : F_UNLCK);
        uids->has_folder[index / 8] ^= (uint8_t)(1u << index % 8);
        uids->folders += there ? 1 : -1u;
    }
}

/* Whose folder it is, by its owner.  False: there is none that counts. */
static bool folder_index(const struct uids *uids, const char *key, uint32_t *index)
{
    struct stat st;

    if (uids->cache_fd < 0 || fstatat(uids->cache_fd, key, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISDIR(st.st_mode) || !in_range(&uids->config, st.st_uid)) {
        return false;
    }
    *index = st.st_uid - uids->config.base;
    return true;
}

static bool is_used(const struct holder *holder)
{
    return holder->processes || holder->unclean;
}

static struct holder *holder_of(struct uids *uids, const char *key)
{
    for (size_t i = 0; i < VGPU_KEEPER_WORKERS_MAX; i++) {
        if (is_used(&uids->holders[i]) && strcmp(uids->holders[i].key, key) == 0) {
            return &uids->holders[i];
        }
    }
    return NULL;
}

/* A worker may have filled it with as many files as the disk takes: not for our loop. */
static void remove_in_background(const struct uids *uids, const char *name)
{
    pid_t parent = getpid(), pid = fork();

    if (pid < 0) {
        log_warning("the folder %s/%s can't be removed: %s", uids->config.cache_path, name,
                    strerror(errno));
    }
    if (pid != 0) {
        return; /* its end is awaited with the workers' */
    }
    child_close_others(uids->cache_fd);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent &&
        remove_tree(uids->cache_fd, name) < 0) {
        log_warning("the folder %s/%s can't be removed: %s", uids->config.cache_path, name,
                    strerror(errno));
    }
    _exit(0);
}

/* It is nobody's at once; what is in it goes when it goes. */
static bool remove_folder(struct uids *uids, const char *key)
{
    char gone[NAME_MAX + 1];

    snprintf(gone, sizeof(gone), GONE "%.100s-%d-%u", key, (int)getpid(), uids->removed++);
    if (renameat(uids->cache_fd, key, uids->cache_fd, gone) < 0) {
        log_warning("the folder %s/%s can't be removed: %s", uids->config.cache_path, key,
                    strerror(errno));
        return false;
    }
    remove_in_background(uids, gone);
    return true;
}

/* Those that a keeper before was still at. */
static void remove_the_gone(const struct uids *uids)
{
    int fd = openat(uids->cache_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;

    while (listing && (entry = readdir(listing)) != NULL) {
        if (strncmp(entry->d_name, GONE, strlen(GONE)) == 0) {
            remove_in_background(uids, entry->d_name);
        }
    }
    if (listing) {
        closedir(listing);
    } else if (fd >= 0) {
        close(fd);
    }
}

/* Calls `see` for each folder until it says false.  What it removes may be seen. */
static void each_folder(struct uids *uids, bool (*see)(struct uids *, const char *, uint32_t))
{
    int fd = openat(uids->cache_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    uint32_t index;

    while (listing && (entry = readdir(listing)) != NULL) {
        if (entry->d_name[0] != '.' && folder_index(uids, entry->d_name, &index) &&
            !see(uids, entry->d_name, index)) {
            break;
        }
    }
    if (listing) {
        closedir(listing);
    } else if (fd >= 0) {
        close(fd);
    }
}

/* Two folders of one uid: a range that was changed, or a copy.  One of them goes. */
static bool take_over(struct uids *uids, const char *key, uint32_t index)
{
    if (has_folder(uids, index)) {
        remove_folder(uids, key);
    } else {
        note_folder(uids, index, true);
    }
    return true;
}

static bool remove_unused(struct uids *uids, const char *key, uint32_t index)
{
    if (holder_of(uids, key) || !remove_folder(uids, key)) {
        return true;
    }
    note_folder(uids, index, false);
    return false; /* one is enough */
}

/* It is made when the first VM needs it: a host without CUDA workers has none. */
static void open_cache(struct uids *uids, bool make)
{
    const char *path = uids->config.cache_path;

    if (!path || uids->cache_fd >= 0) {
        return;
    }
    if (make && mkdir(path, 0711) < 0 && errno != EEXIST) {
        log_warning("no cache of compiled kernels: %s: %s", path, strerror(errno));
        return;
    }
    uids->cache_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (uids->cache_fd < 0) {
        if (make || errno != ENOENT) {
            log_warning("no cache of compiled kernels: %s: %s", path, strerror(errno));
        }
        return;
    }
    fchmod(uids->cache_fd, 0711);
    remove_the_gone(uids);
    each_folder(uids, take_over);
}

/* "": there is none. */
static void give_folder(struct uids *uids, const struct holder *holder, char cache[PATH_MAX])
{
    uid_t uid = uids->config.base + holder->index;
    uint32_t owner;

    cache[0] = '\0';
    open_cache(uids, true);
    if (uids->cache_fd < 0) {
        return;
    }
    if (!folder_index(uids, holder->key, &owner)) {
        if (uids->folders >= UIDS_FOLDERS_MAX) {
            each_folder(uids, remove_unused);
        }
        if (mkdirat(uids->cache_fd, holder->key, 0700) < 0 ||
            fchownat(uids->cache_fd, holder->key, uid, uid, AT_SYMLINK_NOFOLLOW) < 0) {
            log_warning("no cache of compiled kernels for %s: %s", holder->key, strerror(errno));
            return;
        }
        note_folder(uids, holder->index, true);
    } else if (owner != holder->index) {
        return; /* another keeper has its uid, and so its folder, for another VM */
    }
    snprintf(cache, PATH_MAX, "%s/%s", uids->config.cache_path, holder->key);
}

/* ---- uids ---- */

/*
 * A byte of the file, for as long as we live or until it is given back.  -EBUSY: another keeper has
 * it.
 */
static int lock_byte(const struct uids *uids, uint64_t offset, short type)
{
    struct flock range = {.l_type = type,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)(uids->config.base + offset),
                          .l_len = 1};

    if (fcntl(uids->lock_fd, F_OFD_SETLK, &range) == 0) {
        return 0;
    }
    return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

static int lock(const struct uids *uids, uint32_t index, short type)
{
    return lock_byte(uids, index, type);
}

/* Has another keeper a folder of it? */
static bool is_in_anothers_cache(const struct uids *uids, uint32_t index)
{
    struct flock range = {.l_type = F_WRLCK,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)(uids->config.base + FOLDERS_OFFSET + index),
                          .l_len = 1};

    return fcntl(uids->lock_fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
}

static bool is_ours(const struct uids *uids, uint32_t index)
{
    for (size_t i = 0; i < VGPU_KEEPER_WORKERS_MAX; i++) {
        if (is_used(&uids->holders[i]) && uids->holders[i].index == index) {
            return true;
        }
    }
    return false;
}

static uint32_t first_choice(const struct uids *uids, const char *key)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (; *key; key++) {
        hash = (hash ^ (uint8_t)*key) * 16777619u;
    }
    return hash % uids->config.count;
}

/* -EBUSY: somebody has it.  Another -errno is no matter of this uid, and others fail as well. */
static int take_index(struct uids *uids, uint32_t index)
{
    uid_t uid = uids->config.base + index;
    int ret = is_ours(uids, index) ? -EBUSY : lock(uids, index, F_WRLCK);

    if (ret < 0) {
        return ret;
    }
    ret = sweep(uid);
    if (ret == -EBUSY) {
        log_warning("uid %u has processes that vgpu-keeper did not start: they are killed, and a "
                    "VM is given another uid",
                    (unsigned)uid);
    }
    if (ret < 0) {
        lock(uids, index, F_UNLCK);
    }
    return ret;
}

/* The uid of its folder; else one that is nobody's.  -EBUSY: there is none. */
static int choose(struct uids *uids, const char *key, uint32_t *index)
{
    uint32_t first = first_choice(uids, key);
    int ret = folder_index(uids, key, index) ? take_index(uids, *index) : -EBUSY;

    for (uint32_t i = 0; ret == -EBUSY && i < uids->config.count; i++) {
        *index = (first + i) % uids->config.count;
        ret = has_folder(uids, *index) || is_in_anothers_cache(uids, *index)
                  ? -EBUSY
                  : take_index(uids, *index);
    }
    return ret;
}

/* ... or else that of a folder that nobody uses, which goes. */
static int choose_or_make_room(struct uids *uids, const char *key, uint32_t *index)
{
    int ret = choose(uids, key, index);

    if (ret == -EBUSY) {
        each_folder(uids, remove_unused);
        ret = choose(uids, key, index);
    }
    if (ret < 0 && ret != -EBUSY) {
        log_error("no uid can be had for %s: %s", key, strerror(-ret));
    }
    return ret == -EBUSY ? -EAGAIN : ret;
}

int uids_take(struct uids *uids, const char *key, uid_t *uid, char cache[PATH_MAX])
{
    struct holder *holder = holder_of(uids, key);
    uint32_t index;
    int ret;

    if (!holder) {
        for (size_t i = 0; i < VGPU_KEEPER_WORKERS_MAX && !holder; i++) {
            holder = is_used(&uids->holders[i]) ? NULL : &uids->holders[i];
        }
        ret = holder ? choose_or_make_room(uids, key, &index) : -EAGAIN;
        if (ret < 0) {
            return ret;
        }
        snprintf(holder->key, sizeof(holder->key), "%s", key);
        holder->index = index;
    }
    holder->processes++;
    holder->unclean = false; /* what was left has been killed, and is of the same VM */
    *uid = uids->config.base + holder->index;
    if (cache) {
        give_folder(uids, holder, cache);
    }
    return 0;
}

static int settle(struct uids *uids, struct holder *holder)
{
    int ret = sweep(uids->config.base + holder->index);

    if (ret == 0) {
        holder->unclean = false;
        lock(uids, holder->index, F_UNLCK);
    }
    return ret;
}

void uids_release(struct uids *uids, const char *key)
{
    struct holder *holder = holder_of(uids, key);
    int ret;

    if (holder && holder->processes > 0 && --holder->processes == 0) {
        holder->unclean = true;
        ret = settle(uids, holder);
        if (ret == -EBUSY) {
            log_warning("%s: its last worker has left processes behind: they are killed", key);
        } else if (ret < 0) {
            log_warning("%s: nobody knows if its last worker has left processes behind: %s; its "
                        "uid is kept",
                        key, strerror(-ret));
        }
    }
}

void uids_settle(struct uids *uids)
{
    for (size_t i = 0; i < VGPU_KEEPER_WORKERS_MAX; i++) {
        if (uids->holders[i].unclean) {
            settle(uids, &uids->holders[i]);
        }
    }
}

int uids_new(const struct uids_config *config, struct uids **made, char *error, size_t error_bytes)
{
    struct uids *uids;
    int ret = check_range(config, error, error_bytes);

    if (ret < 0) {
        return ret;
    }
    uids = calloc(1, sizeof(*uids));
    if (!uids) {
        snprintf(error, error_bytes, "out of memory");
        return -ENOMEM;
    }
    uids->config = *config;
    uids->cache_fd = -1;
    uids->lock_fd = open(config->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (uids->lock_fd < 0) {
        ret = -errno;
        snprintf(error, error_bytes, "%s: %s", config->lock_path, strerror(errno));
        free(uids);
        return ret;
    }
    open_cache(uids, false);
    *made = uids;
    return 0;
}

void uids_free(struct uids *uids)
{
    if (uids) {
        close(uids->lock_fd);
        if (uids->cache_fd >= 0) {
            close(uids->cache_fd);
        }
        free(uids);
    }
}
