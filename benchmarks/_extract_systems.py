"""The systems of ``extract.py``: each turns files into all hidden states, with the same weights, its own way.

Decoding (soundfile) is part of all of them; hidden states are given to the caller and dropped. A system's packages are
imported when it is built, so that each process holds its own only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

Run = Callable[[Sequence[Path]], Iterator[tuple[str, list[Tensor]]]]
"""Files to names and hidden states ``[frame, dim]`` of each; a long file may come in pieces of the same name."""

PIECE_SECONDS, BATCH_SECONDS = 30, 60
"""Peers get longer files in pieces; padded batches hold this much audio."""


def our_model() -> Any:
    """Return HuBERT base of fixed random weights."""
    from audio_ssl.models.encoders import transformer
    from audio_ssl.models.frontends import conv
    from audio_ssl.models.model import ModelConfig, build_model

    config = ModelConfig(conv.Config(), transformer.Config(), 16_000)
    return build_model(config, torch.Generator().manual_seed(0)).eval()


def read(path: Path) -> Iterator[Tensor]:
    """Yield a file in pieces of at most `PIECE_SECONDS`."""
    with soundfile.SoundFile(path) as file:
        for piece in file.blocks(PIECE_SECONDS * file.samplerate, dtype="float32"):
            # What is left of a file may be too short for a frame.
            if len(piece) >= 400:
                yield torch.from_numpy(piece)


def _ours(precision: str) -> Run:
    from audio_ssl.data.audio import audio_info
    from audio_ssl.data.manifest import Clip
    from audio_ssl.features.pieces import stream
    from audio_ssl.features.settings import Settings
    from audio_ssl.features.source import ModelSource

    cpu = torch.device("cpu")
    source = ModelSource("hubert_base", our_model()).at(cpu, precision)
    settings = Settings(precision=precision, device="cpu")

    def run(files: Sequence[Path]) -> Iterator[tuple[str, list[Tensor]]]:
        clips = (Clip(path.name, str(path), 0.0, audio_info(path).seconds, 16_000) for path in files)
        for found in stream(clips, source, _refuse, None, settings):
            yield found.clip.id, found.layers

    return run


def _refuse(clip: Any, reason: str) -> None:
    raise RuntimeError(f"{clip.id}: {reason}")


def _general() -> Run:
    """Return our model a clip at a time by its modules, as before there was a path for inference."""
    from audio_ssl.models import padding
    from audio_ssl.models.fast import cpu
    from audio_ssl.models.frontends import conv

    for module in (cpu, padding, conv):
        module.is_inference = lambda x: False  # type: ignore[attr-defined]
    model = our_model()
    return _file_by_file(lambda wave: model(wave[None]).hidden)


def _file_by_file(hidden_of: Callable[[Tensor], Iterable[Tensor]]) -> Run:
    def run(files: Sequence[Path]) -> Iterator[tuple[str, list[Tensor]]]:
        for path in files:
            for wave in read(path):
                yield path.name, [state[0] for state in hidden_of(wave)]

    return run


def their_model() -> Any:
    """Return transformers' HuBERT base with the same weights."""
    from transformers import HubertConfig, HubertModel

    from audio_ssl.interop.transformers import to_transformers_weights

    model = HubertModel(HubertConfig(attn_implementation="sdpa")).eval()
    model.load_state_dict(to_transformers_weights(our_model()))
    return model


def _transformers() -> Run:
    model = their_model()
    return _file_by_file(lambda wave: model(wave[None], output_hidden_states=True).hidden_states)


def _transformers_padded() -> Run:
    """Return batches of like length padded with zeros and no mask, as its documentation says for this model."""
    model = their_model()

    def run(files: Sequence[Path]) -> Iterator[tuple[str, list[Tensor]]]:
        waves = [(path.name, wave) for path in files for wave in read(path)]
        waves.sort(key=lambda found: -len(found[1]))
        while waves:
            rows = max(1, int(BATCH_SECONDS * 16_000 / len(waves[0][1])))
            batch, waves = waves[:rows], waves[rows:]
            padded = torch.nn.utils.rnn.pad_sequence([wave for _, wave in batch], batch_first=True)
            hidden = model(padded, output_hidden_states=True).hidden_states
            for row, (name, wave) in enumerate(batch):
                frames = int(model._get_feat_extract_output_lengths(len(wave)))
                yield name, [state[row, :frames] for state in hidden]

    return run


def _torchaudio() -> Run:
    from torchaudio.models.wav2vec2.utils import import_huggingface_model

    model = import_huggingface_model(their_model()).eval()
    return _file_by_file(lambda wave: model.extract_features(wave[None])[0])


def _s3prl() -> Run:
    from s3prl.upstream.hubert.expert import UpstreamExpert
    from s3prl.upstream.hubert.hubert_model import HubertConfig, HubertModel, HubertPretrainingConfig

    task, symbols = HubertPretrainingConfig(), [["a", "b"]]
    made = HubertModel(HubertConfig(label_rate=50), task, symbols)
    state = {**made.state_dict(), **_fairseq_weights()}
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        settings = {"task_cfg": vars(task), "model_cfg": vars(HubertConfig(label_rate=50))}
        torch.save({**settings, "model_weight": state, "dictionaries_symbols": symbols}, file.name)
        expert = UpstreamExpert(file.name).eval()
    return _file_by_file(lambda wave: expert([wave])["hidden_states"])


def _fairseq_weights() -> dict[str, Tensor]:
    from audio_ssl.interop.transformers import to_transformers_weights

    parts = (
        ("feature_extractor.conv_layers.0.layer_norm", "feature_extractor.conv_layers.0.2"),
        (".conv.weight", ".0.weight"),
        ("feature_projection.layer_norm", "layer_norm"),
        ("feature_projection.projection", "post_extract_proj"),
        ("pos_conv_embed.conv.parametrizations.weight.original0", "pos_conv.0.weight_g"),
        ("pos_conv_embed.conv.parametrizations.weight.original1", "pos_conv.0.weight_v"),
        ("pos_conv_embed.conv", "pos_conv.0"),
        (".attention.", ".self_attn."),
        ("feed_forward.intermediate_dense", "fc1"),
        ("feed_forward.output_dense", "fc2"),
        ("masked_spec_embed", "mask_emb"),
    )
    found = {}
    for name, value in to_transformers_weights(our_model()).items():
        if name.startswith("encoder.layers."):
            name = name.replace("final_layer_norm", "FINAL").replace("layer_norm", "self_attn_layer_norm")
            name = name.replace("FINAL", "final_layer_norm")
        for theirs, fairseq in parts:
            name = name.replace(theirs, fairseq)
        found[name] = value
    return found


BUILDERS: dict[str, Callable[[], Run]] = {
    "audio_ssl float32": lambda: _ours("float32"),
    "audio_ssl bfloat16": lambda: _ours("bfloat16"),
    "audio_ssl, modules": _general,
    "transformers": _transformers,
    "transformers, padded batches": _transformers_padded,
    "torchaudio": _torchaudio,
    "s3prl": _s3prl,
}
OURS, BASE = "audio_ssl float32", "transformers"
