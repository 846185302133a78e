/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pools and their GPUs. */
#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/base/render.h"
#include "admin/change.h"
#include "admin/commands/commands.h"
#include "admin/db.h"
#include "admin/host_gpus.h"
#include "admin/options.h"
#include "admin/say.h"

static json_t *pool_json(const vgpu_pool_config_t *pool)
{
    json_t *gpus = json_array();
    char letter[2] = {pool->pool_id, '\0'};

    for (uint32_t i = 0; i < pool->gpu_count; i++) {
        json_array_append_new(gpus, json_string(pool->gpus[i]));
    }
    return json_pack("{s:s, s:s, s:s, s:I, s:o, s:b}", "pool", letter, "name", pool->pool_name,
                     "description", pool->description, "vm_count", (json_int_t)pool->vm_count,
                     "gpus", gpus, "every_gpu", (int)(pool->gpu_count == 0));
}

/* Before a change of a pool: which one, and the database. */
static int begin(struct admin *admin, char *pool_id)
{
    int status = admin_pool(admin, "pool", pool_id);

    return status == ADMIN_OK ? admin_open_db(admin, VGPU_DB_WRITE) : status;
}

/* After a change of a pool: the document has the pool as it is now, if it still is. */
static int finish(struct admin *admin, char pool_id, const char *message)
{
    int status = admin_reload_config(admin);
    json_t *pool = json_null();

    if (status != ADMIN_OK) {
        return status;
    }
    for (uint32_t p = 0; p < admin->config->pool_count; p++) {
        if (admin->config->pools[p].pool_id == pool_id) {
            pool = pool_json(&admin->config->pools[p]);
        }
    }
    return admin_finish_change(admin, NULL, NULL, message,
                               json_pack("{s:b, s:o}", "changed", 1, "pool", pool));
}

static int run_create(struct admin *admin)
{
    char message[256], pool;
    int status = begin(admin, &pool);
    int result;

    if (status != ADMIN_OK) {
        return status;
    }
    result = vgpu_create_pool(admin->db, pool, admin_option(admin, "name"),
                              admin_option(admin, "description"));
    if (result < 0) {
        return admin_db_failed(admin, result);
    }
    snprintf(message, sizeof(message),
             "Created pool %c. It uses every GPU of the host until vgpu-admin assign-gpu gives it "
             "its own.",
             pool);
    return finish(admin, pool, message);
}

static int run_remove(struct admin *admin)
{
    char message[64], pool;
    int status = begin(admin, &pool);
    int result;

    if (status != ADMIN_OK) {
        return status;
    }
    result = vgpu_remove_pool(admin->db, pool);
    if (result < 0) {
        return admin_db_failed(admin, result);
    }
    snprintf(message, sizeof(message), "Removed pool %c.", pool);
    return finish(admin, pool, message);
}

/* A GPU may be configured before it is there; while the mediator runs, a slip shows. */
static void note_missing_gpu(struct admin *admin, char pool, const char *gpu)
{
    json_t *gpus = host_gpus(admin);

    if (!host_has_gpu(gpus, gpu)) {
        admin_note(admin,
                   "this host has no GPU %s at present (vgpu-admin status lists those it has); to "
                   "take it out again: vgpu-admin assign-gpu --pool=%c --gpu=%s --remove",
                   gpu, pool, gpu);
    }
    json_decref(gpus);
}

static int run_assign(struct admin *admin)
{
    const char *gpu = admin_option(admin, "gpu");
    bool remove = admin_option(admin, "remove") != NULL;
    char message[256], pool;
    int status = begin(admin, &pool);
    int result;

    if (status != ADMIN_OK) {
        return status;
    }
    result =
        remove ? vgpu_unassign_gpu(admin->db, pool, gpu) : vgpu_assign_gpu(admin->db, pool, gpu);
    if (result < 0) {
        return admin_db_failed(admin, result);
    }
    snprintf(message, sizeof(message),
             remove ? "Took GPU %s out of pool %c." : "Assigned GPU %s to pool %c.", gpu, pool);
    if (!remove) {
        note_missing_gpu(admin, pool, gpu);
    }
    return finish(admin, pool, message);
}

