/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * The order matters.  Namespaces and mounts need the rights of root; so they come first.  Then
 * the bounding set is emptied, which needs CAP_SETPCAP, and then the uid changes, which takes
 * all capabilities.  What a program could win by being set-uid is closed by NO_NEW_PRIVS.
 *
 * /dev: the nodes that a worker may reach are opened (O_PATH) while the host's /dev is still
 * there, an empty tmpfs is mounted over it, and each of them is bound to its name.  So their
 * owners and modes are the host's, and no right to make nodes is needed.  The nodes of all GPUs
 * are there: the driver looks at each GPU before it takes one.
 *
 * Folders with other programs' sockets and files get an empty tmpfs, too: the network namespace
 * does not keep a process from a socket that has a name in a folder.
 */
#include "keeper/confine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "keeper/sweep.h"

#define NODES_MAX 96u
#define GROUPS_MAX 8u

static const char *const harmless[] = {"null", "zero", "full", "random", "urandom"};
static const char *const hidden[] = {"/tmp", "/var/tmp", "/run", "/home", "/root"};

/* ---- which device nodes ---- */

struct node {
    char name[NAME_MAX + 1]; /* below /dev */
    int fd;
    bool folder;
};

struct nodes {
    struct node all[NODES_MAX];
    unsigned count;
    gid_t groups[GROUPS_MAX]; /* that must be had for one of them */
    unsigned group_count;
};

static void add_group(struct nodes *nodes, gid_t group)
{
    for (unsigned i = 0; i < nodes->group_count; i++) {
        if (nodes->groups[i] == group) {
            return;
        }
    }
    if (nodes->group_count < GROUPS_MAX) {
        nodes->groups[nodes->group_count++] = group;
    }
}

/* One that is not there is left out: the driver says what it misses. */
static void add_node(struct nodes *nodes, const char *name)
{
    struct node *node = &nodes->all[nodes->count];
    char path[NAME_MAX + 8];
    struct stat st;

    if (nodes->count == NODES_MAX || strlen(name) >= sizeof(node->name)) {
        return;
    }
    snprintf(path, sizeof(path), "/dev/%s", name);
    node->fd = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
    if (node->fd < 0 || fstat(node->fd, &st) < 0 || !(S_ISCHR(st.st_mode) || S_ISDIR(st.st_mode))) {
        if (node->fd >= 0) {
            close(node->fd);
        }
        return;
    }
    node->folder = S_ISDIR(st.st_mode);
    strcpy(node->name, name);
    nodes->count++;
    /* As a distribution may have it: root:video 0660.  Never root's own group. */
    if (!node->folder && (st.st_mode & 0066) == 0060 && st.st_gid != 0) {
        add_group(nodes, st.st_gid);
    }
}

static void find_nodes(struct nodes *nodes)
{
    struct dirent *entry;
    DIR *dev = opendir("/dev");

    for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
        add_node(nodes, harmless[i]);
    }
    while (dev && (entry = readdir(dev)) != NULL) {
        if (strncmp(entry->d_name, "nvidia", 6) == 0) {
            add_node(nodes, entry->d_name);
        }
    }
    if (dev) {
        closedir(dev);
    }
}

static void close_nodes(struct nodes *nodes)
{
    while (nodes->count > 0) {
        close(nodes->all[--nodes->count].fd);
    }
}

/* ---- mounts ---- */

