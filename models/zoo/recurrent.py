# SPDX-License-Identifier: Apache-2.0
"""Taggers: embedding, a bidirectional recurrent network of two layers, linear."""

from torch import nn
from torch.export import Dim

from .common import BATCH, Model, ids, model, randomize


class Tagger(nn.Module):
    def __init__(self, recurrent, vocab=100, width=24, tags=7):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.rnn = recurrent(width, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(32, tags)

    def forward(self, tokens):
        x, _ = self.rnn(self.embedding(tokens))
        return self.fc(x)


def tagger(recurrent):
    axes = {0: BATCH, 1: Dim("seq", min=2, max=512)}
    feeds = [(ids(100, 2, 8),), (ids(100, 3, 13),)]
    return Model(randomize(Tagger(recurrent)), ["tokens"], ["tags"], [axes], feeds)


@model
def lstm_tagger(torchscript):
    return tagger(nn.LSTM)


@model
def gru_tagger(torchscript):
    return tagger(nn.GRU)
