"""Targets stored once and targets computed on the fly are the same bits."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch

from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.threads import background_pool
from audio_ssl.data.clip_reader import ClipReader
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.loader import Batch, Loader, Position
from audio_ssl.data.manifest import Clip
from audio_ssl.data.store import ArrayStore
from audio_ssl.pretrain.jobs import StageContext, loader_setups
from audio_ssl.pretrain.kinds import masked_prediction
from audio_ssl.pretrain.make_targets import make_targets
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.pretrain.run import pretrain, run_or_go_on
from audio_ssl.pretrain.selection import select_clips
from audio_ssl.targets.sources import ComputedTargets
from audio_ssl.targets.spec import TargetSpec
from tests.pretrain.conftest import MakeManifest

RECIPE = """
kind: masked_prediction
steps: 4
device: cpu
data: {sample_rate: 24000, crop_seconds: 0.6, min_seconds: 0.5, seconds_per_update: 2.0, seconds_per_batch: 2.0,
       valid_share: 0.2}
optim: {warmup_steps: 2}
frontend: {kind: conv, channels: [8, 8, 8, 8, 8, 8, 16]}
encoder: {kind: transformer, layers: 1, dim: 16, ffn_dim: 16, heads: 2, position_kernel_frames: 16, position_groups: 4}
teachers:
  - {kind: encodec, random_weights: true, codebooks: 2}
  - {kind: cqt, n_bins: 24, bins_per_octave: 6}
  - {kind: kmeans, clusters: 5, window_seconds: 0.02}
objectives:
  - {kind: masked_codes, teacher: 0, final_dim: 8}
  - {kind: reconstruction, teacher: 1}
  - {kind: masked_codes, teacher: 2, final_dim: 8}
checkpoint: {every: 2, valid_every: 4}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return str(path)


def load_batches(recipe: str, overrides: list[str], folder: Path) -> list[Batch]:
    config = load_recipe(recipe, overrides)
    assert isinstance(config, masked_prediction.Config)
    context = StageContext(
        folder,
        select_clips(config.data),
        ClipReader(config.data.sample_rate),
        ErrorLedger(folder / "errors.jsonl"),
        torch.device("cpu"),
        None,
        run_or_go_on,
    )
    training = masked_prediction.build(config, context)
    setup, _ = loader_setups(config, training, context)
    with Loader(setup, Position(0, 0), epochs=3) as loader:
        return [item for item in loader if isinstance(item, Batch)]


