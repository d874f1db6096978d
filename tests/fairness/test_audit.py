import csv
import json

import jiwer
import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sacrebleu

from audio_ssl.base.errors import UserError
from audio_ssl.fairness.audit import audit
from audio_ssl.fairness.wording import few_speakers, small_group
from audio_ssl.report.build import build_fairness_report
from tests.fairness.test_representation import METRICS, layer, scores
from tests.fairness.test_representation import write as write_layers
from tests.fairness.test_verification import voices
from tests.fairness.test_verification import write as write_trials
from tests.report.fairness_example import fairness_schema

WORDS = ["the", "a", "sea", "fish", "swims", "under", "old", "stones", "and", "looks", "for", "bread"]


def table(speakers, clips=8, rates=(0.2, 0.2), seed=0, unknown=0):
    """Rows of a recogniser whose word error rate is `rates` for F and M."""
    rng = np.random.default_rng(seed)
    rows = []
    for gender, rate, count in (("F", rates[0], speakers[0]), ("M", rates[1], speakers[1]), (None, 0.3, unknown)):
        for speaker in range(count):
            own = rate * rng.gamma(8, 1 / 8)
            for clip in range(clips):
                reference = list(rng.choice(WORDS, 10))
                hypothesis = [w if rng.random() > own else "x" for w in reference]
                rows.append(
                    {
                        "id": f"{gender}{speaker}-{clip}",
                        "reference": " ".join(reference),
                        "hypothesis": " ".join(hypothesis),
                        "speaker": f"{gender}{speaker}",
                        "gender": gender,
                        "seconds": 3.0,
                    }
                )
    return rows


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_group_scores_equal_jiwer_and_counts_are_right(tmp_path):
    rows = table((6, 7), unknown=2)
    report = audit([write(tmp_path / "p.jsonl", rows)], min_speakers=2).to_json()
    for group in ("F", "M", "unknown"):
        members = [r for r in rows if (r["gender"] or "unknown") == group]
        (found,) = [g for g in report["groups"] if g["group"] == group and g["metric"] == "wer"]
        expected = 100 * jiwer.wer([r["reference"] for r in members], [r["hypothesis"] for r in members])
        assert found["value"] == pytest.approx(expected, abs=1e-9)
        if group == "unknown":
            assert found["low"] is None
            assert not found["known"]
        else:
            assert found["low"] <= found["value"] <= found["high"]
        assert found["clips"] == len(members)
        assert found["words"] == 10 * len(members)
        assert found["hours"] == pytest.approx(len(members) * 3 / 3600)
        assert found["speakers"] == {"F": 6, "M": 7, "unknown": 2}[group]
    assert {(c["a"], c["b"]) for c in report["comparisons"]} == {("F", "M")}
    (everybody,) = [g for g in report["totals"] if g["metric"] == "wer"]
    assert everybody["clips"] == len(rows)
    assert everybody["speakers"] == 15


def test_gap_formulas(tmp_path):
    report = audit([write(tmp_path / "p.jsonl", table((6, 6), rates=(0.3, 0.2)))]).to_json()
    values = {g["group"]: g["value"] for g in report["groups"] if g["metric"] == "wer"}
    (gap,) = [c for c in report["comparisons"] if c["metric"] == "wer"]
    f, m = values["F"], values["M"]
    assert gap["difference"] == pytest.approx(f - m)
    assert gap["relative_symmetric"] == pytest.approx(100 * (f - m) / (0.5 * (f + m)))
    assert gap["relative_to_b"] == pytest.approx(100 * (f - m) / m)
    assert gap["direction"].startswith("women's word error rate is ")
    assert gap["direction"].endswith("worse for women")
    assert gap["low"] < gap["difference"] < gap["high"]
    assert gap["warning"] == small_group(6)


def test_a_group_of_fewer_than_five_speakers_is_counted_and_not_scored(tmp_path):
    report = audit([write(tmp_path / "p.jsonl", table((1, 8), rates=(0.8, 0.1)))]).to_json()
    (gap,) = [c for c in report["comparisons"] if c["metric"] == "wer"]
    assert gap["refused"] == few_speakers("F", 1, 5)
    assert gap["p_value"] is None
    assert [gap[key] for key in ("low", "difference", "value_a", "value_b", "ratio", "verdict")] == [None] * 6
    assert [g["group"] for g in report["groups"] if g["metric"] == "wer"] == ["M"]
    assert [(row["clips"], row["speakers"]) for row in report["totals"]] == [(64, 8)] * 2
    (hidden,) = report["suppressed"]
    assert (hidden["groups"], hidden["speakers"], hidden["clips"]) == (["F"], 1, 8)
    assert report["models"] == report["spread"] == report["examples"] == []


