/* compile.c - `sard compile`: ahead-of-time output.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/bindings.h"
#include "tools/session.h"

#include <stdlib.h>
#include <string.h>

/* Every --bind as the API takes it. */
static Status gather_bindings(Tool *t, sard_compile_options *co) {
  const OptValue *v = &t->o->v[OPT_bind];
  Bindings all = {.c = t->c, .a = t->arena};
  size_t n = 0;
  TRY(bindings_parse(&all, v->list, v->n));
  for (const Binding *b = all.first; b; b = b->next)
    n++;
  sard_binding *bind = arena_array(t->arena, sard_binding, n);
  co->bind = bind, co->n_bind = n;
  for (const Binding *b = all.first; b; b = b->next)
    bind[--n] = (sard_binding){b->name, b->value};
  return ST_OK;
}

Status cmd_compile(Tool *t) {
  const Options *o = t->o;
  const char *out = opt_str(o, OPT_out), *exe = opt_str(o, OPT_exe), *weights = opt_str(o, OPT_weights);
  sard_compile_options co = SARD_COMPILE_OPTIONS_INIT;
  if (!out == !exe)
    return err_hint(t->c, fail(t->c, ST_USAGE, "sard compile needs -o FILE or --exe FILE, one of them"),
                    "for example -o model.so");
  TRY(gather_bindings(t, &co));
  co.device = opt_str(o, OPT_device), co.gpu = opt_str(o, OPT_gpu);
  co.cpu = opt_str(o, OPT_cpu), co.prefix = opt_str(o, OPT_prefix), co.executable = exe != NULL;
  co.static_arena = opt_set(o, OPT_static_arena);
  co.allow_reference = opt_set(o, OPT_allow);
  co.target = opt_str(o, OPT_target);
  co.linker = co.target ? NULL : getenv("CC");
  co.weights = !weights                       ? SARD_WEIGHTS_AUTO
               : !strcmp(weights, "external") ? SARD_WEIGHTS_EXTERNAL
                                              : SARD_WEIGHTS_INSIDE;
  return session_compile(t, o->arg[0], out ? out : exe, &co);
}
