"""Sentences about scores: gains over baselines, and models side by side.

Nothing here is known beforehand. A probe counts where the model is significantly better than each baseline; where a
baseline is better, or does not differ significantly, that is said next, by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.language.phrases import better_words, one_of
from audio_ssl.report.numbers import MISSING, score, shortened, signed, signed_interval

if TYPE_CHECKING:
    from audio_ssl.report.comparison import ComparedQuestion, ModelComparison
    from audio_ssl.report.inputs import MetricScore
    from audio_ssl.report.paired import PairedComparison
    from audio_ssl.report.probe_summary import BaselineVerdict, ProbeSummary

_MOST_NAME = 22
"""Characters of a model's name within a sentence."""


def verdict_sentence(metric: str, ours: MetricScore, theirs: MetricScore, label: str, found: PairedComparison) -> str:
    """Say what the difference between a model and one of its baselines shows."""
    if found.difference is None:
        return f"No {metric_label(metric)} was measured for both this model and the {label}."
    unit = ours.unit
    between = ""
    if found.paired:
        between = f", 95 % interval {signed_interval(found.low, found.high, unit)} over {found.over}"
    return (
        f"{metric_label(metric)} {score(ours.value, unit)} against {score(theirs.value, unit)} for the {label} "
        f"({signed(found.difference, unit)}{between}): {_judgement(found)}."
    )


def _judgement(found: PairedComparison) -> str:
    if found.better is None:
        return "no difference"
    side = "better" if found.better else "worse"
    if found.apart:
        return f"{side}, beyond what chance in the test set explains"
    why = "the interval holds zero" if found.paired else "their intervals overlap or are missing"
    return f"{side} here, but {why}, so this test set cannot tell them apart"


def verdict_reading(verdict: BaselineVerdict) -> str:
    """Say what a difference to a baseline shows, in a cell of a table."""
    if verdict.better is None:
        return MISSING
    if not verdict.decided:
        why = " on these clips" if verdict.paired else ": intervals overlap or are missing"
        return f"no significant difference{why}"
    return ("better" if verdict.better else "worse") + ("" if verdict.paired else " (separate intervals)")


GAINS_HEADING = "What pretraining gave"
GAINS_CAPTION = "Main score of every probe on its test set"
GAINS_NOTES = (
    "All systems get the same head, trained the same way on the same clips; only the frozen features differ. "
    "The untrained twin has the model's architecture with fresh random weights.",
    "The interval of a difference comes from drawing the clips that both systems heard again, together: all of "
    "what the probe says belongs together (data.cluster), else of a speaker, else of a track, else single "
    "clips. It is given where each clip's answer is known. A model is called better or worse "
    "only where that interval leaves out zero, or, for other scores (minDCF, same-different words), where "
    "the two intervals do not overlap, which is the more cautious reading.",
)
DIFFERENCES_TITLE = "The model minus each baseline, on the same clips"
DIFFERENCES_CAPTION = (
    "The model minus each baseline in points of each probe's score, on the same clips, with the 95 % interval of "
    "the difference. Right of zero the model is better, whichever way its score goes; filled: "
    "statistically significant."
)


def settings_differ(probe: str, setting: str, values: Sequence[str]) -> str:
    """Say that the models' scores of a probe were made in different ways."""
    noun = {"signature": "score signatures", "decoder": "decoders"}[setting]
    return f"{probe}: the models' {noun} differ: {'; '.join(values)}."


def gain_sentence(results: Sequence[ProbeSummary], name: str = "") -> str:
    """Say all of `gain_sentences` in one string."""
    return " ".join(gain_sentences(results, name))


