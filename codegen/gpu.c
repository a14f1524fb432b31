/* gpu.c - schedules of loop kernels for GPUs.
 *
 * Threads side by side touch memory side by side: along the innermost loop of a nest, or along the loops inside of it where those
 * are what runs through rows. Accesses of 16 bytes a thread are made where each provably begins at a multiple of 16, so that the
 * emission may rely on it: rows of whole vectors, vectors at whole offsets.
 *
 * Elements that share bytes are written by one thread: a few of them that fill bytes of every packed output, one after another.
 * Where outputs lie in orders of their own, one thread stores all.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/gpu.h"

#include "codegen/schedule.h"

#include <string.h>

enum { SHORT_ROW = 32 }; /* fewer elements are not worth the threads of a warp */

bool gpu_level(const char *level) { return level && !strncmp(level, "sm_", 3); }

/* --- packed elements --- */

/* So many of them fill whole bytes, of each packed buffer that is stored to in the list; 1: none is. */
static int packed_share(const KStmt *s) {
  int most = 1;
  for (; s; s = s->next) {
    int bits = s->kind == KS_STORE ? dtype_bits(s->buf->dtype) : 8, own = bits == 6 ? 4 : bits < 8 ? 8 / bits : 1;
    int inside = packed_share(s->body);
    own = own > inside ? own : inside;
    most = own > most ? own : most;
  }
  return most;
}

/* The loops of the nest in the order of b's axes; false: the store does not go through b in an order of them. Axes and loops of one
 * element have no place in it. */
static bool order_of(const KBuf *b, KExpr *const *index, KStmt *const *nest, int n, int *order) {
  int found = 0;
  for (int i = 0; i < b->rank; i++) {
    int l = 0;
    if (dim_is(b->dim[i], 1))
      continue;
    while (l < n && !(index[i]->kind == KE_VAR && index[i]->var == nest[l]->var && b->dim[i] == nest[l]->extent))
      l++;
    if (l == n)
      return false;
    order[found++] = l;
  }
  int all = 0;
  for (int l = 0; l < n; l++)
    all += !dim_is(nest[l]->extent, 1);
  return found == all; /* an axis of each: no loop comes twice, as its elements would not be independent */
}

/* Do all packed stores of the list go through memory in one order of the nest's loops? */
static bool one_order(const KStmt *s, KStmt *const *nest, int n, int *order, bool *some) {
  int own[MAX_RANK];
  for (; s; s = s->next) {
    if (s->kind == KS_STORE && dtype_bits(s->buf->dtype) < 8) {
      int *to = *some ? own : order;
      memset(own, 0xff, sizeof own);
      if (!order_of(s->buf, s->index, nest, n, to) || (*some && memcmp(own, order, sizeof own)))
        return false;
      *some = true;
    }
    if (!one_order(s->body, nest, n, order, some))
      return false;
  }
  return true;
}

/* Puts the loops in the order in which packed elements lie, those of one element outside. False: there is none. */
static bool in_packed_order(KStmt **nest, int n) {
  int order[MAX_RANK], at = n;
  bool some = false, taken[MAX_RANK] = {false};
  KStmt copy[MAX_RANK];
  memset(order, 0xff, sizeof order);
  for (int i = 0; i < n; i++)
    if (nest[i]->value)
      return false;
  if (!one_order(nest[n - 1]->body, nest, n, order, &some))
    return false;
  for (int i = 0; i < n; i++)
    copy[i] = *nest[i];
  for (int i = n; i-- > 0;)
    if (order[i] >= 0)
      taken[order[i]] = true, at--, nest[at]->var = copy[order[i]].var, nest[at]->extent = copy[order[i]].extent;
  for (int i = 0; i < n; i++)
    if (!taken[i])
      at--, nest[at]->var = copy[i].var, nest[at]->extent = copy[i].extent;
  for (int i = 0; i < n; i++)
    nest[i]->var->def = nest[i];
  return true;
}

/* --- vectors --- */

typedef struct Vector {
  Ctx *c;
  const KVar *var;
  int bytes;       /* of the widest element that is accessed along var; 0: none is */
  bool ok, narrow; /* narrow: some are bytes */
} Vector;

/* One access: it moves along var by whole vectors, or not at all. */
static void vector_access(Vector *x, const KBuf *b, KExpr *const *index) {
  int last = b->rank - 1, size = dtype_bits(b->dtype) / 8;
  for (int i = 0; i < last; i++)
    x->ok &= !kernel_depends(index[i], x->var);
  if (last < 0 || !kernel_depends(index[last], x->var))
    return;
  const KExpr *e = index[last];
  x->ok &= e->kind == KE_VAR && e->var == x->var && size > 0 && size <= GPU_VECTOR_BYTES;
  x->narrow |= size == 1;
  x->bytes = size > x->bytes ? size : x->bytes;
}

