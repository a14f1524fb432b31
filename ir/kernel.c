/* kernel.c - building and verifying kernels, and the signature under which compiled code is shared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/kernel.h"

#include <math.h>
#include <string.h>

typedef struct OpRow {
  const char *name, *text;
  uint8_t arity;
  bool boolean; /* the result is a bool */
} OpRow;

#define S false
#define B true
static const OpRow rows[KOP_count] = {
#define KOP(name, arity, result, text) [KOP_##name] = {#name, text, arity, result},
#include "ir/kernel.def"
#undef KOP
};
#undef S
#undef B

const char *kop_text(KOp op) { return rows[op].text; }
int kop_arity(KOp op) { return rows[op].arity; }

KOp kop_find(const char *text, size_t n) {
  for (int op = 1; op < KOP_count; op++)
    if (strlen(rows[op].text) == n && !memcmp(rows[op].text, text, n))
      return (KOp)op;
  return KOP_none;
}

/* --- building --- */

Kernel *kernel_create(Ctx *c, Arena *a, const char *name) {
  Kernel *k = arena_new(a, Kernel);
  k->arena = a, k->c = c;
  k->name = arena_strdup(a, name);
  return k;
}

KBuf *kernel_add_buf(Kernel *k, const char *name, DType t, int rank, Dim const *dim, bool output) {
  KBuf *b = arena_new(k->arena, KBuf);
  *b = (KBuf){
      .name = arena_strdup(k->arena, name), .dtype = t, .rank = (int8_t)rank, .output = output, .index = k->nbuf};
  for (int i = 0; i < rank; i++)
    b->dim[i] = dim[i];
  KBuf **list = arena_array(k->arena, KBuf *, k->nbuf + 1u);
  if (k->nbuf)
    memcpy(list, k->buf, k->nbuf * sizeof *list);
  list[k->nbuf++] = b;
  k->buf = list;
  k->nio = k->nbuf;
  if (!output)
    k->nin++;
  return b;
}

KBuf *kernel_add_temp(Kernel *k, const char *name, DType t, int rank, Dim const *dim) {
  uint32_t nio = k->nio;
  KBuf *b = kernel_add_buf(k, name, t, rank, dim, true);
  b->temp = true;
  k->nio = nio;
  return b;
}

static KExpr *expr(Kernel *k, KExprKind kind, DType t) {
  KExpr *e = arena_new(k->arena, KExpr);
  e->kind = (uint8_t)kind, e->dtype = t;
  return e;
}

KExpr *ke_float(Kernel *k, DType t, double v) {
  KExpr *e = expr(k, KE_FLOAT, t);
  e->f = v;
  return e;
}

KExpr *ke_int(Kernel *k, DType t, int64_t v) {
  KExpr *e = expr(k, KE_INT, t);
  e->i = v;
  return e;
}

KExpr *ke_dim(Kernel *k, Dim d) {
  int64_t v;
  if (dim_is_const(d, &v))
    return ke_int(k, DT_i64, v);
  KExpr *e = expr(k, KE_DIM, DT_i64);
  e->dim = d;
  return e;
}

KExpr *ke_var(Kernel *k, KVar *v) {
  KExpr *e = expr(k, KE_VAR, v->dtype);
  e->var = v;
  return e;
}

KExpr *ke_load(Kernel *k, KBuf *b, KExpr *const *index) {
  KExpr *e = expr(k, KE_LOAD, b->dtype);
  e->buf = b;
  e->index = arena_copy(k->arena, index, (size_t)b->rank * sizeof *index);
  return e;
}

static bool is_int(const KExpr *e, int64_t v) { return e->kind == KE_INT && e->i == v; }

