/* microsoft_positions.c - rotations and biases by position of com.microsoft.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/microsoft.h"
#include "frontend/nodes.h"

/* --- RotaryEmbedding --- */

/* One offset for all rows as position_ids: [batch, seq]. */
static Status positions(Upgrade *u, const char *offset, const char **ids) {
  const Type *x = raw_type(u, raw_in(u, 0));
  RawAttr axis = raw_int_attr("axis", 0);
  if (!x)
    return raw_unsupported(u, "has an input of unknown rank");
  const char *batch = raw_extent(u, raw_in(u, 0), 0), *seq = raw_extent(u, raw_in(u, 0), x->rank == 4 ? 2 : 1);
  const char *shape = raw_put(u, "Concat", NULL, NAMES(batch, seq), 1, &axis);
  *ids = raw_two(u, "Expand", raw_two(u, "Add", raw_count(u, seq), offset), shape);
  return ST_OK;
}

/* X, position_ids, cos, sin. */
Status microsoft_rotary(Upgrade *u) {
  const Type *t = raw_type(u, raw_in(u, 1));
  const char *ids = raw_in(u, 1);
  if (raw_int(u, "is_packed_batching", 0))
    return raw_unsupported(u, "packs its batches");
  if (raw_float(u, "scale", 1) != 1)
    return raw_unsupported(u, "scales its result");
  if (!t)
    return raw_unsupported(u, "has position_ids of unknown rank");
  if (t->rank != 2)
    TRY(positions(u, ids, &ids));
  RawAttr attr[] = {raw_int_attr("interleaved", raw_int(u, "interleaved", 0)),
                    raw_int_attr("rotary_embedding_dim", raw_int(u, "rotary_embedding_dim", 0)),
                    raw_int_attr("num_heads", raw_int(u, "num_heads", 0))};
  const char *const in[] = {raw_in(u, 0), raw_in(u, 2), raw_in(u, 3), ids};
  return raw_become(u, "RotaryEmbedding", 4, in, attr[2].i ? 3 : 2, attr);
}

/* --- MRotaryEmbedding: three positions of each row, of time, height and width --- */

enum { MOST_ANGLES = 4096 };

/* Which of the three each angle is of: behind each other, or (interleaved) every third from the second on of the height and from the
 * third on of the width, as far as their sections reach. */
static Status sections(Upgrade *u, int64_t *which, uint32_t *n) {
  const RawAttr *s = raw_find(u, "mrope_section", RA_INTS);
  int64_t total = 0, layout = raw_int(u, "mrope_layout", 0);
  bool good = s && s->n == 3 && (layout == 0 || layout == 1);
  for (uint32_t i = 0; good && i < 3; i++) {
    good = s->ints[i] >= 0 && s->ints[i] <= MOST_ANGLES;
    total += good ? s->ints[i] : 0;
  }
  if (!good || total < 1 || total > MOST_ANGLES)
    return raw_unsupported(u, "has sections of no, or of too great, extent");
  for (int64_t i = 0; i < total; i++)
    if (layout)
      which[i] = i % 3 && i < 3 * s->ints[i % 3] ? i % 3 : 0;
    else
      which[i] = i < s->ints[0] ? 0 : i < s->ints[0] + s->ints[1] ? 1 : 2;
  *n = (uint32_t)total;
  return ST_OK;
}

/* The rows of a table at all positions, [3, batch, seq, angles], each angle by the position it is of: [batch, seq, angles]. */
static const char *mixed(Upgrade *u, const char *table, const char *which) {
  RawAttr axis = raw_int_attr("axis", 0);
  const char *rows = raw_put(u, "Gather", NULL, NAMES(table, raw_in(u, 1)), 1, &axis), *of[3];
  for (int64_t i = 0; i < 3; i++) {
    RawAttr index = raw_int_attr("value_int", i);
    const char *at = raw_put(u, "Constant", NULL, 0, NULL, 1, &index);
    of[i] = raw_put(u, "Gather", NULL, NAMES(rows, at), 1, &axis);
  }
  for (int64_t i = 1; i < 3; i++)
    of[0] = raw_put(u, "Where", NULL, NAMES(raw_two(u, "Equal", which, raw_ints(u, INTS(i))), of[i], of[0]), 0, NULL);
  return of[0];
}

/* X, position_ids, cos, sin. */
Status microsoft_sections_rotary(Upgrade *u) {
  RawAttr attr[] = {raw_int_attr("interleaved", raw_int(u, "interleaved", 0)),
                    raw_int_attr("rotary_embedding_dim", raw_int(u, "rotary_embedding_dim", 0)),
                    raw_int_attr("num_heads", raw_int(u, "num_heads", 0))};
  int64_t *which = arena_array(u->a, int64_t, MOST_ANGLES);
  uint32_t n;
  if (raw_int(u, "is_packed_batching", 0) || raw_float(u, "scale", 1) != 1)
    return raw_unsupported(u, "packs its batches or scales its result");
  TRY(sections(u, which, &n));
  const char *list = raw_ints(u, n, which);
  const char *cos = mixed(u, raw_in(u, 2), list), *sin = mixed(u, raw_in(u, 3), list);
  return raw_become(u, "RotaryEmbedding", NAMES(raw_in(u, 0), cos, sin), attr[2].i ? 3 : 2, attr);
}

/* --- GatedRelativePositionBias: query, its bias, rel_pos, weight, bias, eco_a ---
 *
 *   u, r = sigmoid of the sums over the halves of (query weight + bias);   rel_pos * (u (r eco_a - 1) + 2) */

static const char *number(Upgrade *u, float v, const char *like) {
  return raw_two(u, "CastLike", raw_real(u, v), like);
}

Status microsoft_gated_bias(Upgrade *u) {
  int64_t heads = raw_int(u, "num_heads", 0);
  RawAttr drop = raw_int_attr("keepdims", 0), last = raw_int_attr("axis", -1), two = raw_int_attr("num_outputs", 2);
  const char *x = raw_in(u, 0), *part[2];
  TRY(raw_refuse_inputs(u, 6, "has packed rows"));
  if (heads < 1)
    return raw_unsupported(u, "has no heads");
  x = raw_heads(u, raw_two(u, "Add", x, raw_in(u, 1)), heads);
  x = raw_two(u, "Add", raw_two(u, "MatMul", x, raw_in(u, 3)), raw_in(u, 4));
  x = raw_two(u, "Reshape", x, raw_ints(u, INTS(0, 0, 0, 2, -1)));
  x = raw_put(u, "ReduceSum", NULL, NAMES(x, raw_ints(u, INTS(-1))), 1, &drop);
  x = raw_put(u, "Sigmoid", NULL, NAMES(x), 0, NULL);
  raw_put_many(u, "Split", 2, part, NAMES(x), 2, (RawAttr[]){last, two});
  x = raw_two(u, "Sub", raw_two(u, "Mul", part[1], raw_in(u, 5)), number(u, 1, raw_in(u, 0)));
  x = raw_two(u, "Add", raw_two(u, "Mul", part[0], x), number(u, 2, raw_in(u, 0)));
  return raw_become(u, "Mul", NAMES(x, raw_in(u, 2)), 0, NULL);
}
