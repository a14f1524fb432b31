/* main.c - a model as a program: reads its inputs from .npy files, runs once, prints or stores the outputs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "start/call.h"
#include "start/npy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SHOWN = 8 };

typedef struct Program {
  const char *name;
  sard_compiled *m;
  sard_tensor *in;
  const char *directory; /* for outputs; NULL: print them */
  sard_compiled_options o;
} Program;

static int problem(const char *what, const char *why) {
  fprintf(stderr, "error: %s: %s\n", what, why);
  return 3;
}

static void print_port(const char *name, const sard_io *io, const char *(*text)(const sard_compiled *, size_t, int),
                       const sard_compiled *m, size_t i) {
  printf("  %s  %s[", name, io->dtype ? sard_dtype_name(io->dtype) : "?");
  for (int k = 0; k < io->rank; k++)
    printf("%s%s", k ? "," : "", text(m, i, k));
  printf("]%s\n", io->optional ? " (need not be given)" : "");
}

static int help(const Program *p) {
  sard_io io = SARD_IO_INIT;
  printf("usage: %s NAME=FILE.npy ... [--output FOLDER] [--threads N]\n\n"
         "Runs the model once. An input may also be NAME=zeros:2x128 or NAME=ones:2x128.\n"
         "Outputs are printed, or stored as FOLDER/NAME.npy.\n\ninputs\n",
         p->name);
  for (size_t i = 0; !compiled_input(p->m, i, &io); i++)
    print_port(io.name, &io, compiled_input_dim_text, p->m, i);
  printf("outputs\n");
  for (size_t i = 0; !compiled_output(p->m, i, &io); i++)
    print_port(io.name, &io, compiled_output_dim_text, p->m, i);
  return 0;
}

/* "zeros:2x128", "ones:": false when it is neither. */
static bool fill(const char *s, sard_dtype dtype, sard_tensor *t) {
  bool ones = !strncmp(s, "ones:", 5);
  if (!ones && strncmp(s, "zeros:", 6))
    return false;
  *t = (sard_tensor){.dtype = dtype};
  char *end;
  for (s = strchr(s, ':') + 1; *s && t->rank < SARD_MAX_RANK; s = *end ? end + 1 : end) {
    t->dim[t->rank++] = strtoll(s, &end, 10);
    if (end == s)
      return false;
  }
  int64_t n = sard_tensor_count(t), size = sard_dtype_bits(dtype) / 8;
  if (n < 0 || !size || !(t->data = calloc((size_t)n + 1, (size_t)size)))
    return false;
  for (int64_t i = 0; ones && i < n; i++)
    switch (dtype) {
    case SARD_F32: ((float *)t->data)[i] = 1; break;
    case SARD_F64: ((double *)t->data)[i] = 1; break;
    case SARD_F16: ((uint16_t *)t->data)[i] = 0x3c00; break;
    case SARD_BF16: ((uint16_t *)t->data)[i] = 0x3f80; break;
    default: ((char *)t->data)[i * size] = 1; /* integers, little-endian */
    }
  return true;
}

static int take_input(Program *p, const char *arg) {
  sard_io io = SARD_IO_INIT;
  for (size_t i = 0; !compiled_input(p->m, i, &io); i++) {
    size_t n = strlen(io.name);
    if (strncmp(arg, io.name, n) || arg[n] != '=')
      continue;
    if (fill(arg + n + 1, io.dtype, &p->in[i]))
      return 0;
    const char *why = npy_load(arg + n + 1, &p->in[i]);
    return why ? problem(arg + n + 1, why) : 0;
  }
  return problem(arg, "the model has no such input; --help lists them");
}

static double number(const sard_tensor *t, int64_t i) {
  switch (t->dtype) {
  case SARD_F32: return (double)((const float *)t->data)[i];
  case SARD_F64: return ((const double *)t->data)[i];
  case SARD_I64: return (double)((const int64_t *)t->data)[i];
  case SARD_I32: return (double)((const int32_t *)t->data)[i];
  case SARD_U8: return (double)((const uint8_t *)t->data)[i];
  case SARD_I8: return (double)((const int8_t *)t->data)[i];
  case SARD_BOOL: return (double)((const bool *)t->data)[i];
  default: return 0;
  }
}

static void print_tensor(const char *name, const sard_tensor *t) {
  int64_t n = sard_tensor_count(t);
  printf("%s  %s[", name, sard_dtype_name(t->dtype));
  for (int k = 0; k < t->rank; k++)
    printf(k ? ",%lld" : "%lld", (long long)t->dim[k]);
  printf("] ");
  for (int64_t i = 0; i < n && i < SHOWN; i++)
    printf(" %.7g", number(t, i));
  printf(n > SHOWN ? " ...\n" : "\n");
}

static int give_output(const Program *p, const sard_result *r, size_t i, const char *name) {
  sard_tensor t;
  char path[4096], file[256];
  if (sard_result_tensor(r, i, &t))
    return problem(name, "it is no tensor");
  if (!p->directory) {
    print_tensor(name, &t);
    return 0;
  }
  snprintf(file, sizeof file, "%s", name);
  for (char *c = file; *c; c++)
    *c = *c == '/' ? '_' : *c;
  if ((size_t)snprintf(path, sizeof path, "%s/%s.npy", p->directory, file) >= sizeof path)
    return problem(name, "its path is too long");
  const char *why = npy_store(path, &t);
  return why ? problem(path, why) : 0;
}

static int run(Program *p) {
  sard_io io = SARD_IO_INIT;
  sard_result *r;
  int bad = 0;
  if (compiled_call(p->m, p->in, compiled_input_count(p->m), &r))
    return problem(p->name, compiled_error());
  if (p->directory && mkdir(p->directory, 0777) && errno != EEXIST)
    return problem(p->directory, strerror(errno));
  for (size_t i = 0; !bad && !compiled_output(p->m, i, &io); i++)
    bad = give_output(p, r, i, io.name);
  sard_result_free(r);
  return bad || fflush(stdout) ? 3 : 0;
}

int main(int argc, char **argv) {
  Program p = {.name = argv[0], .o = SARD_COMPILED_OPTIONS_INIT};
  bool asks = argc > 1 && !strcmp(argv[1], "--help");
  for (int i = 1; i + 1 < argc; i++)
    if (!strcmp(argv[i], "--threads"))
      p.o.threads = atoi(argv[i + 1]);
  sard_status st = compiled_init(&p.o, &p.m);
  if (st)
    return problem(argv[0], compiled_error());
  p.in = calloc(compiled_input_count(p.m) + 1, sizeof *p.in);
  int bad = p.in ? 0 : 3;
  for (int i = 1; !bad && !asks && i < argc; i++)
    if (!strcmp(argv[i], "--output") && i + 1 < argc)
      p.directory = argv[++i];
    else if (!strcmp(argv[i], "--threads") && i + 1 < argc)
      i++;
    else
      bad = take_input(&p, argv[i]);
  bad = bad ? bad : asks ? help(&p) : run(&p);
  for (size_t i = 0; p.in && i < compiled_input_count(p.m); i++)
    free(p.in[i].data);
  free(p.in);
  compiled_free(p.m);
  return bad;
}
