// SPDX-License-Identifier: GPL-2.0
/* Macros and inline functions of the kernel as functions; see shims.h. Linked into every module, exported by none. */
#include <linux/bvec.h>
#include <linux/dcache.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs_struct.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/stat.h>
#include <linux/hugetlb.h>
#include <linux/shmem_fs.h>
#include <linux/leafops.h>
#include <linux/mm_inline.h>
#include <linux/mount.h>
#include <linux/nsproxy.h>
#include <linux/proc_fs.h>
#include <linux/pgtable.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/rseq.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/time_namespace.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/utsname.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xcr.h>
#include <asm/fpu/xstate.h>
#include <asm/fpu/types.h>
#include <asm/cpufeature.h>
#include <linux/io_uring_types.h>
#include <linux/iocontext.h>
#include <linux/ioprio.h>
#include <linux/perf_event.h>
#include <linux/sched/exec_state.h>
#include <linux/security.h>
#include <linux/xarray.h>
#include <asm/desc.h>
#include <uapi/linux/sched/types.h>
#include <linux/filelock.h>
#include <linux/gfp.h>
#include <linux/kdev_t.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/alarmtimer.h>
#include <linux/hrtimer.h>
#include <linux/hrtimer_bases.h>
#include <linux/pipe_fs_i.h>
#include <linux/posix-timers.h>
#include <linux/seq_file.h>
#include "shims.h"

struct task_struct *crs_current(void) { return current; }
void crs_get_task(struct task_struct *t) { get_task_struct(t); }
void crs_put_task(struct task_struct *t) { put_task_struct(t); }

int crs_threads(struct task_struct *p, struct task_struct **out, int max)
{
	struct task_struct *t;
	int n = 0;

	rcu_read_lock();
	for_each_thread(p, t) {
		if (t->exit_state || (t->flags & (PF_USER_WORKER | PF_KTHREAD)))
			continue;
		if (n < max) {
			get_task_struct(t);
			out[n] = t;
		}
		n++;
	}
	rcu_read_unlock();
	return n;
}

/* Processes whose parent is one of the `n` leaders in `set`, and which are not in it themselves, each with a reference. */
int crs_descend(struct task_struct **set, int n, struct task_struct **out, int max)
{
	struct task_struct *q;
	int count = 0;

	rcu_read_lock();
	for_each_process(q) {
		struct task_struct *parent = rcu_dereference(q->real_parent)->group_leader;
		bool is_child = false, is_known = false;
		int i;

		if (READ_ONCE(q->exit_state) == EXIT_DEAD)
			continue;
		for (i = 0; i < n; i++) {
			is_child |= set[i] == parent;
			is_known |= set[i] == q;
		}
		if (!is_child || is_known)
			continue;
		if (count < max) {
			get_task_struct(q);
			out[count] = q;
		}
		count++;
	}
	rcu_read_unlock();
	return count;
}

/* Processes whose session or process group has this id, each with a reference; how many were written. */
int crs_in_scope(int session, int id, struct task_struct **out, int max)
{
	struct task_struct *q;
	int count = 0;

	rcu_read_lock();
	for_each_process(q) {
		if (count >= max)
			break;
		if (READ_ONCE(q->exit_state) == EXIT_DEAD)
			continue;
		if ((session ? task_session_vnr(q) : task_pgrp_vnr(q)) != id)
			continue;
		get_task_struct(q);
		out[count++] = q;
	}
	rcu_read_unlock();
	return count;
}

int crs_leaderless(struct task_struct *t, int session)
{
	struct task_struct *q;
	struct pid *pid;
	int count = 0;

	rcu_read_lock();
	pid = session ? task_session(t) : task_pgrp(t);
	if (pid && !pid_task(pid, PIDTYPE_PID)) {
		for_each_process(q) {
			if (READ_ONCE(q->exit_state) != EXIT_DEAD && (session ? task_session(q) : task_pgrp(q)) == pid)
				count++;
		}
	}
	rcu_read_unlock();
	return count;
}

/* The process that p is a child of now; only to compare. */
struct task_struct *crs_parent(struct task_struct *p)
{
	struct task_struct *parent;

	rcu_read_lock();
	parent = rcu_dereference(p->real_parent)->group_leader;
	rcu_read_unlock();
	return parent;
}

/* Does p still run in the memory of its parent, which waits for it (vfork)? */
int crs_in_vfork(struct task_struct *p) { return READ_ONCE(p->vfork_done) != NULL; }

/* What wait(2) says of a process that has ended: kernel/exit.c, wait_task_zombie(). */
int crs_wait_status(struct task_struct *p)
{
	return (p->signal->flags & SIGNAL_GROUP_EXIT ? p->signal->group_exit_code : p->exit_code) & 0xffff;
}

/* The process of current ends with this code, whatever it says itself: do_group_exit() takes the first. */
void crs_set_exit_code(struct task_struct *t, int code)
{
	spin_lock_irq(&t->sighand->siglock);
	t->signal->flags = SIGNAL_GROUP_EXIT;
	t->signal->group_exit_code = code;
	spin_unlock_irq(&t->sighand->siglock);
}

void crs_set_exit_signal(struct task_struct *t, int sig) { WRITE_ONCE(t->exit_signal, sig); }

int crs_children(struct task_struct *p, int *tgids, int max)
{
	struct task_struct *q;
	int n = 0;

	rcu_read_lock();
	for_each_process(q) {
		struct task_struct *parent = rcu_dereference(q->real_parent);

		if (parent->tgid != p->tgid)
			continue;
		if (n < max)
			tgids[n] = task_tgid_vnr(q);
		n++;
	}
	rcu_read_unlock();
	return n;
}

int crs_mm_sharers(struct task_struct *p, struct mm_struct *mm, int *tgids, int max)
{
	struct task_struct *q;
	int n = 0;

	rcu_read_lock();
	for_each_process(q) {
		if (q->tgid == p->tgid || READ_ONCE(q->mm) != mm || (q->flags & PF_KTHREAD))
			continue;
		if (n < max)
			tgids[n] = task_tgid_vnr(q);
		n++;
	}
	rcu_read_unlock();
	return n;
}

