/* cache.c - entries of the compile cache: reading without trusting, writing without leaving traces.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cache.h"

#include "runtime/program.h"
#include "support/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { VERSION = 1, PAGE = 4096, BLOCK = 1 << 20, NAME_SIZE = 64, CHUNK = 2 << 20 /* a huge page */ };
#define MAGIC "SARDCACH"
static const uint64_t DEFAULT_LIMIT = 10000000000;

typedef struct Header {
  char magic[8];
  uint32_t version, nfile;
  uint64_t hash; /* of this header with 0 here, and of everything before the program */
  uint64_t size; /* of the entry */
  uint64_t key[2];
  int64_t written_ns;
  uint32_t model, about;      /* strings */
  uint64_t file;              /* nfile times File, then strings, the last byte of which is 0 */
  uint64_t sums;              /* one per block of packed weights */
  uint64_t image, image_size; /* before it everything but the packed weights */
  uint64_t image_hash;
  uint64_t packed, packed_size; /* packed_size 0: none */
} Header;

typedef struct File {
  uint32_t kind, name; /* string */
  uint64_t dev, ino, size;
  int64_t mtime_ns, ctime_ns;
} File;

struct Cache {
  int fd;
  bool shared;
  const char *path;
  Ctx *c;
  Cleanup cleanup;
};

struct CacheWrite {
  const Cache *d;
  CacheContent x;
  Header *head; /* and what follows it, up to the program */
  uint64_t *sum;
};

static uint64_t blocks(uint64_t bytes) { return bytes / BLOCK + (bytes % BLOCK != 0); }

static uint64_t block_sum(const uint8_t *packed, uint64_t size, uint64_t i) {
  uint64_t at = i * BLOCK;
  return sum_bytes(packed + at, size - at < BLOCK ? size - at : BLOCK, i);
}

/* Of the header and what follows it up to the program. */
static uint64_t head_hash(const uint8_t *base, uint64_t n) {
  Header h;
  memcpy(&h, base, sizeof h);
  h.hash = 0;
  return sum_bytes(base + sizeof h, n - sizeof h, sum_bytes(&h, sizeof h, 0));
}

/* --- the directory --- */

/* An absolute path in an environment variable, which a set-user-id program does not ask. */
static const char *from_environment(Arena *a, const char *name, const char *behind) {
  const char *v = secure_getenv(name);
  return v && *v == '/' ? arena_printf(a, "%s%s", v, behind) : NULL;
}

const char *cache_directory(Arena *a, const char *option) {
  const char *path = option ? option : secure_getenv("SARD_CACHE");
  if (path && *path)
    return strcmp(path, "off") ? arena_strdup(a, path) : NULL;
  path = from_environment(a, "XDG_CACHE_HOME", "/sard");
  return path ? path : from_environment(a, "HOME", "/.cache/sard");
}

uint64_t cache_limit(void) {
  static const char units[] = "KMGT";
  const char *s = secure_getenv("SARD_CACHE_SIZE");
  char *end;
  double v = s ? strtod(s, &end) : 0;
  if (!s || end == s || !(v >= 0))
    return DEFAULT_LIMIT;
  const char *u = *end ? strchr(units, *end & ~0x20) : NULL;
  for (const char *p = units; u && p <= u; p++)
    v *= 1000;
  return v < 1e18 ? (uint64_t)v : UINT64_MAX;
}

const char *cache_shared(Arena *a, int i) {
  const char *list = secure_getenv("SARD_CACHE_SHARED");
  for (size_t n; list && *list; list += n + (list[n] == ':')) {
    n = strcspn(list, ":");
    if (n && !i--)
      return arena_strndup(a, list, n);
  }
  return NULL;
}

static void release(void *arg) {
  Cache *d = arg;
  if (d->fd >= 0)
    close(d->fd);
  d->fd = -1;
}

void cache_close(Cache *d) {
  ctx_forget(d->c, &d->cleanup);
  release(d);
}

static void make_directories(const char *path) {
  char p[PATH_MAX];
  if (strlen(path) >= sizeof p)
    return;
  strcpy(p, path);
  for (char *slash = p + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
    *slash = 0;
    mkdir(p, 0700); /* whatever it says: opening the directory tells */
  }
  mkdir(p, 0700);
}

