// SPDX-License-Identifier: GPL-2.0
/* A channel from open() to the host's last word, and what a process may have. */
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "vgpu_drv.h"

static unsigned int memory_mib;
module_param(memory_mib, uint, 0644);
MODULE_PARM_DESC(memory_mib, "memory of all channels of a device, in MiB (0: half of the RAM)");

static unsigned int process_memory_mib;
module_param(process_memory_mib, uint, 0644);
MODULE_PARM_DESC(process_memory_mib, "memory of a process's channels, in MiB (0: as memory_mib)");

static unsigned int process_channels = 32;
module_param(process_channels, uint, 0644);
MODULE_PARM_DESC(process_channels, "open files of a process (32)");

/* ---- limits ---- */

static u64 vgpu_bytes_max(void)
{
	unsigned int mib = READ_ONCE(memory_mib);

	return mib ? (u64)mib << 20 : (u64)totalram_pages() << PAGE_SHIFT >> 1;
}

u64 vgpu_process_bytes_max(void)
{
	unsigned int mib = READ_ONCE(process_memory_mib);

	return mib ? min((u64)mib << 20, vgpu_bytes_max()) : vgpu_bytes_max();
}

/* `bytes` is far below 2^63, so sums don't wrap. */
int vgpu_charge(struct vgpu_channel *ch, u64 bytes)
{
	if (ch->owner->bytes + bytes > vgpu_process_bytes_max() ||
	    ch->dev->bytes + bytes > vgpu_bytes_max())
		return -EDQUOT;
	ch->owner->bytes += bytes;
	ch->dev->bytes += bytes;
	return 0;
}

void vgpu_uncharge(struct vgpu_channel *ch, u64 bytes)
{
	ch->owner->bytes -= bytes;
	ch->dev->bytes -= bytes;
}

/* The account of the current process; made of `fresh` if it has none yet. */
static struct vgpu_owner *vgpu_owner_get(struct vgpu_dev *dev, struct vgpu_owner **fresh)
{
	struct vgpu_owner *owner;

	list_for_each_entry(owner, &dev->owners, link) {
		if (owner->process == task_tgid(current)) {
			if (owner->users >= READ_ONCE(process_channels))
				return ERR_PTR(-EMFILE);
			owner->users++;
			return owner;
		}
	}
	owner = *fresh;
	*fresh = NULL;
	owner->process = get_pid(task_tgid(current));
	owner->users = 1;
	list_add(&owner->link, &dev->owners);
	return owner;
}

static void vgpu_owner_put(struct vgpu_owner *owner)
{
	if (--owner->users)
		return;
	list_del(&owner->link);
	put_pid(owner->process);
	kfree(owner);
}

/* ---- life ---- */

void vgpu_dev_get(struct vgpu_dev *dev)
{
	kref_get(&dev->ref);
}

static void vgpu_dev_free(struct kref *ref)
{
	struct vgpu_dev *dev = container_of(ref, struct vgpu_dev, ref);

	pci_dev_put(dev->pdev);
	mutex_destroy(&dev->lock);
	kfree(dev);
}

void vgpu_dev_put(struct vgpu_dev *dev)
{
	kref_put(&dev->ref, vgpu_dev_free);
}

static void vgpu_channel_init(struct vgpu_channel *ch, struct vgpu_dev *dev)
{
	kref_init(&ch->ref);
	ch->dev = dev;
	ch->number = VGPU_CHANNEL_NONE;
	mutex_init(&ch->op_lock);
	init_waitqueue_head(&ch->wait);
}

struct vgpu_channel *vgpu_channel_new(struct vgpu_dev *dev, struct address_space *mapping)
{
	struct vgpu_owner *fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	struct vgpu_channel *ch = kzalloc(sizeof(*ch), GFP_KERNEL_ACCOUNT);
	struct page *scratch = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	struct vgpu_owner *owner = ERR_PTR(-ENOMEM);

