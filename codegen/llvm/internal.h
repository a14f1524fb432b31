/* internal.h - shared by the files of codegen/llvm/: the module being made, small helpers over the LLVM builder,
 * element-wise mathematics, and the emission of kernel expressions (loops, product epilogues).
 *
 * Every helper works on scalars and on vectors alike: the type of the operands says how many lanes there are.
 * No code made here may call anything: no libm, no compiler-rt, no memcpy (runtime/object.c refuses imports). Hence: no
 * llvm.floor and friends on targets without them, no llvm.fma but emit_fma, no half conversions but emit_f16_*.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_LLVM_INTERNAL_H
#define SARD_CODEGEN_LLVM_INTERNAL_H

#include "codegen/llvm/emit.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>
#include <llvm/Config/llvm-config.h>

typedef LLVMValueRef LVal;
typedef LLVMTypeRef LType;

typedef struct Emitter {
  Ctx *c;
  Arena *a;
  const EmitTarget *target;
  LLVMContextRef lc;
  LLVMModuleRef mod;
  LLVMBuilderRef b;
  LLVMTargetMachineRef tm;
  LLVMMemoryBufferRef object; /* held while its bytes are copied */
  LType f32, f64, f16, i1, i8, i16, i32, i64, ptr;
  int bits;               /* of a vector register: 128, 256 or 512 */
  bool gpu;               /* PTX instead of an object */
  bool fma, f16c, rounds; /* what the target has instructions for: see target.c */
  struct Shared *shared;  /* functions that units have in common (value.c) */
} Emitter;

/* A function of the module by a text that says all its code depends on; NULL: there is none yet. Who makes it tells. */
LVal emit_find_shared(const Emitter *e, const char *text);
void emit_add_shared(Emitter *e, const char *text, LVal fn);

/* --- target.c --- */
Status target_create(Emitter *e); /* fills in tm and what the level has */
const char *target_cpu(const Emitter *e);
const char *target_features(const Emitter *e);

/* --- options.c --- */
/* Around what generates code of e's module. */
void options_begin(const Emitter *e);
void options_end(void);

/* --- value.c: types, constants, small operations --- */
LType emit_vec(LType t, int lanes);                  /* t itself for 1 lane */
int emit_lanes(LVal v);                              /* 1: a scalar */
LType emit_like(LType elem, LVal v);                 /* elem with the lanes of v */
LVal emit_splat(Emitter *e, LVal scalar, int lanes); /* scalar itself for 1; insertelement + shufflevector */
LVal emit_match(Emitter *e, LVal v, LVal like);      /* v, spread to the lanes of `like` if it is a scalar */
LVal emit_real(LType t, double v);                   /* constant of a float type, scalar or vector */
LVal emit_int(LType t, int64_t v);                   /* constant of an integer type, scalar or vector */
LVal emit_iota(Emitter *e, LType elem, int lanes);   /* <0, 1, 2 …> */
LVal emit_call(Emitter *e, const char *intrinsic, LType overload, LVal *arg, unsigned n);
LVal emit_fma(Emitter *e, LVal a, LVal b, LVal c); /* a*b + c, fused where the target has it, else two roundings */
LVal emit_bitcast(Emitter *e, LVal v, LType elem); /* lane by lane: elem of the same size */
LVal emit_select(Emitter *e, LVal cond, LVal a, LVal b); /* spreads scalars to vectors */
/* min and max as the machine has them: b when either is NaN. */
LVal emit_min_fast(Emitter *e, LVal a, LVal b);
LVal emit_max_fast(Emitter *e, LVal a, LVal b);
LVal emit_any(Emitter *e, LVal mask);                       /* i1: does any lane hold? */
LLVMBasicBlockRef emit_block(Emitter *e, const char *name); /* a new block at the end of the function being built */
/* Masked access; lanes off read as `other`. p: the address of lane 0. align in bytes. */
LVal emit_masked_load(Emitter *e, LType vec, LVal p, LVal mask, LVal other, unsigned align);
void emit_masked_store(Emitter *e, LVal v, LVal p, LVal mask, unsigned align);
void emit_stream(Emitter *e, LVal v, LVal p,
                 int align); /* a store past the caches, at such bytes; emit_fence orders it */
void emit_fence(Emitter *e);
void emit_prefetch(Emitter *e, LVal p);                  /* into all caches; any address will do */
LVal emit_lanes_of(Emitter *e, LVal v, int from, int n); /* lanes [from, from + n) */
LVal emit_side_by_side(Emitter *e, LVal a, LVal b);
LVal emit_to_i32(Emitter *e, LVal a);             /* AVX-512: 16 or 32 f32 rounded to even; INT32_MIN where none fits */
LVal emit_scalef(Emitter *e, LVal a, LVal n);     /* AVX-512: a * 2^floor(n), 16 f32 each, rounded once */
LVal emit_bounded(Emitter *e, LVal a, LVal most); /* AVX-512: a within [-most, most], 16 f32; of NaN one of these */
LVal emit_fraction(Emitter *e, LVal a);           /* AVX-512: a - floor(a), 16 f32; 0 of infinities */
LVal emit_pick(Emitter *e, LVal a, LVal b, LVal at); /* AVX-512: elements `at` of a and b, 16 of 32 bits each */
LVal emit_pick16(Emitter *e, LVal a, LVal at);       /* AVX-512: of 16 f32, by the low bits of 16 i32 */
LVal emit_pick8(Emitter *e, LVal a, LVal at);        /* AVX2: elements `at` of a, 8 of 32 bits each */
LVal emit_gather(Emitter *e, LType vec, LVal ptrs, LVal mask, LVal other, unsigned align);
void emit_scatter(Emitter *e, LVal v, LVal ptrs, LVal mask, unsigned align);

