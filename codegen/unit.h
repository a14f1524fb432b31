/* unit.h - what is compiled as one function: a loop kernel, a matrix product, an attention. Units are made by grouping
 * (codegen/group.c), emitted by libsard-codegen (codegen/llvm/), called by the executor through KernelArgs.
 *
 * A unit's buffers are KernelArgs.buf in this order: its inputs, then its outputs. Its dim expressions are KernelArgs.dim,
 * in the order of unit_dims. KernelArgs.begin and .end are a range of `parts`, an expression over the same symbols that says
 * into how many independent pieces the work falls; any partition of 0..parts gives the same bits.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_UNIT_H
#define SARD_CODEGEN_UNIT_H

#include "ir/kernel.h"

typedef enum { UNIT_LOOP, UNIT_PRODUCT, UNIT_ATTENTION } UnitKind;

enum { WINDOW_AXES = 3 };

/* The operand B of a convolution. Element (k, n) of matrix b is element (c, y0, y1, y2) of X [batch, channels, in0, in1, in2]
 * at batch b, where k counts the taps (t0, t1, t2) of channel after channel, n the positions (o0, o1, o2) of the output, and
 * yi = oi * stride + ti * dilation - begin; zero where that is outside of X. */
typedef struct ProductWindow {
  Dim in[WINDOW_AXES], out[WINDOW_AXES], begin[WINDOW_AXES];
  int64_t kernel[WINDOW_AXES], stride[WINDOW_AXES], dilation[WINDOW_AXES];
  int64_t taps; /* all of a channel */
} ProductWindow;

/* B as whole numbers of few bits, packed by codegen/nbits.h: element (k, n) is (number - zero) * scale, both of its block of k. */
typedef enum { PZ_NONE, PZ_BYTE, PZ_F32 } ProductZero;
typedef struct ProductBits {
  uint8_t bits, zero; /* 0: B is f32; ProductZero */
  DType scale;        /* GPUs: f16 or bf16; DT_none: f32 */
  bool rounded;       /* A may be rounded to 8 bits per block (codegen/llvm/rounded.c) */
  int64_t block;      /* steps of k */
} ProductBits;

/* GPUs: B is a constant of narrow numbers, stored as B is: element (k, n) is (number - zero) * scale, with the scale that stands at
 * n * by_column + k / block * by_block (block 0: k does not matter), and the zero point in the same place. Of floats of 8 bits none is
 * NaN. */
enum { NARROW_STEPS = 8 }; /* numbers that are read at once */
typedef struct ProductNarrow {
  DType type;  /* DT_none: B is no such constant; integers of up to 8 bits, f8e4m3fn, f8e4m3fnuz or f8e5m2 */
  DType scale; /* f32, f16 or bf16 */
  bool zero;   /* there are zero points, of B's type */
  int64_t block, by_column, by_block;
} ProductNarrow;

/* On GPUs, who computes a product: cuBLASLt, or code of ours for few rows of A, or for tiles (codegen/gpu_product.h). With several,
 * the rows of a run decide: up to PRODUCT_ROWS are few, more go to the library, or to tiles. */
enum { FORM_LIBRARY = 1, FORM_ROWS = 2, FORM_TILES = 4, PRODUCT_ROWS = 8 };

/* What the library does behind the sum: factor * sum, + bias of one row, + addend, then relu or gelu (the tanh form). */
typedef enum { AFTER_NOTHING, AFTER_RELU, AFTER_GELU } ProductAfter;
typedef struct ProductLibrary {
  uint8_t bias, addend; /* which input of the unit; 0: there is none */
  uint8_t after;        /* ProductAfter */
  float factor;
} ProductLibrary;

/* C[b, m, n] = sum over k of A[b, m, k] * B[b, k, n], then the epilogue. f32; accumulation in f32 FMA over k in order
 * within a block of k, blocks added in order. */
/* What tuning may say of how a product is cut on a CPU; zeros: as product_plan chooses. */
typedef struct ProductCut {
  uint8_t tile; /* 1 + the row of the CPU level's tile table (tests, tuning); GPUs: 1 to 3: a side of 32, 64 or 128 */
  int8_t depth, rows, cols; /* powers of two by which a block has more steps of k, a part more rows and columns */
} ProductCut;