	if (fresh && ch && scratch) {
		vgpu_channel_init(ch, dev);
		ch->mapping = mapping;
		ch->scratch = scratch;
		mutex_lock(&dev->lock);
		owner = vgpu_owner_get(dev, &fresh);
		if (!IS_ERR(owner)) {
			vgpu_dev_get(dev);
			ch->owner = owner;
			list_add(&ch->link, &dev->files);
		}
		mutex_unlock(&dev->lock);
	}
	kfree(fresh);
	if (IS_ERR(owner)) {
		kfree(ch);
		if (scratch)
			__free_page(scratch);
		return ERR_CAST(owner);
	}
	return ch;
}

static void vgpu_channel_free(struct kref *ref)
{
	struct vgpu_channel *ch = container_of(ref, struct vgpu_channel, ref);
	struct vgpu_dev *dev = ch->dev;

	vgpu_owner_put(ch->owner);
	__free_page(ch->scratch);
	mutex_destroy(&ch->op_lock);
	kfree(ch);
	vgpu_dev_put(dev);
}

void vgpu_channel_put(struct vgpu_channel *ch)
{
	kref_put(&ch->ref, vgpu_channel_free);
}

/* Gives it a number, and a place where interrupts find it. */
static int vgpu_channel_enter(struct vgpu_channel *ch)
{
	struct vgpu_dev *dev = ch->dev;
	unsigned long flags;
	u32 i;

	for (i = 0; i < dev->channel_count; i++) {
		if (!dev->channels[i] && vgpu_number_is_free(dev, i))
			break;
	}
	if (i == dev->channel_count)
		return -ENOSPC;
	kref_get(&ch->ref);
	ch->number = i;
	spin_lock_irqsave(&dev->irq_lock, flags);
	dev->channels[i] = ch;
	spin_unlock_irqrestore(&dev->irq_lock, flags);
	return 0;
}

/* The other way; nothing of it is with the host. */
static void vgpu_channel_leave(struct vgpu_channel *ch)
{
	struct vgpu_dev *dev = ch->dev;
	struct vgpu_chunk *chunk;
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&dev->irq_lock, flags);
	dev->channels[ch->number] = NULL;
	spin_unlock_irqrestore(&dev->irq_lock, flags);
	ch->number = VGPU_CHANNEL_NONE;
	/* The number becomes another file's; who shared memory with this one's process has it yet. */
	if (ch->mapping)
		unmap_mapping_range(ch->mapping, vgpu_doorbell_offset(), VGPU_DOORBELL_PAGE, 1);
	for (i = 0; i < VGPU_CHUNKS_MAX; i++) {
		chunk = ch->chunks[i];
		ch->chunks[i] = NULL;
		if (chunk)
			vgpu_chunk_put(chunk);
	}
	vgpu_channel_put(ch);
}

void vgpu_channel_over(struct vgpu_channel *ch, u32 reason)
{
	if (ch->pending && ch->result == VGPU_RESULT_PENDING)
		ch->result = VGPU_ERR_MEDIATOR_UNAVAILABLE;
	ch->pending = 0;
	ch->phase = VGPU_PHASE_OVER;
	ch->reason = reason;
	ch->close_wanted = false;
	vgpu_set_awaited(ch);
	if (ch->chunks[0])
		vgpu_chunk_mark_closed(ch->chunks[0], reason);
	wake_up_all(&ch->wait);
	if (ch->finished)
		vgpu_channel_leave(ch);
}

void vgpu_channel_finish(struct vgpu_channel *ch, bool file_closed)
{
	struct vgpu_dev *dev = ch->dev;

	vgpu_dev_get(dev);
	mutex_lock(&dev->lock);
	if (file_closed)
		ch->mapping = NULL; /* the file's, and nobody has an area of it any more */
	if (!ch->finished) {
		ch->finished = true;
		if (ch->phase == VGPU_PHASE_OVER)
			vgpu_channel_leave(ch);
		else
			vgpu_command_close(ch);
	}
	wake_up_all(&ch->wait);
	if (file_closed) {
		list_del(&ch->link);
		vgpu_channel_put(ch);
	}
	mutex_unlock(&dev->lock);
	vgpu_dev_put(dev);
}

