"""Training curves: several runs over one another, then each alone.

A run alone has its raw values as a faint band, smoothed on top, validation beside, and its codebooks one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from audio_ssl.report.figures.lines import Series, line_chart
from audio_ssl.report.html import Block, Figure, Section, Table, make_table
from audio_ssl.report.language.training import (
    TOGETHER,
    TRAINING,
    curve_ends,
    run_heading,
    run_lead,
    run_warnings,
    teacher_heading,
    title_of,
    together_lead,
)
from audio_ssl.report.numbers import number, slug
from audio_ssl.report.pages import PlacedSection, ReportPage
from audio_ssl.report.run_summary import Family, RunCurve, RunSummary, families

_FIRST = ("loss", "accuracy", "cqt_mse", "code_perplexity", "predicted_perplexity", "perplexity")
_MOST_LINES = 8
"""Lines that colour and dash tell apart."""

_FEW_POINTS = 30
_LAST = ("audio_seconds_per_second", "lr", "grad_norm")


def training_section(runs: Sequence[RunSummary]) -> Section:
    """Show several runs over one another, then the curves of every run, followed by the teachers trained for it."""
    blocks = [_together(runs)] if len(runs) > 1 else []
    for index, run in enumerate(runs):
        blocks.append(_block(run, f"run-{index}", run_heading(run)))
        for place, teacher in enumerate(run.teachers):
            blocks.append(_block(teacher, f"run-{index}-teacher-{place}", teacher_heading(teacher, run)))
    return Section("training", TRAINING, tuple(blocks))


def _together(runs: Sequence[RunSummary]) -> Block:
    """Draw each quantity that at least two runs have, one line a run."""
    shown, names = runs[:_MOST_LINES], distinct_names(runs)
    curves = [_single_curves(run.curves) for run in shown]
    keys = [key for key in dict.fromkeys(key for one in curves for key in one) if sum(key in one for one in curves) > 1]
    figures = []
    for family in sorted((Family(key, (key,), ("",)) for key in keys), key=_together_order):
        series = [
            Series(name, curve.steps, curve.mean, style=style, markers=len(curve.steps) < _FEW_POINTS)
            for style, (name, one) in enumerate(zip(names, curves, strict=False))
            if (curve := one.get(family.name)) is not None
        ]
        figures.append(_over_one_another(family.name, series))
    lead = together_lead(len(shown), len(runs), len(figures))
    return Block(id="runs-together", heading=TOGETHER, lead=(lead,), figures=tuple(figures))


def distinct_names(runs: Sequence[RunSummary]) -> list[str]:
    """Return the runs' names, or their paths where two have one name."""
    names = [run.name for run in runs]
    return [run.path if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]


def _single_curves(curves: Mapping[str, RunCurve]) -> dict[str, RunCurve]:
    """Return one curve for each metric, without a band: of codebooks their mean."""
    found = {}
    for family in families(curves):
        members = [curves[key] for key in family.members if curves[key].steps == curves[family.members[0]].steps]
        means = tuple(sum(values) / len(values) for values in zip(*(one.mean for one in members), strict=True))
        found[family.name] = RunCurve(members[0].steps, means, (), ())
    return found


def _together_order(family: Family) -> tuple[int, int, bool]:
    """Put a validation's curve behind that of training."""
    return (*_order(Family(family.name.removeprefix("valid_"), (), ())), family.name.startswith("valid_"))


def _over_one_another(name: str, series: Sequence[Series]) -> Figure:
    title, figure_id = title_of(name), f"runs-together-{slug(name)}"
    svg = line_chart(figure_id, title, f"{curve_ends(series)}.", series, x_label="step", legend=True)
    rows = [(one.label, number(one.x[-1]), number(one.y[0]), number(one.y[-1]), number(min(one.y))) for one in series]
    table = make_table(f"{title}, smoothed", ("Run", "Last step", "First", "Last", "Lowest"), rows)
    return Figure(f"{figure_id}-box", svg, f"{title}.", table)


def _block(run: RunSummary, prefix: str, heading: str) -> Block:
    curves = run.curves
    train = [key for key in curves if not key.startswith("valid_")]
    alone = [key for key in curves if key.startswith("valid_") and key.removeprefix("valid_") not in train]
    alone += [key for key in curves if key.startswith("valid_") and _is_member(key, train)]
    found = sorted(families([*train, *dict.fromkeys(alone)]), key=_order)
    figures = tuple(_figure(one, curves, f"{prefix}-{slug(one.name)}-{len(one.members)}") for one in found)
    return Block(id=prefix, heading=heading, lead=(run_lead(run),), warnings=run_warnings(run), figures=figures)


def _is_member(key: str, train: Sequence[str]) -> bool:
    """Say whether a validation curve belongs to a family, whose figure has no room to overlay it."""
    name = key.removeprefix("valid_")
    return name in train and families([name])[0].labels != ("",)


def _order(family: Family) -> tuple[int, int]:
    if family.name in _FIRST:
        return (0, _FIRST.index(family.name))
    return (2, _LAST.index(family.name)) if family.name in _LAST else (1, 0)


def _figure(family: Family, curves: Mapping[str, RunCurve], figure_id: str) -> Figure:
    several = len(family.members) > 1
    title = title_of(family.name) + (", by codebook" if several else "")
    series = []
    for style, (key, label) in enumerate(zip(family.members, family.labels, strict=True)):
        curve = curves[key]
        # Eight bands on top of one another would hide the lines.
        low, high = ((), ()) if several else (curve.low, curve.high)
        series.append(Series(label or "training", curve.steps, curve.mean, low, high, style=style))
    checked = curves.get(f"valid_{family.name}")
    if checked and not several:
        short = len(checked.steps) < _FEW_POINTS
        series.append(Series("validation", checked.steps, checked.mean, style=1, markers=short))
    svg = line_chart(figure_id, title, f"{curve_ends(series, title)}.", series, x_label="step")
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
