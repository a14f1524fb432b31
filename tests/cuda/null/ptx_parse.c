/* ptx_parse.c - reads the PTX that LLVM makes of our kernels.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/null/ptx_code.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROW = 256 };
static const char *const op_name[] = {
#define OP(name) #name,
    OPS
#undef OP
};

/* --- parsing --- */

typedef struct Parser {
  const char *p;
  int line;
  PtxModule *m;
  PtxKernel *k;
  char *why;
} Parser;

static bool wrong(Parser *s, const char *fmt, ...) {
  va_list a;
  va_start(a, fmt);
  int n = snprintf(s->why, 256, "line %d: ", s->line);
  vsnprintf(s->why + n, 256 - (size_t)n, fmt, a);
  va_end(a);
  return false;
}

static void blanks(Parser *s) {
  for (;;) {
    if (s->p[0] == '/' && s->p[1] == '/')
      while (*s->p && *s->p != '\n')
        s->p++;
    if (!isspace((unsigned char)*s->p))
      return;
    s->line += *s->p++ == '\n';
  }
}

static bool word_char(char c) { return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.'; }

/* The next word or single character. */
static void word(Parser *s, char out[NAME]) {
  size_t n = 0;
  blanks(s);
  if (!word_char(*s->p) && *s->p)
    out[n++] = *s->p++;
  else
    while (word_char(*s->p) && n + 1 < NAME)
      out[n++] = *s->p++;
  out[n] = 0;
}

static bool eat(Parser *s, char c) {
  blanks(s);
  if (*s->p != c)
    return false;
  s->p++;
  return true;
}

static void skip_to(Parser *s, char c) {
  while (*s->p && *s->p != c)
    s->line += *s->p++ == '\n';
  if (*s->p)
    s->p++;
}

static int find_register(const PtxKernel *k, const char *name) {
  for (int i = 0; i < k->nclass; i++) {
    size_t n = strlen(k->class[i].prefix);
    if (strncmp(name, k->class[i].prefix, n))
      continue;
    if (!k->class[i].n && !name[n])
      return k->class[i].base;
    char *end;
    long at = strtol(name + n, &end, 10);
    if (k->class[i].n && isdigit((unsigned char)name[n]) && !*end && at < k->class[i].n)
      return k->class[i].base + (int)at;
  }
  return -1;
}

static bool declare_registers(Parser *s) {
  char name[NAME];
  word(s, name); /* type */
  do {
    word(s, name);
    if (s->k->nclass == CLASSES)
      return wrong(s, "too many classes of registers");
    int n = 0;
    if (eat(s, '<')) {
      n = (int)strtol(s->p, (char **)&s->p, 10);
      eat(s, '>');
    }
    snprintf(s->k->class[s->k->nclass].prefix, 16, "%.15s", name);
    s->k->class[s->k->nclass].base = s->k->nreg, s->k->class[s->k->nclass++].n = n;
    s->k->nreg += n ? n : 1;
  } while (eat(s, ','));
  return eat(s, ';') ? true : wrong(s, "';' is missing");
}

/* .shared .align 8 .b8 name[64]; */
static bool declare_memory(Parser *s, PtxKernel *k, bool local) {
  char name[NAME];
  uint32_t align = 1, size = 1;
  do {
    word(s, name);
    if (!strcmp(name, ".align"))
      align = (uint32_t)strtoul(s->p, (char **)&s->p, 10);
  } while (name[0] == '.');
  if (eat(s, '[')) {
    size = (uint32_t)strtoul(s->p, (char **)&s->p, 10);
    eat(s, ']');
  }
  uint32_t *total = local ? &k->local : &k->shared;
  if (k->nvar == VARS)
    return wrong(s, "too many variables");
  *total = (*total + align - 1) / align * align;
  snprintf(k->var[k->nvar].name, NAME, "%s", name);
  k->var[k->nvar].at = *total, k->var[k->nvar++].where = local ? V_LOCAL : V_SHARED;
  *total += size;
  return eat(s, ';') ? true : wrong(s, "';' is missing");
}

/* .global .align 4 .b8 name[8] = {0, 0, 0, 0, 110, 131, 249, 162}; */
static bool declare_table(Parser *s) {
  enum { align = 16 };
  char name[NAME] = "", of[NAME];
  PtxKernel *k = &s->m->globals;
  uint32_t size, at = (s->m->ntable + align - 1) / align * align;
  do {
    snprintf(of, sizeof of, "%s", name);
    word(s, name);
    if (!strcmp(name, ".align") && strtoul(s->p, (char **)&s->p, 10) > align)
      return wrong(s, "a table aligned to more than %d bytes", align);
  } while (name[0] == '.');
  size = eat(s, '[') ? (uint32_t)strtoul(s->p, (char **)&s->p, 10) : 0;
  if (strcmp(of, ".b8") || size > SPACE - at || k->nvar == VARS || !eat(s, ']') || !eat(s, '=') || !eat(s, '{'))
    return wrong(s, "the table '%s'", name);
  for (uint32_t i = 0; i < size; i++) {
    s->m->table[at + i] = (uint8_t)strtoul(s->p, (char **)&s->p, 10);
    if (i + 1 < size && !eat(s, ','))
      return wrong(s, "few elements of '%s'", name);
  }
  snprintf(k->var[k->nvar].name, NAME, "%s", name);
  k->var[k->nvar].at = at, k->var[k->nvar++].where = V_TABLE;
  s->m->ntable = at + size;
  return eat(s, '}') && eat(s, ';') ? true : wrong(s, "';' is missing");
}

static bool find_variable(const PtxKernel *k, const char *name, uint64_t *at) {
  static const uint64_t base[] = {[V_SHARED] = SHARED_BASE, [V_LOCAL] = LOCAL_BASE, [V_TABLE] = TABLE_BASE};
  for (int i = 0; i < k->nvar; i++)
    if (!strcmp(k->var[i].name, name)) {
      *at = k->var[i].at + base[k->var[i].where];
      return true;
    }
  return false;
}

static int find_label(PtxKernel *k, const char *name) {
  for (int i = 0; i < k->nlabel; i++)
    if (!strcmp(k->label[i].name, name))
      return i;
  k->label = realloc(k->label, (size_t)(k->nlabel + 1) * sizeof *k->label);
  snprintf(k->label[k->nlabel].name, NAME, "%s", name);
  k->label[k->nlabel].at = -1;
  return k->nlabel++;
}

enum { SPECIAL = 4 };
static const char *const special[SPECIAL] = {"%tid.x", "%ctaid.x", "%ntid.x", "%nctaid.x"};

static bool value_operand(Parser *s, const char *name, Operand *o) {
  char *end;
  *o = (Operand){.kind = K_IMM, .reg = -1};
  if (name[0] == '0' && (name[1] == 'f' || name[1] == 'd' || name[1] == 'F' || name[1] == 'D') && strlen(name) > 8) {
    o->value = strtoull(name + 2, &end, 16);
    return true;
  }
  if (isdigit((unsigned char)name[0])) {
    o->value = strtoull(name, &end, 0);
    return !*end || *end == 'U' ? true : wrong(s, "the number '%s'", name);
  }
  for (int i = 0; i < SPECIAL; i++)
    if (!strcmp(name, special[i])) {
      *o = (Operand){.kind = K_REG, .reg = i};
      return true;
    }
  int r = find_register(s->k, name);
  if (r >= 0) {
    *o = (Operand){.kind = K_REG, .reg = r};
    return true;
  }
  if (find_variable(s->k, name, &o->value) || find_variable(&s->m->globals, name, &o->value))
    return true;
  if (name[0] == '$') {
    *o = (Operand){.kind = K_LABEL, .value = (uint64_t)find_label(s->k, name)};
    return true;
  }
  const char *param = strstr(name, "_param_");
  if (param && !strncmp(name, s->k->name, (size_t)(param - name))) {
    *o = (Operand){.kind = K_PARAM, .value = strtoull(param + 7, NULL, 10)};
    return o->value < s->k->nparam ? true : wrong(s, "no parameter '%s'", name);
  }
  return wrong(s, "the operand '%s'", name);
}

static bool signed_operand(Parser *s, Operand *o) {
  char name[NAME];
  bool minus = eat(s, '-');
  word(s, name);
  if (!strcmp(name, "_"))
    snprintf(name, sizeof name, "%%sink");
  if (!value_operand(s, name, o))
    return false;
  if (minus)
    o->value = -o->value;
  return true;
}

/* One operand: a value, [address], or {values}, which are several. */
static bool operand(Parser *s, Operand *o, uint8_t *n) {
  char name[NAME];
  bool minus;
  if (eat(s, '{')) {
    do
      if (!signed_operand(s, &o[(*n)++]))
        return false;
    while (eat(s, ','));
    return eat(s, '}') ? true : wrong(s, "'}' is missing");
  }
  if (!eat(s, '['))
    return signed_operand(s, &o[(*n)++]);
  word(s, name);
  if (!value_operand(s, name, &o[*n]))
    return false;
  if (eat(s, '+')) {
    minus = eat(s, '-');
    word(s, name);
    uint64_t offset = strtoull(name, NULL, 0);
    o[*n].value += minus ? -offset : offset;
  }
  (*n)++;
  return eat(s, ']') ? true : wrong(s, "']' is missing");
}

static bool type_of(const char *text, Type *t) {
  if (!strcmp(text, "pred")) {
    *t = (Type){.kind = 'p', .bits = 1};
    return true;
  }
  if (!strcmp(text, "f16x2") || !strcmp(text, "bf16x2") || !strcmp(text, "bf16")) {
    *t = (Type){.kind = 'f', .bits = 16, .pair = strstr(text, "x2") != NULL, .brain = *text == 'b'};
    return true;
  }
  char *end;
  if (!strchr("usfb", text[0]) || !isdigit((unsigned char)text[1]))
    return false;
  *t = (Type){.kind = text[0], .bits = (uint8_t)strtol(text + 1, &end, 10)};
  return !*end;
}

static bool modifier(Parser *s, Ins *x, const char *text) {
  static const char *const compares[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "lo",  "ls", "hs",
                                         "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
  Type t;
  if (type_of(text, &t)) {
    bool known = x->op == O_mma && x->from.bits; /* of A: those of B and of the sums follow */
    x->second = known && !x->second.bits ? t : x->second;
    x->from = x->t.bits && !known ? t : x->from;
    x->t = x->t.bits ? x->t : t;
    return true;
  }
  for (size_t i = 0; x->op == O_setp && i < sizeof compares / sizeof *compares; i++)
    if (!strcmp(text, compares[i])) {
      memcpy(x->compare, text, strlen(text));
      return true;
    }
  if (x->op == O_cvt && text[0] == 'r') {
    x->round = text[1], x->integer = text[2] == 'i';
    return true;
  }
  if (x->op == O_shf && (!strcmp(text, "l") || !strcmp(text, "r") || !strcmp(text, "wrap") || !strcmp(text, "clamp"))) {
    x->left |= *text == 'l', x->clamped |= *text == 'c';
    return true;
  }
  if (!strcmp(text, "hi"))
    x->hi = true;
  else if (!strcmp(text, "wide"))
    x->wide = true;
  else if (!strcmp(text, "NaN"))
    x->ftz_nan = true;
  else if (!strcmp(text, "v2") || !strcmp(text, "v4"))
    x->vec = (uint8_t)(text[1] - '0');
  else if (!strcmp(text, "global") || !strcmp(text, "shared") || !strcmp(text, "local") || !strcmp(text, "param"))
    x->space = text[0];
  else if (!strcmp(text, "idx"))
    x->index = true;
  else if (!strcmp(text, "trans"))
    x->trans = true;
  else if (!strcmp(text, "commit_group") || !strcmp(text, "wait_group"))
    x->copy = *text == 'c' ? COPY_END : COPY_WAIT;
  else if (strcmp(text, "rn") && strcmp(text, "lo") && strcmp(text, "uni") && strcmp(text, "sync") &&
           strcmp(text, "bfly") && strcmp(text, "cas") && strcmp(text, "relaxed") && strcmp(text, "sys") &&
           strcmp(text, "cta") && strcmp(text, "aligned") && strcmp(text, "to") && strcmp(text, "approx") &&
           strcmp(text, "ftz") && strcmp(text, "async") && strcmp(text, "cg") && strcmp(text, "m16n8k16") &&
           strcmp(text, "m16n8k32") && strcmp(text, "nc") && strcmp(text, "row") && strcmp(text, "col") &&
           strcmp(text, "m8n8") && strcmp(text, "x4"))
    return wrong(s, "the modifier '%s'", text);
  return true;
}

static bool mnemonic(Parser *s, Ins *x, char *text) {
  char *save = NULL, *part = strtok_r(text, ".", &save);
  for (x->op = 0; x->op < O_count && strcmp(op_name[x->op], part); x->op++)
    ;
  if (x->op == O_count)
    return wrong(s, "the instruction '%s'", part);
  while ((part = strtok_r(NULL, ".", &save)))
    if (!modifier(s, x, part))
      return false;
  x->from = x->from.bits ? x->from : x->t;
  return true;
}

static bool instruction(Parser *s, char *text) {
  Ins x = {.guard = -1, .vec = 1, .space = 'x', .line = s->line};
  char name[NAME];
  if (text[0] == '@') {
    x.unless = eat(s, '!');
    word(s, name);
    x.guard = find_register(s->k, name);
    word(s, text);
  }
  if (!mnemonic(s, &x, text))
    return false;
  bool no_result = x.op == O_st || x.op == O_bra || x.op == O_ret || x.op == O_bar || x.op == O_barrier || x.op == O_cp;
  blanks(s);
  if (!no_result && !operand(s, x.dst, &x.ndst))
    return false;
  eat(s, ',');
  blanks(s);
  while (*s->p != ';') {
    if (x.nsrc > 8 || !operand(s, x.src, &x.nsrc))
      return x.nsrc > 8 ? wrong(s, "so many operands") : false;
    eat(s, ',');
    blanks(s);
    if (!*s->p)
      return wrong(s, "';' is missing");
  }
  s->p++;
  if (s->k->nins % GROW == 0)
    s->k->ins = realloc(s->k->ins, ((size_t)s->k->nins + GROW) * sizeof x);
  s->k->ins[s->k->nins++] = x;
  return true;
}

static bool body(Parser *s) {
  char name[NAME];
  for (;;) {
    word(s, name);
    if (!*name)
      return wrong(s, "'}' is missing");
    if (!strcmp(name, "}"))
      return true;
    bool ok = true;
    if (!strcmp(name, "{")) {
      int classes = s->k->nclass;
      ok = body(s);
      s->k->nclass = classes; /* the names are gone, the registers stay */
    } else if (!strcmp(name, ".reg"))
      ok = declare_registers(s);
    else if (!strcmp(name, ".shared") || !strcmp(name, ".local"))
      ok = declare_memory(s, s->k, name[1] == 'l');
    else if (!strcmp(name, ".loc") || !strcmp(name, ".pragma"))
      skip_to(s, *name == '.' && name[1] == 'p' ? ';' : '\n');
    else if (*s->p == ':') {
      s->p++;
      int at = find_label(s->k, name);
      s->k->label[at].at = s->k->nins;
    } else
      ok = instruction(s, name);
    if (!ok)
      return false;
  }
}

static bool entry(Parser *s) {
  PtxKernel *k = calloc(1, sizeof *k), **last = &s->m->first;
  char name[NAME];
  while (*last)
    last = &(*last)->next;
  *last = s->k = k;
  k->module = s->m;
  word(s, k->name);
  k->nreg = SPECIAL; /* the first ones */
  snprintf(k->class[k->nclass++].prefix, 16, "%%sink");
  k->class[0].base = k->nreg++;
  eat(s, '(');
  while (!eat(s, ')')) {
    word(s, name);
    if (!*name)
      return wrong(s, "')' is missing");
    if (strstr(name, "_param_"))
      k->nparam++;
    else if (!strcmp(name, ".b8"))
      return wrong(s, "a parameter by value");
  }
  while (!eat(s, '{'))
    word(s, name); /* .maxntid and the like */
  if (!body(s))
    return false;
  for (int i = 0; i < k->nlabel; i++)
    if (k->label[i].at < 0)
      return wrong(s, "no label '%s'", k->label[i].name);
  return true;
}

PtxModule *ptx_parse(const char *text, char why[256]) {
  PtxModule *m = calloc(1, sizeof *m);
  Parser s = {.p = text, .line = 1, .m = m, .why = why};
  char name[NAME];
  bool ok = true;
  while (ok) {
    word(&s, name);
    if (!*name)
      return m;
    if (!strcmp(name, ".version") || !strcmp(name, ".target") || !strcmp(name, ".address_size"))
      skip_to(&s, '\n');
    else if (!strcmp(name, ".shared"))
      ok = declare_memory(&s, &m->globals, false);
    else if (!strcmp(name, ".global"))
      ok = declare_table(&s);
    else if (!strcmp(name, ".entry"))
      ok = entry(&s);
    else if (strcmp(name, ".visible"))
      ok = wrong(&s, "'%s'", name);
  }
  ptx_free(m);
  return NULL;
}

void ptx_free(PtxModule *m) {
  for (PtxKernel *k = m ? m->first : NULL, *next; k; k = next) {
    next = k->next;
    free(k->ins), free(k->label), free(k);
  }
  free(m);
}

const PtxKernel *ptx_find(const PtxModule *m, const char *name) {
  for (const PtxKernel *k = m->first; k; k = k->next)
    if (!strcmp(k->name, name))
      return k;
  return NULL;
}

size_t ptx_params(const PtxKernel *k) { return k->nparam; }