struct pt_regs *crs_pt_regs(struct task_struct *t) { return task_pt_regs(t); }
int crs_pid_vnr(struct task_struct *t) { return task_pid_vnr(t); }
int crs_tgid_vnr(struct task_struct *t) { return task_tgid_vnr(t); }
int crs_ppid_vnr(struct task_struct *t) { return task_ppid_vnr(t); }
int crs_pgrp_vnr(struct task_struct *t) { return task_pgrp_vnr(t); }
int crs_session_vnr(struct task_struct *t) { return task_session_vnr(t); }
int crs_nr_threads(struct task_struct *t) { return get_nr_threads(t); }
int crs_signal_pending_current(void) { return signal_pending(current); }
int crs_fatal_signal_pending_current(void) { return fatal_signal_pending(current); }
int crs_task_sigpending(struct task_struct *t) { return task_sigpending(t); }
unsigned int crs_task_state(struct task_struct *t) { return READ_ONCE(t->__state); }
int crs_task_on_cpu_acquire(struct task_struct *t) { return smp_load_acquire(&t->on_cpu); }
int crs_test_restore_sigmask(struct task_struct *t) { return test_tsk_restore_sigmask(t); }
void crs_set_restore_sigmask(void) { set_restore_sigmask(); }
void crs_clear_notify_signal_current(void) { clear_notify_signal(); }
int crs_task_work_pending_current(void) { return task_work_pending(current); }
void crs_set_notify_signal_current(void) { set_thread_flag(TIF_NOTIFY_SIGNAL); }
void crs_siglock(struct sighand_struct *s) { spin_lock_irq(&s->siglock); }
void crs_sigunlock(struct sighand_struct *s) { spin_unlock_irq(&s->siglock); }
int crs_task_nice(struct task_struct *t) { return task_nice(t); }
int crs_proc_is_of_current(struct file *f)
{
	return proc_pid_ns(file_inode(f)->i_sb) == task_active_pid_ns(current);
}

int crs_pidfd_pid(struct file *f)
{
	/* fs/pidfs.c, pidfd_pid(): the inode of a pidfd holds a reference. */
	struct pid *pid = file_inode(f)->i_private;
	int nr = 0;

	rcu_read_lock();
	if (pid && pid_task(pid, PIDTYPE_PID))
		nr = pid_vnr(pid);
	rcu_read_unlock();
	return nr;
}

unsigned int crs_seccomp_mode(struct task_struct *t) { return READ_ONCE(t->seccomp.mode); }
void crs_seccomp_suspend(void)
{
	clear_task_syscall_work(current, SECCOMP);
	/* Whoever finds the bit must find the mode: kernel/seccomp.c, seccomp_assign_mode(). */
	smp_mb__after_atomic();
	current->seccomp.mode = SECCOMP_MODE_DISABLED;
}
void crs_seccomp_resume(struct task_struct *t, unsigned int mode)
{
	t->seccomp.mode = mode;
	smp_mb__before_atomic();
	set_task_syscall_work(t, SECCOMP);
}
void crs_rseq_reset_current(void) { rseq_reset(current); }
int crs_is_compat_task(struct task_struct *t) { return test_tsk_thread_flag(t, TIF_ADDR32) || !user_64bit_mode(task_pt_regs(t)); }
int crs_shstk_enabled(struct task_struct *t)
{
#ifdef CONFIG_X86_USER_SHADOW_STACK
	return t->thread.features != 0;
#else
	return 0;
#endif
}
int crs_task_has_io_bitmap(struct task_struct *t) { return test_tsk_thread_flag(t, TIF_IO_BITMAP) || t->thread.iopl_emul; }
int crs_tsc_mode_disabled(struct task_struct *t) { return test_tsk_thread_flag(t, TIF_NOTSC); }
int crs_cpuid_faulting(struct task_struct *t) { return test_tsk_thread_flag(t, TIF_NOCPUID); }
int crs_no_new_privs(struct task_struct *t) { return task_no_new_privs(t); }
const struct cred *crs_task_cred_get(struct task_struct *t) { return get_task_cred(t); }
void crs_put_cred(const struct cred *c) { put_cred(c); }

int crs_namespaces(struct task_struct *t, struct crs_namespaces *out)
{
	int r = -ESRCH;

	task_lock(t);
	if (t->nsproxy) {
		struct nsproxy *ns = t->nsproxy;

		out->uts = ns->uts_ns;
		out->ipc = ns->ipc_ns;
		out->mnt = ns->mnt_ns;
		out->pid_for_children = ns->pid_ns_for_children;
		out->net = ns->net_ns;
		out->cgroup = ns->cgroup_ns;
		out->time = ns->time_ns;
		out->time_for_children = ns->time_ns_for_children;
		out->monotonic_ns = timespec64_to_ns(&ns->time_ns->offsets.monotonic);
		out->boottime_ns = timespec64_to_ns(&ns->time_ns->offsets.boottime);
		r = 0;
	}
	task_unlock(t);
	out->pid = task_active_pid_ns(t);
	rcu_read_lock();
	out->user = __task_cred(t)->user_ns;
	rcu_read_unlock();
	return r;
}
unsigned int crs_from_kuid(kuid_t uid) { return from_kuid_munged(current_user_ns(), uid); }
unsigned int crs_from_kgid(kgid_t gid) { return from_kgid_munged(current_user_ns(), gid); }

int crs_mmap_read_lock_killable(struct mm_struct *mm) { return mmap_read_lock_killable(mm); }
void crs_mmap_read_unlock(struct mm_struct *mm) { mmap_read_unlock(mm); }
u64 crs_vma_flags(struct vm_area_struct *vma) { return vma->vm_flags; }
const char *crs_vma_special_name(struct vm_area_struct *vma)
{
	return vma->vm_ops && vma->vm_ops->name ? vma->vm_ops->name(vma) : NULL;
}
const char *crs_vma_anon_name(struct vm_area_struct *vma)
{
	struct anon_vma_name *name = anon_vma_name(vma);

	return name ? name->name : NULL;
}
int crs_mm_users(struct mm_struct *mm) { return atomic_read(&mm->mm_users); }
void crs_put_page(struct page *p) { put_page(p); }
void *crs_kmap_local(struct page *p) { return kmap_local_page(p); }
void crs_kunmap_local(const void *addr) { kunmap_local(addr); }

/*
 * Read-only walk to the leaf that maps addr. Page tables cannot be freed under us:
 * the caller holds mmap_lock for reading and all threads of the mm are frozen;
 * RCU covers the last level, which khugepaged may replace (see pte_offset_map()).
 */
int crs_walk(struct mm_struct *mm, unsigned long a, unsigned long *next)
{
	pgd_t *pgd = pgd_offset(mm, a);
	p4d_t *p4d;
	pud_t *pud, pudv;
	pmd_t pmdv;
	pte_t pte;
	int r;

	*next = (a & PGDIR_MASK) + PGDIR_SIZE;
	if (pgd_none(*pgd))
		return CRS_ABSENT;
	p4d = p4d_offset(pgd, a);
	*next = (a & P4D_MASK) + P4D_SIZE;
	if (p4d_none(*p4d))
		return CRS_ABSENT;
	pud = pud_offset(p4d, a);
	pudv = READ_ONCE(*pud);
	*next = (a & PUD_MASK) + PUD_SIZE;
	if (pud_none(pudv))
		return CRS_ABSENT;
	*next = (a & PAGE_MASK) + PAGE_SIZE;
	if (pud_leaf(pudv))
		return CRS_SPECIAL;
	rcu_read_lock();
	pmdv = READ_ONCE(*pmd_offset(pud, a));
	if (pmd_none(pmdv)) {
		*next = (a & PMD_MASK) + PMD_SIZE;
		r = CRS_ABSENT;
	} else if (!pmd_present(pmdv)) {
		r = CRS_SWAP;
	} else if (pmd_leaf(pmdv)) {
		r = PageAnon(pmd_page(pmdv) + ((a & ~PMD_MASK) >> PAGE_SHIFT)) ? CRS_ANON : CRS_FILE;
	} else {
		pte = READ_ONCE(*pte_offset_kernel(&pmdv, a));
		if (pte_none(pte))
			r = CRS_ABSENT;
		else if (!pte_present(pte))
			r = softleaf_is_guard_marker(softleaf_from_pte(pte)) ? CRS_GUARD : CRS_SWAP;
		else if (is_zero_pfn(pte_pfn(pte)))
			r = CRS_ZERO;
		else if (pte_special(pte))
			r = CRS_SPECIAL;
		else
			r = PageAnon(pte_page(pte)) ? CRS_ANON : CRS_FILE;
	}
	rcu_read_unlock();
	return r;
}

