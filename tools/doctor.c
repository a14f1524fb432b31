/* doctor.c - `sard doctor`: facts about this machine and this build.
 * SPDX-License-Identifier: Apache-2.0 */
#include "aot/link.h"
#include "cuda/device.h"
#include "include/sard.h"
#include "ops/eval/libraries.h"
#include "support/beside.h"
#include "support/cores.h"
#include "tools/json.h"
#include "tools/tool.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <utf8proc.h>
#include <zipconf.h>

typedef struct Doctor {
  Tool *t;
  const char *cpu, *arch, *features; /* features: those our kernels may use, space-separated */
  Cores cores;
  int64_t total, available, cgroup_limit; /* bytes; -1: not known, or no limit */
} Doctor;

/* Flags of /proc/cpuinfo that matter to numeric kernels, on x86-64 and AArch64. */
static const char *const interesting[] = {
    "sse4_2",   "avx",         "f16c",        "fma",         "avx2",     "avx512f",  "avx512dq", "avx512bw",
    "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16",
    "asimd",    "asimdhp",     "asimddp",     "sve",         "sve2",     "i8mm",     "bf16"};

static bool has_word(const char *list, const char *word) {
  size_t n = strlen(word);
  for (const char *p = list; (p = strstr(p, word)); p += n)
    if ((p == list || p[-1] == ' ') && (!p[n] || p[n] == ' '))
      return true;
  return false;
}

/* The text behind "key : " of a line of /proc, or NULL. */
static const char *field(Arena *a, const char *text, const char *key) {
  size_t n = strlen(key);
  for (const char *p = text; p && *p; p = strchr(p, '\n'), p += p != NULL) {
    if (strncmp(p, key, n) || (p[n] != ':' && p[n] != ' ' && p[n] != '\t'))
      continue;
    const char *v = p + n + strspn(p + n, ": \t");
    return arena_strndup(a, v, strcspn(v, "\n"));
  }
  return NULL;
}

static void find_cpu(Doctor *d) {
  Arena *a = d->t->arena;
  struct utsname u;
  const char *text = read_small_file(a, "/proc/cpuinfo"), *flags = text ? field(a, text, "flags") : NULL;
  if (!flags && text)
    flags = field(a, text, "Features");
  d->arch = uname(&u) ? "unknown" : arena_strdup(a, u.machine);
  d->cpu = text ? field(a, text, "model name") : NULL;
  d->cpu = d->cpu ? d->cpu : "not named by the system";
  StrBuf b;
  buf_init(&b, a);
  for (size_t i = 0; flags && i < countof(interesting); i++)
    if (has_word(flags, interesting[i]))
      buf_printf(&b, "%s%s", b.len ? " " : "", interesting[i]);
  d->features = b.text;
}

static int64_t kilobytes(Arena *a, const char *text, const char *key) {
  const char *v = text ? field(a, text, key) : NULL;
  return v ? strtoll(v, NULL, 10) * 1024 : -1;
}

static void find_memory(Doctor *d) {
  Arena *a = d->t->arena;
  const char *text = read_small_file(a, "/proc/meminfo");
  d->total = kilobytes(a, text, "MemTotal"), d->available = kilobytes(a, text, "MemAvailable");
  d->cgroup_limit = cgroup_memory_limit(a, "");
  if (d->cgroup_limit > d->total)
    d->cgroup_limit = -1;
}

typedef struct Fact {
  const char *name, *text;
  bool available; /* devices */
} Fact;

/* The GPU, or the reason why there is none. */
static const char *gpu(Tool *t) {
  CudaDevice d;
  if (cuda_device_find(t->c, &d))
    return arena_strdup(t->arena, t->c->err.message);
  return arena_printf(t->arena, "%s, compute capability %d.%d, %d multiprocessors, %s", d.name, d.major, d.minor,
                      d.multiprocessors, bytes_text(t->arena, (int64_t)d.memory));
}

