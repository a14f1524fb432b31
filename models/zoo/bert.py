# SPDX-License-Identifier: Apache-2.0
"""BERT: question answering, and a sentence embedder (mean of the tokens, normalized)."""

import torch
from torch import nn
from torch.export import Dim
from transformers import BertConfig, BertForQuestionAnswering, BertModel

from .common import BATCH, Model, ids, model, padding_mask, randomize

SIZES = dict(
    vocab_size=100,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=64,
)


class QuestionAnswering(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = BertForQuestionAnswering(BertConfig(**SIZES))

    def forward(self, input_ids, attention_mask):
        # Explicit positions: the length is then bounded by the rows of the table alone, which is data, not a shape.
        positions = torch.arange(input_ids.shape[1]).unsqueeze(0)
        o = self.bert(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=torch.zeros_like(input_ids),
            position_ids=positions,
        )
        return o.start_logits, o.end_logits


class SentenceEmbedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = BertModel(BertConfig(**SIZES), add_pooling_layer=False)

    def forward(self, input_ids, attention_mask, token_type_ids):
        o = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        hidden = o.last_hidden_state
        keep = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * keep).sum(1) / keep.sum(1).clamp(min=1e-9)
        return hidden, nn.functional.normalize(mean, dim=-1)


@model
def bert_qa(torchscript):
    axes = {0: BATCH, 1: Dim("seq", min=2, max=512)}
    return Model(
        randomize(QuestionAnswering()),
        ["input_ids", "attention_mask"],
        ["start_logits", "end_logits"],
        [axes, axes],
        [
            (ids(100, 2, 10), padding_mask([10, 10], 10)),
            (ids(100, 3, 17), padding_mask([17, 9, 4], 17)),
        ],
    )


@model
def minilm(torchscript):
    axes = {0: BATCH, 1: Dim("seq", min=2, max=64)}
    return Model(
        randomize(SentenceEmbedder()),
        ["input_ids", "attention_mask", "token_type_ids"],
        ["last_hidden_state", "sentence_embedding"],
        [axes, axes, axes],
        [
            (ids(100, 2, 8), padding_mask([8, 8], 8), torch.randint(0, 2, (2, 8))),
            (ids(100, 3, 13), padding_mask([6, 13, 2], 13), torch.randint(0, 2, (3, 13))),
        ],
    )
