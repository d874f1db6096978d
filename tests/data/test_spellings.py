"""One manifest has the same groups wherever groups are made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audio_ssl.artifacts.composition import AuditedManifest
from audio_ssl.data.audit import columns_needed, describe_manifest
from audio_ssl.data.audit_columns import AuditColumns, columns_of
from audio_ssl.data.balance import balance, parse_balance
from audio_ssl.data.build import make_manifest
from audio_ssl.data.clip_table import read_table, table_of
from audio_ssl.data.columns import LEVEL_COLUMN, attribute, read_value
from audio_ssl.data.manifest import Clip, read_manifest, write_manifest
from audio_ssl.fairness.predictions import read_predictions
from audio_ssl.probing.tasks.attribute import Attribute, Config
from audio_ssl.report.language.composition import manifest_lines

SOURCE = AuditedManifest("old.jsonl")
WOMEN = ("female_feminine", "Female", "f", "woman", "Frau", "féminin", "mujer")
MEN = ("male_masculine", "MALE", "m", "man", "männlich", "homme", "hombre")
OTHERS = ("non-binary", "prefer not to say")


def columns_in(path: Path, by: list[str]) -> AuditColumns:
    return columns_of(read_table(path, [*by, "speaker"], [LEVEL_COLUMN]), by)


def clips() -> list[Clip]:
    return [
        Clip(str(number), f"{number}.wav", 0.0, 36.0, 16000, speaker=f"s{number}", gender=said, text="a b")
        for number, said in enumerate((*WOMEN, *MEN, *OTHERS))
    ]


def test_the_same_groups_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    write_manifest(path, clips())
    wanted = {"F": len(WOMEN), "M": len(MEN), "non-binary": 1, "unknown": 1}

    audited = describe_manifest(columns_in(path, columns_needed(["gender"])), ["gender"], SOURCE)
    assert {row.value: row.clips for row in audited.by[0].rows} == wanted
    assert any("female_feminine → F" in line for line in manifest_lines(audited))

    drawn = balance(read_manifest(path), parse_balance("gender=female:0.5,Mann:0.5"), 0.1).record
    assert {name: group.pool.clips for name, group in drawn.groups.items()} == {"F": 7, "M": 7}
    assert any("male_masculine → M" in note for note in drawn.notes)

    table = tmp_path / "predictions.jsonl"
    rows = [
        {"id": c.id, "reference": "a b", "hypothesis": "a", "speaker": c.speaker, "gender": c.gender} for c in clips()
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = read_predictions(table)
    codes = read.attributes["gender"]
    found = {name: int((codes.index == place).sum()) for place, name in enumerate(codes.names)}
    assert found == {name: number for name, number in wanted.items() if name != "unknown"}
    assert "female_feminine → F" in read.signature

    task = Attribute(Config())
    assert [task.reference(c) for c in clips() if task.why_not(c) is None].count("F") == len(WOMEN)


def test_a_table_is_read_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    (tmp_path / "t.csv").write_text("id,file,gender\n1,a.wav,Frau\n2,a.wav,divers\n3,a.wav,male\n4,a.wav,n/a\n")
    caplog.set_level("INFO")
    make_manifest("table", tmp_path / "m.jsonl", root=tmp_path / "t.csv")
    assert [clip.gender for clip in read_manifest(tmp_path / "m.jsonl")] == ["F", "divers", "M", None]
    assert "gender: Frau → F, male → M, n/a → unknown" in caplog.text


def test_ages_fall_into_the_same_decades() -> None:
    clip = Clip("a", "a.wav", 0.0, 1.0, 16000, extra={"age": 29.0})
    assert attribute(clip, "age") == read_value("age", "twenties") == read_value("age", "20-29") == "20–29"
    assert parse_balance("age=20-29:1").shares == {"20-29": 1.0}


def test_languages_are_codes_and_truth_is_one_word_everywhere(tmp_path: Path) -> None:
    spoken = ("English", "EN", "en", "eng", "fr_fr", "FR-fr", "Klingon", "unknown")
    path, table = tmp_path / "m.jsonl", tmp_path / "predictions.jsonl"
    rows = [
        Clip(
            str(number), f"{number}.wav", 0.0, 36.0, 16000, speaker=f"s{number}", language=said, extra={"native": True}
        )
        for number, said in enumerate(spoken)
    ]
    write_manifest(path, rows)
    by = ["language", "native"]
    needed = columns_needed(by)
    table_read = read_table(path, columns=[*needed, "speaker"], numbers=[LEVEL_COLUMN])
    in_memory = table_of(read_manifest(path), [*needed, "speaker"], [LEVEL_COLUMN])
    for columns in (columns_of(in_memory, needed), columns_of(table_read, needed)):
        described = describe_manifest(columns, by, SOURCE)
        found = [{row.value: row.clips for row in one.rows} for one in described.by]
        assert found == [{"Klingon": 1, "en": 4, "fr-FR": 2, "unknown": 1}, {"true": 8}]
    table.write_text(
        "".join(
            json.dumps({"id": c.id, "reference": "a", "hypothesis": "b", "speaker": c.speaker, "language": c.language})
            + "\n"
            for c in rows
        )
    )
    assert sorted(read_predictions(table, ["language"]).attributes["language"].names) == ["Klingon", "en", "fr-FR"]
    assert balance(read_manifest(path), parse_balance("language=EN:0.5,fr-fr:0.5"), 0.02).record.groups.keys() == {
        "en",
        "fr-FR",
    }
    assert attribute(rows[0], "native") == "true"


def test_groups_come_in_one_order_everywhere(tmp_path: Path) -> None:
    ages = ("101", "25", "adult", "9")
    path, table = tmp_path / "m.jsonl", tmp_path / "predictions.jsonl"
    write_manifest(
        path, [Clip(said, f"{said}.wav", 0.0, 36.0, 16000, speaker=said, extra={"age": said}) for said in ages]
    )
    rows = [{"id": said, "reference": "a", "hypothesis": "b", "speaker": said, "age": said} for said in ages]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted = ["0–9", "20–29", "100–109", "adult"]
    assert columns_in(path, ["age"]).values["age"].names == wanted
    assert list(read_predictions(table, ["age"]).attributes["age"].names) == wanted


def test_other_columns_stay_as_written() -> None:
    assert [read_value("accent", said) for said in ("male", " Female ", "NA")] == ["male", "Female", "NA"]
