/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it works
 *
 * A story is a memfd: struct story, then the bytes that were read, then those to be written.  It
 * comes from a mediator of this host, of the same user, by way of the keeper, and is no guest's;
 * yet one of another build, or one that was cut, is no reason to fail: the connection is closed,
 * and its device connects again.
 *
 * A connection goes on only where its socket is again, for the same VM: its path may stand for
 * another one by now.  The sockets in QEMUs' roots are made when their processes have been found,
 * so a connection may have to wait for that.
 */
#include "mediator/sessions/session_park.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/ns.h"
#include "mediator/sessions/listeners.h"
#include "mediator/sessions/session_io.h"
#include "mediator/workers/keeper_link.h"

#define STORY_MAGIC 0x5953504756ull /* "VGPSY" */
#define STORY_PATH_BYTES 512u
#define STORY_BYTES_MAX (sizeof(struct story) + VGPU_SOCKET_FRAME_MAX + SESSION_OUT_MAX_BYTES)

struct story {
    uint64_t magic;
    uint32_t version; /* CORE_SESSION_KEPT_VERSION */
    uint32_t bytes;   /* of this struct */
    uint32_t in_bytes, out_bytes;
    int32_t pid;
    uint32_t uid;
    struct core_identity identity;
    struct core_session_kept kept;
    char path[STORY_PATH_BYTES];
};

/* One whose socket is not there yet. */
struct waiting {
    LIST_ENTRY(waiting) link;
    int fd;
    struct story *story; /* all of it, one malloc() */
    uint64_t until_ns;
};

struct session_park {
    struct session_park_uses uses;
    LIST_HEAD(, waiting) waiting;
    uv_timer_t timer;
    bool started;
    uint32_t left, back; /* counts */
};

struct session_park *session_park_new(const struct session_park_uses *uses)
{
    struct session_park *park = calloc(1, sizeof(*park));

    if (park) {
        park->uses = *uses;
    }
    return park;
}

static void drop(struct waiting *waiting)
{
    LIST_REMOVE(waiting, link);
    if (waiting->fd >= 0) {
        close(waiting->fd);
    }
    free(waiting->story);
    free(waiting);
}

void session_park_free(struct session_park *park)
{
    free(park);
}

/* ---- leaving ---- */

/* A memfd with these parts, or -errno. */
static int write_story(const struct story *story, const struct session_left *left)
{
    const struct {
        const void *bytes;
        size_t length;
    } parts[] = {{story, sizeof(*story)}, {left->in, left->in_bytes}, {left->out, left->out_bytes}};
    int fd = memfd_create("vgpu-session", MFD_CLOEXEC);

    for (size_t i = 0; fd >= 0 && i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i].length > 0 &&
            write(fd, parts[i].bytes, parts[i].length) != (ssize_t)parts[i].length) {
            close(fd);
            return -EIO;
        }
    }
    return fd < 0 ? -errno : fd;
}

static bool leave_one(void *opaque, const struct session_left *left)
{
    struct session_park *park = opaque;
    struct story story;
    int fds[VGPU_KEEPER_FDS];
    int ret;

    memset(&story, 0, sizeof(story)); /* its gaps, too */
    if (strlen(left->path) >= sizeof(story.path) ||
        !core_session_export(park->uses.core, left->session, &story.kept)) {
        return false;
    }
    story.magic = STORY_MAGIC;
    story.version = CORE_SESSION_KEPT_VERSION;
    story.bytes = sizeof(story);
    story.in_bytes = (uint32_t)left->in_bytes;
    story.out_bytes = (uint32_t)left->out_bytes;
    story.pid = left->peer.pid;
    story.uid = left->peer.uid;
    story.identity = *core_session_identity(park->uses.core, left->session);
    strcpy(story.path, left->path);
    fds[VGPU_KEEPER_FDS_CONNECTION] = left->fd;
    fds[VGPU_KEEPER_FDS_STORY] = write_story(&story, left);
    if (fds[VGPU_KEEPER_FDS_STORY] < 0) {
        return false;
    }
    ret = keeper_link_park(park->uses.keeper, fds);
    close(fds[VGPU_KEEPER_FDS_STORY]);
    park->left += ret == 0;
    return ret == 0;
}

uint32_t session_park_leave(struct session_park *park)
{
    session_io_hand_over(park->uses.sessions, leave_one, park);
    return park->left;
}

/* ---- going on ---- */

