/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Macros and inline functions of the kernel, wrapped so that Rust can call them.
 * Nothing here decides anything: a function that needs an `if` belongs in Rust.
 * (The one exception is crs_walk, a page-table walk made of nothing but macros.)
 */
#ifndef CRKIT_SHIMS_H
#define CRKIT_SHIMS_H
#include <linux/sched.h>
#include <linux/wait.h>
#include <linux/fs.h>
#include <linux/mm_types.h>
#include <linux/cred.h>

/* <linux/sched.h>, <linux/sched/task.h>, <linux/sched/signal.h>, <linux/pid.h> */
struct task_struct *crs_current(void);
void crs_get_task(struct task_struct *t);
void crs_put_task(struct task_struct *t);
int crs_threads(struct task_struct *p, struct task_struct **out, int max);
/* Processes whose parent is in the thread group of p: fills thread group ids as p's namespace sees them. */
int crs_children(struct task_struct *p, int *tgids, int max);
int crs_descend(struct task_struct **set, int n, struct task_struct **out, int max);
struct task_struct *crs_parent(struct task_struct *p);
int crs_in_vfork(struct task_struct *p);
int crs_wait_status(struct task_struct *p);
void crs_set_exit_code(struct task_struct *t, int code);
void crs_set_exit_signal(struct task_struct *t, int sig);
/* Other thread groups that use mm: fills tgids as the caller's namespace sees them. */
int crs_mm_sharers(struct task_struct *p, struct mm_struct *mm, int *tgids, int max);
struct pt_regs *crs_pt_regs(struct task_struct *t);
int crs_pid_vnr(struct task_struct *t);
int crs_tgid_vnr(struct task_struct *t);
int crs_ppid_vnr(struct task_struct *t);
int crs_pgrp_vnr(struct task_struct *t);
int crs_in_scope(int session, int id, struct task_struct **out, int max);	/* processes of it, referenced; how many */
int crs_session_vnr(struct task_struct *t);
int crs_leaderless(struct task_struct *t, int session);	/* processes of its group or session, if the leader has ended; else 0 */
int crs_nr_threads(struct task_struct *t);
int crs_signal_pending_current(void);
int crs_fatal_signal_pending_current(void);
int crs_task_sigpending(struct task_struct *t);
unsigned int crs_task_state(struct task_struct *t);
int crs_task_on_cpu_acquire(struct task_struct *t);
int crs_test_restore_sigmask(struct task_struct *t);
void crs_set_restore_sigmask(void);
void crs_set_notify_signal_current(void);	/* run the signal and restart code before user mode */
void crs_clear_notify_signal_current(void);	/* what is not a signal does not interrupt a sleep any more */
int crs_task_work_pending_current(void);
void crs_siglock(struct sighand_struct *s);
void crs_sigunlock(struct sighand_struct *s);
int crs_task_nice(struct task_struct *t);
/* Does this proc file system show the pid namespace of current? */
int crs_proc_is_of_current(struct file *f);
/* Number of the process or thread behind a pidfd, as current's namespace sees it; 0: it was waited for, or is not seen there. */
int crs_pidfd_pid(struct file *f);
/* <linux/seccomp.h>: the mode of a task; no judgement of current until crs_seccomp_resume, on a task that is switched out. */
unsigned int crs_seccomp_mode(struct task_struct *t);
void crs_seccomp_suspend(void);
void crs_seccomp_resume(struct task_struct *t, unsigned int mode);
void crs_rseq_reset_current(void);
int crs_is_compat_task(struct task_struct *t);
int crs_shstk_enabled(struct task_struct *t);
int crs_task_has_io_bitmap(struct task_struct *t);
int crs_tsc_mode_disabled(struct task_struct *t);
int crs_cpuid_faulting(struct task_struct *t);
int crs_no_new_privs(struct task_struct *t);
const struct cred *crs_task_cred_get(struct task_struct *t);
void crs_put_cred(const struct cred *c);
/* Namespaces of a task, to be compared with another task's, never followed: no reference is held. */
struct crs_namespaces {
	const void *uts, *ipc, *mnt, *pid, *pid_for_children, *net, *cgroup, *time, *time_for_children, *user;
	long long monotonic_ns, boottime_ns;	/* offsets of the time namespace */
};
int crs_namespaces(struct task_struct *t, struct crs_namespaces *out);	/* -ESRCH when exiting */
unsigned int crs_from_kuid(kuid_t uid);
unsigned int crs_from_kgid(kgid_t gid);

