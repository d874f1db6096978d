from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
import yaml

from audio_ssl.base import config
from audio_ssl.base.config import (
    PartOf,
    apply_overrides,
    build,
    dump_yaml,
    kind_of,
    load,
    read_yaml,
    structure,
    unstructure,
)
from audio_ssl.base.errors import UserError


@dataclass(frozen=True)
class Inner:
    count: int = 1
    rate: float = 1e-3
    names: tuple[str, ...] | None = None
    pair: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Outer:
    steps: int
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = ()
    layers: int | tuple[int, ...] | str = "all"
    shape: Literal["linear", "cosine", "noam"] = "linear"
    part: Annotated[object, PartOf("objectives")] | None = None
    parts: tuple[Annotated[object, PartOf("objectives")], ...] = ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"steps": 1, "stepz": 2}, r"\$: unknown key `stepz`; known: inner, .*steps \(did you mean `steps`\?\)"),
        ({"steps": "many"}, r"\$\.steps: must be an integer, but is 'many'"),
        ({"steps": True}, r"\$\.steps: must be an integer, but is True"),
        ({"steps": 1.5}, r"\$\.steps: must be an integer"),
        ({"steps": 2**63}, r"\$\.steps: must be finite and fit into 64 bits"),
        ({"steps": 1, "inner": {"rate": "1e999"}}, r"\$\.inner\.rate: must be finite and fit into 64 bits, but is inf"),
        ({}, r"\$\.steps: the key `steps` is missing"),
        ({"steps": 1, "inner": {"rat": 1}}, r"\$\.inner: unknown key `rat`"),
        ({"steps": 1, "inner": 3}, r"\$\.inner: must be a mapping"),
        ({"steps": 1, "many": [{}, {"count": "x"}]}, r"\$\.many\[1\]\.count: must be an integer"),
        ({"steps": 1, "many": {}}, r"\$\.many: must be a list"),
        ({"steps": 1, "inner": {"pair": [1]}}, r"\$\.inner\.pair: must be a list of 2 values, but has 1"),
        ({"steps": 1, "layers": 1.5}, r"\$\.layers: must be an integer.* or must be a list"),
        ({"steps": 1, "shape": "stairs"}, r"\$\.shape: must be linear, cosine or noam, but is 'stairs'"),
        ({"steps": 1, "shape": True}, r"\$\.shape: must be linear, cosine or noam, but is True"),
        ({"steps": 1, "part": {"kind": "nothing"}}, r"\$\.part: unknown objective `nothing`; known: .*masked_codes"),
        ({"steps": 1, "part": {}}, r"\$\.part: must be a mapping with a `kind`, one of: .*masked_codes"),
        ({"steps": 1, "parts": [{"kind": "reconstruction", "nope": 1}]}, r"\$\.parts\[0\]: unknown key `nope`"),
    ],
)
def test_wrong_data_is_refused_with_its_path(data, message):
    with pytest.raises(UserError, match=message):
        structure(Outer, data)


def test_round_trip_keeps_parts_and_kinds():
    data = {"steps": 3, "layers": [1, 2], "part": {"kind": "reconstruction"}, "parts": [{"kind": "masked_codes"}]}
    outer = structure(Outer, data)
    assert kind_of(outer.part) == "reconstruction"
    assert unstructure(outer)["parts"][0]["kind"] == "masked_codes"
    assert structure(Outer, yaml.safe_load(dump_yaml(outer))) == outer


def test_numbers_written_with_an_exponent_are_numbers(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("steps: 2\ninner: {rate: 5e-4}\n")
    assert load(Outer, path).inner.rate == 5e-4
    assert load(Outer, path, ["inner.rate=1e-2"]).inner.rate == 1e-2


def test_overrides_reach_lists_and_make_missing_mappings():
    data = apply_overrides({"many": [{"count": 1}]}, ["many.0.count=4", "inner.count=2", "inner.names=[a, b]"])
    assert data == {"many": [{"count": 4}], "inner": {"count": 2, "names": ["a", "b"]}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps", "not of the form key=value"),
        ("many.3.count=1", r"\$\.many\.3\.count: `3` must be an index below 1"),
        ("steps.x=1", "is a plain value"),
        ("steps=[1", r"\$\.steps: the value '\[1' cannot be read: not YAML"),
        ("steps=.inf", r"\$\.steps: .*not finite"),
        ("steps=" + "9" * 400, r"\$\.steps: .*a number of some 400 digits"),
        ("a." * 100 + "b=1", "has 101 parts; a key has at most 64"),
        ("x" * 100_000, "not of the form key=value"),
    ],
)
def test_wrong_overrides_are_refused(override, message):
    with pytest.raises(UserError, match=message):
        apply_overrides({"steps": 1, "many": [{}]}, [override])


def test_yaml_tags_build_no_objects(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("steps: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserError, match=r"has the tag .*python/object"):
        read_yaml(path)


def test_a_yaml_list_is_no_config(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    with pytest.raises(UserError, match=r"must be an object of keys and values, but is \[1\]"):
        read_yaml(path)


def test_build_calls_the_module_of_the_config(monkeypatch):
    monkeypatch.setattr(config, "import_module", lambda name: type("M", (), {"build": staticmethod(lambda c, x: x)}))
    assert build(Inner(), 7) == 7