/* Ours alone to write to: whoever can put an entry here can run code as this user. */
static Status check_owner(Ctx *c, int fd, bool shared, const char *what, const char *name) {
  struct stat st;
  if (fstat(fd, &st))
    return fail_errno(c, "examine the compile cache", name);
  if (st.st_uid != geteuid() && !(shared && !st.st_uid))
    return fail(c, ST_INVALID, "%s '%s' belongs to another user", what, name);
  if (st.st_mode & (S_IWGRP | S_IWOTH))
    return fail(c, ST_INVALID, "%s '%s' may be written to by other users", what, name);
  return ST_OK;
}

static Status open_directory(Ctx *c, Arena *a, const char *path, bool make, bool shared, Cache **out) {
  Cache *d = arena_new(a, Cache);
  *d = (Cache){.fd = -1, .shared = shared, .path = arena_strdup(a, path), .c = c};
  d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (d->fd < 0 && errno == ENOENT && make) {
    make_directories(path);
    d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }
  if (d->fd < 0)
    return fail_errno(c, "open the compile cache", path);
  Status st = check_owner(c, d->fd, shared, "the cache directory", path);
  if (st)
    release(d);
  else
    ctx_on_failure(c, &d->cleanup, release, d);
  *out = d;
  return st;
}

Status cache_open(Ctx *c, Arena *a, const char *path, bool make, Cache **out) {
  return open_directory(c, a, path, make, false, out);
}

Status cache_open_shared(Ctx *c, Arena *a, const char *path, Cache **out) {
  return open_directory(c, a, path, false, true, out);
}

/* --- reading --- */

static Status damaged(Ctx *c, const char *what) { return fail(c, ST_INVALID, "a cache entry is damaged: %s", what); }

/* Sections follow each other without overlap, so nothing below can reach out of the file. */
static bool bounds_ok(const Header *h, uint64_t size) {
  uint64_t nsum = blocks(h->packed_size);
  if (h->size != size || h->packed_size > size || h->image_size > size || h->image > size || h->packed > size)
    return false;
  if (h->file != sizeof *h || h->sums < h->file || h->sums > h->image ||
      h->nfile > (h->sums - h->file) / sizeof(File) || nsum > (h->image - h->sums) / sizeof(uint64_t))
    return false;
  return h->sums % 8 == 0 && h->image % PROG_ALIGN == 0 && h->packed % PAGE == 0 &&
         h->image + h->image_size <= h->packed && h->packed + h->packed_size == size;
}

static Status check_head(Ctx *c, const uint8_t *base, size_t size) {
  const Header *h = (const Header *)(const void *)base;
  if (size < sizeof *h || memcmp(h->magic, MAGIC, 8))
    return damaged(c, "it is no entry");
  if (h->version != VERSION)
    return fail(c, ST_INVALID, "a cache entry has another format");
  if (!bounds_ok(h, size))
    return damaged(c, "it is cut short, or says so");
  if (h->hash != head_hash(base, h->image))
    return damaged(c, "its head");
  if (h->image_hash != sum_bytes(base + h->image, h->image_size, 0))
    return damaged(c, "the program");
  return ST_OK;
}

static Status read_files(Ctx *c, Arena *a, const uint8_t *base, CacheContent *x) {
  const Header *h = (const Header *)(const void *)base;
  const File *f = (const File *)(const void *)(base + h->file);
  const char *strings = (const char *)(f + h->nfile);
  size_t n = (size_t)((const char *)base + h->sums - strings);
  CacheFile *to = arena_array(a, CacheFile, h->nfile);
  if (!n || strings[n - 1] || h->model >= n || h->about >= n)
    return damaged(c, "its strings");
  for (uint32_t i = 0; i < h->nfile; i++) {
    if (f[i].name >= n || f[i].kind > CACHE_TOOL)
      return damaged(c, "its files");
    to[i] = (CacheFile){f[i].kind, strings + f[i].name, f[i].dev, f[i].ino, f[i].size, f[i].mtime_ns, f[i].ctime_ns};
  }
  x->file = to, x->nfile = h->nfile;
  x->model = strings + h->model, x->about = strings + h->about;
  return ST_OK;
}

