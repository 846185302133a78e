// SPDX-License-Identifier: GPL-2.0
/*
 * Chunks: memory of up to 1 GiB, in pieces of up to 4 MiB each, which is the most that the
 * kernel's allocator gives.  A program maps a chunk as one area.
 *
 * Mappings are filled by page faults, a piece at a time.  mmap() itself can't do it: a device
 * that goes at that moment would not find the new mapping, and its memory would be freed with
 * page table entries left.  A fault comes after the mapping can be found, and takes dev->lock.
 */
#include <linux/cc_platform.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "vgpu_compat.h"
#include "vgpu_drv.h"

/* Offsets for mmap(): chunk n begins at (n + 1) times this, the doorbell behind all chunks. */
#define VGPU_OFFSET_SHIFT 32

u64 vgpu_chunk_offset(u32 number)
{
	return (u64)(number + 1) << VGPU_OFFSET_SHIFT;
}

u64 vgpu_doorbell_offset(void)
{
	return vgpu_chunk_offset(VGPU_CHUNKS_MAX);
}

/* ---- memory ---- */

static void vgpu_pieces_free(struct vgpu_chunk *chunk)
{
	struct device *dev = &chunk->channel->dev->pdev->dev;
	struct vgpu_piece *piece;

	while (chunk->piece_count) {
		piece = &chunk->pieces[--chunk->piece_count];
		dma_free_coherent(dev, piece->bytes, piece->cpu, piece->dma);
	}
	chunk->has_memory = false;
}

/* The size of the next piece: a power of two, but for the last one that there may be. */
static u32 vgpu_piece_size(const struct vgpu_chunk *chunk, u64 rest, u32 most)
{
	if (chunk->piece_count == VGPU_SETUP_PIECES_MAX - 1 && rest <= most)
		return rest;
	return rest >= most ? most : rounddown_pow_of_two(rest);
}

static int vgpu_pieces_alloc(struct vgpu_chunk *chunk)
{
	struct device *dev = &chunk->channel->dev->pdev->dev;
	u32 most = VGPU_PIECE_BYTES_MAX;
	u64 rest = chunk->bytes;

	while (rest) {
		struct vgpu_piece *piece = &chunk->pieces[chunk->piece_count];
		gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_NOWARN;

		if (chunk->piece_count == VGPU_SETUP_PIECES_MAX ||
		    rest > (u64)most * (VGPU_SETUP_PIECES_MAX - chunk->piece_count))
			return -ENOMEM;
		if (fatal_signal_pending(current))
			return -EINTR;
		piece->bytes = vgpu_piece_size(chunk, rest, most);
		/* Large ones if they are there; for small ones the kernel may work. */
		gfp |= piece->bytes > SZ_256K ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL;
		piece->cpu = dma_alloc_coherent(dev, piece->bytes, &piece->dma, gfp);
		if (piece->cpu) {
			chunk->piece_count++;
			rest -= piece->bytes;
		} else if (piece->bytes > PAGE_SIZE) {
			most = rounddown_pow_of_two(piece->bytes - 1);
		} else {
			return -ENOMEM;
		}
		cond_resched();
	}
	return 0;
}

struct vgpu_chunk *vgpu_chunk_new(struct vgpu_channel *ch, u64 bytes)
{
	struct vgpu_dev *dev = ch->dev;
	struct vgpu_chunk *chunk;
	int ret;

	chunk = kzalloc(sizeof(*chunk), GFP_KERNEL_ACCOUNT);
	if (!chunk)
		return ERR_PTR(-ENOMEM);
	kref_init(&chunk->ref);
	chunk->bytes = bytes;
	chunk->channel = ch;
	down_read(&dev->going);
	mutex_lock(&dev->lock);
	ret = dev->gone ? -ENODEV : vgpu_charge(ch, bytes);
	mutex_unlock(&dev->lock);
	if (!ret) {
		ret = vgpu_pieces_alloc(chunk);
		mutex_lock(&dev->lock);
		if (ret) {
			vgpu_pieces_free(chunk);
			vgpu_uncharge(ch, bytes);
		} else {
			chunk->has_memory = true;
			kref_get(&ch->ref);
			list_add(&chunk->link, &dev->chunks);
		}
		mutex_unlock(&dev->lock);
	}
	up_read(&dev->going);
	if (ret) {
		kfree(chunk);
		return ERR_PTR(ret);
	}
	return chunk;
}

