/* group.c - which nodes are computed together.
 *
 * First the anchors, last to first: a matrix product takes the element-by-element work behind it as its epilogue as long as
 * nothing in between is wanted elsewhere; an attention stands alone. Then loops, from the last node to the first: a node that
 * somebody still needs becomes the root of a group, which takes in what feeds it. All users of a node come before it in this
 * order, so it is known by then who wants its values from memory.
 *
 * A group's step stands where its root stood. A value that a group stores beside its root's (a residual that is also read
 * further down) may be read by later steps only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/group.h"

#include "codegen/attention.h"
#include "codegen/loop.h"
#include "codegen/nest.h"
#include "codegen/product.h"
#include "codegen/schedule.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

enum { MAX_INPUTS = 14, MAX_OUTPUTS = 4, MAX_SIDE = 4 };

typedef struct Info {
  uint32_t pos;  /* in the graph's order */
  uint32_t step; /* position of the first step that evaluates it; UINT32_MAX: none yet */
  LowerKind kind;
  bool host, timely; /* timely: its extents are known before it runs */
  bool fixed;        /* in a product's group, or an anchor: no loop group takes it */
  const char *why;
} Info;

typedef struct Grouper {
  Ctx *c;
  Arena *a;
  Graph *g;
  const GroupOptions *o;
  Groups *out;
  Info *info;   /* by Node.id */
  bool *needed; /* by Value.id: read from memory by some step */
  bool *stored; /* by Value.id: a group stores it */
  Map known;    /* symbols bound so far */
  Map kernels;  /* signature -> kernel index + 1 */
  Node **order; /* by position */
  uint32_t norder;
} Grouper;

static Info *info(Grouper *p, const Node *n) { return &p->info[n->id]; }

/* --- what is known of nodes --- */

static bool small_integers(const Value *v) {
  int64_t n = 1, d;
  if (v->type.kind != VK_TENSOR || !(dtype_is_int(v->type.dtype) || v->type.dtype == DT_bool) || v->type.rank < 0 ||
      v->type.rank > 1)
    return false;
  for (int i = 0; i < v->type.rank; i++) {
    if (!dim_is_const(v->type.dim[i], &d))
      return false;
    n *= d;
  }
  return n <= MAX_CONTENT;
}

bool node_is_host(const Node *n) {
  if (op_info(n->op)->flags & (OPF_CONTROL | OPF_SHAPE_ONLY) || n->op == OP_Dims)
    return true;
  bool small = true, special = false;
  for (int i = 0; i < n->nin + n->nout; i++) {
    const Value *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
    if (!v)
      continue;
    small &= small_integers(v);
    special |= v->type.kind != VK_TENSOR || v->type.dtype == DT_str;
  }
  return small || special;
}

static bool is_known(Grouper *p, Dim d) {
  if (d->kind == DIM_SYM)
    return map_get_n(&p->known, (const char *)&d->id, sizeof d->id);
  for (int i = 0; i < d->n; i++)
    if (!is_known(p, d->arg[i]))
      return false;
  return true;
}

static void set_known(Grouper *p, Dim sym) {
  map_put_n(&p->known, (const char *)&sym->id, sizeof sym->id, (void *)(uintptr_t)sym);
}

/* The only symbol of d that is not known; *n counts them, each once or more. */
static void unknown_of(Grouper *p, Dim d, Dim *sym, uint32_t *n) {
  if (d->kind == DIM_SYM && !is_known(p, d) && d != *sym)
    *sym = d, ++*n;
  for (int i = 0; i < d->n; i++)
    unknown_of(p, d->arg[i], sym, n);
}

/* What the input shapes tell: as the runtime binds them, one unknown at a time. */
static void know_inputs(Grouper *p) {
  for (bool more = true; more;) {
    more = false;
    for (uint32_t i = 0; i < p->g->nin; i++)
      for (int k = 0; k < p->g->in[i]->type.rank; k++) {
        Dim sym = NULL;
        uint32_t n = 0;
        unknown_of(p, p->g->in[i]->type.dim[k], &sym, &n);
        if (n == 1) {
          set_known(p, sym);
          more = true;
        }
      }
  }
}

static bool timely(Grouper *p, const Node *n) {
  bool ok = true;
  for (int i = 0; i < n->nout; i++)
    for (int k = 0; n->out[i] && k < n->out[i]->type.rank; k++)
      ok &= is_known(p, n->out[i]->type.dim[k]);
  for (int i = 0; !ok && i < n->nout; i++) /* the result tells them */
    for (int k = 0; n->out[i] && k < n->out[i]->type.rank; k++)
      if (n->out[i]->type.dim[k]->kind == DIM_SYM)
        set_known(p, n->out[i]->type.dim[k]);
  return ok;
}

