/* group.c - which nodes are computed together.
 *
 * First the anchors, last to first: a matrix product takes the element-by-element work behind it as its epilogue as long as
 * nothing in between is wanted elsewhere; an attention stands alone. Then loops, from the last node to the first: a node that
 * somebody still needs becomes the root of a group, which takes in what feeds it. All users of a node come before it in this
 * order, so it is known by then who wants its values from memory.
 *
 * Bodies of control flow are grouped like the graph they stand in, when its survey meets their owner: what is known there is
 * known inside, and what their steps read of it is needed by the time it is grouped.
 *
 * A group's step stands where its root stood. A value that a group stores beside its root's (a residual that is also read
 * further down) may be read by later steps only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/gpu.h"
#include "codegen/grouper.h"

#include "codegen/append.h"
#include "codegen/nest.h"
#include "codegen/schedule.h"

#include <ctype.h>
#include <string.h>

/* --- what is known of nodes --- */

static bool small_integers(const Value *v) {
  int64_t n = 1;
  if (v->type.kind != VK_TENSOR || !(dtype_is_int(v->type.dtype) || v->type.dtype == DT_bool) || v->type.rank < 0 ||
      v->type.rank > 1)
    return false;
  for (int i = 0; i < v->type.rank; i++) {
    if (v->type.dim[i]->hi > MAX_CONTENT)
      return false;
    n *= v->type.dim[i]->hi;
  }
  return n <= MAX_CONTENT;
}

