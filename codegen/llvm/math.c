/* math.c - placeholder */
#include "codegen/llvm/internal.h"
bool math_has(KOp op, DType t) { (void)op; (void)t; return false; }
LVal emit_math(Emitter *e, KOp op, LVal x) { (void)e; (void)op; return x; }
LVal emit_pow(Emitter *e, LVal x, LVal y) { (void)e; (void)y; return x; }
LVal emit_fmod(Emitter *e, LVal x, LVal y) { (void)e; (void)y; return x; }
