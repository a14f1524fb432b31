/* conv.h - a convolution as a matrix product: the weight times a window on the input.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_CONV_H
#define SARD_CODEGEN_CONV_H

#include "codegen/unit.h"
#include "ops/ops.h"

/* The first layer's few channels are read as they come. */
enum { CONV_PLANES = 4 };

/* The transpositions around a convolution whose input and output have their channels last, in n's graph; *in is NULL when
 * the input has them first. False: the output has. */
bool conv_channels_last(const Node *n, Node **in, Node **out);

/* The product of such a convolution: A its input as it lies, B the weight, rows the positions of all images. n is as it stands
 * in the graph, channels first; planes: so is its input. False: it has none (groups of several channels; planes: padding or
 * dilation along the last axis, many channels). */
bool conv_rows_product(Ctx *c, Arena *a, const Node *n, bool planes, Product *x);

/* The same for ConvInteger (10) without zero points of the weight, of u8 or i8 by a constant of i8. */
bool conv_integer_product(Ctx *c, Arena *a, const Node *n, Product *x);

/* Conv (22) of f32 with 1 to 3 spatial axes as a product, batch by group: A the weight [group, m, k], B the input; when
 * there is one position only (group is 0), A the input [m, k], B the weight [n, k]. All but the epilogue is filled in.
 * False: *why says why not. */
bool conv_product(Ctx *c, Arena *a, const Node *n, Product *x, const char **why);

#endif
