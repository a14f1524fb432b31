/* symbols.c - the values of symbols and dim expressions in one run.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/internal.h"

#include "support/checked.h"
#include "support/dim.h"

#include <stdio.h>
#include <string.h>

void rt_symbols_init(Symbols *s, const RtProgram *p, Arena *a) {
  uint32_t n = rt_count(p, SEC_SYMBOLS), m = rt_count(p, SEC_EXPRS);
  *s = (Symbols){.p = p, .epoch = 1};
  s->value = arena_array(a, int64_t, n);
  s->from = arena_array(a, uint32_t, n);
  s->memo = arena_array(a, int64_t, m);
  s->memo_epoch = arena_array(a, uint32_t, m);
  for (uint32_t i = 0; i < n; i++)
    s->value[i] = UNBOUND, s->from[i] = PROG_NONE;
}

void rt_symbols_bind(Symbols *s, uint32_t sym, int64_t v) {
  if (s->value[sym] != UNBOUND && s->value[sym] != v)
    s->epoch++; /* what was computed from the old value no longer holds */
  s->value[sym] = v;
}

/* The least integer would stand for `unbound`; the next one says the same about any extent, start or axis. */
void rt_symbols_bind_from(Symbols *s, uint32_t sym, uint32_t place, const Tensor *t) {
  uint64_t bits = 0;
  size_t size = (size_t)dtype_bits(t->dtype) / 8;
  uint32_t i = place - BIND_ELEMENT;
  if (t->kind != VK_TENSOR)
    return;
  if (place < MAX_RANK) {
    if ((int)place < t->rank)
      rt_symbols_bind(s, sym, t->dim[place]);
    return;
  }
  if ((t->dtype != DT_i64 && t->dtype != DT_i32) || !t->data || (int64_t)i >= tensor_count(t))
    return;
  memcpy(&bits, (const char *)t->data + i * size, size); /* the caller's memory may be unaligned */
  int64_t v = elem_i64(t->dtype, &bits, 0);
  rt_symbols_bind(s, sym, v == UNBOUND ? v + 1 : v);
}

void rt_symbols_forget(Symbols *s, uint32_t sym) {
  if (s->value[sym] != UNBOUND)
    s->epoch++;
  s->value[sym] = UNBOUND;
}

static bool apply(uint32_t op, int64_t x, int64_t y, int64_t *v) {
  switch (op) {
  case DIM_ADD: return add_ok(x, y, v);
  case DIM_MUL: return mul_ok(x, y, v);
  case DIM_DIV:
  case DIM_MOD: {
    if (!y || (y == -1 && x == INT64_MIN))
      return false;
    int64_t q = x / y;
    if (q * y != x && (x < 0) != (y < 0))
      q--;
    *v = op == DIM_DIV ? q : x - y * q;
    return true;
  }
  case DIM_MIN: *v = x < y ? x : y; return true;
  case DIM_MAX: *v = x > y ? x : y; return true;
  default: *v = x == 1 ? y : x; return x == y || x == 1 || y == 1;
  }
}

/* Expressions refer to earlier ones only, and chains are as long as a sum has terms: the recursion is shallow. A crafted
 * program could make it deep, so it is bounded. */
static bool eval_at(Symbols *s, uint32_t i, int64_t *v, int depth) {
  const ProgExpr *e = REC(s->p, SEC_EXPRS, ProgExpr) + i;
  int64_t x, y;
  if (e->op == DIM_CONST) {
    *v = e->value;
    return true;
  }
  if (e->op == DIM_SYM) {
    *v = s->value[e->a];
    return *v != UNBOUND;
  }
  if (s->memo_epoch[i] == s->epoch) {
    *v = s->memo[i];
    return true;
  }
  if (depth > 500 || !eval_at(s, e->a, &x, depth + 1) || !eval_at(s, e->b, &y, depth + 1) || !apply(e->op, x, y, v))
    return false;
  s->memo[i] = *v, s->memo_epoch[i] = s->epoch;
  return true;
}

bool rt_symbols_eval(Symbols *s, uint32_t expr, int64_t *v) { return eval_at(s, expr, v, 0); }

