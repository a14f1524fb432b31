/* microsoft.h - operators of com.microsoft as nodes of ai.onnx, while they are imported.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_FRONTEND_MICROSOFT_H
#define SARD_FRONTEND_MICROSOFT_H

#include "frontend/upgrade.h"

/* False: a node of this operator is one of its own row in ops.def, or not known. */
bool microsoft_wanted(const char *domain, const char *op);
/* Turns u->n into nodes of ai.onnx. ST_UNSUPPORTED: this form of it has no equivalent. */
Status microsoft_node(Upgrade *u);

/* --- microsoft_attention.c --- */
Status microsoft_attention(Upgrade *u);
Status microsoft_group_query(Upgrade *u);
Status microsoft_multi_head(Upgrade *u);

#endif
