"""Predictions of new files are those that the probe itself made of its test clips, whatever stands beside them."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from audio_ssl.artifacts.clip_predictions import iterate_clip_predictions
from audio_ssl.artifacts.prediction_record import read_prediction_record
from audio_ssl.artifacts.result import read_scores
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip, read_manifest, write_manifest
from audio_ssl.features.clip_rows import RowJournal
from audio_ssl.features.job import ProcessShare
from audio_ssl.features.settings import Settings
from audio_ssl.probing.predicting import PredictionJob, predict
from audio_ssl.probing.run import run_probe

RATE = 16000
WORDS = ("abacab", "dabada", "bacaba")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Noisy tones that beat twice a second, with a column for every task."""
    folder = tmp_path_factory.mktemp("everything")
    random = np.random.default_rng(0)
    clips = []
    for number in range(18):
        path, seconds = folder / f"{number}.wav", 1.0 + 0.1 * (number % 5)
        time = np.arange(int(seconds * RATE)) / RATE
        wave = 0.3 * np.sin(2 * np.pi * 220 * 2 ** (number % 4 / 4) * time) * (1 + np.sin(4 * np.pi * time)) / 2
        soundfile.write(path, (wave + random.normal(0, 0.01, len(time))).astype(np.float32), RATE)
        text = f"{WORDS[number // 2 % 3][:4]} {WORDS[number % 3][:3]}"
        extra = {
            "phones": " ".join(text.replace(" ", "").upper()), "beats": "0.25/1 0.75/2", "chords": "0.0 0.8 C:maj",
            "notes": f"0.0 0.7 {57 + number % 4}", "valence": float(number % 4), "arousal": 0.5 * number,
            "session": number % 3,
        }  # fmt: skip
        split = ("train", "train", "valid", "test")[number % 4] if number < 12 else ("valid", "test")[number % 2]
        clip = Clip(str(number), str(path), 0.0, seconds, RATE, text=text, split=split, extra=extra)
        named = {"speaker": f"s{number % 3}", "gender": "FM"[number % 2], "label": ("A", "B")[number % 2]}
        clips.append(replace(clip, translation="eins zwei", tags=("loud", "low")[: number % 3], **named))
    write_manifest(folder / "m.jsonl", clips)
    return folder / "m.jsonl"


QUICK = ["baselines=[]", "optim={lrs: [1e-2], steps: 6, eval_every: 3, batch_clips: 8}"]
ASR = "task={kind: asr}"
QUESTIONS = {
    "characters": ["demo_asr"],
    "a beam": ["demo_asr", "decode={kind: ctc_beam, beam_size: 5, order: 2, smoothing: witten_bell}"],
    "an lstm": ["demo_asr", "head={kind: ctc, lstm_dim: 8, lstm_layers: 1}", "data.features=stream"],
    "pieces": ["demo_asr", "task={kind: asr, units: sentencepiece, vocab_size: 8}"],
    "batch norms": ["demo_asr", "head={kind: ctc_dnn, dim: 8, layers: 1}"],
    "phones": ["demo_asr", "task={kind: phones}", "whiten=true"],
    "translations": ["demo_st", "head.dim=16", "head.max_tokens=6", "task.min_count=1"],
    "a class": ["label", "task.column=gender"],
    "a class of attention": ["label", "head={kind: attentive, hidden_dim: 4}", "layers=[mix]"],
    "tags": ["demo_tagging", "task.min_count=1"],
    "numbers": ["marble_emotion_emomusic", "head.hidden_dim=8"],
    "beats": ["beats", "head={kind: frames_conv, dim: 8, layers: 2}"],
    "chords": ["chords", "head={kind: frames, hidden_dim: 8}", "data.features=stream"],
    "notes": ["notes", "head={kind: frames, hidden_dim: 8}"],
    "vectors": ["speaker_verification_superb", "head={kind: mean_embedding, dim: 4}", "data.features=stream"],
    "a model": ["demo_asr", "finetune={lr: 1e-3, freeze_steps: 1}"],
    "adapters": ["demo_asr", "finetune={lr: 1e-2, freeze_steps: 1, lora: {rank: 2}}"],
    "folds": ["label", "data.folds=3", "data.fold_column=session"],
}


def asked(name, manifest, model, out):
    probe, *settings = QUESTIONS[name]
    return run_probe(probe, model, out, [f"data.manifest={manifest}", *QUICK, *settings])


def by_id(folder):
    table = pq.read_table(folder / "predictions.parquet")
    return {row["id"]: row for row in table.to_pylist()}


def probabilities(row, key="scores"):
    scores = np.array(row[key])
    return np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()


