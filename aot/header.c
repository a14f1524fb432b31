/* header.c - the header of a compiled model: its inputs and outputs as structs of typed pointers, its symbolic dimensions as numbers
 * beside them, and the functions. It needs no other header of Sard's: what they share is written into it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "aot/header.h"

#include "aot/object.h"
#include "support/dim.h"
#include "support/dtype.h"
#include "support/tensor.h"

#include <ctype.h>
#include <string.h>

static const unsigned char types_text[] = {
#include "sard_types_text.h" /* include/sard_types.h, made by CMake */
};

/* --- the program's description --- */

static const void *records(const AotHeader *h, SectionId sec, size_t size, uint32_t *n) {
  const ProgHeader *p = (const ProgHeader *)(const void *)h->image;
  *n = (uint32_t)(p->section[sec].size / size);
  return h->image + p->section[sec].offset;
}

#define RECORDS(h, sec, T, n) ((const T *)records(h, sec, sizeof(T), n))

static const char *string(const AotHeader *h, uint32_t at) {
  uint32_t n;
  return RECORDS(h, SEC_STRINGS, char, &n) + at;
}

static uint32_t list(const AotHeader *h, uint32_t at) {
  uint32_t n;
  return RECORDS(h, SEC_LISTS, uint32_t, &n)[at];
}

static const ProgSlot *slot_of(const AotHeader *h, const ProgPort *p) {
  uint32_t n;
  return RECORDS(h, SEC_SLOTS, ProgSlot, &n) + p->slot;
}

/* --- names --- */

static bool is_keyword(const char *s) {
  static const char *const words[] = {
      "alignas",  "alignof", "asm",      "auto",     "bool",     "break",     "case",     "catch",
      "char",     "class",   "const",    "continue", "default",  "delete",    "do",       "double",
      "else",     "enum",    "explicit", "export",   "extern",   "false",     "float",    "for",
      "friend",   "goto",    "if",       "inline",   "int",      "long",      "mutable",  "namespace",
      "new",      "not",     "operator", "or",       "private",  "protected", "public",   "register",
      "restrict", "return",  "short",    "signed",   "sizeof",   "static",    "struct",   "switch",
      "template", "this",    "throw",    "true",     "try",      "typedef",   "typename", "union",
      "unsigned", "using",   "virtual",  "void",     "volatile", "while",     "xor",      "and"};
  for (size_t i = 0; i < countof(words); i++)
    if (!strcmp(words[i], s))
      return true;
  return false;
}

const char *aot_identifier(Arena *a, const char *s) {
  StrBuf b;
  buf_init(&b, a);
  if (!*s || isdigit((unsigned char)*s))
    buf_putc(&b, '_');
  for (; *s; s++)
    buf_putc(&b, isalnum((unsigned char)*s) && (unsigned char)*s < 128 ? *s : '_');
  if (is_keyword(b.text))
    buf_putc(&b, '_');
  return b.text;
}

/* A field that no field of the struct has yet. */
static const char *field(Arena *a, Map *taken, const char *s) {
  const char *id = aot_identifier(a, s), *name = id;
  for (int i = 2; map_get(taken, name); i++)
    name = arena_printf(a, "%s_%d", id, i);
  map_put(taken, name, (void *)(uintptr_t)1);
  return name;
}

/* Text in a comment: what would end it does not. */
static void put_comment(StrBuf *b, const char *s) {
  for (; *s; s++)
    if ((unsigned char)*s >= 0x20 && !(s[0] == '*' && s[1] == '/'))
      buf_putc(b, *s);
}

static const char *c_type(DType t) {
  switch (t) {
  case DT_f32: return "float";
  case DT_f64: return "double";
  case DT_i8: return "int8_t";
  case DT_i16: return "int16_t";
  case DT_i32: return "int32_t";
  case DT_i64: return "int64_t";
  case DT_u16: return "uint16_t";
  case DT_u32: return "uint32_t";
  case DT_u64: return "uint64_t";
  case DT_bool: return "bool";
  case DT_f16:
  case DT_bf16: return "uint16_t";
  case DT_c64: return "float";
  case DT_c128: return "double";
  case DT_str: return "sard_str";
  default: return t == DT_none ? "void" : "uint8_t"; /* 8 bits, or packed ones */
  }
}

