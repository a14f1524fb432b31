/* dlpack.c - tensors from and for other libraries: DLPack 1.x, as its specification lays it out in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include "support/checked.h"

typedef struct DlTensor {
  void *data;
  int32_t device, device_id;
  int32_t ndim;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t *shape, *stride; /* in elements; stride NULL: dense */
  uint64_t byte_offset;
} DlTensor;

typedef struct DlManaged {
  DlTensor t;
  void *context;
  void (*deleter)(struct DlManaged *);
} DlManaged;

typedef struct DlVersioned {
  uint32_t major, minor;
  void *context;
  void (*deleter)(struct DlVersioned *);
  uint64_t flags;
  DlTensor t;
} DlVersioned;

_Static_assert(sizeof(DlTensor) == 48 && sizeof(DlManaged) == 64 && sizeof(DlVersioned) == 80, "as dlpack.h has them");

enum { DL_CPU = 1, DL_CUDA = 2, DL_PINNED = 3 };

static const struct {
  uint8_t code, bits, dtype;
} types[] = {
    {0, 8, SARD_I8},          {0, 16, SARD_I16},    {0, 32, SARD_I32},        {0, 64, SARD_I64},
    {1, 8, SARD_U8},          {1, 16, SARD_U16},    {1, 32, SARD_U32},        {1, 64, SARD_U64},
    {2, 16, SARD_F16},        {2, 32, SARD_F32},    {2, 64, SARD_F64},        {4, 16, SARD_BF16},
    {5, 64, SARD_C64},        {5, 128, SARD_C128},  {6, 8, SARD_BOOL},        {10, 8, SARD_F8E4M3FN},
    {11, 8, SARD_F8E4M3FNUZ}, {12, 8, SARD_F8E5M2}, {13, 8, SARD_F8E5M2FNUZ}, {14, 8, SARD_F8E8M0},
};

sard_status sard_from_dlpack(const void *dltensor, sard_tensor *out, sard_error **err) {
  const DlTensor *d = dltensor;
  if (!d || !out)
    return error_new(SARD_ERROR_USAGE, err, "sard_from_dlpack: NULL argument");
  bool cuda = d->device == DL_CUDA;
  if (!cuda && d->device != DL_CPU && d->device != DL_PINNED)
    return error_new(SARD_ERROR_DEVICE, err, "a tensor on a device that is neither a CPU nor a CUDA GPU (DLPack's %d)",
                     (int)d->device);
  if (cuda && d->device_id)
    return error_new(SARD_ERROR_DEVICE, err, "a tensor on GPU %d; models use GPU 0", (int)d->device_id);
  if (d->ndim < 0 || d->ndim > SARD_MAX_RANK || (d->ndim && !d->shape))
    return error_new(SARD_ERROR_USAGE, err, "a tensor of %d dimensions; %d are the most", (int)d->ndim, SARD_MAX_RANK);
  sard_tensor t = {.rank = d->ndim, .strided = d->stride != NULL, .device = cuda};
  for (size_t i = 0; i < countof(types) && d->lanes == 1; i++)
    if (types[i].code == d->code && types[i].bits == d->bits)
      t.dtype = types[i].dtype;
  if (!t.dtype)
    return error_new(SARD_ERROR_UNSUPPORTED, err,
                     "an element type that Sard does not know (DLPack code %d, %d bits, %d lanes)", d->code, d->bits,
                     d->lanes);
  for (int k = 0; k < d->ndim; k++)
    t.dim[k] = d->shape[k], t.stride[k] = d->stride ? d->stride[k] : 0;
  t.data = d->data ? (char *)d->data + d->byte_offset : NULL;
  *out = t;
  return SARD_OK;
}

/* --- outputs --- */

typedef struct Lent {
  union {
    DlManaged plain;
    DlVersioned versioned;
  } m;
  sard_result *r;
  int64_t shape[SARD_MAX_RANK], stride[SARD_MAX_RANK];
} Lent;

static void give_back(Lent *x) {
  Alloc *a = result_alloc(x->r);
  sard_result_free(x->r);
  alloc_put(a, x, sizeof *x);
}

static void delete_plain(DlManaged *m) { give_back(m->context); }
static void delete_versioned(DlVersioned *m) { give_back(m->context); }

static bool fill(DlTensor *d, const sard_tensor *t, int64_t *shape, int64_t *stride) {
  int64_t step = 1;
  *d = (DlTensor){.data = t->data, .device = t->device ? DL_CUDA : DL_CPU, .ndim = t->rank, .lanes = 1};
  for (size_t i = 0; i < countof(types); i++)
    if (types[i].dtype == t->dtype)
      d->code = types[i].code, d->bits = types[i].bits;
  for (int k = t->rank; k-- > 0; step *= t->dim[k] ? t->dim[k] : 1)
    shape[k] = t->dim[k], stride[k] = step;
  d->shape = shape, d->stride = stride;
  return d->bits;
}

sard_status sard_result_dlpack(sard_result *r, size_t i, bool versioned, void **managed, sard_error **err) {
  sard_tensor t;
  if (!r || !managed)
    return error_new(SARD_ERROR_USAGE, err, "sard_result_dlpack: NULL argument");
  sard_status st = sard_result_tensor(r, i, &t);
  if (st)
    return error_new(st, err, "output %zu: there is no such tensor", i);
  Lent *x = alloc_get(result_alloc(r), sizeof *x, _Alignof(Lent));
  if (!x)
    return error_new(SARD_ERROR_MEMORY, err, "out of memory");
  *x = (Lent){.r = r};
  if (!fill(versioned ? &x->m.versioned.t : &x->m.plain.t, &t, x->shape, x->stride)) {
    alloc_put(result_alloc(r), x, sizeof *x);
    return error_new(SARD_ERROR_UNSUPPORTED, err, "output %zu is of type %s, which DLPack does not have", i,
                     sard_dtype_name(t.dtype));
  }
  if (versioned)
    x->m.versioned.major = 1, x->m.versioned.context = x, x->m.versioned.deleter = delete_versioned;
  else
    x->m.plain.context = x, x->m.plain.deleter = delete_plain;
  result_share(r);
  *managed = x;
  return SARD_OK;
}
