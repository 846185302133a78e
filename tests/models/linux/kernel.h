/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What guest/linux/vgpu_regs.c takes from the kernel, for one thread in a program.  meson.build
 * gives it the names of the kernel's headers.
 */
#ifndef TESTS_MODELS_LINUX_KERNEL_H
#define TESTS_MODELS_LINUX_KERNEL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef uint64_t dma_addr_t, phys_addr_t;
typedef struct {
    int64_t counter;
} atomic64_t;
typedef struct {
    int unused;
} spinlock_t, wait_queue_head_t;

struct mutex {
    int unused;
};
struct rw_semaphore {
    int unused;
};
struct kref {
    int count;
};
struct list_head {
    struct list_head *next, *prev;
};
struct device {
    int unused;
};
struct pci_dev {
    struct device dev;
};
struct miscdevice {
    int unused;
};
struct work_struct {
    int unused;
};
struct delayed_work {
    struct work_struct work;
};
struct file_operations;
struct vm_area_struct;
struct address_space;
struct page;
struct pid;

#define __iomem
#define HZ 100
#define READ_ONCE(x) (x)
#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
#define lower_32_bits(x) ((u32)(x))
#define upper_32_bits(x) ((u32)((x) >> 32))
#define time_before(a, b) ((long)((a) - (b)) < 0)
#define mutex_lock(lock) ((void)(lock))
#define mutex_unlock(lock) ((void)(lock))
#define wake_up_all(queue) ((void)(queue))
#define kref_get(ref) ((ref)->count++)
#define dev_warn(device, ...) ((void)(device))
#define dev_err(device, ...) ((void)(device))
#define to_delayed_work(w) container_of(w, struct delayed_work, work)
#define schedule_delayed_work(work, delay) ((void)(work))
/* Nobody waits in a program of one thread. */
#define wait_event_killable_timeout(queue, condition, limit) ((condition) ? (limit) : 0)
#define wait_event_timeout(queue, condition, limit) ((void)(condition))

extern unsigned long jiffies;
/* The device. */
u32 ioread32(const void *address);
void iowrite32(u32 value, void *address);

#endif
