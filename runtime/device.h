/* device.h - a device with memory of its own, as the executor sees it: what cuda/ implements.
 *
 * Work is put on a stream, in order, and done some time later; download and wait return when all that was put on it before is
 * done. Addresses are the device's; 0 is none. All functions may be called from several threads, each stream from one at a time.
 *
 * What is put on a stream between record and record_end is not done but kept as a graph, to be replayed. Only launches,
 * products, copies and clears may be recorded; nothing may be allocated or waited for meanwhile. A thread ends what it began.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_DEVICE_H
#define SARD_RUNTIME_DEVICE_H

#include "support/ctx.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct RtDevice RtDevice;
/* A product as program.h has it: addresses of dense matrices. */
typedef struct RtProduct {
  int64_t batch, m, n, k;
  bool trans_a, trans_b, batch_a, batch_b;
  uint8_t type, after; /* DType, ProductActivation */
  float factor;
  uint64_t a, b, c, bias, addend; /* the last two: 0: none */
  uint64_t workspace;             /* of so many bytes, for this call alone: */
  size_t workspace_bytes;
} RtProduct;

typedef struct RtDeviceOps {
  void (*hold)(RtDevice *d);
  void (*drop)(RtDevice *d); /* closes it when nobody holds it any more */
  /* Code, an ELF image, or text that ends in 0 (PTX), and a function in it. */
  Status (*load)(RtDevice *d, Ctx *c, const char *code, void **module);
  void (*unload)(RtDevice *d, void *module);
  Status (*find)(RtDevice *d, Ctx *c, void *module, const char *symbol, void **function);
  Status (*open_stream)(RtDevice *d, Ctx *c, void **stream);
  void (*close_stream)(RtDevice *d, void *stream); /* what is on it is waited for */
  Status (*wait)(RtDevice *d, Ctx *c, void *stream);
  /* What is put on `later` from now on is done behind what is on `first` now. One of them may be the caller's. */
  Status (*order)(RtDevice *d, Ctx *c, void *first, void *later);
  Status (*get)(RtDevice *d, Ctx *c, void *stream, size_t bytes, uint64_t *address); /* aligned to 256; bytes > 0 */
  /* Once what is on the stream is done; NULL: once everything on the device is. */
  void (*put)(RtDevice *d, void *stream, uint64_t address);
  void (*trim)(RtDevice *d); /* memory that is free goes back to the driver */
  Status (*upload)(RtDevice *d, Ctx *c, void *stream, uint64_t to, const void *from,
                   size_t bytes); /* from may change at once */
  Status (*download)(RtDevice *d, Ctx *c, void *stream, void *to, uint64_t from, size_t bytes);
  Status (*copy)(RtDevice *d, Ctx *c, void *stream, uint64_t to, uint64_t from, size_t bytes);
  Status (*clear)(RtDevice *d, Ctx *c, void *stream, uint64_t to, size_t bytes);
  Status (*launch)(RtDevice *d, Ctx *c, void *stream, void *function, uint32_t blocks, uint32_t threads,
                   uint64_t *param, size_t nparam); /* parameters of 8 bytes */
  /* A library's: open_products comes once, before the first. *needed: bytes of workspace; nothing is done if there are fewer. */
  Status (*open_products)(RtDevice *d, Ctx *c);
  Status (*product)(RtDevice *d, Ctx *c, void *stream, const RtProduct *p, size_t *needed);
  Status (*record)(RtDevice *d, Ctx *c, void *stream);
  /* *graph: NULL, or a graph that is brought up to date where the driver can, and replaced where not. keep false: what was
   * recorded is dropped, after a failure. */
  Status (*record_end)(RtDevice *d, Ctx *c, void *stream, bool keep, void **graph);
  Status (*replay)(RtDevice *d, Ctx *c, void *stream, void *graph);
  void (*drop_graph)(RtDevice *d, void *graph);
} RtDeviceOps;

struct RtDevice {
  const RtDeviceOps *ops;
  int64_t most_blocks; /* of a launch, that are of use */
  int capability;      /* support/gpu.h */
  bool tf32;           /* the program's precision: products of f32 may round to tf32 */
};

#endif
