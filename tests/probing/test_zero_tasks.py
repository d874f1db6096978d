import itertools
import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf
import torch
from sklearn.metrics import average_precision_score

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip, write_manifest
from audio_ssl.metrics.dtw import dtw_pairs
from audio_ssl.metrics.families.zero_resource import AbxItem
from audio_ssl.metrics.families.zero_resource import abx as abx_of_items
from audio_ssl.metrics.spans import pieces_of, resampled, spans_of, standardised, why_no_spans
from audio_ssl.probing.run import run_probe
from audio_ssl.probing.tasks import abx, query, words

GRID = FrameGrid(16000, 320, 320)
DIM = 8


def clip(name, speaker="s", label=None, seconds=1.0, **extra):
    return Clip(name, f"{name}.wav", 0.0, seconds, 16000, label=label, speaker=speaker, extra=extra)


def looked_up(table):
    return lambda one: table[one.id]


def test_spans_are_read_in_order_and_bad_ones_named():
    assert [span.label for span in spans_of("0.5 0.7 B; 0.1 0.5 A;", "phone_times")] == ["A", "B"]
    for bad in ("0.1 A", "0.5 0.5 A", "-1 0.5 A", "a b c", "0 inf A"):
        assert "`word_times` must be like" in why_no_spans(clip("x", word_times=bad), "word_times")
    assert why_no_spans(clip("x"), "word_times") == "no `word_times`"
    assert why_no_spans(clip("x"), None) == "no label"
    assert why_no_spans(clip("x", label="seven"), None) is None


def test_a_stretch_has_the_frames_whose_middles_it_holds():
    one = clip("x", phone_times="0.00 0.04 A; 0.04 0.045 B; 0.045 0.08 C; 0.2 0.3 D; 9.0 9.1 E")
    frames = looked_up({"x": torch.arange(12.0)[:, None]})

    def found(**more):
        return {
            p.span.label: (p.before, p.frames[:, 0].tolist(), p.after)
            for p in pieces_of([one], "phone_times", frames, GRID, **more)
        }

    # Middles are at 0.01, 0.03, 0.05 …; B has none and gets the nearest; E is past the end.
    assert found() == {
        "A": ("#", [0.0, 1.0], "B"),
        "B": ("A", [2.0], "C"),
        "C": ("B", [2.0, 3.0], "#"),
        "D": ("#", [10.0, 11.0], "#"),
    }
    assert found(wide=True) == {"B": ("A", [0.0, 1.0, 2.0, 3.0], "C")}
    (whole,) = pieces_of([clip("x", label="seven")], None, frames, GRID)
    assert len(whole.frames) == 12


def test_resampled_frames_are_interpolated():
    frames = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    assert resampled(frames, 3).tolist() == frames.flatten().tolist()
    assert resampled(frames, 5)[2:4].tolist() == [1.0, 2.0]
    assert resampled(frames[:1], 2).tolist() == [0.0, 1.0, 0.0, 1.0]


def test_standardised_frames_have_mean_0_and_deviation_1():
    generator = torch.Generator().manual_seed(0)
    table = {name: 5 + 3 * torch.randn(40, DIM, generator=generator) for name in "ab"}
    frames = standardised([clip("a"), clip("b")], looked_up(table))
    together = torch.cat([frames(clip("a")), frames(clip("b"))])
    torch.testing.assert_close(together.mean(0), torch.zeros(DIM), atol=1e-5, rtol=0)
    torch.testing.assert_close(together.std(0, correction=0), torch.ones(DIM))


