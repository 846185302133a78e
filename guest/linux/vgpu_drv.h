/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vgpu.ko: the Linux driver of the vgpu-stub device's channels.
 *
 *	vgpu_main.c	probe, remove, interrupts, suspend, shutdown
 *	vgpu_regs.c	the register block: commands and their ends
 *	vgpu_channel.c	a channel from open() to the host's last word; limits
 *	vgpu_chunk.c	memory: allocating, mapping, freeing
 *	vgpu_file.c	/dev/vgpuN: ioctls, mmap, poll
 *
 * What one must not get wrong here: the host (a worker process) reads and writes a chunk's pages
 * until it has said that it let go.  Pages that are freed earlier become another process's
 * memory, with the worker still writing to it.  So a channel outlives its file: release() asks
 * the host to close it, and the pages go when the answer comes.  If none comes they are kept,
 * and count for the limits.
 *
 * Locks: dev->lock, a mutex, is for all that isn't interrupts: registers, states, chunks, limits.
 * It is never held while waiting for the host, nor while copying from or to a program, since
 * a page fault in a chunk takes it, too.  ch->op_lock is taken before it, and lets the calls of
 * several threads on one file come one after the other.  dev->irq_lock is for the table that the
 * interrupt handler walks.
 */
#ifndef VGPU_DRV_H
#define VGPU_DRV_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "vgpu/vgpu_ioctl.h"

#define VGPU_VECTORS_MAX 64u

/* How long somebody waits for the host. */
#define VGPU_COMMAND_LIMIT	(60 * HZ)	/* it may have to start a worker */
#define VGPU_RESET_LIMIT	(20 * HZ)	/* suspend, shutdown, unload */
#define VGPU_LOOK_EVERY		(HZ / 2)	/* at the registers: an interrupt may be lost */
#define VGPU_CLOSE_WARN		(60 * HZ)	/* then the log says that memory is kept */

struct vgpu_dev;
struct vgpu_channel;

struct vgpu_vector {
	struct vgpu_dev *dev;
	unsigned int index;
	char name[24];
};

/* A process with open files: what it may have is limited. */
struct vgpu_owner {
	struct list_head link;		/* dev->owners */
	struct pid *process;
	unsigned int users;		/* channels, those that the host still has included */
	u64 bytes;
};

struct vgpu_dev {
	struct kref ref;
	struct pci_dev *pdev;
	struct miscdevice misc;
	int id;
	char name[16];			/* "vgpu0" */
	void __iomem *regs;		/* BAR0; not requested, see vgpu_main.c */
	phys_addr_t doorbells;
	unsigned int channel_count;
	unsigned int vector_count;
	unsigned int vectors_used;	/* with a handler */
	struct vgpu_vector vectors[VGPU_VECTORS_MAX];

	struct rw_semaphore going;	/* read: memory is being allocated; outside of lock */
	struct mutex lock;
	bool gone;			/* no register may be touched, no memory is left */
	bool stopped;			/* suspended or going: no new channels */
	u32 generation;
	VGPUChannelSetup *setup;
	dma_addr_t setup_dma;
	u64 bytes;			/* memory of all chunks */
	unsigned int awaited;		/* channels with a command on its way or closing */
	struct list_head owners;
	struct list_head chunks;
	struct list_head files;		/* channels with an open file */
	wait_queue_head_t changed;	/* a command ended, or a channel did */
	struct delayed_work look;

	spinlock_t irq_lock;		/* for channels[] */
	struct vgpu_channel *channels[VGPU_CHANNELS_MAX];	/* each with a reference */
};

struct vgpu_piece {
	void *cpu;
	dma_addr_t dma;
	u32 bytes;
};

enum vgpu_chunk_state {
	VGPU_CHUNK_ADDING,
	VGPU_CHUNK_PRESENT,
	VGPU_CHUNK_REMOVING,
};

struct vgpu_chunk {
	struct kref ref;		/* the channel's table, each mapping */
	struct list_head link;		/* dev->chunks */
	struct vgpu_channel *channel;	/* with a reference */
	enum vgpu_chunk_state state;
	bool has_memory;		/* false once the device was unbound */
	u64 bytes;
	unsigned int piece_count;
	struct vgpu_piece pieces[VGPU_SETUP_PIECES_MAX];
};

/* What the driver knows of a channel, in the order in which it goes. */
enum vgpu_phase {
	VGPU_PHASE_NEW,			/* a file, nothing else */
	VGPU_PHASE_OPENING,
	VGPU_PHASE_OPEN,
	VGPU_PHASE_CLOSING,		/* the host has been told, or ends it by itself */
	VGPU_PHASE_OVER,		/* the host has let go */
};

struct vgpu_channel {
	struct kref ref;		/* its file, the device's table, each chunk */
	struct list_head link;		/* dev->files */
	struct vgpu_dev *dev;		/* with a reference */
	struct vgpu_owner *owner;
	struct mutex op_lock;		/* calls of several threads, one after the other */
	struct address_space *mapping;	/* of the file, while it is open */
	struct page *scratch;		/* stands in for all memory once the device is gone */

