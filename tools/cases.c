/* cases.c - finding ONNX test cases: model.onnx, test_data_set_N/{input,output}_M.pb, tolerance.txt.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/cases.h"

#include "tools/files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 12 };

typedef struct Search {
  Ctx *c;
  Arena *a;
  const char *root;
  TestCase *list;
  size_t n, cap;
} Search;

/* The names in a folder, sorted; those with a leading dot are left out. */
static Status list_names(Ctx *c, Arena *a, const char *dir, char ***out, size_t *n) {
  struct dirent **entry;
  Cleanup *held = arena_new(a, Cleanup);
  int found = scandir(dir, &entry, NULL, alphasort);
  if (found < 0)
    return fail_errno(c, "open the folder", dir);
  size_t bytes = 0;
  for (int i = 0; i < found; i++)
    bytes += strlen(entry[i]->d_name) + 1;
  /* scandir's list is malloced: memory for the copy is taken in a way that cannot unwind past its free. */
  char *text = malloc(bytes + 1), *at = text;
  for (int i = 0; i < found; i++) {
    if (text && entry[i]->d_name[0] != '.')
      at = stpcpy(at, entry[i]->d_name) + 1;
    free(entry[i]);
  }
  free(entry);
  *n = 0;
  if (!text)
    return fail(c, ST_MEMORY, "out of memory");
  for (char *p = text; p < at; p += strlen(p) + 1)
    ++*n;
  ctx_on_failure(c, held, free, text);
  *out = arena_array(a, char *, *n);
  size_t i = 0;
  for (char *p = text; p < at; p += strlen(p) + 1)
    (*out)[i++] = arena_strdup(a, p);
  ctx_forget(c, held);
  free(text);
  return ST_OK;
}

static bool is_dir(const char *path) {
  struct stat s;
  return !stat(path, &s) && S_ISDIR(s.st_mode);
}

static Status read_tolerance(Ctx *c, Arena *a, TestCase *x) {
  const char *path = arena_printf(a, "%s/tolerance.txt", x->dir);
  Str text;
  x->rtol = x->atol = -1;
  if (access(path, F_OK))
    return ST_OK;
  TRY(file_read(c, a, path, &text));
  if (sscanf(text.ptr, "%lf %lf", &x->rtol, &x->atol) != 2 || !(x->rtol >= 0) || !(x->atol >= 0))
    return err_file(c, fail(c, ST_INVALID, "two numbers are wanted, \"rtol atol\""), path);
  return ST_OK;
}

static long set_number(const char *name) {
  static const char stem[] = "test_data_set_";
  char *end;
  if (strncmp(name, stem, sizeof stem - 1))
    return -1;
  long v = strtol(name + sizeof stem - 1, &end, 10);
  return *end || end == name + sizeof stem - 1 ? -1 : v;
}

static int by_number(const void *a, const void *b) {
  const char *x = strrchr(*(const char *const *)a, '/') + 1, *y = strrchr(*(const char *const *)b, '/') + 1;
  long m = set_number(x), n = set_number(y);
  return (m > n) - (m < n);
}

static Status add_case(Search *s, const char *dir, char *const *name, size_t n) {
  if (s->n == s->cap) {
    size_t cap = s->cap ? s->cap * 2 : 64;
    TestCase *grown = arena_array(s->a, TestCase, cap);
    if (s->n)
      memcpy(grown, s->list, s->n * sizeof *grown);
    s->list = grown, s->cap = cap;
  }
  TestCase *x = &s->list[s->n++];
  size_t root = strlen(s->root);
  *x = (TestCase){.dir = dir, .name = dir + root + (dir[root] == '/')};
  if (!*x->name)
    x->name = dir;
  x->set = arena_array(s->a, const char *, n);
  for (size_t i = 0; i < n; i++)
    if (set_number(name[i]) >= 0)
      x->set[x->nset++] = arena_printf(s->a, "%s/%s", dir, name[i]);
  if (x->nset > 1)
    qsort(x->set, x->nset, sizeof *x->set, by_number);
  return read_tolerance(s->c, s->a, x);
}

static Status search(Search *s, const char *dir, int depth) {
  char **name;
  size_t n;
  TRY(ctx_poll(s->c));
  TRY(list_names(s->c, s->a, dir, &name, &n));
  for (size_t i = 0; i < n; i++)
    if (!strcmp(name[i], "model.onnx"))
      return add_case(s, dir, name, n);
  for (size_t i = 0; i < n && depth < MAX_DEPTH; i++) {
    const char *path = arena_printf(s->a, "%s/%s", dir, name[i]);
    if (is_dir(path))
      TRY(search(s, path, depth + 1));
  }
  return ST_OK;
}

Status cases_find(Ctx *c, Arena *a, const char *dir, TestCase **out, size_t *n) {
  size_t len = strlen(dir);
  while (len > 1 && dir[len - 1] == '/')
    len--;
  Search s = {.c = c, .a = a, .root = arena_strndup(a, dir, len)};
  TRY(search(&s, s.root, 0));
  if (!s.n)
    return err_hint(c, err_file(c, fail(c, ST_USAGE, "no test case here: no folder with model.onnx"), dir),
                    "a case is a folder with model.onnx and test_data_set_0/input_0.pb, output_0.pb ...");
  *out = s.list, *n = s.n;
  return ST_OK;
}

uint32_t case_files(const char *set, const char *stem) {
  char path[4096];
  uint32_t n = 0;
  while (snprintf(path, sizeof path, "%s/%s_%u.pb", set, stem, n) < (int)sizeof path && !access(path, F_OK))
    n++;
  return n;
}
