/* help.c - `sard help`, `sard completion`, `sard version`: all made from the two tables.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/tool.h"

#include "include/sard.h"

#include <stdio.h>
#include <string.h>

enum { HELP_WIDTH = 100 };

static bool has_option(CmdId cmd, OptId id) { return opt_table[id].commands & 1u << cmd; }

/* text wrapped at words, each line indented; the first line goes on at column `at`. */
static void wrap(StrBuf *b, const char *text, int indent, int at) {
  int col = at;
  while (*text) {
    size_t n = strcspn(text, " \n");
    if (col > indent && col + (int)n + 1 > HELP_WIDTH) {
      buf_printf(b, "\n%*s", indent, "");
      col = indent;
    } else if (col > indent) {
      buf_putc(b, ' ');
      col++;
    }
    buf_put(b, text, n);
    col += (int)n;
    text += n;
    if (*text == '\n') {
      buf_printf(b, "\n%*s", indent, "");
      col = indent;
    }
    text += *text != 0;
  }
  buf_putc(b, '\n');
}

static void option_text(StrBuf *b, const OptInfo *o) {
  size_t start = b->len;
  if (o->letter)
    buf_printf(b, "  -%c, --%s", o->letter, o->name);
  else
    buf_printf(b, "      --%s", o->name);
  if (o->value)
    buf_printf(b, " %s", o->value);
  int used = (int)(b->len - start), column = 30;
  if (used >= column)
    buf_printf(b, "\n%*s", column, "");
  else
    buf_printf(b, "%*s", column - used, "");
  wrap(b, o->help, column, column);
}

static void command_text(StrBuf *b, CmdId cmd) {
  const CmdInfo *info = &cmd_table[cmd];
  buf_printf(b, "sard %s - %s\n\nusage: sard %s%s%s [OPTIONS]\n\n", info->name, info->line, info->name,
             *info->args ? " " : "", info->args);
  if (*info->text) {
    wrap(b, info->text, 0, 0);
    buf_putc(b, '\n');
  }
  buf_puts(b, "options:\n");
  for (OptId i = 0; i < OPT_count; i++)
    if (has_option(cmd, i))
      option_text(b, &opt_table[i]);
}

static const char exit_codes[] =
    "0 success, 1 a comparison or test failed, 2 usage, 3 invalid model or input, 4 unsupported, "
    "5 out of time, budget or memory, 6 device, 130 interrupted";

static void tool_text(StrBuf *b) {
  buf_printf(b,
             "sard %s - an ONNX graph compiler and runtime\n\nusage: sard COMMAND [ARGUMENTS] [OPTIONS]\n\ncommands:\n",
             SARD_VERSION_STRING);
  for (CmdId i = 0; i < CMD_count; i++)
    buf_printf(b, "  %-12s%s\n", cmd_table[i].name, cmd_table[i].line);
  buf_puts(b, "\nexit codes: ");
  wrap(b, exit_codes, 12, 12);
  buf_puts(b, "\nsard COMMAND --help shows the options of a command.\n");
}

/* roff: a leading dot or quote and every backslash and hyphen are escaped. */
static void man_puts(StrBuf *b, const char *s) {
  for (bool first = true; *s; s++, first = s[-1] == '\n') {
    if (first && (*s == '.' || *s == '\''))
      buf_puts(b, "\\&");
    if (*s == '\\')
      buf_puts(b, "\\e");
    else if (*s == '-')
      buf_puts(b, "\\-");
    else if (*s == '\n')
      buf_puts(b, "\n.PP\n");
    else
      buf_putc(b, *s);
  }
}

static void man_options(StrBuf *b, CmdId cmd) {
  for (OptId i = 0; i < OPT_count; i++) {
    const OptInfo *o = &opt_table[i];
    if (!has_option(cmd, i))
      continue;
    buf_puts(b, ".TP\n.B ");
    if (o->letter)
      buf_printf(b, "\\-%c, ", o->letter);
    buf_puts(b, "\\-\\-");
    man_puts(b, o->name);
    if (o->value) {
      buf_putc(b, ' ');
      man_puts(b, o->value);
    }
    buf_putc(b, '\n');
    man_puts(b, o->help);
    buf_putc(b, '\n');
  }
}