static void vector_expr(Vector *x, const KExpr *e) {
  if (!e)
    return;
  for (int i = 0; i < 3; i++)
    vector_expr(x, e->arg[i]);
  if (e->kind == KE_LOAD)
    vector_access(x, e->buf, e->index);
}

static void vector_list(Vector *x, const KStmt *s) {
  for (; s; s = s->next) {
    x->ok &= s->kind == KS_LET || s->kind == KS_STORE || s->kind == KS_UPDATE;
    vector_expr(x, s->value);
    if (s->kind == KS_STORE)
      vector_access(x, s->buf, s->index);
  }
}

static bool row_whole(Ctx *c, const KBuf *b, KExpr *const *index, const KVar *v, int w) {
  int last = b->rank - 1;
  return last <= 0 || !kernel_depends(index[last], v) || dim_is(dim_mod(c, b->dim[last], dim_const(c, w)), 0);
}

static bool rows_whole(Ctx *c, const KExpr *e, const KVar *v, int w) {
  if (!e)
    return true;
  for (int i = 0; i < 3; i++)
    if (!rows_whole(c, e->arg[i], v, w))
      return false;
  return e->kind != KE_LOAD || row_whole(c, e->buf, e->index, v, w);
}

/* How many elements a thread takes at once along f; 1: they may not lie at multiples of a vector, or the body is no straight
 * code. */
static int vector_width(Ctx *c, const KStmt *f) {
  Vector x = {.c = c, .var = f->var, .ok = !kernel_loop_ordered(f)};
  vector_list(&x, f->body);
  int w = x.ok && x.bytes ? GPU_VECTOR_BYTES / x.bytes : 1;
  for (const KStmt *s = f->body; s && w > 1; s = s->next)
    if (!rows_whole(c, s->value, f->var, w) || (s->kind == KS_STORE && !row_whole(c, s->buf, s->index, f->var, w)))
      w = 1;
  if (x.narrow && w != 4) /* LLVM puts other vectors of bytes together on the stack */
    return 1;
  return w > 8 ? 8 : w;
}

/* --- a thread per element --- */

/* for j in n { body }  ->  for group in n/w { for lane in w loop { let j = …: body } }, the last lanes perhaps not all. */
static void split(Ctx *c, Kernel *k, KStmt *f, int w, KLoopKind loop) {
  KStmt *rest = f->body;
  KVar *var = f->var;
  Dim extent = f->extent, lanes = dim_const(c, w);
  KCursor at = {k, &f->body};
  f->var = arena_new(k->arena, KVar);
  *f->var = (KVar){.name = "group", .dtype = DT_i64, .id = k->next_id++, .def = f};
  f->extent = dim_ceildiv(c, extent, lanes);
  KExpr *base = ke_binary(k, KOP_mul, ke_var(k, f->var), ke_dim(k, lanes));
  KStmt *lane = ks_for(&at, "lane", lanes, &at);
  lane->loop = (uint8_t)loop, lane->width = loop == KL_VECTOR ? (uint16_t)w : 0;
  if (dim_mul(c, f->extent, lanes) != extent)
    lane->value = ke_binary(k, KOP_sub, ke_dim(k, extent), base);
  KVar *made = ks_let(&at, var->name, ke_binary(k, KOP_add, base, ke_var(k, lane->var)));
  made->def->var = var, var->def = made->def;
  *at.at = rest;
}

static void per_element(Ctx *c, Kernel *k, KStmt *f) {
  KStmt *nest[MAX_RANK];
  int n = schedule_nest(f, nest, MAX_RANK);
  int w = schedule_has(nest[n - 1]->body, KS_FOR) ? 1 : vector_width(c, nest[n - 1]);
  if (w > 1)
    split(c, k, nest[n - 1], w, KL_VECTOR);
  schedule_collapse(c, k, nest, n);
  f->loop = KL_GRID, f->width = 1;
}

/* A thread for each few elements that fill bytes; f's nest is in the order of these. */
static void per_bytes(Ctx *c, Kernel *k, KStmt *f, KStmt **nest, int n) {
  int w = packed_share(nest[n - 1]->body);
  schedule_collapse(c, k, nest, n);
  split(c, k, f, w, KL_SERIAL);
  f->loop = KL_GRID, f->width = 1;
}

/* --- a block per row --- */

/* The loops in the list that the threads of a block can share: not those with packed stores, which one thread does. */
static void share_out(Ctx *c, KStmt *s) {
  for (; s; s = s->next) {
    if (s->kind == KS_FOR && !kernel_loop_ordered(s) && packed_share(s->body) == 1 &&
        (!schedule_has(s->body, KS_FOR) || schedule_score(s->body, s->var) > 0)) {
      s->loop = KL_BLOCK;
      if (!schedule_has(s->body, KS_FOR) && !s->value)
        s->width = (uint16_t)vector_width(c, s);
    } else if (s->kind == KS_FOR || s->kind == KS_IF)
      share_out(c, s->body);
  }
}

