import copy
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from audio_ssl.report.fairness_words import comparison_words, gap_words, plain_words
from audio_ssl.report.figures.forest import Estimate, Row, forest
from audio_ssl.report.html import Page, render
from audio_ssl.report.sections.fairness import fairness_answer, fairness_section, fairness_sections
from audio_ssl.report.sections.fairness.rows import foremost, warnings_of
from audio_ssl.report.verdicts import verdict_of
from tests.report.conftest import fairness_data
from tests.report.fairness_example import fairness_report
from tests.report.test_build import Reader, text_of
from tests.report.test_figures import assert_inside


def page_of(report):
    return render(Page("Fairness", fairness_answer(report), fairness_sections(report), "About.", "f.json", report))


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def html():
    return page_of(fairness_report())


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
    assert "Women's WER is 20 % higher than men's with hubert-ctc" in said
    assert "Women's word error rate is 15 % higher than men's (17.3 % against 15.1 %), worse for women; not" in said
    assert "comes up more than 1 time in 20 (p = 0.184, 0.736 as one of 4 comparisons" in said
    assert "a gap of 4.1 points (25 % of the mean score) is found 8 times in 10" in said


def test_every_kind_of_row_is_shown(said):
    for words in (
        "not recorded",
        "all clips",
        "women × 70–79",
        "fewer than 5 speakers",
        "group 70–79 has 3 speakers",
        "Mind: only 12 speakers in the smaller group",
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
    said = text_of(read(page_of(old)))
    assert "Women's word error rate is 13 % higher than men's (95 % interval +2.3 to +6.5 points)" in said
    assert "p = 0.012" in said
    assert "speaker s1" in said


def test_a_refused_report_concludes_nothing():
    said = fairness_answer(fairness_data())["in short"]
    assert said == [
        "No gap could be tested, so nothing follows for other speakers: "
        "group F has 1 speaker, and at least 5 a group are needed."
    ]


def test_many_groups_do_not_make_a_huge_page():
    report = fairness_report()
    row = next(row for row in report["comparisons"] if row["by"] == "age" and not row["refused"])
    group = next(row for row in report["groups"] if row["by"] == "age")
    report["groups"] += [{**group, "group": f"g{n}"} for n in range(2000)]
    report["comparisons"] += [{**row, "a": f"g{n}"} for n in range(5000)]
    html = render(Page("Fairness", fairness_answer(report), fairness_sections(report), "About.", "f.json", {}))
    assert len(html) < 2_000_000
    assert "rows more are in the JSON" in html


def test_warnings_of_one_kind_are_said_once():
    rows = [{"warning": f"only {n} speakers in the smaller group: mind"} for n in (12, 9, 17)] + [{"warning": "else"}]
    assert warnings_of(rows) == (
        "only 9 speakers in the smaller group: mind (and 2 more of this kind, in the JSON)",
        "else",
    )


def test_what_is_beyond_chance_is_drawn_first():
    def row(metric, by, p_value, name):
        return {"metric": metric, "by": by, "p_value": p_value, "a": name}

    rows = [
        row("wer", "gender", 0.5, "plain"),
        row("wer", "gender × age", 0.5, "crossed"),
        row("cer", "gender", 0.5, "other metric"),
        row("cer", "gender × age", 0.001, "found"),
    ]
    assert [one["a"] for one in foremost(rows, 9)] == ["found", "plain"]
    assert foremost(rows[1:2], 9) == rows[1:2]


def test_verdicts_follow_the_adjusted_p():
    assert verdict_of({"p_value": 0.01, "p_holm": 0.2}) == "alone"
    assert verdict_of({"p_value": 0.01, "p_holm": 0.04}) == "found"
    assert verdict_of({"p_value": 0.2, "p_holm": 0.2}) == "open"
    assert verdict_of({"p_value": None}) == "untested"
    assert verdict_of({"p_value": 0.01, "refused": "few"}) == "refused"


def test_a_p_value_near_the_level_is_not_called_frequent():
    row = {"by": "gender", "metric": "wer", "a": "F", "b": "M", "difference": 2.0, "ratio": 1.1, "p_value": 0.052}
    for text in (plain_words(row), comparison_words(row)):
        assert "ot told from chance" in text
        assert "often" not in text


def test_no_gap_is_not_called_one():
    row = {"by": "gender", "metric": "wer", "a": "F", "b": "M", "difference": 0.0, "p_value": 1.0}
    assert plain_words(row) == "Word error rate is the same for women and men."
    assert comparison_words(row).replace("\u00a0", " ") == (
        "Word error rate is the same for women and men. There is no gap to tell from chance (p = 1.000)."
    )
    assert plain_words({**row, "refused": "few"}).endswith("; not tested, so nothing follows for other speakers.")


def test_why_gaps_were_not_tested_is_not_guessed():
    rows = [
        {"by": by, "metric": "wer", "a": "F", "b": "M", "difference": 2.0, "ratio": 1.1, "p_value": p, "refused": why}
        for by, p, why in (
            ("gender", 0.2, None),
            ("sex", None, "the score of one group is not defined"),
            ("register", None, None),
            ("age", None, "group F has 3 speakers, and at least 5 a group are needed"),
        )
    ]
    assert fairness_answer({"comparisons": rows})["in short"][-1] == "3 of 4 gaps could not be tested."
    said = fairness_answer({"comparisons": [rows[0], rows[3]]})["in short"][-1]
    assert said == "1 of 2 gaps could not be tested, mostly for want of speakers."


def test_gaps_that_no_permutation_could_find_are_said_to_be_so():
    row = {"by": "gender", "metric": "wer", "a": "F", "b": "M", "difference": 2.0, "ratio": 1.1}
    rows = [{**row, "p_value": 0.01, "p_holm": 1.0, "compared": 6, "assignments": 100}] * 6
    said = fairness_answer({"comparisons": rows})["in short"]
    assert said[1] == "With 100 permutations none of 6 gaps could be told from chance, however large: see the notes."
    rows = [{**one, "assignments": 1000} for one in rows]
    assert not any("could be told" in one for one in fairness_answer({"comparisons": rows})["in short"])


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
    reader = read(page_of(report))
    assert len(reader.ids) == len(set(reader.ids))
    assert {target[1:] for target in reader.targets if target.startswith("#")} <= set(reader.ids)


def test_sign_off_names_the_file_of_numbers():
    sections = fairness_sections(fairness_report(), sha256="ab" * 32)
    assert sections[-1].id == "sign-off"
    assert "ab" * 32 in sections[-1].lead[-1]


def test_costs_keep_three_decimals():
    row = {"by": "gender", "metric": "min_dcf", "unit": "cost", "higher_is_better": False, "a": "F", "b": "M"}
    said = plain_words({**row, "value_a": 0.0612, "value_b": 0.0534, "difference": 0.0078, "ratio": 1.146})
    assert "0.061 against 0.053" in said


def test_nothing_is_changed_by_drawing():
    report = fairness_report()
    before = copy.deepcopy(report)
    page_of(report)
    assert report == before


def test_section_of_a_larger_page():
    section = fairness_section([fairness_report(), fairness_data()])
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
    row = {"by": "gender", "metric": "wer", "a": "F", "b": "M", "value_a": 76.31, "value_b": 76.34, "difference": -0.03}
    row |= {"unit": "%", "ratio": 76.31 / 76.34, "ratio_low": 0.83, "ratio_high": 1.2, "p_value": 1.0}
    assert gap_words(row).replace("\u00a0", " ") == (
        "Word error rate is almost the same for women and men (76.3 %; 95 % interval 17 % lower to 20 % higher)."
    )
    assert "worse" not in plain_words(row)