static int run_show(struct admin *admin)
{
    static const struct render_column columns[] = {
        {"POOL", 0},
        {"NAME", COLUMN_SHRINK},
        {"VMS", COLUMN_RIGHT},
        {"GPUS", COLUMN_SHRINK},
        {"DESCRIPTION", COLUMN_SHRINK | COLUMN_DROP},
    };
    int status = admin_open_view(admin);
    const struct vgpu_config_snapshot *s;
    struct render_table *t;
    json_t *here;

    if (status != ADMIN_OK) {
        return status;
    }
    s = admin->config;
    here = host_gpus(admin);
    if (admin->json) {
        json_t *list = json_array();
        for (uint32_t p = 0; p < s->pool_count; p++) {
            json_array_append_new(list, pool_json(&s->pools[p]));
        }
        host_note_missing_gpus(admin, here);
        json_decref(here);
        admin_print_json(admin, json_pack("{s:o}", "pools", list));
        return ADMIN_OK;
    }
    t = render_table_new(columns, sizeof(columns) / sizeof(columns[0]));
    for (uint32_t p = 0; p < s->pool_count; p++) {
        const vgpu_pool_config_t *pool = &s->pools[p];
        char gpus[400] = "";
        for (uint32_t i = 0; i < pool->gpu_count; i++) {
            size_t used = strlen(gpus);
            snprintf(gpus + used, sizeof(gpus) - used, "%s%s", i ? ", " : "", pool->gpus[i]);
        }
        render_cell(t, STYLE_BOLD, "%c", pool->pool_id);
        render_cell(t, STYLE_PLAIN, "%s", pool->pool_name);
        render_cell(t, STYLE_PLAIN, "%u", pool->vm_count);
        render_cell(t, pool->gpu_count ? STYLE_PLAIN : STYLE_DIM, "%s",
                    pool->gpu_count ? gpus : "every GPU");
        render_cell(t, STYLE_PLAIN, "%s", pool->description);
    }
    render_table_end(t, "There are no pools. vgpu-admin create-pool --pool=A makes one.");
    host_note_missing_gpus(admin, here);
    json_decref(here);
    return ADMIN_OK;
}

#define GROUP "Pools"
#define OPTION_POOL                                                                                \
    {                                                                                              \
        .name = "pool", .metavar = "A..Z", .help = "the pool's letter", .required = true           \
    }

const struct admin_command commands_pools[] = {
    {
        .name = "show-pools",
        .group = GROUP,
        .summary = "Show pools, their GPUs and how many VMs they have",
        .example = "vgpu-admin show-pools",
        .run = run_show,
        .only_looks = true,
    },
    {
        .name = "create-pool",
        .group = GROUP,
        .summary = "Make a new pool",
        .usage = "--pool=A..Z [--name=NAME] [--description=TEXT]",
        .example = "vgpu-admin create-pool --pool=T --name=Training",
        ADMIN_TAKES(OPTION_POOL, {.name = "name", .metavar = "NAME", .help = "its name"},
                    {.name = "description", .metavar = "TEXT", .help = "what it is for"}),
        .run = run_create,
    },
    {
        .name = "remove-pool",
        .group = GROUP,
        .summary = "Remove a pool that has no VMs",
        .usage = "--pool=A..Z",
        .example = "vgpu-admin remove-pool --pool=T",
        ADMIN_TAKES(OPTION_POOL),
        .run = run_remove,
    },
    {
        .name = "assign-gpu",
        .group = GROUP,
        .summary = "Give a GPU to a pool, or take it out",
        .usage = "--pool=A..Z --gpu=UUID|INDEX [--remove]",
        .details =
            "A pool without assigned GPUs uses every GPU of the host. A GPU may be in several\n"
            "pools. nvidia-smi -L lists UUIDs; an index can change when the host's GPUs do.",
        .example = "vgpu-admin assign-gpu --pool=T --gpu=GPU-5a2b0c1e-0000-1111-2222-333344445555",
        ADMIN_TAKES(OPTION_POOL,
                    {.name = "gpu", .metavar = "UUID|INDEX", .help = "the GPU", .required = true},
                    {.name = "remove", .help = "take it out of the pool"}),
        .run = run_assign,
    },
    {0},
};
