/* sequence_map.c - SequenceMap (17) as the loop that ONNX defines it by: in each trip the body sees one item of every sequence,
 * and tensors as they are; what it gives is put at the end of the output sequences.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/upgrade.h"

#include <string.h>

static const char *fresh(Upgrade *u, const char *base) { return u->fresh(u->arg, base); }

static Status put_before(Upgrade *u, RawNode n) {
  if (u->nbefore == sizeof u->before / sizeof u->before[0])
    return fail(u->c, ST_UNSUPPORTED, "SequenceMap with so many inputs or outputs");
  u->before[u->nbefore++] = n;
  return ST_OK;
}

/* Values around the map that are called like an input of its body get another name: inside, the name is the item's. */
static Status rename_inputs(Upgrade *u, const RawGraph *map) {
  const char **in = arena_copy(u->a, u->n.in, u->n.nin * sizeof *in);
  for (uint32_t i = 0; i < u->n.nin; i++)
    for (uint32_t k = 0; k < map->nin; k++) {
      if (strcmp(in[i], map->in[k].name))
        continue;
      const char *other = fresh(u, in[i]);
      TRY(put_before(u, RAW_NODE(u, "Identity", other, in[i])));
      in[i] = other;
      break;
    }
  u->n.in = in;
  return ST_OK;
}

/* The empty sequence that output i starts as. */
static Status start(Upgrade *u, const RawValueInfo *out, const char **name) {
  const RawType *t = out->type;
  if (!t || t->kind != RT_TENSOR)
    return fail(u->c, ST_UNSUPPORTED, "SequenceMap whose body does not state the element type of '%s'", out->name);
  RawAttr *dtype = arena_new(u->a, RawAttr);
  *dtype = (RawAttr){.name = "dtype", .ref = "", .doc = "", .type = RA_INT, .i = t->elem_type};
  *name = fresh(u, out->name);
  RawNode n = raw_node(u, "SequenceEmpty", *name, 0, NULL);
  n.attr = dtype, n.nattr = 1;
  return put_before(u, n);
}

/* The loop's body: that of the map between taking items out and putting results in. */
static RawGraph *loop_body(Upgrade *u, const RawGraph *map, const bool *sequence) {
  uint32_t nin = u->n.nin, nout = map->nout, k = 0;
  RawGraph *g = arena_copy(u->a, map, sizeof *map);
  RawNode *list = arena_array(u->a, RawNode, map->nnode + nin + nout + 1u);
  RawValueInfo *in = arena_array(u->a, RawValueInfo, nout + 2u), *out = arena_array(u->a, RawValueInfo, nout + 1u);
  const char *trip = fresh(u, "trip"), *cond = fresh(u, "cond"), *again = fresh(u, "again");
  for (uint32_t i = 0; i < nin; i++)
    list[k++] = sequence[i] ? RAW_NODE(u, "SequenceAt", map->in[i].name, u->n.in[i], trip)
                            : RAW_NODE(u, "Identity", map->in[i].name, u->n.in[i]);
  if (map->nnode)
    memcpy(list + k, map->node, map->nnode * sizeof *list);
  k += map->nnode;
  in[0] = (RawValueInfo){.name = trip, .doc = ""}, in[1] = (RawValueInfo){.name = cond, .doc = ""};
  list[k++] = RAW_NODE(u, "Identity", again, cond);
  out[0] = (RawValueInfo){.name = again, .doc = ""};
  for (uint32_t i = 0; i < nout; i++) {
    in[i + 2] = (RawValueInfo){.name = fresh(u, map->out[i].name), .doc = ""};
    out[i + 1] = (RawValueInfo){.name = fresh(u, map->out[i].name), .doc = ""};
    list[k++] = RAW_NODE(u, "SequenceInsert", out[i + 1].name, in[i + 2].name, map->out[i].name);
  }
  g->node = list, g->nnode = k, g->in = in, g->nin = nout + 2, g->out = out, g->nout = nout + 1;
  return g;
}

Status sequence_map(Upgrade *u) {
  const RawAttr *body = u->n.nattr == 1 && !strcmp(u->n.attr[0].name, "body") ? &u->n.attr[0] : NULL;
  if (!body || body->type != RA_GRAPH || !u->n.nin)
    return fail(u->c, ST_INVALID, "SequenceMap needs a sequence and the attribute 'body' alone");
  const RawGraph *map = body->graph[0];
  if (map->nin != u->n.nin || map->nout < u->n.nout)
    return fail(u->c, ST_INVALID, "SequenceMap of %u inputs and %u outputs, but its body has %u and %u", u->n.nin,
                u->n.nout, map->nin, map->nout);
  const char **in = arena_array(u->a, const char *, map->nout + 2u);
  bool *sequence = arena_array(u->a, bool, u->n.nin);
  for (uint32_t i = 0; i < u->n.nin; i++) {
    const Type *t = u->type(u->arg, u->n.in[i]);
    sequence[i] = !i || (t && t->kind == VK_SEQUENCE);
  }
  TRY(rename_inputs(u, map));
  in[0] = fresh(u, "length"), in[1] = "";
  TRY(put_before(u, RAW_NODE(u, "SequenceLength", in[0], u->n.in[0])));
  for (uint32_t i = 0; i < map->nout; i++)
    TRY(start(u, &map->out[i], &in[i + 2]));
  const RawGraph **list = arena_new(u->a, const RawGraph *);
  list[0] = loop_body(u, map, sequence);
  RawAttr *attr = arena_copy(u->a, body, sizeof *body);
  attr->graph = list;
  u->n.op = "Loop", u->n.in = in, u->n.nin = map->nout + 2, u->n.attr = attr;
  return ST_OK;
}
