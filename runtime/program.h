/* program.h - the program format: what codegen writes, the cache stores, ahead-of-time output wraps, the loader reads.
 *
 * One block of bytes: a header, then sections of fixed-size records that refer to each other by index, then data. All
 * integers are little-endian, sections start at multiples of 64. Nothing in it is trusted: program_check (load.c)
 * verifies the hash, every index and every offset before anything is used.
 *
 *   header | strings | exprs | symbols | slots | steps | regions | lists | origins | ports | appends | meta | files | kernels |
 *   calls | objects | attrs | code | data
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_PROGRAM_H
#define SARD_RUNTIME_PROGRAM_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum { PROG_VERSION = 9, PROG_ALIGN = 64 };
#define PROG_MAGIC "SARDPROG"
#define PROG_NONE  UINT32_MAX /* an absent index */

typedef enum {
  SEC_STRINGS, /* bytes; a string is referred to by its offset and ends in 0. Offset 0 is "" */
  SEC_EXPRS,   /* ProgExpr, operands before users */
  SEC_SYMBOLS, /* ProgSymbol */
  SEC_SLOTS,   /* ProgSlot */
  SEC_STEPS,   /* ProgStep; the steps of one region are contiguous, region 0 is the program */
  SEC_REGIONS, /* ProgRegion */
  SEC_LISTS,   /* uint32_t: the variable-length lists of the other records */
  SEC_ORIGINS, /* ProgOrigin */
  SEC_INPUTS,  /* ProgPort */
  SEC_OUTPUTS, /* ProgPort */
  SEC_APPENDS, /* ProgAppend */
  SEC_META,    /* ProgMeta */
  SEC_FILES,   /* ProgFile: weight files that constants refer to */
  SEC_KERNELS, /* ProgKernel: one per different signature */
  SEC_CALLS,   /* ProgCall: one per STEP_KERNEL */
  SEC_OBJECTS, /* ProgObject: machine code for the kernels, as modules */
  SEC_ATTRS,   /* bytes: encoded attribute structs (support/attr.h) */
  SEC_CODE,    /* bytes: relocatable objects and PTX, each aligned to 64 */
  SEC_DATA,    /* bytes: constants kept inside, each aligned to 64 */
  SEC_COUNT
} SectionId;

typedef struct ProgSection {
  uint64_t offset; /* from the start of the program */
  uint64_t size;   /* bytes */
} ProgSection;

typedef struct ProgHeader {
  char magic[8];
  uint32_t version;
  uint32_t sections; /* SEC_COUNT */
  uint64_t build;    /* hash of the operator table and of this header's layout: another build's program is refused */
  uint64_t size;     /* of the whole program */
  uint64_t hash;     /* of everything behind the header, data section excluded when its constants carry their own */
  ProgSection section[SEC_COUNT];
  uint32_t precision; /* a string: "fp32", or what was asked for instead */
  uint32_t pad;
} ProgHeader;

/* A dim expression. op is a DimKind (support/dim.h): constants use value, symbols a = symbol number, the others a and b. */
typedef struct ProgExpr {
  uint32_t op, a, b, pad;
  int64_t value;
} ProgExpr;

typedef struct ProgSymbol {
  uint32_t name;
  uint32_t of_input; /* 1: stands in the shape of an input; these come first */
  uint32_t grows; /* 1: GPUs: another number in each run; kernels read what hangs on it from memory (runtime/grow.h) */
  uint32_t pad;
  int64_t lo, hi; /* the range the exporter stated */
} ProgSymbol;

typedef enum {
  SLOT_CONST,   /* data in SEC_DATA or in a file */
  SLOT_INPUT,   /* the caller's memory */
  SLOT_ARENA,   /* packed into the run's arena when its dims are known at the start */
  SLOT_DYNAMIC, /* allocated by the step that makes it, freed after its last use */
  SLOT_VIEW,    /* the bytes of slot `base` under another shape */
} SlotKind;

/* A place for one value. */
typedef struct ProgSlot {
  uint8_t kind;  /* SlotKind */
  uint8_t vkind; /* ValueKind */
  uint8_t dtype; /* DT_none: not known before the run */
  int8_t rank;   /* -1: not known before the run */
  uint32_t dims; /* SEC_LISTS: rank expressions; PROG_NONE entries are not known */
  uint32_t name;
  uint32_t base;        /* SLOT_VIEW and in-place results: the slot whose memory it shares; else PROG_NONE */
  uint32_t first, last; /* steps of region 0 between which the memory is in use (SLOT_ARENA) */
  uint32_t file;        /* SLOT_CONST: SEC_FILES index, or PROG_NONE: SEC_DATA */
  uint32_t pad;
  uint64_t offset, size; /* SLOT_CONST: where the data is */
} ProgSlot;

