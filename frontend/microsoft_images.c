/* microsoft_images.c - convolutions, pools and group normalisations of com.microsoft, with channels first or last: those of ai.onnx
 * between transpositions, which the passes `transposes` and `layout` make none of.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/microsoft.h"
#include "frontend/nodes.h"

#include <string.h>

/* The rank of input 0, which must be known where channels are last. */
static Status images_rank(Upgrade *u, bool last, int *rank) {
  const Type *t = raw_type(u, raw_in(u, 0));
  *rank = t ? t->rank : 0;
  if (last && !t)
    return raw_unsupported(u, "has its channels last in an input of unknown rank");
  if (last && t->rank < 3)
    return raw_unsupported(u, "has its channels last in an input of fewer axes than 3");
  return ST_OK;
}

/* FusedConv, NhwcConv, NhwcFusedConv: X, W, B and a Z that is added before the activation. */
Status microsoft_conv(Upgrade *u) {
  static const char *const known[] = {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"};
  RawAttr attr[countof(known)];
  uint32_t n = raw_kept(u, countof(known), known, attr);
  bool last = !strncmp(u->n.op, "Nhwc", 4);
  int rank;
  TRY(images_rank(u, last, &rank));
  const char *x = last ? raw_channels_first(u, raw_in(u, 0), rank) : raw_in(u, 0);
  const char *const in[] = {x, raw_in(u, 1), raw_in(u, 2)};
  const char *y = raw_put(u, "Conv", NULL, raw_has(u, 2) ? 3 : 2, in, n, attr);
  y = last ? raw_channels_last(u, y, rank) : y;
  if (raw_has(u, 3))
    y = raw_two(u, "Add", y, raw_in(u, 3));
  TRY(microsoft_activated(u, &y));
  return raw_become_last(u);
}

Status microsoft_max_pool(Upgrade *u) {
  static const char *const known[] = {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides"};
  RawAttr attr[countof(known)];
  uint32_t n = raw_kept(u, countof(known), known, attr);
  int rank;
  TRY(images_rank(u, true, &rank));
  const char *x = raw_channels_first(u, raw_in(u, 0), rank);
  raw_channels_last(u, raw_put(u, "MaxPool", NULL, NAMES(x), n, attr), rank);
  return raw_become_last(u);
}

/* --- group normalisation --- */

/* x + skip [+ bias] of SkipGroupNorm, output 1: skip may be one row per image, [N, C]. */
static Status skipped(Upgrade *u, bool last, int rank, const char **x) {
  const Type *skip = raw_type(u, raw_in(u, 3));
  const char *more = raw_in(u, 3), *bias = raw_in(u, 4);
  if (!skip)
    return raw_unsupported(u, "has a skip of unknown rank");
  int64_t axes[MAX_RANK]; /* those of positions */
  uint32_t n = (uint32_t)rank - 2;
  for (uint32_t i = 0; i < n; i++)
    axes[i] = i + (last ? 1 : 2);
  if (skip->rank == 2 && n)
    more = raw_two(u, "Unsqueeze", more, raw_ints(u, n, axes));
  if (*bias && !last && n) {
    for (uint32_t i = 0; i < n; i++)
      axes[i] = i + 1;
    bias = raw_two(u, "Unsqueeze", bias, raw_ints(u, n, axes));
  }
  *x = raw_put(u, "Add", *bias ? NULL : raw_out(u, 1), NAMES(*x, more), 0, NULL);
  if (*bias)
    *x = raw_put(u, "Add", raw_out(u, 1), NAMES(*x, bias), 0, NULL);
  return ST_OK;
}

/* GroupNorm, SkipGroupNorm: X, gamma, beta [, skip, bias]; then silu, if it is wanted. */
Status microsoft_group_norm(Upgrade *u) {
  bool last = raw_int(u, "channels_last", 1), skip = !strcmp(u->n.op, "SkipGroupNorm");
  int64_t act = raw_int(u, "activation", 0);
  RawAttr attr[] = {raw_int_attr("num_groups", raw_int(u, "groups", 0)),
                    raw_float_attr("epsilon", raw_float(u, "epsilon", 1e-5f))};
  const char *x = raw_in(u, 0), *gamma = raw_in(u, 1), *beta = raw_in(u, 2);
  int rank;
  if (act != 0 && act != 1)
    return raw_unsupported(u, "has another activation than silu");
  TRY(images_rank(u, last || skip, &rank));
  if (skip)
    TRY(skipped(u, last, rank, &x));
  DType t = raw_dtype(u, raw_in(u, 0));
  if (t != raw_dtype(u, gamma) || !t)
    gamma = raw_two(u, "CastLike", gamma, x), beta = raw_two(u, "CastLike", beta, x);
  x = last ? raw_channels_first(u, x, rank) : x;
  x = raw_put(u, "GroupNormalization", NULL, NAMES(x, gamma, beta), 2, attr);
  x = act ? raw_put(u, "Swish", NULL, NAMES(x), 0, NULL) : x;
  if (last)
    raw_channels_last(u, x, rank);
  return raw_become_last(u);
}
