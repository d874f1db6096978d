import json

import numpy as np
import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.fairness.predictions import read_predictions


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def nemo(count=6):
    return [
        {"audio_filepath": f"wav/c{n}.wav", "duration": 2.0 + n, "text": "yes no", "pred_text": "yes"}
        for n in range(count)
    ]


def ours(count=6, **other):
    return [
        {"id": f"c{n}", "path": f"audio/c{n}.wav", "text": "ja", "speaker": f"s{n}", "gender": "FM"[n % 2]} | other
        for n in range(count)
    ]


def test_its_columns_are_taken_for_ours(tmp_path):
    rows = [{**row, "speaker": f"s{n}", "gender": "female"} for n, row in enumerate(nemo())]
    found = read_predictions(lines(tmp_path / "p.json", rows))
    assert found.statistics["wer"].tolist() == [[0, 1, 0, 2]] * 6
    assert found.seconds.tolist() == [2, 3, 4, 5, 6, 7]
    assert found.attributes["gender"].names == ["F"]
    assert "NeMo's columns" in found.signature
    assert found.examples[0].texts.id == "wav/c0.wav"


def test_ids_win_over_paths(tmp_path):
    rows = [{**row, "id": n, "speaker": "s", "gender": "F"} for n, row in enumerate(nemo())]
    assert {e.texts.id for e in read_predictions(lines(tmp_path / "p.jsonl", rows)).examples} <= set("012345")


@pytest.mark.parametrize(
    ("rename", "way"),
    [
        (lambda row: row, "stem of audio_filepath = id"),
        (lambda row: {**row, "id": f"x{row['id']}", "path": f"../wav/{row['id']}.wav"}, "audio_filepath = path"),
        (lambda row: {**row, "id": f"x{row['id']}"}, "stem of audio_filepath = stem of path"),
    ],
)
def test_who_speaks_is_joined_by_the_audio_file(tmp_path, rename, way):
    manifest = lines(tmp_path / "m" / "m.jsonl", [rename(row) for row in reversed(ours())])
    found = read_predictions(lines(tmp_path / "p.jsonl", nemo()), manifest=manifest)
    assert [found.speakers.names[i] for i in found.speakers.index] == [f"s{n}" for n in range(6)]
    assert f"columns of m.jsonl by {way}" in found.signature
    # The predictions' own reference stays.
    assert found.words.tolist() == [2] * 6


def test_a_manifest_of_nemo(tmp_path):
    rows = [{"audio_filepath": r["path"], "text": r["text"], "speaker": r["speaker"], "gender": "F"} for r in ours()]
    predictions = [{"audio_filepath": r["path"], "pred_text": "ja"} for r in ours()]
    found = read_predictions(lines(tmp_path / "p.jsonl", predictions), manifest=lines(tmp_path / "m.json", rows))
    assert found.statistics["wer"].sum(0).tolist() == [0, 0, 0, 6]


def test_a_join_by_id_names_what_has_no_partner(tmp_path):
    predictions = [{"id": f"c{n}", "hypothesis": "ja", "gender": None} for n in (0, 1, 2, 9)]
    manifest = lines(tmp_path / "m.jsonl", ours(level_dbfs=-20.5))
    found = read_predictions(lines(tmp_path / "p.jsonl", predictions), manifest=manifest)
    assert {e.reason: e.names for e in found.exclusions} == {
        "not in the manifest": ("c9",),
        "in the manifest, but no hypothesis": ("c3", "c4", "c5"),
    }
    assert found.attributes["gender"].names == ["F", "M"]
    assert found.level_dbfs.tolist() == [-20.5] * 3
    assert found.statistics["wer"].sum(0).tolist() == [0, 0, 0, 3]


def test_translation_is_the_reference_where_translation_is_scored(tmp_path):
    predictions = lines(tmp_path / "p.jsonl", [{"id": f"c{n}", "hypothesis": "yes"} for n in range(6)])
    manifest = lines(tmp_path / "m.jsonl", ours(translation="yes"))
    chrf = read_predictions(predictions, metrics=["chrf"], manifest=manifest).statistics["chrf"]
    assert chrf[0, :3].tolist() == [3, 3, 3]
    assert read_predictions(predictions, manifest=manifest).statistics["wer"].sum(0).tolist() == [6, 0, 0, 6]
    bare = lines(tmp_path / "bare.jsonl", ours())
    with pytest.raises(UserError, match="the columns reference are missing"):
        read_predictions(predictions, metrics=["bleu"], manifest=bare)


def test_wrong_manifests_are_explained(tmp_path):
    predictions = lines(tmp_path / "p.jsonl", nemo())
    with pytest.raises(UserError, match="no such manifest"):
        read_predictions(predictions, manifest=tmp_path / "x.jsonl")
    other = lines(tmp_path / "m.jsonl", [{"id": "x", "path": "y.wav"}])
    with pytest.raises(UserError, match="none of the first 6 predictions is in the manifest; tried: `id`, `stem of"):
        read_predictions(predictions, manifest=other)
    twice = lines(tmp_path / "t.jsonl", [{"id": "a"}, {"id": "a"}])
    with pytest.raises(UserError, match=r"t\.jsonl:2: `a` was given in line 1 already"):
        read_predictions(predictions, manifest=twice)
    with pytest.raises(UserError, match=r"the columns speaker are missing; found: .*`--manifest M\.jsonl` joins"):
        read_predictions(predictions)
    without = lines(tmp_path / "w.jsonl", [{"id": f"c{n}"} for n in range(6)])
    with pytest.raises(UserError, match="the columns speaker are missing; found: audio_filepath") as error:
        read_predictions(predictions, manifest=without)
    assert "--manifest" not in str(error.value)


def test_lengths_are_optional(tmp_path):
    rows = [{**row, "speaker": "s", "gender": "F", "duration": "?"} for row in nemo()]
    assert np.isnan(read_predictions(lines(tmp_path / "p.jsonl", rows)).seconds).all()
