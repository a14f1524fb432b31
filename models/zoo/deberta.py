# SPDX-License-Identifier: Apache-2.0
"""DeBERTa: disentangled attention, scores of contents by relative positions, gathered, besides those of contents by contents."""

from torch import nn
from torch.export import Dim
from transformers import DebertaV2Config, DebertaV2Model

from .common import BATCH, Model, ids, model, padding_mask, randomize


class Deberta(nn.Module):
    def __init__(self):
        super().__init__()
        config = DebertaV2Config(
            vocab_size=60,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=32,
            position_buckets=8,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            position_biased_input=False,
            type_vocab_size=0,
        )
        self.deberta = DebertaV2Model(config)

    def forward(self, input_ids, attention_mask):
        return self.deberta(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


@model
def deberta(torchscript):
    axes = {0: BATCH, 1: Dim("seq", min=2, max=512)}
    return Model(
        randomize(Deberta()),
        ["input_ids", "attention_mask"],
        ["last_hidden_state"],
        [axes, axes],
        [
            (ids(60, 2, 7), padding_mask([7, 7], 7)),
            (ids(60, 3, 12), padding_mask([12, 5, 9], 12)),
        ],
    )
