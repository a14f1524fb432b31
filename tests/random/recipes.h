/* recipes.h - what random nodes are made of. A recipe finds inputs and attributes for an operator that are likely to be accepted;
 * false: none were found. SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_RANDOM_RECIPES_H
#define SARD_TESTS_RANDOM_RECIPES_H

#include "tests/random/random.h"

typedef bool Recipe(Gen *g, Make *m); /* m->op is set */

/* Attributes by name. */
void make_float(Gen *g, Make *m, const char *name, float v);
void make_str(Gen *g, Make *m, const char *name, const char *v);
void make_ints(Gen *g, Make *m, const char *name, const int64_t *v, int64_t n);
void make_floats(Gen *g, Make *m, const char *name, const float *v, int64_t n);
void make_strs(Gen *g, Make *m, const char *name, const char *const *v, int64_t n);
void make_flag(Gen *g, Make *m, const char *name); /* 0 or 1 */

int64_t any_axis(Gen *g, int rank);
int64_t extent(Gen *g, const Value *v, int axis); /* at the sizes of this graph */
/* A second operand of v's dtype: from the pool, or a constant that broadcasts to it. */
Value *operand_like(Gen *g, const Value *v);
int64_t upto(Gen *g, int64_t lo, int64_t hi); /* both included */
#define PICK(g, ...) ((__VA_ARGS__)[rng_below(&(g)->r, (int64_t)(sizeof(__VA_ARGS__) / sizeof((__VA_ARGS__)[0])))])

/* recipes.c */
Recipe recipe_elementwise, recipe_reduction, recipe_by_axis, recipe_product, recipe_reshaping, recipe_cutting,
    recipe_indexing, recipe_shapes;
/* recipes_nn.c */
Recipe recipe_normalising, recipe_conv, recipe_conv_transpose, recipe_deform_conv, recipe_pool, recipe_global_pool,
    recipe_unpool, recipe_regions, recipe_resize, recipe_grid_sample, recipe_affine_grid, recipe_col2im, recipe_loss,
    recipe_dropout;
/* recipes_seq.c */
Recipe recipe_recurrent, recipe_attention, recipe_rotary, recipe_linear_attention, recipe_causal_conv, recipe_optimizer;
/* recipes_quant.c */
Recipe recipe_quantize, recipe_dequantize, recipe_dynamic_quantize, recipe_matmul_integer, recipe_conv_integer;
/* recipes_more.c */
Recipe recipe_einsum, recipe_window, recipe_transform, recipe_mel, recipe_det, recipe_reverse, recipe_crop,
    recipe_tensor_scatter, recipe_unique, recipe_nms, recipe_feature;
/* control.c: these add the node themselves */
Recipe recipe_if, recipe_loop, recipe_scan;

#endif
