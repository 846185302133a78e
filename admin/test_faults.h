/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module makes a call fail in a test: the k-th of those to the C library that the test
 * was linked with --wrap for.  meson.build names them.  Allocations of jansson count too, with
 * faults_in_json().
 */
#ifndef ADMIN_TEST_FAULTS_H
#define ADMIN_TEST_FAULTS_H

#include <stdbool.h>

/* From now on the k-th call fails, counted from 1, and those after it work again; 0: none. */
void faults_at(unsigned k);
/* Whether it came to that; no call fails any more. */
bool faults_end(void);
void faults_in_json(bool wanted);

/* How many descriptors this process has open. */
unsigned faults_descriptors(void);

#endif /* ADMIN_TEST_FAULTS_H */
