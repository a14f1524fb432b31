# SPDX-License-Identifier: Apache-2.0
"""Transformers over image patches: ViT, and Swin with shifted windows."""

import torch
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer
from transformers import ViTConfig, ViTForImageClassification

from .common import BATCH, Model, model, randomize


class Classifier(nn.Module):
    def __init__(self, vit):
        super().__init__()
        self.vit = vit

    def forward(self, pixel_values):
        return self.vit(pixel_values=pixel_values).logits


@model
def vit(torchscript):
    config = ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        num_labels=10,
    )
    images = [(torch.randn(2, 3, 32, 32),), (torch.randn(1, 3, 32, 32),)]
    module = randomize(Classifier(ViTForImageClassification(config)))
    return Model(module, ["pixel_values"], ["logits"], [{0: BATCH}], images)


@model
def swin(torchscript):
    module = SwinTransformer(
        patch_size=[2, 2], embed_dim=12, depths=[2, 1], num_heads=[2, 3], window_size=[4, 4], num_classes=10
    )
    images = [(torch.randn(2, 3, 32, 32),), (torch.randn(1, 3, 32, 32),)]
    return Model(randomize(module), ["image"], ["logits"], [{0: BATCH}], images)
