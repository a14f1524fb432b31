/* plan.c - from an optimised graph to a program.
 *
 * Region 0 is the graph, every body of If, Loop and Scan a region of its own. A value of region 0 whose extents follow
 * from the input shapes lives in the run's arena from the step that makes it to the last that reads it, reads inside
 * bodies counted at their owner's step; the runtime packs these intervals once the shapes are known. Everything else is
 * allocated when it is made and freed behind its last reader.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/plan.h"

#include "codegen/gpu.h"
#include "codegen/describe.h"
#include "codegen/image.h"
#include "ops/ops.h"

#include <assert.h>
#include <string.h>

typedef struct Place {
  uint32_t slot; /* PROG_NONE: none yet */
  uint32_t last; /* step of its own region that reads it last; END: region output */
  Value *root;   /* itself, or the value whose memory it shares: ask root_of, which follows the chain */
  bool view, inplace;
  Value *next_freed; /* the next value that is freed behind the same step */
} Place;

enum { END = UINT32_MAX - 1 };

typedef struct Plan {
  Ctx *c;
  Arena *a;
  Image im;
  const PlanInput *in;
  Place *place;      /* by Value.id */
  uint32_t *step_of; /* by Node.id: index within its region */
  bool *bound_early; /* by symbol: known from the input shapes */
  Map bound;         /* (symbol, graph) -> itself: the symbol is told by an input or a step of that graph */
  uint32_t nsym;
  Value **freed; /* by step of the region being written: values not read behind it */
  Graph **queue; /* regions to write */
  uint32_t nregion;
  const Groups *groups; /* of region 0, or NULL */
  uint32_t *group_last; /* by Value.id: 1 + the last kernel step that reads it; 0: none */
  uint32_t *packed;     /* by Groups.packed: slot */
} Plan;

static Place *place(Plan *p, const Value *v) { return &p->place[v->id]; }

/* Whose memory v shares in the end. Chains arise when a value that has views is computed in place: they are shortened on
 * the way. */
static Value *root_of(Plan *p, Value *v) {
  Value *r = v, *next;
  while (!r->konst && place(p, r)->root != r)
    r = place(p, r)->root;
  for (; v != r; v = next)
    next = place(p, v)->root, place(p, v)->root = r;
  return r;
}

/* --- nodes and steps --- */

/* The group that computes n as part of one step, or NULL: n is a step of its own, or gone. */
static Group *group_of(const Plan *p, const Node *n) { return p->groups ? p->groups->fate[n->id].group : NULL; }

static bool is_gone(const Plan *p, const Node *n) { return p->groups && p->groups->fate[n->id].gone; }

/* Does a step stand where n stands: its own, or that of the group it is the root of? */
static bool has_step(const Plan *p, const Node *n) {
  const Group *x = group_of(p, n);
  return x ? x->root == n : !is_gone(p, n);
}

/* What the step at n reads and writes. */
static void step_values(const Plan *p, const Node *n, Value *const **in, uint32_t *nin, Value *const **out,
                        uint32_t *nout) {
  const Group *x = group_of(p, n);
  *in = x ? x->in : n->in, *nin = x ? x->nin : n->nin;
  *out = x ? x->out : n->out, *nout = x ? x->nout : n->nout;
}

/* Is v made by g's nodes, or an input of g? A value of a graph around g is read by the owner of the body. */
static bool lives_in(const Graph *g, const Value *v) {
  bool own = v->def && v->def->graph == g;
  for (uint32_t i = 0; v->is_input && !own && i < g->nin; i++)
    own = g->in[i] == v;
  return own;
}

static void number_steps(Plan *p, Graph *g) {
  uint32_t s = 0;
  for (Node *n = g->first; n; n = n->next)
    if (has_step(p, n))
      p->step_of[n->id] = s++;
  for (Node *n = g->first; n; n = n->next)
    if (group_of(p, n))
      p->step_of[n->id] = p->step_of[group_of(p, n)->root->id];
  for (uint32_t i = 0; p->groups && i < p->groups->n; i++) {
    const Group *x = p->groups->group[i];
    uint32_t at = p->step_of[x->root->id];
    for (uint32_t k = 0; x->root->graph == g && k < x->nin; k++)
      if ((k != 1 || x->packed == UINT32_MAX) && lives_in(g, x->in[k]))
        p->group_last[x->in[k]->id] = p->group_last[x->in[k]->id] > at + 1 ? p->group_last[x->in[k]->id] : at + 1;
  }
}

