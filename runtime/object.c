/* object.c - the loader: ELF64 little-endian relocatable objects. Sections with code come first in what is laid out, constants
 * start on the next page. All relocations are relative, so the bytes are the same at every address that is a multiple of
 * OBJECT_PAGE: they are made once, then mapped here, or kept by ahead-of-time output. Every offset, count and index is
 * checked before use.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/object.h"

#include "support/checked.h"
#include "support/str.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_SECTIONS = 4096, MAX_SYMBOLS = 1 << 20 };
static const size_t MAX_BYTES = (size_t)1 << 30; /* within reach of 32-bit displacements */

struct RtCode {
  uint8_t *base;
  size_t size;
  const CodeFunction *fn;
  uint32_t nfn;
  Ctx *c;
  Cleanup cleanup;
};

typedef struct Section {
  Elf64_Shdr h;
  bool loaded;
  size_t at; /* in the mapping */
} Section;

typedef struct Loader {
  Ctx *c;
  Arena *a;
  const uint8_t *bytes;
  size_t size;
  Section *sec;
  uint32_t nsec;
  uint32_t symtab; /* section index, 0: none */
  size_t nsym;
  uint16_t machine;
  uint32_t number;
  CodeImage *out;
} Loader;

static Status bad(Loader *l, const char *what) { return fail(l->c, ST_INVALID, "damaged machine code: %s", what); }

static bool inside(const Loader *l, uint64_t at, uint64_t n) { return at <= l->size && n <= l->size - at; }

/* --- relocations: what our code generator emits, by machine --- */

typedef enum {
  FIELD_32,       /* 32 bits, relative to the place */
  FIELD_BRANCH26, /* A64 b, bl: words */
  FIELD_PAGE21,   /* A64 adrp: 4 KiB pages */
  FIELD_LOW12,    /* A64 add, ldr, str: the low 12 bits of the address, in units of 1 << scale */
} Field;

typedef struct RelocRow {
  uint16_t machine;
  uint32_t type;
  uint8_t field, scale;
} RelocRow;

static const RelocRow relocs[] = {
    {EM_X86_64, R_X86_64_PC32, FIELD_32, 0},
    {EM_X86_64, R_X86_64_PLT32, FIELD_32, 0},
    {EM_AARCH64, R_AARCH64_PREL32, FIELD_32, 0},
    {EM_AARCH64, R_AARCH64_CALL26, FIELD_BRANCH26, 0},
    {EM_AARCH64, R_AARCH64_JUMP26, FIELD_BRANCH26, 0},
    {EM_AARCH64, R_AARCH64_ADR_PREL_PG_HI21, FIELD_PAGE21, 0},
    {EM_AARCH64, R_AARCH64_ADD_ABS_LO12_NC, FIELD_LOW12, 0},
    {EM_AARCH64, R_AARCH64_LDST8_ABS_LO12_NC, FIELD_LOW12, 0},
    {EM_AARCH64, R_AARCH64_LDST16_ABS_LO12_NC, FIELD_LOW12, 1},
    {EM_AARCH64, R_AARCH64_LDST32_ABS_LO12_NC, FIELD_LOW12, 2},
    {EM_AARCH64, R_AARCH64_LDST64_ABS_LO12_NC, FIELD_LOW12, 3},
    {EM_AARCH64, R_AARCH64_LDST128_ABS_LO12_NC, FIELD_LOW12, 4},
};

#if defined(__aarch64__)
enum { MACHINE = EM_AARCH64 };
#else
enum { MACHINE = EM_X86_64 };
#endif

uint16_t object_machine(void) { return MACHINE; }

static const RelocRow *find_reloc(uint16_t machine, uint32_t type) {
  for (size_t i = 0; i < countof(relocs); i++)
    if (relocs[i].machine == machine && relocs[i].type == type)
      return &relocs[i];
  return NULL;
}

/* Writes the field at p (which will run at address `place`) so that it reaches `target`. False: out of reach. */
static bool patch(const RelocRow *row, uint8_t *p, uint64_t place, uint64_t target) {
  int64_t d = (int64_t)(target - place);
  uint32_t w;
  memcpy(&w, p, 4);
  switch (row->field) {
  case FIELD_32:
    if (d != (int32_t)d)
      return false;
    w = (uint32_t)d;
    break;
  case FIELD_BRANCH26:
    if (d % 4 || d < -(1 << 27) || d >= 1 << 27)
      return false;
    w = (w & 0xfc000000u) | ((uint32_t)(d / 4) & 0x03ffffffu);
    break;
  case FIELD_PAGE21:
    d = (int64_t)(target >> 12) - (int64_t)(place >> 12);
    if (d < -(1 << 20) || d >= 1 << 20)
      return false;
    w = (w & 0x9f00001fu) | ((uint32_t)d & 3) << 29 | ((uint32_t)(d >> 2) & 0x7ffffu) << 5;
    break;
  default:
    if (target & ((1u << row->scale) - 1))
      return false;
    w = (w & 0xffc003ffu) | ((uint32_t)(target & 0xfff) >> row->scale) << 10;
  }
  memcpy(p, &w, 4);
  return true;
}

