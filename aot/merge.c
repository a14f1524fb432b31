/* merge.c - marks what can be reached from the exports, then writes it out. Sections are not merged with each other: the
 * linker that makes a program or library of the object does that.
 * SPDX-License-Identifier: Apache-2.0 */
#include "aot/merge.h"

#include <ar.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

/* An object of the archive. */
typedef struct Member {
  const uint8_t *bytes;
  size_t size;
  Elf64_Ehdr h;
  const Elf64_Shdr *sec;
  const Elf64_Sym *sym;
  size_t nsym;
  const char *names; /* of symbols */
  size_t names_size;
  uint32_t *place;  /* by section: number in the output; 0: not there (yet) */
  uint32_t *number; /* by symbol: number in the output's table; 0: not there */
} Member;

/* Where a name is defined: in a member, or (member NULL) among the caller's symbols. */
typedef struct Definition {
  Member *member;
  uint32_t symbol;
} Definition;

typedef struct Live {
  Member *member;
  uint32_t section;
} Live;

typedef struct Merger {
  Ctx *c;
  Arena *a;
  const MergeInput *in;
  Member *member;
  uint32_t nmember;
  Map defined; /* name -> Definition */
  Map imports; /* name -> number + 1 */
  StrBuf live; /* Live, in the order found */
  uint32_t nlive;
  StrBuf import_names;
  uint32_t nimport;
  uint32_t flags; /* e_flags of the members: the ABI */
  /* output */
  StrBuf body, symbols, globals, names, section_names, headers;
  uint32_t nlocal, nheader;
} Merger;

static Status bad(Merger *m, const char *what) {
  return fail(m->c, ST_INVALID, "the runtime archive is damaged: %s", what);
}

/* --- reading the archive --- */

static const char *symbol_name(const Member *x, const Elf64_Sym *s) {
  return s->st_name < x->names_size ? x->names + s->st_name : "";
}

static bool in_section(const Elf64_Sym *s) { return s->st_shndx != SHN_UNDEF && s->st_shndx < SHN_LORESERVE; }

static Status read_symbols(Merger *m, Member *x, const Elf64_Shdr *table) {
  const Elf64_Shdr *names = &x->sec[table->sh_link < x->h.e_shnum ? table->sh_link : 0];
  x->sym = (const Elf64_Sym *)(const void *)(x->bytes + table->sh_offset), x->nsym = table->sh_size / sizeof *x->sym;
  x->names = (const char *)x->bytes + names->sh_offset, x->names_size = names->sh_size;
  if (!x->names_size || x->names[x->names_size - 1])
    return bad(m, "names");
  for (uint32_t i = 0; i < x->nsym; i++) {
    const Elf64_Sym *s = &x->sym[i];
    if (in_section(s) && s->st_shndx >= x->h.e_shnum)
      return bad(m, "symbols");
    if (ELF64_ST_BIND(s->st_info) == STB_LOCAL || !in_section(s) || map_get(&m->defined, symbol_name(x, s)))
      continue;
    Definition *d = arena_new(m->a, Definition);
    *d = (Definition){x, i};
    map_put(&m->defined, symbol_name(x, s), d);
  }
  return ST_OK;
}

static Status read_member(Merger *m, Member *x) {
  memcpy(&x->h, x->bytes, x->size < sizeof x->h ? 0 : sizeof x->h);
  if (x->h.e_type != ET_REL || x->h.e_machine != m->in->machine || x->h.e_shentsize != sizeof *x->sec ||
      x->h.e_shoff > x->size || x->h.e_shnum > (x->size - x->h.e_shoff) / sizeof *x->sec)
    return bad(m, "a member is no object of the target");
  m->flags = x->h.e_flags;
  x->sec = (const Elf64_Shdr *)(const void *)(x->bytes + x->h.e_shoff);
  for (uint32_t i = 0; i < x->h.e_shnum; i++)
    if (x->sec[i].sh_type != SHT_NOBITS && x->sec[i].sh_type != SHT_NULL &&
        (x->sec[i].sh_offset > x->size || x->sec[i].sh_size > x->size - x->sec[i].sh_offset))
      return bad(m, "a section");
  for (uint32_t i = 0; i < x->h.e_shnum; i++)
    if (x->sec[i].sh_type == SHT_SYMTAB)
      TRY(read_symbols(m, x, &x->sec[i]));
  x->place = arena_array(m->a, uint32_t, x->h.e_shnum + 1u);
  x->number = arena_array(m->a, uint32_t, x->nsym + 1u);
  return ST_OK;
}

