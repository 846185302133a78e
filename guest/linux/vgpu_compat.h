/* SPDX-License-Identifier: GPL-2.0 */
/*
 * This header hides what differs between the kernels that this driver is built for, 6.1 and later.
 */
#ifndef VGPU_COMPAT_H
#define VGPU_COMPAT_H

#include <linux/mm.h>
#include <linux/version.h>

#if KERNEL_VERSION(6, 3, 0) > LINUX_VERSION_CODE
static inline void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}
#endif

#endif /* VGPU_COMPAT_H */