typedef struct Product {
  Dim batch; /* product of the batch extents; 1 when B is shared by all rows of A */
  Dim m, n, k;
  bool trans_a;          /* A is stored [b, k, m] */
  bool trans_b;          /* B is stored [b, n, k] */
  bool packed_b;         /* B is a constant, packed at compile time by product_pack; on GPUs, by gpu_weight_pack */
  bool batch_a, batch_b; /* false: the operand has no batch axis */
  int64_t group; /* above 1: A has so many matrices, which the batches use in turn, and so have the epilogue's rows:
                          * its buffers are [batch / group, group * m, n] */
  const ProductWindow *window; /* B is read through it; NULL: B is a matrix */
  ProductBits bits;            /* of a packed B; K and N are constants then, and there is no batch */
  DType type;                  /* GPUs: DT_f16, DT_bf16 of A, B and C, sums being f32; DT_none: f32 */
  DType weights;               /* CPUs: a packed B rounded to DT_bf16 or DT_f16 (codegen/product.h); DT_none: f32 */
  uint8_t forms;               /* GPUs: FORM_ */
  ProductNarrow narrow;        /* GPUs: what FORM_ROWS reads; with FORM_LIBRARY, too, that has a B as wide as A */
  ProductLibrary library;      /* with FORM_LIBRARY */
  DType bytes; /* DT_u8, DT_i8: A of that, B a packed constant of i8, sums of i32 (codegen/integer.h); DT_none: f32 */
  int zero;    /* with bytes: what is taken off every element of A; with rows, too, what lies outside of X */
  /* A is read through it: X [images, in0, in1, in2, channels]. m counts the positions of all images, k the channels of tap
   * after tap; B is packed. NULL: A is a matrix. */
  const ProductWindow *rows;
  /* With rows: X is [images, channels, in0, in1, in2] and k counts the taps of channel after channel; along the last axis all
   * taps are inside, side by side. */
  bool planes;
  /* With rows: every channel has taps of its own; k counts the taps, n the channels, batch the rows of the last axis of all
   * images. */
  bool channelwise;
  bool line_means; /* with channelwise: a further output is the mean of every line of C, of each channel: [batch, n] */
  /* With rows and bytes, above 1: channels fall into so many groups, which are the batches: each has its own part of every position
   * of X, its own B, and n columns of the result, which has those of all. */
  int64_t groups;
  Dim images; /* with rows */
  /* With rows: the m of codegen/winograd.h, which computes it with fewer multiplications; k counts those of the definition all the
   * same. 0: it does not. */
  uint8_t winograd;
  int64_t positions; /* A is of images: so many of its rows belong to one; -1: only the run tells; 0: it is not */
  ProductCut cut;
  uint64_t key; /* CPUs: what tuning knows it by (codegen/tuning.h); 0: it has but one cut */
  /* A loop kernel with two nested loops over m and n whose first input is `acc` [m, n] (with batch: [batch, m, n] and three
   * loops), read at [m, n] only; its further inputs and its output follow A and B. NULL: C is stored as it is. */
  Kernel *epilogue;
} Product;

/* O[b, i, h*dv + d] = softmax_j(scale * Q[b, i, h*dk + :] . K[b, j, g*dk + :] + mask + causal) V[b, j, g*dv + d], with
 * g = h / (heads / kv_heads). Online softmax by blocks of j; a row without any admitted j is NaN, or 0 when zero_rows. */
/* What a second output of an attention has of the scores, [batch, heads, q_len, kv_len] of the attention's type. */
typedef enum { SCORES_NONE, SCORES_PRODUCTS, SCORES_CAPPED, SCORES_MASKED, SCORES_WEIGHTS } AttentionScores;

typedef struct Attention {
  DType type; /* of Q, K, V and O; DT_none: f32. On GPUs also DT_f16 and DT_bf16, with sums and softmax in f32 */
  Dim batch, q_len, kv_len;
  int64_t heads, kv_heads, dk, dv;
  double scale;
  bool causal; /* j <= i + kv_len - q_len */
  bool zero_rows;
  /* Layouts: true: [batch, heads, len, dim]; false: [batch, len, heads * dim]. */
  bool q_split, kv_split, out_split;
  DType mask;         /* DT_none: none; DT_f32: added, on GPUs also DT_f16 and DT_bf16; DT_bool: true admits */
  Dim k_rows, v_rows; /* extents of K's and V's length in memory; NULL: kv_len */
  int8_t mask_rank;   /* broadcast to [batch, heads, q_len, kv_len] by its own extents */
  Dim mask_dim[4];
  bool
      mask_short; /* on GPUs alone: it may be for fewer keys than there are, which the others are masked by; not for more */
  /* Scores are cap * tanh(score / cap) before the mask where cap is above 0; query i stands at key i + kv_len - q_len, or, on GPUs, at
   * key i where that counts from_first, and sees `left` keys before that and `right` behind it. */
  double cap;
  bool has_left, has_right, from_first;
  bool
      counted; /* on GPUs alone: an input behind the mask, i64 [batch], says how many of an entry's kv_len keys there are */
  int64_t left, right;
  uint8_t scores; /* on GPUs alone: AttentionScores */
  DType soft; /* on GPUs alone: DT_f16, DT_bf16: the scores and the weights are rounded to it; DT_none: they stay f32 */
  bool sink;  /* not on GPUs: f32[heads] behind the mask, the score of one more key, whose value is zeros */
  const struct GpuAttention *gpu; /* how it is cut; NULL: on CPUs (codegen/gpu_attention.h) */
} Attention;

/* What is launched on a GPU behind a unit's first function, in order. */
typedef struct UnitStage {
  Dim parts, threads;
} UnitStage;

typedef struct Unit {
  uint8_t kind;     /* UnitKind */
  const char *name; /* for perf maps and reports: "softmax", "product.384x1536.gelu" */
  Kernel *kernel;   /* UNIT_LOOP */
  Product product;
  Attention attention;
  Dim parts;       /* filled in by the schedule; at least 1 for any binding, or 0 when nothing is to do */
  Dim threads;     /* GPUs: that a block can use for a part; 0: parts are shared out to all threads of all blocks */
  UnitStage *more; /* GPUs: further functions, called as the first and `_then1`, `_then2` …, with the same parameters */
  uint32_t nmore;
  Dim scratch;      /* bytes per thread; GPUs: per block, or of all blocks together where there are further functions */
  Dim flops, bytes; /* of all parts together: for the cost model and the reports */
  const bool *
      growing; /* GPUs: by dim: read from memory where the caller has put it there (codegen/growing.h); NULL: none is */
} Unit;

/* Text equal for products that differ at most in cut and epilogue. */
const char *product_shape_text(Arena *a, const Product *p);

/* Text equal for units whose code is the same; dims in the order of KernelArgs.dim. In arena a. */
const char *unit_signature(Arena *a, const Unit *u, const Dim **dim, uint32_t *ndim);

/* What in the kernel has no code generation ("erf of f64"), or NULL: grouping asks before it makes a unit, without LLVM. */
const char *kernel_unsupported(const Kernel *k);

#endif
