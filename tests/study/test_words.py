"""What the page and the Markdown table say of a study's numbers."""

import copy

import pytest

from audio_ssl.artifacts.records import from_json
from audio_ssl.artifacts.study import StudyCell, StudyResult
from audio_ssl.report.language.study import (
    against_text,
    composition_rows,
    never_drawn,
    relative_text,
    study_answer,
    study_markdown,
    value_text,
)
from audio_ssl.report.sections.study import study_sections
from audio_ssl.study.run import write_pages


def table(study):
    """Return the record of a study's JSON, in which null is a number that is not defined."""
    return from_json(StudyResult, study, "study.json")


def one_cell(*args, **more):
    return from_json(StudyCell, cell(*args, **more), "study.json")


def cell(name, women, men, against=None, refused=None, **more):
    group = {"low": 10.0, "high": 90.0, "speakers": 6, "clips": 12, "words": 60, "hours": 0.1}
    mean = (women + men) / 2
    groups = {"F": {"value": women, **group}, "M": {"value": men, **group}, "all": {"value": mean, **group}}
    return {
        "set": name, "column": "asr", "results": [f"sets/{name}/probes/asr"],
        "metric": "wer", "unit": "%", "higher_is_better": False, "groups": groups,
        "difference": women - men, "low": None, "high": None, "relative_symmetric": 100 * (women - men) / mean,
        "relative_symmetric_low": -50.0, "relative_symmetric_high": 40.0, "p_value": 0.4, "p_holm": 0.8,
        "refused": refused, "warning": None, "against_reference": against, **more,
    }  # fmt: skip


@pytest.fixture
def study():
    amounts = {"hours": 0.1, "clips": 9, "speakers": 3, "effective_speakers": 2.5, "most_hours_of_a_speaker": 0.05}
    against = {"difference": 4.0, "low": 1.0, "high": 7.0, "p_value": 0.01, "p_holm": 0.02, "refused": None}
    names = ("female", "balanced")
    draw = {
        "asked": {"balance": "", "column": "gender", "shares": {}, "hours": 0.1, "speaker_hours": None, "seed": 0},
        "hours": 0.1, "clips": 9, "groups": {"F": {"asked_hours": 0.1, **amounts, "pool": amounts}},
        "excluded": {"gender unknown": {"clips": 2, "hours": 0.5}}, "notes": ["One."], "pool_hash": "",
    }  # fmt: skip
    column = {"name": "asr", "title": "ASR", "integration": "frozen", "task": "asr", "metric": "wer"}
    return {
        "name": "mine", "by": "gender", "compare": ["F", "M"], "reference": "balanced", "hours": 0.1, "seeds": [0],
        "pretraining": {"recipe": "hubert_mel_tiny", "settings": []}, "untrained": True, "note": "<Noise>. No speech.",
        "columns": [{**column, "metrics": ["wer"], "manifest": "m.jsonl", "warnings": []}],
        "sets": [{"name": name, "shares": {}, "draws": [draw]} for name in names],
        "cells": [cell("female", 50.0, 40.0, against), cell("balanced", 30.0, 32.0), cell("untrained", 99.0, 99.0)],
        "known": {"speakers": ["s1"], "files": [], "left_out": 0, "sentence": "1 speaker (s1) is known"},
        "warnings": ["few speakers"], "limits": ["Limits."], "excluded": [], "provenance": {"study": "mine"},
    }  # fmt: skip


def test_cells_have_their_intervals_and_seeds():
    one = one_cell("female", 50.0, 40.0)
    assert value_text(one, "F") == "50.0\xa0% (10.0 to 90.0)"
    assert relative_text(one) == "+22.2\xa0% (−50.0 to +40.0)"
    plain = cell("female", 50.0, 40.0)
    plain["groups"]["F"] |= {"seed_low": 45.0, "seed_high": 55.0}
    assert value_text(from_json(StudyCell, plain, ""), "F") == "50.0\xa0% (10.0 to 90.0; seeds 45.0 to 55.0)"
    assert value_text(one, "X") == "–"


def test_a_gap_against_the_reference_says_whether_it_is_significant():
    found = {"difference": 4.0, "low": 1.0, "high": 7.0, "p_value": 0.01, "p_holm": 0.02, "refused": None}
    said = against_text(one_cell("female", 50.0, 40.0, found))
    assert said == "+4.0 (+1.0 to +7.0): statistically significant difference (p = 0.020)"
    alone = against_text(one_cell("female", 50.0, 40.0, {**found, "p_holm": 0.06}))
    assert alone.endswith("no statistically significant difference; inconclusive (p = 0.060)")
    assert against_text(one_cell("balanced", 1.0, 1.0)) == "reference set"
    assert against_text(one_cell("untrained", 1.0, 1.0)) == "–"
    refused = {"difference": 4.0, "low": None, "high": None, "p_value": None, "refused": "few"}
    assert against_text(one_cell("female", 1.0, 1.0, refused)) == "+4.0: not tested"


