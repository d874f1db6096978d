"""Tasks without training, compared on what both systems compared."""

import numpy as np
import pytest
import torch

from audio_ssl.artifacts.result_tables import AbxRow, QueryRow
from audio_ssl.metrics.families.zero_resource import AbxItem, abx
from audio_ssl.report.paired import Answers, compare


def items(spread, seed=0, speakers="uvwxyz"):
    """Return tokens of three labels by six speakers; frames of two seeds differ in their noise alone."""
    rng, centres = np.random.default_rng(seed), 2 * np.eye(3)
    return [
        AbxItem(label, "", speaker, torch.tensor(centres[n] + spread * rng.normal(size=(3, 3)), dtype=torch.float32))
        for n, label in enumerate("abc")
        for speaker in speakers
        for _ in range(4)
    ]


def table(tokens):
    results = {mode: abx(tokens, mode) for mode in ("within", "across")}
    rows = [AbxRow(mode, **vars(one)) for mode, result in results.items() for one in result.by_speaker()]
    return Answers((), comparisons=rows), results


@pytest.mark.parametrize("mode", ["within", "across"])
def test_abx_is_paired_over_speakers(mode):
    good, bad = table(items(1.2)), table(items(1.6))
    found = compare(good[0], bad[0], f"abx_{mode}")
    expected = good[1][mode].value - bad[1][mode].value
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high < 0
    assert found.unit == "6 speakers"
    # Six ordered pairs of labels, six speakers.
    assert found.clips == 36
    same = compare(good[0], good[0], f"abx_{mode}")
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_abx_of_few_speakers_or_of_an_earlier_release_is_not_paired():
    few = table(items(1.2, speakers="uv"))[0]
    assert compare(few, few, "abx_within") is None
    rows = [AbxRow("within", "a", "b", error=1.0)]
    assert compare(Answers((), comparisons=rows), Answers((), comparisons=rows), "abx_within") is None
    assert compare(Answers(()), Answers(()), "abx_within") is None


def queries(gain, speakers):
    rng = np.random.default_rng(1)
    return [
        QueryRow(
            clip=f"c{n}",
            term="water",
            relevant=2,
            speaker=f"s{n % speakers}" if speakers else None,
            average_precision=50 + 10 * rng.normal() + gain,
        )
        for n in range(24)
    ]


@pytest.mark.parametrize(("speakers", "unit"), [(6, "6 speakers"), (0, "24 queries")])
def test_queries_are_paired_over_who_spoke_them(speakers, unit):
    ours, theirs = (Answers((), comparisons=queries(gain, speakers)) for gain in (3.0, 0.0))
    found = compare(ours, theirs, "map")
    assert (found.value, found.low, found.high) == pytest.approx((3, 3, 3))
    assert found.unit == unit
    assert compare(Answers((), comparisons=queries(0, 0)[:12]), theirs, "map").clips == 12
