/* tool.h - what every command of the tool is given, and how it speaks: results on stdout, the rest on stderr.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_TOOL_H
#define SARD_TOOLS_TOOL_H

#include "support/str.h"
#include "tools/options.h"

typedef struct Tool {
  Ctx *c;
  Arena *arena; /* lives as long as the command */
  const Options *o;
  bool color;                 /* on stdout */
  bool color_err;             /* on stderr */
  bool progress;              /* stderr is a terminal and -q was not given */
  bool shown;                 /* a line of progress stands there now */
  bool failed;                /* a comparison or test failed: exit code 1 */
  const volatile int *cancel; /* non-zero after SIGINT */
} Tool;

/* One function per row of commands.def, in the file of that name. */
#define CMD(name, args, min, max, line, text) Status cmd_##name(Tool *t);
#include "tools/commands.def"
#undef CMD

/* Writes to stdout. ST_IO when it cannot (full disk). */
Status tool_print(Tool *t, const StrBuf *b);
/* A line on stderr with -v only. */
void tool_verbose(const Tool *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A line on stderr that the next one overwrites, on a terminal only. */
void tool_progress(Tool *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
void tool_progress_end(Tool *t); /* erases it */
/* The error block on stderr. */
void tool_report(Tool *t, const Err *e);
int tool_exit_code(Status st);

/* Colour, if the tool may: codes such as "1" (bold), "31" (red). Returns "" otherwise. */
const char *tool_style(const Tool *t, const char *code, char buf[16]);
/* The help text of a command, or of the tool (CMD_count), as text or as a manual page. */
void help_text(StrBuf *b, CmdId cmd, bool man);

/* Columns that s takes on a terminal: wide characters count 2, combining ones 0. */
int text_width(const char *s, size_t n);
void buf_pad(StrBuf *b, const char *s, int width); /* left-aligned; width < 0: right-aligned */
void buf_escaped(StrBuf *b, const char *s);        /* names from a file, made safe for a terminal */
const char *bytes_text(Arena *a, int64_t bytes);   /* "63.2 MB" (powers of 1000) */
const char *count_text(Arena *a, double n);        /* "1.52 G" */

#endif
