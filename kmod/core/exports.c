// SPDX-License-Identifier: GPL-2.0
/* Exports the functions of include/crkit_abi.h, which exports.rs defines: EXPORT_SYMBOL is a C macro. */
#include <linux/export.h>
#include "crkit_abi.h"

EXPORT_SYMBOL_GPL(cr_register_extension);
EXPORT_SYMBOL_GPL(cr_unregister_extension);
EXPORT_SYMBOL_GPL(cr_register_codec);
EXPORT_SYMBOL_GPL(cr_unregister_codec);
EXPORT_SYMBOL_GPL(cr_report);
EXPORT_SYMBOL_GPL(cr_emit);
EXPORT_SYMBOL_GPL(cr_task);
EXPORT_SYMBOL_GPL(cr_task_count);
EXPORT_SYMBOL_GPL(cr_mm);
EXPORT_SYMBOL_GPL(cr_checkpoint_flags);
EXPORT_SYMBOL_GPL(cr_landlock_word);
EXPORT_SYMBOL_GPL(cr_is_external);
EXPORT_SYMBOL_GPL(cr_object);
EXPORT_SYMBOL_GPL(cr_object_process);
EXPORT_SYMBOL_GPL(cr_number);
EXPORT_SYMBOL_GPL(cr_process);
EXPORT_SYMBOL_GPL(cr_process_count);
EXPORT_SYMBOL_GPL(cr_of_process);
EXPORT_SYMBOL_GPL(cr_put_file);
EXPORT_SYMBOL_GPL(cr_get_file);
EXPORT_SYMBOL_GPL(cr_claim);
EXPORT_SYMBOL_GPL(cr_require);
EXPORT_SYMBOL_GPL(cr_checkpoint_file);
EXPORT_SYMBOL_GPL(cr_bulk_write);
EXPORT_SYMBOL_GPL(cr_section);
EXPORT_SYMBOL_GPL(cr_set_threads);
EXPORT_SYMBOL_GPL(cr_set_min_fd);
EXPORT_SYMBOL_GPL(cr_set_hole);
EXPORT_SYMBOL_GPL(cr_thread_id);
EXPORT_SYMBOL_GPL(cr_mapped_file);
EXPORT_SYMBOL_GPL(cr_files_policy);
EXPORT_SYMBOL_GPL(cr_restart_flags);
EXPORT_SYMBOL_GPL(cr_scratch);
EXPORT_SYMBOL_GPL(cr_restart_file);
EXPORT_SYMBOL_GPL(cr_bulk_read);
