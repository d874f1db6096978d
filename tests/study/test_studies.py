"""Study files and what is refused of them before any work."""

import dataclasses

import pytest

from audio_ssl.base import catalog
from audio_ssl.base.config import read_yaml, structure, unstructure
from audio_ssl.base.errors import UserError
from audio_ssl.commands.explain import listing_lines
from audio_ssl.data.manifest import read_manifest, write_manifest
from audio_ssl.study.plan import make_plan
from audio_ssl.study.settings import Study, StudyFolders
from tests.probing.toys import clip


@pytest.fixture
def pool(tmp_path):
    """Twelve seconds of each of 24 speakers; a third only in test. The files are not there: nothing reads them."""
    clips = []
    for number in range(24):
        person = {"speaker": f"s{number}", "gender": "FM"[number % 2], "text": "a b", "translation": "one two"}
        for index, split in enumerate(("test", "test") if number % 3 == 0 else ("train", "valid")):
            name = f"{number}-{index}"
            clips.append(clip(name, f"{name}.wav", seconds=6.0, split=split, **person))
    clips.append(clip("nobody", "n.wav", seconds=6.0, split="train"))
    write_manifest(tmp_path / "pool.jsonl", clips)
    return tmp_path / "pool.jsonl"


def plan(pool, *overrides, name="gender_study_tiny"):
    return make_plan(name, [f"manifest={pool}", "hours=0.005", *overrides])


@pytest.mark.parametrize("name", catalog.names("recipes/studies"))
def test_every_study_names_what_exists(name, pool):
    path = catalog.find("recipes/studies", name)
    assert path.read_text().startswith("# ")
    study = structure(Study, read_yaml(path))
    assert structure(Study, unstructure(study)) == study
    # The plan reads the recipe and every probe with their settings.
    made = plan(pool, name=name)
    assert {q.integration for q in made.questions} == {"frozen", "fine-tuned"}
    assert {q.title for q in made.questions} == {"ASR", "ST"}
    assert [q.metrics[0] for q in made.questions] == ["wer", "wer", "bleu", "bleu"]
    assert list(study.sets) == ["female", "f70_m30", "balanced", "f30_m70", "male"]


def test_the_published_study_has_a_tiny_twin_and_is_listed():
    assert {"gender_study", "gender_study_tiny"} <= set(catalog.names("recipes/studies"))
    listed = list(listing_lines("recipes"))
    assert "recipes/studies" in listed
    assert any(line.strip().startswith("gender_study_tiny ") for line in listed)
    assert "recipes/studies" not in list(listing_lines("probes"))


def test_sets_have_the_hours_asked_for_and_only_of_training(pool):
    made = plan(pool)
    for (name, _), drawn in made.drawn.items():
        shares = made.study.sets[name]
        hours = {g: sum(c.seconds for c in drawn.clips if c.gender == g) / 3600 for g in "FM"}
        assert hours == {g: pytest.approx(0.005 * shares.get(g, 0), abs=0.051 / 60) for g in "FM"}
        assert {c.split for c in drawn.clips} == {"train"}


