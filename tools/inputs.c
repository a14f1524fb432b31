/* inputs.c - from options to one checked tensor per graph input.
 * Order of work: --bind, then what has a shape of its own (files, literals, text), then generated values whose shape
 * comes from the model and the symbols known by then.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/inputs.h"

#include "tools/files.h"
#include "tools/literal.h"
#include "tools/npy.h"
#include "tools/npz.h"
#include "tools/pb.h"
#include "tools/tokenizer.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct Gather {
  Tool *t;
  const Session *s;
  const Tensor **value;
  Generator *gen;    /* kind GEN_NONE: none for this input */
  const char **from; /* where the value came from, for messages */
  Bindings sym;
} Gather;

/* --- files --- */

static const char *array_name(void *arg, size_t i) { return npz_name(arg, i); }

static Status from_npz(Ctx *c, Arena *a, const char *path, const Port *p, Tensor **out) {
  Npz *z;
  TRY(npz_open(c, a, path, &z));
  int64_t i = p ? npz_find(z, p->name) : -1;
  if (i < 0 && npz_name(z, 0) && !npz_name(z, 1))
    i = 0;
  if (i < 0) {
    err_file(c, fail(c, ST_USAGE, "the archive has no array '%s'", p ? p->name : ""), path);
    const char *near = p ? nearest_name(p->name, array_name, z) : NULL;
    return near ? err_hint(c, ST_USAGE, "the nearest name in it is '%s'", near) : ST_USAGE;
  }
  Status st = npz_read(z, (size_t)i, p ? p->dtype : DT_none, out);
  if (!st)
    npz_close(z);
  return st;
}

/* A value from a file, by its suffix; p (may be NULL) is what it is for. An .npz of several arrays must have one named
 * so. */
static Status value_from_file(Ctx *c, Arena *a, const char *path, const Port *p, Tensor **out) {
  Str bytes;
  if (has_suffix(path, ".npz"))
    return from_npz(c, a, path, p, out);
  bool npy = has_suffix(path, ".npy");
  if (!npy && !has_suffix(path, ".pb"))
    return err_hint(c,
                    fail(c, ST_USAGE, "'%s' is neither a literal nor a generator nor an .npy, .npz or .pb file", path),
                    "write [[1,2],[3,4]], random:2x128, ones:2, zeros, arange:8 or a file name");
  TRY(file_read(c, a, path, &bytes));
  Status st = npy ? npy_read(c, a, bytes.ptr, bytes.len, p ? p->dtype : DT_none, out)
                  : pb_read(c, a, p ? p->kind : VK_TENSOR, bytes.ptr, bytes.len, out, NULL);
  return st ? err_file(c, st, path) : ST_OK;
}

/* --- checks --- */

static const char *value_type(Arena *a, const Tensor *v) {
  char *text = arena_get(a, 320, 1, 1);
  return tensor_type_text(v, text, 320);
}

static Status mismatch(Gather *g, size_t i, const Tensor *v, const char *what) {
  const Port *p = &g->s->in[i];
  fail(g->t->c, ST_INVALID, "input '%s': the model wants %s, %s is %s%s%s", p->name, p->type, g->from[i],
       value_type(g->t->arena, v), *what ? ": " : "", what);
  return ST_INVALID;
}

static Status check_dim(Gather *g, size_t i, const Tensor *v, int axis) {
  const Port *p = &g->s->in[i];
  Arena *a = g->t->arena;
  int64_t want;
  if (p->dim[axis] >= 0)
    return p->dim[axis] == v->dim[axis] ? ST_OK
                                        : mismatch(g, i, v,
                                                   arena_printf(a, "dimension %d is %lld, not %lld", axis,
                                                                (long long)v->dim[axis], (long long)p->dim[axis]));
  if (!p->dim_text[axis])
    return ST_OK;
  Dim d = dim_parse(g->t->c, p->dim_text[axis], strlen(p->dim_text[axis]));
  if (d->kind == DIM_SYM) {
    Binding *x = bindings_find(&g->sym, d->name);
    if (!x)
      bindings_add(&g->sym, d->name, v->dim[axis], arena_printf(a, "input '%s'", p->name));
    else if (x->value != v->dim[axis])
      return mismatch(g, i, v,
                      arena_printf(a, "dimension %d (%s) is %lld, but %s makes it %lld", axis, d->name,
                                   (long long)v->dim[axis], x->from, (long long)x->value));
    else
      x->used = true;
  } else if (bindings_eval(&g->sym, d, &want) && want != v->dim[axis])
    return mismatch(g, i, v,
                    arena_printf(a, "dimension %d (%s) is %lld, and should be %lld", axis, p->dim_text[axis],
                                 (long long)v->dim[axis], (long long)want));
  return ST_OK;
}

