/* frame.c - the values of one run: which memory each slot has, and who frees it.
 *
 * A cell borrows from the caller or a constant (STATIC), lies in the run's arena (ARENA), holds a counted buffer (BUF), or
 * lies in the keep arena, which lives as long as the outputs (KEEP: containers).
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/grow.h"
#include "runtime/places.h"

#include "support/checked.h"

#include <string.h>

struct Buf {
  Buf *prev, *next;
  size_t bytes; /* with this header */
  uint32_t refs;
};
enum { BUF_HEAD = 64 };
_Static_assert(sizeof(Buf) <= BUF_HEAD, "room for the header");

static void buf_unlink(Frame *f, Buf *b) {
  *(b->prev ? &b->prev->next : &f->bufs) = b->next;
  if (b->next)
    b->next->prev = b->prev;
}

static void buf_release(Frame *f, Buf *b) {
  if (b && !--b->refs) {
    place_forget(f, (char *)b + BUF_HEAD);
    buf_unlink(f, b);
    recycler_put(f->recycler, f->c->alloc, b, b->bytes);
  }
}

static void free_arena(Frame *f) {
  places_close(f);
  if (f->arena)
    spare_put(f->p, SPARE_ARENA, f->arena, f->arena_bytes, f->layout->arena);
  if (f->scratch)
    spare_put(f->p, SPARE_SCRATCH, f->scratch, f->scratch_bytes, f->scratch_needed);
  f->arena = f->scratch = NULL;
  if (f->layout)
    layout_put(f->p, f->layout);
  f->layout = NULL;
}

/* When the context closes or the run fails: the buffers that outputs hold, or all. */
static void free_buffers(void *arg) {
  Frame *f = arg;
  for (Buf *b = f->bufs, *next; b; b = next) {
    next = b->next;
    recycler_put(f->recycler, f->c->alloc, b, b->bytes);
  }
  f->bufs = NULL;
  free_arena(f);
}

Status frame_init(Frame *f, RtProgram *p, Ctx *c, const RtRunOptions *o, RtOutput *out, uint32_t nout) {
  Arena *run = f->run, *keep = f->keep;
  Symbols sym = f->sym;
  *f = (Frame){.p = p, .c = c, .o = o, .run = run, .keep = keep, .sym = sym, .out = out, .recycler = o->recycler};
  f->cell = arena_array(run, Cell, rt_count(p, SEC_SLOTS));
  f->out_of = arena_array(run, uint32_t, rt_count(p, SEC_SLOTS));
  for (uint32_t i = 0; i < rt_count(p, SEC_SLOTS); i++) {
    f->out_of[i] = PROG_NONE;
    if (p->konst[i])
      f->cell[i] = (Cell){.t = *p->konst[i], .state = CELL_STATIC};
  }
  for (uint32_t i = nout; i-- > 0;)
    if (rt_slot(p, rt_output(p, i)->slot)->kind == SLOT_DYNAMIC)
      f->out_of[rt_output(p, i)->slot] = i;
  ctx_on_failure(c, &f->cleanup, free_buffers, f);
  f->growth = growth_begin(p, run, &f->sym);
  TRY(layout_get(p, c, &f->sym, f->growth, &f->layout));
  if (f->layout->arena)
    f->arena = spare_get(p, c, SPARE_ARENA, f->layout->arena, &f->arena_bytes);
  return places_open(f);
}

void frame_finish(Frame *f) {
  for (uint32_t i = 0; i < rt_count(f->p, SEC_SLOTS); i++)
    cell_clear(f, &f->cell[i]);
  f->done = true;
  arena_destroy(f->idle);
  f->idle = NULL;
  free_arena(f);
}

void cell_clear(Frame *f, Cell *x) {
  if (x->state == CELL_BUF)
    buf_release(f, x->buf);
  x->state = CELL_EMPTY, x->buf = NULL;
}

void cell_share(Frame *f, Cell *dst, const Cell *src) {
  Cell copy = *src;
  if (copy.buf)
    copy.buf->refs++;
  cell_clear(f, dst);
  *dst = copy;
}

Status cell_export(Frame *f, Cell *dst, const Cell *src) {
  if (src->state != CELL_ARENA) {
    cell_share(f, dst, src);
    return ST_OK;
  }
  Cell copy = {0};
  TRY(place_on_host(f, &src->t));
  TRY(cell_alloc(f, &copy, src->t.dtype, src->t.rank, src->t.dim));
  size_t n = tensor_bytes(&src->t);
  if (n)
    memcpy(copy.t.data, src->t.data, n);
  cell_clear(f, dst);
  *dst = copy;
  return ST_OK;
}

static Status checked_bytes(Frame *f, DType t, int rank, const int64_t *dim, size_t *bytes) {
  int64_t count;
  char text[256];
  if (rank > MAX_RANK)
    return fail(f->c, ST_UNSUPPORTED, "an output of rank %d; at most %d are supported", rank, MAX_RANK);
  if (!extent_ok(dim, rank, &count) || !dtype_bytes(t, count, bytes) || *bytes > PTRDIFF_MAX - BUF_HEAD)
    return fail(f->c, ST_INVALID, "the output would be %s%s, which is no size a tensor can have", dtype_name(t),
                shape_text(rank, dim, text, sizeof text));
  return ST_OK;
}

