/* options.c - what of LLVM only its command line can say, which is the process's: that loop strength reduction does not run.
 *
 * On CPUs it takes a tenth of code generation, more than any pass but selection and registers, and what it makes of loops that step
 * through memory as ours do runs no faster: their addresses are what the machine adds up by itself. GPUs keep it. So code for one kind
 * is generated at a time; between times LLVM is as anybody else in the process expects it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/internal.h"

#include <llvm-c/Support.h>
#include <pthread.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;
static unsigned users; /* that generate code now … */
static bool for_gpu;   /* … of this kind */

static void set(const char *option) {
  const char *const argv[] = {"sard", option};
  LLVMParseCommandLineOptions(countof(argv), argv, "");
}

void options_begin(const Emitter *e) {
  pthread_mutex_lock(&mutex);
  while (users && for_gpu != e->gpu)
    pthread_cond_wait(&idle, &mutex);
  for_gpu = e->gpu;
  if (!users++ && !for_gpu)
    set("-disable-lsr=1");
  pthread_mutex_unlock(&mutex);
}

void options_end(void) {
  pthread_mutex_lock(&mutex);
  if (!--users) {
    if (!for_gpu)
      set("-disable-lsr=0");
    pthread_cond_broadcast(&idle);
  }
  pthread_mutex_unlock(&mutex);
}
