import numpy as np
import pytest

from audio_ssl.artifacts.result_tables import TrialRow
from audio_ssl.report.paired import Answers, compare


def trials(shift, seed):
    rng = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(24) for b in range(a)]
    return [
        TrialRow(str(a), str(b), score=shift * (a % 6 == b % 6) + rng.normal(), same=a % 6 == b % 6) for a, b in pairs
    ]


def test_trials_are_compared_over_speakers():
    rows = [{"id": str(n), "speaker": f"s{n % 6}"} for n in range(24)]
    better, worse = (Answers(rows, (), trials(shift, 1)) for shift in (4.0, 0.0))
    found = compare(better, worse, "eer")
    assert found.high < 0
    assert found.unit == "6 speakers"
    assert found.clips == 276
    assert compare(better, better, "eer").value == 0


def tags(good, seed):
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(40):
        right = [n % 2 == 0, n % 3 == 0]
        rows.append(
            {
                "id": str(n),
                "track": f"t{n // 4}",
                "reference": [name for name, has in zip("ab", right, strict=True) if has],
                "hypothesis": [],
                "scores": [good * has + rng.normal() for has in right],
            }
        )
    return rows


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
def test_rankings_are_compared_over_tracks(metric):
    good, chance = Answers(tags(5.0, 0), ("a", "b")), Answers(tags(0.0, 1), ("a", "b"))
    found = compare(good, chance, metric)
    assert found.low > 0
    assert found.unit == "10 tracks"
    assert found.clips == 40


def test_only_clips_of_both_count():
    rows = [{"id": str(n), "reference": "a b", "hypothesis": "a b" if n % 2 else "a x"} for n in range(10)]
    changed = [{**row, "reference": "c d"} if row["id"] == "3" else row for row in rows[2:]]
    found = compare(Answers(rows), Answers(changed), "wer")
    assert found.clips == 7
    assert compare(Answers(rows), Answers([{**row, "id": f"x{row['id']}"} for row in rows]), "wer") is None


def test_numbers_are_compared():
    rng = np.random.default_rng(0)
    right = rng.normal(size=(30, 2))
    near, far = (
        [
            {"id": str(n), "reference": list(map(float, r)), "hypothesis": [float(x + noise * rng.normal()) for x in r]}
            for n, r in enumerate(right)
        ]
        for noise in (0.1, 2.0)
    )
    assert compare(Answers(near), Answers(far), "r2").low > 0


def test_what_the_probe_says_belongs_together_is_drawn_together():
    """Ten sentences in four voices: where a whole sentence is right or wrong, the clips are not forty witnesses."""
    rng = np.random.default_rng(1)
    right = rng.random(10) < 0.5
    ours, theirs = (
        [
            {
                "id": f"{n}",
                "sentence": n % 10,
                "speaker": f"v{n % 4}",
                "reference": "a",
                "hypothesis": "a" if ok else "b",
            }
            for n, ok in enumerate(4 * list(side))
        ]
        for side in (right, ~right)
    )
    together = compare(Answers(ours, ("a", "b"), cluster="sentence"), Answers(theirs, ("a", "b")), "accuracy")
    apart = compare(Answers(ours, ("a", "b")), Answers(theirs, ("a", "b")), "accuracy")
    assert (together.unit, apart.unit) == ("10 sentences", "40 clips")
    assert together.value == apart.value
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    # Without the column in the rows, or with too few values, clips are drawn, and the unit says so.
    assert (
        compare(Answers(ours, ("a", "b"), cluster="speaker"), Answers(theirs, ("a", "b")), "accuracy").unit
        == "40 clips"
    )
