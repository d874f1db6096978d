import collections
import hashlib
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest

from audio_ssl.artifacts.fairness import SIGNIFICANT, VERDICTS, GapOutcome, SystemComparison, blank
from audio_ssl.artifacts.fairness_report import SuppressedGroup, fairness_of
from audio_ssl.report.figures.intervals import Estimate, Row, forest
from audio_ssl.report.html import Page, render
from audio_ssl.report.language.conclusions import conclusion, fairness_answer, tally, tally_words
from audio_ssl.report.language.fairness import comparison_words, gap_difference_words, gap_words, plain_words
from audio_ssl.report.language.fairness_cells import warnings_of
from audio_ssl.report.pages import sections_of
from audio_ssl.report.sections.fairness import conclusions_section, fairness_section
from audio_ssl.report.sections.fairness_groups import suppressed_table
from audio_ssl.report.sections.fairness_sources import subject_section
from audio_ssl.report.selection import foremost
from tests.report.conftest import fairness_data
from tests.report.fairness_example import audit_of, fairness_report, gap, whole_audit
from tests.report.test_build import Reader, text_of
from tests.report.test_figures import assert_inside


def page_of(report):
    data = report.to_json()
    return render(Page("Fairness", fairness_answer(report), sections_of(report), "About.", "f.json", data))


def old_audit(refused):
    return fairness_of(fairness_data(refused=refused), "old")


def section_of(report, name):
    return next(one for one in sections_of(report) if one.id == name)


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def html():
    return page_of(whole_audit())


@pytest.fixture(scope="module")
def said(html):
    return text_of(read(html))


def test_page_is_well_formed_and_every_target_exists(html):
    reader = read(html)
    assert len(reader.ids) == len(set(reader.ids))
    assert all(after <= before + 1 for before, after in pairwise(reader.headings))
    assert set(reader.labelled) <= set(reader.ids)
    assert {target[1:] for target in reader.targets if target.startswith("#")} <= set(reader.ids)
    assert reader.tags.count("table") == reader.tags.count("caption")


def test_transcripts_cannot_leave_their_place(html, said):
    assert "<script>" not in html
    assert "<b>sat" not in html
    assert '<script>alert("x")</script>' in said


def test_answer_comes_in_words(said):
    assert (
        "hubert-ctc on LibriSpeech test-other: the word error rate is 22.9 % for women (24 speakers) and 19.1 % for "
        "men (26 speakers), a difference of +3.8 points (95 % confidence interval +1.5 to +6.1 points; permutation "
        "test over speakers, p = 0.002, Holm-adjusted p = 0.008 for 4 comparisons): statistically significant "
        "difference."
    ) in said
    assert "the word error rate is higher for women than for men, which is worse for women." in said
    assert "May not be concluded: that the group is the cause" in said
    assert "no statistically significant difference; inconclusive" in said
    assert "this data would usually (80 % power) show a difference of 4.1 points or more" in said


def test_every_kind_of_row_is_shown(said):
    for words in (
        "not recorded",
        "all scored groups",
        "women × 70–79",
        "fewer than 5 speakers",
        "group 70–79 has 3 speakers",
        "Warning: only 12 speakers in the smaller group",
        "feminine words about the speaker (1F)",
        "among clips alike in duration, speech rate and level",
        "no model was fitted: too few speakers",
        "the gap between women and men is +2.2 points with whisper-tiny.en and +3.8 points with hubert-ctc",
        "the two systems share only 3 speakers",
        "hubert-ctc: gender in the layers",
        "no speaker is recorded",
        "Groups are as the corpus recorded them",
        "6f1ed002ab5595859014ebf0951522d9",
        "audio-ssl fairness a.parquet b.parquet --by gender --by age",
    ):
        assert words in said


def test_an_older_report_is_drawn():
    old = fairness_data(refused=False)
    old["excluded"] = [{"result": "demo", "speaker": "s1", "reason": "recorded as gender F and M"}]
    said = text_of(read(page_of(fairness_of(old, "old"))))
    assert "Women's word error rate is 13 % higher than men's (95 % confidence interval +2.3 to +6.5 points)" in said
    assert "p = 0.012" in said
    assert "speaker s1" in said


@pytest.mark.parametrize(
    ("of_tables", "of_trials", "words"),
    [(10_000, None, "10,000"), (1_000, 1_000, "1,000"), (10_000, 1_000, "10,000 (1,000 in speaker verification)")],
)
def test_the_page_says_how_many_permutations_were_made(of_tables, of_trials, words):
    found = whole_audit()
    origin = replace(found.provenance, permutations=of_tables, trial_permutations=of_trials)
    text = text_of(read(page_of(replace(found, provenance=origin))))
    assert f"({words} permutations, or all)" in text
    assert f"if there are at most {words}, otherwise" in text


