"""Records: what is read, what is written back, and what an error says."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest

from audio_ssl.artifacts.records import absent, from_json, read_record, to_json, write_record
from audio_ssl.base.errors import UserError


class Side(StrEnum):
    """A choice."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True)
class Layer:
    """A row."""

    layer: int | None
    valid: float
    low: float | None = None
    fold: int | None = absent(None)


@dataclass(frozen=True)
class Scores:
    """A record with everything that records have."""

    name: str
    layers: tuple[Layer, ...] = ()
    by_metric: dict[str, Layer] = field(default_factory=dict)
    side: Side = Side.LEFT
    unit: Literal["%", "points"] = "%"
    pair: tuple[str, float] | None = None
    lr: float | str | None = None
    more: dict[str, object] = field(default_factory=dict)


PLAIN = {
    "name": "asr",
    "layers": [{"layer": 3, "valid": 0.5, "low": None}, {"layer": None, "valid": None, "low": 0.1, "fold": 2}],
    "by_metric": {"wer": {"layer": 1, "valid": 2.0, "low": None}},
    "side": "right",
    "unit": "points",
    "pair": ["a", 1.0],
    "lr": "auto",
    "of_a_later_version": {"deep": [1, None]},
}


def test_what_is_read_is_written_back() -> None:
    scores = from_json(Scores, PLAIN, "scores.json")
    assert scores.layers[0] == Layer(3, 0.5)
    assert math.isnan(scores.layers[1].valid)
    assert scores.layers[1].fold == 2
    assert scores.side is Side.RIGHT
    assert scores.pair == ("a", 1.0)
    assert scores.more == {"of_a_later_version": {"deep": [1, None]}}
    assert json.dumps(to_json(scores)) == json.dumps(PLAIN)


def test_a_missing_key_takes_its_default() -> None:
    assert from_json(Scores, {"name": "asr"}, "scores.json") == Scores("asr")


def test_a_file(tmp_path: Path) -> None:
    write_record(tmp_path / "scores.json", Scores("asr", (Layer(1, math.inf),)))
    assert json.loads((tmp_path / "scores.json").read_text())["layers"] == [{"layer": 1, "valid": None, "low": None}]
    assert math.isnan(read_record(Scores, tmp_path / "scores.json").layers[0].valid)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"layers": [{"layer": 1, "valid": "x"}]},
            r"^scores.json: `layers\[0\].valid` must be a number, but is 'x' \(mend",
        ),
        ({"layers": [{"layer": 1}]}, r"the key `valid` is missing in `layers\[0\].valid`"),
        ({"layers": "abc"}, "`layers` must be a list"),
        ({"layers": [3]}, r"`layers\[0\]` must be a mapping"),
        ({"by_metric": {"wer": {"layer": True, "valid": 1}}}, "by_metric.*layer` must be an integer, but is True"),
        ({"unit": "kg"}, "`unit` must be "),
        ({"side": "up"}, "`side` must be left or right, but is 'up'"),
        ({"name": 3}, "`name` must be text, but is 3"),
        ({"lr": True}, "`lr` must be a number, but is True"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        from_json(Scores, {**PLAIN, **change}, "scores.json", "mend it")


def test_texts_are_made_fit_to_print() -> None:
    assert to_json(Scores("a"), str.upper)["name"] == "A"
