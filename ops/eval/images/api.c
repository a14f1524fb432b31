/* api.c - the entry of libsard-images.so.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/images/api.h"

static const ImagesApi api = {IMAGES_BUILD, image_jpeg, image_png, image_webp, image_tiff, image_jpeg2000};

__attribute__((visibility("default"))) const ImagesApi *sard_images_api(void);
__attribute__((visibility("default"))) const ImagesApi *sard_images_api(void) { return &api; }
