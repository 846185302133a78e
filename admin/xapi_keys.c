/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "admin/xapi_keys.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/say.h"

#define LIST_NAME "xapi-sync.json"
#define LIST_BYTES_MAX (1 << 20)

/* Beside the database.  Its folder may be another user's: links and FIFOs are left alone. */
static json_t *read_list(const char *db_path)
{
    const char *slash = strrchr(db_path, '/');
    char path[4096];
    struct stat about;
    json_t *list = NULL;
    int fd;

    if (snprintf(path, sizeof(path), "%.*s" LIST_NAME, slash ? (int)(slash + 1 - db_path) : 0,
                 db_path) >= (int)sizeof(path)) {
        return NULL;
    }
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && about.st_size <= LIST_BYTES_MAX) {
        list = json_loadfd(fd, 0, NULL);
    }
    close(fd);
    return list;
}

void admin_note_xapi_keys(struct admin *admin, const vgpu_vm_config_t *vm)
{
    json_t *list = read_list(vgpu_db_path(admin->db_path)), *uuid;
    size_t i;

    json_array_foreach(json_object_get(list, "registered"), i, uuid)
    {
        if (json_is_string(uuid) && strcasecmp(json_string_value(uuid), vm->vm_uuid) == 0) {
            admin_note(admin,
                       "xapi keeps this VM's settings, and vgpu-xapi-sync puts them back within "
                       "minutes, but for those that its --keys leaves out; to change them: xe "
                       "vm-param-set uuid=%s other-config:vgpu-weight=80 (docs/xcp-ng.md)",
                       vm->vm_uuid);
            break;
        }
    }
    json_decref(list);
}