bool node_is_host(const Node *n) {
  if (op_info(n->op)->flags & (OPF_CONTROL | OPF_SHAPE_ONLY | OPF_HOST) || n->op == OP_Dims || n->op == OP_ByAxis)
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

bool group_knows(Grouper *p, Dim d) {
  if (d->kind == DIM_SYM)
    return map_get_n(&p->known, (const char *)&d->id, sizeof d->id) || (p->up && group_knows(p->up, d));
  for (int i = 0; i < d->n; i++)
    if (!group_knows(p, d->arg[i]))
      return false;
  return true;
}

static void set_known(Grouper *p, Dim sym) {
  map_put_n(&p->known, (const char *)&sym->id, sizeof sym->id, (void *)(uintptr_t)sym);
}

/* The only symbol of d that is not known; *n counts them, each once or more. */
static void unknown_of(Grouper *p, Dim d, Dim *sym, uint32_t *n) {
  if (d->kind == DIM_SYM && !group_knows(p, d) && d != *sym)
    *sym = d, ++*n;
  for (int i = 0; i < d->n; i++)
    unknown_of(p, d->arg[i], sym, n);
}

/* Symbols for the elements of v are known from here on; whoever uses them needs v. */
static void know_elements(Grouper *p, Value *v) {
  for (uint32_t k = 0; k < v->told; k++) {
    set_known(p, v->content[k]);
    map_put_n(&p->teller, (const char *)&v->content[k]->id, sizeof v->content[k]->id, v);
  }
}

/* How a cache lies in memory is known before anything runs. */
static void know_append(Grouper *p, const Append *x) {
  if (x)
    set_known(p, x->past_room), set_known(p, x->present_room), set_known(p, x->copied);
}

/* What the inputs tell: as the runtime binds it, one unknown at a time. */
static void know_inputs(Grouper *p) {
  for (uint32_t i = 0; i < p->g->nin; i++) {
    know_elements(p, p->g->in[i]);
    know_append(p, p->g->in[i]->append);
  }
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
      ok &= group_knows(p, n->out[i]->type.dim[k]);
  for (int i = 0; !ok && i < n->nout; i++) /* the result tells them */
    for (int k = 0; n->out[i] && k < n->out[i]->type.rank; k++)
      if (n->out[i]->type.dim[k]->kind == DIM_SYM)
        set_known(p, n->out[i]->type.dim[k]);
  for (int i = 0; i < n->nout; i++)
    if (n->out[i])
      know_elements(p, n->out[i]);
  return ok;
}

/* Do steps before n tell all extents of its inputs? A kernel compares them, and steps through memory by them. */
static bool inputs_known(Grouper *p, const Node *n) {
  for (int i = 0; i < n->nin; i++)
    for (int k = 0; n->in[i] && k < n->in[i]->type.rank; k++)
      if (!group_knows(p, n->in[i]->type.dim[k]))
        return false;
  return true;
}

static void group_body(Grouper *p, Graph *body);

static void survey(Grouper *p) {
  p->order = arena_array(p->a, Node *, graph_node_count(p->g, false) + 1u);
  know_inputs(p);
  for (Node *n = p->g->first; n; n = n->next) {
    Info *f = info(p, n);
    *f = (Info){.pos = (*p->next_pos)++, .step = UINT32_MAX, .why = ""};
    p->order[p->norder++] = n;
    group_body(p, n->body[0]);
    group_body(p, n->body[1]);
    f->host = node_is_host(n);
    f->timely = timely(p, n);
    if (f->host)
      f->why = "shape arithmetic, control flow, text, containers or file formats: on the host";
    else if (!inputs_known(p, n))
      f->timely = false, f->why = "an extent of its inputs is told by no step";
    else if (!f->timely)
      f->why = "its extents are known only when it has run";
    else
      f->kind = node_lowering(p->c, n, &f->why);
    if (f->kind && append_scatters(n))
      f->kind = LOWER_NEST;
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
  if (op_lowering(n->op)->again)
    return true;
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
  case OP_Cosh:
  case OP_Asin:
  case OP_Acos:
  case OP_Atan:
  case OP_Asinh:
  case OP_Acosh:
  case OP_Atanh: return true;
  default: return false;
  }
}

static bool is_view(const Node *n) { return (op_info(n->op)->flags & OPF_VIEW) != 0; }

/* --- a set of nodes being collected --- */

int set_find(const Set *s, const Node *n) {
  for (uint32_t i = 0; i < s->n; i++)
    if (s->node[i] == n)
      return (int)i;
  return -1;
}

uint32_t set_inputs(const Set *s) {
  const Value *seen[LOOP_BUFFERS];
  uint32_t n = 0;
  for (uint32_t i = 0; i < s->n; i++)
    for (int k = 0; k < s->node[i]->nin; k++) {
      const Value *v = s->node[i]->in[k];
      bool have = !v || (v->def && set_find(s, v->def) >= 0) || (v->konst && tensor_count(v->konst) == 1);
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
const char *group_name(Grouper *p, const char *head, Node *const *node, uint32_t n) {
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

static const Value *teller_of(const Grouper *p, Dim sym) {
  const Value *v = NULL;
  for (; p && !v; p = p->up)
    v = map_get_n(&p->teller, (const char *)&sym->id, sizeof sym->id);
  return v;
}

/* The values whose elements are symbols in d. */
static void need_tellers(Grouper *p, Dim d) {
  const Value *v = d->data && d->kind == DIM_SYM ? teller_of(p, d) : NULL;
  if (v)
    p->needed[v->id] = true;
  for (int i = 0; d->data && i < d->n; i++)
    need_tellers(p, d->arg[i]);
}

static void need_extents(Grouper *p, const Node *n) {
  for (int i = 0; i < n->nout; i++)
    for (int k = 0; n->out[i] && k < n->out[i]->type.rank; k++)
      need_tellers(p, n->out[i]->type.dim[k]);
}

/* What the nodes of a group take for granted. */
static void list_needs(Grouper *p, Group *x) {
  uint32_t n = 0, k;
  Need *all = NULL, *need;
  for (uint32_t i = 0; i < x->nnode; i++)
    if ((k = node_needs(p->c, p->a, x->node[i], &need))) {
      Need *bigger = arena_array(p->a, Need, n + k);
      if (n)
        memcpy(bigger, all, n * sizeof *bigger);
      memcpy(bigger + n, need, k * sizeof *bigger);
      all = bigger, n += k;
    }
  x->need = all, x->nneed = n;
  for (uint32_t i = 0; i < n; i++)
    need_tellers(p, all[i].a), need_tellers(p, all[i].b);
  for (uint32_t i = 0; i < x->ndim; i++)
    need_tellers(p, x->dim[i]);
  for (uint32_t i = 0; i < x->nnode; i++)
    need_extents(p, x->node[i]);
}

Group *group_add(Grouper *p, Unit *u, Node *const *node, uint32_t n, Node *root) {
  Group *x = arena_new(p->a, Group);
  *x = (Group){.unit = u, .root = root, .packed = UINT32_MAX, .nnode = n};
  x->node = arena_copy(p->a, node, n * sizeof *node);
  x->origin = merged_origin(p, node, n, root);
  x->signature = unit_signature(p->a, u, &x->dim, &x->ndim);
  list_needs(p, x);
  uintptr_t k = (uintptr_t)map_get(p->kernels, x->signature);
  if (!k) {
    const Unit **bigger = arena_array(p->a, const Unit *, p->out->nkernel + 1u);
    if (p->out->nkernel)
      memcpy(bigger, p->out->kernel, p->out->nkernel * sizeof *bigger);
    bigger[p->out->nkernel] = u;
    p->out->kernel = bigger;
    k = ++p->out->nkernel;
    map_put(p->kernels, x->signature, (void *)k);
  }
  x->kernel = (uint32_t)(k - 1);
  for (uint32_t i = 0; i < n; i++) {
    Info *f = info(p, node[i]);
    if (info(p, root)->pos < f->step)
      f->step = info(p, root)->pos;
    p->out->fate[node[i]->id] = (NodeFate){.group = x, .why = node[i] == root ? p->out->fate[root->id].why : ""};
  }
  p->out->group[p->out->n++] = x;
  return x;
}

void group_need(Grouper *p, Value *const *v, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if (v[i])
      p->needed[v[i]->id] = true;
}

Unit *group_unit(Grouper *p, UnitKind kind, const char *name) {
  Unit *u = arena_new(p->a, Unit);
  *u = (Unit){.kind = (uint8_t)kind, .name = name};
  return u;
}

/* Is every number known that a call needs? One whose expression outgrew its bounds stands for itself, and nothing tells it. */
static bool can_tell(Grouper *p, const Unit *u) {
  const Dim *dim;
  uint32_t n;
  unit_signature(p->a, u, &dim, &n);
  bool ok = group_knows(p, u->parts) && group_knows(p, u->scratch);
  for (uint32_t i = 0; i < n; i++)
    ok &= group_knows(p, dim[i]);
  return ok;
}

/* Turns the set into a loop kernel. False: it cannot be one after all; *why says why. */
static bool make_loop(Grouper *p, Set *s, Node *root, const char **why) {
  LoopSpec spec = {.node = s->node, .nnode = s->n, .core = s->core, .out = s->out, .nout = s->nout};
  Loop loop;
  sort_set(p, s);
  spec.name = group_name(p, NULL, s->node, s->n);
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
  Unit *u = group_unit(p, UNIT_LOOP, spec.name);
  u->kernel = loop.kernel;
  unit_schedule(p->c, u, p->o->cpu_level);
  u->bytes = append_bytes(p->c, u->bytes, loop.in, loop.nin, s->out, s->nout);
  Dim wanted = s->nout == 1 ? p->wanted_if[s->out[0]->id] : NULL;
  if (wanted)
    u->parts = dim_mul(p->c, u->parts, wanted);
  if (!can_tell(p, u)) {
    *why = "its extents are too large expressions";
    return false;
  }
  Group *x = group_add(p, u, s->node, s->n, root);
  x->in = loop.in, x->nin = loop.nin;
  x->out = arena_copy(p->a, s->out, s->nout * sizeof *s->out), x->nout = s->nout;
  x->in_place = nest_in_place(loop.kernel);
  for (uint32_t i = 0; i < s->nout; i++)
    p->stored[s->out[i]->id] = true;
  group_need(p, x->in, x->nin);
  return true;
}

/* --- loops --- */

static bool read_later_only(Grouper *p, const Set *s, const Value *v, uint32_t pos);
static bool wanted(Grouper *p, const Node *n);

/* May a group that is still to come evaluate n (again) in front of position pos: as its root, or for one who reads n's values? */
static bool evaluated_again(Grouper *p, const Set *s, const Node *n, uint32_t pos) {
  bool again = wanted(p, n);
  for (int i = 0; !again && i < n->nout; i++)
    again = n->out[i] && !read_later_only(p, s, n->out[i], pos);
  return again;
}

/* Is node n evaluated behind position pos only? Groups are made last to first: what stands behind pos is decided. */
static bool evaluated_later(Grouper *p, const Set *s, const Node *n, uint32_t pos) {
  const Info *f = info(p, n);
  return f->pos > pos || (f->step != UINT32_MAX && f->step > pos && !evaluated_again(p, s, n, pos));
}

/* Is v read from memory by steps behind position pos only? Those that are not decided yet may stand anywhere. */
static bool read_later_only(Grouper *p, const Set *s, const Value *v, uint32_t pos) {
  for (const Use *u = v->uses; u; u = u->next) {
    const Node *n = u->node;
    if (n && set_find(s, n) >= 0) {
      if (cheap_move(n) && evaluated_again(p, s, n, pos))
        return false;
      continue;
    }
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
    if (!evaluated_later(p, s, n, pos))
      return false;
  }
  return true;
}

static bool used_inside_only(const Set *s, const Node *n) {
  for (int i = 0; i < n->nout; i++)
    for (const Use *u = n->out[i] ? n->out[i]->uses : NULL; u; u = u->next)
      if (!u->node || set_find(s, u->node) < 0)
        return false;
  return true;
}

/* Are all uses of v inside of the set at the index of the result (or of the row)? */
static bool value_at_identity(const Set *s, const Value *v) {
  for (const Use *u = v->uses; u; u = u->next) {
    int i = u->node ? set_find(s, u->node) : -1;
    if (i < 0)
      continue;
    if (!s->ident[i])
      return false;
    if (u->node->op == OP_CastLike && u->slot == 1)
      return false; /* which reads no element */
    if (u->node == s->core ? u->slot != 0 : !elementwise(u->node) || !same_dims(&u->node->out[0]->type, &v->type))
      return false;
  }
  return true;
}

static bool at_identity(const Set *s, const Node *q) {
  for (int i = 0; i < q->nout; i++)
    if (q->out[i] && !value_at_identity(s, q->out[i]))
      return false;
  return true;
}

static const Type *type_made(const Node *n) {
  int i = 0;
  while (!n->out[i])
    i++;
  return &n->out[i]->type;
}

/* Does Transpose q undo what the root of the set does to the order of axes? Then what is in between, a window that moves over
 * the other axes, reads and writes along one and the same axis of memory. */
static bool undoes_root(const Set *s, const Node *q) {
  const Node *root = s->node[0];
  if (q->op != OP_Transpose || root->op != OP_Transpose || q->in[0]->type.rank != root->in[0]->type.rank)
    return false;
  Ints p = ATTR(q, Transpose)->perm, r = ATTR(root, Transpose)->perm;
  for (int i = 0; p.v && r.v && i < q->in[0]->type.rank; i++)
    if (p.v[r.v[i]] != i)
      return false;
  return p.v && r.v;
}

/* Does some user in the set read v more often than it has elements, or not element by element? */
static bool value_recomputed(Ctx *c, const Set *s, const Value *v) {
  Dim n = type_count(c, &v->type);
  if (dim_is(n, 1))
    return false; /* moves out of the loops */
  for (const Use *u = v->uses; u; u = u->next) {
    if (!u->node || set_find(s, u->node) < 0 || u->node == s->core)
      continue;
    if (op_lowering(u->node->op)->again)
      return true;
    if (undoes_root(s, u->node) && value_recomputed(c, s, u->node->out[0]))
      return true;
    bool fewer = u->node->op == OP_Slice || u->node->op == OP_Split || u->node->op == OP_Concat ||
                 (u->node->op == OP_Gather && u->slot == 0 && !elementwise(v->def));
    if (!fewer && type_count(c, type_made(u->node)) != n)
      return true;
  }
  return false;
}

static bool recomputed(Ctx *c, const Set *s, const Node *q) {
  for (int i = 0; i < q->nout; i++)
    if (q->out[i] && value_recomputed(c, s, q->out[i]))
      return true;
  return false;
}

/* As large as data say, made of little: inside of a row it would take no memory, and time without end. */
static bool from_nothing(const Node *n) {
  if (n->op != OP_ConstantOfShape && n->op != OP_Expand && n->op != OP_Range && n->op != OP_Tile && n->op != OP_Pad)
    return false;
  for (int i = 0; i < n->out[0]->type.rank; i++)
    if (n->out[0]->type.dim[i]->data)
      return true;
  return false;
}

/* Does n ask for some elements of what it reads only? */
static bool reads_part(const Node *n) {
  switch (n->op) {
  case OP_Slice:
  case OP_Split:
  case OP_Pad:
  case OP_Trilu:
  case OP_Gather:
  case OP_GatherElements:
  case OP_GatherND:
  case OP_CenterCropPad: return true;
  default: return false;
  }
}

/* Is what q makes read in part only by all who read it in the set? */
static bool read_in_part(const Set *s, const Node *q) {
  for (int o = 0; o < q->nout; o++)
    for (const Use *u = q->out[o] ? q->out[o]->uses : NULL; u; u = u->next) {
      int i = u->node ? set_find(s, u->node) : -1;
      if (i >= 0 && !s->part[i] && (u->slot || !reads_part(u->node)))
        return false;
    }
  return true;
}

/* Every index is checked, whoever reads what it finds. Those of constants that suit the extent need no check. */
static bool checks_indices(const Node *q) {
  const Tensor *at = q->nin > 1 && q->in[1] ? q->in[1]->konst : NULL;
  if (q->op != OP_Gather && q->op != OP_GatherElements && q->op != OP_GatherND)
    return false;
  int64_t n = at && q->op == OP_Gather ? tensor_count(at) : -1, axis = n < 0 ? 0 : ATTR(q, Gather)->axis;
  const Type *t = &q->in[0]->type;
  Dim d = t->dim[axis < 0 ? axis + t->rank : axis];
  for (int64_t i = 0; i < n; i++) {
    int64_t v = elem_i64(at->dtype, at->data, i);
    if (v >= 0 ? v >= d->lo : v < -d->lo)
      return true;
  }
  return n < 0;
}

/* Why producer q of a value read in the set stays outside, or NULL: it may come in. */
static const char *stays_out(Grouper *p, const Set *s, const Node *q, bool *side) {
  Info *f = info(p, q);
  *side = false;
  if (q->graph != p->g || f->fixed || f->host || f->kind == LOWER_NONE)
    return "";
  for (int i = 0; i < q->nout; i++)
    if (q->out[i] && q->out[i]->told)
      return "its numbers may be extents";
  if (append_pads(s->node[0], q))
    return NULL;
  if (f->kind == LOWER_NEST || info(p, s->node[0])->kind == LOWER_NEST)
    return "it is a kernel of its own";
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
  if (s->core && from_nothing(q))
    return "its size is for the run to judge";
  if (checks_indices(q) && read_in_part(s, q))
    return "its indices are checked, those too that nobody reads";
  bool inside = used_inside_only(s, q), ident = at_identity(s, q);
  if (f->kind == LOWER_ROW) {
    if (s->core)
      return "its user works on other rows";
    return !inside || !ident || s->node[0]->op == OP_Concat ? "its result is read more than once" : NULL;
  }
  uint8_t passes = s->core ? op_lowering(s->core->op)->passes : 1;
  bool feeds_core = false;
  for (const Use *u = q->out[0] ? q->out[0]->uses : NULL; u; u = u->next)
    feeds_core |= u->node && s->core && set_find(s, u->node) >= 0 &&
                  (u->node == s->core || (u->node != s->node[0] && info(p, u->node)->pos < info(p, s->core)->pos));
  if (feeds_core && passes > 1 && costly(q))
    return "too dear to compute once per pass";
  if (feeds_core && passes > 1 && (q->op == OP_Transpose || q->op == OP_GatherElements))
    return "its order of reading does not suit the rows";
  if (cheap_move(q) || (!s->core && undoes_root(s, q)))
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
      if (!q || q->graph != p->g || set_find(s, q) >= 0 || info(p, q)->pos >= below)
        continue;
      if (!best || info(p, q)->pos > info(p, best)->pos)
        best = q;
    }
  return best;
}

static void set_add(Set *s, Node *n, bool ident, bool core) {
  s->part[s->n] = s->n && read_in_part(s, n);
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

/* n is a step of its own, whether or not groups further down compute it again for themselves. */
static void own_step(Grouper *p, Node *n) {
  p->out->fate[n->id].group = NULL;
  info(p, n)->step = info(p, n)->pos;
  group_need(p, n->in, n->nin);
  need_extents(p, n);
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
        own_step(p, n);
        return;
      }
      s.out[s.nout++] = n->out[i];
    }
  Set alone = s;
  collect(p, &s);
  if (make_loop(p, &s, n, &why) || (s.n > 1 && make_loop(p, &alone, n, &why)))
    return;
  p->out->fate[n->id].why = why;
  own_step(p, n);
}

static bool wanted(Grouper *p, const Node *n) {
  for (int i = 0; i < n->nout; i++)
    if (n->out[i] && !p->stored[n->out[i]->id] && (p->needed[n->out[i]->id] || value_is_output(n->out[i])))
      return true;
  return false;
}

/* What a body that is left as it is reads. */
static void need_nodes(Grouper *p, const Graph *body) {
  for (const Node *n = body ? body->first : NULL; n; n = n->next) {
    group_need(p, n->in, n->nin);
    need_extents(p, n);
    need_nodes(p, n->body[0]);
    need_nodes(p, n->body[1]);
  }
  if (body)
    group_need(p, body->out, body->nout);
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
      NodePlace before = origin_enter(p->c, n->origin);
      loop_group(p, n);
      p->c->place = before;
      continue;
    }
    if (is_view(n) && !f->host && f->timely)
      p->out->fate[n->id].why = "a view costs nothing";
    else if (!*p->out->fate[n->id].why || f->kind == LOWER_NONE)
      p->out->fate[n->id].why = f->why;
    p->out->fate[n->id].host = f->host;
    own_step(p, n);
  }
}

