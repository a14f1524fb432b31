/* link.c - a libnvJitLink.so.13 of our own, for tests: its machine code is an ELF header for the GPU that is wanted with the PTX
 * behind it, which our driver takes out again (null.h). SARD_NULL_LINK says what is wrong with it: "refuses" it takes no PTX, "old" it
 * knows no GPU but sm_80, "newer" it is of a later version than the driver.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/null/null.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT                          __attribute__((visibility("default")))
#define CU(library, symbol, parameters) EXPORT int symbol parameters;
#include "cuda/cuda.def"
#undef CU

enum { BAD_INPUT = 3, BAD_PTX = 4, BAD_STATE = 6, BAD_ARCH = 17 }; /* nvJitLinkResult */

struct nvJitLink {
  NullCode head;
  char *text; /* NULL: none was added */
  size_t size;
  const char *log;
  bool complete;
};
static int live; /* handles */

static bool is_wrong(const char *how) {
  const char *s = getenv("SARD_NULL_LINK");
  return s && !strcmp(s, how);
}

int nvJitLinkVersion(unsigned *major, unsigned *minor) {
  *major = is_wrong("newer") ? 14 : 13, *minor = 0;
  return 0;
}

int nvJitLinkCreate(CudaLink *out, uint32_t n, const char **option) {
  unsigned sm;
  if (n != 1 || sscanf(option[0], "-arch=sm_%u", &sm) != 1)
    return BAD_INPUT;
  if (is_wrong("old") && sm > 80)
    return BAD_ARCH;
  CudaLink x = calloc(1, sizeof *x);
  null_code_head(&x->head, sm, option[0][strlen(option[0]) - 1] == 'a');
  __atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
  *out = x;
  return 0;
}

int nvJitLinkDestroy(CudaLink *link) {
  free((*link)->text);
  free(*link);
  *link = NULL;
  __atomic_sub_fetch(&live, 1, __ATOMIC_RELAXED);
  return 0;
}

/* The text with the 0 at its end. */
int nvJitLinkAddData(CudaLink x, int type, const void *data, size_t bytes, const char *name) {
  const char *text = data;
  if (type != 2 || x->text || !name || !bytes || text[bytes - 1] || strlen(text) + 1 != bytes)
    return BAD_INPUT;
  x->text = malloc(bytes);
  memcpy(x->text, text, bytes);
  x->size = bytes;
  return 0;
}

int nvJitLinkComplete(CudaLink x) {
  const char *target = x->text ? strstr(x->text, ".target sm_") : NULL;
  unsigned sm = 0;
  char only = 0;
  if (!target || sscanf(target, ".target sm_%u%c", &sm, &only) < 1 || is_wrong("refuses")) {
    x->log = "ptxas fatal: this PTX\nis not for me";
    return BAD_PTX;
  }
  if (only == 'a' ? sm != x->head.sm || !x->head.only : sm > x->head.sm) {
    x->log = "ptxas fatal: PTX for another target";
    return BAD_PTX;
  }
  x->complete = true;
  return 0;
}

int nvJitLinkGetLinkedCubinSize(CudaLink x, size_t *bytes) {
  *bytes = sizeof x->head + x->size;
  return x->complete ? 0 : BAD_STATE;
}

int nvJitLinkGetLinkedCubin(CudaLink x, void *cubin) {
  if (!x->complete)
    return BAD_STATE;
  memcpy(cubin, &x->head, sizeof x->head);
  memcpy((char *)cubin + sizeof x->head, x->text, x->size);
  return 0;
}

int nvJitLinkGetErrorLogSize(CudaLink x, size_t *bytes) {
  *bytes = x->log ? strlen(x->log) + 1 : 0;
  return 0;
}

int nvJitLinkGetErrorLog(CudaLink x, char *text) {
  strcpy(text, x->log);
  return 0;
}

__attribute__((destructor)) static void at_the_end(void) {
  if (live) {
    fprintf(stderr, "null nvJitLink: left behind: %d handles\n", live);
    abort();
  }
}
