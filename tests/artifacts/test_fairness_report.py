"""The report of an audit: its classes are its schema, old files are read, and a verdict follows from numbers."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest

from audio_ssl.artifacts import fairness, fairness_report
from audio_ssl.artifacts.fairness import ALPHA, SMALLER, VERDICTS, GapOutcome, GroupComparison, MetricRow
from audio_ssl.artifacts.fairness_report import fairness_of, read_fairness
from audio_ssl.base.errors import UserError
from audio_ssl.fairness.audit import audit
from tests.report.fairness_example import fairness_report as example
from tests.report.fairness_example import fairness_schema

KINDS = {
    "result": fairness_report.AuditedSystem,
    "group": fairness.GroupScore,
    "comparison": fairness.GroupComparison,
    "spread": fairness.GroupSpread,
    "model": fairness.AdjustedRatio,
    "covariate": fairness.CovariateRatio,
    "gap_difference": fairness.SystemComparison,
    "empty_hypotheses": fairness.EmptyEffect,
    "suppressed": fairness_report.SuppressedGroup,
    "excluded": fairness_report.LeftOutRows,
    "example": fairness_report.WorstClip,
    "layer": fairness_report.LayerScore,
    "representation": fairness_report.AttributeProbe,
    "statement": fairness_report.AuditStatement,
    "input": fairness_report.ReadFile,
    "provenance": fairness_report.AuditOrigin,
}
WRITTEN = {"comparison": {"verdict"}}
"""Keys that follow from others."""


def described(schema: dict[str, Any], part: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Return the keys that a part of the schema names, and those that it requires."""
    names, needed = set(part.get("properties", {})), set(part.get("required", ()))
    for other in part.get("allOf", ()):
        more, required = described(schema, schema["$defs"][other["$ref"].rpartition("/")[2]])
        names, needed = names | more, needed | required
    return names, needed


@pytest.mark.parametrize("part", [*KINDS, ""])
def test_the_schema_is_that_of_the_classes(part: str) -> None:
    schema = fairness_schema()
    names, needed = described(schema, schema["$defs"][part] if part else schema)
    kind = KINDS.get(part, fairness_report.FairnessReport)
    more = WRITTEN.get(part, set()) if part else {"kind", "schema_version"}
    of_class = [one for one in fields(kind) if one.name != "more"]
    assert names == {one.name for one in of_class} | more
    without = {one.name for one in of_class if one.default is MISSING and one.default_factory is MISSING}
    assert needed == without | more


def test_every_row_of_the_schema_has_a_class() -> None:
    shared = {"about", "of_result", "pair", "outcome"}
    assert set(fairness_schema()["$defs"]) == {*KINDS, *shared}


def clips(speakers: int = 12) -> list[dict[str, Any]]:
    hypotheses = ("the sea is", "a sea is old", "")
    return [
        {
            "id": f"{speaker}-{clip}",
            "reference": "the sea is old",
            "hypothesis": hypotheses[(speaker + clip) % 3],
            "speaker": f"s{speaker}",
            "gender": "FM"[speaker % 2],
        }
        for speaker in range(speakers)
        for clip in range(2)
    ]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    table = tmp_path / "p.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in clips()))
    found = audit([table], replicates=100, examples=True, tolerance=3.0)
    text = json.dumps(found.to_json(), allow_nan=False)
    (tmp_path / "fairness.json").write_text(text)
    again = read_fairness(tmp_path / "fairness.json")
    assert json.dumps(again.to_json(), allow_nan=False) == text
    assert [row["verdict"] for row in found.to_json()["comparisons"]] == [row.verdict for row in again.comparisons]
    assert math.isnan(again.scores[0].hours)
    assert found.to_json()["groups"][0]["hours"] is None


EARLIER = Path(__file__).parents[1] / "earlier" / "artifacts" / "fairness"


@pytest.mark.parametrize(("name", "ordered"), [("asr", True), ("layers", True), ("verification", False)])
def test_a_file_that_was_written_before_is_written_the_same(name: str, ordered: bool) -> None:
    text = (EARLIER / f"{name}.json").read_text()
    again = json.dumps(read_fairness(EARLIER / f"{name}.json").to_json(), allow_nan=False)
    # Rows of trials had their keys in an order of their own.
    assert again == json.dumps(json.loads(text)) or not ordered
    assert json.loads(again) == json.loads(text)


def test_a_later_key_is_passed_over() -> None:
    data = example()
    data["groups"][0]["of_a_later_version"] = 1
    data["provenance"]["of_a_later_version"] = [1]
    assert fairness_of(data, "r").provenance.more == {"of_a_later_version": [1]}


FIRST: dict[str, Any] = {
    "groups": [
        {
            "result": "p", "by": "gender", "metric": "bleu", "unit": "BLEU", "group": group, "value": value,
            "low": None, "high": None, "higher_is_better": True, "speakers": 12, "clips": 40, "words": 160,
            "hours": None, "empty_references": 0,
        }
        for group, value in (("F", 11.5), ("M", 12.0), ("unknown", 9.0))
    ],
    "comparisons": [
        {
            "result": "p", "by": "gender", "metric": "bleu", "unit": "BLEU", "a": "F", "b": "M", "difference": -0.5,
            "low": -2.0, "high": 1.0, "relative_symmetric": -4.3, "relative_to_b": -4.2, "higher_is_better": True,
            "direction": "worse for F", "p_value": 0.03, "refused": None, "warning": None,
        }
    ],
    "excluded": [{"result": "p", "speaker": "s9", "reason": "recorded as gender F and M"}],
    "limits": ["a limit"],
    "provenance": {
        "results": {"p": {"path": "p.csv", "sha256": "0" * 64}}, "by": ["gender"], "seed": 0, "replicates": 10_000,
        "min_speakers": 5, "signatures": {}, "versions": {"audio_ssl": "0.0.1"},
    },
}  # fmt: skip
"""What the first version wrote."""