/* <linux/mm.h> */
int crs_mmap_read_lock_killable(struct mm_struct *mm);
void crs_mmap_read_unlock(struct mm_struct *mm);
u64 crs_vma_flags(struct vm_area_struct *vma);
const char *crs_vma_special_name(struct vm_area_struct *vma);
const char *crs_vma_anon_name(struct vm_area_struct *vma);
int crs_mm_users(struct mm_struct *mm);
void crs_put_page(struct page *p);
void *crs_kmap_local(struct page *p);
void crs_kunmap_local(const void *addr);
#define CRS_ABSENT  0	/* nothing mapped; *next skips the hole */
#define CRS_ANON    1
#define CRS_FILE    2	/* page of a file or of shmem */
#define CRS_ZERO    3	/* the shared zero page */
#define CRS_SWAP    4	/* swapped out, migrating or a marker */
#define CRS_SPECIAL 5
#define CRS_GUARD   6	/* a guard page of MADV_GUARD_INSTALL */
int crs_walk(struct mm_struct *mm, unsigned long addr, unsigned long *next);
int crs_walk_huge(struct mm_struct *mm, unsigned long addr);	/* an anonymous transparent huge page */
void crs_thp_disable(int disable);	/* for faults of the current task, as PR_SET_THP_DISABLE */

/* <linux/fs.h>, <linux/fdtable.h> */
struct inode *crs_file_inode(struct file *f);
long crs_file_count(struct file *f);
int crs_close_on_exec(struct files_struct *files, unsigned int fd);
int crs_d_unlinked(struct dentry *d);
int crs_is_err(const void *p);
long crs_ptr_err(const void *p);
void crs_get_file(struct file *f);
int crs_fs_paths(struct task_struct *t, struct path *pwd, struct path *root, int *umask);
void crs_path_put(struct path *p);

/* <linux/uio.h> and friends */
void crs_bvec_set(struct bio_vec *bv, struct page *p, unsigned int len, unsigned int off);
struct page *crs_virt_to_page(const void *p);

/* user memory and misc */
unsigned long crs_copy_to_user(void __user *to, const void *from, unsigned long n);
unsigned long crs_copy_from_user(void *to, const void __user *from, unsigned long n);
u64 crs_xfeatures_user(void);
u64 crs_task_size_max(void);
void crs_cond_resched(void);
const char *crs_kernel_release(void);
const char *crs_kernel_version(void);
const char *crs_kernel_machine(void);
const char *crs_hostname(void);
unsigned long crs_irq_save(void);
void crs_irq_restore(unsigned long flags);

