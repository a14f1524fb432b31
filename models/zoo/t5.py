# SPDX-License-Identifier: Apache-2.0
"""T5: encoder and decoder as two models, with bucketed relative positions."""

import torch
from torch import nn
from torch.export import Dim
from transformers import T5Config, T5EncoderModel, T5ForConditionalGeneration

from .common import BATCH, Model, ids, model, padding_mask, randomize

CONFIG = dict(vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu")


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.t5 = T5EncoderModel(T5Config(**CONFIG))

    def forward(self, input_ids, attention_mask):
        return self.t5(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        t5 = T5ForConditionalGeneration(T5Config(**CONFIG, tie_word_embeddings=False))
        self.decoder, self.lm_head = t5.decoder, t5.lm_head

    def forward(self, input_ids, encoder_hidden_states, encoder_attention_mask):
        o = self.decoder(
            input_ids=input_ids,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            use_cache=False,
        )
        return self.lm_head(o.last_hidden_state)


@model
def t5_encoder(torchscript):
    axes = {0: BATCH, 1: Dim("seq", min=2, max=512)}
    return Model(
        randomize(Encoder()),
        ["input_ids", "attention_mask"],
        ["last_hidden_state"],
        [axes, axes],
        [
            (ids(100, 2, 9), padding_mask([9, 9], 9)),
            (ids(100, 3, 21), padding_mask([21, 5, 12], 21)),
        ],
    )


@model
def t5_decoder(torchscript):
    source = {0: BATCH, 1: Dim("source", min=2, max=512)}
    return Model(
        randomize(Decoder()),
        ["input_ids", "encoder_hidden_states", "encoder_attention_mask"],
        ["logits"],
        [{0: BATCH, 1: Dim("seq", min=2, max=512)}, source, source],
        [
            (ids(100, 2, 6), torch.randn(2, 9, 32), padding_mask([9, 9], 9)),
            (ids(100, 3, 11), torch.randn(3, 14, 32), padding_mask([14, 3, 8], 14)),
        ],
    )
