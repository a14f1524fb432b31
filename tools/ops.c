/* ops.c - `sard ops`: the operator support table, straight from ops.def.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"

#include "codegen/group.h"
#include "frontend/import.h"
#include "frontend/microsoft.h"
#include "frontend/upgrade.h"
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

/* Containers and strings: the signature names them; the flags tell the others. */
static bool is_host(OpId op) {
  const OpInfo *i = op_info(op);
  const char *class = strstr(i->sig, "=value");
  return i->flags & (OPF_CONTROL | OPF_SHAPE_ONLY | OPF_HOST) || op == OP_Dims || op == OP_ByAxis ||
         op == OP_CategoryMapper || class || strstr(i->sig, "str ") || strstr(i->sig, "> str");
}

/* How a node of this operator runs on the cpu device, its types and attributes permitting. */
static const char *on_cpu(OpId op) {
  if (op_info(op)->flags & OPF_VIEW)
    return "view";
  if (op_lowering(op)->kind != LOWER_NONE || op_is_anchor(op))
    return "compiled";
  if (op_info(op)->flags & OPF_REWRITTEN)
    return "rewritten";
  return is_host(op) ? "host" : eval_find(op) ? "reference" : "-";
}

/* The same on the reference device. */
static const char *on_reference(OpId op) {
  return op_info(op)->flags & OPF_VIEW ? "view" : is_host(op) ? "host" : eval_find(op) ? "reference" : "rewritten";
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

/* --- older forms --- */

/* Step i of the importer's table that brings old nodes of an operator to the form of ops.def; 0: there are no more. */
static int next_upgrade(const char *op, uint32_t *i) {
  const char *name;
  int opset;
  while (upgrade_info((*i)++, &name, &opset))
    if (!strcmp(name, op) && opset)
      return opset;
  return 0;
}

static void put_upgrades(StrBuf *b, const char *op) {
  uint32_t i = 0;
  int last = 0;
  for (int opset; (opset = next_upgrade(op, &i)); last = opset)
    if (opset != last)
      buf_printf(b, "%s%d", last ? ", " : "", opset);
}

static const char *domain_of(const OpInfo *i) { return *i->domain ? i->domain : "ai.onnx"; }

/* Names that are rewritten when a model is read, and no operator of their own: the k-th, NULL at the end. */
static const char *rewritten(uint32_t k) {
  const char *op, *last = "";
  int opset;
  for (uint32_t i = 0; upgrade_info(i, &op, &opset); i++) {
    bool known = !strcmp(op, last);
    for (OpId x = 1; x < op_count() && !known; x++)
      known = !strcmp(op_info(x)->name, op);
    last = op;
    if (!known && !k--)
      return op;
  }
  return NULL;
}

/* --- types --- */

static const struct {
  const char *name, *what;
  DKind kind[3];
  int n;
} classes[] = {{"float", "floating-point numbers", {DK_FLOAT}, 1},
               {"int", "integers", {DK_SINT, DK_UINT}, 2},
               {"num", "numbers", {DK_FLOAT, DK_SINT, DK_UINT}, 3}};

static void put_class(StrBuf *b, size_t k, const char *quote) {
  bool first = true;
  for (int t = 1; t <= DT_f6e3m2; t++)
    for (int i = 0; dtype_valid(t) && i < classes[k].n; i++)
      if (dtype_kind((DType)t) == classes[k].kind[i]) {
        buf_printf(b, "%s%s%s%s", first ? "" : ", ", quote, dtype_name((DType)t), quote);
        first = false;
      }
}

/* The names that the signature gives variable v, one by one, as JSON strings: classes become their types. */
static void json_types(StrBuf *b, const char *s, size_t n) {
  for (const char *end = s + n, *p = s; p < end;) {
    size_t k = strcspn(p, "|,"), c = 0;
    buf_puts(b, p > s ? ", " : "");
    while (c < countof(classes) && (strlen(classes[c].name) != k || memcmp(classes[c].name, p, k)))
      c++;
    if (c < countof(classes))
      put_class(b, c, "\"");
    else
      buf_printf(b, "\"%.*s\"", (int)k, p);
    p += k + 1;
  }
}

/* {"T": [...]}: what stands behind the `;` of the signature. */
static void json_variables(StrBuf *b, const char *sig) {
  const char *p = strchr(sig, ';');
  bool first = true;
  buf_putc(b, '{');
  while (p && *p) {
    p += 1 + strspn(p + 1, " ");
    size_t n = strcspn(p, ",");
    buf_printf(b, "%s\"%c\": [", first ? "" : ", ", *p);
    json_types(b, p + 2, n - 2);
    buf_putc(b, ']');
    first = false;
    p += n;
  }
  buf_putc(b, '}');
}

/* --- rows --- */

static void text_row(StrBuf *b, OpId op) {
  const OpInfo *i = op_info(op);
  buf_printf(b, "%-28s%-20s%6d  %-11s%-11s%-12s%s\n", i->name, domain_of(i), i->since, on_cpu(op), on_reference(op),
             kind_of(op), i->sig);
}

/* A row of the manual's table; `|` separates columns there. */
static void markdown_row(StrBuf *b, OpId op) {
  const OpInfo *i = op_info(op);
  buf_printf(b, "| %s | %s | %d | ", i->name, domain_of(i), i->since);
  put_upgrades(b, *i->domain ? "" : i->name);
  buf_printf(b, " | %s | %s | `", on_cpu(op), on_reference(op));
  for (const char *s = i->sig; *s; s++) {
    if (*s == '|')
      buf_putc(b, '\\');
    buf_putc(b, *s);
  }
  buf_puts(b, "` |\n");
}

static void json_row(StrBuf *b, OpId op, bool *first) {
  const OpInfo *i = op_info(op);
  buf_printf(b, "%s{\"op\": \"%s\", \"domain\": \"%s\", \"since\": %d, \"changed\": [", *first ? "" : ",\n ", i->name,
             i->domain, i->since);
  *first = false;
  put_upgrades(b, *i->domain ? "" : i->name);
  buf_printf(b, "], \"inputs\": [%d, ", i->min_in);
  buf_printf(b, i->max_in == OP_VARIADIC ? "null" : "%d", i->max_in);
  buf_printf(b, "], \"outputs\": [%d, ", i->min_out);
  buf_printf(b, i->max_out == OP_VARIADIC ? "null" : "%d", i->max_out);
  buf_printf(b, "], \"kind\": \"%s\", \"cpu\": \"%s\", \"reference\": \"%s\", \"signature\": ", kind_of(op), on_cpu(op),
             on_reference(op));
  json_str(b, i->sig);
  buf_puts(b, ", \"types\": ");
  json_variables(b, i->sig);
  buf_putc(b, '}');
}

/* --- the manual --- */

static const char manual[] =
    "# Operators\n\n"
    "Made by `sard ops --markdown` from `ops/ops.def`; `make bless` writes it anew.\n\n"
    "A model may be of any opset of ai.onnx up to %d. *opset* is the version whose form is implemented; where ONNX "
    "has\n"
    "changed an operator, nodes from before the opsets under *changed* are brought to that form when the model is "
    "read.\n\n"
    "How a node runs: *compiled*, as code made for the model, types and attributes permitting (an error says why not, "
    "and\n"
    "`sard explain` what became of each node); *rewritten*, in terms of others that are compiled, with the same\n"
    "reservation; *view*, the same bytes under another shape; *host*, shape arithmetic, control flow, text,\n"
    "containers and file formats; *reference*, interpreted, which the device cpu refuses without `--allow reference`.\n"
    "Operators of domain sard are what passes make; no model has them.\n\n"
    "Types: those of the inputs, `>`, those of the outputs. `?` may be left out, `*` any number of one type, `+` of "
    "any\n"
    "types. A capital letter is one type throughout, of those behind `;`, or of any:\n\n";

static void markdown_head(StrBuf *b) {
  buf_printf(b, manual, NEWEST_OPSET);
  for (size_t i = 0; i < countof(classes); i++) {
    buf_printf(b, "* `%s`, %s: ", classes[i].name, classes[i].what);
    put_class(b, i, "");
    buf_putc(b, '\n');
  }
  buf_puts(b, "* `any`, tensors of these and of bool, c64, c128, str; `value`, also sequences, optionals and maps\n\n"
              "| operator | domain | opset | changed | cpu | reference | types |\n|---|---|---|---|---|---|---|\n");
}

static void markdown_tail(StrBuf *b) {
  const char *op;
  buf_puts(b, "\nRewritten in terms of these when a model is read: ");
  for (uint32_t k = 0; (op = rewritten(k)); k++)
    buf_printf(b, "%s%s", k ? ", " : "", op);
  buf_puts(
      b, "; FlexAttention (ai.onnx.preview 1), with the graphs that it\nholds in their places; and of com.microsoft ");
  for (uint32_t k = 0; (op = microsoft_operator(k)); k++)
    buf_printf(b, "%s%s", k ? ", " : "", op);
  buf_puts(
      b,
      ".\nAn error names a form that they cannot stand for.\n\n"
      "Of complex numbers, Resize and GridSample interpolate both parts. Strings they pick (mode nearest): other modes "
      "are\n"
      "an error when the model is read. GridSample has the empty string outside of X (padding_mode zeros); a region "
      "of\n"
      "Resize beyond X is an error in the run, as extrapolation_value is a number.\n\n"
      "Gradient goes through If, Loop and Scan as through other operators. A Loop or Scan then also keeps what each of "
      "its trips began\n"
      "with, and a Scan takes the trips in opposite order, however many there were. What is carried must be tensors of "
      "one rank (an\n"
      "error when the model is read) that are as large in every trip (an error in the run). What takes a tensor out of "
      "a sequence or\n"
      "an optional has no derivative.\n\n"
      "What a weight of 0 or a mask leaves out does not count, be it infinite or NaN, so that results do not hang on\n"
      "what lies behind the end of a cache. Attention, whose text says that a key does or does not \"take part\", "
      "leaves\n"
      "out keys by its mask (false, or -inf), causality and nonpad_kv_seqlen; onnx.reference, ONNX Runtime and "
      "PyTorch\n"
      "multiply their values by 0, and have NaN for them.\n");
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
    markdown_head(&b);
  else
    buf_printf(&b, "%s%-28s%-20s%6s  %-11s%-11s%-12s%s%s\n", tool_style(t, "1", s1), "operator", "domain", "since",
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
  else if (markdown)
    markdown_tail(&b);
  return tool_print(t, &b);
}
