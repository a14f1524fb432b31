/* microsoft_same.c - operators of com.microsoft that ai.onnx has too, in forms that differ in what was allowed earlier or elsewhere.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/microsoft.h"
#include "frontend/nodes.h"

#include <string.h>

/* Those of the same name. */
Status microsoft_same(Upgrade *u) {
  static const char *const known[] = {"axis", "upper"};
  RawAttr attr[countof(known)];
  uint32_t n = raw_kept(u, countof(known), known, attr);
  return raw_become(u, u->n.op, u->n.nin, u->n.in, n, attr);
}

/* A tensor of one element, of whatever rank, as a scalar. */
static const char *scalar(Upgrade *u, const char *x) { return raw_put(u, "Squeeze", NULL, NAMES(x), 0, NULL); }

Status microsoft_range(Upgrade *u) {
  const char *from = scalar(u, raw_in(u, 0)), *to = scalar(u, raw_in(u, 1));
  const char *by = raw_has(u, 2) ? scalar(u, raw_in(u, 2)) : scalar(u, raw_two(u, "CastLike", raw_real(u, 1), from));
  return raw_become(u, "Range", NAMES(from, to, by), 0, NULL);
}

/* data, axis: a number of 32 bits. */
Status microsoft_expand_dims(Upgrade *u) {
  const char *axis = raw_two(u, "Reshape", raw_cast(u, raw_in(u, 1), DT_i64), raw_ints(u, INTS(1)));
  return raw_become(u, "Unsqueeze", NAMES(raw_in(u, 0), axis), 0, NULL);
}

/* data, pads, which may be one row, value, which may be of rank 1. */
Status microsoft_pad(Upgrade *u) {
  static const char *const known[] = {"mode"};
  RawAttr attr[1];
  uint32_t n = raw_kept(u, 1, known, attr);
  const char *pads = raw_two(u, "Reshape", raw_in(u, 1), raw_ints(u, INTS(-1)));
  const char *const in[] = {raw_in(u, 0), pads, raw_has(u, 2) ? scalar(u, raw_in(u, 2)) : ""};
  return raw_become(u, "Pad", raw_has(u, 2) ? 3 : 2, in, n, attr);
}

/* GatherND, whose indices may have 32 bits. */
Status microsoft_gather(Upgrade *u) {
  return raw_become(u, "GatherND", NAMES(raw_in(u, 0), raw_cast(u, raw_in(u, 1), DT_i64)), 0, NULL);
}

/* Modes have the names of opset 16. */
Status microsoft_grid_sample(Upgrade *u) {
  static const char *const known[] = {"align_corners", "padding_mode", "mode"};
  RawAttr attr[countof(known)];
  uint32_t n = raw_kept(u, countof(known), known, attr);
  for (uint32_t i = 0; i < n; i++)
    if (attr[i].type == RA_STRING && str_is(attr[i].s, "bilinear"))
      attr[i].s = str_of("linear");
    else if (attr[i].type == RA_STRING && str_is(attr[i].s, "bicubic"))
      attr[i].s = str_of("cubic");
  return raw_become(u, "GridSample", u->n.nin, u->n.in, n, attr);
}

/* Outputs: values in the order they first occur in, of each element which value it is, how often each occurs. */
Status microsoft_unique(Upgrade *u) {
  RawAttr sorted = raw_int_attr("sorted", 0);
  const char *const out[] = {raw_out(u, 0), "", raw_out(u, 1), raw_out(u, 2)};
  const char *const *names = arena_copy(u->a, out, sizeof out);
  TRY(raw_become(u, "Unique", NAMES(raw_in(u, 0)), 1, &sorted));
  u->n.out = names, u->n.nout = 4;
  return ST_OK;
}

/* CDist: of each row of A from each row of B. */
Status microsoft_distances(Upgrade *u) {
  const RawAttr *metric = raw_find(u, "metric", RA_STRING);
  bool root = metric && str_is(metric->s, "euclidean");
  RawAttr drop = raw_int_attr("keepdims", 0);
  if (metric && !root && !str_is(metric->s, "sqeuclidean"))
    return raw_unsupported(u, "has a metric other than euclidean and sqeuclidean");
  const char *a = raw_two(u, "Unsqueeze", raw_in(u, 0), raw_ints(u, INTS(1))), *d = raw_two(u, "Sub", a, raw_in(u, 1));
  raw_put(u, root ? "ReduceL2" : "ReduceSumSquare", NULL, NAMES(d, raw_ints(u, INTS(-1))), 1, &drop);
  return raw_become_last(u);
}