static void group_here(Grouper *p) {
  map_init(&p->known, p->a);
  map_init(&p->teller, p->a);
  survey(p);
  group_anchors(p);
  loops(p);
}

static void group_body(Grouper *p, Graph *body) {
  if (!body)
    return;
  Grouper inner = *p;
  inner.g = body, inner.up = p, inner.order = NULL, inner.norder = 0;
  if (body->impossible) /* its types are not to be relied on */
    need_nodes(p, body);
  else
    group_here(&inner);
  group_need(p, body->out, body->nout);
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

/* Anchors are found from the last one on. In memory their operands lie as they are read, so that what a product asks for behind its
 * own operand is the next one's. */
static void place_packed(Groups *g) {
  for (uint32_t i = g->npacked; i-- > 0;) {
    g->packed[i].offset = g->packed_size;
    g->packed_size += (g->packed[i].size + 63) / 64 * 64;
  }
}

Status group_graph(Ctx *c, Arena *a, Graph *g, const GroupOptions *o, Groups **out) {
  Grouper p = {.c = c, .a = a, .g = g, .o = o};
  uint32_t nid = *g->next_id;
  p.out = *out = arena_new(a, Groups);
  p.out->cpu_level = o->cpu_level;
  p.info = arena_array(a, Info, nid);
  p.needed = arena_array(a, bool, nid);
  p.stored = arena_array(a, bool, nid);
  p.wanted_if = arena_array(a, Dim, nid);
  p.out->fate = arena_array(a, NodeFate, nid);
  for (uint32_t i = 0; i < nid; i++)
    p.out->fate[i].why = "";
  p.out->group = arena_array(a, Group *, nid + 1u);
  Map kernels;
  uint32_t next_pos = 0;
  map_init(&kernels, a);
  p.kernels = &kernels, p.next_pos = &next_pos;
  group_here(&p);
  order_groups(&p);
  place_packed(p.out);
  return ST_OK;
}
