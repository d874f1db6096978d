import pytest

from audio_ssl.report.language.fairness import worse_group
from tests.report.fairness_example import audit_of, gap
from tests.report.meaning import counts_in, numbers_in
from tests.report.summaries import make_summary


def row(metric, difference, **extra):
    higher = metric == "bleu"
    return gap(metric=metric, difference=difference, higher_is_better=higher, unit="BLEU" if higher else "%", **extra)


@pytest.mark.parametrize(
    ("metric", "difference", "worse"), [("wer", 2.0, "F"), ("wer", -2.0, "M"), ("bleu", 2.0, "M"), ("bleu", -2.0, "F")]
)
def test_which_group_a_gap_is_worse_for(metric, difference, worse):
    assert worse_group(row(metric, difference)) == worse


def test_no_gap_is_worse_for_nobody():
    assert worse_group(row("wer", 0.0)) is None
    assert worse_group(gap()) is None


def test_audits_are_said_in_the_lines_of_their_own_page():
    rows = [row("wer", 1.0, value_a=11.0, value_b=10.0, p_value=0.01), row("bleu", 1.0, p_value=0.5)]
    fairness = make_summary(audits=[audit_of(*rows)]).answer["fairness"]
    assert counts_in(fairness[0], "statistically significant difference", "inconclusive") == [2, 1, 1]
    assert numbers_in(fairness[1]) == [11.0, 10.0, 1.0]
    assert len(fairness) == 3
