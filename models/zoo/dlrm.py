# SPDX-License-Identifier: Apache-2.0
"""A recommender (DLRM): embedding tables and a bag, pairwise products of the features, two small networks."""

import torch
from torch import nn

from .common import BATCH, Model, model, randomize


def mlp(*sizes, last):
    layers = []
    for i, o in zip(sizes, sizes[1:]):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1], last)


class DLRM(nn.Module):
    def __init__(self, tables=4, rows=50, width=16):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(rows, width) for _ in range(tables)])
        self.bag = nn.EmbeddingBag(rows, width, mode="sum")
        self.bottom = mlp(13, 32, width, last=nn.ReLU())
        features = tables + 2
        self.top = mlp(width + features * (features - 1) // 2, 32, 16, 1, last=nn.Sigmoid())
        i, j = torch.tril_indices(features, features, -1)
        self.register_buffer("i", i)
        self.register_buffer("j", j)

    def forward(self, dense, sparse, history):
        x = self.bottom(dense)
        rows = [table(sparse[:, k]) for k, table in enumerate(self.tables)]
        features = torch.stack([x, *rows, self.bag(history)], 1)
        pairs = features @ features.transpose(1, 2)
        return self.top(torch.cat([x, pairs[:, self.i, self.j]], 1))


@model
def dlrm(torchscript):
    def feed(batch):
        return torch.randn(batch, 13), torch.randint(0, 50, (batch, 4)), torch.randint(0, 50, (batch, 6))

    axes = {0: BATCH}
    return Model(randomize(DLRM()), ["dense", "sparse", "history"], ["click"], [axes] * 3, [feed(4), feed(7)])
