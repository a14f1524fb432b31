/* exec.c - the executor: binds shapes, then runs the steps in order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/places.h"

#include "support/checked.h"

#include <string.h>

/* --- evaluation steps --- */

typedef struct Host {
  Frame *f;
  const ProgStep *s;
} Host;

/* May the bytes of one be taken for the other (BitCast)? */
static bool same_bits(DType a, DType b) { return dtype_bits(a) == dtype_bits(b) && (a == DT_str) == (b == DT_str); }

static Status alloc_output(Eval *e, int i, DType t, int rank, const int64_t *dim, Tensor **out) {
  Host *h = e->host;
  int64_t count;
  if (h->s->kind == STEP_VIEW && e->in[0]->kind == VK_TENSOR && same_bits(t, e->in[0]->dtype) && t != DT_str &&
      extent_ok(dim, rank, &count) && count == tensor_count(e->in[0]))
    return slot_share(h->f, rt_list(h->f->p, h->s->out), &h->f->cell[rt_list(h->f->p, h->s->in)], t, rank, dim, out);
  return slot_alloc(h->f, rt_list(h->f->p, h->s->out + (uint32_t)i), t, rank, dim, out);
}

/* Weights may lie unaligned in their file, and inputs in the caller's memory; typed arrays are read. */
const Tensor *aligned(Arena *scratch, const Tensor *t) {
  if (t->kind != VK_TENSOR || !t->data || tensor_aligned(t))
    return t;
  Tensor *copy = arena_copy(scratch, t, sizeof *t);
  size_t n = tensor_bytes(t);
  copy->data = arena_get(scratch, n, 1, 64);
  if (n)
    memcpy(copy->data, t->data, n);
  return copy;
}

Status no_value(Frame *f, uint32_t slot) {
  return fail(f->c, ST_INTERNAL, "slot '%s' is read before it has a value", rt_string(f->p, rt_slot(f->p, slot)->name));
}

static Status eval_step(Frame *f, const ProgStep *s, uint32_t index, Arena *scratch) {
  Host host = {f, s};
  const Tensor **in = arena_array(scratch, const Tensor *, s->nin);
  Tensor **out = arena_array(scratch, Tensor *, s->nout);
  bool *wanted = arena_array(scratch, bool, s->nout);
  for (uint32_t i = 0; i < s->nin; i++) {
    uint32_t slot = rt_list(f->p, s->in + i);
    if (slot == PROG_NONE)
      continue;
    if (f->cell[slot].state == CELL_EMPTY)
      return no_value(f, slot);
    in[i] = aligned(scratch, &f->cell[slot].t);
  }
  for (uint32_t i = 0; i < s->nout; i++)
    wanted[i] = rt_list(f->p, s->out + i) != PROG_NONE;
  Eval e = {.c = f->c,
            .op = f->p->op[index],
            .nin = (int)s->nin,
            .nout = (int)s->nout,
            .in = in,
            .out = out,
            .wanted = wanted,
            .attr = f->p->attr[index],
            .scratch = scratch,
            .keep = f->keep,
            .alloc = alloc_output,
            .host = &host};
  TRY(eval_check_types(&e));
  TRY(eval_find(e.op)(&e));
  for (uint32_t i = 0; i < s->nout; i++) {
    if (!wanted[i])
      continue;
    if (!out[i])
      return fail(f->c, ST_INTERNAL, "the evaluator made no output %u", i);
    Cell *x = &f->cell[rt_list(f->p, s->out + i)];
    if (out[i] != &x->t) { /* a container, or one of its items: lives in the keep arena */
      cell_clear(f, x);
      x->t = *out[i], x->state = CELL_KEEP;
    }
  }
  return ST_OK;
}

/* --- steps without evaluation --- */

