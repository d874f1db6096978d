"""Our scores beside torchmetrics', on random answers."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_f1_score,
    multilabel_auroc,
    multilabel_average_precision,
)
from torchmetrics.functional.regression import r2_score
from torchmetrics.functional.text import char_error_rate, chrf_score, sacre_bleu_score, word_error_rate

from audio_ssl.metrics.families.ranking import METRICS, Rankings
from audio_ssl.metrics.registry import get_metric

CLASSES = ["a", "b", "c", "d"]


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def texts(random):
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "slept"]
    said = [" ".join(random.choice(words, random.integers(4, 12))) for _ in range(40)]
    heard = [" ".join(w if random.random() < 0.8 else str(random.choice(words)) for w in s.split()) for s in said]
    return said, heard


@pytest.mark.parametrize(("name", "theirs"), [("wer", word_error_rate), ("cer", char_error_rate)])
def test_error_rates(name, theirs, texts):
    said, heard = texts
    expected = 100 * float(theirs(heard, said))
    assert get_metric(name).corpus(zip(said, heard, strict=True)) == pytest.approx(expected, rel=1e-5)


def test_translation_scores(texts):
    said, heard = texts
    pairs = list(zip(said, heard, strict=True))
    bleu = 100 * float(sacre_bleu_score(heard, [[s] for s in said]))
    assert get_metric("bleu").corpus(pairs) == pytest.approx(bleu, rel=1e-4)
    chrf = 100 * float(chrf_score(heard, [[s] for s in said], n_word_order=0))
    assert get_metric("chrf").corpus(pairs) == pytest.approx(chrf, rel=1e-4)


def test_scores_of_classes(random):
    labels, answers = random.integers(0, 4, 200), random.integers(0, 4, 200)
    pairs = [(CLASSES[i], CLASSES[j]) for i, j in zip(labels, answers, strict=True)]
    given = torch.from_numpy(answers), torch.from_numpy(labels), 4
    for name, theirs in (
        ("accuracy", multiclass_accuracy(*given, average="micro")),
        ("uar", multiclass_accuracy(*given, average="macro")),
        ("macro_f1", multiclass_f1_score(*given, average="macro")),
    ):
        assert get_metric(name, CLASSES).corpus(pairs) == pytest.approx(100 * float(theirs), rel=1e-5), name


def test_scores_of_numbers(random):
    right = random.normal(size=(60, 2))
    said = right + random.normal(size=(60, 2)) * [0.3, 0.9]
    pairs = [(list(r), list(s)) for r, s in zip(right, said, strict=True)]
    expected = 100 * float(r2_score(torch.from_numpy(said), torch.from_numpy(right)))
    assert get_metric("r2", ["valence", "arousal"]).corpus(pairs) == pytest.approx(expected, rel=1e-6)


def test_scores_of_tags(random):
    labels, scores = random.random((80, 4)) < 0.3, np.round(random.random((80, 4)), 3)
    given = torch.from_numpy(scores), torch.from_numpy(labels).long(), 4
    expected = 100 * float(multilabel_auroc(*given)), 100 * float(multilabel_average_precision(*given))
    assert [Rankings(labels, scores, CLASSES).score(one).value for one in METRICS] == pytest.approx(expected, rel=1e-5)
