"""BEST-RQ against SpeechBrain's own modules with the same weights (its recipe LibriSpeech/self-supervised-learning)."""

import dataclasses
import functools
import random

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from audio_ssl.base.seeds import generator
from audio_ssl.data.loader import Batch
from audio_ssl.models.encoders import conformer
from audio_ssl.models.frontends import mel
from audio_ssl.models.model import build_model
from audio_ssl.pretrain.kinds import masked_prediction as kind
from audio_ssl.pretrain.learner import MaskedLearner
from audio_ssl.pretrain.masking import draw_masks, hidden_noise
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.targets.teachers import random_projection
from tests.reference import GRADIENTS, LOSS, STATES, assert_gradients, difference

DROPOUTS = ("dropout", "attention_dropout", "activation_dropout", "input_dropout")
ENCODER = conformer.Config(
    layers=2,
    dim=32,
    ffn_dim=64,
    heads=4,
    kernel_frames=7,
    form="speechbrain",
    activation="gelu",
    positions="transformer_xl",
    **dict.fromkeys(DROPOUTS, 0.0),
)
PARTS = {
    "first.norm": "ffn_module1.0",
    "first.inner": "ffn_module1.1.ffn.0",
    "first.outer": "ffn_module1.1.ffn.3",
    "second.norm": "ffn_module2.0",
    "second.inner": "ffn_module2.1.ffn.0",
    "second.outer": "ffn_module2.1.ffn.3",
    "attention_norm": "norm1.norm",
    "final_norm": "norm2.norm",
    "out": "mha_layer.out_proj",
    "distances.projection": "mha_layer.linear_pos",
    "convolution.norm": "convolution_module.layer_norm",
    "convolution.gated": "convolution_module.bottleneck.0",
    "convolution.depthwise": "convolution_module.conv",
    "convolution.depthwise_norm": "convolution_module.after_conv.0",
    "convolution.out": "convolution_module.after_conv.2",
}
BIASES = {"content_bias": "pos_bias_u", "position_bias": "pos_bias_v"}


def their_encoder(config: conformer.Config, input_dim: int) -> nn.Module:
    """Return SpeechBrain's encoder as its recipe makes it, all weights moved off what they start with."""
    from speechbrain.lobes.models.transformer.TransformerASR import TransformerASR

    torch.manual_seed(0)
    model = TransformerASR(
        tgt_vocab=8,
        input_size=input_dim,
        d_model=config.dim,
        nhead=config.heads,
        num_encoder_layers=config.layers,
        num_decoder_layers=0,
        d_ffn=config.ffn_dim,
        dropout=config.dropout,
        activation=nn.GELU,
        conformer_activation=nn.GELU,
        kernel_size=config.kernel_frames,
        encoder_module="conformer",
        attention_type="RelPosMHAXL",
        normalize_before=True,
        causal=False,
        output_hidden_states=True,
    )
    return moved(model)


def moved(module: nn.Module) -> nn.Module:
    """Add noise to every parameter, so that none is one or zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def encoder_tensors(theirs: dict[str, torch.Tensor], config: conformer.Config) -> dict[str, torch.Tensor]:
    """Return tensors by SpeechBrain's names (parameters or gradients) by ours."""
    named = {
        "projection.weight": theirs["custom_src_module.layers.0.w.weight"],
        "projection.bias": theirs["custom_src_module.layers.0.w.bias"],
        "last_norm.weight": theirs["encoder.norm.norm.weight"],
        "last_norm.bias": theirs["encoder.norm.norm.bias"],
    }
    for layer in range(config.layers):
        start, ours = f"encoder.layers.{layer}.", f"blocks.{layer}."
        joined = theirs[start + "mha_layer.in_proj_weight"].view(config.heads, 3, -1, config.dim)
        for name, part in zip(("query", "key", "value"), joined.unbind(1), strict=True):
            named[f"{ours}{name}.weight"] = part.reshape(config.dim, config.dim)
        for name, other in BIASES.items():
            named[f"{ours}distances.{name}"] = theirs[f"{start}mha_layer.{other}"].view(config.heads, -1)
        for name, other in PARTS.items():
            for leaf in ("weight", "bias"):
                value = theirs.get(f"{start}{other}.{leaf}")
                if value is not None:
                    value = value.squeeze(-1) if name == "convolution.gated" and leaf == "weight" else value
                    named[f"{ours}{name}.{leaf}"] = value
    return named


