"""A run becomes a shipped model: what its facts and its card say, and what is refused."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from audio_ssl.base.errors import UserError
from audio_ssl.interop.read import read_model
from audio_ssl.release.card import NONE, limits_of, models_table, render
from audio_ssl.release.facts import cost_of, heard_in, scores_of
from audio_ssl.release.make import Release, make_shipped, measure
from audio_ssl.shipped import Shelf
from audio_ssl.shipped.facts import FACTS_FILE, ScoreRow
from tests.shipped.conftest import apart

ROWS = [
    ("characters", "log-mel", "CER", 53.0, 52.0, 54.0),
    ("characters", "toy", "CER", 40.0, 39.0, 41.0),
    ("characters", "peer", "CER", 30.0, 29.0, 31.0),
    ("key", "log-mel", "accuracy", 70.0, 60.0, 80.0),
    ("key", "toy", "accuracy", 75.0, 66.0, 84.0),
    ("beats", "log-mel", "F1", 70.0, 60.0, 80.0),
]
PAIRS = [
    {"task": "characters", "model": "toy", "other": "log-mel", "value": 13.0, "low": 11.0, "high": 15.0, "peer": False},
    {"task": "characters", "model": "toy", "other": "peer", "value": -9.0, "low": -10.0, "high": -8.0, "peer": True}
    | {"covered": 56.5},
    {"task": "key", "model": "toy", "other": "log-mel", "value": 5.0, "low": -1.0, "high": 11.0, "peer": False},
    {"task": "key", "model": "another", "other": "log-mel", "value": 5.0, "low": 1.0, "high": 11.0, "peer": False},
]


def results(folder, pairs=False):
    keys = ("task", "system", "metric", "value", "low", "high")
    rows = [dict(zip(keys, row, strict=True)) | {"layer": 1} for row in ROWS]
    path = folder / "learning.json"
    speech = {"rows": rows[:3]} | ({"pairs": PAIRS} if pairs else {})
    path.write_text(json.dumps({"speech": speech, "music": {"rows": rows[3:], "verdict": []}, "note": 1}))
    return path


def test_what_it_heard_is_its_training_clips_by_corpus(run):
    made, speech, unnamed = heard_in(run)
    assert (made.name, made.made, made.hours, made.clips) == ("rendered_scores", True, 1.0, 1)
    assert (speech.name, speech.licence, speech.clips) == ("librispeech", "CC-BY-4.0", 2)
    assert (speech.hours, speech.female_hours, speech.male_hours) == (0.75, 0.5, 0.25)
    assert speech.languages == ("en",)
    assert (unnamed.name, unnamed.licence, unnamed.hours) == ("", "not known", 0.1)


def test_the_cost_is_that_of_the_updates_and_counts_each_once(run):
    cost = cost_of(run, cores=2, watts_per_core=10)
    # The third update was done again after a stop, at half the speed.
    assert cost.updates == 3
    assert cost.heard_hours == pytest.approx(3.0)
    assert cost.hours == pytest.approx((1 + 2 + 2) / 3600)
    assert cost.core_hours == pytest.approx(2 * 5 / 3600)
    assert cost.kilowatt_hours == pytest.approx(2 * 5 / 3600 * 10 / 1000)
    with pytest.raises(UserError, match="`cores` must be above 0, but is 0"):
        cost_of(run, 0, 10)


def test_the_folder_holds_the_model_and_no_training_state(run, shelf):
    folder = shelf.root / "toy"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "facts.json",
        "files.json",
        "model.safetensors",
    ]
    matrices = [value for value in load_file(folder / "model.safetensors").values() if value.ndim >= 2]
    assert {value.dtype for value in matrices} == {torch.float16}
    facts = shelf.facts("toy")
    assert facts.command == "audio-ssl pretrain tiny data.manifest=m.jsonl --out run"
    assert facts.run_fingerprint != facts.fingerprint
    assert 0 < facts.rounding < 1e-3
    assert apart(facts.fixed, measure(read_model("toy", shelf=shelf))) < 1e-6
    assert "/" not in facts.command
    assert str(run.parent) not in (folder / "README.md").read_text() + (folder / "facts.json").read_text()


def test_the_fixed_clip_tells_another_model_apart(run, shelf):
    facts = shelf.facts("toy")
    other = read_model("toy?normalize=true", shelf=shelf)
    assert apart(facts.fixed, measure(other)) > 1e-2
    fewer = dataclasses.replace(facts.fixed, frames=facts.fixed.frames - 1)
    assert apart(facts.fixed, fewer) == float("inf")


def test_the_card_is_made_of_the_facts(run, tmp_path):
    shelf = Shelf(tmp_path)
    said = Release("toy", "For tests.", watts_per_core=7)
    folder = make_shipped(run, shelf, said, scores=results(tmp_path))
    card = (folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["license"], front["language"], front["library_name"]) == ("apache-2.0", ["en"], "audio-ssl")
    scored = {one["task"]["name"]: one["metrics"] for one in front["model-index"][0]["results"]}
    assert scored == {"characters": [{"type": "cer", "value": 40.0}], "key": [{"type": "accuracy", "value": 75.0}]}
    for said in (
        "| LibriSpeech | 0.75 | 2 | as published | CC-BY-4.0 |",
        "| Rendered scores | 1.00 | 1 | synthetic |",
        "times 7 W a core, which is assumed and not measured",
        "54% of its audio is synthetic, made by this package (Rendered scores)",
        "it heard 0.50 h of women and 0.25 h of men",
        "0.10 h of its audio are of no named corpus; their licence is not known",
        "characters: peer is better, intervals apart",
        "key: no statistically significant difference from log-mel",
        "| characters | CER ↓ | 53.0 [52.0, 54.0] | 40.0 [39.0, 41.0] | 30.0 [29.0, 31.0] |",
        "Corpora with such terms: Rendered scores.",
        "Panayotov",
        "audio-ssl pretrain tiny data.manifest=m.jsonl --out run",
    ):
        assert said in card, said
    assert "beats" not in card
    hashes = json.loads((folder / "files.json").read_text())["files"]
    assert all(one["sha256"] in card for one in hashes.values())


@pytest.mark.parametrize("said", ["F", "female", "weiblich"])
def test_hours_of_women_do_not_depend_on_how_the_manifest_spells_them(run, tmp_path, said):
    rows = [json.loads(line) for line in (run.parent / "m.jsonl").read_text().splitlines()]
    spelt = [{**row, "gender": said if row.get("gender") == "F" else row.get("gender")} for row in rows]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in spelt))
    _, speech, _ = heard_in(run, tmp_path / "m.jsonl")
    assert (speech.female_hours, speech.male_hours) == (0.5, 0.25)


def test_limits_follow_from_the_facts(shelf):
    facts = shelf.facts("toy")
    assert any("No scores are recorded" in one for one in limits_of(facts))
    silent = dataclasses.replace(
        facts, corpora=tuple(dataclasses.replace(one, female_hours=0.0, male_hours=0.0) for one in facts.corpora)
    )
    assert any("No clip names its speaker's gender" in one for one in limits_of(silent))
    best = [ScoreRow("key", name, "accuracy", v, v - 1, v + 1, True) for name, v in (("toy", 9.0), ("log-mel", 5.0))]
    said = limits_of(dataclasses.replace(facts, scores=tuple(best)))
    assert not any(one.startswith("key") for one in said)


def test_scores_are_of_the_model_by_its_name(tmp_path):
    rows, gaps = scores_of(results(tmp_path), "toy")
    assert gaps == ()
    assert {row.task for row in rows} == {"characters", "key"}
    assert {row.task: row.higher_is_better for row in rows} == {"characters": False, "key": True}
    with pytest.raises(UserError, match=r"unknown system `small`; known: log-mel, peer, toy"):
        scores_of(tmp_path / "learning.json", "small")
    (tmp_path / "learning.json").write_text('{"speech": {"rows": [{"system": "toy", "task": "key"}]}}')
    with pytest.raises(UserError, match=r"\$.speech.rows\[0\]: .*metric"):
        scores_of(tmp_path / "learning.json", "toy")


def test_comparisons_of_the_same_clips_take_the_place_of_intervals(run, tmp_path):
    folder = make_shipped(run, Shelf(tmp_path), Release("toy", "For tests."), scores=results(tmp_path, pairs=True))
    card = (folder / "README.md").read_text()
    assert "| characters | peer | -9.0 [-10.0, -8.0] | 56 % of the way from log-mel |" in card
    assert "| characters | log-mel | +13.0 [+11.0, +15.0] |  |" in card
    limits = limits_of(Shelf(tmp_path).facts("toy"))
    assert "characters: peer is better on the same clips." in limits
    assert "key: no statistically significant difference from log-mel on the same clips." in limits
    assert not any("log-mel" in one for one in limits if one.startswith("characters"))
    assert "another" not in card


def test_what_is_refused(run, tmp_path, shelf, monkeypatch):
    for name in ("a/b", ".hidden", ""):
        with pytest.raises(UserError, match="`name` must be the name of a folder"):
            make_shipped(run, shelf, Release(name, ""))
    with pytest.raises(UserError, match="there is a shipped model `toy` already"):
        make_shipped(run, shelf, Release("toy", ""))
    with pytest.raises(UserError, match=r"config\.json is missing: the run has no whole model"):
        make_shipped(tmp_path, shelf, Release("other", ""))
    with pytest.raises(UserError, match=r"the shelf takes 0.1 MB, and may take 0 MB"):
        make_shipped(run, shelf, Release("other", ""), most_bytes=1000)
    assert shelf.names() == ["toy"]


def test_facts_of_another_version_are_refused(shelf):
    path = shelf.root / "toy" / FACTS_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "facts_version": 2}))
    with pytest.raises(UserError, match="`facts_version` must be 1, but is 2"):
        shelf.facts("toy")


def test_the_table_has_a_row_a_model(shelf, tmp_path):
    assert "| `toy` | A stand-in that knows nothing. | 2 x 16, 50 frames/s at 16000 Hz |" in models_table(shelf)
    assert 'audio_ssl.load("toy")' in models_table(shelf)
    assert models_table(Shelf(tmp_path / "none")) == NONE


def test_the_command_makes_it(run, tmp_path):
    words = [str(run), "--name", "toy", "--summary", "For tests.", "--into", str(tmp_path), "--weights", "bfloat16"]
    command = [sys.executable, "-m", "audio_ssl.release", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'toy'}\n"), done.stderr
    assert Shelf(tmp_path).facts("toy").weights == "bfloat16"
    assert "Matrices are stored in bfloat16" in render(Shelf(tmp_path).facts("toy"), {})
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith("there is a shipped model `toy` already (remove it first)\n")
