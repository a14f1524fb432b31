/* cache.c - `sard cache`: list, check and remove the entries of the compile cache; check compiled models.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cache.h"
#include "runtime/package.h"
#include "tools/json.h"
#include "tools/tool.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

typedef struct Listing {
  Tool *t;
  StrBuf *out;
  bool json, verify;
  uint32_t n, bad;
  int64_t bytes;
} Listing;

static void json_str_or_null(StrBuf *b, const char *s) {
  if (s)
    json_str(b, s);
  else
    buf_puts(b, "null");
}

static void add_json(Listing *l, const CacheInfo *x) {
  buf_puts(l->out, l->n ? ", {\"file\": " : "{\"file\": ");
  json_str(l->out, x->name);
  buf_printf(l->out, ", \"bytes\": %llu, \"model\": ", (unsigned long long)x->bytes);
  json_str(l->out, x->model);
  buf_puts(l->out, ", \"made_for\": ");
  json_str(l->out, x->about);
  buf_printf(l->out, ", \"written\": %lld, \"problem\": ", (long long)(x->written_ns / 1000000000));
  json_str_or_null(l->out, x->problem);
  buf_putc(l->out, '}');
}

static void add_verdict(const Listing *l, const char *problem) {
  char s1[16], s2[16];
  buf_printf(l->out, "%s%s%s  ", tool_style(l->t, problem ? "31" : "32", s1), problem ? "DAMAGED" : "ok     ",
             tool_style(l->t, "0", s2));
}

static void add_text(Listing *l, const CacheInfo *x) {
  char when[32] = "";
  time_t seconds = (time_t)(x->written_ns / 1000000000);
  struct tm tm;
  if (localtime_r(&seconds, &tm))
    strftime(when, sizeof when, "%Y-%m-%d %H:%M", &tm);
  if (l->verify)
    add_verdict(l, x->problem);
  if (x->problem) {
    buf_printf(l->out, "%s: %s\n", x->name, x->problem);
    return;
  }
  buf_pad(l->out, bytes_text(l->t->arena, (int64_t)x->bytes), -8);
  buf_printf(l->out, "  %s  ", when);
  buf_escaped(l->out, *x->model ? x->model : "(a model from memory)");
  buf_printf(l->out, "  %s\n", x->about);
}

static Status add(void *arg, const CacheInfo *x) {
  Listing *l = arg;
  (l->json ? add_json : add_text)(l, x);
  l->n++, l->bad += x->problem != NULL, l->bytes += (int64_t)x->bytes;
  return ST_OK;
}

static void begin_json(StrBuf *out, const char *dir) {
  buf_puts(out, "{\"directory\": ");
  json_str(out, dir);
}

static int64_t limit_of_cache(void) { return cache_limit() < INT64_MAX ? (int64_t)cache_limit() : INT64_MAX; }

static Status list(Tool *t, const Cache *d, const char *dir, bool verify) {
  StrBuf out;
  buf_init(&out, t->arena);
  Listing l = {.t = t, .out = &out, .json = opt_set(t->o, OPT_json), .verify = verify};
  if (l.json)
    begin_json(&out, dir);
  buf_puts(&out, l.json ? ", \"entries\": [" : "");
  if (d)
    TRY(cache_each(t->c, d, verify, add, &l));
  if (l.json)
    buf_puts(&out, "]}\n");
  else
    buf_printf(&out, "%u %s, %s of at most %s, in %s\n", l.n, l.n == 1 ? "entry" : "entries",
               bytes_text(t->arena, l.bytes), bytes_text(t->arena, limit_of_cache()), dir);
  t->failed = verify && l.bad;
  return tool_print(t, &out);
}

static Status clear(Tool *t, const Cache *d, const char *dir) {
  StrBuf out;
  uint32_t n = 0;
  uint64_t bytes = 0;
  buf_init(&out, t->arena);
  if (d)
    TRY(cache_clear(t->c, d, &n, &bytes));
  if (opt_set(t->o, OPT_json)) {
    begin_json(&out, dir);
    buf_printf(&out, ", \"removed\": %u, \"bytes\": %llu}\n", n, (unsigned long long)bytes);
  } else if (!opt_set(t->o, OPT_quiet)) {
    buf_printf(&out, "removed %u %s, %s, from %s\n", n, n == 1 ? "entry" : "entries",
               bytes_text(t->arena, (int64_t)bytes), dir);
  }
  return tool_print(t, &out);
}

/* --- compiled models --- */