static Status dims_step(Frame *f, const ProgStep *s, uint32_t index) {
  const DimsAttr *at = f->p->attr[index];
  int64_t n = s->nexprs, v;
  Tensor *t;
  if (!at || (at->dtype != DT_i64 && at->dtype != DT_i32) || (at->rank == 0 && n != 1) || at->rank < 0 || at->rank > 1)
    return fail(f->c, ST_INVALID, "the compiled program is damaged: Dims");
  TRY(slot_alloc(f, rt_list(f->p, s->out), (DType)at->dtype, (int)at->rank, &n, &t));
  for (int64_t i = 0; i < n; i++) {
    if (!rt_symbols_eval(&f->sym, rt_list(f->p, s->exprs + (uint32_t)i), &v))
      return fail(f->c, ST_INVALID, "element %lld of a shape cannot be computed for these input shapes", (long long)i);
    elem_set_i64(t->dtype, t->data, i, v);
  }
  return ST_OK;
}

/* A step on the host reads and writes memory here. */
static Status host_inputs(Frame *f, const ProgStep *s) {
  for (uint32_t i = 0; f->places && i < s->nin; i++) {
    uint32_t slot = rt_list(f->p, s->in + i);
    if (slot != PROG_NONE && f->cell[slot].state)
      TRY(place_on_host(f, &f->cell[slot].t));
  }
  return ST_OK;
}

static void host_outputs(Frame *f, const ProgStep *s) {
  for (uint32_t i = 0; f->places && i < s->nout; i++) {
    uint32_t slot = rt_list(f->p, s->out + i);
    if (slot != PROG_NONE && f->cell[slot].state)
      place_written(f, &f->cell[slot].t);
  }
}

/* The output is the input's memory. Its shape is what was inferred; where data have a say in it (a shape or axes that are no
 * constant; on a device, that do not follow from the symbols), or where the element counts disagree, the operator's own evaluator is asked, and given that memory. */
static Status view_step(Frame *f, const ProgStep *s, uint32_t index, Arena *scratch) {
  uint32_t from = rt_list(f->p, s->in), to = rt_list(f->p, s->out),
           how = s->nin > 1 ? rt_list(f->p, s->in + 1) : PROG_NONE;
  const ProgSlot *slot = rt_slot(f->p, to);
  const Cell *src = &f->cell[from];
  int64_t dim[MAX_RANK], count;
  Tensor *out;
  if (src->state == CELL_EMPTY)
    return no_value(f, from);
  DType t = slot->dtype ? (DType)slot->dtype : src->t.dtype;
  if (!graph_stated(f->p, how) || src->t.kind != VK_TENSOR || !same_bits(t, src->t.dtype) ||
      !rt_symbols_dims(&f->sym, slot, dim) || !extent_ok(dim, slot->rank, &count) || count != tensor_count(&src->t)) {
    TRY(host_inputs(f, s));
    TRY(eval_step(f, s, index, scratch));
    host_outputs(f, s);
    return ST_OK;
  }
  return slot_share(f, to, src, t, slot->rank, dim, &out);
}

/* --- regions --- */

static Status dispatch_step(Frame *f, const ProgStep *s, uint32_t index, Arena *scratch) {
  switch (s->kind) {
  case STEP_VIEW: return view_step(f, s, index, scratch);
  case STEP_DIMS: return dims_step(f, s, index);
  case STEP_IF: return run_if(f, s);
  case STEP_LOOP: return run_loop(f, s);
  case STEP_SCAN: return run_scan(f, s, f->p->attr[index]);
  case STEP_KERNEL: return kernel_step(f, s, scratch);
  default: return eval_step(f, s, index, scratch);
  }
}

static Status dispatch(Frame *f, const ProgStep *s, uint32_t index, Arena *scratch) {
  bool moves = s->kind != STEP_KERNEL && s->kind != STEP_VIEW;
  if (moves)
    TRY(host_inputs(f, s));
  TRY(dispatch_step(f, s, index, scratch));
  if (moves)
    host_outputs(f, s);
  return ST_OK;
}

static Status bind_outputs(Frame *f, const ProgStep *s) {
  for (uint32_t i = 0; i < s->nbinds; i++) {
    uint32_t sym = rt_list(f->p, s->binds + 3 * i), out = rt_list(f->p, s->binds + 3 * i + 1);
    uint32_t slot = rt_list(f->p, s->out + out);
    uint32_t place = rt_list(f->p, s->binds + 3 * i + 2);
    if (slot == PROG_NONE || !f->cell[slot].state)
      continue;
    if (place >= BIND_ELEMENT)
      TRY(place_on_host(f, &f->cell[slot].t));
    rt_symbols_bind_from(&f->sym, sym, place, &f->cell[slot].t);
  }
  return ST_OK;
}