/* As crs_walk(): is the range around addr mapped by one entry, of anonymous memory? */
int crs_walk_huge(struct mm_struct *mm, unsigned long a)
{
	pgd_t *pgd = pgd_offset(mm, a);
	p4d_t *p4d;
	pud_t *pud, pudv;
	pmd_t pmdv;

	if (pgd_none(*pgd))
		return 0;
	p4d = p4d_offset(pgd, a);
	if (p4d_none(*p4d))
		return 0;
	pud = pud_offset(p4d, a);
	pudv = READ_ONCE(*pud);
	if (pud_none(pudv) || pud_leaf(pudv))
		return 0;
	pmdv = READ_ONCE(*pmd_offset(pud, a));
	return pmd_present(pmdv) && pmd_leaf(pmdv) && PageAnon(pmd_page(pmdv));
}
void crs_thp_disable(int disable)
{
	/* Atomic bits; nobody else changes this one: the task is the only one with this mm, and not in prctl(). */
	if (disable)
		mm_flags_set(MMF_DISABLE_THP_COMPLETELY, current->mm);
	else
		mm_flags_clear(MMF_DISABLE_THP_COMPLETELY, current->mm);
}

struct inode *crs_file_inode(struct file *f) { return file_inode(f); }
long crs_file_count(struct file *f) { return file_count(f); }
int crs_close_on_exec(struct files_struct *files, unsigned int fd)
{
	int r;

	rcu_read_lock();
	r = close_on_exec(fd, files);
	rcu_read_unlock();
	return r;
}
int crs_d_unlinked(struct dentry *d) { return d_unlinked(d); }
int crs_is_err(const void *p) { return IS_ERR(p); }
long crs_ptr_err(const void *p) { return PTR_ERR(p); }
void crs_get_file(struct file *f) { get_file(f); }

int crs_fs_paths(struct task_struct *t, struct path *pwd, struct path *root, int *umask)
{
	int r = -ESRCH;

	task_lock(t);
	if (t->fs) {
		get_fs_pwd(t->fs, pwd);
		get_fs_root(t->fs, root);
		*umask = t->fs->umask;
		r = 0;
	}
	task_unlock(t);
	return r;
}
void crs_path_put(struct path *p) { path_put(p); }

void crs_bvec_set(struct bio_vec *bv, struct page *p, unsigned int len, unsigned int off) { bvec_set_page(bv, p, len, off); }
struct page *crs_virt_to_page(const void *p) { return virt_to_page(p); }

unsigned long crs_copy_to_user(void __user *to, const void *from, unsigned long n) { return copy_to_user(to, from, n); }
unsigned long crs_copy_from_user(void *to, const void __user *from, unsigned long n) { return copy_from_user(to, from, n); }
u64 crs_task_size_max(void) { return TASK_SIZE_MAX; }
u64 crs_xfeatures_user(void) { return cpu_feature_enabled(X86_FEATURE_OSXSAVE) ? xgetbv(XCR_XFEATURE_ENABLED_MASK) : 3; }
const char *crs_kernel_release(void) { return init_utsname()->release; }
const char *crs_kernel_version(void) { return init_utsname()->version; }
const char *crs_kernel_machine(void) { return init_utsname()->machine; }
const char *crs_hostname(void) { return utsname()->nodename; }
void crs_cond_resched(void) { cond_resched(); }
unsigned long crs_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}
void crs_irq_restore(unsigned long flags) { local_irq_restore(flags); }

/* ---- tasks, signals, credentials ---- */
int crs_task_dumpable(struct task_struct *t)
{
	int r;

	rcu_read_lock();
	r = READ_ONCE(rcu_dereference(t->exec_state)->dumpable);
	rcu_read_unlock();
	return r;
}

void crs_set_current_dumpable(int value)
{
	rcu_read_lock();
	WRITE_ONCE(rcu_dereference(current->exec_state)->dumpable, value);
	rcu_read_unlock();
}

struct sighand_struct *crs_lock_task_sighand(struct task_struct *t)
{
	struct sighand_struct *s;

	/* As lock_task_sighand(), which is not exported: sighand memory is type-stable under RCU. */
	rcu_read_lock();
	for (;;) {
		s = rcu_dereference(t->sighand);
		if (!s)
			break;
		spin_lock_irq(&s->siglock);
		if (likely(s == rcu_access_pointer(t->sighand)))
			break;
		spin_unlock_irq(&s->siglock);
	}
	rcu_read_unlock();
	return s;
}

struct sighand_struct *crs_hold_task(struct task_struct *t)
{
	struct sighand_struct *s = crs_lock_task_sighand(t);

	/* Every death of a parked task begins with one of these, set under siglock. */
	if (s && ((t->signal->flags & SIGNAL_GROUP_EXIT) || t->signal->group_exec_task || (t->flags & PF_EXITING))) {
		spin_unlock_irq(&s->siglock);
		s = NULL;
	}
	return s;
}

int crs_sigpending_copy(struct sigpending *pending, struct kernel_siginfo *out, int max)
{
	struct sigqueue *q;
	int n = 0;

	list_for_each_entry(q, &pending->list, list) {
		if (n < max)
			copy_siginfo(&out[n], &q->info);
		n++;
	}
	return n;
}

int crs_sharers(struct task_struct *p, int what, int *tgids, int max)
{
	struct task_struct *q, *t;
	int n = 0;

	rcu_read_lock();
	for_each_process_thread(q, t) {
		/* Addresses only; nothing is dereferenced. */
		bool same = what == CRS_SHARE_SIGHAND ? rcu_access_pointer(t->sighand) == rcu_access_pointer(p->sighand) :
			    what == CRS_SHARE_FILES ? READ_ONCE(t->files) == p->files : READ_ONCE(t->fs) == p->fs;

		if (t->tgid == p->tgid || !same || !p->files || (t->flags & (PF_KTHREAD | PF_EXITING)))
			continue;
		if (n < max)
			tgids[n] = task_tgid_vnr(t);
		n++;
	}
	rcu_read_unlock();
	return n;
}

int crs_tls_entries(struct task_struct *t)
{
	int i, n = 0;

	for (i = 0; i < GDT_ENTRY_TLS_ENTRIES; i++)
		n += !desc_empty(&t->thread.tls_array[i]);
	return n;
}