def phone_clips(noise, speakers=6, voice=0.0, per_speaker=4):
    """Return clips of triphones t?k with one of three phones between, and their frames."""
    generator = torch.Generator().manual_seed(1)
    prototypes = torch.randn(5, DIM, generator=generator)
    clips, table = [], {}
    for speaker in range(speakers):
        offset = voice * torch.randn(DIM, generator=generator)
        for number in range(per_speaker):
            for phone in range(3):
                name = f"{speaker}-{number}-{phone}"
                sequence = torch.stack([prototypes[i] for i in (3, 3, phone, phone, phone, 4)])
                table[name] = sequence + offset + noise * torch.randn(6, DIM, generator=generator)
                times = f"0 0.04 T; 0.04 0.1 {'AEI'[phone]}; 0.1 0.12 K"
                clips.append(clip(name, f"s{speaker}", phone_times=times))
    return clips, looked_up(table)


@pytest.mark.parametrize("unit", ["triphone", "phone"])
def test_abx_is_that_of_the_items_cut_by_hand(unit):
    clips, frames = phone_clips(1.5)
    found = abx.build(abx.Config(unit=unit)).compare(clips, frames, GRID)
    cut = slice(None) if unit == "triphone" else slice(2, 5)
    items = [AbxItem(one.extra["phone_times"].split()[5], "T+K", one.speaker, frames(one)[cut]) for one in clips]
    for mode in ("within", "across"):
        expected = abx_of_items(items, mode)
        assert found.scores[f"abx_{mode}"].value == pytest.approx(expected.value)
        assert 0 < expected.value < 50
        low, high = found.scores[f"abx_{mode}"].low, found.scores[f"abx_{mode}"].high
        assert low < expected.value < high
    assert found.unit == "speakers"
    assert {row.mode for row in found.rows} == {"within", "across"}
    assert {(row.a, row.b) for row in found.rows} == {(a, b) for a in "AEI" for b in "AEI" if a != b}


def test_voices_disturb_abx_across_speakers_only():
    clips, frames = phone_clips(0.3, voice=4.0)
    scores = abx.build(abx.Config(distance="euclidean")).compare(clips, frames, GRID).scores
    assert scores["abx_within"].value == 0.0
    assert scores["abx_across"].value > 3.0


def test_neighbours_count_unless_they_are_not_wanted():
    clips, frames = phone_clips(0.1, speakers=2, per_speaker=2)
    # Every phone between neighbours of its own: nothing can be compared.
    own = [
        clip(one.id, one.speaker, phone_times=one.extra["phone_times"].replace("T", f"T{one.id[-1]}")) for one in clips
    ]
    nothing = abx.build(abx.Config()).compare(own, frames, GRID).scores["abx_within"]
    assert math.isnan(nothing.value)
    any_context = abx.build(abx.Config(unit="phone", context=False, ignore=("T0", "T1", "T2", "K")))
    scores = any_context.compare(own, frames, GRID).scores["abx_within"]
    assert scores.value == 0.0
    # Two speakers are too few to draw.
    assert math.isnan(scores.low)


def word_clips(make, speakers=6, per_speaker=2, count=4):
    generator = torch.Generator().manual_seed(2)
    clips, table = [], {}
    for speaker in range(speakers):
        for word in range(count):
            for number in range(per_speaker):
                name = f"{speaker}-{word}-{number}"
                table[name] = make(word, generator)
                clips.append(clip(name, f"s{speaker}", label=f"word{word}"))
    return clips, looked_up(table)


def noisy(word, generator):
    base = torch.Generator().manual_seed(word)
    return torch.randn(1, DIM, generator=base) + 1.5 * torch.randn(7, DIM, generator=generator)


def test_average_precision_of_words_is_that_of_scikit_learn():
    clips, frames = word_clips(noisy)
    found = words.build(words.Config(times=None, standardise=False)).compare(clips, frames, GRID)
    vectors = torch.nn.functional.normalize(torch.stack([frames(one).mean(0) for one in clips]).double(), dim=1)
    cosines = (vectors @ vectors.T).numpy()
    pairs = [(i, j) for i in range(len(clips)) for j in range(i)]
    same = np.array([clips[i].label == clips[j].label for i, j in pairs])
    across = np.array([clips[i].speaker != clips[j].speaker for i, j in pairs])
    nearness = np.array([cosines[i, j] for i, j in pairs])
    for name, chosen in (("ap_all", same | ~same), ("ap_across", across | ~same)):
        expected = 100 * average_precision_score(same[chosen], nearness[chosen])
        assert found.scores[name].value == pytest.approx(expected)
        assert found.scores[name].low < expected < found.scores[name].high
    row = found.rows[0]
    assert row.word == "word0"
    assert row.nearness_same > row.nearness_other


