/* aot.c - compiling ahead of time: the story of compile.c once per level of CPUs or GPUs, then a file instead of a run.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include "aot/header.h"
#include "aot/link.h"
#include "aot/object.h"
#include "aot/write.h"
#include "cuda/link.h"
#include "frontend/model.h"
#include "runtime/object.h"
#include "support/beside.h"
#include "support/cores.h"
#include "support/cpu.h"
#include "support/gpu.h"
#include "support/str.h"

#include <elf.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

enum { MAX_LEVELS = 8 };
#define GPU_LEVELS "sm_80,sm_90a"               /* unless the caller says otherwise */
static const uint64_t MOST_INSIDE = 1000000000; /* bytes of weights, unless the caller says otherwise */

typedef enum { OUT_PACKAGE, OUT_OBJECT, OUT_ARCHIVE, OUT_SHARED, OUT_EXECUTABLE } OutKind;

typedef struct AotArgs {
  CompileArgs compile;
  const sard_compile_options *o;
  const char *out;
  OutKind kind;
  const char *level[MAX_LEVELS]; /* ascending */
  uint32_t nlevel;
  uint16_t machine;   /* ELF's e_machine of the target */
  bool gpu, gpu_code; /* for the device cuda; with machine code */
} AotArgs;

/* --- options --- */

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n > m && !strcmp(s + n - m, end);
}

static Status find_kind(Ctx *c, AotArgs *x) {
  static const struct {
    const char *end;
    OutKind kind;
  } kinds[] = {{".sard", OUT_PACKAGE}, {".o", OUT_OBJECT}, {".a", OUT_ARCHIVE}, {".so", OUT_SHARED}};
  x->kind = OUT_EXECUTABLE;
  if (x->o->executable)
    return ST_OK;
  for (size_t i = 0; i < countof(kinds); i++)
    if (ends_with(x->out, kinds[i].end)) {
      x->kind = kinds[i].kind;
      return ST_OK;
    }
  return err_hint(c, fail(c, ST_USAGE, "'%s': what to make is told by the name's end", x->out),
                  ".sard, .so, .o or .a; with --exe it is a program");
}

/* Machines that there is code for, by how triples begin and by the level that all of them have. */
static const struct {
  const char *name, *level;
  uint16_t machine;
} machines[] = {{"x86_64", "x86-64", EM_X86_64}, {"aarch64", "aarch64", EM_AARCH64}, {"riscv64", "riscv64", EM_RISCV}};

static const char *machine_name(uint16_t machine) {
  for (size_t i = 0; i < countof(machines); i++)
    if (machines[i].machine == machine)
      return machines[i].name;
  return "";
}

/* The target's machine, and what "native" means for it: another machine's least level. */
static Status find_machine(Ctx *c, AotArgs *x, const char **native) {
  const char *t = x->o->target;
  x->machine = object_machine(), *native = cpu_level();
  for (size_t i = 0; t && i < countof(machines); i++) {
    size_t n = strlen(machines[i].name);
    if (strncmp(t, machines[i].name, n) || (t[n] && t[n] != '-') || (strstr(t, "linux") == NULL && t[n]))
      continue;
    if (machines[i].machine != x->machine)
      x->machine = machines[i].machine, *native = machines[i].level;
    return ST_OK;
  }
  return t ? err_hint(c, fail(c, ST_UNSUPPORTED, "there is no code generation for the target '%s'", t),
                      "targets: x86_64-linux-gnu, aarch64-linux-gnu, riscv64-linux-gnu")
           : ST_OK;
}

/* Levels ascend by rank. */
static Status insert_level(Ctx *c, AotArgs *x, const char *level, int (*rank)(const char *level)) {
  uint32_t at = x->nlevel;
  for (uint32_t i = 0; i < x->nlevel; i++)
    if (!strcmp(x->level[i], level))
      return ST_OK;
  if (x->nlevel == MAX_LEVELS)
    return fail(c, ST_USAGE, "more than %d levels", MAX_LEVELS);
  for (; at && rank(x->level[at - 1]) > rank(level); at--)
    x->level[at] = x->level[at - 1];
  x->level[at] = level, x->nlevel++;
  return ST_OK;
}

