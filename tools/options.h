/* options.h - the command line as data: commands.def and options.def, parsed and validated.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_OPTIONS_H
#define SARD_TOOLS_OPTIONS_H

#include "support/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
#define CMD(name, args, min, max, line, text) CMD_##name,
#include "tools/commands.def"
#undef CMD
  CMD_count
} CmdId;

typedef enum {
#define OPT(id, letter, name, kind, value, commands, help) OPT_##id,
#include "tools/options.def"
#undef OPT
  OPT_count
} OptId;

typedef enum { OPTK_FLAG, OPTK_STR, OPTK_LIST, OPTK_INT, OPTK_FLOAT, OPTK_SIZE, OPTK_CHOICE } OptKind;

typedef struct CmdInfo {
  const char *name, *args;
  int min_args, max_args; /* max -1: any number */
  const char *line, *text;
} CmdInfo;

typedef struct OptInfo {
  char letter; /* 0: none */
  const char *name;
  OptKind kind;
  const char *value; /* NULL: a flag */
  unsigned commands; /* bit 1 << CmdId */
  const char *help;
} OptInfo;

extern const CmdInfo cmd_table[CMD_count];
extern const OptInfo opt_table[OPT_count];

typedef struct OptValue {
  bool set;
  const char *s; /* as written; the last one of a repeated option */
  int64_t i;
  double f;
  const char **list; /* OPTK_LIST */
  uint32_t n;
} OptValue;

typedef struct Options {
  CmdId cmd;
  OptValue v[OPT_count];
  const char **arg; /* positional arguments */
  int narg;
} Options;

/* argv[0] is the program. The command's name comes first. ST_USAGE with the nearest name as hint. */
Status options_parse(Ctx *c, Arena *a, int argc, char **argv, Options *o);

static inline bool opt_set(const Options *o, OptId id) { return o->v[id].set; }
static inline const char *opt_str(const Options *o, OptId id) { return o->v[id].s; } /* NULL: not given */
static inline int64_t opt_int(const Options *o, OptId id, int64_t def) { return o->v[id].set ? o->v[id].i : def; }
static inline double opt_float(const Options *o, OptId id, double def) { return o->v[id].set ? o->v[id].f : def; }

#endif
