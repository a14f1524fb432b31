/* text.h - what the printer and the parser of the text form share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_IR_TEXT_H
#define SARD_IR_TEXT_H

#include "support/dtype.h"
#include "support/str.h"

/* "…" with \" \\ and \xNN for what is not printable UTF-8. */
void text_quote(StrBuf *b, const char *s, size_t n);
/* May stand in a name that is not quoted. */
bool text_name_char(char ch);
/* Element i as the first element of raw (16 bytes, aligned); data may be unaligned. Not for strings. */
void text_elem(DType t, const void *data, int64_t i, void *raw);

#endif
