/* schedule.c - schedules of loop kernels for CPUs.
 *
 *   for i, j, …: perfectly nested, nothing beside them       -> one parallel loop, i and j recovered by division
 *     for k: innermost                                       -> vector, two registers of lanes
 *
 * A kernel that is one loop alone becomes a parallel loop with lanes (KERNEL_CHUNK iterations per part). Where the innermost
 * loops walk over memory with a stride but the loop around them does not (a sum over rows), the lanes run along the latter.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/schedule.h"

#include "codegen/columns.h"
#include "codegen/gpu.h"
#include "support/cpu.h"

enum { LONG_BODY = 12 }; /* operations; a transcendental function counts 16 */
enum { SHORT_LOOP = 16, FEW_LANES = 4, LINE_BITS = 512 };
enum {
  ENOUGH_PARTS = 512, /* for as many threads as there may be to have equal shares */
  FAR_ROWS = 8,
  FAR_BLOCKS = 16,
  SHORT_ROW = 256,
  KEPT_ROW = 1 << 14, /* a row that stays in the first cache, or the second */
};
enum {
  TILE_ROWS = 32, /* at most */
  TILE_LANES = 4, /* vectors of lanes */
  TILE_BODY = 4,  /* statements */
  TILE_CUT = 256, /* iterations of a block: to NHWC takes 3.2 ms, not 5.1 (bench memory="to NHWC"); … */
  CUT_FROM = 16,  /* … with so many lanes: AVX2 and AVX-512, where stores go past the caches */
  /* The same with AVX2, where each writes to a page of its own: as many as the first TLB has; 11.2 ms, not 11.8 (bench memory=transpose) */
  TILE_PAGES = 64,
  FAR_LINES = 32, /* rows of at least so many lines get two at a time: 3.9 ms, not 5.3 (bench memory=transpose) */
};

/* --- what a body touches --- */

static bool uses(const KExpr *x, const KVar *v) {
  if (!x)
    return false;
  if (x->kind == KE_VAR)
    return x->var == v || (x->var->def->kind == KS_LET && uses(x->var->def->value, v));
  for (int i = 0; i < 3; i++)
    if (uses(x->arg[i], v))
      return true;
  for (int i = 0; x->kind == KE_LOAD && i < x->buf->rank; i++)
    if (uses(x->index[i], v))
      return true;
  return false;
}

/* Does x grow by one with v? */
static bool steps(const KExpr *x, const KVar *v) {
  if (x->kind == KE_VAR)
    return x->var == v || (x->var->def->kind == KS_LET && steps(x->var->def->value, v));
  if (x->kind != KE_BINARY)
    return false;
  if (x->op == KOP_add)
    return (steps(x->arg[0], v) && !uses(x->arg[1], v)) || (steps(x->arg[1], v) && !uses(x->arg[0], v));
  return x->op == KOP_sub && steps(x->arg[0], v) && !uses(x->arg[1], v);
}

/* Does x shrink by one with v? */
static bool steps_back(const KExpr *x, const KVar *v) {
  if (x->kind == KE_VAR)
    return x->var->def->kind == KS_LET && steps_back(x->var->def->value, v);
  return x->kind == KE_BINARY && x->op == KOP_sub && !uses(x->arg[0], v) && steps(x->arg[1], v);
}

/* Accesses that are contiguous along v less those that jump. */
static int access_score(const KBuf *b, KExpr *const *index, const KVar *v) {
  for (int i = 0; i + 1 < b->rank; i++)
    if (uses(index[i], v))
      return -1;
  if (!b->rank || !uses(index[b->rank - 1], v))
    return 0;
  return steps(index[b->rank - 1], v) || steps_back(index[b->rank - 1], v) ? 1 : -1;
}

static int expr_score(const KExpr *x, const KVar *v) {
  int n = 0;
  if (!x)
    return 0;
  for (int i = 0; i < 3; i++)
    n += expr_score(x->arg[i], v);
  return x->kind == KE_LOAD ? n + access_score(x->buf, x->index, v) : n;
}

int schedule_score(const KStmt *s, const KVar *v) {
  int n = 0;
  for (; s; s = s->next) {
    n += expr_score(s->value, v) + schedule_score(s->body, v);
    if (s->kind == KS_STORE)
      n += access_score(s->buf, s->index, v);
  }
  return n;
}

bool schedule_has(const KStmt *s, KStmtKind kind) {
  for (; s; s = s->next)
    if (s->kind == kind || schedule_has(s->body, kind))
      return true;
  return false;
}

static bool scheduled(const KStmt *s) {
  for (; s; s = s->next)
    if ((s->kind == KS_FOR && s->loop != KL_SERIAL && s->loop != KL_ORDERED) || scheduled(s->body))
      return true;
  return false;
}