/* ---- OPEN ---- */

static void vgpu_fill_open(struct vgpu_channel *ch, const struct vgpu_ioctl_open *open)
{
	VGPUChannelOpen *wanted = &ch->dev->setup->open;

	memset(ch->dev->setup, 0, sizeof(*ch->dev->setup));
	wanted->channel = ch->number;
	wanted->profile = open->profile;
	wanted->features = open->features;
	wanted->geometry = open->geometry;
	wanted->process = task_tgid_nr(current);
	BUILD_BUG_ON(sizeof(wanted->name) != sizeof(current->comm));
	get_task_comm(wanted->name, current);
}

static int vgpu_open_start(struct vgpu_channel *ch, struct vgpu_chunk *chunk,
			   const struct vgpu_ioctl_open *open)
{
	struct vgpu_dev *dev = ch->dev;
	int ret = 0;

	mutex_lock(&dev->lock);
	if (dev->gone || !vgpu_regs_alive(dev))
		ret = -ENODEV;
	else if (dev->stopped)
		ret = -EAGAIN;
	else if (ch->phase != VGPU_PHASE_NEW || ch->finished)
		ret = -EBUSY;
	else
		ret = vgpu_channel_enter(ch);
	if (ret) {
		vgpu_chunk_put(chunk);
	} else {
		ch->chunks[0] = chunk;
		ch->phase = VGPU_PHASE_OPENING;
		vgpu_fill_open(ch, open);
		vgpu_chunk_fill_setup(chunk, 0);
		vgpu_command_start(ch, VGPU_COMMAND_OPEN);
	}
	mutex_unlock(&dev->lock);
	return ret;
}

/* The command has ended, or nobody waits for it any longer. */
static int vgpu_open_end(struct vgpu_channel *ch, struct vgpu_ioctl_open *open, int waited)
{
	struct vgpu_dev *dev = ch->dev;
	int ret = waited;

	mutex_lock(&dev->lock);
	open->status = ch->result;
	if (ret) {
		if (ret != -ENODEV)
			vgpu_command_close(ch);
		open->status = VGPU_ERR_NONE;
	} else if (ch->result) {
		/* Refused.  The file is as new, unless the host forgot to say that it is free. */
		if (ch->phase == VGPU_PHASE_OVER && !ch->finished) {
			vgpu_channel_leave(ch);
			ch->phase = VGPU_PHASE_NEW;
		}
		ret = -EREMOTEIO;
	} else if (!ch->chunks[0]) {
		ret = -ENODEV;
	} else {
		ch->chunks[0]->state = VGPU_CHUNK_PRESENT;
		open->channel = ch->number;
		open->features = ch->features;
		open->transport = ch->transport;
		open->bytes = ch->chunks[0]->bytes;
		open->mmap_offset = vgpu_chunk_offset(0);
		open->doorbell_offset = vgpu_doorbell_offset();
	}
	mutex_unlock(&dev->lock);
	return ret;
}

int vgpu_channel_open(struct vgpu_channel *ch, struct vgpu_ioctl_open *open)
{
	struct vgpu_channel_layout layout;
	struct vgpu_chunk *chunk;
	int ret;

	if (open->flags || !vgpu_channel_layout(&open->geometry, &layout))
		return -EINVAL;
	if (READ_ONCE(ch->phase) != VGPU_PHASE_NEW)
		return -EBUSY;
	chunk = vgpu_chunk_new(ch, layout.bytes);
	if (IS_ERR(chunk))
		return PTR_ERR(chunk);
	ret = vgpu_open_start(ch, chunk, open);
	return ret ? ret : vgpu_open_end(ch, open, vgpu_command_wait(ch));
}