int crs_hw_breakpoints(struct task_struct *t)
{
	int i, n = 0;

	/* A debugger that switches one off leaves it in its slot, until the next execve or the end. */
	for (i = 0; i < HBP_NUM; i++)
		n += t->thread.ptrace_bps[i] && !t->thread.ptrace_bps[i]->attr.disabled;
	return n;
}

int crs_dynamic_xfeatures(struct task_struct *t)
{
	/* x86_task_fpu() without its debug check, which is not exported. */
	struct fpu *fpu = (void *)t + sizeof(*t);

	return !!(READ_ONCE(fpu->perm.__state_perm) & XFEATURE_MASK_USER_DYNAMIC);
}

int crs_mm_has_ldt(struct mm_struct *mm)
{
#ifdef CONFIG_MODIFY_LDT_SYSCALL
	return !!READ_ONCE(mm->context.ldt);
#else
	return 0;
#endif
}

int crs_mm_lam(struct mm_struct *mm)
{
#ifdef CONFIG_ADDRESS_MASKING
	return !!READ_ONCE(mm->context.lam_cr3_mask);
#else
	return 0;
#endif
}

int crs_mm_flag(struct mm_struct *mm, int bit) { return mm_flags_test(bit, mm); }

unsigned int crs_mm_membarrier(struct mm_struct *mm)
{
#ifdef CONFIG_MEMBARRIER
	return atomic_read(&mm->membarrier_state);
#else
	return 0;
#endif
}

struct file *crs_mm_exe_file(struct mm_struct *mm)
{
	struct file *f;

	rcu_read_lock();
	f = get_file_rcu(&mm->exe_file);
	rcu_read_unlock();
	return f;
}

int crs_io_uring_active(struct task_struct *t)
{
	unsigned long ctx, ring[CRS_RING_INDICES];

	return crs_uring_used(t, &ctx, 1) || crs_uring_registered(t, ring);
}

/*
 * io_uring. A task's context (struct io_uring_task) is freed a grace period after the last reference to the task is
 * gone, so it lives as long as ours. The entries of its xarray are not looked at, only their keys, which are the
 * addresses of the rings' contexts.
 */
int crs_uring_used(struct task_struct *t, unsigned long *out, int max)
{
	int n = 0;
#ifdef CONFIG_IO_URING
	struct io_uring_task *tctx;
	unsigned long index;
	void *entry;

	rcu_read_lock();
	tctx = READ_ONCE(t->io_uring);
	if (tctx) {
		xa_for_each(&tctx->xa, index, entry) {
			if (n < max)
				out[n] = index;
			n++;
		}
	}
	rcu_read_unlock();
#endif
	return n;
}

int crs_uring_registered(struct task_struct *t, unsigned long out[CRS_RING_INDICES])
{
	int n = 0;
#ifdef CONFIG_IO_URING
	struct io_uring_task *tctx;
	int i;

	BUILD_BUG_ON(CRS_RING_INDICES != IO_RINGFD_REG_MAX);
	memset(out, 0, CRS_RING_INDICES * sizeof(*out));
	rcu_read_lock();
	tctx = READ_ONCE(t->io_uring);
	for (i = 0; tctx && i < IO_RINGFD_REG_MAX; i++) {
		out[i] = (unsigned long)READ_ONCE(tctx->registered_rings[i]);
		n += !!out[i];
	}
	rcu_read_unlock();
#endif
	return n;
}

long crs_uring_in_flight(struct task_struct *t)
{
	long n = 0;
#ifdef CONFIG_IO_URING
	struct io_uring_task *tctx;

	/* An exec destroys the counter at once. Frozen threads make none, but a stopped one may be continued. */
	if (!mutex_trylock(&t->signal->cred_guard_mutex))
		return -EBUSY;
	tctx = READ_ONCE(t->io_uring);
	/* References that the task has taken in advance are no requests. */
	if (tctx)
		n = percpu_counter_sum(&tctx->inflight) - READ_ONCE(tctx->cached_refs);
	mutex_unlock(&t->signal->cred_guard_mutex);
#endif
	return n;
}

#ifdef CONFIG_IO_URING
/*
 * struct io_ev_fd is private: the counter's context, whether only asynchronous events are told, a position, references,
 * operations that are going on (io_uring/eventfd.c). It has more than these 24 bytes, for an rcu_head follows. What is
 * read counts only if all of it is as it must be, and the caller finds the context among the counters of the processes.
 */
static void crs_uring_eventfd(struct io_ring_ctx *ctx, struct crs_uring *o)
{
	const u32 *w;

	rcu_read_lock();
	w = (const u32 *)rcu_dereference(ctx->io_ev_fd);
	if (w && READ_ONCE(w[2]) <= 1 && READ_ONCE(w[4]) == 1 && READ_ONCE(w[5]) == 0) {
		o->eventfd = READ_ONCE(*(const unsigned long *)w);
		o->eventfd_async = READ_ONCE(w[2]);
	}
	rcu_read_unlock();
	if (!o->eventfd)
		o->has |= CRS_RING_EVENTFD;
}
#endif

int crs_uring(struct file *f, struct crs_uring *o)
{
#ifdef CONFIG_IO_URING
	struct io_ring_ctx *ctx = f->private_data;

	memset(o, 0, sizeof(*o));
	/* The tasks that submit are frozen: whoever has it works on a request. */
	if (!mutex_trylock(&ctx->uring_lock))
		return -EBUSY;
	o->ctx = (unsigned long)ctx;
	o->submitter = ctx->submitter_task;
	o->flags = ctx->flags;
	o->sq_entries = ctx->sq_entries;
	o->cq_entries = ctx->cq_entries;
	o->sq_head = ctx->cached_sq_head;
	o->cq_tail = ctx->cached_cq_tail;
	o->ring_pages = ctx->ring_region.nr_pages;
	o->sqe_pages = ctx->sq_region.nr_pages;
	if (ctx->file_table.data.nr)
		o->has |= CRS_RING_FILES;
	if (ctx->buf_table.nr)
		o->has |= CRS_RING_BUFFERS;
	if (ctx->int_flags & IO_RING_F_HAS_EVFD)
		crs_uring_eventfd(ctx, o);
	if (!xa_empty(&ctx->personalities))
		o->has |= CRS_RING_PERSONALITIES;
	if (!xa_empty(&ctx->io_bl_xa))
		o->has |= CRS_RING_PROVIDED;
	if (!xa_empty(&ctx->zcrx_ctxs))
		o->has |= CRS_RING_ZCRX;
	if (ctx->restrictions.op_registered || ctx->restrictions.reg_registered || ctx->restrictions.bpf_filters)
		o->has |= CRS_RING_RESTRICTIONS;
	if (ctx->int_flags & IO_RING_F_IOWQ_LIMITS_SET)
		o->has |= CRS_RING_WORKERS;
	if (ctx->clockid != CLOCK_MONOTONIC)
		o->has |= CRS_RING_CLOCK;
	if (ctx->param_region.nr_pages)
		o->has |= CRS_RING_REGION;
	if (ctx->bpf_ops || ctx->loop_step)
		o->has |= CRS_RING_BPF;
#ifdef CONFIG_NET_RX_BUSY_POLL
	if (ctx->napi_track_mode != IO_URING_NAPI_TRACKING_INACTIVE)
		o->has |= CRS_RING_NAPI;
#endif
	if (ctx->int_flags & IO_RING_F_COMPAT)
		o->has |= CRS_RING_COMPAT;
	if (READ_ONCE(ctx->check_cq) || !list_empty(&ctx->cq_overflow_list))
		o->has |= CRS_RING_OVERFLOW;
	mutex_unlock(&ctx->uring_lock);
	return 0;
#else
	return -EINVAL;
#endif
}