static void set_tensor(Cell *x, DType t, int rank, const int64_t *dim, void *data, CellState state) {
  x->t = (Tensor){.kind = VK_TENSOR, .dtype = t, .rank = (int8_t)rank, .data = data};
  if (rank)
    memcpy(x->t.dim, dim, (size_t)rank * sizeof *dim);
  x->state = (uint8_t)state;
}

Status cell_alloc(Frame *f, Cell *x, DType t, int rank, const int64_t *dim) {
  size_t bytes, got;
  TRY(checked_bytes(f, t, rank, dim, &bytes));
  cell_clear(f, x);
  Buf *b = recycler_get(f->recycler, f->c->alloc, bytes + BUF_HEAD, &got);
  if (!b)
    ctx_out_of_memory(f->c, bytes);
  *b = (Buf){.next = f->bufs, .bytes = got, .refs = 1};
  if (f->bufs)
    f->bufs->prev = b;
  f->bufs = b;
  set_tensor(x, t, rank, dim, (char *)b + BUF_HEAD, CELL_BUF);
  x->buf = b;
  return ST_OK;
}

/* What was inferred before the run must hold in the run: a disagreement is a bug of ours, not to be papered over. */
static Status check_inferred(Frame *f, uint32_t i, DType t, int rank, const int64_t *dim) {
  const ProgSlot *s = rt_slot(f->p, i);
  int64_t want;
  char a[200];
  if (s->vkind == VK_TENSOR && s->dtype && s->dtype != t)
    return fail(f->c, ST_INTERNAL, "evaluation gives %s where inference found %s", dtype_name(t), dtype_name(s->dtype));
  if (s->vkind != VK_TENSOR || s->rank < 0)
    return ST_OK;
  if (s->rank != rank)
    return fail(f->c, ST_INTERNAL, "evaluation gives %s where inference found rank %d",
                shape_text(rank, dim, a, sizeof a), s->rank);
  for (int k = 0; k < rank; k++)
    if (rt_symbols_eval(&f->sym, rt_list(f->p, s->dims + (uint32_t)k), &want) && want != dim[k])
      return fail(f->c, ST_INTERNAL, "evaluation gives %s where inference found %lld in dimension %d",
                  shape_text(rank, dim, a, sizeof a), (long long)want, k);
  return ST_OK;
}

bool output_fits(const RtOutput *o, DType t, int rank, const int64_t *dim) {
  return o->into && o->wanted && o->into->dtype == t && tensor_aligned(o->into) && o->into->rank == rank &&
         t != DT_str && (!rank || !memcmp(o->into->dim, dim, (size_t)rank * sizeof *dim));
}

/* The bits of the last byte that belong to no element, whoever writes the elements. What may stand there is kept: a step in
 * place. */
static void clear_padding(const Tensor *t, size_t bytes) {
  int64_t used = bytes && dtype_bits(t->dtype) < 8 ? tensor_count(t) % 8 * dtype_bits(t->dtype) % 8 : 0;
  if (used)
    ((uint8_t *)t->data)[bytes - 1] &= (uint8_t)((1u << used) - 1);
}

Status slot_alloc(Frame *f, uint32_t i, DType t, int rank, const int64_t *dim, Tensor **out) {
  Cell *x = &f->cell[i];
  size_t bytes;
  TRY(checked_bytes(f, t, rank, dim, &bytes));
  TRY(check_inferred(f, i, t, rank, dim));
  RtOutput *o = f->out_of[i] == PROG_NONE ? NULL : &f->out[f->out_of[i]];
  if (f->layout->offset[i] != UINT64_MAX && !f->ahead) {
    if (f->layout->offset[i] + bytes >
        f->layout->arena) /* a symbol was bound again: only a damaged program does that */
      return fail(f->c, ST_INTERNAL, "an output of %zu bytes does not fit the place planned for it", bytes);
    cell_clear(f, x);
    set_tensor(x, t, rank, dim, f->arena + f->layout->offset[i], CELL_ARENA);
  } else if (o && !o->device && output_fits(o, t, rank, dim)) {
    cell_clear(f, x);
    set_tensor(x, t, rank, dim, o->into->data, CELL_STATIC);
    o->in_place = true;
  } else {
    TRY(cell_alloc(f, x, t, rank, dim));
  }
  clear_padding(&x->t, bytes);
  *out = &x->t;
  return ST_OK;
}

Status slot_share(Frame *f, uint32_t i, const Cell *src, DType t, int rank, const int64_t *dim, Tensor **out) {
  Cell *x = &f->cell[i];
  TRY(check_inferred(f, i, t, rank, dim));
  cell_share(f, x, src);
  x->t.dtype = t, x->t.rank = (int8_t)rank;
  memset(x->t.dim, 0, sizeof x->t.dim);
  if (rank)
    memcpy(x->t.dim, dim, (size_t)rank * sizeof *dim);
  *out = &x->t;
  return ST_OK;
}
