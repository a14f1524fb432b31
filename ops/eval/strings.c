/* strings.c - StringConcat 20, StringSplit 20, StringNormalizer 10.
 *
 * Strings are UTF-8. Splitting works on bytes that are not, and leaves them as they are; changing the case of such a string
 * is an error. Case is changed character by character, as towlower and towupper do ("ss" does not become longer).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"
#include "ops/eval/move.h"

#include "support/checked.h"

#include <string.h>
#include <utf8proc.h>

static Str join(Eval *e, Str a, Str b) {
  char *p = arena_get(e->keep, a.len + b.len, 1, 1); /* both lie in memory, so the sum fits */
  if (a.len)
    memcpy(p, a.ptr, a.len);
  if (b.len)
    memcpy(p + a.len, b.ptr, b.len);
  return (Str){p, a.len + b.len};
}

Status string_concat_eval(Eval *e) {
  const Tensor *a = e->in[0], *b = e->in[1];
  int64_t dim[MAX_RANK];
  int rank;
  Tensor *y;
  TRY(operands(e, 2));
  TRY(eval_broadcast(e, a->rank, a->dim, b->rank, b->dim, &rank, dim));
  TRY(eval_out(e, 0, DT_str, rank, dim, &y));
  Loop l;
  loop_open(&l, rank, dim, 2, e->in);
  while (loop_next(&l)) {
    TRY(loop_poll(&l, e->c));
    for (int64_t i = 0; i < l.len; i++)
      ((Str *)y->data)[l.out + i] =
          join(e, ((const Str *)a->data)[l.at[0] + i * l.step[0]], ((const Str *)b->data)[l.at[1] + i * l.step[1]]);
  }
  return ST_OK;
}

/* --- StringSplit --- */

/* Length of the white space character at the start of s; 0: there is none. White space as in Unicode and Python. */
static size_t space_length(Str s) {
  utf8proc_int32_t u;
  if (!s.len)
    return 0;
  utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)s.ptr, s.len < 4 ? (utf8proc_ssize_t)s.len : 4, &u);
  if (n <= 0)
    return 0;
  if ((u >= 0x09 && u <= 0x0d) || (u >= 0x1c && u <= 0x20) || u == 0x85)
    return (size_t)n;
  utf8proc_category_t k = utf8proc_category(u);
  return k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL || k == UTF8PROC_CATEGORY_ZP ? (size_t)n : 0;
}

static Str behind(Str s, size_t n) { return (Str){s.ptr + n, s.len - n}; }

static Str skip_space(Str s) {
  for (size_t n; (n = space_length(s));)
    s = behind(s, n);
  return s;
}

/* s without white space at its end. Characters cannot be read backwards, so all are looked at. */
static Str trim_end(Str s) {
  size_t end = 0;
  for (size_t i = 0, n; i < s.len; i += n) {
    n = space_length(behind(s, i));
    if (!n)
      end = i + (n = 1);
  }
  return (Str){s.ptr, end};
}

/* Takes the next part off *rest. False: there is none. last: the part goes to the end. */
static bool next_part(Str *rest, Str delimiter, bool last, bool *more, Str *part) {
  size_t n = 0, step = delimiter.len;
  if (*more && !delimiter.len)
    *rest = skip_space(*rest), *more = rest->len > 0;
  if (!*more)
    return false;
  *part = *rest;
  *more = false;
  if (last)
    return true;
  if (delimiter.len) {
    const char *at = rest->len ? memmem(rest->ptr, rest->len, delimiter.ptr, delimiter.len) : NULL;
    if (!at)
      return true;
    n = (size_t)(at - rest->ptr);
  } else {
    while (n < rest->len && !(step = space_length(behind(*rest, n))))
      n++;
    if (n == rest->len)
      step = 0;
  }
  part->len = n;
  *more = true;
  *rest = behind(*rest, n + step);
  return true;
}

/* Walks the parts of s; out NULL: only counts them. */
static int64_t split_one(Str s, Str delimiter, int64_t maxsplit, Str *out) {
  int64_t n = 0;
  bool more = true;
  if (!delimiter.len)
    s = trim_end(s);
  for (Str part; next_part(&s, delimiter, n == maxsplit, &more, &part); n++)
    if (out)
      out[n] = part;
  return n;
}

/* Two walks: the number of parts of each string says how many the longest has. */
Status string_split_eval(Eval *e) {
  const StringSplitAttr *a = e->attr;
  const Tensor *x = e->in[0];
  int64_t dim[MAX_RANK + 1], most = 0, n, maxsplit = a->maxsplit < 0 ? -1 : a->maxsplit;
  Tensor *y, *z;
  TRY(operands(e, 1));
  TRY(move_rank(e, x->rank + 1));
  TRY(eval_out(e, 1, DT_i64, x->rank, x->dim, &z));
  const Str *s = x->data;
  n = tensor_count(x);
  for (int64_t i = 0; i < n; i++) {
    int64_t parts = split_one(s[i], a->delimiter, maxsplit, NULL);
    ((int64_t *)z->data)[i] = parts;
    most = parts > most ? parts : most;
    TRY(ctx_poll(e->c));
  }
  memcpy(dim, x->dim, sizeof x->dim);
  dim[x->rank] = most;
  TRY(eval_out(e, 0, DT_str, x->rank + 1, dim, &y));
  for (int64_t i = 0; i < n; i++) {
    Str *out = (Str *)y->data + i * most;
    for (int64_t k = split_one(s[i], a->delimiter, maxsplit, out); k < most; k++)
      out[k] = str_of("");
    TRY(ctx_poll(e->c));
  }
  return move_done(e, y);
}