typedef enum {
  STEP_EVAL,   /* reference evaluation of an operator */
  STEP_VIEW,   /* the output is the input's bytes under the output slot's dims */
  STEP_DIMS,   /* the output's elements are the expressions in `exprs` */
  STEP_IF,     /* regions: then, else */
  STEP_LOOP,   /* region: body */
  STEP_SCAN,   /* region: body */
  STEP_KERNEL, /* compiled code: `call` says which; `exprs` are KernelArgs.dim; in, then out are KernelArgs.buf */
} StepKind;

/* Where a symbol's value is found: on an axis of a tensor's shape, or, from here on, in an element of its data. */
enum { BIND_ELEMENT = 1 << 16, BIND_ELEMENTS = 256 };

typedef struct ProgStep {
  uint8_t kind; /* StepKind */
  uint8_t host; /* shape arithmetic, control flow, text, containers, file formats: on the CPU by nature */
  uint16_t pad;
  uint32_t domain, op; /* strings */
  uint32_t origin;
  uint32_t in, nin;       /* SEC_LISTS: slots; PROG_NONE: absent */
  uint32_t out, nout;     /* SEC_LISTS: slots; PROG_NONE: not wanted */
  uint32_t free, nfree;   /* SEC_LISTS: dynamic slots not used after this step */
  uint32_t exprs, nexprs; /* SEC_LISTS: STEP_DIMS, STEP_KERNEL */
  uint32_t binds, nbinds; /* SEC_LISTS: triples (symbol, output, place) known once the step has run; see BIND_ELEMENT */
  uint32_t region[2];
  uint32_t attr, nattr; /* bytes in SEC_ATTRS */
  uint32_t call;        /* STEP_KERNEL: SEC_CALLS; else PROG_NONE */
  uint32_t why;         /* a string: why it is not compiled, or not computed together with what reads it; "" */
} ProgStep;

/* What is compiled once and called by any number of steps. Its code is symbol `symbol` of object `object`. */
typedef struct ProgKernel {
  uint32_t name;      /* "softmax", "product.384x1536.gelu": perf maps, profiles */
  uint32_t signature; /* unit_signature: equal texts, equal code (codegen/unit.h) */
  uint32_t object;    /* SEC_OBJECTS, or PROG_NONE: not compiled (yet), `symbol` is then 0 */
  uint32_t symbol;
  uint16_t nin, nout; /* buffers: those of every step that calls it */
  uint32_t ndim;      /* KernelArgs.dim: nexprs of every step that calls it */
  uint8_t kind;       /* UnitKind */
  uint8_t copies;     /* 1: only moves elements */
  uint8_t
      more; /* GPUs: further functions, `symbol`_then1, `symbol`_then2 …, launched behind it with the same parameters */
  uint8_t pad;
  uint32_t tile;   /* a string: how the work is cut, "8x48" */
  uint32_t checks; /* SEC_LISTS: by check of the kernel, a string that says what failed ("index %lld is …") */
  uint32_t nchecks;
  uint32_t growing; /* GPUs: SEC_LISTS: dims, ascending, that its functions read from a table if they are given one */
  uint32_t ngrowing;
} ProgKernel;

/* C[b, m, n] = factor * (sum over k of A[b, m, k] * B[b, k, n]) + addend[b, m, n] + bias[n], then what comes after it; dense
 * (codegen/unit.h, Product). PRODUCT_FEW: up to PRODUCT_FEW_ROWS rows are for the kernel's code. */
enum { PRODUCT_TRANS_A = 1, PRODUCT_TRANS_B = 2, PRODUCT_BATCH_A = 4, PRODUCT_BATCH_B = 8, PRODUCT_FEW = 16 };
enum { PRODUCT_FEW_ROWS = 8 };
typedef enum { PRODUCT_RELU = 1, PRODUCT_GELU } ProductActivation; /* of the tanh form; 0: neither */
/* Numbers of a product in SEC_LISTS. */
enum {
  PN_BATCH, /* the first four: SEC_EXPRS */
  PN_M,
  PN_N,
  PN_K,
  PN_FLAGS,
  PN_TYPE,   /* DType: f32, f16 or bf16 */
  PN_BIAS,   /* which input of the kernel; 0: none */
  PN_ADDEND, /* the same */
  PN_AFTER,  /* ProductActivation */
  PN_FACTOR, /* the bits of an f32 */
  PRODUCT_NUMBERS
};