/* The node of graph g in which a use happens: the user itself, or the owner of the body it is in. */
static const Node *user_in(const Graph *g, const Use *u) {
  const Graph *at = u->node ? u->node->graph : u->graph;
  const Node *n = u->node;
  while (at != g) {
    n = at->owner;
    at = n->graph;
  }
  return n; /* NULL: output of g itself */
}

static uint32_t last_use(Plan *p, const Graph *g, const Value *v) {
  uint32_t last = v->def ? p->step_of[v->def->id] : 0;
  if (p->group_last[v->id] > last + 1)
    last = p->group_last[v->id] - 1;
  for (const Use *u = v->uses; u; u = u->next) {
    const Node *n = user_in(g, u);
    if (!n)
      return END;
    if (!group_of(p, n) && !is_gone(p, n) && p->step_of[n->id] > last)
      last = p->step_of[n->id];
  }
  return last;
}

/* --- symbols and expressions --- */

static bool early(Plan *p, Dim d) {
  if (d->kind == DIM_SYM) {
    uint32_t s = image_symbol(&p->im, d);
    return s < p->nsym && p->bound_early[s];
  }
  for (int i = 0; i < d->n; i++)
    if (!early(p, d->arg[i]))
      return false;
  return true;
}

static bool type_early(Plan *p, const Type *t) {
  if (t->kind != VK_TENSOR || !t->dtype || t->dtype == DT_str || t->rank < 0)
    return false;
  for (int i = 0; i < t->rank; i++)
    if (!early(p, t->dim[i]))
      return false;
  return true;
}

static void count_symbols(Plan *p, Dim d) {
  if (d->kind == DIM_SYM)
    image_symbol(&p->im, d);
  for (int i = 0; i < d->n; i++)
    count_symbols(p, d->arg[i]);
}

static void count_type(Plan *p, const Type *t) {
  for (int i = 0; i < t->rank; i++)
    count_symbols(p, t->dim[i]);
}

/* Numbers every symbol that any type, content or Dims step of the graph uses. */
static void number_symbols(Plan *p, const Graph *g) {
  for (uint32_t i = 0; i < g->nin; i++)
    count_type(p, &g->in[i]->type);
  for (const Node *n = g->first; n; n = n->next) {
    for (int i = 0; i < n->nout; i++)
      if (n->out[i])
        count_type(p, &n->out[i]->type);
    if (n->op == OP_Dims)
      for (int64_t i = 0; i < ATTR(n, Dims)->dims.n; i++)
        count_symbols(p, ATTR(n, Dims)->dims.v[i]);
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        number_symbols(p, n->body[b]);
  }
}

/* Those of caches, whether or not a kernel asks for them: a run binds them all. */
static void count_appends(Plan *p, const Graph *g) {
  for (uint32_t i = 0; p->groups && i < g->nout; i++)
    if (g->out[i]->append) {
      const Append *x = g->out[i]->append;
      count_symbols(p, x->past_room), count_symbols(p, x->present_room), count_symbols(p, x->copied);
    }
}

static void count_group(Plan *p, const Group *x) {
  for (uint32_t k = 0; k < x->ndim; k++)
    count_symbols(p, x->dim[k]);
  for (uint32_t k = 0; k < x->nneed; k++)
    count_symbols(p, x->need[k].a), count_symbols(p, x->need[k].b);
}

/* Symbols that follow from the inputs: elements of small ones, extents that stand alone in a shape, then those in a linear
 * expression of which everything else is known (the runtime solves it). */
static void mark_early(Plan *p, const Graph *g) {
  for (uint32_t i = 0; i < g->nin; i++)
    for (uint32_t k = 0; k < g->in[i]->told; k++) {
      uint32_t s = image_find_symbol(&p->im, g->in[i]->content[k]);
      if (s != PROG_NONE)
        p->bound_early[s] = true;
    }
  for (bool more = true; more;) {
    more = false;
    for (uint32_t i = 0; i < g->nin; i++)
      for (int k = 0; k < g->in[i]->type.rank; k++) {
        uint32_t unknown = PROG_NONE, n = 0;
        for (uint32_t s = 0; s < p->nsym; s++)
          if (!p->bound_early[s] && dim_uses(g->in[i]->type.dim[k], image_symbol_dim(&p->im, s)))
            unknown = s, n++;
        if (n == 1)
          p->bound_early[unknown] = more = true;
      }
  }
}

/* --- where values live --- */

static bool same_extents(const Type *a, const Type *b) {
  if (a->rank != b->rank || a->rank < 0)
    return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i])
      return false;
  return true;
}