static int bind_node(const struct node *node)
{
    char source[32], target[NAME_MAX + 8];
    int fd;

    snprintf(source, sizeof(source), "/proc/self/fd/%d", node->fd);
    snprintf(target, sizeof(target), "/dev/%s", node->name);
    if (node->folder) {
        if (mkdir(target, 0755) < 0) {
            return -errno;
        }
    } else {
        fd = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0) {
            return -errno;
        }
        close(fd);
    }
    return mount(source, target, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

static int replace_dev(struct nodes *nodes)
{
    int ret;

    if (mount("vgpu-dev", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k") < 0) {
        return -errno;
    }
    for (unsigned i = 0; i < nodes->count; i++) {
        ret = bind_node(&nodes->all[i]);
        if (ret < 0) {
            return ret;
        }
    }
    return mount(NULL, "/dev", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC,
                 NULL) < 0
               ? -errno
               : 0;
}

static bool is_below(const char *path, const char *folder)
{
    size_t length = strlen(folder);

    return path && strncmp(path, folder, length) == 0 &&
           (path[length] == '/' || path[length] == '\0');
}

/* Does one of the folders of a list as LD_LIBRARY_PATH's lie there? */
static bool is_listed(const char *list, const char *folder)
{
    while (list && *list) {
        if (is_below(list, folder) ||
            (strncmp(list, folder, strlen(folder)) == 0 && list[strlen(folder)] == ':')) {
            return true;
        }
        list = strchr(list, ':');
        list = list ? list + 1 : NULL;
    }
    return false;
}

static int hide_folders(const struct confine *confine)
{
    const char *libraries = getenv("LD_LIBRARY_PATH");
    struct stat st;

    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        if (is_below(confine->program, hidden[i]) || is_below(confine->cache, hidden[i]) ||
            is_listed(libraries, hidden[i]) || lstat(hidden[i], &st) < 0 || !S_ISDIR(st.st_mode)) {
            continue;
        }
        if (mount("vgpu-empty", hidden[i], "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
                  "mode=0555,size=4k,nr_inodes=2") < 0) {
            return -errno;
        }
    }
    return 0;
}

static int own_mounts(const struct confine *confine, struct nodes *nodes)
{
    int ret;

    if (unshare(CLONE_NEWNS) < 0) {
        return -errno;
    }
    find_nodes(nodes); /* here: a node of another mount namespace can't be bound */
    /* What the host unmounts goes here too; nothing of ours goes to the host. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) {
        return -errno;
    }
    ret = replace_dev(nodes);
    return ret < 0 ? ret : hide_folders(confine);
}

/* ---- rights ---- */

/* No program that it runs can win one back: none is left to win. */
static int empty_bounding_set(void)
{
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
         capability++) {
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
            return -errno;
        }
    }
    return 0;
}

/* Those that it has, and those that it would inherit. */
static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0}};

    return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

static int own_uid(const struct confine *confine, const struct nodes *nodes)
{
    int ret = empty_bounding_set(); /* first: it needs a capability itself */

    if (ret < 0) {
        return ret;
    }
    if (setgroups(nodes->group_count, nodes->groups) < 0 ||
        setresgid(confine->uid, confine->uid, confine->uid) < 0 ||
        setresuid(confine->uid, confine->uid, confine->uid) < 0) {
        return -errno;
    }
    return drop_capabilities();
}

int confine_enter(const struct confine *confine, enum vgpu_keeper_step *step)
{
    struct nodes nodes;
    int flags = 0, ret = 0;

    nodes.count = nodes.group_count = 0;
    *step = VGPU_KEEPER_STEP_NAMESPACES;
    flags |= confine->parts & VGPU_KEEPER_OWN_NETWORK ? CLONE_NEWNET : 0;
    flags |= confine->parts & VGPU_KEEPER_OWN_IPC ? CLONE_NEWIPC : 0;
    if (flags && unshare(flags) < 0) {
        ret = -errno;
    }
    if (ret == 0 && (confine->parts & VGPU_KEEPER_OWN_MOUNTS)) {
        *step = VGPU_KEEPER_STEP_MOUNTS;
        ret = own_mounts(confine, &nodes);
    }
    if (!(confine->parts & VGPU_KEEPER_OWN_MOUNTS)) {
        find_nodes(&nodes); /* their groups are wanted all the same */
    }
    close_nodes(&nodes);
    if (ret == 0 && (confine->parts & VGPU_KEEPER_OWN_UID)) {
        *step = VGPU_KEEPER_STEP_UID;
        ret = own_uid(confine, &nodes);
    }
    if (ret == 0) {
        *step = VGPU_KEEPER_STEP_PROCESS;
        ret = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
    }
    return ret;
}

/* ---- what is possible ---- */

/* An errno, 0: it can be had. */
static int try_part(const struct confine *confine, uint32_t part)
{
    struct confine one = *confine;
    enum vgpu_keeper_step step;
    int status;
    pid_t pid;

    one.parts = part;
    pid = fork();
    if (pid == 0) {
        _exit(-confine_enter(&one, &step));
    }
    if (pid < 0) {
        return errno;
    }
    status = sweep_await(pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

uint32_t confine_possible(const struct confine *confine, uint32_t wanted)
{
    static const struct {
        uint32_t part;
        const char *what;
    } parts[] = {
        {VGPU_KEEPER_OWN_UID, "a uid of its own"},
        {VGPU_KEEPER_OWN_NETWORK, "a network namespace"},
        {VGPU_KEEPER_OWN_IPC, "an IPC namespace"},
        {VGPU_KEEPER_OWN_MOUNTS, "a mount namespace"},
    };
    uint32_t had = 0;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        int error = wanted & parts[i].part ? try_part(confine, parts[i].part) : -1;

        if (error == 0) {
            had |= parts[i].part;
        } else if (error > 0) {
            log_warning("workers can't have %s here: %s", parts[i].what, strerror(error));
        }
    }
    return had;
}
