/* api.h - what libsard-images.so does: decoders of the formats that libraries decode. The only header of ops/eval/images/ that others
 * include. The shared object is of the same build as its caller (ImagesApi.build): it shares Eval, Ctx and Arena with it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_IMAGES_API_H
#define SARD_OPS_EVAL_IMAGES_API_H

#include "ops/eval/image.h"

/* The one symbol that the shared object exports: sard_images_api, a function returning this. */
typedef struct ImagesApi {
  uint64_t build; /* IMAGES_BUILD of the build that made it */
  Status (*jpeg)(Eval *e, const ImageFile *f, Image *im);
  Status (*png)(Eval *e, const ImageFile *f, Image *im);
  Status (*webp)(Eval *e, const ImageFile *f, Image *im);
  Status (*tiff)(Eval *e, const ImageFile *f, Image *im);
  Status (*jpeg2000)(Eval *e, const ImageFile *f, Image *im);
} ImagesApi;

/* Changes with the layout of what crosses the boundary. */
#define IMAGES_BUILD                                                                                                   \
  ((uint64_t)1 << 56 ^ (uint64_t)sizeof(Ctx) << 40 ^ (uint64_t)sizeof(Eval) << 24 ^ (uint64_t)sizeof(Image) << 16 ^    \
   sizeof(ImagesApi))

#endif