/* Calls fn for every object; fn may be NULL, to count them. */
static Status each_member(Merger *m, Status (*fn)(Merger *m, Member *x), uint32_t *n) {
  const uint8_t *b = m->in->archive;
  size_t size = m->in->archive_size;
  struct ar_hdr h;
  *n = 0;
  if (size < SARMAG || memcmp(b, ARMAG, SARMAG))
    return bad(m, "it is none");
  for (size_t at = SARMAG; at < size;) {
    char digits[sizeof h.ar_size + 1] = "";
    if (size - at < sizeof h)
      return bad(m, "it is cut short");
    memcpy(&h, b + at, sizeof h);
    memcpy(digits, h.ar_size, sizeof h.ar_size);
    size_t bytes = strtoull(digits, NULL, 10);
    at += sizeof h;
    if (memcmp(h.ar_fmag, ARFMAG, 2) || bytes > size - at)
      return bad(m, "it is cut short");
    if (bytes > SELFMAG && !memcmp(b + at, ELFMAG, SELFMAG)) { /* not a table of names */
      if (fn) {
        Member *x = &m->member[*n];
        uint8_t *copy = arena_get(m->a, bytes, 1, 16);
        x->bytes = memcpy(copy, b + at, bytes), x->size = bytes;
        TRY(fn(m, x));
      }
      ++*n;
    }
    at += bytes + bytes % 2;
  }
  return ST_OK;
}

/* --- marking --- */

/* Code and data that are in memory at run time; not debugging information, nor groups, whose members stand for themselves. */
static void mark_section(Merger *m, Member *x, uint32_t section) {
  if (x->place[section] || !(x->sec[section].sh_flags & SHF_ALLOC))
    return;
  Live l = {x, section};
  buf_put(&m->live, (const char *)&l, sizeof l);
  x->place[section] = 1 + m->in->nsection + m->nlive++;
}

static void mark_name(Merger *m, const char *name) {
  const Definition *d = map_get(&m->defined, name);
  if (d && d->member)
    mark_section(m, d->member, d->member->sym[d->symbol].st_shndx);
  if (d || map_get(&m->imports, name))
    return;
  buf_put(&m->import_names, (const char *)&name, sizeof name);
  map_put(&m->imports, name, (void *)(uintptr_t)++m->nimport);
}

static void mark_symbol(Merger *m, Member *x, uint32_t i) {
  const Elf64_Sym *s = &x->sym[i];
  if (in_section(s) && ELF64_ST_BIND(s->st_info) == STB_LOCAL)
    mark_section(m, x, s->st_shndx);
  else if (i && s->st_shndx != SHN_ABS)
    mark_name(m, symbol_name(x, s));
}

static bool relocates(const Member *x, uint32_t rela, uint32_t section) {
  return x->sec[rela].sh_type == SHT_RELA && x->sec[rela].sh_info == section;
}

static Status mark_all(Merger *m) {
  for (uint32_t i = 0; i < m->in->nexport; i++) {
    if (!map_get(&m->defined, m->in->export[i].from))
      return fail(m->c, ST_INTERNAL, "the runtime archive has no '%s'", m->in->export[i].from);
    mark_name(m, m->in->export[i].from);
  }
  for (uint32_t i = 0; i < m->in->naddress; i++)
    mark_name(m, m->in->address[i].symbol);
  for (uint32_t i = 0; i < m->nlive; i++) {
    Live l = ((const Live *)(const void *)m->live.text)[i];
    for (uint32_t r = 1; r < l.member->h.e_shnum; r++) {
      if (!relocates(l.member, r, l.section))
        continue;
      const Elf64_Rela *rela = (const Elf64_Rela *)(const void *)(l.member->bytes + l.member->sec[r].sh_offset);
      for (size_t k = 0; k < l.member->sec[r].sh_size / sizeof *rela; k++) {
        if (ELF64_R_SYM(rela[k].r_info) >= l.member->nsym)
          return bad(m, "relocations");
        mark_symbol(m, l.member, (uint32_t)ELF64_R_SYM(rela[k].r_info));
      }
    }
  }
  return ST_OK;
}

/* --- the symbol table: locals first, as the format wants --- */

static uint32_t put_name(StrBuf *b, const char *name) {
  uint32_t at = (uint32_t)b->len;
  buf_put(b, name, strlen(name) + 1);
  return *name ? at : 0;
}