static void survey(Grouper *p) {
  uint32_t pos = 0;
  for (Node *n = p->g->first; n; n = n->next)
    pos++;
  p->order = arena_array(p->a, Node *, pos + 1u);
  know_inputs(p);
  for (Node *n = p->g->first; n; n = n->next) {
    Info *f = info(p, n);
    *f = (Info){.pos = p->norder, .step = UINT32_MAX, .why = ""};
    p->order[p->norder++] = n;
    f->host = node_is_host(n);
    f->timely = timely(p, n);
    if (f->host)
      f->why = "shape arithmetic, control flow, strings or containers: on the host";
    else if (!f->timely)
      f->why = "its extents are known only when it has run";
    else
      f->kind = node_lowering(p->c, n, &f->why);
  }
}

/* --- asking --- */

static bool cheap_move(const Node *n) {
  switch (n->op) {
  case OP_Split:
  case OP_Slice:
  case OP_Expand:
  case OP_ConstantOfShape:
  case OP_Range:
  case OP_Identity:
  case OP_Dropout: return true;
  default: return false;
  }
}

static bool costly(const Node *n) {
  switch (n->op) {
  case OP_Exp:
  case OP_Log:
  case OP_Erf:
  case OP_Tanh:
  case OP_Sigmoid:
  case OP_Gelu:
  case OP_Pow:
  case OP_Sin:
  case OP_Cos:
  case OP_Tan:
  case OP_Softplus:
  case OP_Mish:
  case OP_Swish:
  case OP_SwiGLU:
  case OP_Elu:
  case OP_Celu:
  case OP_Selu:
  case OP_Sinh:
  case OP_Cosh: return true;
  default: return false;
  }
}

static bool is_view(const Node *n) { return (op_info(n->op)->flags & OPF_VIEW) != 0; }
static bool elementwise(const Node *n) { return (op_info(n->op)->flags & OPF_ELEMENTWISE) != 0; }

/* --- a set of nodes being collected --- */

typedef struct Set {
  Node *node[LOOP_NODES];
  bool ident[LOOP_NODES]; /* evaluated at the result's own index, or at that of the row's elements */
  uint32_t n;
  Node *core;
  Value *out[MAX_OUTPUTS + 1];
  uint32_t nout;
} Set;

static int find(const Set *s, const Node *n) {
  for (uint32_t i = 0; i < s->n; i++)
    if (s->node[i] == n)
      return (int)i;
  return -1;
}

static uint32_t set_inputs(const Set *s) {
  const Value *seen[LOOP_BUFFERS];
  uint32_t n = 0;
  for (uint32_t i = 0; i < s->n; i++)
    for (int k = 0; k < s->node[i]->nin; k++) {
      const Value *v = s->node[i]->in[k];
      bool have = !v || (v->def && find(s, v->def) >= 0) || (v->konst && tensor_count(v->konst) == 1);
      for (uint32_t j = 0; !have && j < n; j++)
        have = seen[j] == v;
      if (!have && n < LOOP_BUFFERS)
        seen[n++] = v;
    }
  return n;
}

static int by_order(Grouper *p, const Node *a, const Node *b) { return info(p, a)->pos < info(p, b)->pos ? -1 : 1; }

static void sort_set(Grouper *p, Set *s) {
  for (uint32_t i = 1; i < s->n; i++)
    for (uint32_t k = i; k && by_order(p, s->node[k], s->node[k - 1]) < 0; k--) {
      Node *t = s->node[k];
      bool b = s->ident[k];
      s->node[k] = s->node[k - 1], s->ident[k] = s->ident[k - 1];
      s->node[k - 1] = t, s->ident[k - 1] = b;
    }
}

/* "add.mul.gelu": the operators that do something, in order. */
static const char *name_of(Grouper *p, const char *head, Node *const *node, uint32_t n) {
  StrBuf b;
  uint32_t shown = 0;
  buf_init(&b, p->a);
  buf_puts(&b, head ? head : "");
  for (uint32_t i = 0; i < n && shown < 4; i++) {
    if (is_view(node[i]) && n > 1)
      continue;
    if (b.len)
      buf_putc(&b, '.');
    for (const char *s = op_info(node[i]->op)->name; *s; s++)
      buf_putc(&b, (char)tolower((unsigned char)*s));
    shown++;
  }
  return b.text;
}

static const Origin *merged_origin(Grouper *p, Node *const *node, uint32_t n, const Node *root) {
  const Origin **more = arena_array(p->a, const Origin *, n + 1u);
  uint32_t m = 0;
  for (uint32_t i = 0; i < n; i++)
    if (node[i] != root)
      more[m++] = node[i]->origin;
  return m ? origin_merge(p->g, root->origin, more, m) : root->origin;
}

/* --- making a group --- */