/* --- the schedule --- */

static int64_t expr_flops(const KExpr *x) {
  if (!x)
    return 0;
  int64_t n = 0;
  for (int i = 0; i < 3; i++)
    n += expr_flops(x->arg[i]);
  if ((x->kind == KE_UNARY || x->kind == KE_BINARY) && dtype_is_float(x->arg[0]->dtype))
    n += (x->op >= KOP_exp && x->op < KOP_isnan) || x->op == KOP_pow ? 16 : 1; /* a polynomial or so */
  return n;
}

static int64_t list_flops(const KStmt *s) {
  int64_t n = 0;
  for (; s; s = s->next)
    n += expr_flops(s->value) + (s->kind == KS_UPDATE && dtype_is_float(s->var->dtype)) + list_flops(s->body);
  return n;
}

typedef struct Scheduler {
  Ctx *c;
  Kernel *k;
  int lanes;
  bool intel; /* AVX-512 as Intel's CPUs have it */
} Scheduler;

/* Does a list find nothing but the greatest or the least of something? */
static bool finds_extremes(const KStmt *s) {
  bool some = false;
  for (; s; s = s->next) {
    bool own = s->kind == KS_UPDATE && (s->op == KOP_max || s->op == KOP_min) && dtype_is_float(s->var->dtype);
    if (s->kind != KS_LET && !own)
      return false;
    some |= own;
  }
  return some;
}

/* Lanes for a loop: two registers, so that an accumulator does not wait for itself; four where that takes NaN into account, too;
 * one where the body is long: a quarter less time to compile for a tenth of the speed. No more than the next power of two of the
 * extent. 1: not worth it. */
static uint16_t lanes_for(const Scheduler *s, const KStmt *f) {
  int64_t n;
  int w = list_flops(f->body) >= LONG_BODY ? s->lanes / 2 : finds_extremes(f->body) ? 2 * s->lanes : s->lanes;
  if (dim_is_const(f->extent, &n))
    while (w > 1 && w / 2 >= n)
      w /= 2;
  return (uint16_t)w;
}

/* Windows: short innermost loops of known length inside of a loop with lanes become straight code. */
static void unroll(KStmt *s) {
  int64_t n;
  for (; s; s = s->next) {
    unroll(s->body);
    if (s->kind == KS_FOR && s->loop == KL_SERIAL && !schedule_has(s->body, KS_FOR) && dim_is_const(s->extent, &n) &&
        n > 1 && n <= SHORT_LOOP / 2)
      s->loop = KL_UNROLL, s->width = (uint16_t)n;
  }
}

static void make_vector(const Scheduler *s, KStmt *f) {
  uint16_t w = lanes_for(s, f);
  if (w > 4 && kernel_loop_scans(f) && kernel_loop_ordered(f) && schedule_score(f->body, f->var) > 0)
    f->loop = KL_SCAN, f->width = w > s->lanes / 2 ? (uint16_t)(s->lanes / 2) : w;
  if (w <= 1 || kernel_loop_ordered(f))
    return;
  f->loop = KL_VECTOR, f->width = w;
  unroll(f->body);
}

/* Are all loops in the list, at least one, of few iterations, known beforehand? */
static bool short_loops(const KStmt *s) {
  bool some = false;
  int64_t n;
  for (; s; s = s->next) {
    if (s->kind == KS_FOR &&
        (!dim_is_const(s->extent, &n) || n > SHORT_LOOP || (schedule_has(s->body, KS_FOR) && !short_loops(s->body))))
      return false;
    some |= s->kind == KS_FOR || (s->kind == KS_IF && short_loops(s->body));
  }
  return some;
}

/* Are the lanes better off along f than along the loops inside of it: because those jump through memory where f does not, or
 * are short (windows)? */
bool schedule_lanes_outside(const KStmt *f) {
  int inner = 0, outer = schedule_score(f->body, f->var);
  for (const KStmt *s = f->body; s; s = s->next)
    if (s->kind == KS_FOR)
      inner += schedule_score(s->body, s->var);
  return !kernel_loop_ordered(f) && ((inner <= 0 && outer > 0) || (outer >= 0 && short_loops(f->body)));
}

static bool fills_temporaries(const KStmt *s) {
  for (; s; s = s->next)
    if ((s->kind == KS_STORE && !s->buf->temp) || !fills_temporaries(s->body))
      return false;
  return true;
}

