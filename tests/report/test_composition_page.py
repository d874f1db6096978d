from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audio_ssl.base.errors import UserError
from audio_ssl.data.build import make_manifest
from audio_ssl.data.manifest import Clip, read_manifest, write_manifest
from audio_ssl.report.composition import build_composition_report, composition_report_lines
from tests.report.test_build import read, text_of


def manifest(path: Path, clips: int = 40, audio: Path | None = None, first: int = 0, **more: Any) -> Path:
    """Clips of a hundredth of an hour by ten speakers; every fifth without a gender."""
    rows = [
        Clip(
            f"c{i}", str(audio or f"c{i}.wav"), 0.0, 0.5 if audio else 36.0, 16000, speaker=f"s{first + i % 10}",
            gender=None if i % 5 == 4 else "FM"[i % 2], split="train" if i % 10 < 5 else "test", language="fr",
            extra={"age": 20 + 10 * (i % 10), **more},
        )
        for i in range(clips)
    ]  # fmt: skip
    write_manifest(path, rows)
    return path


def test_the_page_is_well_formed_and_says_what_the_json_says(tmp_path: Path) -> None:
    out = build_composition_report([manifest(tmp_path / "m.jsonl")], ("gender", "age"), tmp_path / "m.html")
    page = read(out)
    assert len(page.ids) == len(set(page.ids))
    assert set(page.labelled) <= set(page.ids)
    assert {target[1:] for target in page.targets if target.startswith("#")} <= set(page.ids)
    assert len(set(page.headings)) == 3
    text = text_of(page)
    assert "m.jsonl: 0.40 h in 40 clips; by gender: 40.0 % F, 40.0 % M, 20.0 % unknown" in text
    assert "10 speakers (effective number 10.0), median 2.4 min per speaker, maximum 2.4 min." in text
    assert "The hollow bar is the unknown part." in text
    assert "No two splits share a speaker." in text
    assert "few speakers by gender (effective number below 20): F (4.0), M (4.0)." in text
    assert "by age: 10.0 % 20–29, 10.0 % 30–39," in text
    assert "Levels by" not in text
    data = json.loads((tmp_path / "m.json").read_text())
    assert (data["kind"], data["schema_version"]) == ("composition", 1)
    assert [part["attribute"] for part in data["manifests"][0]["by"]] == ["gender", "age"]
    assert data["manifests"][0]["path"] == "m.jsonl"
    assert not (tmp_path / "m.levels.errors.jsonl").exists()


def test_the_same_manifest_gives_the_same_bytes(tmp_path: Path) -> None:
    source = manifest(tmp_path / "m.jsonl")
    first = build_composition_report([source], ("gender",), tmp_path / "m.html").read_bytes()
    assert build_composition_report([source], ("gender",), tmp_path / "m.html").read_bytes() == first


def test_levels_are_measured_and_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    soundfile.write(tmp_path / "a.wav", tone, 16000)
    source = manifest(tmp_path / "m.jsonl", audio=tmp_path / "a.wav")
    lines = source.read_text().splitlines()
    row = json.loads(lines[0])
    lines[0] = json.dumps({**row, "path": "gone.wav"})
    source.write_text("\n".join(lines) + "\n")
    out = build_composition_report([source], ("gender",), tmp_path / "m.html", levels=True)
    level = json.loads((tmp_path / "m.json").read_text())["manifests"][0]["total"]["level_dbfs"]
    assert (level["measured"], level["silent"], level["clipped"]) == (39, 0, 0)
    assert level["p50"] == pytest.approx(-23.01, abs=0.05)
    text = text_of(read(out))
    assert "Levels by gender, dBFS" in text
    assert "1 clip could not be read." in text
    assert "gone.wav" in (tmp_path / "m.levels.errors.jsonl").read_text()
    written = read_manifest(tmp_path / "m.levels.jsonl")
    assert [clip.id for clip in written] == [clip.id for clip in read_manifest(source)]
    assert [clip.extra.get("level_dbfs") for clip in written[:2]] == [None, pytest.approx(-23.01, abs=0.02)]
    assert composition_report_lines(out)[-1].startswith("1 clip could not be read, see ")


def test_manifests_of_one_name_each_get_their_levels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(8000, 0.1), 16000)
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    sources = [
        manifest(tmp_path / "x" / "m.jsonl", clips=3, audio=tmp_path / "a.wav"),
        manifest(tmp_path / "y" / "m.jsonl", clips=5, audio=tmp_path / "a.wav"),
    ]
    out = build_composition_report(sources, ("gender",), tmp_path / "page.html", levels=True)
    assert len(read_manifest(tmp_path / "page.m.levels.jsonl")) == 3
    assert len(read_manifest(tmp_path / "page.m-2.levels.jsonl")) == 5
    said = "\n".join(composition_report_lines(out))
    assert f"x/m.jsonl with levels: {tmp_path}/page.m.levels.jsonl" in said
    assert f"y/m.jsonl with levels: {tmp_path}/page.m-2.levels.jsonl" in said


