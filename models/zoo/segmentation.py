# SPDX-License-Identifier: Apache-2.0
"""From image to map: DeepLab (dilated convolutions, pyramid pooling, bilinear upsampling) and a U-Net."""

import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP

from .common import BATCH, Model, model, randomize


def conv(i, o, **kw):
    return nn.Sequential(nn.Conv2d(i, o, 3, bias=False, **kw), nn.BatchNorm2d(o), nn.ReLU())


class DeepLab(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.backbone = nn.Sequential(
            conv(3, 12, stride=2, padding=1),
            conv(12, 16, stride=2, padding=1),
            conv(16, 16, padding=2, dilation=2),
            conv(16, 24, padding=4, dilation=4),
        )
        self.head = nn.Sequential(ASPP(24, [2, 4, 6], 12), conv(12, 12, padding=1), nn.Conv2d(12, classes, 1))

    def forward(self, image):
        x = self.head(self.backbone(image))
        return F.interpolate(x, size=image.shape[-2:], mode="bilinear", align_corners=False)


class Block(nn.Module):
    """Two convolutions with group normalization and SiLU."""

    def __init__(self, i, o):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(i, o, 3, padding=1), nn.GroupNorm(4, o)
        self.conv2, self.norm2 = nn.Conv2d(o, o, 3, padding=1), nn.GroupNorm(4, o)

    def forward(self, x):
        x = F.silu(self.norm1(self.conv1(x)))
        return F.silu(self.norm2(self.conv2(x)))


class UNet(nn.Module):
    def __init__(self, classes=2):
        super().__init__()
        self.down1, self.down2, self.bottom = Block(3, 8), Block(8, 16), Block(16, 32)
        self.up2, self.join2 = nn.ConvTranspose2d(32, 16, 2, stride=2), Block(32, 16)
        self.up1, self.join1 = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1), Block(16, 8)
        self.out = nn.Conv2d(8, classes, 1)

    def forward(self, image):
        a = self.down1(image)
        b = self.down2(F.max_pool2d(a, 2))
        x = self.bottom(F.max_pool2d(b, 2))
        x = self.join2(torch.cat([b, self.up2(x)], 1))
        x = self.join1(torch.cat([a, self.up1(x)], 1))
        return self.out(x)


@model
def segmentation(torchscript):
    axes = {0: BATCH, 2: Dim("height", min=16, max=512), 3: Dim("width", min=16, max=512)}
    images = [(torch.randn(2, 3, 21, 24),), (torch.randn(1, 3, 32, 19),)]
    return Model(randomize(DeepLab()), ["image"], ["mask"], [axes], images)


@model
def unet(torchscript):
    axes = {0: BATCH, 2: 4 * Dim("rows", min=4, max=64), 3: 4 * Dim("columns", min=4, max=64)}
    images = [(torch.randn(2, 3, 16, 24),), (torch.randn(1, 3, 24, 20),)]
    return Model(randomize(UNet()), ["image"], ["mask"], [axes], images)
