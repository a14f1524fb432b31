/* call.h - the functions that compiled models export, under names that begin with their prefix.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_START_CALL_H
#define SARD_START_CALL_H

#include "start/start.h"

/* The model's own structs: symbols and pointers, see gather in call.c. */
sard_status compiled_run(const sard_compiled *m, const void *in, const void *out);
sard_status compiled_output_shape(const sard_compiled *m, const void *in, size_t output, int64_t *dim, int32_t *rank);
sard_status compiled_call(const sard_compiled *m, const sard_tensor *in, size_t n, sard_result **out);
sard_status compiled_call_into(const sard_compiled *m, const sard_tensor *in, size_t n, const sard_tensor *out,
                               size_t nout);
size_t compiled_input_count(const sard_compiled *m);
size_t compiled_output_count(const sard_compiled *m);
sard_status compiled_input(const sard_compiled *m, size_t i, sard_io *io);
sard_status compiled_output(const sard_compiled *m, size_t i, sard_io *io);
const char *compiled_input_dim_text(const sard_compiled *m, size_t i, int axis);
const char *compiled_output_dim_text(const sard_compiled *m, size_t i, int axis);
size_t compiled_symbol_count(const sard_compiled *m);
const char *compiled_symbol_name(const sard_compiled *m, size_t i);
size_t compiled_memory_peak(const sard_compiled *m);
const sard_compiled_api *compiled_api(void);
const sard_compiled_api *compiled_api_static(void);

#endif