@pytest.mark.parametrize("name", [name for name in QUESTIONS if name != "folds"])
def test_predictions_are_those_of_the_probe(name, manifest, small_model, tmp_path):
    result = asked(name, manifest, small_model, tmp_path / "r")
    # More clips than the probe's test clips, in other batches; nothing of their labels is there.
    bare = [Clip(clip.id, clip.path, clip.start, clip.seconds, clip.sample_rate) for clip in read_manifest(manifest)]
    write_manifest(tmp_path / "bare.jsonl", bare)
    predict(result, tmp_path / "bare.jsonl", tmp_path / "p")
    found, wanted = by_id(tmp_path / "p"), by_id(result)
    assert len(found) == len(bare) > len(wanted) > 2
    assert all(row.get("reference") is None for row in found.values())
    for key, row in wanted.items():
        if "embedding" in row:
            assert found[key]["embedding"] == pytest.approx(row["embedding"], abs=1e-5)
            continue
        if isinstance(row["hypothesis"], list) and row["hypothesis"] and isinstance(row["hypothesis"][0], float):
            assert found[key]["hypothesis"] == pytest.approx(row["hypothesis"], abs=1e-5)
        else:
            assert found[key]["hypothesis"] == row["hypothesis"]
        if name == "tags":
            assert found[key]["scores"] == pytest.approx(row["scores"], abs=1e-5)
        elif "scores" in row:
            assert probabilities(found[key]) == pytest.approx(probabilities(row), abs=1e-5)
    if name in ("characters", "phones"):
        # Otherwise nothing has been compared.
        assert any(row["hypothesis"] for row in wanted.values())


@pytest.fixture(scope="module")
def recogniser(manifest, small_model, tmp_path_factory):
    return asked("characters", manifest, small_model, tmp_path_factory.mktemp("recogniser") / "r")


@pytest.fixture(scope="module")
def whole(recogniser, manifest, tmp_path_factory):
    """All clips of the folder, predicted at once."""
    out = tmp_path_factory.mktemp("whole") / "p"
    predict(recogniser, manifest.parent, out)
    return out


def lines(folder):
    return (folder / "predictions.jsonl").read_text().splitlines()


def test_the_final_head_of_folds_predicts(manifest, small_model, tmp_path):
    result = asked("folds", manifest, small_model, tmp_path / "r")
    written = predict(result, manifest, tmp_path / "p")
    found = list(iterate_clip_predictions(written.files[0]))
    assert written.clips == len(found) == 18
    for one in found:
        assert sorted(each.name for each in one.classes) == ["A", "B"]
        assert sum(each.probability for each in one.classes) == pytest.approx(1)
        assert one.label == max(one.classes, key=lambda each: each.probability).name
    # Labels that are there stand beside the answers, so that the table can be scored.
    assert (written.references, written.audited, written.attribute) == (True, True, "gender")
    assert {row["reference"] for row in by_id(tmp_path / "p").values()} == {"A", "B"}


def test_batched_equals_single(whole, recogniser, manifest, tmp_path):
    for number in (0, 4):
        written = predict(recogniser, manifest.parent / f"{number}.wav", tmp_path / str(number))
        (alone,) = iterate_clip_predictions(written.files[0])
        (beside,) = (one for one in iterate_clip_predictions(whole / "predictions.jsonl") if one.id == f"{number}.wav")
        assert (alone.text, [word.label for word in alone.words]) == (
            beside.text,
            [word.label for word in beside.words],
        )
        assert [word.probability for word in alone.words] == pytest.approx(
            [w.probability for w in beside.words], abs=1e-3
        )


def test_a_killed_prediction_goes_on(whole, recogniser, manifest, tmp_path, monkeypatch):
    added, add = [], RowJournal.add

    def stop_after_four(self, rows):
        if len(added) == 4:
            # A killed process may leave half a line.
            with self._path.open("ab") as file:
                file.write(b'{"number": 9, "row": {"id"')
            raise KeyboardInterrupt
        added.append(rows)
        add(self, rows)

    monkeypatch.setattr(RowJournal, "add", stop_after_four)
    with pytest.raises(KeyboardInterrupt):
        predict(recogniser, manifest.parent, tmp_path / "p")
    assert not (tmp_path / "p" / "predictions.jsonl").exists()
    monkeypatch.undo()
    computed = []
    monkeypatch.setattr(RowJournal, "add", lambda self, rows: (computed.append(rows), add(self, rows)))
    predict(recogniser, manifest.parent, tmp_path / "p")
    assert len(computed) == 14
    assert lines(tmp_path / "p") == lines(whole)
    # Nothing is left to be done; another format is made of what is there.
    monkeypatch.setattr(RowJournal, "add", lambda self, rows: pytest.fail("predicted again"))
    written = predict(recogniser, manifest.parent, tmp_path / "p", formats=["srt"])
    assert lines(tmp_path / "p") == lines(whole)
    assert len(list(written.files[-1].glob("*.srt"))) == 18


