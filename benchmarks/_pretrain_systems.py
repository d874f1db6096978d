"""The systems of ``pretrain.py``: each gives a module and the loss of one batch, by its own modules and dropouts.

All take the same waveforms. Layer drop is off everywhere, so that every step does the whole work. A system's packages
are imported when it is built, so that each process holds its own only.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES, PENALTY = 500, 10.0
"""k-means classes of HuBERT's second iteration; weight of the mean square of the features (all waveform systems)."""


@dataclass(frozen=True)
class System:
    """What is trained, and how its loss comes from waveforms."""

    module: nn.Module
    """All parameters."""

    loss: Callable[[Tensor], Tensor]
    """Waveforms ``[batch, sample]`` to a scalar."""

    blocks: tuple[nn.Module, ...] = ()
    """What is compiled instead of the module; none: the module."""


def build(name: str, rate: int, device: str) -> System:
    """Return a system by its name in ``BUILDERS``, in training mode."""
    torch.manual_seed(0)
    system = BUILDERS[name](rate)
    system.module.to(device).train()
    return system


def _ours(rate: int) -> System:
    from audio_ssl.models.encoders import transformer
    from audio_ssl.models.frontends import conv
    from audio_ssl.models.model import ModelConfig, SSLModel
    from audio_ssl.pretrain.learner import penalty_sum
    from audio_ssl.pretrain.masking import Mask, draw_masks
    from audio_ssl.pretrain.objectives import masked_codes
    from audio_ssl.pretrain.view import ModelShape, View
    from audio_ssl.targets.spec import TargetSpec

    model = SSLModel(ModelConfig(conv.Config(), transformer.Config(layer_drop=0.0), rate))
    target = TargetSpec("codes", 1, CLASSES, model.grid)
    shape = ModelShape.of(model.frontend, model.encoder, decoded=False)
    head = masked_codes.build(masked_codes.Config(final_dim=256), shape, target)

    def loss(waveform: Tensor) -> Tensor:
        frames = model.grid.num_frames(torch.full((len(waveform),), waveform.shape[1]))
        total = int(frames[0])
        mask = draw_masks(frames, total, Mask(length_frames=10), range(len(waveform))).to(waveform.device)
        codes = torch.randint(CLASSES, (len(waveform), total, 1), device=waveform.device)
        output = model(waveform, None, mask)
        view = View(output.hidden, output.features, output.lengths, mask, codes, torch.Generator(), 0)
        penalty = penalty_sum(output.features, output.lengths, mask)
        scaled: Tensor = (head(view).loss_sum + PENALTY * penalty) / mask.sum()
        return scaled

    return System(nn.ModuleList([model, head]), loss, tuple(model.encoder.blocks))  # type: ignore[arg-type]


def _torchaudio(rate: int) -> System:
    from torchaudio.models import hubert_pretrain_base

    model = hubert_pretrain_base(num_classes=CLASSES, encoder_layer_drop=0.0)

    def loss(waveform: Tensor) -> Tensor:
        labels = torch.randint(CLASSES, (len(waveform), _frames(waveform.shape[1])), device=waveform.device)
        masked, _, penalty = model(waveform, labels)
        # The positions of its mask stay inside; which labels are wanted does not change the work.
        wanted = labels.reshape(-1)[: len(masked)]
        value: Tensor = F.cross_entropy(masked.float(), wanted) + PENALTY * penalty
        return value

    return System(model, loss)


def _transformers(rate: int, attention: str = "sdpa") -> System:
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
    from transformers.models.wav2vec2 import modeling_wav2vec2 as source

    config = Wav2Vec2Config(layerdrop=0.0, mask_time_prob=0.65, attn_implementation=attention)
    model = Wav2Vec2ForPreTraining(config)

    def loss(waveform: Tensor) -> Tensor:
        shape = (len(waveform), _frames(waveform.shape[1]))
        mask = source._compute_mask_indices(shape, config.mask_time_prob, config.mask_time_length)
        negatives = source._sample_negative_indices(shape, config.num_negatives, mask)
        inputs: Any = (torch.from_numpy(mask).to(waveform.device), torch.from_numpy(negatives).to(waveform.device))
        output = model(waveform, mask_time_indices=inputs[0], sampled_negative_indices=inputs[1])
        value: Tensor = output.loss / mask.sum()
        return value

    return System(model, loss)


