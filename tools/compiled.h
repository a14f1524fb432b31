/* compiled.h - what is in a compiled model, for `sard inspect`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_COMPILED_H
#define SARD_TOOLS_COMPILED_H

#include "tools/tool.h"

/* Prints what is in the file if it holds a compiled model, of any machine; *is: it does, or should. */
Status inspect_compiled(Tool *t, const char *path, bool *is);

#endif
