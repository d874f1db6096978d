"""Hypotheses that are empty, and those that are missing: two things, for each group."""

import json
from dataclasses import replace

import pytest

from audio_ssl.artifacts.fairness import GroupComparison, GroupScore, MetricRow, blank
from audio_ssl.artifacts.fairness_report import fairness_of
from audio_ssl.base.errors import UserError
from audio_ssl.commands.evaluate import fairness
from audio_ssl.fairness.predictions import read_predictions
from audio_ssl.fairness.systems import empty_rows
from audio_ssl.report.language.conclusions import fairness_answer


def rows(speakers=24, clips=6, empty=0, missing=0):
    """Return clips on which women and men do alike; of women the first `empty` of each are empty, of men `missing`."""
    found = []
    for speaker in range(speakers):
        for clip in range(clips):
            woman = speaker % 2 == 0
            # Of three mistakes in four words, one: by speaker and clip, the same for women and men.
            hypothesis = "the sea is old" if (speaker // 2 + clip) % 3 else "the sea"
            if woman and clip < empty:
                hypothesis = ["", " ", "..."][clip % 3]
            row = {"id": f"{speaker}-{clip}", "reference": "the sea is old", "hypothesis": hypothesis}
            row |= {"speaker": f"s{speaker}", "gender": "F" if woman else "M"}
            if not woman and clip < missing:
                row["hypothesis"] = [None, float("nan"), "NaN"][clip % 3]
            found.append(row)
    return found


def write(path, table):
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return path


def audit(folder, table, **options):
    page = folder / "page.html"
    fairness(write(folder / "p.jsonl", table), out=page, replicates=400, normaliser="basic", metric=("wer",), **options)
    return json.loads(page.with_suffix(".json").read_text()), page.read_text()


def counts(report):
    groups = [*report["groups"], *report["totals"]]
    return {g["group"]: (g["clips"], g["empty_hypotheses"], g["missing_hypotheses"]) for g in groups}


def test_both_are_counted_for_each_group(tmp_path):
    report, page = audit(tmp_path, rows(empty=2, missing=3))
    assert counts(report) == {"F": (72, 24, 0), "M": (36, 0, 36), "all": (108, 24, 36)}
    (left_out,) = report["excluded"]
    assert (left_out["reason"], left_out["count"]) == ("no hypothesis", 36)
    assert ">Empty<" in page
    assert ">Missing<" in page
    quiet, page = audit(tmp_path, rows())
    assert counts(quiet) == {"F": (72, 0, 0), "M": (72, 0, 0), "all": (144, 0, 0)}
    assert not quiet["empty_hypotheses"]
    assert ">Empty<" not in page


def test_a_finding_that_rests_on_empty_hypotheses_is_warned_of(tmp_path):
    report, page = audit(tmp_path, rows(empty=3))
    (effect,) = report["empty_hypotheses"]
    (gap,) = report["comparisons"]
    assert (effect["empty_a"], effect["empty_b"]) == (36, 0)
    assert effect["p_holm_counted"] == gap["p_holm"] < 0.05 < effect["p_holm_left_out"]
    assert effect["difference_counted"] == gap["difference"]
    assert effect["changes"] == ["significance"]
    words = "depends on empty hypotheses (36 of F, 0 of M): they decide whether it is statistically significant"
    assert words in gap["warning"]
    assert words in effect["warning"]
    assert words in page
    (first, _) = fairness_answer(fairness_of(report, "page.json"))["in short"]
    assert first.endswith(f"But {effect['warning']}.")
    fairness(tmp_path / "p.jsonl", out=tmp_path / "page.html", replicates=400, normaliser="basic")
    both = json.loads((tmp_path / "page.json").read_text())
    said = fairness_answer(fairness_of(both, "page.json"))["in short"]
    assert said[-1].startswith("2 comparisons depend on empty hypotheses")


def test_leaving_them_out_gives_the_other_way(tmp_path):
    counted, _ = audit(tmp_path, rows(empty=3, missing=1))
    left_out, page = audit(tmp_path, rows(empty=3, missing=1), empty_hypothesis="leave-out")
    assert left_out["provenance"]["empty_hypothesis"] == "leave-out"
    without, _ = audit(tmp_path, [row for row in rows(empty=3, missing=1) if str(row["hypothesis"]).strip(" .")])
    assert [g["value"] for g in left_out["groups"]] == [g["value"] for g in without["groups"]]
    assert left_out["comparisons"][0]["p_value"] == without["comparisons"][0]["p_value"]
    assert counts(left_out) == {"F": (36, 36, 0), "M": (60, 0, 12), "all": (96, 36, 12)}
    # Both reports have both gaps, whichever is the main one.
    assert left_out["empty_hypotheses"] == counted["empty_hypotheses"]
    assert {e["reason"]: (e["count"], e["names"][:3]) for e in left_out["excluded"]} == {
        "no hypothesis": (12, ["1-0", "3-0", "5-0"]),
        "empty hypothesis": (36, ["0-0", "0-1", "0-2"]),
    }
    assert "empty hypothesis" in page


def test_cells_and_unknown_groups_have_their_own_counts(tmp_path):
    table = [{**row, "accent": "ab"[int(row["speaker"][1:]) // 2 % 2]} for row in rows(empty=1, missing=2)]
    for row in table[:6]:
        row["accent"] = None
    report, _ = audit(tmp_path, table, by=("gender", "accent"), min_speakers=1)
    found = {g["group"]: (g["empty_hypotheses"], g["missing_hypotheses"]) for g in report["groups"]}
    assert found == {
        "F": (12, 0), "M": (0, 24), "a": (5, 12), "b": (6, 12), "unknown": (1, 0),
        "F × a": (5, 0), "F × b": (6, 0), "M × a": (0, 12), "M × b": (0, 12),
    }  # fmt: skip


def test_rows_that_a_manifest_has_more_are_missing(tmp_path):
    table = rows()
    manifest = write(tmp_path / "m.jsonl", [{k: v for k, v in row.items() if k != "hypothesis"} for row in table])
    predictions = [
        {"id": row["id"], "hypothesis": row["hypothesis"]} for row in table if row["id"] not in ("0-0", "1-1")
    ]
    report, _ = audit(tmp_path, predictions, manifest=manifest)
    assert counts(report) == {"F": (71, 0, 1), "M": (71, 0, 1), "all": (142, 0, 2)}


def test_an_empty_answer_to_an_empty_reference_is_right(tmp_path):
    table = rows()
    table[0] |= {"reference": "", "hypothesis": ""}
    table[1] |= {"reference": "", "hypothesis": "oh"}
    table[2] |= {"reference": "?", "hypothesis": "!"}
    for way in ("count", "leave-out"):
        report, _ = audit(tmp_path, table, empty_hypothesis=way)
        assert counts(report)["F"] == (72, 0, 0)
        assert report["groups"][0]["empty_references"] == 3


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_an_empty_cell_is_an_empty_hypothesis(tmp_path, suffix):
    text = "a,yes no,,s,F\nb,yes,<NA>,s,F\nc,yes,NaN,s,F\nd,nan,nan,s,F\ne,x,None,s,F\n"
    text = f"id,reference,hypothesis,speaker,gender\n{text}"
    path = tmp_path / f"p{suffix}"
    path.write_text(text.replace(",", "\t" if suffix == ".tsv" else ","))
    found = read_predictions(path)
    assert found.statistics["wer"].tolist() == [[0, 2, 0, 2], [0, 0, 0, 1], [1, 0, 0, 1]]
    assert found.empty_hypotheses.tolist() == [True, False, False]
    assert (found.missing.total, found.exclusions[0].names) == (2, ("b", "c"))
    assert "1 hypothesis is `None`, `null` or `nan`, and counted as the word" in found.signature


def test_nothing_but_empty_ones(tmp_path):
    table = [{**row, "hypothesis": ""} for row in rows()]
    report, _ = audit(tmp_path, table)
    assert counts(report)["all"] == (144, 144, 0)
    with pytest.raises(UserError, match="no row can be used: all hypotheses are empty"):
        audit(tmp_path, table, empty_hypothesis="leave-out")
    with pytest.raises(UserError, match=r"unknown value of `empty_hypothesis` `skip`; known: count, leave-out"):
        audit(tmp_path, table, empty_hypothesis="skip")


ABOUT = MetricRow(result="r", by="gender", metric="wer", unit="%", higher_is_better=False)


def gap(difference, p_holm, low_90, high_90, **more):
    ends = {"low": low_90 - 1, "high": high_90 + 1, "low_90": low_90, "high_90": high_90}
    known = {"difference": difference, "p_value": p_holm, "p_holm": p_holm, **ends, **more}
    return GroupComparison.untested(ABOUT, "F", "M", "", **known)


def group(name, empty):
    about = {"group": name, "known": True, "total": False, "empty_hypotheses": empty}
    return GroupScore(**{**blank(GroupScore), **vars(ABOUT), **about, "speakers": 9, "clips": 9})


@pytest.mark.parametrize(
    ("counted", "left_out", "tolerance", "changes"),
    [
        # Nobody can say which group an inconclusive difference is worse for; so nothing decides it.
        (gap(1.2, 0.8, -5, 7), gap(-1.2, 0.8, -5, 4), None, []),
        (gap(4.2, 0.8, -3, 11), gap(1.2, 0.8, -5, 6), 1.0, []),
        (gap(5.0, 0.01, 3, 7), gap(-5.0, 0.01, -7, -3), None, ["direction"]),
        (gap(9.0, 0.01, 5, 13), gap(5.0, 0.01, 3, 7), 1.0, ["size"]),
        # The verdict changes though it moves by less than the tolerance.
        (gap(3.5, 0.2, -0.5, 7.5), gap(1.0, 0.8, -1, 3), 5.0, ["tolerance"]),
        (gap(3.5, 0.2, -0.5, 7.5), gap(1.0, 0.8, -1, 3), None, []),
        (gap(9.0, 0.01, 5, 13), gap(2.0, 0.4, -1, 5), None, ["significance"]),
        (gap(9.0, 0.01, 5, 13), gap(2.0, 0.4, -1, 5, refused="few"), None, ["refused"]),
    ],
)
def test_what_empty_hypotheses_decide_is_the_verdict(counted, left_out, tolerance, changes):
    groups = [group("F", 0), group("M", 6)]
    (effect,) = empty_rows([counted], [left_out], groups, tolerance)
    assert list(effect.changes) == changes
    assert (effect.warning is None) == (not changes)
    assert (effect.counted.difference, effect.left_out.difference) == (counted.difference, left_out.difference)
    few = [replace(row, refused="few") for row in (counted, left_out)]
    assert empty_rows(few[:1], few[1:], groups, tolerance) == []


def test_examples_are_of_what_is_counted(tmp_path):
    ways = {}
    for way in ("count", "leave-out"):
        report, _ = audit(tmp_path, rows(empty=3), empty_hypothesis=way, examples=True)
        ways[way] = [one["hypothesis"] for one in report["examples"] if one["group"] == "F"]
    assert [text.strip(" .") for text in ways["count"]] == ["", "", ""]
    assert ways["leave-out"] == ["the sea"] * 3


@pytest.mark.parametrize(("way", "words"), [("count", "are counted in this"), ("leave-out", "are excluded from this")])
def test_the_page_says_what_this_report_does_with_them(tmp_path, way, words):
    _, page = audit(tmp_path, rows(empty=3), empty_hypothesis=way)
    assert words in page
