/* tool.c - output, errors and small text helpers shared by the commands.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/tool.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

Status tool_print(Tool *t, const StrBuf *b) {
  tool_progress_end(t);
  if (fwrite(b->text, 1, b->len, stdout) != b->len || fflush(stdout))
    return fail_errno(t->c, "write the output", "standard output");
  return ST_OK;
}

void tool_verbose(const Tool *t, const char *fmt, ...) {
  if (!opt_set(t->o, OPT_verbose))
    return;
  va_list ap;
  va_start(ap, fmt);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  fputc('\n', stderr);
}

void tool_progress(Tool *t, const char *fmt, ...) {
  if (!t->progress)
    return;
  t->shown = true;
  va_list ap;
  va_start(ap, fmt);
  fputs("\r\033[K", stderr);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  fflush(stderr);
}

void tool_progress_end(Tool *t) {
  if (t->shown)
    fputs("\r\033[K", stderr);
  t->shown = false;
}

static void line(const char *label, const char *text) {
  if (!*text)
    return;
  fprintf(stderr, "  %-8s", label);
  for (const char *p = text; *p; p++) { /* continuation lines are indented */
    fputc(*p, stderr);
    if (*p == '\n')
      fputs("          ", stderr);
  }
  fputc('\n', stderr);
}

void tool_report(Tool *t, const Err *e) {
  tool_progress_end(t);
  fflush(stdout);
  const char *message = *e->message ? e->message : "failed";
  fprintf(stderr, t->color_err ? "\033[1;31merror:\033[0m %s\n" : "error: %s\n", message);
  line("file:", e->file);
  if (*e->node && *e->op)
    fprintf(stderr, "  %-8s'%s' (%s)\n", "node:", e->node, e->op);
  else {
    line("node:", e->node);
    line("op:", e->op);
  }
  line("module:", e->module);
  line("source:", e->source);
  line("hint:", e->hint);
}

int tool_exit_code(Status st) {
  switch (st) {
  case ST_OK: return 0;
  case ST_USAGE: return 2;
  case ST_INVALID:
  case ST_IO: return 3;
  case ST_UNSUPPORTED:
  case ST_INTERNAL: return 4;
  case ST_MEMORY:
  case ST_TIMEOUT: return 5;
  case ST_DEVICE: return 6;
  case ST_CANCELLED: return 130;
  }
  return 4;
}

const char *tool_style(const Tool *t, const char *code, char buf[16]) {
  if (!t->color)
    return "";
  snprintf(buf, 16, "\033[%sm", code);
  return buf;
}

int text_width(const char *s, size_t n) {
  int width = 0;
  for (size_t i = 0; i < n;) {
    utf8proc_int32_t ch;
    utf8proc_ssize_t len = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &ch);
    if (len <= 0) {
      width++, i++;
      continue;
    }
    width += utf8proc_charwidth(ch);
    i += (size_t)len;
  }
  return width;
}

void buf_pad(StrBuf *b, const char *s, int width) {
  int have = text_width(s, strlen(s)), want = width < 0 ? -width : width;
  if (width >= 0)
    buf_puts(b, s);
  for (int i = have; i < want; i++)
    buf_putc(b, ' ');
  if (width < 0)
    buf_puts(b, s);
}

void buf_escaped(StrBuf *b, const char *s) {
  size_t n = strlen(s);
  char small[256], *text = n * 4 < sizeof small ? small : arena_get(b->arena, n, 4, 1);
  buf_puts(b, escape_text(text, n * 4 < sizeof small ? sizeof small : n * 4, s, n));
}

const char *bytes_text(Arena *a, int64_t bytes) {
  static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double v = (double)bytes;
  int u = 0;
  while (v >= 999.5 && u < 6)
    v /= 1000, u++;
  if (!u)
    return arena_printf(a, "%lld B", (long long)bytes);
  return arena_printf(a, v < 9.995 ? "%.2f %s" : v < 99.95 ? "%.1f %s" : "%.0f %s", v, unit[u]);
}

const char *count_text(Arena *a, double n) {
  static const char *const unit[] = {"", " k", " M", " G", " T", " P", " E"};
  int u = 0;
  while (n >= 999.5 && u < 6)
    n /= 1000, u++;
  if (!u)
    return arena_printf(a, "%.0f", n);
  return arena_printf(a, n < 9.995 ? "%.2f%s" : n < 99.95 ? "%.1f%s" : "%.0f%s", n, unit[u]);
}