void crs_uring_set(struct file *f, u32 sq_head, u32 cq_tail)
{
#ifdef CONFIG_IO_URING
	struct io_ring_ctx *ctx = f->private_data;

	mutex_lock(&ctx->uring_lock);
	spin_lock(&ctx->completion_lock);
	ctx->cached_sq_head = sq_head;
	ctx->cached_cq_tail = cq_tail;
	/* The range of free events that these name begins at the tail. */
	ctx->cqe_cached = NULL;
	ctx->cqe_sentinel = NULL;
	spin_unlock(&ctx->completion_lock);
	mutex_unlock(&ctx->uring_lock);
#endif
}

int crs_io_uring_restricted(struct task_struct *t)
{
#ifdef CONFIG_IO_URING
	return !!t->io_uring_restrict;
#else
	return 0;
#endif
}

int crs_perf_events(struct task_struct *t)
{
#ifdef CONFIG_PERF_EVENTS
	struct perf_event_context *ctx;
	int i, r;

	/* A context that a task has had once stays until its exit, and is freed after a grace period. */
	rcu_read_lock();
	ctx = READ_ONCE(t->perf_event_ctxp);
	r = ctx ? READ_ONCE(ctx->nr_events) : 0;
	rcu_read_unlock();
	/* Breakpoints of debuggers are events too; crs_hw_breakpoints() is about them. */
	for (i = 0; i < HBP_NUM; i++)
		r -= !!t->thread.ptrace_bps[i];
	return r > 0 ? r : 0;
#else
	return 0;
#endif
}

#ifdef CONFIG_SYSVIPC
/*
 * Private to ipc/sem.c, the same since Linux 4.13. Every process with threads has one (CLONE_SYSVSEM), so
 * only its contents tell. The whole structure is at least this long: reading it is always safe.
 */
struct crs_sem_undo_list {
	refcount_t refcnt;
	spinlock_t lock;
	struct list_head list_proc;
};
#endif

int crs_sem_undo(struct task_struct *t)
{
#ifdef CONFIG_SYSVIPC
	struct sighand_struct *held = crs_hold_task(t);
	const struct crs_sem_undo_list *list;
	int r;

	/* Freed when the last task of the process exits, which cannot begin while one is held. */
	if (!held)
		return 0;
	list = (const void *)t->sysvsem.undo_list;
	r = list && !list_empty(&list->list_proc);
	crs_sigunlock(held);
	return r;
#else
	return 0;
#endif
}

int crs_core_sched_cookie(struct task_struct *t)
{
#ifdef CONFIG_SCHED_CORE
	return !!t->core_cookie;
#else
	return 0;
#endif
}

int crs_syscall_user_dispatch(struct task_struct *t) { return test_task_syscall_work(t, SYSCALL_USER_DISPATCH); }

int crs_cgroup_path(struct task_struct *t, char *out, int len)
{
	struct cgroup *c;
	int r;

	rcu_read_lock();
	/* One that is being removed has no processes: this one is moving, and the next look finds where. */
	do {
		c = task_dfl_cgroup(t);
	} while (!cgroup_tryget(c));
	rcu_read_unlock();
	r = cgroup_path_ns(c, out, len, current->nsproxy->cgroup_ns);
	cgroup_put(c);
	/* Cut without a word where there is no room. */
	return r >= len - 1 ? -ENAMETOOLONG : r;
}

int crs_same_cgroup(struct task_struct *a, struct task_struct *b)
{
	int r;

	rcu_read_lock();
	r = task_dfl_cgroup(a) == task_dfl_cgroup(b);
	rcu_read_unlock();
	return r;
}

#ifdef CONFIG_NUMA
static int policy_of(const struct mempolicy *p, void *nodes, int len)
{
	int flags = p ? p->flags & MPOL_MODE_FLAGS : 0;

	memset(nodes, 0, len);
	if (!p)
		return 0;
	/* With these flags the nodes are those that were asked for, whatever the cpuset allows. */
	memcpy(nodes, flags & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES) ? nodes_addr(p->w.user_nodemask) : nodes_addr(p->nodes),
	       min_t(int, len, sizeof(nodemask_t)));
	return p->mode | flags;
}
#endif

int crs_mempolicy(struct task_struct *t, void *nodes, int len)
{
	int mode = 0;

#ifdef CONFIG_NUMA
	task_lock(t);
	mode = policy_of(t->mempolicy, nodes, len);
	task_unlock(t);
#endif
	return mode;
}

int crs_uclamp(struct task_struct *t, u32 *min, u32 *max)
{
	int asked = 0;

	*min = *max = 0;
#ifdef CONFIG_UCLAMP_TASK
	if (t->uclamp_req[UCLAMP_MIN].user_defined) {
		*min = t->uclamp_req[UCLAMP_MIN].value;
		asked |= 1;
	}
	if (t->uclamp_req[UCLAMP_MAX].user_defined) {
		*max = t->uclamp_req[UCLAMP_MAX].value;
		asked |= 2;
	}
#endif
	return asked;
}

int crs_timer_ids(struct task_struct *t)
{
#ifdef CONFIG_POSIX_TIMERS
	return t->signal->timer_create_restore_ids;
#else
	return 0;
#endif
}

void crs_set_current_timer_ids(int on)
{
#ifdef CONFIG_POSIX_TIMERS
	current->signal->timer_create_restore_ids = !!on;
#endif
}

int crs_io_priority(struct task_struct *t)
{
	int r = 0;

#ifdef CONFIG_BLOCK
	task_lock(t);
	if (t->io_context)
		r = t->io_context->ioprio;
	task_unlock(t);
#endif
	return r;
}

int crs_rseq(struct task_struct *t, unsigned long *ptr, u32 *len, u32 *sig)
{
#ifdef CONFIG_RSEQ
	*ptr = (unsigned long)t->rseq.usrptr;
	*len = t->rseq.len;
	*sig = t->rseq.sig;
	return t->rseq.event.has_rseq != 0;
#else
	return 0;
#endif
}

void crs_rlimits(struct task_struct *t, struct rlimit *out)
{
	task_lock(t->group_leader);
	memcpy(out, t->signal->rlim, sizeof(t->signal->rlim));
	task_unlock(t->group_leader);
}