/* A step that gives its input's memory another shape. */
static bool is_view(Plan *p, const Node *n) {
  const Value *x = n->nin ? n->in[0] : NULL;
  return has_step(p, n) && !group_of(p, n) && (op_info(n->op)->flags & OPF_VIEW) && x && x->type.kind == VK_TENSOR &&
         x->type.dtype && x->type.dtype != DT_str && n->out[0];
}

/* In a body memory is counted: there a view is one more holder of it. */
static bool shares_slot(Plan *p, const Node *n) { return !n->graph->up && is_view(p, n); }

/* Made at the top level with extents known at the start. What control flow hands over comes in counted memory of its own. */
static bool in_arena(Plan *p, const Value *v) {
  return v->def && !v->def->graph->up && !(op_info(v->def->op)->flags & OPF_CONTROL) && type_early(p, &v->type);
}

/* Value v's memory, when the step at n may compute `out` into it: it is made by a step before, read here for the last time, and
 * by no other input of the step. */
static Value *reusable(Plan *p, const Node *n, Value *v, const Value *out) {
  Value *const *in, *const *outs;
  uint32_t nin, nout;
  if (!v || !v->def || v->def->graph != n->graph || !type_early(p, &v->type) ||
      dtype_bits(v->type.dtype) != dtype_bits(out->type.dtype))
    return NULL;
  Value *root = root_of(p, v);
  if (!in_arena(p, root) || place(p, root)->last != p->step_of[n->id])
    return NULL;
  step_values(p, n, &in, &nin, &outs, &nout);
  for (uint32_t k = 0; k < nin; k++) /* another input reads the same memory in another order */
    if (in[k] && in[k] != v && root_of(p, in[k]) == root)
      return NULL;
  return root;
}

/* The input whose memory an element-by-element step may overwrite, or NULL. */
static Value *inplace_input(Plan *p, const Node *n) {
  const Group *x = group_of(p, n);
  Value *const *in, *const *out;
  Value *root = NULL;
  uint32_t nin, nout;
  if (!has_step(p, n) || n->graph->up || (!x && !(op_info(n->op)->flags & OPF_ELEMENTWISE)))
    return NULL;
  step_values(p, n, &in, &nin, &out, &nout);
  if (!nout || !out[0] || !type_early(p, &out[0]->type) || place(p, out[0])->last == END)
    return NULL;
  for (uint32_t i = 0; i < nin && !root; i++)
    if (in[i] && (x ? i < 32 && (x->in_place >> i & 1) : same_extents(&in[i]->type, &out[0]->type)))
      root = reusable(p, n, in[i], out[0]);
  return root;
}

static void extend(Plan *p, Value *root, uint32_t last) {
  if (last > place(p, root)->last)
    place(p, root)->last = last;
}

/* Lifetimes, views and in-place steps of one graph, in order. Roots are final for a node's inputs when it is reached:
 * `last` of a root covers all views made so far, and a view made later extends it before anybody may overwrite it,
 * because the view's own step reads the root. */
static void place_values(Plan *p, Graph *g) {
  number_steps(p, g);
  for (uint32_t i = 0; i < g->nin; i++)
    *place(p, g->in[i]) = (Place){PROG_NONE, last_use(p, g, g->in[i]), g->in[i], false, false, NULL};
  for (Node *n = g->first; n; n = n->next)
    for (int i = 0; i < n->nout; i++)
      if (n->out[i])
        *place(p, n->out[i]) = (Place){PROG_NONE, last_use(p, g, n->out[i]), n->out[i], false, false, NULL};
  for (Node *n = g->first; n; n = n->next) /* views first: they only lengthen lives */
    if (shares_slot(p, n)) {
      Place *v = place(p, n->out[0]);
      v->view = true;
      v->root = root_of(p, n->in[0]);
      if (!v->root->konst)
        extend(p, v->root, v->last);
    }
  for (Node *n = g->first; n; n = n->next) {
    Value *root = inplace_input(p, n);
    if (!root)
      continue;
    Value *made = group_of(p, n) ? group_of(p, n)->out[0] : n->out[0];
    Place *o = place(p, made);
    uint32_t last = o->last;
    o->inplace = true, o->root = root;
    extend(p, root, last);
  }
  for (Node *n = g->first; n; n = n->next)
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        place_values(p, n->body[b]);
}

/* --- slots --- */

static uint32_t const_slot(Plan *p, Value *v) {
  ProgSlot s = {.kind = SLOT_CONST, .first = 0, .last = 0, .file = PROG_NONE, .base = PROG_NONE};
  const Tensor *t = v->konst;
  size_t n = tensor_bytes(t);
  image_type(&p->im, &s, &v->type);
  s.name = image_string(&p->im, v->name);
  for (uint32_t i = 0; i < p->in->nfile && t->dtype != DT_str; i++) {
    const PlanFile *f = &p->in->file[i];
    uintptr_t at = (uintptr_t)t->data, base = (uintptr_t)f->base;
    if (n && at >= base && at - base <= f->size && n <= f->size - (at - base))
      s.file = i, s.offset = at - base, s.size = n;
  }
  if (s.file == PROG_NONE)
    image_const(&p->im, &s, t);
  return image_slot(&p->im, &s);
}

