/* image_load.c - the formats that libraries decode, by libsard-images.so: it is loaded when the first such image is met, once per
 * process, and stays. Compiled models have the decoders themselves (images/decoders.c) in place of this file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/images/api.h"
#include "support/beside.h"

#include <pthread.h>

static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static const ImagesApi *loaded;

static Status load(Ctx *c) {
  const Beside images = {.name = "libsard-images.so",
                         .what = "the library of image decoders",
                         .hint = "it belongs beside libsard.so, sard or the Python module",
                         .symbol = "sard_images_api",
                         .build = IMAGES_BUILD};
  const void *api;
  TRY(beside_load(c, &images, &api));
  loaded = api;
  return ST_OK;
}

static Status decoders(Eval *e, const ImagesApi **api) {
  pthread_mutex_lock(&loading);
  Status st = loaded ? ST_OK : load(e->c);
  pthread_mutex_unlock(&loading);
  *api = loaded;
  return st;
}

Status image_jpeg(Eval *e, const ImageFile *f, Image *im) {
  const ImagesApi *api;
  TRY(decoders(e, &api));
  return api->jpeg(e, f, im);
}

Status image_png(Eval *e, const ImageFile *f, Image *im) {
  const ImagesApi *api;
  TRY(decoders(e, &api));
  return api->png(e, f, im);
}

Status image_webp(Eval *e, const ImageFile *f, Image *im) {
  const ImagesApi *api;
  TRY(decoders(e, &api));
  return api->webp(e, f, im);
}

Status image_tiff(Eval *e, const ImageFile *f, Image *im) {
  const ImagesApi *api;
  TRY(decoders(e, &api));
  return api->tiff(e, f, im);
}

Status image_jpeg2000(Eval *e, const ImageFile *f, Image *im) {
  const ImagesApi *api;
  TRY(decoders(e, &api));
  return api->jpeg2000(e, f, im);
}