static void man_page(StrBuf *b, CmdId cmd) {
  bool all = cmd == CMD_count;
  const char *name = all ? "sard" : cmd_table[cmd].name;
  buf_printf(b, ".TH \"SARD%s%s\" 1 \"\" \"sard %s\"\n.SH NAME\n", all ? "" : "\\-", all ? "" : name,
             SARD_VERSION_STRING);
  if (all) {
    buf_puts(b, "sard \\- an ONNX graph compiler and runtime\n.SH SYNOPSIS\n.B sard\nCOMMAND [ARGUMENTS] "
                "[OPTIONS]\n.SH COMMANDS\n");
    for (CmdId i = 0; i < CMD_count; i++) {
      buf_printf(b, ".TP\n.B sard %s %s\n", cmd_table[i].name, cmd_table[i].args);
      man_puts(b, cmd_table[i].line);
      buf_putc(b, '\n');
    }
  } else {
    buf_printf(b, "sard\\-%s \\- ", name);
    man_puts(b, cmd_table[cmd].line);
    buf_printf(b, "\n.SH SYNOPSIS\n.B sard %s\n%s [OPTIONS]\n.SH DESCRIPTION\n", name, cmd_table[cmd].args);
    man_puts(b, cmd_table[cmd].text);
    buf_puts(b, "\n.SH OPTIONS\n");
    man_options(b, cmd);
  }
  buf_puts(b, ".SH EXIT STATUS\n");
  man_puts(b, exit_codes);
  buf_putc(b, '\n');
}

void help_text(StrBuf *b, CmdId cmd, bool man) {
  if (man)
    man_page(b, cmd);
  else if (cmd == CMD_count)
    tool_text(b);
  else
    command_text(b, cmd);
}

static const char *cmd_name(void *arg, size_t i) {
  (void)arg;
  return i < CMD_count ? cmd_table[i].name : NULL;
}

Status cmd_help(Tool *t) {
  CmdId cmd = CMD_count;
  if (t->o->narg) {
    for (cmd = 0; cmd < CMD_count && strcmp(cmd_table[cmd].name, t->o->arg[0]); cmd++)
      ;
    if (cmd == CMD_count) {
      fail(t->c, ST_USAGE, "unknown command '%s'", t->o->arg[0]);
      const char *near = nearest_name(t->o->arg[0], cmd_name, NULL);
      return near ? err_hint(t->c, ST_USAGE, "did you mean sard help %s?", near) : ST_USAGE;
    }
  }
  StrBuf b;
  buf_init(&b, t->arena);
  help_text(&b, cmd, opt_set(t->o, OPT_man));
  return tool_print(t, &b);
}

Status cmd_version(Tool *t) {
  StrBuf b;
  buf_init(&b, t->arena);
  buf_printf(&b, "sard %s\n", sard_version_string());
  return tool_print(t, &b);
}

static void option_words(StrBuf *b, CmdId cmd, const char *sep) {
  for (OptId i = 0; i < OPT_count; i++)
    if (has_option(cmd, i))
      buf_printf(b, "%s--%s", sep, opt_table[i].name);
}

Status cmd_completion(Tool *t) {
  if (strcmp(t->o->arg[0], "bash"))
    return err_hint(t->c, fail(t->c, ST_USAGE, "no completion for '%s'", t->o->arg[0]), "shells: bash");
  StrBuf b;
  buf_init(&b, t->arena);
  buf_puts(&b, "# bash completion for sard; made by `sard completion bash`\n"
               "_sard() {\n  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
               "  if [ \"$COMP_CWORD\" = 1 ]; then\n    COMPREPLY=($(compgen -W \"");
  for (CmdId i = 0; i < CMD_count; i++)
    buf_printf(&b, "%s%s", i ? " " : "", cmd_table[i].name);
  buf_puts(&b, "\" -- \"$cur\"))\n    return\n  fi\n  case $prev in\n");
  for (OptId i = 0; i < OPT_count; i++)
    if (opt_table[i].kind == OPTK_CHOICE) {
      buf_printf(&b, "  --%s) COMPREPLY=($(compgen -W \"", opt_table[i].name);
      for (const char *p = opt_table[i].value; *p; p++)
        buf_putc(&b, *p == '|' ? ' ' : *p);
      buf_puts(&b, "\" -- \"$cur\")); return ;;\n");
    }
  buf_puts(&b, "  esac\n  case ${COMP_WORDS[1]} in\n");
  for (CmdId i = 0; i < CMD_count; i++) {
    buf_printf(&b, "  %s) words=\"", cmd_table[i].name);
    if (i == CMD_help)
      for (CmdId k = 0; k < CMD_count; k++)
        buf_printf(&b, "%s ", cmd_table[k].name);
    option_words(&b, i, " ");
    buf_puts(&b, "\" ;;\n");
  }
  buf_puts(&b, "  esac\n  case $cur in\n  -*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
               "  *) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n  esac\n}\ncomplete -o filenames -F _sard sard\n");
  return tool_print(t, &b);
}
