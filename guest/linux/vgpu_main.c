// SPDX-License-Identifier: GPL-2.0
/*
 * Probe and remove, interrupts, suspend, shutdown.
 *
 * BAR0 is mapped and not requested: deployed programs of protocol 1.0 map it through sysfs, and
 * the kernel refuses that for what a driver has requested.  They go on working beside the driver,
 * which enables the device for them.
 */
#include <linux/dma-mapping.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "vgpu_drv.h"

#ifndef CONFIG_X86_64
#error "vgpu.ko is for x86-64: it takes memory for coherent, and pages for 4096 bytes"
#endif

#define VGPU_BAR_REGISTERS 0
#define VGPU_BAR_DOORBELLS 2

static DEFINE_IDA(vgpu_ids);

/* ---- interrupts ---- */

/* The channels of a vector: one, or several where the device has too few. */
static irqreturn_t vgpu_irq(int irq, void *opaque)
{
	struct vgpu_vector *vector = opaque;
	struct vgpu_dev *dev = vector->dev;
	unsigned int step = dev->vector_count > 1 ? dev->vector_count - 1 : 1;
	unsigned int i = dev->vector_count > 1 ? vector->index - 1 : 0;
	struct vgpu_channel *ch;

	spin_lock(&dev->irq_lock);
	for (; i < dev->channel_count; i += step) {
		ch = dev->channels[i];
		if (ch) {
			atomic64_inc(&ch->events);
			wake_up_all(&ch->wait);
		}
	}
	spin_unlock(&dev->irq_lock);
	return IRQ_HANDLED;
}

static irqreturn_t vgpu_config_irq(int irq, void *opaque)
{
	struct vgpu_vector *vector = opaque;

	if (vector->dev->vector_count == 1)
		vgpu_irq(irq, opaque);
	return IRQ_WAKE_THREAD;
}

static irqreturn_t vgpu_config_thread(int irq, void *opaque)
{
	struct vgpu_vector *vector = opaque;

	mutex_lock(&vector->dev->lock);
	vgpu_regs_look(vector->dev);
	mutex_unlock(&vector->dev->lock);
	return IRQ_HANDLED;
}

static void vgpu_irq_release(struct vgpu_dev *dev)
{
	while (dev->vectors_used) {
		dev->vectors_used--;
		free_irq(pci_irq_vector(dev->pdev, dev->vectors_used),
			 &dev->vectors[dev->vectors_used]);
	}
	pci_free_irq_vectors(dev->pdev);
}

/* With bus mastering on: unmasking a vector without it would lose a message. */
static int vgpu_irq_request(struct vgpu_dev *dev)
{
	unsigned int most = min(dev->channel_count + 1, VGPU_VECTORS_MAX), i;
	int count = pci_alloc_irq_vectors(dev->pdev, 1, most, PCI_IRQ_MSIX);
	int ret;

	if (count < 0)
		return count;
	dev->vector_count = count;
	for (i = 0; i < dev->vector_count; i++) {
		struct vgpu_vector *vector = &dev->vectors[i];
		int irq = pci_irq_vector(dev->pdev, i);

		vector->dev = dev;
		vector->index = i;
		snprintf(vector->name, sizeof(vector->name), "%s-%u", dev->name, i);
		if (i)
			ret = request_irq(irq, vgpu_irq, 0, vector->name, vector);
		else
			ret = request_threaded_irq(irq, vgpu_config_irq, vgpu_config_thread, 0,
						   vector->name, vector);
		if (ret) {
			vgpu_irq_release(dev);
			return ret;
		}
		dev->vectors_used++;
	}
	return 0;
}

/* ---- probe ---- */

/* The kernel enables a device whose BARs got no address all the same: so they are looked at. */
static int vgpu_map_bars(struct vgpu_dev *dev)
{
	struct pci_dev *pdev = dev->pdev;
	u32 channels;
	int ret;

	if (!(pci_resource_flags(pdev, VGPU_BAR_REGISTERS) & IORESOURCE_MEM) ||
	    pci_resource_len(pdev, VGPU_BAR_REGISTERS) < VGPU_REG2_END)
		return dev_err_probe(&pdev->dev, -ENODEV, "BAR0 has no registers\n");
	dev->regs = pci_iomap(pdev, VGPU_BAR_REGISTERS, 0);
	if (!dev->regs)
		return -ENOMEM;
	if (!vgpu_regs_alive(dev)) {
		dev_info(&pdev->dev,
			 "it has no channels (protocol 1.0 only): programs reach it by BAR0\n");
		return -ENODEV;
	}
	channels = vgpu_reg_read(dev, VGPU_REG2_CHANNELS);
	if (!channels || channels > VGPU_CHANNELS_MAX)
		return dev_err_probe(&pdev->dev, -ENODEV, "it says that it has %u channels\n",
				     channels);
	dev->channel_count = channels;
	if (!(pci_resource_flags(pdev, VGPU_BAR_DOORBELLS) & IORESOURCE_MEM) ||
	    pci_resource_len(pdev, VGPU_BAR_DOORBELLS) < (u64)channels * VGPU_DOORBELL_PAGE)
		return dev_err_probe(&pdev->dev, -ENODEV,
				     "BAR2 (doorbells) got no address: is there room behind its bridge?\n");
	ret = pci_request_region(pdev, VGPU_BAR_DOORBELLS, KBUILD_MODNAME);
	if (ret)
		return ret;
	dev->doorbells = pci_resource_start(pdev, VGPU_BAR_DOORBELLS);
	return 0;
}

