/* ptx.c - an interpreter of the PTX that LLVM makes of our kernels. Registers hold 64 bits, whatever their type; narrow values are
 * kept zero-extended. Threads of a block run one after another from one meeting point (barrier, shuffle) to the next.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/null/ptx.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  GROW = 256,
  NAME = 96,
  CLASSES = 24,
  VARS = 64,
  WARP = 32,
  SHARED_BASE = 1 << 24,
  LOCAL_BASE = 1 << 25,
  SPACE = 1 << 16
};

/* OP(name): the first part of the mnemonic. */
#define OPS                                                                                                            \
  OP(add)                                                                                                              \
  OP(sub)                                                                                                              \
  OP(mul)                                                                                                              \
  OP(mad)                                                                                                              \
  OP(fma)                                                                                                              \
  OP(div)                                                                                                              \
  OP(rem)                                                                                                              \
  OP(min)                                                                                                              \
  OP(max)                                                                                                              \
  OP(neg) OP(abs) OP(sqrt) OP(rcp) OP(and) OP(or) OP(xor) OP(not ) OP(shl) OP(shr) OP(setp) OP(selp) OP(mov) OP(cvt)   \
      OP(cvta) OP(ld) OP(st) OP(bra) OP(ret) OP(bar) OP(barrier) OP(shfl) OP(atom) OP(bfe) OP(bfi) OP(copysign)        \
          OP(popc) OP(clz) OP(prmt)
typedef enum {
#define OP(name) O_##name,
  OPS
#undef OP
      O_count
} Op;
static const char *const op_name[] = {
#define OP(name) #name,
    OPS
#undef OP
};

typedef enum { K_REG, K_IMM, K_PARAM, K_LABEL } Kind;
typedef struct Operand {
  uint8_t kind;
  int reg;        /* K_REG, and the base of an address: -1: none */
  uint64_t value; /* K_IMM, offsets; K_PARAM: number; K_LABEL: instruction */
} Operand;

typedef struct Type {
  char kind; /* 'u', 's', 'f', 'b', 'p' */
  uint8_t bits;
  bool pair; /* f16x2: of cvt's result */
} Type;

typedef struct Ins {
  Op op;
  Type t, from; /* the last two types of the mnemonic: result and operand of cvt, else t = from */
  char compare[4];
  char space;  /* ld, st: 'g'lobal, 's'hared, 'l'ocal, 'p'aram, 'x' generic */
  uint8_t vec; /* 1, 2, 4 */
  bool hi, wide, sat;
  char round; /* of cvt: 'n', 'z', 'm', 'p'; 'i' set: to an integer */
  bool integer, ftz_nan;
  int guard; /* -1: none */
  bool unless;
  uint8_t ndst, nsrc;
  Operand dst[4], src[6];
  int line;
} Ins;

struct PtxKernel {
  char name[NAME];
  uint32_t nparam;
  struct {
    char prefix[16];
    int base, n;
  } class[CLASSES];
  int nclass, nreg;
  struct {
    char name[NAME];
    uint32_t at;
    bool local;
  } var[VARS];
  int nvar;
  uint32_t shared, local; /* bytes */
  struct {
    char name[NAME];
    int at;
  } * label;
  int nlabel;
  Ins *ins;
  int nins;
  struct PtxKernel *next;
};

struct PtxModule {
  PtxKernel *first;
  PtxKernel globals; /* shared variables of the module */
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
  k->var[k->nvar].at = *total, k->var[k->nvar++].local = local;
  *total += size;
  return eat(s, ';') ? true : wrong(s, "';' is missing");
}

