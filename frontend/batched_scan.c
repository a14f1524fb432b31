/* batched_scan.c - Scan of opset 8, which scanned a batch: all values had a leading batch dimension, each sample was scanned by
 * itself, and sequence_lens, if given, said how much of it. That is a Scan over the batch around a Scan over the sequence:
 * the outer one has no states, and stacks what the inner one gives.
 *
 * Of a sample that is shorter than others its beginning alone is scanned, backwards too, and what is stacked has zeros behind
 * it, where ONNX leaves open what is there.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/nodes.h"

#include <string.h>

typedef struct Batched {
  Upgrade *u;
  const RawAttr *body, *scans, *dir; /* of the old node */
  uint32_t nin, nout, nstate;        /* without sequence_lens */
  const char **in, **out;            /* of a sample */
  RawNode *node;                     /* of the outer body */
  uint32_t nnode;
} Batched;

static const char *fresh(Upgrade *u, const char *base) { return u->fresh(u->arg, base); }

static Status open_batched(Upgrade *u, Batched *b) {
  *b = (Batched){.u = u, .nin = u->n.nin ? u->n.nin - 1 : 0, .nout = u->n.nout};
  for (uint32_t i = 0; i < u->n.nattr; i++) {
    const RawAttr *t = &u->n.attr[i];
    const RawAttr **to = !strcmp(t->name, "body")              ? &b->body
                         : !strcmp(t->name, "num_scan_inputs") ? &b->scans
                         : !strcmp(t->name, "directions")      ? &b->dir
                                                               : NULL;
    if (!to)
      return fail(u->c, ST_INVALID, "attribute '%s' is not one of this operator's", t->name);
    *to = t;
  }
  if (!b->body || b->body->type != RA_GRAPH || !b->scans || b->scans->type != RA_INT)
    return fail(u->c, ST_INVALID, "attributes 'body' and 'num_scan_inputs' are needed");
  if (b->dir && b->dir->type != RA_INTS)
    return fail(u->c, ST_INVALID, "attribute 'directions' has the wrong type");
  if (b->scans->i < 1 || b->scans->i > b->nin)
    return fail(u->c, ST_INVALID, "num_scan_inputs is %lld with %u inputs", (long long)b->scans->i, b->nin);
  b->nstate = b->nin - (uint32_t)b->scans->i;
  if (b->nstate > b->nout)
    return fail(u->c, ST_INVALID, "%u states, but %u outputs", b->nstate, b->nout);
  b->in = arena_array(u->a, const char *, b->nin), b->out = arena_array(u->a, const char *, b->nout);
  for (uint32_t i = 0; i < b->nin; i++)
    b->in[i] = fresh(u, u->n.in[i + 1]);
  for (uint32_t i = 0; i < b->nout; i++)
    b->out[i] = fresh(u, *u->n.out[i] ? u->n.out[i] : "scan");
  b->node = arena_array(u->a, RawNode, 2 * (size_t)b->nin + 2 * (size_t)b->nout + 16);
  return ST_OK;
}

static const char *put(Batched *b, RawNode n, RawAttr attr) {
  n.attr = attr.name ? arena_copy(b->u->a, &attr, sizeof attr) : NULL, n.nattr = attr.name != NULL;
  b->node[b->nnode++] = n;
  return n.out[0];
}

#define PUT(b, attr, op, ...) put(b, RAW_NODE((b)->u, op, fresh((b)->u, op), __VA_ARGS__), attr)

static const char *number(Batched *b, int64_t v) {
  return put(b, raw_node(b->u, "Constant", fresh(b->u, "number"), 0, NULL),
             raw_ints_attr("value_ints", 1, arena_copy(b->u->a, &v, sizeof v)));
}

