/* retype.c - infers all types anew. A value that took another's place may have other symbols, for the same numbers, than those
 * its users were typed by; nothing in the run would tell the old ones.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/infer.h"
#include "ops/control.h"
#include "passes/pass.h"

static Status retype(Ctx *c, Graph *g) {
  for (Node *n = g->first; n; n = n->next) {
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        TRY(retype(c, n->body[b]));
    TRY(control_tolerate(n, node_infer(c, n)));
  }
  return ctx_poll(c);
}

Status pass_retype(Ctx *c, Graph *g) { return retype(c, g); }