/* --- reading --- */

static Status read_header(Loader *l) {
  Elf64_Ehdr h;
  if (l->size < sizeof h)
    return bad(l, "too short");
  memcpy(&h, l->bytes, sizeof h);
  if (memcmp(h.e_ident, ELFMAG, SELFMAG) || h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB ||
      h.e_type != ET_REL)
    return bad(l, "not a relocatable object");
  if (h.e_machine != l->machine)
    return fail(l->c, ST_UNSUPPORTED, "machine code for another kind of machine (ELF %u)", h.e_machine);
  if (h.e_shentsize != sizeof(Elf64_Shdr) || !h.e_shnum || h.e_shnum > MAX_SECTIONS ||
      !inside(l, h.e_shoff, (uint64_t)h.e_shnum * sizeof(Elf64_Shdr)))
    return bad(l, "section table");
  l->nsec = h.e_shnum;
  l->sec = arena_array(l->a, Section, l->nsec);
  for (uint32_t i = 0; i < l->nsec; i++)
    memcpy(&l->sec[i].h, l->bytes + h.e_shoff + i * sizeof(Elf64_Shdr), sizeof(Elf64_Shdr));
  return ST_OK;
}

/* Loads what has bytes in memory; symbol and relocation tables are read, the rest is passed over. */
static Status check_section(Loader *l, uint32_t i) {
  Section *s = &l->sec[i];
  const Elf64_Shdr *h = &s->h;
  if (i && h->sh_type != SHT_NULL && h->sh_type != SHT_NOBITS && !inside(l, h->sh_offset, h->sh_size))
    return bad(l, "a section that ends behind the file");
  if (h->sh_type == SHT_SYMTAB) {
    if (l->symtab || h->sh_entsize != sizeof(Elf64_Sym) || h->sh_link >= l->nsec ||
        l->sec[h->sh_link].h.sh_type != SHT_STRTAB)
      return bad(l, "symbol table");
    l->symtab = i, l->nsym = h->sh_size / sizeof(Elf64_Sym);
    return l->nsym <= MAX_SYMBOLS ? ST_OK : bad(l, "too many symbols");
  }
  if (!(h->sh_flags & SHF_ALLOC) || !h->sh_size)
    return ST_OK;
  if (h->sh_type != SHT_PROGBITS || h->sh_flags & (SHF_WRITE | SHF_TLS | SHF_COMPRESSED))
    return fail(l->c, ST_UNSUPPORTED, "machine code with data that is not constant");
  if (h->sh_addralign > 4096 || (h->sh_addralign & (h->sh_addralign - 1)))
    return bad(l, "alignment of a section");
  s->loaded = true;
  return ST_OK;
}

static bool executable(const Section *s) { return s->h.sh_flags & SHF_EXECINSTR; }

/* Places of the loaded sections of one kind, from *at on. */
static Status place(Loader *l, bool code, size_t *at) {
  for (uint32_t i = 0; i < l->nsec; i++) {
    Section *s = &l->sec[i];
    if (!s->loaded || executable(s) != code)
      continue;
    size_t align = s->h.sh_addralign > 16 ? s->h.sh_addralign : 16;
    s->at = (*at + align - 1) & ~(align - 1);
    *at = s->at + s->h.sh_size; /* no overflow: each is smaller than the file, and the sum is bounded here */
    if (*at > MAX_BYTES)
      return bad(l, "too large");
  }
  return ST_OK;
}

static Elf64_Sym symbol(const Loader *l, size_t i) {
  Elf64_Sym s;
  memcpy(&s, l->bytes + l->sec[l->symtab].h.sh_offset + i * sizeof s, sizeof s);
  return s;
}

/* The name, or NULL when it does not end inside the string table. */
static const char *symbol_name(const Loader *l, const Elf64_Sym *s) {
  const Elf64_Shdr *t = &l->sec[l->sec[l->symtab].h.sh_link].h;
  if (s->st_name >= t->sh_size || !memchr(l->bytes + t->sh_offset + s->st_name, 0, t->sh_size - s->st_name))
    return NULL;
  return (const char *)l->bytes + t->sh_offset + s->st_name;
}

