/* api.c - the entry of libsard-npz.so.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/npz/api.h"

static const NpzApi api = {NPZ_BUILD, npz_open, npz_close, npz_name, npz_find, npz_read, npz_write};

__attribute__((visibility("default"))) const NpzApi *sard_npz_api(void);
__attribute__((visibility("default"))) const NpzApi *sard_npz_api(void) { return &api; }