static Status add_level(Ctx *c, AotArgs *x, const char *level) {
  if (!cpu_vector_bits(level))
    return err_hint(c, fail(c, ST_USAGE, "there is no CPU level '%s'", level), "levels: native, %s", cpu_level_names());
  if (cpu_machine(level) != x->machine)
    return err_hint(c, fail(c, ST_USAGE, "the CPU level '%s' is not one of the target", level), "name a --target, too");
  return insert_level(c, x, level, cpu_rank);
}

static Status add_gpu_level(Ctx *c, AotArgs *x, const char *level) {
  if (gpu_rank(level) < 0)
    return err_hint(c, fail(c, ST_USAGE, "there is no code generation for the GPU '%s'", level), "levels: %s",
                    gpu_level_names());
  return insert_level(c, x, level, gpu_rank);
}

/* What goes with what. */
static Status check_device(Ctx *c, AotArgs *x) {
  const char *device = x->o->device ? x->o->device : "cpu";
  x->gpu = !strcmp(device, "cuda");
  if (!x->gpu && strcmp(device, "cpu"))
    return fail(c, ST_USAGE, "models are compiled for the devices 'cpu' and 'cuda', not for '%s'", device);
  if (!x->gpu && x->o->gpu)
    return err_hint(c, fail(c, ST_USAGE, "--gpu %s is for the device 'cuda'", x->o->gpu), "add --device cuda");
  if (x->gpu && x->o->cpu)
    return err_hint(c, fail(c, ST_USAGE, "--cpu %s is for the device 'cpu'", x->o->cpu), "GPUs have --gpu");
  if (x->gpu && x->o->static_arena)
    return fail(c, ST_USAGE, "the driver of a GPU takes memory of its own: there is no --static-arena for it");
  return ST_OK;
}

static Status find_levels(Ctx *c, Arena *a, AotArgs *x) {
  const char *native, *p;
  TRY(check_device(c, x));
  TRY(find_machine(c, x, &native));
  p = x->gpu ? (x->o->gpu ? x->o->gpu : GPU_LEVELS) : x->o->cpu ? x->o->cpu : "native";
  for (size_t n; *p; p += n + (p[n] == ',')) {
    n = strcspn(p, ",");
    const char *level = arena_strndup(a, p, n);
    if (x->gpu)
      TRY(add_gpu_level(c, x, level));
    else
      TRY(add_level(c, x, strcmp(level, "native") ? level : native));
  }
  return x->nlevel ? ST_OK : fail(c, ST_USAGE, "no level is given");
}

/* --- the model --- */

static Status import(Ctx *c, Arena *a, AotArgs *x, Model **m) {
  uint32_t n = (uint32_t)x->o->n_bind;
  DimBinding *bind = arena_array(a, DimBinding, n);
  for (uint32_t i = 0; i < n; i++)
    bind[i] = (DimBinding){x->o->bind[i].name, x->o->bind[i].value, false};
  TRY(compile_graph(c, &x->compile, bind, n, m));
  for (uint32_t i = 0; i < n; i++)
    if (!bind[i].used)
      return fail(c, ST_USAGE, "the model has no symbolic dimension '%s'", bind[i].name);
  return ST_OK;
}

/* "dir/minilm.so" is the model minilm. */
static const char *base_name(Arena *a, const char *path) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
  return arena_strndup(a, name, dot && dot > name ? (size_t)(dot - name) : strlen(name));
}

static const char *file_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static Status pack(Ctx *c, Arena *a, AotArgs *x, const AotVariant *v, AotPackage *p) {
  AotInput in = {.name = base_name(a, x->out), .machine = x->machine, .variant = v, .nvariant = x->nlevel};
  in.gpu = x->gpu, in.gpu_code = x->gpu_code;
  const char *beside = arena_printf(a, "%s%s", file_name(x->out), WEIGHTS_SUFFIX);
  if (x->o->weights == SARD_WEIGHTS_EXTERNAL)
    in.weights_name = beside;
  TRY(aot_pack(c, a, &in, p));
  if (x->o->weights || p->weights_size <= MOST_INSIDE)
    return ST_OK;
  in.weights_name = beside;
  return aot_pack(c, a, &in, p);
}

