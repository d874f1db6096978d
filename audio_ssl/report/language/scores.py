"""Sentences about scores: gains over baselines, and models side by side.

Nothing here is known beforehand. A probe counts where the model is significantly better than each baseline; where a
baseline is better, or does not differ significantly, that is said next, by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from audio_ssl.artifacts.result import UNTRAINED, MetricResult
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.language.phrases import better_words, one_of
from audio_ssl.report.numbers import MISSING, count, score, shortened, signed, signed_interval

if TYPE_CHECKING:
    from audio_ssl.report.comparison import ComparedQuestion, ModelComparison
    from audio_ssl.report.paired import PairedComparison
    from audio_ssl.report.probe_summary import BaselineVerdict, ProbeSummary

_MOST_NAME = 22
"""Characters of a model's name within a sentence."""


def verdict_sentence(metric: str, ours: MetricResult, theirs: MetricResult, label: str, found: PairedComparison) -> str:
    """Say what the difference between a model and one of its baselines shows."""
    if found.difference is None:
        return f"{metric_label(metric)} was not measured for both this model and the {label}."
    unit = ours.unit
    between = ""
    if found.paired:
        ends = signed_interval(found.low, found.high, unit)
        between = f" (95 % confidence interval {ends}, {found.over} resampled)"
    return (
        f"{metric_label(metric)} {score(ours.value, unit)}, {label} {score(theirs.value, unit)}. "
        f"Difference {signed(found.difference, unit)}{between}: {_judgement(found)}."
    )


def _judgement(found: PairedComparison) -> str:
    if found.better is None:
        return "no difference"
    side = "better" if found.better else "worse"
    if found.apart:
        return f"significantly {side}"
    if found.apart is None:
        return f"{side} on this test set; not tested, because a confidence interval is missing"
    why = "the interval includes zero" if found.paired else "the intervals of the two systems overlap"
    return f"{side} on this test set, but not statistically significant ({why})"


def verdict_reading(verdict: BaselineVerdict) -> str:
    """Say what a difference to a baseline shows, in a cell of a table."""
    if verdict.better is None:
        return MISSING
    if not verdict.decided:
        return NOT_SIGNIFICANT + ("" if verdict.paired else " (intervals overlap or are missing)")
    return f"significantly {'better' if verdict.better else 'worse'}" + ("" if verdict.paired else SEPARATE)


NOT_SIGNIFICANT = "not significant"
SEPARATE = " (separate intervals)"
"""Said where the two systems' own intervals were compared."""

_HOW_PAIRED = (
    "Differences are tested with a paired bootstrap. It resamples the answers of both systems to the same clips "
    "together: by speaker, else by track, else clip by clip, or by the column that the probe's data.cluster names. "
    "A difference is statistically significant if its 95 % confidence interval excludes zero."
)

GAINS_HEADING = "Gain over the baselines"
GAINS_CAPTION = "Main score of every probe on its test set"
GAINS_NOTES = (
    "Every system has the same kind of head, trained in the same way on the same clips. Only the features differ. "
    "The untrained twin is the same model with random weights.",
    f"{_HOW_PAIRED} Some scores cannot be paired (minDCF, same-different words). There the two systems' own confidence "
    "intervals must not overlap, which is a more conservative test.",
)
DIFFERENCES_CAPTION = (
    ", in points of each probe's score, with the 95\u00a0% confidence interval of the difference. Right of zero the "
    "model is better, whether a high or a low score is good. Filled marks are statistically significant differences."
)


def differences_title(model: str) -> str:
    """Say what is drawn of a model; without its name where there is one model."""
    return f"{model or 'The model'} minus each baseline on the same clips"


def settings_differ(probe: str, setting: str, values: Sequence[str]) -> str:
    """Say that the models' scores of a probe were made in different ways."""
    noun = {"signature": "score signatures", "decoder": "decoders"}[setting]
    return f"{probe}: the models' {noun} differ: {'; '.join(values)}."


def gain_sentence(results: Sequence[ProbeSummary], name: str = "") -> str:
    """Say all of `gain_sentences` in one string."""
    return " ".join(gain_sentences(results, name))


