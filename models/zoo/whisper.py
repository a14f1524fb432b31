# SPDX-License-Identifier: Apache-2.0
"""Whisper's encoder: two 1-D convolutions over a spectrogram, then attention. The frames are fixed by the model."""

import torch
from torch import nn
from transformers import WhisperConfig, WhisperModel

from .common import BATCH, Model, model, randomize


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        config = WhisperConfig(
            vocab_size=100,
            num_mel_bins=16,
            d_model=32,
            encoder_layers=2,
            encoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_layers=1,
            decoder_attention_heads=4,
            decoder_ffn_dim=64,
            max_source_positions=30,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
        self.encoder = WhisperModel(config).encoder

    def forward(self, input_features):
        return self.encoder(input_features).last_hidden_state


@model
def whisper_encoder(torchscript):
    features = [(torch.randn(2, 16, 60),), (torch.randn(1, 16, 60),)]
    return Model(randomize(Encoder()), ["input_features"], ["last_hidden_state"], [{0: BATCH}], features)
