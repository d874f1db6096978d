import collections
import hashlib
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest

from audio_ssl.artifacts.fairness import (
    SIGNIFICANT,
    UNKNOWN,
    VERDICTS,
    GapOutcome,
    GroupSpread,
    SystemComparison,
    blank,
)
from audio_ssl.artifacts.fairness_report import SuppressedGroup, fairness_of
from audio_ssl.report.figures.intervals import Estimate, Row, forest
from audio_ssl.report.html import Page, render
from audio_ssl.report.language.conclusions import conclusion, fairness_answer, tally, tally_words
from audio_ssl.report.language.fairness import comparison_words, gap_difference_words, gap_words, plain_words
from audio_ssl.report.language.fairness_cells import sides, warnings_of
from audio_ssl.report.language.fairness_page import IN_PERCENT
from audio_ssl.report.numbers import hard_spaces
from audio_ssl.report.pages import sections_of
from audio_ssl.report.sections.fairness import conclusions_section, fairness_section
from audio_ssl.report.sections.fairness_groups import metric_block, suppressed_table
from audio_ssl.report.sections.fairness_sources import subject_section
from audio_ssl.report.selection import foremost
from audio_ssl.report.svg import CHARACTER_WIDTH
from tests.report.conftest import fairness_data
from tests.report.fairness_example import audit_of, fairness_report, gap, whole_audit
from tests.report.meaning import counts_in, numbers_in, says_significant, worse_for
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


def test_a_finding_can_be_quoted_alone():
    report = whole_audit()
    row = next(one for one in report.comparisons if one.result == "hubert-ctc")
    said = conclusion(row, report)
    assert numbers_in(said.finding) == [22.9, 24, 19.1, 26, 3.8, 95, 1.5, 6.1, 0.002, 0.008, 4]
    for words in ("hubert-ctc", "LibriSpeech test-other", "word error rate", "women", "men", "permutation", "Holm"):
        assert words in said.finding
    assert says_significant(said.finding) is True
    assert "higher for women" in said.may
    assert worse_for(said.may) == ["women"]
    assert "cause" in said.may_not


def test_an_inconclusive_finding_names_the_minimum_detectable_difference():
    report = whole_audit()
    said = conclusion(report.comparisons[0], report)
    assert says_significant(said.finding) is False
    assert "inconclusive" in said.finding
    assert "minimum detectable difference" in said.may
    assert numbers_in(said.may) == [4.1, 80]
    assert "no difference" in said.may_not


