/* oracle.c - see oracle.h. SPDX-License-Identifier: Apache-2.0 */
#include "tests/random/random.h"

#include <math.h>
#include <stdio.h>

/* Bits of the significand that a shaken result keeps. */
static int kept_bits(DType t) {
  switch (t) {
  case DT_f64: return 49;
  case DT_f32: return 21;
  case DT_f16: return 9;
  case DT_bf16: return 6;
  default: return 2;
  }
}

/* The smallest number above 0. */
static double smallest(DType t) {
  switch (t) {
  case DT_f64: return ldexp(1, -1074);
  case DT_f32: return ldexp(1, -149);
  case DT_f16: return ldexp(1, -24);
  case DT_bf16: return ldexp(1, -133);
  default: return 0;
  }
}

/* The largest finite magnitude. */
static double largest(const Tensor *t) {
  double most = 0;
  for (int64_t k = 0; dtype_is_float(t->dtype) && k < tensor_count(t); k++) {
    double v = fabs(elem_f64(t->dtype, t->data, k));
    most = isfinite(v) && v > most ? v : most;
  }
  return most;
}

/* What an element is off by whatever its size, in the units that it is shaken by: where terms cancel inside of an operator. */
static double noise(const Node *n, const Tensor *t) {
  switch (n ? n->op : OP_none) {
  case OP_HannWindow:
  case OP_HammingWindow:
  case OP_BlackmanWindow:
  case OP_Gelu: /* 1 + erf */
  case OP_LSTM:
  case OP_RNN: return 1;
  case OP_GRU: return fmax(1, largest(t) / 16); /* 1 - z, times what an activation without bounds gives */
  case OP_LogSoftmax: return 0.125;             /* log of a sum near 1 */
  case OP_MatMul:
  case OP_Gemm:
  case OP_Einsum:
  case OP_Conv:
  case OP_ConvTranspose:
  case OP_DeformConv:
  case OP_Col2Im:
  case OP_ReduceSum:
  case OP_ReduceMean:
  case OP_CumSum:
  case OP_Det:
  case OP_RotaryEmbedding:
  case OP_LinearRegressor: return largest(t) / 16;
  case OP_DFT:
  case OP_STFT: return largest(t);
  case OP_GridSample: return 4 * largest(t); /* samples at rounded positions */
  default: return 0;
  }
}

typedef struct Shaker {
  Rng r;
  bool zero; /* what may be 0 is 0, else now and then */
} Shaker;

/* Every element by up to two units of what is kept. */
static void shake(void *arg, const Node *n, Tensor *t) {
  Shaker *s = arg;
  if (t->kind != VK_TENSOR || !dtype_is_float(t->dtype))
    return;
  double unit = ldexp(1, -kept_bits(t->dtype)), rough = noise(n, t);
  for (int64_t i = 0, count = tensor_count(t); i < count; i++) {
    double v = elem_f64(t->dtype, t->data, i), by = unit * (double)(rng_below(&s->r, 257) - 128) / 64;
    if (fabs(v) < unit * rough && (s->zero || rng_chance(&s->r, 30)))
      elem_set_f64(t->dtype, t->data, i, 0);
    else if (isfinite(v) && (v != 0 || rough != 0))
      elem_set_f64(t->dtype, t->data, i, v + (fabs(v) + rough) * by);
  }
}

static bool same_types(const Oracle *o, const Tensor **x) {
  for (uint32_t i = 0; i < o->n; i++)
    if (x[i]->dtype != o->want[i]->dtype || !tensor_same_shape(x[i], o->want[i]))
      return false;
  return true;
}

/* As interp_run, and keeps the values. */
static Status run(Ctx *c, Arena *a, const Graph *g, Tensor *const *in, Oracle *out) {
  Interp x = {.c = c, .a = a, .value = arena_array(a, Tensor *, *g->next_id)};
  for (uint32_t i = 0; i < g->nin; i++) {
    x.value[g->in[i]->id] = in[i];
    TRY(interp_check(&x, g->in[i], in[i]));
  }
  TRY(interp_graph(&x, g));
  for (uint32_t i = 0; i < g->nout; i++)
    out->want[i] = interp_value(&x, g->out[i]);
  out->value = x.value;
  return ST_OK;
}

