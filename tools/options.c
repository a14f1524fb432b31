/* options.c - the tables of commands and options, and the one parser over them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/options.h"

#include "support/checked.h"
#include "support/str.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RUN     (1u << CMD_run)
#define INSPECT (1u << CMD_inspect)
#define TEST    (1u << CMD_test)
#define BENCH   (1u << CMD_bench)
#define PROFILE (1u << CMD_profile)
#define EXPLAIN (1u << CMD_explain)
#define PLAN    (1u << CMD_plan)
#define TUNE    (1u << CMD_tune)
#define COMPILE (1u << CMD_compile)
#define FEEDS   (RUN | BENCH | PROFILE | PLAN | TUNE) /* takes inputs */
#define LOADS   (FEEDS | EXPLAIN)              /* compiles a model */
#define OPS     (1u << CMD_ops)
#define DOCTOR  (1u << CMD_doctor)
#define CACHE   (1u << CMD_cache)
#define HELP    (1u << CMD_help)
#define ALL     (~0u)

const CmdInfo cmd_table[CMD_count] = {
#define CMD(name, args, min, max, line, text) {#name, args, min, max, line, text},
#include "tools/commands.def"
#undef CMD
};

const OptInfo opt_table[OPT_count] = {
#define OPT(id, letter, name, kind, value, commands, help) {letter, name, OPTK_##kind, value, commands, help},
#include "tools/options.def"
#undef OPT
};

static const char *cmd_name(void *arg, size_t i) {
  (void)arg;
  return i < CMD_count ? cmd_table[i].name : NULL;
}

/* The i-th option name of command *arg. */
static const char *opt_name(void *arg, size_t i) {
  unsigned bit = 1u << *(const CmdId *)arg;
  for (size_t k = 0; k < OPT_count; k++)
    if ((opt_table[k].commands & bit) && !i--)
      return opt_table[k].name;
  return NULL;
}

static Status unknown_option(Ctx *c, CmdId cmd, const char *name, size_t n) {
  char word[64];
  if (n >= sizeof word)
    n = sizeof word - 1;
  memcpy(word, name, n);
  word[n] = 0;
  for (size_t k = 0; k < OPT_count; k++)
    if (!strcmp(opt_table[k].name, word)) {
      fail(c, ST_USAGE, "sard %s has no option --%s", cmd_table[cmd].name, word);
      return err_hint(c, ST_USAGE, "sard %s --help lists its options", cmd_table[cmd].name);
    }
  fail(c, ST_USAGE, "unknown option --%s", word);
  const char *near = nearest_name(word, opt_name, &cmd);
  if (near)
    return err_hint(c, ST_USAGE, "did you mean --%s?", near);
  return err_hint(c, ST_USAGE, "sard %s --help lists the options", cmd_table[cmd].name);
}

static Status bad_value(Ctx *c, const OptInfo *o, const char *s, const char *want) {
  return fail(c, ST_USAGE, "--%s %s: %s", o->name, s, want);
}

/* 4G, 512M, 1.5G, 4096. */
static bool parse_size(const char *s, int64_t *out) {
  char *end;
  double v = strtod(s, &end);
  double unit = 1;
  const char *units = "KMGT", *u = *end ? strchr(units, *end & ~0x20) : NULL;
  if (end == s || !(v >= 0))
    return false;
  if (u && *end) {
    for (const char *p = units; p <= u; p++)
      unit *= 1024;
    end++;
    if (*end == 'i')
      end++;
  }
  if (*end == 'B' || *end == 'b')
    end++;
  v *= unit;
  if (*end || !(v < 9e18))
    return false;
  *out = (int64_t)v;
  return true;
}

static bool is_choice(const char *list, const char *s) {
  size_t n = strlen(s);
  for (const char *p = list; *p;) {
    size_t len = strcspn(p, "|");
    if (len == n && !memcmp(p, s, n))
      return true;
    p += len + (p[len] == '|');
  }
  return false;
}

static Status set_value(Ctx *c, Arena *a, const OptInfo *o, OptValue *v, const char *s) {
  char *end = NULL;
  v->set = true, v->s = s;
  switch (o->kind) {
  case OPTK_FLAG:
  case OPTK_STR: break;
  case OPTK_LIST: {
    const char **list = arena_array(a, const char *, v->n + 1);
    if (v->n)
      memcpy(list, v->list, v->n * sizeof *list);
    list[v->n++] = s;
    v->list = list;
    break;
  }
  case OPTK_INT:
    errno = 0;
    v->i = strtoll(s, &end, 10);
    if (end == s || *end || errno || v->i < 0 || v->i > INT32_MAX)
      return bad_value(c, o, s, "a whole number is wanted");
    break;
  case OPTK_FLOAT:
    v->f = strtod(s, &end);
    if (end == s || *end || !isfinite(v->f) || v->f < 0)
      return bad_value(c, o, s, "a number of at least 0 is wanted");
    break;
  case OPTK_SIZE:
    if (!parse_size(s, &v->i))
      return bad_value(c, o, s, "a number of bytes is wanted, such as 4096, 512M or 4G");
    break;
  case OPTK_CHOICE:
    if (!is_choice(o->value, s)) {
      fail(c, ST_USAGE, "--%s %s: not a value of this option", o->name, s);
      return err_hint(c, ST_USAGE, "values: %s", o->value);
    }
    break;
  }
  return ST_OK;
}

