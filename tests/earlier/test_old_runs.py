"""What a release wrote before recipes had versions means the same today: recipes, models, stores, stopped runs.

The files here were written by commit b5c842f (see README.md). They are never made anew, as it is their age that counts.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from audio_ssl.__main__ import run as command_line
from audio_ssl.base.errors import UserError
from audio_ssl.base.versions import VERSION
from audio_ssl.models.model import SSLModel, fingerprint
from audio_ssl.pretrain.going_on import flatten
from audio_ssl.pretrain.recipe import load_recipe, plain
from audio_ssl.pretrain.run import pretrain

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from corpus import make_corpus, wave  # noqa: E402

RUNS: dict[str, Any] = json.loads((HERE / "runs.json").read_text())
KEYS: dict[str, list[str]] = json.loads((HERE / "keys.json").read_text())
MOVED = {
    "codec.model": "targets.codec.rvq_vae",
    "encoders._checks": "models.attention",
    "encoders": "models.encoders",
    "frontends": "models.frontends",
    "model": "models.model",
    "objectives": "pretrain.objectives",
    "pretrain.masks": "pretrain.masking",
    "pretrain.recipe.OptimConfig": "pretrain.optim.OptimConfig",
    "teachers": "targets.teachers",
}
"""Where the modules and classes of `KEYS` are now."""
MODELS = sorted(path.name for path in (HERE / "models").iterdir() if path.is_dir())
ROUNDING = 2e-6
"""Relative. Two and one threads differ by up to 2e-7 in losses and 1e-6 in norms of gradients; other CPUs as much."""
CONFORMERS = 1e-4
"""muq_style_tiny, whose Conformer and trained quantiser differ more between a processor with AVX2 and one with AVX-512
and AMX: by 4e-6 after the first update, 1.8e-5 after the second."""
STATES = 2e-5
"""Of hidden states, of a layer's largest number or 1. Between those processors it is up to 8.8e-6."""
CODECS = 1e-2
"""A codec's nearest codes turn rounding into another code: after its first update losses differ by up to 2e-3."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def copied(folder: Path, to: Path, manifest: Path, store: Path | None = None) -> Path:
    """Copy an old folder, whose files then name this corpus and this store."""
    shutil.copytree(folder, to)
    for path in (to / "recipe.yaml", to / "provenance.json"):
        if path.is_file():
            text = path.read_text().replace("MANIFEST", str(manifest))
            path.write_text(text if store is None else text.replace("STORE", str(store)))
    return to


def as_measured_now(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out validation of wav2vec 2.0, whose diversity is by probabilities now; training is as it was."""
    return [{k: v for k, v in row.items() if k != "valid_loss" or not name.startswith("wav2vec2")} for row in rows]


def assert_rows(found: list[dict[str, Any]], wanted: list[dict[str, Any]], name: str = "") -> None:
    assert len(found) == len(wanted)
    later = CODECS if name.startswith("codec") else CONFORMERS if name.startswith("muq") else ROUNDING
    for mine, theirs in zip(found, wanted, strict=True):
        kept = {key: mine.get(key) for key in theirs}
        assert kept == pytest.approx(theirs, rel=later if theirs["step"] > 1 else ROUNDING)


def moved(name: str) -> str:
    """Return where a class of `KEYS` is now, by the longest of its modules that moved."""
    found = [old for old in MOVED if f"{name}.".startswith(f"{old}.")]
    return name if not found else MOVED[max(found, key=len)] + name[len(max(found, key=len)) :]


@pytest.mark.parametrize("name", sorted(KEYS))
def test_a_key_that_came_later_says_what_runs_did_without_it(name: str) -> None:
    module, _, cls = moved(name).rpartition(".")
    found = {field.name: field for field in fields(getattr(importlib.import_module(f"audio_ssl.{module}"), cls))}
    assert not set(KEYS[name]) - set(found), "a key is gone: old recipes are refused"
    for key in set(found) - set(KEYS[name]) - {"version"}:
        assert "since" in found[key].metadata, f"write `{key}: ... = added(default, earlier=...)`"
        if module.startswith("models."):
            assert found[key].metadata["earlier"] == found[key].default, "config.json of a saved model has no version"