def test_a_refused_report_concludes_nothing():
    said = fairness_answer(old_audit(refused=True))["in short"]
    assert said == [
        "No comparison was tested, so nothing may be concluded about other speakers: "
        "group F has 1 speaker, and at least 5 a group are needed."
    ]


def test_many_groups_do_not_make_a_huge_page():
    report = fairness_report()
    row = next(row for row in report["comparisons"] if row["by"] == "age" and not row["refused"])
    group = next(row for row in report["groups"] if row["by"] == "age")
    report["groups"] += [{**group, "group": f"g{n}"} for n in range(2000)]
    report["comparisons"] += [{**row, "a": f"g{n}"} for n in range(5000)]
    report = fairness_of(report, "large")
    html = render(Page("Fairness", fairness_answer(report), sections_of(report), "About.", "f.json", {}))
    assert len(html) < 2_000_000
    assert "more rows are in the JSON" in html


def test_warnings_of_one_kind_are_said_once():
    said = [f"only {n} speakers in the smaller group: mind" for n in (12, 9, 17)]
    rows = [gap(warning=text) for text in (*said, "else")]
    assert warnings_of(rows) == (
        "only 9 speakers in the smaller group: mind (and 2 more of this kind, in the JSON)",
        "else",
    )


def test_what_is_significant_is_drawn_first():
    rows = [
        gap(p_value=0.5, a="plain"),
        gap(p_value=0.5, a="crossed", by="gender × age"),
        gap(p_value=0.5, a="other metric", metric="cer"),
        gap(p_value=0.001, a="found", metric="cer", by="gender × age"),
    ]
    assert [one.a for one in foremost(rows, 9)] == ["found", "plain"]
    assert foremost(rows[1:2], 9) == rows[1:2]
    assert foremost([], 9) == []


def test_verdicts_follow_the_adjusted_p():
    assert gap(p_value=0.01, p_holm=0.2).outcome == GapOutcome.ALONE
    assert gap(p_value=0.01, p_holm=0.04).outcome == GapOutcome.FOUND
    assert gap(p_value=0.2, p_holm=0.2).outcome == GapOutcome.OPEN
    assert gap().outcome == GapOutcome.UNTESTED
    assert gap(p_value=0.01, refused="few").outcome == GapOutcome.REFUSED


def test_a_p_value_near_the_level_is_called_not_significant():
    row = gap(difference=2.0, ratio=1.1, p_value=0.052)
    for text in (plain_words(row), comparison_words(row)):
        assert "not statistically significant" in text


def test_no_gap_is_not_called_one():
    row = gap(difference=0.0, p_value=1.0)
    assert plain_words(row) == "Word error rate is the same for women and men."
    assert comparison_words(row).replace("\u00a0", " ") == (
        "Word error rate is the same for women and men. The difference is not statistically significant (p = 1.000)."
    )
    refused = plain_words(replace(row, refused="few"))
    assert refused.endswith("; not tested, so nothing may be concluded about other speakers.")


def comparison(p_value=math.nan, **more):
    return gap(difference=2.0, ratio=1.1, value_a=12.0, value_b=10.0, p_value=p_value, **more)


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ([], ["There are no two groups to compare, so nothing can be said about a difference."]),
        (
            [comparison(0.01), *[comparison(0.3)] * 11, comparison(refused="few"), comparison(refused="few")],
            [
                "Of 14 comparisons between groups, 1 shows a statistically significant difference, 11 are "
                "inconclusive, 2 were not tested.",
                "It is: word error rate, women 12.0 %, men 10.0 %: +2.0 points.",
                "Inconclusive is not the same as no difference.",
            ],
        ),
        (
            [comparison(0.3, minimum_detectable=m) for m in (5.0, 4.0)],
            [
                "Of 2 comparisons between groups, none shows a statistically significant difference, 2 are "
                "inconclusive.",
                "Inconclusive is not the same as no difference: differences of less than 4.0 points in word error rate "
                "would usually be missed (80 % power).",
            ],
        ),
    ],
)
def test_the_headline_has_at_most_three_lines(rows, lines):
    said = fairness_answer(audit_of(*rows))["in short"]
    assert [line.replace("\u00a0", " ") for line in said] == lines
    assert len(fairness_answer(audit_of(*rows * 50))["in short"]) <= 3


def test_differences_that_no_permutation_could_find_are_said_to_be_so():
    rows = [comparison(0.01, p_holm=1.0, compared=6, assignments=100)] * 6
    said = fairness_answer(audit_of(*rows))["in short"]
    assert said[1].startswith("With 100 permutations and 6 comparisons none could be statistically significant")
    rows = [replace(one, assignments=1000) for one in rows]
    assert not any("permutations" in one for one in fairness_answer(audit_of(*rows))["in short"])