static bool makes_sense(const struct story *story, size_t bytes)
{
    return bytes >= sizeof(*story) && story->magic == STORY_MAGIC &&
           story->version == CORE_SESSION_KEPT_VERSION && story->bytes == sizeof(*story) &&
           story->in_bytes < VGPU_SOCKET_FRAME_MAX && story->out_bytes <= SESSION_OUT_MAX_BYTES &&
           bytes == sizeof(*story) + story->in_bytes + story->out_bytes &&
           memchr(story->path, '\0', sizeof(story->path)) &&
           (story->identity.kind == CORE_IDENTITY_UUID ||
            story->identity.kind == CORE_IDENTITY_IDS ||
            story->identity.kind == CORE_IDENTITY_CLAIM) &&
           story->identity.vm_id_count <= CORE_CLAIMED_IDS_MAX &&
           memchr(story->identity.name, '\0', sizeof(story->identity.name));
}

/* NULL: none of this build. */
static struct story *read_story(int fd)
{
    struct story *story = NULL;
    struct stat st;

    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= (off_t)sizeof(*story) &&
        st.st_size <= (off_t)STORY_BYTES_MAX) {
        story = malloc((size_t)st.st_size);
    }
    if (story && (pread(fd, story, (size_t)st.st_size, 0) != st.st_size ||
                  !makes_sense(story, (size_t)st.st_size))) {
        free(story);
        story = NULL;
    }
    return story;
}

/* -ENOENT: its socket is not there yet.  Else the descriptor is another's. */
static int go_on(struct session_park *park, int fd, const struct story *story)
{
    const uint8_t *bytes = (const uint8_t *)(story + 1);
    struct listener *listener;
    int ret = listeners_readmit(park->uses.listeners, story->path, &story->identity, &listener);

    if (ret == -ENOENT) {
        return ret;
    }
    if (ret < 0) {
        close(fd);
        return ret;
    }
    ret = session_io_take_over(park->uses.sessions, listener,
                               &(struct session_left){
                                   .fd = fd,
                                   .path = listener_path(listener),
                                   .peer = {.pid = story->pid, .uid = story->uid},
                                   .in = bytes,
                                   .in_bytes = story->in_bytes,
                                   .out = bytes + story->in_bytes,
                                   .out_bytes = story->out_bytes,
                               },
                               &story->identity, &story->kept);
    if (ret == 0 && park->back++ == 0) {
        log_notice("devices that were connected to the mediator before are served on");
    }
    return ret;
}

static void on_look(uv_timer_t *timer)
{
    struct session_park *park = timer->data;
    struct waiting *waiting = LIST_FIRST(&park->waiting);
    uint64_t now_ns = clock_now_ns();

    while (waiting) {
        struct waiting *next = LIST_NEXT(waiting, link);

        if (go_on(park, waiting->fd, waiting->story) != -ENOENT) {
            waiting->fd = -1;
            drop(waiting);
        } else if (now_ns >= waiting->until_ns) {
            drop(waiting);
        }
        waiting = next;
    }
    if (LIST_EMPTY(&park->waiting)) {
        uv_timer_stop(timer);
    }
}

/* Takes over both.  False: no memory. */
static bool let_wait(struct session_park *park, int fd, struct story *story)
{
    struct waiting *waiting = calloc(1, sizeof(*waiting));

    if (!waiting) {
        return false;
    }
    waiting->fd = fd;
    waiting->story = story;
    waiting->until_ns = clock_now_ns() + SESSION_PARK_WAIT_MS * NS_PER_MS;
    LIST_INSERT_HEAD(&park->waiting, waiting, link);
    uv_timer_start(&park->timer, on_look, SESSION_PARK_LOOK_MS, SESSION_PARK_LOOK_MS);
    return true;
}

static void on_parked(void *opaque, const int fds[VGPU_KEEPER_FDS])
{
    struct session_park *park = opaque;
    int fd = fds[VGPU_KEEPER_FDS_CONNECTION];
    struct story *story = read_story(fds[VGPU_KEEPER_FDS_STORY]);

    close(fds[VGPU_KEEPER_FDS_STORY]);
    if (!story || !park->started) {
        close(fd);
    } else if (go_on(park, fd, story) == -ENOENT) {
        if (let_wait(park, fd, story)) {
            return;
        }
        close(fd);
    }
    free(story);
}

int session_park_start(struct session_park *park)
{
    int ret = uv_timer_init(park->uses.loop, &park->timer);

    if (ret < 0) {
        return ret;
    }
    park->timer.data = park;
    park->started = true;
    ret = keeper_link_fetch(park->uses.keeper, on_parked, park);
    return ret == -EOPNOTSUPP ? 0 : ret;
}

void session_park_stop(struct session_park *park)
{
    struct waiting *waiting, *next;

    if (!park || !park->started) {
        return;
    }
    park->started = false;
    for (waiting = LIST_FIRST(&park->waiting); waiting; waiting = next) {
        next = LIST_NEXT(waiting, link);
        drop(waiting);
    }
    uv_close((uv_handle_t *)&park->timer, NULL);
}
