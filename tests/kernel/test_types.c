/* test_types.c - element types in compiled code: every cast between two numeric types against the reference evaluator of Cast,
 * for every code of the types of up to 16 bits and for numbers around all limits of the wider ones; loads and stores of packed
 * elements at every alignment.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/schedule.h"
#include "tests/kernel/jit.h"
#include "tests/op/harness.h"

enum { WIDE = 6000, TYPES = DT_count };

static const char *const levels[] = {"x86-64", "x86-64-v3", "x86-64-v4"};

static bool numeric(DType t) { return dtype_valid(t) && t != DT_str && dtype_kind(t) != DK_COMPLEX; }

/* --- the numbers --- */

static uint64_t state = 88172645463325252u;

static uint64_t random_bits(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

/* Around every power of two, halves and ties of the narrow types among them, both signs; then anything at all. */
static double wide_float(int64_t i) {
  static const double special[] = {0.0,      -0.0,       NAN,       -NAN,     INFINITY, -INFINITY,
                                   0x1p-149, 0x1.8p-149, 0x1p-1074, 0x1p-127, 1e300};
  union {
    uint64_t u;
    double d;
    uint32_t w[2];
    float f[2];
  } v = {.u = random_bits()};
  if (i < (int64_t)countof(special))
    return special[i];
  if (i % 4 == 0)
    return v.d;
  if (i % 4 == 1)
    return v.f[0];
  int e = (int)(random_bits() % 330) - 165; /* few bits, and a last one that breaks ties */
  double m = 1 + (double)(random_bits() % 4096) / 4096, tie = (double)((int)(random_bits() % 3) - 1);
  return ldexp(m + ldexp(tie, -(int)(random_bits() % 40) - 12), e) * (random_bits() & 1 ? 1 : -1);
}

static int64_t wide_int(int64_t i) {
  int bits = (int)(random_bits() % 64);
  uint64_t near = ((uint64_t)1 << bits) + random_bits() % 5 - 2;
  return (int64_t)(i % 3 == 0 ? near : i % 3 == 1 ? 0 - near : random_bits() >> (random_bits() % 64));
}

/* All codes of a type of up to 16 bits, twice over for the narrowest, so that vectors and what is left are both met. */
static Tensor *numbers(Harness *h, DType t) {
  int bits = dtype_bits(t);
  int64_t n = bits <= 8 ? 37 * ((int64_t)1 << bits) + 5 : bits == 16 ? 65536 + 3 : WIDE;
  Tensor *x;
  assert_int_equal(tensor_new(&h->c, h->a, t, 1, &n, &x), ST_OK);
  if (t == DT_bool)
    n = n < 512 ? n : 512;
  for (int64_t i = 0; i < n; i++) {
    if (bits < 8)
      elem_set_i64(bits == 2 ? DT_u2 : DT_u4, x->data, i, i);
    if (bits == 6) { /* four in three bytes */
      unsigned at = (unsigned)(i * 6 % 8), code = (unsigned)i & 63;
      uint8_t *p = (uint8_t *)x->data + i * 6 / 8;
      *p = (uint8_t)((*p & ((1u << at) - 1)) | code << at);
      if (at > 2)
        p[1] = (uint8_t)(code >> (8 - at));
    } else if (bits == 8)
      ((uint8_t *)x->data)[i] = (uint8_t)(t == DT_bool ? i & 1 : i);
    else if (bits == 16)
      ((uint16_t *)x->data)[i] = (uint16_t)i;
    else if (bits > 16 && dtype_is_float(t))
      elem_set_f64(t, x->data, i, wide_float(i));
    else if (bits > 16)
      elem_set_i64(t, x->data, i, wide_int(i));
  }
  return x;
}

/* --- casts --- */

typedef struct Target {
  DType t;
  int mode;
} Target;

static int targets(DType from, Target *to) {
  int n = 0;
  for (DType t = 1; t < TYPES; t++) {
    if (!numeric(t) || t == from)
      continue;
    to[n++] = (Target){t, 0};
    if (dtype_is_float(t) && dtype_bits(t) == 8)
      to[n++] = (Target){t, KC_OPEN};
    if (t == DT_f8e8m0) {
      to[n++] = (Target){t, KC_DOWN};
      to[n++] = (Target){t, KC_NEAREST | KC_OPEN};
    }
  }
  return n;
}

/* One kernel that casts x to all of them, a loop each: LLVM takes its time over long blocks. */
static Kernel *cast_kernel(Harness *h, DType from, const Target *to, int n, int lanes) {
  Kernel *k = kernel_create(&h->c, h->a, "casts");
  Dim len = dim_sym(&h->c, "n");
  KBuf *x = kernel_add_buf(k, "x", from, 1, &len, false), *y[64];
  char name[16];
  for (int i = 0; i < n; i++) {
    snprintf(name, sizeof name, "y%d", i);
    y[i] = kernel_add_buf(k, name, to[i].t, 1, &len, true);
  }
  KCursor at = kernel_cursor(k), inside;
  for (int i = 0; i < n; i++) {
    KStmt *f = ks_for(&at, "i", len, &inside);
    f->loop = KL_VECTOR, f->width = (uint16_t)lanes;
    KExpr *index = ke_var(k, f->var);
    KExpr *v = ke_cast_mode(k, to[i].t, ke_load(k, x, &index), to[i].mode);
    if (i & 1) /* through a register, where the store does not see the cast */
      v = ke_var(k, ks_let(&inside, "v", v));
    ks_store(&inside, y[i], &index, v);
  }
  return k;
}

/* The same to the sign, also of zeros and of NaN. */
static bool same_number(DType t, const Tensor *a, const Tensor *b, int64_t i) {
  int bytes = dtype_bits(t) / 8;
  if (bytes && !memcmp((char *)a->data + i * bytes, (char *)b->data + i * bytes, (size_t)bytes))
    return true;
  if (!dtype_is_float(t))
    return elem_i64(t, a->data, i) == elem_i64(t, b->data, i);
  double x = elem_f64(t, a->data, i), y = elem_f64(t, b->data, i);
  return (isnan(x) ? isnan(y) : x == y) && !signbit(x) == !signbit(y);
}

static Tensor *reference(Harness *h, Tensor *x, Target to) {
  CastAttr attr = {.to = to.t, .saturate = !(to.mode & KC_OPEN)};
  Tensor *want[1];
  attr.round_mode = str_of(to.mode & KC_DOWN ? "down" : to.mode & KC_NEAREST ? "nearest" : "up");
  if (h_eval(h, OP_Cast, &attr, 1, &x, 1, NULL, want))
    fail_msg("%s", h->c.err.message);
  return want[0];
}

static void compiled(Harness *h, const char *level, DType from, const Target *to, int n, Tensor *x, Tensor **y) {
  Unit u = {.kind = UNIT_LOOP, .name = "casts"};
  Jit jit;
  void *buf[65] = {x->data};
  int64_t count = tensor_count(x);
  assert_true(jit_open(&jit, level));
  u.kernel = cast_kernel(h, from, to, n, cpu_vector_bits(level) / 32);
  assert_null(kernel_unsupported(u.kernel));
  assert_int_equal(kernel_verify(&h->c, u.kernel), ST_OK);
  KernelFn fn = jit_compile(&jit, &u);
  if (!fn)
    fail_msg("casts of %s, %s: %s", dtype_name(from), level, jit.ctx.err.message);
  for (int i = 0; i < n; i++) {
    assert_int_equal(tensor_new(&h->c, h->a, to[i].t, 1, x->dim, &y[i]), ST_OK);
    buf[1 + i] = y[i]->data;
  }
  assert_int_equal(fn(&(KernelArgs){.buf = buf, .dim = &count, .end = 1}), 0);
  jit_close(&jit);
}

static void casts_from(DType from) {
  Harness h;
  Target to[64];
  Tensor *y[64], *want[64];
  int n = targets(from, to);
  h_open(&h);
  Tensor *x = numbers(&h, from);
  for (int i = 0; i < n; i++)
    want[i] = reference(&h, x, to[i]);
  for (size_t l = 0; l < countof(levels); l++) {
    if (!cpu_runs(levels[l]))
      continue;
    compiled(&h, levels[l], from, to, n, x, y);
    for (int i = 0; i < n; i++)
      for (int64_t e = 0, count = tensor_count(x); e < count; e++)
        if (!same_number(to[i].t, y[i], want[i], e))
          fail_msg("%s to %s, mode %d, %s: element %lld, %.17g, gives %.17g (%lld), must be %.17g (%lld)",
                   dtype_name(from), dtype_name(to[i].t), to[i].mode, levels[l], (long long)e,
                   elem_f64(from, x->data, e), elem_f64(to[i].t, y[i]->data, e),
                   (long long)elem_i64(to[i].t, y[i]->data, e), elem_f64(to[i].t, want[i]->data, e),
                   (long long)elem_i64(to[i].t, want[i]->data, e));
  }
  h_close(&h);
}

static void casts(void **unused) {
  (void)unused;
  if (!backend_present())
    skip();
  for (DType t = 1; t < TYPES; t++)
    if (numeric(t))
      casts_from(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(casts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
