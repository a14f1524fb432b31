/* test_cache.c - the compile cache's directory: what is written is read, whatever is damaged, cut short, foreign or open to
 * others is not, and writers that fail, die or meet leave one whole entry or none.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cache.h"
#include "runtime/program.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { IMAGE = 5000, PACKED = (1 << 20) + 12345, PAGE = 4096 };
static const char entry_name[] = "0000000000000001fedcba9876543210.sard";

typedef struct Rig {
  Alloc alloc;
  Ctx c;
  Arena *a;
  char dir[64], path[160];
  uint8_t *image, *packed;
  CacheFile file[2];
  CacheContent x;
  Cache *d;
} Rig;

static Status make(Ctx *c, void *arg) {
  Rig *r = arg;
  r->a = arena_create(c);
  r->image = arena_get(r->a, IMAGE, 1, PROG_ALIGN);
  r->packed = arena_get(r->a, PACKED, 1, 64);
  for (size_t i = 0; i < IMAGE; i++)
    r->image[i] = (uint8_t)(i * 7 + 1);
  for (size_t i = 0; i < PACKED; i++)
    r->packed[i] = (uint8_t)(i * 13 + 5);
  r->file[0] = (CacheFile){CACHE_MODEL, "model.onnx", 1, 2, 3, 4, 5};
  r->file[1] = (CacheFile){CACHE_WEIGHTS, "weights/a.bin", 6, 7, 8, -9, 10};
  r->x = (CacheContent){.key = {{1, 0xfedcba9876543210}},
                        .model = "/somewhere/model.onnx",
                        .about = "cpu x86-64-v4",
                        .file = r->file,
                        .nfile = 2,
                        .image = r->image,
                        .size = IMAGE,
                        .packed = r->packed,
                        .packed_size = PACKED};
  snprintf(r->path, sizeof r->path, "%s/cache", r->dir);
  return cache_open(c, r->a, r->path, true, &r->d);
}

static int set_up(void **state) {
  Rig *r = calloc(1, sizeof *r);
  alloc_init_system(&r->alloc);
  ctx_open(&r->c, &r->alloc);
  strcpy(r->dir, "/tmp/sard-cache-XXXXXX");
  assert_non_null(mkdtemp(r->dir));
  assert_int_equal(ctx_protect(&r->c, make, r), ST_OK);
  snprintf(r->path, sizeof r->path, "%s/cache/%s", r->dir, entry_name);
  *state = r;
  return 0;
}

static int tear_down(void **state) {
  Rig *r = *state;
  char command[256];
  ctx_close(&r->c);
  snprintf(command, sizeof command, "chmod -R u+rwX %s; rm -rf %s", r->dir, r->dir);
  assert_int_equal(system(command), 0);
  free(r);
  return 0;
}

static Status write_now(Rig *r) { return cache_write(&r->c, cache_prepare(r->a, r->d, &r->x)); }

/* What is found; *found false: nothing. */
static Status find(Rig *r, CacheContent *x, bool *found) {
  Mapped *m;
  Status st = cache_find(&r->c, r->a, r->d, &r->x.key, &m, x);
  *found = !st && m;
  return st;
}

static int files_in(const char *dir) {
  DIR *d = opendir(dir);
  int n = 0;
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));)
    n += *e->d_name != '.';
  closedir(d);
  return n;
}

static int files(const Rig *r) {
  char path[80];
  snprintf(path, sizeof path, "%s/cache", r->dir);
  return files_in(path);
}

static void expect_whole(Rig *r) {
  CacheContent x;
  bool found;
  assert_int_equal(find(r, &x, &found), ST_OK);
  assert_true(found);
  assert_int_equal(x.size, IMAGE);
  assert_memory_equal(x.image, r->image, IMAGE);
  assert_int_equal(x.packed_size, r->x.packed_size);
  if (x.packed_size)
    assert_memory_equal(x.packed, r->packed, x.packed_size);
  assert_true((uintptr_t)x.image % PROG_ALIGN == 0 && (uintptr_t)x.packed % PAGE == 0);
  assert_string_equal(x.model, "/somewhere/model.onnx");
  assert_string_equal(x.about, "cpu x86-64-v4");
  assert_int_equal(x.nfile, 2);
  assert_string_equal(x.file[1].name, "weights/a.bin");
  assert_true(x.file[0].kind == CACHE_MODEL && x.file[1].kind == CACHE_WEIGHTS && x.file[1].dev == 6 &&
              x.file[1].ino == 7 && x.file[1].size == 8 && x.file[1].mtime_ns == -9 && x.file[1].ctime_ns == 10);
}