def test_a_manifest_with_levels_does_not_replace_what_is_audited(tmp_path: Path) -> None:
    sources = [manifest(tmp_path / "m.jsonl", clips=3), manifest(tmp_path / "page.m.levels.jsonl", clips=3)]
    before = sources[1].read_bytes()
    with pytest.raises(UserError, match="would replace"):
        build_composition_report(sources, ("gender",), tmp_path / "page.html", levels=True)
    assert sources[1].read_bytes() == before


def test_a_column_of_levels_is_shown_without_measuring(tmp_path: Path) -> None:
    source = manifest(tmp_path / "m.jsonl", level_dbfs=-27.5)
    text = text_of(read(build_composition_report([source], ("gender",), tmp_path / "m.html")))
    assert "−27.5" in text
    assert "Clipped" not in text


def test_two_manifests_and_the_speakers_they_share(tmp_path: Path) -> None:
    sources = [manifest(tmp_path / "a.jsonl"), manifest(tmp_path / "b.jsonl", clips=9, first=8)]
    out = build_composition_report(sources, ("gender",), tmp_path / "m.html")
    text = text_of(read(out))
    assert "a.jsonl and b.jsonl share 2 speakers." in text
    assert "a.jsonl b.jsonl 2 s8, s9" in text
    lines = composition_report_lines(out)
    assert lines[0].startswith("a.jsonl: 0.40 h, 40 clips")
    assert lines[-1] == "a.jsonl and b.jsonl share 2 speakers: s8, s9"


def test_a_drawn_manifest_says_how_it_was_drawn(tmp_path: Path) -> None:
    source, drawn = manifest(tmp_path / "pool.jsonl"), tmp_path / "drawn.jsonl"
    make_manifest(str(source), drawn, balance="gender=F:0.25,M:0.75", hours=0.12, seed=5, speaker_hours=0.04)
    out = build_composition_report([drawn], ("gender",), tmp_path / "m.html")
    text = text_of(read(out))
    assert (
        "Drawn from a larger pool: 0.12 h with gender=F:0.25,M:0.75, seed 5, at most 0.04 h per speaker. "
        "Excluded from the draw: 8 clips (gender unknown)." in text
    )
    # A record of other bytes is not this manifest's.
    drawn.write_text("\n".join(drawn.read_text().splitlines()[:-1]) + "\n")
    assert "Drawn from" not in text_of(read(build_composition_report([drawn], ("gender",), tmp_path / "m.html")))
    for damaged in ("[]", "{", '{"manifest_hash": 1, "asked": []}'):
        (tmp_path / "drawn.balance.json").write_text(damaged)
        build_composition_report([drawn], ("gender",), tmp_path / "m.html")


def test_names_are_text_and_not_markup(tmp_path: Path) -> None:
    rows = [Clip(str(i), "a.wav", 0.0, 2.0, 16000, speaker=f"<i>{i % 3}", gender="<b>F") for i in range(6)]
    rows.append(Clip("m", "a.wav", 0.0, 2.0, 16000, speaker="<i>0", gender="M"))
    write_manifest(tmp_path / "m.jsonl", rows)
    out = build_composition_report([tmp_path / "m.jsonl"], ("gender",), tmp_path / "m.html")
    source = out.read_text(encoding="utf-8")
    assert "<b>" not in source
    assert "<i>" not in source
    assert "1 speaker with more than one value of gender (<i>0)." in text_of(read(out))


def test_many_values_and_long_names_keep_within_the_figures(tmp_path: Path) -> None:
    rows = [
        Clip(str(i), "a.wav", 0.0, 2.0, 16000, speaker=f"s{i}", extra={"accent": f"an accent of a very long name {i}"})
        for i in range(60)
    ]
    write_manifest(tmp_path / "m.jsonl", rows)
    out = build_composition_report([tmp_path / "m.jsonl"], ("accent",), tmp_path / "m.html")
    text = text_of(read(out))
    assert "Only the 12 groups with the most hours" in text
    assert "21 other values" in text


def test_bad_input(tmp_path: Path) -> None:
    source, out = manifest(tmp_path / "m.jsonl"), tmp_path / "m.html"
    with pytest.raises(UserError, match=r"must end in \.html"):
        build_composition_report([source], ("gender",), tmp_path / "m.jsonl")
    with pytest.raises(UserError, match="given twice"):
        build_composition_report([source, source], ("gender",), out)
    with pytest.raises(UserError, match="no manifest is given"):
        build_composition_report([], ("gender",), out)
    with pytest.raises(UserError, match="unknown column `acent`; known: age, gender, language, speaker, split"):
        build_composition_report([source], ("acent",), out)
    with pytest.raises(UserError, match="no such manifest"):
        build_composition_report([tmp_path / "none.jsonl"], ("gender",), out)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match=r"empty\.jsonl: the manifest has no clips"):
        build_composition_report([tmp_path / "empty.jsonl"], ("gender",), out)
    assert not out.exists()