static Status check_value(Gather *g, size_t i) {
  const Port *p = &g->s->in[i];
  const Tensor *v = g->value[i];
  if (v->kind != p->kind)
    return mismatch(g, i, v, "");
  if (v->kind != VK_TENSOR)
    return ST_OK;
  if (p->dtype && v->dtype != p->dtype) {
    mismatch(g, i, v, "");
    return err_hint(g->t->c, ST_INVALID, "store it as %s",
                    *dtype_numpy(p->dtype) ? dtype_numpy(p->dtype) : dtype_name(p->dtype));
  }
  if (p->rank >= 0 && v->rank != p->rank)
    return mismatch(g, i, v,
                    arena_printf(g->t->arena, "%d dimension%s, not %d", v->rank, v->rank == 1 ? "" : "s", p->rank));
  for (int k = 0; k < p->rank; k++)
    TRY(check_dim(g, i, v, k));
  return ST_OK;
}

static Status set_value(Gather *g, size_t i, const Tensor *v, const char *from) {
  if (g->value[i] || g->gen[i].kind)
    return fail(g->t->c, ST_USAGE, "input '%s' is given twice: by %s and by %s", g->s->in[i].name, g->from[i], from);
  g->value[i] = v, g->from[i] = from;
  return ST_OK;
}

/* --- where values come from --- */

static Status from_inputs_file(Gather *g, const char *path) {
  Npz *z;
  const Session *s = g->s;
  TRY(npz_open(g->t->c, g->t->arena, path, &z));
  for (size_t k = 0; npz_name(z, k); k++) {
    Tensor *v;
    size_t i = 0;
    while (i < s->nin && strcmp(s->in[i].name, npz_name(z, k)))
      i++;
    if (i == s->nin)
      return err_file(g->t->c, unknown_port(g->t->c, "input", npz_name(z, k), s->in, s->nin), path);
    TRY(npz_read(z, k, s->in[i].dtype, &v));
    TRY(set_value(g, i, v, arena_printf(g->t->arena, "the array in %s", path)));
  }
  npz_close(z);
  return ST_OK;
}

/* The input that `NAME=VALUE` names: names may hold '=', so the longest that fits. */
static Status find_input(Gather *g, const char *arg, size_t *index, const char **value) {
  const Session *s = g->s;
  size_t best = 0;
  *value = NULL;
  for (size_t i = 0; i < s->nin; i++) {
    size_t n = strlen(s->in[i].name);
    if (!strncmp(arg, s->in[i].name, n) && arg[n] == '=' && (!*value || n > best))
      best = n, *index = i, *value = arg + n + 1;
  }
  if (*value)
    return ST_OK;
  const char *eq = strchr(arg, '=');
  if (!eq)
    return err_hint(g->t->c, fail(g->t->c, ST_USAGE, "--input %s: NAME=VALUE is wanted", arg),
                    "inputs: see sard inspect");
  return unknown_port(g->t->c, "input", arena_strndup(g->t->arena, arg, (size_t)(eq - arg)), s->in, s->nin);
}

static Status from_input_option(Gather *g, const char *arg) {
  size_t i = 0;
  const char *text;
  Tensor *v;
  Generator gen;
  Ctx *c = g->t->c;
  Arena *a = g->t->arena;
  TRY(find_input(g, arg, &i, &text));
  const Port *p = &g->s->in[i];
  TRY(generator_parse(c, text, &gen));
  if (gen.kind) {
    TRY(set_value(g, i, NULL, text));
    g->gen[i] = gen;
    return ST_OK;
  }
  if (is_literal(text)) {
    if (p->kind != VK_TENSOR || !p->dtype)
      return fail(c, ST_USAGE, "input '%s' is %s, which no literal gives", p->name, p->type);
    Status st = literal_parse(c, a, text, p->dtype, &v);
    if (st)
      return err_note(c, st, "input '%s'", p->name);
    return set_value(g, i, v, "the literal");
  }
  Status st = value_from_file(c, a, text, p, &v);
  if (st)
    return err_note(c, st, "input '%s'", p->name);
  return set_value(g, i, v, arena_printf(a, "the value in %s", text));
}