def test_seeds_draw_other_sets_and_have_their_own_folders(pool, tmp_path):
    made = plan(pool, "seeds=[3, 4]")
    ids = [[c.id for c in made.drawn["balanced", seed].clips] for seed in (3, 4)]
    assert ids[0] != ids[1]
    folders = [place.folder for place in StudyFolders(tmp_path, made.study).places()]
    assert folders[0] == tmp_path / "sets" / "female" / "seed_3"
    assert len(set(folders)) == 10
    assert made.ask("asr_frozen", 4)[1][1] == "seeds=[4]"
    assert not any("one seed" in warning for warning in made.warnings)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hourz=1", r"\$: unknown key `hourz`; known: .*\(did you mean `hours`\?\)"),
        ("hours=0", r"\$\.hours: must be above 0"),
        ("hours=9", r"\$\.sets\.female: balance gender=F:1.*: too little audio"),
        ("speaker_hours=.inf", r"\$\.speaker_hours"),
        ("sets.male={M: 0.9}", r"\$\.sets\.male: shares must be above 0 and sum to 1, but are M: 0.9"),
        ("sets.x={X: 1.0}", r"\$\.sets\.x: the pool's column `gender`: unknown group `X`; known: F, M"),
        ("sets.a/b={F: 1.0}", r"\$\.sets: `a/b` must be made of letters"),
        ("reference=even", r"\$\.reference: unknown set `even`; known: balanced"),
        ("compare=[F, F]", r"\$\.compare: must be two groups"),
        ("compare=[F, X]", r"\$\.compare: unknown group `X`"),
        ("seeds=[]", r"\$\.seeds: must have at least one seed"),
        ("splits=[dev]", r"\$\.splits: the pool has no clip of dev"),
        ("test_speakers=drop", r"\$\.test_speakers: unknown choice `drop`"),
        ("manifest=missing.jsonl", r"\$\.manifest: no such manifest: missing.jsonl"),
        ("probes.st_frozen.manifest=no.jsonl", r"\$\.probes\.st_frozen\.manifest: no such manifest"),
        ("pretrain.recipe=wav2vec", r"\$\.pretrain: unknown recipe `wav2vec`"),
        ("pretrain.settings=[step=3]", r"\$\.pretrain: \$: unknown key `step`"),
        ("pretrain.settings=[seed=3]", r"\$\.pretrain\.settings: the study sets `seed` itself"),
        ("probes.x={probe: asr}", r"\$\.probes\.x: unknown probe `asr`"),
        ("probes.x={probe: demo_asr, settings: [optim.stepz=1]}", r"\$\.probes\.x: \$\.optim: unknown key `stepz`"),
        ("probes.x={probe: demo_asr, settings: [data.manifest=m]}", r"must be given as `manifest` of the column"),
        ("probes.x={probe: demo_tagging}", r"\$\.probes\.x\.probe: the task `tagging` has no score per clip"),
        ("probes.x={probe: demo_asr, settings: [data.test_split=dev]}", r"x: .*no usable clip in the split `dev`"),
        ("probes.x={probe: demo_asr, settings: [data.max_seconds=5]}", r"16 left out: longer than `max_seconds` 5\)"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_its_key(pool, override, message):
    with pytest.raises(UserError, match=message):
        plan(pool, override)


def test_columns_of_one_task_and_use_are_told_apart(pool):
    made = plan(
        pool, "probes={a: {probe: demo_asr, title: ASR}, b: {probe: demo_asr, title: ASR}, c: {probe: demo_st}}"
    )
    assert [q.title for q in made.questions] == ["ASR (a)", "ASR (b)", "demo_st"]


def test_a_test_without_one_of_the_groups_is_refused(pool, tmp_path):
    clips = [c for c in read_manifest(pool) if c.split != "test" or c.gender == "F"]
    write_manifest(tmp_path / "women.jsonl", clips)
    with pytest.raises(UserError, match=r"\$\.probes\.asr_frozen: the test clips .* have no `gender` M"):
        plan(pool, f"probes.asr_frozen.manifest={tmp_path / 'women.jsonl'}")


def test_a_pool_must_be_given():
    with pytest.raises(UserError, match=r"\$\.manifest: must be given"):
        make_plan("gender_study_tiny")


def test_test_speakers_in_the_pool_are_refused_left_out_or_named(pool, tmp_path):
    clips = read_manifest(pool)
    mixed = [dataclasses.replace(c, speaker="s3") if c.id in ("1-0", "5-0") else c for c in clips]
    write_manifest(tmp_path / "mixed.jsonl", mixed)
    with pytest.raises(UserError, match=r"\$\.test_speakers: the pool also has 1 speaker \(s3\) of the test clips"):
        plan(tmp_path / "mixed.jsonl", "test_speakers=refuse")
    allowed = plan(tmp_path / "mixed.jsonl")
    assert allowed.known.speakers == ("s3",)
    assert any("s3" in warning for warning in allowed.warnings)
    kept = plan(tmp_path / "mixed.jsonl", "test_speakers=leave_out")
    assert kept.known.left_out == 2
    assert all(c.speaker != "s3" for drawn in kept.drawn.values() for c in drawn.clips)
    assert not plan(pool).known.speakers


def test_a_file_of_the_test_is_known_too(pool, tmp_path):
    clips = read_manifest(pool)
    heard = next(c.path for c in clips if c.id == "0-0")
    mixed = [dataclasses.replace(c, path=heard) if c.id == "1-0" else c for c in clips]
    write_manifest(tmp_path / "mixed.jsonl", mixed)
    asked = [f"probes.{one}.manifest={pool}" for one in ("asr_frozen", "asr_tuned", "st_frozen", "st_tuned")]
    with pytest.raises(UserError, match=r"the pool also has 1 file \(.*0-0.wav\) of the test clips"):
        plan(tmp_path / "mixed.jsonl", "test_speakers=refuse", *asked)
    kept = plan(tmp_path / "mixed.jsonl", "test_speakers=leave_out", *asked)
    assert kept.known.left_out == 1
    assert all(c.path != heard for drawn in kept.drawn.values() for c in drawn.clips)
