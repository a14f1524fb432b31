/* image_plain.c - the formats that need no library: BMP (1, 4, 8, 24 and 32 bits, not compressed) and PNM (P1 to P6).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/image.h"

#include <string.h>

/* --- BMP --- */

typedef struct Bmp {
  int64_t h, w;
  size_t pixels, palette, row; /* offsets; bytes in a row of the file */
  uint32_t bits, ncolor;
  int entry;     /* bytes in an entry of the palette */
  bool top_down; /* rows in the file */
} Bmp;

static uint32_t u16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }

/* A file header of 14 bytes, then BITMAPCOREHEADER (12) or BITMAPINFOHEADER (40) and what came after it. */
static bool bmp_header(const ImageFile *f, Bmp *b) {
  if (f->n < 26)
    return false;
  uint32_t size = u32(f->p + 14), form = 0;
  bool core = size == 12;
  if ((!core && size < 40) || f->n < 14 + (size_t)size)
    return false;
  b->w = core ? (int64_t)u16(f->p + 18) : (int32_t)u32(f->p + 18);
  b->h = core ? (int64_t)u16(f->p + 20) : (int32_t)u32(f->p + 22);
  b->bits = u16(f->p + (core ? 24 : 28));
  b->top_down = b->h < 0;
  b->h = b->h < 0 ? -b->h : b->h;
  if (!core)
    form = u32(f->p + 30), b->ncolor = u32(f->p + 46);
  b->entry = core ? 3 : 4;
  b->palette = 14 + (size_t)size, b->pixels = u32(f->p + 10);
  if (b->bits <= 8 && (!b->ncolor || b->ncolor > 1u << b->bits))
    b->ncolor = 1u << b->bits;
  bool masks = form == 3 && b->bits == 32 && f->n >= 66 && u32(f->p + 54) == 0xff0000 && u32(f->p + 58) == 0xff00 &&
               u32(f->p + 62) == 0xff;
  return (!form || masks) && (b->bits == 1 || b->bits == 4 || b->bits == 8 || b->bits == 24 || b->bits == 32);
}

static bool bmp_fits(const ImageFile *f, Bmp *b) {
  b->row = ((size_t)b->w * b->bits + 31) / 32 * 4; /* w and h are checked by now */
  if (b->bits <= 8 && b->palette + (size_t)b->ncolor * (size_t)b->entry > f->n)
    return false;
  return b->pixels <= f->n && b->row * (size_t)b->h <= f->n - b->pixels;
}

static bool bmp_row(const ImageFile *f, const Bmp *b, const uint8_t *in, uint8_t *out) {
  for (int64_t x = 0; x < b->w; x++, out += 3) {
    const uint8_t *bgr = in + x * (b->bits / 8);
    if (b->bits <= 8) {
      int64_t bit = x * b->bits;
      uint32_t i = in[bit / 8] >> (8 - b->bits - bit % 8) & ((1u << b->bits) - 1);
      if (i >= b->ncolor)
        return false;
      bgr = f->p + b->palette + i * (size_t)b->entry;
    }
    out[0] = bgr[2], out[1] = bgr[1], out[2] = bgr[0];
  }
  return true;
}

Status image_bmp(Eval *e, const ImageFile *f, Image *im) {
  Bmp b = {0};
  if (!bmp_header(f, &b))
    return ST_OK;
  TRY(image_room(e, b.h, b.w, 0, im));
  bool ok = im->rgb && bmp_fits(f, &b);
  for (int64_t y = 0; ok && y < b.h; y++)
    ok = bmp_row(f, &b, f->p + b.pixels + b.row * (size_t)(b.top_down ? y : b.h - 1 - y), im->rgb + y * b.w * 3);
  if (!ok)
    im->rgb = NULL;
  return ST_OK;
}

/* --- PNM --- */

typedef struct Pnm {
  const uint8_t *p, *end;
} Pnm;

/* The next number, behind blanks and comments; -1: there is none. one: a single digit (P1 needs no blanks). */
static int64_t number(Pnm *s, bool one) {
  int64_t v = -1;
  for (bool comment = false; s->p < s->end; s->p++) {
    comment = *s->p == '#' || (comment && *s->p != '\n' && *s->p != '\r');
    if (!comment && !strchr(" \t\r\n\f\v", *s->p))
      break;
  }
  for (; s->p < s->end && *s->p >= '0' && *s->p <= '9' && v < INT32_MAX; s->p++) {
    v = (v < 0 ? 0 : v) * 10 + (*s->p - '0');
    if (one)
      return s->p++, v;
  }
  return v;
}

static int64_t sample(Pnm *s, char kind, int64_t top) {
  if (kind < '4')
    return number(s, kind == '1');
  if (s->end - s->p < (top > 255 ? 2 : 1))
    return -1;
  int64_t v = *s->p++;
  return top > 255 ? v << 8 | *s->p++ : v;
}

static bool pnm_row(Pnm *s, char kind, int64_t top, int64_t w, uint8_t *out) {
  bool color = kind == '3' || kind == '6';
  const uint8_t *row = s->p;
  for (int64_t i = 0; i < w * (color ? 3 : 1); i++) {
    int64_t v;
    if (kind == '4') { /* eight pixels in a byte, 1 is black */
      if (row + i / 8 >= s->end)
        return false;
      v = row[i / 8] >> (7 - i % 8) & 1;
      s->p = row + i / 8 + 1;
    } else {
      v = sample(s, kind, top);
    }
    if (v < 0 || v > top)
      return false;
    uint8_t c = (uint8_t)((v * 255 + top / 2) / top);
    c = kind == '1' || kind == '4' ? (uint8_t)(255 - c) : c;
    if (color)
      out[i] = c;
    else
      out[3 * i] = out[3 * i + 1] = out[3 * i + 2] = c;
  }
  return true;
}

Status image_pnm(Eval *e, const ImageFile *f, Image *im) {
  Pnm s = {f->p + 2, f->p + f->n};
  char kind = (char)f->p[1];
  int64_t w = number(&s, false), h = number(&s, false), top = kind == '1' || kind == '4' ? 1 : number(&s, false);
  if (w < 1 || h < 1 || top < 1 || top > 65535 || s.p == s.end)
    return ST_OK;
  if (kind >= '4')
    s.p++; /* one blank before the data */
  TRY(image_room(e, h, w, 0, im));
  for (int64_t y = 0; im->rgb && y < h; y++)
    if (!pnm_row(&s, kind, top, w, im->rgb + y * w * 3))
      im->rgb = NULL;
  return ST_OK;
}
