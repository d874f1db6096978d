"""Training curves: several runs over one another, then each alone.

A run alone has its raw values as a faint band, smoothed on top, validation beside, and its codebooks one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.pretrain.guards import PREDICTIONS, TARGETS, alike_sentences
from audio_ssl.report.figures.lines import Series, line_chart
from audio_ssl.report.html import Block, Figure, Section, Table, make_table
from audio_ssl.report.numbers import count, number, slug
from audio_ssl.report.pages import PlacedSection, ReportPage
from audio_ssl.report.run_summary import Family, families

_TITLES = {
    "loss": "Loss",
    "accuracy": "Accuracy on masked frames",
    "code_perplexity": "Perplexity of the codes",
    "perplexity": "Perplexity of the codes",
    "predicted_perplexity": "Perplexity of the predicted codes",
    "code_usage": "Share of the codes in use",
    "cqt_mse": "CQT error on masked frames",
    "audio_seconds_per_second": "Seconds of audio trained on per second",
    "lr": "Learning rate",
    "grad_norm": "Gradient norm",
    "feature_penalty": "Feature penalty",
}
_FIRST = ("loss", "accuracy", "cqt_mse", "code_perplexity", "predicted_perplexity", "perplexity")
_MOST_LINES = 8
"""Lines that colour and dash tell apart."""

_FEW_POINTS = 30
_LAST = ("audio_seconds_per_second", "lr", "grad_norm")


def training_section(runs: Sequence[Mapping[str, Any]]) -> Section:
    """Show several runs over one another, then the curves of every run, followed by the teachers trained for it."""
    blocks = [_together(runs)] if len(runs) > 1 else []
    for index, run in enumerate(runs):
        blocks.append(_block(run, f"run-{index}", f"Pretraining: {run['name']}"))
        for place, teacher in enumerate(run["teachers"]):
            heading = f"Teacher of {run['name']}: {teacher['name']}"
            blocks.append(_block(teacher, f"run-{index}-teacher-{place}", heading))
    return Section("training", "Training curves", tuple(blocks))


def _together(runs: Sequence[Mapping[str, Any]]) -> Block:
    """Draw each quantity that at least two runs have, one line a run."""
    shown, names = runs[:_MOST_LINES], distinct_names(runs)
    curves = [_single_curves(run["curves"]) for run in shown]
    keys = [key for key in dict.fromkeys(key for one in curves for key in one) if sum(key in one for one in curves) > 1]
    figures = []
    for family in sorted((Family(key, (key,), ("",)) for key in keys), key=_together_order):
        series = [
            Series(name, curve["steps"], curve["mean"], style=style, markers=len(curve["steps"]) < _FEW_POINTS)
            for style, (name, one) in enumerate(zip(names, curves, strict=False))
            if (curve := one.get(family.name)) is not None
        ]
        figures.append(_over_one_another(family.name, series))
    lead = "Each line is a run; below, each run is shown alone."
    if len(runs) > len(shown):
        lead = f"Each line is one of the first {len(shown)} of {len(runs)} runs; below, each run is shown alone."
    if not figures:
        lead = "The runs have no measured quantity in common."
    return Block(id="runs-together", heading="The runs over one another", lead=(lead,), figures=tuple(figures))


def distinct_names(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the runs' names, or their paths where two have one name."""
    names = [str(run["name"]) for run in runs]
    return [str(run["path"]) if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]


def _single_curves(curves: Mapping[str, Mapping[str, list[float]]]) -> dict[str, Mapping[str, list[float]]]:
    """Return one curve a quantity: of codebooks their mean."""
    found: dict[str, Mapping[str, list[float]]] = {}
    for family in families(curves):
        members = [curves[key] for key in family.members if curves[key]["steps"] == curves[family.members[0]]["steps"]]
        means = [sum(values) / len(values) for values in zip(*(one["mean"] for one in members), strict=True)]
        found[family.name] = {"steps": members[0]["steps"], "mean": means}
    return found


def _together_order(family: Family) -> tuple[int, int, bool]:
    """Put a validation's curve behind that of training."""
    return (*_order(Family(family.name.removeprefix("valid_"), (), ())), family.name.startswith("valid_"))


def _over_one_another(name: str, series: Sequence[Series]) -> Figure:
    title, figure_id = title_of(name), f"runs-together-{slug(name)}"
    ends = "; ".join(f"{one.label} from {number(one.y[0])} to {number(one.y[-1])}" for one in series)
    svg = line_chart(figure_id, title, f"{ends}.", series, x_label="step", legend=True)
    rows = [(one.label, number(one.x[-1]), number(one.y[0]), number(one.y[-1]), number(min(one.y))) for one in series]
    table = make_table(f"{title}, smoothed", ("Run", "Last step", "First", "Last", "Lowest"), rows)
    return Figure(f"{figure_id}-box", svg, f"{title}.", table)


def _block(run: Mapping[str, Any], prefix: str, heading: str) -> Block:
    curves = run["curves"]
    train = [key for key in curves if not key.startswith("valid_")]
    alone = [key for key in curves if key.startswith("valid_") and key.removeprefix("valid_") not in train]
    alone += [key for key in curves if key.startswith("valid_") and _is_member(key, train)]
    found = sorted(families([*train, *dict.fromkeys(alone)]), key=_order)
    figures = tuple(_figure(one, curves, f"{prefix}-{slug(one.name)}-{len(one.members)}") for one in found)
    return Block(id=prefix, heading=heading, lead=_lead(run), warnings=_warnings(run), figures=figures)


