/* ptx.c - runs the PTX that LLVM makes of our kernels. Registers hold 64 bits, whatever their type; narrow values are
 * kept zero-extended. Threads of a block run one after another from one meeting point (barrier, shuffle) to the next.
 * What the threads of a warp do together is in ptx_warp.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/null/half.h"
#include "tests/cuda/null/ptx_run.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- numbers --- */

static uint64_t cut(uint64_t v, unsigned bits) { return bits >= 64 ? v : v & (((uint64_t)1 << bits) - 1); }

static int64_t extend(uint64_t v, unsigned bits) {
  return bits >= 64 ? (int64_t)v : (int64_t)(v << (64 - bits)) >> (64 - bits);
}

double ptx_real(uint64_t v, Type t) {
  if (t.bits == 64) {
    double d;
    memcpy(&d, &v, 8);
    return d;
  }
  uint32_t w = t.brain ? (uint32_t)v << 16 : (uint32_t)v;
  float f;
  if (t.bits == 16 && !t.brain) { /* exactly: the exponent moves by 112 */
    uint32_t sign = (w & 0x8000) << 16, rest = w & 0x7fff;
    w = rest >= 0x7c00 ? rest << 13 | 0x7f800000 : rest << 13;
    memcpy(&f, &w, 4);
    f = rest >= 0x7c00 ? f : f * 0x1p112f;
    return sign ? -(double)f : (double)f;
  }
  memcpy(&f, &w, 4);
  return (double)f;
}

/* Of an f32. */
static uint64_t brain(double v) {
  float f = (float)v;
  uint32_t w;
  memcpy(&w, &f, 4);
  return isnan(v) ? 0x7fff : (w + 0x7fff + (w >> 16 & 1)) >> 16;
}

uint64_t ptx_bits(double v, Type t) {
  uint64_t r = 0;
  uint32_t w;
  float f = (float)v;
  if (t.bits == 64)
    memcpy(&r, &v, 8);
  else if (t.bits == 16)
    r = t.brain ? brain(v) : half(v);
  else
    memcpy(&w, &f, 4), r = w;
  return r;
}

/* --- running --- */

bool ptx_fault(Machine *m, const Thread *t, const char *fmt, ...) {
  va_list a;
  va_start(a, fmt);
  int n = snprintf(m->why, 256, "%s, line %d, block %u, thread %d: ", m->k->name, m->k->ins[t->pc].line, m->block,
                   (int)(t - m->thread));
  if (n < 256)
    vsnprintf(m->why + n, 256 - (size_t)n, fmt, a);
  va_end(a);
  return false;
}

uint64_t ptx_get(const Thread *t, const Operand *o) { return o->kind == K_REG ? t->reg[o->reg] : o->value; }

static bool compare(const Ins *x, uint64_t a, uint64_t b) {
  const char *c = x->compare;
  if (x->from.kind == 'f') {
    double u = ptx_real(a, x->from), v = ptx_real(b, x->from);
    bool none = isnan(u) || isnan(v);
    if (!strcmp(c, "nan") || !strcmp(c, "num"))
      return none == (c[1] == 'a');
    if (none)
      return c[2] == 'u';
    return c[0] == 'e'   ? u == v
           : c[0] == 'n' ? u != v
           : c[0] == 'l' ? (c[1] == 't' ? u < v : u <= v)
           : c[1] == 't' ? u > v
                         : u >= v;
  }
  a = cut(a, x->from.bits), b = cut(b, x->from.bits);
  int order = a == b ? 0 : a < b ? -1 : 1;
  if (x->from.kind == 's')
    order = a == b ? 0 : extend(a, x->from.bits) < extend(b, x->from.bits) ? -1 : 1;
  return c[0] == 'e'   ? !order
         : c[0] == 'n' ? order != 0
         : c[0] == 'l' ? (c[1] == 't' ? order < 0 : order <= 0)
         : c[1] == 't' ? order > 0
                       : order >= 0;
}

