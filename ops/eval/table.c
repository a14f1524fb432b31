/* table.c - the table of reference evaluators.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/eval.h"

#define OP(name, domain, since, imin, imax, omin, omax, flags, attrs, infer, eval, lower, sig) Status eval(Eval *e);
#include "ops/ops.def"
#undef OP

#define no_eval NULL
const EvalRow eval_rows[OP_count] = {
#define OP(name, domain, since, imin, imax, omin, omax, flags, attrs, infer, eval, lower, sig)                         \
  [OP_##name] = {domain, #name, &attrs##_attrs, eval},
#include "ops/ops.def"
#undef OP
};
