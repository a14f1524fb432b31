/* tfidf.c - TfIdfVectorizer 9: counts of n-grams, with skips, by a trie of the n-grams in the pool.
 *
 * The trie is one hash table: (node, token) -> node. Tokens are numbers from 1 on, one for each different string or integer
 * of the pool, so that strings are looked up once per element of the input. SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"

#include "support/checked.h"

#include <string.h>

typedef struct Edge {
  uint32_t node, token;
} Edge;

typedef struct Trie {
  Eval *e;
  const TfIdfVectorizerAttr *a;
  int64_t npool, ngrams, size; /* tokens in the pool, n-grams, extent of the output */
  Map tokens;                  /* string or int64 -> token */
  Map edges;                   /* Edge -> node; node 0 is the root */
  uint32_t ntoken, nnode;
  int64_t *gram; /* by node: the n-gram that ends there, or -1 */
} Trie;

static uint32_t find(const Map *m, const void *key, size_t n) { return (uint32_t)(uintptr_t)map_get_n(m, key, n); }

static uint32_t token_of(const Trie *t, const void *key, size_t n) { return find(&t->tokens, n ? key : "", n); }

static uint32_t add_token(Trie *t, const void *key, size_t n) {
  uint32_t k = token_of(t, key, n);
  if (!k) {
    k = ++t->ntoken;
    map_put_n(&t->tokens, n ? key : "", n, (void *)(uintptr_t)k);
  }
  return k;
}

static uint32_t pool_token(Trie *t, int64_t i) {
  const Strs *s = &t->a->pool_strings;
  return s->v ? add_token(t, s->v[i].ptr, s->v[i].len) : add_token(t, &t->a->pool_int64s.v[i], sizeof(int64_t));
}

/* Enters the n-gram of n tokens from token `at` of the pool on. */
static void add_gram(Trie *t, int64_t at, int64_t n, int64_t id) {
  uint32_t node = 0;
  for (int64_t k = 0; k < n; k++) {
    Edge edge = {node, pool_token(t, at + k)};
    node = find(&t->edges, &edge, sizeof edge);
    if (!node) {
      node = ++t->nnode;
      t->gram[node] = -1;
      map_put_n(&t->edges, arena_copy(t->e->scratch, &edge, sizeof edge), sizeof edge, (void *)(uintptr_t)node);
    }
  }
  t->gram[node] = id;
}

/* ngram_counts says where the n-grams of each length start. */
static Status check_pool(Trie *t) {
  const TfIdfVectorizerAttr *a = t->a;
  const Ints *start = &a->ngram_counts;
  if (!a->pool_strings.v == !a->pool_int64s.v)
    return eval_fail(t->e, "one of pool_strings and pool_int64s must be given");
  t->npool = a->pool_strings.v ? a->pool_strings.n : a->pool_int64s.n;
  if (t->npool >= UINT32_MAX)
    return eval_unsupported(t->e, "a pool of %lld tokens", (long long)t->npool);
  if (a->min_gram_length < 1 || a->max_gram_length < a->min_gram_length || a->max_skip_count < 0)
    return eval_fail(t->e, "n-grams of %lld to %lld with %lld skips", (long long)a->min_gram_length,
                     (long long)a->max_gram_length, (long long)a->max_skip_count);
  if (start->n < a->max_gram_length)
    return eval_fail(t->e, "ngram_counts has %lld entries, and n-grams go up to %lld", (long long)start->n,
                     (long long)a->max_gram_length);
  for (int64_t i = 0; i < start->n; i++) {
    int64_t end = i + 1 < start->n ? start->v[i + 1] : t->npool;
    if (start->v[i] < 0 || end < start->v[i] || end > t->npool || (end - start->v[i]) % (i + 1))
      return eval_fail(t->e, "ngram_counts[%lld] is %lld: the %lld-grams do not fill tokens %lld to %lld of %lld",
                       (long long)i, (long long)start->v[i], (long long)(i + 1), (long long)start->v[i], (long long)end,
                       (long long)t->npool);
    t->ngrams += (end - start->v[i]) / (i + 1);
  }
  return ST_OK;
}

static Status check_indexes(Trie *t) {
  const TfIdfVectorizerAttr *a = t->a;
  if (a->ngram_indexes.n != t->ngrams)
    return eval_fail(t->e, "ngram_indexes has %lld entries for %lld n-grams", (long long)a->ngram_indexes.n,
                     (long long)t->ngrams);
  for (int64_t i = 0; i < t->ngrams; i++) {
    int64_t k = a->ngram_indexes.v[i];
    if (k < 0 || k == INT64_MAX)
      return eval_fail(t->e, "ngram_indexes[%lld] is %lld", (long long)i, (long long)k);
    t->size = k >= t->size ? k + 1 : t->size;
  }
  if (a->weights.v && a->weights.n != t->ngrams)
    return eval_fail(t->e, "weights has %lld entries for %lld n-grams", (long long)a->weights.n, (long long)t->ngrams);
  return ST_OK;
}

