/* items.h - sequences and optionals as outputs: deep copies, as a step's outputs may outlive its inputs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_ITEMS_H
#define SARD_OPS_EVAL_ITEMS_H

#include "ops/eval/eval.h"

/* Output i: a copy of the container x. */
Status items_copy(Eval *e, int i, const Tensor *x);

#endif