static void test_roundtrip(void **state) {
  Rig *r = *state;
  CacheContent x;
  struct stat st;
  bool found;
  assert_int_equal(find(r, &x, &found), ST_OK);
  assert_false(found);
  assert_int_equal(write_now(r), ST_OK);
  expect_whole(r);
  assert_int_equal(files(r), 1);
  assert_int_equal(stat(r->path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0600);
  r->x.packed = NULL, r->x.packed_size = 0; /* the next writer's takes its place */
  assert_int_equal(write_now(r), ST_OK);
  expect_whole(r);
  r->x.key.h[0] = 2;
  assert_int_equal(find(r, &x, &found), ST_OK);
  assert_false(found);
}

static uint8_t *read_entry(const Rig *r, size_t *n) {
  struct stat st;
  int fd = open(r->path, O_RDONLY);
  assert_true(fd >= 0 && !fstat(fd, &st));
  uint8_t *p = malloc((size_t)st.st_size);
  assert_int_equal(read(fd, p, (size_t)st.st_size), st.st_size);
  close(fd);
  *n = (size_t)st.st_size;
  return p;
}

static void write_file(const char *path, const uint8_t *p, size_t n) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  assert_true(fd >= 0 && write(fd, p, n) == (ssize_t)n);
  close(fd);
}

static Status keep_problem(void *arg, const CacheInfo *x) {
  *(bool *)arg = x->problem != NULL;
  return ST_OK;
}

static bool verify_finds(Rig *r) {
  bool problem = false;
  assert_int_equal(cache_each(&r->c, r->d, true, keep_problem, &problem), ST_OK);
  return problem;
}

/* Every byte before the program, bytes throughout the program, and none of the packed weights: those are verify's. */
static void test_damage(void **state) {
  Rig *r = *state;
  CacheContent x;
  size_t n, head, program;
  bool found;
  assert_int_equal(write_now(r), ST_OK);
  uint8_t *good = read_entry(r, &n), *bad = malloc(n);
  program = n - PACKED, head = program - (IMAGE + PAGE - 1) / PAGE * PAGE;
  assert_false(verify_finds(r));
  for (size_t i = 0; i < program - PAGE; i += i < head ? 1 : 61) {
    memcpy(bad, good, n);
    bad[i] ^= (uint8_t)(1u << i % 8);
    write_file(r->path, bad, n);
    if (find(r, &x, &found) != ST_INVALID && found) { /* padding between the parts */
      print_error("byte %zu of %zu is not missed\n", i, n);
      fail();
    }
  }
  for (size_t i = program; i < n; i += n / 5) {
    memcpy(bad, good, n);
    bad[i] ^= 0x10;
    write_file(r->path, bad, n);
    assert_int_equal(find(r, &x, &found), ST_OK);
    assert_true(verify_finds(r));
  }
  size_t cut[] = {0, 1, 7, 8, 100, 4096, program, n - 1};
  for (size_t i = 0; i < countof(cut); i++) {
    write_file(r->path, good, cut[i]);
    assert_int_equal(find(r, &x, &found), ST_INVALID);
    assert_true(verify_finds(r));
  }
  memcpy(bad, good, n);
  bad[8]++; /* the format's version */
  write_file(r->path, bad, n);
  assert_int_equal(find(r, &x, &found), ST_INVALID);
  assert_int_equal(write_now(r), ST_OK); /* made anew over the damaged one */
  expect_whole(r);
  free(good), free(bad);
}

/* An entry copied under another's name. */
static void test_other_key(void **state) {
  Rig *r = *state;
  CacheContent x;
  size_t n;
  bool found;
  assert_int_equal(write_now(r), ST_OK);
  uint8_t *p = read_entry(r, &n);
  r->x.key.h[0] = 3;
  snprintf(r->path, sizeof r->path, "%s/cache/0000000000000003fedcba9876543210.sard", r->dir);
  write_file(r->path, p, n);
  assert_int_equal(find(r, &x, &found), ST_INVALID);
  free(p);
}

