from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_ssl.artifacts.composition import AuditedManifest, ManifestAudit, NamedSpeakers
from audio_ssl.artifacts.records import from_json, to_json
from audio_ssl.base.errors import UserError
from audio_ssl.data.audit import (
    MOST_VALUES,
    check_columns,
    columns_needed,
    describe_manifest,
    effective_number,
    entropy_number,
    gini,
    shared_speakers,
)
from audio_ssl.data.audit_columns import AuditColumns, columns_of
from audio_ssl.data.clip_table import table_of
from audio_ssl.data.columns import LEVEL_COLUMN
from audio_ssl.data.levels import Level
from audio_ssl.data.manifest import Clip
from audio_ssl.fairness.tables.scalars import Spellings
from audio_ssl.report.language.composition import manifest_lines


def clip(name: str, seconds: float, speaker: str | None, gender: str | None = None, **more: Any) -> Clip:
    split = more.pop("split", None)
    language = more.pop("language", None)
    return Clip(
        name, f"{name}.wav", 0.0, seconds, 16000, speaker=speaker, gender=gender, split=split, language=language,
        extra=more,
    )  # fmt: skip


def columns_in(clips: Iterable[Clip], by: Sequence[str], levels: Sequence[Level | None] | None = None) -> AuditColumns:
    return columns_of(table_of(list(clips), ["speaker", *by], [LEVEL_COLUMN]), by, levels)


def audit(
    clips: Iterable[Clip], by: Sequence[str] = ("gender",), levels: Sequence[Level | None] | None = None
) -> ManifestAudit:
    columns = columns_in(clips, columns_needed(by), levels)
    check_columns([columns], by)
    return describe_manifest(columns, by, AuditedManifest("m.jsonl"))


def composition(*args: Any, **more: Any) -> dict[str, Any]:
    """Return an audit as its JSON has it."""
    return to_json(audit(*args, **more))


SMALL = [
    clip("a1", 3600.0, "ann", "F", split="train", language="fr"),
    clip("a2", 1800.0, "ann", "F", split="train", language="fr"),
    clip("b1", 1800.0, "bea", "F", split="test", language="fr"),
    clip("c1", 3600.0, "carl", "M", split="train", language="en"),
    clip("c2", 1800.0, "carl", "F", split="test", language="en"),
    clip("x1", 1800.0, None, None, split="train"),
    clip("x2", 3600.0, "xi", "unknown", split="train"),
]


def rows_of(described: dict[str, Any], place: int = 0) -> dict[str, dict[str, Any]]:
    return {row["value"]: row for row in described["by"][place]["rows"]}


def test_the_numbers_of_a_small_manifest() -> None:
    described = composition(SMALL)
    rows = rows_of(described)
    assert list(rows) == ["F", "M", "unknown"]
    women = rows["F"]
    assert (women["hours"], women["clips"], women["speakers"]) == (2.5, 4, 3)
    assert women["share_of_hours"] == 0.5
    # Ann 1.5 h, Bea 0.5 h, Carl 0.5 h.
    assert women["effective_speakers"] == pytest.approx(2.5**2 / (1.5**2 + 2 * 0.5**2), rel=1e-5)
    assert women["hours_per_speaker"] == {"mean": 0.833333, "median": 0.5, "max": 1.5}
    assert women["gini"] == pytest.approx(4 / 15, abs=1e-5)
    assert women["clip_seconds"] == {"p5": 1800, "p25": 1800, "p50": 1800, "p75": 2250, "p95": 3330}
    unknown = rows["unknown"]
    assert (unknown["known"], unknown["clips"], unknown["speakers"], unknown["clips_without_speaker"]) == (
        False, 2, 1, 1,
    )  # fmt: skip
    total = described["total"]
    assert (total["value"], total["total"], total["hours"], total["speakers"]) == ("all", True, 5.0, 4)
    assert described["by"][0]["speakers_of_several"] == {"count": 1, "names": ["carl"]}
    assert [(row["value"], row["clips"]) for row in described["languages"]] == [("en", 2), ("fr", 3), ("unknown", 2)]


def test_splits_have_their_own_rows_and_shared_speakers_are_named() -> None:
    described = composition(SMALL)
    assert [one["split"] for one in described["splits"]] == ["test", "train"]
    test = described["splits"][0]
    assert test["total"]["hours"] == 1.0
    assert rows_of(test)["F"]["share_of_hours"] == 1.0
    assert described["shared_speakers"] == [{"a": "test", "b": "train", "count": 1, "names": ["carl"]}]
    assert composition([clip("a", 1.0, "s", "F", split="train")])["splits"] == []


def test_speakers_of_two_manifests() -> None:
    first, second = (columns_in(clips, ["gender"]) for clips in (SMALL, [SMALL[3], clip("n", 1.0, "new", "F")]))
    assert shared_speakers(first, second) == NamedSpeakers(1, ("carl",))


CLIPS = st.lists(
    st.tuples(st.floats(0.1, 500.0), st.sampled_from("abcde"), st.sampled_from(["F", "M", None])),
    min_size=1,
    max_size=50,
).map(lambda rows: [clip(str(i), seconds, who, sex) for i, (seconds, who, sex) in enumerate(rows)])