enum { DEVICES = 3 };
static void devices(Tool *t, Fact f[DEVICES]) {
  bool cpu = sard_device_available("cpu");
  f[0] = (Fact){"reference",
                cpu ? "every operator by its reference evaluator: slow, correct"
                    : "every operator by its reference evaluator: slow, correct; the default here",
                true};
  f[1] = (Fact){"cpu",
                cpu ? "compiled by libsard-codegen.so (LLVM); the default"
                    : "needs libsard-codegen.so, which is built when LLVM 19.1 to 22 is installed",
                cpu};
  f[2] = (Fact){"cuda", gpu(t), sard_device_available("cuda")};
}

/* What links the libraries and programs of `sard compile`; NULL: nothing. */
static const char *linker(Arena *a) {
  const char *cc = getenv("CC");
  return aot_find_compiler(a, cc && *cc ? cc : "cc");
}

/* The runtimes that sard compile has, by machine. */
enum { MACHINES = 3 };
static const char *const machines[MACHINES] = {"x86_64", "aarch64", "riscv64"};
static bool has_runtime(Arena *a, const char *machine) {
  char path[PATH_MAX];
  return beside_find(arena_printf(a, "libsard-start-%s.a", machine), path);
}

enum { MOST_LIBRARIES = 16 };
static size_t libraries(Fact f[MOST_LIBRARIES]) {
  f[0] = (Fact){.name = "libsard", .text = sard_version_string()};
  f[1] = (Fact){.name = "libzip", .text = LIBZIP_VERSION};
  f[2] = (Fact){.name = "jansson", .text = JANSSON_VERSION};
  f[3] = (Fact){.name = "utf8proc", .text = utf8proc_version()};
  size_t n = 4;
  for (const Library *l; n < MOST_LIBRARIES && (l = library_info(n - 4)); n++)
    f[n] = (Fact){.name = l->name, .text = l->version ? l->version : "none"};
  return n;
}

/* What a build without some library cannot do. */
static void missing_libraries(StrBuf *b) {
  const Library *l;
  for (size_t i = 0; (l = library_info(i)); i++)
    if (!l->version)
      buf_printf(b, "  built without %s: no %s\n", l->name, l->what);
}

static void text_all(const Doctor *d, StrBuf *b) {
  Fact lib[MOST_LIBRARIES];
  Arena *a = d->t->arena;
  buf_printf(b, "sard        %s\ncpu         ", sard_version_string());
  buf_escaped(b, d->cpu);
  buf_printf(b, " (%s)\nfeatures    %s\n", d->arch, *d->features ? d->features : "none of those that kernels use");
  buf_printf(b, "cores       %d usable: %d online, %d by affinity", d->cores.usable, d->cores.online,
             d->cores.affinity);
  if (d->cores.quota > 0)
    buf_printf(b, ", quota %.2f", d->cores.quota);
  buf_printf(b, "\nmemory      %s", d->total >= 0 ? bytes_text(a, d->total) : "unknown");
  if (d->available >= 0)
    buf_printf(b, ", %s available", bytes_text(a, d->available));
  if (d->cgroup_limit >= 0)
    buf_printf(b, ", cgroup limit %s", bytes_text(a, d->cgroup_limit));
  Fact dev[DEVICES];
  devices(d->t, dev);
  buf_puts(b, "\ndevices\n");
  for (size_t i = 0; i < DEVICES; i++)
    buf_printf(b, "  %-10s%-4s%s\n", dev[i].name, dev[i].available ? "yes" : "no", dev[i].text);
  buf_puts(b, "cuda\n");
  for (int i = 0; i < CUDA_LIBRARIES; i++) {
    const CudaLibrary *l = cuda_library((CudaLibraryId)i);
    buf_printf(b, "  %-22s%-6s%s: %s\n", l->name, l->loaded ? l->version : "none", l->what,
               l->loaded ? "found" : l->why);
  }
  const char *cc = linker(a);
  buf_puts(b, "compile     ");
  buf_escaped(b,
              cc ? cc : "no C compiler (cc, or what CC says): .so and programs cannot be linked, .sard, .o and .a can");
  buf_puts(b, cc ? " links .so and programs" : "");
  bool any = false;
  for (int i = 0; i < MACHINES; i++)
    if (has_runtime(a, machines[i])) {
      buf_printf(b, "%s%s", any ? ", " : "; runtimes for ", machines[i]);
      any = true;
    }
  buf_puts(b, any ? "\nlibraries  " : "; no runtime: only .sard can be made\nlibraries  ");
  for (size_t i = 0, n = libraries(lib); i < n; i++)
    buf_printf(b, " %s %s%s", lib[i].name, lib[i].text, i + 1 < n ? "," : "\n");
  missing_libraries(b);
}