/* i64 indices are what there is to fold; floats are left as the operators wrote them. */
static KExpr *fold_index(Kernel *k, KOp op, KExpr *a, KExpr *b) {
  int64_t r;
  bool both = a->kind == KE_INT && b->kind == KE_INT;
  switch (op) {
  case KOP_add:
    if (is_int(a, 0))
      return b;
    if (is_int(b, 0))
      return a;
    return both && !__builtin_add_overflow(a->i, b->i, &r) ? ke_int(k, DT_i64, r) : NULL;
  case KOP_sub:
    if (is_int(b, 0))
      return a;
    return both && !__builtin_sub_overflow(a->i, b->i, &r) ? ke_int(k, DT_i64, r) : NULL;
  case KOP_mul:
    if (is_int(a, 1) || is_int(b, 0))
      return b;
    if (is_int(b, 1) || is_int(a, 0))
      return a;
    return both && !__builtin_mul_overflow(a->i, b->i, &r) ? ke_int(k, DT_i64, r) : NULL;
  case KOP_div: return is_int(b, 1) ? a : NULL;
  default: return NULL;
  }
}

KExpr *ke_unary(Kernel *k, KOp op, KExpr *a) {
  KExpr *e = expr(k, KE_UNARY, rows[op].boolean ? DT_bool : a->dtype);
  e->op = (uint8_t)op, e->arg[0] = a;
  return e;
}

KExpr *ke_binary(Kernel *k, KOp op, KExpr *a, KExpr *b) {
  KExpr *e = a->dtype == DT_i64 ? fold_index(k, op, a, b) : NULL;
  if (e)
    return e;
  e = expr(k, KE_BINARY, rows[op].boolean ? DT_bool : a->dtype);
  e->op = (uint8_t)op, e->arg[0] = a, e->arg[1] = b;
  return e;
}

KExpr *ke_select(Kernel *k, KExpr *cond, KExpr *a, KExpr *b) {
  if (cond->kind == KE_INT)
    return cond->i ? a : b;
  KExpr *e = expr(k, KE_SELECT, a->dtype);
  e->arg[0] = cond, e->arg[1] = a, e->arg[2] = b;
  return e;
}

KExpr *ke_cast_mode(Kernel *k, DType t, KExpr *a, int mode) {
  if (a->dtype == t)
    return a;
  KExpr *e = expr(k, KE_CAST, t);
  e->op = (uint8_t)mode, e->arg[0] = a;
  return e;
}

KExpr *ke_cast(Kernel *k, DType t, KExpr *a) { return ke_cast_mode(k, t, a, 0); }

KCursor kernel_cursor(Kernel *k) { return (KCursor){k, &k->body}; }

static KStmt *stmt(KCursor *at, KStmtKind kind) {
  KStmt *s = arena_new(at->k->arena, KStmt);
  s->kind = (uint8_t)kind;
  *at->at = s, at->at = &s->next;
  return s;
}

static KVar *variable(Kernel *k, const char *name, DType t, KStmt *def) {
  KVar *v = arena_new(k->arena, KVar);
  *v = (KVar){.name = arena_strdup(k->arena, name), .dtype = t, .id = k->next_id++, .def = def};
  return v;
}

KStmt *ks_for(KCursor *at, const char *name, Dim extent, KCursor *inside) {
  KStmt *s = stmt(at, KS_FOR);
  s->extent = extent;
  s->var = variable(at->k, name, DT_i64, s);
  *inside = (KCursor){at->k, &s->body};
  return s;
}

static KVar *define(KCursor *at, KStmtKind kind, const char *name, KExpr *value) {
  KStmt *s = stmt(at, kind);
  s->value = value;
  return s->var = variable(at->k, name, value->dtype, s);
}

KVar *ks_let(KCursor *at, const char *name, KExpr *value) { return define(at, KS_LET, name, value); }
KVar *ks_acc(KCursor *at, const char *name, KExpr *init) { return define(at, KS_ACC, name, init); }

void ks_update(KCursor *at, KVar *acc, KOp op, KExpr *value) {
  KStmt *s = stmt(at, KS_UPDATE);
  s->var = acc, s->op = (uint8_t)op, s->value = value;
}

