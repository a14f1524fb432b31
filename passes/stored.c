/* stored.c - constant matrices that a file holds in 4 or 8 bits and dequantises in front of a product: the product reads them as they are.
 *
 *     MatMul(x, Mul(Cast(w), scale))          ->   MatMulNBits(x, B, scales)
 *     MatMul(x, DequantizeLinear(w, scale))   ->   MatMulNBits(x, B, scales, zeros)
 *
 * w is [k, n], or [n, k] and transposed behind that; a scale belongs to all of it, to a column, or to a block of k of a column.
 * Needs: types inferred, algebra (constants on the right). SPDX-License-Identifier: Apache-2.0 */
#include "passes/pass.h"
#include "passes/rewrite.h"

#include "ops/eval/nbits.h"

#include <string.h>

enum { LEAST_K = 32, BLOCK = 32, LONG_BLOCK = 128, COLUMNS = 64 };

typedef struct Stored {
  const Tensor *q, *scale, *zero; /* scale NULL: 1; zero NULL: 0 */
  bool trans;                     /* q is [n, k] */
  int64_t axis;                   /* of q that the scale runs along, where it is neither of one element nor blocked */
  int64_t block;                  /* 0: not blocked */
  int64_t per_n, per_block;       /* steps in scale and zero */
} Stored;

static const Tensor *narrow_constant(const Value *v) {
  DType t = v->type.dtype;
  return v->konst && v->konst->rank == 2 && (t == DT_i8 || t == DT_u8 || t == DT_i4 || t == DT_u4) ? v->konst : NULL;
}

static const Tensor *f32_constant(const Value *v) { return v->konst && v->type.dtype == DT_f32 ? v->konst : NULL; }

/* Cast(w), or that times a scale which broadcasts along one axis of w. */
static bool cast_source(Match *m, Value *v, Stored *s) {
  Node *mul = def_of(v, OP_Mul), *cast = def_of(mul ? mul->in[0] : v, OP_Cast);
  if (!cast || !(s->q = narrow_constant(cast->in[0])))
    return false;
  match_also(m, cast);
  if (!mul)
    return true;
  s->scale = f32_constant(mul->in[1]);
  if (!s->scale || !same_shape(mul->in[0], v))
    return false;
  match_also(m, mul);
  int rank = s->scale->rank;
  s->axis = rank == 2 && s->scale->dim[0] != 1 ? 0 : 1;
  return rank < 2 || s->scale->dim[1 - s->axis] == 1;
}

static bool linear_source(Match *m, Value *v, Stored *s) {
  Node *n = def_of(v, OP_DequantizeLinear);
  if (!n || !(s->q = narrow_constant(n->in[0])) || !(s->scale = f32_constant(n->in[1])))
    return false;
  const DequantizeLinearAttr *a = ATTR(n, DequantizeLinear);
  if (n->nin > 2 && n->in[2] && !(s->zero = n->in[2]->konst))
    return false;
  s->axis = axis_of(a->axis, n->in[0]), s->block = a->block_size;
  match_also(m, n);
  return s->axis >= 0;
}

/* Where the scale of a column and block lies; false: it is none of such. */
static bool place_scales(Stored *s, const NBits *f) {
  int along_k = s->trans ? 1 : 0;
  if (s->block) {
    if (s->axis != along_k || s->scale->rank != 2 || tensor_count(s->scale) != f->blocks * f->n)
      return false;
    s->per_n = s->trans ? f->blocks : 1, s->per_block = s->trans ? 1 : f->n;
  } else if (s->scale && tensor_count(s->scale) != 1) {
    if (s->axis == along_k || tensor_count(s->scale) != f->n)
      return false;
    s->per_n = 1;
  }
  return !s->zero || tensor_count(s->zero) == (s->scale ? tensor_count(s->scale) : 1);
}

