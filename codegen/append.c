/* append.c - caches that grow in place.
 *
 * A decoder's step takes past [batch, heads, past, size] and gives present, which is past and the new rows behind it, or past with the
 * new rows where the data say (TensorScatter, perhaps of a Pad that makes it longer). A caller may keep both in one buffer [batch, heads, capacity, size] and give them as tensors with its strides. Such a tensor is dense
 * memory with another extent on one axis, so kernels are made for that extent: a symbol of its own, which a run binds to what
 * the strides say. Another symbol says how many rows of past are copied; where both lie in one memory, none.
 *
 * Loop kernels and attention take extents in memory from value_rows. Whatever else might read such a value (a step of the host,
 * a product, a view) takes it for dense: a cache that one of these reads is left alone, and the caller's tensors are copied.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/append.h"

#include "ops/ops.h"

/* --- candidates --- */

/* Does Pad n put zeros behind the rows of this axis, and nothing else anywhere? */
static bool pads_behind(Ctx *c, const Node *n, int axis) {
  const Dim *pad;
  int64_t count;
  int rank = n->in[0]->type.rank;
  if (!str_is(ATTR(n, Pad)->mode, "constant") || (n->nin > 2 && n->in[2]) || (n->nin > 3 && n->in[3]) ||
      !value_content(c, n->in[1], &pad, &count) || count != 2 * (int64_t)rank)
    return false;
  for (int i = 0; i < 2 * rank; i++)
    if (i != rank + axis && !dim_is(pad[i], 0))
      return false;
  return dim_at_least(c, n->out[0]->type.dim[axis], n->in[0]->type.dim[axis]);
}

/* What TensorScatter n writes rows of: an input, perhaps with more rows behind it. Rows of the past may be overwritten, so that nobody
 * else reads it. */
static Value *scattered_past(Ctx *c, const Node *n, int axis) {
  Value *v = n->in[0];
  if (v->def && v->def->op == OP_Pad && value_sole_user(v) && pads_behind(c, v->def, axis))
    v = v->def->in[0];
  return value_sole_user(v) ? v : NULL;
}

/* The input that output v of its node begins with, and the axis of the rows; NULL: there is none. */
static Value *past_of(Ctx *c, const Value *v, int *axis) {
  const Node *n = v->def;
  int rank = v->type.rank;
  if (n->op == OP_Concat || n->op == OP_TensorScatter) {
    int64_t k = n->op == OP_Concat ? ATTR(n, Concat)->axis : ATTR(n, TensorScatter)->axis;
    *axis = (int)(k < 0 ? k + rank : k);
    return n->op == OP_Concat ? n->in[0] : rank > 0 ? scattered_past(c, n, *axis) : NULL;
  }
  *axis = 2;
  int i = n->op == OP_Attention && (v->index == 1 || v->index == 2) ? v->index + 3 : n->nin;
  return i < n->nin ? n->in[i] : NULL;
}

/* Is d known when the inputs are? */
static bool input_tells(const Graph *g, Dim d) {
  bool ok = d->kind == DIM_CONST;
  for (uint32_t i = 0; !ok && d->kind == DIM_SYM && i < g->nin; i++) {
    const Value *v = g->in[i];
    for (int k = 0; k < v->type.rank; k++)
      ok |= dim_uses(v->type.dim[k], d);
    for (uint32_t k = 0; k < v->told; k++)
      ok |= v->content[k] == d;
  }
  for (int i = 0; i < d->n; i++)
    if (!(ok = input_tells(g, d->arg[i])))
      break;
  return ok;
}

static bool is_cache(const Graph *g, const Value *past, const Value *present, int axis) {
  const Type *p = &past->type, *q = &present->type;
  for (int k = 0; q->kind == VK_TENSOR && k < q->rank; k++)
    if (!input_tells(g, q->dim[k]))
      return false;
  return past->is_input && !past->nout && !past->append && present->nout == 1 && p->kind == VK_TENSOR &&
         q->kind == VK_TENSOR && p->dtype && p->dtype == q->dtype && q->dtype != DT_str &&
         dtype_bits(q->dtype) % 8 == 0 && p->rank == q->rank && axis >= 0 && axis + 1 < q->rank;
}

