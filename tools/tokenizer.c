/* tokenizer.c - BERT's WordPiece (Devlin et al. 2018; Schuster and Nakajima 2012) as Hugging Face tokenizers does it.
 *
 *   text -> pieces between added tokens -> normalise (clean, spaces around CJK, NFD without accents, lower case)
 *        -> words and single punctuation characters -> longest pieces of the vocabulary -> [CLS] … [SEP]
 * Text is held as arrays of code points throughout. Categories are those of the installed utf8proc; for characters that
 * Unicode took in after its version 8 they may differ from the older tables inside Hugging Face tokenizers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/tokenizer.h"

#include "support/str.h"
#include "tools/files.h"

#include <jansson.h>
#include <string.h>
#include <utf8proc.h>

typedef struct Added {
  const int32_t *ch; /* code points; normalised when `normalized` */
  size_t n;
  int64_t id;
  bool single_word, lstrip, rstrip, normalized;
} Added;

typedef struct Piece { /* of the template: a special token, or the text */
  bool text;
  int64_t id, type;
} Piece;

struct Tokenizer {
  Ctx *c;
  Arena *a;
  Map vocab; /* token -> id + 1 */
  int64_t unk, max_chars;
  size_t longest; /* bytes of the longest token: no longer stretch needs to be looked up */
  Str prefix;
  bool normalize, clean, chinese, accents, lower;
  bool split; /* BertPreTokenizer */
  Added *added;
  size_t nadded;
  Piece *piece;
  size_t npiece;
  int64_t max_length; /* 0: no truncation */
  bool cut_left, pad_left;
  int64_t pad_id, pad_type;
};

typedef struct Chars { /* a growing list of code points */
  Arena *a;
  int32_t *ch;
  size_t n, cap;
} Chars;

typedef struct Ids {
  Arena *a;
  int64_t *id;
  size_t n, cap;
} Ids;

static void add_char(Chars *x, int32_t ch) {
  if (x->n == x->cap) {
    int32_t *grown = arena_array(x->a, int32_t, x->cap ? x->cap * 2 : 64);
    if (x->n)
      memcpy(grown, x->ch, x->n * sizeof *grown);
    x->ch = grown, x->cap = x->cap ? x->cap * 2 : 64;
  }
  x->ch[x->n++] = ch;
}

static void add_id(Ids *x, int64_t id) {
  if (x->n == x->cap) {
    int64_t *grown = arena_array(x->a, int64_t, x->cap ? x->cap * 2 : 64);
    if (x->n)
      memcpy(grown, x->id, x->n * sizeof *grown);
    x->id = grown, x->cap = x->cap ? x->cap * 2 : 64;
  }
  x->id[x->n++] = id;
}

/* --- characters --- */

static bool is_space(int32_t ch) { /* White_Space */
  return (ch >= 9 && ch <= 13) || ch == ' ' || ch == 0x85 || ch == 0xa0 || ch == 0x1680 ||
         (ch >= 0x2000 && ch <= 0x200a) || ch == 0x2028 || ch == 0x2029 || ch == 0x202f || ch == 0x205f || ch == 0x3000;
}

static bool is_control(int32_t ch) {
  utf8proc_category_t k = utf8proc_category(ch);
  if (ch == '\t' || ch == '\n' || ch == '\r')
    return false;
  return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO ||
         k == UTF8PROC_CATEGORY_CS;
}

static bool is_chinese(int32_t ch) {
  static const int32_t range[][2] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
                                     {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};
  for (size_t i = 0; i < countof(range); i++)
    if (ch >= range[i][0] && ch <= range[i][1])
      return true;
  return false;
}

static bool is_punctuation(int32_t ch) {
  utf8proc_category_t k = utf8proc_category(ch);
  if (ch < 128)
    return (ch >= '!' && ch <= '/') || (ch >= ':' && ch <= '@') || (ch >= '[' && ch <= '`') || (ch >= '{' && ch <= '~');
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

static bool is_word(int32_t ch) { /* for single_word: letters, digits, underscore */
  utf8proc_category_t k = utf8proc_category(ch);
  return ch == '_' || (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NO);
}

static void to_chars(Chars *x, const char *s, size_t n) {
  for (size_t i = 0; i < n;) {
    utf8proc_int32_t ch;
    utf8proc_ssize_t len = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &ch);
    add_char(x, len > 0 ? ch : 0xfffd);
    i += len > 0 ? (size_t)len : 1;
  }
}