/* --- narrow.c: floats below f32 as bits, one code per lane --- */
LVal emit_f16_load(Emitter *e, LVal bits); /* i16 -> f32 */
LVal emit_f16_store(Emitter *e, LVal v);   /* f32 -> i16, nearest even */
LVal emit_bf16_load(Emitter *e, LVal bits);
LVal emit_bf16_store(Emitter *e, LVal v);
/* The formats of 8 bits and less: i8 -> f32, f32 -> i8. round: f8e8m0 only. */
LVal emit_small_load(Emitter *e, DType t, LVal bits);
LVal emit_small_store(Emitter *e, DType t, LVal v, bool saturate, E8M0Round round);

/* --- math.c, trig.c, power.c: f32 and f64, scalars and vectors --- */
bool math_has(KOp op, DType t);
LVal emit_math(Emitter *e, KOp op, LVal x);               /* floor … atanh */
LVal math_round_magic(Emitter *e, LVal x, LVal *integer); /* x rounded, also as an integer; |x| below 2^22 (2^51) */
/* x = 2^x of f32 at most 0, -infinity included, for vectors of equal length; NaN stays. What would be below 2^-126 may be 0. */
enum { MAX_EXP2 = 4 };
void math_exp2_below(Emitter *e, LVal *x, int vecs);
LVal emit_pow(Emitter *e, LVal x, LVal y);
LVal emit_fmod(Emitter *e, LVal x, LVal y);
LVal emit_pow_int(Emitter *e, bool is_unsigned, LVal x, LVal y);

/* --- kernel.c --- */
/* A function for unit u under that name: KernelFn. */
Status emit_loop_unit(Emitter *e, const Unit *u, const char *name);
Status emit_gpu_unit(Emitter *e, const Unit *u, const char *name);       /* gpu.c */
Status emit_gpu_product(Emitter *e, const Unit *u, const char *name);    /* gpu_product.c */
Status emit_product_unit(Emitter *e, const Unit *u, const char *name);   /* product.c */
Status emit_attention_unit(Emitter *e, const Unit *u, const char *name); /* attention.c */
Status emit_gpu_attention(Emitter *e, const Unit *u, const char *name);  /* gpu_attention.c */

/* The fields of KernelArgs, read in the entry block of a function just begun. */
typedef struct EmitArgs {
  LVal fn, begin, end, cancel, number, scratch, bufs, dims; /* pointers, i64 */
  unsigned first_dim; /* GPUs: buffers, then dims, are parameters of the function */
  LVal *grown;        /* GPUs: by dim: its value, if it was perhaps read from memory; NULL: none was */
} EmitArgs;
EmitArgs emit_function(Emitter *e, const char *name); /* declares it, starts its entry block */
/* gpu.c: the same for GPUs: a kernel of u of so many buffers and dims. */
EmitArgs gpu_function(Emitter *e, const Unit *u, const char *name, uint32_t nbuf, uint32_t ndim);
LVal emit_arg_buf(Emitter *e, const EmitArgs *a, uint32_t i);
LVal emit_arg_dim(Emitter *e, const EmitArgs *a, uint32_t i);
/* Returns 1 from the function when the cancel flag is raised. */
void emit_poll(Emitter *e, const EmitArgs *a);

/* Statements of a kernel inside a function that something else builds (a product's tile): the caller binds the loops'
 * variables itself and gives the value of loads from input 0. */
typedef struct KEmit KEmit;
KEmit *kemit_create(Emitter *e, const Kernel *k, const EmitArgs *args, const Dim *dim, uint32_t ndim);
/* Dims whose values the code around has, constants or not (kernel_signature_open); or NULL. */
enum { MAX_OPEN = 2 };
typedef struct OpenDims {
  Dim dim[MAX_OPEN];
  LVal value[MAX_OPEN];
} OpenDims;
KEmit *kemit_create_open(Emitter *e, const Kernel *k, const EmitArgs *args, const Dim *dim, uint32_t ndim,
                         const OpenDims *open);
void kemit_bind_buf(KEmit *k, uint32_t index, LVal base); /* the address of buffer `index` */
void kemit_bind_var(KEmit *k, const KVar *v, LVal i64);   /* a loop variable: a uniform value */
/* v is the axis of the lanes: lane l has base + l. mask: <lanes x i1> of the lanes that exist, or NULL. */
void kemit_bind_lanes(KEmit *k, const KVar *v, LVal base, int lanes, LVal mask);
void kemit_input0(KEmit *k, LVal value);     /* what loads of input 0 give */
Status kemit_list(KEmit *k, const KStmt *s); /* the statements from s on */

#endif