static uint32_t slot(Plan *p, Value *v) {
  if (!v)
    return PROG_NONE;
  if (v->konst && place(p, v)->slot == PROG_NONE)
    place(p, v)->slot = const_slot(p, v);
  assert(place(p, v)->slot != PROG_NONE);
  return place(p, v)->slot;
}

static void make_slot(Plan *p, const Graph *g, Value *v) {
  Place *at = place(p, v);
  ProgSlot s = {.file = PROG_NONE, .base = PROG_NONE, .name = image_string(&p->im, v->name)};
  Value *root = root_of(p, v);
  uint32_t root_last = root->konst ? END : place(p, root)->last;
  image_type(&p->im, &s, &v->type);
  s.first = v->def ? p->step_of[v->def->id] : 0;
  s.last = root_last;
  if (at->view) {
    s.kind = SLOT_VIEW, s.base = slot(p, root);
  } else if (v->is_input && !g->up) {
    s.kind = SLOT_INPUT;
  } else if (in_arena(p, v) && root_last != END) {
    s.kind = SLOT_ARENA;
    if (at->inplace)
      s.base = slot(p, root);
  } else {
    assert(!at->inplace); /* inplace_input saw to it */
    s.kind = SLOT_DYNAMIC;
  }
  at->slot = image_slot(&p->im, &s);
}

/* --- steps --- */

static uint32_t region_of(Plan *p, Graph *body) {
  if (!body)
    return PROG_NONE;
  p->queue[p->nregion] = body;
  return p->nregion++;
}

static StepKind step_kind(Plan *p, const Node *n) {
  if (group_of(p, n))
    return STEP_KERNEL;
  switch (n->op) {
  case OP_If: return STEP_IF;
  case OP_Loop: return STEP_LOOP;
  case OP_Scan: return STEP_SCAN;
  case OP_Dims: return STEP_DIMS;
  default: return is_view(p, n) ? STEP_VIEW : STEP_EVAL;
  }
}

/* A branch that its types rule out: a run that takes it stops at the node which does. */
static bool never_runs(const Graph *g) {
  while (g && !g->impossible)
    g = g->up;
  return g;
}

static bool is_host(const Node *n) { return node_is_host(n) || never_runs(n->graph); }

bool plan_is_reference(const Groups *groups, const Node *n) {
  Plan p = {.groups = groups};
  return has_step(&p, n) && step_kind(&p, n) == STEP_EVAL && !is_host(n);
}

typedef struct BoundKey {
  const Graph *g;
  uintptr_t sym;
} BoundKey;

/* Is the symbol told by the program's inputs, or by a step or an input of g or of a graph around it? */
static bool is_bound(Plan *p, uint32_t sym, const Graph *g) {
  if (p->bound_early[sym])
    return true;
  for (; g; g = g->up) {
    BoundKey k = {g, sym};
    if (map_get_n(&p->bound, (const char *)&k, sizeof k))
      return true;
  }
  return false;
}

static void set_bound(Plan *p, uint32_t sym, const Graph *g) {
  BoundKey *k = arena_new(p->a, BoundKey);
  *k = (BoundKey){g, sym};
  map_put_n(&p->bound, (const char *)k, sizeof *k, k);
}

static void add_bind(Plan *p, List *l, const Graph *g, Dim sym, uint32_t i, uint32_t place) {
  uint32_t s = sym->kind == DIM_SYM ? image_find_symbol(&p->im, sym) : PROG_NONE;
  if (s == PROG_NONE || is_bound(p, s, g))
    return;
  set_bound(p, s, g);
  list_add(l, s), list_add(l, i), list_add(l, place);
}

/* Symbols that stand alone in v's type (`extents`), or for its elements: v, output or input i, tells them. In a body the
 * runtime forgets them before each trip, so a symbol is listed only where it is new. */
static void add_binds(Plan *p, List *l, const Graph *g, const Value *v, uint32_t i, bool extents) {
  for (int k = 0; extents && k < v->type.rank; k++)
    add_bind(p, l, g, v->type.dim[k], i, (uint32_t)k);
  for (uint32_t k = 0; k < v->told; k++)
    add_bind(p, l, g, v->content[k], i, BIND_ELEMENT + k);
}

