/* places.h - where the values of a run on a device are: every cell has its host memory as in any run, and, once a kernel has
 * to do with it, memory of the device. Either may be out of date; it is brought up to date when it is read.
 *
 * The arena of the device mirrors that of the host. Memory is known by its host address, so that views and results in place need
 * no care. All but places_open may be called, and do nothing, in a run
 * without a device; those that give addresses may not.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_PLACES_H
#define SARD_RUNTIME_PLACES_H

#include "runtime/internal.h"

Status places_open(Frame *f);
void places_close(Frame *f); /* gives the device's memory back */
void *places_stream(const Frame *f);
/* The address of the step's GpuError; can_fail: it is to be looked at. */
uint64_t places_error(Frame *f, uint32_t step, bool can_fail);
Status places_scratch(Frame *f, size_t bytes, uint64_t *address);
/* Everything that checks of kernels have found so far: ST_INVALID, with the step that *f->at is set to then. */
Status places_errors(Frame *f);
Status place_on_device(Frame *f, uint32_t slot, uint64_t *address); /* up to date there */
Status place_result(Frame *f, uint32_t slot, uint64_t *address);    /* about to be written there */
Status place_on_host(Frame *f, const Tensor *t);                    /* up to date here; containers: all items */
void place_written(Frame *f, const Tensor *t);                      /* has been written here */
void place_forget(Frame *f, const void *host);                      /* that memory is free */

/* --- device_step.c --- */
Status device_load(Ctx *c, Arena *a, RtProgram *p); /* code and constants */
void device_unload(RtProgram *p);
Status device_step(Frame *f, const ProgStep *s, Arena *scratch, const int64_t *dim, const KernelWork *w);

#endif