void crs_sched_attr(struct task_struct *t, struct sched_attr *out)
{
	memset(out, 0, sizeof(*out));
	out->size = SCHED_ATTR_SIZE_VER0;
	out->sched_policy = t->policy;
	out->sched_nice = task_nice(t);
	out->sched_priority = t->rt_priority;
	out->sched_flags = t->sched_reset_on_fork ? SCHED_FLAG_RESET_ON_FORK : 0;
	if (t->policy == SCHED_DEADLINE) {
		out->sched_runtime = t->dl.dl_runtime;
		out->sched_deadline = t->dl.dl_deadline;
		out->sched_period = t->dl.dl_period;
		out->sched_flags |= t->dl.flags & (SCHED_FLAG_RECLAIM | SCHED_FLAG_DL_OVERRUN);
	} else if (t->se.custom_slice) {
		out->sched_runtime = t->se.slice;
	}
}

int crs_affinity(struct task_struct *t, void *out, int len, int *pinned)
{
	int n = min_t(int, len, BITS_TO_BYTES(nr_cpu_ids));
	unsigned long flags;

	raw_spin_lock_irqsave(&t->pi_lock, flags);
	*pinned = !!t->user_cpus_ptr;
	memcpy(out, cpumask_bits(t->user_cpus_ptr ?: &t->cpus_mask), n);
	raw_spin_unlock_irqrestore(&t->pi_lock, flags);
	return n;
}

int crs_nr_cpu_ids(void) { return nr_cpu_ids; }

int crs_security_label_differs(struct task_struct *t)
{
	struct lsm_prop mine = {}, theirs = {};

	security_current_getlsmprop_subj(&mine);
	security_task_getlsmprop_obj(t, &theirs);
	return !!memcmp(&mine, &theirs, sizeof(mine));
}

int crs_security_label(struct task_struct *t, char *out, int len)
{
	struct lsm_prop prop = {};
	struct lsm_context cx = {};
	int r;

	security_task_getlsmprop_obj(t, &prop);
	r = security_lsmprop_to_secctx(&prop, &cx, LSM_ID_UNDEF);
	if (r < 0)
		return r;
	r = min_t(int, cx.len, len);
	memcpy(out, cx.context, r);
	security_release_secctx(&cx);
	return r;
}

void crs_set_segments(struct task_struct *t, unsigned long fs_base, unsigned long gs_base, const unsigned short sel[4])
{
	t->thread.fsbase = fs_base;
	t->thread.gsbase = gs_base;
	t->thread.ds = sel[0];
	t->thread.es = sel[1];
	t->thread.fsindex = sel[2];
	t->thread.gsindex = sel[3];
}

/* fs/aio.c keeps this to itself; only the length and whether an entry is set are looked at. */
struct crs_kioctx_table {
	struct rcu_head rcu;
	unsigned int nr;
	void __rcu *table[];
};

void crs_mm_facts(struct mm_struct *mm, struct crs_mm_facts *o)
{
	const struct crs_kioctx_table *aio;
	unsigned int i;

	spin_lock(&mm->arg_lock);
	o->start_code = mm->start_code;
	o->end_code = mm->end_code;
	o->start_data = mm->start_data;
	o->end_data = mm->end_data;
	o->start_brk = mm->start_brk;
	o->brk = mm->brk;
	o->start_stack = mm->start_stack;
	o->arg_start = mm->arg_start;
	o->arg_end = mm->arg_end;
	o->env_start = mm->env_start;
	o->env_end = mm->env_end;
	spin_unlock(&mm->arg_lock);
	o->vdso = (unsigned long)mm->context.vdso;
	o->flags = __mm_flags_get_word(mm);
	o->def_flags = mm->def_flags;
	BUILD_BUG_ON(ARRAY_SIZE(mm->saved_auxv) > CRS_AUXV_MAX);
	o->auxv_len = ARRAY_SIZE(mm->saved_auxv);
	for (i = 0; i < ARRAY_SIZE(mm->saved_auxv); i++)
		o->auxv[i] = mm->saved_auxv[i];
	o->pkeys = 0;
	o->exec_pkey = 0;
#ifdef CONFIG_X86_INTEL_MEMORY_PROTECTION_KEYS
	o->pkeys = cpu_feature_enabled(X86_FEATURE_OSPKE) ? mm->context.pkey_allocation_map : 0;
	if (o->pkeys && mm->context.execute_only_pkey > 0)
		o->exec_pkey = mm->context.execute_only_pkey;
#endif
	o->aio = 0;
	rcu_read_lock();
	aio = (void *)rcu_dereference(mm->ioctx_table);
	for (i = 0; aio && i < aio->nr; i++)
		o->aio += rcu_access_pointer(aio->table[i]) != NULL;
	rcu_read_unlock();
}
unsigned long crs_vma_huge(struct vm_area_struct *vma)
{
	return is_vm_hugetlb_page(vma) ? vma_kernel_pagesize(vma) : 0;
}
int crs_vma_policy(struct vm_area_struct *vma, void *nodes, int len, int *home)
{
#ifdef CONFIG_NUMA
	*home = vma->vm_policy ? vma->vm_policy->home_node : NUMA_NO_NODE;
	return policy_of(vma->vm_policy, nodes, len);
#else
	*home = -1;
	return 0;
#endif
}
void crs_set_coredump_filter(unsigned int filter)
{
	__mm_flags_set_mask_bits_word(current->mm, MMF_DUMP_FILTER_MASK,
				      ((unsigned long)filter << MMF_DUMP_FILTER_SHIFT) & MMF_DUMP_FILTER_MASK);
}

/* Without a path: the file system has none, or (hugetlbfs has both kinds) the file came from alloc_file_pseudo(). */
static int crs_internal(const struct inode *i, const struct dentry *d)
{
	return (i->i_sb->s_flags & SB_NOUSER) || (S_ISREG(i->i_mode) && IS_ROOT(d));
}
void crs_file_facts(struct file *f, struct crs_file_facts *o)
{
	const struct inode *inode = file_user_inode(f);

	o->magic = inode->i_sb->s_magic;
	o->size = i_size_read(inode);
	o->mode = inode->i_mode;
	o->rdev = inode->i_rdev;
	o->internal = crs_internal(inode, file_user_path(f)->dentry);
	o->private = IS_PRIVATE(inode) != 0;
	o->unlinked = d_unlinked(file_user_path(f)->dentry);
}
void crs_memory_file(struct file *f, struct crs_memory_file *out)
{
	struct inode *i = file_inode(f);

	out->huge = 0;
	out->seals = 0;
	if (is_file_hugepages(f)) {
		out->huge = huge_page_size(hstate_inode(i));
		out->seals = READ_ONCE(HUGETLBFS_I(i)->seals);
	} else if (shmem_mapping(i->i_mapping)) {
		out->seals = READ_ONCE(SHMEM_I(i)->seals);
	}
}
struct inode *crs_file_user_inode(struct file *f) { return (struct inode *)file_user_inode(f); }
void crs_file_path(struct file *f, struct path *out) { *out = *file_user_path(f); path_get(out); }
char *crs_file_user_path(struct file *f, char *buf, int len) { return d_path(file_user_path(f), buf, len); }
int crs_vfs_stat(struct file *f, struct kstat *out)
{
	return vfs_getattr(file_user_path(f), out, STATX_BASIC_STATS, AT_STATX_SYNC_AS_STAT);
}

