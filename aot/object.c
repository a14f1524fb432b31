/* object.c - compiled models as objects: the sections of a package, the table of the operators that it evaluates, the names that
 * are exported, and the archive around the object.
 * SPDX-License-Identifier: Apache-2.0 */
#include "aot/object.h"

#include "aot/write.h"
#include "ops/eval/eval.h"

#include <ar.h>
#include <elf.h>
#include <stdio.h>
#include <string.h>

/* --- the table of operators: eval_rows of the runtime, with what the model needs --- */

/* An operator's evaluator and attributes as symbols of the runtime. */
typedef struct Operator {
  const char *domain, *name, *attrs, *eval;
} Operator;

#define no_eval no_eval
static const Operator operators[OP_count] = {
#define OP(name, domain, since, imin, imax, omin, omax, flags, attrs, infer, eval, lower, sig)                         \
  [OP_##name] = {domain, #name, #attrs "_attrs", #eval},
#include "ops/ops.def"
#undef OP
};

enum { S_PACKAGE, S_CODE, S_ROWS, S_NAMES, S_WEIGHTS, SECTIONS };

typedef struct Rows {
  Arena *a;
  StrBuf names;
  MergeAddress *address;
  uint32_t n;
} Rows;

static void add_address(Rows *r, OpId op, size_t field, const char *symbol, uint64_t addend) {
  r->address[r->n++] = (MergeAddress){S_ROWS, op * sizeof(EvalRow) + field, symbol, addend};
}

static uint64_t add_name(Rows *r, const char *s) {
  uint64_t at = r->names.len;
  buf_put(&r->names, s, strlen(s) + 1);
  return at;
}

static Status add_operators(Ctx *c, const AotPackage *p, Rows *r) {
  buf_init(&r->names, r->a);
  r->address = arena_array(r->a, MergeAddress, 4 * (size_t)p->nop + 2);
  for (uint32_t i = 0; i < p->nop; i++) {
    OpId op = 1;
    while (op < OP_count && (strcmp(operators[op].domain, p->op[i][0]) || strcmp(operators[op].name, p->op[i][1])))
      op++;
    if (op == OP_count)
      return fail(c, ST_INTERNAL, "no operator %s", p->op[i][1]);
    add_address(r, op, offsetof(EvalRow, domain), "compiled_names", add_name(r, operators[op].domain));
    add_address(r, op, offsetof(EvalRow, name), "compiled_names", add_name(r, operators[op].name));
    add_address(r, op, offsetof(EvalRow, attrs), operators[op].attrs, 0);
    if (strcmp(operators[op].eval, "no_eval"))
      add_address(r, op, offsetof(EvalRow, eval), operators[op].eval, 0);
  }
  return ST_OK;
}

/* --- what is exported --- */

static const struct {
  const char *from, *to; /* to: behind the prefix and '_'; "": this very name */
  bool managed, fixed;   /* of models with an allocator; with memory of the caller's */
  bool begins;           /* nobody has an instance without it: it has an identified name, too */
} exports[] = {
    {"compiled_init", "init", true, false, true},
    {"compiled_free", "free", true, false, false},
    {"compiled_api", "api", true, false, true},
    {"compiled_init_static", "init_static", false, true, true},
    {"compiled_free_static", "free", false, true, false},
    {"compiled_api_static", "api", false, true, true},
    {"compiled_error", "error", true, true, false},
    {"compiled_run", "run", true, true, false},
    {"compiled_output_shape", "output_shape", true, true, false},
    {"compiled_call", "call", true, true, false},
    {"compiled_call_into", "call_into", true, true, false},
    {"compiled_input_count", "input_count", true, true, false},
    {"compiled_output_count", "output_count", true, true, false},
    {"compiled_input", "input", true, true, false},
    {"compiled_output", "output", true, true, false},
    {"compiled_input_dim_text", "input_dim_text", true, true, false},
    {"compiled_output_dim_text", "output_dim_text", true, true, false},
    {"compiled_symbol_count", "symbol_count", true, true, false},
    {"compiled_symbol_name", "symbol_name", true, true, false},
    {"compiled_memory_peak", "memory_peak", true, true, false},
    {"sard_result_tensor", "result_tensor", true, true, false},
    {"sard_result_items", "result_items", true, true, false},
    {"sard_result_item", "result_item", true, true, false},
    {"sard_result_free", "result_free", true, true, false},
};

const char *aot_identified(Arena *a, const char *prefix, const char *name, uint64_t identity) {
  return arena_printf(a, "%s_%s_%016llx", prefix, name, (unsigned long long)identity);
}

static MergeExport *make_exports(Arena *a, const AotObject *o, uint32_t *n) {
  MergeExport *x = arena_array(a, MergeExport, 2 * countof(exports) + 1);
  *n = 0;
  for (size_t i = 0; i < countof(exports) && !o->program; i++) {
    if (!(o->static_arena ? exports[i].fixed : exports[i].managed))
      continue;
    x[(*n)++] = (MergeExport){exports[i].from, arena_printf(a, "%s_%s", o->prefix, exports[i].to)};
    if (exports[i].begins)
      x[(*n)++] = (MergeExport){exports[i].from, aot_identified(a, o->prefix, exports[i].to, o->identity)};
  }
  if (o->program)
    x[(*n)++] = (MergeExport){"main", "main"};
  return x;
}

/* The kernels' names as perf maps have them: debuggers and profilers see them in an object, a library and a program. */
static MergeLabel *make_labels(Arena *a, const AotPackage *p) {
  MergeLabel *x = arena_array(a, MergeLabel, p->nfunction);
  for (uint32_t i = 0; i < p->nfunction; i++)
    x[i] =
        (MergeLabel){arena_printf(a, "sard:%s", p->function[i].name), S_CODE, p->function[i].at, p->function[i].size};
  return x;
}

/* start/'s compiled_gpu, behind the rows: how to open and to close a GPU. Only a model for GPUs brings that along. */
enum { ROWS_SIZE = OP_count * sizeof(EvalRow), GPU_SIZE = 2 * sizeof(void *) };

static void add_gpu(Rows *r, const PackageHeader *h) {
  if (!(h->flags & PACKAGE_GPU))
    return;
  r->address[r->n++] = (MergeAddress){S_ROWS, ROWS_SIZE, "cuda_open", 0};
  r->address[r->n++] = (MergeAddress){S_ROWS, ROWS_SIZE + sizeof(void *), "cuda_close", 0};
}

Status aot_object(Ctx *c, Arena *a, AotObject *o) {
  const AotPackage *p = o->package;
  const PackageHeader *h = (const PackageHeader *)(const void *)p->head;
  bool inside = !(h->flags & PACKAGE_EXTERNAL);
  Rows r = {.a = a};
  TRY(add_operators(c, p, &r));
  add_gpu(&r, h);
  const uint8_t *rows = arena_get(a, ROWS_SIZE + GPU_SIZE, 1, 8);
  const MergeSection section[SECTIONS] = {
      [S_PACKAGE] = {PACKAGE_SECTION, SHF_ALLOC, PACKAGE_PAGE, p->head, p->head_size},
      [S_CODE] = {CODE_SECTION, SHF_ALLOC | SHF_EXECINSTR, PACKAGE_PAGE, p->code, p->code_size},
      [S_ROWS] = {".data.rel.ro.sard", SHF_ALLOC | SHF_WRITE, 8, rows, ROWS_SIZE + GPU_SIZE},
      [S_NAMES] = {".rodata.sard", SHF_ALLOC, 1, (const uint8_t *)r.names.text, r.names.len},
      [S_WEIGHTS] = {WEIGHTS_SECTION, SHF_ALLOC, PACKAGE_PAGE, NULL, inside ? p->weights_size : 0}};
  static const MergeSymbol symbol[] = {
      {"compiled_package", S_PACKAGE, 0},    {"compiled_code", S_CODE, 0},       {"eval_rows", S_ROWS, 0},
      {"compiled_names", S_NAMES, 0},        {"compiled_weights", S_WEIGHTS, 0}, {"compiled_gpu", S_ROWS, ROWS_SIZE},
      {"compiled_package_end", S_PACKAGE, 0}};
  MergeSymbol *s = arena_copy(a, symbol, sizeof symbol);
  s[countof(symbol) - 1].value = p->head_size;
  MergeInput in = {.archive = o->runtime,
                   .archive_size = o->runtime_size,
                   .machine = o->machine,
                   .section = section,
                   .nsection = SECTIONS,
                   .symbol = s,
                   .nsymbol = countof(symbol),
                   .label = make_labels(a, p),
                   .nlabel = p->nfunction,
                   .address = r.address,
                   .naddress = r.n};
  in.export = make_exports(a, o, &in.nexport);
  return aot_merge(c, a, &in, &o->merged);
}

/* --- files --- */

static Status put_object(Ctx *c, OutFile *f, const AotObject *o) {
  const MergeOutput *m = &o->merged;
  TRY(file_put(c, f, m->bytes, m->size));
  if (!m->hole_size)
    return ST_OK;
  TRY(aot_put_zeros(c, f, m->hole_at - m->size));
  return aot_put_weights(c, f, o->package);
}

Status aot_write_object(Ctx *c, Arena *a, const AotObject *o, const char *path) {
  OutFile *f;
  TRY(file_begin(c, a, path, &f));
  TRY(put_object(c, f, o));
  return file_commit(c, f);
}

static void member_header(struct ar_hdr *h, const char *name, uint64_t size) {
  char text[sizeof *h + 1];
  snprintf(text, sizeof text, "%-16s%-12d%-6d%-6d%-8o%-10llu%s", name, 0, 0, 0, 0644, (unsigned long long)size, ARFMAG);
  memcpy(h, text, sizeof *h);
}

static void put_be32(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8), p[3] = (uint8_t)v;
}