/* Tasks, signals and credentials of a frozen task (modules tasks, signals, creds, limits) */
struct kernel_siginfo;
struct k_sigaction;
struct sched_attr;
struct sigpending;
int crs_task_dumpable(struct task_struct *t);		/* TASK_DUMPABLE_* */
void crs_set_current_dumpable(int value);
/* Locks siglock with interrupts off; NULL when the task has exited. Unlock with crs_sigunlock. */
struct sighand_struct *crs_lock_task_sighand(struct task_struct *t);
/* The same, and NULL also when t is dying: while it is held nobody can kill t, so that its stack stays. */
struct sighand_struct *crs_hold_task(struct task_struct *t);
/* siglock held: copies the first max queued signals, returns how many there are. */
int crs_sigpending_copy(struct sigpending *pending, struct kernel_siginfo *out, int max);
/* Other processes that share sighand, files or fs with t: fills tgids as the caller's namespace sees them. */
#define CRS_SHARE_SIGHAND 0
#define CRS_SHARE_FILES   1
#define CRS_SHARE_FS      2
int crs_sharers(struct task_struct *t, int what, int *tgids, int max);
int crs_tls_entries(struct task_struct *t);		/* set_thread_area() entries in use */
int crs_hw_breakpoints(struct task_struct *t);
int crs_dynamic_xfeatures(struct task_struct *t);	/* has permission for AMX and the like */
int crs_mm_has_ldt(struct mm_struct *mm);
int crs_mm_lam(struct mm_struct *mm);			/* linear address masking */
int crs_mm_flag(struct mm_struct *mm, int bit);
unsigned int crs_mm_membarrier(struct mm_struct *mm);	/* MEMBARRIER_STATE_* */
struct file *crs_mm_exe_file(struct mm_struct *mm);	/* with a reference, or NULL */
int crs_io_uring_active(struct task_struct *t);		/* has used a ring that still exists */
int crs_io_uring_restricted(struct task_struct *t);
int crs_perf_events(struct task_struct *t);
int crs_sem_undo(struct task_struct *t);
int crs_core_sched_cookie(struct task_struct *t);
int crs_syscall_user_dispatch(struct task_struct *t);
/* Path of the control group (unified hierarchy) below the caller's root: its length, or a negative error. */
int crs_cgroup_path(struct task_struct *t, char *out, int len);
int crs_same_cgroup(struct task_struct *a, struct task_struct *b);
/* set_mempolicy(2): mode with its flags, 0 the default; `nodes` has room for `len` bytes. */
int crs_mempolicy(struct task_struct *t, void *nodes, int len);
/* Clamps that were asked for: 1 the least, 2 the most. */
int crs_uclamp(struct task_struct *t, u32 *min, u32 *max);
int crs_timer_ids(struct task_struct *t);		/* PR_TIMER_CREATE_RESTORE_IDS */
void crs_set_current_timer_ids(int on);
int crs_io_priority(struct task_struct *t);		/* as ioprio_get(2) */
/* rseq(2): 1 when an area is registered. */
int crs_rseq(struct task_struct *t, unsigned long *ptr, u32 *len, u32 *sig);
void crs_rlimits(struct task_struct *t, struct rlimit *out);	/* RLIM_NLIMITS entries */
/* As sched_getattr(2), without utilization clamps. */
void crs_sched_attr(struct task_struct *t, struct sched_attr *out);
/* CPUs: bytes written; *pinned is 1 when the task asked for them. */
int crs_affinity(struct task_struct *t, void *out, int len, int *pinned);
int crs_nr_cpu_ids(void);
/* 1 when the security modules label t and the current task differently. */
int crs_security_label_differs(struct task_struct *t);
int crs_security_label(struct task_struct *t, char *out, int len);	/* bytes written or -errno */
/* Stores what the thread had in its segment registers; t is switched out. */
void crs_set_segments(struct task_struct *t, unsigned long fs_base, unsigned long gs_base, const unsigned short sel[4]);

/* Memory: the address space as a whole, files as mappings see them, shared anonymous memory (module memory) */
#define CRS_AUXV_MAX 64
struct crs_mm_facts {
	u64 start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
	u64 arg_start, arg_end, env_start, env_end;
	u64 vdso;
	u64 flags;			/* MMF_* */
	u64 def_flags;			/* VM_* of later mappings */
	u64 auxv[CRS_AUXV_MAX];
	u32 auxv_len;
	u32 pkeys;			/* allocated protection keys, bit per key; key 0 always is */
	u32 exec_pkey;			/* the one of execute-only memory, 0 none */
	u32 aio;			/* io_setup() contexts */
};
void crs_mm_facts(struct mm_struct *mm, struct crs_mm_facts *out);
/* mbind(2) of private memory: mode with its flags, 0 none; *home is -1 without a home node. Under the mmap lock. */
int crs_vma_policy(struct vm_area_struct *vma, void *nodes, int len, int *home);
unsigned long crs_vma_huge(struct vm_area_struct *vma);	/* bytes of its huge pages of hugetlbfs, 0 if it has none */
void crs_set_coredump_filter(unsigned int filter);	/* of the current task */
struct crs_file_facts {
	u64 magic;			/* of the file system */
	u64 size;
	u32 mode, rdev;
	u32 internal;			/* has never had a path */
	u32 private;			/* S_PRIVATE */
	u32 unlinked;
};
/* As the user knows the file: overlay file systems map another one. */
void crs_file_facts(struct file *f, struct crs_file_facts *out);
struct crs_memory_file {
	u64 huge;			/* bytes of its huge pages, 0 for normal ones */
	u32 seals;			/* F_SEAL_* */
};
void crs_memory_file(struct file *f, struct crs_memory_file *out);	/* a regular file */
struct inode *crs_file_user_inode(struct file *f);
void crs_file_path(struct file *f, struct path *out);	/* with references */
char *crs_file_user_path(struct file *f, char *buf, int len);
int crs_vfs_stat(struct file *f, struct kstat *out);
struct file *crs_shared_anon_file(u64 size, int noreserve);
int crs_is_shmem(struct file *f);
/* Moves *index to the next page that the object has, resident or swapped out; 0 when there is none up to max. */
int crs_shmem_next(struct file *f, unsigned long *index, unsigned long max);
struct page *crs_shmem_page(struct file *f, unsigned long index);	/* with a reference, or an error pointer */
int crs_page_anon(struct page *p);

