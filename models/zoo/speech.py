# SPDX-License-Identifier: Apache-2.0
"""A speech synthesiser in the manner of VITS, of the parts in transformers.

Text encoder with relative attention, duration predictor, length regulation (the number of frames is data), normalizing
flow, vocoder of transposed convolutions. Noise is an input, so that the result is a function of the feed.
"""

import torch
from torch import nn
from torch.export import Dim
from torch.nn.utils import parametrize
from transformers import VitsConfig, VitsModel
from transformers.models.vits import modeling_vits

from .common import BATCH, Model, ids, model, padding_mask, randomize

FLOW = 8
CONFIG = dict(
    vocab_size=60,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    ffn_dim=32,
    flow_size=FLOW,
    spectrogram_bins=16,
    duration_predictor_filter_channels=16,
    use_stochastic_duration_prediction=False,
    upsample_initial_channel=16,
    upsample_rates=[4, 2],
    upsample_kernel_sizes=[8, 4],
    resblock_kernel_sizes=[3, 5],
    resblock_dilation_sizes=[[1, 3], [1, 3]],
    prior_encoder_num_flows=2,
    prior_encoder_num_wavenet_layers=2,
    posterior_encoder_num_wavenet_layers=1,
    wavenet_kernel_size=3,
)
STOCHASTIC = dict(  # and less of the rest
    use_stochastic_duration_prediction=True,
    duration_predictor_num_flows=2,
    depth_separable_num_layers=2,
    num_hidden_layers=1,
    prior_encoder_num_flows=1,
    upsample_rates=[8],
    upsample_kernel_sizes=[16],
    resblock_kernel_sizes=[3],
    resblock_dilation_sizes=[[1, 3]],
)


def gate(a, b, channels):
    """The WaveNet gate; transformers has it as a TorchScript function, which torch.export does not enter."""
    x = a + b
    half = x.shape[1] // 2
    return torch.tanh(x[:, :half]) * torch.sigmoid(x[:, half:])


def spline(inputs, unnormalized_widths, unnormalized_heights, unnormalized_derivatives, tail_bound, **_):
    """Inverse of the rational-quadratic spline. That of transformers checks values: torch.export cannot follow."""

    def knots(t):
        size = 1e-3 + (1 - 1e-3 * t.shape[-1]) * t.softmax(-1)
        at = nn.functional.pad(size.cumsum(-1), (1, 0)) * (2 * tail_bound) - tail_bound
        at[..., 0], at[..., -1] = -tail_bound, tail_bound
        return at, at[..., 1:] - at[..., :-1]

    (x_at, width), (y_at, height) = knots(unnormalized_widths), knots(unnormalized_heights)
    slope = 1e-3 + nn.functional.softplus(unnormalized_derivatives)
    y_at[..., -1] += 1e-6
    bin = (inputs[..., None] >= y_at).sum(-1, keepdim=True) - 1

    def pick(t):
        return t.gather(-1, bin)[..., 0]

    y, h, secant = inputs - pick(y_at), pick(height), pick(height / width)
    left, right = pick(slope), pick(slope[..., 1:])
    bend = y * (left + right - 2 * secant)
    a, b, c = h * (secant - left) + bend, h * left - bend, -secant * y
    root = 2 * c / (-b - torch.sqrt(b.pow(2) - 4 * a * c))
    return root * pick(width) + pick(x_at), torch.zeros_like(inputs)  # the second is of use in training