	/* dev->lock */
	enum vgpu_phase phase;
	u32 number;			/* VGPU_CHANNEL_NONE: has none */
	u32 pending;			/* enum vgpu_channel_command on its way; 0: none */
	u32 result;			/* of the last one */
	u32 reason;			/* enum vgpu_channel_reason */
	u32 transport, features;
	bool close_wanted;
	bool finished;			/* its file or its process is over */
	bool awaited;			/* counted in dev->awaited */
	bool warned;
	unsigned long closing_since;	/* jiffies */
	struct vgpu_chunk *chunks[VGPU_CHUNKS_MAX];

	atomic64_t events;		/* interrupts */
	u64 told;			/* of them, by WAIT; one thread waits */
	wait_queue_head_t wait;
};

/* ---- vgpu_regs.c: with dev->lock held, but for the last three ---- */

u32 vgpu_reg_read(struct vgpu_dev *dev, u32 reg);
void vgpu_reg_write(struct vgpu_dev *dev, u32 reg, u32 value);
/* Is it there, and does it speak this protocol? */
bool vgpu_regs_alive(struct vgpu_dev *dev);
/* Whether the device has this channel free.  It may not have one that the driver has free. */
bool vgpu_number_is_free(struct vgpu_dev *dev, u32 number);
/* Starts a command of a channel that has none on its way.  The setup memory is filled in. */
void vgpu_command_start(struct vgpu_channel *ch, u32 command);
/* Asks the host to close it, now or when the command on its way has ended. */
void vgpu_command_close(struct vgpu_channel *ch);
/* Counts the channel among those for which the registers are looked at from time to time. */
void vgpu_set_awaited(struct vgpu_channel *ch);
/* Looks at what has changed, and wakes who waits for it. */
void vgpu_regs_look(struct vgpu_dev *dev);
void vgpu_look_work(struct work_struct *work);
/*
 * Waits for the end of the channel's command.  0: ch->result holds how it ended.
 * -EINTR: the process is being killed.  -ETIMEDOUT, -ENODEV.
 */
int vgpu_command_wait(struct vgpu_channel *ch);
/* Closes all channels at once and waits, bounded.  -ETIMEDOUT: the host still has memory. */
int vgpu_reset_all(struct vgpu_dev *dev);

/* ---- vgpu_channel.c ---- */

void vgpu_dev_get(struct vgpu_dev *dev);
void vgpu_dev_put(struct vgpu_dev *dev);
/* An open file.  ERR_PTR: -EMFILE, -ENOMEM. */
struct vgpu_channel *vgpu_channel_new(struct vgpu_dev *dev, struct address_space *mapping);
int vgpu_channel_open(struct vgpu_channel *ch, struct vgpu_ioctl_open *open);
/* Its file is closed, or (`file_closed` false) its process ends: the host is told. */
void vgpu_channel_finish(struct vgpu_channel *ch, bool file_closed);
/* dev->lock: the host has let go of it. */
void vgpu_channel_over(struct vgpu_channel *ch, u32 reason);
/* dev->lock; the caller has another reference of the device. */
void vgpu_channel_put(struct vgpu_channel *ch);
/* dev->lock: memory for a chunk, within the limits; 0 or -EDQUOT. */
int vgpu_charge(struct vgpu_channel *ch, u64 bytes);
void vgpu_uncharge(struct vgpu_channel *ch, u64 bytes);
u64 vgpu_process_bytes_max(void);

/* ---- vgpu_chunk.c ---- */

/* A chunk with its memory, zeroed; charged.  ERR_PTR: -EDQUOT, -ENOMEM, -EINTR. */
struct vgpu_chunk *vgpu_chunk_new(struct vgpu_channel *ch, u64 bytes);
/* dev->lock; the caller has another reference of the device. */
void vgpu_chunk_put(struct vgpu_chunk *chunk);
void vgpu_chunk_fill_setup(struct vgpu_chunk *chunk, u32 number);
/* dev->lock: the host has let go; the control page now says that the channel has ended. */
void vgpu_chunk_mark_closed(struct vgpu_chunk *chunk0, u32 reason);
/*
 * dev->lock: the device goes.  Programs get a scratch page for what they have mapped.  The
 * memory is freed, or given up where the host still has it (`let_go` false).
 */
void vgpu_chunks_abandon(struct vgpu_dev *dev, bool let_go);
int vgpu_chunk_add(struct vgpu_channel *ch, struct vgpu_ioctl_chunk_add *add);
int vgpu_chunk_remove(struct vgpu_channel *ch, struct vgpu_ioctl_chunk_remove *remove);
u64 vgpu_chunk_offset(u32 number);
u64 vgpu_doorbell_offset(void);
int vgpu_mmap(struct vgpu_channel *ch, struct vm_area_struct *vma);

/* ---- vgpu_file.c ---- */

extern const struct file_operations vgpu_fops;

#endif /* VGPU_DRV_H */