/* --- StringNormalizer --- */

typedef enum { CASE_NONE, CASE_LOWER, CASE_UPPER } Case;

typedef struct Normalizer {
  Eval *e;
  Case change;
  bool sensitive;
  bool turkic; /* i and dotless i are letters of their own */
} Normalizer;

static utf8proc_int32_t change_char(utf8proc_int32_t u, Case k, bool turkic) {
  if (turkic && k == CASE_UPPER && u == 'i')
    return 0x130;
  if (turkic && k == CASE_LOWER && (u == 'I' || u == 0x130))
    return u == 'I' ? 0x131 : 'i';
  return k == CASE_UPPER ? utf8proc_toupper(u) : utf8proc_tolower(u);
}

/* s with its case changed, in the arena. */
static Status change_case(const Normalizer *f, Arena *a, Str s, Case k, Str *out) {
  *out = s;
  if (k == CASE_NONE)
    return ST_OK;
  StrBuf b;
  buf_init(&b, a);
  for (size_t i = 0; i < s.len;) {
    utf8proc_int32_t u;
    utf8proc_uint8_t text[4];
    utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)s.ptr + i, (utf8proc_ssize_t)(s.len - i), &u);
    if (n <= 0)
      return eval_fail(f->e, "\"%.*s\" is not UTF-8", (int)(s.len < 60 ? s.len : 60), s.ptr);
    i += (size_t)n;
    buf_put(&b, (const char *)text, (size_t)utf8proc_encode_char(change_char(u, k, f->turkic), text));
  }
  *out = (Str){b.len ? b.text : "", b.len};
  return ST_OK;
}

static Status read_attributes(Normalizer *f, const StringNormalizerAttr *a) {
  static const char *const name[] = {"NONE", "LOWER", "UPPER"};
  Str l = a->locale;
  for (int i = 0; i < 3; i++)
    if (str_is(a->case_change_action, name[i])) {
      f->change = (Case)i;
      f->sensitive = a->is_case_sensitive != 0;
      f->turkic = l.len >= 2 && (!memcmp(l.ptr, "tr", 2) || !memcmp(l.ptr, "az", 2)) &&
                  (l.len == 2 || l.ptr[2] == '_' || l.ptr[2] == '-' || l.ptr[2] == '.');
      return ST_OK;
    }
  return eval_fail(f->e, "case_change_action must be \"LOWER\", \"UPPER\" or \"NONE\"");
}

static Status stop_words(const Normalizer *f, const StringNormalizerAttr *a, Map *stop) {
  map_init(stop, f->e->scratch);
  for (int64_t i = 0; i < a->stopwords.n; i++) {
    Str w;
    TRY(change_case(f, f->e->scratch, a->stopwords.v[i], f->sensitive ? CASE_NONE : CASE_LOWER, &w));
    map_put_n(stop, w.ptr ? w.ptr : "", w.len, stop);
  }
  return ST_OK;
}

Status string_normalizer_eval(Eval *e) {
  const StringNormalizerAttr *a = e->attr;
  const Tensor *x = e->in[0];
  Normalizer f = {.e = e};
  Map stop;
  Tensor *y;
  TRY(operands(e, 1));
  if (x->rank < 1 || x->rank > 2 || (x->rank == 2 && x->dim[0] != 1))
    return eval_fail(e, "the input must be of shape [C] or [1, C]");
  TRY(read_attributes(&f, a));
  TRY(stop_words(&f, a, &stop));
  int64_t n = tensor_count(x), kept = 0, dim[2] = {1, 1};
  Str *word = arena_array(e->scratch, Str, (size_t)n + 1);
  for (int64_t i = 0; i < n; i++) {
    Str s = ((const Str *)x->data)[i], key = s;
    if (stop.count) {
      TRY(change_case(&f, e->scratch, s, f.sensitive ? CASE_NONE : CASE_LOWER, &key));
      if (map_get_n(&stop, key.ptr ? key.ptr : "", key.len))
        continue;
    }
    TRY(change_case(&f, e->scratch, s, f.change, &word[kept++]));
  }
  if (!kept)
    word[kept++] = str_of("");
  dim[x->rank - 1] = kept;
  TRY(eval_out(e, 0, DT_str, x->rank, dim, &y));
  memcpy(y->data, word, (size_t)kept * sizeof *word);
  return move_done(e, y);
}