void ks_store(KCursor *at, KBuf *b, KExpr *const *index, KExpr *value) {
  KStmt *s = stmt(at, KS_STORE);
  s->buf = b, s->value = value;
  s->index = arena_copy(at->k->arena, index, (size_t)b->rank * sizeof *index);
}

void ks_if(KCursor *at, KExpr *cond, KCursor *inside) {
  KStmt *s = stmt(at, KS_IF);
  s->value = cond;
  *inside = (KCursor){at->k, &s->body};
}

KStmt *ks_check(KCursor *at, KExpr *cond, KExpr *number) {
  KStmt *s = stmt(at, KS_CHECK);
  s->value = cond, s->number = number, s->origin = at->k->origin;
  return s;
}

/* --- checks --- */

static uint32_t count_checks(const KStmt *s, const KStmt **at, uint32_t n) {
  for (; s; s = s->next) {
    if (s->kind == KS_CHECK) {
      if (at)
        at[n] = s;
      n++;
    }
    n = count_checks(s->body, at, n);
  }
  return n;
}

uint32_t kernel_checks(const Kernel *k, const KStmt **at) { return count_checks(k->body, at, 0); }

/* --- loops whose iterations have an order --- */

static bool reads(const KExpr *e, const KVar *v) {
  if (!e)
    return false;
  if (e->kind == KE_VAR)
    return e->var == v;
  for (int i = 0; i < 3; i++)
    if (reads(e->arg[i], v))
      return true;
  for (int i = 0; e->kind == KE_LOAD && i < e->buf->rank; i++)
    if (reads(e->index[i], v))
      return true;
  return false;
}

/* Is v read in the list, or updated by another operator than op? */
static bool reads_or_differs(const KStmt *s, const KVar *v, uint8_t op) {
  for (; s; s = s->next) {
    if (reads(s->value, v) || reads(s->number, v) || reads_or_differs(s->body, v, op))
      return true;
    for (int i = 0; s->kind == KS_STORE && i < s->buf->rank; i++)
      if (reads(s->index[i], v))
        return true;
    if (s->kind == KS_UPDATE && s->var == v && s->op != op)
      return true;
  }
  return false;
}

static bool inside(const KStmt *s, const KStmt *what) {
  for (; s; s = s->next)
    if (s == what || inside(s->body, what))
      return true;
  return false;
}

static bool ordered(const KStmt *loop, const KStmt *s) {
  for (; s; s = s->next) {
    if (ordered(loop, s->body))
      return true;
    if (s->kind == KS_UPDATE && !inside(loop->body, s->var->def) &&
        (!s->op || reads_or_differs(loop->body, s->var, s->op)))
      return true;
  }
  return false;
}

bool kernel_depends(const KExpr *e, const KVar *v) {
  if (!e)
    return false;
  if (e->kind == KE_VAR)
    return e->var == v || (e->var->def && e->var->def->kind == KS_LET && kernel_depends(e->var->def->value, v));
  for (int i = 0; i < 3; i++)
    if (kernel_depends(e->arg[i], v))
      return true;
  for (int i = 0; e->kind == KE_LOAD && i < e->buf->rank; i++)
    if (kernel_depends(e->index[i], v))
      return true;
  return false;
}

static KExpr *substituted(Kernel *k, KExpr *e, const KVar *v, KExpr *with) {
  if (!e)
    return NULL;
  if (e->kind == KE_VAR)
    return e->var == v ? with : e;
  KExpr made = *e;
  bool changed = false;
  for (int i = 0; i < 3; i++) {
    made.arg[i] = substituted(k, e->arg[i], v, with);
    changed |= made.arg[i] != e->arg[i];
  }
  for (int i = 0; e->kind == KE_LOAD && i < e->buf->rank; i++) {
    KExpr *at = substituted(k, e->index[i], v, with);
    if (at != e->index[i] && made.index == e->index)
      made.index = arena_copy(k->arena, e->index, (size_t)e->buf->rank * sizeof *e->index), changed = true;
    made.index[i] = at;
  }
  return changed ? arena_copy(k->arena, &made, sizeof made) : e;
}