static Group *add_group(Grouper *p, Unit *u, Node *const *node, uint32_t n, Node *root) {
  Group *x = arena_new(p->a, Group);
  *x = (Group){.unit = u, .root = root, .packed = UINT32_MAX, .nnode = n};
  x->node = arena_copy(p->a, node, n * sizeof *node);
  x->origin = merged_origin(p, node, n, root);
  x->signature = unit_signature(p->a, u, &x->dim, &x->ndim);
  uintptr_t k = (uintptr_t)map_get(&p->kernels, x->signature);
  if (!k) {
    const Unit **bigger = arena_array(p->a, const Unit *, p->out->nkernel + 1u);
    if (p->out->nkernel)
      memcpy(bigger, p->out->kernel, p->out->nkernel * sizeof *bigger);
    bigger[p->out->nkernel] = u;
    p->out->kernel = bigger;
    k = ++p->out->nkernel;
    map_put(&p->kernels, x->signature, (void *)k);
  }
  x->kernel = (uint32_t)(k - 1);
  for (uint32_t i = 0; i < n; i++) {
    Info *f = info(p, node[i]);
    if (info(p, root)->pos < f->step)
      f->step = info(p, root)->pos;
    p->out->fate[node[i]->id] = (NodeFate){.group = x, .why = ""};
  }
  p->out->group[p->out->n++] = x;
  return x;
}

static void need(Grouper *p, Value *const *v, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if (v[i])
      p->needed[v[i]->id] = true;
}

static Unit *new_unit(Grouper *p, UnitKind kind, const char *name) {
  Unit *u = arena_new(p->a, Unit);
  *u = (Unit){.kind = (uint8_t)kind, .name = name};
  return u;
}

/* Turns the set into a loop kernel. False: it cannot be one after all; *why says why. */
static bool make_loop(Grouper *p, Set *s, Node *root, const char **why) {
  LoopSpec spec = {.node = s->node, .nnode = s->n, .core = s->core, .out = s->out, .nout = s->nout};
  Loop loop;
  sort_set(p, s);
  spec.name = name_of(p, NULL, s->node, s->n);
  Status st = loop_build(p->c, p->a, &spec, &loop);
  if (st) {
    *why = arena_strdup(p->a, p->c->err.message);
    return false;
  }
  const char *missing = kernel_unsupported(loop.kernel);
  if (missing) {
    *why = arena_printf(p->a, "no code generation for %s", missing);
    return false;
  }
  Unit *u = new_unit(p, UNIT_LOOP, spec.name);
  u->kernel = loop.kernel;
  unit_schedule(p->c, u, p->o->cpu_level);
  Group *x = add_group(p, u, s->node, s->n, root);
  x->in = loop.in, x->nin = loop.nin;
  x->out = arena_copy(p->a, s->out, s->nout * sizeof *s->out), x->nout = s->nout;
  x->in_place = nest_in_place(loop.kernel);
  for (uint32_t i = 0; i < s->nout; i++)
    p->stored[s->out[i]->id] = true;
  need(p, x->in, x->nin);
  return true;
}

/* --- loops --- */

/* Steps that read v from memory and stand before position pos, or are not decided yet. */
static bool read_later_only(Grouper *p, const Set *s, const Value *v, uint32_t pos) {
  for (const Use *u = v->uses; u; u = u->next) {
    const Node *n = u->node;
    if (n && find(s, n) >= 0)
      continue;
    if (!n && u->graph == p->g)
      continue;                   /* an output of the graph */
    while (n && n->graph != p->g) /* inside of a body: its owner reads it */
      n = n->graph->owner;
    if (!n) {
      const Graph *g = u->graph;
      n = g->owner;
      while (n && n->graph != p->g)
        n = n->graph->owner;
      if (!n)
        return false;
    }
    uint32_t step = info(p, n)->step;
    if (step == UINT32_MAX || step <= pos)
      return false;
  }
  return true;
}

static bool used_inside_only(const Set *s, const Node *n) {
  for (int i = 0; i < n->nout; i++)
    for (const Use *u = n->out[i] ? n->out[i]->uses : NULL; u; u = u->next)
      if (!u->node || find(s, u->node) < 0)
        return false;
  return true;
}

/* Are all uses of q inside of the set at the index of the result (or of the row)? */
static bool at_identity(const Set *s, const Node *q) {
  for (const Use *u = q->out[0]->uses; u; u = u->next) {
    int i = u->node ? find(s, u->node) : -1;
    if (i < 0)
      continue;
    if (!s->ident[i])
      return false;
    if (u->node == s->core ? u->slot != 0
                           : !elementwise(u->node) || !same_dims(&u->node->out[0]->type, &q->out[0]->type))
      return false;
  }
  return true;
}

