"""Long clips are answered in windows: with the numbers of the whole where frames depend on neighbours alone."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch

import audio_ssl
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import read_manifest, write_manifest
from audio_ssl.features.pieces import pieces_of_waveform
from audio_ssl.features.settings import Settings
from audio_ssl.probing import answering
from audio_ssl.probing.answering import Windows, answer_pieces
from audio_ssl.probing.features import LayerBatch
from audio_ssl.probing.head import HeadBatch
from audio_ssl.probing.layer_heads import LayerStatistics
from audio_ssl.probing.predicting import settings_for
from audio_ssl.probing.run import run_probe
from audio_ssl.probing.trained import open_result
from tests.probing.toys import ten_people

QUICK = ["baselines=[]", "optim={lrs: [1e-2], steps: 4, eval_every: 2, batch_clips: 8}"]
HEADS = {
    "frames": ["beats", "head={kind: frames, hidden_dim: 4}"],
    "frames_conv": ["beats", "head={kind: frames_conv, dim: 4, layers: 2}"],
    "ctc_conv": ["demo_asr", "head={kind: ctc_conv, dim: 4, layers: 2, kernel_frames: 3}"],
    "ctc_dnn": ["demo_asr", "head={kind: ctc_dnn, dim: 4, layers: 1}"],
    "lstm": ["demo_asr", "head={kind: ctc, lstm_dim: 4, lstm_layers: 1}"],
    "mean": ["label", "task.column=gender"],
    "attentive": ["label", "task.column=gender", "head={kind: attentive, hidden_dim: 4}"],
    "x-vector": ["label", "task.column=gender", "head={kind: xvector, dim: 4, pooled_dim: 4}"],
    "seq2seq": ["demo_st", "head.dim=16", "head.max_tokens=4", "task={kind: st, source: text, min_count: 1}"],
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    path = ten_people(tmp_path_factory.mktemp("people"), "m.jsonl")
    write_manifest(path, [replace(clip, extra={"beats": "0.25/1 0.75/2"}) for clip in read_manifest(path)])
    return path


@pytest.fixture(scope="module")
def results(manifest, tmp_path_factory):
    """Heads on frames of log-mel, which do not depend on how a file is cut; 50 frames a second."""
    made = {}

    def result(kind):
        if kind not in made:
            probe, *settings = HEADS[kind]
            given = [f"data.manifest={manifest}", "data.max_seconds=1.0", "data.features=stream", *QUICK, *settings]
            made[kind] = run_probe(probe, "logmel", tmp_path_factory.mktemp(kind) / "r", given)
        return made[kind]

    return result


@pytest.fixture(scope="module")
def long_wave():
    return torch.from_numpy(np.random.default_rng(1).normal(0, 0.1, 3 * 16000 + 700).astype(np.float32))


def answer(probe, wave, **settings):
    given = Settings(**settings)
    (found,) = answer_pieces(pieces_of_waveform(wave, probe.source, probe.layers, given), probe, pytest.fail, given)
    return found.output


def seen(probe, wave):
    """Return all frames as the head sees them."""
    (piece,) = pieces_of_waveform(wave, probe.source, probe.layers, Settings())
    statistics = LayerStatistics(probe.system.mean, probe.system.scale)
    layers = LayerBatch(torch.stack(piece.layers)[:, None], torch.tensor([piece.total]))
    return probe.system.batch(statistics.standardise(layers)).features[0]


def said(probe, frames):
    return probe.system.head.predict(HeadBatch(frames[None], torch.tensor([len(frames)])))[0]


@pytest.mark.parametrize("kind", ["frames", "frames_conv", "ctc_conv", "ctc_dnn"])
def test_windows_have_the_numbers_of_the_whole(kind, results, long_wave, monkeypatch):
    probe = open_result(results(kind))
    whole = answer(probe, long_wave)
    monkeypatch.setattr(answering, "MOST_FRAMES", 50)
    cut = answer(probe, long_wave, chunk_seconds=0.7)
    wanted = whole.prediction if whole.log_probabilities is None else whole.log_probabilities
    found = cut.prediction if cut.log_probabilities is None else cut.log_probabilities
    assert len(wanted) > 3 * 40
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    # The neighbours are needed: without them the numbers are others.
    if kind.endswith("conv"):
        monkeypatch.setattr(answering, "windows_of", lambda *_: Windows(50, 40, 0))
        alone = answer(probe, long_wave, chunk_seconds=0.7)
        given = alone.prediction if alone.log_probabilities is None else alone.log_probabilities
        assert not torch.allclose(given, wanted, atol=1e-3)


def test_a_recurrent_head_hears_context_and_its_windows_are_joined_before_the_search(results, long_wave):
    probe = open_result(results("lstm"))
    found = answer(probe, long_wave, chunk_seconds=0.7)
    (whole,) = probe.system.head.log_probabilities(
        HeadBatch(seen(probe, long_wave)[None], torch.tensor([len(seen(probe, long_wave))]))
    )
    assert found.log_probabilities.shape == whole.shape
    torch.testing.assert_close(found.log_probabilities, whole, atol=0.05, rtol=0.05)
    assert found.prediction.tolist() == answering.greedy(found.log_probabilities.argmax(-1)).tolist()


def test_a_head_on_the_mean_frame_sees_that_of_the_whole_clip(results, long_wave):
    probe = open_result(results("mean"))
    wanted = said(probe, seen(probe, long_wave).mean(0, keepdim=True))
    for settings in ({}, {"chunk_seconds": 0.7}):
        torch.testing.assert_close(answer(probe, long_wave, **settings).prediction, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["attentive", "x-vector"])
def test_the_answer_once_a_clip_is_the_mean_over_windows(kind, results, long_wave):
    probe = open_result(results(kind))
    frames = seen(probe, long_wave)
    count = math.ceil(len(frames) / (int(1.0 * probe.source.grid.frame_rate_hz) + 1))
    edges = [len(frames) * number // count for number in range(count + 1)]
    parts = [frames[a:b] for a, b in pairwise(edges)]
    wanted = sum(said(probe, part) * len(part) for part in parts) / len(frames)
    assert count > 2
    torch.testing.assert_close(answer(probe, long_wave, chunk_seconds=0.7).prediction, wanted, atol=1e-5, rtol=1e-5)


def test_texts_of_windows_follow_one_another(results, long_wave):
    probe = open_result(results("seq2seq"))
    found = answer(probe, long_wave)
    assert len(found.prediction) > 4
    single = answer(probe, long_wave[:8000])
    assert len(single.prediction) <= 4


@pytest.mark.parametrize("rounded", [True, False])
def test_frames_are_rounded_where_the_probe_has_kept_them_in_16_bits(rounded, results, long_wave):
    probe = replace(open_result(results("frames")), live=not rounded)
    (piece,) = pieces_of_waveform(long_wave, probe.source, probe.layers, Settings())
    exact, half = piece.layers[0], piece.layers[0].half().float()
    statistics = LayerStatistics(probe.system.mean, probe.system.scale)

    def heard(layer):
        batch = LayerBatch(layer[None, None], torch.tensor([len(layer)]))
        return said(probe, probe.system.batch(statistics.standardise(batch)).features[0])

    found = answer(probe, long_wave).prediction
    assert (found - heard(half if rounded else exact)).abs().max() < 1e-6
    assert (found - heard(exact if rounded else half)).abs().max() > 1e-5


@pytest.mark.parametrize("kind", ["frames", "mean"])
def test_a_model_hears_clips_as_whole_as_in_the_probe(kind, results):
    opened = open_result(results(kind))
    data = replace(opened.question.data, max_seconds=45.0)
    for live, seconds in ((True, 45.0), (False, 30.0)):
        probe = replace(opened, live=live, question=replace(opened.question, data=data))
        assert settings_for(probe).chunk_seconds == seconds
        assert settings_for(probe, ["chunk_seconds=10"]).chunk_seconds == 10.0


def test_clips_of_the_probe_are_never_cut(results, manifest):
    probe = open_result(results("attentive"))
    windows = answering.windows_of(probe, Settings())
    longest = max(probe.source.grid.num_frames(int(clip.seconds * 16000)) for clip in read_manifest(manifest))
    assert len(windows.of(longest)) == 1


# --- in Python --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heard(results):
    return audio_ssl.load_result(results("attentive"), device="cpu")


def test_a_waveform_and_its_file_are_answered_alike(heard, manifest):
    clips = read_manifest(manifest)
    wave, _ = soundfile.read(clips[0].path, dtype="float32")
    assert (heard.sample_rate, heard.task, heard.classes) == (16000, "classification", ["F", "M"])
    one = heard.predict(wave)
    assert one.label in ("F", "M")
    assert one.seconds == 1.0
    for other in (torch.from_numpy(wave), clips[0].path, clips[0]):
        assert heard.predict(other).classes[0].probability == pytest.approx(one.classes[0].probability, abs=1e-6)


def test_a_waveform_of_another_rate_is_resampled_as_its_file_is(heard, tmp_path):
    wave = np.random.default_rng(3).normal(0, 0.1, 24000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, 24000, subtype="FLOAT")
    found, wanted = heard.predict(wave, sample_rate=24000), heard.predict(tmp_path / "a.wav")
    assert found.seconds == wanted.seconds == 1.0
    assert found.classes[0].probability == pytest.approx(wanted.classes[0].probability, abs=1e-6)
    assert heard.predict(wave).seconds == 1.5
    with pytest.raises(UserError, match="float"):
        heard.predict((wave * 32767).astype(np.int16), sample_rate=24000)
    with pytest.raises(UserError, match="`sample_rate` must be in Hz"):
        heard.predict(wave, sample_rate=0)


def test_several_come_in_their_order(heard, manifest):
    clips = read_manifest(manifest)[:5]
    wave, _ = soundfile.read(clips[0].path, dtype="float32")
    found = heard.predict([clips[3].path, wave, clips[1].path])
    alone = [heard.predict(one) for one in (clips[3].path, wave, clips[1].path)]
    assert [one.label for one in found] == [one.label for one in alone]
    assert [one.path for one in found] == [clips[3].path, "waveform", clips[1].path]
    streamed = {one.path: one.classes for one in heard.stream([clip.path for clip in clips])}
    assert len(streamed) == 5


def test_what_cannot_be_heard_is_refused(heard, tmp_path):
    with pytest.raises(UserError, match="must be samples of one clip"):
        heard.predict(np.zeros((2, 16000), np.float32))
    with pytest.raises(UserError, match="no such file"):
        heard.predict(tmp_path / "nothing.wav")
    (tmp_path / "bad.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(UserError, match=r"bad\.wav: "):
        heard.predict(str(tmp_path / "bad.wav"))
    told = []
    assert list(heard.stream(tmp_path, on_error=lambda clip, reason: told.append(reason))) == []
    assert len(told) == 1
    with pytest.raises(UserError):
        heard.predict(np.full(16000, np.nan, np.float32))
    with pytest.raises(UserError):
        heard.predict(np.zeros(10, np.float32))