static double float_op(const Ins *x, double a, double b, double c) {
  switch (x->op) {
  case O_add: return a + b;
  case O_sub: return a - b;
  case O_mul: return a * b;
  case O_div: return a / b;
  case O_fma: return x->t.bits == 64 ? fma(a, b, c) : (double)fmaf((float)a, (float)b, (float)c);
  case O_sqrt: return sqrt(a);
  case O_rcp: return 1 / a;
  case O_ex2: return fabs(exp2(a)) < 0x1p-126 ? 0 : exp2(a); /* .ftz */
  case O_neg: return -a;
  case O_abs: return fabs(a);
  case O_copysign: return copysign(b, a);
  case O_min: return x->ftz_nan && (isnan(a) || isnan(b)) ? NAN : fmin(a, b);
  default: return x->ftz_nan && (isnan(a) || isnan(b)) ? NAN : fmax(a, b);
  }
}

static uint64_t product(const Ins *x, uint64_t a, uint64_t b) {
  unsigned n = x->t.bits;
  if (!x->hi)
    return x->t.kind == 's' ? (uint64_t)extend(a, n) * (uint64_t)extend(b, n) : cut(a, n) * cut(b, n);
  return x->t.kind == 's' ? (uint64_t)((__int128)extend(a, n) * extend(b, n) >> n)
                          : (uint64_t)((unsigned __int128)cut(a, n) * cut(b, n) >> n);
}

static uint64_t int_op(const Ins *x, uint64_t a, uint64_t b, uint64_t c) {
  unsigned n = x->t.bits;
  bool s = x->t.kind == 's';
  uint64_t ua = cut(a, n), ub = cut(b, n);
  int64_t sa = extend(a, n), sb = extend(b, n);
  switch (x->op) {
  case O_add: return a + b;
  case O_sub: return a - b;
  case O_mul:
  case O_mad: return product(x, a, b) + (x->op == O_mad ? c : 0);
  case O_div: return !ub ? (uint64_t)-1 : !s ? ua / ub : sb == -1 ? -(uint64_t)sa : (uint64_t)(sa / sb);
  case O_rem: return !ub ? ua : !s ? ua % ub : sb == -1 ? 0 : (uint64_t)(sa % sb);
  case O_min: return s ? (sa < sb ? a : b) : ua < ub ? a : b;
  case O_max: return s ? (sa > sb ? a : b) : ua > ub ? a : b;
  case O_neg: return -a;
  case O_abs: return sa < 0 ? -a : a;
  case O_and: return a & b;
  case O_or: return a | b;
  case O_xor: return a ^ b;
  case O_not: return ~a;
  case O_shl: return (uint32_t)b >= n ? 0 : a << (uint32_t)b;
  case O_shr:
    return s ? (uint64_t)(sa >> ((uint32_t)b >= n ? n - 1 : (uint32_t)b)) : (uint32_t)b >= n ? 0 : ua >> (uint32_t)b;
  case O_popc: return (uint64_t)__builtin_popcountll(ua);
  default: return ua ? (uint64_t)__builtin_clzll(ua) - (64 - n) : n;
  }
}

static uint64_t field_op(const Ins *x, const uint64_t *v) {
  unsigned n = x->t.bits;
  if (x->op == O_bfe) {
    unsigned at = v[1] & 0xff, len = v[2] & 0xff;
    uint64_t r = at >= n ? 0 : cut(cut(v[0], n) >> at, len > n - at ? n - at : len);
    return x->t.kind == 's' && len ? (uint64_t)extend(r, len) : r;
  }
  unsigned at = v[2] & 0xff, len = v[3] & 0xff;
  uint64_t mask = at >= n ? 0 : cut(~(uint64_t)0, len) << at;
  return (v[1] & ~mask) | (v[0] << (at & 63) & mask);
}

static uint64_t permute(const uint64_t *v) {
  uint64_t all = cut(v[1], 32) << 32 | cut(v[0], 32), r = 0;
  for (unsigned i = 0; i < 4; i++) {
    unsigned pick = (unsigned)(v[2] >> 4 * i) & 15;
    uint64_t byte = all >> 8 * (pick & 7) & 255;
    r |= (pick & 8 ? (byte & 128 ? 255 : 0) : byte) << 8 * i;
  }
  return r;
}