/* The next step takes its working memory over. */
static void step_done(Frame *f, Arena *scratch) {
  if (f->idle) {
    arena_destroy(scratch);
    return;
  }
  arena_reset(scratch);
  f->idle = scratch;
}

/* What is on the device is done when its time is told. */
static Status await(Frame *f) {
  RtDevice *d = f->p->device;
  return f->places ? d->ops->wait(d, f->c, places_stream(f)) : ST_OK;
}

Status run_step(Frame *f, uint32_t index) {
  const ProgStep *s = rt_step(f->p, index);
  const ProgStep *up = *f->at;
  int64_t start = f->o->profile ? now_ns() : 0;
  TRY(ctx_poll(f->c));
  *f->at = s;
  f->depth++;
  f->cost = (KernelCost){.threads = 1};
  Arena *scratch = f->idle ? f->idle : arena_create(f->c);
  f->idle = NULL; /* steps of bodies need another */
  Status st = dispatch(f, s, index, scratch);
  step_done(f, scratch);
  f->depth--;
  if (st)
    return st;
  *f->at = up;
  TRY(bind_outputs(f, s));
  if (f->o->profile) {
    TRY(await(f));
    bool kernel = s->kind == STEP_KERNEL; /* the cost of a step in a body is not its owner's */
    f->o->profile(f->o->profile_arg, &(RtStepTime){.step = index,
                                                   .depth = (uint32_t)f->depth,
                                                   .threads = kernel ? f->cost.threads : 1,
                                                   .start_ns = start,
                                                   .end_ns = now_ns(),
                                                   .flops = kernel ? f->cost.flops : 0,
                                                   .bytes = kernel ? f->cost.bytes : 0});
  }
  for (uint32_t i = 0; i < s->nfree && !f->in_graph; i++) {
    uint32_t slot = rt_list(f->p, s->free + i);
    if (rt_slot(f->p, slot)->kind == SLOT_DYNAMIC || rt_slot(f->p, slot)->kind == SLOT_VIEW)
      cell_clear(f, &f->cell[slot]);
  }
  return ST_OK;
}

Status run_region(Frame *f, uint32_t region) {
  const ProgRegion *r = REC(f->p, SEC_REGIONS, ProgRegion) + region;
  for (uint32_t i = 0; i < r->nstep; i++)
    TRY(run_step(f, r->step + i));
  for (uint32_t i = 0; region && f->places && i < r->nout; i++) /* whose owner looks at them here */
    TRY(place_on_host(f, &f->cell[rt_list(f->p, r->out + i)].t));
  return ST_OK;
}

void region_enter(Frame *f, const ProgRegion *r) {
  for (uint32_t i = 0; i < r->nown; i++)
    cell_clear(f, &f->cell[rt_list(f->p, r->own + i)]);
  for (uint32_t k = 0; k < r->nbinds; k++)
    rt_symbols_forget(&f->sym, rt_list(f->p, r->binds + 3 * k));
  for (uint32_t i = 0; i < r->nstep; i++) {
    const ProgStep *s = rt_step(f->p, r->step + i);
    for (uint32_t k = 0; k < s->nbinds; k++)
      rt_symbols_forget(&f->sym, rt_list(f->p, s->binds + 3 * k));
  }
}

void region_bind(Frame *f, const ProgRegion *r) {
  for (uint32_t i = 0; i < r->nbinds; i++) {
    uint32_t sym = rt_list(f->p, r->binds + 3 * i), in = rt_list(f->p, r->binds + 3 * i + 1);
    const Cell *x = &f->cell[rt_list(f->p, r->in + in)];
    if (x->state)
      rt_symbols_bind_from(&f->sym, sym, rt_list(f->p, r->binds + 3 * i + 2), &x->t);
  }
}

/* --- a whole run --- */

/* What the elements of the inputs tell. */
static void bind_contents(Symbols *s, const RtProgram *p, const Tensor *const *in) {
  const ProgRegion *r = REC(p, SEC_REGIONS, ProgRegion);
  for (uint32_t i = r->binds; i < r->binds + 3 * r->nbinds; i += 3)
    rt_symbols_bind_from(s, rt_list(p, i), rt_list(p, i + 2), in[rt_list(p, i + 1)]);
}

