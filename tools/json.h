/* json.h - JSON text into a buffer.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_JSON_H
#define SARD_TOOLS_JSON_H

#include "support/str.h"

/* A string literal; bytes that are no UTF-8 become U+FFFD. */
void json_str(StrBuf *b, const char *s); /* NULL: null */
void json_strn(StrBuf *b, const char *s, size_t n);
/* A number with as many digits as its type needs; JSON has no infinities and NaN: "NaN", "Infinity", "-Infinity". */
void json_f64(StrBuf *b, double v, int digits);
/* `"key": ` with a comma before it unless it is the first of its object. */
void json_key(StrBuf *b, bool *first, const char *key);

#endif