def _transformers_eager(rate: int) -> System:
    return _transformers(rate, "eager")


def _fairseq2(rate: int) -> System:
    # soundfile first, or fairseq2 brings a libsndfile of its own; the recipe package sets the library up.
    for package in ("soundfile", "fairseq2.recipe"):
        importlib.import_module(package)
    from fairseq2.models.wav2vec2 import Wav2Vec2Config
    from fairseq2.models.wav2vec2.factory import create_wav2vec2_model
    from fairseq2.nn import BatchLayout

    config = Wav2Vec2Config()
    config.encoder_config.layer_drop_p = 0.0
    model = create_wav2vec2_model(config)

    def loss(waveform: Tensor) -> Tensor:
        value: Tensor = model(waveform, BatchLayout.of(waveform))[0].aggregate
        return value

    return System(model, loss)


def _speechbrain(rate: int) -> System:
    """Return the modules and sizes of its LibriSpeech BEST-RQ recipe (conformer 12 x 640, 25 frames a second)."""
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.BESTRQ import compute_mask
    from speechbrain.lobes.models.convolution import ConvolutionFrontEnd
    from speechbrain.lobes.models.transformer.TransformerASR import EncoderWrapper, TransformerASR
    from speechbrain.nnet.quantisers import RandomProjectionQuantizer
    from speechbrain.processing.features import InputNormalization

    mel, normalize = Fbank(sample_rate=rate, n_fft=400, n_mels=80), InputNormalization(norm_type="sentence")
    front = ConvolutionFrontEnd(
        (None, None, 80), num_blocks=2, num_layers_per_block=1, out_channels=(128, 32),
        kernel_sizes=(5, 5), strides=(2, 2), residuals=(False, False),
    )  # fmt: skip
    encoder = EncoderWrapper(
        TransformerASR(
            tgt_vocab=1, input_size=640, d_model=640, nhead=8, num_encoder_layers=12, num_decoder_layers=0,
            d_ffn=2048, dropout=0.1, activation=nn.GELU, encoder_module="conformer", attention_type="RelPosMHAXL",
            normalize_before=True, causal=False,
        )
    )  # fmt: skip
    quantizer, head = RandomProjectionQuantizer(320, 16, 8192), nn.Linear(640, 8192)
    module = nn.ModuleList([normalize, front, encoder, quantizer, head])

    def loss(waveform: Tensor) -> Tensor:
        lengths = torch.ones(len(waveform), device=waveform.device)
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            features = normalize(mel(waveform), lengths)
            features = features[:, : features.shape[1] // 4 * 4]
            targets = quantizer(features.reshape(len(waveform), -1, 320))
        mask = compute_mask(features.shape, [features.shape[1]] * len(waveform), 0.15, 4)
        features[:, mask] = 0.1 * torch.randn_like(features[:, mask])
        logits = head(encoder(front(features), lengths))
        rows = mask[::4] // 4
        value: Tensor = F.cross_entropy(logits[:, rows].flatten(0, 1).float(), targets[:, rows].flatten())
        return value

    return System(module, loss)


def _frames(samples: int) -> int:
    for kernel, stride in ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)):
        samples = (samples - kernel) // stride + 1
    return samples


def step(system: System, optimizer: torch.optim.Optimizer, waveform: Tensor, precision: str) -> float:
    """Make one training step: forward, loss, backward, AdamW; return the loss."""
    lowered = precision == "bfloat16"
    context = torch.autocast(waveform.device.type, torch.bfloat16) if lowered else contextlib.nullcontext()
    with context:
        loss = system.loss(waveform)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


BUILDERS: dict[str, Callable[[int], System]] = {
    "audio_ssl hubert_base": _ours,
    "torchaudio hubert_pretrain_base": _torchaudio,
    "transformers Wav2Vec2ForPreTraining": _transformers,
    "transformers Wav2Vec2ForPreTraining (eager)": _transformers_eager,
    "fairseq2 wav2vec2 base": _fairseq2,
    "speechbrain BEST-RQ": _speechbrain,
}
OURS = "audio_ssl hubert_base"
