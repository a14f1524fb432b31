/* int8.c - constants that products multiply by as whole numbers of 8 bits, a scale to 32 steps of k, where the caller asks for that
 * (--precision int8):
 *
 *     MatMul(x, w)   ->   MatMulNBits(x, B, scales)     w[k, n] about (B[n, k] - 128) * scales[n, k / 32]
 *
 * The scale is the block's largest magnitude / 127, so that a number is off by at most half a scale. alpha of a Gemm goes into the
 * scales, its C becomes an addition. Products of few steps of k, or by constants that are not finite, stay as they are.
 * Needs: types inferred. SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include "ops/eval/nbits.h"

#include <string.h>

enum { BLOCK = 32, MIDDLE = 128, MOST = 127, LEAST_K = 64 };

/* A constant, as nodes of graph g multiply by it. */
typedef struct Narrow {
  const Graph *g;
  const Value *from;
  bool trans;
  float alpha;
  Value *b, *scale;
  struct Narrow *next;
} Narrow;

typedef struct Int8 {
  Ctx *c;
  Arena *a;
  Narrow *known;
} Int8;

static bool f32_tensor(const Value *v) {
  return type_known(v) && v->type.dtype == DT_f32 && v->type.kind == VK_TENSOR && v->type.rank >= 2;
}

/* The constant matrix by which MatMul or Gemm n multiplies f32, as it is or transposed; NULL: there is none. */
static Value *matrix_of(const Node *n, bool *trans) {
  if (n->op != OP_MatMul && n->op != OP_Gemm)
    return NULL;
  Value *w = n->in[1];
  *trans = n->op == OP_Gemm && ATTR(n, Gemm)->transB;
  if ((n->op == OP_Gemm && ATTR(n, Gemm)->transA) || !f32_tensor(n->in[0]) || !f32_tensor(w) || w->type.rank != 2)
    return NULL;
  int64_t perm[MAX_RANK];
  int rank;
  const Node *t = def_of(w, OP_Transpose);
  if (t && perm_of(t, perm, &rank) && rank == 2 && perm[0] == 1)
    *trans = !*trans, w = t->in[0];
  return w->konst ? w : NULL;
}

/* Block by block of a few columns at a time, each made contiguous first. */
enum { COLUMNS = 64, INFINITE = 0x7f800000 };

typedef struct Square {
  float x[COLUMNS][BLOCK];
} Square;

/* Steps k0 to k0 + steps - 1 of `cols` columns from j0 on; zeros behind. */
static void read_square(const Narrow *x, const NBits *f, int64_t k0, int64_t steps, int64_t j0, int64_t cols,
                        Square *s) {
  const uint8_t *src = x->from->konst->data; /* at any address */
  if (steps < BLOCK)
    memset(s, 0, sizeof *s);
  for (int64_t j = 0; x->trans && j < cols; j++)
    memcpy(s->x[j], src + ((j0 + j) * f->k + k0) * 4, (size_t)steps * 4);
  for (int64_t k = 0; !x->trans && k < steps; k++) {
    float row[COLUMNS];
    memcpy(row, src + ((k0 + k) * f->n + j0) * 4, (size_t)cols * 4);
    for (int64_t j = 0; j < cols; j++)
      s->x[j][k] = row[j];
  }
}

/* The bits of the largest magnitude, which are in its order; INFINITE or more if there is something that is not finite. */
static int32_t largest(const float *x) {
  int32_t bits[BLOCK], most = 0;
  memcpy(bits, x, sizeof bits);
  for (int i = 0; i < BLOCK; i++) {
    int32_t magnitude = bits[i] & INT32_MAX;
    most = magnitude > most ? magnitude : most;
  }
  return most;
}

/* One block. Its numbers times 127 / the largest are rounded to nearest even by adding a number whose spacing is 1. */
static bool narrow_block(const float *x, uint8_t *b, float *scale) {
  static const float whole = 0x1.8p23f, least = 0x1p-100f; /* least: below it a block is 0 */
  int32_t bits = largest(x), base, sum[BLOCK];
  float most, shifted[BLOCK];
  memcpy(&most, &bits, sizeof most);
  if (bits >= INFINITE)
    return false;
  *scale = most < least ? 0 : most / MOST;
  float by = most < least ? 0 : MOST / most;
  for (int i = 0; i < BLOCK; i++)
    shifted[i] = x[i] * by + whole;
  memcpy(sum, shifted, sizeof sum), memcpy(&base, &whole, sizeof base);
  for (int i = 0; i < BLOCK; i++)
    b[i] = (uint8_t)(sum[i] - base + MIDDLE);
  return true;
}

