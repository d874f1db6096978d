"""A study from the pool to the page, on noise."""

import json
import shutil

import pytest

from audio_ssl.base.errors import StoppedBySignal, UserError
from audio_ssl.data.manifest import read_manifest, write_manifest
from audio_ssl.study import run as run_module
from audio_ssl.study.run import run_study
from tests.probing.toys import ten_people

SMALL = [
    "hours=0.001",
    "replicates=100",
    "sets={female: {F: 1.0}, balanced: {F: 0.5, M: 0.5}, male: {M: 1.0}}",
    "pretrain.settings=[steps=2, data.valid_share=0, data.crop_seconds=1.0, data.min_seconds=0.5, "
    "data.seconds_per_update=2.0, data.seconds_per_batch=2.0, encoder.layers=1, encoder.dim=16, encoder.ffn_dim=16, "
    "encoder.heads=2, encoder.position_kernel_frames=4, teachers.0.clusters=4, device=cpu]",
    "probes={asr_frozen: {probe: demo_asr, title: ASR, settings: [optim.steps=2, optim.eval_every=1, head.dim=8]}, "
    "asr_tuned: {probe: demo_asr, title: ASR, settings: [optim.steps=2, optim.eval_every=1, head.dim=8, "
    "finetune.freeze_steps=1]}}",
]


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """A clip of training, validation and test of each of ten speakers."""
    return ten_people(tmp_path_factory.mktemp("pool"), "pool.jsonl")


