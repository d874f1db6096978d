"""What the fairness report's statistics are worth, as tables of ``docs/benchmarks.md``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from _markdown import table as _table  # type: ignore[import-not-found]

table: Callable[[Sequence[str], Sequence[Sequence[str]]], str] = _table


def fairness(result: dict[str, Any]) -> str:
    """Return what the fairness report's statistics are worth."""
    parts = [f"{result['machine']['processor']}, {result['machine']['threads']} threads.\n"]
    if found := result.get("levels"):
        parts += _fairness_levels(found)
    if speed := result.get("speed"):
        shown = (("seconds", ".2f"), ("cpu_seconds", ".2f"), ("ours_is_faster", ".1f"), ("replicates_done", ","))
        rows = [[row["system"], *(format(row[key], how) for key, how in shown)] for row in speed["rows"]]
        what = f"{speed['replicates']:,} resamples of {speed['groups']} x {speed['speakers']} speakers"
        parts.append(table((what, "seconds", "of a core", "ours is faster by", "of which done"), rows))
        ours = speed["rows"][0]
        goal = "reached" if ours["cpu_seconds"] < speed["goal_seconds"] else "not reached"
        busy = " The machine was busy with other work." if ours["seconds"] > 1.5 * ours["cpu_seconds"] else ""
        parts.append(f"Goal of {speed['goal_seconds']:g} s, by the time of one core: {goal}.{busy}\n")
    if agreement := result.get("agreement"):
        rows = [
            [f"{row['metric']} ({row['library']})", f"{row['pairs']}", f"{row['ours']:.4f}", f"{row['difference']:.0e}"]
            for row in agreement
        ]
        parts.append(table(("score of a corpus", "sentences", "ours", "difference"), rows))
    if found := result.get("rows"):
        numbers = [
            [row["format"], *(f"{row[key]:,.0f}" for key in ("megabytes", "cpu_seconds", "peak_megabytes"))]
            for row in found["rows"]
        ]
        what = f"{found['rows_of_the_table']:,} rows, {found['speakers']:,} speakers, WER and CER"
        parts.append(table((what, "MB of table", "seconds of a core", "peak MB"), numbers))
    if readers := result.get("readers"):
        parts += _fairness_readers(readers)
    if mixed := result.get("mixed_model"):
        parts.append(mixed["table"])
    return "\n".join(parts)


def _share(row: dict[str, Any]) -> str:
    return f"{100 * row['share']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def _fairness_levels(found: dict[str, Any]) -> list[str]:
    parts = []
    said = {"equal": "speakers a group", "unequal": "unequal groups", "spread": "unequal spreads"}
    for kind, ratio in dict.fromkeys((row["kind"], row["ratio"]) for row in found["tests"]):
        rows = [row for row in found["tests"] if (row["kind"], row["ratio"]) == (kind, ratio)]
        cells = {(row["test"], row["design"]): row for row in rows}
        tests, designs = (list(dict.fromkeys(row[name] for row in rows)) for name in ("test", "design"))
        gap = "no gap" if ratio == 1.0 else f"a gap of {100 * (ratio - 1):.0f} %"
        what = f"% of studies in which a gap is found; {gap}, {said[kind]}"
        parts.append(table((what, *designs), [[test, *(_share(cells[test, d]) for d in designs)] for test in tests]))
    parts.append(
        "With unequal spreads the groups' rates are equal, but not those of their typical readers: the mixed model and "
        "the t-test of log rates compare these, and find a difference that is there.\n"
    )
    if groups := found.get("groups"):
        ways = {"expanded": "expanded percentiles (ours)", "usual": "BCa below 20 speakers, else percentiles"}
        rows = [[way, *(_share(row[name]) for row in groups)] for name, way in ways.items()]
        what = "% of samples in which a 95 % interval misses the one group's rate; speakers"
        parts.append(table((what, *(str(row["speakers"]) for row in groups)), rows))
    ways_of = ("higher", "lower")
    rows = [
        [row["design"], f"{row['difference']:.1f}", f"{row['of_rate']:.0%}", *(_share(row[way]) for way in ways_of)]
        for row in found["detectable"]
    ]
    head = ("speakers", "detectable", "of the rate", "% found, first group higher", "% found, first group lower")
    parts.append(table(head, rows))
    rows = [
        [f"{row['speakers']}, {row['rates']}", *(_share(row[w]) for w in ("p_value", "interval"))]
        for row in found["systems"]
    ]
    columns = ("% of studies in which two systems' gaps are found to differ; none do", "by p-value", "by interval")
    parts.append(table(columns, rows))
    return parts


def _fairness_readers(found: dict[str, Any]) -> list[str]:
    rows = [
        [
            row["decoding"],
            f"{row['F']:.1f}",
            f"{row['M']:.1f}",
            f"{row['difference']['value']:.1f} [{row['difference']['low']:.1f}, {row['difference']['high']:.1f}]",
            f"{row['p_value']:.2f} ({row['assignments']} assignments)",
            " and ".join(f"{value:.2f}" for value in row["spread"]),
        ]
        for row in found["measured"]
    ]
    head = ("Whisper tiny.en, 5 women and 5 men", "WER of F", "WER of M", "F - M", "p", "spread of log rates, F and M")
    said = (
        f"An earlier measurement gave {100 * found['reported']['F']:.1f} and {100 * found['reported']['M']:.1f}; its "
        "counts by reader are not recorded. Simulated readers with these rates:\n"
    )
    simulated = [
        [f"{row['spread']:g}", f"{100 * row['significant']:.1f}", f"{row['median_p']:.2f}"]
        for row in found["simulated"]
    ]
    what = ("spread of the readers' log rates", "% significant", "median p")
    return [table(head, rows), said, table(what, simulated)]
