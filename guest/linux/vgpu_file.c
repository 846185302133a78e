// SPDX-License-Identifier: GPL-2.0
/* /dev/vgpuN.  include/vgpu/vgpu_ioctl.h is its contract. */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/ioctl.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

#include "vgpu_drv.h"

/* A descriptor that another process got is none of its own. */
static int vgpu_check_process(struct vgpu_channel *ch)
{
	if (ch->owner->process != task_tgid(current))
		return -EPERM;
	return READ_ONCE(ch->dev->gone) ? -ENODEV : 0;
}

static int vgpu_file_open(struct inode *inode, struct file *file)
{
	struct vgpu_dev *dev = container_of(file->private_data, struct vgpu_dev, misc);
	struct vgpu_channel *ch = vgpu_channel_new(dev, file->f_mapping);

	if (IS_ERR(ch))
		return PTR_ERR(ch);
	file->private_data = ch;
	return nonseekable_open(inode, file);
}

static int vgpu_file_release(struct inode *inode, struct file *file)
{
	vgpu_channel_finish(file->private_data, true);
	return 0;
}

/* Other processes may keep the file open; the channel is the one's that opened it. */
static int vgpu_file_flush(struct file *file, fl_owner_t id)
{
	struct vgpu_channel *ch = file->private_data;

	if (current->flags & PF_EXITING && ch->owner->process == task_tgid(current))
		vgpu_channel_finish(ch, false);
	return 0;
}

static int vgpu_file_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct vgpu_channel *ch = file->private_data;
	int ret = vgpu_check_process(ch);

	return ret ? ret : vgpu_mmap(ch, vma);
}

/* ---- waiting ---- */

static bool vgpu_has_ended(struct vgpu_channel *ch)
{
	enum vgpu_phase phase = READ_ONCE(ch->phase);

	return phase == VGPU_PHASE_CLOSING || phase == VGPU_PHASE_OVER || READ_ONCE(ch->dev->gone);
}

static bool vgpu_has_event(struct vgpu_channel *ch)
{
	return atomic64_read(&ch->events) != READ_ONCE(ch->told);
}

static __poll_t vgpu_file_poll(struct file *file, poll_table *table)
{
	struct vgpu_channel *ch = file->private_data;
	__poll_t mask = 0;

	if (ch->owner->process != task_tgid(current))
		return EPOLLERR;
	poll_wait(file, &ch->wait, table);
	if (vgpu_has_event(ch))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (vgpu_has_ended(ch))
		mask |= EPOLLHUP | EPOLLIN;
	return mask;
}

static u32 vgpu_state_of(struct vgpu_channel *ch)
{
	static const u8 states[] = {
		[VGPU_PHASE_NEW] = VGPU_REGISTER_FREE,
		[VGPU_PHASE_OPENING] = VGPU_REGISTER_OPENING,
		[VGPU_PHASE_OPEN] = VGPU_REGISTER_OPEN,
		[VGPU_PHASE_CLOSING] = VGPU_REGISTER_CLOSING,
		[VGPU_PHASE_OVER] = VGPU_REGISTER_FREE,
	};

	return states[READ_ONCE(ch->phase)];
}

static int vgpu_do_wait(struct vgpu_channel *ch, struct vgpu_ioctl_wait *wait)
{
	int ret = 0;

	if (wait->flags || wait->reserved)
		return -EINVAL;
	if (READ_ONCE(ch->phase) == VGPU_PHASE_NEW)
		return -ENOTCONN;
	if (wait->timeout_ns >= KTIME_MAX)
		ret = wait_event_interruptible(ch->wait,
					       vgpu_has_event(ch) || vgpu_has_ended(ch));
	else if (wait->timeout_ns)
		ret = wait_event_interruptible_hrtimeout(ch->wait,
							 vgpu_has_event(ch) || vgpu_has_ended(ch),
							 ns_to_ktime(wait->timeout_ns));
	else if (!vgpu_has_event(ch) && !vgpu_has_ended(ch))
		ret = -ETIME;
	if (ret == -ERESTARTSYS)
		ret = -ERESTARTNOHAND; /* EINTR for who has a handler; a suspend is no end */
	if (READ_ONCE(ch->dev->gone))
		return -ENODEV;
	wait->events = atomic64_read(&ch->events);
	/* A call that the kernel makes again must find what came when it was broken off. */
	if (!ret || ret == -ETIME)
		WRITE_ONCE(ch->told, wait->events);
	wait->state = vgpu_state_of(ch);
	wait->reason = ch->reason;
	return ret;
}

/* ---- the others ---- */