/* The declared extents; how: what to write for an input whose extents nothing tells. */
static Status declared_shape(Gather *g, size_t i, const char *how, int how_len, int64_t *dim) {
  Ctx *c = g->t->c;
  const Port *p = &g->s->in[i];
  for (int k = 0; k < p->rank; k++) {
    const char *text = p->dim_text[k];
    dim[k] = p->dim[k];
    if (dim[k] >= 0)
      continue;
    if (!text || !bindings_eval(&g->sym, dim_parse(c, text, strlen(text)), &dim[k])) {
      fail(c, ST_USAGE, "input '%s' is %s: dimension %d (%s) has no value", p->name, p->type, k, text ? text : "?");
      return err_hint(c, ST_USAGE, "bind it (--bind %s=4) or give a shape (%.*s:2x128)", text ? text : "NAME", how_len,
                      how);
    }
  }
  return ST_OK;
}

static Status generate(Gather *g, size_t i) {
  Ctx *c = g->t->c;
  const Port *p = &g->s->in[i];
  Generator *gen = &g->gen[i];
  int64_t dim[MAX_RANK];
  Tensor *v;
  int rank = gen->has_shape ? gen->rank : p->rank;
  if (p->kind != VK_TENSOR)
    return fail(c, ST_USAGE, "input '%s' is %s, which is not generated", p->name, p->type);
  if (rank < 0)
    return fail(c, ST_USAGE, "input '%s' has no declared shape: say random:2x128", p->name);
  if (gen->has_shape)
    memcpy(dim, gen->dim, sizeof dim);
  else
    TRY(declared_shape(g, i, g->from[i], (int)strcspn(g->from[i], ":"), dim));
  Status st = generator_make(c, g->t->arena, gen, p->dtype, rank, dim, opt_int(g->t->o, OPT_seed, 0), p->name, &v);
  if (st)
    return err_note(c, st, "input '%s'", p->name);
  g->value[i] = v;
  return check_value(g, i);
}

/* A value of the declared shape, without data. */
static Status shape_only(Gather *g, size_t i) {
  const Port *p = &g->s->in[i];
  Tensor *v = arena_new(g->t->arena, Tensor);
  if (p->kind == VK_TENSOR && (p->rank < 0 || !p->dtype))
    return fail(g->t->c, ST_USAGE, "input '%s' is %s: its shape is not declared, give a value (--input)", p->name,
                p->type);
  *v = (Tensor){.kind = (uint8_t)p->kind, .dtype = p->dtype, .rank = (int8_t)(p->kind == VK_TENSOR ? p->rank : 0)};
  g->value[i] = v;
  return p->kind == VK_TENSOR ? declared_shape(g, i, "random", 6, v->dim) : ST_OK;
}

/* --- text --- */

static const char *tokenizer_path(Gather *g) {
  const char *given = opt_str(g->t->o, OPT_tokenizer), *slash = strrchr(g->s->path, '/');
  if (given)
    return given;
  const char *beside =
      arena_printf(g->t->arena, "%.*stokenizer.json", slash ? (int)(slash + 1 - g->s->path) : 0, g->s->path);
  return access(beside, F_OK) ? NULL : beside;
}

