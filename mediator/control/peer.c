/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/control/peer.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <unistd.h>
#include <uv.h>

#include "common/clock.h"
#include "common/log.h"
#include "mediator/control/commands.h"
#include "mediator/base/byte_queue.h"
#include "common/json_out.h"
#include "common/ns.h"

#define REFUSAL_BYTES_MAX 2048u

/* The file's mode says the same; but modes get changed, and descriptors get passed on. */
bool admin_peer_may(int fd, const struct ucred *peer, gid_t group)
{
    gid_t groups[NGROUPS_MAX];
    socklen_t length = sizeof(groups);

    if (peer->uid == 0 || peer->uid == geteuid()) {
        return true;
    }
    if (group == (gid_t)-1) {
        return false;
    }
    if (peer->gid == group) {
        return true;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) < 0) {
        return false;
    }
    for (size_t i = 0; i < length / sizeof(groups[0]); i++) {
        if (groups[i] == group) {
            return true;
        }
    }
    return false;
}

static void tell(struct admin_refusals *refusals, const struct ucred *peer, const char *text)
{
    const struct log_field fields[] = {
        {.key = "event", .text = "admin_refused"},
        {.key = "pid", .number = peer->pid},
        {.key = "uid", .number = peer->uid},
        {.key = "untold", .number = refusals->untold},
    };
    uint64_t now_ns = clock_now_ns();

    if (refusals->told_ns && now_ns - refusals->told_ns < ADMIN_REFUSED_LOG_MS * NS_PER_MS) {
        refusals->untold++;
        return;
    }
    log_fields(LOG_LEVEL_WARNING, fields, 4,
               "admin socket: process %d (uid %u) refused, and %" PRIu32
               " others since the last such line: %s",
               (int)peer->pid, (unsigned)peer->uid, refusals->untold, text);
    refusals->told_ns = now_ns;
    refusals->untold = 0;
}

void admin_peer_refuse(struct admin_refusals *refusals, int fd, const struct ucred *peer,
                       const char *text)
{
    VGPUAdminResponse response = {.magic = VGPU_ADMIN_MAGIC, .status = EUSERS};
    struct byte_queue answer = {0};
    struct json_out json;

    tell(refusals, peer, text);
    jout_init(&json, REFUSAL_BYTES_MAX);
    admin_command_error(&json, "%s", text);
    response.data_len = (uint32_t)json.length;
    /* A fresh socket's buffer takes so little at once; who is gone already needs no answer. */
    if (!json.failed &&
        byte_queue_add(&answer, &response, sizeof(response), REFUSAL_BYTES_MAX) == 0 &&
        byte_queue_add(&answer, json.text, json.length, REFUSAL_BYTES_MAX) == 0) {
        byte_queue_flush(&answer, fd);
    }
    byte_queue_destroy(&answer);
    jout_destroy(&json);
    close(fd);
}
