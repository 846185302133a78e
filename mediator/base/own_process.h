/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module asks the kernel for what this process itself needs: its files, and last words. */
#ifndef MEDIATOR_BASE_OWN_PROCESS_H
#define MEDIATOR_BASE_OWN_PROCESS_H

#include <stdint.h>

/* Descriptors 0 to 2 must be something: a socket there would get our log lines. */
void own_process_fill_standard_fds(void);
/* So many open files, or as many as are allowed; a warning says if that is too few for all VMs. */
void own_process_raise_file_limit(uint32_t wanted);
/* When abort() ends the process, standard error says so before. */
void own_process_explain_abort(void);

#endif /* MEDIATOR_BASE_OWN_PROCESS_H */
