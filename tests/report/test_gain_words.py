import pytest

from audio_ssl.report.language.answer import summary_lines
from audio_ssl.report.language.scores import gain_sentence
from audio_ssl.report.probe_summary import BaselineVerdict
from tests.report.meaning import in_order, numbers_in, says_significant, side_of
from tests.report.summaries import make_probe, make_summary

LABELS = {"untrained": "untrained twin", "logmel": "log-mel frames", "cqt": "CQT frames"}


def verdict(baseline, better, decided=True, over="40 clips", paired=True):
    ends = (1.0, 2.0, 40, over) if paired else (None, None, None, None)
    return BaselineVerdict(baseline, LABELS[baseline], 1.5, *ends, better, decided, text="")


def result(name, *verdicts, model="run"):
    return make_probe(name, verdicts, model)


def won(name, over="40 clips", model="run"):
    return result(name, *(verdict(one, True, over=over) for one in LABELS), model=model)


def lost(name):
    return result(name, verdict("untrained", True), verdict("logmel", False), verdict("cqt", True, decided=False))


def test_three_of_four():
    results = [won("key"), won("notes"), won("digits", "24 speakers"), lost("style")]
    head, *others = gain_sentence(results).split(". ")
    assert says_significant(head)
    assert side_of(head) == "better"
    assert numbers_in(head) == [3, 4]
    assert in_order(head, "untrained twin", "log-mel frames", "CQT frames", "clips", "speakers")
    probes, ahead, level = others
    assert in_order(probes, "key", "notes", "digits")
    assert "style" not in probes
    assert says_significant(ahead)
    assert in_order(ahead, "log-mel frames", "style")
    assert says_significant(level) is False
    assert in_order(level, "CQT frames", "style")


@pytest.mark.parametrize(
    ("wins", "words"),
    [(0, "none of the 4 probes"), (1, "1 of the 4 probes"), (2, "2 of the 4 probes"), (4, "all 4 probes")],
)
def test_how_many_are_counted(wins, words):
    said = gain_sentence([won(f"w{n}") for n in range(wins)] + [lost(f"l{n}") for n in range(4 - wins)])
    head, second = [*said.split(". "), ""][:2]
    assert words in head
    assert ("w0" in second) == (0 < wins < 4)


def test_a_gain_that_one_baseline_denies_is_no_win():
    for denied in (verdict("cqt", False), verdict("cqt", True, decided=False), verdict("cqt", None, decided=False)):
        said = gain_sentence([result("a", verdict("untrained", True), verdict("logmel", True), denied), lost("b")])
        assert "none of the 2 probes" in said


@pytest.mark.parametrize("better", [True, False])
def test_one_probe_and_one_baseline(better):
    head = gain_sentence([result("a", verdict("untrained", better))]).split(". ")[0]
    assert says_significant(head) is better
    assert in_order(head, "untrained twin", "clips")


def test_pretraining_is_only_credited_beside_an_untrained_twin():
    spectra = [result("a", verdict("logmel", True)), result("b", verdict("logmel", True))]
    said = gain_sentence(spectra)
    assert "pretrain" not in said
    assert in_order(said, "log-mel frames", "both probes")
    assert "pretrain" in gain_sentence([won("a")])


def test_a_baseline_that_was_not_asked_everywhere_is_counted():
    said = gain_sentence([won("a"), result("b", verdict("untrained", True))])
    assert "(untrained twin, log-mel frames on 1 of them, CQT frames on 1 of them)" in said


def test_intervals_that_are_not_paired_are_not_called_so():
    bare = result("abx", verdict("untrained", True, paired=False))
    assert "paired" not in gain_sentence([bare])
    assert "paired" in gain_sentence([won("a")])
    assert in_order(gain_sentence([won("a"), bare]), "paired", "clips", "abx", "separate 95 % confidence intervals")


def test_a_shipped_model_beside_the_own_one_has_a_sentence_of_its_own_and_both_come_first():
    results = [won("a"), lost("b"), won("a", model="small"), won("b", model="small")]
    report = make_summary(results, ("run", "small"))
    found = report.answer
    assert next(iter(found)) == "pretraining"
    first, second = found["pretraining"]
    assert first.startswith("run ")
    assert "1 of the 2 probes" in first
    assert in_order(first, "better than run", "log-mel frames on b")
    assert second.startswith("small ")
    assert "both probes" in second
    assert summary_lines(report)[0] == first


def test_one_model_has_a_short_headline_and_the_terminal_says_what_follows_without_the_scores():
    report = make_summary([won("a"), lost("b")])
    found = report.answer["pretraining"]
    assert "1 of the 2 probes" in found[0]
    assert in_order(found[2], "better than the model", "log-mel frames on b")
    assert summary_lines(report) == found[:4]
    assert len(found) == 6
