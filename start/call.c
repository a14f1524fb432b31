/* call.c - what the header of a compiled model declares: runs with the model's own structs, runs with tensors, and queries.
 * SPDX-License-Identifier: Apache-2.0 */
#include "start/call.h"

#include <string.h>

/* Where two libraries have one prefix, the dynamic linker takes one's functions for the instances of both. */
static bool is_own(const sard_compiled *m) { return m && m->package == compiled_package; }

static sard_status refuse(const sard_compiled *m, const char *call) {
  if (!m)
    return error_new(SARD_ERROR_USAGE, NULL, "%s: NULL argument", call);
  return error_new(SARD_ERROR_USAGE, NULL, "%s: the instance is one of another compiled model with the same prefix",
                   call);
}

/* --- typed runs --- */

/* The inputs' struct: one int64_t per symbol of the input shapes, then one pointer per input; the outputs' one pointer each. */
typedef struct Typed {
  const sard_compiled *m;
  const int64_t *symbol;
  const void *const *in;
  sard_tensor *tensor;
} Typed;

static Status gather(Ctx *c, void *arg) {
  Typed *x = arg;
  const sard_model *s = &x->m->model;
  uint32_t nsymbol = (uint32_t)sard_symbol_count(s), nin = (uint32_t)sard_input_count(s);
  x->tensor = arena_array(arena_create(c), sard_tensor, nin + 1u);
  for (uint32_t i = 0; i < nin; i++) {
    sard_tensor *t = &x->tensor[i];
    sard_io io = SARD_IO_INIT;
    int rank;
    sard_input(s, i, &io);
    if (!x->in[i] && io.optional)
      continue;
    TRY(rt_input_shape(s->program, c, x->symbol, nsymbol, i, t->dim, &rank));
    t->rank = rank, t->dtype = io.dtype, t->data = (void *)(uintptr_t)x->in[i];
    if (!t->data && sard_tensor_count(t))
      return fail(c, ST_USAGE, "input '%s' is not given", io.name);
  }
  return ST_OK;
}

/* The inputs as tensors, in c. */
static sard_status open_typed(Ctx *c, Typed *x, const sard_compiled *m, const void *in) {
  env_prepare(m->env, c, 0, NULL);
  x->m = m, x->symbol = in;
  x->in = (const void *const *)(const void *)(x->symbol + sard_symbol_count(&m->model));
  return ctx_protect(c, gather, x) ? error_from(c, NULL) : SARD_OK;
}

/* Room for every output that is wanted. */
static sard_status gather_outputs(const Typed *x, const void *const *out, sard_tensor *t) {
  const sard_model *s = &x->m->model;
  for (size_t i = 0; i < sard_output_count(s); i++) {
    sard_io io = SARD_IO_INIT;
    sard_output(s, i, &io);
    if (!out[i])
      continue;
    t[i].data = (void *)(uintptr_t)out[i], t[i].dtype = io.dtype;
    sard_status st = sard_output_shape(s, i, x->tensor, sard_input_count(s), t[i].dim, &t[i].rank, NULL);
    if (st)
      return st;
  }
  return SARD_OK;
}

typedef struct Room {
  size_t n;
  sard_tensor *t;
} Room;

static Status make_room(Ctx *c, void *arg) {
  Room *r = arg;
  r->t = arena_array(arena_create(c), sard_tensor, r->n);
  return ST_OK;
}

sard_status compiled_run(const sard_compiled *m, const void *in, const void *out) {
  Typed x;
  Ctx c;
  if (!is_own(m) || !in || !out)
    return refuse(in && out ? m : NULL, "run");
  Room room = {.n = sard_output_count(&m->model)};
  sard_status st = open_typed(&c, &x, m, in);
  if (!st && ctx_protect(&c, make_room, &room))
    st = error_from(&c, NULL);
  if (!st)
    st = gather_outputs(&x, out, room.t);
  if (!st)
    st = sard_run_into(&m->model, x.tensor, sard_input_count(&m->model), room.t, room.n, NULL, NULL);
  ctx_close(&c);
  return st;
}

sard_status compiled_output_shape(const sard_compiled *m, const void *in, size_t output, int64_t *dim, int32_t *rank) {
  Typed x;
  Ctx c;
  if (!is_own(m) || !in)
    return refuse(in ? m : NULL, "output_shape");
  sard_status st = open_typed(&c, &x, m, in);
  if (!st)
    st = sard_output_shape(&m->model, output, x.tensor, sard_input_count(&m->model), dim, rank, NULL);
  ctx_close(&c);
  return st;
}

/* --- runs with tensors --- */

sard_status compiled_call(const sard_compiled *m, const sard_tensor *in, size_t n, sard_result **out) {
  return is_own(m) ? sard_run(&m->model, in, n, NULL, out, NULL) : refuse(m, "call");
}

sard_status compiled_call_into(const sard_compiled *m, const sard_tensor *in, size_t n, const sard_tensor *out,
                               size_t nout) {
  return is_own(m) ? sard_run_into(&m->model, in, n, out, nout, NULL, NULL) : refuse(m, "call_into");
}

/* --- queries --- */

#define MODEL(m) (is_own(m) ? &(m)->model : NULL)

size_t compiled_input_count(const sard_compiled *m) { return sard_input_count(MODEL(m)); }
size_t compiled_output_count(const sard_compiled *m) { return sard_output_count(MODEL(m)); }
sard_status compiled_input(const sard_compiled *m, size_t i, sard_io *io) { return sard_input(MODEL(m), i, io); }
sard_status compiled_output(const sard_compiled *m, size_t i, sard_io *io) { return sard_output(MODEL(m), i, io); }
size_t compiled_symbol_count(const sard_compiled *m) { return sard_symbol_count(MODEL(m)); }
const char *compiled_symbol_name(const sard_compiled *m, size_t i) { return sard_symbol_name(MODEL(m), i); }

const char *compiled_input_dim_text(const sard_compiled *m, size_t i, int axis) {
  return sard_input_dim_text(MODEL(m), i, axis);
}

const char *compiled_output_dim_text(const sard_compiled *m, size_t i, int axis) {
  return sard_output_dim_text(MODEL(m), i, axis);
}

size_t compiled_memory_peak(const sard_compiled *m) {
  return m ? atomic_load(&m->env->alloc.peak) : 0; /* not sard_env_memory: there is no default environment here */
}
