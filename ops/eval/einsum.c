/* einsum.c - Einsum (28): operands are contracted from left to right, each step one batched matrix product.
 *
 * In a step between P (so far) and the next operand, labels that are still needed (by the output or a later operand)
 * are batch (in both), rows (in P only) or columns (in the operand only); the others are summed. Partial results stay
 * in double or int64, so floats are rounded once. With an infinity or a NaN among the operands a sum of products is another
 * number than a product of sums: then every term is made by itself, and only the last step sums. SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/einsum.h"

#include "ops/eval/loop.h"
#include "ops/eval/product.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* --- the equation --- */

static Status bad(Ctx *c, Str text, const char *why) {
  return fail(c, ST_INVALID, "einsum equation \"%.*s\": %s", (int)(text.len < 120 ? text.len : 120),
              text.ptr ? text.ptr : "", why);
}

static int letter(char ch) { return ch >= 'A' && ch <= 'Z' ? ch - 'A' : ch >= 'a' && ch <= 'z' ? 26 + ch - 'a' : -1; }

typedef struct Raw { /* one term as written */
  int n, dots;       /* letters; position of the ellipsis among them, -1: none */
  uint8_t label[MAX_RANK];
} Raw;

/* A term up to `,` or the end of s. */
static Status read_term(Ctx *c, Str text, Str *s, Raw *t) {
  *t = (Raw){.dots = -1};
  for (; s->len && *s->ptr != ','; s->ptr++, s->len--) {
    int l = letter(*s->ptr);
    if (*s->ptr == ' ')
      continue;
    if (*s->ptr == '.') {
      if (t->dots >= 0 || s->len < 3 || memcmp(s->ptr, "...", 3))
        return bad(c, text, "a misplaced dot");
      t->dots = t->n;
      s->ptr += 2, s->len -= 2;
      continue;
    }
    if (l < 0)
      return bad(c, text, "only letters, \"...\", \",\", \"->\" and spaces may stand in it");
    if (t->n == MAX_RANK)
      return bad(c, text, "a term has too many letters");
    t->label[t->n++] = (uint8_t)l;
  }
  return ST_OK;
}

/* The labels of an operand of some rank; wide: axes that the widest ellipsis stands for. */
static void expand_term(const Raw *r, int dots, int wide, Term *t) {
  t->n = 0;
  for (int i = 0; i <= r->n; i++) {
    for (int d = 0; i == r->dots && d < dots; d++)
      t->label[t->n++] = (uint8_t)(52 + wide - dots + d);
    if (i < r->n)
      t->label[t->n++] = r->label[i];
  }
}

/* Implicit output: the ellipsis, then the letters that appear once, in ASCII order. */
static void implicit_output(const Raw *raw, int nin, Raw *out, bool *too_many) {
  int seen[52] = {0};
  *out = (Raw){.dots = -1};
  for (int i = 0; i < nin; i++) {
    for (int k = 0; k < raw[i].n; k++)
      seen[raw[i].label[k]]++;
    if (raw[i].dots >= 0)
      out->dots = 0;
  }
  for (int l = 0; l < 52; l++)
    if (seen[l] == 1) {
      if (out->n == MAX_RANK) {
        *too_many = true;
        return;
      }
      out->label[out->n++] = (uint8_t)l;
    }
}

static Status check_output(Ctx *c, Str text, const Equation *q) {
  bool in[EIN_MAX_LABEL] = {false}, out[EIN_MAX_LABEL] = {false};
  for (int i = 0; i < q->nin; i++)
    for (int k = 0; k < q->in[i].n; k++)
      in[q->in[i].label[k]] = true;
  for (int k = 0; k < q->out.n; k++) {
    uint8_t l = q->out.label[k];
    if (out[l])
      return bad(c, text, "the output repeats a letter");
    if (!in[l])
      return bad(c, text, "the output has a letter that no input has");
    out[l] = true;
  }
  return ST_OK;
}

