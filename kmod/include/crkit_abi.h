/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C ABI between cr_core.ko and its extension modules.
 *
 * Rust-to-Rust linkage between modules is not stable, so what crosses a module
 * boundary is this header: one table of functions per extension, and the
 * functions the core exports. The Rust side of both is the crate `crkit`
 * (kmod/crkit), which turns them into one safe trait; an extension written in
 * Rust never sees this file. All functions may sleep unless said otherwise.
 * Errors are negative errnos; a failed call has left a record in the session's
 * report (cr_report) that says cause and place.
 */
#ifndef CRKIT_ABI_H
#define CRKIT_ABI_H

#include <linux/types.h>

struct cr_session;	/* one process of a checkpoint or restart in progress; opaque */
struct file;
struct module;
struct mm_struct;
struct page;
struct pt_regs;
struct task_struct;

#define CR_ABI 3

/* Phases of a restart; every extension's step() runs in each, in order of `order`. */
#define CR_PHASE_PROCESS 0	/* leader only, before page data is read */
#define CR_PHASE_FILLED  1	/* leader only, page data is in place and the image is verified to its end */
#define CR_PHASE_THREAD  2	/* every thread, when all of them exist */
#define CR_PHASE_LATE    3	/* every thread, after all finished CR_PHASE_THREAD */
#define CR_PHASES        4

/* A system call the restarted task is to make by itself. */
struct cr_syscall {
	long nr;
	unsigned long args[6];
};

/* One run of pages in a PAGE chunk. */
#define CR_RUN_DATA      0	/* stored in the chunk */
#define CR_RUN_ZERO      1	/* all bytes zero, nothing stored */
#define CR_RUN_DUPLICATE 2	/* every page equals the page at `source`, nothing stored; restart only */
struct cr_run {
	u64 start;	/* address or byte offset of the first page */
	u32 npages;	/* of CR_RUN_DATA at most CR_PAGES_PER_CHUNK in a chunk, of the others any number */
	u32 kind;	/* CR_RUN_* */
	u64 source;	/* CR_RUN_DUPLICATE: a page of an earlier CR_RUN_DATA run of the same chunk; else 0 */
};

#define CR_RUNS_PER_CHUNK  168
#define CR_PAGES_PER_CHUNK 256

struct cr_extension_ops {
	u32 abi;		/* CR_ABI */
	u32 order;		/* extensions work in ascending order */
	u16 section;		/* section id in the image */
	u16 reserved;
	u32 schema_len;
	const char *word;
	struct module *owner;
	const u8 *schema;	/* records of section `schema` that describe ours */

	/* Checkpoint. All tasks of the session are frozen; emit records, report obstacles. */
	int (*checkpoint)(struct cr_session *s);
	/* Checkpoint, after all records are out: stream page data (cr_bulk_write). */
	int (*bulk)(struct cr_session *s);
	/* Does this extension keep this open file? Must not sleep or change anything. */
	int (*claims)(struct file *file);
	/* Checkpoint of one claimed file, known as object `id`. */
	int (*checkpoint_file)(struct cr_session *s, struct file *file, u32 id);

	/* Restart: check every record, reserve what can run out; nothing is visible yet. */
	int (*prepare)(struct cr_session *s, void **state);
	/* Runs in the context of thread number `task` (0 is the leader). `step` counts from 0 in each phase,
	 * `prev` is the result of the previous system call. Returns 1: make `call`, then call me again;
	 * 0: finished with this phase. */
	int (*step)(struct cr_session *s, void *state, u32 phase, u32 task, u32 step, long prev, struct cr_syscall *call);
	/* Leader, CR_PHASE_PROCESS: make the claimed file object `id`; the caller gets the reference. */
	int (*restart_file)(struct cr_session *s, void *state, u32 id, struct file **file);
	/* Leader: one PAGE chunk of our section. Take the contents of all runs but those of zero, in order, with
	 * cr_bulk_read: the core decodes what is compressed and repeats what is duplicate. */
	int (*fill)(struct cr_session *s, void *state, u32 owner, const struct cr_run *runs, u32 nruns);
	/* The coordinator, from outside, on a switched-out thread that will next run commit_regs. */
	int (*commit_outside)(struct cr_session *s, void *state, u32 task, struct task_struct *t);
	/* The thread itself, last of all, on its way to user mode. Cannot fail. */
	void (*commit_regs)(struct cr_session *s, void *state, u32 task, struct pt_regs *regs);
	/* End of the session, successful or not. */
	void (*release)(void *state);
};