static void vgpu_chunk_free(struct kref *ref)
{
	struct vgpu_chunk *chunk = container_of(ref, struct vgpu_chunk, ref);
	struct vgpu_channel *ch = chunk->channel;

	if (chunk->has_memory)
		vgpu_pieces_free(chunk);
	vgpu_uncharge(ch, chunk->bytes);
	list_del(&chunk->link);
	kfree(chunk);
	vgpu_channel_put(ch);
}

void vgpu_chunk_put(struct vgpu_chunk *chunk)
{
	kref_put(&chunk->ref, vgpu_chunk_free);
}

void vgpu_chunk_fill_setup(struct vgpu_chunk *chunk, u32 number)
{
	VGPUChannelSetup *setup = chunk->channel->dev->setup;
	unsigned int i;

	setup->chunk = number;
	setup->bytes = chunk->bytes;
	setup->piece_count = chunk->piece_count;
	for (i = 0; i < chunk->piece_count; i++) {
		setup->pieces[i].address = chunk->pieces[i].dma;
		setup->pieces[i].bytes = chunk->pieces[i].bytes;
	}
}

/* A worker that died could not say it.  The page is ours alone now, and the program's. */
static void vgpu_control_mark_closed(VGPUControl *control, u32 reason)
{
	if (READ_ONCE(control->state) != VGPU_CHANNEL_OPEN)
		return;
	WRITE_ONCE(control->reason, reason);
	/* Pairs with the program's acquire-load of the state: then it finds the reason. */
	smp_store_release(&control->state, VGPU_CHANNEL_CLOSED);
}

void vgpu_chunk_mark_closed(struct vgpu_chunk *chunk0, u32 reason)
{
	if (chunk0->has_memory)
		vgpu_control_mark_closed(chunk0->pieces[0].cpu, reason);
}

void vgpu_chunks_abandon(struct vgpu_dev *dev, bool let_go)
{
	struct vgpu_channel *ch;
	struct vgpu_chunk *chunk;
	u64 lost = 0;

	list_for_each_entry(ch, &dev->files, link) {
		vgpu_control_mark_closed(page_address(ch->scratch), VGPU_CLOSED_RESET);
		unmap_mapping_range(ch->mapping, 0, 0, 1);
	}
	list_for_each_entry(chunk, &dev->chunks, link) {
		enum vgpu_phase phase = chunk->channel->phase;

		if (let_go || phase == VGPU_PHASE_NEW || phase == VGPU_PHASE_OVER) {
			vgpu_pieces_free(chunk);
		} else {
			chunk->has_memory = false;
			lost += chunk->bytes;
		}
	}
	if (lost)
		dev_err(&dev->pdev->dev,
			"%llu bytes are given up: the host may still write to them; reboot to have them back\n",
			lost);
}

/* ---- mappings ---- */

static unsigned long vgpu_pfn_of(const struct vgpu_piece *piece, u64 offset)
{
	void *at = piece->cpu + offset;

	return is_vmalloc_addr(at) ? vmalloc_to_pfn(at) : page_to_pfn(virt_to_page(at));
}

/* Maps the part of this piece that the area has; `from` is the piece's place in the chunk. */
static vm_fault_t vgpu_map_piece(struct vm_area_struct *vma, const struct vgpu_piece *piece,
				 u64 from)
{
	u64 area_from = ((u64)vma->vm_pgoff << PAGE_SHIFT) & (BIT_ULL(VGPU_OFFSET_SHIFT) - 1);
	u64 area_to = area_from + vma->vm_end - vma->vm_start;
	u64 at = max(from, area_from), to = min(from + piece->bytes, area_to);
	vm_fault_t ret = VM_FAULT_NOPAGE;

	for (; at < to && ret == VM_FAULT_NOPAGE; at += PAGE_SIZE)
		ret = vmf_insert_pfn(vma, vma->vm_start + (at - area_from),
				     vgpu_pfn_of(piece, at - from));
	return ret;
}

static vm_fault_t vgpu_chunk_fault(struct vm_fault *vmf)
{
	struct vgpu_chunk *chunk = vmf->vma->vm_private_data;
	struct vgpu_dev *dev = chunk->channel->dev;
	u64 at = ((u64)vmf->pgoff << PAGE_SHIFT) & (BIT_ULL(VGPU_OFFSET_SHIFT) - 1);
	vm_fault_t ret = VM_FAULT_SIGBUS;
	u64 from = 0;
	unsigned int i;

	mutex_lock(&dev->lock);
	if (!chunk->has_memory)
		ret = vmf_insert_pfn(vmf->vma, vmf->address,
				     page_to_pfn(chunk->channel->scratch));
	for (i = 0; chunk->has_memory && i < chunk->piece_count; i++) {
		if (at < from + chunk->pieces[i].bytes) {
			ret = vgpu_map_piece(vmf->vma, &chunk->pieces[i], from);
			break;
		}
		from += chunk->pieces[i].bytes;
	}
	mutex_unlock(&dev->lock);
	return ret;
}

