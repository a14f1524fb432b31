/* test_attr.c - attribute structs by table: defaults, copies, comparison, and their bytes, sound and damaged, for every row
 * of attrs.def.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/attrs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fixture.h"

static const AttrInfo *const infos[] = {
#define ATTRS(Name, ...) &Name##_attrs,
#include "ops/eval/attrs.def"
#undef ATTRS
};

static uint32_t seed;
static uint32_t rnd(uint32_t n) {
  seed = seed * 1664525 + 1013904223;
  return (seed >> 8) % n;
}

static Str random_str(void) {
  static const char text[] = "NOTSET\0reflect";
  return rnd(4) ? (Str){arena_strndup(a, text, sizeof text - 1), rnd(sizeof text)} : (Str){NULL, 0};
}

static const Tensor *random_tensor(void) {
  static const DType types[] = {DT_f32, DT_i64, DT_str, DT_i4, DT_bool};
  Tensor *t;
  int64_t dim[2] = {rnd(3), 1 + rnd(3)};
  if (!rnd(3))
    return NULL;
  assert_int_equal(tensor_new(&c, a, types[rnd(5)], (int)rnd(3), dim, &t), ST_OK);
  for (int64_t i = 0; i < tensor_count(t); i++)
    if (t->dtype == DT_str)
      ((Str *)t->data)[i] = random_str();
    else
      elem_set_i64(t->dtype, t->data, i, rnd(8));
  return t;
}

/* Fills one field with something, perhaps its "not given". */
static void randomize(void *p, const AttrField *f) {
  int64_t n = rnd(5);
  switch (f->kind) {
  case AK_INT: ATTR_AT(int64_t, p, f) = rnd(3) ? (int64_t)rnd(1000) - 500 : ABSENT; break;
  case AK_FLOAT: ATTR_AT(float, p, f) = rnd(4) ? (float)rnd(1000) / 7 : NAN; break;
  case AK_STR: ATTR_AT(Str, p, f) = random_str(); break;
  case AK_INTS: {
    int64_t *v = arena_array(a, int64_t, (size_t)n);
    for (int64_t i = 0; i < n; i++)
      v[i] = rnd(1 << 20);
    ATTR_AT(Ints, p, f) = rnd(4) ? (Ints){v, n} : (Ints){NULL, 0};
    break;
  }
  case AK_FLOATS: {
    float *v = arena_array(a, float, (size_t)n);
    for (int64_t i = 0; i < n; i++)
      v[i] = (float)rnd(99);
    ATTR_AT(Floats, p, f) = rnd(4) ? (Floats){v, n} : (Floats){NULL, 0};
    break;
  }
  case AK_STRS: {
    Str *v = arena_array(a, Str, (size_t)n);
    for (int64_t i = 0; i < n; i++)
      v[i] = random_str();
    ATTR_AT(Strs, p, f) = rnd(4) ? (Strs){v, n} : (Strs){NULL, 0};
    break;
  }
  case AK_TENSOR: ATTR_AT(const Tensor *, p, f) = random_tensor(); break;
  case AK_DIMS: break; /* not part of the bytes */
  }
}

static void *random_attr(const AttrInfo *info) {
  void *p = attr_new(a, info);
  for (const AttrField *f = info->field; f->name; f++)
    randomize(p, f);
  return p;
}

static void test_defaults(void **state) {
  (void)state;
  for (size_t i = 0; i < countof(infos); i++) {
    void *p = attr_new(a, infos[i]);
    for (const AttrField *f = infos[i]->field; f->name; f++) {
      assert_true(attr_is_default(f, p));
      assert_ptr_equal(attr_field(infos[i], f->name), f);
      assert_true(f->offset < infos[i]->size);
    }
    assert_null(attr_field(infos[i], "no_such_attribute"));
  }
  const ConvAttr *k = attr_new(a, &Conv_attrs);
  assert_true(k->group == 1 && !k->pads.v && str_is(k->auto_pad, "NOTSET"));
  assert_true(((CastAttr *)attr_new(a, &Cast_attrs))->to == REQUIRED && attr_field(&Cast_attrs, "to")->required);
  assert_true(attr_field(&Einsum_attrs, "equation")->required && !attr_field(&Conv_attrs, "auto_pad")->required);
  assert_null(attr_new(a, &No_attrs));
  assert_null(attr_copy(a, &No_attrs, NULL));
  assert_true(attr_equal(&No_attrs, NULL, NULL));
  assert_null(attr_field(&No_attrs, "axis"));
}

