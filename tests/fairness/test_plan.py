import json
import math

import numpy as np
import pytest

from audio_ssl import __main__
from audio_ssl.base.errors import UserError
from audio_ssl.fairness.gap_tests import permutation_test
from audio_ssl.fairness.measures import get_measure
from audio_ssl.fairness.power import Spread, achieved_power, needs, spread_of

WORDS = 20
SCORE = get_measure("wer").score


def clips_of(rng, speakers, clips, rate, shape=8.0):
    """Error counts of clips: speakers' rates vary by a gamma distribution, errors of a clip by Poisson."""
    own = rate * rng.gamma(shape, 1 / shape, speakers)
    counts = np.zeros((speakers, clips, 4))
    counts[..., 0] = rng.poisson(np.repeat(own[:, None] * WORDS, clips, 1))
    counts[..., 3] = WORDS
    return counts


def test_variances_of_a_large_pilot_are_those_it_was_made_with():
    counts = np.concatenate([clips_of(np.random.default_rng(n), 1500, 6, rate) for n, rate in enumerate((0.1, 0.3))])
    speakers, groups = np.repeat(np.arange(3000), 6), np.repeat([0, 1], 9000)
    found = spread_of(counts.reshape(-1, 4), speakers, groups, SCORE)
    between = np.mean([(100 * rate) ** 2 / 8 for rate in (0.1, 0.3)])
    within = np.mean([100**2 * rate / WORDS for rate in (0.1, 0.3)])
    assert found.between == pytest.approx(between, rel=0.1)
    assert found.within == pytest.approx(within, rel=0.05)
    assert found.between < found.between_cautious < 1.1 * found.between
    assert found.value == pytest.approx(20, rel=0.03)


@pytest.mark.parametrize("clips", [2, 20])
def test_the_power_that_is_claimed_is_that_of_simulated_studies(clips):
    rate, gap, studies = 0.2, 0.4, 300
    spread = Spread(100 * rate, (100 * rate) ** 2 / 8, 100**2 * rate / WORDS, 0.0, 0, 0)
    (need,) = needs(spread, gap, [clips])
    claimed = achieved_power(gap * spread.value, spread.between + spread.within / clips, need.speakers)
    assert 0.8 <= claimed < 0.85
    found = 0
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        high, low = (clips_of(rng, need.speakers, clips, rate * (1 + side * gap / 2)).sum(1) for side in (1, -1))
        found += permutation_test(high, low, SCORE, rng, 400).p_value < 0.05
    # Three standard errors of so many studies.
    assert found / studies == pytest.approx(claimed, abs=3 * (0.16 / studies) ** 0.5)


def test_more_is_needed_for_smaller_gaps_more_power_and_fewer_clips():
    spread = Spread(20.0, 40.0, 100.0, 80.0, 10, 100)
    (few,), (small,), (sure,) = (needs(spread, *one) for one in ((0.2, [10]), (0.1, [10]), (0.2, [10], 0.9)))
    assert few.speakers < sure.speakers < small.speakers
    assert few.speakers_cautious > few.speakers
    assert few.clips == 10 * few.speakers
    assert needs(spread, 0.2, [1, 10])[0].speakers > few.speakers
    assert needs(Spread(20.0, 0.0, 0.0, 0.0, 2, 4), 0.2, [1])[0].speakers == 5
    assert needs(spread, 1e-6, [1])[0].speakers is None


@pytest.mark.parametrize(
    ("gap", "power", "message"),
    [
        (0, 0.8, "`gap` must be above 0"),
        (math.inf, 0.8, "`gap` must be above 0"),
        (0.2, 1.0, "`power` must lie between 0 and 1"),
    ],
)
def test_wrong_settings_are_explained(gap, power, message):
    with pytest.raises(UserError, match=message):
        needs(Spread(20.0, 40.0, 100.0, 80.0, 10, 100), gap, [1], power)


def test_the_command(tmp_path, capsys):
    rows = [
        {
            "id": f"{speaker}-{clip}",
            "reference": "the sea is old and deep",
            "hypothesis": "the sea is old" if (speaker * 7 + clip * 3) % 5 else "the sea was old and deep",
            "speaker": f"s{speaker}",
            "gender": "FM"[speaker % 2],
        }
        for speaker in range(8)
        for clip in range(6)
    ]
    pilot = tmp_path / "pilot.jsonl"
    pilot.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert __main__.run(["fairness", "plan", str(pilot), "--gap", "0.3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("To find a gap of 30 % in word error rate (")
    for words in ("80 % power", "speakers a group", "The pilot (8 speakers, 48 clips)", "at the level 0.05."):
        assert words in said
    pilot.write_text("".join(json.dumps(row) + "\n" for row in rows[:1]))
    assert __main__.run(["fairness", "plan", str(pilot)]) == 2
    assert "two speakers or more" in capsys.readouterr().err