static Status read_entry(Ctx *c, Arena *a, const Mapped *m, CacheContent *x) {
  const Header *h = (const Header *)(const void *)m->base;
  TRY(check_head(c, m->base, m->size));
  *x = (CacheContent){.key = {{h->key[0], h->key[1]}},
                      .image = m->base + h->image,
                      .size = h->image_size,
                      .packed = h->packed_size ? m->base + h->packed : NULL,
                      .packed_size = h->packed_size,
                      .written_ns = h->written_ns};
  return read_files(c, a, m->base, x);
}

/* *map NULL: there is no such file. */
static Status map_entry(Ctx *c, Arena *a, const Cache *d, const char *name, Mapped **map) {
  *map = NULL;
  int fd = openat(d->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0 && errno == ENOENT)
    return ST_OK;
  if (fd < 0)
    return fail_errno(c, "open a cache entry", name);
  Status st = check_owner(c, fd, d->shared, "the cache entry", name);
  if (st) {
    close(fd);
    return st;
  }
  TRY(map_fd(c, a, fd, name, map));
  map_huge(*map);
  return ST_OK;
}

static void entry_name(const CacheKey *k, char name[NAME_SIZE]) {
  snprintf(name, NAME_SIZE, "%016llx%016llx.sard", (unsigned long long)k->h[0], (unsigned long long)k->h[1]);
}

Status cache_find(Ctx *c, Arena *a, const Cache *d, const CacheKey *key, Mapped **map, CacheContent *x) {
  char name[NAME_SIZE];
  entry_name(key, name);
  TRY(map_entry(c, a, d, name, map));
  if (!*map)
    return ST_OK;
  Status st = read_entry(c, a, *map, x);
  if (!st && memcmp(&x->key, key, sizeof *key))
    st = damaged(c, "it has another's name");
  if (st) {
    map_close(c, *map);
    *map = NULL;
  } else if (!d->shared) {
    futimens((*map)->fd, NULL); /* its last use, for trim; nothing hangs on it */
  }
  return st;
}

/* --- writing --- */

CacheWrite *cache_prepare(Arena *a, const Cache *d, const CacheContent *x) {
  CacheWrite *w = arena_new(a, CacheWrite);
  StrBuf files, strings;
  buf_init(&files, a);
  buf_init(&strings, a);
  Header h = {
      .magic = MAGIC, .version = VERSION, .nfile = x->nfile, .key = {x->key.h[0], x->key.h[1]}, .file = sizeof h};
  h.model = 0;
  buf_put(&strings, x->model, strlen(x->model) + 1);
  h.about = (uint32_t)strings.len;
  buf_put(&strings, x->about, strlen(x->about) + 1);
  for (uint32_t i = 0; i < x->nfile; i++) {
    const CacheFile *f = &x->file[i];
    File to = {f->kind, (uint32_t)strings.len, f->dev, f->ino, f->size, f->mtime_ns, f->ctime_ns};
    buf_put(&strings, f->name, strlen(f->name) + 1);
    buf_put(&files, (const char *)&to, sizeof to);
  }
  buf_put(&files, strings.text, strings.len);
  while (files.len % 8)
    buf_putc(&files, 0);
  h.sums = h.file + files.len;
  h.image = (h.sums + blocks(x->packed_size) * 8 + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
  h.image_size = x->size;
  h.packed = (h.image + h.image_size + PAGE - 1) / PAGE * PAGE, h.packed_size = x->packed_size;
  h.size = h.packed + h.packed_size;
  uint8_t *head = arena_get(a, h.image, 1, PROG_ALIGN);
  memcpy(head, &h, sizeof h);
  memcpy(head + h.file, files.text, files.len);
  *w = (CacheWrite){d, *x, (Header *)(void *)head, (uint64_t *)(void *)(head + h.sums)};
  return w;
}

static void seal(CacheWrite *w) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  w->head->written_ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
  for (uint64_t i = 0; i < blocks(w->x.packed_size); i++)
    w->sum[i] = block_sum(w->x.packed, w->x.packed_size, i);
  w->head->image_hash = sum_bytes(w->x.image, w->x.size, 0);
  w->head->hash = head_hash((const uint8_t *)w->head, w->head->image);
}

/* A file system that keeps files in folios of what was written at once keeps these in huge pages: products that read weights from
 * memory take 4 to 8 % less time then (Linux 6.18, ext4, Zen 3). */
