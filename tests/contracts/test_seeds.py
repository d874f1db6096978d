"""Contrasts of systems trained with several seeds: what chance must not make, and what must be found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

HOME = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))


def cells(rng: np.random.Generator, gain: float, seeds: int = 3, clips: int = 150, spread: float = 0.03) -> Any:
    """Return two systems; `gain` is the true difference, `spread` that of seeds, and clips are hard for both alike."""
    from _pairs import ClipCounts  # type: ignore[import-not-found]

    hard = rng.normal(0.6, 0.25, clips)
    found: dict[str, Any] = {"a": [], "b": []}
    for name, shift in (("a", gain), ("b", 0.0)):
        for _ in range(seeds):
            chance = np.clip(hard + shift + rng.normal(0, spread), 0.02, 0.98)
            asked = np.full(clips, 20.0)
            right = rng.binomial(20, chance).astype(float)
            found[name].append({"t": ClipCounts.ratio(np.stack([right, asked], axis=1), tuple(map(str, range(clips))))})
    return found


def contrasts(gain: float, times: int, **more: Any) -> Any:
    from _seeds import contrast

    rng = np.random.default_rng(7)
    return [contrast(cells(rng, gain, **more), {"a": 1.0, "b": -1.0}, ["t"]) for _ in range(times)]


@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_what_is_not_there_is_found_in_a_twentieth_of_cases_at_most(spread: float) -> None:
    found = contrasts(0.0, 400, spread=spread)
    wrong = np.mean([one.low > 0 or one.high < 0 for one in found])
    # 5 % and two deviations of 400 draws.
    assert wrong < 0.075


def test_a_difference_of_a_few_points_is_found() -> None:
    found = contrasts(0.05, 60, spread=0.005)
    assert np.mean([one.low > 0 for one in found]) > 0.9
    assert np.mean([one.value for one in found]) == pytest.approx(5, abs=0.6)


def test_clips_that_are_hard_for_both_do_not_widen_the_interval() -> None:
    from _seeds import contrast

    both = cells(np.random.default_rng(0), 0.0, seeds=1, spread=0.0)
    alone = contrast(both, {"a": 1.0}, ["t"])
    apart = contrast(both, {"a": 1.0, "b": -1.0}, ["t"])
    assert apart.high - apart.low < 0.7 * (alone.high - alone.low)


def test_one_seed_counts_clips_alone_and_unequal_seeds_are_refused() -> None:
    from _seeds import contrast

    one = cells(np.random.default_rng(0), 0.0, seeds=1)
    found = contrast(one, {"a": 1.0}, ["t"])
    assert found.low < found.value < found.high
    one["b"] = one["b"] * 2
    with pytest.raises(ValueError, match="same seeds"):
        contrast(one, {"a": 1.0, "b": -1.0}, ["t"])


def test_rounding_is_no_finding() -> None:
    from _seeds import verdict

    from audio_ssl.metrics.resampling import Interval

    assert verdict(Interval(2e-15, 1e-15, 3e-15)) == verdict(Interval(-2e-15, -3e-15, -1e-15)) == "not significant"


def test_orderings_of_the_ablation_take_all_systems() -> None:
    from ablation import ORDERINGS, SYSTEMS, weights  # type: ignore[import-not-found]

    assert len({one.name for one in SYSTEMS}) == 8
    for one in ORDERINGS:
        found = weights(one.factor, one.above)
        assert sorted(found.values()) == [-0.25] * 4 + [0.25] * 4
    few = [one for one in SYSTEMS if one.codes == "RVQ"]
    assert sorted(weights("mixing", True, few).values()) == [-0.5, -0.5, 0.5, 0.5]


def scaling_points(slope: float, noise: float) -> Any:
    from _pairs import ClipCounts
    from scaling import Point  # type: ignore[import-not-found]

    rng = np.random.default_rng(3)
    points, answers = [], []
    hard = rng.normal(0, 8, 200)
    for level, size in ((40.0, "s"), (45.0, "m"), (50.0, "l")):
        for step in range(4):
            tflop = 3.0**step
            wrong = level + slope * np.log10(tflop) + rng.normal(0, noise)
            counts = np.stack([np.clip(wrong + hard, 0, 100) / 100 * 30, np.full(200, 30.0)], axis=1)
            points.append(Point(size, 10 * 3**step, tflop, 1.0))
            answers.append(ClipCounts.ratio(counts, tuple(map(str, range(200)))))
    return points, answers


def test_slope_of_scores_over_compute() -> None:
    from scaling import slope

    exact = slope(*scaling_points(-6.0, 0.0))
    assert exact.value == pytest.approx(-6.0, abs=0.1)
    # All models were asked on the same clips, so the clips' hardness cancels.
    assert exact.high - exact.low < 1.0
    noisy = slope(*scaling_points(-6.0, 1.5))
    assert noisy.low < -6.0 < noisy.high
    assert noisy.high - noisy.low > 2.0
    flat = slope(*scaling_points(0.0, 1.5))
    assert flat.low < 0 < flat.high


def test_plot_of_scaling_is_a_picture_of_its_own() -> None:
    import xml.etree.ElementTree as ElementTree

    from _scaling_figure import figure  # type: ignore[import-not-found]
    from scaling import scores

    points, answers = scaling_points(-6.0, 0.5)
    rows = scores(points, {"characters": answers})
    result = {
        "rows": rows,
        "baselines": [{"task": "characters", "system": "log-mel", "value": 55.0}],
        "lower_is_better": ["characters"],
    }
    drawn = ElementTree.fromstring(figure(result, "characters"))
    said = [node.text for node in drawn.iter() if node.tag.endswith("text")]
    assert {"s", "m", "l", "log-mel", "1", "3", "9", "27"} <= set(said)
    assert "lower is better" in str(said)


def test_tables_of_the_ablation_say_what_was_found_and_the_old_result_is_still_read() -> None:
    from _pairs import ClipCounts
    from _tables_compute import ablation as written  # type: ignore[import-not-found]
    from ablation import SYSTEMS, effects, findings, table

    rng = np.random.default_rng(0)
    hard = rng.normal(0.5, 0.1, 100)

    def answer(one: Any) -> Any:
        chance = np.clip(hard + 0.1 * one.cqt - 0.1 * one.mixing, 0, 1)
        counts = np.stack([rng.binomial(50, chance).astype(float), np.full(100, 50.0)], axis=1)
        return ClipCounts.ratio(counts, tuple(map(str, range(100))))

    cells = {one.name: [{"key": answer(one)} for _ in range(3)] for one in SYSTEMS}
    result = {"updates": 400, "seeds": 3, "rows": table(cells, ["key"]), "effects": effects(cells, ["key"])}
    result["findings"] = findings(cells, ["key"])
    found = {row["ordering"]: row["verdict"] for row in result["findings"]}
    # Nothing was asked about pitch, so nothing is said about it.
    expected = {"CQT helps key": "reproduced", "mixing helps": "contradicted", "RVQ ≥ k-means": "not significant"}
    assert found == expected
    said = written(result)
    assert "| CQT helps key |" in said
    assert "**contradicted**" in said
    assert "Mean of 3 seeds after 400 updates" in said
    row = {"system": "RVQ", "task": "key", "metric": "accuracy", "test_clips": 9, "value": 1.0, "low": 0.0, "high": 2.0}
    assert "| RVQ | 1.0 [0.0, 2.0] |" in written({"updates": 300, "rows": [row]})


def test_section_on_scaling_has_every_run_and_the_slopes() -> None:
    from _tables_compute import figures, scaling
    from scaling import scores, slopes

    points, answers = scaling_points(-6.0, 0.5)
    found = {"characters": answers}
    result = {
        "recipe": "r",
        "rows": scores(points, found),
        "slopes": slopes(points, found),
        "baselines": [{"task": "characters", "system": "log-mel", "value": 55.0}],
        "lower_is_better": ["characters"],
    }
    said = scaling(result)
    assert said.count("\n| s |") == said.count("\n| l |") == 4
    assert "| characters | all, one slope | -6" in said
    (name,) = figures(result)
    assert f"](tables/{name})" in said
