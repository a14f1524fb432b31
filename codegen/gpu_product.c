/* gpu_product.c - how products are cut for GPUs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/gpu_product.h"

#include "runtime/kernel_abi.h"

#include <string.h>

enum { MULTIPROCESSORS = 132, LARGE_SIDE = 1024 }; /* of the card this is for: below so many tiles some idle */

static int64_t known(Dim d) {
  int64_t v;
  return dim_is_const(d, &v) ? v : INT64_MAX;
}

static int64_t tiles(const Product *p, int64_t side) {
  int64_t m = known(p->m), n = known(p->n), batch = known(p->batch);
  return m == INT64_MAX || n == INT64_MAX || batch == INT64_MAX || m > INT32_MAX || n > INT32_MAX || batch > INT32_MAX
             ? INT64_MAX
             : ((m - 1) / side + 1) * ((n - 1) / side + 1) * batch;
}

static int element_bytes(const Product *p) { return p->bytes ? 1 : p->type ? dtype_bits(p->type) / 8 : 4; }

/* Are both operands read 16 bytes at a time? Else a thread would have a tile of 128 in too many pieces. */
static bool reads_vectors(const Product *p) {
  int64_t v = 16 / element_bytes(p), k = known(p->k), b = p->trans_b ? k : known(p->n);
  int64_t a = p->trans_a ? known(p->m) : p->rows ? k / p->rows->taps : k;
  return !p->window && (!p->rows || (!p->planes && (p->rows->taps == 1 || p->packed_b))) && a % v == 0 && b % v == 0;
}

bool gpu_weight_reordered(const Product *p) { return p->rows && !p->planes && !p->channelwise && p->rows->taps > 1; }

void gpu_weight_pack(const Product *p, int64_t k, const uint8_t *src, uint8_t *dst, int64_t from, int64_t to) {
  int64_t taps = p->rows->taps, channels = k / taps;
  size_t size = (size_t)element_bytes(p);
  for (int64_t row = from; row < to; row++)
    for (int64_t t = 0; t < taps; t++)
      for (int64_t c = 0; c < channels; c++)
        memcpy(dst + (size_t)(row * k + t * channels + c) * size, src + (size_t)(row * k + c * taps + t) * size, size);
}

/* Eight warps have 16 x 8 elements each, or more. */
static GpuTile tensor_tile(const Product *p, int side) {
  int64_t m = known(p->m), n = known(p->n);
  side = side > 64 && !reads_vectors(p) ? 64 : side;
  GpuTile t = {(uint8_t)side, (uint8_t)side, (uint8_t)(TENSOR_BYTES / element_bytes(p))};
  if (p->bits.bits) /* a thread has at least a byte of them */
    t.bn = 64;
  if (n <= 16 && !p->bits.bits)
    t.bn = 16, t.bm = side < 64 ? 64 : t.bm;
  else if (m <= 16)
    t.bm = 16, t.bn = side < 64 ? 64 : t.bn;
  else if (m <= 32)
    t.bm = 32;
  else if (n <= 32 && !p->bits.bits)
    t.bn = 32;
  return t;
}

/* Large tiles read less, small ones keep more multiprocessors at work. */
GpuTile gpu_tile(const Product *p) {
  int64_t m = known(p->m), n = known(p->n), most = MULTIPROCESSORS;
  static const uint8_t sides[] = {32, 64, 128};
  int side = p->cut.tile ? sides[p->cut.tile - 1]
             : m >= LARGE_SIDE && n >= LARGE_SIDE && tiles(p, 128) >= most && tiles(p, 128) < INT64_MAX ? 128
             : tiles(p, 64) >= most                                                                     ? 64
                                                                                                        : 32;
  if (gpu_tensor_cores(p))
    return tensor_tile(p, side);
  GpuTile t = {(uint8_t)side, (uint8_t)side, side == 128 ? 8 : 16};
  if (m <= 16)
    t.bm = 16, t.bn = side < 64 ? 64 : t.bn;
  else if (m <= 32)
    t.bm = 32;
  if (p->bits.bits) /* a thread has at least a byte of them */
    t.bn = 64, t.bk = 16;
  else if (n <= 16)
    t.bn = 16;
  else if (n <= 32)
    t.bn = 32;
  return t;
}