static uint32_t put_local(Merger *m, const Elf64_Sym *s, const char *name, uint32_t section) {
  Elf64_Sym out = *s;
  out.st_name = put_name(&m->names, name);
  out.st_info = ELF64_ST_INFO(STB_LOCAL, ELF64_ST_TYPE(s->st_info));
  out.st_other = STV_DEFAULT;
  out.st_shndx = (uint16_t)section;
  buf_put(&m->symbols, (const char *)&out, sizeof out);
  return m->nlocal++;
}

/* Every symbol of a member that lies in a live section, or is absolute. */
static void put_locals(Merger *m) {
  for (uint32_t k = 0; k < m->nmember; k++) {
    Member *x = &m->member[k];
    for (uint32_t i = 1; i < x->nsym; i++) {
      const Elf64_Sym *s = &x->sym[i];
      uint32_t place = in_section(s) ? x->place[s->st_shndx] : s->st_shndx == SHN_ABS ? SHN_ABS : 0;
      if (place && ELF64_ST_TYPE(s->st_info) != STT_FILE)
        x->number[i] = put_local(m, s, symbol_name(x, s), place);
    }
  }
}

static uint32_t put_global(Merger *m, const Elf64_Sym *s, const char *name) {
  Elf64_Sym out = *s;
  out.st_name = put_name(&m->names, name);
  buf_put(&m->globals, (const char *)&out, sizeof out);
  return m->nlocal + (uint32_t)(m->globals.len / sizeof out) - 1;
}

/* Numbers of imports in the table follow those of the exports. */
static void put_globals(Merger *m) {
  for (uint32_t i = 0; i < m->in->nexport; i++) {
    const Definition *d = map_get(&m->defined, m->in->export[i].from);
    Elf64_Sym s = d->member->sym[d->symbol];
    s.st_info = ELF64_ST_INFO(STB_GLOBAL, ELF64_ST_TYPE(s.st_info));
    s.st_other = STV_DEFAULT, s.st_shndx = (uint16_t)d->member->place[s.st_shndx];
    put_global(m, &s, m->in->export[i].to);
  }
  for (uint32_t i = 0; i < m->nimport; i++)
    put_global(m, &(Elf64_Sym){.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE)},
               ((const char *const *)(const void *)m->import_names.text)[i]);
}

static uint32_t number_of_name(const Merger *m, const uint32_t *own, const char *name) {
  const Definition *d = map_get(&m->defined, name);
  if (d)
    return d->member ? d->member->number[d->symbol] : own[d->symbol];
  return m->nlocal + m->in->nexport + (uint32_t)(uintptr_t)map_get(&m->imports, name) - 1;
}

static uint32_t number_of_symbol(const Merger *m, const uint32_t *own, const Member *x, uint32_t i) {
  if (x->number[i] || !i)
    return x->number[i];
  return number_of_name(m, own, symbol_name(x, &x->sym[i]));
}

/* --- writing --- */

static void pad(StrBuf *b, uint64_t align) {
  while (align && b->len % align)
    buf_putc(b, 0);
}

static void put_header(Merger *m, const char *name, Elf64_Shdr h) {
  h.sh_name = put_name(&m->section_names, name);
  buf_put(&m->headers, (const char *)&h, sizeof h);
  m->nheader++;
}

static const char *section_name(const Member *x, uint32_t i) {
  const Elf64_Shdr *names = &x->sec[x->h.e_shstrndx < x->h.e_shnum ? x->h.e_shstrndx : 0];
  return x->sec[i].sh_name < names->sh_size ? (const char *)x->bytes + names->sh_offset + x->sec[i].sh_name : "";
}

static void put_own_sections(Merger *m, MergeOutput *out) {
  for (uint32_t i = 0; i < m->in->nsection; i++) {
    const MergeSection *s = &m->in->section[i];
    Elf64_Shdr h = {.sh_type = SHT_PROGBITS, .sh_flags = s->flags, .sh_addralign = s->align, .sh_size = s->size};
    if (s->bytes || !s->size) {
      pad(&m->body, s->align);
      h.sh_offset = m->body.len;
      buf_put(&m->body, (const char *)s->bytes, s->size);
    } else {
      out->hole_size = s->size; /* its place is known in the end */
    }
    put_header(m, s->name, h);
  }
}

static void put_live_sections(Merger *m) {
  for (uint32_t i = 0; i < m->nlive; i++) {
    Live l = ((const Live *)(const void *)m->live.text)[i];
    Elf64_Shdr h = l.member->sec[l.section];
    h.sh_flags &= ~(uint64_t)SHF_GROUP;
    h.sh_link = h.sh_info = 0;
    pad(&m->body, h.sh_addralign);
    uint64_t at = m->body.len;
    if (h.sh_type != SHT_NOBITS)
      buf_put(&m->body, (const char *)l.member->bytes + h.sh_offset, h.sh_size);
    h.sh_offset = at;
    put_header(m, section_name(l.member, l.section), h);
  }
}

