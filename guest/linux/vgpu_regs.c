// SPDX-License-Identifier: GPL-2.0
/*
 * The register block: commands are written, and CHANGED names the channels whose command ended
 * or which the host closed.  Everything here holds dev->lock, unless it says otherwise.
 */
#include <linux/io.h>
#include <linux/jiffies.h>

#include "vgpu_drv.h"

u32 vgpu_reg_read(struct vgpu_dev *dev, u32 reg)
{
	return ioread32(dev->regs + reg);
}

void vgpu_reg_write(struct vgpu_dev *dev, u32 reg, u32 value)
{
	iowrite32(value, dev->regs + reg);
}

/* A device that was pulled out reads as 0 or as ones: the number is neither. */
bool vgpu_regs_alive(struct vgpu_dev *dev)
{
	return vgpu_reg_read(dev, VGPU_REG2_ID) == VGPU_CHANNEL_ID;
}

/* While one is awaited the registers are looked at from time to time. */
void vgpu_set_awaited(struct vgpu_channel *ch)
{
	struct vgpu_dev *dev = ch->dev;
	bool awaited = ch->pending || ch->phase == VGPU_PHASE_CLOSING;

	if (awaited == ch->awaited)
		return;
	ch->awaited = awaited;
	if (!awaited) {
		dev->awaited--;
		return;
	}
	dev->awaited++;
	if (!dev->gone)
		schedule_delayed_work(&dev->look, VGPU_LOOK_EVERY);
}

bool vgpu_number_is_free(struct vgpu_dev *dev, u32 number)
{
	vgpu_reg_write(dev, VGPU_REG2_SELECT, number);
	return vgpu_reg_read(dev, VGPU_REG2_STATE) == VGPU_REGISTER_FREE;
}

static void vgpu_look_at(struct vgpu_channel *ch);

void vgpu_command_start(struct vgpu_channel *ch, u32 command)
{
	struct vgpu_dev *dev = ch->dev;
	u32 vector = VGPU_VECTOR_CONFIG;

	if (dev->vector_count > 1)
		vector = 1 + ch->number % (dev->vector_count - 1);
	ch->pending = command;
	ch->result = VGPU_RESULT_PENDING;
	vgpu_reg_write(dev, VGPU_REG2_SELECT, ch->number);
	vgpu_reg_write(dev, VGPU_REG2_SETUP_LO, lower_32_bits(dev->setup_dma));
	vgpu_reg_write(dev, VGPU_REG2_SETUP_HI, upper_32_bits(dev->setup_dma));
	vgpu_reg_write(dev, VGPU_REG2_VECTOR, vector);
	vgpu_reg_write(dev, VGPU_REG2_COMMAND, command);
	vgpu_set_awaited(ch);
	vgpu_look_at(ch); /* what is refused at once makes no interrupt */
}

void vgpu_command_close(struct vgpu_channel *ch)
{
	if (ch->phase != VGPU_PHASE_OPENING && ch->phase != VGPU_PHASE_OPEN)
		return;
	ch->closing_since = jiffies;
	if (ch->pending) {
		ch->close_wanted = true;
		return;
	}
	ch->phase = VGPU_PHASE_CLOSING;
	if (!ch->dev->gone)
		vgpu_command_start(ch, VGPU_COMMAND_CLOSE);
}

static void vgpu_warn_of_silence(struct vgpu_channel *ch)
{
	if (ch->phase != VGPU_PHASE_CLOSING || ch->warned ||
	    time_before(jiffies, ch->closing_since + VGPU_CLOSE_WARN))
		return;
	ch->warned = true;
	dev_warn(&ch->dev->pdev->dev,
		 "channel %u: the host has not let go of its memory for %u s; it is kept until it does\n",
		 ch->number, VGPU_CLOSE_WARN / HZ);
}

/*
 * Has the command on its way ended?  An OPEN that was refused has when the channel is free, too:
 * until then the host may have its memory.
 */
static void vgpu_look_at_command(struct vgpu_channel *ch, u32 state, u32 result)
{
	if (!ch->pending || result == VGPU_RESULT_PENDING ||
	    (ch->pending == VGPU_COMMAND_OPEN && result && state != VGPU_REGISTER_FREE))
		return;
	if (ch->pending == VGPU_COMMAND_OPEN && state == VGPU_REGISTER_OPEN &&
	    ch->phase == VGPU_PHASE_OPENING) {
		ch->phase = VGPU_PHASE_OPEN;
		ch->transport = vgpu_reg_read(ch->dev, VGPU_REG2_TRANSPORT);
		ch->features = vgpu_reg_read(ch->dev, VGPU_REG2_GRANTED);
	}
	ch->result = result;
	ch->pending = 0;
}

/*
 * The device goes on between two reads.  So STATE is read after RESULT: what has ended is then in
 * the state that it ended with, or in a later one.  And a command that ends between the two is
 * looked at again, since its state would belong to a result that was not seen.
 */
static u32 vgpu_read_state(struct vgpu_dev *dev, u32 *result)
{
	u32 state;

	*result = vgpu_reg_read(dev, VGPU_REG2_RESULT);
	state = vgpu_reg_read(dev, VGPU_REG2_STATE);
	if (*result != VGPU_RESULT_PENDING)
		return state;
	*result = vgpu_reg_read(dev, VGPU_REG2_RESULT);
	return *result == VGPU_RESULT_PENDING ? state : vgpu_reg_read(dev, VGPU_REG2_STATE);
}

