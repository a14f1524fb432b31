/* device.c - what GPU there is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda/device.h"

#include <string.h>

enum { LEAST_MAJOR = 8 }; /* Ampere: what the code generator's PTX is for */

Status cuda_failed(Ctx *c, const CudaApi *api, const char *call, int error) {
  const char *name = NULL, *text = NULL;
  if (api->cuGetErrorName(error, &name) || !name)
    return fail(c, ST_DEVICE, "%s: CUDA error %d", call, error);
  if (api->cuGetErrorString(error, &text) || !text)
    return fail(c, ST_DEVICE, "%s: %s", call, name);
  return fail(c, ST_DEVICE, "%s: %s, %s", call, name, text);
}

static Status first(Ctx *c, const CudaApi *api, CudaOrdinal *device) {
  int n = 0;
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
