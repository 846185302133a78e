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

LIST_HEAD(life_list, life);

struct lives {
    struct life_list all;
};

#define LOOK_AT_ONCE 64u /* by one system call */

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

/* Those among the next LOOK_AT_ONCE, from `life` on, whose processes are gone go into `gone`.
 * Returns the one behind them, NULL: there is none. */
static struct life *look_at_some(struct life *life, struct life_list *gone)
{
    struct pollfd looks[LOOK_AT_ONCE];
    struct life *these[LOOK_AT_ONCE];
    nfds_t count = 0;

    for (; life && count < LOOK_AT_ONCE; life = LIST_NEXT(life, link)) {
        these[count] = life;
        looks[count++] = (struct pollfd){.fd = life->fd};
    }
    if (poll(looks, count, 0) > 0) {
        for (nfds_t i = 0; i < count; i++) {
            if (looks[i].revents & (POLLHUP | POLLERR | POLLNVAL)) {
                LIST_REMOVE(these[i], link);
                LIST_INSERT_HEAD(gone, these[i], link);
            }
        }
    }
    return life;
}

void lives_look(struct lives *lives, void (*gone)(void *opaque, uint64_t channel), void *opaque)
{
    struct life_list list = LIST_HEAD_INITIALIZER(list);
    struct life *life = LIST_FIRST(&lives->all);

    while (life) {
        life = look_at_some(life, &list);
    }
    while ((life = LIST_FIRST(&list)) != NULL) {
        uint64_t channel = life->channel;

        drop(life);
        gone(opaque, channel);
    }
}