def test_the_answer_names_best_and_worst_and_the_gaps(study):
    said = study_answer(table(study))
    assert said["in short"][0].startswith(
        "1 of 1 tested gaps differs statistically significantly from the gap after pretraining on the balanced set"
    )
    assert said["in short"][1] == "None of the 2 tested gaps between women and men is statistically significant."
    column = said["ASR, frozen"]
    assert column[0].startswith("WER over all speakers is best after pretraining on balanced (31.0")
    assert column[1] == "Without pretraining it is 99.0\xa0%."
    assert "from −6.5\xa0% (balanced) to +22.2\xa0% (female). A positive gap is worse for women" in column[2]
    assert said["warnings"] == ["<Noise>.", "No speech.", "Few speakers."]


def test_the_answer_says_where_pretraining_gave_nothing(study):
    for one in study["cells"]:
        one["groups"]["all"]["value"] = 25.0 if one["set"] == "untrained" else 31.0
        one["relative_symmetric"] = 5.0
    said = study_answer(table(study))["ASR, frozen"]
    assert said[0] == "WER over all speakers is 31.0\xa0% after pretraining on any set."
    assert said[1].startswith("Without pretraining it is 25.0\xa0%. No set improved on that")
    assert said[2].startswith("The relative gap F − M is +5.0\xa0% for every set. A positive gap")


def test_the_page_and_the_markdown_have_the_table(study, tmp_path):
    page = write_pages(tmp_path, table(study)).read_text()
    assert "&lt;Noise&gt;" in page
    assert "<Noise>" not in page
    assert '<a href="sets/balanced/probes/asr/predictions.parquet">31.0' in page
    for text in (
        "no pretraining",
        "1 speaker (s1) is known.",
        "Circles are F, squares M",
        "0.100 h",
        "Excluded from every set: gender unknown (2 clips, 0.500 h).",
    ):
        assert text in page
    lines = (tmp_path / "study.md").read_text().splitlines()
    assert sum(line.startswith("| no pretraining |") for line in lines) == 1
    assert "| female | F | 0.100 h | 9 | 3 | 2.5 | 0.050 h |" in lines


def test_nothing_defined_is_drawn_as_nothing(study, tmp_path):
    empty = copy.deepcopy(study)
    for one in empty["cells"]:
        for group in one["groups"].values():
            group |= {"value": None, "low": None, "high": None}
        one |= {"difference": None, "relative_symmetric": None, "against_reference": None, "refused": "not defined"}
    page = write_pages(tmp_path, table(empty)).read_text()
    assert "Nothing was scored." in page
    assert "No gap was tested" in study_markdown(table(empty))


def test_what_only_the_reference_was_not_asked_for_was_drawn_by_others(study):
    of_women = {"gender M: not asked for": {"clips": 5, "hours": 1.0}, "gender unknown": {"clips": 2, "hours": 0.5}}
    draw = study["sets"][1]["draws"][0]
    study["sets"][1]["draws"] = [{**draw, "excluded": of_women}]
    assert never_drawn(table(study))[0] == "Excluded from every set: gender unknown (2 clips, 0.500 h)."


def test_every_task_has_its_own_table_narrow_enough_for_a_page(study):
    frozen = study["columns"][0]
    study["columns"] = [
        {**frozen, "name": name, "title": title, "integration": use}
        for name, title, use in (("a", "ASR", "frozen"), ("b", "ASR", "fine-tuned"), ("c", "ST", "frozen"))
    ]
    study["cells"] = [{**one, "column": name} for name in "abc" for one in study["cells"]]
    tables = study_sections(table(study))[0].blocks[0].tables
    assert [table.caption.partition(":")[0] for table in tables] == ["ASR", "ST"]
    assert [len(table.head) for table in tables] == [9, 5]
    assert tables[0].head[1:5] == ("frozen: F, WER", "frozen: M, WER", "frozen: all, WER", "frozen: Δrel")


def test_effective_speakers_have_a_decimal_and_counts_have_none(study):
    study["sets"][0]["draws"][0]["groups"]["F"] |= {"effective_speakers": 3.0}
    assert composition_rows(table(study))[0][3:6] == ("9", "3", "3.0")