static Status put(Ctx *c, int fd, const void *data, uint64_t n, uint64_t at) {
  const char *p = data;
  while (n) {
    uint64_t room = CHUNK - at % CHUNK;
    ssize_t k = pwrite(fd, p, n < room ? n : room, (off_t)at);
    if (k < 0 && errno == EINTR)
      continue;
    if (k <= 0)
      return fail_errno(c, "write to the compile cache", NULL);
    p += k, at += (uint64_t)k, n -= (uint64_t)k;
  }
  return ST_OK;
}

static Status put_all(Ctx *c, const CacheWrite *w, int fd) {
  const Header *h = w->head;
  TRY(put(c, fd, h, h->image, 0));
  TRY(put(c, fd, w->x.image, w->x.size, h->image));
  TRY(put(c, fd, w->x.packed, w->x.packed_size, h->packed));
  if (!w->x.packed_size && ftruncate(fd, (off_t)h->size)) /* the padding before nothing */
    return fail_errno(c, "write to the compile cache", NULL);
  return fsync(fd) ? fail_errno(c, "write to the compile cache", NULL) : ST_OK;
}

/* A temporary name says whose it is: "tmp.PID.RANDOM". */
static int make_temporary(const Cache *d, char name[NAME_SIZE]) {
  unsigned long long random = 0;
  if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
    random = (unsigned long long)now_ns();
  snprintf(name, NAME_SIZE, "tmp.%ld.%016llx", (long)getpid(), random);
  int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  struct stat dir;
  if (fd >= 0)
    flock(fd, LOCK_EX | LOCK_NB);
  if (fd >= 0 && !fstat(d->fd, &dir) && dir.st_mode & 044)
    fchmod(fd, 0600 | (dir.st_mode & 044)); /* who may read the directory may read its entries: a cache to be shared */
  return fd;
}

/* Its writer is gone: neither does the process exist, nor does anyone (a process of another container) hold the lock. */
static bool is_abandoned(const Cache *d, const char *name) {
  char *end;
  long pid = strtol(name + 4, &end, 10);
  if (pid <= 0 || *end != '.' || !kill((pid_t)pid, 0) || errno != ESRCH)
    return false;
  int fd = openat(d->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  bool gone = fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB);
  if (fd >= 0)
    close(fd);
  return gone;
}

static DIR *open_listing(const Cache *d) {
  int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (!dir && fd >= 0)
    close(fd);
  return dir;
}

static void remove_abandoned(const Cache *d) {
  DIR *dir = open_listing(d);
  for (struct dirent *e; dir && (e = readdir(dir));)
    if (!strncmp(e->d_name, "tmp.", 4) && is_abandoned(d, e->d_name))
      unlinkat(d->fd, e->d_name, 0);
  if (dir)
    closedir(dir);
}

/* --- keeping within the limit --- */

static bool is_entry(const char *name) {
  return strlen(name) == 37 && strspn(name, "0123456789abcdef") == 32 && !strcmp(name + 32, ".sard");
}