/* Does some user in the set read q more often than it has elements, or not element by element? */
static bool recomputed(Ctx *c, const Set *s, const Node *q) {
  Dim n = type_count(c, &q->out[0]->type);
  if (dim_is(n, 1))
    return false; /* moves out of the loops */
  for (const Use *u = q->out[0]->uses; u; u = u->next) {
    if (!u->node || find(s, u->node) < 0 || u->node == s->core)
      continue;
    bool fewer = u->node->op == OP_Slice || u->node->op == OP_Split || u->node->op == OP_Concat ||
                 (u->node->op == OP_Gather && u->slot == 0 && !elementwise(q));
    if (!fewer && type_count(c, &u->node->out[0]->type) != n)
      return true;
  }
  return false;
}

/* Why producer q of a value read in the set stays outside, or NULL: it may come in. */
static const char *stays_out(Grouper *p, const Set *s, const Node *q, bool *side) {
  Info *f = info(p, q);
  *side = false;
  if (q->graph != p->g || f->fixed || f->host || f->kind == LOWER_NONE)
    return "";
  if (s->n == LOOP_NODES)
    return "the group is large enough";
  if (q->op == OP_Concat)
    return "a concatenation is written piece by piece";
  if (is_view(q)) {
    const Node *behind = q->in[0]->def;
    bool useful = behind && behind->graph == p->g && !info(p, behind)->fixed && !info(p, behind)->host &&
                  info(p, behind)->kind == LOWER_ELEM && !is_view(behind) && behind->nout == 1 &&
                  value_sole_user(behind->out[0]);
    if (!useful || !lower_view_affine(p->c, q))
      return "a view costs nothing";
  }
  bool inside = used_inside_only(s, q), ident = at_identity(s, q);
  if (f->kind == LOWER_ROW) {
    if (s->core)
      return "its user works on other rows";
    return !inside || !ident || s->node[0]->op == OP_Concat ? "its result is read more than once" : NULL;
  }
  uint8_t passes = s->core ? op_lowering(s->core->op)->passes : 1;
  bool feeds_core = false;
  for (const Use *u = q->out[0] ? q->out[0]->uses : NULL; u; u = u->next)
    feeds_core |= u->node && s->core && find(s, u->node) >= 0 &&
                  (u->node == s->core || (u->node != s->node[0] && info(p, u->node)->pos < info(p, s->core)->pos));
  if (feeds_core && passes > 1 && costly(q))
    return "too dear to compute once per pass";
  if (feeds_core && passes > 1 && (q->op == OP_Transpose || q->op == OP_GatherElements))
    return "its order of reading does not suit the rows";
  if (cheap_move(q))
    return NULL;
  if (recomputed(p->c, s, q))
    return "its user reads its elements several times";
  if (inside)
    return NULL;
  if (!ident || !elementwise(q) || q->nout != 1 || s->nout >= MAX_SIDE || s->node[0]->op == OP_Concat)
    return "it is wanted elsewhere";
  if (!read_later_only(p, s, q->out[0], info(p, s->node[0])->pos))
    return "it is wanted before this group runs";
  *side = true;
  return NULL;
}

/* The latest producer that has not been looked at. */
static Node *next_producer(Grouper *p, const Set *s, uint32_t below) {
  Node *best = NULL;
  for (uint32_t i = 0; i < s->n; i++)
    for (int k = 0; k < s->node[i]->nin; k++) {
      Node *q = s->node[i]->in[k] ? s->node[i]->in[k]->def : NULL;
      if (!q || q->graph != p->g || find(s, q) >= 0 || info(p, q)->pos >= below)
        continue;
      if (!best || info(p, q)->pos > info(p, best)->pos)
        best = q;
    }
  return best;
}

static void set_add(Set *s, Node *n, bool ident, bool core) {
  s->node[s->n] = n, s->ident[s->n++] = ident;
  if (core)
    s->core = n;
}

static void collect(Grouper *p, Set *s) {
  uint32_t below = UINT32_MAX;
  for (Node *q; (q = next_producer(p, s, below));) {
    bool side, ident = at_identity(s, q);
    below = info(p, q)->pos;
    const char *why = stays_out(p, s, q, &side);
    if (!why) {
      bool core = info(p, q)->kind == LOWER_ROW;
      set_add(s, q, ident || core, core);
      if (set_inputs(s) > MAX_INPUTS) {
        s->n--;
        s->core = core ? NULL : s->core;
        why = "the group reads enough already";
        side = false;
      }
      if (side)
        s->out[s->nout++] = q->out[0];
    }
    if (why && *why && !*p->out->fate[q->id].why)
      p->out->fate[q->id].why = why;
  }
}

