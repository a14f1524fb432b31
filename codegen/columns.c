/* columns.c - loops interchanged so that memory is walked along rows.
 *
 *   for j: { acc s; for r: s += x[r, j]; y[j] = s }     becomes, with s in a temporary t of one element per column of a block,
 *
 *   for block parallel:
 *     for lane vector:            j = block * width + lane: acc s; t[lane] = s
 *     for r: for lane vector:     acc s = t[lane]: s += x[r, j]; t[lane] = s
 *     for lane vector:            let s = t[lane]: y[j] = s
 *
 * Where little is done with an element, ROWS rows are taken at once, for memory to be busy with as many of them:
 *
 *     for r / ROWS: for lane vector:    acc s = t[lane]: for u in ROWS, unrolled: s += x[r + u, j]; t[lane] = s
 *
 * Each column sees the same operations in the same order. What a statement list has between its loops is one run; variables that
 * are defined in one run and used in another are those kept in temporaries. Definitions that are the same for all columns stay
 * outside of the lanes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/columns.h"

enum {
  BLOCK = 512,    /* columns: rows of 2 KB, and AHEAD rows asked for beforehand, are as fast as whole rows */
  REREAD = 128,   /* the least, where rows are read several times … */
  KEPT = 1 << 16, /* … and all elements of a block are to stay in the cache */
  AHEAD = 4,      /* rows, or as many as are taken at once */
  ROWS = 4,       /* a sum takes 1.6 ms, not 2.1 (bench memory="sum of columns") */
  LITTLE = 12,    /* operations */
  FEWEST = 32,    /* columns, when that is known */
  MAX_RUNS = 64,
};

typedef struct Columns {
  Ctx *c;
  Kernel *k;
  const KVar *j;
  KVar *block;
  Dim width, extent, rows; /* rows: of the first loop */
  int lanes;
  bool whole;    /* the blocks cover the columns exactly */
  bool *varies;  /* by variable id: another value in each column */
  uint8_t *run;  /* by variable id: 1 + the run that defines it */
  KBuf **temp;   /* by variable id: where it is kept between runs; NULL: it need not be */
  bool *crosses; /* by variable id: used in another run */
  KVar **def;    /* by variable id: the variable, when a run defines it */
  KVar **now;    /* by variable id: what stands for it in the run being made */
  uint32_t nvars;
  int nruns, nloops;
} Columns;

/* --- what the loop has --- */

static bool expr_varies(const Columns *x, const KExpr *e) {
  if (!e)
    return false;
  if (e->kind == KE_VAR)
    return e->var == x->j || x->varies[e->var->id];
  for (int i = 0; i < 3; i++)
    if (expr_varies(x, e->arg[i]))
      return true;
  for (int i = 0; e->kind == KE_LOAD && i < e->buf->rank; i++)
    if (expr_varies(x, e->index[i]))
      return true;
  return false;
}

static void use_expr(Columns *x, const KExpr *e, int run) {
  if (!e)
    return;
  if (e->kind == KE_VAR && x->run[e->var->id] && x->run[e->var->id] != run + 1)
    x->crosses[e->var->id] = true;
  for (int i = 0; i < 3; i++)
    use_expr(x, e->arg[i], run);
  for (int i = 0; e->kind == KE_LOAD && i < e->buf->rank; i++)
    use_expr(x, e->index[i], run);
}

/* One statement of a run, with what is inside of it. False: it has a loop. */
static bool use_stmt(Columns *x, const KStmt *s, int run) {
  use_expr(x, s->value, run), use_expr(x, s->number, run);
  for (int i = 0; s->kind == KS_STORE && i < s->buf->rank; i++)
    use_expr(x, s->index[i], run);
  if (s->kind == KS_LET || s->kind == KS_ACC) {
    x->varies[s->var->id] = s->kind == KS_ACC || expr_varies(x, s->value);
    x->run[s->var->id] = x->varies[s->var->id] ? (uint8_t)(run + 1) : 0;
    x->def[s->var->id] = s->var;
  }
  if (s->kind == KS_UPDATE && x->run[s->var->id] != run + 1)
    x->crosses[s->var->id] = true;
  for (const KStmt *in = s->body; in; in = in->next)
    if (in->kind == KS_FOR || !use_stmt(x, in, run))
      return false;
  return true;
}

