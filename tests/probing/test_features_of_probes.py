"""Features of a probe in bounded memory, on a disk that may be full, from audio that may not be read."""

import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.features.baselines.logmel import LogMelSource
from audio_ssl.features.source import open_source
from audio_ssl.probing import features, live
from audio_ssl.probing.features import BankCache, MemoryBank, extract_features, portions
from audio_ssl.probing.live import LiveBank, TunedBank
from audio_ssl.probing.probe import FineTuning, ProbeData
from tests.probing.test_sweep import DIM, write_model
from tests.probing.toys import clip


def test_long_clips_come_in_small_batches(monkeypatch):
    monkeypatch.setattr(features, "MOST_FRAMES", 20)
    bank, clips = MemoryBank(False), [clip(str(n), f"{n}.wav") for n in range(6)]
    for one, count in zip(clips, (3, 4, 9, 30, 2, 2), strict=True):
        bank.add(one, [torch.zeros(count, DIM)])
    assert [len(part) for part in portions(clips, bank, 64)] == [2, 1, 1, 2]
    assert [len(part) for part in portions(clips, bank, 1)] == [1] * 6
    assert list(portions([], bank, 4)) == []


def test_features_of_all_probes_and_sources_stay_within_the_limit():
    class Source(LogMelSource):
        pass

    first, second = Source(), Source()
    second.fingerprint = "another"
    clips = [clip(str(n), f"{n}.wav", seconds=1.0) for n in range(8)]
    size = features.bytes_of(clips[:4], first)
    cache = BankCache()

    def use(source, wanted):
        bank = cache.memory(source, False, wanted, 1.5 * size)
        for one in wanted:
            if one not in bank:
                bank.add(one, [torch.zeros(50, 80)])
        return bank

    bank = use(first, clips[:4])
    assert use(first, clips[:3]) is bank
    assert use(first, clips[2:5]) is bank, "five clips are within it"
    assert [one in use(first, clips[4:8]) for one in clips] == [False] * 4 + [True] * 4
    use(second, clips[:4])
    assert [one in cache.memory(first, False, [], 1.5 * size) for one in clips] == [False] * 8


def test_room_is_asked_for_what_is_missing_only(sounds, tmp_path, monkeypatch):
    source, data = LogMelSource(), ProbeData(features="disk")
    extract_features(sounds[:3], source, False, data, tmp_path / "f", BankCache(), lambda *_: None)
    asked = []
    monkeypatch.setattr(features, "_check_room", lambda folder, size: asked.append(size))
    extract_features(sounds, source, False, data, tmp_path / "f", BankCache(), lambda *_: None)
    extract_features(sounds, source, False, data, tmp_path / "f", BankCache(), lambda *_: None)
    assert asked == [features.bytes_of(sounds[3:], source), 0]


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_clips_of_the_same_unreadable_audio_are_all_named(place, sounds, tmp_path):
    gone = [clip(name, str(tmp_path / "gone.wav"), seconds=1.0) for name in ("a", "b")]
    refused = []
    extract_features(
        [*sounds, *gone],
        LogMelSource(),
        False,
        ProbeData(features=place),
        tmp_path / "f",
        BankCache(),
        lambda one, reason: refused.append((one.id, reason)),
    )
    assert [name for name, _ in refused] == ["a", "b"]
    assert refused[0][1] == refused[1][1]


def test_audio_goes_through_a_model_in_portions(sounds, tmp_path, monkeypatch):
    source = open_source(write_model(tmp_path / "model")).at(torch.device("cpu"), "float32")
    bank = LiveBank(source, False)
    bank.open(sounds, lambda *_: pytest.fail("all can be read"))
    whole, counts = bank.batch(sounds), []
    run = source._run
    monkeypatch.setattr(
        source, "_run", lambda wave, *rest, **more: counts.append(len(wave)) or run(wave, *rest, **more)
    )
    bank._batch_seconds = 2.5
    torch.testing.assert_close(bank.batch(sounds).values, whole.values, atol=1e-4, rtol=1e-4)
    assert counts == [2, 2]
    tuned = TunedBank(source, False, FineTuning(batch_seconds=1.0), bank)
    torch.testing.assert_close(tuned.batch(sounds).values, whole.values, atol=1e-4, rtol=1e-4)
    assert list(tuned.portions(sounds, range(4))) == [[0], [1], [2], [3]]


def test_streamed_features_that_are_no_numbers_stop_the_probe(sounds, tmp_path, monkeypatch):
    source = open_source(write_model(tmp_path / "model"))
    bank = LiveBank(source, False)
    bank.open(sounds, lambda *_: None)
    hidden = live.LiveBank._hidden

    def broken(self, waves):
        layers, frames = hidden(self, waves)
        layers = [layer.clone() for layer in layers]
        layers[1][-1, 0, 0] = torch.nan
        return layers, frames

    monkeypatch.setattr(live.LiveBank, "_hidden", broken)
    with pytest.raises(UserError, match="the features of `3` are not finite"):
        bank.batch(sounds)


def test_clips_whose_frames_were_heard_are_not_heard_again_for_their_means(sounds, tmp_path, monkeypatch):
    source, cache = LogMelSource(), BankCache()
    alone = extract_features(sounds, source, True, ProbeData(), tmp_path / "f", BankCache(), lambda *_: None)
    frames = extract_features(sounds[:3], source, False, ProbeData(), tmp_path / "f", cache, lambda *_: None)
    heard = []
    stream = features.stream
    monkeypatch.setattr(features, "stream", lambda clips, *rest: heard.extend(clips) or stream(clips, *rest))
    means = extract_features(sounds, source, True, ProbeData(), tmp_path / "f", cache, lambda *_: None)
    assert heard == sounds[3:]
    for one in sounds:
        torch.testing.assert_close(means.one(one), alone.one(one))
    assert frames.frames(sounds[0]) > means.frames(sounds[0]) == 1
