/* object.c - the loader: ELF64 little-endian relocatable objects of this machine. Sections with code come first in the
 * mapping, constants start on the next page. Every offset, count and index is checked before use.
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

typedef struct Function {
  const char *name;
  size_t offset, size;
} Function;

struct RtCode {
  uint8_t *base;
  size_t size;
  Function *fn;
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
  RtCode *code;
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

static const RelocRow *find_reloc(uint32_t type) {
  for (size_t i = 0; i < countof(relocs); i++)
    if (relocs[i].machine == MACHINE && relocs[i].type == type)
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
  if (h.e_machine != MACHINE)
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
  const RelocRow *row = find_reloc(type);
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
  uint64_t base = (uint64_t)(uintptr_t)l->code->base;
  uint64_t target = base + l->sec[s.st_shndx].at + s.st_value + (uint64_t)r->r_addend;
  return patch(row, l->code->base + in->at + r->r_offset, base + in->at + r->r_offset, target)
             ? ST_OK
             : bad(l, "a relocation out of reach");
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
  RtCode *code = l->code;
  code->fn = arena_array(l->a, Function, l->symtab ? l->nsym : 0);
  for (size_t i = 0; l->symtab && i < l->nsym; i++) {
    Elf64_Sym s = symbol(l, i);
    if (ELF64_ST_TYPE(s.st_info) != STT_FUNC) /* inner kernels, which are local, have names too: perf shows them */
      continue;
    const char *name = symbol_name(l, &s);
    if (!name || s.st_shndx >= l->nsec || !l->sec[s.st_shndx].loaded || !executable(&l->sec[s.st_shndx]) ||
        s.st_value >= l->sec[s.st_shndx].h.sh_size)
      return bad(l, "a function outside of the code");
    code->fn[code->nfn++] = (Function){arena_strdup(l->a, name), l->sec[s.st_shndx].at + s.st_value, s.st_size};
  }
  return ST_OK;
}

/* --- loading --- */

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

static Status map(Loader *l, size_t size) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    return fail(l->c, ST_MEMORY, "no memory for %zu bytes of machine code", size);
  l->code->base = p, l->code->size = size;
  ctx_on_failure(l->code->c, &l->code->cleanup, release, l->code);
  return ST_OK;
}

static Status protect(Loader *l, size_t code) {
  uint8_t *p = l->code->base;
  if ((code && mprotect(p, code, PROT_READ | PROT_EXEC)) ||
      (l->code->size > code && mprotect(p + code, l->code->size - code, PROT_READ)))
    return err_hint(l->c, fail_errno(l->c, "making machine code executable", NULL),
                    "the system may forbid code made at run time; --device reference needs none");
  __builtin___clear_cache((char *)p, (char *)p + code);
  return ST_OK;
}

static Status fill(Loader *l) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), code = 0, end;
  TRY(place(l, true, &code));
  code = (code + page - 1) & ~(page - 1);
  end = code;
  TRY(place(l, false, &end));
  end = (end + page - 1) & ~(page - 1);
  TRY(map(l, end ? end : page));
  for (uint32_t i = 0; i < l->nsec; i++)
    if (l->sec[i].loaded)
      memcpy(l->code->base + l->sec[i].at, l->bytes + l->sec[i].h.sh_offset, l->sec[i].h.sh_size);
  TRY(relocate(l));
  TRY(functions(l));
  return protect(l, code);
}

Status object_load(Ctx *c, Arena *a, const uint8_t *bytes, size_t size, RtCode **out) {
  Loader l = {.c = c, .a = a, .bytes = bytes, .size = size};
  TRY(read_header(&l));
  for (uint32_t i = 0; i < l.nsec; i++)
    TRY(check_section(&l, i));
  l.code = arena_new(a, RtCode);
  l.code->c = arena_ctx(a);
  Status st = fill(&l);
  if (st)
    object_unload(l.code);
  else
    *out = l.code;
  return st;
}

KernelFn object_symbol(const RtCode *code, const char *name) {
  for (uint32_t i = 0; i < code->nfn; i++)
    if (!strcmp(code->fn[i].name, name)) {
      union {
        void *p;
        KernelFn fn;
      } u = {.p = code->base + code->fn[i].offset};
      return u.fn;
    }
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