/* The vector loop that is all of a list but definitions, checks and conditions; NULL: there is more, or none. */
static KStmt *only_vector(KStmt *s) {
  while (s && (s->kind == KS_LET || s->kind == KS_CHECK))
    s = s->next;
  if (!s || s->next)
    return NULL;
  if (s->kind == KS_IF)
    return only_vector(s->body);
  return s->kind == KS_FOR && s->loop == KL_VECTOR ? s : NULL;
}

/* A few rows are brought into temporaries and worked on there: while they are brought, as many behind them are asked for, which come
 * meanwhile. A third of the time of a resize (bench memory="resize linear"). Of short rows that are only moved some are, too. */
static void ask_for_next(KStmt *rows) {
  KStmt *row = only_vector(rows->body);
  int64_t n, length;
  bool ordered = kernel_loop_ordered(rows);
  if (!row || (ordered && !rows->value)) /* with a value: a list of rows */
    return;
  if (!ordered && dim_is_const(rows->extent, &n) && n <= SHORT_LOOP && fills_temporaries(row->body))
    row->ahead = rows->var, row->ahead_by = (uint8_t)n;
  else if (dim_is_const(row->extent, &length) && length <= SHORT_ROW && list_flops(row->body) <= 1)
    row->ahead = rows->var, row->ahead_by = FAR_ROWS;
}

static bool only_asks(const KStmt *s) {
  for (; s; s = s->next)
    if (s->kind != KS_LET && (s->kind != KS_UPDATE || s->var->dtype != DT_bool))
      return false;
  return true;
}

/* Blocks in which something is looked for one after another: while what was found is dealt with, those behind come. The largest few take
 * 1.5 ms, not 1.85 (bench memory="top 8"). */
static void ask_for_blocks(KStmt *blocks) {
  int64_t n;
  for (KStmt *s = blocks->body; s && blocks->loop == KL_ORDERED; s = s->next)
    if (s->kind == KS_FOR) {
      if (s->loop == KL_VECTOR && only_asks(s->body) && dim_is_const(s->extent, &n) && n >= SHORT_ROW)
        s->ahead = blocks->var, s->ahead_by = FAR_BLOCKS;
      return;
    }
}

static void vectorize(const Scheduler *s, KStmt *first) {
  for (KStmt *f = first; f; f = f->next) {
    if (f->kind == KS_IF)
      vectorize(s, f->body);
    if (f->kind != KS_FOR)
      continue;
    if (!schedule_has(f->body, KS_FOR) || schedule_lanes_outside(f))
      make_vector(s, f);
    else {
      vectorize(s, f->body);
      ask_for_next(f);
      ask_for_blocks(f);
    }
  }
}

/* The loops nested in f one in another with nothing beside them, f included. */
int schedule_nest(KStmt *f, KStmt **nest, int cap) {
  int n = 0;
  while (n < cap) {
    nest[n++] = f;
    f = f->body;
    if (!f || f->kind != KS_FOR || f->next || f->value || !kernel_loop_splits(f))
      break;
  }
  return n;
}

/* How many of the n outer loops are enough for parts: where that many are known to be there, the loops inside of them run serially, at
 * less cost per iteration. */
static int enough_loops(KStmt *const *nest, int n) {
  int64_t parts = 1, extent;
  for (int i = 0; i < n; i++) {
    if (!dim_is_const(nest[i]->extent, &extent))
      return n;
    if (extent > 0 && (parts *= extent) >= ENOUGH_PARTS)
      return i + 1;
    if (extent <= 0)
      return n;
  }
  return n;
}

/* How often what is inside of n loops runs at least, or ENOUGH_PARTS. */
static int64_t runs_of(KStmt *const *nest, int n) {
  int64_t runs = 1;
  for (int i = 0; i < n && runs < ENOUGH_PARTS; i++)
    runs *= nest[i]->extent->lo < 1 ? 1 : nest[i]->extent->lo < ENOUGH_PARTS ? nest[i]->extent->lo : ENOUGH_PARTS;
  return runs;
}

/* nest[0] becomes the loop over all n of them; the others' variables are defined by division in front of the body. */
void schedule_collapse(Ctx *c, Kernel *k, KStmt **nest, int n) {
  KStmt *outer = nest[0];
  if (n < 2)
    return;
  KVar *var[MAX_RANK];
  Dim extent[MAX_RANK], total = outer->extent;
  for (int i = 0; i < n; i++)
    var[i] = nest[i]->var, extent[i] = nest[i]->extent;
  for (int i = 1; i < n; i++)
    total = dim_mul(c, total, extent[i]);
  KStmt *rest = nest[n - 1]->body, *first = NULL;
  KCursor at = {k, &first};
  KVar *p = arena_new(k->arena, KVar);
  *p = (KVar){.name = "part", .dtype = DT_i64, .id = k->next_id++, .def = outer};
  Dim below = dim_const(c, 1);
  for (int i = n - 1; i >= 0; i--) {
    KExpr *x = ke_binary(k, KOP_div, ke_var(k, p), ke_dim(k, below));
    if (i)
      x = ke_binary(k, KOP_mod, x, ke_dim(k, extent[i]));
    KVar *made = ks_let(&at, var[i]->name, x);
    made->def->var = var[i], var[i]->def = made->def;
    below = dim_mul(c, below, extent[i]);
  }
  *at.at = rest;
  outer->var = p, outer->extent = total, outer->body = first;
}

