# SPDX-License-Identifier: Apache-2.0
"""What every model of the zoo says about itself, and the list of them all."""

import math
from dataclasses import dataclass, field

import torch
from torch.export import Dim

MODELS = {}  # name -> function(torchscript: bool) -> Model


def model(build):
    """Decorator: puts a builder in the list under its own name."""
    MODELS[build.__name__] = build
    return build


@dataclass
class Model:
    """A module with what is needed to export it and to check an export.

    Every input is a tensor of its own: a module with many (a cache) takes them as *args.
    dynamic has one {axis: Dim} per input; feeds are tuples of tensors, the first of which is traced.
    """

    module: torch.nn.Module
    inputs: list
    outputs: list
    dynamic: list
    feeds: list
    options: dict = field(default_factory=dict)  # further arguments of the TorchScript exporter


BATCH = Dim("batch", min=1, max=1024)


def randomize(module):
    """Fill every parameter so that no term vanishes, norms and statistics too, and activations stay near 1."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.dim() >= 2:
                fan_in = p.numel() // p.shape[0]
                gain = 2 if p.dim() == 4 else 1
                p.normal_(0, math.sqrt(gain / fan_in))
            elif name.endswith("weight"):
                p.normal_(1, 0.1)
            else:
                p.normal_(0, 0.1)
        for name, b in module.named_buffers():
            if name.endswith("running_mean"):
                b.normal_(0, 0.2)
            elif name.endswith("running_var"):
                b.uniform_(0.5, 1.5)
    return module.eval()


def ids(vocab, *shape):
    return torch.randint(3, vocab, shape)


def padding_mask(lengths, width):
    """1 for a token, 0 for padding at the end: [len(lengths), width], int64."""
    return (torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]).long()