bool rt_symbols_dims(Symbols *s, const ProgSlot *slot, int64_t *dim) {
  if (slot->rank < 0)
    return false;
  for (int k = 0; k < slot->rank; k++)
    if (!rt_symbols_eval(s, rt_list(s->p, slot->dims + (uint32_t)k), &dim[k]))
      return false;
  return true;
}

/* --- inputs --- */

static const char *declared(const RtProgram *p, const ProgPort *port, char *buf, size_t cap) {
  const ProgSlot *s = rt_slot(p, port->slot);
  int n = snprintf(buf, cap, "%s[", s->dtype ? dtype_name(s->dtype) : "?");
  for (int k = 0; k < s->rank && n > 0 && (size_t)n < cap; k++)
    n += snprintf(buf + n, cap - (size_t)n, "%s%s", k ? ", " : "",
                  rt_string(p, rt_list(p, port->dim_text + (uint32_t)k)));
  if (n > 0 && (size_t)n < cap)
    snprintf(buf + n, cap - (size_t)n, s->rank < 0 ? "*]" : "]");
  return buf;
}

static Status wrong_input(const RtProgram *p, Ctx *c, uint32_t i, const Tensor *t, const char *why) {
  char want[256], have[256];
  const ProgPort *port = rt_input(p, i);
  return fail(c, ST_INVALID, "input '%s' is %s but the model takes %s%s", rt_string(p, port->name),
              tensor_type_text(t, have, sizeof have), declared(p, port, want, sizeof want), why);
}

static Status check_type(const RtProgram *p, Ctx *c, uint32_t i, const Tensor *t) {
  const ProgSlot *s = rt_slot(p, rt_input(p, i)->slot);
  int64_t count, d;
  if (t->kind != s->vkind)
    return wrong_input(p, c, i, t, "");
  if (t->kind != VK_TENSOR)
    return ST_OK;
  if (s->dtype && t->dtype != s->dtype)
    return wrong_input(p, c, i, t, ": another element type");
  if (s->rank >= 0 && t->rank != s->rank)
    return wrong_input(p, c, i, t, ": another number of dimensions");
  if (!extent_ok(t->dim, t->rank, &count))
    return wrong_input(p, c, i, t, ": not a shape");
  for (int k = 0; k < s->rank; k++)
    if ((d = rt_const_dim(p, s, k)) >= 0 && d != t->dim[k])
      return wrong_input(p, c, i, t, "");
  return ST_OK;
}

/* Distinct unbound symbols of an expression, and one of them: 0, 1, or 2 for more. budget bounds the walk: a crafted program
 * may share operands so that it is endless. */
static uint32_t unbound(const Symbols *s, uint32_t expr, uint32_t *sym, int *budget) {
  const ProgExpr *e = REC(s->p, SEC_EXPRS, ProgExpr) + expr;
  if (e->op == DIM_CONST)
    return 0;
  if (--*budget < 0)
    return 2;
  if (e->op == DIM_SYM) {
    if (s->value[e->a] != UNBOUND)
      return 0;
    *sym = e->a;
    return 1;
  }
  uint32_t x = PROG_NONE, y = PROG_NONE, n = unbound(s, e->a, &x, budget), m = n < 2 ? unbound(s, e->b, &y, budget) : 2;
  *sym = n ? x : y;
  return n == 1 && m == 1 && x == y ? 1 : n + m > 2 ? 2 : n + m;
}

static uint32_t unknowns(const Symbols *s, uint32_t expr, uint32_t *sym) {
  int budget = 2000;
  return unbound(s, expr, sym, &budget);
}

typedef enum { SOLVED, IMPOSSIBLE, NOT_LINEAR } Solution;

/* Solves expr == v for its one unbound symbol, when expr is linear in it (seen at 0, 1 and 2; a wrong guess is found by the
 * check that every dimension gets afterwards). */