/* The scan of one sample, or of its beginning. */
static void put_inner(Batched *b, const char *const *in, const char *const *out) {
  Upgrade *u = b->u;
  RawAttr *attr = arena_array(u->a, RawAttr, 4);
  attr[0] = *b->body, attr[1] = *b->scans;
  attr[2] = raw_ints_attr("scan_input_axes", (uint32_t)b->scans->i, arena_array(u->a, int64_t, (size_t)b->scans->i));
  if (b->dir) {
    attr[3] = *b->dir;
    attr[3].name = "scan_input_directions";
  }
  RawNode n = u->n;
  n.in = arena_copy(u->a, in, b->nin * sizeof *in), n.nin = b->nin;
  n.out = arena_copy(u->a, out, b->nout * sizeof *out), n.nout = b->nout;
  n.attr = attr, n.nattr = b->dir ? 4 : 3, n.newest = true;
  b->node[b->nnode++] = n;
}

/* Split checks that a length is one: 0 at least, and no more than there is. */
static void put_beginning(Batched *b, const char *length) {
  Upgrade *u = b->u;
  const RawAttr none = {0}, front = raw_int_attr("axis", 0), one = raw_int_attr("end", 1);
  const char *zero = number(b, 0), **in = arena_copy(u->a, b->in, b->nin * sizeof *in);
  const char **out = arena_copy(u->a, b->out, b->nout * sizeof *out);
  const char *n = PUT(b, none, "Unsqueeze", length, zero), *most = PUT(b, one, "Shape", b->in[b->nstate]);
  const char *rest = PUT(b, none, "Sub", most, n), *parts = PUT(b, front, "Concat", n, rest);
  for (uint32_t i = b->nstate; i < b->nin; i++) {
    RawNode split = RAW_NODE(u, "Split", "", b->in[i], parts);
    const char *both[] = {in[i] = fresh(u, b->in[i]), fresh(u, b->in[i])};
    split.out = arena_copy(u->a, both, sizeof both), split.nout = 2;
    put(b, split, front);
  }
  for (uint32_t i = b->nstate; i < b->nout; i++)
    out[i] = fresh(u, b->out[i]);
  put_inner(b, in, out);
  const char *pads = PUT(b, front, "Concat", zero, rest);
  for (uint32_t i = b->nstate; i < b->nout; i++)
    put(b, RAW_NODE(u, "Pad", b->out[i], out[i], pads, "", zero), none);
}

static RawValueInfo *infos(Upgrade *u, const char *const *name, uint32_t n) {
  RawValueInfo *list = arena_array(u->a, RawValueInfo, n);
  for (uint32_t i = 0; i < n; i++)
    list[i] = (RawValueInfo){.name = name[i], .doc = ""};
  return list;
}

/* sequence_lens, if any, is scanned behind the others: it is a number of each sample. */
Status batched_scan(Upgrade *u) {
  Batched b;
  TRY(open_batched(u, &b));
  const char *lengths = *u->n.in[0] ? u->n.in[0] : NULL, *length = lengths ? fresh(u, lengths) : NULL;
  uint32_t nin = b.nin + (lengths != NULL);
  const char **in = arena_array(u->a, const char *, nin), **inside = arena_array(u->a, const char *, nin);
  memcpy(in, u->n.in + 1, b.nin * sizeof *in), memcpy(inside, b.in, b.nin * sizeof *in);
  if (lengths) {
    in[b.nin] = lengths, inside[b.nin] = length;
    put_beginning(&b, length);
  } else {
    put_inner(&b, b.in, b.out);
  }
  RawGraph *g = arena_new(u->a, RawGraph);
  *g = (RawGraph){.name = b.body->graph[0]->name,
                  .doc = "",
                  .node = b.node,
                  .nnode = b.nnode,
                  .in = infos(u, inside, nin),
                  .nin = nin,
                  .out = infos(u, b.out, b.nout),
                  .nout = b.nout};
  const RawGraph **list = arena_new(u->a, const RawGraph *);
  list[0] = g;
  RawAttr *outer = arena_array(u->a, RawAttr, 2);
  outer[0] = (RawAttr){.name = "body", .ref = "", .doc = "", .type = RA_GRAPH, .n = 1, .graph = list};
  outer[1] = raw_int_attr("num_scan_inputs", nin);
  u->n.in = in, u->n.nin = nin, u->n.attr = outer, u->n.nattr = 2;
  return ST_OK;
}
