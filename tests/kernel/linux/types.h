/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This is what tests/contracts_check.py takes from Linux's header of this name, and no more. */
#ifndef TESTS_KERNEL_LINUX_TYPES_H
#define TESTS_KERNEL_LINUX_TYPES_H

typedef __UINT8_TYPE__ uint8_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;
typedef __INT32_TYPE__ int32_t;
typedef __INT64_TYPE__ int64_t;
typedef __SIZE_TYPE__ size_t;
typedef _Bool bool;

#endif /* TESTS_KERNEL_LINUX_TYPES_H */
