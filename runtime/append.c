/* append.c - how caches lie in memory in one run (ProgAppend): as dense tensors, or with room for more rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/internal.h"

#include <string.h>

/* Code steps through the caller's memory by the room that was said: it must be computed there and nowhere else. */
static Status check_output(const Symbols *s, Ctx *c, const ProgAppend *x, const RtOutput *o, const int64_t *dim) {
  const ProgPort *port = rt_output(s->p, x->output);
  const ProgSlot *slot = rt_slot(s->p, port->slot);
  char have[200], want[200];
  if (o->into && output_fits(o, (DType)slot->dtype, slot->rank, dim))
    return ST_OK;
  Tensor t = {.kind = VK_TENSOR, .dtype = (DType)slot->dtype, .rank = slot->rank};
  memcpy(t.dim, dim, (size_t)slot->rank * sizeof *dim);
  return fail(c, ST_USAGE, "output '%s' is %s but the memory given for it is %s", rt_string(s->p, port->name),
              tensor_type_text(&t, have, sizeof have),
              o->into ? tensor_type_text(o->into, want, sizeof want) : "not there");
}

static Status too_little(const Symbols *s, Ctx *c, const ProgPort *port, int64_t room, int64_t rows) {
  return fail(c, ST_USAGE, "the memory given for '%s' has room for %lld rows, not for %lld",
              rt_string(s->p, port->name), (long long)room, (long long)rows);
}

static Status bind(Symbols *s, Ctx *c, const ProgAppend *x, const RtRoom *r, const Tensor *past, const RtOutput *o) {
  const ProgSlot *slot = rt_slot(s->p, rt_output(s->p, x->output)->slot);
  int64_t dim[MAX_RANK], before = past->dim[x->axis];
  bool known = rt_symbols_dims(s, slot, dim); /* if not, the step that makes it words the error */
  int64_t after = known ? dim[x->axis] : 0;
  if (r->past && r->past < before)
    return too_little(s, c, rt_input(s->p, x->input), r->past, before);
  if (r->present && r->present < after)
    return too_little(s, c, rt_output(s->p, x->output), r->present, after);
  if (known && (r->present || r->in_place))
    TRY(check_output(s, c, x, o, dim));
  rt_symbols_bind(s, x->past_room, r->past ? r->past : before);
  rt_symbols_bind(s, x->copied, r->in_place ? 0 : before);
  if (known)
    rt_symbols_bind(s, x->present_room, r->present ? r->present : after);
  return ST_OK;
}

Status appends_bind(Symbols *s, Ctx *c, const RtRoom *room, const Tensor *const *in, const RtOutput *out) {
  static const RtRoom dense = {0};
  for (uint32_t i = 0; i < rt_count(s->p, SEC_APPENDS); i++) {
    const ProgAppend *x = rt_append(s->p, i);
    TRY(bind(s, c, x, room ? &room[i] : &dense, in[x->input], out ? &out[x->output] : NULL));
  }
  return ST_OK;
}
