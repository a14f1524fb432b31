/* control.h - If, Loop and Scan: how the bodies fit their node, for those who build them.
 *
 *   If    then and else bodies: no inputs; as many outputs as the node.
 *   Loop  inputs M?, cond?, carried…; body (trip, cond, carried…) -> (cond, carried…, slices…).
 *         The node gives carried…, scanned…
 *   Scan  inputs state…, scanned…; body (state…, slices…) -> (state…, slices…).
 *         The node gives state…, scanned…
 *
 * Inference of these operators types their bodies, and remembers in Graph.typed what it typed them from.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_CONTROL_H
#define SARD_OPS_CONTROL_H

#include "ir/graph.h"

/* How many outputs a node of op has whose first body has body_nout. *nout: as many as the file lists, extended to that
 * number. ST_INVALID when the file lists more, or nin does not fit. */
Status control_arity(Ctx *c, OpId op, const void *attr, uint32_t body_nout, uint32_t nin, uint32_t *nout);
/* When the inputs of body g are there and its nodes are not: checks their number and types them from the node's inputs.
 */
Status control_enter(Ctx *c, Graph *g);
/* What a failed inference of n, in a body, means: exporters write If branches that are wrong for the shapes at hand and
 * that the condition never lets run (TorchScript's squeeze(dim) is one). So inside of a branch ST_INVALID is no error:
 * the outputs of n stay as declared, and the branch is marked as impossible. Outside of branches: st itself. */
Status control_tolerate(Node *n, Status st);
/* When g is complete: checks the number of its outputs; typed: its nodes have been inferred. */
Status control_leave(Ctx *c, Graph *g, bool typed);

#endif