def test_predictions_that_were_changed_are_not_gone_on_with(whole, recogniser, manifest, tmp_path):
    out = shutil.copytree(whole, tmp_path / "said")
    said = (out / "predictions.jsonl").read_text()
    (out / "predictions.jsonl").write_text(said.replace('"task": "asr"', '"task": "asx"', 1))
    with pytest.raises(UserError, match=r"predictions.jsonl has other bytes than were written.*delete predictions.js"):
        predict(recogniser, manifest.parent, out)
    (out / "predictions.jsonl").unlink()
    predict(recogniser, manifest.parent, out)
    assert (out / "predictions.jsonl").read_text() == said


def test_processes_share_the_work(whole, recogniser, manifest, tmp_path):
    job = PredictionJob(str(recogniser), str(manifest.parent), str(tmp_path / "p"), settings=Settings())
    monkey = pytest.MonkeyPatch()
    monkey.setattr("audio_ssl.features.job.WINDOW_CLIPS", 3)
    for rank in (1, 0):
        job.run_share(ProcessShare(rank, 2), torch.device("cpu"))
    monkey.undo()
    assert len(list((tmp_path / "p" / ".index").glob("r*.jsonl"))) == 2
    predict(recogniser, manifest.parent, tmp_path / "p")
    assert [json.loads(line)["text"] for line in lines(tmp_path / "p")] == [
        json.loads(line)["text"] for line in lines(whole)
    ]


def test_files_that_cannot_be_used_are_named(recogniser, manifest, tmp_path):
    (tmp_path / "audio").mkdir()
    shutil.copy(manifest.parent / "0.wav", tmp_path / "audio" / "good.wav")
    (tmp_path / "audio" / "bad.wav").write_bytes(b"RIFF nothing")
    soundfile.write(tmp_path / "audio" / "short.wav", np.zeros(10, np.float32), RATE)
    written = predict(recogniser, tmp_path / "audio", tmp_path / "p", formats=["json"])
    assert written.clips == 1
    errors = [json.loads(line) for line in (tmp_path / "p" / "errors.jsonl").read_text().splitlines()]
    assert sorted(Path(row["path"]).name for row in errors) == ["bad.wav", "short.wav"]
    assert [path.name for path in (tmp_path / "p" / "json").iterdir()] == ["good.json"]


def test_the_record_says_what_predicts(whole, recogniser):
    record = read_prediction_record(whole)
    assert (record.task, record.result, record.model_fingerprint) == (
        "asr", str(recogniser), read_scores(recogniser).model_fingerprint,
    )  # fmt: skip
    assert record.command.startswith("audio-ssl predict ")


def test_another_head_or_setting_is_refused_in_the_same_folder(whole, recogniser, manifest, small_model, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "p")
    other = asked("phones", manifest, small_model, tmp_path / "r")
    with pytest.raises(UserError, match=r"the folder holds other predictions: `result_sha256` is .* \(choose another"):
        predict(other, manifest.parent, folder)
    with pytest.raises(UserError, match=r"`chunk_seconds` is 30\.0 there, 10\.0 here"):
        predict(recogniser, manifest.parent, folder, overrides=["chunk_seconds=10"])
    assert lines(folder) == lines(whole)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"audio": Path("nowhere")}, "nowhere: no such file or folder"),
        ({"formats": ["mp3"]}, "`--format` must be one of beats, ctm, jams"),
        ({"formats": ["mid"]}, "`--format` `mid` needs notes, but the predictions have"),
        ({"engine": "slurm"}, "`--engine` must be one of"),
        ({"overrides": ["speed=2"]}, "speed"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_any_work(options, told, recogniser, manifest, tmp_path):
    options = {"audio": manifest.parent, **options}
    with pytest.raises(UserError, match=re.escape(told)):
        predict(recogniser, options.pop("audio"), tmp_path / "p", **options)
    assert not (tmp_path / "p").exists()


def test_labels_of_another_alphabet_are_refused(recogniser, manifest, tmp_path):
    clips = [replace(clip, text="жук") for clip in read_manifest(manifest)]
    write_manifest(tmp_path / "m.jsonl", clips)
    with pytest.raises(UserError, match=r"the labels are of another alphabet .* such as .*жук.* \(give clips of what"):
        predict(recogniser, tmp_path / "m.jsonl", tmp_path / "p")
    assert not (tmp_path / "p").exists()
    # One letter that it knows is enough.
    write_manifest(tmp_path / "m.jsonl", [replace(clips[0], text="жaк"), *clips[1:3]])
    assert predict(recogniser, tmp_path / "m.jsonl", tmp_path / "p").clips == 3