/* Runs are numbered as they will be made. False: what is here cannot be turned round. */
static bool use_list(Columns *x, const KStmt *s) {
  int run = -1;
  for (; s; s = s->next) {
    if (s->kind == KS_FOR) {
      run = -1;
      x->rows = x->nloops++ ? x->rows : s->extent;
      if (s->value || (s->loop != KL_SERIAL && s->loop != KL_ORDERED) || !use_list(x, s->body))
        return false;
      continue;
    }
    run = run < 0 ? x->nruns++ : run;
    if (run >= MAX_RUNS || !use_stmt(x, s, run))
      return false;
  }
  return true;
}

/* --- the runs anew --- */

static KExpr *renamed(Columns *x, KExpr *e) {
  if (!e)
    return NULL;
  bool old = e->kind == KE_VAR && e->var->id < x->nvars; /* else one that was made here */
  KExpr made = *e;
  bool changed = old && x->now[e->var->id];
  if (changed)
    made.var = x->now[e->var->id];
  for (int i = 0; i < 3; i++) {
    made.arg[i] = renamed(x, e->arg[i]);
    changed |= made.arg[i] != e->arg[i];
  }
  for (int i = 0; e->kind == KE_LOAD && i < e->buf->rank; i++) {
    KExpr *at = renamed(x, e->index[i]);
    if (at != e->index[i] && made.index == e->index)
      made.index = arena_copy(x->k->arena, e->index, (size_t)e->buf->rank * sizeof *e->index), changed = true;
    made.index[i] = at;
  }
  return changed ? arena_copy(x->k->arena, &made, sizeof made) : e;
}

static void rename_list(Columns *x, KStmt *s) {
  for (; s; s = s->next) {
    s->value = renamed(x, s->value), s->number = renamed(x, s->number);
    if (s->kind == KS_UPDATE && x->now[s->var->id])
      s->var = x->now[s->var->id];
    if (s->kind == KS_STORE) {
      s->index = arena_copy(x->k->arena, s->index, (size_t)s->buf->rank * sizeof *s->index);
      for (int i = 0; i < s->buf->rank; i++)
        s->index[i] = renamed(x, s->index[i]);
    }
    rename_list(x, s->body);
  }
}

static bool expr_uses(const KExpr *e, const KVar *v) {
  if (!e)
    return false;
  if (e->kind == KE_VAR)
    return e->var == v;
  for (int i = 0; i < 3; i++)
    if (expr_uses(e->arg[i], v))
      return true;
  for (int i = 0; e->kind == KE_LOAD && i < e->buf->rank; i++)
    if (expr_uses(e->index[i], v))
      return true;
  return false;
}

typedef struct Traffic {
  bool defined, used, updated; /* the variable, in a run */
} Traffic;

static void traffic(const KStmt *s, const KVar *v, Traffic *t) {
  for (; s; s = s->next) {
    t->defined |= (s->kind == KS_LET || s->kind == KS_ACC) && s->var == v;
    t->updated |= s->kind == KS_UPDATE && s->var == v;
    t->used |= expr_uses(s->value, v) || expr_uses(s->number, v);
    for (int i = 0; s->kind == KS_STORE && i < s->buf->rank; i++)
      t->used |= expr_uses(s->index[i], v);
    traffic(s->body, v, t);
  }
}

typedef struct Kept {
  KBuf *temp;
  KVar *var;
} Kept;