/* The inputs with defaults filled in. */
static Status gather_inputs(RtProgram *p, Ctx *c, Arena *a, const Tensor *in, uint32_t nin, const Tensor ***out) {
  uint32_t n = rt_count(p, SEC_INPUTS);
  if (nin != n)
    return fail(c, ST_USAGE, "%u inputs given, the model takes %u", nin, n);
  const Tensor **list = arena_array(a, const Tensor *, n);
  for (uint32_t i = 0; i < n; i++) {
    bool given = in[i].dtype != DT_none || in[i].kind != VK_TENSOR;
    if (!given && rt_input(p, i)->deflt == PROG_NONE)
      return fail(c, ST_USAGE, "input '%s' is not given", rt_string(p, rt_input(p, i)->name));
    list[i] = given ? &in[i] : p->konst[rt_input(p, i)->deflt];
  }
  *out = list;
  return ST_OK;
}

Status run_bind(RtProgram *p, Ctx *c, Arena *a, const Tensor *in, uint32_t nin, Symbols *s, const Tensor ***list) {
  TRY(gather_inputs(p, c, a, in, nin, list));
  rt_symbols_init(s, p, a);
  TRY(rt_symbols_from_inputs(s, c, *list));
  bind_contents(s, p, *list);
  return ST_OK;
}

/* Characters of strings may belong to an input or to the model; an output lives longer. */
static void own_strings(Frame *f, Tensor *t) {
  for (int64_t i = 0; t->kind != VK_TENSOR && i < t->nitem; i++)
    own_strings(f, t->item[i]);
  if (t->kind != VK_TENSOR || t->dtype != DT_str)
    return;
  Str *s = t->data;
  for (int64_t i = 0, n = tensor_count(t); i < n; i++)
    s[i].ptr = arena_strndup(f->keep, s[i].ptr, s[i].len);
}

static Status check_into(Frame *f, uint32_t i, const Tensor *t) {
  const Tensor *into = f->out[i].into;
  char a[200], b[200];
  if (t->kind == VK_TENSOR && into->dtype == t->dtype && tensor_same_shape(into, t))
    return ST_OK;
  return fail(f->c, ST_USAGE, "output '%s' is %s but the memory given for it is %s",
              rt_string(f->p, rt_output(f->p, i)->name), tensor_type_text(t, a, sizeof a),
              tensor_type_text(into, b, sizeof b));
}

static Status store_output(Frame *f, uint32_t i) {
  const Cell *x = &f->cell[rt_output(f->p, i)->slot];
  RtOutput *o = &f->out[i];
  if (!o->wanted)
    return ST_OK;
  if (x->state == CELL_EMPTY && !o->in_place)
    return no_value(f, rt_output(f->p, i)->slot);
  if (x->state && !o->device)
    TRY(place_on_host(f, &x->t));
  if (o->in_place)
    return ST_OK;
  o->t = x->t;
  if (o->into)
    TRY(check_into(f, i, &x->t));
  if (o->device)
    return place_output(f, i, &x->t);
  if (x->t.kind != VK_TENSOR || x->state == CELL_KEEP) {
    own_strings(f, &o->t);
    return ST_OK;
  }
  if (o->into) { /* the caller's memory, whose shape and dtype were not what we computed, or a view */
    if (x->t.dtype == DT_str)
      return fail(f->c, ST_UNSUPPORTED, "output '%s' holds strings: take it from sard_run's result",
                  rt_string(f->p, rt_output(f->p, i)->name));
    size_t n = tensor_bytes(&x->t);
    if (n)
      memmove(o->into->data, x->t.data, n);
    return ST_OK;
  }
  Cell held = {0};
  if (x->state == CELL_BUF)
    cell_share(f, &held, x); /* one reference that frame_finish leaves */
  else {
    TRY(cell_alloc(f, &held, x->t.dtype, x->t.rank, x->t.dim));
    size_t n = tensor_bytes(&x->t);
    if (n)
      memcpy(held.t.data, x->t.data, n);
  }
  o->t = held.t;
  own_strings(f, &o->t);
  return ST_OK;
}

