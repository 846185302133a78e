/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "admin/admin.h"
#include "admin/base/json_get.h"
#include "admin/base/link.h"
#include "admin/host_gpus.h"
#include "admin/say.h"
#include "admin/tools.h"
#include "vgpu/vgpu_admin.h"

json_t *host_gpus(struct admin *admin)
{
    json_t *status, *gpus = NULL;

    if (admin_link_request(admin_get_link(admin), VGPU_ADMIN_SHOW_STATUS, 0, NULL, &status) == 0) {
        gpus = json_object_get(status, "gpus");
        gpus = json_is_array(gpus) ? json_incref(gpus) : NULL;
        json_decref(status);
    }
    return gpus;
}

bool host_has_gpu(const json_t *gpus, const char *gpu)
{
    json_t *item;
    size_t i;

    json_array_foreach(gpus, i, item)
    {
        char index[32];

        snprintf(index, sizeof(index), "%lld", (long long)json_get_int(item, "index", -1));
        if (strcmp(gpu, index) == 0 || strcasecmp(gpu, json_get_text(item, "uuid", "")) == 0) {
            return true;
        }
    }
    return gpus == NULL;
}

bool host_lacks_pool(const json_t *gpus, const vgpu_pool_config_t *pool)
{
    for (uint32_t i = 0; i < pool->gpu_count; i++) {
        if (host_has_gpu(gpus, pool->gpus[i])) {
            return false;
        }
    }
    return pool->gpu_count > 0;
}

void host_note_missing_gpus(struct admin *admin, const json_t *gpus)
{
    for (uint32_t p = 0; p < admin->config->pool_count; p++) {
        const vgpu_pool_config_t *pool = &admin->config->pools[p];

        for (uint32_t i = 0; i < pool->gpu_count; i++) {
            if (!host_has_gpu(gpus, pool->gpus[i])) {
                admin_note(admin, "pool %c has GPU %s, which this host lacks%s", pool->pool_id,
                           pool->gpus[i],
                           host_lacks_pool(gpus, pool) ? ", and no other: its VMs get INVALID_POOL"
                                                       : "");
            }
        }
    }
}