bool oracle_run(Ctx *c, Arena *a, const Graph *g, Tensor *const *in, uint64_t seed, Oracle *out) {
  *out = (Oracle){.n = g->nout, .want = arena_array(a, const Tensor *, g->nout)};
  if (run(c, a, g, in, out))
    return false;
  for (int k = 0; k < SHAKES; k++) {
    Shaker r = {{seed * 31 + (uint64_t)k + 1}, k == 0};
    const Tensor **x = arena_array(a, const Tensor *, g->nout);
    Tensor **moved = arena_array(a, Tensor *, g->nin);
    for (uint32_t i = 0; i < g->nin; i++) {
      moved[i] = arena_copy(a, in[i], sizeof *in[i]);
      moved[i]->data = arena_get(a, tensor_bytes(in[i]) + 1, 1, 64);
      memcpy(moved[i]->data, in[i]->data, tensor_bytes(in[i]));
      shake(&r, NULL, moved[i]);
    }
    if (!interp_run_with(c, a, g, moved, x, shake, &r) && same_types(out, x))
      out->shake[k] = x;
  }
  return true;
}

/* 1 at most: cancellation inside of an operator (log of a sum near 1, 1 + erf) is not shaken. */
static double scale_of(const Tensor *t) { return fmin(largest(t), 1); }

/* Integers of 64 bits may differ where they are the same as doubles. */
static bool same_number(const Tensor *a, const Tensor *b, int64_t k) {
  if (dtype_is_int(a->dtype))
    return elem_i64(a->dtype, a->data, k) == elem_i64(b->dtype, b->data, k);
  double x = elem_f64(a->dtype, a->data, k), y = elem_f64(b->dtype, b->data, k);
  return x == y || (isnan(x) && isnan(y));
}

double oracle_bound(const Oracle *o, uint32_t i, int64_t k) {
  const Tensor *want = o->want[i];
  double x = elem_f64(want->dtype, want->data, k), spread = 0;
  bool real = dtype_is_float(want->dtype);
  for (int s = 0; s < SHAKES; s++) {
    if (!o->shake[s])
      return INFINITY; /* the graph does not bear rounding */
    double z = elem_f64(want->dtype, o->shake[s][i]->data, k);
    if (real ? isfinite(z) != isfinite(x) || isnan(z) != isnan(x) : !same_number(want, o->shake[s][i], k))
      return INFINITY;
    spread = fabs(z - x) > spread ? fabs(z - x) : spread;
  }
  double gradual = 4 * smallest(want->dtype); /* what rounding below the normal numbers may cost */
  return real ? 16 * spread + ldexp(4 * fabs(x) + scale_of(want), -kept_bits(want->dtype)) + gradual : 0;
}

bool oracle_steady(const Oracle *o) {
  for (int s = 0; s < SHAKES; s++)
    if (!o->shake[s])
      return false;
  return true;
}

/* May element k of output i be that of got? */
static bool element_ok(const Oracle *o, uint32_t i, int64_t k, const Tensor *got) {
  if (same_number(o->want[i], got, k))
    return true;
  double bound = oracle_bound(o, i, k), x = elem_f64(got->dtype, o->want[i]->data, k);
  return isinf(bound) || (!dtype_is_int(got->dtype) && fabs(x - elem_f64(got->dtype, got->data, k)) <= bound);
}

bool oracle_accepts(const Oracle *o, uint32_t i, const Tensor *got, char *why, size_t cap) {
  const Tensor *want = o->want[i];
  char a[160], b[160];
  if (got->dtype != want->dtype || !tensor_same_shape(got, want)) {
    snprintf(why, cap, "output %u is %s, not %s", i, tensor_type_text(got, a, sizeof a),
             tensor_type_text(want, b, sizeof b));
    return !oracle_steady(o) && got->dtype == want->dtype;
  }
  for (int64_t k = 0; k < tensor_count(want); k++) {
    double y = elem_f64(got->dtype, got->data, k);
    if (!element_ok(o, i, k, got)) {
      snprintf(why, cap, "output %u (%s), element %lld is %.9g, not %.9g", i, tensor_type_text(want, a, sizeof a),
               (long long)k, y, elem_f64(want->dtype, want->data, k));
      return false;
    }
  }
  return true;
}
