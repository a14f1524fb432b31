/* image.h - decoders of image files, one function per format. Each checks the dimensions that the file states against the byte
 * budget before it decodes anything.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_IMAGE_H
#define SARD_OPS_EVAL_IMAGE_H

#include "ops/eval/eval.h"

typedef struct Image {
  int64_t h, w;
  uint8_t *rgb; /* h x w x 3; NULL: the file cannot be decoded */
} Image;

typedef struct ImageFile {
  const uint8_t *p;
  size_t n;
} ImageFile;

/* Memory for the pixels, in scratch. work: bytes per pixel that the decoder itself takes besides. ST_MEMORY: that is more than
 * the budget has left. Dimensions that no image has leave im->rgb NULL. */
Status image_room(Eval *e, int64_t h, int64_t w, int work, Image *im);

/* ST_OK with im->rgb NULL: the file is damaged, or of a kind that is not decoded. */
Status image_bmp(Eval *e, const ImageFile *f, Image *im);
Status image_pnm(Eval *e, const ImageFile *f, Image *im);
Status image_jpeg(Eval *e, const ImageFile *f, Image *im);
Status image_png(Eval *e, const ImageFile *f, Image *im);
Status image_webp(Eval *e, const ImageFile *f, Image *im);
Status image_tiff(Eval *e, const ImageFile *f, Image *im);
Status image_jpeg2000(Eval *e, const ImageFile *f, Image *im);

#endif
