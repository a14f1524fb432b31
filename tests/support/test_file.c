/* test_file.c - mapping files: what is mapped, what is refused, what is noticed later.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct Fixture {
  Alloc alloc;
  Ctx c;
  Arena *a;
  char dir[64], path[128];
} Fixture;

static int setup(void **state) {
  Fixture *f = calloc(1, sizeof *f);
  alloc_init_system(&f->alloc);
  ctx_open(&f->c, &f->alloc);
  f->a = arena_create(&f->c);
  strcpy(f->dir, "/tmp/sard-test-XXXXXX");
  assert_non_null(mkdtemp(f->dir));
  snprintf(f->path, sizeof f->path, "%s/file", f->dir);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  Fixture *f = *state;
  ctx_close(&f->c);
  assert_int_equal(atomic_load(&f->alloc.used), 0);
  unlink(f->path);
  rmdir(f->dir);
  free(f);
  return 0;
}

static void write_file(const char *path, const char *text) {
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  fputs(text, out);
  fclose(out);
}

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static void maps_content(void **state) {
  Fixture *f = *state;
  Mapped *m;
  write_file(f->path, "hello");
  assert_int_equal(map_open(&f->c, f->a, f->path, &m), ST_OK);
  assert_int_equal(m->size, 5);
  assert_memory_equal(m->base, "hello", 5);
  assert_string_equal(m->path, f->path);
  struct stat st;
  stat(f->path, &st);
  assert_true(m->dev == st.st_dev && m->ino == st.st_ino);
  int fd = m->fd;
  assert_int_equal(map_check(&f->c, m), ST_OK);
  map_close(&f->c, m);
  assert_false(is_open(fd));
}

/* kB of the mapping at p that this process holds. */
static long held_kb(const void *p) {
  char line[256], begin[32];
  long kb = -1;
  bool here = false;
  FILE *f = fopen("/proc/self/smaps", "r");
  assert_non_null(f);
  snprintf(begin, sizeof begin, "%lx-", (unsigned long)(uintptr_t)p);
  while (kb < 0 && fgets(line, sizeof line, f)) {
    here = here || strncmp(line, begin, strlen(begin)) == 0;
    if (here && strncmp(line, "Rss:", 4) == 0)
      kb = strtol(line + 4, NULL, 10);
  }
  fclose(f);
  return kb;
}

static void forgets_pages(void **state) {
  Fixture *f = *state;
  Mapped *m;
  char text[20001];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  write_file(f->path, text);
  assert_int_equal(map_open(&f->c, f->a, f->path, &m), ST_OK);
  assert_memory_equal(m->base, text, sizeof text - 1);
  assert_true(held_kb(m->base) > 0);
  map_forget(m);
  assert_int_equal(held_kb(m->base), 0);
  assert_memory_equal(m->base, text, sizeof text - 1); /* from the file again */
  map_close(&f->c, m);
  write_file(f->path, "");
  assert_int_equal(map_open(&f->c, f->a, f->path, &m), ST_OK);
  map_forget(m);
  map_close(&f->c, m);
}

static void empty_file_has_no_base(void **state) {
  Fixture *f = *state;
  Mapped *m;
  write_file(f->path, "");
  assert_int_equal(map_open(&f->c, f->a, f->path, &m), ST_OK);
  assert_null(m->base);
  assert_int_equal(m->size, 0);
}

static void refuses_what_is_no_regular_file(void **state) {
  Fixture *f = *state;
  Mapped *m;
  assert_int_equal(map_open(&f->c, f->a, f->dir, &m), ST_IO);
  assert_non_null(strstr(f->c.err.message, "a directory"));
  assert_string_equal(f->c.err.file, f->dir);
  assert_int_equal(map_open(&f->c, f->a, "/dev/zero", &m), ST_IO);
  assert_non_null(strstr(f->c.err.message, "a device"));
  assert_int_equal(mkfifo(f->path, 0600), 0);
  time_t before = time(NULL);
  assert_int_equal(map_open(&f->c, f->a, f->path, &m), ST_IO);
  assert_non_null(strstr(f->c.err.message, "a pipe"));
  assert_true(time(NULL) - before < 2);
  unlink(f->path);
  assert_int_equal(map_open(&f->c, f->a, f->path, &m), ST_IO);
  assert_non_null(strstr(f->c.err.message, "No such file"));
}

static void sees_truncation(void **state) {
  Fixture *f = *state;
  Mapped *m;
  write_file(f->path, "0123456789");
  assert_int_equal(map_open(&f->c, f->a, f->path, &m), ST_OK);
  assert_int_equal(truncate(f->path, 9), 0);
  assert_int_equal(map_check(&f->c, m), ST_INVALID);
  assert_non_null(strstr(f->c.err.message, "10 bytes then, 9 now"));
}

typedef struct Try {
  const char *path;
  int fd;
} Try;

static Status map_and_give_up(Ctx *c, void *arg) {
  Try *t = arg;
  Mapped *m;
  TRY(map_open(c, arena_create(c), t->path, &m));
  t->fd = m->fd;
  return ST_TIMEOUT;
}

static void failure_unmaps(void **state) {
  Fixture *f = *state;
  Try t = {.path = f->path, .fd = -1};
  write_file(f->path, "x");
  assert_int_equal(ctx_protect(&f->c, map_and_give_up, &t), ST_TIMEOUT);
  assert_true(t.fd >= 0);
  assert_false(is_open(t.fd));
}

/* No memory for the mapping's description: the descriptor that was handed over is closed all the same. */
static void no_memory_closes_the_descriptor(void **state) {
  Fixture *f = *state;
  Mapped *m;
  write_file(f->path, "x");
  int fd = open(f->path, O_RDONLY | O_CLOEXEC);
  f->alloc.limit = atomic_load(&f->alloc.used) + 16;
  assert_int_equal(map_fd(&f->c, f->a, fd, f->path, &m), ST_MEMORY);
  assert_false(is_open(fd));
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
      T(maps_content),    T(forgets_pages),  T(empty_file_has_no_base),          T(refuses_what_is_no_regular_file),
      T(sees_truncation), T(failure_unmaps), T(no_memory_closes_the_descriptor),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