@settings(max_examples=60, deadline=None)
@given(clips=CLIPS, rng=st.randoms())
def test_parts_sum_to_the_whole_whatever_the_order(clips: list[Clip], rng: random.Random) -> None:
    described = composition(clips)
    rows = described["by"][0]["rows"]
    assert sum(row["clips"] for row in rows) == described["total"]["clips"] == len(clips)
    assert sum(row["hours"] for row in rows) == pytest.approx(sum(one.seconds for one in clips) / 3600, abs=1e-5)
    assert sum(row["share_of_hours"] for row in rows) == pytest.approx(1.0, abs=1e-5)
    for row in (*rows, described["total"]):
        assert 1 - 1e-5 <= row["effective_speakers"] <= row["effective_speakers_entropy"] * (1 + 1e-5)
        assert row["effective_speakers_entropy"] <= row["speakers"] * (1 + 1e-5)
        assert row["lorenz"][0] == [0, 0]
        assert row["lorenz"][-1] == [1, 1]
        assert all(y <= x + 1e-4 for x, y in row["lorenz"])
    shuffled = list(clips)
    rng.shuffle(shuffled)
    again = composition(shuffled)
    assert [row["clips"] for row in again["by"][0]["rows"]] == [row["clips"] for row in rows]
    assert again["total"]["effective_speakers"] == pytest.approx(described["total"]["effective_speakers"], rel=1e-5)
    assert to_json(from_json(ManifestAudit, described, "m.json")) == described
    json.dumps(described, allow_nan=False)


def test_evenness_by_hand() -> None:
    held = [1.0, 2.0, 3.0, 10.0]
    pairs = sum(abs(a - b) for a in held for b in held) / (2 * len(held) ** 2 * np.mean(held))
    assert gini(held) == pytest.approx(pairs)
    assert effective_number(held) == pytest.approx(16**2 / 114)
    shares = np.array(held) / 16
    assert entropy_number(held) == pytest.approx(math.exp(-sum(shares * np.log(shares))))


def test_levels_are_counted_where_silent_and_where_not_measured() -> None:
    clips = [clip(str(i), 1.0, "s", "F") for i in range(5)]
    levels = [Level(-20.0, 0.0), Level(-30.0, 0.01), Level(-math.inf, 0.0), None, None]
    level = composition(clips, levels=levels)["total"]["level_dbfs"]
    assert level == {
        "measured": 3, "silent": 1, "clipped": 1, "p5": -29.5, "p25": -27.5, "p50": -25.0, "p75": -22.5, "p95": -20.5,
    }  # fmt: skip
    assert composition(clips, levels=[*levels[2:], None, None])["total"]["level_dbfs"]["p50"] is None
    assert composition(clips)["total"]["level_dbfs"] is None
    with pytest.raises(UserError, match="`levels` must have one entry per clip, 5, but has 2"):
        composition(clips, levels=[None, None])


def test_a_level_column_counts_where_nothing_is_measured() -> None:
    clips = [clip("a", 1.0, "s", "F", level_dbfs=-20.0), clip("b", 1.0, "s", "F", level_dbfs="loud")]
    level = composition(clips)["total"]["level_dbfs"]
    assert (level["measured"], level["p50"], level["clipped"]) == (1, -20.0, None)


def test_many_values_keep_the_largest_and_say_how_many_are_together() -> None:
    clips = [clip(str(i), 1.0 + i, f"s{i}", accent=f"{i:03d}") for i in range(100)]
    rows = composition(clips, by=["accent"])["by"][0]["rows"]
    assert len(rows) == MOST_VALUES
    assert rows[0]["value"] == f"{100 - MOST_VALUES + 1:03d}"
    assert rows[-1]["value"] == f"{100 - MOST_VALUES + 1} other values"
    assert sum(row["clips"] for row in rows) == 100


def test_ages_are_decades_in_the_order_of_numbers() -> None:
    ages = (100, 20, "young", 9.0, None, "twenties", "29")
    described = composition([clip(str(i), 1.0, "s", age=age) for i, age in enumerate(ages)], by=["age"])
    counts = {value: row["clips"] for value, row in rows_of(described).items()}
    assert list(counts.items()) == [("0–9", 1), ("20–29", 3), ("100–109", 1), ("young", 1), ("unknown", 1)]
    years = [clip(str(i), 1.0, "s", year=year) for i, year in enumerate(("1999", "200", "old"))]
    assert list(rows_of(composition(years, by=["year"]))) == ["200", "1999", "old"]


def test_bad_input() -> None:
    with pytest.raises(UserError, match=r"--by: unknown column `acent`; known: accent, speaker \(did you mean"):
        composition([clip("a", 1.0, "s", accent="north")], by=["acent"])


def test_without_genders_and_speakers_everything_is_unknown() -> None:
    described = composition([clip("a", 1.0, None), clip("b", 2.0, None)])
    row = rows_of(described)["unknown"]
    assert (row["share_of_hours"], row["speakers"], row["effective_speakers"], row["gini"]) == (1.0, 0, 0.0, None)
    assert (row["hours_per_speaker"], row["lorenz"], row["clips_without_speaker"]) == (None, [], 2)


def test_lines_for_a_terminal() -> None:
    lines = manifest_lines(audit(SMALL))
    assert lines[0].startswith("m.jsonl: 5.00 h, 7 clips of 1800.0 to 3600.0 s, 4 speakers (effective number 3.5)")
    assert lines[1].startswith("  gender F: 50.0 % of the hours, 2.50 h")
    assert "1 clips without a speaker" not in "\n".join(lines)
    assert lines[-2:] == [
        "  speakers with more than one value of gender: 1 (carl)",
        "  speakers in both test and train: 1 (carl)",
    ]


@pytest.mark.parametrize(
    "written", ["do_not_wish_to_say", "Prefer not to say", "not specified", "?", "undefined", "N/A"]
)
def test_who_did_not_say_is_unknown_as_in_the_fairness_report(written: str) -> None:
    rows = composition([clip("a", 1.0, "s", "F"), clip("b", 1.0, "t", written)])["by"][0]["rows"]
    assert [(row["value"], row["known"]) for row in rows] == [("F", True), ("unknown", False)]
    assert Spellings("gender").read(written) is None
