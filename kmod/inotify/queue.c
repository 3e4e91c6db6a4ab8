// SPDX-License-Identifier: GPL-2.0
/*
 * Watches and queue of an instance of inotify. Their structures are private to fs/notify/inotify; this file is built from
 * the source of the very kernel that it is loaded into, with the same configuration, so their layout is that of this
 * kernel. New events are made by the kernel's own function, which every instance has a pointer to.
 *
 * f is always an open file of inotify, which keeps its group.
 */
#include <linux/idr.h>
#include <linux/wait.h>
#include "inotify.h"
#include "shims.h"

u32 crs_inotify_cursor(struct file *f)
{
	struct fsnotify_group *g = f->private_data;

	return idr_get_cursor(&g->inotify_data.idr);
}

/* The watch with this number, with a reference, or NULL. */
static struct fsnotify_mark *watch(struct fsnotify_group *g, int wd)
{
	struct inotify_inode_mark *m;

	spin_lock(&g->inotify_data.idr_lock);
	m = idr_find(&g->inotify_data.idr, wd);
	/* The idr has one as well. */
	if (m)
		refcount_inc(&m->fsn_mark.refcnt);
	spin_unlock(&g->inotify_data.idr_lock);
	return m ? &m->fsn_mark : NULL;
}

struct inode *crs_inotify_inode(struct file *f, int wd)
{
	struct fsnotify_group *g = f->private_data;
	struct inode *i = NULL;
	struct fsnotify_mark *m;

	fsnotify_group_lock(g);
	m = watch(g, wd);
	/* As long as it is attached, which the lock decides, it keeps its inode. */
	if (m && (m->flags & FSNOTIFY_MARK_FLAG_ATTACHED)) {
		struct fsnotify_mark_connector *c = m->connector;

		spin_lock(&c->lock);
		if (c->type == FSNOTIFY_OBJ_TYPE_INODE && c->obj)
			i = igrab(c->obj);
		spin_unlock(&c->lock);
	}
	fsnotify_group_unlock(g);
	if (m)
		fsnotify_put_mark(m);
	return i;
}

size_t crs_inotify_events(struct file *f, u8 *out, size_t size)
{
	struct fsnotify_group *g = f->private_data;
	struct fsnotify_event *fse;
	size_t n = 0;

	spin_lock(&g->notification_lock);
	list_for_each_entry(fse, &g->notification_list, list) {
		struct inotify_event_info *e = INOTIFY_E(fse);
		u32 head[4] = { e->mask, e->wd, e->sync_cookie, e->name_len };

		if (n + sizeof(head) + head[3] <= size) {
			memcpy(out + n, head, sizeof(head));
			memcpy(out + n + sizeof(head), e->name, head[3]);
		}
		n += sizeof(head) + head[3];
	}
	spin_unlock(&g->notification_lock);
	return n;
}

int crs_inotify_queue(struct file *f, int wd, u32 mask, u32 cookie, const u8 *name, u32 len)
{
	struct fsnotify_group *g = f->private_data;
	struct qstr text = QSTR_INIT(name, len);
	struct fsnotify_mark *m = watch(g, wd);
	int r;

	if (!m)
		return -ENOENT;
	r = g->ops->handle_inode_event(m, mask, NULL, NULL, len ? &text : NULL, cookie);
	fsnotify_put_mark(m);
	return r;
}

int crs_inotify_overflow(struct file *f)
{
	struct fsnotify_group *g = f->private_data;
	int r = -EEXIST;

	spin_lock(&g->notification_lock);
	if (list_empty(&g->overflow_event->list)) {
		list_add_tail(&g->overflow_event->list, &g->notification_list);
		g->q_len++;
		r = 0;
	}
	spin_unlock(&g->notification_lock);
	wake_up(&g->notification_waitq);
	return r;
}

u32 crs_inotify_limit(struct file *f, u32 events)
{
	struct fsnotify_group *g = f->private_data;
	u32 was;

	spin_lock(&g->notification_lock);
	was = g->max_events;
	g->max_events = events;
	spin_unlock(&g->notification_lock);
	return was;
}