static void add_step_binds(Plan *p, ProgStep *s, const Node *n) {
  List l = image_list(&p->im);
  Value *const *in, *const *out;
  uint32_t nin, nout;
  step_values(p, n, &in, &nin, &out, &nout);
  for (uint32_t i = 0; i < nout; i++)
    if (out[i])
      add_binds(p, &l, n->graph, out[i], i, !group_of(p, n)); /* a kernel's extents are known before */
  s->nbinds = l.n / 3;
  s->binds = list_end(&l);
}

static bool is_dynamic(Plan *p, uint32_t s) { return image_slot_at(&p->im, s)->kind == SLOT_DYNAMIC; }

/* A dynamic value, or a view's hold on memory, goes when its last reader has run; readers inside bodies count as their
 * owner's step, which does not list them among its inputs. */
static void free_behind_last_use(Plan *p, Value *v) {
  Place *at = place(p, v);
  if (at->last == END || !(is_dynamic(p, at->slot) || (at->view && !root_of(p, v)->konst)))
    return;
  at->next_freed = p->freed[at->last];
  p->freed[at->last] = v;
}

static void add_frees(Plan *p, ProgStep *s, const Node *n) {
  List l = image_list(&p->im);
  for (Value *v = p->freed[p->step_of[n->id]]; v; v = place(p, v)->next_freed)
    list_add(&l, place(p, v)->slot);
  s->nfree = l.n;
  s->free = list_end(&l);
}

/* The slot of packed weights: bytes in the file behind all others. */
static uint32_t packed_slot(Plan *p, uint32_t i) {
  const Packed *x = &p->groups->packed[i];
  if (p->packed[i] != PROG_NONE)
    return p->packed[i];
  Dim size = dim_const(p->c, (int64_t)x->size);
  Type t = type_tensor(DT_u8, 1, &size);
  ProgSlot s = {.kind = SLOT_CONST, .base = PROG_NONE, .file = p->in->nfile, .offset = x->offset, .size = x->size};
  image_type(&p->im, &s, &t);
  s.name = image_string(&p->im, x->value->name);
  return p->packed[i] = image_slot(&p->im, &s);
}

static uint32_t list_exprs(Plan *p, const Dim *d, uint32_t n) {
  List l = image_list(&p->im);
  for (uint32_t i = 0; i < n; i++)
    list_add(&l, image_expr(&p->im, d[i]));
  return list_end(&l);
}

_Static_assert((int)PRODUCT_ROWS == (int)PRODUCT_FEW_ROWS, "few rows are the same number for both");

/* What the library is told. */
static uint32_t product_numbers(Plan *p, const Product *x) {
  const Dim number[] = {x->batch, x->m, x->n, x->k};
  const uint8_t after[] = {[AFTER_NOTHING] = 0, [AFTER_RELU] = PRODUCT_RELU, [AFTER_GELU] = PRODUCT_GELU};
  uint32_t factor;
  List l = image_list(&p->im);
  for (size_t i = 0; i < countof(number); i++)
    list_add(&l, image_expr(&p->im, number[i]));
  list_add(&l, (x->trans_a ? PRODUCT_TRANS_A : 0) | (x->trans_b ? PRODUCT_TRANS_B : 0) |
                   (x->batch_a ? PRODUCT_BATCH_A : 0) | (x->batch_b ? PRODUCT_BATCH_B : 0) |
                   (x->forms & FORM_ROWS ? PRODUCT_FEW : 0));
  memcpy(&factor, &x->library.factor, sizeof factor);
  list_add(&l, x->type ? x->type : DT_f32);
  list_add(&l, x->library.bias), list_add(&l, x->library.addend), list_add(&l, after[x->library.after]);
  list_add(&l, factor);
  return list_end(&l);
}

/* Parts and threads of the functions that are launched behind the first. */
static uint32_t list_stages(Plan *p, const Unit *u) {
  List l = image_list(&p->im);
  for (uint32_t i = 0; i < u->nmore; i++) {
    list_add(&l, image_expr(&p->im, u->more[i].parts));
    list_add(&l, image_expr(&p->im, u->more[i].threads));
  }
  return list_end(&l);
}

/* The checks in a unit's kernel; how many. */
static uint32_t checks_of(Plan *p, const Unit *u, const KStmt ***check) {
  const Kernel *k = u->kernel ? u->kernel : u->kind == UNIT_PRODUCT ? u->product.epilogue : NULL;
  uint32_t n = k ? kernel_checks(k, NULL) : 0;
  *check = arena_array(p->a, const KStmt *, n + 1u);
  if (u->kind == UNIT_ATTENTION) { /* the lengths that it is given, and that of its mask */
    n = u->attention.counted + u->attention.mask_short;
    *check = arena_array(p->a, const KStmt *, n + 1u);
    for (uint32_t i = 0; i < n; i++)
      (*check)[i] = arena_new(p->a, KStmt);
    return n;
  }
  if (k)
    kernel_checks(k, *check);
  return n;
}