/* A codec for page data: keeps no state but the memory that the core gives it. Module alias crcodec-<name>. */
struct cr_codec_ops {
	u32 abi;		/* CR_ABI */
	u16 codec;		/* as chunk headers have it */
	u16 reserved;
	u32 max_level;		/* levels are 1 to this */
	const char *name;
	struct module *owner;
	/* Bytes of workspace for up to `max_len` bytes; level 0: for decoding. 0: cannot be done. */
	size_t (*workspace)(u32 level, u32 max_len);
	/* Decodes one frame; returns its decoded length, or -EUCLEAN if it is damaged or does not fit. The workspace
	 * is aligned to 8 bytes; src is untrusted, but nobody changes it meanwhile. */
	long (*decode)(void *workspace, size_t workspace_len, void *dst, u32 dst_len, const void *src, u32 src_len);
	/* Encodes to one frame as the image format wants it; returns its length, or -ENOSPC if it does not fit. */
	long (*encode)(void *workspace, size_t workspace_len, u32 level, void *dst, u32 dst_len, const void *src,
		       u32 src_len);
};

/* ---- exported by the core ---- */
int cr_register_extension(const struct cr_extension_ops *ops);
void cr_unregister_extension(const struct cr_extension_ops *ops);
int cr_register_codec(const struct cr_codec_ops *ops);
void cr_unregister_codec(const struct cr_codec_ops *ops);

/* Both directions */
#define CR_REPORT_OBSTACLE 1
#define CR_REPORT_FAILURE  2
#define CR_REPORT_EXTERNAL 3
#define CR_REPORT_NOTE     4
int cr_report(struct cr_session *s, u32 kind, const u8 *record, size_t len);

/* The process that `s` is about: its number (0 is the first), and how many there are. */
u32 cr_process(struct cr_session *s);
u32 cr_process_count(struct cr_session *s);

/* Checkpoint. Records emitted in checkpoint_file() are about what processes share, all others about the process. */
struct cr_session *cr_of_process(struct cr_session *s, u32 number);	/* another one; NULL behind the last */
int cr_emit(struct cr_session *s, u16 section, const u8 *record, size_t len);
struct task_struct *cr_task(struct cr_session *s, u32 index);	/* frozen; 0 is the leader, or another thread if that has ended alone; NULL behind the last */
u32 cr_task_count(struct cr_session *s);
struct mm_struct *cr_mm(struct cr_session *s);
u32 cr_checkpoint_flags(struct cr_session *s);
/* Where a Landlock domain is to be looked for: number of the word in the security blob; -1 if none is to be kept. */
int cr_landlock_word(struct cr_session *s);
int cr_is_external(struct cr_session *s, u32 fd);
/* Numbers objects: the same (section, key) gets the same id. Returns 1 when new, 0 when known. */
int cr_object(struct cr_session *s, u16 section, u64 key, u32 *id);
/* The next number, from 1, of the process in numbering `space`. */
int cr_number(struct cr_session *s, u16 space, u32 *number);
/* The process that a numbered object was found in: 1, or 0 if it has no number. */
int cr_object_process(struct cr_session *s, u16 section, u64 key, u32 *process);
/* Finds (and loads) the extension that keeps `file`; 1 and its section, or 0. `kind` names the file's
 * kind for the module alias crext-file-<kind>. */
int cr_claim(struct cr_session *s, struct file *file, const char *kind, u16 *section);
/* The extension with this resource word takes part: loads it, and lets it emit its records now if it has not
 * yet. 1 and its section, or 0 when there is none. */
int cr_require(struct cr_session *s, const char *word, u16 *section);
int cr_checkpoint_file(struct cr_session *s, u16 section, struct file *file, u32 id);
/* One PAGE chunk; the pages stay the caller's. `npages` is the sum over the runs of data; there are no duplicates. */
int cr_bulk_write(struct cr_session *s, u16 section, u32 owner, const struct cr_run *runs, u32 nruns,
		  struct page **pages, u32 npages);

/* Restart */
const u8 *cr_section(struct cr_session *s, u32 process, u16 section, size_t *len);	/* 0: also what all share */
int cr_set_threads(struct cr_session *s, const u32 *tids, u32 count);	/* leader first */
int cr_set_min_fd(struct cr_session *s, u32 min_fd);
int cr_set_hole(struct cr_session *s, u64 start, u64 end);	/* free range for the restart stub */
u32 cr_thread_id(struct cr_session *s, u32 task);
struct file *cr_mapped_file(struct cr_session *s, u32 fd);	/* with a reference, or NULL */
u32 cr_files_policy(struct cr_session *s);
u32 cr_restart_flags(struct cr_session *s);	/* RESTART_* of the caller */
unsigned long cr_scratch(struct cr_session *s, u32 task, size_t *len);	/* user memory for arguments */
int cr_restart_file(struct cr_session *s, u16 section, u32 id, struct file **file);
/* Open files that one process makes for others, in CR_PHASE_PROCESS: whoever gets one waits for it. A process puts all that
 * it makes before it gets any, and gets only what processes with lower numbers put: others may not be born yet. */
int cr_put_file(struct cr_session *s, u16 section, u32 id, struct file *file);
int cr_get_file(struct cr_session *s, u16 section, u32 id, struct file **file);
/* In fill(): the contents of the next pages, in the order of the runs that are not zero; at most
 * CR_PAGES_PER_CHUNK pages in a call. All must have been taken when fill() returns. */
int cr_bulk_read(struct cr_session *s, struct page **pages, u32 npages);

#endif