/* --- transpositions --- */

/* Is something loaded in the list that jumps along `inner` and is contiguous along `outer`? */
static bool expr_crosses(const KExpr *x, const KVar *inner, const KVar *outer) {
  if (!x)
    return false;
  for (int i = 0; i < 3; i++)
    if (expr_crosses(x->arg[i], inner, outer))
      return true;
  return x->kind == KE_LOAD && access_score(x->buf, x->index, inner) < 0 && access_score(x->buf, x->index, outer) > 0;
}

static bool crosses(const KStmt *s, const KVar *inner, const KVar *outer) {
  for (; s; s = s->next)
    if (expr_crosses(s->value, inner, outer) || crosses(s->body, inner, outer))
      return true;
  return false;
}

/* The loop of the nest along which a load is contiguous that jumps along the innermost one, where the stores are; -1: none. */
static int crossing(KStmt *const *nest, int n) {
  const KStmt *last = nest[n - 1];
  for (const KStmt *s = last->body; s; s = s->next)
    if (s->kind == KS_STORE && access_score(s->buf, s->index, last->var) <= 0)
      return -1;
  for (int i = n - 1; i-- > 0;)
    if (crosses(last->body, last->var, nest[i]->var))
      return i;
  return -1;
}

/* Rows and lanes of a tile for loads of so many bits: a register. */
static int tile_width(const Scheduler *s, int bits) {
  int n = s->lanes / 2 * 32 / bits;
  return n < TILE_ROWS ? n : TILE_ROWS;
}

/* The widest element that is loaded across the lanes, in bits. */
static int crossing_bits(const KExpr *x, const KVar *inner, const KVar *outer) {
  int most = 0;
  for (int i = 0; i < 3 && x->arg[i]; i++) {
    int n = crossing_bits(x->arg[i], inner, outer);
    most = n > most ? n : most;
  }
  int own = expr_crosses(x, inner, outer) && x->kind == KE_LOAD ? dtype_bits(x->dtype) : 0;
  return own > most ? own : most;
}

/* How many iterations of u to make at once: where the body is no more than a few definitions and stores. 0: one after another. */
static int tile_rows(const Scheduler *s, const KStmt *last, const KStmt *u) {
  int bits = 0, n = 0;
  int64_t extent;
  for (const KStmt *x = last->body; x; x = x->next) {
    if ((x->kind != KS_LET && x->kind != KS_STORE) || ++n > TILE_BODY)
      return 0;
    int own = crossing_bits(x->value, last->var, u->var);
    bits = own > bits ? own : bits;
  }
  int w = bits >= 8 && bits <= 64 && list_flops(last->body) < LONG_BODY ? tile_width(s, bits) : 0;
  return dim_is_const(u->extent, &extent) && extent < w ? 0 : w;
}

/* for j { body } becomes { for lane { j = …: body } } inside of `at`, for block `block` of `lanes` of them. */
static void tile_lanes(Scheduler *s, KCursor at, KStmt *block, KVar *var, Dim lanes, Dim extent, int width,
                       KStmt *body) {
  KStmt *lane = ks_for(&at, "lane", lanes, &at);
  KExpr *j = ke_binary(s->k, KOP_mul, ke_var(s->k, block->var), ke_dim(s->k, lanes));
  if (dim_mul(s->c, block->extent, lanes) != extent)
    lane->value = ke_binary(s->k, KOP_sub, ke_dim(s->k, extent), j);
  KVar *made = ks_let(&at, var->name, ke_binary(s->k, KOP_add, j, ke_var(s->k, lane->var)));
  var->def = made->def, made->def->var = var;
  *at.at = body;
  lane->loop = KL_VECTOR, lane->width = (uint16_t)width;
}

static void block_loop(Scheduler *s, KStmt *f, Dim extent, Dim size) {
  f->extent = dim_ceildiv(s->c, extent, size);
  f->var = arena_new(s->k->arena, KVar);
  *f->var = (KVar){.name = "block", .dtype = DT_i64, .id = s->k->next_id++, .def = f};
}

