/* items.h - sequences and optionals as outputs: deep copies, as a step's outputs may outlive its inputs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_ITEMS_H
#define SARD_OPS_EVAL_ITEMS_H

#include "ops/eval/eval.h"

/* A copy in e->keep of a tensor with its strings, or of a container with its items. */
Status item_copy(Eval *e, const Tensor *x, Tensor **out);
/* Output i: a copy of the container x. */
Status items_copy(Eval *e, int i, const Tensor *x);

#endif
