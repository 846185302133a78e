/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/workers/lives.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "mediator/base/foreign_fd.h"

struct life {
    LIST_ENTRY(life) link;
    uint64_t channel;
    int fd;
    dev_t device; /* which pipe it is: both of its ends have the same */
    ino_t number;
};

struct lives {
    LIST_HEAD(, life) all;
};

struct lives *lives_new(void)
{
    return calloc(1, sizeof(struct lives));
}

static void drop(struct life *life)
{
    LIST_REMOVE(life, link);
    foreign_fd_close(life->fd);
    free(life);
}

void lives_free(struct lives *lives)
{
    while (lives && !LIST_EMPTY(&lives->all)) {
        drop(LIST_FIRST(&lives->all));
    }
    free(lives);
}

bool lives_any(const struct lives *lives)
{
    return !LIST_EMPTY(&lives->all);
}

int lives_add(struct lives *lives, uint64_t channel, int fd)
{
    struct life *life = calloc(1, sizeof(*life));
    struct stat about;

    if (!life || fstat(fd, &about) < 0 || !S_ISFIFO(about.st_mode)) {
        foreign_fd_close(fd);
        free(life);
        return life ? -EINVAL : -ENOMEM;
    }
    *life =
        (struct life){.channel = channel, .fd = fd, .device = about.st_dev, .number = about.st_ino};
    LIST_INSERT_HEAD(&lives->all, life, link);
    return 0;
}

void lives_drop(struct lives *lives, uint64_t channel)
{
    struct life *life, *next;

    for (life = LIST_FIRST(&lives->all); life; life = next) {
        next = LIST_NEXT(life, link);
        if (life->channel == channel) {
            drop(life);
        }
    }
}

uint64_t lives_match(const struct lives *lives, int fd)
{
    const struct life *life;
    struct stat about;

    if (fstat(fd, &about) < 0 || !S_ISFIFO(about.st_mode)) {
        return 0;
    }
    LIST_FOREACH (life, &lives->all, link) {
        if (life->device == about.st_dev && life->number == about.st_ino) {
            return life->channel;
        }
    }
    return 0;
}

/* The first whose process is gone, or NULL. */
static struct life *find_gone(const struct lives *lives)
{
    struct life *life;

    LIST_FOREACH (life, &lives->all, link) {
        struct pollfd look = {.fd = life->fd};

        if (poll(&look, 1, 0) > 0 && (look.revents & (POLLHUP | POLLERR | POLLNVAL))) {
            return life;
        }
    }
    return NULL;
}

void lives_look(struct lives *lives, void (*gone)(void *opaque, uint64_t channel), void *opaque)
{
    struct life *life;

    while ((life = find_gone(lives)) != NULL) {
        uint64_t channel = life->channel;

        drop(life);
        gone(opaque, channel);
    }
}
