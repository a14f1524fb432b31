/* gpu_attention.h - attention on GPUs: how the work is cut, apart from any compiler.
 *
 * The query heads that share keys and values are rows of one product: row r of a key/value head is query r / group of head
 * r % group. A block of threads takes `rows` rows of one key/value head of one batch entry and goes through the keys `keys` at a
 * time, with the softmax's maximum and sum so far:
 *
 *     S = Q K^T    masked; m' = max(m, S); P = exp(S - m'); l = l exp(m - m') + sum P; O = O exp(m - m') + P V;    out = O / l
 *
 * More than GPU_ATTENTION_COLUMNS columns of O are shared out to `passes` blocks, each of which works out all scores. Where weights must be
 * known to the end before they are used (they are rounded, or are an output), a block goes through the keys twice, for m and l, then
 * for P, and few rows are not split.
 *
 * Few rows (decoding) would leave most of the GPU idle: their keys are split into `splits` pieces of `chunk`, whose m, l and O go to
 * the scratch, and a last stage combines them. f32 is multiplied and added in f32; f16 and bf16 by tensor cores, with f32 sums.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_GPU_ATTENTION_H
#define SARD_CODEGEN_GPU_ATTENTION_H

#include "codegen/unit.h"

enum {
  GPU_ATTENTION_COLUMNS = 256
}; /* of O, of a block: sums stay in registers; and of K, in shared memory at a time */

enum { GA_FEW_ROWS = 16 }; /* of a key/value head: GA_FEW has these at most */

typedef enum { GA_MANY, GA_FEW, GA_COMBINE } GpuAttentionForm;

typedef struct GpuAttentionStage {
  uint8_t form;            /* GpuAttentionForm */
  int rows, keys, threads; /* of a block */
  Dim parts;               /* 0: this stage has nothing to do at these extents */
} GpuAttentionStage;

typedef struct GpuAttention {
  int64_t group;  /* query heads of a key/value head */
  int64_t passes; /* blocks that share the columns of O */
  int width;      /* of each; the last may have fewer */
  bool twice;     /* keys are gone through twice */
  GpuAttentionStage stage[3];
  int nstage;
  Dim splits, chunk; /* of GA_FEW; splits: 1: there is no combining */
  Dim partials;      /* tiles of rows in the scratch */
} GpuAttention;

/* In multiples of 4 bytes, of one split's tile of rows in the scratch: O [rows][dv], then m [rows], l [rows]. */
static inline int64_t gpu_attention_partial(const Attention *t, int rows) { return rows * (t->dv + 2); }

/* Can a GPU do it this way? */
bool gpu_attention_fits(const Attention *t);
/* Fills in t->gpu, and parts, threads, the further stages, scratch, flops and bytes of a UNIT_ATTENTION. */
void gpu_attention_schedule(Ctx *c, Arena *a, Unit *u);
/* "64 rows x 64 keys or 16 rows x 32 keys of a split, tensor cores": for the reports, in arena a. */
const char *gpu_attention_text(Arena *a, const Attention *t);

#endif
