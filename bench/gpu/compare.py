# SPDX-License-Identifier: Apache-2.0
"""Measures sard on a GPU against PyTorch on the same GPU, eager and torch.compile(mode="max-autotune"), and prints a table.

usage: compare.py [--rows A,B] [--rounds 5] [--runs 50] [--no-compile] [--json FILE] [--table FILE] [--dry]

Models are made here, of their published size with random weights (bench/peers/models.py), in the precision of the row, and exported
for sard; nothing is downloaded. int4 is fp16 with the weights of linear layers rounded to 4 bits, in blocks of 32 with one scale, which
PyTorch multiplies by as fp16. All engines get the same tensors on the GPU and put their results into memory that is there
already; caches of decoders grow in place for sard. A time is that of --runs runs in a row between two CUDA events on one stream,
divided by their number; the least of --rounds. `host` is what one run with a wait behind it takes. Outputs are compared with
eager PyTorch's. A ratio above 1 says that sard is faster than the best of the others.

`limit` is the share that sard reaches of what PyTorch reaches in this run: of a decoder's step the bytes of weights and caches, read
once, over the bandwidth of a copy of 2 GiB (read and written); of attention its operations over those of a product of 8192 x 8192 x
8192 in fp16. Below the table stands the warm start of the first row, from the compile cache in a process of its own: the driver's context
alone, and sard's load and first run behind it.

torch.compile may take minutes for a row: name few rows where time is short. --dry runs two small models over whatever driver there is
(SARD_CUDA_DIR=build/tests/null) from memory of the host, and compares no times: it tries the script where there is no GPU.
Exit code 1: an output is wrong, or an engine failed. Needs torch, transformers, torchvision, onnx, onnxscript, sard, and onnxruntime for int4.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "peers")]
import models as peers  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from tables import write_table  # noqa: E402
from torch import nn  # noqa: E402

TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "int4": torch.float16}
FAR = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 8e-2, "int4": 5e-2}  # of an output's largest magnitude: more is wrong
BLOCK = 32  # weights of int4 that share a scale
SMALL = [("small_bert", "fp32", 2), ("small_llama_step", "fp32", 1), ("small_llama_step", "int4", 1)]
ROWS = [("bert_base", "fp16", 1), ("bert_base", "fp16", 8), ("vit_base", "fp16", 1), ("vit_base", "fp16", 32),
        ("resnet50", "fp16", 1), ("resnet50", "fp16", 32), ("gpt2_step", "fp16", 1), ("llama_135m_step", "bf16", 1),
        ("llama_7b_step", "bf16", 1), ("llama_7b_step", "int4", 1), ("attention_4k", "fp16", 1)]


@peers.model
def llama_7b_step():
    """Eight of the 32 layers."""
    from transformers import LlamaConfig, LlamaForCausalLM
    return peers.decoder(LlamaForCausalLM(LlamaConfig(num_hidden_layers=8)), cached=512)


class Attention(nn.Module):
    def forward(self, q, k, v):
        return nn.functional.scaled_dot_product_attention(q, k, v)


@peers.model
def attention_4k():
    qkv = tuple(torch.randn(1, 16, 4096, 128) for _ in range(3))
    return peers.Model(Attention(), qkv, ["q", "k", "v"], ["y"])


@peers.model
def small_bert():
    from transformers import BertConfig, BertForQuestionAnswering
    config = BertConfig(vocab_size=40000, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    m = peers.bert_base()
    m.module = peers.Only(BertForQuestionAnswering(config), "start_logits", "end_logits")
    m.measured = peers.tokens(30000, 2, 8), torch.ones(2, 8, dtype=torch.long)
    return m


@peers.model
def small_llama_step():
    from transformers import LlamaConfig, LlamaForCausalLM
    shape = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, vocab_size=64)
    return peers.decoder(LlamaForCausalLM(LlamaConfig(**shape)), cached=6)


# ---- a row ----


def cast(x, dtype):
    if isinstance(x, (list, tuple)):
        return type(x)(cast(v, dtype) for v in x)
    return x.to(dtype) if x.is_floating_point() else x


def moved(x, device):
    return type(x)(moved(v, device) for v in x) if isinstance(x, (list, tuple)) else x.to(device)


def of_batch(x, n, before):
    """every tensor with `before` as its first extent, n times as long or as short there"""
    if isinstance(x, (list, tuple)):
        return type(x)(of_batch(v, n, before) for v in x)
    return x[:1].expand(n, *x.shape[1:]).contiguous() if x.shape[0] == before else x


def rounded(w):
    """Weights [n, k] of 4 bits times a scale for each block of k, as MatMulNBits has them: the largest of a block is -8 or 8 of them."""
    blocks = w.float().reshape(len(w), -1, BLOCK)
    scale = blocks.gather(2, blocks.abs().argmax(2, keepdim=True)) / -8
    scale = torch.where(scale == 0, 1.0, scale.half().float())
    return (scale * (blocks / scale).round().clamp(-8, 7)).reshape(w.shape).to(w.dtype)


def bytes_read(module, precision, caches):
    """of weights that are read whole, and of caches"""
    linear = {m.weight for m in module.modules() if isinstance(m, nn.Linear)}
    gathered = {m.weight for m in module.modules() if isinstance(m, nn.Embedding)} - linear
    def size(p):
        return p.numel() * (0.5 + 2 / BLOCK) if precision == "int4" and p in linear else p.numel() * p.element_size()
    return sum(size(p) for p in module.parameters() if p not in gathered) + sum(x.numel() * x.element_size() for x in caches)


class Row:
    """A model in its precision, its inputs, eager PyTorch's outputs, and the exported file."""

    def __init__(self, name, precision, batch, folder, device):
        torch.manual_seed(0)
        m, dtype = peers.MODELS[name](), TYPES[precision]
        self.title, self.far = f"{name} {precision} batch {batch}", FAR[precision]
        self.module, self.inputs, self.outputs = m.module.eval().to(dtype), m.inputs, m.outputs
        feed = cast(tuple(m.measured or m.traced), dtype)
        for layer in self.module.modules() if precision == "int4" else ():
            if isinstance(layer, nn.Linear):
                layer.weight.data = rounded(layer.weight.data)
        self.path = folder / name / precision / "model.onnx"
        if not self.path.exists():
            whole = folder / name / "whole" / "model.onnx" if precision == "int4" else self.path
            for path in whole, self.path:
                path.parent.mkdir(parents=True, exist_ok=True)
            torch.onnx.export(self.module, cast(tuple(m.traced), dtype), whole, input_names=m.inputs, output_names=m.outputs,
                              dynamic_shapes=m.dynamic, dynamo=True, external_data=True, verbose=False)
            if precision == "int4":
                import quantize  # which needs onnxruntime
                quantize.blocks(4)(whole.parent, self.path.parent)
        step = "step" in name
        self.bytes = bytes_read(self.module, precision, peers.flat(feed)[2:]) if step else None
        self.operations = 4 * feed[0].numel() * feed[0].shape[-2] if name.startswith("attention") else None
        self.feed = moved(of_batch(feed, batch, feed[0].shape[0]), device)
        self.module.to(device)
        out = self.module(*self.feed)
        self.want = [x.clone() for x in peers.flat(out if isinstance(out, tuple) else [out])]

    def check(self, engine, got):
        """the largest difference over the largest magnitude of an output; SystemExit: too large"""
        worst = 0.0
        for name, w, g in zip(self.outputs, self.want, got, strict=True):
            w, g = w.double(), g.to(w.device).double()
            if w.shape != g.shape or not torch.isfinite(g).all():
                raise SystemExit(f"{self.title}: {engine}: output {name} is wrong")
            worst = max(worst, ((w - g).abs().max() / (w.abs().max() + 1e-6)).item())
        if worst > self.far:
            raise SystemExit(f"{self.title}: {engine}: {worst:.1e} off")
        return worst


