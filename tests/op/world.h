/* world.h - a graph under construction, for tests of inference on symbols.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_OP_WORLD_H
#define SARD_TESTS_OP_WORLD_H

#include "tests/op/harness.h"

typedef struct World {
  Harness h;
  Graph *g;
} World;

static int open_world(void **state) {
  World *w = calloc(1, sizeof *w);
  h_open(&w->h);
  w->g = graph_create(&w->h.c, "test");
  *state = w;
  return 0;
}

static int close_world(void **state) {
  World *w = *state;
  graph_destroy(w->g);
  h_close(&w->h);
  free(w);
  return 0;
}

/* "batch, past + seq"; returns their number. */
static int dims_of(World *w, const char *text, Dim *dim) {
  int n = 0;
  for (const char *p = text, *rest; *p; p = *rest == ',' ? rest + 1 : rest) {
    dim[n] = dim_parse_prefix(&w->h.c, p, text + strlen(text), &rest);
    assert_non_null(dim[n++]);
    rest = h_space(rest);
  }
  return n;
}

/* An input of that shape. */
static Value *shaped(World *w, DType t, const char *shape) {
  Dim dim[MAX_RANK];
  int n = dims_of(w, shape, dim);
  return graph_add_input(w->g, "x", type_tensor(t, n, dim));
}

/* A constant: "i64[2] 1 2" */
static Value *constant(World *w, const char *text) { return graph_add_const(w->g, NULL, h_tensor(&w->h, text)); }

#endif
