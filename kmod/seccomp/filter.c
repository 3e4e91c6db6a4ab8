// SPDX-License-Identifier: GPL-2.0
/*
 * Reading seccomp filters. Their structures stand in kernel/seccomp.c alone; private.h is cut out of that file of the very
 * kernel that this is loaded into (see Kbuild), so their layout is that of this kernel.
 *
 * A filter never changes and lives as long as a thread has it, and a thread gives it up under its siglock.
 */
#include <linux/bitmap.h>
#include <linux/filter.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/sched/signal.h>
#include <linux/seccomp.h>
#include <linux/syscalls.h>
#include <linux/wait.h>
#include <asm/seccomp.h>
#include "shims.h"

#ifdef CONFIG_SECCOMP_FILTER
#include "private.h"

/* The siglock of a task that may be dying, NULL if it is dead: as lock_task_sighand(), which modules do not get. */
static struct sighand_struct *lock(struct task_struct *t, unsigned long *flags)
{
	struct sighand_struct *s;

	rcu_read_lock();
	for (;;) {
		s = rcu_dereference(t->sighand);
		if (!s)
			break;
		spin_lock_irqsave(&s->siglock, *flags);
		if (s == rcu_access_pointer(t->sighand))
			break;
		spin_unlock_irqrestore(&s->siglock, *flags);
	}
	rcu_read_unlock();
	return s;
}

int crs_seccomp_filter(struct task_struct *t, u32 level, struct crs_seccomp *out, struct sock_filter *program, u32 room)
{
	const struct seccomp_filter *f;
	const struct sock_fprog_kern *orig;
	struct sighand_struct *s;
	unsigned long flags;

	BUILD_BUG_ON(sizeof(struct sock_filter) != 8);
	memset(out, 0, sizeof(*out));
	s = lock(t, &flags);
	if (!s)
		return -ESRCH;
	f = t->seccomp.filter;
	while (f && level--)
		f = f->prev;
	if (f) {
		orig = f->prog->orig_prog;
		out->key = (unsigned long)f;
		out->log = f->log;
		out->listener = f->notif != NULL;
		if (orig && orig->len <= room) {
			out->len = orig->len;
			memcpy(program, orig->filter, orig->len * sizeof(*program));
		}
	}
	spin_unlock_irqrestore(&s->siglock, flags);
	return f != NULL;
}

int crs_seccomp_may_restart(void)
{
	const struct seccomp_filter *f;
	struct sighand_struct *s;
	unsigned long flags;
	int may;

	s = lock(current, &flags);
	if (!s)
		return 1;
	f = current->seccomp.filter;
	/* What is always allowed by the last filter and all under it: seccomp_cache_prepare_bitmap(). */
	may = !f || test_bit(__NR_restart_syscall, f->cache.allow_native);
	spin_unlock_irqrestore(&s->siglock, flags);
	return may;
}
#else
int crs_seccomp_filter(struct task_struct *t, u32 level, struct crs_seccomp *out, struct sock_filter *program, u32 room)
{
	return 0;
}

int crs_seccomp_may_restart(void)
{
	return 1;
}
#endif