/* What the registers say of one channel.  It may be freed here, but for the caller's reference. */
static void vgpu_look_at(struct vgpu_channel *ch)
{
	struct vgpu_dev *dev = ch->dev;
	u32 state, result;

	kref_get(&ch->ref);
	vgpu_reg_write(dev, VGPU_REG2_SELECT, ch->number);
	state = vgpu_read_state(dev, &result);
	vgpu_look_at_command(ch, state, result);
	if (state == VGPU_REGISTER_FREE && ch->phase != VGPU_PHASE_OVER) {
		vgpu_channel_over(ch, vgpu_reg_read(dev, VGPU_REG2_REASON));
	} else if (state == VGPU_REGISTER_CLOSING && !ch->pending &&
		   (ch->phase == VGPU_PHASE_OPENING || ch->phase == VGPU_PHASE_OPEN)) {
		ch->phase = VGPU_PHASE_CLOSING; /* by the host's wish */
		ch->closing_since = jiffies;
		wake_up_all(&ch->wait);
	} else if (ch->close_wanted && !ch->pending && ch->phase == VGPU_PHASE_OPEN) {
		ch->close_wanted = false;
		vgpu_command_close(ch);
	}
	vgpu_set_awaited(ch);
	vgpu_warn_of_silence(ch);
	wake_up_all(&dev->changed);
	vgpu_channel_put(ch);
}

static void vgpu_look_at_all(struct vgpu_dev *dev)
{
	struct vgpu_channel *ch;
	unsigned int i;

	for (i = 0; i < dev->channel_count; i++) {
		ch = dev->channels[i];
		if (ch && ch->phase != VGPU_PHASE_OVER)
			vgpu_look_at(ch);
	}
}

void vgpu_regs_look(struct vgpu_dev *dev)
{
	u32 generation, number;
	unsigned int i;

	if (dev->gone || !vgpu_regs_alive(dev))
		return;
	/* Bounded: a device that names channels for ever holds nobody up. */
	for (i = 0; i < 2 * VGPU_CHANNELS_MAX; i++) {
		number = vgpu_reg_read(dev, VGPU_REG2_CHANGED);
		if (number >= dev->channel_count)
			break;
		if (dev->channels[number])
			vgpu_look_at(dev->channels[number]);
	}
	generation = vgpu_reg_read(dev, VGPU_REG2_GENERATION);
	if (generation != dev->generation) {
		dev->generation = generation;
		vgpu_look_at_all(dev);
	}
}

/* From time to time while something is awaited: an interrupt may have been lost. */
void vgpu_look_work(struct work_struct *work)
{
	struct vgpu_dev *dev = container_of(to_delayed_work(work), struct vgpu_dev, look);

	mutex_lock(&dev->lock);
	if (!dev->gone) {
		vgpu_regs_look(dev);
		if (vgpu_regs_alive(dev))
			vgpu_look_at_all(dev);
		if (dev->awaited)
			schedule_delayed_work(&dev->look, VGPU_LOOK_EVERY);
	}
	mutex_unlock(&dev->lock);
}

int vgpu_command_wait(struct vgpu_channel *ch)
{
	struct vgpu_dev *dev = ch->dev;
	long rest = wait_event_killable_timeout(dev->changed,
						!READ_ONCE(ch->pending) || READ_ONCE(dev->gone),
						VGPU_COMMAND_LIMIT);

	if (rest < 0)
		return -EINTR;
	if (READ_ONCE(dev->gone))
		return -ENODEV;
	return rest ? 0 : -ETIMEDOUT;
}

int vgpu_reset_all(struct vgpu_dev *dev)
{
	unsigned long end = jiffies + VGPU_RESET_LIMIT;
	unsigned int i;

	mutex_lock(&dev->lock);
	dev->stopped = true;
	/* One that was pulled out has waited for the host itself. */
	if (vgpu_regs_alive(dev)) {
		for (i = 0; i < dev->channel_count; i++) {
			struct vgpu_channel *ch = dev->channels[i];

			if (ch && ch->phase != VGPU_PHASE_OVER) {
				ch->phase = VGPU_PHASE_CLOSING;
				ch->closing_since = jiffies;
				vgpu_set_awaited(ch);
			}
		}
		vgpu_reg_write(dev, VGPU_REG2_COMMAND, VGPU_COMMAND_RESET);
		vgpu_regs_look(dev);
	}
	while (vgpu_regs_alive(dev) && dev->awaited && time_before(jiffies, end)) {
		mutex_unlock(&dev->lock);
		wait_event_timeout(dev->changed, !READ_ONCE(dev->awaited), HZ / 20);
		mutex_lock(&dev->lock);
		vgpu_regs_look(dev);
		vgpu_look_at_all(dev);
	}
	i = vgpu_regs_alive(dev) ? dev->awaited : 0;
	mutex_unlock(&dev->lock);
	if (i)
		dev_err(&dev->pdev->dev, "the host has not let go of the memory of %u channels\n",
			i);
	return i ? -ETIMEDOUT : 0;
}
