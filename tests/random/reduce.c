/* reduce.c - making a failing graph smaller: outputs go, nodes become inputs, nodes are left out; what still fails in the same
 * way is kept, until nothing more can go. SPDX-License-Identifier: Apache-2.0 */
#include "passes/pass.h"
#include "tests/random/random.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct Change {
  enum { DROP_OUTPUT, TO_INPUT, TO_OPERAND, CHANGES } kind;
  uint32_t at; /* output or node number */
} Change;

static Node *node_at(Graph *g, uint32_t i) {
  Node *n = g->first;
  while (n && i--)
    n = n->next;
  return n;
}

static bool drop_output(Graph *g, uint32_t at) {
  Value *kept[64];
  uint32_t n = 0;
  for (uint32_t i = 0; i < g->nout && n < 64; i++)
    if (i != at)
      kept[n++] = g->out[i];
  if (!n || n == g->nout)
    return false;
  graph_drop_outputs(g);
  for (uint32_t i = 0; i < n; i++)
    graph_add_output(g, kept[i]);
  return true;
}

/* Replaces the node's outputs by inputs of the same types, or by an operand of the same type. */
static bool replace(Graph *g, Node *n, bool operand) {
  for (int i = 0; i < n->nout; i++) {
    Value *v = n->out[i], *by = NULL;
    char name[32];
    if (!v || !v->uses)
      continue;
    for (int k = 0; operand && k < n->nin && !by; k++)
      if (n->in[k] && type_equal(&n->in[k]->type, &v->type))
        by = n->in[k];
    snprintf(name, sizeof name, "r%u", v->id);
    if (!operand && v->type.kind == VK_TENSOR && v->type.rank >= 0)
      by = graph_add_input(g, arena_strdup(g->arena, name), v->type);
    if (!by || (by->is_input && value_is_output(v)))
      return false;
    value_replace(v, by);
  }
  node_remove(n);
  return true;
}

typedef struct Step {
  const char *text;
  Change change;
  char *out; /* malloced */
} Step;

static Status apply(Ctx *c, void *arg) {
  Step *s = arg;
  Graph *g;
  StrBuf b;
  TRY(random_read(c, s->text, &g));
  Node *n = node_at(g, s->change.at);
  bool done =
      s->change.kind == DROP_OUTPUT ? drop_output(g, s->change.at) : n && replace(g, n, s->change.kind == TO_OPERAND);
  if (!done)
    return ST_OK;
  TRY(pass_run(c, g, "dce"));
  TRY(graph_infer(c, g));
  TRY(graph_verify(c, g));
  buf_init(&b, arena_create(c));
  graph_print(&b, g, &(PrintOptions){.const_limit = 1 << 20});
  s->out = strdup(b.text);
  return ST_OK;
}

static char *changed(const char *text, Change x) {
  Alloc alloc;
  Ctx c;
  Step s = {text, x, NULL};
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  if (ctx_protect(&c, apply, &s))
    free(s.out), s.out = NULL;
  ctx_close(&c);
  return s.out;
}

char *reduce(const char *text, uint64_t seed, Verdict like, Judge *by) {
  char *best = strdup(text), why[500];
  for (bool more = true; more;) {
    more = false;
    for (int kind = 0; kind < CHANGES; kind++)
      for (uint32_t at = 64; at-- > 0;) {
        char *next = changed(best, (Change){kind, at});
        if (next && strcmp(next, best) && by(next, seed, why, sizeof why) == like && strcmp(why, "") &&
            !strstr(why, "as text") && !strstr(why, "node by node")) {
          free(best);
          best = next, more = true;
        } else {
          free(next);
        }
      }
  }
  return best;
}