/* The nodes that the checks of a group's kernel are for, and the bounds that they speak of. */
static uint32_t list_owners(Plan *p, const Group *x) {
  const KStmt **check;
  uint32_t n = checks_of(p, x->unit, &check);
  List l = image_list(&p->im);
  for (uint32_t i = 0; i < n; i++)
    list_add(&l, image_origin(&p->im, check[i]->origin ? check[i]->origin : x->origin)),
        list_add(&l, check[i]->bound ? image_expr(&p->im, check[i]->bound) : PROG_NONE);
  return list_end(&l);
}

static void write_call(Plan *p, ProgStep *s, const Group *x) {
  const Unit *u = x->unit;
  ProgCall call = {.kernel = x->kernel,
                   .parts = image_expr(&p->im, u->parts),
                   .threads = image_expr(&p->im, u->threads ? u->threads : dim_const(p->c, 0)),
                   .scratch = image_expr(&p->im, u->scratch),
                   .flops = image_expr(&p->im, u->flops),
                   .bytes = image_expr(&p->im, u->bytes),
                   .product = u->kind == UNIT_PRODUCT && (u->product.forms & FORM_LIBRARY)
                                  ? product_numbers(p, &u->product)
                                  : PROG_NONE,
                   .more = list_stages(p, u)};
  List l = image_list(&p->im);
  for (uint32_t i = 0; i < x->nneed; i++) {
    list_add(&l, image_expr(&p->im, x->need[i].a)), list_add(&l, image_expr(&p->im, x->need[i].b));
    list_add(&l, image_string(&p->im, x->need[i].what)), list_add(&l, image_origin(&p->im, x->need[i].origin));
  }
  call.nneed = x->nneed, call.need = list_end(&l);
  call.whose = list_owners(p, x);
  s->nexprs = x->ndim, s->exprs = list_exprs(p, x->dim, x->ndim);
  s->call = image_call(&p->im, &call);
}

/* What the checks of a unit's kernel say when they fail. */
static void write_checks(Plan *p, const Unit *u, ProgKernel *r) {
  const KStmt **check;
  r->nchecks = checks_of(p, u, &check);
  List l = image_list(&p->im);
  for (uint32_t i = 0; i < r->nchecks; i++)
    list_add(&l, image_string(&p->im, check[i]->text ? check[i]->text : "index %lld is out of range"));
  r->checks = list_end(&l);
}

static void write_growing(Plan *p, const Unit *u, ProgKernel *r) {
  List l = image_list(&p->im);
  for (uint32_t i = 0; u->growing && i < r->ndim; i++)
    if (u->growing[i])
      list_add(&l, i);
  r->ngrowing = l.n, r->growing = list_end(&l);
}

static void write_kernels(Plan *p) {
  for (uint32_t i = 0; i < p->groups->nkernel; i++) {
    const Unit *u = p->groups->kernel[i];
    const Group *x = NULL;
    for (uint32_t k = 0; !x; k++)
      x = p->groups->group[k]->kernel == i ? p->groups->group[k] : NULL;
    ProgKernel r = {.name = image_string(&p->im, u->name),
                    .signature = image_string(&p->im, x->signature),
                    .object = PROG_NONE,
                    .nin = (uint16_t)x->nin,
                    .nout = (uint16_t)x->nout,
                    .ndim = x->ndim,
                    .kind = u->kind,
                    .copies = unit_copies(u),
                    .more = (uint8_t)u->nmore,
                    .tile = image_string(&p->im, unit_tile(p->a, u, p->groups->cpu_level))};
    if (p->in->code && p->in->code[i].object != UINT32_MAX)
      r.object = p->in->code[i].object, r.symbol = image_string(&p->im, p->in->code[i].symbol);
    write_checks(p, u, &r);
    write_growing(p, u, &r);
    image_kernel(&p->im, &r);
  }
  for (uint32_t i = 0; i < p->in->nobject; i++) {
    const PlanObject *o = &p->in->object[i];
    image_object(&p->im, o->code, o->target, o->ptx, o->ptx_target);
  }
}

/* Why a step is not compiled, or ends where it ends. */
static const char *why_of(const Plan *p, const Node *n) {
  return p->groups && !node_is_host(n) ? p->groups->fate[n->id].why : "";
}