static bool find_variable(const PtxKernel *k, const char *name, uint64_t *at) {
  for (int i = 0; i < k->nvar; i++)
    if (!strcmp(k->var[i].name, name)) {
      *at = k->var[i].at + (uint64_t)(k->var[i].local ? LOCAL_BASE : SHARED_BASE);
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
  if (!strcmp(text, "f16x2")) {
    *t = (Type){.kind = 'f', .bits = 16, .pair = true};
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
    x->from = x->t.bits ? t : x->from;
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
  else if (strcmp(text, "rn") && strcmp(text, "lo") && strcmp(text, "uni") && strcmp(text, "sync") &&
           strcmp(text, "bfly") && strcmp(text, "cas") && strcmp(text, "relaxed") && strcmp(text, "sys") &&
           strcmp(text, "cta") && strcmp(text, "aligned") && strcmp(text, "to"))
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
  bool no_result = x.op == O_st || x.op == O_bra || x.op == O_ret || x.op == O_bar || x.op == O_barrier;
  blanks(s);
  if (!no_result && !operand(s, x.dst, &x.ndst))
    return false;
  eat(s, ',');
  blanks(s);
  while (*s->p != ';') {
    if (x.nsrc > 4 || !operand(s, x.src, &x.nsrc))
      return x.nsrc > 4 ? wrong(s, "so many operands") : false;
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

/* --- numbers --- */

static uint64_t cut(uint64_t v, unsigned bits) { return bits >= 64 ? v : v & (((uint64_t)1 << bits) - 1); }

static int64_t extend(uint64_t v, unsigned bits) {
  return bits >= 64 ? (int64_t)v : (int64_t)(v << (64 - bits)) >> (64 - bits);
}

static double real(uint64_t v, unsigned bits) {
  if (bits == 64) {
    double d;
    memcpy(&d, &v, 8);
    return d;
  }
  uint32_t w = (uint32_t)v;
  if (bits == 16) { /* exactly: the exponent moves by 112 */
    float scaled;
    uint32_t sign = (w & 0x8000) << 16, rest = w & 0x7fff;
    w = rest >= 0x7c00 ? rest << 13 | 0x7f800000 : rest << 13;
    memcpy(&scaled, &w, 4);
    scaled = rest >= 0x7c00 ? scaled : scaled * 0x1p112f;
    return sign ? -(double)scaled : (double)scaled;
  }
  float f;
  memcpy(&f, &w, 4);
  return (double)f;
}

static uint64_t half(double v) {
  uint64_t sign = signbit(v) ? 0x8000 : 0;
  double a = fabs(v);
  if (isnan(v))
    return 0x7fff;
  if (a >= 65520)
    return sign | 0x7c00;
  int e = a > 0 ? ilogb(a) : -14;
  e = e < -14 ? -14 : e;
  return sign | (uint64_t)((int64_t)nearbyint(ldexp(a, 10 - e)) + ((int64_t)(e + 14) << 10));
}

static uint64_t bits_of(double v, unsigned bits) {
  uint64_t r = 0;
  uint32_t w;
  float f = (float)v;
  if (bits == 64)
    memcpy(&r, &v, 8);
  else if (bits == 16)
    r = half(v);
  else
    memcpy(&w, &f, 4), r = w;
  return r;
}

/* --- running --- */

typedef enum { RUNS, AT_BARRIER, AT_SHUFFLE, ENDED } State;
typedef struct Thread {
  uint64_t *reg;
  uint8_t *local;
  int pc;
  State state;
  int where; /* the barrier or shuffle it waits at */
} Thread;

typedef struct Machine {
  const PtxKernel *k;
  const PtxLaunch *l;
  Thread *thread;
  uint8_t *shared;
  uint32_t block;
  char *why;
} Machine;

static bool fault(Machine *m, const Thread *t, const char *fmt, ...) {
  va_list a;
  va_start(a, fmt);
  int n = snprintf(m->why, 256, "%s, line %d, block %u, thread %d: ", m->k->name, m->k->ins[t->pc].line, m->block,
                   (int)(t - m->thread));
  if (n < 256)
    vsnprintf(m->why + n, 256 - (size_t)n, fmt, a);
  va_end(a);
  return false;
}

static uint64_t get(const Thread *t, const Operand *o) { return o->kind == K_REG ? t->reg[o->reg] : o->value; }

static bool compare(const Ins *x, uint64_t a, uint64_t b) {
  const char *c = x->compare;
  if (x->from.kind == 'f') {
    double u = real(a, x->from.bits), v = real(b, x->from.bits);
    bool none = isnan(u) || isnan(v);
    if (!strcmp(c, "nan") || !strcmp(c, "num"))
      return none == (c[1] == 'a');
    if (none)
      return c[2] == 'u';
    return c[0] == 'e'   ? u == v
           : c[0] == 'n' ? u != v
           : c[0] == 'l' ? (c[1] == 't' ? u < v : u <= v)
           : c[1] == 't' ? u > v
                         : u >= v;
  }
  a = cut(a, x->from.bits), b = cut(b, x->from.bits);
  int order = a == b ? 0 : a < b ? -1 : 1;
  if (x->from.kind == 's')
    order = a == b ? 0 : extend(a, x->from.bits) < extend(b, x->from.bits) ? -1 : 1;
  return c[0] == 'e'   ? !order
         : c[0] == 'n' ? order != 0
         : c[0] == 'l' ? (c[1] == 't' ? order < 0 : order <= 0)
         : c[1] == 't' ? order > 0
                       : order >= 0;
}

static double float_op(const Ins *x, double a, double b, double c) {
  switch (x->op) {
  case O_add: return a + b;
  case O_sub: return a - b;
  case O_mul: return a * b;
  case O_div: return a / b;
  case O_fma: return x->t.bits == 64 ? fma(a, b, c) : (double)fmaf((float)a, (float)b, (float)c);
  case O_sqrt: return sqrt(a);
  case O_rcp: return 1 / a;
  case O_neg: return -a;
  case O_abs: return fabs(a);
  case O_copysign: return copysign(b, a);
  case O_min: return x->ftz_nan && (isnan(a) || isnan(b)) ? NAN : fmin(a, b);
  default: return x->ftz_nan && (isnan(a) || isnan(b)) ? NAN : fmax(a, b);
  }
}

static uint64_t int_op(const Ins *x, uint64_t a, uint64_t b, uint64_t c) {
  unsigned n = x->t.bits;
  bool s = x->t.kind == 's';
  uint64_t ua = cut(a, n), ub = cut(b, n);
  int64_t sa = extend(a, n), sb = extend(b, n);
  __int128 wide = s ? (__int128)sa * sb : (__int128)((unsigned __int128)ua * ub);
  uint64_t product = x->hi ? (uint64_t)(wide >> n) : (uint64_t)wide;
  switch (x->op) {
  case O_add: return a + b;
  case O_sub: return a - b;
  case O_mul: return product;
  case O_mad: return product + c;
  case O_div: return !ub ? (uint64_t)-1 : !s ? ua / ub : sb == -1 ? -(uint64_t)sa : (uint64_t)(sa / sb);
  case O_rem: return !ub ? ua : !s ? ua % ub : sb == -1 ? 0 : (uint64_t)(sa % sb);
  case O_min: return s ? (sa < sb ? a : b) : ua < ub ? a : b;
  case O_max: return s ? (sa > sb ? a : b) : ua > ub ? a : b;
  case O_neg: return -a;
  case O_abs: return sa < 0 ? -a : a;
  case O_and: return a & b;
  case O_or: return a | b;
  case O_xor: return a ^ b;
  case O_not: return ~a;
  case O_shl: return (uint32_t)b >= n ? 0 : a << (uint32_t)b;
  case O_shr:
    return s ? (uint64_t)(sa >> ((uint32_t)b >= n ? n - 1 : (uint32_t)b)) : (uint32_t)b >= n ? 0 : ua >> (uint32_t)b;
  case O_popc: return (uint64_t)__builtin_popcountll(ua);
  default: return ua ? (uint64_t)__builtin_clzll(ua) - (64 - n) : n;
  }
}

static uint64_t field_op(const Ins *x, const uint64_t *v) {
  unsigned n = x->t.bits;
  if (x->op == O_bfe) {
    unsigned at = v[1] & 0xff, len = v[2] & 0xff;
    uint64_t r = at >= n ? 0 : cut(cut(v[0], n) >> at, len > n - at ? n - at : len);
    return x->t.kind == 's' && len ? (uint64_t)extend(r, len) : r;
  }
  unsigned at = v[2] & 0xff, len = v[3] & 0xff;
  uint64_t mask = at >= n ? 0 : cut(~(uint64_t)0, len) << at;
  return (v[1] & ~mask) | (v[0] << (at & 63) & mask);
}

static uint64_t permute(const uint64_t *v) {
  uint64_t all = cut(v[1], 32) << 32 | cut(v[0], 32), r = 0;
  for (unsigned i = 0; i < 4; i++) {
    unsigned pick = (unsigned)(v[2] >> 4 * i) & 15;
    uint64_t byte = all >> 8 * (pick & 7) & 255;
    r |= (pick & 8 ? (byte & 128 ? 255 : 0) : byte) << 8 * i;
  }
  return r;
}

static double rounded(char how, double v) {
  return how == 'z' ? trunc(v) : how == 'm' ? floor(v) : how == 'p' ? ceil(v) : nearbyint(v);
}

static uint64_t convert(const Ins *x, uint64_t a) {
  Type to = x->t, from = x->from;
  if (from.kind != 'f') {
    if (to.kind != 'f')
      return from.kind == 's' ? (uint64_t)extend(a, from.bits) : cut(a, from.bits);
    if (to.bits == 64)
      return bits_of(from.kind == 's' ? (double)extend(a, from.bits) : (double)cut(a, from.bits), 64);
    return bits_of(from.kind == 's' ? (double)(float)extend(a, from.bits) : (double)(float)cut(a, from.bits), to.bits);
  }
  double v = real(a, from.bits);
  if (x->integer)
    v = rounded(x->round, v);
  if (to.kind == 'f') {
    bool toward_zero = !x->integer && x->round == 'z' && to.bits < from.bits;
    float f = (float)v;
    if (toward_zero && to.bits == 32 && fabs((double)f) > fabs(v))
      f = nextafterf(f, 0);
    return toward_zero && to.bits == 32 ? bits_of((double)f, 32) : bits_of(v, to.bits);
  }
  if (isnan(v))
    return 0;
  double top = ldexp(1, to.bits - (to.kind == 's')), low = to.kind == 's' ? -top : 0;
  if (v >= top)
    return to.kind == 's' ? cut(~(uint64_t)0, to.bits - 1u) : cut(~(uint64_t)0, to.bits);
  if (v <= low)
    return to.kind == 's' ? (uint64_t)1 << (to.bits - 1) : 0;
  return to.kind == 's' ? (uint64_t)(int64_t)v : (uint64_t)v;
}

static uint8_t *at_address(Machine *m, Thread *t, uint64_t a, size_t size) {
  if (a % size) {
    fault(m, t, "%zu bytes at %#llx, which is no multiple of that", size, (unsigned long long)a);
    return NULL;
  }
  if (a >= SHARED_BASE && a + size <= (uint64_t)SHARED_BASE + SPACE)
    return m->shared + (a - SHARED_BASE);
  if (a >= LOCAL_BASE && a + size <= (uint64_t)LOCAL_BASE + SPACE)
    return t->local + (a - LOCAL_BASE);
  uint8_t *p = m->l->memory(m->l->arg, a, size);
  if (!p)
    fault(m, t, "%zu bytes at %#llx, where nothing is", size, (unsigned long long)a);
  return p;
}

static bool load(Machine *m, Thread *t, const Ins *x) {
  size_t each = x->t.bits / 8u;
  if (x->space == 'p') {
    t->reg[x->dst[0].reg] = cut(m->l->param[x->src[0].value], x->t.bits);
    return true;
  }
  uint8_t *p = at_address(m, t, (x->src[0].kind == K_REG ? t->reg[x->src[0].reg] : 0) + x->src[0].value, each * x->vec);
  for (int i = 0; p && i < x->vec; i++) {
    uint64_t v = 0;
    memcpy(&v, p + each * (size_t)i, each);
    t->reg[x->dst[i].reg] = x->t.kind == 's' ? (uint64_t)extend(v, x->t.bits) : v;
  }
  return p != NULL;
}

static bool store(Machine *m, Thread *t, const Ins *x) {
  size_t each = x->t.bits / 8u;
  uint8_t *p = at_address(m, t, (x->src[0].kind == K_REG ? t->reg[x->src[0].reg] : 0) + x->src[0].value, each * x->vec);
  for (int i = 0; p && i < x->vec; i++) {
    uint64_t v = get(t, &x->src[1 + i]);
    memcpy(p + each * (size_t)i, &v, each);
  }
  return p != NULL;
}

/* One number to several registers, or several to one. */
static void move(Thread *t, const Ins *x) {
  unsigned part = x->t.bits / (x->ndst > 1 ? x->ndst : x->nsrc);
  if (x->ndst > 1) {
    uint64_t v = get(t, &x->src[0]);
    for (int i = 0; i < x->ndst; i++)
      t->reg[x->dst[i].reg] = cut(v >> (part * (unsigned)i), part);
    return;
  }
  uint64_t v = 0;
  for (int i = 0; i < x->nsrc; i++)
    v |= (x->nsrc > 1 ? cut(get(t, &x->src[i]), part) : get(t, &x->src[i])) << (part * (unsigned)i % 64);
  t->reg[x->dst[0].reg] = cut(v, x->t.bits);
}

static bool exchange(Machine *m, Thread *t, const Ins *x) {
  uint8_t *p = at_address(m, t, get(t, &x->src[0]), x->t.bits / 8u);
  uint64_t old = 0, now = get(t, &x->src[2]);
  if (!p)
    return false;
  memcpy(&old, p, x->t.bits / 8u);
  if (old == cut(get(t, &x->src[1]), x->t.bits))
    memcpy(p, &now, x->t.bits / 8u);
  t->reg[x->dst[0].reg] = old;
  return true;
}

static uint64_t compute(const Thread *t, const Ins *x) {
  uint64_t v[5] = {0}, r;
  for (int i = 0; i < x->nsrc; i++)
    v[i] = get(t, &x->src[i]);
  switch (x->op) {
  case O_setp: return compare(x, v[0], v[1]);
  case O_selp: r = v[2] & 1 ? v[0] : v[1]; break;
  case O_cvt:
    if (x->t.pair) /* the first becomes the upper half */
      return cut(convert(x, v[0]), 16) << 16 | cut(convert(x, v[1]), 16);
    r = convert(x, v[0]);
    break;
  case O_cvta: r = v[0]; break;
  case O_bfe:
  case O_bfi: r = field_op(x, v); break;
  case O_prmt: r = permute(v); break;
  default:
    if (x->t.kind == 'f') /* f32 in double: one rounding more changes nothing for + - * / sqrt */
      return bits_of(float_op(x, real(v[0], x->t.bits), real(v[1], x->t.bits), real(v[2], x->t.bits)), x->t.bits);
    r = int_op(x, v[0], v[1], v[2]);
    if (x->wide)
      return cut(r, 2u * x->t.bits);
  }
  return cut(r, x->t.bits);
}

/* Runs it to its end or to where it waits. */
static bool run_thread(Machine *m, Thread *t) {
  for (t->state = RUNS;; t->pc++) {
    if (t->pc >= m->k->nins) {
      snprintf(m->why, 256, "%s: a thread runs past the end", m->k->name);
      return false;
    }
    const Ins *x = &m->k->ins[t->pc];
    if (x->guard >= 0 && (t->reg[x->guard] & 1) == x->unless)
      continue;
    switch (x->op) {
    case O_ret: t->state = ENDED; return true;
    case O_bra: t->pc = m->k->label[x->src[0].value].at - 1; break;
    case O_bar:
    case O_barrier: t->state = AT_BARRIER, t->where = t->pc++; return true;
    case O_shfl: t->state = AT_SHUFFLE, t->where = t->pc++; return true;
    case O_ld:
      if (!load(m, t, x))
        return false;
      break;
    case O_st:
      if (!store(m, t, x))
        return false;
      break;
    case O_atom:
      if (!exchange(m, t, x))
        return false;
      break;
    case O_mov: move(t, x); break;
    default: t->reg[x->dst[0].reg] = compute(t, x);
    }
  }
}

/* All threads of a warp are at one shuffle, or have ended: each gets what it asks for. */
static bool shuffle(Machine *m, Thread *warp, unsigned n) {
  uint64_t from[WARP];
  int at = -1;
  for (unsigned i = 0; i < n; i++) {
    if (warp[i].state == ENDED)
      continue;
    if (warp[i].state != AT_SHUFFLE || (at >= 0 && warp[i].where != at))
      return fault(m, &warp[i], "the threads of a warp shuffle at different places");
    at = warp[i].where;
    from[i] = get(&warp[i], &m->k->ins[at].src[0]);
  }
  for (unsigned i = 0; i < n; i++) {
    const Ins *x = &m->k->ins[at];
    unsigned other = i ^ (unsigned)get(&warp[i], &x->src[1]);
    if (warp[i].state == ENDED)
      continue;
    if (other >= n)
      return fault(m, &warp[i], "a shuffle with a thread that is not there");
    warp[i].reg[x->dst[0].reg] = warp[other].state == ENDED ? 0xdeadbeef : from[other];
  }
  for (unsigned i = 0; i < n; i++)
    warp[i].state = warp[i].state == ENDED ? ENDED : RUNS;
  return true;
}

static bool run_warp(Machine *m, unsigned first, unsigned n) {
  Thread *warp = m->thread + first;
  for (;;) {
    bool shuffles = false;
    for (unsigned j = 0; j < n; j++) {
      Thread *t = &warp[m->l->backwards ? n - 1 - j : j];
      if (t->state == RUNS && !run_thread(m, t))
        return false;
      shuffles |= t->state == AT_SHUFFLE;
    }
    if (!shuffles)
      return true;
    if (!shuffle(m, warp, n))
      return false;
  }
}

static bool run_block(Machine *m) {
  unsigned n = m->l->threads, warps = (n + WARP - 1) / WARP;
  for (;;) {
    int at = -1;
    for (unsigned j = 0; j < warps; j++) {
      unsigned w = m->l->backwards ? warps - 1 - j : j;
      if (!run_warp(m, w * WARP, n - w * WARP < WARP ? n - w * WARP : WARP))
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
      if (m->thread[i].state == ENDED)
        continue;
      if (at >= 0 && m->thread[i].where != at)
        return fault(m, &m->thread[i], "the threads of a block wait at different barriers");
      at = m->thread[i].where;
      m->thread[i].state = RUNS;
    }
    if (at < 0)
      return true;
  }
}

bool ptx_run(const PtxKernel *k, const PtxLaunch *l, char why[256]) {
  size_t regs = (size_t)k->nreg * l->threads;
  uint64_t *reg = malloc(regs * sizeof *reg);
  uint8_t *local = malloc((size_t)SPACE * (k->local ? l->threads : 1)), *shared = malloc(SPACE);
  Machine m = {.k = k, .l = l, .thread = calloc(l->threads, sizeof(Thread)), .shared = shared, .why = why};
  bool ok = true;
  for (uint32_t j = 0; j < l->blocks && ok; j++) {
    m.block = l->backwards ? l->blocks - 1 - j : j;
    memset(reg, 0xee, regs * sizeof *reg);
    memset(shared, 0xee, SPACE);
    for (uint32_t i = 0; i < l->threads; i++) {
      m.thread[i] = (Thread){.reg = reg + (size_t)k->nreg * i, .local = local + (k->local ? (size_t)SPACE * i : 0)};
      uint64_t *r = m.thread[i].reg;
      r[0] = i, r[1] = m.block, r[2] = l->threads, r[3] = l->blocks;
    }
    ok = run_block(&m);
  }
  free(reg), free(local), free(shared), free(m.thread);
  return ok;
}
