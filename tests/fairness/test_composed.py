"""Composed and decomposed letters in predictions: of texts, of people, of ids."""

import json
import unicodedata

import numpy as np
import pytest

from audio_ssl.fairness.predictions import read_predictions


def apart(text):
    return unicodedata.normalize("NFD", text)


def table(change=lambda row: row):
    rows = []
    for n in range(12):
        row = {"id": f"clé-{n}", "reference": "déjà été, là", "hypothesis": "Déjà été là", "speaker": f"José {n % 4}"}
        rows.append({**row, "gender": "féminin" if n % 2 else "männlich", "accent": "québécois"})
    return [change(row) if n % 3 else row for n, row in enumerate(rows)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("normaliser", ["none", "lower", "basic"])
def test_how_letters_are_composed_changes_nothing(tmp_path, normaliser):
    options = {"by": ["gender", "accent"], "metrics": ["wer", "cer", "bleu", "chrf"], "normaliser": normaliser}
    plain = read_predictions(write(tmp_path / "a.jsonl", table()), **options)
    mixed = table(lambda row: {name: apart(value) for name, value in row.items()})
    found = read_predictions(write(tmp_path / "b.jsonl", mixed), **options)
    assert found.speakers.names == plain.speakers.names == [f"José {n}" for n in range(4)]
    assert {n: c.names for n, c in found.attributes.items()} == {n: c.names for n, c in plain.attributes.items()}
    for name, statistics in plain.statistics.items():
        np.testing.assert_array_equal(found.statistics[name], statistics)
    assert found.keys.tolist() == plain.keys.tolist()
    assert "letters of 8 rows composed (Unicode NFC)" in found.signature
    assert "composed" not in plain.signature


def test_joins_too(tmp_path):
    rows = table()
    predictions = [{"id": apart(row["id"]), "hypothesis": row["hypothesis"]} for row in rows]
    manifest = [{**{k: v for k, v in row.items() if k != "hypothesis"}} for row in rows]
    found = read_predictions(write(tmp_path / "p.jsonl", predictions), manifest=write(tmp_path / "m.jsonl", manifest))
    assert len(found.words) == 12


def test_bleu_and_chrf_are_of_normalised_texts(tmp_path):
    path = write(tmp_path / "p.jsonl", table())
    metrics = ["bleu", "chrf"]
    plain, basic = (read_predictions(path, metrics=metrics, normaliser=name) for name in ("none", "basic"))
    for metric in metrics:
        assert (plain.statistics[metric] != basic.statistics[metric]).any()
    # Three words, as heard: no four-gram, and all that there are right.
    assert basic.statistics["bleu"][0].tolist() == [3, 3, 3, 2, 1, 0, 3, 2, 1, 0]
    assert basic.signature.startswith("bleu, chrf: lower|nfc|punctuation removed")