static void write_step(Plan *p, const Node *n) {
  const Group *x = group_of(p, n);
  const OpInfo *op = op_info(n->op);
  Value *const *in, *const *out;
  uint32_t nin, nout;
  ProgStep s = {
      .kind = (uint8_t)step_kind(p, n), .host = is_host(n), .region = {PROG_NONE, PROG_NONE}, .call = PROG_NONE};
  step_values(p, n, &in, &nin, &out, &nout);
  s.domain = image_string(&p->im, op->domain);
  s.op = image_string(&p->im, op->name);
  s.origin = image_origin(&p->im, x ? x->origin : n->origin);
  s.why = image_string(&p->im, why_of(p, n));
  List l = image_list(&p->im);
  for (uint32_t i = 0; i < nin; i++)
    list_add(&l, x && i == 1 && x->packed != UINT32_MAX ? packed_slot(p, x->packed) : slot(p, in[i]));
  s.nin = l.n, s.in = list_end(&l);
  l = image_list(&p->im);
  for (uint32_t i = 0; i < nout; i++)
    list_add(&l, slot(p, out[i]));
  s.nout = l.n, s.out = list_end(&l);
  if (n->op == OP_Dims)
    s.nexprs = (uint32_t)ATTR(n, Dims)->dims.n, s.exprs = list_exprs(p, ATTR(n, Dims)->dims.v, s.nexprs);
  for (int b = 0; b < 2; b++)
    s.region[b] = region_of(p, n->body[b]);
  if (x)
    write_call(p, &s, x);
  add_step_binds(p, &s, n);
  add_frees(p, &s, n);
  if (!x)
    image_attr(&p->im, &s, op->attrs, n->attr);
  image_step(&p->im, &s);
}

/* Elements of the program's inputs, and extents and elements of a body's inputs that are symbols of their own: known when the
 * region is entered. */
static void add_region_binds(Plan *p, ProgRegion *r, const Graph *g) {
  List l = image_list(&p->im);
  for (uint32_t i = 0; g->up && i < g->nin; i++)
    add_binds(p, &l, g, g->in[i], i, true);
  for (uint32_t i = 0; !g->up && i < g->nin; i++)
    for (uint32_t k = 0; k < g->in[i]->told; k++) {
      uint32_t s = image_find_symbol(&p->im, g->in[i]->content[k]);
      if (s != PROG_NONE)
        list_add(&l, s), list_add(&l, i), list_add(&l, BIND_ELEMENT + k);
    }
  r->nbinds = l.n / 3;
  r->binds = list_end(&l);
}

static void write_region(Plan *p, Graph *g) {
  ProgRegion r = {.step = image_step_count(&p->im)};
  List own = image_list(&p->im);
  for (uint32_t i = 0; i < g->nin; i++) {
    make_slot(p, g, g->in[i]);
    list_add(&own, slot(p, g->in[i]));
  }
  for (Node *n = g->first; n; n = n->next) {
    Value *const *in, *const *out;
    uint32_t nin, nout;
    step_values(p, n, &in, &nin, &out, &nout);
    for (uint32_t i = 0; has_step(p, n) && i < nout; i++)
      if (out[i]) {
        make_slot(p, g, out[i]);
        list_add(&own, slot(p, out[i]));
      }
  }
  p->freed = arena_array(p->a, Value *, graph_node_count(g, false) + 1u);
  for (uint32_t i = 0; g->up && i < g->nin; i++)
    free_behind_last_use(p, g->in[i]);
  for (Node *n = g->first; n; n = n->next) {
    Value *const *in, *const *out;
    uint32_t nin, nout;
    step_values(p, n, &in, &nin, &out, &nout);
    for (uint32_t i = 0; has_step(p, n) && i < nout; i++)
      if (out[i])
        free_behind_last_use(p, out[i]);
  }
  r.nown = own.n, r.own = list_end(&own);
  List l = image_list(&p->im);
  for (uint32_t i = 0; i < g->nin; i++)
    list_add(&l, slot(p, g->in[i]));
  r.nin = l.n, r.in = list_end(&l);
  add_region_binds(p, &r, g);
  for (Node *n = g->first; n; n = n->next)
    if (has_step(p, n))
      write_step(p, n);
  r.nstep = image_step_count(&p->im) - r.step;
  l = image_list(&p->im);
  for (uint32_t i = 0; i < g->nout; i++)
    list_add(&l, slot(p, g->out[i]));
  r.nout = l.n, r.out = list_end(&l);
  image_region(&p->im, &r);
}

