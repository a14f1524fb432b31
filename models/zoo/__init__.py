# SPDX-License-Identifier: Apache-2.0
"""Small models of many families; importing the package fills MODELS."""

from .common import MODELS
from . import (
    encoder,
    bert,
    deberta,
    decoder,
    t5,
    xlnet,
    vision_transformer,
    convnet,
    segmentation,
    whisper,
    recurrent,
    speech,
    dlrm,
)
