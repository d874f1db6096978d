import math
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from audio_ssl.artifacts.result_tables import write_table
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.fairness.comparisons import Chance
from audio_ssl.fairness.verification import PERMUTATIONS, audit_verification, is_verification, trial_metrics
from audio_ssl.fairness.wording import few_speakers, small_group
from audio_ssl.metrics.families.verification import EER, SpeakerTrials, eer, min_dcf
from audio_ssl.metrics.resampling import bootstrap
from audio_ssl.probing.result import write_predictions
from audio_ssl.probing.score import score_trials
from audio_ssl.probing.tasks.speaker_verification import Config, build


def voices(seed, women=6, men=6, clips=4, apart=0.0, noise=(1.0, 1.0)):
    """All pairs of clips of women and men whose voices lie `apart`, and whose clips scatter by `noise`."""
    rng = np.random.default_rng(seed)
    man = np.arange(women + men) >= women
    centres = rng.normal(size=(women + men, 16))
    centres[:, 0] += np.where(man, apart, -apart)
    spread = np.where(man, noise[1], noise[0]) * np.exp(0.2 * rng.normal(size=women + men))
    who = np.repeat(np.arange(women + men), clips)
    vectors = centres[who] + spread[who, None] * rng.normal(size=(len(who), 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    i, j = np.triu_indices(len(who), 1)
    rows = [
        {"id": f"c{k}", "speaker": f"s{s}", "gender": "M" if man[s] else "F", "seconds": 3.6} for k, s in enumerate(who)
    ]
    scores = (vectors[i] * vectors[j]).sum(1)
    return rows, [
        {"clip_a": f"c{a}", "clip_b": f"c{b}", "score": float(x), "same": bool(who[a] == who[b])}
        for a, b, x in zip(i, j, scores, strict=True)
    ]


def audited(folder, by=("gender",), replicates=10_000, permutations=PERMUTATIONS, **options):
    """Return the rows as plain data, NaN as it is."""
    found = vars(audit_verification(folder, by, Chance(0, replicates, permutations), **options))
    rows = {name: part for name, part in found.items() if isinstance(part, list)}
    return {name: [one if isinstance(one, str) else vars(one) for one in part] for name, part in rows.items()}


def write(folder, rows, trials):
    folder.mkdir(exist_ok=True)
    write_table(folder / "predictions.parquet", rows)
    write_table(folder / "trials.parquet", trials)
    return folder


def one(rows, **wanted):
    (row,) = [row for row in rows if all(row[k] == v for k, v in wanted.items())]
    return row


def arrays(trials):
    return np.array([t["score"] for t in trials]), np.array([t["same"] for t in trials])


def rates_at_common(everything, trials):
    """Return misses and false alarms of some trials where those of all are nearest to equal, in percent."""
    scores, same = arrays(everything)

    def both(threshold, scores, same):
        return np.mean(scores[same] < threshold), np.mean(scores[~same] >= threshold)

    threshold = min(np.sort(scores)[::-1], key=lambda t: abs(np.subtract(*both(t, scores, same))))
    return [100 * rate for rate in both(threshold, *arrays(trials))]


def test_groups_are_scored_by_the_trials_within_them(tmp_path):
    rows, trials = voices(0, women=6, men=7)
    for row in rows:
        if row["speaker"] in ("s0", "s7"):
            row["gender"] = None
    report = audited(write(tmp_path / "r", rows, trials), replicates=100, min_speakers=2)
    group = {row["id"]: row["gender"] or "unknown" for row in rows}
    for name, speakers in (("F", 5), ("M", 6), ("unknown", 2), ("all", 13)):
        chosen = [t for t in trials if name == "all" or group[t["clip_a"]] == group[t["clip_b"]] == name]
        misses, alarms = rates_at_common(trials, chosen)
        expected = {"eer": eer(*arrays(chosen)), "min_dcf": min_dcf(*arrays(chosen))}
        expected |= {"fnmr_at_common": misses, "fmr_at_common": alarms}
        for metric, value in expected.items():
            row = one(report["groups"], group=name, metric=metric)
            assert row["value"] == pytest.approx(value, abs=1e-9)
            assert (row["speakers"], row["clips"], row["known"]) == (speakers, 4 * speakers, name != "unknown")
            assert row["hours"] == pytest.approx(row["clips"] / 1000)
            assert (row["total"], row["higher_is_better"]) == (name == "all", False)
            assert row["unit"] == ("cost" if metric == "min_dcf" else "%")
            assert math.isnan(row["low"]) if name == "unknown" else row["low"] <= row["high"]
    assert {(c["a"], c["b"], c["metric"]) for c in report["comparisons"]} == {("F", "M", m) for m in trial_metrics()}
    across = sum(group[t["clip_a"]] != group[t["clip_b"]] for t in trials)
    assert report["excluded"] == [
        {
            "reason": "trials between groups of gender: counted in the row of all, in no group",
            "count": across,
            "names": (),
        }
    ]
    assert f"of all {len(trials)} trials" in report["notes"][0]
    # Fewer than the report's provenance says.
    assert "or 1,000 random ones" in report["notes"][0]


def test_a_comparison_is_of_the_groups_rows(tmp_path):
    folder = write(tmp_path / "r", *voices(1, women=7, men=8, noise=(1.3, 0.8)))
    report = audited(folder, replicates=300)
    for metric in trial_metrics():
        gap = one(report["comparisons"], metric=metric)
        a, b = (one(report["groups"], metric=metric, group=name)["value"] for name in "FM")
        assert (gap["value_a"], gap["value_b"], gap["difference"]) == (a, b, a - b)
        assert gap["low"] < gap["difference"] < gap["high"]
        assert gap["relative_symmetric"] == pytest.approx(200 * (a - b) / (a + b))
        assert gap["ratio_low"] < gap["ratio"] == a / b < gap["ratio_high"]
        assert gap["direction"].endswith(f"worse for {'women' if a > b else 'men'}")
        assert gap["warning"] == small_group(7)
        # 15 over 7 are 6435: too many to enumerate.
        assert (gap["refused"], gap["p_exact"], gap["assignments"]) == (None, False, 1000)
        assert gap["minimum_detectable"] > 0
    assert report == audited(folder, replicates=300)


def test_a_planted_gap_is_found_and_small_groups_are_enumerated(tmp_path):
    folder = write(tmp_path / "r", *voices(0, noise=(1.8, 0.6)))
    gap = one(audited(folder, replicates=200)["comparisons"], metric="eer")
    assert (gap["p_exact"], gap["assignments"]) == (True, 924)
    assert gap["p_value"] < 0.01
    assert gap["low"] > 0


@pytest.mark.parametrize("apart", [0.0, 1.5])
def test_without_a_gap_p_values_are_not_too_small(tmp_path, apart):
    # With women and men apart, trials across are easier: a test that gave them to permuted groups finds gaps.
    values = []
    for seed in range(40):
        folder = write(tmp_path / "r", *voices(seed, clips=3, apart=apart))
        report = audited(folder, replicates=10, permutations=120)
        values.append(one(report["comparisons"], metric="eer")["p_value"])
    assert np.mean(np.array(values) <= 0.05) <= 0.1
    # Permuted groups have fewer trials than the recorded ones, so the test is strict: over 200 seeds, 4 % and 14 %.
    assert np.mean(np.array(values) <= 0.25) == pytest.approx(0.14, abs=0.12)
    assert np.mean(values) == pytest.approx(0.57, abs=0.1)


def test_memory_does_not_grow_with_trials_times_replicates(tmp_path):
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(200), 10)
    a = rng.integers(0, len(who), 40_000)
    b = np.where(rng.random(len(a)) < 0.5, 10 * who[a] + rng.integers(0, 10, len(a)), rng.integers(0, len(who), len(a)))
    same = who[a] == who[b]
    ids = np.array([f"c{k}" for k in range(len(who))])
    columns = {"clip_a": ids[a], "clip_b": ids[b], "score": rng.normal(size=len(a)) + 2 * same, "same": same}
    pq.write_table(pa.table(columns), tmp_path / "trials.parquet")
    people = {"id": ids, "speaker": [f"s{s}" for s in who], "gender": np.where(who % 2, "F", "M")}
    pq.write_table(pa.table(people), tmp_path / "predictions.parquet")
    tracemalloc.start()
    report = audited(tmp_path, replicates=500, permutations=50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A matrix of trials by replicates would be 160 MB.
    assert peak < 40e6
    assert one(report["excluded"], reason="trials of a clip with itself")["count"] == (a == b).sum()
    assert one(report["groups"], metric="eer", group="F")["hours"] != 0


def test_what_cannot_be_used_is_named(tmp_path):
    rows, trials = voices(3, women=7, men=7)
    first = {name: {**trials[0], "score": 0.1} for name in "abcdefg"}
    first["a"]["clip_b"] = "lost"
    first["b"]["clip_b"] = first["b"]["clip_a"]
    first["c"]["same"] = None
    first["d"]["score"] = math.nan
    first["e"]["clip_b"] = "nobody"
    first["f"]["same"] = False
    first["g"] |= {"clip_a": trials[0]["clip_b"], "clip_b": trials[0]["clip_a"]}
    clean = audited(write(tmp_path / "r", rows, trials), replicates=10)["groups"]
    nobody = {"id": "nobody", "speaker": None, "gender": "F", "seconds": 1.0}
    more = write(tmp_path / "r", [*rows, nobody], [*trials, *first.values()])
    report = audited(more, replicates=10)
    assert report["groups"] == clean
    found = [(row["reason"], row["count"], [*row["names"]]) for row in report["excluded"][:-1]]
    assert found == [
        ("trials of clips that predictions.parquet does not have", 1, ["c0 lost"]),
        ("trials of a clip with itself", 1, ["c0 c0"]),
        ("trials that do not say whether both sides are the same", 1, ["c0 c1"]),
        ("trials without a finite score", 1, ["c0 c1"]),
        ("trials of clips without a speaker", 1, ["c0 nobody"]),
        ("trials whose `same` contradicts the speakers of predictions.parquet", 1, ["c0 c1"]),
        ("trials that were listed before", 1, ["c1 c0"]),
    ]


def test_a_word_for_unknown_is_no_speaker(tmp_path):
    rows, trials = voices(3, women=7, men=7)
    clean = audited(write(tmp_path / "r", rows, trials), replicates=10)["groups"]
    nobody = [
        {"id": f"n{place}", "speaker": said, "gender": "F", "seconds": 1.0}
        for place, said in enumerate(("N/A", "unknown"))
    ]
    more = [*trials, {**trials[0], "clip_a": "n0", "clip_b": "n1", "same": False}]
    report = audited(write(tmp_path / "r", [*rows, *nobody], more), replicates=10)
    assert report["groups"] == clean
    assert one(report["excluded"], reason="trials of clips without a speaker")["names"] == ("n0 n1",)


def test_a_speaker_with_two_genders_is_in_no_trial(tmp_path):
    rows, trials = voices(4, women=7, men=7)
    rows[0]["gender"], rows[1]["gender"] = "male", None
    folder = write(tmp_path / "r", rows, trials)
    assert audited(folder, replicates=10)["excluded"][0]["names"] == ()
    report = audited(folder, replicates=10, name_people=True)
    assert one(report["excluded"], reason="speakers recorded under several values of gender, with their trials") == {
        "reason": "speakers recorded under several values of gender, with their trials",
        "count": 1,
        "names": ("s0",),
    }
    left = [t for t in trials if not {t["clip_a"], t["clip_b"]} & {"c0", "c1", "c2", "c3"}]
    assert one(report["groups"], group="all", metric="eer")["value"] == pytest.approx(eer(*arrays(left)))
    assert one(report["groups"], group="F", metric="eer")["speakers"] == 6
    assert report["notes"][-1] == "gender: male → M"


def test_few_speakers_are_counted_and_not_scored(tmp_path):
    rows, trials = voices(5, women=4, men=6)
    folder = write(tmp_path / "r", rows, trials)
    report = audited(folder, replicates=10)
    gap = one(report["comparisons"], metric="eer")
    assert gap["refused"] == few_speakers("F", 4, 5)
    assert all(math.isnan(gap[key]) for key in ("p_value", "low", "difference", "value_a", "value_b"))
    assert {row["group"] for row in report["groups"]} == {"M", "all"}
    # The row of all holds no trial of the four.
    assert one(report["groups"], group="all", metric="eer")["speakers"] == 6
    assert report["suppressed"] == [
        {"result": "r", "by": "gender", "groups": ("F",), "reason": "fewer than 5 speakers", "speakers": 4, "clips": 16}
    ]
    asked = audited(folder, replicates=10, min_speakers=4)
    gap = one(asked["comparisons"], metric="eer")
    assert gap["refused"] == few_speakers("F", 4, 5)
    assert gap["difference"] == gap["value_a"] - gap["value_b"]


def test_groups_without_trials_of_a_kind_divide_nothing(tmp_path):
    rows, trials = voices(6, women=5, men=6)
    women = {row["id"] for row in rows if row["gender"] == "F"}
    some = [t for t in trials if not (t["same"] and t["clip_a"] in women)]
    report = audited(write(tmp_path / "r", rows, some), replicates=10)
    assert math.isnan(one(report["groups"], group="F", metric="eer")["value"])
    refused = one(report["comparisons"], metric="fmr_at_common")["refused"]
    assert refused == "group F has no trials of the same speaker, or none of different speakers"
    none = [t for t in some if not (t["clip_a"] in women and t["clip_b"] in women)]
    report = audited(write(tmp_path / "r", rows, none), replicates=10)
    assert one(report["comparisons"], metric="eer")["refused"].startswith("group F has 0 speakers")


def test_perfect_scores_have_no_ratio(tmp_path):
    rows, trials = voices(7, women=5, men=5)
    trials = [{**t, "score": float(t["same"])} for t in trials]
    gap = one(audited(write(tmp_path / "r", rows, trials), replicates=20)["comparisons"], metric="eer")
    assert (gap["difference"], gap["p_value"]) == (0.0, 1.0)
    assert math.isnan(gap["ratio"])


def test_of_many_groups_the_largest_are_compared(tmp_path):
    rows, trials = voices(8, women=9, men=8, clips=2)
    for row in rows:
        number = int(row["speaker"][1:])
        row["accent"] = f"a{min(number // 2, 7)}"
    report = audited(write(tmp_path / "r", rows, trials), ["gender", "accent"], replicates=5, min_speakers=2)
    compared = {name for c in report["comparisons"] if c["by"] == "accent" for name in (c["a"], c["b"])}
    assert compared == {"a0", "a1", "a2", "a3", "a4", "a7"}
    assert "By accent: the 6 largest groups are compared, 2 others are not." in report["notes"]
    assert {row["by"] for row in report["groups"]} == {"gender", "accent"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows, trials: [r.pop("gender") for r in rows], "columns gender are missing; found: id, seconds"),
        (lambda rows, trials: [t.pop("score") for t in trials], "columns score are missing"),
        (lambda rows, trials: rows[1].update(id="c0"), "the id `c0` appears twice"),
        (lambda rows, trials: [t.update(score="high") for t in trials], "`score` must be numbers"),
        (lambda rows, trials: [t.update(same=2) for t in trials], "`same` must be true or false"),
        (lambda rows, trials: [r.update(gender=["F"]) for r in rows], "`gender` must be one value a clip"),
        (lambda rows, trials: [t.update(score=math.nan) for t in trials], "none of 1128 trials can be used: trials w"),
        (lambda rows, trials: trials.__setitem__(slice(None), trials[:1]), "no usable trial is of different speakers"),
    ],
)
def test_wrong_folders_are_explained(tmp_path, change, message):
    rows, trials = voices(9)
    change(rows, trials)
    with pytest.raises(UserError, match=message):
        audited(write(tmp_path / "r", rows, trials))