class Caches:
    """Sard's inputs and outputs: past.X and present.X are views of one buffer with room for the new rows."""

    def __init__(self, row):
        self.feed = dict(zip(row.inputs, peers.flat(row.feed), strict=True))
        self.out = {}
        for name, w in zip(row.outputs, row.want, strict=True):
            past = name.replace("present.", "past.")
            if past != name and past in self.feed:
                buffer = torch.zeros_like(w)
                rows = self.feed[past].shape[2]
                buffer[:, :, :rows] = self.feed[past]
                self.feed[past], self.out[name] = buffer[:, :, :rows], buffer
            else:
                self.out[name] = torch.empty_like(w)


# ---- time ----


def measure(run, args):
    """(ms of a run among many, ms of a run that is waited for)"""
    stream, least, alone = torch.cuda.Stream(), float("inf"), float("inf")
    with torch.cuda.stream(stream):
        for _ in range(10):
            run()
        for _ in range(args.rounds):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            for _ in range(args.runs):
                run()
            end.record()
            end.synchronize()
            least = min(least, begin.elapsed_time(end) / args.runs)
        for _ in range(args.runs):
            start = time.perf_counter()
            run()
            stream.synchronize()
            alone = min(alone, 1e3 * (time.perf_counter() - start))
    return least, alone


