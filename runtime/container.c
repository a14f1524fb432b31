/* container.c - finding the package in a file: a .sard file is one; objects, shared libraries and executables have its parts as
 * sections; an archive has a member with them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/package.h"

#include <ar.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

typedef struct Bytes {
  const uint8_t *base;
  size_t size;
} Bytes;

static bool begins(Bytes b, const char *magic, size_t n) { return b.size >= n && !memcmp(b.base, magic, n); }

static bool inside(Bytes b, uint64_t at, uint64_t n) { return at <= b.size && n <= b.size - at; }

bool package_is(const Mapped *m) {
  Bytes b = {m->base, m->size};
  return begins(b, PACKAGE_MAGIC, 8) || begins(b, ELFMAG, SELFMAG) || begins(b, ARMAG, SARMAG);
}

static Status nothing_here(Ctx *c) { return fail(c, ST_INVALID, "there is no compiled model in this file"); }

/* Three parts on pages of their own. */
static Status find_plain(Ctx *c, Bytes b, Package *out) {
  TRY(package_check(c, b.base, b.size, out));
  uint64_t at = (out->h->size + PACKAGE_PAGE - 1) / PACKAGE_PAGE * PACKAGE_PAGE;
  if (!inside(b, at, out->h->code))
    return fail(c, ST_INVALID, "the compiled model is damaged: it is cut short");
  out->code = b.base + at;
  at = (at + out->h->code + PACKAGE_PAGE - 1) / PACKAGE_PAGE * PACKAGE_PAGE;
  if (out->h->flags & PACKAGE_EXTERNAL)
    return ST_OK;
  if (!inside(b, at, out->h->weights))
    return fail(c, ST_INVALID, "the compiled model is damaged: its weights are cut short");
  out->weights = b.base + at;
  return ST_OK;
}

/* The bytes of the section of that name; base NULL: there is none. */
static Bytes find_section(Bytes b, const Elf64_Ehdr *h, const char *name) {
  Elf64_Shdr names, s;
  memcpy(&names, b.base + h->e_shoff + (size_t)h->e_shstrndx * sizeof names, sizeof names);
  size_t n = strlen(name) + 1;
  for (uint32_t i = 0; i < h->e_shnum; i++) {
    memcpy(&s, b.base + h->e_shoff + i * sizeof s, sizeof s);
    if (s.sh_type == SHT_PROGBITS && inside(b, names.sh_offset, names.sh_size) && s.sh_name < names.sh_size &&
        names.sh_size - s.sh_name >= n && !memcmp(b.base + names.sh_offset + s.sh_name, name, n) &&
        inside(b, s.sh_offset, s.sh_size))
      return (Bytes){b.base + s.sh_offset, s.sh_size};
  }
  return (Bytes){0};
}

static Status find_elf(Ctx *c, Bytes b, Package *out) {
  Elf64_Ehdr h;
  if (b.size < sizeof h)
    return nothing_here(c);
  memcpy(&h, b.base, sizeof h);
  if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_shentsize != sizeof(Elf64_Shdr) ||
      !inside(b, h.e_shoff, (uint64_t)h.e_shnum * sizeof(Elf64_Shdr)) || h.e_shstrndx >= h.e_shnum)
    return nothing_here(c);
  Bytes head = find_section(b, &h, PACKAGE_SECTION), code = find_section(b, &h, CODE_SECTION),
        weights = find_section(b, &h, WEIGHTS_SECTION);
  if (!head.base || (uintptr_t)head.base % PROG_ALIGN)
    return nothing_here(c);
  TRY(package_check(c, head.base, head.size, out));
  if (code.size >= out->h->code)
    out->code = code.base;
  if (weights.size >= out->h->weights)
    out->weights = weights.base;
  return ST_OK;
}

/* The first member that is an ELF file. Sard writes it where its parts are aligned in the archive, too. */
static Status find_member(Ctx *c, Bytes b, Package *out) {
  struct ar_hdr h;
  for (uint64_t at = SARMAG; inside(b, at, sizeof h);) {
    memcpy(&h, b.base + at, sizeof h);
    char digits[sizeof h.ar_size + 1] = "";
    memcpy(digits, h.ar_size, sizeof h.ar_size);
    uint64_t n = strtoull(digits, NULL, 10);
    at += sizeof h;
    if (memcmp(h.ar_fmag, ARFMAG, 2) || !inside(b, at, n))
      break;
    Bytes member = {b.base + at, n};
    if (begins(member, ELFMAG, SELFMAG))
      return find_elf(c, member, out);
    at += n + n % 2;
  }
  return nothing_here(c);
}

Status package_find(Ctx *c, const Mapped *m, Package *out) {
  Bytes b = {m->base, m->size};
  if (begins(b, PACKAGE_MAGIC, 8))
    return find_plain(c, b, out);
  return begins(b, ARMAG, SARMAG) ? find_member(c, b, out) : find_elf(c, b, out);
}