def test_which_folders_are_verification(tmp_path):
    assert not is_verification(tmp_path / "nothing")
    assert not is_verification(tmp_path)
    folder = write(tmp_path / "r", *voices(0))
    assert is_verification(folder)
    (folder / "predictions.parquet").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        audited(folder)


def test_the_files_of_a_probe_are_read(tmp_path):
    random = torch.Generator().manual_seed(0)
    clips = [
        Clip(str(i), f"{i}.wav", 0.0, 1.0, 16000, speaker=f"s{i // 4}", gender="FM"[i // 4 % 2]) for i in range(48)
    ]
    vectors = [torch.eye(12)[i // 4] + 0.7 * torch.randn(12, generator=random) for i in range(48)]
    task = build(Config())
    task.learn(clips)
    write_predictions(tmp_path / "predictions.parquet", task, clips, vectors)
    trials = score_trials(task, clips, vectors)
    rows = zip(trials.first, trials.second, trials.scores.tolist(), trials.same.tolist(), strict=True)
    write_table(
        tmp_path / "trials.parquet",
        [{"clip_a": clips[i].id, "clip_b": clips[j].id, "score": x, "same": s} for i, j, x, s in rows],
    )
    report = audited(tmp_path, replicates=20)
    assert one(report["groups"], group="all", metric="eer")["value"] == eer(trials.scores, trials.same)
    assert one(report["comparisons"], metric="eer")["refused"] is None


@pytest.mark.parametrize("decimals", [8, 1])
def test_weighed_trials_are_copies(decimals):
    rng = np.random.default_rng(10)
    left, right = rng.integers(0, 6, (2, 300))
    scores, same = np.round(rng.normal(size=300) + (left == right), decimals), rng.random(300) < 0.4
    trials = SpeakerTrials(scores, same, left, right)
    for counts in rng.integers(0, 4, (20, 6)):
        copies = np.where(left == right, counts[left], counts[left] * counts[right])
        repeated = np.repeat(scores, copies), np.repeat(same, copies)
        curve = trials.weigh(counts)
        assert curve.eer() == pytest.approx(eer(*repeated), abs=1e-9)
        assert curve.min_dcf() == pytest.approx(min_dcf(*repeated), abs=1e-12)
        assert curve.min_dcf(0.5, 2, 1) == pytest.approx(min_dcf(*repeated, 0.5, 2, 1), abs=1e-12)
        misses, alarms = curve.errors(trials.place(0.3))
        assert misses == pytest.approx(np.mean(repeated[0][repeated[1]] < 0.3))
        assert alarms == pytest.approx(np.mean(repeated[0][~repeated[1]] >= 0.3))
    assert trials.weigh(np.zeros(6)) is None


def test_the_interval_of_all_equals_that_of_the_probe_in_kind(tmp_path):
    rows, trials = voices(11, women=12, men=12, clips=3)
    speaker = {row["id"]: row["speaker"] for row in rows}
    names, sides = np.unique([speaker[t[end]] for end in ("clip_a", "clip_b") for t in trials], return_inverse=True)
    curves = SpeakerTrials(*arrays(trials), *sides.reshape(2, -1))
    expected = bootstrap(lambda counts: curves.resampled(EER, counts), len(names), 1000)
    row = one(audited(write(tmp_path / "r", rows, trials), replicates=1000)["groups"], group="all", metric="eer")
    width = expected.high - expected.low
    assert row["low"] == pytest.approx(expected.low, abs=0.1 * width)
    assert row["high"] == pytest.approx(expected.high, abs=0.1 * width)