/* "f32[batch, seq, 384]" */
static void put_type(StrBuf *b, const AotHeader *h, const ProgPort *p) { aot_port_type(b, h->image, p); }

void aot_port_type(StrBuf *b, const uint8_t *image, const ProgPort *p) {
  const AotHeader *h = &(AotHeader){.image = image};
  static const char *const kind[] = {"", "a sequence of ", "an optional ", "a map of "};
  const ProgSlot *s = slot_of(h, p);
  buf_printf(b, "%s%s", kind[s->vkind], s->dtype ? dtype_name((DType)s->dtype) : "any type");
  if (s->rank < 0 || s->vkind) {
    buf_puts(b, "[...]");
    return;
  }
  for (int k = 0; k < s->rank; k++) {
    buf_puts(b, k ? ", " : "[");
    put_comment(b, string(h, list(h, p->dim_text + (uint32_t)k)));
  }
  buf_puts(b, s->rank ? "]" : "[]");
}

/* Are all inputs tensors whose shapes follow from the symbols? Then there are structs for a typed run. */
static bool is_typed(const AotHeader *h) {
  uint32_t n, nout;
  const ProgPort *in = RECORDS(h, SEC_INPUTS, ProgPort, &n), *out = RECORDS(h, SEC_OUTPUTS, ProgPort, &nout);
  for (uint32_t i = 0; i < n; i++)
    if (slot_of(h, &in[i])->vkind != VK_TENSOR || !slot_of(h, &in[i])->dtype || slot_of(h, &in[i])->rank < 0)
      return false;
  for (uint32_t i = 0; i < nout; i++)
    if (slot_of(h, &out[i])->vkind == VK_TENSOR && slot_of(h, &out[i])->rank >= 0)
      return true;
  return false;
}

/* --- parts of the header --- */

static void put_inputs(StrBuf *b, const AotHeader *h) {
  uint32_t n, nsymbol;
  const ProgPort *in = RECORDS(h, SEC_INPUTS, ProgPort, &n);
  const ProgSymbol *sym = RECORDS(h, SEC_SYMBOLS, ProgSymbol, &nsymbol);
  Map taken;
  map_init(&taken, b->arena);
  buf_printf(b,
             "/* Extents of the symbolic dimensions, and the inputs: dense, row-major, in the model's order. */\n"
             "typedef struct %s_inputs {\n",
             h->prefix);
  for (uint32_t i = 0; i < nsymbol && sym[i].of_input; i++) {
    buf_printf(b, "  int64_t %s; /* ", field(b->arena, &taken, string(h, sym[i].name)));
    put_comment(b, string(h, sym[i].name));
    buf_puts(b, " */\n");
  }
  for (uint32_t i = 0; i < n; i++) {
    const char *name = string(h, in[i].name);
    buf_printf(b, "  const %s *%s; /* ", c_type((DType)slot_of(h, &in[i])->dtype), field(b->arena, &taken, name));
    put_type(b, h, &in[i]);
    buf_puts(b, " '");
    put_comment(b, name);
    buf_puts(b, in[i].deflt != PROG_NONE ? "'; NULL: the model's default */\n" : "' */\n");
  }
  if (!n)
    buf_puts(b, "  void *none; /* the model takes no inputs */\n");
  buf_printf(b, "} %s_inputs;\n\n", h->prefix);
}