/* Open files (modules files and pipes, samples) */
struct pipe_buffer;
struct pipe_inode_info;
struct crs_open_file {
	u64 magic;		/* s_magic */
	u64 rdev;		/* as stat(2) gives it */
	u32 mode, nlink;
	u32 dentry_count;	/* open files with this dentry, and passing users */
	u32 unlinked;		/* this name has been removed */
	u32 fs_root;		/* the root of its file system */
	u32 internal;		/* has never had a path */
	u32 silly;		/* renamed by NFS because it was removed while open */
};
/* As the user knows the file: of what an overlay maps, the file of the overlay. */
void crs_open_file(struct file *f, struct crs_open_file *out);
u32 crs_file_name(struct file *f, u8 *out, u32 max);	/* of its dentry, cut off at max; returns the length */
#define CRS_LOCK_POSIX 1
#define CRS_LOCK_OFD   2
#define CRS_LOCK_FLOCK 4
#define CRS_LOCK_LEASE 8
int crs_file_locks(struct file *f, struct files_struct *files);
struct crs_owner {
	s32 pid;		/* as the caller's pid namespace sees it, 0: nobody, or outside of it */
	u32 alive;
	u32 kind;		/* F_OWNER_* */
	s32 signo;
	u32 uid, euid;		/* of whoever set it */
};
int crs_file_owner(struct file *f, struct crs_owner *out);	/* 0: neither F_SETOWN nor F_SETSIG */
int crs_inode_watched(struct file *f);				/* dnotify, inotify, fanotify or audit */
void crs_file_set_flags(struct file *f, unsigned int flags);
size_t crs_file_fdinfo(struct file *f, u8 *out, size_t size);	/* what it adds; size when it did not fit */
/* Copies the memory around the n-th hook by which f knows the event polls that watch it; 0 when there is none. */
int crs_epoll_hook(struct file *f, u32 n, u8 *out, u32 before, u32 behind);
/* Inodes */
void crs_iput(struct inode *i);
u64 crs_inode_ino(struct inode *i);
u32 crs_inode_dev(struct inode *i);			/* as the kernel keeps it */
/* A path in its file system, by any of its names: an error pointer with -ENOENT when the kernel knows none now. */
char *crs_inode_path(struct inode *i, char *buf, int len);
/* The timers of a frozen process; times in nanoseconds. */
struct crs_itimer {
	s64 left_ns, interval_ns;
	u32 armed;
};
void crs_itimers(struct task_struct *t, struct crs_itimer out[3]);
struct crs_timer {
	s64 left_ns, interval_ns;
	u64 value;		/* sigev_value */
	u32 id, notify, signo, tid, status;
	u32 wall;		/* set as a time of the wall clock */
	s32 clock;		/* of CPU time: with the id of what it is of, unless it is the process or its main thread */
	u32 dead;		/* what it measures has ended, or is none of this process */
};
int crs_timers(struct task_struct *t, struct crs_timer *out, int max);	/* how many there are, -ESRCH */
struct crs_lock {
	u64 key;		/* tells locks apart while the process is frozen; never for an image */
	u64 start, last;	/* bytes */
	u32 kind;		/* 0 POSIX, 1 open file description, 2 flock */
	u32 exclusive;
};
int crs_locks(struct file *f, struct files_struct *files, struct crs_lock *out, int max);	/* how many there are */
struct crs_stat {
	u64 dev, rdev;		/* as stat(2) gives them */
	u64 ino, size, mtime_ns;
	s64 mtime_s;
	u32 mode, nlink;
	u32 uid, gid;		/* as the namespace of current has them */
};
int crs_stat(const struct path *p, struct crs_stat *out);
struct inode *crs_path_inode(const struct path *p);
u64 crs_path_magic(const struct path *p);
int crs_path_noexec(const struct path *p);
int crs_path_unlinked(const struct path *p);
struct page *crs_alloc_page(void);
/* Rings of io_uring (module uring). Addresses are only compared. */
#define CRS_RING_INDICES 16
/* Contexts of the rings that t has used, and the rings it has registered by index, 0 where none: return how many. */
int crs_uring_used(struct task_struct *t, unsigned long *out, int max);
int crs_uring_registered(struct task_struct *t, unsigned long out[CRS_RING_INDICES]);
long crs_uring_in_flight(struct task_struct *t);	/* requests of t, which is frozen; -EBUSY */
#define CRS_RING_FILES         1
#define CRS_RING_BUFFERS       2
#define CRS_RING_EVENTFD       4	/* one that is not understood */
#define CRS_RING_PERSONALITIES 8
#define CRS_RING_PROVIDED      16
#define CRS_RING_ZCRX          32
#define CRS_RING_RESTRICTIONS  64
#define CRS_RING_WORKERS       128
#define CRS_RING_CLOCK         256
#define CRS_RING_REGION        512
#define CRS_RING_BPF           1024
#define CRS_RING_NAPI          2048
#define CRS_RING_COMPAT        4096
#define CRS_RING_OVERFLOW      8192
struct crs_uring {
	unsigned long ctx;
	struct task_struct *submitter;
	u32 flags;			/* IORING_SETUP_* */
	u32 sq_entries, cq_entries;
	u32 sq_head, cq_tail;		/* as the kernel counts */
	u32 ring_pages, sqe_pages;
	u32 has;			/* CRS_RING_* */
	u32 eventfd_async;
	unsigned long eventfd;		/* address of the counter's context, 0 if none is told */
};
/* A file of [io_uring]. -EBUSY when something is at work in the ring. */
int crs_uring(struct file *f, struct crs_uring *out);
/* Sets where a ring that has never been used stands. */
void crs_uring_set(struct file *f, u32 sq_head, u32 cq_tail);
/* Pipes: all but crs_file_pipe under pipe_lock() */
struct pipe_inode_info *crs_file_pipe(struct file *f);	/* NULL when it is none, or O_PATH */
struct crs_pipe {
	u32 head, tail, slots, files;
	u32 watch;		/* a watch queue */
};
void crs_pipe(struct pipe_inode_info *p, struct crs_pipe *out);
struct pipe_buffer *crs_pipe_buffer(struct pipe_inode_info *p, u32 index);
int crs_pipe_confirm(struct pipe_inode_info *p, struct pipe_buffer *buf);
/* Landlock: the word of the security blob of t's credentials; 0 behind its end. */
u64 crs_security_word(struct task_struct *t, size_t word);
#define CRS_LANDLOCK_LAYERS 16
struct crs_landlock_layer {
	u64 key;	/* identifies the layer, as long as it lives */
	u32 fs, net, scope, quiet_fs, quiet_net, quiet_scope;
	u8 log_same_exec, log_new_exec, log_disabled;
};
struct crs_landlock {
	u32 layers, rules;
	u8 log_subdomains_off;
	struct crs_landlock_layer layer[CRS_LANDLOCK_LAYERS];
};
/* Instances of inotify, in inotify/queue.c; only cr_inotify has them. f is always one. */
u32 crs_inotify_cursor(struct file *f);
struct inode *crs_inotify_inode(struct file *f, int wd);	/* with a reference, or NULL */
/* Copies the queue: mask, watch descriptor, cookie, length of the name, name. Returns how many bytes it has. */
size_t crs_inotify_events(struct file *f, u8 *out, size_t size);
/* Appends an event of a watch, or an overflow, to the queue. name is NUL-terminated behind len. */
int crs_inotify_queue(struct file *f, int wd, u32 mask, u32 cookie, const u8 *name, u32 len);
int crs_inotify_overflow(struct file *f);
u32 crs_inotify_limit(struct file *f, u32 events);	/* sets the length of the queue, returns the old one */
/* Filter number `level` of a task, 0 the last one, in seccomp/filter.c: 1, 0 if there is none, or a negative error. `len` instructions
 * are in `program`; 0 if it has more than `room`, or is not classic BPF. Only cr_seccomp and the core have these two. */
struct crs_seccomp {
	u64 key;
	u32 len, log, listener;
};
struct sock_filter;
int crs_seccomp_filter(struct task_struct *t, u32 level, struct crs_seccomp *out, struct sock_filter *program, u32 room);
/* Do the filters of current allow restart_syscall(2), whatever its arguments? */
int crs_seccomp_may_restart(void);
/* The domain behind that word, in landlock/domain.c: 1, 0 for none, or a negative error. Only cr_landlock has it. */
int crs_landlock_read(struct task_struct *t, size_t word, struct crs_landlock *out);

#endif
