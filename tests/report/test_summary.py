import pytest

from audio_ssl.report.gaps import worse_group
from audio_ssl.report.summary import answer


def result(name, *verdicts):
    return {
        "name": name,
        "main_metric": "wer",
        "unit": "%",
        "higher_is_better": False,
        "systems": [{"system": "model", "label": "this model", "metrics": {"wer": {"value": 10.0}}}],
        "verdicts": [{"decided": decided, "better": better} for decided, better in verdicts],
    }


def said(*results):
    return answer({"results": list(results), "runs": [], "fairness": []})["pretraining"][0]


def row(metric, difference, **extra):
    return {"metric": metric, "by": "gender", "a": "F", "b": "M", "difference": difference, **extra}


def test_headline_when_all_are_better():
    words = said(result("a", (True, True)), result("b", (True, True)))
    assert words == (
        "Pretraining helped: the model is statistically significantly better than every baseline on both probes."
    )


def test_headline_names_what_is_worse_and_what_is_open():
    words = said(result("a", (True, True)), result("b", (True, False)), result("c", (False, True)))
    assert "helped on a:" in words
    assert "On b at least one baseline is better" in words
    assert "On c the difference from at least one baseline is not statistically significant" in words


def test_headline_never_claims_an_undecided_gain():
    words = said(result("a", (False, True)))
    assert words.startswith("On no probe is the model statistically significantly better than every baseline")


@pytest.mark.parametrize(
    ("metric", "difference", "worse"), [("wer", 2.0, "F"), ("wer", -2.0, "M"), ("bleu", 2.0, "M"), ("bleu", -2.0, "F")]
)
def test_which_group_a_gap_is_worse_for(metric, difference, worse):
    assert worse_group(row(metric, difference)) == worse


def test_no_gap_and_no_direction():
    assert worse_group(row("wer", 0.0)) is None
    assert worse_group(row("words_per_minute", 3.0)) is None


def test_audits_are_said_in_the_lines_of_their_own_page():
    rows = [row("wer", 1.0, value_a=11.0, value_b=10.0, p_value=0.01), row("bleu", 1.0, p_value=0.5)]
    fairness = answer({"results": [], "runs": [], "fairness": [{"comparisons": rows}]})["fairness"]
    assert fairness[0].startswith(
        "Of 2 comparisons between groups, 1 shows a statistically significant difference, 1 is"
    )
    assert fairness[1].startswith("It is: word error rate, women 11.0")
    assert len(fairness) == 3
