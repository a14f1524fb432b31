/* test_conv.c - random convolutions with constant weights, for every CPU level: test_conv [GRAPHS [FIRST SEED]].
 *
 * Extents, strides, dilations, padding, groups and channels that fill no whole vectors, in one to three dimensions, images
 * smaller than the window; in front of it, beside it and behind it what the layout pass takes along; quantised ones. Each is judged as the graphs
 * of test_random.c are. SPDX-License-Identifier: Apache-2.0 */
#include "codegen/backend.h"
#include "support/cpu.h"
#include "tests/random/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRAPHS = 24, MAX_AXES = 3 };

typedef struct Shape {
  int axes;
  int64_t in[MAX_AXES], out[MAX_AXES], kernel[MAX_AXES], stride[MAX_AXES], dilation[MAX_AXES], pad[2 * MAX_AXES];
  int64_t channels, rows, group;
} Shape;

static char text[1 << 14];
static size_t used;

#define PUT(...) (used += (size_t)snprintf(text + used, sizeof text - used, __VA_ARGS__))

static void random_shape(Rng *r, int64_t channels, const int64_t *in, Shape *s) {
  for (int i = 0; i < s->axes; i++) {
    s->in[i] = in[i], s->kernel[i] = 1 + rng_below(r, s->axes < 3 && rng_chance(r, 20) ? 7 : 4),
    s->stride[i] = 1 + rng_below(r, 2);
    s->dilation[i] = rng_chance(r, 25) ? 1 + rng_below(r, 6) : 1;
    int64_t reach = (s->kernel[i] - 1) * s->dilation[i];
    s->pad[i] = rng_below(r, reach + 1), s->pad[s->axes + i] = rng_below(r, reach + 1);
    while (s->in[i] + s->pad[i] + s->pad[s->axes + i] <= reach)
      s->pad[i]++;
    s->out[i] = (s->in[i] + s->pad[i] + s->pad[s->axes + i] - reach - 1) / s->stride[i] + 1;
  }
  s->channels = channels, s->group = 1;
  s->rows = channels <= 4 && rng_chance(r, 40) ? 12 + rng_below(r, 5)
                                               : 1 + rng_below(r, 70); /* images, to a vector of channels */
  if (rng_chance(r, 30))
    s->group = s->rows = channels;
  else if (rng_chance(r, 10) && channels % 2 == 0)
    s->group = 2, s->rows += s->rows % 2;
}

static void put_list(const char *name, const int64_t *v, int n) {
  PUT(", %s = [", name);
  for (int i = 0; i < n; i++)
    PUT("%s%lld", i ? ", " : "", (long long)v[i]);
  PUT("]");
}

static void put_conv(Rng *r, const Shape *s, const char *from, const char *to) {
  bool bias = rng_chance(r, 50);
  PUT("  const %%w%s : f32[%lld, %lld", to, (long long)s->rows, (long long)(s->channels / s->group));
  for (int i = 0; i < s->axes; i++)
    PUT(", %lld", (long long)s->kernel[i]);
  PUT("] = #%016llx\n", (unsigned long long)rng_next(r));
  if (bias)
    PUT("  const %%b%s : f32[%lld] = #%016llx\n", to, (long long)s->rows, (unsigned long long)rng_next(r));
  PUT("  %%%s = Conv(%%%s, %%w%s", to, from, to);
  if (bias)
    PUT(", %%b%s", to);
  PUT(") {group = %lld", (long long)s->group);
  put_list("strides", s->stride, s->axes);
  put_list("dilations", s->dilation, s->axes);
  put_list("pads", s->pad, 2 * s->axes);
  PUT("}\n");
}