typedef struct RunArgs {
  RtProgram *p;
  const RtRunOptions *o;
  const Tensor *in, *theirs; /* theirs: as the caller gave them */
  Tensor *fetched;           /* with elements brought here; NULL: none were */
  uint32_t nin;
  RtOutput *out;
  uint32_t nout;
  const ProgStep *at; /* the innermost step under way; outlives the frame, for errors */
  uint32_t blame;     /* Frame.blame */
} RunArgs;

/* Is input i as it is in the list an address of the device's? */
static bool is_there(const RunArgs *r, uint32_t i, const Tensor *const *in) {
  return r->o->there && r->o->there[i] && in[i]->data == r->theirs[i].data;
}

/* Inputs on the device: a value like any other, whose memory here is made, but not filled until somebody reads it. */
static Status take_inputs(Frame *f, const RunArgs *r, const Tensor *const *in) {
  for (uint32_t i = 0; i < r->nin; i++) {
    Cell *x = &f->cell[rt_input(r->p, i)->slot];
    if (!is_there(r, i, in)) {
      *x = (Cell){.t = *in[i], .state = CELL_STATIC};
      continue;
    }
    TRY(cell_alloc(f, x, in[i]->dtype, in[i]->rank, in[i]->dim));
    TRY(place_at(f, &x->t, (uint64_t)(uintptr_t)in[i]->data));
  }
  return ST_OK;
}

/* Symbols may be bound to elements of inputs: those must be here. */
static Status fetch_inputs(RunArgs *r, Ctx *c, Arena *a) {
  const ProgRegion *region = REC(r->p, SEC_REGIONS, ProgRegion);
  for (uint32_t i = region->binds; i < region->binds + 3 * region->nbinds; i += 3) {
    uint32_t input = rt_list(r->p, i + 1);
    if (rt_list(r->p, i + 2) < BIND_ELEMENT || input >= r->nin || !r->o->there || !r->o->there[input])
      continue;
    if (r->in != r->fetched) { /* the caller's list stays as it is */
      r->fetched = arena_copy(a, r->in, r->nin * sizeof *r->in);
      r->in = r->fetched;
    }
    if (r->fetched[input].data == r->theirs[input].data && tensor_bytes(&r->fetched[input]))
      TRY(place_fetch(r->p, c, a, r->o, &r->fetched[input]));
  }
  return ST_OK;
}

/* The caller's stream goes on when the run is over; without one, or where the outputs' memory is new to everybody, it is over now. */
static Status join_stream(Frame *f) {
  RtDevice *d = f->p->device;
  bool waits = false;
  for (uint32_t i = 0; i < rt_count(f->p, SEC_OUTPUTS); i++)
    waits |= f->out[i].device && (!f->o->stream || !f->out[i].into);
  if (!f->places)
    return ST_OK;
  if (f->o->stream)
    TRY(d->ops->order(d, f->c, places_stream(f), f->o->stream));
  return waits ? d->ops->wait(d, f->c, places_stream(f)) : ST_OK;
}

static Status run(Ctx *c, void *arg) {
  RunArgs *r = arg;
  Arena *keep = arena_create(c);
  Arena *work = arena_create(c);
  Frame *f = arena_new(keep, Frame); /* its cleanup frees the outputs' buffers when c is closed */
  const Tensor **in;
  f->keep = keep, f->run = work;
  TRY(fetch_inputs(r, c, work));
  TRY(run_bind(r->p, c, work, r->in, r->nin, &f->sym, &in));
  TRY(appends_bind(&f->sym, c, r->o->room, in, r->out));
  TRY(frame_init(f, r->p, c, r->o, r->out, r->nout));
  f->at = &r->at, f->blame = &r->blame;
  TRY(take_inputs(f, r, in));
  TRY(f->places ? graph_run(f) : run_region(f, 0));
  TRY(places_errors(f));
  for (uint32_t i = 0; i < r->nout; i++)
    TRY(store_output(f, i));
  TRY(join_stream(f));
  frame_finish(f);
  arena_destroy(work);
  return ST_OK;
}

