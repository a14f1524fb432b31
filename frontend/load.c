/* load.c - from a path or bytes to a Model: map, decode, import.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/import.h"

#include <string.h>

typedef struct Job {
  const char *path; /* or data */
  const void *data;
  size_t n;
  const char *dir;
  const LoadOptions *o;
  Model *out;
} Job;

const char *model_directory(Arena *a, const char *path) {
  const char *slash = strrchr(path, '/');
  return !slash ? "." : slash == path ? "/" : arena_strndup(a, path, (size_t)(slash - path));
}

static Status map_model(Ctx *c, Job *j, Model *m) {
  Mapped *f;
  m->path = arena_strdup(m->arena, j->path);
  TRY(map_open(c, m->arena, j->path, &f));
  m->file = arena_new(m->arena, Mapped *);
  m->file[m->nfile++] = f;
  m->bytes = f->base, m->nbytes = f->size;
  j->dir = model_directory(m->arena, m->path);
  return ST_OK;
}

/* Runs inside ctx_protect: what is registered here goes away with a failure. */
static Status load(Ctx *c, void *arg) {
  Job *j = arg;
  RawModel *raw;
  Weights *w;
  Graph *g = graph_create(c, "");
  Model *m = arena_new(g->arena, Model);
  m->arena = g->arena, m->graph = g, m->bytes = j->data, m->nbytes = j->n;
  if (j->path)
    TRY(map_model(c, j, m));
  Arena *scratch = arena_create(c);
  TRY(decode_model(c, scratch, m->bytes, m->nbytes, j->o, &raw));
  TRY(weights_open(c, m, j->dir, j->o, &w));
  TRY(import_model(c, scratch, raw, w, j->o, m));
  weights_close(w);
  arena_destroy(scratch);
  j->out = m;
  return ST_OK;
}

static Status run(Ctx *c, Job *j, Model **out) {
  Status st = ctx_protect(c, load, j);
  *out = j->out;
  return st ? err_file(c, st, j->path ? j->path : "") : ST_OK;
}

Status model_load_file(Ctx *c, const char *path, const LoadOptions *o, Model **out) {
  return run(c, &(Job){.path = path, .o = o}, out);
}

Status model_load_bytes(Ctx *c, const void *data, size_t n, const char *dir, const LoadOptions *o, Model **out) {
  return run(c, &(Job){.data = data, .n = n, .dir = dir, .o = o}, out);
}

void model_close(Ctx *c, Model *m) {
  if (!m)
    return;
  for (uint32_t i = 0; i < m->nfile; i++)
    map_close(c, m->file[i]);
  graph_destroy(m->graph);
}