static Status build(Trie *t) {
  const TfIdfVectorizerAttr *a = t->a;
  int64_t id = 0;
  map_init(&t->tokens, t->e->scratch);
  map_init(&t->edges, t->e->scratch);
  t->gram = arena_array(t->e->scratch, int64_t, (size_t)t->npool + 1);
  t->gram[0] = -1;
  for (int64_t i = 0; i < a->ngram_counts.n; i++) {
    int64_t end = i + 1 < a->ngram_counts.n ? a->ngram_counts.v[i + 1] : t->npool;
    bool used = i + 1 >= a->min_gram_length && i + 1 <= a->max_gram_length;
    for (int64_t at = a->ngram_counts.v[i]; at < end; at += i + 1, id++) {
      if (used)
        add_gram(t, at, i + 1, id);
      if (id % 1024 == 0)
        TRY(ctx_poll(t->e->c));
    }
  }
  return ST_OK;
}

/* Elements of row r of the input as tokens; 0: not in the pool. */
static void row_tokens(const Trie *t, const Tensor *x, int64_t at, int64_t n, uint32_t *token) {
  for (int64_t i = 0; i < n; i++)
    if (x->dtype == DT_str) {
      Str s = ((const Str *)x->data)[at + i];
      token[i] = token_of(t, s.ptr, s.len);
    } else {
      int64_t v = elem_i64(x->dtype, x->data, at + i);
      token[i] = token_of(t, &v, sizeof v);
    }
}

/* Counts the n-grams of at least `least` tokens whose tokens stand `step` apart. */
static void count_row(const Trie *t, const uint32_t *token, int64_t n, int64_t step, int64_t least, float *y) {
  for (int64_t start = 0; start < n; start++) {
    uint32_t node = 0;
    int64_t length = 1;
    for (int64_t i = start; i < n && length <= t->a->max_gram_length; i += step, length++) {
      Edge edge = {node, token[i]};
      if (!token[i] || !(node = find(&t->edges, &edge, sizeof edge)))
        break;
      if (length >= least && t->gram[node] >= 0)
        y[t->a->ngram_indexes.v[t->gram[node]]]++;
    }
  }
}

/* Single tokens are counted once, however many skips there are. */
static Status count_grams(const Trie *t, const uint32_t *token, int64_t n, float *y) {
  int64_t least = t->a->min_gram_length, skips = t->a->max_skip_count < n ? t->a->max_skip_count : n;
  for (int64_t skip = 0; skip <= skips; skip++) {
    TRY(ctx_poll(t->e->c));
    count_row(t, token, n, skip + 1, least, y);
    if (least == 1 && ++least > t->a->max_gram_length)
      break;
  }
  return ST_OK;
}

/* The i-th weight belongs to the i-th n-gram of the pool. */
static void weigh(const Trie *t, const float *weight, bool idf, float *y) {
  for (int64_t i = 0; i < t->size; i++)
    y[i] = (idf ? (float)(y[i] > 0) : y[i]) * weight[i];
}

static Status output_weights(const Trie *t, bool *idf, float **weight) {
  Str mode = t->a->mode;
  *idf = str_is(mode, "IDF"), *weight = NULL;
  if (!*idf && !str_is(mode, "TF") && !str_is(mode, "TFIDF"))
    return eval_fail(t->e, "mode must be \"TF\", \"IDF\" or \"TFIDF\"");
  if (str_is(mode, "TF"))
    return ST_OK;
  *weight = arena_array(t->e->scratch, float, (size_t)t->size);
  for (int64_t i = 0; i < t->size; i++)
    (*weight)[i] = 1;
  for (int64_t i = 0; t->a->weights.v && i < t->ngrams; i++)
    (*weight)[t->a->ngram_indexes.v[i]] = t->a->weights.v[i];
  return ST_OK;
}

Status tfidf_eval(Eval *e) {
  const Tensor *x = e->in[0];
  Trie t = {.e = e, .a = e->attr};
  bool idf;
  float *weight;
  Tensor *y;
  TRY(operands(e, 1));
  TRY(check_pool(&t));
  TRY(check_indexes(&t));
  if ((x->dtype == DT_str) != (t.a->pool_strings.v != NULL))
    return eval_fail(e, "the pool holds %s", t.a->pool_strings.v ? "strings" : "integers");
  if (x->rank > 2)
    return eval_fail(e, "the input must be of shape [C] or [N, C]");
  int64_t rows = x->rank == 2 ? x->dim[0] : 1, n = x->rank ? x->dim[x->rank - 1] : 1, dim[2] = {rows, t.size};
  TRY(eval_out(e, 0, DT_f32, x->rank == 2 ? 2 : 1, x->rank == 2 ? dim : dim + 1, &y));
  TRY(output_weights(&t, &idf, &weight));
  TRY(build(&t));
  memset(y->data, 0, tensor_bytes(y));
  uint32_t *token = arena_array(e->scratch, uint32_t, (size_t)n);
  for (int64_t r = 0; r < rows; r++) {
    float *row = (float *)y->data + r * t.size;
    row_tokens(&t, x, r * n, n, token);
    TRY(count_grams(&t, token, n, row));
    if (weight)
      weigh(&t, weight, idf, row);
  }
  return ST_OK;
}
