/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module makes turn pages (vgpu/vgpu_turn.h), one for each worker that has turns. */
#ifndef MEDIATOR_WORKERS_TURN_PAGE_H
#define MEDIATOR_WORKERS_TURN_PAGE_H

#include "vgpu/vgpu_turn.h"

/* Mapped and zeroed; *fd is for the worker, and the caller's to close.  NULL: it can't be had. */
VGPUTurnPage *turn_page_new(int *fd);
/* NULL is allowed. */
void turn_page_free(VGPUTurnPage *page);

#endif /* MEDIATOR_WORKERS_TURN_PAGE_H */
