"""What keys meant before they existed: what an old recipe leaves out, and hashes that stay what they were."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest

from audio_ssl.base import versions
from audio_ssl.base.config import PartOf, structure, unstructure
from audio_ssl.base.errors import UserError
from audio_ssl.base.versions import VERSION, added, dated, fill_in, hashed
from audio_ssl.pretrain.recipe import load_recipe, plain
from audio_ssl.targets.teachers import mel


@dataclass(frozen=True)
class Inner:
    size: int = 1
    shape: tuple[int, int] = added((1, 1), earlier=(2, 2))


@dataclass(frozen=True)
class Round:
    teachers: tuple[Annotated[object, PartOf("teachers")], ...] = ()
    extra: Inner | None = None


@dataclass(frozen=True)
class Outer:
    rounds: tuple[Round, ...] = ()
    section: Inner = field(default_factory=Inner)
    whole: Inner | None = added(None, earlier=Inner(3, (4, 4)))
    newest: str = added("today", since=3)


@pytest.fixture
def grown_teacher(monkeypatch: pytest.MonkeyPatch) -> type:
    """The mel teacher as a later release has it: with a key of which it was False."""

    @dataclass(frozen=True)
    class Config(mel.Config):
        loud: bool = added(True, earlier=False)

    Config.__module__ = mel.Config.__module__
    monkeypatch.setattr(mel, "Config", Config)
    return Config


def test_keys_that_name_no_version_keep_theirs_when_there_is_a_new_one() -> None:
    (whole,) = [one for one in dataclasses.fields(Outer) if one.name == "whole"]
    assert whole.metadata["since"] == 2


def test_what_an_old_recipe_lacks_means_what_it_did_at_every_depth(grown_teacher: type) -> None:
    old = {
        "rounds": [{"teachers": [{"kind": "mel"}, {"kind": "mel", "loud": True}], "extra": {"size": 5}}],
        "section": {},
    }
    filled = fill_in(Outer, old, 1)
    # The teacher's own key of that kind.
    old_mel = {"kind": "mel", "fft_samples": None}
    assert filled == {
        "rounds": [
            {
                "teachers": [{**old_mel, "loud": False}, {**old_mel, "loud": True}],
                "extra": {"size": 5, "shape": [2, 2]},
            }
        ],
        "section": {"shape": [2, 2]},
        "whole": {"size": 3, "shape": [4, 4]},
        "newest": "today",
    }
    assert structure(Outer, filled).whole == Inner(3, (4, 4))
    # A recipe of version 2 knew those keys and means today's values.
    assert fill_in(Outer, old, 2) == {**old, "newest": "today"}
    assert fill_in(Outer, old, 3) == old


def test_wrong_values_are_left_to_the_reader() -> None:
    wrong: dict[str, Any] = {"rounds": "two", "section": [1], "typo": 3}
    assert fill_in(Outer, wrong, 3) == wrong
    broken = {"rounds": [{"teachers": [{"kind": "meel"}, {"type": "mel"}, 4]}]}
    assert fill_in(Outer, broken, 3) == broken


def test_a_hash_leaves_out_added_keys_at_their_earlier_value(grown_teacher: type) -> None:
    one = Outer((Round((grown_teacher(loud=False), grown_teacher(loud=True)), Inner(5, (2, 2))),), Inner(1, (7, 7)))
    known = unstructure(mel.Config.__mro__[1]())
    del known["fft_samples"]
    assert hashed(one) == {
        "rounds": [
            {"teachers": [{"kind": "mel", **known}, {"kind": "mel", **known, "loud": True}], "extra": {"size": 5}},
        ],
        "section": {"size": 1, "shape": [7, 7]},
        "whole": None,
    }
    assert "whole" not in hashed(dataclasses.replace(one, whole=Inner(3, (4, 4))))


def test_the_version_of_a_recipe() -> None:
    written = plain(load_recipe("hubert_tiny"))
    assert written["version"] == VERSION
    assert dated(written) == written
    old = {key: value for key, value in written.items() if key != "version"}
    assert dated(old)["version"] == 1
    # One written by hand lacks some of the keys that a run writes, and is of today.
    for key in ("wandb", "guards", "profile"):
        assert dated({k: v for k, v in old.items() if k != key})["version"] == VERSION
    assert dated({"kind": "codec", "version": 1})["version"] == 1


@pytest.mark.parametrize("value", [0, "2", 2.0, True, None])
def test_a_version_is_a_whole_number(value: object) -> None:
    with pytest.raises(UserError, match=r"\$\.version: `version` must be a whole number above 0, but is"):
        dated({"version": value})


def test_a_recipe_of_a_later_release_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "later.yaml"
    path.write_text(f"kind: codec\nversion: {VERSION + 1}\nnew_key: 3\n")
    with pytest.raises(UserError, match=rf"later.yaml: \$\.version: .* at most {VERSION}, .* but is {VERSION + 1}"):
        load_recipe(str(path))


def test_settings_on_the_command_line_do_not_make_a_recipe_old(monkeypatch: pytest.MonkeyPatch) -> None:
    given = "seed=1 precision=float32 device=cpu parallel=auto weights_ema=null compile=false profile=null wandb=false"
    every = [*given.split(), "guards={}"]
    seen: list[int] = []
    real = versions.fill_in

    def spy(cls: type, data: Any, version: int) -> dict[str, Any]:
        seen.append(version)
        return real(cls, data, version)

    monkeypatch.setattr("audio_ssl.pretrain.recipe.fill_in", spy)
    load_recipe("hubert_tiny", every)
    assert seen == [VERSION]
