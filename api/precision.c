/* precision.c - what may be asked for instead of the model's own types, and where.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include <string.h>

typedef struct Precision {
  const char *name;
  bool cpu, cuda;
} Precision;

static const Precision known[] = {
    {"fp32", true, true}, {"tf32", false, true}, {"bf16", true, false}, {"fp16", true, false}, {"int8", true, false}};

static const char *name_of(void *arg, size_t i) {
  (void)arg;
  return i < countof(known) ? known[i].name : NULL;
}

Status precision_check(Ctx *c, const char *name, const char *device) {
  const Precision *p = NULL;
  bool gpu = !strcmp(device, "cuda");
  for (size_t i = 0; name && i < countof(known); i++)
    p = strcmp(known[i].name, name) ? p : &known[i];
  if (name && !p) {
    Status st = fail(c, ST_USAGE, "there is no precision '%s'", name);
    const char *near = nearest_name(name, name_of, NULL);
    return near ? err_hint(c, st, "did you mean '%s'?", near)
                : err_hint(c, st, "there are fp32, tf32, bf16, fp16 and int8");
  }
  if (!name || (gpu ? p->cuda : p->cpu))
    return ST_OK;
  return err_hint(c, fail(c, ST_UNSUPPORTED, "the device '%s' has no precision '%s'", device, name),
                  gpu ? "on 'cuda' there are fp32 and tf32" : "on the CPU there are fp32, bf16, fp16 and int8");
}