/* Unsigned numbers, a column's k in order. */
static void fill_numbers(const Stored *s, const NBits *f, uint8_t *b) {
  int flip = s->q->dtype == DT_i8 || s->q->dtype == DT_i4 ? 1 << (f->bits - 1) : 0, per_byte = 8 / f->bits;
  int64_t bytes = nbits_column_bytes(f);
  memset(b, 0, (size_t)(f->n * bytes));
  for (int64_t n0 = 0; n0 < f->n; n0 += COLUMNS)
    for (int64_t k = 0; k < f->k; k++)
      for (int64_t n = n0; n < f->n && n < n0 + COLUMNS; n++) {
        int v = nbits_get(s->q->data, f->bits, s->trans ? n * f->k + k : k * f->n + n) ^ flip;
        b[n * bytes + k / per_byte] |= (uint8_t)(v << k % per_byte * f->bits);
      }
}

static void fill_scales(const Stored *s, const NBits *f, float *scale, float *zero) {
  int middle = s->q->dtype == DT_i8 || s->q->dtype == DT_i4 ? 1 << (f->bits - 1) : 0;
  for (int64_t n = 0; n < f->n; n++)
    for (int64_t i = 0; i < f->blocks; i++) {
      int64_t at = n * s->per_n + i * s->per_block;
      scale[n * f->blocks + i] = s->scale ? (float)elem_f64(DT_f32, s->scale->data, at) : 1;
      if (zero)
        zero[n * f->blocks + i] = (float)(middle + (s->zero ? elem_i64(s->zero->dtype, s->zero->data, at) : 0));
    }
}

/* All zero points are what MatMulNBits takes where it is given none. */
static bool usual_zeros(const Stored *s, const NBits *f) {
  bool is_signed = s->q->dtype == DT_i8 || s->q->dtype == DT_i4;
  if (!s->zero)
    return is_signed;
  for (int64_t i = 0; i < tensor_count(s->zero); i++)
    if (elem_i64(s->zero->dtype, s->zero->data, i) != (is_signed ? 0 : 1 << (f->bits - 1)))
      return false;
  return true;
}

static Value *make(Match *m) {
  Value *x = m->root->in[0], *w = m->root->in[1], *zeros = NULL;
  Stored s = {0};
  NBits f;
  Tensor *b, *scale, *zero = NULL;
  int64_t perm[MAX_RANK];
  int rank;
  Node *t = def_of(w, OP_Transpose);
  if (!type_known(x) || !type_known(w) || x->type.dtype != DT_f32 || w->type.dtype != DT_f32 || x->type.rank < 2 ||
      w->type.rank != 2)
    return NULL;
  if (t && perm_of(t, perm, &rank) && perm[0] == 1) {
    s.trans = true, w = t->in[0];
    match_also(m, t);
  }
  if (!cast_source(m, w, &s) && !linear_source(m, w, &s))
    return NULL;
  int64_t k = s.q->dim[s.trans ? 1 : 0], n = s.q->dim[s.trans ? 0 : 1];
  if (k < LEAST_K ||
      !nbits_of(k, n, dtype_bits(s.q->dtype),
                s.block          ? s.block
                : k < LONG_BLOCK ? BLOCK
                                 : LONG_BLOCK,
                &f) ||
      !place_scales(&s, &f))
    return NULL;
  const int64_t of_numbers[] = {n, f.blocks, nbits_column_bytes(&f) / f.blocks};
  if ((m->st = tensor_new(m->c, m->g->arena, DT_u8, 3, of_numbers, &b)) ||
      (m->st = tensor_new(m->c, m->g->arena, DT_f32, 2, of_numbers, &scale)) ||
      (!usual_zeros(&s, &f) && (m->st = tensor_new(m->c, m->g->arena, DT_f32, 2, of_numbers, &zero))))
    return NULL;
  fill_numbers(&s, &f, b->data);
  fill_scales(&s, &f, scale->data, zero ? zero->data : NULL);
  if (zero)
    zeros = graph_add_const(m->g, NULL, zero);
  MatMulNBitsAttr a = {.K = k, .N = n, .bits = f.bits, .block_size = f.block};
  return emit(m, OP_MatMulNBits, &a, zeros ? 4 : 3,
              (Value *[]){x, graph_add_const(m->g, NULL, b), graph_add_const(m->g, NULL, scale), zeros});
}

static const Rule rules[] = {{"product by a constant of few bits", OPERATOR(MatMul), make}};

Status pass_stored(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
