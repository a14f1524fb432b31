/* columns.h - loops interchanged so that memory is walked along rows.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_COLUMNS_H
#define SARD_CODEGEN_COLUMNS_H

#include "ir/kernel.h"

/* Turns the loop f over columns, each of which runs through loops over rows, into blocks of columns with the loops over rows around
 * loops over lanes, `lanes` wide; outside: how often the loops around run at least; first: blocks that are read several times are to stay
 * in the first cache. False: it has another form, and stays as it is. */
bool columns_interchange(Ctx *c, Kernel *k, KStmt *f, int lanes, int64_t outside, bool first);

#endif
