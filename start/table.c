/* table.c - the functions of a compiled model as a table, for dlopen.
 * SPDX-License-Identifier: Apache-2.0 */
#include "start/call.h"

#include "runtime/package.h"

#define QUERIES                                                                                                        \
  .error = compiled_error, .input_count = compiled_input_count, .output_count = compiled_output_count,                 \
  .input = compiled_input, .output = compiled_output, .input_dim_text = compiled_input_dim_text,                       \
  .output_dim_text = compiled_output_dim_text, .symbol_count = compiled_symbol_count,                                  \
  .symbol_name = compiled_symbol_name, .call = compiled_call, .call_into = compiled_call_into,                         \
  .result_tensor = sard_result_tensor, .result_items = sard_result_items, .result_item = sard_result_item,             \
  .result_free = sard_result_free, .run = compiled_run, .output_shape = compiled_output_shape,                         \
  .memory_peak = compiled_memory_peak

static const char *model_name(void) {
  const PackageHeader *h = (const PackageHeader *)(const void *)compiled_package;
  return (const char *)compiled_package + h->name;
}

const sard_compiled_api *compiled_api(void) {
  static const sard_compiled_api api = {
      .size = sizeof api, .name = model_name, .init = compiled_init, .free = compiled_free, QUERIES};
  return &api;
}

/* As the model wants it whose caller gives all memory. */
const sard_compiled_api *compiled_api_static(void) {
  static const sard_compiled_api api = {.size = sizeof api,
                                        .name = model_name,
                                        .init_static = compiled_init_static,
                                        .free = compiled_free_static,
                                        QUERIES};
  return &api;
}