/* --- the output --- */

static const char *levels_text(Arena *a, const AotArgs *x) {
  StrBuf b;
  buf_init(&b, a);
  for (uint32_t i = 0; i < x->nlevel; i++)
    buf_printf(&b, "%s%s", i ? ", " : "", x->level[i]);
  return b.text;
}

/* OUT.so -> OUT.h */
static Status write_header(Ctx *c, Arena *a, const AotArgs *x, const AotObject *o, const AotVariant *v) {
  const PackageHeader *h = (const PackageHeader *)(const void *)o->package->head;
  const char *path = arena_printf(a, "%.*s.h", (int)(strrchr(x->out, '.') - x->out), x->out);
  StrBuf libraries, text;
  OutFile *f;
  uint32_t n;
  const char **library = aot_libraries(a, o, &n);
  buf_init(&libraries, a), buf_init(&text, a);
  for (uint32_t i = 0; i < n; i++)
    buf_printf(&libraries, "%s%s", i ? " " : "", library[i]);
  aot_header(&text, &(AotHeader){.prefix = o->prefix,
                                 .name = (const char *)o->package->head + h->name,
                                 .levels = levels_text(a, x),
                                 .libraries = libraries.text,
                                 .weights = h->flags & PACKAGE_EXTERNAL ? (const char *)h + h->weights_name : NULL,
                                 .image = v->image,
                                 .identity = o->identity,
                                 .static_arena = o->static_arena,
                                 .gpu = x->gpu});
  TRY(file_begin(c, a, path, &f));
  TRY(file_put(c, f, text.text, text.len));
  return file_commit(c, f);
}

static Status link_output(Ctx *c, Arena *a, const AotArgs *x, const AotObject *o) {
  const char *object = arena_printf(a, "%s.%ld.o", x->out, (long)getpid());
  const char *given = x->o->linker && *x->o->linker ? x->o->linker : NULL;
  bool here = x->machine == object_machine();
  const char *usual = here ? "cc" : arena_printf(a, "%s-linux-gnu-gcc", machine_name(x->machine));
  AotLink l = {
      .compiler = given ? given : usual, .object = object, .out = x->out, .prefix = o->prefix, .program = o->program};
  l.library = aot_libraries(a, o, &l.nlibrary);
  if (!aot_find_compiler(a, l.compiler))
    return aot_link(c, a, &l); /* which says so */
  TRY(aot_write_object(c, a, o, object));
  Status st = aot_link(c, a, &l);
  unlink(object);
  return st;
}

/* The runtime for the target, mapped. */
static Status find_runtime(Ctx *c, Arena *a, AotObject *o) {
  char path[PATH_MAX];
  const char *machine = machine_name((uint16_t)o->machine), *name = arena_printf(a, "libsard-start-%s.a", machine);
  Mapped *m;
  if (!beside_find(name, path)) {
    Status st = fail(c, ST_UNSUPPORTED, "the runtime %s was not found", name);
    if (o->machine == object_machine())
      return err_hint(c, st, "it belongs beside libsard-codegen.so; .sard files need none");
    return err_hint(c, st, "install gcc-%s-linux-gnu, and build Sard again with make; .sard files need none", machine);
  }
  TRY(map_open(c, a, path, &m));
  o->runtime = m->base, o->runtime_size = m->size;
  return ST_OK;
}

