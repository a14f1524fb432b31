/* models.h - small ONNX models written by hand, for tests of the importer. Lists are words in a string.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_FRONTEND_MODELS_H
#define SARD_TESTS_FRONTEND_MODELS_H

#include "tests/frontend/pb.h"

#include <stdio.h>

/* Each word of text as a string field; "-" is the empty string. */
static inline void put_words(Pb *p, uint32_t field, const char *text) {
  for (const char *w = text; *w; w += strspn(w, " ")) {
    size_t n = strcspn(w, " ");
    pb_bytes(p, field, w, n == 1 && *w == '-' ? 0 : n);
    w += n;
  }
}

/* dims: numbers, names, "?" for an unnamed one; NULL: unknown rank. */
static inline void put_type(Pb *info, int dtype, const char *dims) {
  Pb type = {0}, tensor = {0}, shape = {0};
  pb_int(&tensor, 1, dtype);
  if (dims) {
    for (const char *w = dims; *w; w += strspn(w, " ")) {
      size_t n = strcspn(w, " ");
      Pb d = {0};
      char *end;
      long long v = strtoll(w, &end, 10);
      if (end == w + n)
        pb_int(&d, 1, v);
      else if (*w != '?')
        pb_bytes(&d, 2, w, n);
      pb_msg(&shape, 1, &d);
      w += n;
    }
    pb_msg(&tensor, 2, &shape);
  }
  pb_msg(&type, 1, &tensor);
  pb_msg(info, 2, &type);
}

enum { GRAPH_INPUT = 11, GRAPH_OUTPUT = 12, GRAPH_INFO = 13, F32 = 1, I64 = 7, BOOL = 9 };

/* dtype 0: no type. dims NULL: unknown rank. */
static inline void put_value(Pb *graph, uint32_t field, const char *name, int dtype, const char *dims) {
  Pb info = {0};
  pb_str(&info, 1, name);
  if (dtype)
    put_type(&info, dtype, dims);
  pb_msg(graph, field, &info);
}

static inline void put_meta(Pb *p, uint32_t field, const char *key, const char *value) {
  Pb e = {0};
  pb_str(&e, 1, key);
  pb_str(&e, 2, value);
  pb_msg(p, field, &e);
}

static inline Pb node(const char *name, const char *op, const char *in, const char *out) {
  Pb n = {0};
  put_words(&n, 1, in);
  put_words(&n, 2, out);
  pb_str(&n, 3, name);
  pb_str(&n, 4, op);
  return n;
}

static inline void attr_int(Pb *n, const char *name, int64_t v) {
  Pb a = {0};
  pb_str(&a, 1, name);
  pb_int(&a, 3, v);
  pb_int(&a, 20, 2);
  pb_msg(n, 5, &a);
}

static inline void attr_float(Pb *n, const char *name, float v) {
  Pb a = {0};
  pb_str(&a, 1, name);
  pb_f32(&a, 2, v);
  pb_int(&a, 20, 1);
  pb_msg(n, 5, &a);
}

static inline void attr_ints(Pb *n, const char *name, const int64_t *v, size_t count) {
  Pb a = {0};
  pb_str(&a, 1, name);
  for (size_t i = 0; i < count; i++)
    pb_int(&a, 8, v[i]);
  pb_int(&a, 20, 7);
  pb_msg(n, 5, &a);
}

static inline void attr_graph(Pb *n, const char *name, Pb *g) {
  Pb a = {0};
  pb_str(&a, 1, name);
  pb_msg(&a, 6, g);
  pb_int(&a, 20, 5);
  pb_msg(n, 5, &a);
}

static inline void attr_ref(Pb *n, const char *name, const char *of, int type) {
  Pb a = {0};
  pb_str(&a, 1, name);
  pb_str(&a, 21, of);
  pb_int(&a, 20, type);
  pb_msg(n, 5, &a);
}

static inline void put_node(Pb *graph, Pb *n) { pb_msg(graph, 1, n); }

static inline void put_op(Pb *graph, const char *name, const char *op, const char *in, const char *out) {
  Pb n = node(name, op, in, out);
  put_node(graph, &n);
}

static inline Pb tensor_of(const char *name, int dtype, const int64_t *dim, int rank, const void *data, size_t bytes) {
  Pb t = {0};
  for (int i = 0; i < rank; i++)
    pb_int(&t, 1, dim[i]);
  pb_int(&t, 2, dtype);
  pb_str(&t, 8, name);
  pb_bytes(&t, 9, data, bytes);
  return t;
}

static inline void put_ints(Pb *graph, const char *name, const int64_t *v, int64_t n) {
  Pb t = tensor_of(name, I64, &n, 1, v, (size_t)n * 8);
  pb_msg(graph, 5, &t);
}

static inline void put_floats(Pb *graph, const char *name, const float *v, int64_t n) {
  Pb t = tensor_of(name, F32, &n, 1, v, (size_t)n * 4);
  pb_msg(graph, 5, &t);
}

static inline void put_opset(Pb *model, uint32_t field, const char *domain, int64_t version) {
  Pb o = {0};
  pb_str(&o, 1, domain);
  pb_int(&o, 2, version);
  pb_msg(model, field, &o);
}

/* A model around graph, which is freed. */
static inline Pb model_of(Pb *graph, int ir, int opset) {
  Pb m = {0};
  pb_int(&m, 1, ir);
  pb_str(graph, 2, "main");
  pb_msg(&m, 7, graph);
  if (opset)
    put_opset(&m, 8, "", opset);
  return m;
}

/* A function of domain "local" with opset 20; its nodes are put with put_node_of. */
static inline Pb function(const char *name, const char *in, const char *out) {
  Pb f = {0};
  pb_str(&f, 1, name);
  put_words(&f, 4, in);
  put_words(&f, 5, out);
  pb_str(&f, 10, "local");
  return f;
}

static inline void function_node(Pb *f, Pb *n) { pb_msg(f, 7, n); }

static inline Pb call(const char *name, const char *fn, const char *in, const char *out) {
  Pb n = node(name, fn, in, out);
  pb_str(&n, 7, "local");
  return n;
}

#endif