def test_every_kind_of_row_is_shown(said):
    for words in (
        "not recorded",
        "all scored groups",
        "women × 70–79",
        "fewer than 5 speakers",
        "group 70–79 has 3 speakers",
        "Warning: only 12 speakers in the smaller group",
        "feminine words about the speaker (1F)",
        "duration, speech rate and level held fixed",
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


def in_short(*rows, **parts):
    said = fairness_answer(audit_of(*rows, **parts))["in short"]
    assert 1 <= len(said) <= 3
    return said


VERDICT_WORDS = (
    "statistically significant difference",
    "inconclusive",
    "smaller than the stated tolerance",
    "not tested",
)


def test_the_headline_counts_the_verdicts_and_gives_the_largest():
    rows = [comparison(0.01), *[comparison(0.3)] * 11, comparison(refused="few"), comparison(refused="few")]
    counts, largest, caution = in_short(*rows)
    assert counts_in(counts, *VERDICT_WORDS) == [14, 1, 11, 0, 2]
    assert numbers_in(largest) == [12.0, 10.0, 2.0]
    assert "largest" not in largest
    assert "nconclusive" in caution
    assert "The largest" in in_short(*rows, replace(comparison(0.01), difference=1.0))[1]
    in_short(*rows * 50)


def test_the_headline_names_the_minimum_detectable_difference():
    counts, caution = in_short(*(comparison(0.3, minimum_detectable=least) for least in (5.0, 4.0)))
    assert counts_in(counts, *VERDICT_WORDS) == [2, 0, 2, 0, 0]
    assert numbers_in(caution) == [4.0, 80]
    assert "minimum detectable difference in word error rate" in caution


def test_without_groups_there_is_nothing_to_compare():
    assert "no two groups" in in_short()[0]


def test_differences_that_no_permutation_could_find_are_said_to_be_so():
    rows = [comparison(0.01, p_holm=1.0, compared=6, assignments=100)] * 6
    assert numbers_in(in_short(*rows)[1]) == [100, 6]
    assert "no difference can be statistically significant" in in_short(*rows)[1]
    rows[0] = replace(rows[0], assignments=1000)
    assert not any("permutations" in one for one in in_short(*rows))


@pytest.mark.parametrize(("assignments", "hopeless"), [(19, True), (20, False)])
def test_the_headline_has_the_level_of_the_tests(assignments, hopeless):
    # 1 / 20 is not below 0.05.
    row = comparison(0.3, p_holm=0.3, compared=1, assignments=assignments)
    assert any("permutations" in one for one in in_short(row)) == hopeless


def test_a_report_in_which_nothing_is_scored_says_why():
    hidden = tuple(SuppressedGroup("S", "gender", (name,), 1, 9, "few") for name in "FM")
    (said,) = in_short(suppressed=hidden)
    assert numbers_in(said) == [5, 1, 1]
    assert "women" in said
    assert "men" in said


@pytest.mark.parametrize("tolerance", [None, 4.0, 30.0])
def test_counts_of_the_page_are_those_of_its_json(tolerance):
    report = whole_audit()
    rows = [replace(row, tolerance=tolerance) for row in report.comparisons]
    report = replace(report, comparisons=(*rows, rows[0]))
    found = collections.Counter(row["verdict"] for row in report.to_json()["comparisons"])
    expected = [len(report.comparisons), *(found[one] for one in VERDICTS), found[None]]
    assert sum(expected[1:]) == expected[0]
    assert counts_in(fairness_answer(report)["in short"][0], *VERDICT_WORDS) == expected
    (table,) = section_of(report, "overview").blocks[0].tables
    read_as = collections.Counter(cells[-1] for cells in table.rows)
    assert [len(table.rows), *(read_as[one] for one in VERDICTS), read_as["not tested"]] == expected
    scope = dict(section_of(report, "subject").blocks[0].tables[0].rows)["Scope"]
    groups = {(row.by, row.group) for row in report.groups}
    assert f"{len(groups)} groups scored, {len(report.suppressed)} counted only." in scope


def test_a_tolerance_is_said_with_the_interval_that_shows_it():
    row = comparison(0.02, tolerance=3.0, low_90=1.1, high_90=2.9, speakers_a=40, speakers_b=41)
    said = conclusion(row, audit_of(row))
    for text in (said.finding, said.may):
        assert numbers_in(text.partition("stated tolerance of")[2]) == [3.0, 90, 1.1, 2.9]
        assert says_significant(text) is True
    not_significant = replace(row, p_value=0.3, p_holm=0.3)
    assert says_significant(conclusion(not_significant, audit_of(row)).finding) is False
    small = tally_words(tally([row, replace(row, speakers_a=9), gap(refused="few")]))
    assert counts_in(small, *VERDICT_WORDS) == [3, 0, 0, 2, 1]
    assert "though statistically significant" in small
    one = tally_words(tally([row, not_significant, replace(row, low_90=-5.0)]))
    assert counts_in(one, *VERDICT_WORDS) == [3, 1, 0, 2, 0]
    assert "1 of them statistically significant" in one
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


def test_conclusions_begin_with_what_is_significant_and_end_with_intersections():
    crossed = comparison(0.01, by="gender × age", a="F × 20–29", b="M × 20–29")
    rows = (crossed, comparison(0.3), comparison(0.01, by="age", a="20–29", b="30–39"), comparison(0.01, metric="cer"))
    headings = [block.heading for block in conclusions_section(audit_of(*rows)).blocks]
    assert [says_significant(heading) for heading in headings] == [True, False, True]
    for words, heading in zip(("aged 20–29 and", "women and men", "women aged 20–29"), headings, strict=True):
        assert words in heading


@pytest.mark.parametrize("groups", [2, 3])
def test_best_and_worst_are_said_of_more_than_two_groups(groups):
    about = {"result": "", "by": "gender", "metric": "wer", "unit": "%", "higher_is_better": False}
    ends = {"worst": "F", "best": "M", "difference": 2.0, "ratio": 1.2, "overall": 11.0}
    report = audit_of(comparison(0.3), spread=(GroupSpread(**about, groups=groups, **ends),))
    said = metric_block(report, ("", "gender", "wer"), "b")
    extremes = [text for text in (*said.lead, *said.points) if "best for men" in text]
    assert [numbers_in(text) for text in extremes] == ([[3, 2.0, 1.2, 11.0]] if groups > 2 else [])


def test_sides_of_no_gap_say_for_whom_it_is_worse():
    errors, coverage = gap(), gap(metric="term_coverage", higher_is_better=True)
    assert [worse_for(side) for side in sides([errors])] == [[], ["women"]]
    assert [worse_for(side) for side in sides([coverage])] == [["women"], []]
    assert [worse_for(side) for side in sides([errors, gap(by="age", a="20–29", b="30–39")])] == [[], ["the"]]
    assert sides([errors, coverage]) == ("lower", "higher")


@pytest.mark.parametrize("high", [math.nan, math.inf])
def test_a_ratio_without_an_upper_end_has_no_interval(high):
    row = gap(
        value_a=26.0, value_b=2.0, difference=24.0, low=7.4, high=46.3, ratio=13.0, ratio_low=2.67, ratio_high=high
    )
    assert numbers_in(gap_words(row)) == [1200, 26.0, 2.0, 95, 7.4, 46.3]
    table = metric_block(audit_of(row), ("", "gender", "wer"), "b").tables[0]
    assert numbers_in(dict(table.rows)[hard_spaces(IN_PERCENT)]) == [1200.0]
    table = metric_block(audit_of(replace(row, ratio_high=40.0)), ("", "gender", "wer"), "b").tables[0]
    assert numbers_in(dict(table.rows)[hard_spaces(IN_PERCENT)]) == [1200.0, 167.0, 3900.0]


@pytest.mark.parametrize("high", [9.0, 106.0, 240.0, 1300.0, 98000.0])
def test_numbers_below_a_forest_stand_apart(high):
    svg = forest("f", "t", "d", [Row("a", "b", (Estimate(5.0, -30.0, high),))], sides=("left", "right"), unit=" %")
    ticks = [one for one in ET.fromstring(svg).iter("text") if one.get("class") == "tick"]
    assert ticks[-1].text.endswith(" %")
    ends = []
    for one in ticks:
        at, wide = float(one.get("x")), len(one.text) * CHARACTER_WIDTH
        left = at - (wide if one.get("text-anchor") == "end" else wide / 2)
        ends.append((left, left + wide))
    assert all(before[1] < after[0] for before, after in pairwise(ends))


def test_excluded_clips_that_are_not_named_are_hinted_at():
    report = whole_audit()
    many, few = report.excluded
    few = replace(few, count=1, names=("s9",))
    (table,) = section_of(replace(report, excluded=(many, few)), "excluded").blocks[0].tables
    assert [cells[-1].endswith("…") for cells in table.rows] == [True, False]


def test_the_table_of_two_systems_has_the_gap_of_each():
    (table,) = section_of(whole_audit(), "systems").blocks[1].tables
    first = dict(zip(table.head, table.rows[0], strict=True))
    assert first["Systems"] == "whisper-tiny.en − hubert-ctc"
    gaps = [numbers_in(first[f"With the {which}"]) for which in ("first", "second")]
    assert gaps == [[2.2], [3.8]]
    assert numbers_in(first[hard_spaces("Difference (95 % CI)")]) == [-1.6, -3.0, -0.1]


def test_the_name_of_a_single_system_is_not_repeated_beside_its_models():
    report = whole_audit()
    one = replace(report, results=report.results[:1])
    for shown, named in ((report, True), (one, False)):
        block = section_of(shown, "adjusted").blocks[0]
        assert any(point.startswith("whisper-tiny.en: ") for point in block.points) == named
        assert ("whisper-tiny.en" in str(block.figures[0].svg)) == named


def test_scores_that_print_alike_are_called_almost_the_same():
    row = gap(value_a=76.31, value_b=76.34, difference=-0.03, ratio=76.31 / 76.34, p_value=1.0)
    row = replace(row, ratio_low=0.83, ratio_high=1.2)
    assert gap_words(row).replace("\u00a0", " ") == (
        "Word error rate is almost the same for women and men "
        "(76.3 %; 95 % confidence interval 17 % lower to 20 % higher)."
    )
    assert "worse" not in plain_words(row)


@pytest.mark.parametrize(
    ("gap_a", "gap_b", "worse", "words"),
    [
        (-1.0, -4.7, ["men"], "larger with old"),
        (4.7, 1.0, ["women"], "larger with new"),
        (2.0, -3.0, ["women", "men"], "men with old"),
        (0.0, -3.0, ["men"], "men with old"),
    ],
)
def test_a_gap_that_shrinks_is_not_said_to_turn_round(gap_a, gap_b, worse, words):
    about = {"by": "gender", "metric": "wer", "a": "F", "b": "M", "result_a": "new", "result_b": "old", "unit": "%"}
    gaps = {"gap_a": gap_a, "gap_b": gap_b, "difference": gap_a - gap_b, "p_value": 0.01, "p_holm": 0.01}
    more = {"higher_is_better": False, "compared": 1, "clips": 9, "speakers": 9, "direction": ""}
    said = gap_difference_words(SystemComparison(**{**blank(SystemComparison), **about, **gaps, **more}))
    assert numbers_in(said)[:3] == [gap_a, gap_b, pytest.approx(gap_a - gap_b)]
    assert worse_for(said) == worse
    assert words in said
    assert says_significant(said) is True


def test_the_statement_counts_a_group_of_two_systems_once_and_everybody_is_in_the_missing_data():
    example = whole_audit()
    one = replace(example.groups[0], known=True)
    named = tuple(replace(one, result=result, group=group) for result in ("S1", "S2") for group in ("F", "M"))
    names = {"S1": "divers", "S2": UNKNOWN}
    few = "fewer than 5 speakers"
    hidden = [SuppressedGroup(result, "gender", (name,), 1, 8, few) for result, name in names.items()]
    # A group that one system has a score for is scored.
    hidden.append(SuppressedGroup("S3", "gender", ("F",), 1, 8, few))
    withheld = SuppressedGroup("S1", "gender", (), 3, 24, "long words")
    report = replace(example, groups=named, totals=(), suppressed=(*hidden, withheld))
    statement, missing = (block.tables[0] for block in subject_section(report).blocks)
    assert "2 groups scored, 2 counted only." in dict(statement.rows)["Scope"]
    assert ("S1: gender: others", "3", "24", "–", "no: in a small group by another attribute") in missing.rows
    assert "empty hypothesis are counted" in missing.notes[-1]
    table = suppressed_table(report, "gender")
    assert [cells[:2] for cells in table.rows] == [
        ("S1", "divers"),
        ("S2", "not recorded"),
        ("S3", "women (F)"),
        ("S1", "others"),
    ]
    left_out = replace(report, provenance=replace(report.provenance, empty_hypothesis="leave-out"))
    assert "empty hypothesis are excluded" in subject_section(left_out).blocks[1].tables[0].notes[-1]


def test_a_heading_keeps_the_name_of_the_system_and_counts_one_comparison_as_one():
    report = whole_audit()
    row = replace(report.comparisons[0], result="mBart x")
    report = replace(report, comparisons=(row,) * 7)
    section = conclusions_section(report)
    assert section.blocks[0].heading.startswith("mBart x, ")
    assert numbers_in(section.lead[-1]) == [1]
    assert "1 further tested comparison is" in section.lead[-1]
    unnamed = conclusion(replace(row, result=""), report)
    assert unnamed.subject.startswith("Word error rate, ")
