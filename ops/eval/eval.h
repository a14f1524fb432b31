/* eval.h - reference evaluation of one operator on tensors: slow, obvious, and the oracle compiled code is tested against.
 *
 * An evaluator sees tensors with actual shapes. It works out the shape of each output from its inputs (checking them: a
 * model's shapes may only meet at run time), asks for the memory with eval_out, and fills it. It never assumes that
 * an inference ran before. Inputs are dense, row-major, aligned. Outputs do not overlap inputs, with one exception: output 0
 * of an ELEMENTWISE operator may be the very memory of an input of the same shape and element size (an in-place step), so
 * such an evaluator reads element i of every input before it writes element i.
 * Float arithmetic: f32 and narrower accumulate in double and round once at the end, unless ONNX says otherwise.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_EVAL_H
#define SARD_OPS_EVAL_EVAL_H

#include "ops/eval/attrs.h"
#include "ops/eval/opid.h"
#include "support/tensor.h"

typedef struct Eval {
  Ctx *c;
  OpId op;
  int nin, nout;
  const Tensor *const *in; /* NULL: optional input absent */
  Tensor **out;            /* nout; set by eval_out. wanted[i] false: the caller does not want output i */
  const bool *wanted;
  const void *attr; /* the operator's attribute struct, or NULL */
  Arena *scratch;   /* freed after the step */
  Arena *keep;      /* lives as long as the outputs: characters of strings, elements of sequences */
  Status (*alloc)(struct Eval *e, int i, DType t, int rank, const int64_t *dim, Tensor **out);
  void *host; /* alloc's own */
} Eval;

typedef Status (*EvalFn)(Eval *e);
/* By OpId. Ahead-of-time output carries a table of its own with the operators of the model's steps; the other rows are zero. */
typedef struct EvalRow {
  const char *domain, *name;
  const AttrInfo *attrs;
  EvalFn eval;
} EvalRow;
extern const EvalRow eval_rows[];
EvalFn eval_find(OpId op);                                  /* NULL: not evaluated here (control flow, Dims) */
OpId eval_op_by_name(const char *domain, const char *name); /* OP_none: not known */
const AttrInfo *eval_attrs(OpId op);

/* --- for evaluators --- */
/* Arity and dtypes of the inputs against the operator's signature, before its evaluator is called. */
Status eval_check_types(Eval *e);
bool eval_has(const Eval *e, int i); /* input i is given */
/* Makes output i. Dims are checked, the byte budget too. Memory is not zeroed. Not wanted: *out is scratch memory. */
Status eval_out(Eval *e, int i, DType t, int rank, const int64_t *dim, Tensor **out);
Status eval_out_like(Eval *e, int i, const Tensor *like, Tensor **out);
/* A container output (sequence, optional) of n items; the caller fills item[0..n). */
Status eval_out_items(Eval *e, int i, ValueKind kind, int64_t n, Tensor **out);
/* A dense copy of t in e->keep, for container items. */
Status eval_keep(Eval *e, const Tensor *t, Tensor **out);
/* fail(ST_INVALID) with the types of all inputs behind the text. */
Status eval_fail(Eval *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
Status eval_unsupported(Eval *e, const char *fmt, ...) PRINTF_LIKE(2, 3); /* ST_UNSUPPORTED */
Status eval_axis(Eval *e, int64_t axis, int rank, bool inclusive, int *out);
/* Elements of integer input i as int64 (in scratch). */
Status eval_ints(Eval *e, int i, const int64_t **v, int64_t *n);
/* Elements of any numeric input as double (in scratch). Large inputs: prefer typed loops. */
Status eval_doubles(Eval *e, const Tensor *t, const double **v);
/* Numeric broadcast of two shapes; ST_INVALID when it cannot be. */
Status eval_broadcast(Eval *e, int ra, const int64_t *a, int rb, const int64_t *b, int *rank, int64_t *dim);
/* Strides (in elements) for reading t as the broadcast shape: 0 on broadcast axes. */
void eval_bcast_strides(const Tensor *t, int rank, const int64_t *dim, int64_t *stride);
void row_major_strides(int rank, const int64_t *dim, int64_t *stride);
/* Advances idx over dim in row-major order; false after the last. */
bool next_index(int rank, const int64_t *dim, int64_t *idx);

#endif