static void put_outputs(StrBuf *b, const AotHeader *h) {
  uint32_t n;
  const ProgPort *out = RECORDS(h, SEC_OUTPUTS, ProgPort, &n);
  Map taken;
  map_init(&taken, b->arena);
  buf_printf(b,
             "/* Memory of the caller's for the outputs; NULL: not wanted. %s_output_shape tells the shapes. */\n"
             "typedef struct %s_outputs {\n",
             h->prefix, h->prefix);
  for (uint32_t i = 0; i < n; i++) {
    const ProgSlot *s = slot_of(h, &out[i]);
    const char *name = string(h, out[i].name);
    buf_printf(b, "  %s *%s; /* ", s->vkind ? "void" : c_type((DType)s->dtype), field(b->arena, &taken, name));
    put_type(b, h, &out[i]);
    buf_puts(b, " '");
    put_comment(b, name);
    buf_printf(b, s->vkind || s->rank < 0 || s->dtype == DT_str ? "': take it from %s_call, NULL here */\n" : "' */\n",
               h->prefix);
  }
  buf_printf(b, "} %s_outputs;\n\n", h->prefix);
}

static void put_typed_functions(StrBuf *b, const AotHeader *h) {
  const char *p = h->prefix;
  buf_printf(
      b,
      "/* Runs the model. Any number of threads may do so at once. SARD_ERROR_UNSUPPORTED: the shape of a wanted "
      "output\n"
      " * depends on the data; %s_call gives it. */\n"
      "SARD_COMPILED_API sard_status %s_run(const %s *m, const %s_inputs *in, const %s_outputs *out);\n"
      "/* The shape of an output (by number) for these inputs, whose symbols are read, and whose pointers must not be "
      "NULL;\n"
      " * dim has room for SARD_MAX_RANK. */\n"
      "SARD_COMPILED_API sard_status %s_output_shape(const %s *m, const %s_inputs *in, size_t output, int64_t *dim,\n"
      "                                              int32_t *rank);\n\n",
      p, p, p, p, p, p, p, p);
}

/* A function that a program with the model cannot do without, as a call of its identified name: see aot_identified. */
static void put_identified(StrBuf *b, const AotHeader *h, const char *returns, const char *name, const char *parameters,
                           const char *arguments) {
  const char *own = aot_identified(b->arena, h->prefix, name, h->identity);
  buf_printf(b, "SARD_COMPILED_API %s%s(%s);\nstatic inline %s%s_%s(%s) {\n  return %s(%s);\n}\n", returns, own,
             parameters, returns, h->prefix, name, parameters, own, arguments);
}

static void put_life(StrBuf *b, const AotHeader *h) {
  const char *p = h->prefix;
  if (h->static_arena) {
    buf_printf(b,
               "/* An instance in the caller's memory, which must stay until %s_free, and which runs use too: nothing "
               "here calls\n"
               " * malloc. Runs take one thread unless o->threads says more: those are started now, their stacks in "
               "that memory, too.\n"
               " * SARD_ERROR_MEMORY: it is too small; %s_memory_peak tells what runs have needed. */\n",
               p, p);
    put_identified(b, h, "sard_status ", "init_static",
                   arena_printf(b->arena, "void *memory, size_t bytes, const sard_compiled_options *o, %s **out", p),
                   "memory, bytes, o, out");
  } else {
    buf_puts(b,
             "/* An instance of the model. o may be NULL. Models are immutable: one instance serves all threads. */\n");
    put_identified(b, h, "sard_status ", "init", arena_printf(b->arena, "const sard_compiled_options *o, %s **out", p),
                   "o, out");
  }
  buf_printf(b,
             "SARD_COMPILED_API void %s_free(%s *m); /* m may be NULL; no run may be going on */\n"
             "/* What the last failure in this thread was, in one line. */\n"
             "SARD_COMPILED_API const char *%s_error(void);\n\n",
             p, p, p);
}

