# SPDX-License-Identifier: Apache-2.0
"""Image classifiers: a residual network with batch normalization, and MobileNetV3 at a quarter of its width."""

import torch
from torch import nn
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from .common import BATCH, Model, model, randomize


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 12, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.blocks = nn.Sequential(
            BasicBlock(12, 12),
            BasicBlock(12, 24, stride=2, downsample=nn.Sequential(conv1x1(12, 24, 2), nn.BatchNorm2d(24))),
            Bottleneck(24, 12, stride=2, downsample=nn.Sequential(conv1x1(24, 48, 2), nn.BatchNorm2d(48))),
            Bottleneck(48, 12),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(48, 10)

    def forward(self, image):
        x = self.blocks(self.stem(image))
        return self.fc(torch.flatten(self.pool(x), 1))


@model
def resnet(torchscript):
    images = [(torch.randn(2, 3, 32, 32),), (torch.randn(1, 3, 32, 32),)]
    unfolded = dict(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)  # keep BatchNormalization
    return Model(randomize(ResNet()), ["image"], ["logits"], [{0: BATCH}], images, unfolded)


@model
def mobilenet(torchscript):
    def block(i, kernel, expanded, o, se, activation, stride):
        return InvertedResidualConfig(i, kernel, expanded, o, se, activation, stride, dilation=1, width_mult=0.25)

    module = MobileNetV3(
        [
            block(32, 3, 32, 32, True, "RE", 2),
            block(32, 3, 96, 48, False, "RE", 2),
            block(48, 5, 128, 48, True, "HS", 1),
            block(48, 5, 192, 64, True, "HS", 2),
        ],
        last_channel=64,
        num_classes=10,
    )
    images = [(torch.randn(2, 3, 32, 32),), (torch.randn(1, 3, 32, 32),)]
    return Model(randomize(module), ["image"], ["logits"], [{0: BATCH}], images)