def test_warped_words_are_those_of_the_metric():
    clips, frames = word_clips(noisy)
    found = words.build(words.Config(times=None, standardise=False, embedding="dtw")).compare(clips, frames, GRID)
    pairs = list(itertools.combinations(range(len(clips)), 2))
    pieces = [frames(one) for one in clips]
    nearness = -dtw_pairs(pieces, pieces, pairs, "cosine").double().numpy()
    same, across = (
        np.array([getattr(clips[i], name) == getattr(clips[j], name) for i, j in pairs]) == equal
        for name, equal in (("label", True), ("speaker", False))
    )
    for name, chosen in (("ap_all", same | ~same), ("ap_across", across | ~same)):
        expected = 100 * average_precision_score(same[chosen], nearness[chosen])
        assert found.scores[name].value == pytest.approx(expected)


def test_sampled_frames_know_the_order_and_their_mean_does_not():
    base = torch.randn(6, DIM, generator=torch.Generator().manual_seed(5))

    def ordered(word, generator):
        sequence = base if word == 0 else base.flip(0)
        length = int(torch.randint(6, 15, (), generator=generator))
        return resampled(sequence, length).view(length, DIM) + 0.01 * torch.randn(length, DIM, generator=generator)

    clips, frames = word_clips(ordered, count=2)
    by = {
        kind: words.build(words.Config(times=None, embedding=kind)).compare(clips, frames, GRID).scores["ap_all"].value
        for kind in ("mean", "sampled")
    }
    assert by["sampled"] > 99.9 > 70 > by["mean"]


def test_words_are_cut_from_clips_and_short_ones_left_out():
    one = clip("x", word_times="0 0.6 water; 0.6 0.7 stone; 0.7 1.4 is; 1.4 2.0 water")
    task = words.build(words.Config(main="all"))
    found = task.compare([one], looked_up({"x": torch.randn(100, DIM)}), GRID)
    assert [row.word for row in found.rows] == ["water", "water"]
    assert math.isnan(found.scores["ap_all"].value)
    assert task.metrics == ("ap_all", "ap_across")
    assert task.why_not(Clip("y", "y.wav", 0.0, 1.0, 16000, extra={"word_times": "0 1 water"})) == "no speaker"


def spoken(word):
    return 3 * torch.randn(5, DIM, generator=torch.Generator().manual_seed(word))


def sentences(noise=0.2):
    """Return clips of three words between noise, with their times."""
    generator = torch.Generator().manual_seed(3)
    clips, table = [], {}
    for number in range(16):
        said = torch.randperm(6, generator=generator)[:3].tolist()
        parts, times = [], []
        for place, word in enumerate(said):
            parts += [torch.randn(3, DIM, generator=generator), spoken(word)]
            start = (8 * place + 3) * 0.02
            times.append(f"{start:.2f} {start + 0.1:.2f} word{word}")
        frames = torch.cat(parts)
        table[str(number)] = frames + noise * torch.randn(len(frames), DIM, generator=generator)
        clips.append(clip(str(number), f"s{number % 6}", word_times="; ".join(times)))
    return clips, looked_up(table)