/* The inputs' terms, up to the end of `left`. */
static Status read_inputs(Ctx *c, Str text, Str left, int nin, Raw *raw) {
  for (int i = 0; i < nin; i++) {
    TRY(read_term(c, text, &left, &raw[i]));
    if ((left.len != 0) != (i < nin - 1))
      return bad(c, text, "the number of terms is not the number of inputs");
    if (left.len)
      left.ptr++, left.len--;
  }
  return ST_OK;
}

Status einsum_parse(Ctx *c, Str text, int nin, const int *rank, Equation *q) {
  Raw raw[EIN_MAX_IN], out;
  int wide = 0;
  bool too_many = false;
  if (nin < 1 || nin > EIN_MAX_IN)
    return fail(c, ST_UNSUPPORTED, "einsum of %d inputs; at most %d are handled", nin, EIN_MAX_IN);
  const char *arrow = text.ptr && text.len > 1 ? memmem(text.ptr, text.len, "->", 2) : NULL;
  size_t left_len = arrow ? (size_t)(arrow - text.ptr) : text.len;
  TRY(read_inputs(c, text, (Str){text.ptr, left_len}, nin, raw));
  q->nin = nin;
  for (int i = 0; i < nin; i++) {
    int dots = rank[i] - raw[i].n;
    if (dots < 0 || (dots && raw[i].dots < 0))
      return bad(c, text, "a term does not have as many letters as its input has dimensions");
    wide = dots > wide ? dots : wide;
  }
  for (int i = 0; i < nin; i++)
    expand_term(&raw[i], rank[i] - raw[i].n, wide, &q->in[i]);
  if (arrow) {
    Str right = {arrow + 2, text.len - left_len - 2};
    TRY(read_term(c, text, &right, &out));
    if (right.len)
      return bad(c, text, "there is one output");
  } else {
    implicit_output(raw, nin, &out, &too_many);
  }
  if (too_many || out.n + (out.dots >= 0 ? wide : 0) > MAX_RANK)
    return bad(c, text, "the output has too many dimensions");
  expand_term(&out, out.dots >= 0 ? wide : 0, wide, &q->out);
  return check_output(c, text, q);
}

/* --- evaluation --- */

/* An operand, or a partial result: a strided view with one axis per label. */
typedef struct View {
  DType dtype;
  const void *data;
  int64_t stride[EIN_MAX_LABEL]; /* 0 where the label is absent or broadcast */
  bool has[EIN_MAX_LABEL];
} View;

typedef struct Work {
  Eval *e;
  Equation q;
  int64_t size[EIN_MAX_LABEL];
  DType wide; /* of partial results: f64 or i64 */
} Work;

/* The extent of every label; 1 broadcasts. */
static Status label_sizes(Work *w) {
  for (int i = 0; i < w->e->nin; i++)
    for (int k = 0; k < w->q.in[i].n; k++) {
      int64_t *size = &w->size[w->q.in[i].label[k]], d = w->e->in[i]->dim[k];
      if (*size < 0 || *size == 1)
        *size = d;
      else if (d != 1 && d != *size)
        return eval_fail(w->e, "einsum: one letter stands for extents %lld and %lld", (long long)*size, (long long)d);
    }
  return ST_OK;
}

/* A repeated letter is a diagonal: its strides add up. */
static View view_of(const Work *w, int i) {
  const Tensor *t = w->e->in[i];
  View v = {.dtype = t->dtype, .data = t->data};
  int64_t own[MAX_RANK];
  row_major_strides(t->rank, t->dim, own);
  for (int k = 0; k < t->rank; k++) {
    uint8_t l = w->q.in[i].label[k];
    v.has[l] = true;
    if (t->dim[k] != 1)
      v.stride[l] += own[k];
  }
  return v;
}

typedef struct Labels {
  int n;
  uint8_t label[EIN_MAX_LABEL];
  int64_t count; /* of index tuples; -1: too many */
} Labels;

static void add_label(Work *w, Labels *s, int l) {
  s->label[s->n++] = (uint8_t)l;
  if (s->count >= 0 && __builtin_mul_overflow(s->count, w->size[l], &s->count))
    s->count = -1;
}

