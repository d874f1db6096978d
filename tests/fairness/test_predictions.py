import csv
import json
import tracemalloc

import jiwer
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sacrebleu

from audio_ssl.base.errors import UserError
from audio_ssl.fairness.audit import audit
from audio_ssl.fairness.measures import get_measure
from audio_ssl.fairness.predictions import read_predictions

WORDS = ["the", "a", "sea", "fish", "swims", "under", "old", "stones", "and", "looks", "for", "bread"]


def scores_of(task):
    """The least that scores.json of a result says."""
    return json.dumps({"task": task, "main_metric": "m", "metrics": {"m": {"value": 1.0}}})


def make_rows(count=40, speakers=8, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for clip in range(count):
        reference = list(rng.choice(WORDS, 8))
        hypothesis = [w if rng.random() > 0.2 else "x" for w in reference]
        speaker = clip % speakers
        rows.append(
            {
                "id": f"clip{clip}",
                "reference": " ".join(reference),
                "hypothesis": " ".join(hypothesis),
                "speaker": f"s{speaker}",
                "gender": ["F", "M"][speaker % 2],
                "seconds": 2.5,
            }
        )
    return rows


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys(), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def reasons(found):
    return {e.reason: (e.count, e.names) for e in found.exclusions}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv", ".tsv"])
def test_all_formats_give_the_same(tmp_path, suffix):
    rows = make_rows()
    rows[3]["gender"] = None
    found = read_predictions(write(tmp_path / f"p{suffix}", rows))
    assert list(found.statistics) == ["wer", "cer"]
    references, hypotheses = [r["reference"] for r in rows], [r["hypothesis"] for r in rows]
    wer = get_measure("wer")
    assert found.statistics["wer"].dtype == np.float64
    assert float(wer.score(found.statistics["wer"].sum(0))) == pytest.approx(100 * jiwer.wer(references, hypotheses))
    gender, speakers = found.attributes["gender"], found.speakers
    assert [gender.names[i] if i >= 0 else None for i in gender.index] == [r["gender"] for r in rows]
    assert [speakers.names[i] for i in speakers.index] == [r["speaker"] for r in rows]
    assert found.seconds.tolist() == [2.5] * 40
    assert found.words.tolist() == [8] * 40
    assert np.isnan(found.level_dbfs).all()
    assert len(set(found.keys.tolist())) == 40
    assert found.exclusions == []
    assert (found.name, found.task) == ("p", None)
    assert found.signature == "wer, cer: as written"


def test_the_same_clip_has_the_same_key_in_two_systems(tmp_path):
    rows = make_rows()
    one = read_predictions(write(tmp_path / "a.jsonl", rows))
    two = read_predictions(write(tmp_path / "b.csv", [{**r, "hypothesis": "y"} for r in reversed(rows)]))
    assert one.keys.tolist() == two.keys.tolist()[::-1]
    rows[0]["reference"] += " more"
    three = read_predictions(write(tmp_path / "c.jsonl", rows))
    assert (three.keys != one.keys).tolist() == [True] + [False] * 39


def test_a_result_folder_has_what_fits_its_task(tmp_path):
    rows = make_rows()
    write(tmp_path / "predictions.parquet", rows)
    (tmp_path / "scores.json").write_text(scores_of("st"))
    found = read_predictions(tmp_path)
    assert list(found.statistics) == ["bleu", "chrf"]
    expected = sacrebleu.corpus_bleu([r["hypothesis"] for r in rows], [[r["reference"] for r in rows]]).score
    assert float(get_measure("bleu").score(found.statistics["bleu"].sum(0))) == pytest.approx(expected)
    assert list(read_predictions(tmp_path, metrics=["wer"]).statistics) == ["wer"]


def test_bad_rows_are_left_out_by_name(tmp_path):
    rows = make_rows(30)
    rows[0]["speaker"] = None
    rows[1]["hypothesis"] = float("nan")
    rows[2]["hypothesis"] = 3
    rows[3].pop("hypothesis")
    rows[4]["reference"] = None
    rows[5]["speaker"] = "unknown"
    rows[6]["id"] = None
    rows[7]["gender"] = ["F"]
    rows.append(dict(rows[8]))
    found = read_predictions(write(tmp_path / "p.jsonl", rows))
    assert reasons(found) == {
        "no speaker": (2, ("clip0", "clip5")),
        "no hypothesis": (2, ("clip1", "clip3")),
        "the hypothesis is not text": (1, ("clip2",)),
        "no reference": (1, ("clip4",)),
        "no id": (1, ("line 7",)),
        "`gender` is not a plain value": (1, ("clip7",)),
        "appears twice": (1, ("clip8",)),
    }
    assert len(found.words) == 22


def test_reasons_that_quote_rows_do_not_pile_up(tmp_path):
    rows = [{**row, "terms": f"t{place}", "category": "1F"} for place, row in enumerate(make_rows(300))]
    rows[0]["terms"] = "a b"
    found = read_predictions(write(tmp_path / "p.jsonl", rows))
    assert len(found.exclusions) == 101
    assert reasons(found)["for further reasons"][0] == 199


def test_one_id_with_two_contents_is_an_error(tmp_path):
    rows = make_rows()
    rows[9]["id"] = "clip2"
    with pytest.raises(UserError, match="the id `clip2` appears twice with different content: lines 3 and 10"):
        read_predictions(write(tmp_path / "p.jsonl", rows))


@pytest.mark.parametrize("column", ["gender", "sex", "speaker_gender"])
def test_a_speaker_with_two_genders_is_left_out(tmp_path, column):
    rows = make_rows()
    rows[0]["gender"] = "M"
    rows = [{**{k: v for k, v in row.items() if k != "gender"}, column: row["gender"]} for row in rows]
    found = read_predictions(write(tmp_path / "p.jsonl", rows), by=[column])
    clips = ("clip0", "clip8", "clip16", "clip24", "clip32")
    assert reasons(found) == {f"1 speaker is recorded with several values of {column}": (5, clips)}
    assert "s0" not in found.speakers.names
    assert len(found.words) == len(found.speakers.index) == len(found.statistics["wer"]) == 35
    assert found.speakers.index.max() == 6
    assert all(row.texts.speaker != "s0" for row in found.examples)


def test_many_speakers_with_two_genders_are_counted(tmp_path):
    rows = make_rows(80, 40)
    for row in rows[:30]:
        row["gender"] = "divers"
    found = read_predictions(write(tmp_path / "p.jsonl", rows))
    assert reasons(found)["30 speakers are recorded with several values of gender"][0] == 60
    assert len(found.words) == 20


def test_other_attributes_may_change_within_a_speaker(tmp_path):
    rows = [{**row, "domain": ["news", "books", ""][place % 3]} for place, row in enumerate(make_rows())]
    found = read_predictions(write(tmp_path / "p.csv", rows), by=["domain"])
    assert found.attributes["domain"].names == ["books", "news"]
    assert found.attributes["domain"].index.tolist() == ([1, 0, -1] * 14)[:40]


def test_empty_references_stay_and_are_flagged(tmp_path):
    rows = make_rows()
    rows[0]["reference"], rows[0]["hypothesis"] = "", "two words"
    rows[1]["reference"] = " ?!"
    found = read_predictions(write(tmp_path / "p.csv", rows), normaliser="basic")
    assert found.empty_references.tolist() == [True, True] + [False] * 38
    assert found.statistics["wer"][0].tolist() == [0, 0, 2, 0]
    assert found.signature == "wer, cer: lower|nfc|punctuation removed, apostrophes kept"


def test_spellings_are_said(tmp_path):
    rows = [
        {**row, "gender": ["female", "Male"][int(row["speaker"][1:]) % 2], "age": 20 + place % 15}
        for place, row in enumerate(make_rows())
    ]
    rows[2]["gender"] = "unk"
    found = read_predictions(write(tmp_path / "p.jsonl", rows), by=["gender", "age"])
    assert sorted(found.attributes["gender"].names) == ["F", "M"]
    assert found.attributes["gender"].index[2] == -1
    assert sorted(found.attributes["age"].names) == ["20–29", "30–39"]
    assert "gender: Male → M, female → F, unk → unknown" in found.signature
    assert "age: numbers → decades" in found.signature


def test_examples_are_the_worst_of_each_group(tmp_path):
    rows = make_rows(60)
    for place in (10, 12, 14, 16):
        rows[place]["hypothesis"] = "y " * (500 + place)
    rows[13]["hypothesis"] = "z " * 20
    found = read_predictions(write(tmp_path / "p.jsonl", rows))
    women = [e for e in found.examples if e.group == "F"]
    assert [e.texts.id for e in women][:3] == ["clip16", "clip14", "clip12"]
    assert women[0].value == pytest.approx(100 * 516 / 8)
    assert len(women[0].texts.hypothesis) == 301
    assert women[0].texts.reference == rows[16]["reference"]
    assert next(e for e in found.examples if e.group == "M").texts.id == "clip13"
    few = audit([tmp_path / "p.jsonl"], min_speakers=1, replicates=100, examples=True).to_json()["examples"]
    assert [(e["group"], e["id"]) for e in few][:4] == [
        ("F", "clip16"),
        ("F", "clip14"),
        ("F", "clip12"),
        ("M", "clip13"),
    ]
    assert len(few) == 6


def test_html_stays_text(tmp_path):
    rows = make_rows()
    rows[0]["hypothesis"] = "<script>alert(1)</script> & more words than there were before in it at all"
    found = read_predictions(write(tmp_path / "p.csv", rows))
    assert found.examples[0].texts.hypothesis == rows[0]["hypothesis"]


def test_numbers_and_half_surrogates(tmp_path):
    rows = [{**row, "id": place, "group": [True, 2.0, 2][place % 3]} for place, row in enumerate(make_rows())]
    rows[0]["speaker"] = 7
    rows[1]["id"] = rows[1]["hypothesis"] = "\ud800"
    found = read_predictions(write(tmp_path / "p.jsonl", rows), by=["group"])
    assert found.attributes["group"].names == ["2", "true"]
    assert found.speakers.names[found.speakers.index[0]] == "7"
    json.dumps([one.texts for one in found.examples], ensure_ascii=False).encode()


def test_labels(tmp_path):
    rows = [{**row, "reference": place % 2, "hypothesis": 1} for place, row in enumerate(make_rows())]
    found = read_predictions(write(tmp_path / "p.jsonl", rows), metrics=["accuracy"])
    assert found.statistics["accuracy"].sum(0).tolist() == [20, 40]
    write(tmp_path / "predictions.parquet", [{**r, "reference": "C major", "hypothesis": "H"} for r in make_rows(1)])
    (tmp_path / "scores.json").write_text(scores_of("key"))
    with pytest.raises(UserError, match="no row can be used: 1 key_score: 'H'"):
        read_predictions(tmp_path)


def test_terms_of_must_she(tmp_path):
    rows = [
        {**row, "terms": "a x;sea lake", "category": ["1F", "1M"][place % 2]} for place, row in enumerate(make_rows())
    ]
    rows[0]["terms"] = "seule"
    found = read_predictions(write(tmp_path / "p.jsonl", rows))
    assert list(found.statistics) == ["bleu", "chrf", "term_coverage", "gender_accuracy"]
    assert found.attributes["category"].names == ["1F", "1M"]
    assert reasons(found) == {"terms: a term needs the right and the wrong form, but is `seule`": (1, ("clip0",))}
    pairs = [(r["terms"], r["hypothesis"]) for r in rows[1:]]
    assert (found.statistics["gender_accuracy"] == get_measure("gender_accuracy").statistics(pairs)).all()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda rows: [r.pop("speaker") for r in rows],
            {},
            r"the columns speaker are missing; found: gender.*--manifest",
        ),
        (lambda rows: None, {"by": ["accent"]}, "no column `accent`; found: gender"),
        (lambda rows: rows.clear(), {}, "the table has no rows"),
        (lambda rows: [r.update(speaker=None) for r in rows], {}, "no row can be used: 40 no speaker"),
        (lambda rows: None, {"metrics": ["werr"]}, "unknown metric `werr`"),
        (lambda rows: None, {"metrics": ["uar"]}, "unknown metric `uar`"),
        (lambda rows: None, {"metrics": ["term_coverage"]}, "the columns terms are missing"),
        (lambda rows: None, {"normaliser": "x"}, "unknown normaliser `x`"),
    ],
)
def test_wrong_tables_are_explained(tmp_path, change, options, message):
    rows = make_rows()
    change(rows)
    with pytest.raises(UserError, match=message):
        read_predictions(write(tmp_path / "p.jsonl", rows), **options)