def their_frontend(bands: int) -> tuple[nn.Module, nn.Module]:
    """Return SpeechBrain's mel frames, those inside the clip alone, and its convolutions."""
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.convolution import ConvolutionFrontEnd

    fbank = Fbank(sample_rate=16000, n_fft=400, n_mels=bands)
    # Ours do not look past the ends; theirs are centred, two frames more.
    fbank.compute_STFT.center = False
    torch.manual_seed(3)
    convolutions = ConvolutionFrontEnd(
        input_shape=(8, 10, bands),
        num_blocks=2,
        num_layers_per_block=1,
        out_channels=(6, 4),
        kernel_sizes=(3, 3),
        strides=(2, 2),
        residuals=(False, False),
        dropout=0.0,
    )
    return fbank, moved(convolutions)


def frontend_tensors(theirs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors of SpeechBrain's convolutions by our names."""
    named = {}
    for layer in range(2):
        start = f"convblock_{layer}.convs."
        # Its kernels lie over bands and frames, ours over frames and bands.
        named[f"convs.{layer}.weight"] = theirs[start + "conv_0.conv.weight"].transpose(2, 3)
        named[f"convs.{layer}.bias"] = theirs[start + "conv_0.conv.bias"]
        named[f"norms.{layer}.weight"] = theirs[start + "norm_0.norm.weight"]
        named[f"norms.{layer}.bias"] = theirs[start + "norm_0.norm.bias"]
    return named


def gradients(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def test_encoder_equals_speechbrains():
    theirs = their_encoder(ENCODER, 20).train()
    ours = conformer.build(ENCODER, 20).train()
    tensors = encoder_tensors(dict(theirs.named_parameters()), ENCODER)
    ours.load_state_dict({"mask_embedding": ours.mask_embedding.data, **tensors})
    features = torch.randn(3, 30, 20, generator=torch.Generator().manual_seed(1))
    output, hidden = theirs.encode(features)
    states = ours(features, torch.tensor([30, 30, 30]))
    for state, other in zip(states, [*hidden[:-1], output], strict=True):
        assert difference(state, other) < STATES
    probe = torch.randn(32, generator=torch.Generator().manual_seed(2))
    (output @ probe).square().sum().backward()
    (states[-1] @ probe).square().sum().backward()
    assert_gradients(gradients(ours), encoder_tensors(gradients(theirs), ENCODER), GRADIENTS)


@pytest.mark.parametrize("other", [{"positions": "none"}, {"positions": "rope"}, {"activation": "swish"}])
def test_no_other_form_equals_it(other):
    theirs = their_encoder(ENCODER, 20)
    ours = conformer.build(dataclasses.replace(ENCODER, **other), 20)
    ours.load_state_dict(encoder_tensors(dict(theirs.named_parameters()), ENCODER), strict=False)
    features = torch.randn(1, 30, 20, generator=torch.Generator().manual_seed(1))
    assert difference(ours(features, torch.tensor([30]))[-1], theirs.encode(features)[0]) > 1e-3


FRONTEND = mel.Config(n_mels=20, stack=1, conv_channels=(6, 4), form="speechbrain")
SAMPLES = 400 + 47 * 160


def swelling(clips: int, samples: int) -> torch.Tensor:
    """Return noise as loud and soft as speech is: with little to tell frames apart, the 1e-5 in our variance shows."""
    noise = torch.randn(clips, samples, generator=torch.Generator().manual_seed(1))
    return noise * 10 ** torch.sin(torch.arange(samples) / 700.0)


def test_features_equal_speechbrains():
    from speechbrain.processing.features import InputNormalization

    fbank, convolutions = their_frontend(20)
    ours = mel.build(FRONTEND, 16000)
    ours.load_state_dict(frontend_tensors(dict(convolutions.named_parameters())))
    waveform = swelling(2, SAMPLES)
    normalised = InputNormalization(norm_type="sentence")(fbank(waveform))
    features, frames = ours(waveform, torch.full((2,), SAMPLES))
    assert difference(features, convolutions(normalised).flatten(2)) < STATES
    assert frames.tolist() == [12, 12]
    teacher = random_projection.build(
        random_projection.Config(n_mels=20, codebook_size=50, form="speechbrain"), 16000, torch.device("cpu")
    )
    assert difference(teacher._mel(waveform[0]), normalised[0].view(12, 80)) < STATES
    plain = mel.build(dataclasses.replace(FRONTEND, form="plain", conv_channels=(), stack=4), 16000)
    assert difference(plain(waveform, frames * 0 + SAMPLES)[0], normalised.view(2, 12, 80)) > 1e-3


SMALL = [
    "frontend.n_mels=20",
    "frontend.conv_channels=[6, 4]",
    "encoder.layers=2",
    "encoder.dim=32",
    "encoder.ffn_dim=64",
    "encoder.heads=4",
    "encoder.kernel_frames=7",
    "teachers.0.n_mels=20",
    "teachers.0.codebook_size=50",
    *(f"{key}=0.0" for key in ("frontend.dropout", *(f"encoder.{name}" for name in DROPOUTS))),
]
LENGTHS = (SAMPLES, SAMPLES - 16 * 160)


def our_batch(teacher: random_projection.RandomProjectionTeacher, waveform: torch.Tensor) -> Batch:
    """Return clips of two lengths with labels, as the loader makes them; what follows the shorter is silent."""
    frames = torch.tensor([teacher.spec.grid.num_frames(samples) for samples in LENGTHS])
    clips = [clip[:samples] for clip, samples in zip(waveform, LENGTHS, strict=True)]
    labels = pad_sequence([teacher(clip) for clip in clips], batch_first=True)
    return Batch(pad_sequence(clips, batch_first=True), torch.tensor(LENGTHS), (labels,), frames, (5, 6), 0.0)


def their_loss(fbank, convolutions, encoder, quantizer, linear, waveform, mask, noise):
    """Return the logits, labels and features of one clip, step by step as their recipe's ``compute_forward``."""
    from speechbrain.processing.features import InputNormalization

    mel_frames = InputNormalization(norm_type="sentence")(fbank(waveform[None]), torch.ones(1))
    chosen = mask.nonzero()[:, 0]
    labels = quantizer(mel_frames.view(1, len(mask), -1)[:, chosen])[0]
    hidden = (chosen[:, None] * 4 + torch.arange(4)).flatten()
    mel_frames[:, hidden] = noise[chosen].view(1, len(hidden), -1)
    features = convolutions(mel_frames)
    states, _ = encoder.encode(features, torch.ones(1))
    return linear(states)[0, chosen], labels, features.flatten(2), states


@functools.cache
def agreement() -> dict[str, float]:
    """Return the largest relative differences to SpeechBrain's learner, and the share of its labels that are others."""
    from speechbrain.nnet.linear import Linear
    from speechbrain.nnet.quantisers import RandomProjectionQuantizer

    config = load_recipe("bestrq_base", SMALL)
    assert isinstance(config, kind.Config)
    teacher = random_projection.build(config.teachers[0], 16000, torch.device("cpu"))
    model = build_model(kind.model_config(config), generator(1))
    learner = MaskedLearner(model, kind.build_heads(config, model, [teacher.spec]), config.mask, None, 0.0, 1.0)
    fbank, convolutions = their_frontend(20)
    encoder = their_encoder(config.encoder, 20)
    quantizer, linear = RandomProjectionQuantizer(80, 16, 50), moved(Linear(n_neurons=50, input_size=32))
    quantizer.P.copy_(teacher.projection[0])
    quantizer.CB.copy_(teacher.codes[0])
    parts = (convolutions, encoder, linear)

    def ours_from(tensors: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        front, middle, last = tensors
        return {
            **{f"model.frontend.{name}": value for name, value in frontend_tensors(front).items()},
            **{f"model.encoder.{name}": value for name, value in encoder_tensors(middle, config.encoder).items()},
            "heads.0.projection.weight": last["w.weight"],
            "heads.0.projection.bias": last["w.bias"],
        }

    weights = ours_from([dict(part.named_parameters()) for part in parts])
    left = learner.load_state_dict(weights, strict=False)
    assert left.missing_keys == ["model.encoder.mask_embedding"]

    waveform = swelling(2, SAMPLES)
    batch = our_batch(teacher, waveform)
    assert config.mask is not None
    mask = draw_masks(batch.frames, 12, config.mask, batch.keys)
    noise = hidden_noise(mask, 80, config.mask.noise_std, batch.keys).values
    output = learner(batch, generator(2), 0)
    states, _ = learner._encode(batch.waveform, batch.lengths, mask, batch.keys)
    output.loss_sum.backward()

    loss, found = torch.zeros(()), {"features": 0.0, "hidden": 0.0, "labels": 0.0}
    for row, (samples, frames) in enumerate(zip(LENGTHS, batch.frames.tolist(), strict=True)):
        clip, own = waveform[row, :samples], mask[row, :frames]
        logits, labels, features, last = their_loss(fbank, *parts[:2], quantizer, linear, clip, own, noise[row])
        others = batch.targets[0][row, :frames, 0][own] != labels
        found["labels"] = max(found["labels"], float(others.double().mean()))
        for name, mine, theirs in (("features", states.features, features), ("hidden", states.hidden[-1], last)):
            found[name] = max(found[name], difference(mine[row : row + 1, :frames], theirs))
        loss = loss + nn.functional.cross_entropy(logits, labels, reduction="sum")
    loss.backward()
    assert float(output.count) == mask.sum() > 0
    found["loss"] = difference(output.loss_sum, loss)
    found["gradients"] = assert_gradients(gradients(learner), ours_from([gradients(part) for part in parts]), GRADIENTS)
    return found


def test_learner_equals_speechbrains():
    found = agreement()
    assert found["labels"] == 0.0
    assert max(found["features"], found["hidden"]) < STATES
    assert found["loss"] < LOSS


def test_masks_hide_what_speechbrains_hide(monkeypatch):
    from speechbrain.lobes.models import BESTRQ

    draws, frames = 2000, 312
    monkeypatch.setattr(BESTRQ, "random", random.Random(0))
    torch.manual_seed(0)
    theirs = torch.zeros(draws, frames, dtype=torch.bool)
    for row in theirs:
        # Their places count mel frames, four of which are one frame here.
        row[BESTRQ.compute_mask((1, 4 * frames, 80), [4 * frames], 0.15, 4)[::4] // 4] = True
    config = load_recipe("bestrq_base")
    assert isinstance(config, kind.Config)
    assert config.mask is not None
    ours = draw_masks(torch.full((draws,), frames), frames, config.mask, range(draws))
    assert abs(float(ours.double().mean() - theirs.double().mean())) < 4 * 0.4 / draws**0.5 / frames
    assert set(ours.sum(1).tolist()) == set(theirs.sum(1).tolist()) == {187, 188}
    own, other = run_lengths(ours), run_lengths(theirs)
    assert float(own.double().mean()) == pytest.approx(2.5, abs=0.03)
    error = (own.double().var() / len(own) + other.double().var() / len(other)) ** 0.5
    assert abs(float(own.double().mean() - other.double().mean())) < 4 * float(error)
    for length in range(1, 9):
        share, expected = (float((runs == length).double().mean()) for runs in (own, other))
        assert share == pytest.approx(expected, abs=4 * (2 * expected / len(own)) ** 0.5)


def run_lengths(mask: torch.Tensor) -> torch.Tensor:
    """Return the lengths of all runs of hidden frames, row after row."""
    edges = nn.functional.pad(mask.int(), (1, 1)).diff(dim=1)
    return (edges == -1).nonzero()[:, 1] - (edges == 1).nonzero()[:, 1]
