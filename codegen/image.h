/* image.h - writing the program format: sections that grow, strings and expressions stored once, lists.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_IMAGE_H
#define SARD_CODEGEN_IMAGE_H

#include "ir/graph.h"
#include "runtime/program.h"

typedef struct Image {
  Ctx *c;
  Arena *a;
  StrBuf sec[SEC_COUNT];
  Map strings; /* text -> offset + 1 */
  Map exprs;   /* DimExpr.id -> index + 1 */
  Map symbols; /* DimExpr.id -> index + 1 */
  Dim *symbol; /* by index */
  Map origins; /* Origin address -> index + 1 */
} Image;

/* A list being collected; its entries go to SEC_LISTS together when it ends. */
typedef struct List {
  Image *im;
  uint32_t *v;
  uint32_t n, cap;
} List;

void image_init(Image *im, Ctx *c, Arena *a);
uint32_t image_string(Image *im, const char *s); /* NULL is "" */
uint32_t image_symbol(Image *im, Dim sym);       /* numbers it on first use */
void image_growing(Image *im, Dim sym);          /* ProgSymbol.grows */
Dim image_symbol_dim(Image *im, uint32_t i);
uint32_t image_symbol_count(const Image *im);
uint32_t image_find_symbol(const Image *im, Dim sym); /* PROG_NONE: it has no number */
void image_end_input_symbols(Image *im);              /* the symbols so far are those of the inputs */
uint32_t image_expr(Image *im, Dim d);
uint32_t image_origin(Image *im, const Origin *o);
void image_type(Image *im, ProgSlot *s, const Type *t);    /* fills vkind, dtype, rank, dims */
void image_const(Image *im, ProgSlot *s, const Tensor *t); /* copies the data in: file, offset, size */
void image_attr(Image *im, ProgStep *s, const AttrInfo *info, const void *attr);
uint32_t image_slot(Image *im, const ProgSlot *s);
const ProgSlot *image_slot_at(const Image *im, uint32_t i);
void image_step(Image *im, const ProgStep *s);
uint32_t image_step_count(const Image *im);
void image_region(Image *im, const ProgRegion *r);
void image_port(Image *im, SectionId sec, const ProgPort *p);
void image_append(Image *im, const ProgAppend *x);
void image_meta(Image *im, const char *key, const char *value);
void image_file(Image *im, const char *name, size_t size, uint32_t flags);
void image_kernel(Image *im, const ProgKernel *k);
uint32_t image_call(Image *im, const ProgCall *c);
/* Copies the code in: machine code, PTX, or both. */
void image_object(Image *im, Str code, const char *target, Str ptx, const char *ptx_target);
Status image_finish(Image *im, uint64_t build, const char *precision, const uint8_t **bytes, size_t *size);

List image_list(Image *im);
void list_add(List *l, uint32_t v);
uint32_t list_end(List *l); /* where it starts in SEC_LISTS */

#endif
