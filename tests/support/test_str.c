/* test_str.c - strings: buffers, UTF-8, escaping, maps, suggestions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fixture.h"

static void test_utf8(void **state) {
  static const char *const good[] = {
      "", "ascii", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf", "\x7f"};
  static const char *const bad[] = {"\x80",
                                    "\xc0\x80",
                                    "\xc1\xbf",
                                    "\xe0\x9f\xbf",
                                    "\xed\xa0\x80",
                                    "\xf0\x8f\xbf\xbf",
                                    "\xf4\x90\x80\x80",
                                    "\xf8\x88\x80\x80\x80",
                                    "\xff",
                                    "\xc3",
                                    "\xe2\x82",
                                    "\xf0\x9f\x98",
                                    "a\xc3(",
                                    "\xe2(\xa1",
                                    "\xc3\xa9\xa9"};
  (void)state;
  for (size_t i = 0; i < countof(good); i++)
    assert_true(utf8_valid(good[i], strlen(good[i])));
  for (size_t i = 0; i < countof(bad); i++)
    assert_false(utf8_valid(bad[i], strlen(bad[i])));
  assert_int_equal(utf8_length("\xe2\x82\xac", 3), 3);
  assert_int_equal(utf8_length("\xe2\x82\xac", 2), 0);
  assert_int_equal(utf8_length("", 0), 0);
  assert_int_equal(utf8_length("\0x", 2), 1);
}

static void test_escape(void **state) {
  char out[64];
  (void)state;
#define ESC(in, want) assert_string_equal(escape_text(out, sizeof out, in, sizeof(in) - 1), want)
  ESC("plain \xc3\xa9", "plain \xc3\xa9");
  ESC("\x1b]0;title\x07", "\\x1b]0;title\\x07");
  ESC("\xc2\x9b"
      "31m \xc2\xa0",
      "\\xc2\\x9b31m \xc2\xa0"); /* C1 control; no-break space is text */
  ESC("nul\0in", "nul\\x00in");
  ESC("\xff\xc3", "\\xff\\xc3");
  ESC("two\nlines\r", "two\\nlines\\x0d");
  memset(out, 'z', sizeof out);
  assert_string_equal(escape_text(out, 4, "abcdef", 6), "abc");
  assert_string_equal(escape_text(out, 4, "ab\xc3\xa9", 4), "ab"); /* no half characters, no half escapes */
  assert_string_equal(escape_text(out, 6, "ab\x01", 3), "ab");
  assert_string_equal(escape_text(out, 1, "ab", 2), "");
  out[0] = 'q';
  escape_text(out, 0, "ab", 2);
  assert_int_equal(out[0], 'q');
}

static void test_buffer(void **state) {
  StrBuf b;
  (void)state;
  buf_init(&b, a);
  assert_string_equal(b.text, "");
  for (int i = 0; i < 500; i++)
    buf_printf(&b, "%d,", i);
  buf_putc(&b, '!');
  buf_put(&b, NULL, 0);
  buf_puts(&b, "end");
  assert_int_equal(b.len, strlen(b.text));
  assert_string_equal(b.text + b.len - 9, ",499,!end");
  char big[5000];
  memset(big, 'x', sizeof big - 1), big[sizeof big - 1] = 0;
  buf_printf(&b, "%s", big);
  assert_int_equal(b.len, strlen(b.text));
}

static void test_map(void **state) {
  enum { N = 5000 };
  static char key[N][12];
  static int value[N];
  Map m;
  (void)state;
  map_init(&m, a);
  assert_null(map_get(&m, "x"));
  for (int i = 0; i < N; i++) {
    snprintf(key[i], sizeof key[i], "k%d", i);
    assert_null(map_put(&m, key[i], &value[i]));
  }
  assert_int_equal(m.count, N);
  for (int i = 0; i < N; i++)
    assert_ptr_equal(map_get(&m, key[i]), &value[i]);
  assert_null(map_get(&m, "k5000"));
  assert_ptr_equal(map_put(&m, "k7", &value[8]), &value[7]);
  assert_ptr_equal(map_get(&m, "k7"), &value[8]);
  assert_int_equal(m.count, N);
  map_put_n(&m, "a\0b", 3, &value[0]); /* bytes, not text */
  map_put_n(&m, "", 0, &value[1]);
  assert_null(map_get(&m, "a"));
  assert_ptr_equal(map_get_n(&m, "a\0b", 3), &value[0]);
  assert_ptr_equal(map_get(&m, ""), &value[1]);
}

static void test_hash(void **state) {
  char text[64] = "some text of forty bytes or so, no more.";
  uint64_t h = hash_bytes(text, 40, 0);
  (void)state;
  for (int i = 0; i < 40 * 8; i++) { /* every bit counts */
    text[i / 8] ^= (char)(1 << i % 8);
    assert_true(hash_bytes(text, 40, 0) != h);
    text[i / 8] ^= (char)(1 << i % 8);
  }
  assert_true(hash_bytes(text, 40, 0) == h && hash_bytes(text, 40, 1) != h && hash_bytes(text, 39, 0) != h);
  assert_true(hash_bytes("\0", 1, 0) != hash_bytes("\0\0", 2, 0));
  assert_true(hash_bytes(NULL, 0, 5) == hash_bytes("", 0, 5));
}

static const char *name(void *arg, size_t i) {
  static const char *const list[] = {"input_ids", "attention_mask", "token_type_ids",
                                     "a_name_that_is_much_longer_than_sixty-four_characters_and_then_some", NULL};
  (void)arg;
  return list[i];
}

static void test_nearest(void **state) {
  (void)state;
  assert_string_equal(nearest_name("inputs_ids", name, NULL), "input_ids");
  assert_string_equal(nearest_name("Attention_Mask", name, NULL), "attention_mask");
  assert_string_equal(nearest_name("atention_msk", name, NULL), "attention_mask");
  assert_null(nearest_name("pixel_values", name, NULL));
  assert_null(nearest_name("", name, NULL));
  assert_null(nearest_name("another_name_that_is_much_longer_than_sixty-four_characters_and_then_some", name, NULL));
}

static void test_str(void **state) {
  (void)state;
  assert_true(str_is(str_of("ab"), "ab") && !str_is(str_of("ab"), "abc") && !str_is(str_of("ab"), "ac"));
  assert_true(str_eq(str_of(NULL), str_of("")));
  assert_true(str_eq((Str){"a\0b", 3}, (Str){"a\0b", 3}) && !str_eq((Str){"a\0b", 3}, (Str){"a\0c", 3}));
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {T(test_utf8), T(test_escape),  T(test_buffer), T(test_map),
                                     T(test_hash), T(test_nearest), T(test_str)};
  return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
