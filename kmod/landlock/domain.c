// SPDX-License-Identifier: GPL-2.0
/*
 * Reading a Landlock domain. Its structures are private to security/landlock; this file is built from the source of the
 * very kernel that it is loaded into, with the same configuration, so their layout is that of this kernel. What is read
 * is held against what must hold of every domain; anything else is -EUCLEAN.
 *
 * A domain never changes, and the credentials that are held here keep it, its hierarchy and all their parents.
 */
#include <linux/bvec.h>
#include <linux/cred.h>
#include <linux/slab.h>
#include "shims.h"

#ifdef CONFIG_SECURITY_LANDLOCK
#include <landlock/cred.h>

static int layers(const struct landlock_domain *d, struct crs_landlock *out)
{
	const struct landlock_hierarchy *h = d->hierarchy;
	u32 n = d->num_layers;

	BUILD_BUG_ON(CRS_LANDLOCK_LAYERS != LANDLOCK_MAX_NUM_LAYERS);
	if (!n || n > LANDLOCK_MAX_NUM_LAYERS)
		return -EUCLEAN;
	out->layers = n;
	out->rules = d->rules.num_rules || !RB_EMPTY_ROOT(&d->rules.root_inode);
	while (n--) {
		struct crs_landlock_layer *l = &out->layer[n];

		if (!h)
			return -EUCLEAN;
		l->key = (unsigned long)h;
		l->fs = d->handled_masks[n].fs;
		l->net = d->handled_masks[n].net;
		l->scope = d->handled_masks[n].scope;
#ifdef CONFIG_SECURITY_LANDLOCK_LOG
		l->quiet_fs = h->quiet_masks.fs;
		l->quiet_net = h->quiet_masks.net;
		l->quiet_scope = h->quiet_masks.scope;
		l->log_same_exec = h->log_same_exec;
		l->log_new_exec = h->log_new_exec;
		l->log_disabled = READ_ONCE(h->log_status) == LANDLOCK_LOG_DISABLED;
#endif
		h = h->parent;
	}
	return h ? -EUCLEAN : 1;
}

int crs_landlock_read(struct task_struct *t, size_t word, struct crs_landlock *out)
{
	const struct cred *cred = get_task_cred(t);
	const struct landlock_cred_security *own;
	int r = -EUCLEAN;

	memset(out, 0, sizeof(*out));
	if (cred->security && ksize(cred->security) >= word * 8 + sizeof(*own)) {
		own = cred->security + word * 8;
#ifdef CONFIG_SECURITY_LANDLOCK_LOG
		out->log_subdomains_off = own->log_subdomains_off;
#endif
		r = own->domain ? layers(own->domain, out) : 0;
	}
	put_cred(cred);
	return r;
}
#else
int crs_landlock_read(struct task_struct *t, size_t word, struct crs_landlock *out)
{
	return 0;
}
#endif
