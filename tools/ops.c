/* ops.c - `sard ops`: the operator support table, straight from ops.def.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"

#include "codegen/group.h"
#include "ops/eval/eval.h"
#include "ops/lower.h"
#include "tools/json.h"
#include "tools/tool.h"

#include <string.h>

static const char *kind_of(OpId op) {
  const OpInfo *i = op_info(op);
  return i->flags & OPF_CONTROL       ? "control"
         : i->flags & OPF_SHAPE_ONLY  ? "shape"
         : i->flags & OPF_VIEW        ? "view"
         : i->flags & OPF_ELEMENTWISE ? "elementwise"
                                      : "general";
}

/* Containers and strings: the signature names them. */
static bool is_host(OpId op) {
  const OpInfo *i = op_info(op);
  const char *class = strstr(i->sig, "=value");
  return i->flags & (OPF_CONTROL | OPF_SHAPE_ONLY) || op == OP_Dims || class || strstr(i->sig, "str ") ||
         strstr(i->sig, "> str");
}

/* A pass turns it into others, always (gradient). */
static bool is_rewritten(OpId op) {
  return !is_host(op) && !eval_find(op) && op_lowering(op)->kind == LOWER_NONE && !op_is_anchor(op);
}

/* How a node of this operator runs on the cpu device, its types and attributes permitting. */
static const char *on_cpu(OpId op) {
  if (is_rewritten(op))
    return "rewritten";
  if (op_info(op)->flags & OPF_VIEW)
    return "view";
  if (op_lowering(op)->kind != LOWER_NONE || op_is_anchor(op))
    return "compiled";
  return is_host(op) ? "host" : "reference";
}

/* The same on the reference device. */
static const char *on_reference(OpId op) {
  return is_rewritten(op) ? "rewritten" : op_info(op)->flags & OPF_VIEW ? "view" : is_host(op) ? "host" : "reference";
}

static const char *op_name(void *arg, size_t i) {
  (void)arg;
  return i + 1 < op_count() ? op_info((OpId)(i + 1))->name : NULL;
}

static bool wanted(const Options *o, OpId op) {
  for (int i = 0; i < o->narg; i++)
    if (!strcmp(o->arg[i], op_info(op)->name))
      return true;
  return !o->narg;
}

static Status check_names(Tool *t) {
  for (int i = 0; i < t->o->narg; i++) {
    const char *name = t->o->arg[i];
    bool found = false;
    for (OpId k = 1; k < op_count(); k++)
      found |= !strcmp(op_info(k)->name, name);
    if (found)
      continue;
    fail(t->c, ST_USAGE, "no operator '%s' is known", name);
    const char *near = nearest_name(name, op_name, NULL);
    return near ? err_hint(t->c, ST_USAGE, "did you mean %s?", near) : ST_USAGE;
  }
  return ST_OK;
}

static void text_row(StrBuf *b, OpId op) {
  const OpInfo *i = op_info(op);
  buf_printf(b, "%-28s%-10s%6d  %-11s%-11s%-12s%s\n", i->name, *i->domain ? i->domain : "ai.onnx", i->since, on_cpu(op),
             on_reference(op), kind_of(op), i->sig);
}

/* A row of the manual's table; `|` separates columns there. */
static void markdown_row(StrBuf *b, OpId op) {
  const OpInfo *i = op_info(op);
  buf_printf(b, "| %s | %s | %d | %s | %s | `", i->name, *i->domain ? i->domain : "ai.onnx", i->since, on_cpu(op),
             on_reference(op));
  for (const char *s = i->sig; *s; s++) {
    if (*s == '|')
      buf_putc(b, '\\');
    buf_putc(b, *s);
  }
  buf_puts(b, "` |\n");
}

static void json_row(StrBuf *b, OpId op, bool *first) {
  const OpInfo *i = op_info(op);
  buf_printf(b, "%s{\"op\": \"%s\", \"domain\": \"%s\", \"since\": %d, \"inputs\": [%d, ", *first ? "" : ",\n ",
             i->name, i->domain, i->since, i->min_in);
  *first = false;
  buf_printf(b, i->max_in == OP_VARIADIC ? "null" : "%d", i->max_in);
  buf_printf(b, "], \"outputs\": [%d, ", i->min_out);
  buf_printf(b, i->max_out == OP_VARIADIC ? "null" : "%d", i->max_out);
  buf_printf(b, "], \"kind\": \"%s\", \"cpu\": \"%s\", \"reference\": \"%s\", \"signature\": ", kind_of(op), on_cpu(op),
             on_reference(op));
  json_str(b, i->sig);
  buf_putc(b, '}');
}

Status cmd_ops(Tool *t) {
  StrBuf b;
  char s1[16], s2[16];
  bool json = opt_set(t->o, OPT_json), markdown = opt_set(t->o, OPT_markdown), first = true;
  TRY(check_names(t));
  buf_init(&b, t->arena);
  if (json)
    buf_putc(&b, '[');
  else if (markdown)
    buf_puts(&b, "| operator | domain | opset | cpu | reference | types |\n|---|---|---|---|---|---|\n");
  else
    buf_printf(&b, "%s%-28s%-10s%6s  %-11s%-11s%-12s%s%s\n", tool_style(t, "1", s1), "operator", "domain", "since",
               "cpu", "reference", "kind", "signature", tool_style(t, "0", s2));
  for (OpId op = 1; op < op_count(); op++) {
    if (!wanted(t->o, op))
      continue;
    if (json)
      json_row(&b, op, &first);
    else
      (markdown ? markdown_row : text_row)(&b, op);
  }
  if (json)
    buf_puts(&b, "]\n");
  return tool_print(t, &b);
}