@pytest.mark.parametrize(("assignments", "hopeless"), [(19, True), (20, False)])
def test_the_headline_has_the_level_of_the_tests(assignments, hopeless):
    # 1 / 20 is not below 0.05.
    row = comparison(0.3, p_holm=0.3, compared=1, assignments=assignments)
    said = fairness_answer(audit_of(row))["in short"]
    assert any("permutations" in one for one in said) == hopeless


def test_a_report_in_which_nothing_is_scored_says_why():
    hidden = tuple(SuppressedGroup("S", "gender", (name,), 1, 9, "few") for name in "FM")
    said = fairness_answer(audit_of(suppressed=hidden))["in short"]
    assert said == ["Nothing is scored, because no group has at least 5 speakers (women: 1 speaker, men: 1 speaker)."]


def verdicts_in(text):
    """Count the verdicts that a headline names."""
    found = re.search(
        r"Of (\d+) comparisons? between groups(?:, (\w+) shows? a statistically significant difference)?"
        r"(?:, (\d+) (?:is|are) inconclusive)?(?:, (\d+) (?:is|are) smaller than the stated tolerance(?: \([^)]*\))?)?"
        r"(?:, (\d+) (?:was|were) not tested)?",
        text,
    )
    return [0 if number in (None, "none") else int(number) for number in found.groups()]


@pytest.mark.parametrize("tolerance", [None, 4.0, 30.0])
def test_counts_of_the_page_are_those_of_its_json(tolerance):
    report = whole_audit()
    rows = [replace(row, tolerance=tolerance) for row in report.comparisons]
    report = replace(report, comparisons=(*rows, rows[0]))
    found = collections.Counter(row["verdict"] for row in report.to_json()["comparisons"])
    expected = [len(report.comparisons), *(found[one] for one in VERDICTS), found[None]]
    assert sum(expected[1:]) == expected[0]
    assert verdicts_in(fairness_answer(report)["in short"][0]) == expected
    (table,) = section_of(report, "overview").blocks[0].tables
    read_as = collections.Counter(cells[-1] for cells in table.rows)
    assert [len(table.rows), *(read_as[one] for one in VERDICTS), read_as["not tested"]] == expected
    scope = dict(section_of(report, "subject").blocks[0].tables[0].rows)["Scope"]
    groups = {(row.by, row.group) for row in report.groups}
    assert f"{len(groups)} groups scored, {len(report.suppressed)} counted only." in scope


def test_a_tolerance_is_said_with_the_interval_that_shows_it():
    row = comparison(0.02, tolerance=3.0, low_90=1.1, high_90=2.9, speakers_a=40, speakers_b=41)
    said = conclusion(row, audit_of(row))
    assert said.finding.replace("\u00a0", " ").endswith(
        "p = 0.020): difference smaller than the stated tolerance of 3.0 points (90 % confidence interval +1.1 to +2.9 "
        "points), and statistically significant."
    )
    small = tally_words(tally([row, replace(row, speakers_a=9), gap(refused="few")]))
    assert small == (
        "Of 3 comparisons between groups, 2 are smaller than the stated tolerance (though statistically significant), "
        "1 was not tested."
    )
    one = tally_words(tally([row, replace(row, p_value=0.3, p_holm=0.3), replace(row, low_90=-5.0)]))
    assert one == (
        "Of 3 comparisons between groups, 1 shows a statistically significant difference, 2 are smaller than the "
        "stated tolerance (1 of them statistically significant)."
    )
    assert "smaller than the stated tolerance of 3.0 points (90 % confidence interval +1.1 to +2.9 points)" in (
        said.may.replace("\u00a0", " ")
    )
    assert "It is statistically significant." in said.may
    assert replace(row, high_90=3.0).verdict == SIGNIFICANT
    assert replace(row, tolerance=None).verdict == SIGNIFICANT


def test_the_page_is_to_be_signed(said):
    for words in (
        "2026-01-31", "LibriSpeech test-other", "not stated (--system, --version); called hubert-ctc here",
        "none stated (--tolerance)", "permutation tests over speakers (10,000 permutations, or all)",
        "Missing data per group", "Reader 2", "Signature", "Glossary", "Permutation test",
    ):  # fmt: skip
        assert words in said


def test_names_in_any_script_have_targets_of_their_own():
    report = fairness_report()
    for part in ("groups", "comparisons"):
        rows = [row for row in report[part] if row["by"] == "gender"]
        report[part] = [
            {**row, "by": by, "result": result}
            for by in ("пол", "年齢")
            for result in ("модель", "模型")
            for row in rows
        ]
    reader = read(page_of(fairness_of(report, "scripts")))
    assert len(reader.ids) == len(set(reader.ids))
    assert {target[1:] for target in reader.targets if target.startswith("#")} <= set(reader.ids)


