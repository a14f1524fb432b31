/* link.c - PTX to machine code by nvJitLink, which needs neither a GPU nor a driver.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda/link.h"

#include "support/str.h"

#include <stdlib.h>
#include <string.h>

enum { INPUT_PTX = 2 }; /* nvJitLinkInputType */

/* What it has to say, in one line; "" if nothing. */
static const char *read_log(Arena *a, const CudaApi *api, CudaLink link) {
  size_t n = 0;
  if (api->nvJitLinkGetErrorLogSize(link, &n) || !n)
    return "";
  char *text = arena_get(a, n + 1, 1, 1);
  if (api->nvJitLinkGetErrorLog(link, text))
    return "";
  for (char *p = text; *p; p++)
    *p = *p == '\n' ? ' ' : *p;
  return text;
}

static Status failed(Ctx *c, Arena *a, const CudaApi *api, CudaLink link, const char *gpu, const char *call,
                     int error) {
  return fail(c, ST_DEVICE, "%s: error %d, compiling for %s: %.400s", call, error, gpu, read_log(a, api, link));
}

static Status take_code(Ctx *c, Arena *a, const CudaApi *api, CudaLink link, const char *gpu, const uint8_t **code,
                        size_t *size) {
  int error = api->nvJitLinkComplete(link);
  if (error)
    return failed(c, a, api, link, gpu, "nvJitLinkComplete", error);
  if ((error = api->nvJitLinkGetLinkedCubinSize(link, size)))
    return failed(c, a, api, link, gpu, "nvJitLinkGetLinkedCubinSize", error);
  uint8_t *bytes = arena_get(a, *size, 1, 64);
  if ((error = api->nvJitLinkGetLinkedCubin(link, bytes)))
    return failed(c, a, api, link, gpu, "nvJitLinkGetLinkedCubin", error);
  *code = bytes;
  return ST_OK;
}

typedef struct Close {
  const CudaApi *api;
  CudaLink link;
} Close;

static void close_link(void *arg) {
  Close *x = arg;
  x->api->nvJitLinkDestroy(&x->link);
}

Status cuda_assemble(Ctx *c, Arena *a, const char *gpu, const char *ptx, const uint8_t **code, size_t *size) {
  const char *option = arena_printf(a, "-arch=%s", gpu);
  Close *x = arena_new(a, Close);
  Cleanup *cleanup = arena_new(a, Cleanup);
  TRY(cuda_need(c, CUDA_LINK, &x->api));
  int error = x->api->nvJitLinkCreate(&x->link, 1, &option);
  if (error)
    return fail(c, ST_DEVICE, "nvJitLinkCreate: error %d: it makes no code for %s", error, gpu);
  ctx_on_failure(c, cleanup, close_link, x);
  error = x->api->nvJitLinkAddData(x->link, INPUT_PTX, ptx, strlen(ptx) + 1, "sard");
  Status st = error ? failed(c, a, x->api, x->link, gpu, "nvJitLinkAddData", error)
                    : take_code(c, a, x->api, x->link, gpu, code, size);
  ctx_forget(c, cleanup);
  close_link(x);
  return st;
}

bool cuda_assembles(const char *driver, const char **why) {
  const CudaLibrary *l = cuda_library(CUDA_LINK);
  *why = l->why;
  if (!l->loaded || !driver || atoi(l->version) <= atoi(driver))
    return l->loaded;
  *why = "it is newer than the driver";
  return false;
}