/* conv, something behind it, conv, and perhaps both joined; the batch, and now and then the extents, are symbols. */
static void random_text(uint64_t seed) {
  static const char *const after[] = {"Relu(%u)",    "HardSwish(%u)", "Add(%u, %u)",
                                      "Mul(%u, %k)", "Mul(%u, %p)",   "GlobalAveragePool(%u)"};
  Rng rng = {seed * 0x9e3779b97f4a7c15u + 1}, *r = &rng;
  Shape a = {.axes = 1 + (int)rng_below(r, MAX_AXES)}, b = {.axes = a.axes};
  int64_t in[MAX_AXES], channels = rng_chance(r, 40) ? 1 + rng_below(r, 4) : 1 + rng_below(r, 40);
  bool symbols = rng_chance(r, 30) && a.axes < 3; /* extents of 3 axes multiply */
  for (int i = 0; i < a.axes; i++)
    in[i] = symbols ? 5 : 1 + rng_below(r, a.axes == 3 ? 6 : 20); /* symbols: extents are for the inputs to say */
  random_shape(r, channels, in, &a);
  random_shape(r, a.rows, a.out, &b);
  for (int i = 0; symbols && i < a.axes; i++) /* whatever they are, the windows fit */
    a.pad[i] += (a.kernel[i] - 1) * a.dilation[i] + 1, b.pad[i] += (b.kernel[i] - 1) * b.dilation[i] + 1;
  int what = (int)rng_below(r, (int64_t)(sizeof after / sizeof *after));
  bool reduced = !strncmp(after[what], "Global", 6);
  used = 0;
  PUT("graph \"conv\" {\n  in %%x : f32[n, %lld", (long long)channels);
  for (int i = 0; i < a.axes; i++)
    symbols ? PUT(", s%d", i) : PUT(", %lld", (long long)in[i]);
  PUT("]\n  const %%k : f32[1, %lld", (long long)a.rows);
  for (int i = 0; i < a.axes; i++)
    PUT(", 1");
  PUT("] = #%016llx\n", (unsigned long long)rng_next(r));
  put_conv(r, &a, "x", "u");
  if (strstr(after[what], "%p"))
    PUT("  %%p = GlobalAveragePool(%%u)\n");
  PUT("  %%v = %s\n", after[what]);
  if (!reduced) {
    put_conv(r, &b, "v", "y");
    if (rng_chance(r, 40))
      PUT("  %%z = Concat(%%u, %%v) {axis = 1}\n  out %%y, %%z\n}\n");
    else
      PUT("  out %%y\n}\n");
  } else {
    PUT("  out %%v\n}\n");
  }
}

/* --- quantised ones, as exporters write them. All scales are powers of two, so that floats are exact and the results equal --- */

static void put_scales(Rng *r, const char *name, int64_t n) {
  PUT("  const %%%s : f32[%lld] = {", name, (long long)n);
  for (int64_t i = 0; i < n; i++)
    PUT("%s%g", i ? ", " : "", 0.0078125 * (double)(1 << rng_below(r, 4)));
  PUT("}\n");
}

static void put_quantisation(Rng *r, const char *type, const char *from, const char *to) {
  int zero = (int)rng_below(r, 256) - (*type == 'i' ? 128 : 0);
  PUT("  const %%s%s : f32[] = {%g}\n", to, 0.03125 * (double)(1 << rng_below(r, 7)));
  PUT("  const %%z%s : %s[] = {%d}\n", to, type, rng_chance(r, 25) ? 0 : zero);
  PUT("  %%%s = QuantizeLinear(%%%s, %%s%s, %%z%s)\n", to, from, to, to);
  PUT("  %%d%s = DequantizeLinear(%%%s, %%s%s, %%z%s)\n", to, to, to, to);
}

