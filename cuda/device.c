/* device.c - what GPU there is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda/device.h"

#include <string.h>

enum { LEAST_MAJOR = 8 };      /* Ampere: what the code generator's PTX is for */
enum { LEAST_DRIVER = 12000 }; /* CUDA 12: the graphs' functions, PTX 8 */

/* After these the context is of no use any more: every call gives the same error. */
static bool loses_context(int error) { return error == 214 || error == 700 || (error >= 714 && error <= 719); }

/* What the driver says, at most. */
static Status describe(Ctx *c, Status kind, const CudaApi *api, const char *call, int error) {
  const char *name = NULL, *text = NULL;
  if (api->cuGetErrorName(error, &name) || !name)
    return fail(c, kind, "%s: CUDA error %d", call, error);
  if (api->cuGetErrorString(error, &text) || !text)
    return fail(c, kind, "%s: %s", call, name);
  return fail(c, kind, "%s: %s, %s", call, name, text);
}

Status cuda_failed(Ctx *c, const CudaApi *api, const char *call, int error) {
  Status st = describe(c, error == CUDA_OUT_OF_MEMORY ? ST_MEMORY : ST_DEVICE, api, call, error);
  if (!loses_context(error))
    return st;
  return err_hint(c, st, "what this process has on the GPU is lost: free all models there; those on the CPU go on");
}

static Status first(Ctx *c, const CudaApi *api, CudaOrdinal *device) {
  int n = 0, version = 0;
  CUDA_TRY(c, api, cuDriverGetVersion, (&version));
  if (version < LEAST_DRIVER)
    return err_hint(
        c, fail(c, ST_DEVICE, "the driver is for CUDA %d.%d; 12.0 is needed", version / 1000, version % 1000 / 10),
        "install an NVIDIA driver of version 525 or later");
  CUDA_TRY(c, api, cuInit, (0));
  CUDA_TRY(c, api, cuDeviceGetCount, (&n));
  if (!n)
    return fail(c, ST_DEVICE, "the driver shows no GPU");
  CUDA_TRY(c, api, cuDeviceGet, (device, 0));
  return ST_OK;
}

Status cuda_device_find(Ctx *c, CudaDevice *d) {
  *d = (CudaDevice){0};
  TRY(cuda_need(c, CUDA_DRIVER, &d->api));
  Status st = first(c, d->api, &d->ordinal);
  if (st)
    return err_note(c, st, "no GPU for device 'cuda'");
  CUDA_TRY(c, d->api, cuDeviceGetName, (d->name, (int)sizeof d->name, d->ordinal));
  CUDA_TRY(c, d->api, cuDeviceGetAttribute, (&d->major, CUDA_MAJOR, d->ordinal));
  CUDA_TRY(c, d->api, cuDeviceGetAttribute, (&d->minor, CUDA_MINOR, d->ordinal));
  CUDA_TRY(c, d->api, cuDeviceGetAttribute, (&d->multiprocessors, CUDA_MULTIPROCESSORS, d->ordinal));
  CUDA_TRY(c, d->api, cuDeviceTotalMem_v2, (&d->memory, d->ordinal));
  if (d->major < LEAST_MAJOR)
    return fail(c, ST_DEVICE, "device 'cuda' needs a GPU of compute capability 8.0 or more; %s has %d.%d", d->name,
                d->major, d->minor);
  return ST_OK;
}