def test_words_are_found_in_other_clips():
    clips, frames = sentences()
    task = query.build(query.Config(min_seconds=0.05))
    found = task.compare(clips, frames, GRID)
    assert task.metrics == ("map", "mtwv", "p_at_n")
    assert found.scores["map"].value > 95
    assert found.scores["map"].low > 80
    assert len(found.rows) == 24
    asked = {clips[i].id for i in range(0, 16, 2)}
    assert {row.clip for row in found.rows} == asked
    assert not asked & {row.nearest for row in found.rows}
    generator = torch.Generator().manual_seed(9)
    noise = {one.id: torch.randn(24, DIM, generator=generator) for one in clips}
    assert task.compare(clips, looked_up(noise), GRID).scores["map"].value < 75


def test_queries_of_a_corpus_that_names_them():
    clips, frames = sentences()
    table = {one.id: frames(one) for one in clips} | {f"q{word}": spoken(word) for word in range(6)}
    held = [
        clip(one.id, terms=";".join(span.label for span in spans_of(one.extra["word_times"], "word_times")))
        for one in clips
    ]
    asked = [clip(f"q{word}", label=f"Word{word}", role="query") for word in range(6)]
    task = query.build(query.Config(metric="mtwv"))
    assert all(task.why_not(one) is None for one in held + asked)
    assert task.why_not(clip("q", role="query")) == "a query without a label"
    found = task.compare([*asked, *held], looked_up(table), GRID)
    assert found.scores["mtwv"].value > 90
    assert found.unit == "queries"
    assert found.rows[0].utterances == 16


def test_queries_that_nothing_holds_are_an_error():
    clips = [clip(str(i), label=f"w{i}") for i in range(4)]
    with pytest.raises(UserError, match="none of 2 queries is held by some of 2 utterances"):
        query.build(query.Config(times=None)).compare(clips, lambda _: torch.randn(5, DIM), GRID)


@pytest.mark.parametrize(
    ("module", "settings", "message"),
    [
        (abx, {"unit": "word"}, "unknown unit `word`"),
        (abx, {"main": "between"}, "unknown main `between`"),
        (abx, {"max_group": 1}, "`max_group` must be at least 2"),
        (words, {"embedding": "lstm"}, "unknown embedding `lstm`"),
        (words, {"max_words": 1}, "`max_words` 2"),
        (query, {"metric": "eer"}, "unknown metric of queries `eer`"),
        (query, {"distance": "l1"}, "unknown distance `l1`"),
    ],
)
def test_settings_that_cannot_be_are_refused(module, settings, message):
    with pytest.raises(UserError, match=message):
        module.build(module.Config(**settings))


@pytest.mark.parametrize("task", ["abx", "words", "query"])
def test_whole_clips_as_words_through_a_probe(tmp_path, task):
    rng = np.random.default_rng(0)
    time = np.arange(4000) / 16000
    clips = []
    for split in ("valid", "test"):
        for number in range(24):
            # Four words sung by six voices, each a little higher than the one before.
            word, voice = number % 4, number // 4
            sound = np.sin(2 * np.pi * 300 * 1.6**word * 1.01**voice * time) + 0.05 * rng.normal(size=4000)
            path = tmp_path / f"{split}{number}.wav"
            sf.write(path, 0.3 * sound, 16000)
            clips.append(
                Clip(path.stem, str(path), 0.0, 0.25, 16000, label=f"word{word}", speaker=f"v{voice % 3}", split=split)
            )
    order = rng.permutation(len(clips))
    write_manifest(tmp_path / "m.jsonl", [clips[i] for i in order])
    (tmp_path / "probe.yaml").write_text(f"# A question.\ntask: {{kind: {task}, times: null}}\nbaselines: []\n")
    run_probe(str(tmp_path / "probe.yaml"), "logmel", tmp_path / "result", [f"data.manifest={tmp_path / 'm.jsonl'}"])
    answer = json.loads((tmp_path / "result" / "scores.json").read_text())
    main = answer["metrics"][answer["main_metric"]]
    assert main["value"] < 5 if task == "abx" else main["value"] > 90
    assert pq.read_table(tmp_path / "result" / "comparisons.parquet").num_rows > 3
