/* decoders.c - the formats that libraries decode: JPEG (libjpeg-turbo), PNG (libpng), WebP, TIFF, JPEG 2000 (OpenJPEG). A build
 * without a library says so when an image needs it. Interfaces that jump out of callbacks are avoided: memory that the
 * arena gave is made before a library is entered. SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/image.h"

#include <stdio.h>
#include <string.h>

#if SARD_HAVE_JPEG
#include <turbojpeg.h>
#endif
#if SARD_HAVE_PNG
#include <png.h>
#endif
#if SARD_HAVE_WEBP
#include <webp/decode.h>
#endif
#if SARD_HAVE_TIFF
#include <tiffio.h>
#endif
#if SARD_HAVE_OPENJPEG
#include <openjpeg.h>
#endif

__attribute__((unused)) static Status missing(Eval *e, const char *format, const char *library, const char *package) {
  Status st = eval_unsupported(e, "this build cannot decode %s images: it was made without %s", format, library);
  return err_hint(e->c, st, "install %s and build again", package);
}

/* --- JPEG --- */

#if SARD_HAVE_JPEG
/* Four channels are CMYK as Adobe writes it, inverted. */
static void cmyk_to_rgb(const uint8_t *in, int64_t n, uint8_t *out) {
  for (int64_t i = 0; i < n; i++)
    for (int c = 0; c < 3; c++)
      out[3 * i + c] = (uint8_t)((in[4 * i + c] * in[4 * i + 3] + 127) / 255);
}

static Status jpeg_pixels(Eval *e, tjhandle t, const ImageFile *f, Image *im) {
  int w, h, sampling, space;
  if (tjDecompressHeader3(t, f->p, f->n, &w, &h, &sampling, &space))
    return ST_OK;
  bool cmyk = space == TJCS_CMYK || space == TJCS_YCCK;
  TRY(image_room(e, h, w, cmyk ? 12 : 6, im)); /* a progressive image's coefficients take 16 bits each */
  if (!im->rgb)
    return ST_OK;
  uint8_t *to = cmyk ? arena_get(e->scratch, (size_t)(im->h * im->w), 4, 64) : im->rgb;
  if (tjDecompress2(t, f->p, f->n, to, w, 0, h, cmyk ? TJPF_CMYK : TJPF_RGB, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS))
    im->rgb = NULL; /* cut off, for one */
  else if (cmyk)
    cmyk_to_rgb(to, im->h * im->w, im->rgb);
  return ST_OK;
}

static void jpeg_close(void *t) { tjDestroy(t); }

Status image_jpeg(Eval *e, const ImageFile *f, Image *im) {
  Cleanup *cleanup = arena_new(e->scratch, Cleanup);
  tjhandle t = tjInitDecompress();
  if (!t)
    return fail(e->c, ST_MEMORY, "out of memory for a JPEG decoder");
  ctx_on_failure(e->c, cleanup, jpeg_close, t);
  Status st = jpeg_pixels(e, t, f, im);
  ctx_forget(e->c, cleanup);
  tjDestroy(t);
  return st;
}
#else
Status image_jpeg(Eval *e, const ImageFile *f, Image *im) {
  (void)f, (void)im;
  return missing(e, "JPEG", "libjpeg-turbo", "libturbojpeg0-dev");
}
#endif

/* --- PNG --- */

#if SARD_HAVE_PNG
/* Alpha is dropped. Samples of 16 bits are taken for sRGB, as those of 8 are. */
static Status png_pixels(Eval *e, png_image *png, const ImageFile *f, Image *im) {
  if (!png_image_begin_read_from_memory(png, f->p, f->n))
    return ST_OK;
  TRY(image_room(e, png->height, png->width, 8, im));
  if (!im->rgb)
    return ST_OK;
  uint8_t *rgba = arena_get(e->scratch, (size_t)(im->h * im->w), 4, 64);
  png->format = PNG_FORMAT_RGBA;
  png->flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  if (!png_image_finish_read(png, NULL, rgba, 0, NULL)) {
    im->rgb = NULL;
    return ST_OK;
  }
  for (int64_t i = 0; i < im->h * im->w; i++)
    memcpy(im->rgb + 3 * i, rgba + 4 * i, 3);
  return ST_OK;
}

static void png_close(void *png) { png_image_free(png); }

Status image_png(Eval *e, const ImageFile *f, Image *im) {
  Cleanup *cleanup = arena_new(e->scratch, Cleanup);
  png_image *png = arena_new(e->scratch, png_image);
  png->version = PNG_IMAGE_VERSION;
  ctx_on_failure(e->c, cleanup, png_close, png);
  Status st = png_pixels(e, png, f, im);
  ctx_forget(e->c, cleanup);
  png_image_free(png);
  return st;
}
#else
Status image_png(Eval *e, const ImageFile *f, Image *im) {
  (void)f, (void)im;
  return missing(e, "PNG", "libpng", "libpng-dev");
}
#endif

/* --- WebP --- */