def test_a_file_of_the_first_version_is_read() -> None:
    found = fairness_of(json.loads(json.dumps(FIRST)), "old.json")
    assert [(row.group, row.known, row.total) for row in found.scores] == [
        ("F", True, False),
        ("M", True, False),
        ("unknown", False, False),
    ]
    (gap,) = found.comparisons
    assert (gap.outcome, gap.compared, gap.relative) == (GapOutcome.FOUND, 0, -4.2)
    assert math.isnan(gap.ratio)
    assert (found.excluded[0].count, found.excluded[0].names) == (1, ("speaker s9",))
    assert (found.statement, found.results, found.totals) == (None, (), ())
    assert found.provenance.min_group_speakers is None
    assert set(found.provenance.more) == {"results", "signatures"}


def test_a_file_of_the_second_version_is_read() -> None:
    data = example() | {"schema_version": 2}
    data["groups"] = [*data["groups"], *data.pop("totals")]
    for key in ("statement", "limits"):
        del data[key]
    newer = ("low_90", "high_90", "standard_error", "degrees_of_freedom", "tolerance", "verdict", "speakers_a")
    for row in data["comparisons"]:
        for key in newer:
            del row[key]
    for row in data["results"]:
        del row["system"], row["version"]
    del data["provenance"]["inputs"], data["provenance"]["min_group_speakers"]
    found, today = fairness_of(data, "old.json"), fairness_of(example(), "new.json")
    assert found.groups == today.groups
    assert [row.clips for row in found.totals] == [row.clips for row in today.totals]
    assert [row.outcome for row in found.comparisons] == [row.outcome for row in today.comparisons]
    assert found.statement is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("groups"), r"f\.json: `groups` must be a list, but is None"),
        (lambda data: data["groups"][0].update(value="12"), r"`groups\[0\]\.value` must be a number, but is '12'"),
        (lambda data: data["comparisons"][1].pop("a"), r"the key `a` is missing in `comparisons\[1\]"),
        (lambda data: data["comparisons"].append(3), r"`comparisons\[\d+\]` must be a mapping of keys to values"),
        (lambda data: data["groups"][0].update(higher_is_better=None), r"must be true or false, but is None"),
    ],
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_what_is_wrong_is_named(change: Any, message: str, version: int) -> None:
    data = example() | {"schema_version": version}
    change(data)
    with pytest.raises(UserError, match=message):
        fairness_of(data, "f.json")


ABOUT = MetricRow(result="r", by="gender", metric="wer", unit="%", higher_is_better=False)
JUST_BELOW = math.nextafter(ALPHA, 0)


@pytest.mark.parametrize(
    ("known", "outcome"),
    [
        ({}, "untested"),
        ({"refused": "few", "p_value": 0.01}, "refused"),
        ({"p_value": JUST_BELOW}, "found"),
        ({"p_value": ALPHA}, "open"),
        ({"p_value": 0.01, "p_holm": JUST_BELOW}, "found"),
        ({"p_value": JUST_BELOW, "p_holm": ALPHA}, "alone"),
        ({"p_value": ALPHA, "p_holm": 0.3}, "open"),
        # A tolerance comes before significance, and needs no p-value; its ends do not belong to it.
        ({"p_value": 0.001, "tolerance": 1.0, "low_90": -0.99, "high_90": 0.99}, "smaller"),
        ({"tolerance": 1.0, "low_90": -0.5, "high_90": 0.5}, "smaller"),
        ({"p_value": 0.3, "tolerance": 1.0, "low_90": -0.5, "high_90": 1.0}, "open"),
        ({"p_value": 0.3, "tolerance": 1.0, "low_90": -1.0, "high_90": 0.5}, "open"),
        ({"p_value": 0.3, "tolerance": 1.0}, "open"),
        ({"p_value": 0.3, "low_90": -0.5, "high_90": 0.5}, "open"),
        ({"refused": "few", "tolerance": 1.0, "low_90": -0.5, "high_90": 0.5}, "refused"),
    ],
)
def test_what_a_test_came_to(known: dict[str, Any], outcome: str) -> None:
    row = GroupComparison.untested(ABOUT, "F", "M", "worse for women", **known)
    assert row.outcome == outcome
    assert (row.verdict is not None) == row.outcome.tested
    assert (row.verdict == SMALLER) == (outcome == "smaller")
    assert (row.verdict == VERDICTS[0]) == (outcome == "found")
    assert fairness_of(example() | {"comparisons": [_json(row)]}, "f").to_json()["comparisons"][0] == _json(row)


def _json(row: GroupComparison) -> dict[str, Any]:
    (found,) = replace(fairness_of(example(), "f"), comparisons=(row,)).to_json()["comparisons"]
    return found