def with_torch(row, args, compiled):
    module = torch.compile(row.module, mode="max-autotune") if compiled else row.module

    def run():
        return module(*row.feed)

    torch.compiler.reset()
    out = run()
    row.check("torch.compile" if compiled else "PyTorch", [x.clone() for x in peers.flat(out if isinstance(out, tuple) else [out])])
    return measure(run, args)


def with_sard(row, args):
    import sard
    start = time.perf_counter()
    model = sard.load(row.path, device="cuda")
    loaded = time.perf_counter() - start
    c = Caches(row)

    def run():
        model.run(c.feed, c.out, stream=torch.cuda.current_stream().cuda_stream)

    torch.cuda.synchronize()
    run()
    torch.cuda.synchronize()
    off = row.check("sard", [c.out[n] for n in row.outputs])
    return (*measure(run, args), off, 1e3 * loaded, model.graphs)


def machine():
    """(bytes a second of a copy, operations a second of a large product) by PyTorch"""
    def seconds(run):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        least = float("inf")
        for _ in range(20):
            begin.record()
            run()
            end.record()
            end.synchronize()
            least = min(least, 1e-3 * begin.elapsed_time(end))
        return least
    a, b = (torch.zeros(1 << 29, dtype=torch.float32, device="cuda") for _ in range(2))
    bandwidth = 2 * a.numel() * a.element_size() / seconds(lambda: b.copy_(a))
    a, b = (torch.randn(8192, 8192, dtype=torch.float16, device="cuda") for _ in range(2))
    return bandwidth, 2 * 8192**3 / seconds(lambda: a @ b)


def limit(row, ms, reached):
    """what share of the machine's limit a run is"""
    bandwidth, operations = reached
    if row.bytes:
        return f"{row.bytes / ms / bandwidth * 1e5:.0f} % of {bandwidth * 1e-9:.0f} GB/s"
    if row.operations:
        return f"{row.operations / ms / operations * 1e5:.0f} % of {operations * 1e-12:.0f} TFLOP/s"
    return ""


WARM = """
import ctypes, sys, time
import numpy as np, sard
path, feed = sys.argv[1], dict(np.load(sys.argv[2]))
cuda, device, context = ctypes.CDLL(sys.argv[3]), ctypes.c_int(), ctypes.c_void_p()
begin = time.perf_counter()
if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
    sys.exit("no context")
ready = time.perf_counter()
model = sard.load(path, device="cuda")
model.run(feed)
print(1e3 * (ready - begin), 1e3 * (time.perf_counter() - ready))
del model
cuda.cuDevicePrimaryCtxRelease_v2(device)
"""