def test_sign_off_names_the_file_of_numbers():
    report = whole_audit()
    assert sections_of(report)[-1].id == "sign-off"
    assert hashlib.sha256(report.to_text().encode()).hexdigest() in sections_of(report)[-1].lead[-1]


def test_costs_keep_three_decimals():
    row = gap(metric="min_dcf", unit="cost", value_a=0.0612, value_b=0.0534, difference=0.0078, ratio=1.146)
    assert "0.061 against 0.053" in plain_words(row)


def test_section_of_a_larger_page():
    section = fairness_section([whole_audit(), old_audit(refused=True)])
    headings = [block.heading for block in section.blocks]
    assert "whisper-tiny.en: word error rate by gender" in headings
    assert "demo: word error rate by gender" in headings
    assert len({block.id for block in section.blocks}) == len(section.blocks)


@pytest.mark.parametrize("value", [12.0, -3.0, 0.0, 400.0])
def test_forest_stays_inside_and_shows_both_sides_of_no_gap(value):
    row = Row("WER, women − men", "words", (Estimate(value, value - 1, value + 1), Estimate(value)))
    svg = forest("f", "t", "d", [row, row], sides=("left", "right"), unit=" %")
    assert_inside(svg)
    zero = next(one for one in ET.fromstring(svg).iter("line") if one.get("class") == "zero")
    assert 40 < float(zero.get("x1")) < 308


def test_scores_that_print_alike_are_called_almost_the_same():
    row = gap(value_a=76.31, value_b=76.34, difference=-0.03, ratio=76.31 / 76.34, p_value=1.0)
    row = replace(row, ratio_low=0.83, ratio_high=1.2)
    assert gap_words(row).replace("\u00a0", " ") == (
        "Word error rate is almost the same for women and men "
        "(76.3 %; 95 % confidence interval 17 % lower to 20 % higher)."
    )
    assert "worse" not in plain_words(row)


@pytest.mark.parametrize(
    ("gap_a", "gap_b", "words"),
    [
        (-1.0, -4.7, "with both systems it is worse for men, and larger with old"),
        (4.7, 1.0, "with both systems it is worse for women, and larger with new"),
        (2.0, -3.0, "it is worse for women with new and worse for men with old"),
        (0.0, -3.0, "it is worse for men with old"),
    ],
)
def test_a_gap_that_shrinks_is_not_said_to_turn_round(gap_a, gap_b, words):
    about = {"by": "gender", "metric": "wer", "a": "F", "b": "M", "result_a": "new", "result_b": "old", "unit": "%"}
    gaps = {"gap_a": gap_a, "gap_b": gap_b, "difference": gap_a - gap_b, "p_value": 0.01, "p_holm": 0.01}
    more = {"higher_is_better": False, "compared": 1, "clips": 9, "speakers": 9, "direction": ""}
    said = gap_difference_words(SystemComparison(**{**blank(SystemComparison), **about, **gaps, **more}))
    assert f"; {words}. The difference is statistically significant" in said
    assert "fare" not in said


def test_the_statement_counts_a_group_of_two_systems_once_and_everybody_is_in_the_missing_data():
    example = whole_audit()
    one = replace(example.groups[0], known=True)
    named = tuple(replace(one, result=result, group=group) for result in ("S1", "S2") for group in ("F", "M"))
    hidden = [SuppressedGroup(result, "gender", ("divers",), 1, 8, "fewer than 5 speakers") for result in ("S1", "S2")]
    withheld = SuppressedGroup("S1", "gender", (), 3, 24, "long words")
    report = replace(example, groups=named, totals=(), suppressed=(*hidden, withheld))
    statement, missing = (block.tables[0] for block in subject_section(report).blocks)
    assert "2 groups scored, 1 counted only." in dict(statement.rows)["Scope"]
    assert ("S1: gender: others", "3", "24", "–", "no: in a small group by another attribute") in missing.rows
    assert "Those with an empty one are counted" in missing.notes[-1]
    table = suppressed_table(report, "gender")
    assert [cells[:2] for cells in table.rows] == [("S1", "divers"), ("S2", "divers"), ("S1", "others")]
    left_out = replace(report, provenance=replace(report.provenance, empty_hypothesis="leave-out"))
    assert "Those with an empty one are left out as well" in subject_section(left_out).blocks[1].tables[0].notes[-1]


def test_a_heading_keeps_the_name_of_the_system_and_counts_one_comparison_as_one():
    report = whole_audit()
    row = replace(report.comparisons[0], result="mBart x")
    report = replace(report, comparisons=(row,) * 7)
    section = conclusions_section(report)
    assert section.blocks[0].heading.startswith("mBart x, ")
    assert section.lead == (
        "The paragraph below each heading can be quoted alone.", "1 further tested comparison is in the tables below.",
    )  # fmt: skip
    unnamed = conclusion(replace(row, result=""), report)
    assert unnamed.subject.startswith("Word error rate, ")
