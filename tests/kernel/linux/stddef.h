/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This is what tests/contracts_check.py takes from Linux's header of this name, and no more. */
#ifndef TESTS_KERNEL_LINUX_STDDEF_H
#define TESTS_KERNEL_LINUX_STDDEF_H

#define NULL ((void *)0)
#define offsetof(type, member) __builtin_offsetof(type, member)

#endif /* TESTS_KERNEL_LINUX_STDDEF_H */