/* A group with n as its root. */
static void loop_group(Grouper *p, Node *n) {
  Set s = {0};
  const char *why = "";
  bool core = info(p, n)->kind == LOWER_ROW;
  set_add(&s, n, true, core);
  for (int i = 0; i < n->nout; i++)
    if (n->out[i] && (p->needed[n->out[i]->id] || value_is_output(n->out[i]))) {
      if (s.nout == MAX_OUTPUTS) {
        p->out->fate[n->id].why = "it has more outputs than a kernel stores";
        need(p, n->in, n->nin);
        return;
      }
      s.out[s.nout++] = n->out[i];
    }
  Set alone = s;
  collect(p, &s);
  if (make_loop(p, &s, n, &why) || (s.n > 1 && make_loop(p, &alone, n, &why)))
    return;
  p->out->fate[n->id].why = why;
  info(p, n)->step = info(p, n)->pos;
  need(p, n->in, n->nin);
}

static bool wanted(Grouper *p, const Node *n) {
  for (int i = 0; i < n->nout; i++)
    if (n->out[i] && !p->stored[n->out[i]->id] && (p->needed[n->out[i]->id] || value_is_output(n->out[i])))
      return true;
  return false;
}

/* Values that bodies read belong to their owner's step. */
static void need_bodies(Grouper *p, const Graph *body) {
  for (const Node *n = body ? body->first : NULL; n; n = n->next) {
    need(p, n->in, n->nin);
    need_bodies(p, n->body[0]);
    need_bodies(p, n->body[1]);
  }
  if (body)
    need(p, body->out, body->nout);
}

static void loops(Grouper *p) {
  for (uint32_t i = p->norder; i-- > 0;) {
    Node *n = p->order[i];
    Info *f = info(p, n);
    if (f->fixed)
      continue;
    if (f->timely && !wanted(p, n)) { /* stored by a group further down, computed where it is used, or not needed */
      p->out->fate[n->id].gone = !p->out->fate[n->id].group;
      continue;
    }
    if (f->kind != LOWER_NONE && !f->host && !is_view(n) && wanted(p, n)) {
      loop_group(p, n);
      continue;
    }
    if (is_view(n) && !f->host)
      p->out->fate[n->id].why = "a view costs nothing";
    else if (!*p->out->fate[n->id].why || f->kind == LOWER_NONE)
      p->out->fate[n->id].why = f->why;
    p->out->fate[n->id].host = f->host;
    f->step = f->pos;
    need(p, n->in, n->nin);
    need_bodies(p, n->body[0]);
    need_bodies(p, n->body[1]);
  }
}

/* --- products --- */

static bool f32_matrix(const Value *v, int least) {
  return v && v->type.kind == VK_TENSOR && v->type.dtype == DT_f32 && v->type.rank >= least;
}

static Dim dims_product(Ctx *c, const Type *t, int from, int to) {
  Dim d = dim_const(c, 1);
  for (int i = from; i < to; i++)
    d = dim_mul(c, d, t->dim[i]);
  return d;
}

/* v as Transpose of its last two axes: the value behind it; else v. */
static Value *untransposed(Value *v, bool *trans) {
  Node *t = v->def;
  if (!t || t->op != OP_Transpose || v->type.rank < 2)
    return v;
  Ints perm = ATTR(t, Transpose)->perm;
  int r = v->type.rank;
  for (int i = 0; i < r; i++) {
    int64_t want = i < r - 2 ? i : i == r - 2 ? r - 1 : r - 2;
    if (perm.v ? perm.v[i] != want : r != 2)
      return v;
  }
  *trans = !*trans;
  return t->in[0];
}

typedef struct Operands {
  Value *a, *b;
  Product x;
  bool batched;
} Operands;

static bool same_batch(const Type *a, const Type *b) {
  if (a->rank != b->rank)
    return false;
  for (int i = 0; i < a->rank - 2; i++)
    if (a->dim[i] != b->dim[i])
      return false;
  return true;
}

/* MatMul (13), Gemm (13) of f32 as a Product; *why otherwise. */
static bool product_of(Grouper *p, const Node *n, Operands *o, const char **why) {
  Ctx *c = p->c;
  Product *x = &o->x;
  *o = (Operands){.a = n->in[0], .b = n->in[1]};
  *why = "a product of other types or ranks";
  if (!f32_matrix(o->a, 2) || !f32_matrix(o->b, 2) || n->out[0]->type.rank < 2)
    return false;
  if (n->op == OP_Gemm)
    x->trans_a = ATTR(n, Gemm)->transA != 0, x->trans_b = ATTR(n, Gemm)->transB != 0;
  else {
    o->b = untransposed(o->b, &x->trans_b);
    if (o->b->type.rank > 2 || o->a->type.rank == 2)
      o->a = untransposed(o->a, &x->trans_a);
  }
  const Type *a = &o->a->type, *b = &o->b->type;
  int ra = a->rank, rb = b->rank;
  Dim one = dim_const(c, 1);
  x->batch = one;
  if (rb == 2 && !x->trans_a) { /* all rows of A at once */
    x->m = dims_product(c, a, 0, ra - 1), x->k = a->dim[ra - 1];
  } else if (rb == 2 && ra == 2) {
    x->m = a->dim[1], x->k = a->dim[0];
  } else if (rb > 2 && (ra == 2 || same_batch(a, b))) {
    x->batch = dims_product(c, b, 0, rb - 2);
    x->batch_a = ra > 2, x->batch_b = true, o->batched = true;
    x->m = a->dim[x->trans_a ? ra - 1 : ra - 2], x->k = a->dim[x->trans_a ? ra - 2 : ra - 1];
  } else {
    *why = "a product whose batches do not match one to one";
    return false;
  }
  x->n = b->dim[x->trans_b ? rb - 2 : rb - 1];
  *why = "a product whose inner extents are compared at run time";
  if (x->k != b->dim[x->trans_b ? rb - 1 : rb - 2])
    return false;
  *why = "";
  return true;
}

