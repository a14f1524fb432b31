/* ptxas.h - NVIDIA's assembler, where the toolkit is, for tests of generated PTX. SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_CUDA_PTXAS_H
#define SARD_TESTS_CUDA_PTXAS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Assembled {
  int rc;        /* ptxas's own: 0: it takes the text */
  int kernels;   /* in it */
  int registers; /* the most that a thread of one needs */
  int stack;     /* bytes of stack and of spilled registers, of all of them */
} Assembled;

/* The assembler's path, or NULL. */
static inline const char *ptxas_path(void) {
  static const char path[] = "/usr/local/cuda/bin/ptxas";
  return access(path, X_OK) ? NULL : path;
}

static inline int number_behind(const char *line, const char *words) {
  const char *at = strstr(line, words);
  return at ? atoi(at + strlen(words)) : 0;
}

/* Assembles a text for a target such as sm_80. */
static inline Assembled ptxas_assemble(const char *ptx, const char *target) {
  char file[] = "/tmp/sard-ptx-XXXXXX", command[600], line[1024];
  Assembled x = {0};
  int fd = mkstemp(file);
  assert_true(fd >= 0 && write(fd, ptx, strlen(ptx)) == (ssize_t)strlen(ptx));
  close(fd);
  snprintf(command, sizeof command, "%s -v -arch=%s %s -o /dev/null 2>&1", ptxas_path(), target, file);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    int registers = number_behind(line, "Used ");
    if (getenv("VERBOSE"))
      printf("%s", line);
    x.kernels += registers > 0;
    x.registers = registers > x.registers ? registers : x.registers;
    if (strstr(line, "bytes stack frame")) /* N bytes stack frame, N bytes spill stores, N bytes spill loads */
      x.stack +=
          atoi(line + strspn(line, " ")) + number_behind(line, "stack frame, ") + number_behind(line, "spill stores, ");
  }
  x.rc = pclose(f);
  unlink(file);
  return x;
}

#endif