/* Offsets of view v over all index tuples of s. */
static int64_t *offsets(Work *w, const Labels *s, const View *v) {
  int64_t *t = arena_array(w->e->scratch, int64_t, (size_t)s->count), idx[EIN_MAX_LABEL] = {0};
  for (int64_t i = 0; i < s->count; i++) {
    int64_t at = 0;
    for (int k = 0; k < s->n; k++)
      at += idx[k] * v->stride[s->label[k]];
    t[i] = at;
    for (int k = s->n - 1; k >= 0 && ++idx[k] == w->size[s->label[k]]; k--)
      idx[k] = 0;
  }
  return t;
}

typedef struct Sink {
  DType dtype;
  void *data;
  int64_t at, n;
} Sink;

static void put_wide(void *arg, int64_t i, int64_t j, int64_t n, const double *f, const int64_t *z) {
  Sink *s = arg;
  if (f)
    store_f64(s->dtype, s->data, s->at + i * s->n + j, 1, n, f);
  else
    store_i64(s->dtype, s->data, s->at + i * s->n + j, 1, n, z);
}

/* r: dense, one axis for each of batch, rows, columns. */
static void dense_view(Work *w, View *r, const Labels *const *sets, int n) {
  int64_t stride = 1;
  for (int s = n - 1; s >= 0; s--)
    for (int k = sets[s]->n - 1; k >= 0; k--) {
      int l = sets[s]->label[k];
      r->has[l] = true;
      r->stride[l] = w->size[l] == 1 ? 0 : stride;
      stride *= w->size[l];
    }
}

/* a x b, keeping the labels in need. */
static Status contract(Work *w, const View *a, const View *b, const bool *need, View *r) {
  Eval *e = w->e;
  Labels batch = {.count = 1}, rows = {.count = 1}, cols = {.count = 1}, sum = {.count = 1};
  for (int l = 0; l < EIN_MAX_LABEL; l++)
    if (a->has[l] || b->has[l])
      add_label(w, !need[l] ? &sum : !b->has[l] ? &rows : !a->has[l] ? &cols : &batch, l);
  int64_t total = 0;
  *r = (View){.dtype = w->wide};
  if (batch.count < 0 || rows.count < 0 || cols.count < 0 || sum.count < 0 ||
      __builtin_mul_overflow(rows.count, cols.count, &total) || __builtin_mul_overflow(total, batch.count, &total))
    return eval_fail(e, "einsum: a partial result is too large");
  Tensor *out;
  TRY(tensor_new(e->c, e->scratch, w->wide, 1, &total, &out));
  r->data = out->data;
  dense_view(w, r, (const Labels *const[]){&batch, &rows, &cols}, 3);
  if (!total)
    return ST_OK;
  int64_t *ba = offsets(w, &batch, a), *bb = offsets(w, &batch, b);
  Sink s = {w->wide, out->data, 0, cols.count};
  Product p = {.m = rows.count, .n = cols.count, .k = sum.count, .put = put_wide, .arg = &s};
  p.a = (Operand){.dtype = a->dtype, .data = a->data, .row = offsets(w, &rows, a), .col = offsets(w, &sum, a)};
  p.b = (Operand){.dtype = b->dtype, .data = b->data, .row = offsets(w, &sum, b), .col = offsets(w, &cols, b)};
  product_prepare(e, &p, p.k);
  for (int64_t i = 0; i < batch.count; i++, s.at += p.m * p.n) {
    p.a.at = ba[i], p.b.at = bb[i];
    TRY(product_run(e, &p));
  }
  return ST_OK;
}

/* Sums an operand over the labels that nothing else needs, so that they do not multiply the work of the products. */
static Status sum_alone(Work *w, View *v, const bool *need) {
  static const double one_f = 1;
  static const int64_t one_i = 1;
  bool any = false;
  for (int l = 0; l < EIN_MAX_LABEL; l++)
    any |= v->has[l] && !need[l];
  if (!any)
    return ST_OK;
  View one = {.dtype = w->wide, .data = w->wide == DT_f64 ? (const void *)&one_f : (const void *)&one_i}, r;
  TRY(contract(w, v, &one, need, &r));
  *v = r;
  return ST_OK;
}