@pytest.mark.parametrize("path", sorted((HERE / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_old_resolved_recipe_is_read_and_keeps_its_values(path: Path) -> None:
    recipe = plain(load_recipe(str(path)))
    assert recipe["version"] == VERSION
    missing = list(_lost(yaml.safe_load(path.read_text()), recipe, "$"))
    assert not missing


@pytest.mark.parametrize("name", ["hubert_visible_tiny", "mert_visible_tiny"])
def test_recipes_with_measured_results_train_as_when_they_were_measured(name: str) -> None:
    then = dict(flatten(plain(load_recipe(str(HERE / "recipes" / f"{name}.yaml")))))
    now = dict(flatten(plain(load_recipe(name))))
    differ = {key for key in then.keys() | now.keys() if then.get(key) != now.get(key)}
    # Chroma is never standardised, and an update of these is smaller than a group.
    if now.get("teachers.1.features") == "chroma":
        differ.discard("teachers.1.standardize")
    if now["data.seconds_per_update"] <= now["data.seconds_per_group"]:
        differ.discard("data.seconds_per_group")
    assert not differ


def _lost(old: Any, new: Any, key: str) -> Any:
    if isinstance(old, dict):
        for name, value in old.items():
            yield from _lost(value, new.get(name, "no such key"), f"{key}.{name}")
    elif isinstance(old, list):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _lost(one, other, f"{key}.{index}")
    elif old != new:
        yield f"{key}: {old!r} is read as {new!r}"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", sorted(RUNS))
def test_an_old_recipe_trains_what_it_trained(name: str, manifest: Path, tmp_path: Path) -> None:
    run = pretrain(str(HERE / "runs" / f"{name}.yaml"), [f"data.manifest={manifest}"], tmp_path / "run")
    assert_rows(rows(run), as_measured_now(name, RUNS[name]["rows"]), name)
    # What is fitted may differ in its last bits; the others are their settings alone.
    kinds = [teacher["kind"] for teacher in plain(load_recipe(str(run / "recipe.yaml"))).get("teachers", [])]
    then, now = RUNS[name]["teachers"], json.loads((run / "provenance.json").read_text()).get("teachers", [])
    for kind, old, new in zip(kinds, then, now, strict=False):
        assert old == new or kind in {"kmeans", "mel_rvq", "rvq", "encodec"}


@pytest.mark.parametrize("name", MODELS)
def test_an_old_model_gives_the_features_it_gave(name: str) -> None:
    model = SSLModel.from_pretrained(HERE / "models" / name)
    clips = [torch.from_numpy(wave(number, seconds)) for number, seconds in ((0, 0.6), (1, 0.45))]
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    with torch.no_grad():
        out = model(batch, torch.tensor([len(clip) for clip in clips]))
    old = load_file(HERE / "models" / "outputs.safetensors")
    for key, hidden in (("first", out.hidden[0]), ("last", out.hidden[-1])):
        then = old[f"{name}.{key}"]
        torch.testing.assert_close(hidden, then, rtol=0.0, atol=STATES * max(1.0, float(then.abs().max())))


@pytest.mark.parametrize("name", MODELS)
def test_the_fingerprint_of_an_old_model_stays(name: str) -> None:
    # What was extracted with a model yesterday is gone on with today.
    known = json.loads((HERE / "models" / "fingerprints.json").read_text())
    assert fingerprint(SSLModel.from_pretrained(HERE / "models" / name)) == known[name]


def test_an_old_run_by_the_name_of_its_recipe_is_told_how_to_go_on(manifest: Path, tmp_path: Path) -> None:
    run = copied(HERE / "stopped" / "muq_style_tiny", tmp_path / "run", manifest)
    with pytest.raises(
        UserError, match=r"begun with another recipe; these keys differ: .*optim\.weight_decay_on"
    ) as said:
        pretrain("muq_style_tiny", [f"data.manifest={manifest}"], run, resume=True)
    command = re.search(r"`audio-ssl (pretrain .*)` goes on", said.value.remedy or "")
    assert command is not None
    assert command_line(shlex.split(command[1])) == 0
    assert_rows(rows(run), json.loads((run / "whole.json").read_text()), "muq_style_tiny")


def test_a_codec_inside_a_run_goes_on_as_it_was_begun(manifest: Path, tmp_path: Path) -> None:
    codec, run = tmp_path / "codec.yaml", tmp_path / "run"
    shutil.copyfile(HERE / "runs" / "codec_tiny.yaml", codec)
    settings = [f"data.manifest={manifest}", "codec.steps=1", f"codec.recipe={codec}"]
    recipe = str(HERE / "runs" / "mert_tiny.yaml")
    whole = pretrain(recipe, settings, tmp_path / "whole")
    assert (whole / "teachers" / "codec" / "recipe.yaml").is_file()
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns("state", "metrics.jsonl"))
    (run / "provenance.json").write_text(
        (run / "provenance.json").read_text().replace('"finished": true', '"finished": false')
    )
    codec.write_text(codec.read_text().replace("weight_decay: 40.0", "weight_decay: 0.0"))
    pretrain(recipe, settings, run, resume=True)
    assert [row["loss"] for row in rows(run)] == [row["loss"] for row in rows(whole)]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["hubert_tiny", "data2vec2_tiny", "muq_style_tiny", "bestrq_tiny"])
def test_an_old_stopped_run_goes_on_to_the_same_end(name: str, manifest: Path, tmp_path: Path) -> None:
    # bestrq_tiny reads an old target store, whose teacher must have the same fingerprint.
    store = copied(HERE / "stopped" / "store", tmp_path / "store", manifest)
    run = copied(HERE / "stopped" / name, tmp_path / "run", manifest, store)
    wanted = json.loads((run / "whole.json").read_text())
    assert len(rows(run)) < len(wanted)
    pretrain(str(run / "recipe.yaml"), [], run, resume=True)
    assert_rows(rows(run), wanted, name)
