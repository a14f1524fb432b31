/* content.c - contents as dim expressions, carried along by the operators' own evaluators.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"

#include "ops/eval/eval.h"
#include "ops/ops.h"

#include <math.h>
#include <string.h>

DType in_dtype(const Infer *x, int i) {
  const Type *t = in_type(x, i);
  return t->kind == VK_TENSOR ? t->dtype : DT_none;
}

bool known_rank(const Infer *x, int i, int *rank) {
  const Type *t = in_type(x, i);
  *rank = t->kind == VK_TENSOR ? t->rank : -1;
  return *rank >= 0;
}

bool count_of(const Infer *x, int i, int64_t *n) {
  const Type *t = in_type(x, i);
  if (t->kind != VK_TENSOR || t->rank < 0)
    return false;
  return dim_is_const(type_count(x->c, t), n) && *n >= 0;
}

static bool holds_integers(DType t) { return dtype_is_int(t) || t == DT_bool; }

bool content_of(const Infer *x, int i, const Dim **elem, int64_t *n) {
  const int64_t *v;
  if (!has_in(x, i) || !holds_integers(in_dtype(x, i)) || !count_of(x, i, n) || *n > MAX_CONTENT)
    return false;
  if (in_content(x, i, elem, n))
    return true;
  if (in_dtype(x, i) == DT_u64 || !in_ints(x, i, &v, n)) /* a u64 may not fit a dim */
    return false;
  Dim *d = arena_array(x->arena, Dim, (size_t)*n);
  for (int64_t k = 0; k < *n; k++)
    d[k] = dim_const(x->c, v[k]);
  *elem = d;
  return true;
}

bool few_ints(const Infer *x, int i, const int64_t **elem, int64_t *n) {
  return has_in(x, i) && count_of(x, i, n) && *n <= MAX_CONTENT && in_ints(x, i, elem, n);
}

void content_same(Infer *x) {
  const Dim *d;
  int64_t n, m;
  if (content_of(x, 0, &d, &n) && x->out[0].rank >= 0 && dim_is_const(type_count(x->c, &x->out[0]), &m) && m == n)
    set_content(x, 0, d);
}

/* --- scalars --- */

enum { MAX_CHAIN = 8 }; /* nodes looked through; a sum of sums costs 2^8 visits at most */

typedef struct Ratio {
  Dim num;
  int64_t den; /* > 0 */
} Ratio;

static bool ratio_of(Ctx *c, const Value *v, int depth, Ratio *r);

/* a op b of a float node. */
static bool ratio_arith(Ctx *c, OpId op, Ratio a, Ratio b, Ratio *r) {
  int64_t by;
  if (op == OP_Div) {
    if (!dim_is_const(b.num, &by) || !by || by == INT64_MIN || b.den != 1 ||
        __builtin_mul_overflow(a.den, by < 0 ? -by : by, &r->den))
      return false;
    r->num = by < 0 ? dim_sub(c, dim_const(c, 0), a.num) : a.num;
    return true;
  }
  if (__builtin_mul_overflow(a.den, b.den, &r->den))
    return false;
  Dim x = dim_mul(c, a.num, dim_const(c, b.den)), y = dim_mul(c, b.num, dim_const(c, a.den));
  r->num = op == OP_Mul ? dim_mul(c, a.num, b.num) : op == OP_Add ? dim_add(c, x, y) : dim_sub(c, x, y);
  return true;
}

static bool ratio_node(Ctx *c, const Node *n, int depth, Ratio *r) {
  Ratio a, b;
  if (!n || depth > MAX_CHAIN || n->nin < 1 || !n->in[0] || !ratio_of(c, n->in[0], depth + 1, &a))
    return false;
  switch (n->op) {
  case OP_Identity:
  case OP_Cast:
  case OP_Reshape:
  case OP_Squeeze:
  case OP_Unsqueeze: *r = a; return true;
  case OP_Neg: *r = (Ratio){dim_sub(c, dim_const(c, 0), a.num), a.den}; return true;
  case OP_Floor: *r = (Ratio){dim_div(c, a.num, dim_const(c, a.den)), 1}; return true;
  case OP_Ceil: *r = (Ratio){dim_ceildiv(c, a.num, dim_const(c, a.den)), 1}; return true;
  case OP_Add:
  case OP_Sub:
  case OP_Mul:
  case OP_Div: return n->nin > 1 && n->in[1] && ratio_of(c, n->in[1], depth + 1, &b) && ratio_arith(c, n->op, a, b, r);
  default: return false;
  }
}