/* Canonical decomposition without marks: NFD, then all of category Mn dropped. Order of marks is therefore no matter.
 */
static void add_without_accents(Chars *x, int32_t ch) {
  utf8proc_int32_t part[32];
  int last = 0;
  utf8proc_ssize_t n = utf8proc_decompose_char(ch, part, 32, UTF8PROC_DECOMPOSE, &last);
  if (n < 0 || n > 32) {
    add_char(x, ch);
    return;
  }
  for (utf8proc_ssize_t i = 0; i < n; i++)
    if (utf8proc_category(part[i]) != UTF8PROC_CATEGORY_MN)
      add_char(x, part[i]);
}

static void normalize(const Tokenizer *k, const int32_t *ch, size_t n, Chars *out) {
  Chars x = {.a = out->a};
  if (!k->normalize) {
    for (size_t i = 0; i < n; i++)
      add_char(out, ch[i]);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    int32_t one = ch[i];
    if (k->clean && (!one || one == 0xfffd || is_control(one)))
      continue;
    if (k->clean && is_space(one))
      one = ' ';
    bool apart = k->chinese && is_chinese(one);
    if (apart)
      add_char(&x, ' ');
    if (k->accents)
      add_without_accents(&x, one);
    else
      add_char(&x, one);
    if (apart)
      add_char(&x, ' ');
  }
  for (size_t i = 0; i < x.n; i++) {
    if (k->lower && x.ch[i] == 0x130) { /* the one character whose lower case is two */
      add_char(out, 'i');
      add_char(out, 0x307);
    } else
      add_char(out, k->lower ? utf8proc_tolower(x.ch[i]) : x.ch[i]);
  }
}

/* --- words to ids --- */

static int64_t lookup(const Tokenizer *k, bool inner, const int32_t *ch, size_t n, char *text) {
  size_t len = 0;
  if (inner) {
    memcpy(text, k->prefix.ptr, k->prefix.len);
    len = k->prefix.len;
  }
  for (size_t i = 0; i < n; i++)
    len += (size_t)utf8proc_encode_char(ch[i], (utf8proc_uint8_t *)text + len);
  return (int64_t)(intptr_t)map_get_n(&k->vocab, text, len) - 1;
}

static void word_pieces(const Tokenizer *k, const int32_t *ch, size_t n, Ids *out) {
  size_t start = 0, before = out->n;
  if (!n)
    return;
  if ((int64_t)n > k->max_chars) {
    add_id(out, k->unk);
    return;
  }
  char *text = arena_get(out->a, n * 4 + k->prefix.len + 1, 1, 1);
  while (start < n) {
    size_t end = n - start > k->longest ? start + k->longest : n;
    int64_t id = -1;
    for (; end > start && id < 0; end -= id < 0)
      id = lookup(k, start > 0, ch + start, end - start, text);
    if (id < 0) { /* one unknown part makes the whole word unknown */
      out->n = before;
      add_id(out, k->unk);
      return;
    }
    add_id(out, id);
    start = end;
  }
}

static void split_words(const Tokenizer *k, const int32_t *ch, size_t n, Ids *out) {
  size_t start = 0;
  if (!k->split) {
    word_pieces(k, ch, n, out);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    bool space = is_space(ch[i]), alone = is_punctuation(ch[i]);
    if (!space && !alone)
      continue;
    word_pieces(k, ch + start, i - start, out);
    if (alone)
      word_pieces(k, ch + i, 1, out);
    start = i + 1;
  }
  word_pieces(k, ch + start, n - start, out);
}

/* --- added tokens --- */

/* The leftmost and then longest added token in ch[from, n), of the kind wanted. */
static const Added *find_added(const Tokenizer *k, bool normalized, const int32_t *ch, size_t from, size_t n,
                               size_t *at) {
  for (size_t i = from; i < n; i++) {
    const Added *best = NULL;
    for (size_t t = 0; t < k->nadded; t++) {
      const Added *x = &k->added[t];
      if (x->normalized != normalized || !x->n || x->n > n - i || memcmp(ch + i, x->ch, x->n * sizeof *ch))
        continue;
      if (x->single_word && ((i && is_word(ch[i - 1])) || (i + x->n < n && is_word(ch[i + x->n]))))
        continue;
      if (!best || x->n > best->n)
        best = x;
    }
    if (best) {
      *at = i;
      return best;
    }
  }
  return NULL;
}