/* for lane: the statements of a run. r: the loop around, of which iterations `ahead` further on are asked for; or NULL. */
static void make_run(Columns *x, KCursor *out, KStmt *run, KVar *r, uint8_t ahead) {
  Kernel *k = x->k;
  KCursor in;
  KStmt *lane = ks_for(out, "lane", x->width, &in);
  KExpr *base = ke_binary(k, KOP_mul, ke_var(k, x->block), ke_dim(k, x->width)), *l = ke_var(k, lane->var);
  uint32_t n = 0;
  Kept *kept = arena_array(k->arena, Kept, x->nvars);
  if (!x->whole)
    lane->value = ke_binary(k, KOP_sub, ke_dim(k, x->extent), base);
  lane->loop = KL_VECTOR, lane->width = (uint16_t)x->lanes;
  lane->ahead = r, lane->ahead_by = r ? ahead : 0;
  x->now[x->j->id] = ks_let(&in, x->j->name, ke_binary(k, KOP_add, base, l));
  for (uint32_t v = 0; v < x->nvars; v++) {
    Traffic t = {0};
    KVar *var = x->def[v];
    if (!x->temp[v])
      continue;
    traffic(run, var, &t);
    x->now[v] = NULL;
    if (!t.defined && (t.used || t.updated)) {
      KExpr *was = ke_load(k, x->temp[v], &l);
      x->now[v] = t.updated ? ks_acc(&in, var->name, was) : ks_let(&in, var->name, was);
    }
    if (t.defined || t.updated)
      kept[n++] = (Kept){x->temp[v], x->now[v] ? x->now[v] : var};
  }
  rename_list(x, run);
  *in.at = run;
  while (*in.at)
    in.at = &(*in.at)->next;
  for (uint32_t i = 0; i < n; i++)
    ks_store(&in, kept[i].temp, &l, ke_var(k, kept[i].var));
}

/* Too large an expression becomes a symbol of its own, which nothing tells: the extent must be a number or a symbol. */
static bool is_simple(Dim d) { return d->kind == DIM_CONST || d->kind == DIM_SYM; }

static int operations(const KExpr *e) {
  if (!e)
    return 0;
  int n = (e->kind == KE_UNARY || e->kind == KE_BINARY) ? 1 : 0;
  if (n && (e->op == KOP_pow || (e->op >= KOP_exp && e->op < KOP_isnan)))
    n = LITTLE + 1;
  for (int i = 0; i < 3; i++)
    n += operations(e->arg[i]);
  return n;
}

/* Are the statements of a loop one run, in which little is done, and nothing stored? */
static bool takes_rows(const Columns *x, const KStmt *f) {
  int n = 0;
  int64_t rows;
  if (!is_simple(f->extent) || (dim_is_const(f->extent, &rows) && rows < ROWS))
    return false;
  for (const KStmt *s = f->body; s; s = s->next) {
    n += operations(s->value);
    if ((s->kind != KS_LET && s->kind != KS_ACC && s->kind != KS_UPDATE) ||
        (s->kind == KS_LET && !x->varies[s->var->id]))
      return false;
  }
  return n <= LITTLE;
}

/* for r / ROWS: for lane: for u in ROWS: the statements for r * ROWS + u. */
static void take_rows(Columns *x, KStmt *f) {
  Kernel *k = x->k;
  KStmt *run = NULL, *made = NULL;
  KCursor at = {k, &run}, out = {k, &made};
  Dim n = f->extent, rows = dim_const(x->c, ROWS);
  KVar *r = f->var, *block = arena_new(k->arena, KVar);
  *block = (KVar){.name = "rows", .dtype = DT_i64, .id = k->next_id++, .def = f};
  f->extent = dim_ceildiv(x->c, n, rows), f->var = block;
  KExpr *first = ke_binary(k, KOP_mul, ke_var(k, block), ke_dim(k, rows));
  KStmt *u = ks_for(&at, "u", rows, &at);
  u->loop = KL_UNROLL, u->width = ROWS;
  if (dim_mul(x->c, f->extent, rows) != n)
    u->value = ke_binary(k, KOP_sub, ke_dim(k, n), first);
  u->body = f->body;
  kernel_substitute(k, u->body, r, ke_binary(k, KOP_add, first, ke_var(k, u->var)));
  make_run(x, &out, run, block, 1);
  f->body = made;
}