@pytest.fixture(scope="module")
def done(pool, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    return run_study("gender_study_tiny", out, [f"manifest={pool}", *SMALL]).parent


def test_a_study_leaves_sets_models_answers_and_the_table(done):
    for name in ("female", "balanced", "male"):
        folder = done / "sets" / name
        for path in ("manifest.jsonl", "balance.json", "run/model.safetensors", "probes/asr_tuned/scores.json"):
            assert (folder / path).is_file(), path
        genders = {c.gender for c in read_manifest(folder / "manifest.jsonl")}
        assert genders == {"female": {"F"}, "male": {"M"}, "balanced": {"F", "M"}}[name]
    assert (done / "untrained" / "probes" / "asr_frozen" / "scores.json").is_file()
    study = json.loads((done / "study.json").read_text())
    main = [cell for cell in study["cells"] if cell["metric"] == "wer"]
    assert [(c["column"], c["set"]) for c in main] == [
        (column, name) for column in ("asr_frozen", "asr_tuned") for name in ("female", "balanced", "male", "untrained")
    ]
    for cell in main:
        assert [cell["groups"][g]["speakers"] for g in ("F", "M", "all")] == [5, 5, 10]
        assert (cell["against_reference"] is None) == (cell["set"] in ("balanced", "untrained"))
    assert [column["integration"] for column in study["columns"]] == ["frozen", "fine-tuned"]
    page = (done / "study.html").read_text()
    for text in ("ASR, fine-tuned", "no pretraining", "synthetic", "10 speakers (s0", "one seed"):
        assert text.lower() in page.lower(), text
    assert "| balanced |" in (done / "study.md").read_text()


def test_a_study_that_was_stopped_goes_on(pool, done, tmp_path, monkeypatch):
    def never(*args, **settings):
        raise AssertionError("done already")

    out = tmp_path / "out"
    overrides = [f"manifest={pool}", *SMALL]
    asked = []

    def stopping(probe, model, folder, *rest):
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append(folder.name)
        return run_module_probe(probe, model, folder, *rest)

    run_module_probe = run_module.run_probe
    monkeypatch.setattr(run_module, "run_probe", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_study("gender_study_tiny", out, overrides)
    assert (out / "sets/female/probes/asr_frozen/scores.json").is_file()
    assert not (out / "sets/balanced").exists()
    assert not (out / "study.json").exists()
    monkeypatch.undo()
    # Finished work of another study in place of the rest, to see that none of it is done again.
    for path in ("sets", "untrained"):
        shutil.copytree(done / path, out / path, dirs_exist_ok=True)
    monkeypatch.setattr(run_module, "run_probe", never)
    monkeypatch.setattr(run_module, "pretrain", never)
    run_study("gender_study_tiny", out, overrides)
    ours, theirs = (json.loads((folder / "study.json").read_text())["cells"] for folder in (out, done))
    assert ours == theirs


@pytest.mark.parametrize(
    ("override", "differs"),
    [
        ("hours=0.0011", "hours"),
        ("pretrain.settings=[steps=3]", "recipe_hash, pretrain"),
        ("untrained=false", "untrained"),
    ],
)
def test_another_study_in_the_folder_is_refused(pool, done, override, differs):
    with pytest.raises(UserError, match=f"the folder holds another study; what differs: {differs}"):
        run_study("gender_study_tiny", done, [f"manifest={pool}", *SMALL, override])


def test_a_folder_of_something_else_is_refused(pool, tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(UserError, match="not empty and holds no study"):
        run_study("gender_study_tiny", tmp_path, [f"manifest={pool}", *SMALL])
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_study_killed_before_its_file_was_written_goes_on(pool, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    out.mkdir()
    (out / "provenance.json").write_text('{"study": "gender_study_tiny"}')
    (out / ".partial-x.yaml").write_text("hours")
    monkeypatch.setattr(run_module, "_draw", stop)
    with pytest.raises(KeyboardInterrupt):
        run_study("gender_study_tiny", out, [f"manifest={pool}", *SMALL])
    assert (out / "study.yaml").exists()


def test_a_study_goes_on_by_its_own_file_and_keeps_its_name(done, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(done, copy)
    before = (copy / "study.json").read_text()
    run_study(str(copy / "study.yaml"), copy)
    assert (copy / "study.json").read_text() == before


def test_a_changed_pool_is_another_study(pool, done, tmp_path):
    clips = read_manifest(pool)
    copy = tmp_path / "copy"
    shutil.copytree(done, copy)
    shutil.copy(pool, tmp_path / "before.jsonl")
    try:
        write_manifest(pool, clips[:-1])
        with pytest.raises(UserError, match="what differs: manifests"):
            run_study("gender_study_tiny", copy, [f"manifest={pool}", *SMALL])
    finally:
        shutil.copy(tmp_path / "before.jsonl", pool)


def test_a_signal_says_how_the_study_goes_on(pool, tmp_path, monkeypatch):
    def stop(*args, **settings):
        raise StoppedBySignal("Run the command again with --resume to go on")

    monkeypatch.setattr(run_module, "pretrain", stop)
    with pytest.raises(StoppedBySignal, match="stopped while pretraining on female"):
        run_study("gender_study_tiny", tmp_path / "out", [f"manifest={pool}", *SMALL])


def test_a_pretraining_that_was_stopped_is_resumed(pool, tmp_path, monkeypatch):
    said = []

    def stop(recipe, settings, out, resume):
        said.append(resume)
        out.mkdir(parents=True, exist_ok=True)
        raise StoppedBySignal("stopped")

    monkeypatch.setattr(run_module, "pretrain", stop)
    for _ in range(2):
        with pytest.raises(StoppedBySignal):
            run_study("gender_study_tiny", tmp_path / "out", [f"manifest={pool}", *SMALL])
    assert said == [False, True]


def test_several_seeds_have_folders_of_their_own_and_a_range(pool, done, tmp_path, monkeypatch):
    def given(recipe, settings, out, resume):
        shutil.copytree(done / "sets" / out.parent.parent.name / "run", out)

    def answered(probe, model, out, settings, cache):
        kind = "untrained" if "untrained" in out.parts else f"sets/{out.parent.parent.parent.name}"
        shutil.copytree(done / kind / "probes" / out.name, out)

    monkeypatch.setattr(run_module, "pretrain", given)
    monkeypatch.setattr(run_module, "run_probe", answered)
    page = run_study("gender_study_tiny", tmp_path / "out", [f"manifest={pool}", *SMALL, "seeds=[0, 1]"])
    assert (tmp_path / "out" / "sets" / "male" / "seed_1" / "balance.json").is_file()
    study = json.loads((tmp_path / "out" / "study.json").read_text())
    cell = study["cells"][0]
    before = json.loads((done / "study.json").read_text())["cells"][0]
    assert cell["results"] == [f"sets/female/seed_{seed}/probes/asr_frozen" for seed in (0, 1)]
    women, then = cell["groups"]["F"], before["groups"]["F"]
    assert women["seed_low"] == women["seed_high"] == women["value"] == pytest.approx(then["value"])
    assert [women[key] for key in ("speakers", "clips", "words")] == [
        then[key] for key in ("speakers", "clips", "words")
    ]
    assert "Scores pool the answers of 2 seeds." in page.read_text()
    assert "female, seed 1" in page.read_text()