static Status take(Ctx *c, Arena *a, Options *o, OptId id, const char *inline_value, int argc, char **argv, int *i) {
  const OptInfo *info = &opt_table[id];
  const char *s = inline_value;
  if (info->kind == OPTK_FLAG) {
    if (s)
      return fail(c, ST_USAGE, "--%s takes no value", info->name);
  } else if (!s) {
    if (*i + 1 >= argc)
      return fail(c, ST_USAGE, "--%s needs a value: %s", info->name, info->value);
    s = argv[++*i];
  }
  return set_value(c, a, info, &o->v[id], s);
}

static Status long_option(Ctx *c, Arena *a, Options *o, int argc, char **argv, int *i) {
  const char *name = argv[*i] + 2;
  size_t n = strcspn(name, "=");
  for (OptId id = 0; id < OPT_count; id++)
    if (strlen(opt_table[id].name) == n && !memcmp(opt_table[id].name, name, n)) {
      if (!(opt_table[id].commands & 1u << o->cmd))
        break;
      return take(c, a, o, id, name[n] ? name + n + 1 : NULL, argc, argv, i);
    }
  return unknown_option(c, o->cmd, name, n);
}

/* -v, -qv, -o FILE, -oFILE */
static Status short_options(Ctx *c, Arena *a, Options *o, int argc, char **argv, int *i) {
  for (const char *p = argv[*i] + 1; *p; p++) {
    OptId id = 0;
    while (id < OPT_count && (opt_table[id].letter != *p || !(opt_table[id].commands & 1u << o->cmd)))
      id++;
    if (id == OPT_count) {
      fail(c, ST_USAGE, "unknown option -%c", *p);
      return err_hint(c, ST_USAGE, "sard %s --help lists the options", cmd_table[o->cmd].name);
    }
    if (opt_table[id].kind != OPTK_FLAG)
      return take(c, a, o, id, p[1] ? p + 1 : NULL, argc, argv, i);
    TRY(take(c, a, o, id, NULL, argc, argv, i));
  }
  return ST_OK;
}

static Status find_command(Ctx *c, const char *name, CmdId *id) {
  if (!strcmp(name, "--help") || !strcmp(name, "-h"))
    name = "help";
  if (!strcmp(name, "--version"))
    name = "version";
  for (CmdId k = 0; k < CMD_count; k++)
    if (!strcmp(cmd_table[k].name, name)) {
      *id = k;
      return ST_OK;
    }
  fail(c, ST_USAGE, "unknown command '%s'", name);
  const char *near = nearest_name(name, cmd_name, NULL);
  if (near)
    return err_hint(c, ST_USAGE, "did you mean sard %s?", near);
  return err_hint(c, ST_USAGE, "sard help lists the commands");
}

static Status check_count(Ctx *c, const Options *o) {
  const CmdInfo *cmd = &cmd_table[o->cmd];
  if (opt_set(o, OPT_help) || (o->narg >= cmd->min_args && (cmd->max_args < 0 || o->narg <= cmd->max_args)))
    return ST_OK;
  if (o->narg < cmd->min_args)
    fail(c, ST_USAGE, "sard %s needs %s", cmd->name, cmd->args);
  else
    fail(c, ST_USAGE, "sard %s: unexpected argument '%s'", cmd->name, o->arg[cmd->max_args]);
  return err_hint(c, ST_USAGE, "usage: sard %s%s%s [OPTIONS]", cmd->name, *cmd->args ? " " : "", cmd->args);
}

Status options_parse(Ctx *c, Arena *a, int argc, char **argv, Options *o) {
  *o = (Options){.cmd = CMD_help};
  if (argc < 2)
    return err_hint(c, fail(c, ST_USAGE, "no command given"), "sard help lists the commands");
  TRY(find_command(c, argv[1], &o->cmd));
  o->arg = arena_array(a, const char *, (size_t)argc);
  bool only_args = false;
  for (int i = 2; i < argc; i++) {
    const char *s = argv[i];
    if (only_args || s[0] != '-' || !s[1])
      o->arg[o->narg++] = s;
    else if (!strcmp(s, "--"))
      only_args = true;
    else if (s[1] == '-')
      TRY(long_option(c, a, o, argc, argv, &i));
    else
      TRY(short_options(c, a, o, argc, argv, &i));
  }
  return check_count(c, o);
}