static void put_general(StrBuf *b, const AotHeader *h) {
  const char *p = h->prefix;
  buf_printf(
      b,
      "/* Runs with tensors: in[i] belongs to input i; all zero: its default. The outputs are in *out, to be freed "
      "with\n"
      " * %s_result_free; or they go to the caller's memory, whose shapes must be theirs (data NULL: not wanted). */\n"
      "SARD_COMPILED_API sard_status %s_call(const %s *m, const sard_tensor *in, size_t n, sard_result **out);\n"
      "SARD_COMPILED_API sard_status %s_call_into(const %s *m, const sard_tensor *in, size_t n, const sard_tensor "
      "*out,\n"
      "                                           size_t nout);\n"
      "/* Output i, which lives as long as r; a container: the number of its items (-1: it is a tensor), and an item. "
      "*/\n"
      "SARD_COMPILED_API sard_status %s_result_tensor(const sard_result *r, size_t i, sard_tensor *t);\n"
      "SARD_COMPILED_API int64_t %s_result_items(const sard_result *r, size_t i);\n"
      "SARD_COMPILED_API sard_status %s_result_item(const sard_result *r, size_t i, int64_t k, sard_tensor *t);\n"
      "SARD_COMPILED_API void %s_result_free(sard_result *r);\n\n",
      p, p, p, p, p, p, p, p, p);
  buf_printf(b,
             "/* What goes in and comes out; io begins as SARD_IO_INIT. Texts of dimensions: \"batch\", \"past+seq\", "
             "\"128\". */\n"
             "SARD_COMPILED_API size_t %s_input_count(const %s *m);\n"
             "SARD_COMPILED_API size_t %s_output_count(const %s *m);\n"
             "SARD_COMPILED_API sard_status %s_input(const %s *m, size_t i, sard_io *io);\n"
             "SARD_COMPILED_API sard_status %s_output(const %s *m, size_t i, sard_io *io);\n"
             "SARD_COMPILED_API const char *%s_input_dim_text(const %s *m, size_t i, int axis);\n"
             "SARD_COMPILED_API const char *%s_output_dim_text(const %s *m, size_t i, int axis);\n"
             "SARD_COMPILED_API size_t %s_symbol_count(const %s *m);\n"
             "SARD_COMPILED_API const char *%s_symbol_name(const %s *m, size_t i);\n"
             "/* The most bytes that the instance and its runs have held at once; weights are not among them. */\n"
             "SARD_COMPILED_API size_t %s_memory_peak(const %s *m);\n"
             "/* All of this as a table. */\n",
             p, p, p, p, p, p, p, p, p, p, p, p, p, p, p, p, p, p);
  put_identified(b, h, "const sard_compiled_api *", "api", "void", "");
  buf_putc(b, '\n');
}

static void put_opening(StrBuf *b, const AotHeader *h) {
  buf_puts(b, "/* The model '");
  put_comment(b, h->name);
  buf_printf(b, "', compiled by Sard for %s.\n", h->levels);
  if (h->weights)
    buf_printf(b, " * Its weights are in the file %s, beside the library or program.\n", h->weights);
  buf_printf(b,
             " *\n"
             " * Link with: %s\n"
             " *\n"
             " * Functions return SARD_OK, which is 0, or what went wrong: SARD_ERROR_USAGE, a wrong argument; "
             "_INVALID, an input is\n"
             " * not valid, or the model is damaged; %s; _MEMORY; _IO, the file with\n"
             " * weights; %s_error tells it in words. */\n",
             h->libraries,
             h->gpu ? "_DEVICE, there is no GPU that the code is for"
                    : "_UNSUPPORTED, this CPU lacks what the code needs",
             h->prefix);
}

void aot_header(StrBuf *b, const AotHeader *h) {
  const char *p = h->prefix;
  put_opening(b, h);
  buf_printf(
      b,
      "#ifdef SARD_COMPILED_%s_H\n#if SARD_COMPILED_%s_H != 0x%016llxu\n"
      "#error \"two compiled models have the prefix '%s': give one of them another, with sard compile --prefix\"\n"
      "#endif\n#else\n#define SARD_COMPILED_%s_H 0x%016llxu\n\n",
      p, p, (unsigned long long)h->identity, p, p, (unsigned long long)h->identity);
  buf_put(b, (const char *)types_text, sizeof types_text);
  buf_printf(b,
             "\n#ifndef SARD_COMPILED_API\n#define SARD_COMPILED_API\n#endif\n\n"
             "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\ntypedef struct sard_compiled %s;\n\n",
             p);
  put_life(b, h);
  if (is_typed(h)) {
    put_inputs(b, h);
    put_outputs(b, h);
    put_typed_functions(b, h);
  }
  put_general(b, h);
  buf_puts(b, "#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
}