/* Bytes of all entries, and the one but `keep` whose last use is longest ago; oldest "": there is none. */
static uint64_t measure(const Cache *d, const char *keep, char oldest[NAME_SIZE]) {
  DIR *dir = open_listing(d);
  uint64_t all = 0;
  struct timespec when = {0};
  struct stat st;
  *oldest = 0;
  for (struct dirent *e; dir && (e = readdir(dir));) {
    if (!is_entry(e->d_name) || fstatat(d->fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
      continue;
    all += (uint64_t)st.st_size;
    bool older =
        st.st_mtim.tv_sec < when.tv_sec || (st.st_mtim.tv_sec == when.tv_sec && st.st_mtim.tv_nsec < when.tv_nsec);
    if (strcmp(e->d_name, keep) && (!*oldest || older))
      snprintf(oldest, NAME_SIZE, "%s", e->d_name), when = st.st_mtim;
  }
  if (dir)
    closedir(dir);
  return all;
}

/* Whoever has an entry mapped keeps what it has. */
static void trim(const Cache *d, const char *keep) {
  char oldest[NAME_SIZE];
  uint64_t limit = cache_limit();
  while (measure(d, keep, oldest) > limit && *oldest)
    if (unlinkat(d->fd, oldest, 0) && errno != ENOENT)
      return;
}

/* Writing past the limit on file sizes would raise a signal in a process that is not ours. */
static bool over_limit(uint64_t size) {
  struct rlimit l;
  return !getrlimit(RLIMIT_FSIZE, &l) && l.rlim_cur != RLIM_INFINITY && size > l.rlim_cur;
}

Status cache_write(Ctx *c, CacheWrite *w) {
  char name[NAME_SIZE], final[NAME_SIZE];
  if (over_limit(w->head->size))
    return fail(c, ST_IO, "the compile cache's entry is larger than this process may write");
  if (w->head->size > cache_limit())
    return fail(c, ST_IO, "the entry is larger than all of the compile cache may be (SARD_CACHE_SIZE)");
  remove_abandoned(w->d);
  seal(w);
  int fd = make_temporary(w->d, name);
  if (fd < 0)
    return fail_errno(c, "write to the compile cache", w->d->path);
  Status st = put_all(c, w, fd);
  entry_name(&w->x.key, final);
  if (!st && renameat(w->d->fd, name, w->d->fd, final))
    st = fail_errno(c, "write to the compile cache", w->d->path);
  if (st)
    unlinkat(w->d->fd, name, 0);
  else
    fsync(w->d->fd);
  close(fd);
  if (!st)
    trim(w->d, final);
  return st;
}

/* --- all entries --- */

static Status check_blocks(Ctx *c, const Mapped *m, const CacheContent *x) {
  const Header *h = (const Header *)(const void *)m->base;
  const uint64_t *sum = (const uint64_t *)(const void *)(m->base + h->sums);
  for (uint64_t i = 0; i < blocks(x->packed_size); i++) {
    TRY(ctx_poll(c));
    if (sum[i] != block_sum(x->packed, x->packed_size, i))
      return fail(c, ST_INVALID, "packed weights are damaged, at byte %llu or behind",
                  (unsigned long long)(h->packed + i * BLOCK));
  }
  return ST_OK;
}

typedef struct Look {
  const Cache *d;
  const char *name;
  bool all;
  Status (*fn)(void *arg, const CacheInfo *x);
  void *arg;
} Look;

static Status look(Ctx *c, void *arg) {
  Look *l = arg;
  Mapped *m;
  CacheContent x = {.model = "", .about = ""};
  Arena *a = arena_create(c);
  Status st = map_entry(c, a, l->d, l->name, &m);
  if (!st && m)
    st = read_entry(c, a, m, &x);
  if (!st && m && l->all)
    st = check_blocks(c, m, &x);
  if (st == ST_CANCELLED || st == ST_TIMEOUT)
    return st;
  CacheInfo info = {.name = l->name,
                    .bytes = m ? m->size : 0,
                    .model = x.model ? x.model : "",
                    .about = x.about ? x.about : "",
                    .written_ns = x.written_ns,
                    .problem = st ? c->err.message : NULL};
  st = st || m ? l->fn(l->arg, &info) : ST_OK; /* gone by now: another process replaced or cleared it */
  if (m)
    map_close(c, m);
  arena_destroy(a);
  return st;
}

Status cache_each(Ctx *c, const Cache *d, bool all, Status (*fn)(void *arg, const CacheInfo *x), void *arg) {
  DIR *dir = open_listing(d);
  if (!dir)
    return fail_errno(c, "list the compile cache", d->path);
  Status st = ST_OK;
  for (struct dirent *e; !st && (e = readdir(dir));)
    if (is_entry(e->d_name))
      st = ctx_protect(c, look, &(Look){d, e->d_name, all, fn, arg});
  closedir(dir);
  return st;
}

Status cache_clear(Ctx *c, const Cache *d, uint32_t *entries, uint64_t *bytes) {
  DIR *dir = open_listing(d);
  struct stat s;
  Status st = ST_OK;
  *entries = 0, *bytes = 0;
  if (!dir)
    return fail_errno(c, "list the compile cache", d->path);
  for (struct dirent *e; !st && (e = readdir(dir));) {
    bool entry = is_entry(e->d_name);
    if (!entry && (strncmp(e->d_name, "tmp.", 4) || !is_abandoned(d, e->d_name)))
      continue;
    bool known = !fstatat(d->fd, e->d_name, &s, AT_SYMLINK_NOFOLLOW);
    if (unlinkat(d->fd, e->d_name, 0) && errno != ENOENT)
      st = fail_errno(c, "remove a cache entry", e->d_name);
    else if (entry)
      ++*entries, *bytes += known ? (uint64_t)s.st_size : 0;
  }
  closedir(dir);
  return st;
}
