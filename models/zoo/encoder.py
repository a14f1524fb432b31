# SPDX-License-Identifier: Apache-2.0
"""The textbook encoder, sequence first: embedding, nn.TransformerEncoderLayer, linear."""

import torch
from torch import nn
from torch.export import Dim

from .common import BATCH, Model, ids, model, randomize


class Encoder(nn.Module):
    def __init__(self, vocab=96, width=32, heads=4, layers=2):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.layers = nn.ModuleList([nn.TransformerEncoderLayer(width, heads, 64) for _ in range(layers)])
        self.fc = nn.Linear(width, vocab)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.fc(x)


@model
def encoder(torchscript):
    torch.backends.mha.set_fastpath_enabled(False)
    # The TorchScript exporter writes the length of K and V in multi_head_attention_forward as a constant.
    axes = {1: BATCH} if torchscript else {0: Dim("seq", min=2, max=512), 1: BATCH}
    feeds = [(ids(96, 7, 2),), (ids(96, 7 if torchscript else 12, 3),)]
    return Model(randomize(Encoder()), ["tokens"], ["logits"], [axes], feeds)
