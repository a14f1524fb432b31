/* regex.c - RegexFullMatch 20, with PCRE2.
 *
 * ONNX means RE2's language, which is regular; so PCRE2's automaton (pcre2_dfa_match) decides, whose time grows with the
 * string and not with the ways to match it, and what is not regular (back references, recursion) is refused. A pattern is a
 * stranger's text all the same: every item of it calls back, which counts the steps and looks at cancellation and deadline.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"

#if SARD_HAVE_PCRE2

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
  MAX_STEPS = 2 * 1000 * 1000,
  STEPS_PER_BYTE = 100, /* in one string: seconds at worst */
  MAX_NESTING = 250,
  MAX_PATTERN = 64 * 1024, /* parentheses, bytes */
  MIN_SPACE = 1000,
  MAX_SPACE = 16 * 1000, /* ints for the automaton's states: a step costs as much */
};

typedef struct Regex {
  Eval *e;
  pcre2_general_context *memory;
  pcre2_compile_context *compile;
  pcre2_match_context *match;
  pcre2_match_data *data;
  pcre2_code *code;
  int *space;
  size_t nspace;
  int64_t steps, most; /* in this string */
  Status stop;
  Cleanup cleanup;
} Regex;

/* PCRE2's memory is counted: an Alloc's blocks carry their size in front. */
static void *regex_get(PCRE2_SIZE n, void *arg) {
  Regex *r = arg;
  size_t *p = n < SIZE_MAX - 16 ? alloc_get(r->e->c->alloc, n + 16, 16) : NULL;
  if (!p)
    return NULL;
  *p = n + 16;
  return p + 2;
}

static void regex_put(void *p, void *arg) {
  Regex *r = arg;
  if (p)
    alloc_put(r->e->c->alloc, (size_t *)p - 2, ((size_t *)p)[-2]);
}

static void regex_close(void *arg) {
  Regex *r = arg;
  pcre2_match_data_free(r->data);
  pcre2_code_free(r->code);
  pcre2_match_context_free(r->match);
  pcre2_compile_context_free(r->compile);
  pcre2_general_context_free(r->memory);
}

static int on_step(pcre2_callout_block *block, void *arg) {
  Regex *r = arg;
  (void)block;
  if (++r->steps % 1024)
    return 0;
  r->stop = ctx_poll(r->e->c);
  if (!r->stop && r->steps > r->most)
    r->stop = eval_fail(r->e, "the pattern is too complex: matching takes more than %lld steps", (long long)r->most);
  return r->stop ? PCRE2_ERROR_CALLOUT : 0;
}

static Status out_of_memory(Regex *r) { return fail(r->e->c, ST_MEMORY, "out of memory for a regular expression"); }

static Status regex_open(Regex *r, Str pattern) {
  int code;
  PCRE2_SIZE at;
  char text[256];
  r->memory = pcre2_general_context_create(regex_get, regex_put, r);
  r->compile = r->memory ? pcre2_compile_context_create(r->memory) : NULL;
  r->match = r->compile ? pcre2_match_context_create(r->memory) : NULL;
  if (!r->match)
    return out_of_memory(r);
  pcre2_set_parens_nest_limit(r->compile, MAX_NESTING);
  pcre2_set_max_pattern_length(r->compile, MAX_PATTERN);
  pcre2_set_match_limit(r->match, 1000 * 1000);
  pcre2_set_depth_limit(r->match, 1000);
  pcre2_set_heap_limit(r->match, 64 * 1024); /* KiB */
  pcre2_set_callout(r->match, on_step, r);
  r->code = pcre2_compile((PCRE2_SPTR)(pattern.len ? pattern.ptr : ""), pattern.len,
                          PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT, &code, &at,
                          r->compile);
  if (!r->code && code == PCRE2_ERROR_HEAP_FAILED)
    return out_of_memory(r);
  if (!r->code) {
    pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
    return eval_fail(r->e, "pattern \"%.*s\" is not a regular expression: %s, at byte %zu",
                     (int)(pattern.len < 200 ? pattern.len : 200), pattern.ptr, text, (size_t)at);
  }
  r->data = pcre2_match_data_create(1, r->memory);
  return r->data ? ST_OK : out_of_memory(r);
}

/* Does the whole of s match? A string that is not UTF-8 does not. */
static Status regex_match(Regex *r, Str s, bool *yes) {
  for (;; r->nspace *= 2) {
    if (!r->space)
      r->space = arena_array(r->e->scratch, int, r->nspace);
    r->steps = 0, r->most = MAX_STEPS + (int64_t)s.len * STEPS_PER_BYTE, r->stop = ST_OK;
    int rc = pcre2_dfa_match(r->code, (PCRE2_SPTR)(s.len ? s.ptr : ""), s.len, 0, PCRE2_ANCHORED | PCRE2_ENDANCHORED,
                             r->data, r->match, r->space, r->nspace);
    *yes = rc >= 0;
    if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH || (rc <= PCRE2_ERROR_UTF8_ERR1 && rc >= PCRE2_ERROR_UTF8_ERR21))
      return ST_OK;
    if (r->stop)
      return r->stop;
    if (rc == PCRE2_ERROR_DFA_UITEM || rc == PCRE2_ERROR_DFA_UCOND || rc == PCRE2_ERROR_DFA_RECURSE)
      return eval_fail(r->e, "the pattern goes beyond RE2's syntax (back references, recursion, conditions)");
    if (rc == PCRE2_ERROR_NOMEMORY)
      return out_of_memory(r);
    if (rc != PCRE2_ERROR_DFA_WSSIZE || r->nspace > MAX_SPACE)
      return eval_fail(r->e, "the pattern is too complex (PCRE2 error %d)", rc);
    r->space = NULL;
  }
}

static Status match_all(Regex *r, const Tensor *x, Tensor *y) {
  const RegexFullMatchAttr *a = r->e->attr;
  TRY(regex_open(r, a->pattern));
  for (int64_t i = 0, n = tensor_count(x); i < n; i++) {
    bool yes = false;
    TRY(ctx_poll(r->e->c));
    TRY(regex_match(r, ((const Str *)x->data)[i], &yes));
    ((uint8_t *)y->data)[i] = yes;
  }
  return ST_OK;
}

Status regex_full_match_eval(Eval *e) {
  const RegexFullMatchAttr *a = e->attr;
  Tensor *y;
  TRY(operands(e, 1));
  if (!a->pattern.ptr)
    return eval_fail(e, "attribute 'pattern' is missing");
  TRY(eval_out(e, 0, DT_bool, e->in[0]->rank, e->in[0]->dim, &y));
  Regex *r = arena_new(e->scratch, Regex);
  *r = (Regex){.e = e, .nspace = MIN_SPACE};
  ctx_on_failure(e->c, &r->cleanup, regex_close, r); /* arenas may unwind */
  Status st = match_all(r, e->in[0], y);
  ctx_forget(e->c, &r->cleanup);
  regex_close(r);
  return st;
}

#else

Status regex_full_match_eval(Eval *e) {
  return err_hint(e->c, eval_unsupported(e, "this build has no regular expressions: it was made without PCRE2"),
                  "install libpcre2-dev and build again");
}

#endif
