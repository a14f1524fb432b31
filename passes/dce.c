/* dce.c - removes nodes that nothing needs, in bodies too, and outputs that nobody reads.
 * Keeps: everything a graph output depends on. Bodies keep their signature.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/pass.h"

static Status sweep(Ctx *c, Graph *g) {
  for (Node *n = g->last, *prev; n; n = prev) {
    prev = n->prev;
    bool used = false, control = op_info(n->op)->flags & OPF_CONTROL;
    for (int i = 0; i < n->nout; i++)
      used |= n->out[i] && n->out[i]->uses;
    if (!used) {
      node_remove(n);
      continue;
    }
    for (int i = 0; i < n->nout && !control; i++)
      if (n->out[i] && !n->out[i]->uses)
        node_drop_output(n, i);
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        TRY(sweep(c, n->body[b]));
  }
  return ctx_poll(c);
}

Status pass_dce(Ctx *c, Graph *g) { return sweep(c, g); }