static Status from_text(Gather *g) {
  static const char *const names[TOKEN_LISTS] = {"input_ids", "attention_mask", "token_type_ids"};
  const OptValue *text = &g->t->o->v[OPT_text];
  Ctx *c = g->t->c;
  const char *path = tokenizer_path(g);
  if (!path)
    return err_hint(c, fail(c, ST_USAGE, "--text needs a tokenizer, and there is no tokenizer.json beside the model"),
                    "give one with --tokenizer tokenizer.json");
  Tokenizer *tok;
  TokenBatch batch;
  bool any = false;
  TRY(tokenizer_load(c, g->t->arena, path, &tok));
  TRY(tokenizer_encode(tok, text->list, text->n, &batch));
  for (size_t i = 0; i < g->s->nin; i++)
    for (int k = 0; k < TOKEN_LISTS; k++) {
      const Port *p = &g->s->in[i];
      if (strcmp(p->name, names[k]) || g->value[i] || g->gen[i].kind)
        continue;
      int64_t dim[2] = {batch.n, batch.len};
      Tensor *v;
      if (p->dtype != DT_i64 && p->dtype != DT_i32)
        return fail(c, ST_UNSUPPORTED, "input '%s' is %s: text fills inputs of i64 and i32", p->name, p->type);
      TRY(tensor_new(c, g->t->arena, p->dtype, 2, dim, &v));
      for (int64_t e = 0; e < batch.n * batch.len; e++)
        elem_set_i64(p->dtype, v->data, e, batch.list[k][e]);
      TRY(set_value(g, i, v, "--text"));
      any = true;
    }
  if (!any)
    return err_hint(
        c,
        fail(c, ST_USAGE,
             "--text fills input_ids, attention_mask and token_type_ids; the model has none of them left to fill"),
        "sard inspect %s lists its inputs", g->s->path);
  return ST_OK;
}

/* --- all of them --- */

static Status missing_inputs(Gather *g) {
  StrBuf b;
  int n = 0;
  const char *first = NULL;
  buf_init(&b, g->t->arena);
  for (size_t i = 0; i < g->s->nin; i++) {
    const Port *p = &g->s->in[i];
    if (g->value[i] || g->gen[i].kind || p->optional)
      continue;
    buf_printf(&b, "%s'%s' %s", n++ ? ", " : "", p->name, p->type);
    if (!first)
      first = p->name;
  }
  if (!n)
    return ST_OK;
  fail(g->t->c, ST_USAGE, n == 1 ? "no value for input %s" : "no values for the inputs %s", b.text);
  return err_hint(g->t->c, ST_USAGE, "--input %s=FILE.npy, or =random:SHAPE, or --inputs FILE.npz", first);
}

static const char *symbol_name(void *arg, size_t i) { return sard_symbol_name(((const Session *)arg)->model, i); }

static Status gather(Tool *t, const Session *s, const char *npz, bool shapes, const Tensor ***out) {
  const Options *o = t->o;
  Gather g = {.t = t, .s = s, .sym = {.c = t->c, .a = t->arena}};
  g.value = arena_array(t->arena, const Tensor *, s->nin);
  g.gen = arena_array(t->arena, Generator, s->nin);
  g.from = arena_array(t->arena, const char *, s->nin);
  TRY(bindings_parse(&g.sym, o->v[OPT_bind].list, o->v[OPT_bind].n));
  TRY(bindings_check(&g.sym, symbol_name, (void *)(uintptr_t)s));
  for (uint32_t i = 0; i < o->v[OPT_input].n; i++)
    TRY(from_input_option(&g, o->v[OPT_input].list[i]));
  if (npz)
    TRY(from_inputs_file(&g, npz));
  if (opt_set(o, OPT_text))
    TRY(from_text(&g));
  if (!shapes)
    TRY(missing_inputs(&g));
  for (int round = 0; round < 2; round++) /* expressions are checked once every plain symbol is known */
    for (size_t i = 0; i < s->nin; i++)
      if (g.value[i])
        TRY(check_value(&g, i));
  for (size_t i = 0; i < s->nin; i++)
    if (g.gen[i].kind && g.gen[i].has_shape)
      TRY(generate(&g, i));
  for (size_t i = 0; i < s->nin; i++)
    if (g.gen[i].kind && !g.gen[i].has_shape)
      TRY(generate(&g, i));
  for (size_t i = 0; i < s->nin; i++)
    if (shapes && !g.value[i] && !s->in[i].optional)
      TRY(shape_only(&g, i));
  *out = g.value;
  return ST_OK;
}

Status inputs_gather_from(Tool *t, const Session *s, const char *npz, const Tensor ***out) {
  return gather(t, s, npz, false, out);
}

Status inputs_shapes(Tool *t, const Session *s, const Tensor ***out) {
  return gather(t, s, opt_str(t->o, OPT_inputs), true, out);
}

Status inputs_gather(Tool *t, const Session *s, const Tensor ***out) {
  return inputs_gather_from(t, s, opt_str(t->o, OPT_inputs), out);
}