/* One call. All expressions are evaluated once the symbols of the step's inputs are bound. */
typedef struct ProgCall {
  uint32_t kernel; /* SEC_KERNELS */
  uint32_t
      parts; /* SEC_EXPRS: independent pieces of work; KernelArgs.begin and end are a range of them; 0: nothing to do */
  uint32_t threads; /* SEC_EXPRS: gpu_geometry's; CPUs: 0 */
  uint32_t
      scratch; /* SEC_EXPRS: bytes per thread; GPUs: per block, or of all together where the kernel has further functions */
  uint32_t flops, bytes; /* SEC_EXPRS: of all parts together, for the cost model and the reports */
  uint32_t product;      /* SEC_LISTS: PRODUCT_NUMBERS of what a library computes; PROG_NONE: code does */
  uint32_t need, nneed;  /* SEC_LISTS: (a, b, text, origin): SEC_EXPRS that must agree, else ST_INVALID with the text */
  uint32_t
      whose; /* SEC_LISTS: by check of the kernel, the origin of the node that wants it and the bound it speaks of, or PROG_NONE */
  uint32_t more; /* SEC_LISTS: parts and threads of each further function */
} ProgCall;

/* A module of machine code: one relocatable object (runtime/object.h). For GPUs it is machine code, the same as PTX, which the
 * driver compiles where the machine code does not run, or one of them alone: the other has no bytes. */
typedef struct ProgObject {
  uint64_t offset, size;  /* in SEC_CODE */
  uint64_t ptx, ptx_size; /* in SEC_CODE */
  uint32_t target;        /* what the code was made for: EmitTarget.cpu_level, or a GPU */
  uint32_t ptx_target;
} ProgObject;

typedef struct ProgRegion {
  uint32_t step, nstep;
  uint32_t in, nin;       /* SEC_LISTS: slots of the body's inputs */
  uint32_t out, nout;     /* SEC_LISTS: slots of its outputs */
  uint32_t own, nown;     /* SEC_LISTS: slots defined inside, cleared before each trip */
  uint32_t binds, nbinds; /* SEC_LISTS: triples (symbol, input, place) known at entry; see BIND_ELEMENT */
} ProgRegion;

typedef struct ProgOrigin {
  uint32_t node, op, module, klass, source; /* strings */
  uint32_t more, nmore;                     /* SEC_LISTS: names of the other nodes that were fused in (strings) */
} ProgOrigin;

typedef struct ProgPort {
  uint32_t name;
  uint32_t slot;
  uint32_t deflt;    /* inputs: slot of the default value, or PROG_NONE */
  uint32_t dim_text; /* SEC_LISTS: rank strings */
} ProgPort;

/* An output that is an input and new rows behind it on an axis: a cache, which the caller may keep in one memory with room for
 * more rows than there are. The code steps through both by the extents that the axis has in memory, symbols that a run binds
 * first, and copies as many rows of the input as a third symbol says. */
typedef struct ProgAppend {
  uint32_t input, output, axis;
  uint32_t past_room, present_room, copied; /* SEC_SYMBOLS */
} ProgAppend;

typedef struct ProgMeta {
  uint32_t key, value;
} ProgMeta;

/* Memory that constants lie in. The packed weights are one more file, the last: made when compiling (PlanPacked in
 * codegen/plan.h), kept in memory or in the cache; its slots are u8[size], each aligned to 64. */
enum { FILE_PACKED = 1 };
typedef struct ProgFile {
  uint32_t name;  /* as given to plan_build; "" for packed weights */
  uint32_t flags; /* FILE_PACKED */
  uint64_t size;
} ProgFile;

static_assert(sizeof(ProgExpr) == 24 && sizeof(ProgSlot) == 48 && sizeof(ProgStep) == 80 && sizeof(ProgPort) == 16,
              "format");
static_assert(sizeof(ProgKernel) == 48 && sizeof(ProgCall) == 44 && sizeof(ProgObject) == 40, "format");
static_assert(sizeof(ProgAppend) == 24, "format");

#endif
