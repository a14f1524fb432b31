/* cache.c - `sard cache`: list, check and remove the entries of the compile cache.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cache.h"
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

static void add_json(Listing *l, const CacheInfo *x) {
  buf_puts(l->out, l->n ? ", {\"file\": " : "{\"file\": ");
  json_str(l->out, x->name);
  buf_printf(l->out, ", \"bytes\": %llu, \"model\": ", (unsigned long long)x->bytes);
  json_str(l->out, x->model);
  buf_puts(l->out, ", \"made_for\": ");
  json_str(l->out, x->about);
  buf_printf(l->out, ", \"written\": %lld, \"problem\": ", (long long)(x->written_ns / 1000000000));
  if (x->problem)
    json_str(l->out, x->problem);
  else
    buf_puts(l->out, "null");
  buf_putc(l->out, '}');
}

static void add_text(Listing *l, const CacheInfo *x) {
  char s1[16], s2[16], when[32] = "";
  time_t seconds = (time_t)(x->written_ns / 1000000000);
  struct tm tm;
  if (localtime_r(&seconds, &tm))
    strftime(when, sizeof when, "%Y-%m-%d %H:%M", &tm);
  if (l->verify)
    buf_printf(l->out, "%s%s%s  ", tool_style(l->t, x->problem ? "31" : "32", s1), x->problem ? "DAMAGED" : "ok     ",
               tool_style(l->t, "0", s2));
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

Status cmd_cache(Tool *t) {
  const char *what = t->o->arg[0], *dir = cache_directory(t->arena, opt_str(t->o, OPT_cache));
  bool verify = !strcmp(what, "verify");
  struct stat st;
  Cache *d = NULL;
  if (!verify && strcmp(what, "list") && strcmp(what, "clear"))
    return err_hint(t->c, fail(t->c, ST_USAGE, "sard cache cannot '%s'", what),
                    "list, verify and clear are what it does");
  if (!dir)
    return err_hint(t->c, fail(t->c, ST_USAGE, "the compile cache is off"), "name a directory with --cache");
  if (!stat(dir, &st) || errno != ENOENT) /* none has been made: an empty one */
    TRY(cache_open(t->c, t->arena, dir, false, &d));
  return strcmp(what, "clear") ? list(t, d, dir, verify) : clear(t, d, dir);
}
