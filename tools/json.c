/* json.c - JSON text into a buffer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/json.h"

#include <math.h>
#include <string.h>

void json_strn(StrBuf *b, const char *s, size_t n) {
  buf_putc(b, '"');
  for (size_t i = 0; i < n;) {
    size_t len = utf8_length(s + i, n - i);
    unsigned char ch = (unsigned char)s[i];
    if (!len) {
      buf_puts(b, "\xef\xbf\xbd");
      i++;
      continue;
    }
    if (ch == '"' || ch == '\\')
      buf_printf(b, "\\%c", ch);
    else if (ch < 0x20 || ch == 0x7f)
      buf_printf(b, "\\u%04x", ch);
    else
      buf_put(b, s + i, len);
    i += len;
  }
  buf_putc(b, '"');
}

void json_str(StrBuf *b, const char *s) {
  if (s)
    json_strn(b, s, strlen(s));
  else
    buf_puts(b, "null");
}

void json_f64(StrBuf *b, double v, int digits) {
  if (isnan(v))
    buf_puts(b, "\"NaN\"");
  else if (isinf(v))
    buf_puts(b, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
  else
    buf_printf(b, "%.*g", digits, v);
}

void json_key(StrBuf *b, bool *first, const char *key) {
  if (!*first)
    buf_puts(b, ", ");
  *first = false;
  json_str(b, key);
  buf_puts(b, ": ");
}