/* One relocation section of the output, for section `target`. */
static void put_relocations(Merger *m, const char *of, uint32_t target, uint32_t symtab, const StrBuf *rela) {
  if (!rela->len)
    return;
  pad(&m->body, 8);
  Elf64_Shdr h = {.sh_type = SHT_RELA,
                  .sh_flags = SHF_INFO_LINK,
                  .sh_offset = m->body.len,
                  .sh_size = rela->len,
                  .sh_link = symtab,
                  .sh_info = target,
                  .sh_addralign = 8,
                  .sh_entsize = sizeof(Elf64_Rela)};
  buf_put(&m->body, rela->text, rela->len);
  put_header(m, arena_printf(m->a, ".rela%s", of), h);
}

static uint32_t address_type(uint32_t machine) {
  return machine == EM_AARCH64 ? R_AARCH64_ABS64 : machine == EM_RISCV ? R_RISCV_64 : R_X86_64_64;
}

static void relocate_own(Merger *m, const uint32_t *own, uint32_t symtab) {
  for (uint32_t s = 0; s < m->in->nsection; s++) {
    StrBuf b;
    buf_init(&b, m->a);
    for (uint32_t i = 0; i < m->in->naddress; i++) {
      const MergeAddress *x = &m->in->address[i];
      Elf64_Rela r = {x->offset,
                      ELF64_R_INFO((uint64_t)number_of_name(m, own, x->symbol), address_type(m->in->machine)),
                      (Elf64_Sxword)x->addend};
      if (x->section == s)
        buf_put(&b, (const char *)&r, sizeof r);
    }
    put_relocations(m, m->in->section[s].name, 1 + s, symtab, &b);
  }
}

static void relocate_live(Merger *m, const uint32_t *own, uint32_t symtab) {
  for (uint32_t i = 0; i < m->nlive; i++) {
    Live l = ((const Live *)(const void *)m->live.text)[i];
    StrBuf b;
    buf_init(&b, m->a);
    for (uint32_t r = 1; r < l.member->h.e_shnum; r++) {
      if (!relocates(l.member, r, l.section))
        continue;
      const Elf64_Rela *from = (const Elf64_Rela *)(const void *)(l.member->bytes + l.member->sec[r].sh_offset);
      for (size_t k = 0; k < l.member->sec[r].sh_size / sizeof *from; k++) {
        uint64_t sym = number_of_symbol(m, own, l.member, (uint32_t)ELF64_R_SYM(from[k].r_info));
        Elf64_Rela x = {from[k].r_offset, ELF64_R_INFO(sym, ELF64_R_TYPE(from[k].r_info)), from[k].r_addend};
        buf_put(&b, (const char *)&x, sizeof x);
      }
    }
    put_relocations(m, section_name(l.member, l.section), 1 + m->in->nsection + i, symtab, &b);
  }
}

/* Puts a table of the linker's at the end of the body. */
static void put_table(Merger *m, const char *name, Elf64_Shdr h, const StrBuf *bytes) {
  pad(&m->body, 8);
  h.sh_offset = m->body.len, h.sh_size = bytes->len, h.sh_addralign = h.sh_type == SHT_SYMTAB ? 8 : 1;
  buf_put(&m->body, bytes->text, bytes->len);
  put_header(m, name, h);
}

/* The number of relocation sections to come, so that the tables behind them have known numbers. */
static uint32_t count_relocations(const Merger *m) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < m->nlive; i++) {
    Live l = ((const Live *)(const void *)m->live.text)[i];
    bool any = false;
    for (uint32_t r = 1; r < l.member->h.e_shnum; r++)
      any |= relocates(l.member, r, l.section) && l.member->sec[r].sh_size;
    n += any;
  }
  for (uint32_t s = 0; s < m->in->nsection; s++) {
    bool any = false;
    for (uint32_t i = 0; i < m->in->naddress; i++)
      any |= m->in->address[i].section == s;
    n += any;
  }
  return n;
}