static void write_port(Plan *p, Value *v, const char *name, SectionId sec, const Tensor *deflt) {
  ProgPort port = {.name = image_string(&p->im, name), .slot = slot(p, v), .deflt = PROG_NONE};
  if (deflt) {
    Value k = {.name = v->name, .konst = deflt, .type = type_of_tensor(p->c, deflt)};
    port.deflt = const_slot(p, &k);
  }
  List l = image_list(&p->im);
  for (int i = 0; i < v->type.rank; i++)
    list_add(&l, image_string(&p->im, dim_text(p->c, v->type.dim[i])));
  port.dim_text = list_end(&l);
  image_port(&p->im, sec, &port);
}

static void write_appends(Plan *p, const Graph *g) {
  for (uint32_t i = 0; p->groups && i < g->nout; i++) {
    const Append *x = g->out[i]->append;
    uint32_t in = 0;
    if (!x)
      continue;
    while (g->in[in] != x->past)
      in++;
    ProgAppend r = {.input = in,
                    .output = i,
                    .axis = (uint32_t)x->axis,
                    .past_room = image_symbol(&p->im, x->past_room),
                    .present_room = image_symbol(&p->im, x->present_room),
                    .copied = image_symbol(&p->im, x->copied)};
    image_append(&p->im, &r);
  }
}

uint64_t plan_build_id(void) {
  uint64_t h = hash_bytes("layout", 6, sizeof(ProgSlot) * 1000000 + sizeof(ProgStep) * 1000 + sizeof(ProgRegion));
  h = hash_bytes("kernels", 7, h + sizeof(ProgKernel) * 1000000 + sizeof(ProgCall) * 1000 + sizeof(ProgObject));
  for (OpId i = 1; i < op_count(); i++) {
    const OpInfo *o = op_info(i);
    h = hash_bytes(o->name, strlen(o->name), h + (uint64_t)o->since);
    for (const AttrField *f = o->attrs->field; f && f->name; f++)
      h = hash_bytes(f->name, strlen(f->name), h + f->kind);
  }
  return h;
}

Status plan_build(Ctx *c, Arena *a, Graph *g, const PlanInput *in, const uint8_t **program, size_t *size) {
  Plan p = {.c = c, .a = a, .in = in};
  image_init(&p.im, c, a);
  p.place = arena_array(a, Place, *g->next_id);
  for (uint32_t i = 0; i < *g->next_id; i++)
    p.place[i].slot = PROG_NONE;
  p.step_of = arena_array(a, uint32_t, *g->next_id);
  p.queue = arena_array(a, Graph *, *g->next_id + 1u);
  for (uint32_t i = 0; i < g->nin; i++)
    count_type(&p, &g->in[i]->type);
  image_end_input_symbols(&p.im);
  p.groups = in->groups;
  p.group_last = arena_array(a, uint32_t, *g->next_id);
  p.packed = arena_array(a, uint32_t, p.groups ? p.groups->npacked : 0);
  for (uint32_t i = 0; p.groups && i < p.groups->npacked; i++)
    p.packed[i] = PROG_NONE;
  number_symbols(&p, g);
  for (uint32_t i = 0; p.groups && i < p.groups->n; i++)
    count_group(&p, p.groups->group[i]);
  count_appends(&p, g);
  p.nsym = image_symbol_count(&p.im);
  p.bound_early = arena_array(a, bool, p.nsym + 1u);
  map_init(&p.bound, a);
  mark_early(&p, g);
  place_values(&p, g);
  if (p.groups)
    write_kernels(&p);
  region_of(&p, g);
  for (uint32_t i = 0; i < p.nregion; i++)
    write_region(&p, p.queue[i]);
  for (uint32_t i = 0; i < g->nin; i++)
    write_port(&p, g->in[i], g->in[i]->name, SEC_INPUTS, g->in[i]->deflt);
  for (uint32_t i = 0; i < g->nout; i++)
    write_port(&p, g->out[i], g->out[i]->name, SEC_OUTPUTS, NULL);
  write_appends(&p, g);
  for (uint32_t i = 0; p.groups && i < p.groups->ngrowing; i++)
    image_growing(&p.im, p.groups->growing[i]);
  for (uint32_t i = 0; i < in->nmeta; i++)
    image_meta(&p.im, in->meta[2 * i], in->meta[2 * i + 1]);
  for (uint32_t i = 0; i < in->nfile; i++)
    image_file(&p.im, in->file[i].name, in->file[i].size, 0);
  if (p.groups && p.groups->npacked)
    image_file(&p.im, "", p.groups->packed_size, FILE_PACKED);
  return image_finish(&p.im, plan_build_id(), in->precision ? in->precision : "fp32", program, size);
}