def test_what_is_no_table_is_explained(tmp_path):
    with pytest.raises(UserError, match="no predictions here"):
        read_predictions(tmp_path)
    for name, remedy in (
        ("p.pdf", "must end in .csv"),
        ("p.xlsx", "save the sheet as CSV UTF-8"),
        ("p.ctm", "CTM has"),
    ):
        (tmp_path / name).write_text("x")
        with pytest.raises(UserError, match=remedy):
            read_predictions(tmp_path / name)
    write(tmp_path / "predictions.parquet", make_rows(1))
    (tmp_path / "scores.json").write_text(scores_of("speaker_verification"))
    with pytest.raises(UserError, match=r"has no score per clip.*verification\.py"):
        read_predictions(tmp_path)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize(("count", "letters"), [(20_000, 5), (1000, 5000)])
def test_texts_are_dropped_once_counted(tmp_path, suffix, count, letters):
    text = f"{'w' * letters} " * 4
    rows = [
        {"id": f"c{clip}", "reference": text, "hypothesis": text, "speaker": f"s{clip % 100}", "gender": "FM"[clip % 2]}
        for clip in range(count)
    ]
    path = write(tmp_path / f"p{suffix}", rows)
    del rows
    tracemalloc.start()
    found = read_predictions(path, metrics=["wer"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.words) == count
    # The long texts alone are 40 MB; the many rows take about 400 bytes each beside one batch.
    assert peak < 20e6