static void test_copy_equal_hash(void **state) {
  (void)state;
  for (size_t i = 0; i < countof(infos); i++)
    for (int round = 0; round < 20; round++) {
      seed = (uint32_t)(i * 100 + (size_t)round);
      void *p = random_attr(infos[i]), *q = attr_copy(a, infos[i], p);
      assert_true(p != q && attr_equal(infos[i], p, q));
      assert_true(attr_hash(infos[i], p) == attr_hash(infos[i], q));
      for (const AttrField *f = infos[i]->field; f->name; f++) { /* equal means: in every field */
        void *changed = attr_copy(a, infos[i], p);
        if (f->kind == AK_INT)
          ATTR_AT(int64_t, changed, f) ^= 1;
        else if (f->kind == AK_FLOAT)
          ATTR_AT(float, changed, f) = -77;
        else if (f->kind == AK_STR)
          ATTR_AT(Str, changed, f) = str_of("another");
        else if (f->kind == AK_INTS)
          ATTR_AT(Ints, changed, f) = (Ints){(int64_t[]){-9}, 1};
        else if (f->kind == AK_STRS)
          ATTR_AT(Strs, changed, f) = (Strs){(Str[]){{"new", 3}}, 1};
        else
          continue;
        assert_false(attr_equal(infos[i], p, changed));
      }
    }
}

static void test_copies_are_deep(void **state) {
  int64_t v[] = {1, 2};
  char s[] = "abc";
  (void)state;
  ConvAttr k = *(ConvAttr *)attr_new(a, &Conv_attrs);
  k.pads = (Ints){v, 2}, k.auto_pad = (Str){s, 3};
  const ConvAttr *q = attr_copy(a, &Conv_attrs, &k);
  v[0] = 9, s[0] = 'z';
  assert_true(q->pads.v[0] == 1 && str_is(q->auto_pad, "abc"));
  k.pads = (Ints){v, 0}; /* given but empty is not the same as not given */
  ConvAttr none = k;
  none.pads.v = NULL;
  assert_false(attr_equal(&Conv_attrs, &k, &none));
}

static const char *encode(const AttrInfo *info, const void *p, size_t *n) {
  StrBuf b;
  buf_init(&b, a);
  attr_encode(&b, info, p);
  *n = b.len;
  return b.text;
}

static void test_bytes_round_trip(void **state) {
  (void)state;
  for (size_t i = 0; i < countof(infos); i++)
    for (int round = 0; round < 20; round++) {
      size_t n, m;
      void *q;
      seed = (uint32_t)(i * 100 + (size_t)round);
      void *p = round ? random_attr(infos[i]) : attr_new(a, infos[i]);
      const char *bytes = encode(infos[i], p, &n);
      assert_int_equal(attr_decode(&c, a, infos[i], bytes, n, &q), ST_OK);
      assert_true(attr_equal(infos[i], p, q));
      const char *again = encode(infos[i], q, &m);
      assert_int_equal(n, m);
      assert_memory_equal(bytes, again, n);
    }
}

/* Every truncation is refused; every changed byte gives an error or a struct that can be walked. */
static void test_damaged_bytes(void **state) {
  static const unsigned char change[] = {0xff, 0x80, 0x01};
  (void)state;
  for (size_t i = 0; i < countof(infos); i++)
    for (int round = 0; round < 3; round++) {
      size_t n, m;
      void *q;
      seed = (uint32_t)(i * 100 + (size_t)round);
      char *whole = (char *)(uintptr_t)encode(infos[i], random_attr(infos[i]), &n);
      for (size_t k = 0; k < n; k++) {
        char *cut = arena_copy(a, whole, k); /* its own memory, so that the sanitizer sees a read behind it */
        assert_int_equal(attr_decode(&c, a, infos[i], cut, k, &q), ST_INVALID);
      }
      for (size_t k = 0; k < n; k++)
        for (size_t j = 0; j < sizeof change; j++) {
          whole[k] ^= (char)change[j];
          if (!attr_decode(&c, a, infos[i], whole, n, &q)) {
            encode(infos[i], q, &m);
            attr_hash(infos[i], q);
            attr_equal(infos[i], q, attr_copy(a, infos[i], q));
          }
          whole[k] ^= (char)change[j];
        }
    }
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {T(test_defaults), T(test_copy_equal_hash), T(test_copies_are_deep),
                                     T(test_bytes_round_trip), T(test_damaged_bytes)};
  return cmocka_run_group_tests_name("attr", tests, NULL, NULL);
}