def test_a_true_gap_is_found_and_no_gap_is_not(tmp_path):
    def p_value(rates, seed):
        path = write(tmp_path / "p.jsonl", table((15, 15), rates=rates, seed=seed))
        return next(c for c in audit([path], replicates=200).to_json()["comparisons"] if c["metric"] == "wer")[
            "p_value"
        ]

    assert p_value((0.4, 0.2), 1) < 0.01
    assert np.mean([p_value((0.2, 0.2), seed) < 0.05 for seed in range(20)]) <= 0.2


def test_a_result_folder_of_translation_uses_bleu(tmp_path):
    rows = table((5, 5))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "predictions.parquet")
    (tmp_path / "scores.json").write_text(json.dumps({"task": "st", **METRICS}))
    report = audit([tmp_path]).to_json()
    assert {g["metric"] for g in report["groups"]} == {"bleu", "chrf"}
    women = [r for r in rows if r["gender"] == "F"]
    expected = sacrebleu.corpus_bleu([r["hypothesis"] for r in women], [[r["reference"] for r in women]]).score
    assert report["groups"][0]["value"] == pytest.approx(expected, abs=1e-9)
    assert "nrefs:1|case:mixed" in report["results"][0]["signature"]
    assert report["models"] == []


def test_csv_of_anybody(tmp_path):
    path = tmp_path / "p.csv"
    rows = table((5, 5), unknown=1)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    report = audit([path]).to_json()
    same = audit([write(tmp_path / "p.jsonl", rows)]).to_json()
    assert report["groups"] == same["groups"]


def test_a_speaker_with_two_genders_is_left_out_and_named(tmp_path, caplog):
    rows = table((6, 6))
    rows[0]["gender"] = "M"
    report = audit([write(tmp_path / "p.jsonl", rows)]).to_json()
    (excluded,) = report["excluded"]
    assert excluded["reason"] == "1 speaker is recorded with several values of gender"
    assert (excluded["result"], excluded["count"]) == ("p", 8)
    assert "p: excluded 8: 8 (1 speaker is recorded with several values of gender)" in caplog.text
    assert [g["speakers"] for g in report["groups"] if g["metric"] == "wer"] == [5, 6]


def test_one_group_and_empty_references(tmp_path):
    rows = table((6, 0))
    rows[0]["reference"] = ""
    report = audit([write(tmp_path / "p.jsonl", rows)]).to_json()
    assert report["comparisons"] == []
    assert report["groups"][0]["empty_references"] == 1


def test_the_same_seed_gives_the_same_report(tmp_path):
    path = write(tmp_path / "p.jsonl", table((8, 8)))
    assert audit([path], seed=3).to_json() == audit([path], seed=3).to_json()
    assert audit([path], seed=3).to_json() != audit([path], seed=4).to_json()


@pytest.mark.parametrize(
    ("change", "by", "message"),
    [
        (lambda rows: [r.pop("speaker") for r in rows], "gender", "the columns speaker are missing; found: gender"),
        (lambda rows: rows[1].update(id=rows[0]["id"]), "gender", "appears twice"),
        (lambda rows: None, "accent", "no column `accent`; found: gender"),
        (lambda rows: rows.clear(), "gender", "no rows"),
    ],
)
def test_wrong_tables_are_explained(tmp_path, change, by, message):
    rows = table((5, 5))
    change(rows)
    with pytest.raises(UserError, match=message):
        audit([write(tmp_path / "p.jsonl", rows)], [by])


def test_what_is_no_table_is_explained(tmp_path):
    with pytest.raises(UserError, match="no predictions here"):
        audit([tmp_path])
    with pytest.raises(UserError, match="there is no such file or folder"):
        audit([tmp_path / "p.csv"])
    (tmp_path / "p.pdf").write_text("x")
    with pytest.raises(UserError, match=r"must end in \.csv"):
        audit([tmp_path / "p.pdf"])
    (tmp_path / "p.parquet").write_text("x")
    with pytest.raises(UserError, match="cannot be read"):
        audit([tmp_path / "p.parquet"])