/* An area is split: both halves keep the chunk.  fork() does not copy it. */
static void vgpu_chunk_vm_open(struct vm_area_struct *vma)
{
	struct vgpu_chunk *chunk = vma->vm_private_data;

	kref_get(&chunk->ref);
}

static void vgpu_chunk_vm_close(struct vm_area_struct *vma)
{
	struct vgpu_chunk *chunk = vma->vm_private_data;
	struct vgpu_dev *dev = chunk->channel->dev;

	vgpu_dev_get(dev);
	mutex_lock(&dev->lock);
	vgpu_chunk_put(chunk);
	mutex_unlock(&dev->lock);
	vgpu_dev_put(dev);
}

static const struct vm_operations_struct vgpu_chunk_vm_ops = {
	.open = vgpu_chunk_vm_open,
	.close = vgpu_chunk_vm_close,
	.fault = vgpu_chunk_fault,
};

/* The file keeps the channel as long as the area is there. */
static vm_fault_t vgpu_doorbell_fault(struct vm_fault *vmf)
{
	struct vgpu_channel *ch = vmf->vma->vm_private_data;
	struct vgpu_dev *dev = ch->dev;
	unsigned long pfn = page_to_pfn(ch->scratch);
	vm_fault_t ret;

	mutex_lock(&dev->lock);
	if (!dev->gone && ch->phase == VGPU_PHASE_OPEN)
		pfn = PHYS_PFN(dev->doorbells) + ch->number;
	ret = vmf_insert_pfn(vmf->vma, vmf->address, pfn);
	mutex_unlock(&dev->lock);
	return ret;
}

static const struct vm_operations_struct vgpu_doorbell_vm_ops = {
	.fault = vgpu_doorbell_fault,
};

static int vgpu_mmap_chunk(struct vgpu_channel *ch, struct vm_area_struct *vma, u64 number,
			   u64 from, u64 bytes)
{
	struct vgpu_chunk *chunk = number < VGPU_CHUNKS_MAX ? ch->chunks[number] : NULL;

	if (!chunk || chunk->state == VGPU_CHUNK_ADDING)
		return -ENXIO;
	if (from > chunk->bytes || bytes > chunk->bytes - from)
		return -EINVAL;
	/* Of an encrypted guest, what the host sees is not encrypted. */
	if (cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT))
		vma->vm_page_prot = pgprot_decrypted(vma->vm_page_prot);
	kref_get(&chunk->ref);
	vma->vm_private_data = chunk;
	vma->vm_ops = &vgpu_chunk_vm_ops;
	return 0;
}

/*
 * Before a channel is open its number may still become another process's, when the host refuses
 * it; afterwards it stays this file's until vgpu_channel_leave(), which takes the page away.
 */
static int vgpu_mmap_doorbell(struct vgpu_channel *ch, struct vm_area_struct *vma, u64 bytes)
{
	if (!ch->chunks[0] || ch->chunks[0]->state == VGPU_CHUNK_ADDING)
		return -ENXIO;
	if (bytes != VGPU_DOORBELL_PAGE)
		return -EINVAL;
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	vma->vm_private_data = ch;
	vma->vm_ops = &vgpu_doorbell_vm_ops;
	return 0;
}

int vgpu_mmap(struct vgpu_channel *ch, struct vm_area_struct *vma)
{
	u64 offset = (u64)vma->vm_pgoff << PAGE_SHIFT;
	u64 from = offset & (BIT_ULL(VGPU_OFFSET_SHIFT) - 1);
	u64 bytes = vma->vm_end - vma->vm_start;
	int ret = -ENODEV;

	/* A private mapping would silently be a copy. */
	if (!(vma->vm_flags & VM_SHARED) || offset < vgpu_chunk_offset(0))
		return -EINVAL;
	mutex_lock(&ch->dev->lock);
	if (!ch->dev->gone && ch->number == VGPU_CHANNEL_NONE)
		ret = -ENXIO;
	else if (!ch->dev->gone && offset == vgpu_doorbell_offset())
		ret = vgpu_mmap_doorbell(ch, vma, bytes);
	else if (!ch->dev->gone)
		ret = vgpu_mmap_chunk(ch, vma, (offset >> VGPU_OFFSET_SHIFT) - 1, from, bytes);
	if (!ret)
		vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP);
	mutex_unlock(&ch->dev->lock);
	return ret;
}