static void test_owner_and_mode(void **state) {
  Rig *r = *state;
  CacheContent x;
  Cache *d;
  char dir[80];
  bool found;
  snprintf(dir, sizeof dir, "%s/cache", r->dir);
  assert_int_equal(write_now(r), ST_OK);
  for (unsigned bit = 0020; bit; bit = bit == 0020 ? 0002 : 0) {
    assert_int_equal(chmod(r->path, 0600 | bit), 0);
    assert_int_equal(find(r, &x, &found), ST_INVALID);
    assert_non_null(strstr(r->c.err.message, "may be written to by other users"));
    assert_int_equal(chmod(r->path, 0600), 0);
    assert_int_equal(chmod(dir, 0700 | bit), 0);
    assert_int_equal(cache_open(&r->c, r->a, dir, true, &d), ST_INVALID);
    assert_int_equal(chmod(dir, 0700), 0);
  }
  assert_int_equal(unlink(r->path), 0);
  assert_int_equal(symlink("/etc/passwd", r->path), 0);
  assert_int_equal(find(r, &x, &found), ST_IO);
  assert_int_equal(unlink(r->path), 0);
  assert_int_equal(mkfifo(r->path, 0600), 0); /* does not wait for a writer */
  assert_int_equal(find(r, &x, &found), ST_IO);
  assert_int_equal(write_now(r), ST_OK);
  expect_whole(r);
  if (geteuid()) /* only root can give files away */
    return;
  assert_int_equal(chown(r->path, 12345, 0), 0);
  assert_int_equal(find(r, &x, &found), ST_INVALID);
  assert_non_null(strstr(r->c.err.message, "belongs to another user"));
  assert_int_equal(chown(dir, 12345, 0), 0);
  assert_int_equal(cache_open(&r->c, r->a, dir, true, &d), ST_INVALID);
  assert_non_null(strstr(r->c.err.message, "belongs to another user"));
}