def gain_sentences(results: Sequence[ProbeSummary], name: str = "") -> list[str]:
    """Say on how many probes a model is significantly better than every baseline, then where it is not.

    Parameters
    ----------
    results
        Of one model, each with a verdict on one baseline or more.
    name
        What the model is called where there are several.
    """
    verdicts = [verdict for result in results for verdict in result.verdicts]
    labels = list(dict.fromkeys(verdict.label for verdict in verdicts))
    # Only the untrained twin tells what the training gave; beside spectra alone the architecture counts, too.
    twin = any(verdict.baseline == UNTRAINED for verdict in verdicts)
    subject = name or ("The pretrained model" if twin else "The model")
    better = [one.name for one in results if all(_is(verdict, True) for verdict in one.verdicts)]
    verb = "is" if better or len(results) > 1 else "is not"
    than, share = _baselines(results, labels), _share(len(better), len(results))
    found = [f"{subject} {verb} significantly better than {than} {share} ({_means(results)})."]
    if better and len(better) < len(results):
        found.append(f"{'This probe is' if len(better) == 1 else 'These probes are'} {one_of(better, 'and')}.")
    model = name or "the model"
    found += _others(results, labels, True, f"Significantly better than {model}")
    return found + _others(results, labels, False, f"No statistically significant difference from {model}")


def _is(verdict: BaselineVerdict, better: bool) -> bool:
    return verdict.decided and verdict.better is better


def _baselines(results: Sequence[ProbeSummary], labels: Sequence[str]) -> str:
    """Name the baselines; one that was not asked everywhere says so."""
    named = []
    for label in labels:
        asked = sum(any(verdict.label == label for verdict in one.verdicts) for one in results)
        named.append(label if asked == len(results) else f"{label} on {asked} of them")
    return f"the {named[0]}" if len(named) == 1 else f"every baseline ({', '.join(named)})"


def _share(better: int, total: int) -> str:
    if total == 1:
        return "on the one probe"
    if better == total:
        return "on both probes" if total == 2 else f"on all {total} probes"
    return f"on {better or 'none'} of the {total} probes"


def _means(results: Sequence[ProbeSummary]) -> str:
    """Say what told systems apart: paired intervals and what they are over, or separate intervals."""
    paired, apart = [], []
    for result in results:
        for verdict in result.verdicts:
            if not verdict.paired:
                apart.append(result.name)
            else:
                # "24 speakers"
                noun = (verdict.over or "clips").partition(" ")[2] or "clips"
                paired.append(noun if noun.endswith("s") else f"{noun}s")
    if not paired:
        return "separate 95 % confidence intervals"
    text = f"paired bootstrap over {one_of(list(dict.fromkeys(paired)), 'or')}"
    if apart:
        names = one_of(list(dict.fromkeys(apart)), "and")
        text += f"; on {names}, separate 95 % confidence intervals"
    return text


def _others(results: Sequence[ProbeSummary], labels: Sequence[str], decided: bool, heading: str) -> list[str]:
    """Name the baselines that are better (`decided`), or not significantly different, each with its probes."""
    found = []
    for label in labels:
        names = [
            one.name
            for one in results
            for verdict in one.verdicts
            if verdict.label == label
            and (_is(verdict, False) if decided else not (_is(verdict, True) or _is(verdict, False)))
        ]
        if names:
            found.append(f"{label} on {one_of(names, 'and')}")
    return [f"{heading}: {'; '.join(found)}."] if found else []


def compare_sentences(comparison: ModelComparison) -> list[str]:
    """Say which model has the best scores and which differences are statistically significant.

    First how many probes each model is best on, then one sentence a probe; of two models or more.
    """
    models = comparison.systems[: comparison.models]
    shared = [one for one in comparison.questions if sum(name in one.cells for name in models) > 1]
    if not shared:
        return [f"The {len(models)} models have no probe in common."]
    best = dict.fromkeys(models, 0)
    for one in shared:
        for name in _leaders(one, models):
            best[name] += 1
    counts = [
        f"{name} on {'all ' if 1 < number == len(shared) else ''}{count(number, 'probe')}"
        for name, number in sorted(best.items(), key=lambda item: -item[1])
        if number
    ]
    head = f"Best score among {len(models)} models: {', '.join(counts)}."
    decided = [row for one in shared for row in one.differences if row.system in models]
    apart = sum(bool(row.apart) for row in decided)
    first = shortened(first_models(shared), _MOST_NAME)
    head += f" {apart} of {count(len(decided), 'difference')} from {first} {'is' if apart == 1 else 'are'} "
    head += "statistically significant."
    return [head, *(_sentence(one, models) for one in shared)]