static int vgpu_do_info(struct vgpu_channel *ch, struct vgpu_ioctl_info *info)
{
	struct vgpu_dev *dev = ch->dev;
	unsigned int i;
	int ret = 0;

	if (info->flags || info->reserved)
		return -EINVAL;
	mutex_lock(&dev->lock);
	if (dev->gone) {
		ret = -ENODEV;
	} else {
		info->version = VGPU_IOCTL_VERSION;
		info->device = vgpu_reg_read(dev, VGPU_REG2_FEATURES);
		info->channels = dev->channel_count;
		info->channel = ch->number;
		info->state = vgpu_state_of(ch);
		info->reason = ch->reason;
		info->transport = ch->transport;
		info->features = ch->features;
		info->process_bytes_max = vgpu_process_bytes_max();
		info->events = atomic64_read(&ch->events);
		info->bytes = 0;
		for (i = 0; i < VGPU_CHUNKS_MAX; i++)
			info->bytes += ch->chunks[i] ? ch->chunks[i]->bytes : 0;
		strscpy(info->address, pci_name(dev->pdev), sizeof(info->address));
	}
	mutex_unlock(&dev->lock);
	return ret;
}

union vgpu_argument {
	struct vgpu_ioctl_info info;
	struct vgpu_ioctl_open open;
	struct vgpu_ioctl_chunk_add add;
	struct vgpu_ioctl_chunk_remove remove;
	struct vgpu_ioctl_wait wait;
};

static int vgpu_do(struct vgpu_channel *ch, unsigned int number, union vgpu_argument *argument)
{
	int ret;

	switch (number) {
	case _IOC_NR(VGPU_IOCTL_INFO):
		return vgpu_do_info(ch, &argument->info);
	case _IOC_NR(VGPU_IOCTL_WAIT):
		return vgpu_do_wait(ch, &argument->wait);
	}
	if (mutex_lock_killable(&ch->op_lock))
		return -EINTR;
	switch (number) {
	case _IOC_NR(VGPU_IOCTL_OPEN):
		ret = vgpu_channel_open(ch, &argument->open);
		break;
	case _IOC_NR(VGPU_IOCTL_CHUNK_ADD):
		ret = vgpu_chunk_add(ch, &argument->add);
		break;
	default:
		ret = vgpu_chunk_remove(ch, &argument->remove);
		break;
	}
	mutex_unlock(&ch->op_lock);
	return ret;
}

static const u16 vgpu_argument_bytes[] = {
	[_IOC_NR(VGPU_IOCTL_INFO)] = sizeof(struct vgpu_ioctl_info),
	[_IOC_NR(VGPU_IOCTL_OPEN)] = sizeof(struct vgpu_ioctl_open),
	[_IOC_NR(VGPU_IOCTL_CHUNK_ADD)] = sizeof(struct vgpu_ioctl_chunk_add),
	[_IOC_NR(VGPU_IOCTL_CHUNK_REMOVE)] = sizeof(struct vgpu_ioctl_chunk_remove),
	[_IOC_NR(VGPU_IOCTL_WAIT)] = sizeof(struct vgpu_ioctl_wait),
};

/* What is true of the numbers that the contract computes by itself. */
static_assert(_IOWR(VGPU_IOCTL_LETTER, 4, struct vgpu_ioctl_wait) == VGPU_IOCTL_WAIT);

static long vgpu_file_ioctl(struct file *file, unsigned int command, unsigned long at)
{
	struct vgpu_channel *ch = file->private_data;
	unsigned int number = _IOC_NR(command);
	size_t known, given = _IOC_SIZE(command);
	void __user *from = (void __user *)at;
	union vgpu_argument argument;
	int ret;

	if (_IOC_TYPE(command) != VGPU_IOCTL_LETTER ||
	    _IOC_DIR(command) != (_IOC_READ | _IOC_WRITE) ||
	    number >= ARRAY_SIZE(vgpu_argument_bytes))
		return -ENOTTY;
	ret = vgpu_check_process(ch);
	if (ret)
		return ret;
	known = vgpu_argument_bytes[number];
	memset(&argument, 0, sizeof(argument));
	ret = copy_struct_from_user(&argument, known, from, given);
	if (ret)
		return ret;
	ret = vgpu_do(ch, number, &argument);
	/* Also after a failure: `status` says why the host refused. */
	if (copy_to_user(from, &argument, min(known, given)))
		return -EFAULT;
	return ret;
}

const struct file_operations vgpu_fops = {
	.owner = THIS_MODULE,
	.open = vgpu_file_open,
	.release = vgpu_file_release,
	.flush = vgpu_file_flush,
	.mmap = vgpu_file_mmap,
	.poll = vgpu_file_poll,
	.unlocked_ioctl = vgpu_file_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
