/* ml.h - what the two files of the pass `ml` share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_PASSES_ML_H
#define SARD_PASSES_ML_H

#include "ops/eval/ml.h"
#include "passes/rewrite.h"

DType ml_work(const Value *x); /* f64 for f64, else f32 */
Value *ml_cast(Match *m, Value *x, DType t);
Value *ml_matrix(Match *m, Value *x); /* [N, F] of the work type; a vector becomes a row */
Tensor *ml_tensor(Match *m, DType t, int rank, int64_t a, int64_t b);
Value *ml_const(Match *m, const Tensor *t);
Value *ml_transformed(Match *m, Value *v, PostTransform p);
Value *ml_best(Match *m, Value *scores); /* i64[N]: the first of the largest in each row */
Value *ml_labels(Match *m, Value *at, Ints ints, Strs strs);
Value *ml_pair(Match *m, Value *s, bool rest);
Value *ml_outputs(Match *m, Value *label, Value *z);

Value *ml_tree_ensemble(Match *m);
Value *ml_tree_regressor(Match *m);
Value *ml_tree_classifier(Match *m);

#endif
