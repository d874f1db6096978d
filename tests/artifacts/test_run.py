"""The folder of a run: what is read is written back byte for byte, and where its files lie."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from audio_ssl.artifacts.recipe_outline import RecipeOutline, read_outline
from audio_ssl.artifacts.records import read_record
from audio_ssl.artifacts.run import (
    IterationRecord,
    RunRecord,
    TrainedClips,
    UpdateRow,
    checkpoint_folders,
    end_record,
    is_marked_finished,
    iteration_folders,
    iteration_number,
    read_run_folder,
    read_run_record,
    read_updates,
    start_record,
    state_folders,
    write_run_record,
)
from audio_ssl.base.errors import UserError

STOPPED = Path(__file__).parents[1] / "earlier" / "stopped"


@pytest.mark.parametrize("path", sorted(STOPPED.rglob("provenance.json")), ids=lambda path: path.parent.name)
def test_a_record_of_an_earlier_release_is_written_back_as_it_was(path: Path, tmp_path: Path) -> None:
    kind = IterationRecord if iteration_number(path.parent) else RunRecord
    write_run_record(tmp_path, read_record(kind, path))
    assert (tmp_path / "provenance.json").read_bytes() == path.read_bytes()


def test_the_keys_of_a_record_and_of_one_of_a_later_release(tmp_path: Path) -> None:
    begun = start_record({"steps": 3}, "abc")
    assert not begun.finished
    write_run_record(tmp_path, begun)
    keys = ["finished", "recipe_hash", "manifest_hash", "command", "started", "python", "versions"]
    assert list(json.loads((tmp_path / "provenance.json").read_text())) == keys
    assert not is_marked_finished(tmp_path)
    later = json.loads((tmp_path / "provenance.json").read_text()) | {"teachers": [], "place": {"rack": 3}}
    (tmp_path / "provenance.json").write_text(json.dumps(later))
    record = read_run_record(tmp_path)
    assert record is not None
    write_run_record(tmp_path, end_record(record, True, TrainedClips(9, 1), 3))
    written = json.loads((tmp_path / "provenance.json").read_text())
    assert list(written) == [*keys, "teachers", "clips", "steps_done", "ended", "place"]
    assert (written["clips"], written["place"]) == ({"train": 9, "valid": 1}, {"rack": 3})
    assert is_marked_finished(tmp_path)


def test_a_damaged_record_names_the_key_and_what_to_do(tmp_path: Path) -> None:
    assert read_run_record(tmp_path) is None
    (tmp_path / "provenance.json").write_text('{"finished": "yes"}')
    with pytest.raises(UserError, match=r"provenance.json: `finished` must be true or false, but is 'yes' \(delete"):
        is_marked_finished(tmp_path)


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [UpdateRow(1, {"loss": 2.5, "epoch": 0}), UpdateRow(2, {"loss": float("inf"), "epoch": 0}, iteration=1)]
    lines = [row.line() for row in rows]
    assert lines[1] == '{"step": 2, "iteration": 1, "loss": null, "epoch": 0}'
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"loss": 1.0}', '{"step": 3, "lo']))
    found = list(read_updates(tmp_path))
    assert [row.line() for row in found] == lines
    assert [row.number("loss") for row in found] == [2.5, None]
    (tmp_path / "metrics.jsonl").write_text(f"{lines[0]}\n{{torn\n{lines[1]}\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl:2"):
        list(read_updates(tmp_path))
    assert [row.step for row in read_updates(tmp_path, strict=False)] == [1, 2]


def test_checkpoints_and_iterations_are_found_in_their_order(tmp_path: Path) -> None:
    for name in ("iteration_10", "iteration_2", "iteration_x", "damaged_iteration_3"):
        (tmp_path / name).mkdir()
    for name in ("step_10", "step_9", "step_1.partial", "damaged_step_3"):
        (tmp_path / "state" / name).mkdir(parents=True)
    assert [path.name for path in iteration_folders(tmp_path)] == ["iteration_2", "iteration_10"]
    assert [path.name for path in checkpoint_folders(tmp_path / "state")] == ["step_9", "step_10"]
    assert [path.parent.name for path in state_folders(tmp_path)] == [tmp_path.name, "iteration_2", "iteration_10"]


def test_an_outline_has_the_settings_of_an_iteration(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "kind: masked_prediction\nsteps: 8\nencoder: {kind: transformer, layers: 2}\ncodec: {recipe: codec_tiny}\n"
        "data: {sample_rate: 16000, manifest: m.jsonl}\n"
        "iterations: [{share: 1.0}, {share: 1.0, settings: [encoder.layers=1, normalize=true]}]\n"
    )
    recipe = read_outline(tmp_path)
    assert (recipe.kind, recipe.steps, recipe.data.sample_rate, recipe.normalize) == (
        "masked_prediction", 8, 16000, False,
    )  # fmt: skip
    second = recipe.of_iteration(2, "recipe.yaml")
    assert (second.encoder, second.normalize) == ({"kind": "transformer", "layers": 1}, True)
    assert recipe.of_iteration(1, "recipe.yaml") == recipe == recipe.of_iteration(3, "recipe.yaml")
    assert recipe.as_written["data"]["manifest"] == "m.jsonl"
    (tmp_path / "recipe.yaml").write_text("steps: many\n")
    with pytest.raises(UserError, match=r"recipe.yaml: `steps` must be an integer, but is 'many'"):
        read_outline(tmp_path)


def test_a_run_that_has_only_begun_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    found = read_run_folder(tmp_path)
    assert (found.updates, found.recipe, found.record) == ((), RecipeOutline(), RunRecord())
    assert found.reconstructions.clips == ()


def test_reading_a_run_does_not_import_torch() -> None:
    code = "import sys; import audio_ssl.artifacts.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
