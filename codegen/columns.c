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
 * Where an output is stored for good in a last loop, of what a loop before it has put into a block (a softmax), a part is TURNS blocks, and
 * the rows of one are stored between those of the next: memory takes them while exponentials are computed.
 *
 *     for turn in TURNS + 1:      if turn < TURNS: …           up to the loop that fills the block
 *       for r:                    if turn > 0: for lane: y[r, j - width] = t[r, lane] * s[lane]
 *                                 if turn < TURNS: for lane: t[r, lane] = …
 *       if turn < TURNS: …        what is between that loop and the last
 *
 * Each column sees the same operations in the same order. What a statement list has between its loops is one run; variables that
 * are defined in one run and used in another are those kept in temporaries. Definitions that are the same for all columns stay
 * outside of the lanes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/columns.h"

#include "codegen/schedule.h"

enum {
  BLOCK = 512,     /* columns: rows of 2 KB, and AHEAD rows asked for beforehand, are as fast as whole rows */
  REREAD = 128,    /* the least, where rows are read several times … */
  KEPT = 1 << 16,  /* … and all elements of a block are to stay in the cache … */
  FIRST = 1 << 13, /* … or in the first one */
  AHEAD = 4,       /* rows, or as many as are taken at once */
  ROWS = 4,        /* a sum takes 1.6 ms, not 2.1 (bench memory="sum of columns") */
  LITTLE = 12,     /* operations */
  FEWEST = 32,     /* columns, when that is known */
  MAX_RUNS = 64,
  TURNS = 8,         /* blocks: softmax of columns takes 3.4 ms, not 4.0 (bench memory="softmax of columns"); … */
  ENOUGH_PARTS = 32, /* … where so many parts are left */
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
  int nruns, nloops, nseen;
  const KBuf *output; /* an output that is stored to, read again and stored to for good, or NULL … */
  const KStmt *final; /* … which is here; … */
  int row_axis;       /* … the axis that the loops go along; … */
  KBuf *block_of;     /* … and what holds a block of it meanwhile: rows x lanes */
  KExpr *lane;        /* of the run being made */
  KVar *turn;         /* the loop over the blocks of a part, or NULL; … */
  int64_t turns;      /* … how many they are; … */
  bool before;        /* … the run being made is for the block before this turn's */
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

/* --- an output that is read again ---
 *
 * What is stored between passes and read by a later one stays in a block of its own, so that the output is written once, and may go
 * past the caches: in its own place its rows would be too far apart for one cache to keep many. */

typedef struct Reread {
  const Columns *x;
  const KBuf *b;
  const KVar *row;                /* of the loop at hand */
  const KVar *lead[MAX_RANK];     /* the index of all accesses, but for the row's axis */
  int axis;                       /* which that is; -1: not known yet */
  int now, loaded, stored, first; /* in order of statements */
  const KStmt *last;              /* store */
  bool ok;
} Reread;

static void reread_at(Reread *r, KExpr *const *index) {
  bool row = false, column = false;
  for (int i = 0; i < r->b->rank; i++) {
    const KVar *v = index[i]->kind == KE_VAR ? index[i]->var : NULL;
    if (v && v == r->row) {
      r->ok &= !row && (r->axis < 0 || r->axis == i);
      r->axis = i, row = true;
    } else {
      r->ok &= v && (!r->lead[i] || r->lead[i] == v);
      r->lead[i] = v, column |= v == r->x->j;
    }
  }
  r->ok &= row && column;
}

static void reread_expr(Reread *r, const KExpr *e) {
  if (!e)
    return;
  for (int i = 0; i < 3; i++)
    reread_expr(r, e->arg[i]);
  for (int i = 0; e->kind == KE_LOAD && i < e->buf->rank; i++)
    reread_expr(r, e->index[i]);
  if (e->kind == KE_LOAD && e->buf == r->b)
    r->loaded = r->now, reread_at(r, e->index);
}

static void reread_list(Reread *r, const KStmt *s) {
  for (; s; s = s->next) {
    r->now++;
    reread_expr(r, s->value), reread_expr(r, s->number);
    if (s->kind == KS_FOR) {
      r->ok &= !r->row && s->extent == r->x->rows;
      r->row = s->var;
      reread_list(r, s->body);
      r->row = NULL;
    } else
      reread_list(r, s->body);
    if (s->kind != KS_STORE || s->buf != r->b)
      continue;
    reread_at(r, s->index);
    r->first = r->first ? r->first : r->now;
    r->stored = r->now, r->last = s;
  }
}

static bool in_list(const KStmt *s, const KStmt *what) {
  while (s && s != what)
    s = s->next;
  return s;
}

static void find_reread(Columns *x, const KStmt *body) {
  int64_t rows;
  if (x->nloops < 2 || !dim_is_const(x->rows, &rows) || rows * BLOCK > KEPT)
    return;
  for (uint32_t i = x->k->nin; i < x->k->nio && !x->output; i++) {
    Reread r = {.x = x, .b = x->k->buf[i], .axis = -1, .ok = dtype_bits(x->k->buf[i]->dtype) >= 8};
    reread_list(&r, body);
    /* stored before it is read, and for good in a loop in which nothing else is stored to it */
    if (!r.ok || !r.loaded || !r.stored || r.first >= r.loaded || r.loaded > r.stored || r.first == r.stored)
      continue;
    const KStmt *loop = body;
    while (loop && !in_list(loop->body, r.last))
      loop = loop->next;
    Reread again = {.x = x, .b = r.b, .axis = -1, .ok = true};
    if (loop && loop->kind == KS_FOR) {
      again.row = loop->var;
      reread_list(&again, loop->body);
    }
    if (loop && loop->kind == KS_FOR && again.first == again.stored)
      x->output = r.b, x->final = r.last, x->row_axis = r.axis;
  }
}

static void make_block(Columns *x) {
  if (x->output)
    x->block_of = kernel_add_temp(x->k, x->output->name, x->output->dtype, 2, (Dim[]){x->rows, x->width});
}

/* --- the runs anew --- */

static KExpr *renamed(Columns *x, KExpr *e) {
  if (!e)
    return NULL;
  if (e->kind == KE_LOAD && x->output && e->buf == x->output)
    return ke_load(x->k, x->block_of, (KExpr *[]){renamed(x, e->index[x->row_axis]), x->lane});
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
      bool kept = x->output && s->buf == x->output && s != x->final;
      s->index = arena_copy(x->k->arena, s->index, (size_t)s->buf->rank * sizeof *s->index);
      for (int i = 0; i < s->buf->rank; i++)
        s->index[i] = renamed(x, s->index[i]);
      if (kept)
        s->index[0] = s->index[x->row_axis], s->index[1] = x->lane, s->buf = x->block_of;
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

/* The block at hand. */
static KExpr *block_now(const Columns *x) {
  KExpr *block = ke_var(x->k, x->block);
  if (!x->turn)
    return block;
  block = ke_binary(x->k, KOP_mul, block, ke_int(x->k, DT_i64, x->turns));
  block = ke_binary(x->k, KOP_add, block, ke_var(x->k, x->turn));
  return x->before ? ke_binary(x->k, KOP_sub, block, ke_int(x->k, DT_i64, 1)) : block;
}

/* for lane: the statements of a run. r: the loop around, of which iterations `ahead` further on are asked for; or NULL. */
static void make_run(Columns *x, KCursor *out, KStmt *run, KVar *r, uint8_t ahead) {
  Kernel *k = x->k;
  KCursor in;
  KStmt *lane = ks_for(out, "lane", x->width, &in);
  KExpr *base = ke_binary(k, KOP_mul, block_now(x), ke_dim(k, x->width)), *l = ke_var(k, lane->var);
  uint32_t n = 0;
  Kept *kept = arena_array(k->arena, Kept, x->nvars);
  if (!x->whole)
    lane->value = ke_binary(k, KOP_sub, ke_dim(k, x->extent), base);
  lane->loop = KL_VECTOR, lane->width = (uint16_t)x->lanes;
  lane->ahead = r, lane->ahead_by = r ? ahead : 0;
  x->lane = l;
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
static KStmt *make_list(Columns *x, KStmt *s, KVar *r, uint8_t ahead) {
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
        make_run(x, &out, run, r, ahead);
      run = NULL, last = &run;
      if (takes_rows(x, s))
        x->nseen++, take_rows(x, s);
      else if (x->output && x->nseen++) /* a later pass: the next block */
        s->body = make_list(x, s->body, x->turn ? x->turn : x->block, 1);
      else
        s->body = make_list(x, s->body, s->var, AHEAD);
    }
    *out.at = s, out.at = &s->next;
  }
  if (run)
    make_run(x, &out, run, r, ahead);
  return first;
}

/* --- blocks in turn --- */

/* What a list is cut into: what is before the loop that fills the block, that loop, what is between it and the last, and that. */
typedef struct Cut {
  KStmt *head, *fill, *middle, *last;
} Cut;

static bool stored_in(const KStmt *s, const KBuf *b) {
  for (; s; s = s->next)
    if ((s->kind == KS_STORE && s->buf == b) || stored_in(s->body, b))
      return true;
  return false;
}

/* Is what the last loop uses of other runs made between the loops, behind those that the next block has in common with this one? */
static bool made_between(const Columns *x, const Cut *cut) {
  for (uint32_t v = 0; v < x->nvars; v++) {
    Traffic last = {0}, middle = {0};
    if (!x->temp[v])
      continue;
    traffic(cut->last->body, x->def[v], &last);
    traffic(cut->middle, x->def[v], &middle);
    if (last.updated || (last.used && !last.defined && !middle.defined))
      return false;
  }
  return true;
}

static bool find_cut(const Columns *x, KStmt *body, Cut *cut) {
  *cut = (Cut){.head = body};
  for (KStmt *s = body; s; s = s->next) {
    if (s->kind == KS_LET && !x->varies[s->var->id]) /* it would be in scope in one part only */
      return false;
    if (s->kind == KS_FOR)
      cut->fill = cut->last, cut->last = s;
  }
  if (!cut->fill || cut->last->next || schedule_has(cut->fill->body, KS_FOR) || cut->fill->loop != KL_SERIAL ||
      cut->last->loop != KL_SERIAL || cut->fill->extent != cut->last->extent || !in_list(cut->last->body, x->final) ||
      !stored_in(cut->fill->body, x->output))
    return false;
  cut->middle = cut->fill->next == cut->last ? NULL : cut->fill->next;
  return made_between(x, cut);
}

static void end_list(KStmt **first, const KStmt *before) {
  while (*first && *first != before)
    first = &(*first)->next;
  *first = NULL;
}

static void when(Columns *x, KCursor *at, KExpr *cond, KStmt *list, KVar *ahead) {
  KCursor in;
  if (!list)
    return;
  ks_if(at, cond, &in);
  *in.at = make_list(x, list, ahead, 1);
}

static KStmt *make_turns(Columns *x, Cut cut) {
  Kernel *k = x->k;
  KStmt *made = NULL, *rows = NULL;
  KCursor out = {k, &made}, in, at = {k, &rows};
  end_list(&cut.head, cut.fill), end_list(&cut.middle, cut.last);
  cut.fill->next = NULL;
  KStmt *loop = ks_for(&out, "turn", dim_const(x->c, x->turns + 1), &in);
  loop->loop = KL_ORDERED, x->turn = loop->var;
  KExpr *turn = ke_var(k, x->turn), *own = ke_binary(k, KOP_lt, turn, ke_int(k, DT_i64, x->turns));
  when(x, &in, own, cut.head, NULL);
  kernel_substitute(k, cut.last->body, cut.last->var, ke_var(k, cut.fill->var));
  x->before = true;
  when(x, &at, ke_binary(k, KOP_lt, ke_int(k, DT_i64, 0), turn), cut.last->body, NULL);
  x->before = false;
  when(x, &at, own, cut.fill->body, x->turn);
  cut.fill->body = rows;
  *in.at = cut.fill, in.at = &cut.fill->next;
  when(x, &in, own, cut.middle, NULL);
  return made;
}

/* Blocks of a part, of so many parts for each block; 1: each is a part of its own. */
static int64_t turns_of(const Columns *x, int64_t outside, KStmt *body, Cut *cut) {
  int64_t n, width, turns = TURNS;
  if (!x->output || !x->whole || !dim_is_const(x->extent, &n) || !dim_is_const(x->width, &width) ||
      !find_cut(x, body, cut))
    return 1;
  for (n /= width; turns > 1 && (n % turns || outside * (n / turns) < ENOUGH_PARTS);)
    turns /= 2;
  return turns;
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

static void choose_blocks(Columns *x, Dim extent, bool first) {
  Ctx *c = x->c;
  int64_t n, rows = 0, most = BLOCK;
  Dim one = dim_const(c, 1);
  x->extent = extent;
  if (x->nloops > 1 && (!dim_is_const(x->rows, &rows) || rows * BLOCK > KEPT)) {
    most = dim_is_const(x->rows, &rows) && rows ? KEPT / rows / x->lanes * x->lanes : REREAD;
    most = most < REREAD ? REREAD : most;
  } else
    while (x->nloops > 1 && first && rows * most > FIRST && most > REREAD)
      most /= 2; /* which divides as many extents */
  if (dim_is_const(extent, &n) && n > 0) {
    int64_t blocks = (n + most - 1) / most, width = (n + blocks - 1) / blocks;
    x->width = dim_const(c, blocks > 1 ? (width + x->lanes - 1) / x->lanes * x->lanes : n);
  } else
    x->width = dim_min(c, dim_const(c, most), dim_max(c, one, extent));
  x->whole = dim_mul(c, dim_ceildiv(c, extent, x->width), x->width) == extent;
}

bool columns_interchange(Ctx *c, Kernel *k, KStmt *f, int lanes, int64_t outside, bool first) {
  Columns x = {.c = c, .k = k, .j = f->var, .lanes = lanes, .nvars = k->next_id};
  Cut cut;
  int64_t n;
  if (f->value || k->nbuf > k->nio || !is_simple(f->extent) || (dim_is_const(f->extent, &n) && n < FEWEST))
    return false;
  x.varies = arena_array(k->arena, bool, x.nvars), x.run = arena_array(k->arena, uint8_t, x.nvars);
  x.temp = arena_array(k->arena, KBuf *, x.nvars), x.crosses = arena_array(k->arena, bool, x.nvars);
  x.now = arena_array(k->arena, KVar *, x.nvars), x.def = arena_array(k->arena, KVar *, x.nvars);
  if (!use_list(&x, f->body) || !x.nloops)
    return false;
  choose_blocks(&x, f->extent, first);
  if (!make_temps(&x))
    return false;
  find_reread(&x, f->body);
  make_block(&x);
  x.block = arena_new(k->arena, KVar);
  *x.block = (KVar){.name = "block", .dtype = DT_i64, .id = k->next_id++, .def = f};
  x.turns = turns_of(&x, outside, f->body, &cut);
  f->extent = dim_ceildiv(c, f->extent, dim_mul(c, x.width, dim_const(c, x.turns))), f->var = x.block;
  f->body = x.turns > 1 ? make_turns(&x, cut) : make_list(&x, f->body, NULL, 0);
  return true;
}
