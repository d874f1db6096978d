"""Writes the files of this folder; run once, in a checkout of the commit whose meaning is to be kept (see README.md).

python tests/earlier/record.py OUT
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import torch
from safetensors.torch import save_file

from audio_ssl.base import catalog
from audio_ssl.base.catalog import load_part
from audio_ssl.base.config import structure
from audio_ssl.commands.explain import _inner_config
from audio_ssl.models.model import ModelConfig, build_model, fingerprint
from audio_ssl.pretrain.make_targets import make_targets
from audio_ssl.pretrain.recipe import load_recipe, recipe_yaml
from audio_ssl.pretrain.run import pretrain
from audio_ssl.pretrain.update import Updater

sys.path[:0] = [str(Path(__file__).parent), str(Path.cwd())]
from corpus import RATE, make_corpus, wave  # noqa: E402

from tests.recipes import shrunk  # noqa: E402

# Weights decay so fast and all clips are mixed, that what decays and what is mixed shows in four updates.
SMALL = (
    *("steps=4", "seed=5", "device=cpu", "checkpoint.valid_every=2", "data.valid_share=0.2", "data.crop_seconds=1.3"),
    *("data.min_seconds=0.5", "data.seconds_per_update=4.0", "data.seconds_per_batch=2.6"),
    *("optim.weight_decay=2.0", "optim.lr=0.002"),
)
CODEC = ("optim.weight_decay=40.0", "optim.lr=0.0001")
FOLDERS = ("pretrain/kinds", "frontends", "encoders", "teachers", "objectives")
KEPT = ("step", "loss", "grad_norm", "lr", "valid_loss", "audio_seconds")

CONV: dict[str, Any] = {"kind": "conv", "channels": [4, 4, 4, 4, 4, 4, 8]}
LARGE = {**CONV, "norm": "layer", "bias": True}
CPC = {**LARGE, "channels": [4, 4, 4, 4, 8], "kernels": [10, 8, 4, 4, 4], "strides": [5, 4, 2, 2, 2]}
MEL: dict[str, Any] = {"kind": "mel", "n_mels": 20, "stack": 2}
SIZES: dict[str, Any] = {"layers": 2, "dim": 8, "ffn_dim": 16, "heads": 2}
ONE = {"kind": "transformer", **SIZES, "position_kernel_frames": 8, "position_groups": 2}
SEVERAL = {**ONE, "position_layers": 3, "position_kernel_frames": 5}
CONFORMER = {"kind": "conformer", **SIZES, "kernel_frames": 7}
RELATIVE = {"buckets": 32, "max_distance": 64}
RELAXED = {"relative_positions": {"buckets": 32}, "attention_relax": 32.0}
GRU = {"kind": "gru", "dim": 8}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "hubert_base": (CONV, ONE, False),
    "hubert_large": (LARGE, {**ONE, "pre_norm": True}, True),
    "wavlm": (CONV, {**ONE, "relative_positions": RELATIVE}, False),
    "wavlm_relaxed": (LARGE, {**ONE, "pre_norm": True, **RELAXED}, True),
    "data2vec": (LARGE, SEVERAL, True),
    "data2vec2": (LARGE, {**SEVERAL, "alibi": True, "pre_norm": False}, True),
    "distil": (CONV, {**ONE, "feature_norm": False, "deepnorm": True}, False),
    "rope": (
        {**MEL, "normalize": False, "mean": -4.0, "std": 4.0},
        {**ONE, "positions": "rope", "pre_norm": True},
        False,
    ),
    "bestrq": ({**MEL, "stack": 1, "conv_channels": [4, 4]}, CONFORMER, False),
    "muq": ({**MEL, "stack": 4}, CONFORMER, False),
    "conformer_relative": (
        MEL,
        {**CONFORMER, "positions": "none", "relative_positions": RELATIVE, "attention_relax": 32.0},
        False,
    ),
    "cqt": ({"kind": "cqt", "n_bins": 36, "bins_per_octave": 12}, {**ONE, "positions": "none"}, False),
    "patches": ({"kind": "patches", "n_mels": 32}, ONE, False),
    "apc": ({**MEL, "stack": 1}, {**GRU, "layers": 2}, False),
    "cpc": (CPC, {**GRU, "layers": 1, "residual": False}, False),
}

MICRO = ("encoder.layers=1", "encoder.dim=8", "encoder.ffn_dim=8", "encoder.heads=2")
POSITIONS = ("encoder.position_groups=2", "encoder.position_kernel_frames=8")
MELS = ("frontend.n_mels=20", "teachers.0.n_mels=20")
WAVES = ("frontend.channels=[4,4,4,4,4,4,8]", *POSITIONS)
ROUNDS = ("iterations.0.teachers.0.clusters=5", "iterations.1.teachers.0.clusters=5", "iterations.1.teachers.0.layer=1")
STOPPED = {
    "hubert_tiny": (*WAVES, *ROUNDS, "objectives.0.final_dim=8"),
    "data2vec2_tiny": (
        *(*WAVES, "teachers.0.layers=1", "decoder.layers=1", "decoder.dim=8", "decoder.groups=2"),
        *("encoder.position_layers=2", "weights_ema=0.9"),
    ),
    "muq_style_tiny": (
        *(*MELS, "encoder.kernel_frames=5", "teachers.0.codebooks=2", "teachers.0.codebook_size=8"),
        "teachers.0.code_dim=4",
    ),
    "bestrq_tiny": (*MELS, *POSITIONS, "teachers.0.codebook_size=16"),
}
"""Runs that are stopped; the last one reads its targets from a store."""


def rows(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key in KEPT} for row in found]


def anonymous(folder: Path, names: dict[Path, str]) -> None:
    """Put words in the place of paths."""
    for path in [path for name in ("recipe.yaml", "provenance.json") for path in folder.rglob(name)]:
        text = path.read_text()
        for real, word in names.items():
            text = text.replace(str(real), word)
        path.write_text(text)


def record_runs(out: Path, manifest: Path, scratch: Path) -> None:
    found = {}
    for name in catalog.names("recipes"):
        (out / "recipes").mkdir(exist_ok=True)
        (out / "recipes" / f"{name}.yaml").write_text(recipe_yaml(load_recipe(name)))
        more = CODEC if name.startswith("codec") else ()
        if getattr(load_recipe(name), "mixing", None) is not None:
            more = ("mixing.prob=1.0",)
        run = pretrain(
            name, [f"data.manifest={manifest}", *SMALL, "checkpoint.every=2", *shrunk(name), *more], scratch / name
        )
        (out / "runs").mkdir(exist_ok=True)
        (out / "runs" / f"{name}.yaml").write_text((run / "recipe.yaml").read_text().replace(str(manifest), "MANIFEST"))
        origin = json.loads((run / "provenance.json").read_text())
        found[name] = {"teachers": origin.get("teachers", []), "rows": rows(run)}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(run)}" for name, run in found.items())
    (out / "runs.json").write_text(f"{{\n{lines}\n}}\n")


def record_keys(out: Path) -> None:
    found: dict[str, list[str]] = {}
    classes: list[type] = [load_part(folder, kind).Config for folder in FOLDERS for kind in catalog.parts(folder)]
    classes.append(ModelConfig)
    while classes:
        cls = classes.pop()
        found[f"{cls.__module__}.{cls.__name__}".removeprefix("audio_ssl.")] = sorted(f.name for f in fields(cls))
        inner = [_inner_config(hint) for hint in get_type_hints(cls, include_extras=True).values()]
        classes += [one for one in inner if one is not None]
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(keys)}" for name, keys in sorted(found.items()))
    (out / "keys.json").write_text(f"{{\n{lines}\n}}\n")


def record_models(out: Path) -> None:
    clips = [torch.from_numpy(wave(number, seconds)) for number, seconds in ((0, 0.6), (1, 0.45))]
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    tensors, fingerprints = {}, {}
    for name, (frontend, encoder, normalize) in MODELS.items():
        parts = {"frontend": frontend, "encoder": encoder, "sample_rate": RATE, "normalize": normalize}
        model = build_model(structure(ModelConfig, parts), torch.Generator().manual_seed(len(name))).eval()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
            hidden = model(batch, torch.tensor([len(clip) for clip in clips])).hidden
        model.save_pretrained(out / "models" / name)
        (out / "models" / name / "files.json").unlink()
        tensors[f"{name}.first"], tensors[f"{name}.last"] = hidden[0].contiguous(), hidden[-1].contiguous()
        fingerprints[name] = fingerprint(model)
    save_file(tensors, out / "models" / "outputs.safetensors")
    (out / "models" / "fingerprints.json").write_text(json.dumps(fingerprints, indent=1) + "\n")


def record_stopped(out: Path, manifest: Path, scratch: Path) -> None:
    store = scratch / "store"
    names = {manifest: "MANIFEST", store: "STORE", out: "OUT"}
    for name, more in STOPPED.items():
        settings = [f"data.manifest={manifest}", *SMALL, "checkpoint.every=1", "checkpoint.keep_last=1", *MICRO, *more]
        if name == "bestrq_tiny":
            make_targets(name, settings, store)
            shutil.copytree(store, out / "stopped" / "store")
            anonymous(out / "stopped" / "store", names)
            settings.append(f"data.targets={store}")
        whole = pretrain(name, settings, scratch / f"{name}_whole")
        cut = scratch / f"{name}_cut"
        stop(lambda s=settings, n=name, c=cut: pretrain(n, s, c), cut, 3 if name == "hubert_tiny" else 2)
        shutil.copytree(cut, out / "stopped" / name, ignore=shutil.ignore_patterns("tensorboard"))
        anonymous(out / "stopped" / name, names)
        (out / "stopped" / name / "whole.json").write_text(json.dumps(rows(whole)))


def stop(train: Callable[[], object], run: Path, after: int) -> None:
    """Train until `after` updates are in the log."""
    finish = Updater.finish

    def dying(self: Updater, step: int) -> Any:
        if (run / "metrics.jsonl").is_file() and len(rows(run)) == after:
            raise KeyboardInterrupt
        return finish(self, step)

    Updater.finish = dying  # type: ignore[method-assign]
    try:
        train()
    except KeyboardInterrupt:
        pass
    finally:
        Updater.finish = finish  # type: ignore[method-assign]


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        corpus = make_corpus(folder / "corpus")
        record_keys(target)
        record_models(target)
        record_stopped(target, corpus, folder)
        record_runs(target, corpus, folder)