def _leaders(question: ComparedQuestion, models: Sequence[str]) -> list[str]:
    values = {name: cell.value for name, cell in question.cells.items() if name in models}
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return []
    top = (max if question.higher_is_better else min)(known.values())
    return [name for name, value in known.items() if value == top]


def _sentence(question: ComparedQuestion, models: Sequence[str]) -> str:
    parts = [f"{name} {score(cell.value, question.unit)}" for name, cell in question.cells.items() if name in models]
    said = [
        f"{row.system} is significantly {'better' if row.better else 'worse'} than {question.first}"
        if row.apart
        else f"{row.system} does not differ significantly from {question.first}"
        for row in question.differences
        if row.system in models and row.apart is not None
    ]
    about = f"{question.title}, {metric_label(question.metric)} ({better_words(question.higher_is_better)})"
    return f"{about}: {'; '.join([', '.join(parts), *said])}."


def first_models(questions: Sequence[ComparedQuestion]) -> str:
    """Name the model that others are compared to, or say that each probe has its own."""
    firsts = {one.first for one in questions}
    return firsts.pop() if len(firsts) == 1 else "the first model"


SCORES_LEAD = "Each score links to its predictions. ↑ means that a higher score is better, ↓ that a lower one is."
SUPERB_NOTE = (
    "Each task's score is put on a scale from 0 (log-mel features) to 1000 (the best of the leaderboard in October "
    "2021). The SUPERB score is the mean over tasks. Compare it only with SUPERB scores of the same tasks on the same "
    "scale."
)


def score_notes(which: str, numbered: bool) -> tuple[str, ...]:
    """Say how the table of scores is read; `which` (row or column) has the scores of one probe."""
    note = (
        f"Below each score is its 95 % confidence interval. The best score of each {which} is marked, even if it is "
        "not significantly better than the others."
    )
    again = "Models of the same name are numbered in the order in which they were given."
    return (note, again) if numbered else (note,)


def rank_notes(questions: int, whole: bool) -> tuple[str, ...]:
    """Say what mean ranks over so many probes are; not `whole` where systems are left out."""
    note = (
        f"Mean over the {questions} probes that all of these systems answered; 1 is best. Ranks depend on which "
        "systems are in the table. They do not say how large or how certain a difference is."
    )
    left = "Systems without a score on every probe of the first model are excluded."
    return (note,) if whole else (note, left)


def differences_caption(questions: Sequence[ComparedQuestion]) -> str:
    """Say what the table of differences has."""
    return f"Each system minus {first_models(questions)}, on the clips that both answered"


def difference_reading(found: PairedComparison) -> str:
    """Say what a difference between two systems shows, in a cell of a table."""
    if found.apart is None:
        return MISSING
    if not found.paired:
        if not found.apart:
            return "intervals overlap"
        return f"significantly {'better' if found.better else 'worse'}{SEPARATE}"
    if not found.apart or found.better is None:
        return NOT_SIGNIFICANT
    return f"significantly {'better' if found.better else 'worse'}"


def how_compared(questions: Sequence[ComparedQuestion]) -> str:
    """Say how the differences between systems are tested."""
    text = _HOW_PAIRED
    bare = [q for q in questions if any(not one.paired and one.apart is not None for one in q.differences)]
    if bare:
        named = ", ".join(dict.fromkeys(metric_label(one.metric) for one in bare))
        text += (
            f" Some scores cannot be paired ({named}). There a difference is significant if the two systems' own "
            "confidence intervals do not overlap. This test is more conservative: it misses small differences."
        )
    if any(one.left_out for q in questions for one in q.differences):
        text += " Clips that only one system answered, or that have different references, are excluded and counted."
    return text