def warm(row, folder):
    """Milliseconds of the driver's context, and of sard's load and first run behind it; the second process of two with one cache."""
    np.savez(folder / "feed.npz", **{k: v.cpu().numpy() for k, v in zip(row.inputs, peers.flat(row.feed), strict=True)})
    driver = Path(os.environ.get("SARD_CUDA_DIR", "")) / "libcuda.so.1"
    command = [sys.executable, "-c", WARM, str(row.path), str(folder / "feed.npz"), str(driver)]
    for _ in range(2):
        said = subprocess.run(command, env={**os.environ, "SARD_CACHE": str(folder / "cache")}, capture_output=True, text=True)
        if said.returncode:
            raise SystemExit(f"{row.title}: warm start: {said.stderr.strip()}")
    context, start = (float(x) for x in said.stdout.split())
    return f"Warm start of {row.title}: {start:.0f} ms beyond the driver's context, which takes {context:.0f} ms."


def line(row, args, reached):
    eager = with_torch(row, args, False)
    best = with_torch(row, args, True) if not args.no_compile else eager
    mine, host, off, loaded, graphs = with_sard(row, args)
    return {"row": row.title, "sard_ms": mine, "host_ms": host, "eager_ms": eager[0], "compiled_ms": None if args.no_compile else best[0],
            "ratio": min(eager[0], best[0]) / mine, "limit": limit(row, mine, reached), "off": off, "load_ms": loaded, "graphs": graphs}


def dry(row):
    """the same way to sard and back, from the host's memory"""
    import sard
    model = sard.load(row.path, device="cuda")
    for _ in range(3):
        y = model.run({k: v.numpy() for k, v in zip(row.inputs, peers.flat(row.feed), strict=True)})
        off = row.check("sard", [torch.from_numpy(y[n]) for n in row.outputs])
    print(f"{row.title}: {off:.1e} off, graphs: {model.graphs}", flush=True)


def text(rows):
    def ms(x):
        return "" if x is None else f"{x:.3f}"
    head = ["| model | sard, ms | host, ms | eager, ms | max-autotune, ms | ratio | limit | off | load, ms | graph |", "|---|--:|--:|--:|--:|--:|---|--:|--:|---|"]
    return head + [f"| {r['row']} | {ms(r['sard_ms'])} | {ms(r['host_ms'])} | {ms(r['eager_ms'])} | {ms(r['compiled_ms'])} | "
                   f"{r['ratio']:.2f} | {r['limit']} | {r['off']:.1e} | {r['load_ms']:.0f} | {'yes' if r['graphs']['on'] else r['graphs']['why']} |" for r in rows]


def card():
    said = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True)
    return f"{said.stdout.strip().splitlines()[0]}; PyTorch {torch.__version__}, CUDA {torch.version.cuda}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", help="names, comma between: " + ", ".join(dict.fromkeys(r[0] for r in ROWS)))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--runs", type=int, default=50)
    p.add_argument("--no-compile", action="store_true")
    p.add_argument("--dry", action="store_true")
    p.add_argument("--json", type=Path)
    p.add_argument("--table", type=Path)
    args = p.parse_args()
    torch.set_grad_enabled(False)
    done, failed, start = [], [], None
    reached = None if args.dry else machine()
    with tempfile.TemporaryDirectory() as folder:
        for spec in SMALL if args.dry else ROWS:
            if args.rows and spec[0] not in args.rows.split(","):
                continue
            try:
                row = Row(*spec, Path(folder), "cpu" if args.dry else "cuda")
                start = start or warm(row, Path(folder))
                if args.dry:
                    dry(row)
                    continue
                done.append(line(row, args, reached))
                print(text(done)[-1], flush=True)
            except (Exception, SystemExit) as e:  # the other rows are worth having
                failed.append(f"{spec}: {e}")
                print(failed[-1], file=sys.stderr, flush=True)
    if start:
        print(start)
    if done:
        print("\n".join([card(), "", *text(done)]))
    if args.json:
        args.json.write_text(json.dumps(done, indent=1))
    if args.table and done:
        write_table(args.table, "bench/gpu/compare.py", [card(), "", *text(done), "", start])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
