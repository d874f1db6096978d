import pytest

from audio_ssl.report.language.answer import summary_lines
from audio_ssl.report.language.scores import gain_sentence
from audio_ssl.report.probe_summary import BaselineVerdict
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
    said = gain_sentence([won("key"), won("notes"), won("digits", "24 speakers"), lost("style")])
    assert said == (
        "Pretraining beats every baseline (untrained twin, log-mel frames, CQT frames) on 3 of 4 probes, by paired "
        "95 % intervals over clips or speakers. It does on key, notes and digits. Better than the model: log-mel "
        "frames on style. No statistically significant difference from the model: CQT frames on style."
    )


@pytest.mark.parametrize(
    ("wins", "words"),
    [(0, "on none of 4 probes"), (1, "on 1 of 4 probes"), (2, "on 2 of 4 probes"), (4, "on all 4 probes")],
)
def test_how_many_are_counted(wins, words):
    said = gain_sentence([won(f"w{n}") for n in range(wins)] + [lost(f"l{n}") for n in range(4 - wins)])
    first = said.split(". ")[0]
    assert words in first
    assert ("It does on" in said) == (0 < wins < 4)


def test_a_gain_that_one_baseline_denies_is_no_win():
    for denied in (verdict("cqt", False), verdict("cqt", True, decided=False), verdict("cqt", None, decided=False)):
        said = gain_sentence([result("a", verdict("untrained", True), verdict("logmel", True), denied), lost("b")])
        assert "on none of 2 probes" in said


@pytest.mark.parametrize(("better", "verb"), [(True, "beats"), (False, "does not beat")])
def test_one_probe_and_one_baseline(better, verb):
    said = gain_sentence([result("a", verdict("untrained", better))])
    assert said.startswith(
        f"Pretraining {verb} the untrained twin on the one probe, by a paired 95 % interval over clips."
    )


def test_pretraining_is_only_credited_beside_an_untrained_twin():
    spectra = [result("a", verdict("logmel", True)), result("b", verdict("logmel", True))]
    assert gain_sentence(spectra).startswith("The model beats the log-mel frames on both probes")


def test_a_baseline_that_was_not_asked_everywhere_is_counted():
    said = gain_sentence([won("a"), result("b", verdict("untrained", True))])
    assert "(untrained twin, log-mel frames on 1 of them, CQT frames on 1 of them)" in said


def test_intervals_that_are_not_paired_are_not_called_so():
    bare = result("abx", verdict("untrained", True, paired=False))
    assert "by separate 95 % intervals that do not overlap" in gain_sentence([bare])
    both = gain_sentence([won("a"), bare])
    assert "by paired 95 % intervals over clips, and on abx by separate ones that do not overlap." in both


def test_a_shipped_model_beside_the_own_one_has_a_sentence_of_its_own_and_both_come_first():
    results = [won("a"), lost("b"), won("a", model="small"), won("b", model="small")]
    report = make_summary(results, ("run", "small"))
    found = report.answer
    assert next(iter(found)) == "pretraining"
    first, second = found["pretraining"]
    assert first.startswith("run beats every baseline (untrained twin, log-mel frames, CQT frames) on 1 of 2 probes")
    assert "Better than run: log-mel frames on b." in first
    assert second.startswith("small beats every baseline (untrained twin, log-mel frames, CQT frames) on both probes")
    assert summary_lines(report)[0] == first


def test_one_model_has_a_short_headline_and_the_terminal_says_what_follows_without_the_scores():
    report = make_summary([won("a"), lost("b")])
    found = report.answer["pretraining"]
    assert found[0].endswith("by paired 95 % intervals over clips.")
    assert found[1] == "It does on a."
    assert found[2] == "Better than the model: log-mel frames on b."
    assert summary_lines(report) == found[:4]
    assert len(found) == 6