typedef struct Check {
  const char *path;
  uint64_t bytes; /* its own, and those of its weights beside */
} Check;

static Status check_file(Ctx *c, void *arg) {
  Check *x = arg;
  Mapped *m, *beside;
  Package p;
  RtFile weights;
  Arena *a = arena_create(c);
  TRY(map_open(c, a, x->path, &m));
  if (!package_is(m))
    return fail(c, ST_INVALID, "there is no compiled model in this file");
  TRY(package_find(c, m, &p));
  TRY(package_weights(c, a, &p, x->path, NULL, &beside, &weights));
  TRY(package_verify(c, &p, &weights));
  x->bytes = m->size + (beside ? beside->size : 0);
  if (beside)
    map_close(c, beside);
  map_close(c, m);
  arena_destroy(a);
  return ST_OK;
}

static void add_file(Listing *l, const Check *x, const char *problem) {
  if (l->json) {
    buf_puts(l->out, l->n ? ", {\"file\": " : "{\"file\": ");
    json_str(l->out, x->path);
    buf_printf(l->out, ", \"bytes\": %llu, \"problem\": ", (unsigned long long)x->bytes);
    json_str_or_null(l->out, problem);
    buf_putc(l->out, '}');
  } else {
    add_verdict(l, problem);
    if (!problem)
      buf_pad(l->out, bytes_text(l->t->arena, (int64_t)x->bytes), -8), buf_puts(l->out, "  ");
    buf_escaped(l->out, x->path);
    buf_printf(l->out, problem ? ": %s\n" : "\n", problem);
  }
  l->n++, l->bad += problem != NULL;
}

static Status verify_files(Tool *t) {
  StrBuf out;
  buf_init(&out, t->arena);
  Listing l = {.t = t, .out = &out, .json = opt_set(t->o, OPT_json)};
  buf_puts(&out, l.json ? "{\"files\": [" : "");
  for (int i = 1; i < t->o->narg; i++) {
    Check x = {.path = t->o->arg[i]};
    Status st = ctx_protect(t->c, check_file, &x);
    if (st && st != ST_INVALID)
      return err_file(t->c, st, x.path);
    add_file(&l, &x, st ? t->c->err.message : NULL);
  }
  buf_puts(&out, l.json ? "]}\n" : "");
  t->failed = l.bad;
  return tool_print(t, &out);
}

Status cmd_cache(Tool *t) {
  const char *what = t->o->arg[0], *dir = cache_directory(t->arena, opt_str(t->o, OPT_cache));
  bool verify = !strcmp(what, "verify");
  struct stat st;
  Cache *d = NULL;
  if (!verify && strcmp(what, "list") && strcmp(what, "clear"))
    return err_hint(t->c, fail(t->c, ST_USAGE, "sard cache cannot '%s'", what),
                    "list, verify and clear are what it does");
  if (t->o->narg > 1)
    return verify ? verify_files(t) : fail(t->c, ST_USAGE, "sard cache %s takes no files; verify does", what);
  if (!dir)
    return err_hint(t->c, fail(t->c, ST_USAGE, "the compile cache is off"), "name a directory with --cache");
  if (!stat(dir, &st) || errno != ENOENT) /* none has been made: an empty one */
    TRY(cache_open(t->c, t->arena, dir, false, &d));
  return strcmp(what, "clear") ? list(t, d, dir, verify) : clear(t, d, dir);
}
