/* open.c - a program that test_compile.py and test_ahead.sh give a compiled library of y = x w, x f32[batch, 1024]: open LIBRARY [wait]
 * opens it, runs it once, and says "ready" or what went wrong; with wait it stays until its input ends.
 * SPDX-License-Identifier: Apache-2.0 */
#include <large.h> /* made by sard compile */

#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv) {
  static float x[1024];
  union {
    void *p;
    const sard_compiled_api *(*fn)(void);
  } u = {0};
  sard_compiled *m;
  sard_result *r;
  sard_tensor in = {.data = x, .dtype = SARD_F32, .rank = 2, .dim = {1, 1024}};
  void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  if (library)
    u.p = dlsym(library, "sard_compiled_model");
  if (!u.p)
    return fprintf(stderr, "%s\n", dlerror()), 2;
  const sard_compiled_api *api = u.fn();
  if (api->init(NULL, &m) || api->call(m, &in, 1, &r))
    return fprintf(stderr, "%s\n", api->error()), 1;
  puts("ready");
  fflush(stdout);
  while (argc > 2 && getchar() != EOF)
    ;
  api->result_free(r);
  api->free(m);
  return 0;
}