static bool gemm_bias_ok(const Node *n) {
  return n->op != OP_Gemm || n->nin < 3 || !n->in[2] || ATTR(n, Gemm)->beta == 0 ||
         (n->in[2]->type.dtype == DT_f32 && loop_epilogue_operand(&n->out[0]->type, &n->in[2]->type, false));
}

/* May node n work on the product's result in its epilogue? */
static bool fits_epilogue(Grouper *p, const Set *s, const Node *n, const Type *out, bool batched) {
  Info *f = info(p, n);
  if (n->graph != p->g || f->fixed || f->host || f->kind != LOWER_ELEM || !elementwise(n) || n->nout != 1 ||
      !same_dims(&n->out[0]->type, out))
    return false;
  for (int i = 0; i < n->nin; i++) {
    const Value *v = n->in[i];
    if (!v || (v->def && find(s, v->def) >= 0) || (v->konst && tensor_count(v->konst) == 1))
      continue;
    if (!loop_epilogue_operand(out, &v->type, batched))
      return false;
  }
  return true;
}

/* The one value of the set that is wanted outside of it, or NULL: several are. */
static Value *open_value(const Set *s) {
  Value *open = NULL;
  for (uint32_t i = 0; i < s->n; i++) {
    Value *v = s->node[i]->out[0];
    bool outside = false;
    for (const Use *u = v->uses; u; u = u->next)
      outside |= !u->node || find(s, u->node) < 0;
    if (outside && open)
      return NULL;
    open = outside ? v : open;
  }
  return open;
}

/* The first node behind the set that may join it. */
static Node *next_consumer(Grouper *p, const Set *s, const Type *out, bool batched, const bool *tried) {
  Node *best = NULL;
  for (uint32_t i = 0; i < s->n; i++)
    for (const Use *u = s->node[i]->out[0]->uses; u; u = u->next)
      if (u->node && find(s, u->node) < 0 && !tried[u->node->id] &&
          (!best || info(p, u->node)->pos < info(p, best)->pos) && fits_epilogue(p, s, u->node, out, batched))
        best = u->node;
  return best;
}

/* The longest run of element-by-element nodes behind n that ends in one value. Returns how many of s->node belong to it. */
static uint32_t follow(Grouper *p, Node *n, bool batched, Set *s) {
  bool *tried = arena_array(p->a, bool, *p->g->next_id);
  uint32_t closed = 1;
  *s = (Set){.n = 1};
  s->node[0] = n;
  while (s->n < 17) {
    Node *u = next_consumer(p, s, &n->out[0]->type, batched, tried);
    if (!u)
      break;
    tried[u->id] = true;
    s->node[s->n++] = u;
    if (set_inputs(s) > MAX_INPUTS)
      break;
    Value *open = open_value(s);
    if (open && open->def == u)
      closed = s->n;
  }
  return closed;
}

static const char *dims_name(Grouper *p, const Product *x) {
  int64_t k, n;
  if (dim_is_const(x->k, &k) && dim_is_const(x->n, &n))
    return arena_printf(p->a, "product.%lldx%lld", (long long)k, (long long)n);
  return x->batch_b ? "product.batched" : "product";
}

