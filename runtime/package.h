/* package.h - a model compiled ahead of time: programs for one or several levels of CPUs or GPUs, their machine code, and weights. A .sard
 * file is a package; objects, libraries and executables hold its three parts as sections.
 *
 *   .sard.package   header | variants | offsets of kernels | strings | programs, each aligned to 64 | sums of weights
 *   .sard.code      machine code by variant, as it runs at any page (runtime/object.h)
 *   .sard.weights   constants, each aligned to 64: the one file that the programs refer to
 *
 * In a .sard file the parts follow each other on pages of their own. Weights may be in a file beside it instead, behind a
 * header page that names them by their sum. Programs and code are hashed at every load; weights, which are not read before they are
 * used, have sums by block for `sard cache verify`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_PACKAGE_H
#define SARD_RUNTIME_PACKAGE_H

#include "runtime/runtime.h"
#include "support/file.h"

enum { PACKAGE_VERSION = 2, PACKAGE_PAGE = 4096, PACKAGE_BLOCK = 1 << 20 };
#define PACKAGE_MAGIC   "SARDPACK"
#define WEIGHTS_MAGIC   "SARDWGHT"
#define PACKAGE_SECTION ".sard.package"
#define CODE_SECTION    ".sard.code"
#define WEIGHTS_SECTION ".sard.weights"
#define WEIGHTS_SUFFIX  ".weights" /* of a file with weights beside X.so, X.sard … */

enum {
  PACKAGE_EXTERNAL = 1, /* weights are in a file beside */
  PACKAGE_GPU = 2,      /* for the device cuda: variants are levels of GPUs, their code is inside of the programs */
  PACKAGE_GPU_CODE = 4  /* machine code, not PTX alone */
};

typedef struct PackageHeader {
  char magic[8];
  uint32_t version;
  uint32_t machine;       /* ELF's e_machine of the code */
  uint64_t build;         /* of the programs */
  uint64_t hash;          /* of this part, with 0 here */
  uint64_t size;          /* of this part */
  uint64_t code, weights; /* bytes of the other parts */
  uint64_t weights_sum;   /* of the sums of blocks: what a file of their own is known by */
  uint32_t flags;
  uint32_t nvariant;
  uint32_t name, about;  /* offsets of strings in this part: the model's name, what made it */
  uint32_t weights_name; /* PACKAGE_EXTERNAL: the file with weights, in the directory of the file with this */
  uint32_t pad;
  uint64_t sums; /* offset in this part of one number per PACKAGE_BLOCK bytes of weights */
} PackageHeader;

typedef struct PackageVariant { /* ascending by level */
  uint32_t level;               /* offset of a string */
  uint32_t nkernel;
  uint64_t kernels; /* offset in this part of nkernel offsets in the code */
  uint64_t image, image_size;
  uint64_t code, code_size; /* in the code part, on pages; constants follow the instructions at code + code_exec */
  uint64_t code_exec, code_hash;
} PackageVariant;

/* The page before weights that have a file of their own. */
typedef struct WeightsHeader {
  char magic[8];
  uint32_t version, pad;
  uint64_t sum, size;
} WeightsHeader;

typedef struct Package {
  const PackageHeader *h;
  const PackageVariant *variant;
  const uint8_t *code;    /* NULL: not found */
  const uint8_t *weights; /* NULL: in a file beside, or none */
} Package;

/* Checks the first part: size bytes at head, which may be more than it needs; aligned to PROG_ALIGN. */
Status package_check(Ctx *c, const uint8_t *head, size_t size, Package *out);
uint64_t package_hash(const PackageHeader *h); /* what its `hash` must be */
static inline uint64_t package_blocks(uint64_t weights) {
  return weights / PACKAGE_BLOCK + (weights % PACKAGE_BLOCK != 0);
}
const char *package_string(const Package *p, uint32_t offset);
struct RtDevice;
/* The best variant for this CPU, its code checked, or for that GPU (NULL: none; PACKAGE_GPU needs one): machine code before PTX.
 * ST_UNSUPPORTED: another machine, or a CPU below all of them; ST_DEVICE: a GPU that none of them is for. */
Status package_choose(Ctx *c, const Package *p, const struct RtDevice *device, const PackageVariant **out);
/* Weights in a file of their own: the one beside the file `path`, or the file `weights` if that is not NULL. *map NULL: none. */
Status package_weights(Ctx *c, Arena *a, const Package *p, const char *path, const char *weights, Mapped **map,
                       RtFile *out);
/* What a load leaves out: the code of the variants that it does not choose, and all weights. */
Status package_verify(Ctx *c, const Package *p, const RtFile *weights);
/* The program of a variant, with its code where it is, or on the device (NULL: none). */
Status package_load(Ctx *c, Arena *a, const Package *p, const PackageVariant *v, const RtFile *weights,
                    const uint8_t *code, struct RtDevice *device, RtProgram **out);

/* Finds the package in a mapped file: .sard, or an ELF object, library or executable, or an archive with one. False: the file is
 * of another kind. It is only read: nothing of it runs. */
bool package_is(const Mapped *m);
Status package_find(Ctx *c, const Mapped *m, Package *out);

#endif