/* The numbers and scales of x; false: it stays as it is. */
static bool narrow_matrix(const Narrow *x, const NBits *f, uint8_t *b, float *scale) {
  Square s;
  for (int64_t j0 = 0; j0 < f->n; j0 += COLUMNS)
    for (int64_t i = 0; i < f->blocks; i++) {
      int64_t k0 = i * BLOCK, cols = f->n - j0 < COLUMNS ? f->n - j0 : COLUMNS;
      read_square(x, f, k0, f->k - k0 < BLOCK ? f->k - k0 : BLOCK, j0, cols, &s);
      for (int64_t j = 0; j < cols; j++) {
        int64_t block = (j0 + j) * f->blocks + i;
        if (!narrow_block(s.x[j], b + block * BLOCK, scale + block))
          return false;
        scale[block] *= x->alpha;
      }
    }
  return true;
}

static Status narrow_of(Int8 *p, Graph *g, Narrow *x, const NBits *f) {
  Tensor *b, *scale;
  TRY(tensor_new(p->c, g->arena, DT_u8, 3, (const int64_t[]){f->n, f->blocks, BLOCK}, &b));
  TRY(tensor_new(p->c, g->arena, DT_f32, 2, (const int64_t[]){f->n, f->blocks}, &scale));
  if (narrow_matrix(x, f, b->data, scale->data))
    x->b = graph_add_const(g, NULL, b), x->scale = graph_add_const(g, NULL, scale);
  return ctx_poll(p->c);
}

/* x.b and x.scale as they are known of an earlier product, or worked out now. */
static Status narrow(Int8 *p, Graph *g, Narrow *x, const NBits *f) {
  for (const Narrow *y = p->known; y; y = y->next)
    if (y->g == g && y->from == x->from && y->trans == x->trans && y->alpha == x->alpha) {
      x->b = y->b, x->scale = y->scale;
      return ST_OK;
    }
  TRY(narrow_of(p, g, x, f));
  x->next = p->known;
  p->known = arena_copy(p->a, x, sizeof *x);
  return ST_OK;
}

static Value *product(Match *m, const Narrow *x, const NBits *f) {
  const Node *n = m->root;
  const GemmAttr *gemm = n->op == OP_Gemm ? ATTR(n, Gemm) : NULL;
  MatMulNBitsAttr attr = {.K = f->k, .N = f->n, .bits = 8, .block_size = BLOCK};
  Value *y = EMIT(m, MatMulNBits, &attr, n->in[0], x->b, x->scale);
  Value *add = gemm && n->nin > 2 && gemm->beta != 0 ? n->in[2] : NULL;
  if (add && gemm->beta != 1)
    add = EMIT(m, Mul, NULL, add, const_like(m, (double)gemm->beta, DT_f32));
  return add ? EMIT(m, Add, NULL, y, add) : y;
}

static Status turn(Int8 *p, Node *n) {
  Narrow x = {.g = n->graph, .alpha = n->op == OP_Gemm ? ATTR(n, Gemm)->alpha : 1};
  int64_t k, cols;
  NBits f;
  Value *w = matrix_of(n, &x.trans);
  if (!w || !dim_is_const(w->type.dim[x.trans ? 1 : 0], &k) || !dim_is_const(w->type.dim[x.trans ? 0 : 1], &cols) ||
      k < LEAST_K || !nbits_of(k, cols, 8, BLOCK, &f))
    return ST_OK;
  x.from = w;
  TRY(narrow(p, n->graph, &x, &f));
  if (!x.b)
    return ST_OK;
  Match m = {.c = p->c, .g = n->graph, .root = n, .node = {n}, .nnode = 1};
  Value *y = product(&m, &x, &f);
  TRY(m.st);
  replace_value(n->out[0], y);
  remove_dead(n);
  return ST_OK;
}

static Status int8(Int8 *p, Graph *g) {
  for (Node *n = g->first, *next; n; n = next) {
    next = n->next; /* stays: nodes are added and removed before it */
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        TRY(int8(p, n->body[b]));
    TRY(turn(p, n));
  }
  return ST_OK;
}

Status pass_int8(Ctx *c, Graph *g) {
  Int8 p = {.c = c, .a = arena_create(c)};
  Status st = int8(&p, g);
  arena_destroy(p.a);
  return st;
}
