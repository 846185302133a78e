/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module answers VGPU_ADMIN_SHOW_CUDA (docs/admin-protocol.md, "CUDA programs"). */
#ifndef MEDIATOR_CONTROL_CUDA_H
#define MEDIATOR_CONTROL_CUDA_H

#include "common/json_out.h"

struct mediator;

void admin_json_cuda(struct mediator *mediator, struct json_out *json);

#endif /* MEDIATOR_CONTROL_CUDA_H */