static Status write_linkable(Ctx *c, Arena *a, const AotArgs *x, const AotPackage *p, const AotVariant *v) {
  AotObject o = {.package = p,
                 .machine = x->machine,
                 .prefix = x->o->prefix ? x->o->prefix : aot_identifier(a, base_name(a, x->out)),
                 .identity = ((const PackageHeader *)(const void *)p->head)->hash ^ (uint64_t)x->o->static_arena,
                 .static_arena = x->o->static_arena,
                 .program = x->kind == OUT_EXECUTABLE};
  if (strcmp(o.prefix, aot_identifier(a, o.prefix)))
    return fail(c, ST_USAGE, "'%s' cannot begin a name in C", o.prefix);
  TRY(find_runtime(c, a, &o));
  TRY(aot_object(c, a, &o));
  if (x->kind == OUT_OBJECT)
    TRY(aot_write_object(c, a, &o, x->out));
  else if (x->kind == OUT_ARCHIVE)
    TRY(aot_write_archive(c, a, &o, x->out));
  else
    TRY(link_output(c, a, x, &o));
  return o.program ? ST_OK : write_header(c, a, x, &o, v);
}

static Status write_output(Ctx *c, Arena *a, AotArgs *x, const AotPackage *p, const AotVariant *v) {
  const PackageHeader *h = (const PackageHeader *)(const void *)p->head;
  const char *beside = h->flags & PACKAGE_EXTERNAL ? arena_printf(a, "%s%s", x->out, WEIGHTS_SUFFIX) : NULL;
  if (beside)
    TRY(aot_write_weights(c, a, p, beside));
  Status st = x->kind == OUT_PACKAGE ? aot_write_package(c, a, p, x->out) : write_linkable(c, a, x, p, v);
  if (st && beside)
    unlink(beside);
  return st;
}

static void find_assembler(Ctx *c, AotArgs *x) {
  const char *why;
  x->gpu_code = x->gpu && cuda_assembles(NULL, &why);
  if (x->gpu && !x->gpu_code)
    ctx_log(c, 0, "there is only PTX in it, which the driver compiles at every start: libnvJitLink: %s", why);
}

static Status compile_ahead(Ctx *c, void *arg) {
  AotArgs *x = arg;
  sard_model *s = x->compile.m;
  AotVariant v[MAX_LEVELS];
  Generated g;
  Model *m;
  AotPackage p;
  Arena *a = arena_create(c);
  s->arena = arena_create(c);
  Cores cores;
  cores_find(a, "", &cores);
  s->cores = cores.usable;
  TRY(find_kind(c, x));
  TRY(find_levels(c, a, x));
  TRY(precision_check(c, x->o->precision, s->device));
  TRY(import(c, a, x, &m));
  find_assembler(c, x);
  for (uint32_t i = 0; i < x->nlevel; i++) {
    CompileTarget t = {.level = x->level[i], .assemble = x->gpu_code ? cuda_assemble : NULL, .gpu = x->level[i]};
    TRY(compile_program(c, &x->compile, a, m, &t, true, &g));
    v[i] = (AotVariant){x->level[i], g.image, g.size, g.file, g.nfile};
  }
  TRY(pack(c, a, x, v, &p));
  return write_output(c, a, x, &p, v);
}

sard_status sard_compile_file(sard_env *env, const char *path, const char *out, const sard_compile_options *o,
                              sard_error **err) {
  sard_compile_options opt = SARD_COMPILE_OPTIONS_INIT;
  sard_options lo = SARD_OPTIONS_INIT;
  if (!path || !out || (o && o->size < sizeof(size_t)))
    return error_new(SARD_ERROR_USAGE, err, "sard_compile_file: NULL argument, or options without their size");
  if (o)
    memcpy(&opt, o, o->size < sizeof opt ? o->size : sizeof opt);
  lo.allow_reference = opt.allow_reference, lo.precision = opt.precision;
  env = env_or_default(env);
  sard_model m = {.env = env, .device = opt.device && !strcmp(opt.device, "cuda") ? "cuda" : "cpu", .threads = 1};
  AotArgs x = {.compile = {.m = &m, .path = path, .o = &lo}, .o = &opt, .out = out};
  env_prepare(env, &m.c, opt.timeout, opt.cancel);
  Status st = ctx_protect(&m.c, compile_ahead, &x);
  if (st)
    err_file(&m.c, st, path);
  sard_status r = st ? error_from(&m.c, err) : SARD_OK;
  ctx_close(&m.c);
  return r;
}
