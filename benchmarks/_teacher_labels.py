"""Quantisers of log-mel frames: random projection beside SpeechBrain's, mel_rvq beside transformers' DAC quantiser.

MuQ's quantiser is DAC's with projections: peer and ours get the same projections and codes of unit length, for which
DAC's cosine and our Euclidean distance choose the same code.
"""

from __future__ import annotations

from functools import partial

import torch
from _teacher_parts import OURS, Goal, Part, Results, Work, identical, music  # type: ignore[import-not-found]
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.targets.acoustic import StackedLogMel
from audio_ssl.targets.teachers import mel_rvq, random_projection

RATE = 16_000
SPEECHBRAIN, DAC = "speechbrain RandomProjectionQuantizer", "transformers DacResidualVectorQuantize"
CPU = torch.device("cpu")


def _projection() -> random_projection.RandomProjectionTeacher:
    return random_projection.build(random_projection.Config(), RATE, CPU)


def _ours_projection(frames: Tensor) -> Work:
    teacher = _projection()
    return lambda: teacher.quantize(frames)[:, 0]


def _speechbrain(frames: Tensor) -> Work:
    from speechbrain.nnet.quantisers import RandomProjectionQuantizer

    config, teacher = random_projection.Config(), _projection()
    quantiser = RandomProjectionQuantizer(frames.shape[1], config.code_dim, config.codebook_size)
    quantiser.P.copy_(teacher.projection[0])
    quantiser.CB.copy_(teacher.codes[0])

    def work() -> Tensor:
        with torch.inference_mode():
            labels: Tensor = quantiser(frames[None])[0]
        return labels

    return work


def _state(config: mel_rvq.Config) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    dim = config.n_mels * config.stack
    projection = torch.randn(config.codebooks, dim, config.code_dim, generator=generator)
    codes = torch.randn(config.codebooks, config.codebook_size, config.code_dim, generator=generator)
    return {
        "mean": torch.zeros(dim),
        "scale": torch.ones(dim),
        "projection": torch.linalg.qr(projection).Q.contiguous(),
        "codes": F.normalize(codes, dim=-1),
    }


def _ours_rvq(patches: Tensor) -> Work:
    config = mel_rvq.Config()
    teacher = mel_rvq.MelRVQTeacher(config, _state(config), 24_000, CPU)
    return lambda: teacher.quantize(patches)


def _dac(patches: Tensor) -> Work:
    from transformers import DacConfig
    from transformers.models.dac.modeling_dac import DacResidualVectorQuantize

    config = mel_rvq.Config()
    state = _state(config)
    settings = DacConfig(n_codebooks=config.codebooks, codebook_size=config.codebook_size, codebook_dim=config.code_dim)
    settings.hidden_size = patches.shape[1]
    quantiser = DacResidualVectorQuantize(settings).eval()
    with torch.no_grad():
        for layer, projection, codes in zip(quantiser.quantizers, state["projection"], state["codes"], strict=True):
            layer.in_proj.weight.copy_(projection.T[:, :, None])
            layer.out_proj.weight.copy_(projection[:, :, None])
            layer.in_proj.bias.zero_()
            layer.out_proj.bias.zero_()
            layer.codebook.weight.copy_(codes)

    def work() -> Tensor:
        with torch.inference_mode():
            codes: Tensor = quantiser(patches.T[None])[1][0].T
        return codes

    return work


def _judge(peer: str, results: Results) -> dict[str, dict[str, float]]:
    return {OURS: {"identical": identical(results[OURS][-1], results[peer][-1])}, peer: {}}


def parts(quick: bool) -> list[Part]:
    """Return both quantisers; SpeechBrain's holds frames x codes x dimensions, which bounds the clip."""
    seconds = 10 if quick else 60
    config = random_projection.Config()
    hop, window = round(config.hop_seconds * RATE), round(config.window_seconds * RATE)
    frames = StackedLogMel(RATE, hop, window, config.n_mels, config.stack)(music(seconds, RATE))
    systems = {OURS: partial(_ours_projection, frames), SPEECHBRAIN: partial(_speechbrain, frames)}
    what = f"{len(frames)} frames, {config.codebook_size} codes of {config.code_dim}"
    goals = (Goal("ours_is_faster", 1.0, against=SPEECHBRAIN), Goal("identical", 0.9999))
    first = Part("random projection", what, systems, seconds, partial(_judge, SPEECHBRAIN), goals, memory=True)
    seconds = 60 if quick else 240
    rvq = mel_rvq.Config()
    teacher = mel_rvq.MelRVQTeacher(rvq, _state(rvq), 24_000, CPU)
    patches = teacher.patches(music(seconds, 24_000))
    patches = (patches - patches.mean(0)) / patches.std(0)
    systems = {OURS: partial(_ours_rvq, patches), DAC: partial(_dac, patches)}
    what = f"{len(patches)} patches x {patches.shape[1]}, {rvq.codebooks} x {rvq.codebook_size} codes"
    goals = (Goal("ours_is_faster", 1.0, against=DAC), Goal("identical", 0.9999))
    return [first, Part("mel_rvq", what, systems, seconds, partial(_judge, DAC), goals, memory=not quick)]