static void vgpu_unmap_bars(struct vgpu_dev *dev)
{
	if (dev->doorbells)
		pci_release_region(dev->pdev, VGPU_BAR_DOORBELLS);
	if (dev->regs)
		pci_iounmap(dev->pdev, dev->regs);
}

static struct vgpu_dev *vgpu_dev_new(struct pci_dev *pdev)
{
	struct vgpu_dev *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	kref_init(&dev->ref);
	dev->pdev = pci_dev_get(pdev);
	mutex_init(&dev->lock);
	init_rwsem(&dev->going);
	spin_lock_init(&dev->irq_lock);
	init_waitqueue_head(&dev->changed);
	INIT_DELAYED_WORK(&dev->look, vgpu_look_work);
	INIT_LIST_HEAD(&dev->owners);
	INIT_LIST_HEAD(&dev->chunks);
	INIT_LIST_HEAD(&dev->files);
	return dev;
}

/* Everything of the hardware, undone by vgpu_stop(), which takes any half of it. */
static int vgpu_start(struct vgpu_dev *dev)
{
	struct pci_dev *pdev = dev->pdev;
	int ret = vgpu_map_bars(dev);

	if (ret)
		return ret;
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	dev->setup = dma_alloc_coherent(&pdev->dev, sizeof(*dev->setup), &dev->setup_dma,
					GFP_KERNEL);
	if (!dev->setup)
		return -ENOMEM;
	pci_set_master(pdev);
	ret = vgpu_irq_request(dev);
	if (ret)
		return dev_err_probe(&pdev->dev, ret, "no MSI-X vector\n");
	vgpu_reg_write(dev, VGPU_REG2_DRIVER_FEATURES, vgpu_reg_read(dev, VGPU_REG2_FEATURES));
	dev->generation = vgpu_reg_read(dev, VGPU_REG2_GENERATION);
	return 0;
}

static void vgpu_stop(struct vgpu_dev *dev)
{
	if (dev->vectors_used)
		vgpu_irq_release(dev);
	/* A second safety: without it, the device can't reach memory. */
	if (dev->setup) {
		pci_clear_master(dev->pdev);
		dma_free_coherent(&dev->pdev->dev, sizeof(*dev->setup), dev->setup, dev->setup_dma);
	}
	vgpu_unmap_bars(dev);
	pci_disable_device(dev->pdev);
}

static int vgpu_register(struct vgpu_dev *dev)
{
	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.name = dev->name;
	dev->misc.fops = &vgpu_fops;
	dev->misc.parent = &dev->pdev->dev;
	dev->misc.mode = 0660;
	return misc_register(&dev->misc);
}

static int vgpu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct vgpu_dev *dev = vgpu_dev_new(pdev);
	int ret;

	if (!dev)
		return -ENOMEM;
	dev->id = ida_alloc_max(&vgpu_ids, VGPU_DEVICES_MAX - 1, GFP_KERNEL);
	if (dev->id < 0) {
		ret = dev->id;
		goto put;
	}
	snprintf(dev->name, sizeof(dev->name), "vgpu%d", dev->id);
	ret = pci_enable_device_mem(pdev);
	if (ret)
		goto free_id;
	pci_set_drvdata(pdev, dev);
	ret = vgpu_start(dev);
	if (!ret)
		ret = vgpu_register(dev);
	if (ret)
		goto stop;
	dev_info(&pdev->dev, "/dev/%s: %u channels, %u vectors\n", dev->name, dev->channel_count,
		 dev->vector_count);
	return 0;

stop:
	vgpu_stop(dev);
free_id:
	ida_free(&vgpu_ids, dev->id);
put:
	vgpu_dev_put(dev);
	return ret;
}

/* ---- the end ---- */

/* Nothing comes from the device any more, and what programs have mapped is a scratch page. */
static void vgpu_abandon(struct vgpu_dev *dev, bool let_go)
{
	unsigned int i;

	down_write(&dev->going);
	mutex_lock(&dev->lock);
	/*
	 * First: what the host has not let go of must not be freed with its channel; and whoever
	 * is told that the device is gone finds the scratch page already.
	 */
	vgpu_chunks_abandon(dev, let_go);
	WRITE_ONCE(dev->gone, true);
	for (i = 0; i < dev->channel_count; i++) {
		if (dev->channels[i] && dev->channels[i]->phase != VGPU_PHASE_OVER)
			vgpu_channel_over(dev->channels[i], VGPU_CLOSED_RESET);
	}
	mutex_unlock(&dev->lock);
	up_write(&dev->going);
	wake_up_all(&dev->changed);
}