/* The statements of a list, in runs, with the loops between them. */
static KStmt *make_list(Columns *x, KStmt *s, KVar *r) {
  KStmt *first = NULL, *run = NULL, **last = &run, *next;
  KCursor out = {x->k, &first};
  for (; s; s = next) {
    next = s->next, s->next = NULL;
    bool same = s->kind == KS_LET && !x->varies[s->var->id];
    if (s->kind != KS_FOR && !same) {
      *last = s, last = &s->next;
      continue;
    }
    if (s->kind == KS_FOR) {
      if (run)
        make_run(x, &out, run, r, AHEAD);
      run = NULL, last = &run;
      if (takes_rows(x, s))
        take_rows(x, s);
      else
        s->body = make_list(x, s->body, s->var);
    }
    *out.at = s, out.at = &s->next;
  }
  if (run)
    make_run(x, &out, run, r, AHEAD);
  return first;
}

/* Temporaries for what crosses. False: elements of one are less than a byte, or too large. */
static bool make_temps(Columns *x) {
  for (uint32_t v = 0; v < x->nvars; v++) {
    int bits = x->crosses[v] ? dtype_bits(x->def[v]->dtype) : 8;
    if (bits < 8 || bits > 64)
      return false;
  }
  for (uint32_t v = 0; v < x->nvars; v++)
    if (x->crosses[v])
      x->temp[v] = kernel_add_temp(x->k, x->def[v]->name, x->def[v]->dtype, 1, &x->width);
  return true;
}

static void choose_blocks(Columns *x, Dim extent) {
  Ctx *c = x->c;
  int64_t n, rows, most = BLOCK;
  Dim one = dim_const(c, 1);
  x->extent = extent;
  if (x->nloops > 1 && (!dim_is_const(x->rows, &rows) || rows * BLOCK > KEPT)) {
    most = dim_is_const(x->rows, &rows) && rows ? KEPT / rows / x->lanes * x->lanes : REREAD;
    most = most < REREAD ? REREAD : most;
  }
  if (dim_is_const(extent, &n) && n > 0) {
    int64_t blocks = (n + most - 1) / most, width = (n + blocks - 1) / blocks;
    x->width = dim_const(c, blocks > 1 ? (width + x->lanes - 1) / x->lanes * x->lanes : n);
  } else
    x->width = dim_min(c, dim_const(c, most), dim_max(c, one, extent));
  x->whole = dim_mul(c, dim_ceildiv(c, extent, x->width), x->width) == extent;
}

bool columns_interchange(Ctx *c, Kernel *k, KStmt *f, int lanes) {
  Columns x = {.c = c, .k = k, .j = f->var, .lanes = lanes, .nvars = k->next_id};
  int64_t n;
  if (f->value || k->nbuf > k->nio || !is_simple(f->extent) || (dim_is_const(f->extent, &n) && n < FEWEST))
    return false;
  x.varies = arena_array(k->arena, bool, x.nvars), x.run = arena_array(k->arena, uint8_t, x.nvars);
  x.temp = arena_array(k->arena, KBuf *, x.nvars), x.crosses = arena_array(k->arena, bool, x.nvars);
  x.now = arena_array(k->arena, KVar *, x.nvars), x.def = arena_array(k->arena, KVar *, x.nvars);
  if (!use_list(&x, f->body) || !x.nloops)
    return false;
  choose_blocks(&x, f->extent);
  if (!make_temps(&x))
    return false;
  x.block = arena_new(k->arena, KVar);
  *x.block = (KVar){.name = "block", .dtype = DT_i64, .id = k->next_id++, .def = f};
  f->extent = dim_ceildiv(c, f->extent, x.width), f->var = x.block;
  f->body = make_list(&x, f->body, NULL);
  return true;
}
