"""Which clips are asked, which are left out and why, and that no column of an answer is lost."""

import pyarrow.parquet as pq
import pytest
import torch

from audio_ssl.artifacts.result_tables import write_table
from audio_ssl.base.errors import UserError
from audio_ssl.probing.clips import choose_clips, drop_unanswerable, evenly, overlap_warnings
from audio_ssl.probing.probe import ProbeData
from audio_ssl.probing.result import write_predictions
from audio_ssl.probing.tasks import asr, classification, key
from tests.probing.toys import clip


@pytest.mark.parametrize(
    ("train", "test", "refused"),
    [
        ((0.0, 10.0), (0.0, 10.0), True),
        ((0.0, 10.0), (5.0, 10.0), True),
        ((0.0, 30.0), (10.0, 5.0), True),
        ((10.0, 5.0), (0.0, 30.0), True),
        ((0.0, 0.03), (0.0, 0.03), True),
        ((0.0, 10.0), (10.0, 10.0), False),
        ((0.0, 10.02), (10.0, 10.0), False),
        ((20.0, 5.0), (0.0, 10.0), False),
    ],
)
def test_overlapping_spans_in_two_splits_are_refused(train, test, refused):
    task = key.build(key.Config())
    clips = [
        clip("a", "d/x.wav", *train),
        clip("between", "d/x.wav", train[0], train[1] / 2),
        clip("v", "v.wav", split="valid"),
        clip("b", "d/../d/x.wav", *test, split="test"),
        clip("c", "z.wav", split="test"),
    ]
    if refused:
        with pytest.raises(UserError, match=r"the audio of `\w+` is both in (train|test) \(there in `\w+`\) and in"):
            choose_clips(clips, ProbeData(), task)
    else:
        (parts,), _ = choose_clips(clips, ProbeData(), task)
        assert len(parts["train"]) == 2


def test_pieces_of_a_file_or_track_on_both_sides_are_said():
    task = key.build(key.Config())
    parts = {
        "train": [clip("a", "x.wav"), clip("b", "y.wav", extra={"track": "t"})],
        "valid": [],
        "test": [clip("c", "x.wav", 20.0), clip("d", "w.wav", extra={"track": "t"})],
    }
    assert overlap_warnings(parts, task) == [
        "tracks of the test clips are in the training clips too: t",
        "files of the test clips are in the training clips too: x.wav",
    ]


def test_a_class_that_a_fold_never_trains_is_left_out_by_name():
    task = classification.build(classification.Config(min_count=1))
    data = ProbeData(folds=3)
    clips = [clip(f"{n}", f"{n}.wav", label="ab"[n % 2], speaker=f"s{n % 3}") for n in range(12)]
    clips.append(clip("lone", "lone.wav", label="c", speaker="s0"))
    parts, _ = choose_clips(clips, data, task)
    task.learn([one for part in parts[0].values() for one in part])
    kept = [drop_unanswerable(part, task) for part in parts]
    assert [[(one.id, one.reason) for one in excluded] for _, excluded in kept if excluded] == [
        [("lone", "`c` is not in training")]
    ] * 2
    of_speakers = classification.build(classification.Config(column="speaker"))
    of_speakers.learn(clips)
    with pytest.raises(UserError, match=r"no clip of the \w+ split can be used: `s\d` is not in training"):
        drop_unanswerable(parts[0], of_speakers)


def test_columns_of_the_manifest_are_not_lost_to_those_of_the_answer(tmp_path):
    task = key.build(key.Config())
    one = clip("a", extra={"scores": 3, "reference": "theirs"})
    write_predictions(tmp_path / "p.parquet", task, [one], [torch.zeros(24)])
    (row,) = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert (row["manifest_scores"], row["manifest_reference"], row["reference"]) == (3, "theirs", "C major")
    assert len(row["scores"]) == 24


def test_an_empty_split_says_why_its_clips_were_left_out():
    clips = [clip("a", "a.wav"), clip("v", "v.wav", split="valid"), clip("b", "b.wav", split="test", seconds=99.0)]
    with pytest.raises(
        UserError, match=r"no usable clip in the split `test` .*\(1 left out: longer than `max_seconds` 30\)"
    ):
        choose_clips(clips, ProbeData(), key.build(key.Config()))


def test_a_manifest_without_what_the_task_needs_says_so():
    clips = [clip(name, f"{name}.wav", split="train-clean-100") for name in "abc"]
    said = r"\(none of the manifest's 3 clips can be used: 3 no transcript\).*\(give the manifest of a corpus that has"
    with pytest.raises(UserError, match=said):
        choose_clips(clips, ProbeData(), asr.build(asr.Config()))


def test_columns_of_several_types_do_not_lose_the_predictions(tmp_path):
    rows = [{"age": 20, "n": 1, "x": 2**70, "t": "a\udc80"}, {"age": "old", "n": 2.5, "x": None, "t": None}]
    write_table(tmp_path / "t.parquet", rows)
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == [
        {"age": "20", "n": 1.0, "x": str(2**70), "t": "a\\x80"},
        {"age": "old", "n": 2.5, "x": None, "t": None},
    ]


@pytest.mark.parametrize(
    "override",
    [
        "data.max_train_clips=0",
        "data.max_seconds=0",
        "optim.clip_norm=-1",
        "finetune={lr: 0}",
        "finetune={batch_seconds: 0}",
        "finetune={freeze_steps: 20000}",
    ],
)
def test_numbers_that_cannot_be_are_refused(override, tmp_path):
    from audio_ssl.probing.probe import read_probe

    (tmp_path / "m.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"\$\.(data|optim|finetune)\.\w+: (the model would never learn: )?must be"):
        read_probe("demo_key", [f"data.manifest={tmp_path / 'm.jsonl'}", override])
    assert evenly(list(range(10)), 3) == [0, 3, 6]


def test_questions_without_training_have_no_folds(toy_manifest, tmp_path):
    from audio_ssl.probing.run import run_probe

    with pytest.raises(UserError, match=r"\$\.data\.folds: the task abx trains nothing"):
        run_probe("abx", "logmel", tmp_path / "r", [f"data.manifest={toy_manifest}", "data.folds=3", "task.times=null"])