def test_stored_targets_are_those_computed_on_the_fly_bit_for_bit(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = [f"data.manifest={make_manifest(rate=22050)}"]
    with caplog.at_level(logging.WARNING):
        store = make_targets(recipe, overrides, tmp_path / "store")
    assert "random weights: its targets are meaningless" in caplog.text
    computed = load_batches(recipe, overrides, tmp_path / "a")
    stored = load_batches(recipe, [*overrides, f"data.targets={store}"], tmp_path / "b")
    assert len(computed) == len(stored) > 3
    starts = set()
    for left, right in zip(computed, stored, strict=True):
        assert left.keys == right.keys
        assert torch.equal(left.frames, right.frames)
        assert torch.equal(left.waveform, right.waveform)
        for one, other in zip(left.targets, right.targets, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
        starts.add(float(left.waveform[0, 0]))
    assert len(starts) > 3
    # Conv gives 44 frames for 0.6 s, EnCodec 45, a centred CQT 46: all are cut to the model's.
    assert max(int(batch.frames.max()) for batch in computed) == 44


def test_training_from_a_store_gives_the_same_run(make_manifest: MakeManifest, recipe: str, tmp_path: Path) -> None:
    overrides = [f"data.manifest={make_manifest()}"]
    store = make_targets(recipe, overrides, tmp_path / "store")
    runs = [
        pretrain(recipe, overrides, tmp_path / "computed"),
        pretrain(recipe, [*overrides, f"data.targets={store}"], tmp_path / "stored"),
    ]
    computed, stored = ((run / "model.safetensors").read_bytes() for run in runs)
    assert computed == stored
    assert not (tmp_path / "stored" / "teachers").exists()
    rows = {folder.name: json.loads((folder / "labels.json").read_text())["teachers"] for folder in (store, *runs)}
    assert [row["teacher"] for row in rows["store"]] == ["encodec", "cqt", "kmeans"]
    assert [row["clips"] for row in rows["store"]] == [6, 6, 6]
    assert rows["stored"] == rows["store"]
    # A run that computes its targets looks at training clips only.
    assert [row["clips"] for row in rows["computed"]] == [5, 5, 5]
    assert rows["store"][2]["codebooks"][0]["used"] == 5
    assert rows["store"][1]["constant_share"] == 0


def test_targets_that_never_change_stop_the_work(make_manifest: MakeManifest, recipe: str, tmp_path: Path) -> None:
    manifest = make_manifest()
    for path in (tmp_path / "audio").iterdir():
        audio, rate = soundfile.read(path)
        soundfile.write(path, 0 * audio, rate, subtype="FLOAT")
    only = ["teachers=[{kind: cqt, n_bins: 24}]", "objectives=[{kind: reconstruction, teacher: 0}]"]
    message = r"labels.json: teacher 0 \(cqt\) gave values that never change, .* there is nothing to learn"
    for work, name in ((make_targets, "store"), (pretrain, "run")):
        with pytest.raises(UserError, match=message):
            work(recipe, [f"data.manifest={manifest}", *only], tmp_path / name)
        assert (tmp_path / name / "labels.json").is_file()


@pytest.mark.parametrize(
    ("cut", "code", "message"), [(1, 0, r"shape \[48, 1\], but \[49, 1\]"), (0, 4, r"must lie in 0\.\.3, but reach 4")]
)
def test_a_teacher_that_breaks_its_promise_is_found_out(cut: int, code: int, message: str) -> None:
    class Wrong:
        spec = TargetSpec("codes", 1, 4, FrameGrid(16000, 320, 400))
        fingerprint = "wrong"

        def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
            return torch.full((self.spec.grid.num_frames(len(waveform)) - cut, 1), code)

    class Reader:
        def whole(self, clip: Clip) -> torch.Tensor:
            return torch.zeros(16000)

    with pytest.raises(AudioError, match=message):
        ComputedTargets([Wrong()], Reader()).whole(Clip("a", "a.wav", 0.0, 1.0, 16000))  # type: ignore[arg-type]


def test_loader_threads_have_one_thread_of_torch_each() -> None:
    before = torch.get_num_threads()
    with background_pool(2) as pool:
        assert set(pool.map(lambda _: torch.get_num_threads(), range(4))) == {1}
    assert torch.get_num_threads() == before


def test_a_store_of_other_teachers_or_another_manifest_is_refused(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path
) -> None:
    manifest = make_manifest()
    overrides = [f"data.manifest={manifest}"]
    store = make_targets(recipe, overrides, tmp_path / "store")
    theirs = ArrayStore(store).meta["teachers"]
    changed = [*overrides, f"data.targets={store}", "teachers.1.log=true"]
    with pytest.raises(UserError, match=rf"made by the teachers .*{theirs[1]}.*, but the recipe's teachers are \["):
        pretrain(recipe, changed, tmp_path / "run")
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"made of the manifest [0-9a-f]{16}, but data.manifest is [0-9a-f]{16}"):
        pretrain(recipe, [*overrides, f"data.targets={store}"], tmp_path / "run2")


def test_making_targets_goes_on_where_it_stopped_and_lists_what_it_cannot_use(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"data.manifest={make_manifest()}"]
    (tmp_path / "audio" / "1.wav").write_text("no audio")
    whole = make_targets(recipe, overrides, tmp_path / "whole")
    assert sorted(ArrayStore(whole).ids) == ["clip0", "clip2", "clip3", "clip4", "clip5"]
    rows = [json.loads(line) for line in (whole / "errors.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["clip1"]

    from audio_ssl.targets import sources

    seen: list[str] = []
    compute = sources.ComputedTargets.whole

    def stopping(self: sources.ComputedTargets, clip: object) -> object:
        seen.append(clip.id)  # type: ignore[attr-defined]
        if len(seen) == 3:
            raise KeyboardInterrupt
        return compute(self, clip)  # type: ignore[arg-type]

    monkeypatch.setattr(sources.ComputedTargets, "whole", stopping)
    with pytest.raises(KeyboardInterrupt):
        make_targets(recipe, overrides, tmp_path / "cut")
    first = list(seen)
    make_targets(recipe, overrides, tmp_path / "cut")
    assert first[0] == "clip0"
    assert "clip0" not in seen[3:]
    left, right = ArrayStore(whole), ArrayStore(tmp_path / "cut")
    assert set(left.ids) == set(right.ids)
    assert all(torch.equal(left[i][name], right[i][name]) for i in left.ids for name in ("0", "1", "2"))


KILLED = """
import os, signal, sys
from pathlib import Path
from audio_ssl.data import store
from audio_ssl.pretrain.make_targets import make_targets

recipe, manifest, out = sys.argv[1:]
store.SEAL_SECONDS = -1.0
add, added = store.StoreWriter.add, []

def until_killed(self, clip_id, arrays):
    if len(added) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    added.append(clip_id)
    add(self, clip_id, arrays)

store.StoreWriter.add = until_killed
make_targets(recipe, [f"data.manifest={manifest}"], Path(out))
"""


def test_a_killed_making_of_targets_computes_the_rest_alone_and_ends_in_the_same_files(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, cut = make_manifest(), tmp_path / "cut"
    (tmp_path / "audio" / "1.wav").write_text("no audio")
    whole = make_targets(recipe, [f"data.manifest={manifest}"], tmp_path / "whole")
    ended = subprocess.run([sys.executable, "-c", KILLED, recipe, str(manifest), str(cut)], capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    order = ArrayStore(whole).ids
    assert ArrayStore(cut).ids == order[:3]

    computed, compute = list[str](), ComputedTargets.whole

    def said(self: ComputedTargets, clip: Clip) -> tuple[torch.Tensor, ...]:
        computed.append(clip.id)
        return compute(self, clip)

    monkeypatch.setattr(ComputedTargets, "whole", said)
    make_targets(recipe, [f"data.manifest={manifest}"], cut)
    # What cannot be used may have been mended.
    assert sorted(computed) == sorted([*order[3:], "clip1"])
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (whole, cut)
    ]
    assert files[0] == files[1]


def test_a_store_brings_the_codec_its_codes_are_of(make_manifest: MakeManifest, tmp_path: Path) -> None:
    small = ["encoder.layers=1", "encoder.dim=32", "encoder.ffn_dim=32", "frontend.channels=[8,8,8,8,8,8,16]"]
    small += ["data.seconds_per_update=4", "data.crop_seconds=1.0", "device=cpu", f"data.manifest={make_manifest()}"]
    store = make_targets("mert_tiny", [*small, "codec.steps=2"], tmp_path / "store")
    assert (store / "teachers" / "codec" / "model.safetensors").is_file()
    out = pretrain("mert_tiny", [*small, "steps=2", f"data.targets={store}"], tmp_path / "run")
    assert not (out / "teachers").exists()


def test_a_codec_recipe_has_no_targets(make_manifest: MakeManifest, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\$\.kind: only recipes of kind masked_prediction"):
        make_targets("codec_tiny", [f"data.manifest={make_manifest()}"], tmp_path / "store")
