/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module has what calls of all of the host's libraries have in common. */
#ifndef WORKER_LIBRARIES_LIBRARY_CALL_H
#define WORKER_LIBRARIES_LIBRARY_CALL_H

#include "worker/cuda/channel/driver_internal.h"

/* The end of a call that the library of this name has answered with this status, 0 being well. */
CUresult library_answer(struct driver_call *call, const char *library, int status);

#endif