/* shf: 32 bits of two words beside each other, the second is the upper one. */
static uint64_t funnel(const Ins *x, const uint64_t *v) {
  uint64_t all = cut(v[1], 32) << 32 | cut(v[0], 32), by = cut(v[2], 32);
  by = !x->clamped ? by & 31 : by < 32 ? by : 32;
  return x->left ? all << by >> 32 : all >> by;
}

/* dp4a of signed bytes: c and the products of those of a and b. */
static uint64_t products_of_bytes(const uint64_t *v) {
  int64_t sum = (int64_t)v[2];
  for (int i = 0; i < 32; i += 8)
    sum += (int8_t)(v[0] >> i) * (int8_t)(v[1] >> i);
  return (uint64_t)sum;
}

static double rounded(char how, double v) {
  return how == 'z' ? trunc(v) : how == 'm' ? floor(v) : how == 'p' ? ceil(v) : nearbyint(v);
}

static uint64_t convert(const Ins *x, uint64_t a) {
  Type to = x->t, from = x->from;
  if (from.kind != 'f') {
    if (to.kind != 'f')
      return from.kind == 's' ? (uint64_t)extend(a, from.bits) : cut(a, from.bits);
    if (to.bits == 64)
      return ptx_bits(from.kind == 's' ? (double)extend(a, from.bits) : (double)cut(a, from.bits), to);
    return ptx_bits(from.kind == 's' ? (double)(float)extend(a, from.bits) : (double)(float)cut(a, from.bits), to);
  }
  double v = ptx_real(a, from);
  if (x->integer)
    v = rounded(x->round, v);
  if (to.kind == 'f') {
    bool toward_zero = !x->integer && x->round == 'z' && to.bits < from.bits;
    float f = (float)v;
    if (toward_zero && to.bits == 32 && fabs((double)f) > fabs(v))
      f = nextafterf(f, 0);
    return toward_zero && to.bits == 32 ? ptx_bits((double)f, to) : ptx_bits(v, to);
  }
  if (isnan(v))
    return 0;
  double top = ldexp(1, to.bits - (to.kind == 's')), low = to.kind == 's' ? -top : 0;
  if (v >= top)
    return to.kind == 's' ? cut(~(uint64_t)0, to.bits - 1u) : cut(~(uint64_t)0, to.bits);
  if (v <= low)
    return to.kind == 's' ? (uint64_t)1 << (to.bits - 1) : 0;
  return to.kind == 's' ? (uint64_t)(int64_t)v : (uint64_t)v;
}

uint8_t *ptx_address(Machine *m, Thread *t, uint64_t a, size_t size) {
  if (a % size) {
    ptx_fault(m, t, "%zu bytes at %#llx, which is no multiple of that", size, (unsigned long long)a);
    return NULL;
  }
  if (a >= SHARED_BASE && a + size <= (uint64_t)SHARED_BASE + SPACE)
    return m->shared + (a - SHARED_BASE);
  if (a >= LOCAL_BASE && a + size <= (uint64_t)LOCAL_BASE + SPACE)
    return t->local + (a - LOCAL_BASE);
  uint8_t *p = m->l->memory(m->l->arg, a, size);
  if (!p)
    ptx_fault(m, t, "%zu bytes at %#llx, where nothing is", size, (unsigned long long)a);
  return p;
}

/* Of a table of the module, which can be read only. NULL: it is not there. */
static const uint8_t *table_address(const PtxModule *m, uint64_t a, size_t size) {
  return a % size == 0 && a >= TABLE_BASE && a + size <= (uint64_t)TABLE_BASE + m->ntable ? m->table + (a - TABLE_BASE)
                                                                                          : NULL;
}

static bool load(Machine *m, Thread *t, const Ins *x) {
  size_t each = x->t.bits / 8u;
  if (x->space == 'p') {
    t->reg[x->dst[0].reg] = cut(m->l->param[x->src[0].value], x->t.bits);
    return true;
  }
  uint64_t a = (x->src[0].kind == K_REG ? t->reg[x->src[0].reg] : 0) + x->src[0].value;
  const uint8_t *p = table_address(m->k->module, a, each * x->vec);
  p = p ? p : ptx_address(m, t, a, each * x->vec);
  for (int i = 0; p && i < x->vec; i++) {
    uint64_t v = 0;
    memcpy(&v, p + each * (size_t)i, each);
    t->reg[x->dst[i].reg] = x->t.kind == 's' ? (uint64_t)extend(v, x->t.bits) : v;
  }
  return p != NULL;
}

