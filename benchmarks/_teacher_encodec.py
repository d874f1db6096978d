"""EnCodec codes, 8 codebooks: ours beside the encodec package, with the same random weights."""

from __future__ import annotations

import warnings
from functools import partial

import torch
from _teacher_parts import OURS, Goal, Part, Results, Work, identical, music  # type: ignore[import-not-found]
from encodec import EncodecModel
from encodec.modules.conv import SConv1d
from encodec.modules.lstm import SLSTM
from torch import Tensor

from audio_ssl.targets.teachers import encodec

RATE, CODEBOOKS = 24_000, 8
PACKAGE = "encodec"
CONFIG = encodec.Config(random_weights=True, codebooks=CODEBOOKS)


def gflop_per_second(model: EncodecModel) -> float:
    """Return the additions and multiplications of encoder and quantiser for a second of audio, in 1e9."""
    total, rate = 0.0, float(RATE)
    for module in model.encoder.model:
        if isinstance(module, SLSTM):
            total += 2 * rate * sum(weight.numel() for weight in module.parameters() if weight.dim() == 2)
            continue
        for conv in (m for m in module.modules() if isinstance(m, SConv1d)):
            inner = conv.conv.conv
            rate /= inner.stride[0]
            total += 2 * rate * inner.in_channels * inner.out_channels * inner.kernel_size[0]
    for layer in model.quantizer.vq.layers[:CODEBOOKS]:
        total += 2 * rate * layer._codebook.embed.numel()
    return total / 1e9


def _model() -> EncodecModel:
    # The package uses torch's older weight norm.
    warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
    model: EncodecModel = encodec._load(CONFIG).eval()
    model.set_target_bandwidth(0.75 * CODEBOOKS)
    # Codes spread as what they quantise is, so that most are used and near ties occur.
    with torch.no_grad():
        latent = model.encoder(music(5, RATE, seed=1)[None, None])[0].T
    generator = torch.Generator().manual_seed(0)
    for number, layer in enumerate(model.quantizer.vq.layers):
        codes = torch.randn(layer._codebook.embed.shape, generator=generator) * latent.std(0) * 0.9**number
        layer._codebook.embed.copy_(codes + (latent.mean(0) if number == 0 else 0.0))
    return model


def exact_codes(clips: Tensor) -> Tensor:
    """Return the package's codes ``[batch, frame, codebook]`` in float64, where rounding decides far less often."""
    model = _model().double()
    with torch.inference_mode():
        codes: Tensor = model.encode(clips.double()[:, None])[0][0].mT
    return codes


def _ours(clips: Tensor) -> Work:
    teacher = encodec.EncodecTeacher(CONFIG, _model(), torch.device("cpu"))
    return lambda: teacher.batch(clips)


def _package(clips: Tensor) -> Work:
    model = _model()

    def work() -> Tensor:
        with torch.inference_mode():
            codes: Tensor = model.encode(clips[:, None])[0][0].mT
        return codes

    return work


def _judge(clips: Tensor, results: Results) -> dict[str, dict[str, float]]:
    # A code of the first frames depends on what comes after by the reflection at the end alone.
    exact = exact_codes(clips[:, : 10 * RATE])[:, :-8]
    rows = {name: {"exact": identical(runs[-1][:, : exact.shape[1]], exact)} for name, runs in results.items()}
    rows[OURS]["identical"] = identical(results[OURS][-1], results[PACKAGE][-1])
    rows[OURS]["codes_used"] = float(len(results[OURS][-1].unique()))
    rows[OURS]["exact_of_peer"] = rows[OURS]["exact"] / rows[PACKAGE]["exact"]
    return rows


def parts(quick: bool) -> list[Part]:
    """Return one clip alone and four together."""
    seconds = 5 if quick else 30
    waveform = music(4 * seconds, RATE)
    per_second = gflop_per_second(_model())

    goals = (
        Goal("ours_is_faster", 1.7, against=PACKAGE),
        Goal("share_of_peak", 0.8),
        Goal("identical", 0.995),
        Goal("exact_of_peer", 0.9995),
    )
    found = []
    for clips in (1, 4):
        batch = waveform[: clips * seconds * RATE].view(clips, -1)
        systems = {OURS: partial(_ours, batch), PACKAGE: partial(_package, batch)}
        what = f"{CODEBOOKS} codebooks, {clips} x {seconds} s"
        total, gflop = clips * seconds, per_second * clips * seconds
        judge = partial(_judge, batch)
        found.append(Part(f"encodec x {clips}", what, systems, total, judge, goals, gflop, memory=not quick))
    return found