int gpu_rows_columns(const Product *p) {
  int warps = GPU_BLOCK / GPU_WARP, each = p->bits.bits || p->narrow.type ? 4 : 2;
  if (!p->trans_b && !p->bits.bits)
    return ROWS_LANES * (p->narrow.type ? NARROW_STEPS : 16 / element_bytes(p));
  while (each > 1 && known(p->n) < (int64_t)MULTIPROCESSORS * warps * each)
    each /= 2;
  return warps * each;
}

bool gpu_rows_fit(const Product *p) {
  return !p->trans_a && !p->batch_a && !p->batch_b && !p->window && !p->rows && !p->bytes && dim_is(p->batch, 1);
}

uint32_t gpu_product_extra(const Product *p) {
  if (p->narrow.type)
    return 1u + p->narrow.zero + (p->forms & FORM_LIBRARY ? 1 : 0);
  return !p->bits.bits ? 0 : p->bits.zero ? 2 : 1;
}

static int bits_of_b(const Product *p) {
  return p->narrow.type ? dtype_bits(p->narrow.type) : p->bits.bits ? p->bits.bits : 8 * element_bytes(p);
}

static Dim parts_of(Ctx *c, const Product *p) {
  Dim one = dim_const(c, 1), parts = one;
  if (p->forms & FORM_TILES) {
    GpuTile t = gpu_tile(p);
    parts = dim_mul(c, dim_ceildiv(c, p->m, dim_const(c, t.bm)), dim_ceildiv(c, p->n, dim_const(c, t.bn)));
    parts = dim_mul(c, p->batch, parts);
  }
  if (p->forms & FORM_ROWS) {
    Dim some = dim_mul(c, dim_min(c, p->m, one), dim_ceildiv(c, p->n, dim_const(c, gpu_rows_columns(p))));
    parts = p->forms & FORM_TILES ? dim_max(c, parts, some) : some;
  }
  if (p->forms == FORM_LIBRARY) /* none: nothing to do */
    parts = dim_mul(c, p->batch, dim_mul(c, dim_min(c, p->m, one), dim_min(c, p->n, one)));
  return parts;
}

void gpu_product(Ctx *c, Unit *u) {
  const Product *p = &u->product;
  Dim none = dim_const(c, 0), mn = dim_mul(c, p->m, p->n), mk = dim_mul(c, p->m, p->k), kn = dim_mul(c, p->k, p->n);
  u->parts = parts_of(c, p);
  u->scratch = none, u->threads = dim_const(c, p->forms == FORM_LIBRARY ? 0 : GPU_BLOCK);
  u->flops = dim_mul(c, dim_const(c, 2), dim_mul(c, p->batch, dim_mul(c, mn, p->k)));
  mn = dim_mul(c, mn, dim_const(c, element_bytes(p)));
  mk = dim_mul(c, mk, dim_const(c, element_bytes(p)));
  kn = dim_ceildiv(c, dim_mul(c, kn, dim_const(c, bits_of_b(p))), dim_const(c, 8));
  Dim all = dim_add(c, mn, dim_add(c, p->batch_a ? mk : none, p->batch_b ? kn : none));
  all = dim_mul(c, p->batch, all);
  u->bytes = dim_add(c, all, dim_add(c, p->batch_a ? none : mk, p->batch_b ? none : kn));
}

const char *gpu_product_text(Arena *a, const Product *p) {
  GpuTile t = gpu_tile(p);
  StrBuf b;
  buf_init(&b, a);
  if (p->forms & FORM_ROWS)
    buf_printf(&b, "%d rows%s%s", PRODUCT_ROWS, p->narrow.type ? " of " : "",
               p->narrow.type ? dtype_name(p->narrow.type) : "");
  if (p->forms & FORM_TILES)
    buf_printf(&b, "%s%dx%dx%d%s", b.len ? ", " : "", t.bm, t.bn, t.bk, gpu_tensor_cores(p) ? " on tensor cores" : "");
  if (p->forms & FORM_LIBRARY)
    buf_printf(&b, "%scuBLASLt", b.len ? ", " : "");
  return b.text;
}