static bool ratio_of(Ctx *c, const Value *v, int depth, Ratio *r) {
  const Type *t = &v->type;
  double x;
  if (t->kind != VK_TENSOR || t->rank < 0 || !dim_is(type_count(c, t), 1))
    return false;
  if (v->content) {
    *r = (Ratio){v->content[0], 1};
    return true;
  }
  if (value_scalar(v, &x) && x == floor(x) && fabs(x) < 0x1p53) {
    *r = (Ratio){dim_const(c, (int64_t)x), 1};
    return true;
  }
  bool is_float = t->dtype == DT_f32 || t->dtype == DT_f64; /* the narrower ones lose whole numbers early */
  bool is_wide = t->dtype == DT_i64 || t->dtype == DT_i32;
  if (!is_float && !(is_wide && v->def && v->def->op == OP_Cast))
    return false;
  return ratio_node(c, v->def, depth, r) && (is_float || r->den == 1);
}

bool number_of(Ctx *c, const Value *v, Dim *d) {
  Ratio r;
  if (!ratio_of(c, v, 0, &r) || r.den != 1)
    return false;
  *d = r.num;
  return true;
}

void content_whole(Infer *x) {
  const Type *from = in_type(x, 0), *to = &x->out[0];
  Dim d;
  bool scalar = from->kind == VK_TENSOR && from->rank >= 0 && dim_is(type_count(x->c, from), 1);
  if (scalar && (from->dtype == DT_f32 || from->dtype == DT_f64) && (to->dtype == DT_i64 || to->dtype == DT_i32) &&
      number_of(x->c, x->n->in[0], &d))
    set_content(x, 0, &d);
}

/* --- content_moved: the evaluator on element numbers --- */

enum { MAX_PLACES = 4096 }; /* elements of an input that says where to */

typedef struct Moves {
  Infer *x;
  uint64_t data;
  Dim *elem;  /* by number; 0 is the constant 0 */
  int64_t n;  /* numbers given out */
  bool unfit; /* not for this way: nothing is known, nothing is wrong */
} Moves;

static Status alloc_small(Eval *e, int i, DType t, int rank, const int64_t *dim, Tensor **out) {
  Moves *m = e->host;
  (void)i;
  int64_t n = 1;
  for (int k = 0; k < rank; k++)
    n = dim[k] < 0 || dim[k] > MAX_CONTENT ? MAX_CONTENT + 1 : n > MAX_CONTENT ? n : n * dim[k];
  if (n > MAX_CONTENT || t != DT_i64) {
    m->unfit = true;
    return fail(e->c, ST_INVALID, "too large to be followed");
  }
  return tensor_new(e->c, e->keep, t, rank, dim, out);
}

/* Input i as a tensor: numbers for data, values for the rest. */
static bool number_input(Moves *m, Arena *a, int i, Tensor **out) {
  Infer *x = m->x;
  const Type *t = in_type(x, i);
  bool is_data = m->data >> i & 1;
  int64_t n, dim[MAX_RANK];
  const Dim *d;
  const int64_t *v;
  if (!count_of(x, i, &n) || n > MAX_PLACES || (is_data ? !content_of(x, i, &d, &n) : !in_ints(x, i, &v, &n)))
    return false;
  for (int k = 0; k < t->rank; k++)
    if (!dim_is_const(t->dim[k], &dim[k]))
      return false;
  if (tensor_new(x->c, a, is_data ? DT_i64 : t->dtype, t->rank, dim, out))
    return false;
  for (int64_t k = 0; k < n; k++)
    if (is_data) {
      m->elem[m->n] = d[k];
      ((int64_t *)(*out)->data)[k] = m->n++;
    } else {
      elem_set_i64(t->dtype, (*out)->data, k, v[k]);
    }
  return true;
}

