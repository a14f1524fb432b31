/* image_decoder.c - ImageDecoder 20: which format a file is of, and the pixels in the order asked for.
 *
 * What cannot be decoded gives an empty image, as ONNX says; a library that this build lacks, or an image that does not fit the
 * byte budget, is an error. Grey is ITU-R 601 luma as Pillow rounds it. SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/image.h"

#include "support/checked.h"

#include <string.h>

enum { MAX_EXTENT = 1 << 20 };

Status image_room(Eval *e, int64_t h, int64_t w, int work, Image *im) {
  Alloc *a = e->c->alloc;
  int64_t pixels, bytes;
  *im = (Image){.h = h, .w = w};
  if (h < 1 || w < 1 || h > MAX_EXTENT || w > MAX_EXTENT)
    return ST_OK;
  pixels = h * w;
  size_t used = atomic_load(&a->used);
  if (!mul_ok(pixels, work + 6, &bytes) || (a->limit && (used > a->limit || (size_t)bytes > a->limit - used)))
    return fail(e->c, ST_MEMORY, "an image of %lld x %lld pixels does not fit the memory limit", (long long)w,
                (long long)h);
  im->rgb = arena_get(e->scratch, (size_t)pixels, 3, 64);
  return ST_OK;
}

/* --- formats by their first bytes --- */

static bool starts(const ImageFile *f, size_t at, const char *magic, size_t n) {
  return f->n >= at + n && !memcmp(f->p + at, magic, n);
}

static Status decode(Eval *e, const ImageFile *f, Image *im) {
  *im = (Image){0};
  if (starts(f, 0, "\xff\xd8\xff", 3))
    return image_jpeg(e, f, im);
  if (starts(f, 0, "\x89PNG\r\n\x1a\n", 8))
    return image_png(e, f, im);
  if (starts(f, 0, "RIFF", 4) && starts(f, 8, "WEBP", 4))
    return image_webp(e, f, im);
  if (starts(f, 0, "II*\0", 4) || starts(f, 0, "MM\0*", 4) || starts(f, 0, "II+\0", 4) || starts(f, 0, "MM\0+", 4))
    return image_tiff(e, f, im);
  if (starts(f, 0, "\0\0\0\x0cjP  \r\n\x87\n", 12) || starts(f, 0, "\xff\x4f\xff\x51", 4))
    return image_jpeg2000(e, f, im);
  if (starts(f, 0, "BM", 2))
    return image_bmp(e, f, im);
  if (f->n > 2 && f->p[0] == 'P' && f->p[1] >= '1' && f->p[1] <= '6')
    return image_pnm(e, f, im);
  return ST_OK;
}

static void put_pixels(const Image *im, int channels, bool swap, uint8_t *y) {
  for (int64_t i = 0, n = im->h * im->w; i < n; i++) {
    const uint8_t *p = im->rgb + 3 * i;
    if (channels == 1)
      y[i] = (uint8_t)((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
    else
      y[3 * i] = p[swap ? 2 : 0], y[3 * i + 1] = p[1], y[3 * i + 2] = p[swap ? 0 : 2];
  }
}

Status image_decoder_eval(Eval *e) {
  const ImageDecoderAttr *a = e->attr;
  const Tensor *x = e->in[0];
  bool grey = str_is(a->pixel_format, "Grayscale"), bgr = str_is(a->pixel_format, "BGR");
  Image im;
  Tensor *y;
  if (!grey && !bgr && !str_is(a->pixel_format, "RGB"))
    return eval_fail(e, "pixel_format must be \"RGB\", \"BGR\" or \"Grayscale\"");
  if (x->rank != 1)
    return eval_fail(e, "the file must be a vector of bytes");
  ImageFile f = {x->data, (size_t)tensor_count(x)};
  TRY(ctx_poll(e->c));
  TRY(decode(e, &f, &im));
  int64_t dim[3] = {im.rgb ? im.h : 0, im.rgb ? im.w : 0, grey ? 1 : 3};
  TRY(eval_out(e, 0, DT_u8, 3, dim, &y));
  if (im.rgb)
    put_pixels(&im, (int)dim[2], bgr, y->data);
  return ST_OK;
}