static bool store(Machine *m, Thread *t, const Ins *x) {
  size_t each = x->t.bits / 8u;
  uint8_t *p =
      ptx_address(m, t, (x->src[0].kind == K_REG ? t->reg[x->src[0].reg] : 0) + x->src[0].value, each * x->vec);
  for (int i = 0; p && i < x->vec; i++) {
    uint64_t v = ptx_get(t, &x->src[1 + i]);
    memcpy(p + each * (size_t)i, &v, each);
  }
  return p != NULL;
}

/* One number to several registers, or several to one. */
static void move(Thread *t, const Ins *x) {
  unsigned part = x->t.bits / (x->ndst > 1 ? x->ndst : x->nsrc);
  if (x->ndst > 1) {
    uint64_t v = ptx_get(t, &x->src[0]);
    for (int i = 0; i < x->ndst; i++)
      t->reg[x->dst[i].reg] = cut(v >> (part * (unsigned)i), part);
    return;
  }
  uint64_t v = 0;
  for (int i = 0; i < x->nsrc; i++)
    v |= (x->nsrc > 1 ? cut(ptx_get(t, &x->src[i]), part) : ptx_get(t, &x->src[i])) << (part * (unsigned)i % 64);
  t->reg[x->dst[0].reg] = cut(v, x->t.bits);
}

static bool exchange(Machine *m, Thread *t, const Ins *x) {
  uint8_t *p = ptx_address(m, t, ptx_get(t, &x->src[0]), x->t.bits / 8u);
  uint64_t old = 0, now = ptx_get(t, &x->src[2]);
  if (!p)
    return false;
  memcpy(&old, p, x->t.bits / 8u);
  if (old == cut(ptx_get(t, &x->src[1]), x->t.bits))
    memcpy(p, &now, x->t.bits / 8u);
  t->reg[x->dst[0].reg] = old;
  return true;
}

static float to_f32(uint64_t v) {
  uint32_t w = (uint32_t)v;
  float f;
  memcpy(&f, &w, 4);
  return f;
}

static uint64_t of_f32(float f) {
  uint32_t w;
  memcpy(&w, &f, 4);
  return w;
}

static uint64_t compute(const Thread *t, const Ins *x) {
  uint64_t v[5] = {0}, r;
  for (int i = 0; i < x->nsrc; i++)
    v[i] = ptx_get(t, &x->src[i]);
  if (x->t.kind == 'f' && x->t.bits == 32) /* most of what kernels do */
    switch (x->op) {
    case O_add: return of_f32(to_f32(v[0]) + to_f32(v[1]));
    case O_sub: return of_f32(to_f32(v[0]) - to_f32(v[1]));
    case O_mul: return of_f32(to_f32(v[0]) * to_f32(v[1]));
    case O_fma: return of_f32(fmaf(to_f32(v[0]), to_f32(v[1]), to_f32(v[2])));
    default: break;
    }
  switch (x->op) {
  case O_setp: return compare(x, v[0], v[1]);
  case O_selp: r = v[2] & 1 ? v[0] : v[1]; break;
  case O_cvt:
    if (x->t.pair) /* the first becomes the upper half */
      return cut(convert(x, v[0]), 16) << 16 | cut(convert(x, v[1]), 16);
    r = convert(x, v[0]);
    if (x->t.kind == 's') /* registers are wider than s8: its sign goes on */
      return (uint64_t)extend(r, x->t.bits);
    break;
  case O_cvta: r = v[0]; break;
  case O_bfe:
  case O_bfi: r = field_op(x, v); break;
  case O_prmt: r = permute(v); break;
  case O_shf: r = funnel(x, v); break;
  case O_dp4a: r = products_of_bytes(v); break;
  default:
    if (x->t.kind == 'f') /* f32 in double: one rounding more changes nothing for + - * / sqrt */
      return ptx_bits(float_op(x, ptx_real(v[0], x->t), ptx_real(v[1], x->t), ptx_real(v[2], x->t)), x->t);
    r = int_op(x, v[0], v[1], v[2]);
    if (x->wide)
      return cut(r, 2u * x->t.bits);
  }
  return cut(r, x->t.bits);
}