static void json_cuda(StrBuf *b) {
  buf_puts(b, "], \"cuda\": {");
  for (int i = 0; i < CUDA_LIBRARIES; i++) {
    const CudaLibrary *l = cuda_library((CudaLibraryId)i);
    buf_printf(b, "%s\"%.*s\": ", i ? ", " : "", (int)strcspn(l->name, "."), l->name);
    if (l->loaded)
      json_str(b, l->version);
    else
      buf_puts(b, "null");
  }
  buf_puts(b, "}");
}

static void json_all(const Doctor *d, StrBuf *b) {
  Fact lib[MOST_LIBRARIES];
  buf_puts(b, "{\"version\": ");
  json_str(b, sard_version_string());
  buf_puts(b, ", \"cpu\": {\"model\": ");
  json_str(b, d->cpu);
  buf_puts(b, ", \"arch\": ");
  json_str(b, d->arch);
  buf_puts(b, ", \"features\": [");
  for (const char *p = d->features; *p;) {
    size_t n = strcspn(p, " ");
    buf_puts(b, p == d->features ? "" : ", ");
    json_strn(b, p, n);
    p += n + (p[n] == ' ');
  }
  buf_printf(b, "]}, \"cores\": {\"online\": %d, \"affinity\": %d, \"quota\": ", d->cores.online, d->cores.affinity);
  if (d->cores.quota > 0)
    json_f64(b, d->cores.quota, 9);
  else
    buf_puts(b, "null");
  buf_printf(b, ", \"usable\": %d}, \"memory\": {", d->cores.usable);
  const int64_t bytes[] = {d->total, d->available, d->cgroup_limit};
  const char *const key[] = {"total", "available", "cgroup_limit"};
  for (int i = 0; i < 3; i++)
    buf_printf(b, "%s\"%s\": %s", i ? ", " : "", key[i],
               bytes[i] < 0 ? "null" : arena_printf(d->t->arena, "%lld", (long long)bytes[i]));
  buf_puts(b, "}, \"devices\": [");
  Fact dev[DEVICES];
  devices(d->t, dev);
  for (size_t i = 0; i < DEVICES; i++) {
    buf_printf(b, "%s{\"name\": \"%s\", \"available\": %s, \"note\": ", i ? ", " : "", dev[i].name,
               dev[i].available ? "true" : "false");
    json_str(b, dev[i].text);
    buf_puts(b, "}");
  }
  json_cuda(b);
  const char *cc = linker(d->t->arena);
  buf_puts(b, ", \"compile\": {\"linker\": ");
  if (cc)
    json_str(b, cc);
  else
    buf_puts(b, "null");
  buf_puts(b, ", \"runtimes\": [");
  bool any = false;
  for (int i = 0; i < MACHINES; i++)
    if (has_runtime(d->t->arena, machines[i])) {
      buf_printf(b, "%s\"%s\"", any ? ", " : "", machines[i]);
      any = true;
    }
  buf_puts(b, "]}, \"libraries\": {");
  for (size_t i = 0, n = libraries(lib); i < n; i++)
    buf_printf(b, "%s\"%s\": \"%s\"", i ? ", " : "", lib[i].name, lib[i].text);
  buf_puts(b, "}}\n");
}

Status cmd_doctor(Tool *t) {
  Doctor d = {.t = t};
  StrBuf b;
  find_cpu(&d);
  find_memory(&d);
  cores_find(t->arena, "", &d.cores);
  buf_init(&b, t->arena);
  if (opt_set(t->o, OPT_json))
    json_all(&d, &b);
  else
    text_all(&d, &b);
  return tool_print(t, &b);
}