static void encode_between(const Tokenizer *k, bool normalized, const int32_t *ch, size_t n, Ids *out);

/* A stretch without added tokens of this kind: on to the next stage. */
static void next_stage(const Tokenizer *k, bool normalized, const int32_t *ch, size_t n, Ids *out) {
  if (!n)
    return;
  if (normalized) {
    split_words(k, ch, n, out);
    return;
  }
  Chars x = {.a = out->a};
  normalize(k, ch, n, &x);
  encode_between(k, true, x.ch, x.n, out);
}

static void encode_between(const Tokenizer *k, bool normalized, const int32_t *ch, size_t n, Ids *out) {
  size_t from = 0, at = 0;
  const Added *x;
  while ((x = find_added(k, normalized, ch, from, n, &at))) {
    size_t end = at + x->n, start = at;
    while (x->lstrip && start > from && is_space(ch[start - 1]))
      start--;
    while (x->rstrip && end < n && is_space(ch[end]))
      end++;
    next_stage(k, normalized, ch + from, start - from, out);
    add_id(out, x->id);
    from = end;
  }
  next_stage(k, normalized, n ? ch + from : ch, n - from, out);
}

/* --- a batch --- */

static Status encode_one(const Tokenizer *k, const char *text, Ids *ids, Ids *types) {
  Chars x = {.a = k->a};
  Ids words = {.a = k->a};
  size_t n = strlen(text), specials = 0;
  if (!utf8_valid(text, n))
    return fail(k->c, ST_USAGE, "--text is not valid UTF-8: \"%s\"", text);
  to_chars(&x, text, n);
  encode_between(k, false, x.ch, x.n, &words);
  for (size_t i = 0; i < k->npiece; i++)
    specials += !k->piece[i].text;
  size_t keep = words.n;
  if (k->max_length && words.n + specials > (size_t)k->max_length)
    keep = (size_t)k->max_length > specials ? (size_t)k->max_length - specials : 0;
  size_t from = k->cut_left ? words.n - keep : 0;
  for (size_t i = 0; i < k->npiece; i++)
    for (size_t m = 0; m < (k->piece[i].text ? keep : 1); m++) {
      add_id(ids, k->piece[i].text ? words.id[from + m] : k->piece[i].id);
      add_id(types, k->piece[i].type);
    }
  return ST_OK;
}

Status tokenizer_encode(const Tokenizer *k, const char *const *text, uint32_t n, TokenBatch *out) {
  Ids *ids = arena_array(k->a, Ids, n), *types = arena_array(k->a, Ids, n);
  size_t len = 0;
  for (uint32_t i = 0; i < n; i++) {
    ids[i].a = types[i].a = k->a;
    TRY(encode_one(k, text[i], &ids[i], &types[i]));
    if (ids[i].n > len)
      len = ids[i].n;
  }
  *out = (TokenBatch){.n = n, .len = (int64_t)len};
  for (int l = 0; l < TOKEN_LISTS; l++)
    out->list[l] = arena_array(k->a, int64_t, n * len);
  for (uint32_t i = 0; i < n; i++)
    for (size_t m = 0; m < len; m++) {
      size_t pad = len - ids[i].n, at = i * len + m, from = k->pad_left ? m - pad : m;
      bool real = k->pad_left ? m >= pad : m < ids[i].n;
      out->list[TOKEN_IDS][at] = real ? ids[i].id[from] : k->pad_id;
      out->list[TOKEN_MASK][at] = real;
      out->list[TOKEN_TYPES][at] = real ? types[i].id[from] : k->pad_type;
    }
  return ST_OK;
}

/* --- tokenizer.json --- */

typedef struct Json {
  json_t *root;
  Cleanup cleanup;
} Json;

static void free_json(void *arg) { json_decref(((Json *)arg)->root); }

static Status damaged(const Tokenizer *k, const char *what) {
  return fail(k->c, ST_INVALID, "not a usable tokenizer.json: %s", what);
}

static bool flag(const json_t *o, const char *key, bool def) {
  const json_t *v = json_object_get(o, key);
  return json_is_boolean(v) ? json_is_true(v) : def;
}

static const char *type_name(const json_t *o) {
  const char *s = json_string_value(json_object_get(o, "type"));
  return s ? s : "";
}