/* As mmap(MAP_SHARED | MAP_ANONYMOUS) does, see shmem_zero_setup(). */
struct file *crs_shared_anon_file(u64 size, int noreserve)
{
	return shmem_kernel_file_setup("dev/zero", size, noreserve ? mk_vma_flags(VMA_NORESERVE_BIT) : EMPTY_VMA_FLAGS);
}
int crs_is_shmem(struct file *f) { return shmem_mapping(f->f_mapping); }
int crs_shmem_next(struct file *f, unsigned long *index, unsigned long max)
{
	return xa_find(&f->f_mapping->i_pages, index, max, XA_PRESENT) != NULL;
}
struct page *crs_shmem_page(struct file *f, unsigned long index)
{
	return shmem_read_mapping_page_gfp(f->f_mapping, index, mapping_gfp_mask(f->f_mapping));
}
int crs_page_anon(struct page *p) { return PageAnon(p); }

void crs_open_file(struct file *f, struct crs_open_file *out)
{
	struct dentry *d = file_user_path(f)->dentry;
	const struct inode *i = file_user_inode(f);

	out->magic = i->i_sb->s_magic;
	out->rdev = huge_encode_dev(i->i_rdev);
	out->mode = i->i_mode;
	out->nlink = i->i_nlink;
	out->dentry_count = d_count(d);
	out->unlinked = d_unlinked(d);
	out->fs_root = IS_ROOT(d);
	out->internal = crs_internal(i, d);
	out->silly = !!(d->d_flags & DCACHE_NFSFS_RENAMED);
}
u32 crs_file_name(struct file *f, u8 *out, u32 max)
{
	struct dentry *d = file_user_path(f)->dentry;
	u32 len;

	spin_lock(&d->d_lock);
	len = min(d->d_name.len, max);
	memcpy(out, d->d_name.name, len);
	spin_unlock(&d->d_lock);
	return len;
}

