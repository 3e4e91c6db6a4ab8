/* SPDX-License-Identifier: GPL-2.0 */
/* What bindgen reads: kernel headers, the shims and the module ABI. The names that become Rust are in bindings.list. */
#include <linux/bvec.h>
#include <linux/capability.h>
#include <linux/crc32.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/delay.h>
#include <linux/elf.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/hrtimer.h>
#include <linux/jiffies.h>
#include <linux/kmod.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/nsproxy.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/pipe_fs_i.h>
#include <linux/posix-timers.h>
#include <linux/ptrace.h>
#include <linux/regset.h>
#include <linux/rseq.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/user.h>
#include <linux/security.h>
#include <linux/shmem_fs.h>
#include <linux/signal.h>
#include <linux/slab.h>
#include <linux/stat.h>
#include <linux/task_work.h>
#include <linux/time_namespace.h>
#include <linux/timekeeping.h>
#include <linux/uio.h>
#include <linux/utsname.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include <linux/zstd.h>
#include <linux/ksm.h>
#include <linux/rcupdate.h>
#include <linux/rcupdate_wait.h>
#include <uapi/linux/sched/types.h>
#include <asm/ptrace.h>
#include "crkit_abi.h"
#include "shims.h"

/* Constants that bindgen cannot evaluate by itself or that rust/bindgen_parameters blocks. */
static const u64 CR_VM_READ = VM_READ, CR_VM_WRITE = VM_WRITE, CR_VM_EXEC = VM_EXEC, CR_VM_SHARED = VM_SHARED;
static const u64 CR_VM_MAYREAD = VM_MAYREAD, CR_VM_MAYWRITE = VM_MAYWRITE, CR_VM_MAYEXEC = VM_MAYEXEC, CR_VM_MAYSHARE = VM_MAYSHARE;
static const u64 CR_VM_GROWSDOWN = VM_GROWSDOWN, CR_VM_PFNMAP = VM_PFNMAP, CR_VM_LOCKED = VM_LOCKED, CR_VM_IO = VM_IO;
static const u64 CR_VM_SEQ_READ = VM_SEQ_READ, CR_VM_RAND_READ = VM_RAND_READ, CR_VM_DONTCOPY = VM_DONTCOPY;
static const u64 CR_VM_DONTEXPAND = VM_DONTEXPAND, CR_VM_LOCKONFAULT = VM_LOCKONFAULT, CR_VM_ACCOUNT = VM_ACCOUNT;
static const u64 CR_VM_NORESERVE = VM_NORESERVE, CR_VM_HUGETLB = VM_HUGETLB, CR_VM_WIPEONFORK = VM_WIPEONFORK;
static const u64 CR_VM_DONTDUMP = VM_DONTDUMP, CR_VM_MIXEDMAP = VM_MIXEDMAP, CR_VM_HUGEPAGE = VM_HUGEPAGE;
static const u64 CR_VM_NOHUGEPAGE = VM_NOHUGEPAGE, CR_VM_MERGEABLE = VM_MERGEABLE, CR_VM_SEALED = VM_SEALED;
static const u64 CR_VM_UFFD_MISSING = VM_UFFD_MISSING, CR_VM_UFFD_WP = VM_UFFD_WP, CR_VM_UFFD_MINOR = VM_UFFD_MINOR;
static const u64 CR_VM_SHADOW_STACK = VM_SHADOW_STACK, CR_VM_DROPPABLE = VM_DROPPABLE;
static const u64 CR_VM_PKEY_MASK = 0xfULL << VM_PKEY_SHIFT, CR_VM_PKEY_SHIFT = VM_PKEY_SHIFT;
static const u64 CR_PAGE_SIZE = PAGE_SIZE, CR_HZ = HZ;
static const u64 CR_PROC_SUPER_MAGIC = PROC_SUPER_MAGIC;
static const u32 CR_GFP_KERNEL = 0;
static const u32 CR_PARK_STATE = TASK_KILLABLE | TASK_FREEZABLE | TASK_NOLOAD;
static const u32 CR_TASK_INTERRUPTIBLE = TASK_INTERRUPTIBLE, CR_TASK_UNINTERRUPTIBLE = TASK_UNINTERRUPTIBLE, CR_TASK_KILLABLE = TASK_KILLABLE;
static const u32 CR_TASK_STOPPED = __TASK_STOPPED, CR_TASK_TRACED = __TASK_TRACED;
static const u64 CR_USER_CS = __USER_CS, CR_USER_DS = __USER_DS;
static const u32 CR_EXIT_ZOMBIE = EXIT_ZOMBIE;
static const u32 CR_PF_EXITING = PF_EXITING, CR_PF_KTHREAD = PF_KTHREAD, CR_PF_USER_WORKER = PF_USER_WORKER, CR_PF_IO_WORKER = PF_IO_WORKER;
static const u32 CR_ITER_SOURCE = ITER_SOURCE, CR_ITER_DEST = ITER_DEST;
static const u32 CR_FMODE_READ = (__force u32)FMODE_READ, CR_FMODE_WRITE = (__force u32)FMODE_WRITE, CR_FMODE_PATH = (__force u32)FMODE_PATH;
static const u32 CR_MMF_HAS_UPROBES = MMF_HAS_UPROBES, CR_MMF_HAS_MDWE = MMF_HAS_MDWE, CR_MMF_HAS_MDWE_NO_INHERIT = MMF_HAS_MDWE_NO_INHERIT;
static const u32 CR_PFA_SPEC_SSB_DISABLE = PFA_SPEC_SSB_DISABLE, CR_PFA_SPEC_SSB_FORCE_DISABLE = PFA_SPEC_SSB_FORCE_DISABLE;
static const u32 CR_PFA_SPEC_IB_DISABLE = PFA_SPEC_IB_DISABLE, CR_PFA_SPEC_IB_FORCE_DISABLE = PFA_SPEC_IB_FORCE_DISABLE, CR_PFA_SPEC_SSB_NOEXEC = PFA_SPEC_SSB_NOEXEC;
static const u32 CR_PF_MCE_PROCESS = PF_MCE_PROCESS, CR_PF_MCE_EARLY = PF_MCE_EARLY, CR_PF_LOCAL_THROTTLE = PF_LOCAL_THROTTLE;
static const u32 CR_SIGNAL_STOP_STOPPED = SIGNAL_STOP_STOPPED;
static const u64 CR_VM_UFFD_RWP = VM_UFFD_RWP, CR_VM_MAYBE_GUARD = VM_MAYBE_GUARD, CR_VM_SOFTDIRTY = VM_SOFTDIRTY;
static const u32 CR_MMF_DISABLE_THP_COMPLETELY = MMF_DISABLE_THP_COMPLETELY, CR_MMF_DISABLE_THP_EXCEPT_ADVISED = MMF_DISABLE_THP_EXCEPT_ADVISED;
static const u32 CR_MMF_VM_MERGE_ANY = MMF_VM_MERGE_ANY;
static const u32 CR_MMF_DUMP_FILTER_SHIFT = MMF_DUMP_FILTER_SHIFT, CR_MMF_DUMP_FILTER_BITS = MMF_DUMP_FILTER_BITS;
static const u32 CR_LOOKUP_FOLLOW = LOOKUP_FOLLOW;
static const u32 CR_RLIM_NLIMITS = RLIM_NLIMITS;
static const u32 CR_SIGNAL_GROUP_EXIT = SIGNAL_GROUP_EXIT;