static Solution solve(Symbols *s, uint32_t expr, uint32_t sym, int64_t v) {
  int64_t at[3], slope, second, rest;
  bool ok = true;
  for (int k = 0; k < 3; k++) {
    rt_symbols_bind(s, sym, k);
    ok = ok && rt_symbols_eval(s, expr, &at[k]);
  }
  rt_symbols_forget(s, sym);
  if (!ok || !sub_ok(at[1], at[0], &slope) || !sub_ok(at[2], at[1], &second) || slope != second || !slope)
    return NOT_LINEAR;
  if (!sub_ok(v, at[0], &rest) || (slope == -1 && rest == INT64_MIN) || rest % slope || rest / slope < 0)
    return IMPOSSIBLE;
  rt_symbols_bind(s, sym, rest / slope);
  return SOLVED;
}

static Status mismatch(Symbols *s, Ctx *c, uint32_t i, int axis, int64_t have, uint32_t expr) {
  const RtProgram *p = s->p;
  const ProgPort *port = rt_input(p, i);
  const char *text = rt_string(p, rt_list(p, port->dim_text + (uint32_t)axis));
  const ProgExpr *e = REC(p, SEC_EXPRS, ProgExpr) + expr;
  int64_t want;
  if (!rt_symbols_eval(s, expr, &want))
    return fail(c, ST_INVALID, "dimension %d of input '%s' is %lld, which '%s' cannot be", axis,
                rt_string(p, port->name), (long long)have, text);
  if (e->op == DIM_SYM && s->from[e->a] != PROG_NONE) {
    uint32_t from = s->from[e->a];
    return fail(c, ST_INVALID, "dimension %d of input '%s' is %lld, but '%s' is %lld by dimension %u of input '%s'",
                axis, rt_string(p, port->name), (long long)have, text, (long long)want, from & 255,
                rt_string(p, rt_input(p, from >> 8)->name));
  }
  return fail(c, ST_INVALID, "dimension %d of input '%s' is %lld, but '%s' is %lld", axis, rt_string(p, port->name),
              (long long)have, text, (long long)want);
}

/* An extent whose expression nothing determines, as `height//8` where height stands nowhere else, can be anything. */
static bool undetermined(Symbols *s, uint32_t expr, int64_t v) {
  uint32_t sym = PROG_NONE, n = unknowns(s, expr, &sym);
  return n > 1 || (n == 1 && solve(s, expr, sym, v) == NOT_LINEAR);
}

/* Binds symbols until nothing more follows from the shapes. */
static void bind_all(Symbols *s, const Tensor *const *in, uint32_t nin) {
  for (bool more = true; more;) {
    more = false;
    for (uint32_t i = 0; i < nin; i++) {
      const ProgSlot *slot = rt_slot(s->p, rt_input(s->p, i)->slot);
      for (int k = 0; in[i]->kind == VK_TENSOR && k < slot->rank; k++) {
        uint32_t sym = PROG_NONE, expr = rt_list(s->p, slot->dims + (uint32_t)k);
        if (unknowns(s, expr, &sym) == 1 && solve(s, expr, sym, in[i]->dim[k]) == SOLVED)
          s->from[sym] = i << 8 | (uint32_t)k, more = true;
      }
    }
  }
}

Status rt_symbols_from_inputs(Symbols *s, Ctx *c, const Tensor *const *in) {
  uint32_t nin = rt_count(s->p, SEC_INPUTS);
  for (uint32_t i = 0; i < nin; i++)
    TRY(check_type(s->p, c, i, in[i]));
  bind_all(s, in, nin);
  for (uint32_t i = 0; i < nin; i++) {
    const ProgSlot *slot = rt_slot(s->p, rt_input(s->p, i)->slot);
    for (int k = 0; in[i]->kind == VK_TENSOR && k < slot->rank; k++) {
      int64_t v;
      uint32_t expr = rt_list(s->p, slot->dims + (uint32_t)k);
      if (undetermined(s, expr, in[i]->dim[k]))
        continue;
      if (!rt_symbols_eval(s, expr, &v) || v != in[i]->dim[k])
        return mismatch(s, c, i, k, in[i]->dim[k], expr);
    }
  }
  return ST_OK;
}
