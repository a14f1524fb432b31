/* tensor.h - a dense row-major array, or a container of them: what constants, feeds, steps and results are made of.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_TENSOR_H
#define SARD_SUPPORT_TENSOR_H

#include "support/ctx.h"
#include "support/dtype.h"
#include "support/str.h"

enum { MAX_RANK = 16 };

typedef enum { VK_TENSOR, VK_SEQUENCE, VK_OPTIONAL, VK_MAP } ValueKind;

/* A tensor owns nothing: data belongs to whoever made it (arena, slot, caller, mapped file). Rank 0 and zero elements
 * are ordinary. Data of strings: count Str. Data of a mapped weight may be unaligned: tensor_aligned() says so. */
typedef struct Tensor {
  DType dtype;  /* DT_none for containers */
  uint8_t kind; /* ValueKind */
  int8_t rank;
  int64_t dim[MAX_RANK];
  void *data;           /* borrowed; for containers: NULL */
  struct Tensor **item; /* containers: sequence elements; an optional holds 0 or 1; a map holds keys then values */
  int64_t nitem;
} Tensor;

/* The number of elements; dims were checked when the tensor was made. */
int64_t tensor_count(const Tensor *t);
size_t tensor_bytes(const Tensor *t);
bool tensor_aligned(const Tensor *t); /* data is aligned to its element size */
bool tensor_same_shape(const Tensor *a, const Tensor *b);
bool tensor_equal(const Tensor *a, const Tensor *b); /* type, shape and bytes */

/* A tensor with zeroed data in arena a; fails (ST_INVALID) when the dims are negative or overflow. */
Status tensor_new(Ctx *c, Arena *a, DType t, int rank, const int64_t *dim, Tensor **out);
Tensor *tensor_vec_i64(Arena *a, const int64_t *v, int64_t n); /* i64[n] */

/* "f32[2,128]", into a static-size buffer; returns buf. */
char *tensor_type_text(const Tensor *t, char *buf, size_t cap);
char *shape_text(int rank, const int64_t *dim, char *buf, size_t cap); /* "[2,128]" */

#endif