/* %to: what is quantised again of the convolution of %dfrom. */
static void put_quantised_conv(Rng *r, const Shape *s, const char *type, const char *from, const char *to) {
  char name[32];
  bool each = rng_chance(r, 60), bias = rng_chance(r, 50), relu = rng_chance(r, 40), middle = rng_chance(r, 20);
  PUT("  const %%w%s : %s[%lld, %lld", to, middle ? "u8" : "i8", (long long)s->rows,
      (long long)(s->channels / s->group));
  for (int i = 0; i < s->axes; i++)
    PUT(", %lld", (long long)s->kernel[i]);
  PUT("] = #%016llx\n", (unsigned long long)rng_next(r));
  snprintf(name, sizeof name, "t%s", to);
  put_scales(r, name, each ? s->rows : 1);
  if (middle)
    PUT("  const %%m%s : u8[] = {128}\n", to);
  if (middle && each) /* as many zero points as scales */
    PUT("  const %%e%s : i64[1] = {%lld}\n  %%mm%s : u8[%lld] = Expand(%%m%s, %%e%s)\n", to, (long long)s->rows, to,
        (long long)s->rows, to, to);
  PUT("  %%f%s = DequantizeLinear(%%w%s, %%t%s%s%s) {axis = 0}\n", to, to, to,
      !middle ? ""
      : each  ? ", %mm"
              : ", %m",
      middle ? to : "");
  if (bias) {
    snprintf(name, sizeof name, "b%s", to);
    put_scales(r, name, s->rows);
  }
  PUT("  %%c%s = Conv(%%d%s, %%f%s%s%s) {group = %lld", to, from, to, bias ? ", %b" : "", bias ? to : "",
      (long long)s->group);
  put_list("strides", s->stride, s->axes);
  put_list("dilations", s->dilation, s->axes);
  put_list("pads", s->pad, 2 * s->axes);
  PUT("}\n");
  if (relu)
    PUT("  %%r%s = Relu(%%c%s)\n", to, to);
  snprintf(name, sizeof name, "%s%s", relu ? "r" : "c", to);
  put_quantisation(r, type, name, to);
}

/* Two of them, and now and then a sum of what both give, or of the second with itself. */
static void random_quantised(uint64_t seed) {
  Rng rng = {seed * 0x9e3779b97f4a7c15u + 7}, *r = &rng;
  Shape a = {.axes = 1 + (int)rng_below(r, MAX_AXES)}, b = {.axes = a.axes};
  int64_t in[MAX_AXES], channels = 1 + rng_below(r, rng_chance(r, 40) ? 4 : 40);
  const char *type = rng_chance(r, 60) ? "u8" : "i8";
  for (int i = 0; i < a.axes; i++)
    in[i] = 1 + rng_below(r, a.axes == 3 ? 6 : 20);
  random_shape(r, channels, in, &a);
  random_shape(r, a.rows, a.out, &b);
  if (rng_chance(r, 40)) { /* the same shape again */
    b.rows = a.rows;
    for (int i = 0; i < a.axes; i++)
      b.kernel[i] = b.stride[i] = b.dilation[i] = 1, b.pad[i] = b.pad[a.axes + i] = 0, b.out[i] = a.out[i];
    b.group = 1;
  }
  bool same = b.rows == a.rows && !memcmp(a.out, b.out, (size_t)a.axes * sizeof *a.out);
  used = 0;
  PUT("graph \"quantised\" {\n  in %%x : f32[n, %lld", (long long)channels);
  for (int i = 0; i < a.axes; i++)
    PUT(", %lld", (long long)in[i]);
  PUT("]\n");
  put_quantisation(r, type, "x", "q");
  put_quantised_conv(r, &a, type, "q", "u");
  put_quantised_conv(r, &b, type, "u", "v");
  if (same) {
    PUT("  %%j = Add(%%dv, %%du)\n");
    put_quantisation(r, type, "j", "y");
  }
  PUT("  out %%%s\n}\n", same ? "y" : "v");
}

static void load_backend(void) { /* once, for all children */
  Alloc alloc;
  Ctx c;
  const EmitApi *api;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  backend_load(&c, &api);
  ctx_close(&c);
}

int main(int argc, char **argv) {
  static const char *const levels[] = {"x86-64-v4-vnni-bf16", "x86-64-v4", "x86-64-v3", "x86-64"};
  long n = argc > 1 ? atol(argv[1]) : GRAPHS, first = argc > 2 ? atol(argv[2]) : 1, passed = 0, failed = 0;
  char why[500];
  load_backend();
  for (long seed = first; seed < first + n; seed++)
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
      if (!cpu_runs(levels[i]) || (i && seed % 2)) /* the others for every second seed */
        continue;
      random_level = levels[i];
      for (int quantised = 0; quantised < 2; quantised++) {
        (quantised ? random_quantised : random_text)((uint64_t)seed);
        Verdict v = judge(text, (uint64_t)seed, why, sizeof why);
        if (v != SAME)
          printf("seed %ld on %s: %s\n%s\n", seed, levels[i], why, text);
        ++*(v == SAME ? &passed : &failed);
      }
    }
  printf("%ld passed, %ld failed\n", passed, failed);
  return failed != 0;
}