Status rt_run(RtProgram *p, Ctx *c, const RtRunOptions *o, const Tensor *in, uint32_t nin, RtOutput *out,
              uint32_t nout) {
  if (nout != rt_count(p, SEC_OUTPUTS))
    return fail(c, ST_USAGE, "%u outputs given, the model has %u", nout, rt_count(p, SEC_OUTPUTS));
  static const RtRunOptions serial = {.threads = 1};
  RunArgs r = {
      .p = p, .o = o ? o : &serial, .in = in, .theirs = in, .nin = nin, .out = out, .nout = nout, .blame = PROG_NONE};
  pool_hold(r.o->pool);
  Status st = ctx_protect(c, run, &r);
  pool_release(r.o->pool);
  if (!st || !r.at)
    return st;
  const ProgOrigin *from = rt_origin(p, r.blame == PROG_NONE ? r.at->origin : r.blame);
  return err_node(c, st, rt_string(p, from->node), rt_string(p, *rt_string(p, from->op) ? from->op : r.at->op),
                  rt_string(p, from->module), rt_string(p, from->source));
}

typedef struct ShapeArgs {
  RtProgram *p;
  const Tensor *in;
  uint32_t nin, i;
  int64_t *dim;
  int *rank;
} ShapeArgs;

static Status output_shape(Ctx *c, void *arg) {
  ShapeArgs *q = arg;
  Arena *a = arena_create(c);
  Symbols s;
  const Tensor **in;
  TRY(gather_inputs(q->p, c, a, q->in, q->nin, &in));
  rt_symbols_init(&s, q->p, a);
  TRY(rt_symbols_from_inputs(&s, c, in));
  const ProgPort *port = rt_output(q->p, q->i);
  const ProgSlot *slot = rt_slot(q->p, port->slot);
  int64_t count;
  if (slot->vkind != VK_TENSOR || !rt_symbols_dims(&s, slot, q->dim))
    return fail(c, ST_UNSUPPORTED, "the shape of output '%s' depends on the data", rt_string(q->p, port->name));
  if (!extent_ok(q->dim, slot->rank, &count))
    return fail(c, ST_INVALID, "output '%s' has no shape for these input shapes", rt_string(q->p, port->name));
  *q->rank = slot->rank;
  arena_destroy(a);
  return ST_OK;
}

Status rt_output_shape(RtProgram *p, Ctx *c, const Tensor *in, uint32_t nin, uint32_t i, int64_t *dim, int *rank) {
  if (i >= rt_count(p, SEC_OUTPUTS))
    return fail(c, ST_USAGE, "the model has %u outputs, there is no output %u", rt_count(p, SEC_OUTPUTS), i);
  ShapeArgs q = {p, in, nin, i, dim, rank};
  return ctx_protect(c, output_shape, &q);
}

typedef struct InputShape {
  const RtProgram *p;
  const int64_t *symbol;
  uint32_t nsymbol, i;
  int64_t *dim;
  int *rank;
} InputShape;

static Status input_shape(Ctx *c, void *arg) {
  InputShape *q = arg;
  Arena *a = arena_create(c);
  Symbols s;
  rt_symbols_init(&s, q->p, a);
  for (uint32_t i = 0; i < q->nsymbol && i < rt_count(q->p, SEC_SYMBOLS); i++)
    rt_symbols_bind(&s, i, q->symbol[i]);
  const ProgPort *port = rt_input(q->p, q->i);
  const ProgSlot *slot = rt_slot(q->p, port->slot);
  if (slot->vkind != VK_TENSOR || slot->rank < 0 || !rt_symbols_dims(&s, slot, q->dim))
    return fail(c, ST_UNSUPPORTED, "the shape of input '%s' does not follow from the symbols",
                rt_string(q->p, port->name));
  *q->rank = slot->rank;
  arena_destroy(a);
  return ST_OK;
}

Status rt_input_shape(const RtProgram *p, Ctx *c, const int64_t *symbol, uint32_t nsymbol, uint32_t i, int64_t *dim,
                      int *rank) {
  InputShape q = {p, symbol, nsymbol, i, dim, rank};
  return ctx_protect(c, input_shape, &q);
}