/* The packed form of a constant B, made once however many products read it. */
static uint32_t packed_of(Grouper *p, const Value *v, const Product *x) {
  ProductPlan plan = product_plan(x, p->o->cpu_level);
  int64_t k, n, floats;
  if (!dim_is_const(x->k, &k) || !dim_is_const(x->n, &n) || !product_packed_floats(&plan, k, n, &floats))
    return UINT32_MAX;
  Groups *g = p->out;
  for (uint32_t i = 0; i < g->npacked; i++)
    if (g->packed[i].value == v && g->packed[i].trans == x->trans_b &&
        product_plan(g->packed[i].product, p->o->cpu_level).nr == plan.nr)
      return i;
  Packed *bigger = arena_array(p->a, Packed, g->npacked + 1u);
  if (g->npacked)
    memcpy(bigger, g->packed, g->npacked * sizeof *bigger);
  g->packed = bigger;
  g->packed[g->npacked] = (Packed){.value = v,
                                   .product = x,
                                   .k = k,
                                   .n = n,
                                   .trans = x->trans_b,
                                   .offset = g->packed_size,
                                   .size = (uint64_t)floats * sizeof(float)};
  g->packed_size += (g->packed[g->npacked].size + 63) / 64 * 64;
  return g->npacked++;
}

static bool product_group(Grouper *p, Node *n) {
  Operands o;
  Set s;
  Loop loop = {0};
  const char *why;
  if (!product_of(p, n, &o, &why) || !gemm_bias_ok(n)) {
    p->out->fate[n->id].why = *why ? why : "a bias that is no row of the result";
    return false;
  }
  s = (Set){0};
  s.n = follow(p, n, o.batched, &s);
  Value *result = s.node[s.n - 1]->out[0];
  const GemmAttr *gemm = n->op == OP_Gemm ? ATTR(n, Gemm) : NULL;
  bool scaled = gemm && (gemm->alpha != 1 || (n->nin > 2 && n->in[2] && gemm->beta != 0));
  if (s.n > 1 || scaled) {
    LoopSpec spec = {.name = "epilogue",
                     .node = s.node + 1,
                     .nnode = s.n - 1,
                     .out = &result,
                     .nout = 1,
                     .acc = n->out[0],
                     .batched = o.batched};
    if (loop_build(p->c, p->a, &spec, &loop)) {
      p->out->fate[n->id].why = arena_strdup(p->a, p->c->err.message);
      return false;
    }
    o.x.epilogue = loop.kernel;
  }
  Unit *u = new_unit(p, UNIT_PRODUCT, name_of(p, dims_name(p, &o.x), s.node + 1, s.n - 1));
  uint32_t packed = UINT32_MAX;
  u->product = o.x;
  if (p->o->pack && o.b->konst && o.b->type.rank == 2)
    packed = packed_of(p, o.b, &u->product);
  u->product.packed_b = packed != UINT32_MAX;
  product_schedule(p->c, u, p->o->cpu_level);
  Group *x = add_group(p, u, s.node, s.n, result->def);
  x->packed = packed;
  x->in = arena_array(p->a, Value *, loop.nin + 2u);
  x->in[x->nin++] = o.a, x->in[x->nin++] = o.b;
  for (uint32_t i = 1; i < loop.nin; i++) /* input 0 is the sum */
    x->in[x->nin++] = loop.in[i];
  x->out = arena_copy(p->a, &result, sizeof result), x->nout = 1;
  for (uint32_t i = 0; i < s.n; i++)
    info(p, s.node[i])->fixed = true;
  need(p, x->in, x->nin);
  return true;
}

/* --- attention --- */

static bool mask_of(const Value *m, Attention *t) {
  Dim full[4] = {t->batch, NULL, t->q_len, t->kv_len};
  if (!m)
    return true;
  int r = m->type.rank;
  if ((m->type.dtype != DT_f32 && m->type.dtype != DT_bool) || r < 2 || r > 4 || m->type.dim[r - 1] != t->kv_len)
    return false;
  for (int i = 0; i < r; i++) {
    Dim d = m->type.dim[i], want = full[4 - r + i];
    if (!dim_is(d, 1) && (want ? d != want : !dim_is(d, t->heads)))
      return false;
    t->mask_dim[i] = d;
  }
  t->mask = m->type.dtype, t->mask_rank = (int8_t)r;
  return true;
}