/* AVX2: two registers fill a line. */
static bool half_lines(const Scheduler *s) { return s->lanes / 2 * 32 * 2 == LINE_BITS; }

/* Registers of lanes that are stored at once where rows are cut into blocks: two where rows are so long that each of its own page is
 * written to, and with AVX2, where two fill a line that goes past the caches, unless too many lanes would fill none. Whole rows are
 * stored as they come: two registers take 12.0 ms, not 9.8 (bench memory="to NCHW"). */
static int tile_registers(const Scheduler *s, const KStmt *last, int rows) {
  int64_t n;
  if (rows == TILE_ROWS || !dim_is_const(last->extent, &n))
    return 1;
  return n / rows >= (half_lines(s) ? FAR_LINES / 4 : FAR_LINES) || (half_lines(s) && n % (2 * rows) == 0) ? 2 : 1;
}

/* Iterations of a block of the loop across, of rows of `last`. */
static int64_t tile_cut(const Scheduler *s, const KStmt *last, int rows) {
  int64_t n;
  return half_lines(s) && dim_is_const(last->extent, &n) && n / rows >= FAR_LINES ? TILE_PAGES : TILE_CUT;
}

/* for u … for j { body }  ->  for … for block of j { for u { for lane { j = …: body } } }: the cache lines that the lanes read
 * from are read from again for the next u, or in one go where u's loop can be a tile. A long u is cut into blocks, too, and a block
 * of j is a vector or two then: few rows are read from at a time, each for a while. The loops of nest that are outside of u then, whose
 * number is returned, are to be collapsed; 0: no tile. */
static int tile(Scheduler *s, KStmt **nest, int n, int u) {
  KStmt *last = nest[n - 1], across = *nest[u], *rest = last->body;
  int rows = tile_rows(s, last, &across), w = rows ? rows : lanes_for(s, last);
  int64_t count;
  bool cut = s->lanes >= CUT_FROM && rows && dim_is_const(across.extent, &count) && count >= TILE_CUT;
  int64_t cut_at = cut ? tile_cut(s, last, rows) : 0;
  int vectors = cut ? tile_registers(s, last, rows) : 1;
  Dim lanes = dim_const(s->c, cut    ? vectors * rows
                              : rows ? TILE_LANES * rows
                                     : w),
      extent = last->extent, run = across.extent;
  KVar *var = last->var;
  if (w < 4 || kernel_loop_ordered(last))
    return 0;
  for (int i = u; i + 1 < n; i++) /* the loops behind u move out by one */
    nest[i]->var = nest[i + 1]->var, nest[i]->extent = nest[i + 1]->extent, nest[i]->var->def = nest[i];
  KStmt *block = nest[cut ? n - 1 : n - 2];
  block_loop(s, block, extent, lanes);
  KCursor at = {s->k, &block->body};
  KStmt *f = ks_for(&at, "u", run, &at);
  if (cut) {
    Dim size = dim_const(s->c, cut_at);
    block_loop(s, nest[n - 2], run, size);
    KExpr *from = ke_binary(s->k, KOP_mul, ke_var(s->k, nest[n - 2]->var), ke_dim(s->k, size));
    f->extent = size;
    if (count % cut_at)
      f->value = ke_binary(s->k, KOP_sub, ke_dim(s->k, run), from);
    kernel_substitute(s->k, rest, across.var, ke_binary(s->k, KOP_add, from, ke_var(s->k, f->var)));
  } else
    f->var = across.var, f->var->def = f;
  if (rows)
    f->loop = KL_TILE, f->width = (uint16_t)rows;
  tile_lanes(s, at, block, var, lanes, extent, vectors * w, rest);
  return cut ? n : n - 1;
}

static int find_loads(const KExpr *x, const KExpr **load) {
  int n = 0;
  if (x->kind == KE_LOAD)
    return *load = x, 1;
  for (int i = 0; i < 3 && x->arg[i]; i++)
    n += find_loads(x->arg[i], load);
  return n;
}

/* The only load of a list that stores one element; NULL: it does other things. */
static const KExpr *moved(const KStmt *s) {
  const KExpr *load = NULL;
  int stores = 0, loads = 0;
  for (; s; s = s->next) {
    if (s->kind != KS_LET && s->kind != KS_STORE)
      return NULL;
    stores += s->kind == KS_STORE, loads += find_loads(s->value, &load);
  }
  return stores == 1 && loads == 1 ? load : NULL;
}

/* Where rows are only moved, at least a line each, the loops around them go in the order in which they are read: memory foresees
 * that, and what is written goes past the caches. To heads takes 2.4 ms, not 4 (bench memory="transpose heads"). */