/* The headers follow the body; the hole is on pages of its own behind them. */
static void finish(Merger *m, MergeOutput *out) {
  pad(&m->body, 8);
  Elf64_Ehdr h = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                  .e_type = ET_REL,
                  .e_machine = (uint16_t)m->in->machine,
                  .e_version = EV_CURRENT,
                  .e_flags = m->flags,
                  .e_shoff = m->body.len,
                  .e_ehsize = sizeof h,
                  .e_shentsize = sizeof(Elf64_Shdr),
                  .e_shnum = (uint16_t)m->nheader,
                  .e_shstrndx = (uint16_t)(m->nheader - 1)};
  memcpy(m->body.text, &h, sizeof h);
  uint64_t end = m->body.len + m->headers.len;
  for (uint32_t i = 0; i < m->in->nsection; i++) {
    const MergeSection *s = &m->in->section[i];
    if (s->bytes || !s->size)
      continue;
    out->hole_at = (end + s->align - 1) / s->align * s->align;
    ((Elf64_Shdr *)(void *)m->headers.text)[1 + i].sh_offset = out->hole_at;
  }
  buf_put(&m->body, m->headers.text, m->headers.len);
  out->bytes = (const uint8_t *)m->body.text, out->size = m->body.len;
}

static void write_object(Merger *m, MergeOutput *out) {
  StrBuf *all[] = {&m->body, &m->symbols, &m->globals, &m->names, &m->section_names, &m->headers};
  uint32_t *own = arena_array(m->a, uint32_t, m->in->nsymbol);
  for (size_t i = 0; i < countof(all); i++)
    buf_init(all[i], m->a);
  buf_putc(&m->names, 0), buf_putc(&m->section_names, 0);
  put_header(m, "", (Elf64_Shdr){0});
  buf_put(&m->body, (const char *)&(Elf64_Ehdr){.e_type = 0}, sizeof(Elf64_Ehdr));
  put_local(m, &(Elf64_Sym){0}, "", 0);
  put_local(m, &(Elf64_Sym){.st_info = STT_FILE}, "sard", SHN_ABS); /* or linkers put the name of the object file there */
  for (uint32_t i = 0; i < m->in->nsymbol; i++)
    own[i] = put_local(m, &(Elf64_Sym){.st_info = STT_OBJECT, .st_value = m->in->symbol[i].value},
                       m->in->symbol[i].name, 1 + m->in->symbol[i].section);
  for (uint32_t i = 0; i < m->in->nlabel; i++) {
    const MergeLabel *x = &m->in->label[i];
    put_local(m, &(Elf64_Sym){.st_info = STT_FUNC, .st_value = x->value, .st_size = x->size}, x->name, 1 + x->section);
  }
  put_locals(m);
  put_globals(m);
  put_own_sections(m, out);
  put_live_sections(m);
  uint32_t symtab = 1 + m->in->nsection + m->nlive + count_relocations(m) + 1;
  relocate_own(m, own, symtab);
  relocate_live(m, own, symtab);
  put_header(m, ".note.GNU-stack", (Elf64_Shdr){.sh_type = SHT_PROGBITS, .sh_addralign = 1}); /* no executable stack */
  buf_put(&m->symbols, m->globals.text, m->globals.len);
  put_table(
      m, ".symtab",
      (Elf64_Shdr){.sh_type = SHT_SYMTAB, .sh_link = symtab + 1, .sh_info = m->nlocal, .sh_entsize = sizeof(Elf64_Sym)},
      &m->symbols);
  put_table(m, ".strtab", (Elf64_Shdr){.sh_type = SHT_STRTAB}, &m->names);
  uint32_t name = put_name(&m->section_names, ".shstrtab");
  put_table(m, "", (Elf64_Shdr){.sh_type = SHT_STRTAB}, &m->section_names);
  ((Elf64_Shdr *)(void *)m->headers.text)[m->nheader - 1].sh_name = name;
  finish(m, out);
}

Status aot_merge(Ctx *c, Arena *a, const MergeInput *in, MergeOutput *out) {
  Merger *m = arena_new(a, Merger);
  uint32_t n;
  *m = (Merger){.c = c, .a = a, .in = in};
  *out = (MergeOutput){0};
  map_init(&m->defined, a), map_init(&m->imports, a);
  buf_init(&m->live, a), buf_init(&m->import_names, a);
  for (uint32_t i = 0; i < in->nsymbol; i++) {
    Definition *d = arena_new(a, Definition);
    d->symbol = i;
    map_put(&m->defined, in->symbol[i].name, d);
  }
  TRY(each_member(m, NULL, &n));
  m->member = arena_array(a, Member, n);
  m->nmember = n;
  TRY(each_member(m, read_member, &n));
  TRY(mark_all(m));
  if (m->nlive + in->nsection > SHN_LORESERVE / 2 - 8)
    return fail(c, ST_UNSUPPORTED, "the object has too many sections");
  write_object(m, out);
  out->import = (const char *const *)(const void *)m->import_names.text, out->nimport = m->nimport;
  return ST_OK;
}