/* Runs it to its end or to where it waits. */
static bool run_thread(Machine *m, Thread *t) {
  for (t->state = RUNS;; t->pc++) {
    if (t->pc >= m->k->nins) {
      snprintf(m->why, 256, "%s: a thread runs past the end", m->k->name);
      return false;
    }
    const Ins *x = &m->k->ins[t->pc];
    if (x->guard >= 0 && (t->reg[x->guard] & 1) == x->unless)
      continue;
    switch (x->op) {
    case O_ret: t->state = ENDED; return true;
    case O_bra: t->pc = m->k->label[x->src[0].value].at - 1; break;
    case O_bar:
    case O_barrier: t->state = AT_BARRIER, t->where = t->pc++; return true;
    case O_shfl:
    case O_mma:
    case O_ldmatrix: t->state = AT_WARP, t->where = t->pc++; return true;
    case O_ld:
      if (!load(m, t, x))
        return false;
      break;
    case O_st:
      if (!store(m, t, x))
        return false;
      break;
    case O_atom:
      if (!exchange(m, t, x))
        return false;
      break;
    case O_cp:
      if (!ptx_copies(m, t, x))
        return false;
      break;
    case O_mov: move(t, x); break;
    default: t->reg[x->dst[0].reg] = compute(t, x);
    }
  }
}

static bool run_warp(Machine *m, unsigned first, unsigned n) {
  Thread *warp = m->thread + first;
  for (;;) {
    bool together = false;
    for (unsigned j = 0; j < n; j++) {
      Thread *t = &warp[m->l->backwards ? n - 1 - j : j];
      if (t->state == RUNS && !run_thread(m, t))
        return false;
      together |= t->state == AT_WARP;
    }
    if (!together)
      return true;
    if (!ptx_together(m, warp, n))
      return false;
  }
}

static bool run_block(Machine *m) {
  unsigned n = m->l->threads, warps = (n + WARP - 1) / WARP;
  for (;;) {
    int at = -1;
    for (unsigned j = 0; j < warps; j++) {
      unsigned w = m->l->backwards ? warps - 1 - j : j;
      if (!run_warp(m, w * WARP, n - w * WARP < WARP ? n - w * WARP : WARP))
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
      if (m->thread[i].state == ENDED)
        continue;
      if (at >= 0 && m->thread[i].where != at)
        return ptx_fault(m, &m->thread[i], "the threads of a block wait at different barriers");
      at = m->thread[i].where;
      m->thread[i].state = RUNS;
    }
    if (at < 0)
      return true;
  }
}

bool ptx_run(const PtxKernel *k, const PtxLaunch *l, char why[256]) {
  size_t regs = (size_t)k->nreg * l->threads;
  uint64_t *reg = malloc(regs * sizeof *reg);
  uint8_t *local = malloc((size_t)SPACE * (k->local ? l->threads : 1)), *shared = malloc(SPACE);
  Machine m = {.k = k, .l = l, .thread = calloc(l->threads, sizeof(Thread)), .shared = shared, .why = why};
  bool ok = true;
  for (uint32_t j = 0; j < l->blocks && ok; j++) {
    m.block = l->backwards ? l->blocks - 1 - j : j;
    memset(reg, 0xee, regs * sizeof *reg);
    memset(shared, 0xee, SPACE);
    for (uint32_t i = 0; i < l->threads; i++) {
      m.thread[i] = (Thread){.reg = reg + (size_t)k->nreg * i, .local = local + (k->local ? (size_t)SPACE * i : 0)};
      uint64_t *r = m.thread[i].reg;
      r[0] = i, r[1] = m.block, r[2] = l->threads, r[3] = l->blocks;
    }
    ok = run_block(&m);
    for (uint32_t i = 0; i < l->threads; i++)
      free(m.thread[i].copy);
  }
  free(reg), free(local), free(shared), free(m.thread);
  return ok;
}
