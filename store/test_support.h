/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tests of store/ share these functions, for folders and for databases of earlier phases. */
#ifndef STORE_TEST_SUPPORT_H
#define STORE_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/vgpu_config.h"

#define UUID_1 "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001"
#define UUID_2 "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0002"
#define UUID_3 "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0003"

/* cmocka setup and teardown: *state is the path of a database in a new folder. */
int support_setup(void **state);
int support_teardown(void **state);

/* The shapes in which earlier phases left their database. */
enum support_shape {
    SHAPE_PHASE2,         /* as Phase 2's init_db.sql makes it */
    SHAPE_PHASE2_PRIMARY, /* vm_id as the primary key, nothing enforced */
    SHAPE_PARTLY_ALTERED, /* only weight and max_jobs_per_sec added so far */
    SHAPE_ALTERED,        /* Phase 3 by ALTER TABLE, weight INTEGER DEFAULT 50 */
    SHAPE_PHASE3_FRESH,   /* Phase 3's own init_db.sql, weight REAL DEFAULT 1.0 */
    SHAPE_COUNT
};
/* Makes one with three VMs in it: UUID_1 (vm_id 1, pool A), UUID_2 (7, B), UUID_3 (9, A). */
void support_make_old(const char *path, enum support_shape shape);

void support_sql(const char *path, const char *query);
int64_t support_int(const char *path, const char *query);

/* Opens, or fails the test with the text. */
struct vgpu_db *support_open(const char *path, enum vgpu_db_mode mode);
void support_register(struct vgpu_db *db, const char *uuid, const char *name);
/* Everything in the database's folder. */
void support_remove_files(const char *path);
/* Number of files in the database's folder whose names contain part. */
int support_files(const char *path, const char *part);

#endif /* STORE_TEST_SUPPORT_H */