def gain_sentences(results: Sequence[ProbeSummary], name: str = "") -> list[str]:
    """Say on how many probes a model is better than every baseline, then which baselines are not behind it.

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
    twin = any(verdict.baseline == "untrained" for verdict in verdicts)
    subject = name or ("Pretraining" if twin else "The model")
    better = [one.name for one in results if all(_is(verdict, True) for verdict in one.verdicts)]
    verb = "beats" if better or len(results) > 1 else "does not beat"
    found = [f"{subject} {verb} {_baselines(results, labels)} {_share(len(better), len(results))}, {_means(results)}."]
    if better and len(better) < len(results):
        found.append(f"It does on {one_of(better, 'and')}.")
    model = name or "the model"
    found += _others(results, labels, True, f"Better than {model}")
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
    return f"on {better or 'none'} of {total} probes"


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
        return "by separate 95 % intervals that do not overlap"
    several = len(paired) > 1
    text = f"by {'' if several else 'a '}paired 95 % interval{'s' if several else ''} over "
    text += one_of(list(dict.fromkeys(paired)), "or")
    if apart:
        names = one_of(list(dict.fromkeys(apart)), "and")
        text += f", and on {names} by separate ones that do not overlap"
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
        return [f"{len(models)} models, but no probe that two of them answered."]
    best = dict.fromkeys(models, 0)
    for one in shared:
        for name in _leaders(one, models):
            best[name] += 1
    counts = [
        f"{name} on {number} probe{'s' if number != 1 else ''}"
        for name, number in sorted(best.items(), key=lambda item: -item[1])
    ]
    head = f"Best score among {len(models)} models: {', '.join(counts)}."
    decided = [row for one in shared for row in one.differences if row.system in models]
    apart = sum(bool(row.apart) for row in decided)
    first = shortened(first_models(shared), _MOST_NAME)
    head += f" {apart} of {len(decided)} differences to {first} are statistically significant."
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
    way = better_words(question.higher_is_better)
    said = [
        f"{row.system} has {'a' if row.apart else 'no'} statistically significant difference from {question.first}"
        for row in question.differences
        if row.system in models and row.apart is not None
    ]
    tail = f"; {', '.join(said)}" if said else ""
    return f"{question.title}: {metric_label(question.metric)} {', '.join(parts)} ({way}{tail})."


def first_models(questions: Sequence[ComparedQuestion]) -> str:
    """Name the model that others are compared to, or say that each probe has its own."""
    firsts = {one.first for one in questions}
    return firsts.pop() if len(firsts) == 1 else "the first model"


SCORES_LEAD = (
    "A score leads to the predictions it was made from. "
    "↑ marks scores of which the higher is better, ↓ those of which the lower is better."
)
SUPERB_NOTE = (
    "Each task on a line from 0 (log-mel features) to 1000 (the best of the leaderboard of October 2021), then the "
    "mean; compare only scores of the same tasks, and only with scores made with the same ends."
)


def score_notes(which: str, numbered: bool) -> tuple[str, ...]:
    """Say how the table of scores is read; `which` (row or column) has the scores of one probe."""
    note = f"Below each score: its 95 % interval. Best: of its {which}, by the score alone."
    again = "A number after a name tells apart results of models of the same name, in the order they were given."
    return (note, again) if numbered else (note,)


def rank_notes(questions: int, whole: bool) -> tuple[str, ...]:
    """Say what mean ranks over so many probes are; not `whole` where systems are left out."""
    note = (
        f"Over the {questions} probes that all of them answered; 1 is best. Ranks depend on who is in the "
        "table, and say nothing about how large or sure a difference is."
    )
    left = "Systems that did not answer all probes of the first model are left out."
    return (note,) if whole else (note, left)


def differences_caption(questions: Sequence[ComparedQuestion]) -> str:
    """Say what the table of differences has."""
    return f"Each system minus {first_models(questions)}, on the clips that both predicted"


def difference_reading(found: PairedComparison) -> str:
    """Say what a difference between two systems shows, in a cell of a table."""
    if found.apart is None:
        return MISSING
    if not found.paired:
        if not found.apart:
            return "intervals overlap"
        return f"significantly {'better' if found.better else 'worse'} (separate intervals)"
    if not found.apart or found.better is None:
        return "not significant"
    return f"significantly {'better' if found.better else 'worse'}"


def how_compared(questions: Sequence[ComparedQuestion]) -> str:
    """Say how the differences between systems are tested."""
    text = (
        "The bootstrap resamples both systems' answers to the same clips together: all clips of a speaker, else of a "
        "track, else single clips. A difference is significant if its 95 % interval leaves out zero."
    )
    bare = [q for q in questions if any(not one.paired and one.apart is not None for one in q.differences)]
    if bare:
        named = ", ".join(dict.fromkeys(metric_label(one.metric) for one in bare))
        text += (
            f" Where that cannot be done ({named}), the two systems' own intervals are compared. The difference is "
            "significant if they do not overlap, which is more cautious; where they overlap there may still be one."
        )
    if any(one.left_out for q in questions for one in q.differences):
        text += " Clips that only one predicted, or with other references, do not count; how many is in brackets."
    return text