static Status unsupported(const Tokenizer *k, const char *part, const json_t *o) {
  fail(k->c, ST_UNSUPPORTED, "%s of type '%s' is not handled", part, type_name(o));
  return err_hint(k->c, ST_UNSUPPORTED,
                  "WordPiece tokenizers of the BERT family are; give input_ids and attention_mask with --input");
}

static bool get_id(const json_t *v, int64_t *id) {
  *id = json_integer_value(v);
  return json_is_integer(v) && *id >= 0 && *id <= INT32_MAX;
}

static Status load_model(Tokenizer *k, json_t *m) {
  const char *key, *s;
  json_t *v, *vocab = json_object_get(m, "vocab");
  int64_t id;
  /* Files of tokenizers before 0.9 have no type here; a WordPiece model is known by its max_input_chars_per_word. */
  if (strcmp(type_name(m), "WordPiece") && (*type_name(m) || !json_object_get(m, "max_input_chars_per_word")))
    return unsupported(k, "a tokenizer model", m);
  if (!json_is_object(vocab))
    return damaged(k, "model.vocab is no object");
  map_init(&k->vocab, k->a);
  json_object_foreach(vocab, key, v) {
    if (!get_id(v, &id))
      return damaged(k, "a token id in model.vocab is no number");
    k->longest = strlen(key) > k->longest ? strlen(key) : k->longest;
    map_put(&k->vocab, arena_strdup(k->a, key), (void *)(intptr_t)(id + 1));
  }
  s = json_string_value(json_object_get(m, "unk_token"));
  k->unk = (int64_t)(intptr_t)map_get(&k->vocab, s ? s : "[UNK]") - 1;
  if (k->unk < 0)
    return damaged(k, "model.unk_token is not in the vocabulary");
  s = json_string_value(json_object_get(m, "continuing_subword_prefix"));
  k->prefix = str_of(arena_strdup(k->a, s ? s : "##"));
  v = json_object_get(m, "max_input_chars_per_word");
  k->max_chars = json_is_integer(v) && json_integer_value(v) > 0 ? json_integer_value(v) : 100;
  return ST_OK;
}

static Status load_normalizer(Tokenizer *k, const json_t *n) {
  if (!n || json_is_null(n))
    return ST_OK;
  if (strcmp(type_name(n), "BertNormalizer"))
    return unsupported(k, "a tokenizer normalizer", n);
  k->normalize = true;
  k->clean = flag(n, "clean_text", true);
  k->chinese = flag(n, "handle_chinese_chars", true);
  k->lower = flag(n, "lowercase", true);
  k->accents = flag(n, "strip_accents", k->lower); /* null: as lowercase */
  return ST_OK;
}

static Status load_added(Tokenizer *k, const json_t *list) {
  size_t n = json_array_size(list);
  k->added = arena_array(k->a, Added, n);
  for (size_t i = 0; i < n; i++) {
    const json_t *o = json_array_get(list, i);
    const char *s = json_string_value(json_object_get(o, "content"));
    Added *x = &k->added[k->nadded++];
    *x = (Added){.single_word = flag(o, "single_word", false),
                 .lstrip = flag(o, "lstrip", false),
                 .rstrip = flag(o, "rstrip", false),
                 .normalized = flag(o, "normalized", !flag(o, "special", false))};
    if (!s || !get_id(json_object_get(o, "id"), &x->id))
      return damaged(k, "an added token without content or id");
    int64_t known = (int64_t)(intptr_t)map_get(&k->vocab, s) - 1;
    x->id = known >= 0 ? known : x->id;
    Chars raw = {.a = k->a}, done = {.a = k->a};
    to_chars(&raw, s, strlen(s));
    if (x->normalized)
      normalize(k, raw.ch, raw.n, &done);
    x->ch = x->normalized ? done.ch : raw.ch, x->n = x->normalized ? done.n : raw.n;
  }
  return ST_OK;
}

static int64_t special_id(const Tokenizer *k, const json_t *specials, const char *name) {
  int64_t id;
  const json_t *ids = json_object_get(json_object_get(specials, name), "ids");
  if (json_array_size(ids) == 1 && get_id(json_array_get(ids, 0), &id))
    return id;
  return (int64_t)(intptr_t)map_get(&k->vocab, name) - 1;
}

