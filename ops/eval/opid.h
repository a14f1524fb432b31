/* opid.h - one enumerator per row of ops.def. The numbers are not stable; files store names.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_OPID_H
#define SARD_OPS_EVAL_OPID_H

#include <stdint.h>

typedef uint16_t OpId;
enum {
  OP_none = 0,
#define OP(name, domain, since, imin, imax, omin, omax, flags, attrs, infer, eval, lower, sig) OP_##name,
#include "ops/ops.def"
#undef OP
  OP_count
};

#endif