static Status relocate_one(Loader *l, const Section *in, const Elf64_Rela *r) {
  uint32_t type = (uint32_t)ELF64_R_TYPE(r->r_info);
  uint64_t number = ELF64_R_SYM(r->r_info);
  const RelocRow *row = find_reloc(l->machine, type);
  if (!row)
    return fail(l->c, ST_UNSUPPORTED, "machine code with relocation type %u", type);
  if (r->r_offset > in->h.sh_size || in->h.sh_size - r->r_offset < 4)
    return bad(l, "a relocation outside of its section");
  if (!l->symtab || number >= l->nsym)
    return bad(l, "a relocation without a symbol");
  Elf64_Sym s = symbol(l, number);
  if (s.st_shndx == SHN_UNDEF) {
    const char *name = symbol_name(l, &s);
    return fail(l->c, ST_UNSUPPORTED, "machine code that imports '%s'", name ? name : "");
  }
  if (s.st_shndx >= l->nsec || !l->sec[s.st_shndx].loaded || s.st_value > l->sec[s.st_shndx].h.sh_size)
    return bad(l, "a symbol outside of what is loaded");
  uint64_t target = l->sec[s.st_shndx].at + s.st_value + (uint64_t)r->r_addend, place = in->at + r->r_offset;
  return patch(row, l->out->bytes + place, place, target) ? ST_OK : bad(l, "a relocation out of reach");
}

static Status relocate(Loader *l) {
  for (uint32_t i = 0; i < l->nsec; i++) {
    const Elf64_Shdr *h = &l->sec[i].h;
    if (h->sh_type == SHT_REL)
      return fail(l->c, ST_UNSUPPORTED, "machine code with relocations without addends");
    if (h->sh_type != SHT_RELA)
      continue;
    if (h->sh_info >= l->nsec || h->sh_entsize != sizeof(Elf64_Rela))
      return bad(l, "relocation table");
    if (!l->sec[h->sh_info].loaded)
      continue;
    if (h->sh_link != l->symtab)
      return bad(l, "relocation table");
    for (uint64_t k = 0; k < h->sh_size / sizeof(Elf64_Rela); k++) {
      Elf64_Rela r;
      memcpy(&r, l->bytes + h->sh_offset + k * sizeof r, sizeof r);
      TRY(relocate_one(l, &l->sec[h->sh_info], &r));
    }
  }
  return ST_OK;
}

static Status functions(Loader *l) {
  for (size_t i = 0; l->symtab && i < l->nsym; i++) {
    Elf64_Sym s = symbol(l, i);
    if (ELF64_ST_TYPE(s.st_info) != STT_FUNC) /* inner kernels, which are local, have names too: perf shows them */
      continue;
    const char *name = symbol_name(l, &s);
    if (!name || s.st_shndx >= l->nsec || !l->sec[s.st_shndx].loaded || !executable(&l->sec[s.st_shndx]) ||
        s.st_value >= l->sec[s.st_shndx].h.sh_size)
      return bad(l, "a function outside of the code");
    l->out->fn[l->out->nfn++] =
        (CodeFunction){arena_strdup(l->a, name), l->sec[s.st_shndx].at + s.st_value, (size_t)s.st_size, l->number};
  }
  return ST_OK;
}

static size_t page_up(size_t n) { return (n + OBJECT_PAGE - 1) / OBJECT_PAGE * OBJECT_PAGE; }

static Status lay_out(Loader *l, uint32_t n, CodeImage *out) {
  size_t at = 0, nfn = 0;
  for (uint32_t i = 0; i < n; i++)
    TRY(place(&l[i], true, &at));
  out->code = at = page_up(at);
  for (uint32_t i = 0; i < n; i++) {
    TRY(place(&l[i], false, &at));
    nfn += l[i].symtab ? l[i].nsym : 0;
  }
  out->size = page_up(at ? at : 1);
  out->bytes = arena_get(l->a, out->size, 1, OBJECT_PAGE);
  out->fn = arena_array(l->a, CodeFunction, nfn);
  return ST_OK;
}