void kernel_substitute(Kernel *k, KStmt *s, const KVar *v, KExpr *with) {
  for (; s; s = s->next) {
    s->value = substituted(k, s->value, v, with), s->number = substituted(k, s->number, v, with);
    if (s->kind == KS_STORE)
      s->index = arena_copy(k->arena, s->index, (size_t)s->buf->rank * sizeof *s->index);
    for (int i = 0; s->kind == KS_STORE && i < s->buf->rank; i++)
      s->index[i] = substituted(k, s->index[i], v, with);
    kernel_substitute(k, s->body, v, with);
  }
}

/* Is something stored in the list whose place does not move with v? */
static bool stores_again(const KStmt *s, const KVar *v, bool temps) {
  for (; s; s = s->next) {
    bool moves = s->kind != KS_STORE || (s->buf->temp && !temps);
    for (int i = 0; s->kind == KS_STORE && i < s->buf->rank; i++)
      moves |= kernel_depends(s->index[i], v);
    if (!moves || stores_again(s->body, v, temps))
      return true;
  }
  return false;
}

bool kernel_loop_ordered(const KStmt *loop) {
  return loop->loop == KL_ORDERED || ordered(loop, loop->body) || stores_again(loop->body, loop->var, true);
}

/* May o stand before the update s of a scan? It may hold the accumulator as it was then, no more. */
static bool before_update(const KStmt *o, const KStmt *s) {
  if (o->kind == KS_UPDATE)
    return o->var != s->var && !kernel_depends(o->value, s->var);
  return (o->kind == KS_LET && o->value->kind == KE_VAR && o->value->var == s->var) ||
         !kernel_depends(o->value, s->var);
}

bool kernel_loop_scans(const KStmt *loop) {
  if (loop->loop == KL_ORDERED || stores_again(loop->body, loop->var, true))
    return false;
  for (const KStmt *s = loop->body; s; s = s->next) {
    if (s->kind != KS_LET && s->kind != KS_UPDATE && s->kind != KS_STORE)
      return false;
    if (s->kind != KS_UPDATE)
      continue;
    if (!s->op || kernel_depends(s->value, s->var))
      return false;
    for (const KStmt *o = loop->body; o != s; o = o->next)
      if (!before_update(o, s))
        return false;
  }
  return true;
}

static bool updates_outside(const KStmt *loop, const KStmt *s) {
  for (; s; s = s->next)
    if ((s->kind == KS_UPDATE && !inside(loop->body, s->var->def)) || updates_outside(loop, s->body))
      return true;
  return false;
}

bool kernel_loop_splits(const KStmt *loop) {
  return loop->loop != KL_ORDERED && !updates_outside(loop, loop->body) && !stores_again(loop->body, loop->var, false);
}

static bool has_loop(const KStmt *s) {
  for (; s; s = s->next)
    if (s->kind == KS_FOR || has_loop(s->body))
      return true;
  return false;
}

int64_t kernel_chunk(const KStmt *loop) { return has_loop(loop->body) ? KERNEL_CHUNK_LOOPS : KERNEL_CHUNK; }

/* --- verification --- */

enum { MAX_DEPTH = 200 };

typedef struct Verifier {
  Ctx *c;
  const Kernel *k;
  bool *scope;   /* by variable id: defined and visible */
  bool *outside; /* by variable id: an accumulator from outside of a parallel loop around */
} Verifier;

static Status wrong(Verifier *v, const char *what) {
  return fail(v->c, ST_INTERNAL, "kernel '%s': %s", v->k->name, what);
}

static Status check_expr(Verifier *v, const KExpr *e, int depth);

static Status check_index(Verifier *v, const KBuf *b, KExpr *const *index, int depth) {
  if (!b || b->index >= v->k->nbuf || v->k->buf[b->index] != b)
    return wrong(v, "a buffer of another kernel");
  for (int i = 0; i < b->rank; i++) {
    if (!index[i] || index[i]->dtype != DT_i64)
      return wrong(v, "an index that is no i64");
    TRY(check_expr(v, index[i], depth + 1));
  }
  return ST_OK;
}