#if SARD_HAVE_WEBP
Status image_webp(Eval *e, const ImageFile *f, Image *im) {
  int w, h;
  if (!WebPGetInfo(f->p, f->n, &w, &h))
    return ST_OK;
  TRY(image_room(e, h, w, 8, im));
  if (im->rgb && !WebPDecodeRGBInto(f->p, f->n, im->rgb, (size_t)(im->h * im->w * 3), w * 3))
    im->rgb = NULL; /* animations too */
  return ST_OK;
}
#else
Status image_webp(Eval *e, const ImageFile *f, Image *im) {
  (void)f, (void)im;
  return missing(e, "WebP", "libwebp", "libwebp-dev");
}
#endif

/* --- TIFF --- */

#if SARD_HAVE_TIFF
typedef struct TiffFile {
  const ImageFile *f;
  toff_t at;
} TiffFile;

static tmsize_t tiff_read(thandle_t h, void *buf, tmsize_t n) {
  TiffFile *t = h;
  tmsize_t left = t->at < t->f->n ? (tmsize_t)(t->f->n - t->at) : 0;
  n = n < left ? n : left;
  if (n > 0)
    memcpy(buf, t->f->p + t->at, (size_t)n);
  t->at += (toff_t)n;
  return n;
}

static tmsize_t tiff_write(thandle_t h, void *buf, tmsize_t n) {
  (void)h, (void)buf, (void)n;
  return -1;
}

static toff_t tiff_seek(thandle_t h, toff_t to, int whence) {
  TiffFile *t = h;
  t->at = to + (whence == SEEK_CUR ? t->at : whence == SEEK_END ? (toff_t)t->f->n : 0);
  return t->at;
}

static int tiff_no_close(thandle_t h) {
  (void)h;
  return 0;
}

static toff_t tiff_size(thandle_t h) { return ((TiffFile *)h)->f->n; }

static int tiff_quiet(TIFF *t, void *arg, const char *module, const char *fmt, va_list ap) {
  (void)t, (void)arg, (void)module, (void)fmt, (void)ap;
  return 1; /* dealt with: nothing is printed */
}

static Status tiff_pixels(Eval *e, TIFF *t, Image *im) {
  uint32_t w = 0, h = 0;
  char why[1024];
  if (!TIFFGetField(t, TIFFTAG_IMAGEWIDTH, &w) || !TIFFGetField(t, TIFFTAG_IMAGELENGTH, &h) || !TIFFRGBAImageOK(t, why))
    return ST_OK;
  TRY(image_room(e, h, w, 12, im));
  if (!im->rgb)
    return ST_OK;
  uint32_t *raster = arena_get(e->scratch, (size_t)(im->h * im->w), sizeof *raster, 64);
  if (!TIFFReadRGBAImageOriented(t, w, h, raster, ORIENTATION_TOPLEFT, 1)) {
    im->rgb = NULL;
    return ST_OK;
  }
  for (int64_t i = 0; i < im->h * im->w; i++) {
    im->rgb[3 * i] = (uint8_t)TIFFGetR(raster[i]);
    im->rgb[3 * i + 1] = (uint8_t)TIFFGetG(raster[i]);
    im->rgb[3 * i + 2] = (uint8_t)TIFFGetB(raster[i]);
  }
  return ST_OK;
}

static void tiff_close(void *t) { TIFFClose(t); }

/* A single allocation of the library may take what is left of the budget, or 1 GiB. */
static tmsize_t tiff_most(const Alloc *a) {
  size_t used = atomic_load(&a->used), left = a->limit > used ? a->limit - used : 0;
  return !a->limit || left > 1 << 30 ? 1 << 30 : (tmsize_t)left;
}

Status image_tiff(Eval *e, const ImageFile *f, Image *im) {
  TiffFile file = {f, 0};
  Cleanup *cleanup = arena_new(e->scratch, Cleanup);
  TIFFOpenOptions *o = TIFFOpenOptionsAlloc();
  if (!o)
    return fail(e->c, ST_MEMORY, "out of memory for a TIFF decoder");
  TIFFOpenOptionsSetMaxSingleMemAlloc(o, tiff_most(e->c->alloc));
  TIFFOpenOptionsSetErrorHandlerExtR(o, tiff_quiet, NULL);
  TIFFOpenOptionsSetWarningHandlerExtR(o, tiff_quiet, NULL);
  TIFF *t = TIFFClientOpenExt("image", "rm", &file, tiff_read, tiff_write, tiff_seek, tiff_no_close, tiff_size, NULL,
                              NULL, o);
  TIFFOpenOptionsFree(o);
  if (!t)
    return ST_OK;
  ctx_on_failure(e->c, cleanup, tiff_close, t);
  Status st = tiff_pixels(e, t, im);
  ctx_forget(e->c, cleanup);
  TIFFClose(t);
  return st;
}
#else
Status image_tiff(Eval *e, const ImageFile *f, Image *im) {
  (void)f, (void)im;
  return missing(e, "TIFF", "libtiff", "libtiff-dev");
}
#endif

/* --- JPEG 2000 --- */

#if SARD_HAVE_OPENJPEG
typedef struct J2k {
  const ImageFile *f;
  size_t at;
  opj_codec_t *codec;
  opj_stream_t *stream;
  opj_image_t *image;
} J2k;

