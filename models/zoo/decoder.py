# SPDX-License-Identifier: Apache-2.0
"""Decoders whose key/value cache goes in and comes out: GPT-2, Llama with grouped heads, Mistral with a window."""

import torch
from torch import nn
from torch.export import Dim
from transformers import (
    DynamicCache,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from .common import BATCH, Model, ids, model, randomize

VOCAB, WIDTH, LAYERS, HEADS = 100, 32, 2, 4


def causal_mask(attention_mask, seq, window):
    """[batch, 1, seq, total], 0 or the lowest float: what transformers makes by vmap, which cannot be traced.

    With a window a query sees that many keys, its own among them.
    """
    total = attention_mask.shape[1]
    query, key = torch.arange(total - seq, total)[:, None], torch.arange(total)[None, :]
    seen = (key <= query) if window is None else (key <= query) & (key > query - window)
    seen = seen[None, None] & attention_mask[:, None, None, :].bool()
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)


class WithCache(nn.Module):
    def __init__(self, lm, own_mask):
        super().__init__()
        self.lm = lm
        self.own_mask = own_mask

    def forward(self, input_ids, attention_mask, *past):
        cache = DynamicCache()
        for i in range(LAYERS):
            cache.update(past[2 * i], past[2 * i + 1], i)
        window = getattr(self.lm.config, "sliding_window", None)
        mask = causal_mask(attention_mask, input_ids.shape[1], window) if self.own_mask else attention_mask
        o = self.lm(input_ids=input_ids, attention_mask=mask, past_key_values=cache, use_cache=True)
        present = [t for layer in o.past_key_values.layers for t in (layer.keys, layer.values)]
        return o.logits, *present


def with_cache(lm, kv_heads, torchscript):
    def feed(batch, past, seq, padding=0):
        mask = torch.ones(batch, past + seq, dtype=torch.long)
        mask[0, :padding] = 0  # on the left, as generation pads
        shape = (batch, kv_heads, past, WIDTH // HEADS)
        return ids(VOCAB, batch, seq), mask, *[torch.randn(shape) for _ in range(2 * LAYERS)]

    names = [f"{i}.{t}" for i in range(LAYERS) for t in ("key", "value")]
    past, seq = Dim("past", min=0, max=256), Dim("seq", min=1, max=256)
    return Model(
        randomize(WithCache(lm, torchscript)),
        ["input_ids", "attention_mask"] + ["past." + n for n in names],
        ["logits"] + ["present." + n for n in names],
        [{0: BATCH, 1: seq}, {0: BATCH, 1: "total"}] + [{0: BATCH, 2: past} for _ in names],
        [feed(2, 5, 3), feed(3, 9, 4, padding=2), feed(1, 12, 1), feed(2, 0, 6)],
    )


@model
def gpt2(torchscript):
    config = GPT2Config(vocab_size=VOCAB, n_positions=64, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS)
    return with_cache(GPT2LMHeadModel(config), HEADS, torchscript)


@model
def llama(torchscript):
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    return with_cache(LlamaForCausalLM(config), 2, torchscript)


@model
def mistral(torchscript):
    config = MistralConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        max_position_embeddings=64,
        sliding_window=4,
        tie_word_embeddings=True,
    )
    m = with_cache(MistralForCausalLM(config), 2, torchscript)
    m.feeds = [m.feeds[0], m.feeds[2]]
    return m