/* Attention (25) without cache, caps, windows or further outputs, f32. */
static bool attention_of(const Node *n, Attention *t, const char **why) {
  const AttentionAttr *at = ATTR(n, Attention);
  int64_t width[3];
  *why = "an attention with a cache, a cap, windows or further outputs";
  for (int i = 4; i < n->nin; i++)
    if (n->in[i])
      return false;
  for (int i = 1; i < n->nout; i++)
    if (n->out[i])
      return false;
  if (at->softcap != 0 || at->left_window_size >= 0 || at->right_window_size >= 0)
    return false;
  *why = "an attention of other types, or extents known at run time only";
  if (at->softmax_precision != ABSENT && at->softmax_precision != DT_f32)
    return false;
  int r = n->in[0]->type.rank;
  for (int i = 0; i < 3; i++)
    if (!f32_matrix(n->in[i], 3) || n->in[i]->type.rank != r || r > 4 ||
        !dim_is_const(n->in[i]->type.dim[r - 1], &width[i]) || n->in[i]->type.dim[0] != n->in[0]->type.dim[0])
      return false;
  const Type *q = &n->in[0]->type, *k = &n->in[1]->type, *v = &n->in[2]->type;
  *t = (Attention){.batch = q->dim[0], .q_len = q->dim[r - 2], .kv_len = k->dim[r - 2], .zero_rows = true};
  if (v->dim[r - 2] != t->kv_len)
    return false;
  if (r == 3) {
    t->heads = at->q_num_heads, t->kv_heads = at->kv_num_heads;
    t->q_len = q->dim[1], t->kv_len = k->dim[1];
    if (v->dim[1] != t->kv_len || t->heads < 1 || t->kv_heads < 1 || width[0] % t->heads || width[1] % t->kv_heads ||
        width[2] % t->kv_heads)
      return false;
    t->dk = width[0] / t->heads, t->dv = width[2] / t->kv_heads;
    if (width[1] / t->kv_heads != t->dk)
      return false;
  } else {
    if (!dim_is_const(q->dim[1], &t->heads) || !dim_is_const(k->dim[1], &t->kv_heads) || v->dim[1] != k->dim[1] ||
        width[0] != width[1])
      return false;
    t->dk = width[0], t->dv = width[2];
    t->q_split = t->kv_split = t->out_split = true;
  }
  if (t->heads < 1 || t->kv_heads < 1 || t->heads % t->kv_heads || t->dk < 1 || t->dv < 1)
    return false;
  t->scale = isnan(at->scale) ? 1 / sqrt((double)t->dk) : (double)at->scale;
  t->causal = at->is_causal != 0;
  *why = "a causal attention over two lengths";
  if (t->causal && t->q_len != t->kv_len) /* ONNX counts from the first key, the kernel from the last */
    return false;
  *why = "a mask that does not broadcast to the scores";
  return mask_of(n->nin > 3 ? n->in[3] : NULL, t);
}

static bool attention_group(Grouper *p, Node *n) {
  Attention t;
  const char *why;
  if (!attention_of(n, &t, &why)) {
    p->out->fate[n->id].why = why;
    return false;
  }
  Unit *u = new_unit(p, UNIT_ATTENTION, arena_printf(p->a, "attention.%lldx%lld", (long long)t.heads, (long long)t.dk));
  u->attention = t;
  attention_schedule(p->c, u, p->o->cpu_level);
  Group *x = add_group(p, u, &n, 1, n);
  x->in = arena_array(p->a, Value *, 4);
  for (int i = 0; i < n->nin && i < 4; i++)
    if (n->in[i])
      x->in[x->nin++] = n->in[i];
  x->out = arena_copy(p->a, &n->out[0], sizeof n->out[0]), x->nout = 1;
  info(p, n)->fixed = true;
  need(p, x->in, x->nin);
  return true;
}

static void anchors(Grouper *p) {
  for (uint32_t i = p->norder; i-- > 0;) {
    Node *n = p->order[i];
    Info *f = info(p, n);
    if (f->fixed || f->host || !f->timely)
      continue;
    if (n->op == OP_MatMul || n->op == OP_Gemm)
      product_group(p, n);
    else if (n->op == OP_Attention)
      attention_group(p, n);
    else
      continue;
    if (!f->fixed)
      f->why = p->out->fate[n->id].why;
  }
}

static int by_position(Grouper *p, const Group *a, const Group *b) {
  return info(p, a->root)->pos < info(p, b->root)->pos ? -1 : 1;
}

static void order_groups(Grouper *p) {
  Groups *g = p->out;
  for (uint32_t i = 1; i < g->n; i++) /* two descending runs: near enough to sorted for insertion */
    for (uint32_t k = i; k && by_position(p, g->group[k], g->group[k - 1]) < 0; k--) {
      Group *t = g->group[k];
      g->group[k] = g->group[k - 1], g->group[k - 1] = t;
    }
  for (uint32_t i = 0; i < g->n; i++)
    g->group[i]->index = i;
}

Status group_graph(Ctx *c, Arena *a, Graph *g, const GroupOptions *o, Groups **out) {
  Grouper p = {.c = c, .a = a, .g = g, .o = o};
  uint32_t nid = *g->next_id;
  p.out = *out = arena_new(a, Groups);
  p.info = arena_array(a, Info, nid);
  p.needed = arena_array(a, bool, nid);
  p.stored = arena_array(a, bool, nid);
  p.out->fate = arena_array(a, NodeFate, nid);
  for (uint32_t i = 0; i < nid; i++)
    p.out->fate[i].why = "";
  p.out->group = arena_array(a, Group *, nid + 1u);
  map_init(&p.known, a);
  map_init(&p.kernels, a);
  survey(&p);
  anchors(&p);
  loops(&p);
  order_groups(&p);
  return ST_OK;
}