static OPJ_SIZE_T j2k_read(void *buf, OPJ_SIZE_T n, void *arg) {
  J2k *j = arg;
  size_t left = j->f->n - j->at;
  n = n < left ? n : left;
  memcpy(buf, j->f->p + j->at, n);
  j->at += n;
  return n ? n : (OPJ_SIZE_T)-1;
}

static OPJ_OFF_T j2k_skip(OPJ_OFF_T n, void *arg) {
  J2k *j = arg;
  size_t left = j->f->n - j->at;
  if (n < 0 || (size_t)n > left)
    return -1;
  j->at += (size_t)n;
  return n;
}

static OPJ_BOOL j2k_seek(OPJ_OFF_T to, void *arg) {
  J2k *j = arg;
  if (to < 0 || (size_t)to > j->f->n)
    return OPJ_FALSE;
  j->at = (size_t)to;
  return OPJ_TRUE;
}

static void j2k_close(void *arg) {
  J2k *j = arg;
  opj_image_destroy(j->image);
  opj_destroy_codec(j->codec);
  opj_stream_destroy(j->stream);
}

static uint8_t j2k_sample(const opj_image_comp_t *c, int64_t i) {
  int64_t v = c->data[i] + (c->sgnd ? (int64_t)1 << (c->prec - 1) : 0), top = ((int64_t)1 << c->prec) - 1;
  return v < 0 ? 0 : v > top ? 255 : (uint8_t)((v * 255 + top / 2) / top);
}

static uint8_t clamp(double v) { return v < 0 ? 0 : v > 255 ? 255 : (uint8_t)(v + 0.5); }

static void ycc_to_rgb(uint8_t *p) {
  double y = p[0], cb = p[1] - 128.0, cr = p[2] - 128.0;
  p[0] = clamp(y + 1.402 * cr), p[1] = clamp(y - 0.344136 * cb - 0.714136 * cr), p[2] = clamp(y + 1.772 * cb);
}

/* One component is grey; of more, the first three are the colours. All must have every pixel. */
static Status j2k_pixels(Eval *e, J2k *j, Image *im) {
  if (!opj_read_header(j->stream, j->codec, &j->image) || !j->image->numcomps)
    return ST_OK;
  opj_image_comp_t *c = j->image->comps;
  uint32_t n = j->image->numcomps < 3 ? 1 : 3;
  TRY(image_room(e, (int64_t)j->image->y1 - j->image->y0, (int64_t)j->image->x1 - j->image->x0,
                 12 * (j->image->numcomps < 16 ? (int)j->image->numcomps : 16), im));
  bool ok = im->rgb && j->image->numcomps <= 16 && opj_decode(j->codec, j->stream, j->image) &&
            opj_end_decompress(j->codec, j->stream);
  c = ok ? j->image->comps : c;
  for (uint32_t k = 0; ok && k < n; k++)
    ok = c[k].data && c[k].w == (uint32_t)im->w && c[k].h == (uint32_t)im->h && c[k].prec >= 1 && c[k].prec <= 16;
  if (!ok) {
    im->rgb = NULL;
    return ST_OK;
  }
  for (int64_t i = 0; i < im->h * im->w; i++) {
    for (uint32_t k = 0; k < 3; k++)
      im->rgb[3 * i + k] = j2k_sample(&c[n == 1 ? 0 : k], i);
    if (j->image->color_space == OPJ_CLRSPC_SYCC && n == 3)
      ycc_to_rgb(im->rgb + 3 * i);
  }
  return ST_OK;
}

Status image_jpeg2000(Eval *e, const ImageFile *f, Image *im) {
  Cleanup *cleanup = arena_new(e->scratch, Cleanup);
  J2k *j = arena_new(e->scratch, J2k);
  opj_dparameters_t p;
  Status st = ST_OK;
  j->f = f;
  j->codec = opj_create_decompress(f->p[0] ? OPJ_CODEC_J2K : OPJ_CODEC_JP2);
  j->stream = opj_stream_create(1 << 16, OPJ_TRUE);
  ctx_on_failure(e->c, cleanup, j2k_close, j);
  if (!j->codec || !j->stream)
    st = fail(e->c, ST_MEMORY, "out of memory for a JPEG 2000 decoder");
  opj_set_default_decoder_parameters(&p);
  if (!st && opj_setup_decoder(j->codec, &p)) {
    opj_stream_set_user_data(j->stream, j, NULL);
    opj_stream_set_user_data_length(j->stream, f->n);
    opj_stream_set_read_function(j->stream, j2k_read);
    opj_stream_set_skip_function(j->stream, j2k_skip);
    opj_stream_set_seek_function(j->stream, j2k_seek);
    st = j2k_pixels(e, j, im);
  }
  ctx_forget(e->c, cleanup);
  j2k_close(j);
  return st;
}
#else
Status image_jpeg2000(Eval *e, const ImageFile *f, Image *im) {
  (void)f, (void)im;
  return missing(e, "JPEG 2000", "OpenJPEG", "libopenjp2-7-dev");
}
#endif