static void follow_reads(KStmt **nest, int n) {
  const KStmt *body = nest[n - 1]->body;
  const KExpr *x = moved(body);
  int64_t row;
  KStmt copy[MAX_RANK];
  if (!x || x->buf->rank != n || list_flops(body) > 1 || !dim_is_const(nest[n - 1]->extent, &row) ||
      row * dtype_bits(x->dtype) < LINE_BITS)
    return;
  int from[MAX_RANK];
  for (int i = 0; i < n; i++) {
    int at = 0;
    while (at < n && (x->index[i]->kind != KE_VAR || nest[at]->var != x->index[i]->var))
      at++;
    if (at == n)
      return;
    from[i] = at, copy[i] = *nest[at];
  }
  if (from[n - 1] != n - 1)
    return;
  for (int i = 0; i + 1 < n; i++)
    nest[i]->var = copy[i].var, nest[i]->extent = copy[i].extent, nest[i]->var->def = nest[i];
}

static bool stores_bytes(const KStmt *s) {
  for (; s; s = s->next)
    if ((s->kind == KS_STORE && dtype_bits(s->buf->dtype) < 8) || !stores_bytes(s->body))
      return false;
  return true;
}

/* An innermost loop of a few iterations (the channels of an image that become its last axis) inside of u, along which there are
 * many: they change places, so that what is loaded is contiguous and only the stores jump. */
static bool few_outside(KStmt *u, KStmt *last) {
  int64_t few, many;
  KStmt inner = *last;
  if (!dim_is_const(last->extent, &few) || few > FEW_LANES || (dim_is_const(u->extent, &many) && many < 4 * few) ||
      kernel_loop_ordered(u) || !stores_bytes(last->body)) /* threads may not share a byte */
    return false;
  last->var = u->var, last->extent = u->extent, last->var->def = last;
  u->var = inner.var, u->extent = inner.extent, u->var->def = u;
  return true;
}

/* --- rows that are read several times --- */

static bool looks_up(const KExpr *x, const KVar *v) {
  if (!x)
    return false;
  if (x->kind == KE_VAR)
    return x->var->def->kind == KS_LET && looks_up(x->var->def->value, v);
  for (int i = 0; i < 3; i++)
    if (looks_up(x->arg[i], v))
      return true;
  return x->kind == KE_LOAD && !x->buf->output && kernel_depends(x, v);
}

static bool expr_far(const KExpr *x, const KVar *row, const KVar *v) {
  if (!x)
    return false;
  for (int i = 0; i < 3; i++)
    if (expr_far(x->arg[i], row, v))
      return true;
  for (int i = 0; x->kind == KE_LOAD && i + 1 < x->buf->rank; i++)
    if (looks_up(x->index[i], row) && !uses(x->index[i], v) && steps(x->index[x->buf->rank - 1], v))
      return true;
  return false;
}

/* Does the list read along rows that another buffer names? */
static bool far_rows(const KStmt *s, const KVar *row, const KVar *v) {
  for (; s; s = s->next)
    if (expr_far(s->value, row, v) || far_rows(s->body, row, v))
      return true;
  return false;
}

/* The first vector loop in what is done in order, where that is called for. */
static KStmt *searching(KStmt *s) {
  for (; s; s = s->next) {
    if (s->kind == KS_FOR && s->loop == KL_VECTOR)
      return s;
    KStmt *in = s->kind == KS_IF || (s->kind == KS_FOR && s->loop == KL_ORDERED) ? searching(s->body) : NULL;
    if (in)
      return in;
  }
  return NULL;
}

static bool expr_reads_inputs(const KExpr *x) {
  if (!x)
    return false;
  for (int i = 0; i < 3; i++)
    if (expr_reads_inputs(x->arg[i]))
      return true;
  return x->kind == KE_LOAD && !x->buf->output;
}

static bool reads_inputs(const KStmt *s) {
  for (; s; s = s->next)
    if (expr_reads_inputs(s->value) || reads_inputs(s->body))
      return true;
  return false;
}

/* The last pass only moves what was put together: what the first one brings is asked for there, and what is brought between them where
 * that is. Rows to which elements are scattered take 4.3 ms, not 5.9 (bench memory="scatter elements"). */
static void ask_for_row(KStmt *first, KStmt *last, KVar *row) {
  if (first->extent != last->extent || reads_inputs(last->body))
    return;
  last->asks = first;
  KStmt *between = searching(first->next);
  if (between && between != last)
    between->ahead = row, between->ahead_by = 1;
}

