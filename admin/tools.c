/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "admin/admin.h"
#include "admin/base/link.h"
#include "admin/say.h"
#include "admin/tools.h"
#include "vgpu/vgpu_admin.h"

#define MEDIATOR_TIMEOUT_S 5

const char *admin_socket_path(const struct admin *admin)
{
    return admin->socket_path && admin->socket_path[0] ? admin->socket_path
                                                       : VGPU_ADMIN_SOCKET_PATH;
}

struct admin_link *admin_get_link(struct admin *admin)
{
    int seconds = admin->timeout_s ? admin->timeout_s : MEDIATOR_TIMEOUT_S;

    if (!admin->link) {
        admin->link = admin_link_new(admin_socket_path(admin), seconds * 1000);
        if (!admin->link) {
            abort();
        }
    }
    return admin->link;
}

struct toolstack *admin_toolstack(struct admin *admin)
{
    if (!admin->toolstack) {
        admin->toolstack = toolstack_new(admin->toolstack_name, admin->timeout_s * 1000);
        if (!admin->toolstack) {
            abort();
        }
    }
    return admin->toolstack;
}

int admin_ask_mediator(struct admin *admin, uint32_t command, uint32_t param1, json_t *body,
                       json_t **answer)
{
    int result = admin_link_request(admin_get_link(admin), command, param1, body, answer);

    if (result == 0) {
        return ADMIN_OK;
    }
    return admin_fail(admin, admin_link_is_unreachable(result) ? ADMIN_UNREACHABLE : ADMIN_FAILED,
                      "%s", admin_link_error(admin->link));
}