static void test_no_directory(void **state) {
  Rig *r = *state;
  Cache *d;
  struct stat st;
  char dir[80];
  snprintf(dir, sizeof dir, "%s/a/b/c", r->dir);
  assert_int_equal(cache_open(&r->c, r->a, dir, false, &d), ST_IO);
  assert_int_equal(cache_open(&r->c, r->a, dir, true, &d), ST_OK);
  assert_int_equal(stat(dir, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0700);
  write_file(r->path, (const uint8_t *)"x", 1);
  assert_int_equal(cache_open(&r->c, r->a, r->path, true, &d), ST_IO);
}

/* In a child of its own: 0 when `what` succeeds there. */
static int in_child(Rig *r, int (*what)(Rig *)) {
  int status;
  pid_t pid = fork();
  if (!pid)
    _exit(what(r));
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

static int write_under_limit(Rig *r) { /* of file sizes: a failed write would raise SIGXFSZ */
  struct rlimit l = {100000, 100000};
  if (setrlimit(RLIMIT_FSIZE, &l))
    return 1;
  return write_now(r) == ST_IO ? 0 : 2;
}

static int write_unprivileged(Rig *r) {
  if (!geteuid() && (setgid(12345) || setuid(12345)))
    return 1;
  return write_now(r) == ST_IO ? 0 : 2;
}

static void test_cannot_write(void **state) {
  Rig *r = *state;
  char dir[80];
  snprintf(dir, sizeof dir, "%s/cache", r->dir);
  assert_int_equal(in_child(r, write_under_limit), 0);
  assert_int_equal(files(r), 0);
  assert_int_equal(chmod(dir, 0500), 0);
  assert_int_equal(in_child(r, write_unprivileged), 0);
  assert_int_equal(chmod(dir, 0700), 0);
  assert_int_equal(files(r), 0);
}

/* A file system of 512 KiB: the entry does not fit, and nothing of it stays. Needs root, as mounting does. */
static void test_full_disk(void **state) {
  Rig *r = *state;
  char dir[80];
  snprintf(dir, sizeof dir, "%s/full", r->dir);
  assert_int_equal(mkdir(dir, 0700), 0);
  if (mount("sard", dir, "tmpfs", 0, "size=512k,mode=0700"))
    skip();
  assert_int_equal(cache_open(&r->c, r->a, dir, true, &r->d), ST_OK);
  Status st = write_now(r);
  int left = files_in(dir);
  cache_close(r->d);
  umount(dir);
  assert_int_equal(st, ST_IO);
  assert_non_null(strstr(r->c.err.message, "No space left"));
  assert_int_equal(left, 0);
}

/* Writers and readers of one entry at once: a reader finds a whole one each time. */
static int write_often(Rig *r) {
  for (int i = 0; i < 20; i++)
    if (write_now(r))
      return 1;
  return 0;
}

static void test_two_at_once(void **state) {
  Rig *r = *state;
  pid_t pid[2];
  int status;
  assert_int_equal(write_now(r), ST_OK);
  for (int i = 0; i < 2; i++)
    if (!(pid[i] = fork()))
      _exit(write_often(r));
  for (int i = 0; i < 20; i++)
    expect_whole(r);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
    assert_int_equal(status, 0);
  }
  expect_whole(r);
  assert_int_equal(files(r), 1);
}

/* Killed at some moment while writing: there is the old entry or the new one, and the next writer removes what the dead one
 * left. */
static void test_killed(void **state) {
  Rig *r = *state;
  int status, seen = 0;
  assert_int_equal(write_now(r), ST_OK);
  for (int i = 0; i < 40; i++) {
    pid_t pid = fork();
    if (!pid)
      for (;;)
        write_now(r);
    usleep((useconds_t)(500 + i * 150));
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    seen += files(r) > 1;
    expect_whole(r);
  }
  assert_true(seen > 0);
  assert_int_equal(write_now(r), ST_OK);
  assert_int_equal(files(r), 1);
}

/* A mapping outlives the entry: it is replaced and removed under a reader. */
static void test_mapping_stays(void **state) {
  Rig *r = *state;
  CacheContent x;
  bool found;
  uint32_t n;
  uint64_t bytes;
  assert_int_equal(write_now(r), ST_OK);
  assert_int_equal(find(r, &x, &found), ST_OK);
  r->x.packed_size = 64;
  assert_int_equal(write_now(r), ST_OK);
  assert_int_equal(cache_clear(&r->c, r->d, &n, &bytes), ST_OK);
  assert_true(n == 1 && bytes > IMAGE && files(r) == 0);
  assert_memory_equal(x.packed, r->packed, PACKED);
}

static void test_default_directory(void **state) {
  Rig *r = *state;
  unsetenv("SARD_CACHE"), unsetenv("XDG_CACHE_HOME"), unsetenv("HOME");
  assert_null(cache_directory(r->a, NULL));
  assert_null(cache_directory(r->a, "off"));
  assert_string_equal(cache_directory(r->a, "here"), "here");
  setenv("HOME", "/home/x", 1);
  assert_string_equal(cache_directory(r->a, NULL), "/home/x/.cache/sard");
  setenv("XDG_CACHE_HOME", "relative", 1); /* not allowed by the XDG specification: passed over */
  assert_string_equal(cache_directory(r->a, NULL), "/home/x/.cache/sard");
  setenv("XDG_CACHE_HOME", "/var/x", 1);
  assert_string_equal(cache_directory(r->a, NULL), "/var/x/sard");
  setenv("SARD_CACHE", "/other", 1);
  assert_string_equal(cache_directory(r->a, NULL), "/other");
  assert_string_equal(cache_directory(r->a, "/option"), "/option");
  setenv("SARD_CACHE", "off", 1);
  assert_null(cache_directory(r->a, NULL));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {TEST(test_roundtrip),      TEST(test_damage),           TEST(test_other_key),
                                     TEST(test_owner_and_mode), TEST(test_no_directory),     TEST(test_cannot_write),
                                     TEST(test_full_disk),      TEST(test_two_at_once),      TEST(test_killed),
                                     TEST(test_mapping_stays),  TEST(test_default_directory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