static Status check_operator(Verifier *v, const KExpr *e) {
  if (!e->op || e->op >= KOP_count || rows[e->op].arity != (e->kind == KE_UNARY ? 1 : 2))
    return wrong(v, "an operator with the wrong number of operands");
  if (e->kind == KE_BINARY && e->arg[0]->dtype != e->arg[1]->dtype)
    return wrong(v, "operands of different types");
  if (e->dtype != (rows[e->op].boolean ? DT_bool : e->arg[0]->dtype))
    return wrong(v, "an operator of the wrong type");
  return ST_OK;
}

static Status check_expr(Verifier *v, const KExpr *e, int depth) {
  if (!e || depth > MAX_DEPTH)
    return wrong(v, "an expression that is missing or too deep");
  if (!dtype_valid(e->dtype) || e->dtype == DT_str)
    return wrong(v, "an expression without a type");
  int n = e->kind == KE_UNARY || e->kind == KE_CAST ? 1 : e->kind == KE_BINARY ? 2 : e->kind == KE_SELECT ? 3 : 0;
  for (int i = 0; i < n; i++)
    TRY(check_expr(v, e->arg[i], depth + 1));
  switch (e->kind) {
  case KE_FLOAT: return dtype_is_float(e->dtype) ? ST_OK : wrong(v, "a float constant of another type");
  case KE_INT: return dtype_is_float(e->dtype) ? wrong(v, "an integer constant of a float type") : ST_OK;
  case KE_DIM: return e->dim && e->dtype == DT_i64 ? ST_OK : wrong(v, "a dim that is no i64");
  case KE_VAR:
    if (!e->var || e->var->id >= v->k->next_id || !v->scope[e->var->id])
      return wrong(v, "a variable out of scope");
    return e->dtype == e->var->dtype ? ST_OK : wrong(v, "a variable of another type");
  case KE_LOAD:
    return e->buf && e->dtype == e->buf->dtype ? check_index(v, e->buf, e->index, depth)
                                               : wrong(v, "a load of another type");
  case KE_SELECT:
    return e->arg[0]->dtype == DT_bool && e->arg[1]->dtype == e->dtype && e->arg[2]->dtype == e->dtype
               ? ST_OK
               : wrong(v, "a select of the wrong types");
  case KE_UNARY:
  case KE_BINARY: return check_operator(v, e);
  case KE_CAST:
    if (dtype_kind(e->dtype) == DK_COMPLEX || dtype_kind(e->arg[0]->dtype) == DK_COMPLEX)
      return wrong(v, "a cast of a complex number");
    return e->op <= (KC_OPEN | KC_NEAREST) ? ST_OK : wrong(v, "a cast in no known way");
  default: return ST_OK;
  }
}

static Status check_list(Verifier *v, const KStmt *s, int depth);

static Status check_update(Verifier *v, const KStmt *s) {
  static const bool associative[KOP_count] = {[KOP_none] = true, [KOP_add] = true, [KOP_mul] = true, [KOP_min] = true,
                                              [KOP_max] = true,  [KOP_and] = true, [KOP_or] = true};
  if (!s->var || s->var->id >= v->k->next_id || !v->scope[s->var->id] || s->var->def->kind != KS_ACC)
    return wrong(v, "an update of what is no accumulator here");
  if (v->outside[s->var->id])
    return wrong(v, "an accumulator across a parallel loop");
  if (s->op >= KOP_count || !associative[s->op])
    return wrong(v, "an update by an operator that is not associative");
  return s->value->dtype == s->var->dtype ? ST_OK : wrong(v, "an update of another type");
}