static void vgpu_wake_files(struct vgpu_dev *dev)
{
	struct vgpu_channel *ch;

	mutex_lock(&dev->lock);
	list_for_each_entry(ch, &dev->files, link)
		wake_up_all(&ch->wait);
	mutex_unlock(&dev->lock);
}

static void vgpu_remove(struct pci_dev *pdev)
{
	struct vgpu_dev *dev = pci_get_drvdata(pdev);
	bool let_go;

	misc_deregister(&dev->misc);
	let_go = vgpu_reset_all(dev) == 0;
	vgpu_abandon(dev, let_go);
	vgpu_wake_files(dev);
	cancel_delayed_work_sync(&dev->look);
	vgpu_stop(dev);
	ida_free(&vgpu_ids, dev->id);
	vgpu_dev_put(dev);
}

/* The next kernel takes this memory for its own: the host must have let go of it before. */
static void vgpu_shutdown(struct pci_dev *pdev)
{
	vgpu_reset_all(pci_get_drvdata(pdev));
	pci_clear_master(pdev);
}

/*
 * Channels don't survive: a device that was without power has forgotten them.  Their programs
 * see that they ended, and open new ones.
 */
static int vgpu_suspend(struct device *device)
{
	struct vgpu_dev *dev = dev_get_drvdata(device);

	if (!vgpu_reset_all(dev))
		return 0;
	mutex_lock(&dev->lock);
	dev->stopped = false;
	mutex_unlock(&dev->lock);
	return -EBUSY;
}

static int vgpu_resume(struct device *device)
{
	struct vgpu_dev *dev = dev_get_drvdata(device);

	pci_set_master(dev->pdev);
	mutex_lock(&dev->lock);
	if (vgpu_regs_alive(dev)) {
		vgpu_reg_write(dev, VGPU_REG2_DRIVER_FEATURES,
			       vgpu_reg_read(dev, VGPU_REG2_FEATURES));
		dev->generation = vgpu_reg_read(dev, VGPU_REG2_GENERATION);
	}
	dev->stopped = false;
	mutex_unlock(&dev->lock);
	return 0;
}

static DEFINE_SIMPLE_DEV_PM_OPS(vgpu_pm_ops, vgpu_suspend, vgpu_resume);

/* Somebody resets the device, through sysfs for one. */
static void vgpu_reset_prepare(struct pci_dev *pdev)
{
	vgpu_reset_all(pci_get_drvdata(pdev));
}

static void vgpu_reset_done(struct pci_dev *pdev)
{
	vgpu_resume(&pdev->dev);
}

static const struct pci_error_handlers vgpu_error_handlers = {
	.reset_prepare = vgpu_reset_prepare,
	.reset_done = vgpu_reset_done,
};

/* ---- what an administrator can see: /sys/bus/pci/drivers/vgpu/ADDRESS/ ---- */

static ssize_t channels_show(struct device *device, struct device_attribute *attr, char *text)
{
	struct vgpu_dev *dev = dev_get_drvdata(device);
	unsigned int i, count = 0;

	mutex_lock(&dev->lock);
	for (i = 0; i < dev->channel_count; i++)
		count += dev->channels[i] ? 1 : 0;
	mutex_unlock(&dev->lock);
	return sysfs_emit(text, "%u\n", count);
}
static DEVICE_ATTR_RO(channels);

static ssize_t memory_bytes_show(struct device *device, struct device_attribute *attr, char *text)
{
	struct vgpu_dev *dev = dev_get_drvdata(device);

	return sysfs_emit(text, "%llu\n", READ_ONCE(dev->bytes));
}
static DEVICE_ATTR_RO(memory_bytes);

static struct attribute *vgpu_attrs[] = {
	&dev_attr_channels.attr,
	&dev_attr_memory_bytes.attr,
	NULL
};
ATTRIBUTE_GROUPS(vgpu);

static const struct pci_device_id vgpu_ids_table[] = {
	{ PCI_DEVICE(VGPU_PCI_VENDOR_ID, VGPU_PCI_DEVICE_ID) },
	{ }
};
MODULE_DEVICE_TABLE(pci, vgpu_ids_table);

static struct pci_driver vgpu_driver = {
	.name = KBUILD_MODNAME,
	.id_table = vgpu_ids_table,
	.probe = vgpu_probe,
	.remove = vgpu_remove,
	.shutdown = vgpu_shutdown,
	.err_handler = &vgpu_error_handlers,
	.dev_groups = vgpu_groups,
	.driver.pm = pm_sleep_ptr(&vgpu_pm_ops),
};
module_pci_driver(vgpu_driver);

MODULE_DESCRIPTION("Channels of the vgpu-stub device of vgpu-mediator");
MODULE_AUTHOR("The authors of vgpu-mediator");
MODULE_LICENSE("GPL");
MODULE_VERSION(VGPU_VERSION);
