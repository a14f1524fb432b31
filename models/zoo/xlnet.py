# SPDX-License-Identifier: Apache-2.0
"""XLNet: relative attention by einsum and a shift of the score matrix."""

from torch import nn
from torch.export import Dim
from transformers import XLNetConfig, XLNetLMHeadModel

from .common import BATCH, Model, ids, model, padding_mask, randomize


class XLNet(nn.Module):
    def __init__(self):
        super().__init__()
        config = XLNetConfig(vocab_size=100, d_model=32, n_layer=2, n_head=4, d_inner=64, use_mems_eval=False)
        self.xlnet = XLNetLMHeadModel(config)

    def forward(self, input_ids, attention_mask):
        # The model's own `1.0 - attention_mask` on integers is refused by torch.export.
        padding = (attention_mask == 0).float()
        return self.xlnet(input_ids=input_ids, input_mask=padding, use_mems=False).logits


@model
def xlnet(torchscript):
    axes = {0: BATCH, 1: Dim("seq", min=2, max=512)}
    return Model(
        randomize(XLNet()),
        ["input_ids", "attention_mask"],
        ["logits"],
        [axes, axes],
        [
            (ids(100, 2, 7), padding_mask([7, 7], 7)),
            (ids(100, 3, 12), padding_mask([12, 5, 9], 12)),
        ],
    )