static Status load_template(Tokenizer *k, const json_t *p) {
  const json_t *list = json_object_get(p, "single");
  size_t n = json_array_size(list);
  if (!n)
    return damaged(k, "post_processor.single is empty");
  k->piece = arena_array(k->a, Piece, n);
  for (size_t i = 0; i < n; i++) {
    const json_t *item = json_array_get(list, i), *s = json_object_get(item, "SpecialToken"),
                 *q = json_object_get(item, "Sequence");
    Piece *x = &k->piece[k->npiece++];
    x->type = json_integer_value(json_object_get(s ? s : q, "type_id"));
    x->text = !s;
    const char *name = json_string_value(json_object_get(s, "id"));
    if ((!s && !q) || (s && (!name || (x->id = special_id(k, json_object_get(p, "special_tokens"), name)) < 0)))
      return damaged(k, "post_processor.single cannot be read");
  }
  return ST_OK;
}

static Status load_post_processor(Tokenizer *k, const json_t *p) {
  k->piece = arena_array(k->a, Piece, 3);
  if (!p || json_is_null(p)) {
    k->piece[k->npiece++].text = true;
    return ST_OK;
  }
  if (!strcmp(type_name(p), "TemplateProcessing"))
    return load_template(k, p);
  if (strcmp(type_name(p), "BertProcessing"))
    return unsupported(k, "a tokenizer post-processor", p);
  int64_t cls, sep;
  if (!get_id(json_array_get(json_object_get(p, "cls"), 1), &cls) ||
      !get_id(json_array_get(json_object_get(p, "sep"), 1), &sep))
    return damaged(k, "post_processor has no cls and sep");
  k->piece[0].id = cls, k->piece[1].text = true, k->piece[2].id = sep;
  k->npiece = 3;
  return ST_OK;
}

static Status load_lengths(Tokenizer *k, const json_t *cut, const json_t *pad) {
  const char *s = json_string_value(json_object_get(cut, "direction"));
  const json_t *max = json_object_get(cut, "max_length");
  if (json_is_integer(max)) {
    if (json_integer_value(max) < 1)
      return damaged(k, "truncation.max_length is not positive");
    k->max_length = json_integer_value(max);
  }
  k->cut_left = s && !strcmp(s, "Left");
  s = json_string_value(json_object_get(pad, "direction"));
  k->pad_left = s && !strcmp(s, "Left");
  if (!get_id(json_object_get(pad, "pad_id"), &k->pad_id)) {
    int64_t id = (int64_t)(intptr_t)map_get(&k->vocab, "[PAD]") - 1;
    k->pad_id = id < 0 ? 0 : id;
  }
  if (!get_id(json_object_get(pad, "pad_type_id"), &k->pad_type))
    k->pad_type = 0;
  return ST_OK;
}

static Status load_all(Tokenizer *k, const json_t *root) {
  const json_t *pre = json_object_get(root, "pre_tokenizer");
  if (!json_is_object(root) || !json_is_object(json_object_get(root, "model")))
    return damaged(k, "it has no model");
  TRY(load_model(k, json_object_get(root, "model")));
  TRY(load_normalizer(k, json_object_get(root, "normalizer")));
  if (pre && !json_is_null(pre) && strcmp(type_name(pre), "BertPreTokenizer"))
    return unsupported(k, "a pre-tokenizer", pre);
  k->split = pre && !json_is_null(pre);
  TRY(load_added(k, json_object_get(root, "added_tokens")));
  TRY(load_post_processor(k, json_object_get(root, "post_processor")));
  return load_lengths(k, json_object_get(root, "truncation"), json_object_get(root, "padding"));
}

Status tokenizer_load(Ctx *c, Arena *a, const char *path, Tokenizer **out) {
  Str bytes;
  json_error_t e;
  TRY(file_read(c, a, path, &bytes));
  Tokenizer *k = arena_new(a, Tokenizer);
  k->c = c, k->a = a;
  Json *j = arena_new(a, Json);
  j->root = json_loadb(bytes.ptr, bytes.len, 0, &e);
  if (!j->root)
    return err_file(c, fail(c, ST_INVALID, "not a usable tokenizer.json: %s (line %d)", e.text, e.line), path);
  ctx_on_failure(c, &j->cleanup, free_json, j);
  Status st = load_all(k, j->root);
  ctx_forget(c, &j->cleanup);
  free_json(j);
  *out = k;
  return st ? err_file(c, st, path) : ST_OK;
}