def _is_member(key: str, train: Sequence[str]) -> bool:
    """Say whether a validation curve belongs to a family, whose figure has no room to overlay it."""
    name = key.removeprefix("valid_")
    return name in train and families([name])[0].labels != ("",)


def _order(family: Family) -> tuple[int, int]:
    if family.name in _FIRST:
        return (0, _FIRST.index(family.name))
    return (2, _LAST.index(family.name)) if family.name in _LAST else (1, 0)


def _lead(run: Mapping[str, Any]) -> tuple[str, ...]:
    if not run["curves"]:
        return ("No step has been logged yet.",)
    planned = run["steps_planned"]
    words = f"{run['steps']:,} steps"
    if isinstance(planned, int) and planned > run["steps"]:
        words += f" of {planned:,} planned"
    first, last = run["first"].get("loss"), run["last"].get("loss")
    if first is not None and last is not None:
        words += f"; the loss went from {number(first)} to {number(last)}"
    if run["audio_seconds_per_second"]:
        words += f"; {number(run['audio_seconds_per_second'])} seconds of audio per second (median)"
    return (f"{words}.",)


def _warnings(run: Mapping[str, Any]) -> tuple[str, ...]:
    out = []
    if run["provenance"].get("finished") is False:
        out.append("This run has not finished; what follows is how far it has come.")
    out += collapse_sentences(run)
    if run["skipped_steps"]:
        steps = count(int(run["skipped_steps"]), "step")
        out.append(f"{steps} skipped, because the loss or the gradient was not finite.")
    if run["errors"]["count"]:
        reasons = ", ".join(f"{one['reason']} ({one['count']:,})" for one in run["errors"]["reasons"][:5])
        out.append(f"{count(run['errors']['count'], 'file')} could not be used: {reasons}.")
    return tuple(out)


def collapse_sentences(run: Mapping[str, Any]) -> list[str]:
    """Say where a run's predictions or targets are all alike, and what that means."""
    found = run.get("alike") or {}
    return alike_sentences(
        int(found.get("step", 0)), {what: found[what] for what in (TARGETS, PREDICTIONS) if what in found}
    )


def title_of(name: str) -> str:
    """Say in words what a key of ``metrics.jsonl`` measures.

    Examples
    --------
    >>> title_of("cqt_mse"), title_of("valid_accuracy"), title_of("loss_codes")
    ('CQT error on masked frames', 'Validation: accuracy on masked frames', 'Loss: codes')
    """
    if name.startswith("valid_"):
        inner = title_of(name.removeprefix("valid_"))
        keep = inner[:2].isupper()
        return f"Validation: {inner if keep else inner[0].lower() + inner[1:]}"
    if name in _TITLES:
        return _TITLES[name]
    if name.startswith("loss_"):
        return f"Loss: {name.removeprefix('loss_').replace('_', ' ')}"
    return name.replace("_", " ").capitalize()


def _figure(family: Family, curves: Mapping[str, Mapping[str, list[float]]], figure_id: str) -> Figure:
    several = len(family.members) > 1
    title = title_of(family.name) + (", by codebook" if several else "")
    series = []
    for style, (key, label) in enumerate(zip(family.members, family.labels, strict=True)):
        curve = curves[key]
        # Eight bands on top of one another would hide the lines.
        low, high = ((), ()) if several else (curve["low"], curve["high"])
        series.append(Series(label or "training", curve["steps"], curve["mean"], low, high, style=style))
    checked = curves.get(f"valid_{family.name}")
    if checked and not several:
        short = len(checked["steps"]) < _FEW_POINTS
        series.append(Series("validation", checked["steps"], checked["mean"], style=1, markers=short))
    ends = "; ".join(
        f"{one.label if len(series) > 1 else title} from {number(one.y[0])} to {number(one.y[-1])}" for one in series
    )
    svg = line_chart(figure_id, title, f"{ends}.", series, x_label="step")
    return Figure(f"{figure_id}-box", svg, f"{title}.", _numbers(title, series))


def _numbers(title: str, series: Sequence[Series]) -> Table:
    """Give about eight points of every curve as a table."""
    longest = max(series, key=lambda one: len(one.x))
    last = len(longest.x) - 1
    picks = sorted({round(index * last / 7) for index in range(8)})
    rows = []
    for pick in picks:
        step = longest.x[pick]
        cells = [number(_at(one, step)) for one in series]
        rows.append((number(step), *cells))
    return make_table(f"{title}, smoothed", ("Step", *(one.label for one in series)), rows)


def _at(one: Series, step: float) -> float | None:
    """Return the value at the last point not after `step`."""
    before = [value for x, value in zip(one.x, one.y, strict=True) if x <= step]
    return before[-1] if before else None


def _trained(page: ReportPage) -> Section | None:
    return training_section(page.summary.runs) if page.summary.runs else None


SECTIONS = (PlacedSection(ReportPage, 50, _trained),)
