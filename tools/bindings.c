/* bindings.c - values of symbolic dimensions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/bindings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

Binding *bindings_find(const Bindings *s, const char *name) {
  for (Binding *x = s->first; x; x = x->next)
    if (!strcmp(x->name, name))
      return x;
  return NULL;
}

Binding *bindings_add(Bindings *s, const char *name, int64_t value, const char *from) {
  Binding *x = arena_new(s->a, Binding);
  *x = (Binding){.name = name, .from = from, .value = value, .next = s->first};
  return s->first = x;
}

static Status parse_one(Bindings *s, const char *text, size_t n) {
  const char *eq = NULL; /* the last one: a name may hold any character */
  for (size_t i = 0; i < n; i++)
    if (text[i] == '=')
      eq = text + i;
  char *end;
  errno = 0;
  int64_t v = eq ? strtoll(eq + 1, &end, 10) : -1;
  if (!eq || eq == text || end == eq + 1 || end != text + n || errno || v < 0)
    return err_hint(s->c, fail(s->c, ST_USAGE, "--bind %.*s: SYMBOL=NUMBER is wanted", (int)n, text),
                    "for example --bind batch=4,seq=128");
  const char *name = arena_strndup(s->a, text, (size_t)(eq - text));
  Binding *old = bindings_find(s, name);
  if (old && old->value != v)
    return fail(s->c, ST_USAGE, "--bind gives %s two values, %lld and %lld", name, (long long)old->value, (long long)v);
  if (!old)
    bindings_add(s, name, v, "--bind");
  return ST_OK;
}

Status bindings_parse(Bindings *s, const char *const *list, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    for (const char *p = list[i]; *p;) {
      size_t len = strcspn(p, ",");
      TRY(parse_one(s, p, len));
      p += len + (p[len] == ',');
    }
  return ST_OK;
}

static bool get(void *arg, Dim sym, int64_t *v) {
  Binding *x = bindings_find(arg, sym->name);
  if (!x)
    return false;
  x->used = true;
  *v = x->value;
  return true;
}

bool bindings_eval(Bindings *s, Dim d, int64_t *v) { return dim_eval(d, get, s, v); }

Status bindings_check(const Bindings *s, const char *(*names)(void *arg, size_t i), void *arg) {
  for (const Binding *x = s->first; x; x = x->next) {
    bool known = strcmp(x->from, "--bind") != 0;
    for (size_t i = 0; !known && names(arg, i); i++)
      known = !strcmp(names(arg, i), x->name);
    if (known)
      continue;
    fail(s->c, ST_USAGE, "--bind %s=%lld: the model has no such symbolic dimension", x->name, (long long)x->value);
    const char *near = nearest_name(x->name, names, arg);
    if (near)
      return err_hint(s->c, ST_USAGE, "did you mean %s?", near);
    StrBuf b;
    buf_init(&b, s->a);
    for (size_t i = 0; names(arg, i); i++)
      buf_printf(&b, "%s%s", i ? ", " : "", names(arg, i));
    return b.len ? err_hint(s->c, ST_USAGE, "symbolic dimensions of the model: %s", b.text)
                 : err_hint(s->c, ST_USAGE, "all dimensions of the model's inputs are fixed");
  }
  return ST_OK;
}