/* Do all loops directly in the list run along memory, with enough iterations and in any order? */
static bool runs_through_rows(const KStmt *s) {
  bool some = false;
  int64_t n;
  for (; s; s = s->next) {
    if (s->kind == KS_IF && schedule_has(s->body, KS_FOR))
      return false;
    if (s->kind != KS_FOR)
      continue;
    if (kernel_loop_ordered(s) || (dim_is_const(s->extent, &n) && n < SHORT_ROW))
      return false;
    some = true;
  }
  return some;
}

/* --- whole kernels --- */

static bool expr_reads_outputs(const KExpr *e) {
  if (!e)
    return false;
  for (int i = 0; i < 3; i++)
    if (expr_reads_outputs(e->arg[i]))
      return true;
  for (int i = 0; e->kind == KE_LOAD && i < e->buf->rank; i++)
    if (expr_reads_outputs(e->index[i]))
      return true;
  return e->kind == KE_LOAD && e->buf->output;
}

static bool reads_outputs(const KStmt *s) {
  for (; s; s = s->next) {
    if (expr_reads_outputs(s->value) || expr_reads_outputs(s->number) || reads_outputs(s->body))
      return true;
    for (int i = 0; s->kind == KS_STORE && i < s->buf->rank; i++)
      if (expr_reads_outputs(s->index[i]))
        return true;
  }
  return false;
}

static bool has_ordered(const KStmt *s) {
  for (; s; s = s->next)
    if ((s->kind == KS_FOR && s->loop == KL_ORDERED) || has_ordered(s->body))
      return true;
  return false;
}

static int stores_to(const KStmt *s, const KBuf *b) {
  int n = 0;
  for (; s; s = s->next)
    n += (s->kind == KS_STORE && s->buf == b) + stores_to(s->body, b);
  return n;
}

bool gpu_meets(const Kernel *k) {
  for (uint32_t i = k->nin; i < k->nbuf; i++)
    if (stores_to(k->body, k->buf[i]) > 1)
      return true;
  return reads_outputs(k->body);
}

/* Are the loops side by side at the top, and do none of them and no iterations meet in memory? */
static bool independent(const Kernel *k) {
  for (const KStmt *s = k->body; s; s = s->next)
    if (s->kind != KS_LET && s->kind != KS_CHECK && (s->kind != KS_FOR || s->value || !kernel_loop_splits(s)))
      return false;
  return packed_share(k->body) == 1 && k->nio == k->nbuf && !has_ordered(k->body) && !gpu_meets(k);
}

/* Of the loops side by side in the list, the largest product of extents of block loops. */
static Dim block_threads(Ctx *c, const KStmt *s) {
  Dim n = dim_const(c, 1);
  for (; s; s = s->next) {
    Dim own = s->kind == KS_FOR && s->loop == KL_BLOCK
                  ? dim_ceildiv(c, s->extent, dim_const(c, s->width ? s->width : 1))
                  : block_threads(c, s->body);
    n = dim_is(own, 1) ? n : dim_is(n, 1) ? own : dim_max(c, n, own);
  }
  return n;
}

static void schedule(Ctx *c, Unit *u) {
  Kernel *k = u->kernel;
  KStmt *f = schedule_only_loop(k->body), *nest[MAX_RANK];
  bool splits = f && !f->value && kernel_loop_splits(f);
  int n = splits ? schedule_nest(f, nest, MAX_RANK) : 0;
  bool packed = packed_share(k->body) > 1, in_order = packed && splits && k->nbuf == k->nio && in_packed_order(nest, n);
  splits &= !packed || in_order;
  bool rows = splits && !packed &&
              (k->nbuf > k->nio || (runs_through_rows(nest[n - 1]->body) && !schedule_lanes_outside(nest[n - 1])));
  u->threads = dim_const(c, 0);
  if (rows) {
    schedule_collapse(c, k, nest, n);
    f->loop = KL_GRID;
    share_out(c, f->body);
    u->parts = f->extent, u->threads = block_threads(c, f->body);
  } else if (splits) {
    packed ? per_bytes(c, k, f, nest, n) : per_element(c, k, f);
    u->parts = f->extent;
  } else if (!f && independent(k)) {
    u->parts = dim_const(c, 1);
    for (KStmt *s = k->body; s; s = s->next)
      if (s->kind == KS_FOR) {
        per_element(c, k, s);
        u->parts = dim_max(c, u->parts, s->extent);
      }
  } else {
    share_out(c, k->body);
    u->parts = dim_const(c, 1), u->threads = block_threads(c, k->body);
  }
}

void gpu_schedule(Ctx *c, Unit *u) {
  schedule(c, u);
  Dim parts = u->parts;
  unit_count(c, u);
  u->parts = parts;
}