static void take_content(Moves *m, Arena *a, Tensor *const *out) {
  Infer *x = m->x;
  for (int i = 0; i < x->n->nout; i++) {
    int64_t n;
    const Tensor *t = out[i];
    if (!has_out(x, i) || !t || x->out[i].rank != t->rank || !dim_is_const(type_count(x->c, &x->out[i]), &n) ||
        n != tensor_count(t))
      continue;
    Dim *d = arena_array(a, Dim, (size_t)n);
    for (int64_t k = 0; k < n; k++)
      d[k] = m->elem[((const int64_t *)t->data)[k]];
    set_content(x, i, d);
  }
}

static Status move_numbers(Moves *m, Arena *a) {
  Infer *x = m->x;
  Node *n = x->n;
  Tensor **in = arena_array(a, Tensor *, n->nin), **out = arena_array(a, Tensor *, n->nout);
  bool *wanted = arena_array(a, bool, n->nout);
  m->elem = arena_array(a, Dim, (size_t)n->nin * MAX_CONTENT + 1);
  m->elem[m->n++] = dim_const(x->c, 0);
  for (int i = 0; i < n->nin; i++)
    if (has_in(x, i) && !number_input(m, a, i, &in[i]))
      return ST_OK;
  for (int i = 0; i < n->nout; i++)
    wanted[i] = has_out(x, i);
  Eval e = {.c = x->c,
            .op = n->op,
            .nin = n->nin,
            .nout = n->nout,
            .in = (const Tensor *const *)in,
            .out = out,
            .wanted = wanted,
            .attr = n->attr,
            .scratch = a,
            .keep = a,
            .alloc = alloc_small,
            .host = m};
  Status st = eval_find(n->op)(&e);
  if (m->unfit)
    return ST_OK;
  TRY(st);
  take_content(m, a, out);
  return ST_OK;
}

Status content_moved(Infer *x, uint64_t data) {
  const Dim *d;
  int64_t n;
  if (!eval_find(x->n->op) || x->n->nin > 64)
    return ST_OK;
  for (int i = 0; i < x->n->nin; i++) /* the usual answer, before any memory is taken */
    if ((data >> i & 1) && has_in(x, i) && !content_of(x, i, &d, &n))
      return ST_OK;
  Moves m = {.x = x, .data = data};
  Arena *a = arena_create(x->c);
  Status st = move_numbers(&m, a);
  arena_destroy(a);
  return st;
}

/* --- extents known at run time --- */

Dim run_dim(Infer *x, int i, int rank, int axis, const char *hint) {
  const Value *v = i < x->n->nout ? x->n->out[i] : NULL;
  if (v && v->type.kind == VK_TENSOR && v->type.rank == rank) {
    Dim d = v->type.dim[axis];
    size_t n = strlen(hint);
    if (d->kind == DIM_SYM && !strncmp(d->name, hint, n) && d->name[n] == '_')
      return d;
  }
  return dim_fresh(x->c, hint);
}

void set_out_run(Infer *x, int i, DType t, int rank, const char *hint) {
  Dim dim[MAX_RANK];
  for (int k = 0; k < rank; k++)
    dim[k] = run_dim(x, i, rank, k, hint);
  set_out(x, i, t, rank, dim);
}

Status check_rank(Infer *x, int64_t rank) {
  return rank <= MAX_RANK ? ST_OK
                          : fail(x->c, ST_UNSUPPORTED, "an output of rank %lld is above %d", (long long)rank, MAX_RANK);
}

Dim sign_of(Ctx *c, Dim v) { return dim_max(c, dim_const(c, -1), dim_min(c, dim_const(c, 0), v)); }

/* 1 - Min(1, |v - a|), with v counted from the front. */
Dim names_axis(Ctx *c, Dim v, int rank, int a) {
  Dim one = dim_const(c, 1), at = dim_sub(c, v, dim_mul(c, dim_const(c, rank), sign_of(c, v)));
  Dim off = dim_sub(c, at, dim_const(c, a));
  return dim_sub(c, one, dim_min(c, one, dim_max(c, off, dim_sub(c, dim_const(c, 0), off))));
}

Status mark_axes(Infer *x, const int64_t *axes, int64_t n, int rank, bool *mark) {
  for (int64_t i = 0; i < n; i++) {
    int k;
    TRY(norm_axis(x, axes[i], rank, false, &k));
    if (mark[k])
      return infer_fail(x, "axis %d is named twice", k);
    mark[k] = true;
  }
  return ST_OK;
}
