import numpy as np
import pytest

from audio_ssl.report.clips import Confusion, confusion, examples, word_changes
from audio_ssl.report.inputs import read_input
from audio_ssl.report.paired import Answers, SystemPairs, compare
from audio_ssl.report.probe_summary import summarise_probe


def paired_difference(model, baseline, metric):
    return compare(Answers(model), Answers(baseline), metric)


def rows_of(hypotheses, reference="a b c d", speakers=None):
    return [
        {"id": str(n), "reference": reference, "hypothesis": text, "speaker": speakers[n] if speakers else None}
        for n, text in enumerate(hypotheses)
    ]


def test_verdict_agrees_with_the_scores(tmp_path, result_folder):
    summary = summarise_probe(read_input(result_folder), tmp_path, SystemPairs())
    values = {one.system: one.score_of("wer").value for one in summary.systems}
    verdict = summary.verdicts[0]
    assert verdict.baseline == "untrained"
    assert verdict.difference == pytest.approx(values["model"] - values["untrained"])
    assert verdict.low < verdict.difference < verdict.high < 0
    assert verdict.better is True
    assert verdict.decided is True
    assert summary.path == "demo_asr"


def test_two_systems_are_compared_once_whichever_comes_first(result_folder):
    result, pairs = read_input(result_folder), SystemPairs()
    there = pairs.compare(result.model, result.baselines[0], "wer")
    back = pairs.compare(result.baselines[0], result.model, "wer")
    assert (back.difference, back.low, back.high) == (-there.difference, -there.high, -there.low)
    assert (back.apart, back.better, back.over) == (there.apart, not there.better, there.over)
    other = SystemPairs().compare(result.baselines[0], result.model, "wer")
    assert (back.difference, back.low, back.high) == pytest.approx((other.difference, other.low, other.high))
    assert pairs.compare(result.model, result.baselines[0], "wer") is there


def test_equal_systems_are_not_told_apart():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcd"), 4)) for _ in range(40)]
    difference = paired_difference(rows_of(texts), rows_of(texts[::-1]), "wer")
    assert difference.low <= 0 <= difference.high


def test_paired_difference_is_exact_where_every_clip_differs_by_one_word():
    difference = paired_difference(rows_of(["a b c d"] * 10), rows_of(["a b c x"] * 10), "wer")
    assert (difference.value, difference.low, difference.high) == pytest.approx((-25.0, -25.0, -25.0))
    assert difference.unit == "10 clips"


@pytest.mark.parametrize(("speakers", "unit"), [(6, "6 speakers"), (2, "12 clips")])
def test_speakers_are_resampled_where_there_are_enough(speakers, unit):
    names = [f"s{n % speakers}" for n in range(12)]
    ours, theirs = rows_of(["a b c d"] * 12, speakers=names), rows_of(["a"] * 12, speakers=names)
    assert paired_difference(ours, theirs, "wer").unit == unit


@pytest.mark.parametrize("metric", ["roc_auc_macro", "no_such_metric"])
def test_no_paired_difference_for_other_metrics(metric):
    assert paired_difference(rows_of(["a"] * 6), rows_of(["b"] * 6), metric) is None


def test_no_paired_difference_for_other_clips():
    ours = [{**row, "id": f"other {row['id']}"} for row in rows_of(["a"] * 6)]
    assert paired_difference(ours, rows_of(["a"] * 7), "wer") is None


def test_examples_show_both_ends_once_each():
    texts = ["a b c d", "a b c x", "x x x x", "a b x x", "a x x x", "a b c d", "x", "", "a b c", "a b"]
    found = examples(rows_of(texts), "wer", "asr")
    assert [one.which for one in found] == ["best"] * 4 + ["worst"] * 4
    assert len({one.id for one in found}) == 8
    assert found[0].score == 0.0
    assert found[4].score == max(one.score for one in found)


def test_examples_of_few_clips_do_not_repeat():
    found = examples(rows_of(["a b c d", "x", "a"]), "wer", "asr")
    assert sorted(one.id for one in found) == ["0", "1", "2"]


def test_examples_of_tags_rank_by_agreement():
    rows = [
        {"id": "good", "reference": ["rock", "fast"], "hypothesis": ["fast", "rock"]},
        {"id": "bad", "reference": ["rock"], "hypothesis": ["choir"]},
    ]
    found = examples(rows, "roc_auc_macro", "tagging")
    assert [(one.id, one.reference, one.score) for one in found] == [
        ("good", "rock, fast", None),
        ("bad", "rock", None),
    ]


def test_word_changes_of_nothing():
    assert word_changes("a b", "") == [("missing", "a b")]
    assert word_changes("", "") == []


def test_confusion_counts_and_order():
    rows = [
        {"reference": "a minor", "hypothesis": "C major"},
        {"reference": "C major", "hypothesis": "C major"},
        {"reference": "D major", "hypothesis": "a minor"},
    ]
    assert confusion(rows, "key") == Confusion(
        labels=("C major", "D major", "a minor"), counts=((1, 0, 0), (0, 0, 1), (1, 0, 0))
    )


@pytest.mark.parametrize("task", ["asr", "st", "tagging"])
def test_no_confusion_for_texts(task):
    assert confusion(rows_of(["a", "b"]), task) is None


def test_empty_references_have_no_score_of_their_own():
    rows = [{"id": "a", "reference": "", "hypothesis": "x"}, {"id": "b", "reference": "x", "hypothesis": "x"}]
    assert [one.id for one in examples(rows, "wer", "asr")] == ["b"]
    assert paired_difference(rows[:1], rows[:1], "wer") is None


def test_translations_are_ranked_by_chrf():
    rows = rows_of(["the small fish", "the", "qqqq"], reference="the small fish")
    found = examples(rows, "bleu", "st")
    assert [(one.id, one.unit) for one in found] == [("0", "points"), ("1", "points"), ("2", "points")]
    assert found[0].score == pytest.approx(100)
    assert found[1].score > found[2].score