static Status check_loop(Verifier *v, const KStmt *s, int depth) {
  if (!s->extent || s->loop > KL_SCAN ||
      ((s->loop == KL_UNROLL || s->loop == KL_VECTOR || s->loop == KL_TILE || s->loop == KL_SCAN) && !s->width))
    return wrong(v, "a loop without extent or width");
  if (s->value && s->value->dtype != DT_i64)
    return wrong(v, "a loop that ends at what is no i64");
  if (s->loop == KL_TILE && (!s->body || s->body->kind != KS_FOR || s->body->next || s->body->loop != KL_VECTOR))
    return wrong(v, "a tile that is not around one vector loop");
  if (s->ahead && (s->ahead->id >= v->k->next_id || !v->scope[s->ahead->id]))
    return wrong(v, "a loop that looks ahead along none around it");
  bool *saved = v->outside;
  if (s->loop == KL_PARALLEL || s->loop == KL_GRID) {
    v->outside = arena_array(v->k->arena, bool, v->k->next_id);
    memcpy(v->outside, v->scope, v->k->next_id);
  }
  v->scope[s->var->id] = true;
  TRY(check_list(v, s->body, depth + 1));
  v->scope[s->var->id] = false;
  v->outside = saved;
  if (((s->loop == KL_VECTOR || s->loop == KL_BLOCK) && kernel_loop_ordered(s)) ||
      ((s->loop == KL_PARALLEL || s->loop == KL_GRID) && !kernel_loop_splits(s)))
    return wrong(v, "a vector or parallel loop whose iterations have an order");
  if (s->loop == KL_SCAN && !kernel_loop_scans(s))
    return wrong(v, "a scan of another form");
  return ST_OK;
}

static Status check_stmt(Verifier *v, const KStmt *s, int depth) {
  if (s->kind != KS_FOR || s->value)
    TRY(check_expr(v, s->value, depth));
  switch (s->kind) {
  case KS_FOR: return check_loop(v, s, depth);
  case KS_LET:
  case KS_ACC:
    if (!s->var || s->var->dtype != s->value->dtype || v->scope[s->var->id])
      return wrong(v, "a definition of the wrong type, or made twice");
    v->scope[s->var->id] = true;
    return ST_OK;
  case KS_UPDATE: return check_update(v, s);
  case KS_STORE:
    if (!s->buf || !s->buf->output || s->buf->dtype != s->value->dtype)
      return wrong(v, "a store to an input, or of another type");
    return check_index(v, s->buf, s->index, depth);
  case KS_IF:
    return s->value->dtype == DT_bool ? check_list(v, s->body, depth + 1) : wrong(v, "a condition that is no bool");
  case KS_CHECK:
    if (s->value->dtype != DT_bool || !s->number || (s->number->dtype != DT_i64 && s->number->dtype != DT_f64))
      return wrong(v, "a check without a condition or a number");
    return check_expr(v, s->number, depth);
  default: return wrong(v, "an unknown statement");
  }
}

static Status check_list(Verifier *v, const KStmt *first, int depth) {
  if (depth > MAX_DEPTH)
    return wrong(v, "statements nested too deep");
  for (const KStmt *s = first; s; s = s->next)
    TRY(check_stmt(v, s, depth));
  for (const KStmt *s = first; s; s = s->next) /* what was defined here ends here */
    if (s->kind == KS_LET || s->kind == KS_ACC)
      v->scope[s->var->id] = false;
  return ST_OK;
}

Status kernel_verify(Ctx *c, const Kernel *k) {
  Verifier v = {.c = c, .k = k};
  v.scope = arena_array(k->arena, bool, k->next_id);
  v.outside = arena_array(k->arena, bool, k->next_id);
  for (uint32_t i = 0; i < k->nbuf; i++)
    if (k->buf[i]->output != (i >= k->nin) || k->buf[i]->temp != (i >= k->nio) || k->buf[i]->index != i ||
        k->buf[i]->rank < 0 || k->buf[i]->rank > MAX_RANK)
      return wrong(&v, "buffers out of order");
  return check_list(&v, k->body, 0);
}