/* In the second pass over a row, which computes more than it waits for memory, or searches, the next row is asked for: the first pass
 * over it finds it in the cache then. Where the second of three computes little, the third asks, whose stores memory takes meanwhile: a
 * layer norm takes 4.9 ms, not 5.6, on an Intel Emerald Rapids (bench memory="layer norm"). */
static void look_ahead(KStmt *f) {
  KStmt *pass[3] = {NULL, NULL, NULL};
  int n = 0;
  int64_t row;
  for (KStmt *s = f->body; s; s = s->next)
    if (s->kind == KS_FOR && s->loop == KL_VECTOR && n < 3)
      pass[n++] = s;
  if (n == 3 && list_flops(pass[1]->body) < LONG_BODY && reads_inputs(pass[2]->body))
    pass[1] = pass[2];
  n = n < 3 ? n : 2;
  bool kept = n == 1 && dim_is_const(pass[0]->extent, &row) && row > SHORT_ROW && row <= KEPT_ROW;
  if (kept && (pass[1] = searching(pass[0]->next)))
    n = 2;
  if (n == 2 && !kept)
    ask_for_row(pass[0], pass[1], f->var);
  if (n == 2)
    pass[1]->ahead = f->var, pass[1]->ahead_by = 1;
  if (n == 1 && far_rows(pass[0]->body, f->var, pass[0]->var))
    pass[0]->ahead = f->var, pass[0]->ahead_by = FAR_ROWS;
}

static bool expr_gathers(const KExpr *x, const KVar *v) {
  if (!x)
    return false;
  for (int i = 0; i < 3; i++)
    if (expr_gathers(x->arg[i], v))
      return true;
  const KExpr *last = x->kind == KE_LOAD && x->buf->rank > 1 ? x->index[x->buf->rank - 1] : NULL;
  return last && uses(last, v) && !steps(last, v) && !steps_back(last, v);
}

/* Does the list pick elements of a row, at places that v does not go through in order? */
static bool gathers(const KStmt *s, const KVar *v) {
  for (; s; s = s->next)
    if (expr_gathers(s->value, v) || gathers(s->body, v))
      return true;
  return false;
}

/* Only definitions may stand beside a parallel loop: the rest would run once per range of parts. */
KStmt *schedule_only_loop(KStmt *first) {
  KStmt *f = NULL;
  for (KStmt *s = first; s; s = s->next) {
    if (s->kind == KS_FOR && !f)
      f = s;
    else if (s->kind != KS_LET)
      return NULL;
  }
  return f;
}

static bool uses_any(const KExpr *x, KStmt *const *nest, int n) {
  for (int i = 0; i < n; i++)
    if (uses(x, nest[i]->var))
      return true;
  return false;
}

/* May the iterations of the nest's loops, or chunks of them, go to different threads? Not where two would write packed
 * elements of one byte: rows must fill whole bytes, and so do chunks of consecutive elements. */
static bool separable(Ctx *c, const KStmt *s, KStmt *const *nest, int n, bool chunks) {
  for (; s; s = s->next) {
    int bits = s->kind == KS_STORE ? dtype_bits(s->buf->dtype) : 8, last = s->kind == KS_STORE ? s->buf->rank - 1 : 0;
    if (bits < 8 && last < 0)
      return false;
    if (bits < 8 && chunks && (last || s->index[0]->kind != KE_VAR || s->index[0]->var != nest[0]->var))
      return false;
    if (bits < 8 && !chunks &&
        (!dim_is(dim_mod(c, s->buf->dim[last], dim_const(c, bits == 6 ? 4 : 8 / bits)), 0) ||
         uses_any(s->index[last], nest, n)))
      return false;
    if (!separable(c, s->body, nest, n, chunks))
      return false;
  }
  return true;
}