Status object_link(Ctx *c, Arena *a, const CodeObject *object, uint32_t n, uint16_t machine, CodeImage *out) {
  Loader *l = arena_array(a, Loader, n + 1u);
  *out = (CodeImage){0};
  l->a = a;
  for (uint32_t i = 0; i < n; i++) {
    l[i] = (Loader){
        .c = c, .a = a, .bytes = object[i].bytes, .size = object[i].size, .machine = machine, .number = i, .out = out};
    TRY(read_header(&l[i]));
    for (uint32_t k = 0; k < l[i].nsec; k++)
      TRY(check_section(&l[i], k));
  }
  TRY(lay_out(l, n, out));
  for (uint32_t i = 0; i < n; i++) {
    for (uint32_t k = 0; k < l[i].nsec; k++)
      if (l[i].sec[k].loaded)
        memcpy(out->bytes + l[i].sec[k].at, l[i].bytes + l[i].sec[k].h.sh_offset, l[i].sec[k].h.sh_size);
    TRY(relocate(&l[i]));
    TRY(functions(&l[i]));
  }
  return ST_OK;
}

/* --- mapping --- */

void object_unload(RtCode *code) {
  if (!code || !code->base)
    return;
  ctx_forget(code->c, &code->cleanup);
  munmap(code->base, code->size);
  code->base = NULL;
}

static void release(void *arg) {
  RtCode *code = arg;
  if (code->base)
    munmap(code->base, code->size);
  code->base = NULL;
}

/* Where pages are larger than OBJECT_PAGE, constants that share one with code may be executed too. */
static Status protect(RtCode *m, size_t code) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  code = (code + page - 1) / page * page;
  if ((code && mprotect(m->base, code, PROT_READ | PROT_EXEC)) ||
      (m->size > code && mprotect(m->base + code, m->size - code, PROT_READ)))
    return err_hint(m->c, fail_errno(m->c, "making machine code executable", NULL),
                    "the system may forbid code made at run time; --device reference needs none");
  __builtin___clear_cache((char *)m->base, (char *)m->base + code);
  return ST_OK;
}

Status object_map(Ctx *c, Arena *a, const CodeImage *from, RtCode **out) {
  RtCode *m = arena_new(a, RtCode);
  size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (from->size + page - 1) / page * page;
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    return fail(c, ST_MEMORY, "no memory for %zu bytes of machine code", size);
  *m = (RtCode){.base = p, .size = size, .fn = from->fn, .nfn = from->nfn, .c = arena_ctx(a)};
  ctx_on_failure(m->c, &m->cleanup, release, m);
  memcpy(p, from->bytes, from->size);
  Status st = protect(m, from->code);
  if (st)
    object_unload(m);
  else
    *out = m;
  return st;
}

Status object_load(Ctx *c, Arena *a, const uint8_t *bytes, size_t size, RtCode **out) {
  CodeImage image;
  Arena *scratch = arena_create(c);
  TRY(object_link(c, scratch, &(CodeObject){bytes, size}, 1, MACHINE, &image));
  CodeFunction *fn = arena_array(a, CodeFunction, image.nfn);
  for (uint32_t i = 0; i < image.nfn; i++)
    fn[i] = image.fn[i], fn[i].name = arena_strdup(a, image.fn[i].name);
  image.fn = fn;
  TRY(object_map(c, a, &image, out));
  arena_destroy(scratch);
  return ST_OK;
}

/* --- use --- */

KernelFn object_at(const uint8_t *base, uint64_t offset) {
  union {
    uintptr_t address;
    KernelFn fn;
  } u = {.address = (uintptr_t)base + offset};
  return u.fn;
}

const uint8_t *object_base(const RtCode *code) { return code->base; }

KernelFn object_symbol(const RtCode *code, const char *name) {
  for (uint32_t i = 0; i < code->nfn; i++)
    if (!strcmp(code->fn[i].name, name))
      return object_at(code->base, code->fn[i].offset);
  return NULL;
}

size_t object_bytes(const RtCode *code) { return code->size; }

Status object_perf_map(Ctx *c, const RtCode *code, const char *dir) {
  char path[512];
  if ((size_t)snprintf(path, sizeof path, "%s/perf-%d.map", dir, (int)getpid()) >= sizeof path)
    return fail(c, ST_USAGE, "the name of the directory for the perf map is too long");
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0)
    return fail_errno(c, "writing the perf map", path);
  Status st = ST_OK;
  for (uint32_t i = 0; i < code->nfn && !st; i++)
    if (dprintf(fd, "%zx %zx sard:%s\n", (size_t)(uintptr_t)code->base + code->fn[i].offset, code->fn[i].size,
                code->fn[i].name) < 0)
      st = fail_errno(c, "writing the perf map", path);
  close(fd);
  return st;
}