class Synthesizer(nn.Module):
    def __init__(self, stochastic):
        super().__init__()
        modeling_vits.fused_add_tanh_sigmoid_multiply = gate
        modeling_vits._rational_quadratic_spline = spline
        config = VitsConfig(**(CONFIG | STOCHASTIC if stochastic else CONFIG))
        vits = VitsModel(config)
        self.text_encoder, self.duration_predictor = vits.text_encoder, vits.duration_predictor
        self.flow, self.decoder = vits.flow, vits.decoder
        for m in self.modules():
            if parametrize.is_parametrized(m, "weight"):
                parametrize.remove_parametrizations(m, "weight")

    def log_duration(self, hidden, keep, noise):
        """With noise, the reverse pass of the stochastic predictor, which draws its own in transformers."""
        p = self.duration_predictor
        if noise is None:
            return p(hidden, keep)
        condition = p.conv_proj(p.conv_dds(p.conv_pre(hidden), keep)) * keep
        latent = noise * 0.8
        for flow in [*reversed(p.flows[2:]), p.flows[0]]:
            latent, _ = flow(latent.flip(1), keep, global_conditioning=condition, reverse=True)
        return latent[:, :1]

    def encode(self, input_ids, attention_mask, duration_noise=None):
        """The encoded text, and how many frames each token lasts, not yet rounded: [batch, 1, tokens]."""
        keep = attention_mask.unsqueeze(-1).float()
        text = self.text_encoder(input_ids=input_ids, padding_mask=keep, attention_mask=attention_mask)
        keep = keep.transpose(1, 2)
        log_duration = self.log_duration(text.last_hidden_state.transpose(1, 2), keep, duration_noise)
        return text, torch.exp(log_duration) * keep

    def forward(self, input_ids, attention_mask, noise, duration_noise=None):
        text, duration = self.encode(input_ids, attention_mask, duration_noise)
        duration = torch.ceil(duration)
        lengths = duration.sum([1, 2]).clamp(min=1).long()
        frame = torch.arange(lengths.max())
        frame_keep = (frame[None, :] < lengths[:, None]).unsqueeze(1).to(noise.dtype)

        # path[b, t, f] = 1 where frame f belongs to token t
        end = duration.cumsum(-1).transpose(1, 2)
        before = (frame.to(noise.dtype) < end).to(noise.dtype)
        path = (before - nn.functional.pad(before, [0, 0, 1, 0])[:, :-1]) * frame_keep

        mean, log_variance = text.prior_means.transpose(1, 2) @ path, text.prior_log_variances.transpose(1, 2) @ path
        latent = mean + noise[:, :, : frame.shape[0]] * torch.exp(log_variance) * 0.667
        latent = self.flow(latent, frame_keep, reverse=True) * frame_keep
        return self.decoder(latent).squeeze(1), lengths * 8


def synthesizer(stochastic):
    tokens = Dim("tokens", min=6, max=256)
    axes = [{0: BATCH, 1: tokens}, {0: BATCH, 1: tokens}, {0: BATCH, 2: Dim("frames", min=8, max=4096)}]
    if stochastic:
        axes.append({0: BATCH, 2: tokens})

    def feed(lengths):
        batch, width = len(lengths), max(lengths)
        frames = torch.randn(batch, FLOW, 8 * width)
        durations = torch.randn(batch, 2, width)
        durations[:, :, 0] = -7  # beyond the ends of the spline
        return ids(60, batch, width), padding_mask(lengths, width), frames, *[durations] * stochastic

    module, feeds = randomize(Synthesizer(stochastic)), [feed([8, 8]), feed([13, 7, 10])]
    if stochastic:  # a few frames per token
        last = module.duration_predictor.flows[0]
        last.translate.fill_(-0.5)
        last.log_scale.fill_(0.4)
    for input_ids, mask, _, *duration_noise in feeds:  # no rounding may hang on the last bits of an exponential
        _, duration = module.encode(input_ids, mask, *duration_noise)
        assert (duration - duration.round())[:, 0][mask == 1].abs().min() > 1e-3
    inputs = ["input_ids", "attention_mask", "noise"] + ["duration_noise"] * stochastic
    return Model(module, inputs, ["waveform", "samples"], axes, feeds)


@model
def speech(torchscript):
    return synthesizer(stochastic=False)


@model
def speech_stochastic(torchscript):
    return synthesizer(stochastic=True)