static void outermost(Scheduler *s, KStmt *f) {
  KStmt *nest[MAX_RANK];
  int64_t row;
  int n = schedule_nest(f, nest, MAX_RANK);
  KStmt *last = nest[n - 1];
  bool lanes = schedule_has(last->body, KS_FOR) ? schedule_lanes_outside(last) : !kernel_loop_ordered(last);
  if (!separable(s->c, f->body, nest, lanes && n > 1 ? n - 1 : n, lanes && n == 1)) {
    vectorize(s, f);
    return;
  }
  int across = n > 1 && lanes && !schedule_has(last->body, KS_FOR) ? crossing(nest, n) : -1;
  if (across >= 0 && across == n - 2 && few_outside(nest[across], last))
    across = -1;
  int tiled = across >= 0 ? tile(s, nest, n, across) : 0;
  if (tiled) {
    schedule_collapse(s->c, s->k, nest, tiled);
    f->loop = KL_PARALLEL;
    return;
  }
  if (!lanes) {
    vectorize(s, last->body);
    if (n == 1)
      look_ahead(f);
    schedule_collapse(s->c, s->k, nest, n);
    f->loop = KL_PARALLEL;
    return;
  }
  if (schedule_has(last->body, KS_FOR) && !short_loops(last->body) &&
      columns_interchange(s->c, s->k, last, lanes_for(s, last), runs_of(nest, n - 1), s->intel)) {
    schedule_collapse(s->c, s->k, nest, n);
    f->loop = KL_PARALLEL;
    return;
  }
  if (n == 1) {
    uint16_t w = lanes_for(s, f);
    if (w > 1)
      f->loop = KL_PARALLEL, f->width = w, unroll(f->body);
    return;
  }
  if (s->lanes >= CUT_FROM && !schedule_has(last->body, KS_FOR))
    follow_reads(nest, n);
  make_vector(s, last);
  /* short rows that are only moved, or pooled, wait for memory at each of their ends: 1.4 ms, not 2.2 (bench memory="max pool") */
  bool row_short = dim_is_const(last->extent, &row) && row <= SHORT_ROW && list_flops(last->body) <= 2;
  if (last->loop == KL_VECTOR && (row_short || gathers(last->body, last->var)))
    last->ahead = nest[n - 2]->var, last->ahead_by = row_short ? FAR_ROWS : 1;
  schedule_collapse(s->c, s->k, nest, enough_loops(nest, n - 1));
  f->loop = KL_PARALLEL;
}

/* AVX-512, but not with the instructions that cpu_level leaves out on Intel's CPUs. There a softmax of columns takes 6.6 ms, not 8.7, when
 * its blocks stay in the first cache; a Zen 5 is faster with more columns (bench memory="softmax of columns"). */
static bool like_intel(const char *level) {
  return cpu_vector_bits(level) == LINE_BITS && cpu_rank(level) < cpu_rank("x86-64-v4-vnni-bf16");
}

void unit_schedule(Ctx *c, Unit *u, const char *cpu_level) {
  if (gpu_level(cpu_level)) {
    gpu_schedule(c, u);
    return;
  }
  Scheduler s = {.c = c, .k = u->kernel, .lanes = 2 * cpu_vector_bits(cpu_level) / 32, .intel = like_intel(cpu_level)};
  if (s.lanes > 1 && !scheduled(u->kernel->body)) {
    KStmt *f = schedule_only_loop(u->kernel->body);
    if (f && !f->value && kernel_loop_splits(f))
      outermost(&s, f);
    else
      vectorize(&s, u->kernel->body);
  }
  unit_count(c, u);
}

/* --- counts --- */

static Dim count_flops(Ctx *c, const KStmt *s, Dim trips) {
  Dim n = dim_const(c, 0);
  for (; s; s = s->next) {
    int64_t own = expr_flops(s->value) + (s->kind == KS_UPDATE && dtype_is_float(s->var->dtype));
    n = dim_add(c, n, dim_mul(c, trips, dim_const(c, own)));
    if (s->kind == KS_FOR)
      n = dim_add(c, n, count_flops(c, s->body, dim_mul(c, trips, s->extent)));
    else if (s->kind == KS_IF)
      n = dim_add(c, n, count_flops(c, s->body, trips));
  }
  return n;
}

static const KStmt *parallel_loop(const KStmt *s) {
  for (; s; s = s->next) {
    if (s->kind == KS_FOR && s->loop == KL_PARALLEL)
      return s;
    const KStmt *inner = parallel_loop(s->body);
    if (inner)
      return inner;
  }
  return NULL;
}

void unit_count(Ctx *c, Unit *u) {
  const Kernel *k = u->kernel;
  const KStmt *f = parallel_loop(k->body);
  u->parts = !f ? dim_const(c, 1) : f->width ? dim_ceildiv(c, f->extent, dim_const(c, kernel_chunk(f))) : f->extent;
  u->scratch = dim_const(c, 0);
  u->flops = count_flops(c, k->body, dim_const(c, 1));
  u->bytes = dim_const(c, 0);
  for (uint32_t i = 0; i < k->nbuf; i++) {
    Dim n = dim_const(c, (dtype_bits(k->buf[i]->dtype) + 7) / 8), align = dim_const(c, TEMP_ALIGN);
    for (int d = 0; d < k->buf[i]->rank; d++)
      n = dim_mul(c, n, k->buf[i]->dim[d]);
    if (k->buf[i]->temp)
      u->scratch = dim_add(c, u->scratch, dim_mul(c, dim_ceildiv(c, n, align), align));
    else
      u->bytes = dim_add(c, u->bytes, n);
  }
}
