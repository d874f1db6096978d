import pytest

from audio_ssl.report.gaps import gap_headline, gap_sentences, inference_sentence, size_sentence, worse_group
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
    assert words == "Pretraining helped: the model beats every baseline on both probes, beyond chance."


def test_headline_names_what_is_worse_and_what_is_open():
    words = said(result("a", (True, True)), result("b", (True, False)), result("c", (False, True)))
    assert "helped on a:" in words
    assert "On b at least one baseline is better" in words
    assert "On c the test set is too small" in words


def test_headline_never_claims_an_undecided_gain():
    words = said(result("a", (False, True)))
    assert words.startswith("On no probe does the model beat every baseline")


@pytest.mark.parametrize(
    ("metric", "difference", "worse"), [("wer", 2.0, "F"), ("wer", -2.0, "M"), ("bleu", 2.0, "M"), ("bleu", -2.0, "F")]
)
def test_which_group_a_gap_is_worse_for(metric, difference, worse):
    assert worse_group(row(metric, difference)) == worse
    assert f"worse for {worse}" in size_sentence(row(metric, difference))


def test_no_gap_and_no_direction():
    assert worse_group(row("wer", 0.0)) is None
    assert size_sentence(row("wer", 0.0)) == "WER is the same for F and M."
    assert "worse" not in size_sentence(row("words_per_minute", 3.0))
    assert size_sentence(row("wer", None)) == "WER could not be compared between F and M."


def test_what_the_test_says():
    refused = inference_sentence(row("wer", 1.0, refused="too few."))
    assert refused.endswith("nothing follows for other speakers: too few.")
    assert "rare (p = 0.010)" in inference_sentence(row("wer", 1.0, p_value=0.01))
    assert "not unusual (p = 0.200)" in inference_sentence(row("wer", 1.0, p_value=0.2))
    assert inference_sentence(row("wer", 1.0)) == "No test was made."
    alone = inference_sentence(row("wer", 1.0, p_value=0.01, p_holm=0.3, compared=30))
    assert alone.endswith("would be rare (p = 0.010) had it been the only one; as one of 30 it is not (p = 0.300).")


def test_a_shared_refusal_is_said_once():
    report = {"comparisons": [row("wer", 1.0, refused="too few"), row("bleu", 1.0, refused="too few")]}
    sentences = gap_sentences(report)
    assert len(sentences) == 3
    assert sentences[-1].endswith("too few.")


def test_headlines_of_gaps():
    assert "no two groups" in gap_headline([{"comparisons": []}])
    assert "not tested" in gap_headline([{"comparisons": [row("wer", 1.0, refused="x")]}])
    assert "None of the 1 tested" in gap_headline([{"comparisons": [row("wer", 1.0, p_value=0.5)]}])
    found = gap_headline([{"comparisons": [row("wer", 1.0, p_value=0.01), row("bleu", 1.0, p_value=0.5)]}])
    assert found == "Of 2 tested gaps between groups, 1 would be rare by chance: WER (worse for F)."
    many = gap_headline([{"comparisons": [row("wer", 1.0, p_value=0.01, p_holm=0.3, compared=30)]}])
    assert "None of the 1 tested" in many


def test_a_report_of_many_gaps_is_summed_up():
    rows = [row("wer", 1.0, p_value=0.5, p_holm=1.0, compared=40) for _ in range(40)]
    rows[30] = row("cer", 1.0, p_value=0.0001, p_holm=0.004, compared=40)
    sentences = gap_sentences({"comparisons": rows})
    assert len(sentences) == 13
    assert sentences[0].startswith("CER")
    assert sentences[-1] == "28 gaps more are below."