/* The index of names that linkers look into, so large that the object behind it begins on a page. */
static uint8_t *archive_index(Arena *a, const AotObject *o, uint64_t *size, uint64_t *member) {
  uint32_t n;
  const MergeExport *x = make_exports(a, o, &n);
  StrBuf names;
  buf_init(&names, a);
  for (uint32_t i = 0; i < n; i++)
    buf_put(&names, x[i].to, strlen(x[i].to) + 1);
  uint64_t before = SARMAG + sizeof(struct ar_hdr), need = 4 + 4ull * n + names.len;
  uint64_t begin = (before + need + sizeof(struct ar_hdr) + PACKAGE_PAGE - 1) / PACKAGE_PAGE * PACKAGE_PAGE;
  *member = begin - sizeof(struct ar_hdr), *size = *member - before;
  uint8_t *p = arena_get(a, *size, 1, 8);
  put_be32(p, n);
  for (uint32_t i = 0; i < n; i++)
    put_be32(p + 4 + 4ull * i, (uint32_t)*member);
  memcpy(p + 4 + 4ull * n, names.text, names.len);
  return p;
}

Status aot_write_archive(Ctx *c, Arena *a, const AotObject *o, const char *path) {
  const MergeOutput *m = &o->merged;
  uint64_t size, member, bytes = m->hole_size ? m->hole_at + m->hole_size : m->size;
  const uint8_t *index = archive_index(a, o, &size, &member);
  struct ar_hdr h;
  OutFile *f;
  TRY(file_begin(c, a, path, &f));
  TRY(file_put(c, f, ARMAG, SARMAG));
  member_header(&h, "/", size);
  TRY(file_put(c, f, &h, sizeof h));
  TRY(file_put(c, f, index, size));
  member_header(&h, "sard.o/", bytes);
  TRY(file_put(c, f, &h, sizeof h));
  TRY(put_object(c, f, o));
  TRY(file_put(c, f, "\n", bytes % 2));
  return file_commit(c, f);
}

/* --- libraries --- */

const char **aot_libraries(Arena *a, const AotObject *o, uint32_t *n) {
  static const struct {
    const char *begins, *option;
  } libraries[] = {{"utf8proc_", "-lutf8proc"}, {"pcre2_", "-lpcre2-8"}, {"tj", "-lturbojpeg"}, {"png_", "-lpng16"},
                   {"WebP", "-lwebp"},          {"TIFF", "-ltiff"},      {"opj_", "-lopenjp2"}, {"dlopen", "-ldl"}};
  const char **list = arena_array(a, const char *, countof(libraries) + 2);
  *n = 0;
  for (size_t k = 0; k < countof(libraries); k++)
    for (uint32_t i = 0; i < o->merged.nimport; i++)
      if (!strncmp(o->merged.import[i], libraries[k].begins, strlen(libraries[k].begins))) {
        list[(*n)++] = libraries[k].option;
        break;
      }
  list[(*n)++] = "-lm";
  list[(*n)++] = "-lpthread";
  return list;
}
