import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.data.corpus import load_corpus
from audio_ssl.metrics.families.terms import (
    CATEGORY_PAIRS,
    GENDER_ACCURACY,
    TERM_COVERAGE,
    count_terms,
    why_not,
)
from audio_ssl.metrics.resampling import bootstrap_sums
from audio_ssl.probing.result import write_predictions
from audio_ssl.probing.tasks.st import Config, build


def published(terms, translation):
    """Count as the published script (mustshe_gender_accuracy.py 1.1) is described: right, wrong, found, terms."""
    left, found = translation.lower().split(), []
    for term in filter(str.strip, terms.lower().split(";")):
        seen = []
        for form in term.split():
            seen.append(form in left)
            if seen[-1]:
                left.remove(form)
        found.append(seen)
    return (sum(right for right, _ in found), sum(wrong for _, wrong in found), sum(map(any, found)), len(found))


def test_both_ways_agree_on_tokenised_text_where_one_form_of_each_term_is_said():
    rng = np.random.default_rng(0)
    pairs = [("née", "né"), ("seule", "seul"), ("une", "un"), ("belle", "beau")]
    for _ in range(100):
        chosen = [pairs[i] for i in rng.permutation(4)[: rng.integers(1, 5)]]
        said = [pair[k] for pair in chosen for k in [rng.integers(0, 3)] if k < 2]
        terms, text = ";".join(map(" ".join, chosen)), " , ".join(said)
        assert count_terms(terms, text) == published(terms, text)


@pytest.mark.parametrize(
    ("terms", "text", "ours", "theirs"),
    [
        ("née né", "Je suis née.", (1, 0, 1, 1), (0, 0, 0, 1)),
        ("née né", "née né", (1, 0, 1, 1), (1, 1, 1, 1)),
        ("une un;seule un", "une un", (1, 1, 2, 2), (1, 1, 1, 2)),
        ("seule seul;seul x", "seul", (1, 0, 1, 2), (0, 1, 1, 2)),
        ("seule seul;seule seul", "seule", (1, 0, 1, 2), (1, 0, 1, 2)),
        ("étudiante étudiant", "l’étudiante", (1, 0, 1, 1), (0, 0, 0, 1)),
        ("l'amie l'ami", "« L'amie »", (1, 0, 1, 1), (1, 0, 1, 1)),
        ("un' un", "un'amica", (1, 0, 1, 1), (0, 0, 0, 1)),
        ("un' un", "un amico", (0, 1, 1, 1), (0, 1, 1, 1)),
        ("amica amico", "ha detto 'la mia amica'", (1, 0, 1, 1), (0, 0, 0, 1)),
        ("elle-même lui-même", "elle-même", (1, 0, 1, 1), (1, 0, 1, 1)),
        ("elle-même lui-même", "lui même", (0, 1, 1, 1), (0, 0, 0, 1)),
        ("née né", "né(e) né·e", (0, 0, 0, 1), (0, 0, 0, 1)),
        ("née né", "ne\u0301e…mais", (1, 0, 1, 1), (0, 0, 0, 1)),
        ("née né", "_née_ !!! ' *", (1, 0, 1, 1), (0, 0, 0, 1)),
        ("née né", "", (0, 0, 0, 1), (0, 0, 0, 1)),
        ("née  né ;", "NÉE", (1, 0, 1, 1), (1, 0, 1, 1)),
    ],
)
def test_what_counts_as_found(terms, text, ours, theirs):
    assert count_terms(terms, text) == ours
    assert published(terms, text) == theirs


def test_a_word_taken_out_does_not_join_its_neighbours():
    assert count_terms("b c;a-d x", "a b d") == (1, 0, 1, 2)


def test_a_long_text_of_signs_takes_no_time():
    # Patterns that try again from each place take hours here.
    assert count_terms("née né", "!" * 200_000 + " 'a" * 20_000 + " née") == (1, 0, 1, 1)


def test_nothing_found_is_undefined_and_divides_nothing():
    assert math.isnan(GENDER_ACCURACY.corpus([("née né", "rien")]))
    assert TERM_COVERAGE.corpus([("née né", "rien")]) == 0.0
    assert math.isnan(TERM_COVERAGE.corpus([]))
    sums = GENDER_ACCURACY.statistics([("née né", "née"), ("née né", "rien"), ("née né", "né")])
    interval = bootstrap_sums(sums, GENDER_ACCURACY.score, 50)
    assert interval.value == 50.0
    assert (interval.low, interval.high) == (0.0, 100.0)


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ("", "no terms"),
        (" ; ", "no terms"),
        (None, "no terms"),
        (3.0, "no terms"),
        ("née", "a term needs the right and the wrong form, but is `née`"),
        ("née né; la belle le beau", "but is `la belle le beau`"),
        ("Née née", "both forms of a term are `née`"),
        ("née -", "has no letters: `née -`"),
    ],
)
def test_terms_that_cannot_be_scored_say_why(terms, reason):
    assert reason in why_not(terms)
    if isinstance(terms, str):
        with pytest.raises(UserError, match=r"`terms` cannot be used: .*write `right wrong;right wrong`"):
            count_terms(terms, "née")


def test_terms_that_are_a_list_are_refused():
    with pytest.raises(UserError, match="takes text"):
        TERM_COVERAGE.per_clip(["née né"], "née")


def test_pairs_are_of_known_categories():
    assert {name for pair in CATEGORY_PAIRS for name in pair} == {"1F", "1M", "2F", "2M"}


def test_predictions_of_a_translation_probe_have_what_the_measures_need(tmp_path):
    head = "ID\tLANG\tTALK\tSRC\tREF\tWRONG-REF\tSPEAKER\tGENDER\tCATEGORY\tCOMMENT\tGENDERTERMS\n"
    line = "fr-1\tfr\tted_1\tI was born.\tJe suis née.\tJe suis né.\tAnn Lee\tShe\t1F\t\tnée né\n"
    for name in ("tsv", "wav"):
        (tmp_path / name).mkdir()
    (tmp_path / "tsv/MONOLINGUAL.fr_v1.2.tsv").write_text(head + line, encoding="utf-8")
    soundfile.write(tmp_path / "wav/fr-1.wav", np.zeros(8000), 16000)
    clips = list(load_corpus("must_she").read(tmp_path))
    task = build(Config(min_count=1))
    task.learn(clips)
    write_predictions(tmp_path / "predictions.parquet", task, clips, [torch.as_tensor(task.target(clips[0]))])
    (row,) = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert (row["category"], row["gender"], row["speaker"]) == ("1F", "F", "Ann Lee")
    assert row["hypothesis"] == "je suis née"
    assert count_terms(row["terms"], row["hypothesis"]) == (1, 0, 1, 1)