int crs_file_locks(struct file *f, struct files_struct *files)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(f));
	struct file_lock *l;
	struct file_lease *s;
	int r = 0;

	if (!ctx)
		return 0;
	spin_lock(&ctx->flc_lock);
	list_for_each_entry(l, &ctx->flc_posix, c.flc_list) {
		if (l->c.flc_owner == files)
			r |= CRS_LOCK_POSIX;
		if (l->c.flc_owner == f)
			r |= CRS_LOCK_OFD;
	}
	list_for_each_entry(l, &ctx->flc_flock, c.flc_list)
		if (l->c.flc_file == f)
			r |= CRS_LOCK_FLOCK;
	list_for_each_entry(s, &ctx->flc_lease, c.flc_list)
		if (s->c.flc_file == f)
			r |= CRS_LOCK_LEASE;
	spin_unlock(&ctx->flc_lock);
	return r;
}
int crs_locks(struct file *f, struct files_struct *files, struct crs_lock *out, int max)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(f));
	struct file_lock *l;
	int n = 0;

	if (!ctx)
		return 0;
	spin_lock(&ctx->flc_lock);
	list_for_each_entry(l, &ctx->flc_posix, c.flc_list) {
		if (l->c.flc_owner != files && l->c.flc_owner != f)
			continue;
		if (n++ < max)
			out[n - 1] = (struct crs_lock){ (unsigned long)l, l->fl_start, l->fl_end, l->c.flc_owner == f, l->c.flc_type == F_WRLCK };
	}
	list_for_each_entry(l, &ctx->flc_flock, c.flc_list)
		if (l->c.flc_file == f && n++ < max)
			out[n - 1] = (struct crs_lock){ (unsigned long)l, 0, OFFSET_MAX, 2, l->c.flc_type == F_WRLCK };
	spin_unlock(&ctx->flc_lock);
	return n;
}
int crs_file_owner(struct file *f, struct crs_owner *out)
{
	struct fown_struct *o = file_f_owner(f);
	int set;

	if (!o)
		return 0;
	read_lock_irq(&o->lock);
	rcu_read_lock();
	out->alive = o->pid && pid_task(o->pid, o->pid_type);
	out->pid = out->alive ? pid_vnr(o->pid) : 0;
	rcu_read_unlock();
	out->kind = o->pid_type == PIDTYPE_PID ? F_OWNER_TID : o->pid_type == PIDTYPE_PGID ? F_OWNER_PGRP : F_OWNER_PID;
	out->uid = crs_from_kuid(o->uid);
	out->euid = crs_from_kuid(o->euid);
	set = o->pid || o->signum || o->pid_type != PIDTYPE_PID;
	out->signo = o->signum;
	read_unlock_irq(&o->lock);
	return set;
}
int crs_inode_watched(struct file *f) { return READ_ONCE(file_inode(f)->i_fsnotify_mask) != 0; }
void crs_file_set_flags(struct file *f, unsigned int flags)
{
	spin_lock(&f->f_lock);
	f->f_flags = flags;
	f->f_iocb_flags = iocb_flags(f);
	spin_unlock(&f->f_lock);
}
size_t crs_file_fdinfo(struct file *f, u8 *out, size_t size)
{
	struct seq_file m = { .buf = out, .size = size };

	mutex_init(&m.lock);
	if (f->f_op->show_fdinfo)
		f->f_op->show_fdinfo(&m, f);
	return m.count;
}
int crs_epoll_hook(struct file *f, u32 n, u8 *out, u32 before, u32 behind)
{
	struct hlist_node *p;
	int found = 0;

	spin_lock(&f->f_lock);
	if (f->f_ep) {
		hlist_for_each(p, f->f_ep) {
			if (n--)
				continue;
			found = 1;
			copy_from_kernel_nofault(out, (u8 *)p - before, before);
			copy_from_kernel_nofault(out + before, p, behind);
			break;
		}
	}
	spin_unlock(&f->f_lock);
	return found;
}
void crs_iput(struct inode *i) { iput(i); }
u64 crs_inode_ino(struct inode *i) { return i->i_ino; }
u32 crs_inode_dev(struct inode *i) { return i->i_sb->s_dev; }
char *crs_inode_path(struct inode *i, char *buf, int len)
{
	struct dentry *d = d_find_alias(i);
	char *p;

	if (!d)
		return ERR_PTR(-ENOENT);
	p = d_unlinked(d) ? ERR_PTR(-ENOENT) : dentry_path_raw(d, buf, len);
	dput(d);
	return p;
}
void crs_itimers(struct task_struct *t, struct crs_itimer out[3])
{
	struct signal_struct *s = t->signal;
	struct task_cputime_atomic *now = &s->cputimer.cputime_atomic;
	u64 spent[2] = { atomic64_read(&now->utime) + atomic64_read(&now->stime), atomic64_read(&now->utime) };
	int i;

	out[0].armed = hrtimer_active(&s->real_timer) || s->it_real_incr;
	out[0].left_ns = ktime_to_ns(hrtimer_get_remaining(&s->real_timer));
	out[0].interval_ns = ktime_to_ns(s->it_real_incr);
	/* ITIMER_VIRTUAL is 1, ITIMER_PROF is 2; it[] has them by CPU clock: CPUCLOCK_PROF 0, CPUCLOCK_VIRT 1 */
	for (i = 0; i < 2; i++) {
		struct cpu_itimer *it = &s->it[i];

		out[2 - i].armed = it->expires != 0;
		out[2 - i].left_ns = it->expires - spent[i];
		out[2 - i].interval_ns = it->incr;
	}
}
/* The time of CPU clock @which of a thread, or with @group of its process; siglock is held, all threads are frozen. */
static u64 crs_cpu_spent(struct task_struct *t, int which, bool group)
{
	struct signal_struct *s = t->signal;
	struct task_cputime_atomic *now = &s->cputimer.cputime_atomic;
	u64 user = t->utime, system = t->stime, run = t->se.sum_exec_runtime;
	struct task_struct *k;

	if (group && READ_ONCE(s->posix_cputimers.timers_active)) {
		user = atomic64_read(&now->utime);
		system = atomic64_read(&now->stime);
		run = atomic64_read(&now->sum_exec_runtime);
	} else if (group) {
		user = s->utime;
		system = s->stime;
		run = s->sum_sched_runtime;
		__for_each_thread(s, k) {
			user += k->utime;
			system += k->stime;
			run += k->se.sum_exec_runtime;
		}
	}
	return which == CPUCLOCK_SCHED ? run : which == CPUCLOCK_VIRT ? user : user + system;
}
/* A timer of a CPU clock of the process of @t; siglock is held. */
static void crs_cpu_timer(struct task_struct *t, struct k_itimer *k, struct crs_timer *out)
{
	bool thread = CPUCLOCK_PERTHREAD(k->it_clock);
	u64 expires = k->it.cpu.node.expires;
	struct task_struct *of;

	rcu_read_lock();
	of = pid_task(k->it.cpu.pid, thread ? PIDTYPE_PID : PIDTYPE_TGID);
	out->dead = !of || of->exit_state || !same_thread_group(of, t);
	if (!out->dead) {
		if (CPUCLOCK_PID(k->it_clock) || of != t)
			out->clock = (s32)((~(u32)pid_vnr(k->it.cpu.pid) << 3) | (k->it_clock & 7));
		if (expires)
			out->left_ns = expires - crs_cpu_spent(of, CPUCLOCK_WHICH(k->it_clock), !thread);
		/* never armed, yet it has a time */
		if (k->it_sigev_notify == SIGEV_NONE)
			out->status = expires != 0;
	}
	rcu_read_unlock();
}
int crs_timers(struct task_struct *t, struct crs_timer *out, int max)
{
	struct sighand_struct *sighand = crs_lock_task_sighand(t);
	struct k_itimer *k;
	int n = 0;

	if (!sighand)
		return -ESRCH;
	hlist_for_each_entry(k, &t->signal->posix_timers, list) {
		struct crs_timer *o = out + n;
		struct hrtimer *h = &k->it.real.timer;

		if (n++ >= max)
			continue;
		o->id = k->it_id;
		o->clock = k->it_clock;
		o->notify = k->it_sigev_notify;
		o->signo = k->sigq.info.si_signo;
		o->value = (u64)(unsigned long)k->sigq.info.si_value.sival_ptr;
		o->tid = k->it_sigev_notify == (SIGEV_SIGNAL | SIGEV_THREAD_ID) ? pid_vnr(k->it_pid) : 0;
		o->status = k->it_status;
		o->interval_ns = ktime_to_ns(k->it_interval);
		o->wall = 0;
		o->left_ns = 0;
		o->dead = 0;
		if (k->it_clock < 0) {
			crs_cpu_timer(t, k, o);
		} else if (k->it_clock == CLOCK_REALTIME_ALARM || k->it_clock == CLOCK_BOOTTIME_ALARM) {
			o->left_ns = ktime_to_ns(alarm_expires_remaining(&k->it.alarm.alarmtimer));
		} else {
			o->left_ns = ktime_to_ns(hrtimer_get_remaining(h));
			o->wall = k->it_clock == CLOCK_REALTIME && h->base->clockid == CLOCK_REALTIME;
		}
	}
	crs_sigunlock(sighand);
	return n;
}
int crs_stat(const struct path *p, struct crs_stat *out)
{
	struct kstat k;
	int r = vfs_getattr(p, &k, STATX_BASIC_STATS, AT_STATX_SYNC_AS_STAT);

	if (r)
		return r;
	out->dev = huge_encode_dev(k.dev);
	out->rdev = huge_encode_dev(k.rdev);
	out->ino = k.ino;
	out->size = k.size;
	out->mtime_s = k.mtime.tv_sec;
	out->mtime_ns = k.mtime.tv_nsec;
	out->mode = k.mode;
	out->nlink = k.nlink;
	out->uid = crs_from_kuid(k.uid);
	out->gid = crs_from_kgid(k.gid);
	return 0;
}
struct inode *crs_path_inode(const struct path *p) { return d_inode(p->dentry); }
u64 crs_path_magic(const struct path *p) { return p->dentry->d_sb->s_magic; }
int crs_path_noexec(const struct path *p)
{
	return (p->mnt->mnt_flags & MNT_NOEXEC) || (p->mnt->mnt_sb->s_iflags & SB_I_NOEXEC);
}
int crs_path_unlinked(const struct path *p) { return d_unlinked(p->dentry); }
struct page *crs_alloc_page(void) { return alloc_page(GFP_KERNEL_ACCOUNT); }

struct pipe_inode_info *crs_file_pipe(struct file *f)
{
	return S_ISFIFO(file_inode(f)->i_mode) && !(f->f_mode & FMODE_PATH) ? f->private_data : NULL;
}
void crs_pipe(struct pipe_inode_info *p, struct crs_pipe *out)
{
	out->head = p->head;
	out->tail = p->tail;
	out->slots = p->max_usage;
	out->files = p->files;
	out->watch = pipe_has_watch_queue(p);
}
struct pipe_buffer *crs_pipe_buffer(struct pipe_inode_info *p, u32 index) { return pipe_buf(p, index); }
int crs_pipe_confirm(struct pipe_inode_info *p, struct pipe_buffer *buf) { return pipe_buf_confirm(p, buf); }

u64 crs_security_word(struct task_struct *t, size_t word)
{
	const struct cred *cred = get_task_cred(t);
	u64 value = 0;

	if (cred->security && word < ksize(cred->security) / 8)
		value = ((u64 *)cred->security)[word];
	put_cred(cred);
	return value;
}