static void find(Ctx *c, Arena *a, Graph *g) {
  int axis;
  for (uint32_t i = 0; i < g->nin; i++)
    g->in[i]->append = NULL;
  for (uint32_t i = 0; i < g->nout; i++) {
    Value *v = g->out[i], *past = v->def && v->def->graph == g ? past_of(c, v, &axis) : NULL;
    v->append = NULL;
    if (!past || !is_cache(g, past, v, axis))
      continue;
    Append *x = arena_new(a, Append);
    *x = (Append){.past = past, .present = v, .axis = axis};
    x->past_room = dim_fresh(c, "past_room"), x->present_room = dim_fresh(c, "present_room");
    x->copied = dim_fresh(c, "copied");
    past->append = v->append = x;
  }
}

bool append_scatters(const Node *n) { return n->op == OP_TensorScatter && n->out[0]->append; }

bool append_pads(const Node *n, const Node *pad) {
  return append_scatters(n) && pad == n->in[0]->def && n->in[0] != n->out[0]->append->past;
}

/* --- is everything that touches them such code? --- */

static bool reads_ok(const Group *x, const Value *v) {
  for (uint32_t i = 0; i < x->nin; i++) {
    bool key = x->unit->kind == UNIT_ATTENTION && (i == 1 || i == 2) && v->append->axis == v->type.rank - 2;
    if (x->in[i] == v && x->unit->kind != UNIT_LOOP && !key)
      return false;
  }
  return true;
}

/* Values are read by groups, or by the steps of nodes in none. */
static bool uses_ok(const Groups *groups, const Graph *g, const Value *v) {
  for (const Use *u = v->uses; u; u = u->next) {
    const NodeFate *fate = u->node ? &groups->fate[u->node->id] : NULL;
    if (fate ? !fate->group && !fate->gone : u->graph != g)
      return false;
  }
  for (uint32_t i = 0; i < groups->n; i++)
    if (!reads_ok(groups->group[i], v))
      return false;
  return true;
}

static bool written_ok(const Groups *groups, const Value *v) {
  for (uint32_t i = 0; i < groups->n; i++)
    for (uint32_t k = 0; k < groups->group[i]->nout; k++)
      if (groups->group[i]->out[k] == v)
        return groups->group[i]->unit->kind == UNIT_LOOP;
  return false;
}

Status append_group(Ctx *c, Arena *a, Graph *g, const GroupOptions *o, Groups **out) {
  find(c, a, g);
  for (bool again = true; again;) {
    again = false;
    TRY(group_graph(c, a, g, o, out));
    for (uint32_t i = 0; i < g->nout; i++) {
      const Append *x = g->out[i]->append;
      if (!x || (uses_ok(*out, g, x->past) && uses_ok(*out, g, x->present) && written_ok(*out, x->present)))
        continue;
      x->past->append = x->present->append = NULL;
      again = true;
    }
  }
  return ST_OK;
}

/* --- how much memory a kernel touches --- */

typedef struct Touched {
  Ctx *c;
  Value *const *v;
  uint32_t n;
  bool written;
} Touched;

static Dim rows_of(void *arg, Dim sym) {
  const Touched *t = arg;
  for (uint32_t i = 0; i < t->n; i++) {
    const Append *x = t->v[i]->append;
    if (!x || (sym != x->past_room && sym != x->present_room))
      continue;
    Dim past = x->past->type.dim[x->axis], present = x->present->type.dim[x->axis];
    const Node *n = x->present->def;
    if (!t->written || (sym == x->past_room && n->op == OP_Attention)) /* read for its own sake */
      return sym == x->past_room ? past : present;
    if (sym == x->past_room)
      return x->copied;
    Dim rows = dim_add(t->c, x->copied, dim_sub(t->c, present, past));
    return n->op == OP_TensorScatter ? dim_add(t->c, rows, n->in[1]->type.dim[x->axis]) : rows;
  }
  return NULL;
}

Dim append_bytes(Ctx *c, Dim bytes, Value *const *in, uint32_t nin, Value *const *out, uint32_t nout) {
  Touched written = {c, out, nout, true}, read = {c, in, nin, false};
  return dim_substitute(c, dim_substitute(c, bytes, rows_of, &written), rows_of, &read);
}