/* ---- CHUNK_ADD, CHUNK_REMOVE: with ch->op_lock ---- */

static int vgpu_may_command(struct vgpu_channel *ch)
{
	if (ch->dev->gone || !vgpu_regs_alive(ch->dev))
		return -ENODEV;
	/* A call that a signal broke off may have left its command on its way. */
	if (ch->pending)
		return -EBUSY;
	return ch->phase == VGPU_PHASE_OPEN && !ch->dev->stopped ? 0 : -ENOTCONN;
}

static int vgpu_add_start(struct vgpu_channel *ch, struct vgpu_chunk *chunk, u32 *number)
{
	int ret;
	u32 i;

	mutex_lock(&ch->dev->lock);
	ret = vgpu_may_command(ch);
	for (i = 1; i < VGPU_CHUNKS_MAX && ch->chunks[i]; i++)
		;
	if (!ret && i == VGPU_CHUNKS_MAX)
		ret = -ENOSPC;
	if (ret) {
		vgpu_chunk_put(chunk);
	} else {
		*number = i;
		ch->chunks[i] = chunk;
		memset(ch->dev->setup, 0, sizeof(*ch->dev->setup));
		vgpu_chunk_fill_setup(chunk, i);
		vgpu_command_start(ch, VGPU_COMMAND_CHUNK_ADD);
	}
	mutex_unlock(&ch->dev->lock);
	return ret;
}

/* Takes a chunk from the table, unless the channel's end has done that. */
static void vgpu_chunk_drop(struct vgpu_channel *ch, u32 number)
{
	struct vgpu_chunk *chunk = ch->chunks[number];

	ch->chunks[number] = NULL;
	if (chunk)
		vgpu_chunk_put(chunk);
}

int vgpu_chunk_add(struct vgpu_channel *ch, struct vgpu_ioctl_chunk_add *add)
{
	struct vgpu_chunk *chunk;
	int ret;

	if (add->flags || add->reserved || !add->bytes || add->bytes > VGPU_CHUNK_BYTES_MAX ||
	    add->bytes % VGPU_CHANNEL_PAGE)
		return -EINVAL;
	if (READ_ONCE(ch->phase) != VGPU_PHASE_OPEN)
		return -ENOTCONN;
	chunk = vgpu_chunk_new(ch, add->bytes);
	if (IS_ERR(chunk))
		return PTR_ERR(chunk);
	ret = vgpu_add_start(ch, chunk, &add->chunk);
	if (ret)
		return ret;
	ret = vgpu_command_wait(ch);
	mutex_lock(&ch->dev->lock);
	if (!ret && ch->result) {
		add->status = ch->result;
		ret = -EREMOTEIO;
		/* Refused, or the channel ended meanwhile: then the host has let go of all. */
		vgpu_chunk_drop(ch, add->chunk);
	} else if (!ret && ch->chunks[add->chunk]) {
		add->mmap_offset = vgpu_chunk_offset(add->chunk);
		ch->chunks[add->chunk]->state = VGPU_CHUNK_PRESENT;
	}
	mutex_unlock(&ch->dev->lock);
	return ret;
}

int vgpu_chunk_remove(struct vgpu_channel *ch, struct vgpu_ioctl_chunk_remove *remove)
{
	u32 number = remove->chunk;
	int ret;

	if (remove->flags || remove->reserved || !number || number >= VGPU_CHUNKS_MAX)
		return -EINVAL;
	mutex_lock(&ch->dev->lock);
	ret = vgpu_may_command(ch);
	if (!ret && !ch->chunks[number])
		ret = -EINVAL;
	if (!ret) {
		ch->chunks[number]->state = VGPU_CHUNK_REMOVING;
		memset(ch->dev->setup, 0, sizeof(*ch->dev->setup));
		ch->dev->setup->chunk = number;
		vgpu_command_start(ch, VGPU_COMMAND_CHUNK_REMOVE);
	}
	mutex_unlock(&ch->dev->lock);
	if (ret)
		return ret;
	ret = vgpu_command_wait(ch);
	mutex_lock(&ch->dev->lock);
	if (!ret && ch->result && ch->phase != VGPU_PHASE_OVER) {
		remove->status = ch->result;
		ret = -EREMOTEIO;
	} else if (!ret) {
		vgpu_chunk_drop(ch, number);
	}
	mutex_unlock(&ch->dev->lock);
	return ret;
}