def test_a_hypothesis_that_is_no_text_is_left_out_and_named(tmp_path):
    rows = table((6, 6))
    rows[1]["hypothesis"] = float("nan")
    report = audit([write(tmp_path / "p.jsonl", rows)]).to_json()
    assert [(row["count"], row["names"]) for row in report["excluded"]] == [(1, [rows[1]["id"]])]


def test_every_kind_of_row_fits_the_schema(tmp_path):
    ages = {"F": "3", "M": "4"}
    rows = [{**row, "age": f"{ages.get(row['speaker'][0], 5)}{int(row['speaker'][-1]) % 2}"} for row in table((12, 14))]
    worse = [{**row, "hypothesis": f"x {row['hypothesis']}"} for row in rows]
    paths = [write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", worse)]
    page = build_fairness_report(audit(paths, ["gender", "age"], replicates=500), tmp_path / "fairness.html")
    report = json.loads((tmp_path / "fairness.json").read_text())
    jsonschema.validate(report, fairness_schema())
    assert {len(report[key]) > 0 for key in ("groups", "spread", "comparisons", "models", "gap_differences")} == {True}
    assert {row["by"] for row in report["groups"]} == {"gender", "age", "gender × age"}
    assert "women" in page.read_text()
    assert (tmp_path / "fairness.md").read_text().startswith("# Fairness report")


def test_holm_counts_the_tests_of_one_metric_on_one_result(tmp_path):
    rows = [{**row, "accent": "abc"[int(row["speaker"][1:]) % 3]} for row in table((15, 15))]
    report = audit([write(tmp_path / "p.jsonl", rows)], ["gender", "accent"], replicates=500).to_json()
    tested = [row for row in report["comparisons"] if row["metric"] == "wer" and row["p_value"] is not None]
    # One pair of genders, three of accents, and the cells that differ in one of both: three and two times three.
    assert len(tested) == 1 + 3 + 9
    assert {row["compared"] for row in tested} == {13}
    assert all(row["p_holm"] >= row["p_value"] for row in tested)
    assert max(row["p_holm"] for row in tested) <= 1
    least = min(tested, key=lambda row: row["p_value"])
    assert least["p_holm"] == pytest.approx(min(1, 13 * least["p_value"]))


def test_the_gap_of_a_second_system_is_compared_with_the_first_on_common_clips(tmp_path):
    rows = table((12, 12))
    worse = [{**r, "hypothesis": f"x y {r['hypothesis']}" if r["gender"] == "F" else r["hypothesis"]} for r in rows]
    other = {**rows[0], "id": "more", "reference": "another one"}
    paths = [write(tmp_path / "old.jsonl", [*rows, other]), write(tmp_path / "new.jsonl", worse)]
    report = audit(paths, replicates=500).to_json()
    (row,) = [row for row in report["gap_differences"] if row["metric"] == "wer"]
    assert (row["result_a"], row["result_b"], row["clips"], row["speakers"]) == ("new", "old", len(rows), 24)
    gaps = {c["result"]: c["difference"] for c in report["comparisons"] if c["metric"] == "wer"}
    assert row["gap_a"] == pytest.approx(gaps["new"])
    assert row["difference"] == pytest.approx(row["gap_a"] - row["gap_b"])
    # Two words more for each of ten, in every clip of a woman: 20 points, known without any doubt.
    assert row["difference"] == pytest.approx(20)
    assert row["low"] == pytest.approx(20)
    assert row["p_value"] < 0.01
    assert row["direction"].startswith("the gap of new is larger than that of old")


def test_results_of_the_same_name_are_told_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    paths = [write(tmp_path / name / "p.jsonl", table((5, 5))) for name in ("one", "two")]
    report = audit(paths, replicates=100).to_json()
    assert [row["name"] for row in report["results"]] == ["one/p", "two/p"]
    with pytest.raises(UserError, match="named twice"):
        audit([paths[0], paths[0]])


def test_wrong_options_are_explained(tmp_path):
    path = write(tmp_path / "p.jsonl", table((5, 5)))
    for options, message in (
        ({"by": ()}, "at least one attribute"),
        ({"by": ("gender", "gender")}, "`by` names gender twice"),
        ({"replicates": 5}, "at least 100"),
        ({"min_speakers": 0}, "at least 1"),
        ({"metrics": ("wrr",)}, "unknown metric `wrr`; known: accuracy"),
        ({"normaliser": "non"}, "unknown normaliser `non`"),
    ):
        with pytest.raises(UserError, match=message):
            audit([path], **options)


def test_the_page_and_its_json(tmp_path):
    page = build_fairness_report(audit([write(tmp_path / "p.jsonl", table((2, 8)))]), tmp_path / "fairness.html")
    assert few_speakers("F", 2, 5) in page.read_text()
    data = json.loads((tmp_path / "fairness.json").read_text())
    assert {"groups", "comparisons", "provenance"} <= data.keys()


def test_folders_of_verification_and_of_layers_fit_the_schema_too(tmp_path):
    verification = write_trials(tmp_path / "sv", *voices(1, women=7, men=8))
    layers = write_layers(tmp_path / "layers", scores(layer(0, 80.0), layer(1, 90.0)))
    report = audit([verification, layers], replicates=300).to_json()
    jsonschema.validate(report, fairness_schema())
    assert {row["metric"] for row in report["groups"]} == {"eer", "min_dcf", "fnmr_at_common", "fmr_at_common"}
    assert [row["task"] for row in report["results"]] == ["speaker_verification"]
    assert report["notes"]
    assert [row["attribute"] for row in report["representation"]] == ["gender"]
    assert all(row["p_holm"] is not None for row in report["comparisons"])


def test_provenance_says_how_many_permutations_were_made(tmp_path):
    verification = write_trials(tmp_path / "sv", *voices(1, women=7, men=8))
    table_ = write(tmp_path / "p.jsonl", table((9, 9)))
    made = {}
    for name, paths in {"both": [verification, table_], "trials": [verification], "table": [table_]}.items():
        report = audit(paths, replicates=200)
        origin = report.provenance
        made[name] = (origin.permutations, origin.trial_permutations)
        kinds = {"table": origin.permutations, "sv": origin.trial_permutations, "p": origin.permutations}
        for row in report.comparisons:
            # More than a thousand assignments: none of these is exact.
            assert (row.p_exact, row.assignments) == (False, kinds[row.result])
    assert made == {"both": (200, 1000), "trials": (1000, 1000), "table": (200, None)}
    assert "trial_permutations" not in report.to_json()["provenance"]


def test_metrics_are_those_of_the_result_they_fit(tmp_path):
    verification = write_trials(tmp_path / "sv", *voices(1, women=7, men=8))
    table_ = write(tmp_path / "p.jsonl", table((6, 6)))
    report = audit([verification, table_], replicates=200, metrics=("eer", "cer")).to_json()
    assert {(row["result"], row["metric"]) for row in report["groups"]} == {("sv", "eer"), ("p", "cer")}
    for path, metric, known in ((verification, "wer", "eer, fmr_at"), (table_, "eer", "accuracy, bleu")):
        with pytest.raises(UserError, match=f"none of {metric} is a score of this result; known: {known}"):
            audit([path], metrics=(metric,))


def test_examples_are_of_people_who_are_scored(tmp_path):
    rows = table((9, 8))
    for row in rows:
        # Three women in their sixties: all women and men without all in their twenties would be they. Theirs are worst.
        few = row["speaker"] in ("F0", "F1", "F2")
        row["age"] = "sixties" if few else "twenties"
        row["hypothesis"] = "x " * 30 if few else row["hypothesis"]
    report = audit([write(tmp_path / "p.jsonl", rows)], by=["gender", "age"], replicates=100, examples=True).to_json()
    assert {"by": "gender", "groups": [], "speakers": 3}.items() <= report["suppressed"][0].items()
    shown = {(one["by"], one["group"]) for one in report["examples"]}
    assert shown == {("gender", "F"), ("gender", "M"), ("age", "20–29")}
    assert not {one["speaker"] for one in report["examples"]} & {"F0", "F1", "F2"}
    jsonschema.validate(report, fairness_schema())
