import jiwer
import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.registry import get_metric

words = st.lists(st.sampled_from(["a", "bb", "ccc", "Dd", "e,", "é", "x."]), max_size=9).map(" ".join)
pairs = st.lists(st.tuples(words.filter(bool), words), min_size=1, max_size=6)


@given(pairs)
def test_wer_and_cer_equal_jiwer(pairs):
    references, hypotheses = [r for r, _ in pairs], [h for _, h in pairs]
    assert get_metric("wer").corpus(pairs) == pytest.approx(100 * jiwer.wer(references, hypotheses), abs=1e-9)
    assert get_metric("cer").corpus(pairs) == pytest.approx(100 * jiwer.cer(references, hypotheses), abs=1e-9)


anything = st.text(st.sampled_from("ab é\t\n\u00a0\u2003'"), max_size=12)


@given(anything.filter(str.strip), anything)
def test_every_count_of_every_pair_equals_jiwer(reference, hypothesis):
    for name, process in (("wer", jiwer.process_words), ("cer", jiwer.process_characters)):
        expected = process(reference, hypothesis)
        kinds = (expected.substitutions, expected.deletions, expected.insertions)
        found = get_metric(name).per_clip(reference, hypothesis).tolist()
        assert found == [*kinds, expected.hits + expected.substitutions + expected.deletions]


@given(pairs)
def test_bleu_and_chrf_equal_sacrebleu(pairs):
    references, hypotheses = [r for r, _ in pairs], [h for _, h in pairs]
    bleu = sacrebleu.corpus_bleu(hypotheses, [references]).score
    chrf = sacrebleu.corpus_chrf(hypotheses, [references]).score
    assert get_metric("bleu").corpus(pairs) == pytest.approx(bleu, abs=1e-9)
    assert get_metric("chrf").corpus(pairs) == pytest.approx(chrf, abs=1e-9)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_real_sentences_equal_sacrebleu(name):
    references = ["The quick brown fox jumps over the lazy dog.", "It is raining, isn't it?", "Nothing here matches."]
    hypotheses = ["The quick brown fox jumped over a lazy dog.", "It is raining, is it not?", "xyz"]
    expected = getattr(sacrebleu, f"corpus_{name}")(hypotheses, [references]).score
    pairs = list(zip(references, hypotheses, strict=True))
    assert get_metric(name).corpus(pairs) == pytest.approx(expected, abs=1e-9)
    assert expected > 20


@given(pairs, pairs)
def test_statistics_of_parts_add_up_to_the_whole(first, second):
    for name in ("wer", "cer", "bleu", "chrf"):
        metric = get_metric(name)
        summed = metric.statistics(first).sum(0) + metric.statistics(second).sum(0)
        assert float(metric.score(summed)) == pytest.approx(metric.corpus(first + second), nan_ok=True)


def test_an_empty_reference_counts_insertions_and_no_words():
    metric = get_metric("wer")
    assert metric.statistics([("", "two words")]).tolist() == [[0, 0, 2, 0]]
    assert np.isnan(metric.corpus([("", "x")]))
    assert metric.corpus([("", "x"), ("a b", "a b")]) == 50.0


def test_scores_are_vectorised():
    metric = get_metric("bleu")
    one = metric.statistics([("a b c d e", "a b c d f")])
    stacked = np.stack([one[0], 2 * one[0], np.zeros(10)])
    scores = metric.score(stacked)
    assert scores[0] == scores[1] == metric.corpus([("a b c d e", "a b c d f")])
    assert np.isnan(scores[2])


def test_accuracy():
    assert get_metric("accuracy").corpus([("a", "a"), ("b", "a")]) == 50.0


def test_phone_error_rate_equals_jiwer_and_keeps_stress():
    references, hypotheses = ["HH AH0 L OW1", "W ER1 L D"], ["HH AH1 L OW1 OW1", "W L D"]
    pairs = list(zip(references, hypotheses, strict=True))
    assert get_metric("per").corpus(pairs) == pytest.approx(100 * jiwer.wer(references, hypotheses)) == 37.5


def test_lists_are_refused_where_text_is_wanted():
    with pytest.raises(UserError, match="takes text, but got a list of 1"):
        get_metric("wer").per_clip(["a"], "a")


def test_unknown_metric():
    with pytest.raises(UserError, match=r"unknown metric `werr`; known: .*\(did you mean `wer`"):
        get_metric("werr")


@pytest.mark.parametrize("name", ["wer", "cer", "bleu", "chrf", "accuracy", "key_score"])
def test_columns_match_the_statistics(name):
    metric = get_metric(name)
    assert metric.per_clip("C major", "G major").shape == (len(metric.columns),)
