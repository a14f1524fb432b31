/* emit.c - the entry of libsard-codegen.so: a module for a batch of units, compiled to one relocatable object in memory.
 * No IR pass runs: what the walk over the kernel makes is in SSA form and vectorised already (docs of kernel.c), and code
 * generation level 1 does the rest (invariant machine code), without loop strength reduction on CPUs (options.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/internal.h"

#include <llvm-c/Analysis.h>
#include <string.h>

static void dispose(void *arg) {
  Emitter *e = arg;
  if (e->object)
    LLVMDisposeMemoryBuffer(e->object);
  if (e->b)
    LLVMDisposeBuilder(e->b);
  if (e->mod)
    LLVMDisposeModule(e->mod);
  if (e->tm)
    LLVMDisposeTargetMachine(e->tm);
  if (e->lc)
    LLVMContextDispose(e->lc);
}

/* What LLVM has to say must not go to stderr: errors become the message of the caller's context. */
static void diagnostic(LLVMDiagnosticInfoRef info, void *arg) {
  Emitter *e = arg;
  char *text = LLVMGetDiagInfoDescription(info);
  if (LLVMGetDiagInfoSeverity(info) == LLVMDSError)
    fail(e->c, ST_INTERNAL, "LLVM: %s", text);
  LLVMDisposeMessage(text);
}

static Status open_module(Emitter *e) {
  e->lc = LLVMContextCreate();
  LLVMContextSetDiagnosticHandler(e->lc, diagnostic, e);
  TRY(target_create(e));
  e->mod = LLVMModuleCreateWithNameInContext("sard", e->lc);
  char *triple = LLVMGetTargetMachineTriple(e->tm);
  LLVMSetTarget(e->mod, triple);
  LLVMDisposeMessage(triple);
  LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(e->tm);
  LLVMSetModuleDataLayout(e->mod, layout);
  LLVMDisposeTargetData(layout);
  e->b = LLVMCreateBuilderInContext(e->lc);
  e->f32 = LLVMFloatTypeInContext(e->lc), e->f64 = LLVMDoubleTypeInContext(e->lc),
  e->f16 = LLVMHalfTypeInContext(e->lc);
  e->i1 = LLVMInt1TypeInContext(e->lc), e->i8 = LLVMInt8TypeInContext(e->lc), e->i16 = LLVMInt16TypeInContext(e->lc);
  e->i32 = LLVMInt32TypeInContext(e->lc), e->i64 = LLVMInt64TypeInContext(e->lc);
  e->ptr = LLVMPointerTypeInContext(e->lc, 0);
  return ST_OK;
}

/* "softmax.3": letters, digits, '_' and '.' of the unit's name, and its number in the module; PTX knows no '.'. */
static const char *symbol_name(Emitter *e, const Unit *u, uint32_t i) {
  char text[64];
  size_t n = 0;
  for (const char *p = u->name ? u->name : "unit"; *p && n + 1 < sizeof text; p++)
    text[n++] =
        (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || (*p == '.' && !e->gpu)
            ? *p
            : '_';
  text[n] = 0;
  return arena_printf(e->a, "%s%c%u", text, e->gpu ? '_' : '.', i);
}

static Status emit_one(Emitter *e, const Unit *u, const char *name) {
  if (e->gpu)
    return emit_gpu_unit(e, u, name);
  switch (u->kind) {
  case UNIT_LOOP: return emit_loop_unit(e, u, name);
  case UNIT_PRODUCT: return emit_product_unit(e, u, name);
  case UNIT_ATTENTION: return emit_attention_unit(e, u, name);
  default: return fail(e->c, ST_UNSUPPORTED, "unit '%s': no code generation for its kind", name);
  }
}

static Status finish(Emitter *e, EmitObject *out) {
  char *message = NULL;
  LLVMMemoryBufferRef buf = NULL;
  if (LLVMVerifyModule(e->mod, LLVMReturnStatusAction, &message)) {
    Status st = fail(e->c, ST_INTERNAL, "the emitted code is not valid: %s", message);
    LLVMDisposeMessage(message);
    return st;
  }
  LLVMDisposeMessage(message);
  e->c->err.kind = ST_OK;
  options_begin(e);
  LLVMBool failed =
      LLVMTargetMachineEmitToMemoryBuffer(e->tm, e->mod, e->gpu ? LLVMAssemblyFile : LLVMObjectFile, &message, &buf);
  options_end();
  if (failed) {
    Status st = fail(e->c, ST_INTERNAL, "LLVM made no object: %s", message);
    LLVMDisposeMessage(message);
    return st;
  }
  e->object = buf;    /* disposed of with the rest, also when memory runs out below */
  if (e->c->err.kind) /* the diagnostic handler */
    return e->c->err.kind;
  out->size = LLVMGetBufferSize(buf);
  uint8_t *bytes = arena_get(e->a, 1, out->size, 64);
  memcpy(bytes, LLVMGetBufferStart(buf), out->size);
  out->bytes = bytes;
  return ST_OK;
}

Status emit_units(Ctx *c, Arena *a, const Unit *const *unit, uint32_t n, const EmitTarget *target, EmitObject *out) {
  Emitter *e = arena_new(a, Emitter);
  Cleanup *cleanup = arena_new(a, Cleanup);
  const char **symbol = arena_array(a, const char *, n);
  *e = (Emitter){.c = c, .a = a, .target = target};
  *out = (EmitObject){.symbol = symbol};
  ctx_on_failure(c, cleanup, dispose, e);
  Status st = open_module(e);
  for (uint32_t i = 0; i < n && !st; i++) {
    symbol[i] = symbol_name(e, unit[i], i);
    st = emit_one(e, unit[i], symbol[i]);
  }
  if (!st && target->keep_ir) {
    char *ir = LLVMPrintModuleToString(e->mod);
    out->ir = arena_strdup(a, ir);
    LLVMDisposeMessage(ir);
  }
  if (!st)
    st = finish(e, out);
  ctx_forget(c, cleanup);
  dispose(e);
  return st;
}

static const EmitApi api = {.build = EMIT_BUILD, .llvm = LLVM_VERSION_STRING, .emit_units = emit_units};

__attribute__((visibility("default"))) const EmitApi *sard_codegen_api(void) { return &api; }