/* need[l]: the output or an operand from `from` on has label l. */
static void needed(const Work *w, int from, bool *need) {
  memset(need, 0, EIN_MAX_LABEL * sizeof *need);
  for (int k = 0; k < w->q.out.n; k++)
    need[w->q.out.label[k]] = true;
  for (int i = from; i < w->e->nin; i++)
    for (int k = 0; k < w->q.in[i].n; k++)
      need[w->q.in[i].label[k]] = true;
}

static void copy_out(Work *w, const View *v, Tensor *y) {
  int64_t idx[MAX_RANK] = {0}, n = tensor_count(y);
  for (int64_t i = 0; i < n; i++) {
    int64_t at = 0;
    for (int k = 0; k < y->rank; k++)
      at += idx[k] * v->stride[w->q.out.label[k]];
    if (w->wide == DT_f64)
      elem_set_f64(y->dtype, y->data, i, elem_f64(v->dtype, v->data, at));
    else
      elem_set_i64(y->dtype, y->data, i, elem_i64(v->dtype, v->data, at));
    next_index(y->rank, y->dim, idx);
  }
}

static bool all_finite(const Eval *e) {
  for (int i = 0; i < e->nin; i++)
    for (int64_t k = 0, n = tensor_count(e->in[i]); dtype_is_float(e->in[i]->dtype) && k < n; k++)
      if (!isfinite(elem_f64(e->in[i]->dtype, e->in[i]->data, k)))
        return false;
  return true;
}

/* Steps that sum as early as they can. */
static Status contract_early(Work *w, View *acc) {
  bool need[EIN_MAX_LABEL];
  *acc = view_of(w, 0);
  needed(w, 1, need);
  TRY(sum_alone(w, acc, need));
  for (int i = 1; i < w->e->nin; i++) {
    View next = view_of(w, i), r;
    needed(w, i + 1, need);
    bool alone[EIN_MAX_LABEL];
    for (int l = 0; l < EIN_MAX_LABEL; l++)
      alone[l] = need[l] || acc->has[l];
    TRY(sum_alone(w, &next, alone));
    TRY(contract(w, acc, &next, need, &r));
    *acc = r;
  }
  return ST_OK;
}

/* Steps of which the last one sums. */
static Status contract_late(Work *w, View *acc) {
  bool need[EIN_MAX_LABEL];
  *acc = view_of(w, 0);
  for (int i = 1; i < w->e->nin; i++) {
    View next = view_of(w, i), r;
    needed(w, i < w->e->nin - 1 ? 0 : w->e->nin, need);
    TRY(contract(w, acc, &next, need, &r));
    *acc = r;
  }
  return ST_OK;
}

/* Any number of operands; diagonals, ellipsis with broadcasting, implicit output. */
Status einsum_eval(Eval *e) {
  Work *w = arena_new(e->scratch, Work);
  int rank[EIN_MAX_IN];
  int64_t dim[MAX_RANK];
  Tensor *y;
  View acc;
  TRY(operands(e, e->nin > 1 ? e->nin : 1));
  for (int i = 0; i < e->nin; i++) {
    if (e->in[i]->dtype != e->in[0]->dtype)
      return eval_fail(e, "the inputs must have one element type");
    if (i < EIN_MAX_IN)
      rank[i] = e->in[i]->rank;
  }
  DType t = e->in[0]->dtype;
  if (!dtype_is_float(t) && !dtype_is_int(t))
    return eval_unsupported(e, "not defined for %s", dtype_name(t));
  w->e = e, w->wide = dtype_is_float(t) ? DT_f64 : DT_i64;
  TRY(einsum_parse(e->c, ((const EinsumAttr *)e->attr)->equation, e->nin, rank, &w->q));
  memset(w->size, -1, sizeof w->size);
  TRY(label_sizes(w));
  for (int k = 0; k < w->q.out.n; k++)
    dim[k] = w->size[w->q.out.label[k]];
  TRY(eval_out(e, 0, t, w->q.out.n, dim, &y));
  if (!tensor_count(y))
    return ST_OK;
  TRY(e->nin == 1 || all_finite(e) ? contract_early(w, &acc) : contract_late(w, &acc));
  copy_out(w, &acc, y);
  return ST_OK;
}
